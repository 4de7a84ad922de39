/* device test: norms of rows that are taken from a table are one node with the take: values, gradients, odd indices, and what becomes of the dispatches. */
#include <math.h>

#include <esker/plan.h>
#include "support/op_check.h"

typedef enum kind { LAYER, PLAIN, RMS } kind; /* plain: a layer norm without weight and bias */

typedef struct start {
    kind kind;
    bool adds, other; /* what is taken has a sum with input 2; the rows are read besides, as by a residual connection */
} start;

/* Inputs: table, indices, and as many as there are of what is added, weight and bias. */
static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const start *s = args;
    int next = 2;
    esker_node *x = esker_embedding(in[0], in[1]), *y;
    if (s->adds) x = esker_add(x, in[next++]);
    if (s->kind == RMS)
        y = esker_rms_norm(x, 1, in[next], 0);
    else if (s->kind == PLAIN)
        y = esker_layer_norm(x, 1, NULL, NULL, 0);
    else
        y = esker_layer_norm(x, 1, in[next], in[next + 1], 0);
    return s->other ? esker_mul(y, x) : y;
}

#define ROWS_OF(n, width)                           \
    {                                               \
        .shape = {2, {n, width}}, .lo = -1, .hi = 1 \
    }
#define ROW_OF(width)                            \
    {                                            \
        .shape = {1, {width}}, .lo = -1, .hi = 1 \
    }
#define INDICES(shape_, last)                                          \
    {                                                                  \
        .dtype = ESKER_DTYPE_I32, .shape = shape_, .lo = 0, .hi = last \
    }
#define START(kind_, ...)          \
    .args = &(const start)         \
    {                              \
        .kind = kind_, __VA_ARGS__ \
    }

static const op_check_variant variants[] = {
    {"taken_norms",
     {"as in a transformer",
      build,
      5,
      {ROWS_OF(13, 128), INDICES(DIMS(3, 7), 12), ROWS_OF(7, 128), ROW_OF(128), ROW_OF(128)},
      START(LAYER, .adds = true, .other = true)},
     "norm/taken"},
    {"taken_norms",
     {"one row of four",
      build,
      5,
      {ROWS_OF(1, 4), INDICES(DIMS(1), 0), ROW_OF(4), ROW_OF(4), ROW_OF(4)},
      START(LAYER, .adds = true)},
     "norm/taken"},
    {"taken_norms",
     {"36 wide",
      build,
      5,
      {ROWS_OF(5, 36), INDICES(DIMS(2, 3), 4), ROWS_OF(3, 36), ROW_OF(36), ROW_OF(36)},
      START(LAYER, .adds = true, .other = true)},
     "norm/taken"},
    {"taken_norms",
     {"516 wide",
      build,
      5,
      {ROWS_OF(3, 516), INDICES(DIMS(5), 2), ROWS_OF(5, 516), ROW_OF(516), ROW_OF(516)},
      START(LAYER, .adds = true)},
     "norm/taken"},
    {"taken_norms",
     {"as wide as can be", build, 4, {ROWS_OF(3, 2048), INDICES(DIMS(2), 2), ROW_OF(2048), ROW_OF(2048)}, START(LAYER)},
     "norm/taken"},
    {"taken_norms",
     {"wider", build, 4, {ROWS_OF(3, 2052), INDICES(DIMS(2), 2), ROW_OF(2052), ROW_OF(2052)}, START(LAYER)},
     "shape/gather"},
    {"taken_norms",
     {"no multiple of four", build, 4, {ROWS_OF(3, 30), INDICES(DIMS(2), 2), ROW_OF(30), ROW_OF(30)}, START(LAYER)},
     "shape/gather"},
    {"taken_norms",
     {"without weight", build, 3, {ROWS_OF(9, 20), INDICES(DIMS(33), 8), ROW_OF(20)}, START(PLAIN, .adds = true)},
     "norm/taken"},
    {"taken_norms", {"nothing but the two", build, 2, {ROWS_OF(9, 20), INDICES(DIMS(33), 8)}, START(PLAIN)}, "norm/taken"},
    {"taken_norms",
     {"root mean squares", build, 3, {ROWS_OF(9, 64), INDICES(DIMS(4, 5), 8), ROW_OF(64)}, START(RMS, .other = true)},
     "norm/taken"},
    {"taken_norms",
     {"root mean squares of sums",
      build,
      4,
      {ROWS_OF(9, 64), INDICES(DIMS(4, 5), 8), ROWS_OF(5, 64), ROW_OF(64)},
      START(RMS, .adds = true)},
     "norm/taken"},
};

/* Indices that are float32, of which some name no row: their norms are NaN. On devices without the blocks they are two dispatches. */
static void is_one_dispatch(void **state)
{
    static const float index[] = {0, 1.9f, -0.9f, -1, 2.999f, 3, NAN, 2};
    static const int want[] = {0, 1, 0, -1, 2, -1, -1, 2};
    enum { N = sizeof index / sizeof *index, WIDTH = 8 };
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    esker_device_info device;
    uint64_t ticket;
    float table[3 * WIDTH], y[N * WIDTH];
    setenv("ESKER_VARIANT", "taken_norms", 1);
    esker_device_get_info(test_device(), &device);
    test_uniform(table, 3 * WIDTH, 1, 2, 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "table", ESKER_DTYPE_F32, &(esker_shape){2, {3, WIDTH}});
    esker_node *i = esker_input(graph, "index", ESKER_DTYPE_F32, &(esker_shape){1, {N}});
    esker_node *out = esker_layer_norm(esker_embedding(x, esker_convert(i, ESKER_DTYPE_I32)), 1, NULL, NULL, 0);
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &out, .n_outputs = 1, .check = true}, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &info);
    int n = 0;
    for (int d = 0; d < info.n_dispatches; d++) {
        esker_dispatch_info dispatch;
        assert_ok(esker_plan_get_dispatch(plan, d, &dispatch));
        n += !strcmp(dispatch.phase, "forward") && strcmp(dispatch.kernel, "runtime/mark");
    }
    assert_int_equal(n, device.limits.storage_blocks >= 8 ? 1 : 2);
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "table"), table, sizeof table));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "index"), index, sizeof index));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
    for (int r = 0; r < N; r++) {
        const float *row = table + (want[r] < 0 ? 0 : want[r]) * WIDTH;
        double mean = 0, variance = 0;
        for (int c = 0; c < WIDTH; c++) mean += (double)row[c] / WIDTH;
        for (int c = 0; c < WIDTH; c++) variance += (row[c] - mean) * (row[c] - mean) / WIDTH;
        for (int c = 0; c < WIDTH; c++) {
            double expected = (row[c] - mean) / sqrt(variance + 1e-5), got = y[r * WIDTH + c];
            if (want[r] < 0 ? !isnan(got) : !(fabs(got - expected) <= 1e-5))
                fail_msg("index %g: element %d is %g, not %g", (double)index[r], c, got, want[r] < 0 ? NAN : expected);
        }
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test_teardown(is_one_dispatch, test_without_variant)};
    return op_check_variants_main("take and norm", variants, sizeof variants / sizeof *variants, more,
                                  sizeof more / sizeof *more);
}
