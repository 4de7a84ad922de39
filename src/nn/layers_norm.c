/* Normalisation layers. Their weights start at 1 and their biases at 0, whatever other layers start with. */
#include "nn/kinds.h"

#include <stdio.h>

#include "base/fail.h"
#include "ops/norm.h"

static esker_node *parameter(esker_model *net, const esker__layer *layer, const char *part, esker_shape shape, float value,
                             bool frozen)
{
    char name[ESKER__MAX_NAME_BYTES + sizeof ".running_mean"];
    snprintf(name, sizeof name, "%s.%s", layer->name, part);
    esker_param_desc desc = {
        .name = name, .shape = shape, .init = {.kind = ESKER_INIT_CONSTANT, .value = value}, .frozen = frozen};
    return esker_parameter(net->graph, &desc);
}

static esker_node *fail_samples(esker_model *net, const esker_node *x, const char *wanted)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    esker_shape sample = esker__sample_shape(&x->type.shape);
    return esker__graph_fail(net->graph, esker__fail(ESKER_ERR_INVALID, "the input's samples are %s, %s",
                                                     esker_shape_text(&sample, text), wanted));
}

/* Keys: eps, momentum, affine, running. */
static esker_node *build_batch_norm(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    esker_node *x = layer->inputs[0];
    esker_shape channels = {1, {x->type.shape.dims[1]}};
    esker_batch_norm_desc desc = {.eps = (float)v[0].v[0], .momentum = (float)v[1].v[0]};
    if (v[2].v[0] != 0) {
        desc.weight = parameter(net, layer, "weight", channels, 1, false);
        desc.bias = parameter(net, layer, "bias", channels, 0, false);
    }
    if (v[3].v[0] != 0) {
        desc.running_mean = parameter(net, layer, "running_mean", channels, 0, true);
        desc.running_var = parameter(net, layer, "running_var", channels, 1, true);
    }
    return esker_batch_norm(x, &desc);
}

esker_node *esker__build_batch_norm1d(esker_model *net, esker__layer *layer)
{
    int rank = layer->inputs[0]->type.shape.rank;
    if (rank != 2 && rank != 3) return fail_samples(net, layer->inputs[0], "[channels] or [channels, length] are needed");
    return build_batch_norm(net, layer);
}

esker_node *esker__build_batch_norm2d(esker_model *net, esker__layer *layer)
{
    if (layer->inputs[0]->type.shape.rank != 4)
        return fail_samples(net, layer->inputs[0], "[channels, height, width] are needed");
    return build_batch_norm(net, layer);
}

/* The shape of the last `axes` axes, which must not reach the batch. */
static bool last_axes(esker_model *net, const esker_node *x, int axes, esker_shape *out)
{
    int rank = x->type.shape.rank;
    *out = (esker_shape){.rank = axes};
    if (axes >= rank) {
        fail_samples(net, x, "with fewer axes than are to be normalised");
        return false;
    }
    for (int i = 0; i < axes; i++) out->dims[i] = x->type.shape.dims[rank - axes + i];
    return true;
}

/* Keys: axes, eps, affine, bias. */
esker_node *esker__build_layer_norm(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    esker_node *weight = NULL, *bias = NULL;
    esker_shape shape;
    if (!last_axes(net, layer->inputs[0], (int)v[0].v[0], &shape)) return NULL;
    if (v[2].v[0] != 0) weight = parameter(net, layer, "weight", shape, 1, false);
    if (v[2].v[0] != 0 && v[3].v[0] != 0) bias = parameter(net, layer, "bias", shape, 0, false);
    return esker_layer_norm(layer->inputs[0], shape.rank, weight, bias, (float)v[1].v[0]);
}

/* Keys: axes, eps, affine. */
esker_node *esker__build_rms_norm(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    esker_node *weight = NULL;
    esker_shape shape;
    if (!last_axes(net, layer->inputs[0], (int)v[0].v[0], &shape)) return NULL;
    if (v[2].v[0] != 0) weight = parameter(net, layer, "weight", shape, 1, false);
    return esker_rms_norm(layer->inputs[0], shape.rank, weight, (float)v[1].v[0]);
}

/* Keys: groups, eps, affine. */
esker_node *esker__build_group_norm(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    esker_node *x = layer->inputs[0], *weight = NULL, *bias = NULL;
    if (x->type.shape.rank < 2) return fail_samples(net, x, "[channels, ...] are needed");
    esker_shape channels = {1, {x->type.shape.dims[1]}};
    if (v[2].v[0] != 0) {
        weight = parameter(net, layer, "weight", channels, 1, false);
        bias = parameter(net, layer, "bias", channels, 0, false);
    }
    return esker_group_norm(x, (int)v[0].v[0], weight, bias, (float)v[1].v[0]);
}

/* Keys: eps, affine. */
esker_node *esker__build_instance_norm(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    esker_node *x = layer->inputs[0], *weight = NULL, *bias = NULL;
    if (x->type.shape.rank < 3) return fail_samples(net, x, "[channels, space...] are needed");
    esker_shape channels = {1, {x->type.shape.dims[1]}};
    if (v[1].v[0] != 0) {
        weight = parameter(net, layer, "weight", channels, 1, false);
        bias = parameter(net, layer, "bias", channels, 0, false);
    }
    return esker_instance_norm(x, weight, bias, (float)v[0].v[0]);
}

/* ---- Of nodes that were recorded without weight and bias ---- */

static bool decode(const esker_node *node, esker__layer_value *values, int axes_key, int eps_key, int affine_key)
{
    const esker__norm_attr *a = node->attr;
    if (a->has_weight || a->has_bias) return false;
    if (axes_key >= 0) values[axes_key] = (esker__layer_value){1, {a->axes}};
    values[eps_key] = (esker__layer_value){1, {(double)a->eps}};
    values[affine_key] = (esker__layer_value){1, {0}};
    return true;
}

bool esker__decode_layer_norm(const esker_node *node, esker__layer_value *values)
{
    return decode(node, values, 0, 1, 2) && values[0].v[0] < node->type.shape.rank;
}

bool esker__decode_rms_norm(const esker_node *node, esker__layer_value *values)
{
    return decode(node, values, 0, 1, 2) && values[0].v[0] < node->type.shape.rank;
}

bool esker__decode_group_norm(const esker_node *node, esker__layer_value *values)
{
    return decode(node, values, 0, 1, 2);
}

bool esker__decode_instance_norm(const esker_node *node, esker__layer_value *values)
{
    return decode(node, values, -1, 0, 1);
}

/* ---- From C ---- */

/* 0 is the usual one. */
static esker__layer_value unless_zero(double v)
{
    return (esker__layer_value){v != 0, {v}};
}

static esker__layer_value boolean(bool v)
{
    return (esker__layer_value){1, {v}};
}

static esker_node *add_batch_norm(esker_model *net, esker_node *x, const esker_layer_batch_norm_desc *desc,
                                  const char *kind)
{
    esker_layer_batch_norm_desc d = {0};
    if (desc) d = *desc;
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {unless_zero((double)d.eps), unless_zero((double)d.momentum),
                                                        boolean(!d.no_affine), boolean(!d.no_running)};
    return esker__layer_add(net, esker__layer_kind_find(kind), d.name, &x, values);
}

esker_node *esker_layer_batch_norm1d(esker_model *net, esker_node *x, const esker_layer_batch_norm_desc *desc)
{
    return add_batch_norm(net, x, desc, "batch_norm1d");
}

esker_node *esker_layer_batch_norm2d(esker_model *net, esker_node *x, const esker_layer_batch_norm_desc *desc)
{
    return add_batch_norm(net, x, desc, "batch_norm2d");
}

esker_node *esker_layer_layer_norm(esker_model *net, esker_node *x, const esker_layer_layer_norm_desc *desc)
{
    esker_layer_layer_norm_desc d = {0};
    if (desc) d = *desc;
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {unless_zero(d.axes), unless_zero((double)d.eps),
                                                        boolean(!d.no_affine), boolean(!d.no_bias)};
    return esker__layer_add(net, esker__layer_kind_find("layer_norm"), d.name, &x, values);
}

esker_node *esker_layer_rms_norm(esker_model *net, esker_node *x, const esker_layer_rms_norm_desc *desc)
{
    esker_layer_rms_norm_desc d = {0};
    if (desc) d = *desc;
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {unless_zero(d.axes), unless_zero((double)d.eps),
                                                        boolean(!d.no_affine)};
    return esker__layer_add(net, esker__layer_kind_find("rms_norm"), d.name, &x, values);
}

esker_node *esker_layer_group_norm(esker_model *net, esker_node *x, const esker_layer_group_norm_desc *desc)
{
    if (!desc)
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "layer group_norm: desc is NULL, groups are needed"));
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {
        {1, {desc->groups}}, unless_zero((double)desc->eps), boolean(!desc->no_affine)};
    return esker__layer_add(net, esker__layer_kind_find("group_norm"), desc->name, &x, values);
}

esker_node *esker_layer_instance_norm(esker_model *net, esker_node *x, const esker_layer_instance_norm_desc *desc)
{
    esker_layer_instance_norm_desc d = {0};
    if (desc) d = *desc;
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {unless_zero((double)d.eps), boolean(d.affine)};
    return esker__layer_add(net, esker__layer_kind_find("instance_norm"), d.name, &x, values);
}
