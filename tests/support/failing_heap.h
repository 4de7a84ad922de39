/*
 * Allocations that fail when a test wants it. For programs whose first lines say "memory test": the linker puts these in place of malloc, calloc
 * and realloc, so the header is included once, by the program itself.
 */
#ifndef ESKER_TESTS_SUPPORT_FAILING_HEAP_H
#define ESKER_TESTS_SUPPORT_FAILING_HEAP_H

#include <stdbool.h>
#include <stddef.h>

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

#endif
