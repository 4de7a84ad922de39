/* Convolution and pooling layers of all kinds: parameters, shapes, batches, and models of one axis as JSON. */
#include <stdio.h>
#include <stdlib.h>

#include <esker/model.h>
#include <esker/ops.h>
#include "support/test.h"

static void assert_param(esker_model *net, const char *name, esker_shape shape)
{
    char want[ESKER_SHAPE_TEXT_BYTES], got[ESKER_SHAPE_TEXT_BYTES];
    esker_params *params = esker_model_get_params(net);
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        if (strcmp(info.name, name) != 0) continue;
        assert_string_equal(esker_shape_text(&info.shape, got), esker_shape_text(&shape, want));
        return;
    }
    fail_msg("there is no parameter %s", name);
}

static void assert_instance(esker_model *net, int64_t batch, esker_shape shape)
{
    esker_graph *graph;
    esker_node *y;
    char want[ESKER_SHAPE_TEXT_BYTES], got[ESKER_SHAPE_TEXT_BYTES];
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = batch}, &graph, NULL, &y));
    assert_string_equal(esker_shape_text(esker_node_get_shape(y), got), esker_shape_text(&shape, want));
    esker_graph_destroy(graph);
}

static void images(void **state)
{
    (void)state;
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {4, 12, 10}});
    x = esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .groups = 2, .same = true});
    x = esker_layer_conv2d(net, x,
                           &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .groups = 6, .dilation = {2, 1}});
    x = esker_layer_conv_transpose2d(
        net, x,
        &(esker_layer_conv_transpose2d_desc){
            .filters = 8, .kernel = {3, 4}, .stride = {2, 2}, .padding = {1, 1}, .output_padding = {1, 0}, .groups = 2});
    x = esker_adaptive_avg_pool2d(esker_relu(x), (int[]){3, 5});
    assert_ok(esker_model_output(net, x));
    assert_param(net, "conv1.weight", (esker_shape){4, {6, 2, 3, 3}});
    assert_param(net, "conv1.bias", (esker_shape){1, {6}});
    assert_param(net, "conv2.weight", (esker_shape){4, {6, 1, 3, 3}});
    assert_param(net, "up1.weight", (esker_shape){4, {6, 4, 3, 4}});
    assert_param(net, "up1.bias", (esker_shape){1, {8}});
    esker_layer_info layer;
    assert_ok(esker_model_get_layer_info(net, 2, &layer));
    assert_string_equal(layer.kind, "conv_transpose2d");
    assert_true(esker_shape_equal(&layer.output_shape, &(esker_shape){3, {8, 16, 16}}));
    assert_instance(net, 1, (esker_shape){4, {1, 8, 3, 5}});
    assert_instance(net, 7, (esker_shape){4, {7, 8, 3, 5}});
    esker_model_destroy(net);
}

static void one_axis(void **state)
{
    (void)state;
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "signal", &(esker_shape){2, {3, 20}});
    x = esker_layer_conv1d(net, x, &(esker_layer_conv1d_desc){.filters = 4, .kernel = 5, .same = true});
    x = esker_layer_conv1d(net, esker_relu(x),
                           &(esker_layer_conv1d_desc){.filters = 8, .kernel = 3, .groups = 4, .no_bias = true});
    x = esker_layer_conv_transpose1d(
        net, x, &(esker_layer_conv_transpose1d_desc){.filters = 2, .kernel = 4, .stride = 2, .padding = 1, .name = "out"});
    assert_ok(esker_model_output(net, x));
    assert_param(net, "conv1.weight", (esker_shape){3, {4, 3, 5}});
    assert_param(net, "conv2.weight", (esker_shape){3, {8, 1, 3}});
    assert_param(net, "out.weight", (esker_shape){3, {8, 2, 4}});
    assert_param(net, "out.bias", (esker_shape){1, {2}});
    assert_int_equal(esker_params_count(esker_model_get_params(net)), 5);
    assert_instance(net, 1, (esker_shape){3, {1, 2, 36}});
    assert_instance(net, 5, (esker_shape){3, {5, 2, 36}});
    esker_model_destroy(net);
}

/* The same weights for every step of a sequence. */
static void linear_of_steps(void **state)
{
    (void)state;
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "steps", &(esker_shape){2, {6, 5}});
    assert_ok(esker_model_output(net, esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 3})));
    assert_param(net, "fc1.weight", (esker_shape){2, {3, 5}});
    assert_param(net, "fc1.bias", (esker_shape){1, {3}});
    assert_instance(net, 4, (esker_shape){3, {4, 6, 3}});
    esker_model_destroy(net);
}

static void refusals(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        static const char *const want[] = {
            "layer conv1, conv2d: groups: 3 do not divide 4 channels of the input and 6 filters",
            "layer conv1, conv1d: the input's samples are [4, 6, 5], [channels, length] are needed",
            "layer up1, conv_transpose2d: conv_transpose2d(float32 [1, 4, 6, 5], float32 [4, 2, 3, 3]): output_padding 1 "
            "of rows",
            "layer conv_transpose1d: desc is NULL, filters and kernel are needed",
            "layer conv1, conv2d: groups: -1 is not allowed",
        };
        esker_model *net;
        assert_ok(esker_model_create(&net));
        esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {4, 6, 5}});
        switch (i) {
        case 0:
            x = esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .groups = 3});
            break;
        case 1: x = esker_layer_conv1d(net, x, &(esker_layer_conv1d_desc){.filters = 6, .kernel = 3}); break;
        case 2:
            x = esker_layer_conv_transpose2d(
                net, x, &(esker_layer_conv_transpose2d_desc){.filters = 2, .kernel = {3, 3}, .output_padding = {1, 0}});
            break;
        case 3: x = esker_layer_conv_transpose1d(net, x, NULL); break;
        default:
            x = esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .groups = -1});
            break;
        }
        assert_null(x);
        assert_fails(esker_model_output(net, x), ESKER_ERR_INVALID, want[i]);
        esker_model_destroy(net);
    }
}

static void one_axis_as_json(void **state)
{
    (void)state;
    static const char text[] =
        "{\"name\": \"model\",\n \"input\": {\"name\": \"signal\", \"shape\": [4, 30]},\n \"layers\": [\n"
        "  {\"name\": \"conv1\", \"type\": \"conv1d\", \"filters\": 8, \"kernel\": 3, \"padding\": 2, \"dilation\": 2, "
        "\"groups\": 4},\n"
        "  {\"name\": \"pool1\", \"type\": \"max_pool1d\", \"window\": 3, \"stride\": 2, \"padding\": 1},\n"
        "  {\"name\": \"up1\", \"type\": \"conv_transpose1d\", \"filters\": 2, \"kernel\": 3, \"stride\": 2, "
        "\"output_padding\": 1},\n"
        "  {\"name\": \"pool2\", \"type\": \"avg_pool1d\", \"window\": 2, \"padding\": 1, \"exclude_padding\": true}],\n"
        " \"output\": \"pool2\"}\n";
    esker_model *net;
    char *got;
    esker_status st = esker_model_from_json(text, strlen(text), "text", &net);
    if (st == ESKER_ERR_UNSUPPORTED) skip(); /* built without libcjson */
    assert_ok(st);
    assert_ok(esker_model_to_json(net, &got));
    assert_string_equal(got, text);
    assert_instance(net, 3, (esker_shape){3, {3, 2, 17}});
    esker_text_free(got);
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(images), cmocka_unit_test(one_axis), cmocka_unit_test(refusals),
                                       cmocka_unit_test(linear_of_steps), cmocka_unit_test(one_axis_as_json)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
