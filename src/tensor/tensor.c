#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "gpu/queue.h"

/* "tensor weights uint8 [3, 4]": for messages. */
#define NAME_BYTES 320
static const char *name_of(const esker_tensor *t, char buffer[NAME_BYTES])
{
    char shape[ESKER_SHAPE_TEXT_BYTES];
    snprintf(buffer, NAME_BYTES, "tensor %s%s%s %s", t->label, t->label[0] ? " " : "", esker_dtype_name(t->dtype),
             esker_shape_text(&t->shape, shape));
    return buffer;
}

/* Dtype, shape and their byte count, against what the device takes. */
static esker_status set_type(esker_tensor *t, const esker_tensor_desc *desc)
{
    char name[NAME_BYTES];
    uint64_t elem_bytes = esker_dtype_bytes(desc->dtype);
    uint64_t max_bytes = esker__device_limits(t->device)->storage_block_bytes / 16 * 16; /* buffers are rounded up to 16 */
    if (!elem_bytes)
        return esker__fail(ESKER_ERR_INVALID, "tensor %s: unknown element type %d", t->label, (int)desc->dtype);
    esker_status st = esker_shape_elems(&desc->shape, &t->n_elems);
    if (st != ESKER_OK) {
        esker__fail_prefix("tensor %s", t->label);
        return st;
    }
    t->dtype = desc->dtype;
    t->shape.rank = desc->shape.rank;
    for (int i = 0; i < desc->shape.rank; i++) t->shape.dims[i] = desc->shape.dims[i];
    if ((uint64_t)t->n_elems > max_bytes / elem_bytes)
        return esker__fail(ESKER_ERR_LIMIT,
                           "%s: %" PRId64 " elements of %" PRIu64 " bytes, one storage block of this device holds %" PRIu64
                           " bytes",
                           name_of(t, name), t->n_elems, elem_bytes, max_bytes);
    t->n_bytes = (uint64_t)t->n_elems * elem_bytes;
    return ESKER_OK;
}

esker_status esker_tensor_create(esker_device *dev, const esker_tensor_desc *desc, esker_tensor **out)
{
    return esker__tensor_create_on(dev, desc, ESKER_MEMORY_SHARED, true, out);
}

static char no_label[] = "";

/* Everything but its memory. */
static esker_status create(esker_device *dev, const esker_tensor_desc *desc, esker_memory_use use, esker_tensor **out)
{
    *out = NULL;
    esker_tensor *t = esker__calloc(1, sizeof *t);
    if (!t) return esker__fail_memory(sizeof *t, "tensor");
    atomic_init(&t->n_references, 1);
    t->device = esker__device_hold(dev);
    t->use = use;
    t->label = desc->label && desc->label[0] ? esker__strdup(desc->label) : no_label;
    esker_status st = t->label ? set_type(t, desc) : esker__fail_memory(sizeof *t, "tensor");
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
    esker__fail_prefix("%s", name_of(t, name));
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
    if (st != ESKER_OK) esker__fail_prefix("%s", name_of(tensor, name));
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

esker_tensor *esker_tensor_ref(esker_tensor *tensor)
{
    if (tensor) atomic_fetch_add_explicit(&tensor->n_references, 1, memory_order_relaxed);
    return tensor;
}

void esker_tensor_unref(esker_tensor *tensor)
{
    if (!tensor || atomic_fetch_sub_explicit(&tensor->n_references, 1, memory_order_acq_rel) != 1) return;
    if (tensor->trace.rules) tensor->trace.rules->drop(tensor);
    /* A lasting address stays; a buffer that was really mapped is the tensor's alone, and goes back unmapped. */
    if (tensor->mapped) esker__buffer_unmap(tensor->memory.buffer);
    esker__memory_give(&tensor->memory);
    esker__device_drop(tensor->device);
    if (tensor->label != no_label) esker__free(tensor->label);
    esker__free(tensor);
}

void esker_tensor_get_info(const esker_tensor *tensor, esker_tensor_info *out)
{
    *out = (esker_tensor_info){.dtype = tensor->dtype,
                               .shape = tensor->shape,
                               .n_elems = tensor->n_elems,
                               .n_bytes = tensor->n_bytes,
                               .label = tensor->label,
                               .device = tensor->device};
}

esker_status esker__tensor_need_unmapped(const esker_tensor *tensor, const char *what)
{
    char name[NAME_BYTES];
    if (!tensor->mapped) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: %s is mapped; unmap it first", what, name_of(tensor, name));
}

esker_status esker__tensor_settle(esker_tensor *tensor)
{
    char name[NAME_BYTES];
    if (esker__tensor_has_memory(tensor)) return ESKER_OK;
    esker_status st = tensor->trace.rules ? tensor->trace.rules->settle(tensor) : ESKER_OK;
    if (st != ESKER_OK || esker__tensor_has_memory(tensor)) return st;
    return esker__fail(ESKER_ERR_INVALID, "%s has no value: what it was to be computed by failed", name_of(tensor, name));
}

/* Before the CPU or another kernel reads the tensor, or writes to it if it is to `change`. */
static esker_status begin_access(esker_tensor *t, const char *what, bool change)
{
    esker_status st = esker__tensor_need_unmapped(t, what);
    if (st == ESKER_OK) st = esker__tensor_settle(t);
    if (st == ESKER_OK && change && t->trace.rules) st = t->trace.rules->before_change(t);
    return st;
}

/* The byte range of `n_elems` elements from `first` on, in *out_tensor, which is the tensor or what it is a view of. */
static esker_status find_range(esker_tensor *t, const char *what, bool change, int64_t first, int64_t n_elems,
                               esker_tensor **out_tensor, uint64_t *out_offset, uint64_t *out_bytes)
{
    char name[NAME_BYTES];
    int64_t left = first >= 0 && first <= t->n_elems ? t->n_elems - first : -1;
    int64_t n = n_elems == ESKER_TENSOR_REST ? left : n_elems;
    if (left < 0 || n < 0 || n > left)
        return esker__fail(ESKER_ERR_INVALID, "%s: %" PRId64 " elements from element %" PRId64 " on, %s has %" PRId64, what,
                           n_elems, first, name_of(t, name), t->n_elems);
    uint64_t elem_bytes = esker_dtype_bytes(t->dtype);
    *out_tensor = t->trace.base ? t->trace.base : t;
    *out_offset = (uint64_t)(first + t->trace.base_first) * elem_bytes;
    *out_bytes = (uint64_t)n * elem_bytes;
    return begin_access(*out_tensor, what, change);
}

esker_status esker_tensor_read(esker_tensor *tensor, int64_t first, int64_t n_elems, void *out)
{
    uint64_t offset = 0, n_bytes = 0;
    esker_status st = find_range(tensor, "reading a tensor", false, first, n_elems, &tensor, &offset, &n_bytes);
    return st == ESKER_OK ? esker__memory_read(&tensor->memory, offset, out, n_bytes) : st;
}

esker_status esker_tensor_write(esker_tensor *tensor, int64_t first, int64_t n_elems, const void *data)
{
    uint64_t offset = 0, n_bytes = 0;
    esker_status st = find_range(tensor, "writing a tensor", true, first, n_elems, &tensor, &offset, &n_bytes);
    return st == ESKER_OK ? esker__memory_write(&tensor->memory, offset, data, n_bytes) : st;
}

static esker_status need_own_memory(const esker_tensor *t, const char *what)
{
    char name[NAME_BYTES];
    if (!t->trace.base) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: %s is a view of another tensor", what, name_of(t, name));
}

static esker_status check_copy(const esker_tensor *dst, const esker_tensor *src)
{
    char to[NAME_BYTES], from[NAME_BYTES];
    esker_status st = esker__tensor_need_unmapped(src, "copying a tensor");
    if (st == ESKER_OK) st = esker__tensor_need_unmapped(dst, "copying to a tensor");
    if (st == ESKER_OK) st = need_own_memory(src, "copying a tensor");
    if (st == ESKER_OK) st = need_own_memory(dst, "copying to a tensor");
    if (st != ESKER_OK) return st;
    name_of(src, from);
    name_of(dst, to);
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
    if (st == ESKER_OK) st = esker__device_enter(dst->device);
    /* A pending value is the same before and after it is computed. */
    if (st == ESKER_OK) st = esker__tensor_settle((esker_tensor *)src);
    if (st == ESKER_OK && dst != src) st = begin_access(dst, "copying to a tensor", true);
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

esker_status esker_tensor_map(esker_tensor *tensor, esker_map_intent intent, void **out_address)
{
    static const esker__map_access access[] = {
        [ESKER_MAP_READ] = ESKER__MAP_READ, [ESKER_MAP_WRITE] = ESKER__MAP_WRITE, [ESKER_MAP_DISCARD] = ESKER__MAP_DISCARD};
    char name[NAME_BYTES];
    *out_address = NULL;
    if ((int)intent < 0 || (size_t)intent >= sizeof access / sizeof access[0])
        return esker__fail(ESKER_ERR_INVALID, "mapping %s: unknown intent %d", name_of(tensor, name), (int)intent);
    esker_status st = need_own_memory(tensor, "mapping a tensor");
    /* What was recorded with it runs now, also if it will only be read: meanwhile it is out of the GPU's reach. */
    if (st == ESKER_OK) st = begin_access(tensor, "mapping a tensor", true);
    if (st == ESKER_OK) st = make_mappable(tensor);
    /* The address may be a lasting one, which waits for nothing. */
    if (st == ESKER_OK) st = esker__queue_drain(tensor->device);
    if (st == ESKER_OK) st = esker__buffer_map_as(tensor->memory.buffer, access[intent], out_address);
    if (st != ESKER_OK) return st;
    *out_address = (unsigned char *)*out_address + tensor->memory.offset;
    tensor->mapped = true;
    tensor->intent = intent;
    return ESKER_OK;
}

esker_status esker_tensor_unmap(esker_tensor *tensor)
{
    char name[NAME_BYTES];
    if (!tensor->mapped)
        return esker__fail(ESKER_ERR_INVALID, "unmapping a tensor: %s is not mapped", name_of(tensor, name));
    esker_status st = esker__buffer_unmap(tensor->memory.buffer);
    /* In another thread, or on a lost device, a buffer that was really mapped still is. */
    if (st == ESKER_ERR_INVALID || st == ESKER_ERR_LOST) return st;
    tensor->mapped = false;
    uint64_t read = tensor->intent == ESKER_MAP_READ ? tensor->n_bytes : 0;
    esker__count_transfer(tensor->device, tensor->n_bytes - read, read);
    return st;
}
