/*
 * A recurrent layer over a whole sequence, one direction. The input's part of the gates is one matmul for all steps, recorded
 * beside it; the operation itself has the steps, each of them one dispatch with the hidden state's part and the gates. It keeps
 * states and gates (output 1) for its gradient, which goes back through the steps the same way, and leaves the weights' gradients
 * to a matmul over all steps. Output 2 is the last cell state of an lstm, of others nothing to use.
 * Source     Werbos 1990, Backpropagation through time; the gates as in PyTorch's nn.RNN, nn.LSTM and nn.GRU.
 */
#include "ops/recurrent.h"

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"

#define MOST_STEPS 4096 /* each is a dispatch of the plan */

static const char *const kind_names[] = {"rnn_tanh", "rnn_relu", "lstm", "gru"};
static const int kind_gates[] = {1, 1, 4, 3};

esker__recurrent_size esker__recurrent_size_of(const esker__recurrent_attr *attr, const esker_shape *x)
{
    esker__recurrent_size z = {.steps = x->dims[attr->batch_first ? 1 : 0],
                               .batch = x->dims[attr->batch_first ? 0 : 1],
                               .hidden = attr->hidden,
                               .gates = kind_gates[attr->kind],
                               .has_c = attr->kind == ESKER_RECURRENT_LSTM,
                               .has_gates = attr->kind >= ESKER_RECURRENT_LSTM};
    z.units = z.batch * z.hidden;
    int64_t states = (z.steps + 1) * z.units;
    z.c_at = states;
    z.gates_at = z.has_c ? 2 * states : states;
    z.n_kept = z.gates_at + (z.has_gates ? 4 * z.steps * z.units : 0);
    return z;
}

/* ---- Shapes: esker_recurrent() has checked the inputs, and asks for what its gradients need ---- */

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__recurrent_attr *a = attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &inputs[0]->type.shape);
    char text[ESKER__SIGNATURE_BYTES];
    if (z.steps > MOST_STEPS)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld steps, at most %d",
                           esker__signature(text, "recurrent", inputs, n_inputs), (long long)z.steps, MOST_STEPS);
    for (int i = 2 + a->has_bias; i < n_inputs; i++) {
        const esker_shape *state = &inputs[i]->type.shape, *first = &inputs[2 + a->has_bias]->type.shape;
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32 || state->rank != 2 || state->dims[1] != z.hidden ||
            (state->dims[0] != z.batch && state->dims[0] != 1) || state->dims[0] != first->dims[0])
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: the initial state must be float32 [%lld, %lld], or [1, %lld] for all samples",
                               esker__signature(text, "recurrent", inputs, n_inputs), (long long)z.batch,
                               (long long)z.hidden, (long long)z.hidden);
    }
    out[0] = inputs[0]->type;
    out[0].shape.dims[2] = z.hidden;
    out[1] = (esker__type){ESKER_DTYPE_F32, {1, {z.n_kept}}};
    out[2] = (esker__type){ESKER_DTYPE_F32, {2, {z.batch, z.hidden}}};
    return ESKER_OK;
}

static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    esker__recurrent_size z = esker__recurrent_size_of(attr, &inputs[0]->type.shape);
    out[0] = out[3] = inputs[0]->type;
    out[0].shape.dims[2] = out[3].shape.dims[2] = z.gates * z.hidden;
    out[1] = out[2] = (esker__type){ESKER_DTYPE_F32, {2, {z.batch, z.hidden}}};
    return ESKER_OK;
}

static esker_status infer_before(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    out[0] = inputs[1]->type;
    return ESKER_OK;
}

/* ---- The operations ---- */

static double tolerance(const esker_node *node)
{
    const esker__recurrent_attr *a = node->attr;
    return 2 * sqrt((double)(kind_gates[a->kind] * a->hidden)) + 6;
}

static void cost(const esker_node *node, esker__cost *out)
{
    esker__recurrent_size z = esker__recurrent_size_of(node->attr, &node->inputs[0]->type.shape);
    double units = (double)z.units * (double)z.steps, h = (double)z.hidden, gates = (double)z.gates;
    *out = (esker__cost){units * gates * (2 * h + 10), 4 * (units * (3 * gates + 4) + (double)z.steps * gates * h * h)};
}

static void cost_before(const esker_node *node, esker__cost *out)
{
    esker__recurrent_size z = esker__recurrent_size_of(node->attr, &node->type.shape);
    double n = (double)z.units * (double)z.steps;
    *out = (esker__cost){n, 8 * n};
}

static esker_node *as_rows(esker_node *x)
{
    return x ? esker_reshape(x, &(esker_shape){2, {-1, x->type.shape.dims[2]}}) : NULL;
}

/* grads[2] is that of the last cell state. */
static esker_node *gradients(esker_node *node, esker_node *const *grads, int input)
{
    const esker__recurrent_attr *a = node->attr;
    esker_node *kept = esker__output(node, 1), *inputs[] = {grads[0], kept, node->inputs[1], grads[2]};
    if (!inputs[0]) inputs[0] = esker_full(node->graph, &node->type.shape, 0);
    /* One node for all: recorded for each of them, and merged when a plan is made. */
    esker_node *all = esker__record(&esker__op_recurrent_grad, a, inputs, grads[2] ? 4 : 3);
    if (input == 0) return all;
    if (input >= 2 + a->has_bias) return esker__output(all, input - 2 - a->has_bias + 1);
    esker_node *dgates = as_rows(esker__output(all, 3));
    if (input == 2) return esker_sum(dgates, (int[]){0}, 1, false);
    esker_node *before = esker__record(&esker__op_recurrent_before, a, (esker_node *[]){kept, node}, 2);
    return esker_matmul(dgates, as_rows(before), &(esker_matmul_desc){.transpose_a = true});
}

const esker__op esker__op_recurrent = {
    .name = "recurrent",
    .n_inputs = -1,
    .n_outputs = 3,
    .attr_bytes = sizeof(esker__recurrent_attr),
    .infer = infer,
    .gradients = gradients,
    .reference = esker__recurrent_reference,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = esker__recurrent_lower,
};

const esker__op esker__op_recurrent_grad = {
    .name = "recurrent_grad",
    .n_inputs = -1,
    .n_outputs = 4,
    .attr_bytes = sizeof(esker__recurrent_attr),
    .infer = infer_grad,
    .reference = esker__recurrent_grad_reference,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = esker__recurrent_grad_lower,
};

const esker__op esker__op_recurrent_before = {
    .name = "recurrent_before",
    .n_inputs = 2,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__recurrent_attr),
    .infer = infer_before,
    .reference = esker__recurrent_before_reference,
    .tolerance = esker__tolerance_exact,
    .atol = ESKER__FLUSHED,
    .cost = cost_before,
    .lower = esker__recurrent_before_lower,
};

/* ---- Recording ---- */

static bool is_matrix(const esker_node *node, int64_t rows, int64_t columns)
{
    const esker_shape *shape = &node->type.shape;
    return node->type.dtype == ESKER_DTYPE_F32 && shape->rank == 2 && shape->dims[0] == rows && shape->dims[1] == columns;
}

static bool is_vector(const esker_node *node, int64_t n)
{
    return node->type.dtype == ESKER_DTYPE_F32 && node->type.shape.rank == 1 && node->type.shape.dims[0] == n;
}

static esker_status check(const esker_node *x, const esker_recurrent_desc *d)
{
    char shape[ESKER_SHAPE_TEXT_BYTES], weight[ESKER_SHAPE_TEXT_BYTES];
    const char *name = kind_names[d->kind];
    esker_shape_text(&x->type.shape, shape);
    if (x->type.dtype != ESKER_DTYPE_F32 || x->type.shape.rank != 3)
        return esker__fail(ESKER_ERR_INVALID, "%s: x is %s %s, it must be float32 [%s, features]", name,
                           esker_dtype_name(x->type.dtype), shape, d->batch_first ? "batch, steps" : "steps, batch");
    int gates = kind_gates[d->kind];
    int64_t features = x->type.shape.dims[2],
            hidden = d->weight_hh->type.shape.rank == 2 ? d->weight_hh->type.shape.dims[1] : 0;
    if (!is_matrix(d->weight_hh, gates * hidden, hidden))
        return esker__fail(ESKER_ERR_INVALID, "%s: weight_hh is %s, it must be float32 [%d hidden, hidden]", name,
                           esker_shape_text(&d->weight_hh->type.shape, weight), gates);
    if (!is_matrix(d->weight_ih, gates * hidden, features))
        return esker__fail(ESKER_ERR_INVALID, "%s: weight_ih is %s, it must be float32 [%lld, %lld] for x %s", name,
                           esker_shape_text(&d->weight_ih->type.shape, weight), (long long)(gates * hidden),
                           (long long)features, shape);
    for (int i = 0; i < 2; i++) {
        const esker_node *bias = i ? d->bias_hh : d->bias_ih;
        if (bias && !is_vector(bias, gates * hidden))
            return esker__fail(ESKER_ERR_INVALID, "%s: bias_%s is %s, it must be float32 [%lld]", name, i ? "hh" : "ih",
                               esker_shape_text(&bias->type.shape, weight), (long long)(gates * hidden));
    }
    if (d->c && d->kind != ESKER_RECURRENT_LSTM)
        return esker__fail(ESKER_ERR_INVALID, "%s: has no cell state, c must be NULL", name);
    if (d->kind == ESKER_RECURRENT_LSTM && !d->h != !d->c)
        return esker__fail(ESKER_ERR_INVALID, "%s: the initial states h and c come together or not at all", name);
    return ESKER_OK;
}

esker_node *esker_recurrent(esker_node *x, const esker_recurrent_desc *desc)
{
    if (!x) return NULL;
    esker_graph *graph = x->graph;
    esker_status st = ESKER_OK;
    if (graph->status != ESKER_OK) return NULL;
    if (!desc || !desc->weight_ih || !desc->weight_hh)
        st = esker__fail(ESKER_ERR_INVALID, "recurrent: %s is NULL",
                         !desc              ? "desc"
                         : !desc->weight_ih ? "weight_ih"
                                            : "weight_hh");
    else if ((unsigned)desc->kind > ESKER_RECURRENT_GRU)
        st = esker__fail(ESKER_ERR_INVALID, "recurrent: unknown kind %d", (int)desc->kind);
    else
        st = check(x, desc);
    if (st != ESKER_OK) return esker__graph_fail(graph, st);

    int64_t hidden = desc->weight_hh->type.shape.dims[1], steps = x->type.shape.dims[desc->batch_first ? 1 : 0];
    if (hidden > INT32_MAX / 4)
        return esker__graph_fail(graph,
                                 esker__fail(ESKER_ERR_LIMIT, "recurrent: a hidden state of %lld", (long long)hidden));
    esker__recurrent_attr attr = {.kind = (int32_t)desc->kind,
                                  .reverse = desc->reverse,
                                  .batch_first = desc->batch_first,
                                  .has_bias = desc->bias_hh != NULL,
                                  .has_state = desc->h != NULL,
                                  .hidden = (int32_t)hidden};
    esker_node *y = esker_matmul(as_rows(x), desc->weight_ih, &(esker_matmul_desc){.transpose_b = true});
    if (desc->bias_ih) y = esker_add(y, desc->bias_ih);
    if (!y) return NULL;
    /* The -1 is the batch, so that a model may have any. */
    int64_t width = y->type.shape.dims[1];
    y = esker_reshape(y, desc->batch_first ? &(esker_shape){3, {-1, steps, width}} : &(esker_shape){3, {steps, -1, width}});
    esker_node *inputs[5] = {y, desc->weight_hh};
    int n = 2;
    if (desc->bias_hh) inputs[n++] = desc->bias_hh;
    if (desc->h) inputs[n++] = desc->h;
    if (desc->c) inputs[n++] = desc->c;
    return esker__record(&esker__op_recurrent, &attr, inputs, n);
}

esker_node *esker_recurrent_cell(esker_node *y)
{
    if (!y) return NULL;
    const esker__recurrent_attr *a = y->attr;
    char text[ESKER__SIGNATURE_BYTES];
    if (y->op != &esker__op_recurrent)
        return esker__graph_fail(y->graph, esker__fail(ESKER_ERR_INVALID, "%s: y is no result of recurrent",
                                                       esker__signature(text, "recurrent_cell", &y, 1)));
    if (a->kind != ESKER_RECURRENT_LSTM)
        return esker__graph_fail(
            y->graph, esker__fail(ESKER_ERR_INVALID, "recurrent_cell: %s has no cell state", kind_names[a->kind]));
    return esker__output(y, 2);
}
