/* A small model and few digits, shared by the tests of this folder. */
#ifndef ESKER_TESTS_TRAIN_SMALL_H
#define ESKER_TESTS_TRAIN_SMALL_H

#include <esker/trainer.h>

#include "support/test.h"

/** 784 - hidden - 10, or with `convolution` a layer of 4 filters and pooling before it; starting values from `seed`. */
static inline esker_model *small_model(int hidden, bool convolution, uint64_t seed)
{
    esker_model *net = NULL;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 28, 28}});
    if (convolution) {
        x = esker_relu(esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 4, .kernel = {3, 3}}));
        x = esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}});
    }
    x = esker_relu(esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = hidden}));
    x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 10});
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_params_init_values(esker_model_get_params(net), seed));
    return net;
}

/** A trainer; on the tests' device if the description has none. */
static inline esker_trainer *small_trainer(esker_model *net, const esker_trainer_desc *desc)
{
    esker_trainer *trainer = NULL;
    esker_trainer_desc with_device = *desc;
    if (!with_device.device) with_device.device = test_device();
    assert_ok(esker_trainer_create(net, &with_device, &trainer));
    return trainer;
}

static inline esker_dataset *small_digits(esker_split split, int64_t n_samples)
{
    esker_dataset *ds = NULL;
    assert_ok(esker_dataset_digits(&(esker_digits_desc){.split = split, .n_samples = n_samples}, &ds));
    return ds;
}

/** All values of a model, one parameter after the other; *out_n gets their number. free() it. */
static inline float *all_values(esker_model *net, int64_t *out_n)
{
    esker_params *params = esker_model_get_params(net);
    *out_n = esker_params_elems(params);
    float *values = malloc((size_t)*out_n * sizeof *values), *at = values;
    assert_non_null(values);
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_ok(esker_params_read(params, i, at, info.n_elems));
        at += info.n_elems;
    }
    return values;
}

#endif
