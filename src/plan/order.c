/*
 * The order of dispatches. Each gets the earliest epoch that its dependences allow; dispatches of one epoch need no barrier
 * between them. Dependences are found on values, since temporaries have no addresses yet.
 */
#include "plan/plan.h"

#include <stdlib.h>

static bool operands_conflict(const esker_plan *plan, const esker__plan_operand *a, const esker__plan_operand *b)
{
    if (!a->write && !b->write) return false;
    const esker__plan_value *va = &plan->values[a->value], *vb = &plan->values[b->value];
    if (va->storage != vb->storage) return false;
    if (va->storage == ESKER__STORAGE_ARENA && a->value != b->value) return false;
    return esker__extents_meet(esker__operand_extent(plan, a), esker__operand_extent(plan, b));
}

static bool dispatches_conflict(const esker_plan *plan, const esker__plan_dispatch *a, const esker__plan_dispatch *b)
{
    for (int i = 0; i < a->n_operands; i++)
        for (int j = 0; j < b->n_operands; j++)
            if (operands_conflict(plan, &a->operands[i], &b->operands[j])) return true;
    return false;
}

/* As lowered, but changes of stored state behind everything that reads it, and the mark behind those. */
static int compare_program(const void *left, const void *right)
{
    const esker__plan_dispatch *a = left, *b = right;
    int rank_a = a->last ? 2 : a->effect, rank_b = b->last ? 2 : b->effect;
    if (rank_a != rank_b) return rank_a - rank_b;
    return a->sequence - b->sequence;
}

static int compare_epoch(const void *left, const void *right)
{
    const esker__plan_dispatch *a = left, *b = right;
    return a->epoch != b->epoch ? a->epoch - b->epoch : compare_program(left, right);
}

esker_status esker__plan_order(esker_plan *plan, bool by_epochs)
{
    esker__plan_dispatch *d = plan->dispatches;
    size_t n = plan->n_dispatches;
    if (!n) return ESKER_OK;
    qsort(d, n, sizeof *d, compare_program);
    int newest = 0;
    for (size_t j = 0; j < n; j++) {
        int epoch = by_epochs ? 0 : newest;
        if (d[j].last) epoch = newest + (j > 0);
        for (size_t i = 0; i < j; i++)
            if (d[i].epoch >= epoch && dispatches_conflict(plan, &d[i], &d[j])) epoch = d[i].epoch + 1;
        d[j].epoch = epoch;
        if (epoch > newest) newest = epoch;
    }
    if (by_epochs) qsort(d, n, sizeof *d, compare_epoch);
    return ESKER_OK;
}
