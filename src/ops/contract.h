/* What matmul and conv2d share: a tail of bias and activation, and the second pass of contractions that were split. */
#ifndef ESKER_OPS_CONTRACT_H
#define ESKER_OPS_CONTRACT_H

#include "base/text.h"
#include "plan/lowering.h"

/** As the kernels' ACT. */
enum { ESKER__ACT_NONE, ESKER__ACT_RELU, ESKER__ACT_SIGMOID, ESKER__ACT_TANH };

/** The tail of a contraction: act(sum + bias). The bias is the node's last input. */
typedef struct esker__tail {
    int32_t has_bias;
    int32_t activation;
} esker__tail;

/**
 * The absorb rule: take `user` in if it adds a bias along `axis` of `shape` (the contraction's result; axes before it and
 * after it have length 1 in the bias, or it has one element), or is relu, sigmoid or tanh. A bias comes before an
 * activation, and each at most once.
 */
bool esker__tail_absorb(esker__tail *tail, const esker_shape *shape, int axis, const esker_node *user, int which);

/** Whether an operand of `bias` shape is such a bias. */
bool esker__tail_bias_fits(const esker_shape *bias, const esker_shape *shape, int axis);

/** 1, or 0 for a bias of one element: what the kernels multiply the index with. 0 without a bias. */
uint32_t esker__tail_bias_step(const esker__tail *tail, const esker_node *bias);

/** Whether the node carries a tail; fails its graph, naming the op: gradients are recorded before fusion. */
bool esker__tail_refuses_gradient(const esker__tail *tail, esker_node *node);

/** In double: y = act(sum + bias), and the magnitude that goes with it. */
double esker__tail_value(const esker__tail *tail, double sum, const double *bias, double *magnitude);

/** Append the kernels' BIAS and ACT definitions. */
void esker__tail_defines(const esker__tail *tail, esker__text *text);

/**
 * Emit gemm/sum_splits: out[e] = act(sum_s part[s][e] + bias[e mod n]). `tail` and `bias` may be NULL.
 */
esker_status esker__emit_sum_splits(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                    const esker__tail *tail, const esker_node *bias, uint32_t n, const esker_node *out);

/**
 * Into how many pieces to cut a contraction of `length` terms whose `n_elems` results keep only `invocations` invocations
 * busy: 1 if they fill the device. Pieces are *out_chunk long, a multiple of `unit`, and at least `least`; the last may
 * be shorter.
 */
uint32_t esker__choose_splits(const esker_limits *limits, uint64_t n_elems, uint64_t invocations, uint64_t length,
                              uint64_t unit, uint64_t least, uint32_t *out_chunk);

#endif
