/*
 * Gradients as a transformation of the graph: reverse accumulation over recorded nodes, which records ordinary nodes.
 * Source  Baydin, Pearlmutter, Radul, Siskind: Automatic differentiation in machine learning: a survey, section 3.2.
 */
#include "graph/graph.h"

#include <stdio.h>
#include <string.h>

#include <esker/ops.h>
#include "base/fail.h"

/* reach[i]: node i is computed from one of wrt. */
static void mark_reach(const esker_graph *graph, esker_node *const *wrt, int n_wrt, size_t n_nodes, bool *reach)
{
    for (int i = 0; i < n_wrt; i++) reach[wrt[i]->id] = true;
    for (size_t i = 0; i < n_nodes; i++) {
        const esker_node *node = graph->nodes[i];
        if (node->op->flags & ESKER__OP_SHAPE_ONLY) continue;
        for (int j = 0; j < node->n_inputs && !reach[i]; j++) reach[i] = reach[node->inputs[j]->id];
    }
}

/* A further output goes by the name of the operation that computes it. */
static const char *node_name(const esker_node *node)
{
    return node->label ? node->label : node->producer->op->name;
}

/* "floor, fc1, x": the operations from `node` down to the wanted value. */
static esker_status fail_no_rule(const esker_node *node, int input, const bool *reach)
{
    char path[ESKER__ERROR_BYTES / 2];
    size_t n = (size_t)snprintf(path, sizeof path, "%s", node_name(node));
    const esker_node *at = node->inputs[input];
    while (n < sizeof path) {
        n += (size_t)snprintf(path + n, sizeof path - n, " <- %s", node_name(at));
        const esker_node *next = NULL;
        for (int j = 0; j < at->n_inputs && !next; j++)
            if (reach[at->inputs[j]->id]) next = at->inputs[j];
        if (!next) break;
        at = next;
    }
    return esker__fail(ESKER_ERR_UNSUPPORTED, "%s has no gradient with respect to input %d, on the path %s",
                       node->producer->op->name, input, path);
}

static esker_status propagate(esker_node *node, esker_node **grads, const bool *reach)
{
    esker_graph *graph = node->graph;
    size_t first = graph->n_nodes;
    if (node->op->flags & ESKER__OP_SHAPE_ONLY) return ESKER_OK; /* one of wrt itself */
    for (int i = 0; i < node->n_inputs; i++) {
        esker_node *input = node->inputs[i];
        if (!reach[input->id]) continue;
        bool has_rule = node->op->gradient || node->op->gradients;
        if (!has_rule || (node->op->no_gradient >> i & 1)) return fail_no_rule(node, i, reach);
        esker_node *grad = node->op->gradients ? node->op->gradients(node, &grads[node->id], i)
                                               : node->op->gradient(node, grads[node->id], i);
        grad = esker__sum_to(grad, &input->type.shape);
        if (grad && grads[input->id]) grad = esker_add(grads[input->id], grad);
        if (!grad) return esker_graph_status(graph);
        grads[input->id] = grad;
    }
    /* The gradient of a layer bears the layer's name. */
    for (size_t id = first; id < graph->n_nodes; id++)
        if (!graph->nodes[id]->label) graph->nodes[id]->label = node->label;
    return ESKER_OK;
}

/* Whether a gradient flows into `node`. Of further outputs that are values, too, it goes on through their producer. */
static bool has_gradient(const esker_node *node, esker_node *const *grads)
{
    const esker__op *op = node->op;
    if (node->producer != node && node->producer->op->gradients) return false;
    bool has = grads[node->id] != NULL;
    for (int i = 1; op->gradients && i < op->n_outputs; i++) has = has || grads[node->id + i];
    return has;
}

static esker_status check_arguments(esker_node *loss, esker_node *const *wrt, int n_wrt)
{
    char text[ESKER_SHAPE_TEXT_BYTES];
    int64_t n_elems;
    if (esker_shape_elems(&loss->type.shape, &n_elems) != ESKER_OK || n_elems != 1 || loss->type.dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "gradients: the loss must be one float32 element, it is %s %s",
                           esker_dtype_name(loss->type.dtype), esker_shape_text(&loss->type.shape, text));
    for (int i = 0; i < n_wrt; i++) {
        if (wrt[i]->graph != loss->graph)
            return esker__fail(ESKER_ERR_INVALID, "gradients: wrt[%d] is of another graph", i);
        if (wrt[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "gradients: wrt[%d] is %s, only float32 has gradients", i,
                               esker_dtype_name(wrt[i]->type.dtype));
    }
    return ESKER_OK;
}

esker_status esker_gradients(esker_node *loss, esker_node *const *wrt, int n_wrt, esker_node **out_grads)
{
    for (int i = 0; i < n_wrt; i++) out_grads[i] = NULL;
    esker_graph *graph = loss ? loss->graph : NULL;
    for (int i = 0; i < n_wrt && !graph; i++) graph = wrt[i] ? wrt[i]->graph : NULL;
    if (!graph) return esker__fail(ESKER_ERR_INVALID, "gradients: the loss is NULL");
    if (graph->status != ESKER_OK) return esker_graph_status(graph);
    esker_status st = ESKER_OK;
    if (!loss) st = esker__fail(ESKER_ERR_INVALID, "gradients: the loss is NULL");
    for (int i = 0; st == ESKER_OK && i < n_wrt; i++)
        if (!wrt[i]) st = esker__fail(ESKER_ERR_INVALID, "gradients: wrt[%d] is NULL", i);
    if (st == ESKER_OK) st = check_arguments(loss, wrt, n_wrt);
    if (st != ESKER_OK) {
        esker__graph_fail(graph, st);
        return st;
    }

    size_t n_nodes = graph->n_nodes;
    bool *reach = esker__calloc(n_nodes, sizeof *reach);
    esker_node **grads = esker__calloc(n_nodes, sizeof *grads);
    esker__phase phase = graph->phase;
    if (!reach || !grads) {
        st = esker__fail_memory(n_nodes * sizeof *grads, "gradients");
        goto done;
    }
    mark_reach(graph, wrt, n_wrt, n_nodes, reach);
    graph->phase = ESKER__PHASE_BACKWARD;
    if (reach[loss->id]) grads[loss->id] = esker_full(graph, &loss->type.shape, 1.0f);
    for (int id = loss->id; st == ESKER_OK && id >= 0; id--)
        if (has_gradient(graph->nodes[id], grads)) st = propagate(graph->nodes[id], grads, reach);
    for (int i = 0; st == ESKER_OK && i < n_wrt; i++) {
        esker_node *grad = grads[wrt[i]->id];
        out_grads[i] = grad ? grad : esker_full(graph, &wrt[i]->type.shape, 0.0f);
        if (!out_grads[i]) st = esker_graph_status(graph);
    }
done:
    graph->phase = phase;
    esker__free(reach);
    esker__free(grads);
    if (st != ESKER_OK) {
        esker__graph_fail(graph, st);
        for (int i = 0; i < n_wrt; i++) out_grads[i] = NULL;
    }
    return st;
}
