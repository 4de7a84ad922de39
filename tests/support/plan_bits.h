/* Whether other ways to compile a graph give the same bits: with and without fusion, whole and cut into slices. */
#ifndef ESKER_TESTS_SUPPORT_PLAN_BITS_H
#define ESKER_TESTS_SUPPORT_PLAN_BITS_H

#include <esker/plan.h>
#include "support/test.h"

typedef struct plan_bits {
    float *values; /* of the output */
    int64_t n_elems;
    int n_dispatches;
} plan_bits;

/** Run the plan for `output` once on inputs uniform in [-1, 1), the same for every plan of one test; skips without a device. */
plan_bits plan_bits_run(esker_graph *graph, esker_node *output, const esker_plan_desc *desc);
void plan_bits_finish(plan_bits *bits);

/**
 * Compile `output` whole (never cut, no fusion) and in these ways, and assert equal bits: cut into many slices; fused; fused and cut. Asserts that
 * cutting made more dispatches, and that fusing left `n_fused_away` fewer.
 */
void assert_same_bits(esker_graph *graph, esker_node *output, int n_fused_away);

#endif
