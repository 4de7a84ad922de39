/**
 * Measuring: how fast a device is at its best, and how long parts of a plan take on it.
 *
 * Times are of the wall clock around work that ends in a fence, repeated until a round is long enough for it, so that they mean the same
 * on devices with timers and without. Everything here waits, and none of it belongs into a training.
 *
 * Threads    The thread that owns the device.
 */
#ifndef ESKER_MEASURE_H
#define ESKER_MEASURE_H

#include "device.h"
#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The best a device was seen to do: what the rest is measured against. */
typedef struct esker_device_rates {
    double flops_per_second;    /* float32 multiply-adds in registers, each two operations */
    double bytes_per_second;    /* a copy from one large buffer to another, read and written bytes together */
    double dependent_seconds;   /* of one dispatch in a row of very small ones with a barrier before each */
    double independent_seconds; /* the same without barriers */
} esker_device_rates;

/**
 * Measure them: about a second, and two buffers of 32 MiB, of 256 MiB where a storage block may have 1 GiB.
 * Errors     ESKER_ERR_NO_MEMORY, ESKER_ERR_COMPILE, ESKER_ERR_LOST.
 */
ESKER_API esker_status esker_device_measure(esker_device *dev, esker_device_rates *out);

typedef struct esker_measure_desc {
    int rounds;           /* 0: 5 */
    double round_seconds; /* the work is repeated until a round takes so long; 0: 0.02 */
} esker_measure_desc;

/** Seconds of one repetition, over the rounds. */
typedef struct esker_timing {
    double median_seconds, min_seconds, max_seconds;
    int64_t repeats; /* in each round */
} esker_timing;

/**
 * Run the dispatches first .. first + n - 1 alone, again and again, with their barriers and one before each repetition. They find what the
 * plan's memory holds: run a step first. Updates among them go on updating; the plan's steps are not counted.
 * `desc` may be NULL.
 * Errors     ESKER_ERR_INVALID: no such dispatches, a plan without a device, in check mode, or open (plan.h). ESKER_ERR_LOST.
 */
ESKER_API esker_status esker_plan_measure(esker_plan *plan, int first, int n, const esker_measure_desc *desc,
                                          esker_timing *out);

typedef struct esker_profile_desc {
    int steps;     /* that the medians are taken of, with timers; 0: 11, at most 101 */
    bool isolated; /* as if the device had no timers */
} esker_profile_desc;

/**
 * The time of each dispatch of a step, out_seconds[n_dispatches] (esker_plan_info). With GPU timers: the median over steps in which all run
 * in their order, each between two timestamps. Without: of each alone, as esker_plan_measure(). Run a step first; updates go on
 * updating. *out_timers (may be NULL) tells which it was; `desc` may be NULL.
 * Errors     As esker_plan_measure(); ESKER_ERR_DEVICE: the timers were disturbed (a clock changed) every time.
 */
ESKER_API esker_status esker_plan_profile(esker_plan *plan, const esker_profile_desc *desc, double *out_seconds,
                                          bool *out_timers);

#ifdef __cplusplus
}
#endif
#endif
