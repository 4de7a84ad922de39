/*
 * A convolution with a max_pool2d in its end, and the gradients of convolutions from that of what was pooled: what plans with fusion make of
 *
 *     y = max_pool2d(relu(conv2d(x, w) + bias))      with or without bias and relu, in windows that do not overlap
 *
 * where nothing else reads what is pooled. The result and the winners (pool2d.h) are all that is kept of it: what is pooled, mostly the largest value of such
 * a network, is then read by nobody, and where the kernels pool on the way and make the elements of its gradient when they read them, neither exists.
 * Each of the three operations here is one of conv2d's with more outputs: what it would read or write without the pooling is one of them, which takes memory only
 * where a kernel cannot do without.
 */
#include "ops/conv2d_direct.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/optimizer.h"
#include "ops/pool2d.h"

enum { WHOLE = 2, SUMS = 1, WHOLE_OF_INPUT_GRAD = 1 }; /* outputs: conv2d.h */

/* A node without its pooling, in memory of the caller. */
typedef struct plain {
    esker_node node;
    esker__conv2d_attr attr;
    esker_node *inputs[2 + 1 + ESKER__PROGRAM_INPUTS];
} plain;

/* Of conv2d: it computes what is pooled. */
static const esker_node *plain_conv2d(const esker_node *node, plain *p)
{
    const esker_node *whole = esker__output((esker_node *)node, WHOLE);
    p->attr = *(const esker__conv2d_attr *)node->attr;
    p->attr.window[0] = p->attr.window[1] = p->attr.gated = 0;
    p->node = *node;
    p->node.op = &esker__op_conv2d;
    p->node.attr = &p->attr;
    p->node.id = whole->id;
    p->node.type = whole->type;
    return &p->node;
}

/* Of the gradients: input `g` is the gradient of what was pooled, in output `whole`, and the winners, input 2, are none. */
static const esker_node *plain_grad(const esker_node *node, const esker__op *op, int g, int whole, plain *p)
{
    p->attr = *(const esker__conv2d_attr *)node->attr;
    p->attr.window[0] = p->attr.window[1] = p->attr.gated = 0;
    p->node = *node;
    p->node.op = op;
    p->node.attr = &p->attr;
    p->node.inputs = p->inputs;
    p->node.n_inputs = 0;
    for (int i = 0; i < node->n_inputs; i++)
        if (i != 2) p->inputs[p->node.n_inputs++] = node->inputs[i];
    p->inputs[g] = esker__output((esker_node *)node, whole);
    return &p->node;
}

static const esker_node *plain_weight_grad(const esker_node *node, plain *p)
{
    return plain_grad(node, &esker__op_conv2d_weight_grad, 1, WHOLE, p);
}

static const esker_node *plain_input_grad(const esker_node *node, plain *p)
{
    return plain_grad(node, &esker__op_conv2d_input_grad, 0, WHOLE_OF_INPUT_GRAD, p);
}

/* ---- Types ---- */

static esker_shape pooled_shape(const esker_shape *y, const int32_t window[2])
{
    esker_shape shape = *y;
    for (int i = 0; i < 2; i++) shape.dims[2 + i] /= window[i];
    return shape;
}

static esker_status infer_pooling(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__conv2d_attr *attr = attributes;
    esker__conv2d_attr without = *attr;
    without.window[0] = without.window[1] = without.gated = 0;
    esker_status st = esker__op_conv2d.infer(&without, inputs, n_inputs, &out[WHOLE]);
    if (st != ESKER_OK) return st;
    out[0] = (esker__type){ESKER_DTYPE_F32, pooled_shape(&out[WHOLE].shape, attr->window)};
    out[1] = esker__winners_type(&out[0].shape);
    return ESKER_OK;
}

static esker_status need_pooled(const char *name, const esker__conv2d_attr *attr, esker_node *const *inputs, int g,
                                const esker_shape *y)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker_shape pooled = pooled_shape(y, attr->window);
    esker__type winners = esker__winners_type(&pooled);
    if (esker_shape_equal(&inputs[g]->type.shape, &pooled) && inputs[2]->type.dtype == winners.dtype &&
        esker_shape_equal(&inputs[2]->type.shape, &winners.shape))
        return ESKER_OK;
    return esker__fail(ESKER_ERR_INTERNAL, "%s: not of a result pooled by [%d, %d]",
                       esker__signature(text, name, inputs, 3), (int)attr->window[0], (int)attr->window[1]);
}

static esker_status infer_weight_grad(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    const esker__conv2d_attr *attr = attributes;
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "conv2d_weight_grad", inputs, 3);
    int64_t f = inputs[1]->type.shape.dims[1];
    out[0] = (esker__type){ESKER_DTYPE_F32, {4, {f, x->dims[1], attr->extent[0], attr->extent[1]}}};
    out[SUMS] = (esker__type){ESKER_DTYPE_F32, {1, {f}}};
    out[WHOLE] = (esker__type){.dtype = ESKER_DTYPE_F32};
    esker_status st = esker__conv2d_infer(text, attr, x, &out[0].shape, &out[WHOLE].shape);
    return st == ESKER_OK ? need_pooled("conv2d_weight_grad", attr, inputs, 1, &out[WHOLE].shape) : st;
}

static esker_status infer_input_grad(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__conv2d_attr *attr = attributes;
    const esker_shape *w = &inputs[1]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "conv2d_input_grad", inputs, 3);
    esker__type *whole = &out[WHOLE_OF_INPUT_GRAD];
    out[0] = (esker__type){ESKER_DTYPE_F32,
                           {4, {inputs[0]->type.shape.dims[0], w->dims[1], attr->extent[0], attr->extent[1]}}};
    *whole = (esker__type){.dtype = ESKER_DTYPE_F32};
    esker_status st = esker__conv2d_infer(text, attr, &out[0].shape, w, &whole->shape);
    if (st == ESKER_OK) st = need_pooled("conv2d_input_grad", attr, inputs, 0, &whole->shape);
    return st == ESKER_OK ? esker__tail_infer(&attr->tail, "conv2d_input_grad", 1, inputs, n_inputs, 3, out) : st;
}

/* ---- References ---- */

static esker_status magnitudes(const esker__reference *r)
{
    plain p;
    esker__reference inner = *r;
    inner.node = plain_conv2d(r->node, &p);
    inner.magnitude[0] = r->magnitude[WHOLE];
    return esker__conv2d_magnitudes(&inner);
}

/*
 * Which element of a window is the largest may depend on rounding: a word of winners with such a window is left open, NaN. What the values may be off
 * by is what the convolution's own bound allows.
 */
static void reference(const esker__reference *r)
{
    const esker__conv2d_attr *attr = r->node->attr;
    plain p;
    esker__reference inner = *r;
    inner.node = plain_conv2d(r->node, &p);
    inner.out[0] = r->out[WHOLE];
    inner.magnitude[0] = r->magnitude[WHOLE];
    inner.out[1] = inner.magnitude[1] = NULL;
    esker__op_conv2d.reference(&inner);

    const double *y = r->out[WHOLE], *off = r->magnitude[WHOLE];
    const int64_t *from = p.node.type.shape.dims, *to = r->node->type.shape.dims;
    double k = off ? (esker__conv2d_tolerance(&p.node) + r->more) * 0x1p-24 : 0;
    int64_t at = 0, blocks = (to[1] + 3) / 4;
    uint32_t words[1];
    for (int64_t i = 0, n = to[0] * blocks * to[2] * to[3]; i < n; i++) {
        r->out[1][i] = 0;
        if (r->magnitude[1]) r->magnitude[1][i] = 0;
    }
    for (int64_t i = 0; i < to[0]; i++)
        for (int64_t c = 0; c < to[1]; c++)
            for (int64_t u = 0; u < to[2]; u++)
                for (int64_t v = 0; v < to[3]; v++, at++) {
                    int64_t first = ((i * to[1] + c) * from[2] + u * attr->window[0]) * from[3] + v * attr->window[1];
                    int64_t best = first, winner = 0;
                    double most_off = 0;
                    for (int64_t e = 0; e < (int64_t)attr->window[0] * attr->window[1]; e++) {
                        int64_t other = first + e / attr->window[1] * from[3] + e % attr->window[1];
                        if (off && off[other] > most_off) most_off = off[other];
                        if (y[other] > y[best] || isnan(y[other])) best = other, winner = e;
                    }
                    bool open = false;
                    double slack = off ? k * off[best] : 0;
                    for (int64_t e = 0; off && e < (int64_t)attr->window[0] * attr->window[1]; e++) {
                        int64_t other = first + e / attr->window[1] * from[3] + e % attr->window[1];
                        open |= other != best && y[other] + k * off[other] > y[best] - slack;
                    }
                    if (attr->gated && y[best] <= 0) winner = ESKER__NO_WINNER;
                    if (attr->gated && y[best] + slack <= 0) open = false; /* whichever it is */
                    if (attr->gated && y[best] + slack > 0 && !(y[best] - slack > 0)) open = true;
                    r->out[0][at] = y[best];
                    if (r->magnitude[0]) r->magnitude[0][at] = most_off;
                    double *word = &r->out[1][((i * blocks + c / 4) * to[2] + u) * to[3] + v];
                    words[0] = isnan(*word) ? 0 : (uint32_t)(int32_t)*word;
                    words[0] |= (uint32_t)winner << (8 * (c & 3));
                    *word = open || isnan(*word) ? NAN : (double)(int32_t)words[0];
                }
}

/* The gradient of filters as it is without a pooling, of the whole gradient, which is worked out on the way. */
static void weight_grad_inner(const esker__reference *r, plain *p, double **in, esker__reference *inner,
                              double *whole_magnitude)
{
    *inner = *r;
    inner->node = plain_weight_grad(r->node, p);
    inner->in = in;
    in[0] = r->in[0];
    in[1] = r->out[WHOLE];
    esker__winners_grad_reference(&r->node->inputs[1]->type.shape, &p->inputs[1]->type.shape,
                                  ((const esker__conv2d_attr *)r->node->attr)->window, r->in[1], r->in[2], r->out[WHOLE],
                                  whole_magnitude);
}

static void reference_weight_grad(const esker__reference *r)
{
    plain p;
    double *in[2];
    esker__reference inner;
    weight_grad_inner(r, &p, in, &inner, r->magnitude[WHOLE]);
    esker__op_conv2d_weight_grad.reference(&inner);
}

static esker_status magnitudes_weight_grad(const esker__reference *r)
{
    plain p;
    double *in[2];
    esker__reference inner;
    weight_grad_inner(r, &p, in, &inner, NULL);
    return esker__op_conv2d_weight_grad.magnitudes(&inner);
}

static void input_grad_inner(const esker__reference *r, plain *p, double **in, esker__reference *inner)
{
    *inner = *r;
    inner->node = plain_input_grad(r->node, p);
    inner->in = in;
    int n = 0;
    for (int i = 0; i < r->node->n_inputs; i++)
        if (i != 2) in[n++] = r->in[i];
    in[0] = r->out[WHOLE_OF_INPUT_GRAD];
    inner->out[1] = inner->magnitude[1] = NULL;
    esker__winners_grad_reference(&r->node->inputs[0]->type.shape, &p->inputs[0]->type.shape,
                                  ((const esker__conv2d_attr *)r->node->attr)->window, r->in[0], r->in[2],
                                  r->out[WHOLE_OF_INPUT_GRAD], r->magnitude[WHOLE_OF_INPUT_GRAD]);
}

static void reference_input_grad(const esker__reference *r)
{
    plain p;
    double *in[sizeof p.inputs / sizeof *p.inputs];
    esker__reference inner;
    input_grad_inner(r, &p, in, &inner);
    esker__op_conv2d_input_grad.reference(&inner);
}

static esker_status magnitudes_input_grad(const esker__reference *r)
{
    plain p;
    double *in[sizeof p.inputs / sizeof *p.inputs];
    esker__reference inner;
    input_grad_inner(r, &p, in, &inner);
    return esker__conv2d_magnitudes(&inner);
}

/* ---- What they are without a pooling: bounds, costs, lowerings, names ---- */

static double tolerance(const esker_node *node)
{
    plain p;
    return esker__conv2d_tolerance(plain_conv2d(node, &p));
}

static double tolerance_weight_grad(const esker_node *node)
{
    plain p;
    return esker__conv2d_tolerance(plain_weight_grad(node, &p));
}

static double tolerance_input_grad(const esker_node *node)
{
    plain p;
    return esker__conv2d_tolerance(plain_input_grad(node, &p));
}

/* The value that is not there, or that of one in four. */
static void less_traffic(const esker_node *node, int whole, esker__cost *out)
{
    const int32_t *window = ((const esker__conv2d_attr *)node->attr)->window;
    double all = (double)esker__elems(&esker__output((esker_node *)node, whole)->type.shape),
           pooled = all / ((double)window[0] * window[1]);
    out->bytes += 5 * pooled - 4 * all;
}

static void cost(const esker_node *node, esker__cost *out)
{
    plain p;
    esker__conv2d_cost(plain_conv2d(node, &p), out);
    less_traffic(node, WHOLE, out);
}

static void cost_weight_grad(const esker_node *node, esker__cost *out)
{
    plain p;
    esker__conv2d_cost(plain_weight_grad(node, &p), out);
    less_traffic(node, WHOLE, out);
}

static void cost_input_grad(const esker_node *node, esker__cost *out)
{
    plain p;
    esker__conv2d_cost(plain_input_grad(node, &p), out);
    less_traffic(node, WHOLE_OF_INPUT_GRAD, out);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    plain p;
    return esker__conv2d_lower_pooling(lowering, plain_conv2d(node, &p), node);
}

static esker_status lower_weight_grad(esker__lowering *lowering, const esker_node *node)
{
    plain p;
    return esker__conv2d_weight_grad_lower_pooled(lowering, plain_weight_grad(node, &p), node);
}

static esker_status lower_input_grad(esker__lowering *lowering, const esker_node *node)
{
    plain p;
    return esker__conv2d_input_grad_lower_pooled(lowering, plain_input_grad(node, &p), node);
}

/* ---- For kernels that pool, or read what was pooled ---- */

bool esker__conv2d_pools(const esker_limits *limits, const esker_node *pooling)
{
    const esker__conv2d_attr *attr = pooling->attr;
    return attr->window[0] == 2 && attr->window[1] == 2 && limits->storage_blocks >= 4u + (attr->tail.has_bias != 0);
}

bool esker__conv2d_reads_pooled(const esker_limits *limits, const esker_node *pooled)
{
    const esker__conv2d_attr *attr = pooled->attr;
    uint32_t blocks = 4 + (uint32_t)esker__tail_n_inputs(&attr->tail) + (attr->tail.keeps != 0);
    return attr->window[0] == 2 && attr->window[1] == 2 && limits->storage_blocks >= blocks;
}

esker__conv2d_direct *esker__conv2d_as_pooled(esker__conv2d_direct *d)
{
    const int64_t *pooled = d->pooling->type.shape.dims;
    d->y_channel = (uint32_t)(pooled[2] * pooled[3]);
    d->y_u = (uint32_t)pooled[3];
    d->pooling->op->cost(d->pooling, &d->cost);
    return d;
}

void esker__conv2d_emit_pooling(esker__lowering *lowering, const esker__conv2d_direct *d, esker__dispatch_desc *desc,
                                esker__text *defines)
{
    const esker__conv2d_attr *attr = d->pooling->attr;
    if (attr->tail.has_bias) {
        esker__text_add(defines, "BIAS 1\n");
        desc->operands[desc->n_operands++] = esker__read(lowering, d->bias);
    }
    esker__tail_code(&attr->tail, true, desc->n_operands, defines); /* it has no operands of its own */
    esker__text_add(defines, "POOLING 1\nGATED %d\nOUT_BINDING %d\n", attr->gated != 0, desc->n_operands);
    desc->operands[desc->n_operands++] = esker__write(lowering, d->pooling);
    if (!esker__output_is_used(lowering, d->pooling, 1)) return;
    esker__text_add(defines, "WINNERS_BINDING %d\n", desc->n_operands);
    desc->operands[desc->n_operands++] = esker__write(lowering, esker__output((esker_node *)d->pooling, 1));
}

void esker__conv2d_emit_g(esker__lowering *lowering, const esker_node *node, const esker_node *pooled,
                          esker__dispatch_desc *desc, esker__text *defines)
{
    desc->operands[desc->n_operands++] = esker__read(lowering, pooled ? pooled->inputs[1] : node->inputs[1]);
    if (!pooled) return;
    desc->operands[desc->n_operands++] = esker__read(lowering, pooled->inputs[2]);
    esker__text_add(defines, "POOLED 1\n");
    pooled->op->cost(pooled, &desc->cost);
}

static void title(const esker_node *node, esker__text *text)
{
    esker__conv2d_title(node, text);
    esker__text_add(text, "+max_pool2d");
}

static void title_grad(const esker_node *node, esker__text *text)
{
    esker__text_add(text, "max_pool2d_grad+");
    if (((const esker__conv2d_attr *)node->attr)->sums) esker__text_add(text, "sum+");
    esker__conv2d_title(node, text);
    esker__update_title(node, text);
}

static bool absorb_input_grad(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion,
                              void *attr)
{
    return esker__tail_absorb(&((esker__conv2d_attr *)attr)->tail, &node->type.shape, 1, 4, user, which, fusion);
}

/* ---- Winners, for tuning ---- */

static esker_node *values_behind(esker_node *node)
{
    plain p;
    return esker__record(&esker__op_conv2d, plain_conv2d(node, &p)->attr, node->inputs, node->n_inputs);
}

static void shape_behind(const esker_node *node, esker_shape *out)
{
    plain p;
    *out = plain_conv2d(node, &p)->type.shape;
}

static bool winners_agree(const esker_node *node, const float *values, double bound, const int32_t *want,
                          const int32_t *got)
{
    const esker__conv2d_attr *attr = node->attr;
    esker_shape x;
    shape_behind(node, &x);
    return esker__winners_agree(&node->type.shape, &x, attr->window, attr->gated, values, bound, want, got);
}

static const esker__indices winners = {.output = 1, .values = values_behind, .shape = shape_behind, .agree = winners_agree};

const esker__op esker__op_conv2d_pooling = {
    .name = "conv2d",
    .n_inputs = -1,
    .n_outputs = 3,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = infer_pooling,
    .reference = reference,
    .tolerance = tolerance,
    .magnitudes = magnitudes,
    .atol = ESKER__FLUSHED,
    .indices = &winners,
    .cost = cost,
    .lower = lower,
    .title = title,
};

typedef struct updating_attr {
    esker__conv2d_attr conv;
    esker__update update;
} updating_attr;

static const esker__op updating_weight_grad = {
    .name = "conv2d_weight_grad",
    .n_inputs = 3,
    .n_outputs = 3,
    .attr_bytes = sizeof(updating_attr),
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATING,
    .infer = infer_weight_grad,
    .reference = reference_weight_grad,
    .tolerance = tolerance_weight_grad,
    .magnitudes = magnitudes_weight_grad,
    .atol = ESKER__FLUSHED,
    .cost = cost_weight_grad,
    .lower = lower_weight_grad,
    .update = esker__update_reference,
    .plain = &esker__op_conv2d_weight_grad_pooled,
    .title = title_grad,
};

static esker_node *update_with_weight_grad(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    bool sums = ((const esker__conv2d_attr *)node->attr)->sums;
    return esker__update_fits(update, 2, sums, fusion) ? esker__record_updating(&updating_weight_grad, node, update) : NULL;
}

const esker__op esker__op_conv2d_weight_grad_pooled = {
    .name = "conv2d_weight_grad",
    .n_inputs = 3,
    .n_outputs = 3,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = infer_weight_grad,
    .reference = reference_weight_grad,
    .tolerance = tolerance_weight_grad,
    .magnitudes = magnitudes_weight_grad,
    .atol = ESKER__FLUSHED,
    .cost = cost_weight_grad,
    .lower = lower_weight_grad,
    .updating = update_with_weight_grad,
    .title = title_grad,
};

const esker__op esker__op_conv2d_input_grad_pooled = {
    .name = "conv2d_input_grad",
    .n_inputs = -1,
    .n_outputs = 2,
    .attr_bytes = sizeof(esker__conv2d_attr),
    .infer = infer_input_grad,
    .reference = reference_input_grad,
    .tolerance = tolerance_input_grad,
    .magnitudes = magnitudes_input_grad,
    .atol = ESKER__FLUSHED,
    .cost = cost_input_grad,
    .lower = lower_input_grad,
    .absorb = absorb_input_grad,
    .title = title_grad,
};
