/**
 * Tuning: which of several kernels is the fastest for each job of a plan, found by trying them on the device. Results are kept in the cache
 * folder, for this device, driver and these kernels; every plan that is compiled from then on uses them. A plan's bits may differ
 * with another choice, within the operations' error bounds.
 *
 * Threads    The thread that owns the device.
 */
#ifndef ESKER_TUNE_H
#define ESKER_TUNE_H

#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum esker_tune_state {
    ESKER_TUNE_TIMED = 0,  /* took part to the end */
    ESKER_TUNE_ELIMINATED, /* was too slow to go on with */
    ESKER_TUNE_WRONG,      /* its results were outside the bound */
    ESKER_TUNE_UNUSABLE    /* quarantined, or does not compile here */
} esker_tune_state;

typedef struct esker_tune_candidate {
    const char *name; /* as ESKER_VARIANT takes it */
    esker_tune_state state;
    double seconds; /* the best round; 0 if it was not timed */
} esker_tune_candidate;

/** One job. Texts and arrays are valid during the call. */
typedef struct esker_tune_result {
    const char *problem; /* "matmul ta=0 tb=1 m=64 n=512 k=784 b=1" */
    const char *op;
    int n_candidates;
    const esker_tune_candidate *candidates;
    int best, usual; /* indices; best is -1 if none was right, and then nothing is kept */
} esker_tune_result;

typedef struct esker_tune_desc {
    double budget_seconds;                                       /* no job is begun later; 0: 30 */
    bool again;                                                  /* also jobs whose result is known */
    bool (*result)(const esker_tune_result *result, void *user); /* called for each job; false: stop. May be NULL */
    void *user;
} esker_tune_desc;

typedef struct esker_tune_summary {
    int n_tuned, n_known,
        n_left; /* jobs: tried now; known before; left because the time was up, or because they cannot be run alone (updates) */
    int n_changed; /* of those tried: another than the usual candidate won */
    int n_wrong;   /* candidates whose results were wrong */
    double seconds;
} esker_tune_summary;

/**
 * Tune the jobs of the plan that esker_plan_compile(graph, desc) would make, on desc->device. Each is run alone with random values, nodes that
 * some candidates compute together (chains of products) together: cheap jobs are compared with the operations' double-precision references, others with the
 * usual kernel's result, and candidates outside the bound are out; the rest is timed in turns, and who falls behind leaves early. Indices (which element of a
 * window was the largest) must be the same, but where the element that they name is within the bound of the largest: of values that are as good as equal, any may be
 * named. `tune` may be NULL.
 * Errors     Those of esker_plan_compile(); ESKER_ERR_INVALID: no device; ESKER_ERR_CANCELLED: `result` said so (what was found is kept);
 *            ESKER_ERR_IO: the results could not be written, but hold until the device is closed.
 */
ESKER_API esker_status esker_tune(esker_graph *graph, const esker_plan_desc *desc, const esker_tune_desc *tune,
                                  esker_tune_summary *out);

#ifdef __cplusplus
}
#endif
#endif
