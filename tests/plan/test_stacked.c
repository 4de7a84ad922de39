/* device test: products that share a factor are one with fusion, forward and backward: fewer dispatches, the same parameters afterwards. */
#include "support/test.h"
#include "support/training.h"

#include <stdio.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

#define BATCH 2
#define TIME  16
#define STEPS 2

/* How the queries, keys and values of one attention are made. */
typedef struct shape_of_net {
    const char *name;
    int width, heads;
    bool biased;  /* an addition behind each product, which becomes its tail */
    bool apart;   /* another parameter between the first two */
    bool frozen;  /* the keys' parameter is not trained, and so lies elsewhere */
    bool watched; /* the gradient of the queries is an output of the plan */
    int products; /* contractions with fusion, without second passes; without fusion there are 14 */
    int unfused;
} shape_of_net;

/*
 * Forward 5 products, the gradient of x of 4 of them, 5 of parameters. Together queries, keys and values are 1 of 3 in each. With the keys frozen
 * there is one gradient of a parameter less.
 */
static const shape_of_net nets[] = {
    {"three of a kind", 64, 4, .products = 8, .unfused = 14},
    {"with biases, which are their tails", 64, 4, .biased = true, .products = 10, .unfused = 14},
    {"two lie together", 64, 4, .apart = true, .products = 11, .unfused = 14},
    {"one is frozen", 64, 4, .frozen = true, .products = 10, .unfused = 13},
    {"a gradient has a place of its own", 64, 4, .watched = true, .products = 8, .unfused = 14},
    {"pieces that bindings cannot begin at", 36, 4, .products = 14, .unfused = 14},
};

static esker_node *weight(esker_graph *graph, const char *name, int rows, int columns, bool frozen)
{
    return esker_parameter(graph, &(esker_param_desc){.name = name,
                                                      .shape = {2, {rows, columns}},
                                                      .init = {ESKER_INIT_UNIFORM, .value = 0.3f},
                                                      .frozen = frozen});
}

static esker_node *times(esker_node *x, esker_node *w)
{
    return esker_matmul(x, w, &(esker_matmul_desc){.transpose_b = true});
}

static esker_node *heads(const shape_of_net *s, esker_node *x)
{
    x = esker_reshape(x, &(esker_shape){4, {BATCH, TIME, s->heads, s->width / s->heads}});
    return esker_transpose(x, (const int[]){0, 2, 1, 3});
}

static int record(esker_graph *graph, const shape_of_net *s, esker_node *outputs[2])
{
    static const char *const names[] = {"query", "key", "value"};
    esker_node *in[3], *rows = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {BATCH * TIME, s->width}});
    esker_node *x = times(rows, weight(graph, "first", s->width, s->width, false)), *extra = NULL, *query = NULL;
    for (int i = 0; i < 3; i++) {
        in[i] = times(x, weight(graph, names[i], s->width, s->width, s->frozen && i == 1));
        if (i == 0 && s->apart)
            extra = esker_parameter(graph, &(esker_param_desc){.name = "between", .shape = {2, {1, s->width}}});
        if (i == 0) query = in[i];
        if (s->biased) {
            char name[16] = "bias0";
            name[4] = (char)('0' + i);
            in[i] = esker_add(in[i], esker_parameter(graph, &(esker_param_desc){.name = name, .shape = {1, {s->width}}}));
        }
        in[i] = heads(s, in[i]);
    }
    esker_node *y = esker_attention(in[0], in[1], in[2], &(esker_attention_desc){.causal = true});
    y = esker_reshape(esker_transpose(y, (const int[]){0, 2, 1, 3}), &(esker_shape){2, {BATCH * TIME, s->width}});
    y = times(y, weight(graph, "last", s->width, s->width, false));
    if (extra) y = esker_add(y, extra);
    esker_node *loss = esker_mse(y, rows);
    outputs[0] = loss;
    if (s->watched) assert_ok(esker_gradients(loss, &query, 1, &outputs[1]));
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.5f, .clip_norm = 0.5f}));
    return 1 + s->watched;
}

static int count_products(const esker_plan *plan)
{
    return test_count_kernels(plan, "gemm/") - test_count_kernels(plan, "gemm/sum_splits");
}

/* The outputs of the last step, and the parameters behind it. */
static int train(const void *row, test_way way, float *out, int room)
{
    const shape_of_net *s = row;
    esker_graph *graph;
    esker_node *outputs[2];
    assert_ok(esker_graph_create(NULL, &graph));
    int n_outputs = record(graph, s, outputs), n = 0, n_x = BATCH * TIME * s->width;
    esker_plan *plan = test_compile(graph, outputs, n_outputs, way);
    int products = count_products(plan), want = way.no_fusion ? s->unfused : s->products;
    if (products != want) fail_msg("%s: %d products, not %d", s->name, products, want);
    uint64_t ticket = test_train(plan, n_x, STEPS);
    assert_ok(esker_plan_read(plan, ticket, 0, out + n++, sizeof *out));
    if (s->watched) assert_ok(esker_plan_read(plan, ticket, 1, out + n, (size_t)n_x * sizeof *out));
    if (s->watched) n += n_x;
    n += test_read_params(esker_graph_get_params(graph), out + n, room - n);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static void products_are_stacked(void **state)
{
    const shape_of_net *s = *state;
    assert_same_fused(train, s, s->name, NULL, 2e-6f);
}

/* What would be larger than a binding stays apart. */
static void products_fit_bindings(void **state)
{
    (void)state;
    for (int large = 0; large < 2; large++) {
        esker_graph *graph;
        esker_plan *plan;
        esker_node *outputs[2];
        esker_limits limits;
        esker_limits_es31(&limits);
        limits.storage_block_bytes = large ? 49152 : 49151; /* the weights of three products have 49152 bytes */
        assert_ok(esker_graph_create(NULL, &graph));
        int n_outputs = record(graph, &nets[0], outputs);
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.limits = &limits, .outputs = outputs, .n_outputs = n_outputs, .slice_seconds = -1},
            &plan));
        /* Too large for three: keys and values are one forward. */
        assert_int_equal(count_products(plan), large ? nets[0].products : nets[0].unfused - 1);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* ---- The gradient of a bias beside that of a weight ---- */

static const struct linear_net {
    const char *name;
    int rows, in, hidden, out;
    const char *kernel; /* that makes the products and both sums of columns, or NULL: something else makes sums */
    const char *variant;
} linear_nets[] = {
    {"a batch", 64, 36, 20, 12, "gemm/direct", "direct"},
    {"odd sizes", 33, 7, 13, 5, "gemm/direct", "direct"},
    {"one feature", 9, 1, 1, 3, NULL, "direct"},
    {"rows that are split", 4096, 8, 8, 4, NULL, "direct"},
    {"a tile", 33, 36, 20, 12, "gemm/tiled", "t32x32"},
    {"tiles of odd sizes", 61, 35, 39, 47, "gemm/tiled", "t32x32"},
    {"tiles of split rows", 2999, 20, 36, 12, "gemm/tiled", "t32x32"},
    {"odd tiles of split rows", 3001, 11, 13, 7, "gemm/tiled", "t32x32"},
    {"tiles in slices", 2999, 20, 36, 11, "gemm/tiled", "t32x32s4,t32x32"},
    {"slices", 257, 20, 36, 12, "gemm/sliced", "s16x16"},
    {"slices of odd sizes", 261, 35, 39, 47, "gemm/sliced", "s32x16"},
};

/* The parameters after some steps. */
static int train_linear(const void *row, test_way way, float *out, int room)
{
    const struct linear_net *s = row;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {s->rows, s->in}});
    esker_node *t = esker_input(graph, "t", ESKER_DTYPE_F32, &(esker_shape){2, {s->rows, s->out}});
    esker_node *b1 = esker_parameter(graph, &(esker_param_desc){.name = "b1", .shape = {1, {s->hidden}}});
    esker_node *b2 = esker_parameter(graph, &(esker_param_desc){.name = "b2", .shape = {1, {s->out}}});
    esker_node *y = esker_relu(esker_add(times(x, weight(graph, "w1", s->hidden, s->in, false)), b1));
    esker_node *loss = esker_mse(esker_add(times(y, weight(graph, "w2", s->out, s->hidden, false)), b2), t);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f, .momentum = 0.9f}));
    esker_plan *plan = test_compile(graph, &loss, 1, way);
    esker_device_info device;
    esker_plan_info info;
    esker_dispatch_info d;
    esker_device_get_info(test_device(), &device);
    esker_plan_get_info(plan, &info);
    bool has_room = device.limits.group_invocations >= 1024 || strcmp(s->kernel ? s->kernel : "", "gemm/sliced") != 0;
    int n_fused = 0, n_reduced = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n_fused += s->kernel && !strcmp(d.kernel, s->kernel) && strstr(d.op, "sum+matmul") && strstr(d.defines, "SUMS ");
        n_reduced += !strcmp(d.kernel, "reduce/reduce");
    }
    if (s->kernel && has_room) assert_int_equal(n_fused, way.no_fusion ? 0 : 2);
    if (s->kernel && has_room && !way.no_fusion) assert_int_equal(n_reduced, 0);
    if (!s->kernel || way.no_fusion) assert_true(n_reduced >= 1);
    float *in = malloc((size_t)(s->rows * (s->in + s->out)) * sizeof *in);
    assert_non_null(in);
    test_uniform(in, s->rows * (s->in + s->out), -1, 1, 11);
    for (int step = 0; step < STEPS; step++) {
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), in, (size_t)(s->rows * s->in) * sizeof *in));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "t"), in + s->rows * s->in,
                                   (size_t)(s->rows * s->out) * sizeof *in));
        assert_ok(esker_plan_submit(plan, NULL));
    }
    free(in);
    int n = test_read_params(esker_graph_get_params(graph), out, room);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static void a_bias_is_beside_its_weight(void **state)
{
    const struct linear_net *s = *state;
    assert_same_fused(train_linear, s, s->name, s->variant, 2e-6f);
}

/* Attention that reads q, k and v, and writes their gradients, as one operand where they lie together. */
static int with_tiles(void **state)
{
    (void)state;
    return setenv("ESKER_VARIANT", "tiled,unchained", 1);
}

/* Products one behind another are counted, each a dispatch of its own. */
static int without_chains(void **state)
{
    (void)state;
    return setenv("ESKER_VARIANT", "unchained", 1);
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets, M = sizeof linear_nets / sizeof *linear_nets };
    static char names[N][80];
    struct CMUnitTest tests[2 * N + M + 1] = {[N + M] = cmocka_unit_test(products_fit_bindings)};
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%s, tiled attention", nets[i].name);
        tests[N + M + 1 + i] = (struct CMUnitTest){names[i], products_are_stacked, with_tiles, test_without_variant,
                                                   (void *)(uintptr_t)&nets[i]};
    }
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){nets[i].name, products_are_stacked, without_chains, test_without_variant,
                                       (void *)(uintptr_t)&nets[i]};
    for (int i = 0; i < M; i++)
        tests[N + i] = (struct CMUnitTest){.name = linear_nets[i].name,
                                           .test_func = a_bias_is_beside_its_weight,
                                           .teardown_func = test_without_variant,
                                           .initial_state = (void *)(uintptr_t)&linear_nets[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
