/* What tests of calls on tensors share. */
#ifndef ESKER_TESTS_SUPPORT_CALLS_H
#define ESKER_TESTS_SUPPORT_CALLS_H

#include <esker/eager.h>
#include "support/test.h"

/** A tensor of these values, as esker_tensor_from_data(); the test fails where there is none. */
esker_tensor *test_tensor(esker_dtype dtype, const esker_shape *shape, const void *data);
/** Of at most 4096 floats uniform in [-1, 1). */
esker_tensor *test_uniform_tensor(const esker_shape *shape, uint64_t stream);
/** All of a float32 tensor, which must not be NULL. */
void test_read_floats(esker_tensor *t, float *out);
/** The one element of a tensor. */
double test_item(esker_tensor *t);
/** What the calls of the device have done until now. */
esker_eager_counters test_eager_counters(void);

#endif
