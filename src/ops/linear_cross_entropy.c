/*
 * logits = a w' + bias, their cross-entropy with labels and its gradient, the count of those that are right, and the gradient of a, with what
 * follows it alone (that of an activation): one kernel whose groups have whole rows of logits, which are written nowhere. Where batches and classes
 * are few, each of these alone is little else than the wait for the one before. Where a are the means of planes, as behind the last convolution of many
 * networks, the groups make those, too, and the gradient of what the means are of.
 *
 * Where a are norms of rows, the gradient of these rows is made, too, from further inputs: the rows, their statistics, and the norm's weight if it has one.
 *
 * Plans with fusion alone have such nodes. Their outputs: 0 the gradient of input 0, behind its tail or the norm, 1 the loss, 2 its gradient, 3 the count, 4 the
 * means, or with a norm the gradient of a; 1 to 3 follow each other as those of a cross_entropy do (loss.c).
 */
#include "ops/linear_cross_entropy.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/ops.h"
#include "ops/rows.h"

typedef esker__head_attr attributes;
typedef esker__head_sizes sizes;

static sizes sizes_of(const esker_node *node)
{
    return esker__head_sizes_of(node->inputs[1], node->inputs[2]);
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const attributes *a = attr;
    sizes s = esker__head_sizes_of(inputs[1], inputs[2]);
    out[ESKER__HEAD_LOSS] = out[ESKER__HEAD_RIGHT] = (esker__type){.dtype = ESKER_DTYPE_F32};
    out[ESKER__HEAD_GRAD] = (esker__type){ESKER_DTYPE_F32, {2, {s.rows, s.classes}}};
    out[ESKER__HEAD_MEAN] = (esker__type){ESKER_DTYPE_F32, {2, {s.rows, s.k}}};
    esker__type da = inputs[0]->type;
    if (a->has_norm) {
        out[ESKER__HEAD_INPUT_GRAD] = out[ESKER__HEAD_BEFORE] = da;
        return ESKER_OK;
    }
    esker_status st = esker__tail_infer(&a->tail, "linear_cross_entropy", -1, inputs, n_inputs, 3 + (a->has_bias != 0),
                                        &da);
    out[ESKER__HEAD_INPUT_GRAD] = da;
    return st;
}

/* ---- Reference ---- */

static double product_tolerance(const sizes *s)
{
    return 2 * sqrt((double)s->k) + 6;
}

static double tolerance(const esker_node *node)
{
    sizes s = sizes_of(node);
    return 2 * sqrt((double)s.rows) + 2 * sqrt((double)s.classes) + 16;
}

/* Sums over the rows. Magnitudes are in units of the node's tolerance. */
typedef struct totals {
    double loss, loss_size, count, right, unsure;
} totals;

/* Element p of row i of a, and what it may be off by over eps. */
static double reference_a(const esker__reference *r, const sizes *s, int64_t i, int64_t p, double *out_off)
{
    int64_t n = ((const attributes *)r->node->attr)->plane, at = i * s->k + p;
    *out_off = 0;
    if (!n) return r->in[0][at];
    double sum = 0, size = 0;
    for (int64_t q = 0; q < n; q++) {
        sum += r->in[0][at * n + q];
        size += fabs(r->in[0][at * n + q]);
    }
    *out_off = (2 * sqrt((double)n) + 4) * size / (double)n;
    return sum / (double)n;
}

/* Logits of row i, and what they may be off by over eps; and the means, if they are such. */
static void reference_logits(const esker__reference *r, const sizes *s, int64_t i, double *x, double *off)
{
    const attributes *attr = r->node->attr;
    const double *bias = attr->has_bias ? r->in[3] : NULL;
    int64_t step = bias && esker__elems(&r->node->inputs[3]->type.shape) > 1;
    for (int64_t c = 0; c < s->classes; c++) {
        x[c] = bias ? bias[c * step] : 0;
        off[c] = product_tolerance(s) * fabs(x[c]);
    }
    for (int64_t p = 0; p < s->k; p++) {
        double a_off, a = reference_a(r, s, i, p, &a_off);
        for (int64_t c = 0; c < s->classes; c++) {
            double w = r->in[1][c * s->k + p];
            x[c] += a * w;
            off[c] += product_tolerance(s) * fabs(a * w) + a_off * fabs(w);
        }
        if (attr->plane && r->out[ESKER__HEAD_MEAN]) r->out[ESKER__HEAD_MEAN][i * s->k + p] = a;
        if (attr->plane && r->magnitude[ESKER__HEAD_MEAN])
            r->magnitude[ESKER__HEAD_MEAN][i * s->k + p] = a_off / tolerance(r->node);
    }
}

/* A row's part of the loss and the count, and its gradient d, with sizes. */
static void reference_row(const sizes *s, double k, const double *x, const double *off, int64_t label, totals *t, double *d,
                          double *size)
{
    for (int64_t c = 0; c < s->classes; c++) d[c] = size[c] = 0;
    if (label < 0 || label >= s->classes) {
        if (label != -1) t->loss = NAN;
        return;
    }
    double max = -INFINITY, sum = 0, spread = 0, mean_off = 0;
    int64_t best = 0;
    for (int64_t c = 0; c < s->classes; c++) {
        if (x[c] > x[best]) best = c;
        max = fmax(max, x[c]);
    }
    for (int64_t c = 0; c < s->classes; c++) {
        sum += exp(x[c] - max);
        spread += exp(x[c] - max) * (max - x[c]); /* as in loss.c */
        mean_off += exp(x[c] - max) * off[c];
    }
    spread /= sum;
    mean_off /= sum;
    t->loss += log(sum) - (x[label] - max);
    t->loss_size += log(sum) + fabs(x[label] - max) + 1 + spread + (mean_off + off[label]) / k;
    t->right += best == label && !isnan(sum); /* one with a NaN is never right */
    bool unsure = false;                      /* whether rounding decides */
    for (int64_t c = 0; c < s->classes; c++)
        unsure |= c != label && off[c] + off[label] > 0 && fabs(x[c] - x[label]) <= 0x1p-24 * (off[c] + off[label]);
    t->unsure += unsure;
    for (int64_t c = 0; c < s->classes; c++) {
        double y = exp(x[c] - max) / sum, one = c == label;
        d[c] = (y - one) / t->count;
        size[c] = (y * (1 + max - x[c] + spread) + one + y * (off[c] + mean_off) / k) / t->count;
    }
}

static void reference_input_grad(const esker__reference *r, const sizes *s, int64_t i, const double *d, const double *size)
{
    const attributes *attr = r->node->attr;
    double more = (2 * sqrt((double)s->classes) + 6) / tolerance(r->node);
    int64_t n = attr->plane ? attr->plane : 1;
    for (int64_t p = 0; p < s->k; p++) {
        double sum = 0, magnitude = 0;
        for (int64_t c = 0; c < s->classes; c++) {
            double w = r->in[1][c * s->k + p];
            sum += d[c] * w;
            magnitude += size[c] * fabs(w) + more * fabs(d[c] * w);
        }
        for (int64_t q = 0; q < n; q++) esker__tail_reference(&attr->tail, r, 0, (i * s->k + p) * n + q, 0, sum, magnitude);
    }
}

/* The gradient of a, and that of the rows which a are norms of. */
static void reference_norm_grad(const esker__reference *r, const sizes *s, int64_t i, const double *d, const double *size)
{
    const attributes *attr = r->node->attr;
    double *const *in = r->in + 3 + (attr->has_bias != 0), k = tolerance(r->node);
    double more = (2 * sqrt((double)s->classes) + 6) / k, own = (2 * sqrt((double)s->k) + 16) / k, n = (double)s->k;
    const double *x = in[0] + i * s->k, *weight = attr->norm.has_weight ? in[2] : NULL;
    double mean = in[1][2 * i], rstd = 1 / sqrt(in[1][2 * i + 1] + attr->norm.eps);
    double *g = r->out[ESKER__HEAD_BEFORE] + i * s->k,
           *off = r->magnitude[ESKER__HEAD_BEFORE] ? r->magnitude[ESKER__HEAD_BEFORE] + i * s->k : NULL;
    double sum[2] = {0}, error[2] = {0}; /* of g weight, and of that times h */
    for (int64_t p = 0; p < s->k; p++) {
        double magnitude = 0, h = (x[p] - mean) * rstd, w = weight ? weight[p] : 1;
        g[p] = 0;
        for (int64_t c = 0; c < s->classes; c++) {
            double v = r->in[1][c * s->k + p];
            g[p] += d[c] * v;
            magnitude += size[c] * fabs(v) + more * fabs(d[c] * v);
        }
        if (off) off[p] = magnitude;
        sum[0] += g[p] * w / n;
        sum[1] += g[p] * w * h / n;
        error[0] += (magnitude + own * fabs(g[p])) * fabs(w) / n;
        error[1] += (magnitude + own * fabs(g[p])) * fabs(w * h) / n;
    }
    if (attr->norm.scheme == ESKER__NORM_RMS) sum[0] = error[0] = 0;
    for (int64_t p = 0; p < s->k; p++) {
        double h = (x[p] - mean) * rstd, w = weight ? weight[p] : 1;
        r->out[ESKER__HEAD_INPUT_GRAD][i * s->k + p] = rstd * (g[p] * w - sum[0] - h * sum[1]);
        if (off && r->magnitude[ESKER__HEAD_INPUT_GRAD])
            r->magnitude[ESKER__HEAD_INPUT_GRAD][i * s->k + p] = rstd * ((off[p] + own * fabs(g[p])) * fabs(w) + error[0] +
                                                                         fabs(h) * error[1]);
    }
}

static void reference(const esker__reference *r)
{
    sizes s = sizes_of(r->node);
    double k = tolerance(r->node), x[ESKER__HEAD_CLASSES], off[ESKER__HEAD_CLASSES], d[ESKER__HEAD_CLASSES],
           size[ESKER__HEAD_CLASSES];
    totals t = {0};
    for (int64_t i = 0; i < s.rows; i++) t.count += r->in[2][i] != -1;
    for (int64_t i = 0; i < s.rows; i++) {
        reference_logits(r, &s, i, x, off);
        reference_row(&s, k, x, off, (int64_t)r->in[2][i], &t, d, size);
        for (int64_t c = 0; c < s.classes; c++) {
            if (r->out[ESKER__HEAD_GRAD]) r->out[ESKER__HEAD_GRAD][i * s.classes + c] = d[c];
            if (r->magnitude[ESKER__HEAD_GRAD]) r->magnitude[ESKER__HEAD_GRAD][i * s.classes + c] = size[c];
        }
        if (r->out[ESKER__HEAD_INPUT_GRAD] && ((const attributes *)r->node->attr)->has_norm)
            reference_norm_grad(r, &s, i, d, size);
        else if (r->out[ESKER__HEAD_INPUT_GRAD])
            reference_input_grad(r, &s, i, d, size);
    }
    if (r->out[ESKER__HEAD_LOSS]) r->out[ESKER__HEAD_LOSS][0] = t.count > 0 ? t.loss / t.count : 0;
    if (r->magnitude[ESKER__HEAD_LOSS]) r->magnitude[ESKER__HEAD_LOSS][0] = t.count > 0 ? t.loss_size / t.count : 0;
    if (r->out[ESKER__HEAD_RIGHT]) r->out[ESKER__HEAD_RIGHT][0] = t.right;
    if (r->magnitude[ESKER__HEAD_RIGHT]) r->magnitude[ESKER__HEAD_RIGHT][0] = t.unsure / (k * 0x1p-24);
}

static void cost(const esker_node *node, esker__cost *out)
{
    sizes s = sizes_of(node);
    double rows = (double)s.rows, classes = (double)s.classes, k = (double)s.k;
    int32_t plane = ((const attributes *)node->attr)->plane;
    double n = plane ? plane : 1;
    *out = (esker__cost){.flops = 4 * rows * classes * k + 12 * rows * classes + (plane ? 2 * rows * k * n : 0),
                         .bytes = 4 * (2 * rows * k * n + classes * k + rows * classes + rows)};
    if (((const attributes *)node->attr)->has_norm) out->flops += 12 * rows * k, out->bytes += 8 * rows * k;
}

static void title(const esker_node *node, esker__text *text)
{
    const attributes *a = node->attr;
    esker__text_add(text, "%smatmul%s+cross_entropy", a->plane ? "mean+" : "", a->has_bias ? "+add" : "");
    if (a->tail.program.n_steps || a->has_norm) esker__text_add(text, "+matmul");
    if (a->has_norm) esker__text_add(text, "+norm_grad");
    esker__program_names(&a->tail.program, text);
}

/* ---- Lowering ---- */

#define SHARED_BYTES 9600 /* of partial sums: with the rest inside of the 16 KiB that every device has */
#define MOST_SUMS    8    /* of an invocation for each row */
#define MOST_LABELS  8    /* of an invocation, at once */

typedef struct shape_of_group {
    uint32_t size, rows, lanes, classes, mean_lanes; /* KL, CB and PL of the kernel the last three */
    uint32_t held, rows_at_once;                     /* HELD and ROWS_AT_ONCE, or 0 */
} shape_of_group;

static uint32_t power_of_two_from(uint64_t n)
{
    uint32_t power = 1;
    while (power < n) power *= 2;
    return power;
}

static bool fits(const shape_of_group *g, const sizes *s)
{
    return g->rows * (uint64_t)s->classes * (g->lanes + 1) * 4 <= SHARED_BYTES;
}

/* `plane`: 0, or the vec4 or elements that each mean is of. */
static shape_of_group choose_group(esker__lowering *lowering, const sizes *s, uint32_t units, uint32_t plane)
{
    bool large = esker__lowering_limits(lowering)->group_invocations >= 1024;
    shape_of_group g = {.size = large ? plane ? 512 : 256 : 128, .rows = 4};
    bool cpu = esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE;
    if (cpu) {
        /* A vector of the CPU by itself waits for no other, and whole products need no sum of parts. */
        g.size = 8;
        g.lanes = 1;
    } else {
        if (esker__lowering_family(lowering) == ESKER__FAMILY_MIDGARD) g.rows = 1; /* registers */
        if (large) g.rows = s->rows <= 256 ? 1 : s->rows <= 512 ? 2 : 4;           /* a row for each multiprocessor first */
        g.lanes = power_of_two_from(units);
        if (g.lanes > 64) g.lanes = 64;
    }
    if (plane) g.rows = 1;
    g.mean_lanes = cpu ? g.size : 64;
    while (g.mean_lanes > 1 && (g.mean_lanes / 2 >= plane || 4 * g.mean_lanes * (uint64_t)s->k > SHARED_BYTES))
        g.mean_lanes /= 2;
    for (;; g.lanes /= 2) {
        g.classes = (uint32_t)esker__ceil_div((uint64_t)s->classes, g.size / g.lanes);
        if (g.lanes == 1 || (fits(&g, s) && g.classes <= MOST_SUMS)) return g;
    }
}

/* Invocations that share a row's logits in a group that holds the weight. */
static uint32_t lanes_of_row(const sizes *s)
{
    return s->classes > 32 ? 16 : 8;
}

/* A group that reads the weight once, and holds it in its registers; false: it has too few of them, or too little memory for the sums. */
static bool choose_holding(const esker_limits *limits, const sizes *s, shape_of_group *out)
{
    enum { SIZE = 256, MOST_HELD = 12, MOST_BYTES = 18 << 10, GROUPS = 256, MOST_TURNS = 4 };
    if (s->k % 4 || limits->group_invocations < 1024) return false;
    uint32_t units = (uint32_t)(s->k / 4);
    shape_of_group g = {.size = SIZE, .lanes = power_of_two_from(units)};
    if (g.lanes > 64) g.lanes = 64;
    uint32_t sets = g.size / g.lanes;
    g.held = (uint32_t)esker__ceil_div(units, g.lanes);
    g.classes = (uint32_t)esker__ceil_div((uint64_t)s->classes, sets);
    g.rows = (uint32_t)esker__ceil_div((uint64_t)s->rows, GROUPS);
    if (g.classes * g.held > MOST_HELD) return false;
    uint64_t logits = 4 * (uint64_t)s->classes * (g.lanes + 1), sums = 16 * (uint64_t)units * sets,
             row_bytes = logits > sums ? logits : sums;
    uint64_t others = 4 * ((g.rows + 3) * ((uint64_t)s->classes + 3 * lanes_of_row(s) + 2) + g.size + 16);
    uint64_t most = limits->shared_bytes < others + MOST_BYTES ? limits->shared_bytes - others : MOST_BYTES;
    uint64_t at_once = most / row_bytes, turns = at_once ? esker__ceil_div(g.rows, at_once) : 0;
    if (!turns || turns > MOST_TURNS) return false;
    g.rows_at_once = (uint32_t)esker__ceil_div(g.rows, turns);
    g.rows = g.rows_at_once * (uint32_t)turns;
    *out = g;
    return true;
}

static bool holds(esker__family family, const esker_limits *limits, const sizes *s, shape_of_group *out)
{
    return esker__setting("held_weight", family == ESKER__FAMILY_NVIDIA) && choose_holding(limits, s, out);
}

bool esker__head_holds(const sizes *s, const esker__fusion *fusion)
{
    shape_of_group g;
    return holds(fusion->family, fusion->limits, s, &g);
}

/* The mean loss and the count, from what each group found: together where they lie together. */
static esker_status finish(esker__lowering *lowering, const esker_node *node, esker__value losses, uint32_t partials,
                           uint32_t right_at)
{
    enum { SPAN_BYTES = 4096 };
    const esker_node *loss = esker__output((esker_node *)node, ESKER__HEAD_LOSS),
                     *right = esker__output((esker_node *)node, ESKER__HEAD_RIGHT);
    bool count = esker__output_is_used(lowering, node, ESKER__HEAD_RIGHT);
    if (!esker__output_is_used(lowering, node, ESKER__HEAD_LOSS)) {
        if (!count) return ESKER_OK;
        return esker__finish_part(lowering, losses, right_at, partials, esker__write(lowering, right));
    }
    uint64_t distance;
    esker__operand result = esker__write(lowering, loss);
    if (!count) return esker__finish_sum(lowering, losses, partials, true, result, NULL);
    if (esker__lie_together(lowering, loss, right, SPAN_BYTES, &distance)) {
        result.span = true;
        result.n_bytes = distance + 4;
        return esker__finish_sum(lowering, losses, partials, true, result,
                                 (uint32_t[]){right_at, (uint32_t)(distance / 4)});
    }
    esker_status st = esker__finish_sum(lowering, losses, partials, true, result, NULL);
    if (st != ESKER_OK) return st;
    return esker__finish_part(lowering, losses, right_at, partials, esker__write(lowering, right));
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const attributes *attr = node->attr;
    sizes s = sizes_of(node);
    bool vec = s.k % 4 == 0 && esker__lowering_family(lowering) != ESKER__FAMILY_MIDGARD; /* which would spill */
    uint32_t units = (uint32_t)(vec ? s.k / 4 : s.k);
    bool vec_x = attr->plane % 4 == 0;
    const esker_limits *limits = esker__lowering_limits(lowering);
    shape_of_group g = choose_group(lowering, &s, units, (uint32_t)(vec_x ? attr->plane / 4 : attr->plane));
    bool large = limits->group_invocations >= 1024;
    shape_of_group holding;
    if (!attr->plane && holds(esker__lowering_family(lowering), limits, &s, &holding)) g = holding;
    esker__dispatch_desc d = {.kernel = "loss/linear_cross_entropy"};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)s.rows, g.rows), d.groups);
    if (st != ESKER_OK) return st;
    uint32_t partials = d.groups[0] * d.groups[1];
    uint32_t right_at = (uint32_t)esker__round_up(partials + 1, 64); /* bindings may begin at every 256 bytes */
    esker__value losses = esker__scratch(lowering, 4 * ((uint64_t)right_at + partials));
    d.operands[0] = esker__read(lowering, node->inputs[0]);
    d.operands[1] = esker__read(lowering, node->inputs[1]);
    d.operands[2] = esker__read(lowering, node->inputs[2]);
    d.operands[3] = (esker__operand){.value = losses, .write = true};
    d.n_operands = 4;

    esker__text defines = {0};
    esker__text_add(&defines, "G %u\nKL %u\nCB %u\nROWS %u\nCLASSES %u\nVEC %d\n", g.size, g.lanes, g.classes, g.rows,
                    (unsigned)s.classes, vec);
    uint64_t labels = esker__ceil_div((uint64_t)s.rows, g.size);
    if (large && labels <= MOST_LABELS) esker__text_add(&defines, "LABELS %u\n", (unsigned)labels);
    if (g.held)
        esker__text_add(&defines, "HELD %u\nROWS_AT_ONCE %u\nUNITS %u\nLANES %u\n", g.held, g.rows_at_once, units,
                        lanes_of_row(&s));
    if (attr->plane)
        esker__text_add(&defines, "PLANE %d\nCHANNELS %u\nPL %u\nVECX %d\n", (int)attr->plane, (unsigned)s.k, g.mean_lanes,
                        vec_x);
    uint32_t bias_step = 0, eps = 0;
    if (attr->has_bias) {
        bias_step = esker__elems(&node->inputs[3]->type.shape) > 1;
        esker__text_add(&defines, "BIAS %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__read(lowering, node->inputs[3]);
    }
    if (esker__output_is_used(lowering, node, ESKER__HEAD_GRAD)) {
        esker__text_add(&defines, "GRAD %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, ESKER__HEAD_GRAD));
    }
    if (attr->plane && esker__output_is_used(lowering, node, ESKER__HEAD_MEAN)) {
        esker__text_add(&defines, "MEAN %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, ESKER__HEAD_MEAN));
    }
    if (attr->has_norm) {
        const esker__norm_attr *norm = &attr->norm;
        esker_node *const *own = node->inputs + 3 + (attr->has_bias != 0);
        esker__text_add(&defines, "NORM 1\nNORM_KIND %d\nNORM_X %d\nNORM_STATS %d\n", norm->scheme == ESKER__NORM_RMS,
                        d.n_operands, d.n_operands + 1);
        for (int i = 0; i < 2; i++) d.operands[d.n_operands++] = esker__read(lowering, own[i]);
        esker__text_add(&defines, "NORM_WEIGHT %d\n", norm->has_weight ? d.n_operands : 0);
        if (norm->has_weight) d.operands[d.n_operands++] = esker__read(lowering, own[2]);
        bool before = esker__output_is_used(lowering, node, ESKER__HEAD_BEFORE);
        esker__text_add(&defines, "BEFORE %d\n", before ? d.n_operands : 0);
        if (before)
            d.operands[d.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, ESKER__HEAD_BEFORE));
        memcpy(&eps, &norm->eps, sizeof eps);
    }
    if (esker__output_is_used(lowering, node, ESKER__HEAD_INPUT_GRAD)) {
        esker__tail_code(&attr->tail, attr->plane ? vec_x : vec, esker__tail_operands(lowering, &attr->tail, node, &d),
                         &defines);
        esker__text_add(&defines, "INPUT_GRAD %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__write(lowering, node);
    }
    uint32_t params[] = {d.groups[0], (uint32_t)s.rows, units, bias_step, partials, right_at, 0x7fc00000u /* a quiet NaN */,
                         eps};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    cost(node, &d.cost);
    st = esker__emit_with(lowering, &d, &defines);
    return st == ESKER_OK ? finish(lowering, node, losses, partials, right_at) : st;
}

const esker__op esker__op_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .n_inputs = -1,
    .n_outputs = 5,
    .attr_bytes = sizeof(attributes),
    .infer = infer,
    .reference = reference,
    .tolerance = tolerance,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
    .title = title,
};
