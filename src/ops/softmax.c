/* Softmax and log-softmax along one axis, and their gradients as operations of their own (from the result, not the input).
 */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ops.h"
#include "ops/rows.h"
#include "plan/lowering.h"

/* ---- Shapes ---- */

static esker_status infer(const char *op, const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__axis_attr *a = attr;
    const esker__type *x = &inputs[0]->type;
    char text[ESKER__SIGNATURE_BYTES];
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i]->type.dtype != ESKER_DTYPE_F32)
            return esker__fail(ESKER_ERR_INVALID, "%s: takes float32 alone", esker__signature(text, op, inputs, n_inputs));
    if (n_inputs == 2 && !esker_shape_equal(&x->shape, &inputs[1]->type.shape))
        return esker__fail(ESKER_ERR_INVALID, "%s: the two shapes must agree",
                           esker__signature(text, op, inputs, n_inputs));
    if (x->shape.rank == 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: a scalar has no axis", esker__signature(text, op, inputs, n_inputs));
    if (a->axis < 0 || a->axis >= x->shape.rank)
        return esker__fail(ESKER_ERR_INVALID, "%s: axis %d, there are %d to %d",
                           esker__signature(text, op, inputs, n_inputs), a->axis, -x->shape.rank, x->shape.rank - 1);
    *out = *x;
    return ESKER_OK;
}

static esker_status infer_softmax(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    return infer("softmax", attr, inputs, n_inputs, out);
}

static esker_status infer_log_softmax(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    return infer("log_softmax", attr, inputs, n_inputs, out);
}

static esker_status infer_softmax_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    return infer("softmax_grad", attr, inputs, n_inputs, out);
}

static esker_status infer_log_softmax_grad(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    return infer("log_softmax_grad", attr, inputs, n_inputs, out);
}

/* A shape seen as [outer, n, inner] around the axis. */
typedef struct around {
    int64_t outer, n, inner;
} around;

static around around_axis(const esker_node *node)
{
    const esker_shape *shape = &node->type.shape;
    int axis = ((const esker__axis_attr *)node->attr)->axis;
    around r = {1, shape->dims[axis], 1};
    for (int i = 0; i < axis; i++) r.outer *= shape->dims[i];
    for (int i = axis + 1; i < shape->rank; i++) r.inner *= shape->dims[i];
    return r;
}

/* ---- References ---- */

/* What a device's exp may lose grows with its argument (3 + 2 |x| units in GLSL ES), so magnitudes count distances d from
   the maximum: that of the element, and those of the sum's terms weighted as they stand in it. */
static void reference_forward(const esker__reference *r, bool log_form)
{
    around a = around_axis(r->node);
    for (int64_t line = 0; line < a.outer * a.inner; line++) {
        int64_t base = line / a.inner * a.n * a.inner + line % a.inner;
        const double *x = r->in[0] + base;
        double max = -INFINITY, sum = 0, spread = 0;
        for (int64_t k = 0; k < a.n; k++) max = fmax(max, x[k * a.inner]);
        for (int64_t k = 0; k < a.n; k++) {
            double d = x[k * a.inner] - max;
            sum += exp(d);
            spread += exp(d) * fabs(d);
        }
        spread /= sum;
        for (int64_t k = 0; k < a.n; k++) {
            double d = x[k * a.inner] - max;
            int64_t i = base + k * a.inner;
            r->out[0][i] = log_form ? d - log(sum) : exp(d) / sum;
            if (r->magnitude[0])
                r->magnitude[0][i] = log_form ? fabs(d) + log(sum) + 1 + spread : exp(d) / sum * (1 + fabs(d) + spread);
        }
    }
}

static void reference_backward(const esker__reference *r, bool log_form)
{
    around a = around_axis(r->node);
    for (int64_t line = 0; line < a.outer * a.inner; line++) {
        int64_t base = line / a.inner * a.n * a.inner + line % a.inner;
        double sum = 0, size = 0;
        for (int64_t k = 0; k < a.n; k++) {
            int64_t i = base + k * a.inner;
            double term = log_form ? r->in[1][i] : r->in[1][i] * r->in[0][i];
            sum += term;
            size += fabs(term);
        }
        for (int64_t k = 0; k < a.n; k++) {
            int64_t i = base + k * a.inner;
            double y = r->in[0][i], g = r->in[1][i];
            r->out[0][i] = log_form ? g - exp(y) * sum : y * (g - sum);
            if (r->magnitude[0])
                r->magnitude[0][i] = log_form ? fabs(g) + exp(y) * (1 + fabs(y)) * size : fabs(y) * (fabs(g) + size);
        }
    }
}

static void reference_softmax(const esker__reference *r)
{
    reference_forward(r, false);
}

static void reference_log_softmax(const esker__reference *r)
{
    reference_forward(r, true);
}

static void reference_softmax_grad(const esker__reference *r)
{
    reference_backward(r, false);
}

static void reference_log_softmax_grad(const esker__reference *r)
{
    reference_backward(r, true);
}

static double tolerance(const esker_node *node)
{
    return 2 * sqrt((double)around_axis(node).n) + 12; /* a sum, one or two exp or log, a division of 2.5 units */
}

static void cost(const esker_node *node, esker__cost *out)
{
    around a = around_axis(node);
    double n = (double)(a.outer * a.n * a.inner);
    out->flops = 8 * n; /* an exp counts for about four */
    out->bytes = 4 * n * (node->n_inputs + 1);
}

/* ---- Lowering ---- */

#define GROUP               128
#define WHOLE_LINE          32768 /* elements that one group may do in one go; longer lines are cut */
#define CHUNK               8192
#define MOST_CHUNKS         1024
#define MOST_GROUPS         16384 /* more lines than this many groups hold: some groups do several blocks of lines */
#define ELEMS_A_LANE        4
#define COLUMN_ELEMS_A_LANE 16

typedef struct layout {
    around a;
    int lanes, floats; /* floats of an element */
    bool columns;
    uint32_t groups[3];
    uint64_t lines, chunks;
    uint32_t params[7]; /* as both kernels take them */
} layout;

/* Lanes for each line. Rows are read along the lines, so a few elements for each lane are enough; in columns neighbouring
   lines are neighbours in memory, and a line is shared only when it is long or there are few. */
static int choose_lanes(const esker__lowering *lowering, const around *a)
{
    int lanes = 1;
    int64_t lines = a->outer * a->inner;
    if (a->inner == 1) {
        int64_t most = esker__lanes_of_line(lowering, lines, GROUP);
        while (lanes < most && lanes * ELEMS_A_LANE < a->n) lanes *= 2;
        return lanes;
    }
    while (lanes < GROUP && lanes * COLUMN_ELEMS_A_LANE < a->n && (lanes < 8 || GROUP / lanes > lines)) lanes *= 2;
    return lanes;
}

static esker_status make_layout(esker__lowering *lowering, const esker_node *node, layout *out)
{
    around a = around_axis(node);
    *out = (layout){.a = a,
                    .lanes = choose_lanes(lowering, &a),
                    .floats = esker__floats_of_element(lowering, a.inner == 1 ? a.n : 1, false),
                    .columns = a.inner > 1,
                    .lines = (uint64_t)(a.outer * a.inner)};
    uint64_t blocks = esker__ceil_div(out->lines, (uint64_t)(GROUP / out->lanes));
    uint64_t rounds = esker__ceil_div(blocks, MOST_GROUPS);
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(blocks, rounds), out->groups);
    if (st != ESKER_OK) return st;
    uint64_t n = (uint64_t)a.n, chunk_n = n;
    out->chunks = 1;
    if (n > WHOLE_LINE) {
        chunk_n = esker__ceil_div(n, MOST_CHUNKS);
        if (chunk_n < CHUNK) chunk_n = CHUNK;
        chunk_n = esker__round_up(chunk_n, (uint64_t)out->floats);
        out->chunks = esker__ceil_div(n, chunk_n);
    }
    uint64_t f = (uint64_t)out->floats;
    uint32_t params[7] = {out->groups[0],       (uint32_t)rounds,        (uint32_t)(n / f),    (uint32_t)a.inner,
                          (uint32_t)out->lines, (uint32_t)(chunk_n / f), (uint32_t)out->chunks};
    for (int i = 0; i < 7; i++) out->params[i] = params[i];
    return ESKER_OK;
}

static esker_status emit_part(esker__lowering *lowering, const char *kernel, const layout *l, bool log_form, int part,
                              const esker__operand *operands, int n_operands)
{
    char defines[96];
    snprintf(defines, sizeof defines, "LANES %d\nCOLUMNS %d\nV %d\nLOG %d\nPART %d\n", l->lanes, l->columns, l->floats,
             log_form, part);
    esker__dispatch_desc desc = {.kernel = kernel,
                                 .defines = defines,
                                 .groups = {l->groups[0], l->groups[1], part ? (uint32_t)l->chunks : 1},
                                 .n_operands = n_operands,
                                 .params = l->params,
                                 .n_params = 7};
    for (int i = 0; i < n_operands; i++) desc.operands[i] = operands[i];
    return esker__emit(lowering, &desc);
}

static esker_status lower_forward(esker__lowering *lowering, const esker_node *node, bool log_form)
{
    layout l;
    esker_status st = make_layout(lowering, node, &l);
    if (st != ESKER_OK) return st;
    esker__operand x = esker__read(lowering, node->inputs[0]), y = esker__write(lowering, node);
    if (l.chunks == 1) {
        esker__operand whole[] = {x, y};
        return emit_part(lowering, "softmax/softmax", &l, log_form, 0, whole, 2);
    }
    esker__operand partials = {.value = esker__scratch(lowering, l.lines * l.chunks * 8), .write = true};
    esker__operand first[] = {x, partials};
    st = emit_part(lowering, "softmax/softmax", &l, log_form, 1, first, 2);
    if (st != ESKER_OK) return st;
    partials.write = false;
    esker__operand second[] = {x, partials, y};
    return emit_part(lowering, "softmax/softmax", &l, log_form, 2, second, 3);
}

static esker_status lower_backward(esker__lowering *lowering, const esker_node *node, bool log_form)
{
    layout l;
    esker_status st = make_layout(lowering, node, &l);
    if (st != ESKER_OK) return st;
    esker__operand y = esker__read(lowering, node->inputs[0]), g = esker__read(lowering, node->inputs[1]);
    esker__operand dx = esker__write(lowering, node);
    if (l.chunks == 1) {
        esker__operand whole[] = {y, g, dx};
        return emit_part(lowering, "softmax/grad", &l, log_form, 0, whole, 3);
    }
    esker__operand partials = {.value = esker__scratch(lowering, l.lines * l.chunks * 4), .write = true};
    esker__operand first[] = {y, g, partials}; /* log_softmax sums g alone: y is no block of that kernel */
    st = emit_part(lowering, "softmax/grad", &l, log_form, 1, log_form ? first + 1 : first, log_form ? 2 : 3);
    if (st != ESKER_OK) return st;
    partials.write = false;
    esker__operand second[] = {y, g, partials, dx};
    return emit_part(lowering, "softmax/grad", &l, log_form, 2, second, 4);
}

static esker_status lower_softmax(esker__lowering *lowering, const esker_node *node)
{
    return lower_forward(lowering, node, false);
}

static esker_status lower_log_softmax(esker__lowering *lowering, const esker_node *node)
{
    return lower_forward(lowering, node, true);
}

static esker_status lower_softmax_grad(esker__lowering *lowering, const esker_node *node)
{
    return lower_backward(lowering, node, false);
}

static esker_status lower_log_softmax_grad(esker__lowering *lowering, const esker_node *node)
{
    return lower_backward(lowering, node, true);
}

/* ---- The operations ---- */

static esker_node *gradient_softmax(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    esker_node *inputs[] = {node, grad};
    return esker__record(&esker__op_softmax_grad, node->attr, inputs, 2);
}

static esker_node *gradient_log_softmax(esker_node *node, esker_node *grad, int input)
{
    (void)input;
    esker_node *inputs[] = {node, grad};
    return esker__record(&esker__op_log_softmax_grad, node->attr, inputs, 2);
}

const esker__op esker__op_softmax = {
    .name = "softmax",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__axis_attr),
    .flags = ESKER__OP_IN_PLACE_0,
    .infer = infer_softmax,
    .gradient = gradient_softmax,
    .reference = reference_softmax,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = lower_softmax,
};

const esker__op esker__op_log_softmax = {
    .name = "log_softmax",
    .n_inputs = 1,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__axis_attr),
    .flags = ESKER__OP_IN_PLACE_0,
    .infer = infer_log_softmax,
    .gradient = gradient_log_softmax,
    .reference = reference_log_softmax,
    .tolerance = tolerance,
    .cost = cost,
    .lower = lower_log_softmax,
};

const esker__op esker__op_softmax_grad = {
    .name = "softmax_grad",
    .n_inputs = 2,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__axis_attr),
    .flags = ESKER__OP_IN_PLACE_0 | ESKER__OP_IN_PLACE_1,
    .infer = infer_softmax_grad,
    .reference = reference_softmax_grad,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = lower_softmax_grad,
};

const esker__op esker__op_log_softmax_grad = {
    .name = "log_softmax_grad",
    .n_inputs = 2,
    .n_outputs = 1,
    .attr_bytes = sizeof(esker__axis_attr),
    .flags = ESKER__OP_IN_PLACE_0 | ESKER__OP_IN_PLACE_1,
    .infer = infer_log_softmax_grad,
    .reference = reference_log_softmax_grad,
    .tolerance = tolerance,
    .atol = 4 * ESKER__FLUSHED,
    .cost = cost,
    .lower = lower_log_softmax_grad,
};

/* Negative axes count from the end; one that is out of range stays as it was given, for the message. */
static esker_node *record(const esker__op *op, esker_node *x, int axis)
{
    if (!x) return NULL;
    int rank = x->type.shape.rank;
    esker__axis_attr attr = {.axis = axis < 0 && axis >= -rank ? axis + rank : axis};
    return esker__record(op, &attr, &x, 1);
}

esker_node *esker_softmax(esker_node *x, int axis)
{
    return record(&esker__op_softmax, x, axis);
}

esker_node *esker_log_softmax(esker_node *x, int axis)
{
    return record(&esker__op_log_softmax, x, axis);
}
