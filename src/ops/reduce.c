/*
 * sum, mean and max over any axes. The axes are merged into alternating kept and reduced ones (at most three of each); one
 * kernel then serves every case: rows (the last axis is reduced: neighbours share an output), columns (it is kept:
 * neighbours have an output each), and what mixes both, such as the bias gradient of NCHW. Where few outputs have many
 * terms, the terms are cut into chunks and a second dispatch reduces the chunks, so that no invocation loops for long.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/map.h"
#include "ops/ops.h"

static bool is_reduced(const esker_node *node, int axis)
{
    return ((const esker__reduce_attr *)node->attr)->mask >> axis & 1;
}

static int64_t n_terms(const esker_node *node)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    int64_t n = 1;
    for (int i = 0; i < x->rank; i++)
        if (is_reduced(node, i)) n *= x->dims[i];
    return n;
}

/* ---- Shapes ---- */

static esker_status infer(const char *name, const esker__reduce_attr *a, esker_node *const *inputs, esker__type *out)
{
    const esker__type *x = &inputs[0]->type;
    char signature[ESKER__SIGNATURE_BYTES];
    if (x->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "%s: float32 is needed (esker_convert)",
                           esker__signature(signature, name, inputs, 1));
    if (a->mask >> x->shape.rank != 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: an axis past rank %d", esker__signature(signature, name, inputs, 1),
                           x->shape.rank);
    *out = (esker__type){.dtype = ESKER_DTYPE_F32};
    for (int i = 0; i < x->shape.rank; i++) {
        if (!(a->mask >> i & 1))
            out->shape.dims[out->shape.rank++] = x->shape.dims[i];
        else if (a->keepdims)
            out->shape.dims[out->shape.rank++] = 1;
    }
    return ESKER_OK;
}

static esker_node *record(const esker__op *op, esker_node *x, const int *axes, int n_axes, bool keepdims)
{
    if (!x) return NULL;
    int rank = x->type.shape.rank;
    esker__reduce_attr attr = {.keepdims = keepdims};
    char signature[ESKER__SIGNATURE_BYTES];
    if (n_axes < 0 || (n_axes > 0 && !axes))
        return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: %d axes are no list",
                                                       esker__signature(signature, op->name, &x, 1), n_axes));
    for (int i = 0; i < n_axes; i++) {
        int axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank)
            return esker__graph_fail(x->graph,
                                     esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the axes are %d to %d",
                                                 esker__signature(signature, op->name, &x, 1), axes[i], -rank, rank - 1));
        if (attr.mask >> axis & 1)
            return esker__graph_fail(x->graph, esker__fail(ESKER_ERR_INVALID, "%s: axis %d is given twice",
                                                           esker__signature(signature, op->name, &x, 1), axis));
        attr.mask |= 1u << axis;
    }
    if (n_axes == 0) attr.mask = (1u << rank) - 1;
    return esker__record(op, &attr, &x, 1);
}

/* A value of the node's shape with the reduced axes as ones, so that it broadcasts against the input. */
static esker_node *kept_open(esker_node *node, esker_node *value)
{
    if (((const esker__reduce_attr *)node->attr)->keepdims) return value;
    esker_shape shape = node->inputs[0]->type.shape;
    for (int i = 0; i < shape.rank; i++)
        if (is_reduced(node, i)) shape.dims[i] = 1;
    return esker_reshape(value, &shape);
}

/* ---- References ---- */

static void reference(const esker__reference *r, bool maximum, double scale)
{
    const esker_shape *x = &r->node->inputs[0]->type.shape;
    int64_t out_strides[ESKER_MAX_RANK], n_out = 1, n = 1, digit[ESKER_MAX_RANK] = {0}, o = 0;
    for (int i = x->rank - 1; i >= 0; i--) {
        out_strides[i] = is_reduced(r->node, i) ? 0 : n_out;
        if (!is_reduced(r->node, i)) n_out *= x->dims[i];
        n *= x->dims[i];
    }
    double *magnitude = maximum ? NULL : r->magnitude[0];
    for (int64_t i = 0; i < n_out; i++) r->out[0][i] = maximum ? -INFINITY : 0;
    for (int64_t i = 0; magnitude && i < n_out; i++) magnitude[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = r->in[0][i];
        if (!maximum)
            r->out[0][o] += v;
        else if (!(v <= r->out[0][o]))
            r->out[0][o] = v;
        if (magnitude) magnitude[o] += fabs(v);
        for (int d = x->rank - 1; d >= 0; d--) {
            o += out_strides[d];
            if (++digit[d] < x->dims[d]) break;
            o -= out_strides[d] * x->dims[d];
            digit[d] = 0;
        }
    }
    for (int64_t i = 0; i < n_out; i++) {
        r->out[0][i] *= scale;
        if (magnitude) magnitude[i] *= scale;
    }
}

/* ---- Lowering ---- */

/* One axis of what is reduced, outermost first; neighbours differ in `reduced`. */
typedef struct axis {
    uint32_t n_elems;
    bool reduced;
} axis;

typedef struct job {
    axis axes[ESKER_MAX_RANK];
    int n_axes;
    bool maximum;
    float scale;
    esker__operand in, out;
} job;

/* How the kernel is cut for a job. Outputs and terms are counted in vec4 along the last axis if v is 4. */
typedef struct layout {
    bool rows;
    uint32_t v, tx, ty;
    uint64_t n_out, n_terms, n_blocks; /* blocks of tx outputs */
    uint64_t chunk, n_chunks;          /* terms of one, and how many */
} layout;

#define GROUP_SIZE         64
#define ENOUGH_INVOCATIONS 8192        /* more lanes for one output bring nothing beyond this */
#define ENOUGH_GROUPS      64          /* a chunked reduction aims at so many */
#define SHORT_ROW          16          /* with outputs enough, one lane reads such a row: it stays in its cache */
#define LONG_LOOP          128         /* rounds of one lane that are worth a second dispatch to shorten */
#define LONGEST_LOOP       1024        /* rounds of one lane, never more: watchdogs, and rounding errors of long sums */
#define SHARED_TOTAL_BYTES (16u << 20) /* V3D's driver allocates shared memory for all groups of a grid at once */

static uint32_t power_of_two_within(uint64_t n, uint32_t most)
{
    uint32_t p = 1;
    while (p < most && 2 * (uint64_t)p <= n) p *= 2;
    return p;
}

static layout lay_out(const job *j)
{
    layout l = {.n_out = 1, .n_terms = 1};
    const axis *last = &j->axes[j->n_axes - 1];
    l.rows = last->reduced;
    l.v = last->n_elems % 4 == 0 ? 4 : 1;
    for (int i = 0; i < j->n_axes; i++) {
        uint64_t n = j->axes[i].n_elems / (i == j->n_axes - 1 ? l.v : 1);
        *(j->axes[i].reduced ? &l.n_terms : &l.n_out) *= n;
    }

    /* Several terms for each lane before the tree, as long as that leaves the GPU enough to do at once. */
    if (l.rows) {
        l.ty = power_of_two_within(l.n_terms / 4, GROUP_SIZE);
        if (l.n_terms <= SHORT_ROW && l.n_out >= ENOUGH_INVOCATIONS) l.ty = 1;
        while (l.ty < GROUP_SIZE && 2 * l.ty <= l.n_terms && 2 * l.ty * l.n_out <= ENOUGH_INVOCATIONS) l.ty *= 2;
    } else {
        uint32_t width = power_of_two_within(2 * l.n_out - 1, l.v == 4 ? 16 : 32); /* rounded up */
        l.ty = power_of_two_within(l.n_terms, GROUP_SIZE / width);
        while (l.ty > 1 && l.ty * l.n_out > ENOUGH_INVOCATIONS) l.ty /= 2;
    }
    uint64_t shared_bytes = GROUP_SIZE * (l.rows ? 4 : 4 * l.v);
    while (l.ty > 1 && esker__ceil_div(l.n_out, GROUP_SIZE / l.ty) * shared_bytes > SHARED_TOTAL_BYTES) l.ty /= 2;
    l.tx = GROUP_SIZE / l.ty;
    l.n_blocks = esker__ceil_div(l.n_out, l.tx);

    uint64_t rounds = esker__ceil_div(l.n_terms, l.ty), wanted = 1;
    if (rounds > LONG_LOOP && l.n_blocks < ENOUGH_GROUPS) {
        wanted = esker__ceil_div(ENOUGH_GROUPS, l.n_blocks);
        if (wanted > rounds / 32) wanted = rounds / 32;
    }
    if (wanted < esker__ceil_div(rounds, LONGEST_LOOP)) wanted = esker__ceil_div(rounds, LONGEST_LOOP);
    l.chunk = esker__ceil_div(rounds, wanted) * l.ty;
    l.n_chunks = esker__ceil_div(l.n_terms, l.chunk);
    return l;
}

static esker_status emit(esker__lowering *lowering, const job *j, const layout *l, esker__operand out)
{
    struct params {
        uint32_t n_out, groups_x, n_terms, chunk;
        float scale;
        uint32_t axes[ESKER_MAX_RANK][4]; /* word 5: 1 modulo 4 */
    } params = {.n_out = (uint32_t)l->n_out,
                .n_terms = (uint32_t)l->n_terms,
                .chunk = (uint32_t)l->chunk,
                .scale = l->n_chunks > 1 ? 1 : j->scale};
    uint32_t(*kept)[4] = params.axes, (*reduced)[4];
    int n_kept = 0, n_reduced = 0;
    for (int i = 0; i < j->n_axes; i++) n_kept += !j->axes[i].reduced;
    reduced = kept + n_kept;
    n_reduced = j->n_axes - n_kept;

    uint32_t stride = 1, step = l->ty;
    for (int i = j->n_axes - 1, k = n_kept, r = n_reduced; i >= 0; i--) {
        uint32_t n = j->axes[i].n_elems / (i == j->n_axes - 1 ? l->v : 1);
        uint32_t *row = j->axes[i].reduced ? reduced[--r] : kept[--k];
        row[0] = n;
        row[1] = stride;
        if (j->axes[i].reduced) {
            row[2] = r > 0 ? step % n : step;
            step /= n;
            reduced[n_reduced - 1][3] += row[2] * stride;
        }
        stride *= n;
    }

    char defines[128];
    snprintf(defines, sizeof defines, "MAXIMUM %d\nROWS %d\nV %u\nKEPT %d\nREDUCED %d\nTX %u\nTY %u\n", j->maximum, l->rows,
             l->v, n_kept, n_reduced, l->tx, l->ty);
    double n_in = (double)l->n_out * (double)l->n_terms * l->v;
    esker__dispatch_desc desc = {.kernel = "reduce/reduce",
                                 .defines = defines,
                                 .operands = {j->in, out},
                                 .n_operands = 2,
                                 .params = &params,
                                 .n_params = 5 + 4 * j->n_axes,
                                 .cost = {n_in, 4 * n_in + 4.0 * (double)l->n_out * (double)l->n_chunks}};
    esker_status st = esker__fold_groups(lowering, l->n_blocks, desc.groups);
    if (st != ESKER_OK) return st;
    if (l->n_chunks > esker__lowering_limits(lowering)->groups[2])
        return esker__fail(ESKER_ERR_LIMIT, "a reduction in %llu chunks, this device takes %u groups on an axis",
                           (unsigned long long)l->n_chunks, esker__lowering_limits(lowering)->groups[2]);
    desc.groups[2] = (uint32_t)l->n_chunks;
    params.groups_x = desc.groups[0];
    return esker__emit(lowering, &desc);
}

static esker_status lower_job(esker__lowering *lowering, const job *j)
{
    layout l = lay_out(j);
    if (l.n_chunks == 1) return emit(lowering, j, &l, j->out);
    uint64_t n_out = l.n_out * (l.rows ? 1 : l.v); /* in elements */
    esker__operand partial = {.value = esker__scratch(lowering, 4 * n_out * l.n_chunks), .write = true};
    esker_status st = emit(lowering, j, &l, partial);
    if (st != ESKER_OK) return st;
    job rest = {.maximum = j->maximum, .scale = j->scale, .in = {.value = partial.value}, .out = j->out};
    rest.axes[rest.n_axes++] = (axis){(uint32_t)l.n_chunks, true};
    if (n_out > 1) rest.axes[rest.n_axes++] = (axis){(uint32_t)n_out, false};
    return lower_job(lowering, &rest); /* at most 2^31 / 64 / 1024 chunks: ends at the second or third dispatch */
}

static esker_status lower(esker__lowering *lowering, const esker_node *node, bool maximum, double scale)
{
    const esker_shape *x = &node->inputs[0]->type.shape;
    job j = {.maximum = maximum,
             .scale = (float)scale,
             .in = esker__read(lowering, node->inputs[0]),
             .out = esker__write(lowering, node)};
    int64_t n;
    esker_status st = esker_shape_elems(x, &n);
    if (st != ESKER_OK) return st;
    if (n > INT32_MAX)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %lld elements, the kernel indexes at most %d", node->op->name,
                           (long long)n, INT32_MAX);
    bool any = false;
    for (int i = 0; i < x->rank; i++) {
        bool reduced = is_reduced(node, i);
        if (x->dims[i] == 1) continue;
        any = any || reduced;
        if (j.n_axes > 0 && j.axes[j.n_axes - 1].reduced == reduced)
            j.axes[j.n_axes - 1].n_elems *= (uint32_t)x->dims[i];
        else
            j.axes[j.n_axes++] = (axis){(uint32_t)x->dims[i], reduced};
    }
    if (any) return lower_job(lowering, &j);
    esker__map copy = {.n_operands = 1, .rank = 1, .dims = {n}, .strides = {{1}}, .expr = "a", .words = true};
    return esker__map_emit(lowering, &copy, (esker__operand[]){j.in, j.out}); /* sums of one term each */
}

static void cost(const esker_node *node, esker__cost *out)
{
    int64_t n_in = 0, n_out = 0;
    (void)esker_shape_elems(&node->inputs[0]->type.shape, &n_in);
    (void)esker_shape_elems(&node->type.shape, &n_out);
    *out = (esker__cost){(double)n_in, 4.0 * (double)(n_in + n_out)};
}

/* ---- sum ---- */

static esker_status sum_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("sum", attr, inputs, out);
}

static esker_node *sum_gradient(esker_node *node, esker_node *grad, int input)
{
    return esker_expand(kept_open(node, grad), &node->inputs[input]->type.shape);
}

static void sum_reference(const esker__reference *r)
{
    reference(r, false, 1);
}

static double sum_tolerance(const esker_node *node)
{
    return 2 * sqrt((double)n_terms(node)) + 1;
}

static esker_status sum_lower(esker__lowering *lowering, const esker_node *node)
{
    return lower(lowering, node, false, 1);
}

const esker__op esker__op_sum = {.name = "sum",
                                 .n_inputs = 1,
                                 .n_outputs = 1,
                                 .attr_bytes = sizeof(esker__reduce_attr),
                                 .infer = sum_infer,
                                 .gradient = sum_gradient,
                                 .reference = sum_reference,
                                 .tolerance = sum_tolerance,
                                 .atol = ESKER__FLUSHED,
                                 .cost = cost,
                                 .lower = sum_lower};

esker_node *esker_sum(esker_node *x, const int *axes, int n_axes, bool keepdims)
{
    return record(&esker__op_sum, x, axes, n_axes, keepdims);
}

esker_node *esker__sum_to(esker_node *x, const esker_shape *shape)
{
    if (!x || esker_shape_equal(&x->type.shape, shape)) return x;
    const esker_shape *from = &x->type.shape;
    char signature[ESKER__SIGNATURE_BYTES], text[ESKER_SHAPE_TEXT_BYTES];
    int axes[ESKER_MAX_RANK], n_axes = 0, added = from->rank - shape->rank;
    for (int i = 0; i < from->rank; i++) {
        int64_t kept = i < added ? 1 : shape->dims[i - added];
        if (added < 0 || (kept != from->dims[i] && kept != 1))
            return esker__graph_fail(x->graph,
                                     esker__fail(ESKER_ERR_INVALID, "%s to %s: that shape does not broadcast to it",
                                                 esker__signature(signature, "sum", &x, 1), esker_shape_text(shape, text)));
        if (i < added || kept != from->dims[i]) axes[n_axes++] = i;
    }
    if (n_axes > 0) x = esker_sum(x, axes, n_axes, true);
    return added != 0 ? esker_reshape(x, shape) : x;
}

/* ---- mean ---- */

static esker_status mean_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("mean", attr, inputs, out);
}

static esker_node *mean_gradient(esker_node *node, esker_node *grad, int input)
{
    return esker_expand(esker_affine(kept_open(node, grad), 1.0f / (float)n_terms(node), 0),
                        &node->inputs[input]->type.shape);
}

static void mean_reference(const esker__reference *r)
{
    reference(r, false, 1.0 / (double)n_terms(r->node));
}

static double mean_tolerance(const esker_node *node)
{
    return sum_tolerance(node) + 2; /* 1 / n and the product are rounded */
}

static esker_status mean_lower(esker__lowering *lowering, const esker_node *node)
{
    return lower(lowering, node, false, 1.0 / (double)n_terms(node));
}

const esker__op esker__op_mean = {.name = "mean",
                                  .n_inputs = 1,
                                  .n_outputs = 1,
                                  .attr_bytes = sizeof(esker__reduce_attr),
                                  .infer = mean_infer,
                                  .gradient = mean_gradient,
                                  .reference = mean_reference,
                                  .tolerance = mean_tolerance,
                                  .atol = ESKER__FLUSHED,
                                  .cost = cost,
                                  .lower = mean_lower};

esker_node *esker_mean(esker_node *x, const int *axes, int n_axes, bool keepdims)
{
    return record(&esker__op_mean, x, axes, n_axes, keepdims);
}

/* ---- max ---- */

static esker_status max_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)n_inputs;
    return infer("max", attr, inputs, out);
}

/* Each of the m elements that equal the maximum gets 1 / m of the gradient. */
static esker_node *max_gradient(esker_node *node, esker_node *grad, int input)
{
    int axes[ESKER_MAX_RANK], n_axes = 0;
    for (int i = 0; i < node->inputs[input]->type.shape.rank; i++)
        if (is_reduced(node, i)) axes[n_axes++] = i;
    esker_node *hits = esker__equal(node->inputs[input], kept_open(node, node));
    esker_node *share = esker_div(kept_open(node, grad), esker_sum(hits, axes, n_axes, true));
    return esker_mul(hits, share);
}

static void max_reference(const esker__reference *r)
{
    reference(r, true, 1);
}

static esker_status max_lower(esker__lowering *lowering, const esker_node *node)
{
    return lower(lowering, node, true, 1);
}

const esker__op esker__op_max = {.name = "max",
                                 .n_inputs = 1,
                                 .n_outputs = 1,
                                 .attr_bytes = sizeof(esker__reduce_attr),
                                 .infer = max_infer,
                                 .gradient = max_gradient,
                                 .reference = max_reference,
                                 .tolerance = esker__tolerance_exact,
                                 .atol = ESKER__FLUSHED,
                                 .cost = cost,
                                 .lower = max_lower};

esker_node *esker_max(esker_node *x, const int *axes, int n_axes, bool keepdims)
{
    return record(&esker__op_max, x, axes, n_axes, keepdims);
}
