/* The tuner: tune.c finds the jobs of a plan and times their candidates, tune_job.c makes a small plan of one, tune_check.c says whether it is right. */
#ifndef ESKER_PLAN_TUNE_H
#define ESKER_PLAN_TUNE_H

#include <esker/tune.h>
#include "plan/plan.h"

enum { ESKER__TUNE_NODES = 1 + ESKER__MOST_TAKEN, ESKER__TUNE_OUTPUTS = 16, ESKER__TUNE_INPUTS = 32 };

/** A node of the plan's graph that is given to a job. */
typedef struct esker__tune_input {
    const esker_node *node;
    bool parameter; /* of the small plan; what is made of fixed ones is in its prologue */
} esker__tune_input;

/** One that something outside of the job reads, since what kernels do depends on it. */
typedef struct esker__tune_output {
    int node; /* of the job's nodes */
    int output;
    int64_t n_elems;
} esker__tune_output;

/** One question of esker__choose(), with the nodes whose work it is. */
typedef struct esker__tune_job {
    esker_device *dev;
    const esker__plan_choice *choice;
    const esker_params *params;          /* of the plan */
    esker_node nodes[ESKER__TUNE_NODES]; /* copies: in place of one that also updates, the one that does not */
    const esker_node *old[ESKER__TUNE_NODES];
    int n_nodes;
    esker__tune_input inputs[ESKER__TUNE_INPUTS];
    int n_inputs;
    esker__tune_output outputs[ESKER__TUNE_OUTPUTS];
    int n_outputs;
    int64_t n_elems; /* of all outputs, each of 4 bytes */
    int indices;     /* the output, of n_outputs, that holds indices, or -1; and how many values they choose from */
    int64_t n_values;
} esker__tune_job;

/** False: it cannot be run alone. `graph` is what was lowered. */
bool esker__tune_job_init(esker__tune_job *job, const esker_plan *plan, const esker_graph *graph,
                          const esker__plan_choice *choice);
/**
 * The small plan of candidate `candidate`, with random inputs in place. `values`: with one more output, behind the others, of what indices choose from. *out is
 * NULL, with ESKER_OK, if the candidate cannot be had.
 */
esker_status esker__tune_job_plan(const esker__tune_job *job, int candidate, bool check, bool values, esker_plan **out);
/** Set the states of all candidates to ESKER_TUNE_TIMED, _WRONG or _UNUSABLE. */
esker_status esker__tune_job_check(const esker__tune_job *job, esker_tune_candidate *candidates);

#endif
