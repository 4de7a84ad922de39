#include <esker/pool.h>

#include <pthread.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "tensor/tensor.h"

typedef struct entry {
    esker_tensor *tensor; /* referenced */
    bool out;
} entry;

struct esker_pool {
    pthread_mutex_t lock;
    entry *entries;
    int *free; /* entries that are in, the one that came last on top */
    esker_pool_stats stats;
};

esker_status esker_pool_create(esker_device *dev, const esker_pool_desc *desc, esker_pool **out)
{
    *out = NULL;
    if (desc->n_tensors < 1) return esker__fail(ESKER_ERR_INVALID, "a pool of %d tensors; at least one", desc->n_tensors);
    size_t n = (size_t)desc->n_tensors;
    esker_pool *pool = esker__calloc(1, sizeof *pool);
    if (!pool) return esker__fail_memory(sizeof *pool, "a pool");
    pthread_mutex_init(&pool->lock, NULL);
    pool->entries = esker__calloc(n, sizeof *pool->entries);
    pool->free = esker__calloc(n, sizeof *pool->free);
    esker_status st = pool->entries && pool->free ? ESKER_OK : esker__fail_memory(n * sizeof *pool->entries, "a pool");
    for (int i = 0; st == ESKER_OK && i < desc->n_tensors; i++) {
        esker_tensor_info info;
        st = esker_tensor_create(dev, &desc->tensor, &pool->entries[i].tensor);
        if (st != ESKER_OK) {
            esker__fail_prefix("tensor %d of a pool of %d", i, desc->n_tensors);
            break;
        }
        esker_tensor_get_info(pool->entries[i].tensor, &info);
        pool->free[desc->n_tensors - 1 - i] = i;
        pool->stats.n_tensors++;
        pool->stats.n_bytes += info.n_bytes;
    }
    if (st != ESKER_OK) {
        esker_pool_destroy(pool);
        return st;
    }
    *out = pool;
    return ESKER_OK;
}

void esker_pool_destroy(esker_pool *pool)
{
    if (!pool) return;
    for (int i = 0; i < pool->stats.n_tensors; i++) esker_tensor_unref(pool->entries[i].tensor);
    pthread_mutex_destroy(&pool->lock);
    esker__free(pool->entries);
    esker__free(pool->free);
    esker__free(pool);
}

esker_status esker_pool_get(esker_pool *pool, esker_tensor **out)
{
    esker_status st = ESKER_OK;
    *out = NULL;
    pthread_mutex_lock(&pool->lock);
    esker_pool_stats *s = &pool->stats;
    if (s->n_out < s->n_tensors) {
        entry *e = &pool->entries[pool->free[s->n_tensors - s->n_out - 1]];
        e->out = true;
        *out = esker_tensor_ref(e->tensor);
        s->gets++;
        if (++s->n_out > s->n_out_peak) s->n_out_peak = s->n_out;
    } else {
        s->refusals++;
        st = esker__fail(ESKER_ERR_NO_MEMORY, "pool: all %d tensors are out", s->n_tensors);
    }
    pthread_mutex_unlock(&pool->lock);
    return st;
}

esker_status esker_pool_return(esker_pool *pool, esker_tensor *tensor)
{
    esker_status st = esker__tensor_check(tensor, "returning to a pool");
    if (st != ESKER_OK) return st;
    char name[ESKER__TENSOR_NAME_BYTES];
    pthread_mutex_lock(&pool->lock);
    esker_pool_stats *s = &pool->stats;
    int i = 0;
    while (i < s->n_tensors && pool->entries[i].tensor != tensor) i++;
    if (i < s->n_tensors && pool->entries[i].out) {
        pool->entries[i].out = false;
        pool->free[s->n_tensors - s->n_out--] = i;
    } else {
        st = esker__fail(ESKER_ERR_INVALID, "returning to a pool: %s %s", esker__tensor_name(tensor, name),
                         i < s->n_tensors ? "is not out" : "is none of its tensors");
    }
    pthread_mutex_unlock(&pool->lock);
    if (st == ESKER_OK) esker_tensor_unref(tensor); /* never the last one: the pool has its own */
    return st;
}

void esker_pool_get_stats(esker_pool *pool, esker_pool_stats *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = pool->stats;
    pthread_mutex_unlock(&pool->lock);
}
