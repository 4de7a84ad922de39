/* Models as JSON that cannot be read: every error with its message, which names file, layer, key and numbers. Needs no device. */
#include <esker/model.h>

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

/* Samples of three axes, for operations that count them. */
#define SAMPLES(layers) "{\"input\": {\"name\": \"x\", \"shape\": [2, 3, 4]}, \"layers\": [" layers "]}"
#define IT(keys)        SAMPLES("{\"name\": \"it\", " keys "}")
#define INDICES         "{\"name\": \"i\", \"type\": \"affine\", \"scale\": 1.4, \"shift\": 1.5, \"input\": \"x\"}, "

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
    /* Axes, and what would mix samples */
    {"squeeze of the batch", IT("\"type\": \"squeeze\", \"axes\": [0]"),
     "layer it, squeeze: axes: 0, the input's samples have axes 1 to 3"},
    {"squeeze of nothing", IT("\"type\": \"squeeze\""), "layer it, squeeze: axes: no axis of the input's samples has"},
    {"squeeze of more than 1", IT("\"type\": \"squeeze\", \"axes\": [2]"), "axis 2 has 3 elements, only one of 1 can go"},
    {"unsqueeze before the batch", IT("\"type\": \"unsqueeze\", \"axis\": 0"),
     "layer it, unsqueeze: axis: axis 0 is the batch"},
    {"unsqueeze too far", IT("\"type\": \"unsqueeze\", \"axis\": 5"),
     "layer it, unsqueeze: axis: 5, the input's samples have axes 1 to 4"},
    {"expand of more axes", IT("\"type\": \"expand\", \"shape\": [2, 2, 3, 4]"),
     "layer it, expand: shape: 4 axes, the input's samples have 3 (unsqueeze)"},
    {"expand of 3 to 5", IT("\"type\": \"expand\", \"shape\": [0, 5, 0]"), "axis 2 has 3 elements; only an axis of 1"},
    {"slice of nothing", IT("\"type\": \"slice\""), "layer it, slice: start, stop and step are missing"},
    {"slice lists of two lengths", IT("\"type\": \"slice\", \"start\": [1, 1], \"step\": [2]"),
     "layer it, slice: step: 1 numbers, another of start, stop and step has 2"},
    {"slice of more axes", IT("\"type\": \"slice\", \"start\": [0, 0, 0, 1]"),
     "ranges for 4 axes, the input's samples have 3"},
    {"slice that is empty", IT("\"type\": \"slice\", \"start\": [2]"), "nothing of axis 1"},
    {"slice backwards", IT("\"type\": \"slice\", \"step\": [-1]"),
     "layer it: key \"step\": [-1] is not a list of 1 to 5 integers from 1"},
    {"pad of nothing", IT("\"type\": \"pad\""), "layer it, pad: before and after are missing"},
    {"pad of more axes", IT("\"type\": \"pad\", \"after\": [0, 0, 0, 1]"),
     "padding for 4 axes, the input's samples have 3"},
    {"pad with a value at the edge", IT("\"type\": \"pad\", \"after\": [1], \"mode\": \"edge\", \"value\": 2"),
     "layer it, pad: value: 2, which the mode edge does not have"},
    {"pad that mirrors too much", IT("\"type\": \"pad\", \"after\": [2], \"mode\": \"reflect\""), "0 to 1 are possible"},
    {"roll of the batch", IT("\"type\": \"roll\", \"axis\": -4, \"shift\": 1"),
     "layer it, roll: axis: axis 0 is the batch"},
    {"tile of fewer axes", IT("\"type\": \"tile\", \"repeats\": [2]"),
     "layer it, tile: repeats: of 1 axes, the input's samples have 3"},
    {"tril of a row", SAMPLES("{\"type\": \"flatten\"}, {\"name\": \"it\", \"type\": \"tril\"}"),
     "layer it, tril: the input's samples are [24], [..., rows, columns] are needed"},
    {"concat of one", IT("\"type\": \"concat\", \"inputs\": [\"x\"]"),
     "layer it: concat takes 2 to 1024 inputs, 1 is given"},
    {"concat of none", IT("\"type\": \"concat\""), "layer it: concat takes 2 to 1024 inputs, 0 are given"},
    {"concat of the batch", IT("\"type\": \"concat\", \"inputs\": [\"x\", \"x\"], \"axis\": 0"),
     "layer it, concat: axis: axis 0 is the batch"},
    {"stack before the batch", IT("\"type\": \"stack\", \"inputs\": [\"x\", \"x\"], \"axis\": -5"),
     "layer it, stack: axis: axis 0 is the batch"},
    {"input of a constant", IT("\"type\": \"full\", \"value\": 1, \"input\": \"x\""),
     "layer it: full takes 0 inputs, 1 is given"},
    {"constant without a value", IT("\"type\": \"full\""), "layer it: key \"value\" is missing"},
    {"a batch beside rows",
     SAMPLES(
         "{\"name\": \"flat\", \"type\": \"mean\", \"axes\": [1, 2]}, {\"name\": \"it\", \"type\": \"add\", \"inputs\": "
         "[\"x\", \"flat\"]}"),
     "layer it, add: samples of 1 axes do not line up with samples of 3: unsqueeze input 1 first"},
    {"where over fewer axes",
     SAMPLES(
         "{\"name\": \"flat\", \"type\": \"mean\", \"axes\": [1, 2]}, {\"name\": \"c\", \"type\": \"convert\", \"dtype\": "
         "\"uint8\"}, {\"name\": \"it\", \"type\": \"where\", \"inputs\": [\"c\", \"x\", \"x\"]}"),
     "layer it, where: samples of 1 axes do not line up with samples of 3: unsqueeze input 0 first"},
    {"a product over the batch",
     SAMPLES("{\"name\": \"flat\", \"type\": \"flatten\"}, {\"name\": \"it\", \"type\": \"matmul\", \"inputs\": [\"flat\", "
             "\"flat\"], \"transpose_a\": true}"),
     "layer it, matmul: samples of 1 and 1 axes: matrices of samples"},
    {"a table of each sample", SAMPLES(INDICES "{\"name\": \"it\", \"type\": \"take\", \"inputs\": [\"x\", \"i\"]}"),
     "layer it, take: the first input depends on the batch"},
    {"gather along the batch",
     SAMPLES(INDICES "{\"name\": \"it\", \"type\": \"gather\", \"inputs\": [\"x\", \"i\"], \"axis\": 0}"),
     "layer it, gather: axis: axis 0 is the batch"},
    {"no classes", IT("\"type\": \"one_hot\", \"classes\": 0"), "layer it: key \"classes\": 0 is not an integer from 1"},
    {"an unknown type of elements", IT("\"type\": \"convert\", \"dtype\": \"bfloat16\""),
     "layer it: key \"dtype\": \"bfloat16\" is not one of \"float32\""},
    {"bounds the wrong way", IT("\"type\": \"random_uniform\", \"lo\": 2"),
     "layer it, random_uniform: random_uniform: from 2 to 1"},
    {"a variance of one",
     SAMPLES("{\"type\": \"max\", \"axes\": [3], \"keepdims\": true}, {\"name\": \"it\", \"type\": \"variance\", \"axes\": "
             "[3], \"correction\": 1}"),
     "layer it, variance: variance(float32 [1, 2, 3, 1])"},
    {"a parameter's value", IT("\"type\": \"parameter\", \"shape\": [3], \"init\": \"he_normal\", \"value\": 2"),
     "layer it, parameter: value: 2, which the init he_normal does not have"},
};

static void each_mistake_has_its_message(void **state)
{
    const struct failure *c = *state;
    esker_model *net = (esker_model *)(uintptr_t)1;
    assert_fails(esker_model_from_json(c->text, strlen(c->text), "bad.json", &net), ESKER_ERR_FORMAT, c->message);
    assert_null(net);
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

int main(void)
{
    enum { N = sizeof failures / sizeof *failures };
    struct CMUnitTest tests[N + 3] = {
        [N] = cmocka_unit_test(files_that_cannot_be_read_are_named),
        cmocka_unit_test(long_chains_are_bounded),
        cmocka_unit_test(deep_nesting_is_refused),
    };
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = failures[i].name,
                                       .test_func = each_mistake_has_its_message,
                                       .initial_state = (void *)(uintptr_t)&failures[i]};
    return test_finish(cmocka_run_group_tests_name("mistakes in models", tests, NULL, NULL));
}

#else

int main(void)
{
    return test_without_libcjson();
}

#endif
