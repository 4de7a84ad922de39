/* What the tests share: cmocka, a device, seeded random data, and comparisons that name the worst element. */
#ifndef ESKER_TESTS_SUPPORT_TEST_H
#define ESKER_TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <esker/device.h>
#include <esker/plan.h>

/** The seed of this run: ESKER_TEST_SEED, else 1. Printed by every failing comparison. */
uint64_t test_seed(void);

/** The process's device, opened once. Skips the running test (exit status 77 for the program) where there is no display. */
esker_device *test_device(void);
/** Before that: without a cache folder, so that kernels which this process quarantines stay in use in those beside it. */
void test_without_cache(void);
/** Bytes of its pools that are in use; 0 before it was opened. */
uint64_t test_memory_in_use(void);
/** Give it back; call it after cmocka_run_group_tests and return its value: 0 passed, 1 failed, 77 all skipped for want of a device. */
int test_finish(int n_failed);

/** What main() returns of a program whose tests all read JSON, in a build without libcjson: skipped. What is said then io_model_json and io_checkpoint test. */
static inline int test_without_libcjson(void)
{
    return 77;
}

/** Uniform floats in [lo, hi), from test_seed() and `stream`. */
void test_uniform(float *out, int64_t n, float lo, float hi, uint64_t stream);

/** A teardown: ESKER_VARIANT names nothing any more. */
int test_without_variant(void **state);

/** `call` must return ESKER_OK; else the test fails with the message. */
#define assert_ok(call) test_assert_ok((call), #call, __FILE__, __LINE__)
void test_assert_ok(esker_status st, const char *call, const char *file, int line);

/** `call` must return `want`, and the message must contain `part` (NULL: any). */
#define assert_fails(call, want, part) test_assert_fails((call), (want), (part), #call, __FILE__, __LINE__)
void test_assert_fails(esker_status st, esker_status want, const char *part, const char *call, const char *file, int line);

/**
 * |got - want| <= bound for each element, written so that NaN fails; `bound` may be NULL for exactly `fixed` everywhere.
 * Fails with the worst element, its index, both values, the bound, and the seed.
 */
#define assert_close(got, want, bound, fixed, n) test_assert_close((got), (want), (bound), (fixed), (n), __FILE__, __LINE__)
void test_assert_close(const float *got, const double *want, const double *bound, double fixed, int64_t n, const char *file,
                       int line);

/** How many dispatches of the plan are by kernels whose names begin like that. */
int test_count_kernels(const esker_plan *plan, const char *begin);

/** Copy glsl/KERNEL.comp, with `put` in place of the first `find`, into a folder that ESKER_GLSL_DIR may then name. */
void test_break_kernel(const char *folder, const char *kernel, const char *find, const char *put);

/** A fresh folder under the build tree for the running test; removed by nobody, emptied when asked for again. */
const char *test_folder(const char *name);

#endif
