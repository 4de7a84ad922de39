/* Counting: the means of an epoch, and what a steady step costs. */
#include "train/trainer.h"

#include <stdlib.h>

#include "base/clock.h"

/* So many steps of an epoch are not part of the window: the pipeline fills, and each slot is used for the second time. */
#define SKIPPED (2 * ESKER_PLAN_SLOTS)

void esker__meter_begin_epoch(esker__meter *meter, int64_t n_steps)
{
    double *intervals = meter->intervals;
    *meter = (esker__meter){.n_steps = n_steps, .intervals = intervals, .epoch_start_ns = esker__now_ns()};
}

void esker__meter_before_step(esker__meter *meter, const esker_device *dev, int64_t index)
{
    if (index != SKIPPED) return;
    esker_device_get_counters(dev, &meter->at_start);
    meter->window_start_ns = meter->last_submit_ns;
}

void esker__meter_submitted(esker__meter *meter, bool loader_waited)
{
    uint64_t now = esker__now_ns();
    uint64_t *before =
        &meter->submit_ns[meter->n_submits++ % ESKER_PLAN_SLOTS]; /* when the step was submitted that had this one's slot */
    if (meter->window_start_ns) {
        /* Steps are submitted in bursts of as many as there are slots: a wait may end when several have finished. */
        if (meter->intervals) meter->intervals[meter->window_steps] = (double)(now - *before) * 1e-9 / ESKER_PLAN_SLOTS;
        meter->window_steps++;
        meter->loader_waits += loader_waited;
    }
    meter->last_submit_ns = *before = now;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void esker__meter_end_window(esker__meter *meter, const esker_device *dev, esker_train_stats *stats)
{
    if (!meter->window_steps) return;
    esker_counters end;
    const esker_counters *start = &meter->at_start;
    esker_device_get_counters(dev, &end);
    double n = (double)meter->window_steps;
    stats->steps = meter->window_steps;
    stats->dispatches_per_step = (double)(end.dispatches - start->dispatches) / n;
    stats->barriers_per_step = (double)(end.barriers - start->barriers) / n;
    stats->heap_allocations_per_step = (double)(end.heap_allocations - start->heap_allocations) / n;
    stats->gl_objects_per_step = (double)(end.gl_objects - start->gl_objects) / n;
    stats->compiles_per_step = (double)(end.compiles - start->compiles) / n;
    stats->waits_per_step = (double)(end.waits - start->waits) / n;
    stats->fences_per_step = (double)(end.fences - start->fences) / n;
    stats->throttles_per_step = (double)(end.throttles - start->throttles) / n;
    stats->uploaded_bytes_per_step = (double)(end.uploaded_bytes - start->uploaded_bytes) / n;
    stats->loader_waits_per_step = (double)meter->loader_waits / n;
    stats->step_seconds_mean = (double)(meter->last_submit_ns - meter->window_start_ns) * 1e-9 / n;
    stats->step_seconds_median = meter->intervals ? median(meter->intervals, meter->window_steps)
                                                  : stats->step_seconds_mean;
}

void esker__meter_add(esker__meter *meter, double loss, double correct, int32_t samples)
{
    meter->loss_sum += loss * samples;
    meter->correct_sum += correct;
    meter->samples += samples;
    meter->steps++;
}
