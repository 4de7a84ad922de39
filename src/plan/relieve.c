/*
 * By epochs, each dispatch stands as early as it can, and what it makes lives from there on. From the epoch with most bytes alive dispatches are moved
 * to the next one, with what waits for them, as long as that lowers the peak and the step has no more epochs: it costs no barrier. But what ran beside each
 * other then may not, so it stays where that saves clearly of all memory.
 */
#include "plan/accesses.h"

#include <string.h>

#include "base/fail.h"

#define MOST_WORK 20000000u /* operands and dependences looked at */
#define LEAST     0.015     /* part of all memory that is worth it (measured on an H200: docs/performance.md) */

typedef struct edge {
    int from, to; /* dispatches: `to` comes in a later epoch */
} edge;

typedef struct relief {
    const esker_plan *plan;
    edge *edges; /* by `to`, upwards */
    size_t n_edges, capacity;
    int newest;         /* the last epoch but that of the mark */
    int *epoch, *trial; /* by dispatch */
    int *first, *last;  /* by value: epochs */
    int64_t *change;    /* by epoch: of bytes alive */
} relief;

static esker_status add_edges(relief *r, const esker__accesses *all, int from, int to, const esker__plan_operand *o)
{
    const esker_plan *plan = r->plan;
    esker__extent extent = esker__operand_extent(plan, o);
    for (int i = from; i >= 0; i = all->list[i].next) {
        const esker__access *a = &all->list[i];
        if (!esker__extents_meet(esker__operand_extent(plan, &plan->dispatches[a->dispatch].operands[a->operand]), extent))
            continue;
        if (!esker__grow((void **)&r->edges, &r->capacity, r->n_edges, sizeof *r->edges))
            return esker__fail_memory(r->n_edges * sizeof *r->edges, "plan");
        r->edges[r->n_edges++] = (edge){a->dispatch, to};
    }
    return ESKER_OK;
}

static esker_status find_edges(relief *r)
{
    const esker_plan *plan = r->plan;
    esker__accesses all;
    esker_status st = esker__accesses_init(plan, &all);
    for (size_t j = 0; st == ESKER_OK && j < plan->n_dispatches; j++) {
        const esker__plan_dispatch *d = &plan->dispatches[j];
        for (int o = 0; o < d->n_operands && st == ESKER_OK; o++) {
            int bucket = esker__bucket_of(plan, &d->operands[o]);
            st = add_edges(r, &all, all.writes[bucket], (int)j, &d->operands[o]);
            if (st == ESKER_OK && d->operands[o].write) st = add_edges(r, &all, all.reads[bucket], (int)j, &d->operands[o]);
        }
        esker__remember(plan, &all, (int)j);
    }
    esker__accesses_finish(&all);
    return st;
}

/* The fullest epoch, and the bytes of temporaries alive in it, values living to the end of their last one. */
static int find_fullest(relief *r, const int *epoch, uint64_t *out_bytes)
{
    const esker_plan *plan = r->plan;
    for (size_t v = 0; v < plan->n_values; v++) r->first[v] = r->last[v] = -1;
    for (size_t p = 0; p < plan->n_dispatches; p++)
        for (int o = 0; o < plan->dispatches[p].n_operands; o++) {
            int v = plan->dispatches[p].operands[o].value;
            if (r->first[v] < 0 || epoch[p] < r->first[v]) r->first[v] = epoch[p];
            if (epoch[p] > r->last[v]) r->last[v] = epoch[p];
        }
    memset(r->change, 0, ((size_t)r->newest + 3) * sizeof *r->change);
    for (size_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].storage != ESKER__STORAGE_ARENA || r->first[v] < 0) continue;
        r->change[r->first[v]] += (int64_t)plan->values[v].n_bytes;
        r->change[r->last[v] + 1] -= (int64_t)plan->values[v].n_bytes;
    }
    int fullest = 0;
    int64_t alive = 0;
    *out_bytes = 0;
    for (int e = 0; e <= r->newest; e++) {
        alive += r->change[e];
        if (alive <= (int64_t)*out_bytes) continue;
        *out_bytes = (uint64_t)alive;
        fullest = e;
    }
    return fullest;
}

/* Fills r->trial: dispatch `moved` one epoch later, and what waits for it. False: there are not as many epochs. */
static bool move(relief *r, int moved)
{
    memcpy(r->trial, r->epoch, r->plan->n_dispatches * sizeof *r->trial);
    r->trial[moved]++;
    bool fits = r->trial[moved] <= r->newest;
    for (size_t i = 0; fits && i < r->n_edges; i++) {
        const edge *e = &r->edges[i];
        if (e->to <= moved || r->trial[e->to] > r->trial[e->from]) continue;
        r->trial[e->to] = r->trial[e->from] + 1;
        fits = r->trial[e->to] <= r->newest && !r->plan->dispatches[e->to].last;
    }
    return fits;
}

/* From the fullest epoch, the move that leaves the lowest peak; false: none lowers it. */
static bool relieve_once(relief *r, uint64_t *peak, int *fullest, uint64_t *work)
{
    const esker_plan *plan = r->plan;
    uint64_t best = *peak, bytes;
    int moved = -1;
    for (size_t p = plan->n_prologue; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        if (r->epoch[p] != *fullest || d->last) continue;
        *work += r->n_edges + 2 * plan->n_dispatches + 2 * plan->n_values;
        if (*work > MOST_WORK) return false;
        if (!move(r, (int)p)) continue;
        (void)find_fullest(r, r->trial, &bytes);
        if (bytes < best) best = bytes, moved = (int)p;
    }
    if (moved < 0) return false;
    (void)move(r, moved);
    memcpy(r->epoch, r->trial, plan->n_dispatches * sizeof *r->epoch);
    *fullest = find_fullest(r, r->epoch, peak);
    return true;
}

esker_status esker__plan_relieve(esker_plan *plan, int newest)
{
    size_t n = plan->n_dispatches;
    relief r = {.plan = plan,
                .newest = newest,
                .epoch = esker__malloc(n * sizeof *r.epoch),
                .trial = esker__malloc(n * sizeof *r.trial),
                .first = esker__malloc(plan->n_values * sizeof *r.first),
                .last = esker__malloc(plan->n_values * sizeof *r.last),
                .change = esker__malloc(((size_t)newest + 3) * sizeof *r.change)};
    esker_status st = find_edges(&r);
    if (st == ESKER_OK && (!r.epoch || !r.trial || !r.first || !r.last || !r.change))
        st = esker__fail_memory(n * sizeof *r.epoch, "plan");
    if (st == ESKER_OK) {
        uint64_t before, peak, work = 0;
        esker_plan_info info;
        esker_plan_get_info(plan, &info);
        for (size_t p = 0; p < n; p++) r.epoch[p] = plan->dispatches[p].epoch;
        int fullest = find_fullest(&r, r.epoch, &before);
        for (peak = before; relieve_once(&r, &peak, &fullest, &work);) {
        }
        bool worth = (double)(before - peak) >= LEAST * (double)(info.peak_bytes - info.arena_bytes + before);
        for (size_t p = 0; worth && p < n; p++) plan->dispatches[p].epoch = r.epoch[p];
    }
    esker__free(r.edges);
    esker__free(r.epoch);
    esker__free(r.trial);
    esker__free(r.first);
    esker__free(r.last);
    esker__free(r.change);
    return st;
}
