/* Models: making one, its names and facts. */
#include "nn/model.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

#define MAX_CLASSES (1 << 20)

esker_status esker_model_create(esker_model **out)
{
    *out = NULL;
    esker_model *net = esker__calloc(1, sizeof *net);
    if (!net) return esker__fail_memory(sizeof *net, "model");
    net->name = "model";
    esker_status st = esker_graph_create(NULL, &net->graph);
    if (st != ESKER_OK) {
        esker__free(net);
        return st;
    }
    *out = net;
    return ESKER_OK;
}

void esker_model_destroy(esker_model *net)
{
    if (!net) return;
    for (size_t i = 0; i < net->n_metadata; i++) {
        esker__free(net->metadata[i].key);
        esker__free(net->metadata[i].value);
    }
    esker__free(net->metadata);
    esker__free(net->layers);
    esker_graph_destroy(net->graph);
    esker__pool_finish(&net->pool);
    esker__free(net);
}

esker_status esker_model_set_name(esker_model *net, const char *name)
{
    if (!name) return esker__fail(ESKER_ERR_INVALID, "model: the name is NULL");
    esker_status st = esker__check_name("the model's name", name);
    if (st != ESKER_OK) return st;
    const char *copy = esker__pool_strdup(&net->pool, name);
    if (!copy) return esker__fail_memory(strlen(name) + 1, "model name");
    net->name = copy;
    return ESKER_OK;
}

/* 0 features: there is no output yet. */
static esker_status check_classes(const esker_model *net, int n_names)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    if (!net->output) return ESKER_OK;
    esker_shape sample = esker__sample_shape(&net->output->type.shape);
    if (sample.rank > 0 && sample.dims[sample.rank - 1] == n_names) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "model %s: %d class names for an output of %s", net->name, n_names,
                       esker_shape_text(&sample, text));
}

/* Texts go into JSON, which other programs refuse if they are anything else. */
static bool is_utf8(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        int n_more = *p < 0x80                  ? 0
                     : *p >= 0xc2 && *p <= 0xdf ? 1
                     : (*p & 0xf0) == 0xe0      ? 2
                     : *p >= 0xf0 && *p <= 0xf4 ? 3
                                                : -1;
        if (n_more < 0) return false;
        /* Longer forms than needed, surrogates, and what is over U+10FFFF. */
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
            (*p == 0xf4 && p[1] > 0x8f))
            return false;
        for (; n_more > 0; n_more--)
            if ((*++p & 0xc0) != 0x80) return false;
    }
    return true;
}

esker_status esker_model_set_classes(esker_model *net, const char *const *names, int n_names)
{
    if (!names || n_names < 1 || n_names > MAX_CLASSES)
        return esker__fail(ESKER_ERR_INVALID, "model %s: %d class names, 1 to %d are possible", net->name,
                           names ? n_names : 0, MAX_CLASSES);
    esker_status st = check_classes(net, n_names);
    if (st != ESKER_OK) return st;
    const char **copies = esker__pool_alloc(&net->pool, (size_t)n_names * sizeof *copies);
    if (!copies) return esker__fail_memory((size_t)n_names * sizeof *copies, "class names");
    for (int i = 0; i < n_names; i++) {
        if (!names[i] || !is_utf8(names[i]))
            return esker__fail(ESKER_ERR_INVALID, "model %s: class name %d is %s", net->name, i,
                               names[i] ? "not UTF-8" : "NULL");
        copies[i] = esker__pool_strdup(&net->pool, names[i]);
        if (!copies[i]) return esker__fail_memory(strlen(names[i]) + 1, "class names");
    }
    net->classes = copies;
    net->n_classes = n_names;
    return ESKER_OK;
}

esker_status esker__check_name(const char *what, const char *name)
{
    size_t n = strlen(name);
    if (n < 1 || n > ESKER__MAX_NAME_BYTES)
        return esker__fail(ESKER_ERR_INVALID, "%s has %zu bytes, 1 to %d are possible", what, n, ESKER__MAX_NAME_BYTES);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 32 || name[i] == 127)
            return esker__fail(ESKER_ERR_INVALID, "%s has the control character %d", what, name[i]);
    if (!is_utf8(name)) return esker__fail(ESKER_ERR_INVALID, "%s is not UTF-8", what);
    return ESKER_OK;
}

esker_node *esker_model_input(esker_model *net, const char *name, const esker_shape *shape)
{
    esker_status st = ESKER_OK;
    if (net->graph->status != ESKER_OK) return NULL;
    if (net->input)
        st = esker__fail(ESKER_ERR_INVALID, "model input: there is one already, %s", net->input_name);
    else if (!name)
        st = esker__fail(ESKER_ERR_INVALID, "model input: the name is NULL");
    else if (!shape || shape->rank < 0 || shape->rank > ESKER_MAX_RANK - 1)
        st = esker__fail(ESKER_ERR_INVALID, "model input %s: rank %d without the batch, 0 to %d are possible", name,
                         shape ? shape->rank : -1, ESKER_MAX_RANK - 1);
    else
        st = esker__check_name("model input: the name", name);
    if (st != ESKER_OK) return esker__graph_fail(net->graph, st);
    esker_shape with_batch = {.rank = shape->rank + 1, .dims = {1}};
    for (int i = 0; i < shape->rank; i++) with_batch.dims[i + 1] = shape->dims[i];
    esker_node *node = esker_label(esker_input(net->graph, name, ESKER_DTYPE_F32, &with_batch), name);
    if (!node) return NULL;
    net->input_name = node->label;
    net->input = node;
    return node;
}

esker_node *esker_model_parameter(esker_model *net, const esker_param_desc *desc)
{
    esker_status st = ESKER_OK;
    if (net->graph->status != ESKER_OK) return NULL;
    if (!desc || !desc->name)
        st = esker__fail(ESKER_ERR_INVALID, "model parameter: %s is NULL", desc ? "the name" : "desc");
    else if (net->output)
        st = esker__fail(ESKER_ERR_INVALID, "model parameter %s: after esker_model_output()", desc->name);
    else if (esker_params_find(net->graph->params, desc->name) >= 0)
        st = esker__fail(ESKER_ERR_INVALID, "model parameter %s: there is one of that name already", desc->name);
    return st == ESKER_OK ? esker_parameter(net->graph, desc) : esker__graph_fail(net->graph, st);
}

esker_status esker_model_status(const esker_model *net)
{
    return esker_graph_status(net->graph);
}

esker_status esker_model_output(esker_model *net, esker_node *x)
{
    esker_status st = esker_graph_status(net->graph);
    if (st != ESKER_OK) return st;
    if (net->output) return esker__fail(ESKER_ERR_INVALID, "model %s: there is an output already", net->name);
    if (!net->input)
        st = esker__fail(ESKER_ERR_INVALID, "model %s: no input, esker_model_input() comes first", net->name);
    else if (!x)
        st = esker__fail(ESKER_ERR_INVALID, "model %s: the output is NULL", net->name);
    else if (x->graph != net->graph)
        st = esker__fail(ESKER_ERR_INVALID, "model %s: the output is of another model", net->name);
    else if (x->type.shape.rank < 1 || x->type.shape.dims[0] != 1) {
        char text[ESKER_SHAPE_TEXT_BYTES];
        st = esker__fail(ESKER_ERR_INVALID, "model %s: the output %s has no batch axis in front", net->name,
                         esker_shape_text(&x->type.shape, text));
    }
    if (st == ESKER_OK) {
        net->output = x;
        if (net->n_classes) st = check_classes(net, net->n_classes);
        if (st == ESKER_OK) st = esker__model_list(net);
    }
    if (st != ESKER_OK) {
        net->output = NULL;
        esker__graph_fail(net->graph, st);
    }
    return st;
}

const esker__layer *esker__model_find_layer(const esker_model *net, const char *name)
{
    for (size_t i = 0; i < net->n_layers; i++)
        if (strcmp(net->layers[i]->name, name) == 0) return net->layers[i];
    return NULL;
}

const char *esker__model_number_name(esker_model *net, const char *prefix)
{
    char name[ESKER__MAX_NAME_BYTES];
    int number = 1;
    do snprintf(name, sizeof name, "%.80s%d", prefix, number++);
    while (esker__model_find_layer(net, name) || (net->input_name && strcmp(net->input_name, name) == 0));
    return esker__pool_strdup(&net->pool, name);
}

esker_shape esker__sample_shape(const esker_shape *shape)
{
    esker_shape sample = {.rank = shape->rank > 0 ? shape->rank - 1 : 0};
    for (int i = 0; i < sample.rank; i++) sample.dims[i] = shape->dims[i + 1];
    return sample;
}

esker_params *esker_model_get_params(const esker_model *net)
{
    return net->graph->params;
}

/* ---- Metadata ---- */

static size_t find_metadata(const esker_model *net, const char *key)
{
    size_t i = 0;
    while (i < net->n_metadata && strcmp(net->metadata[i].key, key) != 0) i++;
    return i;
}

esker_status esker_model_set_metadata(esker_model *net, const char *key, const char *value)
{
    if (!key || !key[0]) return esker__fail(ESKER_ERR_INVALID, "model metadata: the key is empty");
    if (strcmp(key, "esker.model") == 0)
        return esker__fail(ESKER_ERR_INVALID, "model metadata: %s is written by esker_model_save() alone", key);
    if (!is_utf8(key) || (value && !is_utf8(value)))
        return esker__fail(ESKER_ERR_INVALID, "model metadata %s: not UTF-8", is_utf8(key) ? key : "key");
    size_t i = find_metadata(net, key);
    if (!value) {
        if (i == net->n_metadata) return ESKER_OK;
        esker__free(net->metadata[i].key);
        esker__free(net->metadata[i].value);
        net->n_metadata--;
        memmove(&net->metadata[i], &net->metadata[i + 1], (net->n_metadata - i) * sizeof *net->metadata);
        return ESKER_OK;
    }
    char *value_copy = esker__strdup(value), *key_copy = NULL;
    if (!value_copy) goto no_memory;
    if (i == net->n_metadata) {
        key_copy = esker__strdup(key);
        if (!key_copy || !esker__grow((void **)&net->metadata, &net->metadata_capacity, i, sizeof *net->metadata))
            goto no_memory;
        net->metadata[net->n_metadata++] = (esker__metadata){.key = key_copy};
    }
    esker__free(net->metadata[i].value);
    net->metadata[i].value = value_copy;
    return ESKER_OK;
no_memory:
    esker__free(value_copy);
    esker__free(key_copy);
    return esker__fail_memory(strlen(key) + strlen(value) + 2, "model metadata");
}

const char *esker_model_get_metadata(const esker_model *net, const char *key)
{
    size_t i = find_metadata(net, key);
    return i < net->n_metadata ? net->metadata[i].value : NULL;
}

int esker_model_metadata_count(const esker_model *net)
{
    return (int)net->n_metadata;
}

const char *esker_model_metadata_key(const esker_model *net, int index)
{
    return index >= 0 && (size_t)index < net->n_metadata ? net->metadata[index].key : NULL;
}

void esker_text_free(char *text)
{
    esker__free(text);
}
