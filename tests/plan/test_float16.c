/* device test: results and weights that are stored in float16: what may be is, each operation keeps its bound, and the whole comes out as near as halves allow. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include "gpu/gpu.h"
#include "plan/plan.h"
#include "selftest/cases.h"

#define MOST 4096 /* elements of an input or an output */

typedef struct net {
    const char *name, *variant;
    esker_node *(*record)(esker_graph *graph, esker_node *x);
    esker_shape x;
    int least; /* values in float16 under every limits */
} net;

static esker_node *weights(esker_graph *graph, const char *name, esker_shape shape)
{
    return esker_parameter(graph,
                           &(esker_param_desc){.name = name, .shape = shape, .init = {ESKER_INIT_UNIFORM, 0.2f, 0, 0}});
}

static esker_node *linear(esker_graph *graph, esker_node *x, const char *name, int64_t from, int64_t to)
{
    char bias[32];
    snprintf(bias, sizeof bias, "%s_bias", name);
    return esker_add(
        esker_matmul(x, weights(graph, name, (esker_shape){2, {to, from}}), &(esker_matmul_desc){.transpose_b = true}),
        weights(graph, bias, (esker_shape){1, {to}}));
}

static esker_node *record_mlp(esker_graph *graph, esker_node *x)
{
    x = esker_relu(linear(graph, x, "a", 36, 64));
    x = esker_gelu(linear(graph, x, "b", 64, 64));
    return linear(graph, x, "c", 64, 10);
}

static esker_node *conv(esker_graph *graph, esker_node *x, const char *name, int64_t from, int64_t to, int64_t groups,
                        int taps)
{
    char bias[32];
    snprintf(bias, sizeof bias, "%s_bias", name);
    x = esker_conv2d(x, weights(graph, name, (esker_shape){4, {to, from / groups, taps, taps}}),
                     &(esker_conv2d_desc){.padding = {taps / 2, taps / 2}, .groups = (int)groups});
    return esker_add(x, weights(graph, bias, (esker_shape){3, {to, 1, 1}}));
}

static esker_node *record_cnn(esker_graph *graph, esker_node *x)
{
    x = esker_relu(conv(graph, x, "conv1", 3, 8, 1, 3));
    esker_node *inner = esker_relu(conv(graph, x, "conv2", 8, 8, 8, 3));
    x = esker_add(conv(graph, inner, "conv3", 8, 8, 1, 1), x);
    x = esker_max_pool2d(esker_relu(conv(graph, x, "conv4", 8, 16, 1, 3)), &(esker_pool2d_desc){.window = {2, 2}});
    return linear(graph, esker_flatten(esker_mean(x, (const int[]){2, 3}, 2, true)), "last", 16, 10);
}

static esker_node *record_attention(esker_graph *graph, esker_node *x)
{
    esker_node *y = esker_layer_norm(x, 1, weights(graph, "scale", (esker_shape){1, {32}}),
                                     weights(graph, "shift", (esker_shape){1, {32}}), 0);
    y = esker_softmax(esker_matmul(linear(graph, y, "q", 32, 32), linear(graph, y, "k", 32, 32),
                                   &(esker_matmul_desc){.transpose_b = true}),
                      -1);
    return esker_add(linear(graph, esker_matmul(y, x, NULL), "o", 32, 32), x);
}

static const net nets[] = {
    {"an mlp", NULL, record_mlp, {2, {24, 36}}, 1},
    {"an mlp in a chain", "chains,chain6", record_mlp, {2, {24, 36}}, 1},
    {"a cnn, planes", "planes", record_cnn, {4, {2, 3, 16, 16}}, 4},
    {"a cnn, odd planes", "planes", record_cnn, {4, {1, 3, 15, 17}}, 4},
    {"a cnn, channels in fours", "fours", record_cnn, {4, {2, 3, 16, 16}}, 5},
    {"a cnn by tiles", "tiled,planes", record_cnn, {4, {2, 3, 16, 16}}, 4},
    {"attention by hand", NULL, record_attention, {2, {48, 32}}, 2},
};

static esker_plan *plan_of(const net *n, esker_graph **out_graph, const esker_plan_desc *base)
{
    esker_plan *plan;
    esker_plan_desc desc = *base;
    assert_ok(esker_graph_create(NULL, out_graph));
    esker_node *y = n->record(*out_graph, esker_input(*out_graph, "x", ESKER_DTYPE_F32, &n->x));
    desc.outputs = &y;
    desc.n_outputs = 1;
    assert_ok(esker_graph_status(*out_graph));
    assert_ok(esker_params_init_values(esker_graph_get_params(*out_graph), 3));
    assert_ok(esker_plan_compile(*out_graph, &desc, &plan));
    return plan;
}

/* Every result between operations that is not small is, whatever kernels have it: how many are not. */
static int count_floats(const esker_plan *plan)
{
    int n_not = 0;
    for (size_t v = 0; v < plan->n_values; v++) {
        const esker__plan_value *value = &plan->values[v];
        bool used = false;
        for (size_t p = 0; p < plan->n_dispatches; p++)
            for (int o = 0; o < plan->dispatches[p].n_operands; o++)
                used |= plan->dispatches[p].operands[o].value == (int)v;
        n_not += used && value->may_halve && !value->half && value->n_bytes >= (value->fixed ? 8192u : 1024u);
    }
    return n_not;
}

/* None is compiled that no dispatch has. */
static void assert_kernels_are_used(const esker_plan *plan)
{
    for (int k = 0; k < (int)plan->n_kernels; k++) {
        bool used = false;
        for (size_t p = 0; p < plan->n_dispatches; p++) used |= plan->dispatches[p].kernel == k;
        assert_true(used);
    }
}

static int run(const net *n, const esker_plan_desc *desc, float *out, esker_plan_info *info)
{
    static float x[MOST];
    int64_t n_x, n_y = 0;
    esker_graph *graph;
    if (n->variant) setenv("ESKER_VARIANT", n->variant, 1);
    esker_plan *plan = plan_of(n, &graph, desc);
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, info);
    assert_kernels_are_used(plan);
    if (desc->float16 && count_floats(plan)) fail_msg("%s: %d results in float32", n->name, count_floats(plan));
    if (desc->device) {
        uint64_t ticket = 0;
        assert_ok(esker_shape_elems(&n->x, &n_x));
        n_y = (int64_t)plan->outputs[0].n_bytes / 4;
        assert_true(n_x <= MOST && n_y <= MOST);
        test_uniform(x, n_x, -1, 1, 7);
        for (int step = 0; step < 2; step++) {
            assert_ok(esker_plan_write(plan, 0, x, (size_t)n_x * 4));
            assert_ok(esker_plan_submit(plan, &ticket));
        }
        assert_ok(esker_plan_read(plan, ticket, 0, out, (size_t)n_y * 4));
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return (int)n_y;
}

static void results_are_near(void **state)
{
    static float floats[MOST], halves[MOST], checked[MOST];
    const net *n = *state;
    esker_plan_info of_floats, of_halves, of_checked; /* for check mode more is kept */
    esker_plan_desc desc = {.device = test_device()};
    int n_y = run(n, &desc, floats, &of_floats);
    assert_int_equal(of_floats.n_float16, 0);
    desc.float16 = true;
    run(n, &desc, halves, &of_halves);
    desc.check = true;
    run(n, &desc, checked, &of_checked);
    assert_memory_equal(checked, halves, (size_t)n_y * 4);
    double largest = 0, off = 0;
    for (int i = 0; i < n_y; i++) {
        largest = fmax(largest, fabs(floats[i]));
        off = fmax(off, fabs(floats[i] - halves[i]));
    }
    print_message("%s: %d values in float16, %llu bytes of temporaries in place of %llu, off by %.2g of %.2g\n", n->name,
                  of_halves.n_float16, (unsigned long long)of_halves.arena_bytes, (unsigned long long)of_floats.arena_bytes,
                  off, largest);
    assert_true(of_halves.n_float16 >= n->least);
    assert_true(of_halves.arena_bytes < of_floats.arena_bytes);
    assert_true(off > 0 && off <= 8 * 0x1p-11 * largest); /* a few roundings one behind the other */
}

/* Of the cases of the self-test: kernels that can hold halves compile so, each once for all of its blocks that can. */
static void kernels_compile_with_halves(void **state)
{
    (void)state;
    static struct {
        char name[64];
        uint32_t reads, writes;
    } seen[512];
    int n_seen = 0;
    const esker__case_row *row;
    for (int r = 0; (row = esker__case_row_at(r)); r++) {
        esker__case c;
        esker_plan *plan;
        assert_ok(esker__case_record(row, 0, &c));
        if (c.row->variant) setenv("ESKER_VARIANT", c.row->variant, 1);
        assert_ok(esker_plan_compile(
            c.graph,
            &(esker_plan_desc){
                .device = test_device(), .outputs = c.outputs, .n_outputs = c.n_outputs, .slice_seconds = -1},
            &plan));
        for (size_t k = 0; k < plan->n_kernels; k++) {
            const char *name = plan->kernels[k].name;
            uint32_t reads, writes;
            bool known = false;
            assert_ok(esker__kernel_halves(name, plan->kernels[k].defines, &reads, &writes));
            for (int i = 0; i < n_seen; i++)
                known |= !strcmp(seen[i].name, name) && seen[i].reads == reads && seen[i].writes == writes;
            if (known || !(reads | writes)) continue;
            assert_true(n_seen < 512);
            snprintf(seen[n_seen].name, sizeof seen[n_seen].name, "%s", name);
            seen[n_seen].reads = reads;
            seen[n_seen++].writes = writes;
            esker__text defines = {0};
            const esker__kernel *kernel;
            esker__text_add(&defines, "FLOAT16 %u\n%s", reads | writes, plan->kernels[k].defines);
            assert_ok(esker__kernel_get(test_device(), name, defines.chars, &kernel));
            esker__text_finish(&defines);
        }
        esker_plan_destroy(plan);
        unsetenv("ESKER_VARIANT");
        esker__case_finish(&c);
    }
    print_message("%d kernels with halves\n", n_seen);
    assert_true(n_seen > 40);
}

/* Weights that are changed between steps are converted again. */
static void new_weights_are_seen(void **state)
{
    (void)state;
    static float x[MOST], y[MOST], values[4096];
    esker_graph *graph;
    uint64_t ticket;
    const net *n = &nets[0];
    setenv("ESKER_VARIANT", "half_copies,unchained", 1); /* a chain reads weights as they are */
    esker_plan *plan = plan_of(n, &graph, &(esker_plan_desc){.device = test_device(), .float16 = true});
    unsetenv("ESKER_VARIANT");
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    assert_true(info.prologue_bytes >= 64 * 64 * 2);
    esker_params *params = esker_graph_get_params(graph);
    for (int i = 0; i < 24 * 36; i++) x[i] = 1;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 4096; i++) values[i] = 0;
        assert_ok(esker_params_write(params, esker_params_find(params, "b_bias"), values, 64));
        assert_ok(esker_params_write(params, esker_params_find(params, "c_bias"), values, 10));
        for (int i = 0; i < 4096; i++) values[i] = turn ? 0.25f : 0;
        assert_ok(esker_params_write(params, esker_params_find(params, "b"), values, 4096));
        assert_ok(esker_plan_write(plan, 0, x, 24 * 36 * 4));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, y, 240 * 4));
        for (int i = 0; i < 240; i++) assert_true((y[i] != 0) == (turn == 1));
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* Results of 24 KiB in blocks of 20: they fit as halves alone. */
static void larger_results_fit_a_block(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.storage_block_bytes = 20480;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = record_mlp(graph, esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {96, 36}}));
    esker_plan_desc desc = {.limits = &limits, .outputs = &y, .n_outputs = 1};
    assert_fails(esker_plan_compile(graph, &desc, &plan), ESKER_ERR_LIMIT,
                 "a tensor of 24576 bytes, one storage block holds 20480");
    desc.float16 = true;
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    esker_plan_destroy(plan);
    limits.storage_block_bytes = 12000;
    assert_fails(esker_plan_compile(graph, &desc, &plan), ESKER_ERR_LIMIT, "one storage block holds 12000");
    esker_graph_destroy(graph);
}

static void training_is_refused(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &nets[0].x),
               *y = esker_mean(record_mlp(graph, x), NULL, 0, false);
    assert_ok(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f}));
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &y, .n_outputs = 1, .float16 = true}, &plan),
                 ESKER_ERR_INVALID, "float16 is for plans that change nothing");
    esker_graph_destroy(graph);
}

static void planned_without_a_device(void **state)
{
    static const char *const renderers[] = {"V3D 4.2",         "V3D 7.1.7", "Mali-T860",   "Mali-G52", "Mali-G610",
                                            "Adreno (TM) 630", "llvmpipe",  "NVIDIA H200", NULL};
    const net *n = *state;
    esker_limits limits[2];
    esker_limits_es31(&limits[0]);
    limits[1] = limits[0];
    limits[1].group_invocations = limits[1].group_size[0] = limits[1].group_size[1] = 1024;
    limits[1].shared_bytes = 49152;
    limits[1].storage_blocks = 16;
    limits[1].storage_align = 16;
    for (int i = 0; i < 2 * 9; i++) {
        esker_plan_info of_floats, of_halves;
        esker_plan_desc desc = {.renderer = renderers[i / 2], .limits = &limits[i % 2]};
        run(n, &desc, NULL, &of_floats);
        desc.float16 = true;
        run(n, &desc, NULL, &of_halves);
        if (of_halves.n_float16 < n->least || of_halves.arena_bytes >= of_floats.arena_bytes)
            fail_msg("%s, %s, groups of %u: %d values in float16, %llu bytes of temporaries in place of %llu", n->name,
                     desc.renderer ? desc.renderer : "no family", desc.limits->group_invocations, of_halves.n_float16,
                     (unsigned long long)of_halves.arena_bytes, (unsigned long long)of_floats.arena_bytes);
    }
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    struct CMUnitTest tests[2 * N + 4] = {cmocka_unit_test(new_weights_are_seen), cmocka_unit_test(training_is_refused),
                                          cmocka_unit_test(larger_results_fit_a_block),
                                          cmocka_unit_test(kernels_compile_with_halves)};
    for (int i = 0; i < 2 * N; i++)
        tests[4 + i] = (struct CMUnitTest){.name = nets[i / 2].name,
                                           .test_func = i % 2 ? planned_without_a_device : results_are_near,
                                           .initial_state = (void *)(uintptr_t)&nets[i / 2],
                                           .teardown_func = test_without_variant};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
