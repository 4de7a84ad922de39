/* device test: sum, mean and max over every split of the axes into kept and reduced ones, forward and backward. */
#include <stdio.h>

#include <esker/plan.h>
#include "graph/graph.h"
#include "support/op_check.h"

typedef struct reduction {
    esker_node *(*fn)(esker_node *x, const int *axes, int n_axes, bool keepdims);
    int axes[ESKER_MAX_RANK], n_axes;
    bool keepdims;
} reduction;

static esker_node *build_reduction(esker_graph *graph, esker_node *const *in, const void *args)
{
    const reduction *r = args;
    (void)graph;
    return r->fn(in[0], r->axes, r->n_axes, r->keepdims);
}

typedef struct target {
    esker_shape shape;
} target;

static esker_node *build_sum_to(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker__sum_to(in[0], &((const target *)args)->shape);
}

/* What a layer norm does: both the statistic and the value it came from go on. */
static esker_node *build_centred(esker_graph *graph, esker_node *const *in, const void *args)
{
    const int last = -1;
    (void)graph, (void)args;
    esker_node *centred = esker_sub(in[0], esker_mean(in[0], &last, 1, true));
    return esker_mul(centred, esker_sum(esker_mul(centred, centred), &last, 1, true));
}

#define AXES(...)  {__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int)
#define SHAPE(...) DIMS(__VA_ARGS__)
#define LIST(...)  AXES(__VA_ARGS__)

#define ROW(name_, fn_, shape_, axes_, keep_)                                                               \
    {                                                                                                       \
        name_, build_reduction, 1, {{.shape = SHAPE shape_, .lo = -2, .hi = 2, .fill = OP_CHECK_DISTINCT}}, \
            .args = &(reduction)                                                                            \
        {                                                                                                   \
            fn_, LIST axes_, keep_                                                                          \
        }                                                                                                   \
    }
/* Central differences of a sum this long would only measure patience. */
#define LONG(name_, fn_, shape_, axes_, keep_)                                                              \
    {                                                                                                       \
        name_, build_reduction, 1, {{.shape = SHAPE shape_, .lo = -2, .hi = 2, .fill = OP_CHECK_DISTINCT}}, \
            .args = &(reduction){fn_, LIST axes_, keep_}, .no_differences = true                            \
    }
#define TIED(name_, shape_, axes_)                                                                      \
    {                                                                                                   \
        name_, build_reduction, 1, {{.shape = SHAPE shape_, .lo = 0, .hi = 3, .fill = OP_CHECK_WHOLE}}, \
            .args = &(reduction){esker_max, LIST axes_, false}, .no_differences = true                  \
    }

/* clang-format off */
static const op_check_row rows[] = {
    {"sum of a scalar", build_reduction, 1, {{.shape = {0, {0}}, .lo = -2, .hi = 2}}, .args = &(reduction){.fn = esker_sum}},
    {"sum of everything, axes not named", build_reduction, 1, {{.shape = DIMS(3, 5, 7), .lo = -2, .hi = 2}}, .args = &(reduction){.fn = esker_sum}},
    {"max of everything, axes not named, kept", build_reduction, 1, {{.shape = DIMS(3, 5, 7), .lo = -2, .hi = 2}}, .args = &(reduction){.fn = esker_max, .keepdims = true}},
    ROW("one element", esker_mean, (1), (0), false),
    ROW("an axis of 1 of one term each", esker_sum, (5, 1, 3), (1), false),
    ROW("all of 3", esker_sum, (3), (0), true),
    ROW("all of 4", esker_max, (4), (0), false),
    ROW("all of 127", esker_sum, (127), (0), false),
    ROW("all of 128", esker_mean, (128), (0), false),
    ROW("all of 129", esker_max, (129), (0), false),

    /* Rows: the last axis is reduced. */
    ROW("rows of 10", esker_sum, (64, 10), (1), false),
    ROW("rows of 12", esker_max, (9, 12), (-1), true),
    ROW("rows of 127", esker_mean, (5, 127), (1), true),
    ROW("rows of 128", esker_sum, (5, 128), (1), false),
    ROW("rows of 129", esker_max, (5, 129), (1), false),
    ROW("129 rows of 5", esker_mean, (129, 5), (1), false),
    ROW("1 row of 200", esker_sum, (1, 200), (1), false),
    ROW("rows, rank 3", esker_sum, (4, 5, 6), (1, 2), false),

    /* Columns: the last axis is kept. */
    ROW("columns, a bias of 10", esker_sum, (64, 10), (0), false),
    ROW("columns, a bias of 128", esker_mean, (33, 128), (0), false),
    ROW("columns, a bias of 129", esker_sum, (33, 129), (0), true),
    ROW("columns, 3", esker_max, (129, 3), (0), false),
    ROW("columns, one term less than lanes", esker_max, (3, 4), (0), false),
    ROW("columns in a batch", esker_sum, (3, 17, 20), (1), false),
    ROW("columns in a batch, odd", esker_max, (3, 17, 7), (1), true),

    /* Mixtures. */
    ROW("an NCHW bias, 7 x 7", esker_sum, (4, 6, 7, 7), (0, 2, 3), false),
    ROW("an NCHW bias, 4 x 4", esker_mean, (5, 3, 4, 4), (0, 2, 3), true),
    ROW("an NCHW maximum over n and hw", esker_max, (5, 3, 4, 3), (0, 2, 3), false),
    ROW("pooling all of hw", esker_mean, (2, 3, 5, 5), (2, 3), false),
    ROW("outer and middle", esker_sum, (3, 4, 5, 8), (0, 2), false),
    ROW("outer and middle, odd", esker_max, (3, 4, 5, 7), (0, 2), false),
    ROW("six axes, even ones", esker_sum, (2, 3, 2, 5, 3, 4), (0, 2, 4), false),
    ROW("six axes, odd ones", esker_sum, (2, 3, 2, 5, 3, 4), (1, 3, 5), true),
    ROW("six axes, odd ones, no quads", esker_max, (2, 3, 2, 5, 2, 3), (1, 3, 5), false),
    ROW("axes named backwards", esker_mean, (2, 3, 4), (2, -3), false),

    /* Long sums: many rounds, chunks and a second dispatch; the kernel's tree keeps the error within 2 sqrt(n). */
    LONG("all of 100003", esker_sum, (100003), (0), false),
    LONG("all of 262144", esker_mean, (512, 512), (0, 1), false),
    LONG("all of 99999, maximum", esker_max, (99999), (0), false),
    LONG("3 rows of 40001", esker_sum, (3, 40001), (1), false),
    LONG("60000 x 10, columns", esker_sum, (60000, 10), (0), false),
    LONG("20001 x 12, columns", esker_max, (20001, 12), (0), false),
    LONG("an NCHW bias over 32 x 1024", esker_sum, (32, 5, 32, 32), (0, 2, 3), false),
    LONG("an NCHW bias over 64 x 441", esker_mean, (64, 3, 21, 21), (0, 2, 3), false),
    LONG("20000 rows of 12", esker_max, (20000, 12), (1), false),
    LONG("20000 rows of 9", esker_sum, (20000, 9), (1), false),

    TIED("ties in a row", (7, 13), (1)),
    TIED("ties in a column", (13, 8), (0)),
    TIED("all equal in a corner", (2, 2), (0, 1)),

    {"sum_to, the last axes", build_sum_to, 1, {{.shape = DIMS(6, 5, 7), .lo = -2, .hi = 2}}, .args = &(target){DIMS(5, 7)}},
    {"sum_to, a stretched middle", build_sum_to, 1, {{.shape = DIMS(6, 5, 7), .lo = -2, .hi = 2}}, .args = &(target){DIMS(6, 1, 7)}},
    {"sum_to a channel bias", build_sum_to, 1, {{.shape = DIMS(3, 5, 2, 2), .lo = -2, .hi = 2}}, .args = &(target){DIMS(5, 1, 1)}},
    {"sum_to a scalar", build_sum_to, 1, {{.shape = DIMS(3, 5), .lo = -2, .hi = 2}}, .args = &(target){{0, {0}}}},
    {"sum_to by ones in front", build_sum_to, 1, {{.shape = DIMS(1, 3, 5), .lo = -2, .hi = 2}}, .args = &(target){DIMS(3, 5)}},
    {"sum_to itself", build_sum_to, 1, {{.shape = DIMS(3, 5), .lo = -2, .hi = 2}}, .args = &(target){DIMS(3, 5)}},
    {"centred and scaled", build_centred, 1, {{.shape = DIMS(6, 21), .lo = -2, .hi = 2}}, .args = NULL},
};
/* clang-format on */

/* A maximum of values that are all very low, or minus infinity, is one of them: nothing "small enough" stands in. */
static void maximum_of_low_values(void **state)
{
    (void)state;
    enum { ROWS = 3, COLUMNS = 70 };
    static float x[ROWS * COLUMNS], got[ROWS];
    for (int i = 0; i < COLUMNS; i++) {
        x[i] = -3e38f;
        x[COLUMNS + i] = -1e30f - (float)i * 1e28f;
        x[2 * COLUMNS + i] = -0.0f - (float)i;
    }
    const double want[ROWS] = {-3e38f, -1e30f, 0};
    esker_graph *graph;
    esker_plan *plan;
    const int axis = 1;
    esker_device *dev = test_device();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_max(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, COLUMNS}}), &axis, 1,
                              false);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_ok(esker_plan_run(plan));
    assert_ok(esker_plan_read(plan, 0, 0, got, sizeof got));
    assert_close(got, want, NULL, 0, ROWS);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* By hand, since central differences do not exist at a tie: equal maxima share, and the share is that of their own row. */
static void equal_maxima_share_the_gradient(void **state)
{
    (void)state;
    const double x[] = {1, 3, 3, 0, /**/ 2, 2, 2, 2, /**/ -1, -5, -1, -1}, weights[] = {10, 20, 30};
    const double want[] = {0, 5, 5, 0, /**/ 5, 5, 5, 5, /**/ 10, 0, 10, 10};
    const int axis = 1;
    esker_graph *graph;
    double **values;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {3, 4}});
    esker_node *w = esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){1, {3}});
    esker_node *grad, *loss = esker_sum(esker_mul(esker_max(in, &axis, 1, false), w), NULL, 0, false);
    assert_ok(esker_gradients(loss, &in, 1, &grad));
    const double **given = calloc(graph->n_nodes, sizeof *given);
    assert_non_null(given);
    given[in->id] = x;
    given[w->id] = weights;
    assert_ok(esker__evaluate(graph, given, &grad, 1, &values, NULL));
    for (int i = 0; i < 12; i++)
        if (!(values[grad->id][i] == want[i])) fail_msg("element %d: %g, want %g", i, values[grad->id][i], want[i]);
    esker__evaluate_free(graph, values);
    free(given);
    esker_graph_destroy(graph);
}

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x = {.shape = DIMS(3, 4), .lo = -1, .hi = 1};
    op_check_refused(build_reduction, &(reduction){esker_sum, AXES(2), false}, &x, 1, ESKER_ERR_INVALID,
                     "sum(float32 [3, 4]): axis 2, the axes are -2 to 1");
    op_check_refused(build_reduction, &(reduction){esker_mean, AXES(-3), false}, &x, 1, ESKER_ERR_INVALID, "axis -3");
    op_check_refused(build_reduction, &(reduction){esker_max, AXES(1, -1), false}, &x, 1, ESKER_ERR_INVALID,
                     "axis 1 is given twice");
    const op_check_input labels = {.dtype = ESKER_DTYPE_I32, .shape = DIMS(3), .lo = 0, .hi = 1};
    op_check_refused(build_reduction, &(reduction){esker_max, AXES(0), false}, &labels, 1, ESKER_ERR_INVALID,
                     "max(int32 [3]): float32 is needed");
    op_check_refused(build_sum_to, &(target){DIMS(4, 4)}, &x, 1, ESKER_ERR_INVALID, "does not broadcast");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(equal_maxima_share_the_gradient),
                                      cmocka_unit_test(maximum_of_low_values), cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("reduce", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
