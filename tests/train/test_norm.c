/* device test: normalisation layers in models: names, modes, files, and a training on digits. */
#include <math.h>
#include <stdio.h>

#include <esker/checkpoint.h>
#include <esker/plan.h>
#include "graph/graph.h"
#include "small.h"

/* ---- Parameters and JSON ---- */

typedef struct layer_row {
    const char *name;
    esker_shape input;
    const char *layer;    /* JSON, in its canonical form */
    const char *parts[5]; /* parameters, in order */
    esker_shape shape;    /* of each */
} layer_row;

static const layer_row layer_rows[] = {
    {"batch norm of images",
     {3, {4, 5, 3}},
     "{\"name\": \"bn1\", \"type\": \"batch_norm2d\"}",
     {"weight", "bias", "running_mean", "running_var"},
     {1, {4}}},
    {"batch norm of rows, without weights, quick",
     {1, {6}},
     "{\"name\": \"first\", \"type\": \"batch_norm1d\", \"eps\": 0.001, \"momentum\": 0.5, \"affine\": false}",
     {"running_mean", "running_var"},
     {1, {6}}},
    {"batch norm of rows of channels, without statistics",
     {2, {6, 3}},
     "{\"name\": \"bn1\", \"type\": \"batch_norm1d\", \"running\": false}",
     {"weight", "bias"},
     {1, {6}}},
    {"layer norm", {2, {4, 5}}, "{\"name\": \"ln1\", \"type\": \"layer_norm\"}", {"weight", "bias"}, {1, {5}}},
    {"layer norm of two axes, no bias",
     {2, {4, 5}},
     "{\"name\": \"ln1\", \"type\": \"layer_norm\", \"axes\": 2, \"bias\": false}",
     {"weight"},
     {2, {4, 5}}},
    {"layer norm, no affine", {1, {5}}, "{\"name\": \"ln1\", \"type\": \"layer_norm\", \"affine\": false}", {NULL}, {0}},
    {"rms norm", {1, {5}}, "{\"name\": \"rms1\", \"type\": \"rms_norm\", \"eps\": 1e-06}", {"weight"}, {1, {5}}},
    {"group norm",
     {3, {6, 3, 3}},
     "{\"name\": \"gn1\", \"type\": \"group_norm\", \"groups\": 3}",
     {"weight", "bias"},
     {1, {6}}},
    {"instance norm", {2, {6, 3}}, "{\"name\": \"in1\", \"type\": \"instance_norm\"}", {NULL}, {0}},
    {"instance norm, affine",
     {2, {6, 3}},
     "{\"name\": \"in1\", \"type\": \"instance_norm\", \"affine\": true}",
     {"weight", "bias"},
     {1, {6}}},
    {"normalize", {2, {6, 3}}, "{\"name\": \"normalize1\", \"type\": \"normalize\", \"axis\": 2}", {NULL}, {0}},
};

static esker_model *read_layer(const layer_row *row)
{
    char text[600];
    int n = snprintf(text, sizeof text, "{\"name\": \"m\", \"input\": {\"name\": \"x\", \"shape\": [");
    for (int i = 0; i < row->input.rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%d", i ? ", " : "", (int)row->input.dims[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "]}, \"layers\": [%s]}", row->layer);
    esker_model *net = NULL;
    assert_ok(esker_model_from_json(text, (size_t)n, row->name, &net));
    return net;
}

static void layers_are_named_and_written_as_they_are_read(void **state)
{
    const layer_row *row = *state;
    esker_model *net = read_layer(row);
    esker_params *params = esker_model_get_params(net);
    char layer[40] = {0}, name[60];
    sscanf(row->layer, "{\"name\": \"%39[^\"]", layer);
    int n = 0;
    for (; row->parts[n]; n++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, n, &info));
        snprintf(name, sizeof name, "%s.%s", layer, row->parts[n]);
        assert_string_equal(info.name, name);
        assert_true(esker_shape_equal(&info.shape, &row->shape));
        assert_int_equal(info.frozen, strncmp(row->parts[n], "running", 7) == 0);
        float values[20], want = strcmp(row->parts[n], "weight") == 0 || strcmp(row->parts[n], "running_var") == 0;
        assert_ok(esker_params_read(params, n, values, info.n_elems));
        for (int64_t i = 0; i < info.n_elems; i++) assert_true(values[i] == want);
    }
    assert_int_equal(esker_params_count(params), n);
    char *text;
    assert_ok(esker_model_to_json(net, &text));
    if (!strstr(text, row->layer)) fail_msg("%s, written: %s", row->layer, text);
    esker_text_free(text);
    esker_model_destroy(net);
}

static void layers_refuse_what_does_not_fit(void **state)
{
    static const struct {
        esker_shape input;
        const char *layer, *part;
    } rows[] = {
        {{1, {4}}, "{\"type\": \"batch_norm2d\"}", "the input's samples are [4], [channels, height, width] are needed"},
        {{3, {4, 2, 2}}, "{\"type\": \"batch_norm1d\"}", "[channels] or [channels, length] are needed"},
        {{1, {4}}, "{\"type\": \"layer_norm\", \"axes\": 2}", "with fewer axes than are to be normalised"},
        {{1, {4}}, "{\"type\": \"layer_norm\", \"eps\": -1}", "eps is -1"},
        {{1, {4}}, "{\"type\": \"group_norm\"}", "groups"},
        {{1, {4}}, "{\"type\": \"group_norm\", \"groups\": 3}", "3 groups do not divide 4 channels"},
        {{1, {4}}, "{\"type\": \"instance_norm\"}", "[channels, space...] are needed"},
        {{1, {4}}, "{\"type\": \"batch_norm1d\", \"momentum\": 2}", "momentum is 2"},
        {{1, {4}}, "{\"type\": \"normalize\", \"axis\": 0}", "axis 0 is the batch"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        esker_model *net;
        int n = snprintf(text, sizeof text, "{\"input\": {\"shape\": [%d%s]}, \"layers\": [%s]}",
                         (int)rows[i].input.dims[0], rows[i].input.rank > 1 ? ", 2, 2" : "", rows[i].layer);
        assert_fails(esker_model_from_json(text, (size_t)n, "text", &net), ESKER_ERR_FORMAT, rows[i].part);
        assert_null(net);
    }
}

/* Zero-initialised descriptions are what JSON without keys says. */
static void descriptions_mean_what_json_means(void **state)
{
    static const char *const want[] = {
        "{\"name\": \"bn1\", \"type\": \"batch_norm2d\"}",
        "{\"name\": \"gn1\", \"type\": \"group_norm\", \"groups\": 2}",
        "{\"name\": \"in1\", \"type\": \"instance_norm\"}",
        "{\"name\": \"bn2\", \"type\": \"batch_norm1d\"}",
        "{\"name\": \"ln1\", \"type\": \"layer_norm\"}",
        "{\"name\": \"rms1\", \"type\": \"rms_norm\"}",
        "{\"name\": \"last\", \"type\": \"layer_norm\", \"eps\": 0.5, \"affine\": false, \"bias\": false}",
    };
    (void)state;
    esker_model *net;
    char *text;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){3, {4, 3, 3}});
    x = esker_layer_batch_norm2d(net, x, NULL);
    x = esker_layer_group_norm(net, x, &(esker_layer_group_norm_desc){.groups = 2});
    x = esker_flatten(esker_layer_instance_norm(net, x, NULL));
    x = esker_layer_batch_norm1d(net, x, NULL);
    x = esker_layer_layer_norm(net, x, NULL);
    x = esker_layer_rms_norm(net, x, NULL);
    x = esker_layer_layer_norm(
        net, x, &(esker_layer_layer_norm_desc){.eps = 0.5f, .no_affine = true, .no_bias = true, .name = "last"});
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_model_to_json(net, &text));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!strstr(text, want[i])) fail_msg("%s is not in %s", want[i], text);
    esker_text_free(text);
    esker_model_destroy(net);
}

/* ---- Modes ---- */

enum { BATCH = 3, CHANNELS = 4, SPACE = 5 * 3, ELEMS = BATCH * CHANNELS * SPACE };

static int count_ops(const esker_graph *graph, const char *op)
{
    int n = 0;
    for (size_t i = 0; i < graph->n_nodes; i++) n += strcmp(graph->nodes[i]->op->name, op) == 0;
    return n;
}

static esker_graph *instance(esker_model *net, esker_mode mode, esker_node **out)
{
    esker_graph *graph;
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = BATCH, .mode = mode}, &graph, NULL, out));
    return graph;
}

static void modes_record_what_they_run(void **state)
{
    (void)state;
    esker_model *net = read_layer(&layer_rows[0]);
    esker_node *y;
    esker_graph *train = instance(net, ESKER_MODE_TRAIN, &y), *infer = instance(net, ESKER_MODE_INFER, &y);
    assert_int_equal(count_ops(train, "batch_norm"), 1);
    assert_int_equal(count_ops(train, "batch_norm_running"), 1);
    assert_int_equal(count_ops(train, "batch_norm_infer"), 0);
    assert_int_equal(count_ops(infer, "batch_norm"), 0);
    assert_int_equal(count_ops(infer, "batch_norm_running"), 0);
    assert_int_equal(count_ops(infer, "batch_norm_infer"), 1);
    esker_graph_destroy(train);
    esker_graph_destroy(infer);
    esker_model_destroy(net);
    /* Without running statistics there is one form for both. */
    net = read_layer(&layer_rows[2]);
    infer = instance(net, ESKER_MODE_INFER, &y);
    assert_int_equal(count_ops(infer, "batch_norm"), 1);
    assert_int_equal(count_ops(infer, "batch_norm_infer"), 0);
    esker_graph_destroy(infer);
    esker_model_destroy(net);
}

static void run(esker_model *net, esker_mode mode, const float *x, float *y)
{
    esker_node *out;
    esker_plan *plan;
    uint64_t ticket;
    esker_graph *graph = instance(net, mode, &out);
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &out, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_write(plan, 0, x, ELEMS * sizeof *x));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, y, ELEMS * sizeof *y));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void inference_uses_the_running_statistics_and_leaves_them(void **state)
{
    static const float mean[CHANNELS] = {-1, 0.5f, 0, 3}, var[CHANNELS] = {4, 0.25f, 1, 9};
    static const float weight[CHANNELS] = {1, 2, -1, 0.5f}, bias[CHANNELS] = {0, 1, -2, 0.25f};
    float x[ELEMS], y[ELEMS];
    double want[ELEMS];
    int64_t n;
    (void)state;
    test_device();
    esker_model *net = read_layer(&layer_rows[0]);
    esker_params *params = esker_model_get_params(net);
    assert_ok(esker_params_write(params, 0, weight, CHANNELS));
    assert_ok(esker_params_write(params, 1, bias, CHANNELS));
    assert_ok(esker_params_write(params, 2, mean, CHANNELS));
    assert_ok(esker_params_write(params, 3, var, CHANNELS));
    float *before = all_values(net, &n);
    test_uniform(x, ELEMS, -2, 5, 1);
    for (int i = 0; i < ELEMS; i++) {
        int c = i / SPACE % CHANNELS;
        want[i] = ((double)x[i] - mean[c]) / sqrt(var[c] + 1e-5) * weight[c] + bias[c];
    }
    for (int t = 0; t < 3; t++) {
        run(net, ESKER_MODE_INFER, x, y);
        assert_close(y, want, NULL, 2e-5, ELEMS);
    }
    float *after = all_values(net, &n);
    assert_memory_equal(before, after, (size_t)n * sizeof *after);
    free(after);

    /* One run for training moves the statistics, and nothing else: there is no optimizer in this graph. */
    run(net, ESKER_MODE_TRAIN, x, y);
    after = all_values(net, &n);
    assert_memory_equal(before, after, 2 * CHANNELS * sizeof *after);
    for (int c = 0; c < CHANNELS; c++) {
        double sum = 0, squares = 0, count = BATCH * SPACE;
        for (int i = 0; i < ELEMS; i++) sum += i / SPACE % CHANNELS == c ? (double)x[i] : 0;
        for (int i = 0; i < ELEMS; i++)
            squares += i / SPACE % CHANNELS == c ? (x[i] - sum / count) * (x[i] - sum / count) : 0;
        assert_true(fabs(after[2 * CHANNELS + c] - (0.9 * mean[c] + 0.1 * sum / count)) <= 1e-5);
        assert_true(fabs(after[3 * CHANNELS + c] - (0.9 * var[c] + 0.1 * squares / (count - 1))) <= 1e-5);
    }
    free(before);
    free(after);
    esker_model_destroy(net);
}

/* ---- A training ---- */

static esker_model *small_cnn(void)
{
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 28, 28}});
    x = esker_layer_conv2d(net, x,
                           &(esker_layer_conv2d_desc){.filters = 6, .kernel = {3, 3}, .stride = {2, 2}, .no_bias = true});
    x = esker_relu(esker_layer_batch_norm2d(net, x, NULL));
    x = esker_layer_linear(net, esker_flatten(x), &(esker_layer_linear_desc){.features = 16, .no_bias = true});
    x = esker_relu(esker_layer_batch_norm1d(net, x, NULL));
    x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 10});
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_params_init_values(esker_model_get_params(net), 3));
    return net;
}

typedef struct losses {
    float first, last;
    int n;
} losses;

static bool keep_losses(const esker_step_record *record, void *user)
{
    losses *l = user;
    if (l->n++ == 0) l->first = record->loss;
    l->last = record->loss;
    return true;
}

static float *train_cnn(esker_model *net, esker_dataset *ds, losses *l, int64_t *out_n)
{
    esker_trainer *trainer;
    assert_ok(esker_trainer_create(net,
                                   &(esker_trainer_desc){.device = test_device(),
                                                         .batch = 32,
                                                         .seed = 7,
                                                         .drop_last = true,
                                                         .optimizer = {.kind = ESKER_OPTIMIZER_ADAM, .lr = 5e-3f}},
                                   &trainer));
    *l = (losses){0};
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 4, .log = keep_losses, .user = l}));
    esker_trainer_destroy(trainer);
    return all_values(net, out_n);
}

static void a_small_cnn_learns_digits(void **state)
{
    losses first, second;
    int64_t n;
    char path[512];
    esker_evaluation evaluation, again;
    (void)state;
    test_device();
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 320);
    esker_model *net = small_cnn(), *twin = small_cnn();
    float *trained = train_cnn(net, ds, &first, &n), *same = train_cnn(twin, ds, &second, &n);
    assert_int_equal(first.n, 40);
    if (!(first.last < 0.5f * first.first))
        fail_msg("the loss went from %g to %g in %d steps", (double)first.first, (double)first.last, first.n);
    assert_memory_equal(trained, same, (size_t)n * sizeof *trained); /* the same bits, statistics included */

    /* Running statistics have left 0 and 1; measuring leaves everything as it is. */
    esker_params *params = esker_model_get_params(net);
    float mean[6], var[6];
    assert_ok(esker_params_read(params, esker_params_find(params, "bn1.running_mean"), mean, 6));
    assert_ok(esker_params_read(params, esker_params_find(params, "bn1.running_var"), var, 6));
    for (int c = 0; c < 6; c++) assert_true(mean[c] != 0 && var[c] != 1 && var[c] > 0);
    esker_evaluator *ev;
    assert_ok(esker_evaluator_create(net, &(esker_evaluator_desc){.device = test_device(), .batch = 50}, &ev));
    assert_ok(esker_evaluator_measure(ev, ds, &evaluation));
    esker_evaluator_destroy(ev);
    if (!(evaluation.accuracy > 0.8)) fail_msg("accuracy %g in inference", evaluation.accuracy);
    float *after = all_values(net, &n);
    assert_memory_equal(trained, after, (size_t)n * sizeof *trained);
    free(after);

    /* A file brings weights and statistics back, to the bit, and another batch size gives the same answers. */
    snprintf(path, sizeof path, "%s/cnn.safetensors", test_folder("train_norm"));
    assert_ok(esker_model_save(net, path));
    esker_model_destroy(twin);
    assert_ok(esker_model_load(path, &twin));
    after = all_values(twin, &n);
    assert_memory_equal(trained, after, (size_t)n * sizeof *trained);
    assert_ok(esker_evaluator_create(twin, &(esker_evaluator_desc){.device = test_device(), .batch = 1}, &ev));
    assert_ok(esker_evaluator_measure(ev, ds, &again));
    esker_evaluator_destroy(ev);
    assert_int_equal(again.correct, evaluation.correct);
    assert_true(fabs(again.loss - evaluation.loss) <= 1e-5 * fabs(evaluation.loss));
    free(after);
    free(trained);
    free(same);
    esker_model_destroy(net);
    esker_model_destroy(twin);
    esker_dataset_unref(ds);
}

/* Check mode, with every dispatch whole and with those that take long cut: the running statistics are changed by an effect, last. */
static void each_dispatch_agrees_with_its_reference(void **state)
{
    enum { N = 6, PIXELS = 28 * 28 };
    float x[N * PIXELS];
    int32_t labels[N];
    (void)state;
    test_device();
    for (int cut = 0; cut < 2; cut++) {
        esker_model *net = small_cnn();
        esker_graph *graph;
        esker_node *y;
        esker_plan *plan;
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = N}, &graph, NULL, &y));
        esker_node *loss = esker_cross_entropy(y, esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {N}}));
        assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.lr = 0.1f}));
        assert_ok(esker_plan_compile(graph,
                                     &(esker_plan_desc){.device = test_device(),
                                                        .outputs = &loss,
                                                        .n_outputs = 1,
                                                        .slice_seconds = cut ? 1e-3 : -1,
                                                        .flops_per_second = 1e7,
                                                        .bytes_per_second = 1e7,
                                                        .check = true},
                                     &plan));
        for (uint64_t t = 0; t < 2; t++) {
            uint64_t ticket;
            test_uniform(x, N * PIXELS, 0, 1, t);
            for (int i = 0; i < N; i++) labels[i] = (i + (int)t) % 10;
            assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "image"), x, sizeof x));
            assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels, sizeof labels));
            assert_ok(esker_plan_submit(plan, &ticket));
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
        esker_model_destroy(net);
    }
}

#define N_LAYERS (sizeof layer_rows / sizeof *layer_rows)

int main(void)
{
    struct CMUnitTest tests[N_LAYERS + 6];
    for (size_t i = 0; i < N_LAYERS; i++)
        tests[i] = (struct CMUnitTest){layer_rows[i].name, layers_are_named_and_written_as_they_are_read, NULL, NULL,
                                       (void *)(uintptr_t)&layer_rows[i]};
    const struct CMUnitTest more[] = {cmocka_unit_test(layers_refuse_what_does_not_fit),
                                      cmocka_unit_test(descriptions_mean_what_json_means),
                                      cmocka_unit_test(modes_record_what_they_run),
                                      cmocka_unit_test(inference_uses_the_running_statistics_and_leaves_them),
                                      cmocka_unit_test(each_dispatch_agrees_with_its_reference),
                                      cmocka_unit_test(a_small_cnn_learns_digits)};
    memcpy(tests + N_LAYERS, more, sizeof more);
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
