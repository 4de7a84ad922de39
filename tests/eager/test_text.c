/* device test: tensors as text, against what NumPy 2 prints. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/eager.h>

typedef struct row {
    const char *name;
    esker_dtype dtype;
    esker_shape shape;
    double values[24];
    const char *want;
} row;

static const row rows[] = {
    {"whole numbers", ESKER_DTYPE_F32, {1, {3}}, {1, 2, 3}, "[1. 2. 3.]"},
    {"widths before and behind the point",
     ESKER_DTYPE_F32,
     {1, {4}},
     {1, -2.5, 3.25, 100},
     "[  1.    -2.5    3.25 100.  ]"},
    {"the fewest digits", ESKER_DTYPE_F32, {1, {3}}, {0.1, 1.0 / 3, 2.0 / 3}, "[0.1        0.33333334 0.6666667 ]"},
    {"two axes", ESKER_DTYPE_F32, {2, {2, 2}}, {1, 2, 3, 4}, "[[1. 2.]\n [3. 4.]]"},
    {"three axes", ESKER_DTYPE_F32, {3, {2, 2, 1}}, {1, 2, 3, 4}, "[[[1.]\n  [2.]]\n\n [[3.]\n  [4.]]]"},
    {"powers of ten", ESKER_DTYPE_F32, {1, {2}}, {1e-5, 1}, "[1.e-05 1.e+00]"},
    {"powers of ten with digits", ESKER_DTYPE_F32, {1, {2}}, {1.5e10, -2.25}, "[ 1.50e+10 -2.25e+00]"},
    {"large", ESKER_DTYPE_F32, {1, {1}}, {1e8}, "[1.e+08]"},
    {"no numbers", ESKER_DTYPE_F32, {1, {3}}, {NAN, 1, INFINITY}, "[nan  1. inf]"},
    {"below all", ESKER_DTYPE_F32, {1, {2}}, {-INFINITY, 0.5}, "[-inf  0.5]"},
    {"nothing finite", ESKER_DTYPE_F32, {1, {2}}, {NAN, NAN}, "[nan nan]"},
    {"zeros", ESKER_DTYPE_F32, {1, {2}}, {0, 0}, "[0. 0.]"},
    {"integers", ESKER_DTYPE_I32, {2, {2, 2}}, {1, -20, 300, 4}, "[[  1 -20]\n [300   4]]"},
    {"bytes", ESKER_DTYPE_U8, {1, {3}}, {0, 128, 255}, "[  0 128 255]"},
    {"halves", ESKER_DTYPE_F16, {1, {2}}, {0.1, 2}, "[0.1 2. ]"},
    {"a scalar", ESKER_DTYPE_F32, {0}, {2}, "2.0"},
    {"a scalar with digits", ESKER_DTYPE_F32, {0}, {0.1}, "0.1"},
    {"a small scalar", ESKER_DTYPE_F32, {0}, {1e-5}, "1e-05"},
    {"an integer scalar", ESKER_DTYPE_I32, {0}, {-7}, "-7"},
};

static esker_tensor *make(const row *r)
{
    union {
        float f32[24];
        int32_t i32[24];
        uint8_t u8[24];
        uint16_t f16[24];
    } data;
    int64_t n;
    assert_ok(esker_shape_elems(&r->shape, &n));
    for (int64_t i = 0; i < n; i++) {
        if (r->dtype == ESKER_DTYPE_F32) data.f32[i] = (float)r->values[i];
        if (r->dtype == ESKER_DTYPE_I32) data.i32[i] = (int32_t)r->values[i];
        if (r->dtype == ESKER_DTYPE_U8) data.u8[i] = (uint8_t)r->values[i];
        if (r->dtype == ESKER_DTYPE_F16) data.f16[i] = esker_f16_from_f32((float)r->values[i]);
    }
    esker_tensor *t = esker_tensor_from_data(test_device(), r->dtype, &r->shape, &data);
    assert_non_null(t);
    return t;
}

static void small_tensors(void **state)
{
    (void)state;
    char got[512];
    size_t length;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        esker_tensor *t = make(&rows[i]);
        assert_ok(esker_tensor_text(t, got, sizeof got, &length));
        if (strcmp(got, rows[i].want)) fail_msg("%s:\n%s\nwant\n%s", rows[i].name, got, rows[i].want);
        assert_int_equal(length, strlen(rows[i].want));
        char part[5];
        assert_ok(esker_tensor_text(t, part, sizeof part, NULL));
        assert_memory_equal(part, got, strlen(part));
        assert_true(strlen(part) == (length < 4 ? length : 4));
        assert_ok(esker_tensor_text(t, NULL, 0, &length));
        esker_tensor_unref(t);
    }
}

static void check_arange(const esker_shape *shape, int64_t n, const char *want)
{
    char got[1024];
    esker_device *dev = test_device();
    assert_ok(esker_scope_open(dev));
    esker_tensor *t = esker_tensor_reshape(esker_tensor_arange(dev, 0, (double)n, 1), shape);
    assert_non_null(t);
    assert_ok(esker_tensor_text(t, got, sizeof got, NULL));
    if (strcmp(got, want)) fail_msg("got\n%s\nwant\n%s", got, want);
    assert_ok(esker_scope_close(dev));
}

static void long_ones_are_wrapped_and_cut(void **state)
{
    (void)state;
    check_arange(&(esker_shape){1, {20}}, 20,
                 "[ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14. 15. 16. 17.\n 18. 19.]");
    check_arange(&(esker_shape){2, {2, 20}}, 40,
                 "[[ 0.  1.  2.  3.  4.  5.  6.  7.  8.  9. 10. 11. 12. 13. 14. 15. 16. 17.\n  18. 19.]\n"
                 " [20. 21. 22. 23. 24. 25. 26. 27. 28. 29. 30. 31. 32. 33. 34. 35. 36. 37.\n  38. 39.]]");
    check_arange(&(esker_shape){1, {2000}}, 2000, "[0.000e+00 1.000e+00 2.000e+00 ... 1.997e+03 1.998e+03 1.999e+03]");
    check_arange(&(esker_shape){2, {40, 50}}, 2000,
                 "[[0.000e+00 1.000e+00 2.000e+00 ... 4.700e+01 4.800e+01 4.900e+01]\n"
                 " [5.000e+01 5.100e+01 5.200e+01 ... 9.700e+01 9.800e+01 9.900e+01]\n"
                 " [1.000e+02 1.010e+02 1.020e+02 ... 1.470e+02 1.480e+02 1.490e+02]\n"
                 " ...\n"
                 " [1.850e+03 1.851e+03 1.852e+03 ... 1.897e+03 1.898e+03 1.899e+03]\n"
                 " [1.900e+03 1.901e+03 1.902e+03 ... 1.947e+03 1.948e+03 1.949e+03]\n"
                 " [1.950e+03 1.951e+03 1.952e+03 ... 1.997e+03 1.998e+03 1.999e+03]]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(small_tensors), cmocka_unit_test(long_ones_are_wrapped_and_cut)};
    return test_finish(cmocka_run_group_tests_name("tensors as text", tests, NULL, NULL));
}
