/* resize2d: nearest and bilinear, PyTorch's convention (align_corners = false), and its gradient as an operation. */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define LARGEST 32767 /* twice a product of two sizes stays within 31 bits, which the kernel counts in */

static bool is_grad(const esker_node *node)
{
    return node->op == &esker__op_resize2d_grad;
}

static esker_status check(const char *name, esker_node *const *inputs, const char **out_text, char *text)
{
    const esker__type *x = &inputs[0]->type;
    *out_text = esker__signature(text, name, inputs, 1);
    if (x->dtype != ESKER_DTYPE_F32 || x->shape.rank != 4)
        return esker__fail(ESKER_ERR_INVALID, "%s: float32 [n, c, h, w] is needed", text);
    return ESKER_OK;
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__resize_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    const char *signature;
    (void)n_inputs;
    esker_status st = check("resize2d", inputs, &signature, text);
    if (st != ESKER_OK) return st;
    if (a->mode != ESKER_RESIZE_NEAREST && a->mode != ESKER_RESIZE_BILINEAR)
        return esker__fail(ESKER_ERR_INVALID, "%s: unknown mode %d", signature, (int)a->mode);
    if (a->y_h < 1 || a->y_w < 1)
        return esker__fail(ESKER_ERR_INVALID, "%s: size [%d, %d], each must be at least 1", signature, (int)a->y_h,
                           (int)a->y_w);
    const int64_t *x = inputs[0]->type.shape.dims;
    if (x[2] > LARGEST || x[3] > LARGEST || a->y_h > LARGEST || a->y_w > LARGEST)
        return esker__fail(ESKER_ERR_LIMIT, "%s to [%d, %d]: rows and columns are at most %d", signature, (int)a->y_h,
                           (int)a->y_w, LARGEST);
    *out = (esker__type){ESKER_DTYPE_F32, {4, {x[0], x[1], a->y_h, a->y_w}}};
    return ESKER_OK;
}

static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__resize_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    const char *signature;
    (void)n_inputs;
    esker_status st = check("resize2d_grad", inputs, &signature, text);
    if (st != ESKER_OK) return st;
    const int64_t *g = inputs[0]->type.shape.dims;
    if (g[2] != a->y_h || g[3] != a->y_w)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: not the size [%d, %d]", signature, (int)a->y_h, (int)a->y_w);
    *out = (esker__type){ESKER_DTYPE_F32, {4, {g[0], g[1], a->x_h, a->x_w}}};
    return ESKER_OK;
}

/* The operation is linear: each is the other's gradient. */
static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    esker__resize_attr attr = *(const esker__resize_attr *)node->attr;
    attr.x_h = attr.x_w = 0;
    if (!is_grad(node)) {
        attr.x_h = (int32_t)node->inputs[input]->type.shape.dims[2];
        attr.x_w = (int32_t)node->inputs[input]->type.shape.dims[3];
    }
    return esker__record(is_grad(node) ? &esker__op_resize2d : &esker__op_resize2d_grad, &attr, &grad, 1);
}

/* The two pixels of x that pixel o of y lies between, and its share of the second. */
static void source(int64_t o, int64_t x_n, int64_t y_n, bool bilinear, int64_t at[2], double *part)
{
    double centre = bilinear ? fmax(((double)o + 0.5) * (double)x_n / (double)y_n - 0.5, 0) : 0;
    at[0] = bilinear ? (int64_t)(((2 * o + 1) * x_n > y_n ? (2 * o + 1) * x_n - y_n : 0) / (2 * y_n)) : o * x_n / y_n;
    at[1] = at[0] + 1 < x_n ? at[0] + 1 : x_n - 1;
    *part = bilinear ? fmax(centre - (double)at[0], 0) : 0;
}

static void reference(const esker__reference *r)
{
    const esker__resize_attr *a = r->node->attr;
    bool grad = is_grad(r->node), bilinear = a->mode == ESKER_RESIZE_BILINEAR;
    const esker_shape *x = grad ? &r->node->type.shape : &r->node->inputs[0]->type.shape;
    int64_t planes = x->dims[0] * x->dims[1], h = x->dims[2], w = x->dims[3], n_out = planes * (grad ? h * w : 0), at = 0;
    for (int64_t i = 0; i < n_out; i++) {
        r->out[0][i] = 0;
        if (r->magnitude[0]) r->magnitude[0][i] = 0;
    }
    for (int64_t p = 0; p < planes; p++)
        for (int64_t u = 0; u < a->y_h; u++)
            for (int64_t v = 0; v < a->y_w; v++, at++) {
                int64_t rows[2], columns[2];
                double down, right, sum = 0, size = 0;
                source(u, h, a->y_h, bilinear, rows, &down);
                source(v, w, a->y_w, bilinear, columns, &right);
                for (int k = 0; k < 4; k++) {
                    double weight = (k & 2 ? down : 1 - down) * (k & 1 ? right : 1 - right);
                    double sized = bilinear ? 1 : weight; /* a share is off by eps of 1, however small it is */
                    int64_t e = (p * h + rows[k >> 1]) * w + columns[k & 1];
                    if (grad) {
                        r->out[0][e] += weight * r->in[0][at];
                        if (r->magnitude[0]) r->magnitude[0][e] += sized * fabs(r->in[0][at]);
                        continue;
                    }
                    sum += weight * r->in[0][e];
                    size += sized * fabs(r->in[0][e]);
                }
                if (grad) continue;
                r->out[0][at] = sum;
                if (r->magnitude[0]) r->magnitude[0][at] = size;
            }
}

static double tolerance(const esker_node *node)
{
    const esker__resize_attr *a = node->attr;
    bool bilinear = a->mode == ESKER_RESIZE_BILINEAR;
    if (!is_grad(node)) return bilinear ? 12 : 0;
    double n = ((double)a->y_h / a->x_h + 1) * ((double)a->y_w / a->x_w + 1) * (bilinear ? 4 : 1);
    return 2 * sqrt(n) + (bilinear ? 12 : 1);
}

static void cost(const esker_node *node, esker__cost *out)
{
    const esker__resize_attr *a = node->attr;
    int64_t x = 0, y = 0;
    (void)esker_shape_elems(&node->inputs[0]->type.shape, &x);
    (void)esker_shape_elems(&node->type.shape, &y);
    double terms = a->mode == ESKER_RESIZE_BILINEAR ? 8 : 1;
    *out = (esker__cost){terms * (double)(is_grad(node) ? x + y : y), 4 * (double)(x + y)};
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__resize_attr *a = node->attr;
    const esker_shape *x = is_grad(node) ? &node->type.shape : &node->inputs[0]->type.shape;
    int64_t n = 0, n_in = 0;
    esker_status st = esker_shape_elems(&node->type.shape, &n);
    if (st == ESKER_OK) st = esker_shape_elems(&node->inputs[0]->type.shape, &n_in);
    if (st == ESKER_OK) st = esker__check_indexable(lowering, (uint64_t)(n > n_in ? n : n_in));
    if (st != ESKER_OK) return st;
    char defines[40];
    snprintf(defines, sizeof defines, "BILINEAR %d\nGRAD %d\n", a->mode == ESKER_RESIZE_BILINEAR, is_grad(node));
    esker__dispatch_desc desc = {.kernel = "image/resize",
                                 .defines = defines,
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2};
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 64), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n,          desc.groups[0],   (uint32_t)x->dims[2],
                         (uint32_t)x->dims[3], (uint32_t)a->y_h, (uint32_t)a->y_w};
    desc.params = params;
    desc.n_params = 6;
    return esker__emit(lowering, &desc);
}

const esker__op esker__op_resize2d = {.name = "resize2d",
                                      .n_inputs = 1,
                                      .n_outputs = 1,
                                      .attr_bytes = sizeof(esker__resize_attr),
                                      .infer = infer,
                                      .gradient = gradient,
                                      .reference = reference,
                                      .tolerance = tolerance,
                                      .atol = ESKER__FLUSHED,
                                      .cost = cost,
                                      .lower = lower};

const esker__op esker__op_resize2d_grad = {.name = "resize2d_grad",
                                           .n_inputs = 1,
                                           .n_outputs = 1,
                                           .attr_bytes = sizeof(esker__resize_attr),
                                           .infer = infer_grad,
                                           .gradient = gradient,
                                           .reference = reference,
                                           .tolerance = tolerance,
                                           .atol = ESKER__FLUSHED,
                                           .cost = cost,
                                           .lower = lower};

esker_node *esker_resize2d(esker_node *x, int rows, int columns, esker_resize_mode mode)
{
    return esker__record(&esker__op_resize2d, &(esker__resize_attr){.mode = (int32_t)mode, .y_h = rows, .y_w = columns}, &x,
                         1);
}
