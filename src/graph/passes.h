/* Passes: each makes a new graph from an old one, and maps the outputs. The old graph stays as it was. */
#ifndef ESKER_GRAPH_PASSES_H
#define ESKER_GRAPH_PASSES_H

#include <esker/device.h>
#include "graph/graph.h"

/** needed[id] (graph->n_nodes entries, zeroed by the caller): `outputs`, effects, and all they are computed from. */
void esker__mark_needed(const esker_graph *graph, esker_node *const *outputs, int n_outputs, bool *needed);

/**
 * Drop what nobody needs, merge equal nodes (same op, attributes and inputs), and replace nodes by simpler equals
 * (op->simplify). Values stay the same to the bit.
 */
esker_status esker__pass_simplify(const esker_graph *graph, esker_node *const *outputs, int n_outputs,
                                  esker_graph **out_graph, esker_node **out_outputs);

/**
 * Let contractions absorb the elementwise nodes that follow them (op->absorb), in kernels of at most limits->storage_blocks blocks, and
 * others become what they are with fusion (op->fused).
 */
esker_status esker__pass_fuse(const esker_graph *graph, const esker_limits *limits, esker_node *const *outputs,
                              int n_outputs, esker_graph **out_graph, esker_node **out_outputs);

/** Make one node of each chain of elementwise nodes (op->join) that a kernel with limits->storage_blocks blocks can compute. */
esker_status esker__pass_chain(const esker_graph *graph, const esker_limits *limits, esker_node *const *outputs,
                               int n_outputs, esker_graph **out_graph, esker_node **out_outputs);

#endif
