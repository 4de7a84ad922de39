/* The gradient of a bias beside that of a weight: both are sums of the same g, so that a kernel that has g at hand makes both (sums.c). */
#ifndef ESKER_OPS_SUMS_H
#define ESKER_OPS_SUMS_H

#include "graph/params.h"
#include "plan/lowering.h"

/** The parameter whose gradient the node is, and nothing else; or NULL. */
const esker__param *esker__gradient_of(const esker_node *node);

/** Whether `sum`, a node of that operation, is the sum of `g` that a bias needs. */
typedef bool (*esker__is_sum)(const esker_node *sum, const esker_node *g);

/**
 * The gradient of a bias that is such a sum of `g`, one axis long, near `node`, itself the gradient of a parameter; or NULL. For
 * op->fused: `node` may become one whose output 1 that is, if the caller says so in fusion->map.
 */
const esker_node *esker__sums_beside(const esker_node *node, const esker_node *g, esker__is_sum is_sum,
                                     const esker__fusion *fusion);

/** For lowerings: the sum of input `input` over the axes in `mask` into output 1, by dispatches of its own, where no kernel makes it on the way. */
esker_status esker__emit_sums(esker__lowering *lowering, const esker_node *node, int input, uint32_t mask);

#endif
