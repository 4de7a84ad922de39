/*
 * What reductions share: axes as a mask, the shape rule, and the dispatches of glsl/reduce/. The attribute of every
 * operation that uses these begins with an esker__reduce_attr.
 */
#ifndef ESKER_OPS_REDUCE_H
#define ESKER_OPS_REDUCE_H

#include "ops/ops.h"
#include "plan/lowering.h"

/* The numbers are those of glsl/reduce/reduce.comp. */
typedef enum esker__join { ESKER__JOIN_SUM, ESKER__JOIN_MAX, ESKER__JOIN_MIN, ESKER__JOIN_PROD } esker__join;
typedef enum esker__term {
    ESKER__TERM_VALUE,
    ESKER__TERM_CENTRED_SQUARE, /* (x - c)^2 */
    ESKER__TERM_ABS,
    ESKER__TERM_SQUARE,
    ESKER__TERM_EXP /* exp(x - c) */
} esker__term;
typedef enum esker__finish {
    ESKER__FINISH_SCALE, /* result * scale */
    ESKER__FINISH_SQRT,  /* sqrt(result) */
    ESKER__FINISH_LOG    /* log(result) + c */
} esker__finish;

/** y = finish(join over the reduced axes of term(x)). */
typedef struct esker__reduction {
    esker__join join;
    esker__term term;
    esker__finish finish;
    float scale;
    esker__operand in, centre, out; /* centre, one element for each output: only if the term or the finish has a c */
    const esker_node *
        updating; /* NULL, or in place of `out` an output of a node that updates parameters with it: a sum without centre */
    bool arg, minimum; /* not a value but the number of the largest or smallest term; `out` is int32 then */
} esker__reduction;

/** Emit the dispatches over all axes of node->inputs[0] that the node's mask names; `r` says from where to where. */
esker_status esker__reduce_lower(esker__lowering *lowering, const esker_node *node, const esker__reduction *r);

static inline bool esker__is_reduced(const esker_node *node, int axis)
{
    return ((const esker__reduce_attr *)node->attr)->mask >> axis & 1;
}

/** Terms of one output. */
int64_t esker__reduce_terms(const esker_node *node);

/** Shape rule for float32 inputs[0] -> `dtype`. */
esker_status esker__reduce_infer(const char *name, const esker__reduce_attr *a, esker_node *const *inputs,
                                 esker_dtype dtype, esker__type *out);
/** Axes as a caller gives them (none: all) into *out. False: x's graph has the error, or x is NULL. */
bool esker__reduce_axes(const char *name, esker_node *x, const int *axes, int n_axes, bool keepdims,
                        esker__reduce_attr *out);
/** A value of the node's shape with the reduced axes as ones, so that it broadcasts against the input. */
esker_node *esker__reduce_open(esker_node *node, esker_node *value);
/** The node's axes as a list; returns how many. */
int esker__reduce_list(const esker_node *node, int axes[ESKER_MAX_RANK]);

/**
 * For references: where the output of each input element lies. Call with the state zeroed before the first element, then
 * once after each; at->output is the output of the element at hand.
 */
typedef struct esker__reduce_walk {
    int64_t output, term; /* the element's output, and its number among that output's terms */
    int64_t n_in, n_out;
    int64_t digit[ESKER_MAX_RANK], out_strides[ESKER_MAX_RANK], term_strides[ESKER_MAX_RANK];
    const esker_shape *shape;
} esker__reduce_walk;
void esker__reduce_walk_init(esker__reduce_walk *at, const esker_node *node);
void esker__reduce_walk_next(esker__reduce_walk *at);

/** The cost rule of all of them. */
void esker__reduce_cost(const esker_node *node, esker__cost *out);

#endif
