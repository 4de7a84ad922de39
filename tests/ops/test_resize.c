/* device test: resize2d, nearest and bilinear, larger and smaller, forward and backward. */
#include "graph/graph.h"
#include "support/op_check.h"

typedef struct size {
    int rows, columns, mode;
} size;

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    const size *s = args;
    (void)graph;
    return esker_resize2d(in[0], s->rows, s->columns, (esker_resize_mode)s->mode);
}

/* clang-format off */
#define SHAPE(...) DIMS(__VA_ARGS__)
#define ROW(name_, shape_, rows_, columns_) \
    {name_ ", nearest", build, 1, {{.shape = SHAPE shape_, .lo = -2, .hi = 2}}, .args = &(size){rows_, columns_, ESKER_RESIZE_NEAREST}}, \
    {name_ ", bilinear", build, 1, {{.shape = SHAPE shape_, .lo = -2, .hi = 2}}, .args = &(size){rows_, columns_, ESKER_RESIZE_BILINEAR}}

static const op_check_row rows[] = {
    ROW("to its own size", (2, 3, 5, 7), 5, 7),
    ROW("twice as large", (2, 3, 4, 6), 8, 12),
    ROW("three times as large", (1, 2, 5, 3), 15, 9),
    ROW("half", (2, 2, 8, 6), 4, 3),
    ROW("odd, larger and smaller", (2, 3, 7, 9), 11, 4),
    ROW("one pixel to many", (2, 1, 1, 1), 5, 6),
    ROW("many to one pixel", (1, 2, 7, 8), 1, 1),
    ROW("129 to 127", (1, 1, 2, 129), 3, 127),
    ROW("a tenth", (1, 1, 30, 41), 3, 4),
};

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x = {.shape = DIMS(1, 2, 3, 4), .lo = 0, .hi = 1}, flat = {.shape = DIMS(3, 4), .lo = 0, .hi = 1};
    op_check_refused(build, &(size){0, 4, 0}, &x, 1, ESKER_ERR_INVALID, "resize2d(float32 [1, 2, 3, 4]): size [0, 4]");
    op_check_refused(build, &(size){4, 4, 2}, &x, 1, ESKER_ERR_INVALID, "unknown mode 2");
    op_check_refused(build, &(size){4, 40000, 0}, &x, 1, ESKER_ERR_LIMIT, "rows and columns are at most 32767");
    op_check_refused(build, &(size){4, 4, 0}, &flat, 1, ESKER_ERR_INVALID, "float32 [n, c, h, w] is needed");
}

/* As torch.nn.functional.interpolate defines them with align_corners=False: worked out by hand. */
static void values_are_pytorchs(void **state)
{
    (void)state;
    const double x[] = {0, 4, 8}, bilinear[] = {0, 1, 3, 5, 7, 8}, nearest[] = {0, 0, 4, 4, 8, 8}, smaller[] = {1, 7};
    static const struct { int columns, mode; } sizes[] = {{6, ESKER_RESIZE_BILINEAR}, {6, ESKER_RESIZE_NEAREST}, {2, ESKER_RESIZE_BILINEAR}};
    const double *wants[] = {bilinear, nearest, smaller};
    for (int k = 0; k < 3; k++) {
        esker_graph *graph;
        double **values;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {1, 1, 1, 3}});
        esker_node *y = esker_resize2d(in, 1, sizes[k].columns, (esker_resize_mode)sizes[k].mode);
        const double *given[2] = {x, NULL};
        assert_ok(esker__evaluate(graph, given, &y, 1, &values, NULL));
        for (int i = 0; i < sizes[k].columns; i++)
            if (!(values[y->id][i] - wants[k][i] < 1e-12 && wants[k][i] - values[y->id][i] < 1e-12))
                fail_msg("size %d: element %d is %g, want %g", k, i, values[y->id][i], wants[k][i]);
        esker__evaluate_free(graph, values);
        esker_graph_destroy(graph);
    }
}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule), cmocka_unit_test(values_are_pytorchs)};
    return op_check_main("resize", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
