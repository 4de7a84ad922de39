/* The winners of a max_pool2d, and its gradient from them. */
#include "ops/pool2d.h"

#include <math.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/ops.h"

esker__type esker__winners_type(const esker_shape *y)
{
    return (esker__type){ESKER_DTYPE_I32, {4, {y->dims[0], (y->dims[1] + 3) / 4, y->dims[2], y->dims[3]}}};
}

/* The uniforms of both kernels: `planes` are those of the elements that groups are made of. */
static esker_status emit(esker__lowering *lowering, esker__dispatch_desc *d, const esker_shape *x, const esker_shape *y,
                         const int32_t window[2], int64_t planes, esker__text *defines)
{
    uint64_t n_elems = (uint64_t)(y->dims[0] * planes * y->dims[2] * y->dims[3]);
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_elems, 64), d->groups);
    if (st != ESKER_OK) {
        esker__text_finish(defines);
        return st;
    }
    struct {
        uint32_t n_elems, channels, blocks, rows, columns, x_h, x_w, window[2];
        float by_columns, by_rows, by_planes;
        uint32_t fold;
    } params = {
        .n_elems = (uint32_t)n_elems,
        .channels = (uint32_t)y->dims[1],
        .blocks = (uint32_t)esker__ceil_div((uint64_t)y->dims[1], 4),
        .rows = (uint32_t)y->dims[2],
        .columns = (uint32_t)y->dims[3],
        .x_h = (uint32_t)x->dims[2],
        .x_w = (uint32_t)x->dims[3],
        .window = {(uint32_t)window[0], (uint32_t)window[1]},
        .by_columns = (float)(1.0 / (double)y->dims[3]),
        .by_rows = (float)(1.0 / (double)y->dims[2]),
        .by_planes = (float)(1.0 / (double)planes),
        .fold = d->groups[0],
    };
    d->params = &params;
    d->n_params = sizeof params / 4;
    if (esker__divides_integers(n_elems)) esker__text_add(defines, "EXACT 1\n");
    return esker__emit_with(lowering, d, defines);
}

esker_status esker__emit_winners(esker__lowering *lowering, const esker_node *x, const int32_t window[2], bool gated,
                                 const esker_node *y, const esker_node *winners)
{
    const esker_shape *shape = &y->type.shape;
    double n_x = (double)esker__elems(&x->type.shape), n_y = (double)esker__elems(shape);
    esker__dispatch_desc d = {.kernel = "pool/winners", .cost = {n_x, 4 * (n_x + n_y) + (winners ? n_y : 0)}};
    esker__text defines = {0};
    d.operands[d.n_operands++] = esker__read(lowering, x);
    d.operands[d.n_operands++] = esker__write(lowering, y);
    if (winners) d.operands[d.n_operands++] = esker__write(lowering, winners);
    esker__text_add(&defines, "WINNERS %d\nGATED %d\n", winners != NULL, gated);
    return emit(lowering, &d, &x->type.shape, shape, window, (shape->dims[1] + 3) / 4, &defines);
}

esker_status esker__emit_winners_grad(esker__lowering *lowering, const esker_node *g, const esker_node *winners,
                                      const int32_t window[2], const esker__tail *tail, const esker_node *gx)
{
    const esker_shape *shape = &g->type.shape;
    double n_x = (double)esker__elems(&gx->type.shape), n_y = (double)esker__elems(shape);
    esker__dispatch_desc d = {.kernel = "pool/grad_winners", .cost = {n_x, 4 * (n_x + n_y) + n_y}};
    esker__text defines = {0};
    d.operands[d.n_operands++] = esker__read(lowering, g);
    d.operands[d.n_operands++] = esker__read(lowering, winners);
    esker__tail_emit(lowering, tail, gx, false, &d, &defines);
    return emit(lowering, &d, &gx->type.shape, shape, window, shape->dims[1], &defines);
}

void esker__winners_grad_reference(const esker_shape *shape_g, const esker_shape *shape_gx, const int32_t window[2],
                                   const double *g, const double *winners, double *gx, double *magnitude)
{
    const int64_t *from = shape_g->dims, *to = shape_gx->dims;
    for (int64_t e = 0, n = esker__elems(shape_gx); e < n; e++) {
        gx[e] = 0;
        if (magnitude) magnitude[e] = 0;
    }
    int64_t at = 0, blocks = (from[1] + 3) / 4;
    for (int64_t i = 0; i < from[0]; i++)
        for (int64_t c = 0; c < from[1]; c++)
            for (int64_t u = 0; u < from[2]; u++)
                for (int64_t v = 0; v < from[3]; v++, at++) {
                    int winner = esker__winner_of(winners[((i * blocks + c / 4) * from[2] + u) * from[3] + v], c);
                    if (winner == ESKER__NO_WINNER) continue;
                    int64_t row = u * window[0] + winner / window[1], column = v * window[1] + winner % window[1];
                    int64_t e = ((i * from[1] + c) * to[2] + row) * to[3] + column;
                    gx[e] = g[at];
                    if (magnitude) magnitude[e] = fabs(g[at]);
                }
}

/* Of one window whose first element is `at` in a row of `columns`: what `got` may be where the largest value is no clear one. */
static bool may_win(const float *at, int64_t columns, const int32_t window[2], bool gated, double bound, int got)
{
    double largest = -INFINITY;
    for (int p = 0; p < window[0]; p++)
        for (int q = 0; q < window[1]; q++) largest = fmax(largest, at[p * columns + q]);
    if (got == ESKER__NO_WINNER) return gated && largest < bound;
    if (got >= window[0] * window[1]) return false;
    return at[got / window[1] * columns + got % window[1]] > largest - bound && (!gated || largest > -bound);
}

bool esker__winners_agree(const esker_shape *y, const esker_shape *x, const int32_t window[2], bool gated,
                          const float *values, double bound, const int32_t *want, const int32_t *got)
{
    const int64_t *from = x->dims, *to = y->dims, blocks = (to[1] + 3) / 4;
    int64_t word = 0;
    for (int64_t i = 0; i < to[0]; i++)
        for (int64_t block = 0; block < blocks; block++)
            for (int64_t u = 0; u < to[2]; u++)
                for (int64_t v = 0; v < to[3]; v++, word++)
                    for (int64_t c = 4 * block; want[word] != got[word] && c < 4 * block + 4; c++) {
                        int winner = esker__winner_of(got[word], c);
                        if (winner == esker__winner_of(want[word], c)) continue;
                        if (c >= to[1]) return false; /* 0 of channels that there are not */
                        int64_t first = ((i * to[1] + c) * from[2] + u * window[0]) * from[3] + v * window[1];
                        if (!may_win(values + first, from[3], window, gated, bound, winner)) return false;
                    }
    return true;
}

/* ---- max_pool2d_grad of g and winners ---- */

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__winners_attr *attr = attributes;
    const esker_shape *g = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    esker__type winners = esker__winners_type(g);
    *out = (esker__type){ESKER_DTYPE_F32, {4, {g->dims[0], g->dims[1], attr->extent[0], attr->extent[1]}}};
    bool fits = inputs[1]->type.dtype == winners.dtype && esker_shape_equal(&inputs[1]->type.shape, &winners.shape);
    for (int i = 0; i < 2; i++) fits = fits && attr->extent[i] / attr->window[i] == g->dims[2 + i];
    if (!fits)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: no pooling of window [%d, %d] has these shapes",
                           esker__signature(text, "max_pool2d_grad", inputs, n_inputs), (int)attr->window[0],
                           (int)attr->window[1]);
    return esker__tail_infer(&attr->tail, "max_pool2d_grad", -1, inputs, n_inputs, 2, out);
}

static void reference(const esker__reference *r)
{
    const esker__winners_attr *attr = r->node->attr;
    esker__winners_grad_reference(&r->node->inputs[0]->type.shape, &r->node->type.shape, attr->window, r->in[0], r->in[1],
                                  r->out[0], r->magnitude[0]);
    esker__tail_reference_all(&attr->tail, r, 2);
}

static bool absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr)
{
    return esker__tail_absorb(&((esker__winners_attr *)attr)->tail, &node->type.shape, -1, 3, user, which, fusion);
}

static void title(const esker_node *node, esker__text *text)
{
    esker__tail_title(node, &((const esker__winners_attr *)node->attr)->tail, text);
}

/* Without a tail it is exact. */
static double tolerance(const esker_node *node)
{
    (void)node;
    return 2;
}

static void cost(const esker_node *node, esker__cost *out)
{
    double g = (double)esker__elems(&node->inputs[0]->type.shape), x = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){.flops = x, .bytes = 4 * (x + g) + g};
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__winners_attr *attr = node->attr;
    return esker__emit_winners_grad(lowering, node->inputs[0], node->inputs[1], attr->window, &attr->tail, node);
}

const esker__op esker__op_max_pool2d_winners_grad = {
    .name = "max_pool2d_grad",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__winners_attr),
    .infer = infer,
    .reference = reference,
    .tolerance = tolerance,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
    .absorb = absorb,
    .title = title,
};
