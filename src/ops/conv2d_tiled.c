/* conv/tiled: which convolutions it suits, and how they are cut into tiles. */
#include "ops/conv2d_tiles.h"

#include <stdio.h>

#include "base/fail.h"
#include "ops/ops.h"

#define MAX_TAPS_X   7
#define SHARED_BYTES 96u /* of an invocation: several groups share what a multiprocessor has */
/* Invocations with which a large GPU is busy enough: to split sums costs a second pass behind a barrier, 13 us of a step of mnistcnn on an H200, which has 32768. Not
   with the 6656 of cnn_small, whose step would take 10 us longer. */
#define FILLING 16384

/* What an invocation takes of the result, and how many share a group, those that take other channels of each tile counted. */
typedef struct shape {
    const char *name;
    uint32_t ch, px, slices, group;
} shape;

static const shape shapes[] = {
    {"tile4x4", 4, 4, 1, 128},   {"tile4x8", 4, 8, 1, 128},   {"tile8x4", 8, 4, 1, 128},   {"tile8x8", 8, 8, 1, 128},
    {"tile4x4s2", 4, 4, 2, 256}, {"tile4x8s2", 4, 8, 2, 256}, {"tile4x4s4", 4, 4, 4, 256}, {"tile4x8s4", 4, 8, 4, 256},
};
#define N_SHAPES (int)(sizeof shapes / sizeof *shapes)
enum { TILE_4X4, TILE_4X8, TILE_8X4, TILE_8X8, TILE_4X4S2, TILE_4X8S2, TILE_4X4S4, TILE_4X8S4 };

typedef struct tiling {
    uint32_t ch, px, slices, lx, ly, lz, cc;
} tiling;

/* Even and odd columns of a gradient of the input with stride 2: which of the four phases each takes, from which column of x, behind the first that any of
   them sees, and by how many taps. */
typedef struct phases {
    const esker__conv2d_direct *of;
    int even;                   /* 0, or 1 if phases 1 and 3 are those of the even columns */
    int32_t offset[2], taps[2]; /* of even and odd columns */
} phases;

/* Columns of taps: those of both phases, or those of `d`, whose taps_x are otherwise the columns of x that a pixel sees. */
static uint32_t columns_of_taps(const esker__conv2d_direct *d, const phases *p)
{
    return (uint32_t)(p ? p->taps[0] + p->taps[1] : d->taps_x);
}

static uint32_t shared_bytes(const esker__conv2d_direct *d, const phases *p, const tiling *t)
{
    uint32_t rows = (t->ly - 1) * (uint32_t)d->stride_y + (uint32_t)d->taps_y,
             width = (t->lx * t->px - 1) * (uint32_t)d->stride_x + (uint32_t)d->taps_x;
    return 16 * (rows * ((width + 3) / 4 | 1) + (uint32_t)d->taps_y * columns_of_taps(d, p) * (t->ch * t->lz / 4 + 1));
}

/* Fours of x, or of the filters, whichever are more, that a group moves for each channel. */
static uint32_t moved(const esker__conv2d_direct *d, const phases *p, const tiling *t)
{
    uint32_t rows = (t->ly - 1) * (uint32_t)d->stride_y + (uint32_t)d->taps_y,
             width = (t->lx * t->px - 1) * (uint32_t)d->stride_x + (uint32_t)d->taps_x, x = rows * ((width + 3) / 4 | 1),
             w = (uint32_t)d->taps_y * columns_of_taps(d, p) * t->ch * t->lz / 4;
    return x > w ? x : w;
}

static uint32_t invocations(const tiling *t)
{
    return t->lx * t->ly * t->lz * t->slices;
}

/* So many channels at a time that an invocation moves two fours of x and of w, which take registers; where slices share them, a few more, as many for each and
   with none missing in the last if that is possible. */
static uint32_t channels_at_a_time(const esker__conv2d_direct *d, const phases *p, const tiling *t, uint32_t group)
{
    uint32_t n = invocations(t), fits = SHARED_BYTES * group / shared_bytes(d, p, t);
    uint32_t most = esker__at_most((t->slices > 1 ? 5 : 4) * n / (2 * moved(d, p, t)), fits);
    if (most > d->c_in) most = (uint32_t)d->c_in;
    if (most < t->slices) return t->slices;
    for (uint32_t cc = most; t->slices > 1 && 2 * cc > most; cc--)
        if (cc % t->slices == 0 && d->c_in % cc == 0) return cc;
    return most - most % t->slices;
}

/* With pooling: the rows that a group reads for those that count; fewer filters leave room for more rows. */
static void cut_windows(const esker__conv2d_direct *d, const shape *s, tiling *t)
{
    double least = 0;
    tiling best = *t;
    best.ly = 2; /* neighbours share windows */
    for (; t->lz >= 1; t->lz /= 2) {
        uint32_t most = s->group / (2 * t->slices * t->lx * t->lz);
        t->ly = 2 * esker__even_part((uint64_t)d->rows / 2, most ? most : 1);
        while (t->ly > 2 && shared_bytes(d, NULL, t) > SHARED_BYTES * s->group) t->ly = 2 * ((t->ly / 2 + 1) / 2);
        double read = (double)(esker__ceil_div((uint64_t)d->rows, t->ly) *
                               ((t->ly - 1) * (uint32_t)d->stride_y + (uint32_t)d->taps_y));
        if ((least && read >= least) || invocations(t) < ESKER__CONV2D_TILED_LEAST) continue;
        least = read;
        best = *t;
    }
    *t = best;
}

/* Whether the convolution can be cut so. */
static bool cut(const esker_limits *limits, const esker__conv2d_direct *d, const phases *p, const shape *s, tiling *t)
{
    *t = (tiling){.ch = s->ch, .px = s->px, .slices = s->slices};
    if ((p && (t->px > 4 || t->slices > 1)) || (d->pooling && (t->px > 4 || t->ch > 4))) return false;
    t->lx = esker__at_most(esker__ceil_div((uint64_t)d->columns, t->px), 32 / t->px);
    t->lz = esker__at_most(esker__ceil_div((uint64_t)d->f_out, t->ch), 32 / t->ch);
    uint32_t most = s->group / (t->slices * t->lx * t->lz);
    t->ly = esker__even_part((uint64_t)d->rows, most ? most : 1);
    while (t->ly > 1 && shared_bytes(d, p, t) > SHARED_BYTES * s->group) t->ly = (t->ly + 1) / 2;
    if (d->pooling) cut_windows(d, s, t);
    t->cc = channels_at_a_time(d, p, t, s->group);
    uint32_t n = invocations(t);
    return n >= ESKER__CONV2D_TILED_LEAST && n <= limits->group_invocations &&
           t->cc * shared_bytes(d, p, t) <= 128 * s->group && t->cc * moved(d, p, t) <= 4 * n && t->cc >= t->slices;
}

/* On GPUs that nothing is known of: what an invocation takes, by how many there are. */
static int shape_by_results(const esker__conv2d_direct *d, const phases *p)
{
    bool narrow = 5 * esker__round_up((uint64_t)d->columns, 8) > 6 * esker__round_up((uint64_t)d->columns, 4);
    uint64_t outputs = (uint64_t)(d->images * d->rows * d->columns * d->f_out) * (p ? 4 : 1);
    bool few = d->f_out < 8 || outputs < 4u << 20;
    narrow |= outputs < 2u << 20 || p;
    return few ? narrow ? TILE_4X4 : TILE_4X8 : narrow ? TILE_8X4 : TILE_8X8;
}

static bool suits(const esker_limits *limits, const esker__conv2d_direct *d, const phases *p)
{
    if (!esker__has_room_for_tiles(limits)) return false;
    if (d->groups != 1 || d->step_y != 1 || d->step_x != 1 || d->f_out < 4) return false;
    if (d->stride_x > 2 || d->taps_x < 1 || d->taps_x > MAX_TAPS_X || d->taps_y < 1) return false;
    tiling t;
    return cut(limits, d, p, &shapes[shape_by_results(d, p)], &t);
}

/*
 * On NVIDIA GPUs two invocations share the channels where results leave a half of 132 multiprocessors idle: 32 channels of 128 images of 16 x 16 took 24.6 us on
 * an H200 by 4 x 8 results for each of two, by 4 x 4 29.2; half as many results by 4 x 4 for each of two: 64 filters of 32 channels, stride 2, 8 x 8 of
 * 128 images 29.6 in place of 35.5, 32 x 32 of eight 27.4 in place of 29.7, both of mnistcnn's second convolution the step 116 in place of 129.
 * With 32 filters and more a group by 4 x 8 has four rows, and half of what it reads of x lies around them: 16 images of 64 x 64 44.8 us, by 4 x 4 31.2.
 */
static int usual_shape(const esker__lowering *lowering, const esker__conv2d_direct *d, const phases *p)
{
    int by_results = shape_by_results(d, p);
    uint64_t outputs = (uint64_t)(d->images * d->rows * d->columns * d->f_out);
    if (esker__lowering_family(lowering) != ESKER__FAMILY_NVIDIA || p) return by_results;
    if (!d->pooling && d->columns % 8 == 0 && d->stride_x == 1 && d->c_in >= 16 && outputs >= 1u << 20 &&
        outputs < 2u << 20)
        return TILE_4X8S2;
    if (by_results == TILE_4X4 && d->c_in >= 32 && outputs >= 1u << 18 && outputs < 1u << 20) return TILE_4X4S2;
    return by_results == TILE_4X8 && d->f_out >= 32 ? TILE_4X4 : by_results;
}

static tiling choose_tiling(esker__lowering *lowering, const esker__conv2d_direct *d, const phases *p)
{
    const char *names[N_SHAPES];
    tiling t[N_SHAPES];
    int n = 0, usual = -1, by_results = 0, wanted = usual_shape(lowering, d, p);
    for (int i = 0; i < N_SHAPES; i++) {
        if (!cut(esker__lowering_limits(lowering), d, p, &shapes[i], &t[n])) continue;
        if (i == wanted) usual = n;
        if (i == shape_by_results(d, p)) by_results = n;
        names[n++] = shapes[i].name;
    }
    if (usual < 0) usual = by_results; /* suits() has seen to that one */
    char problem[200];
    snprintf(problem, sizeof problem,
             "conv_tile n=%lld h=%d w=%d c=%lld oh=%lld ow=%lld f=%lld taps=%dx%d stride=%dx%d%s%s", (long long)d->images,
             d->x_h, d->x_w, (long long)d->c_in, (long long)d->rows, (long long)d->columns, (long long)d->f_out, d->taps_y,
             d->taps_x, d->stride_y, d->stride_x, p ? " phases" : "", d->w_f < d->w_c ? " grad" : "");
    return t[esker__choose(lowering, problem, names, n, usual)];
}

bool esker__conv2d_suits_tiled(const esker_limits *limits, const esker__conv2d_direct *d)
{
    return suits(limits, d, NULL);
}

/* Where a dispatch is a good part of the time: larger ones have larger tiles. */
bool esker__conv2d_tiled_pools(const esker_limits *limits, const esker__conv2d_direct *d)
{
    if (!esker__conv2d_pools(limits, d->pooling)) return false;
    esker__conv2d_direct of = esker__conv2d_windows_of(d);
    tiling t;
    return shape_by_results(&of, NULL) == TILE_4X4 && cut(limits, &of, NULL, &shapes[TILE_4X4], &t);
}

#define PHASE_WORDS 14

static void phase_params(const phases *p, uint32_t out[PHASE_WORDS])
{
    const esker__conv2d_direct *even[2], *odd[2]; /* columns, in even and odd rows */
    /* Even rows are those of the phases whose first pixel is in row 0. */
    bool swap = p->of[0].y_first >= p->of[2].y_first;
    for (int i = 0; i < 2; i++) {
        const esker__conv2d_direct *row = &p->of[i == (int)swap ? 0 : 2];
        even[i] = &row[p->even];
        odd[i] = &row[!p->even];
    }
    const uint32_t words[PHASE_WORDS] = {
        (uint32_t)even[0]->w_first, (uint32_t)odd[0]->w_first, (uint32_t)even[1]->w_first, (uint32_t)odd[1]->w_first,
        (uint32_t)even[0]->rows,    (uint32_t)even[1]->rows,   (uint32_t)even[0]->columns, (uint32_t)odd[0]->columns,
        even[0]->y_first,           even[1]->y_first,          (uint32_t)even[0]->pad_y,   (uint32_t)even[1]->pad_y,
        (uint32_t)even[0]->taps_y,  (uint32_t)even[1]->taps_y,
    };
    memcpy(out, words, sizeof words);
}

static void phase_defines(const phases *p, int window, esker__text *defines)
{
    esker__text_add(defines, "PHASES 1\nWINDOW %d\nKW_EVEN %d\nEVEN_TAPS ", window, (int)p->taps[0]);
    for (int q = 0; q < p->taps[0]; q++) esker__text_add(defines, "TAP_S(%du, FOUR_%d) ", q, (int)p->offset[0] + q);
    esker__text_add(defines, "\nODD_TAPS ");
    for (int q = 0; q < p->taps[1]; q++)
        esker__text_add(defines, "TAP_T(%du, FOUR_%d) ", (int)p->taps[0] + q, (int)p->offset[1] + q);
    esker__text_add(defines, "\n");
}

/* `p`: NULL, or the phases that `d` covers. */
static esker_status emit(esker__lowering *lowering, const esker__conv2d_direct *d, const phases *p)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    esker__conv2d_direct of = esker__conv2d_windows_of(d);
    tiling t = choose_tiling(lowering, d->pooling ? &of : d, p);
    if (d->pooling) d = esker__conv2d_as_pooled(&of);
    uint64_t across = esker__ceil_div((uint64_t)d->columns, t.lx * t.px), down = esker__ceil_div((uint64_t)d->rows, t.ly),
             blocks_f = esker__ceil_div((uint64_t)d->f_out, t.ch * t.lz),
             n_elems = (uint64_t)(d->images * d->f_out) * d->y_channel;
    esker__dispatch_desc desc = {.kernel = "conv/tiled", .cost = d->cost};
    esker_status st = esker__fold_groups(lowering, (uint64_t)d->images * across * down, desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t splits = 1, chunk = (uint32_t)d->c_in;
    uint64_t n_invocations = (uint64_t)d->images * across * down * blocks_f * invocations(&t);
    bool fills = esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA && n_invocations >= FILLING;
    if (d->alone && !p && !d->pooling && !fills)
        splits = esker__choose_splits(lowering, n_elems, n_invocations, (uint64_t)d->c_in, t.cc, 2 * t.cc, &chunk);
    if (blocks_f * (p ? 2 : splits) > limits->groups[2])
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld channels need %llu groups, this device takes %u", d->y->op->name,
                           (long long)d->f_out, (unsigned long long)(blocks_f * splits), limits->groups[2]);
    desc.groups[2] = (uint32_t)blocks_f * (p ? 2 : splits);
    /* With phases rows are 2 columns long, and y_u is that of every other row. */
    bool vy = p ? d->columns % 2 == 0 && d->y_u == 4 * (uint32_t)d->columns : esker__conv2d_writes_fours(d);
    struct {
        uint32_t images, across, down, groups_x, rows, columns, f_out, c_in;
        esker__conv2d_places places;
        uint32_t blocks_f, chunk, n_elems, phases[PHASE_WORDS];
    } params = {.images = (uint32_t)d->images,
                .across = (uint32_t)across,
                .down = (uint32_t)down,
                .groups_x = desc.groups[0],
                .rows = (uint32_t)d->rows,
                .columns = (uint32_t)d->columns,
                .f_out = (uint32_t)d->f_out,
                .c_in = (uint32_t)d->c_in,
                .places = esker__conv2d_places_of(d),
                .blocks_f = (uint32_t)blocks_f,
                .chunk = chunk,
                .n_elems = (uint32_t)n_elems};
    if (p) phase_params(p, params.phases);
    desc.params = &params;
    desc.n_params = (int)(sizeof params / 4) - (p ? 0 : PHASE_WORDS);
    esker__text defines = {0};
    esker__text_add(&defines,
                    "LX %u\nLY %u\nLF %u\nLZ %u\nSLICES %u\nCH %u\nPX %u\nKH %d\nKW %d\nSY %d\nSX %d\nCC %u\nVY %d\nWHOLE "
                    "%d\nBY_F %d\n",
                    t.lx, t.ly, t.lz, t.lz * t.slices, t.slices, t.ch, t.px, (int)d->taps_y, (int)columns_of_taps(d, p),
                    (int)d->stride_y, (int)d->stride_x, t.cc, vy, d->c_in % t.cc == 0 && chunk % t.cc == 0,
                    d->w_f > d->w_c);
    /* Rows of x are fours, and tiles begin at the same place in one. */
    if (!d->pooled && d->x_w % 4 == 0 && (t.lx * t.px * (uint32_t)d->stride_x % 4 == 0 || across == 1))
        esker__text_add(&defines, "X4 1\nSHIFT %d\n", (4 - d->pad_x % 4) % 4);
    if (!p && d->f_out % (t.ch * t.lz) == 0 && d->rows % t.ly == 0 && d->columns % (t.lx * t.px) == 0)
        esker__text_add(&defines, "EVEN 1\n");
    if (!p) esker__conv2d_define_halves(lowering, d, &defines);
    if (p) phase_defines(p, d->taps_x, &defines);
    if (splits > 1) esker__text_add(&defines, "SPLIT 1\n");
    if (!d->pooled) desc.operands[desc.n_operands++] = esker__read(lowering, d->x);
    if (d->pooled) desc.operands[desc.n_operands++] = esker__read(lowering, d->pooled->inputs[0]);
    desc.operands[desc.n_operands++] = esker__read(lowering, d->w);
    if (d->pooled) desc.operands[desc.n_operands++] = esker__read(lowering, d->pooled->inputs[2]);
    if (d->pooled) esker__text_add(&defines, "POOLED_X 1\n");
    esker__value part = {0};
    if (splits > 1) {
        part = esker__scratch(lowering, 4 * n_elems * splits);
        desc.operands[desc.n_operands++] = (esker__operand){.value = part, .write = true};
        desc.cost.bytes += 4 * (double)n_elems * (splits - 1);
    } else if (d->pooling) {
        esker__conv2d_emit_pooling(lowering, d, &desc, &defines);
    } else {
        esker__tail_emit(lowering, d->tail, d->y, vy, &desc, &defines);
    }
    st = esker__emit_with(lowering, &desc, &defines);
    if (st != ESKER_OK || splits == 1) return st;
    return esker__emit_sum_splits(lowering, part, n_elems, splits, d->tail, (uint32_t)d->f_out, d->y_channel, d->y);
}

esker_status esker__conv2d_emit_tiled(esker__lowering *lowering, const esker__conv2d_direct *d)
{
    return emit(lowering, d, NULL);
}

/* Rows and columns are the most of any phase, taps_x the columns of x that they see together, from the first that any of them sees. */
static esker__conv2d_direct cover(const esker__conv2d_direct d[4], phases *p)
{
    esker__conv2d_direct all = d[0];
    all.taps_x = 0;
    *p = (phases){.of = d, .even = d[0].y_first % (d[0].y_u / 2) != 0};
    int32_t pad = INT32_MIN;
    for (int i = 0; i < 4; i++) {
        if (d[i].rows > all.rows) all.rows = d[i].rows;
        if (d[i].columns > all.columns) all.columns = d[i].columns;
        if (d[i].taps_y > all.taps_y) all.taps_y = d[i].taps_y;
        if (i > 0) all.cost.flops += d[i].cost.flops;
        if (i > 0) all.cost.bytes += d[i].cost.bytes;
        /* Those without taps have no steps from one to the next. */
        if (d[i].taps_y > 1) all.w_p = d[i].w_p;
        if (d[i].taps_x > 1) all.w_q = d[i].w_q;
        if (d[i].taps_x > 0 && d[i].pad_x > pad) pad = d[i].pad_x;
    }
    for (int i = 0; i < 2; i++) {
        const esker__conv2d_direct *column = &d[i ? !p->even : p->even];
        p->taps[i] = column->taps_x;
        if (column->taps_x > 0) p->offset[i] = pad - column->pad_x;
        if (p->offset[i] + p->taps[i] > all.taps_x) all.taps_x = p->offset[i] + p->taps[i];
    }
    all.pad_x = pad;
    return all;
}

bool esker__conv2d_suits_phases(const esker_limits *limits, const esker__conv2d_direct d[4])
{
    for (int i = 0; i < 4; i++)
        if (d[i].step_y != 1 || d[i].step_x != 1) return false;
    phases p;
    esker__conv2d_direct all = cover(d, &p);
    return suits(limits, &all, &p);
}

esker_status esker__conv2d_emit_phases(esker__lowering *lowering, const esker__conv2d_direct d[4])
{
    phases p;
    esker__conv2d_direct all = cover(d, &p);
    return emit(lowering, &all, &p);
}
