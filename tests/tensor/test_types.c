/* Element types and shapes. */
#include "support/test.h"

#include <esker/types.h>

#define BIG ((int64_t)1 << 24)

static const struct shape_case {
    esker_shape shape;
    esker_status status;
    int64_t elems;
    const char *text, *message;
} cases[] = {
    {{0, {0}}, ESKER_OK, 1, "[]", NULL},
    {{1, {7}}, ESKER_OK, 7, "[7]", NULL},
    {{4, {64, 1, 28, 28}}, ESKER_OK, 50176, "[64, 1, 28, 28]", NULL},
    {{6, {1, 2, 3, 4, 5, 6}}, ESKER_OK, 720, "[1, 2, 3, 4, 5, 6]", NULL},
    {{2, {BIG, BIG}}, ESKER_OK, (int64_t)1 << 48, "[16777216, 16777216]", NULL},
    {{3, {BIG, BIG, 2}}, ESKER_ERR_INVALID, 0, "[16777216, 16777216, 2]", "more than 2^48"},
    {{2, {INT64_MAX, INT64_MAX}}, ESKER_ERR_INVALID, 0, "[9223372036854775807, 9223372036854775807]", "more than 2^48"},
    {{2, {3, 0}}, ESKER_ERR_INVALID, 0, "[3, 0]", "axis 1 has 0 elements"},
    {{1, {-4}}, ESKER_ERR_INVALID, 0, "[-4]", "axis 0 has -4 elements"},
    {{7, {1, 1, 1, 1, 1, 1}}, ESKER_ERR_INVALID, 0, "[1, 1, 1, 1, 1, 1]", "rank 7, 0 to 6"},
    {{-1, {0}}, ESKER_ERR_INVALID, 0, "[]", "rank -1, 0 to 6"},
};

static void shapes_count_and_print(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t elems = -1;
        char text[ESKER_SHAPE_TEXT_BYTES];
        assert_string_equal(esker_shape_text(&cases[i].shape, text), cases[i].text);
        if (cases[i].status == ESKER_OK)
            assert_ok(esker_shape_elems(&cases[i].shape, &elems));
        else
            assert_fails(esker_shape_elems(&cases[i].shape, &elems), cases[i].status, cases[i].message);
        assert_true(elems == cases[i].elems);
    }
}

static void the_longest_shape_fits(void **state)
{
    (void)state;
    char text[ESKER_SHAPE_TEXT_BYTES];
    esker_shape shape = {ESKER_MAX_RANK, {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN}};
    esker_shape_text(&shape, text);
    assert_int_equal(strlen(text), 2 + 6 * 20 + 5 * 2);
    assert_int_equal(text[strlen(text) - 1], ']');
}

static void equal_looks_at_used_axes_alone(void **state)
{
    (void)state;
    esker_shape a = {2, {3, 4, 9}}, b = {2, {3, 4, 8}}, c = {2, {3, 5}}, d = {3, {3, 4, 9}};
    assert_true(esker_shape_equal(&a, &b));
    assert_false(esker_shape_equal(&a, &c));
    assert_false(esker_shape_equal(&a, &d));
}

static void types_have_sizes_and_names(void **state)
{
    (void)state;
    assert_int_equal(esker_dtype_bytes(ESKER_DTYPE_F32), 4);
    assert_int_equal(esker_dtype_bytes(ESKER_DTYPE_I32), 4);
    assert_int_equal(esker_dtype_bytes(ESKER_DTYPE_U8), 1);
    assert_int_equal(esker_dtype_bytes(ESKER_DTYPE_F16), 2);
    assert_int_equal(esker_dtype_bytes(ESKER_DTYPE_I8), 1);
    assert_int_equal(esker_dtype_bytes((esker_dtype)5), 0);
    assert_string_equal(esker_dtype_name(ESKER_DTYPE_F32), "float32");
    assert_string_equal(esker_dtype_name(ESKER_DTYPE_I32), "int32");
    assert_string_equal(esker_dtype_name(ESKER_DTYPE_U8), "uint8");
    assert_string_equal(esker_dtype_name(ESKER_DTYPE_F16), "float16");
    assert_string_equal(esker_dtype_name(ESKER_DTYPE_I8), "int8");
    assert_string_equal(esker_dtype_name((esker_dtype)77), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_count_and_print),
        cmocka_unit_test(the_longest_shape_fits),
        cmocka_unit_test(equal_looks_at_used_axes_alone),
        cmocka_unit_test(types_have_sizes_and_names),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
