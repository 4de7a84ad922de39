/*
 * logits = a w' + bias, their cross-entropy with labels and its gradient, the count of those that are right, and the gradient of a, with what
 * follows it alone (that of an activation): one kernel whose groups have whole rows of logits, which are written nowhere. Where batches and classes
 * are few, each of these alone is little else than the wait for the one before. Where a are the means of planes, as behind the last convolution of many
 * networks, the groups make those, too, and the gradient of what the means are of.
 *
 * Plans with fusion alone have such nodes. Their outputs: 0 the gradient of input 0, behind its tail, 1 the loss, 2 its gradient, 3 the count, 4 the means;
 * 1 to 3 follow each other as those of a cross_entropy do (loss.c).
 */
#include "ops/linear_cross_entropy.h"

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/matmul.h"
#include "ops/ops.h"
#include "ops/reduce.h"
#include "ops/rows.h"

#define MOST_CLASSES 128
#define MOST_ROWS    1024  /* every group counts the labels of all */
#define MOST_LOGITS  16384 /* larger products are worth kernels of their own */
#define MOST_TERMS   8192
#define MOST_MEANS   1024 /* of a row, and elements that they are made of: a group reads and writes those of one row */
#define MOST_READ    65536

enum { INPUT_GRAD, LOSS, GRAD, RIGHT, MEAN };

typedef struct attributes {
    int32_t has_bias;
    int32_t plane;    /* 0: input 0 is a; else a are the means of so many neighbours in it */
    esker__tail tail; /* of the gradient of input 0 */
} attributes;

typedef struct sizes {
    int64_t rows, classes, k;
} sizes;

static sizes sizes_of(const esker_node *weight, const esker_node *labels)
{
    return (sizes){labels->type.shape.dims[0], weight->type.shape.dims[0], weight->type.shape.dims[1]};
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const attributes *a = attr;
    sizes s = sizes_of(inputs[1], inputs[2]);
    out[LOSS] = out[RIGHT] = (esker__type){.dtype = ESKER_DTYPE_F32};
    out[GRAD] = (esker__type){ESKER_DTYPE_F32, {2, {s.rows, s.classes}}};
    out[MEAN] = (esker__type){ESKER_DTYPE_F32, {2, {s.rows, s.k}}};
    esker__type da = inputs[0]->type;
    esker_status st = esker__tail_infer(&a->tail, "linear_cross_entropy", -1, inputs, n_inputs, 3 + (a->has_bias != 0),
                                        &da);
    out[INPUT_GRAD] = da;
    return st;
}

/* ---- Reference ---- */

static double product_tolerance(const sizes *s)
{
    return 2 * sqrt((double)s->k) + 6;
}

static double tolerance(const esker_node *node)
{
    sizes s = sizes_of(node->inputs[1], node->inputs[2]);
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
        if (r->out[MEAN]) r->out[MEAN][i * s->k + p] = a;
        if (r->magnitude[MEAN]) r->magnitude[MEAN][i * s->k + p] = a_off / tolerance(r->node);
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
    t->right += best == label;
    bool unsure = false; /* whether rounding decides */
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

static void reference(const esker__reference *r)
{
    sizes s = sizes_of(r->node->inputs[1], r->node->inputs[2]);
    double k = tolerance(r->node), x[MOST_CLASSES], off[MOST_CLASSES], d[MOST_CLASSES], size[MOST_CLASSES];
    totals t = {0};
    for (int64_t i = 0; i < s.rows; i++) t.count += r->in[2][i] != -1;
    for (int64_t i = 0; i < s.rows; i++) {
        reference_logits(r, &s, i, x, off);
        reference_row(&s, k, x, off, (int64_t)r->in[2][i], &t, d, size);
        for (int64_t c = 0; c < s.classes; c++) {
            if (r->out[GRAD]) r->out[GRAD][i * s.classes + c] = d[c];
            if (r->magnitude[GRAD]) r->magnitude[GRAD][i * s.classes + c] = size[c];
        }
        if (r->out[INPUT_GRAD]) reference_input_grad(r, &s, i, d, size);
    }
    if (r->out[LOSS]) r->out[LOSS][0] = t.count > 0 ? t.loss / t.count : 0;
    if (r->magnitude[LOSS]) r->magnitude[LOSS][0] = t.count > 0 ? t.loss_size / t.count : 0;
    if (r->out[RIGHT]) r->out[RIGHT][0] = t.right;
    if (r->magnitude[RIGHT]) r->magnitude[RIGHT][0] = t.unsure / (k * 0x1p-24);
}

static void cost(const esker_node *node, esker__cost *out)
{
    sizes s = sizes_of(node->inputs[1], node->inputs[2]);
    double rows = (double)s.rows, classes = (double)s.classes, k = (double)s.k;
    int32_t plane = ((const attributes *)node->attr)->plane;
    double n = plane ? plane : 1;
    *out = (esker__cost){.flops = 4 * rows * classes * k + 12 * rows * classes + (plane ? 2 * rows * k * n : 0),
                         .bytes = 4 * (2 * rows * k * n + classes * k + rows * classes + rows)};
}

static void title(const esker_node *node, esker__text *text)
{
    const attributes *a = node->attr;
    esker__text_add(text, "%smatmul%s+cross_entropy", a->plane ? "mean+" : "", a->has_bias ? "+add" : "");
    if (a->tail.program.n_steps) esker__text_add(text, "+matmul");
    esker__program_names(&a->tail.program, text);
}

/* ---- Lowering ---- */

#define SHARED_BYTES 9600 /* of partial sums: with the rest inside of the 16 KiB that every device has */
#define MOST_SUMS    8    /* of an invocation for each row */

typedef struct shape_of_group {
    uint32_t size, rows, lanes, classes, mean_lanes; /* KL, CB and PL of the kernel the last three */
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

/* The mean loss and the count, from what each group found: together where they lie together. */
static esker_status finish(esker__lowering *lowering, const esker_node *node, esker__value losses, uint32_t partials,
                           uint32_t right_at)
{
    enum { SPAN_BYTES = 4096 };
    const esker_node *loss = esker__output((esker_node *)node, LOSS), *right = esker__output((esker_node *)node, RIGHT);
    bool count = esker__output_is_used(lowering, node, RIGHT);
    if (!esker__output_is_used(lowering, node, LOSS)) {
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
    sizes s = sizes_of(node->inputs[1], node->inputs[2]);
    bool vec = s.k % 4 == 0 && esker__lowering_family(lowering) != ESKER__FAMILY_MIDGARD; /* which would spill */
    uint32_t units = (uint32_t)(vec ? s.k / 4 : s.k);
    bool vec_x = attr->plane % 4 == 0;
    shape_of_group g = choose_group(lowering, &s, units, (uint32_t)(vec_x ? attr->plane / 4 : attr->plane));
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
    if (attr->plane)
        esker__text_add(&defines, "PLANE %d\nCHANNELS %u\nPL %u\nVECX %d\n", (int)attr->plane, (unsigned)s.k, g.mean_lanes,
                        vec_x);
    uint32_t bias_step = 0;
    if (attr->has_bias) {
        bias_step = esker__elems(&node->inputs[3]->type.shape) > 1;
        esker__text_add(&defines, "BIAS %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__read(lowering, node->inputs[3]);
    }
    if (esker__output_is_used(lowering, node, GRAD)) {
        esker__text_add(&defines, "GRAD %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, GRAD));
    }
    if (attr->plane && esker__output_is_used(lowering, node, MEAN)) {
        esker__text_add(&defines, "MEAN %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, MEAN));
    }
    if (esker__output_is_used(lowering, node, INPUT_GRAD)) {
        esker__tail_code(&attr->tail, attr->plane ? vec_x : vec, esker__tail_operands(lowering, &attr->tail, node, &d),
                         &defines);
        esker__text_add(&defines, "INPUT_GRAD %d\n", d.n_operands);
        d.operands[d.n_operands++] = esker__write(lowering, node);
    }
    uint32_t params[] = {d.groups[0], (uint32_t)s.rows, units,      bias_step,
                         partials,    right_at,         0x7fc00000u /* a quiet NaN */};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    d.defines = defines.chars;
    cost(node, &d.cost);
    st = defines.failed ? esker__fail_memory(defines.capacity, "a kernel's definitions") : esker__emit(lowering, &d);
    esker__text_finish(&defines);
    return st == ESKER_OK ? finish(lowering, node, losses, partials, right_at) : st;
}

static const esker__op linear_cross_entropy = {
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

/* ---- Fusion ---- */

static const esker_node *under_views(const esker_node *x)
{
    while (x->op->flags & ESKER__OP_VIEW) x = x->inputs[0];
    return x;
}

/* Whether the product that became `product` is a w' + bias of sizes that suit the kernel. */
static bool suits(const esker_node *product, const esker_node *labels)
{
    if (product->op != &esker__op_matmul || product->producer != product) return false;
    const esker__matmul_attr *attr = product->attr;
    if (attr->transpose_a || !attr->transpose_b || attr->sum_batch || attr->sums_a || attr->tail.program.n_steps)
        return false;
    const esker_node *weight = product->inputs[1];
    if (weight->type.shape.rank != 2) return false;
    sizes s = sizes_of(weight, labels);
    return s.classes <= MOST_CLASSES && s.rows <= MOST_ROWS && s.rows * s.classes <= MOST_LOGITS && s.k <= MOST_TERMS;
}

/* Whether nobody but `n` nodes reads these logits, through whatever shapes. */
static bool are_read_by(const esker_node *logits, int n, const esker__fusion *fusion)
{
    if (fusion->n_users[logits->id] != n) return false;
    while (logits->op->flags & ESKER__OP_VIEW)
        if (fusion->n_users[(logits = logits->inputs[0])->id] != 1) return false;
    return true;
}

/* The product of the loss's gradient by the weight: the gradient of a; or NULL. */
static const esker_node *find_input_grad(const esker_node *node, const esker_node *product, const esker__fusion *fusion)
{
    const esker_graph *graph = node->graph;
    for (size_t id = (size_t)node->id + 2; id < graph->n_nodes; id++) {
        const esker_node *g = graph->nodes[id];
        if (g->op != &esker__op_matmul || !fusion->n_users[id] || fusion->map[id]) continue;
        const esker__matmul_attr *attr = g->attr;
        if (attr->transpose_a || attr->transpose_b || under_views(g->inputs[0])->id != node->id + 1) continue;
        if (fusion->map[g->inputs[1]->id] == product->inputs[1] &&
            esker_shape_equal(&g->type.shape, &product->inputs[0]->type.shape))
            return g;
    }
    return NULL;
}

/* The only node that reads `x`, or NULL. */
static const esker_node *only_user(const esker_node *x, const esker__fusion *fusion, int *out_which)
{
    const esker_graph *graph = x->graph;
    if (fusion->n_users[x->id] != 1) return NULL;
    for (size_t id = (size_t)x->id + 1; id < graph->n_nodes; id++)
        for (int j = 0; fusion->n_users[id] && j < graph->nodes[id]->n_inputs; j++)
            if (graph->nodes[id]->inputs[j] == x) {
                *out_which = j;
                return graph->nodes[id];
            }
    return NULL;
}

static esker_node *shaped(esker_node *x, const esker_shape *shape)
{
    return x && !esker_shape_equal(&x->type.shape, shape) ? esker_reshape(x, shape) : x;
}

/* Whether `x`, whose elements are one for each mean of `node`, is seen as they stand in what the means are of. */
static bool stands_in(const esker_node *x, const esker_shape *shape, int32_t plane)
{
    const esker_shape *own = &x->type.shape;
    int64_t n = 1;
    int axis = shape->rank;
    while (axis > 0 && n < plane) n *= shape->dims[--axis];
    for (int i = 0; i < shape->rank; i++) {
        int at = i - shape->rank + own->rank;
        if ((at < 0 ? 1 : own->dims[at]) != (i < axis ? shape->dims[i] : 1)) return false;
    }
    return own->rank <= shape->rank;
}

/*
 * What follows the gradient g of a alone, taken into a tail of elements of `shape` as long as its other operands are there; returns the last. Views stand
 * in the way of none: operands are seen in that shape. With planes g is a value for each, which whatever is of `shape` at last spreads; NULL if nothing does.
 */
static const esker_node *take_tail(const esker_node *g, const esker_shape *shape, uint32_t own_blocks,
                                   const esker__fusion *fusion, attributes *attr, esker_node **inputs, int *n_inputs)
{
    enum { MOST = 3 };
    const esker_node *last = attr->plane ? NULL : g, *user;
    int which;
    int64_t n = esker__elems(shape);
    for (const esker_node *x = g; (user = only_user(x, fusion, &which)) && !fusion->map[user->id]; x = user) {
        bool whole = esker__elems(&user->type.shape) == n, spread = whole && esker__elems(&x->type.shape) != n;
        if (spread && !stands_in(x, shape, attr->plane)) break;
        if (user->op == &esker__op_expand && whole && esker_shape_equal(&user->type.shape, shape)) {
            last = user;
            continue;
        }
        if (user->op->flags & ESKER__OP_VIEW) continue;
        esker_node like[MOST], *likes[MOST], seen = *user;
        bool fits = user->op->joins && user->n_inputs <= MOST && (whole || (attr->plane && user->n_inputs == 1));
        for (int j = 0; fits && j < user->n_inputs; j++) {
            const esker_node *input = user->inputs[j];
            fits = j == which || (esker__elems(&input->type.shape) == n && fusion->map[input->id]);
            like[j] = *input;
            like[j].type.shape = *shape;
            likes[j] = input == user->inputs[which] ? &like[which] : &like[j];
        }
        if (!fits || (!whole && esker__elems(&user->type.shape) != esker__elems(&g->type.shape))) break;
        if (spread && !esker_shape_equal(&user->type.shape, shape)) break;
        seen.type.shape = *shape;
        seen.inputs = likes;
        attributes with = *attr;
        if (!esker__tail_absorb(&with.tail, shape, -1, own_blocks, &seen, which, fusion)) break;
        for (int j = 0; j < user->n_inputs; j++)
            if (j != which) inputs[(*n_inputs)++] = shaped(fusion->map[user->inputs[j]->id], shape);
        *attr = with;
        if (whole) last = user;
    }
    return last;
}

/* ---- Means ---- */

/* The mean of planes that the rows of `a` are, or NULL. */
static const esker_node *mean_of(const esker_node *a, const sizes *s)
{
    const esker_node *mean = under_views(a);
    if (mean->op != &esker__op_mean || mean->producer != mean) return NULL;
    const esker_shape *x = &mean->inputs[0]->type.shape;
    uint32_t mask = ((const esker__reduce_attr *)mean->attr)->mask, all = (1u << x->rank) - 1;
    bool last_axes = mask && (((all & ~mask) + 1) & (all & ~mask)) == 0;
    int64_t n = esker__elems(x) / (s->rows * s->k);
    return last_axes && s->k <= MOST_MEANS && s->k * n <= MOST_READ && esker__elems(&mean->type.shape) == s->rows * s->k
               ? mean
               : NULL;
}

/* Whether all that was copied so far reads the means through views, or is the product with the weight. */
static bool are_read_later(const esker_node *node, const esker_node *mean, const esker_node *weight,
                           const esker__fusion *fusion)
{
    const esker_graph *graph = node->graph;
    for (size_t id = 0; id < graph->n_nodes; id++) {
        const esker_node *user = graph->nodes[id];
        if (!fusion->n_users[id] || !fusion->map[id] || user == node || (user->op->flags & ESKER__OP_VIEW)) continue;
        for (int j = 0; j < user->n_inputs; j++) {
            const esker_node *input = fusion->map[user->inputs[j]->id];
            if (!input || under_views(input) != mean) continue;
            if (user->op != &esker__op_matmul || fusion->map[user->inputs[1]->id] != weight) return false;
        }
    }
    return true;
}

static void replace_means(const esker_node *node, const esker_node *mean, esker_node *made, const esker__fusion *fusion)
{
    for (size_t id = 0; id < node->graph->n_nodes; id++)
        if (fusion->map[id] && under_views(fusion->map[id]) == mean)
            fusion->map[id] = shaped(esker__output(made, MEAN), &fusion->map[id]->type.shape);
}

/* The node, with the means in it or without; NULL: it does not fit. */
static esker_node *try_fused(esker_graph *graph, const esker_node *node, const esker_node *product, const esker_node *mean,
                             esker_node *labels, const esker__fusion *fusion)
{
    attributes attr = {.has_bias = ((const esker__matmul_attr *)product->attr)->tail.has_bias};
    sizes s = sizes_of(product->inputs[1], labels);
    esker_node *own[4 + ESKER__PROGRAM_INPUTS] = {mean ? mean->inputs[0] : product->inputs[0], product->inputs[1], labels};
    int n_inputs = 3;
    if (attr.has_bias) own[n_inputs++] = product->inputs[2];
    if (mean) attr.plane = (int32_t)(esker__elems(&own[0]->type.shape) / (s.rows * s.k));
    bool trains = fusion->n_users[node->id + 1] > 0;
    uint32_t blocks = 4 + (attr.has_bias != 0) + trains + (mean && trains);
    if (blocks > fusion->storage_blocks) return NULL;
    const esker_node *g = blocks < fusion->storage_blocks ? find_input_grad(node, product, fusion) : NULL;
    const esker_node *last = g ? take_tail(g, &own[0]->type.shape, blocks + 1, fusion, &attr, own, &n_inputs) : NULL;
    if (mean && trains && !last) return NULL; /* the gradients of the means alone would be many dispatches' work again */
    esker_node *made = esker__record_in(graph, &linear_cross_entropy, &attr, own, n_inputs);
    if (!made) return NULL;
    if (product->label) esker_label(made, product->label);
    /* Those in front of the last in the tail are read by nobody else. */
    for (int which; g && last; g = g == last ? NULL : only_user(g, fusion, &which))
        fusion->map[g->id] = g == last || esker__elems(&g->type.shape) == esker__elems(&made->type.shape)
                                 ? shaped(made, &g->type.shape)
                                 : made;
    if (mean) replace_means(node, mean, made, fusion);
    return made;
}

esker_node *esker__fused_linear_cross_entropy(esker_graph *graph, const esker_node *node, const esker_node *partner,
                                              esker_node *const *inputs, const esker__fusion *fusion)
{
    const esker_node *product = under_views(inputs[0]);
    if (!suits(product, inputs[1]) || (partner && fusion->map[partner->id])) return NULL;
    if (!are_read_by(node->inputs[0], 1 + (partner != NULL), fusion)) return NULL;
    sizes s = sizes_of(product->inputs[1], inputs[1]);
    const esker_node *mean = mean_of(product->inputs[0], &s);
    if (mean && !are_read_later(node, mean, product->inputs[1], fusion)) mean = NULL;
    esker_node *made = mean ? try_fused(graph, node, product, mean, inputs[1], fusion) : NULL;
    if (!made) made = try_fused(graph, node, product, NULL, inputs[1], fusion);
    if (!made) return NULL;
    if (partner) fusion->map[partner->id] = esker__output(made, RIGHT);
    return esker__output(made, LOSS);
}
