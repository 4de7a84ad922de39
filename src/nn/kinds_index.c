/* Kinds that pick elements by index. Models take numbers, so indices may come as float32: they round toward zero. */
#include "nn/kinds.h"

#include "ops/ops.h"

static esker_node *as_indices(esker_node *x)
{
    return x->type.dtype == ESKER_DTYPE_I32 ? x : esker_convert(x, ESKER_DTYPE_I32);
}

/* Rows of a table that all samples share. */
esker_node *esker__build_take(esker_model *net, esker__layer *layer)
{
    if (esker__model_has_batch(net, layer->inputs[0]))
        return esker__layer_refuse(net, "the first input depends on the batch: a table that all samples share is needed "
                                        "(gather takes from each sample)");
    return esker_take(layer->inputs[0], as_indices(layer->inputs[1]), 0);
}

bool esker__decode_take(const esker_node *node, esker__layer_value *values)
{
    const esker__gather_attr *a = node->attr;
    (void)values;
    return a->axis == 0 && !a->zero;
}

esker_node *esker__build_gather(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer))) return NULL;
    return esker_gather(layer->inputs[0], as_indices(layer->inputs[1]), (int)layer->values[0].v[0]);
}

esker_node *esker__build_scatter_add(esker_model *net, esker__layer *layer)
{
    if (!esker__kind_axis(net, layer, 0, esker__rank_of(layer))) return NULL;
    return esker_scatter_add(layer->inputs[0], as_indices(layer->inputs[1]), layer->inputs[2], (int)layer->values[0].v[0]);
}

/* Of scatter_add, too. */
bool esker__decode_gather(const esker_node *node, esker__layer_value *values)
{
    const esker__gather_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->axis}};
    return a->axis > 0 && !a->zero;
}

esker_node *esker__build_one_hot(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_one_hot(as_indices(layer->inputs[0]), (int64_t)layer->values[0].v[0]);
}

bool esker__decode_one_hot(const esker_node *node, esker__layer_value *values)
{
    values[0] = (esker__layer_value){1, {(double)((const esker__one_hot_attr *)node->attr)->classes}};
    return true;
}
