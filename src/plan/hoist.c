/*
 * What does not change from step to step. While nodes are lowered, every dispatch that reads nothing but constants, parameters that the plan
 * leaves alone, and what other such dispatches wrote, is marked; a value is fixed if all that write it are. The marked dispatches are the
 * plan's prologue: placed in front, run before the first step, and again where a parameter that they read has changed. Values that cross
 * from the prologue into the steps get memory that nothing else uses.
 */
#include <string.h>

#include "base/fail.h"
#include "graph/passes.h"
#include "plan/build.h"

/* What may be kept: results that are larger than this many times what they are made from cost more memory than the work is worth. */
#define MOST_GROWTH 16
#define SMALL_BYTES 65536

/* ---- While lowering ---- */

esker_status esker__hoist_begin(esker__lowering *l)
{
    esker_plan *plan = l->plan;
    const esker_params *params = plan->params;
    esker__mark_changed(l->graph, l->needed, l->changed);
    plan->changes = esker__pool_alloc(&plan->pool, params->n * sizeof *plan->changes);
    if (!plan->changes) return esker__fail_memory(params->n * sizeof *plan->changes, "plan");
    for (size_t p = 0; p < params->n; p++)
        if (l->changed[p]) plan->changes[plan->n_changes++] = (int)p;
    return ESKER_OK;
}

static bool grows_too_much(const esker__plan_dispatch *d)
{
    uint64_t read = 0, written = 0;
    for (int i = 0; i < d->n_operands; i++) *(d->operands[i].write ? &written : &read) += d->operands[i].n_bytes;
    return written > SMALL_BYTES && written / MOST_GROWTH > read;
}

static bool stays(const esker_plan *plan, const esker__plan_dispatch *d)
{
    for (int i = 0; i < d->n_operands; i++) {
        const esker__plan_value *value = &plan->values[d->operands[i].value];
        if (!value->fixed || (d->operands[i].write && value->storage != ESKER__STORAGE_ARENA)) return false;
    }
    return true;
}

/* Unmarks dispatches, in the order of lowering, until all that are left are right. */
static void settle(esker_plan *plan, size_t first)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t p = first; p < plan->n_dispatches; p++) {
            esker__plan_dispatch *d = &plan->dispatches[p];
            if (d->prologue && !stays(plan, d)) d->prologue = false, again = true;
            for (int i = 0; !d->prologue && i < d->n_operands; i++) {
                esker__plan_value *value = &plan->values[d->operands[i].value];
                /* Written by steps; or memory that is used again once a step has read it. */
                bool unfixed = value->storage == ESKER__STORAGE_ARENA && value->fixed &&
                               (d->operands[i].write || value->last_write > (int)p);
                if (unfixed) value->fixed = false, again = true;
            }
        }
    }
}

void esker__hoist_node(esker__lowering *l)
{
    esker_plan *plan = l->plan;
    for (size_t p = l->first_dispatch; p < plan->n_dispatches; p++) {
        esker__plan_dispatch *d = &plan->dispatches[p];
        d->prologue = !plan->open && !d->uses_step && !d->effect && !grows_too_much(d);
    }
    settle(plan, l->first_dispatch);
}

bool esker__is_fixed(esker__lowering *l, const esker_node *node)
{
    l->plan->asks_fixed = true;
    int value = l->plan->open ? -1 : esker__value_of(l, node).id;
    return value >= 0 && l->plan->values[value].fixed;
}

/* ---- Operands in another form ---- */

static bool same_request(const esker__plan_dispatch *a, const esker__plan_dispatch *b)
{
    bool same = a->kernel == b->kernel && a->n_operands == b->n_operands && a->n_params == b->n_params &&
                !memcmp(a->groups, b->groups, sizeof a->groups) &&
                !memcmp(a->params, b->params, (size_t)a->n_params * sizeof *a->params) &&
                a->operands[a->n_operands - 1].n_bytes == b->operands[b->n_operands - 1].n_bytes;
    for (int i = 0; same && i < a->n_operands - 1; i++) {
        const esker__plan_operand *x = &a->operands[i], *y = &b->operands[i];
        same = x->value == y->value && x->offset == y->offset && x->n_bytes == y->n_bytes;
    }
    return same;
}

esker_status esker__prepare(esker__lowering *l, const esker__dispatch_desc *desc, uint64_t n_bytes, esker__value *out)
{
    esker_plan *plan = l->plan;
    esker__dispatch_desc d = *desc;
    bool fixed = !plan->open;
    *out = esker__scratch(l, n_bytes);
    if (l->status != ESKER_OK) return l->status;
    plan->values[out->id].may_halve = strncmp(d.kernel, "conv/winograd", 13) !=
                                      0; /* whose sums would lose more than halves do */
    if (d.n_operands < 1 || d.n_operands > 7)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d operands to prepare another from", d.kernel, d.n_operands);
    for (int i = 0; i < d.n_operands; i++) fixed = fixed && plan->values[d.operands[i].value.id].fixed;
    d.operands[d.n_operands++] = (esker__operand){.value = *out, .write = true};
    esker_status st = esker__emit(l, &d);
    if (st != ESKER_OK) return st;
    esker__plan_dispatch *made = &plan->dispatches[plan->n_dispatches - 1];
    made->prepares = out->id;
    for (int i = 0; made->cost.flops == 0 && d.cost.bytes == 0 && i < made->n_operands; i++)
        made->cost.bytes += (double)made->operands[i].n_bytes;
    for (size_t p = 0; fixed && p + 1 < plan->n_dispatches; p++) {
        const esker__plan_dispatch *before = &plan->dispatches[p];
        if (before->prepares < 0 || !same_request(before, made)) continue;
        *out = (esker__value){before->prepares};
        plan->n_dispatches--;
        break;
    }
    return ESKER_OK;
}

/* ---- Once all is lowered ---- */

static esker_status note_reads(esker_plan *plan)
{
    const esker_params *params = plan->params;
    plan->prologue_reads = esker__pool_alloc(&plan->pool, params->n * sizeof *plan->prologue_reads);
    if (!plan->prologue_reads) return esker__fail_memory(params->n * sizeof *plan->prologue_reads, "plan");
    for (size_t i = 0; i < params->n; i++) {
        const esker__param *param = &params->list[i];
        esker__extent own = {ESKER__STORAGE_PARAMETERS, param->offset * 4, (param->offset + (uint64_t)param->n_elems) * 4};
        bool reads = false;
        for (size_t p = 0; !reads && p < plan->n_dispatches; p++)
            for (int o = 0; plan->dispatches[p].prologue && !reads && o < plan->dispatches[p].n_operands; o++)
                reads = esker__extents_meet(own, esker__operand_extent(plan, &plan->dispatches[p].operands[o]));
        if (reads) plan->prologue_reads[plan->n_prologue_reads++] = (int)i;
    }
    return ESKER_OK;
}

esker_status esker__plan_hoist(esker_plan *plan)
{
    settle(plan, 0);
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        for (int i = 0; !d->prologue && i < d->n_operands; i++) {
            esker__plan_value *value = &plan->values[d->operands[i].value];
            if (value->storage != ESKER__STORAGE_ARENA || !value->fixed) continue;
            value->storage = ESKER__STORAGE_HOISTED;
            value->offset = plan->hoisted_bytes;
            plan->hoisted_bytes += esker__round_up(value->n_bytes, ESKER__VALUE_ALIGN);
        }
    }
    return note_reads(plan);
}

/* ---- On a device ---- */

bool esker__plan_is_stale(esker_plan *plan)
{
    const esker_params *params = plan->params;
    if (!plan->n_prologue) return false;
    if (!plan->prepared) return true;
    if (plan->prologue_clock == params->clock) return false;
    for (size_t i = 0; i < plan->n_prologue_reads; i++)
        if (params->list[plan->prologue_reads[i]].changed > plan->prologue_clock) return true;
    plan->prologue_clock = params->clock;
    return false;
}

void esker__plan_note_run(esker_plan *plan, size_t first)
{
    if (first == 0 && plan->n_prologue) {
        plan->prepared = true;
        plan->prologue_clock = plan->params->clock;
    }
    if (plan->n_changes) esker__params_changed(plan->params, plan->changes, plan->n_changes);
}

esker_status esker__plan_prepare(esker_plan *plan)
{
    if (!esker__plan_is_stale(plan)) return ESKER_OK;
    esker_status st = esker__submit(plan->device, plan->launches, (int)plan->n_prologue);
    if (st != ESKER_OK) return st;
    plan->prepared = true;
    plan->prologue_clock = plan->params->clock;
    return ESKER_OK;
}
