/* convert: the same values as another element type. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/elementwise.h"
#include "ops/ops.h"
#include "plan/lowering.h"

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__convert_attr *a = attr;
    char signature[ESKER__SIGNATURE_BYTES];
    if (!esker_dtype_bytes((esker_dtype)a->dtype))
        return esker__fail(ESKER_ERR_INVALID, "%s: unknown element type %d",
                           esker__signature(signature, "convert", inputs, n_inputs), a->dtype);
    *out = (esker__type){(esker_dtype)a->dtype, inputs[0]->type.shape};
    return ESKER_OK;
}

#define HALF_MOST   65504.0
#define HALF_NORMAL 0x1p-14 /* the smallest normal half */
#define HALF_ULP    0x1p-10 /* relative, at most */

static bool scales(const esker_node *node)
{
    const esker__convert_attr *a = node->attr;
    return a->scale != 1 || a->shift != 0;
}

static void reference(const esker__reference *r)
{
    const esker__convert_attr *a = r->node->attr;
    esker_dtype to = r->node->type.dtype, from = r->node->inputs[0]->type.dtype;
    int64_t n = esker__elems(&r->node->type.shape);
    for (int64_t i = 0; i < n; i++) {
        double x = r->in[0][i];
        if (to == ESKER_DTYPE_I32) x = fmin(fmax(trunc(x), INT32_MIN), INT32_MAX);
        if (to == ESKER_DTYPE_U8) x = fmin(fmax(trunc(x), 0), 255);
        if (to == ESKER_DTYPE_I8) x = fmin(fmax(trunc(x), -128), 127);
        if (to == ESKER_DTYPE_F16) x = x < -HALF_MOST ? -HALF_MOST : x > HALF_MOST ? HALF_MOST : x;
        r->out[0][i] = to == ESKER_DTYPE_F32 ? a->scale * x + a->shift : x;
        if (!r->magnitude[0]) continue;
        double m = to == ESKER_DTYPE_F32 ? fabs(a->scale * x) + fabs(a->shift) : fabs(x);
        bool tiny = fabs(x) < HALF_NORMAL; /* flushed, perhaps: the bound is then HALF_NORMAL (times the scale) */
        if (to == ESKER_DTYPE_F16)
            m = tiny ? HALF_NORMAL / HALF_ULP : m;
        else if (from == ESKER_DTYPE_F16 && to == ESKER_DTYPE_F32)
            m = (scales(r->node) ? m : 0) + (tiny ? fabs(a->scale) * HALF_NORMAL * 0x1p24 : 0);
        r->magnitude[0][i] = m;
    }
}

/*
 * To float16 is rounded, either way: less than one unit in the last place of a half. Halves that are no normal numbers may be flushed (see
 * the reference). int32 to float32 rounds, and so do the product and the sum; everything else is exact.
 */
static double tolerance(const esker_node *node)
{
    if (node->type.dtype == ESKER_DTYPE_F16) return HALF_ULP * 0x1p24;
    bool flushes = node->type.dtype == ESKER_DTYPE_F32 && node->inputs[0]->type.dtype == ESKER_DTYPE_F16;
    bool rounds = node->type.dtype == ESKER_DTYPE_F32 && node->inputs[0]->type.dtype == ESKER_DTYPE_I32;
    return (rounds ? 2 : 0) + (flushes ? 1 : 0) + (scales(node) ? 4 : 0);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    int64_t n = esker__elems(&node->type.shape);
    esker_status st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;
    char defines[64];
    const esker__convert_attr *a = node->attr;
    snprintf(defines, sizeof defines, "FROM %d\nTO %d\n%s", (int)node->inputs[0]->type.dtype, (int)node->type.dtype,
             scales(node) ? "SCALE\n" : "");
    esker__dispatch_desc desc = {.kernel = "convert/convert",
                                 .defines = defines,
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2};
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 4 * 64), desc.groups);
    if (st != ESKER_OK) return st;
    struct {
        uint32_t n, groups_x;
        float scale, shift;
    } params = {(uint32_t)n, desc.groups[0], a->scale, a->shift};
    desc.params = &params;
    desc.n_params = 4;
    return esker__emit(lowering, &desc);
}

static bool is_float(esker_dtype dtype)
{
    return dtype == ESKER_DTYPE_F32 || dtype == ESKER_DTYPE_F16;
}

/* Gradients are float32 throughout, those of float16 values, too: nothing is lost, and contributions can be added. */
static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    if (is_float(node->type.dtype) && is_float(node->inputs[0]->type.dtype)) return grad;
    return esker__gradient_zero(node, grad, input);
}

/* Images arrive as bytes, and are scaled at once. */
static bool absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attr)
{
    esker__convert_attr *a = attr;
    (void)which;
    if (fusion->keep || user->op != &esker__op_affine || node->type.dtype != ESKER_DTYPE_F32 || scales(node)) return false;
    const esker__affine_attr *affine = user->attr;
    a->scale = affine->scale;
    a->shift = affine->shift;
    return true;
}

const esker__op esker__op_convert = {.name = "convert",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .attr_bytes = sizeof(esker__convert_attr),
                                     .flags = ESKER__OP_IN_PLACE_0 | ESKER__OP_STORAGE_TYPES,
                                     .infer = infer,
                                     .gradient = gradient,
                                     .reference = reference,
                                     .tolerance = tolerance,
                                     .lower = lower,
                                     .absorb = absorb};

esker_node *esker_convert(esker_node *x, esker_dtype dtype)
{
    if (x && x->type.dtype == dtype) return x;
    return esker__record(&esker__op_convert, &(esker__convert_attr){(int32_t)dtype, 1, 0}, &x, 1);
}
