#include "support/test.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <esker/memory.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/philox.h"

static esker_device *device;
static int n_without_device;

uint64_t test_seed(void)
{
    const char *text = getenv("ESKER_TEST_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

esker_device *test_device(void)
{
    if (device) return device;
    esker_status st = esker_device_open(NULL, &device);
    if (st == ESKER_ERR_NO_DEVICE) {
        n_without_device++;
        print_message("no device: %s\n", esker_last_error());
        skip();
    }
    test_assert_ok(st, "esker_device_open", __FILE__, __LINE__);
    return device;
}

void test_without_cache(void)
{
    setenv("ESKER_CACHE_DIR", "", 1);
}

int test_without_variant(void **state)
{
    (void)state;
    unsetenv("ESKER_VARIANT");
    return 0;
}

uint64_t test_memory_in_use(void)
{
    esker_memory_stats stats;
    if (!device) return 0;
    test_assert_ok(esker_memory_get_stats(device, ESKER_MEMORY_ALL, &stats), "esker_memory_get_stats", __FILE__, __LINE__);
    return stats.in_use_bytes;
}

int test_finish(int n_failed)
{
    esker_device_unref(device);
    device = NULL;
    if (n_failed) return 1;
    return n_without_device ? 77 : 0;
}

void test_uniform(float *out, int64_t n, float lo, float hi, uint64_t stream)
{
    esker__random random;
    esker__random_init(&random, test_seed(), stream);
    for (int64_t i = 0; i < n; i++) out[i] = esker__random_range(&random, lo, hi);
}

void test_assert_ok(esker_status st, const char *call, const char *file, int line)
{
    if (st == ESKER_OK) return;
    print_error("%s: %s: %s\n", call, esker_status_name(st), esker_last_error());
    _fail(file, line);
}

void test_assert_fails(esker_status st, esker_status want, const char *part, const char *call, const char *file, int line)
{
    if (st == want && (!part || strstr(esker_last_error(), part))) return;
    print_error("%s: got %s \"%s\", wanted %s with \"%s\"\n", call, esker_status_name(st), esker_last_error(),
                esker_status_name(want), part ? part : "");
    _fail(file, line);
}

void test_assert_close(const float *got, const double *want, const double *bound, double fixed, int64_t n, const char *file,
                       int line)
{
    int64_t worst = -1, n_bad = 0;
    double worst_ratio = 0;
    for (int64_t i = 0; i < n; i++) {
        double limit = bound ? bound[i] : fixed;
        double error = fabs((double)got[i] - want[i]);
        if (error <= limit) continue;
        n_bad++;
        double ratio = error / (limit > 0 ? limit : 1e-300);
        if (worst < 0 || !(ratio <= worst_ratio)) {
            worst = i;
            worst_ratio = ratio;
        }
    }
    if (worst < 0) return;
    print_error("%lld of %lld differ; worst is element %lld: got %.9g, want %.9g, allowed %.3g (ESKER_TEST_SEED=%llu)\n",
                (long long)n_bad, (long long)n, (long long)worst, (double)got[worst], want[worst],
                bound ? bound[worst] : fixed, (unsigned long long)test_seed());
    _fail(file, line);
}

static void empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        char name[1024];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) != 0) {
            empty_folder(name);
            rmdir(name);
        }
    }
    closedir(dir);
}

const char *test_folder(const char *name)
{
    static char path[1024];
    mkdir(ESKER_BINARY_DIR "/test-files", 0777);
    snprintf(path, sizeof path, ESKER_BINARY_DIR "/test-files/%s-%ld", name, (long)getpid());
    empty_folder(path);
    mkdir(path, 0777);
    return path;
}

int test_count_kernels(const esker_plan *plan, const char *begin)
{
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    int n = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += !strncmp(d.kernel, begin, strlen(begin));
    }
    return n;
}

void test_break_kernel(const char *folder, const char *kernel, const char *find, const char *put)
{
    char path[1200];
    unsigned char *text;
    size_t n_bytes;
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/glsl/%s.comp", kernel);
    assert_ok(esker__file_read(path, 1 << 20, &text, &n_bytes));
    char *at = strstr((char *)text, find);
    if (!at) fail_msg("glsl/%s.comp has no \"%s\" any more: choose something else to break", kernel, find);
    snprintf(path, sizeof path, "%s/%.*s", folder, (int)(strchr(kernel, '/') - kernel), kernel);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s.comp", folder, kernel);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%.*s%s%s", (int)(at - (char *)text), (char *)text, put, at + strlen(find));
    assert_int_equal(fclose(file), 0);
    esker__free(text);
}
