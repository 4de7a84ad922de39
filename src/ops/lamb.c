/*
 * LAMB: Adam's step, for each parameter as long as its rate says in proportion to the parameter. The lengths are sums over
 * stretches of the arenas, made in two passes: of each block of 64 elements, of which a parameter has its own, and of each
 * parameter's blocks, which a table names. Source  You et al. 2020, algorithm 2, with corrected moments and phi(z) = z.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "graph/params.h"
#include "ops/optimizer.h"
#include "plan/lowering.h"

#define GROUP       128 /* invocations, one vec4 each */
#define BLOCK_ELEMS ESKER__PARAM_ALIGN

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)out;
    return esker__infer_gradients("lamb", inputs, n_inputs - (((const esker__optimizer_attr *)attr)->has_clip != 0));
}

static void step(const void *attr, const esker__step *now, float out[8])
{
    const esker__optimizer_attr *a = attr;
    esker__optimizer_step(a, now->lr > 0 ? now->lr : a->lr, (double)now->step + 1, out);
}

/* One parameter, `n` elements of each array. */
static void update(const esker__optimizer_attr *a, int group, double lr, double step_number, double factor, int64_t n,
                   double *x, const double *gradients, double *s, double *t)
{
    double b1 = a->beta1, b2 = a->beta2, decay = a->groups[group].weight_decay, size = 0, length = 0;
    double correct1 = 1 - pow(b1, step_number), correct2 = 1 - pow(b2, step_number);
    for (int64_t i = 0; i < n; i++) {
        double g = esker__clip(a, factor, gradients[i]);
        s[i] = b1 * s[i] + (1 - b1) * g;
        t[i] = b2 * t[i] + (1 - b2) * g * g;
        double r = s[i] / correct1 / (sqrt(t[i] / correct2) + a->eps) + decay * x[i];
        size += x[i] * x[i];
        length += r * r;
    }
    double trust = size > 0 && length > 0 ? sqrt(size) / sqrt(length) : 1;
    for (int64_t i = 0; i < n; i++) {
        double r = s[i] / correct1 / (sqrt(t[i] / correct2) + a->eps) + decay * x[i];
        x[i] -= lr * a->groups[group].lr_scale * trust * r;
    }
}

static void reference(const esker__reference *r)
{
    const esker__optimizer_attr *a = r->node->attr;
    const esker_params *params = r->node->graph->params;
    double factor = esker__clip_factor(r);
    for (size_t i = 0; i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        update(a, p->group, r->lr > 0 ? r->lr : a->lr, (double)r->step + 1, factor, p->n_elems, r->params + p->offset,
               r->gradients + p->offset, r->state[0] + p->offset, r->state[1] + p->offset);
    }
}

static double count(const esker_node *node)
{
    double n = 0;
    for (int i = 0; i < esker__optimizer_gradients(node); i++) n += (double)esker__elems(&node->inputs[i]->type.shape);
    return n;
}

/* Every element has the rounding of its parameter's sums: fixed trees, so about log2(n) of each. */
static double tolerance(const esker_node *node)
{
    return 8 + log2(count(node) + 2);
}

static void cost(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){.flops = 32 * count(node), .bytes = 4 * 12 * count(node)};
}

/* ---- Lowering ---- */

/* What all dispatches share. */
typedef struct lamb {
    esker__lowering *l;
    const esker__optimizer_attr *attr;
    const esker_node *node;
    esker__value x, g, s, t, sums;
    uint64_t n_elems, most; /* of all; of a dispatch */
    uint32_t slot;
    esker__clipping clipping;
} lamb;

static esker__operand part_of(esker__value value, bool write, uint64_t first, uint64_t n)
{
    return (esker__operand){.value = value, .write = write, .offset_bytes = first * 4, .n_bytes = n * 4};
}

static esker_status emit_pass(const lamb *u, int pass, int group, uint64_t first, uint64_t n)
{
    static const double arrays[] = {0, 5, 3, 4};
    esker__dispatch_desc desc = {.kernel = "optim/lamb", .n_operands = 3, .n_params = 6, .uses_step = true};
    char defines[16 + sizeof u->clipping.defines];
    snprintf(defines, sizeof defines, "PART %d\n%s", pass, pass == 1 ? u->clipping.defines : "");
    desc.defines = defines;
    desc.cost = (esker__cost){.flops = 10 * (double)n, .bytes = 4 * arrays[pass] * (double)n};
    desc.operands[0] = pass == 1 ? part_of(u->g, false, first, n) : part_of(u->x, pass == 3, first, n);
    desc.operands[1] = part_of(u->s, pass == 1, first, n);
    desc.operands[2] = part_of(u->t, pass == 1, first, n);
    if (pass > 1) desc.operands[desc.n_operands++] = (esker__operand){.value = u->sums, .write = pass == 2};
    esker_status st = esker__fold_groups(u->l, esker__ceil_div(n / 4, GROUP), desc.groups);
    uint32_t params[8] = {desc.groups[0], (uint32_t)(n / 4), u->slot, 0, 0, (uint32_t)(first / BLOCK_ELEMS)};
    memcpy(&params[3], &u->attr->groups[group].lr_scale, 4);
    memcpy(&params[4], &u->attr->groups[group].weight_decay, 4);
    desc.params = params;
    if (pass == 1) desc.n_params += esker__clipping_add(&u->clipping, &desc, params + 6);
    return st == ESKER_OK ? esker__emit(u->l, &desc) : st;
}

static esker_status emit_passes(const lamb *u, int from, int to)
{
    esker__update_part *ranges;
    int n_ranges = esker__update_parts(u->l, u->node, &ranges);
    esker_status st = n_ranges < 0 ? ESKER_ERR_NO_MEMORY : ESKER_OK;
    for (int i = 0; i < n_ranges; i++)
        for (uint64_t at = 0; st == ESKER_OK && at < ranges[i].n; at += u->most) {
            uint64_t n = ranges[i].n - at < u->most ? ranges[i].n - at : u->most;
            for (int pass = from; st == ESKER_OK && pass <= to; pass++)
                st = emit_pass(u, pass, ranges[i].group, ranges[i].first + at, n);
        }
    esker__free(ranges);
    return st;
}

static esker_status emit_trust(const lamb *u)
{
    const esker_params *params = u->node->graph->params;
    uint32_t *table = esker__calloc(params->n, 2 * sizeof *table), n = 0;
    if (!table) return esker__fail_memory(params->n * 2 * sizeof *table, "lamb");
    for (size_t i = 0; i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        table[2 * n] = (uint32_t)(p->offset / BLOCK_ELEMS);
        table[2 * n + 1] = table[2 * n] + (uint32_t)esker__ceil_div((uint64_t)p->n_elems, BLOCK_ELEMS);
        n++;
    }
    esker__dispatch_desc desc = {.kernel = "optim/lamb_trust", .n_operands = 2, .n_params = 2};
    desc.operands[0] = (esker__operand){.value = u->sums, .write = true};
    desc.operands[1] = (esker__operand){.value = esker__table(u->l, table, 2 * (size_t)n)};
    esker__free(table);
    double n_blocks = (double)u->n_elems / BLOCK_ELEMS;
    desc.cost = (esker__cost){.flops = 2 * n_blocks, .bytes = 12 * n_blocks};
    esker_status st = esker__fold_groups(u->l, n, desc.groups);
    uint32_t words[] = {desc.groups[0], n};
    desc.params = words;
    return st == ESKER_OK ? esker__emit(u->l, &desc) : st;
}

static esker_status lower(esker__lowering *l, const esker_node *node)
{
    lamb u = {.l = l, .attr = node->attr, .node = node, .n_elems = esker__params_value_elems(l)};
    if (u.n_elems / BLOCK_ELEMS > UINT32_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "lamb: %llu elements of parameters, the kernel counts 2^32 blocks of %d",
                           (unsigned long long)u.n_elems, BLOCK_ELEMS);
    u.most = esker__lowering_limits(l)->storage_block_bytes / (4 * BLOCK_ELEMS) * BLOCK_ELEMS;
    esker_status st = esker__step_slot(l, &u.slot);
    if (st != ESKER_OK) return st;
    esker__clipping_init(l, node, &u.clipping);
    u.x = esker__params_value(l);
    u.g = esker__gradients_value(l);
    u.s = esker__state_value(l, 0);
    u.t = esker__state_value(l, 1);
    u.sums = esker__scratch(l, u.n_elems / BLOCK_ELEMS * 8);
    st = emit_passes(&u, 1, 2);
    if (st == ESKER_OK) st = emit_trust(&u);
    return st == ESKER_OK ? emit_passes(&u, 3, 3) : st;
}

const esker__op esker__op_lamb = {
    .name = "lamb",
    .n_inputs = -1,
    .attr_bytes = sizeof(esker__optimizer_attr),
    .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATE,
    .infer = infer,
    .reference = reference,
    .tolerance = tolerance,
    .cost = cost,
    .lower = lower,
    .step = step,
    .fused = esker__optimizer_fused,
    .keeps = esker__optimizer_keeps,
};
