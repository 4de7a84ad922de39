/* Which nodes are other nodes' bytes: views, and pieces that bindings may begin at (views.c). */
#ifndef ESKER_PLAN_VIEWS_H
#define ESKER_PLAN_VIEWS_H

#include "plan/plan.h"

/** Whether op->piece and the plan's limits let `node` be bytes of its input, from *out_offset on, with nothing to run. */
bool esker__plan_is_piece(const esker_plan *plan, const esker_node *node, uint64_t *out_offset);

#endif
