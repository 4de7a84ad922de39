/*
 * Batch normalisation, of a channel over samples and space. In training the statistics are those of the batch, and a further
 * operation moves the running statistics towards them; a model's graph for inference has the form with given statistics in
 * its place, and nothing that writes.
 * Source     Ioffe, Szegedy: Batch normalization, 2015.
 */
#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "ops/norm.h"

#define USUAL_EPS      1e-5f
#define USUAL_MOMENTUM 0.1f

/* ---- Shape rules ---- */

static esker_status infer(const char *op, const esker__norm_attr *a, esker_node *const *inputs, int n_inputs,
                          esker__type *out)
{
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    int n_all = n_inputs;
    n_inputs = esker__norm_n_own(a, n_inputs);
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: takes float32 alone", esker__signature(text, op, inputs, n_inputs));
    if (x->rank < 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: x must be [n, channels, ...]",
                           esker__signature(text, op, inputs, n_inputs));
    for (int i = 1; i < n_inputs; i++)
        if (inputs[i]->type.shape.rank != 1 || inputs[i]->type.shape.dims[0] != x->dims[1])
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: weight, bias, running mean and variance must be [%lld], one for each channel",
                               esker__signature(text, op, inputs, n_inputs), (long long)x->dims[1]);
    out[0] = inputs[0]->type;
    out[1] = (esker__type){ESKER_DTYPE_F32, {2, {x->dims[1], 2}}};
    return esker__tail_infer(&a->tail, op, -1, inputs, n_all, n_inputs, out);
}

static esker_status infer_batch_norm(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    return infer("batch_norm", attr, inputs, n_inputs, out);
}

static esker_status infer_batch_norm_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    return infer("batch_norm_infer", attr, inputs, n_inputs, out);
}

/* ---- Operands: x, then the weight, the bias, and the two running statistics, each if there is one ---- */

typedef struct places {
    int weight, bias, mean, variance; /* 0: not there */
} places;

static places places_of(const esker__norm_attr *a)
{
    places p = {0};
    int n = 1;
    if (a->has_weight) p.weight = n++;
    if (a->has_bias) p.bias = n++;
    if (a->has_running) p.mean = n++;
    if (a->has_running) p.variance = n++;
    return p;
}

static const double *given(const esker__reference *r, int place)
{
    return place ? r->in[place] : NULL;
}

static void add_tail(const esker__reference *r)
{
    const esker__norm_attr *a = r->node->attr;
    esker__tail_reference_all(&a->tail, r, esker__norm_n_own(a, r->node->n_inputs));
}

static void reference_batch_norm(const esker__reference *r)
{
    places p = places_of(r->node->attr);
    esker__norm_reference(r, given(r, p.weight), given(r, p.bias), NULL, NULL);
    add_tail(r);
}

static void reference_batch_norm_infer(const esker__reference *r)
{
    places p = places_of(r->node->attr);
    esker__norm_reference(r, given(r, p.weight), given(r, p.bias), r->in[p.mean], r->in[p.variance]);
    add_tail(r);
}

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    const esker__norm_attr *a = node->attr;
    places p = places_of(a);
    if (esker__tail_refuses_gradient(&a->tail, node)) return NULL;
    esker_node *inputs[] = {node->inputs[0], grad, esker__output(node, 1), p.weight ? node->inputs[p.weight] : NULL};
    if (p.mean && input >= p.mean) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(node->graph,
                                 esker__fail(ESKER_ERR_UNSUPPORTED, "%s: running statistics have no gradient",
                                             esker__signature(text, node->op->name, node->inputs, node->n_inputs)));
    }
    /* One node for all three: recorded for each of them, and merged when a plan is made. */
    esker_node *all = esker__record(&esker__op_batch_norm_grad, a, inputs, 3 + a->has_weight);
    return input == 0 ? all : esker__output(all, input == p.weight ? 1 : 2);
}

static double elems(const esker_node *node)
{
    double n = 1;
    for (int i = 0; i < node->type.shape.rank; i++) n *= (double)node->type.shape.dims[i];
    return n;
}

/* No sums: an inverse root of 2 units, a difference, two products and the bias. */
static double tolerance_infer(const esker_node *node)
{
    (void)node;
    return 8;
}

static void cost_forward(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){8 * elems(node), 8 * elems(node)};
}

static void cost_infer(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){3 * elems(node), 8 * elems(node)};
}

static void cost_grad(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){12 * elems(node), 12 * elems(node)};
}

static esker_status lower_forward(esker__lowering *lowering, const esker_node *node, bool fixed)
{
    esker__operand operands[4], stats;
    places p = places_of(node->attr);
    esker__norm_forward f = {.node = node, .tail = &((const esker__norm_attr *)node->attr)->tail};
    if (p.weight) operands[0] = esker__read(lowering, node->inputs[p.weight]), f.weight = &operands[0];
    if (p.bias) operands[1] = esker__read(lowering, node->inputs[p.bias]), f.bias = &operands[1];
    if (fixed) operands[2] = esker__read(lowering, node->inputs[p.mean]), f.mean = &operands[2];
    if (fixed) operands[3] = esker__read(lowering, node->inputs[p.variance]), f.variance = &operands[3];
    if (esker__output_is_used(lowering, node, 1))
        stats = esker__write(lowering, esker__output((esker_node *)node, 1)), f.stats = &stats;
    return esker__norm_lower(lowering, &f);
}

/* Here and not in the shape rule: a model is recorded with a batch of 1, whatever it is run with. */
static esker_status check_count(const esker_node *node)
{
    char text[ESKER__SIGNATURE_BYTES];
    if (elems(node->inputs[0]) > (double)node->inputs[0]->type.shape.dims[1]) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: one value per channel has no variance, training needs more",
                       esker__signature(text, node->op->name, node->inputs, node->n_inputs));
}

static esker_status lower_batch_norm(esker__lowering *lowering, const esker_node *node)
{
    esker_status st = check_count(node);
    return st == ESKER_OK ? lower_forward(lowering, node, false) : st;
}

static esker_status lower_batch_norm_infer(esker__lowering *lowering, const esker_node *node)
{
    return lower_forward(lowering, node, true);
}

/* With running statistics inference takes those; without, those of its batch, as in training. */
static esker_node *inference(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    esker__norm_attr attr = *(const esker__norm_attr *)node->attr;
    if (!attr.has_running) return esker__record_copy(graph, node, inputs);
    attr.scheme = ESKER__NORM_FIXED;
    return esker__record_in(graph, &esker__op_batch_norm_infer, &attr, inputs, node->n_inputs);
}

const esker__op esker__op_batch_norm = {
    .name = "batch_norm",
    .n_inputs = -1,
    .n_outputs = 2,
    .attr_bytes = sizeof(esker__norm_attr),
    .flags = ESKER__OP_IN_PLACE_0,
    .infer = infer_batch_norm,
    .gradient = gradient,
    .reference = reference_batch_norm,
    .tolerance = esker__norm_tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_forward,
    .lower = lower_batch_norm,
    .absorb = esker__norm_absorb,
    .title = esker__norm_title,
    .inference = inference,
};

/* scale = weight / sqrt(variance + eps), shift = bias - mean scale. */
static bool channel_affine(const esker_node *node, esker_node *const *inputs, esker_node **out_scale,
                           esker_node **out_shift)
{
    const esker__norm_attr *a = node->attr;
    places p = places_of(a);
    esker_node *scale = esker_rsqrt(esker_affine(inputs[p.variance], 1, a->eps));
    if (p.weight) scale = esker_mul(scale, inputs[p.weight]);
    esker_node *moved = esker_mul(scale, inputs[p.mean]);
    *out_scale = scale;
    *out_shift = p.bias ? esker_sub(inputs[p.bias], moved) : esker_neg(moved);
    return *out_shift != NULL;
}

const esker__op esker__op_batch_norm_infer = {
    .name = "batch_norm_infer",
    .n_inputs = -1,
    .n_outputs = 2,
    .attr_bytes = sizeof(esker__norm_attr),
    .flags = ESKER__OP_IN_PLACE_0,
    .infer = infer_batch_norm_infer,
    .gradient = gradient,
    .reference = reference_batch_norm_infer,
    .tolerance = tolerance_infer,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_infer,
    .lower = lower_batch_norm_infer,
    .channel_affine = channel_affine,
    .absorb = esker__norm_absorb,
    .title = esker__norm_title,
};

/* ---- The gradients of x, weight and bias ---- */

static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    const esker__norm_attr *a = attr;
    if (!esker_shape_equal(x, &inputs[1]->type.shape))
        return esker__fail(ESKER_ERR_INVALID, "%s: x and the gradient must have equal shapes",
                           esker__signature(text, "batch_norm_grad", inputs, n_inputs));
    out[0] = inputs[0]->type;
    out[1] = out[2] = (esker__type){ESKER_DTYPE_F32, {1, {x->dims[1]}}};
    return esker__tail_infer(&a->tail, "batch_norm_grad", -1, inputs, n_inputs, esker__norm_n_own(a, n_inputs), out);
}

static void reference_grad(const esker__reference *r)
{
    esker__norm_grad_reference(r, true);
    add_tail(r);
}

static esker_status lower_grad(esker__lowering *lowering, const esker_node *node)
{
    esker__operand weight, out[3], *wanted[3] = {NULL};
    for (int i = 0; i < 3; i++) {
        if (!esker__output_is_used(lowering, node, i)) continue;
        out[i] = esker__write(lowering, esker__output((esker_node *)node, i));
        wanted[i] = &out[i];
    }
    const esker__norm_attr *a = node->attr;
    esker__norm_backward b = {
        .node = node, .dx = wanted[0], .dgamma = wanted[1], .dbeta = wanted[2], .tail = wanted[0] ? &a->tail : NULL};
    if (a->has_weight) weight = esker__read(lowering, node->inputs[3]), b.weight = &weight;
    return esker__norm_lower_backward(lowering, &b);
}

const esker__op esker__op_batch_norm_grad = {
    .name = "batch_norm_grad",
    .n_inputs = -1, /* x, the gradient, statistics, and the weight if there is one */
    .n_outputs = 3,
    .attr_bytes = sizeof(esker__norm_attr),
    .flags = ESKER__OP_IN_PLACE_0 | ESKER__OP_IN_PLACE_1,
    .infer = infer_grad,
    .reference = reference_grad,
    .tolerance = esker__norm_tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_grad,
    .lower = lower_grad,
    .absorb = esker__norm_absorb,
    .title = esker__norm_title,
};

/* ---- Recording ---- */

static esker_node *record(const esker__op *op, esker_node *x, const esker_batch_norm_desc *desc, bool fixed)
{
    esker_batch_norm_desc d = {0};
    esker_node *inputs[5] = {x};
    int n = 1;
    esker_status st = ESKER_OK;
    char text[ESKER__SIGNATURE_BYTES];
    if (!x) return NULL;
    if (desc) d = *desc;
    if (d.weight) inputs[n++] = d.weight;
    if (d.bias) inputs[n++] = d.bias;
    if (d.running_mean) inputs[n++] = d.running_mean;
    if (d.running_var) inputs[n++] = d.running_var;
    esker__norm_attr attr = {.scheme = fixed ? ESKER__NORM_FIXED : ESKER__NORM_BATCH,
                             .eps = d.eps,
                             .has_weight = d.weight != NULL,
                             .has_bias = d.bias != NULL,
                             .has_running = d.running_mean != NULL};
    if (!d.running_mean != !d.running_var || (fixed && !d.running_mean))
        st = esker__fail(ESKER_ERR_INVALID, "%s: running mean and variance %s", esker__signature(text, op->name, inputs, n),
                         fixed ? "are needed, both" : "come together or not at all");
    if (st == ESKER_OK) st = esker__norm_fill_eps(op->name, inputs, n, USUAL_EPS, &attr.eps);
    if (st == ESKER_OK && !(d.momentum >= 0 && d.momentum <= 1))
        st = esker__fail(ESKER_ERR_INVALID, "%s: momentum is %g, it must be above 0 and at most 1 (0: 0.1)",
                         esker__signature(text, op->name, inputs, n), (double)d.momentum);
    if (st != ESKER_OK) return esker__graph_fail(x->graph, st);
    esker_node *y = esker__record(op, &attr, inputs, n);
    if (!y || fixed || !attr.has_running) return y;
    float momentum = d.momentum > 0 ? d.momentum : USUAL_MOMENTUM;
    return esker__batch_norm_running(y, d.running_mean, d.running_var, momentum) ? y : NULL;
}

esker_node *esker_batch_norm(esker_node *x, const esker_batch_norm_desc *desc)
{
    return record(&esker__op_batch_norm, x, desc, false);
}

esker_node *esker_batch_norm_infer(esker_node *x, const esker_batch_norm_desc *desc)
{
    return record(&esker__op_batch_norm_infer, x, desc, true);
}
