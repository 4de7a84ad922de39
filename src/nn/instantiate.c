/* Graphs of a model for one batch size: the template's nodes recorded again behind another input. */
#include "nn/model.h"

#include <limits.h>
#include <math.h>

#include "base/fail.h"
#include "graph/passes.h"

static esker_status check(const esker_model *net, const esker_instance_desc *desc)
{
    esker_status st = esker_graph_status(net->graph);
    if (st != ESKER_OK) return st;
    if (!net->output)
        return esker__fail(ESKER_ERR_INVALID, "model %s: not finished, esker_model_output() is missing", net->name);
    if (!desc) return esker__fail(ESKER_ERR_INVALID, "model %s: desc is NULL, a batch is needed", net->name);
    if (desc->batch < 1 || desc->batch > INT_MAX)
        return esker__fail(ESKER_ERR_INVALID, "model %s: a batch of %lld, 1 to %d are possible", net->name,
                           (long long)desc->batch, INT_MAX);
    if (desc->mode != ESKER_MODE_TRAIN && desc->mode != ESKER_MODE_INFER)
        return esker__fail(ESKER_ERR_INVALID, "model %s: unknown mode %d", net->name, (int)desc->mode);
    if (desc->input_dtype != ESKER_DTYPE_F32 && desc->input_dtype != ESKER_DTYPE_U8)
        return esker__fail(ESKER_ERR_INVALID, "model %s: input type %s, float32 and uint8 are possible", net->name,
                           esker_dtype_name(desc->input_dtype));
    if (!isfinite(desc->input_scale))
        return esker__fail(ESKER_ERR_INVALID, "model %s: the input scale is not a finite number", net->name);
    return ESKER_OK;
}

/* The input as the model's layers see it: float32, scaled. */
static esker_node *record_input(esker_graph *graph, const esker_model *net, const esker_instance_desc *desc,
                                esker_node **out_raw)
{
    esker_shape shape = net->input->type.shape;
    bool bytes = desc->input_dtype == ESKER_DTYPE_U8;
    float scale = desc->input_scale != 0 ? desc->input_scale : bytes ? 1.0f / 255.0f : 1.0f;
    shape.dims[0] = desc->batch;
    esker_node *x = *out_raw = esker_label(esker_input(graph, net->input_name, desc->input_dtype, &shape), net->input_name);
    if (bytes) x = esker_label(esker_convert(x, ESKER_DTYPE_F32), net->input_name);
    return scale != 1.0f ? esker_label(esker_affine(x, scale, 0), net->input_name) : x;
}

/* The message of a node that cannot be recorded for this batch: it worked for a batch of 1. */
static esker_status wrong_batch(const esker_model *net, const esker_node *node, int64_t batch, esker_status st)
{
    if (st == ESKER_ERR_NO_MEMORY) return st;
    esker__fail_prefix(
        "model %s for a batch of %lld: %s was recorded for a batch of 1 only (a reshape keeps the batch with a 0)",
        net->name, (long long)batch, node->label ? node->label : node->op->name);
    return st;
}

/* `node` as this mode has it. */
static esker_node *record_node(esker_graph *graph, esker_mode mode, const esker_node *node, esker_node *const *inputs)
{
    if (mode != ESKER_MODE_INFER || !node->op->inference) return esker__record_copy(graph, node, inputs);
    size_t n_before = graph->n_nodes;
    esker_node *result = node->op->inference(graph, node, inputs);
    for (size_t id = n_before; result && node->label && id < graph->n_nodes; id++)
        if (!graph->nodes[id]->label && !esker_label(graph->nodes[id], node->label)) result = NULL;
    return result;
}

static esker_status record(esker_graph *graph, const esker_model *net, const esker_instance_desc *desc, const bool *needed,
                           esker_node **copies, esker_node **out_raw)
{
    const esker_graph *from = net->graph;
    copies[net->input->id] = record_input(graph, net, desc, out_raw);
    if (!copies[net->input->id]) return esker_graph_status(graph);
    for (size_t i = 0; i < from->n_nodes; i++) {
        const esker_node *node = from->nodes[i];
        esker_node *inputs_here[8], **inputs = inputs_here;
        if (!needed[i] || node == net->input) continue;
        if (node->n_inputs > (int)(sizeof inputs_here / sizeof *inputs_here)) {
            size_t n_bytes = (size_t)node->n_inputs * sizeof *inputs;
            inputs = esker__pool_alloc(&graph->pool, n_bytes);
            if (!inputs) return esker__fail_memory(n_bytes, "model instance");
        }
        for (int k = 0; k < node->n_inputs; k++) inputs[k] = copies[node->inputs[k]->id];
        copies[i] = record_node(graph, desc->mode, node, inputs);
        if (!copies[i]) return wrong_batch(net, node, desc->batch, esker_graph_status(graph));
    }
    return ESKER_OK;
}

/* An output that forgot its batch computes something else, so a shape that records is not enough. */
static esker_status check_output(const esker_model *net, const esker_node *output, int64_t batch)
{
    char got[ESKER_SHAPE_TEXT_BYTES], want[ESKER_SHAPE_TEXT_BYTES];
    esker_shape shape = net->output->type.shape;
    shape.dims[0] = batch;
    if (esker_shape_equal(&shape, &output->type.shape)) return ESKER_OK;
    return esker__fail(
        ESKER_ERR_INVALID,
        "model %s for a batch of %lld: the output is %s in place of %s: an operation was recorded for a batch of 1 only",
        net->name, (long long)batch, esker_shape_text(&output->type.shape, got), esker_shape_text(&shape, want));
}

esker_status esker_model_instantiate(esker_model *net, const esker_instance_desc *desc, esker_graph **out_graph,
                                     esker_node **out_input, esker_node **out_output)
{
    *out_graph = NULL;
    if (out_input) *out_input = NULL;
    if (out_output) *out_output = NULL;
    esker_graph *graph = NULL;
    esker_node **copies = NULL, *raw = NULL;
    bool *needed = NULL;
    esker_status st = check(net, desc);
    if (st != ESKER_OK) return st;

    size_t n = net->graph->n_nodes;
    copies = esker__calloc(n, sizeof *copies);
    needed = esker__calloc(n, sizeof *needed);
    st = copies && needed ? esker_graph_create(net->graph->params, &graph)
                          : esker__fail_memory(n * (sizeof *copies + sizeof *needed), "model instance");
    if (st != ESKER_OK) goto done;
    esker__mark_needed(net->graph, &net->output, 1, needed);
    st = record(graph, net, desc, needed, copies, &raw);
    if (st == ESKER_OK) st = check_output(net, copies[net->output->id], desc->batch);
    if (st != ESKER_OK) goto done;
    if (out_input) *out_input = raw;
    if (out_output) *out_output = copies[net->output->id];
    *out_graph = graph;
    graph = NULL;
done:
    esker_graph_destroy(graph);
    esker__free(copies);
    esker__free(needed);
    return st;
}
