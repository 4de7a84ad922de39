/* What elementwise operations share: type and shape rule, reference, lowering, and how rows are recorded (elementwise.h). */
#include "ops/elementwise.h"

#include <string.h>

#include "base/fail.h"

static const float no_constants[2] = {0, 0};

/* ---- Types and shapes ---- */

static esker_status infer_types(const char *name, esker__elementwise_types types, esker_node *const *inputs, int n_inputs,
                                esker_dtype *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    int first = types == ESKER__SELECT; /* the operand that the others must be like */
    const char *needed = NULL, *hint = "";
    for (int k = 0; k < n_inputs; k++) {
        esker_dtype own = inputs[k]->type.dtype;
        bool condition = types == ESKER__LOGIC || (types == ESKER__SELECT && k == 0);
        if (condition && own != ESKER_DTYPE_U8) {
            needed = "uint8";
            hint = " (esker_not_equal and other comparisons give it)";
        } else if (types == ESKER__FLOATS && own != ESKER_DTYPE_F32) {
            needed = "float32";
            hint = " (esker_convert)";
        } else if (types == ESKER__NUMBERS && own != ESKER_DTYPE_F32 && own != ESKER_DTYPE_I32) {
            needed = "float32 or int32";
            hint = " (esker_convert)";
        } else if (k > first && own != inputs[first]->type.dtype) {
            needed = esker_dtype_name(inputs[first]->type.dtype);
            hint = first ? ", as operand 1," : ", as operand 0,";
        }
        if (needed)
            return esker__fail(ESKER_ERR_INVALID, "%s: operand %d is %s, %s is needed%s",
                               esker__signature(text, name, inputs, n_inputs), k, esker_dtype_name(own), needed, hint);
    }
    *out = types == ESKER__COMPARE ? ESKER_DTYPE_U8 : inputs[first]->type.dtype;
    return ESKER_OK;
}

esker_status esker__elementwise_infer(const char *name, esker__elementwise_types types, esker_node *const *inputs,
                                      int n_inputs, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker_shape shape = {0};
    esker_status st = infer_types(name, types, inputs, n_inputs, &out->dtype);
    if (st != ESKER_OK) return st;
    for (int k = 0; k < n_inputs; k++)
        if (inputs[k]->type.shape.rank > shape.rank) shape.rank = inputs[k]->type.shape.rank;
    for (int i = 0; i < shape.rank; i++) shape.dims[i] = 1;
    for (int k = 0; k < n_inputs; k++) {
        const esker_shape *own = &inputs[k]->type.shape;
        for (int i = shape.rank - own->rank, j = 0; j < own->rank; i++, j++) {
            if (own->dims[j] == shape.dims[i] || own->dims[j] == 1) continue;
            if (shape.dims[i] != 1)
                return esker__fail(ESKER_ERR_INVALID,
                                   "%s: shapes do not broadcast: axis %d from the end is %lld in one and %lld in another, "
                                   "neither is 1",
                                   esker__signature(text, name, inputs, n_inputs), shape.rank - i, (long long)shape.dims[i],
                                   (long long)own->dims[j]);
            shape.dims[i] = own->dims[j];
        }
    }
    out->shape = shape;
    return ESKER_OK;
}

/* ---- Reference and lowering ---- */

static void describe(const esker_node *node, esker__map *map)
{
    *map = (esker__map){.n_operands = node->n_inputs, .rank = node->type.shape.rank, .expr = node->op->expr};
    memcpy(map->dims, node->type.shape.dims, sizeof map->dims);
    for (int k = 0; k < node->n_inputs; k++) {
        esker__broadcast_strides(&node->inputs[k]->type.shape, &node->type.shape, map->strides[k]);
        map->dtypes[k] = node->inputs[k]->type.dtype;
    }
    map->dtypes[node->n_inputs] = node->type.dtype;
    if (node->op->attr_bytes) {
        const float *constants = node->attr;
        map->k0 = constants[0];
        map->k1 = constants[1];
    }
}

/* The low 32 bits, as two's complement. */
static double wrapped(int64_t value)
{
    int64_t low = (int64_t)((uint64_t)value & UINT32_MAX);
    return (double)(low > INT32_MAX ? low - (int64_t)UINT32_MAX - 1 : low);
}

void esker__elementwise_reference(const esker__reference *r)
{
    const esker__elementwise *e = r->node->op->detail;
    const float *constants = r->node->op->attr_bytes ? r->node->attr : no_constants;
    bool integer = e->integer && r->node->type.dtype == ESKER_DTYPE_I32;
    esker__map map;
    describe(r->node, &map);
    int64_t n = 1, digit[ESKER_MAX_RANK] = {0}, at[ESKER__MAP_OPERANDS] = {0};
    for (int d = 0; d < map.rank; d++) n *= map.dims[d];
    for (int64_t i = 0; i < n; i++) {
        double x[ESKER__MAP_OPERANDS] = {0};
        for (int k = 0; k < map.n_operands; k++) x[k] = r->in[k][at[k]];
        double y = integer ? wrapped(e->integer((int64_t)x[0], (int64_t)x[1])) : e->value(x[0], x[1], x[2], constants);
        r->out[0][i] = y;
        /* op.h: the bound is 4 eps times the magnitude. */
        if (r->magnitude[0]) r->magnitude[0][i] = integer ? 0 : e->error(x[0], x[1], x[2], y, constants) / 4;
        for (int d = map.rank - 1; d >= 0; d--) {
            bool wraps = ++digit[d] == map.dims[d];
            if (wraps) digit[d] = 0;
            for (int k = 0; k < map.n_operands; k++) at[k] += map.strides[k][d] * (wraps ? 1 - map.dims[d] : 1);
            if (!wraps) break;
        }
    }
}

esker_status esker__elementwise_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__map map;
    describe(node, &map);
    esker__operand operands[ESKER__MAP_OPERANDS + 1];
    for (int k = 0; k < node->n_inputs; k++) operands[k] = esker__read(lowering, node->inputs[k]);
    operands[node->n_inputs] = esker__write(lowering, node);
    return esker__map_emit(lowering, &map, operands);
}

double esker__tolerance_exact(const esker_node *node)
{
    (void)node;
    return 0;
}

/* ---- Simpler equals ---- */

/* `constant` is a full node that stretches to the shape of `x` and no further. */
static bool fills(const esker_node *constant, const esker_node *x)
{
    const esker_shape *c = &constant->type.shape, *s = &x->type.shape;
    if (constant->op != &esker__op_full || c->rank > s->rank) return false;
    for (int i = 0; i < c->rank; i++)
        if (c->dims[i] != 1 && c->dims[i] != s->dims[s->rank - c->rank + i]) return false;
    return true;
}

/* What a [operation] `value` is, or NULL. */
static esker_node *with_constant(const esker__op *op, esker_node *a, float value)
{
    if (op == &esker__op_add) return value == 0 ? a : NULL;
    if (op == &esker__op_div) return value == 1 ? a : NULL;
    if (op == &esker__op_mul) return value == 1 ? a : isfinite(value) ? esker_affine(a, value, 0) : NULL;
    if (op != &esker__op_pow) return NULL;
    if (value == 1) return a;
    if (value == 2) return esker_square(a);
    if (value == 0.5f) return esker_sqrt(a);
    return value == -1 ? esker_reciprocal(a) : NULL;
}

/* Operands are stretched in any case: an expanded one as it was, if the shape of the result still comes of the others. */
static esker_node *without_expand(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    esker__type type, narrow;
    if (op->n_inputs < 2 || op->infer(attr, inputs, op->n_inputs, &type) != ESKER_OK) return NULL;
    for (int i = 0; i < op->n_inputs; i++) {
        esker_node *changed[ESKER__MAP_OPERANDS] = {inputs[0], inputs[1], op->n_inputs > 2 ? inputs[2] : NULL};
        if (inputs[i]->op != &esker__op_expand) continue;
        changed[i] = inputs[i]->inputs[0];
        if (op->infer(attr, changed, op->n_inputs, &narrow) != ESKER_OK || !esker_shape_equal(&narrow.shape, &type.shape))
            continue;
        esker_node *simpler = esker__elementwise_simplify(graph, op, attr, changed);
        return simpler ? simpler : esker__record(op, attr, changed, op->n_inputs);
    }
    return NULL;
}

esker_node *esker__elementwise_simplify(esker_graph *graph, const esker__op *op, const void *attr,
                                        esker_node *const *inputs)
{
    (void)graph;
    if (op == &esker__op_affine) {
        const esker__affine_attr *affine = attr;
        return affine->scale == 1 && affine->shift == 0 ? inputs[0] : NULL;
    }
    esker_node *narrow = without_expand(graph, op, attr, inputs);
    if (narrow) return narrow;
    esker_node *joined = op == &esker__op_add ? esker__sum_of_parts(inputs[0], inputs[1]) : NULL;
    if (joined) return joined;
    bool commutes = op == &esker__op_add || op == &esker__op_mul;
    for (int i = 1; op->n_inputs == 2 && i >= !commutes; i--) {
        if (!fills(inputs[i], inputs[1 - i])) continue;
        esker_node *simpler = with_constant(op, inputs[1 - i], ((const esker__full_attr *)inputs[i]->attr)->value);
        if (simpler) return simpler;
    }
    return NULL;
}

/* ---- Gradient rules ---- */

esker_node *esker__gradient_from_input(const esker__op *op, esker_node *node, esker_node *grad)
{
    return esker__record(op, node->attr, (esker_node *[]){node->inputs[0], grad}, 2);
}

esker_node *esker__gradient_from_output(const esker__op *op, esker_node *node, esker_node *grad)
{
    return esker__record(op, node->attr, (esker_node *[]){node, grad}, 2);
}

esker_node *esker__gradient_zero(esker_node *node, esker_node *grad, int input)
{
    (void)grad;
    return esker_full(node->graph, &node->inputs[input]->type.shape, 0);
}

/* ---- Recording ---- */

esker_node *esker__record1(const esker__op *op, esker_node *x)
{
    return esker__record(op, NULL, &x, 1);
}

esker_node *esker__record2(const esker__op *op, esker_node *a, esker_node *b)
{
    return esker__record(op, NULL, (esker_node *[]){a, b}, 2);
}

esker_node *esker__record3(const esker__op *op, esker_node *a, esker_node *b, esker_node *c)
{
    return esker__record(op, NULL, (esker_node *[]){a, b, c}, 3);
}

esker_node *esker__record_constants(const esker__op *op, esker_node *x, float k0, float k1, bool ok, const char *rule)
{
    if (x && !ok) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(x->graph,
                                 esker__fail(ESKER_ERR_INVALID, "%s: %g, %g given: %s",
                                             esker__signature(text, op->name, &x, 1), (double)k0, (double)k1, rule));
    }
    return esker__record(op, &(esker__constants_attr){k0, k1}, &x, 1);
}
