/*
 * Train a small network with an operation and a layer of our own, both in snake.h:
 *
 *   custom_op [check]
 *
 * With "check" a few steps are compared, operation by operation, with the references in double precision.
 */
#include <stdio.h>
#include <string.h>

#include "snake.h"

static bool show(const esker_progress *p, void *user)
{
    const bool *check = user;
    if (p->epoch_done && !*check)
        printf("epoch %d: loss %.4f, held out %.2f %% right\n", p->epoch, p->loss, 100 * p->validation.accuracy);
    return true;
}

static esker_status make_model(const snake_ops *ops, esker_model **out)
{
    esker_status st = esker_model_create(out);
    if (st != ESKER_OK) return st;
    esker_model *net = *out;
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 28, 28}});
    x = esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 8, .kernel = {3, 3}, .stride = {2, 2}});
    x = layer_snake(net, ops, x, "snake1");
    x = esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 16, .kernel = {3, 3}, .stride = {2, 2}});
    x = layer_snake(net, ops, x, "snake2");
    x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 10});
    return esker_model_output(net, x);
}

int main(int argc, char **argv)
{
    bool check = argc > 1 && strcmp(argv[1], "check") == 0;
    esker_device *dev = NULL;
    esker_dataset *all = NULL, *train = NULL, *test = NULL;
    esker_model *net = NULL;
    esker_trainer *trainer = NULL;
    snake_ops ops = {NULL, NULL};

    esker_status st = snake_init(&ops);
    if (st == ESKER_OK) st = make_model(&ops, &net);
    if (st == ESKER_OK) st = esker_device_open(NULL, &dev);
    if (st == ESKER_OK) st = esker_dataset_open("digits", ESKER_SPLIT_TRAIN, &all);
    if (st == ESKER_OK) st = esker_dataset_subset(all, 0, check ? 64 : 4096, &train);
    if (st == ESKER_OK && !check) st = esker_dataset_open("digits", ESKER_SPLIT_TEST, &test);
    esker_trainer_desc desc = {
        .device = dev, .batch = 32, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM, .lr = 3e-3f}, .check = check};
    if (st == ESKER_OK) st = esker_trainer_create(net, &desc, &trainer);
    if (st == ESKER_OK)
        st = esker_trainer_fit(
            trainer, train,
            &(esker_fit_desc){.epochs = check ? 1 : 3, .validation = test, .progress = show, .user = &check});
    if (st == ESKER_OK && check) printf("every operation agrees with its reference\n");
    /* No layer type of JSON stands for ours, so the file holds the weights alone; make_model() and esker_model_load_weights()
     * bring them back. */
    if (st == ESKER_OK && !check) st = esker_model_save_weights(net, "custom_op.safetensors");
    if (st != ESKER_OK) fprintf(stderr, "custom_op: %s\n", esker_last_error());

    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    snake_finish(&ops);
    esker_dataset_unref(test);
    esker_dataset_unref(train);
    esker_dataset_unref(all);
    esker_device_unref(dev);
    return st != ESKER_OK;
}
