/* device test that measures time: jobs that are more than one node with one output of floats: nodes that are computed together, indices of the largest, columns of
   one value. */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <esker/ops.h>
#include <esker/tune.h>

#include "ops/ops.h"
#include "ops/pool2d.h"
#include "plan/plan.h"

static double flops;

static void cost(const esker_node *node, esker__cost *out)
{
    (void)node;
    *out = (esker__cost){flops, 1};
}

static esker_device *open_alone(void)
{
    esker_device *dev;
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = ""}, &dev));
    return dev;
}

/* Of a job with three candidates. */
typedef struct seen {
    int n, best, states[3];
} seen;

static bool look(const esker_tune_result *r, void *user)
{
    seen *s = user;
    s->n++;
    s->best = r->best;
    assert_int_equal(r->n_candidates, 3);
    for (int i = 0; i < 3; i++) s->states[i] = (int)r->candidates[i].state;
    return true;
}

static esker_status copy_type(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

static void copy_reference(const esker__reference *r)
{
    for (int64_t i = 0; i < esker__elems(&r->node->type.shape); i++) r->out[0][i] = r->in[0][i];
}

/* ---- Nodes that are computed together ---- */

enum { APART, OFF, TOGETHER };
static const char *const company_names[] = {"apart", "off", "together"};

static esker_status emit_copies(esker__lowering *lowering, const char *defines, int n_times, const esker_node *from,
                                const esker_node *to)
{
    uint32_t n = (uint32_t)esker__elems(&to->type.shape), params[] = {n, 1, 1, 1, 1};
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < n_times; i++)
        st = esker__emit(lowering,
                         &(esker__dispatch_desc){.kernel = "elementwise/map",
                                                 .defines = defines,
                                                 .groups = {(n + 63) / 64, 1, 1},
                                                 .operands = {esker__read(lowering, from), esker__write(lowering, to)},
                                                 .n_operands = 2,
                                                 .params = params,
                                                 .n_params = 5});
    return st;
}

static bool first_was_written;

/* Takes a node of its own kind along that reads it through a view; "off" computes that one wrong. */
static esker_status lower_company(esker__lowering *lowering, const esker_node *node)
{
    static const char copies[] = "EXPR a\nOPERANDS 1\nWG 64\n", off[] = "EXPR a + 0.01\nOPERANDS 1\nWG 64\n";
    const esker_node *next = NULL;
    for (size_t id = (size_t)node->id + 1; id < node->graph->n_nodes && !next; id++) {
        const esker_node *other = node->graph->nodes[id];
        if (other->op == node->op && esker__root_of(other->inputs[0]) == node && esker__can_take_along(lowering, other))
            next = other;
    }
    if (!next) return emit_copies(lowering, copies, 200, node->inputs[0], node);
    char problem[40];
    snprintf(problem, sizeof problem, "company flops=%g", flops);
    esker__take_along(lowering, next);
    int way = esker__choose_company(lowering, problem, company_names, 3, APART);
    if (way == APART) {
        esker__leave_behind(lowering, 0);
        return emit_copies(lowering, copies, 200, node->inputs[0], node);
    }
    esker_status st = ESKER_OK;
    const esker_node *from = node->inputs[0];
    first_was_written = esker__readers(lowering, node) > 1;
    if (first_was_written || esker__is_checked(lowering)) st = emit_copies(lowering, copies, 1, from, node), from = node;
    return st == ESKER_OK ? emit_copies(lowering, way == OFF ? off : copies, 1, from, next) : st;
}

static const esker__op op_company = {.name = "copying",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .infer = copy_type,
                                     .reference = copy_reference,
                                     .cost = cost,
                                     .lower = lower_company};

/* The two are run together, the first one's result written only where something else reads it. */
static void company_is_tuned_together(void **state)
{
    (void)state;
    test_device();
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    for (int i = 0; i < 4; i++) {
        bool large = i & 1, both = i & 2;
        esker_graph *graph;
        esker_tune_summary sum;
        seen s = {0};
        flops = large ? 1e12 : 100;
        first_was_written = !both;
        esker_device *dev = open_alone();
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {100}});
        esker_node *y = esker__record(&op_company, NULL, &x, 1), *seen_as = esker_reshape(y, &(esker_shape){2, {10, 10}});
        esker_node *outputs[] = {esker__record(&op_company, NULL, &seen_as, 1), y};
        assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = 1 + both},
                             &(esker_tune_desc){.result = look, .user = &s, .budget_seconds = 600}, &sum));
        assert_int_equal(sum.n_tuned, 1);
        assert_int_equal(sum.n_left, 0);
        assert_int_equal(s.states[OFF], ESKER_TUNE_WRONG);
        assert_int_equal(s.states[APART], ESKER_TUNE_ELIMINATED);
        assert_int_equal(s.best, TOGETHER);
        assert_true(first_was_written == both);
        esker_graph_destroy(graph);
        esker_device_unref(dev);
    }
}

typedef struct jobs {
    const char *problem; /* how that begins, or what it has in it, which is looked for */
    int n_found, n_wrong, n_unusable;
} jobs;

static bool look_for(const esker_tune_result *r, void *user)
{
    jobs *j = user;
    bool found = strstr(r->problem, j->problem);
    j->n_found += found;
    for (int i = 0; found && i < r->n_candidates; i++) {
        j->n_wrong += r->candidates[i].state == ESKER_TUNE_WRONG;
        j->n_unusable += r->candidates[i].state == ESKER_TUNE_UNUSABLE;
    }
    return true;
}

/* Weights are parameters, which a chain binds as one. */
static void chains_are_tuned(void **state)
{
    (void)state;
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    if (device.limits.storage_blocks < 12) return; /* there are none */
    esker_graph *graph;
    esker_tune_summary sum;
    jobs found = {.problem = "chain m=8 16x16t 16x16t"};
    esker_device *dev = open_alone();
    setenv("ESKER_VARIANT", "chains", 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {8, 16}});
    for (int i = 0; i < 2; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = name, .shape = {2, {16, 16}}});
        x = esker_tanh(esker_matmul(x, w, &(esker_matmul_desc){.transpose_b = true}));
    }
    assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = &x, .n_outputs = 1},
                         &(esker_tune_desc){.result = look_for, .user = &found, .budget_seconds = 600}, &sum));
    unsetenv("ESKER_VARIANT");
    assert_int_equal(found.n_found, 1);
    assert_int_equal(found.n_wrong, 0);
    assert_int_equal(found.n_unusable, 0);
    assert_int_equal(sum.n_left, 0);
    esker_graph_destroy(graph);
    esker_device_unref(dev);
}

/* Where q, k and v are columns of one value: that is one input of the job. */
static void columns_of_one_value_are_tuned(void **state)
{
    (void)state;
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    if (device.limits.group_invocations < 1024) return; /* no choice */
    esker_graph *graph;
    esker_tune_summary sum;
    jobs found = {.problem = "attention "};
    esker_device *dev = open_alone();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {1, 16, 24}}), *parts[3];
    for (int i = 0; i < 3; i++)
        parts[i] = esker_transpose(esker_reshape(esker__slice_axis(x, 2, 8 * i, 8), &(esker_shape){4, {1, 16, 2, 4}}),
                                   (int[]){0, 2, 1, 3});
    esker_node *y = esker_attention(parts[0], parts[1], parts[2], &(esker_attention_desc){.causal = true});
    assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1},
                         &(esker_tune_desc){.result = look_for, .user = &found}, &sum));
    assert_int_equal(found.n_found, 1);
    assert_int_equal(found.n_wrong, 0);
    assert_int_equal(sum.n_left, 0);
    esker_graph_destroy(graph);
    esker_device_unref(dev);
}

/* ---- Indices ---- */

/* Pools halves, so that in many windows several values are the largest. "near" pools them with small differences, which decide there; "gated" has no winner where
   the largest is not above 0, and so is wrong in the indices alone. */
enum { HALVES, NEAR, GATED };
static const char *const pooling_names[] = {"halves", "near", "gated"};
static const int32_t window[2] = {2, 2};

static esker_status infer_pooling(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const int64_t *x = inputs[0]->type.shape.dims;
    (void)attr;
    (void)n_inputs;
    out[0] = (esker__type){ESKER_DTYPE_F32, {4, {x[0], x[1], x[2] / 2, x[3] / 2}}};
    out[1] = esker__winners_type(&out[0].shape);
    out[2] = inputs[0]->type;
    return ESKER_OK;
}

static esker_status lower_pooling(esker__lowering *lowering, const esker_node *node)
{
    const esker_node *x = node->inputs[0];
    int way = esker__choose(lowering, "pooling halves", pooling_names, 3, HALVES);
    esker_node halves = *esker__output((esker_node *)node, 2);
    esker_status st = emit_copies(lowering,
                                  way == NEAR ? "EXPR floor(a * 2.0) * 0.5 + 1e-7 * a\nOPERANDS 1\nWG 64\n"
                                              : "EXPR floor(a * 2.0) * 0.5\nOPERANDS 1\nWG 64\n",
                                  1, x, &halves);
    return st == ESKER_OK
               ? esker__emit_winners(lowering, &halves, window, way == GATED, node, esker__output((esker_node *)node, 1))
               : st;
}

static esker_node *halves_of(esker_node *node)
{
    return esker_affine(esker_floor(esker_affine(node->inputs[0], 2, 0)), 0.5f, 0);
}

static void shape_of_halves(const esker_node *node, esker_shape *out)
{
    *out = node->inputs[0]->type.shape;
}

static bool halves_agree(const esker_node *node, const float *values, double bound, const int32_t *want, const int32_t *got)
{
    return esker__winners_agree(&node->type.shape, &node->inputs[0]->type.shape, window, false, values, bound, want, got);
}

static const esker__indices winners = {.output = 1, .values = halves_of, .shape = shape_of_halves, .agree = halves_agree};
static const esker__op op_pooling = {
    .name = "pooling", .n_inputs = 1, .n_outputs = 3, .infer = infer_pooling, .indices = &winners, .lower = lower_pooling};

static void indices_are_compared(void **state)
{
    (void)state;
    test_device();
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    esker_graph *graph;
    esker_tune_summary sum;
    seen s = {0};
    esker_device *dev = open_alone();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {2, 6, 8, 8}});
    esker_node *y = esker__record(&op_pooling, NULL, &x, 1), *outputs[] = {y, esker__output(y, 1)};
    assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = 2},
                         &(esker_tune_desc){.result = look, .user = &s, .budget_seconds = 600}, &sum));
    assert_int_equal(sum.n_left, 0);
    assert_int_equal(s.n, 1);
    assert_true(s.states[HALVES] <= ESKER_TUNE_ELIMINATED);
    assert_true(s.states[NEAR] <= ESKER_TUNE_ELIMINATED);
    assert_int_equal(s.states[GATED], ESKER_TUNE_WRONG);
    esker_graph_destroy(graph);
    esker_device_unref(dev);
}

static void winners_agree_within_the_bound(void **state)
{
    (void)state;
    static const float x[] = {1, 2, 0, 0, 3, 2.99f, -0.001f, -1};
    static const struct {
        bool gated, agrees;
        int32_t got[2];
    } cases[] = {
        {false, true, {2, 0}},   {false, false, {1, 0}},         {false, true, {3, 0}},    {false, true, {2, 1}},
        {false, true, {2, 2}},   {false, false, {2, 3}},         {false, false, {2, 255}}, {true, true, {2, 255}},
        {true, false, {255, 0}}, {true, false, {2 | 1 << 8, 0}}, {true, false, {4, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool agrees = esker__winners_agree(&(esker_shape){4, {1, 1, 1, 2}}, &(esker_shape){4, {1, 1, 2, 4}}, window,
                                           cases[i].gated, x, 0.02, (const int32_t[]){2, 0}, cases[i].got);
        if (agrees != cases[i].agrees) fail_msg("case %zu: %d", i, (int)agrees);
    }
}

/* Of a training step with pooling behind the convolutions: by the reference, against the usual candidate, and where the gradient's kernel also updates. */
static void pooled_convolutions_are_tuned(void **state)
{
    (void)state;
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    setenv("ESKER_VARIANT", "pooled_gradients,take_updates", 1);
    for (int i = 0; i < 3; i++) {
        bool large = i == 1, updates = i == 2;
        int64_t size = large ? 32 : 8, channels = large ? 16 : 4;
        esker_graph *graph;
        esker_tune_summary sum;
        jobs found = {.problem = " pooled"};
        esker_device *dev = open_alone();
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {4, channels, size, size}}), *outputs[2];
        esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {4, {channels, channels, 3, 3}}});
        esker_node *y = esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {1, 1}});
        y = esker_max_pool2d(esker_relu(y), &(esker_pool2d_desc){.window = {2, 2}});
        outputs[0] = esker_sum(esker_square(y), NULL, 0, false);
        if (updates)
            assert_ok(esker_optimize(outputs[0], &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAM}));
        else
            assert_ok(esker_gradients(outputs[0], &w, 1, &outputs[1]));
        assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = updates ? 1 : 2},
                             &(esker_tune_desc){.result = look_for, .user = &found, .budget_seconds = 600}, &sum));
        assert_int_equal(found.n_found, device.limits.storage_blocks < 5 ? 1 : 2); /* and the gradient of its filters */
        assert_int_equal(found.n_wrong, 0);
        assert_int_equal(sum.n_left, 0);
        esker_graph_destroy(graph);
        esker_device_unref(dev);
    }
    unsetenv("ESKER_VARIANT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(company_is_tuned_together),      cmocka_unit_test(chains_are_tuned),
        cmocka_unit_test(columns_of_one_value_are_tuned), cmocka_unit_test(indices_are_compared),
        cmocka_unit_test(winners_agree_within_the_bound), cmocka_unit_test(pooled_convolutions_are_tuned),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
