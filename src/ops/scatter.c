/*
 * scatter_add, and the gradients of take and gather, which may update the table. What is added up is owned by one invocation for each
 * element and added in the order of the indices, so that no atomics are needed and the bits are always the same.
 */
#include "ops/gather.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/text.h"
#include "ops/ops.h"
#include "ops/optimizer.h"

#define GROUP_SIZE 64

typedef struct updating_attr {
    esker__gather_grad_attr grad;
    esker__update update;
} updating_attr;

static const esker__op updating_take_grad;

static bool is_take_grad(const esker_node *node)
{
    return node->op == &esker__op_take_grad || node->op == &updating_take_grad;
}

/* What is added is input 0 of the gradients, 2 of scatter_add; the indices are input 1. */
static esker__index_split scatter_split(const esker_node *node)
{
    int axis = *(const int32_t *)node->attr;
    const esker_shape *index = &node->inputs[1]->type.shape;
    return esker__index_split_at(&node->type.shape, axis, is_take_grad(node) ? esker__elems(index) : index->dims[axis]);
}

static esker_status take_grad_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__gather_grad_attr *a = attr;
    const esker_shape *g = &inputs[0]->type.shape, *index = &inputs[1]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    bool fits = a->axis + index->rank <= g->rank && g->rank - index->rank < ESKER_MAX_RANK;
    for (int i = 0; fits && i < index->rank; i++) fits = g->dims[a->axis + i] == index->dims[i];
    if (!fits || inputs[0]->type.dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: nothing taken has this shape",
                           esker__signature(text, "take_grad", inputs, n_inputs));
    *out = (esker__type){.dtype = ESKER_DTYPE_F32};
    for (int i = 0; i < a->axis; i++) out->shape.dims[out->shape.rank++] = g->dims[i];
    out->shape.dims[out->shape.rank++] = a->n;
    for (int i = a->axis + index->rank; i < g->rank; i++) out->shape.dims[out->shape.rank++] = g->dims[i];
    return ESKER_OK;
}

static esker_status gather_grad_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__gather_grad_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    if (!esker_shape_equal(&inputs[0]->type.shape, &inputs[1]->type.shape))
        return esker__fail(ESKER_ERR_INTERNAL, "%s: the shapes must agree",
                           esker__signature(text, "gather_grad", inputs, n_inputs));
    *out = inputs[0]->type;
    out->shape.dims[a->axis] = a->n;
    return ESKER_OK;
}

static esker_status scatter_add_infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__gather_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "scatter_add", inputs, n_inputs);
    esker_status st = esker__index_check_each(text, inputs, a->axis);
    if (st != ESKER_OK) return st;
    if (inputs[0]->type.dtype != ESKER_DTYPE_F32 || inputs[2]->type.dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "%s: float32 is needed (esker_convert)", text);
    if (!esker_shape_equal(&inputs[1]->type.shape, &inputs[2]->type.shape))
        return esker__fail(ESKER_ERR_INVALID, "%s: values and indices must have one shape", text);
    *out = inputs[0]->type;
    return ESKER_OK;
}

/* They are linear in what is added; what falls outside adds nothing, so its gradient is 0. */
static esker_node *scatter_gradient(esker_node *node, esker_node *grad, int input)
{
    esker__gather_attr attr = {.axis = *(const int32_t *)node->attr, .zero = 1};
    if (node->op == &esker__op_scatter_add && input == 0) return grad;
    return esker__record(node->op == &esker__op_take_grad ? &esker__op_take : &esker__op_gather, &attr,
                         (esker_node *[]){grad, node->inputs[1]}, 2);
}

/* An element that is a sum of c terms is off by (2 sqrt(c) + 1) eps of their magnitudes: that factor is put into the magnitude. */
static void scatter_reference(const esker__reference *r)
{
    bool base = r->node->op == &esker__op_scatter_add, each = !is_take_grad(r->node);
    const double *g = r->in[base ? 2 : 0], *index = r->in[1];
    esker__index_split s = scatter_split(r->node);
    int64_t n = esker__elems(&r->node->type.shape), at = 0;
    double *count = esker__calloc((size_t)n, sizeof *count), *size = r->magnitude[0];
    for (int64_t i = 0; i < n; i++) {
        r->out[0][i] = !count ? NAN : base ? r->in[0][i] : 0;
        if (size) size[i] = fabs(r->out[0][i]);
    }
    for (int64_t o = 0; count && o < s.outer; o++)
        for (int64_t j = 0; j < s.few; j++)
            for (int64_t i = 0; i < s.inner; i++, at++) {
                double k = trunc(index[each ? at : j]);
                if (!(k >= 0 && k < (double)s.many)) continue;
                int64_t to = (o * s.many + (int64_t)k) * s.inner + i;
                r->out[0][to] += g[at];
                if (size) size[to] += fabs(g[at]);
                count[to]++;
            }
    for (int64_t i = 0; count && size && i < n; i++) size[i] *= 2 * sqrt(count[i]) + 1;
    esker__free(count);
}

static double scatter_tolerance(const esker_node *node)
{
    (void)node;
    return 1;
}

static void scatter_cost(const esker_node *node, esker__cost *out)
{
    double g = (double)esker__elems(&node->inputs[node->n_inputs - 1]->type.shape),
           y = (double)esker__elems(&node->type.shape);
    if (is_take_grad(node)) g = (double)esker__elems(&node->inputs[0]->type.shape);
    *out = (esker__cost){g, 4 * (y + 4 * g)};
    esker__update_cost(node, out);
}

#define ENOUGH_LINES 4096  /* so many invocations keep a GPU busy: each may own a line */
#define MOST_TERMS   16384 /* of one dispatch: a watchdog's patience, if all fall on one element */
#define ROW_BLOCKS   256

/* Of take_grad: whether a group owns rows; else an invocation owns a line. */
static bool owns_rows(const esker__index_split *s, const esker_limits *limits)
{
    return s->outer * s->inner < ENOUGH_LINES && s->outer <= limits->groups[2];
}

static esker_node *take_grad_fused(esker_graph *graph, const esker_node *node, esker_node *const *inputs,
                                   const esker__fusion *fusion)
{
    const esker_node *from = esker__index_unconverted(node);
    esker__index_split s = scatter_split(node);
    if (!from || !fusion->map[from->id] || !owns_rows(&s, fusion->limits)) return NULL;
    return esker__record_in(graph, node->op, node->attr, (esker_node *[]){inputs[0], fusion->map[from->id]}, 2);
}

#define SHARED_GROUP \
    1024 /* of shape/scatter_shares, which does best where rows are few, since each group reads all indices */
#define FEW_READS (1 << 20)

static bool can_share(const esker_limits *limits, const esker__index_split *s)
{
    return s->inner % 4 == 0 && limits->group_invocations >= SHARED_GROUP && s->many <= limits->groups[0] &&
           s->inner <= 4 * (int64_t)limits->groups[1];
}

static bool usually_shares(esker__family family, const esker__index_split *s)
{
    return family == ESKER__FAMILY_NVIDIA && s->many * s->few <= FEW_READS;
}

static bool takes_shares(esker__lowering *lowering, const esker__index_split *s)
{
    static const char *const names[] = {"rows", "shares"};
    char problem[120];
    bool can = can_share(esker__lowering_limits(lowering), s);
    snprintf(problem, sizeof problem, "take_grad outer=%lld rows=%lld indices=%lld inner=%lld", (long long)s->outer,
             (long long)s->many, (long long)s->few, (long long)s->inner);
    bool usual = usually_shares(esker__lowering_family(lowering), s);
    return esker__choose(lowering, problem, names, can ? 2 : 1, can && usual) == 1;
}

static esker_status scatter_rows(esker__lowering *lowering, const esker_node *node, const esker__index_split *s)
{
    bool updates = esker__updated(node) != NULL,
         shares = updates || takes_shares(lowering, s); /* the other cannot update */
    uint32_t rows = shares ? 1 : (uint32_t)esker__ceil_div((uint64_t)s->many, ROW_BLOCKS), width = GROUP_SIZE;
    if (shares)
        for (width = 32; width > 1 && 4 * width > 2 * s->inner; width /= 2) {
        }
    esker__dispatch_desc desc = {
        .kernel = shares ? "shape/scatter_shares" : "shape/scatter_rows",
        .groups = {(uint32_t)esker__ceil_div((uint64_t)s->many, rows),
                   (uint32_t)esker__ceil_div((uint64_t)s->inner, shares ? 4 * width : width), (uint32_t)s->outer},
        .operands = {esker__read(lowering, node->inputs[0]), esker__read(lowering, node->inputs[1])},
        .n_operands = 2};
    esker_status st = ESKER_OK;
    esker__text defines = {0};
    for (int64_t first = 0; first < s->few && st == ESKER_OK; first += MOST_TERMS) {
        int64_t end = first + MOST_TERMS < s->few ? first + MOST_TERMS : s->few;
        uint32_t params[] = {(uint32_t)s->many, (uint32_t)s->few, (uint32_t)(shares ? s->inner / 4 : s->inner),
                             (uint32_t)first,   (uint32_t)end,    rows};
        defines.n_chars = 0;
        esker__text_add(&defines, "START %d\nINDEX %d\n", first == 0, esker__index_kind(node));
        if (shares) esker__text_add(&defines, "LX %u\nSHARES %u\n", width, SHARED_GROUP / width);
        desc.n_operands = 2;
        if (updates)
            esker__results_emit(lowering, node, 0, false, true, &desc, &defines);
        else
            desc.operands[desc.n_operands++] = esker__write(lowering, node);
        if (defines.failed) st = esker__fail_memory(defines.capacity, "a kernel's definitions");
        desc.defines = defines.chars;
        desc.params = params;
        desc.n_params = 6;
        if (st == ESKER_OK) st = esker__emit(lowering, &desc);
    }
    esker__text_finish(&defines);
    return st;
}

static esker_status scatter_lower(esker__lowering *lowering, const esker_node *node)
{
    bool base = node->op == &esker__op_scatter_add, each = !is_take_grad(node);
    esker__index_split s = scatter_split(node);
    const esker_limits *limits = esker__lowering_limits(lowering);
    esker_status st = esker__index_check_elems(lowering, node);
    if (st != ESKER_OK) return st;
    if (!each && owns_rows(&s, limits)) return scatter_rows(lowering, node, &s);

    uint32_t params[] = {
        (uint32_t)esker__elems(&node->type.shape), 0, (uint32_t)s.many, (uint32_t)s.few, (uint32_t)s.inner, 0, 0};
    esker__dispatch_desc desc = {.kernel = "shape/scatter_lines",
                                 .defines = base ? "START 1\nBASE 1\n" : "START 1\nBASE 0\n",
                                 .params = params,
                                 .n_params = 7};
    if (base) desc.operands[desc.n_operands++] = esker__read(lowering, node->inputs[0]);
    desc.operands[desc.n_operands++] = esker__write(lowering, node);
    st = esker__fold_groups(lowering, esker__ceil_div(params[0], GROUP_SIZE), desc.groups);
    if (st != ESKER_OK) return st;
    params[1] = desc.groups[0];
    st = esker__emit(lowering, &desc);
    if (st != ESKER_OK) return st;

    desc.defines = each ? "START 0\nEACH 1\n" : "START 0\nEACH 0\n";
    desc.operands[0] = esker__read(lowering, node->inputs[base ? 2 : 0]);
    desc.operands[1] = esker__read(lowering, node->inputs[1]);
    desc.operands[2] = esker__write(lowering, node);
    desc.n_operands = 3;
    params[0] = (uint32_t)(s.outer * s.inner);
    st = esker__fold_groups(lowering, esker__ceil_div(params[0], GROUP_SIZE), desc.groups);
    params[1] = desc.groups[0];
    for (int64_t first = 0; first < s.few && st == ESKER_OK; first += MOST_TERMS) {
        params[5] = (uint32_t)first;
        params[6] = (uint32_t)(first + MOST_TERMS < s.few ? first + MOST_TERMS : s.few);
        st = esker__emit(lowering, &desc);
    }
    return st;
}

/* ---- A gradient that updates the table ---- */

static bool take_grad_may_update(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    esker__index_split s = scatter_split(node);
    return esker__setting("take_updates", usually_shares(fusion->family, &s)) && s.few <= MOST_TERMS &&
           owns_rows(&s, fusion->limits) && can_share(fusion->limits, &s) && esker__update_fits(update, 2, false, fusion);
}

static void take_grad_title(const esker_node *node, esker__text *text)
{
    esker__text_add(text, "take_grad");
    esker__update_title(node, text);
}

static const esker__op updating_take_grad = {.name = "take_grad",
                                             .n_inputs = 2,
                                             .n_outputs = 1,
                                             .attr_bytes = sizeof(updating_attr),
                                             .flags = ESKER__OP_EFFECT | ESKER__OP_UPDATING,
                                             .infer = take_grad_infer,
                                             .reference = scatter_reference,
                                             .tolerance = scatter_tolerance,
                                             .atol = ESKER__FLUSHED,
                                             .cost = scatter_cost,
                                             .lower = scatter_lower,
                                             .title = take_grad_title,
                                             .update = esker__update_reference,
                                             .plain = &esker__op_take_grad};

static esker_node *take_grad_updating(const esker_node *node, const esker__update *update, const esker__fusion *fusion)
{
    return take_grad_may_update(node, update, fusion) ? esker__record_updating(&updating_take_grad, node, update) : NULL;
}

/* ---- The operations ---- */

const esker__op esker__op_take_grad = {.name = "take_grad",
                                       .n_inputs = 2,
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(esker__gather_grad_attr),
                                       .infer = take_grad_infer,
                                       .gradient = scatter_gradient,
                                       .no_gradient = 2,
                                       .reference = scatter_reference,
                                       .tolerance = scatter_tolerance,
                                       .atol = ESKER__FLUSHED,
                                       .cost = scatter_cost,
                                       .lower = scatter_lower,
                                       .fused = take_grad_fused,
                                       .may_update = take_grad_may_update,
                                       .updating = take_grad_updating};

const esker__op esker__op_gather_grad = {.name = "gather_grad",
                                         .n_inputs = 2,
                                         .n_outputs = 1,
                                         .attr_bytes = sizeof(esker__gather_grad_attr),
                                         .infer = gather_grad_infer,
                                         .gradient = scatter_gradient,
                                         .no_gradient = 2,
                                         .reference = scatter_reference,
                                         .tolerance = scatter_tolerance,
                                         .atol = ESKER__FLUSHED,
                                         .cost = scatter_cost,
                                         .lower = scatter_lower};

const esker__op esker__op_scatter_add = {.name = "scatter_add",
                                         .n_inputs = 3,
                                         .n_outputs = 1,
                                         .attr_bytes = sizeof(esker__gather_attr),
                                         .infer = scatter_add_infer,
                                         .gradient = scatter_gradient,
                                         .no_gradient = 2,
                                         .reference = scatter_reference,
                                         .tolerance = scatter_tolerance,
                                         .atol = ESKER__FLUSHED,
                                         .cost = scatter_cost,
                                         .lower = scatter_lower};

esker_node *esker_scatter_add(esker_node *x, esker_node *indices, esker_node *values, int axis)
{
    return esker__record_indexed(&esker__op_scatter_add, (esker_node *[]){x, indices, values}, 3, axis);
}
