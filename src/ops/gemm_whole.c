/* gemm/whole: products whose rows a group holds whole, and norms of these rows, or gradients of norms, behind them. */
#include "ops/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

typedef struct setting {
    const char *name; /* rows of a group, and invocations where there are not 512 */
    uint32_t rows, group;
} setting;

static const setting settings[] = {{"whole8", 8, 512},     {"whole6", 6, 512},     {"whole4", 4, 512},
                                   {"whole8x256", 8, 256}, {"whole6x256", 6, 256}, {"whole4x256", 4, 256}};
#define N_SETTINGS ((int)(sizeof settings / sizeof *settings))

#define CHUNK 512u /* values of p of a row in shared memory */
#define LANES 8u

/* Invocations along a row, four columns each. */
static uint32_t across(const esker__gemm *p)
{
    uint32_t tx = 8;
    while (4 * tx < p->n) tx *= 2;
    return tx;
}

static uint32_t chunk_of(const esker__gemm *p)
{
    return p->k < CHUNK ? (uint32_t)esker__round_up(p->k, 4) : CHUNK;
}

/* Rows whose slices are added at once: as many as fit. 0: none do. */
static uint32_t turn_of(const esker_limits *limits, const esker__gemm *p, const setting *s)
{
    uint32_t turn = s->rows, others = 8 * s->rows * (across(p) + LANES);
    while (turn && 16 * s->group * turn + others > limits->shared_bytes) turn--;
    return 4 * chunk_of(p) * s->rows + others > limits->shared_bytes ? 0 : turn;
}

static bool has_room(const esker_limits *limits, const esker__gemm *p, const setting *s)
{
    uint32_t tx = across(p);
    return s->group <= limits->group_invocations && s->group % tx == 0 && s->group >= s->rows * tx &&
           s->group / tx <= limits->group_size[1] && turn_of(limits, p, s) > 0;
}

/* ---- Which is the usual choice: measured on an H100 of 132 multiprocessors ---- */

#define USUAL       "whole4x256"
#define AT_ONCE     264    /* groups */
#define ONCE        1.4e-6 /* seconds of one, */
#define TERM        5.2e-9 /* and for each p, with 128 columns; */
#define TERM_ACROSS 11e-9  /* where these lie along p */
#define NORM        5.5e-6 /* of a dispatch for the norm with its barrier, */
#define NORM_RATE   2e12   /* and bytes a second that it moves */

static double seconds_of(const esker__gemm *p, const setting *s)
{
    double rounds = ceil(ceil((double)p->m / s->rows) / AT_ONCE);
    return rounds * (ONCE + p->k * (p->tb ? TERM_ACROSS : TERM) * across(p) / 32);
}

static double seconds_apart(const esker__lowering *lowering, const esker__gemm *p)
{
    const char *names[ESKER__MAX_CANDIDATES];
    double tiled, sliced;
    int usual;
    esker__gemm_tilings(lowering, p, names, ESKER__MAX_CANDIDATES, &usual, &tiled);
    esker__gemm_slicings(lowering, p, names, ESKER__MAX_CANDIDATES, &usual, &sliced);
    return fmin(tiled, sliced) + NORM + 16.0 * p->m * p->n / NORM_RATE;
}

/* Many rows, and long ones, are better cut into tiles. */
static int usual_of(const esker__lowering *lowering, const esker__gemm *p, const setting *const *list, int n)
{
    for (int i = 0; i < n && esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA; i++)
        if (!strcmp(list[i]->name, USUAL) && seconds_of(p, list[i]) < seconds_apart(lowering, p)) return i;
    return n;
}

/* ---- Emitting ---- */

static void bind(esker__dispatch_desc *d, esker__text *defines, const char *name, const esker__operand *operand)
{
    if (!operand) return;
    esker__text_add(defines, "%s %d\n", name, d->n_operands);
    d->operands[d->n_operands++] = *operand;
}

static esker_status emit(esker__lowering *lowering, const esker__gemm *p, const esker__gemm_norm *norm, const setting *s)
{
    uint32_t tx = across(p), slices = s->group / tx;
    esker__dispatch_desc d = {.kernel = "gemm/whole", .cost = p->cost, .n_params = 5};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(p->m, s->rows), d.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[5] = {p->m, p->n, p->k, d.groups[0]};
    memcpy(&params[4], &norm->eps, sizeof norm->eps);
    d.params = params;
    uint32_t near = p->tb ? 4 : 1; /* columns lie along p: neighbours read along them */
    bool tail_last = norm->tail->program.n_steps > 0;
    esker__text defines = {0};
    esker__text_add(&defines, "TB %d\nVA %d\nVB %d\nTX %u\nSLICES %u\nNEAR %u\nROWS %u\nTURN %u\nCHUNK %u\n", p->tb,
                    p->k % 4 == 0, p->k % 4 == 0, tx, slices, near, s->rows,
                    turn_of(esker__lowering_limits(lowering), p, s), chunk_of(p));
    esker__text_add(&defines, "NORM %d\nKIND %d\nTAIL_LAST %d\n", norm->backward ? 2 : 1, norm->kind, tail_last);
    d.operands[d.n_operands++] = esker__read(lowering, p->a);
    d.operands[d.n_operands++] = esker__read(lowering, p->b);
    if (p->bias) {
        esker__text_add(&defines, "BIAS 1\n");
        d.operands[d.n_operands++] = esker__read(lowering, p->bias);
    }
    const esker__tail *tail = tail_last ? norm->tail : p->tail;
    esker__tail_code_ahead(tail, esker__tail_operands(lowering, tail, tail_last ? norm->tail_node : p->out, &d), &defines);
    esker__operand result;
    if (norm->result_is_used) result = esker__write(lowering, p->out), bind(&d, &defines, "T", &result);
    bind(&d, &defines, "WEIGHT", norm->weight);
    bind(&d, &defines, "SHIFT", norm->shift);
    bind(&d, &defines, "STATS", norm->stats);
    bind(&d, &defines, "X", norm->x);
    bind(&d, &defines, "Y", norm->y);
    bind(&d, &defines, "AGAIN", norm->again);
    return esker__emit_with(lowering, &d, &defines);
}

esker_status esker__gemm_lower_with_norm(esker__lowering *lowering, esker__gemm *p, const esker__gemm_norm *norm,
                                         bool *out_found)
{
    char text[160];
    const char *names[N_SETTINGS + 1];
    const setting *list[N_SETTINGS + 1];
    int n = 0;
    bool suits = !p->ta && !p->n_axes && !p->sum && !p->sums && p->n % 4 == 0 && p->n <= ESKER__GEMM_WHOLE_COLUMNS &&
                 p->k >= 8 && (!p->bias || p->bias_step);
    for (int i = 0; suits && i < N_SETTINGS; i++)
        if (has_room(esker__lowering_limits(lowering), p, &settings[i]))
            list[n] = &settings[i], names[n++] = settings[i].name;
    names[n] = "apart";
    list[n] = NULL;
    snprintf(text, sizeof text, "matmul norm%s tb=%d m=%u n=%u k=%u", norm->backward ? "_grad" : "", p->tb, p->m, p->n,
             p->k);
    const setting *s = list[esker__choose(lowering, text, names, n + 1, usual_of(lowering, p, list, n))];
    *out_found = s != NULL;
    return s ? emit(lowering, p, norm, s) : ESKER_OK;
}
