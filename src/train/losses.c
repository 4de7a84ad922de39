/* Losses of labelled samples: names, settings, and how each is recorded behind a model's output. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "train/step.h"

enum { SMOOTHING = 1, DELTA = 2, MARGIN = 4, POWER = 8, WEIGHTS = 16 };

/* A loss of the output and a target of its shape. */
typedef esker_node *(*of_target)(esker_node *output, esker_node *target, const esker_loss_desc *desc);

static esker_node *bce_with_logits(esker_node *output, esker_node *target, const esker_loss_desc *desc)
{
    return esker_bce_with_logits(output, target, NULL, desc);
}

static const struct loss {
    const char *name;
    unsigned settings;   /* that it has */
    of_target of_target; /* NULL: made from the labels themselves */
    float no;            /* of a target where the label is not */
    esker_reduction mean;
} losses[] = {
    [ESKER_LOSS_CROSS_ENTROPY] = {"cross_entropy", SMOOTHING | WEIGHTS, NULL, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_MSE] = {"mse", 0, esker_mse_with, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_NLL] = {"nll", WEIGHTS, NULL, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_KL_DIV] = {"kl_div", SMOOTHING, esker_kl_div, 0, ESKER_REDUCTION_BATCH_MEAN},
    [ESKER_LOSS_BCE_WITH_LOGITS] = {"bce_with_logits", SMOOTHING, bce_with_logits, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_BCE] = {"bce", SMOOTHING, esker_bce, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_MAE] = {"mae", 0, esker_mae, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_HUBER] = {"huber", DELTA, esker_huber, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_SMOOTH_L1] = {"smooth_l1", DELTA, esker_smooth_l1, 0, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_HINGE] = {"hinge", MARGIN, esker_hinge, -1, ESKER_REDUCTION_MEAN},
    [ESKER_LOSS_MULTI_MARGIN] = {"multi_margin", MARGIN | POWER | WEIGHTS, NULL, 0, ESKER_REDUCTION_MEAN},
};
enum { N_LOSSES = sizeof losses / sizeof losses[0] };

esker_status esker_loss_from_name(const char *name, esker_loss_kind *out)
{
    for (int i = 0; name && i < N_LOSSES; i++) {
        if (strcmp(name, losses[i].name) != 0) continue;
        *out = (esker_loss_kind)i;
        return ESKER_OK;
    }
    esker__text list = {0};
    esker__text_add_names(&list, &losses[0].name, sizeof losses[0], N_LOSSES);
    esker_status st = esker__fail(ESKER_ERR_INVALID, "loss \"%s\": known are %s", name ? name : "(null)",
                                  list.chars ? list.chars : "none");
    esker__text_finish(&list);
    return st;
}

const char *esker_loss_name(esker_loss_kind kind)
{
    return (unsigned)kind < N_LOSSES ? losses[kind].name : "?";
}

/* ---- Settings ---- */

static esker_status check_weights(const char *who, const esker_loss_settings *s)
{
    bool any = false;
    if (s->n_class_weights < 0 || !s->class_weights != !s->n_class_weights)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d class weights%s", who, s->n_class_weights,
                           s->class_weights ? "" : ", but no array of them");
    for (int i = 0; i < s->n_class_weights; i++) {
        float w = s->class_weights[i];
        if (!(w >= 0) || isinf(w))
            return esker__fail(ESKER_ERR_INVALID, "%s: class weight %d is %g, it must be at least 0 and finite", who, i,
                               (double)w);
        any |= w > 0;
    }
    if (s->n_class_weights && !any)
        return esker__fail(ESKER_ERR_INVALID, "%s: all %d class weights are 0", who, s->n_class_weights);
    return ESKER_OK;
}

esker_status esker__check_loss(const char *who, esker_loss_kind kind, const esker_loss_settings *s)
{
    if ((unsigned)kind >= N_LOSSES) return esker__fail(ESKER_ERR_INVALID, "%s: loss %d is unknown", who, (int)kind);
    const struct loss *l = &losses[kind];
    const struct {
        const char *name;
        unsigned bit;
        double value;
        bool fits;
        const char *range;
    } given[] = {
        {"label_smoothing", SMOOTHING, s->label_smoothing, s->label_smoothing >= 0 && s->label_smoothing <= 1, "in 0 to 1"},
        {"delta", DELTA, s->delta, s->delta >= 0 && isfinite(s->delta), "positive and finite"},
        {"margin", MARGIN, s->margin, isfinite(s->margin), "finite"},
        {"power", POWER, s->power, s->power >= 0 && s->power <= 2, "1 or 2"},
        {"n_class_weights", WEIGHTS, s->n_class_weights, true, ""},
    };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (!given[i].fits)
            return esker__fail(ESKER_ERR_INVALID, "%s: %s is %g, it must be %s", who, given[i].name, given[i].value,
                               given[i].range);
        if (given[i].value != 0 && !(l->settings & given[i].bit))
            return esker__fail(ESKER_ERR_INVALID, "%s: %s is %g, but %s has none", who, given[i].name, given[i].value,
                               l->name);
    }
    return check_weights(who, s);
}

/* ---- Recording ---- */

/* (1 - s) target + s / classes, and -1 in place of 0 where the loss wants that. */
static esker_node *targets(esker_node *labels, int64_t classes, const struct loss *l, float smoothing)
{
    esker_node *one_hot = esker_one_hot(labels, classes);
    if (l->no != 0) return esker_affine(one_hot, 1 - l->no, l->no);
    return smoothing > 0 ? esker_affine(one_hot, 1 - smoothing, smoothing / (float)classes) : one_hot;
}

esker_node *esker__record_loss(esker_node *output, esker_node *labels, esker_loss_kind kind, const esker_loss_settings *s)
{
    const esker_shape *shape = esker_node_get_shape(output);
    const struct loss *l = &losses[kind];
    if (!shape || !labels) return NULL;
    int64_t classes = shape->dims[1];
    if (l->of_target)
        return l->of_target(output, targets(labels, classes, l, s->label_smoothing),
                            &(esker_loss_desc){.reduction = l->mean, .delta = s->delta, .margin = s->margin});
    esker_node *weights = NULL;
    if (s->n_class_weights) {
        weights = esker_input(output->graph, ESKER__CLASS_WEIGHTS, ESKER_DTYPE_F32,
                              &(esker_shape){1, {s->n_class_weights}});
        if (!weights) return NULL;
        if (s->n_class_weights != classes)
            return esker__graph_fail(output->graph,
                                     esker__fail(ESKER_ERR_INVALID, "%s: %d class weights, the model's output is [%lld]",
                                                 l->name, s->n_class_weights, (long long)classes));
    }
    if (kind == ESKER_LOSS_MULTI_MARGIN)
        return esker_multi_margin(output, labels, weights,
                                  &(esker_multi_margin_desc){.margin = s->margin, .power = s->power});
    const esker_cross_entropy_desc desc = {.label_smoothing = s->label_smoothing};
    return (kind == ESKER_LOSS_NLL ? esker_nll : esker_cross_entropy_with)(output, labels, weights, &desc);
}

/* ---- Class weights ---- */

esker_status esker__settings_copy(const esker_loss_settings *from, esker_loss_settings *out)
{
    *out = *from;
    if (!from->n_class_weights) return ESKER_OK;
    size_t n_bytes = (size_t)from->n_class_weights * sizeof(float);
    float *copy = esker__malloc(n_bytes);
    out->class_weights = copy;
    out->n_class_weights = copy ? from->n_class_weights : 0;
    if (!copy) return esker__fail_memory(n_bytes, "class weights");
    memcpy(copy, from->class_weights, n_bytes);
    return ESKER_OK;
}

esker_status esker__class_weights_create(esker_device *dev, const esker_loss_settings *s, esker_tensor **out)
{
    *out = NULL;
    if (!s->n_class_weights) return ESKER_OK;
    return esker_tensor_create(
        dev,
        &(esker_tensor_desc){.shape = {1, {s->n_class_weights}}, .data = s->class_weights, .label = ESKER__CLASS_WEIGHTS},
        out);
}
