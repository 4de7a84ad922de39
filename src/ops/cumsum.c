/* cumsum along an axis, seen as [outer, n, inner]. Long axes are cut into chunks: their totals, the scan of these, then each chunk. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "ops/move.h"

#define GROUP_SIZE   64
#define ENOUGH_LINES 8192 /* so many lines keep a GPU busy with one lane each */
#define LONG_AXIS    8192 /* beyond this the axis is cut */
#define CHUNK        2048

/* x as [outer, n, inner]. */
typedef struct scan {
    int64_t outer, n, inner;
    bool reverse;
} scan;

static scan scan_of(const esker_node *node)
{
    const esker__cumsum_attr *a = node->attr;
    const esker_shape *x = &node->type.shape;
    scan s = {1, x->dims[a->axis], 1, a->reverse != 0};
    for (int i = 0; i < a->axis; i++) s.outer *= x->dims[i];
    for (int i = a->axis + 1; i < x->rank; i++) s.inner *= x->dims[i];
    return s;
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__cumsum_attr *a = attr;
    char text[ESKER__SIGNATURE_BYTES];
    *out = inputs[0]->type;
    if (out->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INVALID, "%s: float32 is needed (esker_convert)",
                           esker__signature(text, "cumsum", inputs, n_inputs));
    if (a->axis < 0 || a->axis >= out->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, the rank is %d",
                           esker__signature(text, "cumsum", inputs, n_inputs), (int)a->axis, out->shape.rank);
    return ESKER_OK;
}

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    const esker__cumsum_attr *a = node->attr;
    (void)input;
    return esker__record(&esker__op_cumsum, &(esker__cumsum_attr){a->axis, !a->reverse}, &grad, 1);
}

static void reference(const esker__reference *r)
{
    scan s = scan_of(r->node);
    for (int64_t line = 0; line < s.outer * s.inner; line++) {
        int64_t base = line / s.inner * s.n * s.inner + line % s.inner;
        double sum = 0, size = 0;
        for (int64_t j = 0; j < s.n; j++) {
            int64_t at = base + (s.reverse ? s.n - 1 - j : j) * s.inner;
            sum += r->in[0][at];
            size += fabs(r->in[0][at]);
            r->out[0][at] = sum;
            /* 2 sqrt(terms) + 1 eps of their magnitudes. */
            if (r->magnitude[0]) r->magnitude[0][at] = size * (2 * sqrt((double)j + 1) + 1);
        }
    }
}

static double tolerance(const esker_node *node)
{
    (void)node;
    return 1;
}

static esker_status emit(esker__lowering *lowering, const scan *s, int64_t chunk, bool totals,
                         const esker__operand *operands, int n_operands)
{
    int64_t lines = s->outer * s->inner, chunks = (s->n + chunk - 1) / chunk;
    int ty = 1;
    while (ty < GROUP_SIZE && ty < chunk && ty * lines * chunks < ENOUGH_LINES) ty *= 2;
    char defines[96];
    snprintf(defines, sizeof defines, "TX %d\nTY %d\nREVERSE %d\nTOTALS %d\nCARRY %d\n", GROUP_SIZE / ty, ty, s->reverse,
             totals, n_operands == 3);
    esker__dispatch_desc desc = {.kernel = "reduce/scan", .defines = defines, .n_operands = n_operands};
    memcpy(desc.operands, operands, (size_t)n_operands * sizeof *operands);
    double n = (double)lines * (double)s->n;
    desc.cost = (esker__cost){2 * n, totals ? 4 * n : 8 * n};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div((uint64_t)lines, (uint64_t)(GROUP_SIZE / ty)),
                                         desc.groups);
    if (st != ESKER_OK) return st;
    desc.groups[2] = (uint32_t)chunks;
    uint32_t params[] = {(uint32_t)lines,    desc.groups[0],  (uint32_t)s->n,
                         (uint32_t)s->inner, (uint32_t)chunk, (uint32_t)chunks};
    desc.params = params;
    desc.n_params = 6;
    return esker__emit(lowering, &desc);
}

static esker_status lower_scan(esker__lowering *lowering, const scan *s, esker__operand x, esker__operand y)
{
    if (s->n <= LONG_AXIS) return emit(lowering, s, s->n, false, (esker__operand[]){x, y}, 2);
    int64_t most = esker__lowering_limits(lowering)->groups[2], chunk = CHUNK;
    while ((s->n + chunk - 1) / chunk > most) chunk *= 2;
    scan above = {s->outer, (s->n + chunk - 1) / chunk, s->inner, s->reverse};
    uint64_t n_bytes = 4 * (uint64_t)(above.outer * above.n * above.inner);
    esker__operand totals = {.value = esker__scratch(lowering, n_bytes), .write = true};
    esker__operand carry = {.value = esker__scratch(lowering, n_bytes), .write = true};
    esker_status st = emit(lowering, s, chunk, true, (esker__operand[]){x, totals}, 2);
    if (st != ESKER_OK) return st;
    totals.write = false;
    st = lower_scan(lowering, &above, totals, carry);
    if (st != ESKER_OK) return st;
    carry.write = false;
    return emit(lowering, s, chunk, false, (esker__operand[]){x, carry, y}, 3);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    scan s = scan_of(node);
    esker_status st = esker__check_indexable(lowering, (uint64_t)(s.n * s.outer * s.inner));
    if (st != ESKER_OK) return st;
    return lower_scan(lowering, &s, esker__read(lowering, node->inputs[0]), esker__write(lowering, node));
}

const esker__op esker__op_cumsum = {.name = "cumsum",
                                    .n_inputs = 1,
                                    .n_outputs = 1,
                                    .attr_bytes = sizeof(esker__cumsum_attr),
                                    .infer = infer,
                                    .gradient = gradient,
                                    .reference = reference,
                                    .tolerance = tolerance,
                                    .atol = ESKER__FLUSHED,
                                    .lower = lower};

esker_node *esker_cumsum(esker_node *x, int axis)
{
    if (!x) return NULL;
    axis = esker__axis_of("cumsum", x, axis);
    return axis < 0 ? NULL : esker__record(&esker__op_cumsum, &(esker__cumsum_attr){.axis = axis}, &x, 1);
}
