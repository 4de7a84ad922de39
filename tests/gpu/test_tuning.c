/* device test: what tuning found, on disk, and the families of GPUs. */
#include "support/test.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gpu/gpu.h"

static esker_device *open_with(const char *cache)
{
    esker_device *dev;
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = cache}, &dev));
    return dev;
}

/* The one tuning file of the folder. */
static void find_file(const char *cache, char path[1400])
{
    DIR *dir = opendir(cache);
    path[0] = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strstr(entry->d_name, ".tuning")) {
            assert_int_equal(path[0], 0);
            snprintf(path, 1400, "%s/%s", cache, entry->d_name);
        }
    closedir(dir);
    assert_int_not_equal(path[0], 0);
}

static void rewrite(const char *path, const char *text, size_t n_bytes)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

static void note(esker_log_level level, const char *message, void *user)
{
    (void)level;
    if (strstr(message, "not used")) snprintf(user, 600, "%s", message);
}

static void results_survive(void **state)
{
    (void)state;
    test_device();
    char cache[1100];
    snprintf(cache, sizeof cache, "%s", test_folder("tuning"));
    esker_device *dev = open_with(cache), *other = open_with(cache);
    assert_null(esker__tuning_find(dev, "job n=1"));
    assert_null(esker__tuning_find(other, "job n=1"));
    assert_ok(esker__tuning_put(dev, "job n=1", "slow", 2e-3));
    assert_ok(esker__tuning_put(dev, "job n=1", "fast", 1e-3));
    assert_ok(esker__tuning_save(dev));
    assert_ok(esker__tuning_put(other, "job n=2", "tiled", 1e-3));
    assert_ok(esker__tuning_save(other));
    esker_device_unref(other);
    esker_device_unref(dev);
    dev = open_with(cache);
    assert_string_equal(esker__tuning_find(dev, "job n=1"), "fast");
    assert_string_equal(esker__tuning_find(dev, "job n=2"), "tiled"); /* neither process wiped out the other's */
    assert_null(esker__tuning_find(dev, "job n=3"));
    esker_device_unref(dev);
}

static const struct damage {
    const char *name, *find, *put, *reason;
    bool sum; /* give it the checksum that fits */
} damages[] = {
    {"another driver", "driver ", "driver Other; ", "another driver", true},
    {"other kernels", "kernels ", "kernels 0", "another driver or other kernels", true},
    {"another version", "esker tuning 1", "esker tuning 2", "no tuning file of this version", true},
    {"a changed line", "fast", "slow", "checksum", false},
    {"a line cut short", "\tfast", " fast", "three columns", true},
    {"no end", "\nend ", "\n", "end is missing", false},
};

static void damaged_files_are_passed_over(void **state)
{
    const struct damage *row = *state;
    test_device();
    char cache[1100], path[1400], text[4096], message[600] = "";
    snprintf(cache, sizeof cache, "%s", test_folder("tuning-damage"));
    esker_device *dev = open_with(cache);
    assert_ok(esker__tuning_put(dev, "job n=1", "fast", 1e-3));
    assert_ok(esker__tuning_save(dev));
    esker_device_unref(dev);

    unsigned char *data;
    size_t n_bytes;
    find_file(cache, path);
    assert_ok(esker__file_read(path, 4000, &data, &n_bytes));
    char *at = strstr((char *)data, row->find);
    assert_non_null(at);
    int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - (char *)data), (char *)data, row->put,
                     at + strlen(row->find));
    if (row->sum) {
        char *end = strstr(text, "\nend ") + 1;
        uint64_t sum = esker__hash(ESKER__HASH_START, text, (size_t)(end - text));
        n = (int)(end - text) + sprintf(end, "end %016" PRIx64 "\n", sum);
    }
    rewrite(path, text, (size_t)n);
    esker__free(data);

    esker_log_set(note, message, ESKER_LOG_INFO);
    dev = open_with(cache);
    assert_null(esker__tuning_find(dev, "job n=1"));
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
    if (!strstr(message, row->reason)) fail_msg("the log says \"%s\", not \"%s\"", message, row->reason);
    /* And written anew. */
    assert_ok(esker__tuning_put(dev, "job n=1", "tiled", 1e-3));
    assert_ok(esker__tuning_save(dev));
    esker_device_unref(dev);
    dev = open_with(cache);
    assert_string_equal(esker__tuning_find(dev, "job n=1"), "tiled");
    esker_device_unref(dev);
}

static void without_a_folder_it_lasts_as_long_as_the_device(void **state)
{
    (void)state;
    test_device();
    esker_device *dev = open_with("");
    assert_ok(esker__tuning_put(dev, "job n=1", "fast", 1e-3));
    assert_ok(esker__tuning_save(dev));
    assert_string_equal(esker__tuning_find(dev, "job n=1"), "fast");
    esker_device_unref(dev);
}

static void families(void **state)
{
    (void)state;
    static const struct {
        const char *renderer;
        esker__family want;
    } rows[] = {
        {"V3D 4.2.14.0", ESKER__FAMILY_V3D},
        {"V3D 7.1.7.0", ESKER__FAMILY_V3D},
        {"Mali-T860 (Panfrost)", ESKER__FAMILY_MIDGARD},
        {"Mali-T720", ESKER__FAMILY_MIDGARD},
        {"Mali-G31 (Panfrost)", ESKER__FAMILY_BIFROST},
        {"Mali-G52 r1 (Panfrost)", ESKER__FAMILY_BIFROST},
        {"Mali-G76", ESKER__FAMILY_BIFROST},
        {"Mali-G57 (Panfrost)", ESKER__FAMILY_VALHALL},
        {"Mali-G610 (Panfrost)", ESKER__FAMILY_VALHALL},
        {"Mali-G715-Immortalis MC11", ESKER__FAMILY_VALHALL},
        {"FD630", ESKER__FAMILY_ADRENO},
        {"Adreno (TM) 660", ESKER__FAMILY_ADRENO},
        {"NVIDIA H200/PCIe/SSE2", ESKER__FAMILY_NVIDIA},
        {"NVIDIA Tegra X1 (nvgpu)/integrated", ESKER__FAMILY_NVIDIA},
        {"llvmpipe (LLVM 15.0.6, 256 bits)", ESKER__FAMILY_LLVMPIPE},
        {"softpipe", ESKER__FAMILY_UNKNOWN},
        {"Mesa Intel(R) UHD Graphics 620 (KBL GT2)", ESKER__FAMILY_UNKNOWN},
        {"", ESKER__FAMILY_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker__family got = esker__family_of(rows[i].renderer);
        if (got != rows[i].want)
            fail_msg("\"%s\" is %s, not %s", rows[i].renderer, esker__family_name(got), esker__family_name(rows[i].want));
    }
}

int main(void)
{
    enum { N = sizeof damages / sizeof damages[0] };
    struct CMUnitTest tests[3 + N] = {
        cmocka_unit_test(results_survive),
        cmocka_unit_test(without_a_folder_it_lasts_as_long_as_the_device),
        cmocka_unit_test(families),
    };
    for (int i = 0; i < N; i++)
        tests[3 + i] = (struct CMUnitTest){damages[i].name, damaged_files_are_passed_over, NULL, NULL,
                                           (void *)(uintptr_t)&damages[i]};
    return test_finish(_cmocka_run_group_tests("tuning", tests, 3 + N, NULL, NULL));
}
