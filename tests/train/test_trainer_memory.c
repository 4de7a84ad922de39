/* device test, memory test: whichever allocation of a training fails, the message says so, nothing leaks, and the next try works. */
#include "support/failing_heap.h"
#include "support/test.h"

#include <esker/ops.h>
#include <esker/trainer.h>

enum { N = 7, BATCH = 4, FEATURES = 3, CLASSES = 2 };

static esker_status make_model(esker_model **out)
{
    esker_status st = esker_model_create(out);
    if (st != ESKER_OK) return st;
    esker_node *x = esker_model_input(*out, "x", &(esker_shape){1, {FEATURES}});
    return esker_model_output(*out, esker_layer_linear(*out, x, &(esker_layer_linear_desc){.features = CLASSES}));
}

/* Two plans, class weights, a validation that has two of its own. */
static esker_status everything(esker_device *dev)
{
    static const float samples[N * FEATURES] = {1, 2, 3, -1, 0, 2}, weights[CLASSES] = {1, 0.5f};
    static const int32_t labels[N] = {0, 1, 1};
    esker_model *net = NULL;
    esker_dataset *ds = NULL;
    esker_trainer *trainer = NULL;
    esker_status st = make_model(&net);
    if (st == ESKER_OK)
        st = esker_dataset_create(&(esker_dataset_desc){.sample_shape = {1, {FEATURES}},
                                                        .n_samples = N,
                                                        .n_classes = CLASSES,
                                                        .samples = samples,
                                                        .labels = labels},
                                  &ds);
    if (st == ESKER_OK)
        st = esker_trainer_create(
            net,
            &(esker_trainer_desc){.device = dev,
                                  .batch = BATCH,
                                  .eval_batch = BATCH,
                                  .loss_settings = {.class_weights = weights, .n_class_weights = CLASSES},
                                  .optimizer = {.kind = ESKER_OPTIMIZER_LAMB}},
            &trainer);
    if (st == ESKER_OK) st = esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1, .validation = ds});
    esker_trainer_destroy(trainer);
    esker_dataset_unref(ds);
    esker_model_destroy(net);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    fail_each_allocation(everything, test_device(), 201, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
