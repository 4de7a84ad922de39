/*
 * Elements by index: take and embedding (whole rows), and gather (each element its own index). Every tensor is seen as [outer, n, inner]
 * around the axis. What adds up by index is in scatter.c.
 */
#include "ops/gather.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/move.h"

#define GROUP_SIZE 64

/* ---- What scatter.c does, too ---- */

static esker_status check_type(const char *text, esker_node *index)
{
    if (index->type.dtype == ESKER_DTYPE_I32) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: indices must be int32, not %s", text, esker_dtype_name(index->type.dtype));
}

static esker_status check_axis(const char *text, int axis, int rank)
{
    if (axis >= 0 && axis < rank) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the rank is %d", text, axis, rank);
}

/* Equal but for the axis. */
static esker_status check_others(const char *text, const esker_shape *x, const esker_shape *index, int axis)
{
    if (x->rank != index->rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: rank %d with indices of rank %d", text, x->rank, index->rank);
    for (int i = 0; i < x->rank; i++)
        if (i != axis && x->dims[i] != index->dims[i])
            return esker__fail(ESKER_ERR_INVALID, "%s: axis %d is %lld, and %lld in the indices; only axis %d may differ",
                               text, i, (long long)x->dims[i], (long long)index->dims[i], axis);
    return ESKER_OK;
}

esker_status esker__index_check_each(const char *text, esker_node *const *inputs, int axis)
{
    esker_status st = check_type(text, inputs[1]);
    if (st == ESKER_OK) st = check_axis(text, axis, inputs[0]->type.shape.rank);
    return st == ESKER_OK ? check_others(text, &inputs[0]->type.shape, &inputs[1]->type.shape, axis) : st;
}

esker__index_split esker__index_split_at(const esker_shape *full, int axis, int64_t few)
{
    esker__index_split s = {1, full->dims[axis], few, 1};
    for (int i = 0; i < axis; i++) s.outer *= full->dims[i];
    for (int i = axis + 1; i < full->rank; i++) s.inner *= full->dims[i];
    return s;
}

esker_status esker__index_check_elems(const esker__lowering *lowering, const esker_node *node)
{
    esker_status st = esker__check_indexable(lowering, (uint64_t)esker__elems(&node->type.shape));
    for (int i = 0; st == ESKER_OK && i < node->n_inputs; i++)
        st = esker__check_indexable(lowering, (uint64_t)esker__elems(&node->inputs[i]->type.shape));
    return st;
}

int esker__index_kind(const esker_node *node)
{
    esker_dtype dtype = node->inputs[1]->type.dtype;
    return dtype == ESKER_DTYPE_F32 ? 1 : dtype == ESKER_DTYPE_U8 ? 2 : 0;
}

const esker_node *esker__index_unconverted(const esker_node *node)
{
    const esker_node *index = node->inputs[1];
    if (index->op != &esker__op_convert || index->type.dtype != ESKER_DTYPE_I32) return NULL;
    esker_dtype from = index->inputs[0]->type.dtype;
    return from == ESKER_DTYPE_F32 || from == ESKER_DTYPE_U8 ? index->inputs[0] : NULL;
}

esker_node *esker__record_indexed(const esker__op *op, esker_node *const *inputs, int n_inputs, int axis)
{
    esker_node *x = inputs[0];
    if (!x) return esker__record(op, NULL, inputs, n_inputs);
    axis = esker__axis_of(op->name, x, axis);
    return axis < 0 ? NULL : esker__record(op, &(esker__gather_attr){.axis = axis}, inputs, n_inputs);
}

/* ---- Types and gradients ---- */

static bool is_float(esker_dtype dtype)
{
    return dtype == ESKER_DTYPE_F32 || dtype == ESKER_DTYPE_F16;
}

static bool is_each(const esker_node *node)
{
    return node->op == &esker__op_gather;
}

static esker__index_split gather_split(const esker_node *node)
{
    int axis = ((const esker__gather_attr *)node->attr)->axis;
    const esker_shape *index = &node->inputs[1]->type.shape;
    return esker__index_split_at(&node->inputs[0]->type.shape, axis,
                                 is_each(node) ? index->dims[axis] : esker__elems(index));
}

/* Whether `added` fits behind itself into a float32 result of quads, a whole number of times. */
static bool repeats(const esker_node *added, const esker__type *type)
{
    const esker_shape *y = &type->shape, *x = &added->type.shape;
    int first = 0; /* axis that is more than 1 */
    while (first < x->rank && x->dims[first] == 1) first++;
    if (added->type.dtype != ESKER_DTYPE_F32 || type->dtype != ESKER_DTYPE_F32 || x->rank > y->rank) return false;
    for (int i = first; i < x->rank; i++)
        if (x->dims[i] != y->dims[y->rank - x->rank + i]) return false;
    return esker__elems(x) % 4 == 0;
}

static esker_status take_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__gather_attr *a = attr;
    const esker_shape *x = &inputs[0]->type.shape, *index = &inputs[1]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "take", inputs, n_inputs);
    if (n_inputs != 2 + (a->adds != 0))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: %d inputs given, %d are needed", text, n_inputs, 2 + (a->adds != 0));
    esker_status st = a->any_index ? ESKER_OK : check_type(text, inputs[1]);
    if (st == ESKER_OK) st = check_axis(text, a->axis, x->rank);
    if (st != ESKER_OK) return st;
    if (x->rank - 1 + index->rank > ESKER_MAX_RANK)
        return esker__fail(ESKER_ERR_INVALID, "%s: the result would have %d axes, at most %d are possible", text,
                           x->rank - 1 + index->rank, ESKER_MAX_RANK);
    *out = (esker__type){.dtype = inputs[0]->type.dtype};
    for (int i = 0; i < a->axis; i++) out->shape.dims[out->shape.rank++] = x->dims[i];
    for (int i = 0; i < index->rank; i++) out->shape.dims[out->shape.rank++] = index->dims[i];
    for (int i = a->axis + 1; i < x->rank; i++) out->shape.dims[out->shape.rank++] = x->dims[i];
    if (a->adds && !repeats(inputs[2], out)) return esker__fail(ESKER_ERR_INTERNAL, "%s: input 2 cannot be added", text);
    return ESKER_OK;
}

static esker_status gather_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__gather_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "gather", inputs, n_inputs);
    esker_status st = esker__index_check_each(text, inputs, a->axis);
    *out = (esker__type){inputs[0]->type.dtype, inputs[1]->type.shape};
    return st;
}

static esker_node *gather_gradient(esker_node *node, esker_node *grad, int input)
{
    int axis = ((const esker__gather_attr *)node->attr)->axis;
    esker__gather_grad_attr attr = {.axis = axis, .n = node->inputs[input]->type.shape.dims[axis]};
    return esker__record(is_each(node) ? &esker__op_gather_grad : &esker__op_take_grad, &attr,
                         (esker_node *[]){grad, node->inputs[1]}, 2);
}

static void gather_reference(const esker__reference *r)
{
    const esker__gather_attr *a = r->node->attr;
    esker__index_split s = gather_split(r->node);
    double nowhere = is_float(r->node->type.dtype) && !a->zero ? NAN : 0;
    int64_t at = 0;
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t j = 0; j < s.few; j++)
            for (int64_t i = 0; i < s.inner; i++, at++) {
                double k = trunc(r->in[1][is_each(r->node) ? at : j]);
                r->out[0][at] = k >= 0 && k < (double)s.many ? r->in[0][(o * s.many + (int64_t)k) * s.inner + i] : nowhere;
                if (a->adds) r->out[0][at] += r->in[2][at % esker__elems(&r->node->inputs[2]->type.shape)];
                if (a->adds && r->magnitude[0]) r->magnitude[0][at] = fabs(r->out[0][at]) + ESKER__FLUSHED * 0x1p24;
            }
}

/* Reading and writing what is named, and nothing else of the larger side. */
static void cost_moved(const esker_node *node, esker__cost *out)
{
    double n = (double)esker__elems(&node->type.shape), bytes = (double)esker_dtype_bytes(node->type.dtype);
    *out = (esker__cost){n, 2 * n * bytes + 4 * (double)esker__elems(&node->inputs[1]->type.shape)};
}

static double gather_tolerance(const esker_node *node)
{
    return ((const esker__gather_attr *)node->attr)->adds ? 2 : 0;
}

static esker_status gather_lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__gather_attr *a = node->attr;
    esker__index_split s = gather_split(node);
    esker_status st = esker__index_check_elems(lowering, node);
    if (st != ESKER_OK) return st;
    bool each = is_each(node), nan = is_float(node->type.dtype) && !a->zero;
    int bytes = (int)esker_dtype_bytes(node->type.dtype) % 4; /* 0: words */
    uint32_t fill = !nan ? 0 : bytes ? 0x7e00u : 0x7fc00000u;
    int64_t per_word = bytes ? 4 / bytes : 1, n = esker__elems(&node->type.shape);
    if (bytes && !each && s.inner % per_word == 0) { /* whole words after all */
        s.inner /= per_word;
        n /= per_word;
        fill |= fill << 16;
        bytes = 0;
    }
    int64_t unit = !bytes && !each && s.inner % 4 == 0 ? 4 : 1;
    n /= unit;
    char defines[96];
    snprintf(defines, sizeof defines, "EACH %d\nQUADS %d\nBYTES %d\nINDEX %d\nADDED %d\n", each, unit == 4, bytes,
             esker__index_kind(node), (int)a->adds);
    esker__dispatch_desc desc = {
        .kernel = "shape/gather",
        .defines = defines,
        .operands = {esker__read(lowering, node->inputs[0]), esker__read(lowering, node->inputs[1])},
        .n_operands = 2};
    if (a->adds) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[2]);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, (unit == 4 ? 1 : 4) * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n,
                         desc.groups[0],
                         (uint32_t)s.many,
                         (uint32_t)s.few,
                         (uint32_t)(s.inner / unit),
                         fill,
                         4,
                         a->adds ? (uint32_t)(esker__elems(&node->inputs[2]->type.shape) / 4) : 1};
    desc.params = params;
    desc.n_params = 8;
    return esker__emit(lowering, &desc);
}

/* ---- Fused: indices that need no conversion, and what is added to what is taken ---- */

static esker_node *take_fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                              const esker__fusion *fusion)
{
    const esker_node *from = esker__index_unconverted(node);
    if (!from || !fusion->map[from->id]) return NULL;
    esker__gather_attr attr = *(const esker__gather_attr *)node->attr;
    attr.any_index = 1;
    return esker__record_in(graph, node->op, &attr, (esker_node *[]){inputs[0], fusion->map[from->id]}, 2);
}

static bool take_absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr)
{
    esker__gather_attr *a = attr;
    const esker_node *added = user->inputs[1 - which];
    int64_t inner = gather_split(node).inner;
    if (user->op != &esker__op_add || a->adds || fusion->keep || fusion->storage_blocks < 4 || inner % 4 != 0) return false;
    if (added == user->inputs[which] || !esker_shape_equal(&user->type.shape, &node->type.shape)) return false;
    a->adds = repeats(added, &node->type);
    return a->adds;
}

static void take_title(const esker_node *node, esker__text *text)
{
    esker__text_add(text, "take%s", ((const esker__gather_attr *)node->attr)->adds ? "+add" : "");
}

/* ---- The operations ---- */

const esker__op esker__op_take = {.name = "take",
                                  .n_inputs = -1,
                                  .n_outputs = 1,
                                  .attr_bytes = sizeof(esker__gather_attr),
                                  .flags = ESKER__OP_STORAGE_TYPES,
                                  .infer = take_infer,
                                  .gradient = gather_gradient,
                                  .no_gradient = 2,
                                  .reference = gather_reference,
                                  .tolerance = gather_tolerance,
                                  .cost = cost_moved,
                                  .lower = gather_lower,
                                  .absorb = take_absorb,
                                  .fused = take_fused,
                                  .title = take_title};

const esker__op esker__op_gather = {.name = "gather",
                                    .n_inputs = 2,
                                    .n_outputs = 1,
                                    .attr_bytes = sizeof(esker__gather_attr),
                                    .flags = ESKER__OP_STORAGE_TYPES,
                                    .infer = gather_infer,
                                    .gradient = gather_gradient,
                                    .no_gradient = 2,
                                    .reference = gather_reference,
                                    .tolerance = esker__tolerance_exact,
                                    .cost = cost_moved,
                                    .lower = gather_lower};

esker_node *esker_take(esker_node *x, esker_node *indices, int axis)
{
    return esker__record_indexed(&esker__op_take, (esker_node *[]){x, indices}, 2, axis);
}

esker_node *esker_embedding(esker_node *table, esker_node *indices)
{
    char text[ESKER__SIGNATURE_BYTES];
    if (table && table->type.shape.rank != 2)
        return esker__graph_fail(table->graph, esker__fail(ESKER_ERR_INVALID, "%s: the table must be [rows, columns]",
                                                           esker__signature(text, "embedding", &table, 1)));
    return esker__record_indexed(&esker__op_take, (esker_node *[]){table, indices}, 2, 0);
}

esker_node *esker_gather(esker_node *x, esker_node *indices, int axis)
{
    return esker__record_indexed(&esker__op_gather, (esker_node *[]){x, indices}, 2, axis);
}
