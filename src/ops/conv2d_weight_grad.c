/* How the gradients of filters are computed: as what kernel, and how it is cut. */
#include <stdio.h>

#include "base/fail.h"
#include "ops/conv2d_way.h"
#include "ops/ops.h"
#include "ops/pool2d.h"
#include "ops/sums.h"

esker_status esker__conv2d_weight_grad_emit(esker__lowering *lowering, const esker_node *node, uint32_t parts,
                                            const esker_node *sums, esker__dispatch_desc *d, esker__text *defines)
{
    uint64_t n_gw = (uint64_t)esker__elems(&node->type.shape),
             n_sums = sums ? esker__round_up((uint64_t)esker__elems(&sums->type.shape), 4) : 0;
    esker__value part = {0};
    bool apart = parts > 1 || sums || esker__updated(node); /* a second pass updates */
    if (d->cost.flops == 0) node->op->cost(node, &d->cost);
    d->cost.bytes += 4 * (double)(n_gw + n_sums) * (parts - 1);
    if (apart) part = esker__scratch(lowering, 4 * (n_gw + n_sums) * parts);
    d->operands[d->n_operands++] = apart ? (esker__operand){.value = part, .write = true} : esker__write(lowering, node);
    esker_status st = esker__emit_with(lowering, d, defines);
    if (st != ESKER_OK || !apart) return st;
    return sums ? esker__emit_sum_splits_and_sums(lowering, part, n_gw, parts, node)
                : esker__emit_sum_splits(lowering, part, n_gw, parts, NULL, 1, 1, node);
}

static esker_status weight_grad(esker__lowering *lowering, const esker_node *node, const esker_node *pooled)
{
    const esker__conv2d_attr *attr = node->attr;
    const esker_limits *limits = esker__lowering_limits(lowering);
    esker__conv2d_size s = esker__conv2d_size_of(node);
    esker__cost cost;
    node->op->cost(node, &cost);
    char problem[256];
    snprintf(
        problem, sizeof problem,
        "conv_weight_grad n=%lld c=%lld h=%lld w=%lld f=%lld oh=%lld ow=%lld g=%lld k=%lldx%lld s=%lldx%lld d=%lldx%lld%s",
        (long long)s.n, (long long)s.c, (long long)s.h, (long long)s.w, (long long)s.f, (long long)s.oh, (long long)s.ow,
        (long long)s.groups, (long long)s.kh, (long long)s.kw, (long long)s.sy, (long long)s.sx, (long long)s.dy,
        (long long)s.dx, pooled ? " pooled" : "");
    /* Measured on an H100: not with a few channels, of which most of a group would be idle. */
    bool pays = s.cg == 1 || s.cg >= 8;
    esker__conv2d_filtering filtered = {.suits4 = esker__conv2d_weight_grad_suits_winograd(lowering, &s),
                                        .usual = esker__conv2d_weight_grad_usual_winograd(lowering, &s) ? 4 : 0};
    esker__conv2d_way how = esker__conv2d_choose_way(
        lowering, problem, cost.flops / 2, esker__conv2d_weight_grad_is_matmul(&s), filtered,
        esker__conv2d_weight_grad_suits_few(limits, &s), esker__conv2d_weight_grad_suits_tiled(limits, &s), pays,
        esker__conv2d_weight_grad_suits_quads(limits, node, &s));
    const esker_node *sums = attr->sums ? esker__output((esker_node *)node, 1) : NULL;
    bool on_the_way = how == ESKER__WAY_FEW ||
                      (how == ESKER__WAY_TILED && (!sums || esker__conv2d_weight_grad_tiled_sums(limits, &s)));
    if (pooled && !(on_the_way && esker__conv2d_reads_pooled(limits, pooled))) {
        const esker__conv2d_attr *of = pooled->attr;
        esker_status st = esker__emit_winners_grad(lowering, pooled->inputs[1], pooled->inputs[2], of->window, NULL,
                                                   node->inputs[1]);
        if (st != ESKER_OK) return st;
        pooled = NULL;
    }
    if (how == ESKER__WAY_FEW) return esker__conv2d_weight_grad_emit_few(lowering, node, &s, sums, pooled);
    if (how == ESKER__WAY_TILED) return esker__conv2d_weight_grad_emit_tiled(lowering, node, &s, sums, pooled);
    if (sums) { /* no other makes them */
        esker_status st = esker__emit_sums(lowering, node, 1, ESKER__CONV2D_SUMMED);
        if (st != ESKER_OK) return st;
    }
    if (how == ESKER__WAY_MATMUL) return esker__conv2d_weight_grad_emit_matmul(lowering, node, &s);
    if (how == ESKER__WAY_WINOGRAD4) return esker__conv2d_weight_grad_emit_winograd(lowering, node, &s);
    if (how == ESKER__WAY_QUADS) return esker__conv2d_weight_grad_emit_quads(lowering, node, &s);
    bool large = how == ESKER__WAY_WIDE;
    /* A window of neighbouring taps reads one new pixel for each column, where the stride is 1; the other way, several channels of
       one tap, needs no bounds in its inner loop, but wants channels to take. */
    bool dilate = s.dy != 1 || s.dx != 1, roll = how != ESKER__WAY_PLAIN && s.sx == 1 && s.dx == 1 && s.kw > 1;
    bool by_window = large && s.cg >= 8 && s.fg >= 8 ? false : roll || s.cg < 3;
    uint32_t ch = esker__conv2d_channels_at_once(large && (by_window || s.cg >= 8), s.fg);
    uint32_t window = 0, tiles_c, tiles_q;
    if (by_window) {
        window = (uint32_t)esker__ceil_div((uint64_t)s.kw, esker__ceil_div((uint64_t)s.kw, 4));
        tiles_c = (uint32_t)s.cg;
        tiles_q = (uint32_t)esker__ceil_div((uint64_t)s.kw, window);
    } else {
        tiles_c = (uint32_t)esker__ceil_div((uint64_t)s.cg, ch == 8 ? 8 : 4);
        tiles_q = (uint32_t)s.kw;
    }
    uint64_t tiles_f = esker__ceil_div((uint64_t)s.fg, ch),
             tiles = (uint64_t)s.groups * tiles_f * tiles_c * (uint64_t)s.kh * tiles_q;
    uint64_t n_elems = (uint64_t)(s.f * s.cg * s.kh * s.kw), n_rows = (uint64_t)(s.n * s.oh);
    uint32_t chunk,
        splits = esker__choose_splits(lowering, n_elems, tiles, n_rows, 1, esker__ceil_div(64, (uint64_t)s.ow), &chunk);

    esker__dispatch_desc d = {.kernel = "conv/weight_grad"};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(tiles * splits, 64), d.groups);
    if (st != ESKER_OK) return st;
    int32_t g[8], x[8];
    for (int i = 0; i < 8; i++) {
        g[i] = (int32_t)(s.oh * s.ow) * (int32_t)esker__at_most((uint64_t)s.fg - 1, (uint32_t)i);
        x[i] = (int32_t)(s.h * s.w) * (int32_t)esker__at_most((uint64_t)s.cg - 1, (uint32_t)i);
    }
    uint32_t params[] = {
        (uint32_t)(tiles * splits),
        (uint32_t)tiles,
        tiles_c,
        tiles_q,
        (uint32_t)s.fg,
        (uint32_t)s.cg,
        (uint32_t)s.oh,
        (uint32_t)s.ow,
        (uint32_t)n_rows,
        chunk,
        (uint32_t)s.h,
        (uint32_t)s.w,
        (uint32_t)s.sy,
        (uint32_t)s.sx,
        (uint32_t)s.py,
        (uint32_t)s.px,
        (uint32_t)s.kh,
        (uint32_t)s.kw,
        (uint32_t)g[1],
        (uint32_t)g[2],
        (uint32_t)g[3],
        (uint32_t)g[4],
        (uint32_t)g[5],
        (uint32_t)g[6],
        (uint32_t)g[7],
        (uint32_t)x[1],
        (uint32_t)x[2],
        (uint32_t)x[3],
        (uint32_t)x[4],
        (uint32_t)x[5],
        (uint32_t)x[6],
        (uint32_t)x[7],
        (uint32_t)n_elems,
        d.groups[0],
        (uint32_t)s.dy,
        (uint32_t)s.dx,
        (uint32_t)s.f,
        (uint32_t)s.c,
        (uint32_t)tiles_f,
    };
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "CH %u\nWINDOW %u\n", ch, window);
    if (by_window) esker__text_add(&defines, "ROLL %d\n", roll);
    if (dilate) esker__text_add(&defines, "DILATE 1\n");
    if (s.groups > 1) esker__text_add(&defines, "GROUPS 1\n");
    d.operands[d.n_operands++] = esker__read(lowering, node->inputs[0]);
    d.operands[d.n_operands++] = esker__read(lowering, node->inputs[1]);
    return esker__conv2d_weight_grad_emit(lowering, node, splits, NULL, &d, &defines);
}

esker_status esker__conv2d_weight_grad_lower(esker__lowering *lowering, const esker_node *node)
{
    return weight_grad(lowering, node, NULL);
}

esker_status esker__conv2d_weight_grad_lower_pooled(esker__lowering *lowering, const esker_node *plain,
                                                    const esker_node *pooled)
{
    return weight_grad(lowering, plain, pooled);
}
