/*
 * Optimizers, in five files: optimizer_settings.c reads descriptions, optimizer_rules.c has the mathematics, optimizer.c
 * makes operations and dispatches of it (lamb.c of LAMB), gradient_clip.c clips, optimize.c records them behind a loss.
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
    int32_t has_clip; /* behind the gradients there is one more input, of gradient_clip.c */
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

/** A stretch of the arenas with the same settings: elements of one group, and of those behind it that have the same. */
typedef struct esker__update_range {
    int group;
    uint64_t first, n;
} esker__update_range;
/** All of them; returns how many. */
int esker__update_ranges(esker__lowering *lowering, const esker__optimizer_attr *attr,
                         esker__update_range out[ESKER_MAX_PARAM_GROUPS]);

/** Arrays of state beside each parameter. */
int esker__optimizer_states(const esker__optimizer_attr *attr);

/** Gradients among the inputs of an optimizer's node. */
static inline int esker__optimizer_gradients(const esker_node *node)
{
    return node->n_inputs - (((const esker__optimizer_attr *)node->attr)->has_clip != 0);
}

/** op->fused of an optimizer: takes clipping in. */
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
