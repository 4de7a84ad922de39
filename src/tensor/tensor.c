#include "tensor/handles.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "gpu/queue.h"

#define NAME_BYTES ESKER__TENSOR_NAME_BYTES
/* Below this, a map is read where it is, however slow that may be. */
#define SLOW_MAP_BYTES 4096

/* Dtype, shape and their byte count, against what the device takes. */
static esker_status set_type(esker_tensor *t, const esker_tensor_desc *desc)
{
    char name[NAME_BYTES];
    const char *label = t->label ? t->label : "";
    uint64_t elem_bytes = esker_dtype_bytes(desc->dtype);
    uint64_t max_bytes = esker__device_limits(t->device)->storage_block_bytes / 16 * 16; /* buffers are rounded up to 16 */
    if (!elem_bytes) return esker__fail(ESKER_ERR_INVALID, "tensor %s: unknown element type %d", label, (int)desc->dtype);
    esker_status st = esker_shape_elems(&desc->shape, &t->n_elems);
    if (st != ESKER_OK) {
        esker__fail_prefix("tensor %s", label);
        return st;
    }
    t->dtype = desc->dtype;
    t->shape.rank = desc->shape.rank;
    for (int i = 0; i < desc->shape.rank; i++) t->shape.dims[i] = desc->shape.dims[i];
    if ((uint64_t)t->n_elems > max_bytes / elem_bytes)
        return esker__fail(ESKER_ERR_LIMIT,
                           "%s: %" PRId64 " elements of %" PRIu64 " bytes, one storage block of this device holds %" PRIu64
                           " bytes",
                           esker__tensor_name(t, name), t->n_elems, elem_bytes, max_bytes);
    t->n_bytes = (uint64_t)t->n_elems * elem_bytes;
    return ESKER_OK;
}

esker_status esker_tensor_create(esker_device *dev, const esker_tensor_desc *desc, esker_tensor **out)
{
    esker__device_collect(dev);
    return esker__tensor_create_on(dev, desc, ESKER_MEMORY_SHARED, true, out);
}

/* Everything but its memory. */
static esker_status create(esker_device *dev, const esker_tensor_desc *desc, esker_memory_use use, esker_tensor **out)
{
    bool labelled = desc->label && desc->label[0];
    *out = NULL;
    esker_tensor *t = esker__tensor_begin(dev);
    if (!t) return esker__fail_memory(sizeof *t, "tensor");
    esker__device_hold(dev);
    t->use = use;
    if (labelled) t->label = esker__strdup(desc->label);
    esker_status st = labelled && !t->label ? esker__fail_memory(strlen(desc->label), "tensor") : set_type(t, desc);
    if (st == ESKER_OK)
        *out = t;
    else
        esker_tensor_unref(t);
    return st;
}

esker_status esker__tensor_create_on(esker_device *dev, const esker_tensor_desc *desc, esker_memory_use use, bool zeros,
                                     esker_tensor **out)
{
    char name[NAME_BYTES];
    esker_status st = create(dev, desc, use, out);
    if (st != ESKER_OK) return st;
    esker_tensor *t = *out;
    st = esker__memory_take(dev, use, t->n_bytes, zeros && !desc->data, &t->memory);
    if (st == ESKER_OK && desc->data) st = esker__memory_write(&t->memory, 0, desc->data, t->n_bytes);
    if (st == ESKER_OK) return ESKER_OK;
    esker__fail_prefix("%s", esker__tensor_name(t, name));
    esker_tensor_unref(t);
    *out = NULL;
    return st;
}

esker_status esker__tensor_create_empty(esker_device *dev, esker_dtype dtype, const esker_shape *shape, esker_tensor **out)
{
    return create(dev, &(esker_tensor_desc){.dtype = dtype, .shape = *shape}, ESKER_MEMORY_TEMPORARIES, out);
}

esker_status esker__tensor_give_memory(esker_tensor *tensor)
{
    char name[NAME_BYTES];
    esker_status st = esker__memory_take(tensor->device, tensor->use, tensor->n_bytes, false, &tensor->memory);
    if (st != ESKER_OK) esker__fail_prefix("%s", esker__tensor_name(tensor, name));
    return st;
}

void esker__tensor_take_memory(esker_tensor *tensor)
{
    esker__memory_give(&tensor->memory);
}

void esker__tensor_move_memory(esker_tensor *to, esker_tensor *from)
{
    to->memory = from->memory;
    to->use = from->use;
    from->memory = (esker__memory){0};
}

/* ---- References ---- */

esker_tensor *esker_tensor_ref(esker_tensor *tensor)
{
    if (!tensor || esker__tensor_misused(tensor, "referencing a tensor") != ESKER_OK) return NULL;
    int n = atomic_load_explicit(&tensor->n_references, memory_order_relaxed);
    do {
        if (n < 1) return esker__tensor_misused(tensor, "referencing a tensor"), NULL;
    } while (!atomic_compare_exchange_weak_explicit(&tensor->n_references, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return tensor;
}

/* Nobody refers to it any more. In the owner's thread, or when nobody else uses the device. */
static void let_go(esker_tensor *t)
{
    if (t->trace.rules) t->trace.rules->drop(t);
    /* A lasting address stays; a buffer that was really mapped is the tensor's alone, and goes back unmapped. */
    if (t->mapped && !t->copy) esker__buffer_unmap(t->memory.buffer);
    esker__free(t->copy);
    esker__memory_give(&t->memory);
    esker__tensor_end(t);
}

static void let_go_deferred(esker__deferred *item)
{
    let_go((esker_tensor *)((char *)item - offsetof(esker_tensor, deferred)));
}

void esker_tensor_unref(esker_tensor *tensor)
{
    if (!tensor || esker__tensor_misused(tensor, "releasing a tensor") != ESKER_OK) return;
    int n = atomic_load_explicit(&tensor->n_references, memory_order_relaxed);
    do {
        if (n < 1) {
            esker__tensor_misused(tensor, "releasing a tensor");
            return;
        }
    } while (!atomic_compare_exchange_weak_explicit(&tensor->n_references, &n, n - 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (n != 1) return;
    esker_device *dev = tensor->device;
    if (esker__device_is_ours(dev)) {
        let_go(tensor);
        esker__device_drop(dev);
    } else {
        tensor->deferred.run = let_go_deferred;
        esker__device_defer(dev, &tensor->deferred);
    }
}

void esker_tensor_get_info(const esker_tensor *tensor, esker_tensor_info *out)
{
    *out = (esker_tensor_info){.label = ""};
    if (esker__tensor_misused(tensor, "asking about a tensor") != ESKER_OK) return;
    *out = (esker_tensor_info){.dtype = tensor->dtype,
                               .shape = tensor->shape,
                               .n_elems = tensor->n_elems,
                               .n_bytes = tensor->n_bytes,
                               .label = tensor->label ? tensor->label : "",
                               .device = tensor->device};
}

esker_status esker__tensor_need_unmapped(const esker_tensor *tensor, const char *what)
{
    char name[NAME_BYTES];
    esker_status st = esker__tensor_check(tensor, what);
    if (st != ESKER_OK || !tensor->mapped) return st;
    return esker__fail(ESKER_ERR_INVALID, "%s: %s is mapped; unmap it first", what, esker__tensor_name(tensor, name));
}

esker_status esker__tensor_settle(esker_tensor *tensor, bool waits)
{
    char name[NAME_BYTES];
    if (esker__tensor_has_memory(tensor)) return ESKER_OK;
    esker_status st = tensor->trace.rules ? tensor->trace.rules->settle(tensor, waits) : ESKER_OK;
    if (st != ESKER_OK || esker__tensor_has_memory(tensor)) return st;
    return esker__fail(ESKER_ERR_INVALID, "%s has no value: what it was to be computed by failed",
                       esker__tensor_name(tensor, name));
}

/* Before the CPU or another kernel reads the tensor, or writes to it if it is to `change`. */
static esker_status begin_access(esker_tensor *t, const char *what, bool change, bool waits)
{
    esker_status st = esker__tensor_need_unmapped(t, what);
    if (st == ESKER_OK) st = esker__tensor_settle(t, waits);
    if (st == ESKER_OK && change && t->trace.rules) st = t->trace.rules->before_change(t);
    return st;
}

/* The byte range of `n_elems` elements from `first` on, in *out_tensor, which is the tensor or what it is a view of. */
static esker_status find_range(esker_tensor *t, const char *what, bool change, int64_t first, int64_t n_elems,
                               esker_tensor **out_tensor, uint64_t *out_offset, uint64_t *out_bytes)
{
    char name[NAME_BYTES];
    esker_status st = esker__tensor_check(t, what);
    if (st != ESKER_OK) return st;
    int64_t left = first >= 0 && first <= t->n_elems ? t->n_elems - first : -1;
    int64_t n = n_elems == ESKER_TENSOR_REST ? left : n_elems;
    if (left < 0 || n < 0 || n > left)
        return esker__fail(ESKER_ERR_INVALID, "%s: %" PRId64 " elements from element %" PRId64 " on, %s has %" PRId64, what,
                           n_elems, first, esker__tensor_name(t, name), t->n_elems);
    uint64_t elem_bytes = esker_dtype_bytes(t->dtype);
    *out_tensor = t->trace.base ? t->trace.base : t;
    *out_offset = (uint64_t)(first + t->trace.base_first) * elem_bytes;
    *out_bytes = (uint64_t)n * elem_bytes;
    return begin_access(*out_tensor, what, change, !change);
}

static esker_status begin_public(const esker_tensor *tensor, const char *what)
{
    esker_status st = esker__tensor_check(tensor, what);
    if (st == ESKER_OK) esker__device_collect(tensor->device);
    return st;
}

esker_status esker_tensor_read(esker_tensor *tensor, int64_t first, int64_t n_elems, void *out)
{
    uint64_t offset = 0, n_bytes = 0;
    esker_status st = begin_public(tensor, "reading a tensor");
    if (st == ESKER_OK) st = find_range(tensor, "reading a tensor", false, first, n_elems, &tensor, &offset, &n_bytes);
    return st == ESKER_OK ? esker__memory_read(&tensor->memory, offset, out, n_bytes) : st;
}

esker_status esker_tensor_write(esker_tensor *tensor, int64_t first, int64_t n_elems, const void *data)
{
    uint64_t offset = 0, n_bytes = 0;
    esker_status st = begin_public(tensor, "writing a tensor");
    if (st == ESKER_OK) st = find_range(tensor, "writing a tensor", true, first, n_elems, &tensor, &offset, &n_bytes);
    return st == ESKER_OK ? esker__memory_write(&tensor->memory, offset, data, n_bytes) : st;
}

static esker_status need_own_memory(const esker_tensor *t, const char *what)
{
    char name[NAME_BYTES];
    if (!t->trace.base) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: %s is a view of another tensor", what, esker__tensor_name(t, name));
}

static esker_status check_copy(const esker_tensor *dst, const esker_tensor *src)
{
    char to[NAME_BYTES], from[NAME_BYTES];
    esker_status st = esker__tensor_need_unmapped(src, "copying a tensor");
    if (st == ESKER_OK) st = esker__tensor_need_unmapped(dst, "copying to a tensor");
    if (st == ESKER_OK) st = need_own_memory(src, "copying a tensor");
    if (st == ESKER_OK) st = need_own_memory(dst, "copying to a tensor");
    if (st != ESKER_OK) return st;
    esker__tensor_name(src, from);
    esker__tensor_name(dst, to);
    if (src->device != dst->device)
        return esker__fail(ESKER_ERR_INVALID, "copying %s to %s: they are on different devices", from, to);
    if (src->dtype != dst->dtype)
        return esker__fail(ESKER_ERR_INVALID, "copying %s to %s: the element types differ", from, to);
    if (src->n_elems != dst->n_elems)
        return esker__fail(ESKER_ERR_INVALID, "copying %s to %s: %" PRId64 " elements to %" PRId64, from, to, src->n_elems,
                           dst->n_elems);
    return ESKER_OK;
}

esker_status esker_tensor_copy(esker_tensor *dst, const esker_tensor *src)
{
    esker_status st = check_copy(dst, src);
    if (st == ESKER_OK) esker__device_collect(dst->device);
    if (st == ESKER_OK) st = esker__device_enter(dst->device);
    /* A pending value is the same before and after it is computed. */
    if (st == ESKER_OK) st = esker__tensor_settle((esker_tensor *)src, false);
    if (st == ESKER_OK && dst != src) st = begin_access(dst, "copying to a tensor", true, false);
    if (st != ESKER_OK || dst == src) return st;
    return esker__memory_copy(&dst->memory, &src->memory, src->n_bytes);
}

/* What calls computed lies where the CPU cannot reach it: it moves, for good. */
static esker_status make_mappable(esker_tensor *t)
{
    esker__memory shared;
    if (t->use == ESKER_MEMORY_SHARED) return ESKER_OK;
    esker_status st = esker__memory_take(t->device, ESKER_MEMORY_SHARED, t->n_bytes, false, &shared);
    if (st != ESKER_OK) return st;
    st = esker__memory_copy(&shared, &t->memory, t->n_bytes);
    if (st != ESKER_OK) {
        esker__memory_give(&shared);
        return st;
    }
    esker__memory_give(&t->memory);
    t->memory = shared;
    t->use = ESKER_MEMORY_SHARED;
    return ESKER_OK;
}

/* A map for reading of memory that the CPU cannot reach, or reaches so slowly that it is better read once, in order. */
static esker_status map_copy(esker_tensor *t, uint64_t offset, uint64_t n_bytes, void **out_address)
{
    void *copy = esker__malloc((size_t)n_bytes);
    if (!copy) return esker__fail_memory((size_t)n_bytes, "a copy of a mapped tensor");
    esker_status st = esker__memory_read(&t->memory, offset, copy, n_bytes);
    if (st != ESKER_OK) {
        esker__free(copy);
        return st;
    }
    t->copy = *out_address = copy;
    return ESKER_OK;
}

static esker_status map_memory(esker_tensor *t, esker_map_intent intent, uint64_t offset, uint64_t n_bytes,
                               void **out_address)
{
    static const esker__map_access access[] = {
        [ESKER_MAP_READ] = ESKER__MAP_READ, [ESKER_MAP_WRITE] = ESKER__MAP_WRITE, [ESKER_MAP_DISCARD] = ESKER__MAP_DISCARD};
    esker_status st = make_mappable(t);
    /* The address may be a lasting one, which waits for nothing. */
    if (st == ESKER_OK) st = esker__queue_drain(t->device);
    return st == ESKER_OK
               ? esker__buffer_map_as(t->memory.buffer, access[intent], t->memory.offset + offset, n_bytes, out_address)
               : st;
}

esker_status esker_tensor_map_range(esker_tensor *tensor, esker_map_intent intent, int64_t first, int64_t n_elems,
                                    void **out_address)
{
    char name[NAME_BYTES];
    esker_tensor *whole = NULL;
    uint64_t offset = 0, n_bytes = 0;
    bool as_copy = false;
    *out_address = NULL;
    esker_status st = begin_public(tensor, "mapping a tensor");
    if (st != ESKER_OK) return st;
    if ((int)intent < ESKER_MAP_READ || intent > ESKER_MAP_DISCARD)
        return esker__fail(ESKER_ERR_INVALID, "mapping %s: unknown intent %d", esker__tensor_name(tensor, name),
                           (int)intent);
    st = need_own_memory(tensor, "mapping a tensor");
    /* What was recorded with it runs now, also if it will only be read: meanwhile it is out of the GPU's reach. */
    if (st == ESKER_OK) st = find_range(tensor, "mapping a tensor", true, first, n_elems, &whole, &offset, &n_bytes);
    if (st != ESKER_OK) return st;
    if (n_bytes == 0) return esker__fail(ESKER_ERR_INVALID, "mapping %s: no elements", esker__tensor_name(tensor, name));
    if (intent == ESKER_MAP_READ) {
        as_copy = tensor->use != ESKER_MEMORY_SHARED;
        if (!as_copy && n_bytes >= SLOW_MAP_BYTES) st = esker__memory_is_slow_to_read(tensor->device, &as_copy);
    }
    if (st == ESKER_OK)
        st = as_copy ? map_copy(tensor, offset, n_bytes, out_address)
                     : map_memory(tensor, intent, offset, n_bytes, out_address);
    if (st != ESKER_OK) return st;
    tensor->mapped = true;
    tensor->intent = intent;
    tensor->mapped_bytes = n_bytes;
    return ESKER_OK;
}

esker_status esker_tensor_map(esker_tensor *tensor, esker_map_intent intent, void **out_address)
{
    return esker_tensor_map_range(tensor, intent, 0, ESKER_TENSOR_REST, out_address);
}

esker_status esker_tensor_unmap(esker_tensor *tensor)
{
    char name[NAME_BYTES];
    esker_status st = esker__tensor_check(tensor, "unmapping a tensor");
    if (st != ESKER_OK) return st;
    if (!tensor->mapped)
        return esker__fail(ESKER_ERR_INVALID, "unmapping a tensor: %s is not mapped", esker__tensor_name(tensor, name));
    if (tensor->copy) {
        esker__free(tensor->copy); /* its bytes were counted when it was made */
        tensor->copy = NULL;
        tensor->mapped = false;
        return ESKER_OK;
    }
    st = esker__buffer_unmap(tensor->memory.buffer);
    /* In another thread, or on a lost device, a buffer that was really mapped still is. */
    if (st == ESKER_ERR_INVALID || st == ESKER_ERR_LOST) return st;
    tensor->mapped = false;
    uint64_t read = tensor->intent == ESKER_MAP_READ ? tensor->mapped_bytes : 0;
    esker__count_transfer(tensor->device, tensor->mapped_bytes - read, read);
    return st;
}

esker_status esker_tensor_from_host(esker_device *dev, const esker_tensor_desc *desc, esker_tensor_release_fn release,
                                    void *user, esker_tensor **out)
{
    *out = NULL;
    if (!desc->data) return esker__fail(ESKER_ERR_INVALID, "a tensor from the host: no data");
    esker_status st = esker_tensor_create(dev, desc, out);
    if (st == ESKER_OK && release) release((void *)desc->data, user);
    return st;
}
