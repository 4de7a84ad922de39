/*
 * Allocations that fail when a test wants it. For programs whose first lines say "memory test": the linker puts these in place of malloc, calloc
 * and realloc, so the header is included once, by the program itself.
 */
#ifndef ESKER_TESTS_SUPPORT_FAILING_HEAP_H
#define ESKER_TESTS_SUPPORT_FAILING_HEAP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "support/test.h"

/* Calls until one allocation fails; negative: none does. */
static long left = -1;
static bool failed;

void *__real_malloc(size_t n_bytes);
void *__real_calloc(size_t n_items, size_t item_bytes);
void *__real_realloc(void *old, size_t n_bytes);
void *__wrap_malloc(size_t n_bytes);
void *__wrap_calloc(size_t n_items, size_t item_bytes);
void *__wrap_realloc(void *old, size_t n_bytes);

static bool fails_now(void)
{
    if (left < 0 || left-- > 0) return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t n_bytes)
{
    return fails_now() ? NULL : __real_malloc(n_bytes);
}

void *__wrap_calloc(size_t n_items, size_t item_bytes)
{
    return fails_now() ? NULL : __real_calloc(n_items, item_bytes);
}

void *__wrap_realloc(void *old, size_t n_bytes)
{
    return fails_now() ? NULL : __real_realloc(old, n_bytes);
}

/*
 * Run `task` until none of its allocations fails, with the first failing, the second, and so on up to `dense`, from there on every third: each time
 * the status and the message say so. Nothing leaks, and the last time it works. Without a failure it allocates at least `least` times.
 */
static void fail_each_allocation(esker_status (*task)(esker_device *dev), esker_device *dev, int least, int dense)
{
    /* Drivers and caches settle; the second time the GPU is not idle, and other kernels move the bytes. */
    for (int i = 0; i < 2; i++) assert_ok(task(dev));
    uint64_t before = test_memory_in_use();
    for (int n = 0;; n += n < dense ? 1 : 3) {
        left = n;
        failed = false;
        esker_status st = task(dev);
        left = -1;
        if (!failed) {
            assert_ok(st);
            assert_true(n >= least);
            break;
        }
        if (st != ESKER_ERR_NO_MEMORY || !esker_last_error()[0])
            fail_msg("allocation %d: %s \"%s\"", n, esker_status_name(st), esker_last_error());
    }
    assert_true(test_memory_in_use() == before);
}

#endif
