/* Layer, RMS, group, instance and L2 normalisation, and their gradients. Batch normalisation is in batch_norm.c. */
#include "ops/norm.h"

#include <math.h>

#include "base/fail.h"
#include "ops/matmul_norm.h"
#include "ops/norm_call.h"
#include "ops/optimizer.h"
#include "ops/take_norm.h"

#define USUAL_EPS    1e-5f
#define USUAL_L2_EPS 1e-12f

/* ---- Shape rules ---- */

static esker_status fail_rule(const char *op, esker_node *const *inputs, int n_inputs, const char *rule)
{
    char text[ESKER__SIGNATURE_BYTES];
    return esker__fail(ESKER_ERR_INVALID, "%s: %s", esker__signature(text, op, inputs, n_inputs), rule);
}

static esker_status check_scheme(const char *op, const esker__norm_attr *a, esker_node *const *inputs, int n_inputs)
{
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    switch ((esker__norm_scheme)a->scheme) {
    case ESKER__NORM_LAYER:
    case ESKER__NORM_RMS:
        if (a->axes >= 1 && a->axes <= x->rank) return ESKER_OK;
        return esker__fail(ESKER_ERR_INVALID, "%s: the last %d axes, 1 to %d are possible",
                           esker__signature(text, op, inputs, n_inputs), a->axes, x->rank);
    case ESKER__NORM_GROUP:
        if (x->rank < 2) return fail_rule(op, inputs, n_inputs, "x must be [n, channels, ...]");
        if (a->axes >= 1 && x->dims[1] % a->axes == 0) return ESKER_OK;
        return esker__fail(ESKER_ERR_INVALID, "%s: %d groups do not divide %lld channels",
                           esker__signature(text, op, inputs, n_inputs), a->axes, (long long)x->dims[1]);
    case ESKER__NORM_INSTANCE:
        if (x->rank < 3) return fail_rule(op, inputs, n_inputs, "x must be [n, channels, space...]");
        for (int i = 2; i < x->rank; i++)
            if (x->dims[i] > 1) return ESKER_OK;
        return fail_rule(op, inputs, n_inputs, "one value per channel and sample has no variance");
    case ESKER__NORM_L2:
        if (x->rank == 0) return fail_rule(op, inputs, n_inputs, "a scalar has no axis");
        if (a->axes >= 0 && a->axes < x->rank) return ESKER_OK;
        return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, there are %d to %d",
                           esker__signature(text, op, inputs, n_inputs), a->axes, -x->rank, x->rank - 1);
    case ESKER__NORM_BATCH:
    case ESKER__NORM_FIXED: break;
    }
    return ESKER_OK;
}

static esker_status infer_forward(const char *op, const esker__norm_attr *a, esker_node *const *inputs, int n_inputs,
                                  esker__type *out)
{
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    int n_all = n_inputs;
    n_inputs = esker__norm_n_own(a, n_inputs);
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32) return fail_rule(op, inputs, n_inputs, "takes float32 alone");
    esker_status st = check_scheme(op, a, inputs, n_inputs);
    if (st != ESKER_OK) return st;
    esker_shape table;
    esker__norm_view v;
    esker__norm_table_shape(x, a, &table);
    for (int i = 1; i < n_inputs; i++)
        if (!esker_shape_equal(&inputs[i]->type.shape, &table))
            return esker__fail(ESKER_ERR_INVALID, "%s: %s must be %s", esker__signature(text, op, inputs, n_inputs),
                               i == 1 && a->has_weight ? "the weight" : "the bias", esker_shape_text(&table, want));
    esker__norm_view_of(x, a, &v);
    out[0] = inputs[0]->type;
    out[1] = (esker__type){ESKER_DTYPE_F32, {2, {esker__norm_lines(&v), 2}}};
    return esker__tail_infer(&a->tail, op, -1, inputs, n_all, n_inputs, out);
}

/* ---- Gradients: of x from the statistics of the forward pass, of weight and bias together ---- */

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    const esker__norm_attr *a = node->attr;
    if (esker__tail_refuses_gradient(&a->tail, node)) return NULL;
    esker_node *inputs[] = {node->inputs[0], grad, esker__output(node, 1), a->has_weight ? node->inputs[1] : NULL};
    if (input == 0) return esker__record(&esker__op_norm_grad, a, inputs, 3 + a->has_weight);
    esker_node *tables = esker__record(&esker__op_norm_affine_grad, a, inputs, 3);
    return input == 1 && a->has_weight ? tables : esker__output(tables, 1);
}

static void reference_forward(const esker__reference *r)
{
    const esker__norm_attr *a = r->node->attr;
    const double *weight = a->has_weight ? r->in[1] : NULL, *bias = a->has_bias ? r->in[1 + a->has_weight] : NULL;
    esker__norm_reference(r, weight, bias, NULL, NULL);
    esker__tail_reference_all(&a->tail, r, esker__norm_n_own(a, r->node->n_inputs));
}

static void reference_grad(const esker__reference *r)
{
    const esker__norm_attr *a = r->node->attr;
    esker__norm_grad_reference(r, false);
    esker__tail_reference_all(&a->tail, r, esker__norm_n_own(a, r->node->n_inputs));
}

static double elems(const esker_node *node)
{
    double n = 1;
    for (int i = 0; i < node->type.shape.rank; i++) n *= (double)node->type.shape.dims[i];
    return n;
}

static void cost_forward(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){8 * elems(node), 8 * elems(node)};
}

static void cost_backward(const esker_node *node, esker__cost *out)
{
    double n = elems(node->inputs[0]);
    *out = (esker__cost){12 * n, 12 * n};
}

static esker_status lower_forward(esker__lowering *lowering, const esker_node *node)
{
    const esker__norm_attr *a = node->attr;
    esker__operand weight, bias, stats;
    esker__norm_forward f = {.node = node, .tail = &a->tail};
    if (a->has_weight) weight = esker__read(lowering, node->inputs[1]), f.weight = &weight;
    if (a->has_bias) bias = esker__read(lowering, node->inputs[1 + a->has_weight]), f.bias = &bias;
    if (esker__output_is_used(lowering, node, 1))
        stats = esker__write(lowering, esker__output((esker_node *)node, 1)), f.stats = &stats;
    return esker__norm_lower(lowering, &f);
}

static esker_status lower_grad(esker__lowering *lowering, const esker_node *node)
{
    esker__operand weight, dx = esker__write(lowering, node);
    const esker__norm_attr *a = node->attr;
    esker__norm_backward b = {.node = node, .dx = &dx, .tail = &a->tail};
    if (a->has_weight) weight = esker__read(lowering, node->inputs[3]), b.weight = &weight;
    return esker__norm_lower_backward(lowering, &b);
}

static esker_status lower_affine_grad(esker__lowering *lowering, const esker_node *node)
{
    esker__operand dgamma, dbeta;
    esker__norm_backward b = {.node = node, .sum_samples = true};
    if (esker__update_of(node)) return esker__norm_lower_backward(lowering, &b);
    if (esker__output_is_used(lowering, node, 0)) dgamma = esker__write(lowering, node), b.dgamma = &dgamma;
    if (esker__output_is_used(lowering, node, 1))
        dbeta = esker__write(lowering, esker__output((esker_node *)node, 1)), b.dbeta = &dbeta;
    return esker__norm_lower_backward(lowering, &b);
}

static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__norm_attr *a = attr;
    if (!esker_shape_equal(&inputs[0]->type.shape, &inputs[1]->type.shape))
        return fail_rule("norm_grad", inputs, n_inputs, "x and the gradient must have equal shapes");
    out[0] = inputs[0]->type;
    return esker__tail_infer(&a->tail, "norm_grad", -1, inputs, n_inputs, esker__norm_n_own(a, n_inputs), out);
}

static esker_status infer_affine_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    if (!esker_shape_equal(&inputs[0]->type.shape, &inputs[1]->type.shape))
        return fail_rule("norm_affine_grad", inputs, n_inputs, "x and the gradient must have equal shapes");
    out[0].dtype = ESKER_DTYPE_F32;
    esker__norm_table_shape(&inputs[0]->type.shape, attr, &out[0].shape);
    out[1] = out[0];
    return ESKER_OK;
}

static double tolerance_affine_grad(const esker_node *node)
{
    return 2 * sqrt(elems(node->inputs[0]) / elems(node)) + 16;
}

const esker__op esker__op_norm_grad = {
    .name = "norm_grad",
    .n_inputs = -1, /* x, the gradient, statistics, and the weight if there is one */
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__norm_attr),
    .flags = ESKER__OP_IN_PLACE_0 | ESKER__OP_IN_PLACE_1,
    .infer = infer_grad,
    .reference = reference_grad,
    .tolerance = esker__norm_tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_backward,
    .lower = lower_grad,
    .absorb = esker__norm_absorb,
    .fused = esker__fused_norm_grad,
    .title = esker__norm_title,
};

typedef struct updating_attr {
    esker__norm_attr norm;
    esker__update update;
} updating_attr;

static void cost_updating(const esker_node *node, esker__cost *out)
{
    cost_backward(node, out);
    esker__update_cost(node, out);
}

static void title_updating(const esker_node *node, esker__text *text)
{
    esker__text_add(text, "norm_affine_grad");
    esker__update_title(node, text);
}

static const esker__op updating_affine_grad = {
    .name = "norm_affine_grad",
    .n_inputs = 3,
    .n_outputs = 2,
    .attr_bytes = sizeof(updating_attr),
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATING,
    .infer = infer_affine_grad,
    .reference = esker__norm_affine_grad_reference,
    .tolerance = tolerance_affine_grad,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_updating,
    .lower = lower_affine_grad,
    .title = title_updating,
    .update = esker__update_reference,
    .plain = &esker__op_norm_affine_grad,
};

static esker_node *affine_grad_updating(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    if (!esker__norm_columns_may_update(node, update, fusion)) return NULL;
    return esker__record_updating(&updating_affine_grad, node, update);
}

const esker__op esker__op_norm_affine_grad = {
    .name = "norm_affine_grad",
    .n_inputs = 3, /* x, the gradient, statistics */
    .n_outputs = 2,
    .attr_bytes = sizeof(esker__norm_attr),
    .flags = ESKER__OP_UPDATES_WITH_ALL,
    .may_update = esker__norm_columns_may_update,
    .updating = affine_grad_updating,
    .infer = infer_affine_grad,
    .reference = esker__norm_affine_grad_reference,
    .tolerance = tolerance_affine_grad,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_backward,
    .lower = lower_affine_grad,
};

/* ---- Fusion ---- */

bool esker__norm_absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr)
{
    /* With fewer blocks than these operands are packed, and a tail that reads would not fit. */
    esker__norm_attr *a = attr;
    bool forward = node->op != &esker__op_norm_grad && node->op != &esker__op_batch_norm_grad;
    int blocks = forward ? 2 + a->has_weight + a->has_bias + (a->scheme == ESKER__NORM_FIXED ? 2 : 1)
                 : node->op == &esker__op_batch_norm_grad ? 7
                                                          : 5;
    return esker__tail_absorb(&a->tail, &node->type.shape, -1, (uint32_t)blocks, user, which, fusion);
}

void esker__norm_title(const esker_node *node, esker__text *text)
{
    esker__tail_title(node, &((const esker__norm_attr *)node->attr)->tail, text);
}

static esker_node *fused_forward(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                 const esker__fusion *fusion)
{
    esker_node *made = esker__fused_norm(graph, node, inputs, fusion);
    return made ? made : esker__fused_take_norm(graph, node, inputs, fusion);
}

/* ---- The operations ---- */

/* clang-format off */
#define DEFINE(name_, inputs_) \
    static esker_status infer_##name_(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out) \
    { \
        return infer_forward(#name_, attr, inputs, n_inputs, out); \
    } \
    const esker__op esker__op_##name_ = { \
        .name = #name_, .n_inputs = inputs_, .n_outputs = 2, .attr_bytes = sizeof(esker__norm_attr), \
        .flags = ESKER__OP_IN_PLACE_0, .infer = infer_##name_, .gradient = gradient, .reference = reference_forward, \
        .tolerance = esker__norm_tolerance, .atol = 4 * ESKER__FLUSHED, .cost = cost_forward, .lower = lower_forward, \
        .absorb = inputs_ < 0 ? esker__norm_absorb : NULL, .fused = fused_forward, .title = esker__norm_title};
/* clang-format on */

DEFINE(layer_norm, -1)
DEFINE(rms_norm, -1)
DEFINE(group_norm, -1)
DEFINE(instance_norm, -1)
DEFINE(normalize, 1)

esker_status esker__norm_fill_eps(const char *op, esker_node *const *inputs, int n_inputs, float usual, float *eps)
{
    char text[ESKER__SIGNATURE_BYTES];
    if (*eps == 0) *eps = usual;
    if (*eps >= ESKER__FLUSHED && isfinite(*eps)) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: eps is %g, it must be positive, normal and finite, or 0 for %g",
                       esker__signature(text, op, inputs, n_inputs), (double)*eps, (double)usual);
}

static esker_node *record(const esker__op *op, esker__norm_attr attr, float usual_eps, esker_node *x, esker_node *weight,
                          esker_node *bias)
{
    esker_node *inputs[3] = {x};
    int n = 1;
    if (!x) return NULL;
    if (weight) inputs[n++] = weight;
    if (bias) inputs[n++] = bias;
    attr.has_weight = weight != NULL;
    attr.has_bias = bias != NULL;
    esker_status st = esker__norm_fill_eps(op->name, inputs, n, usual_eps, &attr.eps);
    return st == ESKER_OK ? esker__record(op, &attr, inputs, n) : esker__graph_fail(x->graph, st);
}

esker_node *esker_layer_norm(esker_node *x, int n_axes, esker_node *weight, esker_node *bias, float eps)
{
    esker__norm_attr attr = {.scheme = ESKER__NORM_LAYER, .axes = n_axes, .eps = eps};
    return record(&esker__op_layer_norm, attr, USUAL_EPS, x, weight, bias);
}

esker_node *esker_rms_norm(esker_node *x, int n_axes, esker_node *weight, float eps)
{
    esker__norm_attr attr = {.scheme = ESKER__NORM_RMS, .axes = n_axes, .eps = eps};
    return record(&esker__op_rms_norm, attr, 0x1p-23f, x, weight, NULL); /* FLT_EPSILON, as in PyTorch */
}

esker_node *esker_group_norm(esker_node *x, int n_groups, esker_node *weight, esker_node *bias, float eps)
{
    esker__norm_attr attr = {.scheme = ESKER__NORM_GROUP, .axes = n_groups, .eps = eps};
    return record(&esker__op_group_norm, attr, USUAL_EPS, x, weight, bias);
}

esker_node *esker_instance_norm(esker_node *x, esker_node *weight, esker_node *bias, float eps)
{
    esker__norm_attr attr = {.scheme = ESKER__NORM_INSTANCE, .eps = eps};
    return record(&esker__op_instance_norm, attr, USUAL_EPS, x, weight, bias);
}

esker_node *esker_normalize(esker_node *x, int axis, float eps)
{
    int rank = x ? x->type.shape.rank : 0;
    esker__norm_attr attr = {.scheme = ESKER__NORM_L2, .axes = axis < 0 && axis >= -rank ? axis + rank : axis, .eps = eps};
    return record(&esker__op_normalize, attr, USUAL_L2_EPS, x, NULL, NULL);
}
