/* Calls on tensors: a small network that learns to tell two spirals apart, in a loop written by hand.    eager_mlp [steps] */
#include <esker/esker.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { POINTS = 256, HIDDEN = 64, LAYERS = 3, PARAMS = 2 * LAYERS };

int main(int argc, char **argv)
{
    int n_steps = argc > 1 ? atoi(argv[1]) : 500;
    double loss_value = 0;
    float points[POINTS][2], labels[POINTS][1];
    for (int i = 0; i < POINTS; i++) {
        double r = (i / 2 + 8) / (POINTS / 2 + 8.0), angle = 9 * r + (i % 2 ? 3.14159265 : 0);
        points[i][0] = (float)(r * cos(angle)), points[i][1] = (float)(r * sin(angle));
        labels[i][0] = (float)(i % 2);
    }
    esker_device *dev;
    if (esker_device_open(NULL, &dev) != ESKER_OK) goto failed;
    esker_scope_open(dev);
    esker_tensor *x = esker_tensor_from_data(dev, ESKER_DTYPE_F32, &(esker_shape){2, {POINTS, 2}}, points);
    esker_tensor *target = esker_tensor_from_data(dev, ESKER_DTYPE_F32, &(esker_shape){2, {POINTS, 1}}, labels);
    esker_tensor *rate = esker_tensor_scalar(dev, 0.2f), *params[PARAMS], *momenta[PARAMS];
    const int sizes[LAYERS + 1] = {2, HIDDEN, HIDDEN, 1};
    for (int i = 0; i < PARAMS; i++) { /* weights, then biases */
        esker_shape shape = i < LAYERS ? (esker_shape){2, {sizes[i], sizes[i + 1]}}
                                       : (esker_shape){1, {sizes[i - LAYERS + 1]}};
        params[i] = esker_tensor_random_normal(dev, &shape, 0, i < LAYERS ? (float)sqrt(2.0 / sizes[i]) : 0);
        momenta[i] = esker_tensor_zeros(dev, &shape);
        if (esker_tensor_set_requires_grad(params[i], true) != ESKER_OK) goto failed;
    }
    for (int step = 0; step < n_steps; step++) {
        esker_scope_open(dev);
        esker_tensor *y = x;
        for (int i = 0; i < LAYERS; i++) {
            y = esker_tensor_add(esker_tensor_matmul(y, params[i], NULL), params[i + LAYERS]);
            if (i < LAYERS - 1) y = esker_tensor_tanh(y);
        }
        esker_tensor *loss = esker_tensor_bce_with_logits(y, target, NULL, NULL);
        if (esker_tensor_backward(loss, false) != ESKER_OK) goto failed;
        for (int i = 0; i < PARAMS; i++) { /* gradient descent with momentum 0.9 */
            esker_tensor *slope = esker_tensor_get_grad(params[i]);
            esker_tensor_assign(momenta[i], esker_tensor_add(esker_tensor_affine(momenta[i], 0.9f, 0), slope));
            esker_tensor_assign(params[i], esker_tensor_sub(params[i], esker_tensor_mul(rate, momenta[i])));
            esker_tensor_zero_grad(params[i]);
        }
        if (step % 100 == 0 || step == n_steps - 1) {
            if (esker_tensor_item(loss, &loss_value) != ESKER_OK) goto failed;
            printf("step %3d  loss %.4f\n", step, loss_value);
        }
        esker_scope_close(dev);
    }
    esker_scope_close(dev);
    esker_device_unref(dev);
    return n_steps >= 500 && !(loss_value < 0.05);
failed:
    return fprintf(stderr, "%s\n", esker_last_error()), 1;
}
