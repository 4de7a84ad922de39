/**
 * Calls on tensors: straight-line programs, and gradients of whatever they did.
 *
 *     esker_tensor *y = esker_tensor_tanh(esker_tensor_add(esker_tensor_matmul(x, w, NULL), b));
 *     esker_tensor *loss = esker_tensor_mse(y, target);
 *     esker_tensor_backward(loss, false);
 *     esker_tensor_assign(w, esker_tensor_sub(w, esker_tensor_mul(rate, esker_tensor_get_grad(w))));
 *
 * Every operation of ops.h has a twin here, with tensors in place of nodes. A call records, and returns at once with a
 * tensor whose value is pending. When somebody reads, maps or binds one, or the outermost scope closes, or
 * esker_eager_flush() says so, or many operations are pending, all that is pending becomes one plan (so that it is fused
 * as any plan is) and is queued; only reading waits. Plans are kept in a bounded cache by what is computed: operations, attributes, types,
 * shapes, and which results are wanted. So a program whose structure repeats pays for a comparison, and one whose structure is new every time
 * for a compilation. Numbers among the attributes (the scale of esker_tensor_affine()) are part of the structure: what
 * changes from step to step belongs in a tensor, esker_tensor_scalar() for instance.
 *
 * Ownership  A result has one reference, which is the caller's: esker_tensor_unref(). While a scope is open (below), it is the scope's.
 * Errors     A call that fails returns NULL, and esker_last_error() says why, with the operation and its shapes. NULL
 *            given returns NULL and leaves the message alone, so that a chain is checked once, at its end. What was pending stays
 *            pending. When a plan cannot be compiled or run, the reader is told, and what was pending has no value any
 *            more, but when memory ran out: then it is still pending, and may be read again when some was freed.
 * Threads    The thread that owns the device; esker_tensor_ref() and esker_tensor_unref() as tensor.h says.
 */
#ifndef ESKER_EAGER_H
#define ESKER_EAGER_H

#include "custom.h"
#include "ops.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Scopes ---- */

/**
 * Open a scope: results of the calls below belong to it, and are released when it is closed. esker_tensor_ref() keeps one
 * beyond. Scopes nest; a result belongs to the innermost.
 */
ESKER_API esker_status esker_scope_open(esker_device *dev);
/** Close the innermost scope; the outermost also queues what is pending and still wanted. ESKER_ERR_INVALID: none is open. */
ESKER_API esker_status esker_scope_close(esker_device *dev);

/** Queue everything that is pending and still referenced; waits for nothing. */
ESKER_API esker_status esker_eager_flush(esker_device *dev);

/* ---- Making tensors ---- */

/** Filled with zeros, ones or `value`; float32. `shape` NULL: a scalar. */
ESKER_API esker_tensor *esker_tensor_zeros(esker_device *dev, const esker_shape *shape);
ESKER_API esker_tensor *esker_tensor_ones(esker_device *dev, const esker_shape *shape);
ESKER_API esker_tensor *esker_tensor_full(esker_device *dev, const esker_shape *shape, float value);
/** One float32 element, [], whose value is no part of the structure: for learning rates and other numbers that change. */
ESKER_API esker_tensor *esker_tensor_scalar(esker_device *dev, float value);
/** start, start + step, ... before stop (which a negative step counts down to); float32 [n], n >= 1 and below 2^24. */
ESKER_API esker_tensor *esker_tensor_arange(esker_device *dev, double start, double stop, double step);
/** n numbers from `first` to `last`, both included, evenly spaced; float32 [n]. One number is `first`. */
ESKER_API esker_tensor *esker_tensor_linspace(esker_device *dev, double first, double last, int64_t n);
/** A copy of `data`, all elements, row-major. */
ESKER_API esker_tensor *esker_tensor_from_data(esker_device *dev, esker_dtype dtype, const esker_shape *shape,
                                               const void *data);
/** The same values in memory of its own; gradients pass. */
ESKER_API esker_tensor *esker_tensor_clone(esker_tensor *x);
/**
 * Rows `first` to `first + n - 1` of axis 0, as a view: it shares x's memory, so that writing to either shows in both, and assigning to x, too.
 * Keeps x alive. Gradients stop here: esker_tensor_slice() makes a copy through which they pass.
 */
ESKER_API esker_tensor *esker_tensor_rows(esker_tensor *x, int64_t first, int64_t n);

/**
 * Random numbers (ops.h): the counter's step is the number of the flush, and draws count from 0 in what is pending. So they depend
 * on the seed and on what the program did since it was set: 0 when the device is opened. What is pending is queued first.
 */
ESKER_API esker_status esker_eager_set_seed(esker_device *dev, uint64_t seed);

/* ---- Values ---- */

/** The only element of x, of any type. ESKER_ERR_INVALID: it has several. Waits. */
ESKER_API esker_status esker_tensor_item(esker_tensor *x, double *out);
/** One element, by one index for each axis (negative: from the end); `index` may be NULL for a scalar. Waits. */
ESKER_API esker_status esker_tensor_at(esker_tensor *x, const int64_t *index, double *out);
/** Set one element, rounded to the type; ESKER_ERR_INVALID: it is out of the range of an integer type. */
ESKER_API esker_status esker_tensor_set(esker_tensor *x, const int64_t *index, double value);
/**
 * Give `x` the value of `value`, of the same type and shape: the way parameters are updated. Nothing is copied if `value`
 * is not referenced any more when it is computed. What was recorded before sees the old value. x keeps whether it requires
 * gradients, and has no history; no gradient flows from x to `value`.
 * Errors     ESKER_ERR_INVALID: types, shapes or devices differ; x is a view, or mapped.
 */
ESKER_API esker_status esker_tensor_assign(esker_tensor *x, esker_tensor *value);

/** Whether types, shapes and all elements are the same; NaN is equal to nothing. Waits. */
ESKER_API esker_status esker_tensor_array_equal(esker_tensor *a, esker_tensor *b, bool *out);
/** Whether shapes are the same and |a - b| <= atol + rtol |b| everywhere (equal infinities are close); computed in double. Waits. */
ESKER_API esker_status esker_tensor_all_close(esker_tensor *a, esker_tensor *b, double rtol, double atol, bool *out);

/**
 * The values as NumPy's str() writes them: nested brackets, numbers with up to 8 digits and of one width, of more than 1000 elements the
 * first and last three of each axis. As snprintf(): at most n_bytes with the terminator are written to `buffer` (NULL: none), *out_length (may
 * be NULL) is what all of it has. Waits.
 */
ESKER_API esker_status esker_tensor_text(esker_tensor *x, char *buffer, size_t n_bytes, size_t *out_length);

/* ---- Gradients ---- */

/**
 * Let backward passes compute the gradient of x: float32, and not the result of a call that has a history. Results that
 * depend on such a tensor keep how they were computed, with what that needs, until nothing refers to it any more.
 */
ESKER_API esker_status esker_tensor_set_requires_grad(esker_tensor *x, bool requires_grad);
/** Whether it was set, or x is a result that depends on such a tensor. */
ESKER_API bool esker_tensor_requires_grad(const esker_tensor *x);

/**
 * Add the gradient of `loss`, one float32 element, to the gradient of every tensor that requires one and that it depends
 * on. Recorded, like all calls. Unless `retain`, what the history of `loss` holds is freed, and a second pass through any
 * part of it is an error.
 * Errors     ESKER_ERR_INVALID: not one float32 element; no gradient is required of anything it depends on; freed
 *            already; a value that is needed was changed since. ESKER_ERR_UNSUPPORTED: an operation without a gradient, with the path.
 *            Gradients are as before then.
 */
ESKER_API esker_status esker_tensor_backward(esker_tensor *loss, bool retain);
/** The gradient, of x's shape, without a history of its own; borrowed until the next backward pass or zero_grad. NULL: none yet. */
ESKER_API esker_tensor *esker_tensor_get_grad(const esker_tensor *x);
/** Forget the gradient; the next pass starts anew. Accepts NULL. */
ESKER_API void esker_tensor_zero_grad(esker_tensor *x);
/** x without its history: a view of x (esker_tensor_rows()). */
ESKER_API esker_tensor *esker_tensor_detach(esker_tensor *x);
/** Until the pop that goes with it, results have no history. Pushes nest. ESKER_ERR_INVALID: a pop too many. */
ESKER_API esker_status esker_no_grad_push(esker_device *dev);
ESKER_API esker_status esker_no_grad_pop(esker_device *dev);

/* ---- The cache of plans ---- */

typedef struct esker_eager_counters {
    uint64_t hits, misses, evictions; /* of the cache; hits and misses make up the plans that were run */
    uint64_t calls;                   /* operations called */
    int n_plans, max_plans;
    int n_pending; /* results that are wanted and still to be computed */
} esker_eager_counters;

ESKER_API void esker_eager_get_counters(const esker_device *dev, esker_eager_counters *out);
/** Keep at most `max_plans` (>= 1) plans, the least recently used going first; 256 at first. */
ESKER_API esker_status esker_eager_set_max_plans(esker_device *dev, int max_plans);

/*
 * ---- Operations ----
 *
 * esker_tensor_NAME() is esker_NAME() of ops.h, with the same arguments, but tensors for nodes. A line each: name, arguments,
 * the tensors among them, how many of these must not be NULL, and the arguments of esker_NAME() with n[i] for tensor i.
 */
/* clang-format off */
#define ESKER__X(CALL, name)  CALL(name, (esker_tensor *x), (x), 1, (n[0]))
#define ESKER__XY(CALL, name) CALL(name, (esker_tensor *a, esker_tensor *b), (a, b), 2, (n[0], n[1]))
#define ESKER__REDUCE(CALL, name) \
    CALL(name, (esker_tensor *x, const int *axes, int n_axes, bool keepdims), (x), 1, (n[0], axes, n_axes, keepdims))
#define ESKER__LOSS(CALL, name) \
    CALL(name, (esker_tensor *prediction, esker_tensor *target, const esker_loss_desc *desc), (prediction, target), 2, (n[0], n[1], desc))

#define ESKER_TENSOR_OPERATIONS(CALL)                                                                                        \
    ESKER__XY(CALL, add) ESKER__XY(CALL, sub) ESKER__XY(CALL, mul) ESKER__XY(CALL, div)                                      \
    ESKER__XY(CALL, minimum) ESKER__XY(CALL, maximum) ESKER__XY(CALL, pow)                                                   \
    ESKER__X(CALL, neg) ESKER__X(CALL, abs) ESKER__X(CALL, sign) ESKER__X(CALL, square) ESKER__X(CALL, reciprocal)           \
    ESKER__X(CALL, floor) ESKER__X(CALL, ceil) ESKER__X(CALL, round)                                                         \
    ESKER__X(CALL, exp) ESKER__X(CALL, log) ESKER__X(CALL, expm1) ESKER__X(CALL, log1p) ESKER__X(CALL, sqrt)                 \
    ESKER__X(CALL, rsqrt) ESKER__X(CALL, sin) ESKER__X(CALL, cos) ESKER__X(CALL, erf)                                        \
    CALL(affine, (esker_tensor *x, float scale, float shift), (x), 1, (n[0], scale, shift))                                  \
    CALL(clamp, (esker_tensor *x, float lo, float hi), (x), 1, (n[0], lo, hi))                                               \
    ESKER__X(CALL, relu) ESKER__X(CALL, selu) ESKER__X(CALL, sigmoid) ESKER__X(CALL, tanh) ESKER__X(CALL, hard_sigmoid)      \
    ESKER__X(CALL, silu) ESKER__X(CALL, hard_swish) ESKER__X(CALL, gelu) ESKER__X(CALL, gelu_tanh) ESKER__X(CALL, mish)      \
    CALL(leaky_relu, (esker_tensor *x, float slope), (x), 1, (n[0], slope))                                                  \
    CALL(prelu, (esker_tensor *x, esker_tensor *slope), (x, slope), 2, (n[0], n[1]))                                         \
    CALL(elu, (esker_tensor *x, float alpha), (x), 1, (n[0], alpha))                                                         \
    CALL(softplus, (esker_tensor *x, float beta), (x), 1, (n[0], beta))                                                      \
    ESKER__XY(CALL, equal) ESKER__XY(CALL, not_equal) ESKER__XY(CALL, less) ESKER__XY(CALL, less_equal)                      \
    ESKER__XY(CALL, greater) ESKER__XY(CALL, greater_equal)                                                                  \
    ESKER__XY(CALL, logical_and) ESKER__XY(CALL, logical_or) ESKER__XY(CALL, logical_xor) ESKER__X(CALL, logical_not)        \
    CALL(where, (esker_tensor *condition, esker_tensor *a, esker_tensor *b), (condition, a, b), 3, (n[0], n[1], n[2]))       \
    CALL(convert, (esker_tensor *x, esker_dtype dtype), (x), 1, (n[0], dtype))                                               \
    CALL(matmul, (esker_tensor *a, esker_tensor *b, const esker_matmul_desc *desc), (a, b), 2, (n[0], n[1], desc))           \
    ESKER__XY(CALL, dot) ESKER__XY(CALL, outer)                                                                              \
    CALL(conv2d, (esker_tensor *x, esker_tensor *w, const esker_conv2d_desc *desc), (x, w), 2, (n[0], n[1], desc))           \
    CALL(conv_transpose2d, (esker_tensor *x, esker_tensor *w, const esker_conv_transpose2d_desc *desc), (x, w), 2,           \
         (n[0], n[1], desc))                                                                                                 \
    CALL(conv1d, (esker_tensor *x, esker_tensor *w, const esker_conv1d_desc *desc), (x, w), 2, (n[0], n[1], desc))           \
    CALL(conv_transpose1d, (esker_tensor *x, esker_tensor *w, const esker_conv_transpose1d_desc *desc), (x, w), 2,           \
         (n[0], n[1], desc))                                                                                                 \
    CALL(max_pool2d, (esker_tensor *x, const esker_pool2d_desc *desc), (x), 1, (n[0], desc))                                 \
    CALL(avg_pool2d, (esker_tensor *x, const esker_pool2d_desc *desc), (x), 1, (n[0], desc))                                 \
    CALL(adaptive_avg_pool2d, (esker_tensor *x, const int size[2]), (x), 1, (n[0], size))                                    \
    ESKER__X(CALL, global_avg_pool2d) ESKER__X(CALL, global_max_pool2d)                                                      \
    CALL(max_pool1d, (esker_tensor *x, const esker_pool1d_desc *desc), (x), 1, (n[0], desc))                                 \
    CALL(avg_pool1d, (esker_tensor *x, const esker_pool1d_desc *desc), (x), 1, (n[0], desc))                                 \
    CALL(resize2d, (esker_tensor *x, int rows, int columns, esker_resize_mode mode), (x), 1, (n[0], rows, columns, mode))    \
    ESKER__REDUCE(CALL, sum) ESKER__REDUCE(CALL, mean) ESKER__REDUCE(CALL, max) ESKER__REDUCE(CALL, min)                     \
    ESKER__REDUCE(CALL, prod) ESKER__REDUCE(CALL, logsumexp) ESKER__REDUCE(CALL, argmax) ESKER__REDUCE(CALL, argmin)         \
    CALL(variance, (esker_tensor *x, const int *axes, int n_axes, bool keepdims, int correction), (x), 1,                    \
         (n[0], axes, n_axes, keepdims, correction))                                                                         \
    CALL(norm, (esker_tensor *x, const int *axes, int n_axes, bool keepdims, esker_norm_kind kind), (x), 1,                  \
         (n[0], axes, n_axes, keepdims, kind))                                                                               \
    CALL(cumsum, (esker_tensor *x, int axis), (x), 1, (n[0], axis))                                                          \
    CALL(reshape, (esker_tensor *x, const esker_shape *shape), (x), 1, (n[0], shape))                                        \
    ESKER__X(CALL, flatten)                                                                                                  \
    CALL(expand, (esker_tensor *x, const esker_shape *shape), (x), 1, (n[0], shape))                                         \
    CALL(transpose, (esker_tensor *x, const int *order), (x), 1, (n[0], order))                                              \
    CALL(unsqueeze, (esker_tensor *x, int axis), (x), 1, (n[0], axis))                                                       \
    CALL(squeeze, (esker_tensor *x, const int *axes, int n_axes), (x), 1, (n[0], axes, n_axes))                              \
    CALL(slice, (esker_tensor *x, const esker_range *ranges, int n_ranges), (x), 1, (n[0], ranges, n_ranges))                \
    CALL(flip, (esker_tensor *x, int axis), (x), 1, (n[0], axis))                                                            \
    CALL(roll, (esker_tensor *x, int axis, int64_t shift), (x), 1, (n[0], axis, shift))                                      \
    CALL(tile, (esker_tensor *x, const int64_t *repeats, int n_repeats), (x), 1, (n[0], repeats, n_repeats))                 \
    CALL(pad, (esker_tensor *x, const int64_t *before, const int64_t *after, int n_axes, esker_pad_mode mode, float value),  \
         (x), 1, (n[0], before, after, n_axes, mode, value))                                                                 \
    CALL(tril, (esker_tensor *x, int diagonal), (x), 1, (n[0], diagonal))                                                    \
    CALL(triu, (esker_tensor *x, int diagonal), (x), 1, (n[0], diagonal))                                                    \
    CALL(take, (esker_tensor *x, esker_tensor *indices, int axis), (x, indices), 2, (n[0], n[1], axis))                      \
    CALL(embedding, (esker_tensor *table, esker_tensor *indices), (table, indices), 2, (n[0], n[1]))                         \
    CALL(gather, (esker_tensor *x, esker_tensor *indices, int axis), (x, indices), 2, (n[0], n[1], axis))                    \
    CALL(scatter_add, (esker_tensor *x, esker_tensor *indices, esker_tensor *values, int axis), (x, indices, values), 3,     \
         (n[0], n[1], n[2], axis))                                                                                           \
    CALL(one_hot, (esker_tensor *indices, int64_t classes), (indices), 1, (n[0], classes))                                   \
    CALL(softmax, (esker_tensor *x, int axis), (x), 1, (n[0], axis))                                                         \
    CALL(log_softmax, (esker_tensor *x, int axis), (x), 1, (n[0], axis))                                                     \
    CALL(attention, (esker_tensor *q, esker_tensor *k, esker_tensor *v, const esker_attention_desc *desc), (q, k, v), 3,     \
         (n[0], n[1], n[2], desc))                                                                                           \
    CALL(rotary, (esker_tensor *x, const esker_rotary_desc *desc), (x), 1, (n[0], desc))                                     \
    CALL(random_uniform_like, (esker_tensor *x, float lo, float hi), (x), 1, (n[0], lo, hi))                                 \
    CALL(random_normal_like, (esker_tensor *x, float mean, float deviation), (x), 1, (n[0], mean, deviation))                \
    CALL(random_bernoulli_like, (esker_tensor *x, float p), (x), 1, (n[0], p))                                               \
    CALL(layer_norm, (esker_tensor *x, int n_axes, esker_tensor *weight, esker_tensor *bias, float eps), (x, weight, bias),  \
         1, (n[0], n_axes, n[1], n[2], eps))                                                                                 \
    CALL(rms_norm, (esker_tensor *x, int n_axes, esker_tensor *weight, float eps), (x, weight), 1, (n[0], n_axes, n[1], eps))\
    CALL(group_norm, (esker_tensor *x, int n_groups, esker_tensor *weight, esker_tensor *bias, float eps),                   \
         (x, weight, bias), 1, (n[0], n_groups, n[1], n[2], eps))                                                            \
    CALL(instance_norm, (esker_tensor *x, esker_tensor *weight, esker_tensor *bias, float eps), (x, weight, bias), 1,        \
         (n[0], n[1], n[2], eps))                                                                                            \
    CALL(normalize, (esker_tensor *x, int axis, float eps), (x), 1, (n[0], axis, eps))                                       \
    CALL(cross_entropy, (esker_tensor *logits, esker_tensor *labels), (logits, labels), 2, (n[0], n[1]))                     \
    CALL(cross_entropy_with, (esker_tensor *logits, esker_tensor *target, esker_tensor *weights,                             \
         const esker_cross_entropy_desc *desc), (logits, target, weights), 2, (n[0], n[1], n[2], desc))                      \
    CALL(nll, (esker_tensor *log_probabilities, esker_tensor *labels, esker_tensor *weights,                                 \
         const esker_cross_entropy_desc *desc), (log_probabilities, labels, weights), 2, (n[0], n[1], n[2], desc))           \
    CALL(mse, (esker_tensor *prediction, esker_tensor *target), (prediction, target), 2, (n[0], n[1]))                       \
    ESKER__LOSS(CALL, mse_with) ESKER__LOSS(CALL, mae) ESKER__LOSS(CALL, huber) ESKER__LOSS(CALL, smooth_l1)                 \
    ESKER__LOSS(CALL, bce) ESKER__LOSS(CALL, kl_div) ESKER__LOSS(CALL, hinge) ESKER__LOSS(CALL, hinge_embedding)             \
    CALL(bce_with_logits, (esker_tensor *logits, esker_tensor *target, esker_tensor *pos_weight,                             \
         const esker_loss_desc *desc), (logits, target, pos_weight), 2, (n[0], n[1], n[2], desc))                            \
    CALL(cosine_embedding, (esker_tensor *a, esker_tensor *b, esker_tensor *target, const esker_loss_desc *desc),            \
         (a, b, target), 3, (n[0], n[1], n[2], desc))                                                                        \
    CALL(multi_margin, (esker_tensor *x, esker_tensor *labels, esker_tensor *weights,                                        \
         const esker_multi_margin_desc *desc), (x, labels, weights), 2, (n[0], n[1], n[2], desc))                            \
    CALL(count_correct, (esker_tensor *logits, esker_tensor *labels), (logits, labels), 2, (n[0], n[1]))

/* Those whose arguments are of another kind, below: no line of the table would describe them. */
#define ESKER_TENSOR_OTHER_OPERATIONS(NAME)                                                                                  \
    NAME(split_axis) NAME(concat) NAME(stack) NAME(recurrent) NAME(recurrent_cell) NAME(batch_norm) NAME(batch_norm_infer) NAME(dropout)          \
    NAME(random_uniform) NAME(random_normal) NAME(random_bernoulli) NAME(random_permutation)

#define ESKER__DECLARE(name, params, tensors, n_needed, arguments) ESKER_API esker_tensor *esker_tensor_##name params;
ESKER_TENSOR_OPERATIONS(ESKER__DECLARE)
#undef ESKER__DECLARE
/* clang-format on */

/** On failure all out[i] are NULL. */
ESKER_API esker_status esker_tensor_split_axis(esker_tensor *x, int axis, const int64_t *lengths, int n,
                                               esker_tensor **out);
ESKER_API esker_tensor *esker_tensor_concat(esker_tensor *const *inputs, int n, int axis);
ESKER_API esker_tensor *esker_tensor_stack(esker_tensor *const *inputs, int n, int axis);

/** esker_recurrent_desc, with tensors. */
typedef struct esker_tensor_recurrent_desc {
    esker_recurrent_kind kind;
    esker_tensor *weight_ih, *weight_hh, *bias_ih, *bias_hh, *h, *c;
    bool reverse, batch_first;
} esker_tensor_recurrent_desc;
ESKER_API esker_tensor *esker_tensor_recurrent(esker_tensor *x, const esker_tensor_recurrent_desc *desc);
/** As esker_recurrent_cell(); to be called before y is computed, since nothing keeps the cell state until then. */
ESKER_API esker_tensor *esker_tensor_recurrent_cell(esker_tensor *y);

/** esker_batch_norm_desc, with tensors. */
typedef struct esker_tensor_batch_norm_desc {
    esker_tensor *weight, *bias, *running_mean, *running_var;
    float eps, momentum;
} esker_tensor_batch_norm_desc;
/**
 * As esker_batch_norm(); running statistics are any float32 [c], and this call assigns to them (esker_tensor_assign()).
 * `desc` may be NULL.
 */
ESKER_API esker_tensor *esker_tensor_batch_norm(esker_tensor *x, const esker_tensor_batch_norm_desc *desc);
ESKER_API esker_tensor *esker_tensor_batch_norm_infer(esker_tensor *x, const esker_tensor_batch_norm_desc *desc);

/** As esker_dropout(), the same bits; the mask is kept for the backward pass, 1 byte an element. */
ESKER_API esker_tensor *esker_tensor_dropout(esker_tensor *x, float p);
ESKER_API esker_tensor *esker_tensor_random_uniform(esker_device *dev, const esker_shape *shape, float lo, float hi);
ESKER_API esker_tensor *esker_tensor_random_normal(esker_device *dev, const esker_shape *shape, float mean,
                                                   float deviation);
ESKER_API esker_tensor *esker_tensor_random_bernoulli(esker_device *dev, const esker_shape *shape, float p);
ESKER_API esker_tensor *esker_tensor_random_permutation(esker_device *dev, int64_t n);

/** esker_custom() on tensors. */
ESKER_API esker_tensor *esker_tensor_custom(esker_custom_op *op, esker_tensor *const *inputs, const void *params);

#ifdef __cplusplus
}
#endif
#endif
