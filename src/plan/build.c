/* From graph to dispatches: the passes over the graph, and then what each op's lowering describes. */
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "graph/passes.h"
#include "plan/build.h"
#include "plan/copy.h"
#include "plan/layout.h"
#include "plan/near.h"
#include "plan/recompute.h"
#include "plan/stacked.h"
#include "plan/views.h"

/* ---- The interface of lowering.h ---- */

const esker_limits *esker__lowering_limits(const esker__lowering *l)
{
    return &l->plan->limits;
}

esker__family esker__lowering_family(const esker__lowering *l)
{
    return l->plan->family;
}

/* Whether the value of `node` is there when the node being lowered, and what was taken along, is computed. */
static bool is_there(const esker__lowering *l, const esker_node *node)
{
    uint64_t offset;
    while ((node->op->flags & ESKER__OP_VIEW) || esker__is_piece(l, node, &offset)) node = node->inputs[0];
    if (node->op == &esker__op_stacked && esker__parameters_are_adjacent(node->inputs, node->n_inputs)) return true;
    if ((node->op->flags & ESKER__OP_SOURCE) && node->op != &esker__op_output) return true;
    const esker_node *made_by = node->producer;
    bool there = made_by == l->node || (l->lowered[made_by->id] && !l->effect[made_by->id]);
    for (int i = 0; i < l->n_taken; i++) there |= made_by == l->taken[i];
    return there;
}

bool esker__can_take_along(const esker__lowering *l, const esker_node *node)
{
    uint64_t offset;
    if (!l->fuse || l->n_taken == ESKER__MOST_TAKEN || !l->needed[node->id] || l->lowered[node->id] ||
        node->phase != l->node->phase || (node->op->flags & ESKER__OP_EFFECT) || esker__is_piece(l, node, &offset))
        return false;
    for (int i = 0; i < node->n_inputs; i++)
        if (!is_there(l, node->inputs[i])) return false;
    return true;
}

void esker__take_along(esker__lowering *l, const esker_node *node)
{
    l->taken[l->n_taken++] = node;
}

void esker__leave_behind(esker__lowering *l, int n)
{
    if (l->n_taken > n) l->n_taken = n;
}

bool esker__output_is_used(const esker__lowering *l, const esker_node *node, int output)
{
    return l->readers[node->id + output] > 0;
}

bool esker__is_checked(const esker__lowering *l)
{
    return l->check;
}

bool esker__stores_halves(const esker__lowering *l)
{
    return l->plan->float16;
}

int esker__readers(const esker__lowering *l, const esker_node *node)
{
    return l->readers[node->id];
}

void esker__lowering_fail(esker__lowering *l, esker_status status)
{
    if (l->status == ESKER_OK) l->status = status;
}

esker_status esker__step_slot(esker__lowering *l, uint32_t *out_slot)
{
    return esker__step_slot_of(l, l->node->op, l->node->attr, out_slot);
}

esker_status esker__step_slot_of(esker__lowering *l, const esker__op *op, const void *attr, uint32_t *out_slot)
{
    esker_plan *plan = l->plan;
    for (size_t i = 0; i < plan->n_step_ops; i++) {
        const esker__plan_step_op *s = &plan->step_ops[i];
        if (s->op != op || memcmp(s->attr, attr, op->attr_bytes)) continue;
        *out_slot = s->slot;
        return ESKER_OK;
    }
    uint32_t slot = (uint32_t)plan->n_step_ops * 2;
    if (slot + 2 > ESKER__STEP_SLOTS)
        return esker__fail(ESKER_ERR_LIMIT, "%s: more than %d operations that change with the step", op->name,
                           ESKER__STEP_SLOTS / 2);
    if (!esker__grow((void **)&plan->step_ops, &plan->step_ops_capacity, plan->n_step_ops, sizeof *plan->step_ops))
        return esker__fail_memory(sizeof *plan->step_ops, "plan");
    void *kept = esker__pool_alloc(&plan->pool, op->attr_bytes);
    if (!kept) return esker__fail_memory(op->attr_bytes, "plan");
    memcpy(kept, attr, op->attr_bytes);
    plan->step_ops[plan->n_step_ops++] = (esker__plan_step_op){.op = op, .attr = kept, .slot = slot};
    *out_slot = slot;
    return ESKER_OK;
}

/* All of its bytes, each read where it is: no other operand sees some of them in another place. */
static bool is_read_whole(const esker_plan *plan, const esker__plan_dispatch *d, int value)
{
    bool whole = true;
    for (int i = 0; i < d->n_operands; i++)
        if (d->operands[i].value == value && !d->operands[i].write)
            whole = whole && d->operands[i].offset == 0 && d->operands[i].n_bytes == plan->values[value].n_bytes;
    return whole;
}

static void note_in_place(esker__lowering *l, const esker_node *node)
{
    esker_plan *plan = l->plan;
    if (plan->n_dispatches != l->first_dispatch + 1) return;
    esker__plan_dispatch *d = &plan->dispatches[l->first_dispatch];
    const unsigned flags[2] = {ESKER__OP_IN_PLACE_0, ESKER__OP_IN_PLACE_1};
    for (int i = 0; i < 2 && i < node->n_inputs; i++)
        if ((node->op->flags & flags[i]) && esker__node_bytes(node->inputs[i]) == esker__node_bytes(node) &&
            is_read_whole(plan, d, esker__value_of(l, node->inputs[i]).id))
            d->in_place[i] = esker__value_of(l, node->inputs[i]).id;
}

/* A node's estimate, shared among its dispatches that named none of their own. */
static void share_cost(esker__lowering *l, const esker_node *node)
{
    esker__cost cost = {0};
    if (node->op->cost)
        node->op->cost(node, &cost);
    else {
        for (int i = 0; i < node->n_inputs; i++) cost.bytes += (double)esker__node_bytes(node->inputs[i]);
        cost.bytes += (double)esker__node_bytes(node);
        cost.flops = (double)esker__node_bytes(node) / 4;
    }
    size_t n = l->plan->n_dispatches - l->first_dispatch;
    for (size_t i = l->first_dispatch; i < l->plan->n_dispatches; i++) {
        esker__cost *own = &l->plan->dispatches[i].cost;
        if (own->flops == 0 && own->bytes == 0) *own = (esker__cost){cost.flops / (double)n, cost.bytes / (double)n};
    }
}

static esker_status lower_node(esker__lowering *l, const esker_node *node)
{
    l->node = node;
    l->first_dispatch = l->plan->n_dispatches;
    l->effect[node->id] = node->op->flags & ESKER__OP_EFFECT;
    for (int i = 0; i < node->n_inputs; i++) {
        uint64_t offset;
        bool whole;
        if (l->effect[esker__shown_by(l, node->inputs[i], &offset, &whole)->producer->id]) l->effect[node->id] = true;
    }
    if (!node->op->lower) return esker__fail(ESKER_ERR_INTERNAL, "%s: cannot be computed on a device", node->op->name);
    if (l->check && !node->op->reference)
        esker__log(ESKER_LOG_WARNING, "check mode: %s has no reference and is not compared; what reads it is",
                   node->op->name);
    esker_status st = esker__lower_choosing(l, node);
    if (st != ESKER_OK) return st;
    note_in_place(l, node);
    share_cost(l, node);
    esker__hoist_node(l);
    l->lowered[node->id] = true;
    for (int i = 0; i < l->n_taken; i++) {
        l->lowered[l->taken[i]->id] = true;
        l->made_by[l->taken[i]->id] = node->id;
    }
    l->n_taken = 0;
    return ESKER_OK;
}

/* Where no driver reports a lost job, the step's last dispatch leaves a mark that the CPU looks for. */
static esker_status lower_mark(esker__lowering *l)
{
    if (l->plan->limits.reports_reset || l->plan->open) return ESKER_OK;
    l->node = NULL;
    int value = esker__add_value(l->plan, ESKER__STORAGE_OUTPUTS, 0, 16, "mark");
    if (value < 0) return ESKER_ERR_NO_MEMORY;
    l->plan->marks = true;
    return esker__emit(l, &(esker__dispatch_desc){.kernel = "runtime/mark",
                                                  .groups = {1, 1, 1},
                                                  .operands = {{.value = {value}, .write = true}},
                                                  .n_operands = 1,
                                                  .uses_step = true,
                                                  .cost = {1, 16}});
}

static esker_status lower_graph(esker__lowering *l, esker_node **outputs, int n_outputs)
{
    esker_graph *graph = l->graph;
    esker_status st = ESKER_OK;
    esker__mark_needed(graph, outputs, n_outputs, l->needed);
    esker__place_pieces(l);
    esker__place_inside(l);
    st = esker__hoist_begin(l);
    for (int i = 0; i < n_outputs; i++) l->readers[outputs[i]->id]++;
    for (size_t i = 0; i < graph->n_nodes; i++) {
        bool reads = l->needed[i] && graph->nodes[i]->op != &esker__op_output; /* that is a further output of its input */
        for (int j = 0; reads && j < graph->nodes[i]->n_inputs; j++) l->readers[graph->nodes[i]->inputs[j]->id]++;
    }
    for (size_t i = 0; st == ESKER_OK && i < graph->n_nodes; i++) {
        const esker_node *node = graph->nodes[i];
        uint64_t offset;
        if (!l->needed[i] || l->lowered[i] || (node->op->flags & (ESKER__OP_SOURCE | ESKER__OP_VIEW)) ||
            esker__is_piece(l, node, &offset))
            continue;
        st = lower_node(l, node);
    }
    if (st != ESKER_OK) return st;
    l->plan->outputs = esker__pool_alloc(&l->plan->pool, (size_t)n_outputs * sizeof *l->plan->outputs);
    if (!l->plan->outputs) return esker__fail_memory((size_t)n_outputs * sizeof *l->plan->outputs, "plan");
    l->plan->n_outputs = n_outputs;
    for (int i = 0; i < n_outputs; i++)
        l->plan->outputs[i] = (esker__plan_output){.value = esker__value_of(l, outputs[i]).id,
                                                   .n_bytes = esker__node_bytes(outputs[i])};
    return lower_mark(l);
}

/* What is computed inside of another value has that one's, perhaps of one that is inside itself, which has a higher id. */
static void note_inside(esker__lowering *l)
{
    for (size_t i = l->graph->n_nodes; i-- > 0;) {
        int in = l->inside[i];
        if (in < 0) continue;
        l->value_of[i] = l->value_of[in];
        if (l->inside[in] >= 0) l->inside_at[i] += l->inside_at[in];
    }
}

/* Which nodes nothing but quarantined kernels computes: fusion may have made them of others that are fit. */
static void note_unfit(esker__lowering *l)
{
    esker_plan *plan = l->plan;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        const esker__op *op = d->node < 0 ? NULL : l->graph->nodes[d->node]->op;
        bool known = false;
        if (!plan->kernels[d->kernel].quarantined) continue;
        for (int i = 0; i < plan->n_unfit; i++) known |= plan->unfit[i] == op;
        if (known || plan->n_unfit == ESKER__MAX_UNFIT) continue;
        if (!plan->n_unfit) plan->unfit_kernel = d->kernel;
        plan->unfit[plan->n_unfit++] = op;
    }
}

/* Copies are recorded, then the arrays by node id are made, then everything is lowered. */
static esker_status build(esker__lowering *l, esker_node **outputs, int n_outputs)
{
    esker_graph *graph = l->graph;
    esker__claim *claims = NULL;
    size_t n_claims = 0, n_nodes = graph->n_nodes;
    esker_status st = esker__add_inputs(l);
    if (st == ESKER_OK) st = esker__find_claims(l, outputs, n_outputs, &claims, &n_claims);
    if (st != ESKER_OK) goto done;
    n_nodes = graph->n_nodes;
    l->value_of = esker__calloc(n_nodes, sizeof *l->value_of);
    l->claim = esker__calloc(n_nodes, sizeof *l->claim);
    l->inside = esker__calloc(n_nodes, sizeof *l->inside);
    l->inside_at = esker__calloc(n_nodes, sizeof *l->inside_at);
    l->needed = esker__calloc(n_nodes, sizeof *l->needed);
    l->readers = esker__calloc(n_nodes, sizeof *l->readers);
    l->effect = esker__calloc(n_nodes, sizeof *l->effect);
    l->lowered = esker__calloc(n_nodes, sizeof *l->lowered);
    l->made_by = esker__calloc(n_nodes, sizeof *l->made_by);
    l->changed = esker__calloc(l->plan->params->n, sizeof *l->changed);
    if (!l->value_of || !l->claim || !l->inside || !l->inside_at || !l->needed || !l->readers || !l->effect ||
        !l->lowered || !l->made_by || !l->changed) {
        st = esker__fail_memory(n_nodes * sizeof *l->value_of, "plan");
        goto done;
    }
    for (size_t i = 0; i < n_nodes; i++) l->value_of[i] = l->inside[i] = -1, l->made_by[i] = (int)i;
    for (size_t i = 0; i < n_claims; i++) l->claim[claims[i].root->id] = claims[i].value;
    st = lower_graph(l, outputs, n_outputs);
    note_inside(l);
    if (st == ESKER_OK && l->plan->float16) st = esker__plan_halve(l);
    if (st == ESKER_OK) note_unfit(l);
    if (st == ESKER_OK && l->check) {
        st = esker__checker_create(l->plan, graph, l->value_of, l->inside_at, l->made_by);
        l->graph = NULL;
    }
done:
    esker__free(claims);
    esker__free(l->value_of);
    esker__free(l->claim);
    esker__free(l->inside);
    esker__free(l->inside_at);
    esker__free(l->needed);
    esker__free(l->readers);
    esker__free(l->effect);
    esker__free(l->lowered);
    esker__free(l->made_by);
    esker__free(l->changed);
    esker__free(l->bars);
    return st;
}

esker_status esker__plan_build(esker_plan *plan, esker_graph *graph, esker_node *const *outputs, int n_outputs, bool fuse,
                               bool check)
{
    esker_graph *simple = NULL, *fused = NULL;
    esker_node **mapped = esker__calloc((size_t)n_outputs, sizeof *mapped);
    if (!mapped) return esker__fail_memory((size_t)n_outputs * sizeof *mapped, "plan");
    esker__params_fix(plan->params);
    plan->outputs_bytes = ESKER__OUTPUTS_HEAD_BYTES;
    const esker__fusing how = {.limits = &plan->limits,
                               .family = plan->family,
                               .barred = plan->barred,
                               .fours = plan->forced && !plan->forced->problem && !strcmp(plan->forced->name, "fours")};
    esker_status (*const passes[])(const esker_graph *, const esker__fusing *, esker_node *const *, int, esker_graph **,
                                   esker_node **) = {esker__pass_fold, esker__pass_fuse, esker__pass_layout,
                                                     esker__pass_chain};
    bool recomputes = esker__setting("recompute", plan->family == ESKER__FAMILY_NVIDIA) &&
                      !(plan->barred && plan->barred->n);
    esker_status st = esker__pass_simplify(graph, outputs, n_outputs, &simple, mapped);
    for (size_t i = 0; i < sizeof passes / sizeof *passes && st == ESKER_OK && fuse; i++) {
        st = passes[i](simple, &how, mapped, n_outputs, &fused, mapped);
        if (st != ESKER_OK) break;
        if (!fused) continue; /* there was nothing to do */
        esker_graph_destroy(simple);
        simple = fused;
    }
    /* Not measured elsewhere; where memory is what runs out, it may be worth a little time. */
    if (st == ESKER_OK && fuse && !plan->open && recomputes) {
        st = esker__pass_recompute(simple, &plan->limits, mapped, n_outputs, &fused, mapped);
        if (st == ESKER_OK && fused) {
            esker_graph_destroy(simple);
            simple = fused;
        }
    }
    /* Not usual: inputs may be tensors on the device, where a copy gains nothing (docs/performance.md). Open plans always get such tensors. */
    if (st == ESKER_OK && fuse && !plan->open && esker__setting("near", false)) {
        st = esker__pass_near(simple, mapped, n_outputs, &fused, mapped);
        if (st == ESKER_OK && fused) {
            esker_graph_destroy(simple);
            simple = fused;
        }
    }
    if (st == ESKER_OK) {
        esker__lowering l = {.plan = plan,
                             .graph = simple,
                             .params_value = -1,
                             .gradients_value = -1,
                             .fuse = fuse || (plan->forced && plan->forced->takes_along),
                             .check = check};
        for (int i = 0; i < ESKER__MAX_STATE; i++) l.state_values[i] = -1;
        st = build(&l, mapped, n_outputs);
        simple = l.graph;
    }
    if (st == ESKER_OK && plan->keep_graph) {
        *plan->keep_graph = simple;
        simple = NULL;
    }
    esker_graph_destroy(simple);
    esker__free(mapped);
    return st;
}
