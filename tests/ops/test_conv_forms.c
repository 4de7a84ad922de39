/* device test: convolutions with dilation, groups and uneven padding, transposed, and of one axis, with all gradients. */
#include "support/op_check.h"

#include <stdio.h>

#include <esker/plan.h>
#include "support/plan_bits.h"

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_conv2d(in[0], in[1], args);
}

static esker_node *build_transpose(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_conv_transpose2d(in[0], in[1], args);
}

static esker_node *build_biased(esker_graph *graph, esker_node *const *in, const void *args)
{
    return esker_tanh(esker_add(build(graph, in, args), in[2]));
}

static esker_node *build_transpose_biased(esker_graph *graph, esker_node *const *in, const void *args)
{
    return esker_tanh(esker_add(build_transpose(graph, in, args), in[2]));
}

static esker_node *build_1d(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_conv1d(in[0], in[1], args);
}

static esker_node *build_transpose_1d(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_conv_transpose1d(in[0], in[1], args);
}

/* The gradient of the squared gradients' sum: every rule, and so second derivatives. */
static esker_node *gradients_of(esker_node *y, esker_node *const *in)
{
    esker_node *grads[2] = {NULL, NULL};
    if (esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), in, 2, grads) != ESKER_OK) return NULL;
    return esker_add(esker_sum(esker_mul(grads[0], grads[0]), NULL, 0, false), esker_sum(grads[1], NULL, 0, false));
}

static esker_node *build_gradients(esker_graph *graph, esker_node *const *in, const void *args)
{
    return gradients_of(build(graph, in, args), in);
}

static esker_node *build_transpose_gradients(esker_graph *graph, esker_node *const *in, const void *args)
{
    return gradients_of(build_transpose(graph, in, args), in);
}

#define T(...)                                  \
    {                                           \
        .shape = __VA_ARGS__, .lo = -1, .hi = 1 \
    }
#define CONV(...)              \
    &(const esker_conv2d_desc) \
    {                          \
        __VA_ARGS__            \
    }
#define UPWARD(...)                      \
    &(const esker_conv_transpose2d_desc) \
    {                                    \
        __VA_ARGS__                      \
    }
#define CONV_1D(...)           \
    &(const esker_conv1d_desc) \
    {                          \
        __VA_ARGS__            \
    }
#define UP_1D(...)                       \
    &(const esker_conv_transpose1d_desc) \
    {                                    \
        __VA_ARGS__                      \
    }

/* clang-format off */
static const op_check_row rows[] = {
    /* Dilation. */
    {"dilated by two", build, 2, {T({4, {2, 3, 9, 8}}), T({4, {4, 3, 3, 3}})}, .args = CONV(.dilation = {2, 2})},
    {"dilated unevenly, padded", build, 2, {T({4, {2, 2, 7, 9}}), T({4, {5, 2, 2, 4}})}, .args = CONV(.padding = {1, 3}, .dilation = {3, 2})},
    {"dilated rows only", build, 2, {T({4, {1, 2, 9, 6}}), T({4, {3, 2, 3, 3}})}, .args = CONV(.padding = {2, 1}, .dilation = {2, 1})},
    {"dilated columns only", build, 2, {T({4, {1, 2, 6, 9}}), T({4, {3, 2, 3, 3}})}, .args = CONV(.padding = {1, 2}, .dilation = {1, 2})},
    {"dilation and stride have no common divisor", build, 2, {T({4, {2, 2, 11, 10}}), T({4, {3, 2, 3, 3}})}, .args = CONV(.stride = {2, 3}, .padding = {2, 1}, .dilation = {3, 2})},
    {"dilation and stride are equal", build, 2, {T({4, {2, 2, 11, 10}}), T({4, {3, 2, 3, 3}})}, .args = CONV(.stride = {2, 3}, .padding = {1, 2}, .dilation = {2, 3})},
    {"dilation is a multiple of stride, and the reverse", build, 2, {T({4, {1, 2, 15, 13}}), T({4, {3, 2, 3, 3}})}, .args = CONV(.stride = {2, 4}, .padding = {3, 2}, .dilation = {4, 2})},
    {"dilation and stride of 6 and 4", build, 2, {T({4, {1, 1, 20, 9}}), T({4, {2, 1, 3, 4}})}, .args = CONV(.stride = {4, 1}, .padding = {3, 6}, .dilation = {6, 4})},
    {"taps that lie outside for every pixel", build, 2, {T({4, {2, 1, 2, 3}}), T({4, {1, 1, 3, 3}})}, .args = CONV(.padding = {5, 6}, .dilation = {5, 6})},
    {"dilated, many channels", build, 2, {T({4, {2, 16, 12, 12}}), T({4, {24, 16, 3, 3}})}, .args = CONV(.padding = {2, 2}, .dilation = {2, 2}), .no_differences = true},
    {"one pixel", build, 2, {T({4, {1, 1, 1, 1}}), T({4, {1, 1, 1, 1}})}, .args = CONV(.dilation = {4, 4})},
    /* Padding. */
    {"more zeros behind", build, 2, {T({4, {2, 2, 5, 6}}), T({4, {3, 2, 3, 2}})}, .args = CONV(.padding = {1, 0}, .more_padding = {1, 2})},
    {"more zeros in front", build, 2, {T({4, {2, 2, 5, 6}}), T({4, {3, 2, 3, 2}})}, .args = CONV(.stride = {2, 1}, .padding = {2, 3}, .more_padding = {-2, -1})},
    {"rows and columns left out", build, 2, {T({4, {2, 2, 7, 6}}), T({4, {3, 2, 3, 2}})}, .args = CONV(.more_padding = {-2, -1})},
    {"same, of odd filters", build, 2, {T({4, {2, 2, 5, 6}}), T({4, {3, 2, 3, 5}})}, .args = CONV(.same = true)},
    {"same, of even filters, dilated", build, 2, {T({4, {2, 2, 5, 6}}), T({4, {3, 2, 2, 4}})}, .args = CONV(.dilation = {1, 3}, .same = true)},
    /* Groups. */
    {"two groups", build, 2, {T({4, {2, 4, 6, 5}}), T({4, {6, 2, 3, 3}})}, .args = CONV(.padding = {1, 1}, .groups = 2)},
    {"three groups of one filter", build, 2, {T({4, {2, 6, 6, 5}}), T({4, {3, 2, 3, 2}})}, .args = CONV(.stride = {2, 2}, .groups = 3)},
    {"two groups of five filters and three channels", build, 2, {T({4, {1, 6, 6, 5}}), T({4, {10, 3, 2, 2}})}, .args = CONV(.padding = {1, 0}, .groups = 2)},
    {"two groups of 17 filters and 9 channels", build, 2, {T({4, {2, 18, 7, 9}}), T({4, {34, 9, 3, 3}})}, .args = CONV(.padding = {1, 1}, .groups = 2), .no_differences = true},
    {"groups of one pixel", build, 2, {T({4, {3, 8, 4, 4}}), T({4, {12, 2, 1, 1}})}, .args = CONV(.groups = 4)},
    {"groups, dilated, strided and padded unevenly", build, 2, {T({4, {2, 4, 9, 10}}), T({4, {6, 2, 3, 2}})}, .args = CONV(.stride = {2, 1}, .padding = {2, 1}, .dilation = {2, 3}, .more_padding = {-1, 1}, .groups = 2)},
    {"depthwise", build, 2, {T({4, {2, 5, 7, 9}}), T({4, {5, 1, 3, 3}})}, .args = CONV(.padding = {1, 1}, .groups = 5)},
    {"depthwise, two filters each", build, 2, {T({4, {2, 3, 7, 6}}), T({4, {6, 1, 3, 3}})}, .args = CONV(.padding = {1, 1}, .groups = 3)},
    {"depthwise, three filters each", build, 2, {T({4, {2, 2, 7, 6}}), T({4, {6, 1, 3, 3}})}, .args = CONV(.padding = {1, 1}, .groups = 2)},
    {"depthwise, strided", build, 2, {T({4, {2, 4, 8, 9}}), T({4, {4, 1, 3, 3}})}, .args = CONV(.stride = {2, 2}, .padding = {1, 1}, .groups = 4)},
    {"depthwise, dilated", build, 2, {T({4, {2, 4, 8, 9}}), T({4, {4, 1, 3, 3}})}, .args = CONV(.padding = {2, 2}, .dilation = {2, 2}, .groups = 4)},
    {"depthwise of 5 x 5", build, 2, {T({4, {1, 3, 8, 9}}), T({4, {3, 1, 5, 5}})}, .args = CONV(.padding = {2, 2}, .groups = 3)},
    {"depthwise of 1 x 1", build, 2, {T({4, {1, 3, 4, 5}}), T({4, {3, 1, 1, 1}})}, .args = CONV(.groups = 3)},
    {"depthwise of 130 channels", build, 2, {T({4, {2, 130, 6, 5}}), T({4, {130, 1, 3, 3}})}, .args = CONV(.padding = {1, 1}, .groups = 130), .no_differences = true},
    {"depthwise of rows of 129", build, 2, {T({4, {1, 2, 2, 129}}), T({4, {2, 1, 1, 4}})}, .args = CONV(.same = true, .groups = 2), .no_differences = true},
    {"depthwise with a tail", build_biased, 3, {T({4, {2, 5, 7, 6}}), T({4, {5, 1, 3, 3}}), T({3, {5, 1, 1}})}, .args = CONV(.padding = {1, 1}, .groups = 5)},
    {"groups with a tail", build_biased, 3, {T({4, {2, 4, 6, 5}}), T({4, {6, 2, 3, 3}}), T({4, {1, 6, 1, 1}})}, .args = CONV(.dilation = {1, 2}, .groups = 2)},
    {"second derivatives", build_gradients, 2, {T({4, {2, 4, 6, 5}}), T({4, {4, 2, 2, 2}})}, .args = CONV(.stride = {2, 1}, .padding = {1, 1}, .dilation = {3, 2}, .more_padding = {0, -1}, .groups = 2)},
    /* Transposed. */
    {"transposed, no description", build_transpose, 2, {T({4, {2, 3, 4, 5}}), T({4, {3, 2, 3, 2}})}},
    {"transposed, strided", build_transpose, 2, {T({4, {2, 3, 4, 5}}), T({4, {3, 4, 3, 3}})}, .args = UPWARD(.stride = {2, 2}, .padding = {1, 1}, .output_padding = {1, 1})},
    {"transposed, uneven", build_transpose, 2, {T({4, {1, 2, 5, 3}}), T({4, {2, 3, 4, 2}})}, .args = UPWARD(.stride = {3, 2}, .padding = {2, 0}, .output_padding = {2, 1})},
    {"transposed, stride beyond the filters", build_transpose, 2, {T({4, {2, 2, 3, 4}}), T({4, {2, 3, 2, 1}})}, .args = UPWARD(.stride = {3, 4}, .output_padding = {1, 3})},
    {"transposed, dilated", build_transpose, 2, {T({4, {2, 2, 4, 5}}), T({4, {2, 3, 3, 2}})}, .args = UPWARD(.stride = {2, 1}, .padding = {1, 2}, .dilation = {2, 3})},
    {"transposed, output_padding beyond the stride", build_transpose, 2, {T({4, {2, 2, 4, 5}}), T({4, {2, 3, 2, 2}})}, .args = UPWARD(.stride = {1, 2}, .output_padding = {1, 2}, .dilation = {3, 3})},
    {"transposed, in groups", build_transpose, 2, {T({4, {2, 6, 4, 5}}), T({4, {6, 2, 3, 3}})}, .args = UPWARD(.stride = {2, 2}, .padding = {1, 1}, .groups = 3)},
    {"transposed, depthwise", build_transpose, 2, {T({4, {2, 4, 4, 5}}), T({4, {4, 1, 4, 4}})}, .args = UPWARD(.stride = {2, 2}, .padding = {1, 1}, .groups = 4)},
    {"transposed, padding that leaves one pixel", build_transpose, 2, {T({4, {2, 2, 2, 1}}), T({4, {2, 2, 2, 3}})}, .args = UPWARD(.padding = {1, 1})},
    {"transposed, with a tail", build_transpose_biased, 3, {T({4, {2, 3, 4, 5}}), T({4, {3, 4, 3, 3}}), T({3, {4, 1, 1}})}, .args = UPWARD(.stride = {2, 2}, .padding = {1, 1})},
    {"transposed, a tail where no tap falls", build_transpose_biased, 3, {T({4, {2, 2, 3, 4}}), T({4, {2, 3, 1, 2}}), T({4, {1, 3, 1, 1}})}, .args = UPWARD(.stride = {3, 3}, .output_padding = {2, 1})},
    {"transposed, a bias of one element", build_transpose_biased, 3, {T({4, {2, 4, 3, 4}}), T({4, {4, 2, 3, 2}}), T({1, {1}})}, .args = UPWARD(.stride = {2, 1}, .groups = 2)},
    {"transposed, second derivatives", build_transpose_gradients, 2, {T({4, {2, 4, 3, 2}}), T({4, {4, 1, 2, 3}})}, .args = UPWARD(.stride = {2, 3}, .padding = {1, 0}, .output_padding = {1, 2}, .dilation = {1, 2}, .groups = 2)},
    {"transposed, one pixel", build_transpose, 2, {T({4, {1, 1, 1, 1}}), T({4, {1, 1, 1, 1}})}},
    /* One axis. */
    {"one axis", build_1d, 2, {T({3, {2, 3, 9}}), T({3, {4, 3, 3}})}},
    {"one axis, all that can be chosen", build_1d, 2, {T({3, {2, 4, 17}}), T({3, {6, 2, 3}})}, .args = CONV_1D(2, 3, 2, -1, 2, false)},
    {"one axis, same", build_1d, 2, {T({3, {2, 3, 129}}), T({3, {2, 3, 4}})}, .args = CONV_1D(.same = true), .no_differences = true},
    {"one axis, depthwise", build_1d, 2, {T({3, {2, 5, 11}}), T({3, {5, 1, 3}})}, .args = CONV_1D(.padding = 1, .groups = 5)},
    {"one axis, transposed", build_transpose_1d, 2, {T({3, {2, 3, 9}}), T({3, {3, 4, 3}})}},
    {"one axis, transposed, all that can be chosen", build_transpose_1d, 2, {T({3, {2, 4, 7}}), T({3, {4, 3, 3}})}, .args = UP_1D(3, 2, 1, 2, 2)},
};

/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof *rows };

static void refusals(void **state)
{
    (void)state;
    op_check_input x = T({4, {2, 4, 6, 5}}), w = T({4, {6, 2, 3, 3}}), whole = T({4, {6, 4, 3, 3}});
    static const struct {
        esker_conv2d_desc desc;
        const char *part;
    } cases[] = {
        {{.groups = 3},
         "conv2d(float32 [2, 4, 6, 5], float32 [6, 2, 3, 3]): 3 groups do not divide 4 channels of x and 6 filters"},
        {{.groups = 4}, "4 groups do not divide 4 channels of x and 6 filters"},
        {{.groups = 1}, "x has 4 channels, the filters expect 2"},
        {{.groups = -1}, "-1 groups, at least 1 is needed"},
        {{.groups = 2, .dilation = {1, -2}}, "dilation is [1, -2], each must be at least 1"},
        {{.groups = 2, .dilation = {1, 3}},
         "the filters have 3 columns (7 with dilation 3), but x has 5 with padding 0 on both sides"},
        {{.groups = 2, .more_padding = {-4, 0}},
         "the filters have 3 rows, but x has 2 with padding 0 in front and -4 behind"},
        {{.groups = 2, .same = true, .stride = {1, 2}}, "`same` takes no padding, and stride 1"},
        {{.groups = 2, .same = true, .padding = {1, 1}}, "`same` takes no padding, and stride 1: not padding [1, 1]"},
        {{.groups = 2, .padding = {2147483647, 0}, .more_padding = {2147483647, 0}}, "is out of range"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        op_check_refused(build, &cases[i].desc, (op_check_input[]){x, w}, 2, ESKER_ERR_INVALID, cases[i].part);
    op_check_refused(build, CONV(.groups = 2), (op_check_input[]){x, whole}, 2, ESKER_ERR_INVALID,
                     "x has 2 channels in each of 2 groups, the filters expect 4");
    static const struct {
        esker_conv_transpose2d_desc desc;
        const char *part;
    } transposes[] = {
        {{.groups = 4}, "conv_transpose2d(float32 [2, 6, 6, 5], float32 [6, 2, 3, 3]): 4 groups do not divide 6 channels"},
        {{.stride = {2, 2}, .output_padding = {0, 2}},
         "output_padding 2 of columns, from 0 to 1 is possible with stride 2 and dilation 1"},
        {{.output_padding = {-1, 0}}, "output_padding -1 of rows"},
        {{.padding = {4, 0}}, "padding 4 on both sides leaves nothing of rows"},
        {{.stride = {0, -1}}, "stride is [1, -1]"},
        {{.padding = {0, -1}}, "padding is [0, -1]"},
        {{.groups = -2}, "-2 groups"},
        {{.stride = {2147483647, 1}}, "a result of"},
    };
    op_check_input up = T({4, {2, 6, 6, 5}});
    for (size_t i = 0; i < sizeof transposes / sizeof *transposes; i++)
        op_check_refused(build_transpose, &transposes[i].desc, (op_check_input[]){up, w}, 2, ESKER_ERR_INVALID,
                         transposes[i].part);
    op_check_refused(build_transpose, NULL, (op_check_input[]){x, w}, 2, ESKER_ERR_INVALID,
                     "x has 4 channels, the filters take 6");
    op_check_refused(build_transpose, NULL, (op_check_input[]){x, T({3, {6, 2, 3}})}, 2, ESKER_ERR_INVALID,
                     "filters [c, f, kh, kw] are needed, not 4 and 3 axes");
    op_check_refused(build_1d, NULL, (op_check_input[]){x, T({3, {6, 2, 3}})}, 2, ESKER_ERR_INVALID,
                     "conv1d(float32 [2, 4, 6, 5], float32 [6, 2, 3]): x needs three axes, not 4");
    op_check_refused(build_transpose_1d, NULL, (op_check_input[]){T({3, {2, 6, 5}}), w}, 2, ESKER_ERR_INVALID,
                     "w needs three axes, not 4");
}

static void other_ways_give_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        esker_shape x, w;
        esker_conv2d_desc conv;
        bool transpose;
    } cases[] = {
        {{4, {3, 4, 12, 11}},
         {4, {6, 2, 3, 3}},
         {.stride = {2, 1}, .padding = {2, 1}, .dilation = {1, 2}, .groups = 2},
         false},
        {{4, {3, 9, 12, 11}}, {4, {9, 1, 3, 3}}, {.padding = {1, 1}, .groups = 9}, false},
        {{4, {3, 4, 6, 7}}, {4, {4, 3, 3, 3}}, {.stride = {2, 2}, .padding = {1, 1}, .groups = 2}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        const esker_conv2d_desc *c = &cases[i].conv;
        esker_conv_transpose2d_desc up = {
            .stride = {c->stride[0], c->stride[1]}, .padding = {c->padding[0], c->padding[1]}, .groups = c->groups};
        int64_t filters = cases[i].transpose ? cases[i].w.dims[1] * c->groups : cases[i].w.dims[0];
        esker_node *in[3] = {
            esker_input(graph, "x", ESKER_DTYPE_F32, &cases[i].x),
            esker_input(graph, "w", ESKER_DTYPE_F32, &cases[i].w),
            esker_input(graph, "bias", ESKER_DTYPE_F32, &(esker_shape){4, {1, filters, 1, 1}}),
        };
        const void *desc = cases[i].transpose ? (const void *)&up : (const void *)c;
        assert_same_bits(graph, (cases[i].transpose ? build_transpose_biased : build_biased)(graph, in, desc), 2);
        esker_node *grads[2], *y = (cases[i].transpose ? build_transpose : build)(graph, in, desc);
        assert_ok(esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), in, 2, grads));
        for (int g = 0; g < 2; g++) assert_same_bits(graph, grads[g], 0);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals), cmocka_unit_test(other_ways_give_the_same_bits)};
    return op_check_main("conv_forms", rows, N_ROWS, more, sizeof more / sizeof *more);
}
