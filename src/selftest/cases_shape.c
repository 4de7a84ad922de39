/* Cases of what moves elements: other shapes and orders, pieces, elements by index. */
#include "selftest/case_rows.h"

/* clang-format off */
BUILD(flip) { (void)graph; return esker_flip(in[0], (int)args[0]); }
BUILD(roll) { (void)graph; return esker_roll(in[0], (int)args[0], (int64_t)args[1]); }
BUILD(tril) { (void)graph; return esker_tril(in[0], (int)args[0]); }
BUILD(triu) { (void)graph; return esker_triu(in[0], (int)args[0]); }
/* clang-format on */

BUILD(reshape)
{
    (void)graph;
    (void)args;
    return esker_square(esker_reshape(in[0], &(esker_shape){2, {-1, 3}}));
}
BUILD(expand)
{
    (void)graph;
    (void)args;
    return esker_expand(in[0], &(esker_shape){3, {4, 5, 7}});
}
BUILD(transpose)
{
    const int orders[][4] = {{1, 0}, {0, 2, 1}, {2, 0, 3, 1}};
    (void)graph;
    return esker_transpose(in[0], orders[(int)args[0]]);
}
BUILD(slice)
{
    (void)graph;
    (void)args;
    return esker_slice(in[0], (esker_range[]){{1, 0, 2}, {0, 5, 3}}, 2);
}
BUILD(concat)
{
    (void)graph;
    return esker_concat(in, 3, (int)args[0]);
}
BUILD(tile)
{
    (void)graph;
    (void)args;
    return esker_tile(in[0], (int64_t[]){2, 1, 3}, 3);
}
BUILD(pad)
{
    (void)graph;
    return esker_pad(in[0], (int64_t[]){1, 2}, (int64_t[]){2, 0}, 2, (esker_pad_mode)args[0], 0.5f);
}
BUILD(take)
{
    (void)graph;
    return esker_take(in[0], in[1], (int)args[0]);
}
BUILD(gather)
{
    (void)graph;
    return esker_gather(in[0], in[1], (int)args[0]);
}
BUILD(scatter_add)
{
    (void)graph;
    return esker_scatter_add(in[0], in[1], in[2], (int)args[0]);
}
BUILD(one_hot)
{
    (void)graph;
    return esker_one_hot(in[0], (int64_t)args[0]);
}

/* clang-format off */
static const esker__case_row rows[] = {
    {"reshape", .build = build_reshape, .shapes = {"3", "129", "5,6"}},
    {"expand", .build = build_expand, .shapes = {"1", "5,1", "4,1,7"}},
    {"expand", "float16", .build = build_expand, .in = {F16(-300, 300)}, .shapes = {"5,1", "4,1,7"}, .no_gradient = true},
    {"expand", "int8", .build = build_expand, .in = {I8(-128, 127)}, .shapes = {"5,1", "4,1,7"}, .no_gradient = true},
    {"transpose", "matrix", .build = build_transpose, .args = {0}, .shapes = {"1,1", "127,3", "65,129"}},
    {"transpose", "last two", .build = build_transpose, .args = {1}, .shapes = {"3,5,7", "2,33,34"}},
    {"transpose", "four axes", .build = build_transpose, .args = {2}, .shapes = {"2,3,5,7"}},
    {"transpose", "float16", .build = build_transpose, .args = {0}, .in = {F16(-300, 300)}, .shapes = {"127,3", "65,129"}, .no_gradient = true},
    {"transpose", "int8", .build = build_transpose, .args = {0}, .in = {I8(-128, 127)}, .shapes = {"127,3", "65,129"}, .no_gradient = true},
    {"slice", .build = build_slice, .shapes = {"4,5", "9,7,3"}},
    {"slice", "float16", .build = build_slice, .in = {F16(-300, 300)}, .shapes = {"4,5", "9,7,3"}, .no_gradient = true},
    {"slice", "int8", .build = build_slice, .in = {I8(-128, 127)}, .shapes = {"4,5", "9,7,3"}, .no_gradient = true},
    {"flip", .build = build_flip, .args = {1}, .shapes = {"1,1", "5,7", "3,129,2"}},
    {"concat", "axis 0", .build = build_concat, .args = {0}, .shapes = {"1 x 2 x 3", "127,3 x 1,3 x 2,3"}},
    {"concat", "axis 1", .build = build_concat, .args = {1}, .shapes = {"3,5 x 3,1 x 3,129", "2,3,5 x 2,1,5 x 2,4,5"}},
    {"concat", "float16", .build = build_concat, .args = {1}, .in = {F16(-300, 300), F16(-300, 300), F16(-300, 300)}, .shapes = {"3,5 x 3,1 x 3,129"}, .no_gradient = true},
    {"concat", "int8", .build = build_concat, .args = {1}, .in = {I8(-128, 127), I8(-128, 127), I8(-128, 127)}, .shapes = {"3,5 x 3,1 x 3,129"}, .no_gradient = true},
    {"roll", .build = build_roll, .args = {1, -3}, .shapes = {"1,1", "5,7", "3,129,2"}},
    {"roll", "float16", .build = build_roll, .args = {1, -3}, .in = {F16(-300, 300)}, .shapes = {"5,7", "3,129,2"}, .no_gradient = true},
    {"roll", "int8", .build = build_roll, .args = {1, -3}, .in = {I8(-128, 127)}, .shapes = {"5,7", "3,129,2"}, .no_gradient = true},
    {"tile", .build = build_tile, .shapes = {"1", "5,7", "2,3,5"}},
    {"pad", "constant", .build = build_pad, .args = {ESKER_PAD_CONSTANT}, .shapes = {"5,7", "4,3,2"}},
    {"pad", "reflect", .build = build_pad, .args = {ESKER_PAD_REFLECT}, .shapes = {"5,7", "4,3,2"}},
    {"pad", "edge", .build = build_pad, .args = {ESKER_PAD_EDGE}, .shapes = {"5,7", "4,3,2"}},
    {"pad", "float16", .build = build_pad, .args = {ESKER_PAD_CONSTANT}, .in = {F16(-300, 300)}, .shapes = {"5,7", "4,3,2"}, .no_gradient = true},
    {"pad", "int8", .build = build_pad, .args = {ESKER_PAD_EDGE}, .in = {I8(-128, 127)}, .shapes = {"5,7", "4,3,2"}, .no_gradient = true},
    {"tril", .build = build_tril, .args = {1}, .shapes = {"1,1", "5,7", "2,9,4"}},
    {"triu", .build = build_triu, .args = {-1}, .shapes = {"1,1", "5,7", "2,9,4"}},
    {"take", "axis 0", .build = build_take, .args = {0}, .in = {ON(-2, 2), I32(0, 4)}, .shapes = {"5 x 1", "5,7 x 129", "6,3,5 x 4,3"}},
    {"take", "axis 1", .build = build_take, .args = {1}, .in = {ON(-2, 2), I32(0, 4)}, .shapes = {"3,5 x 7", "2,5,3 x 33"}},
    {"take", "float16", .build = build_take, .args = {0}, .in = {F16(-300, 300), I32(0, 4)}, .shapes = {"5 x 1", "5,7 x 129"}, .no_gradient = true},
    {"take", "int8", .build = build_take, .args = {0}, .in = {I8(-128, 127), I32(0, 4)}, .shapes = {"5 x 1", "5,7 x 129"}, .no_gradient = true},
    {"gather", .build = build_gather, .args = {1}, .in = {ON(-2, 2), I32(0, 4)}, .shapes = {"1,5 x 1,1", "3,5 x 3,129", "2,5,3 x 2,7,3"}},
    {"gather", "float16", .build = build_gather, .args = {1}, .in = {F16(-300, 300), I32(0, 4)}, .shapes = {"3,5 x 3,129"}, .no_gradient = true},
    {"gather", "int8", .build = build_gather, .args = {1}, .in = {I8(-128, 127), I32(0, 4)}, .shapes = {"3,5 x 3,129"}, .no_gradient = true},
    {"scatter_add", .build = build_scatter_add, .args = {1}, .in = {ON(-2, 2), I32(0, 4), ON(-2, 2)}, .shapes = {"1,5 x 1,1 x 1,1", "3,5 x 3,129 x 3,129", "2,5,3 x 2,7,3 x 2,7,3"}},
    {"one_hot", .build = build_one_hot, .args = {5}, .in = {I32(0, 4)}, .shapes = {".", "129", "3,7"}, .no_gradient = true},
};
/* clang-format on */

FAMILY(shape);
