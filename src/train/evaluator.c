/* Evaluators: a forward plan run over a data set, its results read a few steps late. */
#include "train/step.h"

#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "gpu/gpu.h"

enum { OUT_OUTPUT, OUT_LOSS, OUT_CORRECT };

struct esker_evaluator {
    esker_model *net; /* borrowed */
    esker_device *device;
    int32_t batch;
    esker_loss_kind loss;
    esker_loss_settings settings; /* its class weights are owned */
    esker_tensor *class_weights;  /* the same on the device */
    bool float16;
    bool with_loss;       /* the model's output is one row a sample, so it can be measured */
    int64_t output_elems; /* of one sample */
    esker_dtype dtype;
    esker__feed full, rest; /* for whole batches, and for the samples behind them; without a plan where there are none */
    int32_t *indices;       /* one batch */
    float *outputs;         /* one batch, for predictions */
};

esker_status esker_evaluator_create(esker_model *net, const esker_evaluator_desc *desc, esker_evaluator **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_evaluator_create: out is NULL");
    *out = NULL;
    if (!net || !desc || !desc->device) return esker__fail(ESKER_ERR_INVALID, "evaluator: no model, desc or device");
    esker_status st = esker__check_step("evaluator", desc->batch, desc->loss, &desc->loss_settings);
    if (st != ESKER_OK) return st;
    esker_model_info info;
    esker_model_get_info(net, &info);
    /* An unfinished model, or one that cannot take this batch, is said now and not with the first data set. */
    bool with_loss = info.output_shape.rank == 1;
    esker__step_graph step;
    st = esker__record_step(net, ESKER_MODE_INFER, desc->batch, ESKER_DTYPE_F32, desc->loss,
                            with_loss ? &desc->loss_settings : NULL, &step);
    if (st != ESKER_OK) return st;
    esker_graph_destroy(step.graph);

    esker_evaluator *ev = esker__calloc(1, sizeof *ev);
    if (!ev) return esker__fail_memory(sizeof *ev, "an evaluator");
    ev->net = net;
    ev->device = esker__device_hold(desc->device);
    ev->batch = desc->batch;
    ev->loss = desc->loss;
    ev->float16 = desc->float16;
    ev->with_loss = with_loss;
    st = esker__settings_copy(&desc->loss_settings, &ev->settings);
    if (st == ESKER_OK) st = esker__class_weights_create(ev->device, &ev->settings, &ev->class_weights);
    if (st == ESKER_OK) st = esker_shape_elems(&info.output_shape, &ev->output_elems);
    if (st == ESKER_OK) {
        size_t n = (size_t)ev->batch;
        ev->indices = esker__malloc(n * sizeof *ev->indices);
        ev->outputs = esker__malloc(n * (size_t)ev->output_elems * sizeof *ev->outputs);
        if (!ev->indices || !ev->outputs)
            st = esker__fail_memory(n * (size_t)ev->output_elems * sizeof *ev->outputs, "a batch of predictions");
    }
    if (st != ESKER_OK) {
        esker_evaluator_destroy(ev);
        return st;
    }
    *out = ev;
    return ESKER_OK;
}

void esker_evaluator_destroy(esker_evaluator *ev)
{
    if (!ev) return;
    esker__feed_finish(&ev->full);
    esker__feed_finish(&ev->rest);
    esker_tensor_unref(ev->class_weights);
    esker__device_drop(ev->device);
    esker__free((void *)ev->settings.class_weights);
    esker__free(ev->indices);
    esker__free(ev->outputs);
    esker__free(ev);
}

/* A plan for `batch` samples, unless it is there; 0: none. */
static esker_status prepare_feed(esker_evaluator *ev, esker__feed *feed, int32_t batch, const esker_dataset_info *data)
{
    if (feed->plan && feed->batch == batch && ev->dtype == data->sample_dtype) return ESKER_OK;
    esker__feed_finish(feed);
    if (!batch) return ESKER_OK;
    esker__step_graph step;
    esker_plan *plan = NULL;
    esker_status st = esker__record_step(ev->net, ESKER_MODE_INFER, batch, data->sample_dtype, ev->loss,
                                         ev->with_loss ? &ev->settings : NULL, &step);
    if (st != ESKER_OK) return st;
    esker_node *outputs[] = {step.output, step.loss, step.correct};
    st = esker_plan_compile(step.graph,
                            &(esker_plan_desc){.device = ev->device,
                                               .outputs = outputs,
                                               .n_outputs = ev->with_loss ? OUT_CORRECT + 1 : 1,
                                               .float16 = ev->float16},
                            &plan);
    esker_graph_destroy(step.graph);
    if (st == ESKER_OK) st = esker__feed_init(feed, plan, ev->net, data, batch, ev->class_weights);
    if (st != ESKER_OK) esker__feed_finish(feed);
    return st;
}

static esker_status prepare(esker_evaluator *ev, const esker_dataset_info *data)
{
    esker_status st = prepare_feed(ev, &ev->full, data->n_samples >= ev->batch ? ev->batch : 0, data);
    if (st == ESKER_OK) st = prepare_feed(ev, &ev->rest, (int32_t)(data->n_samples % ev->batch), data);
    ev->dtype = data->sample_dtype;
    if (st == ESKER_OK) return ESKER_OK;
    esker__feed_finish(&ev->full);
    esker__feed_finish(&ev->rest);
    return st;
}

/* Queue a batch of samples, from `first` on. */
static esker_status submit(esker_evaluator *ev, esker__feed *feed, const esker_dataset *ds, int64_t first)
{
    int slot;
    esker_status st = esker__feed_wait_slot(feed, &slot);
    for (int32_t i = 0; i < feed->batch; i++) ev->indices[i] = (int32_t)(first + i);
    if (st == ESKER_OK) st = esker_dataset_gather(ds, ev->indices, feed->batch, feed->samples[slot], feed->labels[slot]);
    return st == ESKER_OK ? esker__feed_submit(feed, NULL) : st;
}

/* Where the results of a run go. */
typedef struct sink {
    esker_evaluation *evaluation;
    double loss_sum;
    float *outputs;
    int32_t *classes;
} sink;

static int32_t largest(const float *values, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (values[i] > values[best]) best = i;
    return (int32_t)best;
}

static esker_status collect(esker_evaluator *ev, const esker__feed *feed, uint64_t ticket, int64_t first, sink *to)
{
    esker_status st = ESKER_OK;
    if (to->evaluation) {
        float loss, correct;
        st = esker_plan_read(feed->plan, ticket, OUT_LOSS, &loss, sizeof loss);
        if (st == ESKER_OK) st = esker_plan_read(feed->plan, ticket, OUT_CORRECT, &correct, sizeof correct);
        if (st != ESKER_OK) return st;
        to->loss_sum += (double)loss * feed->batch;
        to->evaluation->correct += (int64_t)correct;
        to->evaluation->samples += feed->batch;
        return ESKER_OK;
    }
    size_t n_bytes = (size_t)feed->batch * (size_t)ev->output_elems * sizeof(float);
    st = esker_plan_read(feed->plan, ticket, OUT_OUTPUT, ev->outputs, n_bytes);
    if (st != ESKER_OK) return st;
    if (to->outputs) memcpy(to->outputs + first * ev->output_elems, ev->outputs, n_bytes);
    for (int32_t i = 0; to->classes && i < feed->batch; i++)
        to->classes[first + i] = largest(ev->outputs + i * ev->output_elems, ev->output_elems);
    return ESKER_OK;
}

static esker_status run(esker_evaluator *ev, const esker_dataset *ds, const esker_dataset_info *data, sink *to)
{
    int64_t n_full = data->n_samples / ev->batch, n_batches = n_full + (ev->rest.plan != NULL);
    uint64_t start = ev->full.ticket, start_rest = ev->rest.ticket;
    esker_status st = ESKER_OK;
    for (int64_t i = 0; st == ESKER_OK && i < n_batches + ESKER__LAG; i++) {
        if (i < n_batches) st = submit(ev, i < n_full ? &ev->full : &ev->rest, ds, i * ev->batch);
        int64_t done = i - ESKER__LAG;
        if (st != ESKER_OK || done < 0) continue;
        if (done < n_full)
            st = collect(ev, &ev->full, start + (uint64_t)done, done * ev->batch, to);
        else
            st = collect(ev, &ev->rest, start_rest, done * ev->batch, to);
    }
    return st;
}

esker_status esker_evaluator_measure(esker_evaluator *ev, esker_dataset *ds, esker_evaluation *out)
{
    if (!ev || !out) return esker__fail(ESKER_ERR_INVALID, "esker_evaluator_measure: a pointer is NULL");
    *out = (esker_evaluation){0};
    esker_status st = esker__check_data(ev->net, ds, true);
    if (st != ESKER_OK) return st;
    esker_dataset_info data;
    esker_dataset_get_info(ds, &data);
    uint64_t start = esker__now_ns();
    sink to = {.evaluation = out};
    st = prepare(ev, &data);
    if (st == ESKER_OK) st = run(ev, ds, &data, &to);
    if (st != ESKER_OK) {
        *out = (esker_evaluation){0};
        return st;
    }
    out->loss = to.loss_sum / (double)out->samples;
    out->accuracy = (double)out->correct / (double)out->samples;
    out->seconds = (double)(esker__now_ns() - start) * 1e-9;
    return ESKER_OK;
}

esker_status esker_evaluator_predict(esker_evaluator *ev, esker_dataset *ds, float *out_outputs, int32_t *out_classes)
{
    if (!ev) return esker__fail(ESKER_ERR_INVALID, "esker_evaluator_predict: ev is NULL");
    esker_status st = esker__check_data(ev->net, ds, false);
    if (st != ESKER_OK) return st;
    esker_dataset_info data;
    esker_dataset_get_info(ds, &data);
    sink to = {.outputs = out_outputs, .classes = out_classes};
    st = prepare(ev, &data);
    return st == ESKER_OK ? run(ev, ds, &data, &to) : st;
}
