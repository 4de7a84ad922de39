/* Nodes without inputs, and the further outputs of operations that have several. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "graph/params.h"

static esker_status infer_input(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__input_attr *a = attr;
    (void)inputs;
    (void)n_inputs;
    *out = a->type;
    return ESKER_OK;
}

const esker__op esker__op_input = {.name = "input",
                                   .n_outputs = 1,
                                   .attr_bytes = sizeof(esker__input_attr),
                                   .flags = ESKER__OP_SOURCE,
                                   .infer = infer_input};

esker_node *esker_input(esker_graph *graph, const char *name, esker_dtype dtype, const esker_shape *shape)
{
    if (!graph) return NULL;
    esker__input_attr attr;
    memset(&attr, 0, sizeof attr); /* attributes are compared as bytes */
    if (!name || !name[0] || strlen(name) >= sizeof attr.name)
        return esker__graph_fail(
            graph, esker__fail(ESKER_ERR_INVALID, "input: the name needs 1 to %zu characters", sizeof attr.name - 1));
    if (!shape) return esker__graph_fail(graph, esker__fail(ESKER_ERR_INVALID, "input %s: no shape was given", name));
    if (!esker_dtype_bytes(dtype))
        return esker__graph_fail(graph, esker__fail(ESKER_ERR_INVALID, "input %s: unknown element type %d", name, dtype));
    for (size_t i = 0; i < graph->n_nodes; i++) {
        const esker_node *other = graph->nodes[i];
        if (other->op == &esker__op_input && strcmp(((esker__input_attr *)other->attr)->name, name) == 0)
            return esker__graph_fail(graph, esker__fail(ESKER_ERR_INVALID, "input %s: there is one already", name));
    }
    memcpy(attr.name, name, strlen(name));
    attr.type.dtype = dtype;
    attr.type.shape.rank = shape->rank;
    for (int i = 0; i < shape->rank && i < ESKER_MAX_RANK; i++) attr.type.shape.dims[i] = shape->dims[i];
    return esker__record_in(graph, &esker__op_input, &attr, NULL, 0);
}

/* The type is in the parameter set, which an infer rule cannot see: esker_parameter fills it in. */
static esker_status infer_parameter(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__parameter_attr *a = attr;
    (void)inputs;
    (void)n_inputs;
    *out = a->type;
    return ESKER_OK;
}

const esker__op esker__op_parameter = {.name = "parameter",
                                       .n_outputs = 1,
                                       .attr_bytes = sizeof(esker__parameter_attr),
                                       .flags = ESKER__OP_SOURCE,
                                       .infer = infer_parameter};

esker_node *esker_parameter(esker_graph *graph, const esker_param_desc *desc)
{
    if (!graph) return NULL;
    esker__parameter_attr attr;
    memset(&attr, 0, sizeof attr);
    int index;
    if (graph->status != ESKER_OK) return NULL;
    if (!desc) return esker__graph_fail(graph, esker__fail(ESKER_ERR_INVALID, "parameter: no description was given"));
    esker_status st = esker__params_add(graph->params, desc, &index);
    if (st != ESKER_OK) return esker__graph_fail(graph, st);
    for (size_t i = 0; i < graph->n_nodes; i++) {
        esker_node *other = graph->nodes[i];
        if (other->op == &esker__op_parameter && ((esker__parameter_attr *)other->attr)->index == index) return other;
    }
    attr.index = index;
    attr.type.shape.rank = desc->shape.rank;
    for (int i = 0; i < desc->shape.rank; i++) attr.type.shape.dims[i] = desc->shape.dims[i];
    esker_node *node = esker__record_in(graph, &esker__op_parameter, &attr, NULL, 0);
    return node ? esker_label(node, desc->name) : NULL;
}

static esker_status infer_full(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    const esker__full_attr *a = attr;
    (void)inputs;
    (void)n_inputs;
    out->dtype = ESKER_DTYPE_F32;
    out->shape = a->shape;
    return ESKER_OK;
}

static void reference_full(const esker__reference *r)
{
    const esker__full_attr *a = r->node->attr;
    int64_t n = 1;
    for (int i = 0; i < a->shape.rank; i++) n *= a->shape.dims[i];
    for (int64_t i = 0; i < n; i++) r->out[0][i] = a->value;
}

const esker__op esker__op_full = {.name = "full",
                                  .n_outputs = 1,
                                  .attr_bytes = sizeof(esker__full_attr),
                                  .flags = ESKER__OP_SOURCE,
                                  .infer = infer_full,
                                  .reference = reference_full};

esker_node *esker_full(esker_graph *graph, const esker_shape *shape, float value)
{
    if (!graph) return NULL;
    if (!shape) return esker__graph_fail(graph, esker__fail(ESKER_ERR_INVALID, "full: no shape was given"));
    esker__full_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = shape->rank;
    for (int i = 0; i < shape->rank && i < ESKER_MAX_RANK; i++) attr.shape.dims[i] = shape->dims[i];
    attr.value = value;
    return esker__record_in(graph, &esker__op_full, &attr, NULL, 0);
}

/* Never recorded by itself: esker__record makes these beside their producer. */
static esker_status infer_output(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)inputs;
    (void)n_inputs;
    (void)out;
    return esker__fail(ESKER_ERR_INTERNAL, "output: recorded by itself");
}

const esker__op esker__op_output = {
    .name = "output", .n_inputs = 1, .n_outputs = 1, .flags = ESKER__OP_SOURCE, .infer = infer_output};
