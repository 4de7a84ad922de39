/* Pooling, and means of whole images, with channels in fours (plan/fours.h). */
#include <math.h>

#include "base/fail.h"
#include "ops/ops.h"
#include "ops/pool2d.h"
#include "ops/reduce.h"
#include "plan/fours.h"

#define MOST_AVERAGED 1024 /* pixels that one invocation adds up */

typedef struct fours_attr {
    esker__pool2d_attr pool;
    int32_t mean;
} fours_attr;

static const esker__op pool2d_fours;

bool esker__pool2d_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out)
{
    const esker__pool2d_attr *attr = node->attr;
    *out = (esker__fours){.gives = true, .takes = 1, .op = &pool2d_fours};
    out->gain = rates->pooled * (double)esker__elems(&node->type.shape) * attr->window[0] * attr->window[1];
    return true;
}

esker_node *esker__pool2d_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    fours_attr attr = {.pool = *(const esker__pool2d_attr *)node->attr, .mean = node->op == &esker__op_avg_pool2d};
    return esker__record_in(graph, &pool2d_fours, &attr, inputs, 1);
}

bool esker__mean_fours(const esker_node *node, const esker__fours_rates *rates, esker__fours *out)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    if (((const esker__reduce_attr *)node->attr)->mask != 0xc || x->rank != 4 || x->dims[2] * x->dims[3] > MOST_AVERAGED)
        return false;
    *out = (esker__fours){.takes = 1, .op = &pool2d_fours, .gain = rates->averaged * (double)esker__elems(x)};
    return true;
}

/* One pixel of channels in fours is the channels one after the other, but for those that there are not. */
esker_node *esker__mean_in_fours(esker_graph *graph, const esker_node *node, esker_node *const *inputs)
{
    const int64_t *d = node->inputs[0]->type.shape.dims;
    fours_attr attr = {.pool = {.window = {(int32_t)d[2], (int32_t)d[3]}, .stride = {1, 1}}, .mean = 1};
    esker_node *y = esker__record_in(graph, &pool2d_fours, &attr, inputs, 1);
    if (d[1] % 4) y = esker__from_fours(y, d[1]);
    return esker_reshape(y, &node->type.shape);
}

static esker_status infer(const void *attributes, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const fours_attr *attr = attributes;
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    if (x->rank != 5 || x->dims[4] != 4)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: [n, c / 4, h, w, 4] is needed",
                           esker__signature(text, "pool2d_fours", inputs, n_inputs));
    *out = inputs[0]->type;
    for (int i = 0; i < 2; i++)
        out->shape.dims[2 + i] =
            (x->dims[2 + i] + 2 * attr->pool.padding[i] - attr->pool.window[i]) / attr->pool.stride[i] + 1;
    return ESKER_OK;
}

/* Plane by plane, as for channels apart, every fourth element of each. */
static void reference(const esker__reference *r)
{
    const fours_attr *attr = r->node->attr;
    const int64_t *x = r->node->inputs[0]->type.shape.dims, *y = r->node->type.shape.dims;
    for (int64_t at = 0, n = esker__elems(&r->node->type.shape); at < n; at++) {
        int64_t e = at % 4, v = at / 4 % y[3], u = at / 4 / y[3] % y[2], plane = at / 4 / y[3] / y[2], inside = 0;
        double sum = 0, magnitude = 0, largest = -INFINITY;
        for (int64_t k = 0; k < (int64_t)attr->pool.window[0] * attr->pool.window[1]; k++) {
            int64_t row = u * attr->pool.stride[0] - attr->pool.padding[0] + k / attr->pool.window[1],
                    column = v * attr->pool.stride[1] - attr->pool.padding[1] + k % attr->pool.window[1];
            if (row < 0 || row >= x[2] || column < 0 || column >= x[3]) continue;
            double t = r->in[0][((plane * x[2] + row) * x[3] + column) * 4 + e];
            sum += t;
            magnitude += fabs(t);
            inside++;
            if (t > largest || isnan(t)) largest = t; /* as max_pool2d has it */
        }
        double terms = attr->pool.exclude_padding ? (double)inside : (double)attr->pool.window[0] * attr->pool.window[1];
        r->out[0][at] = attr->mean ? sum / terms : largest;
        if (attr->mean && r->magnitude[0]) r->magnitude[0][at] = magnitude / terms;
    }
}

static double tolerance(const esker_node *node)
{
    const fours_attr *attr = node->attr;
    return attr->mean ? 2 * sqrt((double)attr->pool.window[0] * attr->pool.window[1]) + 4 : 0;
}

static void cost(const esker_node *node, esker__cost *out)
{
    const fours_attr *attr = node->attr;
    double x = (double)esker__elems(&node->inputs[0]->type.shape), y = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){.flops = y * (double)attr->pool.window[0] * (double)attr->pool.window[1], .bytes = 4 * (x + y)};
}

static void title(const esker_node *node, esker__text *text)
{
    const fours_attr *attr = node->attr;
    esker__text_add(text, "%s", attr->mean ? "avg_pool2d_fours" : "max_pool2d_fours");
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const fours_attr *attr = node->attr;
    const int64_t *x = node->inputs[0]->type.shape.dims, *y = node->type.shape.dims;
    uint64_t n = (uint64_t)esker__elems(&node->type.shape) / 4;
    if (n > INT32_MAX / 4)
        return esker__fail(ESKER_ERR_LIMIT, "pool2d_fours: %llu fours, the kernel indexes at most %d",
                           (unsigned long long)n, INT32_MAX / 4);
    uint32_t size = esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE && n < 4096 ? 8 : 64;
    esker__dispatch_desc d = {.kernel = "pool/fours"};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, size), d.groups);
    if (st != ESKER_OK) return st;
    struct {
        uint32_t n, rows, columns;
        int32_t x_h, x_w, window[2], stride[2], padding[2];
        float scale;
        uint32_t fold;
    } params = {
        .n = (uint32_t)n,
        .rows = (uint32_t)y[2],
        .columns = (uint32_t)y[3],
        .x_h = (int32_t)x[2],
        .x_w = (int32_t)x[3],
        .window = {attr->pool.window[0], attr->pool.window[1]},
        .stride = {attr->pool.stride[0], attr->pool.stride[1]},
        .padding = {attr->pool.padding[0], attr->pool.padding[1]},
        .scale = (float)(1.0 / ((double)attr->pool.window[0] * attr->pool.window[1])),
        .fold = d.groups[0],
    };
    esker__text defines = {0};
    esker__text_add(&defines, "SIZE %u\nMEAN %d\n", size, attr->mean ? 1 + (attr->pool.exclude_padding != 0) : 0);
    d.params = &params;
    d.n_params = sizeof params / 4;
    d.operands[d.n_operands++] = esker__read(lowering, node->inputs[0]);
    d.operands[d.n_operands++] = esker__write(lowering, node);
    return esker__emit_with(lowering, &d, &defines);
}

static const esker__op pool2d_fours = {.name = "pool2d_fours",
                                       .n_inputs = 1,
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(fours_attr),
                                       .infer = infer,
                                       .reference = reference,
                                       .tolerance = tolerance,
                                       .atol = ESKER__FLUSHED,
                                       .cost = cost,
                                       .lower = lower,
                                       .title = title};
