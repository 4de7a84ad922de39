/* device test: softmax and log_softmax along any axis, with their gradients. */
#include "support/op_check.h"

static esker_node *build_softmax(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_softmax(in[0], *(const int *)args);
}

static esker_node *build_log_softmax(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_log_softmax(in[0], *(const int *)args);
}

static const int axis_0 = 0, axis_1 = 1, axis_2 = 2, last = -1, axis_before_last = -2, far = 7, too_far_back = -3;

/* Both operations on the same values. */
#define BOTH(title, axis, ...)                                                                                  \
    {"softmax, " title, build_softmax, 1, {{.shape = __VA_ARGS__, .lo = -4, .hi = 4}}, .args = &axis},          \
    {                                                                                                           \
        "log_softmax, " title, build_log_softmax, 1, {{.shape = __VA_ARGS__, .lo = -4, .hi = 4}}, .args = &axis \
    }
#define BOTH_LARGE(title, axis, ...)                                                                                     \
    {"softmax, " title, build_softmax,         1, {{.shape = __VA_ARGS__, .lo = -4, .hi = 4}},                           \
     .args = &axis,     .no_differences = true},                                                                         \
    {                                                                                                                    \
        "log_softmax, " title, build_log_softmax, 1, {{.shape = __VA_ARGS__, .lo = -4, .hi = 4}}, .args = &axis,         \
                                                                                                  .no_differences = true \
    }

static const op_check_row rows[] = {
    BOTH("one element", last, {2, {1, 1}}),
    BOTH("a vector", axis_0, {1, {7}}),
    BOTH("one class: every result is 1 or 0", last, {2, {5, 1}}),
    BOTH("a batch of digits", last, {2, {64, 10}}),
    BOTH("127 rows", last, {2, {127, 3}}),
    BOTH("129 rows, one past a group of single lanes", last, {2, {129, 4}}),
    BOTH("rows of 127", last, {2, {3, 127}}),
    BOTH("rows of 128", last, {2, {2, 128}}),
    BOTH("rows of 129", last, {2, {3, 129}}),
    BOTH("rows of 513, one past one element for every lane and round", last, {2, {2, 513}}),
    {"softmax, a long row", build_softmax, 1, {{.shape = {2, {2, 5000}}, .lo = -4, .hi = 4}}, .args = &last},
    /* The weighted sum is near -1e5, so that its differences over 2e-6 carry an error of 1e-4. */
    {"log_softmax, a long row",
     build_log_softmax,
     1,
     {{.shape = {2, {2, 5000}}, .lo = -4, .hi = 4}},
     .args = &last,
     .difference_atol = 5e-4},
    BOTH("down columns", axis_0, {2, {10, 33}}),
    BOTH("down 129 columns of 2", axis_0, {2, {2, 129}}),
    BOTH("down long columns", axis_0, {2, {300, 17}}),
    BOTH("down one long column but for a neighbour", axis_0, {2, {1000, 2}}),
    BOTH("the middle of three axes", axis_1, {3, {3, 21, 5}}),
    BOTH("an axis counted from the end", axis_before_last, {3, {2, 9, 7}}),
    BOTH("the middle of five axes", axis_2, {5, {2, 3, 5, 2, 3}}),
    BOTH_LARGE("many rows", last, {2, {70000, 3}}),
    BOTH_LARGE("many columns", axis_0, {2, {3, 70000}}),
    BOTH_LARGE("a row that is cut", last, {2, {2, 40001}}),
    BOTH_LARGE("columns that are cut", axis_0, {2, {33000, 3}}),
    {"softmax, more rows than one round of groups",
     build_softmax,
     1,
     {{.shape = {2, {16400, 257}}, .lo = -4, .hi = 4}},
     .args = &last,
     .no_gradient = true},

    {"softmax, exp() alone overflows", build_softmax, 1, {{.shape = {2, {3, 130}}, .lo = 90, .hi = 100}}, .args = &last},
    {"softmax, far below zero", build_softmax, 1, {{.shape = {2, {3, 64}}, .lo = -1e4, .hi = -9990}}, .args = &last},
    {"softmax, far above zero", build_softmax, 1, {{.shape = {2, {3, 64}}, .lo = 9990, .hi = 1e4}}, .args = &last},
    {"softmax, one takes it all", build_softmax, 1, {{.shape = {2, {8, 12}}, .lo = -1e4, .hi = 1e4}}, .args = &last},
    {"softmax, a cut row far below zero",
     build_softmax,
     1,
     {{.shape = {1, {33001}}, .lo = -1e4, .hi = -9990}},
     .args = &last,
     .no_differences = true},
    {"softmax, equal values",
     build_softmax,
     1,
     {{.shape = {2, {3, 200}}, .lo = 3, .hi = 3, .fill = OP_CHECK_WHOLE}},
     .args = &last},
    {"log_softmax, far below zero",
     build_log_softmax,
     1,
     {{.shape = {2, {3, 64}}, .lo = -1e4, .hi = -9990}},
     .args = &last},
    {"log_softmax, far above zero", build_log_softmax, 1, {{.shape = {2, {3, 64}}, .lo = 9990, .hi = 1e4}}, .args = &last},
    {"log_softmax, one takes it all",
     build_log_softmax,
     1,
     {{.shape = {2, {8, 12}}, .lo = -1e4, .hi = 1e4}},
     .args = &last},
};

static void refuses_what_has_no_such_axis(void **state)
{
    (void)state;
    const op_check_input matrix = {.shape = {2, {4, 5}}, .hi = 1}, scalar = {.hi = 1};
    const op_check_input integers = {.dtype = ESKER_DTYPE_I32, .shape = {2, {4, 5}}, .hi = 1};
    op_check_refused(build_softmax, &far, &matrix, 1, ESKER_ERR_INVALID,
                     "softmax(float32 [4, 5]): axis 7, there are -2 to 1");
    op_check_refused(build_log_softmax, &too_far_back, &matrix, 1, ESKER_ERR_INVALID, "axis -3, there are -2 to 1");
    op_check_refused(build_softmax, &axis_0, &scalar, 1, ESKER_ERR_INVALID, "a scalar has no axis");
    op_check_refused(build_log_softmax, &axis_0, &integers, 1, ESKER_ERR_INVALID, "log_softmax(int32 [4, 5])");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refuses_what_has_no_such_axis)};
    return op_check_main("softmax", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
