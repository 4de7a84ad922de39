/*
 * Losses with labels or probabilities in every form: negative log-likelihood, and cross-entropy with class weights, smoothed labels,
 * any label to ignore, and any reduction. Made of operations: the rows' own terms here, log_softmax and sums elsewhere. (loss.c has
 * the usual form of cross-entropy as one kernel.)
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/rows.h"
#include "plan/lowering.h"

typedef struct labels_attr {
    int32_t ignored, classes;
} labels_attr;

/* -1: the row counts for nothing; -2: no class has this label. */
static int64_t class_of(const labels_attr *a, double label)
{
    if (label == a->ignored) return -1;
    return label >= 0 && label < a->classes ? (int64_t)label : -2;
}

static esker_status emit(esker__lowering *lowering, const esker_node *node, int mode, const esker_node *values,
                         const esker_node *labels)
{
    const labels_attr *a = node->attr;
    int64_t n = esker__elems(&node->type.shape);
    if (n > INT32_MAX || esker__elems(&labels->type.shape) * a->classes > INT32_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld labels for %d classes, the kernel indexes at most %d elements",
                           node->op->name, (long long)esker__elems(&labels->type.shape), (int)a->classes, INT32_MAX);
    char defines[32];
    snprintf(defines, sizeof defines, "MODE %d\nWEIGHTS %d\n", mode, values != NULL);
    esker__dispatch_desc desc = {.kernel = "loss/labels", .defines = defines, .n_params = 5};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, 64), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {desc.groups[0], (uint32_t)n, (uint32_t)a->classes, (uint32_t)a->ignored, 0x7fc00000u};
    desc.params = params;
    if (values) desc.operands[desc.n_operands++] = esker__read(lowering, values);
    desc.operands[desc.n_operands++] = esker__read(lowering, labels);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    return esker__emit(lowering, &desc);
}

/* ---- nll: -x[i][label] ---- */

static esker_status infer_nll(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = (esker__type){ESKER_DTYPE_F32, inputs[1]->type.shape};
    return ESKER_OK;
}

static esker_node *gradient_nll(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    return esker__record(&esker__op_nll_grad, node->attr, (esker_node *[]){grad, node->inputs[1]}, 2);
}

static void reference_nll(const esker__reference *r)
{
    const labels_attr *a = r->node->attr;
    int64_t n = esker__elems(&r->node->type.shape);
    for (int64_t i = 0; i < n; i++) {
        int64_t c = class_of(a, r->in[1][i]);
        r->out[0][i] = c == -1 ? 0 : c < 0 ? NAN : -r->in[0][i * a->classes + c];
    }
}

static void cost_rows(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){(double)esker__elems(&node->type.shape), 12 * (double)esker__elems(&node->type.shape)};
}

static esker_status lower_nll(esker__lowering *lowering, const esker_node *node)
{
    return emit(lowering, node, 0, node->inputs[0], node->inputs[1]);
}

const esker__op esker__op_nll = {
    .name = "nll",
    .n_inputs = 2,
    .n_outputs = 1,
    .attr_bytes = sizeof(labels_attr),
    .infer = infer_nll,
    .gradient = gradient_nll,
    .no_gradient = 2,
    .reference = reference_nll,
    .tolerance = esker__tolerance_exact,
    .atol = ESKER__FLUSHED,
    .cost = cost_rows,
    .lower = lower_nll,
};

/* ---- nll_grad: -g[i] at the label ---- */

static esker_status infer_nll_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    *out = (esker__type){ESKER_DTYPE_F32, {2, {inputs[1]->type.shape.dims[0], ((const labels_attr *)attr)->classes}}};
    return ESKER_OK;
}

static void reference_nll_grad(const esker__reference *r)
{
    const labels_attr *a = r->node->attr;
    int64_t n = esker__elems(&r->node->inputs[1]->type.shape);
    memset(r->out[0], 0, (size_t)esker__elems(&r->node->type.shape) * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        int64_t c = class_of(a, r->in[1][i]);
        if (c >= 0) r->out[0][i * a->classes + c] = -r->in[0][i];
    }
}

static esker_status lower_nll_grad(esker__lowering *lowering, const esker_node *node)
{
    return emit(lowering, node, 2, node->inputs[0], node->inputs[1]);
}

const esker__op esker__op_nll_grad = {
    .name = "nll_grad",
    .n_inputs = 2,
    .n_outputs = 1,
    .attr_bytes = sizeof(labels_attr),
    .infer = infer_nll_grad,
    .reference = reference_nll_grad,
    .tolerance = esker__tolerance_exact,
    .atol = ESKER__FLUSHED,
    .lower = lower_nll_grad,
};

/* ---- label_weights: w[label], or 1; inputs labels and perhaps weights ---- */

static esker_status infer_label_weights(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = (esker__type){ESKER_DTYPE_F32, inputs[0]->type.shape};
    return ESKER_OK;
}

static void reference_label_weights(const esker__reference *r)
{
    const labels_attr *a = r->node->attr;
    int64_t n = esker__elems(&r->node->type.shape);
    for (int64_t i = 0; i < n; i++) {
        int64_t c = class_of(a, r->in[0][i]);
        r->out[0][i] = c == -1 ? 0 : c < 0 ? NAN : r->node->n_inputs > 1 ? r->in[1][c] : 1;
    }
}

static esker_status lower_label_weights(esker__lowering *lowering, const esker_node *node)
{
    return emit(lowering, node, 1, node->n_inputs > 1 ? node->inputs[1] : NULL, node->inputs[0]);
}

const esker__op esker__op_label_weights = {
    .name = "label_weights",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(labels_attr),
    .infer = infer_label_weights,
    .reference = reference_label_weights,
    .tolerance = esker__tolerance_exact,
    .atol = ESKER__FLUSHED,
    .cost = cost_rows,
    .lower = lower_label_weights,
};

/* ---- The losses ---- */

static esker_node *label_weights(esker_node *labels, esker_node *weights, const labels_attr *attr)
{
    return esker__record(&esker__op_label_weights, attr, (esker_node *[]){labels, weights}, weights ? 2 : 1);
}

/* Of other losses, which ignore no label. */
esker_node *esker__minus_at_label(esker_node *x, esker_node *labels)
{
    labels_attr attr = {.ignored = INT32_MIN, .classes = (int32_t)x->type.shape.dims[1]};
    return esker__record(&esker__op_nll, &attr, (esker_node *[]){x, labels}, 2);
}

esker_node *esker__label_weights(esker_node *labels, esker_node *weights)
{
    labels_attr attr = {.ignored = INT32_MIN, .classes = (int32_t)weights->type.shape.dims[0]};
    return label_weights(labels, weights, &attr);
}

/* sum / weight, and 0 where nothing counted. */
static esker_node *mean_of(esker_node *sum, esker_node *weight)
{
    if (!sum || !weight) return NULL;
    esker_node *zero = esker_full(sum->graph, &(esker_shape){0}, 0);
    return esker_div(sum, esker_add(weight, esker__equal(weight, zero)));
}

/* The rows' terms. `weight`: what a mean divides by, or NULL for the number of rows. */
static esker_node *reduce_rows(esker_node *rows, esker_node *weight, esker_reduction reduction)
{
    if (reduction == ESKER_REDUCTION_NONE) return rows;
    if (reduction == ESKER_REDUCTION_MEAN && weight)
        return mean_of(esker_sum(rows, NULL, 0, false), esker_sum(weight, NULL, 0, false));
    if (reduction == ESKER_REDUCTION_SUM) return esker_sum(rows, NULL, 0, false);
    return esker_mean(rows, NULL, 0, false);
}

/* The shapes, weights and settings of both losses. */
static esker_status check(const char *op, esker_node *const *inputs, int n_inputs, const esker_cross_entropy_desc *desc)
{
    char text[ESKER__SIGNATURE_BYTES];
    const esker__type *x = &inputs[0]->type;
    esker_status st = ESKER_OK;
    if (inputs[1]->type.dtype != ESKER_DTYPE_F32)
        st = esker__rows_infer(op, inputs);
    else if (x->dtype != ESKER_DTYPE_F32 || x->shape.rank != 2 || !esker_shape_equal(&inputs[1]->type.shape, &x->shape))
        st = esker__fail(ESKER_ERR_INVALID,
                         "%s: float32 [n, classes] and labels int32 [n] or as many probabilities are needed",
                         esker__signature(text, op, inputs, n_inputs));
    if (st != ESKER_OK) return st;
    const esker_shape *w = n_inputs > 2 ? &inputs[2]->type.shape : NULL;
    if (w && (inputs[2]->type.dtype != ESKER_DTYPE_F32 || w->rank != 1 || w->dims[0] != x->shape.dims[1]))
        return esker__fail(ESKER_ERR_INVALID, "%s: the weights must be float32 [%lld], one for each class",
                           esker__signature(text, op, inputs, n_inputs), (long long)x->shape.dims[1]);
    if (!(desc->label_smoothing >= 0 && desc->label_smoothing <= 1))
        return esker__fail(ESKER_ERR_INVALID, "%s: label smoothing %g, 0 to 1 are possible",
                           esker__signature(text, op, inputs, n_inputs), (double)desc->label_smoothing);
    return ESKER_OK;
}

/* Rows of -log probability at the labels, smoothed, weighted and reduced. */
static esker_node *with_labels(esker_node *log_p, esker_node *labels, esker_node *weights,
                               const esker_cross_entropy_desc *desc)
{
    if (!log_p) return NULL;
    labels_attr attr = {.ignored = desc->use_ignore_index ? desc->ignore_index : -1,
                        .classes = (int32_t)log_p->type.shape.dims[1]};
    float s = desc->label_smoothing;
    int axis = 1;
    esker_node *weight = label_weights(labels, weights, &attr);
    esker_node *rows = esker__record(&esker__op_nll, &attr, (esker_node *[]){log_p, labels}, 2);
    if (weights) rows = esker_mul(rows, weight);
    if (s > 0) {
        esker_node *all = esker_sum(weights ? esker_mul(log_p, weights) : log_p, &axis, 1, false);
        esker_node *counts = weights ? label_weights(labels, NULL, &attr) : weight;
        rows = esker_add(esker_affine(rows, 1 - s, 0), esker_mul(esker_affine(all, -s / (float)attr.classes, 0), counts));
    }
    return reduce_rows(rows, weight, desc->reduction);
}

static esker_node *with_probabilities(esker_node *log_p, esker_node *target, esker_node *weights,
                                      const esker_cross_entropy_desc *desc)
{
    if (!log_p) return NULL;
    float s = desc->label_smoothing;
    int axis = 1;
    if (s > 0) target = esker_affine(target, 1 - s, s / (float)log_p->type.shape.dims[1]);
    if (weights) target = esker_mul(target, weights);
    return reduce_rows(esker_neg(esker_sum(esker_mul(target, log_p), &axis, 1, false)), NULL, desc->reduction);
}

static const esker_cross_entropy_desc usual = {0};

esker_node *esker_nll(esker_node *log_probabilities, esker_node *labels, esker_node *weights,
                      const esker_cross_entropy_desc *desc)
{
    esker_node *inputs[] = {log_probabilities, labels, weights};
    char text[ESKER__SIGNATURE_BYTES];
    int n_inputs = weights ? 3 : 2;
    desc = desc ? desc : &usual;
    if (!log_probabilities || !labels) return esker__record(&esker__op_nll, NULL, inputs, 2);
    if (!esker__check_reduction("nll", inputs, n_inputs, desc->reduction)) return NULL;
    esker_status st = check("nll", inputs, n_inputs, desc);
    if (st == ESKER_OK && (labels->type.dtype == ESKER_DTYPE_F32 || desc->label_smoothing > 0))
        st = esker__fail(ESKER_ERR_INVALID, "%s: labels must be int32 [n], without smoothing (cross_entropy has both)",
                         esker__signature(text, "nll", inputs, n_inputs));
    if (st != ESKER_OK) return esker__graph_fail(log_probabilities->graph, st);
    return with_labels(log_probabilities, labels, weights, desc);
}

esker_node *esker_cross_entropy_with(esker_node *logits, esker_node *target, esker_node *weights,
                                     const esker_cross_entropy_desc *desc)
{
    esker_node *inputs[] = {logits, target, weights};
    int n_inputs = weights ? 3 : 2;
    desc = desc ? desc : &usual;
    if (!logits || !target) return esker_cross_entropy(logits, target);
    if (!esker__check_reduction("cross_entropy", inputs, n_inputs, desc->reduction)) return NULL;
    esker_status st = check("cross_entropy", inputs, n_inputs, desc);
    if (st != ESKER_OK) return esker__graph_fail(logits->graph, st);
    bool labelled = target->type.dtype == ESKER_DTYPE_I32;
    bool ignores_usual = !desc->use_ignore_index || desc->ignore_index == -1;
    if (labelled && !weights && desc->label_smoothing == 0 && ignores_usual && desc->reduction == ESKER_REDUCTION_MEAN)
        return esker_cross_entropy(logits, target);
    esker_node *log_p = esker_log_softmax(logits, 1);
    return labelled ? with_labels(log_p, target, weights, desc) : with_probabilities(log_p, target, weights, desc);
}
