/* Kinds that compute values from values: functions with constants, softmax, products, random numbers, types, constants. */
#include "nn/kinds.h"

#include <math.h>

#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/ops.h"

static float number_of(const esker__layer *layer, int key)
{
    return (float)layer->values[key].v[0];
}

static esker__layer_value number(double v)
{
    return (esker__layer_value){1, {v}};
}

/* ---- Functions with constants ---- */

esker_node *esker__build_with_number(esker_model *net, esker__layer *layer)
{
    (void)net;
    return layer->kind->with_number(layer->inputs[0], number_of(layer, 0));
}

bool esker__decode_number(const esker_node *node, esker__layer_value *values)
{
    values[0] = number(((const esker__constants_attr *)node->attr)->k0);
    return true;
}

esker_node *esker__build_affine(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_affine(layer->inputs[0], number_of(layer, 0), number_of(layer, 1));
}

bool esker__decode_affine(const esker_node *node, esker__layer_value *values)
{
    const esker__affine_attr *a = node->attr;
    values[0] = number(a->scale);
    values[1] = number(a->shift);
    return isfinite(a->scale) && isfinite(a->shift);
}

esker_node *esker__build_clamp(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_clamp(layer->inputs[0], number_of(layer, 0), number_of(layer, 1));
}

/* JSON has no infinity. */
bool esker__decode_clamp(const esker_node *node, esker__layer_value *values)
{
    const esker__constants_attr *a = node->attr;
    values[0] = number(a->k0);
    values[1] = number(a->k1);
    return isfinite(a->k0) && isfinite(a->k1);
}

esker_node *esker__build_dropout(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_dropout(layer->inputs[0], number_of(layer, 0));
}

bool esker__decode_dropout(const esker_node *node, esker__layer_value *values)
{
    values[0] = number(((const esker__random_attr *)node->attr)->a);
    return true;
}

/* ---- Along an axis: the last is written -1 ---- */

esker_node *esker__build_softmax_along(esker_model *net, esker__layer *layer)
{
    (void)net;
    double *axis = &layer->values[0].v[0];
    int rank = esker__rank_of(layer);
    if (*axis == rank - 1)
        *axis = -1;
    else if (*axis < -1 && *axis >= -rank)
        *axis += rank;
    return layer->kind->along(layer->inputs[0], (int)*axis);
}

bool esker__decode_softmax(const esker_node *node, esker__layer_value *values)
{
    int axis = ((const esker__axis_attr *)node->attr)->axis;
    values[0] = number(axis == node->type.shape.rank - 1 ? -1 : axis);
    return true;
}

esker_node *esker__build_normalize(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer))) return NULL;
    return esker_normalize(layer->inputs[0], (int)layer->values[0].v[0], number_of(layer, 1));
}

bool esker__decode_normalize(const esker_node *node, esker__layer_value *values)
{
    const esker__norm_attr *a = node->attr;
    values[0] = number(a->axes);
    values[1] = number((double)a->eps);
    return a->axes > 0;
}

/* ---- Attention without parameters ---- */

esker_node *esker__build_rotary(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    if (esker__rank_of(layer) < 3)
        return esker__layer_refuse(net, "samples of %d axes, two are needed: positions and pairs",
                                   esker__rank_of(layer) - 1);
    esker_rotary_desc desc = {.base = (float)v[0].v[0], .offset = (int64_t)v[1].v[0], .halves = v[2].v[0] != 0};
    return esker_rotary(layer->inputs[0], &desc);
}

bool esker__decode_rotary(const esker_node *node, esker__layer_value *values)
{
    const esker__rotary_attr *a = node->attr;
    values[0] = number(a->base);
    values[1] = number((double)a->offset);
    values[2] = number(a->halves);
    return !a->back && node->type.shape.rank > 2; /* the positions are not the batch */
}

/* The scale that is usual: written 0. */
static float usual_scale(const esker_node *q)
{
    int rank = q->type.shape.rank;
    return rank ? (float)(1 / sqrt((double)q->type.shape.dims[rank - 1])) : 1;
}

esker_node *esker__build_dot_product_attention(esker_model *net, esker__layer *layer)
{
    (void)net;
    double *scale = &layer->values[1].v[0];
    if ((float)*scale == usual_scale(layer->inputs[0])) *scale = 0;
    return esker_attention(layer->inputs[0], layer->inputs[1], layer->inputs[2],
                           &(esker_attention_desc){.causal = layer->values[0].v[0] != 0, .scale = (float)*scale});
}

bool esker__decode_dot_product_attention(const esker_node *node, esker__layer_value *values)
{
    const esker__attention_attr *a = node->attr;
    values[0] = number(a->causal);
    values[1] = number(a->scale == usual_scale(node->inputs[0]) ? 0 : a->scale);
    return true;
}

/* ---- Products: the batch is the first axis of the result, and of every input that has it ---- */

esker_node *esker__build_matmul(esker_model *net, esker__layer *layer)
{
    esker_matmul_desc desc = {.transpose_a = layer->values[0].v[0] != 0, .transpose_b = layer->values[1].v[0] != 0};
    esker_node *a = layer->inputs[0], *b = layer->inputs[1];
    int rank_a = a->type.shape.rank, rank_b = b->type.shape.rank;
    bool batch_a = esker__model_has_batch(net, a), batch_b = esker__model_has_batch(net, b);
    bool apart = (!batch_a || rank_a > 2 || (rank_a == 2 && !desc.transpose_a)) && (!batch_b || rank_b > 2);
    if (!apart || (batch_a && rank_a < rank_b) || (batch_b && rank_b < rank_a))
        return esker__layer_refuse(
            net,
            "samples of %d and %d axes: matrices of samples, or rows by a matrix that all share, are "
            "needed, so that the batch stays in front",
            rank_a - batch_a, rank_b - batch_b);
    return esker_matmul(a, b, &desc);
}

bool esker__decode_matmul(const esker_node *node, esker__layer_value *values)
{
    const esker__matmul_attr *a = node->attr;
    values[0] = number(a->transpose_a);
    values[1] = number(a->transpose_b);
    return true;
}

/* ---- Types, random numbers, constants ---- */

esker_node *esker__build_convert(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_convert(layer->inputs[0], (esker_dtype)layer->values[0].v[0]);
}

bool esker__decode_convert(const esker_node *node, esker__layer_value *values)
{
    const esker__convert_attr *a = node->attr;
    values[0] = number(a->dtype);
    return a->scale == 1 && a->shift == 0;
}

esker_node *esker__build_random_uniform(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_random_uniform_like(layer->inputs[0], number_of(layer, 0), number_of(layer, 1));
}

esker_node *esker__build_random_normal(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_random_normal_like(layer->inputs[0], number_of(layer, 0), number_of(layer, 1));
}

/* Two numbers; bernoulli has one. */
bool esker__decode_random(const esker_node *node, esker__layer_value *values)
{
    values[0] = number((double)((const esker__random_attr *)node->attr)->a);
    values[1] = number((double)((const esker__random_attr *)node->attr)->b);
    return true;
}

bool esker__decode_random_bernoulli(const esker_node *node, esker__layer_value *values)
{
    values[0] = number((double)((const esker__random_attr *)node->attr)->a);
    return true;
}

/* Keys: shape, value. It has no batch: it broadcasts to every sample. */
esker_node *esker__build_full(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = &layer->values[0];
    esker_shape shape = {.rank = v->n};
    for (int i = 0; i < v->n; i++) shape.dims[i] = (int64_t)v->v[i];
    return esker_full(net->graph, &shape, number_of(layer, 1));
}

bool esker__decode_full(const esker_node *node, esker__layer_value *values)
{
    const esker__full_attr *a = node->attr;
    if (a->shape.rank == ESKER_MAX_RANK || !isfinite(a->value)) return false;
    values[0].n = a->shape.rank;
    for (int i = 0; i < a->shape.rank; i++) values[0].v[i] = (double)a->shape.dims[i];
    values[1] = number((double)a->value);
    return true;
}
