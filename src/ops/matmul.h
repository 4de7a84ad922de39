/* matmul: attributes shared by its rules (matmul.c) and its lowering (matmul_lower.c). */
#ifndef ESKER_OPS_MATMUL_H
#define ESKER_OPS_MATMUL_H

#include "ops/contract.h"

typedef struct esker__matmul_attr {
    int32_t transpose_a, transpose_b;
    esker__tail tail;
} esker__matmul_attr;

typedef struct esker__matmul_size {
    int64_t m, n, k;
} esker__matmul_size;

/** Of a recorded node. */
esker__matmul_size esker__matmul_size_of(const esker_node *node);
esker_status esker__matmul_lower(esker__lowering *lowering, const esker_node *node);

#endif
