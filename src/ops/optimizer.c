/*
 * Optimizers as operations. An update works on the contiguous arenas of all parameters that are not frozen, their gradients
 * and the optimizer's state; its inputs, the gradient nodes, only tell the plan what to place in the gradient arena. Gaps
 * between parameters hold zero gradients, so values and state stay zero there. What changes from step to step is in the
 * per-step block, what differs between groups of parameters in the constants of each group's dispatch.
 */
#include "ops/optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "ops/ops.h"
#include "plan/lowering.h"

/* ---- Shape rule ---- */

esker_status esker__infer_gradients(const char *op, esker_node *const *inputs, int n_inputs)
{
    const esker_params *params = n_inputs ? inputs[0]->graph->params : NULL;
    int n = 0;
    for (size_t i = 0; params && i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        if (n == n_inputs)
            return esker__fail(ESKER_ERR_INVALID,
                               "%s: parameter %s was added behind the optimizer and has no gradient; add it before, or "
                               "freeze it",
                               op, p->name);
        if (inputs[n]->type.dtype != ESKER_DTYPE_F32 || !esker_shape_equal(&inputs[n]->type.shape, &p->shape)) {
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

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)out;
    const esker__optimizer_attr *a = attr;
    return esker__infer_gradients(esker_optimizer_name((esker_optimizer_kind)a->kind), inputs,
                                  n_inputs - (a->has_clip != 0));
}

/* ---- Reference, and what changes from step to step ---- */

static void reference(const esker__reference *r)
{
    const esker__optimizer_attr *a = r->node->attr;
    const esker_params *params = r->node->graph->params;
    double lr = r->lr > 0 ? r->lr : a->lr, factor = esker__clip_factor(r);
    int next = 0;
    for (size_t p = 0; p < params->n; p++) {
        const esker__param *param = &params->list[p];
        if (param->frozen || esker__is_updated(r->node->inputs[next++])) continue;
        for (uint64_t i = param->offset; i < param->offset + (uint64_t)param->n_elems; i++) {
            double *state[3] = {NULL};
            for (int s = 0; s < esker__optimizer_states(a); s++) state[s] = &r->state[s][i];
            esker__optimizer_element(a, param->group, lr, (double)r->step + 1, &r->params[i],
                                     esker__clip(a, factor, r->gradients[i]), state);
        }
    }
}

static void step(const void *attr, const esker__step *now, float out[8])
{
    const esker__optimizer_attr *a = attr;
    esker__optimizer_step(a, now->lr > 0 ? now->lr : a->lr, (double)now->step + 1, out);
}

esker__cost esker__update_cost_of(const esker__optimizer_attr *attr, double n)
{
    static const double flops[ESKER__N_OPTIMIZERS] = {
        [ESKER_OPTIMIZER_SGD] = 6,      [ESKER_OPTIMIZER_ADAM] = 16,   [ESKER_OPTIMIZER_ADAMW] = 16,
        [ESKER_OPTIMIZER_RMSPROP] = 14, [ESKER_OPTIMIZER_ADAGRAD] = 9, [ESKER_OPTIMIZER_ADADELTA] = 16,
        [ESKER_OPTIMIZER_NADAM] = 18,   [ESKER_OPTIMIZER_LION] = 12};
    return (esker__cost){flops[attr->kind] * n, 4 * (3 + 2 * esker__optimizer_states(attr)) * n};
}

static void cost(const esker_node *node, esker__cost *out)
{
    double n = 0;
    for (int i = 0; i < esker__optimizer_gradients(node); i++)
        if (!esker__is_updated(node->inputs[i])) n += (double)esker__elems(&node->inputs[i]->type.shape);
    *out = esker__update_cost_of(node->attr, n);
}

/* ---- Lowering ---- */

#define GROUP 128 /* invocations, one vec4 each */

/* What a dispatch of an update binds: the parameters, their gradients, a temporary, states; | W: and writes. */
enum { X, G, E, S0, S1, S2, W = 8 };
typedef struct pass {
    const char *kernel, *defines;
    int n_operands, operands[4];
} pass;

static esker__value value_of(esker__lowering *l, int operand, esker__value temporary)
{
    switch (operand & ~W) {
    case X: return esker__params_value(l);
    case G: return esker__gradients_value(l);
    case E: return temporary;
    default: return esker__state_value(l, (operand & ~W) - S0);
    }
}

static esker_status emit(esker__lowering *l, const esker__optimizer_attr *a, const pass *p, const esker__update_part *r,
                         uint32_t slot, esker__value temporary, const esker__clipping *clipping, esker__cost cost)
{
    esker__dispatch_desc desc = {
        .kernel = p->kernel, .defines = p->defines, .n_operands = p->n_operands, .uses_step = true, .cost = cost};
    char defines[80 + sizeof clipping->defines];
    bool reads_gradients = false;
    for (int i = 0; i < p->n_operands; i++) reads_gradients |= p->operands[i] == G;
    for (int i = 0; i < p->n_operands; i++)
        desc.operands[i] = (esker__operand){.value = value_of(l, p->operands[i], temporary),
                                            .write = p->operands[i] & W,
                                            .offset_bytes = (p->operands[i] == G ? r->gradients : r->first) * 4,
                                            .n_bytes = r->n * 4};
    esker_status st = esker__fold_groups(l, esker__ceil_div(r->n / 4, GROUP), desc.groups);
    uint32_t params[7] = {desc.groups[0], (uint32_t)(r->n / 4), slot, 0, 0};
    memcpy(&params[3], &a->groups[r->group].lr_scale, 4);
    memcpy(&params[4], &a->groups[r->group].weight_decay, 4);
    desc.params = params;
    desc.n_params = 5;
    if (reads_gradients) {
        snprintf(defines, sizeof defines, "%s%s", p->defines, clipping->defines);
        desc.defines = defines;
        desc.n_params += esker__clipping_add(clipping, &desc, params + 5);
    }
    return st == ESKER_OK ? esker__emit(l, &desc) : st;
}

static int choose_passes(const esker__optimizer_attr *a, pass out[3])
{
    static const pass usual[ESKER__N_OPTIMIZERS] = {
        [ESKER_OPTIMIZER_SGD] = {"optim/update", "RULES 1\nRULE SGD\nSTATES 0\n", 2, {X | W, G}},
        [ESKER_OPTIMIZER_ADAM] = {"optim/update", "RULES 1\nRULE ADAM\nSTATES 2\n", 4, {X | W, G, S0 | W, S1 | W}},
        [ESKER_OPTIMIZER_ADAMW] = {"optim/update", "RULES 1\nRULE ADAMW\nSTATES 2\n", 4, {X | W, G, S0 | W, S1 | W}},
        [ESKER_OPTIMIZER_RMSPROP] = {"optim/update", "RULES 1\nRULE RMSPROP\nSTATES 1\n", 3, {X | W, G, S0 | W}},
        [ESKER_OPTIMIZER_ADAGRAD] = {"optim/update", "RULES 1\nRULE ADAGRAD\nSTATES 1\n", 3, {X | W, G, S0 | W}},
        [ESKER_OPTIMIZER_ADADELTA] = {"optim/update", "RULES 1\nRULE ADADELTA\nSTATES 2\n", 4, {X | W, G, S0 | W, S1 | W}},
        [ESKER_OPTIMIZER_NADAM] = {"optim/update", "RULES 1\nRULE NADAM\nSTATES 2\n", 4, {X | W, G, S0 | W, S1 | W}},
        [ESKER_OPTIMIZER_LION] = {"optim/update", "RULES 1\nRULE LION\nSTATES 1\n", 3, {X | W, G, S0 | W}},
    };
    static const pass sgd_momentum = {"optim/update", "RULES 1\nRULE SGD\nSTATES 1\n", 3, {X | W, G, S0 | W}},
                      sgd_nesterov = {"optim/update", "RULES 1\nRULE SGD\nSTATES 1\nNESTEROV 1\n", 3, {X | W, G, S0 | W}},
                      rms_momentum = {"optim/update",
                                      "RULES 1\nRULE RMSPROP\nSTATES 2\nMOMENTUM 1\n",
                                      4,
                                      {X | W, G, S0 | W, S1 | W}},
                      rms_centered = {"optim/update", "RULES 1\nRULE CENTERED\nSTATES 2\n", 4, {X | W, G, S0 | W, S1 | W}},
                      rms_parts[3] = {{"optim/rmsprop_parts", "PART 1\n", 4, {X, G, S1 | W, E | W}},
                                      {"optim/rmsprop_parts", "PART 2\n", 4, {E, S1, S0 | W, S2 | W}},
                                      {"optim/rmsprop_parts", "PART 3\n", 2, {X | W, S2}}};
    bool momentum = a->momentum > 0;
    out[0] = usual[a->kind];
    if (a->kind == ESKER_OPTIMIZER_SGD && momentum) out[0] = a->nesterov ? sgd_nesterov : sgd_momentum;
    if (a->kind != ESKER_OPTIMIZER_RMSPROP) return 1;
    if (a->centered && momentum) { /* five arrays, and a kernel may have four */
        memcpy(out, rms_parts, sizeof rms_parts);
        return 3;
    }
    if (a->centered || momentum) out[0] = a->centered ? rms_centered : rms_momentum;
    return 1;
}

const char *esker__optimizer_rule(const esker__optimizer_attr *attr)
{
    pass passes[3];
    if (attr->kind == ESKER_OPTIMIZER_LAMB || choose_passes(attr, passes) > 1) return NULL;
    return passes[0].defines;
}

bool esker__optimizer_keeps(const esker_node *node)
{
    return ((const esker__optimizer_attr *)node->attr)->keeps_gradients;
}

static int by_offset(const void *left, const void *right)
{
    const esker__update_part *a = left, *b = right;
    return a->first < b->first ? -1 : a->first > b->first;
}

int esker__update_parts(esker__lowering *l, const esker_node *node, esker__update_part **out)
{
    const esker__optimizer_attr *a = node->attr;
    const esker_params *params = node->graph->params;
    esker__update_part *list = *out = esker__malloc(params->n * sizeof *list);
    int n_all = 0, n = 0, next = 0;
    if (!list) {
        esker__fail_memory(params->n * sizeof *list, "optimizer");
        return -1;
    }
    for (size_t p = 0; p < params->n; p++) {
        const esker__param *param = &params->list[p];
        if (param->frozen || esker__is_updated(node->inputs[next++])) continue;
        list[n_all++] = (esker__update_part){.group = param->group,
                                             .first = param->offset,
                                             .n = esker__round_up((uint64_t)param->n_elems, ESKER__PARAM_ALIGN),
                                             .gradients = esker__gradient_at(l, p)};
    }
    qsort(list, (size_t)n_all, sizeof *list, by_offset);
    for (int i = 0; i < n_all; i++) {
        esker__update_part *last = n ? &list[n - 1] : NULL;
        if (last && last->first + last->n == list[i].first && last->gradients + last->n == list[i].gradients &&
            !memcmp(&a->groups[last->group], &a->groups[list[i].group], sizeof a->groups[0]))
            last->n += list[i].n;
        else
            list[n++] = list[i];
    }
    return n;
}

/* One part in one dispatch, or as many as it takes for no binding to be larger than a storage block; each as many passes. */
static esker_status lower(esker__lowering *l, const esker_node *node)
{
    const esker__optimizer_attr *a = node->attr;
    pass passes[3];
    esker__update_part *parts;
    uint32_t slot;
    esker__clipping clipping;
    int n_passes = choose_passes(a, passes), n_parts = esker__update_parts(l, node, &parts);
    uint64_t n_elems = 0;
    uint64_t most = esker__lowering_limits(l)->storage_block_bytes / (4 * ESKER__PARAM_ALIGN) * ESKER__PARAM_ALIGN;
    esker__value temporary = {-1};
    esker__cost all;
    node->op->cost(node, &all);
    esker_status st = n_parts < 0 ? ESKER_ERR_NO_MEMORY : esker__step_slot(l, &slot);
    for (int i = 0; i < n_parts; i++) n_elems += parts[i].n;
    esker__clipping_init(l, node, &clipping);
    if (n_passes > 1) temporary = esker__scratch(l, esker__params_value_elems(l) * 4);
    for (int i = 0; i < n_parts; i++)
        for (uint64_t at = 0; st == ESKER_OK && at < parts[i].n; at += most) {
            esker__update_part part = {parts[i].group, parts[i].first + at, parts[i].n - at < most ? parts[i].n - at : most,
                                       parts[i].gradients + at};
            double share = (double)part.n / (double)n_elems / n_passes;
            for (int p = 0; st == ESKER_OK && p < n_passes; p++)
                st = emit(l, a, &passes[p], &part, slot, temporary, &clipping,
                          (esker__cost){all.flops * share, all.bytes * share});
        }
    esker__free(parts);
    return st;
}

/* ---- The operations ---- */

#define OPTIMIZER(lower_case)                         \
    const esker__op esker__op_##lower_case = {        \
        .name = #lower_case,                          \
        .n_inputs = -1,                               \
        .attr_bytes = sizeof(esker__optimizer_attr),  \
        .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATE, \
        .infer = infer,                               \
        .reference = reference,                       \
        .cost = cost,                                 \
        .lower = lower,                               \
        .step = step,                                 \
        .fused = esker__optimizer_fused,              \
        .keeps = esker__optimizer_keeps,              \
    }
OPTIMIZER(sgd);
OPTIMIZER(adam);
OPTIMIZER(adamw);
OPTIMIZER(rmsprop);
OPTIMIZER(adagrad);
OPTIMIZER(adadelta);
OPTIMIZER(nadam);
OPTIMIZER(lion);
#undef OPTIMIZER

const esker__op *const esker__optimizer_ops[ESKER__N_OPTIMIZERS] = {
    [ESKER_OPTIMIZER_SGD] = &esker__op_sgd,         [ESKER_OPTIMIZER_ADAM] = &esker__op_adam,
    [ESKER_OPTIMIZER_ADAMW] = &esker__op_adamw,     [ESKER_OPTIMIZER_RMSPROP] = &esker__op_rmsprop,
    [ESKER_OPTIMIZER_ADAGRAD] = &esker__op_adagrad, [ESKER_OPTIMIZER_ADADELTA] = &esker__op_adadelta,
    [ESKER_OPTIMIZER_NADAM] = &esker__op_nadam,     [ESKER_OPTIMIZER_LION] = &esker__op_lion,
    [ESKER_OPTIMIZER_LAMB] = &esker__op_lamb};
