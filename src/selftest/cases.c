/* Which operations the self-test runs, and on what: sizes around the groups of kernels (127, 128, 129), one element, odd ones, broadcasts. */
#include "selftest/cases.h"

#include "ops/ops.h"

#define UNARY                                  \
    {                                          \
        "1", ".", "127", "128", "129", "3,5,7" \
    }
#define BROADCAST                                                         \
    {                                                                     \
        "129 x 129", "1 x 127", "128 x .", "4,1,5 x 3,1", "2,3,4,5 x 4,1" \
    }
#define ROWS                                     \
    {                                            \
        "1,1", "5,64", "3,127", "2,129", "129,3" \
    }
#define ON(a, b)         \
    {                    \
        .lo = a, .hi = b \
    }
#define WHOLE(a, b)                     \
    {                                   \
        .lo = a, .hi = b, .whole = true \
    }
#define I32(a, b)                                  \
    {                                              \
        .lo = a, .hi = b, .dtype = ESKER_DTYPE_I32 \
    }
#define U8(a, b)                                  \
    {                                             \
        .lo = a, .hi = b, .dtype = ESKER_DTYPE_U8 \
    }
#define F16(a, b)                                  \
    {                                              \
        .lo = a, .hi = b, .dtype = ESKER_DTYPE_F16 \
    }
#define I8(a, b)                                  \
    {                                             \
        .lo = a, .hi = b, .dtype = ESKER_DTYPE_I8 \
    }
#define BUILD(name) static esker_node *build_##name(esker_graph *graph, esker_node *const *in, const double *args)

/* ---- Recording what needs more than its inputs ---- */

/* clang-format off */
BUILD(affine) { (void)graph; return esker_affine(in[0], (float)args[0], (float)args[1]); }
BUILD(clamp) { (void)graph; return esker_clamp(in[0], (float)args[0], (float)args[1]); }
BUILD(leaky_relu) { (void)graph; return esker_leaky_relu(in[0], (float)args[0]); }
BUILD(elu) { (void)graph; return esker_elu(in[0], (float)args[0]); }
BUILD(softplus) { (void)graph; return esker_softplus(in[0], (float)args[0]); }
BUILD(where) { (void)graph; (void)args; return esker_where(in[0], in[1], in[2]); }
BUILD(equal_mask) { (void)graph; (void)args; return esker__equal(in[0], in[1]); }
BUILD(convert) { (void)graph; return esker_convert(in[0], (esker_dtype)args[0]); }
BUILD(softmax) { (void)graph; return esker_softmax(in[0], (int)args[0]); }
BUILD(log_softmax) { (void)graph; return esker_log_softmax(in[0], (int)args[0]); }
BUILD(flip) { (void)graph; return esker_flip(in[0], (int)args[0]); }
BUILD(roll) { (void)graph; return esker_roll(in[0], (int)args[0], (int64_t)args[1]); }
BUILD(tril) { (void)graph; return esker_tril(in[0], (int)args[0]); }
BUILD(triu) { (void)graph; return esker_triu(in[0], (int)args[0]); }
BUILD(dropout) { (void)graph; return esker_dropout(in[0], (float)args[0]); }
BUILD(uniform) { (void)graph; return esker_random_uniform_like(in[0], (float)args[0], (float)args[1]); }
BUILD(normal) { (void)graph; return esker_random_normal_like(in[0], (float)args[0], (float)args[1]); }
BUILD(bernoulli) { (void)graph; return esker_random_bernoulli_like(in[0], (float)args[0]); }
BUILD(bits) { (void)args; return esker__random_bits(graph, esker_node_get_shape(in[0])); }
BUILD(permutation) { (void)in; return esker_random_permutation(graph, (int64_t)args[0]); }
BUILD(products_of_rows) { (void)graph; (void)args; return esker_layer_norm(esker_add(esker_matmul(esker_gelu(esker_matmul(in[0], in[1], NULL)), in[2], NULL), in[0]), 1, in[3], NULL, 0); }
BUILD(norms_of_products) { (void)graph; (void)args; return esker_layer_norm(esker_matmul(esker_layer_norm(in[0], 1, in[2], in[3], 0), in[1], NULL), 1, in[2], in[3], 0); }
BUILD(layer_norm) { (void)graph; return esker_layer_norm(in[0], (int)args[0], in[1], in[2], 0); }
BUILD(rms_norm) { (void)graph; return esker_rms_norm(in[0], (int)args[0], in[1], 0); }
BUILD(group_norm) { (void)graph; return esker_group_norm(in[0], (int)args[0], in[1], in[2], 0); }
BUILD(instance_norm) { (void)graph; (void)args; return esker_instance_norm(in[0], in[1], in[2], 0); }
BUILD(normalize) { (void)graph; return esker_normalize(in[0], (int)args[0], 0); }
BUILD(cross_entropy_with)
{
    (void)graph;
    return esker_cross_entropy_with(in[0], in[1], in[2], &(esker_cross_entropy_desc){.label_smoothing = (float)args[0]});
}
BUILD(classifier)
{
    (void)graph;
    esker_node *y = esker_relu(in[0]);
    if (args[0] != 0) y = esker_mean(y, (const int[]){2, 3}, 2, false);
    y = esker_matmul(y, in[1], &(esker_matmul_desc){.transpose_b = true});
    return esker_cross_entropy(esker_add(y, in[3]), in[2]);
}
BUILD(nll) { (void)graph; (void)args; return esker_nll(in[0], in[1], in[2], NULL); }
BUILD(multi_margin) { (void)graph; return esker_multi_margin(in[0], in[1], in[2], &(esker_multi_margin_desc){.reduction = (esker_reduction)args[1], .power = (int)args[0]}); }
BUILD(cosine) { (void)graph; (void)args; return esker_cosine_embedding(in[0], in[1], in[2], NULL); }
/* clang-format on */

BUILD(resize2d)
{
    (void)graph;
    return esker_resize2d(in[0], (int)args[0], (int)args[1], (esker_resize_mode)args[2]);
}
BUILD(cumsum)
{
    (void)graph;
    return esker_cumsum(in[0], (int)args[0]);
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
BUILD(attention)
{
    (void)graph;
    return esker_attention(in[0], in[1], in[2], &(esker_attention_desc){.causal = args[0] != 0});
}
/* args: kind, whether reversed; inputs: x, the two weights, the two biases, the state. */
BUILD(recurrent)
{
    (void)graph;
    esker_node *y = esker_recurrent(in[0],
                                    &(esker_recurrent_desc){.kind = (esker_recurrent_kind)args[0],
                                                            .weight_ih = in[1],
                                                            .weight_hh = in[2],
                                                            .bias_ih = in[3],
                                                            .bias_hh = in[4],
                                                            .h = args[0] == ESKER_RECURRENT_LSTM && !args[2] ? NULL : in[5],
                                                            .c = args[2] ? in[6] : NULL,
                                                            .reverse = args[1] != 0});
    /* args[2]: both states given, and the last of both. */
    return args[2] ? esker_add(esker_recurrent_cell(y), esker_sum(y, (const int[]){0}, 1, false)) : y;
}
BUILD(rotary)
{
    (void)graph;
    return esker_rotary(in[0], &(esker_rotary_desc){.halves = args[0] != 0, .offset = (int64_t)args[1]});
}

#define LOSS(name)                                                                                                  \
    BUILD(name)                                                                                                     \
    {                                                                                                               \
        (void)graph;                                                                                                \
        return esker_##name(in[0], in[1],                                                                           \
                            &(esker_loss_desc){.reduction = (esker_reduction)args[0], .log_target = args[1] != 0}); \
    }
LOSS(mse_with)
LOSS(mae)
LOSS(huber)
LOSS(smooth_l1)
LOSS(bce)
LOSS(kl_div)
LOSS(hinge)
LOSS(hinge_embedding)
BUILD(bce_with_logits)
{
    (void)graph;
    return esker_bce_with_logits(in[0], in[1], NULL, &(esker_loss_desc){.reduction = (esker_reduction)args[0]});
}

/* args: the axes as bits, whether they are kept. */
static int axes_of(const double *args, int axes[ESKER_MAX_RANK])
{
    int n = 0;
    for (int i = 0; i < ESKER_MAX_RANK; i++)
        if ((unsigned)args[0] >> i & 1) axes[n++] = i;
    return n;
}
#define REDUCE(name)                                       \
    BUILD(name)                                            \
    {                                                      \
        int axes[ESKER_MAX_RANK], n = axes_of(args, axes); \
        (void)graph;                                       \
        return esker_##name(in[0], axes, n, args[1] != 0); \
    }
REDUCE(sum)
REDUCE(mean)
REDUCE(max)
REDUCE(min)
REDUCE(prod)
REDUCE(logsumexp)
REDUCE(argmax)
REDUCE(argmin)
BUILD(variance)
{
    int axes[ESKER_MAX_RANK], n = axes_of(args, axes);
    (void)graph;
    return esker_variance(in[0], axes, n, args[1] != 0, 1);
}
BUILD(norm)
{
    int axes[ESKER_MAX_RANK], n = axes_of(args, axes);
    (void)graph;
    return esker_norm(in[0], axes, n, args[1] != 0, (esker_norm_kind)args[2]);
}

BUILD(matmul)
{
    (void)graph;
    esker_node *y = esker_matmul(in[0], in[1],
                                 &(esker_matmul_desc){.transpose_a = args[0] != 0, .transpose_b = args[1] != 0});
    if (args[2] != 0) y = esker_add(y, in[2]);
    return args[3] == 1 ? esker_relu(y) : args[3] == 2 ? esker_sigmoid(y) : args[3] == 3 ? esker_tanh(y) : y;
}
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

/* One after the other as many as args[0] says, with running statistics, or one without. */
BUILD(batch_norm)
{
    const esker_shape channels = {1, {esker_node_get_shape(in[0])->dims[1]}};
    static const char *const names[][2] = {{"mean", "var"}, {"second mean", "second var"}, {"third mean", "third var"}};
    esker_batch_norm_desc desc = {.weight = in[1], .bias = in[2]};
    esker_node *y = in[0];
    for (int i = 0; i < (int)args[0]; i++) {
        desc.running_mean = esker_parameter(graph,
                                            &(esker_param_desc){.name = names[i][0], .shape = channels, .frozen = true});
        desc.running_var = esker_parameter(
            graph,
            &(esker_param_desc){.name = names[i][1], .shape = channels, .init = {ESKER_INIT_CONSTANT, 1}, .frozen = true});
        y = esker_batch_norm(y, &desc);
    }
    return args[0] != 0 ? y : esker_batch_norm(y, &desc);
}
BUILD(batch_norm_infer)
{
    (void)graph;
    (void)args;
    return esker_batch_norm_infer(
        in[0], &(esker_batch_norm_desc){.weight = in[1], .bias = in[2], .running_mean = in[3], .running_var = in[4]});
}

/* The mean square distance of three parameters, one of them frozen, to the inputs. args: kind, momentum, decay, what else. */
enum { PLAIN, CENTERED, CLIPPED };
static esker_node *distances(esker_graph *graph, esker_node *const *in)
{
    esker_node *loss = NULL;
    for (int i = 0; i < 3; i++) {
        const char *const names[] = {"a", "b", "c"};
        esker_node *p = esker_parameter(graph, &(esker_param_desc){.name = names[i],
                                                                   .shape = *esker_node_get_shape(in[i]),
                                                                   .init = {ESKER_INIT_UNIFORM, 1},
                                                                   .frozen = i == 1});
        esker_node *term = esker_mse(p, in[i]);
        loss = i ? esker_add(loss, term) : term;
    }
    return loss;
}
BUILD(optimizer)
{
    esker_node *loss = distances(graph, in);
    bool clipped = args[3] == CLIPPED;
    esker_optimize(loss, &(esker_optimizer_desc){.kind = (esker_optimizer_kind)args[0],
                                                 .lr = 0.01f,
                                                 .momentum = (float)args[1],
                                                 .weight_decay = (float)args[2],
                                                 .centered = args[3] == CENTERED,
                                                 .clip_value = clipped ? 0.02f : 0,
                                                 .clip_norm = clipped ? 0.1f : 0});
    return clipped ? esker_gradient_norm(graph) : loss;
}
BUILD(collect)
{
    (void)args;
    esker_node *loss = distances(graph, in);
    if (loss) esker__collect_gradients(loss);
    return loss;
}

/* ---- The table ---- */

#define ELEMENTWISE(name, a, b)                                          \
    {                                                                    \
#name, .unary = esker_##name, .in = {ON(a, b) }, .shapes = UNARY \
    }
#define OF_TWO(name, ...)                                                        \
    {                                                                            \
#name, .binary = esker_##name, .in = {__VA_ARGS__ }, .shapes = BROADCAST \
    }
#define COMPARE(name)                                                                                                \
    {                                                                                                                \
#name, .binary = esker_##name, .in = {WHOLE(-3, 3), WHOLE(-3, 3) }, .shapes = BROADCAST, .no_gradient = true \
    }
#define LOGICAL(name)                                                                                        \
    {                                                                                                        \
#name, .binary = esker_##name, .in = {U8(0, 1), U8(0, 1) }, .shapes = BROADCAST, .no_gradient = true \
    }
#define REDUCTION(name, ...)                                                                                             \
    {#name, "all axes", .build = build_##name, .args = {7, 0, __VA_ARGS__}, .shapes = {"1,1,1", "3,5,129", "20,30,11"}}, \
        {#name, "axis 1", .build = build_##name, .args = {2, 1, __VA_ARGS__},                                            \
         .shapes = {"3,129,1", "5,127,3", "1,128,2"}},                                                                   \
    {                                                                                                                    \
#name, "axes 0 and 2", .build = build_##name, .args = {5, 0, __VA_ARGS__ }, .shapes = { "7,5,33", "2,3,65" }     \
    }
#define DISTANCE(name, op, fix, values, ...)                                                                          \
    {op,                                                                                                              \
     "mean",                                                                                                          \
     .fixed = fix,                                                                                                    \
     .build = build_##name,                                                                                           \
     .in = {values, __VA_ARGS__},                                                                                     \
     .shapes = {"1 x 1", "129 x 129", "3,5,7 x 3,5,7"}},                                                              \
    {                                                                                                                 \
        op, "none", .fixed = fix, .build = build_##name, .args = {ESKER_REDUCTION_NONE}, .in = {values, __VA_ARGS__}, \
                    .shapes = {                                                                                       \
                        "127 x 127"                                                                                   \
                    }                                                                                                 \
    }
#define UPDATE(name, note, kind, ...)                                                    \
    {                                                                                    \
        name, note, .build = build_optimizer, .args = {kind, __VA_ARGS__}, .n_steps = 3, \
                    .shapes = {"129 x 65 x 7,11", "1 x 1 x ."}, .no_gradient = true      \
    }

/* clang-format off */
const esker__case_row esker__case_rows[] = {
    OF_TWO(add, ON(-2, 2)),
    OF_TWO(sub, ON(-2, 2)),
    OF_TWO(mul, ON(-2, 2)),
    OF_TWO(div, ON(-2, 2), ON(0.5, 3)),
    OF_TWO(minimum, ON(-2, 2)),
    OF_TWO(maximum, ON(-2, 2)),
    {"maximum", "equal values", .binary = esker_maximum, .in = {WHOLE(-2, 2), WHOLE(-2, 2)}, .shapes = {"129 x 129", "4,1,5 x 3,1"}},
    OF_TWO(pow, ON(0.25, 3), ON(-2, 3)),
    {"prelu", .binary = esker_prelu, .in = {ON(-2, 2), ON(0.1, 0.4)}, .shapes = {"2,3,5 x 3", "129 x 1"}},
    ELEMENTWISE(neg, -2, 2),
    ELEMENTWISE(abs, -2, 2),
    ELEMENTWISE(sign, -2, 2),
    ELEMENTWISE(square, -2, 2),
    ELEMENTWISE(reciprocal, 0.3, 4),
    ELEMENTWISE(floor, -9, 9),
    ELEMENTWISE(ceil, -9, 9),
    ELEMENTWISE(round, -9, 9),
    {"affine", .build = build_affine, .args = {1.5, -0.25}, .shapes = UNARY},
    {"clamp", .build = build_clamp, .args = {-0.5, 1}, .shapes = UNARY},
    ELEMENTWISE(exp, -6, 6),
    ELEMENTWISE(log, 0.01, 40),
    ELEMENTWISE(expm1, -3, 3),
    ELEMENTWISE(log1p, -0.9, 9),
    ELEMENTWISE(sqrt, 0.01, 40),
    ELEMENTWISE(rsqrt, 0.01, 40),
    ELEMENTWISE(sin, -7, 7),
    ELEMENTWISE(cos, -7, 7),
    ELEMENTWISE(erf, -4, 4),
    ELEMENTWISE(relu, -2, 2),
    {"leaky_relu", .build = build_leaky_relu, .args = {0.01}, .shapes = UNARY},
    {"elu", .build = build_elu, .args = {1.3}, .shapes = UNARY},
    ELEMENTWISE(selu, -4, 4),
    ELEMENTWISE(sigmoid, -9, 9),
    ELEMENTWISE(tanh, -5, 5),
    ELEMENTWISE(hard_sigmoid, -5, 5),
    ELEMENTWISE(silu, -6, 6),
    ELEMENTWISE(hard_swish, -5, 5),
    ELEMENTWISE(gelu, -5, 5),
    ELEMENTWISE(gelu_tanh, -5, 5),
    {"softplus", .build = build_softplus, .args = {1}, .in = {ON(-30, 30)}, .shapes = UNARY},
    ELEMENTWISE(mish, -6, 6),
    COMPARE(equal),
    COMPARE(not_equal),
    COMPARE(less),
    COMPARE(less_equal),
    COMPARE(greater),
    COMPARE(greater_equal),
    LOGICAL(logical_and),
    LOGICAL(logical_or),
    LOGICAL(logical_xor),
    {"logical_not", .unary = esker_logical_not, .in = {U8(0, 1)}, .shapes = UNARY, .no_gradient = true},
    {"where", .build = build_where, .in = {U8(0, 1), ON(-2, 2), ON(-2, 2)}, .shapes = {"129 x 129 x 129", "4,1 x 1,5 x ."}},
    {"where", "float16", .build = build_where, .in = {U8(0, 1), F16(-300, 300), F16(-300, 300)}, .shapes = {"129 x 129 x 129", "4,1 x 1,5 x ."}, .no_gradient = true},
    {"where", "int8", .build = build_where, .in = {U8(0, 1), I8(-128, 127), I8(-128, 127)}, .shapes = {"129 x 129 x 129", "4,1 x 1,5 x ."}, .no_gradient = true},
    {"equal_mask", .build = build_equal_mask, .in = {WHOLE(-3, 3), WHOLE(-3, 3)}, .shapes = BROADCAST, .no_gradient = true},
    {"convert", "to int32", .build = build_convert, .args = {ESKER_DTYPE_I32}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "to uint8", .build = build_convert, .args = {ESKER_DTYPE_U8}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from int32", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {I32(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "to float16", .build = build_convert, .args = {ESKER_DTYPE_F16}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from float16", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {F16(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "to int8", .build = build_convert, .args = {ESKER_DTYPE_I8}, .in = {ON(-300, 300)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from int8", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {I8(-128, 127)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "int8 to float16", .build = build_convert, .args = {ESKER_DTYPE_F16}, .in = {I8(-128, 127)}, .shapes = UNARY, .no_gradient = true},
    {"convert", "from uint8", .build = build_convert, .args = {ESKER_DTYPE_F32}, .in = {U8(0, 255)}, .shapes = UNARY, .no_gradient = true},

    {"matmul", .build = build_matmul, .shapes = {"1,1 x 1,1", "5,7 x 7,3", "127,33 x 33,65", "4,129 x 129,8", "6,2100 x 2100,5", "64,64 x 64,64", "129,80 x 80,130"}},
    {"matmul", "a transposed", .build = build_matmul, .args = {1, 0}, .shapes = {"33,127 x 33,65", "64,128 x 64,64", "100,131 x 100,97"}},
    {"matmul", "b transposed", .build = build_matmul, .args = {0, 1}, .shapes = {"31,33 x 65,33", "64,128 x 96,128", "97,100 x 130,100"}},
    {"matmul", "both transposed", .build = build_matmul, .args = {1, 1}, .shapes = {"33,31 x 65,33", "128,64 x 96,128", "100,98 x 130,100"}},
    {"matmul", "a vector", .build = build_matmul, .shapes = {"1,129 x 129,5", "1,5 x 5,300", "127,9 x 9,1", "1,3000 x 3000,1"}},
    {"matmul", "with bias", .build = build_matmul, .args = {0, 0, 1}, .shapes = {"5,7 x 7,3 x 3", "64,64 x 64,64 x 64", "3,2100 x 2100,4 x 4"}},
    {"matmul", "with bias and relu", .build = build_matmul, .args = {0, 0, 1, 1}, .shapes = {"9,33 x 33,6 x 6", "65,64 x 64,66 x 66"}},
    {"matmul", "b stands still", .build = build_matmul, .args = {0, 1, 1}, .parameters = 6, .shapes = {"1,33 x 6,33 x 6", "65,64 x 66,64 x 66"}},
    {"matmul", "with bias and sigmoid", .build = build_matmul, .args = {0, 0, 1, 2}, .shapes = {"9,33 x 33,6 x 6", "65,64 x 64,66 x 66"}},
    {"matmul", "with bias and tanh", .build = build_matmul, .args = {0, 0, 1, 3}, .shapes = {"9,33 x 33,6 x 6", "65,64 x 64,66 x 66"}},
    {"matmul", "batches", .build = build_matmul, .shapes = {"3,5,7 x 3,7,4", "2,1,33,9 x 3,9,17", "2,64,64 x 64,64", "4,7 x 3,7,1"}},
    {"matmul", "batches, b transposed", .build = build_matmul, .args = {0, 1}, .shapes = {"3,5,7 x 3,4,7", "2,64,64 x 2,64,64"}},
    {"matmul", "one axis", .build = build_matmul, .shapes = {"129 x 129", "7 x 3,7,5", "3,5,7 x 7"}},
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

    REDUCTION(sum, 0),
    REDUCTION(mean, 0),
    REDUCTION(max, 0),
    REDUCTION(min, 0),
    REDUCTION(prod, 0),
    {"variance", "all axes", .build = build_variance, .args = {7}, .shapes = {"3,5,129", "20,30,11"}},
    {"variance", "axis 1", .build = build_variance, .args = {2, 1}, .shapes = {"3,129,1", "5,127,3"}},
    REDUCTION(logsumexp, 0),
    REDUCTION(norm, 0),
    REDUCTION(norm, 1),
    {"argmax", "axis 1", .build = build_argmax, .args = {2}, .in = {WHOLE(-9, 9)}, .shapes = {"3,129,1", "5,127,3", "1,1"}, .no_gradient = true},
    {"argmin", "axis 1", .build = build_argmin, .args = {2}, .in = {WHOLE(-9, 9)}, .shapes = {"3,129,1", "5,127,3", "1,1"}, .no_gradient = true},
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
    {"cumsum", .build = build_cumsum, .args = {1}, .shapes = {"1,1", "5,127", "3,129,2", "2,1030"}},
    {"take", "axis 0", .build = build_take, .args = {0}, .in = {ON(-2, 2), I32(0, 4)}, .shapes = {"5 x 1", "5,7 x 129", "6,3,5 x 4,3"}},
    {"take", "axis 1", .build = build_take, .args = {1}, .in = {ON(-2, 2), I32(0, 4)}, .shapes = {"3,5 x 7", "2,5,3 x 33"}},
    {"take", "float16", .build = build_take, .args = {0}, .in = {F16(-300, 300), I32(0, 4)}, .shapes = {"5 x 1", "5,7 x 129"}, .no_gradient = true},
    {"take", "int8", .build = build_take, .args = {0}, .in = {I8(-128, 127), I32(0, 4)}, .shapes = {"5 x 1", "5,7 x 129"}, .no_gradient = true},
    {"gather", .build = build_gather, .args = {1}, .in = {ON(-2, 2), I32(0, 4)}, .shapes = {"1,5 x 1,1", "3,5 x 3,129", "2,5,3 x 2,7,3"}},
    {"gather", "float16", .build = build_gather, .args = {1}, .in = {F16(-300, 300), I32(0, 4)}, .shapes = {"3,5 x 3,129"}, .no_gradient = true},
    {"gather", "int8", .build = build_gather, .args = {1}, .in = {I8(-128, 127), I32(0, 4)}, .shapes = {"3,5 x 3,129"}, .no_gradient = true},
    {"scatter_add", .build = build_scatter_add, .args = {1}, .in = {ON(-2, 2), I32(0, 4), ON(-2, 2)}, .shapes = {"1,5 x 1,1 x 1,1", "3,5 x 3,129 x 3,129", "2,5,3 x 2,7,3 x 2,7,3"}},
    {"one_hot", .build = build_one_hot, .args = {5}, .in = {I32(0, 4)}, .shapes = {".", "129", "3,7"}, .no_gradient = true},
    {"softmax", "rows", .build = build_softmax, .args = {1}, .in = {ON(-9, 9)}, .shapes = ROWS},
    {"softmax", "axis 0", .build = build_softmax, .args = {0}, .in = {ON(-9, 9)}, .shapes = {"129,3", "7,5"}},
    {"log_softmax", "rows", .build = build_log_softmax, .args = {1}, .in = {ON(-9, 9)}, .shapes = ROWS},
    {"log_softmax", "axis 0", .build = build_log_softmax, .args = {0}, .in = {ON(-9, 9)}, .shapes = {"129,3", "7,5"}},
    {"attention", .build = build_attention, .shapes = {"1,1,1,1 x 1,1,1,1 x 1,1,1,1", "2,3,7,8 x 2,3,7,8 x 2,3,7,8", "1,2,65,33 x 1,2,70,33 x 1,2,70,33"}},
    {"attention", "causal", .build = build_attention, .args = {1}, .shapes = {"2,3,7,8 x 2,3,7,8 x 2,3,7,8", "1,1,129,32 x 1,1,129,32 x 1,1,129,32"}},
    {"recurrent", "rnn, tanh", .build = build_recurrent, .args = {ESKER_RECURRENT_RNN_TANH}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 7,5 x 7,7 x 7 x 7 x 3,7"}},
    {"recurrent", "rnn, relu, reversed", .build = build_recurrent, .args = {ESKER_RECURRENT_RNN_RELU, 1}, .in = {ON(-1, 1), ON(-0.3, 0.3), ON(-0.3, 0.3)}, .shapes = {"4,3,5 x 7,5 x 7,7 x 7 x 7 x 3,7"}},
    {"recurrent", "lstm", .build = build_recurrent, .args = {ESKER_RECURRENT_LSTM}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 28,5 x 28,7 x 28 x 28"}},
    {"recurrent", "lstm, states and last cell", .build = build_recurrent, .args = {ESKER_RECURRENT_LSTM, 0, 1}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 28,5 x 28,7 x 28 x 28 x 1,7 x 1,7"}},
    {"recurrent", "gru", .build = build_recurrent, .args = {ESKER_RECURRENT_GRU}, .in = {ON(-1, 1), ON(-0.5, 0.5), ON(-0.5, 0.5)}, .shapes = {"4,3,5 x 21,5 x 21,7 x 21 x 21 x 3,7", "1,1,1 x 3,1 x 3,1 x 3 x 3 x 1,1"}},
    {"rotary", .build = build_rotary, .shapes = {"1,2", "2,3,7,8", "129,6"}},
    {"rotary", "halves, from 1000", .build = build_rotary, .args = {1, 1000}, .shapes = {"2,3,7,8"}},

    {"random_bits", .build = build_bits, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_uniform", .build = build_uniform, .args = {-1, 3}, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_normal", .build = build_normal, .args = {1, 2}, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_bernoulli", .build = build_bernoulli, .args = {0.3}, .shapes = {"1", "127", "3,5,7"}, .no_gradient = true, .n_steps = 2},
    {"random_permutation", "1", .build = build_permutation, .args = {1}, .shapes = {""}, .no_gradient = true},
    {"random_permutation", "300", .build = build_permutation, .args = {300}, .shapes = {""}, .no_gradient = true, .n_steps = 2},
    {"dropout", .build = build_dropout, .args = {0.4}, .shapes = UNARY, .n_steps = 2},

    {"layer_norm", .build = build_layer_norm, .args = {1}, .shapes = {"7 x 7 x 7", "5,64 x 64 x 64", "2,129 x 129 x 129", "129,3 x 3 x 3"}},
    {"matmul", "one behind another, and a norm", .build = build_products_of_rows, .shapes = {"5,64 x 64,128 x 128,64 x 64"}},
    {"layer_norm", "behind a product, and in front", .build = build_norms_of_products, .shapes = {"5,64 x 64,64 x 64 x 64", "2,129 x 129,129 x 129 x 129"}},
    {"layer_norm", "two axes", .build = build_layer_norm, .args = {2}, .shapes = {"2,3,5,7 x 5,7 x 5,7"}},
    {"rms_norm", .build = build_rms_norm, .args = {1}, .shapes = {"7 x 7", "5,64 x 64", "2,129 x 129"}},
    {"group_norm", .build = build_group_norm, .args = {2}, .shapes = {"2,4,5,3 x 4 x 4", "3,6,65 x 6 x 6"}},
    {"instance_norm", .build = build_instance_norm, .shapes = {"2,3,5,7 x 3 x 3", "1,2,129 x 2 x 2"}},
    {"normalize", .build = build_normalize, .args = {1}, .shapes = {"5,64", "2,129", "3,7,2"}},
    {"batch_norm", .build = build_batch_norm, .shapes = {"5,3 x 3 x 3", "2,4,5,7 x 4 x 4", "129,2 x 2 x 2"}},
    {"batch_norm_running", .build = build_batch_norm, .args = {1}, .shapes = {"5,3 x 3 x 3", "2,4,5,7 x 4 x 4"}, .n_steps = 2},
    {"batch_norm_running", "of three norms", .build = build_batch_norm, .args = {3}, .shapes = {"2,4,5,7 x 4 x 4"}, .n_steps = 2, .no_gradient = true},
    {"batch_norm_infer", .fixed = 24, .build = build_batch_norm_infer, .in = {ON(-2, 2), ON(0.5, 2), ON(-1, 1), ON(-1, 1), ON(0.3, 2)}, .shapes = {"5,3 x 3 x 3 x 3 x 3", "2,4,5,7 x 4 x 4 x 4 x 4"}},

    {"cross_entropy", .binary = esker_cross_entropy, .in = {ON(-9, 9), I32(-1, 2)}, .shapes = {"1,3 x 1", "5,64 x 5", "129,3 x 129", "7,129 x 7"}},
    {"cross_entropy", "of a linear layer", .build = build_classifier, .in = {ON(-2, 2), ON(-1, 1), I32(-1, 2), ON(-1, 1)}, .shapes = {"1,3 x 3,3 x 1 x 3", "64,256 x 10,256 x 64 x 10", "300,33 x 5,33 x 300 x 5", "7,36 x 128,36 x 7 x 128"}},
    {"cross_entropy", "of a linear layer of means", .build = build_classifier, .args = {1}, .in = {ON(-2, 2), ON(-1, 1), I32(-1, 2), ON(-1, 1)}, .shapes = {"1,3,2,2 x 3,3 x 1 x 3", "32,8,16,16 x 5,8 x 32 x 5", "7,36,7,7 x 10,36 x 7 x 10"}},
    {"cross_entropy", "weights, smoothed", .fixed = 4, .build = build_cross_entropy_with, .args = {0.1}, .in = {ON(-9, 9), I32(-1, 2), ON(0.3, 2)}, .shapes = {"5,4 x 5 x 4", "7,129 x 7 x 129"}},
    {"nll", .fixed = 4, .build = build_nll, .in = {ON(-4, 0), I32(-1, 2), ON(0.3, 2)}, .shapes = {"1,3 x 1 x 3", "5,64 x 5 x 64", "129,3 x 129 x 3"}},
    {"mse", .binary = esker_mse, .shapes = {"1 x 1", "129 x 129", "3,5,7 x 3,5,7"}},
    DISTANCE(mse_with, "mse", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(mae, "mae", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(huber, "huber", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(smooth_l1, "smooth_l1", 0, ON(-2, 2), ON(-2, 2)),
    DISTANCE(bce, "bce", 2, ON(0.01, 0.99), ON(0, 1)),
    DISTANCE(bce_with_logits, "bce_with_logits", 2, ON(-9, 9), ON(0, 1)),
    DISTANCE(kl_div, "kl_div", 2, ON(-4, 0), ON(0, 1)),
    {"kl_div_log", .fixed = 2, .build = build_kl_div, .args = {0, 1}, .in = {ON(-4, 0), ON(-4, 0)}, .shapes = {"1 x 1", "129 x 129", "3,5,7 x 3,5,7"}},
    DISTANCE(hinge, "hinge", 2, ON(-2, 2), WHOLE(-1, 1)),
    DISTANCE(hinge_embedding, "hinge_embedding", 2, ON(0, 2), WHOLE(-1, 1)),
    {"cosine_embedding", .fixed = 4, .build = build_cosine, .in = {ON(-2, 2), ON(-2, 2), WHOLE(-1, 1)}, .shapes = {"5,7 x 5,7 x 5", "3,129 x 3,129 x 3"}},
    {"multi_margin", .fixed = 4, .build = build_multi_margin, .args = {1}, .in = {ON(-2, 2), I32(0, 2), ON(0.3, 2)}, .shapes = {"1,3 x 1 x 3", "5,64 x 5 x 64", "129,3 x 129 x 3"}},
    {"multi_margin_square", "each", .fixed = 4, .build = build_multi_margin, .args = {2, ESKER_REDUCTION_NONE}, .in = {ON(-2, 2), I32(0, 2), ON(0.3, 2)}, .shapes = {"1,3 x 1 x 3", "5,64 x 5 x 64", "129,3 x 129 x 3"}},
    {"count_correct", .binary = esker_count_correct, .in = {ON(-9, 9), I32(-1, 2)}, .shapes = {"1,3 x 1", "129,3 x 129", "7,129 x 7"}, .no_gradient = true},

    UPDATE("sgd", "decay", ESKER_OPTIMIZER_SGD, 0, 0.01),
    UPDATE("sgd", "momentum, decay", ESKER_OPTIMIZER_SGD, 0.9, 0.01),
    UPDATE("adam", "decay", ESKER_OPTIMIZER_ADAM, 0, 0.01),
    UPDATE("adamw", "decay", ESKER_OPTIMIZER_ADAMW, 0, 0.01),
    UPDATE("rmsprop", "decay", ESKER_OPTIMIZER_RMSPROP, 0, 0.01),
    UPDATE("rmsprop", "momentum", ESKER_OPTIMIZER_RMSPROP, 0.9),
    UPDATE("rmsprop", "centered, momentum", ESKER_OPTIMIZER_RMSPROP, 0.9, 0, CENTERED),
    UPDATE("rmsprop", "centered", ESKER_OPTIMIZER_RMSPROP, 0, 0, CENTERED),
    UPDATE("adagrad", "decay", ESKER_OPTIMIZER_ADAGRAD, 0, 0.01),
    UPDATE("adadelta", "decay", ESKER_OPTIMIZER_ADADELTA, 0, 0.01),
    UPDATE("nadam", "decay", ESKER_OPTIMIZER_NADAM, 0, 0.01),
    UPDATE("lion", "decay", ESKER_OPTIMIZER_LION, 0, 0.01),
    UPDATE("lamb", "decay", ESKER_OPTIMIZER_LAMB, 0, 0.01),
    UPDATE("clip_gradients", "value and norm", ESKER_OPTIMIZER_SGD, 0, 0, CLIPPED),
    {"collect_gradients", NULL, .build = build_collect, .shapes = {"129 x 65 x 7,11"}, .no_gradient = true},
};
/* clang-format on */
const int esker__n_case_rows = sizeof esker__case_rows / sizeof esker__case_rows[0];
