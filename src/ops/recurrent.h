/* What the parts of recurrent layers share: sizes, and where things lie in what the forward pass keeps for the backward pass. */
#ifndef ESKER_OPS_RECURRENT_H
#define ESKER_OPS_RECURRENT_H

#include "ops/ops.h"
#include "plan/lowering.h"

/** Of recurrent, recurrent_grad and recurrent_before. */
typedef struct esker__recurrent_attr {
    int32_t kind; /* esker_recurrent_kind */
    int32_t reverse, batch_first;
    int32_t has_bias, has_state;
    int32_t hidden;
} esker__recurrent_attr;

/**
 * kept: h [steps + 1, batch, hidden], that before the first step first; then c, the same, for lstm; then for lstm and gru
 * the gates [steps, 4, batch, hidden]: i, f, g, o, or r, z, n, and W_n h + b_n. In the order of the steps, which reverse
 * turns around.
 */
typedef struct esker__recurrent_size {
    int64_t steps, batch, hidden, gates; /* gates: rows of the weights are gates * hidden */
    int64_t units;                       /* batch * hidden */
    int64_t c_at, gates_at, n_kept;      /* in kept; its elements */
    bool has_c, has_gates;
} esker__recurrent_size;

/** `x`: of the shape of the input's part [steps, batch, ...], or [batch, steps, ...] if batch_first. */
esker__recurrent_size esker__recurrent_size_of(const esker__recurrent_attr *attr, const esker_shape *x);

/** Row of x and of the result for sample `b` at step `s`. */
static inline int64_t esker__recurrent_row(const esker__recurrent_attr *a, const esker__recurrent_size *z, int64_t s,
                                           int64_t b)
{
    int64_t t = a->reverse ? z->steps - 1 - s : s;
    return a->batch_first ? b * z->steps + t : t * z->batch + b;
}

/* References (recurrent_reference.c) and lowering (recurrent_lower.c). */
void esker__recurrent_reference(const esker__reference *r);
void esker__recurrent_grad_reference(const esker__reference *r);
void esker__recurrent_before_reference(const esker__reference *r);
esker_status esker__recurrent_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__recurrent_grad_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__recurrent_before_lower(esker__lowering *lowering, const esker_node *node);

#endif
