/* Multi-head attention as a layer, against the formulas of PyTorch's nn.MultiheadAttention in double. Needs no device. */
#include <math.h>
#include <stdio.h>

#include "nn/sequence.h"

static void project(const double *x, const double *weight, const double *bias, int64_t n_in, int64_t n_out, double *out)
{
    for (int64_t i = 0; i < n_out; i++) {
        out[i] = bias ? bias[i] : 0;
        for (int64_t k = 0; k < n_in; k++) out[i] += weight[i * n_in + k] * x[k];
    }
}

/* Pairs (2 i, 2 i + 1) of one head's row. */
static void turn(double *row, int64_t size, int64_t position)
{
    for (int64_t i = 0; i < size / 2; i++) {
        double angle = (double)position * pow(10000, -2 * (double)i / (double)size), u = row[2 * i], v = row[2 * i + 1];
        row[2 * i] = u * cos(angle) - v * sin(angle);
        row[2 * i + 1] = u * sin(angle) + v * cos(angle);
    }
}

enum { BATCH = 2, ROWS = 5, WIDTH = 12, HEADS = 3, SIZE = WIDTH / HEADS };

static void attend(const double *x, const double *in_w, const double *in_b, bool causal, bool rotary, double *out)
{
    double qkv[ROWS][3 * WIDTH];
    for (int t = 0; t < ROWS; t++) {
        project(x + t * WIDTH, in_w, in_b, WIDTH, 3 * WIDTH, qkv[t]);
        for (int h = 0; rotary && h < 2 * HEADS; h++) turn(qkv[t] + h * SIZE, SIZE, t);
    }
    for (int t = 0; t < ROWS; t++)
        for (int h = 0; h < HEADS; h++) {
            double p[ROWS], sum = 0;
            int n = causal ? t + 1 : ROWS;
            for (int j = 0; j < n; j++) {
                double score = 0;
                for (int c = 0; c < SIZE; c++) score += qkv[t][h * SIZE + c] * qkv[j][WIDTH + h * SIZE + c];
                sum += p[j] = exp(score / sqrt(SIZE));
            }
            for (int c = 0; c < SIZE; c++) {
                double *y = &out[t * WIDTH + h * SIZE + c];
                *y = 0;
                for (int j = 0; j < n; j++) *y += p[j] / sum * qkv[j][2 * WIDTH + h * SIZE + c];
            }
        }
}

static void agrees(const char *keys, bool causal, bool bias, bool rotary)
{
    char json[300];
    snprintf(json, sizeof json,
             "{\"input\": {\"shape\": [5, 12]}, \"layers\": [{\"name\": \"a\", \"type\": \"attention\", \"heads\": 3%s}]}",
             keys);
    esker_model *net = model_from(json);
    sequence_run run;
    run_model(net, BATCH, &run);
    assert_true(esker_shape_equal(&run.y_shape, &(esker_shape){3, {BATCH, ROWS, WIDTH}}));
    const double *in_w = parameter_values(&run, "a.in_proj_weight", 3 * WIDTH * WIDTH);
    const double *in_b = bias ? parameter_values(&run, "a.in_proj_bias", 3 * WIDTH) : NULL;
    const double *out_w = parameter_values(&run, "a.out_proj.weight", WIDTH * WIDTH);
    const double *out_b = bias ? parameter_values(&run, "a.out_proj.bias", WIDTH) : NULL;
    assert_int_equal(esker_params_count(esker_model_get_params(net)), bias ? 4 : 2);
    for (int n = 0; n < BATCH; n++) {
        double heads[ROWS * WIDTH], want[ROWS * WIDTH];
        attend(run.x + n * ROWS * WIDTH, in_w, in_b, causal, rotary, heads);
        for (int t = 0; t < ROWS; t++) project(heads + t * WIDTH, out_w, out_b, WIDTH, WIDTH, want + t * WIDTH);
        assert_doubles(run.y + n * ROWS * WIDTH, want, ROWS * WIDTH);
    }
    finish_run(&run);
    esker_model_destroy(net);
}

static void agrees_with_the_formulas(void **state)
{
    (void)state;
    agrees("", false, true, false);
    agrees(", \"causal\": true", true, true, false);
    agrees(", \"bias\": false", false, false, false);
    agrees(", \"causal\": true, \"rotary\": \"pairs\"", true, true, true);
}

static void starts_as_in_pytorch(void **state)
{
    (void)state;
    esker_model *net;
    float values[3 * WIDTH * WIDTH];
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){2, {ROWS, WIDTH}});
    x = esker_layer_attention(net, x, &(esker_layer_attention_desc){.heads = HEADS});
    assert_ok(esker_model_output(net, x));
    esker_params *params = esker_model_get_params(net);
    assert_ok(esker_params_init_values(params, 1));
    static const struct {
        const char *name;
        int n;
        double bound;
    } want[] = {{"attention1.in_proj_weight", 3 * WIDTH * WIDTH, 0.35355339} /* sqrt(6 / (4 width)) */,
                {"attention1.in_proj_bias", 3 * WIDTH, 0},
                {"attention1.out_proj.weight", WIDTH * WIDTH, 0.28867513} /* 1 / sqrt(width) */,
                {"attention1.out_proj.bias", WIDTH, 0}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        float most = 0;
        assert_ok(esker_params_read(params, esker_params_find(params, want[i].name), values, want[i].n));
        for (int k = 0; k < want[i].n; k++) most = fmaxf(most, fabsf(values[k]));
        assert_true(most <= want[i].bound * 1.000001 && most >= 0.9 * want[i].bound);
    }
    esker_model_destroy(net);
}

/* As an operation between layers. */
static void rotary_is_a_layer(void **state)
{
    (void)state;
    esker_model *net = model_from("{\"input\": {\"shape\": [5, 12]}, \"layers\": [{\"type\": \"rotary\", \"base\": 500, "
                                  "\"offset\": 3, \"halves\": true}]}");
    sequence_run run;
    run_model(net, BATCH, &run);
    for (int t = 0; t < ROWS; t++)
        for (int i = 0; i < WIDTH / 2; i++) {
            const double *x = run.x + (ROWS + t) * WIDTH, *y = run.y + (ROWS + t) * WIDTH;
            double angle = (t + 3) * pow(500, -2.0 * i / WIDTH);
            assert_doubles(&y[i], &(double){x[i] * cos(angle) - x[i + WIDTH / 2] * sin(angle)}, 1);
            assert_doubles(&y[i + WIDTH / 2], &(double){x[i] * sin(angle) + x[i + WIDTH / 2] * cos(angle)}, 1);
        }
    finish_run(&run);
    esker_model_destroy(net);
}

static void refuses_what_does_not_fit(void **state)
{
    static const struct {
        int64_t heads;
        esker_shape x;
        const char *part;
    } rows[] = {{5, {2, {4, 12}}, "heads: 5 do not divide a width of 12"},
                {0, {2, {4, 12}}, "heads"},
                {3, {1, {12}}, "the input's samples are [12], [rows, width] are needed"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        esker_model *net;
        assert_ok(esker_model_create(&net));
        esker_node *x = esker_model_input(net, "x", &rows[i].x);
        assert_null(esker_layer_attention(net, x, &(esker_layer_attention_desc){.heads = rows[i].heads}));
        assert_fails(esker_model_status(net), ESKER_ERR_INVALID, rows[i].part);
        esker_model_destroy(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_formulas),
        cmocka_unit_test(starts_as_in_pytorch),
        cmocka_unit_test(rotary_is_a_layer),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
