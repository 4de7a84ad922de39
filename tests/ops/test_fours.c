/* device test: values with their channels in fours, in every kernel that reads or writes them, agree with the references and with plans without them. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include "graph/graph.h"
#include "plan/plan.h"

#define STEPS 2

/* ---- What is computed ---- */

static esker_node *parameter(esker_graph *graph, esker_shape shape)
{
    char name[32];
    snprintf(name, sizeof name, "p%zu", graph->n_nodes);
    return esker_parameter(graph,
                           &(esker_param_desc){.name = name, .shape = shape, .init = {ESKER_INIT_UNIFORM, .value = 0.6f}});
}

static int64_t channels_of(const esker_node *x)
{
    return esker_node_get_shape(x)->dims[1];
}

typedef struct conv_like {
    int f, kernel, stride, padding, more, groups;
} conv_like;

static esker_node *conv(esker_node *x, conv_like c)
{
    int groups = c.groups ? c.groups : 1;
    esker_node *w = parameter(x->graph, (esker_shape){4, {c.f, channels_of(x) / groups, c.kernel, c.kernel}});
    return esker_conv2d(x, w,
                        &(esker_conv2d_desc){.stride = {c.stride, c.stride},
                                             .padding = {c.padding, c.padding},
                                             .more_padding = {c.more, c.more},
                                             .groups = groups});
}

static esker_node *with_bias(esker_node *y)
{
    return esker_add(y, parameter(y->graph, (esker_shape){3, {channels_of(y), 1, 1}}));
}

static esker_node *image(esker_graph *graph, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {n, c, h, w}});
}

#define FRAGMENT(name_) static esker_node *name_(esker_graph *graph)

FRAGMENT(dense)
{
    return esker_relu(with_bias(conv(image(graph, 2, 5, 9, 7), (conv_like){11, 3, 1, 1})));
}
FRAGMENT(dense_without_padding)
{
    return conv(conv(image(graph, 3, 8, 11, 13), (conv_like){4, 3, 1, 0}), (conv_like){7, 2, 1, 0});
}
FRAGMENT(dense_stride)
{
    return esker_clamp(with_bias(conv(image(graph, 2, 6, 16, 15), (conv_like){13, 3, 2, 1})), 0, 6);
}
FRAGMENT(dense_stride_five_taps)
{
    return conv(image(graph, 2, 9, 17, 22), (conv_like){6, 5, 2, 2});
}
FRAGMENT(dense_five_taps)
{
    return conv(image(graph, 2, 5, 8, 19), (conv_like){5, 5, 1, 2});
}
FRAGMENT(seven_taps) /* more than kernels write out */
{
    return conv(conv(image(graph, 2, 5, 12, 13), (conv_like){6, 7, 2, 3}), (conv_like){6, 7, 1, 3, 0, 6});
}
FRAGMENT(dense_even_taps)
{
    return conv(conv(image(graph, 2, 5, 9, 10), (conv_like){6, 4, 1, 2}), (conv_like){6, 4, 2, 1});
}
FRAGMENT(uneven_padding)
{
    esker_node *x = conv(image(graph, 2, 5, 10, 10), (conv_like){7, 3, 2, 0, 1});
    return conv(x, (conv_like){7, 3, 2, 1, -1, 7});
}
FRAGMENT(long_rows)
{
    return conv(conv(image(graph, 1, 8, 3, 127), (conv_like){9, 3, 1, 1}), (conv_like){9, 3, 1, 2, 0, 9});
}
FRAGMENT(one_tap)
{
    return esker_relu(with_bias(conv(image(graph, 3, 7, 5, 7), (conv_like){18, 1, 1, 0})));
}
FRAGMENT(one_tap_stride)
{
    return with_bias(conv(image(graph, 2, 12, 9, 13), (conv_like){20, 1, 2, 0}));
}
FRAGMENT(one_tap_padding)
{
    return with_bias(conv(image(graph, 2, 12, 4, 5), (conv_like){6, 1, 1, 1}));
}
FRAGMENT(one_pixel)
{
    return conv(image(graph, 5, 13, 1, 1), (conv_like){9, 1, 1, 0});
}
FRAGMENT(depthwise)
{
    return esker_relu(with_bias(conv(image(graph, 2, 6, 9, 7), (conv_like){6, 3, 1, 1, 0, 6})));
}
FRAGMENT(depthwise_stride)
{
    return esker_clamp(with_bias(conv(image(graph, 3, 8, 14, 15), (conv_like){8, 3, 2, 1, 0, 8})), 0, 6);
}
FRAGMENT(depthwise_taps)
{
    esker_node *x = conv(image(graph, 2, 7, 14, 12), (conv_like){7, 5, 1, 2, 0, 7});
    return conv(conv(x, (conv_like){7, 5, 2, 1, 0, 7}), (conv_like){7, 2, 1, 0, 0, 7});
}
FRAGMENT(depthwise_one_tap)
{
    return conv(image(graph, 2, 10, 5, 6), (conv_like){10, 1, 1, 0, 0, 10});
}
FRAGMENT(few)
{
    return with_bias(
        conv(esker_relu(with_bias(conv(image(graph, 2, 3, 17, 13), (conv_like){10, 3, 2, 1}))), (conv_like){5, 1, 1, 0}));
}
FRAGMENT(one_channel)
{
    return conv(conv(image(graph, 3, 1, 12, 11), (conv_like){16, 5, 1, 2}), (conv_like){16, 3, 1, 1, 0, 16});
}
FRAGMENT(few_with_residual) /* the tail's operand is in fours, too */
{
    esker_node *x = image(graph, 2, 4, 9, 8), *y = conv(x, (conv_like){9, 3, 1, 1});
    return conv(esker_relu(esker_add(with_bias(conv(x, (conv_like){9, 3, 1, 1})), y)), (conv_like){9, 3, 1, 1, 0, 9});
}
FRAGMENT(one_number)
{
    esker_node *y = conv(image(graph, 2, 5, 6, 7), (conv_like){6, 3, 1, 1});
    return esker_add(y, parameter(graph, (esker_shape){1, {1}}));
}
FRAGMENT(residual)
{
    esker_node *x = esker_relu(with_bias(conv(image(graph, 2, 5, 8, 9), (conv_like){10, 3, 1, 1})));
    esker_node *y = esker_relu(with_bias(conv(x, (conv_like){10, 3, 1, 1})));
    return esker_relu(esker_add(with_bias(conv(y, (conv_like){10, 1, 1, 0})), x));
}
/* What this makes of the zeros beyond the channels is no number: it must reach none. */
FRAGMENT(pads)
{
    esker_node *y = esker_log(esker_abs(with_bias(conv(image(graph, 2, 5, 6, 7), (conv_like){6, 3, 1, 1}))));
    y = esker_max_pool2d(y, &(esker_pool2d_desc){.window = {2, 2}, .stride = {1, 1}});
    return conv(conv(y, (conv_like){6, 3, 1, 1, 0, 6}), (conv_like){3, 1, 1, 0});
}
FRAGMENT(pads_from_few)
{
    esker_node *y = esker_log(esker_abs(with_bias(conv(image(graph, 2, 2, 6, 7), (conv_like){7, 3, 1, 1}))));
    return conv(y, (conv_like){5, 3, 1, 1});
}
FRAGMENT(max_pool)
{
    esker_node *x = conv(image(graph, 2, 5, 13, 11), (conv_like){7, 3, 1, 1});
    return esker_max_pool2d(x, &(esker_pool2d_desc){.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
}
FRAGMENT(avg_pool)
{
    esker_node *x = esker_avg_pool2d(image(graph, 2, 9, 13, 11),
                                     &(esker_pool2d_desc){.window = {3, 2}, .stride = {2, 1}, .padding = {1, 1}});
    return esker_avg_pool2d(
        x, &(esker_pool2d_desc){.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .exclude_padding = true});
}
FRAGMENT(mean)
{
    return esker_mean(conv(image(graph, 3, 5, 9, 7), (conv_like){12, 3, 1, 1}), (const int[]){2, 3}, 2, false);
}
FRAGMENT(mean_of_odd)
{
    return esker_mean(conv(image(graph, 3, 5, 9, 7), (conv_like){11, 3, 1, 1}), (const int[]){2, 3}, 2, true);
}
FRAGMENT(concat)
{
    esker_node *x = conv(image(graph, 2, 5, 6, 7), (conv_like){8, 1, 1, 0});
    esker_node *parts[] = {conv(x, (conv_like){8, 1, 1, 0}), x, conv(x, (conv_like){12, 3, 1, 1})};
    return conv(esker_concat(parts, 3, 1), (conv_like){5, 1, 1, 0});
}
FRAGMENT(concat_of_one_image) /* written where they stand in the result */
{
    esker_node *x = conv(image(graph, 1, 5, 8, 8), (conv_like){8, 1, 1, 0});
    esker_node *parts[] = {conv(x, (conv_like){8, 1, 1, 0}), conv(x, (conv_like){12, 3, 1, 1})};
    return conv(esker_concat(parts, 2, 1), (conv_like){5, 1, 1, 0});
}
FRAGMENT(concat_of_odd)
{
    esker_node *x = conv(image(graph, 2, 5, 6, 7), (conv_like){8, 1, 1, 0});
    esker_node *parts[] = {conv(x, (conv_like){7, 1, 1, 0}), conv(x, (conv_like){5, 3, 1, 1})};
    return conv(esker_concat(parts, 2, 1), (conv_like){5, 1, 1, 0});
}
FRAGMENT(elementwise)
{
    esker_node *x = conv(image(graph, 2, 5, 6, 7), (conv_like){8, 3, 1, 1}), *y = conv(x, (conv_like){8, 3, 1, 1});
    esker_node *scale = parameter(graph, (esker_shape){4, {1, 8, 1, 1}});
    y = esker_tanh(esker_add(esker_mul(x, scale), esker_mul(y, parameter(graph, (esker_shape){0}))));
    return conv(esker_add(y, x), (conv_like){6, 3, 1, 1, 0, 2});
}
FRAGMENT(elementwise_of_odd) /* as it is: zeros need not stay zeros */
{
    esker_node *x = conv(image(graph, 2, 5, 6, 7), (conv_like){6, 3, 1, 1});
    return conv(esker_exp(esker_mul(x, x)), (conv_like){6, 3, 1, 1});
}
FRAGMENT(read_twice) /* one reader wants it as it is */
{
    esker_node *x = conv(image(graph, 2, 5, 6, 7), (conv_like){6, 3, 1, 1});
    esker_node *y = esker_sum(conv(x, (conv_like){4, 3, 1, 1}), (const int[]){1, 2, 3}, 3, true);
    return esker_mul(x, y);
}

/* ---- Nets ---- */

static esker_node *relu6_of(esker_node *x, conv_like c)
{
    return esker_clamp(with_bias(conv(x, c)), 0, 6);
}

static esker_node *linear(esker_node *x, int64_t n)
{
    esker_node *w = parameter(x->graph, (esker_shape){2, {channels_of(x), n}});
    return esker_matmul(esker_reshape(x, &(esker_shape){2, {0, -1}}), w, NULL);
}

static esker_node *inverted_residual(esker_node *x, int f, int stride)
{
    int wide = 3 * (int)channels_of(x);
    esker_node *y = relu6_of(relu6_of(x, (conv_like){wide, 1, 1, 0}), (conv_like){wide, 3, stride, 1, 0, wide});
    y = with_bias(conv(y, (conv_like){f, 1, 1, 0}));
    return channels_of(x) == f && stride == 1 ? esker_add(y, x) : y;
}

FRAGMENT(mobilenet_v2)
{
    esker_node *x = relu6_of(image(graph, 2, 3, 32, 32), (conv_like){8, 3, 2, 1});
    x = inverted_residual(inverted_residual(inverted_residual(x, 6, 1), 10, 2), 10, 1);
    return linear(esker_mean(relu6_of(x, (conv_like){21, 1, 1, 0}), (const int[]){2, 3}, 2, true), 5);
}

static esker_node *fire(esker_node *x, int narrow, int wide)
{
    x = esker_relu(with_bias(conv(x, (conv_like){narrow, 1, 1, 0})));
    esker_node *parts[] = {esker_relu(with_bias(conv(x, (conv_like){wide, 1, 1, 0}))),
                           esker_relu(with_bias(conv(x, (conv_like){wide, 3, 1, 1})))};
    return esker_concat(parts, 2, 1);
}

FRAGMENT(squeezenet)
{
    const esker_pool2d_desc pool = {.window = {3, 3}, .stride = {2, 2}};
    esker_node *x = esker_relu(with_bias(conv(image(graph, 1, 3, 31, 31), (conv_like){12, 3, 2, 0})));
    x = esker_max_pool2d(fire(fire(esker_max_pool2d(x, &pool), 5, 8), 6, 8), &pool);
    x = esker_relu(with_bias(conv(fire(x, 6, 12), (conv_like){10, 1, 1, 0})));
    return esker_mean(x, (const int[]){2, 3}, 2, false);
}

static esker_node *basic_block(esker_node *x, int f, int stride)
{
    esker_node *y = esker_relu(with_bias(conv(x, (conv_like){f, 3, stride, 1})));
    esker_node *past = stride > 1 ? with_bias(conv(x, (conv_like){f, 1, stride, 0})) : x;
    return esker_relu(esker_add(with_bias(conv(y, (conv_like){f, 3, 1, 1})), past));
}

FRAGMENT(resnet)
{
    esker_node *x = esker_relu(with_bias(conv(image(graph, 2, 3, 30, 34), (conv_like){8, 5, 2, 2})));
    x = esker_max_pool2d(x, &(esker_pool2d_desc){.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
    x = basic_block(basic_block(x, 8, 1), 14, 2);
    return linear(esker_mean(x, (const int[]){2, 3}, 2, true), 5);
}

static const struct fours_case {
    const char *name;
    esker_node *(*record)(esker_graph *graph);
    int convolutions, pools, conversions; /* dispatches of a step with channels in fours */
    bool two_rows;                        /* there are depthwise ones, which have kernels for two rows */
} cases[] = {
    {"3x3", dense, 1, 0, 2},
    {"without padding", dense_without_padding, 2, 0, 2},
    {"stride 2", dense_stride, 1, 0, 2},
    {"stride 2, five taps", dense_stride_five_taps, 1, 0, 2},
    {"five taps", dense_five_taps, 1, 0, 2},
    {"seven taps", seven_taps, 2, 0, 2},
    {"four taps", dense_even_taps, 2, 0, 2},
    {"more padding behind, and less", uneven_padding, 2, 0, 2, true},
    {"rows of 127", long_rows, 2, 0, 2, true},
    {"one tap", one_tap, 1, 0, 2},
    {"one tap, stride 2", one_tap_stride, 1, 0, 2},
    {"one tap, padding", one_tap_padding, 1, 0, 2},
    {"one pixel", one_pixel, 1, 0, 2},
    {"depthwise", depthwise, 1, 0, 2, true},
    {"depthwise, stride 2", depthwise_stride, 1, 0, 2, true},
    {"depthwise, more taps", depthwise_taps, 3, 0, 2, true},
    {"depthwise, one tap", depthwise_one_tap, 1, 0, 2, true},
    {"from three channels", few, 1, 0, 1},
    {"from one channel", one_channel, 1, 0, 1},
    {"from four channels, with a residual", few_with_residual, 1, 0, 1},
    {"a bias of one number", one_number, 1, 0, 2},
    {"residual", residual, 3, 0, 2},
    {"no numbers beyond the channels", pads, 3, 1, 2},
    {"no numbers beyond the channels, from two", pads_from_few, 1, 0, 1},
    {"largest of windows", max_pool, 1, 1, 2},
    {"means of windows", avg_pool, 0, 2, 2},
    {"means of images", mean, 1, 1, 1},
    {"means of images, odd channels", mean_of_odd, 1, 1, 2},
    {"joined", concat, 4, 0, 2},
    {"joined, one image", concat_of_one_image, 4, 0, 2},
    {"joined, odd channels", concat_of_odd, 4, 0, 5},
    {"elementwise", elementwise, 2, 0, 2},
    {"elementwise, odd channels", elementwise_of_odd, 2, 0, 4},
    {"also read as it is", read_twice, 2, 0, 3},
    {"MobileNet v2, small", mobilenet_v2, 10, 1, 1, true},
    {"SqueezeNet, small", squeezenet, 10, 3, 1},
    {"ResNet, small", resnet, 5, 2, 1},
};

/* ---- Running it ---- */

typedef struct way {
    const char *variant;
    bool no_fusion, check, cut; /* cut: into slices of a thousand operations or bytes */
} way;

/* Returns how many dispatches a step has. */
static int run(const struct fours_case *c, way how, float **out, int64_t *out_n)
{
    esker_graph *graph;
    esker_plan *plan;
    uint64_t ticket = 0;
    setenv("ESKER_VARIANT", how.variant, 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = c->record(graph);
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 3));
    assert_ok(esker_plan_compile(graph,
                                 &(esker_plan_desc){.device = test_device(),
                                                    .outputs = &y,
                                                    .n_outputs = 1,
                                                    .no_fusion = how.no_fusion,
                                                    .slice_seconds = how.cut ? 1e-3 : -1,
                                                    .flops_per_second = 1e6,
                                                    .bytes_per_second = 1e6,
                                                    .check = how.check},
                                 &plan));
    assert_ok(esker_plan_check(plan));
    bool fours = !how.no_fusion && !strncmp(how.variant, "fours", 5);
    if (!how.cut) {
        assert_int_equal(test_count_kernels(plan, "conv/fours"), fours ? c->convolutions : 0);
        assert_int_equal(test_count_kernels(plan, "pool/fours"), fours ? c->pools : 0);
    }
    /* With four storage blocks more is left of tails, and of odd channels that is computed as it is. */
    if (!how.cut && (!fours || plan->limits.storage_blocks >= 5))
        assert_int_equal(test_count_kernels(plan, "convert/fours"), fours ? c->conversions : 0);
    int64_t n_in = (int64_t)(plan->inputs[0].n_bytes / 4), n = esker__elems(&y->type.shape);
    float *x = malloc((size_t)n_in * sizeof *x), *got = malloc((size_t)n * sizeof *got);
    assert_true(x && got);
    for (int step = 0; step < STEPS; step++) {
        test_uniform(x, n_in, -1, 1, (uint64_t)step);
        assert_ok(esker_plan_write(plan, 0, x, (size_t)n_in * sizeof *x));
        assert_ok(esker_plan_submit(plan, &ticket));
    }
    assert_ok(esker_plan_read(plan, ticket, 0, got, (size_t)n * sizeof *got));
    free(x);
    int n_dispatches = (int)(plan->n_dispatches - plan->n_prologue);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    *out = got;
    *out_n = n;
    return n_dispatches;
}

/* In check mode: each node beside its reference, zeros beyond the channels, too. */
static void compare(const struct fours_case *c, const char *variant, const float *plain, int64_t n, float largest)
{
    float *got;
    run(c, (way){variant, .check = true}, &got, &n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - plain[i]) <= 2e-5f * largest))
            fail_msg("%s, %s: element %lld is %.9g, without %.9g, largest %g", c->name, variant, (long long)i,
                     (double)got[i], (double)plain[i], (double)largest);
    free(got);
}

/* Each under one set of kernels, the next under the next; depthwise convolutions also by two rows at a time. */
static void values_are_the_same(void **state)
{
    static const char *const variants[] = {"fours,fours4x4,narrow", "fours,fours8x8,fours4x8,quads", "fours,fours4x2,wide",
                                           "fours,fours4x4loop,plain", "fours,fours4x2loop,narrow"};
    const struct fours_case *c = *state;
    size_t v = (size_t)(c - cases) % (sizeof variants / sizeof *variants);
    float *plain, largest = 0;
    int64_t n;
    run(c, (way){"planes"}, &plain, &n);
    for (int64_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf(plain[i]));
    assert_true(largest > 0);
    compare(c, variants[v], plain, n, largest);
    if (c->two_rows) compare(c, "fours,fours4x4x2", plain, n, largest);
    free(plain);
}

static void slices_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float *whole, *cut;
        int64_t n;
        if (cases[i].record != mobilenet_v2 && cases[i].record != squeezenet && cases[i].record != dense_stride) continue;
        int n_whole = run(&cases[i], (way){"fours"}, &whole, &n),
            n_cut = run(&cases[i], (way){"fours", .cut = true}, &cut, &n);
        assert_true(n_cut > 2 * n_whole);
        assert_memory_equal(whole, cut, (size_t)n * sizeof *whole);
        free(whole);
        free(cut);
    }
}

static void no_fusion_leaves_the_layout_alone(void **state)
{
    float *got;
    int64_t n;
    (void)state;
    run(&cases[0], (way){"fours", .no_fusion = true}, &got, &n);
    free(got);
}

/* As max_pool2d has it: a window with one is none. */
static void a_nan_in_a_window_stays(void **state)
{
    enum { N_X = 2 * 6 * 5 * 5, N_Y = 2 * 6 * 3 * 3 };
    float x[N_X], y[2][N_Y];
    (void)state;
    test_uniform(x, N_X, -1, 1, 9);
    for (int i = 0; i < N_X; i += 41) x[i] = NAN;
    for (int fours = 0; fours < 2; fours++) {
        esker_graph *graph;
        esker_plan *plan;
        uint64_t ticket;
        setenv("ESKER_VARIANT", fours ? "fours" : "planes", 1);
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *pooled = esker_max_pool2d(image(graph, 2, 6, 5, 5),
                                              &(esker_pool2d_desc){.window = {3, 3}, .stride = {1, 1}});
        assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &pooled, .n_outputs = 1},
                                     &plan));
        assert_int_equal(test_count_kernels(plan, "pool/fours"), fours);
        assert_ok(esker_plan_write(plan, 0, x, sizeof x));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, y[fours], sizeof y[fours]));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    int n = 0;
    for (int i = 0; i < N_Y; i++) {
        assert_int_equal(isnan(y[1][i]) != 0, isnan(y[0][i]) != 0);
        if (isnan(y[0][i]))
            n++;
        else
            assert_true(y[1][i] == y[0][i]);
    }
    assert_true(n < N_Y);
    if (!n) skip(); /* the device has none */
}

/* What has its layout from a kernel that is wrong here is computed without: of convolutions by another of their kernels first. */
static void quarantined_kernels_are_done_without(void **state)
{
    static const char *const kernels[] = {"conv/fours", "pool/fours", "convert/fours"};
    esker_graph *graph;
    esker_plan *plan, *without;
    esker_device *dev;
    (void)state;
    test_device();
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = ""}, &dev)); /* others shall not find the quarantine */
    setenv("ESKER_VARIANT", "fours", 1);
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *y = max_pool(graph);
        const esker_plan_desc desc = {.device = dev, .outputs = &y, .n_outputs = 1};
        assert_ok(esker_plan_compile(graph, &desc, &plan));
        const esker__plan_kernel *found = NULL;
        for (size_t i = 0; i < plan->n_kernels && !found; i++)
            if (!strcmp(plan->kernels[i].name, kernels[k])) found = &plan->kernels[i];
        assert_non_null(found);
        assert_ok(esker__kernel_quarantine(dev, found->name, found->defines, "test"));
        esker_status st = esker_plan_compile(graph, &desc, &without);
        esker__kernel_release(dev, found->name, found->defines);
        assert_ok(st);
        for (size_t p = 0; p < without->n_dispatches; p++) {
            const esker__plan_kernel *has = &without->kernels[without->dispatches[p].kernel];
            assert_false(!strcmp(has->name, found->name) && !strcmp(has->defines, found->defines));
        }
        assert_int_equal(test_count_kernels(without, "conv/fours") > 0, k < 2);
        assert_int_equal(test_count_kernels(without, "pool/fours") > 0, k < 1);
        esker_plan_destroy(without);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    esker_device_unref(dev);
}

#define N_CASES (sizeof cases / sizeof *cases)

int main(void)
{
    struct CMUnitTest tests[N_CASES + 4];
    for (size_t i = 0; i < N_CASES; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = values_are_the_same,
                                       .teardown_func = test_without_variant,
                                       .initial_state = (void *)&cases[i]};
    tests[N_CASES] = (struct CMUnitTest)cmocka_unit_test_teardown(no_fusion_leaves_the_layout_alone, test_without_variant);
    tests[N_CASES + 1] = (struct CMUnitTest)cmocka_unit_test_teardown(quarantined_kernels_are_done_without,
                                                                      test_without_variant);
    tests[N_CASES + 2] = (struct CMUnitTest)cmocka_unit_test_teardown(slices_give_the_same_bits, test_without_variant);
    tests[N_CASES + 3] = (struct CMUnitTest)cmocka_unit_test_teardown(a_nan_in_a_window_stays, test_without_variant);
    return test_finish(cmocka_run_group_tests_name("fours", tests, NULL, NULL));
}
