/* Recurrent layers as dispatches: one for each step, forward and backward, and a few before and after. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/recurrent.h"

#define GROUP 64

/* Work for one group a unit and sample; with more of it an invocation rather reuses its weights for several samples. The bits are the
   same. */
static int64_t rows_of(const esker__recurrent_size *z)
{
    return z->units >= 65536 ? 4 : z->units >= 16384 ? 2 : 1;
}

static esker_status check_limits(const esker_node *node, const esker__recurrent_size *z)
{
    int64_t most = z->n_kept, gates = z->steps * z->batch * z->gates * z->hidden;
    if (gates > most) most = gates;
    if (most <= INT32_MAX) return ESKER_OK;
    char text[ESKER__SIGNATURE_BYTES];
    return esker__fail(ESKER_ERR_LIMIT, "%s: %lld elements to keep, the kernels index at most %d",
                       esker__signature(text, node->op->name, node->inputs, node->n_inputs), (long long)most, INT32_MAX);
}

/* params[0] becomes groups_x; a group does 64 of n. */
static esker_status emit(esker__lowering *lowering, esker__dispatch_desc *desc, uint32_t *params, int n_params, int64_t n,
                         double flops, double bytes)
{
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)n, GROUP), desc->groups);
    if (st != ESKER_OK) return st;
    params[0] = desc->groups[0];
    desc->params = params;
    desc->n_params = n_params;
    desc->cost = (esker__cost){flops, bytes};
    return esker__emit(lowering, desc);
}

/* n floats from `from` (NULL: zeros), which are `period` floats again and again, to `to`, which is written. */
static esker_status place_again(esker__lowering *lowering, const esker__operand *from, int64_t from_at, esker__operand to,
                                int64_t to_at, int64_t n, int64_t period)
{
    uint32_t params[] = {0, (uint32_t)n, (uint32_t)from_at, (uint32_t)to_at, (uint32_t)period};
    esker__dispatch_desc desc = {.kernel = "recurrent/place", .defines = from ? "SOURCE 1\n" : "SOURCE 0\n"};
    if (from) desc.operands[desc.n_operands++] = *from;
    to.write = true;
    desc.operands[desc.n_operands++] = to;
    return emit(lowering, &desc, params, 5, n, (double)n, 8 * (double)n);
}

static esker_status place(esker__lowering *lowering, const esker__operand *from, int64_t from_at, esker__operand to,
                          int64_t to_at, int64_t n)
{
    return place_again(lowering, from, from_at, to, to_at, n, n);
}

/* The state before the first step, input `input` of `node`, or zeros: one for every sample, or one for all. */
static esker_status place_state(esker__lowering *lowering, const esker_node *node, int input,
                                const esker__recurrent_size *z, esker__operand to, int64_t to_at)
{
    const esker__recurrent_attr *a = node->attr;
    if (!a->has_state) return place(lowering, NULL, 0, to, to_at, z->units);
    esker__operand from = esker__read(lowering, node->inputs[input]);
    return place_again(lowering, &from, 0, to, to_at, z->units, esker__elems(&node->inputs[input]->type.shape));
}

/* What a step writes and later ones read: scratch if nobody else does. */
static esker__operand own(esker__lowering *lowering, const esker_node *node, int output, int64_t n)
{
    if (esker__output_is_used(lowering, node, output))
        return esker__write(lowering, esker__output((esker_node *)node, output));
    return (esker__operand){.value = esker__scratch(lowering, (uint64_t)(4 * n)), .write = true};
}

static uint32_t row_step(const esker__recurrent_attr *a, const esker__recurrent_size *z)
{
    return a->batch_first ? (uint32_t)z->steps : 1;
}

static esker_status forward_step(esker__lowering *lowering, const esker_node *node, const esker__recurrent_size *z,
                                 esker__value packed, esker__operand kept, int64_t s)
{
    const esker__recurrent_attr *a = node->attr;
    char defines[40];
    int64_t rows = rows_of(z), n = (z->batch + rows - 1) / rows * z->hidden;
    double units = (double)z->units, h = (double)z->hidden, gates = (double)z->gates;
    snprintf(defines, sizeof defines, "KIND %d\nROWS %d\n", a->kind, (int)rows);
    uint32_t params[] = {0,
                         (uint32_t)n,
                         (uint32_t)z->hidden,
                         (uint32_t)z->batch,
                         (uint32_t)esker__recurrent_row(a, z, s, 0),
                         row_step(a, z),
                         (uint32_t)(s * z->units),
                         (uint32_t)((s + 1) * z->units),
                         (uint32_t)(z->c_at + s * z->units),
                         (uint32_t)(z->c_at + (s + 1) * z->units),
                         (uint32_t)(z->gates_at + 4 * s * z->units)};
    esker__dispatch_desc desc = {
        .kernel = "recurrent/forward",
        .defines = defines,
        .operands = {esker__read(lowering, node->inputs[0]), {.value = packed}, kept, esker__write(lowering, node)},
        .n_operands = 4};
    return emit(lowering, &desc, params, 11, n, units * gates * (2 * h + 10),
                4 * (units * (3 * gates + 4) + gates * h * h));
}

esker_status esker__recurrent_lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__recurrent_attr *a = node->attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &node->inputs[0]->type.shape);
    esker_status st = check_limits(node, &z);
    if (st != ESKER_OK) return st;
    int wide = z.has_gates ? 4 : 1;
    int64_t n = (z.hidden + 1) * z.hidden;
    esker__value packed = esker__scratch(lowering, (uint64_t)(n * wide * 4));

    char defines[32];
    snprintf(defines, sizeof defines, "WIDE %d\nBIAS %d\n", wide, a->has_bias);
    uint32_t params[] = {0, (uint32_t)n, (uint32_t)z.hidden, (uint32_t)z.gates};
    esker__dispatch_desc desc = {.kernel = "recurrent/pack",
                                 .defines = defines,
                                 .operands = {esker__read(lowering, node->inputs[1])},
                                 .n_operands = 1};
    if (a->has_bias) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[2]);
    desc.operands[desc.n_operands++] = (esker__operand){.value = packed, .write = true};
    st = emit(lowering, &desc, params, 4, n, (double)n * wide, 8 * (double)n * wide);

    esker__operand kept = own(lowering, node, 1, z.n_kept);
    if (st == ESKER_OK) st = place_state(lowering, node, 2 + a->has_bias, &z, kept, 0);
    if (st == ESKER_OK && z.has_c) st = place_state(lowering, node, 3 + a->has_bias, &z, kept, z.c_at);
    for (int64_t s = 0; st == ESKER_OK && s < z.steps; s++) st = forward_step(lowering, node, &z, packed, kept, s);
    if (st != ESKER_OK || !esker__output_is_used(lowering, node, 2)) return st;
    kept.write = false;
    return place(lowering, z.has_c ? &kept : NULL, z.c_at + z.steps * z.units,
                 esker__write(lowering, esker__output((esker_node *)node, 2)), 0, z.units);
}

/* s = -1: the state before the first step. */
static esker_status backward_step(esker__lowering *lowering, const esker_node *node, const esker__recurrent_size *z,
                                  esker__operand work, esker__operand dgates, int64_t s)
{
    const esker__recurrent_attr *a = node->attr;
    char defines[48];
    int64_t rows = rows_of(z), n = (z->batch + rows - 1) / rows * z->hidden, at = s < 0 ? 0 : s;
    int64_t next = s + 1 < z->steps ? s + 1 : s, carry = z->steps * z->units;
    double units = (double)z->units, h = (double)z->hidden, gates = (double)z->gates;
    snprintf(defines, sizeof defines, "KIND %d\nROWS %d\nFINAL %d\n", a->kind, (int)rows, s < 0);
    uint32_t params[] = {0,
                         (uint32_t)n,
                         (uint32_t)z->hidden,
                         (uint32_t)z->batch,
                         (uint32_t)esker__recurrent_row(a, z, at, 0),
                         row_step(a, z),
                         (uint32_t)esker__recurrent_row(a, z, next, 0),
                         s + 1 == z->steps,
                         (uint32_t)carry,
                         (uint32_t)(carry + z->units),
                         (uint32_t)(at * z->units),
                         (uint32_t)((at + 1) * z->units),
                         (uint32_t)(z->c_at + at * z->units),
                         (uint32_t)(z->c_at + (at + 1) * z->units),
                         (uint32_t)(z->gates_at + 4 * at * z->units),
                         (uint32_t)(z->gates_at + 4 * next * z->units)};
    esker__dispatch_desc desc = {
        .kernel = "recurrent/backward",
        .defines = defines,
        .operands = {work, esker__read(lowering, node->inputs[1]), esker__read(lowering, node->inputs[2]), dgates},
        .n_operands = 4};
    return emit(lowering, &desc, params, 16, n, units * gates * (2 * h + 10),
                4 * (units * (3 * gates + 6) + gates * h * h));
}

/* The part that both variants of recurrent/rows share. */
static esker_status emit_rows(esker__lowering *lowering, const esker__recurrent_attr *a, const esker__recurrent_size *z,
                              esker__dispatch_desc *desc, int64_t width, int64_t at, int64_t stride)
{
    int64_t n = z->steps * z->batch * width;
    uint32_t params[] = {0,
                         (uint32_t)n,
                         (uint32_t)width,
                         (uint32_t)z->hidden,
                         (uint32_t)z->batch,
                         (uint32_t)z->steps,
                         (uint32_t)a->batch_first,
                         (uint32_t)a->reverse,
                         (uint32_t)at,
                         (uint32_t)stride};
    desc->kernel = "recurrent/rows";
    return emit(lowering, desc, params, 10, n, (double)n, 12 * (double)n);
}

esker_status esker__recurrent_grad_lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__recurrent_attr *a = node->attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &node->inputs[0]->type.shape);
    bool dh0 = esker__output_is_used(lowering, node, 1), dc0 = esker__output_is_used(lowering, node, 2);
    bool hidden = esker__output_is_used(lowering, node, 3);
    int64_t n_dy = z.steps * z.units, n = n_dy + 2 * z.units;
    esker_status st = check_limits(node, &z);
    if (st != ESKER_OK) return st;
    esker__operand work = {.value = esker__scratch(lowering, (uint64_t)(4 * n)), .write = true};
    esker__operand dy = esker__read(lowering, node->inputs[0]), dc;
    if (node->n_inputs > 3) dc = esker__read(lowering, node->inputs[3]);
    esker__operand dgates = own(lowering, node, 0, z.steps * z.batch * z.gates * z.hidden);
    st = place(lowering, &dy, 0, work, 0, n_dy);
    if (st == ESKER_OK && z.has_gates) st = place(lowering, node->n_inputs > 3 ? &dc : NULL, 0, work, n_dy, z.units);
    for (int64_t s = z.steps - 1; st == ESKER_OK && s >= (dh0 ? -1 : 0); s--)
        st = backward_step(lowering, node, &z, work, dgates, s);

    esker__operand from = {.value = work.value};
    if (st == ESKER_OK && dh0)
        st = place(lowering, &from, n_dy + z.units, esker__write(lowering, esker__output((esker_node *)node, 1)), 0,
                   z.units);
    if (st == ESKER_OK && dc0)
        st = place(lowering, z.has_c ? &from : NULL, n_dy, esker__write(lowering, esker__output((esker_node *)node, 2)), 0,
                   z.units);
    if (st != ESKER_OK || !hidden) return st;
    esker__operand to = esker__write(lowering, esker__output((esker_node *)node, 3));
    dgates.write = false;
    if (a->kind != ESKER_RECURRENT_GRU) return place(lowering, &dgates, 0, to, 0, z.steps * z.batch * z.gates * z.hidden);
    esker__dispatch_desc desc = {
        .defines = "WANT 1\n", .operands = {esker__read(lowering, node->inputs[1]), dgates, to}, .n_operands = 3};
    return emit_rows(lowering, a, &z, &desc, z.gates * z.hidden, z.gates_at, 4 * z.units);
}

esker_status esker__recurrent_before_lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__recurrent_attr *a = node->attr;
    esker__recurrent_size z = esker__recurrent_size_of(a, &node->type.shape);
    esker_status st = check_limits(node, &z);
    if (st != ESKER_OK) return st;
    esker__dispatch_desc desc = {.defines = "WANT 0\n",
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2};
    return emit_rows(lowering, a, &z, &desc, z.hidden, 0, z.units);
}
