/* The embedded digits: the same bytes everywhere, balanced, and digits that look like their labels. */
#include "support/test.h"

#include <esker/dataset.h>

#include "base/hash.h"
#include "data/class_means.h"
#include "data/digit_strokes.h"

enum { N_PIXELS = 784 };

static esker_dataset_info open_digits(esker_split split, uint64_t seed, int64_t n_samples, esker_dataset **out)
{
    esker_dataset_info info;
    assert_ok(esker_dataset_digits(&(esker_digits_desc){.split = split, .seed = seed, .n_samples = n_samples}, out));
    esker_dataset_get_info(*out, &info);
    return info;
}

static uint64_t hash_of(const esker_dataset_info *info)
{
    uint64_t hash = esker__hash(ESKER__HASH_START, info->samples, (size_t)info->n_samples * info->sample_bytes);
    for (int64_t i = 0; i < info->n_samples; i++) {
        unsigned char label = (unsigned char)info->labels[i]; /* a byte each, so that byte order plays no part */
        hash = esker__hash(hash, &label, 1);
    }
    return hash;
}

/* Whoever changes the drawing changes every accuracy that was ever reported for it: that must be on purpose. */
static void bytes_are_fixed(void **state)
{
    (void)state;
    static const struct {
        esker_split split;
        uint64_t seed;
        int64_t n_samples, want_samples;
        uint64_t hash;
    } cases[] = {
        {ESKER_SPLIT_TRAIN, 0, 0, 12000, UINT64_C(0x20ef35575f39321d)},
        {ESKER_SPLIT_TEST, 0, 0, 2000, UINT64_C(0x89bbbe7cff8f1e0a)},
        {ESKER_SPLIT_TRAIN, 7, 333, 333, UINT64_C(0x2259200eb3c84139)},
        {ESKER_SPLIT_TEST, UINT64_MAX, 1, 1, UINT64_C(0x553d0227178fca36)},
    };
    bool same = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_dataset *ds;
        esker_dataset_info info = open_digits(cases[i].split, cases[i].seed, cases[i].n_samples, &ds);
        assert_int_equal(info.n_samples, cases[i].want_samples);
        uint64_t hash = hash_of(&info);
        if (hash != cases[i].hash) {
            print_error("case %zu (%s): got 0x%016llx, wanted 0x%016llx\n", i, info.name, (unsigned long long)hash,
                        (unsigned long long)cases[i].hash);
            same = false;
        }
        esker_dataset_unref(ds);
    }
    assert_true(same);
}

static void strokes_are_sound(void **state)
{
    (void)state;
    int digit = -1;
    for (int i = 0; i < esker__n_pen_glyphs; i++) {
        const esker__pen_glyph *g = &esker__pen_glyphs[i];
        assert_in_range(g->digit - digit, 0, 1); /* sorted, none left out */
        digit = g->digit;
        assert_in_range(g->n_points, 3, ESKER__PEN_MAX_POINTS);
        for (int j = 0; j < ESKER__PEN_MAX_POINTS; j++) {
            esker__pen_point p = g->points[j];
            bool lift = p.x == ESKER__PEN_LIFT && p.y == ESKER__PEN_LIFT;
            if (j == 0 || j == g->n_points - 1) assert_false(lift);
            if (j >= g->n_points) assert_true(p.x == 0 && p.y == 0); /* the count covers all that is written */
            if (j == g->n_points - 1) assert_true(p.x != 0 || p.y != 0);
            assert_true(lift || (p.x >= -32 && p.x <= 32 && p.y >= -50 && p.y <= 50));
        }
    }
    assert_int_equal(digit, 9);
}

static void describes_itself(void **state)
{
    (void)state;
    esker_dataset *ds;
    esker_dataset_info info;
    assert_ok(esker_dataset_digits(NULL, &ds));
    esker_dataset_get_info(ds, &info);
    assert_string_equal(info.name, "digits:seed=0 train");
    assert_int_equal(info.sample_dtype, ESKER_DTYPE_U8);
    assert_true(esker_shape_equal(&info.sample_shape, &(esker_shape){3, {1, 28, 28}}));
    assert_int_equal(info.n_samples, 12000);
    assert_int_equal(info.n_classes, 10);
    assert_string_equal(info.class_names[7], "7");
    esker_dataset_unref(ds);
}

static void every_ten_hold_each_digit(void **state)
{
    (void)state;
    for (int split = 0; split < 2; split++) {
        esker_dataset *ds;
        esker_dataset_info info = open_digits((esker_split)split, 3, 1000, &ds);
        int at_place[10][10] = {{0}};
        for (int64_t i = 0; i < info.n_samples; i += 10) {
            int seen = 0;
            for (int j = 0; j < 10; j++) {
                seen |= 1 << info.labels[i + j];
                at_place[j][info.labels[i + j]]++;
            }
            assert_int_equal(seen, 1023);
        }
        /* 100 draws of one in ten: 10 on average, 3 the deviation. A label stuck to a place would count 100. */
        for (int j = 0; j < 10; j++)
            for (int k = 0; k < 10; k++) assert_in_range(at_place[j][k], 1, 25);
        esker_dataset_unref(ds);
    }
}

static void larger_set_begins_with_the_smaller(void **state)
{
    (void)state;
    esker_dataset *small, *large;
    esker_dataset_info a = open_digits(ESKER_SPLIT_TRAIN, 5, 37, &small);
    esker_dataset_info b = open_digits(ESKER_SPLIT_TRAIN, 5, 120, &large);
    assert_memory_equal(a.samples, b.samples, 37 * N_PIXELS);
    assert_memory_equal(a.labels, b.labels, 37 * sizeof *a.labels);
    esker_dataset_unref(small);
    esker_dataset_unref(large);
}

/* No image of one set appears in another: splits and seeds are different streams. */
static void sets_share_no_image(void **state)
{
    (void)state;
    static const struct {
        esker_split split;
        uint64_t seed;
    } sets[] = {
        {ESKER_SPLIT_TRAIN, 0}, {ESKER_SPLIT_TEST, 0}, {ESKER_SPLIT_TRAIN, 1}, {ESKER_SPLIT_TRAIN, (uint64_t)1 << 32}};
    enum { N_SETS = 4, N = 200 };
    static uint64_t hashes[N_SETS * N];
    for (int s = 0; s < N_SETS; s++) {
        esker_dataset *ds;
        esker_dataset_info info = open_digits(sets[s].split, sets[s].seed, N, &ds);
        for (int i = 0; i < N; i++)
            hashes[s * N + i] = esker__hash(ESKER__HASH_START, (const uint8_t *)info.samples + (size_t)i * N_PIXELS,
                                            N_PIXELS);
        esker_dataset_unref(ds);
    }
    for (int i = 0; i < N_SETS * N; i++)
        for (int j = 0; j < i; j++) assert_true(hashes[i] != hashes[j]);
}

/* Labels that belong to other images would bring this to 10 %; digits that never move, to nearly 100 %. */
static void class_means_recognise_some(void **state)
{
    (void)state;
    esker_dataset *train, *test;
    esker_dataset_info a = open_digits(ESKER_SPLIT_TRAIN, 0, 0, &train), b = open_digits(ESKER_SPLIT_TEST, 0, 0, &test);
    int64_t n_right = class_means_right(&a, &b);
    print_message("  nearest class mean: %.1f %% of the test images\n", 100.0 * (double)n_right / (double)b.n_samples);
    assert_in_range(n_right, b.n_samples * 55 / 100, b.n_samples * 75 / 100);
    esker_dataset_unref(train);
    esker_dataset_unref(test);
}

/* There is ink in every picture, and room for it. */
static void pictures_hold_ink(void **state)
{
    (void)state;
    esker_dataset *ds;
    esker_dataset_info info = open_digits(ESKER_SPLIT_TEST, 0, 0, &ds);
    const uint8_t *pixels = info.samples;
    for (int64_t i = 0; i < info.n_samples; i++, pixels += N_PIXELS) {
        int n_bright = 0;
        for (int p = 0; p < N_PIXELS; p++) n_bright += pixels[p] >= 80;
        if (n_bright < 15 || n_bright > N_PIXELS / 2) print_error("image %lld: %d bright pixels\n", (long long)i, n_bright);
        assert_in_range(n_bright, 15, N_PIXELS / 2);
    }
    esker_dataset_unref(ds);
}

static void refuses(void **state)
{
    (void)state;
    esker_dataset *ds;
    assert_fails(esker_dataset_digits(&(esker_digits_desc){.n_samples = -1}, &ds), ESKER_ERR_INVALID, "-1 images");
    assert_null(ds);
    assert_fails(esker_dataset_digits(&(esker_digits_desc){.n_samples = 10000001}, &ds), ESKER_ERR_INVALID, "10000001");
    assert_fails(esker_dataset_digits(&(esker_digits_desc){.split = 2}, &ds), ESKER_ERR_INVALID, "split 2");
    assert_fails(esker_dataset_digits(NULL, NULL), ESKER_ERR_INVALID, "out is NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_fixed),
        cmocka_unit_test(strokes_are_sound),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(every_ten_hold_each_digit),
        cmocka_unit_test(larger_set_begins_with_the_smaller),
        cmocka_unit_test(sets_share_no_image),
        cmocka_unit_test(class_means_recognise_some),
        cmocka_unit_test(pictures_hold_ink),
        cmocka_unit_test(refuses),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
