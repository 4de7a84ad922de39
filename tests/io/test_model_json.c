/* Models as JSON: what is written reads back, kinds of layers, names, groups and numbers. Needs no device. */
#include <esker/model.h>

#include <locale.h>
#include <stdio.h>

#include "io/json.h"
#include "nn/model.h"
#include "support/test.h"

#ifdef ESKER_HAVE_CJSON

#define INPUT         "\"input\": {\"name\": \"image\", \"shape\": [1, 8, 8]}"
#define LINEAR        "{\"type\": \"flatten\"}, {\"type\": \"linear\", \"features\": 2}"
#define MODEL(layers) "{" INPUT ", \"layers\": [" layers "]}"
/* One layer on the input, then what makes it a model. */
#define LAYER(keys) MODEL("{\"name\": \"it\", " keys "}, " LINEAR)

static esker_model *read_text(const char *text)
{
    esker_model *net;
    assert_ok(esker_model_from_json(text, strlen(text), "text", &net));
    return net;
}

static char *write_text(const esker_model *net)
{
    char *text;
    assert_ok(esker_model_to_json(net, &text));
    return text;
}

/* What a text reads as, written; checked to be a fixed point. */
static char *canonical(const char *text)
{
    esker_model *net = read_text(text);
    char *first = write_text(net);
    esker_model_destroy(net);
    net = read_text(first);
    char *second = write_text(net);
    assert_string_equal(first, second);
    esker_model_destroy(net);
    esker_text_free(second);
    return first;
}

static const struct round_trip {
    const char *name, *layer, *written; /* NULL: as it is read */
    bool layer_only;                    /* an operation recorded by hand reads as another kind */
} round_trips[] = {
    {"linear keys", "\"type\": \"linear\", \"input\": \"flat\", \"features\": 3, \"bias\": false, \"init\": \"he_normal\"",
     NULL},
    {"conv2d keys", "\"type\": \"conv2d\", \"filters\": 3, \"kernel\": [3, 2], \"stride\": [1, 2], \"padding\": 1", NULL},
    {"standards are left out",
     "\"type\": \"conv2d\", \"filters\": 3, \"kernel\": [3, 3], \"stride\": [1, 1], \"padding\": 0, \"bias\": true, "
     "\"init\": \"default\"",
     "\"type\": \"conv2d\", \"filters\": 3, \"kernel\": 3"},
    {"conv2d, the other keys",
     "\"type\": \"conv2d\", \"filters\": 3, \"kernel\": 2, \"padding\": 2, \"dilation\": [2, 3], \"more_padding\": [-1, 1]",
     NULL},
    {"conv2d, same", "\"type\": \"conv2d\", \"filters\": 3, \"kernel\": 4, \"same\": true", NULL},
    {"conv_transpose2d",
     "\"type\": \"conv_transpose2d\", \"filters\": 3, \"kernel\": 4, \"stride\": 2, \"padding\": 1, \"output_padding\": "
     "[1, 0]",
     NULL},
    {"relu", "\"type\": \"relu\"", NULL},
    {"sigmoid", "\"type\": \"sigmoid\"", NULL},
    {"tanh", "\"type\": \"tanh\"", NULL},
    {"neg", "\"type\": \"neg\"", NULL},
    {"exp", "\"type\": \"exp\"", NULL},
    {"log", "\"type\": \"log\"", NULL},
    {"sqrt", "\"type\": \"sqrt\"", NULL},
    {"affine", "\"type\": \"affine\", \"scale\": 0.1, \"shift\": -3.5e-20",
     "\"type\": \"affine\", \"scale\": 0.1, \"shift\": -3.5e-20"},
    {"affine that does nothing", "\"type\": \"affine\", \"scale\": 1, \"shift\": 0", "\"type\": \"affine\""},
    {"selu", "\"type\": \"selu\"", NULL},
    {"hard_sigmoid", "\"type\": \"hard_sigmoid\"", NULL},
    {"silu", "\"type\": \"silu\"", NULL},
    {"hard_swish", "\"type\": \"hard_swish\"", NULL},
    {"gelu", "\"type\": \"gelu\"", NULL},
    {"gelu_tanh", "\"type\": \"gelu_tanh\"", NULL},
    {"mish", "\"type\": \"mish\"", NULL},
    {"abs", "\"type\": \"abs\"", NULL},
    {"sign", "\"type\": \"sign\"", NULL},
    {"square", "\"type\": \"square\"", NULL},
    {"reciprocal", "\"type\": \"reciprocal\"", NULL},
    {"floor", "\"type\": \"floor\"", NULL},
    {"ceil", "\"type\": \"ceil\"", NULL},
    {"round", "\"type\": \"round\"", NULL},
    {"expm1", "\"type\": \"expm1\"", NULL},
    {"log1p", "\"type\": \"log1p\"", NULL},
    {"rsqrt", "\"type\": \"rsqrt\"", NULL},
    {"sin", "\"type\": \"sin\"", NULL},
    {"cos", "\"type\": \"cos\"", NULL},
    {"erf", "\"type\": \"erf\"", NULL},
    {"leaky_relu", "\"type\": \"leaky_relu\", \"slope\": 0.2", NULL},
    {"leaky_relu as usual", "\"type\": \"leaky_relu\", \"slope\": 0.01", "\"type\": \"leaky_relu\""},
    {"elu", "\"type\": \"elu\", \"alpha\": 0.3", NULL},
    {"softplus", "\"type\": \"softplus\", \"beta\": 2", NULL},
    {"clamp", "\"type\": \"clamp\", \"lo\": -0.5, \"hi\": 6", NULL},
    {"dropout", "\"type\": \"dropout\", \"p\": 0.1", NULL},
    {"dropout of a half", "\"type\": \"dropout\", \"p\": 0.5", "\"type\": \"dropout\""},
    {"softmax", "\"type\": \"softmax\", \"axis\": 1", NULL},
    {"softmax of the last axis", "\"type\": \"softmax\", \"axis\": 3", "\"type\": \"softmax\""},
    {"softmax from the end", "\"type\": \"log_softmax\", \"axis\": -2", "\"type\": \"log_softmax\", \"axis\": 2"},
    {"max_pool2d", "\"type\": \"max_pool2d\", \"window\": [2, 4], \"stride\": [1, 2], \"padding\": [0, 1]", NULL},
    {"a stride like the window", "\"type\": \"avg_pool2d\", \"window\": 2, \"stride\": [2, 2]",
     "\"type\": \"avg_pool2d\", \"window\": 2"},
    {"a stride of one", "\"type\": \"avg_pool2d\", \"window\": 2, \"stride\": 1", NULL},
    {"avg_pool2d", "\"type\": \"avg_pool2d\", \"window\": 3, \"stride\": 2, \"padding\": 1, \"exclude_padding\": true",
     NULL},
    {"no padding to exclude", "\"type\": \"avg_pool2d\", \"window\": 3, \"exclude_padding\": true",
     "\"type\": \"avg_pool2d\", \"window\": 3"},
    {"adaptive_avg_pool2d", "\"type\": \"adaptive_avg_pool2d\", \"size\": [3, 5]", NULL},
    {"global_avg_pool2d", "\"type\": \"global_avg_pool2d\"", NULL, .layer_only = true},
    {"global_max_pool2d", "\"type\": \"global_max_pool2d\"", NULL, .layer_only = true},
    {"flatten", "\"type\": \"flatten\"", NULL},
    {"reshape", "\"type\": \"reshape\", \"shape\": [4, -1]", NULL},
    {"transpose", "\"type\": \"transpose\", \"order\": [2, 3, 1]", NULL},
    {"add", "\"type\": \"add\", \"inputs\": [\"first\", \"image\"]", NULL},
    {"sub", "\"type\": \"sub\", \"inputs\": [\"image\", \"first\"]", NULL},
    {"mul", "\"type\": \"mul\", \"inputs\": [\"first\", \"first\"]", NULL},
    {"div", "\"type\": \"div\", \"inputs\": [\"first\", \"image\"]", NULL},
    {"minimum", "\"type\": \"minimum\", \"inputs\": [\"first\", \"image\"]", NULL},
    {"maximum", "\"type\": \"maximum\", \"inputs\": [\"image\", \"first\"]", NULL},
    {"pow", "\"type\": \"pow\", \"inputs\": [\"first\", \"image\"]", NULL},
    {"sum", "\"type\": \"sum\", \"axes\": [2], \"keepdims\": true", NULL},
    {"axes in order", "\"type\": \"mean\", \"axes\": [-1, 2], \"keepdims\": false", "\"type\": \"mean\", \"axes\": [2, 3]"},
    {"max", "\"type\": \"max\", \"axes\": [1, 2, 3]", NULL},
    {"min", "\"type\": \"min\", \"axes\": [1, 2, 3]", NULL},
    {"prod", "\"type\": \"prod\", \"axes\": [1, 2, 3]", NULL},
    {"logsumexp", "\"type\": \"logsumexp\", \"axes\": [1, 2, 3]", NULL},
};

/* The layer under test stands last, after one that "flat" or "first" names. */
static void every_kind_reads_back(void **state)
{
    const struct round_trip *c = *state;
    const char *written = c->written ? c->written : c->layer;
    bool flat = strstr(c->layer, "\"flat\"") != NULL;
    char text[1024], want[1024];
    const char *before = flat ? "{\"name\": \"flat\", \"type\": \"flatten\"}" : "{\"name\": \"first\", \"type\": \"relu\"}";
    snprintf(text, sizeof text, "{" INPUT ", \"layers\": [%s, {\"name\": \"it\", %s}]}", before, c->layer);
    char *got = canonical(text);
    /* What comes before is the previous layer: canonical text does not name it. */
    const char *without = strstr(written, ", \"input\": \"flat\"");
    snprintf(want, sizeof want,
             "{\"name\": \"model\",\n \"input\": {\"name\": \"image\", \"shape\": [1, 8, 8]},\n \"layers\": [\n  %s,\n"
             "  {\"name\": \"it\", %.*s%s}],\n \"output\": \"it\"}\n",
             before, without ? (int)(without - written) : (int)strlen(written), written,
             without ? without + strlen(", \"input\": \"flat\"") : "");
    assert_string_equal(got, want);
    esker_text_free(got);
}

/* The same from operations that C recorded, which the model does not know as layers: their attributes are read back. */
static void operations_become_layers(void **state)
{
    const struct round_trip *c = *state;
    char text[1024];
    bool flat = strstr(c->layer, "\"flat\"") != NULL;
    snprintf(text, sizeof text, "{" INPUT ", \"layers\": [%s, {\"name\": \"it\", %s}]}",
             flat ? "{\"name\": \"flat\", \"type\": \"flatten\"}" : "{\"name\": \"first\", \"type\": \"relu\"}", c->layer);
    esker_model *net = read_text(text);
    char *want = write_text(net);
    /* Forget that they were layers. */
    net->n_layers = 0;
    assert_ok(esker__model_list(net));
    assert_int_equal(esker_model_layer_count(net), 2);
    char *got = write_text(net);
    assert_string_equal(got, want);
    esker_text_free(got);
    esker_text_free(want);
    esker_model_destroy(net);
}

static void layers_may_stand_in_any_order(void **state)
{
    (void)state;
    char *in_order = canonical(
        "{\"name\": \"any\", " INPUT ", \"layers\": ["
        "{\"name\": \"a\", \"type\": \"conv2d\", \"filters\": 2, \"kernel\": 3, \"padding\": 1},"
        "{\"name\": \"b\", \"type\": \"relu\"},"
        "{\"name\": \"c\", \"type\": \"conv2d\", \"filters\": 2, \"kernel\": 1, \"input\": \"image\"},"
        "{\"name\": \"d\", \"type\": \"add\", \"inputs\": [\"b\", \"c\"]},"
        "{\"name\": \"e\", \"type\": \"flatten\"}]}");
    char *mixed = canonical(
        "{\"layers\": ["
        "{\"name\": \"e\", \"type\": \"flatten\", \"input\": \"d\"},"
        "{\"name\": \"d\", \"type\": \"add\", \"input\": [\"b\", \"c\"]},"
        "{\"name\": \"c\", \"type\": \"conv2d\", \"filters\": 2, \"kernel\": [1, 1], \"inputs\": [\"image\"]},"
        "{\"name\": \"b\", \"type\": \"relu\", \"input\": \"a\"},"
        "{\"name\": \"a\", \"type\": \"conv2d\", \"filters\": 2, \"kernel\": 3, \"padding\": 1, \"input\": \"image\"}"
        "], \"output\": \"e\", " INPUT ", \"name\": \"any\"}");
    assert_string_equal(in_order, mixed);
    esker_text_free(in_order);
    esker_text_free(mixed);
}

static void names_are_numbered_around_those_given(void **state)
{
    static const char *const want[] = {"conv2", "pool1", "conv1", "pool2", "relu1", "flatten1", "fc1"};
    (void)state;
    esker_model *net = read_text(
        MODEL("{\"type\": \"conv2d\", \"filters\": 1, \"kernel\": 1}, {\"type\": \"max_pool2d\", \"window\": 2},"
              "{\"type\": \"conv2d\", \"name\": \"conv1\", \"filters\": 1, \"kernel\": 1},"
              "{\"type\": \"avg_pool2d\", \"window\": 2}, {\"type\": \"relu\"}," LINEAR));
    assert_int_equal(esker_model_layer_count(net), 7);
    for (int i = 0; i < 7; i++) {
        esker_layer_info info;
        assert_ok(esker_model_get_layer_info(net, i, &info));
        assert_string_equal(info.name, want[i]);
    }
    esker_model_destroy(net);
}

/* Groups come from the file, go back into it, and those that C chose do too. */
static void parameter_groups_are_kept(void **state)
{
    static const char model[] = "{\"name\": \"m\", \"input\": {\"name\": \"x\", \"shape\": [3]}, \"layers\": [\n"
                                "  {\"type\": \"linear\", \"features\": 4, \"param_group\": 2},\n"
                                "  {\"type\": \"batch_norm1d\", \"param_group\": {\"bias\": 1, \"weight\": 3}},\n"
                                "  {\"type\": \"linear\", \"features\": 2}]}";
    static const struct {
        const char *name;
        int group;
    } want[] = {{"fc1.weight", 2}, {"fc1.bias", 2}, {"bn1.weight", 3}, {"bn1.bias", 1}, {"fc2.weight", 0}, {"fc2.bias", 7}};
    (void)state;
    esker_model *net;
    char *text[2];
    assert_ok(esker_model_from_json(model, strlen(model), "groups", &net));
    esker_params *params = esker_model_get_params(net);
    assert_ok(esker_params_set_group(params, esker_params_find(params, "fc2.bias"), 7));
    for (int again = 0; again < 2; again++) {
        params = esker_model_get_params(net);
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            esker_param_info info;
            assert_ok(esker_params_get_info(params, esker_params_find(params, want[i].name), &info));
            assert_int_equal(info.group, want[i].group);
        }
        assert_ok(esker_model_to_json(net, &text[again]));
        esker_model_destroy(net);
        assert_ok(esker_model_from_json(text[again], strlen(text[again]), "again", &net));
    }
    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "\"features\": 4, \"param_group\": 2}"));
    assert_non_null(strstr(text[0], "\"param_group\": {\"weight\": 3, \"bias\": 1}}"));
    assert_non_null(strstr(text[0], "\"features\": 2, \"param_group\": {\"bias\": 7}}"));
    esker_model_destroy(net);
    for (int i = 0; i < 2; i++) esker_text_free(text[i]);
}

static void c_and_json_make_equal_models(void **state)
{
    static const char *const classes[] = {"even \"number\"", "odd\n\x01\xc3\xa9"};
    (void)state;
    esker_model *net;
    assert_ok(esker_model_create(&net));
    assert_ok(esker_model_set_name(net, "twins"));
    assert_ok(esker_model_set_classes(net, classes, 2));
    esker_node *image = esker_model_input(net, "image", &(esker_shape){3, {1, 8, 8}});
    esker_node *x = esker_layer_conv2d(net, image,
                                       &(esker_layer_conv2d_desc){.filters = 4, .kernel = {3, 3}, .padding = {1, 1}});
    esker_node *y = esker_layer_conv2d(
        net, image, &(esker_layer_conv2d_desc){.filters = 4, .kernel = {1, 1}, .no_bias = true, .name = "side"});
    x = esker_label(esker_add(esker_relu(x), y), "join");
    x = esker_avg_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}, .padding = {1, 0}});
    x = esker_transpose(esker_affine(x, 0.1f, 0), (const int[]){0, 1, 3, 2});
    x = esker_mean(x, (const int[]){-1, 2}, 2, false);
    x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 2, .init = ESKER_LAYER_INIT_XAVIER_UNIFORM});
    assert_ok(esker_model_output(net, esker_log_softmax(x, -1)));
    char *text = write_text(net), *again = canonical(text);
    assert_string_equal(text, again);
    assert_string_equal(text,
                        "{\"name\": \"twins\",\n"
                        " \"input\": {\"name\": \"image\", \"shape\": [1, 8, 8]},\n"
                        " \"classes\": [\"even \\\"number\\\"\", \"odd\\n\\u0001\xc3\xa9\"],\n"
                        " \"layers\": [\n"
                        "  {\"name\": \"conv1\", \"type\": \"conv2d\", \"filters\": 4, \"kernel\": 3, \"padding\": 1},\n"
                        "  {\"name\": \"side\", \"type\": \"conv2d\", \"input\": \"image\", \"filters\": 4, \"kernel\": 1, "
                        "\"bias\": false},\n"
                        "  {\"name\": \"relu1\", \"type\": \"relu\", \"input\": \"conv1\"},\n"
                        "  {\"name\": \"join\", \"type\": \"add\", \"inputs\": [\"relu1\", \"side\"]},\n"
                        "  {\"name\": \"pool1\", \"type\": \"avg_pool2d\", \"window\": 2, \"padding\": [1, 0]},\n"
                        "  {\"name\": \"affine1\", \"type\": \"affine\", \"scale\": 0.1},\n"
                        "  {\"name\": \"transpose1\", \"type\": \"transpose\", \"order\": [1, 3, 2]},\n"
                        "  {\"name\": \"mean1\", \"type\": \"mean\", \"axes\": [2, 3]},\n"
                        "  {\"name\": \"fc1\", \"type\": \"linear\", \"features\": 2, \"init\": \"xavier_uniform\"},\n"
                        "  {\"name\": \"log_softmax1\", \"type\": \"log_softmax\"}],\n"
                        " \"output\": \"log_softmax1\"}\n");
    /* Equal down to the numbers their parameters start with. */
    esker_model *twin = read_text(text);
    esker_params *a = esker_model_get_params(net), *b = esker_model_get_params(twin);
    assert_int_equal(esker_params_count(a), esker_params_count(b));
    for (int i = 0; i < esker_params_count(a); i++) {
        float mine[64], its[64];
        esker_param_info info;
        assert_ok(esker_params_get_info(b, i, &info));
        assert_int_equal(esker_params_find(a, info.name), i);
        assert_ok(esker_params_read(a, i, mine, info.n_elems));
        assert_ok(esker_params_read(b, i, its, info.n_elems));
        assert_memory_equal(mine, its, (size_t)info.n_elems * sizeof *mine);
    }
    esker_model_destroy(twin);
    esker_model_destroy(net);
    esker_text_free(text);
    esker_text_free(again);
}

static void what_is_no_layer_cannot_be_written(void **state)
{
    char *text;
    (void)state;
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {4}});
    assert_fails(esker_model_to_json(net, &text), ESKER_ERR_INVALID, "not finished");
    esker_model_destroy(net);

    assert_ok(esker_model_create(&net));
    x = esker_model_input(net, "x", &(esker_shape){1, {4}});
    assert_ok(esker_model_output(net, esker_relu(esker_label(esker_expand(x, &(esker_shape){2, {1, 4}}), "wide"))));
    assert_fails(esker_model_to_json(net, &text), ESKER_ERR_UNSUPPORTED,
                 "no layer type stands for the operation expand (wide)");
    assert_null(text);
    esker_model_destroy(net);

    /* The input itself is a finished model, but there is no layer to write. */
    assert_ok(esker_model_create(&net));
    assert_ok(esker_model_output(net, esker_model_input(net, "x", &(esker_shape){1, {4}})));
    assert_fails(esker_model_to_json(net, &text), ESKER_ERR_UNSUPPORTED, "cannot be JSON");
    esker_model_destroy(net);
}

static void demo_models_load(void **state)
{
    static const struct {
        const char *name;
        int64_t n_parameters; /* counted by hand */
    } models[] = {
        {"mlp", 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10},
        {"smallconv", 8 * 9 + 8 + 16 * 8 * 9 + 16 + 784 * 10 + 10},
        {"lenet5", 6 * 25 + 6 + 16 * 6 * 25 + 16 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10},
        {"mnistcnn", 32 * 9 + 32 + 64 * 32 * 9 + 64 + 1600 * 128 + 128 + 128 * 10 + 10},
        {"resnet", 8 * 9 + 8 + 2 * (8 * 8 * 9 + 8) + 16 * 8 * 9 + 16 + 16 * 16 * 9 + 16 + 16 * 8 + 16 + 160 + 10}};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[512];
        esker_model *net;
        esker_model_info info;
        esker_graph *graph;
        esker_node *output;
        snprintf(path, sizeof path, ESKER_SOURCE_DIR "/demo/models/%s.json", models[i].name);
        assert_ok(esker_model_load_json(path, &net));
        esker_model_get_info(net, &info);
        assert_string_equal(info.name, models[i].name);
        assert_int_equal(info.n_parameters, models[i].n_parameters);
        assert_true(esker_shape_equal(&info.output_shape, &(esker_shape){1, {10}}));
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = 64, .input_dtype = ESKER_DTYPE_U8}, &graph,
                                          NULL, &output));
        assert_true(esker_shape_equal(esker_node_get_shape(output), &(esker_shape){2, {64, 10}}));
        char *text = write_text(net), *again = canonical(text);
        assert_string_equal(text, again);
        esker_text_free(text);
        esker_text_free(again);
        esker_graph_destroy(graph);
        esker_model_destroy(net);
    }
}

/* The shortest text that reads back as the same float, with a point in every locale. */
static void floats_are_written_exactly(void **state)
{
    static const struct {
        float value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {-0.5f, "-0.5"},
                 {0.1f, "0.1"},
                 {1.0f / 3, "0.33333334"},
                 {16777216, "16777216"},
                 {1e-40f, "1e-40"},
                 {3.4028235e38f, "3.4028235e+38"}};
    (void)state;
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};
    for (size_t k = 0; k < sizeof locales / sizeof *locales; k++) {
        if (!setlocale(LC_ALL, locales[k])) continue; /* not installed */
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            esker__text text = {0};
            esker__json_add_float(&text, cases[i].value);
            assert_string_equal(text.chars, cases[i].text);
            esker__text_finish(&text);
        }
    }
    setlocale(LC_ALL, "C");
}

int main(void)
{
    enum { N_TRIPS = sizeof round_trips / sizeof *round_trips };
    struct CMUnitTest tests[2 * N_TRIPS + 16] = {
        cmocka_unit_test(layers_may_stand_in_any_order),      cmocka_unit_test(names_are_numbered_around_those_given),
        cmocka_unit_test(parameter_groups_are_kept),          cmocka_unit_test(c_and_json_make_equal_models),
        cmocka_unit_test(what_is_no_layer_cannot_be_written), cmocka_unit_test(demo_models_load),
        cmocka_unit_test(floats_are_written_exactly),
    };
    size_t n = 0;
    while (tests[n].name) n++;
    for (size_t i = 0; i < N_TRIPS; i++) {
        tests[n++] = (struct CMUnitTest){.name = round_trips[i].name,
                                         .test_func = every_kind_reads_back,
                                         .initial_state = (void *)(uintptr_t)&round_trips[i]};
        if (round_trips[i].layer_only || strstr(round_trips[i].layer, "\"filters\"") ||
            strstr(round_trips[i].layer, "\"features\""))
            continue;
        tests[n++] = (struct CMUnitTest){.name = round_trips[i].name,
                                         .test_func = operations_become_layers,
                                         .initial_state = (void *)(uintptr_t)&round_trips[i]};
    }
    return test_finish(_cmocka_run_group_tests("model json", tests, n, NULL, NULL));
}

#else

static void without_libcjson_models_are_not_read(void **state)
{
    esker_model *net;
    (void)state;
    assert_fails(esker_model_from_json("{}", 2, "some.json", &net), ESKER_ERR_UNSUPPORTED,
                 "some.json: models are JSON, and this library was built without libcjson");
    assert_null(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_libcjson_models_are_not_read)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}

#endif
