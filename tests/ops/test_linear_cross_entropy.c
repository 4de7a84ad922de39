/* device test: the last layer of a classifier and its loss as one node: values, gradients, odd labels, and what becomes of the dispatches. */
#include <math.h>

#include <esker/plan.h>
#include "support/op_check.h"

typedef struct head {
    bool bias, relu, view, scaled, mean, keep, spread;
} head;

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const head *h = args;
    esker_node *y = h->relu ? esker_relu(in[0]) : in[0];
    if (h->spread) y = esker_sub(y, esker_sigmoid(in[0]));
    if (h->mean) y = esker_mean(y, (const int[]){2, 3}, 2, h->keep);
    if (h->view || h->keep) y = esker_flatten(y);
    if (h->scaled) y = esker_affine(y, 0.25f, 0);
    y = esker_matmul(y, in[1], &(esker_matmul_desc){.transpose_b = true});
    if (h->bias) y = esker_add(y, in[3]);
    return esker_cross_entropy(y, in[2]);
}

#define HEAD(title, rows_, classes_, k_, low, high, ...)                               \
    {                                                                                  \
        title, build, 4,                                                               \
            {{.shape = {2, {rows_, k_}}, .lo = -1, .hi = 1, .gap = 0.01},              \
             {.shape = {2, {classes_, k_}}, .lo = -1, .hi = 1},                        \
             {.dtype = ESKER_DTYPE_I32, .shape = {1, {rows_}}, .lo = low, .hi = high}, \
             {.shape = {1, {classes_}}, .lo = -1, .hi = 1}},                           \
            .args = &(const head){.bias = true, .relu = true}, __VA_ARGS__             \
    }
#define SPARE(title, rows_, classes_, k_, ...)                                                \
    {                                                                                         \
        title, build, 3,                                                                      \
            {{.shape = {2, {rows_, k_}}, .lo = -1, .hi = 1, .gap = 0.01},                     \
             {.shape = {2, {classes_, k_}}, .lo = -1, .hi = 1},                               \
             {.dtype = ESKER_DTYPE_I32, .shape = {1, {rows_}}, .lo = 0, .hi = (classes_)-1}}, \
            .args = &(const head)                                                             \
        {                                                                                     \
            __VA_ARGS__                                                                       \
        }                                                                                     \
    }

#define MEANS(title, rows_, channels, height, width, classes_, ...)                            \
    {                                                                                          \
        title, build, 4,                                                                       \
            {{.shape = {4, {rows_, channels, height, width}}, .lo = -1, .hi = 1, .gap = 0.01}, \
             {.shape = {2, {classes_, channels}}, .lo = -1, .hi = 1},                          \
             {.dtype = ESKER_DTYPE_I32, .shape = {1, {rows_}}, .lo = -1, .hi = (classes_)-1},  \
             {.shape = {1, {classes_}}, .lo = -1, .hi = 1}},                                   \
            .args = &(const head)                                                              \
        {                                                                                      \
            __VA_ARGS__                                                                        \
        }                                                                                      \
    }

static const op_check_row rows[] = {
    HEAD("one element", 1, 1, 1, 0, 0, 0),
    HEAD("a batch of digits", 64, 10, 256, 0, 9, 0),
    HEAD("two classes of few channels", 32, 2, 8, 0, 1, 0),
    HEAD("no multiple of 4", 129, 3, 7, 0, 2, 0),
    HEAD("characters", 33, 65, 66, 0, 64, 0),
    HEAD("as many classes as there may be", 37, 128, 64, 0, 127, 0),
    HEAD("long products", 7, 37, 2050, 0, 36, .no_differences = true),
    HEAD("a row for each group", 256, 10, 20, 0, 9, .no_differences = true),
    HEAD("two rows for each group", 257, 10, 20, 0, 9, .no_differences = true),
    HEAD("four rows for each group", 1023, 6, 33, 0, 5, .no_differences = true),
    HEAD("too many rows", 1025, 6, 33, 0, 5, .no_differences = true),
    HEAD("too many classes", 5, 129, 36, 0, 128, 0),
    HEAD("too many logits", 170, 97, 12, 0, 96, .no_differences = true),
    HEAD("some labels are -1", 65, 4, 12, -1, 3, 0),
    HEAD("all labels are -1", 65, 4, 12, -1, -1, 0),
    SPARE("without a bias", 64, 10, 36, .relu = true),
    SPARE("the gradient ends here", 64, 10, 36, 0),
    SPARE("two in the tail", 20, 5, 30, .relu = true, .scaled = true),
    {"a picture's view",
     build,
     4,
     {{.shape = {4, {9, 2, 3, 4}}, .lo = -1, .hi = 1, .gap = 0.01},
      {.shape = {2, {5, 24}}, .lo = -1, .hi = 1},
      {.dtype = ESKER_DTYPE_I32, .shape = {1, {9}}, .hi = 4},
      {.shape = {1, {5}}, .lo = -1, .hi = 1}},
     .args = &(const head){.bias = true, .relu = true, .view = true}},
    {"a bias of one element",
     build,
     4,
     {{.shape = {2, {9, 20}}, .lo = -1, .hi = 1},
      {.shape = {2, {5, 20}}, .lo = -1, .hi = 1},
      {.dtype = ESKER_DTYPE_I32, .shape = {1, {9}}, .hi = 4},
      {.shape = {1, {1}}, .lo = -1, .hi = 1}},
     .args = &(const head){.bias = true},
     .no_gradient = true},
    MEANS("means of planes", 32, 8, 4, 8, 2, .bias = true, .relu = true, .mean = true),
    MEANS("means, seen as pixels", 20, 3, 5, 4, 3, .bias = true, .relu = true, .mean = true, .keep = true),
    MEANS("means of odd planes", 9, 17, 3, 3, 10, .bias = true, .relu = true, .mean = true),
    MEANS("means of one element", 9, 12, 1, 1, 5, .bias = true, .relu = true, .mean = true),
    MEANS("means of long planes", 3, 2, 20, 37, 7, .bias = true, .relu = true, .mean = true),
    MEANS("means of many planes", 5, 300, 2, 2, 6, .bias = true, .relu = true, .mean = true),
    MEANS("means whose gradient is spread alone", 9, 6, 4, 5, 5, .bias = true, .mean = true),
    MEANS("means of what others need", 9, 6, 4, 5, 5, .bias = true, .relu = true, .mean = true, .spread = true),
    {"logits of thousands",
     build,
     3,
     {{.shape = {2, {20, 16}}, .lo = 30, .hi = 40},
      {.shape = {2, {12, 16}}, .lo = -30, .hi = 30},
      {.dtype = ESKER_DTYPE_I32, .shape = {1, {20}}, .hi = 11}},
     .args = &(const head){0},
     .no_differences = true},
};

/* ---- Whole plans, with fusion and without ---- */

enum { LOSS, RIGHT, DX, DW, DB, N_RESULTS };

typedef struct results {
    float *values[N_RESULTS];
    size_t n[N_RESULTS];
    int dispatches, heads, means; /* in all, of the fused node's kernel, and of these with means */
} results;

typedef struct problem {
    int rows, classes, k;
    int32_t bad; /* the label of the row in the middle, in place of a good one; 0: none */
    int plane;   /* 0, or of how many neighbours of x each of the k values is the mean */
} problem;

static void fill(esker_plan *plan, const char *name, size_t n, float scale)
{
    float *data = malloc(n * sizeof *data);
    assert_non_null(data);
    test_uniform(data, (int64_t)n, -scale, scale, 7 + (uint64_t)name[0]);
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), data, n * sizeof *data));
    free(data);
}

static void count_dispatches(const esker_plan *plan, results *out)
{
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    out->dispatches = info.n_dispatches;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        out->heads += strcmp(d.kernel, "loss/linear_cross_entropy") == 0;
        out->means += strncmp(d.op, "mean+", 5) == 0 && strcmp(d.kernel, "loss/finish") != 0;
    }
}

static void run(const problem *p, bool fusion, results *out)
{
    esker_graph *graph;
    esker_plan *plan;
    int plane = p->plane ? p->plane : 1;
    *out = (results){.n = {1, 1, (size_t)(p->rows * p->k * plane), (size_t)(p->classes * p->k), (size_t)p->classes}};
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {p->rows, p->k, plane}});
    esker_node *w = esker_input(graph, "weight", ESKER_DTYPE_F32, &(esker_shape){2, {p->classes, p->k}});
    esker_node *b = esker_input(graph, "bias", ESKER_DTYPE_F32, &(esker_shape){1, {p->classes}});
    esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {p->rows}});
    esker_node *y = p->plane ? esker_mean(esker_relu(x), (const int[]){2}, 1, false) : esker_flatten(esker_relu(x));
    esker_node *logits = esker_add(esker_matmul(y, w, &(esker_matmul_desc){.transpose_b = true}), b);
    esker_node *outputs[N_RESULTS] = {esker_cross_entropy(logits, t), esker_count_correct(logits, t)};
    assert_ok(esker_gradients(outputs[LOSS], (esker_node *[]){x, w, b}, 3, &outputs[DX]));
    assert_ok(esker_plan_compile(
        graph,
        &(esker_plan_desc){
            .device = test_device(), .outputs = outputs, .n_outputs = N_RESULTS, .no_fusion = !fusion, .check = true},
        &plan));
    assert_ok(esker_plan_check(plan));
    count_dispatches(plan, out);
    fill(plan, "x", out->n[DX], 1);
    fill(plan, "weight", out->n[DW], 1);
    fill(plan, "bias", out->n[DB], 1);
    int32_t *labels = malloc((size_t)p->rows * sizeof *labels);
    assert_non_null(labels);
    for (int i = 0; i < p->rows; i++) labels[i] = i % p->classes;
    if (p->bad) labels[p->rows / 2] = p->bad;
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels, (size_t)p->rows * sizeof *labels));
    uint64_t ticket;
    assert_ok(esker_plan_submit(plan, &ticket));
    for (int o = 0; o < N_RESULTS; o++) {
        out->values[o] = malloc(out->n[o] * sizeof(float));
        assert_non_null(out->values[o]);
        assert_ok(esker_plan_read(plan, ticket, o, out->values[o], out->n[o] * sizeof(float)));
    }
    free(labels);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void compare(const problem *p)
{
    results one, apart;
    run(p, true, &one);
    run(p, false, &apart);
    assert_int_equal(apart.heads, 0);
    assert_true(one.dispatches < apart.dispatches);
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    assert_int_equal(one.heads, info.limits.storage_blocks >= 6);
    assert_int_equal(one.means, p->plane && info.limits.storage_blocks >= 9);
    for (int o = 0; o < N_RESULTS; o++) {
        float largest = 0;
        for (size_t i = 0; i < one.n[o]; i++) largest = fmaxf(largest, fabsf(apart.values[o][i]));
        for (size_t i = 0; i < one.n[o]; i++) {
            float got = one.values[o][i], want = apart.values[o][i];
            bool both_nan = isnan(got) && isnan(want) && o == LOSS && p->bad;
            float most = o == RIGHT ? 0 : 1e-5f * largest;
            if (!both_nan && !(fabsf(got - want) <= most))
                fail_msg("%d rows, %d classes, k %d: output %d, element %zu is %g with fusion, %g without", p->rows,
                         p->classes, p->k, o, i, (double)got, (double)want);
        }
        free(one.values[o]);
        free(apart.values[o]);
    }
}

static void agrees_with_its_parts(void **state)
{
    (void)state;
    static const problem problems[] = {{64, 10, 256, 0},    {32, 2, 8, 0},       {129, 3, 7, 0},      {33, 65, 66, 0},
                                       {300, 31, 64, 0},    {700, 10, 9, 0},     {40, 100, 1030, 0},  {64, 10, 256, -1},
                                       {32, 2, 8, 0, 1024}, {40, 10, 64, 0, 49}, {5, 100, 130, 0, 7}, {5, 3, 1000, -1, 4}};
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) compare(&problems[i]);
}

static void a_bad_label_makes_the_loss_nan(void **state)
{
    (void)state;
    static const problem problems[] = {
        {10, 10, 12, 10}, {300, 10, 12, -2}, {65, 65, 9, INT32_MAX}, {65, 65, 9, INT32_MIN}, {9, 4, 5, 7, 6}};
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) compare(&problems[i]);
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(agrees_with_its_parts),
                                      cmocka_unit_test(a_bad_label_makes_the_loss_nan)};
    return op_check_main("linear_cross_entropy", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
