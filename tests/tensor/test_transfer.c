/* device test: bytes to, from and inside the GPU's own memory: any offset, several parts, a ring that comes round, a busy GPU. */
#include "support/test.h"

#include "tensor/memory.h"

static void fill(unsigned char *bytes, size_t n, unsigned start)
{
    for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)(start + i * 37 + i / 251);
}

static esker__transfer *transfer(void)
{
    esker__transfer *t;
    assert_ok(esker__memory_get_transfer(test_device(), &t));
    return t;
}

static esker__memory take(uint64_t n_bytes)
{
    esker__memory m;
    assert_ok(esker__memory_take(test_device(), ESKER_MEMORY_TEMPORARIES, n_bytes, true, &m));
    return m;
}

/* Through the staging buffers, which software drivers are spared. */
static void upload(const esker__memory *m, uint64_t at, const void *data, uint64_t n_bytes)
{
    esker__range to = esker__memory_range(m, at, n_bytes);
    assert_ok(esker__transfer_upload(transfer(), &to, data));
}

static void download(const esker__memory *m, uint64_t at, void *out, uint64_t n_bytes)
{
    esker__range from = esker__memory_range(m, at, n_bytes);
    assert_ok(esker__transfer_download(transfer(), &from, out));
}

/* Something for the GPU to do, so that writes must be ordered behind it. */
static void keep_busy(const esker__memory *scratch)
{
    esker__range from = esker__memory_range(scratch, 0, scratch->n_bytes / 2);
    esker__range to = esker__memory_range(scratch, scratch->n_bytes / 2, scratch->n_bytes / 2);
    assert_ok(esker__transfer_copy(transfer(), &from, &to));
    assert_false(esker__device_is_idle(test_device()));
}

static void ranges_go_there_and_back(void **state)
{
    (void)state;
    static const uint64_t ranges[][2] = {{0, 4},         {4, 4},
                                         {252, 8},       {256, 256},
                                         {260, 12},      {1000, 40000},
                                         {0, (3 << 20)}, {12, (1 << 20)},
                                         {8, 4},         {(1 << 20) - 256, 256},
                                         {512, 1 << 20}, {4, (4 << 20) - 8}};
    enum { N = 4 << 20 };
    esker__memory m = take(N), scratch = take(1 << 16);
    unsigned char *want = calloc(1, N), *got = malloc(N), *data = malloc(N);
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
        uint64_t at = ranges[r][0], n = ranges[r][1];
        fill(data, n, (unsigned)(17 * r + 3));
        memcpy(want + at, data, n);
        if (r % 3) keep_busy(&scratch);
        upload(&m, at, data, n);
        memset(data, 0xcc, n); /* may be reused at once */
        download(&m, 0, got, N);
        assert_memory_equal(got, want, N);
        assert_ok(esker__memory_read(&m, 0, got, N));
        assert_memory_equal(got, want, N);
    }
    /* Reading takes any bytes. */
    static const uint64_t odd[][2] = {{1, 1}, {3, 2}, {5, 1 << 20}, {255, 3}, {2, (2 << 20) + 1}, {(1 << 20) - 1, 2},
                                      {7, 0}};
    for (size_t r = 0; r < sizeof odd / sizeof odd[0]; r++) {
        memset(got, 0xee, odd[r][1] + 1);
        download(&m, odd[r][0], got, odd[r][1]);
        assert_memory_equal(got, want + odd[r][0], odd[r][1]);
        assert_int_equal(got[odd[r][1]], 0xee);
    }
    /* So does writing, whatever the GPU does. */
    keep_busy(&scratch);
    assert_ok(esker__memory_write(&m, 13, "abcdefg", 7));
    memcpy(want + 13, "abcdefg", 7);
    assert_ok(esker__memory_read(&m, 0, got, N));
    assert_memory_equal(got, want, N);
    esker__memory_give(&m);
    esker__memory_give(&scratch);
    free(want), free(got), free(data);
}

static void copies_stay_in_their_ranges(void **state)
{
    (void)state;
    static const uint64_t rows[][3] = {{0, 0, 4},      {4, 8, 4},       {256, 0, 1024},       {36, 512, 700},
                                       {100, 100, 12}, {0, 4, 1 << 18}, {8, 0, (1 << 18) + 4}};
    enum { N = 1 << 19 };
    esker__memory a = take(N), b = take(N);
    unsigned char *from = malloc(N), *to = malloc(N), *got = malloc(N);
    fill(from, N, 1);
    assert_ok(esker__memory_write(&a, 0, from, N));
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        fill(to, N, (unsigned)(90 + r));
        assert_ok(esker__memory_write(&b, 0, to, N));
        memcpy(to + rows[r][1], from + rows[r][0], rows[r][2]);
        esker__range x = esker__memory_range(&a, rows[r][0], rows[r][2]),
                     y = esker__memory_range(&b, rows[r][1], rows[r][2]);
        assert_ok(esker__transfer_copy(transfer(), &x, &y));
        assert_ok(esker__memory_read(&b, 0, got, N));
        assert_memory_equal(got, to, N);
    }
    esker__memory_give(&a);
    esker__memory_give(&b);
    free(from), free(to), free(got);
}

/* Far more uploads than the ring has room for, none of them waited for: each must arrive as it was. */
static void the_ring_comes_round(void **state)
{
    (void)state;
    enum { N = 600, PIECE = 3 << 14, LATE = 8 };
    esker__memory m[LATE];
    static unsigned char data[PIECE], got[PIECE];
    for (int i = 0; i < LATE; i++) m[i] = take(PIECE);
    keep_busy(&m[0]);
    for (int i = 0; i < N; i++) {
        fill(data, PIECE, (unsigned)i);
        upload(&m[i % LATE], 0, data, PIECE);
    }
    for (int i = 0; i < LATE; i++) {
        fill(data, PIECE, (unsigned)(N - LATE + i));
        download(&m[i], 0, got, PIECE);
        assert_memory_equal(got, data, PIECE);
    }
    esker__range range;
    assert_fails(esker__transfer_stage(transfer(), data, ESKER__STAGE_BYTES + 1, &range), ESKER_ERR_LIMIT, "1048576");
    assert_null(range.buffer);
    for (int i = 0; i < LATE; i++) esker__memory_give(&m[i]);
}

/* Parts are cut to what one binding may have. */
static void small_bindings_make_many_parts(void **state)
{
    (void)state;
    enum { N = 100000 };
    static unsigned char data[N], got[N];
    esker_limits *real = (esker_limits *)(uintptr_t)esker__device_limits(test_device()), kept = *real;
    esker__memory a = take(N), b = take(N);
    fill(data, N, 5);
    real->storage_block_bytes = 5400;
    upload(&a, 0, data, N);
    assert_ok(esker__memory_copy(&b, &a, N));
    download(&b, 0, got, N);
    assert_memory_equal(got, data, N);
    download(&b, 1003, got, N - 2000);
    assert_memory_equal(got, data + 1003, N - 2000);
    *real = kept;
    esker__memory_give(&a);
    esker__memory_give(&b);
}

/* Memory that is given back while the GPU has still to read it, and taken again: what comes later does not reach what came before. */
static void memory_is_reused_in_order(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    static unsigned char first[N], second[N], got[N];
    fill(first, N, 1);
    fill(second, N, 101);
    esker__memory kept = take(N);
    for (int round = 0; round < 20; round++) {
        esker__memory m = take(N);
        uint64_t offset = m.offset;
        esker__buffer *buffer = m.buffer;
        assert_ok(esker__memory_write(&m, 0, first, N));
        assert_ok(esker__memory_copy(&kept, &m, N));
        esker__memory_give(&m);
        assert_ok(esker__memory_take(test_device(), ESKER_MEMORY_TEMPORARIES, N, false, &m));
        assert_true(m.buffer == buffer && m.offset == offset);
        assert_ok(esker__memory_write(&m, 0, second, N));
        assert_ok(esker__memory_read(&kept, 0, got, N));
        assert_memory_equal(got, first, N);
        esker__memory_give(&m);
        /* Zeros, too, come behind what was written. */
        m = take(N);
        assert_ok(esker__memory_read(&m, 0, got, N));
        for (int i = 0; i < N; i++) assert_int_equal(got[i], 0);
        esker__memory_give(&m);
    }
    esker__memory_give(&kept);
}

static void ranges_are_checked(void **state)
{
    (void)state;
    unsigned char data[64] = {0};
    esker__memory m = take(40), other = take(16); /* 48 bytes */
    assert_fails(esker__memory_write(&m, 40, data, 9), ESKER_ERR_INVALID,
                 "writing device memory: 9 bytes at 40 go past the end of 48");
    assert_fails(esker__memory_read(&m, 49, data, 0), ESKER_ERR_INVALID, "at 49");
    assert_fails(esker__memory_clear(&m, 4, UINT64_MAX - 3), ESKER_ERR_INVALID, "of 48");
    assert_fails(esker__memory_copy(&other, &m, 20), ESKER_ERR_INVALID, "copying to device memory: 32 bytes at 0");
    esker__memory_give(&m);
    esker__memory_give(&other);
    assert_null(m.buffer);
    esker__memory_give(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_go_there_and_back),  cmocka_unit_test(copies_stay_in_their_ranges),
        cmocka_unit_test(the_ring_comes_round),      cmocka_unit_test(small_bindings_make_many_parts),
        cmocka_unit_test(memory_is_reused_in_order), cmocka_unit_test(ranges_are_checked),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
