/* device test: what only moves elements, over every element type: four, two and one to a word, at sizes that end inside one. */
#include "support/op_check.h"

#define BUILD(name_, call_)                                                                          \
    static esker_node *build_##name_(esker_graph *graph, esker_node *const *in, const void *args)    \
    {                                                                                                \
        (void)graph, (void)args;                                                                     \
        return call_;                                                                                \
    }                                                                                                \
    /* The same of halves, on a way that a gradient goes. */                                         \
    static esker_node *half_##name_(esker_graph *graph, esker_node *const *inputs, const void *args) \
    {                                                                                                \
        esker_node *in[OP_CHECK_INPUTS] = {esker_convert(inputs[0], ESKER_DTYPE_F16), inputs[1]};    \
        return esker_convert(build_##name_(graph, in, args), ESKER_DTYPE_F32);                       \
    }

/* clang-format off */
BUILD(slice, esker_slice(in[0], (const esker_range[]){{1, 0, 1}, {0, 0, 2}}, 2))
BUILD(rows, esker_slice(in[0], (const esker_range[]){{1, 4, 2}}, 1))
BUILD(flip, esker_flip(in[0], 1))
BUILD(flip_rows, esker_flip(in[0], 0))
BUILD(roll, esker_roll(in[0], 1, -3))
BUILD(tile, esker_tile(in[0], (const int64_t[]){2, 3}, 2))
BUILD(pad, esker_pad(in[0], (const int64_t[]){1, 2}, (const int64_t[]){0, 3}, 2, ESKER_PAD_CONSTANT, 7))
BUILD(pad_rows, esker_pad(in[0], (const int64_t[]){1}, (const int64_t[]){1}, 1, ESKER_PAD_CONSTANT, 100))
BUILD(reflect, esker_pad(in[0], (const int64_t[]){1, 2}, (const int64_t[]){2, 1}, 2, ESKER_PAD_REFLECT, 0))
BUILD(edge, esker_pad(in[0], (const int64_t[]){1, 2}, (const int64_t[]){2, 1}, 2, ESKER_PAD_EDGE, 0))
BUILD(tril, esker_tril(in[0], 1))
BUILD(triu, esker_triu(in[0], -1))
BUILD(concat, esker_concat((esker_node *[]){in[0], in[0], in[0], in[0]}, 4, 1))
BUILD(concat_rows, esker_concat((esker_node *[]){in[0], in[0]}, 2, 0))
BUILD(stack, esker_stack((esker_node *[]){in[0], in[0]}, 2, 2))
BUILD(expand, esker_expand(esker_unsqueeze(in[0], 1), &(esker_shape){3, {0, 3, 0}}))
BUILD(expand_last, esker_expand(esker_unsqueeze(in[0], 2), &(esker_shape){3, {0, 0, 5}}))
BUILD(transpose, esker_transpose(in[0], NULL))
BUILD(take, esker_take(in[0], in[1], 0))
BUILD(take_columns, esker_take(in[0], in[1], 1))
BUILD(gather, esker_gather(in[0], esker_expand(in[1], esker_node_get_shape(in[0])), 1))
BUILD(where, esker_where(esker_convert(esker_expand(in[1], esker_node_get_shape(in[0])), ESKER_DTYPE_U8), in[0], esker_flip(in[0], 0)))
BUILD(where_broadcast, esker_where(esker_convert(in[1], ESKER_DTYPE_U8), esker_slice(in[0], (const esker_range[]){{0, 1, 1}}, 1), in[0]))
/* A piece that begins inside a word is copied. */
BUILD(bytes_inside, esker_concat((esker_node *[]){esker_slice(in[0], (const esker_range[]){{1, 2, 1}}, 1), esker_slice(in[0], (const esker_range[]){{3, 0, 1}}, 1)}, 2, 0))

#define INDEX(n)   {.dtype = ESKER_DTYPE_I32, .shape = DIMS(n), .lo = 0, .hi = 4.99}
#define CHOICE     {.dtype = ESKER_DTYPE_I32, .shape = DIMS(5, 1), .lo = 0, .hi = 1.99}
#define OF(op_, type_, lo_, hi_, columns_, ...) \
    {#op_ " of " #type_ ", " #columns_, build_##op_, 2, {{.dtype = ESKER_DTYPE_##type_, .shape = DIMS(5, columns_), .lo = lo_, .hi = hi_}, __VA_ARGS__}, .no_gradient = true}
/* Rows of an odd length, of whole words, of quads. */
#define SIZES(op_, type_, lo_, hi_, ...) \
    OF(op_, type_, lo_, hi_, 7, __VA_ARGS__), OF(op_, type_, lo_, hi_, 12, __VA_ARGS__), OF(op_, type_, lo_, hi_, 33, __VA_ARGS__), OF(op_, type_, lo_, hi_, 64, __VA_ARGS__)
#define TYPES(op_, ...) \
    SIZES(op_, I8, -128, 127, __VA_ARGS__), SIZES(op_, U8, 0, 255, __VA_ARGS__), SIZES(op_, F16, -300, 300, __VA_ARGS__), \
    OF(op_, I32, -2e9, 2e9, 7, __VA_ARGS__), OF(op_, F32, -2, 2, 7, __VA_ARGS__)
/* Whole numbers, which halves hold. */
#define HALF(op_, ...) \
    {"back through halves, " #op_, half_##op_, 2, {{.shape = DIMS(5, 7), .lo = -20, .hi = 20, .fill = OP_CHECK_WHOLE}, __VA_ARGS__}}
#define ONE {.dtype = ESKER_DTYPE_I32, .shape = DIMS(1), .lo = 0, .hi = 1}
#define SIMPLE(X) X(slice) X(rows) X(flip) X(flip_rows) X(roll) X(tile) X(pad) X(pad_rows) X(reflect) X(edge) X(tril) X(triu) X(concat) X(concat_rows) X(stack) \
    X(expand) X(expand_last) X(transpose) X(bytes_inside)
#define ALL_TYPES(op_) TYPES(op_, ONE),
#define ALL_HALVES(op_) HALF(op_, ONE),

static const op_check_row rows[] = {
    SIMPLE(ALL_TYPES)
    TYPES(take, INDEX(6)), TYPES(take_columns, INDEX(6)), TYPES(gather, CHOICE), TYPES(where, CHOICE), TYPES(where_broadcast, CHOICE),
    SIMPLE(ALL_HALVES)
    HALF(take, INDEX(6)), HALF(take_columns, INDEX(6)), HALF(gather, CHOICE), HALF(where, CHOICE), HALF(where_broadcast, CHOICE),
};
/* clang-format on */

static esker_node *build_pad_by(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_pad(in[0], (const int64_t[]){1}, NULL, 1, ESKER_PAD_CONSTANT, *(const float *)args);
}

static esker_node *build_less(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_less(in[0], in[0]);
}

static void refusals_name_the_type(void **state)
{
    static const float values[] = {128, 0.5f, 65520};
    const op_check_input byte = {.dtype = ESKER_DTYPE_I8, .shape = DIMS(3)},
                         half = {.dtype = ESKER_DTYPE_F16, .shape = DIMS(3)};
    (void)state;
    op_check_refused(build_pad_by, &values[0], &byte, 1, ESKER_ERR_INVALID, "pad(int8 [3]): value 128 is no int8");
    op_check_refused(build_pad_by, &values[1], &byte, 1, ESKER_ERR_INVALID, "value 0.5 is no int8");
    op_check_refused(build_pad_by, &values[2], &half, 1, ESKER_ERR_INVALID, "value 65520 is no float16");
    op_check_refused(build_less, NULL, &half, 1, ESKER_ERR_INVALID, "less");
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_type)};
    return op_check_main("types", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
