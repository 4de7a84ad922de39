/*
 * Bytes on their way between the host and memory that only the GPU may touch, and inside that memory. They pass through small
 * staging buffers and a copy kernel, for which nothing has to wait but the bytes themselves: drivers answer a write or a map of a
 * buffer that is in use by waiting for all of it, by a copy of all of it, or (NVIDIA) by moving it to main memory.
 *
 * Ranges are {buffer, offset, bytes}; offsets may be any multiple of 4 where nothing else is said.
 */
#ifndef ESKER_TENSOR_TRANSFER_H
#define ESKER_TENSOR_TRANSFER_H

#include "gpu/gpu.h"

typedef struct esker__transfer esker__transfer;

/** Of a device; its staging memory is made when it is needed. */
esker_status esker__transfer_create(esker_device *dev, esker__transfer **out);
void esker__transfer_destroy(esker__transfer *transfer); /* accepts NULL */

/**
 * Bytes that the next submission reads as uniform or storage block, and no later one: copied to a staging buffer, whose part
 * comes round again when the GPU is done. At most ESKER__STAGE_BYTES; the range begins at a multiple of 256.
 */
#define ESKER__STAGE_BYTES ((uint64_t)1 << 20)
esker_status esker__transfer_stage(esker__transfer *transfer, const void *data, uint64_t n_bytes, esker__range *out);

/** Queue a copy of from->n_bytes (a multiple of 4) behind what is queued. The ranges may lie in one buffer, but not meet. */
esker_status esker__transfer_copy(esker__transfer *transfer, const esker__range *from, const esker__range *to);
/** Copy host memory to a range, behind what is queued; `data` may be reused when it returns. Whole words. */
esker_status esker__transfer_upload(esker__transfer *transfer, const esker__range *to, const void *data);
/** Copy a range, of any bytes, to host memory, after what is queued; waits for it. Whole units of 16 bytes are read. */
esker_status esker__transfer_download(esker__transfer *transfer, const esker__range *from, void *out);

#endif
