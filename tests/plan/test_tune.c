/* device test that measures time: the tuner takes the fastest candidate that is right, and its results are what later plans use. */
#include "support/test.h"

#include <esker/tune.h>
#include <stdio.h>

#include "plan/plan.h"

/* An op that copies: "fast" with one dispatch, "slow" with two hundred, and "wrong" adds a little. */
enum { SLOW, WRONG, FAST };
static const char *const names[] = {"slow", "wrong", "fast"};
static int usual;
static double flops;

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

static void reference(const esker__reference *r)
{
    for (int64_t i = 0; i < esker__elems(&r->node->type.shape); i++) r->out[0][i] = r->in[0][i];
}

static void cost(const esker_node *node, esker__cost *out)
{
    (void)node;
    *out = (esker__cost){flops, 1};
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    uint32_t n = (uint32_t)esker__elems(&node->type.shape), params[] = {n, 1, 1, 1, 1};
    char problem[40];
    snprintf(problem, sizeof problem, "copy n=%u flops=%g", n, flops);
    int way = esker__choose(lowering, problem, names, 3, usual);
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < (way == SLOW ? 200 : 1); i++)
        st = esker__emit(lowering,
                         &(esker__dispatch_desc){
                             .kernel = "elementwise/map",
                             .defines = way == WRONG ? "EXPR a + 0.01\nOPERANDS 1\nWG 64\n" : "EXPR a\nOPERANDS 1\nWG 64\n",
                             .groups = {1, 1, 1},
                             .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                             .n_operands = 2,
                             .params = params,
                             .n_params = 5});
    return st;
}

static const esker__op op_copying = {
    .name = "copying", .n_inputs = 1, .n_outputs = 1, .infer = infer, .reference = reference, .cost = cost, .lower = lower};

static esker_graph *record(esker_node **out)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {100}});
    *out = esker__record(&op_copying, NULL, &x, 1);
    return graph;
}

typedef struct seen {
    int n, best, usual, states[3];
    bool go_on;
} seen;

static bool look(const esker_tune_result *r, void *user)
{
    seen *s = user;
    s->n++;
    s->best = r->best;
    s->usual = r->usual;
    assert_int_equal(r->n_candidates, 3);
    assert_string_equal(r->op, "copying");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(r->candidates[i].name, names[i]);
        s->states[i] = (int)r->candidates[i].state;
        assert_true((r->candidates[i].seconds > 0) == (s->states[i] <= ESKER_TUNE_ELIMINATED));
    }
    return s->go_on;
}

static seen tune(esker_device *dev, bool again, esker_status want, esker_tune_summary *sum)
{
    esker_node *y;
    seen s = {.go_on = want == ESKER_OK};
    esker_graph *graph = record(&y);
    esker_status st = esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1},
                                 &(esker_tune_desc){.again = again, .result = look, .user = &s}, sum);
    if (st != want) fail_msg("status %d: %s", (int)st, esker_last_error());
    esker_graph_destroy(graph);
    return s;
}

/* What a plan that is compiled now takes. */
static int chosen(esker_device *dev, double tune_seconds)
{
    esker_node *y;
    esker_plan *plan;
    esker_graph *graph = record(&y);
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1, .tune_seconds = tune_seconds}, &plan));
    int which = plan->choices[0].chosen;
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return which;
}

static esker_device *open_with(const char *cache)
{
    esker_device *dev;
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = cache}, &dev));
    return dev;
}

static void the_fastest_right_one_wins(void **state)
{
    (void)state;
    test_device();
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    /* By the reference, and against the usual candidate. */
    for (int large = 0; large < 2; large++) {
        char cache[1100];
        esker_tune_summary sum;
        snprintf(cache, sizeof cache, "%s", test_folder(large ? "tune-usual" : "tune-reference"));
        flops = large ? 1e12 : 100;
        usual = SLOW;
        esker_device *dev = open_with(cache);
        assert_int_equal(chosen(dev, 0), SLOW);
        seen s = tune(dev, false, ESKER_OK, &sum);
        assert_int_equal(s.n, 1);
        assert_int_equal(s.best, FAST);
        assert_int_equal(s.usual, SLOW);
        assert_int_equal(s.states[SLOW], ESKER_TUNE_ELIMINATED);
        assert_int_equal(s.states[WRONG], ESKER_TUNE_WRONG);
        assert_int_equal(s.states[FAST], ESKER_TUNE_TIMED);
        assert_int_equal(sum.n_tuned, 1);
        assert_int_equal(sum.n_changed, 1);
        assert_int_equal(sum.n_wrong, 1);
        assert_int_equal(chosen(dev, 0), FAST);
        esker_device_unref(dev);

        /* The next process knows it, and tunes again only if told to. */
        dev = open_with(cache);
        assert_int_equal(chosen(dev, 0), FAST);
        s = tune(dev, false, ESKER_OK, &sum);
        assert_int_equal(s.n, 0);
        assert_int_equal(sum.n_known, 1);
        s = tune(dev, true, ESKER_ERR_CANCELLED, &sum);
        assert_int_equal(s.n, 1);
        assert_int_equal(chosen(dev, 0), FAST);
        esker_device_unref(dev);
    }
}

/* A default that is wrong loses against the reference. */
static void a_wrong_default_is_out(void **state)
{
    (void)state;
    test_device();
    esker_tune_summary sum;
    esker_device *dev = open_with("");
    flops = 100;
    usual = WRONG;
    seen s = tune(dev, false, ESKER_OK, &sum);
    assert_int_equal(s.best, FAST);
    assert_int_equal(s.states[WRONG], ESKER_TUNE_WRONG);
    assert_int_equal(chosen(dev, 0), FAST);
    esker_device_unref(dev);
}

/* Its second output is twice the input; "wrong" is so in that one alone. */
static esker_status infer_pair(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    out[0] = out[1] = inputs[0]->type;
    return ESKER_OK;
}

static void reference_pair(const esker__reference *r)
{
    for (int64_t i = 0; i < esker__elems(&r->node->type.shape); i++) {
        if (r->out[0]) r->out[0][i] = r->in[0][i];
        if (r->out[1]) r->out[1][i] = 2 * r->in[0][i];
    }
}

static int n_first; /* how often the tuner asked for output 0, which the plan does not use */

static esker_status lower_pair(esker__lowering *lowering, const esker_node *node)
{
    static const char *const of_way[] = {"EXPR a + a\nOPERANDS 1\nWG 64\n", "EXPR a + a + 0.01\nOPERANDS 1\nWG 64\n",
                                         "EXPR a + a\nOPERANDS 1\nWG 64\n"};
    uint32_t n = (uint32_t)esker__elems(&node->type.shape), params[] = {n, 1, 1, 1, 1};
    char problem[40];
    snprintf(problem, sizeof problem, "pair n=%u flops=%g", n, flops);
    int way = esker__choose(lowering, problem, names, 3, usual);
    n_first += esker__output_is_used(lowering, node, 0);
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < (way == SLOW ? 200 : 1); i++)
        st = esker__emit(lowering,
                         &(esker__dispatch_desc){.kernel = "elementwise/map",
                                                 .defines = of_way[way],
                                                 .groups = {1, 1, 1},
                                                 .operands = {esker__read(lowering, node->inputs[0]),
                                                              esker__write(lowering, esker__output((esker_node *)node, 1))},
                                                 .n_operands = 2,
                                                 .params = params,
                                                 .n_params = 5});
    return st;
}

static const esker__op op_pair = {.name = "copying",
                                  .n_inputs = 1,
                                  .n_outputs = 2,
                                  .infer = infer_pair,
                                  .reference = reference_pair,
                                  .cost = cost,
                                  .lower = lower_pair};

static void all_outputs_count(void **state)
{
    (void)state;
    test_device();
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    for (int large = 0; large < 2; large++) {
        esker_graph *graph;
        esker_tune_summary sum;
        seen s = {.go_on = true};
        flops = large ? 1e12 : 100;
        usual = SLOW;
        n_first = 0;
        esker_device *dev = open_with(test_folder(large ? "tune-pair-usual" : "tune-pair-reference"));
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {100}});
        esker_node *y = esker__output(esker__record(&op_pair, NULL, &x, 1), 1);
        assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1},
                             &(esker_tune_desc){.result = look, .user = &s}, &sum));
        assert_int_equal(sum.n_tuned, 1);
        assert_int_equal(sum.n_left, 0);
        assert_int_equal(s.states[WRONG], ESKER_TUNE_WRONG);
        assert_int_equal(s.best, FAST);
        assert_int_equal(n_first, 0);
        esker_graph_destroy(graph);
        esker_device_unref(dev);
    }
}

/* Quarantined candidates do not even run. */
static void quarantined_candidates_are_out(void **state)
{
    (void)state;
    test_device();
    esker_tune_summary sum;
    esker_device *dev = open_with("");
    flops = 100;
    usual = SLOW;
    assert_ok(esker__kernel_quarantine(dev, "elementwise/map", "EXPR a + 0.01\nOPERANDS 1\nWG 64\n", "test"));
    seen s = tune(dev, false, ESKER_OK, &sum);
    assert_int_equal(s.states[WRONG], ESKER_TUNE_UNUSABLE);
    assert_int_equal(s.best, FAST);
    esker_device_unref(dev);
}

static void plans_tune_when_they_are_compiled(void **state)
{
    (void)state;
    test_device();
    esker_device *dev = open_with("");
    flops = 100;
    usual = SLOW;
    assert_int_equal(chosen(dev, 5), FAST);
    esker_device_unref(dev);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    esker_node *y;
    esker_graph *graph = record(&y);
    esker_plan_desc desc = {.outputs = &y, .n_outputs = 1};
    assert_fails(esker_tune(graph, &desc, NULL, NULL), ESKER_ERR_INVALID, "device");
    desc.device = test_device();
    assert_fails(esker_tune(graph, &desc, &(esker_tune_desc){.budget_seconds = -1}, NULL), ESKER_ERR_INVALID, "-1");
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_right_one_wins),
        cmocka_unit_test(a_wrong_default_is_out),
        cmocka_unit_test(all_outputs_count),
        cmocka_unit_test(quarantined_candidates_are_out),
        cmocka_unit_test(plans_tune_when_they_are_compiled),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
