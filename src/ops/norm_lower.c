/* Normalisations: how the lines are shared among groups, and the dispatches, for any number of storage blocks from four up. */
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/map.h"
#include "ops/norm_call.h"
#include "ops/rows.h"

#define GROUP               128
#define WHOLE_LINE          32768 /* terms that one group may do in one go; longer lines are cut */
#define WORTH_CUTTING       8192  /* where few groups would be at work, lines longer than this are cut too, */
#define FEW_GROUPS          32
#define ENOUGH_GROUPS       64 /* into as many chunks as give this many */
#define SHORTEST_CHUNK      2048
#define CHUNK               8192 /* of a line that has to be cut */
#define MOST_CHUNKS         1024
#define MOST_GROUPS         16384 /* more lines than this many groups hold: some groups do several blocks of lines */
#define ELEMS_A_LANE        4
#define COLUMN_ELEMS_A_LANE 16
#define SHORT_RUN           8 /* fewer neighbours in a line than this: lanes follow the lines instead */

/* ---- Layout ---- */

typedef struct layout {
    esker__norm_view v;
    int lanes, floats; /* floats of an element */
    bool columns, split;
    uint64_t lines, n, chunk_n, chunks;
    uint32_t groups[3];
    struct {
        uint32_t groups_x, rounds, lines, inner_lines, n, width, row, slab, stride, step_a, step_b, step_at, chunk_n,
            chunks, groups, per_group, spatial, step_c, step_r;
        float eps;
        uint32_t stats_a, per_stats; /* norm/grad alone */
    } params;
} layout;

#define FORWARD_PARAMS 20
#define GRAD_PARAMS    22

static int choose_lanes(const esker__lowering *lowering, const layout *l)
{
    int lanes = 1;
    if (!l->columns) {
        int most = esker__lanes_of_line(lowering, (int64_t)l->lines, GROUP);
        while (lanes < most && (uint64_t)lanes * ELEMS_A_LANE < l->n) lanes *= 2;
        return lanes;
    }
    while (lanes < GROUP && (uint64_t)lanes * COLUMN_ELEMS_A_LANE < l->n &&
           (lanes < 8 || (uint64_t)(GROUP / lanes) > l->lines))
        lanes *= 2;
    return lanes;
}

static void cut_lines(layout *l, uint64_t n_groups)
{
    uint64_t wanted = 1;
    if (n_groups < FEW_GROUPS && l->n > WORTH_CUTTING) {
        wanted = esker__ceil_div(ENOUGH_GROUPS, n_groups);
        if (wanted > l->n / SHORTEST_CHUNK) wanted = l->n / SHORTEST_CHUNK;
    }
    if (l->n > WHOLE_LINE && wanted < esker__ceil_div(l->n, CHUNK)) wanted = esker__ceil_div(l->n, CHUNK);
    if (wanted > MOST_CHUNKS) wanted = MOST_CHUNKS;
    l->chunk_n = esker__ceil_div(l->n, wanted);
    l->chunks = esker__ceil_div(l->n, l->chunk_n);
}

static esker_status make_layout(esker__lowering *lowering, const esker_node *node, const esker__norm_view *v, float eps,
                                layout *l)
{
    *l = (layout){.v = *v, .lines = (uint64_t)esker__norm_lines(v), .n = (uint64_t)esker__norm_terms(v)};
    if (l->lines > (uint64_t)INT32_MAX / l->n)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld lines of %lld elements, the kernels index at most %d", node->op->name,
                           (long long)l->lines, (long long)l->n, INT32_MAX);
    l->columns = v->a > 1 && v->s > 1 && v->b < SHORT_RUN;
    l->lanes = choose_lanes(lowering, l);
    uint64_t blocks = esker__ceil_div(l->lines, (uint64_t)(GROUP / l->lanes));
    uint64_t rounds = esker__ceil_div(blocks, MOST_GROUPS);
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(blocks, rounds), l->groups);
    if (st != ESKER_OK) return st;
    cut_lines(l, (uint64_t)l->groups[0] * l->groups[1]);
    l->groups[2] = 1;

    /* From here on in elements, which have one weight where it is not the term's own. */
    l->floats = v->affine == 3 && v->spatial % 4 ? 1 : esker__floats_of_element(lowering, v->b, v->affine == 3);
    l->chunk_n = esker__round_up(l->chunk_n, (uint64_t)l->floats);
    l->chunks = esker__ceil_div(l->n, l->chunk_n);
    uint32_t f = (uint32_t)l->floats, b = (uint32_t)v->b / f, row = (uint32_t)v->s * b, lanes = (uint32_t)l->lanes;
    uint32_t spatial = v->affine == 3 ? (uint32_t)v->spatial / f : 1;
    l->split = v->a > 1 && b > 1;
    l->params.groups_x = l->groups[0];
    l->params.rounds = (uint32_t)rounds;
    l->params.lines = (uint32_t)l->lines;
    l->params.inner_lines = (uint32_t)v->s;
    l->params.n = (uint32_t)l->n / f;
    l->params.width = b;
    l->params.row = row;
    l->params.slab = row * (uint32_t)v->a;
    l->params.stride = v->a > 1 ? row : 1;
    l->params.step_a = lanes / b;
    l->params.step_b = lanes % b;
    l->params.step_at = lanes / b * row + lanes % b;
    l->params.chunk_n = (uint32_t)l->chunk_n / f;
    l->params.chunks = (uint32_t)l->chunks;
    l->params.groups = (uint32_t)v->groups;
    l->params.per_group = (uint32_t)v->per_group;
    l->params.spatial = spatial;
    l->params.step_c = lanes / spatial;
    l->params.step_r = lanes % spatial;
    l->params.eps = eps;
    return ESKER_OK;
}

static esker__norm_call begin(const layout *l, const char *kernel, int part, int kind)
{
    double n = (double)l->lines * (double)l->n;
    esker__norm_call c = {
        .desc = {.kernel = kernel, .cost = {8 * n, 8 * n}, .params = &l->params, .n_params = FORWARD_PARAMS},
        .quads = l->floats == 4};
    memcpy(c.desc.groups, l->groups, sizeof c.desc.groups);
    if (part == 1 || part == 2) c.desc.groups[2] = (uint32_t)l->chunks;
    esker__norm_define(&c, "PART", part);
    esker__norm_define(&c, "KIND", kind);
    esker__norm_define(&c, "LANES", l->lanes);
    esker__norm_define(&c, "COLUMNS", l->columns);
    esker__norm_define(&c, "SPLIT", l->split);
    esker__norm_define(&c, "V", l->floats);
    return c;
}

static esker__operand scratch(esker__lowering *lowering, uint64_t n_bytes)
{
    return (esker__operand){.value = esker__scratch(lowering, n_bytes)};
}

static int kind_of(int scheme)
{
    if (scheme == ESKER__NORM_RMS) return 1;
    return scheme == ESKER__NORM_L2 ? 2 : 0;
}

/* pairs[i] = (a[i], b[i]): one block in place of two. */
static esker_status pack(esker__lowering *lowering, const esker__operand *a, const esker__operand *b, uint64_t n,
                         const esker__operand *pairs)
{
    esker__norm_call c = {.desc = {.kernel = "norm/pack", .cost = {(double)n, 16.0 * (double)n}}};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, GROUP), c.desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {c.desc.groups[0], (uint32_t)n};
    c.desc.params = params;
    c.desc.n_params = 2;
    esker__norm_bind(&c, NULL, a, false);
    esker__norm_bind(&c, NULL, b, false);
    esker__norm_bind(&c, NULL, pairs, true);
    return esker__norm_emit(lowering, &c);
}

/* One group for each line, its chunks put together. */
static esker_status emit_finish(esker__lowering *lowering, const layout *l, esker__norm_call *c)
{
    struct {
        uint32_t groups_x, lines, chunks, chunk_n, n, inner_lines, groups;
        float eps;
    } params = {0,
                (uint32_t)l->lines,
                (uint32_t)l->chunks,
                (uint32_t)l->chunk_n,
                (uint32_t)l->n,
                l->params.inner_lines,
                l->params.groups,
                l->params.eps};
    double n = (double)l->lines * (double)l->chunks;
    c->desc.cost = (esker__cost){4 * n, 8 * n};
    esker_status st = esker__fold_groups(lowering, l->lines, c->desc.groups);
    if (st != ESKER_OK) return st;
    params.groups_x = c->desc.groups[0];
    c->desc.params = &params;
    c->desc.n_params = 8;
    return esker__norm_emit(lowering, c);
}

static bool fits_uniform(const esker__lowering *lowering, uint64_t n)
{
    return 4 * n <= esker__lowering_limits(lowering)->uniform_block_bytes;
}

static int tail_blocks(const esker__tail *tail)
{
    return tail ? esker__tail_n_inputs(tail) + (tail->keeps != 0) : 0;
}

/* ---- Forward ---- */

static uint64_t table_elems(const esker_node *node)
{
    esker_shape shape;
    int64_t n = 1;
    esker__norm_table_shape(&node->inputs[0]->type.shape, node->attr, &shape);
    for (int i = 0; i < shape.rank; i++) n *= shape.dims[i];
    return (uint64_t)n;
}

esker_status esker__norm_lower(esker__lowering *lowering, const esker__norm_forward *f)
{
    const esker__norm_attr *attr = f->node->attr;
    esker__norm_view v;
    layout l;
    esker__norm_held held;
    esker__norm_view_of(&f->node->inputs[0]->type.shape, attr, &v);
    int n_own = 2 + (f->weight != NULL) + (f->bias != NULL) + (f->stats != NULL) + tail_blocks(f->tail);
    if (!f->mean && !f->pairs && esker__norm_held_choose(lowering, &v, false, n_own, &held))
        return esker__norm_held_forward(lowering, f, kind_of(attr->scheme), &held);
    esker_status st = make_layout(lowering, f->node, &v, attr->eps, &l);
    if (st != ESKER_OK) return st;
    int blocks = (int)esker__lowering_limits(lowering)->storage_blocks, kind = kind_of(attr->scheme);
    int n_tables = (f->weight != NULL) + (f->bias != NULL);
    esker__operand x = esker__read(lowering, f->node->inputs[0]), y = esker__write(lowering, f->node);
    esker__operand packed, own_stats, partials;
    const esker__operand *table = NULL, *stats = f->pairs ? f->pairs : f->stats, *mean = f->mean, *variance = f->variance;
    bool given = mean || f->pairs, whole = l.chunks == 1 && !given;
    const esker__operand *weight = f->weight, *uniform = NULL;

    if (n_tables == 2 &&
        2 + n_tables +
                (given   ? 2
                 : whole ? stats != NULL
                         : 1) >
            blocks &&
        fits_uniform(lowering, table_elems(f->node))) {
        uniform = weight;
        weight = NULL;
        n_tables = 1;
    }
    if (n_tables == 2 && 2 + n_tables + (given ? 2 : whole ? stats != NULL : 1) > blocks) {
        packed = scratch(lowering, 8 * table_elems(f->node));
        st = pack(lowering, f->weight, f->bias, table_elems(f->node), &packed);
        table = &packed;
        n_tables = 1;
    }
    if (st == ESKER_OK && mean && (stats || 2 + n_tables + 2 > blocks)) {
        own_stats = stats ? *stats : scratch(lowering, 8 * l.lines);
        st = pack(lowering, mean, variance, l.lines, &own_stats);
        stats = &own_stats;
        mean = variance = NULL;
    }
    if (st == ESKER_OK && !whole && !given) {
        partials = scratch(lowering, 8 * l.lines * l.chunks);
        esker__norm_call first = begin(&l, "norm/forward", 1, kind), finish = {.desc = {.kernel = "norm/finish"}};
        esker__norm_bind(&first, NULL, &x, false);
        esker__norm_bind(&first, "PARTIALS", &partials, true);
        st = esker__norm_emit(lowering, &first);
        if (!stats) {
            own_stats = scratch(lowering, 8 * l.lines);
            stats = &own_stats;
        }
        esker__norm_define(&finish, "WORK", 0);
        esker__norm_define(&finish, "KIND", kind);
        esker__norm_bind(&finish, NULL, &partials, false);
        esker__norm_bind(&finish, "STATS", stats, true);
        if (st == ESKER_OK) st = emit_finish(lowering, &l, &finish);
    }
    if (st != ESKER_OK) return st;
    esker__norm_call c = begin(&l, "norm/forward", whole ? 0 : 2, kind);
    esker__norm_define(&c, "AFFINE", v.affine);
    esker__norm_bind(&c, NULL, &x, false);
    esker__norm_bind(&c, "TABLE", table, false);
    if (!table) esker__norm_bind(&c, "WEIGHT", weight, false);
    if (!table) esker__norm_bind(&c, "BIAS", f->bias, false);
    esker__norm_bind_tail(lowering, &c, f->tail, f->node);
    esker__norm_bind(&c, "Y", &y, true);
    if (mean) {
        esker__norm_bind(&c, "MEAN", mean, false);
        esker__norm_bind(&c, "VARIANCE", variance, false);
    } else {
        esker__norm_bind(&c, "STATS", stats, whole);
    }
    esker__norm_bind_uniform(&c, uniform, table_elems(f->node));
    return esker__norm_emit(lowering, &c);
}

/* ---- Backward ---- */

/* g * weight, where a kernel has no block left for the weight. */
static esker_status multiply(esker__lowering *lowering, const esker_node *node, const esker__operand *g,
                             const esker__operand *weight, const esker__operand *out)
{
    esker__norm_view t;
    esker__norm_affine_view_of(&node->inputs[0]->type.shape, node->attr, &t);
    esker__map map = {
        .n_operands = 2, .rank = 3, .dims = {t.a, t.s, t.b}, .strides = {{t.s * t.b, t.b, 1}, {0, 1, 0}}, .expr = "a * b"};
    return esker__map_emit(lowering, &map, (esker__operand[]){*g, *weight, *out});
}

static esker__norm_call begin_grad(const layout *l, int part, int kind, const esker__norm_backward *b)
{
    esker__norm_call c = begin(l, "norm/grad", part, kind);
    c.desc.n_params = GRAD_PARAMS;
    esker__norm_define(&c, "TERM_STATS", b->sum_samples);
    esker__norm_define(&c, "AFFINE", l->v.affine);
    return c;
}

static esker_status finish_sums(esker__lowering *lowering, const layout *l, int kind, const esker__norm_backward *b,
                                const esker__operand *weight, const esker__operand *partials, const esker__operand *stats,
                                const esker__operand *coefs)
{
    int blocks = (int)esker__lowering_limits(lowering)->storage_blocks;
    int n_tables = (b->dgamma != NULL) + (b->dbeta != NULL), n_coefs = coefs ? 2 + (weight != NULL) : 0;
    bool apart = 1 + n_tables + n_coefs > blocks;
    for (int turn = 0; turn < 1 + apart; turn++) {
        esker__norm_call c = {.desc = {.kernel = "norm/finish"}};
        esker__norm_define(&c, "WORK", 1);
        esker__norm_define(&c, "KIND", kind);
        esker__norm_bind(&c, NULL, partials, false);
        if (turn == 0 && coefs) {
            esker__norm_bind(&c, "STATS", stats, false);
            esker__norm_bind(&c, "WEIGHT", weight, false);
            esker__norm_bind(&c, "COEFS", coefs, true);
        }
        if (turn == apart) {
            esker__norm_bind(&c, "DGAMMA", b->dgamma, true);
            esker__norm_bind(&c, "DBETA", b->dbeta, true);
        }
        esker_status st = emit_finish(lowering, l, &c);
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

esker_status esker__norm_lower_backward(esker__lowering *lowering, const esker__norm_backward *b)
{
    const esker__norm_attr *attr = b->node->attr;
    const esker_shape *shape = &b->node->inputs[0]->type.shape;
    esker__norm_view v, lines;
    layout l;
    esker__norm_held held;
    esker__norm_view_of(shape, attr, &v);
    lines = v;
    int n_own = 4 + (b->weight != NULL) + (b->dgamma != NULL) + (b->dbeta != NULL) + tail_blocks(b->tail);
    if (b->dx && !b->sum_samples && esker__norm_held_choose(lowering, &v, true, n_own, &held))
        return esker__norm_held_backward(lowering, b, attr->scheme == ESKER__NORM_FIXED ? 3 : kind_of(attr->scheme), &held);
    esker_status st;
    if (b->sum_samples) esker__norm_affine_view_of(shape, attr, &v);
    if (b->sum_samples && esker__norm_columns(lowering, b, &v, &st)) return st;
    st = make_layout(lowering, b->node, &v, attr->eps, &l);
    if (st != ESKER_OK) return st;
    if (b->sum_samples) {
        /* Rows: a term's line is its sample. Channels: sample times lines of a sample, plus that of the channel. */
        bool rows = attr->scheme == ESKER__NORM_LAYER || attr->scheme == ESKER__NORM_RMS;
        l.params.stats_a = rows ? 1 : (uint32_t)lines.groups;
        l.params.per_stats = (uint32_t)(rows ? v.s : v.s / lines.groups);
    }
    int blocks = (int)esker__lowering_limits(lowering)->storage_blocks;
    int kind = attr->scheme == ESKER__NORM_FIXED ? 3 : kind_of(attr->scheme);
    int n_tables = (b->dgamma != NULL) + (b->dbeta != NULL);
    esker__operand x = esker__read(lowering, b->node->inputs[0]), g = esker__read(lowering, b->node->inputs[1]);
    esker__operand stats = esker__read(lowering, b->node->inputs[2]), partials, coefs = {0}, *weight = b->weight;

    const esker__operand *uniform = NULL;
    if (weight && v.affine != 2 && blocks < 5 && fits_uniform(lowering, table_elems(b->node))) {
        uniform = weight;
        weight = NULL;
    } else if (weight && v.affine != 2 && blocks < 5) {
        esker__operand product = scratch(lowering, 4 * l.lines * l.n);
        product.write = true;
        st = multiply(lowering, b->node, &g, weight, &product);
        if (st != ESKER_OK) return st;
        product.write = false;
        g = product;
        weight = NULL;
    }
    if (l.chunks == 1 && 3 + (b->dx && weight) + (b->dx != NULL) + n_tables <= blocks) {
        esker__norm_call c = begin_grad(&l, b->dx ? 0 : 3, kind, b);
        esker__norm_bind(&c, NULL, &x, false);
        esker__norm_bind(&c, NULL, &g, false);
        esker__norm_bind(&c, "STATS", &stats, false);
        if (b->dx) esker__norm_bind(&c, "WEIGHT", weight, false);
        esker__norm_bind_tail(lowering, &c, b->tail, b->node);
        esker__norm_bind(&c, "DX", b->dx, true);
        esker__norm_bind(&c, "DGAMMA", b->dgamma, true);
        esker__norm_bind(&c, "DBETA", b->dbeta, true);
        if (b->dx) esker__norm_bind_uniform(&c, uniform, table_elems(b->node));
        return esker__norm_emit(lowering, &c);
    }

    partials = scratch(lowering, 8 * l.lines * l.chunks);
    if (b->dx) coefs = scratch(lowering, 16 * l.lines);
    const esker__operand *of_terms = v.affine == 2 ? NULL : weight, *of_lines = v.affine == 2 ? weight : NULL;
    esker__norm_call first = begin_grad(&l, 1, kind, b);
    esker__norm_bind(&first, NULL, &x, false);
    esker__norm_bind(&first, NULL, &g, false);
    esker__norm_bind(&first, "STATS", &stats, false);
    esker__norm_bind(&first, "WEIGHT", of_terms, false);
    esker__norm_bind(&first, "PARTIALS", &partials, true);
    esker__norm_bind_uniform(&first, uniform, table_elems(b->node));
    st = esker__norm_emit(lowering, &first);
    if (st == ESKER_OK) st = finish_sums(lowering, &l, kind, b, of_lines, &partials, &stats, b->dx ? &coefs : NULL);
    if (st != ESKER_OK || !b->dx) return st;
    esker__norm_call last = begin_grad(&l, 2, kind, b);
    esker__norm_bind(&last, NULL, &x, false);
    esker__norm_bind(&last, NULL, &g, false);
    esker__norm_bind(&last, "COEFS", &coefs, false);
    esker__norm_bind(&last, "WEIGHT", of_terms, false);
    esker__norm_bind_tail(lowering, &last, b->tail, b->node);
    esker__norm_bind(&last, "DX", b->dx, true);
    esker__norm_bind_uniform(&last, uniform, table_elems(b->node));
    return esker__norm_emit(lowering, &last);
}
