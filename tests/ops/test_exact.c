/* device test: kernels that take indices apart by reciprocals, dividing integers in their place, as they do from 2^22 on; here on sizes that are small. */
#include "support/op_check.h"

typedef struct layer {
    int groups, stride, padding;
    bool pools;
} layer;

static esker_node *build_conv(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const layer *l = args;
    esker_node *y = esker_conv2d(
        in[0], in[1],
        &(esker_conv2d_desc){.groups = l->groups, .stride = {l->stride, l->stride}, .padding = {l->padding, l->padding}});
    return l->pools ? esker_max_pool2d(y, &(esker_pool2d_desc){.window = {2, 3}}) : y;
}

static esker_node *build_pool(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return (args ? esker_avg_pool2d : esker_max_pool2d)(in[0], &(esker_pool2d_desc){.window = {2, 3}});
}

#define CONV(title, x_, w_, ...)                                                                                     \
    {                                                                                                                \
        .name = title, .build = build_conv, .n_inputs = 2,                                                           \
        .in = {{.shape = x_, .lo = -1, .hi = 1, .fill = OP_CHECK_DISTINCT}, {.shape = w_, .lo = -0.25, .hi = 0.25}}, \
        .args = &(const layer){__VA_ARGS__}, .no_differences = true                                                  \
    }
#define POOL(title, mean)                                                                                           \
    {                                                                                                               \
        .name = title, .build = build_pool, .n_inputs = 1,                                                          \
        .in = {{.shape = DIMS(2, 3, 9, 11), .lo = -1, .hi = 1, .fill = OP_CHECK_DISTINCT}}, .args = (mean) ? "" : 0 \
    }
#define EXACT "EXACT 1\n"

static const op_check_variant variants[] = {
    {"exact,narrow", CONV("convolution", DIMS(2, 5, 7, 9), DIMS(6, 5, 3, 3), 1, 1, 1), "conv/direct", EXACT},
    {"exact,wide", CONV("convolution, stride 2", DIMS(3, 9, 9, 11), DIMS(9, 9, 3, 3), 1, 2, 1), "conv/direct", EXACT},
    {"exact,quads", CONV("padding", DIMS(2, 3, 9, 19), DIMS(8, 3, 5, 5), 1, 2, 2), "conv/pad", EXACT},
    {"exact,fours,fours4x4", CONV("fours", DIMS(2, 8, 7, 9), DIMS(12, 8, 3, 3), 1, 1, 1), "conv/fours", EXACT},
    {"exact,fours,fours4x2", CONV("fours, depthwise", DIMS(2, 8, 7, 9), DIMS(8, 1, 3, 3), 8, 2, 1), "conv/fours", EXACT},
    {"exact", POOL("largest of small windows", false), "pool/small", EXACT},
    {"exact,any_window", POOL("largest of windows", false), "pool/forward", EXACT},
    {"exact,which", POOL("gradient of the largest of small windows", false), "pool/grad_small", EXACT},
    {"exact,any_window", POOL("gradient of the largest", false), "pool/grad_disjoint", EXACT},
    {"exact", POOL("means of small windows and their gradient", true), "pool/grad_small", EXACT},
    {"exact,any_window", POOL("means of windows and their gradient", true), "pool/grad_disjoint", EXACT},
    {"exact,narrow", CONV("winners", DIMS(2, 3, 9, 11), DIMS(7, 3, 3, 3), 1, 1, 0, true), "pool/winners", EXACT},
    {"exact,narrow", CONV("gradient by winners", DIMS(2, 3, 9, 11), DIMS(7, 3, 3, 3), 1, 1, 0, true), "pool/grad_winners",
     EXACT},
};

int main(void)
{
    return op_check_variants_main("exact", variants, sizeof variants / sizeof *variants, NULL, 0);
}
