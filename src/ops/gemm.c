/* Which kernel computes a product of matrices, and how it is cut. */
#include "ops/gemm.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/optimizer.h"

void esker__gemm_batch_params(const esker__gemm *p, uint32_t unit_a, uint32_t unit_b, uint32_t out[ESKER__GEMM_BATCH_WORDS])
{
    out[0] = p->batches;
    for (uint32_t i = 0; i < 4; i++) {
        out[1 + i] = i < p->n_axes ? p->lengths[i] : 1;
        out[5 + i] = i < p->n_axes ? p->step_a[i] / unit_a : 0;
        out[9 + i] = i < p->n_axes ? p->step_b[i] / unit_b : 0;
    }
    out[13] = p->batches * p->splits;
}

static esker__operand operand_of(esker__lowering *lowering, const esker__value *value, const esker_node *node)
{
    return value ? (esker__operand){.value = *value} : esker__read(lowering, node);
}

bool esker__gemm_can_sum(const esker__gemm *p)
{
    return p->sums && p->ta && !p->n_axes && p->a == p->out->inputs[0];
}

uint64_t esker__gemm_part_elems(const esker__gemm *p)
{
    return (uint64_t)p->m * p->n * (p->sum ? 1 : p->batches) + (p->sums_bound ? esker__round_up(p->m, 4) : 0);
}

esker_status esker__gemm_finish(esker__lowering *lowering, const esker__gemm *p, bool quads, esker__dispatch_desc *d,
                                esker__text *defines)
{
    uint64_t n_elems = (uint64_t)p->m * p->n * (p->sum ? 1 : p->batches), part_elems = esker__gemm_part_elems(p);
    uint32_t parts = p->sum ? p->splits * p->batches : p->meetings ? 1 : p->splits;
    d->writes_once = true; /* all kernels in glsl/gemm/ */
    if (p->n_axes) esker__text_add(defines, "BATCH %u\n", p->n_axes);
    if (p->splits > 1) esker__text_add(defines, "SPLIT 1\n");
    esker__value part = {0};
    d->operands[d->n_operands++] = operand_of(lowering, p->value_a, p->a);
    d->operands[d->n_operands++] = operand_of(lowering, p->value_b, p->b);
    if (parts > 1) {
        part = esker__scratch(lowering, 4 * part_elems * parts);
        d->operands[d->n_operands++] = (esker__operand){.value = part, .write = true};
        d->cost.bytes += 4 * (double)n_elems * (parts - 1);
        if (p->sums_bound) esker__text_add(defines, "SUMS 1\n");
    } else if (p->value_out) {
        d->operands[d->n_operands++] = (esker__operand){.value = *p->value_out, .write = true};
    } else {
        if (p->bias && p->bias_of_row) esker__text_add(defines, "BIAS_OF_ROW 1\n");
        esker__tail_emit_updating(lowering, p->tail, p->out, quads, p->n % 4 == 0 && strcmp(d->kernel, "gemm/rows"),
                                  p->sums_bound, d, defines);
        esker__update_cost(p->out, &d->cost);
    }
    if (p->meetings) {
        if (p->value_out) esker__text_add(defines, "OUT_BINDING %d\n", d->n_operands - 1);
        esker__text_add(defines, "MEET %d\n", d->n_operands);
        for (int i = 0; i < d->n_operands; i++) d->operands[i].in_place = false; /* the tail reads behind the meeting */
        d->operands[d->n_operands++] = (esker__operand){.value = esker__meetings(lowering, p->meetings), .write = true};
    }
    esker_status st = esker__emit_with(lowering, d, defines);
    if (st != ESKER_OK || parts == 1) return st;
    if (p->sums_bound) return esker__emit_sum_splits_and_sums(lowering, part, n_elems, parts, p->out);
    if (p->value_out) return esker__emit_sum_splits_to(lowering, part, n_elems, parts, *p->value_out);
    return esker__emit_sum_splits(lowering, part, n_elems, parts, p->tail, p->bias_of_row ? p->m : p->n,
                                  p->bias_of_row ? p->n : 1, p->out);
}

static uint32_t lower_power_of_two(uint64_t limit, uint32_t from)
{
    while (from > 1 && from / 2 >= limit) from /= 2;
    return from;
}

/* `plain`: without vec4 loads and stores. */
static esker_status emit_direct(esker__lowering *lowering, esker__gemm *p, bool plain)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    uint32_t rows = p->m == 1 ? 1 : 4;
    uint32_t tiles_m = (uint32_t)esker__ceil_div(p->m, rows), tiles_n = (uint32_t)esker__ceil_div(p->n, 4);
    /* 8 x 8 shares most between neighbours; narrower where there are fewer columns, and where a batch has small matrices several
       of them share a group. */
    uint32_t lx = lower_power_of_two(tiles_n, tiles_m == 1 ? 64 : 8), ly = 64 / lx, lz = 1;
    if (p->n_axes) {
        ly = lower_power_of_two(tiles_m, ly);
        lz = 64 / (lx * ly);
    }

    uint32_t chunk;
    uint64_t tiles = (uint64_t)tiles_m * tiles_n;
    p->splits = esker__choose_splits(lowering, (uint64_t)p->batches * p->m * p->n, tiles * p->batches, p->k, 4, 64, &chunk);
    /* Not where k was split: one invocation adds up all terms of a sum, half as long as its product took. */
    p->sums_bound = p->splits == 1 && rows == 4 && esker__gemm_can_sum(p);
    bool va = (p->ta ? p->m % 4 : p->k % 2) == 0, vc = p->n % 4 == 0, vb = p->tb ? p->k % 2 == 0 : vc;
    if (!vc && (p->n_axes || (p->tb && (p->splits > 1 || p->bias || (p->tail && p->tail->program.n_steps))))) {
        vb = false; /* else V3D and T860 lack some registers */
        if (!p->ta) va = false;
    }
    if (plain) va = vb = vc = false;

    uint64_t groups_x = esker__ceil_div(tiles_n, lx), groups_y = esker__ceil_div(tiles_m, ly),
             groups_z = esker__ceil_div((uint64_t)p->batches * p->splits, lz);
    esker__dispatch_desc d = {
        .kernel = "gemm/direct", .groups = {(uint32_t)groups_x, (uint32_t)groups_y, (uint32_t)groups_z}, .cost = p->cost};
    bool fold = groups_x > limits->groups[0] || groups_y > limits->groups[1] || groups_z > limits->groups[2];
    if (fold) {
        esker_status st = esker__fold_groups(lowering, groups_x * groups_y * groups_z, d.groups);
        if (st != ESKER_OK) return st;
    }
    uint32_t params[8 + ESKER__GEMM_BATCH_WORDS] = {
        p->m, p->n, p->k, chunk, p->bias_step, (uint32_t)groups_x, (uint32_t)groups_y, d.groups[0]};
    esker__gemm_batch_params(p, !va ? 1 : p->ta ? 4 : 2, !vb ? 1 : p->tb ? 2 : 4, params + 8);
    d.params = params;
    d.n_params = sizeof params / sizeof *params;

    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nTB %d\nVA %d\nVB %d\nVC %d\nROWS %u\nLX %u\nLY %u\nLZ %u\n", p->ta, p->tb, va, vb, vc,
                    rows, lx, ly, lz);
    if (fold) esker__text_add(&defines, "FOLD 1\n");
    return esker__gemm_finish(lowering, p, vc, &d, &defines);
}

/* Reads of four neighbours, and sums for a CPU, which has no registers to run out of. */
static bool suits_quads(const esker_limits *limits, const esker__gemm *p)
{
    return limits->group_invocations >= 1024 && p->m >= 8 && p->n >= 8 && esker__ceil_div(p->n, 8) <= limits->groups[1] &&
           esker__ceil_div(p->m, 8) <= limits->groups[0] && p->batches <= limits->groups[2] / 64;
}

static bool steps_are_fours(const esker__gemm *p, const uint32_t *steps)
{
    bool fours = true;
    for (uint32_t i = 0; i < p->n_axes; i++) fours &= steps[i] % 4 == 0;
    return fours;
}

#define PANEL      64   /* columns that gemm/pack lays side by side: of 8 neighbours that share a CPU's vector */
#define CACHE_ROWS 1024 /* elements: rows that are a multiple of so many long share a few sets of a CPU's cache */
#define PACK_FOR   128  /* rows or columns of the other matrix at least, or moving this one costs more than it saves */

/* Whether a matrix of `n` columns (b's, or a's rows), `k` long, is packed; `across`: those lie along its rows in memory. */
static bool suits_pack(const esker__gemm *p, uint32_t n, bool across, uint32_t n_others)
{
    return !p->n_axes && n % PANEL == 0 && p->k % 4 == 0 && n_others >= PACK_FOR && (across ? n : p->k) % CACHE_ROWS == 0;
}

static esker_status emit_pack(esker__lowering *lowering, esker__operand from, uint32_t n, uint32_t k, bool across,
                              esker__value *out)
{
    esker__dispatch_desc d = {.kernel = "gemm/pack",
                              .defines = across ? NULL : "TB 1\n",
                              .operands = {from},
                              .n_operands = 1,
                              .cost = {.bytes = 8.0 * k * n}};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)k * n / 16, 64), d.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {k, n, d.groups[0]};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    return esker__prepare(lowering, &d, 4ull * k * n, out);
}

static esker_status emit_quads(esker__lowering *lowering, esker__gemm *p)
{
    esker__value packed_a, packed_b;
    /* Rows of op(a) that lie along memory are read four terms at a time, a line of the cache for 16 of them. */
    bool pack_a = p->ta && suits_pack(p, p->m, true, p->n), pack_b = suits_pack(p, p->n, !p->tb, p->m);
    esker_status st = ESKER_OK;
    if (pack_a) st = emit_pack(lowering, operand_of(lowering, p->value_a, p->a), p->m, p->k, true, &packed_a);
    if (st == ESKER_OK && pack_b)
        st = emit_pack(lowering, operand_of(lowering, p->value_b, p->b), p->n, p->k, !p->tb, &packed_b);
    if (st != ESKER_OK) return st;
    if (pack_a) p->value_a = &packed_a;
    if (pack_b) p->value_b = &packed_b, p->tb = false;
    uint32_t tiles_m = (uint32_t)esker__ceil_div(p->m, 8), tiles_n = (uint32_t)esker__ceil_div(p->n, 8);
    /* A vector of the CPU takes 8 invocations that are neighbours. */
    uint32_t lx = lower_power_of_two(tiles_n, 8), ly = 8 / lx, chunk = p->k;
    uint64_t vectors = esker__ceil_div(tiles_n, lx) * esker__ceil_div(tiles_m, ly) * p->batches;
    p->splits = 1;
    if (vectors < 8 && p->k >= 512) { /* of a CPU's threads, some would have nothing to do */
        chunk = (uint32_t)esker__round_up(esker__ceil_div(p->k, 8 / vectors), 4);
        p->splits = (uint32_t)esker__ceil_div(p->k, chunk);
    }
    if (vectors >= 128) ly *= 4;
    /* Rows in memory that are no multiple of 4 long lie the same way every four of them. */
    bool va = p->k % 4 == 0 || (p->ta && p->m % 4 == 0), vb = p->k % 4 == 0 || (!p->tb && p->n % 4 == 0);
    va &= steps_are_fours(p, p->step_a);
    vb &= steps_are_fours(p, p->step_b);
    uint64_t n_a = (uint64_t)p->m * p->k, n_b = (uint64_t)p->n * p->k;
    for (uint32_t i = 0; i < p->n_axes; i++) {
        n_a += (uint64_t)(p->lengths[i] - 1) * p->step_a[i];
        n_b += (uint64_t)(p->lengths[i] - 1) * p->step_b[i];
    }
    esker__dispatch_desc d = {
        .kernel = "gemm/quads",
        .groups = {(uint32_t)esker__ceil_div(tiles_m, ly), (uint32_t)esker__ceil_div(tiles_n, lx), p->batches * p->splits},
        .cost = p->cost};
    uint32_t params[10 + ESKER__GEMM_BATCH_WORDS] = {p->m, p->n, p->k, chunk, p->bias_step};
    esker__gemm_batch_params(p, 1, 1, params + 8);
    params[8 + ESKER__GEMM_BATCH_WORDS] = (uint32_t)(esker__ceil_div(n_a, 4) - 1);
    params[9 + ESKER__GEMM_BATCH_WORDS] = (uint32_t)(esker__ceil_div(n_b, 4) - 1);
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nTB %d\nVA %d\nVB %d\nLX %u\nLY %u\nSIZE %u\n", p->ta, p->tb, va, vb, lx, ly, lx * ly);
    if (p->k % 4 == 0) esker__text_add(&defines, "FOURS 1\n");
    if (pack_a) esker__text_add(&defines, "PACKED_A 1\n");
    if (pack_b) esker__text_add(&defines, "PACKED_B 1\n");
    if (va && p->ta && p->m % 4) esker__text_add(&defines, "AT_A %u\n", p->m % 4);
    if (vb && !p->tb && p->n % 4) esker__text_add(&defines, "AT_B %u\n", p->n % 4);
    return esker__gemm_finish(lowering, p, false, &d, &defines);
}

/* Whether it is one row by rows of b long enough to share: a matrix by a vector. */
static bool suits_rows(const esker__gemm *p)
{
    return p->m == 1 && p->tb && !p->n_axes && p->k >= 64;
}

/* `own` rows of an invocation, or 0: 16 share one. */
static esker_status emit_rows(esker__lowering *lowering, esker__gemm *p, uint32_t own)
{
    uint32_t chunk = p->k;
    /* Where a second dispatch costs as much as some hundred reads in a row, few terms are not worth one. */
    uint64_t least = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA ? 2048 : 256;
    p->splits = own ? 1 : esker__choose_splits(lowering, p->n, 16ull * p->n, p->k, 64, least, &chunk);
    esker__dispatch_desc d = {.kernel = "gemm/rows", .cost = p->cost};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(p->n, own ? 8 * own : 4), d.groups);
    if (st != ESKER_OK) return st;
    d.groups[2] = p->splits;
    uint32_t params[] = {p->n, p->k, chunk, p->bias_step, d.groups[0]};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "V4 %d\n", p->k % 4 == 0);
    if (own) esker__text_add(&defines, "OWN %u\n", own);
    return esker__gemm_finish(lowering, p, false, &d, &defines);
}

#define OWN_ROWS  256   /* from so many on, four of an invocation leave a CPU's threads enough to do */
#define OWN_TERMS 65536 /* fewer: llvmpipe leaves loops after so many rounds, and one invocation would take long */

#define FEW_ROWS        16 /* that an invocation can hold for four columns */
#define FEW_INVOCATIONS 128
#define FEW_USUAL       32768 /* columns at least, so that a large GPU is busy with all of k in one invocation */

/* Whether c has few rows and so many columns that reading b is what counts. */
static bool suits_few_rows(const esker_limits *limits, const esker__gemm *p)
{
    return !esker__updated(p->out) && limits->group_invocations >= 1024 && p->m > 1 && p->m <= FEW_ROWS && !p->tb &&
           !p->n_axes && p->n % 4 == 0 && p->n >= 1024 && p->k >= 8 &&
           esker__ceil_div(p->n, 4 * FEW_INVOCATIONS) <= limits->groups[0];
}

static esker_status emit_few_rows(esker__lowering *lowering, esker__gemm *p)
{
    p->splits = 1;
    esker__dispatch_desc d = {
        .kernel = "gemm/few_rows", .groups = {(uint32_t)esker__ceil_div(p->n, 4 * FEW_INVOCATIONS), 1, 1}, .cost = p->cost};
    uint32_t params[] = {p->m, p->n, p->k, p->bias_step};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nM4 %u\nSIZE %d\n", p->ta, (uint32_t)esker__ceil_div(p->m, 4), FEW_INVOCATIONS);
    return esker__gemm_finish(lowering, p, true, &d, &defines);
}

esker_status esker__gemm_lower(esker__lowering *lowering, esker__gemm *p, const char *what)
{
    char text[160];
    const char *names[ESKER__MAX_CANDIDATES];
    snprintf(text, sizeof text, "%s ta=%d tb=%d m=%u n=%u k=%u b=%u%s", what, p->ta, p->tb, p->m, p->n, p->k, p->batches,
             p->sums ? " sums" : "");
    int usual, sliced;
    double seconds, sliced_seconds;
    int n = esker__gemm_tilings(lowering, p, names, ESKER__MAX_CANDIDATES - 7, &usual, &seconds);
    int more = esker__gemm_slicings(lowering, p, names + n, ESKER__MAX_CANDIDATES - 7 - n, &sliced, &sliced_seconds);
    if (sliced >= 0 && (usual < 0 || sliced_seconds < seconds)) usual = n + sliced;
    n += more;
    if (suits_quads(esker__lowering_limits(lowering), p)) {
        if (esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE && (double)p->m * p->n * p->k * p->batches >= 1e6)
            usual = n; /* smaller ones are not worth compiling it for */
        names[n++] = "quads";
    }
    if (suits_few_rows(esker__lowering_limits(lowering), p)) {
        if (esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA && p->n >= FEW_USUAL) usual = n;
        names[n++] = "fewrows";
    }
    if (suits_rows(p)) {
        names[usual = n++] = "rows";
        if (p->k < OWN_TERMS) {
            names[n++] = "ownrow";
            names[n++] = "ownrows";
            if (esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE) usual = p->n < OWN_ROWS ? n - 2 : n - 1;
        }
    }
    names[n++] = "direct";
    names[n++] = "plain";
    if (usual < 0) usual = n - 2;
    const char *name = names[esker__choose(lowering, text, names, n, usual)];
    if (!strcmp(name, "rows")) return emit_rows(lowering, p, 0);
    if (!strcmp(name, "ownrow") || !strcmp(name, "ownrows"))
        return emit_rows(lowering, p, !strcmp(name, "ownrows") ? 4 : 1);
    if (!strcmp(name, "fewrows")) return emit_few_rows(lowering, p);
    if (!strcmp(name, "quads")) return emit_quads(lowering, p);
    if (!strcmp(name, "direct") || !strcmp(name, "plain")) return emit_direct(lowering, p, !strcmp(name, "plain"));
    bool found;
    esker_status st = esker__gemm_emit_tiled(lowering, p, name, &found);
    if (!found) st = esker__gemm_emit_sliced(lowering, p, name, &found);
    return found ? st : esker__fail(ESKER_ERR_INTERNAL, "gemm: no kernel \"%s\"", name);
}
