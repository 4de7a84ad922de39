/*
 * Elementwise operations. Each is one row of the list below: its expression in GLSL for the map kernel, the same in double,
 * what its error bound is made of, and its gradient rule. Everything else is shared.
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/map.h"
#include "ops/ops.h"

typedef struct elementwise {
    double (*value)(double a, double b, double c, const float *k);
    /* NULL: |y|. The bound is 4 eps times this (op.h), so a function that GLSL ES lets be n eps wrong returns n / 4 times
     * its value. */
    double (*magnitude)(double a, double b, double y, const float *k);
} elementwise;

static const float no_constants[2] = {0, 0};

/* ---- What all of them share ---- */

static esker_status infer(const char *name, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker_shape shape = {0};
    for (int k = 0; k < n_inputs; k++) {
        if (inputs[k]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: operand %d is %s, float32 is needed (esker_convert)",
                               esker__signature(text, name, inputs, n_inputs), k, esker_dtype_name(inputs[k]->type.dtype));
        if (inputs[k]->type.shape.rank > shape.rank) shape.rank = inputs[k]->type.shape.rank;
    }
    for (int i = 0; i < shape.rank; i++) shape.dims[i] = 1;
    for (int k = 0; k < n_inputs; k++) {
        const esker_shape *own = &inputs[k]->type.shape;
        for (int i = shape.rank - own->rank, j = 0; j < own->rank; i++, j++) {
            if (own->dims[j] == shape.dims[i] || own->dims[j] == 1) continue;
            if (shape.dims[i] != 1)
                return esker__fail(ESKER_ERR_INVALID,
                                   "%s: shapes do not broadcast: axis %d from the end is %lld in one and %lld in another, "
                                   "neither is 1",
                                   esker__signature(text, name, inputs, n_inputs), shape.rank - i, (long long)shape.dims[i],
                                   (long long)own->dims[j]);
            shape.dims[i] = own->dims[j];
        }
    }
    *out = (esker__type){ESKER_DTYPE_F32, shape};
    return ESKER_OK;
}

static void describe(const esker_node *node, esker__map *map)
{
    *map = (esker__map){.n_operands = node->n_inputs, .rank = node->type.shape.rank, .expr = node->op->expr};
    memcpy(map->dims, node->type.shape.dims, sizeof map->dims);
    for (int k = 0; k < node->n_inputs; k++)
        esker__broadcast_strides(&node->inputs[k]->type.shape, &node->type.shape, map->strides[k]);
    if (node->op->attr_bytes) {
        const float *constants = node->attr;
        map->k0 = constants[0];
        map->k1 = constants[1];
    }
}

static void reference(const esker__reference *r)
{
    const elementwise *e = r->node->op->detail;
    const float *constants = r->node->op->attr_bytes ? r->node->attr : no_constants;
    esker__map map;
    describe(r->node, &map);
    int64_t n = 1, digit[ESKER_MAX_RANK] = {0}, at[ESKER__MAP_OPERANDS] = {0};
    for (int d = 0; d < map.rank; d++) n *= map.dims[d];
    for (int64_t i = 0; i < n; i++) {
        double x[ESKER__MAP_OPERANDS] = {0};
        for (int k = 0; k < map.n_operands; k++) x[k] = r->in[k][at[k]];
        double y = e->value(x[0], x[1], x[2], constants);
        r->out[0][i] = y;
        if (r->magnitude[0]) r->magnitude[0][i] = e->magnitude(x[0], x[1], y, constants);
        for (int d = map.rank - 1; d >= 0; d--) {
            bool wraps = ++digit[d] == map.dims[d];
            if (wraps) digit[d] = 0;
            for (int k = 0; k < map.n_operands; k++) at[k] += map.strides[k][d] * (wraps ? 1 - map.dims[d] : 1);
            if (!wraps) break;
        }
    }
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    esker__map map;
    describe(node, &map);
    esker__operand operands[ESKER__MAP_OPERANDS + 1];
    for (int k = 0; k < node->n_inputs; k++) operands[k] = esker__read(lowering, node->inputs[k]);
    operands[node->n_inputs] = esker__write(lowering, node);
    return esker__map_emit(lowering, &map, operands);
}

double esker__tolerance_exact(const esker_node *node)
{
    (void)node;
    return 0;
}

/* ---- Simpler equals ---- */

/* `constant` is a full node that stretches to the shape of `x` and no further. */
static bool fills(const esker_node *constant, const esker_node *x)
{
    const esker_shape *c = &constant->type.shape, *s = &x->type.shape;
    if (constant->op != &esker__op_full || c->rank > s->rank) return false;
    for (int i = 0; i < c->rank; i++)
        if (c->dims[i] != 1 && c->dims[i] != s->dims[s->rank - c->rank + i]) return false;
    return true;
}

/* x * 1, x / 1 and 1 x + 0 are x; a product with another constant needs no tensor of it. */
static esker_node *simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    (void)graph;
    if (op == &esker__op_affine) {
        const esker__affine_attr *affine = attr;
        return affine->scale == 1 && affine->shift == 0 ? inputs[0] : NULL;
    }
    for (int i = op == &esker__op_div; op->n_inputs == 2 && i < 2; i++) {
        if ((op != &esker__op_mul && op != &esker__op_div) || !fills(inputs[i], inputs[1 - i])) continue;
        float value = ((const esker__full_attr *)inputs[i]->attr)->value;
        if (value == 1) return inputs[1 - i];
        if (op == &esker__op_mul && isfinite(value)) return esker_affine(inputs[1 - i], value, 0);
    }
    return NULL;
}

/* ---- Gradient rules ---- */

static esker_node *gradient_add(esker_node *node, esker_node *grad, int input)
{
    (void)node, (void)input;
    return grad;
}

static esker_node *gradient_sub(esker_node *node, esker_node *grad, int input)
{
    (void)node;
    return input == 0 ? grad : esker_neg(grad);
}

static esker_node *gradient_mul(esker_node *node, esker_node *grad, int input)
{
    return esker_mul(grad, node->inputs[1 - input]);
}

static esker_node *gradient_div(esker_node *node, esker_node *grad, int input)
{
    if (input == 0) return esker_div(grad, node->inputs[1]);
    return esker__record(&esker__op_div_grad, NULL, (esker_node *[]){grad, node, node->inputs[1]}, 3);
}

static esker_node *gradient_neg(esker_node *node, esker_node *grad, int input)
{
    (void)node, (void)input;
    return esker_neg(grad);
}

static esker_node *gradient_exp(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker_mul(grad, node);
}

static esker_node *gradient_log(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker_div(grad, node->inputs[0]);
}

static esker_node *gradient_sqrt(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__record(&esker__op_sqrt_grad, NULL, (esker_node *[]){node, grad}, 2);
}

static esker_node *gradient_relu(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__relu_grad(node, grad);
}

static esker_node *gradient_sigmoid(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__sigmoid_grad(node, grad);
}

static esker_node *gradient_tanh(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__tanh_grad(node, grad);
}

static esker_node *gradient_affine(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker_affine(grad, ((const esker__affine_attr *)node->attr)->scale, 0);
}

/* ---- The rows ---- */

/* name, operands, GLSL, C, magnitude (0: |y|), tolerance (NULL: 4), gradient rule, inputs without gradient, attribute
 * bytes, flags */
#define IN_0  ESKER__OP_IN_PLACE_0
#define IN_01 (ESKER__OP_IN_PLACE_0 | ESKER__OP_IN_PLACE_1)
#define EXACT esker__tolerance_exact

/*
 * GLSL ES 3.10, 4.7.1: exp is (3 + 2 |x|) ULP off, and one ULP is up to 2 eps; log 3 ULP, and 2^-21 within [0.5, 2];
 * division 2.5 ULP; sqrt is the reciprocal of inversesqrt (2 ULP). sigmoid and tanh are ours, in the map kernel: e =
 * exp(-|x|) or exp(-2 |x|) carries the error, then one addition and one division. For tanh the error of 1 - e grows by e /
 * (1 - e), which |x| >= 0.25 keeps below 1.6.
 */
#define EXP_EPS(x) (2 * (3 + 2 * fabs(x)))
#define DIV_EPS    5
#define ONE_EPS    2 /* one rounding, whose direction is open */
#define SQRT_EPS   9

/* clang-format off */
#define ROWS(X) \
    X(add, 2, "a + b", a + b, fabs(y) * ONE_EPS / 4, NULL, gradient_add, 0, 0, IN_01) \
    X(sub, 2, "a - b", a - b, fabs(y) * ONE_EPS / 4, NULL, gradient_sub, 0, 0, IN_01) \
    X(mul, 2, "a * b", a * b, fabs(y) * ONE_EPS / 4, NULL, gradient_mul, 0, 0, IN_01) \
    X(div, 2, "a / b", a / b, fabs(y) * (DIV_EPS + 1) / 4, NULL, gradient_div, 0, 0, IN_01) \
    X(neg, 1, "-a", -a, fabs(y), EXACT, gradient_neg, 0, 0, IN_0) \
    X(exp, 1, "exp(a)", exp(a), fabs(y) * EXP_EPS(a) / 4, NULL, gradient_exp, 0, 0, IN_0) \
    X(log, 1, "log(a)", log(a), (a < 0.5 || a > 2 ? fabs(y) * 6 : 8.0) / 4, NULL, gradient_log, 0, 0, IN_0) \
    X(sqrt, 1, "sqrt(a)", sqrt(a), fabs(y) * SQRT_EPS / 4, NULL, gradient_sqrt, 0, 0, IN_0) \
    X(relu, 1, "a < 0.0 ? 0.0 : a", a < 0 ? 0 : a, fabs(y), EXACT, gradient_relu, 0, 0, IN_0) /* NaN stays NaN */ \
    X(sigmoid, 1, "sigmoid_stable(a)", sigmoid(a), fabs(y) * (DIV_EPS + 1 + EXP_EPS(a)) / 4, NULL, gradient_sigmoid, 0, 0, IN_0) \
    X(tanh, 1, "tanh_stable(a)", tanh(a), fabs(y) * tanh_eps(a) / 4, NULL, gradient_tanh, 0, 0, IN_0) \
    X(affine, 1, "k0 * a + k1", k[0] * a + k[1], (fabs(k[0] * a) + fabs(y)) * ONE_EPS / 4, NULL, gradient_affine, 0, sizeof(esker__affine_attr), IN_0) \
    /* -g y / b for y = x / b: the gradient of b. Operands g, y, b. */ \
    X(div_grad, 3, "-(a * b) / c", -(a * b) / c, fabs(y) * (DIV_EPS + 2) / 4, NULL, NULL, 0, 0, IN_01) \
    /* From the output y and its gradient g: operands y, g. */ \
    X(sqrt_grad, 2, "0.5 * b / a", 0.5 * b / a, fabs(y) * (DIV_EPS + 1) / 4, NULL, NULL, 0, 0, IN_01) \
    X(relu_grad, 2, "a > 0.0 ? b : 0.0", a > 0 ? b : 0, fabs(y), EXACT, NULL, 0, 0, IN_01) \
    X(sigmoid_grad, 2, "b * a * (1.0 - a)", b * a * (1 - a), fabs(y), NULL, NULL, 0, 0, IN_01) \
    X(tanh_grad, 2, "b * (1.0 - a) * (1.0 + a)", b * (1 - a) * (1 + a), fabs(y), NULL, NULL, 0, 0, IN_01) \
    X(equal, 2, "a == b ? 1.0 : 0.0", a == b ? 1 : 0, fabs(y), EXACT, NULL, 3, 0, IN_01)
/* clang-format on */

static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

static double tanh_eps(double x)
{
    double e = exp(-2 * fabs(x));
    if (fabs(x) < 0.2499) return 5; /* the series: one sum and one product; what they round is 50 times smaller */
    return DIV_EPS + 2 + (e / (1 - e) + e / (1 + e)) * EXP_EPS(2 * x);
}

/* clang-format off */
#define DEFINE(name_, n_, glsl_, c_, size_, tolerance_, rule_, without_, attr_, flags_) \
    static double value_of_##name_(double a, double b, double c, const float *k) \
    { \
        (void)a, (void)b, (void)c, (void)k; \
        return c_; \
    } \
    static double magnitude_of_##name_(double a, double b, double y, const float *k) \
    { \
        (void)a, (void)b, (void)y, (void)k; \
        return size_; \
    } \
    static esker_status infer_##name_(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out) \
    { \
        (void)attr; \
        return infer(#name_, inputs, n_inputs, out); \
    } \
    static const elementwise row_##name_ = {value_of_##name_, magnitude_of_##name_}; \
    const esker__op esker__op_##name_ = { \
        .name = #name_, .n_inputs = n_, .n_outputs = 1, .attr_bytes = attr_, .flags = flags_, .infer = infer_##name_, \
        .gradient = rule_, .no_gradient = without_, .reference = reference, .tolerance = tolerance_, .atol = ESKER__FLUSHED, \
        .lower = lower, .simplify = simplify, .expr = glsl_, .detail = &row_##name_};
/* clang-format on */

ROWS(DEFINE)

/* ---- Recording ---- */

static esker_node *record1(const esker__op *op, esker_node *x)
{
    return esker__record(op, NULL, &x, 1);
}

static esker_node *record2(const esker__op *op, esker_node *a, esker_node *b)
{
    return esker__record(op, NULL, (esker_node *[]){a, b}, 2);
}

esker_node *esker_add(esker_node *a, esker_node *b)
{
    return record2(&esker__op_add, a, b);
}
esker_node *esker_sub(esker_node *a, esker_node *b)
{
    return record2(&esker__op_sub, a, b);
}
esker_node *esker_mul(esker_node *a, esker_node *b)
{
    return record2(&esker__op_mul, a, b);
}
esker_node *esker_div(esker_node *a, esker_node *b)
{
    return record2(&esker__op_div, a, b);
}
esker_node *esker_neg(esker_node *x)
{
    return record1(&esker__op_neg, x);
}
esker_node *esker_exp(esker_node *x)
{
    return record1(&esker__op_exp, x);
}
esker_node *esker_log(esker_node *x)
{
    return record1(&esker__op_log, x);
}
esker_node *esker_sqrt(esker_node *x)
{
    return record1(&esker__op_sqrt, x);
}
esker_node *esker_relu(esker_node *x)
{
    return record1(&esker__op_relu, x);
}
esker_node *esker_sigmoid(esker_node *x)
{
    return record1(&esker__op_sigmoid, x);
}
esker_node *esker_tanh(esker_node *x)
{
    return record1(&esker__op_tanh, x);
}
esker_node *esker__relu_grad(esker_node *y, esker_node *grad)
{
    return record2(&esker__op_relu_grad, y, grad);
}
esker_node *esker__sigmoid_grad(esker_node *y, esker_node *grad)
{
    return record2(&esker__op_sigmoid_grad, y, grad);
}
esker_node *esker__tanh_grad(esker_node *y, esker_node *grad)
{
    return record2(&esker__op_tanh_grad, y, grad);
}
esker_node *esker__equal(esker_node *a, esker_node *b)
{
    return record2(&esker__op_equal, a, b);
}

esker_node *esker_affine(esker_node *x, float scale, float shift)
{
    if (x && !(isfinite(scale) && isfinite(shift))) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(x->graph,
                                 esker__fail(ESKER_ERR_INVALID, "%s: scale %g and shift %g must be finite",
                                             esker__signature(text, "affine", &x, 1), (double)scale, (double)shift));
    }
    return esker__record(&esker__op_affine, &(esker__affine_attr){scale, shift}, &x, 1);
}
