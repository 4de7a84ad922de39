/* What the lowerings of attention share: attention_lower.c, and attention_blocks.c for long sequences. */
#ifndef ESKER_OPS_ATTENTION_LOWER_H
#define ESKER_OPS_ATTENTION_LOWER_H

#include "ops/attention.h"

typedef struct esker__attention_layout {
    esker__attention_sizes s;
    uint32_t d4; /* vec4 of a head, the last one perhaps not full */
    int cols;    /* the least power of two from 4 on that is no less */
    bool vec;    /* it is full */
} esker__attention_layout;

/** The dispatches over `groups` groups; params[0] is the first of each. */
esker_status esker__attention_emit(esker__lowering *lowering, const esker__attention_layout *l, esker__dispatch_desc *desc,
                                   uint32_t *params, uint64_t groups, double flops_a_pair);
#define ESKER__ATTENTION_WORDS 11
/** What kernels that work by tiles or blocks begin with: the first group, `heads` (or tiles of a head), lengths, scale, and where rows of q, k and v lie. */
void esker__attention_words(const esker__attention_layout *l, const int32_t *first, uint32_t out[ESKER__ATTENTION_WORDS]);
/** q, k and v: the first operands of their dispatches. */
void esker__attention_read(esker__lowering *lowering, const esker_node *node, const esker__attention_layout *l,
                           esker__dispatch_desc *desc);
/** As a float. */
uint32_t esker__attention_bits(double value);

/* ---- Blocks of 64 queries by 64 keys: attention/blocks and grad_blocks ---- */

typedef struct esker__attention_block esker__attention_block;

#define ESKER__ATTENTION_BLOCKS 6
/** Those that can do it here, with their names; how many. `usual`: the index of that for devices that were not tuned, or -1. */
int esker__attention_blocks(esker__lowering *lowering, const esker__attention_layout *l, bool grad,
                            const esker__attention_block **out, const char **names, int *out_usual);
esker_status esker__attention_blocks_lower(esker__lowering *lowering, const esker_node *node,
                                           const esker__attention_layout *l, const esker__attention_block *block, bool lse);
esker_status esker__attention_grad_blocks_lower(esker__lowering *lowering, const esker_node *node,
                                                const esker__attention_layout *l, const esker__attention_block *block);

#endif
