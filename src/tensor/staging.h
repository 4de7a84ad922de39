/*
 * A staging ring: equal buffers that the CPU and the GPU take in turns, one step each. What the CPU touches lives here and
 * nowhere else, since drivers wait and copy per buffer. Where the driver maps buffers for good (GL_EXT_buffer_storage) the
 * CPU's accesses are plain memory accesses; elsewhere each one maps and unmaps. Whose turn a slot is, its owner knows from
 * fences.
 */
#ifndef ESKER_TENSOR_STAGING_H
#define ESKER_TENSOR_STAGING_H

#include "tensor/memory.h"

#define ESKER__STAGING_SLOTS 4

typedef struct esker__staging {
    esker__memory slots[ESKER__STAGING_SLOTS];
} esker__staging;

/** All slots of `n_bytes`, of ESKER_MEMORY_UPLOAD or READBACK; zeros. After a failure the ring is as before. */
esker_status esker__staging_init(esker__staging *staging, esker_device *dev, uint64_t n_bytes, esker_memory_use use);
void esker__staging_finish(esker__staging *staging); /* a zero ring is fine */

/** Copy into or out of a slot that no queued GPU work uses. */
esker_status esker__staging_write(esker__staging *staging, int slot, uint64_t offset, const void *data, size_t n_bytes);
esker_status esker__staging_read(esker__staging *staging, int slot, uint64_t offset, void *out, size_t n_bytes);

/** The lasting address of a slot, or NULL where the driver has none. Any thread may use the memory while it is the CPU's
 * turn. */
void *esker__staging_address(const esker__staging *staging, int slot);

#endif
