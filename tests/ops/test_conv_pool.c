/* device test: a max_pool2d in the end of a convolution, and gradients from that of what was pooled: nothing keeps what is pooled, and the values stay. */
#include "support/test.h"
#include "support/training.h"

#include <math.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

#define STEPS 2

typedef struct net {
    const char *name;
    const char *variant; /* as ESKER_VARIANT takes it, or NULL */
    int images, channels, rows, columns, filters, kernel, stride, padding, window_y, window_x;
    bool bare;       /* no bias, no relu */
    bool tanh;       /* in place of relu: its gradient reads what is pooled */
    bool read;       /* what is pooled is an output, too */
    bool equal;      /* many equal values: x and the parameters are whole numbers */
    bool in_kernel;  /* the convolution's kernel pools, on a large device */
    bool on_the_way; /* and its gradients read the pooled one: nothing else writes it */
} net;

#define LARGE "few,tiled,pooled_gradients"

static const net nets[] = {
    {"one channel", LARGE, 5, 1, 14, 14, 8, 3, 1, 1, 2, 2, .in_kernel = true, .on_the_way = true},
    {"a few channels, odd sides, filters that are no multiple of 4", LARGE, 3, 3, 15, 13, 9, 3, 1, 1, 2, 2,
     .in_kernel = true, .on_the_way = true},
    {"stride 2", LARGE, 2, 3, 33, 30, 9, 5, 2, 2, 2, 2, .in_kernel = true, .on_the_way = true},
    {"equal values", LARGE, 5, 1, 14, 15, 8, 3, 1, 1, 2, 2, .equal = true, .in_kernel = true, .on_the_way = true},
    {"without bias and relu", LARGE, 4, 2, 14, 14, 5, 3, 1, 0, 2, 2, .bare = true, .in_kernel = true, .on_the_way = true},
    {"from tiles", LARGE, 4, 9, 13, 12, 10, 3, 1, 1, 2, 2, .in_kernel = true, .on_the_way = true},
    {"from tiles, odd sides", LARGE, 3, 8, 13, 13, 16, 3, 1, 0, 2, 2, .in_kernel = true, .on_the_way = true},
    {"from tiles, more filters than a group takes", LARGE, 2, 12, 10, 18, 37, 3, 1, 1, 2, 2, .in_kernel = true,
     .on_the_way = true},
    {"from tiles, equal values", LARGE, 4, 9, 13, 12, 10, 3, 1, 1, 2, 2, .equal = true, .in_kernel = true,
     .on_the_way = true},
    {"from tiles, without bias and relu", LARGE, 3, 8, 11, 15, 16, 3, 1, 1, 2, 2, .bare = true, .in_kernel = true,
     .on_the_way = true},
    {"from tiles, filters of four taps a row", LARGE, 3, 7, 14, 14, 12, 4, 1, 0, 2, 2, .in_kernel = true,
     .on_the_way = true},
    {"from tiles, two invocations share the channels", LARGE ",tile4x4s2,grad4", 3, 12, 10, 18, 37, 3, 1, 1, 2, 2,
     .in_kernel = true, .on_the_way = true},
    {"from tiles, four invocations share the channels", LARGE ",tile4x4s4,grad4w", 3, 9, 13, 13, 16, 3, 1, 0, 2, 2,
     .in_kernel = true, .on_the_way = true},
    {"from tiles, gradients that are scattered", "few,tiled", 4, 9, 13, 12, 10, 3, 1, 1, 2, 2, .in_kernel = true},
    {"kernels that do not pool", "quads,wide,pooled_gradients", 3, 9, 13, 12, 10, 3, 1, 1, 2, 2},
    {"Winograd's filtering", "winograd2,pooled_gradients", 3, 16, 12, 14, 16, 3, 1, 1, 2, 2},
    {"windows of 3 x 2", "tiled,pooled_gradients", 3, 8, 14, 13, 6, 3, 1, 1, 3, 2},
    {"windows of 16 x 15", "tiled", 2, 3, 33, 17, 6, 3, 1, 1, 16, 15},
    {"windows of 16 x 16 are too large", "tiled", 2, 3, 33, 17, 6, 3, 1, 1, 16, 16},
    {"another activation", LARGE, 3, 8, 12, 12, 6, 3, 1, 1, 2, 2, .tanh = true},
    {"what is pooled is read, too", LARGE, 3, 8, 12, 12, 6, 3, 1, 1, 2, 2, .read = true},
    {"the usual ones", NULL, 3, 3, 13, 13, 6, 3, 1, 1, 2, 2},
};

static bool fuses(const net *s)
{
    return !s->tanh && !s->read && s->window_y * s->window_x <= 254;
}

/* Where conv/tiled computes it, the gradient of the input is wanted, too. */
static int record(esker_graph *graph, const net *s, esker_node **out)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32,
                                &(esker_shape){4, {s->images, s->channels, s->rows, s->columns}});
    if (s->channels > 4) x = esker_mul(x, test_parameter(graph, (esker_shape){4, {1, s->channels, 1, 1}}, 0.5f, "scale"));
    esker_node *w = test_parameter(graph, (esker_shape){4, {s->filters, s->channels, s->kernel, s->kernel}}, 0.5f,
                                   "filters");
    esker_node *b = s->bare ? NULL : test_parameter(graph, (esker_shape){1, {s->filters}}, 0.5f, "bias");
    esker_node *y = esker_conv2d(
        x, w, &(esker_conv2d_desc){.stride = {s->stride, s->stride}, .padding = {s->padding, s->padding}});
    if (b) y = esker_add(y, esker_reshape(b, &(esker_shape){3, {s->filters, 1, 1}}));
    if (b) y = s->tanh ? esker_tanh(y) : esker_relu(y);
    esker_node *pooled = esker_max_pool2d(y, &(esker_pool2d_desc){.window = {s->window_y, s->window_x}});
    esker_node *loss = esker_sum(esker_mul(pooled, esker_tanh(esker_affine(pooled, 0.25f, 0.125f))), NULL, 0, false);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.001f}));
    out[0] = loss;
    out[1] = pooled;
    out[2] = y;
    return s->read ? 3 : 2;
}

/* Dispatches that pool (not those that find the largest once more, for a gradient), and those that scatter gradients. */
static void count(const esker_plan *plan, int *out_pool, int *out_scatter)
{
    esker_plan_info info;
    esker_dispatch_info d;
    esker_plan_get_info(plan, &info);
    *out_pool = *out_scatter = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        bool pool = !strncmp(d.kernel, "pool/", 5), grad = strstr(d.kernel, "grad") != NULL;
        *out_pool += pool && !grad && strcmp(d.phase, "backward") != 0;
        *out_scatter += pool && grad;
    }
}

/* The outputs of the last step, and the parameters behind it. */
static int train(const void *row, test_way way, float *out, int room)
{
    const net *s = row;
    esker_graph *graph;
    esker_node *outputs[3];
    assert_ok(esker_graph_create(NULL, &graph));
    int n_outputs = record(graph, s, outputs), n = 0, n_x = s->images * s->channels * s->rows * s->columns;
    esker_plan *plan = test_compile(graph, outputs, n_outputs, way);
    esker_params *params = esker_graph_get_params(graph);
    static float values[8192];
    for (int i = 0; s->equal && i < esker_params_count(params); i++) {
        esker_param_info p;
        assert_ok(esker_params_get_info(params, i, &p));
        for (int64_t j = 0; j < p.n_elems; j++) values[j] = (float)((j * 7 + i) % 3) - 1;
        assert_ok(esker_params_write(params, i, values, p.n_elems));
    }
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    int pool, scatter;
    count(plan, &pool, &scatter);
    bool large = info.limits.group_invocations >= 1024 && info.limits.storage_blocks >= 5;
    if (way.no_fusion || !fuses(s)) {
        assert_int_equal(pool, 1);
        assert_int_equal(scatter, 1);
    } else if (s->variant && large) {
        assert_int_equal(pool, !s->in_kernel);
        if (s->on_the_way) assert_int_equal(scatter, 0); /* NVIDIA's never do */
    }
    float *x = malloc((size_t)n_x * sizeof *x);
    uint64_t ticket = 0;
    assert_non_null(x);
    for (int step = 0; step < STEPS; step++) {
        test_uniform(x, n_x, -1, 1, (uint64_t)step);
        for (int i = 0; s->equal && i < n_x; i++) x[i] = (float)((i * 5 + step) % 4 - 1);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, (size_t)n_x * sizeof *x));
        assert_ok(esker_plan_submit(plan, &ticket));
    }
    free(x);
    for (int i = 0; i < n_outputs; i++) {
        int64_t n_elems;
        assert_ok(esker_shape_elems(esker_node_get_shape(outputs[i]), &n_elems));
        assert_true(n_elems <= room - n);
        assert_ok(esker_plan_read(plan, ticket, i, out + n, (size_t)n_elems * sizeof *out));
        n += (int)n_elems;
    }
    n += test_read_params(params, out + n, room - n);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static void same_values(void **state)
{
    const net *s = *state;
    assert_same_fused(train, s, s->name, s->variant, 1e-5f);
}

/* Filters of one tap each, so that what is no number stays where it is: in whole windows, since compilers may make a maximum of a comparison. */
static void pool_some_that_are_no_numbers(bool no_fusion, float *out, size_t n_bytes)
{
    enum { CHANNELS = 1, SIDE = 17, FILTERS = 5, IMAGES = 3 };
    esker_graph *graph;
    esker_plan *plan;
    float x[IMAGES * SIDE * SIDE], w[FILTERS] = {1, -1, 0.5f, 2, -3};
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {IMAGES, CHANNELS, SIDE, SIDE}});
    esker_node *filters = esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){4, {FILTERS, CHANNELS, 1, 1}});
    esker_node *y = esker_conv2d(in, filters, NULL);
    y = esker_max_pool2d(y, &(esker_pool2d_desc){.window = {2, 2}});
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1, .no_fusion = no_fusion}, &plan));
    int pool, scatter;
    count(plan, &pool, &scatter);
    assert_int_equal(scatter, 0);
    test_uniform(x, IMAGES * SIDE * SIDE, -1, 1, 5);
    for (int i = 0; i < IMAGES * SIDE * SIDE; i++)
        if ((i % (SIDE * SIDE) / SIDE / 2 + i % SIDE / 2) % 5 == 0) x[i] = NAN;
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, sizeof x));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "w"), w, sizeof w));
    uint64_t ticket;
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, out, n_bytes));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void no_numbers_are_pooled_as_before(void **state)
{
    (void)state;
    static const char *const variants[] = {"few", "tiled", "plain"};
    static float apart[3 * 5 * 8 * 8], fused[3 * 5 * 8 * 8];
    for (int i = 0; i < 3; i++) {
        setenv("ESKER_VARIANT", variants[i], 1);
        int n = 0;
        pool_some_that_are_no_numbers(true, apart, sizeof apart);
        pool_some_that_are_no_numbers(false, fused, sizeof fused);
        for (size_t e = 0; e < sizeof apart / sizeof *apart; e++) {
            if (isnan(apart[e]) ? !isnan(fused[e]) : !(fused[e] == apart[e]))
                fail_msg("%s: element %zu is %.9g, apart %.9g", variants[i], e, (double)fused[e], (double)apart[e]);
            n += isnan(apart[e]) != 0;
        }
        assert_in_range(n, 50, 500);
    }
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    struct CMUnitTest tests[N + 1];
    tests[N] = (struct CMUnitTest){
        .name = "what is no number", .test_func = no_numbers_are_pooled_as_before, .teardown_func = test_without_variant};
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = nets[i].name,
                                       .test_func = same_values,
                                       .teardown_func = test_without_variant,
                                       .initial_state = (void *)(uintptr_t)&nets[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
