/* device test: attention and its gradients against the whole matrix in double, over sizes around the tiles. */
#include <math.h>

#include <esker/plan.h>
#include "support/op_check.h"

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_attention(in[0], in[1], in[2], args);
}

/* The same sequence three times over: the three gradients join. */
static esker_node *build_self(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_attention(in[0], in[0], in[0], args);
}

/* Heads cut out of rows, as networks do it: [batch, rows, heads, size] in and out. The transpositions go away. */
static esker_node *build_rows_first(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const int exchange[] = {0, 2, 1, 3};
    return esker_transpose(esker_attention(esker_transpose(in[0], exchange), esker_transpose(in[1], exchange),
                                           esker_transpose(in[2], exchange), args),
                           exchange);
}

static const esker_attention_desc causal = {.causal = true}, steep = {.scale = 3},
                                  falling = {.causal = true, .scale = -0.5f};

/* clang-format off */
#define QKV(b, h, tq, tk, d)                                                                                    \
    {{.shape = {4, {b, h, tq, d}}, .lo = -1, .hi = 1}, {.shape = {4, {b, h, tk, d}}, .lo = -1, .hi = 1},          \
     {.shape = {4, {b, h, tk, d}}, .lo = -2, .hi = 2}}
#define BOTH(name, b, h, tq, tk, d)                                                                             \
    {name, build, 3, QKV(b, h, tq, tk, d)}, {name ", causal", build, 3, QKV(b, h, tq, tk, d), .args = &causal}
/* Central differences of large ones take long, and show nothing new. */
#define LARGE(name, b, h, tq, tk, d)                                                                            \
    {name, build, 3, QKV(b, h, tq, tk, d), .no_differences = true},                                             \
    {name ", causal", build, 3, QKV(b, h, tq, tk, d), .args = &causal, .no_differences = true}
/* clang-format on */

static const op_check_row rows[] = {
    BOTH("one query, one key, one element", 1, 1, 1, 1, 1),
    BOTH("one query", 2, 3, 1, 9, 8),
    BOTH("one key", 2, 1, 9, 1, 8),
    BOTH("size 3", 1, 2, 5, 7, 3),
    BOTH("size 8", 2, 2, 17, 17, 8),
    LARGE("size 16, a tile less one", 1, 2, 31, 31, 16),
    LARGE("size 17", 1, 1, 33, 34, 17),
    LARGE("size 32, more keys", 1, 2, 20, 33, 32),
    LARGE("size 32, more queries", 1, 2, 33, 20, 32),
    LARGE("size 63", 1, 1, 65, 64, 63),
    LARGE("size 64", 1, 1, 63, 65, 64),
    LARGE("size 128", 1, 1, 9, 130, 128),
    LARGE("size 130", 1, 1, 5, 6, 130),
    {"size 256", build, 3, QKV(1, 1, 5, 7, 256), .args = &causal, .no_differences = true},
    {"127 rows", build, 3, QKV(1, 1, 127, 127, 8), .args = &causal, .no_differences = true},
    {"1025 rows", build, 3, QKV(1, 1, 1025, 1025, 5), .args = &causal, .no_differences = true},
    {"more groups than one dispatch has", build, 3, QKV(91, 91, 2, 1, 3), .no_differences = true}, /* 8281 of 8192 */
    {"a scale", build, 3, QKV(1, 2, 10, 11, 12), .args = &steep},
    {"a negative scale, causal", build, 3, QKV(1, 2, 10, 10, 12), .args = &falling},
    {"rows before heads", build_rows_first, 3, QKV(2, 11, 3, 3, 8), .args = &steep},
    {"rows before heads, more keys",
     build_rows_first,
     3,
     {{.shape = {4, {2, 9, 3, 12}}, .lo = -1, .hi = 1},
      {.shape = {4, {2, 17, 3, 12}}, .lo = -1, .hi = 1},
      {.shape = {4, {2, 17, 3, 12}}, .lo = -2, .hi = 2}}},
    {"rows before heads, causal, size 5", build_rows_first, 3, QKV(2, 35, 3, 3, 5), .args = &causal,
     .no_differences = true},
    {"rows before heads, causal, size 32", build_rows_first, 3, QKV(2, 33, 4, 4, 32), .args = &causal,
     .no_differences = true},
    {"one sequence", build_self, 1, {{.shape = {4, {2, 2, 13, 8}}, .lo = -1, .hi = 1}}, .args = &causal},
    {"exp() alone overflows",
     build,
     3,
     {{.shape = {4, {1, 1, 9, 4}}, .lo = 10, .hi = 11},
      {.shape = {4, {1, 1, 40, 4}}, .lo = 10, .hi = 11},
      {.shape = {4, {1, 1, 40, 4}}, .lo = -1, .hi = 1}}},
    {"far below zero",
     build,
     3,
     {{.shape = {4, {1, 1, 9, 4}}, .lo = 10, .hi = 11},
      {.shape = {4, {1, 1, 40, 4}}, .lo = -11, .hi = -10},
      {.shape = {4, {1, 1, 40, 4}}, .lo = -1, .hi = 1}},
     .args = &causal},
};

static void transpositions_go_away(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.reports_reset = true;
    limits.storage_blocks = 8;
    limits.group_invocations = 256;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in[3], *outputs[4];
    for (int i = 0; i < 3; i++) {
        const char name[] = {'x', (char)('0' + i), 0};
        in[i] = esker_input(graph, name, ESKER_DTYPE_F32, &(esker_shape){4, {2, 9, 3, 8}});
    }
    outputs[3] = build_rows_first(graph, in, &causal);
    esker_node *w = esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){4, {2, 9, 3, 8}});
    esker_node *loss = esker_sum(esker_mul(outputs[3], w), NULL, 0, false);
    assert_ok(esker_gradients(loss, in, 3, outputs));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.limits = &limits, .outputs = outputs, .n_outputs = 4}, &plan));
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (!strcmp(d.op, "transpose") || !strcmp(d.kernel, "attention/pack")) fail_msg("dispatch %d is %s", i, d.kernel);
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    const op_check_input x = {.shape = {4, {2, 3, 4, 8}}, .hi = 1}, flat = {.shape = {3, {3, 4, 8}}, .hi = 1};
    const op_check_input longer = {.shape = {4, {2, 3, 5, 8}}, .hi = 1}, heads = {.shape = {4, {2, 2, 4, 8}}, .hi = 1};
    const op_check_input wide = {.shape = {4, {1, 1, 2, 257}}, .hi = 1}, many = {.shape = {4, {1, 1, 32769, 1}}, .hi = 1};
    const op_check_input integers = {.dtype = ESKER_DTYPE_I32, .shape = {4, {2, 3, 4, 8}}, .hi = 1};
    const esker_attention_desc infinite = {.scale = INFINITY}, nan = {.scale = NAN};
    op_check_refused(
        build, NULL, (op_check_input[]){flat, flat, flat}, 3, ESKER_ERR_INVALID,
        "attention(float32 [3, 4, 8], float32 [3, 4, 8], float32 [3, 4, 8]): q, k and v must be [batch, heads");
    op_check_refused(build, NULL, (op_check_input[]){x, longer, x}, 3, ESKER_ERR_INVALID, "k and v must have equal shapes");
    op_check_refused(build, NULL, (op_check_input[]){x, heads, heads}, 3, ESKER_ERR_INVALID, "axis 1 is 3 and 2");
    op_check_refused(build, NULL, (op_check_input[]){wide, wide, wide}, 3, ESKER_ERR_LIMIT,
                     "heads of 257 elements, at most 256");
    op_check_refused(build, NULL, (op_check_input[]){many, many, many}, 3, ESKER_ERR_LIMIT, "32769 queries and 32769 keys");
    op_check_refused(build, NULL, (op_check_input[]){x, integers, x}, 3, ESKER_ERR_INVALID, "takes float32 alone");
    op_check_refused(build, &infinite, (op_check_input[]){x, x, x}, 3, ESKER_ERR_INVALID, "the scale is inf");
    op_check_refused(build, &nan, (op_check_input[]){x, x, x}, 3, ESKER_ERR_INVALID, "it must be finite");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refuses_what_does_not_fit),
                                      cmocka_unit_test(transpositions_go_away)};
    return op_check_main("attention", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
