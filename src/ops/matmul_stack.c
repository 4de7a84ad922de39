/*
 * Products that share a factor, as those of queries, keys and values, are one product with fusion: y_i = x W_i' of parameters that lie
 * beside each other is one batch, whose pieces are the y_i; the gradients of these parameters, W_i = g_i' x, are another; and that of x, the sum of
 * all g_i W_i, is the sum over a third. The g_i are computed beside each other (stacked): nothing is copied.
 */
#include "ops/matmul.h"

#include <esker/ops.h>

#include "base/fail.h"
#include "graph/params.h"
#include "ops/ops.h"
#include "ops/sums.h"
#include "plan/stacked.h"

#define MOST    8   /* products at once */
#define WINDOW  128 /* ids around a node in which others are looked for */
#define ALIGNED 256 /* bytes: where pieces may begin on every device */

/* Products that can become one, in the order of their parameters. */
typedef struct family {
    const esker_node *nodes[MOST];
    const esker__param *params[MOST];
    int n;
} family;

static const esker__param *param_of(const esker_node *node)
{
    if (node->op != &esker__op_parameter) return NULL;
    return &node->graph->params->list[((const esker__parameter_attr *)node->attr)->index];
}

static bool is_product(const esker_node *node, bool transpose_a)
{
    if (node->op != &esker__op_matmul) return false;
    const esker__matmul_attr *a = node->attr;
    return !a->tail.has_bias && !a->tail.program.n_steps && !a->sum_batch && !a->transpose_a == !transpose_a &&
           node->inputs[0]->type.shape.rank == 2 && node->inputs[1]->type.shape.rank == 2;
}

static bool are_alike(const esker_node *a, const esker_node *b)
{
    const esker__matmul_attr *p = a->attr, *q = b->attr;
    return p->transpose_b == q->transpose_b && esker_shape_equal(&a->inputs[0]->type.shape, &b->inputs[0]->type.shape) &&
           esker_shape_equal(&a->inputs[1]->type.shape, &b->inputs[1]->type.shape);
}

static bool is_aligned(const esker_node *node)
{
    return esker__elems(&node->type.shape) * 4 % ALIGNED == 0;
}

/* Insert by the offset of `param`; each once. */
static void add_member(family *f, const esker_node *node, const esker__param *param)
{
    int at = f->n;
    if (!param || param->n_elems % ESKER__PARAM_ALIGN || f->n == MOST) return;
    while (at > 0 && f->params[at - 1]->offset > param->offset) at--;
    if (at > 0 && f->params[at - 1] == param) return;
    for (int i = f->n; i > at; i--) {
        f->nodes[i] = f->nodes[i - 1];
        f->params[i] = f->params[i - 1];
    }
    f->nodes[at] = node;
    f->params[at] = param;
    f->n++;
}

/* What is left are the members around `node` whose parameters have no gaps between them. False: it is alone. */
static bool keep_adjacent(family *f, const esker_node *node)
{
    int first = 0, last;
    while (first < f->n && f->nodes[first] != node) first++;
    if (first == f->n) return false;
    for (last = first; last + 1 < f->n; last++)
        if (f->params[last]->offset + (uint64_t)f->params[last]->n_elems != f->params[last + 1]->offset) break;
    for (; first > 0; first--)
        if (f->params[first - 1]->offset + (uint64_t)f->params[first - 1]->n_elems != f->params[first]->offset) break;
    f->n = last - first + 1;
    for (int i = 0; i < f->n; i++) {
        f->nodes[i] = f->nodes[first + i];
        f->params[i] = f->params[first + i];
    }
    return f->n > 1;
}

/* Whether all members together are no larger than one binding: both factors, and the products. */
static bool fit_bindings(const family *f, const esker__fusion *fusion)
{
    uint64_t most = fusion->limits->storage_block_bytes / 4 / (uint64_t)f->n;
    const esker_node *node = f->nodes[0];
    return (uint64_t)esker__elems(&node->inputs[0]->type.shape) <= most &&
           (uint64_t)esker__elems(&node->inputs[1]->type.shape) <= most &&
           (uint64_t)esker__elems(&node->type.shape) <= most;
}

/* ---- What is recorded ---- */

static esker_node *mapped(esker_graph *graph, const esker__fusion *fusion, const esker_node *old)
{
    if (!fusion->map[old->id] && old->op == &esker__op_parameter)
        fusion->map[old->id] = esker__record_copy(graph, old, NULL);
    return fusion->map[old->id];
}

/* Input `input` of all members beside each other: once for each list. */
static esker_node *stack(esker_graph *graph, const esker__fusion *fusion, const family *f, int input)
{
    esker_node *parts[MOST];
    for (int i = 0; i < f->n; i++)
        if (!(parts[i] = mapped(graph, fusion, f->nodes[i]->inputs[input]))) return NULL;
    for (size_t id = graph->n_nodes; id-- > 0 && graph->n_nodes - id < 4 * WINDOW;) {
        const esker_node *found = graph->nodes[id];
        bool same = found->op == &esker__op_stacked && found->n_inputs == f->n;
        for (int i = 0; same && i < f->n; i++) same = found->inputs[i] == parts[i];
        if (same) return graph->nodes[id];
    }
    return esker__record_in(graph, &esker__op_stacked, NULL, parts, f->n);
}

/* All members become the pieces of `all`; returns what `node` became. */
static esker_node *cut(const esker__fusion *fusion, const family *f, const esker_node *node, esker_node *all)
{
    if (all && node->label) esker_label(all, node->label);
    for (int i = 0; i < f->n; i++)
        fusion->map[f->nodes[i]->id] = esker_reshape(esker_slice(all, &(esker_range){.start = i, .stop = i + 1}, 1),
                                                     &f->nodes[i]->type.shape);
    return fusion->map[node->id];
}

/* ---- y_i = x W_i' ---- */

/* Whether something computed from the product alone would be its tail. */
static bool has_tail(const esker_node *node)
{
    const esker_graph *graph = node->graph;
    for (size_t id = (size_t)node->id + 1; id < graph->n_nodes && id < (size_t)node->id + WINDOW; id++)
        for (int i = 0; i < graph->nodes[id]->n_inputs; i++)
            if (graph->nodes[id]->inputs[i] == node && graph->nodes[id]->op->join) return true;
    return false;
}

static bool find_forward(const esker_node *node, family *f)
{
    const esker_graph *graph = node->graph;
    *f = (family){.n = 0};
    if (!is_product(node, false) || !param_of(node->inputs[1]) || !is_aligned(node)) return false;
    for (size_t id = (size_t)node->id; id < graph->n_nodes && id < (size_t)node->id + WINDOW; id++) {
        const esker_node *other = graph->nodes[id];
        if (is_product(other, false) && other->inputs[0] == node->inputs[0] && are_alike(node, other) && !has_tail(other))
            add_member(f, other, param_of(other->inputs[1]));
    }
    return keep_adjacent(f, node);
}

/* ---- W_i = g_i' x ---- */

/* Whether it can be computed at a place that others choose: it is no input, and no part of something else. */
static bool can_be_placed(const esker_node *node)
{
    node = esker__root_of(node);
    return is_aligned(node) && !node->op->piece && (node->op == &esker__op_output || !(node->op->flags & ESKER__OP_SOURCE));
}

static bool find_weights(const esker_node *node, family *f)
{
    const esker_graph *graph = node->graph;
    *f = (family){.n = 0};
    if (!is_product(node, true) || !is_aligned(node)) return false;
    size_t first = node->id < WINDOW ? 0 : (size_t)node->id - WINDOW;
    int n = 0;
    for (size_t id = first; id < graph->n_nodes && id < (size_t)node->id + WINDOW; id++) {
        const esker_node *other = graph->nodes[id];
        if (is_product(other, true) && other->inputs[1] == node->inputs[1] && are_alike(node, other) &&
            can_be_placed(other->inputs[0]))
            f->nodes[n++ % MOST] = other;
    }
    if (n < 2 || n > MOST) return false; /* most have no other: those are not looked up among the parameters */
    const family all = *f;
    for (int i = 0; i < n; i++) add_member(f, all.nodes[i], esker__gradient_of(all.nodes[i]));
    return keep_adjacent(f, node);
}

/* ---- The gradient of a bias beside that of a weight ---- */

/* Whether the node is the sum over all axes but the last of the same bytes that g [rows, columns] is, under whatever shape. */
static bool sums_rows(const esker_node *node, const esker_node *g)
{
    const esker_shape *shape = &node->inputs[0]->type.shape;
    bool over_rows = shape->rank >= 1 && shape->dims[shape->rank - 1] == g->type.shape.dims[1] &&
                     ((const esker__reduce_attr *)node->attr)->mask == (1u << (shape->rank - 1)) - 1;
    return over_rows && esker__root_of(node->inputs[0]) == esker__root_of(g);
}

/* g' x and the sums of the columns of g are one node: the kernel of the first has read what the second needs. */
static esker_node *with_sums(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                             const esker__fusion *fusion)
{
    if (!is_product(node, true)) return NULL;
    const esker_node *sum = esker__sums_beside(node, node->inputs[0], sums_rows, fusion);
    if (!sum) return NULL;
    esker__matmul_attr attr = *(const esker__matmul_attr *)node->attr;
    attr.sums_a = 1;
    esker_node *made = esker__record_in(graph, &esker__op_matmul_summing, &attr, inputs, 2);
    fusion->map[sum->id] = esker__output(made, 1);
    return made;
}

esker_node *esker__fused_matmul(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                const esker__fusion *fusion)
{
    family f;
    const esker__matmul_attr *attr = node->attr;
    if (find_forward(node, &f) && fit_bindings(&f, fusion)) {
        esker_node *weights = stack(graph, fusion, &f, 1);
        return cut(fusion, &f, node,
                   weights ? esker_matmul(inputs[0], weights, &(esker_matmul_desc){.transpose_b = attr->transpose_b})
                           : NULL);
    }
    if (!find_weights(node, &f) || !fit_bindings(&f, fusion)) return with_sums(graph, node, inputs, fusion);
    for (int i = 0; i < f.n; i++)
        if (f.nodes[i]->id > node->id) return NULL; /* done when the last one's turn comes, and all g are there */
    esker_node *g = stack(graph, fusion, &f, 0);
    return cut(fusion, &f, node,
               g ? esker_matmul(g, inputs[1], &(esker_matmul_desc){.transpose_a = true, .transpose_b = attr->transpose_b})
                 : NULL);
}

/* ---- The sum of all g_i W_i ---- */

static bool adds(const esker_node *node, const esker_node *root)
{
    return node->op == &esker__op_add && esker_shape_equal(&node->inputs[0]->type.shape, &root->type.shape) &&
           esker_shape_equal(&node->inputs[1]->type.shape, &root->type.shape);
}

/* Whether the only one that reads it is another such sum: then that is the one to look at. */
static bool is_inner(const esker_node *node, const esker__fusion *fusion)
{
    const esker_graph *graph = node->graph;
    if (fusion->n_users[node->id] != 1) return false;
    for (size_t id = (size_t)node->id + 1; id < graph->n_nodes && id < (size_t)node->id + 4 * WINDOW; id++)
        for (int i = 0; i < graph->nodes[id]->n_inputs; i++)
            if (graph->nodes[id]->inputs[i] == node) return adds(graph->nodes[id], node);
    return false;
}

static int find_terms(const esker_node *root, const esker__fusion *fusion, const esker_node *out[MOST])
{
    int n = 1;
    out[0] = root;
    for (int i = 0; i < n;) {
        const esker_node *node = out[i];
        if (n == MOST || !adds(node, root) || (node != root && fusion->n_users[node->id] != 1)) {
            i++;
            continue;
        }
        out[i] = node->inputs[0];
        out[n++] = node->inputs[1];
    }
    return n;
}

esker_node *esker__fused_add(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                             const esker__fusion *fusion)
{
    (void)inputs;
    const esker_node *terms[MOST], *first = NULL;
    if (node->type.shape.rank != 2 || !adds(node, node) || is_inner(node, fusion)) return NULL;
    int n = find_terms(node, fusion, terms);
    family f = {.n = 0};
    for (int i = 0; i < n; i++) {
        const esker_node *t = terms[i];
        if (!is_product(t, false) || fusion->n_users[t->id] != 1 || !can_be_placed(t->inputs[0])) continue;
        if (first && !are_alike(first, t)) continue;
        bool again = false;
        for (int j = 0; j < f.n; j++) again |= f.nodes[j]->inputs[0] == t->inputs[0];
        if (again || !param_of(t->inputs[1])) continue;
        add_member(&f, t, param_of(t->inputs[1]));
        if (!first) first = t;
    }
    if (!first || !keep_adjacent(&f, first) || !fit_bindings(&f, fusion)) return NULL;
    esker__matmul_attr attr = {.transpose_b = ((const esker__matmul_attr *)first->attr)->transpose_b, .sum_batch = 1};
    esker_node *factors[] = {stack(graph, fusion, &f, 0), stack(graph, fusion, &f, 1)};
    if (!factors[0] || !factors[1]) return NULL;
    esker_node *sum = esker__record_in(graph, &esker__op_matmul, &attr, factors, 2);
    for (int i = 0; i < n; i++) {
        bool member = false;
        for (int j = 0; j < f.n; j++) member |= f.nodes[j] == terms[i];
        if (!member) sum = esker_add(fusion->map[terms[i]->id], sum);
    }
    return sum;
}
