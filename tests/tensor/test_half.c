/* Halves on the host: every one of them, and every place where rounding changes its mind. */
#include "support/test.h"

#include <math.h>

#include <esker/types.h>

/* By the definition. */
static double value_of(unsigned half)
{
    unsigned exponent = half >> 10 & 0x1f, significand = half & 0x3ff;
    double value = exponent == 0    ? ldexp(significand, -24)
                   : exponent == 31 ? (significand ? NAN : INFINITY)
                                    : ldexp(1024 + significand, (int)exponent - 25);
    return half & 0x8000 ? -value : value;
}

static void every_half_comes_back(void **state)
{
    (void)state;
    for (unsigned half = 0; half < 0x10000; half++) {
        float value = esker_f32_from_f16((uint16_t)half);
        double want = value_of(half);
        unsigned back = esker_f16_from_f32(value);
        if (isnan(want)) {
            assert_true(isnan(value));
            assert_int_equal(back, half | 0x200); /* made quiet; sign and payload stay */
        } else {
            assert_true((double)value == want);
            assert_int_equal(!!signbit(value), half >> 15);
            assert_int_equal(back, half);
        }
    }
}

/* Between each half and the next: the middle goes to the even one, and the floats beside it to the nearer. */
static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned half = 0; half < 0x7c00; half++) {
        double low = value_of(half), high = half == 0x7bff ? 65536 : value_of(half + 1);
        float middle = (float)((low + high) / 2); /* exact: one more bit */
        unsigned even = half & 1 ? half + 1 : half;
        assert_true((double)middle == (low + high) / 2);
        assert_int_equal(esker_f16_from_f32(middle), even);
        assert_int_equal(esker_f16_from_f32(-middle), even | 0x8000);
        assert_int_equal(esker_f16_from_f32(nextafterf(middle, 0)), half);
        assert_int_equal(esker_f16_from_f32(nextafterf(middle, INFINITY)), half + 1);
        assert_int_equal(esker_f16_from_f32(-nextafterf(middle, INFINITY)), (half + 1) | 0x8000);
        assert_int_equal(esker_f16_from_f32(nextafterf((float)low, INFINITY)), half);
        if (half) assert_int_equal(esker_f16_from_f32(nextafterf((float)low, 0)), half);
    }
}

static void the_ends(void **state)
{
    (void)state;
    assert_int_equal(esker_f16_from_f32(65504), 0x7bff);
    assert_int_equal(esker_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(esker_f16_from_f32(65520), 0x7c00);
    assert_int_equal(esker_f16_from_f32(-3.4e38f), 0xfc00);
    assert_int_equal(esker_f16_from_f32(INFINITY), 0x7c00);
    assert_int_equal(esker_f16_from_f32(1e-45f), 0);
    assert_int_equal(esker_f16_from_f32(-1e-30f), 0x8000);
    assert_int_equal(esker_f16_from_f32(0x1p-24f), 1);
    assert_int_equal(esker_f16_from_f32(0x1p-14f), 0x400);
    assert_true(isnan(esker_f32_from_f16(esker_f16_from_f32(NAN))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_comes_back),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(the_ends),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
