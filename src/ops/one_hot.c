/* one_hot: 1 where the class is the index, 0 elsewhere. */
#include "base/fail.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define GROUP_SIZE 64

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__one_hot_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "one_hot", inputs, n_inputs);
    if (inputs[0]->type.dtype != ESKER_DTYPE_I32)
        return esker__fail(ESKER_ERR_INVALID, "%s: indices must be int32, not %s", text,
                           esker_dtype_name(inputs[0]->type.dtype));
    if (a->classes < 1 || inputs[0]->type.shape.rank == ESKER_MAX_RANK)
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: %lld classes for %d axes; at least 1 class and at most %d axes are possible", text,
                           (long long)a->classes, inputs[0]->type.shape.rank, ESKER_MAX_RANK - 1);
    *out = (esker__type){ESKER_DTYPE_F32, inputs[0]->type.shape};
    out->shape.dims[out->shape.rank++] = a->classes;
    return ESKER_OK;
}

static void reference(const esker__reference *r)
{
    int64_t classes = ((const esker__one_hot_attr *)r->node->attr)->classes, n = esker__elems(&r->node->type.shape);
    for (int64_t i = 0; i < n; i++) r->out[0][i] = r->in[0][i / classes] == (double)(i % classes);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    int64_t n = esker__elems(&node->type.shape);
    esker_status st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;
    esker__dispatch_desc desc = {.kernel = "shape/one_hot",
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2};
    st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 4 * GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n, desc.groups[0], (uint32_t)((const esker__one_hot_attr *)node->attr)->classes};
    desc.params = params;
    desc.n_params = 3;
    return esker__emit(lowering, &desc);
}

const esker__op esker__op_one_hot = {.name = "one_hot",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .attr_bytes = sizeof(esker__one_hot_attr),
                                     .infer = infer,
                                     .no_gradient = 1,
                                     .reference = reference,
                                     .tolerance = esker__tolerance_exact,
                                     .lower = lower};

esker_node *esker_one_hot(esker_node *indices, int64_t classes)
{
    return esker__record(&esker__op_one_hot, &(esker__one_hot_attr){classes}, &indices, 1);
}
