/* Gradients of biases beside those of weights. */
#include "ops/sums.h"

#include "ops/ops.h"
#include "ops/reduce.h"

#define WINDOW 128 /* ids around a node in which others are looked for */

const esker__param *esker__gradient_of(const esker_node *node)
{
    const esker_graph *graph = node->graph;
    const esker__param *found = NULL;
    for (size_t id = graph->n_nodes; id-- > (size_t)node->id;) {
        const esker_node *user = graph->nodes[id];
        for (int i = 0; i < user->n_inputs; i++) {
            if (user->inputs[i] != node) continue;
            if (!(user->op->flags & ESKER__OP_EFFECT)) return NULL;
            if (!(user->op->flags & ESKER__OP_UPDATE)) continue;
            int next = 0;
            for (size_t p = 0; p < graph->params->n; p++)
                if (!graph->params->list[p].frozen && next++ == i) found = &graph->params->list[p];
        }
    }
    return found;
}

const esker_node *esker__sums_beside(const esker_node *node, const esker_node *g, esker__is_sum is_sum,
                                     const esker__fusion *fusion)
{
    const esker_graph *graph = node->graph;
    size_t first = node->id < WINDOW ? 0 : (size_t)node->id - WINDOW;
    for (size_t id = first; id < graph->n_nodes && id < (size_t)node->id + WINDOW; id++) {
        const esker_node *other = graph->nodes[id], *under = esker__root_of(other); /* the sum itself, or a view of it */
        if (under->op != &esker__op_sum || other->type.shape.rank != 1 || !is_sum(under, g) || !esker__gradient_of(other))
            continue;
        /* Two biases may have one gradient: it comes with the first of the weights beside them. */
        bool taken = fusion->map[other->id] && fusion->map[other->id]->output == 1;
        return !taken && esker__gradient_of(node) ? other : NULL;
    }
    return NULL;
}

esker_status esker__emit_sums(esker__lowering *lowering, const esker_node *node, int input, uint32_t mask)
{
    esker__reduce_attr axes = {.mask = mask};
    esker_node *result = esker__output((esker_node *)node, 1), *g = node->inputs[input];
    esker_node sum = {
        .graph = node->graph, .op = &esker__op_sum, .n_inputs = 1, .inputs = &g, .attr = &axes, .type = result->type};
    esker__reduction r = {.join = ESKER__JOIN_SUM, .scale = 1, .in = esker__read(lowering, g)};
    if (esker__updated(result))
        r.updating = result;
    else
        r.out = esker__write(lowering, result);
    return esker__reduce_lower(lowering, &sum, &r);
}
