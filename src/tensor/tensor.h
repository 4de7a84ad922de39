/* The inside of a tensor, for plans that bind it. */
#ifndef ESKER_TENSOR_TENSOR_H
#define ESKER_TENSOR_TENSOR_H

#include <stdatomic.h>

#include <esker/tensor.h>
#include "gpu/gpu.h"

struct esker_tensor {
    atomic_int n_references;
    esker_device *device; /* referenced */
    esker__buffer *buffer;
    esker_dtype dtype;
    esker_shape shape;
    int64_t n_elems;
    uint64_t n_bytes;
    char *label; /* "" if it has none */
    bool mapped;
    esker_map_intent intent; /* while mapped */
};

/** ESKER_ERR_INVALID, beginning with `what`, while the tensor is mapped. */
esker_status esker__tensor_need_unmapped(const esker_tensor *tensor, const char *what);

#endif
