/* Kinds of pooling and resizing. */
#include "nn/kinds.h"

#include "ops/ops.h"

static esker_node *pool2d(esker__layer *layer, esker_node *(*record)(esker_node *, const esker_pool2d_desc *))
{
    const esker__layer_value *v = layer->values;
    return record(layer->inputs[0], &(esker_pool2d_desc){.window = {(int)v[0].v[0], (int)v[0].v[1]},
                                                         .stride = {(int)v[1].v[0], (int)v[1].v[1]},
                                                         .padding = {(int)v[2].v[0], (int)v[2].v[1]},
                                                         .exclude_padding = v[3].v[0] != 0});
}

esker_node *esker__build_max_pool2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    return pool2d(layer, esker_max_pool2d);
}

esker_node *esker__build_avg_pool2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    esker__layer_value *v = layer->values;
    if (v[2].v[0] == 0 && v[2].v[1] == 0) v[3].v[0] = 0; /* nothing to exclude */
    return pool2d(layer, esker_avg_pool2d);
}

static esker_node *pool1d(esker__layer *layer, esker_node *(*record)(esker_node *, const esker_pool1d_desc *))
{
    const esker__layer_value *v = layer->values;
    return record(layer->inputs[0], &(esker_pool1d_desc){.window = (int)v[0].v[0],
                                                         .stride = (int)v[1].v[0],
                                                         .padding = (int)v[2].v[0],
                                                         .exclude_padding = v[3].v[0] != 0});
}

esker_node *esker__build_max_pool1d(esker_model *net, esker__layer *layer)
{
    (void)net;
    return pool1d(layer, esker_max_pool1d);
}

esker_node *esker__build_avg_pool1d(esker_model *net, esker__layer *layer)
{
    (void)net;
    return pool1d(layer, esker_avg_pool1d);
}

esker_node *esker__build_adaptive_avg_pool2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    const esker__layer_value *v = layer->values;
    return esker_adaptive_avg_pool2d(layer->inputs[0], (int[]){(int)v[0].v[0], (int)v[0].v[1]});
}

bool esker__decode_adaptive_avg_pool2d(const esker_node *node, esker__layer_value *values)
{
    const esker__adaptive_attr *a = node->attr;
    values[0] = (esker__layer_value){2, {a->size[0], a->size[1]}};
    return true;
}

bool esker__decode_max_pool2d(const esker_node *node, esker__layer_value *values)
{
    const esker__pool2d_attr *a = node->attr;
    for (int i = 0; i < 2; i++) {
        values[0].v[i] = a->window[i];
        values[1].v[i] = a->stride[i];
        values[2].v[i] = a->padding[i];
    }
    values[0].n = values[1].n = values[2].n = 2;
    return true;
}

bool esker__decode_avg_pool2d(const esker_node *node, esker__layer_value *values)
{
    values[3] = (esker__layer_value){1, {((const esker__pool2d_attr *)node->attr)->exclude_padding != 0}};
    return esker__decode_max_pool2d(node, values);
}

esker_node *esker__build_resize2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    const esker__layer_value *v = layer->values;
    return esker_resize2d(layer->inputs[0], (int)v[0].v[0], (int)v[0].v[1], (esker_resize_mode)v[1].v[0]);
}

bool esker__decode_resize2d(const esker_node *node, esker__layer_value *values)
{
    const esker__resize_attr *a = node->attr;
    values[0] = (esker__layer_value){2, {a->y_h, a->y_w}};
    values[1] = (esker__layer_value){1, {a->mode}};
    return true;
}
