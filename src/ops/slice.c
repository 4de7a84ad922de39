/* slice and split; unslice, which is slice's gradient; flip. */
#include <string.h>

#include "base/fail.h"
#include "ops/move.h"

/* Of unslice: element o of x stands at start + o step of a result with `length` elements. */
typedef struct unslice_attr {
    int32_t rank, pad;
    int64_t start[ESKER_MAX_RANK], step[ESKER_MAX_RANK], length[ESKER_MAX_RANK];
} unslice_attr;

static int64_t clamp_to(int64_t v, int64_t n)
{
    if (v < 0) v = v < -n ? 0 : v + n;
    return v > n ? n : v;
}

/* First element, elements and step along axis i; everything if no range names it. */
static void resolve(const esker__slice_attr *a, int i, int64_t n, int64_t *start, int64_t *count, int64_t *step)
{
    esker_range range = i < a->n_ranges ? a->ranges[i] : (esker_range){0, 0, 0};
    int64_t stop = range.stop == 0 ? n : clamp_to(range.stop, n);
    *start = clamp_to(range.start, n);
    *step = range.step == 0 ? 1 : range.step;
    *count = *step > 0 && stop > *start ? (stop - *start - 1) / *step + 1 : 0;
}

/* ---- slice ---- */

static esker_status slice_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__slice_attr *a = attr;
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "slice", inputs, n_inputs);
    if (a->n_ranges > x->rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d ranges for %d axes", text, (int)a->n_ranges, x->rank);
    *out = inputs[0]->type;
    for (int i = 0; i < x->rank; i++) {
        int64_t start, step;
        resolve(a, i, x->dims[i], &start, &out->shape.dims[i], &step);
        if (step < 1)
            return esker__fail(ESKER_ERR_INVALID, "%s: the step of axis %d is %lld, at least 1 is needed (esker_flip)",
                               text, i, (long long)step);
        if (out->shape.dims[i] < 1)
            return esker__fail(ESKER_ERR_INVALID, "%s: nothing of axis %d is in %lld to %lld", text, i,
                               (long long)a->ranges[i].start, (long long)a->ranges[i].stop);
    }
    return ESKER_OK;
}

static esker_node *slice_gradient(esker_node *node, esker_node *grad, int input)
{
    const esker_shape *x = &node->inputs[input]->type.shape;
    unslice_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.rank = x->rank;
    for (int i = 0; i < x->rank; i++) {
        int64_t count;
        resolve(node->attr, i, x->dims[i], &attr.start[i], &count, &attr.step[i]);
        attr.length[i] = x->dims[i];
    }
    return esker__record(&esker__op_unslice, &attr, &grad, 1);
}

static void slice_move(const esker_node *node, esker__move *move)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    esker__move_init(move, ESKER__MOVE_SLICE, x, &node->type.shape);
    for (int i = 0; i < x->rank; i++) {
        int64_t count;
        resolve(node->attr, i, x->dims[i], &move->axes[i].a, &count, &move->axes[i].b);
    }
}

static void slice_reference(const esker__reference *r)
{
    esker__move move;
    slice_move(r->node, &move);
    esker__move_reference(&move, r);
}

static esker_status slice_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__move move;
    slice_move(node, &move);
    return esker__move_lower(lowering, node, &move);
}

/* The axes that are not whole end with one that is read without gaps; of those before it there is one element. */
static bool slice_piece(const esker_node *node, int64_t *out_first)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    int64_t stride = 1;
    bool whole = true; /* all axes behind this one are */
    *out_first = 0;
    for (int i = x->rank - 1; i >= 0; stride *= x->dims[i--]) {
        int64_t start, count, step;
        resolve(node->attr, i, x->dims[i], &start, &count, &step);
        *out_first += start * stride;
        if (count > 1 && (!whole || step > 1)) return false;
        if (count != x->dims[i]) whole = false;
    }
    return true;
}

bool esker__slice_columns(const esker_node *node, esker__columns *out)
{
    if (node->op != &esker__op_slice) return false;
    const esker_shape *x = &node->inputs[0]->type.shape;
    *out = (esker__columns){1, 1, 0, 1};
    int cut = -1;
    for (int i = 0; i < x->rank; i++) {
        int64_t start, count, step;
        resolve(node->attr, i, x->dims[i], &start, &count, &step);
        if (cut < 0 && count == x->dims[i]) {
            out->rows *= count;
            continue;
        }
        if (cut >= 0 && count != x->dims[i]) return false;
        if (cut < 0 && step != 1) return false;
        if (cut < 0) *out = (esker__columns){out->rows, 1, start, 1};
        cut = cut < 0 ? i : cut;
        out->length *= x->dims[i];
        out->count *= count;
        if (i > cut) out->first *= count;
    }
    return cut >= 0;
}

/* Only what is taken is read. */
static void slice_cost(const esker_node *node, esker__cost *out)
{
    int64_t n = 0;
    (void)esker_shape_elems(&node->type.shape, &n);
    *out = (esker__cost){(double)n, 2.0 * (double)n * (double)esker_dtype_bytes(node->type.dtype)};
}

/* All of it: x itself. */
static esker_node *slice_simplify(esker_graph *graph, const esker__op *op, const void *attr, esker_node *const *inputs)
{
    const esker_shape *x = &inputs[0]->type.shape;
    (void)graph, (void)op;
    for (int i = 0; i < x->rank; i++) {
        int64_t start, count, step;
        resolve(attr, i, x->dims[i], &start, &count, &step);
        if (count != x->dims[i]) return NULL;
    }
    return inputs[0];
}

const esker__op esker__op_slice = {.name = "slice",
                                   .n_inputs = 1,
                                   .n_outputs = 1,
                                   .attr_bytes = sizeof(esker__slice_attr),
                                   .flags = ESKER__OP_STORAGE_TYPES,
                                   .infer = slice_infer,
                                   .gradient = slice_gradient,
                                   .reference = slice_reference,
                                   .tolerance = esker__tolerance_exact,
                                   .cost = slice_cost,
                                   .piece = slice_piece,
                                   .lower = slice_lower,
                                   .simplify = slice_simplify};

esker_node *esker_slice(esker_node *x, const esker_range *ranges, int n_ranges)
{
    if (!x) return NULL;
    esker__slice_attr attr;
    memset(&attr, 0, sizeof attr);
    if (n_ranges < 0 || n_ranges > ESKER_MAX_RANK || (n_ranges > 0 && !ranges))
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "slice: %d ranges are no list", n_ranges));
    attr.n_ranges = n_ranges;
    if (n_ranges) memcpy(attr.ranges, ranges, (size_t)n_ranges * sizeof *ranges);
    return esker__record(&esker__op_slice, &attr, &x, 1);
}

esker_node *esker__slice_axis(esker_node *x, int axis, int64_t start, int64_t count)
{
    esker_range ranges[ESKER_MAX_RANK] = {{0}};
    ranges[axis] = (esker_range){start, start + count, 1};
    return esker_slice(x, ranges, axis + 1);
}

esker_status esker_split_axis(esker_node *x, int axis, const int64_t *lengths, int n, esker_node **out)
{
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (!x) return esker__fail(ESKER_ERR_INVALID, "split: x is NULL");
    char text[ESKER__SIGNATURE_BYTES];
    if (x->graph->status != ESKER_OK) return esker_graph_status(x->graph);
    axis = esker__axis_of("split", x, axis);
    if (axis < 0) return esker_graph_status(x->graph);
    int64_t length = x->type.shape.dims[axis], start = 0;
    esker__signature(text, "split", &x, 1);
    esker_status st = ESKER_OK;
    if (n < 1 || (!lengths && length % n != 0))
        st = esker__fail(ESKER_ERR_INVALID, "%s: axis %d cannot be cut into %d equal parts", text, axis, n);
    for (int i = 0; st == ESKER_OK && lengths && i < n; i++) {
        if (lengths[i] < 1 || lengths[i] > length - start)
            st = esker__fail(ESKER_ERR_INVALID, "%s: part %d of axis %d has %lld elements, 1 to %lld are left", text, i,
                             axis, (long long)lengths[i], (long long)(length - start));
        else
            start += lengths[i];
    }
    if (st == ESKER_OK && lengths && start != length)
        st = esker__fail(ESKER_ERR_INVALID, "%s: the parts of axis %d have %lld elements in all, it has %lld", text, axis,
                         (long long)start, (long long)length);
    start = 0;
    for (int i = 0; st == ESKER_OK && i < n; i++) {
        int64_t count = lengths ? lengths[i] : length / n;
        out[i] = esker__slice_axis(x, axis, start, count);
        if (!out[i]) return esker_graph_status(x->graph);
        start += count;
    }
    if (st != ESKER_OK) esker__graph_fail(x->graph, st);
    return st;
}

/* ---- unslice: the slice back in its place, zeros around it ---- */

static esker_status unslice_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const unslice_attr *a = attr;
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    *out = inputs[0]->type;
    for (int i = 0; i < x->rank; i++) {
        if (a->rank != x->rank || a->start[i] < 0 || a->step[i] < 1 ||
            a->start[i] + (x->dims[i] - 1) * a->step[i] >= a->length[i])
            return esker__fail(ESKER_ERR_INTERNAL, "%s: axis %d was not cut out of %lld from %lld on in steps of %lld",
                               esker__signature(text, "unslice", inputs, n_inputs), i, (long long)a->length[i],
                               (long long)a->start[i], (long long)a->step[i]);
        out->shape.dims[i] = a->length[i];
    }
    return ESKER_OK;
}

static esker_node *unslice_gradient(esker_node *node, esker_node *grad, int input)
{
    const unslice_attr *a = node->attr;
    esker_range ranges[ESKER_MAX_RANK] = {{0}};
    for (int i = 0; i < a->rank; i++) {
        int64_t last = a->start[i] + (node->inputs[input]->type.shape.dims[i] - 1) * a->step[i];
        ranges[i] = (esker_range){a->start[i], last + 1, a->step[i]};
    }
    return esker_slice(grad, ranges, a->rank);
}

static void unslice_move(const esker_node *node, esker__move *move)
{
    const unslice_attr *a = node->attr;
    esker__move_init(move, ESKER__MOVE_PLACE, &node->inputs[0]->type.shape, &node->type.shape);
    for (int i = 0; i < a->rank; i++) {
        move->axes[i].a = a->start[i];
        move->axes[i].b = a->step[i];
    }
}

static void unslice_reference(const esker__reference *r)
{
    esker__move move;
    unslice_move(r->node, &move);
    esker__move_reference(&move, r);
}

static esker_status unslice_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__move move;
    unslice_move(node, &move);
    return esker__move_lower(lowering, node, &move);
}

const esker__op esker__op_unslice = {.name = "unslice",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .attr_bytes = sizeof(unslice_attr),
                                     .flags = ESKER__OP_STORAGE_TYPES,
                                     .infer = unslice_infer,
                                     .gradient = unslice_gradient,
                                     .reference = unslice_reference,
                                     .tolerance = esker__tolerance_exact,
                                     .lower = unslice_lower};

esker_node *esker__unslice_axis(esker_node *x, int axis, int64_t start, int64_t length)
{
    if (!x) return NULL;
    unslice_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.rank = x->type.shape.rank;
    for (int i = 0; i < attr.rank; i++) {
        attr.start[i] = i == axis ? start : 0;
        attr.step[i] = 1;
        attr.length[i] = i == axis ? length : x->type.shape.dims[i];
    }
    return esker__record(&esker__op_unslice, &attr, &x, 1);
}

/* ---- Sums of unslices: the gradients of all parts of a value ---- */

#define MOST_PARTS 256

/* The axis along which an unslice puts its input, whole in the others, or -1. */
static int placed_axis(const esker_node *node)
{
    const unslice_attr *a = node->attr;
    int axis = -1;
    for (int i = 0; i < a->rank; i++) {
        if (a->step[i] != 1) return -1;
        if (node->inputs[0]->type.shape.dims[i] == a->length[i]) continue;
        if (axis >= 0) return -1;
        axis = i;
    }
    return axis;
}

/* The terms of a + b that are unslices along one axis, in its order; 0 if there is any other. */
static int find_parts(esker_node *a, esker_node *b, int *out_axis, esker_node **out)
{
    esker_node *open[MOST_PARTS] = {a, b};
    int n = 0;
    for (int n_open = 2; n_open > 0;) {
        esker_node *x = open[--n_open];
        if (x->op == &esker__op_add && n_open + 2 <= MOST_PARTS && esker_shape_equal(&x->type.shape, &a->type.shape)) {
            open[n_open++] = x->inputs[0];
            open[n_open++] = x->inputs[1];
            continue;
        }
        if (x->op != &esker__op_unslice || n == MOST_PARTS || !esker_shape_equal(&x->type.shape, &a->type.shape)) return 0;
        int axis = placed_axis(x), at = n++;
        if (axis < 0 || (at > 0 && axis != *out_axis)) return 0;
        *out_axis = axis;
        int64_t start = ((const unslice_attr *)x->attr)->start[axis];
        for (; at > 0 && ((const unslice_attr *)out[at - 1]->attr)->start[axis] > start; at--) out[at] = out[at - 1];
        out[at] = x;
    }
    return n;
}

esker_node *esker__sum_of_parts(esker_node *a, esker_node *b)
{
    esker_node *parts[MOST_PARTS];
    int axis = -1, n = find_parts(a, b, &axis, parts);
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        if (((const unslice_attr *)parts[i]->attr)->start[axis] != at) return NULL;
        parts[i] = parts[i]->inputs[0];
        at += parts[i]->type.shape.dims[axis];
    }
    return n && at == a->type.shape.dims[axis] ? esker_concat(parts, n, axis) : NULL;
}

/* ---- flip ---- */

static esker_status flip_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__axis_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    *out = inputs[0]->type;
    if (a->axis < 0 || a->axis >= out->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the rank is %d",
                           esker__signature(text, "flip", inputs, n_inputs), (int)a->axis, out->shape.rank);
    return ESKER_OK;
}

static esker_node *flip_gradient(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__record(&esker__op_flip, node->attr, &grad, 1);
}

static void flip_move(const esker_node *node, esker__move *move)
{
    int axis = ((const esker__axis_attr *)node->attr)->axis;
    esker__move_init(move, ESKER__MOVE_SLICE, &node->type.shape, &node->type.shape);
    move->axes[axis].a = node->type.shape.dims[axis] - 1;
    move->axes[axis].b = -1;
}

static void flip_reference(const esker__reference *r)
{
    esker__move move;
    flip_move(r->node, &move);
    esker__move_reference(&move, r);
}

static esker_status flip_lower(esker__lowering *lowering, const esker_node *node)
{
    esker__move move;
    flip_move(node, &move);
    return esker__move_lower(lowering, node, &move);
}

const esker__op esker__op_flip = {.name = "flip",
                                  .n_inputs = 1,
                                  .n_outputs = 1,
                                  .attr_bytes = sizeof(esker__axis_attr),
                                  .flags = ESKER__OP_STORAGE_TYPES,
                                  .infer = flip_infer,
                                  .gradient = flip_gradient,
                                  .reference = flip_reference,
                                  .tolerance = esker__tolerance_exact,
                                  .lower = flip_lower};

esker_node *esker_flip(esker_node *x, int axis)
{
    if (!x) return NULL;
    axis = esker__axis_of("flip", x, axis);
    return axis < 0 ? NULL : esker__record(&esker__op_flip, &(esker__axis_attr){.axis = axis}, &x, 1);
}
