/* device test: convolutions by Winograd's filtering, forward and to the input, over sizes that are no multiples of the tiles. */
#include "support/op_check.h"

#include <stdio.h>
#include <stdlib.h>

#include <esker/plan.h>
#include "plan/plan.h"
#include "support/plan_bits.h"

typedef struct form {
    esker_conv2d_desc conv;
    enum { ALONE, BIASED, ADDED } tail;
} form;

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const form *f = args;
    esker_node *y = esker_conv2d(in[0], in[1], &f->conv);
    if (f->tail == ALONE) return y;
    y = esker_add(y, in[2]);
    return f->tail == BIASED ? esker_relu(y) : esker_tanh(esker_add(y, in[3]));
}

static esker_node *build_transpose(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_relu(
        esker_add(esker_conv_transpose2d(in[0], in[1], &(esker_conv_transpose2d_desc){.padding = {1, 1}}), in[2]));
}

#define T(...)                                  \
    {                                           \
        .shape = __VA_ARGS__, .lo = -1, .hi = 1 \
    }
#define FORM(tail_, ...)             \
    &(const form)                    \
    {                                \
        .conv = {__VA_ARGS__}, tail_ \
    }
/* clang-format off */
static const op_check_row rows[] = {
    {"one pixel of each", build, 2, {T({4, {1, 1, 3, 3}}), T({4, {1, 1, 3, 3}})}, .args = FORM(ALONE, {0})},
    {"one row, padded", build, 2, {T({4, {2, 1, 1, 9}}), T({4, {3, 1, 3, 3}})}, .args = FORM(ALONE, .padding = {1, 1})},
    {"3 to 5 channels, odd", build, 2, {T({4, {2, 3, 7, 9}}), T({4, {5, 3, 3, 3}})}, .args = FORM(ALONE, .padding = {1, 1})},
    {"5 to 3 channels, no padding", build, 2, {T({4, {3, 5, 9, 6}}), T({4, {3, 5, 3, 3}})}, .args = FORM(ALONE, {0})},
    {"8 to 17 channels, other padding for columns", build, 2, {T({4, {2, 8, 8, 10}}), T({4, {17, 8, 3, 3}})}, .args = FORM(ALONE, .padding = {1, 0}), .no_differences = true},
    {"17 to 8 channels, more padding behind", build, 2, {T({4, {1, 17, 5, 13}}), T({4, {8, 17, 3, 3}})}, .args = FORM(ALONE, .padding = {0, 1}, .more_padding = {1, 2}), .no_differences = true},
    {"rows and columns left out", build, 2, {T({4, {2, 2, 9, 8}}), T({4, {3, 2, 3, 3}})}, .args = FORM(ALONE, .more_padding = {-2, -1})},
    {"padding beyond the taps", build, 2, {T({4, {1, 2, 3, 4}}), T({4, {2, 2, 3, 3}})}, .args = FORM(ALONE, .padding = {3, 4})},
    {"64 channels", build, 2, {T({4, {2, 64, 8, 12}}), T({4, {64, 64, 3, 3}})}, .args = FORM(ALONE, .padding = {1, 1}), .no_differences = true},
    {"a filter", build, 2, {T({4, {1, 6, 9, 9}}), T({4, {1, 6, 3, 3}})}, .args = FORM(ALONE, .padding = {1, 1})},
    {"bias, relu", build, 3, {T({4, {2, 5, 6, 8}}), T({4, {9, 5, 3, 3}}), T({4, {1, 9, 1, 1}})}, .args = FORM(BIASED, .padding = {1, 1})},
    {"a bias of one element, relu", build, 3, {T({4, {2, 3, 7, 5}}), T({4, {6, 3, 3, 3}}), T({1, {1}})}, .args = FORM(BIASED, .padding = {1, 1})},
    {"bias, another operand, tanh", build, 4, {T({4, {2, 5, 5, 8}}), T({4, {4, 5, 3, 3}}), T({4, {1, 4, 1, 1}}), T({4, {2, 4, 5, 8}})}, .args = FORM(ADDED, .padding = {1, 1})},
    {"bias, another operand, tanh, odd columns", build, 4, {T({4, {1, 8, 6, 7}}), T({4, {5, 8, 3, 3}}), T({4, {1, 5, 1, 1}}), T({4, {1, 5, 6, 7}})}, .args = FORM(ADDED, .padding = {1, 1})},
    {"transposed, bias, relu", build_transpose, 3, {T({4, {2, 4, 6, 9}}), T({4, {4, 5, 3, 3}}), T({4, {1, 5, 1, 1}})}},
};
/* clang-format on */
enum { N_ROWS = sizeof rows / sizeof *rows };

/* Both tiles for every row. */
typedef struct variant {
    const char *names;
    const op_check_row *row;
} variant;

static void with_variant(void **state)
{
    const variant *v = *state;
    void *row = (void *)(uintptr_t)v->row;
    setenv("ESKER_VARIANT", v->names, 1);
    op_check(&row);
}

typedef struct made {
    esker_graph *graph;
    esker_node *in[3], *y;
} made;

static made record(int64_t n, int64_t c, int64_t h, int64_t w, int64_t f)
{
    made m;
    assert_ok(esker_graph_create(NULL, &m.graph));
    m.in[0] = esker_input(m.graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {n, c, h, w}});
    m.in[1] = esker_input(m.graph, "w", ESKER_DTYPE_F32, &(esker_shape){4, {f, c, 3, 3}});
    m.in[2] = esker_input(m.graph, "bias", ESKER_DTYPE_F32, &(esker_shape){4, {1, f, 1, 1}});
    m.y = esker_relu(esker_add(esker_conv2d(m.in[0], m.in[1], &(esker_conv2d_desc){.padding = {1, 1}}), m.in[2]));
    assert_ok(esker_graph_status(m.graph));
    return m;
}

/* More tiles than scratch memory is wanted for: one part after the other; and cutting dispatches changes no bit. */
static void other_ways_give_the_same_bits(void **state)
{
    setenv("ESKER_VARIANT", *state, 1);
    made m = record(2, 5, 11, 15, 9);
    assert_same_bits(m.graph, m.y, 2);
    esker_node *grads[2], *y = esker_conv2d(m.in[0], m.in[1], NULL);
    assert_ok(esker_gradients(esker_sum(esker_mul(y, y), NULL, 0, false), m.in, 2, grads));
    assert_same_bits(m.graph, grads[0], 0);
    esker_graph_destroy(m.graph);
}

static void parts(void **state)
{
    setenv("ESKER_VARIANT", *state, 1);
    made m = record(2, 61, 150, 150, 67);
    esker_plan *plan;
    assert_ok(esker_plan_compile(m.graph, &(esker_plan_desc){.device = NULL, .outputs = &m.y, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    int n = test_count_kernels(plan, "conv/winograd_input");
    if (n < 2) fail_msg("%d parts", n);
    assert_int_equal(test_count_kernels(plan, "conv/winograd_output"), n);
    assert_int_equal(test_count_kernels(plan, "conv/winograd_filter"), 1);
    esker_plan_destroy(plan);
    esker_graph_destroy(m.graph);
}

/* Check mode takes the kernels' own bound: zeros next to what is large are off by what is large. */
static void check_mode(void **state)
{
    setenv("ESKER_VARIANT", *state, 1);
    enum { N = 1, C = 3, H = 9, W = 10, F = 4 };
    made m = record(N, C, H, W, F);
    esker_plan *plan;
    assert_ok(esker_plan_compile(
        m.graph, &(esker_plan_desc){.device = test_device(), .outputs = &m.y, .n_outputs = 1, .check = true}, &plan));
    assert_int_equal(test_count_kernels(plan, "conv/winograd_output"), 1);
    static float x[N * C * H * W], w[F * C * 9], bias[F];
    for (int i = 0; i < N * C * H * W; i++) x[i] = i % W < 5 ? 0 : 1000.f / (float)(3 + i % 97);
    for (int i = 0; i < F * C * 9; i++) w[i] = (i % 2 ? -1.f : 1.f) / (float)(1 + i % 13);
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, sizeof x));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "w"), w, sizeof w));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "bias"), bias, sizeof bias));
    assert_ok(esker_plan_run(plan));
    esker_plan_destroy(plan);
    esker_graph_destroy(m.graph);
}

/* With fixed filters their transform is done once. */
static void filters_are_transformed_once(void **state)
{
    setenv("ESKER_VARIANT", *state, 1);
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {1, 4, 8, 8}});
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {4, {4, 4, 3, 3}}});
    esker_node *y = esker_conv2d(esker_conv2d(x, w, NULL), w, NULL);
    esker_plan *plan;
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = NULL, .outputs = &y, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    assert_int_equal(plan->n_prologue, 1);
    assert_int_equal(test_count_kernels(plan, "conv/winograd_filter"), 1);
    assert_int_equal(test_count_kernels(plan, "conv/winograd_input"), 2);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    static const char *const both[] = {"winograd2", "winograd4"};
    static const struct {
        const char *name;
        void (*run)(void **);
    } more[] = {{"other ways give the same bits", other_ways_give_the_same_bits},
                {"parts", parts},
                {"check mode", check_mode},
                {"filters are transformed once", filters_are_transformed_once}};
    enum { N_MORE = sizeof more / sizeof *more, N = 2 * (N_ROWS + N_MORE) };
    static variant variants[2 * N_ROWS];
    static char names[N][160];
    struct CMUnitTest tests[N];
    int n = 0;
    for (int v = 0; v < 2; v++) {
        for (int i = 0; i < N_ROWS; i++, n++) {
            variant *one = &variants[v * N_ROWS + i];
            *one = (variant){both[v], &rows[i]};
            snprintf(names[n], sizeof names[n], "%s: %s", both[v], rows[i].name);
            tests[n] = (struct CMUnitTest){names[n], with_variant, NULL, test_without_variant, one};
        }
        for (int i = 0; i < N_MORE; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s: %s", both[v], more[i].name);
            tests[n] = (struct CMUnitTest){names[n], more[i].run, NULL, test_without_variant, (void *)(uintptr_t)both[v]};
        }
    }
    return op_check_main("winograd", NULL, 0, tests, N);
}
