/* Gradients as recorded nodes: joins, broadcasts, what is recorded at all, and refusals that name the path. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include "base/fail.h"
#include "graph/graph.h"

static const esker_shape scalar = {0}, four = {1, {4}}, matrix = {2, {3, 4}};

static esker_graph *new_graph(void)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    return graph;
}

static esker_node *input(esker_graph *graph, const char *name, const esker_shape *shape)
{
    return esker_input(graph, name, ESKER_DTYPE_F32, shape);
}

static esker_node *sum_all(esker_node *x)
{
    return esker_sum(x, NULL, 0, false);
}

/* The values of `node`, with inputs filled from their ids. */
static void evaluate(esker_graph *graph, esker_node *node, double *out)
{
    double xs[64][16], **values;
    const double *given[64] = {NULL};
    assert_true(graph->n_nodes <= 64);
    for (size_t i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i]->op != &esker__op_input) continue;
        for (int k = 0; k < 16; k++) xs[i][k] = 0.5 + 0.25 * k + 0.125 * (double)i;
        given[i] = xs[i];
    }
    assert_ok(esker__evaluate(graph, given, &node, 1, &values, NULL));
    int64_t n;
    assert_ok(esker_shape_elems(&node->type.shape, &n));
    memcpy(out, values[node->id], (size_t)n * sizeof *out);
    esker__evaluate_free(graph, values);
}

static void joins_add_up(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four);
    /* 3 x + x^2 + x, where x^2 uses x twice in one node. */
    esker_node *y = esker_add(esker_add(esker_affine(x, 3, 0), esker_mul(x, x)), x), *grad;
    double got[4], xs[4];
    assert_ok(esker_gradients(sum_all(y), &x, 1, &grad));
    evaluate(graph, grad, got);
    evaluate(graph, x, xs);
    for (int i = 0; i < 4; i++) assert_true(fabs(got[i] - (4 + 2 * xs[i])) < 1e-12);
    assert_int_equal(grad->phase, ESKER__PHASE_BACKWARD);
    assert_int_equal(y->phase, ESKER__PHASE_FORWARD);
    assert_int_equal(esker_relu(x)->phase, ESKER__PHASE_FORWARD); /* recorded after it */
    esker_graph_destroy(graph);
}

static void broadcasts_are_summed_back(void **state)
{
    (void)state;
    static const esker_shape shapes[] = {{0}, {1, {1}}, {1, {4}}, {2, {1, 4}}, {2, {3, 1}}, {2, {1, 1}}, {2, {3, 4}}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        esker_graph *graph = new_graph();
        esker_node *x = input(graph, "x", &matrix), *b = input(graph, "b", &shapes[s]), *wrt[2] = {b, x}, *grads[2];
        assert_ok(esker_gradients(sum_all(esker_mul(x, b)), wrt, 2, grads));
        assert_true(esker_shape_equal(&grads[0]->type.shape, &shapes[s]));
        assert_true(esker_shape_equal(&grads[1]->type.shape, &matrix));
        /* d/db of sum(x b) adds x over the axes along which b was stretched. */
        double got[12], xs[12], want[12] = {0};
        evaluate(graph, grads[0], got);
        evaluate(graph, x, xs);
        int64_t n;
        assert_ok(esker_shape_elems(&shapes[s], &n));
        bool rows = n == 3 || n == 12, columns = n == 4 || n == 12;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 4; j++) want[(rows ? i : 0) * (columns ? 4 : 1) + (columns ? j : 0)] += xs[i * 4 + j];
        for (int64_t i = 0; i < n; i++) assert_true(fabs(got[i] - want[i]) < 1e-12);
        esker_graph_destroy(graph);
    }
}

static int count(const esker_graph *graph, size_t from, const char *op)
{
    int n = 0;
    for (size_t i = from; i < graph->n_nodes; i++) n += strcmp(graph->nodes[i]->op->name, op) == 0;
    return n;
}

/* loss = sum(tanh(x w1) w2 + side branches): only what leads to a wanted value is recorded. */
static void only_wanted_gradients_are_recorded(void **state)
{
    (void)state;
    static const struct {
        int wrt[3], n_wrt;
        int matmuls, tanhs; /* of the backward pass */
    } rows[] = {
        {{2}, 1, 1, 0},       /* w2: one product, and nothing of what lies before it */
        {{1}, 1, 2, 1},       /* w1: through w2's product and tanh */
        {{1, 2}, 2, 3, 1},    /* both */
        {{0, 1, 2}, 3, 4, 1}, /* and x */
        {{0}, 0, 0, 0},       /* none */
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        esker_graph *graph = new_graph();
        esker_node *nodes[3] = {input(graph, "x", &(esker_shape){2, {3, 4}}), input(graph, "w1", &(esker_shape){2, {4, 4}}),
                                input(graph, "w2", &(esker_shape){2, {4, 2}})};
        esker_node *hidden = esker_tanh(esker_matmul(nodes[0], nodes[1], NULL));
        esker_node *frozen = esker_exp(input(graph, "frozen", &(esker_shape){1, {2}}));
        esker_node *loss = sum_all(esker_add(esker_matmul(hidden, nodes[2], NULL), frozen));
        esker_log(hidden); /* depends on x and w1, but the loss does not depend on it */
        assert_ok(esker_graph_status(graph));
        esker_node *wrt[3], *grads[3];
        for (int i = 0; i < rows[r].n_wrt; i++) wrt[i] = nodes[rows[r].wrt[i]];
        size_t before = graph->n_nodes;
        assert_ok(esker_gradients(loss, wrt, rows[r].n_wrt, grads));
        assert_int_equal(count(graph, before, "matmul"), rows[r].matmuls);
        assert_int_equal(count(graph, before, "tanh_grad"), rows[r].tanhs);
        assert_int_equal(count(graph, before, "exp"), 0);
        assert_int_equal(count(graph, before, "mul"), 0); /* exp's rule multiplies: none for the frozen branch */
        assert_int_equal(count(graph, before, "div"), 0); /* log's rule divides */
        if (!rows[r].n_wrt) assert_int_equal(graph->n_nodes, before);
        for (int i = 0; i < rows[r].n_wrt; i++) assert_true(esker_shape_equal(&grads[i]->type.shape, &wrt[i]->type.shape));
        esker_graph_destroy(graph);
    }
}

static void unreached_gets_zeros(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four), *y = input(graph, "y", &matrix), *loss = sum_all(x);
    esker_node *after = esker_exp(loss), *wrt[4] = {y, x, after, loss}, *grads[4];
    double got[12];
    assert_ok(esker_gradients(loss, wrt, 4, grads));
    evaluate(graph, grads[0], got);
    for (int i = 0; i < 12; i++) assert_true(got[i] == 0);
    evaluate(graph, grads[1], got);
    for (int i = 0; i < 4; i++) assert_true(got[i] == 1);
    evaluate(graph, grads[2], got); /* comes after the loss */
    assert_true(got[0] == 0);
    evaluate(graph, grads[3], got); /* is the loss */
    assert_true(got[0] == 1);
    esker_graph_destroy(graph);
}

/* Of the whole: the gradient of a gradient. */
static void gradients_have_gradients(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &scalar), *first, *second;
    double got, at;
    assert_ok(esker_gradients(esker_mul(esker_mul(x, x), x), &x, 1, &first));
    assert_ok(esker_gradients(first, &x, 1, &second));
    evaluate(graph, second, &got);
    evaluate(graph, x, &at);
    assert_true(fabs(got - 6 * at) < 1e-12);
    esker_graph_destroy(graph);
}

/* ---- Refusals ---- */

static esker_status infer_same(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr, (void)n_inputs;
    out[0] = out[1] = inputs[0]->type;
    return ESKER_OK;
}

static const esker__op floor_op = {.name = "floor", .n_inputs = 1, .n_outputs = 1, .infer = infer_same};
static const esker__op pair_op = {.name = "pair", .n_inputs = 1, .n_outputs = 2, .infer = infer_same};

static void an_op_without_a_rule_is_named(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = esker_label(input(graph, "x", &four), "weights"), *grad = x;
    esker_node *y = esker_label(esker_tanh(x), "fc1");
    esker_node *z = esker__record(&floor_op, NULL, &y, 1);
    esker_node *loss = sum_all(esker_exp(z));
    assert_fails(esker_gradients(loss, &x, 1, &grad), ESKER_ERR_UNSUPPORTED,
                 "floor has no gradient with respect to input 0, on the path floor <- fc1 <- weights");
    assert_null(grad);
    assert_fails(esker_graph_status(graph), ESKER_ERR_UNSUPPORTED, "floor has no gradient"); /* it sticks */
    assert_int_equal(graph->phase, ESKER__PHASE_FORWARD);
    esker_graph_destroy(graph);

    /* Where no wanted value lies behind it, nobody asks. */
    graph = new_graph();
    x = input(graph, "x", &four);
    esker_node *w = input(graph, "w", &four);
    z = esker__record(&floor_op, NULL, &x, 1);
    assert_ok(esker_gradients(sum_all(esker_mul(w, z)), &w, 1, &grad));
    esker_graph_destroy(graph);

    /* A further output is named after its operation. */
    graph = new_graph();
    x = input(graph, "x", &four);
    z = esker__output(esker__record(&pair_op, NULL, &x, 1), 1);
    assert_fails(esker_gradients(sum_all(z), &x, 1, &grad), ESKER_ERR_UNSUPPORTED, "pair has no gradient");
    esker_graph_destroy(graph);

    /* A path longer than the message. */
    graph = new_graph();
    x = input(graph, "x", &four);
    y = x;
    for (int i = 0; i < 500; i++) y = esker_tanh(y);
    assert_fails(esker_gradients(sum_all(esker__record(&floor_op, NULL, &y, 1)), &x, 1, &grad), ESKER_ERR_UNSUPPORTED,
                 "floor <- tanh <- tanh <- tanh");
    esker_graph_destroy(graph);
}

static void a_loss_is_one_float(void **state)
{
    (void)state;
    for (int i = 0; i < 7; i++) {
        static const char *const parts[] = {"one float32 element, it is float32 [4]",
                                            "it is int32 []",
                                            "the loss is NULL",
                                            "wrt[1] is NULL",
                                            "wrt[1] is of another graph",
                                            "wrt[1] is uint8, only float32",
                                            "the loss is NULL"};
        esker_graph *graph = new_graph(), *other = new_graph();
        esker_node *x = input(graph, "x", &four), *loss = sum_all(x), *wrt[2] = {x, x}, *grads[2] = {x, x};
        if (i == 0) loss = x;
        if (i == 1) loss = esker_convert(loss, ESKER_DTYPE_I32);
        if (i == 2 || i == 6) loss = NULL;
        if (i == 3) wrt[1] = NULL;
        if (i == 4) wrt[1] = input(other, "x", &four);
        if (i == 5) wrt[1] = esker_input(graph, "u", ESKER_DTYPE_U8, &four);
        if (i == 6) wrt[0] = wrt[1] = NULL;
        assert_fails(esker_gradients(loss, wrt, 2, grads), ESKER_ERR_INVALID, parts[i]);
        assert_null(grads[0]);
        assert_null(grads[1]);
        if (i < 6) assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, parts[i]);
        assert_ok(esker_graph_status(other));
        esker_graph_destroy(graph);
        esker_graph_destroy(other);
    }
    /* One element of any rank. */
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &(esker_shape){3, {1, 1, 1}}), *grad;
    assert_ok(esker_gradients(esker_exp(x), &x, 1, &grad));
    assert_true(esker_shape_equal(&grad->type.shape, &x->type.shape));
    esker_graph_destroy(graph);
}

static void gradients_bear_the_name_of_their_layer(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &(esker_shape){1, {3}}), *grad;
    esker_node *loss = esker_label(esker_sum(esker_label(esker_tanh(x), "inner"), NULL, 0, false), "outer");
    size_t first = graph->n_nodes;
    assert_ok(esker_gradients(loss, &x, 1, &grad));
    int n_inner = 0, n_outer = 0;
    for (size_t id = first; id < graph->n_nodes; id++) {
        const char *label = graph->nodes[id]->label;
        n_inner += label && strcmp(label, "inner") == 0;
        n_outer += label && strcmp(label, "outer") == 0;
    }
    assert_int_equal(n_inner, 1); /* tanh_grad */
    assert_true(n_outer > 0);     /* what spreads the gradient of the sum */
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_add_up),
        cmocka_unit_test(broadcasts_are_summed_back),
        cmocka_unit_test(only_wanted_gradients_are_recorded),
        cmocka_unit_test(unreached_gets_zeros),
        cmocka_unit_test(gradients_have_gradients),
        cmocka_unit_test(an_op_without_a_rule_is_named),
        cmocka_unit_test(a_loss_is_one_float),
        cmocka_unit_test(gradients_bear_the_name_of_their_layer),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
