#include "graph/passes.h"

#include <string.h>

#include <esker/ops.h>

#include "base/fail.h"
#include "base/hash.h"
#include "graph/params.h"

void esker__mark_needed(const esker_graph *graph, esker_node *const *outputs, int n_outputs, bool *needed)
{
    for (int i = 0; i < n_outputs; i++) needed[outputs[i]->id] = true;
    for (size_t i = graph->n_nodes; i-- > 0;) {
        const esker_node *node = graph->nodes[i];
        if (node->op->flags & ESKER__OP_EFFECT) needed[i] = true;
        for (int j = 0; needed[i] && j < node->n_inputs; j++) needed[node->inputs[j]->id] = true;
    }
}

void esker__mark_changed(const esker_graph *graph, const bool *needed, bool *changed)
{
    const esker_params *params = graph->params;
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const esker_node *node = graph->nodes[i];
        if (!needed[i] || !(node->op->flags & ESKER__OP_EFFECT)) continue;
        for (size_t p = 0; (node->op->flags & (ESKER__OP_UPDATE | ESKER__OP_UPDATING)) && p < params->n; p++)
            if (!params->list[p].frozen) changed[p] = true;
        for (int j = 0; j < node->n_inputs; j++) {
            const esker_node *x = esker__root_of(node->inputs[j]);
            if (x->op == &esker__op_parameter) changed[((const esker__parameter_attr *)x->attr)->index] = true;
        }
    }
}

void esker__rewrite_finish(esker__rewrite *r)
{
    esker__free(r->map);
    esker__free(r->needed);
    esker__free(r->inputs);
    esker_graph_destroy(r->graph);
}

esker_status esker__rewrite_init(esker__rewrite *r, const esker_graph *old, esker_node *const *outputs, int n_outputs)
{
    *r = (esker__rewrite){.old = old};
    esker_status st = esker_graph_create(old->params, &r->graph);
    if (st != ESKER_OK) return st;
    size_t max_inputs = 0;
    for (size_t i = 0; i < old->n_nodes; i++)
        if ((size_t)old->nodes[i]->n_inputs > max_inputs) max_inputs = (size_t)old->nodes[i]->n_inputs;
    r->map = esker__calloc(old->n_nodes, sizeof *r->map);
    r->needed = esker__calloc(old->n_nodes, sizeof *r->needed);
    r->inputs = esker__calloc(max_inputs + 8, sizeof *r->inputs); /* a fused node has a few more */
    if (!r->map || !r->needed || !r->inputs) {
        esker__rewrite_finish(r);
        return esker__fail_memory(old->n_nodes * sizeof *r->map, "graph pass");
    }
    esker__mark_needed(old, outputs, n_outputs, r->needed);
    return ESKER_OK;
}

void esker__rewrite_gather(esker__rewrite *r, const esker_node *node)
{
    for (int j = 0; j < node->n_inputs; j++) r->inputs[j] = r->map[node->inputs[j]->id];
}

esker_status esker__rewrite_result(esker__rewrite *r, esker_node *const *outputs, int n_outputs, esker_graph **out_graph,
                                   esker_node **out_outputs)
{
    esker_status st = esker_graph_status(r->graph);
    if (st == ESKER_OK) {
        for (int i = 0; i < n_outputs; i++) out_outputs[i] = r->map[outputs[i]->id];
        *out_graph = r->graph;
        r->graph = NULL;
    }
    esker__rewrite_finish(r);
    return st;
}

/* ---- Simplify ---- */

/* A table of the new graph's nodes by structure: open addressing, ids + 1, never more than half full. */
typedef struct node_table {
    int *slots;
    size_t n_slots;
} node_table;

static uint64_t node_hash(const esker__op *op, const void *attr, esker_node *const *inputs, int n_inputs)
{
    uint64_t hash = esker__hash(ESKER__HASH_START, &op, sizeof op);
    if (op->attr_bytes && attr) hash = esker__hash(hash, attr, op->attr_bytes);
    return n_inputs ? esker__hash(hash, inputs, (size_t)n_inputs * sizeof *inputs) : hash;
}

static bool same_node(const esker_node *node, const esker__op *op, const void *attr, esker_node *const *inputs,
                      int n_inputs)
{
    return node->op == op && node->n_inputs == n_inputs && (!op->attr_bytes || !memcmp(node->attr, attr, op->attr_bytes)) &&
           (!n_inputs || !memcmp(node->inputs, inputs, (size_t)n_inputs * sizeof *inputs));
}

static int *find_slot(const node_table *table, const esker_graph *graph, const esker_node *old, esker_node *const *inputs)
{
    size_t i = node_hash(old->op, old->attr, inputs, old->n_inputs) & (table->n_slots - 1);
    while (table->slots[i] && !same_node(graph->nodes[table->slots[i] - 1], old->op, old->attr, inputs, old->n_inputs))
        i = (i + 1) & (table->n_slots - 1);
    return &table->slots[i];
}

/* The node of this op, attributes and inputs, recorded unless there is one. */
static esker_node *find_or_record(esker__rewrite *r, node_table *table, const esker_node *old, const void *attr,
                                  esker_node **inputs)
{
    esker_node like = *old;
    like.attr = (void *)attr;
    int *slot = find_slot(table, r->graph, &like, inputs);
    if (*slot) return r->graph->nodes[*slot - 1];
    r->graph->phase = old->phase;
    esker_node *node = esker__record_in(r->graph, old->op, attr, inputs, old->n_inputs);
    if (node && old->label) esker_label(node, old->label);
    if (node) *slot = node->id + 1;
    return node;
}

/* Maps all outputs of `old` if its op can do without transpositions: those that come out transposed are transposed back. */
static bool untranspose_node(esker__rewrite *r, node_table *table, const esker_node *old)
{
    void *attr = esker__pool_alloc(&r->graph->pool, old->op->attr_bytes);
    esker_node **inputs = esker__pool_alloc(&r->graph->pool, (size_t)old->n_inputs * sizeof *inputs);
    if (!attr || !inputs) return esker__graph_fail(r->graph, esker__fail_memory(old->op->attr_bytes, "graph pass"));
    memcpy(attr, old->attr, old->op->attr_bytes);
    memcpy(inputs, r->inputs, (size_t)old->n_inputs * sizeof *inputs);
    unsigned exchanged = old->op->untransposed(attr, inputs);
    if (!exchanged) return false;
    esker_node *node = find_or_record(r, table, old, attr, inputs);
    for (int i = 0; node && i < old->op->n_outputs; i++) {
        esker_node *output = esker__output(node, i);
        r->map[old->id + i] = exchanged >> i & 1 ? esker_transpose(output, (const int[]){0, 2, 1, 3}) : output;
    }
    return node != NULL;
}

static esker_node *simplify_node(esker__rewrite *r, node_table *table, const esker_node *old)
{
    if (r->map[old->id]) return r->map[old->id];
    if (old->op->untransposed && untranspose_node(r, table, old)) return r->map[old->id];
    if (old->op == &esker__op_output) return esker__output(r->inputs[0], old->output);
    if (old->op->flags & ESKER__OP_EFFECT) return esker__record_copy(r->graph, old, r->inputs);
    r->graph->phase = old->phase;
    esker_node *node = old->op->simplify ? old->op->simplify(r->graph, old->op, old->attr, r->inputs) : NULL;
    if (node) return node;
    int *slot = find_slot(table, r->graph, old, r->inputs);
    if (*slot) return r->graph->nodes[*slot - 1];
    node = esker__record_copy(r->graph, old, r->inputs);
    if (node) *slot = node->id + 1;
    return node;
}

esker_status esker__pass_simplify(const esker_graph *graph, esker_node *const *outputs, int n_outputs,
                                  esker_graph **out_graph, esker_node **out_outputs)
{
    esker__rewrite r;
    node_table table = {NULL, 16};
    *out_graph = NULL;
    esker_status st = esker__rewrite_init(&r, graph, outputs, n_outputs);
    if (st != ESKER_OK) return st;
    while (table.n_slots < graph->n_nodes * 2) table.n_slots *= 2;
    table.slots = esker__calloc(table.n_slots, sizeof *table.slots);
    if (!table.slots) {
        esker__rewrite_finish(&r);
        return esker__fail_memory(table.n_slots * sizeof *table.slots, "graph pass");
    }
    for (size_t i = 0; i < graph->n_nodes && r.graph->status == ESKER_OK; i++) {
        if (!r.needed[i]) continue;
        esker__rewrite_gather(&r, graph->nodes[i]);
        r.map[i] = simplify_node(&r, &table, graph->nodes[i]);
    }
    esker__free(table.slots);
    return esker__rewrite_result(&r, outputs, n_outputs, out_graph, out_outputs);
}

/* ---- Fuse ---- */

bool esker__is_barred(const esker__barred_ops *barred, const esker__op *op)
{
    for (int i = 0; barred && i < barred->n; i++)
        if (barred->list[i] == op) return true;
    return false;
}

/* Who reads a node: how many of those that are needed, an output counting as one more, and the first and the last of them. */
typedef struct users {
    int n, first, last;
} users;

/* Effects whose result nobody reads are copied behind all else, so that what they read may still change. */
static bool comes_last(const esker_node *node)
{
    return (node->op->flags & ESKER__OP_EFFECT) && !node->op->n_outputs;
}

static users *find_users(const esker__rewrite *r, esker_node *const *outputs, int n_outputs)
{
    users *all = esker__calloc(r->old->n_nodes, sizeof *all);
    if (!all) return NULL;
    for (size_t i = 0; i < r->old->n_nodes; i++) {
        bool reads = r->needed[i] && r->old->nodes[i]->op != &esker__op_output; /* that is a further output of its input */
        for (int j = 0; reads && j < r->old->nodes[i]->n_inputs; j++) {
            users *u = &all[r->old->nodes[i]->inputs[j]->id];
            int at = comes_last(r->old->nodes[i]) ? (int)r->old->n_nodes : (int)i;
            if (!u->n++ || at < u->first) u->first = at;
            if (at > u->last) u->last = at;
        }
    }
    for (int i = 0; i < n_outputs; i++) {
        users *u = &all[outputs[i]->id];
        if (!u->n++) u->first = (int)r->old->n_nodes;
        u->last = (int)r->old->n_nodes;
    }
    return all;
}

/* Whether nothing reads further outputs of `node` yet. */
static bool further_outputs_wait(const esker__rewrite *r, const esker_node *node)
{
    for (size_t id = (size_t)node->id + 1; node->op->n_outputs > 1 && id < r->graph->n_nodes; id++) {
        const esker_node *reader = r->graph->nodes[id];
        for (int j = 0; reader->producer == reader && j < reader->n_inputs; j++)
            if (reader->inputs[j]->producer == node && reader->inputs[j] != node) return false;
    }
    return true;
}

/*
 * `user` computed in the tail of the node that its input `which` became, or NULL. If others read that node, too, the fused one must keep
 * the value for them, and none of them may have been copied yet.
 */
static esker_node *absorb_into(esker__rewrite *r, const esker__fusing *how, const esker_node *user, int which, bool keep)
{
    esker_node *node = r->inputs[which];
    esker__fusion fusion = {.storage_blocks = how->limits->storage_blocks, .limits = how->limits, .keep = keep};
    if (!node->op->absorb || node->producer != node || (fusion.keep && !node->op->keeping)) return NULL;
    if (esker__is_barred(how->barred, node->op) || (fusion.keep && esker__is_barred(how->barred, node->op->keeping)))
        return NULL;
    if (!further_outputs_wait(r, node)) return NULL;
    void *attr = esker__pool_alloc(&r->graph->pool, node->op->attr_bytes);
    esker_node **inputs = esker__pool_alloc(&r->graph->pool, (size_t)(node->n_inputs + user->n_inputs) * sizeof *inputs);
    if (!attr || !inputs) return esker__graph_fail(r->graph, esker__fail_memory(node->op->attr_bytes, "graph pass"));
    if (node->op->attr_bytes) memcpy(attr, node->attr, node->op->attr_bytes);
    if (!node->op->absorb(node, user, which, &fusion, attr)) return NULL;
    int n_inputs = 0;
    for (int j = 0; j < node->n_inputs; j++) inputs[n_inputs++] = node->inputs[j];
    for (int j = 0; j < user->n_inputs; j++)
        if (j != which) inputs[n_inputs++] = r->inputs[j];
    r->graph->phase = user->phase;
    esker_node *fused = esker__record_in(r->graph, fusion.keep ? node->op->keeping : node->op, attr, inputs, n_inputs);
    const char *label = node->label ? node->label : user->label;
    if (fused && fusion.keep) r->map[user->inputs[which]->id] = esker__output(fused, 1);
    for (int id = 0; fused && node->op->n_outputs > 1 && id < user->id; id++)
        if (r->map[id] && r->map[id] != node && r->map[id]->producer == node)
            r->map[id] = esker__output(fused, r->map[id]->output);
    return fused && label ? esker_label(fused, label) : fused;
}

/* The value under `x` that views show, if nobody reads it or one of them but the next; else NULL. */
static const esker_node *shown_alone(const users *all, const esker_node *x)
{
    for (; all[x->id].n == 1; x = x->inputs[0])
        if (!(x->op->flags & ESKER__OP_VIEW)) return x;
    return NULL;
}

/*
 * The same where a view stands between the two (a matmul's rows are heads or pixels to who reads them): `user` as it would be under the view, its
 * operands seen in that shape, and the result seen in its own.
 */
static esker_node *absorb_through_view(esker__rewrite *r, const esker__fusing *how, const users *all,
                                       const esker_node *user, int which)
{
    enum { MOST = 3 };
    esker_node *node = (esker_node *)esker__root_of(r->inputs[which]), like[MOST], *likes[MOST], *kept[MOST];
    const esker_node *under = shown_alone(all, user->inputs[which]);
    if (node == r->inputs[which] || !under || !user->op->joins || user->n_inputs > MOST || !node->op->absorb) return NULL;
    esker_node seen = *user;
    seen.type.shape = node->type.shape;
    seen.inputs = likes;
    for (int j = 0; j < user->n_inputs; j++) {
        const esker_node *x = user->inputs[j];
        if (esker__elems(&x->type.shape) != esker__elems(&user->type.shape) || x->type.dtype != ESKER_DTYPE_F32)
            return NULL;
        if (j != which && x == user->inputs[which]) return NULL;
        like[j] = j == which ? *under : *x;
        like[j].type.shape = node->type.shape;
        likes[j] = &like[j];
        kept[j] = r->inputs[j];
    }
    if (esker__elems(&node->type.shape) != esker__elems(&user->type.shape)) return NULL;
    for (int j = 0; j < user->n_inputs; j++) {
        if (j == which)
            r->inputs[j] = node;
        else if (!esker_shape_equal(&r->inputs[j]->type.shape, &node->type.shape))
            r->inputs[j] = esker_reshape(r->inputs[j], &node->type.shape);
        if (!r->inputs[j]) return NULL;
    }
    esker_node *fused = absorb_into(r, how, &seen, which, false);
    for (int j = 0; j < user->n_inputs; j++) r->inputs[j] = kept[j];
    return fused ? esker_reshape(fused, &user->type.shape) : NULL;
}

/* `user` computed in the tail of what one of its inputs became, or NULL. */
static esker_node *try_absorb(esker__rewrite *r, const esker__fusing *how, const users *all, const esker_node *user)
{
    esker_node *made = NULL;
    for (int j = 0; j < user->n_inputs && !made; j++) {
        const users *of_input = &all[user->inputs[j]->id];
        bool keep = of_input->n > 1;
        if (of_input->first == user->id && !(keep && of_input->last == user->id)) made = absorb_into(r, how, user, j, keep);
    }
    for (int j = 0; j < user->n_inputs && !made; j++) made = absorb_through_view(r, how, all, user, j);
    return made;
}

/* What the node at hand is with fusion, or NULL. */
static esker_node *try_fused(esker__rewrite *r, const esker__fusing *how, const int *n_users, const esker_node *node)
{
    if (!node->op->fused) return NULL;
    r->graph->phase = node->phase;
    esker_node *made = node->op->fused(r->graph, node, r->inputs,
                                       &(esker__fusion){.storage_blocks = how->limits->storage_blocks,
                                                        .limits = how->limits,
                                                        .family = how->family,
                                                        .barred = how->barred,
                                                        .n_users = n_users,
                                                        .map = r->map});
    return made && node->label && !made->label ? esker_label(made, node->label) : made;
}

/* The same where some ops are barred: if one of what that recorded is of these, the new graph and the map are put back to what they were. */
static esker_node *try_fused_without(esker__rewrite *r, const esker__fusing *how, const int *n_users,
                                     const esker_node *node)
{
    size_t n_before = r->graph->n_nodes, n_bytes = r->old->n_nodes * sizeof *r->map;
    if (!how->barred || !how->barred->n || !node->op->fused || (node->op->flags & ESKER__OP_UPDATE))
        return try_fused(r, how, n_users, node);
    esker_node **kept = esker__malloc(n_bytes);
    if (!kept) return esker__graph_fail(r->graph, esker__fail_memory(n_bytes, "graph pass"));
    memcpy(kept, r->map, n_bytes);
    esker_node *made = try_fused(r, how, n_users, node);
    for (size_t i = n_before; i < r->graph->n_nodes; i++) {
        if (!esker__is_barred(how->barred, r->graph->nodes[i]->op)) continue;
        memcpy(r->map, kept, n_bytes);
        r->graph->n_nodes = n_before;
        made = NULL;
    }
    esker__free(kept);
    return made;
}

esker_status esker__pass_fuse(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs, int n_outputs,
                              esker_graph **out_graph, esker_node **out_outputs)
{
    esker__rewrite r;
    *out_graph = NULL;
    esker_status st = esker__rewrite_init(&r, graph, outputs, n_outputs);
    if (st != ESKER_OK) return st;
    users *all = find_users(&r, outputs, n_outputs);
    int *n_users = esker__calloc(graph->n_nodes, sizeof *n_users);
    if (!all || !n_users) {
        esker__free(all);
        esker__free(n_users);
        esker__rewrite_finish(&r);
        return esker__fail_memory(graph->n_nodes * sizeof *all, "graph pass");
    }
    for (size_t i = 0; i < graph->n_nodes; i++) n_users[i] = all[i].n;
    for (size_t turn = 0; turn < 2 * graph->n_nodes && r.graph->status == ESKER_OK; turn++) {
        size_t i = turn % graph->n_nodes;
        const esker_node *node = graph->nodes[i];
        if (!r.needed[i] || r.map[i] || comes_last(node) != (turn >= graph->n_nodes)) continue;
        esker__rewrite_gather(&r, node);
        r.map[i] = try_fused_without(&r, how, n_users, node);
        if (!r.map[i]) r.map[i] = try_absorb(&r, how, all, node);
        if (!r.map[i]) r.map[i] = esker__record_copy(r.graph, node, r.inputs);
    }
    esker__free(all);
    esker__free(n_users);
    return esker__rewrite_result(&r, outputs, n_outputs, out_graph, out_outputs);
}
