/* A convolution as conv/direct and conv/tiled describe it, by steps, and the files that lower it one way or another. */
#ifndef ESKER_OPS_CONV2D_DIRECT_H
#define ESKER_OPS_CONV2D_DIRECT_H

#include <string.h>

#include "ops/conv2d.h"

/** The bits of 1 / n as a float, for kernels that divide by n: uint((float(a) + 0.5) * (1 / n)) is a / n for a below 2^22. */
static inline uint32_t esker__reciprocal_bits(uint64_t n)
{
    float value = (float)(1.0 / (double)n);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/** One dispatch; the names are the kernels'. */
typedef struct esker__conv2d_direct {
    int64_t images, rows, columns, groups, f_out, c_in;
    int32_t x_h, x_w, stride_y, stride_x, pad_y, pad_x, taps_y, taps_x, step_y, step_x;
    int32_t w_f, w_c, w_first, w_p, w_q, w_group;
    uint32_t y_channel, y_first, y_u, y_v;
    bool alone; /* writes all of y, so that it may be split */
    bool
        fours; /* y has its channels in fours: y_channel is still in pixels, y_u and y_v in elements; conv/quads and conv/direct can, without groups */
    const esker__tail *tail;
    const esker_node *x, *w, *bias, *y;
    const esker_node *pooling; /* or NULL: the conv2d with a max_pool2d that this is; y is what is pooled */
    const esker_node *
        pooled; /* or NULL: the gradient of the input, from that of a pooled result, that this is; x is what it comes from */
    esker__cost cost;
} esker__conv2d_direct;

/** What conv/store4 wants to know where y may hold halves. */
void esker__conv2d_define_halves(const esker__lowering *lowering, const esker__conv2d_direct *d, esker__text *defines);

/** Whether conv/tiled can compute it on a device with these limits. */
bool esker__conv2d_suits_tiled(const esker_limits *limits, const esker__conv2d_direct *d);
esker_status esker__conv2d_emit_tiled(esker__lowering *lowering, const esker__conv2d_direct *d);
/** The same for four that differ in rows, columns, padding, taps, w_first and y_first alone, in one dispatch. */
bool esker__conv2d_suits_phases(const esker_limits *limits, const esker__conv2d_direct d[4]);
esker_status esker__conv2d_emit_phases(esker__lowering *lowering, const esker__conv2d_direct d[4]);

/**
 * Emit a kernel that writes the gradient of the filters as `parts` partial sums, and what adds them up. `sums`: NULL, or where the sums of g go, which the
 * kernel then writes behind those of the filters in each part (a multiple of 4 of them), even if there is but one. The caller has set the kernel's name, groups, parameters
 * and operands 0 and 1; `defines` is released.
 */
esker_status esker__conv2d_weight_grad_emit(esker__lowering *lowering, const esker_node *node, uint32_t parts,
                                            const esker_node *sums, esker__dispatch_desc *d, esker__text *defines);

/** Whether conv/quads can compute it (conv2d_quads.c): no dilation, and at least five filters in a group. */
bool esker__conv2d_suits_quads(const esker_limits *limits, const esker__conv2d_direct *d);
esker_status esker__conv2d_emit_quads(esker__lowering *lowering, const esker__conv2d_direct *d);
/** The same for conv/weight_grad_quads, without groups. */
bool esker__conv2d_weight_grad_suits_quads(const esker_limits *limits, const esker_node *node, const esker__conv2d_size *s);
esker_status esker__conv2d_weight_grad_emit_quads(esker__lowering *lowering, const esker_node *node,
                                                  const esker__conv2d_size *s);

/** The same for conv/tiled_weight_grad (conv2d_tiled_grad.c), which may also make the sums of g: `sums`, where they go, or NULL. */
bool esker__conv2d_weight_grad_suits_tiled(const esker_limits *limits, const esker__conv2d_size *s);
/** `pooled`: NULL, or the node with the pooled gradient to read in place of g. */
esker_status esker__conv2d_weight_grad_emit_tiled(esker__lowering *lowering, const esker_node *node,
                                                  const esker__conv2d_size *s, const esker_node *sums,
                                                  const esker_node *pooled);

/** The same for conv/few, where x has a few channels (conv2d_few.c). */
bool esker__conv2d_suits_few(const esker_limits *limits, const esker__conv2d_direct *d);
esker_status esker__conv2d_emit_few(esker__lowering *lowering, const esker__conv2d_direct *d);
/** The same for conv/few_weight_grad, which also makes the sums of g: `sums`, where they go, or NULL. */
bool esker__conv2d_weight_grad_suits_few(const esker_limits *limits, const esker__conv2d_size *s);
esker_status esker__conv2d_weight_grad_emit_few(esker__lowering *lowering, const esker_node *node,
                                                const esker__conv2d_size *s, const esker_node *sums,
                                                const esker_node *pooled);

/** Whether conv/few, or conv/tiled, can do the pooling of d->pooling on the way; and the gradients' kernels read d->pooled or such a node's inputs. */
bool esker__conv2d_few_pools(const esker_limits *limits, const esker__conv2d_direct *d);
bool esker__conv2d_tiled_pools(const esker_limits *limits, const esker__conv2d_direct *d);
bool esker__conv2d_reads_pooled(const esker_limits *limits, const esker_node *pooled);
/** Whether conv/tiled_weight_grad can make the sums of g on the way. */
bool esker__conv2d_weight_grad_tiled_sums(const esker_limits *limits, const esker__conv2d_size *s);
/** Whether a kernel may do that of `pooling`: windows of 2 x 2, and as many blocks. */
bool esker__conv2d_pools(const esker_limits *limits, const esker_node *pooling);
/** `d`, cut to rows and columns that windows have, with what it writes: y_channel and y_u are those of the pooled result. Returns d. */
esker__conv2d_direct *esker__conv2d_as_pooled(esker__conv2d_direct *d);
/** Append the operands of a kernel that does d->pooling, behind x and w, and its definitions. */
void esker__conv2d_emit_pooling(esker__lowering *lowering, const esker__conv2d_direct *d, esker__dispatch_desc *desc,
                                esker__text *defines);
/** Append g, operand 1 of the gradient of the filters `node`, or what it is made of if it is `pooled`, which is not NULL then. */
void esker__conv2d_emit_g(esker__lowering *lowering, const esker_node *node, const esker_node *pooled,
                          esker__dispatch_desc *desc, esker__text *defines);

/** The convolution that a conv2d node is, or the gradient of its input, or conv_transpose2d, the latter with stride 1. */
bool esker__conv2d_describe(const esker_node *node, esker__conv2d_direct *out);

/** Whether it can be computed by Winograd's filtering with tiles of m x m pixels, m 2 or 4 (conv2d_winograd.c): 3 x 3 taps with stride 1. */
bool esker__conv2d_suits_winograd(const esker__lowering *lowering, const esker__conv2d_direct *d, int m);
/** The tiles with which that is expected to be faster than all else: 2, 4, or 0. */
int esker__conv2d_usual_winograd(esker__lowering *lowering, const esker__conv2d_direct *d);
esker_status esker__conv2d_emit_winograd(esker__lowering *lowering, const esker__conv2d_direct *d, int m);
/**
 * Its error bound: |got - want| <= k eps out[e] for element e of y, without bias and tail (conv2d_winograd_bound.c).
 * Errors     ESKER_ERR_NO_MEMORY.
 */
esker_status esker__conv2d_winograd_magnitudes(const esker__conv2d_direct *d, int m, double k, const double *x,
                                               const double *w, double *out);

/** The same for the gradient of the filters, by tiles of 4 x 4 pixels of g (conv2d_winograd_grad.c). */
bool esker__conv2d_weight_grad_suits_winograd(const esker__lowering *lowering, const esker__conv2d_size *s);
bool esker__conv2d_weight_grad_usual_winograd(const esker__lowering *lowering, const esker__conv2d_size *s);
esker_status esker__conv2d_weight_grad_emit_winograd(esker__lowering *lowering, const esker_node *node,
                                                     const esker__conv2d_size *s);
esker_status esker__conv2d_weight_grad_winograd_magnitudes(const esker__conv2d_size *s, double k, const double *x,
                                                           const double *g, double *out);

/** Whether it is a product of matrices for each image: filters of one tap, no stride, no padding (conv2d_matmul.c). */
bool esker__conv2d_is_matmul(const esker__conv2d_direct *d);
esker_status esker__conv2d_emit_matmul(esker__lowering *lowering, const esker__conv2d_direct *d);
/** The same for the gradient of the filters, a sum of such products. */
bool esker__conv2d_weight_grad_is_matmul(const esker__conv2d_size *s);
esker_status esker__conv2d_weight_grad_emit_matmul(esker__lowering *lowering, const esker_node *node,
                                                   const esker__conv2d_size *s);

#endif
