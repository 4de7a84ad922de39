/*
 * Operations as kinds of layers: what JSON says computes for every batch what C records, and what C recorded by hand comes back
 * from JSON. Needs no device.
 */
#include <esker/model.h>

#include <stdio.h>

#include "base/philox.h"
#include "graph/graph.h"
#include "support/test.h"

#ifdef ESKER_HAVE_CJSON

#define BATCH         3
#define MODEL(layers) "{\"input\": {\"name\": \"x\", \"shape\": [2, 3, 4]}, \"layers\": [" layers "]}"
#define OTHER         "{\"name\": \"other\", \"type\": \"tanh\", \"input\": \"x\"}, "
#define PAIR(keys)    OTHER "{\"inputs\": [\"x\", \"other\"], " keys "}"

static esker_node *constant(esker_node *x, const esker_shape *shape, float value)
{
    return esker_full(x->graph, shape, value);
}

/* Whole numbers 0 to 2 where x is in -1 .. 1. */
static esker_node *indices(esker_node *x)
{
    return esker_convert(esker_affine(x, 1.4f, 1.5f), ESKER_DTYPE_I32);
}
#define INDICES "{\"name\": \"i\", \"type\": \"affine\", \"scale\": 1.4, \"shift\": 1.5, \"input\": \"x\"}, "

#define AXES_2_3 (const int[]){2, 3}, 2
/* clang-format off */
#define KINDS(X) \
    X(variance, "{\"type\": \"variance\", \"axes\": [2, 3], \"correction\": 1}", esker_variance(x, AXES_2_3, false, 1)) \
    X(norm_l2, "{\"type\": \"norm\", \"axes\": [1], \"keepdims\": true}", esker_norm(x, (const int[]){1}, 1, true, ESKER_NORM_L2)) \
    X(norm_inf, "{\"type\": \"norm\", \"axes\": [-1], \"kind\": \"inf\"}", esker_norm(x, (const int[]){3}, 1, false, ESKER_NORM_INF)) \
    X(norm_l1, "{\"type\": \"norm\", \"axes\": [2, 3], \"kind\": \"l1\"}", esker_norm(x, AXES_2_3, false, ESKER_NORM_L1)) \
    X(argmax, "{\"type\": \"argmax\", \"axes\": [2, 3]}", esker_argmax(x, AXES_2_3, false)) \
    X(argmin, "{\"type\": \"argmin\", \"axes\": [1], \"keepdims\": true}", esker_argmin(x, (const int[]){1}, 1, true)) \
    X(squeeze, "{\"type\": \"max\", \"axes\": [1, 3], \"keepdims\": true}, {\"type\": \"squeeze\", \"axes\": [3]}", \
      esker_squeeze(esker_max(x, (const int[]){1, 3}, 2, true), (const int[]){3}, 1)) \
    X(squeeze_all, "{\"type\": \"max\", \"axes\": [1, 3], \"keepdims\": true}, {\"type\": \"squeeze\"}", \
      esker_squeeze(esker_max(x, (const int[]){1, 3}, 2, true), (const int[]){1, 3}, 2)) \
    X(unsqueeze, "{\"type\": \"unsqueeze\", \"axis\": 2}", esker_unsqueeze(x, 2)) \
    X(unsqueeze_last, "{\"type\": \"unsqueeze\", \"axis\": -1}", esker_unsqueeze(x, -1)) \
    X(expand, "{\"type\": \"mean\", \"axes\": [2], \"keepdims\": true}, {\"type\": \"expand\", \"shape\": [0, 5, 4]}", \
      esker_expand(esker_mean(x, (const int[]){2}, 1, true), &(esker_shape){4, {0, 0, 5, 4}})) \
    X(slice, "{\"type\": \"slice\", \"start\": [1, 0, -3], \"stop\": [0, 2, -1]}", \
      esker_slice(x, (const esker_range[]){{0}, {1, 0, 1}, {0, 2, 1}, {-3, -1, 1}}, 4)) \
    X(slice_steps, "{\"type\": \"slice\", \"step\": [1, 2, 3]}", esker_slice(x, (const esker_range[]){{0}, {0, 0, 1}, {0, 0, 2}, {0, 0, 3}}, 4)) \
    X(pad, "{\"type\": \"pad\", \"before\": [0, 1], \"after\": [2, 0], \"value\": -0.5}", \
      esker_pad(x, (const int64_t[]){0, 0, 1}, (const int64_t[]){0, 2, 0}, 3, ESKER_PAD_CONSTANT, -0.5f)) \
    X(pad_reflect, "{\"type\": \"pad\", \"after\": [0, 2, 3], \"mode\": \"reflect\"}", \
      esker_pad(x, NULL, (const int64_t[]){0, 0, 2, 3}, 4, ESKER_PAD_REFLECT, 0)) \
    X(pad_edge, "{\"type\": \"pad\", \"before\": [4, 1, 1], \"mode\": \"edge\"}", \
      esker_pad(x, (const int64_t[]){0, 4, 1, 1}, NULL, 4, ESKER_PAD_EDGE, 0)) \
    X(roll, "{\"type\": \"roll\", \"axis\": 3, \"shift\": -5}", esker_roll(x, 3, -5)) \
    X(tile, "{\"type\": \"tile\", \"repeats\": [2, 1, 3]}", esker_tile(x, (const int64_t[]){2, 1, 3}, 3)) \
    X(tril, "{\"type\": \"tril\"}", esker_tril(x, 0)) \
    X(triu, "{\"type\": \"triu\", \"diagonal\": -1}", esker_triu(x, -1)) \
    X(flip, "{\"type\": \"flip\", \"axis\": 2}", esker_flip(x, 2)) \
    X(concat, OTHER "{\"name\": \"third\", \"type\": \"neg\"}, {\"type\": \"concat\", \"axis\": 2, \"inputs\": [\"x\", \"other\", \"x\", \"third\", \"other\"]}", \
      esker_concat((esker_node *[]){x, esker_tanh(x), x, esker_neg(esker_tanh(x)), esker_tanh(x)}, 5, 2)) \
    X(stack, OTHER "{\"type\": \"stack\", \"axis\": -1, \"inputs\": [\"x\", \"other\", \"x\"]}", esker_stack((esker_node *[]){x, esker_tanh(x), x}, 3, -1)) \
    X(equal, PAIR("\"type\": \"equal\""), esker_equal(x, esker_tanh(x))) \
    X(not_equal, PAIR("\"type\": \"not_equal\""), esker_not_equal(x, esker_tanh(x))) \
    X(less, PAIR("\"type\": \"less\""), esker_less(x, esker_tanh(x))) \
    X(less_equal, PAIR("\"type\": \"less_equal\""), esker_less_equal(x, esker_tanh(x))) \
    X(greater, PAIR("\"type\": \"greater\""), esker_greater(x, esker_tanh(x))) \
    X(greater_equal, PAIR("\"type\": \"greater_equal\""), esker_greater_equal(x, esker_tanh(x))) \
    X(logical_and, "{\"name\": \"a\", \"type\": \"convert\", \"dtype\": \"uint8\"}, {\"name\": \"b\", \"type\": \"logical_not\"}, {\"type\": \"logical_and\", \"inputs\": [\"a\", \"b\"]}", \
      esker_logical_and(esker_convert(x, ESKER_DTYPE_U8), esker_logical_not(esker_convert(x, ESKER_DTYPE_U8)))) \
    X(logical_or, "{\"name\": \"a\", \"type\": \"convert\", \"dtype\": \"uint8\"}, {\"name\": \"b\", \"type\": \"logical_not\"}, {\"type\": \"logical_or\", \"inputs\": [\"a\", \"b\"]}", \
      esker_logical_or(esker_convert(x, ESKER_DTYPE_U8), esker_logical_not(esker_convert(x, ESKER_DTYPE_U8)))) \
    X(logical_xor, "{\"name\": \"a\", \"type\": \"convert\", \"dtype\": \"uint8\"}, {\"name\": \"b\", \"type\": \"logical_not\"}, {\"type\": \"logical_xor\", \"inputs\": [\"a\", \"b\"]}", \
      esker_logical_xor(esker_convert(x, ESKER_DTYPE_U8), esker_logical_not(esker_convert(x, ESKER_DTYPE_U8)))) \
    X(where, "{\"name\": \"zero\", \"type\": \"full\", \"value\": 0}, {\"name\": \"above\", \"type\": \"greater\", \"inputs\": [\"x\", \"zero\"]}, " \
             "{\"type\": \"where\", \"inputs\": [\"above\", \"x\", \"zero\"]}", \
      esker_where(esker_greater(x, constant(x, &(esker_shape){0}, 0)), x, constant(x, &(esker_shape){0}, 0))) \
    X(full, "{\"name\": \"c\", \"type\": \"full\", \"shape\": [3, 1], \"value\": 2.5}, {\"type\": \"mul\", \"inputs\": [\"c\", \"x\"]}", \
      esker_mul(constant(x, &(esker_shape){2, {3, 1}}, 2.5f), x)) \
    X(matmul, OTHER "{\"type\": \"matmul\", \"inputs\": [\"x\", \"other\"], \"transpose_b\": true}", \
      esker_matmul(x, esker_tanh(x), &(esker_matmul_desc){.transpose_b = true})) \
    X(matmul_shared, "{\"name\": \"c\", \"type\": \"full\", \"shape\": [4, 5], \"value\": 0.5}, {\"type\": \"matmul\", \"inputs\": [\"x\", \"c\"]}", \
      esker_matmul(x, constant(x, &(esker_shape){2, {4, 5}}, 0.5f), NULL)) \
    X(rows_by_matrix, "{\"name\": \"flat\", \"type\": \"flatten\"}, {\"name\": \"c\", \"type\": \"full\", \"shape\": [24, 5], \"value\": 0.5}, {\"type\": \"matmul\", \"inputs\": [\"flat\", \"c\"]}", \
      esker_matmul(esker_flatten(x), constant(x, &(esker_shape){2, {24, 5}}, 0.5f), NULL)) \
    X(attention, OTHER "{\"type\": \"dot_product_attention\", \"inputs\": [\"x\", \"other\", \"x\"], \"causal\": true}", \
      esker_attention(x, esker_tanh(x), x, &(esker_attention_desc){.causal = true})) \
    X(attention_scale, OTHER "{\"type\": \"dot_product_attention\", \"inputs\": [\"x\", \"other\", \"x\"], \"scale\": 2}", \
      esker_attention(x, esker_tanh(x), x, &(esker_attention_desc){.scale = 2})) \
    X(convert, "{\"type\": \"convert\", \"dtype\": \"int8\"}, {\"type\": \"convert\", \"dtype\": \"float32\"}", \
      esker_convert(esker_convert(x, ESKER_DTYPE_I8), ESKER_DTYPE_F32)) \
    X(one_hot, INDICES "{\"type\": \"one_hot\", \"classes\": 3}", esker_one_hot(indices(x), 3)) \
    X(gather, INDICES "{\"type\": \"gather\", \"inputs\": [\"x\", \"i\"], \"axis\": 2}", esker_gather(x, indices(x), 2)) \
    X(scatter_add, INDICES "{\"type\": \"scatter_add\", \"inputs\": [\"x\", \"i\", \"x\"], \"axis\": -1}", esker_scatter_add(x, indices(x), x, 3)) \
    X(take, "{\"name\": \"table\", \"type\": \"full\", \"shape\": [3, 2], \"value\": 7}, " INDICES "{\"type\": \"take\", \"inputs\": [\"table\", \"i\"]}", \
      esker_take(constant(x, &(esker_shape){2, {3, 2}}, 7), indices(x), 0)) \
    X(random_uniform, "{\"type\": \"random_uniform\", \"lo\": -2}", esker_random_uniform_like(x, -2, 1)) \
    X(random_normal, "{\"type\": \"random_normal\", \"deviation\": 3}", esker_random_normal_like(x, 0, 3)) \
    X(random_bernoulli, "{\"type\": \"random_bernoulli\", \"p\": 0.25}", esker_random_bernoulli_like(x, 0.25f)) \
    X(layer_norm, "{\"type\": \"layer_norm\", \"axes\": 2, \"affine\": false}", esker_layer_norm(x, 2, NULL, NULL, 0)) \
    X(rms_norm, "{\"type\": \"rms_norm\", \"eps\": 0.5, \"affine\": false}", esker_rms_norm(x, 1, NULL, 0.5f)) \
    X(group_norm, "{\"type\": \"group_norm\", \"groups\": 2, \"affine\": false}", esker_group_norm(x, 2, NULL, NULL, 0)) \
    X(instance_norm, "{\"type\": \"instance_norm\"}", esker_instance_norm(x, NULL, NULL, 0)) \
    X(normalize, "{\"type\": \"normalize\", \"axis\": 3}", esker_normalize(x, 3, 0)) \
    X(cumsum, "{\"type\": \"cumsum\", \"axis\": -2}", esker_cumsum(x, 2))
/* clang-format on */

typedef struct kind {
    const char *name, *text;
    esker_node *(*record)(esker_node *x);
} kind;

#define FUNCTION(name, text, expression)            \
    static esker_node *record_##name(esker_node *x) \
    {                                               \
        return expression;                          \
    }
KINDS(FUNCTION)
#define ROW(name, text, expression) {#name, MODEL(text), record_##name},
static const kind kinds[] = {KINDS(ROW)};

static esker_model *read_text(const char *text)
{
    esker_model *net;
    assert_ok(esker_model_from_json(text, strlen(text), "text", &net));
    return net;
}

/* The output of a graph over one input, for numbers in -1 .. 1. */
static double *evaluate(esker_graph *graph, esker_node *x, esker_node *y, int64_t *n)
{
    static double numbers[BATCH * 24];
    double **values;
    const double **given = calloc(graph->n_nodes, sizeof *given);
    esker__random random;
    assert_non_null(given);
    esker__random_init(&random, test_seed(), 1);
    for (int i = 0; i < BATCH * 24; i++) numbers[i] = 2 * esker__random_unit(&random) - 1;
    given[x->id] = numbers;
    assert_ok(esker__evaluate(graph, given, &y, 1, &values, NULL));
    *n = esker__elems(&y->type.shape);
    double *result = calloc((size_t)*n, sizeof *result);
    assert_non_null(result);
    memcpy(result, values[y->id], (size_t)*n * sizeof *result);
    esker__evaluate_free(graph, values);
    free(given);
    return result;
}

static void model_computes(esker_model *net, const esker_node *as, const double *want)
{
    esker_graph *graph;
    esker_node *x, *y;
    int64_t n;
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = BATCH}, &graph, &x, &y));
    assert_true(esker_shape_equal(&y->type.shape, &as->type.shape));
    assert_int_equal(y->type.dtype, as->type.dtype);
    double *got = evaluate(graph, x, y, &n);
    for (int64_t i = 0; i < n; i++)
        if (!(got[i] == want[i]))
            fail_msg("element %lld is %.12g, want %.12g (ESKER_TEST_SEED=%llu)", (long long)i, got[i], want[i],
                     (unsigned long long)test_seed());
    free(got);
    esker_graph_destroy(graph);
}

static void json_computes_what_c_records(void **state)
{
    const kind *k = *state;
    esker_graph *graph;
    int64_t n;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {BATCH, 2, 3, 4}});
    esker_node *y = k->record(x);
    assert_ok(esker_graph_status(graph));
    double *want = evaluate(graph, x, y, &n);

    esker_model *net = read_text(k->text), *again;
    char *text, *second;
    model_computes(net, y, want);
    /* What is written reads back as the same, and is written the same. */
    assert_ok(esker_model_to_json(net, &text));
    again = read_text(text);
    assert_ok(esker_model_to_json(again, &second));
    assert_string_equal(text, second);
    model_computes(again, y, want);
    esker_text_free(text);
    esker_text_free(second);
    esker_model_destroy(again);
    esker_model_destroy(net);

    /* And so does what C recorded by hand. */
    assert_ok(esker_model_create(&net));
    x = esker_model_input(net, "x", &(esker_shape){3, {2, 3, 4}});
    assert_ok(esker_model_output(net, k->record(x)));
    assert_ok(esker_model_to_json(net, &text));
    again = read_text(text);
    model_computes(again, y, want);
    assert_ok(esker_model_to_json(again, &second));
    assert_string_equal(text, second);
    esker_text_free(text);
    esker_text_free(second);
    esker_model_destroy(again);
    esker_model_destroy(net);
    free(want);
    esker_graph_destroy(graph);
}

/* ---- Parameters of their own ---- */

static void positions_are_learned(void **state)
{
    (void)state;
    esker_model *net = read_text(
        "{\"name\": \"gpt\", \"input\": {\"name\": \"tokens\", \"shape\": [5]}, \"layers\": ["
        "{\"name\": \"wte\", \"type\": \"embedding\", \"rows\": 11, \"features\": 4},"
        "{\"name\": \"wpe\", \"type\": \"parameter\", \"shape\": [5, 4], \"init\": \"normal\", \"value\": 0.02},"
        "{\"name\": \"sum\", \"type\": \"add\", \"inputs\": [\"wte\", \"wpe\"]},"
        "{\"name\": \"fixed\", \"type\": \"parameter\", \"shape\": [4], \"init\": \"constant\", \"value\": 3, \"frozen\": "
        "true},"
        "{\"name\": \"out\", \"type\": \"mul\", \"inputs\": [\"sum\", \"fixed\"]}]}");
    esker_params *params = esker_model_get_params(net);
    esker_param_info info;
    float values[20];
    int wpe = esker_params_find(params, "wpe.weight"), fixed = esker_params_find(params, "fixed.weight");
    assert_true(wpe >= 0 && fixed >= 0);
    assert_ok(esker_params_get_info(params, wpe, &info));
    assert_true(esker_shape_equal(&info.shape, &(esker_shape){2, {5, 4}}) && !info.frozen);
    assert_ok(esker_params_get_info(params, fixed, &info));
    assert_true(info.frozen);
    assert_ok(esker_params_read(params, fixed, values, 4));
    assert_true(values[0] == 3 && values[3] == 3);
    assert_ok(esker_params_read(params, wpe, values, 20));
    double squares = 0;
    for (int i = 0; i < 20; i++) squares += (double)values[i] * (double)values[i];
    assert_true(squares > 0 && squares < 20 * 0.02 * 0.02 * 4);

    /* The same from C. */
    esker_model *twin;
    char *text, *its;
    assert_ok(esker_model_create(&twin));
    assert_ok(esker_model_set_name(twin, "gpt"));
    esker_node *x = esker_model_input(twin, "tokens", &(esker_shape){1, {5}});
    x = esker_layer_embedding(twin, x, &(esker_layer_embedding_desc){.rows = 11, .features = 4, .name = "wte"});
    esker_node *p = esker_layer_parameter(
        twin,
        &(esker_layer_parameter_desc){.shape = {2, {5, 4}}, .init = ESKER_INIT_NORMAL, .value = 0.02f, .name = "wpe"});
    x = esker_label(esker_add(x, p), "sum");
    p = esker_layer_parameter(
        twin, &(esker_layer_parameter_desc){
                  .shape = {1, {4}}, .init = ESKER_INIT_CONSTANT, .value = 3, .frozen = true, .name = "fixed"});
    assert_ok(esker_model_output(twin, esker_label(esker_mul(x, p), "out")));
    assert_ok(esker_model_to_json(net, &text));
    assert_ok(esker_model_to_json(twin, &its));
    assert_string_equal(text, its);
    esker_text_free(text);
    esker_text_free(its);
    esker_model_destroy(twin);
    esker_model_destroy(net);

    assert_ok(esker_model_create(&twin));
    assert_null(esker_layer_parameter(twin, &(esker_layer_parameter_desc){.shape = {0}}));
    assert_fails(esker_model_status(twin), ESKER_ERR_INVALID, "layer parameter: shape: rank 0, 1 to 5 are possible");
    esker_model_destroy(twin);
}

int main(void)
{
    enum { N_KINDS = sizeof kinds / sizeof *kinds };
    struct CMUnitTest tests[N_KINDS + 1] = {cmocka_unit_test(positions_are_learned)};
    int n = 1;
    for (int i = 0; i < N_KINDS; i++)
        tests[n++] = (struct CMUnitTest){.name = kinds[i].name,
                                         .test_func = json_computes_what_c_records,
                                         .initial_state = (void *)(uintptr_t)&kinds[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}

#else

int main(void)
{
    return test_without_libcjson();
}

#endif
