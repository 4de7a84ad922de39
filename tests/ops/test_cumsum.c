/* device test: cumsum along every axis, short and long, and its gradient, which is the same from the end. */
#include "support/op_check.h"

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_cumsum(in[0], *(const int *)args);
}

/* clang-format off */
#define SHAPE(...) DIMS(__VA_ARGS__)
#define ROW(name_, shape_, axis_)  {name_, build, 1, {{.shape = SHAPE shape_, .lo = -2, .hi = 2}}, .args = &(int){axis_}}
#define LONG(name_, shape_, axis_) {name_, build, 1, {{.shape = SHAPE shape_, .lo = -2, .hi = 2}}, .args = &(int){axis_}, .no_differences = true}

static const op_check_row rows[] = {
    ROW("one element", (1), 0),
    ROW("63", (63), 0),
    ROW("64", (64), 0),
    ROW("127", (127), 0),
    ROW("128", (128), 0),
    ROW("129", (129), -1),
    ROW("rows of 5", (33, 5), 1),
    ROW("columns of 33", (33, 5), 0),
    ROW("a middle axis", (3, 17, 7), 1),
    ROW("an axis of 1", (3, 1, 7), 1),
    ROW("the second of six", (2, 5, 2, 1, 3, 2), -5),
    LONG("9000 rows, one lane each", (9000, 7), 1),
    LONG("9000 columns, one lane each", (7, 9000), 0),
    LONG("8192, whole", (8192), 0),
    LONG("8193, in chunks", (8193), 0),
    LONG("100003, in chunks", (100003), 0),
    LONG("3 columns of 20001, in chunks", (20001, 3), 0),
    LONG("2 x 10000 x 5, in chunks", (2, 10000, 5), 1),
};
/* clang-format on */

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x = {.shape = DIMS(6, 4), .lo = 0, .hi = 1}, scalar = {.shape = {0}, .lo = 0, .hi = 1};
    const op_check_input whole = {.dtype = ESKER_DTYPE_I32, .shape = DIMS(6), .lo = 0, .hi = 1};
    op_check_refused(build, &(int){2}, &x, 1, ESKER_ERR_INVALID, "cumsum(float32 [6, 4]): axis 2, the axes are -2 to 1");
    op_check_refused(build, &(int){0}, &scalar, 1, ESKER_ERR_INVALID, "a scalar has no axis");
    op_check_refused(build, &(int){0}, &whole, 1, ESKER_ERR_INVALID, "cumsum(int32 [6]): float32 is needed");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("cumsum", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
