/* device test: min, prod, variance, logsumexp, norm, argmax and argmin. */
#include <math.h>

#include <esker/plan.h>
#include "graph/graph.h"
#include "support/op_check.h"

enum { MIN, PROD, VARIANCE, LOGSUMEXP, NORM, ARGMAX, ARGMIN };

typedef struct reduction {
    int op;
    int axes[ESKER_MAX_RANK], n_axes;
    bool keepdims;
    int option; /* correction, or the norm */
} reduction;

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    const reduction *r = args;
    (void)graph;
    switch (r->op) {
    case MIN: return esker_min(in[0], r->axes, r->n_axes, r->keepdims);
    case PROD: return esker_prod(in[0], r->axes, r->n_axes, r->keepdims);
    case VARIANCE: return esker_variance(in[0], r->axes, r->n_axes, r->keepdims, r->option);
    case LOGSUMEXP: return esker_logsumexp(in[0], r->axes, r->n_axes, r->keepdims);
    case NORM: return esker_norm(in[0], r->axes, r->n_axes, r->keepdims, (esker_norm_kind)r->option);
    case ARGMAX: return esker_argmax(in[0], r->axes, r->n_axes, r->keepdims);
    default: return esker_argmin(in[0], r->axes, r->n_axes, r->keepdims);
    }
}

/* clang-format off */
#define AXES(...)  {__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int)
#define SHAPE(...) DIMS(__VA_ARGS__)
#define LIST(...)  AXES(__VA_ARGS__)
#define FROM(lo_, hi_)  .lo = lo_, .hi = hi_, .fill = OP_CHECK_DISTINCT
#define WHOLE(lo_, hi_) .lo = lo_, .hi = hi_, .fill = OP_CHECK_WHOLE
#define ROW(name_, op_, shape_, axes_, keep_, option_, ...) \
    {name_, build, 1, {{.shape = SHAPE shape_, __VA_ARGS__}}, .args = &(reduction){op_, LIST axes_, keep_, option_}}
#define FORWARD(name_, op_, shape_, axes_, keep_, option_, ...) \
    {name_, build, 1, {{.shape = SHAPE shape_, __VA_ARGS__}}, .args = &(reduction){op_, LIST axes_, keep_, option_}, .no_gradient = true}
#define KINKS(name_, op_, shape_, axes_, keep_, option_, ...) \
    {name_, build, 1, {{.shape = SHAPE shape_, __VA_ARGS__}}, .args = &(reduction){op_, LIST axes_, keep_, option_}, .no_differences = true}
#define OF_SCALAR(name_, op_, option_) \
    {name_, build, 1, {{.shape = {0}, .lo = 0.5, .hi = 2}}, .args = &(reduction){.op = op_, .option = option_}}

static const op_check_row rows[] = {
    OF_SCALAR("min of a scalar", MIN, 0),
    OF_SCALAR("prod of a scalar", PROD, 0),
    OF_SCALAR("variance of a scalar", VARIANCE, 0),
    OF_SCALAR("logsumexp of a scalar", LOGSUMEXP, 0),
    OF_SCALAR("norm of a scalar", NORM, ESKER_NORM_L2),
    {"argmax of a scalar", build, 1, {{.shape = {0}, .lo = -2, .hi = 2}}, .args = &(reduction){.op = ARGMAX}, .no_gradient = true},

    ROW("min of rows of 129", MIN, (5, 129), (1), false, 0, FROM(-2, 2)),
    ROW("min of columns, kept", MIN, (33, 12), (0), true, 0, FROM(-2, 2)),
    ROW("min of six axes", MIN, (2, 3, 2, 5, 2, 3), (1, 3, 5), false, 0, FROM(-2, 2)),
    KINKS("min, ties", MIN, (13, 8), (0), false, 0, WHOLE(0, 3)),
    KINKS("min of 99999", MIN, (99999), (0), false, 0, FROM(-2, 2)),

    ROW("prod of rows of 5", PROD, (7, 5), (1), false, 0, FROM(-2, 2)),
    ROW("prod of columns of 12, kept", PROD, (12, 12), (0), true, 0, FROM(0.6, 1.5)),
    ROW("prod of a middle axis", PROD, (3, 6, 5), (1), false, 0, FROM(-2, 2)),
    ROW("prod of outer and inner", PROD, (3, 4, 3), (0, 2), true, 0, FROM(0.5, 1.6)),
    ROW("prod of axes of 1", PROD, (3, 1, 4), (1), false, 0, FROM(-2, 2)),
    ROW("prod of everything", PROD, (127), (0), false, 0, FROM(0.9, 1.1)),
    /* About one in six is 0: none, one or several in a row; exact differences, for the product is linear in each term. */
    ROW("prod with zeros", PROD, (40, 6), (1), false, 0, WHOLE(-2, 3)),
    ROW("prod with zeros, columns", PROD, (5, 36), (0), false, 0, WHOLE(-2, 2)),
    KINKS("prod of 100003, in chunks", PROD, (100003), (0), false, 0, FROM(0.99, 1.01)),

    ROW("variance of rows of 127", VARIANCE, (5, 127), (1), false, 1, FROM(-2, 2)),
    ROW("variance of rows of 128, kept", VARIANCE, (5, 128), (1), true, 0, FROM(-2, 2)),
    ROW("variance of columns", VARIANCE, (129, 8), (0), false, 1, FROM(-2, 2)),
    ROW("variance of everything", VARIANCE, (3, 5, 7), (0, 1, 2), false, 0, FROM(-2, 2)),
    ROW("variance over n, h and w", VARIANCE, (4, 6, 7, 7), (0, 2, 3), true, 0, FROM(-2, 2)),
    ROW("variance of one term each", VARIANCE, (4, 1, 5), (1), false, 0, FROM(-2, 2)),
    ROW("variance of two", VARIANCE, (9, 2), (1), false, 1, FROM(-2, 2)),
    /* Only what is centred here is exact: the gradient takes x - mean with the mean rounded to 2^-11. */
    {"variance about 10000", build, 1, {{.shape = DIMS(6, 300), FROM(9999, 10001)}}, .args = &(reduction){VARIANCE, AXES(1), false, 1}, .no_differences = true, .end_to_end = 1e-3},
    KINKS("variance of 262144, in chunks", VARIANCE, (512, 512), (0, 1), false, 0, FROM(-2, 2)),
    KINKS("variance of 60000 x 12, in chunks", VARIANCE, (60000, 12), (0), false, 1, FROM(-2, 2)),

    ROW("logsumexp of rows of 10", LOGSUMEXP, (64, 10), (-1), false, 0, FROM(-2, 2)),
    ROW("logsumexp of columns of 129, kept", LOGSUMEXP, (129, 12), (0), true, 0, FROM(-2, 2)),
    ROW("logsumexp of outer and middle", LOGSUMEXP, (3, 4, 5, 7), (0, 2), false, 0, FROM(-2, 2)),
    ROW("logsumexp of one term each", LOGSUMEXP, (4, 1, 5), (1), false, 0, FROM(-2, 2)),
    ROW("logsumexp where exp overflows", LOGSUMEXP, (3, 64), (1), false, 0, FROM(90, 120)),
    ROW("logsumexp far below zero", LOGSUMEXP, (3, 64), (1), false, 0, FROM(-1000, -990)),
    KINKS("logsumexp of 100003, in chunks", LOGSUMEXP, (100003), (0), false, 0, FROM(-2, 2)),

    ROW("L1 of rows", NORM, (5, 129), (1), false, ESKER_NORM_L1, .gap = 0.01, FROM(-2, 2)),
    ROW("L1 of columns", NORM, (13, 16), (0), true, ESKER_NORM_L1, .gap = 0.01, FROM(-2, 2)),
    ROW("L2 of rows", NORM, (5, 128), (1), true, ESKER_NORM_L2, FROM(-2, 2)),
    ROW("L2 of columns", NORM, (33, 7), (0), false, ESKER_NORM_L2, FROM(-2, 2)),
    ROW("L2 of everything", NORM, (3, 43), (0, 1), false, ESKER_NORM_L2, FROM(-2, 2)),
    ROW("L2 of one term each", NORM, (5, 1, 3), (1), false, ESKER_NORM_L2, .gap = 0.01, FROM(-2, 2)),
    ROW("infinity of rows", NORM, (6, 21), (1), false, ESKER_NORM_INF, FROM(0.01, 2)),
    ROW("infinity of negative columns", NORM, (21, 8), (0), true, ESKER_NORM_INF, FROM(-2, -0.01)),
    KINKS("L1, zeros among the terms", NORM, (5, 9), (1), false, ESKER_NORM_L1, WHOLE(-1, 1)),
    KINKS("L2 of zeros", NORM, (3, 5), (1), false, ESKER_NORM_L2, FROM(0, 0)),
    KINKS("infinity, ties and zeros", NORM, (9, 3), (1), false, ESKER_NORM_INF, WHOLE(-1, 1)),
    KINKS("L2 of 100003, in chunks", NORM, (100003), (0), false, ESKER_NORM_L2, FROM(-2, 2)),

    FORWARD("argmax of rows of 10", ARGMAX, (64, 10), (1), false, 0, FROM(-2, 2)),
    FORWARD("argmin of rows of 129, kept", ARGMIN, (5, 129), (-1), true, 0, FROM(-2, 2)),
    FORWARD("argmax of columns", ARGMAX, (129, 12), (0), false, 0, FROM(-2, 2)),
    FORWARD("argmin of a middle axis", ARGMIN, (3, 17, 7), (1), false, 0, FROM(-2, 2)),
    FORWARD("argmax of everything", ARGMAX, (3, 5, 7), (0, 1, 2), false, 0, FROM(-2, 2)),
    FORWARD("argmin of outer and inner", ARGMIN, (3, 4, 5), (0, 2), false, 0, FROM(-2, 2)),
    FORWARD("argmax of one term each", ARGMAX, (4, 1, 5), (1), false, 0, FROM(-2, 2)),
    FORWARD("argmax, the first of equals", ARGMAX, (7, 130), (1), false, 0, WHOLE(0, 2)),
    FORWARD("argmin, all equal", ARGMIN, (130, 3), (0), false, 0, WHOLE(1, 1)),
    FORWARD("argmax of 100003, in chunks", ARGMAX, (100003), (0), false, 0, FROM(-2, 2)),
    FORWARD("argmax of 100003, in chunks, ties", ARGMAX, (100003), (0), false, 0, WHOLE(0, 9)),
    FORWARD("argmin of 40001 x 5, in chunks, ties", ARGMIN, (40001, 5), (0), true, 0, WHOLE(0, 9)),
};
/* clang-format on */

/* Infinities, by hand: central differences and error bounds do not exist there. */
static void infinities(void **state)
{
    (void)state;
    const float x[] = {-INFINITY, -INFINITY, -INFINITY, /**/ 1, INFINITY, 2, /**/ -INFINITY, 3, -INFINITY};
    const int axis = 1;
    float lse[3];
    int32_t at[3];
    esker_graph *graph;
    esker_plan *plan;
    esker_device *dev = test_device();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {3, 3}});
    esker_node *outputs[] = {esker_logsumexp(in, &axis, 1, false), esker_argmax(in, &axis, 1, false)};
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = 2}, &plan));
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_ok(esker_plan_run(plan));
    assert_ok(esker_plan_read(plan, 0, 0, lse, sizeof lse));
    assert_ok(esker_plan_read(plan, 0, 1, at, sizeof at));
    assert_true(lse[0] == -INFINITY);
    assert_true(lse[1] == INFINITY);
    assert_true(fabsf(lse[2] - 3) < 1e-6f);
    assert_int_equal(at[0], 0);
    assert_int_equal(at[1], 1);
    assert_int_equal(at[2], 1);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x = {.shape = DIMS(3, 4), .lo = -1, .hi = 1};
    op_check_refused(build, &(reduction){VARIANCE, AXES(1), false, 4}, &x, 1, ESKER_ERR_INVALID,
                     "variance(float32 [3, 4]): correction 4 with 4 terms: 0 to 3 are possible");
    op_check_refused(build, &(reduction){VARIANCE, AXES(1), false, -1}, &x, 1, ESKER_ERR_INVALID, "correction -1");
    op_check_refused(build, &(reduction){NORM, AXES(1), false, 7}, &x, 1, ESKER_ERR_INVALID,
                     "norm(float32 [3, 4]): unknown kind 7");
    op_check_refused(build, &(reduction){ARGMAX, AXES(2), false, 0}, &x, 1, ESKER_ERR_INVALID,
                     "argmax(float32 [3, 4]): axis 2");
    op_check_refused(build, &(reduction){PROD, AXES(0, -2), false, 0}, &x, 1, ESKER_ERR_INVALID, "axis 0 is given twice");
    const op_check_input labels = {.dtype = ESKER_DTYPE_I32, .shape = DIMS(3), .lo = 0, .hi = 1};
    op_check_refused(build, &(reduction){LOGSUMEXP, AXES(0), false, 0}, &labels, 1, ESKER_ERR_INVALID,
                     "logsumexp(int32 [3]): float32 is needed");
}

static void no_gradient_of_argmax(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_node *grad;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {5}});
    esker_node *loss = esker_convert(esker_argmax(x, NULL, 0, false), ESKER_DTYPE_F32);
    assert_fails(esker_gradients(loss, &x, 1, &grad), ESKER_ERR_UNSUPPORTED, "has no gradient");
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(infinities), cmocka_unit_test(refusals_name_the_rule),
                                      cmocka_unit_test(no_gradient_of_argmax)};
    return op_check_main("reduce_more", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
