/* gemm/sliced: its settings, and which of them is expected to be the fastest for a problem. */
#include "ops/gemm.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

typedef struct slicing {
    const char *name; /* rows x columns of a group's tile */
    uint32_t tx, ty, mr, slices, depth;
    /* Measured on an H100 of 132 multiprocessors: of a group, until its first reads arrive and for the sum of the slices; and for four values of p
       of every slice. */
    double once, block;
} slicing;

static const slicing slicings[] = {
    {"s8x16", 4, 2, 1, 64, 1, 1.5e-6, 0.95e-6},  {"s16x16", 4, 4, 1, 32, 2, 1.1e-6, 0.60e-6},
    {"s32x16", 4, 4, 2, 16, 2, 1.0e-6, 0.55e-6}, {"s32x32", 8, 8, 1, 8, 1, 0.75e-6, 0.57e-6},
    {"s64x32", 8, 8, 2, 4, 1, 1.0e-6, 0.57e-6},
};
#define N_SLICINGS ((int)(sizeof slicings / sizeof *slicings))

#define MULTIPROCESSORS 132
#define ACROSS          1.15 /* times `block`, unless both operands lie along k */
#define NARROW          6e-6 /* seconds: unless so few groups have it that there is nothing else for them to do */

static uint32_t rows_of(const slicing *t)
{
    return 4 * t->mr * t->ty;
}

static uint32_t columns_of(const slicing *t)
{
    return 4 * t->tx;
}

static bool has_room(const esker_limits *limits, const esker__gemm *p, const slicing *t)
{
    return t->tx * t->ty * t->slices <= limits->group_invocations && t->slices <= limits->group_size[2] &&
           64 * t->tx * t->ty * t->slices <= limits->shared_bytes &&
           esker__ceil_div(p->n, columns_of(t)) <= limits->groups[0] &&
           esker__ceil_div(p->m, rows_of(t)) <= limits->groups[1] && p->batches <= limits->groups[2];
}

/* Groups of one multiprocessor take turns: what it reads through its cache is the limit. */
static double seconds_of(const esker__gemm *p, const slicing *t)
{
    double groups = (double)(esker__ceil_div(p->n, columns_of(t)) * esker__ceil_div(p->m, rows_of(t)) * p->batches);
    double blocks = fmax(1, p->k / (4.0 * t->slices)) * (!p->ta && p->tb ? 1 : ACROSS);
    return ceil(groups / MULTIPROCESSORS) * (t->once + blocks * t->block);
}

int esker__gemm_slicings(const esker__lowering *lowering, const esker__gemm *p, const char **names, int capacity,
                         int *out_usual, double *out_seconds)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    int n = 0;
    *out_usual = -1;
    *out_seconds = INFINITY;
    bool narrow = p->m < 4 || p->n < 4; /* mostly padding, */
    if (p->k < (narrow ? 16 : 8) || (p->m == 1 && p->tb)) return 0;
    bool nvidia = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA && !p->sum;
    for (int i = 0; i < N_SLICINGS && n < capacity; i++) {
        if (!has_room(limits, p, &slicings[i])) continue;
        double seconds = seconds_of(p, &slicings[i]);
        if (nvidia && seconds < *out_seconds && (!narrow || seconds < NARROW)) *out_seconds = seconds, *out_usual = n;
        names[n++] = slicings[i].name;
    }
    return n;
}

esker_status esker__gemm_emit_sliced(esker__lowering *lowering, esker__gemm *p, const char *name, bool *out_found)
{
    const slicing *t = NULL;
    for (int i = 0; i < N_SLICINGS; i++)
        if (!strcmp(name, slicings[i].name)) t = &slicings[i];
    *out_found = t != NULL;
    if (!t) return ESKER_OK;
    p->splits = 1;
    p->sums_bound = esker__gemm_can_sum(p);
    esker__dispatch_desc d = {
        .kernel = "gemm/sliced",
        .groups = {(uint32_t)esker__ceil_div(p->n, columns_of(t)), (uint32_t)esker__ceil_div(p->m, rows_of(t)), p->batches},
        .cost = p->cost};
    uint32_t params[8 + ESKER__GEMM_BATCH_WORDS] = {p->m, p->n, p->k, p->k, p->bias_step};
    esker__gemm_batch_params(p, 1, 1, params + 8);
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    bool va = (p->ta ? p->m : p->k) % 4 == 0, vb = (p->tb ? p->k : p->n) % 4 == 0, vc = p->n % 4 == 0;
    /* Lanes that are neighbours read what is contiguous: whole lines along k, or across it whole rows of the tile. */
    uint32_t near = !p->ta && p->tb ? 8 : p->ta && !p->tb ? 32 / (t->tx * t->ty) : 4;
    near = near < 1 ? 1 : near < t->slices ? near : t->slices;
    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nTB %d\nVA %d\nVB %d\nVC %d\nWHOLE %d\nEVEN %d\n", p->ta, p->tb, va, vb, vc,
                    p->k % 4 == 0, p->m % rows_of(t) == 0 && p->n % columns_of(t) == 0);
    esker__text_add(&defines, "TX %u\nTY %u\nMR %u\nSLICES %u\nNEAR %u\nDEPTH %u\n", t->tx, t->ty, t->mr, t->slices, near,
                    t->depth);
    return esker__gemm_finish(lowering, p, vc, &d, &defines);
}
