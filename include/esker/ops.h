/**
 * Operations. Each takes nodes and returns a node of the same graph, or NULL after recording why not (graph.h).
 *
 * "Broadcast" is NumPy's rule: shapes are aligned at the last axis, and an axis of 1 stretches. Unless said otherwise
 * inputs and results are float32, axes count from 0, and negative axes from the end. A sum of n terms differs from the
 * exact one by at most 2 sqrt(n) eps times the sum of the terms' magnitudes (checked by the tests), eps = 2^-24.
 *
 * NaN and infinity. OpenGL ES promises neither: a device need not make NaN, nor hand one on, nor know one (GLSL ES
 * 3.10, 4.7.1). Where it does (on llvmpipe the tests look at every kernel; on no other device was it tried), what
 * depends on a NaN is one, as in PyTorch: also of relu, clamp and the other activations, of minimum and maximum, of
 * reductions, pooling, norms, softmax and losses, and of all gradients that clipping by a norm scales. What it may not
 * reach: comparisons (false, but not_equal true), sign (0), argmax and argmin (where the first NaN stands), what
 * where() does not choose, what dropout drops, integers, and a count of rows that are right (a row with a NaN never
 * is). Gradients at a NaN are NaN, or pass what comes from behind (relu, clamp, minimum and maximum, the largest of a
 * window) or are 0 (abs, the ramps of hard_sigmoid). It may reach further than in exact arithmetic where it meets
 * zeros: in masked pairs of attention, a filter's in the padding, and with Winograd's filtering in the pixels of a
 * tile. Rows that are all -infinity give NaN (softmax, log_softmax, cross_entropy) or -infinity (logsumexp).
 *
 * Threads    As the graph: one at a time. Two graphs may be recorded in two threads, also with one operation of custom.h.
 */
#ifndef ESKER_OPS_H
#define ESKER_OPS_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * ---- Elementwise; operands broadcast, and so does the gradient's way back (summed over stretched axes) ----
 *
 * Error is at most a few eps of the result where nothing else is said; where the device's own exp, log, division or
 * square root is used, what GLSL ES 3.10 (4.7.1) allows it. Devices may flush results below 1.2e-38 to 0.
 */

/* Arithmetic. add, sub, mul, neg, abs, sign, square also take int32 (of one type, the result the same), which wraps and has no
 * gradient; minimum and maximum also int32 and uint8. */
ESKER_API esker_node *esker_add(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_sub(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_mul(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_div(esker_node *a, esker_node *b);
/** The smaller (larger) of two; NaN if one is. Where they are equal each gets half the gradient. esker_min() reduces axes. */
ESKER_API esker_node *esker_minimum(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_maximum(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_neg(esker_node *x);
ESKER_API esker_node *esker_abs(esker_node *x);    /* the gradient at 0 is 0 */
ESKER_API esker_node *esker_sign(esker_node *x);   /* -1, 0 or 1 (of NaN 0); the gradient is 0 */
ESKER_API esker_node *esker_square(esker_node *x); /* x x */
ESKER_API esker_node *esker_reciprocal(esker_node *x);
ESKER_API esker_node *esker_floor(esker_node *x); /* the gradients of floor, ceil and round are 0 */
ESKER_API esker_node *esker_ceil(esker_node *x);
ESKER_API esker_node *esker_round(esker_node *x); /* to the nearest whole number, ties to the even one */
/** y = scale * x + shift with constants. */
ESKER_API esker_node *esker_affine(esker_node *x, float scale, float shift);
/** min(max(x, lo), hi), lo <= hi, either may be infinite. The gradient passes where lo <= x <= hi. */
ESKER_API esker_node *esker_clamp(esker_node *x, float lo, float hi);

/* Functions. */
ESKER_API esker_node *esker_exp(esker_node *x);
ESKER_API esker_node *esker_log(esker_node *x);   /* x > 0; near 1 the error is 2^-21, not relative */
ESKER_API esker_node *esker_expm1(esker_node *x); /* exp(x) - 1, with a small relative error also near 0 */
ESKER_API esker_node *esker_log1p(esker_node *x); /* log(1 + x), x > -1, the same */
ESKER_API esker_node *esker_sqrt(esker_node *x);  /* x >= 0; the gradient at 0 is infinite */
ESKER_API esker_node *esker_rsqrt(esker_node *x); /* 1 / sqrt(x), x > 0 */
/**
 * Sine and cosine of x radians. The error is 6 eps of the result and 3e-6 eps of x, for |x| <= 1.02e5; beyond, the result
 * is in [-1.01, 1.01] and means nothing. Source: reduction by Cody and Waite, Software manual for the elementary
 * functions, 1980.
 */
ESKER_API esker_node *esker_sin(esker_node *x);
ESKER_API esker_node *esker_cos(esker_node *x);
/** The error function, to about 14 eps of the result, also near 0. */
ESKER_API esker_node *esker_erf(esker_node *x);
/**
 * a^b, finite a. 1 where b = 0 or a = 1; 0^b is 0 for b > 0 and infinite for b < 0 (the sign of 0 counts for nothing); a
 * negative a has powers for whole b, else NaN. The error is 8 eps of the result, and 0.25 eps of |b log2(a)| where that
 * is less than |b| / 2, which is as much for large b, at most 50. The gradient of a is b a^(b-1), 0 where b = 0; that of
 * b is a^b log(a), 0 where a = 0 and b >= 0, NaN where a < 0.
 */
ESKER_API esker_node *esker_pow(esker_node *a, esker_node *b);

/* Activations. */
/** max(x, 0); the gradient at 0 is 0. */
ESKER_API esker_node *esker_relu(esker_node *x);
/** x, or slope x where x < 0; the gradient at 0 is slope. */
ESKER_API esker_node *esker_leaky_relu(esker_node *x, float slope);
/**
 * The same with a slope that can be learned: one element ([] or [1]), or one for each channel, axis 1 of x ([c]). Its
 * gradient is summed over all else.
 */
ESKER_API esker_node *esker_prelu(esker_node *x, esker_node *slope);
/** x, or alpha (exp(x) - 1) where x < 0; the gradient at 0 is alpha. Usually alpha is 1. */
ESKER_API esker_node *esker_elu(esker_node *x, float alpha);
/** 1.0507009873554805 elu(x) with alpha 1.6732632423543772 (Klambauer and others 2017); the gradient at 0 is their product. */
ESKER_API esker_node *esker_selu(esker_node *x);
ESKER_API esker_node *esker_sigmoid(esker_node *x);
ESKER_API esker_node *esker_tanh(esker_node *x);
/** min(max(x / 6 + 1/2, 0), 1); the gradient at -3 and 3 is 0. */
ESKER_API esker_node *esker_hard_sigmoid(esker_node *x);
/** x sigmoid(x), also called swish. */
ESKER_API esker_node *esker_silu(esker_node *x);
/** x hard_sigmoid(x); the gradient at -3 is 0 and at 3 it is 1. */
ESKER_API esker_node *esker_hard_swish(esker_node *x);
/** x P(X <= x) for a standard normal X, x (1 + erf(x / sqrt(2))) / 2, with a small relative error also far below 0. */
ESKER_API esker_node *esker_gelu(esker_node *x);
/** Its approximation x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 (Hendrycks, Gimpel 2016). */
ESKER_API esker_node *esker_gelu_tanh(esker_node *x);
/** log(1 + exp(beta x)) / beta, beta > 0, without overflow. (The threshold that PyTorch has here would change nothing.) */
ESKER_API esker_node *esker_softplus(esker_node *x, float beta);
/** x tanh(softplus(x)), beta 1 (Misra 2019). */
ESKER_API esker_node *esker_mish(esker_node *x);

/*
 * Comparisons, of two operands of one type, any: the result is uint8, 1 where it holds, else 0. Logic is over uint8,
 * where all but 0 is true. Neither passes a gradient on: it is 0.
 */
ESKER_API esker_node *esker_equal(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_not_equal(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_less(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_less_equal(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_greater(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_greater_equal(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_logical_and(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_logical_or(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_logical_xor(esker_node *a, esker_node *b);
ESKER_API esker_node *esker_logical_not(esker_node *x);
/**
 * a where condition (uint8) is not 0, else b, which have one type, any. What is not chosen does no harm, NaN included; its
 * gradient is 0 (but an operation before it may make NaN of that 0, as in where(x > 0, log(x), 0): clamp x first).
 */
ESKER_API esker_node *esker_where(esker_node *condition, esker_node *a, esker_node *b);

/**
 * The same values as another type. Floats to integers round toward zero, and all is clamped to the type's range. float16
 * and int8 are types of storage: this, where, all that only moves elements (the shape operations, esker_take() and
 * esker_gather()) and inputs and outputs of plans take them, everything else says to convert first. To float16, values clamp to +-65504 (NaN stays NaN) and round with an error below one unit in the last place (2^-10 of
 * the value), the direction being the device's; halves below 2^-14 may become 0, in either direction. Between floats the
 * gradient passes, and is float32; else it is 0.
 */
ESKER_API esker_node *esker_convert(esker_node *x, esker_dtype dtype);

/* ---- Contractions ---- */
typedef struct esker_matmul_desc {
    bool transpose_a, transpose_b; /* read the last two axes the other way round */
} esker_matmul_desc;
/**
 * c [.., m, n] = op(a) op(b), a [.., m, k] (or [.., k, m] transposed), b [.., k, n] (or [.., n, k] transposed): the last
 * two axes are matrices, and those in front, the batch, broadcast. `desc` may be NULL. As in NumPy, a vector a [k] is a
 * row, and a vector b [k] a column, whose axis the result does not have: [k] with [k] gives []. A vector cannot be
 * transposed.
 */
ESKER_API esker_node *esker_matmul(esker_node *a, esker_node *b, const esker_matmul_desc *desc);
/** sum_i a[i] b[i], []: a and b [n]. */
ESKER_API esker_node *esker_dot(esker_node *a, esker_node *b);
/** c[i][j] = a[i] b[j], [m, n]: a [m], b [n]. */
ESKER_API esker_node *esker_outer(esker_node *a, esker_node *b);

typedef struct esker_conv2d_desc {
    int stride[2];   /* rows, columns; 0 means 1 */
    int padding[2];  /* zeros added on both sides */
    int dilation[2]; /* from one tap of the filters to the next; 0 means 1 */
    /* Further zeros behind the last row and column alone; below 0: so many fewer, and where padding + more_padding is below 0 the
       last rows and columns of x are left out. */
    int more_padding[2];
    int groups; /* of channels that see only each other; 0 means 1 */
    bool same;  /* pad so that y has the size of x: d (k - 1) zeros, half of them, rounded down, in front. Stride 1 only */
} esker_conv2d_desc;
/**
 * y [n, f, oh, ow] from x [n, c, h, w] and filters w [f, c / groups, kh, kw]; oh = (h + 2 padding + more_padding -
 * dilation (kh - 1) - 1) / stride + 1, rounded down. Cross-correlation, as in PyTorch: filters f / groups i to f / groups
 * (i + 1) - 1 see channels c / groups i to c / groups (i + 1) - 1 of x. With c groups it is depthwise. `desc` may be
 * NULL.
 */
ESKER_API esker_node *esker_conv2d(esker_node *x, esker_node *w, const esker_conv2d_desc *desc);

typedef struct esker_conv_transpose2d_desc {
    int stride[2];         /* rows, columns; 0 means 1 */
    int padding[2];        /* of the convolution that this transposes: so many fewer rows and columns on both sides */
    int output_padding[2]; /* further rows and columns behind the last alone; below the larger of stride and dilation */
    int dilation[2];       /* 0 means 1 */
    int groups;            /* 0 means 1 */
} esker_conv_transpose2d_desc;
/**
 * The gradient of conv2d as an operation, also called deconvolution: y [n, f, oh, ow] from x [n, c, h, w] and w [c, f /
 * groups, kh, kw]; oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. As in PyTorch. `desc` may be
 * NULL.
 */
ESKER_API esker_node *esker_conv_transpose2d(esker_node *x, esker_node *w, const esker_conv_transpose2d_desc *desc);

/* The same along one axis, x [n, c, length] and w [f, c / groups, k] or, transposed, [c, f / groups, k]. `desc` may be NULL. */
typedef struct esker_conv1d_desc {
    int stride, padding, dilation, more_padding, groups;
    bool same;
} esker_conv1d_desc;
ESKER_API esker_node *esker_conv1d(esker_node *x, esker_node *w, const esker_conv1d_desc *desc);
typedef struct esker_conv_transpose1d_desc {
    int stride, padding, output_padding, dilation, groups;
} esker_conv_transpose1d_desc;
ESKER_API esker_node *esker_conv_transpose1d(esker_node *x, esker_node *w, const esker_conv_transpose1d_desc *desc);

/* ---- Pooling over [n, c, h, w] ---- */
typedef struct esker_pool2d_desc {
    int window[2];        /* rows, columns; >= 1 */
    int stride[2];        /* 0: the window */
    int padding[2];       /* at most half the window; max ignores it, average counts its zeros */
    bool exclude_padding; /* average: divide by the pixels of the window that lie inside x, not by all */
} esker_pool2d_desc;
/** The largest of each window; a tie's gradient goes to the first, that of a NaN to the last NaN. */
ESKER_API esker_node *esker_max_pool2d(esker_node *x, const esker_pool2d_desc *desc);
ESKER_API esker_node *esker_avg_pool2d(esker_node *x, const esker_pool2d_desc *desc);
/**
 * The mean over windows that divide x into size[0] rows and size[1] columns (0: as many as x has), more or fewer than x
 * has: row u is the mean of x's rows floor(u h / size) to ceil((u + 1) h / size) - 1, which may overlap. As in PyTorch.
 */
ESKER_API esker_node *esker_adaptive_avg_pool2d(esker_node *x, const int size[2]);
/** [n, c, 1, 1]: the mean (the largest value, whose gradient is shared equally between equal ones) of each image and channel. */
ESKER_API esker_node *esker_global_avg_pool2d(esker_node *x);
ESKER_API esker_node *esker_global_max_pool2d(esker_node *x);

/* The same along one axis, x [n, c, length]. */
typedef struct esker_pool1d_desc {
    int window, stride, padding;
    bool exclude_padding;
} esker_pool1d_desc;
ESKER_API esker_node *esker_max_pool1d(esker_node *x, const esker_pool1d_desc *desc);
ESKER_API esker_node *esker_avg_pool1d(esker_node *x, const esker_pool1d_desc *desc);

typedef enum esker_resize_mode { ESKER_RESIZE_NEAREST = 0, ESKER_RESIZE_BILINEAR } esker_resize_mode;
/**
 * x [n, c, h, w] to [n, c, rows, columns], as PyTorch's interpolate with align_corners = false: pixel o takes x at max((o
 * + 0.5) h / rows - 0.5, 0), nearest at floor(o h / rows) in exact integers. No filter against aliasing. At most 32767
 * rows and columns (ESKER_ERR_LIMIT).
 */
ESKER_API esker_node *esker_resize2d(esker_node *x, int rows, int columns, esker_resize_mode mode);

/* ---- Reductions over `n_axes` axes (0: all), kept with length 1 if `keepdims` ---- */
ESKER_API esker_node *esker_sum(esker_node *x, const int *axes, int n_axes, bool keepdims);
ESKER_API esker_node *esker_mean(esker_node *x, const int *axes, int n_axes, bool keepdims);
/** The gradient is shared equally between equal maxima, and NaN where the maximum is. */
ESKER_API esker_node *esker_max(esker_node *x, const int *axes, int n_axes, bool keepdims);

/** The gradient is shared equally between equal minima, and NaN where the minimum is. */
ESKER_API esker_node *esker_min(esker_node *x, const int *axes, int n_axes, bool keepdims);
/**
 * Product. The gradient is the product of the other terms, also where terms are 0; it has no gradient of its own. The
 * product of the terms that are not 0 must be within float32's range.
 */
ESKER_API esker_node *esker_prod(esker_node *x, const int *axes, int n_axes, bool keepdims);
/**
 * sum (x - mean)^2 / (n - correction) over the n terms; correction 0 (population) or 1 (sample, Bessel's), below n. The
 * mean is computed first, so that a large mean costs no digits.
 */
ESKER_API esker_node *esker_variance(esker_node *x, const int *axes, int n_axes, bool keepdims, int correction);
/** log sum exp(x) without overflow; -infinity where all terms are that (the gradient there is NaN). The gradient is softmax. */
ESKER_API esker_node *esker_logsumexp(esker_node *x, const int *axes, int n_axes, bool keepdims);
typedef enum esker_norm_kind {
    ESKER_NORM_L2 = 0, /* sqrt(sum x^2), the squares within float32's range; the gradient at 0 is 0 */
    ESKER_NORM_L1,     /* sum |x|; the gradient at 0 is 0 */
    ESKER_NORM_INF     /* max |x|; the gradient is shared equally between equal maxima, and 0 at 0 */
} esker_norm_kind;
ESKER_API esker_node *esker_norm(esker_node *x, const int *axes, int n_axes, bool keepdims, esker_norm_kind kind);
/**
 * Where the largest (smallest) element stands, the first of equals: int32, its number among the terms, which count
 * row-major over the reduced axes in their order in x; of one axis that is the index along it. A NaN counts as the largest,
 * and as the smallest. No gradient.
 */
ESKER_API esker_node *esker_argmax(esker_node *x, const int *axes, int n_axes, bool keepdims);
ESKER_API esker_node *esker_argmin(esker_node *x, const int *axes, int n_axes, bool keepdims);
/** Running sum along one axis, which stays: y[j] = x[0] + ... + x[j]. The gradient is the same sum from the end. */
ESKER_API esker_node *esker_cumsum(esker_node *x, int axis);

/* ---- Shape ---- */
/** A view. A dimension of 0 keeps that axis of x; one -1 takes what is left. */
ESKER_API esker_node *esker_reshape(esker_node *x, const esker_shape *shape);
/** [n, everything else]: reshape to two axes, keeping the first. */
ESKER_API esker_node *esker_flatten(esker_node *x);
/**
 * Stretch axes of length 1, and add axes in front, until the shape is `shape`: the copy that broadcasting stands for. A
 * dimension of 0 keeps x's axis, which lines up with it from the end.
 */
ESKER_API esker_node *esker_expand(esker_node *x, const esker_shape *shape);
/** Axis i of the result is axis order[i] of x; NULL reverses the axes. */
ESKER_API esker_node *esker_transpose(esker_node *x, const int *order);

/** A view with an axis of length 1 before axis `axis` of x; negative counts from the end, -1 appends it. */
ESKER_API esker_node *esker_unsqueeze(esker_node *x, int axis);
/** A view without the named axes, each of length 1 (ESKER_ERR_INVALID otherwise); n_axes 0: without all that are. */
ESKER_API esker_node *esker_squeeze(esker_node *x, const int *axes, int n_axes);

/*
 * The following copy elements of any type. Their gradients are exact: what was copied several times is added up, what was
 * not copied gets 0.
 */
/** start, start + step, ... below stop. Negative start and stop count from the end, both are then moved into 0 .. length. */
typedef struct esker_range {
    int64_t start;
    int64_t stop; /* 0: to the end */
    int64_t step; /* 0: 1; never negative (esker_flip) */
} esker_range;
/**
 * Range i of axis i; axes past n_ranges stay whole. The batch of a model is whole with {0}. An empty result is refused.
 * What lies in one piece, and begins where the device's storage bindings may (at least every 256 bytes), is a view.
 */
ESKER_API esker_node *esker_slice(esker_node *x, const esker_range *ranges, int n_ranges);
/**
 * `n` slices that make up axis `axis`: `lengths` of them, or NULL for equal ones. On failure all out[i] are NULL, and the
 * graph has the error too.
 */
ESKER_API esker_status esker_split_axis(esker_node *x, int axis, const int64_t *lengths, int n, esker_node **out);
/** The axis read backwards. */
ESKER_API esker_node *esker_flip(esker_node *x, int axis);
/** Inputs beside each other along `axis`: one type, and one shape but for that axis. NULL without inputs. */
ESKER_API esker_node *esker_concat(esker_node *const *inputs, int n, int axis);
/** Inputs of one shape beside each other along a new axis (esker_unsqueeze); at most 1024. */
ESKER_API esker_node *esker_stack(esker_node *const *inputs, int n, int axis);
/** Element i goes to (i + shift) mod length of the axis; shift may be negative. */
ESKER_API esker_node *esker_roll(esker_node *x, int axis, int64_t shift);
/** x repeated[i] times along axis i; the repeats count from the last axis back, as broadcasting does, and may add axes in front. */
ESKER_API esker_node *esker_tile(esker_node *x, const int64_t *repeats, int n);
typedef enum esker_pad_mode {
    ESKER_PAD_CONSTANT = 0, /* `value`, a whole number in range for integers */
    ESKER_PAD_REFLECT,      /* mirrored without repeating the edge, c b | a b c | b a: less than the axis's length */
    ESKER_PAD_EDGE          /* the edge repeated, a a | a b c | c c */
} esker_pad_mode;
/** before[i] and after[i] elements added to axis i for the first n_axes axes (NULL: none); the other axes stay. */
ESKER_API esker_node *esker_pad(esker_node *x, const int64_t *before, const int64_t *after, int n_axes, esker_pad_mode mode,
                                float value);
/** The last two axes as rows and columns: 0 above (tril) or below (triu) the diagonal column - row = `diagonal`. */
ESKER_API esker_node *esker_tril(esker_node *x, int diagonal);
ESKER_API esker_node *esker_triu(esker_node *x, int diagonal);

/*
 * ---- Elements by index; indices are int32 ----
 *
 * Nothing outside a tensor is read or written: an index outside 0 .. n-1 of the axis (negative ones do not count from the
 * end) reads as NaN, for integers as 0, and adds nothing; its gradient is 0, so that parameters survive it.
 */
/** x[..., indices, ...]: axis `axis` of x is replaced by the axes of `indices`, whole slices at once. x of any type. */
ESKER_API esker_node *esker_take(esker_node *x, esker_node *indices, int axis);
/** Rows of table [rows, columns] -> [indices..., columns]. The gradient adds in the order of the indices, the same bits every time. */
ESKER_API esker_node *esker_embedding(esker_node *table, esker_node *indices);
/** PyTorch's gather: y has the shape of `indices`, which is x's but for `axis`; y[i][j] = x[indices[i][j]][j] for axis 0. */
ESKER_API esker_node *esker_gather(esker_node *x, esker_node *indices, int axis);
/**
 * x with values[i][j] added to element [indices[i][j]][j] (axis 0), in the order along the axis; `values` and `indices`
 * have one shape, x's but for `axis`. One invocation works through each line along the axis, so few long lines take long.
 */
ESKER_API esker_node *esker_scatter_add(esker_node *x, esker_node *indices, esker_node *values, int axis);
/** float32 [indices..., classes]: 1 at the index, else 0; only zeros for an index out of range. No gradient. */
ESKER_API esker_node *esker_one_hot(esker_node *indices, int64_t classes);

/* ---- Softmax along `axis`; the maximum is subtracted first ---- */
ESKER_API esker_node *esker_softmax(esker_node *x, int axis);
ESKER_API esker_node *esker_log_softmax(esker_node *x, int axis);

/* ---- Attention ---- */

typedef struct esker_attention_desc {
    bool causal; /* query i sees the keys 0 to i alone, also where there are more or fewer keys than queries */
    float scale; /* of the products; finite; 0: 1 / sqrt(d) */
} esker_attention_desc;

/**
 * Scaled dot-product attention: softmax(scale q k^T) v for each sample and head (Vaswani and others 2017). q [batch,
 * heads, tq, d], k and v [batch, heads, tk, d], the result as q. The keys stream by, so that no [tq, tk] matrix is stored
 * (Dao and others 2022); the gradients compute the probabilities again. `desc` may be NULL. float32; d to 256, tq and tk
 * to 32768 (ESKER_ERR_LIMIT).
 */
ESKER_API esker_node *esker_attention(esker_node *q, esker_node *k, esker_node *v, const esker_attention_desc *desc);

typedef struct esker_rotary_desc {
    float base;     /* > 0; 0: 10000 */
    int64_t offset; /* position of the first row; >= 0 */
    bool halves;    /* pairs are (i, i + d / 2), as in GPT-NeoX; else (2 i, 2 i + 1), as in the paper */
} esker_rotary_desc;

/**
 * Rotary position embedding (Su and others 2021): pair i of row p of x [..., positions, d] turned by p base^(-2 i / d)
 * radians; d even. For q and k before attention. `desc` may be NULL. float32. Angles are kept in whole turns and 2^-32 of
 * one, so position p is off by at most 7.4e-10 p radians; cos and sin are exact to 1.2e-7. Positions to 1048576
 * (ESKER_ERR_LIMIT).
 */
ESKER_API esker_node *esker_rotary(esker_node *x, const esker_rotary_desc *desc);

/* ---- Recurrent layers ---- */

typedef enum esker_recurrent_kind {
    ESKER_RECURRENT_RNN_TANH = 0, /* h' = tanh(W_ih x + b_ih + W_hh h + b_hh) */
    ESKER_RECURRENT_RNN_RELU,     /* the same with relu */
    ESKER_RECURRENT_LSTM,         /* gates i, f, g, o: c' = f c + i g, h' = o tanh(c'); g by tanh, the others by sigmoid */
    ESKER_RECURRENT_GRU           /* gates r, z, n: n = tanh(x_n + r (W_n h + b_n)), h' = (1 - z) n + z h */
} esker_recurrent_kind;

/** Weights as PyTorch has them: the gates one below the other, 1, 1, 4 or 3 of them. */
typedef struct esker_recurrent_desc {
    esker_recurrent_kind kind;
    esker_node *weight_ih; /* [gates * hidden, features] */
    esker_node *weight_hh; /* [gates * hidden, hidden] */
    esker_node *bias_ih;   /* [gates * hidden]; NULL: none */
    esker_node *bias_hh;
    esker_node *h;    /* [batch, hidden], or [1, hidden] for all samples: the state before the first step; NULL: zeros */
    esker_node *c;    /* the same of lstm's cell; with h or not at all */
    bool reverse;     /* from the last step of the sequence to the first */
    bool batch_first; /* x is [batch, steps, features] */
} esker_recurrent_desc;

/**
 * The hidden states [steps, batch, hidden] (or [batch, steps, hidden]) of one recurrent layer in one direction over x
 * [steps, batch, features]. Gradients go to everything, back through all steps; they keep 1 (rnn), 5 (gru) or 6 (lstm)
 * floats for each state. The last hidden state is a slice of the result; esker_recurrent_cell() has lstm's last cell state. float32; at most 4096 steps (ESKER_ERR_LIMIT),
 * each of which is one dispatch, and one more for the gradients. esker_layer_lstm() and its like (model.h) have layers,
 * directions and parameters.
 */
ESKER_API esker_node *esker_recurrent(esker_node *x, const esker_recurrent_desc *desc);
/** The cell state [batch, hidden] behind the last step of the lstm whose hidden states `y` are. Its gradient flows back, too. */
ESKER_API esker_node *esker_recurrent_cell(esker_node *y);

/*
 * ---- Random numbers: Philox4x32-10 (Salmon and others 2011), without state ----
 *
 * Element i is made of word i % 4 of Philox under the plan's seed (esker_plan_desc), for the counter (i / 4, draw, low
 * half of the step, high half), where `draw` numbers the random operations of a graph in the order of recording, from 0.
 * So every step draws anew, every operation draws its own, and the same seed, step and program give the same numbers on
 * every device (normal: but for rounding). No gradients but dropout's.
 *
 * With `shape` the size is fixed, also in a model, where a sample's numbers would be shared by the whole batch; `..._like`
 * takes the size from x, batch included, and not its values: no gradient flows to x.
 */
/** Float32 in [lo, hi), lo + (hi - lo) u with u a multiple of 2^-24; lo if they are equal. Finite, lo <= hi. */
ESKER_API esker_node *esker_random_uniform(esker_graph *graph, const esker_shape *shape, float lo, float hi);
ESKER_API esker_node *esker_random_uniform_like(esker_node *x, float lo, float hi);
/** Float32, normally distributed (Box and Muller's method; at most 5.77 deviations from the mean). deviation >= 0. */
ESKER_API esker_node *esker_random_normal(esker_graph *graph, const esker_shape *shape, float mean, float deviation);
ESKER_API esker_node *esker_random_normal_like(esker_node *x, float mean, float deviation);
/** Float32, 1 with probability p (to 2^-24), else 0. 0 <= p <= 1. */
ESKER_API esker_node *esker_random_bernoulli(esker_graph *graph, const esker_shape *shape, float p);
ESKER_API esker_node *esker_random_bernoulli_like(esker_node *x, float p);
/**
 * Int32 [n]: the numbers 0 to n - 1 in random order, sorted by random words (equal words, one pair in 2^32, in ascending
 * order). 1 <= n, and below 2^23 where storage blocks are 128 MiB (ESKER_ERR_LIMIT when a plan is compiled): it needs 16
 * to 32 bytes of scratch for each number.
 */
ESKER_API esker_node *esker_random_permutation(esker_graph *graph, int64_t n);
/**
 * 0 with probability p, else x / (1 - p): "inverted" dropout (Srivastava and others 2014), whose mean is x. 0 <= p <= 1;
 * 0 is x itself, 1 is zeros. A dropped NaN is 0 too. The gradient is that of the same draw: the mask is drawn again, not
 * stored. In a model it acts in ESKER_MODE_TRAIN and is x itself in ESKER_MODE_INFER.
 */
ESKER_API esker_node *esker_dropout(esker_node *x, float p);

/*
 * ---- Normalisation: y = (x - mean) / sqrt(variance + eps) * weight + bias ----
 *
 * Mean and variance are those of each group of elements that the operation names; the variance is the biased one (divided
 * by n), from the distances to the mean. `weight` and `bias` may be NULL: 1 and 0. eps 0 is the usual one, named at each.
 * Squares have to stay in float32's range: |x - mean| below 1e19.
 */
/** Over the last n_axes axes together (Ba, Kiros, Hinton 2016); weight and bias have the shape of those axes. eps: 1e-5. */
ESKER_API esker_node *esker_layer_norm(esker_node *x, int n_axes, esker_node *weight, esker_node *bias, float eps);
/** x / sqrt(mean(x^2) + eps) * weight over the last n_axes axes (Zhang, Sennrich 2019). eps: 2^-23. */
ESKER_API esker_node *esker_rms_norm(esker_node *x, int n_axes, esker_node *weight, float eps);
/**
 * x [n, c, ...]: over c / n_groups neighbouring channels and all that follows, for each sample (Wu, He 2018). n_groups
 * divides c; weight and bias [c]. eps: 1e-5.
 */
ESKER_API esker_node *esker_group_norm(esker_node *x, int n_groups, esker_node *weight, esker_node *bias, float eps);
/** x [n, c, space...]: over space, of more than one element, for each channel of each sample; weight and bias [c]. eps: 1e-5. */
ESKER_API esker_node *esker_instance_norm(esker_node *x, esker_node *weight, esker_node *bias, float eps);
/** x / max(sqrt(sum x^2), eps), the sum along `axis`. eps: 1e-12. Where eps is the larger the gradient is that of x / eps. */
ESKER_API esker_node *esker_normalize(esker_node *x, int axis, float eps);

typedef struct esker_batch_norm_desc {
    esker_node *weight, *bias;              /* [c] */
    esker_node *running_mean, *running_var; /* [c], both or neither. Frozen parameters, which usually start at 0 and 1 */
    float eps;                              /* 0: 1e-5 */
    float momentum;                         /* in (0, 1]; 0: 0.1 */
} esker_batch_norm_desc;
/**
 * x [n, c, ...]: over samples and space, for each channel (Ioffe, Szegedy 2015). Each run of a plan also moves the
 * running statistics, once, after everything that reads them: r = (1 - momentum) r + momentum b, where b is the batch's
 * mean, and its unbiased variance (divided by one less). In a graph that esker_model_instantiate() makes for inference
 * this operation is esker_batch_norm_infer(), if there are running statistics, and nothing is moved. `desc` may be NULL.
 * Errors     Also, when a plan is compiled: one value for a channel (n and space all 1), which has no variance.
 */
ESKER_API esker_node *esker_batch_norm(esker_node *x, const esker_batch_norm_desc *desc);
/** The same with the running mean and variance in place of the batch's; any float32 [c] will do, and no gradient goes to them. */
ESKER_API esker_node *esker_batch_norm_infer(esker_node *x, const esker_batch_norm_desc *desc);

/* ---- Losses and metrics ---- */

/** What becomes of the terms: one for each row, or for each element of a prediction. */
typedef enum esker_reduction {
    ESKER_REDUCTION_MEAN = 0,  /* one element */
    ESKER_REDUCTION_SUM,       /* one element */
    ESKER_REDUCTION_NONE,      /* the terms themselves */
    ESKER_REDUCTION_BATCH_MEAN /* their sum divided by the length of the first axis: kl_div's mathematical mean */
} esker_reduction;

/**
 * Mean over rows of -log softmax(logits)[label]: logits [n, classes], labels int32 [n]. Rows with label -1 count for
 * nothing; if all are -1 the loss is 0. A label outside -1 .. classes-1 makes the loss NaN rather than reading out of
 * bounds; its row's gradient is 0, so that parameters survive it. At most 1048576 classes (ESKER_ERR_LIMIT).
 */
ESKER_API esker_node *esker_cross_entropy(esker_node *logits, esker_node *labels);

typedef struct esker_cross_entropy_desc {
    esker_reduction reduction;
    float label_smoothing; /* s in 0 .. 1: the target becomes (1 - s) target + s / classes */
    bool use_ignore_index;
    int32_t ignore_index; /* with use_ignore_index: rows with this label count for nothing, in place of -1 */
} esker_cross_entropy_desc;
/**
 * Cross-entropy in every form: logits [n, classes]; target labels int32 [n], or probabilities float32 [n, classes];
 * `weights` float32 [classes], or NULL for 1; `desc` may be NULL. A row's term is -sum_c weights[c] target[c] log
 * softmax(logits)[c], with a label standing for a one at its class. As in PyTorch the mean over labelled rows divides by
 * the sum of the labels' weights, that over probabilities by n; rows that count for nothing give 0, and so does a mean
 * where none counts. A label outside the classes makes its row's term and every sum NaN. Gradients flow to logits and
 * probabilities, not to weights. The plain form is esker_cross_entropy; the others are made of several operations.
 */
ESKER_API esker_node *esker_cross_entropy_with(esker_node *logits, esker_node *target, esker_node *weights,
                                               const esker_cross_entropy_desc *desc);
/**
 * Negative log-likelihood: terms -weights[label] log_probabilities[row][label], for log_probabilities float32 [n,
 * classes] and labels int32 [n]; the rest as esker_cross_entropy_with(), without smoothing.
 */
ESKER_API esker_node *esker_nll(esker_node *log_probabilities, esker_node *labels, esker_node *weights,
                                const esker_cross_entropy_desc *desc);

/*
 * Losses of a prediction p and a target t of equal shapes, float32, one term for each element. `desc` may be NULL. The
 * slope at a kink is PyTorch's: 0, or that of the flat side. Only mse, mae, huber and smooth_l1 have a gradient for the
 * target too.
 */
typedef struct esker_loss_desc {
    esker_reduction reduction;
    float delta;     /* huber, and smooth_l1 where PyTorch calls it beta; above 0; 0: 1 */
    float margin;    /* hinge, hinge_embedding (0: 1), cosine_embedding (0: 0) */
    bool log_target; /* kl_div: the target is given as logarithms too */
} esker_loss_desc;
/** Mean of (p - t)^2 over all elements. */
ESKER_API esker_node *esker_mse(esker_node *prediction, esker_node *target);
ESKER_API esker_node *esker_mse_with(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/** |p - t|, also known as L1. */
ESKER_API esker_node *esker_mae(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/** d^2 / 2 where |d| = |p - t| <= delta, else delta (|d| - delta / 2). */
ESKER_API esker_node *esker_huber(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/** d^2 / (2 delta) where |d| < delta, else |d| - delta / 2: huber divided by delta. */
ESKER_API esker_node *esker_smooth_l1(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/**
 * Binary cross-entropy -(t log p + (1 - t) log(1 - p)) of probabilities; p outside 0 .. 1 counts as 0 or 1. Logarithms
 * stop at -100, and the gradient's denominator p (1 - p) at 1e-12, as in PyTorch. Prefer esker_bce_with_logits.
 */
ESKER_API esker_node *esker_bce(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/**
 * The same with p = sigmoid(logits), without overflow or cancellation. `pos_weight` (NULL: 1; float32, broadcasts to the
 * logits) multiplies the terms t log p; with it the loss is made of several operations, and has gradients for target and
 * weight too.
 */
ESKER_API esker_node *esker_bce_with_logits(esker_node *logits, esker_node *target, esker_node *pos_weight,
                                            const esker_loss_desc *desc);
/**
 * Kullback and Leibler's divergence t (log t - q) for a prediction q given as logarithms of probabilities, 0 where t <=
 * 0; with log_target exp(t) (t - q). The mean divides by all elements; ESKER_REDUCTION_BATCH_MEAN is that of
 * distributions in rows.
 */
ESKER_API esker_node *esker_kl_div(esker_node *log_prediction, esker_node *target, const esker_loss_desc *desc);
/** The binary hinge of support vector machines, max(0, margin - t p) for targets -1 and 1. */
ESKER_API esker_node *esker_hinge(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/** PyTorch's hinge_embedding of a distance p: p where t is 1, max(0, margin - p) where t is -1. */
ESKER_API esker_node *esker_hinge_embedding(esker_node *prediction, esker_node *target, const esker_loss_desc *desc);
/**
 * With the cosine of a and b along their last axis, a and b [..., length] and target [...]: 1 - cosine where the target
 * is 1, max(0, cosine - margin) where it is -1. 1e-12 is added to the squared lengths. Made of several operations;
 * gradients for a and b.
 */
ESKER_API esker_node *esker_cosine_embedding(esker_node *a, esker_node *b, esker_node *target, const esker_loss_desc *desc);

typedef struct esker_multi_margin_desc {
    esker_reduction reduction;
    float margin; /* 0: 1 */
    int power;    /* 1 or 2; 0: 1 */
} esker_multi_margin_desc;
/**
 * The hinge of several classes (Crammer, Singer 2001, as PyTorch has it): a row's term is weights[label] times the mean over
 * the classes, the label's own counting as 0, of max(0, margin - x[label] + x[c])^power. x [n, classes], labels int32 [n],
 * `weights` float32 [classes], or NULL for 1; `desc` may be NULL. A label outside the classes makes its row's term and every
 * sum NaN. Made of several operations; the gradient is for x.
 */
ESKER_API esker_node *esker_multi_margin(esker_node *x, esker_node *labels, esker_node *weights,
                                         const esker_multi_margin_desc *desc);
/** How many rows have their largest logit (the first of equals) at the label; rows with label -1 or a NaN never do. float32, no gradient. */
ESKER_API esker_node *esker_count_correct(esker_node *logits, esker_node *labels);

#ifdef __cplusplus
}
#endif
#endif
