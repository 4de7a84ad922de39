/* Recording: errors that stick, what messages say, names of inputs, and copies for another batch size. */
#include "support/test.h"

#include <stdio.h>

#include <esker/ops.h>
#include "base/fail.h"
#include "graph/graph.h"
#include "graph/params.h"

static const esker_shape four = {1, {4}}, five = {1, {5}}, matrix = {2, {3, 4}};

static esker_node *input(esker_graph *graph, const char *name, const esker_shape *shape)
{
    return esker_input(graph, name, ESKER_DTYPE_F32, shape);
}

static esker_graph *new_graph(void)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    return graph;
}

static void the_first_failure_is_kept(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *a = input(graph, "a", &four), *b = input(graph, "b", &five);
    assert_ok(esker_graph_status(graph));
    esker_node *bad = esker_add(a, b);
    assert_null(bad);
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "add(float32 [4], float32 [5])");
    size_t n_nodes = graph->n_nodes;

    /* Everything after it returns NULL, records nothing, and leaves the message. */
    assert_null(esker_relu(bad));
    assert_null(esker_add(bad, a));
    assert_null(esker_mul(a, bad));
    assert_null(esker_relu(a));
    assert_null(esker_matmul(a, b, NULL));
    assert_null(esker_label(bad, "name"));
    assert_null(input(graph, "c", &four));
    assert_null(esker_full(graph, &four, 1));
    assert_null(esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = four}));
    assert_null(esker_node_get_shape(bad));
    (void)esker__fail(ESKER_ERR_IO, "something else");
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "add(float32 [4], float32 [5])");
    assert_int_equal(graph->n_nodes, n_nodes);
    assert_int_equal(esker_params_count(esker_graph_get_params(graph)), 0);
    esker_node *grad = a;
    assert_fails(esker_gradients(bad, &a, 1, &grad), ESKER_ERR_INVALID, "add(float32 [4], float32 [5])");
    assert_null(grad);
    esker_graph_destroy(graph);
    esker_graph_destroy(NULL);
}

static void null_without_a_failure_says_so(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    assert_null(esker_add(NULL, NULL)); /* there is no graph to tell */
    assert_null(esker_relu(NULL));
    assert_ok(esker_graph_status(graph));
    assert_null(esker_add(NULL, input(graph, "x", &four)));
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "add: input 0 is NULL");
    esker_graph_destroy(graph);
    graph = new_graph();
    assert_null(esker_div(input(graph, "x", &four), NULL));
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "div: input 1 is NULL");
    esker_graph_destroy(graph);
}

static void graphs_do_not_mix(void **state)
{
    (void)state;
    esker_graph *ours = new_graph(), *theirs = new_graph();
    esker_node *a = input(ours, "a", &four), *b = input(theirs, "b", &four);
    assert_null(esker_mul(a, b));
    assert_fails(esker_graph_status(ours), ESKER_ERR_INVALID, "mul: input 1 is of another graph");
    assert_ok(esker_graph_status(theirs));
    assert_non_null(esker_relu(b));
    esker_graph_destroy(ours);
    esker_graph_destroy(theirs);
}

static esker_node *record_bad(esker_graph *graph, int i)
{
    const esker_shape deep = {7, {1, 1, 1, 1, 1, 1}}, zero = {2, {3, 0}}, huge = {2, {INT64_C(1) << 30, 1 << 20}};
    char name[49];
    memset(name, 'n', 48);
    name[48] = 0;
    esker_node *m = input(graph, "m", &matrix);
    switch (i) {
    case 0: return esker_matmul(m, m, NULL);
    case 1: return input(graph, "x", &deep);
    case 2: return input(graph, "x", &zero);
    case 3: return input(graph, "x", &huge);
    case 4: return input(graph, "x", NULL);
    case 5: return input(graph, "m", &four);
    case 6: return input(graph, "", &four);
    case 7: return input(graph, NULL, &four);
    case 8: return input(graph, name, &four);
    case 9: return esker_input(graph, "x", (esker_dtype)5, &four);
    case 10: return esker_full(graph, &deep, 0);
    case 11: return esker_full(graph, NULL, 0);
    case 12: return esker_parameter(graph, NULL);
    case 13: return esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = zero});
    case 14: return esker_parameter(graph, &(esker_param_desc){.shape = four});
    case 15: return esker_relu(esker_input(graph, "i", ESKER_DTYPE_I32, &four));
    case 16: return esker_reshape(m, &five);
    }
    return NULL;
}

static void messages_name_what_was_asked(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "matmul(float32 [3, 4], float32 [3, 4])",
        "input: rank 7, 0 to 6",
        "input: shape [3, 0]: axis 1 has 0 elements",
        "input: shape [1073741824, 1048576]: more than 2^48 elements",
        "input x: no shape",
        "input m: there is one already",
        "name needs 1 to 47 characters",
        "name needs 1 to 47 characters",
        "name needs 1 to 47 characters",
        "input x: unknown element type 5",
        "full: rank 7",
        "full: no shape",
        "parameter: no description",
        "parameter w: shape [3, 0]: axis 1 has 0",
        "parameter: a name is needed",
        "relu(int32 [4])",
        "reshape(float32 [3, 4])",
    };
    for (int i = 0; i < (int)(sizeof parts / sizeof parts[0]); i++) {
        esker_graph *graph = new_graph();
        assert_null(record_bad(graph, i));
        assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, parts[i]);
        esker_graph_destroy(graph);
    }
    assert_null(esker_input(NULL, "x", ESKER_DTYPE_F32, &four));
    assert_null(esker_full(NULL, &four, 0));
    assert_null(esker_parameter(NULL, &(esker_param_desc){.name = "w", .shape = four}));
}

static void signatures_fit(void **state)
{
    (void)state;
    char text[ESKER__SIGNATURE_BYTES];
    esker_graph *graph = new_graph();
    esker_node *scalar = input(graph, "s", &(esker_shape){0}), *nodes[8];
    const esker_shape long_shape = {6, {INT64_C(1) << 40, 1, 1, 1, 1, 1}};
    esker_node *wide = input(graph, "w", &long_shape);
    assert_string_equal(esker__signature(text, "op", NULL, 0), "op()");
    assert_string_equal(esker__signature(text, "op", &scalar, 1), "op(float32 [])");
    for (int i = 0; i < 8; i++) nodes[i] = i % 2 ? scalar : wide;
    esker__signature(text, "op", nodes, 8);
    assert_non_null(strstr(text, "float32 [], ... 8 in all)"));
    for (int i = 0; i < 8; i++) nodes[i] = wide;
    char name[ESKER__SIGNATURE_BYTES * 2];
    memset(name, 'o', sizeof name);
    name[sizeof name - 1] = 0;
    assert_int_equal(strlen(esker__signature(text, name, nodes, 8)), ESKER__SIGNATURE_BYTES - 1);
    esker_graph_destroy(graph);
}

static void nodes_say_what_they_are(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_U8, &matrix);
    assert_true(esker_shape_equal(esker_node_get_shape(x), &matrix));
    assert_int_equal(esker_node_get_dtype(x), ESKER_DTYPE_U8);
    char label[] = "layer";
    esker_node *y = esker_label(esker_convert(x, ESKER_DTYPE_F32), label);
    label[0] = 'p';
    assert_string_equal(y->label, "layer"); /* copied */
    assert_int_equal(esker_node_get_dtype(y), ESKER_DTYPE_F32);
    assert_int_equal(y->id, 1);
    assert_ptr_equal(y->inputs[0], x);
    assert_ptr_equal(y->producer, y);
    esker_graph_destroy(graph);
}

/* A chain as a model records it with a batch of 3, copied node by node to a batch of 7. */
static void copies_infer_again(void **state)
{
    (void)state;
    esker_graph *graph = new_graph(), *copy;
    esker_node *x = input(graph, "x", &(esker_shape){3, {3, 2, 6}});
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {2, {5, 12}}});
    esker_node *y = esker_softmax(
        esker_matmul(esker_flatten(esker_label(esker_relu(x), "act")), w, &(esker_matmul_desc){.transpose_b = true}), 1);
    esker_node *s = esker_mean(y, (int[]){0}, 1, false);
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_graph_create(esker_graph_get_params(graph), &copy));
    esker_node *map[64] = {NULL}, *inputs[8];
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const esker_node *node = graph->nodes[i];
        for (int j = 0; j < node->n_inputs; j++) inputs[j] = map[node->inputs[j]->id];
        map[i] = node == x ? input(copy, "x", &(esker_shape){3, {7, 2, 6}}) : esker__record_copy(copy, node, inputs);
    }
    assert_ok(esker_graph_status(copy));
    assert_true(esker_shape_equal(esker_node_get_shape(map[y->id]), &(esker_shape){2, {7, 5}}));
    assert_true(esker_shape_equal(esker_node_get_shape(map[s->id]), &(esker_shape){1, {5}}));
    assert_true(esker_shape_equal(esker_node_get_shape(map[w->id]), &(esker_shape){2, {5, 12}}));
    assert_string_equal(map[w->id]->label, "w");
    int n_labels = 0;
    for (size_t i = 0; i < copy->n_nodes; i++) n_labels += copy->nodes[i]->label && !strcmp(copy->nodes[i]->label, "act");
    assert_int_equal(n_labels, 1);
    /* One that does not fit the other inputs fails by the op's own rule. */
    esker_node *bad[2] = {map[x->id], map[w->id]};
    assert_null(esker__record_copy(copy, map[s->id]->inputs[0]->inputs[0], bad));
    assert_fails(esker_graph_status(copy), ESKER_ERR_INVALID, "matmul(float32 [7, 2, 6], float32 [5, 12])");
    esker_graph_destroy(graph);
    esker_graph_destroy(copy);
}

/* ---- The interpreter ---- */

static void the_reference_evaluates(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four), *unused = esker_exp(x);
    esker_node *y = esker_mul(
        esker_reshape(esker_sub(x, esker_full(graph, &(esker_shape){0}, 1)), &(esker_shape){2, {2, 2}}),
        esker_full(graph, &(esker_shape){1, {2}}, 3));
    esker_node *s = esker_sum(x, NULL, 0, false);
    const double xs[4] = {1, 2, -3, 0.5}, *given[32] = {NULL};
    double **values, **magnitudes;
    assert_ok(esker_graph_status(graph));
    esker_node *outputs[2] = {y, s};
    assert_fails(esker__evaluate(graph, given, outputs, 2, &values, NULL), ESKER_ERR_INVALID,
                 "no value was given for input x");
    assert_null(values);
    given[x->id] = xs;
    assert_ok(esker__evaluate(graph, given, outputs, 2, &values, &magnitudes));
    static const double want[4] = {0, 3, -12, -1.5};
    for (int i = 0; i < 4; i++) assert_true(values[y->id][i] == want[i]);
    assert_true(values[s->id][0] == 0.5);
    assert_true(magnitudes[s->id][0] == 6.5); /* the sum of |terms| */
    for (int i = 0; i < 4; i++) assert_true(magnitudes[y->id][i] >= 0);
    assert_null(values[unused->id]);
    esker__evaluate_free(graph, values);
    esker__evaluate_free(graph, magnitudes);
    esker__evaluate_free(graph, NULL);
    assert_null(esker_add(x, y));
    assert_fails(esker__evaluate(graph, given, outputs, 1, &values, NULL), ESKER_ERR_INVALID, "add(");
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_is_kept),
        cmocka_unit_test(null_without_a_failure_says_so),
        cmocka_unit_test(graphs_do_not_mix),
        cmocka_unit_test(messages_name_what_was_asked),
        cmocka_unit_test(signatures_fit),
        cmocka_unit_test(nodes_say_what_they_are),
        cmocka_unit_test(copies_infer_again),
        cmocka_unit_test(the_reference_evaluates),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
