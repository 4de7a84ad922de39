/*
 * Calls on tensors. They record into one pending graph for each device, by the public functions of ops.h; whoever wants a
 * value makes a plan of what is pending and runs it (flush.c). There is no other way of executing anything.
 *
 *   state.c       what a device keeps, scopes, the life of tensors that are pending
 *   call.c        from tensors to nodes and back
 *   operations.c  the twins of ops.h
 *   create.c      tensors from numbers
 *   host.c        values on the host
 *   text.c        values as text
 *   key.c         what is pending as a row of words that tells structures apart
 *   cache.c       plans by key, the least recently used going first
 *   flush.c       running what is pending
 *   history.c     how a tensor was computed, for gradients; which values they will need
 *   backward.c    the backward pass
 */
#ifndef ESKER_EAGER_INTERNAL_H
#define ESKER_EAGER_INTERNAL_H

#include <esker/eager.h>
#include "graph/graph.h"
#include "plan/plan.h"
#include "tensor/tensor.h"

/** Calls with more nodes pending flush first: a plan's order takes time by the square of its length. */
#define ESKER__EAGER_MOST_NODES 600
/** Runs in flight; one more waits for the oldest. */
#define ESKER__EAGER_RUNS 8

/**
 * How a tensor was computed. Only its own tensor refers to it, and it refers to its inputs: what nobody can ask gradients
 * of goes away by itself.
 */
typedef struct esker__history {
    const esker__op *op; /* esker__op_output: a further output, through which gradients flow to its input, the producer */
    void *attr;
    int n_inputs, n_extras, output;
    esker_tensor **inputs;       /* referenced */
    uint64_t *versions;          /* of the inputs, then */
    esker_tensor **extras;       /* referenced: the values of outputs 1 and up */
    struct esker__history *next; /* among those being released */
} esker__history;

/** A plan that is kept. */
typedef struct esker__cached {
    uint64_t hash, used;
    uint64_t *key;
    size_t n_words;
    esker_plan *plan;
    uint32_t *inputs, *outputs; /* place among the needed nodes, for each of the plan's */
    int n_inputs, n_outputs;
    bool uses_step;
    const esker__op **held; /* ops that programs registered */
    size_t n_held;
} esker__cached;

typedef struct esker__eager {
    esker_device *dev; /* which this is a part of */

    /* What is pending. */
    esker_graph *graph;
    uint64_t run;           /* counts flushes, from 1: nodes of other runs are gone */
    esker_tensor **leaves;  /* referenced: those behind the graph's input nodes */
    esker_tensor **owners;  /* by node: the tensor that has its value, not referenced; NULL: none */
    esker_tensor **pending; /* those without memory yet; not referenced */
    esker_tensor **made;    /* referenced: by a call, until it has returned */
    int busy;               /* within a call, when nothing may be forgotten */
    size_t n_made, made_capacity, n_leaves, leaves_capacity, n_owners, owners_capacity, n_pending, pending_capacity;

    esker_tensor **scoped; /* referenced; those of the innermost scope last */
    size_t *scopes;        /* where each begins */
    size_t n_scoped, scoped_capacity, n_scopes, scopes_capacity;

    int n_no_grad;
    uint64_t serial, mark; /* of tensors; of walks through histories */
    esker__history *dying;
    bool releasing;

    /* Plans. */
    esker__cached *cached;
    size_t n_cached, cached_capacity;
    int max_plans;
    uint64_t *words;  /* the key of what is pending */
    uint32_t *order;  /* needed nodes, ascending */
    uint32_t *number; /* by node: its place there + 1; 0: not needed */
    size_t n_words, words_capacity, n_order, order_capacity, number_capacity;
    esker_eager_counters counters;

    /* Runs. */
    uint64_t seed, first_run; /* the run that is step 0 under the seed */
    esker__memory steps;      /* ESKER__EAGER_RUNS step blocks */
    bool unfenced;            /* the last run has no fence: its reader was to wait */
    int last_slot;
    esker__fence fences[ESKER__EAGER_RUNS];
    esker__range *ranges; /* of inputs and outputs */
    size_t ranges_capacity;
} esker__eager;

/* ---- state.c ---- */

/** The device's, made when first asked for, in the thread that owns it. NULL with the error set. */
esker__eager *esker__eager_of(esker_device *dev);
/** A tensor without memory whose value is `node`, which has no owner. One reference. NULL: no memory. */
esker_tensor *esker__eager_new_tensor(esker__eager *eager, esker_node *node);
/** Take it off the list of pending ones: it got its memory, or nobody will. */
void esker__eager_settle(esker__eager *eager, esker_tensor *tensor);
/** Forget what is pending. Tensors that are wait for nothing any more. */
void esker__eager_reset(esker__eager *eager);
/** Let the tensor tell of its changes. */
void esker__eager_adopt(esker__eager *eager, esker_tensor *tensor);
/** Put a tensor whose node is set on the list of pending ones, as the owner of the node. */
esker_status esker__eager_add_pending(esker__eager *eager, esker_tensor *tensor);
/** A scope whose end queues nothing. */
esker_status esker__scope_push(esker__eager *eager);
void esker__scope_pop(esker__eager *eager);
/** Hand a result to the caller, or to the open scope; NULL (the tensor is released) when memory ran out. */
esker_tensor *esker__eager_give(esker__eager *eager, esker_tensor *tensor);

/* ---- call.c ---- */

typedef struct esker__call {
    esker__eager *eager;
    size_t first;     /* nodes before the call */
    uint32_t n_draws; /* the same of draws */
    bool tracked;     /* its results have histories */
} esker__call;

/**
 * Find the nodes of `n` tensors, the first `n_needed` of which must not be NULL. False, with the message set, unless it
 * was a NULL, when a call before has set it.
 */
bool esker__call_begin(esker__call *call, const char *name, esker_tensor *const *given, int n, int n_needed,
                       esker_node **out_nodes);
/** The same without tensors. */
bool esker__call_begin_on(esker__call *call, esker_device *dev);
/** The result as a tensor for the caller; NULL, and all as before the call, if `node` is. */
esker_tensor *esker__call_end(esker__call *call, esker_node *node);
/** All of them, or none. */
esker_status esker__call_end_all(esker__call *call, esker_node *const *nodes, int n, esker_tensor **out);
/** As before the call, which has returned. */
void esker__call_undo(esker__call *call);

/** The node of a tensor's value in what is pending; NULL with the error set. */
esker_node *esker__eager_node(esker__eager *eager, esker_tensor *tensor);
/** Extend `owners` to the nodes recorded since; false with the error set. */
bool esker__eager_note_nodes(esker__eager *eager);
/** The tensor that has a node's value, made if there is none; one more reference to it. */
esker_tensor *esker__eager_owner(esker__eager *eager, esker_node *node);

/* The input as it is: gradients pass, or stop. */
extern const esker__op esker__op_same, esker__op_stop;
esker_node *esker__eager_same(esker_node *x);
esker_node *esker__eager_stop(esker_node *x);

/* ---- key.c, cache.c, flush.c ---- */

/** What a pending node is wanted for. */
enum { ESKER__WANTED_NOT, ESKER__WANTED_USER, ESKER__WANTED_HISTORY };
int esker__eager_wanted(const esker_tensor *tensor);

/** Fill words, order and number. */
esker_status esker__eager_make_key(esker__eager *eager);
/** The plan for what is pending, compiled if there is none. */
esker_status esker__eager_find_plan(esker__eager *eager, esker__cached **out);
void esker__eager_drop_plans(esker__eager *eager, size_t n_left);
/** `waits`: the caller goes on to wait for the device. */
esker_status esker__eager_run(esker__eager *eager, bool waits);

/* ---- host.c ---- */

/** All values as doubles; esker__free them. Waits. */
esker_status esker__eager_read_all(esker_tensor *x, double **out);

/* ---- history.c ---- */

static inline bool esker__eager_tracks(const esker_tensor *tensor)
{
    return tensor->trace.requires_grad || tensor->trace.tracked;
}

/** Counts changes to what the tensor shows. */
static inline uint64_t esker__eager_version(const esker_tensor *tensor)
{
    return tensor->trace.base ? tensor->trace.base->trace.version : tensor->trace.version;
}

/** What `node` is computed by, where it is a further output that gradients flow through; else NULL. */
static inline esker_node *esker__eager_producer(const esker_node *node)
{
    return node->op == &esker__op_output && node->producer->op->gradients ? node->producer : NULL;
}

/** Remember how the tensor of `node` is computed. */
esker_status esker__history_make(esker__eager *eager, esker_tensor *tensor, esker_node *node);
/** Give back what the tensor's history refers to, and remember that there was one. */
void esker__history_free(esker__eager *eager, esker_tensor *tensor);
/** The tensor goes away, and its history with it. */
void esker__history_drop(esker__eager *eager, esker_tensor *tensor);
/** Mark in `needed` (by node, of the pending graph) the values that the gradient rule of the history of `node`'s owner will read. */
esker_status esker__history_needs(esker__eager *eager, const esker_node *node, bool *needed);

#endif
