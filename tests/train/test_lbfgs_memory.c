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
    esker_device *dev = test_device();
    /* Drivers and caches settle; the second time the GPU is not idle, and other kernels move the bytes. */
    for (int i = 0; i < 2; i++) assert_ok(everything(dev));
    uint64_t before = test_memory_in_use();
    for (int n = 0;; n++) {
        left = n;
        failed = false;
        esker_status st = everything(dev);
        left = -1;
        if (!failed) {
            assert_ok(st);
            assert_true(n > 60);
            break;
        }
        if (st != ESKER_ERR_NO_MEMORY || !esker_last_error()[0])
            fail_msg("allocation %d: %s \"%s\"", n, esker_status_name(st), esker_last_error());
    }
    assert_true(test_memory_in_use() == before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
