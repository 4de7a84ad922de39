#include "ops/norm_call.h"

#include <stdio.h>

#include "base/fail.h"
#include "ops/optimizer.h"

void esker__norm_define(esker__norm_call *c, const char *name, int value)
{
    c->n_chars += (size_t)snprintf(c->defines + c->n_chars, sizeof c->defines - c->n_chars, "%s %d\n", name, value);
}

void esker__norm_bind(esker__norm_call *c, const char *name, const esker__operand *operand, bool write)
{
    if (!operand) return;
    if (name) esker__norm_define(c, name, c->desc.n_operands);
    c->desc.operands[c->desc.n_operands] = *operand;
    c->desc.operands[c->desc.n_operands++].write = write;
}

void esker__norm_bind_uniform(esker__norm_call *c, const esker__operand *weight, uint64_t n)
{
    if (!weight) return;
    esker__norm_define(c, "UNIFORM_WEIGHT", (int)n);
    c->uniform = *weight;
    c->uniform.n_bytes = 4 * n;
    c->uniform.uniform = true;
}

void esker__norm_bind_tail(esker__lowering *lowering, esker__norm_call *c, const esker__tail *tail, const esker_node *node)
{
    if (!tail || !tail->program.n_steps) return;
    c->tail = tail;
    c->tail_block = esker__tail_operands(lowering, tail, node, &c->desc);
}

esker_status esker__norm_emit(esker__lowering *lowering, esker__norm_call *c)
{
    esker__text defines = {0};
    esker__text_add(&defines, "%s", c->defines);
    if (c->tail) esker__tail_code(c->tail, c->quads, c->tail_block, &defines);
    if (c->updates) esker__results_emit(lowering, c->updates, 0, c->beside, c->quads, &c->desc, &defines);
    if (c->uniform.uniform) c->desc.operands[c->desc.n_operands++] = c->uniform;
    return esker__emit_with(lowering, &c->desc, &defines);
}
