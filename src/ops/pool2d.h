/*
 * Small windows, whose kernels know their size; and winners: which element of each window of a max_pool2d was the largest, so that the gradient needs neither x
 * nor y. Plans with fusion make them.
 */
#ifndef ESKER_OPS_POOL2D_H
#define ESKER_OPS_POOL2D_H

#include "ops/contract.h"
#include "ops/ops.h"

/* ---- Small windows (pool2d_small.c) ---- */

typedef struct esker__pool_windows {
    const esker__pool2d_attr *attr;
    bool mean;
    const esker_shape *x, *y;
} esker__pool_windows;

/** Whether the kernels below do them on this device. ESKER_VARIANT: "any_window", no. */
bool esker__pool_is_small(const esker__lowering *lowering, const esker__pool_windows *w);
/** Emit pool/small: y of x, or with `which` int32 as y: at which element of its plane of x each window has its largest. */
esker_status esker__emit_pool_small(esker__lowering *lowering, const esker__pool_windows *w, esker__operand x,
                                    esker__operand y, bool which);
/** Emit pool/grad_small: gx = tail(what the windows give), of g, and of what the former found unless it is a mean. */
esker_status esker__emit_pool_grad_small(esker__lowering *lowering, const esker__pool_windows *w, const esker_node *g,
                                         const esker__operand *which, const esker__tail *tail, const esker_node *gx);

/* ---- Winners ---- */

/**
 * Of a pooled y [n, c, oh, ow] whose windows do not overlap: int32 [n, ceil(c / 4), oh, ow], byte i of a word (the lowest is 0) for channel 4 block + i.
 * p window_x + q if the element in row p and column q of the window won: the first that none is larger than, in that order, and as max_pool2d has it where some are
 * no numbers. ESKER__NO_WINNER where the gradient goes nowhere, since a relu in front lets none through. 0 of channels that there are not.
 */
#define ESKER__NO_WINNER   255
#define ESKER__MOST_WINNER 254 /* elements of a window */
esker__type esker__winners_type(const esker_shape *y);

/** What a word says of channel `c`; in double as references have it. */
static inline int esker__winner_of(double word, int64_t c)
{
    return (int)((uint32_t)(int32_t)word >> (8 * (c & 3)) & 255);
}

/** Emit pool/winners: y, the largest of each window of x, and the winners, unless NULL. */
esker_status esker__emit_winners(esker__lowering *lowering, const esker_node *x, const int32_t window[2], bool gated,
                                 const esker_node *y, const esker_node *winners);
/** Emit pool/grad_winners: gx = tail(g of the window where the element won, else 0). `tail`: NULL, or that of gx, a node with it. */
esker_status esker__emit_winners_grad(esker__lowering *lowering, const esker_node *g, const esker_node *winners,
                                      const int32_t window[2], const esker__tail *tail, const esker_node *gx);
/** The same in double: gx [n, c, h, w] from g [n, c, h / window, w / window]. `magnitude`: NULL, or that of gx. */
void esker__winners_grad_reference(const esker_shape *shape_g, const esker_shape *shape_gx, const int32_t window[2],
                                   const double *g, const double *winners, double *gx, double *magnitude);

/**
 * For tuning: whether `got` has the same winners as `want`, of x [n, c, h, w] in windows that do not overlap, or other elements less than `bound` below the largest. Where the
 * largest is as near to 0, it may win or not if the pooling is gated.
 */
bool esker__winners_agree(const esker_shape *y, const esker_shape *x, const int32_t window[2], bool gated,
                          const float *values, double bound, const int32_t *want, const int32_t *got);

/** The gradient of a max_pool2d from g and the winners: max_pool2d_grad in plans with fusion. */
typedef struct esker__winners_attr {
    int32_t window[2];
    int32_t extent[2]; /* rows and columns of the result */
    esker__tail tail;
} esker__winners_attr;
extern const esker__op esker__op_max_pool2d_winners_grad;

/** op->fours and op->in_fours of pooling, and of mean over whole images (pool2d_fours.c). */
bool esker__pool2d_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out);
esker_node *esker__pool2d_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs);
bool esker__mean_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out);
esker_node *esker__mean_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs);

/** op->fused of max_pool2d and of max_pool2d_grad (conv2d_pool.c). */
esker_node *esker__fused_max_pool2d(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                    const esker__fusion *fusion);
esker_node *esker__fused_max_pool2d_grad(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                         const esker__fusion *fusion);

#endif
