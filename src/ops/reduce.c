/* sum, mean, max, min and prod over any axes, and what all reductions share (reduce.h); reduce_lower.c has the dispatches. */
#include "ops/reduce.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/optimizer.h"
#include "ops/pool2d.h"

int64_t esker__reduce_terms(const esker_node *node)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++)
        if (esker__is_reduced(node, i)) n *= x->dims[i];
    return n;
}

/* ---- Shapes ---- */

esker_status esker__reduce_infer(const char *name, const esker__reduce_attr *a, esker_node *const *inputs,
                                 esker_dtype dtype, esker__type *out)
{
    const esker__type *x = &inputs[0]->type;
    char signature[ESKER__SIGNATURE_BYTES];
    if (x->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "%s: float32 is needed (esker_convert)",
                           esker__signature(signature, name, inputs, 1));
    if (a->mask >> x->shape.rank != 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: an axis past rank %d", esker__signature(signature, name, inputs, 1),
                           x->shape.rank);
    *out = (esker__type){.dtype = dtype};
    for (int i = 0; i < x->shape.rank; i++) {
        if (!(a->mask >> i & 1))
            out->shape.dims[out->shape.rank++] = x->shape.dims[i];
        else if (a->keepdims)
            out->shape.dims[out->shape.rank++] = 1;
    }
    return ESKER_OK;
}

bool esker__reduce_axes(const char *name, esker_node *x, const int *axes, int n_axes, bool keepdims,
                        esker__reduce_attr *out)
{
    if (!x) return false;
    int rank = x->type.shape.rank;
    esker_status st = ESKER_OK;
    char signature[ESKER__SIGNATURE_BYTES];
    *out = (esker__reduce_attr){.keepdims = keepdims};
    if (n_axes < 0 || (n_axes > 0 && !axes))
        st = esker__fail(ESKER_ERR_INVALID, "%s: %d axes are no list", esker__signature(signature, name, &x, 1), n_axes);
    for (int i = 0; i < n_axes && st == ESKER_OK; i++) {
        int axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank)
            st = esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the axes are %d to %d",
                             esker__signature(signature, name, &x, 1), axes[i], -rank, rank - 1);
        else if (out->mask >> axis & 1)
            st = esker__fail(ESKER_ERR_INVALID, "%s: axis %d is given twice", esker__signature(signature, name, &x, 1),
                             axis);
        else
            out->mask |= 1u << axis;
    }
    if (n_axes == 0) out->mask = (1u << rank) - 1;
    if (st != ESKER_OK) esker__graph_fail(x->graph, st);
    return st == ESKER_OK;
}

static esker_node *record(const esker__op *op, esker_node *x, const int *axes, int n_axes, bool keepdims)
{
    esker__reduce_attr attr;
    if (!esker__reduce_axes(op->name, x, axes, n_axes, keepdims, &attr)) return NULL;
    return esker__record(op, &attr, &x, 1);
}

esker_node *esker__reduce_open(esker_node *node, esker_node *value)
{
    if (((const esker__reduce_attr *)node->attr)->keepdims) return value;
    esker_shape shape = node->inputs[0]->type.shape;
    for (int i = 0; i < shape.rank; i++)
        if (esker__is_reduced(node, i)) shape.dims[i] = 1;
    return esker_reshape(value, &shape);
}

int esker__reduce_list(const esker_node *node, int axes[ESKER_MAX_RANK])
{
    int n = 0;
    for (int i = 0; i < node->inputs[0]->type.shape.rank; i++)
        if (esker__is_reduced(node, i)) axes[n++] = i;
    return n;
}

/* The sum of x over the axes that `node` reduces; an empty list would mean all of them. */
static esker_node *sum_like(const esker_node *node, esker_node *x)
{
    int axes[ESKER_MAX_RANK], n_axes = esker__reduce_list(node, axes);
    return n_axes > 0 ? esker_sum(x, axes, n_axes, true) : x;
}

/* ---- References ---- */

void esker__reduce_walk_init(esker__reduce_walk *at, const esker_node *node)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    int64_t n_terms = 1;
    *at = (esker__reduce_walk){.shape = x, .n_out = 1, .n_in = 1};
    for (int i = x->rank - 1; i >= 0; i--) {
        bool reduced = esker__is_reduced(node, i);
        at->out_strides[i] = reduced ? 0 : at->n_out;
        at->term_strides[i] = reduced ? n_terms : 0;
        *(reduced ? &n_terms : &at->n_out) *= x->dims[i];
        at->n_in *= x->dims[i];
    }
}

void esker__reduce_walk_next(esker__reduce_walk *at)
{
    for (int d = at->shape->rank - 1; d >= 0; d--) {
        at->output += at->out_strides[d];
        at->term += at->term_strides[d];
        if (++at->digit[d] < at->shape->dims[d]) return;
        at->output -= at->out_strides[d] * at->shape->dims[d];
        at->term -= at->term_strides[d] * at->shape->dims[d];
        at->digit[d] = 0;
    }
}

static void reference(const esker__reference *r, esker__join join, double scale)
{
    static const double first[] = {0, -INFINITY, INFINITY, 1};
    esker__reduce_walk at;
    esker__reduce_walk_init(&at, r->node);
    double *out = r->out[0], *magnitude = join == ESKER__JOIN_SUM ? r->magnitude[0] : NULL;
    for (int64_t i = 0; i < at.n_out; i++) out[i] = first[join];
    for (int64_t i = 0; magnitude && i < at.n_out; i++) magnitude[i] = 0;
    for (int64_t i = 0; i < at.n_in; i++, esker__reduce_walk_next(&at)) {
        double v = r->in[0][i], *y = &out[at.output];
        switch (join) {
        case ESKER__JOIN_SUM: *y += v; break;
        case ESKER__JOIN_MAX: *y = v <= *y || isnan(*y) ? *y : v; break;
        case ESKER__JOIN_MIN: *y = v >= *y || isnan(*y) ? *y : v; break;
        case ESKER__JOIN_PROD: *y *= v; break;
        }
        if (magnitude) magnitude[at.output] += fabs(v);
    }
    for (int64_t i = 0; i < at.n_out; i++) {
        out[i] *= scale;
        if (magnitude) magnitude[i] *= scale;
    }
}

static esker_status lower(esker__lowering *lowering, const esker_node *node, esker__join join, double scale)
{
    esker__reduction r = {.join = join, .scale = (float)scale, .in = esker__read(lowering, node->inputs[0])};
    if (esker__updated(node))
        r.updating = node;
    else
        r.out = esker__write(lowering, node);
    return esker__reduce_lower(lowering, node, &r);
}

/* What differs from one to the next: name, join, scale, gradient rule, tolerance; more members. */
#define REDUCTION(name_, join_, scale_, gradient_, tolerance_, ...)                                                \
    static esker_status name_##_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out) \
    {                                                                                                              \
        (void)n_inputs;                                                                                            \
        return esker__reduce_infer(#name_, attr, inputs, ESKER_DTYPE_F32, out);                                    \
    }                                                                                                              \
    static void name_##_reference(const esker__reference *r)                                                       \
    {                                                                                                              \
        const esker_node *node = r->node;                                                                          \
        (void)node;                                                                                                \
        reference(r, join_, scale_);                                                                               \
    }                                                                                                              \
    static esker_status name_##_lower(esker__lowering *lowering, const esker_node *node)                           \
    {                                                                                                              \
        return lower(lowering, node, join_, scale_);                                                               \
    }                                                                                                              \
    const esker__op esker__op_##name_ = {.name = #name_,                                                           \
                                         .n_inputs = 1,                                                            \
                                         .n_outputs = 1,                                                           \
                                         .attr_bytes = sizeof(esker__reduce_attr),                                 \
                                         .infer = name_##_infer,                                                   \
                                         .gradient = gradient_,                                                    \
                                         .reference = name_##_reference,                                           \
                                         .tolerance = tolerance_,                                                  \
                                         .atol = ESKER__FLUSHED,                                                   \
                                         .cost = esker__reduce_cost,                                               \
                                         .lower = name_##_lower,                                                   \
                                         __VA_ARGS__};                                                             \
    esker_node *esker_##name_(esker_node *x, const int *axes, int n_axes, bool keepdims)                           \
    {                                                                                                              \
        return record(&esker__op_##name_, x, axes, n_axes, keepdims);                                              \
    }

/* ---- sum and mean ---- */

static esker_node *sum_gradient(esker_node *node, esker_node *grad, int input)
{
    return esker_expand(esker__reduce_open(node, grad), &node->inputs[input]->type.shape);
}

static double sum_tolerance(const esker_node *node)
{
    return 2 * sqrt((double)esker__reduce_terms(node)) + 1;
}

static esker_node *mean_gradient(esker_node *node, esker_node *grad, int input)
{
    return esker_expand(esker_affine(esker__reduce_open(node, grad), 1.0f / (float)esker__reduce_terms(node), 0),
                        &node->inputs[input]->type.shape);
}

static double mean_tolerance(const esker_node *node)
{
    return sum_tolerance(node) + 2; /* 1 / n and the product are rounded */
}

static bool sum_may_update(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    (void)node;
    return esker__update_fits(update, 1, false, fusion);
}

static esker_node *sum_updating(const esker_node *node, const esker__update *update, const esker__fusion *fusion);

REDUCTION(sum, ESKER__JOIN_SUM, 1, sum_gradient, sum_tolerance, .flags = ESKER__OP_UPDATES_WITH_ALL,
          .may_update = sum_may_update, .updating = sum_updating)
REDUCTION(mean, ESKER__JOIN_SUM, 1.0 / (double)esker__reduce_terms(node), mean_gradient, mean_tolerance,
          .fours = esker__mean_fours, .in_fours = esker__mean_in_fours)

/* ---- Sums that update parameters ---- */

typedef struct updating_attr {
    esker__reduce_attr reduce;
    esker__update update;
} updating_attr;

static void updating_sum_cost(const esker_node *node, esker__cost *out)
{
    esker__reduce_cost(node, out);
    esker__update_cost(node, out);
}

static void updating_sum_title(const esker_node *node, esker__text *text)
{
    esker__text_add(text, "sum");
    esker__update_title(node, text);
}

static const esker__op updating_sum = {.name = "sum",
                                       .n_inputs = 1,
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(updating_attr),
                                       .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATING,
                                       .infer = sum_infer,
                                       .reference = sum_reference,
                                       .tolerance = sum_tolerance,
                                       .atol = ESKER__FLUSHED,
                                       .cost = updating_sum_cost,
                                       .lower = sum_lower,
                                       .title = updating_sum_title,
                                       .update = esker__update_reference,
                                       .plain = &esker__op_sum};

static esker_node *sum_updating(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    return sum_may_update(node, update, fusion) ? esker__record_updating(&updating_sum, node, update) : NULL;
}

esker_node *esker__sum_to(esker_node *x, const esker_shape *shape)
{
    if (!x || esker_shape_equal(&x->type.shape, shape)) return x;
    const esker_shape *from = &x->type.shape;
    char signature[ESKER__SIGNATURE_BYTES], text[ESKER_SHAPE_TEXT_BYTES];
    int axes[ESKER_MAX_RANK], n_axes = 0, added = from->rank - shape->rank;
    for (int i = 0; i < from->rank; i++) {
        int64_t kept = i < added ? 1 : shape->dims[i - added];
        if (added < 0 || (kept != from->dims[i] && kept != 1))
            return esker__graph_fail(x->graph,
                                     esker__fail(ESKER_ERR_INVALID, "%s to %s: that shape does not broadcast to it",
                                                 esker__signature(signature, "sum", &x, 1), esker_shape_text(shape, text)));
        if (i < added || kept != from->dims[i]) axes[n_axes++] = i;
    }
    if (n_axes > 0) x = esker_sum(x, axes, n_axes, true);
    return added != 0 ? esker_reshape(x, shape) : x;
}

/* ---- max and min ---- */

/* Each of the m elements that equal the extremum gets 1 / m of the gradient. */
static esker_node *extremum_gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *hits = esker__equal(node->inputs[input], esker__reduce_open(node, node));
    return esker_mul(hits, esker_div(esker__reduce_open(node, grad), sum_like(node, hits)));
}

REDUCTION(max, ESKER__JOIN_MAX, 1, extremum_gradient, esker__tolerance_exact, .flags = 0)
REDUCTION(min, ESKER__JOIN_MIN, 1, extremum_gradient, esker__tolerance_exact, .flags = 0)

/* ---- prod ---- */

/*
 * d prod / d x[i] is the product of the others: with no zero among the terms, prod / x[i]; with one zero, the product of the others
 * for that element and 0 for the rest; with more, 0. Zeros become ones first, so that one product serves both.
 */
static esker_node *prod_gradient(esker_node *node, esker_node *grad, int input)
{
    esker_node *x = node->inputs[input];
    int axes[ESKER_MAX_RANK], n_axes = esker__reduce_list(node, axes);
    if (n_axes == 0) return grad;
    esker_node *zeros = esker__equal(x, esker_full(x->graph, &(esker_shape){0}, 0));
    esker_node *others = esker_prod(esker_add(x, zeros), axes, n_axes, true);
    esker_node *inputs[] = {esker_mul(esker__reduce_open(node, grad), others), sum_like(node, zeros), x};
    return esker__record(&esker__op_prod_grad, NULL, inputs, 3);
}

static double prod_tolerance(const esker_node *node)
{
    return 2 * sqrt((double)esker__reduce_terms(node)) + 2;
}

REDUCTION(prod, ESKER__JOIN_PROD, 1, prod_gradient, prod_tolerance, .flags = 0)
