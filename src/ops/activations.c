/* Activations. The formulas, and what holds at kinks, are PyTorch's. */
#include "ops/elementwise.h"

#include "base/fail.h"

/* Klambauer, Unterthiner, Mayr, Hochreiter: Self-normalizing neural networks, 2017. */
#define SELU_SCALE 1.0507009873554804934
#define SELU_ALPHA 1.6732632423543772848
#define SQRT_HALF  0.70710678118654752440

/* clang-format off */
#define CONSTANTS sizeof(esker__constants_attr)
/* NaN stays NaN: Mesa makes a maximum, which drops it, of a comparison with what is then chosen; -0 is equal to 0 and another constant. */
#define ROWS(X) \
    X(relu, 1, ESKER__FLOATS, "a < -0.0 ? 0.0 : a", a < 0 ? 0 : a, 0, gradient_relu, 0, 0, ESKER__IN_0) \
    X(leaky_relu, 1, ESKER__FLOATS, "a < 0.0 ? k0 * a : a", a < 0 ? k[0] * a : a, a < 0 ? fabs(y) * ONE_EPS : 0, gradient_leaky_relu, 0, CONSTANTS, ESKER__IN_0) \
    X(prelu, 2, ESKER__FLOATS, "a < 0.0 ? b * a : a", a < 0 ? b * a : a, a < 0 ? fabs(y) * ONE_EPS : 0, gradient_prelu, 0, 0, ESKER__IN_01) \
    X(elu, 1, ESKER__FLOATS, "a < 0.0 ? k0 * expm1_stable(a) : a", a < 0 ? k[0] * expm1(a) : a, \
      a < 0 ? fabs(k[0]) * esker__expm1_error(a) + fabs(y) * ONE_EPS : 0, gradient_elu, 0, CONSTANTS, ESKER__IN_0) \
    X(selu, 1, ESKER__FLOATS, "a < 0.0 ? 1.75809934 * expm1_stable(a) : 1.05070099 * a", SELU_SCALE * (a < 0 ? SELU_ALPHA * expm1(a) : a), \
      (a < 0 ? SELU_SCALE * SELU_ALPHA * esker__expm1_error(a) : 0) + fabs(y) * (ONE_EPS + 1), gradient_selu, 0, 0, ESKER__IN_0) \
    X(sigmoid, 1, ESKER__FLOATS, "sigmoid_stable(a)", sigmoid(a), y * sigmoid_error(a), gradient_sigmoid, 0, 0, ESKER__IN_0) \
    X(tanh, 1, ESKER__FLOATS, "tanh_stable(a)", tanh(a), fabs(y) * tanh_error(a), gradient_tanh, 0, 0, ESKER__IN_0) \
    X(hard_sigmoid, 1, ESKER__FLOATS, "isnan(a) ? a : clamp(a * (1.0 / 6.0) + 0.5, 0.0, 1.0)", gate(a), gate_error(a), gradient_hard_sigmoid, 0, 0, ESKER__IN_0) \
    X(silu, 1, ESKER__FLOATS, "a * sigmoid_stable(a)", a * sigmoid(a), fabs(y) * (sigmoid_error(a) + ONE_EPS) + LOST(a), gradient_silu, 0, 0, ESKER__IN_0) \
    X(hard_swish, 1, ESKER__FLOATS, "a * clamp(a * (1.0 / 6.0) + 0.5, 0.0, 1.0)", a * gate(a), fabs(a) * gate_error(a) + fabs(y) * ONE_EPS, \
      gradient_hard_swish, 0, 0, ESKER__IN_0) \
    X(gelu, 1, ESKER__FLOATS, "a * normal_below(a)", a * normal_below(a), fabs(a) * normal_error(a) + fabs(y) * ONE_EPS + LOST(a), gradient_gelu, 0, 0, ESKER__IN_0) \
    X(gelu_tanh, 1, ESKER__FLOATS, "a * sigmoid_stable(gelu_argument(a))", a * sigmoid(gelu_argument(a)), \
      fabs(a) * gelu_gate_error(a) + fabs(y) * ONE_EPS + LOST(a), gradient_gelu_tanh, 0, 0, ESKER__IN_0) \
    X(softplus, 1, ESKER__FLOATS, "softplus_stable(a, k0)", softplus(a, k[0]), softplus_error(a, k[0]), gradient_softplus, 0, CONSTANTS, ESKER__IN_0) \
    X(mish, 1, ESKER__FLOATS, "a * tanh_softplus(a)", a * tanh(softplus(a, 1)), fabs(y) * (tanh_softplus_error(a) + ONE_EPS) + LOST(a), gradient_mish, 0, 0, ESKER__IN_0) \
    /* Gradients: of the output y and g, then of the input x and g. */ \
    X(relu_grad, 2, ESKER__FLOATS, "a <= 0.0 ? 0.0 : b", a <= 0 ? 0 : b, 0, NULL, 0, 0, ESKER__IN_01) \
    X(sigmoid_grad, 2, ESKER__FLOATS, "b * a * (1.0 - a)", b * a * (1 - a), fabs(y) * 3 * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(tanh_grad, 2, ESKER__FLOATS, "b * (1.0 - a) * (1.0 + a)", b * (1 - a) * (1 + a), fabs(y) * 4 * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(leaky_relu_grad, 2, ESKER__FLOATS, "a > 0.0 ? b : k0 * b", a > 0 ? b : k[0] * b, a > 0 ? 0 : fabs(y) * ONE_EPS, NULL, 0, CONSTANTS, ESKER__IN_01) \
    X(prelu_grad, 3, ESKER__FLOATS, "a > 0.0 ? c : b * c", a > 0 ? c : b * c, a > 0 ? 0 : fabs(y) * ONE_EPS, NULL, 0, 0, ESKER__IN_01) /* x, slope, g */ \
    X(prelu_slope_grad, 2, ESKER__FLOATS, "a > 0.0 ? 0.0 : a * b", a > 0 ? 0 : a * b, fabs(y) * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(elu_grad, 2, ESKER__FLOATS, "a > 0.0 ? b : k0 * b * exp(a)", a > 0 ? b : k[0] * b * exp(a), a > 0 ? 0 : fabs(y) * (EXP_EPS(a) + 2 * ONE_EPS) + LOST(k[0] * b), \
      NULL, 0, CONSTANTS, ESKER__IN_01) \
    X(selu_grad, 2, ESKER__FLOATS, "a > 0.0 ? 1.05070099 * b : 1.75809934 * b * exp(a)", SELU_SCALE * b * (a > 0 ? 1 : SELU_ALPHA * exp(a)), \
      fabs(y) * (2 * ONE_EPS + 1 + (a > 0 ? 0 : EXP_EPS(a))) + LOST(2 * b), NULL, 0, 0, ESKER__IN_01) \
    X(hard_sigmoid_grad, 2, ESKER__FLOATS, "a > -3.0 && a < 3.0 ? b * (1.0 / 6.0) : 0.0", a > -3 && a < 3 ? b / 6 : 0, fabs(y) * (ONE_EPS + 1), \
      NULL, 0, 0, ESKER__IN_01) \
    X(hard_swish_grad, 2, ESKER__FLOATS, "a <= -3.0 ? 0.0 : a < 3.0 ? b * (a * (1.0 / 3.0) + 0.5) : b", a <= -3 ? 0 : a < 3 ? b * (a / 3 + 0.5) : b, \
      a <= -3 || a >= 3 ? 0 : fabs(b * a) + fabs(y) * 2 * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(silu_grad, 2, ESKER__FLOATS, "b * (sigmoid_stable(a) + a * sigmoid_slope(a))", b * (sigmoid(a) + a * sigmoid_slope(a)), \
      fabs(b) * (sigmoid(a) * (sigmoid_error(a) + ONE_EPS) + fabs(a) * sigmoid_slope(a) * slope_error(a)) + fabs(y) * ONE_EPS + LOST(b * (1 + fabs(a))), NULL, 0, 0, ESKER__IN_01) \
    X(gelu_grad, 2, ESKER__FLOATS, "b * (normal_below(a) + a * normal_density(a))", b * (normal_below(a) + a * normal_density(a)), \
      fabs(b) * (normal_error(a) + fabs(a) * normal_density(a) * density_error(a)) + fabs(y) * 2 * ONE_EPS + LOST(b * (1 + fabs(a))), NULL, 0, 0, ESKER__IN_01) \
    X(gelu_tanh_grad, 2, ESKER__FLOATS, "b * gelu_tanh_slope(a)", b * gelu_tanh_slope(a), \
      fabs(b) * gelu_tanh_slope_error(a) + fabs(y) * 2 * ONE_EPS + LOST(b * (1 + 2 * fabs(a * a * a))), NULL, 0, 0, ESKER__IN_01) \
    X(softplus_grad, 2, ESKER__FLOATS, "b * sigmoid_stable(k0 * a)", b * sigmoid(k[0] * a), \
      fabs(y) * (sigmoid_error(k[0] * a) + fabs(k[0] * a) * sigmoid(-k[0] * a) * ONE_EPS + ONE_EPS) + LOST(b), NULL, 0, CONSTANTS, ESKER__IN_01) \
    X(mish_grad, 2, ESKER__FLOATS, "b * mish_slope(a)", b * (tanh(softplus(a, 1)) + a * mish_bend(a)), \
      fabs(b) * (tanh(softplus(a, 1)) * (tanh_softplus_error(a) + ONE_EPS) + fabs(a) * mish_bend(a) * mish_bend_error(a)) + fabs(y) * ONE_EPS + LOST(b * (1 + 4 * fabs(a))), \
      NULL, 0, 0, ESKER__IN_01)
/* clang-format on */

ROWS(ESKER__DECLARE_ROW)

/* ---- In double, and error bounds (relative where the name of the row's function says nothing else) ---- */

static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

static double sigmoid_slope(double x)
{
    double e = exp(-fabs(x));
    return e / ((1 + e) * (1 + e));
}

/* A sum and a division; exp's error counts by what changes when exp does. */
static double sigmoid_error(double x)
{
    return DIV_EPS + ONE_EPS + EXP_EPS(x) * sigmoid(-x);
}

static double slope_error(double x)
{
    return DIV_EPS + 4 * ONE_EPS + EXP_EPS(x);
}

/* For |x| >= 0.25 the error of 1 - e grows by e / (1 - e), which is below 1.6. */
static double tanh_error(double x)
{
    double e = exp(-2 * fabs(x));
    if (fabs(x) < 0.2499) return 5; /* the series: one sum and one product; what they round is 50 times smaller */
    return DIV_EPS + ONE_EPS + (e / (1 - e) + e / (1 + e)) * EXP_EPS(2 * x);
}

static double gate(double x)
{
    double y = x / 6 + 0.5;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}

/* Absolute. */
static double gate_error(double x)
{
    return fabs(x) > 3.001 ? 0 : fabs(x) / 6 * (ONE_EPS + 1) + gate(x) * ONE_EPS;
}

static double normal_below(double x)
{
    return 0.5 * erfc(-x * SQRT_HALF);
}

/* Absolute. The argument of erfc is rounded and its constant too, which changes erfc by 2 z z of it and less, z = x sqrt(1/2). */
static double normal_error(double x)
{
    double z = fabs(x) * SQRT_HALF;
    return 0.5 * erfc(z) * (esker__erfc_error(z) + (1 + 2 * z * z) * (ONE_EPS + 1)) + (x < 0 ? 0 : ONE_EPS);
}

static double normal_density(double x)
{
    return 0.39894228040143267794 * exp(-0.5 * x * x);
}

static double density_error(double x)
{
    return EXP_EPS(0.5 * x * x) + x * x + 1 + 2 * ONE_EPS;
}

static double gelu_argument(double x)
{
    return 2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x);
}

/* Absolute, of the sigmoid in gelu's tanh form. Its argument is off by some roundings. */
static double gelu_gate_error(double x)
{
    double u = gelu_argument(x);
    return sigmoid(u) * sigmoid_error(u) + sigmoid_slope(u) * fabs(u) * (4 * ONE_EPS + 1);
}

static double gelu_tanh_bend(double x)
{
    return 2 * 0.79788456080286535588 * (1 + 3 * 0.044715 * x * x) * sigmoid_slope(gelu_argument(x));
}

static double gelu_tanh_slope(double x)
{
    return sigmoid(gelu_argument(x)) + x * gelu_tanh_bend(x);
}

/* Absolute. */
static double gelu_tanh_slope_error(double x)
{
    double u = fabs(gelu_argument(x)), bend = fabs(x) * gelu_tanh_bend(x);
    return gelu_gate_error(x) + bend * (slope_error(u) + u * (4 * ONE_EPS + 1) + 4 * ONE_EPS);
}

static double softplus(double x, double k)
{
    return fmax(x, 0) + log1p(exp(-fabs(k * x))) / k;
}

/* Absolute: rounding k x, exp, the logarithm, the division, the sum. */
static double softplus_error(double x, double k)
{
    double e = exp(-fabs(k * x)), l = log1p(e);
    double of_log = esker__log1p_error(e) + e / (1 + e) * (EXP_EPS(k * x) + fabs(k * x) * ONE_EPS);
    return (of_log + l * DIV_EPS) / k + softplus(x, k) * ONE_EPS + LOST(1 / k);
}

/* As with sigmoid_error: for x > 0 exp(-x) hardly matters. */
static double tanh_softplus_error(double x)
{
    double e = exp(-fabs(x));
    double weight = x < 0 ? 1 : 4 * e * e * (1 + e) / ((1 + 2 * e) * (1 + 2 * e + 2 * e * e));
    return DIV_EPS + 4 * ONE_EPS + weight * EXP_EPS(x);
}

/* The slope of tanh(softplus(x)). */
static double mish_bend(double x)
{
    double t = tanh(softplus(x, 1));
    return x < 0 ? (1 - t) * (1 + t) * sigmoid(x)
                 : 4 * exp(-2 * x) * (1 + exp(-x)) / pow(1 + 2 * exp(-x) + 2 * exp(-2 * x), 2);
}

static double mish_bend_error(double x)
{
    return DIV_EPS + 8 * ONE_EPS + 2 * EXP_EPS(x);
}

/* ---- Gradient rules ---- */

ESKER__GRADIENT_FROM(output, relu)
ESKER__GRADIENT_FROM(output, sigmoid)
ESKER__GRADIENT_FROM(output, tanh)

static esker_node *gradient_prelu(esker_node *node, esker_node *grad, int input)
{
    if (input == 0) return esker__record3(&esker__op_prelu_grad, node->inputs[0], node->inputs[1], grad);
    return esker__record2(&esker__op_prelu_slope_grad, node->inputs[0], grad);
}

ESKER__GRADIENT_FROM(input, leaky_relu)
ESKER__GRADIENT_FROM(input, elu)
ESKER__GRADIENT_FROM(input, selu)
ESKER__GRADIENT_FROM(input, hard_sigmoid)
ESKER__GRADIENT_FROM(input, silu)
ESKER__GRADIENT_FROM(input, hard_swish)
ESKER__GRADIENT_FROM(input, gelu)
ESKER__GRADIENT_FROM(input, gelu_tanh)
ESKER__GRADIENT_FROM(input, softplus)
ESKER__GRADIENT_FROM(input, mish)

ROWS(ESKER__DEFINE_ROW)

/* ---- Recording ---- */

esker_node *esker_relu(esker_node *x)
{
    return esker__record1(&esker__op_relu, x);
}
esker_node *esker_selu(esker_node *x)
{
    return esker__record1(&esker__op_selu, x);
}
esker_node *esker_sigmoid(esker_node *x)
{
    return esker__record1(&esker__op_sigmoid, x);
}
esker_node *esker_tanh(esker_node *x)
{
    return esker__record1(&esker__op_tanh, x);
}
esker_node *esker_hard_sigmoid(esker_node *x)
{
    return esker__record1(&esker__op_hard_sigmoid, x);
}
esker_node *esker_silu(esker_node *x)
{
    return esker__record1(&esker__op_silu, x);
}
esker_node *esker_hard_swish(esker_node *x)
{
    return esker__record1(&esker__op_hard_swish, x);
}
esker_node *esker_gelu(esker_node *x)
{
    return esker__record1(&esker__op_gelu, x);
}
esker_node *esker_gelu_tanh(esker_node *x)
{
    return esker__record1(&esker__op_gelu_tanh, x);
}
esker_node *esker_mish(esker_node *x)
{
    return esker__record1(&esker__op_mish, x);
}
esker_node *esker__relu_grad(esker_node *y, esker_node *grad)
{
    return esker__record2(&esker__op_relu_grad, y, grad);
}

esker_node *esker_leaky_relu(esker_node *x, float slope)
{
    return esker__record_constants(&esker__op_leaky_relu, x, slope, 0, isfinite(slope), "the slope must be finite");
}

esker_node *esker_elu(esker_node *x, float alpha)
{
    return esker__record_constants(&esker__op_elu, x, alpha, 0, isfinite(alpha), "alpha must be finite");
}

esker_node *esker_softplus(esker_node *x, float beta)
{
    return esker__record_constants(&esker__op_softplus, x, beta, 0, isfinite(beta) && beta > 0,
                                   "beta must be finite and above 0");
}

esker_node *esker_prelu(esker_node *x, esker_node *slope)
{
    if (!x || !slope) return esker__record2(&esker__op_prelu, x, slope);
    const esker_shape *of_x = &x->type.shape, *of_slope = &slope->type.shape;
    int64_t channels = of_x->rank > 1 ? of_x->dims[1] : 1;
    if (of_slope->rank > 1 || (of_slope->rank == 1 && of_slope->dims[0] != 1 && of_slope->dims[0] != channels)) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(
            x->graph, esker__fail(ESKER_ERR_INVALID,
                                  "%s: the slope must have one element, or one for each of the %lld channels (axis 1)",
                                  esker__signature(text, "prelu", (esker_node *[]){x, slope}, 2), (long long)channels));
    }
    if (of_slope->rank == 1 && of_x->rank != 2) { /* one element broadcasts anyway, but a scalar must stay one */
        esker_shape stretched = {.rank = of_x->rank > 2 ? of_x->rank - 1 : 0, .dims = {of_slope->dims[0]}};
        for (int i = 1; i < stretched.rank; i++) stretched.dims[i] = 1;
        slope = esker_reshape(slope, &stretched);
    }
    return esker__record2(&esker__op_prelu, x, slope);
}
