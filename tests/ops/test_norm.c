/* device test: normalisations with their gradients, and the running statistics of batch norm. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <esker/graph.h>
#include <esker/plan.h>
#include "graph/graph.h"
#include "support/op_check.h"

typedef struct norm_args {
    int n; /* axes, groups, or the axis */
    float eps;
    bool no_weight, no_bias;
} norm_args;

static const norm_args none = {0};

/* Inputs are x, then the weight and the bias, if they are there. */
#define WEIGHT (a->no_weight ? NULL : in[1])
#define BIAS   (a->no_bias ? NULL : in[a->no_weight ? 1 : 2])

static esker_node *build_layer(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    (void)graph;
    return esker_layer_norm(in[0], a->n, WEIGHT, BIAS, a->eps);
}

static esker_node *build_rms(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    (void)graph;
    return esker_rms_norm(in[0], a->n, WEIGHT, a->eps);
}

static esker_node *build_group(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    (void)graph;
    return esker_group_norm(in[0], a->n, WEIGHT, BIAS, a->eps);
}

static esker_node *build_instance(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    (void)graph;
    return esker_instance_norm(in[0], WEIGHT, BIAS, a->eps);
}

static esker_node *build_l2(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    (void)graph;
    return esker_normalize(in[0], a->n, a->eps);
}

static esker_node *build_batch(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    (void)graph;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.weight = WEIGHT, .bias = BIAS, .eps = a->eps});
}

static esker_node *build_infer(esker_graph *graph, esker_node *const *in, const void *args)
{
    const norm_args *a = args;
    esker_shape c = {1, {in[0]->type.shape.dims[1]}};
    return esker_batch_norm_infer(in[0], &(esker_batch_norm_desc){.weight = WEIGHT,
                                                                  .bias = BIAS,
                                                                  .running_mean = esker_full(graph, &c, 0.25f),
                                                                  .running_var = esker_full(graph, &c, 2.25f),
                                                                  .eps = a->eps});
}

static const norm_args axes1 = {.n = 1}, axes2 = {.n = 2}, axes3 = {.n = 3}, large_eps = {.n = 1, .eps = 0.5f};
static const norm_args plain1 = {.n = 1, .no_weight = true, .no_bias = true}, scaled1 = {.n = 1, .no_bias = true},
                       shifted1 = {.n = 1, .no_weight = true}, scaled2 = {.n = 2, .no_bias = true},
                       plain_large_eps = {.n = 1, .eps = 0.5f, .no_weight = true, .no_bias = true};
static const norm_args groups1 = {.n = 1}, groups2 = {.n = 2}, groups3 = {.n = 3}, groups4 = {.n = 4},
                       plain_groups2 = {.n = 2, .no_weight = true, .no_bias = true},
                       plain_groups3 = {.n = 3, .no_weight = true, .no_bias = true};
static const norm_args axis0 = {.n = 0}, axis1 = {.n = 1}, last = {.n = -1}, wide_l2 = {.n = 1, .eps = 4};
static const norm_args plain = {.no_weight = true, .no_bias = true}, scaled = {.no_bias = true},
                       shifted = {.no_weight = true};

#define X(...)                                  \
    {                                           \
        .shape = __VA_ARGS__, .lo = -2, .hi = 3 \
    }
#define WITHIN(lo_, hi_, ...)                      \
    {                                              \
        .shape = __VA_ARGS__, .lo = lo_, .hi = hi_ \
    }
#define SAME(value, ...)                                                       \
    {                                                                          \
        .shape = __VA_ARGS__, .lo = value, .hi = value, .fill = OP_CHECK_WHOLE \
    }
#define T(...)                                     \
    {                                              \
        .shape = __VA_ARGS__, .lo = 0.5, .hi = 1.5 \
    }

/* title, builder, arguments, x, and the shape of weight and bias */
#define AFFINE(title, build, args_, x, ...)                                    \
    {                                                                          \
        title, build, 3, {x, T(__VA_ARGS__), T(__VA_ARGS__)}, .args = &(args_) \
    }
#define TABLE(title, build, args_, x, ...)                     \
    {                                                          \
        title, build, 2, {x, T(__VA_ARGS__)}, .args = &(args_) \
    }
#define PLAIN(title, build, args_, x)          \
    {                                          \
        title, build, 1, {x}, .args = &(args_) \
    }
#define LARGE(title, build, args_, x, ...)                                                             \
    {                                                                                                  \
        title, build, 3, {x, T(__VA_ARGS__), T(__VA_ARGS__)}, .args = &(args_), .no_differences = true \
    }

static const op_check_row rows[] = {
    AFFINE("layer norm, one element", build_layer, axes1, X({1, {1}}), {1, {1}}),
    AFFINE("layer norm, a vector", build_layer, axes1, X({1, {7}}), {1, {7}}),
    AFFINE("layer norm, rows of 64", build_layer, axes1, X({2, {5, 64}}), {1, {64}}),
    AFFINE("layer norm, rows of 127", build_layer, axes1, X({2, {3, 127}}), {1, {127}}),
    AFFINE("layer norm, rows of 128", build_layer, axes1, X({2, {2, 128}}), {1, {128}}),
    AFFINE("layer norm, rows of 129", build_layer, axes1, X({2, {3, 129}}), {1, {129}}),
    AFFINE("layer norm, a weight that no uniform block of 16 KiB holds", build_layer, axes1, X({2, {2, 4099}}),
           {1, {4099}}),
    AFFINE("layer norm, rows of 513", build_layer, axes1, X({2, {2, 513}}), {1, {513}}),
    AFFINE("layer norm, 129 short rows", build_layer, axes1, X({2, {129, 3}}), {1, {3}}),
    AFFINE("layer norm, two axes of four", build_layer, axes2, X({4, {2, 3, 5, 7}}), {2, {5, 7}}),
    AFFINE("layer norm, all of three axes", build_layer, axes3, X({3, {3, 5, 7}}), {3, {3, 5, 7}}),
    AFFINE("layer norm, six axes", build_layer, axes2, X({6, {2, 1, 3, 2, 4, 3}}), {2, {4, 3}}),
    AFFINE("layer norm, a large eps", build_layer, large_eps, X({2, {4, 33}}), {1, {33}}),
    PLAIN("layer norm, no weight, no bias", build_layer, plain1, X({2, {4, 33}})),
    TABLE("layer norm, a weight alone", build_layer, scaled1, X({2, {4, 33}}), {1, {33}}),
    TABLE("layer norm, a bias alone", build_layer, shifted1, X({2, {4, 33}}), {1, {33}}),
    LARGE("layer norm, rows that are cut", build_layer, axes1, X({2, {2, 40001}}), {1, {40001}}),
    LARGE("layer norm, many rows", build_layer, axes1, X({2, {9001, 5}}), {1, {5}}),
    /* Mean 1000, deviation 0.3: the difference of mean squares would lose everything. */
    {"layer norm, a large mean",
     build_layer,
     3,
     {WITHIN(999.5, 1000.5, {2, {3, 200}}), T({1, {200}}), T({1, {200}})},
     .args = &axes1,
     .difference_atol = 1e-3},
    PLAIN("layer norm, equal values", build_layer, plain1, SAME(3, {2, {3, 20}})),

    TABLE("rms norm, one element", build_rms, scaled1, WITHIN(1, 2, {1, {1}}), {1, {1}}),
    TABLE("rms norm, rows of 129", build_rms, scaled1, X({2, {3, 129}}), {1, {129}}),
    TABLE("rms norm, two axes", build_rms, scaled2, X({3, {4, 3, 5}}), {2, {3, 5}}),
    PLAIN("rms norm, no weight", build_rms, plain1, X({2, {5, 31}})),
    PLAIN("rms norm, zeros", build_rms, plain_large_eps, SAME(0, {2, {2, 9}})),
    {"rms norm, rows that are cut",
     build_rms,
     2,
     {X({2, {2, 40001}}), T({1, {40001}})},
     .args = &scaled1,
     .no_differences = true},

    AFFINE("group norm, two groups of three", build_group, groups2, X({4, {3, 6, 3, 5}}), {1, {6}}),
    AFFINE("group norm, one group", build_group, groups1, X({4, {2, 5, 3, 3}}), {1, {5}}),
    AFFINE("group norm, a group for each channel", build_group, groups3, X({3, {2, 3, 17}}), {1, {3}}),
    AFFINE("group norm, no space", build_group, groups4, X({2, {5, 12}}), {1, {12}}),
    AFFINE("group norm, larger than the lanes", build_group, groups2, X({4, {2, 6, 11, 13}}), {1, {6}}),
    AFFINE("group norm, five axes", build_group, groups2, X({5, {2, 4, 2, 3, 3}}), {1, {4}}),
    PLAIN("group norm, no weight, no bias", build_group, plain_groups2, X({4, {3, 4, 3, 5}})),
    LARGE("group norm, groups that are cut", build_group, groups2, X({4, {1, 6, 81, 83}}), {1, {6}}),

    AFFINE("instance norm, odd sizes", build_instance, none, X({4, {3, 5, 7, 3}}), {1, {5}}),
    AFFINE("instance norm, one axis of space", build_instance, none, X({3, {2, 3, 129}}), {1, {3}}),
    PLAIN("instance norm, no weight, no bias", build_instance, plain, X({4, {2, 3, 4, 4}})),
    LARGE("instance norm, planes that are cut", build_instance, none, X({4, {2, 2, 101, 103}}), {1, {2}}),

    PLAIN("normalize, one element", build_l2, last, WITHIN(1, 2, {1, {1}})),
    PLAIN("normalize, rows", build_l2, last, X({2, {5, 129}})),
    PLAIN("normalize, columns", build_l2, axis0, X({2, {9, 33}})),
    PLAIN("normalize, the middle of three axes", build_l2, axis1, X({3, {3, 21, 5}})),
    PLAIN("normalize, the second of six axes", build_l2, axis1, X({6, {2, 5, 2, 3, 1, 2}})),
    PLAIN("normalize, where eps is larger", build_l2, wide_l2, WITHIN(-0.1, 0.1, {2, {4, 6}})),
    PLAIN("normalize, zeros", build_l2, wide_l2, SAME(0, {2, {3, 4}})),
    {"normalize, rows that are cut", build_l2, 1, {X({2, {2, 40001}})}, .args = &last, .no_differences = true},
    {"normalize, columns that are cut", build_l2, 1, {X({2, {33000, 3}})}, .args = &axis0, .no_differences = true},

    AFFINE("batch norm, two values a channel", build_batch, none, X({2, {2, 5}}), {1, {5}}),
    AFFINE("batch norm, no space", build_batch, none, X({2, {33, 7}}), {1, {7}}),
    AFFINE("batch norm, no space, 129 channels", build_batch, none, X({2, {65, 129}}), {1, {129}}),
    AFFINE("batch norm, images", build_batch, none, X({4, {3, 5, 7, 3}}), {1, {5}}),
    AFFINE("batch norm, tiny images", build_batch, none, X({4, {17, 9, 2, 2}}), {1, {9}}),
    AFFINE("batch norm, one image", build_batch, none, X({4, {1, 3, 11, 13}}), {1, {3}}),
    AFFINE("batch norm, one channel", build_batch, none, X({3, {5, 1, 31}}), {1, {1}}),
    AFFINE("batch norm, six axes", build_batch, none, X({6, {3, 2, 2, 1, 3, 2}}), {1, {2}}),
    PLAIN("batch norm, no weight, no bias", build_batch, plain, X({4, {4, 3, 5, 5}})),
    TABLE("batch norm, a weight alone", build_batch, scaled, X({4, {4, 3, 5, 5}}), {1, {3}}),
    TABLE("batch norm, a bias alone", build_batch, shifted, X({4, {4, 3, 5, 5}}), {1, {3}}),
    LARGE("batch norm, channels that are cut", build_batch, none, X({4, {9, 3, 31, 37}}), {1, {3}}),
    LARGE("batch norm, columns that are cut", build_batch, none, X({2, {9001, 3}}), {1, {3}}),
    LARGE("batch norm, many channels", build_batch, none, X({3, {3, 5001, 2}}), {1, {5001}}),
    {"batch norm, a large mean",
     build_batch,
     3,
     {WITHIN(999.5, 1000.5, {4, {4, 3, 5, 5}}), T({1, {3}}), T({1, {3}})},
     .args = &none,
     .end_to_end = 1e-3, /* the mean itself is rounded to 2e-4 of the deviation */
     .difference_atol = 1e-3},

    AFFINE("batch norm in inference", build_infer, none, X({4, {3, 5, 7, 3}}), {1, {5}}),
    AFFINE("batch norm in inference, no space", build_infer, none, X({2, {33, 7}}), {1, {7}}),
    PLAIN("batch norm in inference, no weight, no bias", build_infer, plain, X({4, {1, 3, 5, 5}})),
    TABLE("batch norm in inference, a weight alone", build_infer, scaled, X({4, {2, 3, 5, 5}}), {1, {3}}),
    LARGE("batch norm in inference, channels that are cut", build_infer, none, X({4, {9, 3, 31, 37}}), {1, {3}}),
};

/* ---- Refusals ---- */

static esker_node *build_no_running_var(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.running_mean = in[1]});
}

static esker_node *build_no_statistics(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_batch_norm_infer(in[0], NULL);
}

static esker_node *build_running_inputs(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.running_mean = in[1], .running_var = in[1]});
}

static esker_node *build_trained(esker_graph *graph, esker_node *const *in, const void *args)
{
    esker_param_desc desc = {.name = "mean", .shape = {1, {4}}};
    esker_node *mean = esker_parameter(graph, &desc);
    (void)args;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.running_mean = mean, .running_var = mean});
}

static esker_node *build_momentum(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.momentum = *(const float *)args});
}

static void refuses_what_cannot_be(void **state)
{
    static const norm_args negative = {.n = 1, .eps = -1, .no_weight = true, .no_bias = true};
    static const norm_args not_a_number = {.n = 1, .eps = NAN, .no_weight = true, .no_bias = true};
    static const norm_args axes4 = {.n = 4, .no_weight = true, .no_bias = true};
    static const float too_much = 1.5f, no_number = NAN;
    const op_check_input in[3] = {X({2, {3, 4}}), T({1, {4}}), T({1, {5}})};
    const op_check_input integers = {.dtype = ESKER_DTYPE_I32, .shape = {2, {3, 4}}, .hi = 1};
    const op_check_input scalar = {.hi = 1}, vector = X({1, {4}}), points = X({4, {2, 3, 1, 1}});
    (void)state;
    op_check_refused(build_layer, &axes1, in, 3, ESKER_ERR_INVALID,
                     "layer_norm(float32 [3, 4], float32 [4], float32 [5]): the bias must be [4]");
    op_check_refused(build_layer, &plain1, &integers, 1, ESKER_ERR_INVALID, "layer_norm(int32 [3, 4]): takes float32");
    op_check_refused(build_layer, &plain1, &scalar, 1, ESKER_ERR_INVALID, "the last 1 axes, 1 to 0 are possible");
    op_check_refused(build_rms, &axes4, in, 1, ESKER_ERR_INVALID, "the last 4 axes, 1 to 2 are possible");
    op_check_refused(build_layer, &negative, in, 1, ESKER_ERR_INVALID, "eps is -1");
    op_check_refused(build_rms, &not_a_number, in, 1, ESKER_ERR_INVALID, "eps is");
    op_check_refused(build_group, &plain_groups3, in, 1, ESKER_ERR_INVALID, "3 groups do not divide 4 channels");
    op_check_refused(build_group, &plain, in, 1, ESKER_ERR_INVALID, "0 groups do not divide 4 channels");
    op_check_refused(build_group, &plain_groups2, &vector, 1, ESKER_ERR_INVALID, "x must be [n, channels, ...]");
    op_check_refused(build_instance, &plain, in, 1, ESKER_ERR_INVALID, "x must be [n, channels, space...]");
    op_check_refused(build_instance, &plain, &points, 1, ESKER_ERR_INVALID, "one value per channel and sample");
    op_check_refused(build_l2, &(norm_args){.n = 2}, in, 1, ESKER_ERR_INVALID, "axis 2, there are -2 to 1");
    op_check_refused(build_l2, &(norm_args){.n = -3}, in, 1, ESKER_ERR_INVALID, "axis -3, there are -2 to 1");
    op_check_refused(build_l2, &last, &scalar, 1, ESKER_ERR_INVALID, "a scalar has no axis");
    op_check_refused(build_batch, &none, in, 3, ESKER_ERR_INVALID, "must be [4], one for each channel");
    op_check_refused(build_batch, &plain, &vector, 1, ESKER_ERR_INVALID, "x must be [n, channels, ...]");
    op_check_refused(build_no_running_var, NULL, in, 2, ESKER_ERR_INVALID, "come together or not at all");
    op_check_refused(build_no_statistics, NULL, in, 1, ESKER_ERR_INVALID, "batch_norm_infer(float32 [3, 4]): running mean");
    op_check_refused(build_running_inputs, NULL, in, 2, ESKER_ERR_INVALID, "the running mean is no parameter");
    op_check_refused(build_trained, NULL, in, 1, ESKER_ERR_INVALID, "the running mean is a parameter that is trained");
    op_check_refused(build_momentum, &too_much, in, 1, ESKER_ERR_INVALID, "momentum is 1.5");
    op_check_refused(build_momentum, &no_number, in, 1, ESKER_ERR_INVALID, "momentum is");
}

/* Known when a plan is made, since models are recorded with a batch of 1. */
static void refuses_to_train_on_one_value(void **state)
{
    esker_graph *graph;
    esker_plan *plan;
    (void)state;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_batch_norm(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {1, 4, 1}}), NULL);
    assert_non_null(y);
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &y, .n_outputs = 1}, &plan), ESKER_ERR_INVALID,
                 "batch_norm(float32 [1, 4, 1]): one value per channel has no variance");
    assert_null(plan);
    esker_graph_destroy(graph);
}

/* ---- Running statistics ---- */

#define STEPS 5

typedef struct running_case {
    const char *name;
    esker_shape shape;
    float momentum;
} running_case;

static const running_case running_cases[] = {
    {"a batch of rows", {2, {6, 131}}, 0},
    {"images", {4, {3, 4, 5, 3}}, 0.3f},
    {"two values", {2, {2, 3}}, 1},
    {"channels that are cut", {4, {9, 2, 31, 37}}, 0},
};

/* After t steps r = (1 - m)^t r0 + sum_i m (1 - m)^(t - 1 - i) b_i, in double, against the device's parameters. */
static void running_statistics_follow_the_closed_form(void **state)
{
    const running_case *c = *state;
    int64_t n, channels = c->shape.dims[1], space = 1;
    for (int i = 2; i < c->shape.rank; i++) space *= c->shape.dims[i];
    assert_ok(esker_shape_elems(&c->shape, &n));
    int64_t count = n / channels;
    double m = c->momentum > 0 ? (double)c->momentum : (double)0.1f;
    size_t table_bytes = (size_t)channels * sizeof(double);
    double *mean = calloc(1, table_bytes), *var = calloc(1, table_bytes);
    float *x = calloc((size_t)n, sizeof *x), *got = calloc((size_t)channels, sizeof *got);
    assert_true(mean && var && x && got);

    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_param_desc desc = {.name = "bn.running_mean", .shape = {1, {channels}}, .frozen = true};
    esker_node *running_mean = esker_parameter(graph, &desc);
    desc.name = "bn.running_var";
    desc.init = (esker_init){.kind = ESKER_INIT_CONSTANT, .value = 1};
    esker_node *running_var = esker_parameter(graph, &desc);
    esker_node *y = esker_batch_norm(
        esker_input(graph, "x", ESKER_DTYPE_F32, &c->shape),
        &(esker_batch_norm_desc){.running_mean = running_mean, .running_var = running_var, .momentum = c->momentum});
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    for (int64_t j = 0; j < channels; j++) var[j] = pow(1 - m, STEPS);
    for (int t = 0; t < STEPS; t++) {
        uint64_t ticket;
        double share = m * pow(1 - m, STEPS - 1 - t);
        test_uniform(x, n, -1.0f + (float)t, 2.0f + 3 * (float)t, 100 + (uint64_t)t);
        assert_ok(esker_plan_write(plan, 0, x, (size_t)n * sizeof *x));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_wait(plan, ticket));
        for (int64_t j = 0; j < channels; j++) {
            double sum = 0, squares = 0;
            for (int64_t k = 0; k < count; k++) sum += (double)x[(k / space * channels + j) * space + k % space];
            for (int64_t k = 0; k < count; k++) {
                double d = (double)x[(k / space * channels + j) * space + k % space] - sum / (double)count;
                squares += d * d;
            }
            mean[j] += share * sum / (double)count;
            var[j] += share * squares / (double)(count - 1);
        }
    }
    esker_params *params = esker_graph_get_params(graph);
    assert_ok(esker_params_read(params, esker_params_find(params, "bn.running_mean"), got, channels));
    assert_close(got, mean, NULL, 1e-5, channels);
    assert_ok(esker_params_read(params, esker_params_find(params, "bn.running_var"), got, channels));
    for (int64_t j = 0; j < channels; j++) assert_true(fabs((double)got[j] - var[j]) <= 1e-5 * var[j]);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    free(mean);
    free(var);
    free(x);
    free(got);
}

/* Five norms at once; then one with another frozen parameter between its own, one with another momentum, and two that share their statistics. */
#define NORMS 9

static esker_plan *build_norms(const esker_plan_desc *how, esker_graph **out_graph)
{
    esker_graph *graph;
    esker_plan *plan;
    esker_node *mean = NULL, *var = NULL, *y[NORMS];
    esker_plan_desc desc = *how;
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < NORMS; i++) {
        char name[32];
        esker_param_desc param = {.name = name, .shape = {1, {i == 2 ? 130 : 3 + i}}, .frozen = true};
        snprintf(name, sizeof name, "mean%d", i);
        if (i < NORMS - 1) mean = esker_parameter(graph, &param);
        snprintf(name, sizeof name, "between%d", i);
        if (i == 5) esker_parameter(graph, &param);
        snprintf(name, sizeof name, "var%d", i);
        if (i < NORMS - 1) var = esker_parameter(graph, &param);
        esker_shape shape = {4, {2 + i, mean->type.shape.dims[0], 3, 2}};
        esker_node *x = esker_random_normal(graph, &shape, (float)i, 1.0f + 0.25f * (float)i);
        y[i] = esker_batch_norm(
            x, &(esker_batch_norm_desc){.running_mean = mean, .running_var = var, .momentum = i == 6 ? 0.5f : 0.2f});
        y[i] = esker_sum(y[i], NULL, 0, false);
    }
    desc.outputs = y;
    desc.n_outputs = NORMS;
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    assert_ok(esker_plan_check(plan));
    *out_graph = graph;
    return plan;
}

/* As many dispatches as there are pieces of memory and blocks, and the same statistics, to the bit, as one for each norm leaves. */
static void running_statistics_of_many_norms_go_together(void **state)
{
    (void)state;
    esker_graph *graph[3];
    esker_plan *plan[3];
    esker_plan_desc how[3] = {{.seed = 3}, {.seed = 3, .no_fusion = true}, {.seed = 3, .check = true}};
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    for (int i = 0; i < 3; i++) {
        how[i].device = test_device();
        plan[i] = build_norms(&how[i], &graph[i]);
        for (int step = 0; step < 3; step++) assert_ok(esker_plan_run(plan[i]));
    }
    assert_int_equal(test_count_kernels(plan[1], "norm/running"), NORMS);
    /* The five; that with another between; another momentum; and the last two, one of which lies behind the five. */
    assert_int_equal(test_count_kernels(plan[0], "norm/running"), device.limits.storage_blocks >= 8 ? 5 : 6);
    esker_params *params[3];
    for (int i = 0; i < 3; i++) params[i] = esker_graph_get_params(graph[i]);
    for (int p = 0; p < esker_params_count(params[0]); p++) {
        float got[3][130];
        esker_param_info info;
        assert_ok(esker_params_get_info(params[0], p, &info));
        for (int i = 0; i < 3; i++) assert_ok(esker_params_read(params[i], p, got[i], info.n_elems));
        assert_memory_equal(got[0], got[1], (size_t)info.n_elems * sizeof(float));
        assert_memory_equal(got[0], got[2], (size_t)info.n_elems * sizeof(float));
    }
    for (int i = 0; i < 3; i++) {
        esker_plan_destroy(plan[i]);
        esker_graph_destroy(graph[i]);
    }
}

#define RUNNING(i)                                                                                                         \
    {                                                                                                                      \
        running_cases[i].name, running_statistics_follow_the_closed_form, NULL, NULL, (void *)(uintptr_t)&running_cases[i] \
    }

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refuses_what_cannot_be),
                                      cmocka_unit_test(refuses_to_train_on_one_value),
                                      cmocka_unit_test(running_statistics_of_many_norms_go_together),
                                      RUNNING(0),
                                      RUNNING(1),
                                      RUNNING(2),
                                      RUNNING(3)};
    return op_check_main("norm", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
