#include "tensor/staging.h"

#include <string.h>

esker_status esker__staging_init(esker__staging *staging, esker_device *dev, uint64_t n_bytes, esker_memory_use use)
{
    esker__staging made = {0};
    for (int s = 0; s < ESKER__STAGING_SLOTS; s++) {
        esker_status st = esker__memory_take(dev, use, n_bytes, true, &made.slots[s]);
        if (st != ESKER_OK) {
            esker__staging_finish(&made);
            return st;
        }
    }
    *staging = made;
    return ESKER_OK;
}

void esker__staging_finish(esker__staging *staging)
{
    for (int s = 0; s < ESKER__STAGING_SLOTS; s++) esker__memory_give(&staging->slots[s]);
}

void *esker__staging_address(const esker__staging *staging, int slot)
{
    return esker__memory_address(&staging->slots[slot]);
}

static esker_status begin(esker__buffer *buffer, bool *out_mapped, unsigned char **out_address)
{
    void *address = esker__buffer_address(buffer);
    esker_status st = ESKER_OK;
    *out_mapped = !address;
    if (!address) st = esker__buffer_map(buffer, &address);
    *out_address = address;
    return st;
}

esker_status esker__staging_write(esker__staging *staging, int slot, uint64_t offset, const void *data, size_t n_bytes)
{
    bool mapped;
    unsigned char *address;
    esker_status st = begin(staging->slots[slot].buffer, &mapped, &address);
    if (st != ESKER_OK) return st;
    memcpy(address + offset, data, n_bytes);
    return mapped ? esker__buffer_unmap(staging->slots[slot].buffer) : ESKER_OK;
}

esker_status esker__staging_read(esker__staging *staging, int slot, uint64_t offset, void *out, size_t n_bytes)
{
    bool mapped;
    unsigned char *address;
    esker_status st = begin(staging->slots[slot].buffer, &mapped, &address);
    if (st != ESKER_OK) return st;
    memcpy(out, address + offset, n_bytes);
    return mapped ? esker__buffer_unmap(staging->slots[slot].buffer) : ESKER_OK;
}
