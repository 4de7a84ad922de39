/**
 * Graphs: recorded operations, gradients, and the parameters they use.
 *
 * Recording never executes. Operations (ops.h) take nodes and return nodes. Errors stick: a call that fails returns NULL,
 * passing NULL on returns NULL, and the graph keeps the first message, with the operation and its shapes, so that a program
 * checks once: esker_graph_status(), or the plan that is compiled from the graph.
 *
 * Threads    A graph is used by one thread at a time, and so is a set of parameters. Neither needs a device; once a plan put
 *            the parameters on one, reading and writing them is for the thread that owns it.
 */
#ifndef ESKER_GRAPH_H
#define ESKER_GRAPH_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_graph esker_graph;
/** A value in a graph. Owned by the graph; valid until the graph is destroyed. */
typedef struct esker_node esker_node;
/** A set of named parameters, their layout, and (once a plan on a device uses them) their values, gradients and optimizer state. */
typedef struct esker_params esker_params;

/* ---- Parameters ---- */

/** How a parameter starts. Random ones are drawn from Philox4x32-10 under the seed given to esker_params_init_values(). */
typedef enum esker_init_kind {
    ESKER_INIT_ZEROS = 0,
    ESKER_INIT_CONSTANT,       /* `value` */
    ESKER_INIT_UNIFORM,        /* in [-value, value) */
    ESKER_INIT_NORMAL,         /* mean 0, standard deviation `value` */
    ESKER_INIT_HE_UNIFORM,     /* bound sqrt(6 / fan_in)              He, Zhang, Ren, Sun 2015 */
    ESKER_INIT_HE_NORMAL,      /* deviation sqrt(2 / fan_in) */
    ESKER_INIT_XAVIER_UNIFORM, /* bound sqrt(6 / (fan_in + fan_out))  Glorot, Bengio 2010 */
    ESKER_INIT_XAVIER_NORMAL   /* deviation sqrt(2 / (fan_in + fan_out)) */
} esker_init_kind;

typedef struct esker_init {
    esker_init_kind kind;
    float value;
    int64_t fan_in, fan_out; /* 0: from the shape, [out, in, kernel...] */
} esker_init;

typedef struct esker_param_desc {
    const char *name; /* copied; unique in its set, for example "conv1.weight" */
    esker_shape shape;
    esker_init init;
    bool frozen; /* gets no gradient and no update */
    int group; /* 0 to ESKER_MAX_PARAM_GROUPS - 1: which settings of an optimizer's own apply (esker_optimizer_desc.groups) */
} esker_param_desc;

/** Groups of parameters with a learning rate and a weight decay of their own. */
#define ESKER_MAX_PARAM_GROUPS 8

typedef struct esker_param_info {
    const char *name; /* borrowed */
    esker_shape shape;
    int64_t n_elems;
    bool frozen;
    int group;
} esker_param_info;

/**
 * An empty set, with one reference. References may be taken in any thread; the last one is returned in the thread that
 * owns the device, once a plan put the values on one. Parameters can be added until their values are chosen, read or
 * written, or a plan is compiled: that fixes the layout.
 */
ESKER_API esker_status esker_params_create(esker_params **out);
ESKER_API esker_params *esker_params_ref(esker_params *params);
ESKER_API void esker_params_unref(esker_params *params); /* accepts NULL */

ESKER_API int esker_params_count(const esker_params *params);
/** Sum of elements over all parameters. */
ESKER_API int64_t esker_params_elems(const esker_params *params);
ESKER_API esker_status esker_params_get_info(const esker_params *params, int index, esker_param_info *out);
/** Index of a name, or -1. */
ESKER_API int esker_params_find(const esker_params *params, const char *name);

/**
 * Put a parameter into another group: for parameters that a layer made. Possible until the layout is fixed.
 * Errors     ESKER_ERR_INVALID: no such parameter or group, with the number; the layout is in use already.
 */
ESKER_API esker_status esker_params_set_group(esker_params *params, int index, int group);

/**
 * Give every parameter its starting value. Happens with seed 0 when the first plan needs values and nobody chose any.
 * Parameter i draws from stream i, so the values depend on the seed and the order of creation alone.
 */
ESKER_API esker_status esker_params_init_values(esker_params *params, uint64_t seed);

/**
 * Copy one parameter's values out or in; `n_elems` must be its number of elements. Once a plan uses the set, reading waits
 * for the device, and writing is ordered behind what is queued; before that they work on host memory. `values` may be reused
 * as soon as the call returns.
 * Errors     ESKER_ERR_INVALID: index or count wrong, with both numbers.
 */
ESKER_API esker_status esker_params_read(esker_params *params, int index, float *out, int64_t n_elems);
ESKER_API esker_status esker_params_write(esker_params *params, int index, const float *values, int64_t n_elems);
/**
 * The gradient that the last training step left, of a plan that keeps them (esker_optimizer_desc.keep_gradients, or L-BFGS). ESKER_ERR_INVALID
 * before such a plan was compiled for a device.
 */
ESKER_API esker_status esker_params_read_gradient(esker_params *params, int index, float *out, int64_t n_elems);

/* ---- Graphs ---- */

/** A graph with its own empty parameter set, or with `params` (may be NULL), which it references. */
ESKER_API esker_status esker_graph_create(esker_params *params, esker_graph **out);
ESKER_API void esker_graph_destroy(esker_graph *graph); /* accepts NULL */

/** ESKER_OK, or the status of the first call that failed; its message becomes esker_last_error(). */
ESKER_API esker_status esker_graph_status(const esker_graph *graph);
/** The graph's parameter set; borrowed. */
ESKER_API esker_params *esker_graph_get_params(const esker_graph *graph);

/** A value given anew for every run, by name. */
ESKER_API esker_node *esker_input(esker_graph *graph, const char *name, esker_dtype dtype, const esker_shape *shape);
/**
 * A parameter of the graph's set, float32. Added to the set if the name is new; else the shape must agree, the node is
 * shared, and `init` and `frozen` stay what they were.
 */
ESKER_API esker_node *esker_parameter(esker_graph *graph, const esker_param_desc *desc);
/** A float32 tensor filled with one value. */
ESKER_API esker_node *esker_full(esker_graph *graph, const esker_shape *shape, float value);

/** Name a node for messages, plans and reports; copied. Returns the node. */
ESKER_API esker_node *esker_label(esker_node *node, const char *label);

ESKER_API const esker_shape *esker_node_get_shape(const esker_node *node); /* NULL for NULL */
ESKER_API esker_dtype esker_node_get_dtype(const esker_node *node);

/**
 * Record d loss / d wrt[i] into out_grads[i], for a float32 loss of one element. Only what a wanted gradient needs is
 * recorded; contributions are added at joins and reduced over the axes that a broadcast widened. A wrt that the loss does
 * not depend on gets zeros.
 * Errors     (sticky) an operation without a gradient rule on the way: the message names it and the path to wrt[i].
 */
ESKER_API esker_status esker_gradients(esker_node *loss, esker_node *const *wrt, int n_wrt, esker_node **out_grads);

/* ---- Optimizers ---- */

/** What each does is PyTorch's, where PyTorch has it: g is the gradient, w the parameter, n the number of the step from 1. */
typedef enum esker_optimizer_kind {
    ESKER_OPTIMIZER_SGD = 0,
    ESKER_OPTIMIZER_ADAM,     /* Kingma, Ba 2015 */
    ESKER_OPTIMIZER_ADAMW,    /* Loshchilov, Hutter 2019 */
    ESKER_OPTIMIZER_RMSPROP,  /* Tieleman, Hinton 2012; centered: Graves 2013 */
    ESKER_OPTIMIZER_ADAGRAD,  /* Duchi, Hazan, Singer 2011 */
    ESKER_OPTIMIZER_ADADELTA, /* Zeiler 2012 */
    ESKER_OPTIMIZER_NADAM,    /* Dozat 2016 */
    ESKER_OPTIMIZER_LION,     /* Chen et al. 2023 */
    ESKER_OPTIMIZER_LAMB      /* You et al. 2020, with corrected moments */
} esker_optimizer_kind;

/** Settings of one group of parameters. Zero: those of the optimizer. */
typedef struct esker_param_group {
    float lr_scale;       /* a factor for every learning rate, > 0; 0: 1 */
    float weight_decay;   /* in place of the optimizer's; 0: the optimizer's */
    bool no_weight_decay; /* none at all, as is usual for biases and for the scales of norms */
} esker_param_group;

/**
 * Zero means the usual value where one is named. A setting that the optimizer does not have must be 0: nothing is ignored.
 */
typedef struct esker_optimizer_desc {
    esker_optimizer_kind kind;
    float lr;       /* > 0; 0: esker_optimizer_usual_lr() */
    float momentum; /* sgd, rmsprop */
    float
        weight_decay; /* adamw and lion: decoupled, w -= lr weight_decay w; lamb: added to the step before its length is measured; all
                         others: added to the gradient; 0 is none */
    float beta1, beta2;   /* adam, adamw, nadam, lion, lamb; 0: 0.9, 0.999 (lion 0.99) */
    float eps;            /* all but sgd and lion; 0: 1e-8, adagrad 1e-10, adadelta and lamb 1e-6 */
    float dampening;      /* sgd with momentum: the buffer takes (1 - dampening) g, from the second step on */
    bool nesterov;        /* sgd with momentum and without dampening */
    bool centered;        /* rmsprop: the gradient is divided by its deviation, not by its root mean square */
    float alpha;          /* rmsprop, adadelta (which calls it rho): decay of the mean square; 0: 0.99, 0.9 */
    float lr_decay;       /* adagrad: the rate is lr / (1 + (n - 1) lr_decay) */
    float accumulator;    /* adagrad: what the sum of squares starts with */
    float momentum_decay; /* nadam; 0: 4e-3 */
    float clip_value;     /* each gradient is brought into [-clip_value, clip_value] first; 0: not */
    float clip_norm; /* then all gradients are scaled by clip_norm / (norm + 1e-6) if their Euclidean norm, taken over all
                        parameters together, makes that less than 1; 0: not; INFINITY: the norm is measured, nothing scaled */
    esker_param_group groups[ESKER_MAX_PARAM_GROUPS]; /* by esker_param_desc.group */
    bool
        keep_gradients; /* for esker_params_read_gradient(): without it a gradient that the update alone reads may never be written */
} esker_optimizer_desc;

/**
 * Record the gradients of `loss` for every parameter that is not frozen, and the update that applies them: one dispatch
 * over the contiguous parameters of each group with settings of its own (centered rmsprop with momentum: three; lamb: three,
 * and one for the lengths of all parameters), before it
 * those that clip, if any. The plan's step number and learning rate (plan.h) drive it. All parameters must be in the set by
 * now. On large GPUs what computes a gradient that nothing else reads updates with it right away, where neither clip_norm nor keep_gradients needs
 * it: it takes no memory then, and the update's dispatches are left with what remains (updating.c lists the conditions).
 * Clipping is part of the update, which scales what it reads: esker_params_read_gradient() gives the gradients before it. (In a plan with no_fusion dispatches of their own clip in place, and it gives those behind it.) Gradient nodes that are
 * outputs of the plan show the gradients before it.
 * Errors     (sticky) ESKER_ERR_INVALID: a NaN, infinite or negative setting, or one that the optimizer does not have; a
 *            parameter that `loss` does not reach. The plan is refused if a parameter was added since.
 */
ESKER_API esker_status esker_optimize(esker_node *loss, const esker_optimizer_desc *desc);

/**
 * The Euclidean norm of all gradients together, float32 [], behind clip_value and before clip_norm: to be an output of
 * the plan, or to compute with.
 * Errors     (sticky) ESKER_ERR_INVALID: no esker_optimize() with clip_norm before it. Returns NULL then.
 */
ESKER_API esker_node *esker_gradient_norm(esker_graph *graph);

/** "sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "nadam", "lion", "lamb" to a kind; ESKER_ERR_INVALID lists the names. */
ESKER_API esker_status esker_optimizer_from_name(const char *name, esker_optimizer_kind *out);
/** sgd 1e-2, adam and adamw 1e-3, rmsprop and adagrad 1e-2, adadelta 1, nadam 2e-3, lion 1e-4, lamb 1e-3; 0 for an unknown kind. */
ESKER_API float esker_optimizer_usual_lr(esker_optimizer_kind kind);
ESKER_API const char *esker_optimizer_name(esker_optimizer_kind kind);

#ifdef __cplusplus
}
#endif
#endif
