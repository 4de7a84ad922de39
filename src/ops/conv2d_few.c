/* conv/few and conv/few_weight_grad, for x of a few channels (the first layers of networks): which convolutions they suit, and how they are cut into tiles. */
#include "ops/conv2d_tiles.h"

#include "base/fail.h"
#include "ops/ops.h"

#define MOST_CHANNELS 4
#define MOST_TAPS     7 /* of a row */
#define SHARED_BYTES  32768u

/* vec4 of a row of x that four neighbouring pixels meet, and of that in a tile's row of `cols4` times four. */
static uint32_t loaded(int64_t stride, int64_t taps)
{
    return (uint32_t)((3 * stride + taps + 3) / 4);
}

static uint32_t width4(uint32_t cols4, int64_t stride, int64_t taps)
{
    return ((cols4 - 1) * (uint32_t)stride + loaded(stride, taps)) | 1;
}

/* ---- Forward ---- */

#define FORWARD_INVOCATIONS 128u

typedef struct tiling {
    uint32_t ch, lx, ly, lz;
} tiling;

static uint32_t shared_bytes(const esker__conv2d_direct *d, const tiling *t)
{
    uint32_t height = (t->ly - 1) * (uint32_t)d->stride_y + (uint32_t)d->taps_y;
    return 16 * (uint32_t)d->c_in *
           (height * width4(t->lx, d->stride_x, d->taps_x) + (uint32_t)(d->taps_y * d->taps_x) * t->ch * t->lz / 4);
}

static tiling choose_tiling(const esker__conv2d_direct *d)
{
    tiling t = {.ch = 4};
    uint64_t filters = SHARED_BYTES / 3 / (uint64_t)(4 * d->c_in * d->taps_y * d->taps_x); /* that fit beside x */
    uint32_t most = filters > 32 ? 32 : filters < t.ch ? t.ch : (uint32_t)filters;
    t.lx = esker__even_part(esker__ceil_div((uint64_t)d->columns, 4), 8);
    t.lz = esker__even_part(esker__ceil_div((uint64_t)d->f_out, t.ch), most / t.ch);
    t.ly = FORWARD_INVOCATIONS / (t.lx * t.lz);
    t.ly = esker__even_part((uint64_t)d->rows, t.ly < 1 ? 1 : t.ly);
    while (t.ly > 1 && shared_bytes(d, &t) > SHARED_BYTES) t.ly--;
    return t;
}

/* With pooling: the two rows of a window are those of neighbours. */
static tiling choose_pooling(const esker__conv2d_direct *d, esker__conv2d_direct *of)
{
    *of = esker__conv2d_windows_of(d);
    tiling t = choose_tiling(of);
    t.ly = 2 * esker__even_part((uint64_t)of->rows / 2, t.ly < 2 ? 1 : t.ly / 2);
    return t;
}

bool esker__conv2d_few_pools(const esker_limits *limits, const esker__conv2d_direct *d)
{
    if (!d->pooling || !esker__conv2d_pools(limits, d->pooling)) return false;
    esker__conv2d_direct of;
    tiling t = choose_pooling(d, &of);
    return t.lx * t.ly * t.lz >= ESKER__CONV2D_TILED_LEAST && shared_bytes(&of, &t) <= SHARED_BYTES;
}

bool esker__conv2d_suits_few(const esker_limits *limits, const esker__conv2d_direct *d)
{
    if (!esker__has_room_for_tiles(limits)) return false;
    if (d->groups != 1 || d->step_y != 1 || d->step_x != 1 || d->c_in > MOST_CHANNELS) return false;
    if (d->stride_x > 2 || d->taps_x < 1 || d->taps_x > MOST_TAPS || d->taps_y < 1 || d->taps_y > 16) return false;
    tiling t = choose_tiling(d);
    return t.lx * t.ly * t.lz >= ESKER__CONV2D_TILED_LEAST && shared_bytes(d, &t) <= SHARED_BYTES;
}

esker_status esker__conv2d_emit_few(esker__lowering *lowering, const esker__conv2d_direct *d)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    esker__conv2d_direct of;
    tiling t = d->pooling ? choose_pooling(d, &of) : choose_tiling(d);
    if (d->pooling) d = esker__conv2d_as_pooled(&of);
    uint64_t across = esker__ceil_div((uint64_t)d->columns, 4 * t.lx), down = esker__ceil_div((uint64_t)d->rows, t.ly),
             blocks_f = esker__ceil_div((uint64_t)d->f_out, t.ch * t.lz);
    esker__dispatch_desc desc = {.kernel = "conv/few", .cost = d->cost};
    esker_status st = esker__fold_groups(lowering, (uint64_t)d->images * across * down, desc.groups);
    if (st != ESKER_OK) return st;
    if (blocks_f > limits->groups[2])
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld channels need %llu groups, this device takes %u", d->y->op->name,
                           (long long)d->f_out, (unsigned long long)blocks_f, limits->groups[2]);
    desc.groups[2] = (uint32_t)blocks_f;
    bool vy = esker__conv2d_writes_fours(d);
    struct {
        uint32_t images, across, down, groups_x, rows, columns, f_out;
        esker__conv2d_places places;
    } params = {(uint32_t)d->images, (uint32_t)across,     (uint32_t)down,     desc.groups[0],
                (uint32_t)d->rows,   (uint32_t)d->columns, (uint32_t)d->f_out, esker__conv2d_places_of(d)};
    desc.params = &params;
    desc.n_params = sizeof params / 4;
    esker__text defines = {0};
    esker__text_add(&defines, "LX %u\nLY %u\nLZ %u\nCH %u\nCI %d\nKH %d\nKW %d\nSY %d\nSX %d\nVY %d\n", t.lx, t.ly, t.lz,
                    t.ch, (int)d->c_in, (int)d->taps_y, (int)d->taps_x, (int)d->stride_y, (int)d->stride_x, vy);
    esker__conv2d_define_halves(lowering, d, &defines);
    desc.operands[desc.n_operands++] = esker__read(lowering, d->x);
    desc.operands[desc.n_operands++] = esker__read(lowering, d->w);
    if (d->pooling)
        esker__conv2d_emit_pooling(lowering, d, &desc, &defines);
    else
        esker__tail_emit(lowering, d->tail, d->y, vy, &desc, &defines);
    return esker__emit_with(lowering, &desc, &defines);
}

/* ---- The gradient of the filters ---- */

#define INVOCATIONS   256u
#define GROUPS_WANTED 264u       /* two for each multiprocessor of a large GPU */
#define PARTIAL_BYTES (4u << 20) /* of partial sums: more would take longer to add up than they save */

typedef struct grad_tiling {
    uint32_t n, fb, blocks, slices, rows, cols4;
} grad_tiling;

static uint32_t x_quads(const esker__conv2d_size *s, const grad_tiling *t)
{
    return (uint32_t)s->c * ((t->rows - 1) * (uint32_t)s->sy + (uint32_t)s->kh) * width4(t->cols4, s->sx, s->kw);
}

static uint32_t grad_shared_bytes(const esker__conv2d_size *s, const grad_tiling *t)
{
    uint32_t tiles = t->blocks * (t->fb * t->rows * t->cols4 | 1) + x_quads(s, t) + loaded(s->sx, s->kw);
    uint32_t sums = (uint32_t)s->kw * t->fb / 4 * t->n;
    return 16 * (tiles > sums ? tiles : sums);
}

static grad_tiling choose_grad_tiling(const esker__conv2d_size *s, bool sums)
{
    grad_tiling t = {.n = INVOCATIONS, .fb = s->f > 4 && s->kw <= 4 ? 8 : 4};
    uint32_t lines = (uint32_t)(s->c * s->kh) + sums, most = t.n / lines;
    if (most > 32 / t.fb) most = 32 / t.fb;
    t.blocks = most < 1 ? 1 : esker__even_part(esker__ceil_div((uint64_t)s->f, t.fb), most);
    t.slices = t.n / (t.blocks * lines);
    /* Four vec4 of each tile for an invocation: those of g, and those of x. */
    t.cols4 = esker__even_part(esker__ceil_div((uint64_t)s->ow, 4), esker__at_most(4 * t.n / (t.fb * t.blocks), 8));
    t.rows = 1;
    for (;;) {
        grad_tiling more = t;
        uint64_t across = esker__ceil_div((uint64_t)s->ow, 4 * t.cols4);
        more.rows++;
        if (more.rows > s->oh || t.fb * t.blocks * more.rows * t.cols4 > 4 * t.n || x_quads(s, &more) > 4 * t.n ||
            grad_shared_bytes(s, &more) > SHARED_BYTES)
            break;
        if ((uint64_t)s->n * across * esker__ceil_div((uint64_t)s->oh, more.rows) < GROUPS_WANTED) break;
        t = more;
    }
    t.rows = esker__even_part((uint64_t)s->oh, t.rows);
    return t;
}

bool esker__conv2d_weight_grad_suits_few(const esker_limits *limits, const esker__conv2d_size *s)
{
    if (!esker__has_room_for_tiles(limits)) return false;
    if (s->groups != 1 || s->dy != 1 || s->dx != 1 || s->c > MOST_CHANNELS) return false;
    if (s->sx > 2 || s->kw > MOST_TAPS || s->c * s->kh >= 64) return false;
    grad_tiling t = choose_grad_tiling(s, true);
    return t.slices >= 1 && x_quads(s, &t) <= 4 * t.n && grad_shared_bytes(s, &t) <= SHARED_BYTES;
}

esker_status esker__conv2d_weight_grad_emit_few(esker__lowering *lowering, const esker_node *node,
                                                const esker__conv2d_size *s, const esker_node *sums,
                                                const esker_node *pooled)
{
    grad_tiling t = choose_grad_tiling(s, sums != NULL);
    uint64_t across = esker__ceil_div((uint64_t)s->ow, 4 * t.cols4), down = esker__ceil_div((uint64_t)s->oh, t.rows),
             n_tiles = (uint64_t)s->n * across * down,
             n_elems = (uint64_t)(s->f * s->c * s->kh * s->kw) + (sums ? esker__round_up((uint64_t)s->f, 4) : 0);
    uint64_t blocks_f = esker__ceil_div((uint64_t)s->f, t.fb * t.blocks);
    uint32_t chunk,
        parts = esker__conv2d_weight_grad_parts(GROUPS_WANTED / blocks_f, n_tiles, n_elems, PARTIAL_BYTES, &chunk);

    esker__dispatch_desc d = {.kernel = "conv/few_weight_grad", .groups = {(uint32_t)blocks_f, parts, 1}};
    uint32_t params[] = {
        (uint32_t)across, (uint32_t)down, (uint32_t)n_tiles, chunk,           (uint32_t)s->oh, (uint32_t)s->ow,
        (uint32_t)s->f,   (uint32_t)s->h, (uint32_t)s->w,    (uint32_t)s->py, (uint32_t)s->px, (uint32_t)n_elems,
    };
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(
        &defines,
        "N %u\nFB %u\nBLOCKS %u\nSLICES %u\nC %d\nKH %d\nKW %d\nSY %d\nSX %d\nROWS %u\nCOLS4 %u\nVG %d\nSUMS %d\n", t.n,
        t.fb, t.blocks, t.slices, (int)s->c, (int)s->kh, (int)s->kw, (int)s->sy, (int)s->sx, t.rows, t.cols4,
        s->ow % 4 == 0 && !pooled, sums != NULL);
    d.operands[d.n_operands++] = esker__read(lowering, node->inputs[0]);
    esker__conv2d_emit_g(lowering, node, pooled, &d, &defines);
    return esker__conv2d_weight_grad_emit(lowering, node, parts, sums, &d, &defines);
}
