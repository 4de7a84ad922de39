/* Host memory. Everything the library allocates goes through here, so that a step can be shown to allocate nothing. */
#ifndef ESKER_BASE_MEMORY_H
#define ESKER_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Like malloc, calloc, realloc, strdup and free, counted. 0 bytes gives a valid pointer. NULL when memory ran out. */
void *esker__malloc(size_t n_bytes);
void *esker__calloc(size_t n_items, size_t item_bytes);
/** As esker__malloc(), for what is large and filled at once: in huge pages where there are any, since a fault for each of 4 KiB takes longer than filling it. */
void *esker__malloc_large(size_t n_bytes);
void *esker__realloc(void *old, size_t n_bytes);
char *esker__strdup(const char *text);
void esker__free(void *memory);

/** Allocations (malloc, calloc, realloc, strdup) made so far in this process by the library. Any thread. */
uint64_t esker__heap_allocations(void);

/** Whether the sum or product fits; *out is set only then. */
static inline bool esker__add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool esker__mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/** Smallest multiple of `unit` (>= 1) that is not below `n`. */
static inline uint64_t esker__round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}
static inline uint64_t esker__ceil_div(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit;
}

/**
 * Make room for one more item in a growable array of `*n` items: doubles *items when full.
 * Use: if (!esker__grow((void **)&list, &cap, n, sizeof *list)) -> out of memory, the array is unchanged.
 */
bool esker__grow(void **items, size_t *capacity, size_t n, size_t item_bytes);

/** A bump allocator: many small zeroed pieces that are freed together. */
typedef struct esker__pool {
    struct esker__pool_chunk *chunk;
} esker__pool;

/** `n_bytes` of zeroed memory aligned for any type; NULL when memory ran out. */
void *esker__pool_alloc(esker__pool *pool, size_t n_bytes);
char *esker__pool_strdup(esker__pool *pool, const char *text);
void esker__pool_finish(esker__pool *pool);
/** Give all pieces back at once, and keep a chunk for what comes next. */
void esker__pool_reset(esker__pool *pool);

#endif
