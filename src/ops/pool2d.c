/* Largest value and mean over windows, and their gradients as operations. */
#include <math.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/contract.h"
#include "ops/conv2d.h"
#include "ops/ops.h"
#include "ops/pool2d.h"

typedef esker__pool2d_attr pool_attr;

typedef struct pool_size {
    int64_t planes, h, w, oh, ow;
} pool_size;

static bool is_mean(const esker_node *node)
{
    return node->op == &esker__op_avg_pool2d || node->op == &esker__op_avg_pool2d_grad;
}

/* From the shapes of x and of y, the pooled x. */
static pool_size size_of(const esker_shape *x, const esker_shape *y)
{
    return (pool_size){x->dims[0] * x->dims[1], x->dims[2], x->dims[3], y->dims[2], y->dims[3]};
}

static esker_status infer(const char *name, const pool_attr *attr, esker_node *const *inputs, esker__type *out)
{
    static const char *const axis_name[2] = {"rows", "columns"};
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, name, inputs, 1);
    const esker_shape *x = &inputs[0]->type.shape;
    if (inputs[0]->type.dtype != ESKER_DTYPE_F32) return esker__fail(ESKER_ERR_INVALID, "%s: float32 is needed", text);
    if (x->rank != 4) return esker__fail(ESKER_ERR_INVALID, "%s: x [n, c, h, w] is needed, not %d axes", text, x->rank);
    if (attr->window[0] < 1 || attr->window[1] < 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: window is [%d, %d], each must be at least 1", text, (int)attr->window[0],
                           (int)attr->window[1]);
    esker_status st = esker__check_stride(text, attr->stride, attr->padding);
    if (st != ESKER_OK) return st;
    *out = (esker__type){ESKER_DTYPE_F32, {4, {x->dims[0], x->dims[1]}}};
    for (int i = 0; i < 2; i++) {
        int64_t in = x->dims[2 + i], window = attr->window[i], padding = attr->padding[i];
        if (2 * padding > window) /* else a window could lie wholly outside */
            return esker__fail(ESKER_ERR_INVALID, "%s: padding %lld of %s is more than half of the window's %lld", text,
                               (long long)padding, axis_name[i], (long long)window);
        if (window > in + 2 * padding)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: the window has %lld %s, but x has %lld with padding %lld on both sides", text,
                               (long long)window, axis_name[i], (long long)(in + 2 * padding), (long long)padding);
        out->shape.dims[2 + i] = esker__conv2d_out(in, window, attr->stride[i], padding);
    }
    return ESKER_OK;
}

static esker_status infer_max(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("max_pool2d", attr, inputs, out);
}

static esker_status infer_avg(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("avg_pool2d", attr, inputs, out);
}

static esker_node *record(const esker__op *op, esker_node *x, const esker_pool2d_desc *desc)
{
    if (!x) return NULL;
    if (!desc)
        return esker__graph_fail(x->graph,
                                 esker__fail(ESKER_ERR_INVALID, "%s: desc is NULL; a window is needed", op->name));
    pool_attr attr = {.window = {desc->window[0], desc->window[1]}};
    for (int i = 0; i < 2; i++) {
        attr.stride[i] = desc->stride[i] != 0 ? desc->stride[i] : desc->window[i];
        attr.padding[i] = desc->padding[i];
    }
    attr.exclude_padding = op == &esker__op_avg_pool2d && desc->exclude_padding && (desc->padding[0] || desc->padding[1]);
    return esker__record(op, &attr, &x, 1);
}

esker_node *esker_max_pool2d(esker_node *x, const esker_pool2d_desc *desc)
{
    return record(&esker__op_max_pool2d, x, desc);
}

esker_node *esker_avg_pool2d(esker_node *x, const esker_pool2d_desc *desc)
{
    return record(&esker__op_avg_pool2d, x, desc);
}

static esker_node *record_1d(const char *name, esker_node *x, const esker_pool1d_desc *desc,
                             esker_node *(*pool)(esker_node *, const esker_pool2d_desc *))
{
    if (!x) return NULL;
    esker_status st = desc ? esker__check_one_axis(name, &x, 1)
                           : esker__fail(ESKER_ERR_INVALID, "%s: desc is NULL; a window is needed", name);
    if (st != ESKER_OK) return esker__graph_fail(x->graph, st);
    return esker__without_rows(pool(esker__with_rows(x), &(esker_pool2d_desc){.window = {1, desc->window},
                                                                              .stride = {1, desc->stride},
                                                                              .padding = {0, desc->padding},
                                                                              .exclude_padding = desc->exclude_padding}));
}

esker_node *esker_max_pool1d(esker_node *x, const esker_pool1d_desc *desc)
{
    return record_1d("max_pool1d", x, desc, esker_max_pool2d);
}

esker_node *esker_avg_pool1d(esker_node *x, const esker_pool1d_desc *desc)
{
    return record_1d("avg_pool1d", x, desc, esker_avg_pool2d);
}

/* ---- Gradients ---- */

typedef struct pool_grad_attr {
    pool_attr pool;
    int32_t extent[2]; /* rows and columns of x */
    esker__tail tail;
} pool_grad_attr;

static int n_own(const esker_node *node)
{
    return is_mean(node) ? 1 : 3;
}

/* inputs: g, and for the maximum also x and y. */
static esker_status infer_grad(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const pool_grad_attr *attr = attributes;
    const int64_t *g = inputs[0]->type.shape.dims;
    char text[ESKER__SIGNATURE_BYTES];
    *out = (esker__type){ESKER_DTYPE_F32, {4, {g[0], g[1], attr->extent[0], attr->extent[1]}}};
    n_inputs -= esker__tail_n_inputs(&attr->tail);
    bool fits = n_inputs == 1 || (esker_shape_equal(&inputs[1]->type.shape, &out->shape) &&
                                  esker_shape_equal(&inputs[2]->type.shape, &inputs[0]->type.shape));
    for (int i = 0; i < 2; i++)
        fits &= g[2 + i] ==
                esker__conv2d_out(attr->extent[i], attr->pool.window[i], attr->pool.stride[i], attr->pool.padding[i]);
    if (!fits)
        return esker__fail(
            ESKER_ERR_INTERNAL, "%s: no pooling of window [%d, %d], stride [%d, %d] and padding [%d, %d] has these shapes",
            esker__signature(text, "pool2d_grad", inputs, n_inputs), (int)attr->pool.window[0], (int)attr->pool.window[1],
            (int)attr->pool.stride[0], (int)attr->pool.stride[1], (int)attr->pool.padding[0], (int)attr->pool.padding[1]);
    return esker__tail_infer(&attr->tail, "pool2d_grad", -1, inputs, n_inputs + esker__tail_n_inputs(&attr->tail), n_inputs,
                             out);
}

static bool is_disjoint(const pool_attr *attr)
{
    return attr->stride[0] >= attr->window[0] && attr->stride[1] >= attr->window[1];
}

static bool absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr)
{
    pool_grad_attr *a = attr;
    uint32_t blocks = is_mean(node) ? 2 : is_disjoint(&a->pool) ? 3 : 4;
    return esker__tail_absorb(&a->tail, &node->type.shape, -1, blocks, user, which, fusion);
}

static void title(const esker_node *node, esker__text *text)
{
    esker__tail_title(node, &((const pool_grad_attr *)node->attr)->tail, text);
}

static esker_node *gradient(esker_node *node, esker_node *g, int input)
{
    (void)input;
    esker_node *x = node->inputs[0];
    pool_grad_attr attr = {.pool = *(const pool_attr *)node->attr};
    for (int i = 0; i < 2; i++) attr.extent[i] = (int32_t)x->type.shape.dims[2 + i];
    if (is_mean(node)) return esker__record(&esker__op_avg_pool2d_grad, &attr, &g, 1);
    return esker__record(&esker__op_max_pool2d_grad, &attr, (esker_node *[]){g, x, node}, 3);
}

/* The mean's gradient is linear in g, and its transpose is the mean again. */
static esker_node *gradient_of_avg_grad(esker_node *node, esker_node *g, int input)
{
    (void)input;
    const pool_grad_attr *attr = node->attr;
    return esker__tail_refuses_gradient(&attr->tail, node) ? NULL
                                                           : esker__record(&esker__op_avg_pool2d, &attr->pool, &g, 1);
}

/* ---- References ---- */

static void reference(const esker__reference *r)
{
    const pool_attr *attr = r->node->attr;
    pool_size s = size_of(&r->node->inputs[0]->type.shape, &r->node->type.shape);
    bool mean = is_mean(r->node);
    int64_t at = 0;
    for (int64_t i = 0; i < s.planes; i++)
        for (int64_t u = 0; u < s.oh; u++)
            for (int64_t v = 0; v < s.ow; v++, at++) {
                double sum = 0, magnitude = 0, largest = -INFINITY;
                int64_t inside = 0;
                for (int64_t p = 0; p < attr->window[0]; p++)
                    for (int64_t q = 0; q < attr->window[1]; q++) {
                        int64_t row = u * attr->stride[0] - attr->padding[0] + p,
                                column = v * attr->stride[1] - attr->padding[1] + q;
                        if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                        double t = r->in[0][(i * s.h + row) * s.w + column];
                        sum += t;
                        inside++;
                        magnitude += fabs(t);
                        if (t > largest || isnan(t)) largest = t;
                    }
                double n = attr->exclude_padding ? (double)inside : (double)attr->window[0] * attr->window[1];
                r->out[0][at] = mean ? sum / n : largest;
                if (mean && r->magnitude[0]) r->magnitude[0][at] = magnitude / n;
            }
}

/* Rows or columns of a window that lie inside x. */
static double pixels_inside(int64_t begin, int64_t window, int64_t extent)
{
    int64_t end = begin + window < extent ? begin + window : extent;
    return (double)(end - (begin > 0 ? begin : 0));
}

static void reference_grad(const esker__reference *r)
{
    const pool_attr *attr = &((const pool_grad_attr *)r->node->attr)->pool;
    pool_size s = size_of(&r->node->type.shape, &r->node->inputs[0]->type.shape);
    bool mean = is_mean(r->node);
    double *gx = r->out[0], *magnitude = r->magnitude[0];
    for (int64_t e = 0; e < s.planes * s.h * s.w; e++) {
        gx[e] = 0;
        if (magnitude) magnitude[e] = 0;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < s.planes; i++)
        for (int64_t u = 0; u < s.oh; u++)
            for (int64_t v = 0; v < s.ow; v++, at++) {
                int64_t first = -1, top = u * attr->stride[0] - attr->padding[0],
                        left = v * attr->stride[1] - attr->padding[1];
                double n = attr->exclude_padding
                               ? pixels_inside(top, attr->window[0], s.h) * pixels_inside(left, attr->window[1], s.w)
                               : (double)attr->window[0] * attr->window[1];
                for (int64_t p = 0; p < attr->window[0]; p++)
                    for (int64_t q = 0; q < attr->window[1]; q++) {
                        int64_t row = top + p, column = left + q;
                        if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
                        int64_t e = (i * s.h + row) * s.w + column;
                        if (mean) {
                            gx[e] += r->in[0][at] / n;
                            if (magnitude) magnitude[e] += fabs(r->in[0][at]) / n;
                        } else if (first < 0 || r->in[1][e] > r->in[1][first] || isnan(r->in[1][e])) {
                            first = e;
                        }
                    }
                if (first < 0) continue;
                gx[first] += r->in[0][at];
                if (magnitude) magnitude[first] += fabs(r->in[0][at]);
            }
    esker__tail_reference_all(&((const pool_grad_attr *)r->node->attr)->tail, r, n_own(r->node));
}

static double tolerance_avg(const esker_node *node)
{
    const pool_attr *attr = node->attr;
    return 2 * sqrt((double)attr->window[0] * attr->window[1]) + 4;
}

static double tolerance_grad(const esker_node *node)
{
    const pool_attr *attr = &((const pool_grad_attr *)node->attr)->pool;
    double n = 1; /* windows that share an element */
    for (int i = 0; i < 2; i++) n *= (double)((attr->window[i] + attr->stride[i] - 1) / attr->stride[i]);
    return 2 * sqrt(n) + (is_mean(node) ? 4 : 0);
}

/* ---- Cost and lowering ---- */

static void cost(const esker_node *node, esker__cost *out)
{
    const pool_attr *attr = node->attr;
    double x = (double)esker__elems(&node->inputs[0]->type.shape), y = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){.flops = y * (double)attr->window[0] * (double)attr->window[1], .bytes = 4 * (x + y)};
}

/* An upper bound for the maximum's, which looks for an equal element before its own only where it equals the maximum. */
static void cost_grad(const esker_node *node, esker__cost *out)
{
    const pool_attr *attr = &((const pool_grad_attr *)node->attr)->pool;
    double g = (double)esker__elems(&node->inputs[0]->type.shape), x = (double)esker__elems(&node->type.shape);
    double visits = g * (double)attr->window[0] * (double)attr->window[1];
    *out = is_mean(node) ? (esker__cost){.flops = visits, .bytes = 4 * (x + g)}
                         : (esker__cost){.flops = 2 * visits, .bytes = 4 * (2 * x + 2 * g)};
}

static esker_status emit(esker__lowering *lowering, const esker_node *node, const pool_attr *attr, pool_size s,
                         const esker__tail *tail)
{
    bool grad = tail != NULL, disjoint = grad && is_disjoint(attr);
    uint64_t n_elems = (uint64_t)(disjoint ? s.planes * s.oh * s.ow : esker__elems(&node->type.shape));
    esker__dispatch_desc d = {.kernel = disjoint ? "pool/grad_disjoint" : grad ? "pool/grad" : "pool/forward"};
    node->op->cost(node, &d.cost);
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_elems, 64), d.groups);
    if (st != ESKER_OK) return st;
    struct {
        uint32_t n_elems, rows, columns;
        int32_t x_h, x_w, window[2], stride[2], padding[2];
        float scale, by_columns, by_rows;
        uint32_t fold;
    } params = {
        .n_elems = (uint32_t)n_elems,
        .rows = (uint32_t)s.oh,
        .columns = (uint32_t)s.ow,
        .x_h = (int32_t)s.h,
        .x_w = (int32_t)s.w,
        .window = {attr->window[0], attr->window[1]},
        .stride = {attr->stride[0], attr->stride[1]},
        .padding = {attr->padding[0], attr->padding[1]},
        .scale = (float)(1.0 / ((double)attr->window[0] * attr->window[1])),
        .by_columns = (float)(1.0 / (double)s.ow),
        .by_rows = (float)(1.0 / (double)s.oh),
        .fold = d.groups[0],
    };
    d.params = &params;
    d.n_params = sizeof params / 4;
    esker__text defines = {0};
    if (is_mean(node)) esker__text_add(&defines, "MEAN %d\n", attr->exclude_padding ? 2 : 1);
    if ((disjoint || !grad) && esker__divides_integers(n_elems)) esker__text_add(&defines, "EXACT 1\n");
    for (int i = 0; i < (grad ? n_own(node) : 1); i++)
        if (!(disjoint && i == 2))
            d.operands[d.n_operands++] = esker__read(lowering, node->inputs[i]); /* y is not looked at */
    esker__tail_emit(lowering, tail, node, false, &d, &defines);
    return esker__emit_with(lowering, &d, &defines);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker_node *x = node->inputs[0];
    esker__pool_windows w = {node->attr, is_mean(node), &x->type.shape, &node->type.shape};
    if (esker__pool_is_small(lowering, &w))
        return esker__emit_pool_small(lowering, &w, esker__read(lowering, x), esker__write(lowering, node), false);
    return emit(lowering, node, node->attr, size_of(w.x, w.y), NULL);
}

/* Where windows do not overlap, one pass over x is enough; on llvmpipe two that know the windows' size are quicker all the same. */
static esker_status lower_grad(esker__lowering *lowering, const esker_node *node)
{
    const pool_grad_attr *attr = node->attr;
    const esker_node *g = node->inputs[0];
    esker__pool_windows w = {&attr->pool, is_mean(node), &node->type.shape, &g->type.shape};
    bool cells = !w.mean && is_disjoint(&attr->pool) &&
                 !esker__setting("which", esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE);
    if (cells || !esker__pool_is_small(lowering, &w))
        return emit(lowering, node, &attr->pool, size_of(w.x, w.y), &attr->tail);
    esker__operand which;
    if (!w.mean) {
        which = (esker__operand){.value = esker__scratch(lowering, 4 * (uint64_t)esker__elems(w.y)), .write = true};
        esker_status st = esker__emit_pool_small(lowering, &w, esker__read(lowering, node->inputs[1]), which, true);
        if (st != ESKER_OK) return st;
        which.write = false;
    }
    return esker__emit_pool_grad_small(lowering, &w, g, w.mean ? NULL : &which, &attr->tail, node);
}

const esker__op esker__op_max_pool2d = {
    .name = "max_pool2d",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(pool_attr),
    .infer = infer_max,
    .gradient = gradient,
    .reference = reference,
    .tolerance = esker__tolerance_exact,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
    .fused = esker__fused_max_pool2d,
    .fours = esker__pool2d_fours,
    .in_fours = esker__pool2d_in_fours,
};

const esker__op esker__op_avg_pool2d = {
    .name = "avg_pool2d",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(pool_attr),
    .infer = infer_avg,
    .gradient = gradient,
    .reference = reference,
    .tolerance = tolerance_avg,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
    .fours = esker__pool2d_fours,
    .in_fours = esker__pool2d_in_fours,
};

/* g, x, y. Which element is the maximum does not change with g; how the result changes with x is zero almost everywhere, and is
   not defined as an operation, nor is the gather that second derivatives by g would need. */
const esker__op esker__op_max_pool2d_grad = {
    .name = "max_pool2d_grad",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(pool_grad_attr),
    .infer = infer_grad,
    .reference = reference_grad,
    .tolerance = tolerance_grad,
    .atol = ESKER__FLUSHED,
    .cost = cost_grad,
    .lower = lower_grad,
    .absorb = absorb,
    .fused = esker__fused_max_pool2d_grad,
    .title = title,
};

const esker__op esker__op_avg_pool2d_grad = {
    .name = "avg_pool2d_grad",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(pool_grad_attr),
    .infer = infer_grad,
    .gradient = gradient_of_avg_grad,
    .reference = reference_grad,
    .tolerance = tolerance_grad,
    .atol = ESKER__FLUSHED,
    .cost = cost_grad,
    .lower = lower_grad,
    .absorb = absorb,
    .title = title,
};
