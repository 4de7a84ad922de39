/* What matmul and conv2d share: a tail of bias and activation, and the second pass of contractions that were split. */
#ifndef ESKER_OPS_CONTRACT_H
#define ESKER_OPS_CONTRACT_H

#include "base/text.h"
#include "ops/program.h"
#include "plan/lowering.h"

/**
 * The tail of a contraction: a bias, then a program over each element of the sum (value 0) and the same element of further
 * operands (values 1 and on). The node's inputs behind the contraction's own are the bias and those operands. Other operations
 * have tails, too, without a bias.
 */
typedef struct esker__tail {
    int32_t has_bias;
    int32_t keeps; /* output 1 of the node is what the last step took */
    esker__program program;
} esker__tail;

/**
 * The absorb rule: take `user` in if it adds a bias along `axis` of `shape` (the contraction's result; axes before it and
 * after it have length 1 in the bias, or it has one element; axis -1: there is no bias), or is an elementwise operation of the
 * contraction's result alone or with operands of its shape. A bias comes first, and there is one at most. Without a tail the
 * kernel binds `own_blocks`.
 */
bool esker__tail_absorb(esker__tail *tail, const esker_shape *shape, int axis, uint32_t own_blocks, const esker_node *user,
                        int which, const esker__fusion *fusion);

/**
 * For op->recompute: let the tail of `node`, an operand of which, input `which`, is what the tail of another node keeps, give that one's result as output
 * 1. False, with nothing changed, where that result is no function of what is kept alone, or there is no room.
 */
bool esker__tail_recompute(esker__tail *tail, const esker_node *node, int which, const esker__tail *made,
                           uint32_t own_blocks, uint32_t storage_blocks);

/** Inputs of a node behind the contraction's own. */
int esker__tail_n_inputs(const esker__tail *tail);

/** The rule for a fused node: as many inputs as the tail has behind `first`, and of these shapes; fills output 1. */
esker_status esker__tail_infer(const esker__tail *tail, const char *op, int axis, esker_node *const *inputs, int n_inputs,
                               int first, esker__type *out);

/** Whether an operand of `bias` shape is such a bias. */
bool esker__tail_bias_fits(const esker_shape *bias, const esker_shape *shape, int axis);

/** 1, or 0 for a bias of one element: what the kernels multiply the index with. 0 without a bias. */
uint32_t esker__tail_bias_step(const esker__tail *tail, const esker_node *bias);

/** Whether the node carries a tail; fails its graph, naming the op: gradients are recorded before fusion. */
bool esker__tail_refuses_gradient(const esker__tail *tail, esker_node *node);

/** What the reference of a contraction does with the sum of element `at`, and its magnitude; `bias_at` is its place in the bias. */
void esker__tail_reference(const esker__tail *tail, const esker__reference *r, int first, int64_t at, int64_t bias_at,
                           double sum, double magnitude);

/** The reference of a node whose op is not a contraction: applies the tail to what is in out[0]; `first` inputs are the op's own. */
void esker__tail_reference_all(const esker__tail *tail, const esker__reference *r, int first);

/** The title of a node with a tail: its op's name, "+add" for a bias, "+name" for each step. */
void esker__tail_title(const esker_node *node, const esker__tail *tail, esker__text *text);

/** Append the operands that the tail of `node` reads, and what it keeps; returns the number of their first block. */
int esker__tail_operands(esker__lowering *lowering, const esker__tail *tail, const esker_node *node,
                         esker__dispatch_desc *d);
/** Append the definition TAIL for them (nothing without steps): float tail(float t, uint at), or with `quads` vec4 tail4(vec4 t, uint at). */
void esker__tail_code(const esker__tail *tail, bool quads, int binding, esker__text *defines);

/**
 * The same in two steps, with four neighbours at a time, for kernels that read early: Ahead tail_ahead(uint at), what the tail reads, and
 * vec4 tail4(vec4 t, Ahead o). The tail keeps nothing.
 */
void esker__tail_code_ahead(const esker__tail *tail, int binding, esker__text *defines);

/**
 * Append what a kernel with `d->n_operands` operands so far needs for the tail of `node` (BIAS, TAIL, OUT_BINDING), and the
 * operands, the result last. `quads`: it asks for four neighbours at a time.
 */
void esker__tail_emit(esker__lowering *lowering, const esker__tail *tail, const esker_node *node, bool quads,
                      esker__dispatch_desc *d, esker__text *defines);
/**
 * The same for kernels that optim/rules may stand in front of, where `node` updates parameters (then `update_quads`: by four neighbours at a
 * time), and that make the sums beside the result (SUMS) if `sums`.
 */
void esker__tail_emit_updating(esker__lowering *lowering, const esker__tail *tail, const esker_node *node, bool quads,
                               bool update_quads, bool sums, esker__dispatch_desc *d, esker__text *defines);

/**
 * Emit gemm/sum_splits: out[e] = tail(sum_s part[s][e] + bias[e / inner mod n]). `tail` may be NULL.
 */
esker_status esker__emit_sum_splits(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                    const esker__tail *tail, uint32_t n, uint32_t inner, const esker_node *out);

/** The same with the sums of output 1 behind each part, rounded up to a multiple of 4 of them: they are added, without a tail. */
esker_status esker__emit_sum_splits_and_sums(esker__lowering *lowering, esker__value part, uint64_t n_elems,
                                             uint32_t n_splits, const esker_node *out);

/** The same into other memory than a node's. */
esker_status esker__emit_sum_splits_to(esker__lowering *lowering, esker__value part, uint64_t n_elems, uint32_t n_splits,
                                       esker__value out);

/**
 * Into how many pieces to cut a contraction of `length` terms whose `n_elems` results keep only `invocations` invocations
 * busy: 1 if they fill the device. Pieces are *out_chunk long, a multiple of `unit`, and at least `least`; the last may
 * be shorter.
 */
uint32_t esker__choose_splits(esker__lowering *lowering, uint64_t n_elems, uint64_t invocations, uint64_t length,
                              uint64_t unit, uint64_t least, uint32_t *out_chunk);

#endif
