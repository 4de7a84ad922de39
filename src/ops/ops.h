/* Operations that other operations and passes name: for recording in gradient rules, and for fusion to recognise. */
#ifndef ESKER_OPS_OPS_H
#define ESKER_OPS_OPS_H

#include <esker/ops.h>
#include "graph/graph.h"

extern const esker__op esker__op_add, esker__op_sub, esker__op_mul, esker__op_div, esker__op_neg, esker__op_exp,
    esker__op_log, esker__op_sqrt, esker__op_relu, esker__op_sigmoid, esker__op_tanh, esker__op_affine, esker__op_div_grad,
    esker__op_sqrt_grad, esker__op_relu_grad, esker__op_sigmoid_grad, esker__op_tanh_grad, esker__op_equal_mask,
    esker__op_pow;
extern const esker__op esker__op_convert, esker__op_reshape, esker__op_expand, esker__op_transpose;
extern const esker__op esker__op_sum, esker__op_mean, esker__op_max;
extern const esker__op esker__op_slice, esker__op_unslice, esker__op_flip, esker__op_concat, esker__op_roll, esker__op_tile,
    esker__op_pad, esker__op_tril, esker__op_triu;
extern const esker__op esker__op_take, esker__op_take_grad, esker__op_gather, esker__op_gather_grad, esker__op_scatter_add,
    esker__op_one_hot;
extern const esker__op esker__op_cumsum;
extern const esker__op esker__op_resize2d, esker__op_resize2d_grad;
extern const esker__op esker__op_min, esker__op_prod, esker__op_prod_grad, esker__op_variance, esker__op_logsumexp,
    esker__op_norm, esker__op_argmax, esker__op_argmin;
extern const esker__op esker__op_softmax, esker__op_log_softmax, esker__op_softmax_grad, esker__op_log_softmax_grad,
    esker__op_cross_entropy, esker__op_count_correct;
extern const esker__op esker__op_nll, esker__op_nll_grad, esker__op_label_weights, esker__op_mse, esker__op_mae,
    esker__op_huber, esker__op_smooth_l1, esker__op_bce, esker__op_bce_with_logits, esker__op_kl_div, esker__op_kl_div_log,
    esker__op_hinge, esker__op_hinge_embedding, esker__op_cosine_embedding, esker__op_multi_margin,
    esker__op_multi_margin_square;
extern const esker__op esker__op_random_bits, esker__op_random_uniform, esker__op_random_normal, esker__op_random_bernoulli,
    esker__op_random_permutation, esker__op_dropout;
extern const esker__op esker__op_matmul, esker__op_conv2d, esker__op_conv2d_input_grad, esker__op_conv2d_weight_grad,
    esker__op_conv_transpose2d, esker__op_max_pool2d, esker__op_max_pool2d_grad, esker__op_avg_pool2d,
    esker__op_avg_pool2d_grad;
extern const esker__op esker__op_adaptive_avg_pool2d, esker__op_adaptive_avg_pool2d_grad;
extern const esker__op esker__op_layer_norm, esker__op_rms_norm, esker__op_group_norm, esker__op_instance_norm,
    esker__op_normalize, esker__op_norm_grad, esker__op_norm_affine_grad, esker__op_batch_norm, esker__op_batch_norm_infer,
    esker__op_batch_norm_grad, esker__op_batch_norm_running;
extern const esker__op esker__op_attention, esker__op_attention_grad, esker__op_rotary;
extern const esker__op esker__op_recurrent, esker__op_recurrent_grad, esker__op_recurrent_before;
extern const esker__op esker__op_sgd, esker__op_adam, esker__op_adamw, esker__op_rmsprop, esker__op_adagrad,
    esker__op_adadelta, esker__op_nadam, esker__op_lion, esker__op_lamb, esker__op_clip_gradients;

/** esker_affine's attributes: k0 and k1 of its expression. */
typedef struct esker__affine_attr {
    float scale, shift;
} esker__affine_attr;

/** Two constants, k0 and k1 of an expression: clamp's lo and hi; k0 of leaky_relu (slope), elu (alpha), softplus (beta). */
typedef struct esker__constants_attr {
    float k0, k1;
} esker__constants_attr;

/** Of sum, mean and max. */
typedef struct esker__reduce_attr {
    uint32_t mask; /* bit i: axis i is reduced */
    int32_t keepdims;
} esker__reduce_attr;

/** Of reshape and expand, as the caller wrote it: reshape's 0 and -1 are still there, so that a copy for another batch size
 * means the same. */
typedef struct esker__reshape_attr {
    esker_shape shape;
} esker__reshape_attr;

typedef struct esker__rotary_attr {
    float base;
    int32_t halves, back; /* back: turned the other way, as its gradient is */
    int64_t offset;
} esker__rotary_attr;

/** Axis i of the result is axis order[i] of x. */
typedef struct esker__transpose_attr {
    int32_t rank;
    int32_t order[ESKER_MAX_RANK];
} esker__transpose_attr;

/** The attribute of softmax, log_softmax and their gradients. */
typedef struct esker__axis_attr {
    int32_t axis; /* counted from 0 */
} esker__axis_attr;

typedef struct esker__cumsum_attr {
    int32_t axis, reverse;
} esker__cumsum_attr;

typedef struct esker__resize_attr {
    int32_t mode, y_h, y_w; /* the size asked for */
    int32_t x_h, x_w;       /* of the gradient: the size it goes back to */
} esker__resize_attr;

/** Ranges as the caller wrote them, so that a copy for another batch size means the same. */
typedef struct esker__slice_attr {
    int32_t n_ranges, pad;
    esker_range ranges[ESKER_MAX_RANK];
} esker__slice_attr;

typedef struct esker__pad_attr {
    int32_t mode, n_axes;
    int64_t before[ESKER_MAX_RANK], after[ESKER_MAX_RANK];
    float value;
    int32_t unused;
} esker__pad_attr;

typedef struct esker__roll_attr {
    int64_t shift;
    int32_t axis, unused;
} esker__roll_attr;

typedef struct esker__tile_attr {
    int32_t n, unused;
    int64_t repeats[ESKER_MAX_RANK];
} esker__tile_attr;

/** Of tril and triu. */
typedef struct esker__triangle_attr {
    int32_t diagonal;
} esker__triangle_attr;

/** Of take, gather and scatter_add. */
typedef struct esker__gather_attr {
    int32_t axis;
    int32_t zero; /* an index out of range gives 0, not NaN: gradients */
    /* Of take, in plans with fusion: */
    int32_t any_index; /* indices may be float32 or uint8: what would be converted */
    int32_t adds;      /* input 2 is added, as often as it fits behind itself into the result */
} esker__gather_attr;

typedef struct esker__one_hot_attr {
    int64_t classes;
} esker__one_hot_attr;

typedef struct esker__random_attr {
    esker_shape shape; /* without an input to take it from */
    uint32_t draw;     /* esker__new_draw */
    int32_t kind;
    float a, b; /* bounds; mean and deviation; probability */
} esker__random_attr;

typedef struct esker__convert_attr {
    int32_t dtype;
    float scale, shift; /* float32 results are scale * x + shift: what an affine node behind asked for */
} esker__convert_attr;

typedef struct esker__variance_attr {
    esker__reduce_attr reduce;
    int32_t correction;
} esker__variance_attr;

/** Of the reduction `norm`. */
typedef struct esker__reduce_norm_attr {
    esker__reduce_attr reduce;
    int32_t kind;
} esker__reduce_norm_attr;

typedef struct esker__attention_attr {
    int32_t causal;
    float scale;
    /* Plans alone make these so. */
    int32_t rows_first; /* q, k, v and the result are [batch, rows, heads, size] */
    /*
     * With rows_first: q, k and v lie beside each other in the rows of one value, [batch, rows, all_heads, size] whatever its axes are called, which is
     * each of the three inputs: `heads` of it from head first[i] on. 0: they are values of their own.
     */
    int32_t heads, first[3], all_heads, rows, size;
    /* Of attention_grad: the gradients lie like that in one result, [batch, rows, out_heads, size]. 0: they are three. */
    int32_t out_heads, out_first[3];
} esker__attention_attr;

/** Of max_pool2d and avg_pool2d; strides are filled in. */
typedef struct esker__pool2d_attr {
    int32_t window[2], stride[2], padding[2];
    int32_t exclude_padding; /* avg_pool2d */
} esker__pool2d_attr;

/** Of adaptive_avg_pool2d: rows and columns of the result, 0 as in x; of its gradient, those of x. */
typedef struct esker__adaptive_attr {
    int32_t size[2];
} esker__adaptive_attr;

/** g * (y > 0), the gradient of relu from its output. */
esker_node *esker__relu_grad(esker_node *y, esker_node *grad);
/** Random words as int32, all 32 bits. */
esker_node *esker__random_bits(esker_graph *graph, const esker_shape *shape);
/** Elements start .. start + count - 1 of one axis; and the reverse, zeros around x up to `length`. Axis from 0 and in range. */
esker_node *esker__slice_axis(esker_node *x, int axis, int64_t start, int64_t count);
esker_node *esker__unslice_axis(esker_node *x, int axis, int64_t start, int64_t length);
/** Whether `node` is a slice that takes `count` columns from `first` on of each of `rows` rows of `length` elements. */
typedef struct esker__columns {
    int64_t rows, length, first, count;
} esker__columns;
bool esker__slice_columns(const esker_node *node, esker__columns *out);
/** What a concatenation of the gradients of attention, in rows, is with fusion: they are computed in their places. NULL: it is another one. */
esker_node *esker__attention_fused_concat(esker_graph *graph, const esker_node *node, const esker__fusion *fusion);
/** a + b where it is the sum of unslices that do not overlap and leave no gap, as the gradients of all parts of a value are: their concatenation; else NULL. */
esker_node *esker__sum_of_parts(esker_node *a, esker_node *b);
/** Whether the reduction is one; else the failure is recorded in the graph of inputs[0]. */
bool esker__check_reduction(const char *op, esker_node *const *inputs, int n_inputs, esker_reduction reduction);
/** A loss of pairs (pair_loss.c) with its constant. */
esker_node *esker__pair_loss(const esker__op *op, esker_node *prediction, esker_node *target, esker_reduction reduction,
                             float k);
/** [n] from x [n, classes] and labels int32 [n]: -x[i][label]; and weights[label]. NaN where no class has the label. */
esker_node *esker__minus_at_label(esker_node *x, esker_node *labels);
esker_node *esker__label_weights(esker_node *labels, esker_node *weights);
/** 1 where a == b, else 0; broadcasts; no gradient. */
esker_node *esker__equal(esker_node *a, esker_node *b);

/**
 * Record the gradients of `loss` for every parameter that is not frozen, as esker_optimize() does, but no update: a plan
 * leaves them beside each other in the gradient arena.
 */
esker_status esker__collect_gradients(esker_node *loss);

/** Every value exact: the tolerance of ops that round nothing. Small results may still be flushed to zero (op.atol). */
double esker__tolerance_exact(const esker_node *node);
/** Smallest normal float: what a device that flushes denormals may lose. */
#define ESKER__FLUSHED 1.1754944e-38

/** How many inputs an operation that a program registered takes. */
struct esker_custom_op;
int esker__custom_op_inputs(const struct esker_custom_op *op);

#endif
