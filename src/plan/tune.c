/*
 * The tuner. Jobs are the questions that the ops of a plan asked esker__choose(). For each a small graph is made of the node alone, its inputs copied
 * into the arena first and its outputs copied out of it, so that the dispatches that are timed touch device memory as they do in the plan. The small
 * plan is made anew for each visit: its kernels are compiled already, and only one candidate's memory is held at a time.
 */
#include <esker/measure.h>
#include <esker/tune.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/philox.h"
#include "plan/copy.h"
#include "plan/plan.h"

#define BUDGET_SECONDS 30.0
#define REFERENCE_FLOPS \
    1e7 /* of jobs that are compared with the double reference, which takes a fraction of a second for as many */
#define ROUNDS 4
#define EPS    0x1p-24
enum { MOST_OUTPUTS = 8 };

/* Who is slower than the best by more than this leaves after the round. Even the first round lasts many times longer than a fence may take to
   wake us, or a device shared with other processes to come back. */
static const double limits[ROUNDS] = {2.0, 1.25, 1.1, 1.0};
static const double round_seconds[ROUNDS] = {2e-3, 5e-3, 5e-3, 5e-3};

typedef struct task {
    esker_device *dev;
    const esker_node *node;
    const char *problem;
    const char **names;
    int n, usual;
    uint32_t fixed_inputs; /* those are parameters of the small plan, and what is made of them is in its prologue */
    int n_outputs, outputs[MOST_OUTPUTS]; /* those that the plan uses */
    int64_t n_elems[MOST_OUTPUTS], n_all; /* of each, and of all */
    float *want;                          /* what the usual candidate computed, one output after the other */
} task;

/* ---- One candidate's plan ---- */

static bool is_parameter(const task *job, int i)
{
    return (job->fixed_inputs >> i & 1) && job->node->inputs[i]->type.dtype == ESKER_DTYPE_F32;
}

static esker_status record(const task *job, esker_graph **out_graph, esker_node *out[MOST_OUTPUTS])
{
    esker_node *inputs[8];
    esker_status st = esker_graph_create(NULL, out_graph);
    if (st != ESKER_OK) return st;
    for (int i = 0; i < job->node->n_inputs; i++) {
        char name[16];
        const esker__type *type = &job->node->inputs[i]->type;
        snprintf(name, sizeof name, "x%d", i);
        if (is_parameter(job, i)) {
            inputs[i] = esker_parameter(*out_graph, &(esker_param_desc){.name = name, .shape = type->shape});
            continue;
        }
        esker_node *x = esker_input(*out_graph, name, type->dtype, &type->shape);
        inputs[i] = esker__record(&esker__op_copy, NULL, &x, 1);
    }
    esker_node *y = esker__record_copy(*out_graph, job->node, inputs);
    for (int o = 0; y && o < job->n_outputs; o++) {
        esker_node *result = esker__output(y, job->outputs[o]);
        out[o] = result ? esker__record(&esker__op_copy, NULL, &result, 1) : NULL;
    }
    return esker_graph_status(*out_graph);
}

static void fill(void *data, esker_dtype dtype, int64_t n, uint64_t stream)
{
    esker__random random;
    esker__random_init(&random, 1, stream);
    for (int64_t i = 0; i < n; i++) {
        switch (dtype) {
        case ESKER_DTYPE_F32: ((float *)data)[i] = esker__random_range(&random, -1, 1); break;
        case ESKER_DTYPE_F16: ((uint16_t *)data)[i] = esker_f16_from_f32(esker__random_range(&random, -1, 1)); break;
        case ESKER_DTYPE_I32: ((int32_t *)data)[i] = (int32_t)esker__random_below(&random, 2); break;
        case ESKER_DTYPE_U8:
        case ESKER_DTYPE_I8: ((uint8_t *)data)[i] = (uint8_t)esker__random_below(&random, 100); break;
        }
    }
}

static esker_status write_inputs(const task *job, esker_plan *plan)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < job->node->n_inputs; i++) {
        char name[16];
        const esker__type *type = &job->node->inputs[i]->type;
        int64_t n = esker__elems(&type->shape);
        size_t n_bytes = (size_t)n * esker_dtype_bytes(type->dtype);
        snprintf(name, sizeof name, "x%d", i);
        void *data = esker__malloc(n_bytes);
        if (!data) return esker__fail_memory(n_bytes, "tuning");
        fill(data, type->dtype, n, (uint64_t)i);
        if (is_parameter(job, i))
            st = esker_params_write(plan->params, esker_params_find(plan->params, name), data, n);
        else
            st = esker_plan_write(plan, esker_plan_find_input(plan, name), data, n_bytes);
        esker__free(data);
    }
    return st;
}

/* *out is NULL, with ESKER_OK, if the candidate cannot be had. */
static esker_status make_plan(const task *job, int candidate, bool check, esker_plan **out)
{
    esker_graph *graph = NULL;
    esker_node *outputs[MOST_OUTPUTS] = {NULL};
    *out = NULL;
    esker_status st = record(job, &graph, outputs);
    esker_plan_desc desc = {
        .device = job->dev, .outputs = outputs, .n_outputs = job->n_outputs, .seed = 1, .no_fusion = true, .check = check};
    esker__forced forced = {job->problem, job->names[candidate]};
    if (st == ESKER_OK) st = esker__plan_compile_forced(graph, &desc, &forced, NULL, out);
    esker_graph_destroy(graph);
    if (st == ESKER_ERR_COMPILE || st == ESKER_ERR_LIMIT) return ESKER_OK;
    bool found = false;
    for (size_t i = 0; st == ESKER_OK && i < (*out)->n_choices; i++) {
        const esker__plan_choice *choice = &(*out)->choices[i];
        found |= !strcmp(choice->problem, job->problem) && !strcmp(choice->names[choice->chosen], job->names[candidate]);
    }
    if (st == ESKER_OK && found) st = write_inputs(job, *out);
    if (st == ESKER_OK && found) return ESKER_OK;
    esker_plan_destroy(*out);
    *out = NULL;
    return st;
}

/* ---- Right or wrong ---- */

static void observe(const esker__check_result *result, void *user)
{
    if (!result->pass) *(bool *)user = false;
}

static esker_status check_by_reference(const task *job, int candidate, esker_tune_state *out)
{
    esker_plan *plan;
    bool right = true;
    esker_status st = make_plan(job, candidate, true, &plan);
    if (st != ESKER_OK || !plan) return st;
    esker__plan_observe(plan, observe, &right);
    st = esker_plan_run(plan);
    *out = right ? ESKER_TUNE_TIMED : ESKER_TUNE_WRONG;
    esker_plan_destroy(plan);
    return st;
}

/*
 * Without the sums of |terms| that the reference would give, the bound takes the largest result in their place, four times: for random values of either sign,
 * rounding errors stay far below that, and a wrong kernel is off by about as much as the results themselves.
 */
static bool agree(const task *job, const float *got)
{
    double k = job->node->op->tolerance ? job->node->op->tolerance(job->node) : 4;
    int64_t first = 0;
    for (int o = 0; o < job->n_outputs; first += job->n_elems[o++]) {
        double largest = 0;
        int64_t end = first + job->n_elems[o];
        for (int64_t i = first; i < end; i++)
            if (fabs((double)job->want[i]) > largest) largest = fabs((double)job->want[i]);
        double bound = job->node->op->atol + 4 * k * EPS * largest;
        for (int64_t i = first; i < end; i++)
            if (!(fabs((double)got[i] - job->want[i]) <= bound)) return false;
    }
    return true;
}

static esker_status run_for_outputs(const task *job, int candidate, float **out)
{
    esker_plan *plan;
    *out = NULL;
    esker_status st = make_plan(job, candidate, false, &plan);
    if (st != ESKER_OK || !plan) return st;
    float *data = esker__malloc((size_t)job->n_all * sizeof *data), *at = data;
    uint64_t ticket;
    st = data ? esker_plan_submit(plan, &ticket) : esker__fail_memory((size_t)job->n_all * sizeof *data, "tuning");
    for (int o = 0; st == ESKER_OK && o < job->n_outputs; at += job->n_elems[o++])
        st = esker_plan_read(plan, ticket, o, at, (size_t)job->n_elems[o] * sizeof *data);
    esker_plan_destroy(plan);
    if (st == ESKER_OK)
        *out = data;
    else
        esker__free(data);
    return st;
}

static esker_status check_by_usual(const task *job, int candidate, esker_tune_state *out)
{
    float *got;
    if (!job->want || candidate == job->usual) {
        *out = job->want || candidate != job->usual ? ESKER_TUNE_TIMED : ESKER_TUNE_UNUSABLE;
        return ESKER_OK;
    }
    esker_status st = run_for_outputs(job, candidate, &got);
    if (st != ESKER_OK || !got) return st;
    *out = agree(job, got) ? ESKER_TUNE_TIMED : ESKER_TUNE_WRONG;
    esker__free(got);
    return ESKER_OK;
}

static esker_status check_all(task *job, esker_tune_candidate *candidates)
{
    esker__cost cost = {0};
    esker_status st = ESKER_OK;
    if (job->node->op->cost) job->node->op->cost(job->node, &cost);
    bool by_reference = job->node->op->reference && cost.flops <= REFERENCE_FLOPS;
    if (!by_reference) st = run_for_outputs(job, job->usual, &job->want);
    for (int i = 0; st == ESKER_OK && i < job->n; i++) {
        candidates[i].state = ESKER_TUNE_UNUSABLE;
        st = by_reference ? check_by_reference(job, i, &candidates[i].state) : check_by_usual(job, i, &candidates[i].state);
    }
    esker__free(job->want);
    job->want = NULL;
    return st;
}

/* ---- Timing ---- */

static esker_status time_one(const task *job, esker_tune_candidate *c, int candidate, double seconds)
{
    esker_plan *plan;
    esker_timing timing;
    int first = -1, last = -1;
    esker_status st = make_plan(job, candidate, false, &plan);
    if (st != ESKER_OK || !plan) return st;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        if (plan->dispatches[p].choice < 0 || plan->dispatches[p].prologue) continue; /* a copy; no part of a step */
        if (first < 0) first = (int)p;
        last = (int)p;
    }
    st = esker_plan_run(plan);
    if (st == ESKER_OK && first >= 0)
        st = esker_plan_measure(plan, first, last - first + 1, &(esker_measure_desc){.rounds = 3, .round_seconds = seconds},
                                &timing);
    esker_plan_destroy(plan);
    if (st == ESKER_OK && first >= 0 && (c->seconds == 0 || timing.min_seconds < c->seconds))
        c->seconds = timing.min_seconds;
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
static esker_status time_all(const task *job, esker_tune_candidate *c)
{
    esker_status st = ESKER_OK;
    for (int round = 0; st == ESKER_OK && round < ROUNDS; round++) {
        int n_left = 0;
        for (int i = 0; i < job->n; i++) n_left += c[i].state == ESKER_TUNE_TIMED;
        if (n_left < 2 && round) break;
        for (int i = 0; st == ESKER_OK && i < job->n; i++)
            if (c[i].state == ESKER_TUNE_TIMED) st = time_one(job, &c[i], i, round_seconds[round]);
        int best = find_best(c, job->n);
        for (int i = 0; best >= 0 && round + 1 < ROUNDS && i < job->n; i++)
            if (c[i].state == ESKER_TUNE_TIMED && !(c[i].seconds <= limits[round] * c[best].seconds))
                c[i].state = ESKER_TUNE_ELIMINATED;
    }
    return st;
}

/* ---- All jobs ---- */

/* Updates work on the arenas of the parameters, which a job alone does not have. */
static bool can_run_alone(const esker_node *node)
{
    return node->n_inputs <= 8 && !(node->op->flags & (ESKER__OP_EFFECT | ESKER__OP_UPDATE));
}

/* The outputs that something reads, since what kernels do depends on it; false: there are none, or others than floats among them. */
static bool find_outputs(task *job, const esker_graph *graph, const esker__plan_choice *choice)
{
    const esker_node *first = graph->nodes[choice->node];
    const esker__op *op = job->node->op;
    bool floats = true;
    job->n_all = 0;
    for (int o = 0; o < op->n_outputs && o < MOST_OUTPUTS; o++) {
        if (op == first->op && !(choice->used_outputs >> o & 1)) continue; /* in place of an update, all */
        const esker__type *type = o ? &graph->nodes[choice->node + o]->type : &first->type;
        floats = floats && type->dtype == ESKER_DTYPE_F32;
        job->n_elems[job->n_outputs] = esker__elems(&type->shape);
        job->n_all += job->n_elems[job->n_outputs];
        job->outputs[job->n_outputs++] = o;
    }
    return job->n_outputs > 0 && floats;
}

static esker_status tune_job(task *job, esker_tune_summary *sum, const esker_tune_desc *desc)
{
    esker_tune_candidate candidates[ESKER__MAX_CANDIDATES] = {0};
    for (int i = 0; i < job->n; i++) candidates[i].name = job->names[i];
    esker_status st = check_all(job, candidates);
    if (st == ESKER_OK) st = time_all(job, candidates);
    if (st != ESKER_OK) return st;
    int best = find_best(candidates, job->n);
    for (int i = 0; i < job->n; i++) {
        if (candidates[i].state != ESKER_TUNE_WRONG) continue;
        sum->n_wrong++;
        esker__log(ESKER_LOG_WARNING,
                   "tuning: %s: candidate %s gives wrong results and is not used; esker selftest tells more", job->problem,
                   job->names[i]);
    }
    sum->n_tuned++;
    sum->n_changed += best >= 0 && best != job->usual;
    if (best >= 0) st = esker__tuning_put(job->dev, job->problem, job->names[best], candidates[best].seconds);
    esker_tune_result result = {.problem = job->problem,
                                .op = job->node->op->name,
                                .n_candidates = job->n,
                                .candidates = candidates,
                                .best = best,
                                .usual = job->usual};
    if (st == ESKER_OK && desc->result && !desc->result(&result, desc->user))
        st = esker__fail(ESKER_ERR_CANCELLED, "tuning: stopped after %d jobs", sum->n_tuned);
    return st;
}

/* What of the prologue is not worth a measurement. */
static bool is_prologue(const esker_graph *graph, const esker__plan_choice *choice)
{
    int n = graph->nodes[choice->node]->n_inputs;
    return n > 0 && n < 32 && choice->fixed_inputs == (1u << n) - 1;
}

/* The node with the fewest inputs among those that ask the question first asked by choices[first]; NULL: it was asked before. */
static const esker__plan_choice *choice_for(const esker_plan *plan, const esker_graph *graph, size_t first)
{
    const char *problem = plan->choices[first].problem;
    const esker__plan_choice *found = NULL;
    int n_inputs = 0;
    for (size_t i = 0; i < first; i++)
        if (!strcmp(plan->choices[i].problem, problem)) return NULL;
    for (size_t i = first; i < plan->n_choices; i++) {
        const esker__plan_choice *choice = &plan->choices[i];
        int n = graph->nodes[choice->node]->n_inputs;
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
        const esker__plan_choice *choice = plan->choices[i].n > 1 && !plan->choices[i].in_company
                                               ? choice_for(plan, graph, i)
                                               : NULL;
        if (!choice) continue;
        esker_node alone = *graph->nodes[choice->node]; /* in place of a node that also updates, the one that does not */
        if (alone.op->plain) alone.op = alone.op->plain;
        const esker_node *node = &alone;
        task job = {.dev = plan->device,
                    .node = node,
                    .problem = choice->problem,
                    .names = choice->names,
                    .n = choice->n,
                    .usual = choice->usual,
                    .fixed_inputs = choice->fixed_inputs};
        bool can = can_run_alone(node) && find_outputs(&job, graph, choice);
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
