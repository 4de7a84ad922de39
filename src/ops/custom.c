/* Operations that programs register (esker/custom.h): an esker__op made at run time, whose members ask the program's callbacks. */
#include <esker/custom.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stddef.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "gpu/gpu.h"
#include "ops/ops.h"
#include "plan/lowering.h"

#define MAX_NAME_BYTES   60
#define MAX_SOURCE_BYTES ((size_t)1 << 20)
#define FIRST_LINE       "#version 310 es"

/* `op` is first: the one is the other. */
struct esker_custom_op {
    esker__op op;
    atomic_int n_references;
    esker_custom_op_desc desc; /* its texts are the caller's and not looked at again */
    char name[sizeof ESKER__REGISTERED + MAX_NAME_BYTES];
};

/* The op itself is among the attributes because `infer` sees nothing else. */
typedef struct custom_attr {
    const esker_custom_op *custom;
    _Alignas(16) unsigned char params[ESKER_CUSTOM_MAX_PARAMS]; /* params_bytes of them are kept */
} custom_attr;

static const esker_custom_op *custom_of(const esker_node *node)
{
    return ((const custom_attr *)node->attr)->custom;
}

/* ---- Asking ---- */

static esker_custom_call make_call(const custom_attr *attr, esker_node *const *inputs, const esker_node *node,
                                   esker_custom_type types[ESKER_CUSTOM_MAX_INPUTS])
{
    const esker_custom_op_desc *desc = &attr->custom->desc;
    esker_custom_call call = {.params = attr->params, .user = desc->user, .n_inputs = desc->n_inputs, .inputs = types};
    for (int i = 0; i < desc->n_inputs; i++) types[i] = (esker_custom_type){inputs[i]->type.dtype, inputs[i]->type.shape};
    if (node) call.output = (esker_custom_type){node->type.dtype, node->type.shape};
    return call;
}

static const char *reason(const char *message, const char *otherwise)
{
    return message[0] ? message : otherwise;
}

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const custom_attr *a = attr;
    esker_custom_type types[ESKER_CUSTOM_MAX_INPUTS], output;
    esker_custom_call call = make_call(a, inputs, NULL, types);
    char text[ESKER__SIGNATURE_BYTES], message[ESKER_CUSTOM_MESSAGE_BYTES] = "";
    output = types[0];
    if (a->custom->desc.shape && !a->custom->desc.shape(&call, &output, message)) {
        message[sizeof message - 1] = 0;
        return esker__fail(ESKER_ERR_INVALID, "%s: %s", esker__signature(text, a->custom->name, inputs, n_inputs),
                           reason(message, "its shape rule refuses these inputs"));
    }
    if (esker_dtype_bytes(output.dtype) == 0)
        return esker__fail(ESKER_ERR_INVALID, "%s: its shape rule gives the unknown element type %d",
                           esker__signature(text, a->custom->name, inputs, n_inputs), (int)output.dtype);
    *out = (esker__type){output.dtype, output.shape};
    return ESKER_OK;
}

static esker_node *gradient(esker_node *node, esker_node *grad, int input)
{
    const esker_custom_op *custom = custom_of(node);
    esker_custom_type types[ESKER_CUSTOM_MAX_INPUTS];
    esker_custom_call call = make_call(node->attr, node->inputs, node, types);
    esker_node *result = custom->desc.gradient(&call, node->inputs, node, grad, input);
    if (node->graph->status != ESKER_OK) return NULL;
    if (result && result->graph == node->graph && result->type.dtype == ESKER_DTYPE_F32) return result;
    return esker__graph_fail(node->graph,
                             esker__fail(ESKER_ERR_INVALID, "%s: its gradient for input %d is %s", custom->name, input,
                                         !result                        ? "NULL"
                                         : result->graph != node->graph ? "of another graph"
                                                                        : "not float32"));
}

static void reference(const esker__reference *r)
{
    const esker_custom_op *custom = custom_of(r->node);
    esker_custom_type types[ESKER_CUSTOM_MAX_INPUTS];
    esker_custom_call call = make_call(r->node->attr, r->node->inputs, r->node, types);
    custom->desc.reference(&call, (const double *const *)r->in, r->out[0], r->magnitude[0]);
}

static double tolerance(const esker_node *node)
{
    double k = custom_of(node)->desc.tolerance;
    return k > 0 ? k : 4;
}

/* ---- Running ---- */

static double value_bytes(const esker_node *node)
{
    int64_t n_elems = 0;
    if (esker_shape_elems(&node->type.shape, &n_elems) != ESKER_OK) return 0;
    return (double)n_elems * (double)esker_dtype_bytes(node->type.dtype);
}

static esker_status lower(esker__lowering *lowering, const esker_node *node)
{
    const esker_custom_op *custom = custom_of(node);
    esker_custom_type types[ESKER_CUSTOM_MAX_INPUTS];
    esker_custom_call call = make_call(node->attr, node->inputs, node, types);
    esker_custom_dispatch dispatch = {{0}};
    char text[ESKER__SIGNATURE_BYTES], message[ESKER_CUSTOM_MESSAGE_BYTES] = "";
    esker__signature(text, custom->name, node->inputs, node->n_inputs);
    if (!custom->desc.dispatch(&call, esker__lowering_limits(lowering), &dispatch, message)) {
        message[sizeof message - 1] = 0;
        return esker__fail(ESKER_ERR_LIMIT, "%s: %s", text, reason(message, "it cannot run on this device"));
    }
    if (dispatch.n_words < 0 || dispatch.n_words > ESKER_CUSTOM_MAX_WORDS)
        return esker__fail(ESKER_ERR_INVALID, "%s: %d words of parameters, 0 to %d are possible", text, dispatch.n_words,
                           ESKER_CUSTOM_MAX_WORDS);
    if (!memchr(dispatch.defines, 0, sizeof dispatch.defines))
        return esker__fail(ESKER_ERR_INVALID, "%s: its defines do not end within %d bytes", text,
                           ESKER_CUSTOM_DEFINES_BYTES);
    esker__dispatch_desc desc = {.kernel = custom->name,
                                 .defines = dispatch.defines,
                                 .n_operands = node->n_inputs + 1,
                                 .params = dispatch.words,
                                 .n_params = dispatch.n_words};
    memcpy(desc.groups, dispatch.groups, sizeof desc.groups);
    for (int i = 0; i < node->n_inputs; i++) desc.operands[i] = esker__read(lowering, node->inputs[i]);
    desc.operands[node->n_inputs] = esker__write(lowering, node);
    if (dispatch.flops > 0) {
        desc.cost = (esker__cost){dispatch.flops, value_bytes(node)};
        for (int i = 0; i < node->n_inputs; i++) desc.cost.bytes += value_bytes(node->inputs[i]);
    }
    return esker__emit(lowering, &desc);
}

bool esker_custom_fold(uint64_t n_groups, const esker_limits *limits, uint32_t out_groups[3])
{
    uint64_t x = n_groups < limits->groups[0] ? n_groups : limits->groups[0];
    if (n_groups == 0) return false;
    uint64_t y = esker__ceil_div(n_groups, x);
    if (y > limits->groups[1]) return false;
    /* Even rows: fewer groups that find nothing to do. */
    out_groups[0] = (uint32_t)esker__ceil_div(n_groups, y);
    out_groups[1] = (uint32_t)y;
    out_groups[2] = 1;
    return true;
}

/* ---- Registering ---- */

static void hold(const esker__op *op, bool take)
{
    /* What a graph refers to was made by esker_custom_op_create, which gave out no const. */
    esker_custom_op *custom = (esker_custom_op *)(uintptr_t)op->detail;
    if (take)
        esker_custom_op_ref(custom);
    else
        esker_custom_op_unref(custom);
}

static esker_status check_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    if (n >= 1 && n <= MAX_NAME_BYTES && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "custom operation: the name %s%.80s%s: 1 to %d of a-z, 0-9 and _ are possible",
                       name ? "\"" : "", name ? name : "is NULL", name ? "\"" : "", MAX_NAME_BYTES);
}

static esker_status check_desc(const esker_custom_op_desc *desc)
{
    if (!desc) return esker__fail(ESKER_ERR_INVALID, "custom operation: desc is NULL");
    esker_status st = check_name(desc->name);
    if (st != ESKER_OK) return st;
    const char *name = desc->name;
    if (!desc->source || !desc->dispatch)
        return esker__fail(ESKER_ERR_INVALID, "custom/%s: %s is NULL", name, desc->source ? "dispatch" : "source");
    if (desc->n_inputs < 1) return esker__fail(ESKER_ERR_INVALID, "custom/%s: %d inputs, at least 1", name, desc->n_inputs);
    if (desc->n_inputs > ESKER_CUSTOM_MAX_INPUTS)
        return esker__fail(ESKER_ERR_LIMIT,
                           "custom/%s: %d inputs and the output are %d storage blocks, a kernel may count on 4", name,
                           desc->n_inputs, desc->n_inputs + 1);
    if (desc->params_bytes > ESKER_CUSTOM_MAX_PARAMS)
        return esker__fail(ESKER_ERR_INVALID, "custom/%s: %zu bytes of params, at most %d", name, desc->params_bytes,
                           ESKER_CUSTOM_MAX_PARAMS);
    size_t n = strlen(desc->source), first = strcspn(desc->source, "\r\n");
    if (strncmp(desc->source, FIRST_LINE, strlen(FIRST_LINE)) != 0 || first != strlen(FIRST_LINE) || first == n)
        return esker__fail(ESKER_ERR_INVALID, "custom/%s:1: the first line is \"%.*s\", it must be " FIRST_LINE, name,
                           (int)(first < 80 ? first : 80), desc->source);
    if (n > MAX_SOURCE_BYTES)
        return esker__fail(ESKER_ERR_LIMIT, "custom/%s: a source of %zu bytes, at most %zu", name, n, MAX_SOURCE_BYTES);
    return ESKER_OK;
}

esker_status esker_custom_op_create(const esker_custom_op_desc *desc, esker_custom_op **out)
{
    *out = NULL;
    esker_status st = check_desc(desc);
    if (st != ESKER_OK) return st;
    esker_custom_op *custom = esker__calloc(1, sizeof *custom);
    if (!custom) return esker__fail_memory(sizeof *custom, desc->name);
    snprintf(custom->name, sizeof custom->name, "%s%s", ESKER__REGISTERED, desc->name);
    st = esker__kernel_register(custom->name, desc->source);
    if (st != ESKER_OK) {
        esker__free(custom);
        return st;
    }
    atomic_init(&custom->n_references, 1);
    custom->desc = *desc;
    custom->desc.name = custom->desc.source = NULL;
    custom->op = (esker__op){.name = custom->name,
                             .n_inputs = desc->n_inputs,
                             .n_outputs = 1,
                             .attr_bytes = offsetof(custom_attr, params) + desc->params_bytes,
                             .flags = desc->in_place ? ESKER__OP_IN_PLACE_0 : 0,
                             .infer = infer,
                             .gradient = desc->gradient ? gradient : NULL,
                             .no_gradient = desc->no_gradient,
                             .reference = desc->reference ? reference : NULL,
                             .tolerance = tolerance,
                             .atol = 4 * ESKER__FLUSHED,
                             .lower = lower,
                             .detail = custom,
                             .hold = hold};
    *out = custom;
    return ESKER_OK;
}

esker_custom_op *esker_custom_op_ref(esker_custom_op *op)
{
    atomic_fetch_add_explicit(&op->n_references, 1, memory_order_relaxed);
    return op;
}

void esker_custom_op_unref(esker_custom_op *op)
{
    if (!op || atomic_fetch_sub_explicit(&op->n_references, 1, memory_order_acq_rel) != 1) return;
    esker__kernel_unregister(op->name);
    esker__free(op);
}

esker_node *esker_custom(esker_custom_op *op, esker_node *const *inputs, const void *params)
{
    if (!op || !inputs) {
        esker__fail_message("custom operation: %s is NULL", op ? "inputs" : "op");
        return NULL;
    }
    custom_attr attr;
    memset(&attr, 0, sizeof attr); /* all bytes take part in finding equal nodes */
    attr.custom = op;
    if (params) memcpy(attr.params, params, op->desc.params_bytes);
    return esker__record(&op->op, &attr, inputs, op->desc.n_inputs);
}

int esker__custom_op_inputs(const esker_custom_op *op)
{
    return op->desc.n_inputs;
}
