/*
 * Scaled dot-product attention and its gradients. The matrix of probabilities is never stored: the forward pass keeps the
 * logarithm of each row's sum (output 1), from which the backward pass makes the probabilities again.
 * Source     Vaswani and others 2017; Milakov, Gimelshein 2018; Dao and others 2022, FlashAttention.
 */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define MAX_ROWS 32768 /* keys or queries of a head: one group walks through all of them */
#define MAX_HEAD 256   /* elements of a head: 64 lanes of vec4 */

typedef struct sizes {
    int64_t heads, tq, tk, d; /* heads of all samples */
    int64_t between;          /* rows from one of a head to the next: 1, or with rows_first the heads of a sample */
    bool causal;
    double scale;
} sizes;

static sizes sizes_of(const esker_node *node)
{
    const int64_t *q = node->inputs[0]->type.shape.dims, *k = node->inputs[1]->type.shape.dims;
    const esker__attention_attr *a = node->attr;
    int row = a->rows_first ? 1 : 2;
    return (sizes){q[0] * q[3 - row], q[row], k[row], q[3], a->rows_first ? q[2] : 1, a->causal != 0, a->scale};
}

/* Row `t` of `n` of a head, in the order of memory. */
static int64_t row_at(const sizes *s, int64_t head, int64_t t, int64_t n)
{
    return (head / s->between * n + t) * s->between + head % s->between;
}

/* ---- Shapes ---- */

static esker_status infer_qkv(const char *op, const esker__attention_attr *attr, esker_node *const *inputs)
{
    const esker_shape *q = &inputs[0]->type.shape, *k = &inputs[1]->type.shape, *v = &inputs[2]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; i < 3; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: takes float32 alone", esker__signature(text, op, inputs, 3));
    if (q->rank != 4 || k->rank != 4 || v->rank != 4)
        return esker__fail(ESKER_ERR_INVALID, "%s: q, k and v must be [batch, heads, rows, size]",
                           esker__signature(text, op, inputs, 3));
    if (!esker_shape_equal(k, v))
        return esker__fail(ESKER_ERR_INVALID, "%s: k and v must have equal shapes", esker__signature(text, op, inputs, 3));
    int row = attr->rows_first ? 1 : 2;
    for (int i = 0; i < 4; i++)
        if (i != row && q->dims[i] != k->dims[i])
            return esker__fail(ESKER_ERR_INVALID, "%s: q and k must agree but for the rows; axis %d is %lld and %lld",
                               esker__signature(text, op, inputs, 3), i, (long long)q->dims[i], (long long)k->dims[i]);
    if (q->dims[3] > MAX_HEAD)
        return esker__fail(ESKER_ERR_LIMIT, "%s: heads of %lld elements, at most %d", esker__signature(text, op, inputs, 3),
                           (long long)q->dims[3], MAX_HEAD);
    if (q->dims[row] > MAX_ROWS || k->dims[row] > MAX_ROWS)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld queries and %lld keys, at most %d of each",
                           esker__signature(text, op, inputs, 3), (long long)q->dims[row], (long long)k->dims[row],
                           MAX_ROWS);
    return ESKER_OK;
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__attention_attr *a = attr;
    (void)n_inputs;
    esker_status st = infer_qkv("attention", a, inputs);
    if (st != ESKER_OK) return st;
    char text[ESKER__SIGNATURE_BYTES];
    if (!isfinite(a->scale))
        return esker__fail(ESKER_ERR_INVALID, "%s: the scale is %g, it must be finite",
                           esker__signature(text, "attention", inputs, 3), (double)a->scale);
    out[0] = inputs[0]->type;
    out[1] = inputs[0]->type;
    out[1].shape.rank = 3;
    out[1].shape.dims[3] = 0;
    if (a->rows_first) { /* the logarithms are a head's one after the other in any case */
        out[1].shape.dims[1] = inputs[0]->type.shape.dims[2];
        out[1].shape.dims[2] = inputs[0]->type.shape.dims[1];
    }
    return ESKER_OK;
}

/* Inputs: q, k, v, out, lse, the upstream gradient. */
static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    esker_status st = infer_qkv("attention_grad", attr, inputs);
    if (st != ESKER_OK) return st;
    const esker_shape *q = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    if (!esker_shape_equal(q, &inputs[3]->type.shape) || !esker_shape_equal(q, &inputs[5]->type.shape))
        return esker__fail(ESKER_ERR_INVALID, "%s: q, the result and the gradient must have equal shapes",
                           esker__signature(text, "attention_grad", inputs, n_inputs));
    for (int i = 0; i < 3; i++) out[i] = inputs[i]->type;
    return ESKER_OK;
}

/* ---- References: the whole matrix, row by row ---- */

static double dot(const double *a, const double *b, int64_t n, double *size)
{
    double sum = 0;
    *size = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
        *size += fabs(a[i] * b[i]);
    }
    return sum;
}

static int64_t keys_of(const sizes *s, int64_t query)
{
    return s->causal && query + 1 < s->tk ? query + 1 : s->tk;
}

/*
 * What is wrong with a score, in units of eps, goes into the exponential: `blur` of a key is the size of its score's terms and
 * of the exponent (exp loses 3 + 2 |x| units). The sum below the line has the mean blur under the probabilities.
 */
static void reference(const esker__reference *r)
{
    sizes s = sizes_of(r->node);
    for (int64_t row = 0; row < s.heads * s.tq; row++) {
        int64_t head = row / s.tq, n = keys_of(&s, row % s.tq), step = s.between * s.d;
        int64_t at = row_at(&s, head, row % s.tq, s.tq) * s.d, first = row_at(&s, head, 0, s.tk) * s.d;
        const double *q = r->in[0] + at, *k = r->in[1] + first, *v = r->in[2] + first;
        double max = -INFINITY, sum = 0, mean_blur = 0, size;
        for (int64_t j = 0; j < n; j++) max = fmax(max, s.scale * dot(q, k + j * step, s.d, &size));
        for (int64_t j = 0; j < n; j++) {
            double score = s.scale * dot(q, k + j * step, s.d, &size), e = exp(score - max);
            sum += e;
            mean_blur += e * (1 + max - score + fabs(s.scale) * size);
        }
        mean_blur /= sum;
        for (int64_t c = 0; c < s.d; c++) {
            r->out[0][at + c] = 0;
            if (r->magnitude[0]) r->magnitude[0][at + c] = 0;
        }
        for (int64_t j = 0; j < n; j++) {
            double score = s.scale * dot(q, k + j * step, s.d, &size), p = exp(score - max) / sum;
            double blur = 1 + max - score + fabs(s.scale) * size + mean_blur;
            for (int64_t c = 0; c < s.d; c++) {
                r->out[0][at + c] += p * v[j * step + c];
                if (r->magnitude[0]) r->magnitude[0][at + c] += p * blur * fabs(v[j * step + c]);
            }
        }
        if (r->out[1]) r->out[1][row] = max + log(sum);
        if (r->magnitude[1]) r->magnitude[1][row] = fabs(max) + log(sum) + mean_blur;
    }
}

static void zero(double *values, int64_t n)
{
    for (int64_t i = 0; values && i < n; i++) values[i] = 0;
}

static void add_scaled(double *to, double *size_to, const double *from, int64_t n, double factor, double size)
{
    for (int64_t i = 0; i < n; i++) {
        if (to) to[i] += factor * from[i];
        if (size_to) size_to[i] += size * fabs(from[i]);
    }
}

static double *row_of(double *values, int64_t row, int64_t d)
{
    return values ? values + row * d : NULL;
}

static void reference_grad(const esker__reference *r)
{
    sizes s = sizes_of(r->node);
    for (int i = 0; i < 3; i++) {
        int64_t n = s.heads * (i ? s.tk : s.tq) * s.d;
        zero(r->out[i], n);
        zero(r->magnitude[i], n);
    }
    for (int64_t row = 0; row < s.heads * s.tq; row++) {
        int64_t head = row / s.tq, n = keys_of(&s, row % s.tq), at = row_at(&s, head, row % s.tq, s.tq);
        const double *q = r->in[0] + at * s.d, *g = r->in[5] + at * s.d;
        double lse = r->in[4][row], delta_size, delta = dot(g, r->in[3] + at * s.d, s.d, &delta_size);
        for (int64_t key = 0; key < n; key++) {
            int64_t j = row_at(&s, head, key, s.tk);
            const double *k = r->in[1] + j * s.d, *v = r->in[2] + j * s.d;
            double score_size, inner_size, score = s.scale * dot(q, k, s.d, &score_size),
                                           inner = dot(g, v, s.d, &inner_size);
            double p = exp(score - lse), blur = 1 + fabs(score - lse) + fabs(s.scale) * score_size;
            double e = s.scale * p * (inner - delta);
            double e_size = fabs(s.scale) * p * (inner_size + delta_size + fabs(inner - delta) * blur);
            add_scaled(row_of(r->out[0], at, s.d), row_of(r->magnitude[0], at, s.d), k, s.d, e, e_size);
            add_scaled(row_of(r->out[1], j, s.d), row_of(r->magnitude[1], j, s.d), q, s.d, e, e_size);
            add_scaled(row_of(r->out[2], j, s.d), row_of(r->magnitude[2], j, s.d), g, s.d, p, p * blur);
        }
    }
}

static double tolerance(const esker_node *node)
{
    sizes s = sizes_of(node);
    return 2 * sqrt((double)(s.tq > s.tk ? s.tq : s.tk)) + 2 * sqrt((double)s.d) + 16;
}

/* ---- Cost ---- */

static double pairs(const sizes *s)
{
    double n = (double)s->heads * (double)s->tq * (double)s->tk;
    return s->causal ? n * 0.5 : n;
}

static void cost(const esker_node *node, esker__cost *out)
{
    sizes s = sizes_of(node);
    *out = (esker__cost){pairs(&s) * (4 * (double)s.d + 8), 8 * (double)s.heads * (double)(s.tq + s.tk) * (double)s.d};
}

static void cost_grad(const esker_node *node, esker__cost *out)
{
    sizes s = sizes_of(node);
    *out = (esker__cost){pairs(&s) * (16 * (double)s.d + 24), 16 * (double)s.heads * (double)(s.tq + s.tk) * (double)s.d};
}

/* ---- Lowering ---- */

#define GROUP 64  /* invocations */
#define PAIRS 256 /* of a group's tile */
#define MOST_GROUPS \
    8192             /* of a dispatch: a driver may reserve each group's shared memory, 1 to 1.3 KiB, for the whole grid */
#define PACK_ROWS 64 /* of a group of attention/pack */

typedef struct layout {
    sizes s;
    uint32_t d4;
    int cols;
    bool vec;
} layout;

static esker_status make_layout(const esker_node *node, layout *out)
{
    sizes s = sizes_of(node);
    *out = (layout){.s = s, .d4 = (uint32_t)((s.d + 3) / 4), .cols = 4, .vec = s.d % 4 == 0};
    while (out->cols < (int)out->d4) out->cols *= 2;
    /* What is packed is the largest that a kernel indexes. */
    int64_t n = s.heads * (s.tq + s.tk) * 3 * 4 * out->d4;
    if (n > INT32_MAX) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__fail(ESKER_ERR_LIMIT, "%s: the rows make %lld elements together, the kernels index at most %d",
                           esker__signature(text, node->op->name, node->inputs, 3), (long long)n, INT32_MAX);
    }
    return ESKER_OK;
}

/* Several of them, if they lie one behind the other: `n` of the node's inputs from `first` on, with equal shapes. */
static bool lie_together(esker__lowering *lowering, const esker_node *node, int first, int n)
{
    uint64_t distance;
    const esker_node *x = node->inputs[first];
    uint64_t n_bytes = 4 * (uint64_t)esker__elems(&x->type.shape);
    for (int i = 1; i < n; i++) {
        const esker_node *y = node->inputs[first + i];
        if (!esker_shape_equal(&x->type.shape, &y->type.shape) ||
            !esker__lie_together(lowering, x, y, UINT64_MAX, &distance) || distance != (uint64_t)i * n_bytes)
            return false;
    }
    return (uint64_t)n * n_bytes <= esker__lowering_limits(lowering)->storage_block_bytes;
}

/* The floats from `at` on where bindings may begin there, so that what is written beside them needs no barrier; else all. */
static esker__operand write_rows(esker__value to, uint64_t at, uint64_t n)
{
    if (at % 64 || n % 64) return (esker__operand){.value = to, .write = true};
    return (esker__operand){.value = to, .write = true, .offset_bytes = 4 * at, .n_bytes = 4 * n};
}

/* x's rows to float `at` of `to`; with side (1: copied, 2: multiplied) a number for each row, from float `side_at` on. */
static esker_status pack(esker__lowering *lowering, const layout *l, const esker_node *x, int64_t rows, esker__value to,
                         uint64_t at, const esker_node *side, int how, uint64_t side_at)
{
    char defines[24];
    uint32_t params[] = {0,
                         (uint32_t)rows,
                         (uint32_t)l->s.d,
                         l->d4,
                         (uint32_t)at,
                         (uint32_t)side_at,
                         (uint32_t)(esker__elems(&x->type.shape) / (l->s.heads * l->s.d)),
                         (uint32_t)l->s.between};
    double n = (double)rows * (double)l->s.d;
    esker__operand from = esker__read(lowering, x), out = {.value = to, .write = true};
    if (!side) out = write_rows(to, at, (uint64_t)rows * 4 * l->d4);
    params[4] -= (uint32_t)(out.offset_bytes / 4);
    if ((uint64_t)(rows * l->s.d) > (uint64_t)esker__elems(&x->type.shape)) { /* those behind it, too */
        from.n_bytes = 4 * (uint64_t)(rows * l->s.d);
        from.span = true;
    }
    snprintf(defines, sizeof defines, "SIDE %d\n", side ? how : 0);
    esker__dispatch_desc desc = {.kernel = "attention/pack",
                                 .defines = defines,
                                 .operands = {from},
                                 .n_operands = 1,
                                 .params = params,
                                 .n_params = 8,
                                 .cost = {n, 12 * n}};
    if (side) desc.operands[desc.n_operands++] = esker__read(lowering, side);
    desc.operands[desc.n_operands++] = out;
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)rows, PACK_ROWS), desc.groups);
    if (st != ESKER_OK) return st;
    params[0] = desc.groups[0];
    return esker__emit(lowering, &desc);
}

/* The dispatches over all tiles of all heads; params[0] and [1] are the first group and the tiles of a head. */
static esker_status emit_tiles(esker__lowering *lowering, const layout *l, esker__dispatch_desc *desc, uint32_t *params,
                               int64_t rows, int own, double flops_a_pair)
{
    uint64_t tiles = esker__ceil_div((uint64_t)rows, (uint64_t)own), groups = tiles * (uint64_t)l->s.heads;
    double flops = pairs(&l->s) * flops_a_pair;
    params[1] = (uint32_t)tiles;
    desc->params = params;
    esker_status st = ESKER_OK;
    for (uint64_t first = 0; st == ESKER_OK && first < groups; first += MOST_GROUPS) {
        uint64_t n = groups - first < MOST_GROUPS ? groups - first : MOST_GROUPS;
        params[0] = (uint32_t)first;
        desc->groups[0] = (uint32_t)n;
        desc->groups[1] = desc->groups[2] = 1;
        double share = (double)n / (double)groups;
        desc->cost = (esker__cost){flops * share,
                                   16 * (double)l->s.heads * (double)(l->s.tq + l->s.tk) * (double)l->s.d * share};
        st = esker__emit(lowering, desc);
    }
    return st;
}

static uint32_t bits(double value)
{
    union {
        float f;
        uint32_t u;
    } both = {(float)value};
    return both.u;
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    layout l;
    esker_status st = make_layout(node, &l);
    if (st != ESKER_OK) return st;
    bool lse = esker__output_is_used(lowering, node, 1);
    /* The logarithms need a fifth block, and more registers than Midgard has beside four addresses; it has groups of 128 alone. */
    const esker_limits *limits = esker__lowering_limits(lowering);
    bool small = limits->group_invocations < 256;
    bool packed = !l.vec || (lse && limits->storage_blocks < 5) || (small && (lse || l.s.between > 1));
    uint64_t rows_q = (uint64_t)(l.s.heads * l.s.tq), rows_k = (uint64_t)(l.s.heads * l.s.tk);
    uint64_t k_at = rows_q * l.d4, v_at = k_at + rows_k * l.d4; /* in vec4 */
    int own = GROUP / l.cols * 2;
    char defines[96];
    snprintf(defines, sizeof defines, "COLS %d\nROWS 2\nVEC %d\nCAUSAL %d\nPACKED %d\nLSE %d\nBETWEEN %d\n", l.cols, l.vec,
             l.s.causal, packed, lse, l.s.between > 1);
    uint32_t params[] = {0,
                         0,
                         (uint32_t)l.s.tq,
                         (uint32_t)l.s.tk,
                         (uint32_t)l.s.d,
                         l.d4,
                         (uint32_t)k_at,
                         (uint32_t)v_at,
                         (uint32_t)(PAIRS / own),
                         bits(l.s.scale),
                         (uint32_t)l.s.between};
    esker__dispatch_desc desc = {.kernel = "attention/forward", .defines = defines, .n_params = 11};
    if (packed) {
        esker__value qkv = esker__scratch(lowering, (v_at + rows_k * l.d4) * 16);
        bool together = lie_together(lowering, node, 0, 3);
        st = pack(lowering, &l, node->inputs[0], (int64_t)(together ? 3 * rows_q : rows_q), qkv, 0, NULL, 0, 0);
        if (st == ESKER_OK && !together)
            st = pack(lowering, &l, node->inputs[1], (int64_t)rows_k, qkv, 4 * k_at, NULL, 0, 0);
        if (st == ESKER_OK && !together)
            st = pack(lowering, &l, node->inputs[2], (int64_t)rows_k, qkv, 4 * v_at, NULL, 0, 0);
        if (st != ESKER_OK) return st;
        desc.operands[desc.n_operands++] = (esker__operand){.value = qkv};
    } else {
        for (int i = 0; i < 3; i++) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[i]);
    }
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    if (lse) desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    return emit_tiles(lowering, &l, &desc, params, l.s.tq, own, 4 * (double)l.s.d + 8);
}

/* What the gradients read: packed, or as it is. */
typedef struct grad_inputs {
    esker__value qg, kv;
    bool packed;
} grad_inputs;

/* One of dq, dk and dv, if somebody reads it. */
static esker_status lower_one(esker__lowering *lowering, const esker_node *node, const layout *l, const grad_inputs *in,
                              int want)
{
    if (!esker__output_is_used(lowering, node, want)) return ESKER_OK;
    const sizes *s = &l->s;
    int64_t own_n = want ? s->tk : s->tq, other_n = want ? s->tq : s->tk;
    /*
     * A group of 64 lanes for a row would need two rows, whose sums spill on V3D beside the products of dq and dk: packed, the
     * row is done in two pieces there, each of which makes the products again.
     */
    int cols = in->packed && want < 2 && l->cols > 32 ? 32 : l->cols;
    int lane_rows = want == 2 || cols == 64 ? 2 : 1, own = GROUP / cols * lane_rows;
    char defines[96];
    snprintf(defines, sizeof defines, "COLS %d\nROWS %d\nVEC %d\nCAUSAL %d\nWANT %d\nPACKED %d\nBETWEEN %d\n", cols,
             lane_rows, l->vec, s->causal, want, in->packed, s->between > 1);
    uint32_t params[] = {0,
                         0,
                         (uint32_t)own_n,
                         (uint32_t)other_n,
                         (uint32_t)(s->heads * own_n),
                         (uint32_t)(s->heads * other_n),
                         (uint32_t)s->d,
                         l->d4,
                         (uint32_t)(PAIRS / own),
                         bits(s->scale),
                         (uint32_t)s->between,
                         0};
    esker__dispatch_desc desc = {.kernel = "attention/grad", .defines = defines, .n_params = 12};
    if (in->packed) {
        desc.operands[desc.n_operands++] = (esker__operand){.value = want ? in->kv : in->qg};
        desc.operands[desc.n_operands++] = (esker__operand){.value = want ? in->qg : in->kv};
    } else {
        static const int order[] = {0, 5, 1, 2, 3, 4}; /* q, g, k, v, out, lse */
        for (int i = 0; i < 6; i++)
            if (want < 2 || (order[i] != 2 && order[i] != 3))
                desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[order[i]]);
    }
    desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, want));
    esker_status st = ESKER_OK;
    for (uint32_t first = 0; st == ESKER_OK && first < l->d4; first += (uint32_t)cols) {
        params[11] = first;
        st = emit_tiles(lowering, l, &desc, params, own_n, own, (want == 2 ? 4 : 6) * (double)s->d + 8);
    }
    return st;
}

static esker_status lower_grad(esker__lowering *lowering, const esker_node *node)
{
    layout l;
    esker_status st = make_layout(node, &l);
    if (st != ESKER_OK) return st;
    esker_node *const *in = node->inputs;
    uint64_t rows_q = (uint64_t)(l.s.heads * l.s.tq), rows_k = (uint64_t)(l.s.heads * l.s.tk);
    uint64_t second_q = 4 * rows_q * l.d4, second_k = 4 * rows_k * l.d4, stats = 2 * second_q; /* in floats */
    /* Heads beyond 128 elements spill on V3D like that. */
    const esker_limits *limits = esker__lowering_limits(lowering);
    grad_inputs from = {.packed = !l.vec || limits->storage_blocks < 7 ||
                                  (l.cols == 64 && limits->group_invocations < 1024)};
    if (from.packed) {
        from.qg = esker__scratch(lowering, 4 * (stats + 4 * rows_q));
        from.kv = esker__scratch(lowering, 8 * second_k);
        st = pack(lowering, &l, in[0], (int64_t)rows_q, from.qg, 0, in[4], 1, stats);
        if (st == ESKER_OK) st = pack(lowering, &l, in[5], (int64_t)rows_q, from.qg, second_q, in[3], 2, stats + 1);
        bool together = lie_together(lowering, node, 1, 2);
        if (st == ESKER_OK)
            st = pack(lowering, &l, in[1], (int64_t)(together ? 2 * rows_k : rows_k), from.kv, 0, NULL, 0, 0);
        if (st == ESKER_OK && !together) st = pack(lowering, &l, in[2], (int64_t)rows_k, from.kv, second_k, NULL, 0, 0);
    }
    for (int want = 0; st == ESKER_OK && want < 3; want++) st = lower_one(lowering, node, &l, &from, want);
    return st;
}

/* ---- Without transpositions ---- */

static bool exchanges_rows(const esker_node *x)
{
    if (x->op != &esker__op_transpose) return false;
    const esker__transpose_attr *t = x->attr;
    return t->rank == 4 && t->order[0] == 0 && t->order[1] == 2 && t->order[2] == 1 && t->order[3] == 3;
}

/* Heads are mostly cut out of rows by a transposition of each of q, k and v: the kernels can do without. */
static unsigned untranspose(esker__attention_attr *attr, esker_node **inputs, const int *which, int n, unsigned outputs)
{
    if (attr->rows_first) return 0;
    for (int i = 0; i < n; i++)
        if (!exchanges_rows(inputs[which[i]])) return 0;
    for (int i = 0; i < n; i++) inputs[which[i]] = inputs[which[i]]->inputs[0];
    attr->rows_first = 1;
    return outputs;
}

static unsigned untransposed(void *attr, esker_node **inputs)
{
    return untranspose(attr, inputs, (const int[]){0, 1, 2}, 3, 1);
}

static unsigned untransposed_grad(void *attr, esker_node **inputs)
{
    return untranspose(attr, inputs, (const int[]){0, 1, 2, 3, 5}, 5, 7);
}

/* ---- The operations ---- */

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *inputs[] = {node->inputs[0], node->inputs[1], node->inputs[2], node, esker__output(node, 1), grad};
    /* One node for all three: recorded for each of them, and merged when a plan is made. */
    return esker__output(esker__record(&esker__op_attention_grad, node->attr, inputs, 6), input);
}

const esker__op esker__op_attention = {
    .name = "attention",
    .n_inputs = 3,
    .n_outputs = 2,
    .attr_bytes = sizeof(esker__attention_attr),
    .infer = infer,
    .gradient = gradient,
    .reference = reference,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
    .untransposed = untransposed,
};

const esker__op esker__op_attention_grad = {
    .name = "attention_grad",
    .n_inputs = 6,
    .n_outputs = 3,
    .attr_bytes = sizeof(esker__attention_attr),
    .infer = infer_grad,
    .reference = reference_grad,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_grad,
    .lower = lower_grad,
    .untransposed = untransposed_grad,
};

esker_node *esker_attention(esker_node *q, esker_node *k, esker_node *v, const esker_attention_desc *desc)
{
    if (!q || !k || !v) return NULL;
    esker__attention_attr attr = {.causal = desc && desc->causal, .scale = desc ? desc->scale : 0};
    int rank = q->type.shape.rank;
    if (attr.scale == 0) attr.scale = rank ? (float)(1 / sqrt((double)q->type.shape.dims[rank - 1])) : 1;
    esker_node *inputs[] = {q, k, v};
    return esker__record(&esker__op_attention, &attr, inputs, 3);
}
