/* Recurrent layers, with the parameters of PyTorch's nn.RNN, nn.LSTM and nn.GRU (batch_first) and their starts. */
#include "nn/model.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"

/* "NAME.weight_ih_l0", and "_reverse" behind it for the second direction; all are uniform within 1 / sqrt(hidden). */
static esker_node *parameter(esker_model *net, const esker__layer *layer, const char *part, int level, bool reverse,
                             esker_shape shape, int64_t hidden)
{
    char name[ESKER__MAX_NAME_BYTES + sizeof ".weight_ih_l99_reverse"];
    snprintf(name, sizeof name, "%s.%s_l%d%s", layer->name, part, level, reverse ? "_reverse" : "");
    esker_init init = {.kind = ESKER_INIT_UNIFORM, .value = (float)(1 / sqrt((double)hidden))};
    return esker_parameter(net->graph, &(esker_param_desc){.name = name, .shape = shape, .init = init});
}

static esker_node *direction(esker_model *net, const esker__layer *layer, esker_recurrent_kind kind, esker_node *x,
                             int level, bool reverse)
{
    static const int gates[] = {1, 1, 4, 3};
    if (!x) return NULL;
    int64_t hidden = (int64_t)layer->values[0].v[0], rows = gates[kind] * hidden, features = x->type.shape.dims[2];
    esker_recurrent_desc desc = {.kind = kind, .reverse = reverse, .batch_first = true};
    desc.weight_ih = parameter(net, layer, "weight_ih", level, reverse, (esker_shape){2, {rows, features}}, hidden);
    desc.weight_hh = parameter(net, layer, "weight_hh", level, reverse, (esker_shape){2, {rows, hidden}}, hidden);
    if (layer->values[3].v[0] != 0) {
        desc.bias_ih = parameter(net, layer, "bias_ih", level, reverse, (esker_shape){1, {rows}}, hidden);
        desc.bias_hh = parameter(net, layer, "bias_hh", level, reverse, (esker_shape){1, {rows}}, hidden);
    }
    return esker_recurrent(x, &desc);
}

/* Keys: features, layers, bidirectional, bias. */
static esker_node *build(esker_model *net, esker__layer *layer, esker_recurrent_kind kind)
{
    const esker__layer_value *v = layer->values;
    esker_node *x = layer->inputs[0];
    if (x->type.shape.rank != 3) {
        char text[ESKER_SHAPE_TEXT_BYTES];
        esker_shape sample = esker__sample_shape(&x->type.shape);
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "the input's samples are %s, [steps, features] are needed",
                                             esker_shape_text(&sample, text)));
    }
    for (int level = 0; x && level < (int)v[1].v[0]; level++) {
        esker_node *both[] = {direction(net, layer, kind, x, level, false), NULL};
        if (v[2].v[0] != 0) both[1] = direction(net, layer, kind, x, level, true);
        x = v[2].v[0] == 0 ? both[0] : both[0] && both[1] ? esker_concat(both, 2, 2) : NULL;
    }
    return x;
}

/* The fifth key: activation. */
esker_node *esker__build_rnn(esker_model *net, esker__layer *layer)
{
    return build(net, layer, layer->values[4].v[0] != 0 ? ESKER_RECURRENT_RNN_RELU : ESKER_RECURRENT_RNN_TANH);
}

esker_node *esker__build_lstm(esker_model *net, esker__layer *layer)
{
    return build(net, layer, ESKER_RECURRENT_LSTM);
}

esker_node *esker__build_gru(esker_model *net, esker__layer *layer)
{
    return build(net, layer, ESKER_RECURRENT_GRU);
}

static esker_node *add(esker_model *net, const char *kind, esker_node *x, const esker_layer_recurrent_desc *desc)
{
    if (!desc)
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "layer %s: desc is NULL, features are needed", kind));
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {{1, {(double)desc->features}},
                                                        {1, {desc->layers ? desc->layers : 1}},
                                                        {1, {desc->bidirectional}},
                                                        {1, {!desc->no_bias}}};
    const esker__layer_kind *row = esker__layer_kind_find(kind);
    if (esker__layer_kind_n_keys(row) > 4) values[4] = (esker__layer_value){1, {desc->relu}};
    return esker__layer_add(net, row, desc->name, &x, values);
}

esker_node *esker_layer_rnn(esker_model *net, esker_node *x, const esker_layer_recurrent_desc *desc)
{
    return add(net, "rnn", x, desc);
}

esker_node *esker_layer_lstm(esker_model *net, esker_node *x, const esker_layer_recurrent_desc *desc)
{
    return add(net, "lstm", x, desc);
}

esker_node *esker_layer_gru(esker_model *net, esker_node *x, const esker_layer_recurrent_desc *desc)
{
    return add(net, "gru", x, desc);
}
