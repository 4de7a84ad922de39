/* Reductions that are more than one: variance in two passes, log-sum-exp below its maximum, norms. */
#include <math.h>

#include "base/fail.h"
#include "ops/reduce.h"

static esker_node *constant(esker_node *x, float value)
{
    return esker_full(x->graph, &(esker_shape){0}, value);
}

/* x with NULL for axes where the mask is empty, which esker_sum would take for "all". */
static esker_node *over_same_axes(const esker_node *node, esker_node *x,
                                  esker_node *(*fn)(esker_node *, const int *, int, bool))
{
    int axes[ESKER_MAX_RANK], n_axes = esker__reduce_list(node, axes);
    return n_axes > 0 ? fn(x, axes, n_axes, true) : x;
}

/* ---- variance: sum (x - mean)^2 / (n - correction) ---- */

static esker_status variance_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__variance_attr *a = attr;
    char signature[ESKER__SIGNATURE_BYTES];
    esker_status st = esker__reduce_infer("variance", &a->reduce, inputs, ESKER_DTYPE_F32, out);
    if (st != ESKER_OK) return st;
    int64_t n = 1;
    for (int i = 0; i < inputs[0]->type.shape.rank; i++)
        if (a->reduce.mask >> i & 1) n *= inputs[0]->type.shape.dims[i];
    if (a->correction < 0 || a->correction >= n)
        return esker__fail(ESKER_ERR_INVALID, "%s: correction %d with %lld terms: 0 to %lld are possible",
                           esker__signature(signature, "variance", inputs, n_inputs), (int)a->correction, (long long)n,
                           (long long)n - 1);
    return ESKER_OK;
}

static double variance_scale(const esker_node *node)
{
    return 1.0 / (double)(esker__reduce_terms(node) - ((const esker__variance_attr *)node->attr)->correction);
}

static esker_node *variance_gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *x = node->inputs[input], *centred = esker_sub(x, over_same_axes(node, x, esker_mean));
    return esker_mul(esker_affine(esker__reduce_open(node, grad), (float)(2 * variance_scale(node)), 0), centred);
}

static double variance_tolerance(const esker_node *node)
{
    return 2 * sqrt((double)esker__reduce_terms(node)) + 10;
}

/* The mean that is subtracted is off by d, at most k eps mean |x|: that adds n d^2, for the first order cancels. */
static void variance_reference(const esker__reference *r)
{
    esker__reduce_walk at;
    esker__reduce_walk_init(&at, r->node);
    double n = (double)(at.n_in / at.n_out), scale = variance_scale(r->node), *out = r->out[0];
    double *mean = esker__calloc((size_t)at.n_out, sizeof *mean), *size = esker__calloc((size_t)at.n_out, sizeof *size);
    for (int64_t i = 0; i < at.n_out; i++) out[i] = mean && size ? 0 : NAN;
    for (int64_t i = 0; mean && size && i < at.n_in; i++, esker__reduce_walk_next(&at)) {
        mean[at.output] += r->in[0][i] / n;
        size[at.output] += fabs(r->in[0][i]) / n;
    }
    esker__reduce_walk_init(&at, r->node);
    for (int64_t i = 0; mean && size && i < at.n_in; i++, esker__reduce_walk_next(&at)) {
        double d = r->in[0][i] - mean[at.output];
        out[at.output] += d * d * scale;
    }
    double k = variance_tolerance(r->node);
    for (int64_t i = 0; r->magnitude[0] && size && i < at.n_out; i++)
        r->magnitude[0][i] = out[i] + k * 0x1p-24 * size[i] * size[i] * n * scale;
    esker__free(mean);
    esker__free(size);
}

static void variance_cost(const esker_node *node, esker__cost *out)
{
    esker__reduce_cost(node, out);
    out->flops *= 4;
    out->bytes *= 2;
}

static esker_status variance_lower(esker__lowering *lowering, const esker_node *node)
{
    int64_t n_out;
    esker_status st = esker_shape_elems(&node->type.shape, &n_out);
    if (st != ESKER_OK) return st;
    esker__value mean = esker__scratch(lowering, 4 * (uint64_t)n_out);
    esker__operand x = esker__read(lowering, node->inputs[0]);
    st = esker__reduce_lower(lowering, node,
                             &(esker__reduction){.join = ESKER__JOIN_SUM,
                                                 .scale = (float)(1.0 / (double)esker__reduce_terms(node)),
                                                 .in = x,
                                                 .out = {.value = mean, .write = true}});
    if (st != ESKER_OK) return st;
    return esker__reduce_lower(lowering, node,
                               &(esker__reduction){.join = ESKER__JOIN_SUM,
                                                   .term = ESKER__TERM_CENTRED_SQUARE,
                                                   .scale = (float)variance_scale(node),
                                                   .in = x,
                                                   .centre = {.value = mean},
                                                   .out = esker__write(lowering, node)});
}

const esker__op esker__op_variance = {.name = "variance",
                                      .n_inputs = 1,
                                      .n_outputs = 1,
                                      .attr_bytes = sizeof(esker__variance_attr),
                                      .infer = variance_infer,
                                      .gradient = variance_gradient,
                                      .reference = variance_reference,
                                      .tolerance = variance_tolerance,
                                      .atol = ESKER__FLUSHED,
                                      .cost = variance_cost,
                                      .lower = variance_lower};

esker_node *esker_variance(esker_node *x, const int *axes, int n_axes, bool keepdims, int correction)
{
    esker__variance_attr attr = {.correction = correction};
    if (!esker__reduce_axes("variance", x, axes, n_axes, keepdims, &attr.reduce)) return NULL;
    return esker__record(&esker__op_variance, &attr, &x, 1);
}

/* ---- logsumexp: log sum exp(x - max) + max ---- */

static esker_status logsumexp_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return esker__reduce_infer("logsumexp", attr, inputs, ESKER_DTYPE_F32, out);
}

static esker_node *logsumexp_gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *softmax = esker_exp(esker_sub(node->inputs[input], esker__reduce_open(node, node)));
    return esker_mul(esker__reduce_open(node, grad), softmax);
}

/* As in softmax, what exp loses grows with the distance from the maximum, weighted as the terms stand in the sum. */
static void logsumexp_reference(const esker__reference *r)
{
    esker__reduce_walk at;
    esker__reduce_walk_init(&at, r->node);
    double *out = r->out[0];
    double *max = esker__malloc((size_t)at.n_out * sizeof *max), *spread = esker__calloc((size_t)at.n_out, sizeof *spread);
    for (int64_t i = 0; i < at.n_out; i++) out[i] = max && spread ? 0 : NAN;
    for (int64_t i = 0; max && i < at.n_out; i++) max[i] = -INFINITY;
    if (max && spread) {
        for (int64_t i = 0; i < at.n_in; i++, esker__reduce_walk_next(&at))
            max[at.output] = fmax(max[at.output], r->in[0][i]);
        esker__reduce_walk_init(&at, r->node);
        for (int64_t i = 0; i < at.n_in; i++, esker__reduce_walk_next(&at)) {
            double d = isinf(max[at.output]) && r->in[0][i] == max[at.output] ? 0 : r->in[0][i] - max[at.output];
            out[at.output] += exp(d);
            spread[at.output] += exp(d) * fabs(d);
        }
        for (int64_t i = 0; i < at.n_out; i++) {
            double sum = out[i];
            out[i] = log(sum) + max[i];
            if (r->magnitude[0]) r->magnitude[0][i] = fabs(out[i]) + log(sum) + 1 + spread[i] / sum;
        }
    }
    esker__free(max);
    esker__free(spread);
}

static double logsumexp_tolerance(const esker_node *node)
{
    return 2 * sqrt((double)esker__reduce_terms(node)) + 12;
}

static void logsumexp_cost(const esker_node *node, esker__cost *out)
{
    esker__reduce_cost(node, out);
    out->flops *= 6; /* an exp counts for about four */
    out->bytes *= 2;
}

static esker_status logsumexp_lower(esker__lowering *lowering, const esker_node *node)
{
    int64_t n_out;
    esker_status st = esker_shape_elems(&node->type.shape, &n_out);
    if (st != ESKER_OK) return st;
    esker__value max = esker__scratch(lowering, 4 * (uint64_t)n_out);
    esker__operand x = esker__read(lowering, node->inputs[0]);
    st = esker__reduce_lower(
        lowering, node,
        &(esker__reduction){.join = ESKER__JOIN_MAX, .scale = 1, .in = x, .out = {.value = max, .write = true}});
    if (st != ESKER_OK) return st;
    return esker__reduce_lower(lowering, node,
                               &(esker__reduction){.join = ESKER__JOIN_SUM,
                                                   .term = ESKER__TERM_EXP,
                                                   .finish = ESKER__FINISH_LOG,
                                                   .scale = 1,
                                                   .in = x,
                                                   .centre = {.value = max},
                                                   .out = esker__write(lowering, node)});
}

const esker__op esker__op_logsumexp = {.name = "logsumexp",
                                       .n_inputs = 1,
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(esker__reduce_attr),
                                       .infer = logsumexp_infer,
                                       .gradient = logsumexp_gradient,
                                       .reference = logsumexp_reference,
                                       .tolerance = logsumexp_tolerance,
                                       .atol = ESKER__FLUSHED,
                                       .cost = logsumexp_cost,
                                       .lower = logsumexp_lower};

esker_node *esker_logsumexp(esker_node *x, const int *axes, int n_axes, bool keepdims)
{
    esker__reduce_attr attr;
    if (!esker__reduce_axes("logsumexp", x, axes, n_axes, keepdims, &attr)) return NULL;
    return esker__record(&esker__op_logsumexp, &attr, &x, 1);
}

/* ---- norm ---- */

static esker_status norm_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__reduce_norm_attr *a = attr;
    char signature[ESKER__SIGNATURE_BYTES];
    if (a->kind < ESKER_NORM_L2 || a->kind > ESKER_NORM_INF)
        return esker__fail(ESKER_ERR_INVALID, "%s: unknown kind %d", esker__signature(signature, "norm", inputs, n_inputs),
                           (int)a->kind);
    return esker__reduce_infer("norm", &a->reduce, inputs, ESKER_DTYPE_F32, out);
}

static int norm_kind(const esker_node *node)
{
    return ((const esker__reduce_norm_attr *)node->attr)->kind;
}

/* g sign(x) */
static esker_node *with_sign(esker_node *x, esker_node *g)
{
    return esker_sub(esker__relu_grad(x, g), esker__relu_grad(esker_neg(x), g));
}

/* L1: sign(x). L2: x / norm, and 0 where the norm is 0. Infinity: the sign, shared equally between equal maxima. */
static esker_node *norm_gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *x = node->inputs[input], *g = esker__reduce_open(node, grad), *y = esker__reduce_open(node, node);
    if (norm_kind(node) == ESKER_NORM_L1) return with_sign(x, g);
    if (norm_kind(node) == ESKER_NORM_L2) return esker_mul(esker_div(x, esker_add(y, esker__equal(y, constant(y, 0)))), g);
    esker_node *hits = esker__equal(esker_add(esker_relu(x), esker_relu(esker_neg(x))), y);
    return with_sign(x, esker_mul(hits, esker_div(g, over_same_axes(node, hits, esker_sum))));
}

static void norm_reference(const esker__reference *r)
{
    esker__reduce_walk at;
    esker__reduce_walk_init(&at, r->node);
    int kind = norm_kind(r->node);
    for (int64_t i = 0; i < at.n_out; i++) r->out[0][i] = 0;
    for (int64_t i = 0; i < at.n_in; i++, esker__reduce_walk_next(&at)) {
        double v = fabs(r->in[0][i]), *y = &r->out[0][at.output];
        *y = kind == ESKER_NORM_L1 ? *y + v : kind == ESKER_NORM_L2 ? *y + v * v : v <= *y || isnan(*y) ? *y : v;
    }
    for (int64_t i = 0; kind == ESKER_NORM_L2 && i < at.n_out; i++) r->out[0][i] = sqrt(r->out[0][i]);
}

/* L2: half of what the sum loses relatively, and the square root's 9. */
static double norm_tolerance(const esker_node *node)
{
    double root = sqrt((double)esker__reduce_terms(node));
    return norm_kind(node) == ESKER_NORM_L1 ? 2 * root + 1 : norm_kind(node) == ESKER_NORM_L2 ? root + 11 : 0;
}

static esker_status norm_lower(esker__lowering *lowering, const esker_node *node)
{
    int kind = norm_kind(node);
    return esker__reduce_lower(lowering, node,
                               &(esker__reduction){
                                   .join = kind == ESKER_NORM_INF ? ESKER__JOIN_MAX : ESKER__JOIN_SUM,
                                   .term = kind == ESKER_NORM_L2 ? ESKER__TERM_SQUARE : ESKER__TERM_ABS,
                                   .finish = kind == ESKER_NORM_L2 ? ESKER__FINISH_SQRT : ESKER__FINISH_SCALE,
                                   .scale = 1,
                                   .in = esker__read(lowering, node->inputs[0]),
                                   .out = esker__write(lowering, node),
                               });
}

const esker__op esker__op_norm = {
    .name = "norm",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__reduce_norm_attr),
    .infer = norm_infer,
    .gradient = norm_gradient,
    .reference = norm_reference,
    .tolerance = norm_tolerance,
    .atol = 1.1e-19, /* the root of what is flushed: squares of elements below it may be lost */
    .cost = esker__reduce_cost,
    .lower = norm_lower};

esker_node *esker_norm(esker_node *x, const int *axes, int n_axes, bool keepdims, esker_norm_kind kind)
{
    esker__reduce_norm_attr attr = {.kind = (int32_t)kind};
    if (!esker__reduce_axes("norm", x, axes, n_axes, keepdims, &attr.reduce)) return NULL;
    return esker__record(&esker__op_norm, &attr, &x, 1);
}
