/* Elementwise arithmetic: sums, products, powers of one, extremes and rounding. */
#include "ops/elementwise.h"

#include "base/fail.h"

/* clang-format off */
#define NUMBER_ROWS(X) \
    X(add, 2, ESKER__NUMBERS, "a + b", a + b, fabs(y) * ONE_EPS, gradient_add, 0, 0, ESKER__IN_01 | ESKER__OP_SUM) \
    X(sub, 2, ESKER__NUMBERS, "a - b", a - b, fabs(y) * ONE_EPS, gradient_sub, 0, 0, ESKER__IN_01) \
    X(mul, 2, ESKER__NUMBERS, "a * b", a * b, fabs(y) * ONE_EPS, gradient_mul, 0, 0, ESKER__IN_01) \
    X(neg, 1, ESKER__NUMBERS, "-a", -a, 0, gradient_neg, 0, 0, ESKER__IN_0) \
    X(abs, 1, ESKER__NUMBERS, "abs(a)", a < 0 ? -a : a, 0, gradient_abs, 0, 0, ESKER__IN_0) \
    X(sign, 1, ESKER__NUMBERS, "sign(a)", (a > 0) - (a < 0), 0, esker__gradient_zero, 0, 0, ESKER__IN_0) \
    X(square, 1, ESKER__NUMBERS, "a * a", a * a, fabs(y) * ONE_EPS, gradient_square, 0, 0, ESKER__IN_0) \
    /* The sum is NaN if one of the two is. */ \
    X(minimum, 2, ESKER__ALIKE, "a < b ? a : b <= a ? b : a + b", a < b ? a : b <= a ? b : a + b, 0, gradient_minimum, 0, 0, ESKER__IN_01) \
    X(maximum, 2, ESKER__ALIKE, "a > b ? a : b >= a ? b : a + b", a > b ? a : b >= a ? b : a + b, 0, gradient_maximum, 0, 0, ESKER__IN_01)

#define ROWS(X) \
    X(div, 2, ESKER__FLOATS, "a / b", a / b, fabs(y) * (DIV_EPS + 1), gradient_div, 0, 0, ESKER__IN_01) \
    X(reciprocal, 1, ESKER__FLOATS, "1.0 / a", 1 / a, fabs(y) * DIV_EPS, gradient_reciprocal, 0, 0, ESKER__IN_0) \
    X(affine, 1, ESKER__FLOATS, "k0 * a + k1", k[0] * a + k[1], (fabs(k[0] * a) + fabs(y)) * ONE_EPS, gradient_affine, 0, sizeof(esker__affine_attr), ESKER__IN_0) \
    X(clamp, 1, ESKER__FLOATS, "isnan(a) ? a : clamp(a, k0, k1)", a < k[0] ? k[0] : a > k[1] ? k[1] : a, 0, gradient_clamp, 0, sizeof(esker__constants_attr), ESKER__IN_0) \
    X(floor, 1, ESKER__FLOATS, "floor(a)", floor(a), 0, esker__gradient_zero, 0, 0, ESKER__IN_0) \
    X(ceil, 1, ESKER__FLOATS, "ceil(a)", ceil(a), 0, esker__gradient_zero, 0, 0, ESKER__IN_0) \
    X(round, 1, ESKER__FLOATS, "roundEven(a)", rint(a), 0, esker__gradient_zero, 0, 0, ESKER__IN_0) \
    /* Gradients. -g y / b for y = x / b: operands g, y, b. */ \
    X(div_grad, 3, ESKER__FLOATS, "-(a * b) / c", -(a * b) / c, fabs(y) * (DIV_EPS + 3), NULL, 0, 0, ESKER__IN_01) \
    X(abs_grad, 2, ESKER__FLOATS, "a > 0.0 ? b : a < 0.0 ? -b : 0.0", a > 0 ? b : a < 0 ? -b : 0, 0, NULL, 0, 0, ESKER__IN_01) \
    X(square_grad, 2, ESKER__FLOATS, "2.0 * a * b", 2 * a * b, fabs(y) * ONE_EPS, NULL, 0, 0, ESKER__IN_01) \
    X(reciprocal_grad, 2, ESKER__FLOATS, "-a * a * b", -a * a * b, fabs(y) * 2 * ONE_EPS, NULL, 0, 0, ESKER__IN_01) /* y, g */ \
    X(clamp_grad, 2, ESKER__FLOATS, "a < k0 || a > k1 ? 0.0 : b", a < k[0] || a > k[1] ? 0 : b, 0, NULL, 0, sizeof(esker__constants_attr), ESKER__IN_01) \
    /* Of the operand a of maximum(a, b), whose gradient is c. */ \
    X(maximum_grad, 3, ESKER__FLOATS, "a < b ? 0.0 : a == b ? 0.5 * c : c", a < b ? 0 : a == b ? 0.5 * c : c, 0, NULL, 0, 0, ESKER__IN_01)
/* clang-format on */

NUMBER_ROWS(ESKER__DECLARE_ROW)
ROWS(ESKER__DECLARE_ROW)

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
    return esker__record3(&esker__op_div_grad, grad, node, node->inputs[1]);
}

static esker_node *gradient_neg(esker_node *node, esker_node *grad, int input)
{
    (void)node, (void)input;
    return esker_neg(grad);
}

ESKER__GRADIENT_FROM(input, abs)
ESKER__GRADIENT_FROM(input, square)
ESKER__GRADIENT_FROM(output, reciprocal)

static esker_node *gradient_maximum(esker_node *node, esker_node *grad, int input)
{
    return esker__record3(&esker__op_maximum_grad, node->inputs[input], node->inputs[1 - input], grad);
}

static esker_node *gradient_minimum(esker_node *node, esker_node *grad, int input)
{
    return esker__record3(&esker__op_maximum_grad, node->inputs[1 - input], node->inputs[input], grad);
}

static esker_node *gradient_affine(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker_affine(grad, ((const esker__affine_attr *)node->attr)->scale, 0);
}

ESKER__GRADIENT_FROM(input, clamp)

NUMBER_ROWS(ESKER__DEFINE_NUMBER_ROW)
ROWS(ESKER__DEFINE_ROW)

/* ---- Recording ---- */

esker_node *esker_add(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_add, a, b);
}
esker_node *esker_sub(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_sub, a, b);
}
esker_node *esker_mul(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_mul, a, b);
}
esker_node *esker_div(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_div, a, b);
}
esker_node *esker_minimum(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_minimum, a, b);
}
esker_node *esker_maximum(esker_node *a, esker_node *b)
{
    return esker__record2(&esker__op_maximum, a, b);
}
esker_node *esker_neg(esker_node *x)
{
    return esker__record1(&esker__op_neg, x);
}
esker_node *esker_abs(esker_node *x)
{
    return esker__record1(&esker__op_abs, x);
}
esker_node *esker_sign(esker_node *x)
{
    return esker__record1(&esker__op_sign, x);
}
esker_node *esker_square(esker_node *x)
{
    return esker__record1(&esker__op_square, x);
}
esker_node *esker_reciprocal(esker_node *x)
{
    return esker__record1(&esker__op_reciprocal, x);
}
esker_node *esker_floor(esker_node *x)
{
    return esker__record1(&esker__op_floor, x);
}
esker_node *esker_ceil(esker_node *x)
{
    return esker__record1(&esker__op_ceil, x);
}
esker_node *esker_round(esker_node *x)
{
    return esker__record1(&esker__op_round, x);
}

esker_node *esker_affine(esker_node *x, float scale, float shift)
{
    return esker__record_constants(&esker__op_affine, x, scale, shift, isfinite(scale) && isfinite(shift),
                                   "scale and shift must be finite");
}

esker_node *esker_clamp(esker_node *x, float lo, float hi)
{
    return esker__record_constants(&esker__op_clamp, x, lo, hi, lo <= hi, "lo must be at most hi");
}
