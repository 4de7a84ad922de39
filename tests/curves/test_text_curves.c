/*
 * device test: a small GPT and a GRU, trained for 20 steps from the same weights on the same batches as PyTorch trained
 * them, with clipped gradients, weight decay for some parameters and a changing rate, must have the same losses and
 * gradient norms. make_text_curves.py says how weights and batches are made, and wrote text_curves.inc.
 */
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>

#include "curves/start.h"

struct text_curve {
    const char *name;
    esker_node *(*record)(esker_node *tokens); /* [batch, context] to logits [batch * context, vocabulary] */
    const struct curve_param *params;
    int n_params;
    uint64_t start_print, batches_print; /* fingerprints of all weights and of all batches */
    double losses_stray, norms_stray;    /* largest relative distances of PyTorch's float32 values from these */
    double losses[20], norms[20];
};

static esker_node *record_gpt(esker_node *tokens);
static esker_node *record_gru(esker_node *tokens);

#include "text_curves.inc"

enum { ROWS = CURVE_BATCH * CURVE_CONTEXT, MATRICES = 0, OTHERS = 1 }; /* groups of parameters */

/* The graph of the curve that is being recorded. */
static esker_graph *graph;

static esker_node *parameter(const char *prefix, const char *name, esker_shape shape, float value)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return esker_parameter(graph, &(esker_param_desc){.name = full,
                                                      .shape = shape,
                                                      .init = {.kind = ESKER_INIT_CONSTANT, .value = value},
                                                      .group = shape.rank == 2 ? MATRICES : OTHERS});
}

static esker_node *times(esker_node *x, esker_node *weight)
{
    return esker_matmul(x, weight, &(esker_matmul_desc){.transpose_b = true});
}

static esker_node *linear(esker_node *x, const char *prefix, int64_t outs, int64_t ins)
{
    esker_node *weight = parameter(prefix, ".weight", (esker_shape){2, {outs, ins}}, 0);
    return esker_add(times(x, weight), parameter(prefix, ".bias", (esker_shape){1, {outs}}, 0));
}

static esker_node *norm(esker_node *x, const char *prefix)
{
    esker_node *weight = parameter(prefix, ".weight", (esker_shape){1, {CURVE_WIDTH}}, 1);
    return esker_layer_norm(x, 1, weight, parameter(prefix, ".bias", (esker_shape){1, {CURVE_WIDTH}}, 0), 0);
}

static esker_node *heads(esker_node *x, const char *prefix)
{
    x = linear(x, prefix, CURVE_WIDTH, CURVE_WIDTH);
    x = esker_reshape(x, &(esker_shape){4, {CURVE_BATCH, CURVE_CONTEXT, CURVE_HEADS, CURVE_WIDTH / CURVE_HEADS}});
    return esker_transpose(x, (const int[]){0, 2, 1, 3});
}

static esker_node *record_gpt(esker_node *tokens)
{
    const esker_shape rows = {2, {ROWS, CURVE_WIDTH}};
    esker_node *table = parameter("", "characters", (esker_shape){2, {CURVE_VOCABULARY, CURVE_WIDTH}}, 0);
    esker_node *positions = parameter("", "positions", (esker_shape){2, {CURVE_CONTEXT, CURVE_WIDTH}}, 0);
    esker_node *x = esker_reshape(esker_add(esker_embedding(table, tokens), positions), &rows);
    for (int i = 1; i <= CURVE_LAYERS; i++) {
        char names[8][32];
        const char *parts[8] = {"norm1", "query", "key", "value", "mix", "norm2", "expand", "contract"};
        for (int k = 0; k < 8; k++) snprintf(names[k], sizeof names[k], "block%d.%s", i, parts[k]);
        esker_node *y = norm(x, names[0]);
        esker_node *q = heads(y, names[1]), *k = heads(y, names[2]), *v = heads(y, names[3]);
        y = esker_transpose(esker_attention(q, k, v, &(esker_attention_desc){.causal = true}), (const int[]){0, 2, 1, 3});
        x = esker_add(x, linear(esker_reshape(y, &rows), names[4], CURVE_WIDTH, CURVE_WIDTH));
        y = esker_gelu(linear(norm(x, names[5]), names[6], 4 * CURVE_WIDTH, CURVE_WIDTH));
        x = esker_add(x, linear(y, names[7], CURVE_WIDTH, 4 * CURVE_WIDTH));
    }
    return times(norm(x, "norm"), table);
}

static esker_node *record_gru(esker_node *tokens)
{
    esker_node *table = parameter("", "characters", (esker_shape){2, {CURVE_VOCABULARY, CURVE_WIDTH}}, 0);
    esker_node *x = esker_embedding(table, tokens);
    for (int i = 0; i < CURVE_LAYERS; i++) {
        const esker_shape matrix = {2, {3 * CURVE_WIDTH, CURVE_WIDTH}}, vector = {1, {3 * CURVE_WIDTH}};
        char layer[8];
        snprintf(layer, sizeof layer, "l%d", i);
        esker_recurrent_desc desc = {.kind = ESKER_RECURRENT_GRU, .batch_first = true};
        desc.weight_ih = parameter("gru.weight_ih_", layer, matrix, 0);
        desc.weight_hh = parameter("gru.weight_hh_", layer, matrix, 0);
        desc.bias_ih = parameter("gru.bias_ih_", layer, vector, 0);
        desc.bias_hh = parameter("gru.bias_hh_", layer, vector, 0);
        x = esker_recurrent(x, &desc);
    }
    return linear(esker_reshape(x, &(esker_shape){2, {ROWS, CURVE_WIDTH}}), "fc", CURVE_VOCABULARY, CURVE_WIDTH);
}

/* Tokens and their successors, [batch][context] each. */
static void make_batch(int step, int32_t *tokens, int32_t *successors)
{
    esker__random random;
    esker__random_init(&random, CURVE_SEED, ((uint64_t)1 << 35) + (uint64_t)step);
    for (int b = 0; b < CURVE_BATCH; b++)
        for (int t = 0, token = 0; t <= CURVE_CONTEXT; t++) {
            uint32_t r = esker__random_next(&random);
            token = t == 0 || (r >> 16) % 8 == 0 ? (int)(r % CURVE_VOCABULARY) : (3 * token + 7) % CURVE_VOCABULARY;
            if (t < CURVE_CONTEXT) *tokens++ = token;
            if (t > 0) *successors++ = token;
        }
}

/* As in test_curves.c: rounding, which every update before a step makes larger. */
static bool agrees(const char *what, int step, float got, double want, double stray, double *worst)
{
    double error = fabs((double)got - want) / want, allowed = 1e-5 + 10 * stray * step / (CURVE_STEPS - 1);
    if (!(error <= *worst)) *worst = error;
    if (error <= allowed) return true;
    print_error("step %d: %s %.8f, PyTorch has %.8f: relative %.2e, allowed %.2e\n", step, what, (double)got, want, error,
                allowed);
    return false;
}

static void losses_and_norms_follow_pytorch(void **state)
{
    const struct text_curve *curve = *state;
    esker_device *dev = test_device();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *logits = curve->record(
        esker_input(graph, "tokens", ESKER_DTYPE_I32, &(esker_shape){2, {CURVE_BATCH, CURVE_CONTEXT}}));
    esker_node *outputs[2] = {
        esker_cross_entropy(logits, esker_input(graph, "successors", ESKER_DTYPE_I32, &(esker_shape){1, {ROWS}}))};
    assert_ok(esker_optimize(outputs[0], &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW,
                                                                 .beta2 = 0.99f,
                                                                 .weight_decay = 0.1f,
                                                                 .clip_norm = 1,
                                                                 .groups = {[OTHERS] = {.no_weight_decay = true}}}));
    outputs[1] = esker_gradient_norm(graph);
    esker_plan *plan = NULL;
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = 2}, &plan));
    assert_ok(esker_plan_check(plan));
    uint64_t start_print = write_weights(esker_graph_get_params(graph), curve->params, curve->n_params, CURVE_SEED);
    esker_graph_destroy(graph);

    uint64_t batches_print = NO_PRINT;
    int n_bad = 0;
    double worst_loss = 0, worst_norm = 0;
    for (int step = 0; step < CURVE_STEPS; step++) {
        int32_t tokens[ROWS], successors[ROWS];
        make_batch(step, tokens, successors);
        batches_print = print_bytes(batches_print, tokens, sizeof tokens);
        batches_print = print_bytes(batches_print, successors, sizeof successors);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "tokens"), tokens, sizeof tokens));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "successors"), successors, sizeof successors));
        assert_ok(esker_plan_set_lr(plan, curve_rates[step]));
        uint64_t ticket = 0;
        assert_ok(esker_plan_submit(plan, &ticket));
        float loss = NAN, gradient_norm = NAN;
        assert_ok(esker_plan_read(plan, ticket, 0, &loss, sizeof loss));
        assert_ok(esker_plan_read(plan, ticket, 1, &gradient_norm, sizeof gradient_norm));
        n_bad += !agrees("loss", step, loss, curve->losses[step], curve->losses_stray, &worst_loss);
        n_bad += !agrees("norm", step, gradient_norm, curve->norms[step], curve->norms_stray, &worst_norm);
    }
    print_message("%s: largest relative differences %.2e (loss) and %.2e (norm); PyTorch's float32 has %.2e and %.2e\n",
                  curve->name, worst_loss, worst_norm, curve->losses_stray, curve->norms_stray);
    esker_plan_destroy(plan);
    if (start_print != curve->start_print) fail_msg("the weights are not those that PyTorch began with");
    if (batches_print != curve->batches_print) fail_msg("the batches are not those that PyTorch saw");
    if (n_bad) fail_msg("%d of %d values differ", n_bad, 2 * CURVE_STEPS);
}

int main(void)
{
    enum { N = sizeof curves / sizeof curves[0] };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){curves[i].name, losses_and_norms_follow_pytorch, NULL, NULL, (void *)&curves[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
