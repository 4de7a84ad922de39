/*
 * Updates by what computes the gradients. In a plan with fusion a gradient that the update alone reads need not be written: the kernel that ends its
 * computation reads and writes the parameter and its states in its place (optim/rules). What is left, the gradients of operations that cannot, stays
 * with the optimizer's own node, whose other inputs are then outputs of nodes that update, which have no memory.
 *
 * Such a node changes parameters, so it is recorded where the optimizer is, behind everything that reads them, and runs as soon as they all have.
 */
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "graph/params.h"
#include "ops/optimizer.h"
#include "ops/ops.h"

/* ---- Which gradients ---- */

/* One trained parameter, and what computes its gradient. */
typedef struct gradient {
    const esker__param *param;
    const esker_node *root; /* an output that it is, or a piece of which */
    uint64_t at;            /* the piece begins with this element */
    bool alone;             /* nobody else reads it */
    bool taken;             /* by a node that updates */
} gradient;

typedef struct search {
    esker_graph *graph;
    const esker__optimizer_attr *attr;
    const esker__fusion *fusion;
    gradient *list;
    int n;
} search;

/* Whether nobody but the update, and if `clips` what clips before it, reads the node, or what it shows. */
static bool is_read_alone(const esker__fusion *fusion, const esker_node *old, bool clips)
{
    for (int n = clips ? 2 : 1; fusion->n_users[old->id] == n; old = old->inputs[0], n = 1)
        if (!(old->op->flags & ESKER__OP_VIEW)) return true;
    return false;
}

static void find_root(gradient *g, const esker_node *x)
{
    int64_t first = 0;
    for (;; x = x->inputs[0]) {
        if (x->op->piece && x->op->piece(x, &first))
            g->at += (uint64_t)first;
        else if (!(x->op->flags & ESKER__OP_VIEW))
            break;
    }
    g->root = x;
}

static bool same_settings(const esker__optimizer_attr *attr, int a, int b)
{
    return !memcmp(&attr->groups[a], &attr->groups[b], sizeof attr->groups[a]);
}

/* The parameters whose gradients are the elements of `root`, all of them, lie as these do: their range. */
static bool find_range(const search *s, const esker_node *root, esker__update_range *out)
{
    const gradient *first = NULL;
    uint64_t covered = 0;
    for (int i = 0; i < s->n; i++)
        if (s->list[i].root == root && (!first || s->list[i].at < first->at)) first = &s->list[i];
    if (!first || first->at) return false;
    for (int i = 0; i < s->n; i++) {
        const gradient *g = &s->list[i];
        if (g->root != root) continue;
        if (!g->alone || g->param->offset != first->param->offset + g->at ||
            !same_settings(s->attr, g->param->group, first->param->group))
            return false;
        covered += (uint64_t)g->param->n_elems;
    }
    *out = (esker__update_range){first->param->group, first->param->offset, covered};
    return covered == (uint64_t)esker__elems(&root->type.shape);
}

static bool is_gradient(const search *s, const esker_node *root)
{
    for (int i = 0; i < s->n; i++)
        if (s->list[i].root == root) return true;
    return false;
}

/* The ranges of output 0 of `producer`, and of output 1 if that is a gradient, too, and `all` trained parameters are updated so. */
static bool describe(const search *s, esker_node *producer, bool all, esker__update *out)
{
    memset(out, 0, sizeof *out);
    out->optimizer = *s->attr;
    for (int o = 0; o < producer->op->n_outputs && o < ESKER__UPDATE_RANGES; o++) {
        const esker_node *root = esker__output(producer, o);
        if (o && !is_gradient(s, root)) continue;
        if (!find_range(s, root, &out->ranges[o])) return false;
        if (o && !all) out->ranges[o].n = 0;
    }
    const esker__op *op = producer->op;
    return op->updating && (!op->may_update || op->may_update(producer, out, s->fusion));
}

static bool is_covered(const search *s)
{
    for (int i = 0; i < s->n; i++) {
        esker__update update;
        if (!describe(s, s->list[i].root->producer, true, &update)) return false;
    }
    return true;
}

static esker_status find_gradients(search *s, const esker_node *node, esker_node *const *inputs)
{
    const esker_params *params = s->graph->params;
    s->list = esker__calloc((size_t)node->n_inputs, sizeof *s->list);
    if (!s->list) return esker__fail_memory((size_t)node->n_inputs * sizeof *s->list, "optimizer");
    for (size_t p = 0; p < params->n && s->n < node->n_inputs; p++) {
        if (params->list[p].frozen) continue;
        gradient *g = &s->list[s->n];
        *g = (gradient){.param = &params->list[p]};
        g->alone = is_read_alone(s->fusion, node->inputs[s->n], s->attr->clip.value > 0);
        find_root(g, inputs[s->n]);
        s->n++;
    }
    return ESKER_OK;
}

/*
 * Let one producer update: its outputs in `own`, the optimizer's inputs, are those of the new node from now on. A bias beside it that stays with the
 * optimizer does so because others do, in one range: an update here and there would cut that into many.
 */
static bool take(search *s, esker_node *producer, bool all, esker_node **own)
{
    esker__update update;
    if ((!all && (producer->op->flags & ESKER__OP_UPDATES_WITH_ALL)) || !describe(s, producer, all, &update)) return false;
    size_t n_before = s->graph->n_nodes;
    esker_node *made = producer->op->updating(producer, &update, s->fusion);
    if (!made) return false;
    if (esker__is_barred(s->fusion->barred, made->op)) {
        s->graph->n_nodes = n_before;
        return false;
    }
    if (producer->label) esker_label(made, producer->label);
    for (int i = 0; i < s->n; i++) {
        gradient *g = &s->list[i];
        if (g->root->producer != producer) continue;
        esker_node *output = esker__output(made, g->root->output);
        /* Of several parameters the shape of each: what they show has no memory, and nobody reads it. */
        own[i] = g->at || g->param->n_elems != esker__elems(&output->type.shape)
                     ? esker_slice(esker_reshape(output, &(esker_shape){1, {-1}}),
                                   &(esker_range){.start = (int64_t)g->at, .stop = (int64_t)g->at + g->param->n_elems}, 1)
                     : output;
        own[i] = esker_reshape(own[i], &g->param->shape);
        g->taken = true;
    }
    return true;
}

esker_node *esker__update_with_gradients(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                         const esker__fusion *fusion)
{
    search s = {.graph = graph, .attr = node->attr, .fusion = fusion};
    esker_node **own = NULL, *made = NULL;
    bool any = false;
    if (s.attr->keeps_gradients || s.attr->has_clip || !graph->params->fixed || !esker__optimizer_rule(s.attr) ||
        esker__setting("update_apart", false))
        return NULL;
    esker_status st = find_gradients(&s, node, inputs);
    own = esker__pool_alloc(&graph->pool, (size_t)node->n_inputs * sizeof *own);
    if (st == ESKER_OK && !own) st = esker__fail_memory((size_t)node->n_inputs * sizeof *own, "optimizer");
    if (st != ESKER_OK) {
        esker__graph_fail(graph, st);
        goto done;
    }
    memcpy(own, inputs, (size_t)node->n_inputs * sizeof *own);
    bool all = is_covered(&s), left = false;
    for (int i = 0; i < s.n; i++)
        if (!s.list[i].taken) any |= take(&s, s.list[i].root->producer, all, own);
    for (int i = 0; i < s.n; i++) left |= !own[i] || !esker__is_updated(own[i]);
    if (any) made = left ? esker__record_in(graph, node->op, node->attr, own, node->n_inputs) : own[0];
done:
    esker__free(s.list);
    return made;
}

/* ---- In lowerings ---- */

const esker__update *esker__update_of(const esker_node *node)
{
    const esker__op *op = node->producer->op;
    if (!(op->flags & ESKER__OP_UPDATING)) return NULL;
    return (const void *)((const char *)node->producer->attr + op->attr_bytes - sizeof(esker__update));
}

esker_node *esker__record_updating(const esker__op *op, const esker_node *node, const esker__update *update)
{
    char *attr = esker__pool_alloc(&node->graph->pool, op->attr_bytes);
    if (!attr) return esker__graph_fail(node->graph, esker__fail_memory(op->attr_bytes, "graph pass"));
    memset(attr, 0, op->attr_bytes);
    memcpy(attr, node->attr, node->op->attr_bytes);
    memcpy(attr + op->attr_bytes - sizeof *update, update, sizeof *update);
    esker__phase phase = node->graph->phase;
    node->graph->phase = node->phase;
    esker_node *made = esker__record(op, attr, node->inputs, node->n_inputs);
    node->graph->phase = phase;
    return made;
}

bool esker__update_fits(const esker__update *update, uint32_t own_blocks, bool sums, const esker__fusion *fusion)
{
    uint32_t blocks = 1 + (uint32_t)esker__optimizer_states(&update->optimizer);
    uint32_t more = !sums ? 0 : update->ranges[1].n ? blocks : 1;
    /* Small GPUs have no registers for it. */
    return fusion->limits->group_invocations >= 1024 && own_blocks + blocks + more <= fusion->storage_blocks;
}

static void add_range(esker__lowering *l, const esker__update *update, const esker__update_range *range, const char *what,
                      esker__dispatch_desc *d, esker__text *defines)
{
    for (int i = 0; i <= esker__optimizer_states(&update->optimizer); i++) {
        esker__text_add(defines, "%s_%c %d\n", what, "XST"[i], d -> n_operands);
        d->operands[d->n_operands++] = (esker__operand){.value = i ? esker__state_value(l, i - 1) : esker__params_value(l),
                                                        .write = true,
                                                        .offset_bytes = range->first * 4,
                                                        .n_bytes = range->n * 4};
    }
}

void esker__results_emit(esker__lowering *l, const esker_node *node, int output, bool sums, bool quads,
                         esker__dispatch_desc *d, esker__text *defines)
{
    esker_node *result = esker__output((esker_node *)node, output),
               *beside = sums ? esker__output((esker_node *)node, 1) : NULL;
    const esker__update *update = esker__update_of(node);
    const esker__update_range *range = esker__updated(result), *range_beside = beside ? esker__updated(beside) : NULL;
    if (range)
        add_range(l, update, range, "UPDATE", d, defines);
    else
        d->operands[d->n_operands++] = esker__write(l, result);
    if (beside) esker__text_add(defines, "SUMS %d\n", d->n_operands);
    if (range_beside) {
        esker__text_add(defines, "SUMS_UPDATE 1\n");
        add_range(l, update, range_beside, "SUMS", d, defines);
    } else if (beside) {
        d->operands[d->n_operands++] = esker__write(l, beside);
    }
    if (!range) return;
    struct {
        uint32_t slot;
        float settings[4]; /* lr_scale and decay of the result, and of what is beside it */
        float most;        /* of gradients; 0: they are not clamped */
    } table = {.most = update->optimizer.clip.value};
    const esker__optimizer_attr *attr = &update->optimizer;
    _Static_assert(sizeof attr->groups[0] == 2 * sizeof(float), "lr_scale and decay");
    memcpy(table.settings, &attr->groups[range->group], sizeof attr->groups[0]);
    if (range_beside) memcpy(table.settings + 2, &attr->groups[range_beside->group], sizeof attr->groups[0]);
    esker_status st = esker__step_slot_of(l, esker__optimizer_ops[attr->kind], attr, &table.slot);
    if (st != ESKER_OK) esker__lowering_fail(l, st);
    uint32_t words[8] = {0}; /* whole vec4 */
    memcpy(words, &table, sizeof table);
    esker__text_add(defines, "%sUPDATE %d\n%s", esker__optimizer_rule(attr), quads ? 4 : 1,
                    table.most > 0 ? "UPDATE_CLAMP 1\n" : "");
    d->operands[d->n_operands++] = (esker__operand){.value = esker__table(l, words, 8), .uniform = true};
}

/* ---- What else such ops need ---- */

void esker__update_reference(const esker__reference *r)
{
    const esker__update *update = esker__update_of(r->node);
    const esker__optimizer_attr *a = &update->optimizer;
    double lr = r->lr > 0 ? r->lr : a->lr;
    for (int o = 0; o < r->node->op->n_outputs && o < ESKER__UPDATE_RANGES; o++) {
        const esker__update_range *range = &update->ranges[o];
        for (uint64_t i = 0; i < range->n; i++) {
            double *state[3] = {NULL};
            for (int s = 0; s < esker__optimizer_states(a); s++) state[s] = &r->state[s][range->first + i];
            esker__optimizer_element(a, (int)range->group, lr, (double)r->step + 1, &r->params[range->first + i],
                                     esker__clip(a, 1, r->out[o][i]), state);
        }
    }
}

void esker__update_cost(const esker_node *node, esker__cost *cost)
{
    const esker__update *update = esker__update_of(node);
    for (int o = 0; update && o < ESKER__UPDATE_RANGES; o++) {
        double n = (double)update->ranges[o].n;
        esker__cost own = esker__update_cost_of(&update->optimizer, n);
        cost->flops += own.flops;
        /* The gradient is neither written, as the result was counted, nor read; that of a sum beside it was not counted. */
        cost->bytes += own.bytes - 4 * (o == 0 ? 2 : 1) * n;
    }
}

void esker__update_title(const esker_node *node, esker__text *text)
{
    const esker__update *update = esker__update_of(node);
    if (update) esker__text_add(text, "+%s", esker_optimizer_name((esker_optimizer_kind)update->optimizer.kind));
}
