/* device test: the last layer of a classifier and its loss in groups that hold the weight in registers, with the gradient of a norm in front of it. */
#include <math.h>

#include <esker/plan.h>
#include "graph/graph.h"
#include "support/op_check.h"

typedef enum kind {
    NONE,
    RELU,
    LAYER,
    RMS,
    PLAIN
} kind; /* what is in front; plain: a layer norm without weight and bias */

typedef struct head {
    kind kind;
    bool bias, shared; /* shared: the loss has another term of what the head reads */
    int batch;         /* of sequences; 0: there are none */
} head;

static esker_node *norm(const head *h, esker_node *x, esker_node *weight, esker_node *shift)
{
    switch (h->kind) {
    case NONE: break;
    case RELU: return esker_relu(x);
    case LAYER: return esker_layer_norm(x, 1, weight, shift, 0);
    case RMS: return esker_rms_norm(x, 1, weight, 0);
    case PLAIN: return esker_layer_norm(x, 1, NULL, NULL, 0);
    }
    return x;
}

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const head *h = args;
    int64_t rows = in[0]->type.shape.dims[0], classes = in[1]->type.shape.dims[0], k = in[1]->type.shape.dims[1];
    esker_node *x = h->batch ? esker_reshape(in[0], &(esker_shape){3, {h->batch, rows / h->batch, k}}) : in[0];
    esker_node *y = norm(h, x, in[4], in[5]);
    esker_node *logits = esker_matmul(y, in[1], &(esker_matmul_desc){.transpose_b = true});
    if (h->bias) logits = esker_add(logits, in[3]);
    if (h->batch) logits = esker_reshape(logits, &(esker_shape){2, {rows, classes}});
    esker_node *loss = esker_cross_entropy(logits, in[2]);
    if (h->shared) loss = esker_add(loss, esker_mean(esker_square(y), NULL, 0, false));
    return loss;
}

/* The inputs: x, weight, labels, and as many as there are of bias, weight and shift of the norm. */
#define HEAD(title, n, rows_, classes_, k_, low, ...)                                           \
    {                                                                                           \
        "held_weight",                                                                          \
            {title,                                                                             \
             build,                                                                             \
             n,                                                                                 \
             {{.shape = {2, {rows_, k_}}, .lo = -1, .hi = 1, .gap = 0.01},                      \
              {.shape = {2, {classes_, k_}}, .lo = -1, .hi = 1},                                \
              {.dtype = ESKER_DTYPE_I32, .shape = {1, {rows_}}, .lo = low, .hi = (classes_)-1}, \
              {.shape = {1, {classes_}}, .lo = -1, .hi = 1},                                    \
              {.shape = {1, {k_}}, .lo = -1, .hi = 1},                                          \
              {.shape = {1, {k_}}, .lo = -1, .hi = 1}},                                         \
             .args = &(const head){.bias = (n) > 3, __VA_ARGS__},                               \
             .no_differences = (rows_) > 200},                                                  \
            "loss/linear_cross_entropy", "HELD "                                                \
    }

static const op_check_variant variants[] = {
    HEAD("one row, four values", 4, 1, 1, 4, 0, .kind = NONE),
    HEAD("a batch of digits", 4, 64, 10, 256, 0, .kind = RELU),
    HEAD("one past 32 units", 4, 9, 45, 132, -1, .kind = NONE),
    HEAD("two units of each invocation", 3, 5, 20, 300, 0, .kind = RELU),
    HEAD("two rows for each group", 4, 129, 10, 20, 0, .kind = RELU),
    HEAD("four rows, two at once", 6, 641, 65, 128, -1, .kind = LAYER),
    HEAD("three rows, one after the other", 6, 515, 90, 128, 0, .kind = LAYER),
    HEAD("four rows, one after the other", 4, 1021, 90, 128, 0, .kind = RELU),
    HEAD("four rows at once", 6, 1021, 37, 64, 0, .kind = LAYER),
    HEAD("a layer norm", 6, 33, 65, 68, 0, .kind = LAYER),
    HEAD("a layer norm of wide rows", 6, 7, 12, 516, 0, .kind = LAYER),
    HEAD("a norm of root mean squares", 5, 9, 5, 36, -1, .kind = RMS),
    HEAD("a norm without weight", 4, 9, 5, 36, 0, .kind = PLAIN),
    HEAD("a norm that others read", 6, 9, 5, 36, 0, .kind = LAYER, .shared = true),
    HEAD("sequences", 6, 24, 11, 12, 0, .kind = LAYER, .batch = 3),
};

/* As in a model of characters: one dispatch for head, loss and norm, and nothing waits for the loss. */
static void is_one_dispatch(void **state)
{
    (void)state;
    enum { ROWS = 768, CLASSES = 65, K = 128 };
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    setenv("ESKER_VARIANT", "held_weight", 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, K}});
    esker_node *w = esker_input(graph, "weight", ESKER_DTYPE_F32, &(esker_shape){2, {CLASSES, K}});
    esker_node *t = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {ROWS}});
    esker_node *b = esker_input(graph, "bias", ESKER_DTYPE_F32, &(esker_shape){1, {CLASSES}});
    esker_node *in[] = {x, w, t, b, NULL, NULL}, *outputs[3];
    outputs[0] = build(graph, in, &(const head){.kind = PLAIN, .bias = true});
    assert_ok(esker_gradients(outputs[0], (esker_node *[]){x, w}, 2, &outputs[1]));
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.group_invocations = limits.group_size[0] = limits.group_size[1] = 1024;
    limits.shared_bytes = 32768;
    for (uint32_t blocks = 4; blocks <= 16; blocks += 6) {
        limits.storage_blocks = blocks;
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.limits = &limits, .outputs = outputs, .n_outputs = 3, .slice_seconds = -1}, &plan));
        assert_ok(esker_plan_check(plan));
        esker_plan_get_info(plan, &info);
        int heads = 0, norms = 0, of_loss = -1, epoch = 0, n_in[64] = {0};
        for (int i = 0; i < info.n_dispatches; i++) {
            esker_dispatch_info d;
            assert_ok(esker_plan_get_dispatch(plan, i, &d));
            bool is_head = !strcmp(d.kernel, "loss/linear_cross_entropy");
            heads += is_head && strstr(d.op, "norm_grad");
            norms += !strncmp(d.op, "norm_grad", 9);
            epoch += d.barrier && epoch < 63;
            n_in[epoch]++;
            if (!strcmp(d.kernel, "loss/finish")) of_loss = epoch;
        }
        assert_int_equal(heads, blocks == 16);
        assert_int_equal(norms, blocks != 16);
        assert_true(of_loss >= 0);
        if (heads) assert_true(n_in[of_loss] > 1); /* beside the gradient of the weight */
        esker_plan_destroy(plan);
    }
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test_teardown(is_one_dispatch, test_without_variant)};
    return op_check_variants_main("linear_cross_entropy, held", variants, sizeof variants / sizeof *variants, more,
                                  sizeof more / sizeof *more);
}
