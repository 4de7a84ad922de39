/* Embedding, prelu, and operations along an axis as layers: their values against the formulas, their starts, JSON, and refusals. Needs no device. */
#include "nn/sequence.h"

#include <math.h>
#include <stdio.h>

#define BATCH 3

static void embedding_looks_rows_up(void **state)
{
    (void)state;
    esker_model *net = model_from(
        "{\"input\": {\"shape\": [7]}, \"layers\": [{\"type\": \"affine\", \"scale\": 4, \"shift\": 1.5}, "
        "{\"type\": \"clamp\", \"lo\": 0, \"hi\": 4.9}, "
        "{\"name\": \"tokens\", \"type\": \"embedding\", \"rows\": 5, \"features\": 3}]}");
    sequence_run run;
    run_model(net, BATCH, &run);
    assert_true(esker_shape_equal(&run.y_shape, &(esker_shape){3, {BATCH, 7, 3}}));
    const double *weight = parameter_values(&run, "tokens.weight", 15);
    bool seen[5] = {false};
    for (int i = 0; i < BATCH * 7; i++) {
        int row = (int)fmin(fmax(4 * run.x[i] + 1.5, 0), 4.9);
        seen[row] = true;
        assert_doubles(run.y + 3 * i, weight + 3 * row, 3);
    }
    assert_true(seen[0] + seen[1] + seen[2] + seen[3] + seen[4] >= 3);
    finish_run(&run);
    esker_model_destroy(net);
}

static void prelu_is(const char *keys, int64_t n_slopes)
{
    char json[300];
    snprintf(json, sizeof json, "{\"input\": {\"shape\": [4, 2, 3]}, \"layers\": [{\"type\": \"prelu\"%s}]}", keys);
    esker_model *net = model_from(json);
    sequence_run run;
    run_model(net, BATCH, &run);
    const double *slope = parameter_values(&run, "prelu1.weight", n_slopes);
    for (int i = 0; i < BATCH * 24; i++) {
        double factor = run.x[i] < 0 ? slope[n_slopes > 1 ? i / 6 % 4 : 0] : 1;
        assert_doubles(run.y + i, &(double){factor * run.x[i]}, 1);
    }
    finish_run(&run);
    esker_model_destroy(net);
}

static void prelu_learns_its_slopes(void **state)
{
    (void)state;
    prelu_is("", 1);
    prelu_is(", \"per_channel\": true", 4);
}

static void start_as_in_pytorch(void **state)
{
    (void)state;
    enum { ROWS = 200, WIDTH = 50 };
    esker_model *net;
    static float values[ROWS * WIDTH];
    double sum = 0, squares = 0;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {4}});
    x = esker_layer_embedding(net, x, &(esker_layer_embedding_desc){.rows = ROWS, .features = WIDTH});
    x = esker_layer_prelu(net, x, NULL);
    x = esker_layer_prelu(net, x, &(esker_layer_prelu_desc){.per_channel = true, .start = 0.5f, .name = "last"});
    assert_ok(esker_model_output(net, x));
    esker_params *params = esker_model_get_params(net);
    assert_ok(esker_params_init_values(params, test_seed()));
    assert_ok(esker_params_read(params, esker_params_find(params, "embedding1.weight"), values, ROWS * WIDTH));
    for (int i = 0; i < ROWS * WIDTH; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    /* Five standard deviations of the mean and of the mean square of 10000 draws. */
    assert_true(fabs(sum / (ROWS * WIDTH)) < 0.05 && fabs(squares / (ROWS * WIDTH) - 1) < 0.071);
    assert_ok(esker_params_read(params, esker_params_find(params, "prelu1.weight"), values, 1));
    assert_true(values[0] == 0.25f);
    assert_ok(esker_params_read(params, esker_params_find(params, "last.weight"), values, 4));
    for (int i = 0; i < 4; i++) assert_true(values[i] == 0.5f);
    esker_model_destroy(net);
}

/* Weights that learn: a gradient reaches both, through the rounding of the indices. */
static void gradients_reach_the_parameters(void **state)
{
    (void)state;
    esker_model *net;
    esker_graph *graph;
    esker_node *y, *wrt[2], *grads[2];
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {4}});
    x = esker_layer_embedding(net, x, &(esker_layer_embedding_desc){.rows = 6, .features = 5});
    assert_ok(esker_model_output(net, esker_layer_prelu(net, x, NULL)));
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = 2}, &graph, NULL, &y));
    wrt[0] = esker_parameter(graph, &(esker_param_desc){.name = "embedding1.weight", .shape = {2, {6, 5}}});
    wrt[1] = esker_parameter(graph, &(esker_param_desc){.name = "prelu1.weight", .shape = {1, {1}}});
    assert_ok(esker_gradients(esker_sum(y, NULL, 0, false), wrt, 2, grads));
    for (int i = 0; i < 2; i++) {
        assert_true(esker_shape_equal(esker_node_get_shape(grads[i]), esker_node_get_shape(wrt[i])));
        assert_ptr_not_equal(grads[i]->op, &esker__op_full);
    }
    esker_graph_destroy(graph);
    esker_model_destroy(net);
}

static void tied_weights_are_one(void **state)
{
    (void)state;
    esker_model *net = model_from(
        "{\"input\": {\"shape\": [4]}, \"layers\": [{\"name\": \"head\", \"type\": \"tied_linear\", \"bias\": true, "
        "\"inputs\": [\"tanh1\", \"tokens\"]}, {\"name\": \"tokens\", \"type\": \"embedding\", \"input\": \"input\", "
        "\"rows\": 5, "
        "\"features\": 3}, {\"type\": \"tanh\", \"input\": \"tokens\"}], \"output\": \"head\"}");
    assert_int_equal(esker_params_count(esker_model_get_params(net)), 2);
    esker_model_info info;
    esker_model_get_info(net, &info);
    assert_int_equal(info.n_parameters, 5 * 3 + 5);
    sequence_run run;
    run_model(net, BATCH, &run);
    assert_true(esker_shape_equal(&run.y_shape, &(esker_shape){3, {BATCH, 4, 5}}));
    const double *weight = parameter_values(&run, "tokens.weight", 15), *bias = parameter_values(&run, "head.bias", 5);
    for (int i = 0; i < BATCH * 4; i++) /* all of |x| < 1 is row 0 */
        for (int row = 0; row < 5; row++) {
            double want = bias[row];
            for (int k = 0; k < 3; k++) want += tanh(weight[k]) * weight[3 * row + k];
            assert_doubles(&run.y[5 * i + row], &want, 1);
        }
    finish_run(&run);
    esker_model_destroy(net);
}

/* y of one layer of kind `keys` on x [2, 4, 6] with y of shape `want`. */
static void run_kind(const char *layers, const esker_shape *want, sequence_run *run, esker_model **out)
{
    char json[500];
    snprintf(json, sizeof json, "{\"input\": {\"shape\": [2, 4, 6]}, \"layers\": [%s]}", layers);
    *out = model_from(json);
    run_model(*out, BATCH, run);
    assert_true(esker_shape_equal(&run->y_shape, want));
}

static void operations_along_an_axis(void **state)
{
    (void)state;
    sequence_run run;
    esker_model *net;
    const esker_shape same = {4, {BATCH, 2, 4, 6}}, joined = {4, {BATCH, 4, 4, 6}}, sized = {4, {BATCH, 2, 8, 3}};
    run_kind("{\"type\": \"flip\", \"axis\": -1}", &same, &run, &net);
    for (int i = 0; i < BATCH * 48; i++) assert_true(run.y[i] == run.x[i / 6 * 6 + 5 - i % 6]);
    finish_run(&run);
    esker_model_destroy(net);
    run_kind("{\"type\": \"cumsum\", \"axis\": 2}", &same, &run, &net);
    for (int i = 0; i < BATCH * 48; i++) {
        double sum = 0;
        for (int k = i; k >= i / 24 * 24; k -= 6) sum += run.x[k];
        assert_doubles(&run.y[i], &sum, 1);
    }
    finish_run(&run);
    esker_model_destroy(net);
    run_kind("{\"type\": \"neg\"}, {\"type\": \"concat\", \"inputs\": [\"neg1\", \"input\"]}", &joined, &run, &net);
    for (int i = 0; i < BATCH * 96; i++) {
        int half = i / 48 % 2, from = i / 96 * 48 + i % 48;
        assert_true(run.y[i] == (half ? run.x[from] : -run.x[from]));
    }
    finish_run(&run);
    esker_model_destroy(net);
    run_kind("{\"type\": \"resize2d\", \"size\": [8, 3]}", &sized, &run, &net);
    for (int i = 0; i < BATCH * 48; i++) assert_true(run.y[i] == run.x[i / 24 * 24 + i / 3 % 8 / 2 * 6 + i % 3 * 2]);
    finish_run(&run);
    esker_model_destroy(net);
    run_kind("{\"type\": \"resize2d\", \"size\": [8, 3], \"mode\": \"bilinear\"}", &sized, &run, &net);
    assert_doubles(&run.y[0], &(double){0.5 * (run.x[0] + run.x[1])}, 1); /* row -0.25 is row 0, column 0.5 */
    finish_run(&run);
    esker_model_destroy(net);
}

/* Recorded by hand they are the same layers, but for those that mix samples. */
static void operations_by_hand_are_layers(void **state)
{
    (void)state;
    esker_model *net;
    char *text;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){3, {2, 4, 6}});
    x = esker_cumsum(esker_flip(x, 3), -2);
    x = esker_concat((esker_node *[]){x, esker_neg(x)}, 2, 2);
    assert_ok(esker_model_output(net, esker_resize2d(x, 4, 5, ESKER_RESIZE_BILINEAR)));
    assert_ok(esker_model_to_json(net, &text));
    static const char *const parts[] = {"\"flip\", \"axis\": 3", "\"cumsum\", \"axis\": 2", "\"concat\", \"inputs\": [",
                                        "\"axis\": 2}", "\"resize2d\", \"size\": [4, 5], \"mode\": \"bilinear\""};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strstr(text, parts[i])) fail_msg("%s lacks %s", text, parts[i]);
    esker_text_free(text);
    esker_model_destroy(net);
    assert_ok(esker_model_create(&net));
    x = esker_model_input(net, "x", &(esker_shape){1, {2}});
    assert_ok(esker_model_output(net, esker_flip(x, 0)));
    assert_fails(esker_model_to_json(net, &text), ESKER_ERR_UNSUPPORTED, "flip");
    esker_model_destroy(net);
}

static void refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part;
    } rows[] = {
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"embedding\", \"rows\": 5}]}", "\"features\" is missing"},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"embedding\", \"rows\": 0, \"features\": 2}]}",
         "\"rows\""},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"embedding\", \"rows\": 16777217, \"features\": 2}]}",
         "float32 indices tell 16777216 apart"},
        {"{\"input\": {\"shape\": []}, \"layers\": [{\"type\": \"prelu\", \"per_channel\": true}]}", "slope per channel"},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"prelu\", \"start\": \"x\"}]}", "\"start\""},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"flip\", \"axis\": 0}]}", "axis 0 is the batch"},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"cumsum\", \"axis\": -2}]}", "axis 0 is the batch"},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"cumsum\", \"axis\": 2}]}",
         "layer cumsum1, cumsum: axis: 2, the input's samples have axes 1 to 1"},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"concat\", \"axis\": 0, \"inputs\": [\"input\", "
         "\"input\"]}]}",
         "axis 0 is the batch"},
        {"{\"input\": {\"shape\": [4]}, \"layers\": [{\"type\": \"resize2d\", \"size\": 3}]}",
         "float32 [n, c, h, w] is needed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_model *net;
        esker_status st = esker_model_from_json(rows[i].json, strlen(rows[i].json), "test", &net);
        assert_true(st != ESKER_OK);
        assert_null(net);
        if (!strstr(esker_last_error(), rows[i].part)) fail_msg("\"%s\" lacks \"%s\"", esker_last_error(), rows[i].part);
    }
    esker_model *net;
    for (int i = 0; i < 2; i++) {
        assert_ok(esker_model_create(&net));
        esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {4}}), *relu = esker_relu(x);
        if (i) relu = esker_layer_prelu(net, x, NULL);
        assert_null(esker_layer_tied_linear(net, x, relu, NULL));
        assert_fails(esker_model_status(net), ESKER_ERR_INVALID,
                     i ? "prelu1.weight is [1], [features, inputs] is needed" : "relu, is no layer with a weight");
        esker_model_destroy(net);
    }
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {4}});
    assert_null(esker_layer_embedding(net, x, NULL));
    assert_fails(esker_model_status(net), ESKER_ERR_INVALID, "layer embedding: desc is NULL");
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedding_looks_rows_up),
        cmocka_unit_test(prelu_learns_its_slopes),
        cmocka_unit_test(start_as_in_pytorch),
        cmocka_unit_test(tied_weights_are_one),
        cmocka_unit_test(gradients_reach_the_parameters),
        cmocka_unit_test(operations_along_an_axis),
        cmocka_unit_test(operations_by_hand_are_layers),
        cmocka_unit_test(refuse_what_does_not_fit),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
