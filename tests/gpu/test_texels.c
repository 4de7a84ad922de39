/* device test: buffer textures, where kernels read through them: their number is bounded, and none outlives its buffer. */
#include "gpu/kernels.h"

#include "gpu/internal.h"

enum { RANGES = 20000, WORDS = 64 };

typedef struct fixture {
    esker_device *dev;
    const esker__kernel *scale;
    esker__buffer *x, *y, *step;
    uint32_t align;
} fixture;

static bool open_fixture(fixture *f)
{
    *f = (fixture){.dev = test_device()};
    if (!f->dev->texels) return false;
    f->align = f->dev->info.limits.storage_align;
    test_kernel_folder("texels");
    assert_ok(esker__kernel_get(f->dev, "scale", "SCALE 3u\n", &f->scale));
    assert_int_equal(f->scale->texel_mask, 1);
    assert_ok(esker__buffer_create(f->dev, (uint64_t)RANGES * f->align + 4 * WORDS, ESKER__BUFFER_DEVICE, &f->x));
    assert_ok(esker__buffer_create(f->dev, 4 * WORDS, ESKER__BUFFER_DEVICE, &f->y));
    assert_ok(esker__buffer_create(f->dev, 4096, ESKER__BUFFER_UPLOAD, &f->step));
    assert_ok(esker__buffer_write(f->step, 0, (const uint32_t[4]){WORDS, 7}, 16));
    return true;
}

static void close_fixture(fixture *f)
{
    esker__buffer_destroy(f->step);
    esker__buffer_destroy(f->y);
    esker__buffer_destroy(f->x);
    unsetenv("ESKER_GLSL_DIR");
}

static void run_at(const fixture *f, const esker__buffer *x, uint64_t offset)
{
    assert_ok(esker__submit(f->dev,
                            &(esker__launch){.kernel = f->scale,
                                             .groups = {1, 1, 1},
                                             .n_storage = 2,
                                             .n_uniform = 1,
                                             .storage = {{x, offset, 4 * WORDS}, {f->y, 0, 4 * WORDS}},
                                             .uniform = {{f->step, 0, 16}},
                                             .barrier = true},
                            1));
}

static void expect(const fixture *f, uint32_t first)
{
    uint32_t y[WORDS];
    assert_ok(esker__buffer_read(f->y, 0, y, sizeof y));
    for (uint32_t i = 0; i < WORDS; i++)
        if (y[i] != (first + i) * 3 + 7) fail_msg("element %u is %u, want %u", i, y[i], (first + i) * 3 + 7);
}

static uint64_t objects(const fixture *f)
{
    esker_counters counters;
    esker_device_get_counters(f->dev, &counters);
    return counters.gl_objects;
}

static void ranges_are_textures_of_their_own(void **state)
{
    (void)state;
    fixture f;
    if (!open_fixture(&f)) skip();
    uint32_t words[2 * WORDS];
    for (uint32_t i = 0; i < 2 * WORDS; i++) words[i] = i;
    assert_ok(esker__buffer_write(f.x, 0, words, sizeof words));
    for (int pass = 0; pass < 2; pass++) {
        uint64_t before = objects(&f);
        run_at(&f, f.x, 0);
        expect(&f, 0);
        run_at(&f, f.x, f.align);
        expect(&f, f.align / 4);
        assert_int_equal(objects(&f) - before, pass ? 0 : 2);
    }
    close_fixture(&f);
}

/* Those not used for a while are given up, and made again. */
static void there_are_not_any_number(void **state)
{
    (void)state;
    fixture f;
    if (!open_fixture(&f)) skip();
    uint64_t before = objects(&f);
    for (int i = 0; i < RANGES; i++) run_at(&f, f.x, (uint64_t)i * f.align);
    assert_int_equal(objects(&f) - before, RANGES);
    before = objects(&f);
    run_at(&f, f.x, (uint64_t)(RANGES - 1) * f.align);
    assert_int_equal(objects(&f) - before, 0);
    run_at(&f, f.x, 0);
    assert_int_equal(objects(&f) - before, 1);
    close_fixture(&f);
}

/* GL gives the names of deleted buffers to new ones. */
static void none_outlives_its_buffer(void **state)
{
    (void)state;
    fixture f;
    if (!open_fixture(&f)) skip();
    for (uint32_t k = 0; k < 8; k++) {
        esker__buffer *x;
        uint32_t words[WORDS];
        for (uint32_t i = 0; i < WORDS; i++) words[i] = 1000 * k + i;
        assert_ok(esker__buffer_create(f.dev, sizeof words, ESKER__BUFFER_DEVICE, &x));
        assert_ok(esker__buffer_write(x, 0, words, sizeof words));
        run_at(&f, x, 0);
        expect(&f, 1000 * k);
        esker__buffer_destroy(x);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_textures_of_their_own),
        cmocka_unit_test(there_are_not_any_number),
        cmocka_unit_test(none_outlives_its_buffer),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
