/* Products of matrices with the normalisation of their rows behind them, forward and backward (matmul_norm.c). */
#ifndef ESKER_OPS_MATMUL_NORM_H
#define ESKER_OPS_MATMUL_NORM_H

#include "ops/matmul.h"
#include "ops/norm.h"

/** op->fused of norms of rows, and of their gradients with respect to x: one node with the product that makes x, or the gradient that comes in. */
esker_node *esker__fused_norm(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                              const esker__fusion *fusion);
esker_node *esker__fused_norm_grad(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion);

#endif
