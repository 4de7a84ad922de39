/* The double-precision interpreter: every op's reference, node by node. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"

static double *new_value(const esker_node *node, double fill)
{
    int64_t n = esker__elems(&node->type.shape);
    if ((uint64_t)n > SIZE_MAX / sizeof(double)) return NULL;
    double *value = esker__malloc((size_t)n * sizeof *value);
    for (int64_t i = 0; value && i < n; i++) value[i] = fill;
    return value;
}

static void mark_needed(const esker_graph *graph, esker_node *const *outputs, int n_outputs, bool *needed)
{
    for (int i = 0; i < n_outputs; i++) needed[outputs[i]->id] = true;
    for (size_t i = graph->n_nodes; i-- > 0;)
        for (int j = 0; needed[i] && j < graph->nodes[i]->n_inputs; j++) needed[graph->nodes[i]->inputs[j]->id] = true;
}

/* Computes all outputs of `node`, a producer. */
static esker_status evaluate_node(const esker_graph *graph, const esker_node *node, const esker__step *step,
                                  double **values, double **magnitudes, double **inputs)
{
    esker__reference r = {.node = node, .in = inputs, .seed = step->seed, .step = step->step};
    for (int i = 0; i < node->n_inputs; i++) inputs[i] = values[node->inputs[i]->id];
    for (int i = 0; i < node->op->n_outputs; i++) {
        const esker_node *output = graph->nodes[node->id + i];
        values[output->id] = r.out[i] = new_value(output, NAN);
        if (magnitudes) magnitudes[output->id] = r.magnitude[i] = new_value(output, NAN);
        if (!r.out[i] || (magnitudes && !r.magnitude[i]))
            return esker__fail_memory((size_t)esker__elems(&output->type.shape) * 8, "reference");
    }
    if (node->op->flags & ESKER__OP_VIEW)
        memcpy(r.out[0], inputs[0], (size_t)esker__elems(&node->type.shape) * sizeof(double));
    else
        node->op->reference(&r);
    for (int i = 0; magnitudes && i < node->op->n_outputs; i++) {
        int64_t n = esker__elems(&graph->nodes[node->id + i]->type.shape);
        for (int64_t j = 0; j < n; j++)
            if (isnan(r.magnitude[i][j])) r.magnitude[i][j] = fabs(r.out[i][j]);
    }
    return ESKER_OK;
}

static double *copy_given(const esker_node *node, const double *given)
{
    double *value = new_value(node, 0);
    if (value) memcpy(value, given, (size_t)esker__elems(&node->type.shape) * sizeof *value);
    return value;
}

esker_status esker__evaluate(esker_graph *graph, const double *const *given, esker_node *const *outputs, int n_outputs,
                             double ***out_values, double ***out_magnitudes)
{
    return esker__evaluate_step(graph, &(esker__step){0}, given, outputs, n_outputs, out_values, out_magnitudes);
}

esker_status esker__evaluate_step(esker_graph *graph, const esker__step *step, const double *const *given,
                                  esker_node *const *outputs, int n_outputs, double ***out_values, double ***out_magnitudes)
{
    esker_status st = esker_graph_status(graph);
    *out_values = NULL;
    if (out_magnitudes) *out_magnitudes = NULL;
    if (st != ESKER_OK) return st;
    size_t max_inputs = 1;
    for (size_t i = 0; i < graph->n_nodes; i++)
        if ((size_t)graph->nodes[i]->n_inputs > max_inputs) max_inputs = (size_t)graph->nodes[i]->n_inputs;
    bool *needed = esker__calloc(graph->n_nodes, sizeof *needed);
    double **values = esker__calloc(graph->n_nodes, sizeof *values);
    double **magnitudes = out_magnitudes ? esker__calloc(graph->n_nodes, sizeof *values) : NULL;
    double **inputs = esker__calloc(max_inputs, sizeof *inputs);
    if (!needed || !values || !inputs || (out_magnitudes && !magnitudes)) {
        st = esker__fail_memory(graph->n_nodes * sizeof *values, "reference");
        goto done;
    }
    mark_needed(graph, outputs, n_outputs, needed);
    for (size_t i = 0; i < graph->n_nodes && st == ESKER_OK; i++) {
        const esker_node *node = graph->nodes[i];
        if (!needed[i] || values[i] || node->producer != node) continue;
        if (given && given[i]) {
            values[i] = copy_given(node, given[i]);
            if (!values[i]) st = esker__fail_memory((size_t)esker__elems(&node->type.shape) * sizeof(double), "reference");
        } else if (!node->op->reference && !(node->op->flags & ESKER__OP_VIEW)) {
            const char *name = node->label ? node->label : "";
            if (node->op == &esker__op_input) name = ((const esker__input_attr *)node->attr)->name;
            st = esker__fail(ESKER_ERR_INVALID, "reference: no value was given for %s %s", node->op->name, name);
        } else {
            st = evaluate_node(graph, node, step, values, magnitudes, inputs);
        }
    }
done:
    esker__free(needed);
    esker__free(inputs);
    if (st != ESKER_OK) {
        if (values) esker__evaluate_free(graph, values);
        if (magnitudes) esker__evaluate_free(graph, magnitudes);
        return st;
    }
    *out_values = values;
    if (out_magnitudes) *out_magnitudes = magnitudes;
    return ESKER_OK;
}

void esker__evaluate_free(esker_graph *graph, double **values)
{
    for (size_t i = 0; values && i < graph->n_nodes; i++) esker__free(values[i]);
    esker__free(values);
}
