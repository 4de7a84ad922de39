/* Products one behind another in one dispatch, each of whole rows of what the one before it made (gemm_chain.c). */
#ifndef ESKER_OPS_GEMM_CHAIN_H
#define ESKER_OPS_GEMM_CHAIN_H

#include "ops/gemm.h"

/** One of them: the product p, and perhaps the norm of its rows, or the gradient of such a norm, behind it. Of operands nodes, NULL where there is none. */
typedef struct esker__row_stage {
    const esker_node *node; /* that is computed by it; the next stage reads its output 0 */
    esker__gemm p;          /* its tail is in `tail` */
    int norm;               /* 0: none, 1: the norm, 2: its gradient */
    int kind;               /* as esker__gemm_norm */
    float eps;
    const esker_node *weight, *shift, *x, *stats;
    int stats_output, result_output,
        again_output; /* of node: written where somebody reads them; -1: there is none. again: the norm, by its gradient */
    const esker__tail *tail;
    bool tail_last;                   /* behind the norm */
    const esker_node *tail_inputs[3]; /* what its program reads: inputs 1 and on */
} esker__row_stage;

/** What the two operations that can be stages are as such; false: this node is none. */
bool esker__matmul_row_stage(const esker_node *node, esker__row_stage *out);
bool esker__matmul_norm_row_stage(const esker_node *node, esker__row_stage *out);

/** `node` and those behind it that go on with its rows in one dispatch, unless *out_found is false: nothing was emitted. */
esker_status esker__lower_row_chain(esker__lowering *lowering, const esker_node *node, bool *out_found);

#endif
