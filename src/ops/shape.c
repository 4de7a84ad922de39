/* Operations that change the shape and not the values: reshape, flatten, expand. (transpose.c moves elements.) */
#include <string.h>

#include "base/fail.h"
#include "ops/map.h"
#include "ops/ops.h"

/* ---- reshape: a view ---- */

static esker_status reshape_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker_shape *asked = &((const esker__reshape_attr *)attr)->shape, *from = &inputs[0]->type.shape;
    char signature[ESKER__SIGNATURE_BYTES], text[ESKER_SHAPE_TEXT_BYTES];
    int64_t n, n_known = 1;
    int open = -1;
    esker_status st = esker_shape_elems(from, &n);
    if (st != ESKER_OK) return st;
    esker__signature(signature, "reshape", inputs, n_inputs);
    if (asked->rank < 0 || asked->rank > ESKER_MAX_RANK)
        return esker__fail(ESKER_ERR_INVALID, "%s: rank %d asked, 0 to %d are possible", signature, asked->rank,
                           ESKER_MAX_RANK);
    *out = (esker__type){inputs[0]->type.dtype, *asked};
    esker_shape_text(asked, text);
    for (int i = 0; i < asked->rank; i++) {
        int64_t *dim = &out->shape.dims[i];
        if (*dim == -1) {
            if (open >= 0)
                return esker__fail(ESKER_ERR_INVALID, "%s to %s: axes %d and %d are both -1, one can be left open",
                                   signature, text, open, i);
            open = i;
            continue;
        }
        if (*dim == 0) {
            if (i >= from->rank)
                return esker__fail(ESKER_ERR_INVALID, "%s to %s: axis %d is 0 (keep), but the input has %d axes", signature,
                                   text, i, from->rank);
            *dim = from->dims[i];
        }
        if (*dim < 0 || *dim > n)
            return esker__fail(ESKER_ERR_INVALID, "%s to %s: axis %d does not fit the input's %lld elements", signature,
                               text, i, (long long)n);
        if (n_known > n / *dim)
            return esker__fail(ESKER_ERR_INVALID, "%s to %s: more elements than the input's %lld", signature, text,
                               (long long)n);
        n_known *= *dim;
    }
    if (open >= 0 ? n % n_known != 0 : n_known != n)
        return esker__fail(ESKER_ERR_INVALID, "%s to %s: %lld elements do not %s %lld", signature, text, (long long)n,
                           open >= 0 ? "divide by" : "make", (long long)n_known);
    if (open >= 0) out->shape.dims[open] = n / n_known;
    return ESKER_OK;
}

static esker_node *reshape_gradient(esker_node *node, esker_node *grad, int input)
{
    return esker_reshape(grad, &node->inputs[input]->type.shape);
}

static void reshape_reference(const esker__reference *r)
{
    int64_t n = 1;
    for (int i = 0; i < r->node->type.shape.rank; i++) n *= r->node->type.shape.dims[i];
    memcpy(r->out[0], r->in[0], (size_t)n * sizeof(double));
}

static void reshape_cost(const esker_node *node, esker__cost *out)
{
    (void)node;
    *out = (esker__cost){0, 0};
}

/* To its own shape: the input itself. */
static esker_node *simplify_same(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    esker__type type;
    (void)graph;
    bool same = op->infer(attr, inputs, 1, &type) == ESKER_OK && esker_shape_equal(&type.shape, &inputs[0]->type.shape);
    return same ? inputs[0] : NULL;
}

/* A constant of one element stays that. */
static esker_node *simplify_reshape(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    esker__type type;
    if (inputs[0]->op == &esker__op_full && inputs[0]->type.dtype == ESKER_DTYPE_F32 &&
        esker__elems(&inputs[0]->type.shape) == 1 && op->infer(attr, inputs, 1, &type) == ESKER_OK)
        return esker_full(graph, &type.shape, ((const esker__full_attr *)inputs[0]->attr)->value);
    return simplify_same(graph, op, attr, inputs);
}

const esker__op esker__op_reshape = {.name = "reshape",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .attr_bytes = sizeof(esker__reshape_attr),
                                     .flags = ESKER__OP_VIEW | ESKER__OP_STORAGE_TYPES,
                                     .infer = reshape_infer,
                                     .gradient = reshape_gradient,
                                     .reference = reshape_reference,
                                     .tolerance = esker__tolerance_exact,
                                     .cost = reshape_cost,
                                     .simplify = simplify_reshape};

static esker_node *record_shape(const esker__op *op, esker_node *x, const esker_shape *shape)
{
    if (!x) return NULL;
    if (!shape) return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: no shape was given", op->name));
    esker__reshape_attr attr;
    memset(&attr, 0, sizeof attr); /* attributes are compared as bytes: dimensions past the rank must be zero */
    attr.shape.rank = shape->rank;
    for (int i = 0; i < shape->rank && i < ESKER_MAX_RANK; i++) attr.shape.dims[i] = shape->dims[i];
    return esker__record(op, &attr, &x, 1);
}

esker_node *esker_reshape(esker_node *x, const esker_shape *shape)
{
    return record_shape(&esker__op_reshape, x, shape);
}

esker_node *esker_flatten(esker_node *x)
{
    if (x && x->type.shape.rank == 0)
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "flatten: a scalar has no first axis to keep"));
    return esker_reshape(x, &(esker_shape){2, {0, -1}});
}

/* ---- expand: the copy that broadcasting stands for ---- */

static esker_status expand_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    esker_shape asked = ((const esker__reshape_attr *)attr)->shape, *to = &asked;
    const esker_shape *from = &inputs[0]->type.shape;
    char signature[ESKER__SIGNATURE_BYTES], text[ESKER_SHAPE_TEXT_BYTES];
    int64_t n;
    esker__signature(signature, "expand", inputs, n_inputs);
    for (int i = 0, j = from->rank - to->rank; i < to->rank && i < ESKER_MAX_RANK; i++, j++)
        if (to->dims[i] == 0 && j >= 0) to->dims[i] = from->dims[j];
    esker_status st = esker_shape_elems(to, &n);
    if (st != ESKER_OK) {
        esker__fail_prefix("%s", signature);
        return st;
    }
    if (from->rank > to->rank)
        return esker__fail(ESKER_ERR_INVALID, "%s to %s: rank %d cannot become %d", signature, esker_shape_text(to, text),
                           from->rank, to->rank);
    for (int j = 0, i = to->rank - from->rank; j < from->rank; j++, i++)
        if (from->dims[j] != to->dims[i] && from->dims[j] != 1)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s to %s: axis %d has %lld elements; only an axis of 1 stretches to %lld", signature,
                               esker_shape_text(to, text), j, (long long)from->dims[j], (long long)to->dims[i]);
    *out = (esker__type){inputs[0]->type.dtype, *to};
    return ESKER_OK;
}

/* The caller sums what is wider than the input down to it: exactly the reverse of this. */
static esker_node *expand_gradient(esker_node *node, esker_node *grad, int input)
{
    (void)node, (void)input;
    return grad;
}

static void expand_map(const esker_node *node, esker__map *map)
{
    *map = (esker__map){.n_operands = 1, .rank = node->type.shape.rank, .expr = "a"};
    esker__map_of(map, node->type.dtype);
    memcpy(map->dims, node->type.shape.dims, sizeof map->dims);
    esker__broadcast_strides(&node->inputs[0]->type.shape, &node->type.shape, map->strides[0]);
}

static void expand_reference(const esker__reference *r)
{
    esker__map map;
    expand_map(r->node, &map);
    esker__map_copy(&map, r->in[0], r->out[0]);
}

static esker_status expand_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__map map;
    expand_map(node, &map);
    return esker__map_emit(lowering, &map,
                           (esker__operand[]){esker__read(lowering, node->inputs[0]), esker__write(lowering, node)});
}

const esker__op esker__op_expand = {.name = "expand",
                                    .n_inputs = 1,
                                    .n_outputs = 1,
                                    .attr_bytes = sizeof(esker__reshape_attr),
                                    .flags = ESKER__OP_IN_PLACE_0 | ESKER__OP_STORAGE_TYPES,
                                    .infer = expand_infer,
                                    .gradient = expand_gradient,
                                    .reference = expand_reference,
                                    .tolerance = esker__tolerance_exact,
                                    .lower = expand_lower,
                                    .simplify = simplify_same};

esker_node *esker_expand(esker_node *x, const esker_shape *shape)
{
    return record_shape(&esker__op_expand, x, shape);
}
