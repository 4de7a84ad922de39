/* Which nodes are other nodes' bytes: views, and pieces that bindings may begin at (views.c). */
#ifndef ESKER_PLAN_VIEWS_H
#define ESKER_PLAN_VIEWS_H

#include "plan/plan.h"

static inline uint64_t esker__node_bytes(const esker_node *node)
{
    return (uint64_t)esker__elems(&node->type.shape) * esker_dtype_bytes(node->type.dtype);
}

/** Computed by dispatches of this plan, rather than given. */
static inline bool esker__is_computed(const esker_node *root)
{
    return root->op == &esker__op_output || !(root->op->flags & ESKER__OP_SOURCE);
}

/** Whether `node` is output 1 or 2 of an op whose second lies behind the first. */
static inline bool esker__is_joint(const esker_node *node)
{
    return node->op == &esker__op_output && (node->producer->op->flags & ESKER__OP_OUTPUTS_TOGETHER) && node->output <= 2;
}

/** Whether op->piece and the plan's limits let `node` be bytes of its input, from *out_offset on, with nothing to run. */
bool esker__plan_is_piece(const esker_plan *plan, const esker_node *node, uint64_t *out_offset);

#endif
