/* A model with its loss, as a graph. */
#include "train/step.h"

#include "base/fail.h"

esker_status esker__check_step(const char *who, int32_t batch, esker_loss_kind loss, const esker_loss_settings *settings)
{
    if (batch < 1) return esker__fail(ESKER_ERR_INVALID, "%s: batch of %d, it must be 1 or more", who, batch);
    return esker__check_loss(who, loss, settings);
}

esker_status esker__record_step(esker_model *net, esker_mode mode, int64_t batch, esker_dtype dtype, esker_loss_kind loss,
                                const esker_loss_settings *settings, esker__step_graph *out)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    *out = (esker__step_graph){0};
    esker_status st = esker_model_instantiate(
        net, &(esker_instance_desc){.batch = batch, .mode = mode, .input_dtype = dtype}, &out->graph, NULL, &out->output);
    if (st != ESKER_OK || !settings) return st;
    esker_model_info info;
    esker_model_get_info(net, &info);
    const esker_shape *shape = &info.output_shape;
    if (shape->rank != 1 && shape->rank != 2) {
        st = esker__fail(
            ESKER_ERR_INVALID,
            "model %s: its output for a sample is %s; labels need rows of classes, [classes] or [rows, classes]", info.name,
            esker_shape_text(shape, text));
        goto fail;
    }
    esker_node *rows = out->output;
    int64_t n_rows = batch;
    if (shape->rank == 2) {
        n_rows *= shape->dims[0]; /* cannot overflow: the output has that many rows */
        rows = esker_reshape(rows, &(esker_shape){2, {n_rows, shape->dims[1]}});
    }
    esker_node *labels = esker_input(out->graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n_rows}});
    out->loss = esker__record_loss(rows, labels, loss, settings);
    out->correct = esker_count_correct(rows, labels);
    st = esker_graph_status(out->graph);
    if (st == ESKER_OK) return st;
fail:
    esker_graph_destroy(out->graph);
    *out = (esker__step_graph){0};
    return st;
}

esker_status esker__check_rows(const esker_model *net)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    esker_model_info info;
    esker_model_get_info(net, &info);
    if (info.output_shape.rank == 1) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID,
                       "model %s: its output for a sample is %s; data sets have one label a sample, which needs [classes]",
                       info.name, esker_shape_text(&info.output_shape, text));
}

esker_status esker__check_data(const esker_model *net, const esker_dataset *ds, bool with_labels)
{
    char have[ESKER_SHAPE_TEXT_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    esker_model_info model;
    esker_dataset_info data;
    if (!ds) return esker__fail(ESKER_ERR_INVALID, "no data set was given");
    esker_model_get_info(net, &model);
    esker_dataset_get_info(ds, &data);
    if (!esker_shape_equal(&model.input_shape, &data.sample_shape))
        return esker__fail(ESKER_ERR_INVALID, "data set %s: its samples are %s, model %s takes %s", data.name,
                           esker_shape_text(&data.sample_shape, have), model.name,
                           esker_shape_text(&model.input_shape, want));
    if (!with_labels) return ESKER_OK;
    if (!data.labels) return esker__fail(ESKER_ERR_INVALID, "data set %s: it has no labels", data.name);
    if (model.output_shape.rank != 1 || model.output_shape.dims[0] != data.n_classes)
        return esker__fail(ESKER_ERR_INVALID, "data set %s: it has %d classes, the output of model %s is %s", data.name,
                           data.n_classes, model.name, esker_shape_text(&model.output_shape, want));
    return ESKER_OK;
}
