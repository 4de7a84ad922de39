/* What the lowerings of normalisations share: a dispatch whose storage blocks are numbered as they are named. Block 0 needs no name. */
#ifndef ESKER_OPS_NORM_CALL_H
#define ESKER_OPS_NORM_CALL_H

#include "ops/norm.h"

typedef struct esker__norm_call {
    char defines[384];
    size_t n_chars;
    esker__dispatch_desc desc;
    const esker__tail *tail; /* NULL: none */
    bool quads;              /* the kernel calls tail4 */
    int tail_block;
    esker__operand uniform;    /* the last operand, if it is one */
    const esker_node *updates; /* NULL, or a node whose output 0, and 1 if it comes `beside`, are behind the others */
    bool beside;
} esker__norm_call;

void esker__norm_define(esker__norm_call *c, const char *name, int value);
/** Append an operand, and a definition of its name as its number. A NULL operand is none. */
void esker__norm_bind(esker__norm_call *c, const char *name, const esker__operand *operand, bool write);
/** A weight of `n` elements as a uniform block: where there is no storage block for it. NULL: none. */
void esker__norm_bind_uniform(esker__norm_call *c, const esker__operand *weight, uint64_t n);
/** What the tail of `node` reads comes next. */
void esker__norm_bind_tail(esker__lowering *lowering, esker__norm_call *c, const esker__tail *tail, const esker_node *node);
esker_status esker__norm_emit(esker__lowering *lowering, esker__norm_call *c);

/* ---- Lines held in registers (norm_held.c) ---- */

typedef struct esker__norm_held {
    uint32_t floats, group, held; /* floats of an element; invocations; elements that each holds */
    bool cut, full;
    uint64_t chunks;
    struct {
        uint32_t lines, inner_lines, n, chunk_n, chunks, width, row, slab, step_at, step_b, groups;
        float eps;
    } params;
} esker__norm_held;

/** Whether lines are to be held: asks esker__choose(). `n_blocks`: storage blocks of the kernel, partial results not counted. */
bool esker__norm_held_choose(esker__lowering *lowering, const esker__norm_view *v, bool grad, int n_blocks,
                             esker__norm_held *out);
esker_status esker__norm_held_forward(esker__lowering *lowering, const esker__norm_forward *f, int kind,
                                      esker__norm_held *h);
esker_status esker__norm_held_backward(esker__lowering *lowering, const esker__norm_backward *b, int kind,
                                       esker__norm_held *h);

/** Whether the gradients of the tables of `node` can update them in glsl/norm/columns, and then do. */
bool esker__norm_columns_may_update(const esker_node *node, const esker__update *update, const esker__fusion *fusion);

/** The gradients of the weight and the bias of a norm of rows, whose columns are seen as the lines of `v`, if esker__choose() says so; else false. */
bool esker__norm_columns(esker__lowering *lowering, const esker__norm_backward *b, const esker__norm_view *v,
                         esker_status *out_status);

#endif
