/* Two-dimensional cross-correlation, and, once fused, tail(conv2d(x, w) + bias). */
#include "ops/conv2d_direct.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

esker__conv2d_size esker__conv2d_size_of(const esker_node *node)
{
    const esker__conv2d_attr *attr = node->attr;
    const int64_t *a = node->inputs[0]->type.shape.dims, *b = node->inputs[1]->type.shape.dims,
                  *out = node->type.shape.dims;
    const int64_t *x = a, *w = b, *y = out;
    if (node->op == &esker__op_conv2d_input_grad || node->op == &esker__op_conv_transpose2d)
        y = a, x = out;
    else if (esker__is_weight_grad(node))
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
        .dy = attr->dilation[0],
        .dx = attr->dilation[1],
        .groups = attr->groups,
        .cg = x[1] / attr->groups,
        .fg = w[0] / attr->groups,
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

esker_status esker__conv2d_check_inputs(const char *name, esker_node *const *inputs, int n_inputs, const char *wanted)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, name, inputs, 2);
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: input %d is %s, float32 is needed", text, i,
                               esker_dtype_name(inputs[i]->type.dtype));
    int x = inputs[0]->type.shape.rank, w = inputs[1]->type.shape.rank;
    if (x != 4 || w != 4)
        return esker__fail(ESKER_ERR_INVALID, "%s: x [n, c, h, w] and filters %s are needed, not %d and %d axes", text,
                           wanted, x, w);
    return ESKER_OK;
}

esker_status esker__conv2d_check(const char *text, const esker__conv2d_attr *attr, int64_t c, int64_t f, int64_t cg)
{
    esker_status st = esker__check_stride(text, attr->stride, attr->padding);
    if (st != ESKER_OK) return st;
    if (attr->dilation[0] < 1 || attr->dilation[1] < 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: dilation is [%d, %d], each must be at least 1 (0 means 1)", text,
                           (int)attr->dilation[0], (int)attr->dilation[1]);
    if (attr->groups < 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d groups, at least 1 is needed (0 means 1)", text, (int)attr->groups);
    if (c % attr->groups || f % attr->groups)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d groups do not divide %lld channels of x and %lld filters", text,
                           (int)attr->groups, (long long)c, (long long)f);
    if (c / attr->groups == cg) return ESKER_OK;
    if (attr->groups == 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: x has %lld channels, the filters expect %lld", text, (long long)c,
                           (long long)cg);
    return esker__fail(ESKER_ERR_INVALID, "%s: x has %lld channels in each of %d groups, the filters expect %lld", text,
                       (long long)(c / attr->groups), (int)attr->groups, (long long)cg);
}

int64_t esker__conv2d_extent(const esker__conv2d_attr *attr, int axis, int64_t in, int64_t kernel)
{
    int64_t room = in + attr->padding[axis] + attr->after[axis] - (kernel - 1) * attr->dilation[axis] - 1;
    return room < 0 ? 0 : room / attr->stride[axis] + 1;
}

esker_status esker__conv2d_infer(const char *text, const esker__conv2d_attr *attr, const esker_shape *x,
                                 const esker_shape *w, esker_shape *y)
{
    static const char *const axis_name[2] = {"rows", "columns"};
    esker_status st = esker__conv2d_check(text, attr, x->dims[1], w->dims[0], w->dims[1]);
    if (st != ESKER_OK) return st;
    *y = (esker_shape){4, {x->dims[0], w->dims[0]}};
    for (int i = 0; i < 2; i++) {
        int64_t in = x->dims[2 + i], kernel = w->dims[2 + i], padding = attr->padding[i], after = attr->after[i];
        y->dims[2 + i] = esker__conv2d_extent(attr, i, in, kernel);
        if (y->dims[2 + i] >= 1) continue;
        char dilated[64] = "";
        if (attr->dilation[i] > 1)
            snprintf(dilated, sizeof dilated, " (%lld with dilation %d)", (long long)((kernel - 1) * attr->dilation[i] + 1),
                     (int)attr->dilation[i]);
        if (after == padding)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: the filters have %lld %s%s, but x has %lld with padding %lld on both sides", text,
                               (long long)kernel, axis_name[i], dilated, (long long)(in + 2 * padding), (long long)padding);
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: the filters have %lld %s%s, but x has %lld with padding %lld in front and %lld behind",
                           text, (long long)kernel, axis_name[i], dilated, (long long)(in + padding + after),
                           (long long)padding, (long long)after);
    }
    return ESKER_OK;
}

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__conv2d_attr *attr = attributes;
    char text[ESKER__SIGNATURE_BYTES];
    esker_status st = esker__conv2d_check_inputs("conv2d", inputs, n_inputs, "[f, c, kh, kw]");
    if (st != ESKER_OK) return st;
    esker__signature(text, "conv2d", inputs, 2);
    *out = (esker__type){.dtype = ESKER_DTYPE_F32};
    st = esker__conv2d_infer(text, attr, &inputs[0]->type.shape, &inputs[1]->type.shape, &out->shape);
    if (st != ESKER_OK) return st;
    return esker__tail_infer(&attr->tail, "conv2d", 1, inputs, n_inputs, 2, out);
}

static int32_t or_one(int n)
{
    return n != 0 ? n : 1;
}

esker_node *esker_conv2d(esker_node *x, esker_node *w, const esker_conv2d_desc *desc)
{
    static const esker_conv2d_desc none = {{0}};
    if (!x || !w) return esker__record(&esker__op_conv2d, NULL, (esker_node *[]){x, w}, 2);
    if (!desc) desc = &none;
    esker__conv2d_attr attr = {.groups = or_one(desc->groups)};
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; i < 2; i++) {
        attr.stride[i] = or_one(desc->stride[i]);
        attr.dilation[i] = or_one(desc->dilation[i]);
        attr.padding[i] = desc->padding[i];
        int64_t after = (int64_t)desc->padding[i] + desc->more_padding[i];
        if (desc->same) {
            if (desc->padding[i] || desc->more_padding[i] || attr.stride[i] != 1)
                return esker__graph_fail(x->graph,
                                         esker__fail(ESKER_ERR_INVALID,
                                                     "%s: `same` takes no padding, and stride 1: not padding [%d, %d] "
                                                     "and stride [%d, %d]",
                                                     esker__signature(text, "conv2d", (esker_node *[]){x, w}, 2),
                                                     desc->padding[0], desc->padding[1], desc->stride[0], desc->stride[1]));
            int64_t kernel = w->type.shape.rank == 4 ? w->type.shape.dims[2 + i] : 1,
                    total = (kernel - 1) * attr.dilation[i]; /* below 2^63: both factors are below 2^31 */
            attr.padding[i] = total / 2 <= INT32_MAX / 2 ? (int32_t)(total / 2) : INT32_MAX / 2;
            after = total - total / 2;
        }
        if (after > INT32_MAX / 2 || after < INT32_MIN / 2)
            return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: padding %lld behind is out of range",
                                                           esker__signature(text, "conv2d", (esker_node *[]){x, w}, 2),
                                                           (long long)after));
        attr.after[i] = (int32_t)after;
    }
    return esker__record(&esker__op_conv2d, &attr, (esker_node *[]){x, w}, 2);
}

esker_node *esker__conv2d_like(esker_node *x, esker_node *w, const esker__conv2d_attr *conv)
{
    esker__conv2d_attr attr = *conv;
    attr.extent[0] = attr.extent[1] = 0;
    memset(&attr.tail, 0, sizeof attr.tail);
    return esker__record(&esker__op_conv2d, &attr, (esker_node *[]){x, w}, 2);
}

/* ---- One axis less: columns of images of one row ---- */

/* [a, b, length] as [a, b, 1, length]; axes in front keep their lengths whatever they are. */
esker_node *esker__with_rows(esker_node *x)
{
    return esker_reshape(x, &(esker_shape){4, {0, 0, 1, -1}});
}

esker_node *esker__without_rows(esker_node *y)
{
    return esker_reshape(y, &(esker_shape){3, {0, 0, -1}});
}

esker_status esker__check_one_axis(const char *name, esker_node *const *inputs, int n_inputs)
{
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.shape.rank != 3)
            return esker__fail(ESKER_ERR_INVALID, "%s: %s needs three axes, not %d",
                               esker__signature(text, name, inputs, n_inputs), i ? "w" : "x", inputs[i]->type.shape.rank);
    return ESKER_OK;
}

esker_node *esker_conv1d(esker_node *x, esker_node *w, const esker_conv1d_desc *desc)
{
    static const esker_conv1d_desc none = {0};
    if (!x || !w) return NULL;
    if (!desc) desc = &none;
    esker_status st = esker__check_one_axis("conv1d", (esker_node *[]){x, w}, 2);
    if (st != ESKER_OK) return esker__graph_fail(x->graph, st);
    return esker__without_rows(esker_conv2d(esker__with_rows(x), esker__with_rows(w),
                                            &(esker_conv2d_desc){.stride = {1, desc->stride},
                                                                 .padding = {0, desc->padding},
                                                                 .dilation = {1, desc->dilation},
                                                                 .more_padding = {0, desc->more_padding},
                                                                 .groups = desc->groups,
                                                                 .same = desc->same}));
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
                    for (int64_t c = 0; c < s.cg; c++)
                        for (int64_t p = 0; p < s.kh; p++)
                            for (int64_t q = 0; q < s.kw; q++) {
                                int64_t row = u * s.sy - s.py + p * s.dy, column = v * s.sx - s.px + q * s.dx;
                                if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                                double term = x[((i * s.c + f / s.fg * s.cg + c) * s.h + row) * s.w + column] *
                                              w[((f * s.cg + c) * s.kh + p) * s.kw + q];
                                sum += term;
                                magnitude += fabs(term);
                            }
                    if (r->bound) magnitude = r->magnitude[0][at];
                    esker__tail_reference(&attr->tail, r, 2, at, f * bias_step, sum, magnitude);
                }
}

esker_status esker__conv2d_magnitudes(const esker__reference *r)
{
    esker__conv2d_direct d;
    if (!esker__conv2d_describe(r->node, &d))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: no bound %d", r->node->op->name, r->bound);
    return esker__conv2d_winograd_magnitudes(&d, r->bound, esker__conv2d_tolerance(r->node), r->in[0], r->in[1],
                                             r->magnitude[0]);
}

double esker__conv2d_tolerance(const esker_node *node)
{
    esker__conv2d_size s = esker__conv2d_size_of(node);
    bool to_input = node->op == &esker__op_conv2d_input_grad || node->op == &esker__op_conv_transpose2d;
    int64_t n_terms = to_input ? s.fg * s.kh * s.kw : esker__is_weight_grad(node) ? s.n * s.oh * s.ow : s.cg * s.kh * s.kw;
    return 2 * sqrt((double)n_terms) + 6;
}

void esker__conv2d_cost(const esker_node *node, esker__cost *out)
{
    esker__conv2d_size s = esker__conv2d_size_of(node);
    double x = (double)(s.n * s.c * s.h * s.w), w = (double)(s.f * s.cg * s.kh * s.kw),
           y = (double)(s.n * s.f * s.oh * s.ow);
    *out = (esker__cost){.flops = 2 * y * (double)(s.cg * s.kh * s.kw), .bytes = 4 * (x + w + y)};
}

bool esker__conv2d_absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion,
                          void *attr)
{
    return esker__tail_absorb(&((esker__conv2d_attr *)attr)->tail, &node->type.shape, 1, 3, user, which, fusion);
}

void esker__conv2d_title(const esker_node *node, esker__text *text)
{
    esker__tail_title(node, &((const esker__conv2d_attr *)node->attr)->tail, text);
}

static esker_node *scaled(const esker_node *node, esker_node *const *inputs, esker_node *scale)
{
    esker_node *w = esker_mul(inputs[1], esker_reshape(scale, &(esker_shape){4, {-1, 1, 1, 1}}));
    return esker__record(node->op, node->attr, (esker_node *[]){inputs[0], w}, 2);
}

#define ESKER__CONV2D(n_outputs_, keeping_)                                                                              \
    {                                                                                                                    \
        .name = "conv2d", .n_inputs = -1, .n_outputs = n_outputs_, .attr_bytes = sizeof(esker__conv2d_attr),             \
        .infer = infer, .gradient = gradient, .reference = reference, .tolerance = esker__conv2d_tolerance,              \
        .magnitudes = esker__conv2d_magnitudes, .atol = ESKER__FLUSHED, .cost = esker__conv2d_cost,                      \
        .lower = esker__conv2d_lower, .absorb = esker__conv2d_absorb, .keeping = keeping_, .title = esker__conv2d_title, \
        .scaled = scaled, .fours = esker__conv2d_fours, .in_fours = esker__conv2d_in_fours,                              \
    }

/* With a tail that keeps a value there are two outputs. */
static const esker__op keeping = ESKER__CONV2D(2, NULL);
const esker__op esker__op_conv2d = ESKER__CONV2D(1, &keeping);
