/* Recurrent layers, with the parameters of PyTorch's nn.RNN, nn.LSTM and nn.GRU (batch_first) and their starts. */
#include "nn/model.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/recurrent.h"

/* "NAME.weight_ih_l0", and "_reverse" behind it for the second direction; all are uniform within 1 / sqrt(hidden). */
static esker_node *parameter(esker_model *net, const esker__layer *layer, const char *part, int level, bool reverse,
                             esker_shape shape, int64_t hidden)
{
    char name[ESKER__MAX_NAME_BYTES + sizeof ".weight_ih_l99_reverse"];
    snprintf(name, sizeof name, "%s.%s_l%d%s", layer->name, part, level, reverse ? "_reverse" : "");
    esker_init init = {.kind = ESKER_INIT_UNIFORM, .value = (float)(1 / sqrt((double)hidden))};
    return esker_parameter(net->graph, &(esker_param_desc){.name = name, .shape = shape, .init = init});
}

/*
 * Row `which` of the states that input `input` has for all levels and directions: [batch, rows, hidden], or, for all
 * samples alike, [rows, hidden].
 */
static esker_node *state_of(const esker__layer *layer, int input, int which)
{
    esker_node *x = input < layer->n_inputs ? layer->inputs[input] : NULL;
    if (!x) return NULL;
    esker_node *row = esker__slice_axis(x, x->type.shape.rank - 2, which, 1);
    return x->type.shape.rank == 2 ? row : esker_reshape(row, &(esker_shape){2, {0, -1}});
}

static esker_node *direction(esker_model *net, const esker__layer *layer, esker_recurrent_kind kind, esker_node *x,
                             int level, bool reverse)
{
    static const int gates[] = {1, 1, 4, 3};
    if (!x) return NULL;
    int which = layer->values[2].v[0] != 0 ? 2 * level + reverse : level;
    int64_t hidden = (int64_t)layer->values[0].v[0], rows = gates[kind] * hidden, features = x->type.shape.dims[2];
    esker_recurrent_desc desc = {.kind = kind, .reverse = reverse, .batch_first = true};
    desc.weight_ih = parameter(net, layer, "weight_ih", level, reverse, (esker_shape){2, {rows, features}}, hidden);
    desc.weight_hh = parameter(net, layer, "weight_hh", level, reverse, (esker_shape){2, {rows, hidden}}, hidden);
    if (layer->values[3].v[0] != 0) {
        desc.bias_ih = parameter(net, layer, "bias_ih", level, reverse, (esker_shape){1, {rows}}, hidden);
        desc.bias_hh = parameter(net, layer, "bias_hh", level, reverse, (esker_shape){1, {rows}}, hidden);
    }
    desc.h = state_of(layer, 1, which);
    desc.c = state_of(layer, 2, which);
    return net->graph->status == ESKER_OK ? esker_recurrent(x, &desc) : NULL;
}

/* Inputs 1 and 2. */
static bool check_states(esker_model *net, const esker__layer *layer, esker_recurrent_kind kind)
{
    const esker__layer_value *v = layer->values;
    int rows = (int)v[1].v[0] * (v[2].v[0] != 0 ? 2 : 1);
    if (kind == ESKER_RECURRENT_LSTM && layer->n_inputs == 2) {
        esker__layer_refuse(net, "2 inputs: the initial hidden and cell states come together or not at all");
        return false;
    }
    for (int i = 1; i < layer->n_inputs; i++) {
        const esker_shape *shape = &layer->inputs[i]->type.shape;
        bool batch = esker__model_has_batch(net, layer->inputs[i]);
        char text[ESKER_SHAPE_TEXT_BYTES];
        if (shape->rank == 2 + batch && shape->dims[shape->rank - 2] == rows &&
            shape->dims[shape->rank - 1] == (int64_t)v[0].v[0])
            continue;
        esker_shape own = batch ? esker__sample_shape(shape) : *shape;
        esker__layer_refuse(net, "initial states %s, [%d, %.0f] are needed: a row for each layer and direction",
                            esker_shape_text(&own, text), rows, v[0].v[0]);
        return false;
    }
    return true;
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
    if (!check_states(net, layer, kind)) return NULL;
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

/* ---- What is left behind the last step: [batch, rows, hidden], a row for each layer and direction ---- */

static esker_node *last_state(esker_node *y, bool cell)
{
    const esker__recurrent_attr *a = y->attr;
    if (cell) return esker_unsqueeze(esker_recurrent_cell(y), 1);
    return esker__slice_axis(y, 1, a->reverse ? 0 : y->type.shape.dims[1] - 1, 1);
}

static esker_node *last_states(esker_model *net, esker__layer *layer, bool cell)
{
    enum { MOST = 2 * 64 };
    esker_node *rows[MOST];
    const esker__layer *from = NULL;
    int n = 0;
    for (size_t i = 0; i < net->n_layers; i++)
        if (net->layers[i]->node == layer->inputs[0]) from = net->layers[i];
    for (int id = from ? from->first : 0; from && id < from->end && n < MOST; id++)
        if (net->graph->nodes[id]->op == &esker__op_recurrent) rows[n++] = net->graph->nodes[id];
    if (n == 0)
        return esker__layer_refuse(net, "the input, %s, is no %s layer", from ? from->name : layer->inputs[0]->op->name,
                                   cell ? "lstm" : "rnn, lstm or gru");
    for (int i = 0; i < n; i++)
        if (!(rows[i] = last_state(rows[i], cell))) return NULL;
    return n == 1 ? rows[0] : esker_concat(rows, n, 1);
}

esker_node *esker__build_last_hidden(esker_model *net, esker__layer *layer)
{
    return last_states(net, layer, false);
}

esker_node *esker__build_last_cell(esker_model *net, esker__layer *layer)
{
    return last_states(net, layer, true);
}

esker_node *esker_layer_last_hidden(esker_model *net, esker_node *y, const char *name)
{
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {{0}};
    return esker__layer_add(net, esker__layer_kind_find("last_hidden"), name, &y, values);
}

esker_node *esker_layer_last_cell(esker_model *net, esker_node *y, const char *name)
{
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {{0}};
    return esker__layer_add(net, esker__layer_kind_find("last_cell"), name, &y, values);
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
    esker_node *inputs[] = {x, desc->h, desc->c};
    if (desc->c && !desc->h)
        return esker__graph_fail(net->graph, esker__fail(ESKER_ERR_INVALID, "layer %s: c without h", kind));
    return esker__layer_add_to(net, row, desc->name, inputs, 1 + (desc->h != NULL) + (desc->c != NULL), values);
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
