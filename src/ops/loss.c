/*
 * Cross-entropy with labels in its usual form, the mean without weights (nll.c has the others). Like the losses of pairs
 * (pair_loss.c) it computes its gradient in the same kernel: output 0 is the loss, output 1 its gradient for an upstream gradient
 * of 1, left out where nothing reads it. The gradient rule is one multiplication by the upstream gradient, which folds away when
 * that is the 1 that esker_gradients starts from.
 */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "ops/linear_cross_entropy.h"
#include "ops/ops.h"
#include "ops/rows.h"
#include "plan/lowering.h"

static esker_node *times_upstream(esker_node *node, esker_node *grad)
{
    return esker_mul(esker__output(node, 1), grad);
}

#define COUNT_IN_GROUP 1024 /* rows up to which each group counts the labels itself: 8 for each invocation */
#define COUNT_CHUNK    4096 /* labels for each group where a dispatch of its own counts them */
#define MOST_COUNTS    1024

static esker_status infer_cross_entropy(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    esker_status st = esker__rows_infer("cross_entropy", inputs);
    if (st != ESKER_OK) return st;
    out[0] = (esker__type){.dtype = ESKER_DTYPE_F32};
    out[1] = inputs[0]->type;
    return ESKER_OK;
}

static esker_node *gradient_cross_entropy(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return times_upstream(node, grad);
}

/* A label outside the classes: the loss is NaN, so that it is noticed, and the row's gradient 0, so that the parameters
   live to see the labels corrected. */
static void reference_cross_entropy(const esker__reference *r)
{
    const esker_shape *shape = &r->node->inputs[0]->type.shape;
    int64_t rows = shape->dims[0], classes = shape->dims[1];
    double count = 0, total = 0, size = 0;
    for (int64_t i = 0; i < rows; i++) count += r->in[1][i] != -1;
    for (int64_t i = 0; i < rows; i++) {
        const double *x = r->in[0] + i * classes;
        double *dx = r->out[1] ? r->out[1] + i * classes : NULL;
        double *dx_size = r->magnitude[1] ? r->magnitude[1] + i * classes : NULL;
        int64_t label = (int64_t)r->in[1][i];
        if (label < 0 || label >= classes) {
            for (int64_t k = 0; k < classes; k++) {
                if (dx) dx[k] = 0;
                if (dx_size) dx_size[k] = 0;
            }
            if (label != -1) total = NAN;
            continue;
        }
        double max = -INFINITY, sum = 0, spread = 0;
        for (int64_t k = 0; k < classes; k++) max = fmax(max, x[k]);
        for (int64_t k = 0; k < classes; k++) {
            sum += exp(x[k] - max);
            spread += exp(x[k] - max) * (max - x[k]);
        }
        spread /= sum; /* how much the sum's rounding depends on large exponents: see softmax.c */
        total += log(sum) - (x[label] - max);
        size += log(sum) + fabs(x[label] - max) + 1 + spread;
        for (int64_t k = 0; k < classes; k++) {
            double y = exp(x[k] - max) / sum, one = k == label;
            if (dx) dx[k] = (y - one) / count;
            if (dx_size) dx_size[k] = (y * (1 + max - x[k] + spread) + one) / count;
        }
    }
    r->out[0][0] = count > 0 ? total / count : 0;
    if (r->magnitude[0]) r->magnitude[0][0] = count > 0 ? size / count : 0;
}

static double tolerance_cross_entropy(const esker_node *node)
{
    const esker_shape *shape = &node->inputs[0]->type.shape;
    return 2 * sqrt((double)shape->dims[0]) + 2 * sqrt((double)shape->dims[1]) + 16;
}

static void cost_cross_entropy(const esker_node *node, esker__cost *out)
{
    const esker_shape *shape = &node->inputs[0]->type.shape;
    double n = (double)shape->dims[0] * (double)shape->dims[1];
    out->flops = 12 * n;
    out->bytes = 8 * n + 4 * (double)shape->dims[0];
}

/* Partial counts of labels that are not -1, to word `counts_at` of the scratch and on; returns how many there are. */
static esker_status emit_count(esker__lowering *lowering, const esker_node *node, esker__value scratch, uint32_t counts_at,
                               uint32_t n_counts)
{
    uint32_t rows = (uint32_t)node->inputs[0]->type.shape.dims[0];
    uint32_t params[] = {rows, (uint32_t)esker__ceil_div(rows, n_counts), counts_at};
    return esker__emit(lowering, &(esker__dispatch_desc){.kernel = "loss/count_labels",
                                                         .groups = {n_counts, 1, 1},
                                                         .operands = {esker__read(lowering, node->inputs[1]),
                                                                      {.value = scratch, .write = true}},
                                                         .n_operands = 2,
                                                         .params = params,
                                                         .n_params = 3,
                                                         .cost = {.flops = rows, .bytes = 4.0 * rows}});
}

/*
 * Where the kernel leaves how many rows are right: behind the loss, if the two lie together. Else counting is a dispatch of its own. So it is on Midgard where more
 * than 8 invocations share a row: with 16 its compiler spills for T860 (Mesa 25.0: 1 store and 4 loads, with 32 2 and 53).
 */
#define RIGHT_BYTES   4096
#define MIDGARD_LANES 8
static bool counts_right(esker__lowering *lowering, const esker_node *node, int lanes, uint32_t *out_word)
{
    uint64_t distance;
    if (node->op->n_outputs < 3 || !esker__output_is_used(lowering, node, 2)) return false;
    bool spills = lanes > MIDGARD_LANES && esker__lowering_family(lowering) == ESKER__FAMILY_MIDGARD;
    if (esker__setting("count_apart", spills)) return false;
    const esker_node *right = esker__output((esker_node *)node, 2);
    if (!esker__lie_together(lowering, node, right, RIGHT_BYTES, &distance)) return false;
    *out_word = (uint32_t)(distance / 4);
    return true;
}

static esker_status lower_cross_entropy(esker__lowering *lowering, const esker_node *node)
{
    esker__rows layout;
    esker_status st = esker__rows_layout(lowering, node, &layout);
    if (st != ESKER_OK) return st;
    uint32_t partials = esker__rows_partials(&layout), right_at = 0;
    bool final = partials == 1, counted = !final && layout.rows > COUNT_IN_GROUP;
    bool grad = esker__output_is_used(lowering, node, 1);

    uint32_t n_counts = 0;
    if (counted) {
        n_counts = (uint32_t)esker__ceil_div((uint64_t)layout.rows, COUNT_CHUNK);
        if (n_counts > MOST_COUNTS) n_counts = MOST_COUNTS;
    }
    esker__operand losses = esker__write(lowering, node), result = losses;
    bool right = counts_right(lowering, node, layout.lanes, &right_at);
    if (right) {
        result.span = true;
        result.n_bytes = 4 * (uint64_t)right_at + 4;
    }
    uint32_t second[2] = {partials + 1 + n_counts, right_at};
    if (final) {
        losses = result;
    } else {
        losses.value = esker__scratch(lowering, 4 * ((uint64_t)partials * (1 + right) + 1 + n_counts));
        if (counted) st = emit_count(lowering, node, losses.value, partials + 1, n_counts);
        if (st != ESKER_OK) return st;
    }

    int floats = esker__floats_of_element(lowering, layout.classes, true);
    char defines[96];
    snprintf(defines, sizeof defines, "LANES %d\nV %d\nGRAD %d\nFINAL %d\nRIGHT %d\nCOUNTED %d\n", layout.lanes, floats,
             grad, final, right, counted);
    uint32_t params[] = {
        layout.groups[0], layout.rounds, (uint32_t)layout.rows,         (uint32_t)layout.classes / (uint32_t)floats,
        partials,         n_counts,      0x7fc00000u /* a quiet NaN */, final ? right_at : second[0]};
    esker__dispatch_desc desc = {
        .kernel = "loss/cross_entropy",
        .defines = defines,
        .groups = {layout.groups[0], layout.groups[1], 1},
        .operands = {esker__read(lowering, node->inputs[0]), esker__read(lowering, node->inputs[1]), losses},
        .n_operands = 3,
        .params = params,
        .n_params = 8,
    };
    cost_cross_entropy(node, &desc.cost);
    if (grad) desc.operands[desc.n_operands++] = esker__write(lowering, esker__output((esker_node *)node, 1));
    st = esker__emit(lowering, &desc);
    if (st == ESKER_OK && !final)
        st = esker__finish_sum(lowering, losses.value, partials, true, result, right ? second : NULL);
    bool apart = !right && node->op->n_outputs > 2 && esker__output_is_used(lowering, node, 2);
    return st == ESKER_OK && apart ? esker__lower_count_correct(lowering, node, 2) : st;
}

/* ---- With the count of those that are right ---- */

static esker_status infer_counting(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    esker_status st = infer_cross_entropy(attr, inputs, n_inputs, out);
    out[2] = (esker__type){.dtype = ESKER_DTYPE_F32};
    return st;
}

static void reference_counting(const esker__reference *r)
{
    reference_cross_entropy(r);
    if (r->out[2]) r->out[2][0] = esker__rows_correct(r);
    if (r->magnitude[2]) r->magnitude[2][0] = 0;
}

static void title_counting(const esker_node *node, esker__text *text)
{
    (void)node;
    esker__text_add(text, "cross_entropy+count_correct");
}

/* Cross-entropy and count_correct of the same logits and labels: output 2 is the count. */
static const esker__op counting = {
    .name = "cross_entropy",
    .n_inputs = 2,
    .n_outputs = 3,
    .infer = infer_counting,
    .reference = reference_counting,
    .tolerance = tolerance_cross_entropy,
    .atol = ESKER__FLUSHED,
    .cost = cost_cross_entropy,
    .lower = lower_cross_entropy,
    .title = title_counting,
};

static bool has_inputs(const esker_node *node, const esker__op *op, esker_node *const *inputs)
{
    return node->op == op && node->inputs[0] == inputs[0] && node->inputs[1] == inputs[1];
}

/* The node of `op` with the same logits and labels, or NULL. */
static const esker_node *find_partner(const esker_node *node, const esker__op *op)
{
    for (size_t i = 0; i < node->graph->n_nodes; i++)
        if (has_inputs(node->graph->nodes[i], op, node->inputs)) return node->graph->nodes[i];
    return NULL;
}

/* The node that computes both: recorded when the first one's turn comes. `partner` is the other's op. */
static esker_node *find_counting(esker_graph *graph, const esker_node *node, const esker__op *partner,
                                 esker_node *const *inputs)
{
    const esker_node *other = find_partner(node, partner);
    if (!other) return NULL;
    for (size_t i = graph->n_nodes; i-- > 0;)
        if (has_inputs(graph->nodes[i], &counting, inputs)) return graph->nodes[i];
    return other->id > node->id ? esker__record_in(graph, &counting, NULL, inputs, 2) : NULL;
}

static esker_node *fused_cross_entropy(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                       const esker__fusion *fusion)
{
    const esker_node *partner = find_partner(node, &esker__op_count_correct);
    if (partner && !fusion->n_users[partner->id]) partner = NULL;
    esker_node *made = esker__fused_linear_cross_entropy(graph, node, partner, inputs, fusion);
    return made ? made : find_counting(graph, node, &esker__op_count_correct, inputs);
}

esker_node *esker__fused_count(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                               const esker__fusion *fusion)
{
    (void)fusion;
    return esker__output(find_counting(graph, node, &esker__op_cross_entropy, inputs), 2);
}

const esker__op esker__op_cross_entropy = {
    .name = "cross_entropy",
    .n_inputs = 2,
    .n_outputs = 2,
    .infer = infer_cross_entropy,
    .gradient = gradient_cross_entropy,
    .no_gradient = 2, /* labels */
    .reference = reference_cross_entropy,
    .tolerance = tolerance_cross_entropy,
    .atol = ESKER__FLUSHED,
    .cost = cost_cross_entropy,
    .lower = lower_cross_entropy,
    .fused = fused_cross_entropy,
};

esker_node *esker_cross_entropy(esker_node *logits, esker_node *labels)
{
    esker_node *inputs[] = {logits, labels};
    return esker__record(&esker__op_cross_entropy, NULL, inputs, 2);
}
