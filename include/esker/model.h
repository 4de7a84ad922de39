/**
 * Models: parameters, and a graph whose batch dimension is left open.
 *
 * A model is recorded once, with layers and with the operations of ops.h between them:
 *
 *   esker_model *net;
 *   esker_model_create(&net);
 *   esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 28, 28}});   (the shape of one sample)
 *   x = esker_relu(esker_layer_conv2d(net, x, &(esker_layer_conv2d_desc){.filters = 8, .kernel = {3, 3}}));
 *   x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 10});
 *   if (esker_model_output(net, x) != ESKER_OK) -> esker_last_error() says what went wrong, wherever it was
 *
 * or read from JSON (below). Then esker_model_instantiate() makes graphs of it for any batch size, all of which share the
 * model's parameters. Needs no device.
 *
 * The nodes are recorded with a batch of 1 in front, so in a model x has the shape [1, 1, 28, 28], and an operation that is
 * to work for every batch must not write that 1 down: esker_reshape() with a 0 keeps the axis, whatever it is.
 *
 * Errors stick, as in graphs: a layer that cannot be returns NULL, NULL passes through, and esker_model_output(), which
 * every model needs once, reports the first failure.
 *
 * Threads    A model is used by one thread at a time; once a plan uses its parameters, what reads or writes these is called in
 *            the thread that owns the device. Two models may be used in two threads.
 */
#ifndef ESKER_MODEL_H
#define ESKER_MODEL_H

#include "graph.h"
#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_model esker_model;

/* ---- Making a model ---- */

/** An empty model named "model". Errors: ESKER_ERR_NO_MEMORY; *out is NULL then. */
ESKER_API esker_status esker_model_create(esker_model **out);
/** Graphs made from the model stay valid: they keep its parameters. Accepts NULL. */
ESKER_API void esker_model_destroy(esker_model *net);

/** A name for reports: 1 to 100 bytes of UTF-8; copied. Errors: ESKER_ERR_INVALID, ESKER_ERR_NO_MEMORY. */
ESKER_API esker_status esker_model_set_name(esker_model *net, const char *name);

/**
 * Names of the classes, in the order of the output's features; copied. Not needed: it lets reports say "cat" instead of 3.
 * Errors     ESKER_ERR_INVALID: n_names outside 1 to 2^20, or not the output's features (told by esker_model_output too).
 */
ESKER_API esker_status esker_model_set_classes(esker_model *net, const char *const *names, int n_names);

/**
 * The model's one input: float32, of shape [batch, ...shape]. `shape` is that of one sample, with at most one axis less
 * than ESKER_MAX_RANK. Instances may take uint8 in its place (esker_instance_desc).
 */
ESKER_API esker_node *esker_model_input(esker_model *net, const char *name, const esker_shape *shape);

/**
 * A parameter for a layer of your own, which is a function that records operations over the model's nodes: its values are
 * trained, saved and read with the model's. As esker_parameter(); the name, "NAME.part", belongs to no other layer. Such
 * a model cannot be written as JSON; esker_model_save_weights() keeps what it learned. Returns NULL for a failure, which
 * the model keeps: no desc, no name, the name of a parameter that there is already, after esker_model_output().
 */
ESKER_API esker_node *esker_model_parameter(esker_model *net, const esker_param_desc *desc);

/**
 * How a layer's parameters start. The default is PyTorch's: weight and bias uniform within 1 / sqrt(fan_in), where fan_in
 * is the number of inputs that one output sums (for the weight this equals He et al.'s uniform bound with a = sqrt(5)).
 * With every other kind the bias starts at zero.
 */
typedef enum esker_layer_init {
    ESKER_LAYER_INIT_DEFAULT = 0,
    ESKER_LAYER_INIT_HE_UNIFORM, /* as in esker_init_kind; for layers before a relu */
    ESKER_LAYER_INIT_HE_NORMAL,
    ESKER_LAYER_INIT_XAVIER_UNIFORM, /* for layers before sigmoid or tanh */
    ESKER_LAYER_INIT_XAVIER_NORMAL,
    ESKER_LAYER_INIT_ZEROS /* for the last layer of a residual branch */
} esker_layer_init;

typedef struct esker_layer_linear_desc {
    int64_t features; /* of the result; >= 1 */
    bool no_bias;
    esker_layer_init init;
    const char *name; /* copied; unique among the model's layers; NULL: "fc1", "fc2", ... */
} esker_layer_linear_desc;

/**
 * y [n, features] = x [n, k] weight^T + bias, or the same for every step of x [n, steps, k]. Parameters "NAME.weight"
 * [features, k] and "NAME.bias" [features], named and laid out as in PyTorch.
 */
ESKER_API esker_node *esker_layer_linear(esker_model *net, esker_node *x, const esker_layer_linear_desc *desc);

typedef struct esker_layer_conv2d_desc {
    int64_t filters; /* channels of the result; >= 1 */
    int kernel[2];   /* rows, columns; >= 1 */
    int stride[2];   /* 0 means 1 */
    int padding[2];  /* zeros added on both sides */
    bool no_bias;
    esker_layer_init init;
    const char *name; /* copied; unique among the model's layers; NULL: "conv1", "conv2", ... */
    int dilation[2];  /* as in esker_conv2d_desc, and so are the rest */
    int groups;       /* of channels; must divide both the input's and the filters */
    bool same;
    int more_padding[2];
} esker_layer_conv2d_desc;

/**
 * y [n, filters, oh, ow] = conv2d(x [n, c, h, w], weight) + bias, sizes as in esker_conv2d(). Parameters "NAME.weight"
 * [filters, c / groups, kh, kw] and "NAME.bias" [filters], named and laid out as in PyTorch.
 */
ESKER_API esker_node *esker_layer_conv2d(esker_model *net, esker_node *x, const esker_layer_conv2d_desc *desc);

/** The same along one axis, x [n, c, length]: "NAME.weight" [filters, c / groups, kernel]. */
typedef struct esker_layer_conv1d_desc {
    int64_t filters;
    int kernel, stride, padding;
    bool no_bias;
    esker_layer_init init;
    const char *name; /* NULL: "conv1", "conv2", ... */
    int dilation, groups;
    bool same;
    int more_padding;
} esker_layer_conv1d_desc;
ESKER_API esker_node *esker_layer_conv1d(esker_model *net, esker_node *x, const esker_layer_conv1d_desc *desc);

typedef struct esker_layer_conv_transpose2d_desc {
    int64_t filters; /* channels of the result; >= 1 */
    int kernel[2];   /* rows, columns; >= 1 */
    int stride[2];   /* as in esker_conv_transpose2d_desc, and so are the rest */
    int padding[2];
    bool no_bias;
    esker_layer_init init;
    const char *name; /* copied; unique among the model's layers; NULL: "up1", "up2", ... */
    int output_padding[2];
    int dilation[2];
    int groups;
} esker_layer_conv_transpose2d_desc;
/**
 * y [n, filters, oh, ow] = conv_transpose2d(x [n, c, h, w], weight) + bias, sizes as in esker_conv_transpose2d().
 * Parameters "NAME.weight" [c, filters / groups, kh, kw] and "NAME.bias" [filters], named, laid out and (where init is
 * the default) started as in PyTorch.
 */
ESKER_API esker_node *esker_layer_conv_transpose2d(esker_model *net, esker_node *x,
                                                   const esker_layer_conv_transpose2d_desc *desc);

/** The same along one axis, x [n, c, length]: "NAME.weight" [c, filters / groups, kernel]. */
typedef struct esker_layer_conv_transpose1d_desc {
    int64_t filters;
    int kernel, stride, padding;
    bool no_bias;
    esker_layer_init init;
    const char *name; /* NULL: "up1", "up2", ... */
    int output_padding, dilation, groups;
} esker_layer_conv_transpose1d_desc;
ESKER_API esker_node *esker_layer_conv_transpose1d(esker_model *net, esker_node *x,
                                                   const esker_layer_conv_transpose1d_desc *desc);

typedef struct esker_layer_embedding_desc {
    int64_t rows;     /* different indices, from 0; >= 1, and at most 2^24 where x is float32 */
    int64_t features; /* of each; >= 1 */
    const char *name; /* copied; unique among the model's layers; NULL: "embedding1", "embedding2", ... */
} esker_layer_embedding_desc;
/**
 * y [..., features]: the rows of "NAME.weight" [rows, features] that the elements of x [...] name. x is a model's
 * float32, rounded toward zero, or int32. An index outside reads as NaN (esker_embedding()). Starts from a normal
 * distribution of deviation 1, as in PyTorch.
 */
ESKER_API esker_node *esker_layer_embedding(esker_model *net, esker_node *x, const esker_layer_embedding_desc *desc);

typedef struct esker_layer_parameter_desc {
    esker_shape shape;    /* of 1 to ESKER_MAX_RANK - 1 axes, without a batch: all samples share it */
    esker_init_kind init; /* how it starts: zeros if left out */
    float value;          /* of constant, uniform and normal; 0 for all others */
    bool frozen;          /* gets no gradient and no update */
    const char *name;     /* NULL: "parameter1", "parameter2", ... */
} esker_layer_parameter_desc;
/**
 * A tensor that is learned, "NAME.weight", to compute with: added to embeddings it tells positions apart, multiplied it is
 * a scale. It broadcasts to the samples of the batch. esker_model_parameter() is freer in the name, but not in JSON.
 */
ESKER_API esker_node *esker_layer_parameter(esker_model *net, const esker_layer_parameter_desc *desc);

typedef struct esker_layer_tied_linear_desc {
    bool bias;        /* "NAME.bias", the layer's only parameter of its own */
    const char *name; /* NULL: "tied1", "tied2", ... */
} esker_layer_tied_linear_desc;
/**
 * y = x weight^T with the weight of another layer: `tied` is the result of an embedding or linear layer, whose weight
 * [features, k] is used once more (the output of a language model, for one, is often its embedding turned round). Both
 * uses train the one weight, which is saved once. x [n, k] or [n, steps, k]. `desc` may be NULL.
 */
ESKER_API esker_node *esker_layer_tied_linear(esker_model *net, esker_node *x, esker_node *tied,
                                              const esker_layer_tied_linear_desc *desc);

typedef struct esker_layer_prelu_desc {
    bool per_channel; /* a slope for each channel, axis 1 of x */
    float start;      /* 0: 0.25, PyTorch's */
    const char *name; /* NULL: "prelu1", "prelu2", ... */
} esker_layer_prelu_desc;
/** esker_prelu() with the learned slope "NAME.weight", [1] or [c]. `desc` may be NULL. */
ESKER_API esker_node *esker_layer_prelu(esker_model *net, esker_node *x, const esker_layer_prelu_desc *desc);

/**
 * Normalisation layers, over the operations of ops.h, where the formulas are. Their parameters are named as in PyTorch:
 * "NAME.weight" starts at 1, "NAME.bias" at 0. Zero-initialised descriptions are PyTorch's defaults; eps 0 is the
 * operation's usual one.
 */
typedef struct esker_layer_batch_norm_desc {
    float eps;
    float momentum;   /* 0: 0.1 */
    bool no_affine;   /* no weight and no bias */
    bool no_running;  /* no running statistics: inference, too, normalises by its batch */
    const char *name; /* copied; unique among the model's layers; NULL: "bn1", "bn2", ... */
} esker_layer_batch_norm_desc;
/**
 * esker_batch_norm() of x [n, c] or [n, c, length]. Also "NAME.running_mean" and "NAME.running_var" [c], frozen, from 0
 * and 1: a graph for training moves them in each step, one for inference normalises with them. (PyTorch's
 * num_batches_tracked has no counterpart.)
 */
ESKER_API esker_node *esker_layer_batch_norm1d(esker_model *net, esker_node *x, const esker_layer_batch_norm_desc *desc);
/** The same for x [n, c, h, w]. `desc` may be NULL for both. */
ESKER_API esker_node *esker_layer_batch_norm2d(esker_model *net, esker_node *x, const esker_layer_batch_norm_desc *desc);

typedef struct esker_layer_layer_norm_desc {
    int axes; /* the last ones, without the batch; 0: 1 */
    float eps;
    bool no_affine, no_bias;
    const char *name; /* NULL: "ln1", "ln2", ... */
} esker_layer_layer_norm_desc;
/** esker_layer_norm(); weight and bias have the shape of the axes. `desc` may be NULL. */
ESKER_API esker_node *esker_layer_layer_norm(esker_model *net, esker_node *x, const esker_layer_layer_norm_desc *desc);

typedef struct esker_layer_rms_norm_desc {
    int axes; /* the last ones, without the batch; 0: 1 */
    float eps;
    bool no_affine;
    const char *name; /* NULL: "rms1", "rms2", ... */
} esker_layer_rms_norm_desc;
/** esker_rms_norm(); the weight has the shape of the axes. `desc` may be NULL. */
ESKER_API esker_node *esker_layer_rms_norm(esker_model *net, esker_node *x, const esker_layer_rms_norm_desc *desc);

typedef struct esker_layer_group_norm_desc {
    int groups; /* divides the channels */
    float eps;
    bool no_affine;
    const char *name; /* NULL: "gn1", "gn2", ... */
} esker_layer_group_norm_desc;
/** esker_group_norm() of x [n, c, ...]; weight and bias [c]. */
ESKER_API esker_node *esker_layer_group_norm(esker_model *net, esker_node *x, const esker_layer_group_norm_desc *desc);

typedef struct esker_layer_instance_norm_desc {
    float eps;
    bool affine;      /* weight and bias [c] */
    const char *name; /* NULL: "in1", "in2", ... */
} esker_layer_instance_norm_desc;
/** esker_instance_norm() of x [n, c, space...]. `desc` may be NULL. */
ESKER_API esker_node *esker_layer_instance_norm(esker_model *net, esker_node *x,
                                                const esker_layer_instance_norm_desc *desc);

/** Positions that attention sees. */
typedef enum esker_layer_rotary {
    ESKER_LAYER_ROTARY_NONE = 0,
    ESKER_LAYER_ROTARY_PAIRS, /* esker_rotary() of q and k */
    ESKER_LAYER_ROTARY_HALVES /* the same with halves */
} esker_layer_rotary;

typedef struct esker_layer_attention_desc {
    int64_t heads; /* >= 1; divides the width */
    bool causal;   /* rows see themselves and those before */
    bool no_bias;
    esker_layer_rotary rotary;
    const char *name; /* NULL: "attention1", "attention2", ... */
} esker_layer_attention_desc;
/**
 * Multi-head self-attention of x [n, rows, width]: q, k and v are three projections of x, cut into heads of width / heads
 * elements, and what esker_attention() makes of them is projected once more. Parameters named, laid out and started as
 * those of PyTorch's nn.MultiheadAttention: "NAME.in_proj_weight" [3 width, width], "NAME.in_proj_bias" [3 width],
 * "NAME.out_proj.weight" [width, width], "NAME.out_proj.bias" [width].
 */
ESKER_API esker_node *esker_layer_attention(esker_model *net, esker_node *x, const esker_layer_attention_desc *desc);

typedef struct esker_layer_recurrent_desc {
    int64_t features;   /* of the hidden state; >= 1 */
    int layers;         /* each takes the states of the one before it; 0: 1; at most 64 */
    bool bidirectional; /* a second direction from the last step to the first, its states behind those of the first */
    bool no_bias;
    bool relu;        /* rnn alone, in place of tanh */
    const char *name; /* NULL: "rnn1", "lstm1", "gru1", ... */
    /*
     * The states before the first step, a row for each layer (and its two directions, if there are two): [n, rows,
     * features], or [rows, features] for all samples alike, which esker_layer_parameter() lets learn. NULL: zeros.
     */
    esker_node *h;
    esker_node *c; /* lstm alone: of the cell; with h or not at all */
} esker_layer_recurrent_desc;
/**
 * All hidden states [n, steps, features] (twice the features with two directions) of x [n, steps, ...], as
 * esker_recurrent(). Parameters named, laid out and started as those of
 * PyTorch's nn.RNN, nn.LSTM and nn.GRU: "NAME.weight_ih_l0", "NAME.weight_hh_l0", "NAME.bias_ih_l0", "NAME.bias_hh_l0",
 * with "_reverse" for the second direction.
 */
ESKER_API esker_node *esker_layer_rnn(esker_model *net, esker_node *x, const esker_layer_recurrent_desc *desc);
ESKER_API esker_node *esker_layer_lstm(esker_model *net, esker_node *x, const esker_layer_recurrent_desc *desc);
ESKER_API esker_node *esker_layer_gru(esker_model *net, esker_node *x, const esker_layer_recurrent_desc *desc);
/**
 * The hidden (of an lstm: cell) states [n, rows, features] that layer `y` has behind its last step, a row for each layer
 * and direction: what the next piece of the sequence starts with. `name` may be NULL: "last_hidden1", "last_cell1", ...
 */
ESKER_API esker_node *esker_layer_last_hidden(esker_model *net, esker_node *y, const char *name);
ESKER_API esker_node *esker_layer_last_cell(esker_model *net, esker_node *y, const char *name);

/**
 * Say which node is the result, [batch, ...], and finish the model: once, last. No layer can be added afterwards.
 * Errors     The first failure while recording, with its own status and message. ESKER_ERR_INVALID: no input, called
 *            twice, x of another model, a result that does not depend on the input or has no batch axis in front, a layer
 *            with parameters that does not lead to it, class names that do not fit.
 */
ESKER_API esker_status esker_model_output(esker_model *net, esker_node *x);

/** ESKER_OK, or the first failure while recording; its message becomes esker_last_error(). */
ESKER_API esker_status esker_model_status(const esker_model *net);

/* ---- What is in a model ---- */

/** Texts are borrowed from the model. */
typedef struct esker_model_info {
    const char *name;
    const char *input_name;         /* "" before esker_model_input() */
    esker_shape input_shape;        /* of one sample, without the batch */
    esker_shape output_shape;       /* the same; rank 0 before esker_model_output() */
    int n_classes;                  /* 0: no names given */
    const char *const *class_names; /* n_classes texts, or NULL */
    int n_layers;
    int64_t n_parameters; /* elements of all parameters */
    double flops;         /* of the forward pass of one sample */
} esker_model_info;

ESKER_API void esker_model_get_info(const esker_model *net, esker_model_info *out);

/** The model's parameter set; borrowed. Initialise, read and write values through it. */
ESKER_API esker_params *esker_model_get_params(const esker_model *net);

/** One layer, or one operation that stands between layers, in the order of recording. Texts are borrowed from the model. */
typedef struct esker_layer_info {
    const char *name;         /* "conv1"; operations without a label are numbered: "relu1" */
    const char *kind;         /* "conv2d"; for operations their name in ops.h: "relu", "max_pool2d" */
    esker_shape output_shape; /* for one sample, without the batch axis */
    int64_t n_parameters;     /* elements of its parameters */
    double flops;             /* forward, for one sample */
} esker_layer_info;

/** Layers that lead to the output; 0 before esker_model_output(). */
ESKER_API int esker_model_layer_count(const esker_model *net);
/** Errors: ESKER_ERR_INVALID outside 0 .. count - 1. */
ESKER_API esker_status esker_model_get_layer_info(const esker_model *net, int index, esker_layer_info *out);

/* ---- Facts that travel with a model into its file (checkpoint.h) ---- */

/**
 * Keep `value` under `key`, replacing an older one; NULL removes it. Both are copied, UTF-8. Keys of this library begin
 * with "esker."; "esker.model" itself is written by esker_model_save() and cannot be set.
 * Errors     ESKER_ERR_INVALID: NULL or empty key, "esker.model", text that is not UTF-8. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_model_set_metadata(esker_model *net, const char *key, const char *value);
/** The value, or NULL; borrowed until the key is set again. */
ESKER_API const char *esker_model_get_metadata(const esker_model *net, const char *key);
ESKER_API int esker_model_metadata_count(const esker_model *net);
/** Keys in the order they were first set; NULL outside 0 .. count - 1. */
ESKER_API const char *esker_model_metadata_key(const esker_model *net, int index);

/* ---- Graphs for a batch size ---- */

/** What an instance is for. In inference dropout is left out, and batch norm takes its running statistics and leaves them alone. */
typedef enum esker_mode { ESKER_MODE_TRAIN = 0, ESKER_MODE_INFER } esker_mode;

typedef struct esker_instance_desc {
    int64_t batch; /* samples; >= 1 */
    esker_mode mode;
    esker_dtype input_dtype; /* ESKER_DTYPE_F32 (zero), or ESKER_DTYPE_U8: converted to float32 on the device */
    float input_scale;       /* the model sees input * scale; 0: 1 for float32, 1/255 for uint8 */
} esker_instance_desc;

/**
 * Record the model into a new graph for one batch size. The graph shares the model's parameters; add labels, a loss,
 * gradients and an optimizer to it, and compile it.
 * Out        *out_input is the graph's input, named as the model's,
 * [batch, ...] of input_dtype; *out_output the model's
 *            result, [batch, ...]; either may be NULL if not wanted. Both belong to the graph.
 * Ownership  *out_graph is the caller's, esker_graph_destroy().
 * Errors     ESKER_ERR_INVALID: batch < 1 (with the number), an unknown mode or type, a model that is not finished or
 *            failed, an operation that was recorded for a batch of 1 only (the message names it). ESKER_ERR_NO_MEMORY.
 *            *out_graph is NULL after any of them.
 */
ESKER_API esker_status esker_model_instantiate(esker_model *net, const esker_instance_desc *desc, esker_graph **out_graph,
                                               esker_node **out_input, esker_node **out_output);

/* ---- Models as JSON ---- */

/**
 * A model as JSON is a graph of layers:
 *
 *   {"name": "tiny",
 *    "input": {"name": "image", "shape": [1, 28, 28]},            name: "input" if left out
 *    "classes": ["no", "yes"],                                    may be left out
 *    "layers": [
 *      {"name": "conv1", "type": "conv2d", "filters": 8, "kernel": 3, "padding": 1},
 *      {"type": "relu"},
 *      {"name": "side", "type": "conv2d", "input": "image", "filters": 8, "kernel": 1},
 *      {"type": "add", "inputs": ["relu1", "side"]},
 *      {"type": "flatten"},
 *      {"type": "linear", "features": 2}],
 *    "output": "fc1"}                                             the last of the list if left out
 *
 * A layer takes what "input" names, a layer or the model's input; without it the layer before it in the list, the first one
 * the model's input. "inputs" lists several. Layers may stand in any order. A layer without a name is numbered by its type:
 * conv1, fc1, pool1, relu1, add1, ... Sizes of two axes are one number or [rows, columns]. esker_model_layer_help() lists
 * the types and their keys. Every layer with parameters also takes "param_group", the group of an optimizer's settings
 * (esker_param_desc.group) that they are in: 1 for all of them, or {"bias": 1} for some. Text in comments or after the end is not accepted.
 *
 * Errors     All name `source` and, where there is one, the layer and the key. ESKER_ERR_FORMAT: not JSON (line and
 *            column); a wrong type or a number out of range (with what is allowed); a missing, unknown or repeated key;
 *            an unknown type (with the known ones); two layers of one name; a reference to nothing; a cycle (with its
 *            path); a layer that does not lead to the output; a shape that cannot be. ESKER_ERR_LIMIT: more than 4096
 *            layers. ESKER_ERR_UNSUPPORTED: built without libcjson. ESKER_ERR_NO_MEMORY. *out is NULL after any of them.
 */
ESKER_API esker_status esker_model_from_json(const char *text, size_t n_bytes, const char *source, esker_model **out);
/** The same from a file of at most 16 MiB. Errors: also ESKER_ERR_IO, ESKER_ERR_LIMIT. */
ESKER_API esker_status esker_model_load_json(const char *path, esker_model **out);

/**
 * Write a finished model as JSON in one canonical form: what reads equal writes equal, byte for byte.
 * Ownership  *out_text is zero-terminated and the caller's: esker_text_free().
 * Errors     ESKER_ERR_UNSUPPORTED: an operation that no layer type stands for (the message names it).
 *            ESKER_ERR_INVALID: not finished, or failed. ESKER_ERR_NO_MEMORY. *out_text is NULL after any of them.
 */
ESKER_API esker_status esker_model_to_json(const esker_model *net, char **out_text);
/** Free a text that the library returned to be owned. Accepts NULL. */
ESKER_API void esker_text_free(char *text);

/** The layer types with their keys, ranges and defaults, one a line, for help texts; never NULL. */
ESKER_API const char *esker_model_layer_help(void);

#ifdef __cplusplus
}
#endif
#endif
