/* Barriers from byte ranges, and the cutting of dispatches that would run too long for a small GPU's watchdog. */
#include "plan/plan.h"

#include <string.h>

#include "base/fail.h"

/* The operand that is read as a uniform block, or -1. */
static int uniform_operand(const esker__plan_dispatch *d)
{
    return d->n_operands && d->operands[d->n_operands - 1].uniform ? d->n_operands - 1 : -1;
}

static bool dispatches_meet(const esker_plan *plan, const esker__plan_dispatch *a, const esker__plan_dispatch *b)
{
    for (int i = 0; i < a->n_operands; i++) {
        esker__extent extent = esker__operand_extent(plan, &a->operands[i]);
        for (int j = 0; j < b->n_operands; j++) {
            if (!a->operands[i].write && !b->operands[j].write) continue;
            if (esker__extents_meet(extent, esker__operand_extent(plan, &b->operands[j]))) return true;
        }
    }
    return false;
}

static bool writes_operand(const esker_plan *plan, const esker__plan_dispatch *d, const esker__plan_operand *read)
{
    for (int i = 0; i < d->n_operands; i++)
        if (d->operands[i].write &&
            esker__extents_meet(esker__operand_extent(plan, &d->operands[i]), esker__operand_extent(plan, read)))
            return true;
    return false;
}

/* A barrier is one for uniform blocks, too, where the dispatch behind it has an operand that is read as one. */
esker_status esker__plan_barriers(esker_plan *plan)
{
    size_t since = 0,
           since_uniform = 0; /* the first dispatch behind the newest barrier, and behind the newest for uniform blocks */
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        esker__plan_dispatch *d = &plan->dispatches[p];
        /* The first, with and without the prologue, waits for the step before; the mark for everything, since it stands for everything. */
        d->barrier = p == 0 || p == plan->n_prologue || d->last;
        int uniform = uniform_operand(d);
        for (size_t i = since; i < p && !d->barrier; i++) d->barrier = dispatches_meet(plan, &plan->dispatches[i], d);
        for (size_t i = since_uniform; uniform >= 0 && i < p && !d->barrier; i++)
            d->barrier = writes_operand(plan, &plan->dispatches[i], &d->operands[uniform]);
        if (d->barrier) since = p;
        if (d->barrier && uniform >= 0) since_uniform = p;
    }
    return ESKER_OK;
}

/* ---- Slices ---- */

static uint32_t n_slices_of(const esker_plan *plan, const esker__plan_dispatch *d, int *out_axis)
{
    int axis = 0;
    for (int i = 1; i < 3; i++)
        if (d->groups[i] > d->groups[axis]) axis = i;
    *out_axis = axis;
    double seconds = d->cost.flops / plan->flops_per_second + d->cost.bytes / plan->bytes_per_second;
    double n = seconds / plan->slice_seconds;
    if (!(n > 1)) return 1;
    return n >= d->groups[axis] ? d->groups[axis] : (uint32_t)n + 1;
}

/* Slices of one dispatch are as independent as its groups: the barrier stays before the first. */
esker_status esker__plan_slice(esker_plan *plan)
{
    if (!(plan->slice_seconds > 0)) return ESKER_OK;
    size_t total = 0;
    int axis;
    for (size_t p = 0; p < plan->n_dispatches; p++) total += n_slices_of(plan, &plan->dispatches[p], &axis);
    if (total == plan->n_dispatches) return ESKER_OK;
    size_t n_bytes;
    if (!esker__mul_size(total, sizeof(esker__plan_dispatch), &n_bytes)) return esker__fail_memory(total, "slices");
    esker__plan_dispatch *sliced = esker__malloc(n_bytes);
    if (!sliced) return esker__fail_memory(n_bytes, "slices");
    size_t out = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *whole = &plan->dispatches[p];
        uint32_t n_slices = n_slices_of(plan, whole, &axis);
        for (uint32_t s = 0; s < n_slices; s++) {
            uint32_t begin = (uint32_t)((uint64_t)whole->groups[axis] * s / n_slices);
            uint32_t end = (uint32_t)((uint64_t)whole->groups[axis] * (s + 1) / n_slices);
            esker__plan_dispatch *d = &sliced[out++];
            *d = *whole;
            d->group_base[axis] = begin;
            d->groups[axis] = end - begin;
            d->cost.flops /= n_slices;
            d->cost.bytes /= n_slices;
            d->barrier = whole->barrier && s == 0;
        }
    }
    esker__free(plan->dispatches);
    plan->dispatches = sliced;
    plan->n_dispatches = plan->dispatches_capacity = out;
    for (plan->n_prologue = 0; plan->n_prologue < out && sliced[plan->n_prologue].prologue;) plan->n_prologue++;
    return ESKER_OK;
}

/* Every dispatch has its own block of constants in one buffer that is written once. */
esker_status esker__plan_layout_uniforms(esker_plan *plan)
{
    plan->uniform_offsets = esker__calloc(plan->n_dispatches, sizeof *plan->uniform_offsets);
    if (!plan->uniform_offsets) return esker__fail_memory(plan->n_dispatches * sizeof *plan->uniform_offsets, "plan");
    uint64_t at = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        plan->uniform_offsets[p] = at;
        at += esker__round_up(12 + 4 * (uint64_t)plan->dispatches[p].n_params, 16);
        at = esker__round_up(at, plan->limits.uniform_align);
    }
    plan->uniform_bytes = at;
    return ESKER_OK;
}
