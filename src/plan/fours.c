#include "plan/fours.h"

#include "base/fail.h"
#include "plan/lowering.h"

#define WG 64

static const esker__op to_fours, from_fours;

typedef struct fours_attr {
    int64_t channels; /* of from_fours */
} fours_attr;

esker_shape esker__fours_shape(const esker_shape *plain)
{
    const int64_t *d = plain->dims;
    return (esker_shape){5, {d[0], (d[1] + 3) / 4, d[2], d[3], 4}};
}

/* Without the layout, whichever side has it. */
static const esker_shape *plain_of(const esker_node *node)
{
    return node->op == &to_fours ? &node->inputs[0]->type.shape : &node->type.shape;
}

static esker_status infer_to(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    const esker__type *x = &inputs[0]->type;
    char text[ESKER__SIGNATURE_BYTES];
    if (x->shape.rank != 4 || x->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: float32 [n, c, h, w] is needed",
                           esker__signature(text, "to_fours", inputs, n_inputs));
    *out = (esker__type){ESKER_DTYPE_F32, esker__fours_shape(&x->shape)};
    return ESKER_OK;
}

static esker_status infer_from(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    int64_t channels = ((const fours_attr *)attr)->channels;
    const esker__type *x = &inputs[0]->type;
    const int64_t *d = x->shape.dims;
    char text[ESKER__SIGNATURE_BYTES];
    if (x->shape.rank != 5 || d[4] != 4 || (channels + 3) / 4 != d[1] || x->dtype != ESKER_DTYPE_F32)
        return esker__fail(ESKER_ERR_INTERNAL, "%s: float32 [n, %lld, h, w, 4] is needed",
                           esker__signature(text, "from_fours", inputs, n_inputs), (long long)(channels + 3) / 4);
    *out = (esker__type){ESKER_DTYPE_F32, {4, {d[0], channels, d[2], d[3]}}};
    return ESKER_OK;
}

static void reference(const esker__reference *r)
{
    const esker_shape *plain = plain_of(r->node);
    int64_t n = esker__elems(plain), pixels = plain->dims[2] * plain->dims[3];
    bool to = r->node->op == &to_fours;
    for (int64_t i = 0, n_all = esker__elems(&r->node->type.shape); i < n_all; i++) r->out[0][i] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = esker__fours_at(i, plain->dims[1], pixels);
        r->out[0][to ? at : i] = r->in[0][to ? i : at];
    }
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker_shape *plain = plain_of(node);
    const int64_t *d = plain->dims;
    uint64_t quads = (uint64_t)(d[1] + 3) / 4, pixels = (uint64_t)(d[2] * d[3]), n = (uint64_t)d[0] * quads * pixels;
    if (n > INT32_MAX / 4)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %llu fours, the kernel indexes at most %d", node->op->name,
                           (unsigned long long)n, INT32_MAX / 4);
    esker__dispatch_desc desc = {.kernel = "convert/fours",
                                 .defines = node->op == &to_fours ? NULL : "FROM 1\n",
                                 .operands = {esker__read(lowering, node->inputs[0]), esker__write(lowering, node)},
                                 .n_operands = 2};
    esker_status st = esker__fold_groups(lowering, esker__ceil_div(n, WG), desc.groups);
    if (st != ESKER_OK) return st;
    uint32_t params[] = {(uint32_t)n, (uint32_t)d[1], (uint32_t)pixels, (uint32_t)quads, desc.groups[0]};
    desc.params = params;
    desc.n_params = sizeof params / sizeof *params;
    return esker__emit(lowering, &desc);
}

static const esker__op to_fours = {.name = "to_fours",
                                   .n_inputs = 1,
                                   .n_outputs = 1,
                                   .infer = infer_to,
                                   .reference = reference,
                                   .atol = 1.2e-38, /* devices may flush what is below the least normal float */
                                   .lower = lower};
static const esker__op from_fours = {.name = "from_fours",
                                     .n_inputs = 1,
                                     .n_outputs = 1,
                                     .attr_bytes = sizeof(fours_attr),
                                     .infer = infer_from,
                                     .reference = reference,
                                     .atol = 1.2e-38,
                                     .lower = lower};

esker_node *esker__to_fours(esker_node *x)
{
    return esker__record(&to_fours, NULL, &x, 1);
}

esker_node *esker__from_fours(esker_node *x, int64_t channels)
{
    return esker__record(&from_fours, &(fours_attr){channels}, &x, 1);
}

bool esker__fours_barred(const esker__fusing *how)
{
    return esker__is_barred(how->barred, &to_fours) || esker__is_barred(how->barred, &from_fours);
}
