/**
 * Pools of equal tensors, made once and handed out again and again: for programs that must not allocate once they run.
 *
 *     esker_pool_create(dev, &(esker_pool_desc){.tensor = {.shape = {2, {64, 784}}}, .n_tensors = 4}, &pool);
 *     esker_pool_get(pool, &x);    ESKER_ERR_NO_MEMORY when all four are out
 *     esker_pool_return(pool, x);
 *
 * Threads    Creating: the thread that owns the device. All else: any, at the same time.
 */
#ifndef ESKER_POOL_H
#define ESKER_POOL_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_pool esker_pool;

typedef struct esker_pool_desc {
    esker_tensor_desc tensor; /* of each; with data NULL they begin as zeros */
    int n_tensors;            /* >= 1 */
} esker_pool_desc;

/**
 * Make all tensors of a pool. It keeps `dev` alive.
 * Errors     ESKER_ERR_INVALID: n_tensors. Those of esker_tensor_create(). *out is NULL then, and nothing is held.
 */
ESKER_API esker_status esker_pool_create(esker_device *dev, const esker_pool_desc *desc, esker_pool **out);
/** Tensors that are out stay, each with the reference that came with it, for esker_tensor_unref(). Accepts NULL. */
ESKER_API void esker_pool_destroy(esker_pool *pool);

/**
 * Take a tensor out of the pool, the one that was returned last; its elements are as they were left.
 * Ownership  *out has one reference, which esker_pool_return() takes back.
 * Errors     ESKER_ERR_NO_MEMORY: all are out, with their number; *out is NULL then.
 */
ESKER_API esker_status esker_pool_get(esker_pool *pool, esker_tensor **out);
/** Put it back, and the reference. ESKER_ERR_INVALID: not a tensor of this pool, or one that is not out. */
ESKER_API esker_status esker_pool_return(esker_pool *pool, esker_tensor *tensor);

typedef struct esker_pool_stats {
    int n_tensors, n_out, n_out_peak;
    uint64_t n_bytes; /* of all its tensors' elements */
    uint64_t gets, refusals;
} esker_pool_stats;

ESKER_API void esker_pool_get_stats(esker_pool *pool, esker_pool_stats *out);

#ifdef __cplusplus
}
#endif
#endif
