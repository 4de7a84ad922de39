/*
 * norm(op(a) op(b) + bias ...), and norm_grad(x, a op(b), ...): where rows are short, a group that holds them whole can go on with what needs all of
 * a row (gemm/whole). The node is the two that it was made of, and is computed as these where no such kernel suits.
 */
#include "ops/matmul_norm.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "ops/gemm_chain.h"
#include "plan/views.h"

/*
 * Inputs: forward, those of the product, the weight and the bias of the norm; backward a, b, x, statistics, weight; then those of the norm's tail. With
 * `again` the norm's own bias, if there is one, behind all.
 */
typedef struct attributes {
    esker__matmul_attr product;
    esker__norm_attr norm;
    int32_t backward, again; /* again: what it is the gradient of, computed once more */
} attributes;

#define MOST_INPUTS 12
#define MOST_ROWS   4096 /* beyond which products are better cut into tiles */

/* The nodes. They have the ids of what they compute, and so its memory: forward outputs y, statistics, x; backward dx, g, and the norm again. */
typedef struct parts {
    esker_node product, norm, inner; /* inner: the product's result as the norm's input */
    esker_node again;                /* the norm, whose statistics are there: input 3 */
    esker_node *product_inputs[MOST_INPUTS], *norm_inputs[MOST_INPUTS], *again_inputs[4];
} parts;

/* Inputs of the product, and of the norm without the product's result. */
static int product_inputs(const attributes *attr)
{
    return 2 + esker__tail_n_inputs(&attr->product.tail);
}

static int norm_inputs(const attributes *attr)
{
    const esker__norm_attr *norm = &attr->norm;
    return (attr->backward ? 2 : norm->has_bias) + norm->has_weight + esker__tail_n_inputs(&norm->tail);
}

static const esker__op *forward_op(const attributes *attr)
{
    return attr->norm.scheme == ESKER__NORM_RMS ? &esker__op_rms_norm : &esker__op_layer_norm;
}

static const esker__op *norm_op(const attributes *attr)
{
    return attr->backward ? &esker__op_norm_grad : forward_op(attr);
}

static void split_inputs(const attributes *attr, esker_node *const *inputs, parts *out)
{
    int n = 0, n_product = product_inputs(attr), n_norm = norm_inputs(attr);
    for (int i = 0; i < n_product; i++) out->product_inputs[i] = inputs[i];
    inputs += n_product;
    if (attr->backward) out->norm_inputs[n++] = *inputs++, n_norm--; /* x stands before g */
    out->norm_inputs[n++] = &out->inner;
    for (int i = 0; i < n_norm; i++) out->norm_inputs[n++] = inputs[i];
    out->product.n_inputs = n_product;
    out->norm.n_inputs = n;
    out->product.inputs = out->product_inputs;
    out->norm.inputs = out->norm_inputs;
}

static void parts_of(const esker_node *node, parts *out)
{
    attributes *attr = node->attr;
    out->norm = *node;
    out->inner = out->product = *esker__output((esker_node *)node, attr->backward ? 1 : 2);
    out->product.op = &esker__op_matmul;
    out->product.attr = &attr->product;
    out->product.output = 0;
    out->product.producer = &out->product;
    out->norm.op = norm_op(attr);
    out->norm.attr = &attr->norm;
    split_inputs(attr, node->inputs, out);
    if (!attr->again) return;
    out->again = *esker__output((esker_node *)node, 2);
    out->again.op = forward_op(attr);
    out->again.attr = &attr->norm;
    out->again.output = 0;
    out->again.producer = &out->again;
    out->again.inputs = out->again_inputs;
    out->again.n_inputs = 0;
    out->again_inputs[out->again.n_inputs++] = out->norm_inputs[0];
    if (attr->norm.has_weight) out->again_inputs[out->again.n_inputs++] = out->norm_inputs[3];
    if (attr->norm.has_bias) out->again_inputs[out->again.n_inputs++] = node->inputs[node->n_inputs - 1];
}

static esker_status infer(const void *attribute, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    attributes attr = *(const attributes *)attribute;
    parts p = {.inner = *inputs[0]};
    esker__type of_product[ESKER__MAX_OUTPUTS];
    int wanted = product_inputs(&attr) + norm_inputs(&attr) + (attr.again && attr.norm.has_bias);
    if (n_inputs != wanted || n_inputs > MOST_INPUTS)
        return esker__fail(ESKER_ERR_INTERNAL, "matmul and norm: %d inputs given, %d are needed", n_inputs, wanted);
    split_inputs(&attr, inputs, &p);
    esker_status st = esker__op_matmul.infer(&attr.product, p.product_inputs, p.product.n_inputs, of_product);
    if (st != ESKER_OK) return st;
    p.inner.type = of_product[0];
    st = norm_op(&attr)->infer(&attr.norm, p.norm_inputs, p.norm.n_inputs, out);
    out[attr.backward ? 1 : 2] = of_product[0];
    if (attr.again) out[2] = p.norm_inputs[0]->type;
    return st;
}

/* ---- Reference ---- */

static double tolerance(const esker_node *node)
{
    parts p;
    parts_of(node, &p);
    return p.product.op->tolerance(&p.product) + p.norm.op->tolerance(&p.norm);
}

/* What errors of the product's result, `size` of them, are in a row of the norm's: to first order. */
typedef struct row {
    int64_t n;
    const double *t, *weight, *size;
    double mean, rstd;
} row;

static double mean_of(const row *r, bool weighted, bool along)
{
    double sum = 0;
    for (int64_t j = 0; j < r->n; j++)
        sum += r->size[j] * (weighted && r->weight ? fabs(r->weight[j]) : 1) *
               (along ? fabs(r->t[j] - r->mean) * r->rstd : 1);
    return sum / (double)r->n;
}

/* From statistics that are given, as they are in the norm's gradient. */
static void reference_again(const esker__reference *r, const parts *p, double *const *in)
{
    const esker__norm_attr *norm = p->norm.attr;
    const esker_shape *shape = &p->again.type.shape;
    const double *x = in[0], *stats = in[2], *weight = norm->has_weight ? in[3] : NULL,
                 *bias = norm->has_bias ? r->in[r->node->n_inputs - 1] : NULL;
    int64_t n = shape->dims[shape->rank - 1];
    for (int64_t e = 0; e < esker__elems(shape); e++) {
        double rstd = 1 / sqrt(stats[e / n * 2 + 1] + norm->eps), w = weight ? weight[e % n] : 1,
               b = bias ? bias[e % n] : 0;
        double of_x = (x[e] - stats[e / n * 2]) * rstd * w;
        r->out[2][e] = of_x + b;
        if (r->magnitude[2]) r->magnitude[2][e] = 2 * fabs(of_x) + fabs(b);
    }
}

static void reference(const esker__reference *r)
{
    const attributes *attr = r->node->attr;
    parts p;
    parts_of(r->node, &p);
    int inner = attr->backward ? 1 : 2, n_product = p.product.n_inputs;
    double k = tolerance(r->node), k_product = p.product.op->tolerance(&p.product) / k,
           k_norm = p.norm.op->tolerance(&p.norm) / k, *in[MOST_INPUTS];
    esker__reference product = *r, norm = *r;
    product.node = &p.product;
    product.out[0] = r->out[inner];
    product.magnitude[0] = r->magnitude[inner];
    product.out[1] = product.magnitude[1] = NULL;
    p.product.op->reference(&product);

    norm.node = &p.norm;
    norm.in = in;
    for (int i = 0, next = n_product; i < p.norm.n_inputs; i++)
        in[i] = p.norm_inputs[i] == &p.inner ? r->out[inner] : r->in[next++];
    for (int i = inner; i < ESKER__MAX_OUTPUTS; i++) norm.out[i] = norm.magnitude[i] = NULL;
    p.norm.op->reference(&norm);
    if (attr->again) reference_again(r, &p, in);
    if (!r->magnitude[0]) return;

    int64_t n = p.inner.type.shape.dims[p.inner.type.shape.rank - 1], rows = esker__elems(&p.inner.type.shape) / n;
    const double *stats = attr->backward ? in[2] : r->out[1];
    const double *weight = attr->norm.has_weight ? in[attr->backward ? 3 : 1] : NULL;
    bool centred = attr->norm.scheme == ESKER__NORM_LAYER;
    for (int64_t i = 0; i < rows; i++) {
        row line = {.n = n,
                    .t = in[0] + i * n,
                    .weight = weight,
                    .size = r->magnitude[inner] + i * n,
                    .mean = stats[2 * i],
                    .rstd = 1 / sqrt(stats[2 * i + 1] + attr->norm.eps)};
        double mean = centred ? mean_of(&line, attr->backward, false) : 0, along = mean_of(&line, attr->backward, true);
        for (int64_t j = 0; j < n; j++) {
            double w = weight ? fabs(weight[j]) : 1, h = fabs(line.t[j] - line.mean) * line.rstd, size = line.size[j];
            double moved = attr->backward ? size * w + mean + h * along : w * (size + mean + h * along);
            r->magnitude[0][i * n + j] = k_norm * r->magnitude[0][i * n + j] + k_product * line.rstd * moved;
        }
        if (attr->backward) continue;
        r->magnitude[1][2 * i] = k_norm * r->magnitude[1][2 * i] + k_product * mean;
        r->magnitude[1][2 * i + 1] = k_norm * r->magnitude[1][2 * i + 1] + k_product * 2 * along / line.rstd;
    }
    for (int64_t e = 0; e < rows * n; e++) r->magnitude[inner][e] *= k_product;
}

static void cost(const esker_node *node, esker__cost *out)
{
    parts p;
    esker__cost of_norm;
    parts_of(node, &p);
    p.product.op->cost(&p.product, out);
    p.norm.op->cost(&p.norm, &of_norm);
    out->flops += of_norm.flops;
    out->bytes += of_norm.bytes - 4 * (double)esker__elems(&p.inner.type.shape); /* not read again */
}

static void title(const esker_node *node, esker__text *text)
{
    parts p;
    parts_of(node, &p);
    p.product.op->title(&p.product, text);
    esker__text_add(text, "+");
    p.norm.op->title(&p.norm, text);
    if (((const attributes *)node->attr)->again) esker__text_add(text, "+%s", p.again.op->name);
}

/* ---- Lowering ---- */

static esker_status lower(esker__lowering *lowering, const esker_node *node);

bool esker__matmul_norm_row_stage(const esker_node *node, esker__row_stage *out)
{
    const attributes *attr = node->attr;
    if (node->op->lower != lower) return false;
    parts p;
    parts_of(node, &p);
    if (!esker__matmul_row_stage(&p.product, out)) return false;
    const esker__norm_attr *norm = &attr->norm;
    esker_node *const *own = p.norm_inputs + (attr->backward ? 3 : 1);
    out->node = node;
    out->p.out = esker__output((esker_node *)node, attr->backward ? 1 : 2);
    out->norm = attr->backward ? 2 : 1;
    out->kind = norm->scheme == ESKER__NORM_RMS;
    out->eps = norm->eps;
    out->weight = norm->has_weight ? *own++ : NULL;
    out->shift = !attr->backward && norm->has_bias ? *own : NULL;
    out->x = attr->backward ? p.norm_inputs[0] : NULL;
    out->stats = attr->backward ? p.norm_inputs[2] : NULL;
    out->stats_output = attr->backward ? -1 : 1;
    out->result_output = attr->backward ? 1 : 2;
    out->again_output = attr->again ? 2 : -1;
    if (attr->again && norm->has_bias) out->shift = node->inputs[node->n_inputs - 1];
    out->tail = &attr->product.tail;
    out->tail_last = norm->tail.program.n_steps > 0;
    if (out->tail_last) {
        out->tail = &norm->tail;
        for (int i = 1; i < norm->tail.program.n_inputs; i++)
            out->tail_inputs[i - 1] = p.norm_inputs[p.norm.n_inputs - norm->tail.program.n_inputs + i];
    }
    cost(node, &out->p.cost);
    return true;
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    bool found;
    esker_status st = esker__lower_row_chain(lowering, node, &found);
    if (found || st != ESKER_OK) return st;
    const attributes *attr = node->attr;
    const esker__norm_attr *norm = &attr->norm;
    parts p;
    parts_of(node, &p);
    esker__operand weight, shift, stats, x, y = esker__write(lowering, node);
    esker__gemm_norm rows = {
        .backward = attr->backward, .kind = norm->scheme == ESKER__NORM_RMS, .eps = norm->eps, .y = &y};
    esker_node *const *own = p.norm_inputs + (attr->backward ? 3 : 1);
    if (norm->has_weight) weight = esker__read(lowering, *own++), rows.weight = &weight;
    if (!attr->backward && norm->has_bias) shift = esker__read(lowering, *own), rows.shift = &shift;
    if (attr->backward) {
        x = esker__read(lowering, p.norm_inputs[0]);
        stats = esker__read(lowering, p.norm_inputs[2]);
        rows.x = &x;
        rows.stats = &stats;
    } else if (esker__output_is_used(lowering, node, 1)) {
        stats = esker__write(lowering, esker__output((esker_node *)node, 1));
        rows.stats = &stats;
    }
    esker__operand again, *bias = NULL;
    if (attr->again && norm->has_bias) shift = esker__read(lowering, node->inputs[node->n_inputs - 1]), bias = &shift;
    if (attr->again) again = esker__write(lowering, &p.again), rows.again = &again, rows.shift = bias;
    rows.result_is_used = esker__output_is_used(lowering, node, attr->backward ? 1 : 2);
    rows.tail = &norm->tail;
    rows.tail_node = &p.norm;
    esker__cost all;
    cost(node, &all);
    st = esker__matmul_lower_with_norm(lowering, &p.product, &rows, &all, &found);
    if (found) return st;
    int choice = esker__chosen(lowering);
    st = p.product.op->lower(lowering, &p.product);
    esker__go_on_with(lowering, choice);
    if (st == ESKER_OK) st = p.norm.op->lower(lowering, &p.norm);
    if (st != ESKER_OK || !attr->again) return st;
    return esker__norm_lower(
        lowering, &(esker__norm_forward){
                      .node = &p.again, .weight = norm->has_weight ? &weight : NULL, .bias = bias, .pairs = &stats});
}

/* ---- Fusion ---- */

static bool absorb(const esker_node *node, const esker_node *user, int which, const esker__fusion *fusion, void *attribute)
{
    attributes *attr = attribute;
    if (attr->product.tail.program.n_steps) return false; /* a kernel has one program */
    uint32_t blocks = (uint32_t)(node->n_inputs - esker__tail_n_inputs(&attr->norm.tail)) + 3;
    return esker__tail_absorb(&attr->norm.tail, &node->type.shape, -1, blocks, user, which, fusion);
}

static bool recompute(const esker_node *node, int which, const esker_node *made, bool alone, uint32_t storage_blocks,
                      void *attr, const esker_node **out_more);

#define MATMUL_NORM(results, ...)                                                                                   \
    {                                                                                                               \
        .name = "matmul", .n_inputs = -1, .n_outputs = (results), .attr_bytes = sizeof(attributes), .infer = infer, \
        .reference = reference, .tolerance = tolerance, .atol = 4 * ESKER__FLUSHED, .cost = cost, .lower = lower,   \
        .title = title, __VA_ARGS__                                                                                 \
    }
static const esker__op op_matmul_norm = MATMUL_NORM(3, .absorb = absorb),
                       op_matmul_norm_grad_again = MATMUL_NORM(3, .flags = ESKER__OP_OUTPUTS_TOGETHER),
                       op_matmul_norm_grad = MATMUL_NORM(2, .absorb = absorb, .recompute = recompute,
                                                         .keeping = &op_matmul_norm_grad_again);
#undef MATMUL_NORM

/* The x that `made`, a norm of rows without anything behind it, has normalised, and its bias, where there is one; NULL: it is something else. */
static const esker_node *normalised_by(const esker_node *made, const esker_node **out_bias)
{
    parts p;
    bool fused = made->op == &op_matmul_norm;
    if (!fused && made->op != &esker__op_layer_norm && made->op != &esker__op_rms_norm) return NULL;
    if (fused) parts_of(made, &p);
    const esker_node *norm = fused ? &p.norm : made;
    const esker__norm_attr *attr = norm->attr;
    if (attr->tail.program.n_steps) return NULL;
    if (attr->has_bias) *out_bias = norm->inputs[1 + attr->has_weight];
    return fused ? esker__output((esker_node *)made, 2) : esker__root_of(made->inputs[0]);
}

/* Others may read the statistics, too: they are small, and x is kept for the gradient in any case. */
static bool recompute(const esker_node *node, int which, const esker_node *made, bool alone, uint32_t storage_blocks,
                      void *attribute, const esker_node **out_more)
{
    enum { STATS = 1 }; /* of the norm's inputs, without the gradient that comes in */
    attributes *attr = attribute;
    const esker_node *bias = NULL, *x = normalised_by(made, &bias);
    int of_product = product_inputs(attr);
    (void)alone;
    if (!x || which != of_product + STATS || esker__root_of(node->inputs[of_product]) != x ||
        !esker_shape_equal(&node->inputs[of_product]->type.shape, &made->type.shape) ||
        (bias != NULL) != (attr->norm.has_bias != 0) || (uint32_t)node->n_inputs + 5 > storage_blocks ||
        node->n_inputs == MOST_INPUTS)
        return false;
    attr->again = 1;
    *out_more = bias;
    return true;
}

/* Whether it has short rows that nobody reads yet, on GPUs where that pays: others would gain nothing, and have less to fuse. */
static bool suits(const esker_node *product, const esker__norm_attr *norm, const esker__fusion *fusion)
{
    const esker_limits *limits = fusion->limits;
    bool usual = fusion->family == ESKER__FAMILY_NVIDIA && limits->group_invocations >= 1024;
    const esker_graph *graph = product->graph;
    if (product->op != &esker__op_matmul || (norm->scheme != ESKER__NORM_LAYER && norm->scheme != ESKER__NORM_RMS) ||
        norm->axes != 1 || limits->storage_blocks < 12 || !esker__setting("whole_rows", usual))
        return false;
    const esker__matmul_attr *attr = product->attr;
    const esker_shape *b = &product->inputs[1]->type.shape;
    int64_t n = product->type.shape.dims[product->type.shape.rank - 1], k = b->dims[b->rank - (attr->transpose_b ? 1 : 2)];
    if (attr->transpose_a || attr->sum_batch || attr->sums_a || attr->tail.keeps || norm->tail.program.n_steps)
        return false;
    for (int i = 0; i + 2 < b->rank; i++)
        if (b->dims[i] != 1) return false;
    if (n % 4 || n < 8 || n > ESKER__GEMM_WHOLE_COLUMNS || k < 8 || esker__elems(&product->type.shape) > n * MOST_ROWS)
        return false;
    for (size_t id = (size_t)product->id + 1; id < graph->n_nodes; id++)
        for (int i = 0; i < graph->nodes[id]->n_inputs; i++)
            if (graph->nodes[id]->inputs[i] == product) return false;
    return true;
}

static esker_node *fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs, int inner,
                         const esker__fusion *fusion)
{
    enum { NEAR = 16 };
    attributes attr = {.norm = *(const esker__norm_attr *)node->attr, .backward = inner == 1};
    const esker_node *product = inputs[inner];
    if ((size_t)product->id + NEAR < graph->n_nodes || !suits(product, &attr.norm, fusion)) return NULL;
    attr.product = *(const esker__matmul_attr *)product->attr;
    if (attr.backward && (attr.product.tail.has_bias || attr.product.tail.program.n_steps)) return NULL;
    esker_node *all[MOST_INPUTS + 8];
    int n = 0;
    for (int i = 0; i < product->n_inputs; i++) all[n++] = product->inputs[i];
    for (int i = 0; i < node->n_inputs; i++)
        if (i != inner) all[n++] = inputs[i];
    if (n > MOST_INPUTS || n + 4 > (int)fusion->storage_blocks) return NULL;
    esker_node *made = esker__record_in(graph, attr.backward ? &op_matmul_norm_grad : &op_matmul_norm, &attr, all, n);
    if (made && product->label) esker_label(made, product->label);
    fusion->map[node->inputs[inner]->id] = esker__output(made, attr.backward ? 1 : 2);
    return made;
}

esker_node *esker__fused_norm(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                              const esker__fusion *fusion)
{
    return fused(graph, node, inputs, 0, fusion);
}

esker_node *esker__fused_norm_grad(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion)
{
    return fused(graph, node, inputs, 1, fusion);
}
