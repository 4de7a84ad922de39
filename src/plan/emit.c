/* What lowerings describe becomes dispatches of the plan: checked against the limits, with its kernel and what it binds. */
#include "plan/plan.h"

#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "plan/build.h"

esker_status esker__fold_groups_along(esker__lowering *l, uint64_t n_groups, int axis, uint32_t out_groups[3])
{
    const uint32_t *most = l->plan->limits.groups + axis;
    uint64_t x = n_groups ? n_groups : 1, y = 1;
    if (x > most[0]) {
        /* As square as possible, so that few groups of the last row are empty. */
        y = esker__ceil_div(n_groups, most[0]);
        x = esker__ceil_div(n_groups, y);
    }
    if (y > most[1])
        return esker__fail(ESKER_ERR_LIMIT, "%s: %llu groups, at most %u x %u are possible", l->node->op->name,
                           (unsigned long long)n_groups, most[0], most[1]);
    for (int i = 0; i < 3; i++) out_groups[i] = 1;
    out_groups[axis] = (uint32_t)x;
    out_groups[axis + 1] = (uint32_t)y;
    return ESKER_OK;
}

esker_status esker__check_indexable(const esker__lowering *l, uint64_t n_elems)
{
    if (n_elems <= INT32_MAX) return ESKER_OK;
    return esker__fail(ESKER_ERR_LIMIT, "%s: %llu elements, the kernel indexes at most %d", l->node->op->name,
                       (unsigned long long)n_elems, INT32_MAX);
}

esker_status esker__fold_groups(esker__lowering *l, uint64_t n_groups, uint32_t out_groups[3])
{
    return esker__fold_groups_along(l, n_groups, 0, out_groups);
}

int esker__plan_kernel_index(esker_plan *plan, const char *name, const char *defines)
{
    for (size_t i = 0; i < plan->n_kernels; i++)
        if (!strcmp(plan->kernels[i].name, name) && !strcmp(plan->kernels[i].defines, defines)) return (int)i;
    if (!esker__grow((void **)&plan->kernels, &plan->kernels_capacity, plan->n_kernels, sizeof *plan->kernels)) return -1;
    esker__plan_kernel kernel = {.name = esker__pool_strdup(&plan->pool, name),
                                 .defines = esker__pool_strdup(&plan->pool, defines)};
    if (!kernel.name || !kernel.defines) return -1;
    if (plan->chosen_for && esker__kernel_is_quarantined(plan->chosen_for, name, defines, &kernel.quarantined) != ESKER_OK)
        return -1;
    plan->kernels[plan->n_kernels] = kernel;
    return (int)plan->n_kernels++;
}

esker_status esker__plan_check_block(const esker_plan *plan, const char *op, const esker__plan_value *value,
                                     uint64_t n_bytes)
{
    if (n_bytes <= plan->limits.storage_block_bytes) return ESKER_OK;
    return esker__fail(ESKER_ERR_LIMIT, "%s%s%s: a tensor of %llu bytes, one storage block holds %llu", op,
                       value->label ? " " : "", value->label ? value->label : "", (unsigned long long)n_bytes,
                       (unsigned long long)plan->limits.storage_block_bytes);
}

static esker_status copy_operand(esker__lowering *l, const esker__dispatch_desc *desc, int i, esker__plan_operand *out)
{
    const esker__operand *operand = &desc->operands[i];
    if (l->status != ESKER_OK) return l->status;
    const esker__plan_value *value = &l->plan->values[operand->value.id];
    *out = (esker__plan_operand){.value = operand->value.id,
                                 .offset = operand->offset_bytes,
                                 .n_bytes = operand->n_bytes ? esker__round_up(operand->n_bytes, 16)
                                                             : value->n_bytes - operand->offset_bytes,
                                 .write = operand->write,
                                 .uniform = operand->uniform,
                                 .period = operand->period_bytes,
                                 .part_at = operand->part_at,
                                 .part_bytes = operand->part_bytes};
    if (operand->part_at + operand->part_bytes > operand->period_bytes || (operand->period_bytes && !operand->write))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: operand %d: bytes %llu to %llu of every %llu", desc->kernel, i,
                           (unsigned long long)operand->part_at,
                           (unsigned long long)(operand->part_at + operand->part_bytes),
                           (unsigned long long)operand->period_bytes);
    if (operand->offset_bytes % l->plan->limits.storage_align ||
        (out->offset + out->n_bytes > value->n_bytes && !operand->span))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: operand %d: bytes %llu to %llu of %llu", desc->kernel, i,
                           (unsigned long long)out->offset, (unsigned long long)(out->offset + out->n_bytes),
                           (unsigned long long)value->n_bytes);
    if (operand->uniform &&
        (operand->write || i + 1 < desc->n_operands || out->n_bytes > l->plan->limits.uniform_block_bytes))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: operand %d of %d, %llu bytes, cannot be a uniform block", desc->kernel,
                           i, desc->n_operands, (unsigned long long)out->n_bytes);
    if (l->plan->float16) return ESKER_OK; /* it may be halved: halve.c looks again */
    return esker__plan_check_block(l->plan, l->node ? l->node->op->name : desc->kernel, value, out->n_bytes);
}

/* Whether operand `i` is all of a value that no other operand is part of. */
static bool is_alone(const esker_plan *plan, const esker__plan_dispatch *d, int i)
{
    const esker__plan_operand *own = &d->operands[i];
    bool alone = own->offset == 0 && own->n_bytes == plan->values[own->value].n_bytes;
    for (int j = 0; j < d->n_operands; j++) alone = alone && (j == i || d->operands[j].value != own->value);
    return alone;
}

esker_status esker__emit(esker__lowering *l, const esker__dispatch_desc *desc)
{
    esker_plan *plan = l->plan;
    const esker_limits *limits = &plan->limits;
    if (l->status != ESKER_OK) return l->status;
    int n_storage = desc->n_operands;
    if (n_storage > 0 && n_storage <= ESKER__MAX_OPERANDS) n_storage -= desc->operands[n_storage - 1].uniform;
    if (n_storage < 1 || desc->n_operands > ESKER__MAX_OPERANDS || (uint32_t)n_storage > limits->storage_blocks)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %d storage blocks, this device takes %u", desc->kernel, n_storage,
                           limits->storage_blocks);
    if (desc->n_params < 0 || desc->n_params > ESKER__MAX_PARAM_WORDS)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d parameter words", desc->kernel, desc->n_params);
    for (int i = 0; i < 3; i++)
        if (desc->groups[i] < 1 || desc->groups[i] > limits->groups[i])
            return esker__fail(ESKER_ERR_LIMIT, "%s: %u groups on axis %d, 1 to %u are possible", desc->kernel,
                               desc->groups[i], i, limits->groups[i]);
    if (!esker__grow((void **)&plan->dispatches, &plan->dispatches_capacity, plan->n_dispatches, sizeof *plan->dispatches))
        return esker__fail_memory(sizeof *plan->dispatches, "plan");

    esker__plan_dispatch d = {.kernel = esker__plan_kernel_index(plan, desc->kernel, desc->defines ? desc->defines : ""),
                              .n_operands = desc->n_operands,
                              .n_params = desc->n_params,
                              .uses_step = desc->uses_step || desc->operands[desc->n_operands - 1].uniform,
                              .prepares = -1,
                              .in_place = {-1, -1},
                              .choice = l->node ? l->choice : -1,
                              .node = l->node ? l->node->id : -1,
                              .sequence = (int)plan->n_dispatches,
                              .bound = desc->bound,
                              .cost = desc->cost,
                              .op = l->node ? l->node->op->name : "plan",
                              .phase = l->node ? l->node->phase : ESKER__PHASE_UPDATE,
                              .effect = l->node && l->effect[l->node->id],
                              .last = !l->node};
    if (d.kernel < 0) return esker__fail_memory(sizeof *plan->kernels, "plan");
    memcpy(d.groups, desc->groups, sizeof d.groups);
    if (desc->n_params) memcpy(d.params, desc->params, (size_t)desc->n_params * 4);
    for (int i = 0; i < desc->n_operands; i++) {
        esker_status st = copy_operand(l, desc, i, &d.operands[i]);
        if (st != ESKER_OK) return st;
    }
    for (int i = 0, n = 0; i < desc->n_operands && n < 2; i++)
        if (desc->operands[i].in_place && is_alone(plan, &d, i)) d.in_place[n++] = d.operands[i].value;
    /* Plans outlive graphs, and with them the ops that programs registered. */
    if (l->node && (l->node->op->hold || l->node->op->title || l->n_taken)) {
        esker__text name = {0};
        for (int i = -1; i < l->n_taken; i++) {
            const esker_node *node = i < 0 ? l->node : l->taken[i];
            if (i >= 0) esker__text_add(&name, ", ");
            if (node->op->title)
                node->op->title(node, &name);
            else
                esker__text_add(&name, "%s", node->op->name);
        }
        d.op = name.failed ? NULL : esker__pool_strdup(&plan->pool, name.chars);
        esker__text_finish(&name);
        if (!d.op) return esker__fail_memory(strlen(l->node->op->name) + 1, "plan");
    }
    if (l->node && l->node->label && !(d.label = esker__pool_strdup(&plan->pool, l->node->label)))
        return esker__fail_memory(strlen(l->node->label) + 1, "plan");
    for (int i = 0; i < d.n_operands; i++) {
        esker__plan_value *value = &plan->values[d.operands[i].value];
        if (!d.operands[i].write) continue;
        /* Until the node is lowered and it is known what becomes of its dispatches. */
        if (value->last_write < 0) value->fixed = value->storage == ESKER__STORAGE_ARENA;
        value->last_write = d.sequence;
    }
    plan->dispatches[plan->n_dispatches++] = d;
    return ESKER_OK;
}

esker_status esker__emit_with(esker__lowering *l, esker__dispatch_desc *desc, esker__text *defines)
{
    desc->defines = defines->chars;
    esker_status st = defines->failed ? esker__fail_memory(defines->capacity, "a kernel's definitions")
                                      : esker__emit(l, desc);
    esker__text_finish(defines);
    desc->defines = NULL;
    return st;
}
