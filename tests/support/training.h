/* What tests of training steps share. */
#ifndef ESKER_TESTS_SUPPORT_TRAINING_H
#define ESKER_TESTS_SUPPORT_TRAINING_H

#include <esker/graph.h>
#include <esker/plan.h>
#include "base/fail.h"

/** A parameter whose values begin uniform in [-limit, limit); `format` and what follows it name it, as for printf. */
esker_node *test_parameter(esker_graph *graph, esker_shape shape, float limit, const char *format, ...) ESKER__PRINTF(4, 5);

/** How a plan is compiled: with fusion or without, and in check mode, where each node is compared with its reference. */
typedef struct test_way {
    bool no_fusion, check;
} test_way;

/** Give the graph's parameters their first values, and compile its plan for the device, whole; esker_plan_check() accepts it. */
esker_plan *test_compile(esker_graph *graph, esker_node *const *outputs, int n_outputs, test_way way);

/**
 * Submit `n_steps` steps of a plan with one input, "x", of n_x floats that are uniform in [-1, 1), others in each step; its value is the last
 * step's ticket.
 */
uint64_t test_train(esker_plan *plan, int n_x, int n_steps);

/** Read all parameters one behind the other; the value is how many floats they are, at most `room`, else the test fails. */
int test_read_params(esker_params *params, float *out, int room);

/** Record what `row` describes, compile it that way, run it, and put what it leaves into out: the value is how many floats, at most `room`. */
typedef int (*test_run)(const void *row, test_way way, float *out, int room);

/**
 * Fusion changes nothing: with it, `run` leaves what it leaves without, |got - apart| <= tolerance (1 + |apart|), and in check mode the same bits.
 * All three under this ESKER_VARIANT (NULL: the one there is).
 */
void assert_same_fused(test_run run, const void *row, const char *name, const char *variant, float tolerance);

/** One net, whose input "x" has n_x floats; with a test for a step's parameters and one for the loss alone, where nobody reads what lies between. */
typedef struct test_net {
    const char *name, *variant; /* as ESKER_VARIANT takes it; NULL: the usual kernels */
    int n_x;
    const void *net;
    esker_node *(*record)(esker_graph *graph, const void *net, bool train); /* its loss, and with `train` the update */
    void (*look)(const esker_plan *plan, const void *net, bool train, test_way way);
} test_net;
/** assert_same_fused() of each, two steps of training and the loss: what main() returns. */
int test_nets_main(const test_net *nets, int n);

#endif
