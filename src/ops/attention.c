/*
 * Scaled dot-product attention and its gradients. The matrix of probabilities is never stored: the forward pass keeps the
 * logarithm of each row's sum (output 1), from which the backward pass makes the probabilities again.
 * Source     Vaswani and others 2017; Milakov, Gimelshein 2018; Dao and others 2022, FlashAttention.
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/attention.h"
#include "ops/move.h"
#include "plan/views.h"

#define MAX_ROWS 32768 /* keys or queries of a head: one group walks through all of them */
#define MAX_HEAD 256   /* elements of a head: 64 lanes of vec4 */

typedef esker__attention_sizes sizes;

/* The shape of q (0), k (1) or v (2). */
static esker_shape part_shape(const esker__attention_attr *attr, esker_node *const *inputs, int which)
{
    if (!attr->heads) return inputs[which]->type.shape;
    int64_t row = (int64_t)attr->all_heads * attr->size, n = esker__elems(&inputs[0]->type.shape) / row / attr->rows;
    return (esker_shape){4, {n, attr->rows, attr->heads, attr->size}};
}

esker__attention_sizes esker__attention_sizes_of(const esker_node *node)
{
    const esker__attention_attr *a = node->attr;
    const esker_shape q = part_shape(a, node->inputs, 0), k = part_shape(a, node->inputs, 1);
    int row = a->rows_first ? 1 : 2;
    int64_t between = a->rows_first ? q.dims[2] : 1;
    return (esker__attention_sizes){.heads = q.dims[0] * q.dims[3 - row],
                                    .tq = q.dims[row],
                                    .tk = k.dims[row],
                                    .d = q.dims[3],
                                    .between = between,
                                    .apart = a->heads ? a->all_heads : between,
                                    .out_apart = a->out_heads ? a->out_heads : between,
                                    .joint = a->heads != 0,
                                    .out_joint = a->out_heads != 0,
                                    .causal = a->causal != 0,
                                    .scale = a->scale};
}

/* Row `t` of `n` of a head, in the order of memory, where rows of one head are `apart` and the first head is number `first`. */
static int64_t row_at(const sizes *s, int64_t head, int64_t t, int64_t n, int64_t apart, int64_t first)
{
    return (head / s->between * n + t) * apart + first + head % s->between;
}

/* ---- Shapes ---- */

static esker_status infer_qkv(const char *op, const esker__attention_attr *attr, esker_node *const *inputs)
{
    const esker_shape parts[] = {part_shape(attr, inputs, 0), part_shape(attr, inputs, 1), part_shape(attr, inputs, 2)},
                      *q = &parts[0], *k = &parts[1], *v = &parts[2];
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; attr->heads && i < 3; i++)
        if (inputs[i] != inputs[0] || attr->first[i] < 0 || attr->first[i] + attr->heads > attr->all_heads ||
            esker__elems(q) * attr->all_heads != esker__elems(&inputs[0]->type.shape) * attr->heads)
            return esker__fail(ESKER_ERR_INTERNAL, "%s: heads %d to %d are no part of the rows",
                               esker__signature(text, op, inputs, 3), (int)attr->first[i],
                               (int)(attr->first[i] + attr->heads));
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
    out[0] = (esker__type){ESKER_DTYPE_F32, part_shape(a, inputs, 0)};
    out[1] = out[0];
    out[1].shape.rank = 3;
    out[1].shape.dims[3] = 0;
    if (a->rows_first) { /* the logarithms are a head's one after the other in any case */
        out[1].shape.dims[1] = out[0].shape.dims[2];
        out[1].shape.dims[2] = out[0].shape.dims[1];
    }
    return ESKER_OK;
}

/* Inputs: q, k, v, out, lse, the upstream gradient. */
static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__attention_attr *a = attr;
    esker_status st = infer_qkv("attention_grad", a, inputs);
    if (st != ESKER_OK) return st;
    const esker_shape q = part_shape(a, inputs, 0), k = part_shape(a, inputs, 1);
    char text[ESKER__SIGNATURE_BYTES];
    if (!esker_shape_equal(&q, &inputs[3]->type.shape) || !esker_shape_equal(&q, &inputs[5]->type.shape))
        return esker__fail(ESKER_ERR_INVALID, "%s: q, the result and the gradient must have equal shapes",
                           esker__signature(text, "attention_grad", inputs, n_inputs));
    if (a->out_heads) {
        bool fits = a->rows_first && esker_shape_equal(&q, &k);
        for (int i = 0; i < 3; i++) fits = fits && a->out_first[i] >= 0 && a->out_first[i] + q.dims[2] <= a->out_heads;
        if (!fits)
            return esker__fail(ESKER_ERR_INTERNAL, "%s: the gradients are no rows of %d heads",
                               esker__signature(text, "attention_grad", inputs, n_inputs), (int)a->out_heads);
        out[0] = (esker__type){ESKER_DTYPE_F32, q};
        out[0].shape.dims[2] = a->out_heads;
        return ESKER_OK;
    }
    for (int i = 0; i < 3; i++) out[i] = (esker__type){ESKER_DTYPE_F32, i ? k : q};
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
    sizes s = esker__attention_sizes_of(r->node);
    const esker__attention_attr *a = r->node->attr;
    for (int64_t row = 0; row < s.heads * s.tq; row++) {
        int64_t head = row / s.tq, query = row % s.tq, n = keys_of(&s, query), step = s.apart * s.d;
        int64_t at = row_at(&s, head, query, s.tq, s.between, 0) * s.d;
        const double *q = r->in[0] + row_at(&s, head, query, s.tq, s.apart, a->first[0]) * s.d,
                     *k = r->in[1] + row_at(&s, head, 0, s.tk, s.apart, a->first[1]) * s.d,
                     *v = r->in[2] + row_at(&s, head, 0, s.tk, s.apart, a->first[2]) * s.d;
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

/* Row `t` of a head of gradient `which`, in the arrays of its output. */
static double *row_of(double *const *outputs, const esker_node *node, const sizes *s, int which, int64_t head, int64_t t)
{
    const esker__attention_attr *a = node->attr;
    double *values = outputs[s->out_joint ? 0 : which];
    int64_t row = row_at(s, head, t, which ? s->tk : s->tq, s->out_apart, a->out_first[which]);
    return values ? values + row * s->d : NULL;
}

static void reference_grad(const esker__reference *r)
{
    sizes s = esker__attention_sizes_of(r->node);
    const esker__attention_attr *a = r->node->attr;
    for (int i = 0; i < r->node->op->n_outputs; i++) {
        int64_t n = s.heads / s.between * (i ? s.tk : s.tq) * s.out_apart * s.d;
        zero(r->out[i], n);
        zero(r->magnitude[i], n);
    }
    for (int64_t row = 0; row < s.heads * s.tq; row++) {
        int64_t head = row / s.tq, query = row % s.tq, n = keys_of(&s, query);
        int64_t at = row_at(&s, head, query, s.tq, s.between, 0);
        const double *q = r->in[0] + row_at(&s, head, query, s.tq, s.apart, a->first[0]) * s.d, *g = r->in[5] + at * s.d;
        double lse = r->in[4][row], delta_size, delta = dot(g, r->in[3] + at * s.d, s.d, &delta_size);
        double *dq = row_of(r->out, r->node, &s, 0, head, query),
               *dq_size = row_of(r->magnitude, r->node, &s, 0, head, query);
        for (int64_t key = 0; key < n; key++) {
            const double *k = r->in[1] + row_at(&s, head, key, s.tk, s.apart, a->first[1]) * s.d,
                         *v = r->in[2] + row_at(&s, head, key, s.tk, s.apart, a->first[2]) * s.d;
            double score_size, inner_size, score = s.scale * dot(q, k, s.d, &score_size),
                                           inner = dot(g, v, s.d, &inner_size);
            double p = exp(score - lse), blur = 1 + fabs(score - lse) + fabs(s.scale) * score_size;
            double e = s.scale * p * (inner - delta);
            double e_size = fabs(s.scale) * p * (inner_size + delta_size + fabs(inner - delta) * blur);
            add_scaled(dq, dq_size, k, s.d, e, e_size);
            add_scaled(row_of(r->out, r->node, &s, 1, head, key), row_of(r->magnitude, r->node, &s, 1, head, key), q, s.d,
                       e, e_size);
            add_scaled(row_of(r->out, r->node, &s, 2, head, key), row_of(r->magnitude, r->node, &s, 2, head, key), g, s.d,
                       p, p * blur);
        }
    }
}

static double tolerance(const esker_node *node)
{
    sizes s = esker__attention_sizes_of(node);
    return 2 * sqrt((double)(s.tq > s.tk ? s.tq : s.tk)) + 2 * sqrt((double)s.d) + 16;
}

/* ---- Cost ---- */

double esker__attention_pairs(const sizes *s)
{
    double n = (double)s->heads * (double)s->tq * (double)s->tk;
    return s->causal ? n * 0.5 : n;
}

static void cost(const esker_node *node, esker__cost *out)
{
    sizes s = esker__attention_sizes_of(node);
    *out = (esker__cost){esker__attention_pairs(&s) * (4 * (double)s.d + 8),
                         8 * (double)s.heads * (double)(s.tq + s.tk) * (double)s.d};
}

static void cost_grad(const esker_node *node, esker__cost *out)
{
    sizes s = esker__attention_sizes_of(node);
    *out = (esker__cost){esker__attention_pairs(&s) * (16 * (double)s.d + 24),
                         16 * (double)s.heads * (double)(s.tq + s.tk) * (double)s.d};
}

/* ---- Without transpositions ---- */

static bool exchanges_rows(const esker_node *x)
{
    if (x->op != &esker__op_transpose) return false;
    const esker__transpose_attr *t = x->attr;
    return t->rank == 4 && t->order[0] == 0 && t->order[1] == 2 && t->order[2] == 1 && t->order[3] == 3;
}

/* q, k and v as they lie in one value's rows, if they are cut out of it by columns. `inputs` have their rows first. */
static bool join_inputs(esker__attention_attr *attr, esker_node **inputs)
{
    const esker_shape *q = &inputs[0]->type.shape;
    int64_t size = q->dims[3];
    esker_node *all = NULL;
    for (int i = 0; i < 3; i++) {
        esker__columns c;
        const esker_node *x = esker__root_of(inputs[i]);
        if (!esker_shape_equal(&inputs[i]->type.shape, q) || !esker__slice_columns(x, &c)) return false;
        if (c.rows != q->dims[0] * q->dims[1] || c.count != q->dims[2] * size || c.first % size || c.length % size ||
            c.length / size > INT32_MAX)
            return false;
        esker_node *from = (esker_node *)esker__root_of(x->inputs[0]);
        if (all && (from != all || c.length / size != attr->all_heads)) return false;
        all = from;
        attr->all_heads = (int32_t)(c.length / size);
        attr->first[i] = (int32_t)(c.first / size);
    }
    attr->heads = (int32_t)q->dims[2];
    attr->rows = (int32_t)q->dims[1];
    attr->size = (int32_t)size;
    inputs[0] = inputs[1] = inputs[2] = all;
    return true;
}

/* Heads are mostly cut out of rows by a transposition of each of q, k and v: the kernels can do without. */
static unsigned untranspose(esker__attention_attr *attr, esker_node **inputs, const int *which, int n, unsigned outputs)
{
    if (attr->rows_first) return 0;
    for (int i = 0; i < n; i++)
        if (!exchanges_rows(inputs[which[i]])) return 0;
    for (int i = 0; i < n; i++) inputs[which[i]] = inputs[which[i]]->inputs[0];
    attr->rows_first = 1;
    esker__attention_attr joint = *attr;
    if (join_inputs(&joint, inputs)) *attr = joint;
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

/* ---- Gradients beside each other ---- */

static const esker__op grad_of_rows;

/* The gradient (output `which`) of attention that a part of a concatenation is, and nothing else: in rows whose columns go together. */
static const esker_node *gradient_part(const esker_node *concat, int i, const esker__fusion *fusion, int *out_which)
{
    const esker_node *x = concat->inputs[i];
    for (; x->op->flags & ESKER__OP_VIEW; x = x->inputs[0])
        if (fusion->n_users[x->id] != 1) return NULL;
    if (x->producer->op != &esker__op_attention_grad || fusion->n_users[x->id] != 1) return NULL;
    *out_which = x->output;
    return x->producer;
}

esker_node *esker__attention_fused_concat(esker_graph *graph, const esker_node *node, const esker__fusion *fusion)
{
    const esker_node *grad = NULL;
    esker__attention_attr attr = {0};
    int axis = ((const esker__axis_attr *)node->attr)->axis;
    unsigned seen = 0;
    if (node->n_inputs != 3) return NULL;
    for (int i = 0; i < 3; i++) {
        int which = 0;
        const esker_node *x = gradient_part(node, i, fusion, &which);
        if (!x || (grad && grad != x)) return NULL;
        grad = x;
        attr.out_first[which] = i;
        seen |= 1u << which;
    }
    const esker__attention_attr *own = grad->attr;
    sizes s = esker__attention_sizes_of(grad);
    int64_t rows = 1;
    for (int i = 0; i < axis; i++) rows *= node->type.shape.dims[i];
    if (seen != 7 || !own->rows_first || s.tq != s.tk || rows * s.between != s.heads * s.tq) return NULL;
    esker_node *inputs[6];
    for (int i = 0; i < 6; i++)
        if (!(inputs[i] = fusion->map[grad->inputs[i]->id])) return NULL;
    int32_t places[3];
    memcpy(places, attr.out_first, sizeof places);
    attr = *own;
    attr.out_heads = (int32_t)(3 * s.between);
    for (int i = 0; i < 3; i++) attr.out_first[i] = places[i] * (int32_t)s.between;
    esker_node *made = esker__record_in(graph, &grad_of_rows, &attr, inputs, 6);
    if (made && grad->label) esker_label(made, grad->label);
    return esker_reshape(made, &node->type.shape);
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
    .lower = esker__attention_lower,
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
    .lower = esker__attention_grad_lower,
    .untransposed = untransposed_grad,
};

/* With one result for all three. */
static const esker__op grad_of_rows = {
    .name = "attention_grad",
    .n_inputs = 6,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__attention_attr),
    .infer = infer_grad,
    .reference = reference_grad,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost_grad,
    .lower = esker__attention_grad_lower,
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
