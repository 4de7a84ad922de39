/* device test: cross_entropy, mse and count_correct: values, gradients, odd labels, and how few dispatches they take. */
#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "support/op_check.h"

static esker_node *build_cross_entropy(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    (void)args;
    return esker_cross_entropy(in[0], in[1]);
}

static esker_node *build_mse(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    (void)args;
    return esker_mse(in[0], in[1]);
}

static esker_node *build_count_correct(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    (void)args;
    return esker_count_correct(in[0], in[1]);
}

#define LOGITS(n, classes, low, high)                     \
    {                                                     \
        .shape = {2, {n, classes}}, .lo = low, .hi = high \
    }
#define LABELS(n, low, high)                                               \
    {                                                                      \
        .dtype = ESKER_DTYPE_I32, .shape = {1, {n}}, .lo = low, .hi = high \
    }
#define CE(title, n, classes, ...)                                                                               \
    {                                                                                                            \
        "cross_entropy, " title, build_cross_entropy, 2, {LOGITS(n, classes, -4, 4), LABELS(n, 0, (classes)-1)}, \
            __VA_ARGS__                                                                                          \
    }
#define CE_LABELS(title, n, classes, low, high, ...)                                                                    \
    {                                                                                                                   \
        "cross_entropy, " title, build_cross_entropy, 2, {LOGITS(n, classes, -4, 4), LABELS(n, low, high)}, __VA_ARGS__ \
    }
#define MSE(title, n, ...)                                                                                             \
    {                                                                                                                  \
        "mse, " title, build_mse, 2, {{.shape = {1, {n}}, .lo = -2, .hi = 2}, {.shape = {1, {n}}, .lo = -2, .hi = 2}}, \
            __VA_ARGS__                                                                                                \
    }
#define COUNT(title, n, classes, low, high)                                                                 \
    {                                                                                                       \
        "count_correct, " title, build_count_correct, 2, {LOGITS(n, classes, -4, 4), LABELS(n, low, high)}, \
            .no_gradient = true                                                                             \
    }
/* Few whole values: most rows have several equal largest logits. */
#define COUNT_TIES(title, n, classes)                                                 \
    {                                                                                 \
        "count_correct, " title, build_count_correct, 2,                              \
            {{.shape = {2, {n, classes}}, .lo = -1, .hi = 1, .fill = OP_CHECK_WHOLE}, \
             LABELS(n, 0, (classes) > 3 ? 3 : (classes)-1)},                          \
            .no_gradient = true                                                       \
    }

static const op_check_row rows[] = {
    CE("one element", 1, 1, 0),
    CE("one row", 1, 10, 0),
    CE("one class: the loss is 0", 5, 1, 0),
    CE("a batch of digits, one group", 64, 10, 0),
    CE("127 rows", 127, 10, 0),
    CE("128 rows", 128, 10, 0),
    CE("129 rows of 2", 129, 2, 0),
    CE("several groups", 300, 10, 0),
    CE("127 classes", 5, 127, 0),
    CE("129 classes", 30, 129, 0),
    CE("long rows", 3, 5000, 0),
    CE("the last that count in each group", 1024, 10, .no_differences = true),
    CE("counted beforehand", 1025, 10, .no_differences = true),
    CE("several counts", 9000, 3, .no_differences = true),
    CE("many rows", 70000, 3, .no_differences = true),
    CE("more rows than one round of groups", 16400, 257, .no_differences = true),
    CE_LABELS("some labels are -1", 64, 4, -1, 3, 0),
    CE_LABELS("some labels are -1, several groups", 700, 7, -1, 6, 0),
    CE_LABELS("some labels are -1, counted beforehand", 5000, 2, -1, 1, .no_differences = true),
    CE_LABELS("all labels are -1", 64, 10, -1, -1, 0),
    CE_LABELS("all labels are -1, several groups", 700, 10, -1, -1, 0),
    CE_LABELS("all labels are -1, counted beforehand", 3000, 10, -1, -1, .no_differences = true),
    CE_LABELS("all labels are 0", 40, 10, 0, 0, 0),
    CE_LABELS("all labels are the last", 40, 10, 9, 9, 0),
    {"cross_entropy, far above zero", build_cross_entropy, 2, {LOGITS(20, 12, 9990, 1e4), LABELS(20, 0, 11)}},
    {"cross_entropy, far below zero", build_cross_entropy, 2, {LOGITS(20, 140, -1e4, -9990), LABELS(20, 0, 139)}},
    {"cross_entropy, losses of thousands", build_cross_entropy, 2, {LOGITS(20, 12, -1e4, 1e4), LABELS(20, 0, 11)}},

    MSE("one element", 1, 0),
    MSE("127", 127, 0),
    MSE("128", 128, 0),
    MSE("129", 129, 0),
    MSE("the last in one group", 2048, 0),
    MSE("the first in several", 2049, 0),
    MSE("many", 70001, .no_differences = true),
    MSE("more than a chunk for each partial sum", 4200001, .no_differences = true),
    {"mse, far from zero",
     build_mse,
     2,
     {{.shape = {2, {9, 31}}, .lo = 9990, .hi = 1e4}, {.shape = {2, {9, 31}}, .lo = -1, .hi = 1}}},
    {"mse, of a scalar", build_mse, 2, {{.lo = 1, .hi = 2}, {.lo = 3, .hi = 4}}},

    COUNT("one element", 1, 1, 0, 0),
    COUNT("a batch of digits", 64, 10, 0, 9),
    COUNT("129 rows", 129, 3, 0, 2),
    COUNT("several groups", 1000, 10, 0, 9),
    COUNT("some labels are -1", 1000, 2, -1, 1),
    COUNT("all labels are -1", 300, 3, -1, -1),
    COUNT("long rows", 5, 5000, 0, 4999),
    COUNT("many rows", 70000, 2, 0, 1),
    COUNT("labels outside the classes", 300, 3, -9, 9),
    COUNT("129 classes", 40, 129, 0, 128),
    COUNT_TIES("ties", 64, 10),
    COUNT_TIES("ties, one lane", 500, 3),
    COUNT_TIES("ties, lanes of several groups", 300, 129),
};

/* ---- Labels that mean nothing ---- */

/* Loss and gradient of cross_entropy for these logits and labels. */
static void run_cross_entropy(int n, int classes, const float *logits, const int32_t *labels, float *out_loss,
                              float *out_grad)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "logits", ESKER_DTYPE_F32, &(esker_shape){2, {n, classes}});
    esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n}});
    esker_node *outputs[2] = {esker_cross_entropy(x, t)};
    assert_ok(esker_gradients(outputs[0], &x, 1, &outputs[1]));
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = outputs, .n_outputs = 2}, &plan));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "logits"), logits,
                               (size_t)n * (size_t)classes * sizeof *logits));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels, (size_t)n * sizeof *labels));
    uint64_t ticket;
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, out_loss, sizeof *out_loss));
    assert_ok(esker_plan_read(plan, ticket, 1, out_grad, (size_t)n * (size_t)classes * sizeof *out_grad));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* One bad label among n: the loss is NaN, the gradient of its row 0, that of the others as if it were an ordinary row. */
static void check_bad_label(int n, int classes, int32_t bad)
{
    size_t n_elems = (size_t)n * (size_t)classes;
    float *logits = malloc(n_elems * sizeof *logits), *grad = malloc(n_elems * sizeof *grad);
    float *good_grad = malloc(n_elems * sizeof *good_grad), loss, good_loss;
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    assert_true(logits && grad && good_grad && labels);
    test_uniform(logits, (int64_t)n_elems, -4, 4, 7);
    for (int i = 0; i < n; i++) labels[i] = i % classes;
    run_cross_entropy(n, classes, logits, labels, &good_loss, good_grad);
    assert_true(good_loss > 0 && good_loss < 20);
    int row = n / 2;
    labels[row] = bad;
    run_cross_entropy(n, classes, logits, labels, &loss, grad);
    if (!isnan(loss)) fail_msg("label %d of %d classes: the loss is %g, it must be NaN", bad, classes, (double)loss);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < classes; k++) {
            size_t at = (size_t)i * (size_t)classes + (size_t)k;
            float want = i == row ? 0 : good_grad[at];
            if (!(grad[at] == want))
                fail_msg("label %d, row %d, class %d: the gradient is %g, not %g", bad, i, k, (double)grad[at],
                         (double)want);
        }
    free(logits);
    free(grad);
    free(good_grad);
    free(labels);
}

static void a_bad_label_makes_the_loss_nan(void **state)
{
    (void)state;
    check_bad_label(10, 10, 10); /* one group */
    check_bad_label(10, 10, -2);
    check_bad_label(10, 10, INT32_MAX);
    check_bad_label(10, 10, INT32_MIN);
    check_bad_label(600, 10, 10); /* several */
    check_bad_label(3000, 3, -7); /* counted beforehand */
    check_bad_label(5, 1000, 1000);
}

/* ---- Dispatches ---- */

typedef struct shape_of_plan {
    int loss, finish, mul, most_bindings;
} shape_of_plan;

/* What a plan with the loss alone, or with its gradient too, is made of; needs no device. */
static shape_of_plan plan_shape(int n, int classes, bool with_gradient)
{
    shape_of_plan shape = {0};
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "logits", ESKER_DTYPE_F32, &(esker_shape){2, {n, classes}});
    esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n}});
    esker_node *outputs[2] = {esker_cross_entropy(x, t)};
    if (with_gradient) assert_ok(esker_gradients(outputs[0], &x, 1, &outputs[1]));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.outputs = outputs, .n_outputs = with_gradient ? 2 : 1}, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (strcmp(d.op, "mul") == 0) shape.mul++;
        if (strcmp(d.op, "cross_entropy") != 0) continue;
        shape.loss++;
        shape.finish += strcmp(d.kernel, "loss/finish") == 0;
        if (d.n_bindings > shape.most_bindings) shape.most_bindings = d.n_bindings;
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return shape;
}

static void loss_and_gradient_are_one_kernel(void **state)
{
    (void)state;
    shape_of_plan batch = plan_shape(64, 10, true), alone = plan_shape(64, 10, false);
    assert_int_equal(batch.loss, 1);
    assert_int_equal(batch.mul, 0); /* the multiplication by an upstream gradient of 1 folded away */
    assert_int_equal(batch.most_bindings, 4);
    assert_int_equal(alone.loss, 1);
    assert_int_equal(alone.most_bindings, 3); /* no gradient is computed where none is read */
    shape_of_plan several = plan_shape(1024, 10, true), many = plan_shape(70000, 10, true);
    assert_int_equal(several.loss, 2);
    assert_int_equal(several.finish, 1);
    assert_int_equal(many.loss, 3);
    assert_int_equal(many.finish, 1);
    assert_int_equal(many.mul, 0);
    assert_int_equal(many.most_bindings, 4);
}

/* ---- What is refused ---- */

static void refuses_wrong_shapes(void **state)
{
    (void)state;
    const op_check_input logits = LOGITS(6, 4, 0, 1), cube = {.shape = {3, {6, 4, 1}}, .hi = 1}, labels = LABELS(6, 0, 3);
    const op_check_input short_labels = LABELS(5, 0, 3), floats = {.shape = {1, {6}}, .hi = 1};
    const op_check_input column = {.dtype = ESKER_DTYPE_I32, .shape = {2, {6, 1}}, .hi = 1};
    const op_check_input wide = LOGITS(6, 2000000, 0, 1);
    const struct {
        op_check_build build;
        op_check_input in[2];
        esker_status status;
        const char *part;
    } cases[] = {
        {build_cross_entropy, {logits, short_labels}, ESKER_ERR_INVALID, "5 labels for 6 rows"},
        {build_cross_entropy,
         {logits, floats},
         ESKER_ERR_INVALID,
         "cross_entropy(float32 [6, 4], float32 [6]): labels must be int32"},
        {build_cross_entropy, {logits, column}, ESKER_ERR_INVALID, "labels must be int32 [n]"},
        {build_cross_entropy, {cube, labels}, ESKER_ERR_INVALID, "logits must be float32 [n, classes]"},
        {build_cross_entropy, {labels, labels}, ESKER_ERR_INVALID, "logits must be float32"},
        {build_cross_entropy, {wide, labels}, ESKER_ERR_LIMIT, "2000000 classes, at most 1048576"},
        {build_count_correct, {logits, short_labels}, ESKER_ERR_INVALID, "count_correct(float32 [6, 4], int32 [5])"},
        {build_mse, {logits, floats}, ESKER_ERR_INVALID, "mse(float32 [6, 4], float32 [6]): prediction and target"},
        {build_mse, {labels, labels}, ESKER_ERR_INVALID, "float32 alone"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        op_check_refused(cases[i].build, NULL, cases[i].in, 2, cases[i].status, cases[i].part);
}

static void count_correct_has_no_gradient(void **state)
{
    (void)state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "logits", ESKER_DTYPE_F32, &(esker_shape){2, {6, 4}});
    esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {6}});
    esker_node *grad;
    assert_fails(esker_gradients(esker_count_correct(x, t), &x, 1, &grad), ESKER_ERR_UNSUPPORTED, "count_correct");
    esker_graph_destroy(graph);
}

/* Loss, gradient and count of one plan; the labels have a -1, the logits ties. */
static void run_counted(int n, int classes, bool grad, bool loss_first, bool no_fusion, int n_dispatches, float *out)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "logits", ESKER_DTYPE_F32, &(esker_shape){2, {n, classes}});
    esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n}}), *outputs[3] = {NULL};
    if (!loss_first) outputs[1] = esker_count_correct(x, t);
    outputs[0] = esker_cross_entropy(x, t);
    if (loss_first) outputs[1] = esker_count_correct(x, t);
    if (grad) assert_ok(esker_gradients(outputs[0], &x, 1, &outputs[2]));
    assert_ok(esker_plan_compile(graph,
                                 &(esker_plan_desc){.device = test_device(),
                                                    .outputs = outputs,
                                                    .n_outputs = 2 + grad,
                                                    .no_fusion = no_fusion,
                                                    .check = true,
                                                    .slice_seconds = -1},
                                 &plan));
    esker_plan_info info;
    esker_dispatch_info d;
    esker_plan_get_info(plan, &info);
    int found = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        found += strncmp(d.kernel, "loss/", 5) == 0;
        if (!no_fusion && i == 0) assert_non_null(strstr(d.op, "count_correct"));
    }
    assert_int_equal(found, n_dispatches);
    float *logits = malloc((size_t)(n * classes) * sizeof *logits);
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    assert_true(logits && labels);
    test_uniform(logits, n * classes, -2, 2, 7);
    for (int i = 0; i < n * classes; i++) logits[i] = roundf(logits[i]); /* of five values: many are equal */
    logits[0] = 3;                                                       /* the first is right */
    for (int i = 0; i < n; i++) labels[i] = i == n / 2 ? -1 : i % classes;
    assert_ok(
        esker_plan_write(plan, esker_plan_find_input(plan, "logits"), logits, (size_t)(n * classes) * sizeof *logits));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels, (size_t)n * sizeof *labels));
    uint64_t ticket;
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, &out[0], sizeof *out));
    assert_ok(esker_plan_read(plan, ticket, 1, &out[1], sizeof *out));
    free(logits);
    free(labels);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* Where the kernel that does both has too many registers, they are two: by family, with 10 classes and with 65, which take more invocations for a row. */
static void midgard_counts_apart(void **state)
{
    (void)state;
    static const struct {
        const char *renderer;
        int classes, n_counting;
    } gpus[] = {{"Mali-T860 (Panfrost)", 10, 0}, {"Mali-T860 (Panfrost)", 65, 1}, {"Mali-G52 (Panfrost)", 65, 0}};
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        esker_graph *graph;
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "logits", ESKER_DTYPE_F32, &(esker_shape){2, {768, gpus[i].classes}});
        esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {768}});
        esker_node *outputs[] = {esker_cross_entropy(x, t), esker_count_correct(x, t), NULL};
        assert_ok(esker_gradients(outputs[0], &x, 1, &outputs[2]));
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.renderer = gpus[i].renderer, .outputs = outputs, .n_outputs = 3}, &plan));
        assert_int_equal(test_count_kernels(plan, "loss/count_correct"), gpus[i].n_counting);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* In the kernel of the loss, within four storage blocks: one group, several, and labels counted beforehand. */
static void counting_is_part_of_the_loss(void **state)
{
    (void)state;
    static const struct {
        int n, classes, fused, apart;
    } sizes[] = {{1, 1, 1, 2}, {64, 10, 1, 2}, {129, 3, 1, 2}, {7, 290, 1, 2}, {301, 11, 2, 4}, {4100, 5, 3, 5}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 4; way++) {
            float want[2], got[2];
            run_counted(sizes[i].n, sizes[i].classes, way & 1, way & 2, true, sizes[i].apart, want);
            run_counted(sizes[i].n, sizes[i].classes, way & 1, way & 2, false, sizes[i].fused, got);
            assert_true(got[1] == want[1] && got[0] == want[0]);
            setenv("ESKER_VARIANT", "count_apart", 1);
            run_counted(sizes[i].n, sizes[i].classes, way & 1, way & 2, false, sizes[i].apart, got);
            unsetenv("ESKER_VARIANT");
            assert_true(got[1] == want[1] && got[0] == want[0]);
            assert_true(want[1] > 0 || sizes[i].n == 1);
        }
}

int main(void)
{
    const struct CMUnitTest more[] = {
        cmocka_unit_test(a_bad_label_makes_the_loss_nan),
        cmocka_unit_test(loss_and_gradient_are_one_kernel),
        cmocka_unit_test(midgard_counts_apart),
        cmocka_unit_test_teardown(counting_is_part_of_the_loss, test_without_variant),
        cmocka_unit_test(refuses_wrong_shapes),
        cmocka_unit_test(count_correct_has_no_gradient),
    };
    return op_check_main("loss", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
