/*
 * Train a small GPT to write like a text, character by character, and let it write:  char_gpt TEXT [options]
 *
 * The network is recorded straight into graphs, without the layers of model.h. Architecture and settings are those of GPT-2
 * (Radford and others 2019), made small. demo/characters/ has the rest of the program: the text, the plans, the loop.
 */
#include <math.h>
#include <stdio.h>

#include "characters/characters.h"

typedef struct gpt {
    esker_graph *graph;
    const settings *s;
    int64_t batch;
    char prefix[32]; /* of the names of parameters */
} gpt;

static esker_node *parameter(gpt *m, const char *name, esker_shape shape, esker_init init)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", m->prefix, name);
    return esker_parameter(
        m->graph,
        &(esker_param_desc){.name = full, .shape = shape, .init = init, .group = shape.rank == 2 ? DECAY : NO_DECAY});
}

static esker_node *matrix(gpt *m, const char *name, int64_t rows, int64_t columns, double deviation)
{
    return parameter(m, name, (esker_shape){2, {rows, columns}},
                     (esker_init){.kind = ESKER_INIT_NORMAL, .value = (float)deviation});
}

static esker_node *times(esker_node *x, esker_node *weight)
{
    return esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true});
}

static esker_node *norm(gpt *m, esker_node *x, const char *weight, const char *bias)
{
    esker_shape shape = {1, {m->s->width}};
    esker_node *scale = parameter(m, weight, shape, (esker_init){.kind = ESKER_INIT_CONSTANT, .value = 1});
    return esker_layer_norm(x, 1, scale, parameter(m, bias, shape, (esker_init){0}), 0);
}

/* rows -> [batch, heads, context, width / heads] */
static esker_node *heads(gpt *m, esker_node *x, const char *name)
{
    const settings *s = m->s;
    x = times(x, matrix(m, name, s->width, s->width, 0.02));
    x = esker_reshape(x, &(esker_shape){4, {m->batch, s->context, s->heads, s->width / s->heads}});
    return esker_transpose(x, (const int[]){0, 2, 1, 3});
}

static esker_node *record(esker_graph *graph, const settings *s, int vocabulary, esker_node *tokens, bool learning)
{
    gpt m = {.graph = graph, .s = s, .batch = tokens ? esker_node_get_shape(tokens)->dims[0] : 1};
    const esker_shape rows = {2, {m.batch * s->context, s->width}}; /* what every block gets and returns */
    const float dropout = learning ? (float)s->dropout : 0;
    /* What a block adds begins smaller, so that the sum over all blocks begins with the deviation of one. */
    const double residual = 0.02 / sqrt(2.0 * (double)s->layers);

    esker_node *table = matrix(&m, "characters", vocabulary, s->width, 0.02);
    esker_node *x = esker_add(esker_embedding(table, tokens), matrix(&m, "positions", s->context, s->width, 0.02));
    x = esker_dropout(esker_reshape(x, &rows), dropout);
    for (int i = 0; i < s->layers; i++) {
        snprintf(m.prefix, sizeof m.prefix, "block%d.", i + 1);
        esker_node *y = norm(&m, x, "norm1.weight", "norm1.bias");
        esker_node *query = heads(&m, y, "query"), *key = heads(&m, y, "key"), *value = heads(&m, y, "value");
        y = esker_attention(query, key, value, &(esker_attention_desc){.causal = true});
        y = esker_reshape(esker_transpose(y, (const int[]){0, 2, 1, 3}), &rows);
        x = esker_add(x, esker_dropout(times(y, matrix(&m, "mix", s->width, s->width, residual)), dropout));

        y = norm(&m, x, "norm2.weight", "norm2.bias");
        y = esker_gelu(times(y, matrix(&m, "expand", 4 * s->width, s->width, 0.02)));
        x = esker_add(x, esker_dropout(times(y, matrix(&m, "contract", s->width, 4 * s->width, residual)), dropout));
    }
    m.prefix[0] = 0;
    return times(norm(&m, x, "norm.weight", "norm.bias"), table); /* the table of characters serves both ends */
}

int main(int argc, char **argv)
{
    return characters_main(argc, argv,
                           (settings){.steps = 2000,
                                      .batch = 12,
                                      .seed = 1,
                                      .eval_every = 250,
                                      .layers = 4,
                                      .heads = 4,
                                      .width = 128,
                                      .context = 64,
                                      .lr = 1e-3,
                                      .temperature = 0.8},
                           record);
}
