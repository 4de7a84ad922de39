/* device test: comparisons and logic, which give bytes, where, and arithmetic on int32. */
#include "support/op_check.h"

static const op_check_unary not_ = {esker_logical_not}, neg = {esker_neg}, abs_ = {esker_abs}, sign = {esker_sign},
                            square = {esker_square};
static const op_check_binary equal = {esker_equal}, not_equal = {esker_not_equal}, less = {esker_less},
                             less_equal = {esker_less_equal}, greater = {esker_greater},
                             greater_equal = {esker_greater_equal}, and_ = {esker_logical_and}, or_ = {esker_logical_or},
                             xor_ = {esker_logical_xor}, add = {esker_add}, sub = {esker_sub}, mul = {esker_mul},
                             minimum = {esker_minimum}, maximum = {esker_maximum};

static esker_node *build_where(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_where(in[0], in[1], in[2]);
}

/* What depends on x through a comparison alone has the gradient 0, and the condition may depend on what is chosen. */
static esker_node *build_leaky(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)args;
    esker_node *zero = esker_full(graph, &(esker_shape){0}, 0);
    esker_node *inside = esker_logical_and(esker_less(in[0], in[1]), esker_logical_not(esker_equal(in[1], zero)));
    return esker_where(inside, esker_mul(in[0], in[1]), esker_affine(in[0], 0.1f, 0));
}

/* log(0) on the side that is not chosen. */
static esker_node *build_guarded(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)args;
    esker_node *zero = esker_full(graph, &(esker_shape){0}, 0);
    return esker_where(esker_greater(in[0], zero), esker_log(esker_clamp(in[0], 0.5f, 100)), zero);
}

#define F32(shape_, lo_, hi_)                                         \
    {                                                                 \
        .shape = shape_, .lo = lo_, .hi = hi_, .fill = OP_CHECK_WHOLE \
    }
#define I32(shape_, lo_, hi_)                                           \
    {                                                                   \
        .dtype = ESKER_DTYPE_I32, .shape = shape_, .lo = lo_, .hi = hi_ \
    }
#define U8(shape_, lo_, hi_)                                           \
    {                                                                  \
        .dtype = ESKER_DTYPE_U8, .shape = shape_, .lo = lo_, .hi = hi_ \
    }
#define SHAPE(...) DIMS(__VA_ARGS__)
/* Operands of one type over a few values, so that many are equal. */
#define COMPARE(name_, fn_, type_, a_, b_)                                                                                 \
    {                                                                                                                      \
        name_, op_check_build_binary, 2, {type_(SHAPE a_, 0, 3), type_(SHAPE b_, 0, 3)}, .args = &fn_, .no_gradient = true \
    }
#define INTEGER(name_, fn_, a_, b_, lo_, hi_)                                                                    \
    {                                                                                                            \
        name_, op_check_build_binary, 2, {I32(SHAPE a_, lo_, hi_), I32(SHAPE b_, lo_, hi_)}, .args = &fn_,       \
                                                                                             .no_gradient = true \
    }

/* clang-format off */
static const op_check_row rows[] = {
    COMPARE("equal", equal, F32, (129), (129)),
    COMPARE("not_equal", not_equal, F32, (128), (128)),
    COMPARE("less", less, F32, (127), (127)),
    COMPARE("less_equal", less_equal, F32, (257), (257)),
    COMPARE("greater", greater, F32, (5, 7), (5, 7)),
    COMPARE("greater_equal", greater_equal, F32, (2, 3, 5), (2, 3, 5)),
    COMPARE("1 element", less, F32, (1), (1)),
    COMPARE("2 elements", greater, F32, (2), (2)),
    COMPARE("3 elements", less_equal, F32, (3), (3)),
    {"scalars", op_check_build_binary, 2, {F32(SCALAR, 0, 1), F32(SCALAR, 0, 1)}, .args = &equal, .no_gradient = true},
    COMPARE("int32", less, I32, (9, 15), (9, 15)),
    INTEGER("int32, large", greater, (129), (129), -2e9, 2e9),
    COMPARE("uint8", equal, U8, (131), (131)),
    {"uint8, all values", op_check_build_binary, 2, {U8(DIMS(1023), 0, 255), U8(DIMS(1023), 0, 255)}, .args = &less, .no_gradient = true},
    COMPARE("row and column", less, F32, (7, 1), (1, 9)),
    COMPARE("rank 6, crossed", greater_equal, F32, (2, 1, 3, 1, 2, 1), (1, 3, 1, 2, 1, 7)),
    COMPARE("uint8: a row of 10", less, U8, (64, 10), (10)),
    COMPARE("uint8: a row of 12", less, U8, (64, 12), (12)),
    COMPARE("uint8: a column of 7, rows of 16", equal, U8, (7, 16), (7, 1)),
    COMPARE("uint8: a column of 7, rows of 129", equal, U8, (7, 129), (7, 1)),
    COMPARE("uint8: outer", not_equal, U8, (127, 1), (1, 128)),
    COMPARE("uint8: rank 5, crossed, odd", less, U8, (2, 1, 3, 1, 5), (1, 3, 1, 5, 1)),
    COMPARE("uint8: one for all", greater, U8, (5, 27), (1)),
    /* A result of as many bytes as a stretched operand: not in place. */
    COMPARE("as many bytes", less, F32, (4, 256), (256)),

    COMPARE("and", and_, U8, (129), (129)),
    COMPARE("or", or_, U8, (5, 27), (27)),
    COMPARE("xor", xor_, U8, (7, 1), (1, 9)),
    {"not", op_check_build_unary, 1, {U8(DIMS(131), 0, 2)}, .args = &not_, .no_gradient = true},
    {"not of 1", op_check_build_unary, 1, {U8(DIMS(1), 0, 1)}, .args = &not_, .no_gradient = true},

    {"where", build_where, 3, {U8(DIMS(129), 0, 2), F32(DIMS(129), -9, 9), F32(DIMS(129), -9, 9)}},
    {"where of scalars", build_where, 3, {U8(SCALAR, 0, 1), F32(SCALAR, -9, 9), F32(SCALAR, -9, 9)}},
    {"where by a row", build_where, 3, {U8(DIMS(12), 0, 1), F32(DIMS(7, 12), -9, 9), F32(DIMS(7, 12), -9, 9)}},
    {"where by a column, odd", build_where, 3, {U8(DIMS(7, 1), 0, 1), F32(DIMS(7, 13), -9, 9), F32(DIMS(13), -9, 9)}},
    {"where, all stretched", build_where, 3, {U8(DIMS(3, 1, 1), 0, 1), F32(DIMS(5, 1), -9, 9), F32(DIMS(8), -9, 9)}},
    {"where by one, else one", build_where, 3, {U8(DIMS(1), 0, 1), F32(DIMS(3, 43), -9, 9), F32(SCALAR, -9, 9)}},
    {"where of rank 6", build_where, 3, {U8(DIMS(2, 1, 3, 1, 2, 1), 0, 1), F32(DIMS(1, 3, 1, 2, 1, 5), -9, 9), F32(DIMS(2, 3, 3, 2, 2, 5), -9, 9)}},
    {"where of int32", build_where, 3, {U8(DIMS(9, 15), 0, 1), I32(DIMS(9, 15), -2e9, 2e9), I32(DIMS(15), -2e9, 2e9)}, .no_gradient = true},
    {"where of uint8", build_where, 3, {U8(DIMS(9, 15), 0, 1), U8(DIMS(9, 15), 0, 255), U8(DIMS(9, 1), 0, 255)}, .no_gradient = true},
    {"comparisons of what is chosen", build_leaky, 2, {{.shape = DIMS(9, 15), .lo = -2, .hi = 2}, {.shape = DIMS(15), .lo = -2, .hi = 2, .gap = 0.1}}},
    {"a side that is not chosen", build_guarded, 1, {{.shape = DIMS(65), .lo = -2, .hi = 9, .gap = 0.01}}},

    INTEGER("int32 add", add, (129), (129), -1000, 1000),
    INTEGER("int32 add that wraps", add, (5, 27), (27), -2147480000.0, 2147480000.0),
    INTEGER("int32 sub that wraps", sub, (7, 1), (1, 9), -2147480000.0, 2147480000.0),
    INTEGER("int32 mul that wraps", mul, (131), (131), -2147480000.0, 2147480000.0),
    INTEGER("int32 minimum", minimum, (3, 43), (1), -2147480000.0, 2147480000.0),
    INTEGER("int32 maximum", maximum, (64, 12), (12), -2147480000.0, 2147480000.0),
    {"int32 neg", op_check_build_unary, 1, {I32(DIMS(131), -2147480000.0, 2147480000.0)}, .args = &neg, .no_gradient = true},
    {"int32 abs", op_check_build_unary, 1, {I32(DIMS(131), -2147480000.0, 2147480000.0)}, .args = &abs_, .no_gradient = true},
    {"int32 sign", op_check_build_unary, 1, {I32(DIMS(131), -2, 2)}, .args = &sign, .no_gradient = true},
    {"int32 square", op_check_build_unary, 1, {I32(DIMS(131), -100000, 100000)}, .args = &square, .no_gradient = true},
    {"uint8 minimum", op_check_build_binary, 2, {U8(DIMS(131), 0, 255), U8(DIMS(131), 0, 255)}, .args = &minimum, .no_gradient = true},
    {"uint8 maximum", op_check_build_binary, 2, {U8(DIMS(9, 16), 0, 255), U8(DIMS(9, 1), 0, 255)}, .args = &maximum, .no_gradient = true},
};
/* clang-format on */

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input mixed[] = {F32(DIMS(3), 0, 1), I32(DIMS(3), 0, 1)};
    op_check_refused(op_check_build_binary, &less, mixed, 2, ESKER_ERR_INVALID,
                     "less(float32 [3], int32 [3]): operand 1 is int32, float32 is needed, as operand 0");
    op_check_refused(op_check_build_binary, &and_, mixed, 2, ESKER_ERR_INVALID, "operand 0 is float32, uint8 is needed");
    const op_check_input shapes[] = {U8(DIMS(3, 4), 0, 1), U8(DIMS(4, 3), 0, 1)};
    op_check_refused(op_check_build_binary, &or_, shapes, 2, ESKER_ERR_INVALID,
                     "do not broadcast: axis 2 from the end is 3");
    const op_check_input condition[] = {I32(DIMS(3), 0, 1), F32(DIMS(3), 0, 1), F32(DIMS(3), 0, 1)};
    op_check_refused(build_where, NULL, condition, 3, ESKER_ERR_INVALID, "operand 0 is int32, uint8 is needed");
    const op_check_input sides[] = {U8(DIMS(3), 0, 1), F32(DIMS(3), 0, 1), I32(DIMS(3), 0, 1)};
    op_check_refused(build_where, NULL, sides, 3, ESKER_ERR_INVALID, "operand 2 is int32, float32 is needed, as operand 1");
    const op_check_input bytes[] = {U8(DIMS(3), 0, 1), U8(DIMS(3), 0, 1)};
    op_check_refused(op_check_build_binary, &add, bytes, 2, ESKER_ERR_INVALID,
                     "operand 0 is uint8, float32 or int32 is needed");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("comparisons", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
