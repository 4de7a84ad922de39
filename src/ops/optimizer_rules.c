/*
 * What each optimizer does, in double: the constants of a step, from which the kernel (glsl/optim/update.comp) works in
 * single precision, and one element's update. Sources  as esker_optimizer_kind lists them; where papers leave a choice
 * (where eps goes, how a buffer starts), PyTorch's. Two things are written otherwise than there, with the same values:
 *   - centered rmsprop keeps the variance and not the mean square: with m' = a m + (1 - a) g,
 *     a s + (1 - a) g^2 - m'^2 = a (s - m^2) + a (1 - a) (g - m)^2, which loses no digits and is never negative;
 *   - adagrad adds what its sum of squares starts with when it is used, so that all state starts as zeros.
 */
#include "ops/optimizer.h"

#include <math.h>
#include <string.h>

/*
 * NAdam's momentum at step n, the product of those up to it, and the next one. Once the product is far below the rounding
 * of 1 - product it is 0, and there is nothing to multiply any more.
 */
static void nadam_momentum(const esker__optimizer_attr *a, double n, double *out_mu, double *out_next, double *out_product)
{
    double b1 = a->beta1, psi = a->momentum_decay, shrink = pow(0.96, psi), power = 1, product = 1;
    for (double i = 1; i <= n && product > 1e-15; i++) {
        power *= shrink;
        product *= b1 * (1 - 0.5 * power);
    }
    *out_mu = b1 * (1 - 0.5 * pow(0.96, n * psi));
    *out_next = b1 * (1 - 0.5 * pow(0.96, (n + 1) * psi));
    *out_product = product;
}

void esker__optimizer_step(const esker__optimizer_attr *a, double lr, double n, float out[8])
{
    double b1 = a->beta1, b2 = a->beta2, alpha = a->alpha;
    memset(out, 0, 8 * sizeof *out);
    out[0] = (float)lr;
    switch ((esker_optimizer_kind)a->kind) {
    case ESKER_OPTIMIZER_SGD:
        out[1] = a->momentum;
        out[2] = n > 1 ? (float)(1 - (double)a->dampening) : 1;
        return;
    case ESKER_OPTIMIZER_ADAM:
    case ESKER_OPTIMIZER_ADAMW:
        out[0] = (float)(lr / (1 - pow(b1, n)));
        out[3] = (float)lr;
        break;
    case ESKER_OPTIMIZER_NADAM: {
        double mu, next, product;
        nadam_momentum(a, n, &mu, &next, &product);
        out[0] = (float)(lr * (1 - mu) / (1 - product));
        out[3] = (float)(lr * next / (1 - product * next));
        break;
    }
    case ESKER_OPTIMIZER_LION: out[3] = (float)lr; break;
    case ESKER_OPTIMIZER_LAMB:
        out[0] = (float)(1 / (1 - pow(b1, n)));
        out[3] = (float)lr;
        break;
    case ESKER_OPTIMIZER_RMSPROP:
    case ESKER_OPTIMIZER_ADADELTA:
        out[1] = a->momentum;
        out[2] = a->eps;
        out[4] = a->alpha;
        out[5] = (float)(1 - alpha);
        return;
    case ESKER_OPTIMIZER_ADAGRAD:
        out[0] = (float)(lr / (1 + (n - 1) * (double)a->lr_decay));
        out[1] = a->accumulator;
        out[2] = a->eps;
        return;
    }
    out[1] = (float)(1 / sqrt(1 - pow(b2, n)));
    out[2] = a->eps;
    out[4] = a->beta1;
    out[5] = (float)(1 - b1);
    out[6] = a->beta2;
    out[7] = (float)(1 - b2);
}

int esker__optimizer_states(const esker__optimizer_attr *a)
{
    switch ((esker_optimizer_kind)a->kind) {
    case ESKER_OPTIMIZER_SGD: return a->momentum > 0;
    case ESKER_OPTIMIZER_RMSPROP: return 1 + (a->centered != 0) + (a->momentum > 0);
    case ESKER_OPTIMIZER_ADAGRAD:
    case ESKER_OPTIMIZER_LION: return 1;
    case ESKER_OPTIMIZER_ADAM:
    case ESKER_OPTIMIZER_ADAMW:
    case ESKER_OPTIMIZER_ADADELTA:
    case ESKER_OPTIMIZER_LAMB:
    case ESKER_OPTIMIZER_NADAM: break;
    }
    return 2;
}

static double sgd(const esker__optimizer_attr *a, double n, double g, double *state[3])
{
    double mu = a->momentum;
    if (!(mu > 0)) return g;
    double buffer = *state[0] = mu * *state[0] + (n > 1 ? 1 - (double)a->dampening : 1) * g;
    return a->nesterov ? g + mu * buffer : buffer;
}

/* State: the mean square or the variance; centered: the mean; with momentum the buffer last. */
static double rmsprop(const esker__optimizer_attr *a, double g, double *state[3])
{
    double alpha = a->alpha, *buffer = state[a->centered ? 2 : 1];
    if (a->centered) {
        double from_mean = g - *state[1];
        *state[0] = alpha * (*state[0] + (1 - alpha) * from_mean * from_mean);
        *state[1] += (1 - alpha) * from_mean;
    } else {
        *state[0] = alpha * *state[0] + (1 - alpha) * g * g;
    }
    double move = g / (sqrt(*state[0]) + a->eps);
    if (a->momentum > 0) move = *buffer = (double)a->momentum * *buffer + move;
    return move;
}

static double adagrad(const esker__optimizer_attr *a, double n, double g, double *state[3])
{
    *state[0] += g * g;
    return g / (sqrt(*state[0] + a->accumulator) + a->eps) / (1 + (n - 1) * (double)a->lr_decay);
}

static double adadelta(const esker__optimizer_attr *a, double g, double *state[3])
{
    double rho = a->alpha, eps = a->eps;
    *state[0] = rho * *state[0] + (1 - rho) * g * g;
    double move = sqrt(*state[1] + eps) / sqrt(*state[0] + eps) * g;
    *state[1] = rho * *state[1] + (1 - rho) * move * move;
    return move;
}

static double lion(const esker__optimizer_attr *a, double g, double *state[3])
{
    double b1 = a->beta1, b2 = a->beta2, mixed = b1 * *state[0] + (1 - b1) * g;
    *state[0] = b2 * *state[0] + (1 - b2) * g;
    return (mixed > 0) - (mixed < 0);
}

static double adam(const esker__optimizer_attr *a, double n, double g, double *state[3])
{
    double b1 = a->beta1, b2 = a->beta2;
    double mean = *state[0] = b1 * *state[0] + (1 - b1) * g;
    double square = *state[1] = b2 * *state[1] + (1 - b2) * g * g;
    double root = sqrt(square / (1 - pow(b2, n))) + a->eps;
    if (a->kind != ESKER_OPTIMIZER_NADAM) return mean / (1 - pow(b1, n)) / root;
    double mu, next, product;
    nadam_momentum(a, n, &mu, &next, &product);
    return (1 - mu) / (1 - product) * g / root + next / (1 - product * next) * mean / root;
}

void esker__optimizer_element(const esker__optimizer_attr *a, int group, double lr, double n, double *x, double g,
                              double *state[3])
{
    double move = 0, decay = a->groups[group].weight_decay;
    lr *= a->groups[group].lr_scale;
    if (a->kind == ESKER_OPTIMIZER_ADAMW || a->kind == ESKER_OPTIMIZER_LION)
        *x -= lr * decay * *x;
    else
        g += decay * *x;
    switch ((esker_optimizer_kind)a->kind) {
    case ESKER_OPTIMIZER_SGD: move = sgd(a, n, g, state); break;
    case ESKER_OPTIMIZER_RMSPROP: move = rmsprop(a, g, state); break;
    case ESKER_OPTIMIZER_ADAGRAD: move = adagrad(a, n, g, state); break;
    case ESKER_OPTIMIZER_ADADELTA: move = adadelta(a, g, state); break;
    case ESKER_OPTIMIZER_LION: move = lion(a, g, state); break;
    case ESKER_OPTIMIZER_ADAM:
    case ESKER_OPTIMIZER_ADAMW:
    case ESKER_OPTIMIZER_NADAM: move = adam(a, n, g, state); break;
    case ESKER_OPTIMIZER_LAMB: break; /* not by elements: lamb.c */
    }
    *x -= lr * move;
}
