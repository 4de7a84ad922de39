/*
 * What evaluators and trainers share: recording a model with its loss, checking that a data set fits, and feeds, which carry
 * batches into the inputs of a plan. A plan is for one number of samples, so there are two: one for full batches, and one for
 * what is left of a data set behind them, if anything is.
 */
#ifndef ESKER_TRAIN_STEP_H
#define ESKER_TRAIN_STEP_H

#include <esker/evaluator.h>
#include <esker/ops.h>
#include <esker/plan.h>
#include "graph/graph.h"

/* Results are read so many steps late: by then every slot but the one being filled is in flight. */
#define ESKER__LAG (ESKER_PLAN_SLOTS - 1)

/** A model for one batch size, with what is computed from its output. */
typedef struct esker__step_graph {
    esker_graph *graph;         /* the caller's: esker_graph_destroy() */
    esker_node *output;         /* [batch, ...] */
    esker_node *loss, *correct; /* NULL if they were not asked for */
} esker__step_graph;

/**
 * Record `net` for `batch` samples of `dtype`, and unless `settings` is NULL loss and count of right ones, from "labels" int32
 * [batch], or [batch * rows] where the output for a sample is [rows, classes], and with class weights from ESKER__CLASS_WEIGHTS.
 */
esker_status esker__record_step(esker_model *net, esker_mode mode, int64_t batch, esker_dtype dtype, esker_loss_kind loss,
                                const esker_loss_settings *settings, esker__step_graph *out);

/** Batch and loss of a desc; `who` begins the message. */
esker_status esker__check_step(const char *who, int32_t batch, esker_loss_kind loss, const esker_loss_settings *settings);

/* losses.c: checking the loss alone; recording it for labels; and its class weights, an input that every plan is bound to. */
#define ESKER__CLASS_WEIGHTS "class_weights"
esker_status esker__check_loss(const char *who, esker_loss_kind kind, const esker_loss_settings *settings);
esker_node *esker__record_loss(esker_node *output, esker_node *labels, esker_loss_kind kind,
                               const esker_loss_settings *settings);
/** With class weights of its own: esker__free them. */
esker_status esker__settings_copy(const esker_loss_settings *from, esker_loss_settings *out);
/** NULL in *out if there are none. */
esker_status esker__class_weights_create(esker_device *dev, const esker_loss_settings *settings, esker_tensor **out);
/** Whether the model has one row of classes for a sample, as labels of data sets need it. */
esker_status esker__check_rows(const esker_model *net);
/** Whether the model can take the samples, and with `with_labels` learn or be measured with the labels. */
esker_status esker__check_data(const esker_model *net, const esker_dataset *ds, bool with_labels);

/**
 * A plan and the way into it. A batch is written to samples[slot] and labels[slot]: the mapped input slots, or host memory
 * that esker__feed_submit() copies from. Zero: there is none.
 */
typedef struct esker__feed {
    esker_plan *plan; /* owned */
    int32_t batch;
    size_t samples_bytes, labels_bytes;
    int input, label_input; /* indices in the plan; -1: it has none */
    bool samples_mapped, labels_mapped;
    void *samples[ESKER_PLAN_SLOTS];
    int32_t *labels[ESKER_PLAN_SLOTS];
    uint64_t ticket; /* of the next step; its slot is ticket % ESKER_PLAN_SLOTS */
    void *host_samples;
    int32_t *host_labels;
} esker__feed;

/**
 * Takes `plan`, also in a failure, to which nothing was submitted yet. `class_weights` may be NULL. Finish it also after a
 * failure.
 */
esker_status esker__feed_init(esker__feed *feed, esker_plan *plan, const esker_model *net, const esker_dataset_info *data,
                              int32_t batch, esker_tensor *class_weights);
/** Waits for steps in flight. Zeros are fine. */
void esker__feed_finish(esker__feed *feed);

/** Block until the next step's slot may be filled. */
esker_status esker__feed_wait_slot(esker__feed *feed, int *out_slot);

/** Submit the batch that was filled into the next step's slot. */
esker_status esker__feed_submit(esker__feed *feed, uint64_t *out_ticket);

#endif
