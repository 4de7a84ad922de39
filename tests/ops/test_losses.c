/* device test: losses of pairs and of labels: kernels against references. */
#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "base/philox.h"
#include "ops/ops.h"
#include "support/op_check.h"

/* ---- Rows ---- */

typedef esker_node *(*pair_function)(esker_node *, esker_node *, const esker_loss_desc *);

typedef struct pair_args {
    pair_function record;
    esker_loss_desc desc;
    float target_scale; /* of an integer target, which gets no gradient; 0: the target is float32 */
} pair_args;

static esker_node *target_of(esker_node *x, float scale)
{
    return scale != 0 ? esker_affine(esker_convert(x, ESKER_DTYPE_F32), scale, 0) : x;
}

static esker_node *build_pair(esker_graph *graph, esker_node *const *in, const void *args)
{
    const pair_args *a = args;
    (void)graph;
    return a->record(in[0], target_of(in[1], a->target_scale), &a->desc);
}

static esker_node *logits_alone(esker_node *x, esker_node *t, const esker_loss_desc *desc)
{
    return esker_bce_with_logits(x, t, NULL, desc);
}

static esker_node *build_weighted_bce(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_bce_with_logits(in[0], in[1], in[2], args);
}

static esker_node *build_cosine(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_cosine_embedding(in[0], in[1], esker_convert(in[2], ESKER_DTYPE_F32), args);
}

typedef struct labels_args {
    esker_cross_entropy_desc desc;
    bool weighted, likelihood;
} labels_args;

/* Inputs: logits or log probabilities, target, and integers 1 to 9 that become weights. */
static esker_node *build_labels(esker_graph *graph, esker_node *const *in, const void *args)
{
    const labels_args *a = args;
    esker_node *weights = a->weighted ? target_of(in[2], 0.25f) : NULL;
    (void)graph;
    return (a->likelihood ? esker_nll : esker_cross_entropy_with)(in[0], in[1], weights, &a->desc);
}

typedef struct margin_args {
    esker_multi_margin_desc desc;
    bool weighted;
} margin_args;

static esker_node *build_margin(esker_graph *graph, esker_node *const *in, const void *args)
{
    const margin_args *a = args;
    (void)graph;
    return esker_multi_margin(in[0], in[1], a->weighted ? target_of(in[2], 0.25f) : NULL, &a->desc);
}

#define MEAN       ESKER_REDUCTION_MEAN
#define SUM        ESKER_REDUCTION_SUM
#define NONE       ESKER_REDUCTION_NONE
#define BATCH_MEAN ESKER_REDUCTION_BATCH_MEAN

/* A prediction in [lo, hi) and a target of integers 0 or `first` to `last`, scaled. */
#define PAIR(title, function, reduce, n, lo_, hi_, first, last, scale, ...)                                    \
    {                                                                                                          \
        title " of " #n ", " #reduce, build_pair, 2,                                                           \
            {{.shape = {1, {n}}, .lo = lo_, .hi = hi_}, {ESKER_DTYPE_I32, {1, {n}}, .lo = first, .hi = last}}, \
            &(const pair_args)                                                                                 \
        {                                                                                                      \
            function, {.reduction = reduce, __VA_ARGS__}, scale                                                \
        }                                                                                                      \
    }
#define PAIRS(title, function, lo, hi, first, last, scale, ...)                     \
    PAIR(title, function, MEAN, 1, lo, hi, first, last, scale, __VA_ARGS__),        \
        PAIR(title, function, MEAN, 129, lo, hi, first, last, scale, __VA_ARGS__),  \
        PAIR(title, function, SUM, 2051, lo, hi, first, last, scale, __VA_ARGS__),  \
        PAIR(title, function, NONE, 1027, lo, hi, first, last, scale, __VA_ARGS__), \
        PAIR(title, function, BATCH_MEAN, 127, lo, hi, first, last, scale, __VA_ARGS__)
/* Both float32: the target has a gradient too. */
#define DIFFERENCE(title, function, reduce, dims, ...)                                                   \
    {                                                                                                    \
        title ", both sides, " #reduce, build_pair, 2,                                                   \
            {{.shape = dims, .lo = -2, .hi = 2}, {.shape = dims, .lo = -2, .hi = 2}}, &(const pair_args) \
        {                                                                                                \
            function, {.reduction = reduce, __VA_ARGS__}, 0                                              \
        }                                                                                                \
    }
#define CUBE        \
    {               \
        3,          \
        {           \
            3, 5, 7 \
        }           \
    }
#define LABELS(title, n, classes, likely, weight, first, last, ...) \
    {                                                               \
        title, build_labels, (weight) ? 3 : 2,                      \
            {{.shape = {2, {n, classes}}, .lo = -4, .hi = 4},       \
             {ESKER_DTYPE_I32, {1, {n}}, .lo = first, .hi = last},  \
             {ESKER_DTYPE_I32, {1, {classes}}, .lo = 1, .hi = 9}},  \
            &(const labels_args)                                    \
        {                                                           \
            {__VA_ARGS__}, weight, likely                           \
        }                                                           \
    }
#define MARGIN(title, n, classes, weight, ...)                        \
    {                                                                 \
        "multi_margin, " title, build_margin, (weight) ? 3 : 2,       \
            {{.shape = {2, {n, classes}}, .lo = -2, .hi = 2},         \
             {ESKER_DTYPE_I32, {1, {n}}, .lo = 0, .hi = classes - 1}, \
             {ESKER_DTYPE_I32, {1, {classes}}, .lo = 1, .hi = 9}},    \
            &(const margin_args)                                      \
        {                                                             \
            {__VA_ARGS__}, weight                                     \
        }                                                             \
    }
#define PROBABILITIES(title, n, classes, weight, ...)                             \
    {                                                                             \
        "cross_entropy of probabilities, " title, build_labels, (weight) ? 3 : 2, \
            {{.shape = {2, {n, classes}}, .lo = -4, .hi = 4},                     \
             {.shape = {2, {n, classes}}, .lo = 0, .hi = 1},                      \
             {ESKER_DTYPE_I32, {1, {classes}}, .lo = 1, .hi = 9}},                \
            &(const labels_args)                                                  \
        {                                                                         \
            {__VA_ARGS__}, weight, false                                          \
        }                                                                         \
    }

static const op_check_row rows[] = {
    PAIRS("mse", esker_mse_with, -2, 2, -3, 3, 0.5f, 0),
    PAIRS("mae", esker_mae, -2, 2, -3, 3, 0.5f, 0),
    PAIRS("huber", esker_huber, -2, 2, -3, 3, 0.5f, 0),
    PAIRS("huber, narrow", esker_huber, -2, 2, -3, 3, 0.5f, .delta = 0.25f),
    PAIRS("smooth_l1", esker_smooth_l1, -2, 2, -3, 3, 0.5f, 0),
    PAIRS("smooth_l1, wide", esker_smooth_l1, -2, 2, -3, 3, 0.5f, .delta = 1.75f),
    PAIRS("bce", esker_bce, 0.02, 0.98, 0, 8, 0.125f, 0),
    PAIRS("bce_with_logits", logits_alone, -6, 6, 0, 8, 0.125f, 0),
    PAIRS("kl_div", esker_kl_div, -6, -0.1, 0, 8, 0.125f, 0),
    PAIRS("kl_div, log target", esker_kl_div, -6, -0.1, -8, 0, 0.5f, .log_target = true),
    PAIRS("hinge", esker_hinge, -2, 2, -1, 1, 1, 0),
    PAIRS("hinge, wide", esker_hinge, -2, 2, -1, 1, 1, .margin = 1.5f),
    PAIRS("hinge_embedding", esker_hinge_embedding, -2, 2, -1, 1, 1, 0),
    PAIRS("hinge_embedding, narrow", esker_hinge_embedding, 0, 2, -1, 1, 1, .margin = 0.5f),
    DIFFERENCE("mse", esker_mse_with, SUM, CUBE, 0),
    DIFFERENCE("mae", esker_mae, MEAN, CUBE, 0),
    DIFFERENCE("huber", esker_huber, NONE, CUBE, .delta = 0.5f),
    DIFFERENCE("smooth_l1", esker_smooth_l1, BATCH_MEAN, CUBE, .delta = 0.5f),
    DIFFERENCE("huber of scalars", esker_huber, NONE, {0}, 0),
    {"huber, many",
     build_pair,
     2,
     {{.shape = {1, {70001}}, .lo = -2, .hi = 2}, {.shape = {1, {70001}}, .lo = -2, .hi = 2}},
     &(const pair_args){esker_huber, {0}, 0},
     .no_differences = true},
    {"bce_with_logits, far from 0",
     build_pair,
     2,
     {{.shape = {1, {301}}, .lo = -300, .hi = 300}, {ESKER_DTYPE_I32, {1, {301}}, .hi = 1}},
     &(const pair_args){logits_alone, {0}, 1}},
    {"bce, at 0 and 1",
     build_pair,
     2,
     {{.shape = {1, {40}}, .lo = 0, .hi = 1, .fill = OP_CHECK_WHOLE}, {ESKER_DTYPE_I32, {1, {40}}, .hi = 1}},
     &(const pair_args){esker_bce, {.reduction = NONE}, 1},
     .no_differences = true},
    {"mae, kinks",
     build_pair,
     2,
     {{.shape = {1, {40}}, .lo = -1, .hi = 1, .fill = OP_CHECK_WHOLE}, {ESKER_DTYPE_I32, {1, {40}}, .lo = -1, .hi = 1}},
     &(const pair_args){esker_mae, {0}, 1},
     .no_differences = true},
    {"bce_with_logits, weights of classes",
     build_weighted_bce,
     3,
     {{.shape = {2, {31, 5}}, .lo = -5, .hi = 5},
      {.shape = {2, {31, 5}}, .lo = 0, .hi = 1},
      {.shape = {1, {5}}, .lo = 0.5, .hi = 4}},
     &(const esker_loss_desc){0}},
    {"bce_with_logits, one weight, each",
     build_weighted_bce,
     3,
     {{.shape = {2, {31, 5}}, .lo = -5, .hi = 5}, {.shape = {2, {31, 5}}, .lo = 0, .hi = 1}, {.lo = 0.5, .hi = 4}},
     &(const esker_loss_desc){.reduction = NONE}},
    {"bce_with_logits, one weight, mean of the batch",
     build_weighted_bce,
     3,
     {{.shape = {2, {31, 5}}, .lo = -5, .hi = 5}, {.shape = {2, {31, 5}}, .lo = 0, .hi = 1}, {.lo = 0.5, .hi = 4}},
     &(const esker_loss_desc){.reduction = BATCH_MEAN}},
    {"cosine_embedding",
     build_cosine,
     3,
     {{.shape = {2, {41, 9}}, .lo = -2, .hi = 2},
      {.shape = {2, {41, 9}}, .lo = -2, .hi = 2},
      {ESKER_DTYPE_I32, {1, {41}}, .lo = -1, .hi = 1}},
     &(const esker_loss_desc){0}},
    {"cosine_embedding, margin, each",
     build_cosine,
     3,
     {{.shape = {2, {41, 9}}, .lo = -1, .hi = 2},
      {.shape = {2, {41, 9}}, .lo = -1, .hi = 2},
      {ESKER_DTYPE_I32, {1, {41}}, .lo = -1, .hi = -1}},
     &(const esker_loss_desc){.reduction = NONE, .margin = 0.25f}},
    {"cosine_embedding, one pair",
     build_cosine,
     3,
     {{.shape = {1, {129}}, .lo = -1, .hi = 2},
      {.shape = {1, {129}}, .lo = -1, .hi = 2},
      {ESKER_DTYPE_I32, {0}, .lo = 1, .hi = 1}},
     &(const esker_loss_desc){.reduction = SUM}},

    LABELS("nll, mean", 129, 7, true, false, -1, 6, 0),
    LABELS("nll, one", 1, 1, true, false, 0, 0, 0),
    LABELS("nll, weights, mean", 127, 7, true, true, -1, 6, 0),
    LABELS("nll, weights, sum", 128, 3, true, true, -1, 2, .reduction = SUM),
    LABELS("nll, weights, each", 65, 129, true, true, -1, 128, .reduction = NONE),
    LABELS("nll, weights, mean of the batch", 65, 3, true, true, -1, 2, .reduction = BATCH_MEAN),
    LABELS("nll, another label ignored", 65, 5, true, true, 0, 4, .use_ignore_index = true, .ignore_index = 2),
    LABELS("nll, all ignored", 65, 5, true, true, -1, -1, 0),
    LABELS("cross_entropy, plain by its long name", 65, 5, false, false, -1, 4, 0),
    LABELS("cross_entropy, sum", 129, 10, false, false, -1, 9, .reduction = SUM),
    LABELS("cross_entropy, each", 129, 10, false, false, -1, 9, .reduction = NONE),
    LABELS("cross_entropy, weights", 129, 10, false, true, -1, 9, 0),
    LABELS("cross_entropy, smoothed", 129, 10, false, false, -1, 9, .label_smoothing = 0.125f),
    LABELS("cross_entropy, smoothed, weights", 129, 10, false, true, -1, 9, .label_smoothing = 0.125f),
    LABELS("cross_entropy, smoothed, weights, each", 33, 129, false, true, -1, 128, .label_smoothing = 0.5f,
           .reduction = NONE),
    LABELS("cross_entropy, wholly smoothed", 20, 4, false, false, 0, 3, .label_smoothing = 1),
    LABELS("cross_entropy, another label ignored", 129, 4, false, false, 0, 3, .use_ignore_index = true, .ignore_index = 0),
    LABELS("cross_entropy, all ignored, weights", 40, 4, false, true, 3, 3, .use_ignore_index = true, .ignore_index = 3),
    PROBABILITIES("mean", 65, 7, false, 0),
    PROBABILITIES("sum, weights", 65, 7, true, .reduction = SUM),
    PROBABILITIES("each, smoothed, weights", 33, 129, true, .reduction = NONE, .label_smoothing = 0.25f),
    PROBABILITIES("smoothed", 1, 3, false, .label_smoothing = 0.25f),
    MARGIN("mean", 129, 7, false, 0),
    MARGIN("one class", 3, 1, false, 0),
    MARGIN("sum, narrow", 65, 3, false, .reduction = SUM, .margin = 0.25f),
    MARGIN("each, squares", 33, 129, false, .reduction = NONE, .power = 2),
    MARGIN("weights, mean", 127, 5, true, 0),
    MARGIN("weights, squares, mean of the batch", 20, 10, true, .reduction = BATCH_MEAN, .power = 2),
    MARGIN("weights, each", 20, 10, true, .reduction = NONE, .margin = 2),
};

/* ---- Labels outside the classes, on the device ---- */

static void a_bad_label_is_noticed_and_harmless(void **state)
{
    enum { N = 5, C = 3 };
    static const int32_t bad[] = {3, -2, INT32_MAX, INT32_MIN};
    float x[N * C], each[N], sum, grad[N * C];
    (void)state;
    for (int i = 0; i < N * C; i++) x[i] = 0.1f * (float)i - 1;
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        int32_t labels[N] = {0, 2, bad[b], -1, 1};
        esker_graph *graph;
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {N, C}});
        esker_node *t = esker_input(graph, "t", ESKER_DTYPE_I32, &(esker_shape){1, {N}});
        esker_node *outputs[3] = {esker_nll(in, t, NULL, &(esker_cross_entropy_desc){.reduction = NONE})};
        outputs[1] = esker_nll(in, t, NULL, &(esker_cross_entropy_desc){.reduction = SUM});
        assert_ok(esker_gradients(outputs[1], &in, 1, &outputs[2]));
        assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = outputs, .n_outputs = 3},
                                     &plan));
        assert_ok(esker_plan_write(plan, 0, x, sizeof x));
        assert_ok(esker_plan_write(plan, 1, labels, sizeof labels));
        uint64_t ticket;
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, each, sizeof each));
        assert_ok(esker_plan_read(plan, ticket, 1, &sum, sizeof sum));
        assert_ok(esker_plan_read(plan, ticket, 2, grad, sizeof grad));
        assert_true(each[0] == -x[0] && each[1] == -x[5] && isnan(each[2]) && each[3] == 0 && each[4] == -x[13]);
        assert_true(isnan(sum));
        for (int i = 0; i < N; i++)
            for (int c = 0; c < C; c++) assert_true(grad[i * C + c] == (i != 2 && labels[i] == c ? -1 : 0));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* ---- Dispatches ---- */

static int count_dispatches(esker_node *(*record)(esker_node *, esker_node *, const esker_loss_desc *), int n)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {n}});
    esker_node *t = esker_input(graph, "t", ESKER_DTYPE_F32, &(esker_shape){1, {n}});
    esker_node *outputs[2] = {record(x, t, NULL)};
    assert_ok(esker_gradients(outputs[0], &x, 1, &outputs[1]));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.outputs = outputs, .n_outputs = 2}, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_info info;
    int n_losses = 0;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n_losses += strcmp(d.op, "plan") != 0;
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n_losses;
}

static void loss_and_gradient_are_one_kernel(void **state)
{
    (void)state;
    assert_int_equal(count_dispatches(logits_alone, 640), 1);
    assert_int_equal(count_dispatches(esker_huber, 2048), 1);
    assert_int_equal(count_dispatches(esker_huber, 2049), 2);
}

/* ---- Refusals ---- */

static esker_node *refused_weighted(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_bce_with_logits(in[0], in[1], in[2], args);
}

static esker_node *refused_cosine(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_cosine_embedding(in[0], in[1], in[2], args);
}

static esker_node *refused_entropy(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_cross_entropy_with(in[0], in[1], in[2], args);
}

static esker_node *refused_nll(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_nll(in[0], in[1], NULL, args);
}

static void refuses_what_makes_no_loss(void **state)
{
    const op_check_input six = {.shape = {2, {2, 3}}}, three = {.shape = {1, {3}}}, two = {.shape = {1, {2}}};
    const op_check_input labels = {ESKER_DTYPE_I32, {1, {2}}}, many = {ESKER_DTYPE_I32, {1, {3}}};
    const struct {
        op_check_build build;
        op_check_input in[3];
        pair_args pair;
        esker_cross_entropy_desc entropy;
        const char *part;
    } cases[] = {
        {build_pair,
         {six, three},
         {esker_huber, {0}},
         {0},
         "huber(float32 [2, 3], float32 [3]): prediction and target must have equal shapes"},
        {build_pair, {labels, labels}, {esker_mae, {0}}, {0}, "mae(int32 [2], int32 [2]): takes float32 alone"},
        {build_pair, {six, six}, {esker_huber, {.delta = -1}}, {0}, "delta -1, it must be finite and above 0"},
        {build_pair, {six, six}, {esker_smooth_l1, {.delta = NAN}}, {0}, "must be finite"},
        {build_pair, {six, six}, {esker_hinge, {.margin = INFINITY}}, {0}, "margin inf"},
        {build_pair,
         {six, six},
         {esker_bce, {.reduction = (esker_reduction)7}},
         {0},
         "bce(float32 [2, 3], float32 [2, 3]): unknown reduction 7"},
        {build_pair, {{.shape = {0}}, {.shape = {0}}}, {esker_mse_with, {.reduction = BATCH_MEAN}}, {0}, "no axis"},
        {refused_weighted,
         {six, six, two},
         {0},
         {0},
         "bce_with_logits(float32 [2, 3], float32 [2, 3], float32 [2]): the weights must be"},
        {refused_cosine,
         {six, six, three},
         {0},
         {0},
         "cosine_embedding(float32 [2, 3], float32 [2, 3], float32 [3]): two of [..., length]"},
        {refused_entropy, {six, labels, two}, {0}, {0}, "the weights must be float32 [3], one for each class"},
        {refused_entropy, {six, many, three}, {0}, {0}, "cross_entropy(float32 [2, 3], int32 [3]): 3 labels for 2 rows"},
        {refused_entropy, {six, three, three}, {0}, {0}, "or as many probabilities"},
        {refused_entropy, {six, labels, three}, {0}, {.label_smoothing = 1.5f}, "label smoothing 1.5"},
        {refused_entropy, {six, labels, three}, {0}, {.label_smoothing = NAN}, "label smoothing"},
        {refused_entropy, {six, labels, three}, {0}, {.reduction = (esker_reduction)-1}, "unknown reduction -1"},
        {refused_nll,
         {six, six, three},
         {0},
         {0},
         "nll(float32 [2, 3], float32 [2, 3]): labels must be int32 [n], without smoothing"},
        {refused_nll, {six, labels, three}, {0}, {.label_smoothing = 0.1f}, "without smoothing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const void *args = cases[i].build == build_pair ? (const void *)&cases[i].pair : (const void *)&cases[i].entropy;
        if (cases[i].build == refused_weighted || cases[i].build == refused_cosine) args = NULL;
        op_check_refused(cases[i].build, args, cases[i].in, cases[i].build == build_pair ? 2 : 3, ESKER_ERR_INVALID,
                         cases[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest more[] = {
        cmocka_unit_test(a_bad_label_is_noticed_and_harmless),
        cmocka_unit_test(loss_and_gradient_are_one_kernel),
        cmocka_unit_test(refuses_what_makes_no_loss),
    };
    return op_check_main("losses", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
