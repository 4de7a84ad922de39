/* device test: the gradient of a bias comes out beside that of the filters in front of it: fewer dispatches, the same parameters afterwards. */
#include "support/test.h"
#include "support/training.h"

#include <math.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

#define STEPS 2
#define ROOM  8192 /* for all parameters */

typedef struct net {
    const char *name;
    const char *variant; /* as ESKER_VARIANT takes it, or NULL */
    int images, channels, rows, columns, filters, kernel, stride, padding;
    bool two;       /* the sum of two convolutions, whose biases have one gradient */
    int beside;     /* sums that come out beside another gradient, on a large device */
    bool in_kernel; /* the kernel of the filters makes them */
} net;

static const net nets[] = {
    {"one channel", "few", 9, 1, 14, 14, 8, 3, 1, 1, .beside = 1, .in_kernel = true},
    {"columns that are no multiple of 4", "few", 3, 3, 11, 13, 33, 3, 1, 0, .beside = 1, .in_kernel = true},
    {"stride 2", "few", 2, 3, 23, 30, 9, 7, 2, 3, .beside = 1, .in_kernel = true},
    {"one tile", "few", 1, 2, 3, 4, 3, 2, 1, 0, .beside = 1, .in_kernel = true},
    {"two biases, one gradient", "few", 3, 3, 12, 12, 6, 3, 1, 1, .two = true, .beside = 1, .in_kernel = true},
    {"from tiles", "tiled,tiled_sums", 2, 9, 9, 12, 10, 3, 1, 1, .beside = 1, .in_kernel = true},
    {"from tiles, two blocks of channels and of filters", "tiled,tiled_sums", 3, 20, 9, 13, 41, 3, 1, 0, .beside = 1,
     .in_kernel = true},
    {"from tiles with stride 2", "tiled,tiled_sums", 2, 12, 17, 13, 18, 3, 2, 1, .beside = 1, .in_kernel = true},
    {"from tiles, filters of four taps a row", "tiled,tiled_sums", 2, 8, 9, 13, 5, 4, 1, 0, .beside = 1, .in_kernel = true},
    {"kernels that do not make them", "quads,wide", 2, 9, 9, 12, 10, 3, 1, 1, .beside = 1},
    {"the usual ones", NULL, 2, 3, 9, 9, 6, 3, 1, 1, .beside = 1},
};

static esker_node *parameter(esker_graph *graph, const char *name, esker_shape shape)
{
    return esker_parameter(graph,
                           &(esker_param_desc){.name = name, .shape = shape, .init = {ESKER_INIT_UNIFORM, .value = 0.5f}});
}

static esker_node *convolved(esker_graph *graph, const net *s, esker_node *x, const char *w, esker_node *b)
{
    esker_node *filters = parameter(graph, w, (esker_shape){4, {s->filters, s->channels, s->kernel, s->kernel}});
    esker_node *y = esker_conv2d(
        x, filters, &(esker_conv2d_desc){.stride = {s->stride, s->stride}, .padding = {s->padding, s->padding}});
    return esker_add(y, esker_reshape(b, &(esker_shape){3, {s->filters, 1, 1}}));
}

static esker_node *record(esker_graph *graph, const net *s)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32,
                                &(esker_shape){4, {s->images, s->channels, s->rows, s->columns}});
    esker_node *b = parameter(graph, "bias", (esker_shape){1, {s->filters}});
    esker_node *y = convolved(graph, s, x, "filters", b);
    if (s->two)
        y = esker_add(y, convolved(graph, s, x, "more", parameter(graph, "another", (esker_shape){1, {s->filters}})));
    esker_node *loss = esker_mean(esker_mul(y, esker_tanh(y)), NULL, 0, false);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.5f}));
    return loss;
}

/* Sums that come out beside another gradient, and (reductions) dispatches that do nothing but sum. */
static int count_beside(const esker_plan *plan, int *out_reductions)
{
    esker_plan_info info;
    esker_dispatch_info d;
    esker_plan_get_info(plan, &info);
    int n = 0;
    *out_reductions = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += !strncmp(d.op, "sum+conv2d_weight_grad", 22) && strstr(d.kernel, "weight_grad") != NULL;
        *out_reductions += !strncmp(d.kernel, "reduce/", 7) && strstr(d.op, "sum") != NULL;
    }
    return n;
}

/* The parameters after some steps, one behind the other. */
static int run(const net *s, bool no_fusion, bool check, float *out)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = record(graph, s);
    int n = 0, n_x = s->images * s->channels * s->rows * s->columns;
    esker_params *params = esker_graph_get_params(graph);
    assert_ok(esker_params_init_values(params, 3));
    assert_ok(esker_plan_compile(graph,
                                 &(esker_plan_desc){.device = test_device(),
                                                    .outputs = &loss,
                                                    .n_outputs = 1,
                                                    .no_fusion = no_fusion,
                                                    .slice_seconds = -1,
                                                    .check = check},
                                 &plan));
    assert_ok(esker_plan_check(plan));
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    int reductions, beside = count_beside(plan, &reductions),
                    want = no_fusion || info.limits.group_invocations < 1024 ? 0 : s->beside;
    if (beside != want) fail_msg("%s: %d sums beside other gradients, not %d", s->name, beside, want);
    if (want && s->variant) assert_int_equal(reductions > 0, !s->in_kernel);
    (void)test_train(plan, n_x, STEPS);
    n += test_read_params(params, out + n, ROOM - n);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static void same_parameters(void **state)
{
    const net *s = *state;
    static float apart[ROOM], beside[ROOM], again[ROOM];
    if (s->variant) setenv("ESKER_VARIANT", s->variant, 1);
    int n = run(s, true, false, apart);
    assert_int_equal(run(s, false, false, beside), n);
    for (int i = 0; i < n; i++)
        if (!(fabsf(beside[i] - apart[i]) <= 2e-6f * (1 + fabsf(apart[i]))))
            fail_msg("%s: element %d is %.9g, apart %.9g", s->name, i, (double)beside[i], (double)apart[i]);
    assert_int_equal(run(s, false, true, again), n); /* each node beside its reference, and the same bits */
    assert_memory_equal(beside, again, (size_t)n * sizeof *again);
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = nets[i].name,
                                       .test_func = same_parameters,
                                       .teardown_func = test_without_variant,
                                       .initial_state = (void *)(uintptr_t)&nets[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
