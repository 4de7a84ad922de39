/*
 * Offsets of temporaries in the arena, from their lifetimes: in place first, then the largest first at the lowest free
 * offset, with several tie-breaks, the best of which stays. Source  Offline dynamic storage allocation by decreasing size,
 * a first-fit heuristic (Pisarchyk, Lee 2020, "greedy by size").
 */
#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/philox.h"

/* ---- Intervals ---- */

typedef struct order_entry {
    const esker__interval *interval;
    size_t index;
} order_entry;

static int64_t lifetime(const esker__interval *a)
{
    return (int64_t)a->last - a->first;
}

static int by_size(const void *left, const void *right)
{
    const order_entry *a = left, *b = right;
    if (a->interval->n_bytes != b->interval->n_bytes) return a->interval->n_bytes > b->interval->n_bytes ? -1 : 1;
    if (lifetime(a->interval) != lifetime(b->interval)) return lifetime(a->interval) > lifetime(b->interval) ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int by_lifetime(const void *left, const void *right)
{
    const order_entry *a = left, *b = right;
    if (lifetime(a->interval) != lifetime(b->interval)) return lifetime(a->interval) > lifetime(b->interval) ? -1 : 1;
    return by_size(left, right);
}

static int by_first(const void *left, const void *right)
{
    const order_entry *a = left, *b = right;
    if (a->interval->first != b->interval->first) return a->interval->first < b->interval->first ? -1 : 1;
    return by_size(left, right);
}

/* What is placed already, by offset: all that the search for a gap looks at, side by side. */
typedef struct placed_interval {
    int first, last;
    uint64_t begin, end;
} placed_interval;

/*
 * The lowest offset at which `wanted` meets none of the placed intervals: walk up past each one that is alive at the same time and
 * begins before the gap is large enough.
 */
static uint64_t lowest_gap(const esker__interval *wanted, const placed_interval *placed, size_t n_placed)
{
    uint64_t at = 0, n_bytes = wanted->n_bytes;
    int first = wanted->first, last = wanted->last;
    for (const placed_interval *other = placed, *end = placed + n_placed; other < end; other++) {
        if (first > other->last || other->first > last) continue;
        if (other->begin >= at + n_bytes) break;
        if (other->end > at) at = other->end;
    }
    return at;
}

/* The bytes that the order takes; more than `most`, whatever they are, as soon as it takes more. `placed` has room for n. */
static uint64_t place_in_order(const order_entry *order, size_t n, uint64_t most, uint64_t *offsets,
                               placed_interval *placed)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        const esker__interval *interval = order[i].interval;
        uint64_t at = lowest_gap(interval, placed, i), end = at + interval->n_bytes;
        if (end > total) total = end;
        if (total > most) break;
        offsets[order[i].index] = at;
        size_t j = i;
        for (; j > 0 && placed[j - 1].begin > at; j--) placed[j] = placed[j - 1];
        placed[j] = (placed_interval){interval->first, interval->last, at, end};
    }
    return total;
}

/*
 * From the best order so far: one entry moved to another place, kept where the result is no larger. The numbers are drawn from a fixed seed, so that a plan
 * is the same each time; the work is bounded, and most plans are at their lower bound, or as near as makes no difference, before it begins.
 */
#define SEARCH_STEPS 4000
#define SEARCH_WORK  20000000u /* pairs of intervals looked at */
#define NEAR_PART    512       /* a 512th over the bound is near */

static void search(order_entry *order, esker__interval *intervals, size_t n, uint64_t bound, uint64_t *offsets,
                   placed_interval *placed, uint64_t *best)
{
    esker__random random;
    esker__random_init(&random, 1, n);
    for (size_t step = 0; step < SEARCH_STEPS && (step + 1) * n * n<SEARCH_WORK && * best> bound; step++) {
        size_t from = esker__random_below(&random, (uint32_t)n), to = esker__random_below(&random, (uint32_t)n);
        order_entry moved = order[from];
        size_t at = from;
        for (; at < to; at++) order[at] = order[at + 1];
        for (; at > to; at--) order[at] = order[at - 1];
        order[to] = moved;
        uint64_t total = place_in_order(order, n, *best, offsets, placed);
        if (total <= *best) {
            if (total < *best)
                for (size_t i = 0; i < n; i++) intervals[i].offset = offsets[i];
            *best = total;
            continue;
        }
        for (at = to; at < from; at++) order[at] = order[at + 1];
        for (; at > from; at--) order[at] = order[at - 1];
        order[from] = moved;
    }
}

static void sort(order_entry *order, const esker__interval *intervals, size_t n, int (*compare)(const void *, const void *))
{
    for (size_t i = 0; i < n; i++) order[i] = (order_entry){&intervals[i], i};
    qsort(order, n, sizeof *order, compare);
}

esker_status esker__place_intervals(esker__interval *intervals, size_t n, uint64_t *out_bytes)
{
    int (*const orders[])(const void *, const void *) = {by_size, by_lifetime, by_first};
    *out_bytes = 0;
    if (!n) return ESKER_OK;
    order_entry *order = esker__malloc(n * sizeof *order);
    uint64_t *offsets = esker__malloc(n * sizeof *offsets);
    placed_interval *placed = esker__malloc(n * sizeof *placed);
    esker_status st = ESKER_OK;
    if (!order || !offsets || !placed) {
        st = esker__fail_memory(n * sizeof *order, "memory plan");
        goto done;
    }
    uint64_t bound;
    size_t best = 0;
    st = esker__intervals_lower_bound(intervals, n, &bound);
    if (st != ESKER_OK) goto done;
    for (size_t k = 0; k < sizeof orders / sizeof orders[0]; k++) {
        sort(order, intervals, n, orders[k]);
        uint64_t total = place_in_order(order, n, UINT64_MAX, offsets, placed);
        if (k > 0 && total >= *out_bytes) continue;
        best = k;
        *out_bytes = total;
        for (size_t i = 0; i < n; i++) intervals[i].offset = offsets[i];
    }
    bound += bound / NEAR_PART;
    if (*out_bytes > bound) {
        sort(order, intervals, n, orders[best]);
        search(order, intervals, n, bound, offsets, placed, out_bytes);
    }
done:
    esker__free(order);
    esker__free(offsets);
    esker__free(placed);
    return st;
}

/* The most bytes alive at one time, and the first such time. */
static esker_status find_fullest(const esker__interval *intervals, size_t n, uint64_t *out_bytes, int *out_time)
{
    *out_bytes = 0;
    *out_time = 0;
    int end = 0;
    for (size_t i = 0; i < n; i++)
        if (intervals[i].last > end) end = intervals[i].last;
    /* Births add, deaths subtract one later; the running sum's maximum is the bound. */
    uint64_t *change = esker__calloc((size_t)end + 2, sizeof *change);
    if (!change) return esker__fail_memory(((size_t)end + 2) * sizeof *change, "memory plan");
    for (size_t i = 0; i < n; i++) {
        change[intervals[i].first] += intervals[i].n_bytes;
        change[intervals[i].last + 1] -= intervals[i].n_bytes; /* wraps, and wraps back in the sum */
    }
    uint64_t alive = 0;
    for (int t = 0; t <= end; t++) {
        alive += change[t];
        if (alive <= *out_bytes) continue;
        *out_bytes = alive;
        *out_time = t;
    }
    esker__free(change);
    return ESKER_OK;
}

esker_status esker__intervals_lower_bound(const esker__interval *intervals, size_t n, uint64_t *out_bytes)
{
    int time;
    return find_fullest(intervals, n, out_bytes, &time);
}

/* ---- Values of a plan ---- */

typedef struct life {
    int first, last;      /* dispatch positions; first is -1 for a value that no dispatch touches */
    int last_epoch_users; /* dispatches in the epoch of `last` that touch it */
} life;

static void find_lives(const esker_plan *plan, life *lives)
{
    for (size_t v = 0; v < plan->n_values; v++) lives[v] = (life){-1, -1, 0};
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        const esker__plan_dispatch *d = &plan->dispatches[p];
        for (int i = 0; i < d->n_operands; i++) {
            life *l = &lives[d->operands[i].value];
            if (l->last == (int)p) continue;
            bool same_epoch = l->last >= 0 && plan->dispatches[l->last].epoch == d->epoch;
            l->last_epoch_users = same_epoch ? l->last_epoch_users + 1 : 1;
            if (l->first < 0) l->first = (int)p;
            l->last = (int)p;
        }
    }
}

/* Let the value that dispatch `p` creates take over the bytes of an input that dies there. */
static void join_in_place(esker_plan *plan, const life *lives, int p)
{
    esker__plan_dispatch *d = &plan->dispatches[p];
    for (int k = 0; k < 2; k++) {
        int from = d->in_place[k];
        if (from < 0 || plan->values[from].block < 0 || lives[from].last != p || lives[from].last_epoch_users != 1)
            continue;
        for (int i = 0; i < d->n_operands; i++) {
            esker__plan_value *to = &plan->values[d->operands[i].value];
            if (!d->operands[i].write || d->operands[i].value == from || to->block < 0) continue;
            if (lives[d->operands[i].value].first != p || to->n_bytes != plan->values[from].n_bytes) continue;
            to->block = plan->values[from].block;
            return;
        }
    }
}

static int assign_blocks(esker_plan *plan, const life *lives)
{
    int n_blocks = 0;
    for (size_t v = 0; v < plan->n_values; v++) {
        bool temporary = plan->values[v].storage == ESKER__STORAGE_ARENA && lives[v].first >= 0;
        plan->values[v].block = temporary ? n_blocks++ : -1;
    }
    for (size_t p = 0; p < plan->n_dispatches; p++) join_in_place(plan, lives, (int)p);
    return n_blocks;
}

/* One interval for each block; joined blocks leave empty ones behind, with no bytes and a lifetime of nothing. */
static void find_intervals(const esker_plan *plan, const life *lives, const int *epoch_end, esker__interval *intervals,
                           int n_blocks)
{
    for (int b = 0; b < n_blocks; b++) intervals[b] = (esker__interval){.first = -1};
    for (size_t v = 0; v < plan->n_values; v++) {
        if (plan->values[v].block < 0) continue;
        esker__interval *i = &intervals[plan->values[v].block];
        int last = epoch_end ? epoch_end[plan->dispatches[lives[v].last].epoch] : lives[v].last;
        uint64_t n_bytes = esker__round_up(plan->values[v].n_bytes, ESKER__VALUE_ALIGN);
        if (i->first < 0 || lives[v].first < i->first) i->first = lives[v].first;
        if (last > i->last) i->last = last;
        if (n_bytes > i->n_bytes) i->n_bytes = n_bytes;
    }
    for (int b = 0; b < n_blocks; b++)
        if (intervals[b].first < 0) intervals[b].first = 0;
}

static void apply(esker_plan *plan, const esker__interval *intervals, uint64_t arena_bytes)
{
    for (size_t v = 0; v < plan->n_values; v++)
        if (plan->values[v].block >= 0) plan->values[v].offset = intervals[plan->values[v].block].offset;
    plan->arena_bytes = arena_bytes;
}

/* Until the lower bound is at most `most`: the largest of the intervals that are alive at the fullest moment for their last epoch's sake alone is tightened. */
static esker_status tighten(const esker__interval *tight, esker__interval *loose, size_t n, uint64_t most)
{
    for (;;) {
        uint64_t alive;
        int fullest;
        esker_status st = find_fullest(loose, n, &alive, &fullest);
        if (st != ESKER_OK || alive <= most) return st;
        size_t found = n;
        for (size_t i = 0; i < n; i++)
            if (loose[i].first <= fullest && tight[i].last < fullest && loose[i].last >= fullest &&
                (found == n || loose[i].n_bytes > loose[found].n_bytes))
                found = i;
        if (found == n) return ESKER_OK;
        loose[found].last = tight[found].last;
    }
}

/*
 * Bytes that are freed and used again within one epoch need a barrier there, so values live to the end of their last epoch (`loose`), but for
 * those that have to go earlier for the arena to stay within `most`. In `loose` the offsets come out.
 */
static esker_status loosen(const esker__interval *tight, esker__interval *loose, size_t n, uint64_t most,
                           uint64_t *out_bytes)
{
    uint64_t bound = 0;
    esker_status st = esker__intervals_lower_bound(tight, n, &bound);
    for (int turn = 4; st == ESKER_OK && turn >= 0; turn--) { /* less room each time: placing takes some of it */
        st = tighten(tight, loose, n, bound + (most - bound) / 4 * (uint64_t)turn);
        for (size_t i = 0; turn == 0 && i < n; i++) loose[i].last = tight[i].last;
        if (st == ESKER_OK) st = esker__place_intervals(loose, n, out_bytes);
        if (st == ESKER_OK && *out_bytes <= most) break;
    }
    return st;
}

esker_status esker__plan_place(esker_plan *plan)
{
    esker_status st = ESKER_OK;
    int n_epochs = plan->n_dispatches ? plan->dispatches[plan->n_dispatches - 1].epoch + 1 : 1, n_blocks;
    life *lives = esker__malloc(plan->n_values * sizeof *lives);
    int *epoch_end = esker__calloc((size_t)n_epochs, sizeof *epoch_end);
    esker__interval *tight = esker__malloc(plan->n_values * sizeof *tight);
    esker__interval *loose = esker__malloc(plan->n_values * sizeof *loose);
    if (!lives || !epoch_end || !tight || !loose) {
        st = esker__fail_memory(plan->n_values * sizeof *tight, "memory plan");
        goto done;
    }
    for (size_t p = 0; p < plan->n_dispatches; p++) epoch_end[plan->dispatches[p].epoch] = (int)p;
    find_lives(plan, lives);
    n_blocks = assign_blocks(plan, lives);
    find_intervals(plan, lives, NULL, tight, n_blocks);
    find_intervals(plan, lives, epoch_end, loose, n_blocks);
    uint64_t n_bytes, most;
    st = esker__intervals_lower_bound(tight, (size_t)n_blocks, &plan->arena_lower_bound);
    most = plan->arena_lower_bound + plan->arena_lower_bound / 20;
    if (plan->arena_wanted && plan->arena_wanted < most) most = plan->arena_wanted;
    if (most < plan->arena_lower_bound) most = plan->arena_lower_bound;
    if (st == ESKER_OK) st = loosen(tight, loose, (size_t)n_blocks, most, &n_bytes);
    if (st == ESKER_OK) apply(plan, loose, n_bytes);
done:
    esker__free(lives);
    esker__free(epoch_end);
    esker__free(tight);
    esker__free(loose);
    return st;
}
