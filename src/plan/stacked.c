#include "plan/stacked.h"

#include "base/fail.h"
#include "plan/build.h"
#include "plan/views.h"

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

static bool in_sequence(const esker_node *node)
{
    return !esker__parameters_are_adjacent(node->inputs, node->n_inputs);
}

static esker_status lower(esker__lowering *l, const esker_node *node)
{
    return in_sequence(node) ? esker__copy_missing(l, node) : ESKER_OK;
}

const esker__op esker__op_stacked = {.name = "stacked",
                                     .n_inputs = -1,
                                     .n_outputs = 1,
                                     .infer = infer,
                                     .reference = reference,
                                     .in_sequence = in_sequence,
                                     .lower = lower};
