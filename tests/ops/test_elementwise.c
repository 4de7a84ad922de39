/* device test: elementwise operations, broadcasting, affine and convert, forward and backward. */
#include <math.h>
#include <stdio.h>

#include "support/op_check.h"

static const op_check_unary neg = {esker_neg}, exp_ = {esker_exp}, log_ = {esker_log}, sqrt_ = {esker_sqrt},
                            relu = {esker_relu}, sigmoid = {esker_sigmoid}, tanh_ = {esker_tanh};
static const op_check_binary add = {esker_add}, sub = {esker_sub}, mul = {esker_mul}, div_ = {esker_div};

/* One value twice, in one operation: both operands are the same memory. */
static esker_node *build_square(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_mul(in[0], in[0]);
}

/* A chain whose steps may all be done in place, with a join. */
static esker_node *build_chain(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    esker_node *h = esker_tanh(esker_affine(in[0], 0.5f, 0.25f));
    return esker_add(esker_relu(esker_mul(h, in[1])), esker_neg(h));
}

typedef struct affine {
    float scale, shift;
} affine;

static esker_node *build_affine(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_affine(in[0], ((const affine *)args)->scale, ((const affine *)args)->shift);
}

/* Fused, the affine becomes part of the conversion. */
static esker_node *build_scaled(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_affine(esker_convert(in[0], ESKER_DTYPE_F32), 1 / 255.0f, -0.5f);
}

/* A mask takes part in a product; its own gradient is 0. */
static esker_node *build_masked(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_mul(in[0], esker_convert(esker_less(in[0], in[1]), ESKER_DTYPE_F32));
}

static esker_node *build_convert(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_convert(in[0], *(const esker_dtype *)args);
}

/* float32 -> integers -> float32: what a stranger would write to quantise. */
/* A float16 value with two readers. */
static esker_node *build_halves(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    esker_node *half = esker_reshape(esker_convert(in[0], ESKER_DTYPE_F16), &(esker_shape){1, {-1}});
    return esker_mul(esker_convert(half, ESKER_DTYPE_F32), esker_affine(esker_convert(half, ESKER_DTYPE_F32), 2, 1));
}

static esker_node *build_round_trip(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_convert(esker_convert(in[0], *(const esker_dtype *)args), ESKER_DTYPE_F32);
}

static const esker_dtype f32 = ESKER_DTYPE_F32, i32 = ESKER_DTYPE_I32, u8 = ESKER_DTYPE_U8, f16 = ESKER_DTYPE_F16,
                         i8 = ESKER_DTYPE_I8;

#define UNARY(name_, fn_, shape_, lo_, hi_)                                        \
    {                                                                              \
        name_, op_check_build_unary, 1, {IN(SHAPE shape_, lo_, hi_)}, .args = &fn_ \
    }
/* Two operands; the second stays away from 0. */
#define BINARY(name_, fn_, a_, b_)                                                                   \
    {                                                                                                \
        name_, op_check_build_binary, 2, {IN(SHAPE a_, -2, 2), IN(SHAPE b_, 0.5, 2.5)}, .args = &fn_ \
    }
#define SHAPE(...) DIMS(__VA_ARGS__)

/* clang-format off */
static const op_check_row rows[] = {
    /* Quads with every remainder, around a group of 64 quads and around more than one. */
    {"neg of a scalar", op_check_build_unary, 1, {IN(SCALAR, -2, 2)}, .args = &neg},
    UNARY("neg of 1", neg, (1), -2, 2),
    UNARY("neg of 3", neg, (3), -2, 2),
    UNARY("neg of 64, a whole 256 bytes", neg, (64), -2, 2),
    UNARY("neg of 127", neg, (127), -2, 2),
    UNARY("neg of 128", neg, (128), -2, 2),
    UNARY("neg of 129", neg, (129), -2, 2),
    UNARY("neg of 257", neg, (257), -2, 2),
    UNARY("neg of 5 x 7 x 11", neg, (5, 7, 11), -2, 2),

    UNARY("exp", exp_, (3, 43), -4, 4),
    {"exp far out", op_check_build_unary, 1, {IN(DIMS(129), -80, 10)}, .args = &exp_, .difference_atol = 1e-3},
    UNARY("log", log_, (3, 43), 0.01, 8),
    UNARY("log near 1", log_, (127), 0.9, 1.1),
    UNARY("sqrt", sqrt_, (5, 13), 0.05, 9),
    {"relu", op_check_build_unary, 1, {{.shape = DIMS(9, 15), .lo = -2, .hi = 2, .gap = 0.01}}, .args = &relu},
    UNARY("sigmoid", sigmoid, (3, 43), -6, 6),
    UNARY("sigmoid saturated", sigmoid, (65), -60, 60),
    UNARY("sigmoid where float's exp overflows", sigmoid, (129), -200, 200),
    UNARY("tanh", tanh_, (3, 43), -3, 3),
    UNARY("tanh around the end of its series", tanh_, (129), -0.3, 0.3),
    UNARY("tanh of tiny values", tanh_, (33), -1e-4, 1e-4),
    UNARY("tanh where float's exp overflows", tanh_, (129), -200, 200),

    {"add of scalars", op_check_build_binary, 2, {IN(SCALAR, -2, 2), IN(SCALAR, -2, 2)}, .args = &add},
    BINARY("add of 129", add, (129), (129)),
    {"add that cancels", op_check_build_binary, 2, {IN(DIMS(127), 1, 1.001), IN(DIMS(127), -1.001, -1)}, .args = &add, .end_to_end = 1e-3},
    BINARY("sub", sub, (5, 27), (5, 27)),
    BINARY("mul", mul, (5, 27), (5, 27)),
    BINARY("div", div_, (5, 27), (5, 27)),
    {"x * x", build_square, 1, {IN(DIMS(131), -2, 2)}, .args = NULL},
    {"a chain in place", build_chain, 2, {IN(DIMS(6, 33), 0.2, 2), IN(DIMS(33), 0.5, 1.5)}, .args = NULL},

    /* Broadcasting: the second, the first, both; last axes that are multiples of four and not. */
    {"scalar on the right", op_check_build_binary, 2, {IN(DIMS(3, 43), -2, 2), IN(SCALAR, 0.5, 2.5)}, .args = &div_},
    {"scalar on the left", op_check_build_binary, 2, {IN(SCALAR, -2, 2), IN(DIMS(3, 43), 0.5, 2.5)}, .args = &div_},
    BINARY("one element of rank 3", sub, (1, 1, 1), (2, 3, 5)),
    BINARY("a row of 10", add, (64, 10), (10)),
    BINARY("a row of 12", add, (64, 12), (12)),
    BINARY("a row of 12 on the left", sub, (12), (11, 12)),
    BINARY("a row of 1 in each", mul, (7, 1), (1, 9)),
    BINARY("a column of 7, rows of 16", mul, (7, 16), (7, 1)),
    BINARY("a column of 7, rows of 129", div_, (7, 129), (7, 1)),
    BINARY("column on column", sub, (129, 1), (129, 3)),
    BINARY("outer product of 127 and 128", div_, (127, 1), (1, 128)),
    BINARY("a bias for each channel, 7 x 7", add, (4, 6, 7, 7), (6, 1, 1)),
    BINARY("a bias for each channel, 4 x 4", add, (3, 5, 4, 4), (1, 5, 1, 1)),
    BINARY("the middle axis stretched", mul, (3, 1, 8), (3, 5, 8)),
    BINARY("first and last stretched", mul, (1, 6, 1), (5, 6, 9)),
    BINARY("rank 4, crossed", sub, (2, 1, 4, 1), (1, 3, 1, 8)),
    BINARY("rank 5, crossed, odd", mul, (2, 1, 3, 1, 5), (1, 3, 1, 5, 1)),
    BINARY("rank 6, crossed", div_, (2, 1, 3, 1, 2, 1), (1, 3, 1, 2, 1, 7)),
    BINARY("rank 6, crossed, last of 4", div_, (2, 1, 3, 1, 2, 1), (1, 3, 1, 2, 1, 4)),
    BINARY("rank 6, ones that vanish", add, (1, 2, 1, 3, 1, 5), (2, 1, 3, 1, 5)),
    BINARY("rank 6 on rank 1", add, (2, 2, 3, 2, 2, 3), (3)),

    {"affine", build_affine, 1, {IN(DIMS(129), -2, 2)}, .args = &(affine){-1.75f, 0.3f}},
    {"affine, scale 0", build_affine, 1, {IN(DIMS(5), -2, 2)}, .args = &(affine){0, 3}},

    {"float32 to int32", build_convert, 1, {IN(DIMS(131), -1000, 1000)}, .args = &i32, .no_gradient = true},
    {"float32 to int32, clamped", build_convert, 1, {IN(DIMS(131), -9e9, 9e9)}, .args = &i32, .no_gradient = true},
    {"float32 to uint8, clamped", build_convert, 1, {IN(DIMS(131), -100, 400)}, .args = &u8, .no_gradient = true},
    {"float32 to uint8, 1 element", build_convert, 1, {IN(DIMS(1), 7, 9)}, .args = &u8, .no_gradient = true},
    {"int32 to float32", build_convert, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(3, 43), .lo = -2e9, .hi = 2e9}}, .args = &f32, .no_gradient = true},
    {"int32 to uint8, clamped", build_convert, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(3, 43), .lo = -300, .hi = 600}}, .args = &u8, .no_gradient = true},
    {"uint8 to float32", build_convert, 1, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(7, 37), .lo = 0, .hi = 255}}, .args = &f32, .no_gradient = true},
    {"a converted mask", build_masked, 2, {IN(DIMS(5, 27), -1, 1), IN(DIMS(27), -1, 1)}},
    {"uint8 to float32, scaled", build_scaled, 1, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(7, 37), .lo = 0, .hi = 255}}, .no_gradient = true},
    {"int32 to float32, scaled", build_scaled, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(129), .lo = -300, .hi = 600}}, .no_gradient = true},
    {"uint8 to int32", build_convert, 1, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(2), .lo = 0, .hi = 255}}, .args = &i32, .no_gradient = true},
    {"through uint8", build_round_trip, 1, {IN(DIMS(9, 29), -20, 300)}, .args = &u8, .no_gradient = true},
    {"through int32", build_round_trip, 1, {IN(DIMS(9, 29), -20, 300)}, .args = &i32, .no_gradient = true},
    {"f32 to f16, 1", build_convert, 1, {{.dtype = ESKER_DTYPE_F32, .shape = DIMS(1), .lo = -300, .hi = 300}}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"f32 to i8, 3", build_convert, 1, {{.dtype = ESKER_DTYPE_F32, .shape = DIMS(3), .lo = -300, .hi = 300}}, .args = &i8, .no_gradient = true},
    {"i32 to f16, 5", build_convert, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(5), .lo = -300, .hi = 600}}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"i32 to i8, 127", build_convert, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(127), .lo = -300, .hi = 600}}, .args = &i8, .no_gradient = true},
    {"u8 to f16, 128", build_convert, 1, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(128), .lo = 0, .hi = 255}}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"u8 to i8, 129", build_convert, 1, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(129), .lo = 0, .hi = 255}}, .args = &i8, .no_gradient = true},
    {"f16 to f32, 131", build_convert, 1, {{.dtype = ESKER_DTYPE_F16, .shape = DIMS(131), .lo = -300, .hi = 300}}, .args = &f32, .no_gradient = true},
    {"f16 to i32, 255", build_convert, 1, {{.dtype = ESKER_DTYPE_F16, .shape = DIMS(255), .lo = -300, .hi = 300}}, .args = &i32, .no_gradient = true},
    {"f16 to u8, 257", build_convert, 1, {{.dtype = ESKER_DTYPE_F16, .shape = DIMS(257), .lo = -300, .hi = 300}}, .args = &u8, .no_gradient = true},
    {"f16 to i8, 258", build_convert, 1, {{.dtype = ESKER_DTYPE_F16, .shape = DIMS(258), .lo = -300, .hi = 300}}, .args = &i8, .no_gradient = true},
    {"i8 to f32, 1", build_convert, 1, {{.dtype = ESKER_DTYPE_I8, .shape = DIMS(1), .lo = -128, .hi = 127}}, .args = &f32, .no_gradient = true},
    {"i8 to i32, 3", build_convert, 1, {{.dtype = ESKER_DTYPE_I8, .shape = DIMS(3), .lo = -128, .hi = 127}}, .args = &i32, .no_gradient = true},
    {"i8 to u8, 5", build_convert, 1, {{.dtype = ESKER_DTYPE_I8, .shape = DIMS(5), .lo = -128, .hi = 127}}, .args = &u8, .no_gradient = true},
    {"i8 to f16, 127", build_convert, 1, {{.dtype = ESKER_DTYPE_I8, .shape = DIMS(127), .lo = -128, .hi = 127}}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"float32 to float16, clamped", build_convert, 1, {IN(DIMS(257), -1e6, 1e6)}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"float32 to float16, subnormal", build_convert, 1, {IN(DIMS(129), -1e-4, 1e-4)}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"float16 to float32, subnormal", build_convert, 1, {{.dtype = ESKER_DTYPE_F16, .shape = DIMS(129), .lo = -1e-4, .hi = 1e-4}}, .args = &f32, .no_gradient = true},
    {"int32 to float16, clamped", build_convert, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(129), .lo = -2e9, .hi = 2e9}}, .args = &f16, .no_gradient = true, .end_to_end = 2e-3},
    {"float16 to float32, scaled", build_scaled, 1, {{.dtype = ESKER_DTYPE_F16, .shape = DIMS(7, 37), .lo = -8, .hi = 8}}, .no_gradient = true},
    {"int8 to float32, scaled", build_scaled, 1, {{.dtype = ESKER_DTYPE_I8, .shape = DIMS(7, 37), .lo = -128, .hi = 127}}, .no_gradient = true},
    {"through float16, with its gradient", build_round_trip, 1, {IN(DIMS(9, 29), -20, 300)}, .args = &f16, .end_to_end = 2e-3},
    {"through float16 twice, with gradients that join", build_halves, 1, {IN(DIMS(9, 29), -2, 2)}, .end_to_end = 4e-3},
};
/* clang-format on */

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input shapes[] = {IN(DIMS(3, 4), -1, 1), IN(DIMS(4, 3), -1, 1)};
    op_check_refused(op_check_build_binary, &add, shapes, 2, ESKER_ERR_INVALID, "add(float32 [3, 4], float32 [4, 3])");
    op_check_refused(op_check_build_binary, &mul, shapes, 2, ESKER_ERR_INVALID,
                     "do not broadcast: axis 2 from the end is 3");
    const op_check_input types[] = {IN(DIMS(3), -1, 1), {.dtype = ESKER_DTYPE_I32, .shape = DIMS(3), .lo = 0, .hi = 1}};
    op_check_refused(op_check_build_binary, &div_, types, 2, ESKER_ERR_INVALID, "operand 1 is int32, float32 is needed");
    const op_check_input bytes = {.dtype = ESKER_DTYPE_U8, .shape = DIMS(3), .lo = 0, .hi = 1};
    op_check_refused(op_check_build_unary, &relu, &bytes, 1, ESKER_ERR_INVALID, "relu(uint8 [3])");
    op_check_refused(build_affine, &(affine){NAN, 0}, shapes, 1, ESKER_ERR_INVALID, "must be finite");
    const op_check_input half = {.dtype = ESKER_DTYPE_F16, .shape = DIMS(3), .lo = 0, .hi = 1};
    const op_check_input small[] = {{.dtype = ESKER_DTYPE_I8, .shape = DIMS(3)},
                                    {.dtype = ESKER_DTYPE_I8, .shape = DIMS(3)}};
    op_check_refused(op_check_build_unary, &relu, &half, 1, ESKER_ERR_INVALID,
                     "relu(float16 [3]): input 0 is float16, which is for storage alone: esker_convert() it to float32");
    op_check_refused(op_check_build_binary, &add, small, 2, ESKER_ERR_INVALID, "esker_convert() it to float32 or int32");
    const esker_dtype unknown = (esker_dtype)17;
    op_check_refused(build_convert, &unknown, shapes, 1, ESKER_ERR_INVALID, "unknown element type 17");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("elementwise", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
