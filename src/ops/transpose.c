/* transpose: any permutation of the axes. Neighbouring axes that stay neighbours are one axis; what is then a (batched) exchange of
   two is done in blocks, so that both reads and writes are contiguous; the rest is a gather by strides. */
#include <string.h>

#include "base/fail.h"
#include "ops/map.h"
#include "ops/ops.h"

static int source_axis(const esker_node *node, int i)
{
    return ((const esker__transpose_attr *)node->attr)->order[i];
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__transpose_attr *a = attr;
    const esker__type *x = &inputs[0]->type;
    char signature[ESKER__SIGNATURE_BYTES];
    esker__signature(signature, "transpose", inputs, n_inputs);
    if (a->rank != x->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: an order of %d axes for %d", signature, a->rank, x->shape.rank);
    unsigned seen = 0;
    *out = *x;
    for (int i = 0; i < x->shape.rank; i++) {
        int axis = a->order[i];
        if (axis < 0 || axis >= x->shape.rank)
            return esker__fail(ESKER_ERR_INVALID, "%s: order[%d] is %d, the axes are 0 to %d", signature, i, axis,
                               x->shape.rank - 1);
        if (seen & 1u << axis)
            return esker__fail(ESKER_ERR_INVALID, "%s: axis %d stands twice in the order", signature, axis);
        seen |= 1u << axis;
        out->shape.dims[i] = x->shape.dims[axis];
    }
    return ESKER_OK;
}

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    int inverse[ESKER_MAX_RANK] = {0};
    (void)input;
    for (int i = 0; i < node->type.shape.rank; i++) inverse[source_axis(node, i)] = i;
    return esker_transpose(grad, inverse);
}

static void describe(const esker_node *node, esker__map *map)
{
    int64_t strides[ESKER_MAX_RANK];
    esker__row_major(&node->inputs[0]->type.shape, strides);
    *map = (esker__map){.n_operands = 1, .rank = node->type.shape.rank, .expr = "a"};
    esker__map_of(map, node->type.dtype);
    for (int i = 0; i < map->rank; i++) {
        map->dims[i] = node->type.shape.dims[i];
        map->strides[0][i] = strides[source_axis(node, i)];
    }
}

static void reference(const esker__reference *r)
{
    esker__map map;
    describe(r->node, &map);
    esker__map_copy(&map, r->in[0], r->out[0]);
}

#define TILE   32 /* rows and columns that one group of glsl/elementwise/transpose.comp turns */
#define NARROW 8  /* below this, most of a tile would be idle: a gather then reads whole cache lines anyway */

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker_limits *limits = esker__lowering_limits(lowering);
    esker__operand operands[] = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)};
    esker__map map;
    describe(node, &map);
    esker__map_merge(&map);
    int rank = map.rank;
    const int64_t *strides = map.strides[0];

    /* y [batch, columns, rows] from x [batch, rows, columns] */
    int64_t batch = rank == 3 ? map.dims[0] : 1;
    bool words = esker_dtype_bytes(node->type.dtype) == 4;
    bool exchange = rank == 2 || (rank == 3 && strides[0] == map.dims[1] * map.dims[2]);
    exchange = exchange && strides[rank - 2] == 1 && strides[rank - 1] == map.dims[rank - 2];
    if (!words || !exchange || batch > limits->groups[2]) return esker__map_emit(lowering, &map, operands);
    int64_t rows = map.dims[rank - 1], columns = map.dims[rank - 2];
    uint64_t across = esker__ceil_div((uint64_t)columns, TILE), down = esker__ceil_div((uint64_t)rows, TILE);
    if (rows < NARROW || columns < NARROW || batch * rows > INT32_MAX / columns || across > limits->groups[0] ||
        down > limits->groups[1])
        return esker__map_emit(lowering, &map, operands);

    uint32_t params[] = {(uint32_t)rows, (uint32_t)columns};
    return esker__emit(lowering, &(esker__dispatch_desc){.kernel = "elementwise/transpose",
                                                         .defines = rows % 4 == 0 && columns % 4 == 0 ? "V 4\n" : "V 1\n",
                                                         .groups = {(uint32_t)across, (uint32_t)down, (uint32_t)batch},
                                                         .operands = {operands[0], operands[1]},
                                                         .n_operands = 2,
                                                         .params = params,
                                                         .n_params = 2});
}

static esker_node *simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    const esker__transpose_attr *transpose = attr, *before = inputs[0]->attr;
    (void)graph, (void)op;
    bool twice = inputs[0]->op == &esker__op_transpose, same = true;
    int order[ESKER_MAX_RANK] = {0};
    for (int i = 0; i < transpose->rank; i++) {
        order[i] = twice ? before->order[transpose->order[i]] : transpose->order[i];
        same &= order[i] == i;
    }
    esker_node *x = twice ? inputs[0]->inputs[0] : inputs[0];
    return same ? x : twice ? esker_transpose(x, order) : NULL;
}

const esker__op esker__op_transpose = {.name = "transpose",
                                       .n_inputs = 1,
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(esker__transpose_attr),
                                       .flags = ESKER__OP_STORAGE_TYPES,
                                       .infer = infer,
                                       .gradient = gradient,
                                       .reference = reference,
                                       .tolerance = esker__tolerance_exact,
                                       .lower = lower,
                                       .simplify = simplify};

esker_node *esker_transpose(esker_node *x, const int *order)
{
    if (!x) return NULL;
    esker__transpose_attr attr;
    memset(&attr, 0, sizeof attr);
    int rank = attr.rank = x->type.shape.rank;
    for (int i = 0; i < rank; i++) {
        attr.order[i] = order ? order[i] : rank - 1 - i;
        if (attr.order[i] < 0 && attr.order[i] >= -rank) attr.order[i] += rank;
    }
    return esker__record(&esker__op_transpose, &attr, &x, 1);
}
