/* device test: what fusion makes of patterns of training and inference: fewer dispatches, the same values, and check mode sees inside. */
#include "support/test.h"

#include <math.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include "ops/ops.h"

#define SIDE 33 /* odd: whole vec4 nowhere */

/* Fragments over in[0..3], [SIDE, SIDE] each, or `wide` [SIDE, 4 SIDE] products of them. `n` outputs, at most 3. */
typedef int (*build_fn)(esker_graph *graph, esker_node *const *in, esker_node **out);

static esker_node *times(esker_node *a, esker_node *b)
{
    return esker_affine(esker_matmul(a, b, NULL), 0.25f, 0);
}

static int residual(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_add(in[2], esker_matmul(in[0], in[1], NULL));
    return 1;
}

/* A product's rows seen in other shapes, as heads or pixels are. */
static esker_node *seen(esker_node *x)
{
    return esker_reshape(x, &(esker_shape){3, {3, SIDE / 3, SIDE}});
}

static int under_a_view(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_relu(esker_add(seen(in[2]), seen(esker_matmul(in[0], in[1], NULL))));
    return 1;
}

static int under_views(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = seen(esker_reshape(esker_matmul(in[0], in[1], NULL), &(esker_shape){1, {SIDE * SIDE}}));
    out[0] = esker_sub(seen(in[2]), esker_affine(esker_tanh(x), 0.5f, 0.25f));
    return 1;
}

/* Here it is not: the product is read by another, the view is, and an operand is stretched. */
static int beside_a_view(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = esker_matmul(in[0], in[1], NULL);
    out[0] = esker_tanh(seen(x));
    out[1] = esker_transpose(x, NULL);
    return 2;
}

static int a_view_read_twice(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = seen(esker_matmul(in[0], in[1], NULL));
    out[0] = esker_tanh(x);
    out[1] = esker_transpose(x, (const int[]){2, 1, 0});
    return 2;
}

static int stretched_beside_a_view(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *rows = esker_sum(seen(in[2]), (const int[]){1}, 1, true);
    out[0] = esker_mul(seen(esker_matmul(in[0], in[1], NULL)), rows);
    return 1;
}

static int scaled_residual(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_sub(in[2], times(in[0], in[1]));
    return 1;
}

static int gelu_kept(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = esker_matmul(in[0], in[1], NULL);
    out[0] = esker_gelu(x);
    out[1] = x;
    return 2;
}

static int activation_gradient(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker__relu_grad(in[2], esker_matmul(in[0], in[1], &(esker_matmul_desc){.transpose_b = true}));
    return 1;
}

static int two_products(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_add(esker_matmul(in[0], in[1], NULL), esker_matmul(in[2], in[3], NULL));
    return 1;
}

static int silu_of_itself(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = times(in[0], in[1]);
    out[0] = esker_mul(x, esker_sigmoid(x));
    return 1;
}

static esker_node *image(esker_node *x)
{
    return esker_reshape(x, &(esker_shape){4, {1, 3, 11, SIDE}});
}

static esker_node *filters(esker_graph *graph, float value)
{
    return esker_full(graph, &(esker_shape){4, {3, 3, 3, 3}}, value);
}

static int convolution(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    esker_node *y = esker_conv2d(image(in[0]), filters(graph, 0.1f), &(esker_conv2d_desc){.same = true});
    out[0] = esker_relu(esker_add(y, image(in[1])));
    return 1;
}

static int convolution_gradient(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    esker_node *x = esker_tanh(image(in[0]));
    esker_node *y = esker_conv2d(x, filters(graph, 0.1f), &(esker_conv2d_desc){.same = true});
    esker_node *leaf = in[0];
    return esker_gradients(esker_sum(esker_mul(y, image(in[1])), NULL, 0, false), &leaf, 1, out) == ESKER_OK ? 1 : 0;
}

static int two_residuals(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker__relu_grad(in[3], esker_add(esker_matmul(in[0], in[1], NULL), in[2]));
    return 1;
}

static int pooling_gradient(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *leaf = in[0], *y = esker_relu(image(leaf));
    esker_node *pooled = esker_max_pool2d(y, &(esker_pool2d_desc){.window = {11, 3}});
    esker_node *weights = esker_max_pool2d(image(in[1]), &(esker_pool2d_desc){.window = {11, 3}});
    return esker_gradients(esker_sum(esker_mul(pooled, weights), NULL, 0, false), &leaf, 1, out) == ESKER_OK ? 1 : 0;
}

static int norm_and_residual(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_gelu(esker_add(in[1], esker_layer_norm(in[0], 1, NULL, NULL, 0)));
    return 1;
}

static int norm_gradient(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *leaf = in[0], *y = esker_layer_norm(leaf, 1, NULL, NULL, 0);
    esker_node *loss = esker_sum(esker_add(esker_mul(y, in[1]), esker_mul(leaf, in[2])), NULL, 0, false);
    return esker_gradients(loss, &leaf, 1, out) == ESKER_OK ? 1 : 0;
}

/* Statistics are read by the gradient, too: they come of the fused node then. */
static int batch_norm_training(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *leaf = in[0];
    esker_node *y = esker_relu(esker_add(esker_batch_norm(image(leaf), NULL), image(in[1])));
    out[1] = y;
    return esker_gradients(esker_sum(esker_mul(y, image(in[2])), NULL, 0, false), &leaf, 1, out) == ESKER_OK ? 2 : 0;
}

static int chain(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_mul(esker_tanh(esker_add(in[0], in[1])), esker_sigmoid(esker_affine(in[2], 2, -0.5f)));
    return 1;
}

static int broadcast_chain(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *row = esker_sum(in[1], (int[]){0}, 1, true), *column = esker_sum(in[1], (int[]){1}, 1, true);
    out[0] = esker_sub(esker_mul(in[0], row), esker_relu(esker_add(in[2], column)));
    return 1;
}

static int several_results(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_exp(in[0]);
    out[1] = esker_neg(out[0]);
    out[2] = esker_square(out[1]);
    return 3;
}

/* What is between two members of what would be one chain reads the first and is read by the second. */
static int around(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = esker_add(in[0], in[1]), *y = esker_exp(in[2]);
    esker_node *inside = esker_softmax(x, 1);
    esker_node *z = esker_mul(y, inside);
    out[0] = esker_mul(x, z);
    out[1] = esker_sub(esker_softmax(z, 1), y);
    return 2;
}

static int long_chain(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    esker_node *x = in[0];
    for (int i = 0; i < 10; i++) x = esker_sigmoid(esker_affine(x, -1.5f, 0.25f * (float)i));
    out[0] = x;
    return 1;
}

static int many_operands(esker_graph *graph, esker_node *const *in, esker_node **out)
{
    (void)graph;
    out[0] = esker_add(esker_mul(in[0], in[1]), esker_mul(in[2], in[3]));
    return 1;
}

static const struct pattern {
    const char *name;
    build_fn build;
    int apart, fused, fused4; /* dispatches: without fusion, with it, and with four storage blocks */
} patterns[] = {
    {"a product and a residual", residual, 2, 1, 1},
    {"a product seen in another shape", under_a_view, 3, 1, 1},
    {"a product seen in two other shapes", under_views, 4, 1, 1},
    {"a product that is seen in another shape, too", beside_a_view, 3, 3, 3},
    {"a product that is seen twice", a_view_read_twice, 3, 3, 3},
    {"a product seen in another shape, and stretched", stretched_beside_a_view, 3, 3, 3},
    {"a scaled product, subtracted", scaled_residual, 3, 1, 1},
    {"an activation, its argument kept", gelu_kept, 2, 1, 1},
    {"an activation's gradient behind the gradient of a product", activation_gradient, 2, 1, 1},
    {"a sum of products", two_products, 3, 2, 2},
    {"a value and what is made of it", silu_of_itself, 4, 2, 2},
    {"a convolution, a residual, an activation", convolution, 3, 1, 1},
    {"an activation's gradient behind that of a convolution", convolution_gradient, 3, 2, 2},
    {"two operands in one tail", two_residuals, 3, 1, 2},
    {"an activation's gradient behind that of pooling", pooling_gradient, 5, 4, 4},
    {"a norm, a residual, an activation", norm_and_residual, 3, 1, 1},
    {"a residual behind a norm's gradient", norm_gradient, 3, 2, 3},
    {"a batch norm in training", batch_norm_training, 5, 3, 3},
    {"a chain", chain, 5, 1, 1},
    {"a chain of operands that broadcast", broadcast_chain, 6, 3, 4},
    {"every member of a chain is wanted", several_results, 3, 1, 1},
    {"a chain that another operation would have to run inside of", around, 7, 5, 6},
    {"more members than one kernel takes", long_chain, 20, 2, 2},
    {"more operands than four blocks", many_operands, 3, 1, 2},
};

static esker_plan *compile(esker_device *dev, esker_graph *graph, esker_node **out, int n, bool no_fusion, bool check)
{
    esker_plan *plan;
    assert_ok(esker_plan_compile(
        graph,
        &(esker_plan_desc){
            .device = dev, .outputs = out, .n_outputs = n, .slice_seconds = -1, .no_fusion = no_fusion, .check = check},
        &plan));
    return plan;
}

static void assert_dispatches(const char *name, const esker_plan *plan, int want)
{
    esker_plan_info info;
    esker_dispatch_info d;
    esker_plan_get_info(plan, &info);
    if (info.n_dispatches == want) return;
    for (int i = 0; i < info.n_dispatches; i++)
        if (esker_plan_get_dispatch(plan, i, &d) == ESKER_OK) print_error("%s by %s\n", d.op, d.kernel);
    fail_msg("%s: %d dispatches, not %d", name, info.n_dispatches, want);
}

static void read_outputs(esker_plan *plan, int n, float *out)
{
    float x[SIDE * SIDE];
    uint64_t ticket;
    for (int i = 0; i < 4; i++) {
        const char name[] = {'x', (char)('0' + i), 0};
        int input = esker_plan_find_input(plan, name);
        test_uniform(x, SIDE * SIDE, -1, 1, (uint64_t)i);
        if (input >= 0) assert_ok(esker_plan_write(plan, input, x, sizeof x));
    }
    assert_ok(esker_plan_submit(plan, &ticket));
    for (int i = 0; i < n; i++) assert_ok(esker_plan_read(plan, ticket, i, out + i * SIDE * SIDE, sizeof x));
}

static void a_pattern_fuses(void **state)
{
    const struct pattern *p = *state;
    esker_graph *graph;
    esker_node *in[4], *out[3];
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < 4; i++) {
        const char name[] = {'x', (char)('0' + i), 0};
        in[i] = esker_input(graph, name, ESKER_DTYPE_F32, &(esker_shape){2, {SIDE, SIDE}});
    }
    int n = p->build(graph, in, out);
    assert_ok(esker_graph_status(graph));
    esker_plan *plan;
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.reports_reset = true;
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = &limits, .outputs = out, .n_outputs = n, .slice_seconds = -1}, &plan));
    assert_dispatches(p->name, plan, p->fused4);
    esker_plan_destroy(plan);

    esker_device *dev = test_device();
    esker_device_info info;
    esker_device_get_info(dev, &info);
    int mark = !info.limits.reports_reset;
    static float want[3 * SIDE * SIDE], got[3 * SIDE * SIDE];
    plan = compile(dev, graph, out, n, true, false);
    assert_dispatches(p->name, plan, p->apart + mark);
    read_outputs(plan, n, want);
    esker_plan_destroy(plan);
    plan = compile(dev, graph, out, n, false, false);
    assert_dispatches(p->name, plan, (info.limits.storage_blocks < 8 ? p->fused4 : p->fused) + mark);
    read_outputs(plan, n, got);
    esker_plan_destroy(plan);
    for (int i = 0; i < n * SIDE * SIDE; i++)
        if (!(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i]))))
            fail_msg("%s: element %d of output %d is %.9g, apart it was %.9g", p->name, i % (SIDE * SIDE),
                     i / (SIDE * SIDE), (double)got[i], (double)want[i]);
    plan = compile(dev, graph, out, n, false, true); /* each fused node beside the reference made of its members' */
    read_outputs(plan, n, got);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    enum { N = sizeof patterns / sizeof *patterns };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = patterns[i].name, .test_func = a_pattern_fuses, .initial_state = (void *)(uintptr_t)&patterns[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
