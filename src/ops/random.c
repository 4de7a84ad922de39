/*
 * Random numbers and dropout. Nothing is stored between steps: element i of a draw is word i % 4 of Philox under the plan's
 * seed, for the counter (i / 4, the draw's id in its graph, the step's two halves), so that resuming, recomputing and a
 * dropout's backward draw the same again.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/philox.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define GROUP_SIZE 64

/* What a draw becomes; the numbers are those of random.comp. */
enum { BITS = 0, UNIFORM = 1, NORMAL = 2, BERNOULLI = 3, DROPOUT = 4 };

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__random_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    if (a->kind == DROPOUT && inputs[0]->type.dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "%s: the input is %s, float32 is needed (esker_convert)",
                           esker__signature(text, "dropout", inputs, n_inputs), esker_dtype_name(inputs[0]->type.dtype));
    *out = (esker__type){a->kind == BITS ? ESKER_DTYPE_I32 : ESKER_DTYPE_F32,
                         n_inputs > 0 ? inputs[0]->type.shape : a->shape};
    return ESKER_OK;
}

/* A word w counts as dropped, or as 1, where w / 2^32 < p; its upper 24 bits are compared. */
static uint32_t threshold_of(float p)
{
    return (uint32_t)ceil((double)p * 16777216);
}

static float keep_scale(float p)
{
    return p < 1 ? (float)(1 / (1 - (double)p)) : 0;
}

/* The largest result of uniform: below `hi`, unless there is nothing between. */
static float uniform_top(const esker__random_attr *a)
{
    return a->a < a->b ? nextafterf(a->b, a->a) : a->a;
}

static double normal_of(const uint32_t words[4], int i)
{
    uint32_t k = words[i & 2] >> 8, turn = words[(i & 2) + 1] >> 8;
    double radius = sqrt(-2 * log1p(-(double)k / 16777216)), angle = (double)turn / 16777216 * 6.283185307179586;
    return radius * (i & 1 ? sin(angle) : cos(angle));
}

static void reference(const esker__reference *r)
{
    const esker__random_attr *a = r->node->attr;
    int64_t n = esker__elems(&r->node->type.shape);
    uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)}, words[4];
    uint32_t counter[4] = {0, a->draw, (uint32_t)r->step, (uint32_t)(r->step >> 32)};
    uint32_t threshold = a->kind == BERNOULLI || a->kind == DROPOUT ? threshold_of(a->a) : 0;
    for (int64_t i = 0; i < n; i++) {
        double y = 0, size = 0;
        counter[0] = (uint32_t)(i / 4);
        if (i % 4 == 0) esker__philox(counter, key, words);
        uint32_t word = words[i % 4];
        switch (a->kind) {
        case BITS: y = (int32_t)word; break;
        case UNIFORM: {
            double range = a->b - a->a, u = (double)esker__unit_float(word);
            y = fmin(a->a + range * u, uniform_top(a));
            size = fabs((double)a->a) + range * u;
            break;
        }
        case NORMAL: {
            double z = normal_of(words, (int)(i % 4));
            y = a->a + a->b * z;
            /* Where sine or cosine is 0 here, the angle's rounding in double is not. */
            size = fabs((double)a->a) + fabs(a->b * z) + 1e-9 * fabs((double)a->b);
            break;
        }
        case BERNOULLI: y = word >> 8 < threshold; break;
        case DROPOUT:
            y = word >> 8 < threshold ? 0 : r->in[0][i] * keep_scale(a->a);
            size = fabs(y);
            break;
        }
        r->out[0][i] = y;
        if (r->magnitude[0]) r->magnitude[0][i] = size;
    }
}

/*
 * uniform: a sum and a product, with the range rounded. normal: sqrt() 9 eps (elementwise.c) and half of the logarithm's error
 * (a division of 5, a few sums, one cancellation by a factor of 3 at most), the angle's polynomials 5, the last two steps 4.
 */
static double tolerance(const esker_node *node)
{
    switch (((const esker__random_attr *)node->attr)->kind) {
    case UNIFORM: return 4;
    case NORMAL: return 32;
    case DROPOUT: return 2;
    default: return 0;
    }
}

static void cost(const esker_node *node, esker__cost *out)
{
    int kind = ((const esker__random_attr *)node->attr)->kind;
    double n = (double)esker__elems(&node->type.shape);
    out->flops = (kind == NORMAL ? 50 : 30) * n; /* ten rounds of Philox are some 100 operations for four elements */
    out->bytes = (kind == DROPOUT ? 8 : 4) * n;
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__random_attr *a = node->attr;
    int64_t n = esker__elems(&node->type.shape);
    esker_status st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;
    char defines[48];
    snprintf(defines, sizeof defines, "KIND %d\nWG %d\n", (int)a->kind, GROUP_SIZE);
    struct {
        uint32_t n, groups_x, draw, threshold;
        float k0, k1, k2;
    } params = {.n = (uint32_t)n, .draw = a->draw, .k0 = a->a, .k1 = a->b};
    if (a->kind == UNIFORM) {
        params.k1 = a->b - a->a;
        params.k2 = uniform_top(a);
    } else if (a->kind == BERNOULLI || a->kind == DROPOUT) {
        params.threshold = threshold_of(a->a);
        params.k0 = keep_scale(a->a);
    }
    esker__dispatch_desc desc = {
        .kernel = "random/random", .defines = defines, .params = &params, .n_params = 7, .uses_step = true};
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 4 * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    params.groups_x = desc.groups[0];
    if (a->kind == DROPOUT) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[0]);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    return esker__emit(lowering, &desc);
}

/* Linear in x, with the same mask: the draw's id is in the attributes. */
static esker_node *dropout_gradient(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__record(node->op, node->attr, &grad, 1);
}

static esker_node *dropout_inference(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    (void)graph;
    (void)node;
    return inputs[0];
}

static esker_node *dropout_simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    (void)graph;
    (void)op;
    return ((const esker__random_attr *)attr)->a == 0 ? inputs[0] : NULL;
}

#define DRAW(id, count)                                                                                       \
    .name = #id, .n_inputs = count, .n_outputs = 1, .attr_bytes = sizeof(esker__random_attr), .infer = infer, \
    .reference = reference, .tolerance = tolerance, .atol = ESKER__FLUSHED, .cost = cost, .lower = lower

/* Without an input, or with one whose shape alone is taken. */
const esker__op esker__op_random_bits = {DRAW(random_bits, -1), .flags = ESKER__OP_SHAPE_ONLY};
const esker__op esker__op_random_uniform = {DRAW(random_uniform, -1), .flags = ESKER__OP_SHAPE_ONLY};
const esker__op esker__op_random_normal = {DRAW(random_normal, -1), .flags = ESKER__OP_SHAPE_ONLY};
const esker__op esker__op_random_bernoulli = {DRAW(random_bernoulli, -1), .flags = ESKER__OP_SHAPE_ONLY};
const esker__op esker__op_dropout = {DRAW(dropout, 1), .flags = ESKER__OP_IN_PLACE_0, .gradient = dropout_gradient,
                                     .simplify = dropout_simplify, .inference = dropout_inference};

/* ---- Recording ---- */

static esker_node *record(esker_graph *graph, const esker__op *op, int kind, const esker_shape *shape, esker_node *like,
                          float a, float b)
{
    esker__random_attr attr;
    memset(&attr, 0, sizeof attr);
    if (like) graph = like->graph;
    if (!graph || graph->status != ESKER_OK) return NULL;
    if (!like && !shape)
        return esker__graph_fail(graph, esker__fail(ESKER_ERR_INVALID, "%s: no shape was given", op->name));
    if (!like) {
        attr.shape.rank = shape->rank;
        for (int i = 0; i < shape->rank && i < ESKER_MAX_RANK; i++) attr.shape.dims[i] = shape->dims[i];
    }
    attr.kind = kind;
    attr.a = a;
    attr.b = b;
    attr.draw = esker__new_draw(graph);
    return esker__record_in(graph, op, &attr, &like, like ? 1 : 0);
}

static esker_node *uniform(esker_graph *graph, const esker_shape *shape, esker_node *like, float lo, float hi)
{
    if (!(lo <= hi) || !isfinite(hi - lo))
        return esker__graph_fail(like ? like->graph : graph,
                                 esker__fail(ESKER_ERR_INVALID,
                                             "random_uniform: from %g to %g: finite, ascending bounds are needed",
                                             (double)lo, (double)hi));
    return record(graph, &esker__op_random_uniform, UNIFORM, shape, like, lo, hi);
}

static esker_node *normal(esker_graph *graph, const esker_shape *shape, esker_node *like, float mean, float deviation)
{
    if (!isfinite(mean) || !isfinite(deviation) || deviation < 0)
        return esker__graph_fail(
            like ? like->graph : graph,
            esker__fail(ESKER_ERR_INVALID, "random_normal: mean %g and deviation %g: finite, and the deviation at least 0",
                        (double)mean, (double)deviation));
    return record(graph, &esker__op_random_normal, NORMAL, shape, like, mean, deviation);
}

static esker_node *bernoulli(esker_graph *graph, const esker_shape *shape, esker_node *like, float p)
{
    if (!(p >= 0 && p <= 1))
        return esker__graph_fail(
            like ? like->graph : graph,
            esker__fail(ESKER_ERR_INVALID, "random_bernoulli: probability %g, 0 to 1 are possible", (double)p));
    return record(graph, &esker__op_random_bernoulli, BERNOULLI, shape, like, p, 0);
}

esker_node *esker__random_bits(esker_graph *graph, const esker_shape *shape)
{
    return record(graph, &esker__op_random_bits, BITS, shape, NULL, 0, 0);
}

esker_node *esker_random_uniform(esker_graph *graph, const esker_shape *shape, float lo, float hi)
{
    return graph ? uniform(graph, shape, NULL, lo, hi) : NULL;
}

esker_node *esker_random_normal(esker_graph *graph, const esker_shape *shape, float mean, float deviation)
{
    return graph ? normal(graph, shape, NULL, mean, deviation) : NULL;
}

esker_node *esker_random_bernoulli(esker_graph *graph, const esker_shape *shape, float p)
{
    return graph ? bernoulli(graph, shape, NULL, p) : NULL;
}

esker_node *esker_random_uniform_like(esker_node *x, float lo, float hi)
{
    return x ? uniform(NULL, NULL, x, lo, hi) : NULL;
}

esker_node *esker_random_normal_like(esker_node *x, float mean, float deviation)
{
    return x ? normal(NULL, NULL, x, mean, deviation) : NULL;
}

esker_node *esker_random_bernoulli_like(esker_node *x, float p)
{
    return x ? bernoulli(NULL, NULL, x, p) : NULL;
}

esker_node *esker_dropout(esker_node *x, float p)
{
    if (!x) return NULL;
    if (!(p >= 0 && p <= 1)) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: probability %g, 0 to 1 are possible",
                                                       esker__signature(text, "dropout", &x, 1), (double)p));
    }
    return record(NULL, &esker__op_dropout, DROPOUT, NULL, x, p, 0);
}
