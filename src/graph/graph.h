/* The recorded form: nodes with stable addresses in a pool, numbered in the order of recording (inputs before users). */
#ifndef ESKER_GRAPH_GRAPH_H
#define ESKER_GRAPH_GRAPH_H

#include <esker/graph.h>
#include "base/memory.h"
#include "graph/op.h"

typedef enum esker__phase { ESKER__PHASE_FORWARD, ESKER__PHASE_BACKWARD, ESKER__PHASE_UPDATE } esker__phase;

struct esker_node {
    esker_graph *graph;
    int id; /* index in graph->nodes */
    const esker__op *op;
    int n_inputs;
    esker_node **inputs;  /* in the graph's pool */
    void *attr;           /* op->attr_bytes, in the graph's pool; bytes that no member uses are zero */
    esker__type type;     /* of this value */
    int output;           /* which output of `producer` this value is; 0 for a producer itself */
    esker_node *producer; /* the node that computes it: itself, except for outputs 1 and up */
    esker__phase phase;
    const char *label; /* may be NULL; in the graph's pool */
};

struct esker_graph {
    esker__pool pool;
    esker_node **nodes;
    size_t n_nodes, capacity;
    esker_params *params;
    esker__phase phase; /* given to nodes recorded now */
    uint32_t n_draws;   /* ids given to random nodes: esker__new_draw */
    esker_status status;
    char *message;          /* of the first failure; in the pool */
    const esker__op **held; /* ops with a `hold`, each once */
    size_t n_held, held_capacity;
};

/**
 * Record `op`. The one way nodes come into being: checks that no input is NULL and all are of one graph, copies attr (may
 * be NULL), asks op->infer for the types, and makes one node for each output.
 * Returns    The node of output 0 (of an op without outputs, the node of the effect itself), or NULL with the graph's
 *            error set. For output i see esker__output.
 */
esker_node *esker__record(const esker__op *op, const void *attr, esker_node *const *inputs, int n_inputs);
/** The same for ops without inputs, or where all inputs may be absent. */
esker_node *esker__record_in(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs,
                             int n_inputs);
/** The node of output `i` of what esker__record returned; NULL for NULL. */
esker_node *esker__output(esker_node *node, int i);

/** Keep the first failure (this thread's last error) in the graph; returns NULL for `return esker__graph_fail(...)`. */
esker_node *esker__graph_fail(esker_graph *graph, esker_status status);

/** Copy a node into another graph with other inputs: infers again, so that another batch size may flow through. */
esker_node *esker__record_copy(esker_graph *graph, const esker_node *node, esker_node *const *inputs);

/**
 * An id for a random node that is about to be recorded, for its attributes: no other draw of the graph has it, and the same
 * program gets the same ids. Copies keep theirs, so that a draw is the same in every graph made from this one.
 */
uint32_t esker__new_draw(esker_graph *graph);

/** Forget every node and failure; parameters stay. Nodes are dead afterwards. */
void esker__graph_reset(esker_graph *graph);
/** Forget the nodes from `n_nodes` on, which nobody may have kept, and a failure. */
void esker__graph_truncate(esker_graph *graph, size_t n_nodes);

/** Sum `x` down to `shape`, the reverse of broadcasting `shape` to x's shape. Returns x itself if they agree. */
esker_node *esker__sum_to(esker_node *x, const esker_shape *shape);

/** The elements of parameters that `x`, an output of a node that updates (ESKER__OP_UPDATING), is the gradient of, in place of being written; else NULL. */
static inline const esker__update_range *esker__updated(const esker_node *x)
{
    const esker__op *op = x->producer->op;
    if (!(op->flags & ESKER__OP_UPDATING) || x->output >= ESKER__UPDATE_RANGES) return NULL;
    const char *end = (const char *)x->producer->attr + op->attr_bytes;
    const esker__update_range *range = (const void *)(end - sizeof(esker__update_range) *
                                                                (size_t)(ESKER__UPDATE_RANGES - x->output));
    return range->n ? range : NULL;
}
/** Whether `x` is, or shows a piece of, such an output. */
static inline bool esker__is_updated(const esker_node *x)
{
    while ((x->op->flags & ESKER__OP_VIEW) || x->op->piece) x = x->inputs[0];
    return esker__updated(x) != NULL;
}

/** The node whose bytes `node` shows, all of them. */
static inline const esker_node *esker__root_of(const esker_node *node)
{
    while (node->op->flags & ESKER__OP_VIEW) node = node->inputs[0];
    return node;
}

/** "add(float32 [64, 10], float32 [10])": for messages. */
#define ESKER__SIGNATURE_BYTES 600
const char *esker__signature(char buffer[ESKER__SIGNATURE_BYTES], const char *op, esker_node *const *inputs, int n_inputs);

/** Elements of a shape that was checked, as that of every node is. */
static inline int64_t esker__elems(const esker_shape *shape)
{
    int64_t n = 1;
    for (int i = 0; i < shape->rank; i++) n *= shape->dims[i];
    return n;
}

/* Source nodes (src/graph/sources.c). */
extern const esker__op esker__op_input, esker__op_parameter, esker__op_full, esker__op_output;
typedef struct esker__input_attr {
    char name[48];
    esker__type type;
} esker__input_attr;
typedef struct esker__parameter_attr {
    int64_t index;
    esker__type type;
} esker__parameter_attr;
typedef struct esker__full_attr {
    esker_shape shape;
    float value;
    int32_t pad;
} esker__full_attr;

/**
 * Evaluate the nodes that `outputs` need in double precision with the ops' references. `values[i]` of an input or
 * parameter node must be given in `given` (same indexing as graph->nodes; NULL elsewhere). On success (*out_values)[i]
 * holds the value of node i or NULL; free with esker__evaluate_free. `out_magnitudes` may be NULL; else each value's sum
 * of |terms| as op.h says.
 */
esker_status esker__evaluate(esker_graph *graph, const double *const *given, esker_node *const *outputs, int n_outputs,
                             double ***out_values, double ***out_magnitudes);
/** The same at a step: the seed and step that random operations see. esker__evaluate is step 0 of seed 0, as in a plan. */
esker_status esker__evaluate_step(esker_graph *graph, const esker__step *step, const double *const *given,
                                  esker_node *const *outputs, int n_outputs, double ***out_values,
                                  double ***out_magnitudes);
void esker__evaluate_free(esker_graph *graph, double **values);

#endif
