/* device test: pools of a device: statistics, limits, trim, eviction under pressure, and refusal with the state. */
#include "support/test.h"

#include <stdio.h>

#include <esker/tensor.h>
#include "tensor/memory.h"

#define MIB ((uint64_t)1 << 20)

static esker_device *open_device(void)
{
    esker_device *dev;
    test_device(); /* skips where there is none */
    assert_ok(esker_device_open(NULL, &dev));
    return dev;
}

static esker_memory_stats stats_of(const esker_device *dev, esker_memory_use use)
{
    esker_memory_stats s;
    assert_ok(esker_memory_get_stats(dev, use, &s));
    assert_true(s.held_bytes == s.in_use_bytes + s.rounding_bytes + s.cached_bytes);
    assert_true(s.idle_bytes <= s.cached_bytes && s.largest_free_bytes <= s.cached_bytes);
    assert_true(s.in_use_peak_bytes >= s.in_use_bytes && s.held_peak_bytes >= s.held_bytes);
    assert_true(s.fragmentation >= 0 && s.fragmentation <= 1);
    return s;
}

static void statistics_add_up(void **state)
{
    (void)state;
    esker_device *dev = open_device();
    esker_counters counters;
    esker_memory_stats s = stats_of(dev, ESKER_MEMORY_ALL);
    assert_true(s.held_bytes == 0 && s.n_blocks == 0 && s.misses == 0); /* nothing before it is needed */
    esker__memory a, b, c;
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 1000, false, &a));
    s = stats_of(dev, ESKER_MEMORY_TEMPORARIES);
    assert_true(s.in_use_bytes == 1008 && s.rounding_bytes == 16 && s.held_bytes == MIB && s.n_blocks == 1);
    assert_true(s.hits == 0 && s.misses == 1 && s.n_allocations == 1);
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 5000, false, &b));
    assert_ptr_equal(a.buffer, b.buffer);
    assert_true(b.offset % 256 == 0 && b.offset >= 1024);
    /* Each use has blocks of its own. */
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, 16, true, &c));
    assert_ptr_not_equal(c.buffer, a.buffer);
    s = stats_of(dev, ESKER_MEMORY_ALL);
    assert_true(s.in_use_bytes == 1008 + 5008 + 16 && s.n_blocks == 2 && s.hits == 1 && s.misses == 2);
    esker_device_get_counters(dev, &counters);
    assert_true(counters.buffer_bytes == s.held_bytes);
    esker__memory_give(&a);
    esker__memory_give(&b);
    s = stats_of(dev, ESKER_MEMORY_TEMPORARIES);
    assert_true(s.in_use_bytes == 0 && s.idle_bytes == MIB && s.in_use_peak_bytes == 6016 && s.fragmentation == 0);
    /* Again from what was kept: no new object. */
    esker_device_get_counters(dev, &counters);
    for (int i = 0; i < 100; i++) {
        assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, (uint64_t)(i + 1) * 100, false, &a));
        esker__memory_give(&a);
    }
    uint64_t made = counters.gl_objects, allocations = counters.heap_allocations;
    esker_device_get_counters(dev, &counters);
    assert_true(counters.gl_objects == made && counters.heap_allocations == allocations);
    uint64_t given_up;
    assert_ok(esker_memory_trim(dev, &given_up));
    assert_true(given_up == MIB);
    s = stats_of(dev, ESKER_MEMORY_TEMPORARIES);
    assert_true(s.held_bytes == 0 && s.held_peak_bytes == MIB && s.evictions == 1);
    assert_true(stats_of(dev, ESKER_MEMORY_PARAMETERS).in_use_bytes == 16);
    esker__memory_give(&c);
    esker_device_unref(dev);
}

static void texts_name_every_use(void **state)
{
    (void)state;
    char text[ESKER_MEMORY_TEXT_BYTES];
    esker_device *dev = open_device();
    esker__memory m;
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_UPLOAD, 123456, false, &m));
    assert_ptr_equal(esker_memory_text(dev, text), text);
    for (int use = 0; use <= ESKER_MEMORY_ALL; use++)
        assert_non_null(strstr(text, esker_memory_use_name((esker_memory_use)use)));
    assert_non_null(strstr(text, "123456"));
    assert_true(strlen(text) < ESKER_MEMORY_TEXT_BYTES - 100);
    assert_string_equal(esker_memory_use_name((esker_memory_use)77), "unknown");
    esker_memory_stats s;
    assert_fails(esker_memory_get_stats(dev, (esker_memory_use)77, &s), ESKER_ERR_INVALID, "unknown use 77");
    assert_fails(esker_memory_set_limit(dev, (esker_memory_use)-1, 0), ESKER_ERR_INVALID, "unknown use -1");
    esker__memory_give(&m);
    esker_device_unref(dev);
}

static void limits_hold(void **state)
{
    (void)state;
    esker_device *dev = open_device();
    esker__memory m[8] = {{0}}, more;
    assert_ok(esker_memory_set_limit(dev, ESKER_MEMORY_TEMPORARIES, 3 * MIB));
    for (int i = 0; i < 3; i++) assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, MIB, false, &m[i]));
    assert_fails(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, MIB, false, &more), ESKER_ERR_NO_MEMORY,
                 "no device memory for 1048576 bytes of temporaries");
    assert_non_null(strstr(esker_last_error(), "the limit is 3145728"));
    assert_non_null(strstr(esker_last_error(), "3145728 in use"));
    assert_null(more.buffer);
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).failures == 1);
    /* Others are not concerned, and this one works on. */
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_PARAMETERS, 4 * MIB, false, &m[3]));
    esker__memory_give(&m[2]);
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 100, false, &m[4])); /* in place of the idle block */
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).held_bytes == 2 * MIB + 256);
    esker__memory_give(&m[4]);
    /* What is idle makes room: small blocks for one of 3 MiB. */
    for (int i = 0; i < 2; i++) esker__memory_give(&m[i]);
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).idle_bytes == 2 * MIB + 256);
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 3 * MIB, false, &m[0]));
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).held_bytes == 3 * MIB);
    /* A lower limit leaves what is in use alone, and takes what becomes idle. */
    assert_ok(esker_memory_set_limit(dev, ESKER_MEMORY_ALL, 2 * MIB));
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).limit_bytes == 2 * MIB);
    assert_true(stats_of(dev, ESKER_MEMORY_ALL).limit_bytes == ESKER_MEMORY_USES * 2 * MIB);
    assert_fails(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 1, false, &more), ESKER_ERR_NO_MEMORY, NULL);
    esker__memory_give(&m[0]);
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 2 * MIB, false, &m[0]));
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).held_bytes == 2 * MIB);
    assert_ok(esker_memory_set_limit(dev, ESKER_MEMORY_ALL, 0));
    /* No cache: every piece is given to the driver as soon as nobody has it. */
    assert_ok(esker_memory_set_cache(dev, ESKER_MEMORY_ALL, 0));
    esker__memory_give(&m[0]);
    esker__memory_give(&m[3]);
    assert_true(stats_of(dev, ESKER_MEMORY_ALL).held_bytes == 0);
    esker_device_unref(dev);
}

/* A tensor too many under a limit is an error that says why; then all works on. */
static void tensors_run_out_and_go_on(void **state)
{
    (void)state;
    enum { MOST = 100 };
    esker_device *dev = open_device();
    esker_tensor *list[MOST], *t;
    const esker_shape shape = {1, {50000}};
    int n = 0;
    esker_status st = ESKER_OK;
    assert_ok(esker_memory_set_limit(dev, ESKER_MEMORY_SHARED, 2 * MIB));
    while (n < MOST && st == ESKER_OK) {
        st = esker_tensor_create(dev, &(esker_tensor_desc){.shape = shape, .label = "many"}, &t);
        if (st == ESKER_OK) list[n++] = t;
    }
    assert_true(n >= 5 && n <= 10);
    assert_fails(st, ESKER_ERR_NO_MEMORY, "tensor many float32 [50000]: no device memory for 200000 bytes of shared");
    assert_null(t);
    esker_tensor_unref(list[--n]);
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = shape}, &list[n++]));
    float x = 3, got = 0;
    assert_ok(esker_tensor_write(list[n - 1], 49999, 1, &x));
    assert_ok(esker_tensor_read(list[n - 1], 49999, 1, &got));
    assert_true(got == 3);
    while (n) esker_tensor_unref(list[--n]);
    assert_true(stats_of(dev, ESKER_MEMORY_ALL).in_use_bytes == 0);
    esker_device_unref(dev);
}

/* More than any machine has: the driver is asked only for what can be, idle blocks go first, and all works on. */
static void the_driver_runs_out(void **state)
{
    (void)state;
    esker_device *dev = open_device();
    esker__memory m, more;
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 5 * MIB, false, &m));
    esker__memory_give(&m);
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).idle_bytes == 5 * MIB);
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_SHARED, 1000, false, &m));
    assert_fails(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, (uint64_t)1 << 46, false, &more), ESKER_ERR_NO_MEMORY,
                 "no device memory for 70368744177664 bytes of temporaries (0 in use, 0 cached; all uses 1008 in use");
    assert_true(stats_of(dev, ESKER_MEMORY_TEMPORARIES).evictions == 1); /* in vain */
    assert_fails(esker__memory_take(dev, ESKER_MEMORY_UPLOAD, UINT64_MAX, false, &more), ESKER_ERR_LIMIT,
                 "18446744073709551615");
    assert_ok(esker__memory_take(dev, ESKER_MEMORY_TEMPORARIES, 5 * MIB, true, &more));
    esker__memory_give(&more);
    esker__memory_give(&m);
    esker_device_unref(dev);
}

/* Used memory is not what a new tensor shows. */
static void new_tensors_are_zeros(void **state)
{
    (void)state;
    enum { N = 3000 };
    esker_device *dev = test_device();
    static unsigned char dirty[N], got[N];
    memset(dirty, 0xa5, N);
    for (int round = 0; round < 10; round++) {
        esker_tensor *a, *b;
        esker_tensor_desc desc = {.dtype = ESKER_DTYPE_U8, .shape = {1, {N}}, .data = dirty};
        assert_ok(esker_tensor_create(dev, &desc, &a));
        esker_tensor_unref(a);
        desc.data = NULL;
        assert_ok(esker_tensor_create(dev, &desc, &b));
        assert_ok(esker_tensor_read(b, 0, N, got));
        for (int i = 0; i < N; i++) assert_int_equal(got[i], 0);
        esker_tensor_unref(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_add_up),   cmocka_unit_test(texts_name_every_use),
        cmocka_unit_test(limits_hold),         cmocka_unit_test(tensors_run_out_and_go_on),
        cmocka_unit_test(the_driver_runs_out), cmocka_unit_test(new_tensors_are_zeros),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
