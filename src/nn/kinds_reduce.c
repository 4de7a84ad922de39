/* Kinds of reductions: over axes from 1 up, since the batch stays. */
#include "nn/kinds.h"

#include "ops/ops.h"

/* The first two keys. Returns how many axes; -1 after a failure. */
static int get_axes(esker_model *net, const esker__layer *layer, int axes[ESKER_MAX_RANK])
{
    int n = layer->values[0].n, rank = esker__rank_of(layer);
    for (int i = 0; i < n; i++) {
        axes[i] = (int)layer->values[0].v[i];
        if (axes[i] < 0 && axes[i] >= -rank) axes[i] += rank;
        if (axes[i] != 0) continue;
        esker__layer_refuse(net, "axes: axis 0 is the batch, which has to stay");
        return -1;
    }
    return n;
}

/* Only once they were recorded are the axes known to be in range and different: in ascending order then. */
static esker_node *canonical(esker__layer *layer, const int *axes, int n, esker_node *result)
{
    bool taken[ESKER_MAX_RANK] = {false};
    int k = 0;
    for (int i = 0; result && i < n; i++) taken[axes[i]] = true;
    for (int i = 1; result && i < ESKER_MAX_RANK; i++)
        if (taken[i]) layer->values[0].v[k++] = i;
    return result;
}

esker_node *esker__build_reduction(esker_model *net, esker__layer *layer)
{
    int axes[ESKER_MAX_RANK] = {0}, n = get_axes(net, layer, axes);
    if (n < 0) return NULL;
    return canonical(layer, axes, n, layer->kind->reduce(layer->inputs[0], axes, n, layer->values[1].v[0] != 0));
}

esker_node *esker__build_variance(esker_model *net, esker__layer *layer)
{
    int axes[ESKER_MAX_RANK] = {0}, n = get_axes(net, layer, axes);
    const esker__layer_value *v = layer->values;
    if (n < 0) return NULL;
    return canonical(layer, axes, n, esker_variance(layer->inputs[0], axes, n, v[1].v[0] != 0, (int)v[2].v[0]));
}

esker_node *esker__build_norm(esker_model *net, esker__layer *layer)
{
    int axes[ESKER_MAX_RANK] = {0}, n = get_axes(net, layer, axes);
    const esker__layer_value *v = layer->values;
    if (n < 0) return NULL;
    return canonical(layer, axes, n, esker_norm(layer->inputs[0], axes, n, v[1].v[0] != 0, (esker_norm_kind)v[2].v[0]));
}

/* The attributes of all of them begin with those of a sum. */
bool esker__decode_reduction(const esker_node *node, esker__layer_value *values)
{
    const esker__reduce_attr *a = node->attr;
    if (a->mask & 1u) return false; /* it ends the batch */
    values[0] = (esker__layer_value){0};
    for (int i = 1; i < ESKER_MAX_RANK; i++)
        if (a->mask & (1u << i)) values[0].v[values[0].n++] = i;
    values[1] = (esker__layer_value){1, {a->keepdims != 0}};
    return values[0].n > 0;
}

bool esker__decode_variance(const esker_node *node, esker__layer_value *values)
{
    values[2] = (esker__layer_value){1, {((const esker__variance_attr *)node->attr)->correction}};
    return esker__decode_reduction(node, values);
}

bool esker__decode_norm(const esker_node *node, esker__layer_value *values)
{
    values[2] = (esker__layer_value){1, {((const esker__reduce_norm_attr *)node->attr)->kind}};
    return esker__decode_reduction(node, values);
}
