/* device test: updates by what computes the gradients: the same parameters as with an update of its own, for every optimizer and kernel. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include "gpu/gpu.h"
#include "graph/graph.h"
#include "graph/params.h"

#define STEPS 3
#define MOST  8192 /* parameters of a network */

/* ---- Networks ---- */

static esker_node *parameter(esker_graph *graph, const char *name, esker_shape shape, int group)
{
    return esker_parameter(
        graph, &(esker_param_desc){
                   .name = name, .shape = shape, .init = {.kind = ESKER_INIT_UNIFORM, .value = 0.4f}, .group = group});
}

/* x W' + b, with a bias of another group. */
static esker_node *linear(esker_node *x, const char *name, int64_t in, int64_t out, bool bias)
{
    char text[32];
    snprintf(text, sizeof text, "%s.weight", name);
    esker_node *y = esker_matmul(x, parameter(x->graph, text, (esker_shape){2, {out, in}}, 0),
                                 &(esker_matmul_desc){.transpose_b = true});
    snprintf(text, sizeof text, "%s.bias", name);
    return bias ? esker_add(y, parameter(x->graph, text, (esker_shape){1, {out}}, 1)) : y;
}

typedef struct net {
    const char *name;
    int rows, in, hidden, out;
    bool conv, norm, alone; /* in front: a convolution; a norm, which keeps its update; without biases */
    const char *variant;    /* kernels, by ESKER_VARIANT; NULL: the usual ones */
    bool pool;              /* behind the convolution */
    int table;              /* rows of x are those of a table of so many, by the first value of x; 0: they are x */
    char layer;             /* a norm of rows: 'l' layer, 'r' root mean square; 0: none */
} net;

static esker_node *record(esker_graph *graph, const net *n)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {n->rows, n->in}});
    esker_node *t = esker_input(graph, "t", ESKER_DTYPE_F32, &(esker_shape){2, {n->rows, n->out}});
    int64_t width = n->in;
    if (n->conv) { /* pictures of two channels, [2, 4, in / 8] */
        x = esker_reshape(x, &(esker_shape){4, {n->rows, 2, 4, n->in / 8}});
        x = esker_conv2d(x, parameter(graph, "conv.weight", (esker_shape){4, {6, 2, 3, 3}}, 0),
                         &(esker_conv2d_desc){.padding = {1, 1}});
        esker_node *b = esker_reshape(parameter(graph, "conv.bias", (esker_shape){1, {6}}, 1),
                                      &(esker_shape){3, {6, 1, 1}});
        x = esker_relu(esker_add(x, b));
        if (n->pool) x = esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}});
        x = esker_flatten(x);
        width = 6 * 4 * (n->in / 8) / (n->pool ? 4 : 1);
    }
    if (n->table) {
        esker_range first[] = {{0}, {.stop = 1}};
        esker_node *index = esker_affine(esker_reshape(esker_slice(x, first, 2), &(esker_shape){1, {n->rows}}), 8, 8);
        x = esker_embedding(parameter(graph, "table", (esker_shape){2, {n->table, n->in}}, 0),
                            esker_convert(index, ESKER_DTYPE_I32));
        x = esker_add(x, parameter(graph, "place", (esker_shape){1, {n->in}}, 1));
    }
    if (n->layer) {
        esker_node *weight = parameter(graph, "norm", (esker_shape){1, {n->in}}, 0);
        x = n->layer == 'r' ? esker_rms_norm(x, 1, weight, 0)
                            : esker_layer_norm(x, 1, weight, parameter(graph, "mean", (esker_shape){1, {n->in}}, 1), 0);
    }
    if (n->norm)
        x = esker_add(esker_mul(x, parameter(graph, "scale", (esker_shape){1, {width}}, 0)),
                      parameter(graph, "shift", (esker_shape){1, {width}}, 0));
    esker_node *y = esker_tanh(linear(x, "one", width, n->hidden, !n->alone));
    return esker_mse(linear(y, "two", n->hidden, n->out, !n->alone), t);
}

typedef struct outcome {
    int n, n_updates; /* dispatches of optim/ */
    esker_plan_info info;
    float values[MOST];
} outcome;

static void run(const net *n, const esker_optimizer_desc *optimizer, const esker_plan_desc *base, outcome *o)
{
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_desc desc = *base;
    *o = (outcome){0};
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = record(graph, n);
    assert_ok(esker_optimize(loss, optimizer));
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 5));
    desc.device = test_device();
    desc.outputs = &loss;
    desc.n_outputs = 1;
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &o->info);
    for (int i = 0; i < o->info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        o->n_updates += !strncmp(d.kernel, "optim/", 6);
    }
    int n_in = n->rows * n->in, n_out = n->rows * n->out;
    float *in = malloc((size_t)(n_in + n_out) * sizeof *in);
    assert_non_null(in);
    for (int step = 0; step < STEPS; step++) {
        test_uniform(in, n_in + n_out, -1, 1, 11 + (uint64_t)step);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), in, (size_t)n_in * sizeof *in));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "t"), in + n_in, (size_t)n_out * sizeof *in));
        assert_ok(esker_plan_submit(plan, NULL));
    }
    free(in);
    /* The whole arenas: what lies between parameters is zero and stays so. */
    const esker_params *params = esker_graph_get_params(graph);
    const esker__memory *arenas[] = {&params->values, &params->state[0], &params->state[1]};
    for (int a = 0; a < 3; a++) {
        if (!arenas[a]->buffer) continue;
        assert_true(o->n + (int)params->trained_elems <= MOST);
        assert_ok(esker__memory_read(arenas[a], 0, o->values + o->n, params->trained_elems * sizeof *o->values));
        for (size_t p = 0; p < params->n; p++)
            for (uint64_t i = (uint64_t)params->list[p].n_elems; i % ESKER__PARAM_ALIGN; i++)
                if (o->values[o->n + (int)(params->list[p].offset + i)] != 0)
                    fail_msg("arena %d: element %d behind %s is %g", a, (int)i, params->list[p].name,
                             (double)o->values[o->n + (int)(params->list[p].offset + i)]);
        o->n += (int)params->trained_elems;
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* Whether the device at hand has room for updates in the kernels. */
static bool has_room(void)
{
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    return device.limits.group_invocations >= 1024 && device.limits.storage_blocks >= 8;
}

static void compare(const char *name, const outcome *got, const outcome *want)
{
    assert_int_equal(got->n, want->n);
    for (int i = 0; i < got->n; i++)
        if (!(fabsf(got->values[i] - want->values[i]) <= 2e-6f * (1 + fabsf(want->values[i]))))
            fail_msg("%s: value %d is %.9g, with an update of its own %.9g", name, i, (double)got->values[i],
                     (double)want->values[i]);
}

/* With the update in the kernels, in check mode, in slices, and with gradients that are kept: the same values. */
static void agree(const net *n, const esker_optimizer_desc *optimizer, bool updates)
{
    static outcome apart, together, other;
    esker_optimizer_desc keeping = *optimizer;
    keeping.keep_gradients = true;
    const char *variant = getenv("ESKER_VARIANT");
    char *before = variant ? strdup(variant) : NULL;
    if (n->variant) setenv("ESKER_VARIANT", n->variant, 1);
    run(n, &keeping, &(esker_plan_desc){.slice_seconds = -1}, &apart);
    run(n, optimizer, &(esker_plan_desc){.slice_seconds = -1}, &together);
    compare(n->name, &together, &apart);
    assert_true(apart.n_updates > 0);
    updates &= has_room();
    if (updates && !n->norm) assert_int_equal(together.n_updates, 0);
    if (updates && !n->norm) assert_int_equal(together.info.gradient_bytes, 0);
    if (updates && n->norm) assert_true(together.info.gradient_bytes < apart.info.gradient_bytes);
    if (updates) assert_true(together.info.n_barriers <= apart.info.n_barriers);
    if (!updates) assert_true(together.n_updates > 0 && together.info.gradient_bytes == apart.info.gradient_bytes);
    run(n, optimizer, &(esker_plan_desc){.slice_seconds = -1, .check = true}, &other);
    assert_memory_equal(other.values, together.values, (size_t)other.n * sizeof *other.values);
    run(n, optimizer, &(esker_plan_desc){.slice_seconds = 1e-7, .flops_per_second = 1e9, .bytes_per_second = 1e9}, &other);
    assert_true(other.info.n_dispatches > together.info.n_dispatches || n->rows < 60);
    assert_memory_equal(other.values, together.values, (size_t)other.n * sizeof *other.values);
    if (before)
        setenv("ESKER_VARIANT", before, 1);
    else
        unsetenv("ESKER_VARIANT");
    free(before);
}

/* ---- Every optimizer ---- */

static const struct rule {
    const char *name;
    esker_optimizer_desc desc;
    bool updates;
} rules[] = {
    {"sgd", {.kind = ESKER_OPTIMIZER_SGD, .weight_decay = 0.1f}, true},
    {"sgd with momentum", {.kind = ESKER_OPTIMIZER_SGD, .momentum = 0.9f, .dampening = 0.2f}, true},
    {"nesterov", {.kind = ESKER_OPTIMIZER_SGD, .momentum = 0.9f, .nesterov = true}, true},
    {"adam", {.kind = ESKER_OPTIMIZER_ADAM, .weight_decay = 0.1f}, true},
    {"adamw, groups",
     {.kind = ESKER_OPTIMIZER_ADAMW, .weight_decay = 0.5f, .groups = {[1] = {.lr_scale = 3, .no_weight_decay = true}}},
     true},
    {"rmsprop", {.kind = ESKER_OPTIMIZER_RMSPROP}, true},
    {"rmsprop with momentum", {.kind = ESKER_OPTIMIZER_RMSPROP, .momentum = 0.5f}, true},
    {"centered rmsprop", {.kind = ESKER_OPTIMIZER_RMSPROP, .centered = true}, true},
    {"centered rmsprop with momentum", {.kind = ESKER_OPTIMIZER_RMSPROP, .centered = true, .momentum = 0.5f}, false},
    {"adagrad", {.kind = ESKER_OPTIMIZER_ADAGRAD, .accumulator = 0.1f}, true},
    {"adadelta", {.kind = ESKER_OPTIMIZER_ADADELTA}, true},
    {"nadam", {.kind = ESKER_OPTIMIZER_NADAM}, true},
    {"lion", {.kind = ESKER_OPTIMIZER_LION, .weight_decay = 0.1f}, true},
    {"lamb", {.kind = ESKER_OPTIMIZER_LAMB}, false},
    {"clipping by value", {.kind = ESKER_OPTIMIZER_ADAM, .clip_value = 0.01f}, true},
    {"sgd, clipping by value", {.kind = ESKER_OPTIMIZER_SGD, .clip_value = 0.003f}, true},
    {"clipping by value, but not in one kernel", {.kind = ESKER_OPTIMIZER_LAMB, .clip_value = 0.01f}, false},
    {"clipping by both", {.kind = ESKER_OPTIMIZER_SGD, .clip_value = 0.01f, .clip_norm = 0.5f}, false},
    {"clipping by norm", {.kind = ESKER_OPTIMIZER_SGD, .momentum = 0.9f, .clip_norm = 0.5f}, false},
};

static void every_optimizer(void **state)
{
    const struct rule *r = *state;
    const net whole = {r->name, 17, 24, 19, 8, true, false, false, NULL},
              some = {r->name, 17, 24, 19, 8, true, true, false, NULL};
    agree(&whole, &r->desc, r->updates);
    if (r->updates) agree(&some, &r->desc, true);
}

/* ---- Every kernel ---- */

static const net nets[] = {
    {"direct", 64, 36, 20, 12, false, false, false, "direct"},
    {"direct, odd", 33, 7, 13, 5, false, false, false, "direct"},
    {"direct, one feature", 9, 1, 1, 3, false, false, false, "direct"},
    {"direct, one class", 9, 8, 5, 1, false, false, false, "direct"},
    {"direct, split", 4096, 8, 8, 4, false, false, false, "direct"},
    {"direct, alone", 33, 24, 13, 5, false, false, true, "direct"},
    {"tiled", 33, 36, 20, 12, false, false, false, "t32x32"},
    {"tiled, odd", 61, 35, 39, 27, false, false, false, "t32x32"},
    {"tiled, split", 2999, 20, 36, 12, false, false, false, "t32x32"},
    {"tiled, split, odd", 3001, 11, 13, 7, false, false, false, "t32x32"},
    {"tiled, split, by fours", 2999, 20, 36, 12, false, false, false, "t32x32,sum_fours"},
    {"tiled, split, odd, by fours", 3001, 11, 13, 8, false, false, false, "t32x32,sum_fours"},
    {"tiled, slices", 999, 20, 36, 11, false, false, false, "t32x32s4,t32x32"},
    {"tiled, columns", 61, 64, 20, 12, false, false, false, "t16x128"},
    {"tiled, rows", 61, 24, 64, 12, false, false, false, "t128x16"},
    {"tiled, large", 61, 33, 40, 9, false, false, false, "t128x128,t64x64"},
    {"sliced", 257, 20, 36, 12, false, false, false, "s16x16"},
    {"sliced, odd", 261, 35, 39, 27, false, false, false, "s32x16"},
    {"quads", 64, 36, 20, 12, false, false, false, "quads"},
    {"quads, odd", 67, 35, 39, 27, false, false, false, "quads"},
    {"quads, split", 1030, 12, 9, 11, false, false, false, "quads"},
    {"conv, matmul", 5, 64, 12, 5, true, false, false, "matmul"},
    {"conv, plain", 9, 64, 12, 5, true, false, false, "plain"},
    {"conv, wide", 9, 64, 12, 5, true, false, false, "wide"},
    {"conv, tiled", 9, 64, 12, 5, true, false, false, "tiled"},
    {"conv, tiled with sums", 9, 64, 12, 5, true, false, false, "tiled,tiled_sums"},
    {"conv, tiled with sums, by fours", 9, 64, 12, 5, true, false, false, "tiled,tiled_sums,sum_fours"},
    {"conv, few", 9, 64, 12, 5, true, false, false, "few"},
    {"conv, winograd", 9, 64, 12, 5, true, false, false, "winograd4"},
    {"conv, quads", 9, 64, 12, 5, true, false, false, "quads"},
    {"conv, pooled", 9, 64, 12, 5, true, false, false, "pooled_gradients,tiled", true},
    {"conv, pooled, few", 9, 64, 12, 5, true, false, false, "pooled_gradients,few", true},
    {"conv, pooled, plain", 9, 64, 12, 5, true, false, false, "pooled_gradients,plain", true},
    {"norm", 67, 36, 20, 12, false, false, false, "norm_updates", .layer = 'l'},
    {"norm, odd", 99, 35, 20, 12, false, false, true, "norm_updates", .layer = 'l'},
    {"norm, by 256", 2050, 12, 20, 12, false, false, false, "norm_updates,columns256x2", .layer = 'l'},
    {"norm without a bias", 64, 36, 20, 12, false, false, false, "norm_updates", .layer = 'r'},
    {"table", 67, 36, 20, 12, false, false, false, "take_updates", .table = 17},
    {"table of rows that are not read", 9, 4, 20, 12, false, false, true, "take_updates", .table = 40},
    {"table and norm", 99, 36, 20, 12, false, false, false, "take_updates,norm_updates", .table = 17, .layer = 'l'},
};

static void every_kernel(void **state)
{
    agree(*state, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f, .momentum = 0.9f}, true);
}

/* ---- What else reads gradients ---- */

static uint64_t gradient_bytes(esker_graph *graph, esker_node *const *outputs, int n_outputs, const esker_limits *limits)
{
    esker_plan *plan;
    esker_plan_info info;
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = limits, .outputs = outputs, .n_outputs = n_outputs, .slice_seconds = -1},
        &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &info);
    esker_plan_destroy(plan);
    return info.gradient_bytes;
}

static esker_limits large(void)
{
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.group_invocations = limits.group_size[0] = limits.group_size[1] = 1024;
    limits.shared_bytes = 32768;
    limits.storage_blocks = 8;
    return limits;
}

/* Not of parameters that are used twice, nor on devices without room. */
static void only_where_it_can_be(void **state)
{
    (void)state;
    const esker_limits room = large();
    for (int blocks = 4; blocks <= 8; blocks++) {
        esker_limits limits = room;
        esker_graph *graph;
        limits.storage_blocks = (uint32_t)blocks;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *loss = record(graph, &(net){"blocks", 8, 16, 8, 4, false, false, false, NULL});
        assert_ok(esker_optimize(loss, NULL)); /* sgd: one block each for weight and bias */
        assert_int_equal(gradient_bytes(graph, &loss, 1, &limits) == 0, true);
        limits.group_invocations = 512;
        assert_true(gradient_bytes(graph, &loss, 1, &limits) > 0);
        esker_graph_destroy(graph);
        assert_ok(esker_graph_create(NULL, &graph));
        loss = record(graph, &(net){"blocks", 8, 16, 8, 4, false, false, false, NULL});
        assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAM})); /* three */
        limits.group_invocations = 1024;
        uint64_t left = gradient_bytes(graph, &loss, 1, &limits);
        assert_int_equal(left, blocks < 8 ? 4 * (128 + 64 + 2 * 64) : 0);
        esker_graph_destroy(graph);
    }
    for (int use = 0; use < 2; use++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {16, 8}});
        esker_node *w = parameter(graph, "w", (esker_shape){2, {8, 8}}, 0);
        esker_node *y = esker_matmul(x, w, NULL);
        if (use == 1) y = esker_matmul(y, w, NULL);
        esker_node *loss = esker_mean(esker_square(y), NULL, 0, false);
        assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAM}));
        assert_int_equal(gradient_bytes(graph, &loss, 1, &room), use ? 256 : 0);
        esker_graph_destroy(graph);
    }
}

/* Sums and norms update where all others do, as on GPUs whose norms can; else they stay with the optimizer, which has one range of them. */
static void small_gradients_with_all_or_none(void **state)
{
    (void)state;
    static const char *const gpus[] = {"NVIDIA H200", "Mali-G52"};
    const esker_limits limits = large();
    for (int i = 0; i < 2; i++) {
        esker_graph *graph;
        esker_plan *plan;
        esker_plan_info info;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *loss = record(graph, &(net){"all or none", 99, 36, 20, 12, .table = 17, .layer = 'l'});
        assert_ok(esker_optimize(loss, NULL));
        assert_ok(esker_plan_compile(
            graph,
            &(esker_plan_desc){
                .limits = &limits, .renderer = gpus[i], .outputs = &loss, .n_outputs = 1, .slice_seconds = -1},
            &plan));
        assert_ok(esker_plan_check(plan));
        esker_plan_get_info(plan, &info);
        int small = 0, products = 0, optimizers = 0;
        for (int j = 0; j < info.n_dispatches; j++) {
            esker_dispatch_info d;
            assert_ok(esker_plan_get_dispatch(plan, j, &d));
            small += !strcmp(d.op, "sum+sgd") || !strcmp(d.op, "norm_affine_grad+sgd");
            products += strstr(d.op, "matmul+sgd") != NULL;
            optimizers += !strcmp(d.kernel, "optim/update");
        }
        assert_int_equal(small, i ? 0 : 2);
        assert_int_equal(optimizers > 0, i);
        assert_true(products >= 2);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

static void gradients_are_read_where_they_are_kept(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        esker_graph *graph;
        esker_plan *plan;
        float got[64], x[16 * 8];
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {16, 8}});
        esker_node *w = parameter(graph, "w", (esker_shape){2, {8, 8}}, 0);
        esker_node *loss = esker_sum(esker_matmul(in, w, NULL), NULL, 0, false);
        assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.keep_gradients = keep}));
        assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1},
                                     &plan));
        test_uniform(x, 16 * 8, -1, 1, 3);
        assert_ok(esker_plan_write(plan, 0, x, sizeof x));
        assert_ok(esker_plan_run(plan));
        esker_params *params = esker_graph_get_params(graph);
        if (keep)
            assert_ok(esker_params_read_gradient(params, 0, got, 64));
        else
            assert_fails(esker_params_read_gradient(params, 0, got, 64), ESKER_ERR_INVALID,
                         "parameter w: no gradient was kept; keep_gradients");
        for (int i = 0; keep && i < 64; i++) {
            double want = 0;
            for (int r = 0; r < 16; r++) want += x[r * 8 + i / 8];
            if (!(fabs(got[i] - want) <= 1e-5)) fail_msg("element %d is %g, %g is right", i, (double)got[i], want);
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    enum { N_RULES = sizeof rules / sizeof *rules, N_NETS = sizeof nets / sizeof *nets };
    struct CMUnitTest tests[N_RULES + N_NETS + 3];
    int n = 0;
    for (int i = 0; i < N_RULES; i++)
        tests[n++] = (struct CMUnitTest){
            .name = rules[i].name, .test_func = every_optimizer, .initial_state = (void *)(uintptr_t)&rules[i]};
    for (int i = 0; i < N_NETS; i++)
        tests[n++] = (struct CMUnitTest){
            .name = nets[i].name, .test_func = every_kernel, .initial_state = (void *)(uintptr_t)&nets[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(only_where_it_can_be);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(small_gradients_with_all_or_none);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(gradients_are_read_where_they_are_kept);
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
