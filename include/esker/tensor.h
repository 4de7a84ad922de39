/**
 * Tensors: dense row-major arrays in storage buffers that the CPU and the GPU share.
 *
 * A tensor is written, read and mapped by the CPU, and given to plans as an input with esker_plan_bind_input() (plan.h),
 * which saves the copy that esker_plan_write() makes for every step. uint8 lies four elements to a 32-bit word on the
 * device.
 *
 * Handles    A tensor that was released is noticed: functions that take it fail with ESKER_ERR_INVALID, and those without a status
 *            do nothing and say so in the log and in esker_last_error(). So is a reference returned once too often. The limit:
 *            at least 1,024 tensors after its release the handle may become a new tensor's, and nobody can tell.
 * Threads    The thread that owns the device, but for esker_tensor_ref(), esker_tensor_unref(), esker_tensor_get_info() and the
 *            mapped memory.
 */
#ifndef ESKER_TENSOR_H
#define ESKER_TENSOR_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_tensor esker_tensor;

typedef struct esker_tensor_desc {
    esker_dtype dtype; /* zero is ESKER_DTYPE_F32 */
    esker_shape shape; /* zero is a scalar; every dimension >= 1 */
    const void *data;  /* all elements, row-major; copied. NULL: zeros */
    const char *label; /* copied; names the tensor in messages; may be NULL */
} esker_tensor_desc;

/**
 * Create a tensor: esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {10}}}, &x).
 * Ownership  *out has one reference, returned with esker_tensor_unref(). It keeps `dev` alive.
 * Errors     ESKER_ERR_INVALID: bad rank, dimension or element type. ESKER_ERR_LIMIT: more bytes than one storage block
 *            of `dev` holds, with both numbers. ESKER_ERR_NO_MEMORY, after which everything else still works. *out is
 *            NULL then.
 */
ESKER_API esker_status esker_tensor_create(esker_device *dev, const esker_tensor_desc *desc, esker_tensor **out);

/** Told that the caller's memory may be reused or freed. Runs in the owner's thread; must not call the library. */
typedef void (*esker_tensor_release_fn)(void *data, void *user);

/**
 * Create a tensor from the caller's memory, desc->data, which must stay as it is until `release` was called, if the function
 * succeeds; if it fails, or `release` is NULL, only until it returns. OpenGL ES cannot use memory that it did not allocate, so
 * today the elements are always copied, and `release` is called before the function returns; do not rely on either. To save the
 * copy, create the tensor and write to a map of it (ESKER_MAP_DISCARD).
 * Errors     As of esker_tensor_create(); ESKER_ERR_INVALID: no data.
 */
ESKER_API esker_status esker_tensor_from_host(esker_device *dev, const esker_tensor_desc *desc,
                                              esker_tensor_release_fn release, void *user, esker_tensor **out);

/** One more reference, and `tensor` again; NULL for one that was released. Threads: any. Accepts NULL. */
ESKER_API esker_tensor *esker_tensor_ref(esker_tensor *tensor);
/**
 * Return a reference. The last one unmaps and frees the tensor; what only the device's owner may do of it is done when that
 * thread next creates, reads, writes, maps or copies a tensor of the device, calls an operation on one (eager.h), submits a
 * step, or calls esker_device_finish() or esker_device_poll(). When the last user's reference to a device goes
 * (esker_device_unref) while tensors of it are left, the log lists them. Threads: any. Accepts NULL.
 */
ESKER_API void esker_tensor_unref(esker_tensor *tensor);

typedef struct esker_tensor_info {
    esker_dtype dtype;
    esker_shape shape;
    int64_t n_elems;
    uint64_t n_bytes;
    const char *label;    /* "" if it has none; borrowed */
    esker_device *device; /* borrowed */
} esker_tensor_info;

/** Threads: any. */
ESKER_API void esker_tensor_get_info(const esker_tensor *tensor, esker_tensor_info *out);

/** As n_elems: everything from `first` on. */
#define ESKER_TENSOR_REST (-1)

/**
 * Copy the elements `first` to `first + n_elems - 1`, in row-major order, out of the tensor (after the GPU's queued work)
 * or into it (ordered behind the GPU's queued work: steps that were submitted before still see the old values). The host's
 * memory is the caller's again as soon as the call returns.
 * Errors     ESKER_ERR_INVALID: a range that is not inside the tensor, with the numbers; a mapped tensor; another thread.
 *            ESKER_ERR_LOST, ESKER_ERR_DEVICE.
 */
ESKER_API esker_status esker_tensor_read(esker_tensor *tensor, int64_t first, int64_t n_elems, void *out);
ESKER_API esker_status esker_tensor_write(esker_tensor *tensor, int64_t first, int64_t n_elems, const void *data);

/**
 * Copy all elements of `src` to `dst` on the device, in row-major order: the shapes may differ, element type and number
 * of elements may not. Queued behind the GPU's work so far, and before what is queued later; waits for nothing. A tensor
 * copied to itself stays as it is.
 * Errors     ESKER_ERR_INVALID: another element type or number of elements, another device, a mapped tensor, another
 *            thread. ESKER_ERR_NO_MEMORY, ESKER_ERR_COMPILE, ESKER_ERR_LOST, ESKER_ERR_DEVICE. `dst` is as before then.
 */
ESKER_API esker_status esker_tensor_copy(esker_tensor *dst, const esker_tensor *src);

/** What the CPU is going to do with a mapped tensor. */
typedef enum esker_map_intent {
    ESKER_MAP_READ = 0, /* read only */
    ESKER_MAP_WRITE,    /* write only; what is not written keeps its value */
    ESKER_MAP_DISCARD   /* write only; every element that is not written has an undefined value afterwards */
} esker_map_intent;

/**
 * Give the CPU the elements `first` to `first + n_elems - 1` of the tensor until esker_tensor_unmap(). Waits for the GPU's queued
 * work first. Meanwhile the tensor cannot be read, written or mapped again, nor steps be submitted whose plan has it bound.
 *  - Where the driver has GL_EXT_buffer_storage (info.buffer_storage) the address is the memory that the GPU uses: nothing is
 *    copied. That memory is often not cached, so write it once, in order, and do not read what you write.
 *  - Reading: where mapped memory was measured to be slow to read, and for results of calls (eager.h), the address is that of a
 *    copy in ordinary memory.
 *  - Writing to the result of a call moves it to memory that is shared with the CPU, where it stays.
 * Threads    The memory itself may be used in any thread.
 * Errors     ESKER_ERR_INVALID: mapped already, unknown intent, a range that is empty or not inside the tensor. ESKER_ERR_NO_MEMORY,
 *            ESKER_ERR_LOST, ESKER_ERR_DEVICE. *out_address is NULL then.
 */
ESKER_API esker_status esker_tensor_map_range(esker_tensor *tensor, esker_map_intent intent, int64_t first, int64_t n_elems,
                                              void **out_address);
/** All of it. */
ESKER_API esker_status esker_tensor_map(esker_tensor *tensor, esker_map_intent intent, void **out_address);
/** ESKER_ERR_INVALID: not mapped. */
ESKER_API esker_status esker_tensor_unmap(esker_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
