/* device test: elementwise arithmetic and functions beyond the basic ones (test_elementwise.c), forward and backward. */
#include <math.h>

#include "support/op_check.h"

static const op_check_unary abs_ = {esker_abs}, sign = {esker_sign}, square = {esker_square},
                            reciprocal = {esker_reciprocal}, floor_ = {esker_floor}, ceil_ = {esker_ceil},
                            round_ = {esker_round}, expm1_ = {esker_expm1}, log1p_ = {esker_log1p}, rsqrt = {esker_rsqrt},
                            sin_ = {esker_sin}, cos_ = {esker_cos}, erf_ = {esker_erf};
static const op_check_binary minimum = {esker_minimum}, maximum = {esker_maximum}, pow_ = {esker_pow};

/* The second operand is int32: whole numbers, and no gradient. */
static esker_node *build_whole_power(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_pow(in[0], esker_convert(in[1], ESKER_DTYPE_F32));
}

static esker_node *build_constant_power(esker_graph *graph, esker_node *const *in, const void *args)
{
    return esker_pow(in[0], esker_full(graph, &(esker_shape){0}, *(const float *)args));
}

/* A constant but for steps: the sum with x itself shows that the zeros it adds to the gradient do no harm. */
static esker_node *build_fraction(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_sub(in[0], ((const op_check_unary *)args)->fn(in[0]));
}

typedef struct range {
    float lo, hi;
} range;

static esker_node *build_clamp(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_clamp(in[0], ((const range *)args)->lo, ((const range *)args)->hi);
}

#define WHOLE(shape_, lo_, hi_)                                       \
    {                                                                 \
        .shape = shape_, .lo = lo_, .hi = hi_, .fill = OP_CHECK_WHOLE \
    }

/* clang-format off */
static const op_check_row rows[] = {
    {"abs", op_check_build_unary, 1, {{.shape = DIMS(3, 43), .lo = -2, .hi = 2, .gap = 0.01}}, .args = &abs_},
    {"abs, gradient 0 at 0", op_check_build_unary, 1, {WHOLE(DIMS(65), -1, 1)}, .args = &abs_, .no_differences = true},
    {"sign", op_check_build_unary, 1, {{.shape = DIMS(129), .lo = -2, .hi = 2, .gap = 0.01}}, .args = &sign},
    {"sign of 0", op_check_build_unary, 1, {WHOLE(DIMS(65), -1, 1)}, .args = &sign, .no_differences = true},
    {"square", op_check_build_unary, 1, {IN(DIMS(2, 1, 3, 5, 1, 7), -3, 3)}, .args = &square},
    {"reciprocal", op_check_build_unary, 1, {{.shape = DIMS(127), .lo = -4, .hi = 4, .gap = 0.1}}, .args = &reciprocal},
    {"reciprocal of a scalar", op_check_build_unary, 1, {IN(SCALAR, 1, 2)}, .args = &reciprocal},
    {"floor", op_check_build_unary, 1, {IN(DIMS(129), -9, 9)}, .args = &floor_},
    {"ceil", op_check_build_unary, 1, {IN(DIMS(129), -9, 9)}, .args = &ceil_},
    {"round", op_check_build_unary, 1, {IN(DIMS(129), -9, 9)}, .args = &round_},
    {"x - floor(x)", build_fraction, 1, {IN(DIMS(5, 13), -9, 9)}, .args = &floor_},
    {"x - round(x), large", build_fraction, 1, {IN(DIMS(5, 13), -9e6, 9e6)}, .args = &round_, .end_to_end = 1, .no_differences = true},
    {"clamp", build_clamp, 1, {IN(DIMS(131), -2, 2)}, .args = &(range){-0.75f, 1.5f}},
    {"clamp below only", build_clamp, 1, {IN(DIMS(131), -2, 2)}, .args = &(range){0.25f, INFINITY}},
    {"clamp above only", build_clamp, 1, {IN(DIMS(131), -2, 2)}, .args = &(range){-INFINITY, 0.25f}},
    {"clamp: gradient at the ends", build_clamp, 1, {WHOLE(DIMS(65), -3, 3)}, .args = &(range){-1, 2}, .no_differences = true},
    {"clamp to one value", build_clamp, 1, {IN(DIMS(7), 1, 2)}, .args = &(range){0.5f, 0.5f}},

    {"minimum", op_check_build_binary, 2, {IN(DIMS(5, 27), -2, 2), IN(DIMS(5, 27), -2, 2)}, .args = &minimum},
    {"maximum", op_check_build_binary, 2, {IN(DIMS(129), -2, 2), IN(DIMS(129), -2, 2)}, .args = &maximum},
    {"minimum of equals", op_check_build_binary, 2, {WHOLE(DIMS(9, 7), 0, 2), WHOLE(DIMS(9, 7), 0, 2)}, .args = &minimum, .no_differences = true},
    {"maximum of equals, a row", op_check_build_binary, 2, {WHOLE(DIMS(9, 8), 0, 2), WHOLE(DIMS(8), 0, 2)}, .args = &maximum, .no_differences = true},
    {"maximum, crossed", op_check_build_binary, 2, {IN(DIMS(2, 1, 3, 1, 2, 1), -2, 2), IN(DIMS(1, 3, 1, 2, 1, 7), -2, 2)}, .args = &maximum},
    {"minimum with a scalar", op_check_build_binary, 2, {IN(SCALAR, -1, 1), IN(DIMS(3, 43), -2, 2)}, .args = &minimum},

    {"expm1", op_check_build_unary, 1, {IN(DIMS(3, 43), -4, 4)}, .args = &expm1_},
    {"expm1 within its series", op_check_build_unary, 1, {IN(DIMS(129), -0.72, 0.72)}, .args = &expm1_},
    {"expm1 of tiny values", op_check_build_unary, 1, {IN(DIMS(33), -1e-5, 1e-5)}, .args = &expm1_},
    {"expm1 far out", op_check_build_unary, 1, {IN(DIMS(129), -100, 10)}, .args = &expm1_, .difference_atol = 1e-3},
    {"log1p", op_check_build_unary, 1, {IN(DIMS(3, 43), -0.95, 8)}, .args = &log1p_},
    {"log1p around the ends of its series", op_check_build_unary, 1, {IN(DIMS(257), -0.55, 1.1)}, .args = &log1p_},
    {"log1p of tiny values", op_check_build_unary, 1, {IN(DIMS(33), -1e-5, 1e-5)}, .args = &log1p_},
    {"log1p of large values", op_check_build_unary, 1, {IN(DIMS(33), 0, 1e30)}, .args = &log1p_, .no_differences = true},
    {"rsqrt", op_check_build_unary, 1, {IN(DIMS(5, 13), 0.05, 9)}, .args = &rsqrt},
    {"sin", op_check_build_unary, 1, {IN(DIMS(3, 43), -4, 4)}, .args = &sin_},
    {"cos", op_check_build_unary, 1, {IN(DIMS(3, 43), -4, 4)}, .args = &cos_},
    {"sin of tiny values", op_check_build_unary, 1, {IN(DIMS(33), -1e-5, 1e-5)}, .args = &sin_},
    {"sin, hundreds", op_check_build_unary, 1, {IN(DIMS(511), -500, 500)}, .args = &sin_},
    {"cos, thousands", op_check_build_unary, 1, {IN(DIMS(511), -5e3, 5e3)}, .args = &cos_},
    {"sin to the end of its range", op_check_build_unary, 1, {IN(DIMS(1023), -1.02e5, 1.02e5)}, .args = &sin_, .no_differences = true},
    {"cos to the end of its range", op_check_build_unary, 1, {IN(DIMS(1023), -1.02e5, 1.02e5)}, .args = &cos_, .no_differences = true},
    {"sin of whole numbers", op_check_build_unary, 1, {WHOLE(DIMS(511), -1000, 1000)}, .args = &sin_},
    {"erf", op_check_build_unary, 1, {IN(DIMS(3, 43), -3, 3)}, .args = &erf_},
    {"erf around the end of its series", op_check_build_unary, 1, {IN(DIMS(257), -0.85, 0.85)}, .args = &erf_},
    {"erf of tiny values", op_check_build_unary, 1, {IN(DIMS(33), -1e-5, 1e-5)}, .args = &erf_},
    {"erf far out", op_check_build_unary, 1, {IN(DIMS(129), -40, 40)}, .args = &erf_},

    {"pow", op_check_build_binary, 2, {IN(DIMS(5, 27), 0.1, 4), IN(DIMS(5, 27), -3, 3)}, .args = &pow_},
    {"pow of 1 element", op_check_build_binary, 2, {IN(DIMS(1), 2, 3), IN(SCALAR, 2, 3)}, .args = &pow_},
    {"pow of a row by a column", op_check_build_binary, 2, {IN(DIMS(1, 9), 0.1, 4), IN(DIMS(7, 1), -3, 3)}, .args = &pow_},
    {"pow near 1, large exponents", op_check_build_binary, 2, {IN(DIMS(257), 0.8, 1.25), IN(DIMS(257), -200, 200)}, .args = &pow_, .no_differences = true},
    {"pow of large values", op_check_build_binary, 2, {IN(DIMS(257), 1e3, 1e9), IN(DIMS(257), -4, 4)}, .args = &pow_, .no_differences = true},
    {"pow of small values", op_check_build_binary, 2, {IN(DIMS(257), 1e-9, 1e-5), IN(DIMS(257), -4, 4)}, .args = &pow_, .no_differences = true},
    {"pow at the middle of two binades", op_check_build_binary, 2, {IN(DIMS(257), 0.7, 0.72), IN(DIMS(257), -100, 100)}, .args = &pow_, .no_differences = true},
    {"pow of negative values", build_whole_power, 2, {{.shape = DIMS(129), .lo = -2, .hi = 2, .gap = 0.2}, {.dtype = ESKER_DTYPE_I32, .shape = DIMS(129), .lo = -5, .hi = 5}}, .args = NULL},
    {"pow of whole numbers", build_whole_power, 2, {WHOLE(DIMS(129), -9, 9), {.dtype = ESKER_DTYPE_I32, .shape = DIMS(129), .lo = 0, .hi = 7}}, .args = NULL, .difference_atol = 1},
    {"pow of 0 and 1", build_whole_power, 2, {WHOLE(DIMS(65), 0, 1), {.dtype = ESKER_DTYPE_I32, .shape = DIMS(65), .lo = 0, .hi = 3}}, .args = NULL, .no_differences = true},
    {"0 to the power of floats", op_check_build_binary, 2, {WHOLE(DIMS(33), 0, 0), IN(DIMS(33), 1.5, 3)}, .args = &pow_, .no_differences = true},
    {"pow 2 by a constant", build_constant_power, 1, {IN(DIMS(33), -2, 2)}, .args = &(float){2}},
    {"pow 0.5 by a constant", build_constant_power, 1, {IN(DIMS(33), 0.5, 2)}, .args = &(float){0.5f}},
    {"pow -1 by a constant", build_constant_power, 1, {IN(DIMS(33), 0.5, 2)}, .args = &(float){-1}},
    {"pow 1 by a constant", build_constant_power, 1, {IN(DIMS(33), 0.5, 2)}, .args = &(float){1}},
    {"pow 1.7 by a constant", build_constant_power, 1, {IN(DIMS(33), 0.5, 2)}, .args = &(float){1.7f}},
};
/* clang-format on */

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x = IN(DIMS(3, 4), -1, 1);
    op_check_refused(build_clamp, &(range){2, 1}, &x, 1, ESKER_ERR_INVALID,
                     "clamp(float32 [3, 4]): 2, 1 given: lo must be");
    op_check_refused(build_clamp, &(range){NAN, 1}, &x, 1, ESKER_ERR_INVALID, "lo must be at most hi");
    const op_check_input shapes[] = {IN(DIMS(3, 4), 1, 2), IN(DIMS(3, 5), 1, 2)};
    op_check_refused(op_check_build_binary, &pow_, shapes, 2, ESKER_ERR_INVALID,
                     "pow(float32 [3, 4], float32 [3, 5]): shapes do not");
    const op_check_input types[] = {IN(DIMS(3), 1, 2), {.dtype = ESKER_DTYPE_I32, .shape = DIMS(3), .lo = 0, .hi = 1}};
    op_check_refused(op_check_build_binary, &pow_, types, 2, ESKER_ERR_INVALID, "operand 1 is int32, float32 is needed");
    op_check_refused(op_check_build_binary, &maximum, types, 2, ESKER_ERR_INVALID,
                     "operand 1 is int32, float32 is needed, as operand 0");
    op_check_refused(op_check_build_unary, &sin_, &types[1], 1, ESKER_ERR_INVALID, "sin(int32 [3]): operand 0 is int32");
    const op_check_input bytes = {.dtype = ESKER_DTYPE_U8, .shape = DIMS(3), .lo = 0, .hi = 1};
    op_check_refused(op_check_build_unary, &abs_, &bytes, 1, ESKER_ERR_INVALID,
                     "operand 0 is uint8, float32 or int32 is needed");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("functions", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
