/* device test: buffers that the CPU touches are zeros when new; all keep what is written, map in both ways, and fail with numbers. */
#include "support/test.h"

#include <stdio.h>

#include "gpu/gpu.h"

static const esker__buffer_use uses[] = {ESKER__BUFFER_DEVICE, ESKER__BUFFER_UPLOAD, ESKER__BUFFER_READBACK,
                                         ESKER__BUFFER_SHARED};

static void new_buffers_are_zeros(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    /* One piece of zeros, just past one, and several with a rest. */
    static const uint64_t sizes[] = {0, 1, 16, 17, 4096, (1 << 20) - 16, (1 << 20) + 4, (5 << 20) + 100};
    for (size_t u = 0; u < sizeof uses / sizeof uses[0]; u++) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            esker__buffer *dirty, *buffer;
            uint64_t n_bytes = (sizes[s] + 15) / 16 * 16;
            if (n_bytes == 0) n_bytes = 16;
            unsigned char *data = malloc(n_bytes);
            memset(data, 0xa5, n_bytes);
            /* Memory that was used before is the one that comes back dirty. */
            assert_ok(esker__buffer_create(dev, sizes[s], uses[u], &dirty));
            assert_ok(esker__buffer_write(dirty, 0, data, n_bytes));
            esker__buffer_destroy(dirty);
            assert_ok(esker__buffer_create(dev, sizes[s], uses[u], &buffer));
            assert_int_equal(esker__buffer_bytes(buffer), n_bytes);
            if (uses[u] == ESKER__BUFFER_DEVICE) assert_ok(esker__buffer_clear(buffer, 0, n_bytes));
            assert_ok(esker__buffer_read(buffer, 0, data, n_bytes));
            for (uint64_t i = 0; i < n_bytes; i++)
                if (data[i])
                    fail_msg("use %zu, %llu bytes: byte %llu is %u", u, (unsigned long long)n_bytes, (unsigned long long)i,
                             data[i]);
            free(data);
            esker__buffer_destroy(buffer);
        }
    }
    esker__buffer_destroy(NULL);
}

static void writes_read_back(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_counters before, after;
    esker_device_get_counters(dev, &before);
    for (size_t u = 0; u < sizeof uses / sizeof uses[0]; u++) {
        esker__buffer *buffer;
        unsigned char in[100], out[104], want[104] = {0};
        assert_ok(esker__buffer_create(dev, 104, uses[u], &buffer));
        assert_ok(esker__buffer_clear(buffer, 0, 104));
        for (int i = 0; i < 100; i++) in[i] = (unsigned char)(i * 7 + 1);
        assert_ok(esker__buffer_write(buffer, 3, in, 50));
        assert_ok(esker__buffer_write(buffer, 60, in + 50, 17));
        memcpy(want + 3, in, 50);
        memcpy(want + 60, in + 50, 17);
        assert_ok(esker__buffer_read(buffer, 0, out, 104));
        assert_memory_equal(out, want, 104);
        assert_ok(esker__buffer_read(buffer, 61, out, 5));
        assert_memory_equal(out, want + 61, 5);
        assert_ok(esker__buffer_write(buffer, 112, in, 0)); /* nothing, at the very end */
        esker__buffer_destroy(buffer);
    }
    esker_device_get_counters(dev, &after);
    assert_int_equal(after.uploaded_bytes - before.uploaded_bytes, (int)(sizeof uses / sizeof uses[0]) * 67);
    assert_int_equal(after.downloaded_bytes - before.downloaded_bytes, (int)(sizeof uses / sizeof uses[0]) * 109);
    /* Without lasting addresses nothing was queued; with them a write is something that a read may have to wait for. */
    esker_device_info info;
    esker_device_get_info(dev, &info);
    if (!info.buffer_storage) assert_int_equal(after.waits, before.waits);
}

static void maps_show_the_same_bytes(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_device_info info;
    esker_device_get_info(dev, &info);
    esker__buffer *up, *down;
    unsigned char want[64], got[64];
    void *address;
    for (int i = 0; i < 64; i++) want[i] = (unsigned char)(200 - i);

    assert_ok(esker__buffer_create(dev, 64, ESKER__BUFFER_UPLOAD, &up));
    assert_int_equal(esker__buffer_address(up) != NULL, info.buffer_storage);
    assert_ok(esker__buffer_map(up, &address));
    if (info.buffer_storage) assert_ptr_equal(address, esker__buffer_address(up));
    memcpy(address, want, 32);
    assert_ok(esker__buffer_unmap(up));
    assert_ok(esker__buffer_map(up, &address)); /* the first half must survive a map that writes the second */
    memcpy((unsigned char *)address + 32, want + 32, 32);
    assert_ok(esker__buffer_unmap(up));
    assert_ok(esker__buffer_read(up, 0, got, 64));
    assert_memory_equal(got, want, 64);

    assert_ok(esker__buffer_create(dev, 64, ESKER__BUFFER_READBACK, &down));
    assert_ok(esker__buffer_write(down, 0, want, 64));
    assert_ok(esker_device_finish(dev));
    assert_ok(esker__buffer_map(down, &address));
    assert_memory_equal(address, want, 64);
    if (!info.buffer_storage) {
        assert_fails(esker__buffer_map(down, &address), ESKER_ERR_INVALID, "mapped already");
        assert_fails(esker__buffer_read(down, 0, got, 1), ESKER_ERR_INVALID, "unmap it first");
        assert_fails(esker__buffer_unmap(up), ESKER_ERR_INVALID, "not mapped");
    }
    assert_ok(esker__buffer_unmap(down));
    esker__buffer_destroy(up);
    esker__buffer_destroy(down);

    esker__buffer *arena;
    assert_ok(esker__buffer_create(dev, 64, ESKER__BUFFER_DEVICE, &arena));
    assert_null(esker__buffer_address(arena));
    assert_fails(esker__buffer_map(arena, &address), ESKER_ERR_INVALID, "device buffer");
    esker__buffer_destroy(arena);
}

static void ranges_are_checked(void **state)
{
    (void)state;
    esker__buffer *buffer;
    unsigned char data[32] = {0};
    assert_ok(esker__buffer_create(test_device(), 32, ESKER__BUFFER_DEVICE, &buffer));
    assert_fails(esker__buffer_write(buffer, 1, data, 32), ESKER_ERR_INVALID, "32 bytes at 1");
    assert_fails(esker__buffer_read(buffer, 33, data, 0), ESKER_ERR_INVALID, "at 33");
    assert_fails(esker__buffer_read(buffer, UINT64_MAX, data, 16), ESKER_ERR_INVALID, NULL);
    assert_fails(esker__buffer_read(buffer, 16, data, UINT64_MAX - 8), ESKER_ERR_INVALID, "of 32");
    esker__buffer_destroy(buffer);
}

static void running_out_of_memory_is_survived(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_counters before, after;
    esker_device_get_counters(dev, &before);
    esker__buffer *held, *buffer;
    assert_ok(esker__buffer_create(dev, 1000, ESKER__BUFFER_DEVICE, &held));
    for (size_t u = 0; u < sizeof uses / sizeof uses[0]; u++) {
        char part[64];
        snprintf(part, sizeof part, "%llu bytes are held", (unsigned long long)before.buffer_bytes + 1008);
        assert_fails(esker__buffer_create(dev, (uint64_t)1 << 46, uses[u], &buffer), ESKER_ERR_NO_MEMORY,
                     "70368744177664 bytes");
        assert_non_null(strstr(esker_last_error(), part));
        assert_null(buffer);
    }
    assert_fails(esker__buffer_create(dev, UINT64_MAX - 20, ESKER__BUFFER_DEVICE, &buffer), ESKER_ERR_LIMIT, NULL);
    assert_ok(esker__buffer_create(dev, 64, ESKER__BUFFER_DEVICE, &buffer));
    esker_device_get_counters(dev, &after);
    assert_int_equal(after.buffer_bytes, before.buffer_bytes + 1008 + 64);
    assert_true(after.buffer_peak_bytes >= after.buffer_bytes);
    esker__buffer_destroy(buffer);
    esker__buffer_destroy(held);
    esker_device_get_counters(dev, &after);
    assert_int_equal(after.buffer_bytes, before.buffer_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_buffers_are_zeros),
        cmocka_unit_test(writes_read_back),
        cmocka_unit_test(maps_show_the_same_bytes),
        cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(running_out_of_memory_is_survived),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
