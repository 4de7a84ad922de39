/* The table of layer kinds. Those without parameters are built and decoded in kinds_*.c, the others in layers*.c. */
#include "nn/kinds.h"

#include <limits.h>

static const char *const init_names[] = {"default",       "he_uniform", "he_normal", "xavier_uniform",
                                         "xavier_normal", "zeros",      NULL};

/* The numbers of esker_init_kind, esker_dtype, esker_pad_mode and esker_norm_kind. */
static const char *const start_names[] = {"zeros",     "constant",       "uniform",       "normal", "he_uniform",
                                          "he_normal", "xavier_uniform", "xavier_normal", NULL};
static const char *const dtype_names[] = {"float32", "int32", "uint8", "float16", "int8", NULL};
static const char *const pad_names[] = {"constant", "reflect", "edge", NULL};
static const char *const norm_names[] = {"l2", "l1", "inf", NULL};

static const char *const rotary_names[] = {"none", "pairs", "halves", NULL};
static const char *const resize_names[] = {"nearest", "bilinear", NULL};
static const char *const rnn_names[] = {"tanh", "relu", NULL};

/* clang-format off */
#define KERNEL_KEY(key)  {.name = (key), .type = ESKER__KEY_PAIR, .required = true, .lo = 1, .hi = 65535}
#define PADDING_KEY      {.name = "padding", .type = ESKER__KEY_PAIR, .lo = 0, .hi = 65535}
#define INIT_KEY         {.name = "init", .type = ESKER__KEY_CHOICE, .choices = init_names}
#define BIAS_KEY         {.name = "bias", .type = ESKER__KEY_BOOL, .standard = 1}
#define COUNT_KEY(key)   {.name = (key), .type = ESKER__KEY_INT, .required = true, .lo = 1, .hi = INT_MAX}
#define AXES_KEYS        {.name = "axes", .type = ESKER__KEY_INTS, .required = true, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1}, \
                          {.name = "keepdims", .type = ESKER__KEY_BOOL}
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

#define NEEDED_AXIS_KEYS {NEEDED_AXIS_KEY}
#define NEEDED_AXIS_KEY  {.name = "axis", .type = ESKER__KEY_INT, .required = true, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1}
#define AXIS_OR_1_KEY    {.name = "axis", .type = ESKER__KEY_INT, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1, .standard = 1}
/* Of the axes from 1 up; left out, there are none. */
#define LIST_KEY(key, least) {.name = (key), .type = ESKER__KEY_INTS, .optional = true, .lo = (least), .hi = INT_MAX}
#define DIAGONAL_KEY     {.name = "diagonal", .type = ESKER__KEY_INT, .lo = -INT_MAX, .hi = INT_MAX}

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
    {"leaky_relu",  "leaky_relu",  1, {{.name = "slope", .type = ESKER__KEY_NUMBER, .standard = 0.01f}}, .build = esker__build_with_number, .with_number = esker_leaky_relu, .decode = esker__decode_number},
    {"elu",         "elu",         1, {{.name = "alpha", .type = ESKER__KEY_NUMBER, .standard = 1}}, .build = esker__build_with_number, .with_number = esker_elu, .decode = esker__decode_number},
    {"selu",        "selu",        1, .unary = esker_selu},
    {"hard_sigmoid", "hard_sigmoid", 1, .unary = esker_hard_sigmoid},
    {"silu",        "silu",        1, .unary = esker_silu},
    {"hard_swish",  "hard_swish",  1, .unary = esker_hard_swish},
    {"gelu",        "gelu",        1, .unary = esker_gelu},
    {"gelu_tanh",   "gelu_tanh",   1, .unary = esker_gelu_tanh},
    {"softplus",    "softplus",    1, {{.name = "beta", .type = ESKER__KEY_NUMBER, .standard = 1}}, .build = esker__build_with_number, .with_number = esker_softplus, .decode = esker__decode_number},
    {"mish",        "mish",        1, .unary = esker_mish},
    {"softmax",     "softmax",     1, AXIS_KEYS, .build = esker__build_softmax_along, .along = esker_softmax, .decode = esker__decode_softmax},
    {"log_softmax", "log_softmax", 1, AXIS_KEYS, .build = esker__build_softmax_along, .along = esker_log_softmax, .decode = esker__decode_softmax},
    {"batch_norm1d",  "bn", 1, BATCH_NORM_KEYS, .build = esker__build_batch_norm1d, .has_parameters = true},
    {"batch_norm2d",  "bn", 1, BATCH_NORM_KEYS, .build = esker__build_batch_norm2d, .has_parameters = true},
    {"layer_norm",    "ln", 1, {LAST_KEY, EPS_KEY(1e-5f), AFFINE_KEY(1), BIAS_KEY}, .build = esker__build_layer_norm, .decode = esker__decode_layer_norm, .has_parameters = true},
    {"rms_norm",      "rms", 1, {LAST_KEY, EPS_KEY(0x1p-23f), AFFINE_KEY(1)}, .build = esker__build_rms_norm, .decode = esker__decode_rms_norm, .has_parameters = true},
    {"group_norm",    "gn", 1, {COUNT_KEY("groups"), EPS_KEY(1e-5f), AFFINE_KEY(1)}, .build = esker__build_group_norm, .decode = esker__decode_group_norm, .has_parameters = true},
    {"instance_norm", "in", 1, {EPS_KEY(1e-5f), AFFINE_KEY(0)}, .build = esker__build_instance_norm, .decode = esker__decode_instance_norm, .has_parameters = true},
    {"normalize",     "normalize", 1, {{.name = "axis", .type = ESKER__KEY_INT, .lo = -ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1, .standard = 1}, EPS_KEY(1e-12f)},
     .build = esker__build_normalize, .decode = esker__decode_normalize},
    {"attention",   "attention",   1, {COUNT_KEY("heads"), {.name = "causal", .type = ESKER__KEY_BOOL}, BIAS_KEY,
                                       {.name = "rotary", .type = ESKER__KEY_CHOICE, .choices = rotary_names}},
     .build = esker__build_attention, .has_parameters = true},
    {"rotary",      "rotary",      1, {{.name = "base", .type = ESKER__KEY_NUMBER, .standard = 10000},
                                       {.name = "offset", .type = ESKER__KEY_INT, .hi = 1048576}, {.name = "halves", .type = ESKER__KEY_BOOL}},
     .build = esker__build_rotary, .decode = esker__decode_rotary},
    {"dot_product_attention", "dot_product_attention", 3, {{.name = "causal", .type = ESKER__KEY_BOOL}, {.name = "scale", .type = ESKER__KEY_NUMBER}},
     .build = esker__build_dot_product_attention, .decode = esker__decode_dot_product_attention, .op = "attention"},
    {"rnn",  "rnn",  1, {RECURRENT_KEYS, {.name = "activation", .type = ESKER__KEY_CHOICE, .choices = rnn_names}},
     .most_inputs = 2, .build = esker__build_rnn, .has_parameters = true},
    {"lstm", "lstm", 1, {RECURRENT_KEYS}, .most_inputs = 3, .build = esker__build_lstm, .has_parameters = true},
    {"gru",  "gru",  1, {RECURRENT_KEYS}, .most_inputs = 2, .build = esker__build_gru, .has_parameters = true},
    {"last_hidden", "last_hidden", 1, .build = esker__build_last_hidden, .has_parameters = true},
    {"last_cell",   "last_cell",   1, .build = esker__build_last_cell, .has_parameters = true},
    {"max_pool2d",  "pool",        1, POOL_KEYS, .build = esker__build_max_pool2d, .decode = esker__decode_max_pool2d},
    {"avg_pool2d",  "pool",        1, AVG_POOL_KEYS, .build = esker__build_avg_pool2d, .decode = esker__decode_avg_pool2d},
    {"max_pool1d",  "pool",        1, POOL_1D_KEYS, .build = esker__build_max_pool1d},
    {"avg_pool1d",  "pool",        1, AVG_POOL_1D_KEYS, .build = esker__build_avg_pool1d},
    {"adaptive_avg_pool2d", "pool", 1, {{.name = "size", .type = ESKER__KEY_PAIR, .required = true, .lo = 0, .hi = 65535}},
     .build = esker__build_adaptive_avg_pool2d, .decode = esker__decode_adaptive_avg_pool2d},
    {"global_avg_pool2d", "pool",  1, .unary = esker_global_avg_pool2d},
    {"global_max_pool2d", "pool",  1, .unary = esker_global_max_pool2d},
    {"flatten",     "flatten",     1, .unary = esker_flatten, .decode = esker__decode_flatten, .op = "reshape"},
    {"reshape",     "reshape",     1, {{.name = "shape", .type = ESKER__KEY_INTS, .required = true, .lo = -1, .hi = INT_MAX}},
     .build = esker__build_reshape, .decode = esker__decode_reshape},
    {"transpose",   "transpose",   1, {{.name = "order", .type = ESKER__KEY_INTS, .required = true, .lo = 1, .hi = ESKER_MAX_RANK - 1}},
     .build = esker__build_transpose, .decode = esker__decode_transpose},
    {"concat",      "concat",      2, {AXIS_OR_1_KEY}, .most_inputs = ESKER__MAX_LAYER_INPUTS, .build = esker__build_concat, .decode = esker__decode_axis},
    {"stack",       "stack",       2, {AXIS_OR_1_KEY}, .most_inputs = ESKER__MAX_LAYER_INPUTS, .build = esker__build_stack},
    {"squeeze",     "squeeze",     1, {{.name = "axes", .type = ESKER__KEY_INTS, .optional = true, .lo = 1 - ESKER_MAX_RANK, .hi = ESKER_MAX_RANK - 1}},
     .build = esker__build_squeeze},
    {"unsqueeze",   "unsqueeze",   1, NEEDED_AXIS_KEYS, .build = esker__build_unsqueeze},
    {"expand",      "expand",      1, {{.name = "shape", .type = ESKER__KEY_INTS, .required = true, .lo = 0, .hi = INT_MAX}},
     .build = esker__build_expand, .decode = esker__decode_expand},
    {"slice",       "slice",       1, {LIST_KEY("start", -INT_MAX), LIST_KEY("stop", -INT_MAX), LIST_KEY("step", 1)},
     .build = esker__build_slice, .decode = esker__decode_slice},
    {"pad",         "pad",         1, {LIST_KEY("before", 0), LIST_KEY("after", 0), {.name = "mode", .type = ESKER__KEY_CHOICE, .choices = pad_names},
                                       {.name = "value", .type = ESKER__KEY_NUMBER}},
     .build = esker__build_pad, .decode = esker__decode_pad},
    {"roll",        "roll",        1, {NEEDED_AXIS_KEY, {.name = "shift", .type = ESKER__KEY_INT, .required = true, .lo = -INT_MAX, .hi = INT_MAX}},
     .build = esker__build_roll, .decode = esker__decode_roll},
    {"tile",        "tile",        1, {{.name = "repeats", .type = ESKER__KEY_INTS, .required = true, .lo = 1, .hi = INT_MAX}},
     .build = esker__build_tile, .decode = esker__decode_tile},
    {"tril",        "tril",        1, {DIAGONAL_KEY}, .build = esker__build_triangle, .with_integer = esker_tril, .decode = esker__decode_triangle},
    {"triu",        "triu",        1, {DIAGONAL_KEY}, .build = esker__build_triangle, .with_integer = esker_triu, .decode = esker__decode_triangle},
    {"take",        "take",        2, .build = esker__build_take, .decode = esker__decode_take},
    {"gather",      "gather",      2, {AXIS_OR_1_KEY}, .build = esker__build_gather, .decode = esker__decode_gather},
    {"scatter_add", "scatter_add", 3, {AXIS_OR_1_KEY}, .build = esker__build_scatter_add, .decode = esker__decode_gather},
    {"one_hot",     "one_hot",     1, {COUNT_KEY("classes")}, .build = esker__build_one_hot, .decode = esker__decode_one_hot},
    {"flip",        "flip",        1, NEEDED_AXIS_KEYS, .build = esker__build_along, .along = esker_flip, .decode = esker__decode_axis},
    {"cumsum",      "cumsum",      1, NEEDED_AXIS_KEYS, .build = esker__build_along, .along = esker_cumsum, .decode = esker__decode_cumsum},
    {"resize2d",    "resize",      1, {KERNEL_KEY("size"), {.name = "mode", .type = ESKER__KEY_CHOICE, .choices = resize_names}},
     .build = esker__build_resize2d, .decode = esker__decode_resize2d},
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
     .build = esker__build_clamp, .decode = esker__decode_clamp},
    {"affine",      "affine",      1, {{.name = "scale", .type = ESKER__KEY_NUMBER, .standard = 1}, {.name = "shift", .type = ESKER__KEY_NUMBER}},
     .build = esker__build_affine, .decode = esker__decode_affine},
    {"matmul",      "matmul",      2, {{.name = "transpose_a", .type = ESKER__KEY_BOOL}, {.name = "transpose_b", .type = ESKER__KEY_BOOL}},
     .build = esker__build_matmul, .decode = esker__decode_matmul},
    {"equal",         "equal",         2, .binary = esker_equal},
    {"not_equal",     "not_equal",     2, .binary = esker_not_equal},
    {"less",          "less",          2, .binary = esker_less},
    {"less_equal",    "less_equal",    2, .binary = esker_less_equal},
    {"greater",       "greater",       2, .binary = esker_greater},
    {"greater_equal", "greater_equal", 2, .binary = esker_greater_equal},
    {"logical_and",   "logical_and",   2, .binary = esker_logical_and},
    {"logical_or",    "logical_or",    2, .binary = esker_logical_or},
    {"logical_xor",   "logical_xor",   2, .binary = esker_logical_xor},
    {"logical_not",   "logical_not",   1, .unary = esker_logical_not},
    {"where",         "where",         3, .ternary = esker_where},
    {"convert",     "convert",     1, {{.name = "dtype", .type = ESKER__KEY_CHOICE, .required = true, .choices = dtype_names}},
     .build = esker__build_convert, .decode = esker__decode_convert},
    {"full",        "full",        0, {LIST_KEY("shape", 1), {.name = "value", .type = ESKER__KEY_NUMBER, .required = true}},
     .build = esker__build_full, .decode = esker__decode_full},
    {"parameter",   "parameter",   0, {{.name = "shape", .type = ESKER__KEY_INTS, .required = true, .lo = 1, .hi = INT_MAX},
                                       {.name = "init", .type = ESKER__KEY_CHOICE, .choices = start_names},
                                       {.name = "value", .type = ESKER__KEY_NUMBER}, {.name = "frozen", .type = ESKER__KEY_BOOL}},
     .build = esker__build_parameter, .has_parameters = true},
    {"random_uniform", "random_uniform", 1, {{.name = "lo", .type = ESKER__KEY_NUMBER}, {.name = "hi", .type = ESKER__KEY_NUMBER, .standard = 1}},
     .build = esker__build_random_uniform, .decode = esker__decode_random},
    {"random_normal", "random_normal", 1, {{.name = "mean", .type = ESKER__KEY_NUMBER}, {.name = "deviation", .type = ESKER__KEY_NUMBER, .standard = 1}},
     .build = esker__build_random_normal, .decode = esker__decode_random},
    {"random_bernoulli", "random_bernoulli", 1, {{.name = "p", .type = ESKER__KEY_NUMBER, .standard = 0.5}},
     .build = esker__build_with_number, .with_number = esker_random_bernoulli_like, .decode = esker__decode_random_bernoulli},
    {"dropout",     "dropout",     1, {{.name = "p", .type = ESKER__KEY_NUMBER, .standard = 0.5}}, .build = esker__build_dropout, .decode = esker__decode_dropout},
    {"sum",         "sum",         1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_sum, .decode = esker__decode_reduction},
    {"mean",        "mean",        1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_mean, .decode = esker__decode_reduction},
    {"max",         "max",         1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_max, .decode = esker__decode_reduction},
    {"min",         "min",         1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_min, .decode = esker__decode_reduction},
    {"prod",        "prod",        1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_prod, .decode = esker__decode_reduction},
    {"logsumexp",   "logsumexp",   1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_logsumexp, .decode = esker__decode_reduction},
    {"variance",    "variance",    1, {AXES_KEYS, {.name = "correction", .type = ESKER__KEY_INT, .lo = 0, .hi = 1}},
     .build = esker__build_variance, .decode = esker__decode_variance},
    {"norm",        "norm",        1, {AXES_KEYS, {.name = "kind", .type = ESKER__KEY_CHOICE, .choices = norm_names}},
     .build = esker__build_norm, .decode = esker__decode_norm},
    {"argmax",      "argmax",      1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_argmax, .decode = esker__decode_reduction},
    {"argmin",      "argmin",      1, {AXES_KEYS}, .build = esker__build_reduction, .reduce = esker_argmin, .decode = esker__decode_reduction},
    {NULL},
};
/* clang-format on */
