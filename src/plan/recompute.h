/* The pass that computes activations once more in place of keeping them (recompute.c). */
#ifndef ESKER_PLAN_RECOMPUTE_H
#define ESKER_PLAN_RECOMPUTE_H

#include "graph/graph.h"

/** Results of activations that the backward pass reads are computed there. *out_graph is NULL, and the graph stays, where there is none. */
esker_status esker__pass_recompute(const esker_graph *graph, const esker_limits *limits, esker_node *const *outputs,
                                   int n_outputs, esker_graph **out_graph, esker_node **out_outputs);

#endif
