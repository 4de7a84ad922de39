/**
 * Schedules: the learning rate as a function of the step, or of the epoch.
 *
 *     esker_schedule *schedule;
 *     esker_schedule_create(&(esker_schedule_desc){.kind = ESKER_SCHEDULE_COSINE, .warmup = 100}, &schedule);
 *     esker_trainer_create(net, &(esker_trainer_desc){..., .schedule = schedule}, &trainer);    references it
 *     esker_schedule_unref(schedule);
 *
 * A schedule is a function of t, which counts from 0: steps, or with per_epoch epochs. A rate of a program's own loop is
 * esker_plan_set_lr(plan, esker_schedule_lr(schedule, lr, t)) before step t. The formulas are PyTorch's, and tested against
 * it; lr is the optimizer's rate.
 *
 * Threads    One at a time; esker_schedule_ref() and esker_schedule_unref() in any.
 */
#ifndef ESKER_SCHEDULE_H
#define ESKER_SCHEDULE_H

#include "status.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_schedule esker_schedule;

typedef enum esker_schedule_kind {
    ESKER_SCHEDULE_CONSTANT = 0,
    ESKER_SCHEDULE_STEP,        /* lr gamma^floor(t / period) */
    ESKER_SCHEDULE_MULTI_STEP,  /* lr gamma^(how many milestones are at or before t) */
    ESKER_SCHEDULE_EXPONENTIAL, /* lr gamma^t */
    ESKER_SCHEDULE_LINEAR,      /* lr (start + (end - start) min(t / period, 1)) */
    ESKER_SCHEDULE_POLYNOMIAL,  /* lr (1 - min(t / period, 1))^power */
    ESKER_SCHEDULE_COSINE, /* min_lr + (lr - min_lr) (1 + cos(pi t / period)) / 2, which rises again behind the period */
    ESKER_SCHEDULE_COSINE_RESTARTS, /* the same falling half again and again, each period_factor times as long as the one
                                       before (Loshchilov, Hutter 2017) */
    ESKER_SCHEDULE_ONE_CYCLE, /* from start lr up to lr until rise * period - 1, down to end lr at period - 1, along cosines
                                 or lines (Smith, Topin 2017). three_phase: down to start lr as long as up, then to end lr */
    ESKER_SCHEDULE_PLATEAU,   /* lr gamma^(how often the metric did not get better for long), not below min_lr */
    ESKER_SCHEDULE_CHAIN      /* parts[i] from milestones[i - 1] on, each counting from 0 there */
} esker_schedule_kind;

#define ESKER_SCHEDULE_MAX_MILESTONES 16

/** Zero means the usual value where one is named. A setting that the kind does not have must be 0. */
typedef struct esker_schedule_desc {
    esker_schedule_kind kind;
    bool per_epoch; /* t, period, milestones and warmup count epochs; of a chain, not of its parts */
    int64_t
        period;   /* step, cosine_restarts: >= 1. linear, polynomial, cosine, one_cycle: 0 is up to the end of the training
                          (esker_schedule_set_total), or of its part of a chain */
    double gamma; /* step, multi_step, exponential, plateau: over 0, at most 1; 0: 0.1, but exponential needs one */
    double start, end; /* linear: from and to which part of lr; 0: 1/3 and 1. one_cycle: 1/25 and 4e-6 */
    bool to_zero;      /* linear: end is 0 */
    double power;      /* polynomial; 0: 1 */
    double min_lr;     /* cosine, cosine_restarts, plateau: a rate, not a factor */
    int period_factor; /* cosine_restarts; 0: 1 */
    double rise;       /* one_cycle: the rising part of the period, below 1; 0: 0.3 */
    bool linear;       /* one_cycle: along lines */
    bool three_phase;  /* one_cycle */
    int patience,
        cooldown;     /* plateau: reports without getting better that are borne; 0: 10, negative: none. Reports after a fall
                               that do not count */
    double threshold; /* plateau: what is better by less than this part of the best does not count; 0: 1e-4 */
    bool higher_is_better;                             /* plateau: of accuracies */
    int64_t milestones[ESKER_SCHEDULE_MAX_MILESTONES]; /* multi_step, chain: ascending */
    int n_milestones;
    const struct esker_schedule_desc *parts; /* chain: n_milestones + 1 of them; copied. Neither chains nor plateaus */
    int n_parts;
    /** In front of any kind: the rate rises in a line from warmup_start of what it is behind (0: 1 / warmup) for t below `warmup`,
     *  and the kind counts from there. A plateau counts nothing, so it is multiplied. */
    int64_t warmup;
    double warmup_start;
} esker_schedule_desc;

/**
 * A schedule with one reference.
 * Errors     ESKER_ERR_INVALID: an unknown kind, a setting out of range or of another kind, with name and number.
 *            ESKER_ERR_NO_MEMORY. *out is NULL then.
 */
ESKER_API esker_status esker_schedule_create(const esker_schedule_desc *desc, esker_schedule **out);
ESKER_API esker_schedule *esker_schedule_ref(esker_schedule *schedule);
ESKER_API void esker_schedule_unref(esker_schedule *schedule); /* accepts NULL */

/**
 * From a text, as the command takes it: "KIND" or "KIND:NAME=VALUE,..." with the names above but for "min" and "factor"
 * (min_lr, period_factor) and switches without a value ("epochs" for per_epoch); milestones are joined by "+". A chain is
 * "PART/T/PART", the second part beginning at T. Examples  "cosine:min=1e-5", "step:period=30,gamma=0.5,epochs",
 * "multi_step:milestones=30+60", "linear:start=0.1,period=100/100/exponential:gamma=0.99". `warmup`   as in the
 * description; 0: what the text says.
 * Errors     ESKER_ERR_INVALID with what is wrong, and which kinds or names there are.
 */
ESKER_API esker_status esker_schedule_from_text(const char *text, int64_t warmup, esker_schedule **out);

/** The rate at t >= 0, from the optimizer's `lr`. Negative t is 0, NULL is constant. */
ESKER_API float esker_schedule_lr(const esker_schedule *schedule, float lr, int64_t t);
/** Whether it counts epochs; false for NULL. */
ESKER_API bool esker_schedule_per_epoch(const esker_schedule *schedule);
/** How long the training is, for periods of 0; until it is said they last for ever. Trainers say it with each fit(). */
ESKER_API void esker_schedule_set_total(esker_schedule *schedule, int64_t total);
/**
 * Tell a plateau schedule its metric (others do not listen): trainers report at the end of each epoch the validation loss,
 * or without a validation set the mean training loss. Not a number counts as not better.
 */
ESKER_API void esker_schedule_report(esker_schedule *schedule, double metric);

#ifdef __cplusplus
}
#endif
#endif
