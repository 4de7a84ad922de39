/* Evaluating a model in double on given input and parameters, for tests of layers over sequences. */
#ifndef ESKER_TESTS_NN_SEQUENCE_H
#define ESKER_TESTS_NN_SEQUENCE_H

#include <string.h>

#include <esker/model.h>
#include "base/philox.h"
#include "graph/graph.h"
#include "support/test.h"

static inline double *random_doubles(int64_t n, double bound, uint64_t stream)
{
    double *out = calloc((size_t)n, sizeof *out);
    esker__random random;
    assert_non_null(out);
    esker__random_init(&random, test_seed(), stream);
    for (int64_t i = 0; i < n; i++) out[i] = bound * (2 * esker__random_unit(&random) - 1);
    return out;
}

static inline int64_t elems_of(const esker_node *node)
{
    int64_t n = 0;
    assert_ok(esker_shape_elems(&node->type.shape, &n));
    return n;
}

/* A model of one layer, run for a batch, with all that it was run on. */
typedef struct sequence_run {
    esker_graph *graph;
    double **given, **values;
    const double *x, *y;
    esker_shape y_shape;
} sequence_run;

static inline void run_model(esker_model *net, int64_t batch, sequence_run *out)
{
    esker_node *input, *output;
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = batch}, &out->graph, &input, &output));
    out->given = calloc(out->graph->n_nodes, sizeof *out->given);
    assert_non_null(out->given);
    for (size_t i = 0; i < out->graph->n_nodes; i++) {
        const esker_node *node = out->graph->nodes[i];
        if (node->op == &esker__op_input || node->op == &esker__op_parameter)
            out->given[i] = random_doubles(elems_of(node), node == input ? 1 : 0.7, i);
    }
    assert_ok(esker__evaluate(out->graph, (const double *const *)out->given, &output, 1, &out->values, NULL));
    out->x = out->given[input->id];
    out->y = out->values[output->id];
    out->y_shape = output->type.shape;
}

/* The values that a parameter had; fails if there is none of that name and number of elements. */
static inline const double *parameter_values(const sequence_run *run, const char *name, int64_t n_elems)
{
    int index = esker_params_find(esker_graph_get_params(run->graph), name);
    if (index < 0) fail_msg("no parameter %s", name);
    for (size_t i = 0; i < run->graph->n_nodes; i++) {
        const esker_node *node = run->graph->nodes[i];
        if (node->op != &esker__op_parameter || ((const esker__parameter_attr *)node->attr)->index != index) continue;
        assert_int_equal(elems_of(node), n_elems);
        return run->given[i];
    }
    fail_msg("no node of parameter %s", name);
    return NULL;
}

static inline void finish_run(sequence_run *run)
{
    for (size_t i = 0; i < run->graph->n_nodes; i++) free(run->given[i]);
    free(run->given);
    esker__evaluate_free(run->graph, run->values);
    esker_graph_destroy(run->graph);
}

static inline void assert_doubles(const double *got, const double *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(got[i] - want[i] < 1e-11 && want[i] - got[i] < 1e-11))
            fail_msg("element %lld is %.12g, want %.12g (ESKER_TEST_SEED=%llu)", (long long)i, got[i], want[i],
                     (unsigned long long)test_seed());
}

/* A model from JSON is written as it was read, and again after that. */
static inline esker_model *model_from(const char *json)
{
    esker_model *net, *again;
    char *text, *text_again;
    assert_ok(esker_model_from_json(json, strlen(json), "test", &net));
    assert_ok(esker_model_to_json(net, &text));
    assert_ok(esker_model_from_json(text, strlen(text), "again", &again));
    assert_ok(esker_model_to_json(again, &text_again));
    assert_string_equal(text, text_again);
    esker_text_free(text);
    esker_text_free(text_again);
    esker_model_destroy(again);
    return net;
}

#endif
