/* device test: every kernel that tuning may choose for a contraction, on sizes that are no multiples of its tiles. */
#include "support/op_check.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct conv {
    int stride, padding;
    bool relu;
} conv;

typedef struct product {
    bool ta, tb, relu;
} product;

static esker_node *build_conv(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const conv *c = args;
    esker_node *y = esker_conv2d(
        in[0], in[1], &(esker_conv2d_desc){.stride = {c->stride, c->stride}, .padding = {c->padding, c->padding}});
    return c->relu ? esker_relu(esker_add(y, in[2])) : y;
}

static esker_node *build_product(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const product *p = args;
    esker_node *y = esker_matmul(in[0], in[1], &(esker_matmul_desc){.transpose_a = p->ta, .transpose_b = p->tb});
    return p->relu ? esker_relu(esker_add(y, in[2])) : y;
}

static esker_node *build_map(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_mul(in[0], in[1]);
}

static esker_node *build_chain(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_tanh(esker_mul(esker_sigmoid(esker_add(in[0], in[1])), in[0]));
}

static esker_node *build_softmax(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return args ? esker_log_softmax(in[0], 1) : esker_softmax(in[0], 1);
}

static esker_node *build_layer_norm(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_layer_norm(in[0], 1, in[1], in[2], 0);
}

static esker_node *build_pool(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const esker_pool2d_desc *desc = args;
    return desc->exclude_padding ? esker_avg_pool2d(in[0], desc) : esker_max_pool2d(in[0], desc);
}

typedef struct over {
    int n, axes[3];
    bool largest;
} over;

static esker_node *build_reduction(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const over *o = args;
    return o->largest ? esker_max(in[0], o->axes, o->n, false) : esker_sum(in[0], o->axes, o->n, false);
}

#define CONV(stride_, padding_, x_, w_)                                                                   \
    {                                                                                                     \
        .name = #x_ " by " #w_, .build = build_conv, .n_inputs = 2,                                       \
        .in = {{.shape = x_, .lo = -1, .hi = 1}, {.shape = w_, .lo = -1, .hi = 1}}, .args = &(const conv) \
        {                                                                                                 \
            stride_, padding_, false                                                                      \
        }                                                                                                 \
    }
#define CONV_TAIL(stride_, padding_, x_, w_, bias_)                                                                      \
    {                                                                                                                    \
        .name = #x_ " by " #w_ ", bias, relu", .build = build_conv, .n_inputs = 3,                                       \
        .in = {{.shape = x_, .lo = -1, .hi = 1}, {.shape = w_, .lo = -1, .hi = 1}, {.shape = bias_, .lo = -1, .hi = 1}}, \
        .args = &(const conv){stride_, padding_, true}, .no_gradient = true                                              \
    }
#define CONV_GRADIENTS(stride_, padding_, x_, w_)                                                         \
    {                                                                                                     \
        .name = "gradients of " #x_ " by " #w_, .build = build_conv, .n_inputs = 2,                       \
        .in = {{.shape = x_, .lo = -1, .hi = 1}, {.shape = w_, .lo = -1, .hi = 1}}, .args = &(const conv) \
        {                                                                                                 \
            stride_, padding_, false                                                                      \
        }                                                                                                 \
    }
#define PRODUCT(ta_, tb_, a_, b_)                                                   \
    {                                                                               \
        .name = #a_ " by " #b_, .build = build_product, .n_inputs = 2,              \
        .in = {{.shape = a_, .lo = -1, .hi = 1}, {.shape = b_, .lo = -1, .hi = 1}}, \
        .args = &(const product){ta_, tb_, false}, .no_gradient = true              \
    }
#define PRODUCT_TAIL(ta_, tb_, a_, b_, bias_)                                                                            \
    {                                                                                                                    \
        .name = #a_ " by " #b_ ", bias, relu", .build = build_product, .n_inputs = 3,                                    \
        .in = {{.shape = a_, .lo = -1, .hi = 1}, {.shape = b_, .lo = -1, .hi = 1}, {.shape = bias_, .lo = -1, .hi = 1}}, \
        .args = &(const product){ta_, tb_, true}, .no_gradient = true                                                    \
    }

#define REDUCTION(largest_, x_, ...)                                                               \
    {                                                                                              \
        .name = "reduction of " #x_, .build = build_reduction, .n_inputs = 1,                      \
        .in = {{.shape = x_, .lo = -1, .hi = 1, .fill = OP_CHECK_DISTINCT}}, .args = &(const over) \
        {                                                                                          \
            sizeof((int[]){__VA_ARGS__}) / sizeof(int), {__VA_ARGS__}, largest_                    \
        }                                                                                          \
    }

#define SOFTMAX(log, x_)                                                                              \
    {                                                                                                 \
        .name = #x_, .build = build_softmax, .n_inputs = 1, .in = {{.shape = x_, .lo = -4, .hi = 4}}, \
        .args = (log) ? "" : 0                                                                        \
    }
#define LAYER_NORM(x_, w_)                                             \
    {                                                                  \
        .name = #x_, .build = build_layer_norm, .n_inputs = 3, .in = { \
            {.shape = x_, .lo = -1, .hi = 2},                          \
            {.shape = w_, .lo = -1, .hi = 1},                          \
            {.shape = w_, .lo = -1, .hi = 1}                           \
        }                                                              \
    }
#define POOL(x_, ...)                                                                                           \
    {                                                                                                           \
        .name = "windows of " #x_, .build = build_pool, .n_inputs = 1,                                          \
        .in = {{.shape = x_, .lo = -1, .hi = 1, .fill = OP_CHECK_DISTINCT}}, .args = &(const esker_pool2d_desc) \
        {                                                                                                       \
            __VA_ARGS__                                                                                         \
        }                                                                                                       \
    }

static const op_check_variant variants[] = {
    {"t256x128", PRODUCT(0, 0, DIMS(257, 37), DIMS(37, 131)), .shared_bytes = 49152},
    {"t128x128", PRODUCT(1, 0, DIMS(40, 132), DIMS(40, 260))},
    {"t128x64", PRODUCT(0, 1, DIMS(129, 70), DIMS(67, 70)), .shared_bytes = 49152},
    {"t64x64", PRODUCT_TAIL(1, 1, DIMS(47, 66), DIMS(70, 47), DIMS(70))},
    {"t64x64", PRODUCT(0, 0, DIMS(64, 512), DIMS(512, 64))},
    {"t64x64", PRODUCT(1, 0, DIMS(1031, 66), DIMS(1031, 35))},
    {"t64x64i128", PRODUCT(1, 0, DIMS(1031, 66), DIMS(1031, 36))},
    {"t64x64i128", PRODUCT(0, 1, DIMS(3, 66, 36), DIMS(3, 67, 36))},
    {"t64x64s4", PRODUCT(0, 0, DIMS(70, 130), DIMS(130, 66))},
    {"t32x32,sum_fours", PRODUCT_TAIL(0, 1, DIMS(20, 2050), DIMS(36, 2050), DIMS(36))},
    {"t32x32,sum_fours", PRODUCT(1, 0, DIMS(2050, 20), DIMS(2050, 35))},
    {"tiled,sum_fours", CONV_TAIL(1, 1, DIMS(1, 64, 8, 12), DIMS(12, 64, 3, 3), DIMS(12, 1, 1)), "gemm/sum_splits",
     "V 4\n"},
    {"t64x64", PRODUCT(0, 0, DIMS(3, 36, 35), DIMS(3, 35, 44))},
    {"t64x64", PRODUCT(1, 1, DIMS(2, 38, 66), DIMS(2, 70, 38))},
    {"t32x64", PRODUCT_TAIL(0, 1, DIMS(33, 33), DIMS(68, 33), DIMS(68))},
    {"t32x32", PRODUCT(0, 0, DIMS(3, 35, 20), DIMS(3, 20, 36))},
    {"t16x128", PRODUCT(0, 0, DIMS(17, 300), DIMS(300, 132))},
    {"t16x128s2", PRODUCT(0, 1, DIMS(16, 8192), DIMS(128, 8192)), .shared_bytes = 49152},
    {"t16x128s2", PRODUCT_TAIL(0, 0, DIMS(17, 300), DIMS(300, 133), DIMS(133)), .shared_bytes = 49152},
    {"t128x16", PRODUCT(1, 0, DIMS(64, 136), DIMS(64, 18))},
    {"s8x16", PRODUCT(0, 0, DIMS(37, 131), DIMS(131, 47))},
    {"s8x16", PRODUCT(1, 0, DIMS(140, 36), DIMS(140, 20))},
    {"s16x16", PRODUCT(0, 0, DIMS(64, 512), DIMS(512, 64))},
    {"s16x16", PRODUCT_TAIL(0, 1, DIMS(20, 784), DIMS(36, 784), DIMS(36))},
    {"s32x16", PRODUCT(1, 0, DIMS(140, 36), DIMS(140, 20))},
    {"s32x16", PRODUCT(0, 0, DIMS(64, 512), DIMS(512, 64))},
    {"s32x32", PRODUCT(0, 0, DIMS(64, 512), DIMS(512, 64))},
    {"s32x32", PRODUCT_TAIL(0, 1, DIMS(20, 784), DIMS(36, 784), DIMS(36))},
    {"s64x32", PRODUCT(1, 0, DIMS(140, 36), DIMS(140, 20))},
    {"s64x32", PRODUCT(0, 0, DIMS(64, 512), DIMS(512, 64))},
    {"s8x16", PRODUCT_TAIL(0, 1, DIMS(16, 128), DIMS(2, 128), DIMS(2))},
    {"fewrows", PRODUCT_TAIL(0, 0, DIMS(16, 131), DIMS(131, 1028), DIMS(1028))},
    {"fewrows", PRODUCT_TAIL(0, 0, DIMS(3, 32), DIMS(32, 1536), DIMS(1))},
    {"fewrows", PRODUCT(1, 0, DIMS(9, 10), DIMS(9, 1024))},
    {"rows", PRODUCT_TAIL(0, 1, DIMS(1, 1031), DIMS(9, 1031), DIMS(9))}, /* in splits */
    {"rows", PRODUCT(0, 1, DIMS(1, 132), DIMS(3000, 132))},
    {"ownrow", PRODUCT_TAIL(0, 1, DIMS(1, 131), DIMS(9, 131), DIMS(9))},
    {"ownrow", PRODUCT(0, 1, DIMS(1, 132), DIMS(130, 132))},
    {"ownrows", PRODUCT_TAIL(0, 1, DIMS(1, 260), DIMS(37, 260), DIMS(1))},
    {"ownrows", PRODUCT(0, 1, DIMS(1, 65), DIMS(35, 65))},
    {"s16x16", PRODUCT(1, 0, DIMS(16, 3), DIMS(16, 128))},
    {"s64x32", PRODUCT(0, 0, DIMS(2, 131), DIMS(131, 3))},
    {"t32x32s4", PRODUCT(0, 0, DIMS(37, 131), DIMS(131, 47))},
    {"t32x32s2", PRODUCT(0, 1, DIMS(64, 192), DIMS(32, 192))},
    {"t32x32s2", PRODUCT_TAIL(1, 0, DIMS(131, 37), DIMS(131, 47), DIMS(47))},
    {"t16x32s8", PRODUCT(1, 0, DIMS(256, 32), DIMS(256, 64))},
    {"t16x32s8", PRODUCT_TAIL(0, 0, DIMS(3, 37, 131), DIMS(3, 131, 47), DIMS(47))},
    {"t16x16s16", PRODUCT(0, 0, DIMS(32, 256), DIMS(256, 48))},
    {"t16x16s16", PRODUCT_TAIL(0, 1, DIMS(37, 131), DIMS(47, 131), DIMS(47))},
    {"t32x32s4", PRODUCT(1, 0, DIMS(140, 36), DIMS(140, 20))},
    {"t32x32s4", PRODUCT_TAIL(0, 1, DIMS(20, 784), DIMS(36, 784), DIMS(36))},
    {"t32x32s4", PRODUCT(1, 1, DIMS(3, 47, 66), DIMS(3, 33, 47))},
    {"quads", PRODUCT_TAIL(0, 0, DIMS(17, 33), DIMS(33, 67), DIMS(67))},
    {"quads", PRODUCT_TAIL(0, 0, DIMS(17, 36), DIMS(36, 67), DIMS(67))},
    {"quads", PRODUCT(1, 1, DIMS(2, 600, 33), DIMS(2, 18, 600))},
    {"quads", PRODUCT(1, 1, DIMS(33, 36), DIMS(18, 33))},
    {"quads", PRODUCT(1, 0, DIMS(40, 133), DIMS(40, 65))},
    {"quads", PRODUCT(1, 0, DIMS(3, 40, 134), DIMS(3, 40, 66))},
    {"quads", PRODUCT(1, 0, DIMS(44, 135), DIMS(44, 68))},
    {"quads", PRODUCT(0, 1, DIMS(2, 11, 1028), DIMS(2, 9, 1028))},
    {"quads", PRODUCT(0, 1, DIMS(150, 64), DIMS(600, 64))},
    {"quads", PRODUCT(0, 0, DIMS(130, 12), DIMS(12, 1024))}, /* what is a multiple of 1024 long is packed */
    {"quads", PRODUCT(0, 1, DIMS(131, 1024), DIMS(64, 1024))},
    {"quads", PRODUCT(1, 1, DIMS(20, 1024), DIMS(129, 20))},
    {"quads", PRODUCT(1, 0, DIMS(8, 1024), DIMS(8, 2048))},
    {"matmul,quads", CONV_TAIL(1, 0, DIMS(3, 12, 5, 7), DIMS(10, 12, 1, 1), DIMS(10, 1, 1))},
    {"matmul,quads", CONV(1, 0, DIMS(3, 9, 5, 7), DIMS(10, 9, 1, 1))},
    {"matmul,s16x16", CONV_TAIL(1, 0, DIMS(3, 37, 5, 7), DIMS(10, 37, 1, 1), DIMS(10, 1, 1))},
    {"matmul,t32x32s4", CONV_GRADIENTS(1, 0, DIMS(3, 21, 6, 6), DIMS(12, 21, 1, 1))},
    {"matmul,t128x16", CONV(1, 0, DIMS(3, 5, 7, 9), DIMS(33, 5, 1, 1))},
    {"matmul,t64x64", CONV(1, 0, DIMS(2, 20, 7, 9), DIMS(33, 20, 1, 1))},
    {"matmul,direct", CONV_TAIL(1, 0, DIMS(2, 9, 5, 8), DIMS(6, 9, 1, 1), DIMS(6, 1, 1))},
    {"tiled", CONV(1, 1, DIMS(3, 9, 11, 13), DIMS(10, 9, 3, 3))},
    {"tiled", CONV_TAIL(2, 1, DIMS(1, 33, 17, 18), DIMS(9, 33, 3, 3), DIMS(9, 1, 1))},
    {"tiled", CONV(1, 2, DIMS(2, 3, 8, 36), DIMS(5, 3, 5, 4))},
    {"tiled,phases", CONV(2, 1, DIMS(1, 9, 17, 19), DIMS(9, 9, 3, 3))},
    {"phases", CONV(2, 0, DIMS(1, 9, 17, 18), DIMS(5, 9, 1, 1))},
    {"phases", CONV(2, 1, DIMS(1, 9, 18, 19), DIMS(4, 9, 4, 4))},
    {"phases", CONV(2, 2, DIMS(1, 9, 17, 22), DIMS(4, 9, 5, 5))},
    {"phases", CONV(2, 0, DIMS(1, 9, 17, 19), DIMS(4, 9, 2, 3))},
    {"apart", CONV(2, 1, DIMS(1, 9, 17, 19), DIMS(5, 9, 3, 3))},
    {"quads", CONV(1, 1, DIMS(2, 3, 5, 18), DIMS(17, 3, 3, 3))},
    {"quads", CONV_TAIL(2, 1, DIMS(1, 3, 9, 40), DIMS(9, 3, 3, 3), DIMS(9, 1, 1))},
    {"quads", CONV(2, 3, DIMS(2, 3, 16, 19), DIMS(8, 3, 7, 7))},
    {"quads", CONV(1, 2, DIMS(1, 2, 6, 9), DIMS(8, 2, 5, 6))},
    {"quads", CONV(1, 0, DIMS(1, 2, 9, 8), DIMS(6, 2, 2, 8))},
    {"quads", CONV(3, 0, DIMS(1, 2, 11, 20), DIMS(6, 2, 1, 1))},
    {"quads", CONV(4, 2, DIMS(1, 2, 17, 34), DIMS(6, 2, 5, 11))},
    {"quads", CONV_GRADIENTS(1, 1, DIMS(2, 5, 5, 9), DIMS(9, 5, 3, 3))},
    {"quads", CONV_GRADIENTS(2, 3, DIMS(2, 1, 9, 16), DIMS(6, 1, 7, 7))},
    {"quads", CONV_GRADIENTS(3, 0, DIMS(3, 6, 4, 7), DIMS(5, 6, 1, 1))},
    {"quads", CONV_GRADIENTS(4, 2, DIMS(1, 3, 9, 34), DIMS(6, 3, 2, 11))},
    {"tiled", CONV_GRADIENTS(1, 1, DIMS(2, 17, 5, 9), DIMS(10, 17, 3, 3))},
    {"tiled", CONV_GRADIENTS(1, 0, DIMS(1, 9, 7, 38), DIMS(17, 9, 3, 3))},
    {"tiled", CONV_GRADIENTS(2, 1, DIMS(4, 16, 12, 16), DIMS(9, 16, 3, 3))},
    {"tiled", CONV_GRADIENTS(2, 1, DIMS(1, 5, 9, 41), DIMS(33, 5, 2, 4))},
    {"tiled", CONV_GRADIENTS(2, 0, DIMS(5, 16, 9, 9), DIMS(32, 16, 1, 1))},
    {"tiled", CONV_GRADIENTS(1, 1, DIMS(2, 17, 5, 6), DIMS(8, 17, 1, 1))},
    {"winograd4", CONV_GRADIENTS(1, 1, DIMS(2, 5, 8, 9), DIMS(3, 5, 3, 3))},
    {"winograd4", CONV_GRADIENTS(1, 0, DIMS(3, 4, 10, 6), DIMS(5, 4, 3, 3))},
    {"halves", PRODUCT_TAIL(0, 0, DIMS(5, 3), DIMS(3, 7), DIMS(7)), "elementwise/map", "HALVES 1\n"},
    {"halves",
     {.name = "chain",
      .build = build_chain,
      .n_inputs = 2,
      .in = {{.shape = DIMS(5, 7), .lo = -1, .hi = 1}, {.shape = DIMS(7), .lo = -1, .hi = 1}}},
     "elementwise/map",
     "HALVES 1\n"},
    {"halves",
     {.name = "map",
      .build = build_map,
      .n_inputs = 2,
      .in = {{.shape = DIMS(5, 6), .lo = -1, .hi = 1}, {.shape = DIMS(5, 1), .lo = -1, .hi = 1}}},
     "elementwise/map",
     "HALVES 1\n"},
    {"any_window", POOL(DIMS(2, 3, 9, 11), .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}), "pool/forward"},
    {"any_window", POOL(DIMS(2, 3, 8, 12), .window = {2, 3}, .padding = {1, 1}, .exclude_padding = true), "pool/forward"},
    {"which", POOL(DIMS(2, 3, 9, 16), .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}), "pool/small", "V 4\nN 4\n"},
    {"which", POOL(DIMS(2, 3, 9, 8), .window = {5, 4}, .stride = {1, 1}, .padding = {2, 2}), "pool/small", "V 1\nN 1\n"},
    {"which", POOL(DIMS(1, 3, 9, 12), .window = {3, 5}, .stride = {1, 2}, .padding = {1, 2}), "pool/small", "V 4\nN 2\n"},
    {"which", POOL(DIMS(1, 3, 9, 6), .window = {3, 3}, .stride = {3, 1}, .padding = {1, 1}), "pool/small", "V 2\nN 2\n"},
    {"which", POOL(DIMS(2, 3, 6, 16), .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .exclude_padding = true),
     "pool/small", "V 4\nMEAN 2\nN 4\n"},
    {"which", POOL(DIMS(2, 3, 8, 12), .window = {2, 2}), "pool/grad_small", "STRIDE_X 2\nPAD_Y 0\nPAD_X 0\nV 4\n"},
    {"which", POOL(DIMS(2, 3, 9, 8), .window = {3, 3}, .stride = {1, 1}, .padding = {1, 1}), "pool/grad_small", "V 4\n"},
    {"which", POOL(DIMS(2, 3, 8, 12), .window = {4, 4}, .stride = {3, 3}, .padding = {1, 2}), "pool/grad_small", "V 4\n"},
    {"which", POOL(DIMS(2, 3, 9, 12), .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .exclude_padding = true),
     "pool/grad_small", "V 4\nMEAN 2\n"},
    {"which", POOL(DIMS(2, 3, 9, 7), .window = {3, 2}, .stride = {2, 3}, .padding = {0, 1}), "pool/grad_small", "V 1\n"},
    {"single_floats", SOFTMAX(false, DIMS(7, 132)), "softmax/softmax", "V 1\n"},
    {"single_floats", SOFTMAX(true, DIMS(3, 1028)), "softmax/grad", "V 1\n"},
    {"single_floats,lines", LAYER_NORM(DIMS(13, 68), DIMS(68)), "norm/forward", "V 1\n"},
    {"own_lines", SOFTMAX(false, DIMS(131, 132)), "softmax/softmax", "LANES 1\nCOLUMNS 0\nV 4\n"},
    {"own_lines,lines", LAYER_NORM(DIMS(130, 68), DIMS(68)), "norm/grad", "V 4\n"},
    {"own_lines", SOFTMAX(false, DIMS(131, 129)), "softmax/softmax", "LANES 1\n"},
    {"own_lines", SOFTMAX(true, DIMS(3, 1029)), "softmax/grad", "LANES 1\n"},
    {"own_lines", SOFTMAX(false, DIMS(2, 33000)), "softmax/softmax", "LANES 1\n"},
    {"own_lines,lines", LAYER_NORM(DIMS(130, 67), DIMS(67)), "norm/forward", "LANES 1\n"},
    {"own_lines,lines", LAYER_NORM(DIMS(3, 1030), DIMS(1030)), "norm/grad", "LANES 1\n"},
    {"own_lines", REDUCTION(false, DIMS(129, 131), 1), "reduce/reduce", "TY 1\n"},
    {"own_lines", REDUCTION(true, DIMS(5, 3, 8, 12), 1, 3), "reduce/reduce", "TY 1\n"},
    {"own_lines", REDUCTION(false, DIMS(3, 2309), 1), "reduce/reduce", "TY 1\n"},
    {"lanes256", REDUCTION(false, DIMS(9, 3, 20, 20), 0, 2, 3)},
    {"lanes256", REDUCTION(false, DIMS(3, 2309), 1)},
    {"lanes256", REDUCTION(true, DIMS(1037, 5), 0)},
    {"lanes1024", REDUCTION(false, DIMS(9, 3, 20, 20), 0, 2, 3)},
    {"lanes1024", REDUCTION(true, DIMS(2, 5, 31, 37), 0, 2, 3)},
    {"lanes1024", REDUCTION(false, DIMS(517, 3, 4), 0)},
    {"lanes1024", REDUCTION(false, DIMS(2, 300, 12), 1)},
    {"wide", CONV(1, 1, DIMS(2, 8, 5, 18), DIMS(9, 8, 3, 3))},
    {"few", CONV(1, 1, DIMS(3, 3, 11, 13), DIMS(10, 3, 3, 3))},
    {"few", CONV_TAIL(2, 1, DIMS(3, 3, 17, 32), DIMS(17, 3, 3, 3), DIMS(17, 1, 1))},
    {"few", CONV_TAIL(1, 0, DIMS(2, 2, 70, 8), DIMS(3, 2, 2, 6), DIMS(1))},
    {"few", CONV_GRADIENTS(1, 1, DIMS(9, 1, 13, 14), DIMS(9, 1, 3, 3))},
    {"few", CONV_GRADIENTS(1, 2, DIMS(2, 4, 9, 36), DIMS(37, 4, 5, 4))},
    {"few", CONV_GRADIENTS(2, 3, DIMS(3, 3, 23, 30), DIMS(6, 3, 7, 7))},
    {"few", CONV_GRADIENTS(2, 1, DIMS(2, 3, 9, 129), DIMS(4, 3, 3, 5))},
    {"few", CONV_GRADIENTS(1, 0, DIMS(1, 1, 1, 7), DIMS(1, 1, 1, 3))},
};

int main(void)
{
    return op_check_variants_main("variants", variants, sizeof variants / sizeof *variants, NULL, 0);
}
