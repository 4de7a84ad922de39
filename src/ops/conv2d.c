/* Two-dimensional cross-correlation, and, once fused, act(conv2d(x, w) + bias). */
#include "ops/conv2d.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"

esker__conv2d_size esker__conv2d_size_of(const esker_node *node)
{
    const esker__conv2d_attr *attr = node->attr;
    const int64_t *a = node->inputs[0]->type.shape.dims, *b = node->inputs[1]->type.shape.dims,
                  *out = node->type.shape.dims;
    const int64_t *x = a, *w = b, *y = out;
    if (node->op == &esker__op_conv2d_input_grad)
        y = a, x = out;
    else if (node->op == &esker__op_conv2d_weight_grad)
        y = b, w = out;
    return (esker__conv2d_size){
        .n = x[0],
        .c = x[1],
        .h = x[2],
        .w = x[3],
        .f = w[0],
        .kh = w[2],
        .kw = w[3],
        .oh = y[2],
        .ow = y[3],
        .sy = attr->stride[0],
        .sx = attr->stride[1],
        .py = attr->padding[0],
        .px = attr->padding[1],
    };
}

esker_status esker__check_stride(const char *text, const int32_t stride[2], const int32_t padding[2])
{
    if (stride[0] < 1 || stride[1] < 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: stride is [%d, %d], each must be at least 1 (0 means the default)", text,
                           (int)stride[0], (int)stride[1]);
    if (padding[0] < 0 || padding[1] < 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: padding is [%d, %d], each must be at least 0", text, (int)padding[0],
                           (int)padding[1]);
    return ESKER_OK;
}

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    static const char *const axis_name[2] = {"rows", "columns"};
    const esker__conv2d_attr *attr = attributes;
    char text[ESKER__SIGNATURE_BYTES];
    int wanted = attr->tail.has_bias ? 3 : 2;
    if (n_inputs != wanted)
        return esker__fail(ESKER_ERR_INTERNAL, "conv2d: %d inputs given, %d are needed", n_inputs, wanted);
    esker__signature(text, "conv2d", inputs, 2);
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: input %d is %s, float32 is needed", text, i,
                               esker_dtype_name(inputs[i]->type.dtype));
    const esker_shape *x = &inputs[0]->type.shape, *w = &inputs[1]->type.shape;
    if (x->rank != 4 || w->rank != 4)
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: x [n, c, h, w] and filters [f, c, kh, kw] are needed, not %d and %d axes", text, x->rank,
                           w->rank);
    if (x->dims[1] != w->dims[1])
        return esker__fail(ESKER_ERR_INVALID, "%s: x has %lld channels, the filters expect %lld", text,
                           (long long)x->dims[1], (long long)w->dims[1]);
    esker_status st = esker__check_stride(text, attr->stride, attr->padding);
    if (st != ESKER_OK) return st;
    int64_t extent[2];
    for (int i = 0; i < 2; i++) {
        int64_t in = x->dims[2 + i], kernel = w->dims[2 + i], padding = attr->padding[i];
        if (kernel > in + 2 * padding)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: the filters have %lld %s, but x has %lld with padding %lld on both sides", text,
                               (long long)kernel, axis_name[i], (long long)(in + 2 * padding), (long long)padding);
        extent[i] = esker__conv2d_out(in, kernel, attr->stride[i], padding);
    }
    *out = (esker__type){ESKER_DTYPE_F32, {4, {x->dims[0], w->dims[0], extent[0], extent[1]}}};
    if (attr->tail.has_bias && !esker__tail_bias_fits(&inputs[2]->type.shape, &out->shape, 1))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: the bias does not fit", esker__signature(text, "conv2d", inputs, 3));
    return ESKER_OK;
}

esker_node *esker_conv2d(esker_node *x, esker_node *w, const esker_conv2d_desc *desc)
{
    esker__conv2d_attr attr = {{1, 1}, {0, 0}, {0, 0}, {0, 0}};
    for (int i = 0; desc && i < 2; i++) {
        if (desc->stride[i] != 0) attr.stride[i] = desc->stride[i];
        attr.padding[i] = desc->padding[i];
    }
    return esker__record(&esker__op_conv2d, &attr, (esker_node *[]){x, w}, 2);
}

static esker_node *gradient(esker_node *node, esker_node *g, int input)
{
    const esker__conv2d_attr *attr = node->attr;
    if (esker__tail_refuses_gradient(&attr->tail, node)) return NULL;
    esker_node *x = node->inputs[0], *w = node->inputs[1];
    return input == 0 ? esker__conv2d_input_grad(g, w, attr, &x->type.shape)
                      : esker__conv2d_weight_grad(x, g, attr, &w->type.shape);
}

static void reference(const esker__reference *r)
{
    const esker__conv2d_attr *attr = r->node->attr;
    esker__conv2d_size s = esker__conv2d_size_of(r->node);
    const double *x = r->in[0], *w = r->in[1];
    uint32_t bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, r->node->inputs[2]) : 0;
    int64_t at = 0;
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t f = 0; f < s.f; f++)
            for (int64_t u = 0; u < s.oh; u++)
                for (int64_t v = 0; v < s.ow; v++, at++) {
                    double sum = 0, magnitude = 0;
                    for (int64_t c = 0; c < s.c; c++)
                        for (int64_t p = 0; p < s.kh; p++)
                            for (int64_t q = 0; q < s.kw; q++) {
                                int64_t row = u * s.sy - s.py + p, column = v * s.sx - s.px + q;
                                if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                                double term = x[((i * s.c + c) * s.h + row) * s.w + column] *
                                              w[((f * s.c + c) * s.kh + p) * s.kw + q];
                                sum += term;
                                magnitude += fabs(term);
                            }
                    const double *bias = attr->tail.has_bias ? &r->in[2][f * bias_step] : NULL;
                    r->out[0][at] = esker__tail_value(&attr->tail, sum, bias, &magnitude);
                    if (r->magnitude[0]) r->magnitude[0][at] = magnitude;
                }
}

double esker__conv2d_tolerance(const esker_node *node)
{
    esker__conv2d_size s = esker__conv2d_size_of(node);
    int64_t n_terms = node->op == &esker__op_conv2d              ? s.c * s.kh * s.kw
                      : node->op == &esker__op_conv2d_input_grad ? s.f * s.kh * s.kw
                                                                 : s.n * s.oh * s.ow;
    return 2 * sqrt((double)n_terms) + 6;
}

void esker__conv2d_cost(const esker_node *node, esker__cost *out)
{
    esker__conv2d_size s = esker__conv2d_size_of(node);
    double x = (double)(s.n * s.c * s.h * s.w), w = (double)(s.f * s.c * s.kh * s.kw),
           y = (double)(s.n * s.f * s.oh * s.ow);
    *out = (esker__cost){.flops = 2 * y * (double)(s.c * s.kh * s.kw), .bytes = 4 * (x + w + y)};
}

static bool absorb(const esker_node *node, const esker_node *user, int which, void *attr)
{
    return esker__tail_absorb(&((esker__conv2d_attr *)attr)->tail, &node->type.shape, 1, user, which);
}

const esker__op esker__op_conv2d = {
    .name = "conv2d",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = infer,
    .gradient = gradient,
    .reference = reference,
    .tolerance = esker__conv2d_tolerance,
    .atol = ESKER__FLUSHED,
    .cost = esker__conv2d_cost,
    .lower = esker__conv2d_lower,
    .absorb = absorb,
};
