/*
 * Device memory for tensors, plans and parameters: pools by use over buffers (include/esker/memory.h), with the bookkeeping of
 * heap.h.
 *
 * When it may be used again: everything on a context is in order, and every plan and copy begins with a barrier, so the GPU may
 * be given memory the moment it was given back, whatever is still queued. The CPU's own accesses through an address need a
 * fence behind the last GPU work that used the piece, by this holder or the one before; esker__buffer_read, esker_device_finish()
 * and staging slots have that already. esker__memory_write is ordered by GL and needs none.
 *
 * Which share a buffer: pieces of parameters, and pieces of temporaries. What the CPU touches never lies in a buffer with them:
 * drivers wait and copy per buffer. Staging has a buffer for each piece; so have shared pieces where buffers cannot be mapped for
 * good, since a mapped buffer is out of the GPU's reach.
 */
#ifndef ESKER_TENSOR_MEMORY_H
#define ESKER_TENSOR_MEMORY_H

#include <esker/memory.h>
#include "gpu/gpu.h"
#include "tensor/heap.h"
#include "tensor/transfer.h"

/** A piece of device memory; all zero is none. */
typedef struct esker__memory {
    esker__buffer *buffer;
    uint64_t offset;  /* in the buffer; a multiple of 256 */
    uint64_t n_bytes; /* as asked, rounded up to 16; 256 can be bound */
    esker__piece *piece;
} esker__memory;

/**
 * Take `n_bytes` (0 counts as 1). `zeros`: filled with zeros; else with anything.
 * Errors     ESKER_ERR_NO_MEMORY with the request and the state, after idle blocks were given back in vain; ESKER_ERR_INVALID:
 *            another thread; ESKER_ERR_LOST. *out is zero then.
 */
esker_status esker__memory_take(esker_device *dev, esker_memory_use use, uint64_t n_bytes, bool zeros, esker__memory *out);
/** The device's staging buffers and copies; made with its first piece of memory. */
esker_status esker__memory_get_transfer(esker_device *dev, esker__transfer **out);
/** Give it back, and make it zero. A zero one is fine. In the owner's thread, or when nobody else uses the device any more. */
void esker__memory_give(esker__memory *memory);

/**
 * Copy to and from the host, or fill with zeros: as esker__buffer_write, _read and _clear, with offsets in the piece. What is
 * the GPU's alone goes through staging buffers (transfer.h), so that nothing waits for the whole buffer; but for writes of
 * parts of words while the GPU is busy, and but for software drivers.
 */
esker_status esker__memory_write(const esker__memory *memory, uint64_t offset, const void *data, uint64_t n_bytes);
esker_status esker__memory_read(const esker__memory *memory, uint64_t offset, void *out, uint64_t n_bytes);
esker_status esker__memory_clear(const esker__memory *memory, uint64_t offset, uint64_t n_bytes);
/**
 * Whether the CPU reads mapped memory of this device so slowly (it is not cached, on most boards) that a copy into ordinary
 * memory, made once and in order, is better to work on. Measured when it is first asked.
 */
esker_status esker__memory_is_slow_to_read(esker_device *dev, bool *out);
/** Copy the first `n_bytes`, rounded up to 16, on the device, behind what is queued. The pieces must not be the same. */
esker_status esker__memory_copy(const esker__memory *dst, const esker__memory *src, uint64_t n_bytes);
/** The lasting address of the piece, or NULL where there is none. */
void *esker__memory_address(const esker__memory *memory);

/** A range of it, for a launch. */
static inline esker__range esker__memory_range(const esker__memory *memory, uint64_t offset, uint64_t n_bytes)
{
    return (esker__range){memory->buffer, memory->offset + offset, n_bytes};
}

#endif
