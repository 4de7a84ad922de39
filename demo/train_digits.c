/* Train a small convolutional network on handwritten-looking digits: what `esker train` does, in C. */
#include <stdio.h>

#include <esker/esker.h>

static bool show(const esker_progress *p, void *user)
{
    (void)user;
    if (p->epoch_done)
        printf("epoch %d: loss %.4f, held out %.2f %% right\n", p->epoch, p->loss, 100 * p->validation.accuracy);
    return true; /* false would stop */
}

int main(void)
{
    esker_device *dev = NULL;
    esker_dataset *train = NULL, *test = NULL;
    esker_model *net = NULL;
    esker_trainer *trainer = NULL;

    esker_status st = esker_device_open(NULL, &dev); /* the best display there is */
    if (st == ESKER_OK) st = esker_dataset_open("digits", ESKER_SPLIT_TRAIN, &train);
    if (st == ESKER_OK) st = esker_dataset_open("digits", ESKER_SPLIT_TEST, &test);
    if (st == ESKER_OK) st = esker_model_create(&net);
    if (st == ESKER_OK) {
        esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 28, 28}}); /* the batch stays open */
        x = esker_relu(esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 8, .kernel = {3, 3}}));
        x = esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}});
        x = esker_relu(esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 16, .kernel = {3, 3}}));
        x = esker_flatten(esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 2}}));
        x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 10});
        st = esker_model_output(net, x); /* says what went wrong, wherever it was */
    }
    esker_trainer_desc desc = {.device = dev, .batch = 32, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM, .lr = 3e-3f}};
    if (st == ESKER_OK) st = esker_trainer_create(net, &desc, &trainer);
    if (st == ESKER_OK)
        st = esker_trainer_fit(trainer, train, &(esker_fit_desc){.epochs = 3, .validation = test, .progress = show});
    if (st == ESKER_OK) st = esker_model_save(net, "train_digits.safetensors");
    if (st != ESKER_OK) fprintf(stderr, "train_digits: %s\n", esker_last_error());

    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(test);
    esker_dataset_unref(train);
    esker_device_unref(dev);
    return st != ESKER_OK;
}
