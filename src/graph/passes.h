/* Passes: each makes a new graph from an old one, and maps the outputs. The old graph stays as it was. */
#ifndef ESKER_GRAPH_PASSES_H
#define ESKER_GRAPH_PASSES_H

#include <esker/device.h>
#include "graph/graph.h"

/** needed[id] (graph->n_nodes entries, zeroed by the caller): `outputs`, effects, and all they are computed from. */
void esker__mark_needed(const esker_graph *graph, esker_node *const *outputs, int n_outputs, bool *needed);

/** changed[index] (by parameter, zeroed by the caller): those that an update, or another effect among the needed nodes, changes. */
void esker__mark_changed(const esker_graph *graph, const bool *needed, bool *changed);

/* What a pass works with: the new graph, where each old node went, and room for one node's inputs. */
typedef struct esker__rewrite {
    const esker_graph *old;
    esker_graph *graph;
    esker_node **map;    /* by old id */
    bool *needed;        /* by old id */
    esker_node **inputs; /* of the node at hand, in the new graph */
} esker__rewrite;

esker_status esker__rewrite_init(esker__rewrite *r, const esker_graph *old, esker_node *const *outputs, int n_outputs);
void esker__rewrite_finish(esker__rewrite *r);
/** r->inputs: what the node's inputs became. */
void esker__rewrite_gather(esker__rewrite *r, const esker_node *node);
/** Hand the new graph and what the outputs became to the caller, or return its failure; finishes the rewrite. */
esker_status esker__rewrite_result(esker__rewrite *r, esker_node *const *outputs, int n_outputs, esker_graph **out_graph,
                                   esker_node **out_outputs);

/**
 * Drop what nobody needs, merge equal nodes (same op, attributes and inputs), and replace nodes by simpler equals
 * (op->simplify). Values stay the same to the bit.
 */
esker_status esker__pass_simplify(const esker_graph *graph, esker_node *const *outputs, int n_outputs,
                                  esker_graph **out_graph, esker_node **out_outputs);

/** What plans that fuse are made for. */
typedef struct esker__fusing {
    const esker_limits *limits;
    esker__family family;
    const esker__barred_ops *barred; /* NULL: none */
    bool fours;                      /* channels in fours wherever it is possible (src/plan/layout.c) */
} esker__fusing;

/**
 * Fold normalisations with given statistics (op->channel_affine), where these and the weights are parameters that no node here changes: into the
 * weights of the linear operation in front, and a bias (op->scaled), or else to a product and a sum for each channel. What that makes of parameters
 * alone is the same in every step of a plan. It does not matter what is fused.
 * *out_graph is NULL, and the graph stays, where there is no such node.
 */
esker_status esker__pass_fold(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs, int n_outputs,
                              esker_graph **out_graph, esker_node **out_outputs);

/**
 * Let contractions absorb the elementwise nodes that follow them (op->absorb), in kernels of at most how->limits->storage_blocks blocks, and
 * others become what they are with fusion (op->fused), some of them on the devices of a family alone. Where that makes a node of a barred op, all stays
 * as it was; barred ops absorb nothing.
 */
esker_status esker__pass_fuse(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs, int n_outputs,
                              esker_graph **out_graph, esker_node **out_outputs);

/** Make one node of each chain of elementwise nodes (op->join) that a kernel with how->limits->storage_blocks blocks can compute. */
esker_status esker__pass_chain(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs,
                               int n_outputs, esker_graph **out_graph, esker_node **out_outputs);

#endif
