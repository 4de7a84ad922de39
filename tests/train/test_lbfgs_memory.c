/* device test, memory test: whichever allocation of L-BFGS fails, the message says so, nothing leaks, and the next try works. */
#include "support/failing_heap.h"
#include "support/test.h"

#include <esker/lbfgs.h>
#include <esker/ops.h>

static esker_status everything(esker_device *dev)
{
    static const float targets[3] = {1, 2, 3};
    const esker_shape three = {1, {3}};
    esker_graph *graph = NULL;
    esker_lbfgs *opt = NULL;
    esker_lbfgs_result result;
    esker_status st = esker_graph_create(NULL, &graph);
    if (st != ESKER_OK) return st;
    esker_node *p = esker_parameter(graph, &(esker_param_desc){.name = "p", .shape = three});
    esker_node *loss = esker_mse(p, esker_input(graph, "t", ESKER_DTYPE_F32, &three));
    st = esker_graph_status(graph);
    if (st == ESKER_OK) st = esker_lbfgs_create(loss, &(esker_lbfgs_desc){.device = dev, .history = 2}, &opt);
    if (st == ESKER_OK) st = esker_lbfgs_write(opt, "t", targets, sizeof targets);
    if (st == ESKER_OK) st = esker_lbfgs_step(opt, &result);
    esker_lbfgs_destroy(opt);
    esker_graph_destroy(graph);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    fail_each_allocation(everything, test_device(), 61, INT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
