/*
 * Inside a model: its layers, each described by a kind from one table and the values of that kind's keys. The table is
 * what C calls, JSON and listings share: C descriptors and JSON objects become values, values become nodes, and
 * operations recorded by hand become values again.
 */
#ifndef ESKER_NN_MODEL_H
#define ESKER_NN_MODEL_H

#include <esker/model.h>
#include "base/fail.h"
#include "graph/graph.h"

#define ESKER__MAX_LAYERS       4096 /* names are looked up by walking through all */
#define ESKER__MAX_LAYER_INPUTS 1024 /* of concat and stack */
#define ESKER__MAX_LAYER_KEYS   10
#define ESKER__MAX_NAME_BYTES   100

typedef enum esker__key_type {
    ESKER__KEY_INT,
    ESKER__KEY_PAIR,   /* rows, columns; JSON may give one number for both */
    ESKER__KEY_INTS,   /* 1 to ESKER_MAX_RANK - 1 of them */
    ESKER__KEY_NUMBER, /* a finite float32 */
    ESKER__KEY_BOOL,
    ESKER__KEY_CHOICE /* an index into `choices` */
} esker__key_type;

typedef struct esker__layer_key {
    const char *name;
    esker__key_type type;
    bool required;
    bool optional;              /* of INTS: left out, there are none (n is 0) */
    int like;                   /* 1 + index of an earlier key: left out, it equals that one. 0: `standard` */
    double lo, hi;              /* of each integer */
    double standard;            /* each element's value when left out */
    const char *const *choices; /* ends with NULL */
} esker__layer_key;

/** A key's value: integers, 0 or 1, an index, or a float, all exact in a double. */
typedef struct esker__layer_value {
    int n; /* 0: not given */
    double v[ESKER_MAX_RANK];
} esker__layer_value;

typedef struct esker__layer_kind esker__layer_kind;

typedef struct esker__layer {
    const esker__layer_kind *kind; /* NULL: an operation that no kind stands for */
    const char *name;              /* in the model's pool */
    int n_inputs;
    esker_node **inputs; /* in the model's pool */
    esker_node *node;    /* the result */
    int first, end;      /* the nodes recorded for it: first .. end - 1 */
    esker__layer_value values[ESKER__MAX_LAYER_KEYS];
} esker__layer;

struct esker__layer_kind {
    const char *name;                             /* as in JSON; for operations, their name */
    const char *prefix;                           /* numbered names begin with it */
    int n_inputs;                                 /* at least */
    esker__layer_key keys[ESKER__MAX_LAYER_KEYS]; /* up to the first without a name */
    int most_inputs;                              /* 0: n_inputs */
    /* One of these records it. `build` may put values into their one canonical form. */
    esker_node *(*unary)(esker_node *x);
    esker_node *(*binary)(esker_node *a, esker_node *b);
    esker_node *(*ternary)(esker_node *a, esker_node *b, esker_node *c);
    esker_node *(*build)(esker_model *net, esker__layer *layer);
    /* For those builders that many kinds share (src/nn/kinds.h): what they record. */
    esker_node *(*along)(esker_node *x, int axis);
    esker_node *(*reduce)(esker_node *x, const int *axes, int n_axes, bool keepdims);
    esker_node *(*with_number)(esker_node *x, float number);
    esker_node *(*with_integer)(esker_node *x, int number);
    /** Whether `node`, of the operation `op` (NULL: `name`), is of this kind; fills the values. NULL: always, if the op matches. */
    bool (*decode)(const esker_node *node, esker__layer_value *values);
    const char *op;
    bool has_parameters; /* decoded only where `decode` says so: from a node without any */
};

/** Ends with a kind without a name (src/nn/kinds.c). */
extern const esker__layer_kind esker__layer_kinds[];

/** The kind of that name, or NULL. */
const esker__layer_kind *esker__layer_kind_find(const char *name);
int esker__layer_kind_n_keys(const esker__layer_kind *kind);
/** The most inputs that it takes; kind->n_inputs is the least. */
int esker__layer_kind_most_inputs(const esker__layer_kind *kind);
/** The kind that stands for an operation's node, with its values; NULL if there is none. */
const esker__layer_kind *esker__layer_kind_decode(const esker_node *node, esker__layer_value *values);
/** Put the standard where a value is not given. */
void esker__layer_fill(const esker__layer_kind *kind, esker__layer_value *values);
/** Whether value `key` is what esker__layer_fill() would put there. */
bool esker__layer_is_standard(const esker__layer_kind *kind, const esker__layer_value *values, int key);
/** What a key takes: "1 to 16" and so on, for messages. */
#define ESKER__ALLOWED_BYTES 200
const char *esker__layer_allowed(const esker__layer_key *key, char buffer[ESKER__ALLOWED_BYTES]);
/** Whether one element of a value is in the key's range; NaN is not. */
bool esker__layer_fits(const esker__layer_key *key, double v);
/** Check ranges and that nothing required is missing. The message begins with the key. */
esker_status esker__layer_check(const esker__layer_kind *kind, const esker__layer_value *values);

/**
 * For builders: "NAME.part", with the start that `init` chooses; 1 / sqrt(fan_in) bounds the default one. And the failure
 * that says what samples the input has and which are `wanted`.
 */
esker_node *esker__layer_parameter(esker_model *net, const esker__layer *layer, const char *part, esker_shape shape,
                                   double fan_in, esker_layer_init init);
esker_node *esker__layer_wrong_rank(esker_model *net, const esker_node *x, const char *wanted);
/** For builders, `return esker__layer_refuse(net, ...)`: ESKER_ERR_INVALID with that message, and NULL. */
esker_node *esker__layer_refuse(esker_model *net, const char *format, ...) ESKER__PRINTF(2, 3);
/** Whether a value is computed from the model's input, and so has the batch in front; others are constants and parameters. */
bool esker__model_has_batch(const esker_model *net, const esker_node *node);

/* Builders of the kinds with parameters (src/nn/layers.c, layers_conv.c). */
esker_node *esker__build_linear(esker_model *net, esker__layer *layer);
esker_node *esker__build_embedding(esker_model *net, esker__layer *layer);
esker_node *esker__build_parameter(esker_model *net, esker__layer *layer);
esker_node *esker__build_prelu(esker_model *net, esker__layer *layer);
esker_node *esker__build_tied_linear(esker_model *net, esker__layer *layer);
esker_node *esker__build_conv2d(esker_model *net, esker__layer *layer);
esker_node *esker__build_conv1d(esker_model *net, esker__layer *layer);
esker_node *esker__build_conv_transpose2d(esker_model *net, esker__layer *layer);
esker_node *esker__build_conv_transpose1d(esker_model *net, esker__layer *layer);
/* src/nn/layers_norm.c */
esker_node *esker__build_batch_norm1d(esker_model *net, esker__layer *layer);
esker_node *esker__build_batch_norm2d(esker_model *net, esker__layer *layer);
esker_node *esker__build_layer_norm(esker_model *net, esker__layer *layer);
esker_node *esker__build_rms_norm(esker_model *net, esker__layer *layer);
esker_node *esker__build_group_norm(esker_model *net, esker__layer *layer);
esker_node *esker__build_instance_norm(esker_model *net, esker__layer *layer);

/* src/nn/layers_attention.c */
esker_node *esker__build_attention(esker_model *net, esker__layer *layer);
/* src/nn/layers_recurrent.c */
esker_node *esker__build_rnn(esker_model *net, esker__layer *layer);
esker_node *esker__build_lstm(esker_model *net, esker__layer *layer);
esker_node *esker__build_gru(esker_model *net, esker__layer *layer);
esker_node *esker__build_last_hidden(esker_model *net, esker__layer *layer);
esker_node *esker__build_last_cell(esker_model *net, esker__layer *layer);

/**
 * Add a layer: C calls and JSON both end here. Values that are not given are filled in.
 * Returns the result, or NULL with the graph's error set.
 */
esker_node *esker__layer_add_to(esker_model *net, const esker__layer_kind *kind, const char *name,
                                esker_node *const *inputs, int n_inputs, const esker__layer_value *values);
/** The same with kind->n_inputs inputs. */
esker_node *esker__layer_add(esker_model *net, const esker__layer_kind *kind, const char *name, esker_node *const *inputs,
                             const esker__layer_value *values);

typedef struct esker__metadata {
    char *key, *value;
} esker__metadata;

struct esker_model {
    esker_graph *graph; /* the template, recorded with a batch of 1 */
    esker__pool pool;   /* texts and layers */
    const char *name;
    const char **classes;
    int n_classes;
    const char *input_name;
    esker_node *input, *output;
    /* Made by esker__layer_add; once there is an output, all that leads to it, operations recorded by hand included. */
    esker__layer **layers;
    size_t n_layers, layers_capacity;
    bool listed; /* the second of the two */
    esker__metadata *metadata;
    size_t n_metadata, metadata_capacity;
};

/** Turn the list of layers into that of everything that leads to the output (src/nn/listing.c). */
esker_status esker__model_list(esker_model *net);
/** The layer of that name, or NULL. */
const esker__layer *esker__model_find_layer(const esker_model *net, const char *name);
/** "prefix1", or the first number that no layer, and not the input, has. Kept in the model's pool; NULL when memory ran out. */
const char *esker__model_number_name(esker_model *net, const char *prefix);
/** A shape without its first axis. */
esker_shape esker__sample_shape(const esker_shape *shape);
/** 1 to ESKER__MAX_NAME_BYTES bytes, no control characters. `what` begins the message. */
esker_status esker__check_name(const char *what, const char *name);

#endif
