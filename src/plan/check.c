/*
 * The proof of a plan: replay its dispatches over a map of who wrote which bytes when. Shares no code with the stages that
 * placed the values and the barriers, beyond the plan itself.
 */
#include "plan/plan.h"

#include "base/fail.h"

/* An access that the map remembers: the newest write of a range, or a read since. */
typedef struct access {
    int dispatch, value, run; /* run: counts barriers */
    bool write, uniform;      /* read as a uniform block */
    int storage;
    uint64_t begin, end;
    uint64_t period,
        part; /* 0, or of every so many bytes part_bytes from byte `part` of the storage on, and so many behind it */
    uint64_t part_bytes;
} access;

typedef struct map {
    const esker_plan *plan;
    access *list;
    size_t n, capacity;
    int *last_use, *first_use; /* by value */
    int run, uniform_run;      /* of the newest barrier; of the newest one for uniform blocks */
    size_t first_change;       /* the first dispatch of a step that writes parameters; n_dispatches if none does */
} map;

static access access_of(const map *m, int p, const esker__plan_operand *o)
{
    const esker__plan_value *value = &m->plan->values[o->value];
    uint64_t begin = value->offset + o->offset;
    return (access){.dispatch = p,
                    .value = o->value,
                    .run = m->run,
                    .write = o->write,
                    .uniform = o->uniform,
                    .storage = value->storage,
                    .begin = begin,
                    .end = begin + o->n_bytes,
                    .period = o->period,
                    .part = begin + o->part_at,
                    .part_bytes = o->part_bytes};
}

/* Other columns of the same rows: no byte of one is a byte of the other. */
static bool are_columns(const access *a, const access *b)
{
    if (!a->period || a->period != b->period) return false;
    uint64_t from = a->part % a->period, to = b->part % b->period;
    if (to < from) return to + b->part_bytes <= from && from + a->part_bytes <= to + a->period;
    return from + a->part_bytes <= to && to + b->part_bytes <= from + a->period;
}

static bool share_bytes(const access *a, const access *b)
{
    return a->storage == b->storage && a->begin < b->end && b->begin < a->end && !are_columns(a, b);
}

static esker_status remember(map *m, access a)
{
    if (!esker__grow((void **)&m->list, &m->capacity, m->n, sizeof *m->list))
        return esker__fail_memory(sizeof a, "plan check");
    m->list[m->n++] = a;
    return ESKER_OK;
}

static const char *name_of(const esker_plan *plan, int dispatch)
{
    return plan->kernels[plan->dispatches[dispatch].kernel].name;
}

static esker_status fail_pair(const map *m, const char *what, const access *a, const access *b)
{
    return esker__fail(
        ESKER_ERR_INTERNAL,
        "plan check: %s: dispatch %d (%s) bytes %llu to %llu, dispatch %d (%s) bytes %llu to %llu, storage %d", what,
        a->dispatch, name_of(m->plan, a->dispatch), (unsigned long long)a->begin, (unsigned long long)a->end, b->dispatch,
        name_of(m->plan, b->dispatch), (unsigned long long)b->begin, (unsigned long long)b->end, a->storage);
}

/* Slices of one dispatch. */
static bool same_dispatch(const esker_plan *plan, int a, int b)
{
    return plan->dispatches[a].sequence == plan->dispatches[b].sequence;
}

static esker_status check_access(map *m, const access *now)
{
    const esker_plan *plan = m->plan;
    for (size_t i = 0; i < m->n; i++) {
        const access *old = &m->list[i];
        if (!share_bytes(old, now)) continue;
        bool conflict = (old->write || now->write) && !same_dispatch(plan, old->dispatch, now->dispatch);
        int run = now->uniform && old->write ? m->uniform_run : m->run;
        if (conflict && old->run >= run) return fail_pair(m, "no barrier between", old, now);
        if (now->storage == ESKER__STORAGE_HOISTED && old->value != now->value)
            return fail_pair(m, "kept bytes shared", old, now);
        if (now->storage != ESKER__STORAGE_ARENA || old->value == now->value) continue;
        /* Another value has these bytes. A write may take them over once it is dead, or as an in-place result at its death.
         */
        int death = m->last_use[old->value];
        bool in_place = same_dispatch(plan, death, now->dispatch) &&
                        (plan->dispatches[now->dispatch].in_place[0] == old->value ||
                         plan->dispatches[now->dispatch].in_place[1] == old->value) &&
                        m->first_use[now->value] <= now->dispatch;
        if (now->write && death >= now->dispatch && !in_place) return fail_pair(m, "live bytes overwritten", old, now);
    }
    return ESKER_OK;
}

static bool is_prologue(const esker_plan *plan, int dispatch)
{
    return (size_t)dispatch < plan->n_prologue;
}

/* The prologue is not run in every step, and has no step to look at: it writes temporaries and what is kept, which steps do not write. */
static esker_status check_prologue(const map *m, const access *now)
{
    const esker_plan *plan = m->plan;
    bool given = now->storage == ESKER__STORAGE_PARAMETERS || now->storage == ESKER__STORAGE_CONSTANTS,
         kept = now->storage == ESKER__STORAGE_HOISTED, inside = is_prologue(plan, now->dispatch);
    const esker__plan_dispatch *d = &plan->dispatches[now->dispatch];
    if (inside != d->prologue || (inside && d->uses_step) || (kept && now->write && !inside) ||
        (inside && !kept && now->storage != ESKER__STORAGE_ARENA && (!given || now->write)))
        return esker__fail(ESKER_ERR_INTERNAL, "plan check: dispatch %d (%s) %s bytes %llu to %llu of storage %d %s",
                           now->dispatch, name_of(plan, now->dispatch), now->write ? "writes" : "reads",
                           (unsigned long long)now->begin, (unsigned long long)now->end, now->storage,
                           inside ? "in the prologue" : "outside of the prologue");
    for (size_t p = m->first_change; inside && given && p < plan->n_dispatches; p++)
        for (int i = 0; i < plan->dispatches[p].n_operands; i++) {
            esker__extent extent = esker__operand_extent(plan, &plan->dispatches[p].operands[i]);
            if (plan->dispatches[p].operands[i].write && extent.storage == now->storage && extent.begin < now->end &&
                now->begin < extent.end)
                return esker__fail(ESKER_ERR_INTERNAL,
                                   "plan check: the prologue reads what dispatch %zu (%s) of a step writes", p,
                                   name_of(plan, (int)p));
        }
    return ESKER_OK;
}

/* A temporary that is read must have been written by its own dispatches, and by nobody else since. */
static esker_status check_read(const map *m, const access *now)
{
    if (now->storage != ESKER__STORAGE_ARENA && now->storage != ESKER__STORAGE_HOISTED) return ESKER_OK;
    bool written = false;
    for (size_t i = m->n; i-- > 0;) {
        const access *old = &m->list[i];
        if (!old->write || !share_bytes(old, now)) continue;
        if (old->value != now->value && !same_dispatch(m->plan, old->dispatch, now->dispatch)) {
            if (written) break;
            return fail_pair(m, "bytes of another value read", old, now);
        }
        if (old->value != now->value) continue;
        written = true;
        if (now->storage == ESKER__STORAGE_ARENA &&
            is_prologue(m->plan, old->dispatch) != is_prologue(m->plan, now->dispatch))
            return fail_pair(m, "a step reads what the prologue left in memory that steps write", old, now);
    }
    if (!written)
        return esker__fail(ESKER_ERR_INTERNAL, "plan check: dispatch %d (%s) reads bytes %llu to %llu that nobody wrote",
                           now->dispatch, name_of(m->plan, now->dispatch), (unsigned long long)now->begin,
                           (unsigned long long)now->end);
    return ESKER_OK;
}

static esker_status check_bounds(const esker_plan *plan, int dispatch, const access *a)
{
    const esker_limits *limits = &plan->limits;
    uint32_t align = a->uniform ? limits->uniform_align : limits->storage_align;
    uint64_t most = a->uniform ? limits->uniform_block_bytes : limits->storage_block_bytes;
    if (a->end > esker__plan_storage_bytes(plan, a->storage) || a->begin % align || a->end - a->begin > most)
        return esker__fail(ESKER_ERR_INTERNAL,
                           "plan check: dispatch %d (%s): bytes %llu to %llu of storage %d with %llu bytes", dispatch,
                           name_of(plan, dispatch), (unsigned long long)a->begin, (unsigned long long)a->end, a->storage,
                           (unsigned long long)esker__plan_storage_bytes(plan, a->storage));
    return ESKER_OK;
}

/* Behind a barrier nobody can be too early for a read before it, and whose the bytes are is known from the writes. */
static void forget_reads(map *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->list[i].write) m->list[kept++] = m->list[i];
    m->n = kept;
}

/* Old accesses that can no longer matter: before the newest barrier, and hidden by a newer write of the same range. */
static void forget(map *m, const access *newer)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->n; i++) {
        const access *old = &m->list[i];
        bool hidden = old->run < m->run && old->storage == newer->storage && old->begin >= newer->begin &&
                      old->end <= newer->end && old->dispatch != newer->dispatch;
        if (!hidden) m->list[kept++] = *old;
    }
    m->n = kept;
}

/* What a dispatch writes over something it reads must lie exactly there: only then is each element read before it goes. */
static esker_status check_own(const esker_plan *plan, int p)
{
    const esker__plan_dispatch *d = &plan->dispatches[p];
    for (int i = 0; i < d->n_operands; i++) {
        esker__extent written = esker__operand_extent(plan, &d->operands[i]);
        for (int j = 0; d->operands[i].write && j < d->n_operands; j++) {
            esker__extent read = esker__operand_extent(plan, &d->operands[j]);
            if (d->operands[j].value == d->operands[i].value || !esker__extents_meet(written, read)) continue;
            if (written.begin != read.begin || written.end != read.end)
                return esker__fail(
                    ESKER_ERR_INTERNAL,
                    "plan check: dispatch %d (%s) writes bytes %llu to %llu over what it reads from bytes %llu "
                    "to %llu",
                    p, name_of(plan, p), (unsigned long long)written.begin, (unsigned long long)written.end,
                    (unsigned long long)read.begin, (unsigned long long)read.end);
        }
    }
    return ESKER_OK;
}

static esker_status check_dispatch(map *m, int p)
{
    const esker_plan *plan = m->plan;
    const esker__plan_dispatch *d = &plan->dispatches[p];
    if (d->barrier) {
        m->run++;
        forget_reads(m);
    }
    if (d->barrier && d->operands[d->n_operands - 1].uniform) m->uniform_run = m->run;
    esker_status st = ESKER_OK;
    if (!d->barrier && (p == 0 || (size_t)p == plan->n_prologue))
        return esker__fail(ESKER_ERR_INTERNAL,
                           "plan check: dispatch %d (%s), at which a step may begin, has no barrier before it", p,
                           name_of(plan, p));
    size_t n_before = m->n;
    for (int i = 0; st == ESKER_OK && i < d->n_operands; i++) {
        access now = access_of(m, p, &d->operands[i]);
        st = check_bounds(plan, p, &now);
        size_t n_all = m->n;
        m->n = n_before; /* not against its own other operands */
        if (st == ESKER_OK) st = check_prologue(m, &now);
        if (st == ESKER_OK) st = check_access(m, &now);
        if (st == ESKER_OK && !now.write) st = check_read(m, &now);
        m->n = n_all;
        if (st == ESKER_OK) st = remember(m, now);
    }
    if (st == ESKER_OK) st = check_own(plan, p);
    for (int i = 0; st == ESKER_OK && i < d->n_operands; i++) {
        access now = access_of(m, p, &d->operands[i]);
        if (now.write && !now.period) forget(m, &now);
    }
    return st;
}

static bool writes_parameters(const esker_plan *plan, const esker__plan_dispatch *d)
{
    for (int i = 0; i < d->n_operands; i++)
        if (d->operands[i].write && plan->values[d->operands[i].value].storage == ESKER__STORAGE_PARAMETERS) return true;
    return false;
}

esker_status esker_plan_check(const esker_plan *plan)
{
    map m = {.plan = plan};
    esker_status st = ESKER_OK;
    m.last_use = esker__malloc(plan->n_values * sizeof *m.last_use);
    m.first_use = esker__malloc(plan->n_values * sizeof *m.first_use);
    if (!m.last_use || !m.first_use) {
        st = esker__fail_memory(plan->n_values * sizeof *m.last_use, "plan check");
        goto done;
    }
    for (size_t v = 0; v < plan->n_values; v++) m.last_use[v] = m.first_use[v] = -1;
    m.first_change = plan->n_dispatches;
    for (size_t p = plan->n_dispatches; p-- > plan->n_prologue;)
        if (writes_parameters(plan, &plan->dispatches[p])) m.first_change = p;
    for (size_t p = 0; p < plan->n_dispatches; p++)
        for (int i = 0; i < plan->dispatches[p].n_operands; i++) {
            int value = plan->dispatches[p].operands[i].value;
            if (m.first_use[value] < 0) m.first_use[value] = (int)p;
            m.last_use[value] = (int)p;
        }
    for (size_t p = 0; st == ESKER_OK && p < plan->n_dispatches; p++) {
        /* Slices have the operands of the whole, and follow one another: one access. */
        if (p > 0 && same_dispatch(plan, (int)p - 1, (int)p)) continue;
        st = check_dispatch(&m, (int)p);
    }
done:
    esker__free(m.list);
    esker__free(m.last_use);
    esker__free(m.first_use);
    return st;
}
