/*
 * Rotary position embedding: pairs of elements turned by an angle that grows with the position. Its gradient turns back.
 * Source     Su and others 2021, RoFormer.
 */
#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define USUAL_BASE     10000.0f
#define MOST_POSITIONS 1048576 /* beyond, the frequencies' 32 bits leave angles wrong by more than 8e-4 */
#define PAIRS          48      /* frequencies that a dispatch's parameters hold */
#define GROUP          64

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__rotary_attr *a = attr;
    const esker_shape *x = &inputs[0]->type.shape;
    char text[ESKER__SIGNATURE_BYTES];
    esker__signature(text, "rotary", inputs, n_inputs);
    if (inputs[0]->type.dtype != ESKER_DTYPE_F32) return esker__fail(ESKER_ERR_INVALID, "%s: takes float32 alone", text);
    if (x->rank < 2) return esker__fail(ESKER_ERR_INVALID, "%s: x must be [..., positions, size]", text);
    if (x->dims[x->rank - 1] % 2)
        return esker__fail(ESKER_ERR_INVALID, "%s: rows of %lld elements do not make pairs", text,
                           (long long)x->dims[x->rank - 1]);
    if (!(a->base > 0) || !isfinite(a->base))
        return esker__fail(ESKER_ERR_INVALID, "%s: the base is %g, it must be finite and above 0", text, (double)a->base);
    if (a->offset < 0) return esker__fail(ESKER_ERR_INVALID, "%s: an offset of %lld", text, (long long)a->offset);
    if (a->offset > MOST_POSITIONS || x->dims[x->rank - 2] > MOST_POSITIONS - a->offset)
        return esker__fail(ESKER_ERR_LIMIT, "%s: positions from %lld on, at most %d are told apart", text,
                           (long long)a->offset, MOST_POSITIONS);
    out[0] = inputs[0]->type;
    return ESKER_OK;
}

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    esker__rotary_attr attr = *(const esker__rotary_attr *)node->attr;
    attr.back = !attr.back;
    return esker__record(&esker__op_rotary, &attr, &grad, 1);
}

/* Radians in a position. */
static double frequency(const esker__rotary_attr *a, int64_t pair, int64_t d)
{
    return pow((double)a->base, -2 * (double)pair / (double)d);
}

static void reference(const esker__reference *r)
{
    const esker__rotary_attr *a = r->node->attr;
    const esker_shape *x = &r->node->type.shape;
    int64_t d = x->dims[x->rank - 1], t = x->dims[x->rank - 2], n_elems = 0;
    if (esker_shape_elems(x, &n_elems) != ESKER_OK) return;
    for (int64_t row = 0; row < n_elems / d; row++)
        for (int64_t pair = 0; pair < d / 2; pair++) {
            double position = (double)(a->offset + row % t);
            double angle = (a->back ? -position : position) * frequency(a, pair, d);
            int64_t first = row * d + (a->halves ? pair : 2 * pair), second = first + (a->halves ? d / 2 : 1);
            double u = r->in[0][first], v = r->in[0][second];
            r->out[0][first] = u * cos(angle) - v * sin(angle);
            r->out[0][second] = u * sin(angle) + v * cos(angle);
            if (!r->magnitude[0]) continue;
            /* Half a unit of 2^-32 turns for each position, in units of 2^-24. */
            double size = (fabs(u) + fabs(v)) * (1 + position * 2 * 3.14159265358979323846 * 0x1p-33 / 0x1p-24);
            r->magnitude[0][first] = r->magnitude[0][second] = size;
        }
}

static void cost(const esker_node *node, esker__cost *out)
{
    double n = 1;
    for (int i = 0; i < node->type.shape.rank; i++) n *= (double)node->type.shape.dims[i];
    *out = (esker__cost){16 * n, 8 * n};
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker__rotary_attr *a = node->attr;
    const esker_shape *x = &node->type.shape;
    int64_t d = x->dims[x->rank - 1], n_elems;
    esker_status st = esker_shape_elems(x, &n_elems);
    if (st == ESKER_OK) st = esker__check_indexable(lowering, (uint64_t)n_elems);
    for (int64_t first = 0; st == ESKER_OK && first < d / 2; first += PAIRS) {
        int64_t pairs = d / 2 - first < PAIRS ? d / 2 - first : PAIRS;
        struct {
            uint32_t groups_x, n, t, d, pairs, first_pair, offset, turn, unused, frequency[PAIRS]; /* word 9: 1 modulo 4 */
        } params = {.n = (uint32_t)(n_elems / d * pairs),
                    .t = (uint32_t)x->dims[x->rank - 2],
                    .d = (uint32_t)d,
                    .pairs = (uint32_t)pairs,
                    .first_pair = (uint32_t)first,
                    .offset = (uint32_t)a->offset,
                    .turn = a->back ? UINT32_MAX : 1};
        for (int64_t i = 0; i < pairs; i++) {
            double turns = frequency(a, first + i, d) / (2 * 3.14159265358979323846);
            params.frequency[i] = (uint32_t)(uint64_t)floor((turns - floor(turns)) * 0x1p32 +
                                                            0.5); /* 2^32 is a whole turn: 0 */
        }
        esker__dispatch_desc desc = {.kernel = "attention/rotary",
                                     .defines = a->halves ? "HALVES 1\n" : "HALVES 0\n",
                                     .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                     .n_operands = 2,
                                     .params = &params,
                                     .n_params = sizeof params / 4};
        st = esker__fold_groups(lowering, esker__ceil_div(params.n, GROUP), desc.groups);
        params.groups_x = desc.groups[0];
        if (st == ESKER_OK) st = esker__emit(lowering, &desc);
    }
    return st;
}

const esker__op esker__op_rotary = {
    .name = "rotary",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__rotary_attr),
    .flags = ESKER__OP_IN_PLACE_0,
    .infer = infer,
    .gradient = gradient,
    .reference = reference,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = lower,
};

esker_node *esker_rotary(esker_node *x, const esker_rotary_desc *desc)
{
    if (!x) return NULL;
    esker__rotary_attr attr = {.base = desc && desc->base != 0 ? desc->base : USUAL_BASE};
    if (desc) attr.halves = desc->halves, attr.offset = desc->offset;
    return esker__record(&esker__op_rotary, &attr, &x, 1);
}
