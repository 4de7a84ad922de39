/* The list of operations. A new one is one line here: X(name) for the esker__op that its file calls esker__op_<name>. */
#include "graph/op.h"

/* clang-format off */
#define OPERATIONS(X)     \
    X(add)                \
    X(sub)                \
    X(mul)                \
    X(div)                \
    X(neg)                \
    X(exp)                \
    X(log)                \
    X(sqrt)               \
    X(relu)               \
    X(sigmoid)            \
    X(tanh)               \
    X(affine)             \
    X(div_grad)           \
    X(sqrt_grad)          \
    X(relu_grad)          \
    X(sigmoid_grad)       \
    X(tanh_grad)          \
    X(equal)              \
    X(convert)            \
    X(matmul)             \
    X(conv2d)             \
    X(conv2d_input_grad)  \
    X(conv2d_weight_grad) \
    X(max_pool2d)         \
    X(max_pool2d_grad)    \
    X(avg_pool2d)         \
    X(avg_pool2d_grad)    \
    X(sum)                \
    X(mean)               \
    X(max)                \
    X(min)                \
    X(prod)               \
    X(prod_grad)          \
    X(variance)           \
    X(logsumexp)          \
    X(norm)               \
    X(argmax)             \
    X(argmin)             \
    X(reshape)            \
    X(expand)             \
    X(transpose)          \
    X(slice)              \
    X(unslice)            \
    X(flip)               \
    X(concat)             \
    X(roll)               \
    X(tile)               \
    X(pad)                \
    X(tril)               \
    X(triu)               \
    X(softmax)            \
    X(log_softmax)        \
    X(softmax_grad)       \
    X(log_softmax_grad)   \
    X(random_bits)        \
    X(random_uniform)     \
    X(random_normal)      \
    X(random_bernoulli)   \
    X(random_permutation) \
    X(dropout)            \
    X(layer_norm)         \
    X(rms_norm)           \
    X(group_norm)         \
    X(instance_norm)      \
    X(normalize)          \
    X(norm_grad)          \
    X(norm_affine_grad)   \
    X(batch_norm)         \
    X(batch_norm_infer)   \
    X(batch_norm_grad)    \
    X(batch_norm_running) \
    X(cross_entropy)      \
    X(mse)                \
    X(count_correct)      \
    X(sgd)                \
    X(adam)               \
    X(adamw)
/* clang-format on */

#define DECLARE(name) extern const esker__op esker__op_##name;
OPERATIONS(DECLARE)
#undef DECLARE

#define ENTRY(name) &esker__op_##name,
const esker__op *const esker__ops[] = {OPERATIONS(ENTRY) NULL};
#undef ENTRY
