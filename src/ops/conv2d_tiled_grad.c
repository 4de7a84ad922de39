/* conv/tiled_weight_grad: which weight gradients it suits, and how they are cut into tiles. */
#include "ops/conv2d_tiles.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/sums.h"

#define MOVED_X       8u /* fours of x, and of g, that an invocation holds while others are used */
#define MOVED_G       4u
#define PARTIAL_BYTES (8u << 20) /* of partial sums: more would take longer to add up than they save */
#define ENOUGH \
    200u /* groups with a stride, where x is large beside g and alive with the partial sums: fewer of these, for 2 % of a step (pets256) */

/* How many filters an invocation takes; how many such sets and how many invocations a group has at most; its shared memory, and how many groups there are. */
typedef struct shape {
    const char *name;
    uint32_t fb, sets, group, shared_bytes, groups;
} shape;

/* One or two groups for each multiprocessor of a large GPU, which share out what it has of shared memory: more were slower. */
static const shape shapes[] = {
    {"grad8", 8, 4, 128, 24576, 264},
    {"grad4", 4, 8, 256, 24576, 264},
    {"grad8w", 8, 4, 256, 40960, 132},
    {"grad4w", 4, 8, 256, 40960, 132},
};
#define N_SHAPES (int)(sizeof shapes / sizeof *shapes)

typedef struct tiling {
    uint32_t lx, ly, parts, slices, fb, pb, rows, cols4, groups;
} tiling;

/* Fours of the tile of x in one channel, without the one that keeps channels apart. */
static uint32_t plane4(const esker__conv2d_size *s, const tiling *t)
{
    uint32_t height = (t->rows - 1) * (uint32_t)s->sy + (uint32_t)s->kh,
             width = (4 * t->cols4 - 1) * (uint32_t)s->sx + (uint32_t)s->kw;
    return height * ((width + 3) / 4);
}

static uint32_t invocations(const tiling *t)
{
    return t->lx * t->ly * t->parts * t->slices;
}

/* Whether the tiles fit in shared memory, and in the registers of those who move them. */
static bool fits(const esker__conv2d_size *s, const tiling *t, uint32_t shared_bytes)
{
    uint32_t plane = plane4(s, t) | 1, sums = t->slices / 2 * t->ly * t->parts * t->fb, n = invocations(t);
    uint32_t of_g = t->fb * t->rows * t->cols4;
    return 16 * (t->ly * (of_g + 1) + t->lx * (plane > sums ? plane : sums)) <= shared_bytes &&
           t->lx * plane4(s, t) <= MOVED_X * n && t->ly * of_g <= MOVED_G * n;
}

static bool cut(const esker_limits *limits, const esker__conv2d_size *s, const shape *how, tiling *out)
{
    tiling t = {.fb = s->fg >= 8 ? how->fb : 4, .pb = s->kh == 3 ? 3 : 1, .groups = how->groups};
    t.parts = (uint32_t)s->kh / t.pb;
    t.lx = esker__at_most((uint64_t)s->cg, 16);
    t.ly = esker__at_most(esker__ceil_div((uint64_t)s->fg, t.fb), how->sets);
    uint32_t most = how->group / (t.lx * t.ly * t.parts);
    uint32_t wanted = (uint32_t)esker__ceil_div(ESKER__CONV2D_TILED_LEAST, t.lx * t.ly * t.parts);
    if (wanted < 8) wanted = 8;
    if (wanted * t.parts > 64) wanted = 64 / t.parts; /* invocations along z */
    if (wanted < 1) wanted = 1;
    t.slices = most < 1 ? 1 : esker__at_most((uint64_t)s->oh, most < wanted ? most : wanted);
    t.cols4 = esker__at_most(esker__ceil_div((uint64_t)s->ow, 4), s->cg == 1 ? 4 : 8);
    t.rows = t.slices;
    while (t.slices > 1 && !fits(s, &t, how->shared_bytes)) t.rows = --t.slices;
    while (t.cols4 > 1 && !fits(s, &t, how->shared_bytes)) t.cols4--;
    /* More rows to a tile read fewer of x twice, and there are fewer tiles, but the last may have few rows that are any. */
    double least = 0; /* in halves of a row: of g, of x around it, and one for a tile */
    for (*out = t; t.rows < s->oh + t.slices && fits(s, &t, how->shared_bytes); t.rows += t.slices) {
        double rows = (double)(esker__ceil_div((uint64_t)s->oh, t.rows) * (2 * t.rows + (uint32_t)s->kh + 1));
        if (least && rows >= least) continue;
        least = rows;
        *out = t;
    }
    return how->shared_bytes <= limits->shared_bytes && fits(s, out, how->shared_bytes) &&
           invocations(out) >= ESKER__CONV2D_TILED_LEAST && invocations(out) <= 256;
}

bool esker__conv2d_weight_grad_suits_tiled(const esker_limits *limits, const esker__conv2d_size *s)
{
    if (!esker__has_room_for_tiles(limits)) return false;
    if (s->groups != 1 || s->dy != 1 || s->dx != 1 || s->sx > 2 || s->kw < 1 || s->kw > 4 || s->kh > 16) return false;
    tiling t;
    return cut(limits, s, &shapes[0], &t);
}

/*
 * Four filters of twice the invocations were faster on an H200 in all steps (pets256 by 18 us of 340) but that of mnistcnn, whose gradient lies behind
 * a pooling window.
 */
static tiling choose_tiling(esker__lowering *lowering, const esker__conv2d_size *s, bool pooled)
{
    const char *names[N_SHAPES];
    tiling t[N_SHAPES];
    int n = 0, usual = 0; /* the first always suits */
    bool by_four = !pooled && esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA;
    for (int i = 0; i < N_SHAPES; i++) {
        if (!cut(esker__lowering_limits(lowering), s, &shapes[i], &t[n])) continue;
        if (by_four && !strcmp(shapes[i].name, "grad4")) usual = n;
        names[n++] = shapes[i].name;
    }
    char problem[200];
    snprintf(problem, sizeof problem, "conv_grad_tile n=%lld c=%lld f=%lld oh=%lld ow=%lld k=%lldx%lld s=%lldx%lld",
             (long long)s->n, (long long)s->c, (long long)s->f, (long long)s->oh, (long long)s->ow, (long long)s->kh,
             (long long)s->kw, (long long)s->sy, (long long)s->sx);
    return t[esker__choose(lowering, problem, names, n, usual)];
}

/* A filter's sum is shared by LX LZ / FB invocations. */
static bool makes_sums(const tiling *t)
{
    return t->lx * t->slices * t->parts >= t->fb;
}

/* However it is cut. */
bool esker__conv2d_weight_grad_tiled_sums(const esker_limits *limits, const esker__conv2d_size *s)
{
    for (int i = 0; i < N_SHAPES; i++) {
        tiling t;
        if (cut(limits, s, &shapes[i], &t) && !makes_sums(&t)) return false;
    }
    return true;
}

esker_status esker__conv2d_weight_grad_emit_tiled(esker__lowering *lowering, const esker_node *node,
                                                  const esker__conv2d_size *s, const esker_node *sums,
                                                  const esker_node *pooled)
{
    tiling t = choose_tiling(lowering, s, pooled != NULL);
    /* Measured on an H100 alone: elsewhere, but where there is no g to sum, a dispatch of its own beside this one. */
    bool in_kernel = esker__setting("tiled_sums", pooled || esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA);
    if (sums && (!in_kernel || !makes_sums(&t))) {
        esker_status st = esker__emit_sums(lowering, node, 1, ESKER__CONV2D_SUMMED);
        if (st != ESKER_OK) return st;
        sums = NULL;
    }
    uint64_t across = esker__ceil_div((uint64_t)s->ow, 4 * t.cols4), down = esker__ceil_div((uint64_t)s->oh, t.rows),
             n_tiles = (uint64_t)s->n * across * down,
             n_elems = (uint64_t)(s->f * s->cg * s->kh * s->kw) + (sums ? esker__round_up((uint64_t)s->f, 4) : 0);
    uint64_t blocks_c = esker__ceil_div((uint64_t)s->cg, t.lx), blocks_f = esker__ceil_div((uint64_t)s->fg, t.fb * t.ly);
    uint32_t chunk,
        parts = esker__conv2d_weight_grad_parts(t.groups / (blocks_c * blocks_f), n_tiles, n_elems, PARTIAL_BYTES, &chunk);
    bool strided = s->sx > 1 || s->sy > 1;
    while (strided && chunk < n_tiles && esker__ceil_div(n_tiles, chunk + 1) * blocks_c * blocks_f >= ENOUGH) chunk++;
    parts = (uint32_t)esker__ceil_div(n_tiles, chunk);

    esker__dispatch_desc d = {.kernel = "conv/tiled_weight_grad",
                              .groups = {(uint32_t)blocks_c, (uint32_t)blocks_f, parts}};
    uint32_t params[] = {
        (uint32_t)across, (uint32_t)down,  (uint32_t)n_tiles, chunk,          (uint32_t)s->oh,
        (uint32_t)s->ow,  (uint32_t)s->fg, (uint32_t)s->cg,   (uint32_t)s->h, (uint32_t)s->w,
        (uint32_t)s->py,  (uint32_t)s->px, (uint32_t)n_elems,
    };
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines,
                    "LX %u\nLY %u\nLZ %u\nSLICES %u\nFB %u\nKH %d\nKW %d\nPB %u\nSY %d\nSX %d\nROWS %u\nCOLS4 %u\nVG %d\n",
                    t.lx, t.ly, t.slices * t.parts, t.slices, t.fb, (int)s->kh, (int)s->kw, t.pb, (int)s->sy, (int)s->sx,
                    t.rows, t.cols4, s->ow % 4 == 0 && !pooled);
    if (s->w % 4 == 0) esker__text_add(&defines, "X4 1\nSHIFT %d\n", (int)(3 & (4 - s->px % 4)));
    if (sums) esker__text_add(&defines, "G_SUMS 1\n");
    d.operands[d.n_operands++] = esker__read(lowering, node->inputs[0]);
    esker__conv2d_emit_g(lowering, node, pooled, &d, &defines);
    return esker__conv2d_weight_grad_emit(lowering, node, parts, sums, &d, &defines);
}
