/* Recording: the one way nodes come into being, and the errors that stick. */
#include "graph/graph.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "graph/params.h"

esker_status esker_graph_create(esker_params *params, esker_graph **out)
{
    *out = NULL;
    esker_graph *graph = esker__calloc(1, sizeof *graph);
    if (!graph) return esker__fail_memory(sizeof *graph, "graph");
    esker_status st = ESKER_OK;
    if (params)
        graph->params = esker_params_ref(params);
    else
        st = esker_params_create(&graph->params);
    if (st != ESKER_OK) {
        esker__free(graph);
        return st;
    }
    *out = graph;
    return ESKER_OK;
}

void esker_graph_destroy(esker_graph *graph)
{
    if (!graph) return;
    esker_params_unref(graph->params);
    esker__free(graph->nodes);
    for (size_t i = 0; i < graph->n_held; i++) graph->held[i]->hold(graph->held[i], false);
    esker__free(graph->held);
    esker__pool_finish(&graph->pool);
    esker__free(graph);
}

void esker__graph_truncate(esker_graph *graph, size_t n_nodes)
{
    graph->n_nodes = n_nodes;
    graph->status = ESKER_OK;
    graph->message = NULL;
}

void esker__graph_reset(esker_graph *graph)
{
    esker__graph_truncate(graph, 0);
    for (size_t i = 0; i < graph->n_held; i++) graph->held[i]->hold(graph->held[i], false);
    graph->n_held = 0;
    graph->n_draws = 0;
    graph->phase = ESKER__PHASE_FORWARD;
    esker__pool_reset(&graph->pool);
}

esker_status esker_graph_status(const esker_graph *graph)
{
    if (graph->status == ESKER_OK) return ESKER_OK;
    return esker__fail(graph->status, "%s", graph->message ? graph->message : "out of memory");
}

esker_params *esker_graph_get_params(const esker_graph *graph)
{
    return graph->params;
}

esker_node *esker__graph_fail(esker_graph *graph, esker_status status)
{
    if (graph && graph->status == ESKER_OK) {
        graph->status = status;
        graph->message = esker__pool_strdup(&graph->pool, esker_last_error());
    }
    return NULL;
}

const esker_shape *esker_node_get_shape(const esker_node *node)
{
    return node ? &node->type.shape : NULL;
}

esker_dtype esker_node_get_dtype(const esker_node *node)
{
    return node ? node->type.dtype : ESKER_DTYPE_F32;
}

esker_node *esker_label(esker_node *node, const char *label)
{
    if (!node) return NULL;
    char *copy = esker__pool_strdup(&node->graph->pool, label);
    if (!copy) return esker__graph_fail(node->graph, esker__fail_memory(strlen(label) + 1, label));
    node->label = copy;
    return node;
}

const char *esker__signature(char buffer[ESKER__SIGNATURE_BYTES], const char *op, esker_node *const *inputs, int n_inputs)
{
    char shape[ESKER_SHAPE_TEXT_BYTES];
    size_t n = (size_t)snprintf(buffer, ESKER__SIGNATURE_BYTES, "%s(", op);
    for (int i = 0; i < n_inputs && n < ESKER__SIGNATURE_BYTES; i++) {
        if (i == 4 && n_inputs > 5) {
            n += (size_t)snprintf(buffer + n, ESKER__SIGNATURE_BYTES - n, ", ... %d in all", n_inputs);
            break;
        }
        n += (size_t)snprintf(buffer + n, ESKER__SIGNATURE_BYTES - n, "%s%s %s", i ? ", " : "",
                              esker_dtype_name(inputs[i]->type.dtype), esker_shape_text(&inputs[i]->type.shape, shape));
    }
    if (n < ESKER__SIGNATURE_BYTES) snprintf(buffer + n, ESKER__SIGNATURE_BYTES - n, ")");
    return buffer;
}

static esker_node *new_node(esker_graph *graph, const esker__op *op)
{
    if (!esker__grow((void **)&graph->nodes, &graph->capacity, graph->n_nodes, sizeof *graph->nodes)) return NULL;
    esker_node *node = esker__pool_alloc(&graph->pool, sizeof *node);
    if (!node) return NULL;
    node->graph = graph;
    node->id = (int)graph->n_nodes;
    node->op = op;
    node->producer = node;
    node->phase = graph->phase;
    graph->nodes[graph->n_nodes++] = node;
    return node;
}

static esker_status check_inputs(esker_graph *graph, const esker__op *op, esker_node *const *inputs, int n_inputs)
{
    if (op->n_inputs >= 0 && n_inputs != op->n_inputs)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d inputs given, %d are needed", op->name, n_inputs, op->n_inputs);
    for (int i = 0; i < n_inputs; i++) {
        if (!inputs[i]) return esker__fail(ESKER_ERR_INVALID, "%s: input %d is NULL", op->name, i);
        if (inputs[i]->graph != graph)
            return esker__fail(ESKER_ERR_INVALID, "%s: input %d is of another graph", op->name, i);
    }
    for (int i = 0; i < n_inputs && !(op->flags & ESKER__OP_STORAGE_TYPES); i++) {
        esker_dtype dtype = inputs[i]->type.dtype;
        char text[ESKER__SIGNATURE_BYTES];
        if (dtype == ESKER_DTYPE_F16 || dtype == ESKER_DTYPE_I8)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: input %d is %s, which is for storage alone: esker_convert() it to %s",
                               esker__signature(text, op->name, inputs, n_inputs), i, esker_dtype_name(dtype),
                               dtype == ESKER_DTYPE_F16 ? "float32" : "float32 or int32");
    }
    return ESKER_OK;
}

/* Ops that programs register live as long as the graphs that use them. */
static bool hold_op(esker_graph *graph, const esker__op *op)
{
    if (!op->hold) return true;
    for (size_t i = 0; i < graph->n_held; i++)
        if (graph->held[i] == op) return true;
    if (!esker__grow((void **)&graph->held, &graph->held_capacity, graph->n_held, sizeof *graph->held)) return false;
    op->hold(op, true);
    graph->held[graph->n_held++] = op;
    return true;
}

esker_node *esker__record_in(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs,
                             int n_inputs)
{
    if (!graph || graph->status != ESKER_OK) return NULL;
    esker__type types[ESKER__MAX_OUTPUTS] = {{0}};
    esker_status st = check_inputs(graph, op, inputs, n_inputs);
    if (st == ESKER_OK) st = op->infer(attr, inputs, n_inputs, types);
    for (int i = 0; st == ESKER_OK && i < op->n_outputs; i++) {
        int64_t n_elems;
        st = esker_shape_elems(&types[i].shape, &n_elems);
        if (st != ESKER_OK) esker__fail_prefix("%s", op->name);
    }
    if (st != ESKER_OK) return esker__graph_fail(graph, st);

    size_t input_bytes = (size_t)n_inputs * sizeof *inputs;
    esker_node *node = hold_op(graph, op) ? new_node(graph, op) : NULL;
    if (!node) goto no_memory;
    node->type = types[0];
    node->n_inputs = n_inputs;
    node->inputs = esker__pool_alloc(&graph->pool, input_bytes);
    node->attr = esker__pool_alloc(&graph->pool, op->attr_bytes);
    if (!node->inputs || !node->attr) goto no_memory;
    if (n_inputs) memcpy(node->inputs, inputs, input_bytes);
    if (attr && op->attr_bytes) memcpy(node->attr, attr, op->attr_bytes);
    for (int i = 1; i < op->n_outputs; i++) {
        esker_node *output = new_node(graph, &esker__op_output);
        if (!output) goto no_memory;
        output->type = types[i];
        output->output = i;
        output->producer = node;
        output->n_inputs = 1;
        output->inputs = &output->producer;
    }
    return node;
no_memory:
    return esker__graph_fail(graph, esker__fail_memory(sizeof *node, op->name));
}

esker_node *esker__record(const esker__op *op, const void *attr, esker_node *const *inputs, int n_inputs)
{
    /* A NULL among the inputs follows an earlier failure, which the graph of the others has kept; if it has none, say so there. */
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]) return esker__record_in(inputs[i]->graph, op, attr, inputs, n_inputs);
    return NULL;
}

esker_node *esker__output(esker_node *node, int i)
{
    return node ? node->graph->nodes[node->id + i] : NULL;
}

uint32_t esker__new_draw(esker_graph *graph)
{
    return graph->n_draws++;
}

esker_node *esker__record_copy(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    if (node->op == &esker__op_output) return esker__output(inputs[0], node->output);
    esker__phase phase = graph->phase;
    graph->phase = node->phase;
    /* What is recorded behind the copies draws anew. */
    if (graph->n_draws < node->graph->n_draws) graph->n_draws = node->graph->n_draws;
    esker_node *copy = esker__record_in(graph, node->op, node->attr, inputs, node->n_inputs);
    graph->phase = phase;
    return copy && node->label ? esker_label(copy, node->label) : copy;
}
