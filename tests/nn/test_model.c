/* Models: layers, sticky errors, listings, instances. Needs no device. */
#include <esker/model.h>

#include <math.h>
#include <stdio.h>

#include "nn/model.h"
#include "support/test.h"

static esker_model *new_model(void)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    return net;
}

/* conv, relu, pool, flatten, linear on [2, 8, 6]. */
static esker_model *small_model(void)
{
    esker_model *net = new_model();
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {2, 8, 6}});
    x = esker_relu(
        esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 4, .kernel = {3, 3}, .padding = {1, 1}}));
    x = esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}});
    x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 5});
    assert_ok(esker_model_output(net, x));
    return net;
}

static void lists_layers_and_plain_operations(void **state)
{
    static const struct {
        const char *name, *kind;
        int64_t n_parameters;
        esker_shape shape;
        double flops; /* those that no operation may count otherwise; 0: not checked */
    } want[] = {{"conv1", "conv2d", 4 * 2 * 9 + 4, {3, {4, 8, 6}}, 0},
                {"relu1", "relu", 0, {3, {4, 8, 6}}, 192},
                {"pool1", "max_pool2d", 0, {3, {4, 4, 3}}, 0},
                {"flatten1", "flatten", 0, {1, {48}}, 0},
                {"fc1", "linear", 48 * 5 + 5, {1, {5}}, 0}};
    (void)state;
    esker_model *net = small_model();
    esker_model_info info;
    esker_model_get_info(net, &info);
    assert_string_equal(info.name, "model");
    assert_string_equal(info.input_name, "image");
    assert_true(esker_shape_equal(&info.input_shape, &(esker_shape){3, {2, 8, 6}}));
    assert_true(esker_shape_equal(&info.output_shape, &(esker_shape){1, {5}}));
    assert_int_equal(info.n_layers, 5);
    assert_int_equal(info.n_parameters, 76 + 245);
    double flops = 0;
    for (int i = 0; i < 5; i++) {
        esker_layer_info layer;
        assert_ok(esker_model_get_layer_info(net, i, &layer));
        assert_string_equal(layer.name, want[i].name);
        assert_string_equal(layer.kind, want[i].kind);
        assert_int_equal(layer.n_parameters, want[i].n_parameters);
        assert_true(esker_shape_equal(&layer.output_shape, &want[i].shape));
        if (want[i].flops > 0) assert_true(layer.flops == want[i].flops);
        flops += layer.flops;
    }
    assert_true(info.flops == flops);
    /* Two flops for each product: 192 results of 18 terms, 5 of 48; the rest is at most a few for each element. */
    assert_true(flops >= 2 * 192 * 18 + 2 * 48 * 5 && flops < 2 * 192 * 18 + 2 * 48 * 5 + 2000);
    esker_layer_info layer;
    assert_fails(esker_model_get_layer_info(net, 5, &layer), ESKER_ERR_INVALID, "layer 5 of 5");
    assert_fails(esker_model_get_layer_info(net, -1, &layer), ESKER_ERR_INVALID, "layer -1 of 5");
    esker_model_destroy(net);
}

static void parameters_are_named_and_started_as_in_pytorch(void **state)
{
    static const struct {
        const char *name;
        esker_shape shape;
        double bound; /* 1 / sqrt(fan_in) */
    } want[] = {{"conv1.weight", {4, {4, 2, 3, 3}}, 0.23570226},
                {"conv1.bias", {1, {4}}, 0.23570226},
                {"fc1.weight", {2, {5, 48}}, 0.14433757},
                {"fc1.bias", {1, {5}}, 0.14433757}};
    (void)state;
    esker_model *net = small_model();
    esker_params *params = esker_model_get_params(net);
    assert_int_equal(esker_params_count(params), 4);
    for (int i = 0; i < 4; i++) {
        float values[240], largest = 0;
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_string_equal(info.name, want[i].name);
        assert_true(esker_shape_equal(&info.shape, &want[i].shape));
        assert_ok(esker_params_read(params, i, values, info.n_elems));
        for (int64_t k = 0; k < info.n_elems; k++) largest = fmaxf(largest, fabsf(values[k]));
        assert_true(largest <= want[i].bound * 1.000001);
        assert_true(largest >= want[i].bound * 0.2); /* four draws below a fifth: one seed in 600, and it is fixed */
    }
    esker_model_destroy(net);
}

static void init_kinds_reach_weights_and_leave_biases_zero(void **state)
{
    static const struct {
        esker_layer_init init;
        double lo, hi;                                                /* the largest magnitude among 64 x 24 weights */
    } cases[] = {{ESKER_LAYER_INIT_HE_UNIFORM, 0.45, 0.50000006},     /* sqrt(6 / 24) */
                 {ESKER_LAYER_INIT_XAVIER_UNIFORM, 0.24, 0.26111648}, /* sqrt(6 / 88) */
                 {ESKER_LAYER_INIT_HE_NORMAL, 0.75, 1.6},             /* deviation 0.289: 2.6 to 5.5 of it */
                 {ESKER_LAYER_INIT_XAVIER_NORMAL, 0.39, 0.83},        /* deviation 0.151 */
                 {ESKER_LAYER_INIT_ZEROS, 0, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_model *net = new_model();
        esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {24}});
        x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 64, .init = cases[i].init});
        assert_ok(esker_model_output(net, x));
        float weight[64 * 24], bias[64], largest = 0;
        assert_ok(esker_params_read(esker_model_get_params(net), 0, weight, 64 * 24));
        assert_ok(esker_params_read(esker_model_get_params(net), 1, bias, 64));
        for (int k = 0; k < 64 * 24; k++) largest = fmaxf(largest, fabsf(weight[k]));
        for (int k = 0; k < 64; k++) assert_true(bias[k] == 0);
        assert_true(largest >= cases[i].lo && largest <= cases[i].hi);
        esker_model_destroy(net);
    }
}

/* ---- Errors ---- */

static void finish_no_input(esker_model *net)
{
    (void)net;
}

static esker_node *image(esker_model *net)
{
    return esker_model_input(net, "image", &(esker_shape){3, {1, 8, 8}});
}

static void finish_null(esker_model *net)
{
    image(net);
}

static void conv_after_flatten(esker_model *net)
{
    esker_model_output(net, esker_layer_conv2d(net, esker_flatten(image(net)),
                                               &(esker_layer_conv2d_desc){.filters = 2, .kernel = {3, 3}, .name = "late"}));
}

static void linear_without_flatten(esker_model *net)
{
    esker_model_output(net, esker_layer_linear(net, image(net), &(esker_layer_linear_desc){.features = 2}));
}

static void kernel_larger_than_image(esker_model *net)
{
    esker_model_output(net,
                       esker_layer_conv2d(net, image(net), &(esker_layer_conv2d_desc){.filters = 2, .kernel = {9, 3}}));
}

static void no_filters(esker_model *net)
{
    esker_model_output(net,
                       esker_layer_conv2d(net, image(net), &(esker_layer_conv2d_desc){.kernel = {3, 3}, .name = "none"}));
}

static void negative_features(esker_model *net)
{
    esker_model_output(net, esker_layer_linear(net, esker_flatten(image(net)), &(esker_layer_linear_desc){.features = -3}));
}

static void unknown_init(esker_model *net)
{
    esker_model_output(net, esker_layer_linear(net, esker_flatten(image(net)),
                                               &(esker_layer_linear_desc){.features = 3, .init = (esker_layer_init)9}));
}

static void null_desc(esker_model *net)
{
    esker_model_output(net, esker_layer_linear(net, esker_flatten(image(net)), NULL));
}

static void same_name_twice(esker_model *net)
{
    esker_layer_linear_desc desc = {.features = 4, .name = "fc"};
    esker_model_output(net, esker_layer_linear(net, esker_layer_linear(net, esker_flatten(image(net)), &desc), &desc));
}

static void name_of_the_input(esker_model *net)
{
    esker_model_output(net, esker_layer_linear(net, esker_flatten(image(net)),
                                               &(esker_layer_linear_desc){.features = 4, .name = "image"}));
}

static void name_with_newline(esker_model *net)
{
    esker_model_output(
        net, esker_layer_linear(net, esker_flatten(image(net)), &(esker_layer_linear_desc){.features = 4, .name = "a\nb"}));
}

static void name_not_utf8(esker_model *net)
{
    esker_model_output(net, esker_layer_linear(net, esker_flatten(image(net)),
                                               &(esker_layer_linear_desc){.features = 4, .name = "\xc3("}));
}

static void two_inputs(esker_model *net)
{
    image(net);
    esker_model_output(net, image(net));
}

static void input_of_six_axes(esker_model *net)
{
    esker_model_output(net, esker_model_input(net, "deep", &(esker_shape){6, {1, 1, 1, 1, 1, 1}}));
}

static void first_failure_is_kept(esker_model *net)
{
    esker_node *x = esker_flatten(image(net));
    esker_node *bad = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 0, .name = "first"});
    assert_null(esker_layer_linear(net, bad, &(esker_layer_linear_desc){.features = 0, .name = "second"}));
    esker_model_output(net, x);
}

static void unused_parameters(esker_model *net)
{
    esker_node *x = esker_flatten(image(net));
    esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 3, .name = "aside"});
    esker_model_output(net, esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 3}));
}

static void classes_do_not_fit(esker_model *net)
{
    static const char *const names[] = {"a", "b", "c"};
    assert_ok(esker_model_set_classes(net, names, 3));
    esker_model_output(net, esker_layer_linear(net, esker_flatten(image(net)), &(esker_layer_linear_desc){.features = 2}));
}

static void no_batch_in_front(esker_model *net)
{
    esker_model_output(net, esker_sum(image(net), NULL, 0, false));
}

static void output_twice(esker_model *net)
{
    esker_node *x = esker_relu(image(net));
    assert_ok(esker_model_output(net, x));
    assert_fails(esker_model_output(net, x), ESKER_ERR_INVALID, "an output already");
    esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 2, .name = "late"});
}

static const struct failure {
    const char *name;
    void (*record)(esker_model *net);
    const char *message;
} failures[] = {
    {"no input", finish_no_input, "model model: no input"},
    {"NULL output", finish_null, "the output is NULL"},
    {"conv2d of two axes", conv_after_flatten,
     "layer late, conv2d: the input's samples are [64], [channels, height, width] are"},
    {"linear of four axes", linear_without_flatten,
     "layer fc1, linear: the input's samples are [1, 8, 8], [features] or [steps, features] are"},
    {"a kernel larger than the image", kernel_larger_than_image, "layer conv1, conv2d: conv2d(float32 [1, 1, 8, 8]"},
    {"no filters", no_filters, "layer none, conv2d: filters: 0 is not allowed, an integer from 1 to 2147483647 is"},
    {"negative features", negative_features, "layer fc1, linear: features: -3 is not allowed"},
    {"unknown initialisation", unknown_init, "init: 9 is not allowed, one of \"default\", \"he_uniform\""},
    {"NULL description", null_desc, "layer linear: desc is NULL"},
    {"one name twice", same_name_twice, "layer fc, linear: there is a layer or input of that name already"},
    {"the input's name", name_of_the_input, "layer image, linear: there is a layer or input of that name already"},
    {"a control character", name_with_newline, "the name has the control character 10"},
    {"not UTF-8", name_not_utf8, "the name is not UTF-8"},
    {"two inputs", two_inputs, "model input: there is one already, image"},
    {"an input of too many axes", input_of_six_axes, "model input deep: rank 6 without the batch, 0 to 5"},
    {"the first failure is the one told", first_failure_is_kept, "layer first, linear: features: 0"},
    {"parameters aside", unused_parameters, "layer aside has parameters but does not lead to the output"},
    {"class names", classes_do_not_fit, "model model: 3 class names for an output of [2]"},
    {"a result without the batch", no_batch_in_front, "the output [] has no batch axis in front"},
    {"a layer after the output", output_twice, "layer late, linear: a layer after esker_model_output()"},
};

static void errors_stick_and_say_which_layer(void **state)
{
    const struct failure *c = *state;
    esker_model *net = new_model();
    esker_graph *graph;
    c->record(net);
    /* Those that finish themselves have their failure kept; the others fail here. */
    esker_status st = esker_model_status(net);
    if (st == ESKER_OK) st = esker_model_output(net, NULL);
    assert_fails(st, ESKER_ERR_INVALID, c->message);
    assert_fails(esker_model_instantiate(net, &(esker_instance_desc){.batch = 1}, &graph, NULL, NULL), ESKER_ERR_INVALID,
                 c->message);
    assert_null(graph);
    esker_model_destroy(net);
}

/* ---- Instances ---- */

static void instances_share_parameters_at_every_batch(void **state)
{
    static const int64_t batches[] = {1, 3, 64, 127};
    (void)state;
    esker_model *net = small_model();
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        for (int bytes = 0; bytes < 2; bytes++) {
            esker_graph *graph;
            esker_node *input, *output;
            esker_instance_desc desc = {.batch = batches[i],
                                        .mode = bytes ? ESKER_MODE_INFER : ESKER_MODE_TRAIN,
                                        .input_dtype = bytes ? ESKER_DTYPE_U8 : ESKER_DTYPE_F32};
            assert_ok(esker_model_instantiate(net, &desc, &graph, &input, &output));
            assert_ok(esker_graph_status(graph));
            for (size_t k = 0; k < graph->n_nodes; k++)
                if (strcmp(graph->nodes[k]->op->name, "matmul") == 0) assert_string_equal(graph->nodes[k]->label, "fc1");
            assert_true(esker_shape_equal(esker_node_get_shape(input), &(esker_shape){4, {batches[i], 2, 8, 6}}));
            assert_true(esker_shape_equal(esker_node_get_shape(output), &(esker_shape){2, {batches[i], 5}}));
            assert_int_equal(esker_node_get_dtype(input), desc.input_dtype);
            assert_int_equal(esker_node_get_dtype(output), ESKER_DTYPE_F32);
            assert_ptr_equal(esker_graph_get_params(graph), esker_model_get_params(net));
            assert_int_equal(esker_params_count(esker_graph_get_params(graph)), 4);
            esker_graph_destroy(graph);
        }
    }
    esker_model_destroy(net);
}

static int id_of_input(const esker_graph *graph)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i]->op == &esker__op_input) return (int)i;
    return -1;
}

/* The value of an instance by the double reference, with `pixels` as its input. */
static void evaluate(esker_model *net, const esker_instance_desc *desc, const double *pixels, double *out, size_t n_out)
{
    esker_graph *graph;
    esker_node *output;
    double **values = NULL, *parameters[4] = {NULL};
    assert_ok(esker_model_instantiate(net, desc, &graph, NULL, &output));
    const double **given = calloc(graph->n_nodes, sizeof *given);
    assert_non_null(given);
    given[id_of_input(graph)] = pixels;
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const esker_node *node = graph->nodes[i];
        if (node->op != &esker__op_parameter) continue;
        int index = ((const esker__parameter_attr *)node->attr)->index;
        float host[512];
        esker_param_info info;
        assert_ok(esker_params_get_info(graph->params, index, &info));
        assert_ok(esker_params_read(graph->params, index, host, info.n_elems));
        parameters[index] = calloc((size_t)info.n_elems, sizeof(double));
        assert_non_null(parameters[index]);
        for (int64_t k = 0; k < info.n_elems; k++) parameters[index][k] = host[k];
        given[i] = parameters[index];
    }
    assert_ok(esker__evaluate(graph, given, &output, 1, &values, NULL));
    memcpy(out, values[output->id], n_out * sizeof *out);
    esker__evaluate_free(graph, values);
    for (int i = 0; i < 4; i++) free(parameters[i]);
    free(given);
    esker_graph_destroy(graph);
}

/* Samples do not see each other, and bytes are scaled: three ways to the same numbers. */
static void a_sample_is_the_same_in_every_batch(void **state)
{
    enum { SAMPLE = 96, BATCH = 3 };
    float random[BATCH * SAMPLE];
    double bytes[BATCH * SAMPLE], scaled[BATCH * SAMPLE], together[BATCH * 5], alone[5], from_bytes[BATCH * 5];
    (void)state;
    test_uniform(random, BATCH * SAMPLE, 0, 256, 7);
    for (int i = 0; i < BATCH * SAMPLE; i++) {
        bytes[i] = floor((double)random[i]);
        scaled[i] = bytes[i] * (double)(1.0f / 255.0f);
    }
    esker_model *net = small_model();
    evaluate(net, &(esker_instance_desc){.batch = BATCH}, scaled, together, BATCH * 5);
    evaluate(net, &(esker_instance_desc){.batch = BATCH, .input_dtype = ESKER_DTYPE_U8}, bytes, from_bytes, BATCH * 5);
    for (int b = 0; b < BATCH; b++) {
        evaluate(net, &(esker_instance_desc){.batch = 1}, scaled + b * SAMPLE, alone, 5);
        for (int k = 0; k < 5; k++) {
            assert_true(fabs(alone[k] - together[b * 5 + k]) <= 1e-12);
            assert_true(fabs(from_bytes[b * 5 + k] - together[b * 5 + k]) <= 1e-12);
        }
    }
    assert_true(fabs(together[0] - together[5]) > 1e-6); /* they do depend on their sample */
    evaluate(net, &(esker_instance_desc){.batch = BATCH, .input_scale = 1.0f / 255.0f}, bytes, from_bytes, BATCH * 5);
    for (int k = 0; k < BATCH * 5; k++) assert_true(fabs(from_bytes[k] - together[k]) <= 1e-12);
    esker_model_destroy(net);
}

static void instance_options_are_checked(void **state)
{
    static const struct {
        esker_instance_desc desc;
        const char *message;
    } cases[] = {{{.batch = 0}, "a batch of 0, 1 to 2147483647"},
                 {{.batch = -4}, "a batch of -4"},
                 {{.batch = (int64_t)1 << 31}, "a batch of 2147483648"},
                 {{.batch = 1, .mode = (esker_mode)5}, "unknown mode 5"},
                 {{.batch = 1, .input_dtype = ESKER_DTYPE_I32}, "input type int32, float32 and uint8"},
                 {{.batch = 1, .input_scale = NAN}, "the input scale is not a finite number"}};
    (void)state;
    esker_model *net = small_model(), *open = new_model();
    esker_graph *graph;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(esker_model_instantiate(net, &cases[i].desc, &graph, NULL, NULL), ESKER_ERR_INVALID, cases[i].message);
        assert_null(graph);
    }
    assert_fails(esker_model_instantiate(net, NULL, &graph, NULL, NULL), ESKER_ERR_INVALID, "desc is NULL");
    assert_fails(esker_model_instantiate(open, &(esker_instance_desc){.batch = 1}, &graph, NULL, NULL), ESKER_ERR_INVALID,
                 "not finished");
    esker_model_destroy(open);
    esker_model_destroy(net);
}

static void a_batch_that_was_written_down_is_told(void **state)
{
    esker_graph *graph;
    (void)state;
    esker_model *net = new_model();
    esker_node *x = esker_label(esker_reshape(image(net), &(esker_shape){2, {1, 64}}), "my reshape");
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = 1}, &graph, NULL, NULL));
    esker_graph_destroy(graph);
    assert_fails(esker_model_instantiate(net, &(esker_instance_desc){.batch = 3}, &graph, NULL, NULL), ESKER_ERR_INVALID,
                 "model model for a batch of 3: my reshape was recorded for a batch of 1 only");
    assert_null(graph);
    esker_model_destroy(net);

    /* This one records at every batch, and would mix the samples. */
    net = new_model();
    assert_ok(esker_model_output(net, esker_reshape(image(net), &(esker_shape){2, {1, -1}})));
    assert_fails(esker_model_instantiate(net, &(esker_instance_desc){.batch = 3}, &graph, NULL, NULL), ESKER_ERR_INVALID,
                 "the output is [1, 192] in place of [3, 64]");
    esker_model_destroy(net);
}

static void graphs_outlive_their_model(void **state)
{
    esker_graph *graph;
    esker_param_info info;
    (void)state;
    esker_model *net = small_model();
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = 2}, &graph, NULL, NULL));
    esker_model_destroy(net);
    assert_ok(esker_params_get_info(esker_graph_get_params(graph), 0, &info));
    assert_string_equal(info.name, "conv1.weight");
    esker_graph_destroy(graph);
    esker_model_destroy(NULL);
}

/* ---- Metadata and names ---- */

static void metadata_is_kept_in_order(void **state)
{
    (void)state;
    esker_model *net = new_model();
    assert_ok(esker_model_set_metadata(net, "a", "1"));
    assert_ok(esker_model_set_metadata(net, "b", "2"));
    assert_ok(esker_model_set_metadata(net, "c", ""));
    assert_ok(esker_model_set_metadata(net, "a", "3"));
    assert_ok(esker_model_set_metadata(net, "b", NULL));
    assert_ok(esker_model_set_metadata(net, "b", NULL));
    assert_int_equal(esker_model_metadata_count(net), 2);
    assert_string_equal(esker_model_metadata_key(net, 0), "a");
    assert_string_equal(esker_model_metadata_key(net, 1), "c");
    assert_null(esker_model_metadata_key(net, 2));
    assert_null(esker_model_metadata_key(net, -1));
    assert_string_equal(esker_model_get_metadata(net, "a"), "3");
    assert_string_equal(esker_model_get_metadata(net, "c"), "");
    assert_null(esker_model_get_metadata(net, "b"));
    assert_fails(esker_model_set_metadata(net, "esker.model", "x"), ESKER_ERR_INVALID, "esker.model");
    assert_fails(esker_model_set_metadata(net, "", "x"), ESKER_ERR_INVALID, "key is empty");
    assert_fails(esker_model_set_metadata(net, NULL, "x"), ESKER_ERR_INVALID, "key is empty");
    assert_fails(esker_model_set_metadata(net, "d", "\xff"), ESKER_ERR_INVALID, "not UTF-8");
    esker_model_destroy(net);
}

static void utf8_is_told_from_other_bytes(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {{"plain", true},
                 {"\xc3\xa9", true},
                 {"\xe2\x82\xac", true},
                 {"\xf0\x9f\x98\x80", true},
                 {"\xf4\x8f\xbf\xbf", true},
                 {"\x80", false},
                 {"\xc1\x81", false},
                 {"\xe0\x9f\x80", false},
                 {"\xed\xa0\x80", false},
                 {"\xf0\x8f\x80\x80", false},
                 {"\xf4\x90\x80\x80", false},
                 {"\xf5\x80\x80\x80", false},
                 {"\xe2\x82", false},
                 {"\xc3", false}};
    (void)state;
    esker_model *net = new_model();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_status st = esker_model_set_name(net, cases[i].text);
        if (cases[i].valid)
            assert_ok(st);
        else
            assert_fails(st, ESKER_ERR_INVALID, "not UTF-8");
    }
    assert_fails(esker_model_set_name(net, NULL), ESKER_ERR_INVALID, "NULL");
    assert_fails(esker_model_set_name(net, ""), ESKER_ERR_INVALID, "the model's name has 0 bytes, 1 to 100");
    esker_model_destroy(net);
}

/* The words of the help are written by hand, the table is not. */
static void help_names_every_kind_and_key(void **state)
{
    (void)state;
    for (const esker__layer_kind *kind = esker__layer_kinds; kind->name; kind++) {
        assert_non_null(strstr(esker_model_layer_help(), kind->name));
        for (int i = 0; i < esker__layer_kind_n_keys(kind); i++)
            assert_non_null(strstr(esker_model_layer_help(), kind->keys[i].name));
    }
}

int main(void)
{
    enum { N_FAILURES = sizeof failures / sizeof *failures };
    struct CMUnitTest tests[N_FAILURES + 16] = {
        cmocka_unit_test(lists_layers_and_plain_operations),
        cmocka_unit_test(parameters_are_named_and_started_as_in_pytorch),
        cmocka_unit_test(init_kinds_reach_weights_and_leave_biases_zero),
        cmocka_unit_test(instances_share_parameters_at_every_batch),
        cmocka_unit_test(a_sample_is_the_same_in_every_batch),
        cmocka_unit_test(instance_options_are_checked),
        cmocka_unit_test(a_batch_that_was_written_down_is_told),
        cmocka_unit_test(graphs_outlive_their_model),
        cmocka_unit_test(metadata_is_kept_in_order),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
        cmocka_unit_test(help_names_every_kind_and_key),
    };
    size_t n = 0;
    while (tests[n].name) n++;
    for (size_t i = 0; i < N_FAILURES; i++)
        tests[n++] = (struct CMUnitTest){.name = failures[i].name,
                                         .test_func = errors_stick_and_say_which_layer,
                                         .initial_state = (void *)(uintptr_t)&failures[i]};
    return test_finish(_cmocka_run_group_tests("model", tests, n, NULL, NULL));
}
