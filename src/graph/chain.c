/*
 * Chains: elementwise nodes of one shape that feed each other become one node (op->join). A node joins the chains of its inputs if the
 * kernel can bind what comes in and goes out, and if nothing outside lies between: what one part reads besides must not depend on the
 * other. Chains are then recorded where all they read is, so the new graph has an order of its own.
 */
#include "graph/passes.h"

#include <string.h>

#include "base/fail.h"

#define MOST_SEEN 64  /* nodes looked at for a path around the chain; beyond, there may be one */
#define MOST_SPAN 256 /* ids from the first member of a chain to the last */
#define OPERANDS  3   /* of an elementwise node, at most */

typedef struct group {
    int members[ESKER__CHAIN_MEMBERS];
    int n;
} group;

typedef struct pass {
    const esker_graph *old;
    const esker__fusing *how;
    uint32_t storage_blocks;
    bool *needed;
    int *n_users, *group_of; /* by old id; group_of is -1 outside */
    int *late;               /* by old id: the largest id among all that must be recorded with it or before it */
    group *groups;
    size_t n_groups, capacity;
    esker_graph *graph;
    esker_node **map;
} pass;

static bool is_member(const pass *p, int id, int g)
{
    return g >= 0 && p->group_of[id] == g;
}

static bool same_shape(const esker_node *a, const esker_node *b)
{
    return esker_shape_equal(&a->type.shape, &b->type.shape);
}

/* What the chain `g` reads from outside, each once, and which of its values others read. False: too many. */
static bool describe(const pass *p, const group *g, esker__chain *out)
{
    *out = (esker__chain){.phase = p->old->nodes[g->members[0]]->phase};
    int n_strided = 0;
    for (int m = 0; m < g->n; m++) out->members[out->n_members++] = p->old->nodes[g->members[m]];
    for (int m = 0; m < g->n; m++) {
        const esker_node *member = out->members[m];
        int inside = 0;
        for (int i = 0; i < member->n_inputs; i++) {
            const esker_node *x = member->inputs[i];
            bool found = false;
            for (int k = 0; k < m; k++) found |= out->members[k] == x;
            for (int k = 0; k < out->n_outside; k++) found |= out->outside[k] == x;
            if (found) continue;
            if (out->n_outside == ESKER__CHAIN_OUTSIDE) return false;
            n_strided += !same_shape(x, member) && esker__elems(&x->type.shape) > 1;
            out->outside[out->n_outside++] = x;
        }
        for (int k = 0; k < g->n; k++)
            for (int i = 0; i < out->members[k]->n_inputs; i++) inside += out->members[k]->inputs[i] == member;
        if (p->n_users[member->id] == inside) continue;
        if (out->n_wanted == ESKER__CHAIN_WANTED) return false;
        out->wanted[out->n_wanted++] = m;
    }
    return n_strided <= 3 && (uint32_t)(out->n_outside + out->n_wanted) <= p->storage_blocks;
}

/* `late` of nodes from `from` on, up to `to`, after one of them changed; of a chain it is that of all members. */
static void update_late(pass *p, int from, int to)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int id = from; id <= to; id++) {
            const esker_node *node = p->old->nodes[id];
            int late = id, g = p->group_of[id];
            if (!p->needed[id]) continue;
            for (int i = 0; i < node->n_inputs; i++)
                if (p->late[node->inputs[i]->id] > late) late = p->late[node->inputs[i]->id];
            for (int m = 0; g >= 0 && m < p->groups[g].n; m++)
                if (p->late[p->groups[g].members[m]] > late) late = p->late[p->groups[g].members[m]];
            for (int m = 0; m < (g < 0 ? 1 : p->groups[g].n); m++) {
                int member = g < 0 ? id : p->groups[g].members[m];
                if (p->late[member] >= late) continue;
                p->late[member] = late;
                changed |= member != id || g >= 0;
                if (member < from) from = member;
            }
        }
    }
}

/* Whether `from` may depend on the chain `g`, whose first member has the least id. */
static bool depends(const pass *p, const esker_node *from, int g)
{
    int first = p->groups[g].members[0], seen[MOST_SEEN], n = 0;
    if (p->late[from->id] < first) return false;
    seen[n++] = from->id;
    for (int at = 0; at < n; at++) {
        const esker_node *node = p->old->nodes[seen[at]];
        if (is_member(p, node->id, g)) return true;
        /* Members of another chain are recorded together: what one reads, all wait for. */
        int other = p->group_of[node->id], n_members = other < 0 ? 1 : p->groups[other].n;
        for (int m = 0; m < n_members; m++) {
            const esker_node *member = other < 0 ? node : p->old->nodes[p->groups[other].members[m]];
            for (int i = 0; i < member->n_inputs; i++) {
                int id = member->inputs[i]->id;
                bool known = p->late[id] < first;
                for (int k = 0; k < n && !known; k++) known = seen[k] == id;
                if (known) continue;
                if (n == MOST_SEEN) return true;
                seen[n++] = id;
            }
        }
    }
    return false;
}

/* Whether what the chain `g` reads besides itself and `h` may depend on `h`. */
static bool goes_around(const pass *p, int g, int h)
{
    for (int m = 0; m < p->groups[g].n; m++) {
        const esker_node *member = p->old->nodes[p->groups[g].members[m]];
        for (int i = 0; i < member->n_inputs; i++) {
            const esker_node *x = member->inputs[i];
            if (!is_member(p, x->id, g) && !is_member(p, x->id, h) && depends(p, x, h)) return true;
        }
    }
    return false;
}

/* The members of both, in the order of ids: inputs before users. */
static bool unite(const group *a, const group *b, group *out)
{
    if (a->n + b->n > ESKER__CHAIN_MEMBERS) return false;
    out->n = 0;
    for (int i = 0, j = 0; i < a->n || j < b->n;)
        out->members[out->n++] = j == b->n || (i < a->n && a->members[i] < b->members[j]) ? a->members[i++]
                                                                                          : b->members[j++];
    return true;
}

/* Makes one chain of `g` and `h`, which feeds it, if that can be. */
static void merge(pass *p, int g, int h)
{
    group both;
    esker__chain chain;
    const esker_node *a = p->old->nodes[p->groups[g].members[0]], *b = p->old->nodes[p->groups[h].members[0]];
    if (!same_shape(a, b) || a->phase != b->phase || !unite(&p->groups[g], &p->groups[h], &both)) return;
    if (both.members[both.n - 1] - both.members[0] > MOST_SPAN || !describe(p, &both, &chain)) return;
    if (goes_around(p, g, h) || goes_around(p, h, g)) return;
    p->groups[g] = both;
    p->groups[h].n = 0;
    for (int m = 0; m < both.n; m++) p->group_of[both.members[m]] = g;
    update_late(p, both.members[0], both.members[both.n - 1]);
}

static esker_status find_groups(pass *p)
{
    for (size_t i = 0; i < p->old->n_nodes; i++) {
        const esker_node *node = p->old->nodes[i];
        p->group_of[i] = -1;
        update_late(p, (int)i, (int)i);
        if (!p->needed[i] || !node->op->join || !node->op->joins(node)) continue;
        if (!esker__grow((void **)&p->groups, &p->capacity, p->n_groups, sizeof *p->groups))
            return esker__fail_memory(sizeof *p->groups, "graph pass");
        int own = (int)p->n_groups++;
        p->groups[own] = (group){.members = {(int)i}, .n = 1};
        p->group_of[i] = own;
        for (int j = 0; j < node->n_inputs; j++) {
            int other = p->group_of[node->inputs[j]->id];
            if (other >= 0 && other != own) merge(p, own, other);
        }
    }
    return ESKER_OK;
}

/* ---- Recording ---- */

static esker_status record_single(pass *p, const esker_node *node, esker_node **inputs)
{
    for (int i = 0; i < node->n_inputs; i++) inputs[i] = p->map[node->inputs[i]->id];
    p->map[node->id] = esker__record_copy(p->graph, node, inputs);
    return p->map[node->id] ? ESKER_OK : esker_graph_status(p->graph);
}

static esker_status record_group(pass *p, int g)
{
    esker__chain chain;
    describe(p, &p->groups[g], &chain);
    for (int i = 0; i < chain.n_outside; i++) chain.inputs[i] = p->map[chain.outside[i]->id];
    p->graph->phase = chain.phase;
    size_t n_before = p->graph->n_nodes;
    esker_node *node = chain.members[0]->op->join(p->graph, &chain), *inputs[OPERANDS];
    if (!node) return esker_graph_status(p->graph);
    if (esker__is_barred(p->how->barred, node->op)) { /* one after the other */
        esker_status st = ESKER_OK;
        p->graph->n_nodes = n_before;
        for (int m = 0; st == ESKER_OK && m < chain.n_members; m++) st = record_single(p, chain.members[m], inputs);
        return st;
    }
    for (int m = 0; m < chain.n_members && !node->label; m++)
        if (chain.members[m]->label) esker_label(node, chain.members[m]->label);
    for (int i = 0; i < chain.n_wanted; i++) p->map[chain.members[chain.wanted[i]]->id] = esker__output(node, i);
    return ESKER_OK;
}

/* The next input of the node, or of its whole chain, that is not recorded yet; NULL if all are. */
static const esker_node *missing_input(const pass *p, const esker_node *node)
{
    int g = p->group_of[node->id], n = g < 0 ? 1 : p->groups[g].n;
    for (int m = 0; m < n; m++) {
        const esker_node *member = g < 0 ? node : p->old->nodes[p->groups[g].members[m]];
        for (int i = 0; i < member->n_inputs; i++)
            if (!p->map[member->inputs[i]->id] && !is_member(p, member->inputs[i]->id, g)) return member->inputs[i];
    }
    return NULL;
}

/* Depth first, with a stack of its own: graphs may be deep. */
static esker_status record_all(pass *p)
{
    size_t max_inputs = 1;
    for (size_t i = 0; i < p->old->n_nodes; i++)
        if ((size_t)p->old->nodes[i]->n_inputs > max_inputs) max_inputs = (size_t)p->old->nodes[i]->n_inputs;
    bool *done = esker__calloc(p->n_groups + 1, sizeof *done);
    const esker_node **stack = esker__malloc((p->old->n_nodes + 1) * sizeof *stack);
    esker_node **inputs = esker__malloc(max_inputs * sizeof *inputs);
    esker_status st = done && stack && inputs ? ESKER_OK
                                              : esker__fail_memory(p->old->n_nodes * sizeof *stack, "graph pass");
    for (size_t i = 0; st == ESKER_OK && i < p->old->n_nodes; i++) {
        size_t depth = 0;
        if (p->needed[i]) stack[depth++] = p->old->nodes[i];
        while (st == ESKER_OK && depth) {
            const esker_node *node = stack[depth - 1];
            int g = p->group_of[node->id];
            const esker_node *missing = p->map[node->id] || (g >= 0 && done[g]) ? NULL : missing_input(p, node);
            if (missing && depth > p->old->n_nodes) {
                st = esker__fail(ESKER_ERR_INTERNAL, "graph pass: a chain depends on itself");
            } else if (missing) {
                stack[depth++] = missing;
                continue;
            }
            if (st != ESKER_OK) break;
            if (g >= 0 && p->groups[g].n > 1) {
                if (!done[g]) st = record_group(p, g);
                done[g] = true;
            } else if (!p->map[node->id]) {
                st = record_single(p, node, inputs);
            }
            depth--;
        }
    }
    esker__free(done);
    esker__free(stack);
    esker__free(inputs);
    return st;
}

esker_status esker__pass_chain(const esker_graph *graph, const esker__fusing *how, esker_node *const *outputs,
                               int n_outputs, esker_graph **out_graph, esker_node **out_outputs)
{
    uint32_t storage_blocks = how->limits->storage_blocks;
    pass p = {.old = graph, .how = how, .storage_blocks = storage_blocks < 8 ? storage_blocks : 8};
    *out_graph = NULL;
    esker_status st = esker_graph_create(graph->params, &p.graph);
    if (st != ESKER_OK) return st;
    p.needed = esker__calloc(graph->n_nodes + 1, sizeof *p.needed);
    p.n_users = esker__calloc(graph->n_nodes + 1, sizeof *p.n_users);
    p.group_of = esker__calloc(graph->n_nodes + 1, sizeof *p.group_of);
    p.late = esker__calloc(graph->n_nodes + 1, sizeof *p.late);
    p.map = esker__calloc(graph->n_nodes + 1, sizeof *p.map);
    if (!p.late || !p.needed || !p.n_users || !p.group_of || !p.map) {
        st = esker__fail_memory(graph->n_nodes * sizeof *p.map, "graph pass");
        goto done;
    }
    esker__mark_needed(graph, outputs, n_outputs, p.needed);
    for (size_t i = 0; i < graph->n_nodes; i++)
        for (int j = 0; p.needed[i] && j < graph->nodes[i]->n_inputs; j++) p.n_users[graph->nodes[i]->inputs[j]->id]++;
    for (int i = 0; i < n_outputs; i++) p.n_users[outputs[i]->id]++;
    st = find_groups(&p);
    if (st == ESKER_OK) st = record_all(&p);
    if (st == ESKER_OK) st = esker_graph_status(p.graph);
    if (st != ESKER_OK) goto done;
    for (int i = 0; i < n_outputs; i++) out_outputs[i] = p.map[outputs[i]->id];
    *out_graph = p.graph;
    p.graph = NULL;
done:
    esker_graph_destroy(p.graph);
    esker__free(p.needed);
    esker__free(p.n_users);
    esker__free(p.group_of);
    esker__free(p.late);
    esker__free(p.groups);
    esker__free(p.map);
    return st;
}
