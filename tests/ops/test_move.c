/* device test: slice, split, flip, concat, stack, squeeze, unsqueeze, roll, tile, pad, tril and triu. */
#include "support/op_check.h"

typedef struct list {
    int64_t a[ESKER_MAX_RANK], b[ESKER_MAX_RANK];
    int n, axis, mode;
    float value;
} list;

typedef struct cut {
    esker_range ranges[ESKER_MAX_RANK];
    int n;
} cut;

#define BUILD(name_, call_)                                                                    \
    static esker_node *name_(esker_graph *graph, esker_node *const *in, const void *arguments) \
    {                                                                                          \
        const list *args = arguments;                                                          \
        (void)graph, (void)args;                                                               \
        return call_;                                                                          \
    }
BUILD(build_flip, esker_flip(in[0], args->axis))
BUILD(build_roll, esker_roll(in[0], args->axis, args->a[0]))
BUILD(build_tile, esker_tile(in[0], args->a, args->n))
BUILD(build_pad, esker_pad(in[0], args->a, args->b, args->n, (esker_pad_mode)args->mode, args->value))
BUILD(build_tril, esker_tril(in[0], args->axis))
BUILD(build_triu, esker_triu(in[0], args->axis))
BUILD(build_concat, esker_concat(in, args->n, args->axis))
BUILD(build_stack, esker_stack(in, args->n, args->axis))
BUILD(build_unsqueeze, esker_unsqueeze(in[0], args->axis))
BUILD(build_squeeze, esker_squeeze(in[0], (const int[]){args->axis}, 1))
BUILD(build_squeeze_all, esker_squeeze(in[0], NULL, 0))

static esker_node *build_slice(esker_graph *graph, esker_node *const *in, const void *args)
{
    const cut *c = args;
    (void)graph;
    return esker_slice(in[0], c->ranges, c->n);
}

/* The parts in another order, one of them used twice. */
static esker_node *build_split(esker_graph *graph, esker_node *const *in, const void *arguments)
{
    const list *args = arguments;
    esker_node *parts[ESKER_MAX_RANK];
    (void)graph;
    if (esker_split_axis(in[0], args->axis, args->mode ? NULL : args->a, args->n, parts) != ESKER_OK) return NULL;
    esker_node *mixed[ESKER_MAX_RANK + 1] = {parts[args->n - 1]};
    for (int i = 0; i < args->n; i++) mixed[1 + i] = i == 1 ? esker_tanh(parts[i]) : parts[i];
    return esker_concat(mixed, args->n + 1, args->axis);
}

/* Eleven inputs made of three. */
static esker_node *build_long_concat(esker_graph *graph, esker_node *const *in, const void *args)
{
    esker_node *many[11];
    (void)graph, (void)args;
    for (int i = 0; i < 11; i++) many[i] = i % 2 ? in[i % 3] : esker_tanh(in[i % 3]);
    return esker_concat(many, 11, 1);
}

/* clang-format off */
#define SHAPE(...) DIMS(__VA_ARGS__)
#define F32(...)   {.shape = DIMS(__VA_ARGS__), .lo = -2, .hi = 2}
#define I32(...)   {.dtype = ESKER_DTYPE_I32, .shape = DIMS(__VA_ARGS__), .lo = -2e9, .hi = 2e9}
#define U8(...)    {.dtype = ESKER_DTYPE_U8, .shape = DIMS(__VA_ARGS__), .lo = 0, .hi = 255}
#define ARGS(...)  .args = &(list){__VA_ARGS__}
#define CUT(n_, ...) .args = &(cut){{__VA_ARGS__}, n_}

static const op_check_row rows[] = {
    {"slice the first axis", build_slice, 1, {F32(9, 7)}, CUT(1, {2, 7, 0})},
    {"slice the first axis, quads", build_slice, 1, {F32(9, 12)}, CUT(1, {2, 7, 0})},
    {"slice the last axis", build_slice, 1, {F32(5, 129)}, CUT(2, {0}, {1, 128, 0})},
    {"slice from the end", build_slice, 1, {F32(5, 30)}, CUT(2, {-3, 0, 0}, {0, -10, 0})},
    {"slice in steps", build_slice, 1, {F32(130)}, CUT(1, {1, 0, 3})},
    {"slice in steps, rows of quads", build_slice, 1, {F32(33, 8)}, CUT(1, {3, 31, 4})},
    {"slice three axes in steps", build_slice, 1, {F32(7, 9, 11)}, CUT(3, {1, 6, 2}, {-8, -1, 3}, {0, 0, 5})},
    {"slice the middle of six axes", build_slice, 1, {F32(2, 3, 4, 3, 2, 5)}, CUT(4, {0}, {1, 0, 0}, {0, 0, 2}, {-1, 0, 0})},
    {"slice one element", build_slice, 1, {F32(7, 5)}, CUT(2, {3, 4, 1}, {-1, 0, 1})},
    {"slice all of it", build_slice, 1, {F32(7, 5)}, CUT(2, {0, 100, 1}, {-100, 0, 1})},
    {"slice a scalar by nothing", build_slice, 1, {{.shape = {0}, .lo = -1, .hi = 1}}, CUT(0, {0})},
    {"slice int32", build_slice, 1, {I32(9, 8)}, CUT(2, {1, 0, 2}, {1, 6, 0}), .no_gradient = true},
    {"slice bytes", build_slice, 1, {U8(9, 7)}, CUT(2, {1, 0, 2}, {1, 6, 0}), .no_gradient = true},
    {"split in equal parts", build_split, 1, {F32(4, 12)}, ARGS(.n = 3, .axis = 1, .mode = 1)},
    {"split in unequal parts", build_split, 1, {F32(9, 5)}, ARGS(.a = {2, 4, 3}, .n = 3, .axis = -2)},

    {"flip 129", build_flip, 1, {F32(129)}, ARGS(.axis = 0)},
    {"flip rows", build_flip, 1, {F32(5, 8)}, ARGS(.axis = 0)},
    {"flip a middle axis", build_flip, 1, {F32(3, 5, 7)}, ARGS(.axis = -2)},
    {"flip bytes", build_flip, 1, {U8(3, 7)}, ARGS(.axis = 1), .no_gradient = true},

    {"concat two along the first", build_concat, 2, {F32(3, 5), F32(4, 5)}, ARGS(.n = 2, .axis = 0)},
    {"concat two along the last", build_concat, 2, {F32(7, 5), F32(7, 3)}, ARGS(.n = 2, .axis = -1)},
    {"concat three, quads", build_concat, 3, {F32(6, 4, 4), F32(6, 2, 4), F32(6, 1, 4)}, ARGS(.n = 3, .axis = 1)},
    {"concat three, odd", build_concat, 3, {F32(6, 4, 3), F32(6, 2, 3), F32(6, 1, 3)}, ARGS(.n = 3, .axis = 1)},
    {"concat one", build_concat, 1, {F32(6, 4)}, ARGS(.n = 1, .axis = 1)},
    {"concat five", build_concat, 5, {F32(2, 3), F32(2, 1), F32(2, 4), F32(2, 1), F32(2, 5)}, ARGS(.n = 5, .axis = 1)},
    {"concat eleven", build_long_concat, 3, {F32(5, 3), F32(5, 1), F32(5, 4)}, .args = NULL},
    {"concat bytes", build_concat, 3, {U8(5, 3), U8(5, 1), U8(5, 4)}, ARGS(.n = 3, .axis = 1), .no_gradient = true},
    {"concat int32", build_concat, 2, {I32(5, 3), I32(2, 3)}, ARGS(.n = 2, .axis = 0), .no_gradient = true},
    {"concat the same twice", build_concat, 1, {F32(3, 5)}, ARGS(.n = 1, .axis = 0)},
    {"stack in front", build_stack, 3, {F32(3, 5), F32(3, 5), F32(3, 5)}, ARGS(.n = 3, .axis = 0)},
    {"stack behind", build_stack, 2, {F32(43), F32(43)}, ARGS(.n = 2, .axis = -1)},

    {"unsqueeze in front", build_unsqueeze, 1, {F32(3, 5)}, ARGS(.axis = 0)},
    {"unsqueeze behind", build_unsqueeze, 1, {F32(3, 5)}, ARGS(.axis = -1)},
    {"unsqueeze a scalar", build_unsqueeze, 1, {{.shape = {0}, .lo = -1, .hi = 1}}, ARGS(.axis = 0)},
    {"squeeze", build_squeeze, 1, {F32(3, 1, 5)}, ARGS(.axis = -2)},
    {"squeeze the first", build_squeeze, 1, {F32(1, 3, 5)}, ARGS(.axis = 0)},
    {"squeeze all", build_squeeze_all, 1, {F32(1, 3, 1, 5, 1)}, .args = NULL},

    {"roll 129 ahead", build_roll, 1, {F32(129)}, ARGS(.a = {5}, .axis = 0)},
    {"roll back, rows of quads", build_roll, 1, {F32(5, 12)}, ARGS(.a = {-2}, .axis = 0)},
    {"roll a middle axis around", build_roll, 1, {F32(3, 5, 7)}, ARGS(.a = {13}, .axis = 1)},
    {"roll by nothing", build_roll, 1, {F32(3, 5)}, ARGS(.a = {-10}, .axis = 1)},
    {"roll bytes", build_roll, 1, {U8(3, 7)}, ARGS(.a = {-3}, .axis = 1), .no_gradient = true},

    {"tile a row", build_tile, 1, {F32(43)}, ARGS(.a = {3}, .n = 1)},
    {"tile in front", build_tile, 1, {F32(5, 4)}, ARGS(.a = {3, 1, 1}, .n = 3)},
    {"tile two axes", build_tile, 1, {F32(5, 3, 2)}, ARGS(.a = {2, 1, 3}, .n = 3)},
    {"tile the last of three", build_tile, 1, {F32(2, 3, 8)}, ARGS(.a = {4}, .n = 1)},
    {"tile six axes", build_tile, 1, {F32(2, 1, 3, 1, 2, 2)}, ARGS(.a = {2, 3, 1, 2, 1, 2}, .n = 6)},
    {"tile by nothing", build_tile, 1, {F32(5, 3)}, ARGS(.a = {1, 1}, .n = 2)},
    {"tile int32", build_tile, 1, {I32(3, 1)}, ARGS(.a = {2, 5}, .n = 2), .no_gradient = true},

    {"pad rows with a constant", build_pad, 1, {F32(5, 7)}, ARGS(.a = {1, 2}, .b = {3, 0}, .n = 2, .value = 1.5f)},
    {"pad the first axis, quads", build_pad, 1, {F32(5, 8)}, ARGS(.a = {2}, .b = {1}, .n = 1)},
    {"pad an image", build_pad, 1, {F32(2, 3, 5, 7)}, ARGS(.a = {0, 0, 1, 2}, .b = {0, 0, 2, 1}, .n = 4, .value = -3)},
    {"pad by nothing", build_pad, 1, {F32(5, 8)}, ARGS(.a = {0}, .b = {0}, .n = 1)},
    {"pad int32", build_pad, 1, {I32(5, 3)}, ARGS(.a = {1, 1}, .b = {1, 1}, .n = 2, .value = -7), .no_gradient = true},
    {"pad bytes", build_pad, 1, {U8(5, 3)}, ARGS(.a = {1, 1}, .b = {1, 1}, .n = 2, .value = 200), .no_gradient = true},
    {"reflect an image", build_pad, 1, {F32(2, 3, 5, 7)}, ARGS(.a = {0, 0, 1, 2}, .b = {0, 0, 4, 6}, .n = 4, .mode = ESKER_PAD_REFLECT)},
    {"reflect one end", build_pad, 1, {F32(129)}, ARGS(.a = {128}, .n = 1, .mode = ESKER_PAD_REFLECT)},
    {"reflect rows, quads", build_pad, 1, {F32(4, 8)}, ARGS(.a = {3}, .b = {1}, .n = 1, .mode = ESKER_PAD_REFLECT)},
    {"repeat an image's edge", build_pad, 1, {F32(2, 3, 5, 7)}, ARGS(.a = {0, 0, 1, 2}, .b = {0, 0, 9, 0}, .n = 4, .mode = ESKER_PAD_EDGE)},
    {"repeat a single element", build_pad, 1, {F32(1, 3)}, ARGS(.a = {3}, .b = {2}, .n = 1, .mode = ESKER_PAD_EDGE)},

    {"tril", build_tril, 1, {F32(7, 7)}, ARGS(.axis = 0)},
    {"tril of a batch, wide, above", build_tril, 1, {F32(3, 5, 9)}, ARGS(.axis = 2)},
    {"tril below, quads", build_tril, 1, {F32(9, 8)}, ARGS(.axis = -3)},
    {"triu", build_triu, 1, {F32(2, 3, 6, 5)}, ARGS(.axis = 0)},
    {"triu of all", build_triu, 1, {F32(6, 5)}, ARGS(.axis = -6)},
    {"triu of one row", build_triu, 1, {F32(1, 129)}, ARGS(.axis = 100)},
    {"tril of bytes", build_tril, 1, {U8(5, 7)}, ARGS(.axis = 0), .no_gradient = true},
};

static void refusals_name_the_rule(void **state)
{
    (void)state;
    const op_check_input x[] = {F32(6, 4), F32(6, 5), I32(6, 4), F32(6)}, scalar = {.shape = {0}, .lo = 0, .hi = 1};
    op_check_refused(build_slice, &(cut){{{4, 2, 0}}, 1}, x, 1, ESKER_ERR_INVALID, "slice(float32 [6, 4]): nothing of axis 0 is in 4 to 2");
    op_check_refused(build_slice, &(cut){{{0, 0, -1}}, 1}, x, 1, ESKER_ERR_INVALID, "the step of axis 0 is -1");
    op_check_refused(build_slice, &(cut){{{0}}, 3}, x, 1, ESKER_ERR_INVALID, "3 ranges for 2 axes");
    op_check_refused(build_slice, &(cut){{{0}}, 7}, x, 1, ESKER_ERR_INVALID, "7 ranges are no list");
    op_check_refused(build_split, &(list){.n = 4, .axis = 0, .mode = 1}, x, 1, ESKER_ERR_INVALID, "split(float32 [6, 4]): axis 0 cannot be cut into 4 equal parts");
    op_check_refused(build_split, &(list){.a = {2, 5}, .n = 2, .axis = 0}, x, 1, ESKER_ERR_INVALID, "part 1 of axis 0 has 5 elements, 1 to 4 are left");
    op_check_refused(build_split, &(list){.a = {2, 3}, .n = 2, .axis = 0}, x, 1, ESKER_ERR_INVALID, "5 elements in all, it has 6");
    op_check_refused(build_flip, &(list){.axis = 2}, x, 1, ESKER_ERR_INVALID, "flip(float32 [6, 4]): axis 2, the axes are -2 to 1");
    op_check_refused(build_roll, &(list){.axis = 0}, &scalar, 1, ESKER_ERR_INVALID, "a scalar has no axis");
    op_check_refused(build_concat, &(list){.n = 2, .axis = 0}, x, 2, ESKER_ERR_INVALID, "axis 1 is 4 in input 0 and 5 in input 1; only axis 0 may differ");
    op_check_refused(build_concat, &(list){.n = 3, .axis = 1}, x, 3, ESKER_ERR_INVALID, "input 0 is float32, input 2 is int32");
    op_check_refused(build_concat, &(list){.n = 4, .axis = 1}, (const op_check_input[]){x[0], x[0], x[0], x[3]}, 4, ESKER_ERR_INVALID, "input 0 has 2 axes, input 3 has 1");
    op_check_refused(build_stack, &(list){.n = 2, .axis = 0}, x, 2, ESKER_ERR_INVALID, "input 1 has another shape than input 0");
    op_check_refused(build_unsqueeze, &(list){.axis = 3}, x, 1, ESKER_ERR_INVALID, "axis 3, -3 to 2 are possible");
    op_check_refused(build_squeeze, &(list){.axis = 1}, x, 1, ESKER_ERR_INVALID, "axis 1 has 4 elements, only one of 1 can go");
    op_check_refused(build_tile, &(list){.a = {0}, .n = 1}, x, 1, ESKER_ERR_INVALID, "axis 0 is to be repeated 0 times");
    op_check_refused(build_tile, &(list){.n = 0}, x, 1, ESKER_ERR_INVALID, "repeats of 0 axes");
    op_check_refused(build_pad, &(list){.a = {-1}, .n = 1}, x, 1, ESKER_ERR_INVALID, "pad(float32 [6, 4]): -1 before and 0 after axis 0 of 6");
    op_check_refused(build_pad, &(list){.a = {6}, .n = 1, .mode = ESKER_PAD_REFLECT}, x, 1, ESKER_ERR_INVALID, "6 before and 0 after axis 0 of 6, 0 to 5 are possible");
    op_check_refused(build_pad, &(list){.a = {1}, .n = 1, .mode = 3}, x, 1, ESKER_ERR_INVALID, "unknown mode 3");
    op_check_refused(build_pad, &(list){.a = {1}, .n = 1, .value = 0.5f}, x + 2, 1, ESKER_ERR_INVALID, "value 0.5 is no int32");
    op_check_refused(build_pad, &(list){.a = {1}, .n = 3}, x, 1, ESKER_ERR_INVALID, "padding for 3 axes, there are 2");
    op_check_refused(build_tril, &(list){.axis = 0}, x + 3, 1, ESKER_ERR_INVALID, "rows and columns are needed");
}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(refusals_name_the_rule)};
    return op_check_main("move", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
