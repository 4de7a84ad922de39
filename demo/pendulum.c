/*
 * Gradients of what is no network: fitting the parameters of a simulated pendulum to its observed swing, by differentiating
 * through the simulation. The pendulum obeys angle'' = -gravity / length sin(angle) - friction angle', and is integrated by the
 * semi-implicit Euler method; several pendulums, which start at different angles, swing side by side. Ratio and friction are found by
 * Adam, written out below.
 *
 *     pendulum [steps]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <esker/esker.h>

#define PENDULUMS 8
#define TICKS     40
#define DT        0.05f

static const double true_ratio = 9.81 / 1.3, true_friction = 0.35;

/* The angles after every tick, one row each: [TICKS, PENDULUMS]. */
static esker_tensor *simulate(esker_tensor *start, esker_tensor *ratio, esker_tensor *friction)
{
    esker_tensor *angle = start, *speed = esker_tensor_affine(start, 0, 0), *angles[TICKS];
    for (int i = 0; i < TICKS; i++) {
        esker_tensor *pull = esker_tensor_mul(ratio, esker_tensor_sin(angle)), *drag = esker_tensor_mul(friction, speed);
        speed = esker_tensor_sub(speed, esker_tensor_affine(esker_tensor_add(pull, drag), DT, 0));
        angle = esker_tensor_add(angle, esker_tensor_affine(speed, DT, 0));
        angles[i] = angle;
    }
    return esker_tensor_stack(angles, TICKS, 0);
}

static int fail(void)
{
    fprintf(stderr, "%s\n", esker_last_error());
    return 1;
}

int main(int argc, char **argv)
{
    int n_steps = argc > 1 ? atoi(argv[1]) : 300;
    esker_device *dev;
    if (esker_device_open(NULL, &dev) != ESKER_OK) return fail();
    /* What is observed: the swing of a pendulum whose parameters nobody tells. */
    esker_scope_open(dev);
    esker_tensor *start = esker_tensor_linspace(dev, 0.2, 2.4, PENDULUMS);
    esker_tensor *observed = simulate(start, esker_tensor_scalar(dev, (float)true_ratio),
                                      esker_tensor_scalar(dev, (float)true_friction));
    esker_tensor *params[2] = {esker_tensor_scalar(dev, 5), esker_tensor_scalar(dev, 0)};
    double first[2] = {0}, second[2] = {0}, value[2] = {5, 0}, loss_value = 0;
    for (int i = 0; i < 2; i++)
        if (esker_tensor_set_requires_grad(params[i], true) != ESKER_OK) return fail();
    for (int step = 1; step <= n_steps; step++) {
        esker_scope_open(dev);
        esker_tensor *loss = esker_tensor_mse(simulate(start, params[0], params[1]), observed);
        if (esker_tensor_backward(loss, false) != ESKER_OK) return fail();
        double rate = 0.2 * pow(0.985, step);
        for (int i = 0; i < 2; i++) {
            double g;
            if (esker_tensor_item(esker_tensor_get_grad(params[i]), &g) != ESKER_OK) return fail();
            first[i] = 0.9 * first[i] + 0.1 * g;
            second[i] = 0.999 * second[i] + 0.001 * g * g;
            value[i] -= rate * first[i] / (1 - pow(0.9, step)) / (sqrt(second[i] / (1 - pow(0.999, step))) + 1e-8);
            if (esker_tensor_set(params[i], NULL, value[i]) != ESKER_OK) return fail();
            esker_tensor_zero_grad(params[i]);
        }
        if (esker_tensor_item(loss, &loss_value) != ESKER_OK) return fail();
        if (step % 50 == 0 || step == 1)
            printf("step %3d  loss %.3e  gravity / length %.4f  friction %.4f\n", step, loss_value, value[0], value[1]);
        esker_scope_close(dev);
    }
    printf("what it was:             gravity / length %.4f  friction %.4f\n", true_ratio, true_friction);
    esker_scope_close(dev);
    esker_device_unref(dev);
    return n_steps >= 300 && !(fabs(value[0] - true_ratio) < 0.02 && fabs(value[1] - true_friction) < 0.01);
}
