#include "tensor/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "tensor/handles.h"

#define KIB                ((uint64_t)1 << 10)
#define MIB                ((uint64_t)1 << 20)
#define FIRST_BLOCK_BYTES  (1 * MIB)
#define SHARED_BLOCK_BYTES (64 * KIB)
#define MAX_BLOCK_BYTES    (16 * MIB)
/* Idle memory to keep, as a part of the machine's: boards have no other. */
#define KEEP_PART 8

static const struct use {
    const char *name;
    esker__buffer_use buffer_use;
    uint64_t first_block_bytes;
    bool whole;
} uses[ESKER_MEMORY_USES] = {
    [ESKER_MEMORY_PARAMETERS] = {"parameters", ESKER__BUFFER_DEVICE, FIRST_BLOCK_BYTES, false},
    [ESKER_MEMORY_TEMPORARIES] = {"temporaries", ESKER__BUFFER_DEVICE, FIRST_BLOCK_BYTES, false},
    [ESKER_MEMORY_SHARED] = {"shared", ESKER__BUFFER_SHARED, SHARED_BLOCK_BYTES, false},
    [ESKER_MEMORY_UPLOAD] = {"upload", ESKER__BUFFER_UPLOAD, 0, true},
    [ESKER_MEMORY_READBACK] = {"readback", ESKER__BUFFER_READBACK, 0, true},
};

typedef struct pools pools;

typedef struct pool {
    pools *all;
    const struct use *use;
    esker__heap *heap;
    uint64_t keep_bytes, failures;
} pool;

/* The part of a device that is ours. */
struct pools {
    esker_device *dev; /* whose part this is */
    pool list[ESKER_MEMORY_USES];
    uint64_t in_use_peak_bytes, held_peak_bytes;
    esker__transfer *transfer;
    bool software, measured, slow_to_read;
};

const char *esker_memory_use_name(esker_memory_use use)
{
    if (use == ESKER_MEMORY_ALL) return "all";
    return (int)use >= 0 && use < ESKER_MEMORY_USES ? uses[use].name : "unknown";
}

/* ---- Blocks are buffers ---- */

static esker_status make_block(void *user, uint64_t n_bytes, void **out_memory)
{
    pool *p = user;
    esker__buffer *buffer;
    esker_status st = esker__buffer_create(p->all->dev, n_bytes, p->use->buffer_use, &buffer);
    *out_memory = buffer;
    return st;
}

static void destroy_block(void *user, void *memory)
{
    (void)user;
    esker__buffer_destroy(memory);
}

static void finish(void *object)
{
    pools *all = object;
    esker__transfer_destroy(all->transfer);
    for (int use = 0; use < ESKER_MEMORY_USES; use++) esker__heap_destroy(all->list[use].heap);
    esker__free(all);
}

static void abandoned(void *object, const esker_device *dev, int n_left)
{
    (void)object;
    esker__tensors_report(dev, n_left);
}

static uint64_t usual_keep_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes / KEEP_PART : 64 * MIB;
}

/* They are made with the first request, each heap with its own. */
static esker_status get_pools(esker_device *dev, pools **out)
{
    *out = esker__device_part(dev, ESKER__PART_MEMORY);
    if (*out) return ESKER_OK;
    pools *all = esker__calloc(1, sizeof *all);
    if (!all) return esker__fail_memory(sizeof *all, "the pools of a device");
    esker_device_info info;
    esker_device_get_info(dev, &info);
    all->dev = dev;
    all->software = info.display.software;
    esker_status st = esker__transfer_create(dev, &all->transfer);
    for (int use = 0; st == ESKER_OK && use < ESKER_MEMORY_USES; use++) {
        pool *p = &all->list[use];
        p->all = all;
        p->use = &uses[use];
        p->keep_bytes = usual_keep_bytes();
        esker__heap_desc desc = {.first_block_bytes = p->use->first_block_bytes,
                                 .max_block_bytes = MAX_BLOCK_BYTES,
                                 .whole = p->use->whole || (use == ESKER_MEMORY_SHARED && !info.buffer_storage),
                                 .zeros = p->use->buffer_use != ESKER__BUFFER_DEVICE,
                                 .user = p,
                                 .make = make_block,
                                 .destroy = destroy_block};
        st = esker__heap_create(&desc, &p->heap);
        if (st == ESKER_OK) esker__heap_set_limits(p->heap, 0, p->keep_bytes);
    }
    if (st != ESKER_OK) {
        finish(all);
        return st;
    }
    esker__device_set_part(dev, ESKER__PART_MEMORY,
                           &(esker__part){.object = all, .finish = finish, .abandoned = abandoned});
    *out = all;
    return ESKER_OK;
}

/* ---- Taking and giving ---- */

static uint64_t trim(pools *all)
{
    uint64_t given_up = 0;
    for (int use = 0; use < ESKER_MEMORY_USES; use++) given_up += esker__heap_trim(all->list[use].heap, 0);
    return given_up;
}

static void note_peaks(pools *all)
{
    uint64_t in_use = 0, held = 0;
    for (int use = 0; use < ESKER_MEMORY_USES; use++) {
        esker__heap_stats s;
        esker__heap_get_stats(all->list[use].heap, &s);
        in_use += s.asked_bytes;
        held += s.held_bytes;
    }
    if (all->in_use_peak_bytes < in_use) all->in_use_peak_bytes = in_use;
    if (all->held_peak_bytes < held) all->held_peak_bytes = held;
}

static esker_status take(pools *all, esker_memory_use use, uint64_t n_bytes, esker__piece **out)
{
    esker__heap *heap = all->list[use].heap;
    esker_status st = esker__heap_take(heap, n_bytes, false, out);
    /* The driver has no room for a block of the usual size: once more with all that can be spared. */
    if (st == ESKER_ERR_NO_MEMORY) {
        trim(all);
        st = esker__heap_take(heap, n_bytes, true, out);
    }
    return st;
}

static esker_status describe_failure(const esker_device *dev, esker_memory_use use, uint64_t n_bytes)
{
    esker_memory_stats s, sum;
    esker_memory_get_stats(dev, use, &s);
    esker_memory_get_stats(dev, ESKER_MEMORY_ALL, &sum);
    esker__fail_prefix("no device memory for %" PRIu64 " bytes of %s (%" PRIu64 " in use, %" PRIu64
                       " cached; all uses %" PRIu64 " in use, %" PRIu64 " held)",
                       n_bytes, uses[use].name, s.in_use_bytes, s.cached_bytes, sum.in_use_bytes, sum.held_bytes);
    return ESKER_ERR_NO_MEMORY;
}

esker_status esker__memory_take(esker_device *dev, esker_memory_use use, uint64_t n_bytes, bool zeros, esker__memory *out)
{
    pools *all;
    esker__piece *piece;
    *out = (esker__memory){0};
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = get_pools(dev, &all);
    if (st != ESKER_OK) return st;
    if (n_bytes > INT64_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "%s of %" PRIu64 " bytes: no buffer has them", uses[use].name, n_bytes);
    n_bytes = n_bytes ? esker__round_up(n_bytes, 16) : 16;
    st = take(all, use, n_bytes, &piece);
    if (st != ESKER_OK) all->list[use].failures++;
    if (st == ESKER_ERR_NO_MEMORY || st == ESKER_ERR_LIMIT) return describe_failure(dev, use, n_bytes);
    if (st != ESKER_OK) return st;
    *out = (esker__memory){.buffer = piece->memory, .offset = piece->offset, .n_bytes = n_bytes, .piece = piece};
    /* What the CPU touches is made of zeros; what was given back is not. */
    if (zeros && !piece->clean) st = esker__memory_clear(out, 0, n_bytes);
    if (st != ESKER_OK) esker__memory_give(out);
    note_peaks(all);
    return st;
}

void esker__memory_give(esker__memory *memory)
{
    esker__heap_give(memory->piece);
    *memory = (esker__memory){0};
}

/* ---- The bytes ---- */

esker_status esker__memory_get_transfer(esker_device *dev, esker__transfer **out)
{
    pools *all;
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = get_pools(dev, &all);
    *out = st == ESKER_OK ? all->transfer : NULL;
    return st;
}

/*
 * Memory that the CPU has no business in: what carries bytes to and from it; else NULL. A software driver has no other memory
 * than the CPU's, and copies faster itself than its shaders do.
 */
static esker__transfer *transfer_of(const esker__memory *memory)
{
    const pool *p = esker__heap_user(memory->piece->heap);
    return p->use->buffer_use == ESKER__BUFFER_DEVICE && !p->all->software ? p->all->transfer : NULL;
}

static esker_device *device_of(const esker__memory *memory)
{
    const pool *p = esker__heap_user(memory->piece->heap);
    return p->all->dev;
}

static esker_status check(const esker__memory *memory, const char *what, uint64_t offset, uint64_t n_bytes)
{
    if (offset <= memory->n_bytes && n_bytes <= memory->n_bytes - offset) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: %" PRIu64 " bytes at %" PRIu64 " go past the end of %" PRIu64, what, n_bytes,
                       offset, memory->n_bytes);
}

esker_status esker__memory_write(const esker__memory *memory, uint64_t offset, const void *data, uint64_t n_bytes)
{
    esker_status st = check(memory, "writing device memory", offset, n_bytes);
    if (st != ESKER_OK || n_bytes == 0) return st;
    esker__transfer *transfer = transfer_of(memory);
    /* Of a GPU that is idle no driver waits for anything. */
    if (!transfer || offset % 4 || n_bytes % 4 || esker__device_is_idle(device_of(memory)))
        return esker__buffer_write(memory->buffer, memory->offset + offset, data, n_bytes);
    esker__range to = esker__memory_range(memory, offset, n_bytes);
    return esker__transfer_upload(transfer, &to, data);
}

esker_status esker__memory_read(const esker__memory *memory, uint64_t offset, void *out, uint64_t n_bytes)
{
    esker_status st = check(memory, "reading device memory", offset, n_bytes);
    if (st != ESKER_OK || n_bytes == 0) return st;
    esker__transfer *transfer = transfer_of(memory);
    if (!transfer) return esker__buffer_read(memory->buffer, memory->offset + offset, out, n_bytes);
    esker__range from = esker__memory_range(memory, offset, n_bytes);
    return esker__transfer_download(transfer, &from, out);
}

esker_status esker__memory_clear(const esker__memory *memory, uint64_t offset, uint64_t n_bytes)
{
    esker_status st = check(memory, "clearing device memory", offset, n_bytes);
    return st == ESKER_OK ? esker__buffer_clear(memory->buffer, memory->offset + offset, n_bytes) : st;
}

esker_status esker__memory_copy(const esker__memory *dst, const esker__memory *src, uint64_t n_bytes)
{
    n_bytes = esker__round_up(n_bytes, 16);
    esker_status st = check(src, "copying device memory", 0, n_bytes);
    if (st == ESKER_OK) st = check(dst, "copying to device memory", 0, n_bytes);
    if (st != ESKER_OK || n_bytes == 0) return st;
    const pool *p = esker__heap_user(src->piece->heap);
    esker__range from = esker__memory_range(src, 0, n_bytes), to = esker__memory_range(dst, 0, n_bytes);
    return esker__transfer_copy(p->all->transfer, &from, &to);
}

void *esker__memory_address(const esker__memory *memory)
{
    unsigned char *address = esker__buffer_address(memory->buffer);
    return address ? address + memory->offset : NULL;
}

/* ---- How fast the CPU reads it ---- */

#define PROBE_BYTES ((size_t)256 << 10)
/* Uncached memory is read at tens to hundreds of MB/s, cached memory at several GB/s. */
#define SLOW_BYTES_PER_SECOND 1.5e9
#define SLOWER_BY             3

static double seconds_to_copy(void *to, const void *from)
{
    double best = 1;
    for (int i = 0; i < 4; i++) {
        uint64_t start = esker__now_ns();
        memcpy(to, from, PROBE_BYTES);
        double seconds = (double)(esker__now_ns() - start) * 1e-9;
        if (seconds < best) best = seconds;
    }
    return best > 1e-9 ? best : 1e-9;
}

esker_status esker__memory_is_slow_to_read(esker_device *dev, bool *out)
{
    pools *all;
    *out = false;
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = get_pools(dev, &all);
    if (st != ESKER_OK) return st;
    if (!all->measured) {
        esker__memory mapped;
        st = esker__memory_take(dev, ESKER_MEMORY_SHARED, PROBE_BYTES, true, &mapped);
        if (st != ESKER_OK) return st;
        void *plain = esker__calloc(2, PROBE_BYTES), *address = esker__memory_address(&mapped);
        /* Where nothing is mapped for good, the driver decides for each map. */
        if (plain && address) {
            double slow = seconds_to_copy(plain, address);
            double fast = seconds_to_copy(plain, (unsigned char *)plain + PROBE_BYTES);
            all->slow_to_read = PROBE_BYTES / slow < SLOW_BYTES_PER_SECOND && slow > SLOWER_BY * fast;
            all->measured = true;
        }
        st = plain ? ESKER_OK : esker__fail_memory(2 * PROBE_BYTES, "measuring mapped memory");
        all->measured = st == ESKER_OK;
        esker__free(plain);
        esker__memory_give(&mapped);
    }
    *out = all->slow_to_read;
    return st;
}

/* ---- Statistics and limits ---- */

static void add(const pool *p, esker_memory_stats *out)
{
    esker__heap_stats s;
    esker__heap_get_stats(p->heap, &s);
    uint64_t largest = esker__heap_largest_free(p->heap);
    out->in_use_bytes += s.asked_bytes;
    out->in_use_peak_bytes += s.asked_peak_bytes;
    out->rounding_bytes += s.taken_bytes - s.asked_bytes;
    out->cached_bytes += s.held_bytes - s.taken_bytes;
    out->idle_bytes += s.idle_bytes;
    if (out->largest_free_bytes < largest) out->largest_free_bytes = largest;
    out->held_bytes += s.held_bytes;
    out->held_peak_bytes += s.held_peak_bytes;
    out->limit_bytes += esker__heap_limit(p->heap);
    out->n_blocks += s.n_blocks;
    out->n_allocations += s.n_pieces;
    out->hits += s.hits;
    out->misses += s.misses;
    out->evictions += s.evictions;
    out->failures += p->failures;
}

static esker_status check_use(esker_memory_use use)
{
    if ((int)use >= 0 && use <= ESKER_MEMORY_ALL) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "memory: unknown use %d, there are 0 to %d", (int)use, ESKER_MEMORY_ALL);
}

esker_status esker_memory_get_stats(const esker_device *dev, esker_memory_use use, esker_memory_stats *out)
{
    const pools *all = esker__device_part(dev, ESKER__PART_MEMORY);
    *out = (esker_memory_stats){0};
    esker_status st = check_use(use);
    if (st != ESKER_OK || !all) return st;
    for (int i = 0; i < ESKER_MEMORY_USES; i++)
        if (use == ESKER_MEMORY_ALL || i == (int)use) add(&all->list[i], out);
    if (use == ESKER_MEMORY_ALL) {
        out->in_use_peak_bytes = all->in_use_peak_bytes;
        out->held_peak_bytes = all->held_peak_bytes;
        for (int i = 0; i < ESKER_MEMORY_USES; i++)
            if (!esker__heap_limit(all->list[i].heap)) out->limit_bytes = 0; /* one without makes the sum boundless */
    }
    uint64_t busy = out->held_bytes - out->idle_bytes;
    if (busy) out->fragmentation = 1 - (double)out->in_use_bytes / (double)busy;
    return ESKER_OK;
}

const char *esker_memory_text(const esker_device *dev, char buffer[ESKER_MEMORY_TEXT_BYTES])
{
    size_t n = 0;
    int wrote = snprintf(buffer, ESKER_MEMORY_TEXT_BYTES, "%-12s %13s %13s %13s %13s %6s %8s %8s %6s\n", "bytes", "in use",
                         "peak", "cached", "held", "blocks", "hits", "misses", "frag.");
    for (int use = 0; use <= ESKER_MEMORY_ALL && wrote > 0; use++) {
        n += (size_t)wrote;
        if (n >= ESKER_MEMORY_TEXT_BYTES) break;
        esker_memory_stats s;
        esker_memory_get_stats(dev, (esker_memory_use)use, &s);
        wrote = snprintf(buffer + n, ESKER_MEMORY_TEXT_BYTES - n,
                         "%-12s %13" PRIu64 " %13" PRIu64 " %13" PRIu64 " %13" PRIu64 " %6" PRIu64 " %8" PRIu64 " %8" PRIu64
                         " %5.1f%%\n",
                         esker_memory_use_name((esker_memory_use)use), s.in_use_bytes, s.in_use_peak_bytes, s.cached_bytes,
                         s.held_bytes, s.n_blocks, s.hits, s.misses, 100 * s.fragmentation);
    }
    return buffer;
}

static esker_status set_limits(esker_device *dev, esker_memory_use use, const uint64_t *limit_bytes,
                               const uint64_t *keep_bytes)
{
    pools *all;
    esker_status st = check_use(use);
    if (st == ESKER_OK) st = esker__device_enter(dev);
    if (st == ESKER_OK) st = get_pools(dev, &all);
    for (int i = 0; st == ESKER_OK && i < ESKER_MEMORY_USES; i++) {
        if (use != ESKER_MEMORY_ALL && i != (int)use) continue;
        pool *p = &all->list[i];
        if (keep_bytes) p->keep_bytes = *keep_bytes;
        esker__heap_set_limits(p->heap, limit_bytes ? *limit_bytes : esker__heap_limit(p->heap), p->keep_bytes);
    }
    return st;
}

esker_status esker_memory_set_limit(esker_device *dev, esker_memory_use use, uint64_t n_bytes)
{
    return set_limits(dev, use, &n_bytes, NULL);
}

esker_status esker_memory_set_cache(esker_device *dev, esker_memory_use use, uint64_t n_bytes)
{
    return set_limits(dev, use, NULL, &n_bytes);
}

esker_status esker_memory_trim(esker_device *dev, uint64_t *out_bytes)
{
    pools *all = esker__device_part(dev, ESKER__PART_MEMORY);
    esker__device_collect(dev);
    if (out_bytes) *out_bytes = 0;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK || !all) return st;
    uint64_t given_up = trim(all);
    if (out_bytes) *out_bytes = given_up;
    return ESKER_OK;
}
