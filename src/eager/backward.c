/*
 * The backward pass. The history of the loss is laid down in the pending graph again (what is pending is there already), so that
 * esker_gradients() finds nodes to ask for rules; then the nodes it recorded are pointed at the values that exist, so that the
 * forward nodes that were laid down again are not computed but where a value is gone.
 */
#include "eager/eager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include <esker/ops.h>

/* A forward node for the gradient rules, and in its place what their results read: a node, or the reason why there is none. */
typedef struct stand_in {
    const esker_node *for_node;
    esker_node *value;
    const char *problem;
} stand_in;

typedef struct pass {
    esker__eager *e;
    esker__call call;
    esker_tensor **met; /* referenced; by serial number, inputs before what is computed from them */
    size_t n_met, met_capacity;
    esker_tensor **leaves; /* those of `met` whose gradients are wanted */
    size_t n_leaves, leaves_capacity;
    stand_in *stand_ins;
    size_t n_stand_ins, stand_ins_capacity;
    esker_node **inputs; /* of the node at hand */
    size_t inputs_capacity;
} pass;

static const char changed[] = "was changed after it was used, and the gradient needs what it was then";
static const char gone[] = "is needed by the gradient, and was not kept";

/* ---- The history, as a list ---- */

static esker_status meet(pass *p, esker_tensor *t)
{
    if (t->trace.mark == p->e->mark) return ESKER_OK;
    t->trace.mark = p->e->mark;
    if (t->trace.tracked && !t->trace.history)
        return esker__fail(ESKER_ERR_INVALID,
                           "backward: a part of the history was freed by an earlier pass, which did not retain it");
    if (!esker__grow((void **)&p->met, &p->met_capacity, p->n_met, sizeof *p->met))
        return esker__fail_memory(sizeof *p->met, "backward");
    p->met[p->n_met++] = esker_tensor_ref(t);
    return ESKER_OK;
}

static int by_serial(const void *left, const void *right)
{
    const esker_tensor *const *a = left, *const *b = right;
    return (*a)->trace.serial < (*b)->trace.serial ? -1 : (*a)->trace.serial > (*b)->trace.serial;
}

static esker_status collect(pass *p, esker_tensor *loss)
{
    p->e->mark++;
    esker_status st = meet(p, loss);
    for (size_t i = 0; st == ESKER_OK && i < p->n_met; i++) {
        const esker_tensor *t = p->met[i];
        const esker__history *h = t->trace.history;
        for (int j = 0; st == ESKER_OK && t->trace.tracked && j < h->n_inputs; j++)
            if (esker__eager_tracks(h->inputs[j])) st = meet(p, h->inputs[j]);
        if (st == ESKER_OK && t->trace.requires_grad) {
            if (!esker__grow((void **)&p->leaves, &p->leaves_capacity, p->n_leaves, sizeof *p->leaves))
                return esker__fail_memory(sizeof *p->leaves, "backward");
            p->leaves[p->n_leaves++] = p->met[i];
        }
    }
    if (p->n_met) qsort(p->met, p->n_met, sizeof *p->met, by_serial);
    return st;
}

/* ---- The history, as nodes ---- */

static esker_status stand_in_for(pass *p, const esker_node *node, esker_node *value, const char *problem)
{
    if (!esker__grow((void **)&p->stand_ins, &p->stand_ins_capacity, p->n_stand_ins, sizeof *p->stand_ins))
        return esker__fail_memory(sizeof *p->stand_ins, "backward");
    p->stand_ins[p->n_stand_ins++] = (stand_in){node, value, problem};
    return ESKER_OK;
}

static bool has_value(const pass *p, const esker_tensor *t)
{
    return esker__tensor_has_memory(t) || t->trace.base || (t->trace.node && t->trace.run == p->e->run);
}

/* A node of that type, which nothing may read. */
static esker_node *blank(pass *p, const esker_tensor *t, const char *problem)
{
    esker__input_attr attr;
    memset(&attr, 0, sizeof attr);
    snprintf(attr.name, sizeof attr.name, "-%zu", p->n_stand_ins);
    attr.type.dtype = t->dtype;
    attr.type.shape.rank = t->shape.rank;
    for (int i = 0; i < t->shape.rank; i++) attr.type.shape.dims[i] = t->shape.dims[i];
    esker_node *node = esker__record_in(p->e->graph, &esker__op_input, &attr, NULL, 0);
    return node && stand_in_for(p, node, NULL, problem) == ESKER_OK ? node : NULL;
}

/* Input i of a history, which the gradient flows through, or which it only reads. */
static esker_node *input_node(pass *p, const esker__history *h, int i)
{
    esker_tensor *t = h->inputs[i];
    bool same = h->versions[i] == esker__eager_version(t);
    if (esker__eager_tracks(t)) {
        if (same) return t->trace.shadow;
        esker_node *node = esker__eager_same(t->trace.shadow);
        return node && stand_in_for(p, node, NULL, changed) == ESKER_OK ? node : NULL;
    }
    if (!same) return blank(p, t, changed);
    if (has_value(p, t)) return esker__eager_node(p->e, t);
    if (t->trace.history) /* a constant */
        return esker__record_in(p->e->graph, t->trace.history->op, t->trace.history->attr, NULL, 0);
    return blank(p, t, gone);
}

/* Whether the node that was recorded for it is pending still, and is computed from just these inputs. */
static bool is_there(const pass *p, const esker_tensor *t)
{
    const esker__history *h = t->trace.history;
    const esker_node *node = t->trace.node;
    if (!node || t->trace.run != p->e->run || node->op != h->op || node->n_inputs != h->n_inputs) return false;
    return !memcmp(node->inputs, p->inputs, (size_t)h->n_inputs * sizeof *p->inputs);
}

static esker_status lay_down_output(pass *p, esker_tensor *t)
{
    const esker__history *h = t->trace.history;
    const esker__trace *producer = &h->inputs[0]->trace;
    t->trace.shadow = esker__output(producer->shadow, h->output);
    if (producer->shadow == producer->node || !has_value(p, t)) return ESKER_OK;
    esker_node *value = esker__eager_node(p->e, t);
    return value ? stand_in_for(p, t->trace.shadow, value, NULL) : ESKER_ERR_NO_MEMORY;
}

static esker_status lay_down(pass *p, esker_tensor *t)
{
    const esker__history *h = t->trace.history;
    if (t->trace.tracked && h->op == &esker__op_output) return lay_down_output(p, t);
    if (!t->trace.tracked) {
        t->trace.shadow = esker__eager_node(p->e, t);
        return t->trace.shadow ? ESKER_OK : ESKER_ERR_INVALID;
    }
    while (p->inputs_capacity < (size_t)h->n_inputs)
        if (!esker__grow((void **)&p->inputs, &p->inputs_capacity, p->inputs_capacity, sizeof *p->inputs))
            return esker__fail_memory(sizeof *p->inputs, "backward");
    for (int i = 0; i < h->n_inputs; i++) {
        p->inputs[i] = input_node(p, h, i);
        if (!p->inputs[i]) return ESKER_ERR_NO_MEMORY;
    }
    if (is_there(p, t)) {
        t->trace.shadow = t->trace.node;
        return ESKER_OK;
    }
    /* Values first: inputs of the graph come before what reads them. */
    esker_node *values[ESKER__MAX_OUTPUTS] = {NULL};
    for (int i = 0; i <= h->n_extras; i++) {
        esker_tensor *value = i ? h->extras[i - 1] : t;
        if (!has_value(p, value)) continue;
        values[i] = esker__eager_node(p->e, value);
        if (!values[i]) return ESKER_ERR_NO_MEMORY;
    }
    t->trace.shadow = esker__record_in(p->e->graph, h->op, h->attr, p->inputs, h->n_inputs);
    if (!t->trace.shadow) return esker_graph_status(p->e->graph);
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i <= h->n_extras; i++)
        if (values[i]) st = stand_in_for(p, esker__output(t->trace.shadow, i), values[i], NULL);
    return st;
}

/* ---- The gradients ---- */

/* Point what was recorded from `first` on, and the gradients themselves, at the values. */
static esker_status substitute(pass *p, size_t first, esker_node **grads)
{
    esker_graph *graph = p->e->graph;
    const stand_in **by_node = esker__calloc(graph->n_nodes, sizeof *by_node);
    if (!by_node) return esker__fail_memory(graph->n_nodes * sizeof *by_node, "backward");
    esker_status st = ESKER_OK;
    for (size_t i = 0; i < p->n_stand_ins; i++) by_node[p->stand_ins[i].for_node->id] = &p->stand_ins[i];
    for (size_t id = first; st == ESKER_OK && id < graph->n_nodes; id++) {
        esker_node *node = graph->nodes[id];
        for (int i = 0; st == ESKER_OK && i < node->n_inputs && node->op != &esker__op_output; i++) {
            const stand_in *s = by_node[node->inputs[i]->id];
            char shape[ESKER_SHAPE_TEXT_BYTES];
            if (!s || (s->problem && (node->op->flags & ESKER__OP_SHAPE_ONLY))) continue;
            if (s->value)
                node->inputs[i] = s->value;
            else
                st = esker__fail(ESKER_ERR_INVALID, "backward: a tensor %s %s %s",
                                 esker_dtype_name(s->for_node->type.dtype),
                                 esker_shape_text(&s->for_node->type.shape, shape), s->problem);
        }
    }
    for (size_t i = 0; i < p->n_leaves; i++)
        if (by_node[grads[i]->id] && by_node[grads[i]->id]->value) grads[i] = by_node[grads[i]->id]->value;
    esker__free(by_node);
    return st;
}

/* Each gradient added to the one before, as a tensor; all or none. */
static esker_status accumulate(pass *p, size_t first, esker_node **grads)
{
    esker__eager *e = p->e;
    esker_tensor **sums = esker__calloc(p->n_leaves, sizeof *sums);
    esker_status st = sums ? ESKER_OK : esker__fail_memory(p->n_leaves * sizeof *sums, "backward");
    for (size_t i = 0; st == ESKER_OK && i < p->n_leaves; i++) {
        esker_node *node = grads[i];
        bool taken = (size_t)node->id < first;
        for (size_t j = 0; j < i && !taken; j++) taken = grads[j] == node;
        if (p->leaves[i]->trace.grad) {
            esker_node *before = esker__eager_node(e, p->leaves[i]->trace.grad);
            node = before ? esker_add(before, node) : NULL;
        } else if (taken) {
            node = esker__eager_same(node);
        }
        if (node && esker__eager_note_nodes(e)) sums[i] = esker__eager_new_tensor(e, node);
        if (!sums[i]) st = e->graph->status != ESKER_OK ? esker_graph_status(e->graph) : ESKER_ERR_NO_MEMORY;
    }
    for (size_t i = 0; sums && i < p->n_leaves; i++) {
        if (st == ESKER_OK) {
            esker_tensor *before = p->leaves[i]->trace.grad;
            p->leaves[i]->trace.grad = sums[i];
            sums[i] = before;
        }
        esker_tensor_unref(sums[i]);
    }
    esker__free(sums);
    return st;
}

static esker_status record(pass *p, esker_tensor *loss)
{
    esker_graph *graph = p->e->graph;
    esker_status st = ESKER_OK;
    for (size_t i = 0; st == ESKER_OK && i < p->n_met; i++) st = lay_down(p, p->met[i]);
    if (st != ESKER_OK) return st;
    size_t first = graph->n_nodes;
    esker_node **nodes = esker__calloc(2 * p->n_leaves, sizeof *nodes), **grads = nodes + p->n_leaves;
    if (!nodes) return esker__fail_memory(2 * p->n_leaves * sizeof *nodes, "backward");
    for (size_t i = 0; i < p->n_leaves; i++) nodes[i] = p->leaves[i]->trace.shadow;
    st = esker_gradients(loss->trace.shadow, nodes, (int)p->n_leaves, grads);
    if (st == ESKER_OK) st = substitute(p, first, grads);
    if (st == ESKER_OK) st = accumulate(p, first, grads);
    esker__free(nodes);
    return st;
}

static esker_status check_loss(const esker_tensor *loss)
{
    char shape[ESKER_SHAPE_TEXT_BYTES];
    if (loss->n_elems != 1 || loss->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "backward: the loss must be one float32 element, it is %s %s",
                           esker_dtype_name(loss->dtype), esker_shape_text(&loss->shape, shape));
    if (!esker__eager_tracks(loss))
        return esker__fail(ESKER_ERR_INVALID, "backward: the loss depends on no tensor that requires a gradient");
    return ESKER_OK;
}

esker_status esker_tensor_backward(esker_tensor *loss, bool retain)
{
    if (!loss) return ESKER_ERR_INVALID;
    if (esker__tensor_check(loss, "backward") != ESKER_OK) return ESKER_ERR_INVALID;
    pass p = {.e = esker__eager_of(loss->device)};
    if (!p.e) return ESKER_ERR_INVALID;
    esker_status st = check_loss(loss);
    if (st == ESKER_OK) st = collect(&p, loss);
    if (st == ESKER_OK) {
        p.call = (esker__call){.eager = p.e, .first = p.e->graph->n_nodes, .n_draws = p.e->graph->n_draws};
        p.e->busy++;
        st = record(&p, loss);
        if (st == ESKER_OK)
            p.e->busy--;
        else
            esker__call_undo(&p.call);
    }
    for (size_t i = 0; i < p.n_met; i++) {
        if (st == ESKER_OK && !retain) esker__history_free(p.e, p.met[i]);
    }
    for (size_t i = 0; i < p.n_met; i++) esker_tensor_unref(p.met[i]);
    esker__free(p.met);
    esker__free(p.leaves);
    esker__free(p.stand_ins);
    esker__free(p.inputs);
    return st;
}

/* ---- What a tensor says of its gradient ---- */

esker_status esker_tensor_set_requires_grad(esker_tensor *x, bool requires_grad)
{
    char shape[ESKER_SHAPE_TEXT_BYTES];
    if (!x || esker__tensor_check(x, "requires_grad") != ESKER_OK) return ESKER_ERR_INVALID;
    esker__eager *e = esker__eager_of(x->device);
    if (!e) return ESKER_ERR_INVALID;
    if (x->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "requires_grad: %s %s, only float32 has gradients",
                           esker_dtype_name(x->dtype), esker_shape_text(&x->shape, shape));
    if (x->trace.tracked)
        return esker__fail(ESKER_ERR_INVALID, "requires_grad: the tensor is the result of a call with a history; "
                                              "esker_tensor_detach() it, or clone it without gradients");
    esker__eager_adopt(e, x);
    x->trace.requires_grad = requires_grad;
    return ESKER_OK;
}

bool esker_tensor_requires_grad(const esker_tensor *x)
{
    return x && esker__tensor_check(x, "requires_grad") == ESKER_OK && esker__eager_tracks(x);
}

esker_tensor *esker_tensor_get_grad(const esker_tensor *x)
{
    return x && esker__tensor_check(x, "get_grad") == ESKER_OK ? x->trace.grad : NULL;
}

void esker_tensor_zero_grad(esker_tensor *x)
{
    if (!x || esker__tensor_check(x, "zero_grad") != ESKER_OK) return;
    esker_tensor *grad = x->trace.grad;
    x->trace.grad = NULL;
    esker_tensor_unref(grad);
}
