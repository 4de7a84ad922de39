/* The table of layer kinds (kinds.c) in words, for people. A test compares the names. */
#include "nn/model.h"

/* clang-format off */
static const char help[] =
    "linear       features N; bias true|false (true); init I (default)\n"
    "conv2d       filters N; kernel P; stride P (1); padding P (0); bias true|false (true); init I (default); dilation P (1);\n"
    "             groups N (1): of channels; same true|false (false): pad to the input's size; more_padding P (0): behind alone\n"
    "conv1d       the same of one axis, with N for P\n"
    "conv_transpose2d: as conv2d, but output_padding P (0) for same and more_padding\n"
    "conv_transpose1d: the same of one axis, with N for P\n"
    "batch_norm1d, batch_norm2d: eps X (1e-5); momentum X (0.1); affine true|false (true); running true|false (true)\n"
    "layer_norm   axes N (1): how many of the last; eps X (1e-5); affine true|false (true); bias true|false (true)\n"
    "rms_norm     axes N (1); eps X (2^-23); affine true|false (true)\n"
    "group_norm   groups N; eps X (1e-5); affine true|false (true)\n"
    "instance_norm eps X (1e-5); affine true|false (false)\n"
    "normalize    axis N (1), to length 1 along it; eps X (1e-12)\n"
    "attention    heads N; causal true|false (false); bias true|false (true); rotary none|pairs|halves (none)\n"
    "rotary       base X (10000); offset N (0); halves true|false (false): the last two axes are positions and pairs\n"
    "rnn          features N; layers N (1); bidirectional true|false (false); bias true|false (true); activation tanh|relu (tanh)\n"
    "lstm, gru    the same without the activation: all hidden states of a sequence\n"
    "relu, sigmoid, tanh, selu, hard_sigmoid, silu, hard_swish, gelu, gelu_tanh, mish\n"
    "embedding    rows N; features N: the input's elements are indices of rows, as whole numbers\n"
    "prelu        per_channel true|false (false): a learned slope each, or one; start X (0.25)\n"
    "leaky_relu   slope X (0.01), where the input is below 0\n"
    "elu          alpha X (1)\n"
    "softplus     beta X (1): log(1 + exp(beta x)) / beta\n"
    "neg, abs, sign, square, reciprocal, floor, ceil, round, exp, expm1, log, log1p, sqrt, rsqrt, sin, cos, erf\n"
    "clamp        lo X; hi X\n"
    "affine       scale X (1); shift X (0): scale * x + shift\n"
    "softmax      axis N (-1, the last)\n"
    "log_softmax  axis N (-1, the last)\n"
    "max_pool2d   window P; stride P (the window); padding P (0)\n"
    "avg_pool2d   window P; stride P (the window); padding P (0); exclude_padding true|false (false): from the mean\n"
    "max_pool1d, avg_pool1d: the same of one axis, with N for P\n"
    "adaptive_avg_pool2d: size P: of the result; 0 keeps the input's\n"
    "global_avg_pool2d, global_max_pool2d: each channel to one pixel\n"
    "flatten      to [batch, everything]\n"
    "reshape      shape [N, ...]: of one sample, at most one -1 for what is left\n"
    "transpose    order [N, ...]: axes from 1 up; axis 0, the batch, stays in front\n"
    "concat       axis N (1): two inputs behind each other\n"
    "flip         axis N, from 1 up or from the end, backwards\n"
    "cumsum       axis N: running sums\n"
    "resize2d     size P; mode nearest|bilinear (nearest)\n"
    "add, sub, mul, div, minimum, maximum, pow: two inputs, broadcast\n"
    "dropout      p X (0.5): the share that training sets to 0; nothing in inference\n"
    "sum          axes [N, ...]: from 1 up, or from the end; keepdims true|false (false)\n"
    "mean         the same: over axes [2, 3] it is global average pooling\n"
    "max          the same\n"
    "min          the same\n"
    "prod         the same\n"
    "logsumexp    the same\n"
    "P is N or [rows, columns]. I is default, he_uniform, he_normal, xavier_uniform, xavier_normal or zeros.\n";
/* clang-format on */

const char *esker_model_layer_help(void)
{
    return help;
}
