/*
 * esker bench ops: operations that memory bounds, forward and backward, on parameters with random values, so that all of it lies on the device. The bytes of a row are
 * those that such an operation cannot do without: what it reads once, and what it writes; where whole lines fit no group, what it has to read again.
 */
#include "bench.h"

#include <stdio.h>

esker_node *bench_parameter(esker_graph *graph, const char *name, const esker_shape *shape)
{
    return esker_parameter(
        graph, &(esker_param_desc){.name = name, .shape = *shape, .init = {.kind = ESKER_INIT_UNIFORM, .value = 1}});
}

esker_node *bench_corner(esker_node *x)
{
    esker_range ranges[ESKER_MAX_RANK];
    const esker_shape *shape = esker_node_get_shape(x);
    int rank = shape ? shape->rank : 0;
    for (int i = 0; i < rank; i++) ranges[i] = (esker_range){.stop = 1};
    return esker_square(esker_slice(x, ranges, rank));
}

esker_graph *bench_new_graph(bench *b, const char *name)
{
    esker_graph *graph = NULL;
    esker_status st = esker_graph_create(NULL, &graph);
    if (st != ESKER_OK) bench_fail(b, name, st);
    return graph;
}

/* ---- Operands ---- */

static esker_node *parameter(esker_graph *g, const char *name, const esker_shape *s)
{
    return bench_parameter(g, name, s);
}

static esker_node *vector(esker_graph *g, const char *name, int64_t n)
{
    return bench_parameter(g, name, &(esker_shape){1, {n}});
}

/* int32 from 0 to below `below`. */
static esker_node *indices(esker_graph *g, int64_t n, int64_t below)
{
    return esker_convert(esker_random_uniform(g, &(esker_shape){1, {n}}, 0, (float)below), ESKER_DTYPE_I32);
}

/* The gradient of `wrt` where y has the gradient r: the loss sum(y r), whose own work is not worth mentioning. */
static esker_node *gradient(esker_graph *g, esker_node *y, esker_node *wrt)
{
    esker_node *out = NULL;
    if (!y) return NULL;
    esker_node *loss = esker_sum(esker_mul(y, parameter(g, "r", esker_node_get_shape(y))), NULL, 0, false);
    return esker_gradients(loss, &wrt, 1, &out) == ESKER_OK ? out : NULL;
}

/* ---- Element by element ---- */

static esker_node *op_add(esker_graph *g, const esker_shape *s)
{
    return esker_add(parameter(g, "a", s), parameter(g, "b", s));
}
static esker_node *op_relu(esker_graph *g, const esker_shape *s)
{
    return esker_relu(parameter(g, "a", s));
}
static esker_node *op_gelu(esker_graph *g, const esker_shape *s)
{
    return esker_gelu(parameter(g, "a", s));
}
static esker_node *op_gelu_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_gelu(x), x);
}
static esker_node *op_bias(esker_graph *g, const esker_shape *s)
{
    return esker_add(parameter(g, "a", s), vector(g, "b", s->dims[s->rank - 1]));
}
static esker_node *op_channel_bias(esker_graph *g, const esker_shape *s)
{
    return esker_add(parameter(g, "a", s), parameter(g, "b", &(esker_shape){3, {s->dims[1], 1, 1}}));
}
static esker_node *op_dropout(esker_graph *g, const esker_shape *s)
{
    return esker_dropout(parameter(g, "a", s), 0.5f);
}

/* ---- Sums ---- */

static esker_node *op_sum_rows(esker_graph *g, const esker_shape *s)
{
    return esker_sum(parameter(g, "a", s), (int[]){1}, 1, false);
}
static esker_node *op_sum_columns(esker_graph *g, const esker_shape *s)
{
    return esker_sum(parameter(g, "a", s), (int[]){0}, 1, false);
}
static esker_node *op_sum_channels(esker_graph *g, const esker_shape *s)
{
    return esker_sum(parameter(g, "a", s), (int[]){0, 2, 3}, 3, false);
}
static esker_node *op_sum_all(esker_graph *g, const esker_shape *s)
{
    return esker_sum(parameter(g, "a", s), NULL, 0, false);
}
static esker_node *op_argmax(esker_graph *g, const esker_shape *s)
{
    return esker_convert(esker_argmax(parameter(g, "a", s), (int[]){1}, 1, false), ESKER_DTYPE_F32);
}
static esker_node *op_cumsum(esker_graph *g, const esker_shape *s)
{
    return esker_cumsum(parameter(g, "a", s), 1);
}

/* ---- Lines ---- */

static esker_node *op_softmax(esker_graph *g, const esker_shape *s)
{
    return esker_softmax(parameter(g, "a", s), 1);
}
static esker_node *op_softmax_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_softmax(x, 1), x);
}
static esker_node *op_log_softmax(esker_graph *g, const esker_shape *s)
{
    return esker_log_softmax(parameter(g, "a", s), 1);
}
static esker_node *op_log_softmax_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_log_softmax(x, 1), x);
}
static esker_node *op_cross_entropy(esker_graph *g, const esker_shape *s)
{
    return esker_cross_entropy(parameter(g, "a", s), indices(g, s->dims[0], s->dims[1]));
}
static esker_node *op_cross_entropy_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s), *out = NULL;
    return esker_gradients(esker_cross_entropy(x, indices(g, s->dims[0], s->dims[1])), &x, 1, &out) == ESKER_OK ? out
                                                                                                                : NULL;
}
static esker_node *layer_norm(esker_graph *g, esker_node *x, esker_node **out_weight)
{
    const esker_shape *s = esker_node_get_shape(x);
    int64_t n = s ? s->dims[s->rank - 1] : 1;
    *out_weight = vector(g, "w", n);
    return esker_layer_norm(x, 1, *out_weight, vector(g, "b", n), 1e-5f);
}
static esker_node *op_layer_norm(esker_graph *g, const esker_shape *s)
{
    esker_node *weight;
    return layer_norm(g, parameter(g, "a", s), &weight);
}
static esker_node *op_layer_norm_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s), *weight, *y = layer_norm(g, x, &weight);
    return gradient(g, y, x);
}
static esker_node *op_layer_norm_affine(esker_graph *g, const esker_shape *s)
{
    esker_node *weight, *y = layer_norm(g, parameter(g, "a", s), &weight);
    return gradient(g, y, weight);
}
static esker_node *op_rms_norm(esker_graph *g, const esker_shape *s)
{
    return esker_rms_norm(parameter(g, "a", s), 1, vector(g, "w", s->dims[1]), 1e-5f);
}

/* ---- Channels ---- */

static esker_node *batch_norm(esker_graph *g, esker_node *x, bool infer)
{
    const esker_shape *s = esker_node_get_shape(x);
    int64_t c = s ? s->dims[1] : 1;
    esker_batch_norm_desc desc = {.weight = vector(g, "w", c), .bias = vector(g, "b", c)};
    if (!infer) return esker_batch_norm(x, &desc);
    desc.running_mean = vector(g, "mean", c);
    desc.running_var = esker_square(vector(g, "deviation", c));
    return esker_batch_norm_infer(x, &desc);
}
static esker_node *op_batch_norm(esker_graph *g, const esker_shape *s)
{
    return batch_norm(g, parameter(g, "a", s), false);
}
static esker_node *op_batch_norm_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, batch_norm(g, x, false), x);
}
static esker_node *op_batch_norm_infer(esker_graph *g, const esker_shape *s)
{
    return batch_norm(g, parameter(g, "a", s), true);
}
static esker_node *op_group_norm(esker_graph *g, const esker_shape *s)
{
    return esker_group_norm(parameter(g, "a", s), 8, vector(g, "w", s->dims[1]), vector(g, "b", s->dims[1]), 1e-5f);
}

/* ---- Windows ---- */

static const esker_pool2d_desc windows2 = {.window = {2, 2}},
                               windows3 = {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}};

static esker_node *op_max_pool(esker_graph *g, const esker_shape *s)
{
    return esker_max_pool2d(parameter(g, "a", s), &windows2);
}
static esker_node *op_max_pool3(esker_graph *g, const esker_shape *s)
{
    return esker_max_pool2d(parameter(g, "a", s), &windows3);
}
static esker_node *op_avg_pool(esker_graph *g, const esker_shape *s)
{
    return esker_avg_pool2d(parameter(g, "a", s), &windows2);
}
static esker_node *op_avg_pool3(esker_graph *g, const esker_shape *s)
{
    return esker_avg_pool2d(parameter(g, "a", s), &windows3);
}
static esker_node *op_max_pool_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_max_pool2d(x, &windows2), x);
}
static esker_node *op_max_pool3_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_max_pool2d(x, &windows3), x);
}
static esker_node *op_avg_pool_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_avg_pool2d(x, &windows2), x);
}
static esker_node *op_avg_pool3_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *x = parameter(g, "a", s);
    return gradient(g, esker_avg_pool2d(x, &windows3), x);
}
static esker_node *op_global_pool(esker_graph *g, const esker_shape *s)
{
    return esker_global_avg_pool2d(parameter(g, "a", s));
}

/* ---- Moves ---- */

static esker_node *op_transpose(esker_graph *g, const esker_shape *s)
{
    return esker_transpose(parameter(g, "a", s), (int[]){1, 0});
}
static esker_node *op_heads(esker_graph *g, const esker_shape *s)
{
    return esker_transpose(parameter(g, "a", s), (int[]){0, 2, 1, 3});
}
static esker_node *op_channels_last(esker_graph *g, const esker_shape *s)
{
    return esker_transpose(parameter(g, "a", s), (int[]){0, 2, 3, 1});
}
static esker_node *op_channels_first(esker_graph *g, const esker_shape *s)
{
    return esker_transpose(parameter(g, "a", s), (int[]){0, 3, 1, 2});
}
static esker_node *op_concat(esker_graph *g, const esker_shape *s)
{
    return esker_concat((esker_node *[]){parameter(g, "a", s), parameter(g, "b", s)}, 2, 1);
}
static esker_node *op_slice(esker_graph *g, const esker_shape *s)
{
    int64_t n = s->dims[1];
    return esker_slice(parameter(g, "a", s), (esker_range[]){{0}, {.start = n / 4, .stop = n / 4 * 3}}, 2);
}
static esker_node *op_embedding(esker_graph *g, const esker_shape *s)
{
    return esker_embedding(parameter(g, "table", s), indices(g, s->dims[0], s->dims[0]));
}
static esker_node *op_embedding_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *table = parameter(g, "table", s);
    return gradient(g, esker_embedding(table, indices(g, s->dims[0], s->dims[0])), table);
}

/* ---- Others ---- */

static esker_node *op_attention(esker_graph *g, const esker_shape *s)
{
    return esker_attention(parameter(g, "q", s), parameter(g, "k", s), parameter(g, "v", s),
                           &(esker_attention_desc){.causal = true});
}
/* All three gradients, of a loss that gives attention the gradient r. */
static esker_node *op_attention_grad(esker_graph *g, const esker_shape *s)
{
    esker_node *in[] = {parameter(g, "q", s), parameter(g, "k", s), parameter(g, "v", s)}, *gradients[3];
    esker_node *y = esker_attention(in[0], in[1], in[2], &(esker_attention_desc){.causal = true}),
               *loss = esker_sum(esker_mul(y, parameter(g, "r", s)), NULL, 0, false);
    if (esker_gradients(loss, in, 3, gradients) != ESKER_OK) return NULL;
    return esker_add(bench_corner(gradients[0]), esker_add(bench_corner(gradients[1]), bench_corner(gradients[2])));
}
static esker_node *op_update(esker_graph *g, const esker_shape *s)
{
    esker_node *loss = esker_sum(parameter(g, "a", s), NULL, 0, false);
    esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW});
    return loss;
}

#define ROWS                 \
    {                        \
        2,                   \
        {                    \
            1 << 14, 1 << 10 \
        }                    \
    }
#define IMAGES             \
    {                      \
        4,                 \
        {                  \
            32, 64, 88, 88 \
        }                  \
    }

static const struct row {
    const char *name, *op;
    esker_node *(*record)(esker_graph *graph, const esker_shape *shape);
    esker_shape shape;
    double bytes; /* an element of the shape; 0: as the plan estimates */
    bool small;
} rows[] = {
    {"add", "add", op_add, {1, {1 << 12}}, 12, true},
    {"add", "add", op_add, {1, {1 << 24}}, 12},
    {"relu", "relu", op_relu, {1, {1 << 24}}, 8},
    {"gelu", "gelu", op_gelu, {1, {1 << 24}}, 8},
    {"gelu gradient", "gelu_grad", op_gelu_grad, {1, {1 << 24}}, 12},
    {"dropout", "dropout", op_dropout, {1, {1 << 24}}, 8},
    {"add a row", "add", op_bias, ROWS, 8},
    {"add a number for each channel", "add", op_channel_bias, IMAGES, 8},
    {"sum of rows", "sum", op_sum_rows, ROWS, 4},
    {"sum of columns", "sum", op_sum_columns, ROWS, 4},
    {"sum of channels", "sum", op_sum_channels, IMAGES, 4},
    {"sum of all", "sum", op_sum_all, {1, {1 << 24}}, 4},
    {"argmax of rows", "argmax", op_argmax, ROWS, 4},
    {"cumsum of rows", "cumsum", op_cumsum, ROWS, 8},
    {"softmax", "softmax", op_softmax, ROWS, 8},
    {"softmax gradient", "softmax_grad", op_softmax_grad, ROWS, 12},
    {"log_softmax", "log_softmax", op_log_softmax, ROWS, 8},
    {"log_softmax gradient", "log_softmax_grad", op_log_softmax_grad, ROWS, 12},
    {"cross-entropy", "cross_entropy", op_cross_entropy, ROWS, 4},
    {"cross-entropy with gradient", "cross_entropy", op_cross_entropy_grad, ROWS, 8},
    {"layer norm", "layer_norm", op_layer_norm, ROWS, 8},
    {"layer norm gradient", "norm_grad", op_layer_norm_grad, ROWS, 12},
    {"layer norm gradient of weights", "norm_affine_grad", op_layer_norm_affine, ROWS, 8},
    {"rms norm", "rms_norm", op_rms_norm, ROWS, 8},
    {"batch norm of training", "batch_norm", op_batch_norm, IMAGES, 12},
    {"batch norm gradient", "batch_norm_grad", op_batch_norm_grad, IMAGES, 20},
    {"batch norm of inference", "mul+add", op_batch_norm_infer, IMAGES, 8},
    {"group norm", "group_norm", op_group_norm, IMAGES, 12},
    {"max pool 2x2", "max_pool2d", op_max_pool, IMAGES, 5},
    {"max pool 3x3 stride 2", "max_pool2d", op_max_pool3, IMAGES, 5},
    {"avg pool 2x2", "avg_pool2d", op_avg_pool, IMAGES, 5},
    {"avg pool 3x3 stride 2", "avg_pool2d", op_avg_pool3, IMAGES, 5},
    {"max pool 2x2 gradient", "max_pool2d_grad", op_max_pool_grad, IMAGES, 9},
    {"max pool 3x3 stride 2 gradient", "max_pool2d_grad", op_max_pool3_grad, IMAGES, 10},
    {"avg pool 2x2 gradient", "avg_pool2d_grad", op_avg_pool_grad, IMAGES, 5},
    {"avg pool 3x3 stride 2 gradient", "avg_pool2d_grad", op_avg_pool3_grad, IMAGES, 5},
    {"global average pool", "mean", op_global_pool, IMAGES, 4},
    {"transpose", "transpose", op_transpose, {2, {1 << 12, 1 << 12}}, 8},
    {"transpose heads", "transpose", op_heads, {4, {32, 512, 16, 64}}, 8},
    {"transpose channels to the end", "transpose", op_channels_last, IMAGES, 8},
    {"transpose channels to the front", "transpose", op_channels_first, {4, {32, 88, 88, 64}}, 8},
    {"concat", "concat", op_concat, {4, {32, 32, 88, 88}}, 16},
    {"slice of columns", "slice", op_slice, {2, {1 << 13, 1 << 11}}, 4},
    {"embedding", "take", op_embedding, {2, {1 << 16, 1 << 8}}, 8},
    {"embedding gradient", "take_grad", op_embedding_grad, {2, {1 << 16, 1 << 8}}, 8},
    {"attention", "attention", op_attention, {4, {12, 4, 64, 32}}},
    {"attention", "attention", op_attention, {4, {4, 8, 1024, 64}}},
    {"attention grad", "attention_grad", op_attention_grad, {4, {12, 4, 64, 32}}},
    {"attention grad", "attention_grad", op_attention_grad, {4, {4, 8, 1024, 64}}},
    {"adamw", "adamw", op_update, {1, {1 << 24}}, 28},
};

void bench_ops(bench *b)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[120], text[ESKER_SHAPE_TEXT_BYTES];
        int64_t n = 1;
        if (b->smallest && !rows[i].small) continue;
        esker_shape_text(&rows[i].shape, text);
        snprintf(name, sizeof name, "%s %.80s", rows[i].name, text);
        for (int d = 0; d < rows[i].shape.rank; d++) n *= rows[i].shape.dims[d];
        if (!bench_wants(b, name, 0, rows[i].bytes * (double)n)) continue;
        esker_graph *graph = bench_new_graph(b, name);
        if (!graph) return;
        esker_node *out = rows[i].record(graph, &rows[i].shape);
        if (out && esker_node_get_shape(out)->rank) out = bench_corner(out);
        bench_graph(b, name, graph, &out, 1, rows[i].op, 0, rows[i].bytes * (double)n);
    }
}
