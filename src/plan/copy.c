#include "plan/copy.h"

#include "graph/graph.h"
#include "plan/lowering.h"

#define WG 64

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

static void reference(const esker__reference *r)
{
    int64_t n = esker__elems(&r->node->type.shape);
    for (int64_t i = 0; i < n; i++) r->out[0][i] = r->in[0][i];
}

static esker_status lower(esker__lowering *l, const esker_node *node)
{
    /* Whole words: every value's memory is padded. */
    uint64_t n_words = esker__ceil_div((uint64_t)esker__elems(&node->type.shape) * esker_dtype_bytes(node->type.dtype), 4);
    uint32_t groups[3];
    esker_status st = esker__fold_groups(l, esker__ceil_div(n_words, WG), groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n_words, groups[0]};
    return esker__emit(l, &(esker__dispatch_desc){.kernel = "runtime/copy",
                                                  .groups = {groups[0], groups[1], groups[2]},
                                                  .operands = {esker__read(l, node->inputs[0]), esker__write(l, node)},
                                                  .n_operands = 2,
                                                  .params = params,
                                                  .n_params = 2});
}

const esker__op esker__op_copy = {.name = "copy",
                                  .n_inputs = 1,
                                  .n_outputs = 1,
                                  .flags = ESKER__OP_STORAGE_TYPES,
                                  .infer = infer,
                                  .reference = reference,
                                  .lower = lower};
