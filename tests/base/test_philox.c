/* Philox against published vectors, and the sequences made from it. */
#include "support/test.h"

#include <math.h>

#include "base/philox.h"

/* Random123's kat_vectors for philox4x32 10. */
static const struct {
    uint32_t counter[4], key[2], want[4];
} vectors[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void published_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t got[4];
        esker__philox(vectors[i].counter, vectors[i].key, got);
        assert_memory_equal(got, vectors[i].want, sizeof got);
    }
}

static void unit_floats_stay_below_one(void **state)
{
    (void)state;
    assert_true(esker__unit_float(0) == 0);
    assert_true(esker__unit_float(0xff) == 0);
    assert_true(esker__unit_float(0x100) == 1.0f / 16777216);
    assert_true(esker__unit_float(0x80000000) == 0.5f);
    assert_true(esker__unit_float(UINT32_MAX) == 16777215.0f / 16777216);
}

static void sequences_follow_the_counter(void **state)
{
    (void)state;
    esker__random random, again, other;
    uint32_t words[4], counter[4] = {0, 0, 0x55667788, 0x11223344}, key[2] = {0x9abcdef0, 0x12345678};
    const uint64_t seed = 0x123456789abcdef0, stream = 0x1122334455667788;
    esker__random_init(&random, seed, stream);
    for (uint32_t block = 0; block < 3; block++) {
        counter[0] = block;
        esker__philox(counter, key, words);
        for (int i = 0; i < 4; i++) assert_int_equal(esker__random_next(&random), words[i]);
    }
    /* The low word of the counter carries into the next. */
    random.counter[0] = UINT32_MAX;
    for (int i = 0; i < 4; i++) esker__random_next(&random);
    counter[0] = 0;
    counter[1] = 1;
    esker__philox(counter, key, words);
    assert_int_equal(esker__random_next(&random), words[0]);

    int same = 0;
    esker__random_init(&random, seed, 1);
    esker__random_init(&again, seed, 1);
    esker__random_init(&other, seed, 2);
    for (int i = 0; i < 100; i++) {
        uint32_t word = esker__random_next(&random);
        assert_int_equal(word, esker__random_next(&again));
        same += word == esker__random_next(&other);
    }
    assert_true(same < 3);
}

static void ranges_keep_their_ends(void **state)
{
    (void)state;
    static const float rows[][2] = {{1, 2}, {-1, 1}, {0, 1e-3f}, {100, 101}, {-3, -2}, {16777216, 16777218}, {5, 5}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        esker__random random;
        float lo = rows[r][0], hi = rows[r][1];
        esker__random_init(&random, test_seed(), r);
        for (int i = 0; i < 10000; i++) {
            float x = esker__random_range(&random, lo, hi);
            assert_true(x >= lo && (x < hi || lo == hi));
        }
        /* The largest unit float, whose sum with `lo` may round up to `hi`. */
        random.left = 1;
        random.words[3] = UINT32_MAX;
        float x = esker__random_range(&random, lo, hi);
        assert_true(x >= lo && (x < hi || lo == hi));
    }
}

static void many_at_once_are_the_same(void **state)
{
    (void)state;
    float got[67], want[67];
    for (int before = 0; before < 5; before++) {
        for (uint64_t n = 0; n <= 67; n++) {
            esker__random random, one_by_one;
            esker__random_init(&random, test_seed(), n);
            random.counter[0] = UINT32_MAX - 3; /* the low word of the counter carries over on the way */
            for (int i = 0; i < before; i++) esker__random_next(&random);
            one_by_one = random;
            esker__random_fill_range(&random, -0.3f, 2, got, n);
            for (uint64_t i = 0; i < n; i++) want[i] = esker__random_range(&one_by_one, -0.3f, 2);
            assert_memory_equal(got, want, n * sizeof *got);
            assert_int_equal(esker__random_next(&random), esker__random_next(&one_by_one));
        }
    }
}

static void normals_have_their_moments(void **state)
{
    (void)state;
    enum { n = 100000 };
    esker__random random;
    double sum = 0, squares = 0, fourth = 0;
    int beyond = 0;
    esker__random_init(&random, test_seed(), 7);
    for (int i = 0; i < n; i++) {
        double x = esker__random_normal(&random);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        beyond += fabs(x) > 1.959964;
    }
    /* Five standard errors each. */
    assert_true(fabs(sum / n) < 5 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 5 * sqrt(2.0 / n));
    assert_true(fabs(fourth / n - 3) < 5 * sqrt(96.0 / n));
    assert_true(fabs(beyond - 0.05 * n) < 5 * sqrt(0.05 * 0.95 * n));
    /* A unit float of 0 and of almost 1 give finite values. */
    for (uint32_t word = 0; word < 2; word++) {
        random.left = 2;
        random.words[2] = random.words[3] = word ? UINT32_MAX : 0;
        assert_true(isfinite(esker__random_normal(&random)));
    }
}

static void below_is_even(void **state)
{
    (void)state;
    static const uint32_t ns[] = {1, 2, 3, 7, 10, 128, 129};
    for (size_t k = 0; k < sizeof ns / sizeof ns[0]; k++) {
        int counts[129] = {0}, n = (int)ns[k], draws = n * 1000;
        esker__random random;
        esker__random_init(&random, test_seed(), k);
        for (int i = 0; i < draws; i++) {
            uint32_t x = esker__random_below(&random, ns[k]);
            assert_true(x < ns[k]);
            counts[x]++;
        }
        for (int i = 0; i < n; i++) assert_true(abs(counts[i] - 1000) < 6 * 32);
    }
    /* Words in the uneven rest are drawn again: 2^32 = 3 * 1431655765 + 1. */
    esker__random random;
    esker__random_init(&random, 1, 1);
    random.left = 2;
    random.words[2] = UINT32_MAX;
    random.words[3] = 4;
    assert_int_equal(esker__random_below(&random, 3), 1);
    assert_int_equal(random.left, 0);
    random.left = 1;
    random.words[3] = 0xfffffffe;
    assert_int_equal(esker__random_below(&random, UINT32_MAX), 0xfffffffe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(unit_floats_stay_below_one),
        cmocka_unit_test(sequences_follow_the_counter),
        cmocka_unit_test(ranges_keep_their_ends),
        cmocka_unit_test(many_at_once_are_the_same),
        cmocka_unit_test(normals_have_their_moments),
        cmocka_unit_test(below_is_even),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
