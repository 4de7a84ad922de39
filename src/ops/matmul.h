/* matmul: attributes shared by its rules (matmul.c) and its lowering (matmul_lower.c). */
#ifndef ESKER_OPS_MATMUL_H
#define ESKER_OPS_MATMUL_H

#include "ops/contract.h"

typedef struct esker__matmul_attr {
    int32_t transpose_a, transpose_b;
    int32_t
        sum_batch; /* c [m, n] is the sum of the products of a and b, three axes each: matmul_stack.c alone makes such nodes */
    int32_t sums_a; /* output 1 [m] is the sum of each row of op(a): the gradient of a bias beside that of a weight */
    esker__tail tail;
} esker__matmul_attr;
extern const esker__op esker__op_matmul_summing; /* such nodes */

#define ESKER__MATMUL_MAX_BATCH (ESKER_MAX_RANK - 2)

/** Batch axes that can be walked as one are one here, and those of length 1 are left out. */
typedef struct esker__matmul_size {
    int64_t m, n, k;
    int64_t batches; /* products in all */
    int n_axes;
    int64_t length[ESKER__MATMUL_MAX_BATCH];                                  /* the innermost first */
    int64_t step_a[ESKER__MATMUL_MAX_BATCH], step_b[ESKER__MATMUL_MAX_BATCH]; /* in elements; 0 where it is broadcast */
} esker__matmul_size;

/** Of a recorded node. */
esker__matmul_size esker__matmul_size_of(const esker_node *node);
/** op->fused of matmul and of elementwise operations: products that share a factor become one (matmul_stack.c). */
esker_node *esker__fused_matmul(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                const esker__fusion *fusion);
esker_node *esker__fused_add(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                             const esker__fusion *fusion);
esker_status esker__matmul_lower(esker__lowering *lowering, const esker_node *node);
struct esker__gemm_norm;
/** The same with the norm of its rows behind it, as esker__gemm_lower_with_norm(); `cost` of both. */
esker_status esker__matmul_lower_with_norm(esker__lowering *lowering, const esker_node *node,
                                           const struct esker__gemm_norm *norm, const esker__cost *cost, bool *out_found);

#endif
