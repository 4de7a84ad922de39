/*
 * The order of dispatches. Each gets the earliest epoch that its dependences allow; dispatches of one epoch need no barrier
 * between them. Dependences are found on values, since temporaries have no addresses yet.
 */
#include "plan/accesses.h"

#include <limits.h>
#include <stdlib.h>

#include "base/fail.h"

/* The largest (sign 1) or smallest (-1) epoch, or place, of the accesses in the list that meet the operand; `start` if none is beyond that. */
static int furthest_met(const esker_plan *plan, const esker__accesses *all, int from, const esker__plan_operand *o,
                        bool places, int sign, int start)
{
    esker__extent extent = esker__operand_extent(plan, o);
    for (int i = from; i >= 0; i = all->list[i].next) {
        const esker__plan_dispatch *d = &plan->dispatches[all->list[i].dispatch];
        int at = places ? d->place : d->epoch;
        if (sign * at > sign * start &&
            esker__extents_meet(esker__operand_extent(plan, &d->operands[all->list[i].operand]), extent))
            start = at;
    }
    return start;
}

/* One more than the epoch of the latest access in the list that meets the operand, if that is above `epoch`. */
static int behind(const esker_plan *plan, const esker__accesses *all, int from, const esker__plan_operand *o, int epoch)
{
    return furthest_met(plan, all, from, o, false, 1, epoch - 1) + 1;
}

static int rank_of(const esker__plan_dispatch *d)
{
    return d->last ? 3 : d->effect ? 2 : !d->prologue;
}

/* As lowered, but the prologue in front, changes of stored state behind everything that reads it, and the mark behind those. */
static int compare_program(const void *left, const void *right)
{
    const esker__plan_dispatch *a = left, *b = right;
    int rank_a = rank_of(a), rank_b = rank_of(b);
    if (rank_a != rank_b) return rank_a - rank_b;
    return a->sequence - b->sequence;
}

static int compare_epoch(const void *left, const void *right)
{
    const esker__plan_dispatch *a = left, *b = right;
    return a->epoch != b->epoch ? a->epoch - b->epoch : compare_program(left, right);
}

/* Of a node that computes gradients and updates with them. */
static bool is_updating(const esker__plan_dispatch *d)
{
    return d->effect && d->phase == ESKER__PHASE_BACKWARD;
}

static int compare_place(const void *left, const void *right)
{
    const esker__plan_dispatch *a = left, *b = right;
    if (a->place != b->place) return a->place - b->place;
    if (is_updating(a) != is_updating(b)) return is_updating(a) ? 1 : -1;
    return compare_program(left, right);
}

/* Behind what the node of dispatch `j`, its first, reads of others. */
static int place_of_node(const esker_plan *plan, const esker__accesses *all, size_t j)
{
    int place = 0;
    for (size_t k = j; k < plan->n_dispatches && plan->dispatches[k].node == plan->dispatches[j].node; k++)
        for (int o = 0; o < plan->dispatches[k].n_operands; o++) {
            const esker__plan_operand *operand = &plan->dispatches[k].operands[o];
            if (!operand->write)
                place = furthest_met(plan, all, all->writes[esker__bucket_of(plan, operand)], operand, true, 1, place);
        }
    return place;
}

/* As recorded, but that updates come right behind what they wait for: at the end of the step, all that they read would still be there. */
static esker_status bring_updates_forward(esker_plan *plan)
{
    esker__accesses all;
    int of_node = 0;
    esker_status st = esker__accesses_init(plan, &all);
    for (size_t j = 0; st == ESKER_OK && j < plan->n_dispatches; j++) {
        esker__plan_dispatch *d = &plan->dispatches[j];
        bool first = j == 0 || d->node != d[-1].node;
        if (is_updating(d) && first) of_node = place_of_node(plan, &all, j);
        d->place = is_updating(d) ? of_node : (int)j;
        for (int o = 0; is_updating(d) && o < d->n_operands; o++) {
            int bucket = esker__bucket_of(plan, &d->operands[o]);
            d->place = furthest_met(plan, &all, all.writes[bucket], &d->operands[o], true, 1, d->place);
            if (d->operands[o].write)
                d->place = furthest_met(plan, &all, all.reads[bucket], &d->operands[o], true, 1, d->place);
        }
        esker__remember(plan, &all, (int)j);
    }
    esker__accesses_finish(&all);
    if (st == ESKER_OK) qsort(plan->dispatches, plan->n_dispatches, sizeof *plan->dispatches, compare_place);
    return st;
}

typedef struct value_use {
    int first_dispatch; /* of the lowest epoch, */
    int next_epoch;     /* and the lowest of all others, or INT_MAX */
    int last_epoch;     /* of the dispatches behind the one that is looked at, -1: none */
} value_use;

static void note_use(const esker_plan *plan, value_use *use, int dispatch)
{
    int epoch = plan->dispatches[dispatch].epoch, first = use->first_dispatch;
    if (first == dispatch) return;
    if (first < 0 || epoch < plan->dispatches[first].epoch) {
        use->next_epoch = first < 0 ? INT_MAX : plan->dispatches[first].epoch;
        use->first_dispatch = dispatch;
    } else if (epoch < use->next_epoch) {
        use->next_epoch = epoch;
    }
}

/* Bytes of temporaries times the epochs that they live less, if the dispatch is moved to `epoch`: what it makes is made later, what it reads may die later. */
static double saved_by_waiting(const esker_plan *plan, const value_use *uses, size_t dispatch, int epoch)
{
    const esker__plan_dispatch *d = &plan->dispatches[dispatch];
    double saved = 0;
    for (int o = 0; o < d->n_operands; o++) {
        const esker__plan_value *value = &plan->values[d->operands[o].value];
        const value_use *use = &uses[d->operands[o].value];
        if (value->storage != ESKER__STORAGE_ARENA) continue;
        bool makes = d->operands[o].write && use->first_dispatch == (int)dispatch;
        int dies = use->last_epoch > d->epoch ? use->last_epoch : d->epoch;
        int made = use->next_epoch < epoch ? use->next_epoch : epoch;
        if (makes) saved += (double)value->n_bytes * (made - d->epoch);
        if (!makes && epoch > dies) saved -= (double)value->n_bytes * (epoch - dies);
    }
    return saved;
}

/*
 * The earliest epoch is often long before the first reader: what a weight's gradient wants of x could be computed forward, and would then be kept as long as x,
 * or longer. Such dispatches wait until right before their first reader, where that costs less memory: it costs no barrier.
 */
static esker_status let_wait(esker_plan *plan)
{
    esker__accesses all;
    value_use *uses = esker__malloc(plan->n_values * sizeof *uses);
    esker_status st = esker__accesses_init(plan, &all);
    if (st == ESKER_OK && !uses) st = esker__fail_memory(plan->n_values * sizeof *uses, "plan");
    if (st != ESKER_OK) goto done;
    for (size_t v = 0; v < plan->n_values; v++) uses[v] = (value_use){-1, INT_MAX, -1};
    for (size_t j = 0; j < plan->n_dispatches; j++)
        for (int o = 0; o < plan->dispatches[j].n_operands; o++)
            note_use(plan, &uses[plan->dispatches[j].operands[o].value], (int)j);
    for (size_t j = plan->n_dispatches; j-- > plan->n_prologue;) {
        esker__plan_dispatch *d = &plan->dispatches[j];
        int next = INT_MAX; /* the epoch of the first that meets it */
        bool waits = true;  /* what it writes is temporary */
        for (int o = 0; o < d->n_operands; o++) {
            int bucket = esker__bucket_of(plan, &d->operands[o]);
            waits &= !d->operands[o].write || plan->values[d->operands[o].value].storage == ESKER__STORAGE_ARENA;
            next = furthest_met(plan, &all, all.writes[bucket], &d->operands[o], false, -1, next);
            if (d->operands[o].write) next = furthest_met(plan, &all, all.reads[bucket], &d->operands[o], false, -1, next);
        }
        if (waits && next < INT_MAX && next - 1 > d->epoch && saved_by_waiting(plan, uses, j, next - 1) > 0)
            d->epoch = next - 1;
        for (int o = 0; o < d->n_operands; o++)
            if (d->epoch > uses[d->operands[o].value].last_epoch) uses[d->operands[o].value].last_epoch = d->epoch;
        esker__remember(plan, &all, (int)j);
    }
done:
    esker__accesses_finish(&all);
    esker__free(uses);
    return st;
}

esker_status esker__plan_order(esker_plan *plan, bool by_epochs)
{
    esker__plan_dispatch *d = plan->dispatches;
    size_t n = plan->n_dispatches;
    plan->arena_wanted = 0;
    if (!n) return ESKER_OK;
    qsort(d, n, sizeof *d, compare_program);
    esker__accesses all = {0};
    esker_status st = by_epochs ? ESKER_OK : bring_updates_forward(plan);
    if (st == ESKER_OK) st = esker__accesses_init(plan, &all);
    int newest = 0, first = 0; /* the first epoch of the step */
    if (st != ESKER_OK) goto done;
    for (plan->n_prologue = 0; plan->n_prologue < n && d[plan->n_prologue].prologue;) plan->n_prologue++;
    for (size_t j = 0; j < n; j++) {
        if (j && j == plan->n_prologue) first = ++newest;
        int epoch = by_epochs && !d[j].prologue ? first : newest; /* what is made on the way to what is kept soon dies */
        if (d[j].last) epoch = newest + (j > 0);
        for (int o = 0; o < d[j].n_operands; o++) {
            int bucket = esker__bucket_of(plan, &d[j].operands[o]);
            epoch = behind(plan, &all, all.writes[bucket], &d[j].operands[o], epoch);
            if (d[j].operands[o].write) epoch = behind(plan, &all, all.reads[bucket], &d[j].operands[o], epoch);
        }
        d[j].epoch = epoch;
        esker__remember(plan, &all, (int)j);
        if (epoch > newest) newest = epoch;
    }
    if (by_epochs) st = let_wait(plan);
    if (by_epochs && st == ESKER_OK) st = esker__plan_relieve(plan, d[n - 1].last ? newest - 1 : newest);
    if (by_epochs && st == ESKER_OK) qsort(d, n, sizeof *d, compare_epoch);
    if (by_epochs && st == ESKER_OK && plan->family == ESKER__FAMILY_NVIDIA) st = esker__plan_serialize(plan);
done:
    esker__accesses_finish(&all);
    return st;
}
