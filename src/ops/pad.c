/* pad: constant, mirrored and repeated edges; roll, tile and triangles, which the same kernel moves. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include <esker/tensor.h>
#include "ops/move.h"

/* ---- pad ---- */

static esker_status pad_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__pad_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "pad", inputs, n_inputs);
    *out = inputs[0]->type;
    if (a->n_axes > out->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: padding for %d axes, there are %d", text, (int)a->n_axes,
                           out->shape.rank);
    if (a->mode < ESKER_PAD_CONSTANT || a->mode > ESKER_PAD_EDGE)
        return esker__fail(ESKER_ERR_INVALID, "%s: unknown mode %d", text, (int)a->mode);
    static const struct {
        float lo, hi;
    } ranges[] = {[ESKER_DTYPE_I32] = {-0x1p31f, 0x1.fffffep30f},
                  [ESKER_DTYPE_U8] = {0, 255},
                  [ESKER_DTYPE_F16] = {-65504, 65504},
                  [ESKER_DTYPE_I8] = {-128, 127}};
    bool whole = out->dtype == ESKER_DTYPE_F16 || a->value == floorf(a->value);
    float lo = ranges[out->dtype].lo, hi = ranges[out->dtype].hi;
    if (out->dtype != ESKER_DTYPE_F32 && !(whole && a->value >= lo && a->value <= hi))
        return esker__fail(ESKER_ERR_INVALID, "%s: value %g is no %s", text, (double)a->value,
                           esker_dtype_name(out->dtype));
    for (int i = 0; i < a->n_axes; i++) {
        int64_t n = out->shape.dims[i], most = a->mode == ESKER_PAD_REFLECT ? n - 1 : INT32_MAX;
        if (a->before[i] < 0 || a->after[i] < 0 || a->before[i] > most || a->after[i] > most)
            return esker__fail(ESKER_ERR_INVALID, "%s: %lld before and %lld after axis %d of %lld, 0 to %lld are possible",
                               text, (long long)a->before[i], (long long)a->after[i], i, (long long)n, (long long)most);
        out->shape.dims[i] = n + a->before[i] + a->after[i];
    }
    return ESKER_OK;
}

/* What left the axis at its two ends, added to the elements that it was copied from. */
static esker_node *fold_back(esker_node *g, int axis, int64_t before, int64_t n, int64_t after, bool reflect)
{
    esker_node *sum = esker__slice_axis(g, axis, before, n);
    for (int end = 0; end < 2; end++) {
        int64_t count = end ? after : before;
        if (count == 0) continue;
        esker_node *part = esker__slice_axis(g, axis, end ? before + n : 0, count);
        if (reflect)
            part = esker__unslice_axis(esker_flip(part, axis), axis, end ? n - 1 - after : 1, n);
        else
            part = esker__unslice_axis(esker_sum(part, &axis, 1, true), axis, end ? n - 1 : 0, n);
        sum = esker_add(sum, part);
    }
    return sum;
}

static esker_node *pad_gradient(esker_node *node, esker_node *grad, int input)
{
    const esker__pad_attr *a = node->attr;
    const esker_shape *x = &node->inputs[input]->type.shape;
    if (a->mode != ESKER_PAD_CONSTANT) {
        for (int i = 0; i < a->n_axes; i++)
            if (a->before[i] || a->after[i])
                grad = fold_back(grad, i, a->before[i], x->dims[i], a->after[i], a->mode == ESKER_PAD_REFLECT);
        return grad;
    }
    esker_range ranges[ESKER_MAX_RANK] = {{0}};
    for (int i = 0; i < a->n_axes; i++) ranges[i] = (esker_range){a->before[i], a->before[i] + x->dims[i], 1};
    return esker_slice(grad, ranges, a->n_axes);
}

static void pad_move(const esker_node *node, esker__move *move)
{
    static const esker__move_kind kinds[] = {ESKER__MOVE_PLACE, ESKER__MOVE_REFLECT, ESKER__MOVE_EDGE};
    const esker__pad_attr *a = node->attr;
    esker__move_init(move, kinds[a->mode], &node->inputs[0]->type.shape, &node->type.shape);
    for (int i = 0; i < a->n_axes; i++) move->axes[i].a = a->before[i];
    move->fill = node->type.dtype == ESKER_DTYPE_F16 ? esker_f32_from_f16(esker_f16_from_f32(a->value)) : a->value;
}

static esker_node *pad_simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    const esker__pad_attr *a = attr;
    (void)graph, (void)op;
    for (int i = 0; i < a->n_axes; i++)
        if (a->before[i] || a->after[i]) return NULL;
    return inputs[0];
}

/* ---- roll ---- */

static esker_status roll_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__roll_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    *out = inputs[0]->type;
    if (a->axis < 0 || a->axis >= out->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the rank is %d",
                           esker__signature(text, "roll", inputs, n_inputs), (int)a->axis, out->shape.rank);
    return ESKER_OK;
}

/* 0 to n - 1: how far x is read ahead. */
static int64_t roll_ahead(const esker__roll_attr *a, int64_t n)
{
    int64_t back = a->shift % n;
    return back > 0 ? n - back : -back;
}

static esker_node *roll_gradient(esker_node *node, esker_node *grad, int input)
{
    const esker__roll_attr *a = node->attr;
    (void)input;
    return esker_roll(grad, a->axis, roll_ahead(a, node->type.shape.dims[a->axis]));
}

static void roll_move(const esker_node *node, esker__move *move)
{
    const esker__roll_attr *a = node->attr;
    esker__move_init(move, ESKER__MOVE_WRAP, &node->type.shape, &node->type.shape);
    move->axes[a->axis].a = roll_ahead(a, node->type.shape.dims[a->axis]);
}

static esker_node *roll_simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    const esker__roll_attr *a = attr;
    (void)graph, (void)op;
    return a->shift % inputs[0]->type.shape.dims[a->axis] == 0 ? inputs[0] : NULL;
}

/* ---- tile ---- */

static esker_status tile_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__tile_attr *a = attr;
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    *out = (esker__type){inputs[0]->type.dtype, {.rank = a->n > x->rank ? a->n : x->rank}};
    for (int i = 0; i < out->shape.rank; i++) {
        int j = i - (out->shape.rank - x->rank), k = i - (out->shape.rank - a->n);
        int64_t n = j < 0 ? 1 : x->dims[j], repeats = k < 0 ? 1 : a->repeats[k];
        if (repeats < 1 || repeats > INT32_MAX)
            return esker__fail(ESKER_ERR_INVALID, "%s: axis %d is to be repeated %lld times",
                               esker__signature(text, "tile", inputs, n_inputs), k, (long long)repeats);
        out->shape.dims[i] = n * repeats;
    }
    return ESKER_OK;
}

/* The sum over the copies: axis by axis, [outer, repeats, n, inner] is summed over its second. */
static esker_node *tile_gradient(esker_node *node, esker_node *grad, int input)
{
    const esker_shape *y = &node->type.shape, *x = &node->inputs[input]->type.shape;
    esker_shape now = *y;
    const int copies = 1;
    for (int i = 0; i < y->rank; i++) {
        int j = i - (y->rank - x->rank);
        int64_t n = j < 0 ? 1 : x->dims[j], outer = 1, inner = 1;
        if (n == y->dims[i]) continue;
        for (int k = 0; k < i; k++) outer *= now.dims[k];
        for (int k = i + 1; k < y->rank; k++) inner *= now.dims[k];
        grad = esker_reshape(grad, &(esker_shape){4, {outer, y->dims[i] / n, n, inner}});
        grad = esker_sum(grad, &copies, 1, false);
        now.dims[i] = n;
    }
    return esker_reshape(grad, x);
}

static void tile_move(const esker_node *node, esker__move *move)
{
    esker__move_init(move, ESKER__MOVE_WRAP, &node->inputs[0]->type.shape, &node->type.shape);
}

static esker_node *tile_simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    const esker__tile_attr *a = attr;
    (void)graph, (void)op;
    for (int i = 0; i < a->n; i++)
        if (a->repeats[i] != 1) return NULL;
    return a->n <= inputs[0]->type.shape.rank ? inputs[0] : NULL;
}

/* ---- tril and triu ---- */

static esker_status triangle_infer(const char *name, esker_node *const *inputs, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    *out = inputs[0]->type;
    if (out->shape.rank < 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: rows and columns are needed, there are %d axes",
                           esker__signature(text, name, inputs, 1), out->shape.rank);
    return ESKER_OK;
}

static esker_status tril_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr, (void)n_inputs;
    return triangle_infer("tril", inputs, out);
}

static esker_status triu_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr, (void)n_inputs;
    return triangle_infer("triu", inputs, out);
}

static esker_node *triangle_gradient(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__record(node->op, node->attr, &grad, 1);
}

static void triangle_move(const esker_node *node, esker__move *move)
{
    bool lower = node->op == &esker__op_tril;
    esker__move_init(move, lower ? ESKER__MOVE_LOWER : ESKER__MOVE_UPPER, &node->type.shape, &node->type.shape);
    move->diagonal = ((const esker__triangle_attr *)node->attr)->diagonal;
}

/* ---- The operations ---- */

#define MOVE_OP(name_, family_, infer_, simplify_)                                       \
    static void name_##_reference(const esker__reference *r)                             \
    {                                                                                    \
        esker__move move;                                                                \
        family_##_move(r->node, &move);                                                  \
        esker__move_reference(&move, r);                                                 \
    }                                                                                    \
    static esker_status name_##_lower(esker__lowering *lowering, const esker_node *node) \
    {                                                                                    \
        esker__move move;                                                                \
        family_##_move(node, &move);                                                     \
        return esker__move_lower(lowering, node, &move);                                 \
    }                                                                                    \
    const esker__op esker__op_##name_ = {.name = #name_,                                 \
                                         .n_inputs = 1,                                  \
                                         .n_outputs = 1,                                 \
                                         .attr_bytes = sizeof(esker__##family_##_attr),  \
                                         .flags = ESKER__OP_STORAGE_TYPES,               \
                                         .infer = infer_,                                \
                                         .gradient = family_##_gradient,                 \
                                         .reference = name_##_reference,                 \
                                         .tolerance = esker__tolerance_exact,            \
                                         .lower = name_##_lower,                         \
                                         .simplify = simplify_};

MOVE_OP(pad, pad, pad_infer, pad_simplify)
MOVE_OP(roll, roll, roll_infer, roll_simplify)
MOVE_OP(tile, tile, tile_infer, tile_simplify)
MOVE_OP(tril, triangle, tril_infer, NULL)
MOVE_OP(triu, triangle, triu_infer, NULL)

esker_node *esker_pad(esker_node *x, const int64_t *before, const int64_t *after, int n_axes, esker_pad_mode mode,
                      float value)
{
    if (!x) return NULL;
    esker__pad_attr attr;
    memset(&attr, 0, sizeof attr);
    if (n_axes < 0 || n_axes > ESKER_MAX_RANK)
        return esker__graph_fail(
            x->graph,
            esker__fail(ESKER_ERR_INVALID, "pad: padding for %d axes, at most %d are possible", n_axes, ESKER_MAX_RANK));
    attr.mode = (int32_t)mode;
    attr.n_axes = n_axes;
    attr.value = mode == ESKER_PAD_CONSTANT ? value : 0;
    for (int i = 0; i < n_axes; i++) {
        attr.before[i] = before ? before[i] : 0;
        attr.after[i] = after ? after[i] : 0;
    }
    return esker__record(&esker__op_pad, &attr, &x, 1);
}

esker_node *esker_roll(esker_node *x, int axis, int64_t shift)
{
    if (!x) return NULL;
    axis = esker__axis_of("roll", x, axis);
    return axis < 0 ? NULL : esker__record(&esker__op_roll, &(esker__roll_attr){.shift = shift, .axis = axis}, &x, 1);
}

esker_node *esker_tile(esker_node *x, const int64_t *repeats, int n)
{
    if (!x) return NULL;
    esker__tile_attr attr;
    memset(&attr, 0, sizeof attr);
    if (n < 1 || n > ESKER_MAX_RANK || !repeats)
        return esker__graph_fail(
            x->graph, esker__fail(ESKER_ERR_INVALID, "tile: repeats of %d axes, 1 to %d are possible", n, ESKER_MAX_RANK));
    attr.n = n;
    memcpy(attr.repeats, repeats, (size_t)n * sizeof *repeats);
    return esker__record(&esker__op_tile, &attr, &x, 1);
}

esker_node *esker_tril(esker_node *x, int diagonal)
{
    return esker__record(&esker__op_tril, &(esker__triangle_attr){diagonal}, &x, 1);
}

esker_node *esker_triu(esker_node *x, int diagonal)
{
    return esker__record(&esker__op_triu, &(esker__triangle_attr){diagonal}, &x, 1);
}
