/* device test: pieces of a tensor that are read where they lie: which slices run nothing, and that nobody reads past them. */
#include <esker/ops.h>
#include <esker/plan.h>

#include <math.h>
#include <stdio.h>

#include "graph/graph.h"
#include "ops/ops.h"
#include "plan/plan.h"
#include "support/test.h"

static int count(const esker_plan *plan, const char *op)
{
    int n = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++)
        n += plan->dispatches[p].phase == ESKER__PHASE_FORWARD && !strcmp(plan->dispatches[p].op, op);
    return n;
}

/* ---- Which slices cost nothing ---- */

static const struct extent_case {
    const char *name;
    esker_shape shape;
    esker_range ranges[3];
    uint32_t align; /* of storage bindings */
    bool is_free;
} extents[] = {
    {"rows of 256 bytes", {2, {4, 64}}, {{1, 3, 1}}, 256, true},
    {"the first rows, of any length", {2, {4, 63}}, {{0, 3, 1}}, 256, true},
    {"rows of 252 bytes", {2, {4, 63}}, {{1, 3, 1}}, 256, false},
    {"rows of 252 bytes from the 64th on", {2, {70, 63}}, {{64, 67, 1}}, 256, true},
    {"rows of 240 bytes", {2, {4, 60}}, {{1, 3, 1}}, 256, false},
    {"rows of 240 bytes where 16 will do", {2, {4, 60}}, {{1, 3, 1}}, 16, true},
    {"rows of 8 bytes where 4 would do", {2, {4, 2}}, {{1, 3, 1}}, 4, false},
    {"in the middle, behind axes of 1", {4, {1, 1, 8, 64}}, {{0}, {0}, {2, 5, 1}}, 256, true},
    {"in the middle, behind axes that are cut to 1", {3, {5, 8, 64}}, {{3, 4, 1}, {2, 5, 1}}, 256, true},
    {"in the middle, behind two", {3, {5, 8, 64}}, {{3, 5, 1}, {2, 5, 1}}, 256, false},
    {"every second row", {2, {8, 64}}, {{0, 8, 2}}, 256, false},
    {"one row, in a step of two", {2, {8, 64}}, {{2, 4, 2}}, 256, true},
    {"columns", {2, {8, 64}}, {{0}, {0, 32, 1}}, 256, false},
    {"columns of one row", {2, {8, 128}}, {{2, 3, 1}, {64, 101, 1}}, 256, true},
};

static void slices_cost_nothing_where_bindings_may_begin(void **state)
{
    const struct extent_case *c = *state;
    esker_limits limits;
    esker_graph *graph;
    esker_plan *plan;
    esker_limits_es31(&limits);
    limits.storage_align = c->align;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_affine(esker_input(graph, "x", ESKER_DTYPE_F32, &c->shape), 2, 0);
    esker_node *y = esker_slice(x, c->ranges, 3 < c->shape.rank ? 3 : c->shape.rank);
    esker_node *outputs[] = {esker_relu(y)};
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.limits = &limits, .outputs = outputs, .n_outputs = 1}, &plan));
    assert_int_equal(count(plan, "slice"), !c->is_free);
    esker_plan_destroy(plan);
    /* An output has a place of its own. */
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.limits = &limits, .outputs = &y, .n_outputs = 1}, &plan));
    assert_int_equal(count(plan, "slice"), 1);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void splitting_heads_costs_nothing(void **state)
{
    (void)state;
    esker_limits limits;
    esker_graph *graph;
    esker_plan *plan;
    esker_node *parts[3];
    esker_limits_es31(&limits);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){5, {3, 2, 4, 16, 8}});
    assert_ok(esker_split_axis(esker_tanh(x), 0, NULL, 3, parts));
    for (int i = 0; i < 3; i++) parts[i] = esker_reshape(parts[i], &(esker_shape){4, {2, 4, 16, 8}});
    esker_node *y = esker_attention(parts[0], parts[1], parts[2], NULL);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.limits = &limits, .outputs = &y, .n_outputs = 1}, &plan));
    assert_int_equal(count(plan, "slice"), 0);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* ---- Who reads them: what lies behind a piece is NaN, and shows if it is touched ---- */

/* 256 bytes before it, N floats of the piece, then NaN. */
#define BEFORE 64
enum { ODD = 65, ALL = BEFORE + ODD + 127 };

static esker_node *as(esker_node *x, int64_t rows, int64_t columns)
{
    return esker_reshape(x, &(esker_shape){2, {rows, columns}});
}

#define AXIS (const int[]){0}, 1, false
/* clang-format off */
#define READERS(X) \
    X(add, esker_add(x, x)) \
    X(broadcast, esker_mul(as(x, 5, 13), esker_sum(as(x, 5, 13), (const int[]){1}, 1, true))) \
    X(sum, esker_sum(x, AXIS)) \
    X(max, esker_max(x, AXIS)) \
    X(prod_of_columns, esker_prod(as(x, 5, 13), (const int[]){0}, 1, false)) \
    X(logsumexp, esker_logsumexp(as(x, 13, 5), (const int[]){1}, 1, false)) \
    X(variance, esker_variance(x, (const int[]){0}, 1, false, 1)) \
    X(norm, esker_norm(as(x, 5, 13), (const int[]){0}, 1, false, ESKER_NORM_L2)) \
    X(cumsum, esker_cumsum(x, 0)) \
    X(softmax, esker_softmax(as(x, 5, 13), 1)) \
    X(softmax_down, esker_softmax(as(x, 5, 13), 0)) \
    X(layer_norm, esker_layer_norm(as(x, 5, 13), 1, NULL, NULL, 0)) \
    X(matmul, esker_matmul(as(x, 5, 13), as(x, 13, 5), NULL)) \
    X(matmul_transposed, esker_matmul(as(x, 5, 13), as(x, 5, 13), &(esker_matmul_desc){.transpose_a = true})) \
    X(dot, esker_dot(x, x)) \
    X(transpose, esker_transpose(as(x, 5, 13), NULL)) \
    X(concat, esker_concat((esker_node *[]){x, x, x}, 3, 0)) \
    X(slice, esker_slice(x, (const esker_range[]){{3, 60, 2}}, 1)) \
    X(flip, esker_flip(x, 0)) \
    X(pad, esker_pad(x, (const int64_t[]){2}, (const int64_t[]){3}, 1, ESKER_PAD_REFLECT, 0)) \
    X(tile, esker_tile(x, (const int64_t[]){3}, 1)) \
    X(conv1d, esker_conv1d(esker_reshape(x, &(esker_shape){3, {1, 5, 13}}), esker_reshape(x, &(esker_shape){3, {13, 5, 1}}), NULL)) \
    X(pool, esker_max_pool2d(esker_reshape(x, &(esker_shape){4, {1, 1, 5, 13}}), &(esker_pool2d_desc){.window = {2, 2}})) \
    X(attention, esker_attention(esker_reshape(x, &(esker_shape){4, {1, 1, 5, 13}}), esker_reshape(x, &(esker_shape){4, {1, 1, 5, 13}}), \
                                 esker_reshape(x, &(esker_shape){4, {1, 1, 5, 13}}), NULL)) \
    X(resize, esker_resize2d(esker_reshape(x, &(esker_shape){4, {1, 1, 5, 13}}), 8, 7, ESKER_RESIZE_BILINEAR)) \
    X(mse, esker_mse(x, esker_square(x))) \
    X(bytes, esker_convert(esker_convert(x, ESKER_DTYPE_U8), ESKER_DTYPE_F32))
/* clang-format on */

typedef struct reader {
    const char *name;
    esker_node *(*record)(esker_node *x);
} reader;
#define FUNCTION(name, expression)                \
    static esker_node *read_##name(esker_node *x) \
    {                                             \
        return expression;                        \
    }
READERS(FUNCTION)
#define ROW(name, expression) {#name, read_##name},
static const reader readers[] = {READERS(ROW)};

static void run(esker_plan *plan, const float *x, size_t n_bytes, float *y, size_t y_bytes)
{
    uint64_t ticket;
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, n_bytes));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, y, y_bytes));
}

/* In check mode, so that NaN fails there; then the same bits as for a tensor of its own. */
static void nobody_reads_past_a_piece(void **state)
{
    const reader *r = *state;
    float x[ALL], piece[4000], own[4000];
    test_device();
    test_uniform(x, ALL, 0.5, 1.5, 1);
    for (int i = 0; i < ALL; i++)
        if (i < BEFORE || i >= BEFORE + ODD) x[i] = NAN;
    for (int cut = 0; cut < 2; cut++) {
        esker_graph *graph;
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {cut ? ALL : ODD}});
        in = esker_reshape(in, &(esker_shape){1, {-1}});
        esker_node *part = cut ? esker_slice(in, &(esker_range){BEFORE, BEFORE + ODD, 1}, 1) : in;
        esker_node *y = r->record(part), *grad;
        assert_ok(esker_gradients(esker_sum(esker_square(y), NULL, 0, false), &part, 1, &grad));
        esker_node *outputs[] = {y, grad};
        assert_ok(esker_plan_compile(
            graph,
            &(esker_plan_desc){
                .device = test_device(), .outputs = outputs, .n_outputs = 2, .check = cut != 0, .no_fusion = true},
            &plan));
        if (cut && strcmp(r->name, "slice") != 0) assert_int_equal(count(plan, "slice"), 0);
        size_t n_bytes = (size_t)esker__elems(&y->type.shape) * 4;
        assert_true(n_bytes <= sizeof own);
        run(plan, cut ? x : x + BEFORE, (cut ? ALL : ODD) * sizeof *x, cut ? piece : own, n_bytes);
        if (cut) assert_memory_equal(piece, own, n_bytes);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* A result must not take over bytes of which the same operation reads a piece elsewhere. */
static void pieces_are_not_written_over(void **state)
{
    enum { ROWS = 8, COLUMNS = 64 };
    float x[ROWS * COLUMNS], y[ROWS * COLUMNS];
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_node *parts[2];
    test_uniform(x, ROWS * COLUMNS, 0.5, 1.5, 2);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, COLUMNS}});
    esker_node *a = esker_affine(in, 2, 0);
    esker_node *b = esker_mul(a, esker__slice_axis(a, 0, 3, 1)); /* row 3 of what it multiplies */
    assert_ok(esker_split_axis(b, 0, NULL, 2, parts));
    esker_node *c = esker_concat((esker_node *[]){esker_sub(parts[1], parts[0]), parts[0]}, 2, 0);
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &c, .n_outputs = 1, .no_fusion = true}, &plan));
    assert_int_equal(count(plan, "slice"), 0);
    run(plan, x, sizeof x, y, sizeof y);
    for (int i = 0; i < ROWS * COLUMNS / 2; i++) {
        int j = i + ROWS * COLUMNS / 2, column = i % COLUMNS;
        double row = 2 * (double)x[3 * COLUMNS + column];
        double low = 2 * (double)x[i] * row, high = 2 * (double)x[j] * row;
        assert_true(fabs((double)y[i] - (high - low)) < 1e-5 && fabs((double)y[j] - low) < 1e-5);
    }
    /* And the checker would say so. */
    bool found = false;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        esker__plan_dispatch *d = &plan->dispatches[p];
        if (strcmp(d->op, "mul") != 0) continue;
        found = true;
        for (int o = 0; o < d->n_operands; o++)
            if (d->operands[o].write) {
                uint64_t *offset = &plan->values[d->operands[o].value].offset, kept = *offset;
                *offset = plan->values[d->operands[0].value].offset;
                d->in_place[0] = d->operands[0].value; /* what only note_in_place() kept it from */
                assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "over what it reads from");
                *offset = kept;
                d->in_place[0] = -1;
            }
    }
    assert_true(found);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    enum { N_EXTENTS = sizeof extents / sizeof *extents, N_READERS = sizeof readers / sizeof *readers };
    struct CMUnitTest tests[N_EXTENTS + N_READERS + 2] = {cmocka_unit_test(splitting_heads_costs_nothing),
                                                          cmocka_unit_test(pieces_are_not_written_over)};
    int n = 2;
    for (int i = 0; i < N_EXTENTS; i++)
        tests[n++] = (struct CMUnitTest){.name = extents[i].name,
                                         .test_func = slices_cost_nothing_where_bindings_may_begin,
                                         .initial_state = (void *)(uintptr_t)&extents[i]};
    for (int i = 0; i < N_READERS; i++)
        tests[n++] = (struct CMUnitTest){.name = readers[i].name,
                                         .test_func = nobody_reads_past_a_piece,
                                         .initial_state = (void *)(uintptr_t)&readers[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
