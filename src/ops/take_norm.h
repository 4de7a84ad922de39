/* Rows that are taken from a table, and their norms, as one node of plans with fusion (take_norm.c). */
#ifndef ESKER_OPS_TAKE_NORM_H
#define ESKER_OPS_TAKE_NORM_H

#include "graph/op.h"

/** What a norm of rows becomes whose rows a take makes that nobody reads yet, behind which nobody but what reads the result does; else NULL. */
esker_node *esker__fused_take_norm(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion);

#endif
