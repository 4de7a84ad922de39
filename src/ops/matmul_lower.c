/* Which kernel computes a matmul, and how it is cut. */
#include "ops/matmul.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

/* The problem as the kernels see it: c [m, n] = op(a) op(b), with whatever swap or flag is simplest. */
typedef struct problem {
    const esker_node *a, *b, *bias, *out;
    bool ta, tb;
    uint32_t splits;
    uint32_t m, n, k, bias_step;
    uint32_t batches, n_axes, lengths[4], step_a[4], step_b[4]; /* as esker__matmul_size has them; steps in elements */
    const esker__tail *tail;
    esker__cost cost;
} problem;

static problem problem_of(const esker_node *node)
{
    const esker__matmul_attr *attr = node->attr;
    esker__matmul_size s = esker__matmul_size_of(node);
    problem p = {.a = node->inputs[0],
                 .b = node->inputs[1],
                 .out = node,
                 .ta = attr->transpose_a,
                 .tb = attr->transpose_b,
                 .m = (uint32_t)s.m,
                 .n = (uint32_t)s.n,
                 .k = (uint32_t)s.k,
                 .tail = &attr->tail};
    p.bias = attr->tail.has_bias ? node->inputs[2] : NULL;
    p.bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, p.bias) : 0;
    node->op->cost(node, &p.cost);
    p.batches = (uint32_t)s.batches;
    p.n_axes = (uint32_t)s.n_axes;
    for (int i = 0; i < s.n_axes; i++) {
        p.lengths[i] = (uint32_t)s.length[i];
        p.step_a[i] = (uint32_t)s.step_a[i];
        p.step_b[i] = (uint32_t)s.step_b[i];
    }
    /* One b, and the rows of a one after the other: one product. (That a is dense follows: nothing else gives c its batch.) */
    if (p.n_axes == 1 && p.step_b[0] == 0 && (!p.ta || p.m == 1)) {
        p.m *= p.batches;
        p.ta = false;
        p.n_axes = 0;
        p.batches = 1;
    }
    /* A column is stored as a row is: c' [1, m] = op(b)' op(a)', so that only rows need a variant. A bias then has one
     * element. */
    if (p.n == 1 && p.m > 1) {
        const esker_node *t = p.a;
        bool flag = p.ta;
        p.a = p.b, p.b = t;
        p.ta = !p.tb, p.tb = !flag;
        p.n = p.m, p.m = 1;
        uint32_t steps[4];
        memcpy(steps, p.step_a, sizeof steps);
        memcpy(p.step_a, p.step_b, sizeof steps);
        memcpy(p.step_b, steps, sizeof steps);
    }
    /* One row, and the columns of b, as stored, one after the other: one row again. */
    if (p.m == 1 && p.n_axes == 1 && p.step_a[0] == 0 && (p.tb || p.n == 1) && !p.bias_step) {
        p.n *= p.batches;
        p.tb = true;
        p.n_axes = 0;
        p.batches = 1;
    }
    /* So is a vector's transpose. */
    if (p.m == 1) p.ta = false;
    if (p.n == 1) p.tb = true;
    return p;
}

/* The words of the kernels' uniform block from `batches` on. Steps are in units of `unit_a` and `unit_b` elements. */
static void batch_params(const problem *p, uint32_t unit_a, uint32_t unit_b, uint32_t out[14])
{
    out[0] = p->batches;
    for (uint32_t i = 0; i < 4; i++) {
        out[1 + i] = i < p->n_axes ? p->lengths[i] : 1;
        out[5 + i] = i < p->n_axes ? p->step_a[i] / unit_a : 0;
        out[9 + i] = i < p->n_axes ? p->step_b[i] / unit_b : 0;
    }
    out[13] = p->batches * p->splits;
}

/* What the kernels share (`quads`: this one stores vec4): the tail, or the split and its second pass, and the operands. Takes `defines`. */
static esker_status finish(esker__lowering *lowering, const problem *p, bool quads, esker__dispatch_desc *d,
                           esker__text *defines)
{
    uint32_t splits = p->splits;
    uint64_t n_elems = (uint64_t)p->batches * p->m * p->n;
    if (p->n_axes) esker__text_add(defines, "BATCH %u\n", p->n_axes);
    esker__value part = {0};
    d->operands[d->n_operands++] = esker__read(lowering, p->a);
    d->operands[d->n_operands++] = esker__read(lowering, p->b);
    if (splits > 1) {
        esker__text_add(defines, "SPLIT 1\n");
        part = esker__scratch(lowering, 4 * n_elems * splits);
        d->operands[d->n_operands++] = (esker__operand){.value = part, .write = true};
        d->cost.bytes += 4 * (double)n_elems * (splits - 1);
    } else {
        esker__tail_emit(lowering, p->tail, p->out, quads, d, defines);
    }
    d->defines = defines->chars;
    esker_status st = defines->failed ? esker__fail_memory(defines->capacity, "a kernel's definitions")
                                      : esker__emit(lowering, d);
    esker__text_finish(defines);
    if (st != ESKER_OK || splits == 1) return st;
    return esker__emit_sum_splits(lowering, part, n_elems, splits, p->tail, p->n, p->out);
}

static uint32_t lower_power_of_two(uint64_t limit, uint32_t from)
{
    while (from > 1 && from / 2 >= limit) from /= 2;
    return from;
}

/* `plain`: without vec4 loads and stores. */
static esker_status emit_direct(esker__lowering *lowering, problem *p, bool plain)
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
    p->splits = esker__choose_splits(limits, (uint64_t)p->batches * p->m * p->n, tiles * p->batches, p->k, 4, 64, &chunk);
    bool va = (p->ta ? p->m % 4 : p->k % 2) == 0, vc = p->n % 4 == 0, vb = p->tb ? p->k % 2 == 0 : vc;
    if (!vc && (p->n_axes || (p->tb && (p->splits > 1 || p->bias || p->tail->program.n_steps)))) {
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
    uint32_t params[8 + 14] = {p->m, p->n, p->k, chunk, p->bias_step, (uint32_t)groups_x, (uint32_t)groups_y, d.groups[0]};
    batch_params(p, !va ? 1 : p->ta ? 4 : 2, !vb ? 1 : p->tb ? 2 : 4, params + 8);
    d.params = params;
    d.n_params = sizeof params / sizeof *params;

    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nTB %d\nVA %d\nVB %d\nVC %d\nROWS %u\nLX %u\nLY %u\nLZ %u\n", p->ta, p->tb, va, vb, vc,
                    rows, lx, ly, lz);
    if (fold) esker__text_add(&defines, "FOLD 1\n");
    return finish(lowering, p, vc, &d, &defines);
}

static esker_status emit_tiled(esker__lowering *lowering, problem *p)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    uint32_t groups_x = (uint32_t)esker__ceil_div(p->n, 64), groups_y = (uint32_t)esker__ceil_div(p->m, 64), chunk;
    /* With 64 sums each, an invocation weighs as much as four of gemm/direct. */
    p->splits = esker__choose_splits(limits, (uint64_t)p->batches * p->m * p->n, 256ull * groups_x * groups_y * p->batches,
                                     p->k, 16, 64, &chunk);
    esker__dispatch_desc d = {
        .kernel = "gemm/tiled", .groups = {groups_x, groups_y, p->batches * p->splits}, .cost = p->cost};
    uint32_t params[8 + 14] = {p->m, p->n, p->k, chunk, p->bias_step};
    batch_params(p, 1, 1, params + 8);
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    bool va = (p->ta ? p->m : p->k) % 4 == 0, vb = (p->tb ? p->k : p->n) % 4 == 0, vc = p->n % 4 == 0;
    esker__text defines = {0};
    esker__text_add(&defines, "TA %d\nTB %d\nVA %d\nVB %d\nVC %d\n", p->ta, p->tb, va, vb, vc);
    return finish(lowering, p, vc, &d, &defines);
}

/* Whether it is one row by rows of b long enough to share: a matrix by a vector. */
static bool suits_rows(const problem *p)
{
    return p->m == 1 && p->tb && !p->n_axes && p->k >= 64;
}

static esker_status emit_rows(esker__lowering *lowering, problem *p)
{
    uint32_t chunk;
    p->splits = esker__choose_splits(esker__lowering_limits(lowering), p->n, 16ull * p->n, p->k, 64, 256, &chunk);
    esker__dispatch_desc d = {.kernel = "gemm/rows", .cost = p->cost};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(p->n, 4), d.groups);
    if (st != ESKER_OK) return st;
    d.groups[2] = p->splits;
    uint32_t params[] = {p->n, p->k, chunk, p->bias_step, d.groups[0]};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "V4 %d\n", p->k % 4 == 0);
    return finish(lowering, p, false, &d, &defines);
}

/* Whether tiles of 64 x 64 suit the device and waste little. */
static bool suits_tiles(const esker_limits *limits, const problem *p)
{
    return limits->group_invocations >= 1024 && limits->shared_bytes >= 32768 && p->m >= 48 && p->n >= 48 && p->k >= 16 &&
           esker__ceil_div(p->n, 64) <= limits->groups[0] && esker__ceil_div(p->m, 64) <= limits->groups[1] &&
           p->batches <= limits->groups[2];
}

esker_status esker__matmul_lower(esker__lowering *lowering, const esker_node *node)
{
    problem p = problem_of(node);
    char text[128];
    const char *names[4];
    int n = 0;
    snprintf(text, sizeof text, "matmul ta=%d tb=%d m=%u n=%u k=%u b=%u", p.ta, p.tb, p.m, p.n, p.k, p.batches);
    if (suits_rows(&p)) names[n++] = "rows";
    if (suits_tiles(esker__lowering_limits(lowering), &p)) names[n++] = "tiled";
    names[n++] = "direct";
    names[n++] = "plain";
    const char *name = names[esker__choose(lowering, text, names, n, 0)];
    if (!strcmp(name, "rows")) return emit_rows(lowering, &p);
    if (!strcmp(name, "tiled")) return emit_tiled(lowering, &p);
    return emit_direct(lowering, &p, !strcmp(name, "plain"));
}
