/* The last layer of a classifier and its loss as one node of plans with fusion (linear_cross_entropy.c). */
#ifndef ESKER_OPS_LINEAR_CROSS_ENTROPY_H
#define ESKER_OPS_LINEAR_CROSS_ENTROPY_H

#include "graph/op.h"

/**
 * What a cross_entropy becomes whose logits are a product of few columns that nobody else reads, but for a count_correct `partner` of the
 * same labels (or NULL): its loss, or NULL where it stays alone. Sets what the partner and the gradient of the product's first factor become.
 */
esker_node *esker__fused_linear_cross_entropy(esker_graph *graph, const esker_node *node, const esker_node *partner,
                                              esker_node *const *inputs, const esker__fusion *fusion);

#endif
