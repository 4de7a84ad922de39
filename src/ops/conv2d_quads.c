/* Convolutions by conv/quads: x is padded and filters are packed first, so that everything is read four at a time and nothing needs bounds. */
#include "ops/conv2d_direct.h"

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
        (uint32_t)p->n_quads,
        desc.groups[0],
        (uint32_t)p->rows,
        (uint32_t)p->phases,
        (uint32_t)p->quads,
        (uint32_t)d->x_h,
        (uint32_t)d->x_w,
        (uint32_t)d->pad_y,
        (uint32_t)d->pad_x,
        esker__reciprocal_bits(p->quads),
        esker__reciprocal_bits(p->phases),
        esker__reciprocal_bits(p->rows),
    };
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    if (esker__divides_integers(p->n_quads)) desc.defines = "EXACT 1\n";
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
    if (d->fours) esker__text_add(&defines, "FOURS 1\n");
    esker__conv2d_define_halves(lowering, d, &defines);
    desc.operands[desc.n_operands++] = (esker__operand){.value = x};
    desc.operands[desc.n_operands++] = (esker__operand){.value = w};
    esker__tail_emit(lowering, d->tail, d->y, d->fours, &desc, &defines);
    return esker__emit_with(lowering, &desc, &defines);
}

/* x as the forward pass would pad it, and g without padding, as if it were convolved by one tap. */
static void weight_grad_operands(const esker_node *node, const esker__conv2d_size *s, esker__conv2d_direct *x,
                                 esker__conv2d_direct *g)
{
    *x = *g = (esker__conv2d_direct){.images = s->n,
                                     .rows = s->oh,
                                     .columns = s->ow,
                                     .groups = 1,
                                     .stride_y = 1,
                                     .stride_x = 1,
                                     .taps_y = 1,
                                     .taps_x = 1};
    x->c_in = s->c;
    x->x_h = (int32_t)s->h, x->x_w = (int32_t)s->w;
    x->stride_y = (int32_t)s->sy, x->stride_x = (int32_t)s->sx;
    x->pad_y = (int32_t)s->py, x->pad_x = (int32_t)s->px;
    x->taps_y = (int32_t)s->kh, x->taps_x = (int32_t)s->kw;
    x->x = node->inputs[0];
    g->c_in = s->f;
    g->x_h = (int32_t)s->oh, g->x_w = (int32_t)s->ow;
    g->x = node->inputs[1];
}

bool esker__conv2d_weight_grad_suits_quads(const esker_limits *limits, const esker_node *node, const esker__conv2d_size *s)
{
    if (limits->group_invocations < 1024 || s->groups != 1 || s->dy != 1 || s->dx != 1 || s->f < 5 || s->sx > MOST_PHASES ||
        s->kw > MOST_TAPS * s->sx || s->kw > 11)
        return false;
    uint64_t most = limits->storage_block_bytes < UINT32_MAX / 2 ? limits->storage_block_bytes : UINT32_MAX / 2;
    esker__conv2d_direct x, g;
    weight_grad_operands(node, s, &x, &g);
    return padded_of(&x).n_quads <= most / 16 &&
           (uint64_t)(s->n * s->f * s->oh) * esker__ceil_div((uint64_t)s->ow, 4) <= most / 16;
}

esker_status esker__conv2d_weight_grad_emit_quads(esker__lowering *lowering, const esker_node *node,
                                                  const esker__conv2d_size *s)
{
    esker__conv2d_direct of_x, of_g;
    weight_grad_operands(node, s, &of_x, &of_g);
    padded x = padded_of(&of_x), g = padded_of(&of_g);
    g.quads = esker__ceil_div((uint64_t)s->ow, 4);
    g.n_quads = (uint64_t)(s->n * s->f * s->oh) * g.quads;
    esker__value x_value, g_value = {0};
    esker_status st = emit_pad(lowering, &of_x, &x, &x_value);
    if (st == ESKER_OK && s->ow % 4) st = emit_pad(lowering, &of_g, &g, &g_value);
    if (st != ESKER_OK) return st;

    uint64_t channels = s->c == 1 ? 1 : s->kw == 1 && s->c > 2 ? 4 : 2, n_rows = (uint64_t)(s->n * s->oh);
    uint64_t tiles_f = esker__ceil_div((uint64_t)s->f, 8), tiles_c = esker__ceil_div((uint64_t)s->c, channels);
    uint64_t tiles = tiles_f * tiles_c * (uint64_t)s->kh, n_elems = (uint64_t)(s->f * s->c * s->kh * s->kw);
    /* 16 vectors of 8 tiles keep a CPU's threads busy to the end. */
    uint64_t splits = tiles < 128 ? esker__ceil_div(128, tiles) : 1;
    if (splits > n_rows) splits = n_rows;
    uint64_t chunk = esker__ceil_div(n_rows, splits);
    splits = esker__ceil_div(n_rows, chunk);

    esker__dispatch_desc d = {.kernel = "conv/weight_grad_quads"};
    st = esker__fold_groups(lowering, esker__ceil_div(tiles * splits, 8), d.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {
        (uint32_t)(tiles * splits),
        (uint32_t)tiles,
        (uint32_t)tiles_c,
        (uint32_t)s->f,
        (uint32_t)s->c,
        (uint32_t)s->oh,
        (uint32_t)g.quads,
        (uint32_t)n_rows,
        (uint32_t)chunk,
        (uint32_t)x.rows,
        (uint32_t)x.quads,
        (uint32_t)s->sy,
        (uint32_t)s->kh,
        (uint32_t)n_elems,
        d.groups[0],
    };
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    d.operands[0] = (esker__operand){.value = x_value};
    d.operands[1] = s->ow % 4 ? (esker__operand){.value = g_value} : esker__read(lowering, node->inputs[1]);
    esker__text defines = {0};
    esker__text_add(&defines, "KW %d\nS %d\nCHANNELS %u\n", (int)s->kw, (int)s->sx, (uint32_t)channels);
    d.n_operands = 2;
    return esker__conv2d_weight_grad_emit(lowering, node, (uint32_t)splits, NULL, &d, &defines);
}
