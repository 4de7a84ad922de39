/* device test: plans take what tuning found, never what is quarantined, and the default otherwise. */
#include "support/test.h"

#include <stdio.h>

#include "plan/plan.h"

/* An op whose candidates multiply by 1, 2 and 3, so that a result tells which was taken. */
static int usual;

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

static const char *const names[] = {"one", "two", "three"};
static const char *const defines[] = {"EXPR a\nOPERANDS 1\nWG 32\n", "EXPR a * 2.0\nOPERANDS 1\nWG 32\n",
                                      "EXPR a * 3.0\nOPERANDS 1\nWG 32\n"};

static esker_status emit(esker__lowering *lowering, int way, esker__operand from, esker__operand to, uint32_t n)
{
    const uint32_t params[] = {n, 1, 1, 1, 1};
    return esker__emit(lowering, &(esker__dispatch_desc){.kernel = "elementwise/map",
                                                         .defines = defines[way],
                                                         .groups = {1, 1, 1},
                                                         .operands = {from, to},
                                                         .n_operands = 2,
                                                         .params = params,
                                                         .n_params = 5});
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    char problem[32];
    snprintf(problem, sizeof problem, "scale n=%d", (int)esker__elems(&node->type.shape));
    int way = esker__choose(lowering, problem, names, 3, usual);
    return emit(lowering, way, esker__read(lowering, node->inputs[0]), esker__write(lowering, node),
                (uint32_t)esker__elems(&node->type.shape));
}

static const esker__op op_scale = {.name = "scale", .n_inputs = 1, .n_outputs = 1, .infer = infer, .lower = lower};

/* The candidate that a plan on `dev` chose. */
static int chosen(esker_device *dev)
{
    esker_plan *plan;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {8}});
    esker_node *y = esker__record(&op_scale, NULL, (esker_node *[]){x}, 1);
    esker_plan_desc desc = {.device = dev, .outputs = &y, .n_outputs = 1};
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    esker_graph_destroy(graph);
    assert_int_equal(plan->n_choices, 1);
    assert_int_equal(plan->dispatches[0].choice, 0);
    const esker__plan_choice *choice = &plan->choices[0];
    assert_string_equal(plan->kernels[plan->dispatches[0].kernel].defines, defines[choice->chosen]);
    assert_string_equal(choice->problem, "scale n=8");
    assert_int_equal(choice->usual, usual);
    int which = choice->chosen;
    esker_plan_destroy(plan);
    return which;
}

static void quarantine(esker_device *dev, int candidate, bool on)
{
    if (on)
        assert_ok(esker__kernel_quarantine(dev, "elementwise/map", defines[candidate], "test"));
    else
        esker__kernel_release(dev, "elementwise/map", defines[candidate]);
}

static void nothing_is_left(esker_device *dev)
{
    esker_plan *plan;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {8}});
    esker_node *y = esker__record(&op_scale, NULL, (esker_node *[]){x}, 1);
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan),
                 ESKER_ERR_UNSUPPORTED, "scale: the kernel elementwise/map with EXPR a");
    assert_null(plan);
    esker_graph_destroy(graph);
}

static void who_decides(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = ""}, &dev));
    usual = 1;
    assert_int_equal(chosen(dev), 1);
    assert_ok(esker__tuning_put(dev, "scale n=8", "three", 1e-6));
    assert_int_equal(chosen(dev), 2);
    assert_ok(esker__tuning_put(dev, "scale n=8", "a name of another release", 1e-6));
    assert_int_equal(chosen(dev), 1);
    assert_ok(esker__tuning_put(dev, "scale n=8", "three", 1e-6));
    setenv("ESKER_VARIANT", "tiled,one", 1);
    assert_int_equal(chosen(dev), 0);
    unsetenv("ESKER_VARIANT");

    /* The quarantine comes before all: then the default, then what is left. */
    quarantine(dev, 2, true);
    assert_int_equal(chosen(dev), 1);
    setenv("ESKER_VARIANT", "three", 1);
    assert_int_equal(chosen(dev), 1);
    unsetenv("ESKER_VARIANT");
    quarantine(dev, 1, true);
    assert_int_equal(chosen(dev), 0);
    /* All are wrong: the plan ends its search, and says so. */
    quarantine(dev, 0, true);
    nothing_is_left(dev);
    quarantine(dev, 1, false);
    assert_int_equal(chosen(dev), 1);
    quarantine(dev, 2, false);
    assert_int_equal(chosen(dev), 2);
    esker_device_unref(dev);
}

/* By 1 and then by 2, in two dispatches, or by 3 in one. */
static esker_status lower_in_one_or_two(esker__lowering *lowering, const esker_node *node)
{
    static const char *const ways[] = {"two", "one"};
    uint32_t n = (uint32_t)esker__elems(&node->type.shape);
    esker__operand x = esker__read(lowering, node->inputs[0]), y = esker__write(lowering, node);
    if (esker__choose(lowering, "one or two", ways, 2, 0) == 1) return emit(lowering, 2, x, y, n);
    esker__operand between = {.value = esker__scratch(lowering, n * 4)}, to = between;
    to.write = true;
    esker_status st = emit(lowering, 0, x, to, n);
    return st == ESKER_OK ? emit(lowering, 1, between, y, n) : st;
}

static const esker__op op_one_or_two = {
    .name = "one_or_two", .n_inputs = 1, .n_outputs = 1, .infer = infer, .lower = lower_in_one_or_two};

/* Where all candidates are wrong, it is the one with the fewest wrong kernels that is complained of. */
static void the_least_wrong_is_named(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = ""}, &dev));
    for (int i = 0; i < 3; i++) quarantine(dev, i, true);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {8}});
    esker_node *y = esker__record(&op_one_or_two, NULL, (esker_node *[]){x}, 1);
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan),
                 ESKER_ERR_UNSUPPORTED, "EXPR a * 3.0");
    esker_graph_destroy(graph);
    esker_device_unref(dev);
}

static void without_a_device_the_default(void **state)
{
    (void)state;
    usual = 2;
    assert_int_equal(chosen(NULL), 2);
    usual = 0;
    assert_int_equal(chosen(NULL), 0);
}

static void wrong_questions_are_internal_errors(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {8}});
    esker_node *y = esker__record(&op_scale, NULL, (esker_node *[]){x}, 1);
    usual = 3;
    esker_plan_desc desc = {.outputs = &y, .n_outputs = 1};
    assert_fails(esker_plan_compile(graph, &desc, &plan), ESKER_ERR_INTERNAL, "3 candidates, usually 3");
    usual = 0;
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_decides),
        cmocka_unit_test(the_least_wrong_is_named),
        cmocka_unit_test(without_a_device_the_default),
        cmocka_unit_test(wrong_questions_are_internal_errors),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
