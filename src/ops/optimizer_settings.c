/* Descriptions of optimizers: names, the usual values, and what is refused. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/optimizer.h"

static const struct kind {
    const char *name;
    float lr, beta2, eps, alpha; /* the usual values */
} kinds[ESKER__N_OPTIMIZERS] = {
    [ESKER_OPTIMIZER_SGD] = {"sgd", 1e-2f, 0, 0, 0},
    [ESKER_OPTIMIZER_ADAM] = {"adam", 1e-3f, 0.999f, 1e-8f, 0},
    [ESKER_OPTIMIZER_ADAMW] = {"adamw", 1e-3f, 0.999f, 1e-8f, 0},
    [ESKER_OPTIMIZER_RMSPROP] = {"rmsprop", 1e-2f, 0, 1e-8f, 0.99f},
    [ESKER_OPTIMIZER_ADAGRAD] = {"adagrad", 1e-2f, 0, 1e-10f, 0},
    [ESKER_OPTIMIZER_ADADELTA] = {"adadelta", 1, 0, 1e-6f, 0.9f},
    [ESKER_OPTIMIZER_NADAM] = {"nadam", 2e-3f, 0.999f, 1e-8f, 0},
    [ESKER_OPTIMIZER_LION] = {"lion", 1e-4f, 0.99f, 0, 0},
    [ESKER_OPTIMIZER_LAMB] = {"lamb", 1e-3f, 0.999f, 1e-6f, 0},
};

#define BIT(kind) (1u << ESKER_OPTIMIZER_##kind)
#define ALL       ((1u << ESKER__N_OPTIMIZERS) - 1)
#define BETAS     (BIT(ADAM) | BIT(ADAMW) | BIT(NADAM) | BIT(LION) | BIT(LAMB))

/* Each number must lie in [low, high), or be 0; kinds that do not have it take 0 alone. */
static const struct setting {
    const char *name;
    size_t at;
    float low, high;
    const char *range;
    unsigned kinds;
} settings[] = {
#define SETTING(field, low, high, range, kinds)                                \
    {                                                                          \
#field, offsetof(esker_optimizer_desc, field), low, high, range, kinds \
    }
    SETTING(lr, 0, INFINITY, "positive and finite, or 0 for the usual one", ALL),
    SETTING(momentum, 0, 1, "at least 0 and below 1", BIT(SGD) | BIT(RMSPROP)),
    SETTING(weight_decay, 0, INFINITY, "at least 0 and finite", ALL),
    SETTING(beta1, 0, 1, "at least 0 and below 1 (0: 0.9)", BETAS),
    SETTING(beta2, 0, 1, "at least 0 and below 1 (0: the usual one)", BETAS),
    /* eps alone keeps 0 / 0 out of the gaps between parameters: it must survive where denormals are flushed. */
    SETTING(eps, 1e-30f, INFINITY, "at least 1e-30 and finite (0: the usual one)", ALL & ~(BIT(SGD) | BIT(LION))),
    SETTING(dampening, 0, 1, "at least 0 and below 1", BIT(SGD)),
    SETTING(alpha, 0, 1, "at least 0 and below 1 (0: the usual one)", BIT(RMSPROP) | BIT(ADADELTA)),
    SETTING(lr_decay, 0, INFINITY, "at least 0 and finite", BIT(ADAGRAD)),
    SETTING(accumulator, 0, INFINITY, "at least 0 and finite", BIT(ADAGRAD)),
    SETTING(momentum_decay, 0, INFINITY, "at least 0 and finite (0: 0.004)", BIT(NADAM)),
    SETTING(clip_value, 0, INFINITY, "positive and finite, or 0 for none", ALL),
#undef SETTING
};

static esker_status check_range(const char *name, const char *field, float value, float low, float high, const char *range)
{
    if (value == 0 || (value >= low && value < high)) return ESKER_OK; /* NaN fails every comparison */
    return esker__fail(ESKER_ERR_INVALID, "%s: %s is %g, it must be %s", name, field, (double)value, range);
}

static esker_status check_switches(const char *name, const esker_optimizer_desc *d)
{
    if (d->nesterov && d->kind != ESKER_OPTIMIZER_SGD)
        return esker__fail(ESKER_ERR_INVALID, "%s: nesterov is of sgd; nadam has it built in", name);
    if (d->centered && d->kind != ESKER_OPTIMIZER_RMSPROP)
        return esker__fail(ESKER_ERR_INVALID, "%s: centered is of rmsprop", name);
    if (d->nesterov && (!(d->momentum > 0) || d->dampening != 0))
        return esker__fail(ESKER_ERR_INVALID, "%s: nesterov needs momentum and no dampening; they are %g and %g", name,
                           (double)d->momentum, (double)d->dampening);
    if (d->dampening != 0 && !(d->momentum > 0))
        return esker__fail(ESKER_ERR_INVALID, "%s: dampening is %g without momentum", name, (double)d->dampening);
    if (!(d->clip_norm >= 0)) /* infinity measures */
        return esker__fail(ESKER_ERR_INVALID, "%s: clip_norm is %g, it must be positive, or 0 for none", name,
                           (double)d->clip_norm);
    return ESKER_OK;
}

static esker_status check_groups(const char *name, const esker_optimizer_desc *d)
{
    for (int i = 0; i < ESKER_MAX_PARAM_GROUPS; i++) {
        const esker_param_group *g = &d->groups[i];
        char field[40];
        snprintf(field, sizeof field, "groups[%d].lr_scale", i);
        esker_status st = check_range(name, field, g->lr_scale, 0, INFINITY, "positive and finite, or 0 for 1");
        snprintf(field, sizeof field, "groups[%d].weight_decay", i);
        if (st == ESKER_OK) st = check_range(name, field, g->weight_decay, 0, INFINITY, "at least 0 and finite");
        if (st == ESKER_OK && g->no_weight_decay && g->weight_decay != 0)
            st = esker__fail(ESKER_ERR_INVALID, "%s: groups[%d] has a weight_decay of %g, and no_weight_decay", name, i,
                             (double)g->weight_decay);
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

static esker_status check(const esker_optimizer_desc *d)
{
    if ((int)d->kind < 0 || (int)d->kind >= ESKER__N_OPTIMIZERS)
        return esker__fail(ESKER_ERR_INVALID, "optimizer: kind %d, there are 0 to %d", (int)d->kind,
                           ESKER__N_OPTIMIZERS - 1);
    const char *name = kinds[d->kind].name;
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < sizeof settings / sizeof *settings; i++) {
        const struct setting *s = &settings[i];
        float value;
        memcpy(&value, (const char *)d + s->at, sizeof value);
        st = check_range(name, s->name, value, s->low, s->high, s->range);
        if (st == ESKER_OK && value != 0 && !(s->kinds & 1u << d->kind))
            st = esker__fail(ESKER_ERR_INVALID, "%s: %s is %g, but %s has none", name, s->name, (double)value, name);
    }
    if (st == ESKER_OK) st = check_switches(name, d);
    return st == ESKER_OK ? check_groups(name, d) : st;
}

esker_status esker__optimizer_attr_init(const esker_optimizer_desc *desc, esker__optimizer_attr *out)
{
    static const esker_optimizer_desc zero;
    const esker_optimizer_desc *d = desc ? desc : &zero;
    esker_status st = check(d);
    if (st != ESKER_OK) return st;
    const struct kind *kind = &kinds[d->kind];
    bool betas = BETAS & 1u << d->kind;
    *out = (esker__optimizer_attr){.kind = (int32_t)d->kind,
                                   .nesterov = d->nesterov,
                                   .centered = d->centered,
                                   .keeps_gradients = d->keep_gradients,
                                   .lr = d->lr > 0 ? d->lr : kind->lr,
                                   .momentum = d->momentum,
                                   .dampening = d->dampening,
                                   .beta1 = d->beta1 > 0 ? d->beta1
                                            : betas      ? 0.9f
                                                         : 0,
                                   .beta2 = d->beta2 > 0 ? d->beta2 : kind->beta2,
                                   .eps = d->eps > 0 ? d->eps : kind->eps,
                                   .alpha = d->alpha > 0 ? d->alpha : kind->alpha,
                                   .lr_decay = d->lr_decay,
                                   .accumulator = d->accumulator};
    if (d->kind == ESKER_OPTIMIZER_NADAM) out->momentum_decay = d->momentum_decay > 0 ? d->momentum_decay : 4e-3f;
    for (int i = 0; i < ESKER_MAX_PARAM_GROUPS; i++) {
        const esker_param_group *g = &d->groups[i];
        out->groups[i].lr_scale = g->lr_scale > 0 ? g->lr_scale : 1;
        out->groups[i].weight_decay = g->no_weight_decay ? 0 : g->weight_decay > 0 ? g->weight_decay : d->weight_decay;
    }
    return ESKER_OK;
}

esker_status esker_optimizer_from_name(const char *name, esker_optimizer_kind *out)
{
    for (int i = 0; name && i < ESKER__N_OPTIMIZERS; i++) {
        if (strcmp(name, kinds[i].name) != 0) continue;
        *out = (esker_optimizer_kind)i;
        return ESKER_OK;
    }
    esker__text list = {0};
    esker__text_add_names(&list, &kinds[0].name, sizeof kinds[0], ESKER__N_OPTIMIZERS);
    esker_status st = esker__fail(ESKER_ERR_INVALID, "unknown optimizer \"%s\": there are %s", name ? name : "(none)",
                                  list.chars ? list.chars : "none");
    esker__text_finish(&list);
    return st;
}

const char *esker_optimizer_name(esker_optimizer_kind kind)
{
    return (int)kind >= 0 && (int)kind < ESKER__N_OPTIMIZERS ? kinds[kind].name : "?";
}

float esker_optimizer_usual_lr(esker_optimizer_kind kind)
{
    return (int)kind >= 0 && (int)kind < ESKER__N_OPTIMIZERS ? kinds[kind].lr : 0;
}
