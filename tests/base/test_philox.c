/* Philox4x32-10 against the answers its authors published, and the sequences built on it. */
#include "support/test.h"

#include <math.h>

#include "base/philox.h"

static const struct known_answer {
    const char *name;
    uint32_t counter[4], key[2], want[4];
} answers[] = {
    /* kat_vectors of the Random123 library */
    {"zeros", {0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {"ones",
     {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {"digits of pi",
     {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        uint32_t got[4];
        esker__philox(answers[i].counter, answers[i].key, got);
        if (memcmp(got, answers[i].want, sizeof got) != 0)
            fail_msg("%s: %08x %08x %08x %08x", answers[i].name, got[0], got[1], got[2], got[3]);
    }
}

static void a_sequence_is_its_counters_in_order(void **state)
{
    (void)state;
    uint64_t seed = 0x123456789abcdef0u, stream = 0xfedcba9876543210u;
    esker__random random;
    esker__random_init(&random, seed, stream);
    for (uint32_t block = 0; block < 3; block++) {
        uint32_t counter[4] = {block, 0, (uint32_t)stream, (uint32_t)(stream >> 32)}, want[4];
        esker__philox(counter, (uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, want);
        for (int i = 0; i < 4; i++) assert_int_equal(esker__random_next(&random), want[i]);
    }
}

static void the_counter_carries(void **state)
{
    (void)state;
    esker__random random;
    esker__random_init(&random, 1, 2);
    random.counter[0] = UINT32_MAX;
    for (int i = 0; i < 5; i++) esker__random_next(&random);
    assert_int_equal(random.counter[0], 1);
    assert_int_equal(random.counter[1], 1);
}

static void unit_floats_stay_below_one(void **state)
{
    (void)state;
    assert_true(esker__unit_float(0) == 0.0f);
    assert_true(esker__unit_float(UINT32_MAX) < 1.0f);
    assert_true(esker__unit_float(0x80000000u) == 0.5f);
}

/* 5 standard deviations of the mean and of the second moment of n draws. */
static void moments_are_right(void **state)
{
    (void)state;
    enum { N = 100000 };
    esker__random random;
    esker__random_init(&random, test_seed(), 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        double x = (double)esker__random_normal(&random);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / N) <= 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) <= 5 * sqrt(2.0 / N));
    sum = 0;
    for (int i = 0; i < N; i++) {
        float x = esker__random_range(&random, -3, 5);
        assert_true(x >= -3 && x < 5);
        sum += (double)x;
    }
    assert_true(fabs(sum / N - 1) <= 5 * 8 / sqrt(12.0 * N));
}

static void below_is_even(void **state)
{
    (void)state;
    enum { N = 60000, SIDES = 6 };
    esker__random random;
    esker__random_init(&random, test_seed(), 1);
    int counts[SIDES] = {0};
    for (int i = 0; i < N; i++) {
        uint32_t side = esker__random_below(&random, SIDES);
        assert_true(side < SIDES);
        counts[side]++;
    }
    for (int i = 0; i < SIDES; i++) assert_true(abs(counts[i] - N / SIDES) <= 5 * sqrt(N * (1.0 / SIDES) * (5.0 / SIDES)));
    for (int i = 0; i < 10; i++) assert_int_equal(esker__random_below(&random, 1), 0);
    /* The worst case of rejection: just over half of all words are taken. */
    for (int i = 0; i < 1000; i++) assert_true(esker__random_below(&random, 0x80000001u) <= 0x80000000u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),       cmocka_unit_test(a_sequence_is_its_counters_in_order),
        cmocka_unit_test(the_counter_carries), cmocka_unit_test(unit_floats_stay_below_one),
        cmocka_unit_test(moments_are_right),   cmocka_unit_test(below_is_even),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
