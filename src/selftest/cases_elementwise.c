/* Cases of what is computed for each element by itself: arithmetic, comparisons, activations, conversions, random numbers. */
#include "selftest/case_rows.h"

#include "ops/ops.h"

/* clang-format off */
#define UNARY {"1", ".", "127", "128", "129", "3,5,7"}
#define BROADCAST {"129 x 129", "1 x 127", "128 x .", "4,1,5 x 3,1", "2,3,4,5 x 4,1"}

BUILD(affine) { (void)graph; return esker_affine(in[0], (float)args[0], (float)args[1]); }
BUILD(clamp) { (void)graph; return esker_clamp(in[0], (float)args[0], (float)args[1]); }
BUILD(leaky_relu) { (void)graph; return esker_leaky_relu(in[0], (float)args[0]); }
BUILD(elu) { (void)graph; return esker_elu(in[0], (float)args[0]); }
BUILD(softplus) { (void)graph; return esker_softplus(in[0], (float)args[0]); }
BUILD(where) { (void)graph; (void)args; return esker_where(in[0], in[1], in[2]); }
BUILD(equal_mask) { (void)graph; (void)args; return esker__equal(in[0], in[1]); }
BUILD(convert) { (void)graph; return esker_convert(in[0], (esker_dtype)args[0]); }
BUILD(dropout) { (void)graph; return esker_dropout(in[0], (float)args[0]); }
BUILD(uniform) { (void)graph; return esker_random_uniform_like(in[0], (float)args[0], (float)args[1]); }
BUILD(normal) { (void)graph; return esker_random_normal_like(in[0], (float)args[0], (float)args[1]); }
BUILD(bernoulli) { (void)graph; return esker_random_bernoulli_like(in[0], (float)args[0]); }
BUILD(bits) { (void)args; return esker__random_bits(graph, esker_node_get_shape(in[0])); }
BUILD(permutation) { (void)in; return esker_random_permutation(graph, (int64_t)args[0]); }

#define ELEMENTWISE(name, a, b) {#name, .unary = esker_##name, .in = {ON(a, b)}, .shapes = UNARY}
#define OF_TWO(name, ...) {#name, .binary = esker_##name, .in = {__VA_ARGS__}, .shapes = BROADCAST}
#define COMPARE(name) {#name, .binary = esker_##name, .in = {WHOLE(-3, 3), WHOLE(-3, 3)}, .shapes = BROADCAST, .no_gradient = true}
#define LOGICAL(name) {#name, .binary = esker_##name, .in = {U8(0, 1), U8(0, 1)}, .shapes = BROADCAST, .no_gradient = true}

static const esker__case_row rows[] = {
    OF_TWO(add, ON(-2, 2)),
    OF_TWO(sub, ON(-2, 2)),
    OF_TWO(mul, ON(-2, 2)),
    OF_TWO(div, ON(-2, 2), ON(0.5, 3)),
    OF_TWO(minimum, ON(-2, 2)),
    OF_TWO(maximum, ON(-2, 2)),
    {"maximum", "equal values", .binary = esker_maximum, .in = {WHOLE(-2, 2), WHOLE(-2, 2)}, .shapes = {"129 x 129", "4,1,5 x 3,1"}},
    OF_TWO(pow, ON(0.25, 3), ON(-2, 3)),
    {"prelu", .binary = esker_prelu, .in = {ON(-2, 2), ON(0.1, 0.4)}, .shapes = {"2,3,5 x 3", "129 x 1"}},
    ELEMENTWISE(neg, -2, 2),
    ELEMENTWISE(abs, -2, 2),
    ELEMENTWISE(sign, -2, 2),
    ELEMENTWISE(square, -2, 2),
    ELEMENTWISE(reciprocal, 0.3, 4),
    ELEMENTWISE(floor, -9, 9),
    ELEMENTWISE(ceil, -9, 9),
    ELEMENTWISE(round, -9, 9),
    {"affine", .build = build_affine, .args = {1.5, -0.25}, .shapes = UNARY},
    {"clamp", .build = build_clamp, .args = {-0.5, 1}, .shapes = UNARY},
    ELEMENTWISE(exp, -6, 6),
    ELEMENTWISE(log, 0.01, 40),
    ELEMENTWISE(expm1, -3, 3),
    ELEMENTWISE(log1p, -0.9, 9),
    ELEMENTWISE(sqrt, 0.01, 40),
    ELEMENTWISE(rsqrt, 0.01, 40),
    ELEMENTWISE(sin, -7, 7),
    ELEMENTWISE(cos, -7, 7),
    ELEMENTWISE(erf, -4, 4),
    ELEMENTWISE(relu, -2, 2),
    {"leaky_relu", .build = build_leaky_relu, .args = {0.01}, .shapes = UNARY},
    {"elu", .build = build_elu, .args = {1.3}, .shapes = UNARY},
    ELEMENTWISE(selu, -4, 4),
    ELEMENTWISE(sigmoid, -9, 9),
    ELEMENTWISE(tanh, -5, 5),
    ELEMENTWISE(hard_sigmoid, -5, 5),
    ELEMENTWISE(silu, -6, 6),
    ELEMENTWISE(hard_swish, -5, 5),
    ELEMENTWISE(gelu, -5, 5),
    ELEMENTWISE(gelu_tanh, -5, 5),
    {"softplus", .build = build_softplus, .args = {1}, .in = {ON(-30, 30)}, .shapes = UNARY},
    ELEMENTWISE(mish, -6, 6),
    COMPARE(equal),
    COMPARE(not_equal),
    COMPARE(less),
    COMPARE(less_equal),
    COMPARE(greater),
    COMPARE(greater_equal),
    LOGICAL(logical_and),
    LOGICAL(logical_or),
    LOGICAL(logical_xor),
    {"logical_not", .unary = esker_logical_not, .in = {U8(0, 1)}, .shapes = UNARY, .no_gradient = true},
    {"where", .build = build_where, .in = {U8(0, 1), ON(-2, 2), ON(-2, 2)}, .shapes = {"129 x 129 x 129", "4,1 x 1,5 x ."}},
    {"where", "float16", .build = build_where, .in = {U8(0, 1), F16(-300, 300), F16(-300, 300)}, .shapes = {"129 x 129 x 129", "4,1 x 1,5 x ."}, .no_gradient = true},
    {"where", "int8", .build = build_where, .in = {U8(0, 1), I8(-128, 127), I8(-128, 127)}, .shapes = {"129 x 129 x 129", "4,1 x 1,5 x ."}, .no_gradient = true},
    {"equal_mask", .build = build_equal_mask, .in = {WHOLE(-3, 3), WHOLE(-3, 3)}, .shapes = BROADCAST, .no_gradient = true},
    {"convert", "to int32", .build = build_convert, .args = {ESKER_DTYPE_I32}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "to uint8", .build = build_convert, .args = {ESKER_DTYPE_U8}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from int32", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {I32(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "to float16", .build = build_convert, .args = {ESKER_DTYPE_F16}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from float16", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {F16(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "to int8", .build = build_convert, .args = {ESKER_DTYPE_I8}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from int8", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {I8(-128, 127)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "int8 to float16", .build = build_convert, .args = {ESKER_DTYPE_F16}, .in = {I8(-128, 127)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from uint8", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {U8(0, 255)}, .shapes = UNARY, .no_gradient = true},

    {"random_bits", .build = build_bits, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_uniform", .build = build_uniform, .args = {-1, 3}, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_normal", .build = build_normal, .args = {1, 2}, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_bernoulli", .build = build_bernoulli, .args = {0.3}, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_permutation", "1", .build = build_permutation, .args = {1}, .shapes = {""}, .no_gradient = true},
    {"random_permutation", "300", .build = build_permutation, .args = {300}, .shapes = {""}, .no_gradient = true, .n_steps = 2},
    {"dropout", .build = build_dropout, .args = {0.4}, .shapes = UNARY, .n_steps = 2},
};
/* clang-format on */

FAMILY(elementwise);
