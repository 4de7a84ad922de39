/* What tests of training steps share. */
#ifndef ESKER_TESTS_SUPPORT_TRAINING_H
#define ESKER_TESTS_SUPPORT_TRAINING_H

#include <esker/graph.h>
#include <esker/plan.h>

/**
 * Submit `n_steps` steps of a plan with one input, "x", of n_x floats that are uniform in [-1, 1), others in each step; its value is the last
 * step's ticket.
 */
uint64_t test_train(esker_plan *plan, int n_x, int n_steps);

/** Read all parameters one behind the other; the value is how many floats they are, at most `room`, else the test fails. */
int test_read_params(esker_params *params, float *out, int room);

#endif
