/* Cases of convolutions, pooling and resizing. */
#include "selftest/case_rows.h"

BUILD(conv2d)
{
    (void)graph;
    int32_t stride = (int32_t)args[0], padding = (int32_t)args[1];
    esker_node *y = esker_conv2d(in[0], in[1],
                                 &(esker_conv2d_desc){.stride = {stride, stride}, .padding = {padding, padding}});
    return args[2] != 0 ? esker_relu(esker_add(y, in[2])) : y;
}
/* One step of training filters and a bias. args: filters, their rows and columns, stride, padding. */
BUILD(conv2d_trained)
{
    int32_t stride = (int32_t)args[2], padding = (int32_t)args[3];
    esker_node *w = esker_parameter(
        graph,
        &(esker_param_desc){
            .name = "w",
            .shape = {4, {(int64_t)args[0], esker_node_get_shape(in[0])->dims[1], (int64_t)args[1], (int64_t)args[1]}},
            .init = {ESKER_INIT_UNIFORM, 1}});
    esker_node *b = esker_parameter(
        graph, &(esker_param_desc){.name = "b", .shape = {1, {(int64_t)args[0]}}, .init = {ESKER_INIT_UNIFORM, 1}});
    esker_node *y = esker_conv2d(in[0], w, &(esker_conv2d_desc){.stride = {stride, stride}, .padding = {padding, padding}});
    y = esker_add(y, esker_reshape(b, &(esker_shape){3, {(int64_t)args[0], 1, 1}}));
    esker_node *loss = esker_mean(esker_mul(y, y), NULL, 0, false);
    esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.01f});
    return loss;
}
/* args: stride, dilation, groups, whether padded to the size of x. */
BUILD(conv2d_more)
{
    (void)graph;
    int32_t stride = (int32_t)args[0], dilation = (int32_t)args[1];
    return esker_conv2d(
        in[0], in[1],
        &(esker_conv2d_desc){
            .stride = {stride, stride}, .dilation = {dilation, dilation}, .groups = (int)args[2], .same = args[3] != 0});
}
BUILD(conv_transpose2d)
{
    (void)graph;
    int32_t stride = (int32_t)args[0], padding = (int32_t)args[1];
    return esker_conv_transpose2d(
        in[0], in[1], &(esker_conv_transpose2d_desc){.stride = {stride, stride}, .padding = {padding, padding}});
}
BUILD(conv1d)
{
    (void)graph;
    (void)args;
    return esker_conv1d(in[0], in[1], NULL);
}
static esker_pool2d_desc pool_of(const double *args)
{
    int32_t window = (int32_t)args[0], stride = (int32_t)args[1], padding = (int32_t)args[2];
    return (esker_pool2d_desc){.window = {window, window}, .stride = {stride, stride}, .padding = {padding, padding}};
}
BUILD(max_pool2d)
{
    esker_pool2d_desc desc = pool_of(args);
    (void)graph;
    return esker_max_pool2d(in[0], &desc);
}
/* A convolution, its bias, relu and pooling are one, and their gradients read what it left. args: filters, kernel, padding. */
BUILD(conv2d_pooled)
{
    int64_t channels = esker_node_get_shape(in[0])->dims[1], filters = (int64_t)args[0], kernel = (int64_t)args[1];
    int32_t padding = (int32_t)args[2];
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w",
                                                               .shape = {4, {filters, channels, kernel, kernel}},
                                                               .init = {ESKER_INIT_UNIFORM, .value = 0.5f}});
    esker_node *b = esker_parameter(
        graph, &(esker_param_desc){.name = "b", .shape = {1, {filters}}, .init = {ESKER_INIT_UNIFORM, .value = 0.5f}});
    esker_node *y = esker_conv2d(in[0], w, &(esker_conv2d_desc){.padding = {padding, padding}});
    y = esker_relu(esker_add(y, esker_reshape(b, &(esker_shape){3, {filters, 1, 1}})));
    y = esker_max_pool2d(y, &(esker_pool2d_desc){.window = {2, 2}});
    esker_node *loss = esker_mean(esker_mul(y, y), NULL, 0, false);
    esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.01f});
    return loss;
}
BUILD(avg_pool2d)
{
    esker_pool2d_desc desc = pool_of(args);
    (void)graph;
    return esker_avg_pool2d(in[0], &desc);
}
BUILD(adaptive_avg_pool2d)
{
    (void)graph;
    return esker_adaptive_avg_pool2d(in[0], (int[]){(int)args[0], (int)args[1]});
}
BUILD(resize2d)
{
    (void)graph;
    return esker_resize2d(in[0], (int)args[0], (int)args[1], (esker_resize_mode)args[2]);
}

/* clang-format off */
static const esker__case_row rows[] = {
    {"conv2d", .build = build_conv2d, .args = {1, 0}, .shapes = {"1,1,1,1 x 1,1,1,1", "2,3,9,7 x 4,3,3,3", "1,8,12,12 x 8,8,3,3", "2,5,8,8 x 9,5,1,1"}},
    {"conv2d", "Winograd's 2 x 2", .build = build_conv2d, .args = {1, 1}, .variant = "winograd2", .shapes = {"2,3,7,9 x 5,3,3,3", "2,17,12,16 x 20,17,3,3"}},
    {"conv2d", "Winograd's 4 x 4", .build = build_conv2d, .args = {1, 1}, .variant = "winograd4", .shapes = {"2,3,7,9 x 5,3,3,3", "2,17,12,16 x 20,17,3,3"}},
    {"conv2d", "a few channels", .build = build_conv2d, .args = {1, 1, 1}, .variant = "few", .shapes = {"2,3,9,7 x 6,3,3,3 x 6,1,1", "3,1,23,30 x 17,1,3,3 x 17,1,1"}},
    {"conv2d", "a few channels, stride 2", .build = build_conv2d, .args = {2, 3}, .variant = "few", .shapes = {"2,3,17,33 x 20,3,7,7", "1,4,9,16 x 3,4,5,4"}},
    {"conv2d", "a few channels, trained with a bias", .build = build_conv2d_trained, .args = {9, 3, 1, 1}, .variant = "few", .shapes = {"3,3,13,18", "9,1,28,28"}, .no_gradient = true},
    {"conv2d", "trained with a bias", .build = build_conv2d_trained, .args = {9, 3, 2, 1}, .shapes = {"2,3,13,18", "2,8,9,12"}, .no_gradient = true},
    {"conv2d", "padded", .build = build_conv2d, .args = {1, 2}, .shapes = {"2,2,7,9 x 5,2,5,5", "1,8,10,10 x 16,8,3,3", "2,9,24,26 x 20,9,3,3"}},
    {"conv2d", "stride 2", .build = build_conv2d, .args = {2, 1}, .shapes = {"2,3,9,8 x 4,3,3,3", "1,8,11,13 x 8,8,5,5", "2,16,29,34 x 20,16,3,3"}},
    {"conv2d", "with bias and relu", .build = build_conv2d, .args = {1, 1, 1}, .shapes = {"2,3,9,7 x 6,3,3,3 x 6,1,1", "1,8,12,12 x 8,8,3,3 x 8,1,1", "1,8,23,30 x 24,8,3,3 x 24,1,1"}},
    {"conv2d", "dilated", .build = build_conv2d_more, .args = {1, 2, 1}, .shapes = {"2,3,9,8 x 4,3,3,3", "1,8,13,13 x 8,8,3,3"}},
    {"conv2d", "dilated, stride 2", .build = build_conv2d_more, .args = {2, 3, 1}, .shapes = {"2,3,11,12 x 4,3,3,3"}},
    {"conv2d", "same size, two groups", .build = build_conv2d_more, .args = {1, 1, 2, 1}, .shapes = {"2,4,9,8 x 6,2,4,3", "1,16,9,9 x 16,8,3,3"}},
    {"conv2d", "depthwise", .build = build_conv2d_more, .args = {1, 1, 5}, .shapes = {"2,5,9,8 x 5,1,3,3", "1,5,17,9 x 10,1,3,3"}},
    {"conv2d", "filters stand still", .build = build_conv2d, .args = {1, 1, 1}, .parameters = 6, .shapes = {"2,3,9,7 x 6,3,3,3 x 6,1,1", "1,8,12,12 x 16,8,3,3 x 16,1,1", "1,8,23,30 x 24,8,3,3 x 24,1,1"}},
    {"conv2d", "channels in fours", .build = build_conv2d, .args = {1, 1, 1}, .parameters = 6, .variant = "fours", .shapes = {"2,3,9,7 x 6,3,3,3 x 6,1,1", "1,9,12,13 x 18,9,3,3 x 18,1,1"}, .no_gradient = true},
    {"conv2d", "channels in fours, one tap", .build = build_conv2d, .args = {1, 0, 1}, .parameters = 6, .variant = "fours", .shapes = {"2,7,9,7 x 6,7,1,1 x 6,1,1", "1,32,12,13 x 16,32,1,1 x 16,1,1"}, .no_gradient = true},
    {"conv2d", "channels in fours, stride 2", .build = build_conv2d, .args = {2, 1}, .parameters = 2, .variant = "fours", .shapes = {"2,6,9,8 x 9,6,3,3"}, .no_gradient = true},
    {"conv2d", "channels in fours, depthwise", .build = build_conv2d_more, .args = {1, 1, 6}, .parameters = 2, .variant = "fours", .shapes = {"2,6,9,8 x 6,1,3,3"}, .no_gradient = true},
    {"conv2d", "channels in fours, depthwise, stride 2", .build = build_conv2d_more, .args = {2, 1, 8}, .parameters = 2, .variant = "fours", .shapes = {"2,8,9,12 x 8,1,3,3"}, .no_gradient = true},
    {"conv2d", "Winograd's 2 x 2, with bias and relu", .build = build_conv2d, .args = {1, 1, 1}, .variant = "winograd2", .shapes = {"2,3,7,9 x 5,3,3,3 x 5,1,1", "2,17,12,16 x 20,17,3,3 x 20,1,1"}},
    {"conv2d", "Winograd's 4 x 4, with bias and relu", .build = build_conv2d, .args = {1, 1, 1}, .variant = "winograd4", .shapes = {"2,3,7,9 x 5,3,3,3 x 5,1,1", "2,17,12,16 x 20,17,3,3 x 20,1,1"}},
    {"conv2d", "one axis", .build = build_conv1d, .shapes = {"2,3,129 x 4,3,5", "1,8,33 x 8,8,3"}},
    {"conv_transpose2d", "stride 2", .build = build_conv_transpose2d, .args = {2, 1}, .shapes = {"1,1,1,1 x 1,1,3,3", "2,4,5,6 x 4,3,3,3", "1,8,7,7 x 8,8,4,4"}},
    {"conv_transpose2d", "stride 1", .build = build_conv_transpose2d, .args = {1, 0}, .shapes = {"2,4,5,6 x 4,3,3,3"}},
    {"max_pool2d", "2, apart", .build = build_max_pool2d, .args = {2, 2}, .shapes = {"1,1,2,2", "2,3,9,8"}},
    {"max_pool2d", "3, overlapping", .build = build_max_pool2d, .args = {3, 2, 1}, .shapes = {"2,3,9,8", "1,5,17,13"}},
    {"max_pool2d", "behind a convolution, trained", .build = build_conv2d_pooled, .args = {9, 3, 1}, .shapes = {"2,3,13,18", "2,8,9,12"}, .no_gradient = true},
    {"max_pool2d", "behind one of a few channels, trained", .build = build_conv2d_pooled, .args = {9, 3, 1}, .variant = "few", .shapes = {"3,3,13,18", "9,1,28,28"}, .no_gradient = true},
    {"max_pool2d", "behind one from tiles, trained", .build = build_conv2d_pooled, .args = {12, 3, 0}, .variant = "tiled", .shapes = {"2,8,13,15"}, .no_gradient = true},
    {"max_pool2d", "channels in fours", .build = build_max_pool2d, .args = {3, 2, 1}, .variant = "fours", .shapes = {"2,6,9,8"}, .no_gradient = true},
    {"avg_pool2d", "channels in fours", .build = build_avg_pool2d, .args = {3, 2, 1}, .variant = "fours", .shapes = {"2,6,9,8"}, .no_gradient = true},
    {"avg_pool2d", "2, apart", .build = build_avg_pool2d, .args = {2, 2}, .shapes = {"1,1,2,2", "2,3,9,8"}},
    {"avg_pool2d", "3, overlapping", .build = build_avg_pool2d, .args = {3, 2, 1}, .shapes = {"2,3,9,8", "1,5,17,13"}},
    {"adaptive_avg_pool2d", .build = build_adaptive_avg_pool2d, .args = {3, 5}, .shapes = {"1,1,1,1", "2,3,7,12", "1,2,16,5"}},
    {"resize2d", "nearest", .build = build_resize2d, .args = {7, 11, ESKER_RESIZE_NEAREST}, .shapes = {"1,1,1,1", "2,3,5,4", "1,2,16,13"}},
    {"resize2d", "bilinear", .build = build_resize2d, .args = {7, 11, ESKER_RESIZE_BILINEAR}, .shapes = {"1,1,1,1", "2,3,5,4", "1,2,16,13"}},
};
/* clang-format on */

FAMILY(conv);
