/* c = op(a) op(b) over the last two axes, batch axes broadcast, and, once fused, tail(op(a) op(b) + bias). */
#include "ops/matmul.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/optimizer.h"

/* Length of batch axis `axis`, counted from the end (2 is the innermost). */
static int64_t batch_length(const esker_shape *shape, int axis)
{
    return axis < shape->rank ? shape->dims[shape->rank - 1 - axis] : 1;
}

esker__matmul_size esker__matmul_size_of(const esker_node *node)
{
    const esker__matmul_attr *attr = node->attr;
    const esker_shape *a = &node->inputs[0]->type.shape, *b = &node->inputs[1]->type.shape, *c = &node->type.shape;
    esker__matmul_size s = {.m = c->dims[c->rank - 2],
                            .n = c->dims[c->rank - 1],
                            .k = a->dims[a->rank - (attr->transpose_a ? 2 : 1)],
                            .batches = 1};
    int64_t size_a = s.m * s.k, size_b = s.k * s.n; /* one step along the axis at hand */
    if (attr->sum_batch) {
        s.batches = s.length[0] = a->dims[0];
        s.step_a[0] = size_a;
        s.step_b[0] = size_b;
        s.n_axes = 1;
        return s;
    }
    for (int axis = 2; axis < c->rank; axis++) {
        int64_t length = batch_length(c, axis), length_a = batch_length(a, axis), length_b = batch_length(b, axis);
        int64_t step_a = length_a == 1 ? 0 : size_a, step_b = length_b == 1 ? 0 : size_b;
        size_a *= length_a;
        size_b *= length_b;
        s.batches *= length;
        if (length == 1) continue;
        int i = s.n_axes - 1;
        if (i >= 0 && step_a == s.length[i] * s.step_a[i] && step_b == s.length[i] * s.step_b[i]) {
            s.length[i] *= length;
        } else {
            s.length[s.n_axes] = length;
            s.step_a[s.n_axes] = step_a;
            s.step_b[s.n_axes++] = step_b;
        }
    }
    return s;
}

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__matmul_attr *attr = attributes;
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: input %d is %s, float32 is needed",
                               esker__signature(text, "matmul", inputs, n_inputs), i,
                               esker_dtype_name(inputs[i]->type.dtype));
    const esker_shape *a = &inputs[0]->type.shape, *b = &inputs[1]->type.shape;
    if (a->rank < 2 || b->rank < 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: two axes each or more are needed, not %d and %d",
                           esker__signature(text, "matmul", inputs, 2), a->rank, b->rank);
    const int64_t *am = &a->dims[a->rank - 2], *bm = &b->dims[b->rank - 2];
    int64_t m = am[attr->transpose_a ? 1 : 0], ka = am[attr->transpose_a ? 0 : 1];
    int64_t n = bm[attr->transpose_b ? 0 : 1], kb = bm[attr->transpose_b ? 1 : 0];
    if (ka != kb)
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: %s is [%lld, %lld] and %s is [%lld, %lld]; the inner lengths %lld and %lld differ",
                           esker__signature(text, "matmul", inputs, 2), attr->transpose_a ? "a transposed" : "a",
                           (long long)m, (long long)ka, attr->transpose_b ? "b transposed" : "b", (long long)kb,
                           (long long)n, (long long)ka, (long long)kb);
    int rank = a->rank > b->rank ? a->rank : b->rank;
    *out = (esker__type){ESKER_DTYPE_F32, {.rank = rank}};
    for (int axis = 2; axis < rank; axis++) {
        int64_t x = batch_length(a, axis), y = batch_length(b, axis);
        if (x != y && x != 1 && y != 1)
            return esker__fail(ESKER_ERR_INVALID, "%s: batch axis %d from the end has length %lld in a and %lld in b",
                               esker__signature(text, "matmul", inputs, 2), axis + 1, (long long)x, (long long)y);
        out->shape.dims[rank - 1 - axis] = x == 1 ? y : x;
    }
    if (attr->sum_batch && (a->rank != 3 || b->rank != 3 || a->dims[0] != b->dims[0]))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: no batch of products to sum up",
                           esker__signature(text, "matmul", inputs, 2));
    if (attr->sum_batch) out->shape.rank = rank = 2;
    out->shape.dims[rank - 2] = m;
    out->shape.dims[rank - 1] = n;
    if (attr->sums_a) out[1] = (esker__type){ESKER_DTYPE_F32, {1, {m}}};
    return esker__tail_infer(&attr->tail, "matmul", rank - 1, inputs, n_inputs, 2, out);
}

/* x as [.., rows, columns]: of a vector, a row or a column. */
static esker_node *as_matrix(esker_node *x, bool is_column)
{
    if (x->type.shape.rank != 1) return x;
    return esker_reshape(x, is_column ? &(esker_shape){2, {-1, 1}} : &(esker_shape){2, {1, -1}});
}

esker_node *esker_matmul(esker_node *a, esker_node *b, const esker_matmul_desc *desc)
{
    esker__matmul_attr attr = {.transpose_a = desc && desc->transpose_a, .transpose_b = desc && desc->transpose_b};
    esker_node *in[2] = {a, b};
    if (!a || !b || (a->type.shape.rank != 1 && b->type.shape.rank != 1))
        return esker__record(&esker__op_matmul, &attr, in, 2);
    bool row = a->type.shape.rank == 1, column = b->type.shape.rank == 1;
    if ((row && attr.transpose_a) || (column && attr.transpose_b)) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(a->graph, esker__fail(ESKER_ERR_INVALID, "%s: %s has one axis, nothing to transpose",
                                                       esker__signature(text, "matmul", in, 2), row ? "a" : "b"));
    }
    esker_node *c = esker_matmul(as_matrix(a, false), as_matrix(b, true), desc);
    if (!c) return NULL;
    /* The axis that the vector was given goes again; those in front stay as they are, whatever their length. */
    esker_shape wanted = {.rank = c->type.shape.rank - row - column};
    if (row && !column) wanted.dims[wanted.rank - 1] = -1;
    return esker_reshape(c, &wanted);
}

static esker_node *vectors(const char *name, esker_node *a, esker_node *b)
{
    if (!a || !b) return NULL;
    char text[ESKER__SIGNATURE_BYTES];
    if (a->type.shape.rank == 1 && b->type.shape.rank == 1) return a;
    return esker__graph_fail(a->graph, esker__fail(ESKER_ERR_INVALID, "%s: one axis each is needed, not %d and %d",
                                                   esker__signature(text, name, (esker_node *[]){a, b}, 2),
                                                   a->type.shape.rank, b->type.shape.rank));
}

esker_node *esker_dot(esker_node *a, esker_node *b)
{
    return vectors("dot", a, b) ? esker_matmul(a, b, NULL) : NULL;
}

esker_node *esker_outer(esker_node *a, esker_node *b)
{
    return vectors("outer", a, b) ? esker_matmul(as_matrix(a, true), as_matrix(b, false), NULL) : NULL;
}

/*
 * With C = A B: dA = G B', dB = A' G, where ' transposes. The other three cases follow by transposing both sides, and none
 * needs a transposed copy: what was stored transposed is read, and what must come out transposed is computed, the other way
 * round.
 */
static esker_node *gradient(esker_node *node, esker_node *g, int input)
{
    const esker__matmul_attr *attr = node->attr;
    if (esker__tail_refuses_gradient(&attr->tail, node)) return NULL;
    esker_node *a = node->inputs[0], *b = node->inputs[1];
    bool ta = attr->transpose_a, tb = attr->transpose_b;
    if (input == 0)
        return ta ? esker_matmul(b, g, &(esker_matmul_desc){.transpose_a = tb, .transpose_b = true})
                  : esker_matmul(g, b, &(esker_matmul_desc){.transpose_b = !tb});
    const esker_shape *as = &a->type.shape, *bs = &b->type.shape;
    bool shared = !ta && as->rank > 2;
    for (int i = 0; i + 2 < bs->rank; i++) shared &= bs->dims[i] == 1;
    if (shared) {
        /* One b for the whole batch: the sum over it is that over the rows of all, one long product instead of a batch of them. */
        esker__matmul_size s = esker__matmul_size_of(node);
        a = esker_reshape(a, &(esker_shape){2, {-1, s.k}});
        g = esker_reshape(g, &(esker_shape){2, {-1, s.n}});
    }
    esker_node *grad = tb ? esker_matmul(g, a, &(esker_matmul_desc){.transpose_a = true, .transpose_b = ta})
                          : esker_matmul(a, g, &(esker_matmul_desc){.transpose_a = !ta});
    return shared && bs->rank > 2 ? esker_reshape(grad, bs) : grad;
}

static void reference_sum(const esker__reference *r, const esker__matmul_size *s)
{
    const esker__matmul_attr *attr = r->node->attr;
    int64_t a_row = attr->transpose_a ? 1 : s->k, a_step = attr->transpose_a ? s->m : 1;
    int64_t b_column = attr->transpose_b ? s->k : 1, b_step = attr->transpose_b ? 1 : s->n;
    uint32_t bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, r->node->inputs[2]) : 0;
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = 0, magnitude = 0;
            for (int64_t batch = 0; batch < s->batches; batch++)
                for (int64_t p = 0; p < s->k; p++) {
                    double term = r->in[0][batch * s->step_a[0] + i * a_row + p * a_step] *
                                  r->in[1][batch * s->step_b[0] + j * b_column + p * b_step];
                    sum += term;
                    magnitude += fabs(term);
                }
            esker__tail_reference(&attr->tail, r, 2, i * s->n + j, j * bias_step, sum, magnitude);
        }
}

static void reference_sums_a(const esker__reference *r, const esker__matmul_size *s)
{
    bool transposed = ((const esker__matmul_attr *)r->node->attr)->transpose_a;
    for (int64_t i = 0; r->out[1] && i < s->m; i++) {
        double sum = 0, magnitude = 0;
        for (int64_t p = 0; p < s->k; p++) {
            double term = r->in[0][transposed ? p * s->m + i : i * s->k + p];
            sum += term;
            magnitude += fabs(term);
        }
        r->out[1][i] = sum;
        if (r->magnitude[1]) r->magnitude[1][i] = magnitude;
    }
}

static void reference(const esker__reference *r)
{
    const esker__matmul_attr *attr = r->node->attr;
    esker__matmul_size s = esker__matmul_size_of(r->node);
    int64_t a_row = attr->transpose_a ? 1 : s.k, a_step = attr->transpose_a ? s.m : 1;
    int64_t b_column = attr->transpose_b ? s.k : 1, b_step = attr->transpose_b ? 1 : s.n;
    uint32_t bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, r->node->inputs[2]) : 0;
    int64_t at = 0;
    if (attr->sums_a) reference_sums_a(r, &s);
    if (attr->sum_batch) {
        reference_sum(r, &s);
        return;
    }
    for (int64_t batch = 0; batch < s.batches; batch++) {
        const double *a = r->in[0], *b = r->in[1];
        int64_t rest = batch;
        for (int i = 0; i < s.n_axes; rest /= s.length[i++]) {
            a += rest % s.length[i] * s.step_a[i];
            b += rest % s.length[i] * s.step_b[i];
        }
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++, at++) {
                double sum = 0, magnitude = 0;
                for (int64_t p = 0; p < s.k; p++) {
                    double term = a[i * a_row + p * a_step] * b[j * b_column + p * b_step];
                    sum += term;
                    magnitude += fabs(term);
                }
                esker__tail_reference(&attr->tail, r, 2, at, j * bias_step, sum, magnitude);
            }
    }
}

static double tolerance(const esker_node *node)
{
    esker__matmul_size s = esker__matmul_size_of(node);
    bool sum = ((const esker__matmul_attr *)node->attr)->sum_batch;
    return 2 * sqrt((double)s.k * (sum ? (double)s.batches : 1)) + 6;
}

static void cost(const esker_node *node, esker__cost *out)
{
    esker__matmul_size s = esker__matmul_size_of(node);
    double c = (double)s.batches * (double)s.m * (double)s.n, a = (double)esker__elems(&node->inputs[0]->type.shape),
           b = (double)esker__elems(&node->inputs[1]->type.shape);
    double written = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){.flops = 2 * c * (double)s.k, .bytes = 4 * (a + b + written)};
}

/* Channels are columns: of results of two axes. */
static esker_node *scaled(const esker_node *node, esker_node *const *inputs, esker_node *scale)
{
    const esker__matmul_attr *attr = node->attr;
    if (node->type.shape.rank != 2) return NULL;
    esker_node *b = esker_mul(inputs[1], attr->transpose_b ? esker_reshape(scale, &(esker_shape){2, {-1, 1}}) : scale);
    return esker__record(node->op, attr, (esker_node *[]){inputs[0], b}, 2);
}

static void title(const esker_node *node, esker__text *text)
{
    if (((const esker__matmul_attr *)node->attr)->sums_a) esker__text_add(text, "sum+");
    esker__tail_title(node, &((const esker__matmul_attr *)node->attr)->tail, text);
    esker__update_title(node, text);
}

typedef struct updating_attr {
    esker__matmul_attr matmul;
    esker__update update;
} updating_attr;

#define UPDATING(n_outputs_, plain_)                                                                                    \
    {                                                                                                                   \
        .name = "matmul", .n_inputs = 2, .n_outputs = n_outputs_, .attr_bytes = sizeof(updating_attr),                  \
        .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATING, .infer = infer, .reference = reference, .tolerance = tolerance, \
        .atol = ESKER__FLUSHED, .cost = cost, .lower = esker__matmul_lower, .title = title,                             \
        .update = esker__update_reference, .plain = plain_,                                                             \
    }
static esker_node *updating(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    static const esker__op alone = UPDATING(1, &esker__op_matmul), summing = UPDATING(2, &esker__op_matmul_summing);
    const esker__matmul_attr *attr = node->attr;
    if (attr->tail.has_bias || attr->tail.program.n_steps || !esker__update_fits(update, 2, attr->sums_a, fusion))
        return NULL;
    return esker__record_updating(attr->sums_a ? &summing : &alone, node, update);
}

static bool recompute(const esker_node *node, int which, const esker_node *made, bool alone, uint32_t storage_blocks,
                      void *attr, const esker_node **out_more);

#define ESKER__MATMUL(n_outputs_, keeping_)                                                                           \
    {                                                                                                                 \
        .name = "matmul", .n_inputs = -1, .n_outputs = n_outputs_, .attr_bytes = sizeof(esker__matmul_attr),          \
        .infer = infer, .gradient = gradient, .reference = reference, .tolerance = tolerance, .atol = ESKER__FLUSHED, \
        .cost = cost, .lower = esker__matmul_lower, .absorb = absorb, .keeping = keeping_, .title = title,            \
        .fused = esker__fused_matmul, .scaled = scaled, .updating = updating, .recompute = recompute,                 \
    }

static bool absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr)
{
    const esker_shape *shape = &node->type.shape;
    return esker__tail_absorb(&((esker__matmul_attr *)attr)->tail, shape, shape->rank - 1, 3, user, which, fusion);
}

/* With a tail that keeps a value there are two outputs. */
static const esker__op keeping = ESKER__MATMUL(2, NULL);
const esker__op esker__op_matmul = ESKER__MATMUL(1, &keeping);

/* Where the argument was, unless somebody else reads that. */
static bool recompute(const esker_node *node, int which, const esker_node *made, bool alone, uint32_t storage_blocks,
                      void *attr, const esker_node **out_more)
{
    (void)out_more;
    return alone && made->op == &keeping && node->op == &esker__op_matmul &&
           esker__tail_recompute(&((esker__matmul_attr *)attr)->tail, node, which,
                                 &((const esker__matmul_attr *)made->attr)->tail, 3, storage_blocks);
}

/* Nothing follows it: both are gradients of parameters. */
const esker__op esker__op_matmul_summing = {.name = "matmul",
                                            .n_inputs = 2,
                                            .n_outputs = 2,
                                            .attr_bytes = sizeof(esker__matmul_attr),
                                            .infer = infer,
                                            .reference = reference,
                                            .tolerance = tolerance,
                                            .atol = ESKER__FLUSHED,
                                            .cost = cost,
                                            .lower = esker__matmul_lower,
                                            .updating = updating,
                                            .title = title};
