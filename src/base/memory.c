#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_uint_fast64_t n_allocations;

void *esker__malloc(size_t n_bytes)
{
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return malloc(n_bytes ? n_bytes : 1);
}

#define HUGE_BYTES ((size_t)2 << 20)

void *esker__malloc_large(size_t n_bytes)
{
    void *memory;
    if (n_bytes < 2 * HUGE_BYTES) return esker__malloc(n_bytes);
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    if (posix_memalign(&memory, HUGE_BYTES, n_bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    (void)madvise(memory, n_bytes / HUGE_BYTES * HUGE_BYTES,
                  MADV_HUGEPAGE); /* advice: where it is not taken nothing is lost */
#endif
    return memory;
}

void *esker__calloc(size_t n_items, size_t item_bytes)
{
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return n_items && item_bytes ? calloc(n_items, item_bytes) : calloc(1, 1);
}

void *esker__realloc(void *old, size_t n_bytes)
{
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return realloc(old, n_bytes ? n_bytes : 1);
}

char *esker__strdup(const char *text)
{
    size_t n_bytes = strlen(text) + 1;
    char *copy = esker__malloc(n_bytes);
    if (copy) memcpy(copy, text, n_bytes);
    return copy;
}

void esker__free(void *memory)
{
    free(memory);
}

uint64_t esker__heap_allocations(void)
{
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}

bool esker__grow(void **items, size_t *capacity, size_t n, size_t item_bytes)
{
    if (n < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 8, n_bytes;
    if (wanted < *capacity || !esker__mul_size(wanted, item_bytes, &n_bytes)) return false;
    void *grown = esker__realloc(*items, n_bytes);
    if (!grown) return false;
    *items = grown;
    *capacity = wanted;
    return true;
}

#define CHUNK_BYTES 16384

struct esker__pool_chunk {
    struct esker__pool_chunk *older;
    size_t used, n_bytes;
    _Alignas(max_align_t) unsigned char bytes[];
};

void *esker__pool_alloc(esker__pool *pool, size_t n_bytes)
{
    size_t align = _Alignof(max_align_t), rounded;
    if (!esker__add_size(n_bytes, align - 1, &rounded)) return NULL;
    rounded = rounded / align * align;
    struct esker__pool_chunk *chunk = pool->chunk;
    if (!chunk || chunk->n_bytes - chunk->used < rounded) {
        size_t chunk_bytes = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES, total;
        if (!esker__add_size(sizeof *chunk, chunk_bytes, &total)) return NULL;
        chunk = esker__calloc(1, total);
        if (!chunk) return NULL;
        chunk->n_bytes = chunk_bytes;
        chunk->older = pool->chunk;
        pool->chunk = chunk;
    }
    void *piece = chunk->bytes + chunk->used;
    chunk->used += rounded;
    return piece;
}

char *esker__pool_strdup(esker__pool *pool, const char *text)
{
    size_t n_bytes = strlen(text) + 1;
    char *copy = esker__pool_alloc(pool, n_bytes);
    if (copy) memcpy(copy, text, n_bytes);
    return copy;
}

void esker__pool_finish(esker__pool *pool)
{
    while (pool->chunk) {
        struct esker__pool_chunk *older = pool->chunk->older;
        esker__free(pool->chunk);
        pool->chunk = older;
    }
}

void esker__pool_reset(esker__pool *pool)
{
    if (!pool->chunk) return;
    esker__pool older = {pool->chunk->older};
    esker__pool_finish(&older);
    pool->chunk->older = NULL;
    memset(pool->chunk->bytes, 0, pool->chunk->used);
    pool->chunk->used = 0;
}
