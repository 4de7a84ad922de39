/* c = op(a) op(b), and, once fused, act(op(a) op(b) + bias). */
#include "ops/matmul.h"

#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"

esker__matmul_size esker__matmul_size_of(const esker_node *node)
{
    const esker__matmul_attr *attr = node->attr;
    const int64_t *a = node->inputs[0]->type.shape.dims, *c = node->type.shape.dims;
    return (esker__matmul_size){c[0], c[1], attr->transpose_a ? a[0] : a[1]};
}

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__matmul_attr *attr = attributes;
    char text[ESKER__SIGNATURE_BYTES];
    int wanted = attr->tail.has_bias ? 3 : 2;
    if (n_inputs != wanted)
        return esker__fail(ESKER_ERR_INTERNAL, "matmul: %d inputs given, %d are needed", n_inputs, wanted);
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: input %d is %s, float32 is needed",
                               esker__signature(text, "matmul", inputs, n_inputs), i,
                               esker_dtype_name(inputs[i]->type.dtype));
    const esker_shape *a = &inputs[0]->type.shape, *b = &inputs[1]->type.shape;
    if (a->rank != 2 || b->rank != 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: two axes each are needed, not %d and %d",
                           esker__signature(text, "matmul", inputs, 2), a->rank, b->rank);
    int64_t m = a->dims[attr->transpose_a ? 1 : 0], ka = a->dims[attr->transpose_a ? 0 : 1];
    int64_t n = b->dims[attr->transpose_b ? 0 : 1], kb = b->dims[attr->transpose_b ? 1 : 0];
    if (ka != kb)
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: %s is [%lld, %lld] and %s is [%lld, %lld]; the inner lengths %lld and %lld differ",
                           esker__signature(text, "matmul", inputs, 2), attr->transpose_a ? "a transposed" : "a",
                           (long long)m, (long long)ka, attr->transpose_b ? "b transposed" : "b", (long long)kb,
                           (long long)n, (long long)ka, (long long)kb);
    *out = (esker__type){ESKER_DTYPE_F32, {2, {m, n}}};
    if (attr->tail.has_bias && !esker__tail_bias_fits(&inputs[2]->type.shape, &out->shape, 1))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: the bias does not fit", esker__signature(text, "matmul", inputs, 3));
    return ESKER_OK;
}

esker_node *esker_matmul(esker_node *a, esker_node *b, const esker_matmul_desc *desc)
{
    esker__matmul_attr attr = {.transpose_a = desc && desc->transpose_a, .transpose_b = desc && desc->transpose_b};
    return esker__record(&esker__op_matmul, &attr, (esker_node *[]){a, b}, 2);
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
    return tb ? esker_matmul(g, a, &(esker_matmul_desc){.transpose_a = true, .transpose_b = ta})
              : esker_matmul(a, g, &(esker_matmul_desc){.transpose_a = !ta});
}

static void reference(const esker__reference *r)
{
    const esker__matmul_attr *attr = r->node->attr;
    esker__matmul_size s = esker__matmul_size_of(r->node);
    const double *a = r->in[0], *b = r->in[1];
    int64_t a_row = attr->transpose_a ? 1 : s.k, a_step = attr->transpose_a ? s.m : 1;
    int64_t b_column = attr->transpose_b ? s.k : 1, b_step = attr->transpose_b ? 1 : s.n;
    uint32_t bias_step = attr->tail.has_bias ? esker__tail_bias_step(&attr->tail, r->node->inputs[2]) : 0;
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double sum = 0, magnitude = 0;
            for (int64_t p = 0; p < s.k; p++) {
                double term = a[i * a_row + p * a_step] * b[j * b_column + p * b_step];
                sum += term;
                magnitude += fabs(term);
            }
            const double *bias = attr->tail.has_bias ? &r->in[2][j * bias_step] : NULL;
            r->out[0][i * s.n + j] = esker__tail_value(&attr->tail, sum, bias, &magnitude);
            if (r->magnitude[0]) r->magnitude[0][i * s.n + j] = magnitude;
        }
}

static double tolerance(const esker_node *node)
{
    return 2 * sqrt((double)esker__matmul_size_of(node).k) + 6;
}

static void cost(const esker_node *node, esker__cost *out)
{
    esker__matmul_size s = esker__matmul_size_of(node);
    double m = (double)s.m, n = (double)s.n, k = (double)s.k;
    *out = (esker__cost){.flops = 2 * m * n * k, .bytes = 4 * (m * k + k * n + m * n)};
}

static bool absorb(const esker_node *node, const esker_node *user, int which, void *attr)
{
    return esker__tail_absorb(&((esker__matmul_attr *)attr)->tail, &node->type.shape, 1, user, which);
}

const esker__op esker__op_matmul = {
    .name = "matmul",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__matmul_attr),
    .infer = infer,
    .gradient = gradient,
    .reference = reference,
    .tolerance = tolerance,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = esker__matmul_lower,
    .absorb = absorb,
};
