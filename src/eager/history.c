/* How a tensor was computed, kept for gradients, and which values those will need. */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"

static void let_go(esker_tensor *t)
{
    if (!t) return;
    t->trace.n_held--;
    esker_tensor_unref(t);
}

/* The producer's history holds the values of its outputs: a further output refers to the producer, not to its own value. */
static esker_status make_of_output(esker__eager *e, esker_tensor *tensor, const esker_node *output)
{
    esker__history *h = esker__calloc(1, sizeof *h + sizeof(esker_tensor *) + sizeof(uint64_t));
    if (!h) return esker__fail_memory(sizeof *h, "histories");
    *h = (esker__history){.op = &esker__op_output, .output = output->output};
    h->attr = h->versions = (uint64_t *)(h + 1);
    h->inputs = h->extras = (esker_tensor **)(h->versions + 1);
    tensor->trace.history = h;
    tensor->trace.tracked = true;
    h->inputs[0] = esker__eager_owner(e, output->producer);
    if (!h->inputs[0]) return ESKER_ERR_NO_MEMORY;
    h->n_inputs = 1;
    h->inputs[0]->trace.n_held++;
    h->versions[0] = h->inputs[0]->trace.version;
    return ESKER_OK;
}

esker_status esker__history_make(esker__eager *e, esker_tensor *tensor, esker_node *node)
{
    for (int i = 0; i < node->n_inputs; i++) {
        if (!esker__eager_producer(node->inputs[i])) continue;
        if (node->op == &esker__op_same) return make_of_output(e, tensor, node->inputs[i]);
        return esker__fail(ESKER_ERR_INTERNAL, "%s: reads a further output of %s, through which its gradient would be lost",
                           node->op->name, node->inputs[i]->producer->op->name);
    }
    size_t n_inputs = (size_t)node->n_inputs, n_extras = node->op->n_outputs > 1 ? (size_t)node->op->n_outputs - 1 : 0;
    size_t n_bytes = sizeof(esker__history) + (n_inputs + n_extras) * sizeof(esker_tensor *) + n_inputs * sizeof(uint64_t) +
                     esker__round_up(node->op->attr_bytes, 8);
    esker__history *h = esker__calloc(1, n_bytes);
    if (!h) return esker__fail_memory(n_bytes, "histories");
    *h = (esker__history){.op = node->op, .n_inputs = node->n_inputs, .n_extras = (int)n_extras};
    h->attr = h + 1;
    h->versions = (uint64_t *)((unsigned char *)h->attr + esker__round_up(node->op->attr_bytes, 8));
    h->inputs = (esker_tensor **)(h->versions + n_inputs);
    h->extras = h->inputs + n_inputs;
    if (node->op->attr_bytes) memcpy(h->attr, node->attr, node->op->attr_bytes);
    if (h->op->hold) h->op->hold(h->op, true);
    tensor->trace.history = h;
    tensor->trace.tracked = true;
    for (size_t i = 0; i < n_inputs + n_extras; i++) {
        esker_node *other = i < n_inputs ? node->inputs[i] : esker__output(node, (int)(i - n_inputs) + 1);
        esker_tensor *t = esker__eager_owner(e, other);
        if (!t) return ESKER_ERR_NO_MEMORY; /* what is held goes with the tensor */
        h->inputs[i] = t;                   /* the extras lie behind them */
        t->trace.n_held++;
        if (i < n_inputs) h->versions[i] = esker__eager_version(t);
        /* A constant is made again rather than kept. */
        if (other->op == &esker__op_full && !t->trace.history) {
            esker_status st = esker__history_make(e, t, other);
            if (st != ESKER_OK) return st;
            t->trace.tracked = false;
        }
    }
    return ESKER_OK;
}

/* A long history is a long chain of references: undone one by one, not by recursion. */
static void release(esker__eager *e, esker__history *h)
{
    h->next = e->dying;
    e->dying = h;
    if (e->releasing) return;
    e->releasing = true;
    while (e->dying) {
        h = e->dying;
        e->dying = h->next;
        for (int i = 0; i < h->n_inputs; i++) let_go(h->inputs[i]);
        for (int i = 0; i < h->n_extras; i++) let_go(h->extras[i]);
        if (h->op->hold) h->op->hold(h->op, false);
        esker__free(h);
    }
    e->releasing = false;
}

void esker__history_free(esker__eager *e, esker_tensor *tensor)
{
    esker__history *h = tensor->trace.history;
    if (!h) return;
    tensor->trace.history = NULL; /* but still tracked */
    release(e, h);
}

void esker__history_drop(esker__eager *e, esker_tensor *tensor)
{
    esker__history *h = tensor->trace.history;
    tensor->trace.history = NULL;
    tensor->trace.tracked = false;
    if (h) release(e, h);
}

/* ---- Which values a gradient rule reads ---- */

/*
 * The rule is asked in a graph of its own, where inputs and the incoming gradient are given; what its results are computed
 * from shows what it reads. That depends on operation, attributes and types alone.
 */
static esker_node *given(esker_graph *graph, const esker__type *type, int i)
{
    esker__input_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.name[0] = (char)(1 + i % 127);
    attr.name[1] = (char)(1 + i / 127);
    attr.type = *type;
    return esker__record_in(graph, &esker__op_input, &attr, NULL, 0);
}

/* The nodes below n_values are values that exist: what they are computed from does not matter. */
static void mark_read(const esker_graph *graph, const esker_node *from, size_t n_values, bool *read)
{
    read[from->id] = true;
    for (size_t id = (size_t)from->id + 1; id-- > n_values;) {
        const esker_node *node = graph->nodes[id];
        if (!read[id] || (node->op->flags & ESKER__OP_SHAPE_ONLY)) continue;
        for (int i = 0; i < node->n_inputs; i++) read[node->inputs[i]->id] = true;
    }
}

/* `inputs` are the probe's, `copy` the operation on them; `grad` and the nodes behind it are the gradients of its outputs. */
static esker_status probe_input(esker_node *const *inputs, esker_node *copy, esker_node *grad, int i,
                                const esker_node *node, bool *needed)
{
    esker_graph *graph = copy->graph;
    esker_node *grads[ESKER__MAX_OUTPUTS];
    for (int j = 0; j < node->op->n_outputs; j++) grads[j] = graph->nodes[grad->id + j];
    esker_node *result = node->op->gradients ? node->op->gradients(copy, grads, i) : node->op->gradient(copy, grad, i);
    if (!result) {
        esker__graph_truncate(graph, graph->n_nodes); /* the backward pass will say why */
        return ESKER_OK;
    }
    bool *read = esker__calloc(graph->n_nodes, sizeof *read);
    if (!read) return esker__fail_memory(graph->n_nodes, "histories");
    mark_read(graph, result, (size_t)grad->id, read);
    for (int j = 0; j < node->n_inputs; j++) needed[node->inputs[j]->id] |= read[inputs[j]->id];
    for (int j = 0; j < node->op->n_outputs; j++) needed[node->id + j] |= read[copy->id + j];
    esker__free(read);
    return ESKER_OK;
}

esker_status esker__history_needs(esker__eager *e, const esker_node *node, bool *needed)
{
    esker_graph *graph = NULL;
    if ((!node->op->gradient && !node->op->gradients) || !node->n_inputs) return ESKER_OK;
    esker_node **inputs = esker__calloc((size_t)node->n_inputs, sizeof *inputs);
    esker_status st = inputs ? esker_graph_create(NULL, &graph) : esker__fail_memory(sizeof *inputs, "histories");
    for (int i = 0; st == ESKER_OK && i < node->n_inputs; i++) {
        inputs[i] = given(graph, &node->inputs[i]->type, i);
        if (!inputs[i]) st = esker_graph_status(graph);
    }
    esker_node *copy = NULL, *grad = NULL;
    if (st == ESKER_OK) copy = esker__record_in(graph, node->op, node->attr, inputs, node->n_inputs);
    if (copy) grad = given(graph, &node->type, node->n_inputs);
    for (int i = 1; grad && i < node->op->n_outputs; i++)
        if (!given(graph, &esker__output(copy, i)->type, node->n_inputs + i)) grad = NULL;
    if (st == ESKER_OK && !grad) st = esker_graph_status(graph);
    for (int i = 0; st == ESKER_OK && i < node->n_inputs; i++) {
        const esker_tensor *owner = e->owners[node->inputs[i]->id];
        if (owner && esker__eager_tracks(owner) && !(node->op->no_gradient >> i & 1))
            st = probe_input(inputs, copy, grad, i, node, needed);
    }
    esker__free(inputs);
    esker_graph_destroy(graph);
    return st;
}
