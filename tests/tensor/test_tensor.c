/* device test: tensors: element types, shapes, ranges, maps, references, and errors with their numbers. */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>

#include <esker/tensor.h>
#include "tensor/tensor.h"

static void fill(unsigned char *bytes, size_t n, unsigned start)
{
    for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)(start + i * 37 + i / 251);
}

static const struct create_row {
    esker_dtype dtype;
    esker_shape shape;
    int64_t n_elems;
    uint64_t n_bytes;
} creates[] = {
    {ESKER_DTYPE_F32, {0}, 1, 4},
    {ESKER_DTYPE_U8, {0}, 1, 1},
    {ESKER_DTYPE_U8, {1, {3}}, 3, 3},
    {ESKER_DTYPE_U8, {1, {16}}, 16, 16},
    {ESKER_DTYPE_U8, {1, {17}}, 17, 17},
    {ESKER_DTYPE_I32, {1, {127}}, 127, 508},
    {ESKER_DTYPE_F32, {1, {128}}, 128, 512},
    {ESKER_DTYPE_F32, {2, {129, 3}}, 387, 1548},
    {ESKER_DTYPE_U8, {6, {1, 2, 3, 1, 5, 7}}, 210, 210},
    {ESKER_DTYPE_I32, {6, {7, 5, 3, 2, 1, 1}}, 210, 840},
    {ESKER_DTYPE_F32, {2, {1000, 1001}}, 1001000, 4004000},
};

static void contents_come_back(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    for (size_t i = 0; i < sizeof creates / sizeof creates[0]; i++) {
        const struct create_row *row = &creates[i];
        esker_tensor *zeros, *filled;
        esker_tensor_info info;
        unsigned char *data = malloc(row->n_bytes), *got = malloc(row->n_bytes);
        fill(data, row->n_bytes, (unsigned)i + 1);
        assert_ok(esker_tensor_create(
            dev, &(esker_tensor_desc){.dtype = row->dtype, .shape = row->shape, .data = data, .label = "filled"}, &filled));
        assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.dtype = row->dtype, .shape = row->shape}, &zeros));
        esker_tensor_get_info(filled, &info);
        assert_int_equal(info.dtype, row->dtype);
        assert_true(esker_shape_equal(&info.shape, &row->shape));
        assert_int_equal(info.n_elems, row->n_elems);
        assert_int_equal(info.n_bytes, row->n_bytes);
        assert_string_equal(info.label, "filled");
        assert_ptr_equal(info.device, dev);
        esker_tensor_get_info(zeros, &info);
        assert_string_equal(info.label, "");

        assert_ok(esker_tensor_read(filled, 0, row->n_elems, got));
        assert_memory_equal(got, data, row->n_bytes);
        assert_ok(esker_tensor_read(zeros, 0, ESKER_TENSOR_REST, got));
        for (uint64_t k = 0; k < row->n_bytes; k++) assert_int_equal(got[k], 0);
        assert_ok(esker_tensor_write(zeros, 0, ESKER_TENSOR_REST, data));
        assert_ok(esker_tensor_read(zeros, 0, row->n_elems, got));
        assert_memory_equal(got, data, row->n_bytes);
        esker_tensor_unref(zeros);
        esker_tensor_unref(filled);
        free(data);
        free(got);
    }
}

static void ranges_touch_their_elements_alone(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    static const esker_dtype dtypes[] = {ESKER_DTYPE_F32, ESKER_DTYPE_I32, ESKER_DTYPE_U8};
    static const int64_t ranges[][2] = {{0, 1},   {0, 35}, {1, 1}, {3, 5},  {34, 1},
                                        {17, 18}, {35, 0}, {0, 0}, {6, -1}, {35, -1}};
    for (size_t d = 0; d < 3; d++) {
        size_t elem_bytes = esker_dtype_bytes(dtypes[d]);
        esker_tensor *t;
        unsigned char want[35 * 4], got[35 * 4 + 1], piece[35 * 4];
        fill(want, sizeof want, 9);
        assert_ok(
            esker_tensor_create(dev, &(esker_tensor_desc){.dtype = dtypes[d], .shape = {2, {5, 7}}, .data = want}, &t));
        for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
            size_t first = (size_t)ranges[r][0], n = ranges[r][1] < 0 ? 35 - first : (size_t)ranges[r][1];
            fill(piece, sizeof piece, (unsigned)(40 + 11 * r));
            memcpy(want + first * elem_bytes, piece, n * elem_bytes);
            assert_ok(esker_tensor_write(t, ranges[r][0], ranges[r][1], piece));
            assert_ok(esker_tensor_read(t, 0, 35, got));
            assert_memory_equal(got, want, 35 * elem_bytes);
            memset(got, 0xee, sizeof got);
            assert_ok(esker_tensor_read(t, ranges[r][0], ranges[r][1], got));
            assert_memory_equal(got, want + first * elem_bytes, n * elem_bytes);
            assert_int_equal(got[n * elem_bytes], 0xee);
        }
        esker_tensor_unref(t);
    }
}

static void bad_ranges_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t first, n;
        const char *part;
    } rows[] = {
        {-1, 1, "1 elements from element -1 on"},
        {0, 36, "36 elements from element 0 on, tensor image uint8 [5, 7] has 35"},
        {35, 1, "1 elements from element 35 on"},
        {36, 0, "0 elements from element 36 on"},
        {36, ESKER_TENSOR_REST, "from element 36 on"},
        {3, -2, "-2 elements"},
        {INT64_MAX, INT64_MAX, "has 35"},
        {1, INT64_MAX, "9223372036854775807 elements"},
    };
    esker_tensor *t;
    unsigned char bytes[64] = {0};
    assert_ok(esker_tensor_create(
        test_device(), &(esker_tensor_desc){.dtype = ESKER_DTYPE_U8, .shape = {2, {5, 7}}, .label = "image"}, &t));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_fails(esker_tensor_read(t, rows[i].first, rows[i].n, bytes), ESKER_ERR_INVALID, rows[i].part);
        assert_fails(esker_tensor_write(t, rows[i].first, rows[i].n, bytes), ESKER_ERR_INVALID, rows[i].part);
    }
    esker_tensor_unref(t);
}

static void bad_descriptions_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_device_info info;
    esker_device_get_info(dev, &info);
    int64_t block = (int64_t)info.limits.storage_block_bytes;
    char limit[64];
    snprintf(limit, sizeof limit, "holds %lld bytes", (long long)(block / 16 * 16));
    const struct {
        esker_tensor_desc desc;
        esker_status status;
        const char *part;
    } rows[] = {
        {{.shape = {7, {1, 1, 1, 1, 1, 1}}, .label = "deep"}, ESKER_ERR_INVALID, "tensor deep: rank 7, 0 to 6"},
        {{.shape = {-1, {0}}}, ESKER_ERR_INVALID, "rank -1"},
        {{.shape = {2, {3, 0}}}, ESKER_ERR_INVALID, "[3, 0]: axis 1 has 0 elements"},
        {{.shape = {1, {-5}}}, ESKER_ERR_INVALID, "axis 0 has -5 elements"},
        {{.dtype = (esker_dtype)5, .shape = {1, {4}}}, ESKER_ERR_INVALID, "unknown element type 5"},
        {{.shape = {2, {INT64_C(1) << 31, INT64_C(1) << 31}}}, ESKER_ERR_INVALID, "[2147483648, 2147483648]: more than"},
        {{.shape = {6, {INT64_MAX, INT64_MAX, INT64_MAX, 9, 9, 9}}}, ESKER_ERR_INVALID, "more than"},
        {{.shape = {2, {1 << 20, 1 << 20}}, .label = "huge"}, ESKER_ERR_LIMIT, limit},
        {{.shape = {1, {block / 4 + 1}}}, ESKER_ERR_LIMIT, limit},
        {{.dtype = ESKER_DTYPE_U8, .shape = {1, {block + 1}}}, ESKER_ERR_LIMIT, limit},
    };
    uint64_t before = test_memory_in_use();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_tensor *t = (esker_tensor *)&before;
        assert_fails(esker_tensor_create(dev, &rows[i].desc, &t), rows[i].status, rows[i].part);
        assert_null(t);
    }
    assert_true(test_memory_in_use() == before);
}

/* ---- Maps ---- */

static void maps_follow_their_intent(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t;
    int32_t want[129], got[129], *address;
    for (int i = 0; i < 129; i++) want[i] = i * 1001;
    assert_ok(
        esker_tensor_create(dev, &(esker_tensor_desc){.dtype = ESKER_DTYPE_I32, .shape = {1, {129}}, .data = want}, &t));
    for (int round = 0; round < 3; round++) {
        assert_ok(esker_tensor_map(t, ESKER_MAP_READ, (void **)&address));
        assert_memory_equal(address, want, sizeof want);
        assert_ok(esker_tensor_unmap(t));

        /* What a map does not write stays. */
        assert_ok(esker_tensor_map(t, ESKER_MAP_WRITE, (void **)&address));
        for (int i = 64; i < 70; i++) address[i] = want[i] = -i - round;
        assert_ok(esker_tensor_unmap(t));
        assert_ok(esker_tensor_read(t, 0, ESKER_TENSOR_REST, got));
        assert_memory_equal(got, want, sizeof want);

        /* A write from the host is there in the next map. */
        want[128] = 5 + round;
        assert_ok(esker_tensor_write(t, 128, 1, &want[128]));
        assert_ok(esker_tensor_map(t, ESKER_MAP_READ, (void **)&address));
        assert_memory_equal(address, want, sizeof want);
        assert_ok(esker_tensor_unmap(t));

        assert_ok(esker_tensor_map(t, ESKER_MAP_DISCARD, (void **)&address));
        for (int i = 0; i < 129; i++) address[i] = want[i] = i - 7 * round;
        assert_ok(esker_tensor_unmap(t));
        assert_ok(esker_tensor_read(t, 0, ESKER_TENSOR_REST, got));
        assert_memory_equal(got, want, sizeof want);
    }
    esker_tensor_unref(t);
}

static void maps_are_counted(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t;
    esker_counters a, b, c;
    void *address;
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {10}}}, &t));
    esker_device_get_counters(dev, &a);
    assert_ok(esker_tensor_map(t, ESKER_MAP_READ, &address));
    assert_ok(esker_tensor_unmap(t));
    esker_device_get_counters(dev, &b);
    assert_ok(esker_tensor_map(t, ESKER_MAP_WRITE, &address));
    assert_ok(esker_tensor_unmap(t));
    esker_device_get_counters(dev, &c);
    assert_true(b.downloaded_bytes == a.downloaded_bytes + 40 && b.uploaded_bytes == a.uploaded_bytes);
    assert_true(c.uploaded_bytes == b.uploaded_bytes + 40 && c.downloaded_bytes == b.downloaded_bytes);
    esker_tensor_unref(t);
}

/* Through a lasting address the CPU sees only what has arrived: a write through GL is waited for, once. */
static void a_write_is_waited_for(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_device_info info;
    esker_tensor *t;
    esker_counters before, after;
    float x[4] = {1, 2, 3, 4}, got[4];
    esker_device_get_info(dev, &info);
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {4}}}, &t));
    assert_ok(esker_device_finish(dev));
    for (int through_map = 0; through_map < 2; through_map++) {
        void *address;
        x[0] += 1;
        assert_ok(esker_tensor_write(t, 0, 4, x));
        esker_device_get_counters(dev, &before);
        for (int again = 0; again < 2; again++) {
            if (through_map) {
                assert_ok(esker_tensor_map(t, ESKER_MAP_READ, &address));
                assert_memory_equal(address, x, sizeof x);
                assert_ok(esker_tensor_unmap(t));
            } else {
                assert_ok(esker_tensor_read(t, 0, 4, got));
                assert_memory_equal(got, x, sizeof x);
            }
        }
        esker_device_get_counters(dev, &after);
        assert_int_equal(after.fences - before.fences, info.buffer_storage);
    }
    esker_tensor_unref(t);
}

static void a_mapped_tensor_is_the_cpus(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    static const esker_map_intent intents[] = {ESKER_MAP_READ, ESKER_MAP_WRITE, ESKER_MAP_DISCARD};
    esker_tensor *t;
    float x[2] = {1, 2};
    void *address, *second;
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {2}}, .data = x, .label = "x"}, &t));
    assert_fails(esker_tensor_unmap(t), ESKER_ERR_INVALID, "tensor x float32 [2] is not mapped");
    for (int i = 0; i < 3; i++) {
        assert_ok(esker_tensor_map(t, intents[i], &address));
        second = x;
        assert_fails(esker_tensor_map(t, ESKER_MAP_READ, &second), ESKER_ERR_INVALID, "tensor x float32 [2] is mapped");
        assert_null(second);
        assert_fails(esker_tensor_read(t, 0, 2, x), ESKER_ERR_INVALID, "reading a tensor: tensor x float32 [2] is mapped");
        assert_fails(esker_tensor_write(t, 0, 2, x), ESKER_ERR_INVALID, "writing a tensor: tensor x float32 [2] is mapped");
        assert_ok(esker_tensor_unmap(t));
        assert_fails(esker_tensor_unmap(t), ESKER_ERR_INVALID, "not mapped");
    }
    assert_fails(esker_tensor_map(t, (esker_map_intent)3, &address), ESKER_ERR_INVALID, "unknown intent 3");
    /* The last reference takes the map away, and the bytes come back. */
    uint64_t before = test_memory_in_use();
    assert_ok(esker_tensor_map(t, ESKER_MAP_WRITE, &address));
    esker_tensor_unref(t);
    assert_true(test_memory_in_use() + 16 == before);
    assert_ok(esker_device_finish(dev));
}

static void *fill_mapped(void *address)
{
    for (int i = 0; i < 1000; i++) ((float *)address)[i] = (float)i;
    return NULL;
}

/* Parts of a tensor, of either kind of memory; what is outside of the range stays. */
static void maps_take_ranges(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    static const esker_memory_use uses[] = {ESKER_MEMORY_SHARED, ESKER_MEMORY_TEMPORARIES};
    static const int64_t ranges[][2] = {{0, 1}, {3, 5}, {1000, 3000}, {4999, 1}, {17, ESKER_TENSOR_REST}, {0, 5000}};
    enum { N = 5000 };
    static int32_t want[N], got[N];
    for (size_t u = 0; u < 2; u++) {
        for (int i = 0; i < N; i++) want[i] = i * 3;
        for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
            esker_tensor *t;
            int32_t *address;
            int64_t first = ranges[r][0], n = ranges[r][1] < 0 ? N - first : ranges[r][1];
            /* Each on a tensor of its own: writing moves it. */
            assert_ok(esker__tensor_create_on(
                dev, &(esker_tensor_desc){.dtype = ESKER_DTYPE_I32, .shape = {1, {N}}, .data = want, .label = "r"}, uses[u],
                false, &t));
            assert_ok(esker_tensor_map_range(t, ESKER_MAP_READ, first, ranges[r][1], (void **)&address));
            assert_memory_equal(address, want + first, (size_t)n * 4);
            assert_fails(esker_tensor_read(t, 0, 1, got), ESKER_ERR_INVALID, "tensor r int32 [5000] is mapped");
            assert_ok(esker_tensor_unmap(t));
            assert_int_equal(t->use, uses[u]);
            assert_ok(esker_tensor_map_range(t, ESKER_MAP_WRITE, first, ranges[r][1], (void **)&address));
            address[0] = want[first] = -7 - (int32_t)r;
            assert_ok(esker_tensor_unmap(t));
            assert_ok(esker_tensor_read(t, 0, ESKER_TENSOR_REST, got));
            assert_memory_equal(got, want, sizeof want);
            assert_ok(esker_tensor_map_range(t, ESKER_MAP_DISCARD, first, ranges[r][1], (void **)&address));
            for (int64_t i = 0; i < n; i++) address[i] = want[first + i] = (int32_t)(i * 5 + (int64_t)r);
            assert_ok(esker_tensor_unmap(t));
            assert_ok(esker_tensor_read(t, 0, ESKER_TENSOR_REST, got));
            assert_memory_equal(got, want, sizeof want);
            assert_fails(esker_tensor_map_range(t, ESKER_MAP_READ, 4999, 2, (void **)&address), ESKER_ERR_INVALID,
                         "2 elements from element 4999 on");
            assert_null(address);
            assert_fails(esker_tensor_map_range(t, ESKER_MAP_READ, 9, 0, (void **)&address), ESKER_ERR_INVALID,
                         "mapping tensor r int32 [5000]: no elements");
            /* Given back while it is mapped. */
            assert_ok(esker_tensor_map_range(t, r % 2 ? ESKER_MAP_READ : ESKER_MAP_WRITE, first, ranges[r][1],
                                             (void **)&address));
            esker_tensor_unref(t);
        }
    }
    assert_ok(esker_device_finish(dev));
}

static void note_release(void *data, void *user)
{
    memset(data, 0xee, 8); /* it may be reused */
    ++*(int *)user;
}

static void tensors_come_from_the_host(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t;
    float data[2] = {3, 4}, got[2];
    int n_released = 0;
    esker_tensor_desc desc = {.shape = {1, {2}}, .data = data};
    assert_ok(esker_tensor_from_host(dev, &desc, note_release, &n_released, &t));
    assert_ok(esker_tensor_read(t, 0, 2, got));
    assert_true(got[0] == 3 && got[1] == 4);
    esker_tensor_unref(t);
    assert_int_equal(n_released, 1);
    /* After a failure the caller has it still, and nobody calls. */
    desc.shape.rank = 9;
    assert_fails(esker_tensor_from_host(dev, &desc, note_release, &n_released, &t), ESKER_ERR_INVALID, "rank 9");
    assert_null(t);
    assert_int_equal(n_released, 1);
    desc = (esker_tensor_desc){.shape = {1, {2}}};
    assert_fails(esker_tensor_from_host(dev, &desc, note_release, &n_released, &t), ESKER_ERR_INVALID, "no data");
    assert_int_equal(n_released, 1);
}

static void mapped_memory_is_for_any_thread(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t;
    float got[1000];
    void *address;
    pthread_t thread;
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {1000}}}, &t));
    assert_ok(esker_tensor_map(t, ESKER_MAP_DISCARD, &address));
    assert_int_equal(pthread_create(&thread, NULL, fill_mapped, address), 0);
    pthread_join(thread, NULL);
    assert_ok(esker_tensor_unmap(t));
    assert_ok(esker_tensor_read(t, 0, ESKER_TENSOR_REST, got));
    for (int i = 0; i < 1000; i++) assert_true(got[i] == (float)i);
    esker_tensor_unref(t);
}

/* ---- Copies ---- */

static void copies_are_whole(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    for (size_t i = 0; i < sizeof creates / sizeof creates[0]; i++) {
        const struct create_row *row = &creates[i];
        esker_tensor *from, *to;
        esker_counters before, after;
        unsigned char *data = malloc(row->n_bytes), *other = malloc(row->n_bytes), *got = malloc(row->n_bytes);
        fill(data, row->n_bytes, (unsigned)i + 1);
        fill(other, row->n_bytes, (unsigned)i + 101);
        esker_tensor_desc desc = {.dtype = row->dtype, .shape = row->shape, .data = data};
        assert_ok(esker_tensor_create(dev, &desc, &from));
        desc.data = other;
        desc.shape = (esker_shape){1, {row->n_elems}};
        assert_ok(esker_tensor_create(dev, &desc, &to));
        esker_device_get_counters(dev, &before);
        assert_ok(esker_tensor_copy(to, from));
        /* What is written later does not show in the copy. */
        assert_ok(esker_tensor_write(from, 0, ESKER_TENSOR_REST, other));
        esker_device_get_counters(dev, &after);
        assert_true(after.dispatches == before.dispatches + 1);
        assert_true(after.downloaded_bytes == before.downloaded_bytes);
        assert_ok(esker_tensor_read(to, 0, ESKER_TENSOR_REST, got));
        assert_memory_equal(got, data, row->n_bytes);
        assert_ok(esker_tensor_read(from, 0, ESKER_TENSOR_REST, got));
        assert_memory_equal(got, other, row->n_bytes);
        /* And back, as the second of two copies that depend on each other. */
        assert_ok(esker_tensor_copy(from, to));
        assert_ok(esker_tensor_copy(to, from));
        assert_ok(esker_tensor_copy(to, to));
        assert_ok(esker_tensor_read(to, 0, ESKER_TENSOR_REST, got));
        assert_memory_equal(got, data, row->n_bytes);
        esker_tensor_unref(from);
        esker_tensor_unref(to);
        free(data), free(other), free(got);
    }
}

/* More groups than ES 3.1 promises for one axis: the grid is folded. */
static void a_long_copy_folds(void **state)
{
    (void)state;
    enum { N = 65535 * 64 + 65 };
    esker_device *dev = test_device();
    esker_tensor *from, *to;
    int32_t *data = malloc(N * sizeof *data), *got = malloc(N * sizeof *got);
    for (int i = 0; i < N; i++) data[i] = i + 1;
    esker_tensor_desc desc = {.dtype = ESKER_DTYPE_I32, .shape = {1, {N}}};
    assert_ok(esker_tensor_create(dev, &desc, &to));
    desc.data = data;
    assert_ok(esker_tensor_create(dev, &desc, &from));
    assert_ok(esker_tensor_copy(to, from));
    assert_ok(esker_tensor_read(to, 0, ESKER_TENSOR_REST, got));
    assert_memory_equal(got, data, N * sizeof *data);
    esker_tensor_unref(from);
    esker_tensor_unref(to);
    free(data), free(got);
}

static void bad_copies_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *x, *longer, *ints;
    void *address;
    float values[4] = {1, 2, 3, 4}, got[4];
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {4}}, .data = values, .label = "x"}, &x));
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {5}}, .label = "longer"}, &longer));
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.dtype = ESKER_DTYPE_I32, .shape = {1, {4}}}, &ints));
    assert_fails(esker_tensor_copy(x, longer), ESKER_ERR_INVALID,
                 "tensor longer float32 [5] to tensor x float32 [4]: 5 elements to 4");
    assert_fails(esker_tensor_copy(x, ints), ESKER_ERR_INVALID,
                 "int32 [4] to tensor x float32 [4]: the element types differ");
    assert_ok(esker_tensor_map(x, ESKER_MAP_READ, &address));
    assert_fails(esker_tensor_copy(x, ints), ESKER_ERR_INVALID, "copying to a tensor: tensor x float32 [4] is mapped");
    assert_fails(esker_tensor_copy(ints, x), ESKER_ERR_INVALID, "copying a tensor: tensor x float32 [4] is mapped");
    assert_ok(esker_tensor_unmap(x));
    assert_ok(esker_tensor_read(x, 0, 4, got));
    assert_memory_equal(got, values, sizeof values);
    esker_device *own;
    esker_tensor *elsewhere;
    assert_ok(esker_device_open(NULL, &own));
    assert_ok(esker_tensor_create(own, &(esker_tensor_desc){.shape = {1, {4}}}, &elsewhere));
    assert_fails(esker_tensor_copy(x, elsewhere), ESKER_ERR_INVALID, "different devices");
    esker_tensor_unref(elsewhere);
    esker_device_unref(own);
    esker_tensor_unref(x);
    esker_tensor_unref(longer);
    esker_tensor_unref(ints);
}

/* ---- References ---- */

#define N_THREADS 4
#define N_REFS    2000

static void *take_references(void *tensor)
{
    for (int i = 0; i < N_REFS; i++) {
        esker_tensor_ref(tensor);
        if (i % 4) esker_tensor_unref(tensor);
    }
    return NULL;
}

static void references_count_from_any_thread(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t;
    pthread_t threads[N_THREADS];
    float x = 3, got = 0;
    uint64_t before = test_memory_in_use();
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.data = &x}, &t));
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, take_references, t), 0);
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    /* A quarter of them is left, and our own. */
    for (int i = 0; i < N_THREADS * N_REFS / 4; i++) esker_tensor_unref(t);
    assert_ok(esker_tensor_read(t, 0, 1, &got));
    assert_true(got == 3);
    esker_tensor_unref(t);
    assert_true(test_memory_in_use() == before);
    esker_tensor_unref(NULL);
    assert_null(esker_tensor_ref(NULL));
}

static void *read_from_here(void *tensor)
{
    float x;
    esker_status st = esker_tensor_read(tensor, 0, 1, &x);
    return (void *)(uintptr_t)(st == ESKER_ERR_INVALID && strstr(esker_last_error(), "another thread"));
}

static void another_thread_is_refused(void **state)
{
    (void)state;
    esker_tensor *t;
    pthread_t thread;
    void *refused;
    assert_ok(esker_tensor_create(test_device(), &(esker_tensor_desc){0}, &t));
    assert_int_equal(pthread_create(&thread, NULL, read_from_here, t), 0);
    pthread_join(thread, &refused);
    assert_non_null(refused);
    esker_tensor_unref(t);
}

static void a_tensor_keeps_its_device(void **state)
{
    (void)state;
    test_device();
    esker_device *own;
    esker_tensor *t;
    float x = 4, got = 0;
    assert_ok(esker_device_open(NULL, &own));
    assert_ok(esker_tensor_create(own, &(esker_tensor_desc){.data = &x}, &t));
    esker_device_unref(own);
    assert_ok(esker_tensor_read(t, 0, 1, &got));
    assert_true(got == 4);
    esker_tensor_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents_come_back),
        cmocka_unit_test(ranges_touch_their_elements_alone),
        cmocka_unit_test(bad_ranges_are_refused),
        cmocka_unit_test(bad_descriptions_are_refused),
        cmocka_unit_test(maps_follow_their_intent),
        cmocka_unit_test(maps_are_counted),
        cmocka_unit_test(a_write_is_waited_for),
        cmocka_unit_test(a_mapped_tensor_is_the_cpus),
        cmocka_unit_test(maps_take_ranges),
        cmocka_unit_test(tensors_come_from_the_host),
        cmocka_unit_test(mapped_memory_is_for_any_thread),
        cmocka_unit_test(copies_are_whole),
        cmocka_unit_test(a_long_copy_folds),
        cmocka_unit_test(bad_copies_are_refused),
        cmocka_unit_test(references_count_from_any_thread),
        cmocka_unit_test(another_thread_is_refused),
        cmocka_unit_test(a_tensor_keeps_its_device),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
