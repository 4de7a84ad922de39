/*
 * The hinge of several classes, made of operations: how far each output is behind that of the label, a loss of pairs (pair_loss.c)
 * of that and a mask of the label, and the rows' means.
 */
#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/rows.h"

static esker_status check(esker_node *const *inputs, int n_inputs, const esker_multi_margin_desc *desc)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker_status st = esker__rows_infer("multi_margin", inputs);
    if (st != ESKER_OK) return st;
    int64_t classes = inputs[0]->type.shape.dims[1];
    const esker__type *w = n_inputs > 2 ? &inputs[2]->type : NULL;
    if (w && (w->dtype != ESKER_DTYPE_F32 || w->shape.rank != 1 || w->shape.dims[0] != classes))
        return esker__fail(ESKER_ERR_INVALID, "%s: the weights must be float32 [%lld], one for each class",
                           esker__signature(text, "multi_margin", inputs, n_inputs), (long long)classes);
    if (!isfinite(desc->margin))
        return esker__fail(ESKER_ERR_INVALID, "%s: margin %g, it must be finite",
                           esker__signature(text, "multi_margin", inputs, n_inputs), (double)desc->margin);
    if (desc->power < 0 || desc->power > 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: power %d, 1 and 2 are possible",
                           esker__signature(text, "multi_margin", inputs, n_inputs), desc->power);
    return ESKER_OK;
}

/* [n] as [n, 1]. */
static esker_node *as_column(esker_node *x)
{
    return x ? esker_reshape(x, &(esker_shape){2, {x->type.shape.dims[0], 1}}) : NULL;
}

esker_node *esker_multi_margin(esker_node *x, esker_node *labels, esker_node *weights, const esker_multi_margin_desc *desc)
{
    static const esker_multi_margin_desc usual;
    esker_node *inputs[] = {x, labels, weights};
    int n_inputs = weights ? 3 : 2, axis = 1;
    desc = desc ? desc : &usual;
    if (!x || !labels) return esker__record(&esker__op_multi_margin, NULL, inputs, 2);
    if (!esker__check_reduction("multi_margin", inputs, n_inputs, desc->reduction)) return NULL;
    esker_status st = check(inputs, n_inputs, desc);
    if (st != ESKER_OK) return esker__graph_fail(x->graph, st);
    int64_t classes = x->type.shape.dims[1];
    const esker__op *op = desc->power == 2 ? &esker__op_multi_margin_square : &esker__op_multi_margin;
    float margin = desc->margin != 0 ? desc->margin : 1;

    esker_node *ahead = esker_add(x, as_column(esker__minus_at_label(x, labels)));
    esker_node *mask = esker_one_hot(labels, classes);
    bool mean = desc->reduction == ESKER_REDUCTION_MEAN || desc->reduction == ESKER_REDUCTION_BATCH_MEAN;
    if (mean && !weights) return esker__pair_loss(op, ahead, mask, ESKER_REDUCTION_MEAN, margin);
    esker_node *terms = esker__pair_loss(op, ahead, mask, ESKER_REDUCTION_NONE, margin);
    if (weights) terms = esker_mul(terms, as_column(esker__label_weights(labels, weights)));
    if (mean) return esker_mean(terms, NULL, 0, false);
    esker_node *rows = esker_mean(terms, &axis, 1, false);
    return desc->reduction == ESKER_REDUCTION_SUM ? esker_sum(rows, NULL, 0, false) : rows;
}
