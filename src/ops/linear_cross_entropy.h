/* The last layer of a classifier and its loss as one node of plans with fusion (linear_cross_entropy.c, linear_cross_entropy_fusion.c). */
#ifndef ESKER_OPS_LINEAR_CROSS_ENTROPY_H
#define ESKER_OPS_LINEAR_CROSS_ENTROPY_H

#include "graph/op.h"
#include "ops/norm.h"

#define ESKER__HEAD_CLASSES 128 /* at most */

/** Its outputs. 1 to 3 are those of a cross_entropy. */
enum {
    ESKER__HEAD_INPUT_GRAD, /* behind the tail, or the norm */
    ESKER__HEAD_LOSS,
    ESKER__HEAD_GRAD,
    ESKER__HEAD_RIGHT,
    ESKER__HEAD_MEAN,                     /* with a plane: the means */
    ESKER__HEAD_BEFORE = ESKER__HEAD_MEAN /* with a norm: the gradient of what the head reads */
};

/** Inputs: 0 what the head reads, 1 its weight, 2 the labels, 3 the bias if there is one; with a norm the rows, their statistics, and its weight if it has one. */
typedef struct esker__head_attr {
    int32_t has_bias;
    int32_t plane;    /* 0: input 0 is a; else a are the means of so many neighbours in it */
    int32_t has_norm; /* a are norms of rows: the gradient is that of the rows, and has no tail */
    esker__tail tail; /* of the gradient of input 0 */
    esker__norm_attr norm;
} esker__head_attr;

typedef struct esker__head_sizes {
    int64_t rows, classes, k;
} esker__head_sizes;

static inline esker__head_sizes esker__head_sizes_of(const esker_node *weight, const esker_node *labels)
{
    return (esker__head_sizes){labels->type.shape.dims[0], weight->type.shape.dims[0], weight->type.shape.dims[1]};
}

extern const esker__op esker__op_linear_cross_entropy;

/** Whether groups hold the weight in registers: then a norm may be in front of it, and products may be larger. */
bool esker__head_holds(const esker__head_sizes *s, const esker__fusion *fusion);

/**
 * What a cross_entropy becomes whose logits are a product of few columns that nobody else reads, but for a count_correct `partner` of the
 * same labels (or NULL): its loss, or NULL where it stays alone. Sets what the partner and the gradient of the product's first factor become.
 */
esker_node *esker__fused_linear_cross_entropy(esker_graph *graph, const esker_node *node, const esker_node *partner,
                                              esker_node *const *inputs, const esker__fusion *fusion);

#endif
