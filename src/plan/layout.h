/* The pass that decides which values have their channels in fours (layout.c). */
#ifndef ESKER_PLAN_LAYOUT_H
#define ESKER_PLAN_LAYOUT_H

#include "graph/passes.h"

/**
 * Let values lie in fours of channels (plan/fours.h) where what is computed with them is then faster on a device of the family by more than the changes
 * of layout in front and behind cost: in plans that change nothing, by what nodes say of themselves (op->fours). ESKER_VARIANT: "planes" never, "fours"
 * wherever it is possible. Nothing becomes a node of a barred op. *out_graph is NULL, and the graph stays,
 * where nothing is to be done.
 */
esker_status esker__pass_layout(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs,
                                int n_outputs, esker_graph **out_graph, esker_node **out_outputs);

#endif
