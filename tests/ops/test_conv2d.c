/* device test: conv2d and both gradients over kernels, strides, paddings and channels, with and without tails. */
#include "support/op_check.h"

#include <stdio.h>

#include <esker/plan.h>
#include "ops/contract.h"
#include "support/plan_bits.h"

typedef struct form {
    esker_conv2d_desc conv;
    esker_node *(*activation)(esker_node *x); /* NULL: none */
} form;

static esker_node *activate(esker_node *x, const form *f)
{
    return f->activation ? f->activation(x) : x;
}

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_conv2d(in[0], in[1], &((const form *)args)->conv);
}

static esker_node *build_plain(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_conv2d(in[0], in[1], NULL);
}

static esker_node *build_biased(esker_graph *graph, esker_node *const *in, const void *args)
{
    return activate(esker_add(build(graph, in, args), in[2]), args);
}

static esker_node *build_active(esker_graph *graph, esker_node *const *in, const void *args)
{
    return activate(build(graph, in, args), args);
}

/* The gradient of the squared gradients' sum: every rule of the three operations, and so second derivatives. */
static esker_node *build_gradients(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    esker_node *wrt[2] = {in[0], in[1]}, *grads[2] = {NULL, NULL};
    esker_node *y = build(graph, in, args);
    if (esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), wrt, 2, grads) != ESKER_OK) return NULL;
    return esker_add(esker_sum(esker_mul(grads[0], grads[0]), NULL, 0, false), esker_sum(grads[1], NULL, 0, false));
}

/* Every kernel size with every stride and padding below, in turn over these channels and extents. */
static const int kernels[][2] = {{1, 1}, {3, 3}, {5, 5}, {2, 3}, {7, 7}, {1, 4}, {3, 1}};
static const int channels[][2] = {{1, 8}, {3, 1}, {8, 17}, {17, 3}, {1, 1}, {8, 8}, {4, 5}}; /* of x, of y */
static const int extents[][2] = {{7, 9}, {8, 8}, {5, 13}, {1, 33}, {16, 3}};
enum {
    N_KERNELS = sizeof kernels / sizeof *kernels,
    N_CHANNELS = sizeof channels / sizeof *channels,
    N_EXTENTS = sizeof extents / sizeof *extents,
    N_SWEEP = N_KERNELS * 3 * 4
};

#define IMAGE(...)                                   \
    {                                                \
        .shape = {4, __VA_ARGS__}, .lo = -1, .hi = 1 \
    }
#define VECTOR(...)                             \
    {                                           \
        .shape = __VA_ARGS__, .lo = -1, .hi = 1 \
    }
static const form plain = {{{0, 0}, {0, 0}}, 0}, padded = {{{1, 1}, {1, 1}}, 0}, strided = {{{2, 3}, {2, 1}}, 0},
                  apart = {{{4, 5}, {0, 0}}, 0}, relu = {{{1, 1}, {1, 1}}, esker_relu},
                  sigmoid = {{{2, 1}, {1, 0}}, esker_sigmoid}, tanh_wide = {{{1, 1}, {3, 3}}, esker_tanh};
static const op_check_row rows[] = {
    {"no description", build_plain, 2, {IMAGE({2, 2, 5, 6}), IMAGE({3, 2, 3, 2})}},
    {"strides larger than the kernel leave pixels without gradient",
     build,
     2,
     {IMAGE({2, 3, 13, 17}), IMAGE({5, 3, 3, 2})},
     .args = &apart},
    {"a kernel as large as the image", build, 2, {IMAGE({3, 2, 6, 7}), IMAGE({4, 2, 6, 7})}, .args = &plain},
    {"padding beyond the kernel", build, 2, {IMAGE({2, 2, 3, 3}), IMAGE({2, 2, 1, 1})}, .args = &tanh_wide},
    {"the first layer of the digits",
     build,
     2,
     {IMAGE({5, 1, 28, 28}), IMAGE({8, 1, 3, 3})},
     .args = &padded,
     .no_differences = true},
    {"the second", build, 2, {IMAGE({4, 8, 14, 14}), IMAGE({16, 8, 3, 3})}, .args = &padded, .no_differences = true},
    {"many filters", build, 2, {IMAGE({2, 16, 8, 8}), IMAGE({40, 16, 3, 3})}, .args = &padded, .no_differences = true},
    {"rows of 129", build, 2, {IMAGE({1, 1, 3, 129}), IMAGE({2, 1, 3, 3})}, .args = &padded, .no_differences = true},
    {"a bias of four axes",
     build_biased,
     3,
     {IMAGE({2, 3, 6, 5}), IMAGE({5, 3, 3, 3}), IMAGE({1, 5, 1, 1})},
     .args = &padded},
    {"a bias of three axes",
     build_biased,
     3,
     {IMAGE({2, 3, 6, 5}), IMAGE({5, 3, 3, 3}), VECTOR({3, {5, 1, 1}})},
     .args = &relu},
    {"a bias of one element",
     build_biased,
     3,
     {IMAGE({2, 3, 6, 5}), IMAGE({5, 3, 3, 3}), VECTOR({1, {1}})},
     .args = &sigmoid},
    {"an operand along columns is no bias",
     build_biased,
     3,
     {IMAGE({2, 3, 6, 5}), IMAGE({5, 3, 3, 3}), VECTOR({1, {5}})},
     .args = &padded},
    {"relu alone", build_active, 2, {IMAGE({2, 3, 6, 5}), IMAGE({9, 3, 3, 3})}, .args = &relu},
    {"tanh", build_active, 2, {IMAGE({2, 3, 6, 5}), IMAGE({8, 3, 3, 3})}, .args = &tanh_wide},
    {"second derivatives", build_gradients, 2, {IMAGE({2, 2, 5, 4}), IMAGE({3, 2, 3, 2})}, .args = &strided},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static void refusals(void **state)
{
    (void)state;
    static const form back = {{{-1, 1}, {0, 0}}, 0}, negative = {{{1, 1}, {0, -2}}, 0};
    op_check_input x = IMAGE({2, 3, 6, 5}), w = IMAGE({5, 3, 3, 3});
    op_check_refused(build, &plain, (op_check_input[]){x, IMAGE({5, 4, 3, 3})}, 2, ESKER_ERR_INVALID,
                     "conv2d(float32 [2, 3, 6, 5], float32 [5, 4, 3, 3]): x has 3 channels, the filters expect 4");
    op_check_refused(build, &plain, (op_check_input[]){x, IMAGE({5, 3, 3, 6})}, 2, ESKER_ERR_INVALID,
                     "the filters have 6 columns, but x has 5 with padding 0 on both sides");
    op_check_refused(build, &padded, (op_check_input[]){x, IMAGE({5, 3, 9, 3})}, 2, ESKER_ERR_INVALID,
                     "the filters have 9 rows, but x has 8 with padding 1 on both sides");
    op_check_refused(build, &back, (op_check_input[]){x, w}, 2, ESKER_ERR_INVALID, "stride is [-1, 1]");
    op_check_refused(build, &negative, (op_check_input[]){x, w}, 2, ESKER_ERR_INVALID, "padding is [0, -2]");
    op_check_refused(build, &plain, (op_check_input[]){x, VECTOR({2, {3, 3}})}, 2, ESKER_ERR_INVALID, "not 4 and 2 axes");
    op_check_refused(build, &plain, (op_check_input[]){{.dtype = ESKER_DTYPE_U8, .shape = {4, {2, 3, 6, 5}}}, w}, 2,
                     ESKER_ERR_INVALID, "input 0 is uint8");
}

static void other_ways_give_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        int64_t n, c, h, w, f, k;
        const form *form;
    } cases[] = {{3, 3, 15, 14, 17, 3, &relu}, {9, 8, 9, 20, 8, 2, &sigmoid}, {4, 1, 21, 7, 3, 5, &tanh_wide}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in[3] = {
            esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {cases[i].n, cases[i].c, cases[i].h, cases[i].w}}),
            esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){4, {cases[i].f, cases[i].c, cases[i].k, cases[i].k}}),
            esker_input(graph, "bias", ESKER_DTYPE_F32, &(esker_shape){4, {1, cases[i].f, 1, 1}}),
        };
        assert_same_bits(graph, build_biased(graph, in, cases[i].form), 2);
        /* The gradients: nothing to fuse, but splits and phases to cut. */
        esker_node *grads[2];
        esker_node *y = build(graph, in, cases[i].form);
        assert_ok(esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), in, 2, grads));
        for (int g = 0; g < 2; g++) assert_same_bits(graph, grads[g], 0);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    static op_check_row all[N_SWEEP + N_ROWS];
    static form forms[N_SWEEP];
    static char names[N_SWEEP][96];
    size_t n = 0;
    for (int k = 0; k < N_KERNELS; k++)
        for (int stride = 1; stride <= 3; stride++)
            for (int padding = 0; padding <= 3; padding++) {
                int kh = kernels[k][0], kw = kernels[k][1], py = padding, px = n % 3 == 2 ? 1 : padding;
                const int *c = channels[(n * 3 + n / 12) % N_CHANNELS], *e = extents[n % N_EXTENTS];
                int h = e[0] + 2 * py < kh ? kh : e[0], w = e[1] + 2 * px < kw ? kw : e[1], images = 1 + (int)(n % 5);
                form *f = &forms[n];
                *f = (form){{{stride, n % 4 == 3 ? 1 : stride}, {py, px}}, 0};
                snprintf(names[n], sizeof names[n], "[%d, %d, %d, %d] by %d of %d x %d, stride %d, %d, padding %d, %d",
                         images, c[0], h, w, c[1], kh, kw, f->conv.stride[0], f->conv.stride[1], py, px);
                all[n] = (op_check_row){.name = names[n], .build = build, .n_inputs = 2, .args = f};
                all[n].in[0] = (op_check_input)IMAGE({images, c[0], h, w});
                all[n].in[1] = (op_check_input)IMAGE({c[1], c[0], kh, kw});
                /* Differences take a reference for each: only where those are small. */
                all[n].no_differences = (int64_t)images * c[0] * c[1] * h * w * kh * kw > 40000;
                n++;
            }
    memcpy(all + n, rows, sizeof rows);
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals), cmocka_unit_test(other_ways_give_the_same_bits)};
    return op_check_main("conv2d", all, N_SWEEP + N_ROWS, more, sizeof more / sizeof *more);
}
