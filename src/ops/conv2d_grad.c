/*
 * The two gradients of conv2d as operations. Each is linear in both of its inputs, and the gradients of the three stay among the three.
 */
#include "ops/conv2d_direct.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/optimizer.h"
#include "ops/reduce.h"
#include "ops/sums.h"

esker_node *esker__conv2d_input_grad(esker_node *g, esker_node *w, const esker__conv2d_attr *conv, const esker_shape *x)
{
    esker__conv2d_attr attr = *conv;
    attr.extent[0] = (int32_t)x->dims[2];
    attr.extent[1] = (int32_t)x->dims[3];
    return esker__record(&esker__op_conv2d_input_grad, &attr, (esker_node *[]){g, w}, 2);
}

esker_node *esker__conv2d_weight_grad(esker_node *x, esker_node *g, const esker__conv2d_attr *conv, const esker_shape *w)
{
    esker__conv2d_attr attr = *conv;
    attr.extent[0] = (int32_t)w->dims[2];
    attr.extent[1] = (int32_t)w->dims[3];
    return esker__record(&esker__op_conv2d_weight_grad, &attr, (esker_node *[]){x, g}, 2);
}

/* Users never name these operations: a broken rule is ours. */
static esker_status check(const char *name, const esker__conv2d_attr *attr, esker_node *const *inputs, const esker_shape *x,
                          const esker_shape *w, const esker_shape *y)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, name, inputs, 2);
    esker_shape wanted;
    esker_status st = esker__conv2d_infer(text, attr, x, w, &wanted);
    if (st != ESKER_OK) return st;
    if (!esker_shape_equal(&wanted, y))
        return esker__fail(ESKER_ERR_INTERNAL,
                           "%s: no conv2d of stride [%d, %d], padding [%d, %d] and extent [%d, %d] has these shapes", text,
                           (int)attr->stride[0], (int)attr->stride[1], (int)attr->padding[0], (int)attr->padding[1],
                           (int)attr->extent[0], (int)attr->extent[1]);
    return ESKER_OK;
}

static esker_status input_infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__conv2d_attr *attr = attributes;
    const esker_shape *y = &inputs[0]->type.shape, *w = &inputs[1]->type.shape;
    int64_t c = w->dims[1] * attr->groups;
    *out = (esker__type){ESKER_DTYPE_F32, {4, {y->dims[0], c, attr->extent[0], attr->extent[1]}}};
    esker_status st = esker__tail_infer(&attr->tail, "conv2d_input_grad", 1, inputs, n_inputs, 2, out);
    return st == ESKER_OK ? check("conv2d_input_grad", attr, inputs, &out->shape, w, y) : st;
}

static esker_status weight_infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    const esker__conv2d_attr *attr = attributes;
    const esker_shape *x = &inputs[0]->type.shape, *y = &inputs[1]->type.shape;
    int64_t cg = x->dims[1] / attr->groups;
    *out = (esker__type){ESKER_DTYPE_F32, {4, {y->dims[1], cg, attr->extent[0], attr->extent[1]}}};
    if (attr->sums) out[1] = (esker__type){ESKER_DTYPE_F32, {1, {y->dims[1]}}};
    return check("conv2d_weight_grad", attr, inputs, x, &out->shape, y);
}

/* dx = input_grad(y, w): what arrives for dx plays x. */
static esker_node *input_gradient(esker_node *node, esker_node *g, int input)
{
    const esker__conv2d_attr *attr = node->attr;
    if (esker__tail_refuses_gradient(&attr->tail, node)) return NULL;
    esker_node *y = node->inputs[0], *w = node->inputs[1];
    return input == 0 ? esker__conv2d_like(g, w, attr) : esker__conv2d_weight_grad(g, y, attr, &w->type.shape);
}

/* dw = weight_grad(x, y): what arrives for dw plays w. */
static esker_node *weight_gradient(esker_node *node, esker_node *g, int input)
{
    const esker__conv2d_attr *attr = node->attr;
    esker_node *x = node->inputs[0], *y = node->inputs[1];
    return input == 0 ? esker__conv2d_input_grad(y, g, attr, &x->type.shape) : esker__conv2d_like(x, g, attr);
}

/* Both references walk the forward loops and add to what each step touches. */
static void scatter(const esker__reference *r, bool to_input)
{
    esker__conv2d_size s = esker__conv2d_size_of(r->node);
    int64_t n_out = esker__elems(&r->node->type.shape), at = 0;
    double *out = r->out[0], *magnitude = r->bound ? NULL : r->magnitude[0];
    for (int64_t e = 0; e < n_out; e++) {
        out[e] = 0;
        if (magnitude) magnitude[e] = 0;
    }
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t f = 0; f < s.f; f++)
            for (int64_t u = 0; u < s.oh; u++)
                for (int64_t v = 0; v < s.ow; v++, at++)
                    for (int64_t c = 0; c < s.cg; c++)
                        for (int64_t p = 0; p < s.kh; p++)
                            for (int64_t q = 0; q < s.kw; q++) {
                                int64_t row = u * s.sy - s.py + p * s.dy, column = v * s.sx - s.px + q * s.dx;
                                if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                                int64_t x = ((i * s.c + f / s.fg * s.cg + c) * s.h + row) * s.w + column,
                                        w = ((f * s.cg + c) * s.kh + p) * s.kw + q;
                                double term = to_input ? r->in[0][at] * r->in[1][w] : r->in[0][x] * r->in[1][at];
                                out[to_input ? x : w] += term;
                                if (magnitude) magnitude[to_input ? x : w] += fabs(term);
                            }
}

void esker__conv2d_input_reference(const esker__reference *r)
{
    const esker__tail *tail = &((const esker__conv2d_attr *)r->node->attr)->tail;
    const int64_t *x = r->node->type.shape.dims;
    scatter(r, true);
    uint32_t bias_step = tail->has_bias ? esker__tail_bias_step(tail, r->node->inputs[2]) : 0;
    int64_t at = 0;
    for (int64_t plane = 0; plane < x[0] * x[1]; plane++)
        for (int64_t i = 0; i < x[2] * x[3]; i++, at++)
            esker__tail_reference(tail, r, 2, at, plane % x[1] * bias_step, r->out[0][at],
                                  r->magnitude[0] ? r->magnitude[0][at] : 0);
}

static void weight_reference(const esker__reference *r)
{
    esker__conv2d_size s = esker__conv2d_size_of(r->node);
    scatter(r, false);
    if (!((const esker__conv2d_attr *)r->node->attr)->sums || !r->out[1]) return;
    for (int64_t f = 0; f < s.f; f++) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < s.n; i++)
            for (int64_t at = 0; at < s.oh * s.ow; at++) {
                double term = r->in[1][(i * s.f + f) * s.oh * s.ow + at];
                sum += term;
                magnitude += fabs(term);
            }
        r->out[1][f] = sum;
        if (r->magnitude[1]) r->magnitude[1][f] = magnitude;
    }
}

static bool sums_channels(const esker_node *sum, const esker_node *g)
{
    return sum->inputs[0] == g && ((const esker__reduce_attr *)sum->attr)->mask == ESKER__CONV2D_SUMMED;
}

/* On large GPUs, whose kernels have room for it, the gradient of a bias comes out beside that of the filters. */
static esker_node *weight_fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                const esker__fusion *fusion)
{
    if (fusion->limits->group_invocations < 1024) return NULL;
    const esker_node *sum = esker__sums_beside(node, node->inputs[1], sums_channels, fusion);
    esker_node *pooled = esker__conv2d_weight_grad_of_pooled(graph, node, inputs, sum != NULL, fusion);
    if (pooled && sum) fusion->map[sum->id] = esker__output(pooled, 1);
    if (!sum || pooled) return pooled;
    esker__conv2d_attr attr = *(const esker__conv2d_attr *)node->attr;
    attr.sums = 1;
    esker_node *made = esker__record_in(graph, &esker__op_conv2d_weight_grad_summing, &attr, inputs, 2);
    fusion->map[sum->id] = esker__output(made, 1);
    return made;
}

static void weight_title(const esker_node *node, esker__text *text)
{
    if (((const esker__conv2d_attr *)node->attr)->sums) esker__text_add(text, "sum+");
    esker__text_add(text, "%s", node->op->name);
    esker__update_title(node, text);
}

static esker_status weight_magnitudes(const esker__reference *r)
{
    esker__conv2d_size s = esker__conv2d_size_of(r->node);
    return esker__conv2d_weight_grad_winograd_magnitudes(&s, esker__conv2d_tolerance(r->node), r->in[0], r->in[1],
                                                         r->magnitude[0]);
}

typedef struct updating_attr {
    esker__conv2d_attr conv;
    esker__update update;
} updating_attr;

#define UPDATING(n_outputs_, plain_)                                                                               \
    {                                                                                                              \
        .name = "conv2d_weight_grad", .n_inputs = 2, .n_outputs = n_outputs_, .attr_bytes = sizeof(updating_attr), \
        .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATING, .infer = weight_infer, .reference = weight_reference,      \
        .tolerance = esker__conv2d_tolerance, .magnitudes = weight_magnitudes, .atol = ESKER__FLUSHED,             \
        .cost = esker__conv2d_cost, .lower = esker__conv2d_weight_grad_lower, .title = weight_title,               \
        .update = esker__update_reference, .plain = plain_,                                                        \
    }
/* It is the second pass that updates. */
static esker_node *weight_updating(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    static const esker__op alone = UPDATING(1, &esker__op_conv2d_weight_grad),
                           summing = UPDATING(2, &esker__op_conv2d_weight_grad_summing);
    bool sums = ((const esker__conv2d_attr *)node->attr)->sums;
    if (!esker__update_fits(update, 2, sums, fusion)) return NULL;
    return esker__record_updating(sums ? &summing : &alone, node, update);
}

const esker__op esker__op_conv2d_input_grad = {
    .name = "conv2d_input_grad",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = input_infer,
    .gradient = input_gradient,
    .reference = esker__conv2d_input_reference,
    .tolerance = esker__conv2d_tolerance,
    .magnitudes = esker__conv2d_magnitudes,
    .atol = ESKER__FLUSHED,
    .cost = esker__conv2d_cost,
    .lower = esker__conv2d_input_grad_lower,
    .fused = esker__conv2d_input_grad_of_pooled,
    .absorb = esker__conv2d_absorb,
    .title = esker__conv2d_title,
};

const esker__op esker__op_conv2d_weight_grad = {
    .name = "conv2d_weight_grad",
    .n_inputs = 2,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = weight_infer,
    .gradient = weight_gradient,
    .reference = weight_reference,
    .tolerance = esker__conv2d_tolerance,
    .magnitudes = weight_magnitudes,
    .atol = ESKER__FLUSHED,
    .cost = esker__conv2d_cost,
    .lower = esker__conv2d_weight_grad_lower,
    .fused = weight_fused,
    .updating = weight_updating,
    .title = weight_title,
};

/* Nothing follows it: both are gradients of parameters. */
const esker__op esker__op_conv2d_weight_grad_summing = {
    .name = "conv2d_weight_grad",
    .n_inputs = 2,
    .n_outputs = 2,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = weight_infer,
    .reference = weight_reference,
    .tolerance = esker__conv2d_tolerance,
    .magnitudes = weight_magnitudes,
    .atol = ESKER__FLUSHED,
    .cost = esker__conv2d_cost,
    .lower = esker__conv2d_weight_grad_lower,
    .updating = weight_updating,
    .title = weight_title,
};
