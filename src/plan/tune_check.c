/*
 * Whether a candidate computes what it should. Cheap jobs are compared with the operations' double references, in check mode. For others these would take
 * minutes: what the usual candidate computes stands in for them.
 */
#include "plan/tune.h"

#include <math.h>

#include "base/fail.h"

#define REFERENCE_FLOPS \
    1e7 /* of jobs that are compared with the double reference, which takes a fraction of a second for as many */
#define EPS 0x1p-24

static void observe(const esker__check_result *result, void *user)
{
    if (!result->pass) *(bool *)user = false;
}

static esker_status check_by_reference(const esker__tune_job *job, int candidate, esker_tune_state *out)
{
    esker_plan *plan;
    bool right = true;
    esker_status st = esker__tune_job_plan(job, candidate, true, false, &plan);
    if (st != ESKER_OK || !plan) return st;
    esker__plan_observe(plan, observe, &right);
    st = esker_plan_run(plan);
    *out = right ? ESKER_TUNE_TIMED : ESKER_TUNE_WRONG;
    esker_plan_destroy(plan);
    return st;
}

/*
 * Without the sums of |terms| that the references would give, the bound takes the largest result in their place, four times: for random values of either sign,
 * rounding errors stay far below that, and a wrong kernel is off by about as much as the results themselves. Errors of several nodes add up.
 */
static double bound_of(const esker__tune_job *job, const float *values, int64_t n)
{
    double k = 0, atol = 0, largest = 0;
    for (int i = 0; i < job->n_nodes; i++) {
        const esker__op *op = job->nodes[i].op;
        k += op->tolerance ? op->tolerance(&job->nodes[i]) : 4;
        atol += op->atol;
    }
    for (int64_t i = 0; i < n; i++)
        if (fabs((double)values[i]) > largest) largest = fabs((double)values[i]);
    return atol + 4 * k * EPS * largest;
}

/* Indices are equal, but where the values that they choose from are so near to each other that rounding decides: either's errors, up or down. */
static bool indices_agree(const esker__tune_job *job, const float *values, const void *want, const void *got)
{
    const esker_node *node = &job->nodes[0];
    double bound = 2 * bound_of(job, values, job->n_values);
    return isfinite(bound) && node->op->indices->agree(node, values, bound, want, got);
}

/* `want` has what indices choose from behind the outputs. */
static bool agree(const esker__tune_job *job, const float *want, const float *got)
{
    int64_t first = 0;
    for (int o = 0; o < job->n_outputs; first += job->outputs[o++].n_elems) {
        int64_t n = job->outputs[o].n_elems;
        if (o == job->indices) {
            if (!indices_agree(job, want + job->n_elems, want + first, got + first)) return false;
            continue;
        }
        double bound = bound_of(job, want + first, n);
        for (int64_t i = first; i < first + n; i++)
            if (!(fabs((double)got[i] - want[i]) <= bound)) return false;
    }
    return true;
}

static esker_status run_for_outputs(const esker__tune_job *job, int candidate, bool values, float **out)
{
    esker_plan *plan;
    size_t n_bytes = (size_t)(job->n_elems + (values ? job->n_values : 0)) * sizeof **out;
    *out = NULL;
    esker_status st = esker__tune_job_plan(job, candidate, false, values, &plan);
    if (st != ESKER_OK || !plan) return st;
    float *data = esker__malloc(n_bytes), *at = data;
    uint64_t ticket;
    st = data ? esker_plan_submit(plan, &ticket) : esker__fail_memory(n_bytes, "tuning");
    for (int o = 0; st == ESKER_OK && o < job->n_outputs; at += job->outputs[o++].n_elems)
        st = esker_plan_read(plan, ticket, o, at, (size_t)job->outputs[o].n_elems * sizeof *data);
    if (st == ESKER_OK && values)
        st = esker_plan_read(plan, ticket, job->n_outputs, at, (size_t)job->n_values * sizeof *data);
    esker_plan_destroy(plan);
    if (st == ESKER_OK)
        *out = data;
    else
        esker__free(data);
    return st;
}

/* `want`: what the usual one computed, or NULL if it cannot be had. */
static esker_status check_by_usual(const esker__tune_job *job, int candidate, const float *want, esker_tune_state *out)
{
    float *got;
    if (!want || candidate == job->choice->usual) {
        *out = want || candidate != job->choice->usual ? ESKER_TUNE_TIMED : ESKER_TUNE_UNUSABLE;
        return ESKER_OK;
    }
    esker_status st = run_for_outputs(job, candidate, false, &got);
    if (st != ESKER_OK || !got) return st;
    *out = agree(job, want, got) ? ESKER_TUNE_TIMED : ESKER_TUNE_WRONG;
    esker__free(got);
    return ESKER_OK;
}

esker_status esker__tune_job_check(const esker__tune_job *job, esker_tune_candidate *candidates)
{
    bool by_reference = true;
    double flops = 0;
    float *want = NULL;
    esker_status st = ESKER_OK;
    for (int i = 0; i < job->n_nodes; i++) {
        esker__cost cost = {0};
        if (job->nodes[i].op->cost) job->nodes[i].op->cost(&job->nodes[i], &cost);
        flops += cost.flops;
        by_reference = by_reference && job->nodes[i].op->reference;
    }
    by_reference = by_reference && flops <= REFERENCE_FLOPS;
    if (!by_reference) st = run_for_outputs(job, job->choice->usual, job->indices >= 0, &want);
    for (int i = 0; st == ESKER_OK && i < job->choice->n; i++) {
        candidates[i].state = ESKER_TUNE_UNUSABLE;
        st = by_reference ? check_by_reference(job, i, &candidates[i].state)
                          : check_by_usual(job, i, want, &candidates[i].state);
    }
    esker__free(want);
    return st;
}
