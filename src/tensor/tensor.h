/* The inside of a tensor, for plans that bind it. */
#ifndef ESKER_TENSOR_TENSOR_H
#define ESKER_TENSOR_TENSOR_H

#include <stdatomic.h>

#include <esker/tensor.h>
#include "tensor/memory.h"

/*
 * What src/eager is told of a tensor that it met. A tensor may be without memory: its value is then still to be computed, or
 * it shows some of another tensor's.
 */
typedef struct esker__tensor_rules {
    /* Give it memory, with its value; `waits`: the caller goes on to wait for the device. */
    esker_status (*settle)(esker_tensor *tensor, bool waits);
    esker_status (*before_change)(esker_tensor *tensor); /* somebody else is about to write to its memory */
    void (*drop)(esker_tensor *tensor);                  /* the last reference is gone */
} esker__tensor_rules;

/* What src/eager keeps with a tensor; all zero for those it has not met. */
typedef struct esker__trace {
    const esker__tensor_rules *rules; /* NULL: there is nobody to tell */
    struct esker_node *node, *shadow; /* its value in what is pending; the node that stands for it in a backward pass */
    uint64_t run;                     /* of which `node` is */
    size_t place;                     /* in the list of pending tensors, + 1 */
    struct esker__history *history;   /* how it was computed; NULL: a leaf, or untracked, or freed */
    esker_tensor *grad;               /* referenced */
    esker_tensor *base;               /* referenced: a view shows its elements from base_first on */
    int64_t base_first;
    uint64_t version, base_version; /* changes so far; those of the base when `node` was recorded */
    uint64_t serial, mark;
    uint32_t n_held; /* of the references, those that histories hold */
    bool requires_grad, tracked;
} esker__trace;

struct esker_tensor {
    atomic_int n_references;   /* 0: released */
    uint32_t generation;       /* tensors that this header was, this one included */
    struct esker_tensor *next; /* of the released ones */
    esker__deferred deferred;  /* its release, when another thread gave the last reference back */
    esker_device *device;      /* held */
    esker__memory memory;
    esker_memory_use use;
    esker_dtype dtype;
    esker_shape shape;
    int64_t n_elems;
    uint64_t n_bytes;
    char *label; /* NULL if it has none */
    bool mapped;
    esker_map_intent intent; /* while mapped */
    uint64_t mapped_bytes;
    void *copy; /* what a map for reading shows, if not the memory itself */
    esker__trace trace;
};

/**
 * esker_tensor_create() where the memory is of another use: ESKER_MEMORY_SHARED as there, or ESKER_MEMORY_TEMPORARIES for what
 * the GPU writes and the CPU rarely reads. `desc->data` NULL: zeros if `zeros`, else anything.
 */
esker_status esker__tensor_create_on(esker_device *dev, const esker_tensor_desc *desc, esker_memory_use use, bool zeros,
                                     esker_tensor **out);

/** A tensor without memory. */
esker_status esker__tensor_create_empty(esker_device *dev, esker_dtype dtype, const esker_shape *shape, esker_tensor **out);
static inline bool esker__tensor_has_memory(const esker_tensor *tensor)
{
    return tensor->memory.buffer != NULL;
}
/** Memory with anything in it, for one that has none; and back. */
esker_status esker__tensor_give_memory(esker_tensor *tensor);
void esker__tensor_take_memory(esker_tensor *tensor);
/** Let `to`, which has none, have `from`'s. */
void esker__tensor_move_memory(esker_tensor *to, esker_tensor *from);
/** All of its memory, for a launch. */
static inline esker__range esker__tensor_range(const esker_tensor *tensor)
{
    return esker__memory_range(&tensor->memory, 0, tensor->memory.n_bytes);
}
/** See to it that the tensor has memory with its value; `waits`: the caller goes on to wait for the device. */
esker_status esker__tensor_settle(esker_tensor *tensor, bool waits);

/** "tensor weights uint8 [3, 4]": for messages. */
#define ESKER__TENSOR_NAME_BYTES 320
const char *esker__tensor_name(const esker_tensor *tensor, char buffer[ESKER__TENSOR_NAME_BYTES]);
/** ESKER_ERR_INVALID, beginning with `what`, if it is NULL, no tensor, or was released (handles.h says when that is found). */
esker_status esker__tensor_check(const esker_tensor *tensor, const char *what);
/** The same, and while the tensor is mapped. */
esker_status esker__tensor_need_unmapped(const esker_tensor *tensor, const char *what);

#endif
