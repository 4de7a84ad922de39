/* conv2d and its gradients: attributes and sizes shared by their rules (conv2d.c, conv2d_grad.c) and their lowering (conv2d_lower.c). */
#ifndef ESKER_OPS_CONV2D_H
#define ESKER_OPS_CONV2D_H

#include "ops/contract.h"

/** Of all three: y [n, f, oh, ow] from x [n, c, h, w] and filters [f, c, kh, kw]. */
typedef struct esker__conv2d_attr {
    int32_t stride[2], padding[2];
    int32_t extent[2]; /* conv2d_input_grad: h, w; conv2d_weight_grad: kh, kw */
    esker__tail tail;  /* conv2d */
} esker__conv2d_attr;

typedef struct esker__conv2d_size {
    int64_t n, c, h, w, f, kh, kw, oh, ow;
    int64_t sy, sx, py, px;
} esker__conv2d_size;

/** Of a recorded node of any of the three. */
esker__conv2d_size esker__conv2d_size_of(const esker_node *node);

/** d y / d x and d y / d w of conv2d, times g; the attributes are those of the conv2d node. */
esker_node *esker__conv2d_input_grad(esker_node *g, esker_node *w, const esker__conv2d_attr *conv, const esker_shape *x);
esker_node *esker__conv2d_weight_grad(esker_node *x, esker_node *g, const esker__conv2d_attr *conv, const esker_shape *w);

/** oh or ow: (in + 2 padding - kernel) / stride + 1. */
static inline int64_t esker__conv2d_out(int64_t in, int64_t kernel, int64_t stride, int64_t padding)
{
    return (in + 2 * padding - kernel) / stride + 1;
}

/** What conv2d and pooling ask of stride and padding; `text` is the operation with its shapes. */
esker_status esker__check_stride(const char *text, const int32_t stride[2], const int32_t padding[2]);

double esker__conv2d_tolerance(const esker_node *node);
void esker__conv2d_cost(const esker_node *node, esker__cost *out);
esker_status esker__conv2d_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__conv2d_input_grad_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__conv2d_weight_grad_lower(esker__lowering *lowering, const esker_node *node);

#endif
