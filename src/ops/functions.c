/* Elementwise functions: exponentials and logarithms, roots and powers, sine, cosine and the error function. */
#include "ops/elementwise.h"

#define TWO_OVER_SQRT_PI 1.1283791670955126

/* clang-format off */
#define ROWS(X) \
    X(exp, 1, ESKER__FLOATS, "exp(a)", exp(a), fabs(y) * EXP_EPS(a), gradient_exp, 0, 0, ESKER__IN_0) \
    X(log, 1, ESKER__FLOATS, "log(a)", log(a), a < 0.5 || a > 2 ? fabs(y) * 6 : 8, gradient_log, 0, 0, ESKER__IN_0) \
    X(expm1, 1, ESKER__FLOATS, "expm1_stable(a)", expm1(a), esker__expm1_error(a), gradient_expm1, 0, 0, ESKER__IN_0) \
    X(log1p, 1, ESKER__FLOATS, "log1p_stable(a)", log1p(a), esker__log1p_error(a), gradient_log1p, 0, 0, ESKER__IN_0) \
    X(sqrt, 1, ESKER__FLOATS, "sqrt(a)", sqrt(a), fabs(y) * SQRT_EPS, gradient_sqrt, 0, 0, ESKER__IN_0) \
    X(rsqrt, 1, ESKER__FLOATS, "inversesqrt(a)", 1 / sqrt(a), fabs(y) * RSQRT_EPS, gradient_rsqrt, 0, 0, ESKER__IN_0) \
    X(sin, 1, ESKER__FLOATS, "sine(a, 0.0)", sin(a), sine_error(a, y), gradient_sin, 0, 0, ESKER__IN_0) \
    X(cos, 1, ESKER__FLOATS, "sine(a, 1.0)", cos(a), sine_error(a, y), gradient_cos, 0, 0, ESKER__IN_0) \
    X(erf, 1, ESKER__FLOATS, "erf_stable(a)", erf(a), erf_error(a, y), gradient_erf, 0, 0, ESKER__IN_0) \
    X(pow, 2, ESKER__FLOATS, "power(a, b)", pow(a, b), fabs(y) * power_error(a, b), gradient_pow, 0, 0, ESKER__IN_01) \
    /* Gradients, from the input x or the output y, and g. */ \
    X(expm1_grad, 2, ESKER__FLOATS, "b * exp(a)", b * exp(a), fabs(y) * (EXP_EPS(a) + ONE_EPS) + LOST(b), NULL, 0, 0, ESKER__IN_01) \
    X(log1p_grad, 2, ESKER__FLOATS, "b / (1.0 + a)", b / (1 + a), fabs(y) * (DIV_EPS + ONE_EPS), NULL, 0, 0, ESKER__IN_01) \
    X(sqrt_grad, 2, ESKER__FLOATS, "0.5 * b / a", 0.5 * b / a, fabs(y) * (DIV_EPS + 1), NULL, 0, 0, ESKER__IN_01) /* of y */ \
    X(rsqrt_grad, 2, ESKER__FLOATS, "-0.5 * b * a * a * a", -0.5 * b * a * a * a, fabs(y) * 3 * ONE_EPS, NULL, 0, 0, ESKER__IN_01) /* of y */ \
    X(sin_grad, 2, ESKER__FLOATS, "b * sine(a, 1.0)", b * cos(a), fabs(b) * sine_error(a, cos(a)) + fabs(y) * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(cos_grad, 2, ESKER__FLOATS, "-b * sine(a, 0.0)", -b * sin(a), fabs(b) * sine_error(a, sin(a)) + fabs(y) * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(erf_grad, 2, ESKER__FLOATS, "a * a > 200.0 ? 0.0 : 1.12837917 * b * exp(-a * a)", TWO_OVER_SQRT_PI * b * exp(-a * a), \
      fabs(y) * (EXP_EPS(a * a) + 2 * a * a + 5) + LOST(2 * b), NULL, 0, 0, ESKER__IN_01) \
    /* Of pow(a, b): of a, with operands a, b, g; of b, with operands a, y, g. */ \
    X(pow_grad_base, 3, ESKER__FLOATS, "b == 0.0 ? 0.0 : c * b * power(a, b - 1.0)", b == 0 ? 0 : c * b * pow(a, b - 1), \
      fabs(y) * (power_error(a, b - 1) + 4 + power_shift(a, b)) + LOST(b * c), NULL, 0, 0, ESKER__IN_01) \
    X(pow_grad_exponent, 3, ESKER__FLOATS, "a == 0.0 && b <= 1.0 ? 0.0 : c * b * log_accurate(a)", a == 0 && b <= 1 ? 0 : c * b * log(a), \
      fabs(y) * 10, NULL, 0, 0, ESKER__IN_01)
/* clang-format on */

ROWS(ESKER__DECLARE_ROW)

/* ---- Error bounds ---- */

/* Past 0.6875: exp's error and one rounding. Before: the last sum, and the terms after x, which are at most 0.4 of the result. */
double esker__expm1_error(double x)
{
    double y = fabs(expm1(x));
    return fabs(x) < 0.6875 ? y * 6 : (1 + expm1(x)) * EXP_EPS(x) + y * ONE_EPS;
}

/* Outside [-0.5, 1]: log's error, and that of 1 + x, which is absolute in the result. Inside: 2 + x, the division, the sum. */
double esker__log1p_error(double x)
{
    double y = fabs(log1p(x));
    return x < -0.5 || x > 1 ? fmax(6 * y, 8) + ONE_EPS : y * (DIV_EPS + 3 * ONE_EPS);
}

/* t and the polynomial: a sum, a division, and the tails of two sums; x x is rounded before exp takes it. */
double esker__erfc_error(double x)
{
    return DIV_EPS + 7 * ONE_EPS + EXP_EPS(x * x) + 2 * x * x;
}

static double erf_error(double x, double y)
{
    double z = fabs(x);
    return fabs(y) * (z < 0.75 ? 5 : ONE_EPS) + (z < 0.75 ? 0 : erfc(z) * esker__erfc_error(z));
}

/* The reduced argument and the series are rounded a few times; what the third part of pi / 2 leaves grows with x. Beyond 1.02e5
 * nothing is promised but |y| <= 1.01. */
static double sine_error(double x, double y)
{
    return fabs(x) > 1.02e5 ? 0x1p25 : fabs(y) * 6 + fabs(x) * 3e-6;
}

/* The fraction of y log2(x), its power, and what log2_split leaves, which counts y times. */
static double power_error(double x, double y)
{
    double l = fabs(y * log2(fabs(x)));
    return 8 + 0.25 * fmin(fmin(l, 0.5 * fabs(y)), 200);
}

/* What rounding b - 1 changes: nothing for whole numbers. */
static double power_shift(double a, double b)
{
    return b == floor(b) ? 0 : ONE_EPS * fabs((b - 1) * log(fabs(a)));
}

/* ---- Gradient rules ---- */

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

ESKER__GRADIENT_FROM(output, sqrt)
ESKER__GRADIENT_FROM(output, rsqrt)
ESKER__GRADIENT_FROM(input, expm1)
ESKER__GRADIENT_FROM(input, log1p)
ESKER__GRADIENT_FROM(input, sin)
ESKER__GRADIENT_FROM(input, cos)
ESKER__GRADIENT_FROM(input, erf)

static esker_node *gradient_pow(esker_node *node, esker_node *grad, int input)
{
    if (input == 0) return esker__record3(&esker__op_pow_grad_base, node->inputs[0], node->inputs[1], grad);
    return esker__record3(&esker__op_pow_grad_exponent, node->inputs[0], node, grad);
}

ROWS(ESKER__DEFINE_ROW)

/* ---- Recording ---- */

esker_node *esker_exp(esker_node *x)
{
    return esker__record1(&esker__op_exp, x);
}
esker_node *esker_log(esker_node *x)
{
    return esker__record1(&esker__op_log, x);
}
esker_node *esker_expm1(esker_node *x)
{
    return esker__record1(&esker__op_expm1, x);
}
esker_node *esker_log1p(esker_node *x)
{
    return esker__record1(&esker__op_log1p, x);
}
esker_node *esker_sqrt(esker_node *x)
{
    return esker__record1(&esker__op_sqrt, x);
}
esker_node *esker_rsqrt(esker_node *x)
{
    return esker__record1(&esker__op_rsqrt, x);
}
esker_node *esker_sin(esker_node *x)
{
    return esker__record1(&esker__op_sin, x);
}
esker_node *esker_cos(esker_node *x)
{
    return esker__record1(&esker__op_cos, x);
}
esker_node *esker_erf(esker_node *x)
{
    return esker__record1(&esker__op_erf, x);
}
esker_node *esker_pow(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_pow, a, b);
}
