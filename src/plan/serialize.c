/*
 * An order by epochs has no barrier inside of one, so that all that an epoch reads and writes is in memory at once. A barrier inside of the fullest ones
 * lets what is made take the place of what has been read: dispatches that free more than they make go first, and the placement does the rest. It costs
 * that barrier, and what overlapped then does not. So it is done in one epoch, where that clearly saves a larger part of all memory than it adds to the time of a step, as estimated;
 * and in more where parameters and their states are what a model's memory goes to, if what is alive beside them comes down to a quarter of the parameters.
 */
#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

/* Measured on an H200: seconds of a barrier; how much longer than their arithmetic or memory traffic alone dispatches take; what part of that others hide. */
#define BARRIER     3e-6
#define TIMES_LIMIT 2
#define HIDDEN      0.5
#define CLEARLY     1.5
#define MOST        0.02  /* of a step, for the sake of memory alone, */
#define LEAST       0.015 /* and the least part of all memory that is worth it */

#define OF_PARAMETERS \
    4 /* temporaries are to take at most this part of what parameters do, if one after the other they do */

typedef struct stretch {
    size_t first, n;       /* dispatches of an epoch */
    int64_t whole, serial; /* bytes alive at most: all dispatches at once, and one after the other */
} stretch;

typedef struct serializing {
    esker_plan *plan;
    stretch *epochs;
    int n;
    int *first, *last; /* by value: epochs; -1: none */
    int *users, *uses; /* by value: dispatches of the epoch at hand that are still to come, and all of them */
    bool *alive;       /* by value */
    size_t *order;     /* of the dispatches of the epoch at hand */
} serializing;

/* Whether operand `o` of `d` is of a temporary that no operand before it is of. */
static bool is_new_temporary(const esker_plan *plan, const esker__plan_dispatch *d, int o)
{
    bool is_new = plan->values[d->operands[o].value].storage == ESKER__STORAGE_ARENA;
    for (int i = 0; i < o; i++) is_new = is_new && d->operands[i].value != d->operands[o].value;
    return is_new;
}

static void find_epochs(serializing *s)
{
    const esker_plan *plan = s->plan;
    for (size_t v = 0; v < plan->n_values; v++) s->first[v] = s->last[v] = -1;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        if (!p || d->epoch != d[-1].epoch) s->epochs[s->n++] = (stretch){.first = p};
        s->epochs[s->n - 1].n++;
        for (int o = 0; o < d->n_operands; o++) {
            if (s->first[d->operands[o].value] < 0) s->first[d->operands[o].value] = s->n - 1;
            s->last[d->operands[o].value] = s->n - 1;
        }
    }
}

/* Bytes of what `d`, of epoch `e`, makes in the place of a value that nobody else reads in that epoch, its last (memory.c). `uses`: dispatches of the epoch, by value. */
static int64_t in_place(const serializing *s, int e, const esker__plan_dispatch *d, const int *uses)
{
    const esker_plan *plan = s->plan;
    for (int k = 0; k < 2; k++) {
        int from = d->in_place[k];
        if (from < 0 || plan->values[from].storage != ESKER__STORAGE_ARENA || s->last[from] != e || uses[from] != 1)
            continue;
        for (int o = 0; o < d->n_operands; o++) {
            const esker__plan_value *to = &plan->values[d->operands[o].value];
            if (d->operands[o].write && to->storage == ESKER__STORAGE_ARENA && s->first[d->operands[o].value] == e &&
                to->n_bytes == plan->values[from].n_bytes)
                return (int64_t)to->n_bytes;
        }
    }
    return 0;
}

/* What dispatch `p` of epoch `e` would make, and what would die with it, now. */
static void find_change(const serializing *s, int e, size_t p, int64_t *out_made, int64_t *out_freed)
{
    const esker_plan *plan = s->plan;
    const esker__plan_dispatch *d = &plan->dispatches[p];
    *out_made = *out_freed = 0;
    for (int o = 0; o < d->n_operands; o++) {
        int v = d->operands[o].value;
        if (!is_new_temporary(plan, d, o)) continue;
        if (!s->alive[v]) *out_made += (int64_t)plan->values[v].n_bytes;
        if (s->last[v] == e && s->users[v] == 1) *out_freed += (int64_t)plan->values[v].n_bytes;
    }
    int64_t taken = in_place(s, e, d, s->uses);
    *out_made -= taken;
    *out_freed -= taken;
}

/* Lets dispatch `p` run: what it makes is alive, what dies with it is not. */
static void run_now(serializing *s, int e, size_t p)
{
    const esker_plan *plan = s->plan;
    const esker__plan_dispatch *d = &plan->dispatches[p];
    for (int o = 0; o < d->n_operands; o++) {
        int v = d->operands[o].value;
        if (!is_new_temporary(plan, d, o)) continue;
        s->alive[v] = s->last[v] != e || --s->users[v] > 0;
    }
}

static void find_whole(serializing *s, int e, int64_t alive)
{
    const esker_plan *plan = s->plan;
    stretch *epoch = &s->epochs[e];
    epoch->whole = alive;
    for (size_t p = epoch->first; p < epoch->first + epoch->n; p++)
        for (int o = 0; o < plan->dispatches[p].n_operands; o++) {
            int v = plan->dispatches[p].operands[o].value;
            if (!is_new_temporary(plan, &plan->dispatches[p], o)) continue;
            if (s->first[v] == e && !s->users[v]) epoch->whole += (int64_t)plan->values[v].n_bytes;
            s->uses[v] = ++s->users[v];
        }
    for (size_t p = epoch->first; p < epoch->first + epoch->n; p++)
        epoch->whole -= in_place(s, e, &plan->dispatches[p], s->uses);
}

/* The dispatches of epoch `e`, always that next which leaves least, in s->order, and the bytes alive at most. `alive`: those before, and then those behind. */
static int64_t find_order(serializing *s, int e, int64_t *alive)
{
    const stretch *epoch = &s->epochs[e];
    int64_t most = 0;
    find_whole(s, e, *alive);
    for (size_t i = 0; i < epoch->n; i++) s->order[i] = epoch->first + i;
    for (size_t i = 0; i < epoch->n; i++) {
        size_t best = i;
        int64_t made, freed, best_made, best_freed;
        find_change(s, e, s->order[i], &best_made, &best_freed);
        for (size_t j = i + 1; j < epoch->n; j++) {
            find_change(s, e, s->order[j], &made, &freed);
            if (made - freed >= best_made - best_freed) continue;
            best = j, best_made = made, best_freed = freed;
        }
        size_t next = s->order[best];
        memmove(&s->order[i + 1], &s->order[i], (best - i) * sizeof *s->order);
        s->order[i] = next;
        if (*alive + best_made > most) most = *alive + best_made;
        *alive += best_made - best_freed;
        run_now(s, e, next);
    }
    for (size_t p = epoch->first; p < epoch->first + epoch->n; p++)
        for (int o = 0; o < s->plan->dispatches[p].n_operands; o++) s->users[s->plan->dispatches[p].operands[o].value] = 0;
    return most;
}

static int compare_whole(const void *left, const void *right)
{
    const stretch *a = left, *b = right;
    return a->whole != b->whole ? (a->whole > b->whole ? -1 : 1) : a->first < b->first ? -1 : 1;
}

static double seconds_of(const esker_plan *plan, const esker__plan_dispatch *d)
{
    return TIMES_LIMIT * (d->cost.flops / plan->flops_per_second + d->cost.bytes / plan->bytes_per_second);
}

/* What serializing an epoch adds to a step. */
static double seconds_more(const esker_plan *plan, const stretch *epoch)
{
    double sum = 0, longest = 0;
    for (size_t p = epoch->first; p < epoch->first + epoch->n; p++) {
        double seconds = seconds_of(plan, &plan->dispatches[p]);
        sum += seconds;
        if (seconds > longest) longest = seconds;
    }
    return BARRIER + HIDDEN * (sum - longest);
}

/* How many of the fullest epochs, first in `sorted`, are to be serialized, and the bytes alive at most then. */
static int choose(const serializing *s, const stretch *sorted, int64_t *out_peak)
{
    const esker_plan *plan = s->plan;
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    int64_t serial = 0, wanted = (int64_t)info.parameter_bytes / OF_PARAMETERS;
    for (int n = 1; n < s->n && sorted[0].whole > wanted; n++) {
        if (sorted[n - 1].serial > serial) serial = sorted[n - 1].serial;
        *out_peak = sorted[n].whole > serial ? sorted[n].whole : serial;
        if (*out_peak <= wanted) return n;
    }
    double step = BARRIER * s->n, total = (double)(info.peak_bytes - info.arena_bytes) + (double)sorted[0].whole;
    for (size_t p = plan->n_prologue; p < plan->n_dispatches; p++) step += seconds_of(plan, &plan->dispatches[p]);
    *out_peak = s->n > 1 && sorted[1].whole > sorted[0].serial ? sorted[1].whole : sorted[0].serial;
    double saved = (double)(sorted[0].whole - *out_peak) / total, more = seconds_more(plan, &sorted[0]) / step;
    if (saved >= LEAST && more <= MOST && saved > CLEARLY * more) return 1;
    *out_peak = sorted[0].whole;
    return 0;
}

static void put_in_order(const serializing *s, const stretch *epoch, esker__plan_dispatch *room)
{
    memcpy(room, &s->plan->dispatches[epoch->first], epoch->n * sizeof *room);
    for (size_t i = 0; i < epoch->n; i++) s->plan->dispatches[epoch->first + i] = room[s->order[i] - epoch->first];
}

esker_status esker__plan_serialize(esker_plan *plan)
{
    size_t n = plan->n_dispatches;
    serializing s = {.plan = plan,
                     .epochs = esker__calloc(n, sizeof *s.epochs),
                     .first = esker__malloc(plan->n_values * sizeof *s.first),
                     .last = esker__malloc(plan->n_values * sizeof *s.last),
                     .users = esker__calloc(plan->n_values, sizeof *s.users),
                     .uses = esker__calloc(plan->n_values, sizeof *s.uses),
                     .alive = esker__calloc(plan->n_values, sizeof *s.alive),
                     .order = esker__malloc(n * sizeof *s.order)};
    stretch *sorted = esker__malloc(n * sizeof *sorted);
    esker__plan_dispatch *room = esker__malloc(n * sizeof *room);
    esker_status st = ESKER_OK;
    int64_t alive = 0;
    if (!s.epochs || !s.first || !s.last || !s.users || !s.uses || !s.alive || !s.order || !sorted || !room) {
        st = esker__fail_memory(n * sizeof *room, "plan");
        goto done;
    }
    find_epochs(&s);
    for (int e = 0; e < s.n; e++) s.epochs[e].serial = find_order(&s, e, &alive);
    memcpy(sorted, s.epochs, (size_t)s.n * sizeof *sorted);
    qsort(sorted, (size_t)s.n, sizeof *sorted, compare_whole);
    int64_t peak;
    int n_full = choose(&s, sorted, &peak);
    if (!n_full) goto done;
    plan->arena_wanted = (uint64_t)(peak + peak / 1000); /* placing takes some */
    for (int e = 0; e < s.n; e++) {
        bool full = s.epochs[e].whole >= sorted[n_full - 1].whole;
        (void)find_order(&s, e, &alive);
        if (full) put_in_order(&s, &s.epochs[e], room);
    }
done:
    esker__free(s.epochs);
    esker__free(s.first);
    esker__free(s.last);
    esker__free(s.users);
    esker__free(s.uses);
    esker__free(s.alive);
    esker__free(s.order);
    esker__free(sorted);
    esker__free(room);
    return st;
}
