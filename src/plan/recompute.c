/*
 * An activation whose gradient is computed from its argument keeps two values of one size from the forward pass to the backward pass: the argument, for that
 * gradient, and the result, for the gradient of the weights that it is multiplied with. What computes the activation's gradient, in the tail of a product,
 * reads the argument anyway: here it computes the result once more (op->recompute), where the argument was, and the forward pass need not keep
 * it. So it is with the norm of rows behind a product, whose gradient reads x and the statistics. The same function of the same numbers gives the same bits.
 */
#include "plan/recompute.h"

#include <esker/ops.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "graph/passes.h"
#include "plan/views.h"

/* `by`, a reader of output 1 of `made`, gives its output 0 once more. */
typedef struct twice {
    const esker_node *made, *by, *more; /* more: one more input of what becomes of `by`, or NULL */
    void *attr;                         /* of that */
    int readers;
} twice;

/* An old node in its place in the new graph. */
typedef struct place {
    uint64_t key;
    int id;
} place;

typedef struct pass {
    esker__rewrite r;
    const esker_limits *limits;
    twice *list;
    int n, *of;  /* by old id: where `made` is in the list, and one more; 0: it is not */
    bool *given; /* by old id: an output of the graph shows it */
    bool *below; /* some `by` depends on it */
    place *order;
} pass;

static bool computes(const pass *p, const esker_node *node)
{
    return p->r.needed[node->id] && node->op != &esker__op_output && !(node->op->flags & ESKER__OP_VIEW);
}

/* How often each old node is read, by id; what an output of the graph shows counts as read once more. */
static void count_readers(const pass *p, int *readers)
{
    for (size_t i = 0; i < p->r.old->n_nodes; i++) {
        const esker_node *node = p->r.old->nodes[i];
        readers[i] += p->given[i];
        for (int j = 0; computes(p, node) && j < node->n_inputs; j++) readers[esker__root_of(node->inputs[j])->id]++;
    }
}

/* Puts `by` in the list if an input of it is output 1 of a node whose output 0 it can give once more. */
static esker_status consider(pass *p, const esker_node *by, const int *readers)
{
    if (!computes(p, by) || by->phase != ESKER__PHASE_BACKWARD || !by->op->recompute) return ESKER_OK;
    for (int j = 0; j < by->n_inputs; j++) {
        const esker_node *value = esker__root_of(by->inputs[j]), *made = value->producer;
        if (value->op != &esker__op_output || value->output != 1 || made->phase != ESKER__PHASE_FORWARD ||
            p->given[made->id] || p->of[made->id])
            continue;
        twice found = {.made = made, .by = by, .attr = esker__pool_alloc(&p->r.graph->pool, by->op->attr_bytes)};
        if (!found.attr) return esker__fail_memory(by->op->attr_bytes, "graph pass");
        memcpy(found.attr, by->attr, by->op->attr_bytes);
        if (!by->op->recompute(by, j, made, readers[value->id] == 1, p->limits->storage_blocks, found.attr, &found.more))
            continue;
        p->list[p->n++] = found;
        p->of[made->id] = p->n;
        return ESKER_OK;
    }
    return ESKER_OK;
}

/* Which of the list an operand is to be read from; NULL: from where it is. */
static twice *second_of(const pass *p, const esker_node *node, int operand)
{
    if (!computes(p, node) || node->phase == ESKER__PHASE_FORWARD) return NULL;
    int i = p->of[esker__root_of(node->inputs[operand])->id];
    return i ? &p->list[i - 1] : NULL;
}

/* Leaves those in the list whose second result somebody reads, and whose readers can all come behind it. */
static void settle(pass *p)
{
    const esker_graph *old = p->r.old;
    for (int i = 0; i < p->n; i++) p->below[p->list[i].by->id] = true;
    for (size_t i = old->n_nodes; i-- > 0;)
        for (int j = 0; p->below[i] && j < old->nodes[i]->n_inputs; j++) p->below[old->nodes[i]->inputs[j]->id] = true;
    for (size_t i = 0; i < old->n_nodes; i++)
        for (int j = 0; j < old->nodes[i]->n_inputs; j++) {
            twice *second = second_of(p, old->nodes[i], j);
            if (second && p->below[i]) second->readers = INT_MIN / 2;
            if (second) second->readers++;
        }
    int n = p->n;
    p->n = 0;
    for (int i = 0; i < n; i++) {
        bool stays = p->list[i].readers > 0;
        p->list[p->n] = p->list[i];
        p->of[p->list[i].made->id] = stays ? ++p->n : 0;
    }
}

static int compare(const void *left, const void *right)
{
    const place *a = left, *b = right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    return a->id - b->id;
}

/* The old order, but that readers of second results, and who reads those, come right behind what they wait for. */
static void find_order(pass *p)
{
    const esker_graph *old = p->r.old;
    for (size_t i = 0; i < old->n_nodes; i++) {
        uint64_t key = 2 * i;
        for (int j = 0; j < old->nodes[i]->n_inputs; j++) {
            const twice *second = second_of(p, old->nodes[i], j);
            uint64_t behind = second ? 2 * (uint64_t)second->by->id + 1 : p->order[old->nodes[i]->inputs[j]->id].key;
            if (behind > key) key = behind;
        }
        p->order[i] = (place){key, (int)i};
    }
    qsort(p->order, old->n_nodes, sizeof *p->order, compare);
}

static esker_node *copy(pass *p, const esker_node *node)
{
    esker__rewrite_gather(&p->r, node);
    for (int j = 0; j < node->n_inputs; j++) {
        const twice *second = second_of(p, node, j);
        if (!second) continue;
        esker_node *by = p->r.map[second->by->id], *again = esker__output(by, by->op->n_outputs - 1);
        bool same = again && esker_shape_equal(&again->type.shape, &node->inputs[j]->type.shape);
        p->r.inputs[j] = same ? again : esker_reshape(again, &node->inputs[j]->type.shape);
        if (!p->r.inputs[j]) return NULL;
    }
    for (int i = 0; p->below[node->id] && i < p->n; i++) {
        if (p->list[i].by != node) continue;
        int n = node->n_inputs;
        if (p->list[i].more) p->r.inputs[n++] = p->r.map[p->list[i].more->id];
        p->r.graph->phase = node->phase;
        esker_node *made = esker__record_in(p->r.graph, node->op->keeping, p->list[i].attr, p->r.inputs, n);
        return made && node->label ? esker_label(made, node->label) : made;
    }
    return esker__record_copy(p->r.graph, node, p->r.inputs);
}

esker_status esker__pass_recompute(const esker_graph *graph, const esker_limits *limits, esker_node *const *outputs,
                                   int n_outputs, esker_graph **out_graph, esker_node **out_outputs)
{
    pass p = {.limits = limits};
    *out_graph = NULL;
    esker_status st = esker__rewrite_init(&p.r, graph, outputs, n_outputs);
    if (st != ESKER_OK) return st;
    p.list = esker__malloc(graph->n_nodes * sizeof *p.list);
    p.given = esker__calloc(graph->n_nodes, sizeof *p.given);
    p.below = esker__calloc(graph->n_nodes, sizeof *p.below);
    p.of = esker__calloc(graph->n_nodes, sizeof *p.of);
    p.order = esker__malloc(graph->n_nodes * sizeof *p.order);
    int *readers = esker__calloc(graph->n_nodes, sizeof *readers);
    if (!p.list || !p.given || !p.below || !p.of || !p.order || !readers)
        st = esker__fail_memory(graph->n_nodes * sizeof *p.list, "graph pass");
    for (int i = 0; st == ESKER_OK && i < n_outputs; i++) p.given[esker__root_of(outputs[i])->id] = true;
    if (st == ESKER_OK) count_readers(&p, readers);
    for (size_t i = 0; st == ESKER_OK && i < graph->n_nodes; i++) st = consider(&p, graph->nodes[i], readers);
    if (st == ESKER_OK) settle(&p);
    if (st == ESKER_OK && p.n) find_order(&p);
    for (size_t i = 0; st == ESKER_OK && p.n && i < graph->n_nodes && p.r.graph->status == ESKER_OK; i++)
        if (p.r.needed[p.order[i].id]) p.r.map[p.order[i].id] = copy(&p, graph->nodes[p.order[i].id]);
    if (st == ESKER_OK && p.n)
        st = esker__rewrite_result(&p.r, outputs, n_outputs, out_graph, out_outputs);
    else
        esker__rewrite_finish(&p.r);
    esker__free(p.list);
    esker__free(p.given);
    esker__free(p.below);
    esker__free(p.of);
    esker__free(p.order);
    esker__free(readers);
    return st;
}
