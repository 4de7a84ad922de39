/* device test: what stands one behind the other in a concatenation is computed there: which concatenations run nothing, and that all is right. */
#include <esker/ops.h>
#include <esker/plan.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/graph.h"
#include "ops/ops.h"
#include "plan/plan.h"
#include "support/test.h"

#define WIDTH  16 /* of the squares that are concatenated */
#define SQUARE (WIDTH * WIDTH)

static esker_node *conv(esker_node *x, int filters, int size)
{
    int64_t channels = x->type.shape.dims[1];
    double scale = 1 / sqrt((double)channels * size * size);
    char name[32];
    snprintf(name, sizeof name, "w%d", (int)x->graph->n_nodes);
    esker_node *w = esker_parameter(x->graph, &(esker_param_desc){.name = name,
                                                                  .shape = {4, {filters, channels, size, size}},
                                                                  .init = {ESKER_INIT_UNIFORM, .value = (float)scale}});
    return esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {size / 2, size / 2}});
}

/* ---- Graphs: x is [batch, 4, WIDTH, WIDTH] ---- */

static esker_node *two_convolutions(esker_node *x)
{
    esker_node *small = esker_relu(conv(x, 8, 1));
    esker_node *parts[] = {esker_relu(conv(small, 8, 1)), esker_relu(conv(small, 12, 3))};
    return conv(esker_concat(parts, 2, 1), 4, 1);
}

/* Each layer sees all before it: concatenations inside of concatenations, and parts that others read too. */
static esker_node *dense(esker_node *x)
{
    esker_node *all = esker_tanh(conv(x, 4, 1));
    for (int i = 0; i < 3; i++) all = esker_concat((esker_node *[]){all, esker_tanh(conv(all, 4, 3))}, 2, 1);
    return esker_mul(all, all);
}

static esker_node *with_an_input(esker_node *x)
{
    return esker_square(esker_concat((esker_node *[]){esker_relu(conv(x, 8, 3)), x}, 2, 1));
}

static esker_node *twice_the_same(esker_node *x)
{
    esker_node *y = esker_tanh(x);
    return esker_square(esker_concat((esker_node *[]){y, y}, 2, 1));
}

static esker_node *thrice_the_same(esker_node *x)
{
    esker_node *y = esker_tanh(x);
    return esker_square(esker_concat((esker_node *[]){y, y, y}, 3, 1));
}

/* The first part is read again after the second is there, and in another shape. */
static esker_node *read_beside(esker_node *x)
{
    esker_node *a = esker_tanh(x), *b = esker_sigmoid(conv(a, 4, 3)), *c = esker_concat((esker_node *[]){a, b}, 2, 1);
    esker_node *d = esker_reshape(esker_mul(a, b), &x->type.shape);
    return esker_add(esker_mul(esker_slice(c, (const esker_range[]){{0}, {4, 8, 1}}, 2), a), d);
}

/* A part is a view of what is computed. */
static esker_node *views(esker_node *x)
{
    esker_node *flat = esker_reshape(esker_tanh(x), &(esker_shape){2, {-1, SQUARE}});
    esker_node *rows = esker_reshape(esker_sin(x), &(esker_shape){2, {-1, SQUARE}});
    return esker_exp(esker_concat((esker_node *[]){rows, flat}, 2, 0));
}

/* 3 x 5 floats are not whole quads, which kernels write. */
static esker_node *odd_parts(esker_node *x)
{
    esker_node *part = esker_slice(x, (const esker_range[]){{0}, {0, 1, 1}, {0, 3, 1}, {0, 5, 1}}, 4);
    return esker_square(esker_concat((esker_node *[]){esker_tanh(part), esker_sin(part)}, 2, 1));
}

/* 3 x 4 floats are whole quads, but bindings need not begin behind them. */
static esker_node *small_parts(esker_node *x)
{
    esker_node *part = esker_slice(x, (const esker_range[]){{0}, {0, 1, 1}, {0, 3, 1}, {0, 4, 1}}, 4);
    return esker_square(esker_concat((esker_node *[]){esker_tanh(part), esker_sin(part)}, 2, 1));
}

static esker_node *odd_behind(esker_node *x)
{
    esker_node *odd = esker_reshape(esker_slice(x, (const esker_range[]){{0}, {0, 1, 1}, {0, 3, 1}, {0, 5, 1}}, 4),
                                    &(esker_shape){1, {-1}});
    esker_node *flat = esker_reshape(x, &(esker_shape){1, {-1}});
    return esker_square(esker_concat((esker_node *[]){esker_tanh(flat), esker_sin(odd)}, 2, 0));
}

/* The whole has a place of its own, as an output of the plan. */
static esker_node *an_output(esker_node *x)
{
    return esker_concat((esker_node *[]){esker_tanh(x), esker_sin(x)}, 2, 1);
}

/* Backward: the gradients of all parts of a value are that of the value, one behind the other. */
static esker_node *halves_of(esker_node *x, int axis)
{
    esker_node *parts[2], *y = esker_affine(x, 2, 0);
    if (esker_split_axis(y, axis, NULL, 2, parts) != ESKER_OK) return NULL;
    return esker_mul(esker_tanh(parts[0]), esker_square(parts[1]));
}

static esker_node *halves(esker_node *x)
{
    return halves_of(x, 1);
}

static esker_node *halves_of_rows(esker_node *x)
{
    return halves_of(x, 3);
}

static esker_node *four_parts(esker_node *x)
{
    esker_node *parts[4], *y = esker_affine(x, 2, 0), *z = NULL;
    if (esker_split_axis(y, 1, NULL, 4, parts) != ESKER_OK) return NULL;
    for (int i = 3; i >= 0; i--) z = z ? esker_mul(z, esker_tanh(parts[i])) : esker_sin(parts[i]);
    return z;
}

/* No parts of one whole: two overlap, there is a gap, and every second row. */
static esker_node *overlapping(esker_node *x)
{
    esker_node *y = esker_affine(x, 2, 0);
    return esker_mul(esker_tanh(esker__slice_axis(y, 1, 0, 3)), esker_square(esker__slice_axis(y, 1, 1, 3)));
}

static esker_node *with_a_gap(esker_node *x)
{
    esker_node *y = esker_affine(x, 2, 0);
    return esker_mul(esker_tanh(esker__slice_axis(y, 1, 0, 1)), esker_square(esker__slice_axis(y, 1, 2, 2)));
}

static esker_node *every_second(esker_node *x)
{
    esker_node *y = esker_affine(x, 2, 0);
    return esker_mul(esker_tanh(esker_slice(y, (const esker_range[]){{0}, {0, 3, 2}}, 2)),
                     esker_square(esker_slice(y, (const esker_range[]){{0}, {1, 4, 2}}, 2)));
}

/* The value has another reader, whose gradient comes on top. */
static esker_node *halves_and_all(esker_node *x)
{
    esker_node *y = esker_affine(x, 2, 0), *z = halves_of(y, 1);
    return esker_add(z, esker_sum(esker_sin(y), NULL, 0, false));
}

static const struct inside_case {
    const char *name;
    esker_node *(*record)(esker_node *x);
    int batch, n_concats, n_copies; /* forward and backward */
    int n_unslices;
    int n_unaligned; /* concatenations more where bindings cannot begin at every 16 bytes */
} cases[] = {
    {"halves", halves, 1, 0, 0},
    {"halves, of two samples", halves, 2, 1, 0},
    {"halves of rows", halves_of_rows, 1, 1, 0},
    {"four parts", four_parts, 1, 0, 0},
    {"parts that overlap", overlapping, 1, 0, 0, 2},
    {"parts with a gap", with_a_gap, 1, 0, 0, 2},
    {"every second channel", every_second, 1, 0, 0, 2},
    {"halves and all", halves_and_all, 2, 1, 0, 0},
    {"two convolutions", two_convolutions, 1, 0, 0},
    {"two convolutions, of two samples", two_convolutions, 2, 1, 0},
    {"dense blocks", dense, 1, 0, 0},
    {"dense blocks of three samples", dense, 3, 3, 0},
    {"beside an input", with_an_input, 1, 0, 1},
    {"twice the same", twice_the_same, 1, 0, 1},
    {"thrice the same", thrice_the_same, 1, 1, 0},
    {"read beside what is written later", read_beside, 1, 0, 0, 1},
    {"views", views, 2, 0, 0},
    {"parts of no whole quads", odd_parts, 1, 1, 0, 1},
    {"parts of a few quads", small_parts, 1, 0, 0, 1, 1},
    {"the last of no whole quads", odd_behind, 1, 0, 0, 1},
    {"an output", an_output, 1, 1, 0},
};

static void run(esker_graph *graph, const struct inside_case *c, esker_node **outputs, bool fuse, const float *x,
                size_t x_bytes, float *y, float *g, int n_y)
{
    esker_plan *plan;
    uint64_t ticket;
    assert_ok(esker_plan_compile(graph,
                                 &(esker_plan_desc){.device = test_device(),
                                                    .outputs = outputs,
                                                    .n_outputs = 2,
                                                    .check = !fuse,
                                                    .no_fusion = !fuse,
                                                    .slice_seconds = -1},
                                 &plan));
    assert_ok(esker_plan_check(plan));
    int n_concats = c->n_concats + (plan->limits.storage_align > 16 ? c->n_unaligned : 0);
    if (test_count_kernels(plan, "shape/concat") != n_concats || test_count_kernels(plan, "runtime/copy") != c->n_copies)
        fail_msg("%s: %d concatenations and %d copies, not %d and %d", c->name, test_count_kernels(plan, "shape/concat"),
                 test_count_kernels(plan, "runtime/copy"), n_concats, c->n_copies);
    int n_unslices = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) n_unslices += !strcmp(plan->dispatches[p].op, "unslice");
    if (n_unslices != c->n_unslices) fail_msg("%s: %d unslices, not %d", c->name, n_unslices, c->n_unslices);
    for (int turn = 0; turn < 2; turn++) {
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, x_bytes));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, y, (size_t)n_y * sizeof *y));
        assert_ok(esker_plan_read(plan, ticket, 1, g, x_bytes));
    }
    esker_plan_destroy(plan);
}

static void parts_are_where_they_belong(void **state)
{
    enum { MOST = 3 * 16 * SQUARE };
    static float x[MOST], y[MOST], g[MOST];
    static double given[MOST];
    const struct inside_case *c = *state;
    esker_graph *graph;
    double **values;
    test_device();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {c->batch, 4, WIDTH, WIDTH}});
    esker_node *outputs[2] = {c->record(in)};
    assert_non_null(outputs[0]);
    assert_ok(esker_gradients(esker_sum(esker_square(outputs[0]), NULL, 0, false), &in, 1, &outputs[1]));
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 5));
    int n_x = (int)esker__elems(&in->type.shape), n_y = (int)esker__elems(&outputs[0]->type.shape);
    assert_true(n_y <= MOST);
    test_uniform(x, n_x, -1, 1, 3);
    for (int fuse = 0; fuse < 2; fuse++) {
        run(graph, c, outputs, fuse, x, (size_t)n_x * sizeof *x, y, g, n_y);
        const double **known = calloc(graph->n_nodes, sizeof *known);
        double *params[16] = {NULL};
        int n_params = 0;
        for (int i = 0; i < n_x; i++) given[i] = (double)x[i];
        known[in->id] = given;
        for (size_t i = 0; i < graph->n_nodes; i++) {
            const esker_node *node = graph->nodes[i];
            if (node->op != &esker__op_parameter) continue;
            size_t n = (size_t)esker__elems(&node->type.shape);
            float *w = malloc(n * sizeof *w);
            params[n_params] = malloc(n * sizeof **params);
            assert_ok(
                esker_params_read(graph->params, (int)((const esker__parameter_attr *)node->attr)->index, w, (int64_t)n));
            for (size_t j = 0; j < n; j++) params[n_params][j] = (double)w[j];
            known[i] = params[n_params++];
            free(w);
        }
        assert_ok(esker__evaluate(graph, known, outputs, 2, &values, NULL));
        for (int i = 0; i < n_y; i++) {
            double want = values[outputs[0]->id][i];
            if (!(fabs((double)y[i] - want) <= 1e-5 * (1 + fabs(want))))
                fail_msg("%s: element %d is %.9g, not %.9g", c->name, i, (double)y[i], want);
        }
        for (int i = 0; i < n_x; i++) {
            double want = values[outputs[1]->id][i];
            if (!(fabs((double)g[i] - want) <= 1e-4 * (1 + fabs(want))))
                fail_msg("%s: element %d of the gradient is %.9g, not %.9g", c->name, i, (double)g[i], want);
        }
        esker__evaluate_free(graph, values);
        for (int i = 0; i < n_params; i++) free(params[i]);
        free(known);
    }
    esker_graph_destroy(graph);
}

/* Gradients of attention are written into the rows of one value, each in columns of its own, without a barrier between them. */
static void columns_do_not_meet(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_limits limits;
    esker_node *parts[3], *grad;
    esker_limits_es31(&limits);
    limits.storage_blocks = 8;
    limits.group_invocations = limits.group_size[0] = 1024;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {2, 9, 3 * 4 * 8}}), *y = esker_tanh(x);
    assert_ok(esker_split_axis(y, 2, NULL, 3, parts));
    for (int i = 0; i < 3; i++)
        parts[i] = esker_transpose(esker_reshape(parts[i], &(esker_shape){4, {2, 9, 4, 8}}), (const int[]){0, 2, 1, 3});
    esker_node *rows = esker_transpose(esker_attention(parts[0], parts[1], parts[2], NULL), (const int[]){0, 2, 1, 3});
    esker_node *loss = esker_sum(esker_square(rows), NULL, 0, false);
    assert_ok(esker_gradients(loss, &x, 1, &grad));
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = &limits, .outputs = &grad, .n_outputs = 1, .slice_seconds = -1}, &plan));
    assert_ok(esker_plan_check(plan));
    esker__plan_operand *columns[3] = {NULL};
    int n = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        esker__plan_dispatch *d = &plan->dispatches[p];
        if (strcmp(plan->kernels[d->kernel].name, "attention/grad") != 0) continue;
        assert_true(n < 3 && (n == 0 || !d->barrier));
        columns[n++] = &d->operands[d->n_operands - 1];
    }
    assert_int_equal(n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(columns[i]->value, columns[0]->value);
        assert_int_equal(columns[i]->part_bytes, 4 * 8 * 4);
    }
    /* And the checker would say so. */
    columns[1]->part_bytes += 4;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "no barrier between");
    columns[1]->part_bytes -= 4;
    columns[1]->part_at -= 4;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "no barrier between");
    columns[1]->part_at += 4;
    columns[0]->part_at += 4;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "no barrier between");
    columns[0]->part_at -= 4;
    columns[2]->period = 0; /* all of it */
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "no barrier between");
    columns[2]->period = columns[0]->period;
    assert_ok(esker_plan_check(plan));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    enum { N = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[N + 1] = {[N] = cmocka_unit_test(columns_do_not_meet)};
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = cases[i].name, .test_func = parts_are_where_they_belong, .initial_state = (void *)(uintptr_t)&cases[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
