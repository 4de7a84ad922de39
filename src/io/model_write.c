/* Models to JSON, in one canonical form. Needs no JSON library. */
#include "nn/model.h"

#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "io/json.h"
#include "io/param_groups.h"

/* The name under which `node` is known: a layer before `end`, or the input; NULL for neither. */
static const char *name_of(const esker_model *net, const esker_node *node, size_t end)
{
    if (node == net->input) return net->input_name;
    for (size_t i = end; i-- > 0;)
        if (net->layers[i]->node == node) return net->layers[i]->name;
    return NULL;
}

static void add_value(esker__text *text, const esker__layer_key *key, const esker__layer_value *value)
{
    int64_t ints[ESKER_MAX_RANK] = {0};
    for (int i = 0; i < value->n; i++) ints[i] = key->type == ESKER__KEY_NUMBER ? 0 : (int64_t)value->v[i];
    esker__text_add(text, ", \"%s\": ", key->name);
    switch (key->type) {
    case ESKER__KEY_INT: esker__text_add(text, "%lld", (long long)ints[0]); break;
    case ESKER__KEY_PAIR:
        if (ints[0] == ints[1])
            esker__text_add(text, "%lld", (long long)ints[0]);
        else
            esker__json_add_ints(text, ints, 2);
        break;
    case ESKER__KEY_INTS: esker__json_add_ints(text, ints, value->n); break;
    case ESKER__KEY_NUMBER: esker__json_add_float(text, (float)value->v[0]); break;
    case ESKER__KEY_BOOL: esker__text_add(text, ints[0] ? "true" : "false"); break;
    case ESKER__KEY_CHOICE: esker__json_add_string(text, key->choices[ints[0]]); break;
    }
}

static esker_status add_inputs(esker__text *text, const esker_model *net, size_t index)
{
    const esker__layer *layer = net->layers[index];
    const esker_node *before = index > 0 ? net->layers[index - 1]->node : net->input;
    bool one = layer->n_inputs == 1;
    if (layer->n_inputs == 0 || (one && layer->inputs[0] == before)) return ESKER_OK;
    esker__text_add(text, one ? ", \"input\": " : ", \"inputs\": [");
    for (int i = 0; i < layer->n_inputs; i++) {
        const char *name = name_of(net, layer->inputs[i], index);
        if (!name)
            return esker__fail(ESKER_ERR_UNSUPPORTED,
                               "model %s: input %d of %s is a %s that no layer stands for, it cannot be JSON", net->name, i,
                               layer->name, layer->inputs[i]->op->name);
        if (i > 0) esker__text_add(text, ", ");
        esker__json_add_string(text, name);
    }
    if (!one) esker__text_add(text, "]");
    return ESKER_OK;
}

static esker_status add_layer(esker__text *text, const esker_model *net, size_t index)
{
    const esker__layer *layer = net->layers[index];
    if (!layer->kind)
        return esker__fail(ESKER_ERR_UNSUPPORTED,
                           "model %s: no layer type stands for the operation %s (%s), it cannot be JSON", net->name,
                           layer->node->op->name, layer->name);
    esker__text_add(text, "%s\n  {\"name\": ", index > 0 ? "," : "");
    esker__json_add_string(text, layer->name);
    esker__text_add(text, ", \"type\": \"%s\"", layer->kind->name);
    esker_status st = add_inputs(text, net, index);
    if (st != ESKER_OK) return st;
    for (int i = 0; i < esker__layer_kind_n_keys(layer->kind); i++)
        if (!esker__layer_is_standard(layer->kind, layer->values, i))
            add_value(text, &layer->kind->keys[i], &layer->values[i]);
    esker__param_groups_add(text, net, layer);
    esker__text_add(text, "}");
    return ESKER_OK;
}

esker_status esker_model_to_json(const esker_model *net, char **out_text)
{
    esker__text text = {0};
    *out_text = NULL;
    esker_status st = esker_model_status(net);
    if (st != ESKER_OK) return st;
    if (!net->listed)
        return esker__fail(ESKER_ERR_INVALID, "model %s: not finished, esker_model_output() is missing", net->name);
    const char *output = name_of(net, net->output, net->n_layers);
    if (!output || net->n_layers == 0) {
        return esker__fail(ESKER_ERR_UNSUPPORTED,
                           "model %s: the output is a %s that no layer stands for, it cannot be JSON", net->name,
                           net->output->op->name);
    }
    esker_shape shape = esker__sample_shape(&net->input->type.shape);
    esker__text_add(&text, "{\"name\": ");
    esker__json_add_string(&text, net->name);
    esker__text_add(&text, ",\n \"input\": {\"name\": ");
    esker__json_add_string(&text, net->input_name);
    esker__text_add(&text, ", \"shape\": ");
    esker__json_add_ints(&text, shape.dims, shape.rank);
    esker__text_add(&text, "},\n");
    for (int i = 0; i < net->n_classes; i++) {
        esker__text_add(&text, i > 0 ? ", " : " \"classes\": [");
        esker__json_add_string(&text, net->classes[i]);
    }
    esker__text_add(&text, net->n_classes ? "],\n \"layers\": [" : " \"layers\": [");
    for (size_t i = 0; st == ESKER_OK && i < net->n_layers; i++) st = add_layer(&text, net, i);
    esker__text_add(&text, "],\n \"output\": ");
    esker__json_add_string(&text, output);
    esker__text_add(&text, "}\n");
    if (st == ESKER_OK && text.failed) st = esker__fail_memory(text.n_chars, "model JSON");
    if (st != ESKER_OK)
        esker__text_finish(&text);
    else
        *out_text = text.chars;
    return st;
}
