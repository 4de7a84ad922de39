/* device test: reshape, flatten, expand and transpose, forward and backward. */
#include "support/op_check.h"

typedef struct target {
    esker_shape shape;
} target;

typedef struct order {
    int axes[ESKER_MAX_RANK];
} order;

static esker_node *build_reshape(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_reshape(in[0], &((const target *)args)->shape);
}

/* Computed on, so that the view has something to run behind it and in front of it. */
static esker_node *build_reshape_between(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_mul(esker_reshape(esker_tanh(in[0]), &((const target *)args)->shape), in[1]);
}

static esker_node *build_without_shape(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return args ? esker_expand(in[0], NULL) : esker_reshape(in[0], NULL);
}

static esker_node *build_flatten(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_flatten(in[0]);
}

static esker_node *build_expand(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_expand(in[0], &((const target *)args)->shape);
}

static esker_node *build_transpose(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_transpose(in[0], args ? ((const order *)args)->axes : NULL);
}

static esker_node *build_transpose_twice(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_transpose(esker_exp(esker_transpose(in[0], ((const order *)args)->axes)), NULL);
}

#define SHAPE(...) DIMS(__VA_ARGS__)
#define X(shape_)                                    \
    {                                                \
        {                                            \
            .shape = SHAPE shape_, .lo = -2, .hi = 2 \
        }                                            \
    }
#define TO(...)           \
    &(target)             \
    {                     \
        DIMS(__VA_ARGS__) \
    }
#define TRANSPOSE(name_, shape_, ...)                          \
    {                                                          \
        name_, build_transpose, 1, X(shape_), .args = &(order) \
        {                                                      \
            {                                                  \
                __VA_ARGS__                                    \
            }                                                  \
        }                                                      \
    }
#define BIG(name_, shape_, ...)                                                                       \
    {                                                                                                 \
        name_, build_transpose, 1, X(shape_), .args = &(order){{__VA_ARGS__}}, .no_differences = true \
    }
#define I32(shape_)                                                                \
    {                                                                              \
        {                                                                          \
            .dtype = ESKER_DTYPE_I32, .shape = SHAPE shape_, .lo = -2e9, .hi = 2e9 \
        }                                                                          \
    }

/* clang-format off */
static const op_check_row rows[] = {
    {"reshape", build_reshape, 1, X((6, 35)), .args = TO(10, 21)},
    {"reshape, one axis open", build_reshape, 1, X((6, 35)), .args = TO(-1, 14)},
    {"reshape, the first kept", build_reshape, 1, X((3, 5, 7)), .args = TO(0, -1)},
    {"reshape, two kept, rank 4", build_reshape, 1, X((3, 5, 8)), .args = TO(0, 0, 2, -1)},
    {"reshape to a scalar", build_reshape, 1, X((1, 1)), .args = &(target){SCALAR}},
    {"reshape of a scalar", build_reshape, 1, {{.shape = SCALAR, .lo = -2, .hi = 2}}, .args = TO(1, 1, 1)},
    {"reshape of bytes", build_reshape, 1, {{.dtype = ESKER_DTYPE_U8, .shape = DIMS(3, 7), .lo = 0, .hi = 255}}, .args = TO(7, 3), .no_gradient = true},
    {"reshape between operations", build_reshape_between, 2, {{.shape = DIMS(4, 33), .lo = -2, .hi = 2}, {.shape = DIMS(11), .lo = -2, .hi = 2}}, .args = TO(12, 11)},
    {"flatten", build_flatten, 1, X((3, 2, 5, 7)), .args = NULL},
    {"flatten of rank 1", build_flatten, 1, X((129)), .args = NULL},

    {"expand a scalar", build_expand, 1, {{.shape = SCALAR, .lo = -2, .hi = 2}}, .args = TO(129)},
    {"expand a row", build_expand, 1, X((10)), .args = TO(13, 10)},
    {"expand a row of quads", build_expand, 1, X((12)), .args = TO(13, 12)},
    {"expand and keep an axis", build_expand, 1, X((13, 1)), .args = TO(3, 0, 10)},
    {"expand a column", build_expand, 1, X((13, 1)), .args = TO(13, 10)},
    {"expand a column to quads", build_expand, 1, X((13, 1)), .args = TO(13, 128)},
    {"expand in the middle", build_expand, 1, X((3, 1, 5)), .args = TO(2, 3, 7, 5)},
    {"expand rank 6", build_expand, 1, X((2, 1, 3, 1, 2)), .args = TO(5, 2, 4, 3, 3, 2)},
    {"expand by nothing", build_expand, 1, X((3, 43)), .args = TO(3, 43)},
    {"expand int32", build_expand, 1, I32((5, 1)), .args = TO(5, 9), .no_gradient = true},

    {"transpose a scalar", build_transpose, 1, {{.shape = SCALAR, .lo = -2, .hi = 2}}, .args = NULL},
    {"transpose rank 1", build_transpose, 1, X((129)), .args = NULL},
    {"transpose 2 axes", build_transpose, 1, X((5, 7)), .args = NULL},
    TRANSPOSE("transpose a tile", (32, 32), 1, 0),
    TRANSPOSE("transpose around a tile", (31, 33), 1, 0),
    TRANSPOSE("transpose around a tile, the other way", (33, 31), 1, 0),
    TRANSPOSE("transpose quads", (36, 28), 1, 0),
    TRANSPOSE("quads one way only", (36, 30), 1, 0),
    TRANSPOSE("transpose a batch of quads", (3, 12, 40), 0, 2, 1),
    TRANSPOSE("transpose 127 x 129", (127, 129), 1, 0),
    TRANSPOSE("transpose 1 x 129", (1, 129), 1, 0),
    TRANSPOSE("transpose a batch", (3, 18, 33), 0, 2, 1),
    TRANSPOSE("transpose a batch, axes from the end", (3, 5, 6), 0, -1, -2),
    TRANSPOSE("the identity", (3, 5, 6), 0, 1, 2),
    TRANSPOSE("rotate: two axes after merging", (3, 5, 6), 2, 0, 1),
    TRANSPOSE("NCHW to NHWC", (2, 3, 5, 7), 0, 2, 3, 1),
    TRANSPOSE("NHWC to NCHW", (2, 5, 7, 3), 0, 3, 1, 2),
    TRANSPOSE("swap the outer two", (5, 6, 7), 1, 0, 2),
    TRANSPOSE("swap the outer two, quads", (5, 6, 8), 1, 0, 2),
    TRANSPOSE("reverse three, a gather", (5, 6, 7), 2, 1, 0),
    TRANSPOSE("reverse three, a gather of quads", (8, 6, 5), 2, 1, 0),
    TRANSPOSE("rank 6", (2, 3, 2, 5, 2, 3), 5, 3, 1, 0, 4, 2),
    TRANSPOSE("rank 6 with ones", (2, 1, 3, 1, 4, 1), 4, 1, 0, 5, 2, 3),
    {"transpose int32", build_transpose, 1, I32((19, 33)), .args = NULL, .no_gradient = true},
    {"transpose int32, a gather", build_transpose, 1, I32((3, 5, 7)), .args = NULL, .no_gradient = true},
    {"transpose, exp, and back", build_transpose_twice, 1, X((9, 20)), .args = &(order){{1, 0}}},
BIG("many tiles", (515, 516), 1, 0),
    BIG("many tiles of quads", (512, 260), 1, 0),
    BIG("many small matrices", (3000, 5, 6), 0, 2, 1),
    BIG("a batch past the groups of an axis", (66000, 2, 3), 0, 2, 1),
};
/* clang-format on */

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x[] = X((6, 4));
    op_check_refused(build_reshape, TO(5, 5), x, 1, ESKER_ERR_INVALID, "reshape(float32 [6, 4]) to [5, 5]");
    op_check_refused(build_reshape, TO(4, 5), x, 1, ESKER_ERR_INVALID, "24 elements do not make 20");
    op_check_refused(build_reshape, TO(-1, 5), x, 1, ESKER_ERR_INVALID, "24 elements do not divide by 5");
    op_check_refused(build_reshape, TO(-1, -1), x, 1, ESKER_ERR_INVALID, "axes 0 and 1 are both -1");
    op_check_refused(build_reshape, TO(6, 4, 0), x, 1, ESKER_ERR_INVALID, "axis 2 is 0 (keep), but the input has 2 axes");
    op_check_refused(build_reshape, TO(-2, 4), x, 1, ESKER_ERR_INVALID, "axis 0 does not fit");
    op_check_refused(build_expand, TO(6, 8), x, 1, ESKER_ERR_INVALID, "only an axis of 1 stretches to 8");
    op_check_refused(build_expand, TO(4), x, 1, ESKER_ERR_INVALID, "rank 2 cannot become 1");
    op_check_refused(build_expand, TO(0, 6, 4), x, 1, ESKER_ERR_INVALID, "axis 0 has 0 elements");
    op_check_refused(build_transpose, &(order){{0, 0}}, x, 1, ESKER_ERR_INVALID, "axis 0 stands twice");
    op_check_refused(build_transpose, &(order){{0, 2}}, x, 1, ESKER_ERR_INVALID, "order[1] is 2, the axes are 0 to 1");
    op_check_refused(build_without_shape, NULL, x, 1, ESKER_ERR_INVALID, "reshape: no shape was given");
    op_check_refused(build_without_shape, x, x, 1, ESKER_ERR_INVALID, "expand: no shape was given");
    const op_check_input scalar = {.shape = SCALAR, .lo = -1, .hi = 1};
    op_check_refused(build_flatten, NULL, &scalar, 1, ESKER_ERR_INVALID, "flatten: a scalar has no first axis");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("shape", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
