/* Convolutions by conv/quads: x is padded and filters are packed first, so that everything is read four at a time and nothing needs bounds. */
#include "ops/conv2d_direct.h"

#include <stdlib.h>

#include "base/fail.h"

#define MOST_PHASES 4
#define MOST_TAPS   8 /* of a phase */

/* Padded x: of each plane `rows` rows, each `phases` times `quads` vec4. */
typedef struct padded {
    uint64_t rows, phases, quads, n_quads;
} padded;

static padded padded_of(const esker__conv2d_direct *d)
{
    uint64_t phases = (uint64_t)d->stride_x, taps = esker__ceil_div((uint64_t)d->taps_x, phases);
    uint64_t behind = taps == 1 ? 2 : taps <= 5 ? 3 : 4; /* vec4 that the last tile of a row reads */
    padded p = {.rows = (uint64_t)(d->rows - 1) * (uint64_t)d->stride_y + (uint64_t)d->taps_y,
                .phases = phases,
                .quads = 2 * (esker__ceil_div((uint64_t)d->columns, 8) - 1) + behind};
    p.n_quads = (uint64_t)(d->images * d->groups * d->c_in) * p.rows * p.phases * p.quads;
    return p;
}

static uint64_t packed_quads(const esker__conv2d_direct *d)
{
    return (uint64_t)d->groups * esker__ceil_div((uint64_t)d->f_out, 8) * (uint64_t)(d->c_in * d->taps_y * d->taps_x) * 2;
}

bool esker__conv2d_suits_quads(const esker_limits *limits, const esker__conv2d_direct *d)
{
    if (limits->group_invocations < 1024 || d->step_y != 1 || d->step_x != 1 || d->f_out < 5 || d->taps_y < 1 ||
        d->taps_x < 1 || d->stride_x > MOST_PHASES || d->taps_x > MOST_TAPS * d->stride_x)
        return false;
    uint64_t most = limits->storage_block_bytes < UINT32_MAX / 2 ? limits->storage_block_bytes : UINT32_MAX / 2;
    uint64_t groups_z = esker__ceil_div((uint64_t)d->f_out, 8) * (uint64_t)d->groups;
    return padded_of(d).n_quads <= most / 16 && packed_quads(d) <= most / 16 && groups_z <= limits->groups[2];
}

static esker_status emit_pad(esker__lowering *lowering, const esker__conv2d_direct *d, const padded *p, esker__value *out)
{
    esker__dispatch_desc desc = {.kernel = "conv/pad", .n_operands = 1};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(p->n_quads, 64), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {
        (uint32_t)p->n_quads, desc.groups[0],   (uint32_t)p->rows,  (uint32_t)p->phases, (uint32_t)p->quads,
        (uint32_t)d->x_h,     (uint32_t)d->x_w, (uint32_t)d->pad_y, (uint32_t)d->pad_x,
    };
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    desc.operands[0] = esker__read(lowering, d->x);
    return esker__prepare(lowering, &desc, 16 * p->n_quads, out);
}

static esker_status emit_pack(esker__lowering *lowering, const esker__conv2d_direct *d, esker__value *out)
{
    uint64_t n = packed_quads(d);
    esker__dispatch_desc desc = {.kernel = "conv/pack_filters", .n_operands = 1};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, 64), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {
        (uint32_t)n,         desc.groups[0],        (uint32_t)esker__ceil_div((uint64_t)d->f_out, 8),
        (uint32_t)d->f_out,  (uint32_t)d->c_in,     (uint32_t)d->taps_y,
        (uint32_t)d->taps_x, (uint32_t)d->stride_x, (uint32_t)d->w_group,
        (uint32_t)d->w_f,    (uint32_t)d->w_c,      (uint32_t)d->w_first,
        (uint32_t)d->w_p,    (uint32_t)d->w_q,
    };
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    desc.operands[0] = esker__read(lowering, d->w);
    return esker__prepare(lowering, &desc, 16 * n, out);
}

esker_status esker__conv2d_emit_quads(esker__lowering *lowering, const esker__conv2d_direct *d)
{
    padded p = padded_of(d);
    esker__value x, w;
    esker_status st = emit_pad(lowering, d, &p, &x);
    if (st == ESKER_OK) st = emit_pack(lowering, d, &w);
    if (st != ESKER_OK) return st;

    uint64_t tiles_x = esker__ceil_div((uint64_t)d->columns, 8), n_tiles = (uint64_t)(d->images * d->rows) * tiles_x;
    uint64_t tiles_f = esker__ceil_div((uint64_t)d->f_out, 8), groups_z = tiles_f * (uint64_t)d->groups;
    /* A vector of the CPU takes 8 of them; groups cost something, too, but there should be enough for the CPU's threads. */
    uint32_t size = n_tiles * groups_z >= 1024 ? 32 : 8;
    esker__dispatch_desc desc = {.kernel = "conv/quads", .cost = d->cost};
    st = esker__fold_groups(lowering, esker__ceil_div(n_tiles, size), desc.groups);
    if (st != ESKER_OK) return st;
    desc.groups[2] = (uint32_t)groups_z;
    uint32_t params[] = {
        (uint32_t)n_tiles,
        (uint32_t)tiles_x,
        (uint32_t)d->rows,
        (uint32_t)d->columns,
        (uint32_t)d->f_out,
        (uint32_t)d->c_in,
        (uint32_t)(d->f_out * d->groups),
        (uint32_t)(d->c_in * d->groups),
        (uint32_t)tiles_f,
        (uint32_t)p.rows,
        (uint32_t)p.quads,
        (uint32_t)d->stride_y,
        (uint32_t)d->taps_y,
        d->y_channel,
        d->y_first,
        d->y_u,
        d->y_v,
        d->bias ? esker__tail_bias_step(d->tail, d->bias) : 0,
        desc.groups[0],
    };
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    esker__text defines = {0};
    esker__text_add(&defines, "KW %d\nS %d\nSIZE %u\n", (int)d->taps_x, (int)d->stride_x, size);
    desc.operands[desc.n_operands++] = (esker__operand){.value = x};
    desc.operands[desc.n_operands++] = (esker__operand){.value = w};
    esker__tail_emit(lowering, d->tail, d->y, false, &desc, &defines);
    if (defines.failed) return esker__fail_memory(defines.capacity, "a kernel's definitions");
    desc.defines = defines.chars;
    st = esker__emit(lowering, &desc);
    esker__text_finish(&defines);
    return st;
}
