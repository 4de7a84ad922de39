/*
 * Storage in float16, where it is asked for: values of which every kernel that has them can read, and write, halves in place of floats
 * (src/gpu/half_source.c) take half of their bytes. Kernels compute in float32. Results are halved where they are, and so are operands that were put in another
 * form for all steps; of parameters, whose float32 values stay, steps read copies that the prologue makes. What is inside of one operation (partial sums,
 * statistics, Winograd's transforms), what the caller gives and gets, and what is small stays as it is.
 */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "plan/build.h"

#define LEAST_BYTES 1024 /* of a result */
#define LEAST_FIXED_BYTES \
    8192 /* of what is the same in all steps: copies of biases save nothing, and double the number of kernels */
#define WG 64

typedef struct halving {
    esker__lowering *l;
    uint32_t *reads, *writes; /* by kernel: which of its blocks can hold halves */
    uint32_t *masks;          /* by dispatch: which are to */
} halving;

static bool can_hold(const halving *h, const esker__plan_dispatch *d, int o)
{
    const esker_plan *plan = h->l->plan;
    const esker__plan_operand *operand = &d->operands[o];
    uint64_t align = 2 * (uint64_t)plan->limits.storage_align;
    uint32_t able = operand->write ? h->writes[d->kernel] : h->reads[d->kernel];
    return (able >> o & 1) && !operand->uniform && !operand->period && operand->offset % align == 0 &&
           operand->offset + operand->n_bytes <= plan->values[operand->value].n_bytes;
}

/* Whether all that have the value can; with `steps_alone` all but the prologue. */
static bool all_can(const halving *h, int value, bool steps_alone)
{
    const esker_plan *plan = h->l->plan;
    bool any = false;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        for (int o = 0; o < d->n_operands; o++) {
            if (d->operands[o].value != value || (steps_alone && d->prologue)) continue;
            if (!can_hold(h, d, o)) return false;
            any = true;
        }
    }
    return any;
}

/* Those that have `value` have that of `halves`, which may be itself. */
static void put_halves(halving *h, int value, int halves, bool steps_alone)
{
    esker_plan *plan = h->l->plan;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        esker__plan_dispatch *d = &plan->dispatches[p];
        for (int o = 0; o < d->n_operands; o++) {
            esker__plan_operand *operand = &d->operands[o];
            if (operand->value != value || (steps_alone && d->prologue)) continue;
            d->cost.bytes -= (double)operand->n_bytes / 2;
            *operand = (esker__plan_operand){.value = halves,
                                             .offset = operand->offset / 2,
                                             .n_bytes = esker__round_up(operand->n_bytes / 2, 16),
                                             .write = operand->write};
            h->masks[p] |= 1u << o;
        }
        if (d->cost.bytes < 0) d->cost.bytes = 0;
    }
}

/* In the prologue, a copy in halves of what does not change. */
static esker_status copy_fixed(halving *h, int value)
{
    esker__lowering *l = h->l;
    esker_plan *plan = l->plan;
    uint64_t n_bytes = plan->values[value].n_bytes, fours = n_bytes / 16;
    int copy = esker__scratch(l, esker__round_up(n_bytes / 2, 16)).id;
    uint32_t groups[3];
    if (l->status != ESKER_OK) return l->status;
    esker_status st = esker__fold_groups(l, esker__ceil_div(fours, WG), groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)fours, groups[0]};
    st = esker__emit(l, &(esker__dispatch_desc){.kernel = "runtime/copy",
                                                .defines = "FLOATS 1\nFLOAT16 2\n",
                                                .groups = {groups[0], groups[1], groups[2]},
                                                .operands = {{.value = {value}}, {.value = {copy}, .write = true}},
                                                .n_operands = 2,
                                                .params = params,
                                                .n_params = 2,
                                                .cost = {(double)fours, 24.0 * (double)fours}});
    if (st != ESKER_OK) return st;
    esker__plan_dispatch *d = &plan->dispatches[plan->n_dispatches - 1];
    d->last = false;
    d->prologue = true;
    plan->values[copy].fixed = plan->values[copy].half = true;
    plan->values[copy].last_write = -1; /* in front of all steps, though it was emitted behind them */
    plan->values[value].half_copy = copy;
    put_halves(h, value, copy, true);
    return ESKER_OK;
}

static esker_status give_kernels(halving *h, size_t n_dispatches)
{
    esker_plan *plan = h->l->plan;
    for (size_t p = 0; p < n_dispatches; p++) {
        esker__plan_dispatch *d = &plan->dispatches[p];
        if (!h->masks[p]) continue;
        const esker__plan_kernel *kernel = &plan->kernels[d->kernel];
        esker__text defines = {0};
        esker__text_add(&defines, "FLOAT16 %u\n%s", h->masks[p], kernel->defines);
        d->kernel = defines.failed ? -1 : esker__plan_kernel_index(plan, kernel->name, defines.chars);
        esker__text_finish(&defines);
        if (d->kernel < 0) return esker__fail_memory(256, "plan");
    }
    return ESKER_OK;
}

/* Those that no dispatch has any more would be compiled for nothing. */
static esker_status drop_kernels(esker_plan *plan)
{
    int *place = esker__calloc(plan->n_kernels, sizeof *place);
    size_t n = 0;
    if (!place) return esker__fail_memory(plan->n_kernels * sizeof *place, "plan");
    for (size_t p = 0; p < plan->n_dispatches; p++) place[plan->dispatches[p].kernel] = 1;
    for (size_t k = 0; k < plan->n_kernels; k++) {
        if (!place[k]) continue;
        place[k] = (int)n;
        plan->kernels[n++] = plan->kernels[k];
    }
    for (size_t p = 0; p < plan->n_dispatches; p++) plan->dispatches[p].kernel = place[plan->dispatches[p].kernel];
    plan->n_kernels = n;
    esker__free(place);
    return ESKER_OK;
}

static esker_status halve(halving *h)
{
    esker_plan *plan = h->l->plan;
    size_t n_values = plan->n_values, n_dispatches = plan->n_dispatches;
    /* Copies are memory besides, spent for what steps need not read; where halves are slower to read than floats it would buy nothing. */
    bool copies = esker__setting("half_copies", plan->family != ESKER__FAMILY_LLVMPIPE);
    for (size_t k = 0; k < plan->n_kernels; k++) {
        esker_status st = esker__kernel_halves(plan->kernels[k].name, plan->kernels[k].defines, &h->reads[k],
                                               &h->writes[k]);
        if (st != ESKER_OK) return st;
    }
    for (int v = 0; v < (int)n_values; v++) {
        const esker__plan_value *value = &plan->values[v];
        bool parameter = value->storage == ESKER__STORAGE_PARAMETERS && value->fixed;
        if (value->n_bytes < (value->fixed ? LEAST_FIXED_BYTES : LEAST_BYTES) || (!parameter && !value->may_halve))
            continue;
        if (!parameter && all_can(h, v, false)) {
            put_halves(h, v, v, false);
            plan->values[v].n_bytes = esker__round_up(value->n_bytes / 2, 16);
            plan->values[v].half = true;
        } else if (copies && value->fixed && all_can(h, v, true)) {
            esker_status st = copy_fixed(h, v);
            if (st != ESKER_OK) return st;
        }
    }
    for (size_t p = 0; p < plan->n_dispatches; p++)
        for (int o = 0; o < plan->dispatches[p].n_operands; o++) {
            const esker__plan_operand *operand = &plan->dispatches[p].operands[o];
            esker_status st = esker__plan_check_block(plan, plan->dispatches[p].op, &plan->values[operand->value],
                                                      operand->n_bytes);
            if (st != ESKER_OK) return st;
        }
    esker_status st = give_kernels(h, n_dispatches);
    return st == ESKER_OK ? drop_kernels(plan) : st;
}

esker_status esker__plan_halve(esker__lowering *l)
{
    esker_plan *plan = l->plan;
    l->node = NULL;
    for (size_t p = 0; p < plan->n_dispatches; p++)
        if (plan->dispatches[p].effect)
            return esker__fail(ESKER_ERR_INVALID, "plan: float16 is for plans that change nothing, and %s does",
                               plan->dispatches[p].op);
    halving h = {.l = l,
                 .reads = esker__calloc(plan->n_kernels, sizeof *h.reads),
                 .writes = esker__calloc(plan->n_kernels, sizeof *h.writes),
                 .masks = esker__calloc(plan->n_dispatches, sizeof *h.masks)};
    esker_status st = h.reads && h.writes && h.masks ? halve(&h) : esker__fail_memory(plan->n_kernels * 4, "plan");
    esker__free(h.reads);
    esker__free(h.writes);
    esker__free(h.masks);
    return st;
}
