/* The passes: what is dropped, merged, simplified and fused, what must not be, and that values stay the same. */
#include "support/test.h"

#include <math.h>

#include <esker/ops.h>
#include "graph/graph.h"
#include "graph/passes.h"

static const esker_shape four = {1, {4}}, matrix = {2, {3, 4}}, square = {2, {4, 4}}, scalar = {0};

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

typedef esker_status (*pass)(const esker_graph *, esker_node *const *, int, esker_graph **, esker_node **);

static uint32_t storage_blocks = 4;

static esker_status fuse(const esker_graph *graph, esker_node *const *outputs, int n, esker_graph **out,
                         esker_node **mapped)
{
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.storage_blocks = storage_blocks;
    return esker__pass_fuse(graph, &(esker__fusing){.limits = &limits}, outputs, n, out, mapped);
}

static esker_graph *run(pass p, esker_graph *graph, esker_node *const *outputs, int n_outputs, esker_node **mapped)
{
    esker_graph *out;
    assert_ok(esker_graph_status(graph));
    size_t n_before = graph->n_nodes;
    assert_ok(p(graph, outputs, n_outputs, &out, mapped));
    assert_int_equal(graph->n_nodes, n_before); /* the old graph stays as it was */
    assert_ptr_equal(esker_graph_get_params(out), esker_graph_get_params(graph));
    for (size_t i = 0; i < out->n_nodes; i++)
        for (int j = 0; j < out->nodes[i]->n_inputs; j++) {
            assert_true(out->nodes[i]->inputs[j]->id <= (int)i);
            assert_ptr_equal(out->nodes[i]->inputs[j]->graph, out);
        }
    for (int i = 0; i < n_outputs; i++) assert_true(esker_shape_equal(&mapped[i]->type.shape, &outputs[i]->type.shape));
    return out;
}

static int count(const esker_graph *graph, const char *op)
{
    int n = 0;
    for (size_t i = 0; i < graph->n_nodes; i++) n += strcmp(graph->nodes[i]->op->name, op) == 0;
    return n;
}

/* ---- Simplify ---- */

static void equal_nodes_become_one(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four), *y = input(graph, "y", &four), *mapped[8];
    esker_node *outputs[] = {
        esker_tanh(esker_add(x, y)), esker_tanh(esker_add(x, y)), /* equal: one */
        esker_tanh(esker_add(y, x)),                              /* other order: another */
        esker_tanh(esker_sub(x, y)),                              /* another op */
        esker_affine(x, 2, 0),       esker_affine(x, 2, 0),       /* equal attributes */
        esker_affine(x, 2, 1),       esker_affine(y, 2, 0),       /* others */
    };
    esker_graph *simple = run(esker__pass_simplify, graph, outputs, 8, mapped);
    assert_ptr_equal(mapped[0], mapped[1]);
    assert_ptr_equal(mapped[4], mapped[5]);
    static const int distinct[] = {0, 2, 3, 4, 6, 7};
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++) assert_ptr_not_equal(mapped[distinct[i]], mapped[distinct[j]]);
    assert_int_equal(count(simple, "add"), 2);
    assert_int_equal(count(simple, "tanh"), 3);
    assert_int_equal(count(simple, "affine"), 3);
    assert_int_equal(count(simple, "input"), 2);
    esker_graph_destroy(simple);
    esker_graph_destroy(graph);
}

static void constants_merge_by_their_bits(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *outputs[] = {esker_full(graph, &four, 1),    esker_full(graph, &four, 1),
                             esker_full(graph, &four, 2),    esker_full(graph, &scalar, 1),
                             esker_full(graph, &four, 0.0f), esker_full(graph, &four, -0.0f)};
    esker_node *mapped[6];
    esker_graph *simple = run(esker__pass_simplify, graph, outputs, 6, mapped);
    assert_ptr_equal(mapped[0], mapped[1]);
    assert_int_equal(count(simple, "full"), 5);
    esker_graph_destroy(simple);
    esker_graph_destroy(graph);
}

static void dead_nodes_go(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four), *unused = input(graph, "unused", &four), *mapped;
    esker_node *y = esker_exp(x);
    esker_mul(esker_tanh(unused), y);
    esker_sqrt(y);
    esker_graph *simple = run(esker__pass_simplify, graph, &y, 1, &mapped);
    assert_int_equal(simple->n_nodes, 2);
    assert_string_equal(mapped->op->name, "exp");
    esker_graph_destroy(simple);
    simple = run(esker__pass_simplify, graph, NULL, 0, NULL);
    assert_int_equal(simple->n_nodes, 0);
    esker_graph_destroy(simple);
    esker_graph_destroy(graph);
}

static esker_status infer_nothing(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr, (void)inputs, (void)n_inputs, (void)out;
    return ESKER_OK;
}

static const esker__op store_op = {
    .name = "store", .n_inputs = 1, .n_outputs = 0, .flags = ESKER__OP_EFFECT, .infer = infer_nothing};

static void effects_stay(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four), *y = esker_tanh(x);
    esker__record(&store_op, NULL, &y, 1);
    esker__record(&store_op, NULL, &y, 1); /* equal, and yet twice */
    esker_exp(x);
    for (int i = 0; i < 2; i++) {
        esker_graph *out = run(i ? fuse : esker__pass_simplify, graph, NULL, 0, NULL);
        assert_int_equal(count(out, "store"), 2);
        assert_int_equal(count(out, "tanh"), 1);
        assert_int_equal(count(out, "exp"), 0);
        esker_graph_destroy(out);
    }
    esker_graph_destroy(graph);
}

static esker_status infer_pair(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr, (void)n_inputs;
    out[0] = out[1] = inputs[0]->type;
    return ESKER_OK;
}

static const esker__op pair_op = {.name = "pair", .n_inputs = 1, .n_outputs = 2, .infer = infer_pair};

static void further_outputs_follow(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &four), *mapped[3];
    esker_node *a = esker__record(&pair_op, NULL, &x, 1), *b = esker__record(&pair_op, NULL, &x, 1);
    esker_node *outputs[] = {a, esker__output(a, 1), esker__output(b, 1)};
    for (int i = 0; i < 2; i++) {
        esker_graph *out = run(i ? fuse : esker__pass_simplify, graph, outputs, 3, mapped);
        assert_ptr_equal(mapped[1], esker__output(mapped[0], 1));
        assert_int_equal(mapped[1]->output, 1);
        assert_ptr_equal(mapped[1]->producer, mapped[0]);
        assert_int_equal(mapped[2] == mapped[1], i == 0); /* simplify merges the two pairs, with both outputs */
        esker_graph_destroy(out);
    }
    esker_graph_destroy(graph);
}

/* ---- Values ---- */

static void evaluate(esker_graph *graph, esker_node *const *outputs, int n, double out[][16])
{
    double xs[128][16], **values;
    const double *given[128] = {NULL};
    assert_true(graph->n_nodes <= 128);
    for (size_t i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i]->op != &esker__op_input) continue;
        const char *name = ((const esker__input_attr *)graph->nodes[i]->attr)->name;
        for (int k = 0; k < 16; k++) xs[i][k] = sin(1.7 * k + name[0]);
        given[i] = xs[i];
    }
    assert_ok(esker__evaluate(graph, given, outputs, n, &values, NULL));
    for (int i = 0; i < n; i++) {
        int64_t elems;
        assert_ok(esker_shape_elems(&outputs[i]->type.shape, &elems));
        memcpy(out[i], values[outputs[i]->id], (size_t)elems * sizeof(double));
    }
    esker__evaluate_free(graph, values);
}

static void values_stay_the_same(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &square), *w = input(graph, "w", &square), *b = input(graph, "b", &four);
    esker_node *h = esker_relu(esker_add(esker_matmul(x, w, NULL), b));
    esker_node *same = esker_reshape(esker_affine(h, 1, 0), &square);
    esker_node *y = esker_add(esker_mul(same, esker_neg(esker_neg(x))), esker_matmul(h, w, NULL));
    esker_node *outputs[] = {y, esker_sum(y, NULL, 0, false), esker_sub(esker_mul(h, esker_full(graph, &scalar, 1)), h)};
    esker_node *simple_outputs[3], *fused_outputs[3];
    double want[3][16] = {{0}}, simple_got[3][16] = {{0}}, fused_got[3][16] = {{0}};
    esker_graph *simple = run(esker__pass_simplify, graph, outputs, 3, simple_outputs);
    esker_graph *fused = run(fuse, simple, simple_outputs, 3, fused_outputs);
    assert_true(simple->n_nodes < graph->n_nodes);
    assert_int_equal(count(fused, "relu"), 0);
    evaluate(graph, outputs, 3, want);
    evaluate(simple, simple_outputs, 3, simple_got);
    evaluate(fused, fused_outputs, 3, fused_got);
    assert_memory_equal(simple_got, want, sizeof want); /* to the bit */
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 16; k++) assert_true(fabs(fused_got[i][k] - want[i][k]) < 1e-12);
    esker_graph_destroy(fused);
    esker_graph_destroy(simple);
    esker_graph_destroy(graph);
}

/* ---- Fuse ---- */

/* relu(x w + b), with other users of what lies between. */
static const struct fuse_row {
    const char *name;
    bool product_is_output, sum_is_output, sum_has_user;
    int matmuls, adds, relus; /* needed ones after the pass */
    uint32_t storage_blocks;  /* 0: 4 */
} fuses[] = {
    {"both are taken in", false, false, false, 1, 0, 0},
    {"the product is wanted itself", true, false, false, 1, 1, 1},
    {"the sum is wanted itself", false, true, false, 1, 0, 1},
    {"the sum has another user", false, false, true, 1, 0, 1},
    {"a fifth block keeps the sum", false, true, false, 1, 0, 0, 5},
    {"a fifth block keeps the sum for its other user", false, false, true, 1, 0, 0, 5},
};

static void only_single_users_are_taken_in(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof fuses / sizeof fuses[0]; r++) {
        const struct fuse_row *row = &fuses[r];
        esker_graph *graph = new_graph();
        esker_node *x = input(graph, "x", &matrix), *w = input(graph, "w", &square), *b = input(graph, "b", &four);
        esker_node *product = esker_label(esker_matmul(x, w, NULL), "fc"), *sum = esker_add(product, b);
        esker_node *outputs[2] = {esker_relu(sum)}, *mapped[2];
        int n = 1;
        if (row->product_is_output) outputs[n++] = product;
        if (row->sum_is_output) outputs[n++] = sum;
        if (row->sum_has_user) outputs[n++] = esker_exp(sum);
        storage_blocks = row->storage_blocks ? row->storage_blocks : 4;
        esker_graph *fused = run(fuse, graph, outputs, n, mapped);
        storage_blocks = 4;
        bool needed[64] = {false};
        int matmuls = 0, adds = 0, relus = 0;
        esker__mark_needed(fused, mapped, n, needed);
        for (size_t i = 0; i < fused->n_nodes; i++) {
            const char *op = fused->nodes[i]->op->name;
            matmuls += needed[i] && !strcmp(op, "matmul");
            adds += needed[i] && !strcmp(op, "add");
            relus += needed[i] && !strcmp(op, "relu");
        }
        if (matmuls != row->matmuls || adds != row->adds || relus != row->relus)
            fail_msg("%s: %d matmul, %d add, %d relu", row->name, matmuls, adds, relus);
        if (n == 1) assert_string_equal(mapped[0]->label, "fc");
        esker_graph_destroy(fused);
        esker_graph_destroy(graph);
    }
}

static void a_dead_user_does_not_count(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *product = esker_matmul(input(graph, "x", &matrix), input(graph, "w", &square), NULL);
    esker_node *y = esker_relu(product), *mapped;
    esker_exp(product);
    esker_graph *fused = run(fuse, graph, &y, 1, &mapped);
    assert_string_equal(mapped->op->name, "matmul");
    esker_graph_destroy(fused);
    esker_graph_destroy(graph);
}

static void one_user_that_reads_twice_is_not_taken_in(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *product = esker_matmul(input(graph, "x", &matrix), input(graph, "w", &square), NULL);
    esker_node *y = esker_add(product, product), *mapped;
    esker_graph *fused = run(fuse, graph, &y, 1, &mapped);
    assert_string_equal(mapped->op->name, "add");
    esker_graph_destroy(fused);
    esker_graph_destroy(graph);
}

static void a_failed_graph_gives_none(void **state)
{
    (void)state;
    esker_graph *graph = new_graph(), *out = graph;
    esker_node *bad_attr = esker_affine(input(graph, "x", &four), 2, 0), *mapped = NULL;
    /* An op whose rule refuses its copy: the pass passes the message on. */
    bad_attr->inputs[0]->type.dtype = ESKER_DTYPE_I32;
    ((esker__input_attr *)bad_attr->inputs[0]->attr)->type.dtype = ESKER_DTYPE_I32;
    assert_fails(esker__pass_simplify(graph, &bad_attr, 1, &out, &mapped), ESKER_ERR_INVALID, "affine(int32 [4])");
    assert_null(out);
    assert_null(mapped);
    assert_fails(fuse(graph, &bad_attr, 1, &out, &mapped), ESKER_ERR_INVALID, "affine(int32 [4])");
    assert_null(out);
    esker_graph_destroy(graph);
}

/* What was made of a further output keeps the node: fused with what comes later, it would be computed twice. */
static void further_outputs_are_not_computed_twice(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph, "x", &(esker_shape){3, {4, 3, 5}}), *y = esker_batch_norm(x, NULL), *mapped[2];
    esker_node *of_mean = esker_exp(esker__output(y, 1)), *outputs[] = {of_mean, esker_relu(y)};
    esker_graph *out = run(fuse, graph, outputs, 2, mapped);
    assert_int_equal(count(out, "batch_norm"), 1);
    assert_int_equal(count(out, "relu"), 1);
    esker_graph_destroy(out);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_nodes_become_one),
        cmocka_unit_test(constants_merge_by_their_bits),
        cmocka_unit_test(dead_nodes_go),
        cmocka_unit_test(effects_stay),
        cmocka_unit_test(further_outputs_follow),
        cmocka_unit_test(further_outputs_are_not_computed_twice),
        cmocka_unit_test(values_stay_the_same),
        cmocka_unit_test(only_single_users_are_taken_in),
        cmocka_unit_test(a_dead_user_does_not_count),
        cmocka_unit_test(one_user_that_reads_twice_is_not_taken_in),
        cmocka_unit_test(a_failed_graph_gives_none),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
