/* What dispatches that have their place read and write, and whom one more would meet: how the order of a plan knows what waits for what (accesses.c). */
#ifndef ESKER_PLAN_ACCESSES_H
#define ESKER_PLAN_ACCESSES_H

#include "plan/plan.h"

/* An operand of a dispatch that has its place, in the list of those that may meet it. */
typedef struct esker__access {
    int dispatch, operand, next;
} esker__access;

/*
 * Accesses by what they may meet: a temporary meets its own value alone, since nothing shares its bytes yet; elsewhere it is the storage. Reads
 * and writes apart, for reads do not meet each other.
 */
typedef struct esker__accesses {
    esker__access *list;
    int n;
    int *reads, *writes; /* by bucket: the newest, or -1 */
} esker__accesses;

static inline int esker__bucket_of(const esker_plan *plan, const esker__plan_operand *o)
{
    int storage = plan->values[o->value].storage;
    return storage == ESKER__STORAGE_ARENA ? o->value : (int)plan->n_values + storage;
}

esker_status esker__accesses_init(const esker_plan *plan, esker__accesses *all);
void esker__accesses_finish(esker__accesses *all);
void esker__remember(const esker_plan *plan, esker__accesses *all, int dispatch);

#endif
