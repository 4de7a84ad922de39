/*
 * Losses of pairs: one term for each element of a prediction and a target of the same shape, which are then summed, averaged or
 * left alone. Each is one row of the list below: value and slope in GLSL for glsl/loss/pair.comp and the same in double. Output
 * 0 is the loss, output 1 its gradient for an upstream gradient of 1, made by the same kernel and left out where nothing reads it.
 */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ops.h"
#include "ops/rows.h"
#include "plan/lowering.h"

#define ONE_GROUP 2048
#define CHUNK     1024
#define MOST      4096 /* partial sums */

typedef struct pair_attr {
    int32_t reduction;
    float k;
} pair_attr;

/* Value and slope at one pair, and what their rounding errors are made of: k eps (tolerance) times the size bounds each. */
typedef struct term {
    double value, slope, value_size, slope_size;
} term;

typedef struct pair_loss {
    const char *value, *slope; /* GLSL over p, t, d = p - t and k */
    term (*at)(double p, double t, double k);
} pair_loss;

/* ---- The losses ---- */

static term sized(double value, double slope, double value_size, double slope_size)
{
    return (term){value, slope, value_size, slope_size};
}

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

static term at_mse(double p, double t, double k)
{
    double d = p - t;
    (void)k;
    return sized(d * d, 2 * d, d * d, fabs(2 * d));
}

static term at_mae(double p, double t, double k)
{
    double d = p - t;
    (void)k;
    return sized(fabs(d), sign(d), fabs(d), 1);
}

static term at_huber(double p, double t, double k)
{
    double d = p - t, a = fabs(d);
    if (a <= k) return sized(0.5 * d * d, d, 0.5 * d * d, a);
    return sized(k * (a - 0.5 * k), k * sign(d), k * (a + 0.5 * k), k);
}

static term at_smooth_l1(double p, double t, double k)
{
    double d = p - t, a = fabs(d);
    if (a < k) return sized(0.5 * d * d / k, d / k, 0.5 * d * d / k, a / k);
    return sized(a - 0.5 * k, sign(d), a + 0.5 * k, 1);
}

static double bounded_log(double x)
{
    return isnan(x) ? x : x > 0 ? fmax(log(x), -100) : -100;
}

/* The 1 beside each logarithm: GLSL lets it be 2^-21 off near 1. */
static term at_bce(double p, double t, double k)
{
    (void)k;
    p = p < 0 ? 0 : p > 1 ? 1 : p;
    double yes = -bounded_log(p), no = -bounded_log(1 - p), slope = (p - t) / fmax(p * (1 - p), 1e-12);
    return sized(t * yes + (1 - t) * no, slope, fabs(t) * (yes + 1) + fabs(1 - t) * (no + 1), fabs(slope));
}

/* exp() may be (3 + 2 |x|) ULP off. */
static double exp_size(double x)
{
    return 1 + fabs(x) / 4;
}

static term at_bce_with_logits(double p, double t, double k)
{
    (void)k;
    double e = exp(-fabs(p)), log_part = log1p(e), straight = p < 0 ? -t * p : (1 - t) * p;
    double y = (p < 0 ? e : 1) / (1 + e);
    return sized(straight + log_part, y - t, fabs(straight) + log_part * exp_size(p), y * exp_size(p) + fabs(t));
}

static term at_kl_div(double p, double t, double k)
{
    (void)k;
    if (t <= 0) return sized(0, -t, 0, fabs(t));
    return sized(t * (log(t) - p), -t, t * (fabs(log(t)) + 1 + fabs(p)), t);
}

static term at_kl_div_log(double p, double t, double k)
{
    (void)k;
    double e = exp(t);
    return sized(e * (t - p), -e, e * (fabs(t) + fabs(p)) * exp_size(t), e * exp_size(t));
}

static term at_hinge(double p, double t, double k)
{
    double room = k - t * p, size = fabs(k) + fabs(t * p);
    return room <= 0 ? sized(0, 0, size, 0) : sized(room, -t, size, fabs(t));
}

static term at_hinge_embedding(double p, double t, double k)
{
    term y = {0};
    if (t != 1 && !(k - p <= 0)) y = sized(k - p, -1, fabs(k) + fabs(p), 1);
    if (t != -1) y = sized(y.value + p, y.slope + 1, fabs(k) + 2 * fabs(p), 1);
    if (y.value_size == 0) y.value_size = fabs(k) + fabs(p);
    return y;
}

static term at_cosine_embedding(double p, double t, double k)
{
    if (t == 1) return sized(1 - p, -1, 1 + fabs(p), 1);
    if (t == -1 && !(p - k <= 0)) return sized(p - k, 1, fabs(p) + fabs(k), 1);
    return sized(0, 0, fabs(p) + fabs(k), 0);
}

/* Of multi_margin.c: p is how far a class is ahead of the label's, t is 1 at the label. A p that is no number shows. */
static term at_multi_margin(double p, double t, double k)
{
    double room = k + p, size = fabs(k) + fabs(p);
    return t > 0.5 || room < 0 ? sized(0, 0, size, 0) : sized(room, room != 0, size, 1);
}

static term at_multi_margin_square(double p, double t, double k)
{
    double room = k + p, size = fabs(k) + fabs(p);
    if (t > 0.5 || room < 0) return sized(0, 0, size * size, 2 * size);
    return sized(room * room, 2 * room, size * size, 2 * size);
}

/* name, value, slope, whether d alone matters */
/* clang-format off */
#define ROWS(X) \
    X(mse, "d * d", "2.0 * d", true) \
    X(mae, "abs(d)", "sign_of(d)", true) \
    X(huber, "abs(d) <= k ? 0.5 * d * d : k * (abs(d) - 0.5 * k)", "within(d, -k, k)", true) \
    X(smooth_l1, "abs(d) < k ? 0.5 * d * d / k : abs(d) - 0.5 * k", "abs(d) < k ? d / k : sign_of(d)", true) \
    X(bce, "-(t * bounded_log(within(p, 0.0, 1.0)) + (1.0 - t) * bounded_log(1.0 - within(p, 0.0, 1.0)))", \
      "(within(p, 0.0, 1.0) - t) / max(clamp(p, 0.0, 1.0) * (1.0 - clamp(p, 0.0, 1.0)), 1e-12)", false) \
    X(bce_with_logits, "(p < 0.0 ? -t : 1.0 - t) * p + log_one_and(exp(-abs(p)))", "sigmoid(p) - t", false) \
    X(kl_div, "t <= 0.0 ? 0.0 : t * (log(t) - p)", "-t", false) \
    X(kl_div_log, "exp(t) * (t - p)", "-exp(t)", false) \
    X(hinge, "above(k - t * p)", "k - t * p <= 0.0 ? 0.0 : -t", false) \
    X(hinge_embedding, "(t != 1.0 ? above(k - p) : 0.0) + (t != -1.0 ? p : 0.0)", \
      "(t == 1.0 || k - p <= 0.0 ? 0.0 : -1.0) + (t != -1.0 ? 1.0 : 0.0)", false) \
    X(cosine_embedding, "t == 1.0 ? 1.0 - p : t == -1.0 ? above(p - k) : 0.0", \
      "t == 1.0 ? -1.0 : t != -1.0 || p - k <= 0.0 ? 0.0 : 1.0", false) \
    X(multi_margin, "t > 0.5 || k + p < 0.0 ? 0.0 : k + p", "t > 0.5 || k + p <= 0.0 ? 0.0 : 1.0", false) \
    X(multi_margin_square, "t > 0.5 || k + p < 0.0 ? 0.0 : (k + p) * (k + p)", "t > 0.5 || k + p < 0.0 ? 0.0 : 2.0 * (k + p)", false)
/* clang-format on */

/* ---- What all of them share ---- */

static esker_status infer(const char *name, const pair_attr *attr, esker_node *const *inputs, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; i < 2; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: takes float32 alone", esker__signature(text, name, inputs, 2));
    if (!esker_shape_equal(&inputs[0]->type.shape, &inputs[1]->type.shape))
        return esker__fail(ESKER_ERR_INVALID, "%s: prediction and target must have equal shapes",
                           esker__signature(text, name, inputs, 2));
    if (attr->reduction == ESKER_REDUCTION_BATCH_MEAN && inputs[0]->type.shape.rank == 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: a mean over the batch, but there is no axis",
                           esker__signature(text, name, inputs, 2));
    out[0] = (esker__type){.dtype = ESKER_DTYPE_F32};
    out[1] = inputs[0]->type;
    if (attr->reduction == ESKER_REDUCTION_NONE) out[0] = out[1];
    return ESKER_OK;
}

/* What the sum of the terms is divided by. */
static double divisor_of(const esker_node *node)
{
    switch (((const pair_attr *)node->attr)->reduction) {
    case ESKER_REDUCTION_MEAN: return (double)esker__elems(&node->inputs[0]->type.shape);
    case ESKER_REDUCTION_BATCH_MEAN: return (double)node->inputs[0]->type.shape.dims[0];
    default: return 1;
    }
}

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *to_prediction = esker_mul(esker__output(node, 1), grad);
    return input == 0 ? to_prediction : esker_neg(to_prediction);
}

static void reference(const esker__reference *r)
{
    const pair_attr *a = r->node->attr;
    const pair_loss *loss = r->node->op->detail;
    int64_t n = esker__elems(&r->node->inputs[0]->type.shape);
    bool each = a->reduction == ESKER_REDUCTION_NONE;
    double divisor = divisor_of(r->node), sum = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        term y = loss->at(r->in[0][i], r->in[1][i], a->k);
        sum += y.value;
        size += y.value_size;
        if (each) r->out[0][i] = y.value;
        if (each && r->magnitude[0]) r->magnitude[0][i] = y.value_size;
        if (r->out[1]) r->out[1][i] = y.slope / divisor;
        if (r->magnitude[1]) r->magnitude[1][i] = y.slope_size / divisor;
    }
    if (each) return;
    r->out[0][0] = sum / divisor;
    if (r->magnitude[0]) r->magnitude[0][0] = size / divisor;
}

static double tolerance(const esker_node *node)
{
    bool each = ((const pair_attr *)node->attr)->reduction == ESKER_REDUCTION_NONE;
    return (each ? 0 : 2 * sqrt((double)esker__elems(&node->inputs[0]->type.shape))) + 16;
}

static void cost(const esker_node *node, esker__cost *out)
{
    double n = (double)esker__elems(&node->inputs[0]->type.shape);
    bool each = ((const pair_attr *)node->attr)->reduction == ESKER_REDUCTION_NONE;
    out->flops = 6 * n;
    out->bytes = (each ? 16 : 12) * n;
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const pair_attr *a = node->attr;
    const pair_loss *loss = node->op->detail;
    uint64_t n = (uint64_t)esker__elems(&node->inputs[0]->type.shape);
    esker_status st = esker__check_indexable(lowering, n);
    if (st != ESKER_OK) return st;
    bool each = a->reduction == ESKER_REDUCTION_NONE, final = !each && n <= ONE_GROUP;
    bool grad = esker__output_is_used(lowering, node, 1);
    uint64_t chunk_n = esker__round_up(esker__ceil_div(n, each ? 65535 : MOST), 128);
    if (chunk_n < CHUNK) chunk_n = CHUNK;
    if (final) chunk_n = n;
    uint32_t groups = (uint32_t)esker__ceil_div(n, chunk_n);
    double divisor = divisor_of(node);

    esker__operand sums = esker__write(lowering, node);
    if (!final && !each) sums.value = esker__scratch(lowering, 4 * ((uint64_t)groups + 1));
    struct {
        uint32_t n, chunk_n, total;
        float k, scale, divisor;
    } params = {(uint32_t)n, (uint32_t)chunk_n, groups, a->k, (float)(1 / divisor), (float)divisor};
    char defines[600];
    int length = snprintf(defines, sizeof defines, "VALUE %s\nSLOPE %s\nGRAD %d\nFINAL %d\nEACH %d\n", loss->value,
                          loss->slope, grad, final, each);
    if (length >= (int)sizeof defines) return esker__fail(ESKER_ERR_INTERNAL, "%s: a long expression", node->op->name);
    esker__dispatch_desc desc = {
        .kernel = "loss/pair",
        .defines = defines,
        .groups = {groups, 1, 1},
        .operands = {esker__read(lowering, node->inputs[0]), esker__read(lowering, node->inputs[1]), sums},
        .n_operands = 3,
        .params = &params,
        .n_params = 6,
    };
    cost(node, &desc.cost);
    if (grad) desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    st = esker__emit(lowering, &desc);
    if (st != ESKER_OK || final || each) return st;
    return esker__finish_sum(lowering, sums.value, groups, true, esker__write(lowering, node), NULL);
}

#define DEFINE(id, glsl_value, glsl_slope, difference)                                                          \
    static const pair_loss loss_##id = {glsl_value, glsl_slope, at_##id};                                       \
    static esker_status infer_##id(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out) \
    {                                                                                                           \
        (void)n_inputs;                                                                                         \
        return infer(#id, attr, inputs, out);                                                                   \
    }                                                                                                           \
    const esker__op esker__op_##id = {.name = #id,                                                              \
                                      .n_inputs = 2,                                                            \
                                      .n_outputs = 2,                                                           \
                                      .attr_bytes = sizeof(pair_attr),                                          \
                                      .infer = infer_##id,                                                      \
                                      .gradient = gradient,                                                     \
                                      .no_gradient = difference ? 0 : 2,                                        \
                                      .reference = reference,                                                   \
                                      .tolerance = tolerance,                                                   \
                                      .atol = ESKER__FLUSHED,                                                   \
                                      .cost = cost,                                                             \
                                      .lower = lower,                                                           \
                                      .detail = &loss_##id};
ROWS(DEFINE)
#undef DEFINE

/* ---- Recording ---- */

static const esker_loss_desc usual = {0};

bool esker__check_reduction(const char *op, esker_node *const *inputs, int n_inputs, esker_reduction reduction)
{
    if ((unsigned)reduction <= ESKER_REDUCTION_BATCH_MEAN) return true;
    char text[ESKER__SIGNATURE_BYTES];
    esker__graph_fail(inputs[0]->graph, esker__fail(ESKER_ERR_INVALID, "%s: unknown reduction %d",
                                                    esker__signature(text, op, inputs, n_inputs), (int)reduction));
    return false;
}

/* `k` as given, or `standard` for 0. */
static esker_node *record(const esker__op *op, esker_node *prediction, esker_node *target, const esker_loss_desc *desc,
                          const char *what, float k, float standard)
{
    esker_node *inputs[] = {prediction, target};
    char text[ESKER__SIGNATURE_BYTES];
    if (!prediction || !target) return esker__record(op, NULL, inputs, 2);
    if (!esker__check_reduction(op->name, inputs, 2, desc->reduction)) return NULL;
    bool width = what && what[0] == 'd'; /* delta: a width; margin: any number */
    if (!isfinite(k) || (width && k < 0))
        return esker__graph_fail(prediction->graph, esker__fail(ESKER_ERR_INVALID, "%s: %s %g, it must be finite%s",
                                                                esker__signature(text, op->name, inputs, 2), what,
                                                                (double)k, width ? " and above 0" : ""));
    return esker__record(op, &(pair_attr){(int32_t)desc->reduction, k != 0 ? k : standard}, inputs, 2);
}

esker_node *esker__pair_loss(const esker__op *op, esker_node *prediction, esker_node *target, esker_reduction reduction,
                             float k)
{
    return esker__record(op, &(pair_attr){(int32_t)reduction, k}, (esker_node *[]){prediction, target}, 2);
}

#define PLAIN(id)                                                                                   \
    esker_node *esker_##id(esker_node *prediction, esker_node *target, const esker_loss_desc *desc) \
    {                                                                                               \
        return record(&esker__op_##id, prediction, target, desc ? desc : &usual, NULL, 0, 0);       \
    }
#define WITH(id, member, standard)                                                                  \
    esker_node *esker_##id(esker_node *prediction, esker_node *target, const esker_loss_desc *desc) \
    {                                                                                               \
        desc = desc ? desc : &usual;                                                                \
        return record(&esker__op_##id, prediction, target, desc, #member, desc->member, standard);  \
    }
PLAIN(mae)
PLAIN(bce)
WITH(huber, delta, 1)
WITH(smooth_l1, delta, 1)
WITH(hinge, margin, 1)
WITH(hinge_embedding, margin, 1)

esker_node *esker_mse_with(esker_node *prediction, esker_node *target, const esker_loss_desc *desc)
{
    return record(&esker__op_mse, prediction, target, desc ? desc : &usual, NULL, 0, 0);
}

esker_node *esker_mse(esker_node *prediction, esker_node *target)
{
    return esker_mse_with(prediction, target, NULL);
}

esker_node *esker_kl_div(esker_node *log_prediction, esker_node *target, const esker_loss_desc *desc)
{
    desc = desc ? desc : &usual;
    return record(desc->log_target ? &esker__op_kl_div_log : &esker__op_kl_div, log_prediction, target, desc, NULL, 0, 0);
}

/* The terms of a reduction made of operations: of all elements of x. */
static esker_node *reduce(esker_node *x, esker_reduction reduction)
{
    switch (reduction) {
    case ESKER_REDUCTION_MEAN: return esker_mean(x, NULL, 0, false);
    case ESKER_REDUCTION_SUM: return esker_sum(x, NULL, 0, false);
    case ESKER_REDUCTION_BATCH_MEAN:
        return x ? esker_affine(esker_sum(x, NULL, 0, false), (float)(1 / (double)x->type.shape.dims[0]), 0) : NULL;
    default: return x;
    }
}

static bool broadcasts_to(const esker_shape *from, const esker_shape *to)
{
    if (from->rank > to->rank) return false;
    for (int i = 0; i < from->rank; i++)
        if (from->dims[i] != 1 && from->dims[i] != to->dims[to->rank - from->rank + i]) return false;
    return true;
}

/* With weights w: w t softplus(-x) + (1 - t) softplus(x). */
esker_node *esker_bce_with_logits(esker_node *logits, esker_node *target, esker_node *pos_weight,
                                  const esker_loss_desc *desc)
{
    const esker__op *op = &esker__op_bce_with_logits;
    desc = desc ? desc : &usual;
    esker_node *plain = record(op, logits, target, desc, NULL, 0, 0); /* refuses what cannot be, with and without weights */
    if (!pos_weight || !plain) return plain;
    const esker_shape *shape = &logits->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    if (pos_weight->type.dtype != ESKER_DTYPE_F32 || !broadcasts_to(&pos_weight->type.shape, shape))
        return esker__graph_fail(
            logits->graph,
            esker__fail(ESKER_ERR_INVALID, "%s: the weights must be float32 and broadcast to the logits",
                        esker__signature(text, "bce_with_logits", (esker_node *[]){logits, target, pos_weight}, 3)));
    esker_node *yes = esker_mul(esker_mul(target, pos_weight), esker_softplus(esker_neg(logits), 1));
    esker_node *no = esker_mul(esker_affine(target, -1, 1), esker_softplus(logits, 1));
    return reduce(esker_add(yes, no), desc->reduction);
}

/* PyTorch adds 1e-12 to each square, so that a row of zeros has a cosine of 0 and not of NaN. */
static esker_node *length(esker_node *x, int axis)
{
    return esker_sqrt(esker_affine(esker_sum(esker_mul(x, x), &axis, 1, false), 1, 1e-12f));
}

esker_node *esker_cosine_embedding(esker_node *a, esker_node *b, esker_node *target, const esker_loss_desc *desc)
{
    esker_node *inputs[] = {a, b, target};
    char text[ESKER__SIGNATURE_BYTES];
    desc = desc ? desc : &usual;
    if (!a || !b || !target) return esker__record(&esker__op_cosine_embedding, NULL, inputs, 3);
    int axis = a->type.shape.rank - 1;
    esker_shape rows = a->type.shape;
    if (axis >= 0) rows.dims[axis] = 0;
    rows.rank = axis;
    if (axis < 0 || !esker_shape_equal(&a->type.shape, &b->type.shape) || !esker_shape_equal(&rows, &target->type.shape))
        return esker__graph_fail(a->graph, esker__fail(ESKER_ERR_INVALID,
                                                       "%s: two of [..., length], and a target of [...], are needed",
                                                       esker__signature(text, "cosine_embedding", inputs, 3)));
    esker_node *cosine = esker_div(esker_sum(esker_mul(a, b), &axis, 1, false),
                                   esker_mul(length(a, axis), length(b, axis)));
    return record(&esker__op_cosine_embedding, cosine, target, desc, "margin", desc->margin, 0);
}
