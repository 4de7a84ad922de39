/* device test: check mode: right plans pass and compute the same bits, a broken kernel is found by name, so is memory that is overwritten. */
#include <esker/ops.h>
#include "plan/plan.h"
#include "support/random_graph.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH 6

/* A small network with most kinds of kernels in it; outputs the loss. */
static esker_node *network(esker_graph *graph, esker_optimizer_kind optimizer)
{
    const esker_shape image = {4, {BATCH, 2, 9, 9}}, filters = {4, {5, 2, 3, 3}}, channel = {3, {5, 1, 1}};
    const esker_shape wide = {2, {5 * 4 * 4, 7}}, row = {1, {7}}, labels = {1, {BATCH}};
    esker_node *x = esker_affine(esker_convert(esker_input(graph, "x", ESKER_DTYPE_U8, &image), ESKER_DTYPE_F32), 1 / 64.0f,
                                 -2);
    esker_node *w = esker_parameter(
        graph, &(esker_param_desc){.name = "conv.weight", .shape = filters, .init = {ESKER_INIT_UNIFORM, .value = 0.3f}});
    esker_node *b = esker_parameter(
        graph, &(esker_param_desc){.name = "conv.bias", .shape = channel, .init = {ESKER_INIT_UNIFORM, .value = 0.3f}});
    esker_node *v = esker_parameter(
        graph, &(esker_param_desc){.name = "fc.weight", .shape = wide, .init = {ESKER_INIT_UNIFORM, .value = 0.2f}});
    esker_node *c = esker_parameter(
        graph, &(esker_param_desc){.name = "fc.bias", .shape = row, .init = {ESKER_INIT_UNIFORM, .value = 0.2f}});
    x = esker_label(esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {1, 1}}), "conv");
    x = esker_max_pool2d(esker_relu(esker_add(x, b)), &(esker_pool2d_desc){.window = {2, 2}});
    x = esker_label(esker_tanh(esker_flatten(x)), "squash");
    x = esker_add(esker_label(esker_matmul(x, v, NULL), "fc"), c);
    x = esker_sub(x, esker_mean(x, (int[]){1}, 1, true));
    esker_node *loss = esker_label(esker_cross_entropy(x, esker_input(graph, "labels", ESKER_DTYPE_I32, &labels)), "loss");
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = optimizer,
                                                           .lr = 0.05f,
                                                           .weight_decay = 0.01f,
                                                           .momentum = optimizer == ESKER_OPTIMIZER_SGD ? 0.9f : 0}));
    return loss;
}

static esker_plan *compile(esker_device *dev, esker_graph *graph, esker_node *loss, const esker_plan_desc *base)
{
    esker_plan_desc desc = *base;
    esker_plan *plan;
    desc.device = dev;
    desc.outputs = &loss;
    desc.n_outputs = 1;
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    return plan;
}

static void write_batch(esker_plan *plan, uint64_t step)
{
    float values[BATCH * 2 * 9 * 9];
    uint8_t pixels[BATCH * 2 * 9 * 9];
    int32_t labels[BATCH];
    test_uniform(values, BATCH * 2 * 9 * 9, 0, 255, step);
    for (int i = 0; i < BATCH * 2 * 9 * 9; i++) pixels[i] = (uint8_t)values[i];
    for (int i = 0; i < BATCH; i++) labels[i] = (i + (int)step) % 7;
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), pixels, sizeof pixels));
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels, sizeof labels));
}

/* ---- Right plans ---- */

static const struct way {
    const char *name;
    esker_optimizer_kind optimizer;
    esker_plan_desc desc;
} ways[] = {
    {"sgd", ESKER_OPTIMIZER_SGD, {.slice_seconds = -1}},
    {"adam", ESKER_OPTIMIZER_ADAM, {.slice_seconds = -1}},
    {"adamw, cut", ESKER_OPTIMIZER_ADAMW, {.slice_seconds = 1e-3, .flops_per_second = 1e6, .bytes_per_second = 1e6}},
    {"adam, not fused", ESKER_OPTIMIZER_ADAM, {.slice_seconds = -1, .no_fusion = true}},
};

/* The loss and all parameters after some steps. */
static void train(const struct way *way, bool check, float *out_loss, float **out_values, int64_t *out_n)
{
    esker_graph *graph;
    esker_plan_desc desc = way->desc;
    desc.check = check;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = network(graph, way->optimizer);
    esker_params *params = esker_graph_get_params(graph);
    assert_ok(esker_params_init_values(params, 5));
    esker_plan *plan = compile(test_device(), graph, loss, &desc);
    for (uint64_t step = 0; step < 4; step++) {
        uint64_t ticket;
        write_batch(plan, step);
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, out_loss, sizeof *out_loss));
    }
    *out_n = esker_params_elems(params);
    *out_values = malloc((size_t)*out_n * sizeof **out_values);
    float *at = *out_values;
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_ok(esker_params_read(params, i, at, info.n_elems));
        at += info.n_elems;
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void checked_plans_compute_the_same_bits(void **state)
{
    const struct way *way = *state;
    float loss[2], *values[2];
    int64_t n[2];
    for (int check = 0; check < 2; check++) train(way, check, &loss[check], &values[check], &n[check]);
    assert_memory_equal(&loss[0], &loss[1], sizeof loss[0]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(values[0], values[1], (size_t)n[0] * sizeof(float));
    free(values[0]);
    free(values[1]);
}

static void random_plans_pass(void **state)
{
    (void)state;
    for (uint64_t stream = 0; stream < 6; stream++) {
        esker_graph *graph;
        esker_node *output;
        assert_ok(esker_graph_create(NULL, &graph));
        random_graph(graph, 30, stream, &output, 1);
        esker_plan *plan = compile(test_device(), graph, output, &(esker_plan_desc){.check = true});
        for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) {
            float x[RANDOM_GRAPH_SIDE * RANDOM_GRAPH_SIDE];
            char name[8];
            snprintf(name, sizeof name, "x%d", i);
            int input = esker_plan_find_input(plan, name);
            test_uniform(x, RANDOM_GRAPH_SIDE * RANDOM_GRAPH_SIDE, -1, 1, stream + (uint64_t)i);
            if (input >= 0) assert_ok(esker_plan_write(plan, input, x, sizeof x));
        }
        assert_ok(esker_plan_run(plan));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* ---- Broken kernels ---- */

static const struct broken {
    const char *kernel, *find, *put; /* in its source, the first time */
    esker_optimizer_kind optimizer;
    const char *said[3]; /* in the message; NULL ends */
} broken[] = {
    {"conv/direct",
     "#define TAP(STEP, K, S, T) S += WEIGHT(STEP, K) * a;",
     "#define TAP(STEP, K, S, T) S += WEIGHT(STEP, K) * a + 1e-4;",
     ESKER_OPTIMIZER_SGD,
     {"conv2d(", "\"conv\" (forward)"}},
    {"pool/winners", "word |= winner <<", "word |= (winner ^ 1u) <<", ESKER_OPTIMIZER_SGD, {"conv2d(", "of output 1 is"}},
    {"pool/grad_winners", "t : 0.0", "t : 0.5", ESKER_OPTIMIZER_SGD, {"max_pool2d_grad(", "(backward)"}},
    {"pool/winners",
     "y[at] = largest_of(",
     "y[at] = (channel == 1u && v == 1u ? 1.0 : 0.0) + largest_of(",
     ESKER_OPTIMIZER_SGD,
     {"conv2d(", "pool/winners with", "element 17 of output 0"}},
    {"gemm/direct",
     "uint at = i * n + j0;",
     "uint at = i * n + j0; s *= 1.001;",
     ESKER_OPTIMIZER_SGD,
     {"matmul(", "\"fc\" (forward)"}},
    {"loss/cross_entropy",
     "sum / count",
     "sum / (count + 1.0)",
     ESKER_OPTIMIZER_SGD,
     {"cross_entropy(", "\"loss\" (forward)"}},
    {"conv/weight_grad",
     "n, S);\n#endif",
     "n, (S) * 1.001);\n#endif",
     ESKER_OPTIMIZER_SGD,
     {"conv2d_weight_grad(", "(backward)"}},
    {"optim/rules", "lr * (s / root)", "1.001 * lr * (s / root)", ESKER_OPTIMIZER_ADAMW, {"the parameters"}},
    {"optim/rules", "x -= lr * (s / root);", "x -= lr * (s / root), t *= 1.0001;", ESKER_OPTIMIZER_ADAM, {"state 1"}},
};

static void broken_kernels_are_found_by_name(void **state)
{
    const struct broken *row = *state;
    test_device();
    esker_device *dev;
    esker_graph *graph;
    const char *folder = test_folder("broken");
    test_break_kernel(folder, row->kernel, row->find, row->put);
    setenv("ESKER_GLSL_DIR", folder, 1);
    assert_ok(esker_device_open(NULL, &dev));
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = network(graph, row->optimizer);
    esker_plan *plan = compile(dev, graph, loss, &(esker_plan_desc){.check = true, .slice_seconds = -1});
    write_batch(plan, 0);
    esker_status st = esker_plan_run(plan);
    unsetenv("ESKER_GLSL_DIR");
    if (st != ESKER_ERR_MISMATCH)
        fail_msg("%s is broken, but: %s %s", row->kernel, esker_status_name(st), esker_last_error());
    print_message("%s\n", esker_last_error());
    /* The rules' text is in front of the optimizer's kernel, or of those that update with what they compute. */
    char by[64], then[64];
    snprintf(by, sizeof by, strcmp(row->kernel, "optim/rules") ? " by %s" : "RULES 1", row->kernel);
    snprintf(then, sizeof then, ", then %s", row->kernel);
    assert_true(strstr(esker_last_error(), by) || strstr(esker_last_error(), then));
    for (int i = 0; i < 3 && row->said[i]; i++)
        if (!strstr(esker_last_error(), row->said[i])) fail_msg("no \"%s\" in: %s", row->said[i], esker_last_error());
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    esker_device_unref(dev);
}

/* ---- Broken memory ---- */

static void overwritten_values_are_found(void **state)
{
    (void)state;
    const esker_shape shape = {2, {40, 33}};
    float x[40 * 33];
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &shape);
    esker_node *kept = esker_label(esker_tanh(in), "kept"), *other = esker_label(esker_exp(in), "other");
    esker_node *y = esker_mul(kept, esker_softmax(esker_sigmoid(other), 1));
    esker_plan *plan = compile(test_device(), graph, y, &(esker_plan_desc){.check = true, .no_fusion = true});
    test_uniform(x, 40 * 33, -1, 1, 1);
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_ok(esker_plan_run(plan));
    /* Two values that are alive together are given the same bytes, as a wrong memory plan would. */
    esker__plan_value *a = NULL, *b = NULL;
    for (size_t v = 0; v < plan->n_values; v++) {
        const char *label = plan->values[v].label ? plan->values[v].label : "";
        if (!strcmp(label, "kept")) a = &plan->values[v];
        if (!strcmp(label, "other")) b = &plan->values[v];
    }
    assert_non_null(a);
    assert_non_null(b);
    assert_true(a->offset != b->offset);
    a->offset = b->offset;
    esker__plan_rewrite_launches(plan);
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_fails(esker_plan_run(plan), ESKER_ERR_MISMATCH, "wrote over it");
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    setenv("ESKER_VARIANT", "wide,narrow,direct", 1); /* the kernels that are broken here, on every device */
    enum { N_WAYS = sizeof ways / sizeof *ways, N_BROKEN = sizeof broken / sizeof *broken };
    struct CMUnitTest tests[N_WAYS + N_BROKEN + 2] = {
        cmocka_unit_test(random_plans_pass),
        cmocka_unit_test(overwritten_values_are_found),
    };
    int n = 2;
    for (int i = 0; i < N_WAYS; i++)
        tests[n++] = (struct CMUnitTest){ways[i].name, checked_plans_compute_the_same_bits, NULL, NULL,
                                         (void *)(uintptr_t)&ways[i]};
    for (int i = 0; i < N_BROKEN; i++)
        tests[n++] = (struct CMUnitTest){broken[i].kernel, broken_kernels_are_found_by_name, NULL, NULL,
                                         (void *)(uintptr_t)&broken[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
