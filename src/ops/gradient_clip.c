/*
 * Clipping of all gradients together, in the gradient arena, between the backward pass and the update. Source
 * torch.nn.utils.clip_grad_value_ and clip_grad_norm_.
 *
 * As recorded it is done in place, the scaling by a dispatch of its own. With fusion the update clips what it reads, and nothing
 * writes the gradients: what is left here is one pass that sums up squares by groups of elements. Where these sums are few, each group
 * of the update adds them up itself, and a second pass makes the norm beside it if somebody wants it; else behind that pass. They
 * reach the update as a uniform block: its four storage blocks are in use, which is all that ES 3.1 promises. By value alone there is nothing to sum
 * up, and what computes a gradient may clamp it and update (updating.c).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "graph/params.h"
#include "ops/optimizer.h"
#include "plan/lowering.h"

#define SCALE_QUADS 128  /* that a group of optim/clip_scale does */
#define SUM_ELEMS   8192 /* at least, behind each sum of squares */

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    *out = (esker__type){.dtype = ESKER_DTYPE_F32};
    return esker__infer_gradients("clip_gradients", inputs, n_inputs);
}

static double norm_of(const esker__reference *r)
{
    double sum = 0;
    for (int i = 0; i < r->node->n_inputs; i++) {
        int64_t n = 0;
        if (esker_shape_elems(&r->node->inputs[i]->type.shape, &n) != ESKER_OK) return NAN;
        for (int64_t j = 0; j < n; j++) sum += r->in[i][j] * r->in[i][j];
    }
    return sqrt(sum);
}

static void reference(const esker__reference *r)
{
    const esker__clip_attr *a = r->node->attr;
    for (int pass = 0; pass < 2; pass++) {
        double norm = pass ? norm_of(r) : 0, scale = pass && a->norm > 0 ? (double)a->norm / (norm + 1e-6) : 1;
        if (pass) r->out[0][0] = a->norm > 0 ? norm : 0;
        for (int i = 0; i < r->node->n_inputs; i++) {
            int64_t n = 0;
            if (esker_shape_elems(&r->node->inputs[i]->type.shape, &n) != ESKER_OK) return;
            for (int64_t j = 0; j < n; j++) {
                double *g = &r->in[i][j], most = a->value;
                if (!pass && most > 0) *g = *g > most ? most : *g < -most ? -most : *g;
                if (!(scale >= 1)) *g *= scale;
            }
        }
    }
}

static double count(const esker_node *node)
{
    double n = 0;
    for (int i = 0; i < node->n_inputs; i++) {
        int64_t n_elems = 0;
        if (esker_shape_elems(&node->inputs[i]->type.shape, &n_elems) == ESKER_OK) n += (double)n_elems;
    }
    return n;
}

/* Sums in a fixed tree: about log2(n) roundings of each term, and half as much of the root. */
static double tolerance(const esker_node *node)
{
    return 2 * log2(count(node) + 2) + 20;
}

static void cost(const esker_node *node, esker__cost *out)
{
    const esker__clip_attr *a = node->attr;
    double n = count(node), arrays = 1 + (a->value > 0) + (a->norm > 0 ? 2 : 0);
    *out = (esker__cost){.flops = 4 * n, .bytes = 4 * arrays * n};
}

/* What the dispatches of the first pass share. */
typedef struct squares {
    float most;          /* in size; 0: whatever they are */
    bool keep;           /* clamped gradients */
    uint32_t unit;       /* elements behind each sum of squares */
    uint32_t multiple;   /* so many sums at once: the last ones may be 0 */
    esker__operand sums; /* if they are written */
} squares;

static esker_status emit_part(esker__lowering *l, const char *kernel, const char *defines, bool write, uint64_t first,
                              uint64_t n, uint64_t n_groups, const esker__operand *other, uint32_t *params, int n_params)
{
    esker__dispatch_desc desc = {
        .kernel = kernel, .defines = defines, .n_operands = other ? 2 : 1, .params = params, .n_params = n_params};
    desc.operands[0] = (esker__operand){
        .value = esker__gradients_value(l), .write = write, .offset_bytes = first * 4, .n_bytes = n * 4};
    desc.cost = (esker__cost){.flops = 4 * (double)n, .bytes = 4 * (double)n * (1 + write)};
    if (other) desc.operands[1] = *other;
    esker_status st = esker__fold_groups(l, n_groups, desc.groups);
    params[0] = desc.groups[0];
    params[1] = (uint32_t)(n / 4);
    return st == ESKER_OK ? esker__emit(l, &desc) : st;
}

/* The elements of a dispatch: what a storage block holds, where it can in whole sums. */
static uint64_t most_elems(const esker_limits *limits, uint64_t unit)
{
    uint64_t most = limits->storage_block_bytes / 4;
    if (most < unit) unit = ESKER__PARAM_ALIGN;
    return most / unit * unit;
}

static uint64_t count_sums(uint64_t n_elems, uint64_t most, uint64_t unit)
{
    uint64_t n = 0;
    for (uint64_t at = 0; at < n_elems; at += most) n += esker__ceil_div(n_elems - at < most ? n_elems - at : most, unit);
    return n;
}

/* Clamp and sum up squares, part by part where the arena is larger than a storage block. */
static esker_status emit_squares(esker__lowering *l, const squares *s)
{
    char defines[48];
    uint64_t n_elems = esker__params_value_elems(l), most = most_elems(esker__lowering_limits(l), s->unit);
    uint32_t first_sum = 0;
    snprintf(defines, sizeof defines, "CLAMP %d\nKEEP %d\nSQUARES %d\n", s->most > 0, s->keep, s->sums.write);
    esker_status st = ESKER_OK;
    for (uint64_t at = 0; st == ESKER_OK && at < n_elems; at += most) {
        uint64_t n = n_elems - at < most ? n_elems - at : most;
        uint32_t n_groups = (uint32_t)esker__round_up(esker__ceil_div(n, s->unit), s->multiple);
        uint32_t params[] = {0, 0, first_sum, n_groups, 0, s->unit / 512};
        memcpy(&params[4], &s->most, 4);
        st = emit_part(l, "optim/clip", defines, s->keep, at, n, n_groups, s->sums.write ? &s->sums : NULL, params, 6);
        first_sum += n_groups;
    }
    return st;
}

/* The second pass: the norm, and with `total` its square. */
static esker_status emit_norm(esker__lowering *l, esker__value sums, uint32_t n_sums, esker__operand norm,
                              const esker__operand *total)
{
    esker__dispatch_desc desc = {.kernel = "optim/norm",
                                 .defines = total ? "TOTAL 1\n" : "TOTAL 0\n",
                                 .groups = {1, 1, 1},
                                 .operands = {{.value = sums}, norm},
                                 .n_operands = total ? 3 : 2,
                                 .params = &n_sums,
                                 .n_params = 1,
                                 .cost = {.flops = n_sums, .bytes = 4.0 * n_sums}};
    if (total) desc.operands[2] = *total;
    return esker__emit(l, &desc);
}

static esker_status lower(esker__lowering *l, const esker_node *node)
{
    const esker__clip_attr *a = node->attr;
    uint64_t n_elems = esker__params_value_elems(l), most = most_elems(esker__lowering_limits(l), SUM_ELEMS),
             n_sums = count_sums(n_elems, most, SUM_ELEMS);
    squares s = {.most = a->value, .keep = a->value > 0, .unit = SUM_ELEMS, .multiple = 1, .sums = {.write = a->norm > 0}};
    if (s.sums.write) s.sums.value = esker__scratch(l, n_sums * 4);
    esker_status st = emit_squares(l, &s);
    if (st != ESKER_OK || !s.sums.write) return st;
    esker__operand norm = esker__write(l, node);
    st = emit_norm(l, s.sums.value, (uint32_t)n_sums, norm, NULL);
    norm.write = false;
    for (uint64_t at = 0; st == ESKER_OK && isfinite(a->norm) && at < n_elems; at += most) {
        uint32_t params[3];
        memcpy(&params[2], &a->norm, 4);
        st = emit_part(l, "optim/clip_scale", "", true, at, n_elems - at < most ? n_elems - at : most,
                       esker__ceil_div((n_elems - at < most ? n_elems - at : most) / 4, SCALE_QUADS), &norm, params, 3);
    }
    return st;
}

/* ---- What is left of it where the update clips ---- */

typedef struct measure_attr {
    esker__clip_attr clip;
    int32_t unit; /* elements of the arena behind each sum */
    int32_t
        whole; /* output 1 is one sum of squares, that of all; else one for each unit, and zeros up to a multiple of 4 */
} measure_attr;

static esker_status infer_measure(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const measure_attr *a = attr;
    esker_status st = infer(&a->clip, inputs, n_inputs, out);
    if (st != ESKER_OK) return st;
    uint64_t n_sums = esker__ceil_div(inputs[0]->graph->params->trained_elems, (uint64_t)a->unit);
    out[1] = (esker__type){ESKER_DTYPE_F32, {1, {a->whole ? 1 : (int64_t)esker__round_up(n_sums, 4)}}};
    return ESKER_OK;
}

static double clamped(double g, double most)
{
    return most > 0 ? g > most ? most : g < -most ? -most : g : g;
}

static void reference_measure(const esker__reference *r)
{
    const measure_attr *a = r->node->attr;
    const esker_params *params = r->node->graph->params;
    double total = 0;
    int next = 0;
    for (int64_t i = 0, n = esker__elems(&esker__output((esker_node *)r->node, 1)->type.shape); r->out[1] && i < n; i++)
        r->out[1][i] = 0;
    for (size_t i = 0; i < params->n; i++) {
        const esker__param *p = &params->list[i];
        if (p->frozen) continue;
        const double *g = r->in[next++];
        for (int64_t j = 0; j < p->n_elems; j++) {
            double square = clamped(g[j], a->clip.value) * clamped(g[j], a->clip.value);
            total += square;
            if (r->out[1]) r->out[1][a->whole ? 0 : (p->offset + (uint64_t)j) / (uint64_t)a->unit] += square;
        }
    }
    r->out[0][0] = a->clip.norm > 0 ? sqrt(total) : 0;
}

static esker_status lower_measure(esker__lowering *l, const esker_node *node)
{
    const measure_attr *a = node->attr;
    uint64_t unit = (uint64_t)a->unit, most = most_elems(esker__lowering_limits(l), unit);
    uint32_t n_sums = (uint32_t)count_sums(esker__params_value_elems(l), most, unit);
    if (!(a->clip.norm > 0)) return ESKER_OK;
    squares s = {.most = a->clip.value, .unit = (uint32_t)unit, .multiple = a->whole ? 1 : 4};
    esker__operand sums = esker__write(l, esker__output((esker_node *)node, 1));
    s.sums = sums;
    if (a->whole) s.sums.value = esker__scratch(l, 4 * (uint64_t)n_sums);
    esker_status st = emit_squares(l, &s);
    if (st != ESKER_OK || !(a->whole || esker__output_is_used(l, node, 0))) return st;
    return emit_norm(l, s.sums.value, n_sums, esker__write(l, node), a->whole ? &sums : NULL);
}

static void cost_measure(const esker_node *node, esker__cost *out)
{
    *out = (esker__cost){.flops = 4 * count(node), .bytes = 4 * count(node)};
}

static void title_measure(const esker_node *node, esker__text *text)
{
    (void)node;
    esker__text_add(text, "gradient_norm");
}

static const esker__op measure = {
    .name = "clip_gradients",
    .n_inputs = -1,
    .n_outputs = 2,
    .attr_bytes = sizeof(measure_attr),
    .flags = ESKER__OP_EFFECT,
    .infer = infer_measure,
    .reference = reference_measure,
    .tolerance = tolerance,
    .cost = cost_measure,
    .lower = lower_measure,
    .title = title_measure,
};

/* By value alone there is nothing to measure: no more than that is left, and what clips. Nobody reads the output. */
static esker_status infer_limit(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr, (void)inputs, (void)n_inputs;
    *out = (esker__type){.dtype = ESKER_DTYPE_F32};
    return ESKER_OK;
}

static const esker__op limit = {
    .name = "clip_value", .n_outputs = 1, .attr_bytes = sizeof(esker__clip_attr), .infer = infer_limit};

/*
 * How many sums an invocation of the update may have to add up, and what a group may have to do for one: a small GPU is full with 8
 * groups, and one with T860's registers has none left for more, nor for any beside the clamping. A large one reads uniforms at no
 * cost, and wants more groups.
 */
static esker_node *fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs, const esker__fusion *fusion)
{
    measure_attr attr = {.clip = *(const esker__clip_attr *)node->attr};
    bool large = fusion->limits->group_invocations >= 1024;
    uint64_t n = graph->params->trained_elems, most = most_elems(fusion->limits, SUM_ELEMS);
    uint64_t unit = esker__round_up(esker__ceil_div(n, large ? 64 : 8), SUM_ELEMS);
    if (most < SUM_ELEMS || !graph->params->fixed) return NULL;
    if (!(attr.clip.norm > 0)) return esker__record_in(graph, &limit, &attr.clip, NULL, 0);
    attr.whole = n > most || unit > (large ? 2 : 16) * SUM_ELEMS || (!large && attr.clip.value > 0);
    attr.unit = attr.whole ? SUM_ELEMS : (int32_t)unit;
    return esker__record_in(graph, &measure, &attr, inputs, node->n_inputs);
}

const esker__op esker__op_clip_gradients = {
    .name = "clip_gradients",
    .n_inputs = -1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__clip_attr),
    .flags = ESKER__OP_EFFECT,
    .infer = infer,
    .reference = reference,
    .tolerance = tolerance,
    .cost = cost,
    .lower = lower,
    .fused = fused,
};

/* ---- In updates ---- */

/* Clipping by value: of each gradient for itself, so that what computes it may do that and update. */
static esker_node *clamp_and_update(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                    const esker__optimizer_attr *attr, const esker__fusion *fusion)
{
    esker__optimizer_attr own = *attr;
    esker_node alone = *node;
    own.has_clip = 0;
    own.clip = *(const esker__clip_attr *)inputs[node->n_inputs - 1]->attr;
    alone.attr = &own;
    alone.n_inputs--;
    esker_node *made = esker__update_with_gradients(graph, &alone, inputs, fusion);
    return made ? made : esker__record_in(graph, node->op, &own, inputs, alone.n_inputs);
}

esker_node *esker__optimizer_fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion)
{
    esker__optimizer_attr attr = *(const esker__optimizer_attr *)node->attr;
    int last = node->n_inputs - 1;
    if (!attr.has_clip) return esker__update_with_gradients(graph, node, inputs, fusion);
    if (inputs[last]->op == &limit) return clamp_and_update(graph, node, inputs, &attr, fusion);
    if (inputs[last]->op != &measure) return NULL;
    attr.clip = ((const measure_attr *)inputs[last]->attr)->clip;
    if (!isfinite(attr.clip.norm)) attr.clip.norm = 0; /* it is measured alone */
    esker_node **own = esker__pool_alloc(&graph->pool, (size_t)node->n_inputs * sizeof *own);
    if (!own) return esker__graph_fail(graph, esker__fail_memory((size_t)node->n_inputs * sizeof *own, "graph pass"));
    memcpy(own, inputs, (size_t)node->n_inputs * sizeof *own);
    if (attr.clip.norm > 0) own[last] = esker__output(own[last], 1);
    return esker__record_in(graph, node->op, &attr, own, node->n_inputs);
}

double esker__clip_factor(const esker__reference *r)
{
    const esker__optimizer_attr *a = r->node->attr;
    if (!(a->clip.norm > 0)) return 1;
    int last = r->node->n_inputs - 1;
    double sum = 0;
    for (int64_t i = 0, n = esker__elems(&r->node->inputs[last]->type.shape); i < n; i++) sum += r->in[last][i];
    double factor = (double)a->clip.norm / (sqrt(sum) + 1e-6);
    return factor >= 1 ? 1 : factor;
}

double esker__clip(const esker__optimizer_attr *attr, double factor, double g)
{
    return clamped(g, attr->clip.value) * factor;
}

void esker__clipping_init(esker__lowering *lowering, const esker_node *node, esker__clipping *out)
{
    const esker__optimizer_attr *a = node->attr;
    *out = (esker__clipping){.has_sums = a->clip.norm > 0, .most = {a->clip.value, a->clip.norm}};
    if (!(a->clip.value > 0) && !out->has_sums) return;
    int n_sums = 0;
    if (out->has_sums) {
        const esker_node *sums = node->inputs[node->n_inputs - 1];
        n_sums = (int)esker__elems(&sums->type.shape);
        out->sums = esker__read(lowering, sums);
        out->sums.uniform = true;
    }
    snprintf(out->defines, sizeof out->defines, "CLIPPING 1\nVALUE %d\nSUMS %d\n", a->clip.value > 0, n_sums);
}

int esker__clipping_add(const esker__clipping *clipping, esker__dispatch_desc *d, uint32_t *params)
{
    if (!clipping->defines[0]) return 0;
    if (clipping->has_sums) d->operands[d->n_operands++] = clipping->sums;
    memcpy(params, clipping->most, sizeof clipping->most);
    return 2;
}
