/* conv2d with channels in fours (plan/fours.h): one read is four channels of a pixel, for depthwise convolutions and for all channels alike. */
#include "ops/conv2d_direct.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "plan/fours.h"

#define MOST_TAPS 5 /* in a row, that are written out */
#define FEW       4 /* channels of an x that is read as it is */

static const esker__op conv2d_fours;

/* Whether x lies in fours. */
static bool takes_fours(const esker_node *node)
{
    return node->inputs[0]->type.shape.rank == 5;
}

static esker_shape plain_x(const esker_node *x, const esker_node *w, const esker__conv2d_attr *attr)
{
    const int64_t *d = x->type.shape.dims;
    return x->type.shape.rank == 5 ? (esker_shape){4, {d[0], w->type.shape.dims[1] * attr->groups, d[2], d[3]}}
                                   : x->type.shape;
}

/* The node as it is without, in memory of the caller. */
typedef struct plain {
    esker_node node, x;
    esker_node *inputs[2 + 1 + ESKER__PROGRAM_INPUTS];
} plain;

static const esker_node *plain_of(const esker_node *node, plain *p)
{
    const int64_t *y = node->type.shape.dims;
    p->node = *node;
    p->node.op = &esker__op_conv2d;
    p->node.type.shape = (esker_shape){4, {y[0], node->inputs[1]->type.shape.dims[0], y[2], y[3]}};
    p->node.inputs = p->inputs;
    for (int i = 0; i < node->n_inputs; i++) p->inputs[i] = node->inputs[i];
    if (!takes_fours(node)) return &p->node;
    p->x = *node->inputs[0];
    p->x.type.shape = plain_x(node->inputs[0], node->inputs[1], node->attr);
    p->inputs[0] = &p->x;
    return &p->node;
}

static bool is_depthwise(const esker__conv2d_size *s)
{
    return s->groups > 1 && s->cg == 1 && s->fg == 1;
}

bool esker__conv2d_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out)
{
    const esker__conv2d_attr *attr = node->attr;
    esker__conv2d_size s = esker__conv2d_size_of(node);
    bool depthwise = is_depthwise(&s), few = !depthwise && s.c <= FEW;
    if (node->op != &esker__op_conv2d || attr->tail.keeps) return false;
    if ((s.groups > 1 && !depthwise) || s.dy != 1 || s.dx != 1 || s.sx > 2) return false;
    bool small = s.c <= 48 || (s.c <= 64 && s.n * s.oh * s.ow <= 256); /* where Winograd's filtering has little to gain */
    double terms = (double)(s.n * s.f * s.oh * s.ow * s.cg * s.kh * s.kw);
    *out = (esker__fours){.gives = true, .either = few, .takes = few ? 0 : 1, .fixed = 2, .op = &conv2d_fours};
    for (int i = 2 + (attr->tail.has_bias != 0); i < node->n_inputs; i++) out->takes |= 1u << i;
    if (depthwise)
        out->gain = rates->depthwise * terms;
    else if (!few)
        out->gain = (s.kh * s.kw == 1 ? rates->dense
                     : !small         ? rates->taps
                                      : rates->few) *
                        terms +
                    rates->stored * (double)(s.n * s.f * s.oh * s.ow);
    return true;
}

esker_node *esker__conv2d_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    return esker__record_in(graph, &conv2d_fours, node->attr, inputs, node->n_inputs);
}

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__conv2d_attr *attr = attributes;
    const esker__tail *tail = &attr->tail;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "conv2d_fours", inputs, n_inputs);
    if (n_inputs != 2 + esker__tail_n_inputs(tail))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d inputs are needed", text, 2 + esker__tail_n_inputs(tail));
    esker_shape x = plain_x(inputs[0], inputs[1], attr), y;
    esker_status st = esker__conv2d_infer(text, attr, &x, &inputs[1]->type.shape, &y);
    if (st != ESKER_OK) return st;
    *out = (esker__type){ESKER_DTYPE_F32, esker__fours_shape(&y)};
    bool fits = !tail->has_bias || esker__tail_bias_fits(&inputs[2]->type.shape, &y, 1);
    for (int i = 1; i < tail->program.n_inputs; i++)
        fits = fits && esker_shape_equal(&inputs[n_inputs - i]->type.shape, &out->shape);
    return fits ? ESKER_OK : esker__fail(ESKER_ERR_INTERNAL, "%s: its tail does not fit", text);
}

static void reference(const esker__reference *r)
{
    const esker_node *node = r->node;
    const esker__conv2d_attr *attr = node->attr;
    plain p;
    esker__conv2d_size s = esker__conv2d_size_of(plain_of(node, &p));
    uint32_t bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, node->inputs[2]) : 0;
    bool fours = takes_fours(node);
    for (int64_t i = 0, n = esker__elems(&node->type.shape); i < n; i++) {
        r->out[0][i] = 0;
        if (r->magnitude[0]) r->magnitude[0][i] = 0;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t f = 0; f < s.f; f++)
            for (int64_t u = 0; u < s.oh; u++)
                for (int64_t v = 0; v < s.ow; v++, at++) {
                    double sum = 0, magnitude = 0;
                    for (int64_t c = 0; c < s.cg; c++)
                        for (int64_t k = 0; k < s.kh * s.kw; k++) {
                            int64_t row = u * s.sy - s.py + k / s.kw, column = v * s.sx - s.px + k % s.kw;
                            if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                            int64_t from = ((i * s.c + f / s.fg * s.cg + c) * s.h + row) * s.w + column;
                            if (fours) from = esker__fours_at(from, s.c, s.h * s.w);
                            double term = r->in[0][from] * r->in[1][(f * s.cg + c) * s.kh * s.kw + k];
                            sum += term;
                            magnitude += fabs(term);
                        }
                    esker__tail_reference(&attr->tail, r, 2, esker__fours_at(at, s.f, s.oh * s.ow), f * bias_step, sum,
                                          magnitude);
                }
}

static double tolerance(const esker_node *node)
{
    plain p;
    return esker__conv2d_tolerance(plain_of(node, &p));
}

static void cost(const esker_node *node, esker__cost *out)
{
    plain p;
    esker__conv2d_cost(plain_of(node, &p), out);
}

static void title(const esker_node *node, esker__text *text)
{
    esker__tail_title(node, &((const esker__conv2d_attr *)node->attr)->tail, text);
}

/* ---- Lowering ---- */

/* What an invocation computes: fours of channels by pixels, with the taps of a row written out or in a loop. */
typedef struct tile {
    const char *name;
    uint32_t quads, pixels;
    bool loop;
    bool two; /* rows, of a depthwise convolution */
} tile;

static esker_status emit_pack(esker__lowering *lowering, const esker_node *w, const esker__conv2d_size *s, bool depthwise,
                              uint32_t quads, esker__value *out)
{
    uint64_t taps = (uint64_t)(s->kh * s->kw), x_quads = esker__ceil_div((uint64_t)s->c, 4),
             f_quads = esker__ceil_div((uint64_t)s->f, 4);
    uint64_t n = depthwise ? f_quads * taps : esker__ceil_div(f_quads, quads) * quads * x_quads * taps * 4;
    esker__dispatch_desc desc = {
        .kernel = "conv/pack_fours", .n_operands = 1, .defines = depthwise ? "DEPTHWISE 1\n" : NULL};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, 64), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n,    desc.groups[0], (uint32_t)s->f,   (uint32_t)s->cg,
                         (uint32_t)taps, quads,          (uint32_t)x_quads};
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    desc.operands[0] = esker__read(lowering, w);
    return esker__prepare(lowering, &desc, 16 * n, out);
}

/* Filters of one tap see no rows: an image is one. */
static void flatten(esker__conv2d_size *s)
{
    if (s->kh != 1 || s->kw != 1 || s->sy != 1 || s->sx != 1 || s->py || s->px || s->oh != s->h || s->ow != s->w) return;
    s->w *= s->h;
    s->h = s->oh = 1;
    s->ow = s->w;
}

static esker_status emit(esker__lowering *lowering, const esker_node *node, esker__conv2d_size s, bool depthwise, tile t)
{
    const esker__conv2d_attr *attr = node->attr;
    bool is_cpu = esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE;
    esker__value w;
    esker_status st = emit_pack(lowering, node->inputs[1], &s, depthwise, t.quads, &w);
    if (st != ESKER_OK) return st;
    flatten(&s);
    uint64_t quads = esker__ceil_div((uint64_t)s.f, 4), x_quads = esker__ceil_div((uint64_t)s.c, 4),
             tiles_x = esker__ceil_div((uint64_t)s.ow, t.pixels), tiles_f = depthwise ? 1 : esker__ceil_div(quads, t.quads),
             rows = t.two ? esker__ceil_div((uint64_t)s.oh, 2) : (uint64_t)s.oh,
             n_tiles = (uint64_t)s.n * rows * tiles_x * (depthwise ? quads : 1);
    if (n_tiles > INT32_MAX || esker__elems(&node->type.shape) > INT32_MAX ||
        esker__elems(&node->inputs[0]->type.shape) > INT32_MAX || tiles_f > esker__lowering_limits(lowering)->groups[0])
        return esker__fail(ESKER_ERR_LIMIT, "conv2d_fours: %llu tiles of %llu channels, the kernel indexes at most %d",
                           (unsigned long long)n_tiles, (unsigned long long)s.f, INT32_MAX);
    uint32_t size = !is_cpu ? 64 : n_tiles * tiles_f >= 4096 ? 32 : 8;
    esker__dispatch_desc desc = {.kernel = "conv/fours", .writes_once = true};
    node->op->cost(node, &desc.cost);
    st = esker__fold_groups_along(lowering, esker__ceil_div(n_tiles, size), 1, desc.groups);
    if (st != ESKER_OK) return st;
    desc.groups[0] = (uint32_t)tiles_f;
    uint32_t params[] = {
        (uint32_t)n_tiles,
        (uint32_t)tiles_x,
        (uint32_t)s.oh,
        (uint32_t)s.ow,
        (uint32_t)quads,
        (uint32_t)x_quads,
        (uint32_t)s.h,
        (uint32_t)s.w,
        (uint32_t)s.sy,
        (uint32_t)s.py,
        (uint32_t)s.px,
        (uint32_t)s.kh,
        (uint32_t)s.kw,
        esker__reciprocal_bits(tiles_x),
        esker__reciprocal_bits(rows),
        esker__reciprocal_bits(quads),
        desc.groups[1],
    };
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    bool edge = s.px || s.py || (s.ow - 1) * s.sx + s.kw > s.w || (s.oh - 1) * s.sy + s.kh > s.h;
    bool rows_too = s.kh == 1 || t.two || (is_cpu && depthwise && s.kh <= MOST_TAPS); /* which needs more registers */
    int kh = !t.loop && rows_too ? (int)s.kh : 0, kw = t.loop ? 0 : (int)s.kw;
    esker__text defines = {0};
    esker__text_add(&defines, "PX %u\nFQ %u\nKW %d\nKH %d\nS %d\nSIZE %u\nEDGE %d\n", t.pixels, t.quads, kw, kh, (int)s.sx,
                    size, edge);
    if (depthwise) esker__text_add(&defines, "DEPTHWISE 1\n");
    if (t.two) esker__text_add(&defines, "ROWS 2\nSY %d\n", (int)s.sy);
    if (s.f % 4) esker__text_add(&defines, "PADS %d\n", (int)(s.f % 4));
    if (esker__divides_integers(n_tiles)) esker__text_add(&defines, "EXACT 1\n");
    if (attr->tail.has_bias && !esker__tail_bias_step(&attr->tail, node->inputs[2]))
        esker__text_add(&defines, "BIAS_ONE 1\n");
    desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[0]);
    desc.operands[desc.n_operands++] = (esker__operand){.value = w};
    esker__tail_emit(lowering, &attr->tail, node, true, &desc, &defines);
    return esker__emit_with(lowering, &desc, &defines);
}

/* Counted and compiled for boards, measured on llvmpipe: docs/performance.md, "Channels in fours". */
static const char *usual_tile(esker__family family, const esker__conv2d_size *s, bool depthwise)
{
    bool one_tap = s->kh == 1 && s->kw == 1;
    if (family == ESKER__FAMILY_LLVMPIPE && s->kw <= MOST_TAPS)
        return !depthwise ? "fours8x8" : s->sy <= 2 && s->kh <= MOST_TAPS && s->oh > 1 ? "fours4x4x2" : "fours4x4";
    if (depthwise) return s->kw <= 3 ? "fours4x2" : "fours4x2loop";
    bool few_registers = family == ESKER__FAMILY_V3D || family == ESKER__FAMILY_MIDGARD;
    return one_tap ? few_registers ? "fours4x2" : "fours4x4" : few_registers ? "fours4x2loop" : "fours4x4loop";
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    static const tile all[] = {
        {"fours8x8", 2, 8}, {"fours4x8", 1, 8},           {"fours4x4", 1, 4}, /* channels x pixels */
        {"fours4x2", 1, 2}, {"fours4x4loop", 1, 4, true}, {"fours4x2loop", 1, 2, true}, {"fours4x4x2", 1, 4, .two = true}};
    enum { N = sizeof all / sizeof *all };
    plain p;
    const esker_node *without = plain_of(node, &p);
    if (!takes_fours(node)) return esker__conv2d_lower_to_fours(lowering, without, node);
    esker__conv2d_size s = esker__conv2d_size_of(without);
    bool depthwise = is_depthwise(&s);
    const char *names[N], *wanted = usual_tile(esker__lowering_family(lowering), &s, depthwise);
    const tile *tiles[N];
    int n = 0, usual = 0;
    for (int i = 0; i < N; i++) {
        if (all[i].two && (!depthwise || s.sy > 2 || s.kh > MOST_TAPS || s.oh == 1)) continue;
        if ((depthwise && all[i].quads > 1) || (s.kw > MOST_TAPS && !all[i].loop)) continue;
        if (!strcmp(all[i].name, wanted)) usual = n;
        tiles[n] = &all[i];
        names[n++] = all[i].name;
    }
    char problem[256];
    snprintf(problem, sizeof problem,
             "conv_fours n=%lld h=%lld w=%lld c=%lld oh=%lld ow=%lld f=%lld g=%lld k=%lldx%lld s=%lldx%lld", (long long)s.n,
             (long long)s.h, (long long)s.w, (long long)s.c, (long long)s.oh, (long long)s.ow, (long long)s.f,
             (long long)s.groups, (long long)s.kh, (long long)s.kw, (long long)s.sy, (long long)s.sx);
    return emit(lowering, node, s, depthwise, *tiles[esker__choose(lowering, problem, names, n, usual)]);
}

static const esker__op conv2d_fours = {.name = "conv2d_fours",
                                       .n_inputs = -1,
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(esker__conv2d_attr),
                                       .infer = infer,
                                       .reference = reference,
                                       .tolerance = tolerance,
                                       .atol = ESKER__FLUSHED,
                                       .cost = cost,
                                       .lower = lower,
                                       .title = title};
