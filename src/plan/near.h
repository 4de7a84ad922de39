/* The pass that brings inputs to the GPU's side of a bus (near.c). */
#ifndef ESKER_PLAN_NEAR_H
#define ESKER_PLAN_NEAR_H

#include "graph/graph.h"

/** Copy large inputs that several nodes read, before they do. *out_graph is NULL, and the graph stays, where there is none. */
esker_status esker__pass_near(const esker_graph *graph, esker_node *const *outputs, int n_outputs, esker_graph **out_graph,
                              esker_node **out_outputs);

#endif
