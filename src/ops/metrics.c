/* Metrics: numbers to watch, without gradients. */
#include <math.h>
#include <stdio.h>

#include "ops/ops.h"
#include "ops/rows.h"
#include "plan/lowering.h"

static esker_status infer_count_correct(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    esker_status st = esker__rows_infer("count_correct", inputs);
    if (st == ESKER_OK) out[0] = (esker__type){.dtype = ESKER_DTYPE_F32};
    return st;
}

double esker__rows_correct(const esker__reference *r)
{
    const esker_shape *shape = &r->node->inputs[0]->type.shape;
    int64_t rows = shape->dims[0], classes = shape->dims[1], correct = 0;
    for (int64_t i = 0; i < rows; i++) {
        const double *x = r->in[0] + i * classes;
        int64_t best = 0;
        for (int64_t k = 1; k < classes; k++)
            if (x[k] > x[best] || isnan(x[k])) best = k;
        correct += r->in[1][i] == (double)best && !isnan(x[best]);
    }
    return (double)correct;
}

static void reference_count_correct(const esker__reference *r)
{
    r->out[0][0] = esker__rows_correct(r);
}

static void cost_count_correct(const esker_node *node, esker__cost *out)
{
    const esker_shape *shape = &node->inputs[0]->type.shape;
    double n = (double)shape->dims[0] * (double)shape->dims[1];
    out->flops = n;
    out->bytes = 4 * n + 4 * (double)shape->dims[0];
}

esker_status esker__lower_count_correct(esker__lowering *lowering, const esker_node *node, int output)
{
    const esker_node *result = esker__output((esker_node *)node, output);
    esker__rows layout;
    esker_status st = esker__rows_layout(lowering, node, &layout);
    if (st != ESKER_OK) return st;
    uint32_t partials = esker__rows_partials(&layout);
    esker__operand counts = esker__write(lowering, result);
    if (partials > 1) counts.value = esker__scratch(lowering, 4 * (uint64_t)partials);
    char defines[24];
    snprintf(defines, sizeof defines, "LANES %d\n", layout.lanes);
    uint32_t params[] = {layout.groups[0], layout.rounds, (uint32_t)layout.rows, (uint32_t)layout.classes};
    esker__dispatch_desc desc = {
        .kernel = "loss/count_correct",
        .defines = defines,
        .groups = {layout.groups[0], layout.groups[1], 1},
        .operands = {esker__read(lowering, node->inputs[0]), esker__read(lowering, node->inputs[1]), counts},
        .n_operands = 3,
        .params = params,
        .n_params = 4,
    };
    cost_count_correct(node, &desc.cost);
    st = esker__emit(lowering, &desc);
    if (st != ESKER_OK || partials == 1) return st;
    return esker__finish_sum(lowering, counts.value, partials, false, esker__write(lowering, result), NULL);
}

static esker_status lower_count_correct(esker__lowering *lowering, const esker_node *node)
{
    return esker__lower_count_correct(lowering, node, 0);
}

const esker__op esker__op_count_correct = {
    .name = "count_correct",
    .n_inputs = 2,
    .n_outputs = 1,
    .infer = infer_count_correct,
    .no_gradient = 3,
    .reference = reference_count_correct,
    .tolerance = esker__tolerance_exact,
    .cost = cost_count_correct,
    .lower = lower_count_correct,
    .fused = esker__fused_count,
};

esker_node *esker_count_correct(esker_node *logits, esker_node *labels)
{
    esker_node *inputs[] = {logits, labels};
    return esker__record(&esker__op_count_correct, NULL, inputs, 2);
}
