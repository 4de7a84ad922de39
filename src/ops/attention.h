/* What attention and its gradients share: sizes, how much work they are, and the lowering to glsl/attention. */
#ifndef ESKER_OPS_ATTENTION_H
#define ESKER_OPS_ATTENTION_H

#include "ops/ops.h"
#include "plan/lowering.h"

typedef struct esker__attention_sizes {
    int64_t heads, tq, tk, d; /* heads of all samples */
    int64_t between;          /* rows from one of a head to the next: 1, or with rows_first the heads of a sample */
    int64_t apart;            /* the same in q, k and v: more where they are parts of one value's rows */
    int64_t out_apart;        /* and in the gradients */
    bool joint, out_joint;    /* these are parts of one value's rows */
    bool causal;
    double scale;
} esker__attention_sizes;

esker__attention_sizes esker__attention_sizes_of(const esker_node *node);
/** Pairs of queries and keys that count. */
double esker__attention_pairs(const esker__attention_sizes *s);

esker_status esker__attention_lower(esker__lowering *lowering, const esker_node *node);
esker_status esker__attention_grad_lower(esker__lowering *lowering, const esker_node *node);

#endif
