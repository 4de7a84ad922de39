/* What elements by index share: take and gather (gather.c), scatter_add and the gradients of those two (scatter.c). Indices are input 1. */
#ifndef ESKER_OPS_GATHER_H
#define ESKER_OPS_GATHER_H

#include "ops/ops.h"
#include "plan/lowering.h"

/** Of take_grad and gather_grad. */
typedef struct esker__gather_grad_attr {
    int32_t axis, unused;
    int64_t n; /* length of the axis in the result */
} esker__gather_grad_attr;

/** A tensor as [outer, many, inner] around an axis, and what moves to and from it as [outer, few, inner]. */
typedef struct esker__index_split {
    int64_t outer, many, few, inner;
} esker__index_split;

esker__index_split esker__index_split_at(const esker_shape *full, int axis, int64_t few);

/** Of an index for each element: int32, and a shape that is inputs[0]'s but for the axis. `text` begins the message. */
esker_status esker__index_check_each(const char *text, esker_node *const *inputs, int axis);
/** No more elements in any operand than the kernels can index. */
esker_status esker__index_check_elems(const esker__lowering *lowering, const esker_node *node);
/** What INDEX is in the kernels. */
int esker__index_kind(const esker_node *node);
/** What the indices are converted from, if the kernels can read that; else NULL. */
const esker_node *esker__index_unconverted(const esker_node *node);
/** Record `op` along an axis of inputs[0], which may be counted from the end. */
esker_node *esker__record_indexed(const esker__op *op, esker_node *const *inputs, int n_inputs, int axis);

#endif
