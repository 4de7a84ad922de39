/* How long work takes: rounds of repeated launches, each round behind one fence; and the limits of a device by kernels that do nothing else. */
#include <esker/measure.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "plan/plan.h"

#define MAX_ROUNDS  64
#define MAX_REPEATS 100000

/* What is measured: `n` launches. */
typedef struct work {
    esker_device *dev;
    const esker__launch *launches;
    int n;
} work;

static esker_status run(const work *w, int64_t repeats, double *out_seconds)
{
    esker__fence fence = {0};
    uint64_t start = esker__now_ns();
    esker_status st = esker__launches_check(w->dev, w->launches, w->n);
    for (int64_t i = 0; st == ESKER_OK && i < repeats; i++) st = esker__submit_checked(w->dev, w->launches, w->n);
    if (st == ESKER_OK) st = esker__fence_put(w->dev, &fence);
    if (st == ESKER_OK) st = esker__fence_wait(w->dev, &fence, false);
    esker__fence_drop(w->dev, &fence);
    *out_seconds = (double)(esker__now_ns() - start + 1) * 1e-9;
    return st;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static esker_status measure(const work *w, const esker_measure_desc *desc, esker_timing *out)
{
    int rounds = desc && desc->rounds > 0 ? desc->rounds : 5;
    double wanted = desc && desc->round_seconds > 0 ? desc->round_seconds : 0.02, times[MAX_ROUNDS], seconds;
    if (rounds > MAX_ROUNDS) rounds = MAX_ROUNDS;
    /* The first run compiles, on some drivers. */
    esker_status st = run(w, 1, &seconds);
    int64_t repeats = 1;
    for (; st == ESKER_OK && repeats < MAX_REPEATS; repeats *= 2) {
        st = run(w, repeats, &seconds);
        if (seconds * 2 > wanted) break;
    }
    for (int i = 0; st == ESKER_OK && i < rounds; i++) {
        st = run(w, repeats, &seconds);
        times[i] = seconds / (double)repeats;
    }
    if (st != ESKER_OK) return st;
    qsort(times, (size_t)rounds, sizeof *times, by_value);
    *out = (esker_timing){.median_seconds = rounds % 2 ? times[rounds / 2]
                                                       : (times[rounds / 2 - 1] + times[rounds / 2]) / 2,
                          .min_seconds = times[0],
                          .max_seconds = times[rounds - 1],
                          .repeats = repeats};
    return ESKER_OK;
}

/* Those of the plan's launches, in order, without the others; what a barrier stands before is behind it also where one was left out. */
static int copy_launches(const esker_plan *plan, const bool *which, esker__launch *out)
{
    int n = 0;
    bool barrier = true;
    for (size_t p = 0; p < plan->n_dispatches; p++) {
        barrier |= plan->launches[p].barrier;
        if (!which[p]) continue;
        out[n] = plan->launches[p];
        out[n++].barrier = barrier;
        barrier = false;
    }
    return n;
}

esker_status esker__plan_measure_some(esker_plan *plan, const bool *which, const esker_measure_desc *desc,
                                      esker_timing *out)
{
    *out = (esker_timing){0};
    esker_status st = esker__plan_need_all_slots(plan);
    if (st != ESKER_OK) return st;
    esker__plan_point_at_slot(plan, 0);
    st = esker__plan_prepare(plan);
    if (st != ESKER_OK) return st;
    esker__launch *launches = esker__malloc(plan->n_dispatches * sizeof *launches);
    if (!launches) return esker__fail_memory(plan->n_dispatches * sizeof *launches, "measuring");
    int n = copy_launches(plan, which, launches);
    st = measure(&(work){plan->device, launches, n}, desc, out);
    esker__plan_note_run(plan, plan->n_prologue);
    for (size_t p = 0; p < plan->n_prologue; p++)
        if (which[p]) plan->prepared = false; /* without the rest of it, on whatever its temporaries hold now */
    esker__free(launches);
    return st;
}

esker_status esker_plan_measure(esker_plan *plan, int first, int n, const esker_measure_desc *desc, esker_timing *out)
{
    *out = (esker_timing){0};
    if (!plan->device || plan->open || plan->checker)
        return esker__fail(ESKER_ERR_INVALID, "measuring a plan %s",
                           !plan->device ? "without a device"
                           : plan->open  ? "whose memory is given with each step"
                                         : "in check mode");
    if (first < 0 || n < 1 || (size_t)first >= plan->n_dispatches || (size_t)n > plan->n_dispatches - (size_t)first)
        return esker__fail(ESKER_ERR_INVALID, "measuring dispatches %d to %d of %zu", first, first + n - 1,
                           plan->n_dispatches);
    bool *which = esker__calloc(plan->n_dispatches, sizeof *which);
    if (!which) return esker__fail_memory(plan->n_dispatches * sizeof *which, "measuring");
    for (int i = 0; i < n; i++) which[first + i] = true;
    esker_status st = esker__plan_measure_some(plan, which, desc, out);
    esker__free(which);
    return st;
}

/* ---- Limits ---- */

#define PEAK_GROUPS      4096u
#define FLOPS_A_ROUND    128.0 /* of an invocation of runtime/peak */
#define LONG_ENOUGH      4e-3
#define MAX_PEAK_ROUNDS  (1u << 20)
#define ROW              64 /* dispatches in a row */
#define BUFFER_BYTES     (32u << 20)
#define BIG_BUFFER_BYTES (256u << 20)

typedef struct limits {
    esker_device *dev;
    esker__buffer *x, *y, *uniform;
    uint64_t n_bytes; /* of x and y */
} limits;

static esker_status time_peak(const limits *l, const char *defines, uint32_t wg, double *best)
{
    struct {
        uint32_t base[3], rounds;
        float x;
        uint32_t pad[3];
    } block = {.rounds = 4, .x = 0.9999f};
    esker__launch launch = {.groups = {PEAK_GROUPS, 1, 1}, .n_storage = 1, .n_uniform = 1, .barrier = true};
    launch.storage[0] = (esker__range){l->y, 0, 4ull * PEAK_GROUPS * wg};
    launch.uniform[0] = (esker__range){l->uniform, 0, 32};
    esker_status st = esker__kernel_get(l->dev, "runtime/peak", defines, &launch.kernel);
    double seconds = 0;
    for (; st == ESKER_OK && seconds < LONG_ENOUGH && block.rounds <= MAX_PEAK_ROUNDS; block.rounds *= 2) {
        st = esker__buffer_write(l->uniform, 0, &block, sizeof block);
        for (int i = 0; st == ESKER_OK && i < 3; i++) {
            st = run(&(work){l->dev, &launch, 1}, 1, &seconds);
            double rate = FLOPS_A_ROUND * block.rounds * PEAK_GROUPS * wg / seconds;
            if (st == ESKER_OK && rate > *best) *best = rate;
        }
    }
    return st;
}

static esker_status time_copy(const limits *l, const char *defines, uint32_t wg, uint32_t words, double *best)
{
    uint64_t n_groups = l->n_bytes / (4ull * wg * words);
    uint32_t groups_x = 32768 < n_groups ? 32768 : (uint32_t)n_groups;
    const uint32_t block[4] = {0, 0, 0, groups_x};
    esker__launch launch = {
        .groups = {groups_x, (uint32_t)(n_groups / groups_x), 1}, .n_storage = 2, .n_uniform = 1, .barrier = true};
    launch.storage[0] = (esker__range){l->x, 0, l->n_bytes};
    launch.storage[1] = (esker__range){l->y, 0, l->n_bytes};
    launch.uniform[0] = (esker__range){l->uniform, 0, sizeof block};
    esker_timing timing = {0};
    esker_status st = esker__kernel_get(l->dev, "runtime/stream", defines, &launch.kernel);
    if (st == ESKER_OK) st = esker__buffer_write(l->uniform, 0, block, sizeof block);
    if (st == ESKER_OK)
        st = measure(&(work){l->dev, &launch, 1}, &(esker_measure_desc){.rounds = 5, .round_seconds = 5e-3}, &timing);
    if (st == ESKER_OK && 2.0 * (double)l->n_bytes / timing.median_seconds > *best)
        *best = 2.0 * (double)l->n_bytes / timing.median_seconds;
    return st;
}

static esker_status time_row(const limits *l, bool barrier, double *out)
{
    esker__launch launches[ROW];
    const uint32_t block[4] = {0, 0, 0, 1};
    esker_timing timing;
    esker__launch launch = {.groups = {1, 1, 1}, .n_storage = 2, .n_uniform = 1, .barrier = barrier};
    esker_status st = esker__kernel_get(l->dev, "runtime/stream", "WG 64u\nV 4\n", &launch.kernel);
    if (st == ESKER_OK) st = esker__buffer_write(l->uniform, 0, block, sizeof block);
    launch.uniform[0] = (esker__range){l->uniform, 0, sizeof block};
    /* Other ranges each time, as in a plan. */
    for (uint64_t i = 0; i < ROW; i++) {
        launch.storage[0] = (esker__range){i % 2 ? l->y : l->x, 1024 * (i / 2), 1024};
        launch.storage[1] = (esker__range){i % 2 ? l->x : l->y, 1024 * (i / 2 + i % 2), 1024};
        launches[i] = launch;
    }
    if (st == ESKER_OK) st = measure(&(work){l->dev, launches, ROW}, &(esker_measure_desc){.round_seconds = 5e-3}, &timing);
    if (st == ESKER_OK) *out = timing.median_seconds / ROW;
    return st;
}

static esker_status measure_limits(limits *l, const esker_limits *device, esker_device_rates *out)
{
    static const struct {
        const char *peak, *vec4, *vec2;
        uint32_t wg;
    } groups[] = {{"WG 64u\n", "WG 64u\nV 4\n", "WG 64u\nV 2\n", 64},
                  {"WG 256u\n", "WG 256u\nV 4\n", "WG 256u\nV 2\n", 256}};
    esker_status st = esker__buffer_create(l->dev, l->n_bytes, ESKER__BUFFER_DEVICE, &l->x);
    if (st == ESKER_OK) st = esker__buffer_create(l->dev, l->n_bytes, ESKER__BUFFER_DEVICE, &l->y);
    if (st == ESKER_OK) st = esker__buffer_create(l->dev, 256, ESKER__BUFFER_DEVICE, &l->uniform);
    for (int i = 0; i < 2; i++) {
        if (groups[i].wg > device->group_invocations) continue;
        if (st == ESKER_OK) st = time_peak(l, groups[i].peak, groups[i].wg, &out->flops_per_second);
        if (st == ESKER_OK) st = time_copy(l, groups[i].vec4, groups[i].wg, 4, &out->bytes_per_second);
        if (st == ESKER_OK) st = time_copy(l, groups[i].vec2, groups[i].wg, 2, &out->bytes_per_second);
    }
    if (st == ESKER_OK) st = time_row(l, true, &out->dependent_seconds);
    if (st == ESKER_OK) st = time_row(l, false, &out->independent_seconds);
    return st;
}

esker_status esker_device_measure(esker_device *dev, esker_device_rates *out)
{
    const esker_limits *device = esker__device_limits(dev);
    *out = (esker_device_rates){0};
    limits l = {.dev = dev, .n_bytes = device->storage_block_bytes >= 1u << 30 ? BIG_BUFFER_BYTES : BUFFER_BYTES};
    esker_status st = measure_limits(&l, device, out);
    esker__buffer_destroy(l.x);
    esker__buffer_destroy(l.y);
    esker__buffer_destroy(l.uniform);
    return st;
}
