/*
 * What the normalisations share: how x is cut into lines, the double references, and the lowering to glsl/norm. All of them
 * are y = (x - mean) * rstd * weight + bias with mean and rstd of a line; output 1 holds the lines' statistics.
 */
#ifndef ESKER_OPS_NORM_H
#define ESKER_OPS_NORM_H

#include "ops/contract.h"
#include "ops/ops.h"
#include "plan/lowering.h"

/* What is normalised together. */
typedef enum esker__norm_scheme {
    ESKER__NORM_LAYER,    /* the last `axes` axes */
    ESKER__NORM_RMS,      /* the same, without a mean */
    ESKER__NORM_GROUP,    /* the channels of a group, over space, for each sample */
    ESKER__NORM_INSTANCE, /* a channel of a sample, over space */
    ESKER__NORM_L2,       /* along one axis: to length 1 */
    ESKER__NORM_BATCH,    /* a channel, over samples and space */
    ESKER__NORM_FIXED     /* a channel, with statistics that are given */
} esker__norm_scheme;

/** Of every normalisation and its gradients. */
typedef struct esker__norm_attr {
    int32_t scheme;
    int32_t axes; /* layer, rms: how many; group: the groups; l2: the axis; else 0 */
    float eps;
    int32_t has_weight, has_bias, has_running;
    esker__tail tail; /* of output 0 */
} esker__norm_attr;

/** The absorb rule of the forward operations and of gradients of x, and what they are called once fused. */
bool esker__norm_absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr);
void esker__norm_title(const esker_node *node, esker__text *text);
/** Of a node, or of what is about to be one: inputs without those of the tail. */
static inline int esker__norm_n_own(const esker__norm_attr *attr, int n_inputs)
{
    return n_inputs - esker__tail_n_inputs(&attr->tail);
}

/**
 * x as [outer, a, s, b]: line (outer, s), of outer * s, has the terms of its a and b axes. Term k of a line takes its
 * weight at
 *   affine 0: nowhere;  1: k;  2: s mod groups;  3: (s mod groups) * per_group + k / spatial
 */
typedef struct esker__norm_view {
    int64_t outer, a, s, b;
    int affine;
    int64_t groups, per_group, spatial;
} esker__norm_view;

void esker__norm_view_of(const esker_shape *x, const esker__norm_attr *attr, esker__norm_view *out);

/** The same x with one line for each element of the weight: [1, a, s, b], s the weight's elements. */
void esker__norm_affine_view_of(const esker_shape *x, const esker__norm_attr *attr, esker__norm_view *out);

static inline int64_t esker__norm_lines(const esker__norm_view *v)
{
    return v->outer * v->s;
}
static inline int64_t esker__norm_terms(const esker__norm_view *v)
{
    return v->a * v->b;
}

/** Shape of the weight and of the bias. */
void esker__norm_table_shape(const esker_shape *x, const esker__norm_attr *attr, esker_shape *out);

/** Put `usual` where eps is 0, and refuse what is no eps; the message names op and inputs. */
esker_status esker__norm_fill_eps(const char *op, esker_node *const *inputs, int n_inputs, float usual, float *eps);

/** 2 sqrt(terms of a line) + 16: two sums, an inverse root, and a few products. */
double esker__norm_tolerance(const esker_node *node);

/** Of a batch norm `y`: its running statistics move towards those of its batch (batch_norm_running.c). */
esker_node *esker__batch_norm_running(esker_node *y, esker_node *mean, esker_node *variance, float momentum);

/* References (norm_reference.c); `stats` are read where they are given and computed where they are not. */
void esker__norm_reference(const esker__reference *r, const double *weight, const double *bias, const double *mean,
                           const double *variance);
/** dx to out[0]; dgamma and dbeta to out[1] and out[2] if `with_tables`. Inputs x, g, stats, and the weight if attr says so. */
void esker__norm_grad_reference(const esker__reference *r, bool with_tables);
void esker__norm_affine_grad_reference(const esker__reference *r);

/* Lowering (norm_lower.c). Operands that are NULL are not there, or not wanted. */
typedef struct esker__norm_forward {
    const esker_node *node; /* of which input 0 is x and output 0 the result */
    esker__operand *weight, *bias;
    esker__operand *mean, *variance; /* statistics that are given */
    esker__operand *pairs;           /* the same as the norm of rows keeps them */
    esker__operand *stats;           /* to write */
    const esker__tail *tail;
} esker__norm_forward;
esker_status esker__norm_lower(esker__lowering *lowering, const esker__norm_forward *f);

typedef struct esker__norm_backward {
    const esker_node *node; /* with inputs x, g, stats */
    bool sum_samples;       /* the lines are the weight's elements */
    esker__operand *weight;
    esker__operand *dx, *dgamma, *dbeta; /* to write */
    const esker__tail *tail;             /* of dx; NULL: none */
} esker__norm_backward;
esker_status esker__norm_lower_backward(esker__lowering *lowering, const esker__norm_backward *b);

#endif
