/* device test: the gradient of a bias comes out beside that of the filters in front of it: fewer dispatches, the same parameters afterwards. */
#include "support/test.h"
#include "support/training.h"

#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

#define STEPS 2

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

static esker_node *convolved(esker_graph *graph, const net *s, esker_node *x, const char *w, esker_node *b)
{
    esker_node *filters = test_parameter(graph, (esker_shape){4, {s->filters, s->channels, s->kernel, s->kernel}}, 0.5f,
                                         "%s", w);
    esker_node *y = esker_conv2d(
        x, filters, &(esker_conv2d_desc){.stride = {s->stride, s->stride}, .padding = {s->padding, s->padding}});
    return esker_add(y, esker_reshape(b, &(esker_shape){3, {s->filters, 1, 1}}));
}

static esker_node *record(esker_graph *graph, const net *s)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32,
                                &(esker_shape){4, {s->images, s->channels, s->rows, s->columns}});
    esker_node *b = test_parameter(graph, (esker_shape){1, {s->filters}}, 0.5f, "bias");
    esker_node *y = convolved(graph, s, x, "filters", b);
    if (s->two)
        y = esker_add(
            y, convolved(graph, s, x, "more", test_parameter(graph, (esker_shape){1, {s->filters}}, 0.5f, "another")));
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

/* The parameters after some steps. */
static int train(const void *row, test_way way, float *out, int room)
{
    const net *s = row;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = record(graph, s);
    esker_plan *plan = test_compile(graph, &loss, 1, way);
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    int reductions, beside = count_beside(plan, &reductions),
                    want = way.no_fusion || info.limits.group_invocations < 1024 ? 0 : s->beside;
    if (beside != want) fail_msg("%s: %d sums beside other gradients, not %d", s->name, beside, want);
    if (want && s->variant) assert_int_equal(reductions > 0, !s->in_kernel);
    (void)test_train(plan, s->images * s->channels * s->rows * s->columns, STEPS);
    int n = test_read_params(esker_graph_get_params(graph), out, room);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static void same_parameters(void **state)
{
    const net *s = *state;
    assert_same_fused(train, s, s->name, s->variant, 2e-6f);
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
