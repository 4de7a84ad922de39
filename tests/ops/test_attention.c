/* device test: attention and its gradients against the whole matrix in double, over sizes around the tiles. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <esker/plan.h>
#include "ops/ops.h"
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

/* q, k and v as columns of the rows of one value, [batch, rows, width] or more axes, in the order `at`; `with`: what else there is. */
typedef struct columns {
    esker_attention_desc desc;
    int heads, size, width, at[3]; /* the columns from which q, k and v go on */
    bool apart;                    /* other axes: [batch, rows, width / size, size] */
} columns;

static esker_node *heads_at(esker_node *x, const columns *c, int which)
{
    esker_node *y = c->apart ? esker__slice_axis(x, 2, c->at[which] / c->size, c->heads)
                             : esker__slice_axis(x, 2, c->at[which], c->heads * c->size);
    y = esker_reshape(y, &(esker_shape){4, {-1, x->type.shape.dims[1], c->heads, c->size}});
    return esker_transpose(y, (const int[]){0, 2, 1, 3});
}

static esker_node *build_columns(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const columns *c = args;
    esker_node *x = esker_affine(in[0], 1.25f, 0); /* so that there is a value whose gradient is computed in columns */
    if (c->apart) x = esker_reshape(x, &(esker_shape){4, {-1, x->type.shape.dims[1], c->width / c->size, c->size}});
    return esker_transpose(esker_attention(heads_at(x, c, 0), heads_at(x, c, 1), heads_at(x, c, 2), &c->desc),
                           (const int[]){0, 2, 1, 3});
}

static const columns in_order = {{.causal = true}, 2, 8, 48, {0, 16, 32}},
                     turned = {{.scale = 0.5f}, 3, 4, 36, {24, 0, 12}}, one_head = {{.causal = true}, 1, 8, 24, {0, 8, 16}},
                     odd_size = {{.causal = true}, 2, 5, 30, {0, 10, 20}},
                     with_more = {{.causal = true}, 2, 4, 32, {4, 12, 24}}, sharing = {{0}, 2, 4, 16, {0, 8, 8}},
                     as_heads = {{0}, 2, 8, 48, {0, 16, 32}, true}, between_heads = {{0}, 2, 4, 26, {0, 9, 18}},
                     large_size = {{.causal = true}, 2, 132, 792, {0, 264, 528}},
                     usual = {{.causal = true}, 4, 32, 384, {0, 128, 256}},
                     of_64 = {{.causal = true}, 2, 64, 384, {0, 128, 256}};

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
    LARGE("size 48", 1, 2, 70, 66, 48),
    LARGE("size 128", 1, 1, 9, 130, 128),
    LARGE("size 100", 1, 1, 65, 67, 100),
    LARGE("size 130", 1, 1, 5, 6, 130),
    {"size 256", build, 3, QKV(1, 1, 5, 7, 256), .args = &causal, .no_differences = true},
    {"127 rows", build, 3, QKV(1, 1, 127, 127, 8), .args = &causal, .no_differences = true},
    {"1025 rows", build, 3, QKV(1, 1, 1025, 1025, 5), .args = &causal, .no_differences = true},
    {"more groups than one dispatch has", build, 3, QKV(91, 91, 2, 1, 3), .no_differences = true}, /* 8281 of 8192 */
    {"a scale", build, 3, QKV(1, 2, 10, 11, 12), .args = &steep},
    {"a negative scale, causal", build, 3, QKV(1, 2, 10, 10, 12), .args = &falling},
    {"columns of one value", build_columns, 1, {IN(DIMS(2, 9, 48), -1, 1)}, .args = &in_order},
    {"columns in another order", build_columns, 1, {IN(DIMS(2, 7, 36), -1, 1)}, .args = &turned},
    {"columns of one head", build_columns, 1, {IN(DIMS(2, 9, 24), -1, 1)}, .args = &one_head},
    {"columns, size 5", build_columns, 1, {IN(DIMS(2, 6, 30), -1, 1)}, .args = &odd_size},
    {"columns with others between", build_columns, 1, {IN(DIMS(2, 7, 32), -1, 1)}, .args = &with_more},
    {"k and v are the same columns", build_columns, 1, {IN(DIMS(2, 7, 16), -1, 1)}, .args = &sharing},
    {"columns as heads", build_columns, 1, {IN(DIMS(2, 5, 48), -1, 1)}, .args = &as_heads},
    {"columns that begin between heads", build_columns, 1, {IN(DIMS(2, 5, 26), -1, 1)}, .args = &between_heads},
    {"columns, size 132", build_columns, 1, {IN(DIMS(1, 5, 792), -1, 1)}, .args = &large_size, .no_differences = true},
    {"columns, size 32", build_columns, 1, {IN(DIMS(2, 33, 384), -1, 1)}, .args = &usual, .no_differences = true},
    {"columns, size 64", build_columns, 1, {IN(DIMS(2, 35, 384), -1, 1)}, .args = &of_64, .no_differences = true},
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

static void no_dispatch_moves_elements(esker_node *const *in, int n_in, esker_node *y, uint32_t invocations)
{
    static const char *const movers[] = {"transpose", "slice", "unslice", "concat", "add"};
    esker_plan *plan;
    esker_plan_info info;
    esker_limits limits;
    esker_node *outputs[4] = {NULL};
    esker_limits_es31(&limits);
    limits.reports_reset = true;
    limits.storage_blocks = 8;
    limits.group_invocations = limits.group_size[0] = invocations;
    esker_node *w = esker_input(y->graph, "w", ESKER_DTYPE_F32, &y->type.shape);
    esker_node *loss = esker_sum(esker_mul(y, w), NULL, 0, false);
    assert_ok(esker_gradients(loss, in, n_in, outputs));
    outputs[n_in] = y;
    assert_ok(esker_plan_compile(
        y->graph, &(esker_plan_desc){.limits = &limits, .outputs = outputs, .n_outputs = n_in + 1, .slice_seconds = -1},
        &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &info);
    int n_grads = 0, first_grad = -1;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        bool moves = !strcmp(d.kernel, "attention/pack");
        for (size_t k = 0; k < sizeof movers / sizeof *movers; k++) moves = moves || !strcmp(d.op, movers[k]);
        if (moves) fail_msg("dispatch %d is %s by %s", i, d.op, d.kernel);
        if (strcmp(d.kernel, "attention/grad") != 0) continue;
        n_grads++;
        /* The three may run at once, though they write the same rows. */
        if (first_grad >= 0 && d.barrier) fail_msg("dispatch %d, a gradient of attention, waits for another", i);
        if (first_grad < 0) first_grad = i;
    }
    assert_int_equal(n_grads, 3);
    esker_plan_destroy(plan);
}

static void transpositions_go_away(void **state)
{
    (void)state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in[3];
    for (int i = 0; i < 3; i++) {
        const char name[] = {'x', (char)('0' + i), 0};
        in[i] = esker_input(graph, name, ESKER_DTYPE_F32, &(esker_shape){4, {2, 9, 3, 8}});
    }
    no_dispatch_moves_elements(in, 3, build_rows_first(graph, in, &causal), 256);
    esker_graph_destroy(graph);
}

static void columns_are_read_where_they_are(void **state)
{
    static const columns *const all[] = {&in_order, &turned, &one_head, &as_heads, &usual};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {2, 9, all[i]->width}});
        no_dispatch_moves_elements(&x, 1, build_columns(graph, &x, all[i]), 512);
        esker_graph_destroy(graph);
    }
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

/* ---- The other ways: rows of theirs again, where the device has the limits for them ---- */

/* By what a head's elements are: how many they are at least and at most. `kernels`: forward and backward. */
static const struct way {
    const char *name, *kernels[2];
    int least, most;
} ways[] = {
    {"tiled", {"attention/tiled", "attention/grad_tiled"}, 1, 32},
    {"tiled32,tiled", {"attention/tiled", "attention/grad_tiled"}, 17, 32},
    {"held32,tiled", {"attention/tiled", "attention/grad_tiled"}, 17, 32},
    {"eights", {"attention/eights", "attention/grad_eights"}, 1, 64},
    {"block4x8", {"attention/blocks", "attention/grad_blocks"}, 1, 32},
    {"block8x4", {"attention/blocks", "attention/grad_blocks"}, 33, 64},
    {"block4x4", {"attention/blocks", "attention/grad_blocks"}, 33, 64},
    {"block4x4", {"attention/blocks", "attention/grad_blocks"}, 65, 128},
    {"block8x4", {"attention/blocks", "attention/grad"}, 65, 128},
};

static int64_t size_of(const op_check_row *row)
{
    const columns *c = row->build == build_columns ? row->args : NULL;
    return c ? c->size : row->in[0].shape.dims[3];
}

/* Those that are large programs where a CPU compiles them go through some of the rows alone. */
static bool is_for_large(const op_check_row *row)
{
    static const char *const names[] = {"size 32, more keys",
                                        "size 32, more queries, causal",
                                        "size 48, causal",
                                        "size 64",
                                        "size 100, causal",
                                        "columns, size 32",
                                        "columns, size 64",
                                        "exp() alone overflows",
                                        "rows before heads, causal, size 32"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(row->name, names[i])) return true;
    return false;
}

static bool has_way(const op_check_row *row, const struct way *w)
{
    int64_t size = size_of(row);
    if (!strstr(w->kernels[0], "tiled") && !is_for_large(row)) return false;
    return size % 4 == 0 && size >= w->least && size <= w->most;
}

static bool has_ways(const op_check_row *row)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (has_way(row, &ways[i])) return true;
    return false;
}

static void in_other_ways(void **state)
{
    op_check_row row = *(const op_check_row *)*state; /* its references met central differences already */
    void *again = &row;
    row.no_differences = true;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (!has_way(&row, &ways[i])) continue;
        setenv("ESKER_VARIANT", ways[i].name, 1);
        op_check(&again);
    }
}

static int usual_way(void **state)
{
    (void)state;
    unsetenv("ESKER_VARIANT");
    return 0;
}

/* Several of a dispatch's groups of each kind, and the last ones not full: the gradients of all three in one dispatch. */
static void gradients_are_one_dispatch(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.storage_blocks = 8;
    limits.group_invocations = limits.group_size[0] = 1024;
    limits.shared_bytes = 49152;
    setenv("ESKER_VARIANT", "tiled", 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {2, 33, 384}}), *grad;
    esker_node *loss = esker_sum(esker_square(build_columns(graph, &x, &usual)), NULL, 0, false);
    assert_ok(esker_gradients(loss, &x, 1, &grad));
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = &limits, .outputs = &grad, .n_outputs = 1, .slice_seconds = -1}, &plan));
    esker_plan_get_info(plan, &info);
    int n = 0, n_tiled = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += !strncmp(d.kernel, "attention/", 10);
        n_tiled += !strcmp(d.kernel, "attention/tiled") || !strcmp(d.kernel, "attention/grad_tiled");
    }
    assert_int_equal(n, 2);
    assert_int_equal(n_tiled, 2);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* That a name stands for the kernels whose results are looked at above, where q, k and v are apart and where they are columns of one value. */
static void names_stand_for_kernels(void **state)
{
    (void)state;
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.storage_blocks = 8;
    limits.group_invocations = limits.group_size[0] = 1024;
    limits.shared_bytes = 49152;
    for (size_t i = 0; i < 2 * (sizeof ways / sizeof *ways); i++) {
        const struct way *w = &ways[i / 2];
        int size = w->most, n_seen[2] = {0}; /* from tiles, gradients with three results are not one dispatch */
        bool apart = i % 2 && strcmp(w->kernels[0], "attention/tiled") != 0;
        const columns one = {{.causal = true}, 2, size, 6 * size, {0, 2 * size, 4 * size}};
        esker_graph *graph;
        esker_plan *plan;
        esker_plan_info info;
        esker_node *in[3], *outputs[4] = {NULL};
        int n_in = apart ? 3 : 1;
        assert_ok(esker_graph_create(NULL, &graph));
        for (int k = 0; k < n_in; k++) {
            const char name[] = {'x', (char)('0' + k), 0};
            in[k] = esker_input(
                graph, name, ESKER_DTYPE_F32,
                &(esker_shape){n_in == 1 ? 3 : 4, {2, n_in == 1 ? 33 : 2, n_in == 1 ? 6 * size : 33, size}});
        }
        esker_node *y = n_in == 1 ? build_columns(graph, in, &one) : build(graph, in, &causal);
        assert_ok(esker_gradients(esker_sum(esker_square(y), NULL, 0, false), in, n_in, outputs));
        setenv("ESKER_VARIANT", w->name, 1);
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.limits = &limits, .outputs = outputs, .n_outputs = n_in, .slice_seconds = -1},
            &plan));
        esker_plan_get_info(plan, &info);
        for (int k = 0; k < info.n_dispatches; k++) {
            esker_dispatch_info d;
            assert_ok(esker_plan_get_dispatch(plan, k, &d));
            for (int grad = 0; grad < 2; grad++) n_seen[grad] += !strcmp(d.kernel, w->kernels[grad]);
        }
        if (!n_seen[0] || !n_seen[1])
            fail_msg("%s, size %d, %d inputs: %d and %d dispatches", w->name, size, n_in, n_seen[0], n_seen[1]);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    enum { N_ROWS = sizeof rows / sizeof *rows };
    static char names[N_ROWS][100];
    struct CMUnitTest more[5 + N_ROWS] = {cmocka_unit_test(refuses_what_does_not_fit),
                                          cmocka_unit_test(transpositions_go_away),
                                          cmocka_unit_test(columns_are_read_where_they_are),
                                          cmocka_unit_test_setup_teardown(names_stand_for_kernels, NULL, usual_way),
                                          cmocka_unit_test_setup_teardown(gradients_are_one_dispatch, NULL, usual_way)};
    int n = 5;
    for (int i = 0; i < N_ROWS; i++) {
        if (!has_ways(&rows[i])) continue;
        snprintf(names[i], sizeof names[i], "in other ways: %s", rows[i].name);
        more[n++] = (struct CMUnitTest){names[i], in_other_ways, NULL, usual_way, (void *)(uintptr_t)&rows[i]};
    }
    return op_check_main("attention", rows, N_ROWS, more, (size_t)n);
}
