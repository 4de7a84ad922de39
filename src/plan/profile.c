/* The time of each dispatch of a step: between timers on the GPU, or, where it has none, each run alone again and again behind fences. */
#include <esker/measure.h>

#include <stdlib.h>

#include "base/fail.h"
#include "plan/plan.h"

#define STEPS     11
#define MAX_STEPS 101

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static esker_status run_timed(esker_plan *plan, esker__timer **timers)
{
    esker__fence fence = {0};
    esker_status st = ESKER_OK;
    for (size_t p = 0; st == ESKER_OK && p < plan->n_dispatches; p++) {
        st = esker__timer_begin(timers[p]);
        if (st == ESKER_OK) st = esker__submit_checked(plan->device, &plan->launches[p], 1);
        if (st == ESKER_OK) st = esker__timer_end(timers[p]);
    }
    if (st == ESKER_OK) st = esker__fence_put(plan->device, &fence);
    if (st == ESKER_OK) st = esker__fence_wait(plan->device, &fence, false);
    esker__fence_drop(plan->device, &fence);
    return st;
}

/* times[p][s] of `steps` steps whose timers were not disturbed; `steps` more are tried at most. */
static esker_status time_steps(esker_plan *plan, esker__timer **timers, int steps, double *times, int *out_n)
{
    esker_status st = run_timed(plan, timers); /* warms up */
    int n = 0;
    for (int s = 0; st == ESKER_OK && n < steps && s < 2 * steps; s++) {
        bool all_valid = true;
        st = run_timed(plan, timers);
        for (size_t p = 0; st == ESKER_OK && p < plan->n_dispatches; p++) {
            uint64_t ns;
            bool valid;
            st = esker__timer_read(timers[p], &ns, &valid);
            times[p * (size_t)steps + (size_t)n] = (double)ns * 1e-9;
            all_valid &= valid;
        }
        n += all_valid;
    }
    *out_n = n;
    if (st == ESKER_OK && n == 0) st = esker__fail(ESKER_ERR_DEVICE, "profile: the GPU's timers were disturbed each time");
    return st;
}

static esker_status by_timers(esker_plan *plan, int steps, double *out)
{
    size_t n_dispatches = plan->n_dispatches;
    int n = 0;
    esker_status st = ESKER_OK;
    esker__timer **timers = esker__calloc(n_dispatches, sizeof(esker__timer *));
    double *times = esker__calloc(n_dispatches, (size_t)steps * sizeof *times);
    if (!timers || !times) st = esker__fail_memory(n_dispatches * (size_t)steps * sizeof *times, "profile");
    for (size_t p = 0; st == ESKER_OK && p < n_dispatches; p++) st = esker__timer_create(plan->device, &timers[p]);
    if (st == ESKER_OK) st = time_steps(plan, timers, steps, times, &n);
    for (size_t p = 0; st == ESKER_OK && p < n_dispatches; p++) {
        double *own = times + p * (size_t)steps;
        qsort(own, (size_t)n, sizeof *own, by_value);
        out[p] = own[n / 2];
    }
    for (size_t p = 0; timers && p < n_dispatches; p++) esker__timer_destroy(timers[p]);
    esker__free(timers);
    esker__free(times);
    return st;
}

esker_status esker_plan_profile(esker_plan *plan, const esker_profile_desc *desc, double *out_seconds, bool *out_timers)
{
    int steps = desc && desc->steps > 0 ? desc->steps : STEPS;
    if (steps > MAX_STEPS) steps = MAX_STEPS;
    if (out_timers) *out_timers = false;
    if (!plan->device || plan->open || plan->checker)
        return esker__fail(ESKER_ERR_INVALID, "profiling a plan %s",
                           !plan->device ? "without a device"
                           : plan->open  ? "whose memory is given with each step"
                                         : "in check mode");
    esker_device_info info;
    esker_device_get_info(plan->device, &info);
    esker_status st = esker__plan_need_all_slots(plan);
    if (st != ESKER_OK) return st;
    esker__plan_point_at_slot(plan, 0);
    st = esker__launches_check(plan->device, plan->launches, (int)plan->n_dispatches);
    if (st == ESKER_OK) st = esker__plan_prepare(plan);
    if (st != ESKER_OK) return st;
    if (info.timer_query && !(desc && desc->isolated)) {
        if (out_timers) *out_timers = true;
        st = by_timers(plan, steps, out_seconds);
        esker__plan_note_run(plan, plan->n_prologue);
        return st;
    }
    for (size_t p = 0; st == ESKER_OK && p < plan->n_dispatches; p++) {
        esker_timing timing;
        st = esker_plan_measure(plan, (int)p, 1, &(esker_measure_desc){.rounds = 3, .round_seconds = 2e-3}, &timing);
        if (st == ESKER_OK) out_seconds[p] = timing.median_seconds;
    }
    return st;
}
