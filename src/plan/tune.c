/*
 * The tuner. Jobs are the questions that the ops of a plan asked esker__choose(). Each is run alone (tune_job.c), candidate after candidate: wrong ones
 * are out (tune_check.c), and the others are timed in turns.
 */
#include "plan/tune.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "plan/copy.h"

#define BUDGET_SECONDS 30.0
#define ROUNDS         4

/* Who is slower than the best by more than this leaves after the round. Even the first round lasts many times longer than a fence may take to
   wake us, or a device shared with other processes to come back. */
static const double limits[ROUNDS] = {2.0, 1.25, 1.1, 1.0};
static const double round_seconds[ROUNDS] = {2e-3, 5e-3, 5e-3, 5e-3};

/* ---- Timing ---- */

/* A node alone: from the first dispatch that the question is about to the last. Of several, which may come in another order: all that is no copy. */
static bool mark_timed(const esker__tune_job *job, const esker_plan *plan, bool *which)
{
    int first = -1, last = -1;
    for (size_t p = plan->n_prologue; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        which[p] = job->n_nodes > 1 && d->node >= 0 && strcmp(d->op, esker__op_copy.name) != 0;
        if (job->n_nodes > 1 ? !which[p] : d->choice < 0) continue; /* a copy */
        if (first < 0) first = (int)p;
        last = (int)p;
    }
    for (int p = first; job->n_nodes == 1 && first >= 0 && p <= last; p++) which[p] = true;
    return first >= 0;
}

static esker_status time_one(const esker__tune_job *job, esker_tune_candidate *c, int candidate, double seconds)
{
    esker_plan *plan;
    esker_timing timing;
    esker_status st = esker__tune_job_plan(job, candidate, false, false, &plan);
    if (st != ESKER_OK || !plan) return st;
    bool *which = esker__calloc(plan->n_dispatches, sizeof *which), any = false;
    st = which ? esker_plan_run(plan) : esker__fail_memory(plan->n_dispatches * sizeof *which, "tuning");
    if (st == ESKER_OK) any = mark_timed(job, plan, which);
    if (any)
        st = esker__plan_measure_some(plan, which, &(esker_measure_desc){.rounds = 3, .round_seconds = seconds}, &timing);
    esker__free(which);
    esker_plan_destroy(plan);
    if (st == ESKER_OK && any && (c->seconds == 0 || timing.min_seconds < c->seconds)) c->seconds = timing.min_seconds;
    return st;
}

static int find_best(const esker_tune_candidate *c, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (c[i].state == ESKER_TUNE_TIMED && c[i].seconds > 0 && (best < 0 || c[i].seconds < c[best].seconds)) best = i;
    return best;
}

/* In turns, so that a device that gets warmer or busier is unfair to nobody. */
static esker_status time_all(const esker__tune_job *job, esker_tune_candidate *c)
{
    esker_status st = ESKER_OK;
    for (int round = 0; st == ESKER_OK && round < ROUNDS; round++) {
        int n_left = 0;
        for (int i = 0; i < job->choice->n; i++) n_left += c[i].state == ESKER_TUNE_TIMED;
        if (n_left < 2 && round) break;
        for (int i = 0; st == ESKER_OK && i < job->choice->n; i++)
            if (c[i].state == ESKER_TUNE_TIMED) st = time_one(job, &c[i], i, round_seconds[round]);
        int best = find_best(c, job->choice->n);
        for (int i = 0; best >= 0 && round + 1 < ROUNDS && i < job->choice->n; i++)
            if (c[i].state == ESKER_TUNE_TIMED && !(c[i].seconds <= limits[round] * c[best].seconds))
                c[i].state = ESKER_TUNE_ELIMINATED;
    }
    return st;
}

/* ---- All jobs ---- */

static esker_status tune_job(const esker__tune_job *job, esker_tune_summary *sum, const esker_tune_desc *desc)
{
    const esker__plan_choice *choice = job->choice;
    esker_tune_candidate candidates[ESKER__MAX_CANDIDATES] = {0};
    for (int i = 0; i < choice->n; i++) candidates[i].name = choice->names[i];
    esker_status st = esker__tune_job_check(job, candidates);
    if (st == ESKER_OK) st = time_all(job, candidates);
    if (st != ESKER_OK) return st;
    int best = find_best(candidates, choice->n);
    for (int i = 0; i < choice->n; i++) {
        if (candidates[i].state != ESKER_TUNE_WRONG) continue;
        sum->n_wrong++;
        esker__log(ESKER_LOG_WARNING,
                   "tuning: %s: candidate %s gives wrong results and is not used; esker selftest tells more",
                   choice->problem, choice->names[i]);
    }
    sum->n_tuned++;
    sum->n_changed += best >= 0 && best != choice->usual;
    if (best >= 0) st = esker__tuning_put(job->dev, choice->problem, choice->names[best], candidates[best].seconds);
    esker_tune_result result = {.problem = choice->problem,
                                .op = job->nodes[0].op->name,
                                .n_candidates = choice->n,
                                .candidates = candidates,
                                .best = best,
                                .usual = choice->usual};
    if (st == ESKER_OK && desc->result && !desc->result(&result, desc->user))
        st = esker__fail(ESKER_ERR_CANCELLED, "tuning: stopped after %d jobs", sum->n_tuned);
    return st;
}

/* What of the prologue is not worth a measurement. */
static bool is_prologue(const esker_graph *graph, const esker__plan_choice *choice)
{
    int n = graph->nodes[choice->nodes[0]]->n_inputs;
    return n > 0 && n < 32 && choice->fixed_inputs == (1u << n) - 1;
}

/* The choice of the node with the fewest inputs among those that ask the question first asked by choices[first]; NULL: it was asked before. */
static const esker__plan_choice *choice_for(const esker_plan *plan, const esker_graph *graph, size_t first)
{
    const char *problem = plan->choices[first].problem;
    const esker__plan_choice *found = NULL;
    int n_inputs = 0;
    for (size_t i = 0; i < first; i++)
        if (!strcmp(plan->choices[i].problem, problem)) return NULL;
    for (size_t i = first; i < plan->n_choices; i++) {
        const esker__plan_choice *choice = &plan->choices[i];
        int n = graph->nodes[choice->nodes[0]]->n_inputs;
        if (strcmp(choice->problem, problem) || is_prologue(graph, choice) || (found && n >= n_inputs)) continue;
        found = choice;
        n_inputs = n;
    }
    return found;
}

static esker_status tune_plan(const esker_plan *plan, const esker_graph *graph, const esker_tune_desc *desc, uint64_t start,
                              esker_tune_summary *sum)
{
    double budget = desc->budget_seconds > 0 ? desc->budget_seconds : BUDGET_SECONDS;
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < plan->n_choices; i++) {
        const esker__plan_choice *choice = plan->choices[i].n > 1 ? choice_for(plan, graph, i) : NULL;
        if (!choice) continue;
        esker__tune_job job;
        bool can = esker__tune_job_init(&job, plan, graph, choice);
        if (!desc->again && esker__tuning_find(plan->device, choice->problem))
            sum->n_known++;
        else if (!can || (double)(esker__now_ns() - start) * 1e-9 > budget)
            sum->n_left++;
        else
            st = tune_job(&job, sum, desc);
    }
    return st;
}

esker_status esker_tune(esker_graph *graph, const esker_plan_desc *desc, const esker_tune_desc *tune,
                        esker_tune_summary *out)
{
    static const esker_tune_desc defaults = {0};
    esker_tune_summary sum = {0};
    esker_plan *plan = NULL;
    esker_graph *kept = NULL;
    if (!tune) tune = &defaults;
    if (out) *out = sum;
    if (!desc->device) return esker__fail(ESKER_ERR_INVALID, "tuning needs a device");
    if (!(tune->budget_seconds >= 0))
        return esker__fail(ESKER_ERR_INVALID, "tuning: a budget of %g s", tune->budget_seconds);
    uint64_t start = esker__now_ns();
    esker_plan_desc plain = *desc;
    plain.check = false;
    plain.tune_seconds = 0;
    esker_status st = esker__plan_compile_forced(graph, &plain, NULL, &kept, &plan);
    if (st == ESKER_OK) st = tune_plan(plan, kept, tune, start, &sum);
    if (sum.n_tuned && st != ESKER_ERR_LOST) {
        esker_status saved = esker__tuning_save(desc->device);
        if (st == ESKER_OK) st = saved;
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(kept);
    sum.seconds = (double)(esker__now_ns() - start) * 1e-9;
    if (out) *out = sum;
    return st;
}
