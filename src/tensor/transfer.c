#include "tensor/transfer.h"

#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define ALIGN      ((uint64_t)256)
#define COPY_GROUP 64 /* units of 4 or 16 bytes; WG of the copy kernel */
#define SLOTS      4  /* parts of the upload ring, of ESKER__STAGE_BYTES each */
#define READ_SLOTS 2  /* one is copied by the CPU while the GPU fills the other */
#define READ_BYTES ESKER__STAGE_BYTES

typedef struct uniforms {
    uint32_t group_base[3], n, groups_x, x_first, y_first, pad;
} uniforms;

struct esker__transfer {
    esker_device *dev;
    /* Uploads: a part is filled from the front; when the next piece does not fit, a fence goes behind it and the next part,
     * when its own fence has passed, is begun. */
    esker__buffer *upload[SLOTS];
    esker__fence upload_fences[SLOTS];
    int part;
    uint64_t used_bytes;
    esker__buffer *read[READ_SLOTS];
};

esker_status esker__transfer_create(esker_device *dev, esker__transfer **out)
{
    *out = esker__calloc(1, sizeof **out);
    if (!*out) return esker__fail_memory(sizeof **out, "transfers of a device");
    (*out)->dev = dev;
    return ESKER_OK;
}

void esker__transfer_destroy(esker__transfer *transfer)
{
    if (!transfer) return;
    for (int i = 0; i < SLOTS; i++) {
        esker__fence_drop(transfer->dev, &transfer->upload_fences[i]);
        esker__buffer_destroy(transfer->upload[i]);
    }
    for (int i = 0; i < READ_SLOTS; i++) esker__buffer_destroy(transfer->read[i]);
    esker__free(transfer);
}

static esker_status need_buffer(esker__transfer *t, esker__buffer **buffer, uint64_t n_bytes, esker__buffer_use use)
{
    return *buffer ? ESKER_OK : esker__buffer_create(t->dev, n_bytes, use, buffer);
}

/* ---- The upload ring ---- */

/* Room for `n_bytes` in one part: *out_buffer from *out_offset on. */
static esker_status reserve(esker__transfer *t, uint64_t n_bytes, esker__buffer **out_buffer, uint64_t *out_offset)
{
    esker_status st = ESKER_OK;
    n_bytes = esker__round_up(n_bytes, ALIGN);
    if (n_bytes > ESKER__STAGE_BYTES)
        return esker__fail(ESKER_ERR_LIMIT, "staging %" PRIu64 " bytes, there is room for %" PRIu64, n_bytes,
                           ESKER__STAGE_BYTES);
    if (t->used_bytes + n_bytes > ESKER__STAGE_BYTES) {
        /* Everything that reads the part was queued before. */
        int next = (t->part + 1) % SLOTS;
        st = esker__fence_put(t->dev, &t->upload_fences[t->part]);
        if (st == ESKER_OK) st = esker__fence_wait(t->dev, &t->upload_fences[next], true);
        if (st != ESKER_OK) {
            esker__fence_drop(t->dev, &t->upload_fences[t->part]);
            return st;
        }
        esker__fence_drop(t->dev, &t->upload_fences[next]);
        t->part = next;
        t->used_bytes = 0;
    }
    st = need_buffer(t, &t->upload[t->part], ESKER__STAGE_BYTES, ESKER__BUFFER_UPLOAD);
    if (st != ESKER_OK) return st;
    *out_buffer = t->upload[t->part];
    *out_offset = t->used_bytes;
    t->used_bytes += n_bytes;
    return ESKER_OK;
}

/* The CPU's address of a staging buffer, and whether it must be unmapped afterwards. */
static esker_status open_buffer(esker__buffer *buffer, unsigned char **out_address, bool *out_mapped)
{
    void *address = esker__buffer_address(buffer);
    esker_status st = ESKER_OK;
    *out_mapped = !address;
    if (!address) st = esker__buffer_map(buffer, &address);
    *out_address = address;
    return st;
}

/* Two pieces that one submission reads: both lie in one part, which has its fence behind that submission. */
static esker_status stage(esker__transfer *t, const void *first, uint64_t first_bytes, const void *second,
                          uint64_t second_bytes, esker__range out[2])
{
    esker__buffer *buffer;
    uint64_t offset, second_at = esker__round_up(first_bytes, ALIGN);
    unsigned char *address;
    bool mapped;
    esker_status st = reserve(t, second_at + second_bytes, &buffer, &offset);
    if (st == ESKER_OK) st = open_buffer(buffer, &address, &mapped);
    if (st != ESKER_OK) return st;
    memcpy(address + offset, first, (size_t)first_bytes);
    if (second_bytes) memcpy(address + offset + second_at, second, (size_t)second_bytes);
    out[0] = (esker__range){buffer, offset, first_bytes};
    out[1] = (esker__range){buffer, offset + second_at, second_bytes};
    return mapped ? esker__buffer_unmap(buffer) : ESKER_OK;
}

esker_status esker__transfer_stage(esker__transfer *transfer, const void *data, uint64_t n_bytes, esker__range *out)
{
    esker__range ranges[2];
    esker_status st = stage(transfer, data, n_bytes, NULL, 0, ranges);
    *out = st == ESKER_OK ? ranges[0] : (esker__range){0};
    return st;
}

/* ---- Copies ---- */

/* The range as a binding, which begins at a multiple of 256; *out_first: its first unit therein. */
static esker__range window(const esker__range *range, uint64_t unit_bytes, uint32_t *out_first)
{
    uint64_t before = range->offset % ALIGN;
    *out_first = (uint32_t)(before / unit_bytes);
    return (esker__range){range->buffer, range->offset - before, range->n_bytes + before};
}

/* The bytes of one dispatch at most, a multiple of 16; with the part before the first unit they fit a binding. */
static uint64_t most_bytes(const esker_device *dev)
{
    const esker_limits *limits = esker__device_limits(dev);
    uint64_t groups = (uint64_t)limits->groups[0] * limits->groups[1];
    uint64_t bytes = (limits->storage_block_bytes - ALIGN) / 16 * 16;
    return groups * COPY_GROUP * 4 < bytes ? groups * COPY_GROUP * 4 : bytes;
}

/* The kernel and its uniform block for a copy of n_bytes between these. */
static esker_status plan_copy(esker__transfer *t, const esker__range *from, const esker__range *to, esker__launch *out,
                              uniforms *out_block)
{
    uint32_t x_first, y_first;
    uint64_t unit_bytes = (from->offset | to->offset | from->n_bytes) % 16 ? 4 : 16;
    uint64_t n_units = from->n_bytes / unit_bytes, n_groups = esker__ceil_div(n_units, COPY_GROUP);
    const uint32_t *most = esker__device_limits(t->dev)->groups;
    uint32_t groups_x = n_groups < most[0] ? (uint32_t)n_groups : most[0];
    *out = (esker__launch){.groups = {groups_x, (uint32_t)esker__ceil_div(n_groups, groups_x), 1},
                           .n_storage = 2,
                           .storage = {window(from, unit_bytes, &x_first), window(to, unit_bytes, &y_first)},
                           .n_uniform = 1,
                           .barrier = true};
    *out_block = (uniforms){.n = (uint32_t)n_units, .groups_x = groups_x, .x_first = x_first, .y_first = y_first};
    return esker__kernel_get(t->dev, "runtime/copy", unit_bytes == 16 ? "VEC4 1\n" : "", &out->kernel);
}

static esker_status copy_once(esker__transfer *t, const esker__range *from, const esker__range *to)
{
    esker__launch launch;
    uniforms block;
    esker_status st = plan_copy(t, from, to, &launch, &block);
    if (st == ESKER_OK) st = esker__transfer_stage(t, &block, sizeof block, &launch.uniform[0]);
    return st == ESKER_OK ? esker__submit(t->dev, &launch, 1) : st;
}

static esker__range part(const esker__range *range, uint64_t at, uint64_t n_bytes)
{
    return (esker__range){range->buffer, range->offset + at, n_bytes};
}

esker_status esker__transfer_copy(esker__transfer *transfer, const esker__range *from, const esker__range *to)
{
    esker_status st = esker__device_enter(transfer->dev);
    uint64_t most = most_bytes(transfer->dev);
    for (uint64_t at = 0; st == ESKER_OK && at < from->n_bytes; at += most) {
        uint64_t n = from->n_bytes - at < most ? from->n_bytes - at : most;
        esker__range x = part(from, at, n), y = part(to, at, n);
        st = copy_once(transfer, &x, &y);
    }
    return st;
}

esker_status esker__transfer_upload(esker__transfer *transfer, const esker__range *to, const void *data)
{
    esker_status st = esker__device_enter(transfer->dev);
    uint64_t most = most_bytes(transfer->dev);
    if (most > ESKER__STAGE_BYTES - ALIGN) most = ESKER__STAGE_BYTES - ALIGN; /* the uniform block takes the rest */
    for (uint64_t at = 0; st == ESKER_OK && at < to->n_bytes; at += most) {
        uint64_t n = to->n_bytes - at < most ? to->n_bytes - at : most;
        esker__launch launch;
        esker__range staged[2], y = part(to, at, n), x = {NULL, 0, n};
        uniforms block;
        st = plan_copy(transfer, &x, &y, &launch, &block);
        if (st == ESKER_OK) st = stage(transfer, &block, sizeof block, (const unsigned char *)data + at, n, staged);
        if (st != ESKER_OK) return st;
        launch.uniform[0] = staged[0];
        launch.storage[0] = staged[1];
        st = esker__submit(transfer->dev, &launch, 1);
    }
    if (st == ESKER_OK) esker__count_transfer(transfer->dev, to->n_bytes, 0);
    return st;
}

/* Part `i` of a download, `most` bytes of `words` each: into its slot. */
static esker_status begin_read(esker__transfer *t, const esker__range *words, uint64_t i, uint64_t most,
                               esker__fence *fence)
{
    int slot = (int)(i % READ_SLOTS);
    uint64_t at = i * most, n = words->n_bytes - at < most ? words->n_bytes - at : most;
    esker_status st = need_buffer(t, &t->read[slot], READ_BYTES, ESKER__BUFFER_READBACK);
    esker__range from = part(words, at, n), to = {t->read[slot], 0, n};
    if (st == ESKER_OK) st = copy_once(t, &from, &to);
    return st == ESKER_OK ? esker__fence_put(t->dev, fence) : st;
}

/* The bytes skip .. skip + n - 1 of a slot. */
static esker_status end_read(esker__transfer *t, int slot, esker__fence *fence, void *out, uint64_t skip, uint64_t n)
{
    unsigned char *address;
    bool mapped;
    esker_status st = esker__fence_wait(t->dev, fence, false);
    esker__fence_drop(t->dev, fence);
    if (st == ESKER_OK) st = open_buffer(t->read[slot], &address, &mapped);
    if (st != ESKER_OK) return st;
    /* Once, in order: on most boards this memory is not cached. */
    memcpy(out, address + skip, (size_t)n);
    return mapped ? esker__buffer_unmap(t->read[slot]) : ESKER_OK;
}

esker_status esker__transfer_download(esker__transfer *t, const esker__range *from, void *out)
{
    esker_status st = esker__device_enter(t->dev);
    esker__fence fences[READ_SLOTS] = {{0}};
    uint64_t lead = from->offset % 16, left = from->n_bytes;
    esker__range words = {from->buffer, from->offset - lead, esker__round_up(lead + from->n_bytes, 16)};
    uint64_t most = most_bytes(t->dev) < READ_BYTES ? most_bytes(t->dev) : READ_BYTES;
    uint64_t n_parts = left ? esker__ceil_div(words.n_bytes, most) : 0;
    unsigned char *to = out;
    /* The CPU copies one part while the GPU fills the slot of the next. */
    for (uint64_t i = 0; st == ESKER_OK && i < n_parts + 1; i++) {
        if (i < n_parts) st = begin_read(t, &words, i, most, &fences[i % READ_SLOTS]);
        if (st != ESKER_OK || i == 0) continue;
        uint64_t skip = i == 1 ? lead : 0, n = left < most - skip ? left : most - skip;
        int slot = (int)((i - 1) % READ_SLOTS);
        st = end_read(t, slot, &fences[slot], to, skip, n);
        to += n;
        left -= n;
    }
    for (int i = 0; i < READ_SLOTS; i++) esker__fence_drop(t->dev, &fences[i]);
    if (st == ESKER_OK) esker__count_transfer(t->dev, 0, from->n_bytes);
    return st;
}
