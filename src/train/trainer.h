/* The inside of a trainer: trainer.c makes it, fit.c runs it, meter.c counts. */
#ifndef ESKER_TRAIN_TRAINER_H
#define ESKER_TRAIN_TRAINER_H

#include <esker/trainer.h>
#include "train/step.h"

/** Means over the steps of one epoch, and the window of esker_train_stats. */
typedef struct esker__meter {
    /* Of the epoch. */
    double loss_sum, correct_sum;
    int64_t samples, steps, n_steps;
    uint64_t epoch_start_ns;
    /* The window; see esker_train_stats. */
    esker_counters at_start;
    uint64_t window_start_ns, last_submit_ns, submit_ns[ESKER_PLAN_SLOTS], n_submits;
    int64_t window_steps, loader_waits;
    double *intervals; /* seconds between submissions, room for n_steps; NULL: no window */
} esker__meter;

void esker__meter_begin_epoch(esker__meter *meter, int64_t n_steps);
/** Before the batch of step `index` (from 0) of the epoch is taken. */
void esker__meter_before_step(esker__meter *meter, const esker_device *dev, int64_t index);
/** Behind its submission. */
void esker__meter_submitted(esker__meter *meter, bool loader_waited);
/** Close the window, behind the last submission of an epoch; leaves `stats` as it is if the window is empty. */
void esker__meter_end_window(esker__meter *meter, const esker_device *dev, esker_train_stats *stats);
/** A step's results arrived. */
void esker__meter_add(esker__meter *meter, double loss, double correct, int32_t samples);

/** A step whose results are not read yet. */
typedef struct esker__pending {
    esker__feed *feed;
    uint64_t ticket;
    float lr;
} esker__pending;

struct esker_trainer {
    esker_model *net;            /* borrowed */
    esker_trainer_desc desc;     /* the class weights of its loss settings are owned */
    esker_tensor *class_weights; /* the same on the device */
    esker_dtype dtype;
    esker__feed full, rest; /* for whole batches, and for the samples behind them; without a plan where there are none */
    esker_evaluator *evaluator;
    esker_train_stats stats;
    float lr; /* of the optimizer, or set since; a schedule begins from it */
    int epochs_done;
    int64_t steps_done; /* whose results were read */
    uint64_t steps_submitted;
    esker__pending pending[ESKER_PLAN_SLOTS];
    int first_pending, n_pending;
};

/** Compile the plans that `data` needs, unless they are there. */
esker_status esker__trainer_prepare(esker_trainer *trainer, const esker_dataset_info *data);

#endif
