/* Recurrent layers against the formulas of PyTorch's nn.RNN, nn.LSTM and nn.GRU in double. Needs no device. */
#include <math.h>
#include <stdio.h>

#include "nn/sequence.h"

enum { BATCH = 2, STEPS = 5, FEATURES = 3, HIDDEN = 4 };

typedef enum cell { CELL_TANH, CELL_RELU, CELL_LSTM, CELL_GRU } cell;
static const int cell_gates[] = {1, 1, 4, 3};

static double sigmoid(double a)
{
    return 1 / (1 + exp(-a));
}

/* One sample: x [STEPS, n_in] to y, whose rows are `stride` apart. */
static void run_direction(cell kind, const double *x, int64_t n_in, const double *const w[4], bool reverse, double *y,
                          int64_t stride)
{
    double h[HIDDEN] = {0}, c[HIDDEN] = {0};
    for (int s = 0; s < STEPS; s++) {
        int t = reverse ? STEPS - 1 - s : s;
        double in[4 * HIDDEN], hid[4 * HIDDEN];
        for (int g = 0; g < cell_gates[kind] * HIDDEN; g++) {
            in[g] = w[2] ? w[2][g] : 0;
            hid[g] = w[3] ? w[3][g] : 0;
            for (int64_t k = 0; k < n_in; k++) in[g] += w[0][g * n_in + k] * x[t * n_in + k];
            for (int k = 0; k < HIDDEN; k++) hid[g] += w[1][g * HIDDEN + k] * h[k];
        }
        for (int u = 0; u < HIDDEN; u++) {
            if (kind == CELL_TANH) h[u] = tanh(in[u] + hid[u]);
            if (kind == CELL_RELU) h[u] = fmax(0, in[u] + hid[u]);
            if (kind == CELL_LSTM) {
                double i = sigmoid(in[u] + hid[u]), f = sigmoid(in[HIDDEN + u] + hid[HIDDEN + u]);
                double g = tanh(in[2 * HIDDEN + u] + hid[2 * HIDDEN + u]);
                c[u] = f * c[u] + i * g;
                h[u] = sigmoid(in[3 * HIDDEN + u] + hid[3 * HIDDEN + u]) * tanh(c[u]);
            }
            if (kind == CELL_GRU) {
                double r = sigmoid(in[u] + hid[u]), z = sigmoid(in[HIDDEN + u] + hid[HIDDEN + u]);
                h[u] = (1 - z) * tanh(in[2 * HIDDEN + u] + r * hid[2 * HIDDEN + u]) + z * h[u];
            }
            y[t * stride + u] = h[u];
        }
    }
}

static void agrees(const char *type, const char *keys, cell kind, int layers, int directions, bool bias)
{
    static const char *const parts[] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
    char json[300], name[64];
    snprintf(json, sizeof json,
             "{\"input\": {\"shape\": [5, 3]}, \"layers\": [{\"name\": \"r\", \"type\": \"%s\", \"features\": 4%s}]}", type,
             keys);
    esker_model *net = model_from(json);
    sequence_run run;
    run_model(net, BATCH, &run);
    int64_t width = directions * HIDDEN;
    assert_true(esker_shape_equal(&run.y_shape, &(esker_shape){3, {BATCH, STEPS, width}}));
    assert_int_equal(esker_params_count(esker_model_get_params(net)), layers * directions * (bias ? 4 : 2));
    for (int n = 0; n < BATCH; n++) {
        double from[STEPS * 2 * HIDDEN], to[STEPS * 2 * HIDDEN];
        int64_t n_in = FEATURES;
        memcpy(from, run.x + n * STEPS * FEATURES, STEPS * FEATURES * sizeof *from);
        for (int l = 0; l < layers; l++) {
            for (int d = 0; d < directions; d++) {
                const double *w[4] = {NULL};
                for (int p = 0; p < (bias ? 4 : 2); p++) {
                    snprintf(name, sizeof name, "r.%s_l%d%s", parts[p], l, d ? "_reverse" : "");
                    w[p] = parameter_values(&run, name, cell_gates[kind] * HIDDEN * (p == 0 ? n_in : p == 1 ? HIDDEN : 1));
                }
                run_direction(kind, from, n_in, w, d != 0, to + d * HIDDEN, width);
            }
            memcpy(from, to, sizeof from);
            n_in = width;
        }
        assert_doubles(run.y + n * STEPS * width, from, STEPS * width);
    }
    finish_run(&run);
    esker_model_destroy(net);
}

static void agrees_with_the_formulas(void **state)
{
    (void)state;
    agrees("rnn", "", CELL_TANH, 1, 1, true);
    agrees("rnn", ", \"activation\": \"relu\", \"layers\": 2", CELL_RELU, 2, 1, true);
    agrees("lstm", "", CELL_LSTM, 1, 1, true);
    agrees("lstm", ", \"bias\": false, \"bidirectional\": true", CELL_LSTM, 1, 2, false);
    agrees("lstm", ", \"layers\": 3, \"bidirectional\": true", CELL_LSTM, 3, 2, true);
    agrees("gru", "", CELL_GRU, 1, 1, true);
    agrees("gru", ", \"layers\": 2, \"bidirectional\": true", CELL_GRU, 2, 2, true);
}

/* A sequence in two pieces, the second starting with what the first left behind, is the whole sequence. */
static void pieces_carry_their_state_on(void **state)
{
    static const char *const types[] = {"rnn", "lstm", "gru"};
    (void)state;
    for (int t = 0; t < 3; t++) {
        bool lstm = t == 1;
        char json[1000];
        /* The weights of both pieces are set to be the same. */
        snprintf(json, sizeof json,
                 "{\"input\": {\"name\": \"x\", \"shape\": [5, 3]}, \"layers\": ["
                 "{\"name\": \"a\", \"type\": \"slice\", \"stop\": [2]}, {\"name\": \"b\", \"type\": \"slice\", "
                 "\"start\": [2], \"input\": \"x\"},"
                 "{\"name\": \"whole\", \"type\": \"%s\", \"features\": 4, \"layers\": 2, \"input\": \"x\"},"
                 "{\"name\": \"one\", \"type\": \"%s\", \"features\": 4, \"layers\": 2, \"input\": \"a\"},"
                 "{\"name\": \"h\", \"type\": \"last_hidden\", \"input\": \"one\"},%s"
                 "{\"name\": \"two\", \"type\": \"%s\", \"features\": 4, \"layers\": 2, \"inputs\": [\"b\", \"h\"%s]},"
                 "{\"name\": \"pieces\", \"type\": \"concat\", \"inputs\": [\"one\", \"two\"]},"
                 "{\"name\": \"off\", \"type\": \"sub\", \"inputs\": [\"whole\", \"pieces\"]}]}",
                 types[t], types[t], lstm ? "{\"name\": \"c\", \"type\": \"last_cell\", \"input\": \"one\"}," : "",
                 types[t], lstm ? ", \"c\"" : "");
        esker_model *net = model_from(json);
        esker_graph *graph;
        esker_node *x, *y;
        double **values;
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = BATCH}, &graph, &x, &y));
        const double **given = calloc(graph->n_nodes, sizeof *given);
        assert_non_null(given);
        given[x->id] = random_doubles(elems_of(x), 1, 1);
        esker_params *params = esker_graph_get_params(graph);
        for (size_t i = 0; i < graph->n_nodes; i++) {
            const esker_node *node = graph->nodes[i];
            esker_param_info info;
            if (node->op != &esker__op_parameter) continue;
            assert_ok(esker_params_get_info(params, (int)((const esker__parameter_attr *)node->attr)->index, &info));
            const char *part = strchr(info.name, '.');
            assert_non_null(part);
            uint64_t stream = 0;
            for (; *part; part++) stream = 31 * stream + (unsigned char)*part;
            given[node->id] = random_doubles(elems_of(node), 0.7, stream);
        }
        assert_ok(esker__evaluate(graph, given, &y, 1, &values, NULL));
        static const double zeros[BATCH * STEPS * HIDDEN];
        assert_doubles(values[y->id], zeros, BATCH * STEPS * HIDDEN);
        esker__evaluate_free(graph, values);
        for (size_t i = 0; i < graph->n_nodes; i++) free((void *)(uintptr_t)given[i]);
        free(given);
        esker_graph_destroy(graph);
        esker_model_destroy(net);
    }
}

/* Learned initial states, one for all samples: a gradient reaches them, for any batch. */
static void initial_states_are_learned(void **state)
{
    (void)state;
    esker_model *net = model_from(
        "{\"input\": {\"name\": \"x\", \"shape\": [5, 3]}, \"layers\": ["
        "{\"name\": \"h\", \"type\": \"parameter\", \"shape\": [4, 6]}, {\"name\": \"c\", \"type\": "
        "\"parameter\", \"shape\": [4, 6]},"
        "{\"name\": \"r\", \"type\": \"lstm\", \"features\": 6, \"layers\": 2, \"bidirectional\": true, "
        "\"inputs\": [\"x\", \"h\", \"c\"]},"
        "{\"name\": \"cells\", \"type\": \"last_cell\"}]}");
    for (int64_t batch = 1; batch <= 3; batch += 2) {
        esker_graph *graph;
        esker_node *y, *wrt[2], *grads[2];
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = batch}, &graph, NULL, &y));
        assert_true(esker_shape_equal(&y->type.shape, &(esker_shape){3, {batch, 4, 6}}));
        for (int i = 0; i < 2; i++)
            wrt[i] = esker_parameter(graph, &(esker_param_desc){.name = i ? "c.weight" : "h.weight", .shape = {2, {4, 6}}});
        assert_ok(esker_gradients(esker_sum(y, NULL, 0, false), wrt, 2, grads));
        for (int i = 0; i < 2; i++) assert_ptr_not_equal(grads[i]->op, &esker__op_full);
        esker_graph_destroy(graph);
    }
    esker_model_destroy(net);
}

static void c_calls_are_the_same(void **state)
{
    (void)state;
    const esker_layer_recurrent_desc desc = {
        .features = HIDDEN, .layers = 2, .bidirectional = true, .no_bias = true, .relu = true};
    esker_node *(*const calls[])(esker_model *, esker_node *,
                                 const esker_layer_recurrent_desc *) = {esker_layer_rnn, esker_layer_lstm, esker_layer_gru};
    static const char *const want[] = {"\"activation\": \"relu\"", "\"lstm\"", "\"gru\""};
    for (int i = 0; i < 3; i++) {
        esker_model *net;
        char *text;
        assert_ok(esker_model_create(&net));
        esker_node *x = esker_model_input(net, "x", &(esker_shape){2, {STEPS, FEATURES}});
        assert_ok(esker_model_output(net, calls[i](net, x, &desc)));
        assert_int_equal(esker_params_count(esker_model_get_params(net)), 8);
        assert_ok(esker_model_to_json(net, &text));
        assert_non_null(strstr(text, want[i]));
        assert_non_null(strstr(text, "\"layers\": 2"));
        assert_non_null(strstr(text, "\"bidirectional\": true"));
        assert_non_null(strstr(text, "\"bias\": false"));
        esker_text_free(text);
        esker_model_destroy(net);
    }
}

static void starts_as_in_pytorch(void **state)
{
    (void)state;
    esker_model *net;
    float values[4 * HIDDEN * HIDDEN];
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){2, {STEPS, FEATURES}});
    assert_ok(esker_model_output(net, esker_layer_lstm(net, x, &(esker_layer_recurrent_desc){.features = HIDDEN})));
    esker_params *params = esker_model_get_params(net);
    assert_ok(esker_params_init_values(params, 1));
    static const struct {
        const char *name;
        int n;
    } want[] = {{"lstm1.weight_ih_l0", 4 * HIDDEN * FEATURES},
                {"lstm1.weight_hh_l0", 4 * HIDDEN * HIDDEN},
                {"lstm1.bias_ih_l0", 4 * HIDDEN},
                {"lstm1.bias_hh_l0", 4 * HIDDEN}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        float most = 0;
        assert_ok(esker_params_read(params, esker_params_find(params, want[i].name), values, want[i].n));
        for (int k = 0; k < want[i].n; k++) most = fmaxf(most, fabsf(values[k]));
        assert_true(most <= 0.5f && most > 0.4f); /* 1 / sqrt(hidden) */
    }
    esker_model_destroy(net);
}

static void refuses_what_does_not_fit(void **state)
{
    static const struct {
        const char *layers, *part;
    } texts[] = {
        {"{\"name\": \"h\", \"type\": \"full\", \"shape\": [2, 4], \"value\": 0}, {\"type\": \"gru\", "
         "\"features\": 4, \"inputs\": [\"x\", \"h\"]}",
         "layer gru1, gru: initial states [2, 4], [1, 4] are needed: a row for each layer and direction"},
        {"{\"name\": \"h\", \"type\": \"mean\", \"axes\": [1]}, {\"type\": \"gru\", \"features\": 3, "
         "\"inputs\": [\"x\", \"h\"]}",
         "initial states [3], [1, 3] are needed"},
        {"{\"type\": \"lstm\", \"features\": 4, \"inputs\": [\"x\", \"x\"]}",
         "layer lstm1, lstm: 2 inputs: the initial hidden and cell states come together"},
        {"{\"type\": \"gru\", \"features\": 4}, {\"type\": \"last_cell\"}", "last_cell1, last_cell: recurrent_cell: gru"},
        {"{\"type\": \"relu\"}, {\"type\": \"last_hidden\"}", "the input, relu1, is no rnn, lstm or gru layer"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char json[400];
        esker_model *net;
        snprintf(json, sizeof json, "{\"input\": {\"name\": \"x\", \"shape\": [5, 3]}, \"layers\": [%s]}", texts[i].layers);
        assert_fails(esker_model_from_json(json, strlen(json), "bad", &net), ESKER_ERR_FORMAT, texts[i].part);
    }
    static const struct {
        esker_shape x;
        esker_layer_recurrent_desc desc;
        const char *part;
    } rows[] = {{{1, {3}}, {.features = 4}, "the input's samples are [3], [steps, features] are needed"},
                {{2, {5, 3}}, {.features = 0}, "features"},
                {{2, {5, 3}}, {.features = 4, .layers = -1}, "layers"},
                {{2, {5, 3}}, {.features = 4, .layers = 65}, "layers"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        esker_model *net;
        assert_ok(esker_model_create(&net));
        esker_node *x = esker_model_input(net, "x", &rows[i].x);
        assert_null(esker_layer_gru(net, x, &rows[i].desc));
        assert_fails(esker_model_status(net), ESKER_ERR_INVALID, rows[i].part);
        esker_model_destroy(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_formulas),   cmocka_unit_test(pieces_carry_their_state_on),
        cmocka_unit_test(initial_states_are_learned), cmocka_unit_test(c_calls_are_the_same),
        cmocka_unit_test(starts_as_in_pytorch),       cmocka_unit_test(refuses_what_does_not_fit),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
