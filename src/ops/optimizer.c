/*
 * Optimizers. An update is one operation over the contiguous arenas of all parameters that are not frozen, their gradients
 * and the optimizer's state; its inputs, the gradient nodes, only tell the plan what to place in the gradient arena. Gaps
 * between parameters hold zero gradients, so values and state stay zero there. Sources  sgd: as PyTorch's, without
 * dampening (zero momentum at the start makes the first one the gradient itself). adam: Kingma, Ba 2015, algorithm 1, eps
 * after the bias correction.  adamw: Loshchilov, Hutter 2019.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "ops/ops.h"
#include "plan/lowering.h"

/* The description with its defaults filled in. */
typedef struct optimizer_attr {
    float lr, momentum, weight_decay, beta1, beta2, eps;
} optimizer_attr;

static const char *const names[] = {
    [ESKER_OPTIMIZER_SGD] = "sgd", [ESKER_OPTIMIZER_ADAM] = "adam", [ESKER_OPTIMIZER_ADAMW] = "adamw"};
#define N_KINDS ((int)(sizeof names / sizeof *names))

/* eps alone keeps 0 / 0 out of the gaps between parameters: it must survive where denormals are flushed. */
#define LEAST_EPS 1e-30f

/* ---- Shape rule ---- */

static esker_status infer(const char *op, esker_node *const *inputs, int n_inputs)
{
    const esker_params *params = n_inputs ? inputs[0]->graph->params : NULL;
    int n = 0;
    for (size_t i = 0; params && i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        if (n < n_inputs &&
            (inputs[n]->type.dtype != ESKER_DTYPE_F32 || !esker_shape_equal(&inputs[n]->type.shape, &p->shape))) {
            char want[ESKER_SHAPE_TEXT_BYTES], got[ESKER_SHAPE_TEXT_BYTES];
            return esker__fail(ESKER_ERR_INVALID, "%s: parameter %s is float32 %s, its gradient %s %s", op, p->name,
                               esker_shape_text(&p->shape, want), esker_dtype_name(inputs[n]->type.dtype),
                               esker_shape_text(&inputs[n]->type.shape, got));
        }
        n++;
    }
    if (n != n_inputs)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d gradients for %d parameters that are not frozen", op, n_inputs, n);
    return ESKER_OK;
}

static esker_status infer_sgd(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)out;
    return infer("sgd", inputs, n_inputs);
}

static esker_status infer_adam(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)out;
    return infer("adam", inputs, n_inputs);
}

static esker_status infer_adamw(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)out;
    return infer("adamw", inputs, n_inputs);
}

/* ---- References ---- */

static void reference_sgd(const esker__reference *r)
{
    const optimizer_attr *a = r->node->attr;
    double lr = r->lr > 0 ? r->lr : a->lr;
    for (int64_t i = 0; i < r->n_update; i++) {
        double move = r->gradients[i] + (double)a->weight_decay * r->params[i];
        if (a->momentum > 0) move = r->state[0][i] = (double)a->momentum * r->state[0][i] + move;
        r->params[i] -= lr * move;
    }
}

static void reference_adaptive(const esker__reference *r, bool decoupled)
{
    const optimizer_attr *a = r->node->attr;
    double lr = r->lr > 0 ? r->lr : a->lr, t = (double)r->step + 1;
    double b1 = a->beta1, b2 = a->beta2, decay = a->weight_decay;
    double correct1 = 1 - pow(b1, t), correct2 = 1 - pow(b2, t);
    for (int64_t i = 0; i < r->n_update; i++) {
        double g = r->gradients[i];
        if (decoupled)
            r->params[i] *= 1 - lr * decay;
        else
            g += decay * r->params[i];
        double m = r->state[0][i] = b1 * r->state[0][i] + (1 - b1) * g;
        double v = r->state[1][i] = b2 * r->state[1][i] + (1 - b2) * g * g;
        r->params[i] -= lr / correct1 * m / (sqrt(v) / sqrt(correct2) + a->eps);
    }
}

static void reference_adam(const esker__reference *r)
{
    reference_adaptive(r, false);
}

static void reference_adamw(const esker__reference *r)
{
    reference_adaptive(r, true);
}

/* ---- What changes from step to step: two vec4 for the kernels, computed in double ---- */

static void step_sgd(const void *attr, const esker__step *step, float out[8])
{
    const optimizer_attr *a = attr;
    memset(out, 0, 8 * sizeof *out);
    out[0] = step->lr > 0 ? step->lr : a->lr;
    out[1] = a->weight_decay;
    out[2] = a->momentum;
}

static void step_adaptive(const optimizer_attr *a, const esker__step *step, bool decoupled, float out[8])
{
    double lr = step->lr > 0 ? step->lr : a->lr, t = (double)step->step + 1;
    double b1 = a->beta1, b2 = a->beta2;
    out[0] = (float)(lr / (1 - pow(b1, t)));
    out[1] = (float)(1 / sqrt(1 - pow(b2, t)));
    out[2] = a->eps;
    out[3] = decoupled ? (float)(1 - lr * (double)a->weight_decay) : a->weight_decay;
    out[4] = a->beta1;
    out[5] = (float)(1 - b1);
    out[6] = a->beta2;
    out[7] = (float)(1 - b2);
}

static void step_adam(const void *attr, const esker__step *step, float out[8])
{
    step_adaptive(attr, step, false, out);
}

static void step_adamw(const void *attr, const esker__step *step, float out[8])
{
    step_adaptive(attr, step, true, out);
}

/* ---- Lowering ---- */

#define GROUP 128 /* invocations, one vec4 each */

static void cost_of(const esker_node *node, double flops, double arrays, esker__cost *out)
{
    double n = 0;
    for (int i = 0; i < node->n_inputs; i++) {
        int64_t n_elems = 0;
        if (esker_shape_elems(&node->inputs[i]->type.shape, &n_elems) == ESKER_OK) n += (double)n_elems;
    }
    out->flops = flops * n;
    out->bytes = 4 * arrays * n; /* each array read or written once */
}

static void cost_sgd(const esker_node *node, esker__cost *out)
{
    bool momentum = ((const optimizer_attr *)node->attr)->momentum > 0;
    cost_of(node, momentum ? 6 : 4, momentum ? 5 : 3, out);
}

static void cost_adaptive(const esker_node *node, esker__cost *out)
{
    cost_of(node, 16, 7, out);
}

/* One dispatch, or as many as it takes for no binding to be larger than a storage block. */
static esker_status lower(esker__lowering *lowering, const esker_node *node, const char *kernel, const char *defines,
                          int n_state)
{
    uint32_t slot;
    esker_status st = esker__step_slot(lowering, &slot);
    uint64_t n_elems = esker__params_value_elems(lowering);
    uint64_t most = esker__lowering_limits(lowering)->storage_block_bytes / (4 * ESKER__PARAM_ALIGN) * ESKER__PARAM_ALIGN;
    esker__cost cost;
    node->op->cost(node, &cost);

    for (uint64_t first = 0; st == ESKER_OK && first < n_elems; first += most) {
        uint64_t n = n_elems - first < most ? n_elems - first : most;
        double share = (double)n / (double)n_elems;
        esker__operand part = {.offset_bytes = first * 4, .n_bytes = n * 4};
        esker__dispatch_desc desc = {.kernel = kernel,
                                     .defines = defines,
                                     .n_operands = 2 + n_state,
                                     .uses_step = true,
                                     .cost = {cost.flops * share, cost.bytes * share}};
        for (int i = 0; i < desc.n_operands; i++) {
            desc.operands[i] = part;
            desc.operands[i].write = i != 1;
        }
        desc.operands[0].value = esker__params_value(lowering);
        desc.operands[1].value = esker__gradients_value(lowering);
        for (int i = 0; i < n_state; i++) desc.operands[2 + i].value = esker__state_value(lowering, i);
        st = esker__fold_groups(lowering, esker__ceil_div(n / 4, GROUP), desc.groups);
        uint32_t params[] = {desc.groups[0], (uint32_t)(n / 4), slot};
        desc.params = params;
        desc.n_params = 3;
        if (st == ESKER_OK) st = esker__emit(lowering, &desc);
    }
    return st;
}

static esker_status lower_sgd(esker__lowering *lowering, const esker_node *node)
{
    bool momentum = ((const optimizer_attr *)node->attr)->momentum > 0;
    return lower(lowering, node, "optim/sgd", momentum ? "MOMENTUM 1\n" : "MOMENTUM 0\n", momentum);
}

static esker_status lower_adam(esker__lowering *lowering, const esker_node *node)
{
    return lower(lowering, node, "optim/adam", "DECOUPLED 0\n", 2);
}

static esker_status lower_adamw(esker__lowering *lowering, const esker_node *node)
{
    return lower(lowering, node, "optim/adam", "DECOUPLED 1\n", 2);
}

/* ---- The operations ---- */

const esker__op esker__op_sgd = {
    .name = "sgd",
    .n_inputs = -1,
    .attr_bytes = sizeof(optimizer_attr),
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATE,
    .infer = infer_sgd,
    .reference = reference_sgd,
    .cost = cost_sgd,
    .lower = lower_sgd,
    .step = step_sgd,
};

const esker__op esker__op_adam = {
    .name = "adam",
    .n_inputs = -1,
    .attr_bytes = sizeof(optimizer_attr),
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATE,
    .infer = infer_adam,
    .reference = reference_adam,
    .cost = cost_adaptive,
    .lower = lower_adam,
    .step = step_adam,
};

const esker__op esker__op_adamw = {
    .name = "adamw",
    .n_inputs = -1,
    .attr_bytes = sizeof(optimizer_attr),
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATE,
    .infer = infer_adamw,
    .reference = reference_adamw,
    .cost = cost_adaptive,
    .lower = lower_adamw,
    .step = step_adamw,
};

/* ---- Recording ---- */

/* `value` must lie in [low, high), or be 0; the message says what it was. */
static esker_status check_range(const char *name, const char *field, float value, float low, float high, const char *range)
{
    if (value == 0 || (value >= low && value < high)) return ESKER_OK; /* NaN fails every comparison */
    return esker__fail(ESKER_ERR_INVALID, "%s: %s is %g, it must be %s", name, field, (double)value, range);
}

static esker_status fill_attr(const esker_optimizer_desc *desc, optimizer_attr *out)
{
    esker_optimizer_desc d = {0};
    if (desc) d = *desc;
    if ((int)d.kind < 0 || (int)d.kind >= N_KINDS)
        return esker__fail(ESKER_ERR_INVALID, "optimizer: kind %d, there are 0 to %d", (int)d.kind, N_KINDS - 1);
    const char *name = names[d.kind];
    esker_status st = check_range(name, "lr", d.lr, 0, INFINITY, "positive and finite, or 0 for the usual one");
    if (st == ESKER_OK) st = check_range(name, "momentum", d.momentum, 0, 1, "at least 0 and below 1");
    if (st == ESKER_OK) st = check_range(name, "weight_decay", d.weight_decay, 0, INFINITY, "at least 0 and finite");
    if (st == ESKER_OK) st = check_range(name, "beta1", d.beta1, 0, 1, "at least 0 and below 1 (0: 0.9)");
    if (st == ESKER_OK) st = check_range(name, "beta2", d.beta2, 0, 1, "at least 0 and below 1 (0: 0.999)");
    if (st == ESKER_OK) st = check_range(name, "eps", d.eps, LEAST_EPS, INFINITY, "at least 1e-30 and finite (0: 1e-8)");
    if (st != ESKER_OK) return st;
    bool sgd = d.kind == ESKER_OPTIMIZER_SGD;
    *out = (optimizer_attr){.lr = d.lr > 0 ? d.lr : sgd ? 1e-2f : 1e-3f, .weight_decay = d.weight_decay};
    if (sgd) {
        out->momentum = d.momentum;
    } else {
        out->beta1 = d.beta1 > 0 ? d.beta1 : 0.9f;
        out->beta2 = d.beta2 > 0 ? d.beta2 : 0.999f;
        out->eps = d.eps > 0 ? d.eps : 1e-8f;
    }
    return ESKER_OK;
}

static void mark_needed(const esker_node *loss, bool *needed)
{
    needed[loss->id] = true;
    for (int id = loss->id; id >= 0; id--) {
        const esker_node *node = loss->graph->nodes[id];
        for (int i = 0; needed[id] && i < node->n_inputs; i++) needed[node->inputs[i]->id] = true;
    }
}

/* The nodes of the parameters to train, in the set's order; each must lead to the loss. `out` has room for params->n. */
static esker_status find_parameters(const esker_node *loss, const bool *needed, esker_node **out, int *out_n)
{
    const esker_graph *graph = loss->graph;
    const esker_params *params = graph->params;
    int n = 0;
    for (size_t i = 0; i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        esker_node *found = NULL;
        for (size_t j = 0; j < graph->n_nodes && !found; j++) {
            esker_node *node = graph->nodes[j];
            if (node->op == &esker__op_parameter && ((const esker__parameter_attr *)node->attr)->index == (int32_t)i)
                found = node;
        }
        if (!found)
            return esker__fail(ESKER_ERR_INVALID,
                               "optimize: parameter %s is not used in this graph; freeze it to leave it alone", p->name);
        if (!needed[found->id])
            return esker__fail(ESKER_ERR_INVALID,
                               "optimize: the loss does not depend on parameter %s; freeze it to leave it alone", p->name);
        out[n++] = found;
    }
    *out_n = n;
    if (n == 0)
        return esker__fail(ESKER_ERR_INVALID, "optimize: nothing to train, %zu parameters of which all are frozen",
                           params->n);
    return ESKER_OK;
}

static esker_status check_graph(const esker_graph *graph)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i]->op->flags & ESKER__OP_UPDATE)
            return esker__fail(ESKER_ERR_INVALID, "optimize: this graph has an optimizer already, %s",
                               graph->nodes[i]->op->name);
    return ESKER_OK;
}

esker_status esker_optimize(esker_node *loss, const esker_optimizer_desc *desc)
{
    static const esker__op *const ops[] = {&esker__op_sgd, &esker__op_adam, &esker__op_adamw};
    if (!loss) return esker__fail(ESKER_ERR_INVALID, "optimize: the loss is NULL");
    esker_graph *graph = loss->graph;
    if (graph->status != ESKER_OK) return esker_graph_status(graph);

    esker__phase phase = graph->phase;
    size_t n_all = graph->params->n;
    esker_node **wrt = NULL, **grads = NULL;
    bool *needed = NULL;
    optimizer_attr attr;
    int n = 0;
    esker_status st = fill_attr(desc, &attr);
    if (st == ESKER_OK) st = check_graph(graph);
    if (st != ESKER_OK) goto done;

    wrt = esker__calloc(n_all, sizeof *wrt);
    grads = esker__calloc(n_all, sizeof *grads);
    needed = esker__calloc(graph->n_nodes, sizeof *needed);
    if (!wrt || !grads || !needed) {
        st = esker__fail_memory(n_all * 2 * sizeof *wrt + graph->n_nodes, "optimizer");
        goto done;
    }
    mark_needed(loss, needed);
    st = find_parameters(loss, needed, wrt, &n);
    if (st == ESKER_OK) st = esker_gradients(loss, wrt, n, grads);
    if (st != ESKER_OK) goto done;
    graph->phase = ESKER__PHASE_UPDATE;
    if (!esker__record(ops[desc ? desc->kind : ESKER_OPTIMIZER_SGD], &attr, grads, n)) st = esker_graph_status(graph);
done:
    graph->phase = phase;
    esker__free(wrt);
    esker__free(grads);
    esker__free(needed);
    if (st != ESKER_OK) esker__graph_fail(graph, st);
    return st;
}

esker_status esker_optimizer_from_name(const char *name, esker_optimizer_kind *out)
{
    for (int i = 0; name && i < N_KINDS; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (esker_optimizer_kind)i;
        return ESKER_OK;
    }
    return esker__fail(ESKER_ERR_INVALID, "unknown optimizer \"%s\": there are sgd, adam and adamw",
                       name ? name : "(none)");
}

const char *esker_optimizer_name(esker_optimizer_kind kind)
{
    return (int)kind >= 0 && (int)kind < N_KINDS ? names[kind] : "?";
}
