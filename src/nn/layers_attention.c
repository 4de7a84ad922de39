/* Multi-head self-attention, with the parameters of PyTorch's nn.MultiheadAttention and their starts. */
#include "nn/model.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"

static esker_node *parameter(esker_model *net, const esker__layer *layer, const char *part, esker_shape shape,
                             esker_init init)
{
    char name[ESKER__MAX_NAME_BYTES + sizeof ".out_proj.weight"];
    snprintf(name, sizeof name, "%s.%s", layer->name, part);
    return esker_parameter(net->graph, &(esker_param_desc){.name = name, .shape = shape, .init = init});
}

/* x [n, rows, w] times the weight, plus the bias if there is one. */
static esker_node *project(esker_node *x, esker_node *weight, esker_node *bias)
{
    esker_node *y = esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true});
    return bias ? esker_add(y, bias) : y;
}

/* Keys: heads, causal, bias, rotary. */
esker_node *esker__build_attention(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    const esker_shape *x = &layer->inputs[0]->type.shape;
    esker_node *in_bias = NULL, *out_bias = NULL, *qkv[3];
    bool bias = v[2].v[0] != 0;
    int rotary = (int)v[3].v[0];
    int64_t heads = (int64_t)v[0].v[0];
    if (x->rank != 3) {
        char text[ESKER_SHAPE_TEXT_BYTES];
        esker_shape sample = esker__sample_shape(x);
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "the input's samples are %s, [rows, width] are needed",
                                             esker_shape_text(&sample, text)));
    }
    int64_t rows = x->dims[1], width = x->dims[2], size = width / heads;
    if (width % heads)
        return esker__graph_fail(net->graph, esker__fail(ESKER_ERR_INVALID, "heads: %lld do not divide a width of %lld",
                                                         (long long)heads, (long long)width));

    esker_node *in_weight = parameter(net, layer, "in_proj_weight", (esker_shape){2, {3 * width, width}},
                                      (esker_init){.kind = ESKER_INIT_XAVIER_UNIFORM});
    if (bias) in_bias = parameter(net, layer, "in_proj_bias", (esker_shape){1, {3 * width}}, (esker_init){0});
    esker_node *out_weight = parameter(net, layer, "out_proj.weight", (esker_shape){2, {width, width}},
                                       (esker_init){.kind = ESKER_INIT_UNIFORM, .value = (float)(1 / sqrt((double)width))});
    if (bias) out_bias = parameter(net, layer, "out_proj.bias", (esker_shape){1, {width}}, (esker_init){0});

    /* [n, rows, 3 width], then [n, rows, 3, heads, size]. The -1 is the batch. */
    esker_node *all = project(layer->inputs[0], in_weight, in_bias);
    all = esker_reshape(all, &(esker_shape){5, {-1, rows, 3, heads, size}});
    /* Positions turn q, k and v one after the other; without them the kernels find these where they are. */
    if (rotary) all = esker_transpose(all, (int[]){2, 0, 3, 1, 4});
    if (!all || esker_split_axis(all, rotary ? 0 : 2, NULL, 3, qkv) != ESKER_OK) return NULL;
    for (int i = 0; i < 3; i++) {
        if (rotary)
            qkv[i] = esker_reshape(qkv[i], &(esker_shape){4, {-1, heads, rows, size}});
        else
            qkv[i] = esker_transpose(esker_reshape(qkv[i], &(esker_shape){4, {-1, rows, heads, size}}),
                                     (int[]){0, 2, 1, 3});
    }
    for (int i = 0; rotary && i < 2; i++) qkv[i] = esker_rotary(qkv[i], &(esker_rotary_desc){.halves = rotary == 2});
    esker_node *y = esker_attention(qkv[0], qkv[1], qkv[2], &(esker_attention_desc){.causal = v[1].v[0] != 0});
    y = esker_reshape(esker_transpose(y, (int[]){0, 2, 1, 3}), &(esker_shape){3, {-1, rows, width}});
    return project(y, out_weight, out_bias);
}

esker_node *esker_layer_attention(esker_model *net, esker_node *x, const esker_layer_attention_desc *desc)
{
    if (!desc)
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "layer attention: desc is NULL, heads are needed"));
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {
        {1, {(double)desc->heads}}, {1, {desc->causal}}, {1, {!desc->no_bias}}, {1, {(double)desc->rotary}}};
    return esker__layer_add(net, esker__layer_kind_find("attention"), desc->name, &x, values);
}
