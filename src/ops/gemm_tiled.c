/* gemm/tiled: its settings, and which of them is expected to be the fastest for a problem. */
#include "ops/gemm.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

typedef struct tiling {
    const char *name; /* rows x columns of a group's tile */
    uint32_t tx, ty, mr, nr, bk, slices, buffers, unroll, lanes, strip;
    /* Measured on an H100 of 132 multiprocessors: what one of them computes when full, how many groups that takes, and how long one BK
       takes a group that has a multiprocessor to itself. */
    double flops, seconds;
    uint32_t groups;
    bool meets;   /* k in two splits, whose groups meet in the result */
    bool batched; /* usual for batches alone, of operands that lie across k */
} tiling;

static const tiling tilings[] = {
    {"t256x128", 16, 16, 4, 2, 16, 1, 2, 16, 2, 8, 347e9, 2.9e-6, 1},
    {"t128x128", 16, 16, 2, 2, 8, 1, 2, 8, 2, 0, 318e9, 0.95e-6, 2},
    {"t128x64", 8, 16, 2, 2, 32, 2, 2, 8, 2, 0, 305e9, 1.72e-6, 1},
    {"t128x64m", 8, 16, 2, 2, 32, 2, 2, 8, 2, 0, 305e9, 1.72e-6, 1, true},
    {"t64x64", 8, 8, 2, 2, 16, 1, 2, 16, 2, 0, 305e9, 1.01e-6, 8},
    {"t64x64m", 8, 8, 2, 2, 16, 1, 2, 16, 2, 0, 305e9, 1.01e-6, 8, true},
    /* Batches of 36 products (tn) of 64x512x64, 128x688x128, 256x256x256 and 256x512x256 took 10.1, 27.0, 42.3 and 71.5 us on an H200, by t64x64 12.2, 28.5, 46.0 and
       75.1; but one of 1024x2048x512 74 and 61. */
    {"t64x64i128", 16, 8, 2, 1, 16, 1, 2, 16, 2, 0, 310e9, 0.7e-6, 8, false, true},
    {"t64x64s4", 8, 8, 2, 2, 64, 4, 1, 16, 2, 0, 280e9, 1.85e-6, 1},
    {"t32x64", 16, 8, 1, 1, 32, 1, 2, 16, 2, 0, 230e9, 0.86e-6, 4},
    {"t32x32", 8, 8, 1, 1, 32, 1, 2, 16, 2, 0, 200e9, 0.86e-6, 9},
    {"t32x32m", 8, 8, 1, 1, 32, 1, 2, 16, 2, 0, 200e9, 0.86e-6, 9, true},
    {"t32x32s2", 8, 8, 1, 1, 64, 2, 1, 16, 2, 0, 246e9, 0.72e-6, 3},
    {"t32x32s4", 8, 8, 1, 1, 128, 4, 1, 16, 2, 0, 228e9, 1.15e-6, 1},
    {"t16x32s8", 8, 4, 1, 1, 128, 8, 1, 16, 2, 0, 205e9, 0.92e-6, 2},
    {"t16x16s16", 4, 4, 1, 1, 128, 16, 1, 8, 0, 0, 117e9, 0.54e-6, 3},
    {"t16x128", 16, 4, 1, 2, 16, 1, 2, 16, 2, 0, 90e9, 0.57e-6, 6},
    {"t128x16", 4, 16, 2, 1, 16, 1, 2, 16, 0, 0, 170e9, 0.57e-6, 6},
    {"t16x128s2", 32, 4, 1, 1, 64, 2, 1, 16, 2, 0, 160e9, 1.0e-6, 1},
};
#define N_TILINGS    ((int)(sizeof tilings / sizeof *tilings))
#define USUAL_TILING 4 /* of GPUs that are large but otherwise unknown */

#define MULTIPROCESSORS 132
#define REGISTERS       65536  /* of each */
#define FIRST_READ      1.2e-6 /* seconds until the first tile of a group is there, */
#define OF_RESULT       0.2e-9 /* more of them for each element of its tile, where no other groups compute meanwhile, */
#define ACROSS          0.87 /* part of `seconds` where both operands lie across k, so that nothing is transposed on the way, */
#define SECOND_PASS     4.2e-6 /* seconds of gemm/sum_splits with its barrier, */
#define MEETING         2e-6   /* seconds of one in the result; not measured */
#define PARTIAL_RATE    2e12   /* and bytes of partial sums a second that it adds up */
#define PARTIAL_BYTES   (32u << 20)
#define CACHE_BYTES     50e6 /* of operands: where they are more, each reading of them counts */
#define READ_RATE       2.4e12 /* bytes a second, which do not hide the arithmetic wholly: what both take is a norm of the two, */
#define OVERLAP         4.0 /* of this order */

static uint64_t rows_of(const tiling *t)
{
    return 4 * t->mr * t->ty;
}

static uint64_t columns_of(const tiling *t)
{
    return 4 * t->nr * t->tx;
}

/* Whether the groups of two splits can meet: they have the result to themselves, and it is one of sums over more than one tile's p. */
static bool can_meet(const esker_limits *limits, const esker__gemm *p, const tiling *t)
{
    uint32_t blocks = 4 + (p->tail ? (uint32_t)esker__tail_n_inputs(p->tail) + (p->tail->keeps != 0) : 0);
    return p->k > t->bk && !p->sum && !p->sums && !(p->out && esker__updated(p->out)) && blocks <= limits->storage_blocks &&
           2 * (uint64_t)p->batches <= limits->groups[2];
}

static bool has_room(const esker_limits *limits, const esker__gemm *p, const tiling *t)
{
    return (!t->meets || can_meet(limits, p, t)) && t->tx * t->ty * t->slices <= limits->group_invocations &&
           4 * t->buffers * t->bk * (rows_of(t) + columns_of(t)) <= limits->shared_bytes &&
           esker__ceil_div(p->n, columns_of(t)) <= limits->groups[0] &&
           esker__ceil_div(p->m, rows_of(t)) <= limits->groups[1] && p->batches <= limits->groups[2];
}

static double seconds_of(const esker__gemm *p, const tiling *t, uint64_t splits)
{
    double groups = (double)(esker__ceil_div(p->n, columns_of(t)) * esker__ceil_div(p->m, rows_of(t)) * p->batches *
                             splits);
    double steps = (double)esker__ceil_div(esker__ceil_div(p->k, splits), t->bk);
    double full = floor(groups / (MULTIPROCESSORS * t->groups)), rest = groups - full * MULTIPROCESSORS * t->groups;
    double step = 2.0 * (double)(rows_of(t) * columns_of(t)) * t->bk / t->flops; /* of one group among many */
    double alone = t->seconds * (p->ta && !p->tb ? ACROSS : 1);
    double once = FIRST_READ + (full > 0 ? 0 : OF_RESULT * (double)(rows_of(t) * columns_of(t)));
    double seconds = full * (once + steps * fmax(alone, step * t->groups)) +
                     (rest > 0 ? once + steps * fmax(alone, step * ceil(rest / MULTIPROCESSORS)) : 0);
    double columns = (double)p->n * p->k * p->batches, rows = (double)p->m * p->k * p->batches;
    if (4 * (columns + rows) > CACHE_BYTES) {
        double read = 4 / READ_RATE *
                      (columns * (double)esker__ceil_div(p->m, rows_of(t)) +
                       rows * (double)esker__ceil_div(p->n, columns_of(t)));
        seconds = pow(pow(seconds, OVERLAP) + pow(read, OVERLAP), 1 / OVERLAP);
    }
    uint64_t parts = p->sum ? splits * p->batches : splits;
    if (t->meets)
        seconds += MEETING;
    else if (parts > 1)
        seconds += SECOND_PASS + 4.0 * p->m * p->n * (p->sum ? 1 : p->batches) * (double)(parts + 1) / PARTIAL_RATE;
    return seconds;
}

/* The number of splits that is expected to be the fastest, and the time it takes. */
static uint64_t best_splits(const esker_limits *limits, const esker__gemm *p, const tiling *t, double *out_seconds)
{
    uint64_t best = 1, most = esker__ceil_div(p->k, 2 * t->bk);
    *out_seconds = seconds_of(p, t, t->meets ? 2 : 1);
    if (t->meets) return 2;
    for (uint64_t splits = 2; splits <= most && splits <= 512; splits += splits < 8 ? 1 : splits / 4) {
        if (p->batches * splits > limits->groups[2] || 4.0 * p->m * p->n * p->batches * (double)splits > PARTIAL_BYTES)
            break;
        double seconds = seconds_of(p, t, splits);
        if (seconds < *out_seconds) *out_seconds = seconds, best = splits;
    }
    return best;
}

/* With one buffer nothing hides how long the first tiles take. */
static bool is_usual(const esker__gemm *p, const tiling *t)
{
    bool waits = t->buffers == 1 && t->mr * t->nr > 1 && p->k < 4 * t->bk;
    return !waits && (!t->batched || (p->batches > 1 && p->ta && !p->tb));
}

int esker__gemm_tilings(const esker__lowering *lowering, const esker__gemm *p, const char **names, int capacity,
                        int *out_usual, double *out_seconds)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    esker__family family = esker__lowering_family(lowering);
    int n = 0;
    *out_usual = -1;
    *out_seconds = INFINITY;
    if (p->k < 8 || p->m < 4 || p->n < 4) return 0; /* mostly padding */
    bool large = limits->group_invocations >= 1024 && limits->shared_bytes >= 32768 && family != ESKER__FAMILY_LLVMPIPE;
    /* Elsewhere nobody has seen that a group's wait for another one ends: llvmpipe cuts long loops short, so that it can be tried with one thread alone. */
    bool meets = esker__setting("meetings", family == ESKER__FAMILY_NVIDIA);
    for (int i = 0; i < N_TILINGS && n < capacity; i++) {
        if (!has_room(limits, p, &tilings[i]) || (tilings[i].meets && !meets)) continue;
        double seconds;
        best_splits(limits, p, &tilings[i], &seconds);
        if (family == ESKER__FAMILY_NVIDIA ? is_usual(p, &tilings[i]) && seconds < *out_seconds
                                           : large && i == USUAL_TILING && p->m >= 48 && p->n >= 48 && p->k >= 16)
            *out_seconds = seconds, *out_usual = n;
        names[n++] = tilings[i].name;
    }
    return n;
}

/* What an invocation needs where both operands are aligned, and what it has if as many groups are to be on a multiprocessor as fill it. */
static bool has_registers(const tiling *t, uint32_t more)
{
    uint32_t n = t->tx * t->ty * t->slices, a = (uint32_t)esker__ceil_div(t->mr * t->ty * t->bk, 4ull * n),
             b = (uint32_t)esker__ceil_div(t->nr * t->tx * t->bk, 4ull * n);
    return 16 * t->mr * t->nr + 4 * (t->mr + t->nr) + 16 * (a + b) + 20 + more <= REGISTERS / (t->groups * n);
}

/*
 * Whether an operand is read by fours, not element by element: where its rows, `width` long, begin at a four or halfway through one (six fours for 16
 * elements), and where they begin anywhere (seven) along k. NVIDIA H200, us, element by element and by fours: 1002^3 76.0 and 66.0; rows of odd length along k
 * 72.2 and 68.9, but 72.5 and 80.0 where registers were too few for what is on its way; across k 69.9 and 70.6. All matrices of a batch have to begin at a four.
 */
static bool by_fours(const esker__gemm *p, const tiling *t, uint32_t width, bool along_k, const uint32_t *steps)
{
    bool fours = width % 2 == 0 || (along_k && has_registers(t, 24));
    for (uint32_t i = 0; i < p->n_axes; i++) fours &= steps[i] % 4 == 0;
    return fours;
}

/* The last four of an operand of `n` rows or columns. */
static uint32_t last_four(const esker__gemm *p, uint32_t n, const uint32_t *steps)
{
    uint64_t n_elems = (uint64_t)n * p->k;
    for (uint32_t i = 0; i < p->n_axes; i++) n_elems += (uint64_t)(p->lengths[i] - 1) * steps[i];
    return (uint32_t)(esker__ceil_div(n_elems, 4) - 1);
}

esker_status esker__gemm_emit_tiled(esker__lowering *lowering, esker__gemm *p, const char *name, bool *out_found)
{
    const tiling *t = NULL;
    for (int i = 0; i < N_TILINGS; i++)
        if (!strcmp(name, tilings[i].name)) t = &tilings[i];
    *out_found = t != NULL;
    if (!t) return ESKER_OK;
    double seconds;
    uint64_t wanted = best_splits(esker__lowering_limits(lowering), p, t, &seconds);
    uint32_t chunk = wanted > 1 ? (uint32_t)esker__round_up(esker__ceil_div(p->k, wanted), t->bk) : p->k;
    p->splits = (uint32_t)esker__ceil_div(p->k, chunk);
    p->meetings = t->meets ? esker__ceil_div(p->n, columns_of(t)) * esker__ceil_div(p->m, rows_of(t)) * p->batches : 0;
    esker__dispatch_desc d = {.kernel = "gemm/tiled",
                              .groups = {(uint32_t)esker__ceil_div(p->n, columns_of(t)),
                                         (uint32_t)esker__ceil_div(p->m, rows_of(t)), p->batches * p->splits},
                              .cost = p->cost};
    uint32_t params[8 + ESKER__GEMM_BATCH_WORDS] = {p->m, p->n, p->k, chunk, p->bias_step};
    p->sums_bound = esker__gemm_can_sum(p);
    params[5] = (uint32_t)esker__gemm_part_elems(p);
    params[6] = last_four(p, p->m, p->step_a);
    params[7] = last_four(p, p->n, p->step_b);
    esker__gemm_batch_params(p, 1, 1, params + 8);
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    bool va = by_fours(p, t, p->ta ? p->m : p->k, !p->ta, p->step_a),
         vb = by_fours(p, t, p->tb ? p->k : p->n, p->tb, p->step_b), vc = p->n % 4 == 0;
    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nTB %d\nVA %d\nVB %d\nVC %d\nWHOLE %d\nEVEN %d\n", p->ta, p->tb, va, vb, vc,
                    p->k % t->bk == 0, p->m % rows_of(t) == 0 && p->n % columns_of(t) == 0);
    esker__text_add(&defines, "TX %u\nTY %u\nMR %u\nNR %u\nBK %u\nSLICES %u\nBUFFERS %u\nUNROLL %u\nLANES %u\nSTRIP %u\n",
                    t->tx, t->ty, t->mr, t->nr, t->bk, t->slices, t->buffers,
                    esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE ? 4 : t->unroll, t->lanes,
                    t->strip); /* CPUs compile long */
    if ((va || vb) && p->k % 4) esker__text_add(&defines, "AT_K %u\n", p->k % 4);
    if (va && p->ta && p->m % 4) esker__text_add(&defines, "AT_M %u\n", p->m % 4);
    if (vb && !p->tb && p->n % 4) esker__text_add(&defines, "AT_N %u\n", p->n % 4);
    if (t->mr * t->nr > 2 && p->splits == 1 && esker__updated(p->out))
        esker__text_add(&defines, "AT_ONCE 2\n"); /* of updates: more registers cost groups */
    return esker__gemm_finish(lowering, p, vc, &d, &defines);
}
