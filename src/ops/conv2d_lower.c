/* How convolutions and the gradients of their inputs are computed: as what kernel, and how it is cut. */
#include "ops/conv2d_way.h"

#include <stdio.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/pool2d.h"

/* Weights, one for each of 8 channels, that conv/direct shares at a time: vec4 pairs. */
#define SHARED_TAPS 256

typedef esker__conv2d_direct direct;

void esker__conv2d_define_halves(const esker__lowering *lowering, const direct *d, esker__text *defines)
{
    if (!esker__stores_halves(lowering) || d->fours || d->pooling) return;
    if (d->y_v != 1)
        esker__text_add(defines, "APART 1\n");
    else if (!((d->columns | d->y_u | d->y_first | d->y_channel) & 1))
        esker__text_add(defines, "EVEN_ROWS 1\n");
}

static esker_status emit_plain(esker__lowering *lowering, const direct *d, esker__conv2d_way how);

/* Once it is known how: kernels that cannot pool, or read what was pooled, leave that to one of its own. */
static esker_status emit_way(esker__lowering *lowering, const direct *d, esker__conv2d_way how)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    bool can = (how == ESKER__WAY_FEW && !d->pooled && esker__conv2d_few_pools(limits, d)) ||
               (how == ESKER__WAY_TILED && (d->pooled ? esker__conv2d_reads_pooled(limits, d->pooled)
                                                      : d->pooling && esker__conv2d_tiled_pools(limits, d)));
    if ((!d->pooling && !d->pooled) || can) return emit_plain(lowering, d, how);
    direct apart = *d;
    apart.pooling = apart.pooled = NULL;
    int choice = esker__chosen(lowering);
    if (d->pooled) {
        const esker__conv2d_attr *attr = d->pooled->attr;
        esker_status st = esker__emit_winners_grad(lowering, d->pooled->inputs[0], d->pooled->inputs[2], attr->window, NULL,
                                                   d->x);
        return st == ESKER_OK ? emit_plain(lowering, &apart, how) : st;
    }
    const esker__conv2d_attr *attr = d->pooling->attr;
    bool trains = esker__output_is_used(lowering, d->pooling, 1);
    esker_status st = emit_plain(lowering, &apart, how);
    if (st != ESKER_OK) return st;
    esker__go_on_with(lowering, choice);
    return esker__emit_winners(lowering, d->y, attr->window, attr->gated, d->pooling,
                               trains ? esker__output((esker_node *)d->pooling, 1) : NULL);
}

static esker_status emit_direct(esker__lowering *lowering, const direct *d)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    bool any = !d->fours;
    esker__conv2d_filtering filtered = {0};
    if (any)
        filtered = (esker__conv2d_filtering){esker__conv2d_suits_winograd(lowering, d, 2),
                                             esker__conv2d_suits_winograd(lowering, d, 4),
                                             esker__conv2d_usual_winograd(lowering, d)};
    bool fixed = (filtered.suits2 || filtered.suits4) && esker__is_fixed(lowering, d->w); /* filters are transformed once */
    char problem[256];
    snprintf(problem, sizeof problem,
             "conv n=%lld h=%d w=%d c=%lld oh=%lld ow=%lld f=%lld g=%lld taps=%dx%d stride=%dx%d step=%dx%d%s%s%s",
             (long long)d->images, d->x_h, d->x_w, (long long)d->c_in, (long long)d->rows, (long long)d->columns,
             (long long)d->f_out, (long long)d->groups, d->taps_y, d->taps_x, d->stride_y, d->stride_x, d->step_y,
             d->step_x, fixed ? " fixed" : "", d->pooling || d->pooled ? " pooled" : "", d->fours ? " fours" : "");
    esker__conv2d_way how = esker__conv2d_choose_way(
        lowering, problem, d->cost.flops / 2, any && esker__conv2d_is_matmul(d), filtered,
        any && esker__conv2d_suits_few(limits, d), any && esker__conv2d_suits_tiled(limits, d), true,
        esker__conv2d_suits_quads(limits, d));
    return emit_way(lowering, d, how);
}

static esker_status emit_plain(esker__lowering *lowering, const direct *d, esker__conv2d_way how)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    if (how == ESKER__WAY_WINOGRAD4 || how == ESKER__WAY_WINOGRAD2)
        return esker__conv2d_emit_winograd(lowering, d, how == ESKER__WAY_WINOGRAD4 ? 4 : 2);
    if (how == ESKER__WAY_MATMUL) return esker__conv2d_emit_matmul(lowering, d);
    if (how == ESKER__WAY_FEW) return esker__conv2d_emit_few(lowering, d);
    if (how == ESKER__WAY_TILED) return esker__conv2d_emit_tiled(lowering, d);
    if (how == ESKER__WAY_QUADS) return esker__conv2d_emit_quads(lowering, d);
    bool large = how == ESKER__WAY_WIDE;
    uint32_t ch = esker__conv2d_channels_at_once(large, d->f_out);
    bool dilate = d->step_y != 1 || d->step_x != 1, roll = d->stride_x == 1 && d->step_x == 1 && how != ESKER__WAY_PLAIN;
    /* Eight pixels unless that pads rows by a fifth more than four do. */
    uint32_t px = large && 5 * esker__round_up((uint64_t)d->columns, 8) <= 6 * esker__round_up((uint64_t)d->columns, 4) ? 8
                                                                                                                        : 4;
    uint64_t tiles_x = esker__ceil_div((uint64_t)d->columns, px),
             n_tiles = (uint64_t)d->images * (uint64_t)d->rows * tiles_x;
    uint64_t tiles_f = esker__ceil_div((uint64_t)d->f_out, ch), groups_z = tiles_f * (uint64_t)d->groups;
    if (groups_z > limits->groups[2])
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld channels need %llu groups, this device takes %u", d->y->op->name,
                           (long long)(d->f_out * d->groups), (unsigned long long)groups_z, limits->groups[2]);
    esker__dispatch_desc desc = {.kernel = "conv/direct", .cost = d->cost};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_tiles, 64), desc.groups);
    if (st != ESKER_OK) return st;
    desc.groups[2] = (uint32_t)groups_z;

    int32_t w_f[8];
    for (int i = 0; i < 8; i++) w_f[i] = d->w_f * (int32_t)esker__at_most((uint64_t)d->f_out - 1, (uint32_t)i);
    uint32_t bias_step = d->bias ? esker__tail_bias_step(d->tail, d->bias) : 0;
    int64_t taps = (int64_t)d->taps_y * d->taps_x;
    bool share = ch == 8 && taps > 0 && taps <= SHARED_TAPS;
    uint32_t chunk = share ? (uint32_t)(SHARED_TAPS / taps) : 0;
    uint32_t params[] = {
        (uint32_t)n_tiles,
        (uint32_t)tiles_x,
        (uint32_t)d->rows,
        (uint32_t)d->columns,
        (uint32_t)d->f_out,
        (uint32_t)d->c_in,
        (uint32_t)d->x_h,
        (uint32_t)d->x_w,
        (uint32_t)d->stride_y,
        (uint32_t)d->stride_x,
        (uint32_t)d->pad_y,
        (uint32_t)d->pad_x,
        (uint32_t)d->taps_y,
        (uint32_t)d->taps_x,
        (uint32_t)d->w_f,
        (uint32_t)w_f[1],
        (uint32_t)w_f[2],
        (uint32_t)w_f[3],
        (uint32_t)w_f[4],
        (uint32_t)w_f[5],
        (uint32_t)w_f[6],
        (uint32_t)w_f[7],
        (uint32_t)d->w_c,
        (uint32_t)d->w_first,
        (uint32_t)d->w_p,
        (uint32_t)d->w_q,
        d->y_channel,
        d->y_first,
        d->y_u,
        d->y_v,
        bias_step,
        desc.groups[0],
        chunk,
        esker__reciprocal_bits(tiles_x),
        esker__reciprocal_bits((uint64_t)d->rows),
        (uint32_t)d->step_y,
        (uint32_t)d->step_x,
        (uint32_t)(d->f_out * d->groups),
        (uint32_t)(d->c_in * d->groups),
        (uint32_t)tiles_f,
        (uint32_t)d->w_group,
    };
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "CH %u\nPX %u\nROLL %d\n", ch, px, roll);
    if (dilate) esker__text_add(&defines, "DILATE 1\n");
    if (d->groups > 1) esker__text_add(&defines, "GROUPS 1\n");
    if (share) esker__text_add(&defines, "SHARE 1\n");
    if (d->fours) esker__text_add(&defines, "FOURS 1\nPADS %d\n", (int)(d->f_out % 4));
    esker__conv2d_define_halves(lowering, d, &defines);
    if (esker__divides_integers(n_tiles)) esker__text_add(&defines, "EXACT 1\n");
    /* A known number of taps unrolls their loop, which needs registers too. */
    if (how != ESKER__WAY_PLAIN && (d->taps_x == 1 || (large && d->taps_x > 1 && d->taps_x <= 5)))
        esker__text_add(&defines, "KW %d\n", (int)d->taps_x);
    desc.operands[desc.n_operands++] = esker__read(lowering, d->x);
    desc.operands[desc.n_operands++] = esker__read(lowering, d->w);
    esker__tail_emit(lowering, d->tail, d->y, false, &desc, &defines);
    return esker__emit_with(lowering, &desc, &defines);
}

static direct forward_direct(const esker_node *node)
{
    const esker__conv2d_attr *attr = node->attr;
    esker__conv2d_size s = esker__conv2d_size_of(node);
    direct d = {
        .images = s.n,
        .rows = s.oh,
        .columns = s.ow,
        .groups = s.groups,
        .f_out = s.fg,
        .c_in = s.cg,
        .x_h = (int32_t)s.h,
        .x_w = (int32_t)s.w,
        .stride_y = (int32_t)s.sy,
        .stride_x = (int32_t)s.sx,
        .pad_y = (int32_t)s.py,
        .pad_x = (int32_t)s.px,
        .taps_y = (int32_t)s.kh,
        .taps_x = (int32_t)s.kw,
        .step_y = (int32_t)s.dy,
        .step_x = (int32_t)s.dx,
        .w_group = (int32_t)(s.fg * s.cg * s.kh * s.kw),
        .w_f = (int32_t)(s.cg * s.kh * s.kw),
        .w_c = (int32_t)(s.kh * s.kw),
        .w_p = (int32_t)s.kw,
        .w_q = 1,
        .y_channel = (uint32_t)(s.oh * s.ow),
        .y_u = (uint32_t)s.ow,
        .y_v = 1,
        .alone = true,
        .tail = &attr->tail,
        .x = node->inputs[0],
        .w = node->inputs[1],
        .y = node,
        .bias = attr->tail.has_bias ? node->inputs[2] : NULL,
    };
    node->op->cost(node, &d.cost);
    return d;
}

esker_status esker__conv2d_lower(esker__lowering *lowering, const esker_node *node)
{
    direct d = forward_direct(node);
    return emit_direct(lowering, &d);
}

esker_status esker__conv2d_lower_to_fours(esker__lowering *lowering, const esker_node *plain, const esker_node *node)
{
    direct d = forward_direct(plain);
    d.y = node;
    d.fours = true;
    d.alone = false; /* no partial sums in that layout */
    d.y_v = 4;
    d.y_u = 4 * (uint32_t)d.columns;
    return emit_direct(lowering, &d);
}

esker_status esker__conv2d_lower_pooling(esker__lowering *lowering, const esker_node *plain, const esker_node *pooling)
{
    direct d = forward_direct(plain);
    d.pooling = pooling;
    return emit_direct(lowering, &d);
}

/*
 * Pixel r of x meets tap p of row u of y where u stride + p dilation = r + padding. Those pixels for which r + padding leaves remainder `phase`
 * by the stride meet the taps p with p dilation = phase (modulo the stride): none, or every (stride / d)-th where d is the greatest common
 * divisor of the two. From one of these taps to the next they see y (dilation / d) rows further back, and from one such pixel to the next
 * one row further on: in this phase the gradient is a convolution of y with stride 1 by those taps, in reverse order, dilated by dilation / d.
 */
typedef struct phase {
    int64_t first, count;             /* pixels first, first + stride, ... of x */
    int64_t taps, last_tap, tap_step; /* taps last_tap, last_tap - tap_step, ... */
    int64_t padding, dilation;
} phase;

static phase phase_of(int64_t remainder, int64_t extent, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation)
{
    int64_t d = stride, rest = dilation;
    while (rest) {
        int64_t t = d % rest;
        d = rest;
        rest = t;
    }
    phase p = {
        .first = ((remainder - padding) % stride + stride) % stride, .tap_step = stride / d, .dilation = dilation / d};
    p.count = p.first < extent ? (extent - p.first + stride - 1) / stride : 0;
    int64_t tap = 0;
    while (tap < p.tap_step && (tap * dilation - remainder) % stride) tap++;
    if (tap < p.tap_step && tap < kernel) {
        p.taps = (kernel - tap + p.tap_step - 1) / p.tap_step;
        p.last_tap = tap + p.tap_step * (p.taps - 1);
        p.padding = (p.last_tap * dilation - p.first - padding) / stride; /* exact */
    }
    return p;
}

/* The gradient of those pixels whose remainders are ry and rx, as a convolution; false if there are none. */
static bool phase_direct(const esker_node *node, const esker__conv2d_size *size, int64_t ry, int64_t rx, direct *out)
{
    const esker__conv2d_attr *attr = node->attr;
    esker__conv2d_size s = *size;
    esker__cost whole;
    node->op->cost(node, &whole);
    phase py = phase_of(ry, s.h, s.kh, s.sy, s.py, s.dy), px = phase_of(rx, s.w, s.kw, s.sx, s.px, s.dx);
    if (!py.count || !px.count) return false;
    *out = (direct){
        .images = s.n,
        .rows = py.count,
        .columns = px.count,
        .groups = s.groups,
        .f_out = s.cg,
        .c_in = s.fg,
        .x_h = (int32_t)s.oh,
        .x_w = (int32_t)s.ow,
        .stride_y = 1,
        .stride_x = 1,
        .pad_y = (int32_t)py.padding,
        .pad_x = (int32_t)px.padding,
        .taps_y = (int32_t)py.taps,
        .taps_x = (int32_t)px.taps,
        .step_y = (int32_t)py.dilation,
        .step_x = (int32_t)px.dilation,
        .w_group = (int32_t)(s.fg * s.cg * s.kh * s.kw),
        .w_f = (int32_t)(s.kh * s.kw),
        .w_c = (int32_t)(s.cg * s.kh * s.kw),
        .w_first = (int32_t)(py.last_tap * s.kw + px.last_tap),
        .w_p = (int32_t)(-py.tap_step * s.kw),
        .w_q = (int32_t)-px.tap_step,
        .y_channel = (uint32_t)(s.h * s.w),
        .y_first = (uint32_t)(py.first * s.w + px.first),
        .y_u = (uint32_t)(s.sy * s.w),
        .y_v = (uint32_t)s.sx,
        .alone = s.sy == 1 && s.sx == 1,
        .tail = &attr->tail,
        .x = node->inputs[0],
        .w = node->inputs[1],
        .y = node,
        .bias = attr->tail.has_bias ? node->inputs[2] : NULL,
    };
    double pixels = (double)(s.n * py.count * px.count * s.c), share = (double)(py.count * px.count) / (double)(s.h * s.w);
    out->cost = (esker__cost){.flops = 2 * pixels * (double)(s.fg * py.taps * px.taps), .bytes = whole.bytes * share};
    return true;
}

bool esker__conv2d_describe(const esker_node *node, direct *out)
{
    esker__conv2d_size s = esker__conv2d_size_of(node);
    bool forward = node->op != &esker__op_conv2d_input_grad && node->op != &esker__op_conv_transpose2d;
    if (forward) *out = forward_direct(node);
    return forward || (s.sy == 1 && s.sx == 1 && phase_direct(node, &s, 0, 0, out));
}

esker_status esker__conv2d_input_grad_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__conv2d_size s = esker__conv2d_size_of(node);
    direct d[4];
    if (s.sy == 2 && s.sx == 2) {
        int n = 0;
        for (int i = 0; i < 4; i++) n += phase_direct(node, &s, i / 2, i % 2, &d[n]);
        if (n == 4 && esker__conv2d_suits_phases(esker__lowering_limits(lowering), d)) {
            static const char *const names[] = {"phases", "apart"};
            char problem[256];
            snprintf(problem, sizeof problem,
                     "conv_input_grad n=%lld c=%lld h=%lld w=%lld f=%lld oh=%lld ow=%lld k=%lldx%lld s=2x2", (long long)s.n,
                     (long long)s.c, (long long)s.h, (long long)s.w, (long long)s.f, (long long)s.oh, (long long)s.ow,
                     (long long)s.kh, (long long)s.kw);
            if (!esker__choose(lowering, problem, names, 2, !esker__conv2d_prefers_tiles(lowering)))
                return esker__conv2d_emit_phases(lowering, d);
        }
    }
    for (int64_t ry = 0; ry < s.sy; ry++)
        for (int64_t rx = 0; rx < s.sx; rx++) {
            if (!phase_direct(node, &s, ry, rx, d)) continue;
            esker_status st = emit_direct(lowering, d);
            if (st != ESKER_OK) return st;
        }
    return ESKER_OK;
}

esker_status esker__conv2d_input_grad_lower_pooled(esker__lowering *lowering, const esker_node *plain,
                                                   const esker_node *pooled)
{
    esker__conv2d_size s = esker__conv2d_size_of(plain);
    direct d;
    if (!phase_direct(plain, &s, 0, 0, &d)) /* the stride is 1: there are pixels */
        return esker__fail(ESKER_ERR_INTERNAL, "%s: no pixels", plain->op->name);
    d.pooled = pooled;
    return emit_direct(lowering, &d);
}
