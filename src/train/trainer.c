/* Making trainers, and the plans of a training step. */
#include "train/trainer.h"

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"

/* Evaluation keeps no gradients, so a larger batch costs little and needs fewer submissions. */
#define EVAL_BATCH 256

static esker_status record(esker_model *net, const esker_trainer_desc *desc, esker_dtype dtype, esker__step_graph *out)
{
    esker_status st = esker__record_step(net, ESKER_MODE_TRAIN, desc->batch, dtype, desc->loss, &desc->loss_settings, out);
    if (st != ESKER_OK) return st;
    st = esker_optimize(out->loss, &desc->optimizer);
    if (st != ESKER_OK) {
        esker_graph_destroy(out->graph);
        *out = (esker__step_graph){0};
    }
    return st;
}

esker_status esker_trainer_plan(esker_model *net, const esker_trainer_desc *desc, esker_dtype sample_dtype,
                                const esker_limits *limits, esker_plan **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_trainer_plan: out is NULL");
    *out = NULL;
    if (!net || !desc) return esker__fail(ESKER_ERR_INVALID, "trainer: no model or desc");
    esker__step_graph step;
    esker_status st = esker__check_step("trainer", desc->batch, desc->loss, &desc->loss_settings);
    if (st == ESKER_OK) st = record(net, desc, sample_dtype, &step);
    if (st != ESKER_OK) return st;
    esker_node *outputs[3] = {step.loss, step.correct};
    bool norm = desc->optimizer.clip_norm > 0;
    if (norm) outputs[2] = esker_gradient_norm(step.graph);
    st = esker_plan_compile(step.graph,
                            &(esker_plan_desc){.device = desc->device,
                                               .limits = limits,
                                               .outputs = outputs,
                                               .n_outputs = norm ? 3 : 2,
                                               .seed = desc->seed,
                                               .check = desc->check,
                                               .no_fusion = desc->no_fusion,
                                               .tune_seconds = desc->tune_seconds,
                                               .renderer = desc->renderer},
                            out);
    esker_graph_destroy(step.graph);
    return st;
}

esker_status esker_trainer_create(esker_model *net, const esker_trainer_desc *desc, esker_trainer **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_trainer_create: out is NULL");
    *out = NULL;
    if (!net || !desc || !desc->device) return esker__fail(ESKER_ERR_INVALID, "trainer: no model, desc or device");
    if (desc->eval_batch < 0)
        return esker__fail(ESKER_ERR_INVALID, "trainer: evaluation batch of %d, it must be 1 or more (0: chosen)",
                           desc->eval_batch);
    esker_status st = esker__check_step("trainer", desc->batch, desc->loss, &desc->loss_settings);
    if (st != ESKER_OK) return st;
    /* Everything that can be wrong with model, loss and optimizer is said now, not with the first data set. */
    esker__step_graph step;
    st = record(net, desc, ESKER_DTYPE_F32, &step);
    if (st != ESKER_OK) return st;
    esker_graph_destroy(step.graph);
    st = esker__check_rows(net);
    if (st != ESKER_OK) return st;

    esker_trainer *trainer = esker__calloc(1, sizeof *trainer);
    if (!trainer) return esker__fail_memory(sizeof *trainer, "a trainer");
    trainer->net = net;
    trainer->desc = *desc;
    trainer->desc.loss_settings = (esker_loss_settings){0};
    esker__device_hold(desc->device);
    esker_schedule_ref(desc->schedule);
    trainer->lr = desc->optimizer.lr > 0 ? desc->optimizer.lr : esker_optimizer_usual_lr(desc->optimizer.kind);
    int32_t eval_batch = desc->eval_batch;
    if (!eval_batch) eval_batch = desc->batch > EVAL_BATCH ? desc->batch : EVAL_BATCH;
    st = esker__settings_copy(&desc->loss_settings, &trainer->desc.loss_settings);
    if (st == ESKER_OK) st = esker__class_weights_create(desc->device, &desc->loss_settings, &trainer->class_weights);
    if (st == ESKER_OK)
        st = esker_evaluator_create(
            net,
            &(esker_evaluator_desc){
                .device = desc->device, .batch = eval_batch, .loss = desc->loss, .loss_settings = desc->loss_settings},
            &trainer->evaluator);
    if (st != ESKER_OK) {
        esker_trainer_destroy(trainer);
        return st;
    }
    *out = trainer;
    return ESKER_OK;
}

void esker_trainer_destroy(esker_trainer *trainer)
{
    if (!trainer) return;
    esker__feed_finish(&trainer->full);
    esker__feed_finish(&trainer->rest);
    esker_evaluator_destroy(trainer->evaluator);
    esker_tensor_unref(trainer->class_weights);
    esker__free((void *)trainer->desc.loss_settings.class_weights);
    esker_schedule_unref(trainer->desc.schedule);
    esker__device_drop(trainer->desc.device);
    esker__free(trainer);
}

/*
 * The optimizer's state belongs to the parameters. An earlier trainer's would be taken for that of step 0, whose bias corrections
 * make it many times too large.
 */
static esker_status forget_state(esker_params *params)
{
    for (int i = 0; i < ESKER__MAX_STATE; i++) {
        if (!params->state[i].buffer) continue;
        esker_status st = esker__memory_clear(&params->state[i], 0, params->state[i].n_bytes);
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

/* A plan for `batch` samples, unless it is there; 0: none. */
static esker_status prepare_feed(esker_trainer *trainer, esker__feed *feed, int32_t batch, const esker_dataset_info *data)
{
    if (feed->plan && feed->batch == batch && trainer->dtype == data->sample_dtype) return ESKER_OK;
    esker__feed_finish(feed);
    if (!batch) return ESKER_OK;
    esker_plan *plan;
    esker_trainer_desc desc = trainer->desc;
    desc.batch = batch;
    esker_status st = esker_trainer_plan(trainer->net, &desc, data->sample_dtype, NULL, &plan);
    if (st != ESKER_OK) return st;
    st = esker__feed_init(feed, plan, trainer->net, data, batch, trainer->class_weights);
    if (st != ESKER_OK) esker__feed_finish(feed);
    return st;
}

static void note_memory(esker_trainer *trainer, const esker__feed *feed, const esker_memory_stats *before)
{
    esker_memory_stats after;
    esker_plan_info info;
    esker_memory_get_stats(trainer->desc.device, ESKER_MEMORY_ALL, &after);
    esker_plan_get_info(feed->plan, &info);
    trainer->stats.peak_bytes = info.peak_bytes;
    trainer->stats.allocated_bytes = after.in_use_bytes - before->in_use_bytes;
}

esker_status esker__trainer_prepare(esker_trainer *trainer, const esker_dataset_info *data)
{
    int32_t batch = trainer->desc.batch, full = data->n_samples >= batch ? batch : 0;
    int32_t rest = trainer->desc.drop_last ? 0 : (int32_t)(data->n_samples % batch);
    if (!trainer->steps_submitted) {
        esker_status forgotten = forget_state(esker_model_get_params(trainer->net));
        if (forgotten != ESKER_OK) return forgotten;
    }
    esker_memory_stats before;
    esker_memory_get_stats(trainer->desc.device, ESKER_MEMORY_ALL, &before);
    const esker_plan *old = full ? trainer->full.plan : trainer->rest.plan;
    esker__feed *first = full ? &trainer->full : &trainer->rest;
    esker_status st = prepare_feed(trainer, &trainer->full, full, data);
    if (st == ESKER_OK && full && first->plan != old) note_memory(trainer, first, &before);
    if (st == ESKER_OK) {
        st = prepare_feed(trainer, &trainer->rest, rest, data);
        if (st != ESKER_OK)
            esker__fail_prefix("training: the last batch of %d of %lld samples (drop_last leaves it out)", rest,
                               (long long)data->n_samples);
    }
    if (st == ESKER_OK && !full && rest && first->plan != old) note_memory(trainer, first, &before);
    trainer->dtype = data->sample_dtype;
    if (st == ESKER_OK) return ESKER_OK;
    esker__feed_finish(&trainer->full);
    esker__feed_finish(&trainer->rest);
    return st;
}

esker_status esker_trainer_set_lr(esker_trainer *trainer, float lr)
{
    if (!trainer) return esker__fail(ESKER_ERR_INVALID, "esker_trainer_set_lr: trainer is NULL");
    if (!(lr > 0) || isinf(lr))
        return esker__fail(ESKER_ERR_INVALID, "trainer: learning rate %g, it must be over 0 and finite", (double)lr);
    trainer->lr = lr;
    return ESKER_OK;
}

esker_status esker_trainer_evaluate(esker_trainer *trainer, esker_dataset *ds, esker_evaluation *out)
{
    if (!trainer) return esker__fail(ESKER_ERR_INVALID, "esker_trainer_evaluate: trainer is NULL");
    return esker_evaluator_measure(trainer->evaluator, ds, out);
}

void esker_trainer_get_stats(const esker_trainer *trainer, esker_train_stats *out)
{
    *out = trainer->stats;
    esker_counters now;
    esker_device_get_counters(trainer->desc.device, &now);
    out->buffer_peak_bytes = now.buffer_peak_bytes;
}
