/* The table of layer kinds, with the builders and decoders of those without parameters. */
#include "nn/model.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/norm.h"
#include "ops/ops.h"

static const char *const init_names[] = {"default",       "he_uniform", "he_normal", "xavier_uniform",
                                         "xavier_normal", "zeros",      NULL};

static const char *const rotary_names[] = {"none", "pairs", "halves", NULL};
static const char *const resize_names[] = {"nearest", "bilinear", NULL};
static const char *const rnn_names[] = {"tanh", "relu", NULL};

static int rank_of(const esker__layer *layer)
{
    return layer->inputs[0]->type.shape.rank;
}

/* ---- Pooling ---- */

static esker_node *build_pool(esker__layer *layer, esker_node *(*record)(esker_node *, const esker_pool2d_desc *))
{
    const esker__layer_value *v = layer->values;
    return record(layer->inputs[0], &(esker_pool2d_desc){.window = {(int)v[0].v[0], (int)v[0].v[1]},
                                                         .stride = {(int)v[1].v[0], (int)v[1].v[1]},
                                                         .padding = {(int)v[2].v[0], (int)v[2].v[1]},
                                                         .exclude_padding = v[3].v[0] != 0});
}

static esker_node *build_max_pool2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_pool(layer, esker_max_pool2d);
}

static esker_node *build_avg_pool2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    esker__layer_value *v = layer->values;
    if (v[2].v[0] == 0 && v[2].v[1] == 0) v[3].v[0] = 0; /* nothing to exclude */
    return build_pool(layer, esker_avg_pool2d);
}

static esker_node *build_pool_1d(esker__layer *layer, esker_node *(*record)(esker_node *, const esker_pool1d_desc *))
{
    const esker__layer_value *v = layer->values;
    return record(layer->inputs[0], &(esker_pool1d_desc){.window = (int)v[0].v[0],
                                                         .stride = (int)v[1].v[0],
                                                         .padding = (int)v[2].v[0],
                                                         .exclude_padding = v[3].v[0] != 0});
}

static esker_node *build_max_pool1d(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_pool_1d(layer, esker_max_pool1d);
}

static esker_node *build_avg_pool1d(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_pool_1d(layer, esker_avg_pool1d);
}

static esker_node *build_adaptive_avg_pool2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    const esker__layer_value *v = layer->values;
    return esker_adaptive_avg_pool2d(layer->inputs[0], (int[]){(int)v[0].v[0], (int)v[0].v[1]});
}

static bool decode_adaptive(const esker_node *node, esker__layer_value *values)
{
    const esker__adaptive_attr *a = node->attr;
    values[0] = (esker__layer_value){2, {a->size[0], a->size[1]}};
    return true;
}

static bool decode_pool(const esker_node *node, esker__layer_value *values)
{
    const esker__pool2d_attr *a = node->attr;
    for (int i = 0; i < 2; i++) {
        values[0].v[i] = a->window[i];
        values[1].v[i] = a->stride[i];
        values[2].v[i] = a->padding[i];
    }
    values[0].n = values[1].n = values[2].n = 2;
    return true;
}

static bool decode_avg_pool(const esker_node *node, esker__layer_value *values)
{
    values[3] = (esker__layer_value){1, {((const esker__pool2d_attr *)node->attr)->exclude_padding != 0}};
    return decode_pool(node, values);
}

/* ---- Softmax: the axis counts with the batch; the last is written -1 ---- */

static esker_node *build_softmax_along(esker__layer *layer, esker_node *(*record)(esker_node *, int))
{
    double *axis = &layer->values[0].v[0];
    int rank = rank_of(layer);
    if (*axis == rank - 1)
        *axis = -1;
    else if (*axis < -1 && *axis >= -rank)
        *axis += rank;
    return record(layer->inputs[0], (int)*axis);
}

static esker_node *build_softmax(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_softmax_along(layer, esker_softmax);
}

static esker_node *build_log_softmax(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_softmax_along(layer, esker_log_softmax);
}

static bool decode_softmax(const esker_node *node, esker__layer_value *values)
{
    int axis = ((const esker__axis_attr *)node->attr)->axis;
    values[0] = (esker__layer_value){1, {axis == node->type.shape.rank - 1 ? -1 : axis}};
    return true;
}

/* ---- Reductions: axes count with the batch, which is axis 0 and stays ---- */

static esker_node *build_reduction(esker__layer *layer, esker_node *(*record)(esker_node *, const int *, int, bool))
{
    int axes[ESKER_MAX_RANK], n = layer->values[0].n;
    bool taken[ESKER_MAX_RANK] = {false};
    for (int i = 0; i < n; i++) {
        axes[i] = (int)layer->values[0].v[i];
        if (axes[i] < 0) axes[i] += rank_of(layer);
        if (axes[i] == 0)
            return esker__graph_fail(layer->inputs[0]->graph,
                                     esker__fail(ESKER_ERR_INVALID, "axes: axis 0 is the batch, which has to stay"));
        if (axes[i] >= 0 && axes[i] < ESKER_MAX_RANK) taken[axes[i]] = true;
    }
    esker_node *result = record(layer->inputs[0], axes, n, layer->values[1].v[0] != 0);
    if (!result) return NULL;
    /* Only now are they known to be in range and different: from 1 up, in ascending order. */
    int k = 0;
    for (int i = 1; i < ESKER_MAX_RANK; i++)
        if (taken[i]) layer->values[0].v[k++] = i;
    return result;
}

static esker_node *build_sum(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_reduction(layer, esker_sum);
}

static esker_node *build_mean(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_reduction(layer, esker_mean);
}

static esker_node *build_max(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_reduction(layer, esker_max);
}

static esker_node *build_min(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_reduction(layer, esker_min);
}

static esker_node *build_prod(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_reduction(layer, esker_prod);
}

static esker_node *build_logsumexp(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_reduction(layer, esker_logsumexp);
}

static bool decode_reduction(const esker_node *node, esker__layer_value *values)
{
    const esker__reduce_attr *a = node->attr;
    if (a->mask & 1u) return false; /* it ends the batch */
    values[0] = (esker__layer_value){0};
    for (int i = 1; i < ESKER_MAX_RANK; i++)
        if (a->mask & (1u << i)) values[0].v[values[0].n++] = i;
    values[1] = (esker__layer_value){1, {a->keepdims != 0}};
    return values[0].n > 0;
}

/* ---- Shape: sizes and orders are those of a sample, the batch stays in front ---- */

static esker_node *build_reshape(esker_model *net, esker__layer *layer)
{
    (void)net;
    esker_shape shape = {.rank = layer->values[0].n + 1}; /* dims[0] = 0 keeps the batch */
    for (int i = 0; i < layer->values[0].n; i++) shape.dims[i + 1] = (int64_t)layer->values[0].v[i];
    return esker_reshape(layer->inputs[0], &shape);
}

static bool decode_flatten(const esker_node *node, esker__layer_value *values)
{
    const esker_shape *shape = &((const esker__reshape_attr *)node->attr)->shape;
    (void)values;
    return shape->rank == 2 && shape->dims[0] == 0 && shape->dims[1] == -1;
}

static bool decode_reshape(const esker_node *node, esker__layer_value *values)
{
    const esker_shape *shape = &((const esker__reshape_attr *)node->attr)->shape;
    if (shape->rank < 2 || shape->dims[0] != 0) return false;
    values[0].n = shape->rank - 1;
    for (int i = 1; i < shape->rank; i++) values[0].v[i - 1] = (double)shape->dims[i];
    return true;
}

static esker_node *build_transpose(esker_model *net, esker__layer *layer)
{
    (void)net;
    int order[ESKER_MAX_RANK] = {0}, n = layer->values[0].n;
    if (n != rank_of(layer) - 1)
        return esker__graph_fail(
            layer->inputs[0]->graph,
            esker__fail(ESKER_ERR_INVALID, "order: %d axes, the input has %d without the batch", n, rank_of(layer) - 1));
    for (int i = 0; i < n; i++) order[i + 1] = (int)layer->values[0].v[i];
    return esker_transpose(layer->inputs[0], order);
}

static bool decode_transpose(const esker_node *node, esker__layer_value *values)
{
    const esker__transpose_attr *a = node->attr;
    int rank = node->type.shape.rank;
    if (rank < 2 || a->order[0] != 0) return false;
    values[0].n = rank - 1;
    for (int i = 1; i < rank; i++) values[0].v[i - 1] = a->order[i];
    return true;
}

/* ---- Affine ---- */

static esker_node *build_affine(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_affine(layer->inputs[0], (float)layer->values[0].v[0], (float)layer->values[1].v[0]);
}

static bool decode_affine(const esker_node *node, esker__layer_value *values)
{
    const esker__affine_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->scale}};
    values[1] = (esker__layer_value){1, {a->shift}};
    return isfinite(a->scale) && isfinite(a->shift);
}

/* ---- Dropout ---- */

static esker_node *build_dropout(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_dropout(layer->inputs[0], (float)layer->values[0].v[0]);
}

static bool decode_dropout(const esker_node *node, esker__layer_value *values)
{
    values[0] = (esker__layer_value){1, {esker__dropout_probability(node)}};
    return true;
}

/* ---- Normalisation to length 1: the axis counts with the batch, which it cannot be ---- */

static esker_node *build_normalize(esker_model *net, esker__layer *layer)
{
    double *axis = &layer->values[0].v[0];
    (void)net;
    if (*axis < 0 && *axis >= -rank_of(layer)) *axis += rank_of(layer);
    if (*axis == 0)
        return esker__graph_fail(layer->inputs[0]->graph,
                                 esker__fail(ESKER_ERR_INVALID, "axis: axis 0 is the batch, each sample stands alone"));
    return esker_normalize(layer->inputs[0], (int)*axis, (float)layer->values[1].v[0]);
}

static bool decode_normalize(const esker_node *node, esker__layer_value *values)
{
    const esker__norm_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->axes}};
    values[1] = (esker__layer_value){1, {(double)a->eps}};
    return a->axes > 0;
}

/* ---- Operations with one or two constants ---- */

static float value_of(const esker__layer *layer, int key)
{
    return (float)layer->values[key].v[0];
}

static esker_node *build_leaky_relu(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_leaky_relu(layer->inputs[0], value_of(layer, 0));
}

static esker_node *build_elu(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_elu(layer->inputs[0], value_of(layer, 0));
}

static esker_node *build_softplus(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_softplus(layer->inputs[0], value_of(layer, 0));
}

static esker_node *build_clamp(esker_model *net, esker__layer *layer)
{
    (void)net;
    return esker_clamp(layer->inputs[0], value_of(layer, 0), value_of(layer, 1));
}

static bool decode_constant(const esker_node *node, esker__layer_value *values)
{
    values[0] = (esker__layer_value){1, {((const esker__constants_attr *)node->attr)->k0}};
    return true;
}

/* JSON has no infinity. */
static bool decode_clamp(const esker_node *node, esker__layer_value *values)
{
    const esker__constants_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->k0}};
    values[1] = (esker__layer_value){1, {a->k1}};
    return isfinite(a->k0) && isfinite(a->k1);
}

/* ---- Along one axis, which counts with the batch and is not it ---- */

static esker_node *build_along(esker__layer *layer, esker_node *(*record)(esker_node *, int))
{
    double *axis = &layer->values[0].v[0];
    if (*axis < 0) *axis += rank_of(layer);
    if (*axis == 0)
        return esker__graph_fail(layer->inputs[0]->graph,
                                 esker__fail(ESKER_ERR_INVALID, "axis: axis 0 is the batch, whose samples stay apart"));
    return record(layer->inputs[0], (int)*axis);
}

static esker_node *build_flip(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_along(layer, esker_flip);
}

static esker_node *build_cumsum(esker_model *net, esker__layer *layer)
{
    (void)net;
    return build_along(layer, esker_cumsum);
}

static esker_node *build_concat(esker_model *net, esker__layer *layer)
{
    double *axis = &layer->values[0].v[0];
    if (*axis < 0) *axis += rank_of(layer);
    if (*axis == 0)
        return esker__graph_fail(net->graph,
                                 esker__fail(ESKER_ERR_INVALID, "axis: axis 0 is the batch, whose samples stay apart"));
    return esker_concat(layer->inputs, 2, (int)*axis);
}

/* Of flip and concat. */
static bool decode_axis(const esker_node *node, esker__layer_value *values)
{
    values[0] = (esker__layer_value){1, {((const esker__axis_attr *)node->attr)->axis}};
    return values[0].v[0] != 0;
}

static bool decode_cumsum(const esker_node *node, esker__layer_value *values)
{
    const esker__cumsum_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->axis}};
    return a->axis != 0 && !a->reverse;
}

/* ---- Resizing ---- */

static esker_node *build_resize2d(esker_model *net, esker__layer *layer)
{
    (void)net;
    const esker__layer_value *v = layer->values;
    return esker_resize2d(layer->inputs[0], (int)v[0].v[0], (int)v[0].v[1], (esker_resize_mode)v[1].v[0]);
}

static bool decode_resize2d(const esker_node *node, esker__layer_value *values)
{
    const esker__resize_attr *a = node->attr;
    values[0] = (esker__layer_value){2, {a->y_h, a->y_w}};
    values[1] = (esker__layer_value){1, {a->mode}};
    return true;
}

/* ---- Rotary embedding ---- */

static esker_node *build_rotary(esker_model *net, esker__layer *layer)
{
    (void)net;
    const esker__layer_value *v = layer->values;
    if (rank_of(layer) < 3)
        return esker__graph_fail(
            layer->inputs[0]->graph,
            esker__fail(ESKER_ERR_INVALID, "samples of %d axes, two are needed: positions and pairs", rank_of(layer) - 1));
    esker_rotary_desc desc = {.base = (float)v[0].v[0], .offset = (int64_t)v[1].v[0], .halves = v[2].v[0] != 0};
    return esker_rotary(layer->inputs[0], &desc);
}

static bool decode_rotary(const esker_node *node, esker__layer_value *values)
{
    const esker__rotary_attr *a = node->attr;
    values[0] = (esker__layer_value){1, {a->base}};
    values[1] = (esker__layer_value){1, {(double)a->offset}};
    values[2] = (esker__layer_value){1, {a->halves}};
    return !a->back && node->type.shape.rank > 2; /* the positions are not the batch */
}

/* clang-format off */
#define KERNEL_KEY(key)  {.name = (key), .type = ESKER__KEY_PAIR, .required = true, .lo = 1, .hi = 65535}
#define PADDING_KEY      {.name = "padding", .type = ESKER__KEY_PAIR, .lo = 0, .hi = 65535}
#define INIT_KEY         {.name = "init", .type = ESKER__KEY_CHOICE, .choices = init_names}
#define BIAS_KEY         {.name = "bias", .type = ESKER__KEY_BOOL, .standard = 1}
#define COUNT_KEY(key)   {.name = (key), .type = ESKER__KEY_INT, .required = true, .lo = 1, .hi = INT_MAX}
#define AXES_KEYS        {{.name = "axes", .type = ESKER__KEY_INTS, .required = true, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1}, \
                          {.name = "keepdims", .type = ESKER__KEY_BOOL}}
#define POOL_KEYS        {KERNEL_KEY("window"), {.name = "stride", .type = ESKER__KEY_PAIR, .like = 1, .lo = 1, .hi = 65535}, PADDING_KEY}
#define EXCLUDE_KEY      {.name = "exclude_padding", .type = ESKER__KEY_BOOL}
#define AVG_POOL_KEYS    {KERNEL_KEY("window"), {.name = "stride", .type = ESKER__KEY_PAIR, .like = 1, .lo = 1, .hi = 65535}, PADDING_KEY, EXCLUDE_KEY}
/* Of one axis. */
#define LENGTH_KEY(key)  {.name = (key), .type = ESKER__KEY_INT, .required = true, .lo = 1, .hi = 65535}
#define STEP_KEY(key)    {.name = (key), .type = ESKER__KEY_INT, .lo = 1, .hi = 65535, .standard = 1}
#define ZEROS_KEY(key)   {.name = (key), .type = ESKER__KEY_INT, .lo = 0, .hi = 65535}
#define POOL_1D_KEYS     {LENGTH_KEY("window"), {.name = "stride", .type = ESKER__KEY_INT, .like = 1, .lo = 1, .hi = 65535}, ZEROS_KEY("padding")}
#define AVG_POOL_1D_KEYS {LENGTH_KEY("window"), {.name = "stride", .type = ESKER__KEY_INT, .like = 1, .lo = 1, .hi = 65535}, ZEROS_KEY("padding"), EXCLUDE_KEY}
/* Convolutions: src/nn/layers_conv.c counts on this order. */
#define STEPS_KEY(key)   {.name = (key), .type = ESKER__KEY_PAIR, .lo = 1, .hi = 65535, .standard = 1}
#define GROUPS_KEY       {.name = "groups", .type = ESKER__KEY_INT, .lo = 1, .hi = 65535, .standard = 1}
#define CONV_2D_KEYS     COUNT_KEY("filters"), KERNEL_KEY("kernel"), STEPS_KEY("stride"), PADDING_KEY, BIAS_KEY, INIT_KEY, STEPS_KEY("dilation"), GROUPS_KEY
#define CONV_1D_KEYS     COUNT_KEY("filters"), LENGTH_KEY("kernel"), STEP_KEY("stride"), ZEROS_KEY("padding"), BIAS_KEY, INIT_KEY, STEP_KEY("dilation"), GROUPS_KEY
#define SAME_KEY         {.name = "same", .type = ESKER__KEY_BOOL}
#define AXIS_KEYS        {{.name = "axis", .type = ESKER__KEY_INT, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1, .standard = -1}}

#define NEEDED_AXIS_KEYS {{.name = "axis", .type = ESKER__KEY_INT, .required = true, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1}}

#define EPS_KEY(usual)   {.name = "eps", .type = ESKER__KEY_NUMBER, .standard = (usual)}
#define AFFINE_KEY(on)   {.name = "affine", .type = ESKER__KEY_BOOL, .standard = (on)}
#define LAST_KEY         {.name = "axes", .type = ESKER__KEY_INT, .lo = 1, .hi = ESKER_MAX_RANK - 1, .standard = 1}
#define BATCH_NORM_KEYS  {EPS_KEY(1e-5f), {.name = "momentum", .type = ESKER__KEY_NUMBER, .standard = 0.1f}, AFFINE_KEY(1), \
                          {.name = "running", .type = ESKER__KEY_BOOL, .standard = 1}}

#define RECURRENT_KEYS   COUNT_KEY("features"), {.name = "layers", .type = ESKER__KEY_INT, .lo = 1, .hi = 64, .standard = 1}, \
                          {.name = "bidirectional", .type = ESKER__KEY_BOOL}, BIAS_KEY

const esker__layer_kind esker__layer_kinds[] = {
    {"linear", "fc", 1, {COUNT_KEY("features"), BIAS_KEY, INIT_KEY}, .build = esker__build_linear, .has_parameters = true},
    {"conv2d", "conv", 1, {CONV_2D_KEYS, SAME_KEY, {.name = "more_padding", .type = ESKER__KEY_PAIR, .lo = -65535, .hi = 65535}},
     .build = esker__build_conv2d, .has_parameters = true},
    {"conv1d", "conv", 1, {CONV_1D_KEYS, SAME_KEY, {.name = "more_padding", .type = ESKER__KEY_INT, .lo = -65535, .hi = 65535}},
     .build = esker__build_conv1d, .has_parameters = true},
    {"conv_transpose2d", "up", 1, {CONV_2D_KEYS, {.name = "output_padding", .type = ESKER__KEY_PAIR, .lo = 0, .hi = 65535}},
     .build = esker__build_conv_transpose2d, .has_parameters = true},
    {"conv_transpose1d", "up", 1, {CONV_1D_KEYS, ZEROS_KEY("output_padding")}, .build = esker__build_conv_transpose1d, .has_parameters = true},
    {"embedding", "embedding", 1, {COUNT_KEY("rows"), COUNT_KEY("features")}, .build = esker__build_embedding, .has_parameters = true},
    {"tied_linear", "tied", 2, {{.name = "bias", .type = ESKER__KEY_BOOL}}, .build = esker__build_tied_linear, .has_parameters = true},
    {"prelu", "prelu", 1, {{.name = "per_channel", .type = ESKER__KEY_BOOL}, {.name = "start", .type = ESKER__KEY_NUMBER, .standard = 0.25}},
     .build = esker__build_prelu, .has_parameters = true},
    {"relu",        "relu",        1, .unary = esker_relu},
    {"sigmoid",     "sigmoid",     1, .unary = esker_sigmoid},
    {"tanh",        "tanh",        1, .unary = esker_tanh},
    {"leaky_relu",  "leaky_relu",  1, {{.name = "slope", .type = ESKER__KEY_NUMBER, .standard = 0.01f}}, .build = build_leaky_relu, .decode = decode_constant},
    {"elu",         "elu",         1, {{.name = "alpha", .type = ESKER__KEY_NUMBER, .standard = 1}}, .build = build_elu, .decode = decode_constant},
    {"selu",        "selu",        1, .unary = esker_selu},
    {"hard_sigmoid", "hard_sigmoid", 1, .unary = esker_hard_sigmoid},
    {"silu",        "silu",        1, .unary = esker_silu},
    {"hard_swish",  "hard_swish",  1, .unary = esker_hard_swish},
    {"gelu",        "gelu",        1, .unary = esker_gelu},
    {"gelu_tanh",   "gelu_tanh",   1, .unary = esker_gelu_tanh},
    {"softplus",    "softplus",    1, {{.name = "beta", .type = ESKER__KEY_NUMBER, .standard = 1}}, .build = build_softplus, .decode = decode_constant},
    {"mish",        "mish",        1, .unary = esker_mish},
    {"softmax",     "softmax",     1, AXIS_KEYS, .build = build_softmax, .decode = decode_softmax},
    {"log_softmax", "log_softmax", 1, AXIS_KEYS, .build = build_log_softmax, .decode = decode_softmax},
    {"batch_norm1d",  "bn", 1, BATCH_NORM_KEYS, .build = esker__build_batch_norm1d, .has_parameters = true},
    {"batch_norm2d",  "bn", 1, BATCH_NORM_KEYS, .build = esker__build_batch_norm2d, .has_parameters = true},
    {"layer_norm",    "ln", 1, {LAST_KEY, EPS_KEY(1e-5f), AFFINE_KEY(1), BIAS_KEY}, .build = esker__build_layer_norm, .has_parameters = true},
    {"rms_norm",      "rms", 1, {LAST_KEY, EPS_KEY(0x1p-23f), AFFINE_KEY(1)}, .build = esker__build_rms_norm, .has_parameters = true},
    {"group_norm",    "gn", 1, {COUNT_KEY("groups"), EPS_KEY(1e-5f), AFFINE_KEY(1)}, .build = esker__build_group_norm, .has_parameters = true},
    {"instance_norm", "in", 1, {EPS_KEY(1e-5f), AFFINE_KEY(0)}, .build = esker__build_instance_norm, .has_parameters = true},
    {"normalize",     "normalize", 1, {{.name = "axis", .type = ESKER__KEY_INT, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1, .standard = 1}, EPS_KEY(1e-12f)},
     .build = build_normalize, .decode = decode_normalize},
    {"attention",   "attention",   1, {COUNT_KEY("heads"), {.name = "causal", .type = ESKER__KEY_BOOL}, BIAS_KEY,
                                       {.name = "rotary", .type = ESKER__KEY_CHOICE, .choices = rotary_names}},
     .build = esker__build_attention, .has_parameters = true},
    {"rotary",      "rotary",      1, {{.name = "base", .type = ESKER__KEY_NUMBER, .standard = 10000},
                                       {.name = "offset", .type = ESKER__KEY_INT, .hi = 1048576}, {.name = "halves", .type = ESKER__KEY_BOOL}},
     .build = build_rotary, .decode = decode_rotary},
    {"rnn",  "rnn",  1, {RECURRENT_KEYS, {.name = "activation", .type = ESKER__KEY_CHOICE, .choices = rnn_names}},
     .build = esker__build_rnn, .has_parameters = true},
    {"lstm", "lstm", 1, {RECURRENT_KEYS}, .build = esker__build_lstm, .has_parameters = true},
    {"gru",  "gru",  1, {RECURRENT_KEYS}, .build = esker__build_gru, .has_parameters = true},
    {"max_pool2d",  "pool",        1, POOL_KEYS, .build = build_max_pool2d, .decode = decode_pool},
    {"avg_pool2d",  "pool",        1, AVG_POOL_KEYS, .build = build_avg_pool2d, .decode = decode_avg_pool},
    {"max_pool1d",  "pool",        1, POOL_1D_KEYS, .build = build_max_pool1d},
    {"avg_pool1d",  "pool",        1, AVG_POOL_1D_KEYS, .build = build_avg_pool1d},
    {"adaptive_avg_pool2d", "pool", 1, {{.name = "size", .type = ESKER__KEY_PAIR, .required = true, .lo = 0, .hi = 65535}},
     .build = build_adaptive_avg_pool2d, .decode = decode_adaptive},
    {"global_avg_pool2d", "pool",  1, .unary = esker_global_avg_pool2d},
    {"global_max_pool2d", "pool",  1, .unary = esker_global_max_pool2d},
    {"flatten",     "flatten",     1, .unary = esker_flatten, .decode = decode_flatten, .op = "reshape"},
    {"reshape",     "reshape",     1, {{.name = "shape", .type = ESKER__KEY_INTS, .required = true, .lo = -1, .hi = INT_MAX}},
     .build = build_reshape, .decode = decode_reshape},
    {"transpose",   "transpose",   1, {{.name = "order", .type = ESKER__KEY_INTS, .required = true, .lo = 1, .hi = ESKER_MAX_RANK - 1}},
     .build = build_transpose, .decode = decode_transpose},
    {"concat",      "concat",      2, {{.name = "axis", .type = ESKER__KEY_INT, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1, .standard = 1}},
     .build = build_concat, .decode = decode_axis},
    {"flip",        "flip",        1, NEEDED_AXIS_KEYS, .build = build_flip, .decode = decode_axis},
    {"cumsum",      "cumsum",      1, NEEDED_AXIS_KEYS, .build = build_cumsum, .decode = decode_cumsum},
    {"resize2d",    "resize",      1, {KERNEL_KEY("size"), {.name = "mode", .type = ESKER__KEY_CHOICE, .choices = resize_names}},
     .build = build_resize2d, .decode = decode_resize2d},
    {"add",         "add",         2, .binary = esker_add},
    {"sub",         "sub",         2, .binary = esker_sub},
    {"mul",         "mul",         2, .binary = esker_mul},
    {"div",         "div",         2, .binary = esker_div},
    {"neg",         "neg",         1, .unary = esker_neg},
    {"exp",         "exp",         1, .unary = esker_exp},
    {"log",         "log",         1, .unary = esker_log},
    {"sqrt",        "sqrt",        1, .unary = esker_sqrt},
    {"minimum",     "minimum",     2, .binary = esker_minimum},
    {"maximum",     "maximum",     2, .binary = esker_maximum},
    {"pow",         "pow",         2, .binary = esker_pow},
    {"abs",         "abs",         1, .unary = esker_abs},
    {"sign",        "sign",        1, .unary = esker_sign},
    {"square",      "square",      1, .unary = esker_square},
    {"reciprocal",  "reciprocal",  1, .unary = esker_reciprocal},
    {"floor",       "floor",       1, .unary = esker_floor},
    {"ceil",        "ceil",        1, .unary = esker_ceil},
    {"round",       "round",       1, .unary = esker_round},
    {"expm1",       "expm1",       1, .unary = esker_expm1},
    {"log1p",       "log1p",       1, .unary = esker_log1p},
    {"rsqrt",       "rsqrt",       1, .unary = esker_rsqrt},
    {"sin",         "sin",         1, .unary = esker_sin},
    {"cos",         "cos",         1, .unary = esker_cos},
    {"erf",         "erf",         1, .unary = esker_erf},
    {"clamp",       "clamp",       1, {{.name = "lo", .type = ESKER__KEY_NUMBER, .required = true}, {.name = "hi", .type = ESKER__KEY_NUMBER, .required = true}},
     .build = build_clamp, .decode = decode_clamp},
    {"affine",      "affine",      1, {{.name = "scale", .type = ESKER__KEY_NUMBER, .standard = 1}, {.name = "shift", .type = ESKER__KEY_NUMBER}},
     .build = build_affine, .decode = decode_affine},
    {"dropout",     "dropout",     1, {{.name = "p", .type = ESKER__KEY_NUMBER, .standard = 0.5}}, .build = build_dropout, .decode = decode_dropout},
    {"sum",         "sum",         1, AXES_KEYS, .build = build_sum, .decode = decode_reduction},
    {"mean",        "mean",        1, AXES_KEYS, .build = build_mean, .decode = decode_reduction},
    {"max",         "max",         1, AXES_KEYS, .build = build_max, .decode = decode_reduction},
    {"min",         "min",         1, AXES_KEYS, .build = build_min, .decode = decode_reduction},
    {"prod",        "prod",        1, AXES_KEYS, .build = build_prod, .decode = decode_reduction},
    {"logsumexp",   "logsumexp",   1, AXES_KEYS, .build = build_logsumexp, .decode = decode_reduction},
    {NULL},
};
/* clang-format on */
