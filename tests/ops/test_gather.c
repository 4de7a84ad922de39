/* device test: take, embedding, gather, scatter_add and one_hot, and indices that are out of range. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <esker/plan.h>
#include "graph/graph.h"
#include "support/op_check.h"

static int axis_of(const void *args)
{
    return args ? *(const int *)args : 0;
}

static esker_node *build_take(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_take(in[0], in[1], axis_of(args));
}

static esker_node *build_embedding(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_embedding(in[0], in[1]);
}

/* Indices that come as another type, which models have them in, and what is added to the rows: one operation with fusion. */
static esker_node *converted(esker_node *index, esker_dtype by)
{
    return esker_convert(esker_convert(index, by), ESKER_DTYPE_I32);
}

static esker_node *build_from_floats(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_add(esker_embedding(in[0], converted(in[1], ESKER_DTYPE_F32)), in[2]);
}

static esker_node *build_from_bytes(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_add(in[2], esker_embedding(in[0], converted(in[1], ESKER_DTYPE_U8)));
}

static esker_node *build_along_last(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_take(in[0], converted(in[1], ESKER_DTYPE_F32), -1);
}

static esker_node *build_gather(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_gather(in[0], in[1], axis_of(args));
}

static esker_node *build_scatter(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_scatter_add(in[0], in[1], in[2], axis_of(args));
}

static esker_node *build_one_hot(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_one_hot(in[0], axis_of(args));
}

/* clang-format off */
#define F32(...)     {.shape = DIMS(__VA_ARGS__), .lo = -2, .hi = 2}
#define INDEX(n, ...) {.dtype = ESKER_DTYPE_I32, .shape = DIMS(__VA_ARGS__), .lo = 0, .hi = (n) - 1}
#define ONE(n)       {.dtype = ESKER_DTYPE_I32, .shape = {0}, .lo = 0, .hi = (n) - 1}
#define AXIS(axis_)  .args = &(int){axis_}

static const op_check_row rows[] = {
    {"take rows", build_take, 2, {F32(9, 7), INDEX(9, 13)}, AXIS(0)},
    {"take rows of quads", build_take, 2, {F32(9, 8), INDEX(9, 13)}, AXIS(0)},
    {"take rows of many quads", build_take, 2, {F32(9, 132), INDEX(9, 133)}, AXIS(0), .no_differences = true},
    {"take quads of a middle axis, indices of rank 2", build_take, 2, {F32(3, 5, 8), INDEX(5, 2, 6)}, AXIS(1)},
    {"take along the last axis", build_take, 2, {F32(5, 9), INDEX(9, 13)}, AXIS(-1)},
    {"take from a middle axis, indices of rank 2", build_take, 2, {F32(3, 5, 4), INDEX(5, 2, 6)}, AXIS(1)},
    {"take one row", build_take, 2, {F32(3, 5), ONE(3)}, AXIS(0)},
    {"take from a single element", build_take, 2, {F32(1), INDEX(1, 129)}, AXIS(0)},
    {"take along the last axis of many rows", build_take, 2, {F32(4200, 3), INDEX(3, 5)}, AXIS(1), .no_differences = true},
    {"take int32", build_take, 2, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(5, 3), .lo = -2e9, .hi = 2e9}, INDEX(5, 7)}, AXIS(0), .no_gradient = true},
    {"take bytes", build_take, 2, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(5, 3), .lo = 0, .hi = 255}, INDEX(5, 7)}, AXIS(0), .no_gradient = true},
    {"embedding of 65 x 128, 768 indices", build_embedding, 2, {F32(65, 128), INDEX(65, 12, 64)}, .no_differences = true},
    {"embedding of 10000 x 64, 4096 indices", build_embedding, 2, {F32(10000, 64), INDEX(10000, 4096)}, .no_differences = true},
    {"embedding of 250 x 64, 4096 indices", build_embedding, 2, {F32(250, 64), INDEX(250, 4096)}, .no_differences = true},
    {"embedding, 20000 indices, columns past a group", build_embedding, 2, {F32(3, 65), INDEX(3, 20000)}, .no_differences = true},
    {"embedding, all indices alike", build_embedding, 2, {F32(1, 5), INDEX(1, 127)}, .args = NULL},
    {"embedding of 300 x 3", build_embedding, 2, {F32(300, 3), INDEX(300, 129)}, .args = NULL},

    {"indices from floats, and positions", build_from_floats, 3, {F32(9, 8), INDEX(9, 3, 5), F32(5, 8)}},
    {"indices from floats, a row added", build_from_floats, 3, {F32(9, 4), INDEX(9, 3, 5), F32(1, 4)}},
    {"indices from floats, as much added", build_from_floats, 3, {F32(9, 4), INDEX(9, 3, 5), F32(3, 5, 4)}},
    {"indices from floats, a column added", build_from_floats, 3, {F32(9, 4), INDEX(9, 3, 5), F32(5, 1)}},
    {"indices from floats, an element added", build_from_floats, 3, {F32(9, 4), INDEX(9, 3, 5), F32(1)}},
    {"indices from floats, more axes added", build_from_floats, 3, {F32(9, 4), INDEX(9, 3), F32(2, 3, 4)}},
    {"indices from floats, odd rows", build_from_floats, 3, {F32(9, 7), INDEX(9, 3, 5), F32(5, 7)}},
    {"indices from floats, 65 x 128", build_from_floats, 3, {F32(65, 128), INDEX(65, 12, 64), F32(64, 128)}, .no_differences = true},
    {"indices from floats, along the last axis", build_along_last, 2, {F32(5, 9), INDEX(9, 13)}},
    {"indices from floats, along the last axis of many rows", build_along_last, 2, {F32(4200, 3), INDEX(3, 5)}, .no_differences = true},
    {"indices from bytes, and positions", build_from_bytes, 3, {F32(9, 8), INDEX(9, 3, 5), F32(5, 8)}},
    {"indices from bytes, odd rows", build_from_bytes, 3, {F32(9, 7), INDEX(9, 13), F32(13, 7)}},
    {"gather along the first axis", build_gather, 2, {F32(5, 7), INDEX(5, 9, 7)}, AXIS(0)},
    {"gather along the last axis", build_gather, 2, {F32(7, 5), INDEX(5, 7, 3)}, AXIS(-1)},
    {"gather along a middle axis", build_gather, 2, {F32(3, 5, 4), INDEX(5, 3, 6, 4)}, AXIS(1)},
    {"gather 129 of 128", build_gather, 2, {F32(128), INDEX(128, 129)}, AXIS(0)},
    {"gather bytes", build_gather, 2, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(5, 3), .lo = 0, .hi = 255}, INDEX(5, 7, 3)}, AXIS(0), .no_gradient = true},

    {"scatter_add along the first axis", build_scatter, 3, {F32(5, 7), INDEX(5, 9, 7), F32(9, 7)}, AXIS(0)},
    {"scatter_add along the last axis", build_scatter, 3, {F32(7, 5), INDEX(5, 7, 3), F32(7, 3)}, AXIS(1)},
    {"scatter_add along a middle axis", build_scatter, 3, {F32(3, 5, 4), INDEX(5, 3, 6, 4), F32(3, 6, 4)}, AXIS(-2)},
    {"scatter_add 20000 in two dispatches", build_scatter, 3, {F32(3), INDEX(3, 20000), F32(20000)}, AXIS(0), .no_differences = true},

    {"one_hot", build_one_hot, 1, {INDEX(10, 43)}, AXIS(10), .no_gradient = true},
    {"one_hot, some out of range", build_one_hot, 1, {{.dtype = ESKER_DTYPE_I32, .shape = DIMS(3, 43), .lo = -2, .hi = 9}}, AXIS(7), .no_gradient = true},
    {"one_hot of one", build_one_hot, 1, {ONE(3)}, AXIS(3), .no_gradient = true},
};

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x[] = {F32(5, 7), INDEX(5, 9, 7), F32(9, 7)}, two[] = {x[0], x[2]}, other[] = {x[0], INDEX(5, 9, 6), x[2]};
    const op_check_input deep[] = {F32(2, 2, 2, 2, 2), INDEX(2, 2, 2, 2)}, values[] = {x[0], x[1], F32(9, 6)};
    const op_check_input line[] = {F32(5), INDEX(5, 3)}, flat[] = {x[0], INDEX(5, 3)};
    op_check_refused(build_take, NULL, two, 2, ESKER_ERR_INVALID, "take(float32 [5, 7], float32 [9, 7]): indices must be int32, not float32");
    op_check_refused(build_take, &(int){2}, x, 2, ESKER_ERR_INVALID, "take(float32 [5, 7]): axis 2, the axes are -2 to 1");
    op_check_refused(build_take, NULL, deep, 2, ESKER_ERR_INVALID, "the result would have 7 axes, at most 6 are possible");
    op_check_refused(build_embedding, NULL, line, 2, ESKER_ERR_INVALID, "embedding(float32 [5]): the table must be [rows, columns]");
    op_check_refused(build_gather, NULL, other, 2, ESKER_ERR_INVALID, "axis 1 is 7, and 6 in the indices; only axis 0 may differ");
    op_check_refused(build_gather, NULL, flat, 2, ESKER_ERR_INVALID, "rank 2 with indices of rank 1");
    op_check_refused(build_scatter, NULL, values, 3, ESKER_ERR_INVALID, "values and indices must have one shape");
    op_check_refused(build_one_hot, &(int){0}, x + 1, 1, ESKER_ERR_INVALID, "one_hot(int32 [9, 7]): 0 classes");
    op_check_refused(build_one_hot, &(int){5}, x, 1, ESKER_ERR_INVALID, "indices must be int32");
}
/* clang-format on */

/* Out of range: NaN forward, nothing backward, and the neighbours are as they should be. */
static void indices_out_of_range(void **state)
{
    (void)state;
    enum { N = 4, M = 6 };
    const float x[N] = {10, 20, 30, 40};
    const int32_t index[M] = {3, -1, 0, 4, INT32_MIN, 3};
    const double back[N] = {1, 0, 0, 2}, summed[N] = {11, 20, 30, 42};
    esker_graph *graph;
    esker_plan *plan;
    esker_device *dev = test_device();
    for (int each = 0; each < 2; each++) {
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {N}}), *grad;
        esker_node *at = esker_input(graph, "index", ESKER_DTYPE_I32, &(esker_shape){1, {M}});
        esker_node *values = esker_input(graph, "values", ESKER_DTYPE_F32, &(esker_shape){1, {M}}), *values_grad;
        esker_node *taken = each ? esker_gather(in, at, 0) : esker_take(in, at, 0);
        esker_node *added = esker_scatter_add(in, at, values, 0);
        assert_ok(esker_gradients(esker_sum(taken, NULL, 0, false), &in, 1, &grad));
        assert_ok(esker_gradients(esker_sum(added, NULL, 0, false), &values, 1, &values_grad));
        esker_node *outputs[] = {taken, grad, added, values_grad};
        assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = 4}, &plan));
        float got[M], ones[M] = {1, 1, 1, 1, 1, 1};
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, sizeof x));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "index"), index, sizeof index));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "values"), ones, sizeof ones));
        assert_ok(esker_plan_run(plan));
        assert_ok(esker_plan_read(plan, 0, 0, got, sizeof got));
        for (int i = 0; i < M; i++) {
            if (index[i] >= 0 && index[i] < N)
                assert_true(got[i] == x[index[i]]);
            else
                assert_true(isnan(got[i]));
        }
        assert_ok(esker_plan_read(plan, 0, 1, got, N * sizeof *got));
        assert_close(got, back, NULL, 0, N);
        assert_ok(esker_plan_read(plan, 0, 2, got, N * sizeof *got));
        assert_close(got, summed, NULL, 0, N);
        assert_ok(esker_plan_read(plan, 0, 3, got, sizeof got));
        for (int i = 0; i < M; i++) assert_true(got[i] == (index[i] >= 0 && index[i] < N ? 1.0f : 0.0f));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* Fractions do not count, as in a conversion; no number and what is out of range give NaN. */
static void floats_are_indices(void **state)
{
    static const float index[] = {0, 1.9f, -0.9f, -1, 2.999f, 3, 1e20f, -1e20f, NAN, 2};
    static const int want[] = {0, 1, 0, -1, 2, -1, -1, -1, -1, 2};
    enum { N = sizeof index / sizeof *index };
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    uint64_t ticket;
    float table[3 * 4], y[N * 4];
    test_device();
    test_uniform(table, 12, 1, 2, 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "table", ESKER_DTYPE_F32, &(esker_shape){2, {3, 4}});
    esker_node *i = esker_input(graph, "index", ESKER_DTYPE_F32, &(esker_shape){1, {N}});
    esker_node *out = esker_embedding(x, esker_convert(i, ESKER_DTYPE_I32));
    for (int check = 0; check < 2; check++) {
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.device = test_device(), .outputs = &out, .n_outputs = 1, .check = check != 0},
            &plan));
        esker_plan_get_info(plan, &info);
        for (int d = 0; d < info.n_dispatches; d++) {
            esker_dispatch_info dispatch;
            assert_ok(esker_plan_get_dispatch(plan, d, &dispatch));
            assert_string_not_equal(dispatch.op, "convert");
        }
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "table"), table, sizeof table));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "index"), index, sizeof index));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
        for (int j = 0; j < N * 4; j++) {
            int row = want[j / 4];
            if (row < 0 ? !isnan(y[j]) : y[j] != table[row * 4 + j % 4])
                fail_msg("index %g: element %d is %g", (double)index[j / 4], j % 4, (double)y[j]);
        }
        esker_plan_destroy(plan);
    }
    esker_graph_destroy(graph);
}

/*
 * The kernel for GPUs with many invocations: embeddings, and what else has a row's gradient, again. Where a group for each row would read more indices
 * than it is ever chosen for (2^20), it is not asked: a software device takes half a minute for that.
 */
static bool is_for_shares(const op_check_row *row)
{
    int64_t n_indices;
    assert_ok(esker_shape_elems(&row->in[1].shape, &n_indices));
    return (!strncmp(row->name, "take", 4) || !strncmp(row->name, "embedding", 9) || !strncmp(row->name, "indices", 7)) &&
           row->in[0].shape.dims[0] * n_indices <= 1 << 20;
}

static void with_shares(void **state)
{
    op_check_row row = *(const op_check_row *)*state; /* its references met central differences already */
    void *again = &row;
    row.no_differences = true;
    setenv("ESKER_VARIANT", "shares", 1);
    op_check(&again);
}

int main(void)
{
    enum { N_ROWS = sizeof rows / sizeof *rows };
    static char names[N_ROWS][100];
    struct CMUnitTest more[3 + N_ROWS] = {cmocka_unit_test(indices_out_of_range), cmocka_unit_test(floats_are_indices),
                                          cmocka_unit_test(refusals_name_the_rule)};
    int n = 3;
    for (int i = 0; i < N_ROWS; i++) {
        if (!is_for_shares(&rows[i])) continue;
        snprintf(names[i], sizeof names[i], "shares: %s", rows[i].name);
        more[n++] = (struct CMUnitTest){names[i], with_shares, NULL, test_without_variant, (void *)(uintptr_t)&rows[i]};
    }
    return op_check_main("gather", rows, N_ROWS, more, (size_t)n);
}
