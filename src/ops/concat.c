/* concat and stack; squeeze and unsqueeze, which are reshapes. */
#include "base/fail.h"
#include "ops/move.h"

#define GROUP_SIZE        64
#define ESKER__STACK_MOST 1024 /* pointers on the stack */
#define AT_ONCE           3    /* inputs of one dispatch: with the result, the four storage blocks of ES 3.1 */

/* ---- concat ---- */

static int concat_axis(const esker_node *node)
{
    return ((const esker__axis_attr *)node->attr)->axis;
}

static esker_status concat_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    int axis = ((const esker__axis_attr *)attr)->axis;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "concat", inputs, n_inputs);
    *out = inputs[0]->type;
    if (axis < 0 || axis >= out->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the rank is %d", text, axis, out->shape.rank);
    for (int k = 1; k < n_inputs; k++) {
        const esker__type *x = &inputs[k]->type;
        if (x->dtype != out->dtype)
            return esker__fail(ESKER_ERR_INVALID, "%s: input 0 is %s, input %d is %s", text, esker_dtype_name(out->dtype),
                               k, esker_dtype_name(x->dtype));
        if (x->shape.rank != out->shape.rank)
            return esker__fail(ESKER_ERR_INVALID, "%s: input 0 has %d axes, input %d has %d", text, out->shape.rank, k,
                               x->shape.rank);
        for (int i = 0; i < x->shape.rank; i++)
            if (i != axis && x->shape.dims[i] != out->shape.dims[i])
                return esker__fail(ESKER_ERR_INVALID,
                                   "%s: axis %d is %lld in input 0 and %lld in input %d; only axis %d may differ", text, i,
                                   (long long)out->shape.dims[i], (long long)x->shape.dims[i], k, axis);
        out->shape.dims[axis] += x->shape.dims[axis];
    }
    return ESKER_OK;
}

static esker_node *concat_gradient(esker_node *node, esker_node *grad, int input)
{
    int axis = concat_axis(node);
    int64_t start = 0;
    for (int k = 0; k < input; k++) start += node->inputs[k]->type.shape.dims[axis];
    return esker__slice_axis(grad, axis, start, node->inputs[input]->type.shape.dims[axis]);
}

/* Elements of one row of each input: the axis and all behind it. Returns the rows. */
static int64_t rows_of(const esker_node *node, int64_t lengths[AT_ONCE])
{
    int axis = concat_axis(node);
    const esker_shape *y = &node->type.shape;
    int64_t rows = 1, inner = 1;
    for (int i = 0; i < axis; i++) rows *= y->dims[i];
    for (int i = axis + 1; i < y->rank; i++) inner *= y->dims[i];
    for (int k = 0; k < AT_ONCE; k++) lengths[k] = k < node->n_inputs ? node->inputs[k]->type.shape.dims[axis] * inner : 0;
    return rows;
}

static void concat_reference(const esker__reference *r)
{
    int64_t lengths[AT_ONCE], rows = rows_of(r->node, lengths), at = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int k = 0; k < r->node->n_inputs; k++)
            for (int64_t i = 0; i < lengths[k]; i++) r->out[0][at++] = r->in[k][row * lengths[k] + i];
}

/* Of one row: what stands in front of the axis is 1. */
static bool concat_in_sequence(const esker_node *node)
{
    int64_t lengths[AT_ONCE];
    return rows_of(node, lengths) == 1;
}

static esker_status concat_lower(esker__lowering *lowering, const esker_node *node)
{
    int64_t lengths[AT_ONCE], n = 0, rows = rows_of(node, lengths);
    if (esker__is_in_place(lowering, node, 0) || esker__is_in_place(lowering, node, 1))
        return esker__copy_missing(lowering, node);
    int bytes = (int)esker_dtype_bytes(node->type.dtype) % 4; /* 0: words */
    int64_t per_word = bytes ? 4 / bytes : 1;
    for (int k = 0; k < AT_ONCE; k++)
        if (lengths[k] % per_word) per_word = 1;
    for (int k = 0; k < AT_ONCE; k++) lengths[k] /= per_word;
    if (per_word > 1) bytes = 0; /* whole words after all */
    bool quads = !bytes;
    for (int k = 0; k < AT_ONCE; k++) {
        n += rows * lengths[k];
        quads = quads && lengths[k] % 4 == 0;
    }
    esker_status st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;
    char defines[] = "INPUTS 3\nQUADS 0\nBYTES 0\n";
    defines[7] = (char)('0' + node->n_inputs);
    if (quads) defines[15] = '1';
    defines[23] = (char)('0' + bytes);
    int64_t unit = quads ? 4 : 1;
    esker__dispatch_desc desc = {.kernel = "shape/concat", .defines = defines};
    for (int k = 0; k < node->n_inputs; k++) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[k]);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 4 * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)(n / unit), desc.groups[0], (uint32_t)(lengths[0] / unit), (uint32_t)(lengths[1] / unit),
                         (uint32_t)(lengths[2] / unit)};
    desc.params = params;
    desc.n_params = 5;
    return esker__emit(lowering, &desc);
}

/* Channels that come in whole fours. */
static bool concat_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out)
{
    (void)rates;
    if (concat_axis(node) != 1 || node->type.shape.rank != 4 || node->type.dtype != ESKER_DTYPE_F32) return false;
    *out = (esker__fours){.gives = true};
    for (int k = 0; k < node->n_inputs; k++) {
        if (node->inputs[k]->type.shape.dims[1] % 4) return false;
        out->takes |= 1u << k;
    }
    return true;
}

static esker_node *concat_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    return esker__record_in(graph, node->op, node->attr, inputs, node->n_inputs);
}

static esker_node *concat_fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                const esker__fusion *fusion)
{
    (void)inputs;
    return esker__attention_fused_concat(graph, node, fusion);
}

const esker__op esker__op_concat = {.name = "concat",
                                    .n_inputs = -1,
                                    .n_outputs = 1,
                                    .attr_bytes = sizeof(esker__axis_attr),
                                    .flags = ESKER__OP_STORAGE_TYPES,
                                    .infer = concat_infer,
                                    .gradient = concat_gradient,
                                    .reference = concat_reference,
                                    .tolerance = esker__tolerance_exact,
                                    .in_sequence = concat_in_sequence,
                                    .fused = concat_fused,
                                    .fours = concat_fours,
                                    .in_fours = concat_in_fours,
                                    .lower = concat_lower};

/* Three at a time, in a tree: each element moves as often as the tree is deep. */
static esker_node *concat_tree(esker_node *const *inputs, int n, int axis)
{
    if (n == 1) return inputs[0];
    esker_node *parts[AT_ONCE];
    int n_parts = n < AT_ONCE ? n : AT_ONCE, done = 0;
    for (int k = 0; k < n_parts; k++) {
        int count = (n - done + n_parts - k - 1) / (n_parts - k);
        parts[k] = concat_tree(inputs + done, count, axis);
        done += count;
    }
    return esker__record(&esker__op_concat, &(esker__axis_attr){.axis = axis}, parts, n_parts);
}

esker_node *esker_concat(esker_node *const *inputs, int n, int axis)
{
    esker_node *first = NULL;
    for (int i = 0; i < n && inputs && !first; i++) first = inputs[i];
    if (!first) return NULL;
    for (int i = 0; i < n; i++)
        if (!inputs[i]) return esker__record(&esker__op_concat, &(esker__axis_attr){0}, inputs, n); /* says so */
    axis = esker__axis_of("concat", inputs[0], axis);
    if (axis < 0) return NULL;
    /* Checked together, so that a message counts inputs as the caller does. */
    esker__type type;
    esker_status st = concat_infer(&(esker__axis_attr){.axis = axis}, inputs, n, &type);
    if (st != ESKER_OK) return esker__graph_fail(first->graph, st);
    return concat_tree(inputs, n, axis);
}

/* ---- squeeze and unsqueeze ---- */

/* A dimension that stays where it is is written 0, and an axis 0 that moves -1: so the batch may change. */
static esker_node *reshape_open(esker_node *x, esker_shape *shape, const int *from)
{
    for (int i = 0; i < shape->rank; i++) {
        if (from[i] == i)
            shape->dims[i] = 0;
        else if (from[i] == 0)
            shape->dims[i] = -1;
    }
    return esker_reshape(x, shape);
}

esker_node *esker_unsqueeze(esker_node *x, int axis)
{
    if (!x) return NULL;
    int rank = x->type.shape.rank, at = axis < 0 ? axis + rank + 1 : axis, from[ESKER_MAX_RANK] = {0};
    char text[ESKER__SIGNATURE_BYTES];
    if (rank == ESKER_MAX_RANK)
        return esker__graph_fail(x->graph,
                                 esker__fail(ESKER_ERR_INVALID, "%s: there are %d axes already, no more are possible",
                                             esker__signature(text, "unsqueeze", &x, 1), rank));
    if (at < 0 || at > rank)
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: axis %d, %d to %d are possible",
                                                       esker__signature(text, "unsqueeze", &x, 1), axis, -rank - 1, rank));
    esker_shape shape = {.rank = rank + 1};
    for (int i = 0; i <= rank; i++) {
        from[i] = i < at ? i : i == at ? -1 : i - 1;
        shape.dims[i] = i == at ? 1 : x->type.shape.dims[from[i]];
    }
    return reshape_open(x, &shape, from);
}

esker_node *esker_squeeze(esker_node *x, const int *axes, int n_axes)
{
    if (!x) return NULL;
    const esker_shape *own = &x->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    bool gone[ESKER_MAX_RANK] = {false};
    if (n_axes < 0 || (n_axes > 0 && !axes))
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: %d axes are no list",
                                                       esker__signature(text, "squeeze", &x, 1), n_axes));
    for (int i = 0; n_axes == 0 && i < own->rank; i++) gone[i] = own->dims[i] == 1;
    for (int k = 0; k < n_axes; k++) {
        int axis = esker__axis_of("squeeze", x, axes[k]);
        if (axis < 0) return NULL;
        if (own->dims[axis] != 1)
            return esker__graph_fail(
                x->graph, esker__fail(ESKER_ERR_INVALID, "%s: axis %d has %lld elements, only one of 1 can go",
                                      esker__signature(text, "squeeze", &x, 1), axis, (long long)own->dims[axis]));
        gone[axis] = true;
    }
    esker_shape shape = {.rank = 0};
    int from[ESKER_MAX_RANK] = {0};
    for (int i = 0; i < own->rank; i++) {
        if (gone[i]) continue;
        from[shape.rank] = i;
        shape.dims[shape.rank++] = own->dims[i];
    }
    return reshape_open(x, &shape, from);
}

esker_node *esker_stack(esker_node *const *inputs, int n, int axis)
{
    esker_node *open[ESKER__STACK_MOST] = {NULL}, *first = n > 0 && inputs ? inputs[0] : NULL;
    char text[ESKER__SIGNATURE_BYTES];
    if (!first) return NULL;
    if (n > ESKER__STACK_MOST)
        return esker__graph_fail(first->graph,
                                 esker__fail(ESKER_ERR_LIMIT, "stack: %d inputs, at most %d", n, ESKER__STACK_MOST));
    int rank = first->type.shape.rank;
    for (int i = 0; i < n; i++) {
        if (inputs[i] && !esker_shape_equal(&inputs[i]->type.shape, &first->type.shape))
            return esker__graph_fail(first->graph,
                                     esker__fail(ESKER_ERR_INVALID, "%s: input %d has another shape than input 0",
                                                 esker__signature(text, "stack", inputs, i + 1), i));
        open[i] = esker_unsqueeze(inputs[i], axis);
        if (!open[i]) return NULL;
    }
    return esker_concat(open, n, axis < 0 ? axis + rank + 1 : axis);
}
