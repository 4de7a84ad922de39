#include "plan/views.h"

/* Kernels read four words at once. */
#define LEAST_ALIGN 16

bool esker__plan_is_piece(const esker_plan *plan, const esker_node *node, uint64_t *out_offset)
{
    uint64_t align = plan->limits.storage_align > LEAST_ALIGN ? plan->limits.storage_align : LEAST_ALIGN;
    int64_t first;
    if (!node->op->piece || !node->op->piece(node, &first)) return false;
    *out_offset = (uint64_t)first * esker_dtype_bytes(node->type.dtype);
    return *out_offset % align == 0;
}
