/* conv/tiled: which convolutions it suits, and how they are cut into tiles. */
#include "ops/conv2d_direct.h"

#include "base/fail.h"
#include "ops/ops.h"

#define MAX_TAPS_X   7
#define SHARED_BYTES 12288u /* of a group: several groups share what a multiprocessor has */

typedef struct tiling {
    uint32_t ch, px, lx, ly, lz, cc;
} tiling;

static uint32_t at_most(uint64_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

/* The least number of equal parts, none longer than `most`: their length. */
static uint32_t even_part(uint64_t n, uint32_t most)
{
    return (uint32_t)esker__ceil_div(n, esker__ceil_div(n, most));
}

static uint32_t shared_bytes(const esker__conv2d_direct *d, const tiling *t)
{
    uint32_t rows = (t->ly - 1) * (uint32_t)d->stride_y + (uint32_t)d->taps_y,
             width = (t->lx * t->px - 1) * (uint32_t)d->stride_x + (uint32_t)d->taps_x;
    return 16 * (rows * ((width + 3) / 4 | 1) + (uint32_t)(d->taps_y * d->taps_x) * (t->ch * t->lz / 4 + 1));
}

/* Elements of x, or of the filters, whichever are more, that an invocation moves for each channel, rounded up. */
static uint32_t moved_at_once(const esker__conv2d_direct *d, const tiling *t)
{
    uint32_t rows = (t->ly - 1) * (uint32_t)d->stride_y + (uint32_t)d->taps_y,
             width = (t->lx * t->px - 1) * (uint32_t)d->stride_x + (uint32_t)d->taps_x,
             x = 4 * rows * ((width + 3) / 4 | 1), w = (uint32_t)(d->taps_y * d->taps_x) * t->ch * t->lz;
    return (uint32_t)esker__ceil_div(x > w ? x : w, t->lx * t->ly * t->lz);
}

static tiling choose_tiling(const esker__conv2d_direct *d)
{
    tiling t = {.ch = 8, .px = 8};
    if (5 * esker__round_up((uint64_t)d->columns, 8) > 6 * esker__round_up((uint64_t)d->columns, 4)) t.px = 4;
    /* Too few invocations to fill a large GPU: smaller ones. */
    uint64_t pixels = (uint64_t)(d->images * d->rows * d->columns), outputs = pixels * (uint64_t)d->f_out;
    if (d->f_out < 8 || outputs < 4u << 20) t.ch = 4;
    if (outputs < 2u << 20) t.px = 4;
    t.lx = at_most(esker__ceil_div((uint64_t)d->columns, t.px), 32 / t.px);
    t.lz = at_most(esker__ceil_div((uint64_t)d->f_out, t.ch), 32 / t.ch);
    t.ly = even_part((uint64_t)d->rows, 128 / (t.lx * t.lz) ? 128 / (t.lx * t.lz) : 1);
    while (t.ly > 1 && shared_bytes(d, &t) > SHARED_BYTES) t.ly = (t.ly + 1) / 2;
    /* So many channels that an invocation moves eight elements of x and of w, which take registers, or one. */
    uint32_t moved = moved_at_once(d, &t), fit = SHARED_BYTES / shared_bytes(d, &t);
    t.cc = at_most(moved > 8 ? 1 : 8 / moved, fit);
    if (t.cc < 1) t.cc = 1;
    if (t.cc > d->c_in) t.cc = (uint32_t)d->c_in;
    return t;
}

bool esker__conv2d_suits_tiled(const esker_limits *limits, const esker__conv2d_direct *d)
{
    if (limits->group_invocations < 1024 || limits->shared_bytes < 32768) return false;
    if (d->groups != 1 || d->step_y != 1 || d->step_x != 1 || d->f_out < 4) return false;
    if (d->stride_x > 2 || d->taps_x < 1 || d->taps_x > MAX_TAPS_X || d->taps_y < 1) return false;
    tiling t = choose_tiling(d);
    return t.lx * t.ly * t.lz >= ESKER__CONV2D_TILED_LEAST && shared_bytes(d, &t) <= 16384 && moved_at_once(d, &t) <= 16;
}

/* `phases`: NULL, or the four that `d` covers. */
static esker_status emit(esker__lowering *lowering, const esker__conv2d_direct *d, const esker__conv2d_direct *phases)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    tiling t = choose_tiling(d);
    uint64_t across = esker__ceil_div((uint64_t)d->columns, t.lx * t.px), down = esker__ceil_div((uint64_t)d->rows, t.ly),
             blocks_f = esker__ceil_div((uint64_t)d->f_out, t.ch * t.lz),
             n_elems = (uint64_t)(d->images * d->f_out) * d->y_channel;
    esker__dispatch_desc desc = {.kernel = "conv/tiled", .cost = d->cost};
    esker_status st = esker__fold_groups(lowering, (uint64_t)d->images * across * down, desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t splits = 1, chunk = (uint32_t)d->c_in;
    if (d->alone && !phases)
        splits = esker__choose_splits(limits, n_elems, (uint64_t)d->images * across * down * blocks_f * t.lx * t.ly * t.lz,
                                      (uint64_t)d->c_in, t.cc, 2 * t.cc, &chunk);
    if (blocks_f * (phases ? 4 : splits) > limits->groups[2])
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld channels need %llu groups, this device takes %u", d->y->op->name,
                           (long long)d->f_out, (unsigned long long)(blocks_f * splits), limits->groups[2]);
    desc.groups[2] = (uint32_t)blocks_f * (phases ? 4 : splits);
    bool vy = !phases && d->y_v == 1 && d->columns % 4 == 0 && d->y_channel % 4 == 0 && d->y_first % 4 == 0 &&
              d->y_u % 4 == 0;
    uint32_t params[25 + 32] = {
        (uint32_t)d->images,
        (uint32_t)across,
        (uint32_t)down,
        desc.groups[0],
        (uint32_t)d->rows,
        (uint32_t)d->columns,
        (uint32_t)d->f_out,
        (uint32_t)d->c_in,
        (uint32_t)d->x_h,
        (uint32_t)d->x_w,
        (uint32_t)d->pad_y,
        (uint32_t)d->pad_x,
        (uint32_t)d->w_f,
        (uint32_t)d->w_c,
        (uint32_t)d->w_first,
        (uint32_t)d->w_p,
        (uint32_t)d->w_q,
        d->y_channel,
        d->y_first,
        d->y_u,
        d->y_v,
        d->bias ? esker__tail_bias_step(d->tail, d->bias) : 0,
        (uint32_t)blocks_f,
        chunk,
        (uint32_t)n_elems,
    };
    for (int i = 0; phases && i < 4; i++) {
        const esker__conv2d_direct *one = &phases[i];
        const uint32_t words[8] = {(uint32_t)one->rows,   (uint32_t)one->columns, one->y_first,
                                   (uint32_t)one->pad_y,  (uint32_t)one->pad_x,   (uint32_t)one->w_first,
                                   (uint32_t)one->taps_y, (uint32_t)one->taps_x};
        for (int j = 0; j < 8; j++) params[25 + 4 * j + i] = words[j];
    }
    desc.params = params;
    desc.n_params = phases ? 57 : 25;
    esker__text defines = {0};
    esker__text_add(&defines,
                    "LX %u\nLY %u\nLZ %u\nCH %u\nPX %u\nKH %d\nKW %d\nSY %d\nSX %d\nCC %u\nVY %d\nWHOLE %d\nBY_F %d\n",
                    t.lx, t.ly, t.lz, t.ch, t.px, (int)d->taps_y, (int)d->taps_x, (int)d->stride_y, (int)d->stride_x, t.cc,
                    vy, d->c_in % t.cc == 0 && chunk % t.cc == 0, d->w_f > d->w_c);
    if (phases) esker__text_add(&defines, "PHASES 1\n");
    if (splits > 1) esker__text_add(&defines, "SPLIT 1\n");
    desc.operands[desc.n_operands++] = esker__read(lowering, d->x);
    desc.operands[desc.n_operands++] = esker__read(lowering, d->w);
    esker__value part = {0};
    if (splits > 1) {
        part = esker__scratch(lowering, 4 * n_elems * splits);
        desc.operands[desc.n_operands++] = (esker__operand){.value = part, .write = true};
        desc.cost.bytes += 4 * (double)n_elems * (splits - 1);
    } else {
        esker__tail_emit(lowering, d->tail, d->y, vy, &desc, &defines);
    }
    desc.defines = defines.chars;
    st = defines.failed ? esker__fail_memory(defines.capacity, "a kernel's definitions") : esker__emit(lowering, &desc);
    esker__text_finish(&defines);
    if (st != ESKER_OK || splits == 1) return st;
    return esker__emit_sum_splits(lowering, part, n_elems, splits, d->tail, (uint32_t)d->f_out, d->y_channel, d->y);
}

esker_status esker__conv2d_emit_tiled(esker__lowering *lowering, const esker__conv2d_direct *d)
{
    return emit(lowering, d, NULL);
}

static esker__conv2d_direct cover(const esker__conv2d_direct d[4])
{
    esker__conv2d_direct all = d[0];
    for (int i = 1; i < 4; i++) {
        if (d[i].rows > all.rows) all.rows = d[i].rows;
        if (d[i].columns > all.columns) all.columns = d[i].columns;
        if (d[i].taps_y > all.taps_y) all.taps_y = d[i].taps_y;
        if (d[i].taps_x > all.taps_x) all.taps_x = d[i].taps_x;
        all.cost.flops += d[i].cost.flops;
        all.cost.bytes += d[i].cost.bytes;
        /* Those without taps have no steps from one to the next. */
        if (d[i].taps_y > 1) all.w_p = d[i].w_p;
        if (d[i].taps_x > 1) all.w_q = d[i].w_q;
    }
    return all;
}

bool esker__conv2d_suits_phases(const esker_limits *limits, const esker__conv2d_direct d[4])
{
    for (int i = 0; i < 4; i++)
        if (d[i].step_y != 1 || d[i].step_x != 1) return false;
    esker__conv2d_direct all = cover(d);
    return esker__conv2d_suits_tiled(limits, &all);
}

esker_status esker__conv2d_emit_phases(esker__lowering *lowering, const esker__conv2d_direct d[4])
{
    esker__conv2d_direct all = cover(d);
    return emit(lowering, &all, d);
}
