/* The list of everything that leads to a model's output, layers and operations recorded by hand alike, and what it says. */
#include "nn/model.h"

#include <string.h>

#include "base/fail.h"
#include "graph/passes.h"

/* An operation recorded by hand, as the layer it could have been. */
static esker__layer *decode(esker_model *net, esker_node *node)
{
    esker__layer *layer = esker__pool_alloc(&net->pool, sizeof *layer);
    if (!layer) return NULL;
    layer->kind = esker__layer_kind_decode(node, layer->values);
    layer->n_inputs = node->n_inputs;
    layer->inputs = node->inputs;
    layer->node = node;
    layer->first = node->id;
    layer->end = node->id + 1;
    /* A label is the user's name for it, unless something has that name already. */
    if (node->label && esker__check_name("a label", node->label) == ESKER_OK &&
        !esker__model_find_layer(net, node->label) && strcmp(node->label, net->input_name) != 0)
        layer->name = node->label;
    else
        layer->name = esker__model_number_name(net, layer->kind ? layer->kind->prefix : node->op->name);
    return layer->name ? layer : NULL;
}

/* Its result, or something on the way to it that another layer takes: a weight, a last state. */
static bool leads_on(const esker__layer *layer, const bool *needed)
{
    bool any = needed[layer->node->id];
    for (int id = layer->first; !any && id < layer->end; id++) any = needed[id];
    return any;
}

/* Inputs and parameters; constants are layers. */
static bool is_given(const esker_node *node)
{
    return (node->op->flags & ESKER__OP_SOURCE) && node->op != &esker__op_full;
}

static esker_status by_hand(esker_model *net, const bool *needed)
{
    size_t n_made = net->n_layers, next = 0;
    for (int id = 0; id < (int)net->graph->n_nodes; id++) {
        while (next < n_made && net->layers[next]->end <= id) next++;
        if (next < n_made && net->layers[next]->first <= id) continue;
        esker_node *node = net->graph->nodes[id];
        if (!needed[id] || is_given(node)) continue;
        if (!esker__grow((void **)&net->layers, &net->layers_capacity, net->n_layers, sizeof *net->layers))
            return esker__fail_memory(net->layers_capacity * 2 * sizeof *net->layers, "layers");
        esker__layer *layer = decode(net, node);
        if (!layer) return esker__fail_memory(sizeof *layer, "layers");
        net->layers[net->n_layers++] = layer;
    }
    return ESKER_OK;
}

/* By the order of recording; made ones stay in their own order. Nearly sorted, and short. */
static void sort(esker__layer **layers, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        esker__layer *layer = layers[i];
        size_t j = i;
        for (; j > 0 && layers[j - 1]->first > layer->first; j--) layers[j] = layers[j - 1];
        layers[j] = layer;
    }
}

esker_status esker__model_list(esker_model *net)
{
    size_t n_bytes = net->graph->n_nodes * sizeof(bool);
    bool *needed = esker__calloc(1, n_bytes);
    if (!needed) return esker__fail_memory(n_bytes, "layers");
    esker_status st = ESKER_OK;
    esker__mark_needed(net->graph, &net->output, 1, needed);
    if (!needed[net->input->id]) {
        st = esker__fail(ESKER_ERR_INVALID, "model %s: the output does not depend on the input %s", net->name,
                         net->input_name);
        goto done;
    }
    size_t n_kept = 0;
    for (size_t i = 0; i < net->n_layers; i++) {
        esker__layer *layer = net->layers[i];
        if (leads_on(layer, needed))
            net->layers[n_kept++] = layer;
        else if (layer->kind->has_parameters) {
            st = esker__fail(ESKER_ERR_INVALID, "model %s: layer %s has parameters but does not lead to the output",
                             net->name, layer->name);
            goto done;
        }
    }
    net->n_layers = n_kept;
    st = by_hand(net, needed);
    if (st != ESKER_OK) goto done;
    sort(net->layers, net->n_layers);
    net->listed = true;
done:
    esker__free(needed);
    return st;
}

/* As the plan counts: a flop for each element where an operation does not say. */
static double node_flops(const esker_node *node)
{
    int64_t n_elems;
    esker__cost cost = {0};
    if (node->op->flags & (ESKER__OP_SOURCE | ESKER__OP_VIEW)) return 0;
    if (node->op->cost)
        node->op->cost(node, &cost);
    else if (esker_shape_elems(&node->type.shape, &n_elems) == ESKER_OK)
        cost.flops = (double)n_elems;
    return cost.flops;
}

static void describe(const esker_model *net, const esker__layer *layer, esker_layer_info *out)
{
    *out = (esker_layer_info){.name = layer->name,
                              .kind = layer->kind ? layer->kind->name : layer->node->op->name,
                              .output_shape = esker__sample_shape(&layer->node->type.shape)};
    for (int id = layer->first; id < layer->end; id++) {
        const esker_node *node = net->graph->nodes[id];
        int64_t n_elems;
        out->flops += node_flops(node);
        if (node->op == &esker__op_parameter && esker_shape_elems(&node->type.shape, &n_elems) == ESKER_OK)
            out->n_parameters += n_elems;
    }
}

int esker_model_layer_count(const esker_model *net)
{
    return net->listed ? (int)net->n_layers : 0;
}

esker_status esker_model_get_layer_info(const esker_model *net, int index, esker_layer_info *out)
{
    if (index < 0 || index >= esker_model_layer_count(net))
        return esker__fail(ESKER_ERR_INVALID, "model %s: layer %d of %d", net->name, index, esker_model_layer_count(net));
    describe(net, net->layers[index], out);
    return ESKER_OK;
}

void esker_model_get_info(const esker_model *net, esker_model_info *out)
{
    *out = (esker_model_info){.name = net->name,
                              .input_name = net->input_name ? net->input_name : "",
                              .n_classes = net->n_classes,
                              .class_names = net->classes,
                              .n_layers = esker_model_layer_count(net),
                              .n_parameters = esker_params_elems(net->graph->params)};
    if (net->input) out->input_shape = esker__sample_shape(&net->input->type.shape);
    if (net->output) out->output_shape = esker__sample_shape(&net->output->type.shape);
    for (int i = 0; i < out->n_layers; i++) {
        esker_layer_info layer;
        describe(net, net->layers[i], &layer);
        out->flops += layer.flops;
    }
}
