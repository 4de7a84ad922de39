/* Models as JSON: every error with its message, and what is written reads back. Needs no device. */
#include <esker/model.h>

#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "io/json.h"
#include "nn/model.h"
#include "support/test.h"

#ifdef ESKER_HAVE_CJSON

#define INPUT         "\"input\": {\"name\": \"image\", \"shape\": [1, 8, 8]}"
#define LINEAR        "{\"type\": \"flatten\"}, {\"type\": \"linear\", \"features\": 2}"
#define MODEL(layers) "{" INPUT ", \"layers\": [" layers "]}"
/* One layer on the input, then what makes it a model. */
#define LAYER(keys) MODEL("{\"name\": \"it\", " keys "}, " LINEAR)

static const struct failure {
    const char *name, *text, *message;
} failures[] = {
    /* Not JSON */
    {"nothing", "", "bad.json: not JSON: line 1, column 1: unexpected the end"},
    {"cut off", "{\"layers\": [", "not JSON: line 1, column 12: unexpected"},
    {"a place in the text", "{\"name\": \"x\",\n  oops}", "not JSON: line 2, column "},
    {"text after the end", MODEL(LINEAR) " x", "unexpected 'x'"},
    {"a key twice", "{\"name\": \"a\", \"name\": \"b\"}", "bad.json: the key \"name\" occurs twice in one object"},
    {"a key twice in a layer", LAYER("\"type\": \"relu\", \"type\": \"tanh\""), "the key \"type\" occurs twice"},
    {"a list", "[]", "bad.json: [] is not an object"},
    /* The model's keys */
    {"unknown key", "{" INPUT ", \"laiers\": []}",
     "bad.json: unknown key \"laiers\", a model takes name, input, classes, layers"},
    {"name of another type", "{\"name\": 5}", "key \"name\": 5 is not a text"},
    {"empty name", "{\"name\": \"\"}", "name has 0 bytes, 1 to 100 are possible"},
    {"no input", "{\"layers\": []}", "key \"input\" is missing"},
    {"input of another type", "{\"input\": \"image\"}", "key \"input\": \"image\" is not an object"},
    {"input without a shape", "{\"input\": {}}", "input: key \"shape\" is missing"},
    {"unknown key of the input", "{\"input\": {\"shape\": [1], \"dtype\": \"u8\"}}", "input: unknown key \"dtype\""},
    {"shape with a zero", "{\"input\": {\"shape\": [1, 0]}}",
     "key \"shape\": [1, 0] is not a list of up to 5 integers from 1"},
    {"shape with a fraction", "{\"input\": {\"shape\": [1.5]}}", "[1.5] is not a list"},
    {"shape of six", "{\"input\": {\"shape\": [1,1,1,1,1,1]}}", "[1, 1, 1, 1, 1, 1] is not a list of up to 5"},
    {"shape of another type", "{\"input\": {\"shape\": 28}}", "key \"shape\": 28 is not a list"},
    {"classes of another type", "{" INPUT ", \"classes\": 10}", "key \"classes\": 10 is not a list of texts"},
    {"a class of another type", "{" INPUT ", \"classes\": [\"a\", 1]}", "key \"classes\": 1 is not a text"},
    {"too many classes", "{" INPUT ", \"classes\": [\"a\", \"b\", \"c\"], \"layers\": [" LINEAR "]}",
     "bad.json: model model: 3 class names for an output of [2]"},
    {"no layers", "{" INPUT "}", "key \"layers\" is missing"},
    {"layers of another type", "{" INPUT ", \"layers\": {}}", "key \"layers\": an object is not a list"},
    {"an empty list", MODEL(""), "the list is empty"},
    {"output of nothing", "{" INPUT ", \"output\": \"fc9\", \"layers\": [" LINEAR "]}",
     "key \"output\": \"fc9\" is no layer"},
    {"output of another type", "{" INPUT ", \"output\": 1, \"layers\": [" LINEAR "]}", "key \"output\": 1 is not a text"},
    /* Layers */
    {"a layer of another type", MODEL("7"), "layers[0]: 7 is not an object"},
    {"no type", MODEL("{\"name\": \"it\"}"), "layer it: key \"type\" is missing"},
    {"type of another type", MODEL("{\"type\": true}"), "layers[0]: key \"type\": true is not a text"},
    {"unknown type", LAYER("\"type\": \"relo\""),
     "layer it: unknown type \"relo\", known are linear, conv2d, conv1d, conv_transpose2d"},
    {"unknown key of a layer", LAYER("\"type\": \"conv2d\", \"filters\": 2, \"kernal\": 3"),
     "layer it: unknown key \"kernal\", conv2d takes name, type, input, inputs, param_group, filters, kernel, stride, "
     "padding, bias, "
     "init"},
    {"a group that is none", LAYER("\"type\": \"conv2d\", \"filters\": 2, \"kernel\": 3, \"param_group\": 8"),
     "layer it: key \"param_group\": 8 is not an integer from 0 to 7"},
    {"a group of another type",
     LAYER("\"type\": \"conv2d\", \"filters\": 2, \"kernel\": 3, \"param_group\": {\"bias\": true}"),
     "layer it: key \"param_group\", bias: true is not an integer from 0 to 7"},
    {"a group of nothing", LAYER("\"type\": \"conv2d\", \"filters\": 2, \"kernel\": 3, \"param_group\": {\"scale\": 1}"),
     "layer it: key \"param_group\": no parameter \"scale\", there are weight, bias"},
    {"a group without parameters", LAYER("\"type\": \"relu\", \"param_group\": 1"),
     "layer it: key \"param_group\": the layer has no parameters that are trained"},
    {"name of a layer of another type", MODEL("{\"name\": [], \"type\": \"relu\"}"),
     "layers[0]: key \"name\": [] is not a text"},
    {"one name twice", MODEL("{\"name\": \"a\", \"type\": \"relu\"}, {\"name\": \"a\", \"type\": \"tanh\"}"),
     "bad.json: layers[0] and layers[1] have the same name, a"},
    {"the input's name", MODEL("{\"name\": \"image\", \"type\": \"relu\"}"), "layers[0] has the name of the input, image"},
    {"a missing key", LAYER("\"type\": \"conv2d\", \"kernel\": 3"),
     "layer it: key \"filters\" is missing, an integer from 1 to 2147483647 is needed"},
    {"zero", LAYER("\"type\": \"conv2d\", \"filters\": 0, \"kernel\": 3"),
     "layer it: key \"filters\": 0 is not an integer from 1 to 2147483647"},
    {"a fraction", LAYER("\"type\": \"conv2d\", \"filters\": 2.5, \"kernel\": 3"),
     "key \"filters\": 2.5 is not an integer"},
    {"too large", LAYER("\"type\": \"conv2d\", \"filters\": 1e300, \"kernel\": 3"), "key \"filters\": 1e+300 is not"},
    {"a text for a number", LAYER("\"type\": \"conv2d\", \"filters\": \"8\", \"kernel\": 3"),
     "key \"filters\": \"8\" is not"},
    {"a list for a number", LAYER("\"type\": \"conv2d\", \"filters\": [8], \"kernel\": 3"), "key \"filters\": [8] is not"},
    {"three for two", LAYER("\"type\": \"conv2d\", \"filters\": 8, \"kernel\": [3, 3, 3]"),
     "key \"kernel\": [3, 3, 3] is not an integer from 1 to 65535 or [rows, columns] of them"},
    {"one of two is wrong", LAYER("\"type\": \"conv2d\", \"filters\": 8, \"kernel\": [3, 0]"),
     "key \"kernel\": [3, 0] is not"},
    {"one for two", LAYER("\"type\": \"conv2d\", \"filters\": 8, \"kernel\": [3]"), "key \"kernel\": [3] is not"},
    {"negative padding", LAYER("\"type\": \"conv2d\", \"filters\": 8, \"kernel\": 3, \"padding\": -1"),
     "key \"padding\": -1 is not an integer from 0 to 65535"},
    {"a number for true", LAYER("\"type\": \"conv2d\", \"filters\": 8, \"kernel\": 3, \"bias\": 0"),
     "key \"bias\": 0 is not true or false"},
    {"unknown choice", LAYER("\"type\": \"conv2d\", \"filters\": 8, \"kernel\": 3, \"init\": \"zero\""),
     "key \"init\": \"zero\" is not one of \"default\", \"he_uniform\", \"he_normal\", \"xavier_uniform\", "
     "\"xavier_normal\", \"zeros\""},
    {"not a float32", LAYER("\"type\": \"affine\", \"scale\": 1e39"),
     "key \"scale\": 1e+39 is not a number that a float32 holds"},
    {"a probability above 1", LAYER("\"type\": \"dropout\", \"p\": 1.5"), "probability 1.5, 0 to 1 are possible"},
    {"no axes", LAYER("\"type\": \"mean\", \"axes\": []"),
     "key \"axes\": [] is not a list of 1 to 5 integers from -6 to 5"},
    {"a number for axes", LAYER("\"type\": \"mean\", \"axes\": 2"), "key \"axes\": 2 is not a list"},
    {"the batch among the axes", LAYER("\"type\": \"mean\", \"axes\": [2, 0]"),
     "bad.json: layer it, mean: axes: axis 0 is the batch, which has to stay"},
    {"an axis that is not there", LAYER("\"type\": \"mean\", \"axes\": [4]"),
     "bad.json: layer it, mean: mean(float32 [1, 1, 8, 8])"},
    /* Inputs */
    {"reference to nothing", LAYER("\"type\": \"relu\", \"input\": \"imag\""),
     "layer it: input \"imag\" is no layer, and the model's input is \"image\""},
    {"input of a layer of another type", LAYER("\"type\": \"relu\", \"input\": 3"),
     "key \"input\": 3 is not the name of a layer"},
    {"a number among inputs", LAYER("\"type\": \"relu\", \"inputs\": [3]"), "layer it: an input is 3, not the name"},
    {"input and inputs", LAYER("\"type\": \"relu\", \"input\": \"image\", \"inputs\": [\"image\"]"),
     "\"input\" and \"inputs\" together"},
    {"two for one", LAYER("\"type\": \"relu\", \"inputs\": [\"image\", \"image\"]"),
     "layer it: relu takes 1 input, 2 are given"},
    {"one for two inputs", LAYER("\"type\": \"add\", \"input\": \"image\""), "layer it: add takes 2 inputs, 1 is given"},
    {"none for two", LAYER("\"type\": \"add\""), "layer it: add takes 2 inputs, 0 are given"},
    {"itself", LAYER("\"type\": \"relu\", \"input\": \"it\""), "bad.json: the layers form a cycle: it -> it"},
    {"a cycle",
     MODEL("{\"name\": \"a\", \"type\": \"relu\", \"input\": \"c\"}, {\"name\": \"b\", \"type\": \"relu\"},"
           "{\"name\": \"c\", \"type\": \"add\", \"inputs\": [\"image\", \"b\"]}, {\"name\": \"d\", \"type\": \"relu\"}"),
     "bad.json: the layers form a cycle: a -> b -> c -> a"},
    {"a cycle beside the way",
     MODEL(LINEAR ", {\"name\": \"a\", \"type\": \"relu\", \"input\": \"b\"}, {\"name\": \"b\", \"type\": \"relu\"},"
                  "{\"name\": \"out\", \"type\": \"relu\", \"input\": \"fc1\"}"),
     "the layers form a cycle: a -> b -> a"},
    {"a layer that is not used",
     MODEL("{\"name\": \"it\", \"type\": \"relu\"}, {\"type\": \"flatten\", \"input\": \"image\"}"),
     "layer it: not used: nothing leads from it to the output, flatten1"},
    /* Shapes */
    {"linear without flatten", LAYER("\"type\": \"linear\", \"features\": 3"),
     "bad.json: layer it, linear: the input's samples are [1, 8, 8], [features] or [steps, features] are needed: flatten "
     "first"},
    {"a kernel larger than the image", LAYER("\"type\": \"conv2d\", \"filters\": 3, \"kernel\": 9"),
     "bad.json: layer it, conv2d: conv2d(float32 [1, 1, 8, 8], float32 [3, 1, 9, 9])"},
    {"a window larger than the image", LAYER("\"type\": \"max_pool2d\", \"window\": 9"),
     "bad.json: layer it, max_pool2d: max_pool2d(float32 [1, 1, 8, 8])"},
    {"shapes that do not go together",
     MODEL("{\"name\": \"p\", \"type\": \"max_pool2d\", \"window\": 2},"
           "{\"name\": \"it\", \"type\": \"add\", \"inputs\": [\"image\", \"p\"]}"),
     "bad.json: layer it, add: add(float32 [1, 1, 8, 8], float32 [1, 1, 4, 4])"},
    {"a reshape that does not fit", LAYER("\"type\": \"reshape\", \"shape\": [3, -1]"),
     "bad.json: layer it, reshape: reshape("},
    {"an order of the wrong length", LAYER("\"type\": \"transpose\", \"order\": [2, 1]"),
     "layer it, transpose: order: 2 axes, the input has 3 without the batch"},
};

static void each_mistake_has_its_message(void **state)
{
    const struct failure *c = *state;
    esker_model *net = (esker_model *)(uintptr_t)1;
    assert_fails(esker_model_from_json(c->text, strlen(c->text), "bad.json", &net), ESKER_ERR_FORMAT, c->message);
    assert_null(net);
}

/* ---- Round trips ---- */

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

/* ---- Files and limits ---- */

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

static void files_that_cannot_be_read_are_named(void **state)
{
    esker_model *net;
    char path[512];
    (void)state;
    const char *folder = test_folder("model_json");
    snprintf(path, sizeof path, "%s/none.json", folder);
    assert_fails(esker_model_load_json(path, &net), ESKER_ERR_IO, path);
    assert_null(net);
    assert_fails(esker_model_load_json(folder, &net), ESKER_ERR_IO, "not a regular file");
    snprintf(path, sizeof path, "%s/bad.json", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fwrite("{\"name\": \"a\0b\"}", 1, 15, file) == 15);
    assert_int_equal(fclose(file), 0);
    assert_fails(esker_model_load_json(path, &net), ESKER_ERR_FORMAT,
                 "bad.json: not JSON: line 1, column 12: unexpected byte 0");
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), ((off_t)16 << 20) + 1), 0);
    assert_int_equal(fclose(file), 0);
    assert_fails(esker_model_load_json(path, &net), ESKER_ERR_LIMIT, "16777217 bytes, at most 16777216");
    assert_fails(esker_model_load_json(NULL, &net), ESKER_ERR_INVALID, "NULL");
    assert_fails(esker_model_from_json(NULL, 0, NULL, &net), ESKER_ERR_INVALID, "NULL");
}

/* A chain of the most layers there may be, listed backwards: nothing recurses along it. */
static void long_chains_are_bounded(void **state)
{
    (void)state;
    for (int n = ESKER__MAX_LAYERS; n <= ESKER__MAX_LAYERS + 1; n++) {
        esker__text text = {0};
        esker_model *net;
        esker__text_add(&text, "{" INPUT ", \"output\": \"l%d\", \"layers\": [", n - 1);
        for (int i = n - 1; i >= 0; i--) {
            esker__text_add(&text, "{\"name\": \"l%d\", \"type\": \"relu\", \"input\": ", i);
            if (i > 0)
                esker__text_add(&text, "\"l%d\"},", i - 1);
            else
                esker__text_add(&text, "\"image\"}]}");
        }
        assert_false(text.failed);
        esker_status st = esker_model_from_json(text.chars, text.n_chars, "long", &net);
        if (n == ESKER__MAX_LAYERS)
            assert_ok(st);
        else
            assert_fails(st, ESKER_ERR_LIMIT, "long: 4097 layers, at most 4096");
        esker_model_destroy(net);
        esker__text_finish(&text);
    }
}

static void deep_nesting_is_refused(void **state)
{
    char deep[4000];
    esker_model *net;
    (void)state;
    memset(deep, '[', sizeof deep);
    assert_fails(esker_model_from_json(deep, sizeof deep, "deep", &net), ESKER_ERR_FORMAT, "not JSON");
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
    enum { N_FAILURES = sizeof failures / sizeof *failures, N_TRIPS = sizeof round_trips / sizeof *round_trips };
    struct CMUnitTest tests[N_FAILURES + 2 * N_TRIPS + 16] = {
        cmocka_unit_test(layers_may_stand_in_any_order),
        cmocka_unit_test(names_are_numbered_around_those_given),
        cmocka_unit_test(parameter_groups_are_kept),
        cmocka_unit_test(c_and_json_make_equal_models),
        cmocka_unit_test(what_is_no_layer_cannot_be_written),
        cmocka_unit_test(demo_models_load),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
        cmocka_unit_test(long_chains_are_bounded),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(floats_are_written_exactly),
    };
    size_t n = 0;
    while (tests[n].name) n++;
    for (size_t i = 0; i < N_FAILURES; i++)
        tests[n++] = (struct CMUnitTest){.name = failures[i].name,
                                         .test_func = each_mistake_has_its_message,
                                         .initial_state = (void *)(uintptr_t)&failures[i]};
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
