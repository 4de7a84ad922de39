/* device test: max_pool2d and avg_pool2d with their gradients. */
#include "support/op_check.h"

#include <math.h>
#include <stdio.h>

#include "support/plan_bits.h"

static esker_node *build_max(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_max_pool2d(in[0], args);
}

static esker_node *build_avg(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_avg_pool2d(in[0], args);
}

static esker_node *build_adaptive(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_adaptive_avg_pool2d(in[0], args);
}

static esker_node *build_global_avg(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_global_avg_pool2d(in[0]);
}

static esker_node *build_global_max(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_global_max_pool2d(in[0]);
}

static esker_node *build_max_1d(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_max_pool1d(in[0], args);
}

static esker_node *build_avg_1d(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_avg_pool1d(in[0], args);
}

static esker_node *build_adaptive_twice(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    esker_node *y = esker_adaptive_avg_pool2d(in[0], args), *grad = NULL;
    if (esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), in, 1, &grad) != ESKER_OK) return NULL;
    return esker_mul(grad, grad);
}

static esker_node *build_avg_twice(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    esker_node *y = esker_avg_pool2d(in[0], args), *grad = NULL;
    if (esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), in, 1, &grad) != ESKER_OK) return NULL;
    return esker_mul(grad, grad);
}

static const struct pool_case {
    const char *name;
    esker_shape x;
    esker_pool2d_desc desc;
} cases[] = {
    {"one pixel", {4, {1, 1, 1, 1}}, {.window = {1, 1}}},
    {"two by two", {4, {2, 3, 8, 6}}, {.window = {2, 2}}},
    {"two by two leaves a row and a column over", {4, {3, 2, 7, 9}}, {.window = {2, 2}}},
    {"overlapping", {4, {2, 2, 9, 8}}, {.window = {3, 3}, .stride = {1, 1}}},
    {"overlapping by one, padded", {4, {2, 2, 9, 8}}, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}},
    {"stride beyond the window", {4, {1, 3, 11, 13}}, {.window = {2, 2}, .stride = {3, 5}}},
    {"unequal", {4, {2, 1, 10, 7}}, {.window = {4, 3}, .stride = {3, 1}, .padding = {2, 1}}},
    {"five by five, padded by two", {4, {1, 2, 6, 6}}, {.window = {5, 5}, .stride = {1, 2}, .padding = {2, 2}}},
    {"two by two, padded", {4, {2, 2, 5, 4}}, {.window = {2, 2}, .stride = {1, 1}, .padding = {1, 1}}},
    {"the whole image", {4, {5, 2, 7, 6}}, {.window = {7, 6}}},
    {"a window larger than the image without its padding", {4, {2, 2, 3, 3}}, {.window = {5, 5}, .padding = {2, 2}}},
    {"rows only", {4, {1, 2, 12, 5}}, {.window = {3, 1}}},
    {"columns only", {4, {1, 2, 5, 129}}, {.window = {1, 2}}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static const esker_pool2d_desc one = {.window = {1, 1}}, two = {.window = {2, 2}},
                               three = {.window = {3, 3}, .stride = {1, 1}, .padding = {1, 1}},
                               unequal = {.window = {3, 2}, .stride = {2, 1}, .padding = {1, 0}},
                               excluded = {.window = {3, 3}, .stride = {1, 2}, .padding = {1, 1}, .exclude_padding = true},
                               excluded_apart = {.window = {2, 3},
                                                 .stride = {3, 3},
                                                 .padding = {1, 1},
                                                 .exclude_padding = true},
                               excluded_uneven = {
                                   .window = {3, 4}, .stride = {2, 1}, .padding = {1, 2}, .exclude_padding = true};
#define IMAGE(...) .in = {{.shape = {4, __VA_ARGS__}, .lo = -1, .hi = 1}}
#define TIES(...)  .in = {{.shape = {4, __VA_ARGS__}, .lo = -1, .hi = 1, .fill = OP_CHECK_WHOLE}}
static const op_check_row rows[] = {
    {"a batch of 8 channels", build_max, 1, IMAGE({64, 8, 28, 28}), .args = &two, .no_differences = true},
    {"the mean over a batch of 8 channels", build_avg, 1, IMAGE({64, 8, 28, 28}), .args = &two, .no_differences = true},
    {"the first of equals", build_max, 1, TIES({2, 2, 8, 8}), .args = &two, .no_differences = true},
    {"the first of equals in overlapping windows", build_max, 1, TIES({2, 2, 9, 7}), .args = &three,
     .no_differences = true},
    {"more elements than reciprocals can divide", build_max, 1, IMAGE({1, 2, 1500, 1501}), .args = &one,
     .no_differences = true},
    {"all equal", build_max, 1, .in = {{.shape = {4, {1, 2, 6, 6}}, .lo = 2, .hi = 2, .fill = OP_CHECK_WHOLE}},
     .args = &three, .no_differences = true},
    {"all far below zero, beside padding", build_max, 1, .in = {{.shape = {4, {1, 2, 6, 6}}, .lo = -2e30, .hi = -1e30}},
     .args = &three, .no_differences = true},
    {"excluded padding, overlapping", build_avg, 1, IMAGE({2, 2, 9, 8}), .args = &excluded},
    {"excluded padding, apart", build_avg, 1, IMAGE({2, 2, 9, 8}), .args = &excluded_apart},
    {"excluded padding, uneven", build_avg, 1, IMAGE({1, 2, 6, 7}), .args = &excluded_uneven},
    {"excluded padding, second derivatives", build_avg_twice, 1, IMAGE({2, 2, 6, 5}), .args = &excluded_uneven},
    {"adaptive to 3 x 2", build_adaptive, 1, IMAGE({2, 3, 7, 5}), .args = (const int[]){3, 2}},
    {"adaptive to more than there are", build_adaptive, 1, IMAGE({2, 2, 3, 2}), .args = (const int[]){5, 3}},
    {"adaptive rows, columns as they are", build_adaptive, 1, IMAGE({1, 2, 7, 4}), .args = (const int[]){4, 0}},
    {"adaptive, even", build_adaptive, 1, IMAGE({2, 2, 6, 8}), .args = (const int[]){3, 2}},
    {"adaptive to one", build_adaptive, 1, IMAGE({2, 2, 5, 7}), .args = (const int[]){1, 1}},
    {"adaptive to one column", build_adaptive, 1, IMAGE({2, 2, 5, 7}), .args = (const int[]){2, 1}},
    {"adaptive, 129 columns to 50", build_adaptive, 1, IMAGE({1, 1, 3, 129}), .args = (const int[]){2, 50}},
    {"adaptive, one pixel", build_adaptive, 1, IMAGE({1, 1, 1, 1}), .args = (const int[]){2, 3}},
    {"adaptive, second derivatives", build_adaptive_twice, 1, IMAGE({1, 2, 5, 4}), .args = (const int[]){3, 3}},
    {"global mean", build_global_avg, 1, IMAGE({3, 5, 7, 9})},
    {"global mean of one pixel", build_global_avg, 1, IMAGE({2, 3, 1, 1})},
    {"global maximum", build_global_max, 1,
     .in = {{.shape = {4, {2, 3, 7, 6}}, .lo = -1, .hi = 1, .fill = OP_CHECK_DISTINCT}}},
    {"one axis, maximum", build_max_1d, 1, .in = {{.shape = {3, {2, 3, 11}}, .lo = -1, .hi = 1, .fill = OP_CHECK_DISTINCT}},
     .args = &(const esker_pool1d_desc){3, 2, 1, false}},
    {"one axis, mean", build_avg_1d, 1, .in = {{.shape = {3, {2, 3, 11}}, .lo = -1, .hi = 1}},
     .args = &(const esker_pool1d_desc){3, 0, 1, false}},
    {"one axis, mean, excluded padding", build_avg_1d, 1, .in = {{.shape = {3, {2, 3, 130}}, .lo = -1, .hi = 1}},
     .args = &(const esker_pool1d_desc){4, 2, 2, true}},
    {"the mean's second derivatives", build_avg_twice, 1, IMAGE({2, 2, 6, 5}), .args = &unequal},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static void refusals(void **state)
{
    (void)state;
    static const esker_pool2d_desc none = {.padding = {0, 0}}, wide = {.window = {2, 6}},
                                   padded = {.window = {3, 3}, .padding = {2, 1}},
                                   back = {.window = {2, 2}, .stride = {1, -3}},
                                   negative = {.window = {2, 2}, .padding = {-1, 0}};
    op_check_input x = {.shape = {4, {2, 3, 6, 5}}};
    op_check_refused(build_max, &none, &x, 1, ESKER_ERR_INVALID, "max_pool2d(float32 [2, 3, 6, 5]): window is [0, 0]");
    op_check_refused(build_avg, &wide, &x, 1, ESKER_ERR_INVALID,
                     "avg_pool2d(float32 [2, 3, 6, 5]): the window has 6 columns, but x has 5 with padding 0");
    op_check_refused(build_max, &padded, &x, 1, ESKER_ERR_INVALID, "padding 2 of rows is more than half of the window's 3");
    op_check_refused(build_avg, &back, &x, 1, ESKER_ERR_INVALID, "stride is [1, -3]");
    op_check_refused(build_max, &negative, &x, 1, ESKER_ERR_INVALID, "padding is [-1, 0]");
    op_check_refused(build_adaptive, (const int[]){2, -1}, &x, 1, ESKER_ERR_INVALID,
                     "adaptive_avg_pool2d(float32 [2, 3, 6, 5]): size is [2, -1], each must be at least 1");
    op_check_refused(build_adaptive, NULL, &x, 1, ESKER_ERR_INVALID, "size is NULL");
    op_check_refused(build_adaptive, (const int[]){2147483647, 4}, &x, 1, ESKER_ERR_LIMIT,
                     "6 to 2147483647 rows, their product must be below 2^31");
    op_check_refused(build_adaptive, (const int[]){2, 2}, &(op_check_input){.shape = {3, {3, 6, 5}}}, 1, ESKER_ERR_INVALID,
                     "not 3 axes");
    op_check_refused(build_adaptive, (const int[]){2, 2},
                     &(op_check_input){.dtype = ESKER_DTYPE_U8, .shape = {4, {1, 3, 6, 5}}}, 1, ESKER_ERR_INVALID,
                     "float32 is needed");
    op_check_refused(build_global_max, NULL, &(op_check_input){.shape = {3, {3, 6, 5}}}, 1, ESKER_ERR_INVALID,
                     "global_max_pool2d(float32 [3, 6, 5]): x [n, c, h, w] is needed, not 3 axes");
    op_check_refused(build_max_1d, NULL, &x, 1, ESKER_ERR_INVALID, "max_pool1d: desc is NULL");
    op_check_refused(build_avg_1d, &(const esker_pool1d_desc){2, 0, 0, false}, &x, 1, ESKER_ERR_INVALID,
                     "avg_pool1d(float32 [2, 3, 6, 5]): x needs three axes, not 4");
    op_check_refused(build_max, NULL, &x, 1, ESKER_ERR_INVALID, "a window is needed");
    op_check_refused(build_max, &two, &(op_check_input){.shape = {3, {3, 6, 5}}}, 1, ESKER_ERR_INVALID, "not 3 axes");
    op_check_refused(build_max, &two, &(op_check_input){.dtype = ESKER_DTYPE_U8, .shape = {4, {1, 3, 6, 5}}}, 1,
                     ESKER_ERR_INVALID, "float32 is needed");
}

static void slices_give_the_same_bits(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {3, 4, 14, 13}}), *grad;
        esker_node *y = kind == 0   ? esker_max_pool2d(x, &unequal)
                        : kind == 1 ? esker_avg_pool2d(x, &unequal)
                        : kind == 2 ? esker_avg_pool2d(x, &excluded)
                                    : esker_adaptive_avg_pool2d(x, (const int[]){5, 6});
        assert_ok(esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), &x, 1, &grad));
        assert_same_bits(graph, y, 0);
        assert_same_bits(graph, grad, 0);
        esker_graph_destroy(graph);
    }
}

/* y = what `record` makes of one picture of side x side, with a NaN at element `at`; how many dispatches pool alone. */
static int run_with_nan(esker_node *(*record)(esker_graph *graph, esker_node *x), int side, int at, float *y, int n_y)
{
    esker_graph *graph;
    esker_plan *plan;
    float x[256];
    uint64_t ticket;
    assert_true(side * side <= 256);
    for (int i = 0; i < side * side; i++) x[i] = i == at ? NAN : (float)(i * 7 % 16) - 5;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {1, 1, side, side}}),
               *made = record(graph, in);
    assert_ok(esker_graph_status(graph));
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &made, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    int n_pool = test_count_kernels(plan, "pool/");
    assert_ok(esker_plan_write(plan, 0, x, (size_t)(side * side) * sizeof *x));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, y, (size_t)n_y * sizeof *y));
    esker_plan_destroy(plan);
    return n_pool;
}

static esker_node *apart(esker_graph *graph, esker_node *x)
{
    (void)graph;
    return esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}});
}

static esker_node *overlapping(esker_graph *graph, esker_node *x)
{
    (void)graph;
    return esker_max_pool2d(x, &(esker_pool2d_desc){.window = {3, 3}, .stride = {1, 1}});
}

static esker_node *negative(esker_graph *graph, esker_node *x)
{
    (void)graph;
    return esker_neg(x);
}

/* Behind a convolution, which spreads it to the pixels around: one kernel with fusion. Not behind a relu, of which compilers make a maximum with 0. */
static esker_node *behind_conv(esker_graph *graph, esker_node *x)
{
    esker_node *w = esker_full(graph, &(esker_shape){4, {8, 1, 3, 3}}, 1);
    return esker_max_pool2d(esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {1, 1}}),
                            &(esker_pool2d_desc){.window = {2, 2}});
}

static void a_window_with_a_nan_is_one(void **state)
{
    (void)state;
    static const char *const variants[] = {"direct", "tiled", "few"};
    enum { SIDE = 14, POOLED = SIDE / 2 };
    float y[8 * POOLED * POOLED];
    run_with_nan(negative, 4, 0, y, 16);
    if (!isnan(y[0])) skip(); /* the device has none */
    for (int at = 0; at < 16; at++) {
        int row = at / 4, column = at % 4;
        run_with_nan(apart, 4, at, y, 4);
        for (int i = 0; i < 4; i++) assert_int_equal(isnan(y[i]) != 0, i == row / 2 * 2 + column / 2);
        run_with_nan(overlapping, 4, at, y, 4);
        for (int i = 0; i < 4; i++) {
            int u = i / 2, v = i % 2;
            assert_int_equal(isnan(y[i]) != 0, row >= u && row < u + 3 && column >= v && column < v + 3);
        }
    }
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    for (size_t k = 0; k < sizeof variants / sizeof *variants; k++)
        for (int at = 0; at < 6; at++) {
            int row = at < 4 ? 6 + at / 2 : at == 4 ? 0 : SIDE - 1, column = at < 4 ? 4 + at % 2 : at == 4 ? SIDE - 1 : 0;
            setenv("ESKER_VARIANT", variants[k], 1);
            int n_pool = run_with_nan(behind_conv, SIDE, row * SIDE + column, y, 8 * POOLED * POOLED);
            if (k > 0) assert_int_equal(n_pool, device.limits.group_invocations < 1024);
            for (int i = 0; i < 8 * POOLED * POOLED; i++) {
                int u = i / POOLED % POOLED * 2, v = i % POOLED * 2; /* the window's first pixel */
                assert_int_equal(isnan(y[i]) != 0, row >= u - 1 && row <= u + 2 && column >= v - 1 && column <= v + 2);
            }
        }
}

int main(void)
{
    static op_check_row all[2 * N_CASES + N_ROWS];
    static char names[2 * N_CASES][96];
    size_t n = 0;
    for (int i = 0; i < N_CASES; i++)
        for (int mean = 0; mean < 2; mean++, n++) {
            snprintf(names[n], sizeof names[n], "%s, %s", mean ? "mean" : "maximum", cases[i].name);
            all[n] = (op_check_row){
                .name = names[n], .build = mean ? build_avg : build_max, .n_inputs = 1, .args = &cases[i].desc};
            all[n].in[0] = (op_check_input){
                .shape = cases[i].x, .lo = -1, .hi = 1, .fill = mean ? OP_CHECK_UNIFORM : OP_CHECK_DISTINCT};
        }
    memcpy(all + n, rows, sizeof rows);
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals), cmocka_unit_test(slices_give_the_same_bits),
                                      cmocka_unit_test_teardown(a_window_with_a_nan_is_one, test_without_variant)};
    return op_check_main("pool", all, 2 * N_CASES + N_ROWS, more, sizeof more / sizeof *more);
}
