/* The twins of ops.h. Most are a line of the table in eager.h; the others have arguments of a kind of their own. */
#include "eager/eager.h"

#include <string.h>

#include "base/fail.h"
#include "ops/ops.h"

/* ---- The table ---- */

#define OPEN(...) __VA_ARGS__
#define CALL(name, params, tensors, n_needed, arguments)                          \
    esker_tensor *esker_tensor_##name params                                      \
    {                                                                             \
        esker_tensor *const given[] = {OPEN tensors};                             \
        enum { N = sizeof given / sizeof *given };                                \
        esker_node *n[N];                                                         \
        esker__call call;                                                         \
        if (!esker__call_begin(&call, #name, given, N, n_needed, n)) return NULL; \
        return esker__call_end(&call, esker_##name arguments);                    \
    }
ESKER_TENSOR_OPERATIONS(CALL)

/* ---- Lists of tensors ---- */

#define FEW 16

typedef esker_node *(*combine)(esker_node *const *nodes, int n, const void *args);

static esker_tensor *call_on_list(const char *name, esker_tensor *const *given, int n, combine fn, const void *args)
{
    esker__call call;
    esker_node *few[FEW], **nodes = few;
    esker_tensor *out = NULL;
    if (n < 1 || !given) {
        esker__fail_message("%s: %d tensors", name, n);
        return NULL;
    }
    if (n > FEW) nodes = esker__malloc((size_t)n * sizeof *nodes);
    if (!nodes) {
        esker__fail_memory((size_t)n * sizeof *nodes, name);
        return NULL;
    }
    if (esker__call_begin(&call, name, given, n, n, nodes)) out = esker__call_end(&call, fn(nodes, n, args));
    if (nodes != few) esker__free(nodes);
    return out;
}

static esker_node *concat(esker_node *const *nodes, int n, const void *args)
{
    return esker_concat(nodes, n, *(const int *)args);
}

static esker_node *stack(esker_node *const *nodes, int n, const void *args)
{
    return esker_stack(nodes, n, *(const int *)args);
}

esker_tensor *esker_tensor_concat(esker_tensor *const *inputs, int n, int axis)
{
    return call_on_list("concat", inputs, n, concat, &axis);
}

esker_tensor *esker_tensor_stack(esker_tensor *const *inputs, int n, int axis)
{
    return call_on_list("stack", inputs, n, stack, &axis);
}

typedef struct custom_args {
    esker_custom_op *op;
    const void *params;
} custom_args;

static esker_node *custom(esker_node *const *nodes, int n, const void *args)
{
    const custom_args *a = args;
    (void)n;
    return esker_custom(a->op, nodes, a->params);
}

esker_tensor *esker_tensor_custom(esker_custom_op *op, esker_tensor *const *inputs, const void *params)
{
    if (!op) {
        esker__fail_message("custom operation: op is NULL");
        return NULL;
    }
    return call_on_list("custom operation", inputs, esker__custom_op_inputs(op), custom, &(custom_args){op, params});
}

esker_status esker_tensor_split_axis(esker_tensor *x, int axis, const int64_t *lengths, int n, esker_tensor **out)
{
    esker__call call;
    esker_node *node;
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (n < 1) return esker__fail(ESKER_ERR_INVALID, "split: into %d parts", n);
    if (!esker__call_begin(&call, "split", &x, 1, 1, &node)) return ESKER_ERR_INVALID;
    esker_node **parts = esker__malloc((size_t)n * sizeof *parts);
    esker_status st = parts ? esker_split_axis(node, axis, lengths, n, parts)
                            : esker__fail_memory((size_t)n * sizeof *parts, "split");
    if (st == ESKER_OK)
        st = esker__call_end_all(&call, parts, n, out);
    else
        esker__call_undo(&call);
    esker__free(parts);
    return st;
}

/* ---- Descriptions that hold tensors ---- */

esker_tensor *esker_tensor_recurrent(esker_tensor *x, const esker_tensor_recurrent_desc *d)
{
    esker__call call;
    esker_node *n[7];
    if (!d) {
        esker__fail_message("recurrent: no description was given");
        return NULL;
    }
    esker_tensor *const given[] = {x, d->weight_ih, d->weight_hh, d->bias_ih, d->bias_hh, d->h, d->c};
    if (!esker__call_begin(&call, "recurrent", given, 7, 3, n)) return NULL;
    return esker__call_end(&call, esker_recurrent(n[0], &(esker_recurrent_desc){.kind = d->kind,
                                                                                .weight_ih = n[1],
                                                                                .weight_hh = n[2],
                                                                                .bias_ih = n[3],
                                                                                .bias_hh = n[4],
                                                                                .h = n[5],
                                                                                .c = n[6],
                                                                                .reverse = d->reverse,
                                                                                .batch_first = d->batch_first}));
}

esker_tensor *esker_tensor_recurrent_cell(esker_tensor *y)
{
    esker__call call;
    esker_node *n;
    if (y && esker__tensor_has_memory(y)) {
        esker__fail_message("recurrent_cell: y is computed already; call this behind esker_tensor_recurrent() at once");
        return NULL;
    }
    if (!esker__call_begin(&call, "recurrent_cell", &y, 1, 1, &n)) return NULL;
    return esker__call_end(&call, esker_recurrent_cell(n));
}

static esker_tensor *batch_norm(esker_tensor *x, const esker_tensor_batch_norm_desc *d, bool infer)
{
    esker__call call;
    esker_node *n[5];
    esker_tensor *const given[] = {x, d->weight, d->bias, infer ? d->running_mean : NULL, infer ? d->running_var : NULL};
    if (!esker__call_begin(&call, infer ? "batch_norm_infer" : "batch_norm", given, 5, 1, n)) return NULL;
    esker_batch_norm_desc desc = {.weight = n[1], .bias = n[2], .running_mean = n[3], .running_var = n[4], .eps = d->eps};
    if (!infer) desc.momentum = d->momentum;
    return esker__call_end(&call, infer ? esker_batch_norm_infer(n[0], &desc) : esker_batch_norm(n[0], &desc));
}

esker_tensor *esker_tensor_batch_norm_infer(esker_tensor *x, const esker_tensor_batch_norm_desc *desc)
{
    static const esker_tensor_batch_norm_desc none = {NULL};
    return batch_norm(x, desc ? desc : &none, true);
}

/* running = (1 - momentum) running + momentum now, where `now` is mean or variance of all axes but the channels'. */
static esker_status move_statistic(esker_tensor *running, esker_tensor *x, bool variance, float momentum)
{
    int axes[ESKER_MAX_RANK], n_axes = 0;
    for (int i = 0; i < x->shape.rank; i++)
        if (i != 1) axes[n_axes++] = i;
    esker_tensor *now = variance ? esker_tensor_variance(x, axes, n_axes, false, 1)
                                 : esker_tensor_mean(x, axes, n_axes, false);
    esker_tensor *moved = esker_tensor_add(esker_tensor_affine(running, 1 - momentum, 0),
                                           esker_tensor_affine(now, momentum, 0));
    return moved ? esker_tensor_assign(running, moved) : ESKER_ERR_INVALID;
}

esker_tensor *esker_tensor_batch_norm(esker_tensor *x, const esker_tensor_batch_norm_desc *desc)
{
    static const esker_tensor_batch_norm_desc none = {NULL};
    if (!desc) desc = &none;
    if (!x) return NULL;
    if (!desc->running_mean != !desc->running_var) {
        esker__fail_message("batch_norm: running mean and variance belong together");
        return NULL;
    }
    esker_tensor *y = batch_norm(x, desc, false);
    if (!y || !desc->running_mean) return y;
    esker__eager *e = esker__eager_of(x->device);
    float momentum = desc->momentum != 0 ? desc->momentum : 0.1f;
    esker_status st = esker__scope_push(e);
    if (st == ESKER_OK) {
        e->n_no_grad++;
        st = move_statistic(desc->running_mean, x, false, momentum);
        if (st == ESKER_OK) st = move_statistic(desc->running_var, x, true, momentum);
        e->n_no_grad--;
        esker__scope_pop(e);
    }
    if (st == ESKER_OK) return y;
    if (!e->n_scopes) esker_tensor_unref(y);
    return NULL;
}

/* ---- Random numbers ---- */

/*
 * The operation draws its mask again for the backward pass, which would be another one in another run. So here the mask is a
 * value, kept with the history: the same draws, and the same products.
 */
esker_tensor *esker_tensor_dropout(esker_tensor *x, float p)
{
    esker__call call;
    esker_node *node;
    const esker_shape scalar = {0};
    if (!esker__call_begin(&call, "dropout", &x, 1, 1, &node)) return NULL;
    esker_graph *graph = node->graph;
    if (!(p > 0 && p <= 1)) return esker__call_end(&call, esker_dropout(node, p)); /* the same, or its error */
    esker_node *dropped = esker_not_equal(esker_random_bernoulli_like(node, p), esker_full(graph, &scalar, 0));
    esker_node *scale = esker_full(graph, &scalar, p < 1 ? (float)(1 / (1 - (double)p)) : 0);
    return esker__call_end(&call, esker_where(dropped, esker_full(graph, &scalar, 0), esker_mul(node, scale)));
}

#define RANDOM(name, params, arguments)                        \
    esker_tensor *esker_tensor_##name params                   \
    {                                                          \
        esker__call call;                                      \
        if (!esker__call_begin_on(&call, dev)) return NULL;    \
        esker_graph *graph = call.eager->graph;                \
        return esker__call_end(&call, esker_##name arguments); \
    }
RANDOM(random_uniform, (esker_device * dev, const esker_shape *shape, float lo, float hi), (graph, shape, lo, hi))
RANDOM(random_normal, (esker_device * dev, const esker_shape *shape, float mean, float deviation),
       (graph, shape, mean, deviation))
RANDOM(random_bernoulli, (esker_device * dev, const esker_shape *shape, float p), (graph, shape, p))
RANDOM(random_permutation, (esker_device * dev, int64_t n), (graph, n))
