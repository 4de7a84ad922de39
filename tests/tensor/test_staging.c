/* device test: the staging ring, with lasting addresses (native) and with a map for each use (the ES 3.1 minimum). */
#include "support/test.h"

#include <stdio.h>

#include "tensor/staging.h"

static bool has_addresses(void)
{
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    return info.buffer_storage;
}

static void slots_are_separate(void **state)
{
    (void)state;
    static const esker_memory_use uses[] = {ESKER_MEMORY_UPLOAD, ESKER_MEMORY_READBACK};
    for (int u = 0; u < 2; u++) {
        esker__staging ring;
        unsigned char data[100];
        assert_ok(esker__staging_init(&ring, test_device(), 100, uses[u]));
        for (int s = 0; s < ESKER__STAGING_SLOTS; s++) {
            assert_int_equal(esker__staging_address(&ring, s) != NULL, has_addresses());
            assert_ok(esker__memory_read(&ring.slots[s], 0, data, sizeof data));
            for (int i = 0; i < 100; i++) assert_int_equal(data[i], 0);
        }
        for (int s = 0; s < ESKER__STAGING_SLOTS; s++)
            for (int t = 0; t < s; t++) {
                assert_ptr_not_equal(ring.slots[s].buffer, ring.slots[t].buffer);
                if (has_addresses())
                    assert_ptr_not_equal(esker__staging_address(&ring, s), esker__staging_address(&ring, t));
            }
        esker__staging_finish(&ring);
        for (int s = 0; s < ESKER__STAGING_SLOTS; s++) assert_null(ring.slots[s].buffer);
        esker__staging_finish(&ring); /* a second time is fine */
    }
}

static void writes_reach_the_device(void **state)
{
    (void)state;
    esker__staging ring;
    unsigned char want[ESKER__STAGING_SLOTS][100] = {{0}}, got[100];
    assert_ok(esker__staging_init(&ring, test_device(), 100, ESKER_MEMORY_UPLOAD));
    for (int round = 0; round < 3; round++)
        for (int s = 0; s < ESKER__STAGING_SLOTS; s++) {
            /* Parts, so that a map of the whole must keep the rest. */
            size_t offset = (size_t)(round * 30 + s), n = (size_t)(7 + s);
            for (size_t i = 0; i < n; i++) want[s][offset + i] = (unsigned char)(round * 50 + s * 10 + (int)i + 1);
            assert_ok(esker__staging_write(&ring, s, offset, want[s] + offset, n));
        }
    for (int s = 0; s < ESKER__STAGING_SLOTS; s++) {
        assert_ok(esker__memory_read(&ring.slots[s], 0, got, sizeof got));
        assert_memory_equal(got, want[s], sizeof got);
    }
    esker__staging_finish(&ring);
}

static void reads_see_what_the_device_has(void **state)
{
    (void)state;
    esker__staging ring;
    unsigned char want[100], got[100];
    assert_ok(esker__staging_init(&ring, test_device(), 100, ESKER_MEMORY_READBACK));
    for (int s = 0; s < ESKER__STAGING_SLOTS; s++) {
        for (int i = 0; i < 100; i++) want[i] = (unsigned char)(i * 3 + s);
        assert_ok(esker__memory_write(&ring.slots[s], 0, want, sizeof want));
        assert_ok(esker_device_finish(test_device()));
        assert_ok(esker__staging_read(&ring, s, 0, got, sizeof got));
        assert_memory_equal(got, want, sizeof want);
        assert_ok(esker__staging_read(&ring, s, 33, got, 5));
        assert_memory_equal(got, want + 33, 5);
    }
    esker__staging_finish(&ring);
}

static void a_failed_ring_stays_as_it_was(void **state)
{
    (void)state;
    esker__staging ring = {0};
    uint64_t before = test_memory_in_use();
    assert_fails(esker__staging_init(&ring, test_device(), UINT64_MAX - 15, ESKER_MEMORY_UPLOAD), ESKER_ERR_LIMIT, "bytes");
    for (int s = 0; s < ESKER__STAGING_SLOTS; s++) assert_null(ring.slots[s].buffer);
    assert_true(test_memory_in_use() == before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_separate),
        cmocka_unit_test(writes_reach_the_device),
        cmocka_unit_test(reads_see_what_the_device_has),
        cmocka_unit_test(a_failed_ring_stays_as_it_was),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
