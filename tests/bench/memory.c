/*
 * Device memory: what an allocation costs, and the bandwidth of each path between the CPU and the GPU.
 *
 *     build/release/tests/bench_memory [rounds]
 *
 * Each number is the best of several rounds, since other programs only ever take away. A path's time ends when the bytes are where
 * they are wanted: in the GPU's memory (the GPU has finished) or in the program's.
 */
#include "bench/bench.h"

#include <string.h>

#include <esker/esker.h>
#include "base/clock.h"
#include "tensor/tensor.h"

#define N_ALLOCATIONS 1000

static esker_device *dev;
static int n_rounds = 7;

static double seconds(uint64_t start)
{
    return (double)(esker__now_ns() - start) * 1e-9;
}

/* ---- Allocations ---- */

static void allocations(const char *what, uint64_t n_bytes, bool as_tensors)
{
    static esker__memory pieces[N_ALLOCATIONS];
    static esker_tensor *tensors[N_ALLOCATIONS];
    double take = 1, give = 1;
    for (int r = 0; r < n_rounds + 1; r++) { /* the first fills the cache */
        uint64_t start = esker__now_ns();
        for (int i = 0; i < N_ALLOCATIONS; i++) {
            if (as_tensors)
                must(esker__tensor_create_on(dev, &(esker_tensor_desc){.shape = {1, {(int64_t)n_bytes / 4}}},
                                             ESKER_MEMORY_TEMPORARIES, false, &tensors[i]));
            else
                must(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, n_bytes * (uint64_t)(1 + i % 7), false, &pieces[i]));
        }
        double t = seconds(start);
        start = esker__now_ns();
        for (int i = 0; i < N_ALLOCATIONS; i++) {
            int k = i * 271 % N_ALLOCATIONS; /* another order */
            if (as_tensors)
                esker_tensor_unref(tensors[k]);
            else
                esker__memory_give(&pieces[k]);
        }
        double g = seconds(start);
        if (r && t < take) take = t;
        if (r && g < give) give = g;
    }
    printf("%-40s %8.1f us to take, %8.1f us to give back\n", what, take * 1e6, give * 1e6);
}

/* ---- Bandwidth ---- */

typedef struct path {
    const char *name;
    esker_memory_use use;
    bool busy; /* the GPU has work queued that uses the same buffer */
    void (*run)(esker_tensor *t, unsigned char *host, uint64_t n_bytes);
} path;

static void write_tensor(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    (void)n_bytes;
    must(esker_tensor_write(t, 0, ESKER_TENSOR_REST, host));
    must(esker_device_finish(dev));
}

static void read_tensor(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    (void)n_bytes;
    must(esker_tensor_read(t, 0, ESKER_TENSOR_REST, host));
}

static void fill_map(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    void *address;
    must(esker_tensor_map(t, ESKER_MAP_DISCARD, &address));
    memcpy(address, host, n_bytes);
    must(esker_tensor_unmap(t));
    must(esker_device_finish(dev));
}

static void copy_map(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    void *address;
    must(esker_tensor_map(t, ESKER_MAP_READ, &address));
    memcpy(host, address, n_bytes);
    must(esker_tensor_unmap(t));
}

/* Straight through the mapped address, whatever it is like: what esker_tensor_map spares the caller where that is slow. */
static void read_mapped(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    const void *address = esker__memory_address(&t->memory);
    must(esker_device_finish(dev));
    if (address) memcpy(host, address, n_bytes);
}

/* Here and there, as a program that sorts or parses would: one byte in each cache line, lines in an order of no use. */
static void pick_mapped(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    const unsigned char *address = esker__memory_address(&t->memory);
    uint64_t n_lines = n_bytes / 64, line = 0;
    must(esker_device_finish(dev));
    for (uint64_t i = 0; address && i < n_lines; i++) {
        line = (line + 40503) % n_lines;
        host[i] = address[line * 64];
    }
}

static void driver_write(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    must(esker__buffer_write(t->memory.buffer, t->memory.offset, host, n_bytes));
    must(esker_device_finish(dev));
}

static void driver_read(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    must(esker__buffer_read(t->memory.buffer, t->memory.offset, host, n_bytes));
}

static esker_tensor *copied;
static void copy_tensor(esker_tensor *t, unsigned char *host, uint64_t n_bytes);

static void copy_after_map(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    static esker_tensor *mapped;
    if (mapped != t) driver_read(t, host, n_bytes);
    mapped = t;
    copy_tensor(t, host, n_bytes);
}

static void copy_tensor(esker_tensor *t, unsigned char *host, uint64_t n_bytes)
{
    (void)host;
    (void)n_bytes;
    must(esker_tensor_copy(copied, t));
    must(esker_device_finish(dev));
}

#define SHARED ESKER_MEMORY_SHARED
#define DEVICE ESKER_MEMORY_TEMPORARIES
static const path paths[] = {
    {"shared: write", SHARED, false, write_tensor},
    {"shared: write, GPU busy", SHARED, true, write_tensor},
    {"shared: map, discard, memcpy", SHARED, false, fill_map},
    {"shared: read", SHARED, false, read_tensor},
    {"shared: map to read, memcpy", SHARED, false, copy_map},
    {"shared: memcpy from the mapped address", SHARED, false, read_mapped},
    {"shared: a byte a line, any order", SHARED, false, pick_mapped},
    {"device: write", DEVICE, false, write_tensor},
    {"device: write, GPU busy (staging)", DEVICE, true, write_tensor},
    {"device: glBufferSubData, GPU busy", DEVICE, true, driver_write},
    {"device: read (staging)", DEVICE, false, read_tensor},
    {"device: map to read, memcpy", DEVICE, false, copy_map},
    {"device: glMapBufferRange to read", DEVICE, false, driver_read},
    {"device: copy to device", DEVICE, false, copy_tensor},
    {"device: the same, once mapped to be read", DEVICE, false, copy_after_map},
};

static double best_of(const path *p, uint64_t n_bytes, unsigned char *host)
{
    const esker_tensor_desc desc = {.shape = {1, {(int64_t)n_bytes / 4}}};
    esker_tensor *t, *other;
    double best = 1e9;
    /* New buffers: NVIDIA's driver leaves one that was mapped to be read in main memory, and all that uses it is slower from then on. */
    must(esker_memory_trim(dev, NULL));
    must(esker__tensor_create_on(dev, &desc, p->use, true, &t));
    must(esker__tensor_create_on(dev, &desc, p->use, true, &other));
    must(esker__tensor_create_on(dev, &desc, DEVICE, true, &copied));
    for (int r = 0; r < n_rounds + 1; r++) { /* the first makes what is made once */
        if (p->busy) must(esker_tensor_copy(t, other));
        uint64_t start = esker__now_ns();
        p->run(t, host, n_bytes);
        double s = seconds(start);
        if (r && s < best) best = s;
    }
    esker_tensor_unref(t);
    esker_tensor_unref(other);
    esker_tensor_unref(copied);
    return best;
}

int main(int argc, char **argv)
{
    static const uint64_t sizes[] = {4 << 10, 256 << 10, 16 << 20};
    char text[ESKER_MEMORY_TEXT_BYTES];
    esker_device_info info;
    bool slow;
    if (argc > 1) n_rounds = atoi(argv[1]);
    must(esker_device_open(NULL, &dev));
    esker_device_get_info(dev, &info);
    must(esker__memory_is_slow_to_read(dev, &slow));
    printf("%s, %s%s; mapped buffers: %s%s\n\n", info.display.renderer, info.display.version,
           info.limits_capped ? ", capped to ES 3.1" : "", info.buffer_storage ? "persistent" : "for each use",
           slow ? ", slow to read: maps for reading are copies" : "");

    printf("%d allocations from a warm cache\n", N_ALLOCATIONS);
    allocations("  pieces of 1 to 7 KiB", 1 << 10, false);
    allocations("  pieces of 64 to 448 KiB", 64 << 10, false);
    allocations("  tensors of 4 KiB", 4 << 10, true);

    unsigned char *host = malloc(sizes[2]);
    memset(host, 1, sizes[2]);
    printf("\n%-40s %12s %12s %12s\n", "GB/s, by size", "4 KiB", "256 KiB", "16 MiB");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        printf("%-40s", paths[i].name);
        for (int s = 0; s < 3; s++) {
            if ((paths[i].run == read_mapped || paths[i].run == pick_mapped) && !info.buffer_storage)
                printf(" %12s", "-");
            else
                printf(" %12.3f", (double)sizes[s] / best_of(&paths[i], sizes[s], host) * 1e-9);
        }
        printf("\n");
    }
    printf("\n%s", esker_memory_text(dev, text));
    free(host);
    esker_device_unref(dev);
    return 0;
}
