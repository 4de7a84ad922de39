#include "plan/stacked.h"

#include "base/fail.h"
#include "plan/build.h"
#include "plan/views.h"

#define WG 64

bool esker__parameters_are_adjacent(esker_node *const *nodes, int n)
{
    uint64_t at = 0;
    for (int i = 0; i < n; i++) {
        if (nodes[i]->op != &esker__op_parameter) return false;
        const esker__param *p = &nodes[i]->graph->params->list[((const esker__parameter_attr *)nodes[i]->attr)->index];
        if (!nodes[i]->graph->params->fixed || (i && p->offset != at)) return false;
        at = p->offset + (uint64_t)p->n_elems;
    }
    return true;
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    const esker__type *first = &inputs[0]->type;
    bool fits = first->shape.rank < ESKER_MAX_RANK;
    for (int i = 1; i < n_inputs; i++)
        fits = fits && inputs[i]->type.dtype == first->dtype && esker_shape_equal(&inputs[i]->type.shape, &first->shape);
    if (!fits) return esker__fail(ESKER_ERR_INTERNAL, "stacked: %d values that differ or have too many axes", n_inputs);
    *out = (esker__type){first->dtype, {.rank = first->shape.rank + 1, .dims = {n_inputs}}};
    for (int i = 0; i < first->shape.rank; i++) out->shape.dims[1 + i] = first->shape.dims[i];
    return ESKER_OK;
}

static void reference(const esker__reference *r)
{
    int64_t n = esker__elems(&r->node->inputs[0]->type.shape);
    for (int i = 0; i < r->node->n_inputs; i++)
        for (int64_t j = 0; j < n; j++) r->out[0][i * n + j] = r->in[i][j];
}

static esker_status lower(esker__lowering *l, const esker_node *node)
{
    uint64_t n_bytes = esker__node_bytes(node->inputs[0]);
    esker__operand all = esker__write(l, node);
    if (esker__parameters_are_adjacent(node->inputs, node->n_inputs)) return ESKER_OK;
    for (int i = 0; i < node->n_inputs; i++) {
        const esker_node *root = esker__root_of(node->inputs[i]);
        if (l->inside[root->id] == node->id && l->inside_at[root->id] == (uint64_t)i * n_bytes) continue;
        uint32_t groups[3];
        esker_status st = esker__fold_groups(l, esker__ceil_div(n_bytes / 4, WG), groups);
        uint32_t params[] = {(uint32_t)(n_bytes / 4), groups[0]};
        esker__operand to = {.value = all.value,
                             .write = true,
                             .offset_bytes = all.offset_bytes + (uint64_t)i * n_bytes,
                             .n_bytes = n_bytes};
        if (st == ESKER_OK)
            st = esker__emit(l, &(esker__dispatch_desc){.kernel = "runtime/copy",
                                                        .groups = {groups[0], groups[1], groups[2]},
                                                        .operands = {esker__read(l, node->inputs[i]), to},
                                                        .n_operands = 2,
                                                        .params = params,
                                                        .n_params = 2,
                                                        .cost = {(double)n_bytes / 4, 2 * (double)n_bytes}});
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

const esker__op esker__op_stacked = {
    .name = "stacked", .n_inputs = -1, .n_outputs = 1, .infer = infer, .reference = reference, .lower = lower};

/* ---- Places ---- */

/* Whether the root of an input can be computed in its place: nobody has given it another one. */
static bool can_be_inside(const esker__lowering *l, const esker_node *root, uint64_t n_bytes)
{
    uint64_t offset;
    return esker__is_computed(root) && root->op != &esker__op_stacked && !l->claim[root->id] && l->inside[root->id] < 0 &&
           esker__node_bytes(root) == n_bytes && n_bytes % ESKER__VALUE_ALIGN == 0 &&
           !esker__plan_is_piece(l->plan, root, &offset);
}

void esker__place_stacked(esker__lowering *l)
{
    for (size_t id = 0; id < l->graph->n_nodes; id++) {
        const esker_node *node = l->graph->nodes[id];
        if (node->op != &esker__op_stacked || !l->needed[id] || l->claim[id]) continue;
        uint64_t n_bytes = esker__node_bytes(node->inputs[0]);
        for (int i = 0; i < node->n_inputs; i++) {
            const esker_node *root = esker__root_of(node->inputs[i]);
            if (!can_be_inside(l, root, n_bytes)) continue;
            l->inside[root->id] = (int)id;
            l->inside_at[root->id] = (uint64_t)i * n_bytes;
        }
    }
}
