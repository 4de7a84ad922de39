/* device test: making a plan and its first step hands the driver a few pieces of memory, however many layers and weights there are. */
#include "support/test.h"

#include <esker/trainer.h>

enum { BATCH = 4, PIXELS = 100 };

static esker_model *deep_model(int depth, int width)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {PIXELS}});
    for (int i = 0; i < depth; i++)
        x = esker_relu(esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = width}));
    x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 10});
    assert_ok(esker_model_output(net, x));
    return net;
}

/* Of a training plan on a fresh device, to the end of its first step. */
static void count(int depth, int width, esker_counters *out)
{
    esker_device *dev;
    esker_plan *plan;
    esker_plan_info info;
    esker_model *net = deep_model(depth, width);
    assert_ok(esker_device_open(NULL, &dev));
    assert_ok(esker_trainer_plan(
        net, &(esker_trainer_desc){.device = dev, .batch = BATCH, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}},
        ESKER_DTYPE_F32, NULL, &plan));
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_inputs; i++) assert_ok(esker_plan_mark_written(plan, i));
    assert_ok(esker_plan_run(plan));
    esker_device_get_counters(dev, out);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    esker_device_unref(dev);
}

static void uploads_do_not_grow_with_the_model(void **state)
{
    (void)state;
    esker_counters shallow, deep, wide;
    test_device();
    unsetenv("ESKER_POISON"); /* which is sent in pieces */
    count(1, 20, &shallow);
    count(12, 20, &deep);
    count(1, 4000, &wide); /* 1.7 MB of weights, and twice that of states */
    print_message("uploads: %d, 12 layers %d, wide ones %d; %.1f MB\n", (int)shallow.uploads, (int)deep.uploads,
                  (int)wide.uploads, (double)wide.uploaded_bytes * 1e-6);
    assert_in_range(shallow.uploads, 1, 24);
    assert_int_equal(deep.uploads, shallow.uploads);
    /* Zeros for its states, a MiB at a time where no kernel writes them, and blocks of their own. */
    assert_in_range(wide.uploads, 1, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(uploads_do_not_grow_with_the_model)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
