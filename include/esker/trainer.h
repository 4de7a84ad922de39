/**
 * Trainers: a model, a loss, an optimizer and a loader, run for epochs.
 *
 *     esker_trainer *trainer;
 *     esker_trainer_create(net, &(esker_trainer_desc){.device = dev, .batch = 64,
 *                          .optimizer = {.kind = ESKER_OPTIMIZER_ADAM, .lr = 1e-3f}}, &trainer);
 *     esker_trainer_fit(trainer, train_set, &(esker_fit_desc){.epochs = 5, .validation = test_set});
 *     esker_trainer_destroy(trainer);
 *     esker_model_save(net, "digits.safetensors");
 *
 * A last batch that is not full is a step of that many samples, as in PyTorch: its loss and the statistics of batch norm are
 * those of its samples alone. It has a second plan, which shares everything but temporaries with the first.
 *
 * A step is one submission of one plan: forward, loss, backward, update. The loader's thread fills the mapped slots of the
 * plan's inputs (through host memory where the driver cannot map), up to ESKER_PLAN_SLOTS steps are in flight, and the loss
 * of a step is read ESKER_PLAN_SLOTS - 1 steps later, behind its fence. After the first steps of an epoch a step allocates
 * nothing, makes no GL object, compiles nothing, and never waits for the step that was just queued; esker_train_stats
 * counts it.
 *
 * Bits       The same model, starting values, data, descs, device and driver give the same bits, run after run.
 * Threads    The thread that owns the device; callbacks run in it, inside esker_trainer_fit(). Trainers of two devices may run in
 *            two threads.
 */
#ifndef ESKER_TRAINER_H
#define ESKER_TRAINER_H

#include "evaluator.h"
#include "loader.h"
#include "plan.h"
#include "schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_trainer esker_trainer;

typedef struct esker_trainer_desc {
    esker_device *device; /* referenced */
    int32_t batch;        /* samples a step, >= 1 */
    esker_loss_kind loss;
    esker_optimizer_desc optimizer;
    uint64_t seed;   /* of the order of samples, and of random operations; starting values are esker_params_init_values() */
    bool keep_order; /* samples in the order of the data set, not shuffled anew each epoch */
    bool
        drop_last; /* leave out a last batch that is not full; else it is a batch of fewer samples, with a plan of its own */
    int32_t eval_batch; /* of validation and esker_trainer_evaluate(); 0: `batch` or 256, whichever is larger */
    bool
        check; /* every step in check mode (esker_plan_desc): fit() then fails with ESKER_ERR_MISMATCH where the device is wrong */
    esker_schedule *
        schedule; /* of the learning rate, from the optimizer's; referenced. NULL: constant. Its total is said with each fit() */
    esker_loss_settings loss_settings;
    double tune_seconds;  /* as in esker_plan_desc: when the plan is compiled, never in a step */
    bool no_fusion;       /* as in esker_plan_desc */
    const char *renderer; /* of esker_trainer_plan() without a device, as in esker_plan_desc */
} esker_trainer_desc;

/**
 * Make a trainer. The training step is recorded (so that shapes and settings are checked here), but compiled for the
 * device with the first data set, whose element type the plan's input takes. The optimizer's state belongs to the model's
 * parameters and begins at zero with the trainer's first fit(): trainers of one model may follow each other, but not take
 * turns.
 * Ownership  *out is destroyed with esker_trainer_destroy(), before `net`, which it borrows.
 * Errors     ESKER_ERR_INVALID: a NULL, batch < 1 (with the number), an unknown loss, loss settings as in evaluator.h, an optimizer setting that is not a
 *            number, infinite or negative, a model that is not finished, or whose output is not one row of numbers.
 *            ESKER_ERR_NO_MEMORY. *out is NULL then.
 */
ESKER_API esker_status esker_trainer_create(esker_model *net, const esker_trainer_desc *desc, esker_trainer **out);
/** Waits for steps in flight. The model keeps its values. Accepts NULL. */
ESKER_API void esker_trainer_destroy(esker_trainer *trainer);

/* ---- What fit() tells while it runs ---- */

/** One finished step. Numbers count from 1. */
typedef struct esker_step_record {
    int epoch;
    int64_t step;        /* since the trainer was made */
    int32_t samples;     /* of the batch; fewer than `batch` in a last one that is not full */
    float loss;          /* mean over them, before the update; may be not a number */
    float accuracy;      /* of them, before the update */
    float lr;            /* that the update used */
    float gradient_norm; /* over all parameters, before clip_norm; 0 without it */
} esker_step_record;

typedef struct esker_progress {
    int epoch, epochs;            /* this one, from 1, and the last of this fit() */
    int64_t step, steps;          /* of this epoch: finished, and all */
    int64_t total_steps;          /* finished since the trainer was made */
    double loss, accuracy;        /* means over the epoch's samples so far, each measured before the update by its batch */
    double samples_per_second;    /* of the epoch so far, without validation; 0 before the first step */
    double seconds, seconds_left; /* since fit() began; until it ends, estimated (negative: not known yet) */
    int64_t bad_losses;           /* steps since fit() began whose loss was not a finite number */
    bool epoch_done;              /* the epoch's last progress */
    bool validated;               /* `validation` was measured: only if epoch_done, with a validation set */
    esker_evaluation validation;
} esker_progress;

typedef struct esker_fit_desc {
    int epochs;                /* >= 0 */
    esker_dataset *validation; /* measured after each epoch; may be NULL */
    /** Called at most each `progress_seconds`, and at the end of each epoch. false: stop. May be NULL. */
    bool (*progress)(const esker_progress *progress, void *user);
    double progress_seconds; /* 0: 0.25 */
    /** Called for each step once its loss is known, a few steps late, in order. false: stop. May be NULL. */
    bool (*log)(const esker_step_record *record, void *user);
    void *user; /* for both */
} esker_fit_desc;

/**
 * Train on `train_set` for desc->epochs more epochs. A further call goes on: epoch numbers, sample order, the step number
 * and the optimizer's state continue. A loss that is not a finite number does not end the training; it is counted in
 * bad_losses, its first appearance goes to the log as a warning, and the means become what they then are.
 * Errors     ESKER_ERR_INVALID: epochs < 0; samples of another shape than the model's input (both), another count of
 *            classes than the model's outputs (both), no labels, in either data set; drop_last and fewer samples than a
 *            batch; batch norm over a last batch of one value for a channel (drop_last leaves it out). ESKER_ERR_CANCELLED: a
 *            callback returned false; the steps submitted until then are finished, and the model can be used and saved; the epoch
 * begins anew with the next fit(). ESKER_ERR_LOST and others as of plans.
 */
ESKER_API esker_status esker_trainer_fit(esker_trainer *trainer, esker_dataset *train_set, const esker_fit_desc *desc);

/** Measure on a held-out set, with the trainer's loss; esker_evaluator_measure() has the details. */
ESKER_API esker_status esker_trainer_evaluate(esker_trainer *trainer, esker_dataset *ds, esker_evaluation *out);

/** The learning rate of steps submitted from now on, or with a schedule the one it begins from, > 0. Errors: ESKER_ERR_INVALID with the number. */
ESKER_API esker_status esker_trainer_set_lr(esker_trainer *trainer, float lr);

/* ---- What a step costs ---- */

/**
 * Counted by the device (esker_counters) over one window: the steps of the latest epoch that had any in it, but for
 * its first 2 * ESKER_PLAN_SLOTS ones, and up to its last submission. So the window leaves out what happens once or at the
 * border of epochs (compiling, filling the pipeline, waiting for the last losses, validation), and nothing of what happens
 * in a step. Calls of `log` and `progress` are inside; heap allocations are the library's, of all threads.
 */
typedef struct esker_train_stats {
    int64_t steps; /* in the window; 0: no epoch was long enough, and the rest is 0 */
    double dispatches_per_step, barriers_per_step;
    double heap_allocations_per_step, gl_objects_per_step, compiles_per_step, waits_per_step; /* 0 in a steady state */
    double fences_per_step, throttles_per_step, uploaded_bytes_per_step;
    double loader_waits_per_step; /* the batch was not filled yet when it was wanted */
    double step_seconds_median,
        step_seconds_mean; /* from submission to submission; the median over means of ESKER_PLAN_SLOTS steps in a row */
    uint64_t peak_bytes;   /* prediction of the plan for full batches: esker_plan_info.peak_bytes */
    uint64_t
        allocated_bytes; /* what making that plan added to esker_memory_stats.in_use_bytes, parameters included if it was
                                   the first to use them */
    uint64_t buffer_peak_bytes; /* most bytes of buffers on the device so far, of everything, what is cached included */
} esker_train_stats;

ESKER_API void esker_trainer_get_stats(const esker_trainer *trainer, esker_train_stats *out);

/* ---- The plan behind it ---- */

/**
 * Compile the plan that a trainer of this model and desc runs, for looking at it: with desc->device NULL it is for
 * `limits` (NULL: the ES 3.1 minimum) and cannot run. `sample_dtype` is the data set's. Outputs: 0 the loss, 1 how many
 * samples were right, and with clip_norm 2 the norm of the gradients. Inputs: the model's, "labels" int32 [batch], and
 * with class weights "class_weights" float32 [classes]. Models of sequences, whose output for a sample is [rows, classes], can be planned, too, with
 * a label for each row, [batch * rows]; trainers have no data sets for them.
 * Ownership  *out is the caller's, esker_plan_destroy().
 * Errors     As esker_trainer_create() and esker_plan_compile().
 */
ESKER_API esker_status esker_trainer_plan(esker_model *net, const esker_trainer_desc *desc, esker_dtype sample_dtype,
                                          const esker_limits *limits, esker_plan **out);

#ifdef __cplusplus
}
#endif
#endif
