/* device test: activations, forward and backward, at and around their kinks, and far out. */
#include <math.h>

#include "support/op_check.h"

/* Functions travel inside a struct: a function pointer does not fit a const void *. */
typedef struct activation {
    esker_node *(*plain)(esker_node *x);
    esker_node *(*with_constant)(esker_node *x, float constant);
    float constant;
} activation;

static const activation selu = {.plain = esker_selu}, hard_sigmoid = {.plain = esker_hard_sigmoid},
                        silu = {.plain = esker_silu}, hard_swish = {.plain = esker_hard_swish},
                        gelu = {.plain = esker_gelu}, gelu_tanh = {.plain = esker_gelu_tanh}, mish = {.plain = esker_mish},
                        leaky_relu = {.with_constant = esker_leaky_relu, .constant = 0.01f},
                        elu = {.with_constant = esker_elu, .constant = 1},
                        elu_half = {.with_constant = esker_elu, .constant = 0.5f},
                        softplus = {.with_constant = esker_softplus, .constant = 1},
                        softplus_steep = {.with_constant = esker_softplus, .constant = 3.7f};

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    const activation *a = args;
    (void)graph;
    return a->plain ? a->plain(in[0]) : a->with_constant(in[0], a->constant);
}

static esker_node *build_prelu(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_prelu(in[0], in[1]);
}

/* The usual range; whole numbers, which are where the kinks are; tiny values; far out, also where float's exp overflows. */
#define SMOOTH(fn_)                                                                    \
    {#fn_, build, 1, {IN(DIMS(3, 43), -5, 5)}, .args = &fn_},                          \
        {#fn_ " of tiny values", build, 1, {IN(DIMS(33), -1e-5, 1e-5)}, .args = &fn_}, \
    {                                                                                  \
#fn_ " far out", build, 1, {IN(DIMS(257), -120, 120) }, .args = &fn_           \
    }
#define KINKED(fn_)                                                                                                          \
    {#fn_, build, 1, {{.shape = DIMS(3, 43), .lo = -5, .hi = 5, .gap = 0.001}}, .args = &fn_},                               \
        {#fn_ " at whole numbers", build, 1, {{.shape = DIMS(65), .lo = -4, .hi = 4, .fill = OP_CHECK_WHOLE}}, .args = &fn_, \
         .no_differences = true},                                                                                            \
    {                                                                                                                        \
#fn_ " far out", build, 1, {IN(DIMS(257), -120, 120) }, .args = &fn_                                                 \
    }

/* clang-format off */
static const op_check_row rows[] = {
    KINKED(leaky_relu),
    KINKED(elu),
    {"elu with alpha 0.5", build, 1, {{.shape = DIMS(127), .lo = -5, .hi = 5, .gap = 0.001}}, .args = &elu_half},
    KINKED(selu),
    KINKED(hard_sigmoid),
    KINKED(hard_swish),
    SMOOTH(silu),
    SMOOTH(gelu),
    SMOOTH(gelu_tanh),
    SMOOTH(softplus),
    {"softplus with beta 3.7", build, 1, {IN(DIMS(127), -5, 5)}, .args = &softplus_steep},
    SMOOTH(mish),
    {"gelu of a scalar", build, 1, {IN(SCALAR, -2, 2)}, .args = &gelu},
    {"gelu where squares overflow", build, 1, {IN(DIMS(33), -1e30, 1e30)}, .args = &gelu, .no_differences = true},
    {"gelu_tanh where cubes overflow", build, 1, {IN(DIMS(33), -1e30, 1e30)}, .args = &gelu_tanh, .no_differences = true},
    {"silu of rank 6", build, 1, {IN(DIMS(2, 3, 1, 2, 2, 5), -5, 5)}, .args = &silu},
    {"mish of 128", build, 1, {IN(DIMS(128), -5, 5)}, .args = &mish},

    {"prelu, one slope", build_prelu, 2, {{.shape = DIMS(9, 15), .lo = -2, .hi = 2, .gap = 0.01}, IN(DIMS(1), 0.1, 0.4)}},
    {"prelu, a scalar slope", build_prelu, 2, {{.shape = DIMS(129), .lo = -2, .hi = 2, .gap = 0.01}, IN(SCALAR, 0.1, 0.4)}},
    {"prelu of a scalar", build_prelu, 2, {{.shape = SCALAR, .lo = -2, .hi = -1}, IN(DIMS(1), 0.1, 0.4)}},
    {"prelu, a slope for each feature", build_prelu, 2, {{.shape = DIMS(9, 15), .lo = -2, .hi = 2, .gap = 0.01}, IN(DIMS(15), -0.4, 0.4)}},
    {"prelu, a slope for each channel", build_prelu, 2, {{.shape = DIMS(3, 5, 7, 3), .lo = -2, .hi = 2, .gap = 0.01}, IN(DIMS(5), -0.4, 0.4)}},
    {"prelu, channels of 4 x 4", build_prelu, 2, {{.shape = DIMS(3, 4, 4, 4), .lo = -2, .hi = 2, .gap = 0.01}, IN(DIMS(4), -0.4, 0.4)}},
    {"prelu at 0", build_prelu, 2, {{.shape = DIMS(4, 9), .lo = -1, .hi = 1, .fill = OP_CHECK_WHOLE}, IN(DIMS(9), -0.4, 0.4)}, .no_differences = true},
};
/* clang-format on */

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x = IN(DIMS(3, 4, 5), -1, 1);
    const op_check_input prelu[] = {IN(DIMS(3, 4, 5), -1, 1), IN(DIMS(5), -1, 1)};
    op_check_refused(build_prelu, NULL, prelu, 2, ESKER_ERR_INVALID,
                     "prelu(float32 [3, 4, 5], float32 [5]): the slope must have one element, or one for each of the 4");
    const op_check_input wide[] = {IN(DIMS(3, 4, 5), -1, 1), IN(DIMS(4, 1), -1, 1)};
    op_check_refused(build_prelu, NULL, wide, 2, ESKER_ERR_INVALID, "the slope must have one element");
    activation bad = {.with_constant = esker_softplus, .constant = 0};
    op_check_refused(build, &bad, &x, 1, ESKER_ERR_INVALID, "beta must be finite and above 0");
    bad = (activation){.with_constant = esker_elu, .constant = NAN};
    op_check_refused(build, &bad, &x, 1, ESKER_ERR_INVALID, "alpha must be finite");
    bad = (activation){.with_constant = esker_leaky_relu, .constant = INFINITY};
    op_check_refused(build, &bad, &x, 1, ESKER_ERR_INVALID, "the slope must be finite");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("activations", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
