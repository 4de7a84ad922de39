/* Mean over windows that divide x into a given number of rows and columns, its gradient, and pooling of whole images. */
#include <math.h>

#include "base/fail.h"
#include "ops/contract.h"
#include "ops/ops.h"

typedef esker__adaptive_attr adaptive_attr;

static int64_t begin_of(int64_t i, int64_t n, int64_t extent)
{
    return i * extent / n;
}

static int64_t end_of(int64_t i, int64_t n, int64_t extent)
{
    return ((i + 1) * extent + n - 1) / n;
}

/* Both: from [n, c, h, w] to [n, c, size]. */
static esker_status infer(const char *name, const adaptive_attr *attr, esker_node *const *inputs, esker__type *out)
{
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, name, inputs, 1);
    const esker_shape *x = &inputs[0]->type.shape;
    if (inputs[0]->type.dtype != ESKER_DTYPE_F32) return esker__fail(ESKER_ERR_INVALID, "%s: float32 is needed", text);
    if (x->rank != 4) return esker__fail(ESKER_ERR_INVALID, "%s: x [n, c, h, w] is needed, not %d axes", text, x->rank);
    *out = (esker__type){ESKER_DTYPE_F32, {4, {x->dims[0], x->dims[1]}}};
    for (int i = 0; i < 2; i++) {
        int64_t size = attr->size[i] ? attr->size[i] : x->dims[2 + i];
        if (size < 1)
            return esker__fail(ESKER_ERR_INVALID, "%s: size is [%d, %d], each must be at least 1 (0 keeps x's)", text,
                               (int)attr->size[0], (int)attr->size[1]);
        if (x->dims[2 + i] > INT32_MAX || (size + 1) * (x->dims[2 + i] + 1) > INT32_MAX)
            return esker__fail(ESKER_ERR_LIMIT, "%s: %lld to %lld %s, their product must be below 2^31", text,
                               (long long)x->dims[2 + i], (long long)size, i ? "columns" : "rows");
        out->shape.dims[2 + i] = size;
    }
    return ESKER_OK;
}

static esker_status infer_pool(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("adaptive_avg_pool2d", attr, inputs, out);
}

static esker_status infer_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("adaptive_avg_pool2d_grad", attr, inputs, out);
}

static esker_node *record(const esker__op *op, esker_node *x, const int64_t size[2])
{
    adaptive_attr attr = {{(int32_t)size[0], (int32_t)size[1]}};
    return esker__record(op, &attr, &x, 1);
}

esker_node *esker_adaptive_avg_pool2d(esker_node *x, const int size[2])
{
    if (!x) return NULL;
    const esker_shape *shape = &x->type.shape;
    if (!size) {
        char text[ESKER__SIGNATURE_BYTES];
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: size is NULL",
                                                       esker__signature(text, "adaptive_avg_pool2d", &x, 1)));
    }
    if (shape->rank == 4 && x->type.dtype == ESKER_DTYPE_F32) {
        /* Windows of one size have kernels of their own, and whole images are reduced by many invocations each. */
        if (size[0] == 1 && size[1] == 1) return esker_global_avg_pool2d(x);
        esker_pool2d_desc pool = {{0}};
        bool even = true;
        for (int i = 0; i < 2; i++) {
            int64_t n = size[i] ? size[i] : shape->dims[2 + i];
            even &= n > 0 && shape->dims[2 + i] % n == 0 && shape->dims[2 + i] <= INT32_MAX;
            if (even) pool.window[i] = (int)(shape->dims[2 + i] / n);
        }
        if (even) return esker_avg_pool2d(x, &pool);
    }
    return record(&esker__op_adaptive_avg_pool2d, x, (int64_t[]){size[0], size[1]});
}

static esker_node *global(const char *name, esker_node *x, esker_node *(*reduce)(esker_node *, const int *, int, bool))
{
    if (!x) return NULL;
    char text[ESKER__SIGNATURE_BYTES];
    if (x->type.shape.rank != 4)
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: x [n, c, h, w] is needed, not %d axes",
                                                       esker__signature(text, name, &x, 1), x->type.shape.rank));
    return reduce(x, (int[]){2, 3}, 2, true);
}

esker_node *esker_global_avg_pool2d(esker_node *x)
{
    return global("global_avg_pool2d", x, esker_mean);
}

esker_node *esker_global_max_pool2d(esker_node *x)
{
    return global("global_max_pool2d", x, esker_max);
}

/* Each is linear and the other's transpose. */
static esker_node *gradient(esker_node *node, esker_node *g, int input)
{
    (void)input;
    return record(&esker__op_adaptive_avg_pool2d_grad, g, &node->inputs[0]->type.shape.dims[2]);
}

static esker_node *gradient_of_grad(esker_node *node, esker_node *g, int input)
{
    (void)input;
    return record(&esker__op_adaptive_avg_pool2d, g, &node->inputs[0]->type.shape.dims[2]);
}

/* Walks the windows of the smaller picture's shape, y, over the larger one's, x, whichever of the two is the result. */
static void reference(const esker__reference *r)
{
    bool grad = r->node->op == &esker__op_adaptive_avg_pool2d_grad;
    const esker_shape *from = &r->node->inputs[0]->type.shape, *to = &r->node->type.shape;
    const int64_t *x = grad ? to->dims : from->dims, *y = grad ? from->dims : to->dims;
    double *out = r->out[0], *magnitude = r->magnitude[0];
    for (int64_t e = 0; e < esker__elems(to); e++) {
        out[e] = 0;
        if (magnitude) magnitude[e] = 0;
    }
    int64_t at = 0;
    for (int64_t i = 0; i < x[0] * x[1]; i++)
        for (int64_t u = 0; u < y[2]; u++)
            for (int64_t v = 0; v < y[3]; v++, at++) {
                int64_t top = begin_of(u, y[2], x[2]), bottom = end_of(u, y[2], x[2]), left = begin_of(v, y[3], x[3]),
                        right = end_of(v, y[3], x[3]);
                for (int64_t row = top; row < bottom; row++)
                    for (int64_t column = left; column < right; column++) {
                        int64_t e = (i * x[2] + row) * x[3] + column;
                        double term = r->in[0][grad ? at : e] / (double)((bottom - top) * (right - left));
                        out[grad ? e : at] += term;
                        if (magnitude) magnitude[grad ? e : at] += fabs(term);
                    }
            }
}

/* Elements of the input that one of the result sums, at most: ceil(from / to) + 1 along each axis. */
static double n_terms(const esker_node *node)
{
    double n = 1;
    for (int i = 2; i < 4; i++)
        n *= ceil((double)node->inputs[0]->type.shape.dims[i] / (double)node->type.shape.dims[i]) + 1;
    return n;
}

static double tolerance(const esker_node *node)
{
    return 2 * sqrt(n_terms(node)) + 4;
}

static void cost(const esker_node *node, esker__cost *out)
{
    double from = (double)esker__elems(&node->inputs[0]->type.shape), to = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){.flops = to * n_terms(node), .bytes = 4 * (from + to)};
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const int64_t *from = node->inputs[0]->type.shape.dims, *to = node->type.shape.dims;
    uint64_t n_elems = (uint64_t)esker__elems(&node->type.shape);
    esker__dispatch_desc d = {.kernel = "pool/adaptive"};
    if (node->op == &esker__op_adaptive_avg_pool2d_grad) d.defines = "GRAD 1\n";
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n_elems, 64), d.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n_elems, (uint32_t)from[2], (uint32_t)from[3],
                         (uint32_t)to[2],   (uint32_t)to[3],   d.groups[0]};
    d.params = params;
    d.n_params = sizeof params / sizeof *params;
    d.operands[0] = esker__read(lowering, node->inputs[0]);
    d.operands[1] = esker__write(lowering, node);
    d.n_operands = 2;
    return esker__emit(lowering, &d);
}

const esker__op esker__op_adaptive_avg_pool2d = {
    .name = "adaptive_avg_pool2d",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(adaptive_attr),
    .infer = infer_pool,
    .gradient = gradient,
    .reference = reference,
    .tolerance = tolerance,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
};

const esker__op esker__op_adaptive_avg_pool2d_grad = {
    .name = "adaptive_avg_pool2d_grad",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(adaptive_attr),
    .infer = infer_grad,
    .gradient = gradient_of_grad,
    .reference = reference,
    .tolerance = tolerance,
    .atol = ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
};
