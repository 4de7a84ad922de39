/* Random graphs of bounded operations, for tests of plans. */
#ifndef ESKER_TESTS_SUPPORT_RANDOM_GRAPH_H
#define ESKER_TESTS_SUPPORT_RANDOM_GRAPH_H

#include <esker/ops.h>

#define RANDOM_GRAPH_INPUTS 3
#define RANDOM_GRAPH_SIDE   48 /* inputs and values are [48, 48]: several groups of most kernels */

/** Inputs "x0" to "x2" and `n_ops` operations on them; *out receives the last `n_out` values. `stream` chooses the graph.
 */
void random_graph(esker_graph *graph, int n_ops, uint64_t stream, esker_node **out, int n_out);

#endif
