/* Layers: how one is added to a model, and those that have parameters. */
#include "nn/model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"

/* ---- Parameters ---- */

/* "NAME.weight" or "NAME.bias", with the start that the layer's key "init" chooses. */
esker_node *esker__layer_parameter(esker_model *net, const esker__layer *layer, const char *part, esker_shape shape,
                                   double fan_in, esker_layer_init init)
{
    static const esker_init_kind kinds[] = {[ESKER_LAYER_INIT_HE_UNIFORM] = ESKER_INIT_HE_UNIFORM,
                                            [ESKER_LAYER_INIT_HE_NORMAL] = ESKER_INIT_HE_NORMAL,
                                            [ESKER_LAYER_INIT_XAVIER_UNIFORM] = ESKER_INIT_XAVIER_UNIFORM,
                                            [ESKER_LAYER_INIT_XAVIER_NORMAL] = ESKER_INIT_XAVIER_NORMAL,
                                            [ESKER_LAYER_INIT_ZEROS] = ESKER_INIT_ZEROS};
    char name[ESKER__MAX_NAME_BYTES + sizeof ".weight"];
    esker_param_desc desc = {.name = name, .shape = shape};
    snprintf(name, sizeof name, "%s.%s", layer->name, part);
    if (init == ESKER_LAYER_INIT_DEFAULT)
        desc.init = (esker_init){.kind = ESKER_INIT_UNIFORM, .value = (float)(1 / sqrt(fan_in))};
    else if (shape.rank > 1)
        desc.init.kind = kinds[init];
    return esker_parameter(net->graph, &desc);
}

esker_node *esker__layer_wrong_rank(esker_model *net, const esker_node *x, const char *wanted)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    esker_shape sample = esker__sample_shape(&x->type.shape);
    return esker__graph_fail(net->graph, esker__fail(ESKER_ERR_INVALID, "the input's samples are %s, %s",
                                                     esker_shape_text(&sample, text), wanted));
}

esker_node *esker__layer_refuse(esker_model *net, const char *format, ...)
{
    char text[ESKER__ERROR_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return esker__graph_fail(net->graph, esker__fail(ESKER_ERR_INVALID, "%s", text));
}

esker_node *esker__build_linear(esker_model *net, esker__layer *layer)
{
    esker_node *x = layer->inputs[0];
    int rank = x->type.shape.rank;
    /* More axes could be multiplied too, but whoever gives an image has nearly always forgotten to flatten it. */
    if (rank != 2 && rank != 3)
        return esker__layer_wrong_rank(net, x, "[features] or [steps, features] are needed: flatten first");
    int64_t features = (int64_t)layer->values[0].v[0], n_inputs = x->type.shape.dims[rank - 1];
    esker_layer_init init = (esker_layer_init)layer->values[2].v[0];
    esker_node *weight = esker__layer_parameter(net, layer, "weight", (esker_shape){2, {features, n_inputs}},
                                                (double)n_inputs, init);
    esker_node *y = esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true});
    if (layer->values[1].v[0] == 0) return y;
    return esker_add(y, esker__layer_parameter(net, layer, "bias", (esker_shape){1, {features}}, (double)n_inputs, init));
}

/* A parameter that starts like nothing else. */
static esker_node *special_parameter(esker_model *net, const esker__layer *layer, esker_shape shape, esker_init init)
{
    char name[ESKER__MAX_NAME_BYTES + sizeof ".weight"];
    snprintf(name, sizeof name, "%s.weight", layer->name);
    return esker_parameter(net->graph, &(esker_param_desc){.name = name, .shape = shape, .init = init});
}

/* Keys: rows, features. Models take numbers, so that the indices come as float32, exact up to 2^24. */
esker_node *esker__build_embedding(esker_model *net, esker__layer *layer)
{
    esker_node *x = layer->inputs[0];
    int64_t rows = (int64_t)layer->values[0].v[0], features = (int64_t)layer->values[1].v[0];
    if (x->type.dtype == ESKER_DTYPE_F32 && rows > 1 << 24)
        return esker__graph_fail(net->graph, esker__fail(ESKER_ERR_LIMIT, "rows: %lld, float32 indices tell %d apart",
                                                         (long long)rows, 1 << 24));
    esker_node *weight = special_parameter(net, layer, (esker_shape){2, {rows, features}},
                                           (esker_init){.kind = ESKER_INIT_NORMAL, .value = 1});
    return esker_embedding(weight, x->type.dtype == ESKER_DTYPE_I32 ? x : esker_convert(x, ESKER_DTYPE_I32));
}

/* Keys: shape, init, value, frozen. */
esker_node *esker__build_parameter(esker_model *net, esker__layer *layer)
{
    const esker__layer_value *v = layer->values;
    char name[ESKER__MAX_NAME_BYTES + sizeof ".weight"];
    esker_init_kind kind = (esker_init_kind)v[1].v[0];
    bool has_value = kind == ESKER_INIT_CONSTANT || kind == ESKER_INIT_UNIFORM || kind == ESKER_INIT_NORMAL;
    if (!has_value && v[2].v[0] != 0)
        return esker__layer_refuse(net, "value: %.9g, which the init %s does not have", v[2].v[0],
                                   layer->kind->keys[1].choices[kind]);
    snprintf(name, sizeof name, "%s.weight", layer->name);
    esker_param_desc desc = {.name = name,
                             .shape = {.rank = v[0].n},
                             .init = {.kind = kind, .value = (float)v[2].v[0]},
                             .frozen = v[3].v[0] != 0};
    for (int i = 0; i < v[0].n; i++) desc.shape.dims[i] = (int64_t)v[0].v[i];
    return esker_parameter(net->graph, &desc);
}

/* The weight of the layer whose result `node` is: shared, so that its gradient is the sum of both uses. */
static esker_node *weight_of(esker_model *net, const esker_node *node)
{
    char name[ESKER__MAX_NAME_BYTES + sizeof ".weight"], text[ESKER_SHAPE_TEXT_BYTES];
    esker_param_info info = {0};
    const esker__layer *from = NULL;
    for (size_t i = 0; i < net->n_layers; i++)
        if (net->layers[i]->node == node) from = net->layers[i];
    int index = -1;
    if (from) {
        snprintf(name, sizeof name, "%s.weight", from->name);
        index = esker_params_find(net->graph->params, name);
    }
    if (index < 0)
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "the second input, %s, is no layer with a weight",
                                             from          ? from->name
                                             : node->label ? node->label
                                                           : node->op->name));
    esker_status st = esker_params_get_info(net->graph->params, index, &info);
    if (st == ESKER_OK && info.shape.rank != 2)
        st = esker__fail(ESKER_ERR_INVALID, "%s is %s, [features, inputs] is needed", name,
                         esker_shape_text(&info.shape, text));
    if (st != ESKER_OK) return esker__graph_fail(net->graph, st);
    return esker_parameter(net->graph, &(esker_param_desc){.name = name, .shape = info.shape});
}

/* Keys: bias. The second input says whose weight; its values are not read. */
esker_node *esker__build_tied_linear(esker_model *net, esker__layer *layer)
{
    esker_node *x = layer->inputs[0], *weight = weight_of(net, layer->inputs[1]);
    int rank = x->type.shape.rank;
    if (!weight) return NULL;
    if (rank != 2 && rank != 3) return esker__layer_wrong_rank(net, x, "[features] or [steps, features] are needed");
    esker_node *y = esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true});
    if (layer->values[0].v[0] == 0) return y;
    const int64_t *dims = weight->type.shape.dims;
    return esker_add(y, esker__layer_parameter(net, layer, "bias", (esker_shape){1, {dims[0]}}, (double)dims[1],
                                               ESKER_LAYER_INIT_DEFAULT));
}

/* Keys: per_channel, start. */
esker_node *esker__build_prelu(esker_model *net, esker__layer *layer)
{
    const esker_shape *x = &layer->inputs[0]->type.shape;
    bool per_channel = layer->values[0].v[0] != 0;
    if (per_channel && x->rank < 2)
        return esker__layer_wrong_rank(net, layer->inputs[0], "[channels, ...] are needed for a slope per channel");
    esker_init start = {.kind = ESKER_INIT_CONSTANT, .value = (float)layer->values[1].v[0]};
    return esker_prelu(layer->inputs[0],
                       special_parameter(net, layer, (esker_shape){1, {per_channel ? x->dims[1] : 1}}, start));
}

/* ---- Adding ---- */

static esker_node *fail(esker_model *net, esker_status st)
{
    return esker__graph_fail(net->graph, st);
}

bool esker__model_has_batch(const esker_model *net, const esker_node *node)
{
    const esker_graph *graph = net->graph;
    if (!net->input || node->id < net->input->id) return false;
    size_t n = (size_t)(node->id - net->input->id) + 1;
    bool *has = esker__calloc(n, sizeof *has), result = true; /* without memory: the careful answer */
    if (!has) return result;
    has[0] = true;
    for (size_t i = 1; i < n; i++) {
        const esker_node *at = graph->nodes[(size_t)net->input->id + i];
        for (int k = 0; k < at->n_inputs && !has[i]; k++)
            has[i] = at->inputs[k]->id >= net->input->id && has[at->inputs[k]->id - net->input->id];
    }
    result = has[n - 1];
    esker__free(has);
    return result;
}

static esker_status check_addition(esker_model *net, const esker__layer_kind *kind, const char *name,
                                   esker_node *const *inputs, int n_inputs)
{
    int most = esker__layer_kind_most_inputs(kind);
    if (net->output) return esker__fail(ESKER_ERR_INVALID, "a layer after esker_model_output()");
    if (net->n_layers >= ESKER__MAX_LAYERS) return esker__fail(ESKER_ERR_LIMIT, "more than %d layers", ESKER__MAX_LAYERS);
    if (n_inputs < kind->n_inputs || n_inputs > most)
        return esker__fail(ESKER_ERR_INVALID, "%d inputs, %d to %d are possible", n_inputs, kind->n_inputs, most);
    for (int i = 0; i < n_inputs; i++) {
        if (!inputs[i]) return esker__fail(ESKER_ERR_INVALID, "input %d is NULL", i);
        if (inputs[i]->graph != net->graph) return esker__fail(ESKER_ERR_INVALID, "input %d is of another model", i);
    }
    if (!name) return ESKER_OK;
    esker_status st = esker__check_name("the name", name);
    if (st != ESKER_OK) return st;
    if (esker__model_find_layer(net, name) || (net->input_name && strcmp(net->input_name, name) == 0))
        return esker__fail(ESKER_ERR_INVALID, "there is a layer or input of that name already");
    return ESKER_OK;
}

/* Shapes line up at the last axis, so that samples of fewer axes would have their batch beside another's rows. */
static esker_status check_batches(const esker_model *net, const esker__layer *layer)
{
    int rank = 0;
    if (!layer->kind->binary && !layer->kind->ternary) return ESKER_OK;
    for (int i = 0; i < layer->n_inputs; i++)
        if (layer->inputs[i]->type.shape.rank > rank) rank = layer->inputs[i]->type.shape.rank;
    for (int i = 0; i < layer->n_inputs; i++) {
        int own = layer->inputs[i]->type.shape.rank;
        if (own < rank && esker__model_has_batch(net, layer->inputs[i]))
            return esker__fail(ESKER_ERR_INVALID,
                               "samples of %d axes do not line up with samples of %d: unsqueeze input %d first", own - 1,
                               rank - 1, i);
    }
    return ESKER_OK;
}

static esker_node *record(esker_model *net, esker__layer *layer)
{
    const esker__layer_kind *kind = layer->kind;
    esker_node **in = layer->inputs;
    if (kind->unary) return kind->unary(in[0]);
    if (kind->binary) return kind->binary(in[0], in[1]);
    if (kind->ternary) return kind->ternary(in[0], in[1], in[2]);
    return kind->build(net, layer);
}

esker_node *esker__layer_add_to(esker_model *net, const esker__layer_kind *kind, const char *name,
                                esker_node *const *inputs, int n_inputs, const esker__layer_value *values)
{
    if (net->graph->status != ESKER_OK) return NULL;
    esker_status st = check_addition(net, kind, name, inputs, n_inputs);
    if (st != ESKER_OK) {
        esker__fail_prefix("layer %s%s%s", name ? name : "", name ? ", " : "", kind->name);
        return fail(net, st);
    }
    esker__layer *layer = esker__pool_alloc(&net->pool, sizeof *layer);
    if (layer) {
        layer->name = name ? esker__pool_strdup(&net->pool, name) : esker__model_number_name(net, kind->prefix);
        layer->inputs = esker__pool_alloc(&net->pool, (size_t)(n_inputs ? n_inputs : 1) * sizeof *layer->inputs);
    }
    if (!layer || !layer->name || !layer->inputs ||
        !esker__grow((void **)&net->layers, &net->layers_capacity, net->n_layers, sizeof *net->layers))
        return fail(net, esker__fail_memory(sizeof *layer, "layer"));
    layer->kind = kind;
    layer->n_inputs = n_inputs;
    for (int i = 0; i < n_inputs; i++) layer->inputs[i] = inputs[i];
    memcpy(layer->values, values, sizeof layer->values);
    esker__layer_fill(kind, layer->values);
    layer->first = (int)net->graph->n_nodes;
    st = esker__layer_check(kind, layer->values);
    if (st == ESKER_OK) st = check_batches(net, layer);
    if (st == ESKER_OK) {
        layer->node = record(net, layer);
        /* Every step of it bears the layer's name, so that plans say where a dispatch comes from. */
        for (size_t id = (size_t)layer->first; layer->node && id < net->graph->n_nodes; id++)
            if (!net->graph->nodes[id]->label && !esker_label(net->graph->nodes[id], layer->name)) layer->node = NULL;
        if (!layer->node) st = esker_graph_status(net->graph);
    }
    if (st != ESKER_OK) {
        /* The graph keeps the first message; it should say which layer. */
        esker__fail_prefix("layer %s, %s", layer->name, kind->name);
        net->graph->status = ESKER_OK;
        return fail(net, st);
    }
    layer->end = (int)net->graph->n_nodes;
    net->layers[net->n_layers++] = layer;
    return layer->node;
}

esker_node *esker__layer_add(esker_model *net, const esker__layer_kind *kind, const char *name, esker_node *const *inputs,
                             const esker__layer_value *values)
{
    return esker__layer_add_to(net, kind, name, inputs, kind->n_inputs, values);
}

esker_node *esker_layer_linear(esker_model *net, esker_node *x, const esker_layer_linear_desc *desc)
{
    if (!desc) return fail(net, esker__fail(ESKER_ERR_INVALID, "layer linear: desc is NULL, features are needed"));
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {
        {1, {(double)desc->features}}, {1, {!desc->no_bias}}, {1, {(double)desc->init}}};
    return esker__layer_add(net, esker__layer_kind_find("linear"), desc->name, &x, values);
}

esker_node *esker_layer_embedding(esker_model *net, esker_node *x, const esker_layer_embedding_desc *desc)
{
    if (!desc)
        return fail(net, esker__fail(ESKER_ERR_INVALID, "layer embedding: desc is NULL, rows and features are needed"));
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {{1, {(double)desc->rows}}, {1, {(double)desc->features}}};
    return esker__layer_add(net, esker__layer_kind_find("embedding"), desc->name, &x, values);
}

esker_node *esker_layer_parameter(esker_model *net, const esker_layer_parameter_desc *desc)
{
    if (!desc) return fail(net, esker__fail(ESKER_ERR_INVALID, "layer parameter: desc is NULL, a shape is needed"));
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {
        {0}, {1, {(double)desc->init}}, {1, {(double)desc->value}}, {1, {desc->frozen}}};
    if (desc->shape.rank < 1 || desc->shape.rank >= ESKER_MAX_RANK)
        return fail(net, esker__fail(ESKER_ERR_INVALID, "layer parameter: shape: rank %d, 1 to %d are possible",
                                     desc->shape.rank, ESKER_MAX_RANK - 1));
    values[0].n = desc->shape.rank;
    for (int i = 0; i < desc->shape.rank; i++) values[0].v[i] = (double)desc->shape.dims[i];
    return esker__layer_add(net, esker__layer_kind_find("parameter"), desc->name, NULL, values);
}

esker_node *esker_layer_tied_linear(esker_model *net, esker_node *x, esker_node *tied,
                                    const esker_layer_tied_linear_desc *desc)
{
    esker_layer_tied_linear_desc usual = {0};
    if (!desc) desc = &usual;
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {{1, {desc->bias}}};
    return esker__layer_add(net, esker__layer_kind_find("tied_linear"), desc->name, (esker_node *[]){x, tied}, values);
}

esker_node *esker_layer_prelu(esker_model *net, esker_node *x, const esker_layer_prelu_desc *desc)
{
    esker_layer_prelu_desc usual = {0};
    if (!desc) desc = &usual;
    esker__layer_value values[ESKER__MAX_LAYER_KEYS] = {{1, {desc->per_channel}}};
    if (desc->start != 0) values[1] = (esker__layer_value){1, {(double)desc->start}};
    return esker__layer_add(net, esker__layer_kind_find("prelu"), desc->name, &x, values);
}
