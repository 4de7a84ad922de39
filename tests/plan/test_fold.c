/* device test: batch norm in inference leaves no trace in a step: it is in weights and biases, in front of the first step. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/model.h>
#include <esker/ops.h>
#include "graph/graph.h"
#include "plan/plan.h"

#define EPS 0x1p-24

/* ---- Cases ---- */

static esker_node *parameter(esker_graph *graph, const char *name, esker_shape shape)
{
    return esker_parameter(graph, &(esker_param_desc){.name = name, .shape = shape, .frozen = true});
}

/* With parameters NAME.weight, .bias, .mean and .var; `kind`: 1 without the bias, 2 without both. */
static esker_node *norm(esker_node *x, const char *name, int kind)
{
    esker_shape channels = {1, {esker_node_get_shape(x)->dims[1]}};
    char names[4][32];
    esker_node *p[4];
    static const char *const tails[] = {"weight", "bias", "mean", "var"};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "%s.%s", name, tails[i]);
        p[i] = i < 2 && kind + i > 1 ? NULL : parameter(x->graph, names[i], channels);
    }
    return esker_batch_norm_infer(
        x, &(esker_batch_norm_desc){.weight = p[0], .bias = p[1], .running_mean = p[2], .running_var = p[3], .eps = 1e-3f});
}

static esker_node *conv(esker_node *x, const char *name, int64_t f, int groups, int stride)
{
    return esker_conv2d(x,
                        parameter(x->graph, name, (esker_shape){4, {f, esker_node_get_shape(x)->dims[1] / groups, 3, 3}}),
                        &(esker_conv2d_desc){.stride = {stride, stride}, .padding = {1, 1}, .groups = groups});
}

static esker_node *bias(esker_node *x, const char *name, esker_shape shape)
{
    return esker_add(parameter(x->graph, name, shape), x); /* either order */
}

static esker_node *image(esker_graph *graph, int64_t channels)
{
    return esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {2, channels, 9, 7}});
}

static esker_node *plain(esker_graph *graph)
{
    return esker_relu(norm(conv(image(graph, 3), "w", 11, 1, 1), "n", 0));
}

static esker_node *with_bias(esker_graph *graph)
{
    return norm(bias(conv(image(graph, 3), "w", 5, 1, 2), "b", (esker_shape){3, {5, 1, 1}}), "n", 1);
}

static esker_node *one_number(esker_graph *graph)
{
    return norm(bias(conv(image(graph, 3), "w", 5, 1, 1), "b", (esker_shape){4, {1, 1, 1, 1}}), "n", 2);
}

static esker_node *depthwise(esker_graph *graph)
{
    return esker_clamp(norm(conv(image(graph, 6), "w", 6, 6, 2), "n", 0), 0, 6);
}

static esker_node *grouped(esker_graph *graph)
{
    return norm(conv(image(graph, 6), "w", 8, 2, 1), "n", 2);
}

static esker_node *one_axis(esker_graph *graph)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {2, 4, 33}});
    esker_node *y = esker_conv1d(x, parameter(graph, "w", (esker_shape){3, {7, 4, 5}}), &(esker_conv1d_desc){.stride = 2});
    return norm(bias(y, "b", (esker_shape){2, {7, 1}}), "n", 0);
}

static esker_node *transposed(esker_graph *graph)
{
    esker_node *w = parameter(graph, "w", (esker_shape){4, {6, 5, 3, 3}});
    return norm(bias(esker_conv_transpose2d(image(graph, 6), w, &(esker_conv_transpose2d_desc){.stride = {2, 2}}), "b",
                     (esker_shape){3, {5, 1, 1}}),
                "n", 0);
}

static esker_node *transposed_groups(esker_graph *graph)
{
    esker_node *w = parameter(graph, "w", (esker_shape){4, {6, 5, 3, 2}});
    return norm(esker_conv_transpose2d(image(graph, 6), w, &(esker_conv_transpose2d_desc){.groups = 3}), "n", 0);
}

static esker_node *linear(esker_graph *graph)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {5, 37}});
    esker_node *w = parameter(graph, "w", (esker_shape){2, {12, 37}});
    x = esker_matmul(x, w, &(esker_matmul_desc){.transpose_b = true});
    return esker_relu(norm(bias(x, "b", (esker_shape){1, {12}}), "n", 0));
}

static esker_node *linear_as_stored(esker_graph *graph)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {5, 37}});
    return norm(esker_matmul(x, parameter(graph, "w", (esker_shape){2, {37, 12}}), NULL), "n", 0);
}

/* Channels are not the product's columns there. */
static esker_node *linear_over_positions(esker_graph *graph)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {2, 5, 8}});
    return norm(esker_matmul(x, parameter(graph, "w", (esker_shape){2, {8, 12}}), NULL), "n", 0);
}

static esker_node *residual(esker_graph *graph)
{
    esker_node *x = image(graph, 6), *y = esker_relu(norm(conv(x, "w", 6, 1, 1), "n", 0));
    return esker_relu(esker_add(norm(conv(y, "v", 6, 1, 1), "m", 0), x));
}

static esker_node *no_convolution(esker_graph *graph)
{
    esker_node *x = esker_max_pool2d(image(graph, 5), &(esker_pool2d_desc){.window = {2, 2}});
    return esker_relu(norm(x, "n", 0));
}

static esker_node *twice(esker_graph *graph)
{
    return norm(norm(conv(image(graph, 3), "w", 5, 1, 1), "n", 0), "m", 0);
}

/* What the norm reads is wanted as it is, too. */
static esker_node *read_twice(esker_graph *graph)
{
    esker_node *y = conv(image(graph, 3), "w", 5, 1, 1);
    return esker_add(esker_tanh(y), norm(y, "n", 0));
}

/* A sum that is no bias. */
static esker_node *sum_of_two(esker_graph *graph)
{
    esker_node *y = conv(image(graph, 3), "w", 7, 1, 1);
    return norm(bias(y, "b", (esker_shape){1, {7}}), "n", 0);
}

static const struct fold_case {
    const char *name;
    esker_node *(*record)(esker_graph *graph);
    int n_dispatches; /* of a step on a large GPU */
} cases[] = {
    {"convolution, activation", plain, 1},
    {"convolution with a bias, norm without", with_bias, 1},
    {"one number as bias, plain norm", one_number, 1},
    {"depthwise", depthwise, 1},
    {"groups", grouped, 1},
    {"one axis", one_axis, 1},
    {"transposed convolution", transposed, 4}, /* one for each pixel of the stride */
    {"transposed convolution, groups", transposed_groups, 1},
    {"linear", linear, 1},
    {"linear, not transposed", linear_as_stored, 1},
    {"linear over positions", linear_over_positions, 2},
    {"residual", residual, 2},
    {"no convolution", no_convolution, 2},
    {"twice", twice, 2},
    {"read twice", read_twice, 2},
    {"a sum that is no bias", sum_of_two, 2},
};

/* ---- Values ---- */

/* The parameter's values for a round: variances are positive. */
static void values_of(const esker__param *p, uint64_t round, float *out)
{
    bool var = strstr(p->name, ".var") != NULL;
    test_uniform(out, p->n_elems, var ? 0.2f : -1, var ? 2 : 1,
                 100 * round + (uint64_t)strlen(p->name) + (uint64_t)p->n_elems);
}

/*
 * The graph in double on the same values, and, from absolute values that nothing cancels in, the sum of |terms| behind each result. Means are
 * subtracted, so theirs are negative.
 */
static void evaluate(esker_graph *graph, esker_node *y, const float *x, uint64_t round, double *want, double *magnitude)
{
    int64_t n = esker__elems(&y->type.shape);
    for (int absolute = 0; absolute < 2; absolute++) {
        const double *given[64] = {NULL};
        double **values;
        assert_true(graph->n_nodes <= 64);
        for (size_t i = 0; i < graph->n_nodes; i++) {
            const esker_node *node = graph->nodes[i];
            if (node->op != &esker__op_input && node->op != &esker__op_parameter) continue;
            int64_t count = esker__elems(&node->type.shape);
            float *single = calloc((size_t)count, sizeof *single);
            double *copy = calloc((size_t)count, sizeof *copy), sign = 1;
            if (node->op == &esker__op_input) {
                memcpy(single, x, (size_t)count * sizeof *single);
            } else {
                const esker__param *p = &graph->params->list[((const esker__parameter_attr *)node->attr)->index];
                values_of(p, round, single);
                if (strstr(p->name, ".mean")) sign = -1;
            }
            for (int64_t j = 0; j < count; j++) copy[j] = absolute ? sign * fabs((double)single[j]) : (double)single[j];
            given[i] = copy;
            free(single);
        }
        assert_ok(esker__evaluate(graph, given, &y, 1, &values, NULL));
        memcpy(absolute ? magnitude : want, values[y->id], (size_t)n * sizeof *want);
        esker__evaluate_free(graph, values);
        for (size_t i = 0; i < graph->n_nodes; i++) free((void *)given[i]);
    }
}

static void write_params(esker_params *params, uint64_t round)
{
    for (size_t i = 0; i < params->n; i++) {
        float *values = calloc((size_t)params->list[i].n_elems, sizeof *values);
        values_of(&params->list[i], round, values);
        assert_ok(esker_params_write(params, (int)i, values, params->list[i].n_elems));
        free(values);
    }
}

static int steps_of(const esker_plan *plan, const char *op)
{
    int n = 0;
    for (size_t p = plan->n_prologue; p < plan->n_dispatches; p++)
        n += !plan->dispatches[p].last && strstr(plan->dispatches[p].op, op) != NULL;
    return n;
}

static void folded_and_not_are_within_the_bound(void **state)
{
    const struct fold_case *c = *state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = c->record(graph);
    assert_ok(esker_graph_status(graph));
    int64_t n = esker__elems(&y->type.shape);
    esker_params *params = esker_graph_get_params(graph);
    esker_plan *plans[3];
    for (int i = 0; i < 3; i++)
        assert_ok(esker_plan_compile(graph,
                                     &(esker_plan_desc){.device = test_device(),
                                                        .outputs = &y,
                                                        .n_outputs = 1,
                                                        .slice_seconds = -1,
                                                        .no_fusion = i == 0,
                                                        .check = i == 2},
                                     &plans[i]));
    assert_true(steps_of(plans[0], "batch_norm") > 0);
    assert_int_equal(steps_of(plans[1], "batch_norm"), 0);
    float *x = calloc((size_t)plans[0]->inputs[0].n_bytes / 4, sizeof *x), *got = calloc((size_t)n, sizeof *got);
    double *want = calloc((size_t)n, sizeof *want), *bound = calloc((size_t)n, sizeof *bound);
    for (uint64_t round = 0; round < 3; round++) {
        write_params(params, round);
        test_uniform(x, (int64_t)(plans[0]->inputs[0].n_bytes / 4), -1, 1, round);
        evaluate(graph, y, x, round, want, bound);
        for (int64_t j = 0; j < n; j++) bound[j] = bound[j] * 40 * EPS + 1e-30;
        for (int i = 0; i < 3; i++) {
            uint64_t ticket;
            assert_ok(esker_plan_write(plans[i], 0, x, (size_t)plans[i]->inputs[0].n_bytes));
            assert_ok(esker_plan_submit(plans[i], &ticket));
            assert_ok(esker_plan_read(plans[i], ticket, 0, got, (size_t)n * sizeof *got));
            assert_close(got, want, bound, 0, n);
        }
    }
    free(x);
    free(got);
    free(want);
    free(bound);
    for (int i = 0; i < 3; i++) esker_plan_destroy(plans[i]);
    esker_graph_destroy(graph);
}

static void large(esker_limits *limits)
{
    esker_limits_es31(limits);
    limits->storage_blocks = 16;
    limits->group_invocations = limits->group_size[0] = limits->group_size[1] = 1024;
    limits->shared_bytes = 49152;
    limits->storage_block_bytes = INT32_MAX;
    limits->reports_reset = true;
}

static void nothing_of_the_norm_is_left(void **state)
{
    esker_limits limits;
    large(&limits);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *y = cases[i].record(graph);
        assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.limits = &limits, .outputs = &y, .n_outputs = 1}, &plan));
        int n = (int)(plan->n_dispatches - plan->n_prologue);
        if (n != cases[i].n_dispatches) fail_msg("%s: %d dispatches, not %d", cases[i].name, n, cases[i].n_dispatches);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* ---- Not where it would be work in every step ---- */

static int folded(esker_graph *graph, esker_node *y)
{
    esker_plan *plan;
    esker_limits limits;
    large(&limits);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.limits = &limits, .outputs = &y, .n_outputs = 1}, &plan));
    int n = steps_of(plan, "batch_norm_infer");
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return !n;
}

static void only_what_stands_still(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *y = norm(conv(image(graph, 3), "w", 5, 1, 1), "n", 0), *all = y;
        esker_shape channels = {1, {5}};
        if (way == 1) { /* weights that this plan trains; the gradient reads the statistics, too */
            esker_node *v = esker_parameter(graph, &(esker_param_desc){.name = "v", .shape = {4, {5, 3, 3, 3}}});
            all = esker_sum(
                norm(esker_conv2d(esker_input(graph, "x2", ESKER_DTYPE_F32, &(esker_shape){4, {2, 3, 9, 7}}), v, NULL), "n",
                     0),
                NULL, 0, false);
            assert_ok(esker_optimize(all, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f}));
        }
        if (way == 2) /* statistics that come in with each step */
            all = esker_batch_norm_infer(
                y, &(esker_batch_norm_desc){.running_mean = esker_input(graph, "mean", ESKER_DTYPE_F32, &channels),
                                            .running_var = esker_input(graph, "var", ESKER_DTYPE_F32, &channels)});
        if (way == 3) { /* statistics that this plan moves */
            esker_node *mean = parameter(graph, "n.mean", channels), *var = parameter(graph, "n.var", channels);
            all = esker_add(y, esker_batch_norm(y, &(esker_batch_norm_desc){.running_mean = mean, .running_var = var}));
        }
        if (way == 4) /* its statistics are wanted */
            all = esker_reshape(esker__output(y, 1), &(esker_shape){1, {-1}});
        assert_int_equal(folded(graph, all), way == 0);
    }
}

/* ---- A model that is trained between two inferences ---- */

static esker_model *network(void)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {2, 8, 8}});
    x = esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .padding = {1, 1}});
    x = esker_relu(esker_layer_batch_norm2d(net, x, NULL));
    esker_node *y = esker_layer_conv2d(
        net, x,
        &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .padding = {1, 1}, .no_bias = true, .groups = 6});
    x = esker_relu(esker_add(esker_layer_batch_norm2d(net, y, NULL), x));
    x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 9});
    x = esker_layer_batch_norm1d(net, x, NULL);
    assert_ok(esker_model_output(net, x));
    return net;
}

#define BATCH 6

static void trained_between_inferences(void **state)
{
    bool check = *state != NULL;
    esker_model *net = network();
    esker_graph *graph;
    esker_node *y;
    esker_plan *train, *infer[2];
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = BATCH}, &graph, NULL, &y));
    esker_node *loss = esker_mean(esker_square(y), NULL, 0, false);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.2f}));
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1}, &train));
    esker_graph_destroy(graph);
    for (int i = 0; i < 2; i++) {
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = BATCH, .mode = ESKER_MODE_INFER}, &graph,
                                          NULL, &y));
        assert_ok(esker_plan_compile(
            graph,
            &(esker_plan_desc){
                .device = test_device(), .outputs = &y, .n_outputs = 1, .no_fusion = i == 0, .check = check && i},
            &infer[i]));
        esker_graph_destroy(graph);
    }
    assert_true(steps_of(infer[0], "batch_norm") == 3 && steps_of(infer[1], "batch_norm") == 0);
    float x[BATCH * 2 * 8 * 8], got[2][BATCH * 9], before[BATCH * 9];
    test_uniform(x, BATCH * 2 * 8 * 8, -1, 2, 3);
    for (int round = 0; round < 4; round++) {
        double want[BATCH * 9];
        for (int i = 0; i < 2; i++) {
            uint64_t ticket;
            assert_ok(esker_plan_write(infer[i], 0, x, sizeof x));
            assert_ok(esker_plan_submit(infer[i], &ticket));
            assert_ok(esker_plan_read(infer[i], ticket, 0, got[i], sizeof got[i]));
        }
        for (int i = 0; i < BATCH * 9; i++) want[i] = (double)got[0][i];
        assert_close(got[1], want, NULL, 2e-5, BATCH * 9);
        if (round) { /* by far more than that has changed */
            double most = 0;
            for (int i = 0; i < BATCH * 9; i++) most = fmax(most, fabs((double)(got[1][i] - before[i])));
            assert_true(most > 1e-2);
        }
        memcpy(before, got[1], sizeof before);
        for (int step = 0; step < 3; step++) {
            assert_ok(esker_plan_write(train, 0, x, sizeof x));
            assert_ok(esker_plan_submit(train, NULL));
        }
    }
    for (int i = 0; i < 2; i++) esker_plan_destroy(infer[i]);
    esker_plan_destroy(train);
    esker_model_destroy(net);
}

int main(void)
{
    static char checked[] = "check";
    enum { N = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[N + 4];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = folded_and_not_are_within_the_bound,
                                       .initial_state = (void *)(uintptr_t)&cases[i]};
    const struct CMUnitTest others[4] = {
        cmocka_unit_test(nothing_of_the_norm_is_left),
        cmocka_unit_test(only_what_stands_still),
        cmocka_unit_test(trained_between_inferences),
        {.name = "trained between inferences, in check mode",
         .test_func = trained_between_inferences,
         .initial_state = checked},
    };
    memcpy(tests + N, others, sizeof others);
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
