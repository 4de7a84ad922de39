/*
 * norm(take(table, index) + added): what a transformer begins with. Each of the two is little else than the wait for the one before; a group that reads a
 * row of the table can go on with its norm (glsl/norm/taken). Outputs: 0 the norms, 1 their statistics, 2 the rows.
 */
#include "ops/take_norm.h"

#include <math.h>

#include "base/fail.h"
#include "ops/norm_call.h"
#include "ops/ops.h"

typedef struct attributes {
    esker__gather_attr take;
    esker__norm_attr norm;
} attributes;

#define GROUP      128
#define MOST_UNITS 512 /* vec4 of a row: four of each invocation of a group */
#define MOST_IN    5

/* The two nodes: of the ids of what they compute. */
typedef struct parts {
    esker_node take, norm;
    esker_node *norm_inputs[3];
} parts;

static int take_inputs(const attributes *attr)
{
    return 2 + (attr->take.adds != 0);
}

static const esker__op *norm_op(const attributes *attr)
{
    return attr->norm.scheme == ESKER__NORM_RMS ? &esker__op_rms_norm : &esker__op_layer_norm;
}

static void parts_of(const esker_node *node, parts *out)
{
    attributes *attr = node->attr;
    out->norm = *node;
    out->take = *esker__output((esker_node *)node, 2);
    out->take.op = &esker__op_take;
    out->take.attr = &attr->take;
    out->take.output = 0;
    out->take.producer = &out->take;
    out->take.inputs = node->inputs;
    out->take.n_inputs = take_inputs(attr);
    out->norm.op = norm_op(attr);
    out->norm.attr = &attr->norm;
    out->norm.inputs = out->norm_inputs;
    out->norm.n_inputs = 1 + node->n_inputs - out->take.n_inputs;
    out->norm_inputs[0] = &out->take;
    for (int i = 1; i < out->norm.n_inputs; i++) out->norm_inputs[i] = node->inputs[out->take.n_inputs + i - 1];
}

static esker_status infer(const void *attribute, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    attributes attr = *(const attributes *)attribute;
    int n_take = take_inputs(&attr), n = 1;
    if (n_inputs < n_take || n_inputs > MOST_IN)
        return esker__fail(ESKER_ERR_INTERNAL, "take and norm: %d inputs given", n_inputs);
    esker_node taken = *inputs[0], *own[3] = {&taken};
    esker_status st = esker__op_take.infer(&attr.take, inputs, n_take, &taken.type);
    for (int i = n_take; i < n_inputs; i++) own[n++] = inputs[i];
    if (st == ESKER_OK) st = norm_op(&attr)->infer(&attr.norm, own, n, out);
    out[2] = taken.type;
    return st;
}

/* ---- Reference ---- */

static double tolerance(const esker_node *node)
{
    parts p;
    parts_of(node, &p);
    return p.norm.op->tolerance(&p.norm) + 2; /* and the sum of the row and what is added */
}

/* The norm's own errors, and to first order what errors of the rows become in it. */
static void reference(const esker__reference *r)
{
    const attributes *attr = r->node->attr;
    parts p;
    parts_of(r->node, &p);
    esker__reference take = *r, norm = *r;
    double *in[3] = {r->out[2]};
    take.node = &p.take;
    take.out[0] = r->out[2];
    take.magnitude[0] = r->magnitude[2];
    take.out[1] = take.magnitude[1] = NULL;
    p.take.op->reference(&take);
    norm.node = &p.norm;
    norm.in = in;
    for (int i = 1; i < p.norm.n_inputs; i++) in[i] = r->in[p.take.n_inputs + i - 1];
    norm.out[2] = norm.magnitude[2] = NULL;
    p.norm.op->reference(&norm);
    if (!r->magnitude[0] || !attr->take.adds) return;

    int64_t n = p.take.type.shape.dims[p.take.type.shape.rank - 1], rows = esker__elems(&p.take.type.shape) / n;
    double k = tolerance(r->node), share = 2 / k;
    for (int64_t i = 0; i < rows; i++) {
        const double *x = r->out[2] + i * n, *stats = r->out[1] + 2 * i;
        double rstd = 1 / sqrt(stats[1] + attr->norm.eps), size = 0, along = 0;
        for (int64_t j = 0; j < n; j++) {
            size += fabs(x[j]) / (double)n;
            along += fabs(x[j] * (x[j] - stats[0])) * rstd / (double)n;
        }
        if (attr->norm.scheme == ESKER__NORM_RMS) size = 0;
        for (int64_t j = 0; j < n; j++) {
            double w = attr->norm.has_weight ? fabs(in[1][j]) : 1, h = fabs(x[j] - stats[0]) * rstd;
            r->magnitude[0][i * n + j] += share * w * rstd * (fabs(x[j]) + size + h * along);
        }
        r->magnitude[1][2 * i] += share * size;
        r->magnitude[1][2 * i + 1] += share * 2 * along / rstd;
    }
}

static void cost(const esker_node *node, esker__cost *out)
{
    double n = (double)esker__elems(&node->type.shape);
    *out = (esker__cost){10 * n, 12 * n};
}

static void title(const esker_node *node, esker__text *text)
{
    const attributes *attr = node->attr;
    esker__text_add(text, "take%s+%s", attr->take.adds ? "+add" : "", norm_op(attr)->name);
}

/* ---- Lowering ---- */

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const attributes *attr = node->attr;
    const esker__norm_attr *norm = &attr->norm;
    const esker_shape *table = &node->inputs[0]->type.shape;
    int64_t n = esker__elems(&node->type.shape);
    uint32_t units = (uint32_t)(table->dims[1] / 4), lanes = 1;
    esker_status st = esker__check_indexable(lowering, (uint64_t)n);
    if (st != ESKER_OK) return st;
    while (lanes < GROUP && lanes < units) lanes *= 2;
    struct {
        uint32_t groups_x, rows, table_n, added_n, fill;
        float eps;
    } params = {0, (uint32_t)(n / table->dims[1]),    (uint32_t)table->dims[0],
                1, attr->take.zero ? 0 : 0x7fc00000u, norm->eps};
    esker__norm_call c = {.desc = {.kernel = "norm/taken", .params = &params, .n_params = 6}};
    st = esker__fold_groups(lowering, esker__ceil_div(params.rows, GROUP / lanes), c.desc.groups);
    if (st != ESKER_OK) return st;
    params.groups_x = c.desc.groups[0];
    cost(node, &c.desc.cost);
    esker_dtype dtype = node->inputs[1]->type.dtype;
    esker__norm_define(&c, "WG", GROUP);
    esker__norm_define(&c, "LANES", (int)lanes);
    esker__norm_define(&c, "HELD", (int)esker__ceil_div(units, lanes));
    esker__norm_define(&c, "UNITS", (int)units);
    esker__norm_define(&c, "KIND", norm->scheme == ESKER__NORM_RMS);
    esker__norm_define(&c, "INDEX", dtype == ESKER_DTYPE_F32 ? 1 : dtype == ESKER_DTYPE_U8 ? 2 : 0);

    esker__operand operands[MOST_IN], y = esker__write(lowering, node), x, stats;
    for (int i = 0; i < node->n_inputs; i++) operands[i] = esker__read(lowering, node->inputs[i]);
    int next = 2;
    esker__norm_bind(&c, NULL, &operands[0], false);
    esker__norm_bind(&c, NULL, &operands[1], false);
    if (attr->take.adds) {
        params.added_n = (uint32_t)(esker__elems(&node->inputs[2]->type.shape) / 4);
        esker__norm_bind(&c, "ADDED", &operands[next++], false);
    }
    if (norm->has_weight) esker__norm_bind(&c, "WEIGHT", &operands[next++], false);
    if (norm->has_bias) esker__norm_bind(&c, "BIAS", &operands[next], false);
    esker__norm_bind(&c, "Y", &y, true);
    if (esker__output_is_used(lowering, node, 2)) {
        x = esker__write(lowering, esker__output((esker_node *)node, 2));
        esker__norm_bind(&c, "X", &x, true);
    }
    if (esker__output_is_used(lowering, node, 1)) {
        stats = esker__write(lowering, esker__output((esker_node *)node, 1));
        esker__norm_bind(&c, "STATS", &stats, true);
    }
    return esker__norm_emit(lowering, &c);
}

/* ---- Fusion ---- */

static const esker__op take_norm = {.name = "take",
                                    .n_inputs = -1,
                                    .n_outputs = 3,
                                    .attr_bytes = sizeof(attributes),
                                    .infer = infer,
                                    .reference = reference,
                                    .tolerance = tolerance,
                                    .atol = 4 * ESKER__FLUSHED,
                                    .cost = cost,
                                    .lower = lower,
                                    .title = title};

static bool suits(const esker_node *take, const esker__norm_attr *norm, const esker__fusion *fusion)
{
    enum { BLOCKS = 8 };
    const esker_graph *graph = take->graph;
    if (take->op != &esker__op_take || take->type.dtype != ESKER_DTYPE_F32 || norm->axes != 1 ||
        norm->tail.program.n_steps || (norm->scheme != ESKER__NORM_LAYER && norm->scheme != ESKER__NORM_RMS))
        return false;
    const esker_shape *table = &take->inputs[0]->type.shape;
    bool usual = fusion->family == ESKER__FAMILY_NVIDIA && fusion->limits->group_invocations >= 1024;
    if (fusion->limits->storage_blocks < BLOCKS || !esker__setting("taken_norms", usual)) return false;
    if (table->rank != 2 || ((const esker__gather_attr *)take->attr)->axis != 0 || table->dims[1] % 4 ||
        table->dims[1] > 4 * MOST_UNITS || take->type.shape.dims[take->type.shape.rank - 1] != table->dims[1])
        return false;
    for (size_t id = (size_t)take->id + 1; id < graph->n_nodes; id++)
        for (int i = 0; i < graph->nodes[id]->n_inputs; i++)
            if (graph->nodes[id]->inputs[i] == take) return false;
    return true;
}

esker_node *esker__fused_take_norm(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion)
{
    enum { NEAR = 16 };
    attributes attr = {.norm = *(const esker__norm_attr *)node->attr};
    const esker_node *take = inputs[0];
    esker_node *all[MOST_IN];
    int n = 0;
    if ((size_t)take->id + NEAR < graph->n_nodes || !suits(take, &attr.norm, fusion)) return NULL;
    attr.take = *(const esker__gather_attr *)take->attr;
    for (int i = 0; i < take->n_inputs; i++) all[n++] = take->inputs[i];
    for (int i = 1; i < node->n_inputs; i++) all[n++] = inputs[i];
    esker_node *made = esker__record_in(graph, &take_norm, &attr, all, n);
    if (!made) return NULL;
    if (take->label) esker_label(made, take->label);
    fusion->map[node->inputs[0]->id] = esker__output(made, 2);
    return made;
}
