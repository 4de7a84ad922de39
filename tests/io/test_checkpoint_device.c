/* device test: weights leave and enter a model whose parameters live on the device. */
#include <esker/checkpoint.h>
#include <esker/plan.h>

#include <stdio.h>

#include "support/test.h"

enum { BATCH = 3, PIXELS = 2 * 9 * 7, CLASSES = 5 };

static esker_model *new_model(void)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {2, 9, 7}});
    x = esker_relu(
        esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 4, .kernel = {3, 3}, .stride = {2, 1}}));
    x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = CLASSES});
    assert_ok(esker_model_output(net, x));
    return net;
}

static esker_plan *new_plan(esker_model *net)
{
    esker_graph *graph;
    esker_node *output;
    esker_plan *plan;
    assert_ok(esker_model_instantiate(
        net, &(esker_instance_desc){.batch = BATCH, .mode = ESKER_MODE_INFER, .input_dtype = ESKER_DTYPE_U8}, &graph, NULL,
        &output));
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &output, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    return plan;
}

static void run(esker_plan *plan, float out[BATCH * CLASSES])
{
    uint8_t bytes[BATCH * PIXELS];
    uint64_t ticket;
    for (int i = 0; i < BATCH * PIXELS; i++) bytes[i] = (uint8_t)(i * 89 + i / 7);
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "image"), bytes, sizeof bytes));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, out, BATCH * CLASSES * sizeof *out));
}

static void weights_pass_through_a_file(void **state)
{
    (void)state;
    test_device();
    char path[512];
    float first[BATCH * CLASSES], other[BATCH * CLASSES], again[BATCH * CLASSES];
    snprintf(path, sizeof path, "%s/a.safetensors", test_folder("checkpoint_device"));

    esker_model *net = new_model();
    assert_ok(esker_params_init_values(esker_model_get_params(net), 5));
    esker_plan *plan = new_plan(net);
    run(plan, first);
    assert_ok(esker_model_save(net, path));

    /* Other weights give other numbers; the file brings the first ones back, to the bit. */
    assert_ok(esker_params_init_values(esker_model_get_params(net), 6));
    run(plan, other);
    assert_memory_not_equal(first, other, sizeof first);
    assert_ok(esker_model_load_weights(net, path));
    run(plan, again);
    assert_memory_equal(first, again, sizeof first);
    esker_plan_destroy(plan);
    esker_model_destroy(net);

    /* And so does a model that is made of the file alone. */
    assert_ok(esker_model_load(path, &net));
    plan = new_plan(net);
    run(plan, again);
    assert_memory_equal(first, again, sizeof first);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(weights_pass_through_a_file)};
#ifndef ESKER_HAVE_CJSON
    return 77; /* nothing can be loaded: skipped */
#endif
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
