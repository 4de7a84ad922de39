/* How losses and metrics over logits [rows, classes] share their rows between groups of 128 invocations. */
#ifndef ESKER_OPS_ROWS_H
#define ESKER_OPS_ROWS_H

#include "plan/lowering.h"

/** More classes than this would keep one group busy for longer than a small GPU's watchdog waits. */
#define ESKER__MAX_CLASSES 1048576

typedef struct esker__rows {
    int64_t rows, classes;
    int lanes;          /* invocations that share a row, a power of two to 128 */
    uint32_t groups[3]; /* folded; groups[2] is 1. A folded grid may hold groups without rows: they write zeros */
    uint32_t rounds;    /* blocks of 128 / lanes rows that one group does */
} esker__rows;

/** The layout for a node's inputs: logits [rows, classes] first. One group does everything when there is little to do. */
esker_status esker__rows_layout(esker__lowering *lowering, const esker_node *node, esker__rows *out);

/** Partial results there is room for: one for each group of the grid. */
static inline uint32_t esker__rows_partials(const esker__rows *layout)
{
    return layout->groups[0] * layout->groups[1];
}

/** Shape rule for (logits float32 [n, classes], labels int32 [n]). */
esker_status esker__rows_infer(const char *op, esker_node *const *inputs);

/**
 * One dispatch of loss/finish: `n_parts` floats of `parts` added into `out`; `mean`: divided by the float after them. `second`
 * (NULL: none): as many floats of `parts` from float second[0] on added, to float second[1] of `out`.
 */
esker_status esker__finish_sum(esker__lowering *lowering, esker__value parts, uint32_t n_parts, bool mean,
                               esker__operand out, const uint32_t second[2]);

/** The same for `n_parts` floats of `parts` from float `first` on, a multiple of 64, into one. */
esker_status esker__finish_part(esker__lowering *lowering, esker__value parts, uint32_t first, uint32_t n_parts,
                                esker__operand out);

/** Rows whose largest logit, the first of equals, stands at the label; the op count_correct. */
double esker__rows_correct(const esker__reference *r);
/** Describe the dispatches that count them for `node`, which has logits and labels first, in its output `output`. */
esker_status esker__lower_count_correct(esker__lowering *lowering, const esker_node *node, int output);
/** op->fused of count_correct: an output of the loss that counts them, too, if there is one (loss.c). */
esker_node *esker__fused_count(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                               const esker__fusion *fusion);

/**
 * How many invocations of a group of `group` may share a line of softmax, a norm or a reduction of rows. One on llvmpipe where lines fill two groups: there
 * a barrier is dear, and reads of neighbours are as many loads as reads of what lies apart. Also where ESKER_VARIANT says "own_lines".
 */
int esker__lanes_of_line(const esker__lowering *lowering, int64_t lines, int group);

/**
 * How many neighbours of a row of `n` floats a kernel of such lines has for one element: 4 where that divides n. 1 on V3D and Midgard, where four cost
 * half of the threads, and in a kernel that has much to hold on the newer Mali, too. ESKER_VARIANT: "single_floats".
 */
int esker__floats_of_element(const esker__lowering *lowering, int64_t n, bool holds_much);

#endif
