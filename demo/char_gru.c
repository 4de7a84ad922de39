/*
 * Train gated recurrent units to write like a text, character by character, and let them write:  char_gru TEXT [options]
 *
 * The network is an embedding, layers of units (Cho and others 2014), and logits. demo/characters/ has the rest of the program.
 */
#include <math.h>
#include <stdio.h>

#include "characters/characters.h"

/* Uniform within 1 / sqrt(width), as PyTorch starts its recurrent layers. */
static esker_node *parameter(esker_graph *graph, const settings *s, const char *format, int layer, esker_shape shape)
{
    char name[64];
    snprintf(name, sizeof name, format, layer);
    float bound = (float)(1 / sqrt((double)s->width));
    return esker_parameter(graph, &(esker_param_desc){.name = name,
                                                      .shape = shape,
                                                      .init = {.kind = ESKER_INIT_UNIFORM, .value = bound},
                                                      .group = shape.rank == 2 ? DECAY : NO_DECAY});
}

static esker_node *record(esker_graph *graph, const settings *s, int vocabulary, esker_node *tokens, bool learning)
{
    const float dropout = learning ? (float)s->dropout : 0;
    const esker_shape matrix = {2, {3 * s->width, s->width}}, vector = {1, {3 * s->width}}; /* of three gates each */
    const esker_shape ends = {2, {vocabulary, s->width}};
    esker_param_desc table = {.name = "characters", .shape = ends, .init = {.kind = ESKER_INIT_NORMAL, .value = 1}};
    esker_node *x = esker_embedding(esker_parameter(graph, &table), tokens); /* [batch, context, width] */
    for (int i = 0; i < s->layers; i++) {
        esker_recurrent_desc gru = {.kind = ESKER_RECURRENT_GRU, .batch_first = true};
        gru.weight_ih = parameter(graph, s, "gru.weight_ih_l%d", i, matrix);
        gru.weight_hh = parameter(graph, s, "gru.weight_hh_l%d", i, matrix);
        gru.bias_ih = parameter(graph, s, "gru.bias_ih_l%d", i, vector);
        gru.bias_hh = parameter(graph, s, "gru.bias_hh_l%d", i, vector);
        x = esker_dropout(esker_recurrent(x, &gru), dropout);
    }
    x = esker_reshape(x, &(esker_shape){2, {-1, s->width}});
    esker_node *weight = parameter(graph, s, "fc.weight", 0, ends);
    esker_node *bias = parameter(graph, s, "fc.bias", 0, (esker_shape){1, {vocabulary}});
    return esker_add(esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true}), bias);
}

int main(int argc, char **argv)
{
    return characters_main(argc, argv,
                           (settings){.steps = 2000,
                                      .batch = 12,
                                      .seed = 1,
                                      .eval_every = 250,
                                      .layers = 2,
                                      .width = 128,
                                      .context = 64,
                                      .lr = 3e-3,
                                      .temperature = 0.8},
                           record);
}
