/* The inside of a tensor, for plans that bind it. */
#ifndef ESKER_TENSOR_TENSOR_H
#define ESKER_TENSOR_TENSOR_H

#include <stdatomic.h>

#include <esker/tensor.h>
#include "tensor/memory.h"

struct esker_tensor {
    atomic_int n_references;
    esker_device *device; /* referenced */
    esker__memory memory;
    esker_memory_use use;
    esker_dtype dtype;
    esker_shape shape;
    int64_t n_elems;
    uint64_t n_bytes;
    char *label; /* "" if it has none */
    bool mapped;
    esker_map_intent intent; /* while mapped */
};

/**
 * esker_tensor_create() where the memory is of another use: ESKER_MEMORY_SHARED as there, or ESKER_MEMORY_TEMPORARIES for what
 * the GPU writes and the CPU rarely reads. `desc->data` NULL: zeros if `zeros`, else anything.
 */
esker_status esker__tensor_create_on(esker_device *dev, const esker_tensor_desc *desc, esker_memory_use use, bool zeros,
                                     esker_tensor **out);

/** ESKER_ERR_INVALID, beginning with `what`, while the tensor is mapped. */
esker_status esker__tensor_need_unmapped(const esker_tensor *tensor, const char *what);

#endif
