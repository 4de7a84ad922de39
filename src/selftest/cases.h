/* The operator table of the self-test: for each operation, how to record it and on which inputs (cases_*.c, by family). */
#ifndef ESKER_SELFTEST_CASES_H
#define ESKER_SELFTEST_CASES_H

#include <esker/ops.h>
#include "graph/graph.h"

#define ESKER__CASE_INPUTS 7
#define ESKER__CASE_SHAPES 8
#define ESKER__CASE_ARGS   4

/** Values of an input; all zero is float32 in [-2, 2). */
typedef struct esker__case_values {
    double lo, hi; /* float32: uniform in [lo, hi); whole numbers: lo to hi, both included */
    esker_dtype dtype;
    bool whole; /* float32 too: many equal values */
} esker__case_values;

/** One operation under one setting, on several sets of input shapes. */
typedef struct esker__case_row {
    const char *op;   /* the name in the operator table */
    const char *note; /* the setting; NULL for none */
    /* One of three ways to record it. `build` may make parameters in the graph. */
    esker_node *(*unary)(esker_node *x);
    esker_node *(*binary)(esker_node *a, esker_node *b);
    esker_node *(*build)(esker_graph *graph, esker_node *const *in, const double *args);
    double args[ESKER__CASE_ARGS];
    esker__case_values in[ESKER__CASE_INPUTS];
    const char
        *shapes[ESKER__CASE_SHAPES]; /* "4,1,5 x 3,1": the inputs' shapes; "." is a scalar, "" no inputs; NULL ends */
    bool no_gradient;                /* forward only */
    unsigned fixed;                  /* bit i: the gradient of input i is not asked for */
    const char *variant;             /* of the kernels that can do it, the candidate of this name; NULL: the usual one */
    int n_steps;                     /* 0: one */
    unsigned parameters; /* bit i: input i (float32) is a parameter that stands still, as weights do in inference */
} esker__case_row;

/** The rows of the table, from 0 on; NULL behind the last. */
const esker__case_row *esker__case_row_at(int index);

/** A row on one set of shapes, recorded. */
typedef struct esker__case {
    const esker__case_row *row;
    char name[96]; /* "4,1,5 x 3,1, note" */
    esker_graph *graph;
    int n_inputs; /* the row's, and the weights of the gradient last if there is one */
    esker_node *in[ESKER__CASE_INPUTS + 1];
    esker__case_values values[ESKER__CASE_INPUTS + 1];
    esker_node *outputs[ESKER__CASE_INPUTS + 1]; /* y, then the gradients; an update has y alone */
    int n_outputs;
} esker__case;

/** Record row->shapes[which]. Finish it also after a failure. */
esker_status esker__case_record(const esker__case_row *row, int which, esker__case *out);
void esker__case_finish(esker__case *c);

#endif
