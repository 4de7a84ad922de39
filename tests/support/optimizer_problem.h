/* What the tests of optimizers share: a problem whose gradients are known, and every kind of update. */
#ifndef ESKER_TESTS_SUPPORT_OPTIMIZER_PROBLEM_H
#define ESKER_TESTS_SUPPORT_OPTIMIZER_PROBLEM_H

#include <esker/graph.h>
#include <esker/ops.h>
#include <esker/plan.h>
#include "support/test.h"

/*
 * The problem: parameters of odd sizes, so that the arena has gaps; loss = sum over them of mse(a * p, t) with fixed a and
 * t. The second one is frozen, and its loss term is there all the same.
 */
typedef struct optimizer_part {
    const char *name;
    esker_shape shape;
    bool frozen;
} optimizer_part;
#define OPTIMIZER_PARTS 8
extern const optimizer_part optimizer_parts[OPTIMIZER_PARTS];

typedef struct optimizer_problem {
    esker_graph *graph;
    esker_params *params; /* the graph's */
    esker_node *loss;
    int64_t n[OPTIMIZER_PARTS];
    float *a[OPTIMIZER_PARTS], *t[OPTIMIZER_PARTS], *start[OPTIMIZER_PARTS];
} optimizer_problem;

/** Record it, each part in its group (NULL: all in group 0); then its parameters have values, too. */
void optimizer_problem_record(optimizer_problem *p, const int *group_of);
void optimizer_problem_init_groups(optimizer_problem *p, const int *group_of);
void optimizer_problem_init(optimizer_problem *p);
void optimizer_problem_finish(optimizer_problem *p);
/** The inputs of the next step. */
void optimizer_problem_write(const optimizer_problem *p, esker_plan *plan);

typedef struct optimizer_case {
    const char *name;
    esker_optimizer_desc desc;
    int n_state;
} optimizer_case;
#define N_OPTIMIZER_CASES 25
extern const optimizer_case optimizer_cases[N_OPTIMIZER_CASES];

#endif
