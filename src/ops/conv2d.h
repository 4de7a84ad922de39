/* conv2d, conv_transpose2d and their gradients: attributes and sizes shared by their rules
   (conv2d.c, conv2d_grad.c, conv_transpose2d.c) and their lowering (conv2d_lower.c, conv2d_weight_grad.c). */
#ifndef ESKER_OPS_CONV2D_H
#define ESKER_OPS_CONV2D_H

#include "ops/contract.h"

/** Of all: y [n, f, oh, ow] from x [n, c, h, w] and filters [f, c / groups, kh, kw]. For conv_transpose2d y is the input. */
typedef struct esker__conv2d_attr {
    int32_t stride[2], padding[2]; /* padding in front of the first row and column */
    int32_t after[2];              /* behind the last; below 0: that many are left out */
    int32_t dilation[2];
    int32_t groups;
    int32_t extent[2]; /* conv2d_input_grad, conv_transpose2d: h, w; conv2d_weight_grad: kh, kw */
    int32_t sums;      /* conv2d_weight_grad: output 1 [f] is the sum of g of each channel, the gradient of a bias */
    /* Of those with a max_pool2d (conv2d_pool.c): its window, and whether windows whose largest value is not above 0 have no winner. */
    int32_t window[2], gated;
    esker__tail tail; /* but for conv2d_weight_grad */
} esker__conv2d_attr;

typedef struct esker__conv2d_size {
    int64_t n, c, h, w, f, kh, kw, oh, ow;
    int64_t sy, sx, py, px, dy, dx; /* stride, padding in front, dilation */
    int64_t groups, cg, fg;         /* channels of x and of y in each group */
} esker__conv2d_size;

/** conv2d_weight_grad with `sums`: conv2d_grad.c alone makes such nodes, in plans. */
extern const esker__op esker__op_conv2d_weight_grad, esker__op_conv2d_weight_grad_summing;
#define ESKER__CONV2D_SUMMED 0xdu /* the axes of g that a bias does not have: images, rows, columns */

/** Of a recorded node of any of the four. */
esker__conv2d_size esker__conv2d_size_of(const esker_node *node);

/** d y / d x and d y / d w of conv2d, times g; the attributes are those of the conv2d node. */
esker_node *esker__conv2d_input_grad(esker_node *g, esker_node *w, const esker__conv2d_attr *conv, const esker_shape *x);
esker_node *esker__conv2d_weight_grad(esker_node *x, esker_node *g, const esker__conv2d_attr *conv, const esker_shape *w);
/** A conv2d with the attributes of another, but no tail. */
esker_node *esker__conv2d_like(esker_node *x, esker_node *w, const esker__conv2d_attr *conv);

/** oh or ow: (in + 2 padding - kernel) / stride + 1. */
static inline int64_t esker__conv2d_out(int64_t in, int64_t kernel, int64_t stride, int64_t padding)
{
    return (in + 2 * padding - kernel) / stride + 1;
}

/** Rows (axis 0) or columns (1) of y, at most 0 where the filters do not fit. */
int64_t esker__conv2d_extent(const esker__conv2d_attr *attr, int axis, int64_t in, int64_t kernel);
/** Strides, paddings, dilations and groups that can be, for `c` channels of x and `f` filters with `cg` channels. */
esker_status esker__conv2d_check(const char *text, const esker__conv2d_attr *attr, int64_t c, int64_t f, int64_t cg);
/** The shape of y from those of x and filters, of four axes each. */
esker_status esker__conv2d_infer(const char *text, const esker__conv2d_attr *attr, const esker_shape *x,
                                 const esker_shape *w, esker_shape *y);
/** Types of the inputs of conv2d and conv_transpose2d, and their axes. */
esker_status esker__conv2d_check_inputs(const char *name, esker_node *const *inputs, int n_inputs, const char *wanted);
/** The reference of conv2d_input_grad and conv_transpose2d, with their tail. */
void esker__conv2d_input_reference(const esker__reference *r);
/** Their absorb rule, and that of conv2d. */
bool esker__conv2d_absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion,
                          void *attr);
void esker__conv2d_title(const esker_node *node, esker__text *text);

/** [a, b, length] as [a, b, 1, length], and back; three axes each, or a failure that names the operation. */
esker_node *esker__with_rows(esker_node *x);
esker_node *esker__without_rows(esker_node *y);
esker_status esker__check_one_axis(const char *name, esker_node *const *inputs, int n_inputs);

/** What conv2d and pooling ask of stride and padding; `text` is the operation with its shapes. */
esker_status esker__check_stride(const char *text, const int32_t stride[2], const int32_t padding[2]);

double esker__conv2d_tolerance(const esker_node *node);
/** op->magnitudes of conv2d and of what the gradient of its input computes; the bound is the tiles' m of conv2d_winograd.c. */
esker_status esker__conv2d_magnitudes(const esker__reference *r);
void esker__conv2d_cost(const esker_node *node, esker__cost *out);
esker_status esker__conv2d_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__conv2d_input_grad_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__conv2d_weight_grad_lower(esker__lowering *lowering, const esker_node *node);

static inline bool esker__is_weight_grad(const esker_node *node)
{
    return node->op->lower == esker__conv2d_weight_grad_lower; /* with sums and updates, too */
}

/*
 * With a max_pool2d of windows that do not overlap behind the convolution, which plans with fusion alone make (conv2d_pool.c). The nodes are
 *   conv2d [n, f, oh / window, ow / window] from what conv2d takes; output 1 are the winners (pool2d.h), output 2 is y, where no kernel pools on the way;
 *   conv2d_weight_grad from x, the gradient of the pooled y, and the winners; output 1 [f] are the sums, output 2 is the gradient of y, where no kernel
 *     makes its elements on the way;
 *   conv2d_input_grad from the gradient of the pooled y, w, the winners, and what the tail takes; output 1 is that of y, alike.
 * The lowerings take `plain`, the node as it would be without the pooling, which reads or writes y or its gradient, and the node itself.
 */
extern const esker__op esker__op_conv2d_pooling, esker__op_conv2d_weight_grad_pooled, esker__op_conv2d_input_grad_pooled;
esker_status esker__conv2d_lower_pooling(esker__lowering *lowering, const esker_node *plain, const esker_node *pooling);
esker_status esker__conv2d_input_grad_lower_pooled(esker__lowering *lowering, const esker_node *plain,
                                                   const esker_node *pooled);
esker_status esker__conv2d_weight_grad_lower_pooled(esker__lowering *lowering, const esker_node *plain,
                                                    const esker_node *pooled);

/**
 * Channels in fours (conv2d_fours.c, which plans for inference make): conv2d's op->fours and op->in_fours; the node is conv2d with x in either layout and y in fours.
 * `plain` is the node with both as they are without.
 */
bool esker__conv2d_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out);
esker_node *esker__conv2d_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs);
esker_status esker__conv2d_lower_to_fours(esker__lowering *lowering, const esker_node *plain, const esker_node *node);

/** What these gradients become where `g`, in the graph being made, is that of a max_pool2d, if that pays; else NULL. `sums`: NULL, or asked for as well. */
esker_node *esker__conv2d_input_grad_of_pooled(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                               const esker__fusion *fusion);
esker_node *esker__conv2d_weight_grad_of_pooled(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                                bool sums, const esker__fusion *fusion);

#endif
