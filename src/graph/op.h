/*
 * What an operation must provide. One file of src/ops/ defines each esker__op and the public function that records it;
 * the table in src/ops/table.c lists them all.
 */
#ifndef ESKER_GRAPH_OP_H
#define ESKER_GRAPH_OP_H

#include <esker/device.h>
#include <esker/graph.h>

#include "gpu/gpu.h"

typedef struct esker__op esker__op;
typedef struct esker__lowering esker__lowering; /* src/plan/lowering.h */
typedef struct esker__step esker__step;         /* below */

typedef struct esker__text esker__text;     /* src/base/text.h */
typedef struct esker__update esker__update; /* src/ops/optimizer.h */

#define ESKER__MAX_BARRED 16

/** Ops that fusion must not make: their kernels are wrong on the device, and nothing stood in. */
typedef struct esker__barred_ops {
    const esker__op *list[ESKER__MAX_BARRED];
    int n;
} esker__barred_ops;

/** NULL: nothing is barred. */
bool esker__is_barred(const esker__barred_ops *barred, const esker__op *op);

/** What fusion may do. */
typedef struct esker__fusion {
    uint32_t storage_blocks;
    const int *n_users; /* by id of the graph before: how many read a node */
    esker_node **
        map; /* by id of the graph before: what nodes became so far. op->fused may change it for nodes that nobody read yet */
    const esker_limits *limits;
    esker__family family; /* whose device it is; ESKER__FAMILY_UNKNOWN without one */
    const esker__barred_ops *barred;
    bool keep;
} esker__fusion;

#define ESKER__CHAIN_MEMBERS 12
#define ESKER__CHAIN_OUTSIDE 7
#define ESKER__CHAIN_WANTED  4

/** Elementwise nodes of one shape, in an order in which they can be computed, that are to become one node. */
typedef struct esker__chain {
    const esker_node *members[ESKER__CHAIN_MEMBERS];
    int n_members;
    const esker_node *outside[ESKER__CHAIN_OUTSIDE]; /* what they read besides each other, each once */
    esker_node *inputs[ESKER__CHAIN_OUTSIDE];        /* what these are in the graph that the chain is recorded in */
    int n_outside;
    int wanted[ESKER__CHAIN_WANTED], n_wanted; /* the members whose values are the outputs */
    int phase;
} esker__chain;

/** A stretch of the arenas of parameters: elements of one group, and of those behind it that have the same settings of the optimizer. */
typedef struct esker__update_range {
    int64_t group;
    uint64_t first, n;
} esker__update_range;
#define ESKER__UPDATE_RANGES 2 /* of an op with ESKER__OP_UPDATING: for outputs 0 and 1; further ones are no gradients */

typedef struct esker__type {
    esker_dtype dtype;
    esker_shape shape;
} esker__type;

/** What channels in fours save on a family of devices (src/plan/layout.c), in nanoseconds of one core or the like; below 0 what they lose. */
typedef struct esker__fours_rates {
    double depthwise; /* for each product of a depthwise convolution */
    double dense;     /* of another with filters of one tap */
    double taps, few; /* of another with more taps, and of one that has few channels and pixels */
    double stored;    /* for each result of one that is not depthwise */
    double pooled;    /* for each pixel of a window that pooling reads */
    double averaged;  /* for each element that a mean of whole images reads */
    double converted; /* for each element that is brought into the other layout */
    double converts;  /* and each time */
} esker__fours_rates;

/** What a node can do with values whose channels lie in fours: [n, ceil(c / 4), h, w, 4] in place of [n, c, h, w], zero beyond the channels. */
typedef struct esker__fours {
    bool gives;          /* its result is one, else it is what it is without */
    bool either;         /* input 0 may lie one way or the other */
    uint32_t takes;      /* bit i: input i is one */
    uint32_t fixed;      /* bit i: if the plan does not change input i, and it depends on none */
    double gain;         /* what it saves, by the rates */
    const esker__op *op; /* of which it becomes; NULL: as it is */
} esker__fours;

#define ESKER__MAX_OUTPUTS 5
#define ESKER__MAX_STATE   4 /* arrays of optimizer state beside each parameter */

/** Arguments of an op's double reference. All element types travel as double. */
typedef struct esker__reference {
    const esker_node *node; /* for attributes and shapes: node->inputs[i]->type, node->type */
    double **in;            /* n_inputs arrays, row-major; an op with ESKER__OP_EFFECT may write those it changes */
    double *out[ESKER__MAX_OUTPUTS]; /* to fill */
    double *
        magnitude[ESKER__MAX_OUTPUTS]; /* NULL, or to fill: the sum of |terms| behind each element. Left untouched (it holds
                                               NAN) where |out| says it, as in most elementwise ops */
    int bound;   /* not 0: magnitude[0] holds what op->magnitudes found, and is what to take for the sums of |terms| */
    double more; /* beyond the op's tolerance, in eps of magnitude: kernels read halves of another form of an input */
    uint64_t seed, step; /* for random and update ops; step counts from 0 */
    /* For update ops, contiguous as in the arenas, `n_update` elements each: */
    float lr;
    int64_t n_update;
    double *params, *gradients, *state[ESKER__MAX_STATE];
} esker__reference;

/** Of an op with an output of integers that say which of some values is the largest: for tuning, where kernels that round differently are compared. */
typedef struct esker__indices {
    int output;
    /** The values, floats, recorded in the graph of `node`, from the same inputs; and their shape. */
    esker_node *(*values)(esker_node *node);
    void (*shape)(const esker_node *node, esker_shape *out);
    /** Whether `got` is the same as `want`, but where that names a value less than `bound` below the largest: where values are distinct, exactly. */
    bool (*agree)(const esker_node *node, const float *values, double bound, const int32_t *want, const int32_t *got);
} esker__indices;

/** Arithmetic and memory traffic of one execution, ignoring caches: each input read once, each output written once. */
typedef struct esker__cost {
    double flops;
    double bytes;
} esker__cost;

enum {
    ESKER__OP_VIEW = 1,   /* output 0 is input 0's bytes under another shape; nothing runs */
    ESKER__OP_SOURCE = 2, /* input, parameter, full: nothing to run when planned, or run by the plan itself */
    ESKER__OP_EFFECT = 4, /* changes stored state (parameters, optimizer state); never removed or merged; runs after every
                                 other reader of what it changes */
    ESKER__OP_UPDATE =
        64, /* (with EFFECT) an optimizer: input i is the gradient of the i-th parameter that is not frozen, and the plan
                                 places it there in the gradient arena */
    ESKER__OP_IN_PLACE_0 =
        8, /* output 0 may be written over input 0 when both have as many bytes: each invocation reads its own
                                 elements of input 0 before it writes them, and no others */
    ESKER__OP_IN_PLACE_1 = 16,     /* the same for input 1 */
    ESKER__OP_STORAGE_TYPES = 256, /* takes float16 and int8, too; all others are refused them */
    ESKER__OP_SUM = 512,           /* the sum of its two inputs, which broadcast */
    ESKER__OP_UPDATING =
        1024, /* (with EFFECT) outputs 0 and 1 are gradients, which update parameters as they are computed, and then are not
                                 written: esker__updated(). Ends the attributes with an esker__update_range for each of them, n 0 for those written */
    ESKER__OP_UPDATES_WITH_ALL =
        2048, /* (with `updating`) of small gradients, which update in their kernels only where all parameters are updated so: else the optimizer's
                                 ranges would be cut into more than they are worth */
    ESKER__OP_OUTPUTS_TOGETHER =
        4096, /* output 2 lies behind output 1 in one value, so that one operand can be both: esker__lie_together() */
    ESKER__OP_SHAPE_ONLY = 128 /* reads no input, takes their shapes alone: no gradient flows there, which is no error */
};

struct esker__op {
    const char *name; /* the op's public name without prefix, "conv2d" */
    int n_inputs;     /* exactly, or -1 for any number */
    int n_outputs;    /* 0 to ESKER__MAX_OUTPUTS */
    size_t attr_bytes;
    unsigned flags;

    /**
     * Shape and type rule. `inputs` are non-NULL nodes of one graph, n as declared. Fills out[0 .. n_outputs-1].
     * Errors     esker__fail(ESKER_ERR_INVALID, "op(shapes): the rule that is broken"), with esker__signature for the
     *            first part.
     */
    esker_status (*infer)(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out);

    /**
     * Record the gradient with respect to input `input`, given `grad`, the gradient of output 0 (same shape as output 0).
     * May return a node that is wider than the input where a broadcast stretched it: the caller sums it down to the
     * input's shape. To widen instead, use esker_expand(). NULL after a failure. NULL member: no gradient rule.
     * `no_gradient` has bit i set for inputs that never get one (labels, indices).
     */
    esker_node *(*gradient)(esker_node *node, esker_node *grad, int input);
    unsigned no_gradient;
    /**
     * In place of `gradient`, of ops whose further outputs are values to compute with too: `grads` holds the gradient of
     * each output, NULL where none flows; at least one is there.
     */
    esker_node *(*gradients)(esker_node *node, esker_node *const *grads, int input);

    /** The obvious loops in double. NULL only for sources. */
    void (*reference)(const esker__reference *r);
    /**
     * The error bound: |got - want| <= atol + k eps magnitude, eps = 2^-24. `tolerance` returns k, for n-term sums about
     * 2 sqrt(n) plus a few for the rest of the formula. NULL: k = 4.
     */
    double (*tolerance)(const esker_node *node);
    double atol;
    /**
     * For ops some of whose kernels have errors that are no multiple of the sum of an element's own |terms|: fills r->magnitude[0] for the bound
     * that the lowering named (r->bound, above 0), before `reference`, so that k eps magnitude is what such a kernel may be off by.
     */
    esker_status (*magnitudes)(const esker__reference *r);

    const esker__indices *indices; /* NULL: no output holds any */

    /** NULL: one flop for each element of output 0, all inputs and outputs read and written once. */
    void (*cost)(const esker_node *node, esker__cost *out);

    /**
     * Of ops that only copy: whether the result is one piece of input 0, its elements as they lie there from element
     * *out_first on. Where bindings may begin there nothing runs, and who reads the result reads the piece.
     */
    bool (*piece)(const esker_node *node, int64_t *out_first);

    /**
     * Of ops that only copy: whether the result is the elements of input 0, then those of input 1, and so on. What computes them may then write
     * right into the result, and `lower` leaves out those of which esker__is_in_place() says so.
     */
    bool (*in_sequence)(const esker_node *node);

    /** Describe the dispatches that compute the outputs (esker__emit in plan/lowering.h). NULL for views and sources. */
    esker_status (*lower)(esker__lowering *lowering, const esker_node *node);

    /**
     * Update ops: fill this node's slot in the per-step uniform block (lowering asked for it with esker__step_slot)
     * before each run: `out` has 8 floats, two vec4 in the kernel.
     */
    void (*step)(const void *attr, const esker__step *step, float out[8]);

    /**
     * Fusion. If not NULL and `user`, an elementwise node whose input `which` is (what became) `node`, can be computed in this
     * op's tail, return true and change `attr` (a copy of node's) accordingly. The pass appends user's other inputs to the
     * node's inputs; the kernel must stay inside `fusion->storage_blocks`. `user` and its inputs are of the graph before the
     * pass. With fusion->keep the value before `user` has other readers: the fused node is one of op->keeping, whose output 1
     * it is.
     */
    bool (*absorb)(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr);
    const esker__op *keeping; /* NULL: it cannot */
    /**
     * Recomputation (src/plan/recompute.c). Input `which` of `node` shows output 1 of `made`, as nothing else does if it does `alone`: if `node` can
     * compute output 0 of `made` from that once more, within `storage_blocks`, change `attr` (a copy of node's) to that of a node of op->keeping whose
     * last output is that, and return true. *out_more: an input of `made` that such a node has behind the inputs of `node`; left alone: it has none. NULL
     * member: it never can.
     */
    bool (*recompute)(const esker_node *node, int which, const esker_node *made, bool alone, uint32_t storage_blocks,
                      void *attr, const esker_node **out_more);
    /**
     * What `node` becomes in a plan with fusion, recorded in `graph` with `inputs`, what its own became (a clipping
     * that leaves the gradients alone, an update that clips them). NULL: itself. Must have those outputs of `node` that others read. What it
     * recorded is taken back where a barred op is among it; not of ops with ESKER__OP_UPDATE, which see to that themselves, as what they read relies on them.
     */
    esker_node *(*fused)(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                         const esker__fusion *fusion);
    /**
     * What `node`, whose outputs are gradients that an update alone reads, becomes where it updates with them itself: an op with ESKER__OP_UPDATING,
     * recorded with the inputs of `node`. NULL, with nothing recorded: the kernels have no room for that. NULL member: it never can.
     */
    esker_node *(*updating)(const esker_node *node, const esker__update *update, const esker__fusion *fusion);
    /** Of ops with `updating`: whether that records something; NULL: it is not known before, and counts as if it did. */
    bool (*may_update)(const esker_node *node, const esker__update *update, const esker__fusion *fusion);
    /** Of ops with ESKER__OP_UPDATE: whether the gradients are to be read behind a step; NULL: they are. */
    bool (*keeps)(const esker_node *node);
    /** Of ops with ESKER__OP_UPDATING: the op that writes the gradient in place of that, whose attributes are the first of these; NULL: for tuning there is none. */
    const esker__op *plain;
    /** Of ops with ESKER__OP_UPDATING: the update of params and state alone, by the gradients in r->out. */
    void (*update)(const esker__reference *r);
    /**
     * Chains of elementwise operations (src/graph/chain.c): whether `node` can be part of one, and the node that does the work
     * of one. NULL: the op is not elementwise.
     */
    bool (*joins)(const esker_node *node);
    esker_node *(*join)(esker_graph *graph, const esker__chain *chain);
    /** Append the names of all operations that `node` computes, for people: "matmul+add+relu". NULL: its own alone. */
    void (*title)(const esker_node *node, esker__text *text);

    /**
     * A simpler equal of what is about to be recorded in `graph` with `inputs` (x * 1 is x): returns it, or NULL. May
     * record nodes. Exactly equal values only.
     */
    esker_node *(*simplify)(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs);

    /**
     * For ops that can do without transpositions in front of them: change `attr` and `inputs` (copies) so that transpose nodes
     * among the inputs are no more needed, and return a bit for each output that then comes out with axes 1 and 2 exchanged; 0
     * where nothing can be done.
     */
    unsigned (*untransposed)(void *attr, esker_node **inputs);

    /**
     * Plans fold normalisations whose statistics are given into what is in front of them (src/graph/fold.c). `channel_affine`: output 0 of
     * `node` is scale[c] x + shift[c] for each channel c, axis 1 of input 0; record both, [channels], with what the node's inputs became.
     * `scaled`: `node` recorded with weights, its input 1, such that channel c of the result, axis 1, is scale[c] times as large;
     * NULL, with nothing recorded, where that is not its shape. Neither has a tail yet. NULL members: the op is neither.
     */
    bool (*channel_affine)(const esker_node *node, esker_node *const *inputs, esker_node **out_scale,
                           esker_node **out_shift);
    esker_node *(*scaled)(const esker_node *node, esker_node *const *inputs, esker_node *scale);

    /**
     * What `node` of a model becomes in a graph for inference, recorded there with `inputs` (a dropout is its input).
     * Must have those outputs of `node` that others read. NULL member: the same as in training.
     */
    esker_node *(*inference)(esker_graph *graph, const esker_node *node, esker_node *const *inputs);

    /**
     * Channels in fours: whether `node` can be computed so, and what it becomes, recorded with inputs that lie as out->takes says: with another shape, or
     * else the same values in the same shape. NULL members: it cannot (elementwise nodes need none).
     */
    bool (*fours)(const esker_node *node, const esker__fours_rates *rates, esker__fours *out);
    esker_node *(*in_fours)(esker_graph *graph, const esker_node *node, esker_node *const *inputs);

    /**
     * Elementwise ops: the value of one element as a GLSL expression over the operands `a`, `b`, `c` (float) and, if the
     * op has attributes (two floats then), the constants `k0`, `k1`. NULL for all others. May call the helpers that
     * glsl/elementwise/map.comp defines.
     */
    const char *expr;
    /** What the op's own file keeps beside it (a family of ops shares its functions and finds its table row here); may be NULL. */
    const void *detail;
    /** Of an op that a program registered: take (or return) a reference for a graph with nodes of it. NULL: the op is a constant. */
    void (*hold)(const esker__op *op, bool take);
};

/** What changes from step to step. */
struct esker__step {
    uint64_t step; /* 0 for the first update */
    uint64_t seed;
    float lr; /* 0 or below: the op's own */
};

/** Every operation, for `esker info`, tests and documentation; ends with NULL. In src/ops/table.c. */
extern const esker__op *const esker__ops[];

#endif
