/* device test, memory test: whichever allocation fails, the message says so, nothing leaks, and the next try works. */
#include "support/failing_heap.h"
#include "support/test.h"

#include <unistd.h>

#include <esker/ops.h>
#include "base/file.h"
#include "graph/graph.h"
#include "plan/plan.h"

/* A classifier with its gradients and adam: recorded, compiled, and on a device run once with a bound tensor. */
typedef struct work {
    esker_device *dev; /* NULL: plan for limits, and evaluate the reference */
    esker_graph *graph;
    esker_plan *plan;
    esker_tensor *tensor;
    esker_node *x, *hidden, *outputs[3];
} work;

static const esker_shape batch = {2, {8, 30}};

static esker_status record(work *w)
{
    esker_status st = esker_graph_create(NULL, &w->graph);
    if (st != ESKER_OK) return st;
    esker_node *labels = esker_input(w->graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {8}});
    esker_node *w1 = esker_parameter(
        w->graph, &(esker_param_desc){.name = "w1", .shape = {2, {30, 70}}, .init = {ESKER_INIT_HE_NORMAL}});
    esker_node *b = esker_parameter(w->graph, &(esker_param_desc){.name = "b", .shape = {1, {70}}});
    esker_node *w2 = esker_parameter(
        w->graph, &(esker_param_desc){.name = "w2", .shape = {2, {70, 10}}, .init = {ESKER_INIT_HE_NORMAL}});
    w->x = esker_input(w->graph, "x", ESKER_DTYPE_F32, &batch);
    w->hidden = esker_label(esker_relu(esker_add(esker_matmul(w->x, w1, NULL), b)), "hidden");
    esker_node *y = esker_matmul(w->hidden, w2, NULL), *loss = esker_cross_entropy(y, labels);
    esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAM});
    w->outputs[0] = loss;
    w->outputs[1] = esker_softmax(y, 1);
    w->outputs[2] = w->x;
    return esker_graph_status(w->graph);
}

static esker_status evaluate(work *w)
{
    static const double zeros[30 * 70] = {0};
    const double *given[256] = {NULL};
    double **values;
    for (size_t i = 0; i < w->graph->n_nodes && i < 256; i++)
        if (w->graph->nodes[i]->op == &esker__op_input || w->graph->nodes[i]->op == &esker__op_parameter) given[i] = zeros;
    esker_status st = esker__evaluate(w->graph, given, &w->hidden, 1, &values, NULL);
    if (st == ESKER_OK) esker__evaluate_free(w->graph, values);
    return st;
}

static esker_status run(work *w)
{
    static const int32_t labels[8] = {1, 2, 3};
    esker_status st = esker_tensor_create(w->dev, &(esker_tensor_desc){.shape = batch, .label = "x"}, &w->tensor);
    if (st == ESKER_OK) st = esker_plan_bind_input(w->plan, esker_plan_find_input(w->plan, "x"), w->tensor);
    if (st == ESKER_OK) st = esker_plan_write(w->plan, esker_plan_find_input(w->plan, "labels"), labels, sizeof labels);
    return st == ESKER_OK ? esker_plan_run(w->plan) : st;
}

static esker_status everything(esker_device *dev)
{
    work w = {.dev = dev};
    esker_status st = record(&w);
    if (st == ESKER_OK)
        st = esker_plan_compile(w.graph, &(esker_plan_desc){.device = dev, .outputs = w.outputs, .n_outputs = 3}, &w.plan);
    if (st == ESKER_OK) st = esker_params_init_values(esker_graph_get_params(w.graph), 1);
    if (st == ESKER_OK) st = dev ? run(&w) : evaluate(&w);
    esker_tensor_unref(w.tensor);
    esker_plan_destroy(w.plan);
    esker_graph_destroy(w.graph);
    return st;
}

/* A norm that is folded: a pass of its own, and a plan with a prologue. */
static esker_status infer(esker_device *dev)
{
    static const float x[8 * 30] = {1};
    const esker_shape channels = {1, {10}};
    work w = {0};
    esker_node *p[4];
    static const char *const names[] = {"gamma", "beta", "mean", "var"};
    esker_status st = esker_graph_create(NULL, &w.graph);
    if (st != ESKER_OK) return st;
    for (int i = 0; i < 4; i++)
        p[i] = esker_parameter(w.graph, &(esker_param_desc){.name = names[i], .shape = channels, .frozen = true});
    esker_node *weight = esker_parameter(w.graph, &(esker_param_desc){.name = "w", .shape = {2, {30, 10}}, .frozen = true});
    esker_node *y = esker_matmul(esker_input(w.graph, "x", ESKER_DTYPE_F32, &batch), weight, NULL);
    y = esker_batch_norm_infer(
        y, &(esker_batch_norm_desc){.weight = p[0], .bias = p[1], .running_mean = p[2], .running_var = p[3]});
    st = esker_graph_status(w.graph);
    if (st == ESKER_OK)
        st = esker_plan_compile(w.graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &w.plan);
    if (st == ESKER_OK) assert_true(w.plan->n_prologue > 0);
    if (st == ESKER_OK && dev) st = esker_plan_write(w.plan, 0, x, sizeof x);
    if (st == ESKER_OK && dev) st = esker_plan_run(w.plan);
    esker_plan_destroy(w.plan);
    esker_graph_destroy(w.graph);
    return st;
}

static esker_status write_file(esker_device *dev)
{
    (void)dev;
    static const char path[] = ESKER_BINARY_DIR "/test-no-memory";
    esker__file_writer writer;
    esker_status st = esker__file_writer_open(&writer, path);
    if (st == ESKER_OK) st = esker__file_writer_commit(&writer);
    unlink(path);
    return st;
}

static void without_a_device(void **state)
{
    (void)state;
    fail_each_allocation(everything, NULL, 50, INT_MAX);
    fail_each_allocation(infer, NULL, 40, INT_MAX);
    fail_each_allocation(write_file, NULL, 2, INT_MAX);
}

static void on_a_device(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    fail_each_allocation(everything, dev, 80, INT_MAX);
    fail_each_allocation(infer, dev, 50, INT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_device),
        cmocka_unit_test(on_a_device),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
