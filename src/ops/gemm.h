/* Products of matrices as the kernels of glsl/gemm/ see them: for matmul, and for convolutions that are such products (gemm.c, gemm_tiled.c). */
#ifndef ESKER_OPS_GEMM_H
#define ESKER_OPS_GEMM_H

#include "ops/contract.h"

/** c [m, n] = op(a) op(b), many times. */
typedef struct esker__gemm {
    const esker_node *a, *b, *bias, *out;
    const esker__value *value_a, *value_b,
        *value_out; /* memory in place of these nodes', where not NULL; a result without bias and tail */
    bool ta, tb;
    uint32_t splits; /* set while it is lowered */
    uint32_t m, n, k;
    uint32_t bias_step; /* 1, or 0 for a bias of one element or none */
    bool bias_of_row;   /* an element of the bias for each row of c, not for each column */
    uint32_t batches, n_axes, lengths[4], step_a[4], step_b[4]; /* as esker__matmul_size has them; steps in elements */
    bool sum;                                                   /* c is the sum of all of the batch */
    const esker__tail *tail;                                    /* or NULL */
    const esker_node *sums; /* NULL, or where the sums of the rows of op(a) go (without a tail) */
    bool sums_bound;        /* set while it is lowered: the kernel makes them */
    uint64_t meetings; /* set while it is lowered: of the two splits, whose groups meet in the result; 0: they do not */
    esker__cost cost;
} esker__gemm;

/** Choose kernels, and describe their dispatches. `what` begins the problem's text for esker__choose(). */
esker_status esker__gemm_lower(esker__lowering *lowering, esker__gemm *p, const char *what);

/** Add what the kernels share, and emit: operands, the tail (`quads`: this kernel stores vec4), or the split and its second pass. Takes
 * `defines`. */
esker_status esker__gemm_finish(esker__lowering *lowering, const esker__gemm *p, bool quads, esker__dispatch_desc *d,
                                esker__text *defines);
#define ESKER__GEMM_BATCH_WORDS 14
/** The words of the kernels' uniform block from `batches` on. Steps are in units of `unit_a` and `unit_b` elements. */
void esker__gemm_batch_params(const esker__gemm *p, uint32_t unit_a, uint32_t unit_b,
                              uint32_t out[ESKER__GEMM_BATCH_WORDS]);

/** Whether gemm/direct, tiled and sliced can make the sums beside the product. */
bool esker__gemm_can_sum(const esker__gemm *p);
/** Elements of one part of a split: the product, and the sums behind it. */
uint64_t esker__gemm_part_elems(const esker__gemm *p);

/**
 * The settings of gemm/tiled, or of gemm/sliced, that this device has room for: at most `capacity` names, and which of them is expected to be
 * the fastest and in how many seconds (or -1: none of them suits the problem).
 */
int esker__gemm_tilings(const esker__lowering *lowering, const esker__gemm *p, const char **names, int capacity,
                        int *out_usual, double *out_seconds);
int esker__gemm_slicings(const esker__lowering *lowering, const esker__gemm *p, const char **names, int capacity,
                         int *out_usual, double *out_seconds);
/** *out_found is false for a name that is none of them. */
esker_status esker__gemm_emit_tiled(esker__lowering *lowering, esker__gemm *p, const char *name, bool *out_found);
esker_status esker__gemm_emit_sliced(esker__lowering *lowering, esker__gemm *p, const char *name, bool *out_found);

/* ---- Rows that a group holds whole, with what needs all of a row behind the product (gemm_whole.c) ---- */

#define ESKER__GEMM_WHOLE_COLUMNS 512

/** The rows of c normalised, or, backward, the gradient of such a norm with c as that of its result. Operands that are NULL are not there. */
typedef struct esker__gemm_norm {
    bool backward;
    int kind; /* 0: mean and variance; 1: mean square */
    float eps;
    const esker__operand *weight, *shift, *stats, *x, *y; /* stats: read backward, else written */
    const esker__operand *again;                          /* backward: the norm of x itself, to write */
    bool result_is_used;                                  /* c itself is stored, too */
    const esker__tail *tail; /* of y: elements of tail_node. The product then has none but a bias */
    const esker_node *tail_node;
} esker__gemm_norm;

/** Both in one dispatch, unless *out_found is false: the two for themselves are chosen, and nothing was emitted. */
esker_status esker__gemm_lower_with_norm(esker__lowering *lowering, esker__gemm *p, const esker__gemm_norm *norm,
                                         bool *out_found);

#endif
