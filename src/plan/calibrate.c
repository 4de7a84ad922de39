/*
 * How fast a device computes and copies, for the estimate of a dispatch's time. Measured once for each driver, as the best of several times,
 * since what else the machine does makes them longer, and kept beside the program binaries. Real kernels reach a part of these peaks, so the
 * rates returned are an eighth of the one and a quarter of the other: slices come out shorter than they need be rather than longer.
 */
#include "plan/plan.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/hash.h"

#define WG             64
#define GROUPS         256
#define COPY_BYTES     (4u << 20)
#define LONG_ENOUGH_NS 3000000u
#define TIMES          4
#define MOST_COPIES    64
#define SHARE_OF_FLOPS 0.125
#define SHARE_OF_BYTES 0.25

typedef struct rates {
    uint64_t key;
    double flops, bytes;
} rates;

static pthread_mutex_t known_mutex = PTHREAD_MUTEX_INITIALIZER;
static rates known[8];
static int n_known;

static bool recall(uint64_t key, rates *out)
{
    bool found = false;
    pthread_mutex_lock(&known_mutex);
    for (int i = 0; i < 8 && !found; i++)
        if ((found = known[i].key == key && known[i].flops > 0)) *out = known[i];
    pthread_mutex_unlock(&known_mutex);
    return found;
}

static void remember(const rates *r)
{
    pthread_mutex_lock(&known_mutex);
    known[n_known++ % 8] = *r;
    pthread_mutex_unlock(&known_mutex);
}

static esker_status time_launches(esker_device *dev, const esker__launch *launch, int n, uint64_t *out_ns)
{
    esker__fence fence = {0};
    uint64_t start = esker__now_ns();
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < n; i++) st = esker__submit(dev, launch, 1);
    if (st == ESKER_OK) st = esker__fence_put(dev, &fence);
    if (st == ESKER_OK) st = esker__fence_wait(dev, &fence, false);
    esker__fence_drop(dev, &fence);
    *out_ns = esker__now_ns() - start;
    if (*out_ns < 1) *out_ns = 1;
    return st;
}

/* The best rate, of something that one launch does `amount` of: launches are doubled until they take long enough to be timed. */
static esker_status measure_rate(esker_device *dev, const esker__launch *launch, double amount, int most, double *out)
{
    uint64_t ns;
    *out = 0;
    esker_status st = time_launches(dev, launch, 1, &ns); /* the first compiles, on some drivers */
    for (int n = 1, i = 0; st == ESKER_OK && i < TIMES;) {
        st = time_launches(dev, launch, n, &ns);
        double rate = amount * n / ((double)ns * 1e-9);
        if (rate > *out) *out = rate;
        if (ns < LONG_ENOUGH_NS && n < most)
            n *= 2;
        else
            i++;
    }
    return st;
}

/*
 * The same where the launch itself is made longer; starts so small that no watchdog minds. A time that something else stretched ends nothing:
 * what is too short in its turn is doubled all the same.
 */
static esker_status measure_flops(esker_device *dev, const esker__launch *launch, esker__buffer *uniform, double *out)
{
    enum { MOST = 1 << 19 };
    struct {
        uint32_t base[3], rounds;
        float x;
        uint32_t pad[3];
    } block = {.rounds = 16, .x = 0.999f};
    uint64_t ns;
    *out = 0;
    esker_status st = esker__buffer_write(uniform, 0, &block, sizeof block);
    if (st == ESKER_OK) st = time_launches(dev, launch, 1, &ns);
    for (int i = 0; st == ESKER_OK && i < TIMES;) {
        st = time_launches(dev, launch, 1, &ns);
        double rate = 32.0 * block.rounds * GROUPS * WG / ((double)ns * 1e-9);
        if (rate > *out) *out = rate;
        if (ns < LONG_ENOUGH_NS && block.rounds < MOST) {
            block.rounds *= 2;
            if (st == ESKER_OK) st = esker__buffer_write(uniform, 0, &block, sizeof block);
        } else
            i++;
    }
    return st;
}

static esker_status measure(esker_device *dev, rates *out)
{
    esker__buffer *x = NULL, *y = NULL, *uniform = NULL;
    const esker__kernel *rate, *copy;
    esker_status st = esker__kernel_get(dev, "runtime/rate", "", &rate);
    if (st == ESKER_OK) st = esker__kernel_get(dev, "runtime/copy", "", &copy);
    if (st == ESKER_OK) st = esker__buffer_create(dev, COPY_BYTES, ESKER__BUFFER_DEVICE, &x);
    if (st == ESKER_OK) st = esker__buffer_create(dev, COPY_BYTES, ESKER__BUFFER_DEVICE, &y);
    if (st == ESKER_OK) st = esker__buffer_create(dev, 256, ESKER__BUFFER_DEVICE, &uniform);
    if (st != ESKER_OK) goto done;
    esker__launch launch = {.kernel = rate, .groups = {GROUPS, 1, 1}, .n_storage = 1, .n_uniform = 1, .barrier = true};
    launch.storage[0] = (esker__range){y, 0, COPY_BYTES};
    launch.uniform[0] = (esker__range){uniform, 0, 32};
    st = measure_flops(dev, &launch, uniform, &out->flops);
    if (st != ESKER_OK) goto done;
    uint32_t block[8] = {0, 0, 0, COPY_BYTES / 4, COPY_BYTES / 4 / WG};
    st = esker__buffer_write(uniform, 0, block, sizeof block);
    launch = (esker__launch){
        .kernel = copy, .groups = {COPY_BYTES / 4 / WG, 1, 1}, .n_storage = 2, .n_uniform = 1, .barrier = true};
    launch.storage[0] = (esker__range){x, 0, COPY_BYTES};
    launch.storage[1] = (esker__range){y, 0, COPY_BYTES};
    launch.uniform[0] = (esker__range){uniform, 0, 32};
    if (st == ESKER_OK) st = measure_rate(dev, &launch, 2.0 * COPY_BYTES, MOST_COPIES, &out->bytes);
done:
    esker__buffer_destroy(x);
    esker__buffer_destroy(y);
    esker__buffer_destroy(uniform);
    return st;
}

static bool load(const char *path, rates *out)
{
    unsigned char *data;
    size_t n_bytes;
    if (esker__file_read(path, 4096, &data, &n_bytes) != ESKER_OK) return false;
    bool good = sscanf((char *)data, "esker rates 3 %lg %lg", &out->flops, &out->bytes) == 2 && out->flops > 1e6 &&
                out->flops < 1e17 && out->bytes > 1e6 && out->bytes < 1e15;
    esker__free(data);
    return good;
}

/* A cache that cannot be written costs a few milliseconds next time, nothing else. */
static void save(const char *path, const rates *r)
{
    char text[128];
    int n = snprintf(text, sizeof text, "esker rates 3 %.4g %.4g\n", r->flops, r->bytes);
    if (esker__file_write(path, text, (size_t)n) != ESKER_OK)
        esker__log(ESKER_LOG_INFO, "calibration was not kept: %s", esker_last_error());
}

esker_status esker__calibrate(esker_device *dev, double *out_flops_per_second, double *out_bytes_per_second)
{
    esker_device_info info;
    char path[4096] = "";
    esker_device_get_info(dev, &info);
    rates r = {.key = esker__hash_text(esker__hash_text(ESKER__HASH_START, info.display.renderer), info.display.version)};
    esker_status st = ESKER_OK;
    if (info.cache_dir && info.cache_dir[0]) snprintf(path, sizeof path, "%s/rates-%016" PRIx64, info.cache_dir, r.key);
    if (!recall(r.key, &r)) {
        if (!path[0] || !load(path, &r)) {
            st = measure(dev, &r);
            if (st != ESKER_OK) return st;
            /* A driver with nothing behind it answers at once. */
            if (!(r.flops < 1e15)) r.flops = 1e15;
            if (!(r.bytes < 1e13)) r.bytes = 1e13;
            if (path[0]) save(path, &r);
        }
        remember(&r);
    }
    *out_flops_per_second = r.flops * SHARE_OF_FLOPS;
    *out_bytes_per_second = r.bytes * SHARE_OF_BYTES;
    return ESKER_OK;
}
