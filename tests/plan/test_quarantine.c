/*
 * device test: whichever kernel is quarantined, plans do without it and are right, or compiling fails and names it. Each kernel in turn, in trainings of
 * small networks with fusion, and each family of kernels once in the cases of the self-test.
 */
#include "support/test.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>

#include "plan/plan.h"
#include "selftest/cases.h"

#define MAX_KERNELS 160
#define MOST        8192 /* parameters of a network */

typedef struct kernel {
    char name[64], *defines;
} kernel;

/* What a plan runs, each once. */
static int kernels_of(const esker_plan *plan, kernel *out)
{
    int n = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_kernel *k = &plan->kernels[plan->dispatches[p].kernel];
        bool known = false;
        for (int i = 0; i < n; i++) known |= !strcmp(out[i].name, k->name) && !strcmp(out[i].defines, k->defines);
        if (known) continue;
        assert_true(n < MAX_KERNELS);
        snprintf(out[n].name, sizeof out[n].name, "%s", k->name);
        out[n++].defines = strdup(k->defines);
    }
    return n;
}

static int n_done, n_refused;

/* Compile once more, without that kernel: a plan, checked not to have it; NULL: nothing stands in, and that was said. */
static esker_plan *without(esker_device *dev, const kernel *k, esker_graph *graph, const esker_plan_desc *desc)
{
    esker_plan *plan;
    assert_ok(esker__kernel_quarantine(dev, k->name, k->defines, "test"));
    esker_status st = esker_plan_compile(graph, desc, &plan);
    esker__kernel_release(dev, k->name, k->defines);
    if (st != ESKER_OK) {
        char want[100];
        snprintf(want, sizeof want, "the kernel %s", k->name);
        assert_fails(st, ESKER_ERR_UNSUPPORTED, want);
        n_refused++;
        return NULL;
    }
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_kernel *has = &plan->kernels[plan->dispatches[p].kernel];
        if (!strcmp(has->name, k->name) && !strcmp(has->defines, k->defines))
            fail_msg("dispatch %d is by %s, which is quarantined", (int)p, k->name);
    }
    assert_ok(esker_plan_check(plan));
    n_done++;
    return plan;
}

/* ---- Trainings ---- */

typedef struct net {
    const char *name, *variant;
    esker_node *(*record)(esker_graph *graph, esker_node *x, int *out_classes);
    esker_shape x;
    float clip_value, clip_norm;
} net;

static esker_node *weights(esker_graph *graph, const char *name, esker_shape shape)
{
    return esker_parameter(graph,
                           &(esker_param_desc){.name = name, .shape = shape, .init = {ESKER_INIT_UNIFORM, 0.3f, 0, 0}});
}

static esker_node *linear(esker_graph *graph, esker_node *x, const char *name, int64_t from, int64_t to)
{
    char bias[32];
    snprintf(bias, sizeof bias, "%s_bias", name);
    return esker_add(esker_matmul(x, weights(graph, name, (esker_shape){2, {from, to}}), NULL),
                     weights(graph, bias, (esker_shape){1, {to}}));
}

static esker_node *record_mlp(esker_graph *graph, esker_node *x, int *out_classes)
{
    *out_classes = 7;
    x = esker_relu(linear(graph, x, "a", 36, 20));
    esker_node *inner = esker_gelu(linear(graph, x, "b", 20, 20));
    x = esker_add(x, linear(graph, inner, "c", 20, 20));
    x = esker_layer_norm(x, 1, weights(graph, "scale", (esker_shape){1, {20}}),
                         weights(graph, "shift", (esker_shape){1, {20}}), 0);
    return linear(graph, x, "d", 20, 7);
}

static esker_node *record_cnn(esker_graph *graph, esker_node *x, int *out_classes)
{
    *out_classes = 5;
    x = esker_conv2d(x, weights(graph, "conv1", (esker_shape){4, {8, 3, 3, 3}}), &(esker_conv2d_desc){.padding = {1, 1}});
    x = esker_relu(esker_add(x, weights(graph, "bias1", (esker_shape){3, {8, 1, 1}})));
    x = esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}});
    x = esker_conv2d(x, weights(graph, "conv2", (esker_shape){4, {8, 8, 3, 3}}), &(esker_conv2d_desc){.padding = {1, 1}});
    x = esker_tanh(x);
    x = esker_flatten(x);
    return linear(graph, x, "last", 8 * 4 * 4, 5);
}

static const net nets[] = {
    {"an mlp", NULL, record_mlp, {2, {6, 36}}, 0, 0.1f},
    {"an mlp as large GPUs have it", "whole_rows,whole4,recompute,tiled,t32x32", record_mlp, {2, {6, 36}}, 0.01f, 0},
    {"a cnn", NULL, record_cnn, {4, {3, 3, 8, 8}}, 0.01f, 0.1f},
    {"a cnn as large GPUs have it", "pooled_gradients,recompute,tiled,t32x32", record_cnn, {4, {3, 3, 8, 8}}},
};

static esker_graph *record(const net *n, esker_node **out_loss)
{
    esker_graph *graph;
    int classes;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &n->x);
    esker_node *logits = n->record(graph, x, &classes);
    *out_loss = esker_cross_entropy(logits,
                                    esker_input(graph, "label", ESKER_DTYPE_I32, &(esker_shape){1, {n->x.dims[0]}}));
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 3));
    assert_ok(esker_optimize(
        *out_loss,
        &(esker_optimizer_desc){.lr = 0.1f, .momentum = 0.9f, .clip_value = n->clip_value, .clip_norm = n->clip_norm}));
    assert_ok(esker_graph_status(graph));
    return graph;
}

/* The parameters after two steps in check mode, one behind the other. */
static int run(const net *n, esker_plan *plan, esker_graph *graph, float *out)
{
    float x[1024];
    int32_t labels[16];
    int64_t n_x = 1;
    for (int i = 0; i < n->x.rank; i++) n_x *= n->x.dims[i];
    assert_true(n_x <= 1024);
    for (int step = 0; step < 2; step++) {
        test_uniform(x, n_x, -1, 1, (uint64_t)step);
        for (int i = 0; i < n->x.dims[0]; i++) labels[i] = (i + step) % 5;
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, (size_t)n_x * 4));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "label"), labels, (size_t)n->x.dims[0] * 4));
        assert_ok(esker_plan_submit(plan, NULL));
    }
    return test_read_params(esker_graph_get_params(graph), out, MOST);
}

static void trainings_do_without_each(void **state)
{
    static float got[MOST], want[MOST];
    const net *n = *state;
    esker_device *dev = test_device();
    if (n->variant) setenv("ESKER_VARIANT", n->variant, 1);
    kernel kernels[MAX_KERNELS];
    int n_kernels = 0, n_refused_before = n_refused, n_values = 0;
    for (int i = -1; i < n_kernels; i++) {
        esker_node *loss;
        esker_plan *plan;
        esker_graph *graph = record(n, &loss);
        esker_plan_desc desc = {.device = dev, .outputs = &loss, .n_outputs = 1, .slice_seconds = -1, .check = true};
        if (i < 0) {
            assert_ok(esker_plan_compile(graph, &desc, &plan));
            n_kernels = kernels_of(plan, kernels);
            n_values = run(n, plan, graph, want);
        } else if ((plan = without(dev, &kernels[i], graph, &desc)) != NULL) {
            assert_int_equal(run(n, plan, graph, got), n_values);
            for (int v = 0; v < n_values; v++)
                if (!(fabsf(got[v] - want[v]) <= 2e-6f * (1 + fabsf(want[v]))))
                    fail_msg("without %s with %s: value %d is %.9g, with it %.9g", kernels[i].name, kernels[i].defines, v,
                             (double)got[v], (double)want[v]);
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    for (int i = 0; i < n_kernels; i++) free(kernels[i].defines);
    print_message("%s: %d kernels, %d of which nothing stands in for\n", n->name, n_kernels, n_refused - n_refused_before);
}

/* ---- Every kernel ---- */

static void write_values(const esker__case *c, esker_plan *plan)
{
    for (int i = 0; i < c->n_inputs; i++) {
        const esker__case_values *v = &c->values[i];
        char name[16];
        int64_t n;
        snprintf(name, sizeof name, "x%d", i);
        int input = esker_plan_find_input(plan, name);
        if (input < 0) continue;
        assert_ok(esker_shape_elems(esker_node_get_shape(c->in[i]), &n));
        float *values = calloc((size_t)n, sizeof *values);
        assert_non_null(values);
        test_uniform(values, n, (float)v->lo, (float)(v->hi > v->lo ? v->hi : v->lo + 1), (uint64_t)i);
        if (v->dtype != ESKER_DTYPE_F32 || v->whole)
            memset(values, 0, (size_t)n * sizeof *values); /* zeros of any type will do */
        assert_ok(esker_plan_write(plan, input, values, (size_t)n * esker_dtype_bytes(v->dtype)));
        free(values);
    }
}

/* The first case of the self-test that uses a kernel, of every kernel's name: without all of that name that it uses, one after the other. */
static void every_kernel_is_missing_once(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    char seen[MAX_KERNELS][64];
    int n_seen = 0;
    const esker__case_row *row;
    for (int r = 0; (row = esker__case_row_at(r)); r++) {
        esker__case c;
        esker_plan *plan;
        kernel kernels[MAX_KERNELS];
        assert_ok(esker__case_record(row, 0, &c));
        if (c.row->variant) setenv("ESKER_VARIANT", c.row->variant, 1);
        esker_plan_desc desc = {
            .device = dev, .outputs = c.outputs, .n_outputs = c.n_outputs, .slice_seconds = -1, .check = true};
        assert_ok(esker_plan_compile(c.graph, &desc, &plan));
        int n_kernels = kernels_of(plan, kernels);
        esker_plan_destroy(plan);
        int n_before = n_seen;
        for (int i = 0; i < n_kernels; i++) {
            bool known = false;
            for (int k = 0; k < n_before; k++) known |= !strcmp(seen[k], kernels[i].name);
            if (!known) {
                assert_true(n_seen < MAX_KERNELS);
                memcpy(seen[n_seen++], kernels[i].name, sizeof seen[0]);
                plan = without(dev, &kernels[i], c.graph, &desc);
                if (plan) {
                    write_values(&c, plan);
                    assert_ok(esker_plan_run(plan));
                }
                esker_plan_destroy(plan);
            }
            free(kernels[i].defines);
        }
        unsetenv("ESKER_VARIANT");
        esker__case_finish(&c);
    }
    print_message("%d plans without a kernel, %d refused\n", n_done, n_refused);
    assert_true(n_done > 0);
}

int main(void)
{
    test_without_cache();
    enum { N_NETS = sizeof nets / sizeof *nets };
    struct CMUnitTest tests[N_NETS + 1] = {cmocka_unit_test(every_kernel_is_missing_once)};
    for (int i = 0; i < N_NETS; i++)
        tests[1 + i] = (struct CMUnitTest){nets[i].name, trainings_do_without_each, NULL, test_without_variant,
                                           (void *)(uintptr_t)&nets[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
