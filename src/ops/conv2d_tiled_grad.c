/* conv/tiled_weight_grad: which weight gradients it suits, and how they are cut into tiles. */
#include "ops/conv2d_direct.h"

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/sums.h"

#define SHARED_BYTES     24576u
#define MOVED_X          8u /* fours of x, and of g, that an invocation holds while others are used */
#define MOVED_G          4u
#define MOST_INVOCATIONS 128u
#define GROUPS_WANTED    264u       /* two for each multiprocessor of a large GPU: more were slower */
#define PARTIAL_BYTES    (8u << 20) /* of partial sums: more would take longer to add up than they save */

typedef struct tiling {
    uint32_t lx, ly, parts, slices, fb, pb, rows, cols4;
} tiling;

static uint32_t at_most(uint64_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

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
static bool fits(const esker__conv2d_size *s, const tiling *t)
{
    uint32_t plane = plane4(s, t) | 1, sums = t->slices / 2 * t->ly * t->parts * t->fb, n = invocations(t);
    uint32_t of_g = t->fb * t->rows * t->cols4;
    return 16 * (t->ly * (of_g + 1) + t->lx * (plane > sums ? plane : sums)) <= SHARED_BYTES &&
           t->lx * plane4(s, t) <= MOVED_X * n && t->ly * of_g <= MOVED_G * n;
}

static tiling choose_tiling(const esker__conv2d_size *s)
{
    tiling t = {.fb = s->fg >= 8 ? 8 : 4, .pb = s->kh == 3 ? 3 : 1};
    t.parts = (uint32_t)s->kh / t.pb;
    t.lx = at_most((uint64_t)s->cg, 16);
    t.ly = at_most(esker__ceil_div((uint64_t)s->fg, t.fb), 4);
    uint32_t most = MOST_INVOCATIONS / (t.lx * t.ly * t.parts);
    uint32_t wanted = (uint32_t)esker__ceil_div(ESKER__CONV2D_TILED_LEAST, t.lx * t.ly * t.parts);
    if (wanted < 8) wanted = 8;
    if (wanted * t.parts > 64) wanted = 64 / t.parts; /* invocations along z */
    if (wanted < 1) wanted = 1;
    t.slices = most < 1 ? 1 : at_most((uint64_t)s->oh, most < wanted ? most : wanted);
    t.cols4 = at_most(esker__ceil_div((uint64_t)s->ow, 4), s->cg == 1 ? 4 : 8);
    t.rows = t.slices;
    while (t.slices > 1 && !fits(s, &t)) t.rows = --t.slices;
    while (t.cols4 > 1 && !fits(s, &t)) t.cols4--;
    /* More rows to a tile read fewer of x twice. */
    for (;;) {
        tiling more = t;
        more.rows += t.slices;
        if (more.rows > s->oh || !fits(s, &more)) return t;
        t = more;
    }
}

bool esker__conv2d_weight_grad_suits_tiled(const esker_limits *limits, const esker__conv2d_size *s)
{
    if (limits->group_invocations < 1024 || limits->shared_bytes < 32768) return false;
    if (s->groups != 1 || s->dy != 1 || s->dx != 1 || s->sx > 2 || s->kw < 1 || s->kw > 4 || s->kh > 16) return false;
    tiling t = choose_tiling(s);
    return fits(s, &t) && invocations(&t) >= ESKER__CONV2D_TILED_LEAST && invocations(&t) <= 256;
}

/* A filter's sum is shared by LX LZ / FB invocations. */
static bool makes_sums(const tiling *t)
{
    return t->lx * t->slices * t->parts >= t->fb;
}

bool esker__conv2d_weight_grad_tiled_sums(const esker__conv2d_size *s)
{
    tiling t = choose_tiling(s);
    return makes_sums(&t);
}

esker_status esker__conv2d_weight_grad_emit_tiled(esker__lowering *lowering, const esker_node *node,
                                                  const esker__conv2d_size *s, const esker_node *sums,
                                                  const esker_node *pooled)
{
    tiling t = choose_tiling(s);
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
    uint64_t splits = GROUPS_WANTED / (blocks_c * blocks_f), most = PARTIAL_BYTES / (4 * n_elems);
    if (splits > most) splits = most;
    if (splits > n_tiles) splits = n_tiles;
    if (splits < 1) splits = 1;
    uint64_t chunk = esker__ceil_div(n_tiles, splits);
    splits = esker__ceil_div(n_tiles, chunk);

    esker__dispatch_desc d = {.kernel = "conv/tiled_weight_grad",
                              .groups = {(uint32_t)blocks_c, (uint32_t)blocks_f, (uint32_t)splits}};
    uint32_t params[] = {
        (uint32_t)across, (uint32_t)down,  (uint32_t)n_tiles, (uint32_t)chunk, (uint32_t)s->oh,
        (uint32_t)s->ow,  (uint32_t)s->fg, (uint32_t)s->cg,   (uint32_t)s->h,  (uint32_t)s->w,
        (uint32_t)s->py,  (uint32_t)s->px, (uint32_t)n_elems,
    };
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines,
                    "LX %u\nLY %u\nLZ %u\nSLICES %u\nFB %u\nKH %d\nKW %d\nPB %u\nSY %d\nSX %d\nROWS %u\nCOLS4 %u\nVG %d\n",
                    t.lx, t.ly, t.slices * t.parts, t.slices, t.fb, (int)s->kh, (int)s->kw, t.pb, (int)s->sy, (int)s->sx,
                    t.rows, t.cols4, s->ow % 4 == 0 && !pooled);
    if (sums) esker__text_add(&defines, "G_SUMS 1\n");
    d.operands[d.n_operands++] = esker__read(lowering, node->inputs[0]);
    esker__conv2d_emit_g(lowering, node, pooled, &d, &defines);
    return esker__conv2d_weight_grad_emit(lowering, node, (uint32_t)splits, sums, &d, &defines);
}
