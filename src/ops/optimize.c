/* Recording an optimizer behind a loss: gradients, clipping, update. */
#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "ops/ops.h"
#include "ops/optimizer.h"

static void mark_needed(const esker_node *loss, bool *needed)
{
    needed[loss->id] = true;
    for (int id = loss->id; id >= 0; id--) {
        const esker_node *node = loss->graph->nodes[id];
        for (int i = 0; needed[id] && i < node->n_inputs; i++) needed[node->inputs[i]->id] = true;
    }
}

/* The nodes of the parameters to train, in the set's order; each must lead to the loss. `out` has room for params->n. */
static esker_status find_parameters(const esker_node *loss, const bool *needed, esker_node **out, int *out_n)
{
    const esker_graph *graph = loss->graph;
    const esker_params *params = graph->params;
    int n = 0;
    for (size_t i = 0; i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        esker_node *found = NULL;
        for (size_t j = 0; j < graph->n_nodes && !found; j++) {
            esker_node *node = graph->nodes[j];
            if (node->op == &esker__op_parameter && ((const esker__parameter_attr *)node->attr)->index == (int32_t)i)
                found = node;
        }
        if (!found)
            return esker__fail(ESKER_ERR_INVALID,
                               "optimize: parameter %s is not used in this graph; freeze it to leave it alone", p->name);
        if (!needed[found->id])
            return esker__fail(ESKER_ERR_INVALID,
                               "optimize: the loss does not depend on parameter %s; freeze it to leave it alone", p->name);
        out[n++] = found;
    }
    *out_n = n;
    if (n == 0)
        return esker__fail(ESKER_ERR_INVALID, "optimize: nothing to train, %zu parameters of which all are frozen",
                           params->n);
    return ESKER_OK;
}

static esker_status check_graph(const esker_graph *graph)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i]->op->flags & ESKER__OP_UPDATE)
            return esker__fail(ESKER_ERR_INVALID, "optimize: this graph has an optimizer already, %s",
                               graph->nodes[i]->op->name);
    return ESKER_OK;
}

esker_status esker_optimize(esker_node *loss, const esker_optimizer_desc *desc)
{
    if (!loss) return esker__fail(ESKER_ERR_INVALID, "optimize: the loss is NULL");
    esker_graph *graph = loss->graph;
    if (graph->status != ESKER_OK) return esker_graph_status(graph);

    esker__phase phase = graph->phase;
    size_t n_all = graph->params->n;
    esker_node **wrt = NULL, **grads = NULL;
    bool *needed = NULL;
    esker__optimizer_attr attr;
    esker__clip_attr clip = {0};
    int n = 0;
    esker_status st = esker__optimizer_attr_init(desc, &attr);
    if (st == ESKER_OK) st = check_graph(graph);
    if (st != ESKER_OK) goto done;

    wrt = esker__calloc(n_all, sizeof *wrt);
    grads = esker__calloc(n_all, sizeof *grads);
    needed = esker__calloc(graph->n_nodes, sizeof *needed);
    if (!wrt || !grads || !needed) {
        st = esker__fail_memory(n_all * 2 * sizeof *wrt + graph->n_nodes, "optimizer");
        goto done;
    }
    mark_needed(loss, needed);
    st = find_parameters(loss, needed, wrt, &n);
    if (st == ESKER_OK) st = esker_gradients(loss, wrt, n, grads);
    if (st != ESKER_OK) goto done;
    graph->phase = ESKER__PHASE_UPDATE;
    if (desc) clip = (esker__clip_attr){.value = desc->clip_value, .norm = desc->clip_norm};
    if ((clip.value > 0 || clip.norm > 0) && !esker__record(&esker__op_clip_gradients, &clip, grads, n))
        st = esker_graph_status(graph);
    if (st == ESKER_OK && !esker__record(esker__optimizer_ops[attr.kind], &attr, grads, n)) st = esker_graph_status(graph);
done:
    graph->phase = phase;
    esker__free(wrt);
    esker__free(grads);
    esker__free(needed);
    if (st != ESKER_OK) esker__graph_fail(graph, st);
    return st;
}

esker_node *esker_gradient_norm(esker_graph *graph)
{
    if (!graph || graph->status != ESKER_OK) return NULL;
    for (size_t i = 0; i < graph->n_nodes; i++) {
        esker_node *node = graph->nodes[i];
        if (node->op == &esker__op_clip_gradients && ((const esker__clip_attr *)node->attr)->norm > 0) return node;
    }
    return esker__graph_fail(
        graph,
        esker__fail(ESKER_ERR_INVALID, "gradient_norm: this graph has no optimizer with clip_norm, which measures it"));
}
