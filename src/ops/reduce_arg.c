/* argmax and argmin, int32; and prod_grad, the elementwise part of prod's gradient. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/map.h"
#include "ops/reduce.h"

/* ---- argmax, argmin ---- */

static esker_status arg_infer(const char *name, const void *attr, esker_node *const *inputs, esker__type *out)
{
    return esker__reduce_infer(name, attr, inputs, ESKER_DTYPE_I32, out);
}

static esker_status argmax_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return arg_infer("argmax", attr, inputs, out);
}

static esker_status argmin_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return arg_infer("argmin", attr, inputs, out);
}

static void arg_reference(const esker__reference *r)
{
    esker__reduce_walk at;
    esker__reduce_walk_init(&at, r->node);
    double *out = r->out[0], *best = esker__malloc((size_t)at.n_out * sizeof *best);
    bool minimum = r->node->op == &esker__op_argmin;
    for (int64_t i = 0; i < at.n_out; i++) out[i] = best ? -1 : NAN;
    /* Terms of one output come in the order of their numbers. */
    for (int64_t i = 0; best && i < at.n_in; i++, esker__reduce_walk_next(&at)) {
        double v = r->in[0][i];
        bool beats = minimum ? v < best[at.output] : v > best[at.output];
        if (out[at.output] >= 0 && !beats && !(isnan(v) && !isnan(best[at.output]))) continue;
        best[at.output] = v;
        out[at.output] = (double)at.term;
    }
    esker__free(best);
}

static esker_status arg_lower(esker__lowering *lowering, const esker_node *node)
{
    return esker__reduce_lower(lowering, node,
                               &(esker__reduction){.arg = true,
                                                   .minimum = node->op == &esker__op_argmin,
                                                   .scale = 1,
                                                   .in = esker__read(lowering, node->inputs[0]),
                                                   .out = esker__write(lowering, node)});
}

#define ARG_OP(name_)                                                                    \
    const esker__op esker__op_##name_ = {.name = #name_,                                 \
                                         .n_inputs = 1,                                  \
                                         .n_outputs = 1,                                 \
                                         .attr_bytes = sizeof(esker__reduce_attr),       \
                                         .infer = name_##_infer,                         \
                                         .no_gradient = 1,                               \
                                         .reference = arg_reference,                     \
                                         .tolerance = esker__tolerance_exact,            \
                                         .cost = esker__reduce_cost,                     \
                                         .lower = arg_lower};                            \
    esker_node *esker_##name_(esker_node *x, const int *axes, int n_axes, bool keepdims) \
    {                                                                                    \
        esker__reduce_attr attr;                                                         \
        if (!esker__reduce_axes(#name_, x, axes, n_axes, keepdims, &attr)) return NULL;  \
        return esker__record(&esker__op_##name_, &attr, &x, 1);                          \
    }

ARG_OP(argmax)
ARG_OP(argmin)

/* ---- prod_grad(s, z, x): s is g times the product of the terms that are not 0, z how many are 0; s and z broadcast to x ---- */

static esker_status prod_grad_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker_shape *x = &inputs[2]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    (void)attr;
    *out = inputs[2]->type;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < x->rank; i++) {
            const esker_shape *s = &inputs[k]->type.shape;
            if (s->rank == x->rank && (s->dims[i] == x->dims[i] || s->dims[i] == 1)) continue;
            return esker__fail(ESKER_ERR_INTERNAL, "%s: operand %d does not stretch to the last",
                               esker__signature(text, "prod_grad", inputs, n_inputs), k);
        }
    return ESKER_OK;
}

static void prod_grad_map(const esker_node *node, esker__map *map)
{
    *map = (esker__map){
        .n_operands = 3, .rank = node->type.shape.rank, .expr = "b < 0.5 ? a / c : (b < 1.5 && c == 0.0 ? a : 0.0)"};
    memcpy(map->dims, node->type.shape.dims, sizeof map->dims);
    for (int k = 0; k < 3; k++) esker__broadcast_strides(&node->inputs[k]->type.shape, &node->type.shape, map->strides[k]);
}

static void prod_grad_reference(const esker__reference *r)
{
    esker__map map;
    prod_grad_map(r->node, &map);
    int64_t n = 1, digit[ESKER_MAX_RANK] = {0}, s = 0, z = 0;
    for (int d = 0; d < map.rank; d++) n *= map.dims[d];
    for (int64_t i = 0; i < n; i++) {
        double x = r->in[2][i], share = r->in[0][s], zeros = r->in[1][z];
        r->out[0][i] = zeros < 0.5 ? share / x : zeros < 1.5 && x == 0 ? share : 0;
        for (int d = map.rank - 1; d >= 0; d--) {
            s += map.strides[0][d];
            z += map.strides[1][d];
            if (++digit[d] < map.dims[d]) break;
            s -= map.strides[0][d] * map.dims[d];
            z -= map.strides[1][d] * map.dims[d];
            digit[d] = 0;
        }
    }
}

static double prod_grad_tolerance(const esker_node *node)
{
    (void)node;
    return 6; /* a division: 2.5 units, and one more rounding */
}

static esker_status prod_grad_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__map map;
    prod_grad_map(node, &map);
    return esker__map_emit(lowering, &map,
                           (esker__operand[]){esker__read(lowering, node->inputs[0]),
                                              esker__read(lowering, node->inputs[1]),
                                              esker__read(lowering, node->inputs[2]), esker__write(lowering, node)});
}

/* How the gradient of a product changes with the terms is not defined as an operation: no second derivatives. */
const esker__op esker__op_prod_grad = {.name = "prod_grad",
                                       .n_inputs = 3,
                                       .n_outputs = 1,
                                       .infer = prod_grad_infer,
                                       .reference = prod_grad_reference,
                                       .tolerance = prod_grad_tolerance,
                                       .atol = ESKER__FLUSHED,
                                       .lower = prod_grad_lower};
