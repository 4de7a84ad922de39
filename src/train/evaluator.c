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
    bool with_loss;       /* the model's output is one row a sample, so it can be measured */
    int64_t output_elems; /* of one sample */
    esker_plan *plan;     /* NULL before the first data set */
    esker_dtype dtype;
    esker__feed feed;
    int32_t *indices; /* one batch */
    float *outputs;   /* one batch, for predictions */
};

esker_status esker_evaluator_create(esker_model *net, const esker_evaluator_desc *desc, esker_evaluator **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_evaluator_create: out is NULL");
    *out = NULL;
    if (!net || !desc || !desc->device) return esker__fail(ESKER_ERR_INVALID, "evaluator: no model, desc or device");
    esker_status st = esker__check_step("evaluator", desc->batch, desc->loss);
    if (st != ESKER_OK) return st;
    esker_model_info info;
    esker_model_get_info(net, &info);
    /* An unfinished model, or one that cannot take this batch, is said now and not with the first data set. */
    bool with_loss = info.output_shape.rank == 1;
    esker__step_graph step;
    st = esker__record_step(net, ESKER_MODE_INFER, desc->batch, ESKER_DTYPE_F32, desc->loss, with_loss, &step);
    if (st != ESKER_OK) return st;
    esker_graph_destroy(step.graph);

    esker_evaluator *ev = esker__calloc(1, sizeof *ev);
    if (!ev) return esker__fail_memory(sizeof *ev, "an evaluator");
    ev->net = net;
    ev->device = esker__device_hold(desc->device);
    ev->batch = desc->batch;
    ev->loss = desc->loss;
    ev->with_loss = with_loss;
    st = esker_shape_elems(&info.output_shape, &ev->output_elems);
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

static void drop_plan(esker_evaluator *ev)
{
    esker__feed_finish(&ev->feed);
    esker_plan_destroy(ev->plan);
    ev->plan = NULL;
}

void esker_evaluator_destroy(esker_evaluator *ev)
{
    if (!ev) return;
    drop_plan(ev);
    esker__device_drop(ev->device);
    esker__free(ev->indices);
    esker__free(ev->outputs);
    esker__free(ev);
}

/* The plan for this element type. */
static esker_status prepare(esker_evaluator *ev, const esker_dataset_info *data)
{
    if (ev->plan && ev->dtype == data->sample_dtype) return ESKER_OK;
    drop_plan(ev);
    esker__step_graph step;
    esker_status st = esker__record_step(ev->net, ESKER_MODE_INFER, ev->batch, data->sample_dtype, ev->loss, ev->with_loss,
                                         &step);
    if (st != ESKER_OK) return st;
    esker_node *outputs[] = {step.output, step.loss, step.correct};
    st = esker_plan_compile(
        step.graph,
        &(esker_plan_desc){.device = ev->device, .outputs = outputs, .n_outputs = ev->with_loss ? OUT_CORRECT + 1 : 1},
        &ev->plan);
    esker_graph_destroy(step.graph);
    if (st == ESKER_OK) st = esker__feed_init(&ev->feed, ev->plan, ev->net, data, ev->batch);
    ev->dtype = data->sample_dtype;
    if (st != ESKER_OK) drop_plan(ev);
    return st;
}

/* Queue the samples from `first` on. */
static esker_status submit(esker_evaluator *ev, const esker_dataset *ds, int64_t first, int32_t n_valid)
{
    int slot;
    esker_status st = esker__feed_wait_slot(&ev->feed, &slot);
    for (int32_t i = 0; i < ev->batch; i++) ev->indices[i] = i < n_valid ? (int32_t)(first + i) : -1;
    if (st == ESKER_OK)
        st = esker_dataset_gather(ds, ev->indices, ev->batch, ev->feed.samples[slot], ev->feed.labels[slot]);
    return st == ESKER_OK ? esker__feed_submit(&ev->feed, n_valid, NULL) : st;
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

static esker_status collect(esker_evaluator *ev, uint64_t ticket, int64_t first, int32_t n_valid, sink *to)
{
    esker_status st = ESKER_OK;
    if (to->evaluation) {
        float loss, correct;
        st = esker_plan_read(ev->plan, ticket, OUT_LOSS, &loss, sizeof loss);
        if (st == ESKER_OK) st = esker_plan_read(ev->plan, ticket, OUT_CORRECT, &correct, sizeof correct);
        if (st != ESKER_OK) return st;
        to->loss_sum += (double)loss * n_valid;
        to->evaluation->correct += (int64_t)correct;
        to->evaluation->samples += n_valid;
        return ESKER_OK;
    }
    size_t row_bytes = (size_t)ev->output_elems * sizeof(float);
    st = esker_plan_read(ev->plan, ticket, OUT_OUTPUT, ev->outputs, (size_t)ev->batch * row_bytes);
    if (st != ESKER_OK) return st;
    if (to->outputs) memcpy(to->outputs + first * ev->output_elems, ev->outputs, (size_t)n_valid * row_bytes);
    for (int32_t i = 0; to->classes && i < n_valid; i++)
        to->classes[first + i] = largest(ev->outputs + i * ev->output_elems, ev->output_elems);
    return ESKER_OK;
}

static esker_status run(esker_evaluator *ev, const esker_dataset *ds, const esker_dataset_info *data, sink *to)
{
    int64_t n_batches = (data->n_samples + ev->batch - 1) / ev->batch;
    uint64_t start = ev->feed.ticket;
    esker_status st = ESKER_OK;
    for (int64_t i = 0; st == ESKER_OK && i < n_batches + ESKER__LAG; i++) {
        int64_t first = i * ev->batch, left = data->n_samples - first;
        if (i < n_batches) st = submit(ev, ds, first, left < ev->batch ? (int32_t)left : ev->batch);
        int64_t done = i - ESKER__LAG;
        if (st != ESKER_OK || done < 0) continue;
        first = done * ev->batch;
        left = data->n_samples - first;
        st = collect(ev, start + (uint64_t)done, first, left < ev->batch ? (int32_t)left : ev->batch, to);
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
