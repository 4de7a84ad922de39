/*
 * Optimizers, in six files: optimizer_settings.c reads descriptions, optimizer_rules.c has the mathematics, optimizer.c
 * makes operations and dispatches of it (lamb.c of LAMB), gradient_clip.c clips, updating.c lets what computes gradients update with them,
 * optimize.c records them behind a loss.
 */
#ifndef ESKER_OPS_OPTIMIZER_H
#define ESKER_OPS_OPTIMIZER_H

#include "graph/graph.h"
#include "plan/lowering.h"

enum { ESKER__N_OPTIMIZERS = ESKER_OPTIMIZER_LAMB + 1 };

/** Of gradient_clip.c. */
typedef struct esker__clip_attr {
    float value, norm; /* 0: not by this; norm may be infinite */
} esker__clip_attr;
extern const esker__op esker__op_clip_gradients;

/** The attributes of an optimizer's node: a description with its defaults filled in. */
typedef struct esker__optimizer_attr {
    int32_t kind;
    int32_t nesterov, centered;
    float lr, momentum, dampening, beta1, beta2, eps, alpha, lr_decay, accumulator, momentum_decay;
    struct {
        float lr_scale, weight_decay;
    } groups[ESKER_MAX_PARAM_GROUPS];
    int32_t keeps_gradients; /* they are to be read behind a step */
    int32_t has_clip;        /* behind the gradients there is one more input, of gradient_clip.c */
    esker__clip_attr
        clip; /* fused: the update clips each gradient as it reads it; with a norm that input is its sums of squares */
} esker__optimizer_attr;

/** Check `desc` (NULL: all zero) and fill in what is 0. */
esker_status esker__optimizer_attr_init(const esker_optimizer_desc *desc, esker__optimizer_attr *out);

/** What the kernels are told anew for each step, two vec4 as glsl/optim/update.comp lays them out, for step n (from 1). */
void esker__optimizer_step(const esker__optimizer_attr *attr, double lr, double n, float out[8]);

/** One element's update in double: the parameter, its gradient and its state, in group `group` at step n (from 1). */
void esker__optimizer_element(const esker__optimizer_attr *attr, int group, double lr, double n, double *x, double g,
                              double *state[3]);

/** A stretch of the arenas that an optimizer's node updates, with one group's settings: elements of parameters and states, and of the gradients. */
typedef struct esker__update_part {
    int group;
    uint64_t first, n, gradients;
} esker__update_part;
/** All of them, as long as they can be, to be freed; returns how many, or -1 after a failure. */
int esker__update_parts(esker__lowering *lowering, const esker_node *node, esker__update_part **out);

/** Arrays of state beside each parameter. */
int esker__optimizer_states(const esker__optimizer_attr *attr);

/** Gradients among the inputs of an optimizer's node. */
static inline int esker__optimizer_gradients(const esker_node *node)
{
    return node->n_inputs - (((const esker__optimizer_attr *)node->attr)->has_clip != 0);
}

/** Of updating `n` elements by one kernel, each array read, and all but the gradients written. Not of LAMB. */
esker__cost esker__update_cost_of(const esker__optimizer_attr *attr, double n);
/** op->keeps of all of them. */
bool esker__optimizer_keeps(const esker_node *node);
/** The kernel's definitions of the rule, "RULES 1\nRULE ADAM\nSTATES 2\n". NULL: several kernels, one after the other, are needed. */
const char *esker__optimizer_rule(const esker__optimizer_attr *attr);

/* ---- Updates by what computes the gradients (updating.c) ---- */

/** What the attributes of an op with ESKER__OP_UPDATING end with. */
struct esker__update {
    esker__optimizer_attr optimizer;
    esker__update_range ranges[ESKER__UPDATE_RANGES];
};
/** That of a node; NULL: it does not update. */
const esker__update *esker__update_of(const esker_node *node);

/** Whether kernels that bind `own_blocks` beside the result, and the sums beside it if `sums`, have room for the update. */
bool esker__update_fits(const esker__update *update, uint32_t own_blocks, bool sums, const esker__fusion *fusion);

/**
 * Append, as the last operands of a dispatch, where its kernel is to put output `output` of `node`: the result, or where that updates, parameters
 * and states, and to `defines` what optim/rules needs. `quads`: four neighbours at a time. `sums`: output 1 comes beside it.
 */
void esker__results_emit(esker__lowering *lowering, const esker_node *node, int output, bool sums, bool quads,
                         esker__dispatch_desc *d, esker__text *defines);

/** `node` recorded again as `op`, whose attributes are those of the node's and the update: for op->updating. */
esker_node *esker__record_updating(const esker__op *op, const esker_node *node, const esker__update *update);

/** op->update, and what it adds to the node's cost and title. */
void esker__update_reference(const esker__reference *r);
void esker__update_cost(const esker_node *node, esker__cost *cost);
void esker__update_title(const esker_node *node, esker__text *text);

/** What an optimizer's node becomes where nodes that compute gradients update with them; NULL: none does. */
esker_node *esker__update_with_gradients(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                         const esker__fusion *fusion);

/** op->fused of an optimizer: takes clipping in, or lets others update. */
esker_node *esker__optimizer_fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion);
/** The gradient `g` as an update with the attributes `attr` takes it, and the factor for all, from the node's last input. */
double esker__clip_factor(const esker__reference *r);
double esker__clip(const esker__optimizer_attr *attr, double factor, double g);

/** What a kernel that is put behind glsl/optim/clipping.comp needs. */
typedef struct esker__clipping {
    char defines[40]; /* "" where nothing is clipped */
    bool has_sums;
    esker__operand sums;
    float most[2];
} esker__clipping;
void esker__clipping_init(esker__lowering *lowering, const esker_node *node, esker__clipping *out);
/** Append it to the kernel's operands and, at `params`, to its words. Returns how many these are. */
int esker__clipping_add(const esker__clipping *clipping, esker__dispatch_desc *d, uint32_t *params);

/** The shape rule of what takes one gradient for each parameter that is not frozen. */
esker_status esker__infer_gradients(const char *op, esker_node *const *inputs, int n_inputs);

extern const esker__op *const esker__optimizer_ops[ESKER__N_OPTIMIZERS];

#endif
