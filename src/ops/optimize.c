/* Recording what learns from a loss: gradients, and behind them clipping and update, or nothing. */
#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "ops/ops.h"
#include "ops/optimizer.h"
#include "plan/lowering.h"

static void mark_needed(const esker_node *loss, bool *needed)
{
    needed[loss->id] = true;
    for (int id = loss->id; id >= 0; id--) {
        const esker_node *node = loss->graph->nodes[id];
        for (int i = 0; needed[id] && i < node->n_inputs; i++) needed[node->inputs[i]->id] = true;
    }
}

/* The nodes of the parameters to train, in the set's order; each must lead to the loss. `out` has room for params->n. */
static esker_status find_parameters(const char *who, const esker_node *loss, const bool *needed, esker_node **out,
                                    int *out_n)
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
            return esker__fail(ESKER_ERR_INVALID, "%s: parameter %s is not used in this graph; freeze it to leave it alone",
                               who, p->name);
        if (!needed[found->id])
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: the loss does not depend on parameter %s; freeze it to leave it alone", who, p->name);
        out[n++] = found;
    }
    *out_n = n;
    if (n == 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: nothing to train, %zu parameters of which all are frozen", who,
                           params->n);
    return ESKER_OK;
}

static esker_status check_graph(const char *who, const esker_graph *graph)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i]->op->flags & ESKER__OP_UPDATE)
            return esker__fail(ESKER_ERR_INVALID, "%s: this graph has an optimizer already, %s", who,
                               graph->nodes[i]->op->name);
    return ESKER_OK;
}

/* Record the gradients of `loss`, and what `update` makes of them; a failure stays in the graph. */
static esker_status record(const char *who, esker_node *loss,
                           bool (*update)(esker_node *const *grads, int n, const void *user), const void *user)
{
    esker_graph *graph = loss->graph;
    esker__phase phase = graph->phase;
    size_t n_all = graph->params->n;
    esker_node **wrt = NULL, **grads = NULL;
    bool *needed = NULL;
    int n = 0;
    esker_status st = check_graph(who, graph);
    if (st != ESKER_OK) goto done;

    wrt = esker__calloc(n_all, sizeof *wrt);
    grads = esker__calloc(n_all, sizeof *grads);
    needed = esker__calloc(graph->n_nodes, sizeof *needed);
    if (!wrt || !grads || !needed) {
        st = esker__fail_memory(n_all * 2 * sizeof *wrt + graph->n_nodes, "optimizer");
        goto done;
    }
    mark_needed(loss, needed);
    st = find_parameters(who, loss, needed, wrt, &n);
    if (st == ESKER_OK) st = esker_gradients(loss, wrt, n, grads);
    if (st != ESKER_OK) goto done;
    graph->phase = ESKER__PHASE_UPDATE;
    if (!update(grads, n, user)) st = esker_graph_status(graph);
done:
    graph->phase = phase;
    esker__free(wrt);
    esker__free(grads);
    esker__free(needed);
    if (st != ESKER_OK) esker__graph_fail(graph, st);
    return st;
}

typedef struct update {
    esker__optimizer_attr attr;
    esker__clip_attr clip;
} update;

static bool record_update(esker_node *const *grads, int n, const void *user)
{
    const update *u = user;
    const esker__op *op = esker__optimizer_ops[u->attr.kind];
    if (!(u->clip.value > 0) && !(u->clip.norm > 0)) return esker__record(op, &u->attr, grads, n) != NULL;
    /* The update reads clipped gradients: what clips them is one more input. */
    esker__optimizer_attr attr = u->attr;
    esker_node **inputs = esker__pool_alloc(&grads[0]->graph->pool, ((size_t)n + 1) * sizeof *inputs);
    attr.has_clip = 1;
    if (!inputs) {
        esker__graph_fail(grads[0]->graph, esker__fail_memory(((size_t)n + 1) * sizeof *inputs, "optimizer"));
        return false;
    }
    for (int i = 0; i < n; i++) inputs[i] = grads[i];
    inputs[n] = esker__record(&esker__op_clip_gradients, &u->clip, grads, n);
    return inputs[n] && esker__record(op, &attr, inputs, n + 1) != NULL;
}

esker_status esker_optimize(esker_node *loss, const esker_optimizer_desc *desc)
{
    if (!loss) return esker__fail(ESKER_ERR_INVALID, "optimize: the loss is NULL");
    if (loss->graph->status != ESKER_OK) return esker_graph_status(loss->graph);
    update u = {0};
    esker_status st = esker__optimizer_attr_init(desc, &u.attr);
    if (st != ESKER_OK) {
        esker__graph_fail(loss->graph, st);
        return st;
    }
    if (desc) u.clip = (esker__clip_attr){.value = desc->clip_value, .norm = desc->clip_norm};
    return record("optimize", loss, record_update, &u);
}

/* ---- Gradients alone ---- */

static esker_status infer_collect(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)out;
    return esker__infer_gradients("collect_gradients", inputs, n_inputs);
}

/* The plan places the inputs of an update in the gradient arena, and that is all there is to do. */
static void reference_collect(const esker__reference *r)
{
    (void)r;
}

static void cost_collect(const esker_node *node, esker__cost *out)
{
    (void)node;
    *out = (esker__cost){0};
}

static esker_status lower_collect(esker__lowering *l, const esker_node *node)
{
    (void)l;
    (void)node;
    return ESKER_OK;
}

const esker__op esker__op_collect_gradients = {
    .name = "collect_gradients",
    .n_inputs = -1,
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATE,
    .infer = infer_collect,
    .reference = reference_collect,
    .cost = cost_collect,
    .lower = lower_collect,
};

static bool record_collect(esker_node *const *grads, int n, const void *user)
{
    (void)user;
    return esker__record(&esker__op_collect_gradients, NULL, grads, n) != NULL;
}

esker_status esker__collect_gradients(esker_node *loss)
{
    if (loss->graph->status != ESKER_OK) return esker_graph_status(loss->graph);
    return record("collect_gradients", loss, record_collect, NULL);
}

/* ---- The norm ---- */

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
