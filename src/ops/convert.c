/* convert: the same values as another element type. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "plan/lowering.h"

typedef struct convert_attr {
    int32_t dtype;
} convert_attr;

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const convert_attr *a = attr;
    char signature[ESKER__SIGNATURE_BYTES];
    if (!esker_dtype_bytes((esker_dtype)a->dtype))
        return esker__fail(ESKER_ERR_INVALID, "%s: unknown element type %d",
                           esker__signature(signature, "convert", inputs, n_inputs), a->dtype);
    *out = (esker__type){(esker_dtype)a->dtype, inputs[0]->type.shape};
    return ESKER_OK;
}

static int64_t elems(const esker_node *node)
{
    int64_t n = 1;
    for (int i = 0; i < node->type.shape.rank; i++) n *= node->type.shape.dims[i];
    return n;
}

static void reference(const esker__reference *r)
{
    esker_dtype to = r->node->type.dtype;
    int64_t n = elems(r->node);
    for (int64_t i = 0; i < n; i++) {
        double x = r->in[0][i];
        if (to == ESKER_DTYPE_I32) x = fmin(fmax(trunc(x), INT32_MIN), INT32_MAX);
        if (to == ESKER_DTYPE_U8) x = fmin(fmax(trunc(x), 0), 255);
        r->out[0][i] = x;
    }
}

/* int32 to float32 rounds; everything else is exact. */
static double tolerance(const esker_node *node)
{
    return node->type.dtype == ESKER_DTYPE_F32 && node->inputs[0]->type.dtype == ESKER_DTYPE_I32 ? 2 : 0;
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    int64_t n = elems(node);
    if (n > INT32_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "convert: %lld elements, the kernel indexes at most %d", (long long)n,
                           INT32_MAX);
    char defines[64];
    snprintf(defines, sizeof defines, "FROM %d\nTO %d\n", (int)node->inputs[0]->type.dtype, (int)node->type.dtype);
    esker__dispatch_desc desc = {.kernel = "convert/convert",
                                 .defines = defines,
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 4 * 64), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n, desc.groups[0]};
    desc.params = params;
    desc.n_params = 2;
    return esker__emit(lowering, &desc);
}

const esker__op esker__op_convert = {.name = "convert",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .attr_bytes = sizeof(convert_attr),
                                     .flags = ESKER__OP_IN_PLACE_0,
                                     .infer = infer,
                                     .reference = reference,
                                     .tolerance = tolerance,
                                     .lower = lower};

esker_node *esker_convert(esker_node *x, esker_dtype dtype)
{
    if (x && x->type.dtype == dtype) return x;
    return esker__record(&esker__op_convert, &(convert_attr){(int32_t)dtype}, &x, 1);
}
