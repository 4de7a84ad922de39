/*
 * device test: models of images, trained for 20 steps from the same weights on the same batches as PyTorch trained them,
 * must have the same losses, and the same one again when they are measured afterwards. make_curves.py says how weights and
 * batches are made, and wrote curves.inc.
 */
#include <stdio.h>

#include <esker/model.h>
#include <esker/plan.h>

#include "curves/start.h"

struct curve {
    const char *folder, *model;
    esker_optimizer_kind optimizer;
    float lr, momentum, weight_decay;
    const struct curve_param *params;
    int n_params;
    uint64_t start_print, batches_print; /* fingerprints of all weights and of all batches */
    double float32_stray;                /* largest relative distance of PyTorch's float32 losses from these */
    double losses[20];
    double after; /* the loss of one more batch, in inference, where batch norm takes its running statistics */
};

#include "curves.inc"

/*
 * What may differ: rounding, and functions that GLSL ES lets be a few eps wrong, which every update before a step makes larger. PyTorch's own float32
 * strays by 1e-7 to 1e-5 on these curves, depending on how close a relu or a maximum comes to a tie; llvmpipe by 1e-7 to 8e-6.
 */
static double tolerance(const struct curve *curve, int step)
{
    return 1e-5 + 10 * curve->float32_stray * step / (CURVE_STEPS - 1);
}

/* Fill one batch: images [CURVE_BATCH, channels, height, width] and their labels. */
static void make_batch(int step, const esker_shape *sample, uint8_t *images, int32_t *labels)
{
    int64_t channels = sample->dims[0], height = sample->dims[1], width = sample->dims[2];
    uint32_t lit[CURVE_CLASSES];
    esker__random random;
    esker__random_init(&random, CURVE_SEED, (uint64_t)1 << 34);
    for (int c = 0; c < CURVE_CLASSES; c++) lit[c] = esker__random_next(&random);
    esker__random_init(&random, CURVE_SEED, ((uint64_t)1 << 32) + (uint64_t)step);
    for (int b = 0; b < CURVE_BATCH; b++) labels[b] = (int32_t)(esker__random_next(&random) % CURVE_CLASSES);
    esker__random_init(&random, CURVE_SEED, ((uint64_t)1 << 33) + (uint64_t)step);
    for (int b = 0; b < CURVE_BATCH; b++) {
        uint32_t word = 0;
        for (int64_t j = 0; j < channels * height * width; j++) {
            if (j % 4 == 0) word = esker__random_next(&random);
            int noise = (int)((word >> (j % 4 * 8) & 255) % 97) - 48;
            int64_t y = j / width % height, x = j % width;
            int64_t cell = y * 4 / height * 4 + x * 4 / width;
            int pixel = (lit[labels[b]] >> cell & 1 ? 150 : 60) + noise;
            *images++ = (uint8_t)(pixel < 0 ? 0 : pixel > 255 ? 255 : pixel);
        }
    }
}

/* The plan of one purpose: training with the curve's optimizer, or measuring. Its output is the loss. */
static esker_plan *compile(esker_model *net, const struct curve *curve, esker_mode mode)
{
    esker_graph *graph = NULL;
    esker_node *output = NULL;
    assert_ok(esker_model_instantiate(
        net, &(esker_instance_desc){.batch = CURVE_BATCH, .mode = mode, .input_dtype = ESKER_DTYPE_U8}, &graph, NULL,
        &output));
    esker_node *labels = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {CURVE_BATCH}});
    esker_node *loss = esker_cross_entropy(output, labels);
    if (mode == ESKER_MODE_TRAIN)
        assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = curve->optimizer,
                                                               .lr = curve->lr,
                                                               .momentum = curve->momentum,
                                                               .weight_decay = curve->weight_decay}));
    esker_plan *plan = NULL;
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    esker_graph_destroy(graph);
    return plan;
}

static void losses_follow_pytorch(void **state)
{
    const struct curve *curve = *state;
    (void)test_device(); /* skips without one */
    char path[512];
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/%s/%s.json", curve->folder, curve->model);
    esker_model *net = NULL;
    assert_ok(esker_model_load_json(path, &net));
    uint64_t start_print = write_weights(esker_model_get_params(net), curve->params, curve->n_params, CURVE_SEED);
    esker_model_info info;
    esker_model_get_info(net, &info);
    esker_plan *training = compile(net, curve, ESKER_MODE_TRAIN), *measuring = compile(net, curve, ESKER_MODE_INFER);

    int64_t sample_elems = 0;
    assert_ok(esker_shape_elems(&info.input_shape, &sample_elems));
    size_t images_bytes = (size_t)(CURVE_BATCH * sample_elems);
    uint8_t *images = malloc(images_bytes);
    assert_non_null(images);
    uint64_t batches_print = NO_PRINT;
    int n_bad = 0;
    double worst = 0;
    for (int step = 0; step <= CURVE_STEPS; step++) {
        bool after = step == CURVE_STEPS;
        esker_plan *plan = after ? measuring : training;
        int32_t classes[CURVE_BATCH];
        make_batch(step, &info.input_shape, images, classes);
        batches_print = print_bytes(batches_print, classes, sizeof classes);
        batches_print = print_bytes(batches_print, images, images_bytes);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, info.input_name), images, images_bytes));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), classes, sizeof classes));
        uint64_t ticket = 0;
        assert_ok(esker_plan_submit(plan, &ticket));
        float got = NAN;
        assert_ok(esker_plan_read(plan, ticket, 0, &got, sizeof got));
        double want = after ? curve->after : curve->losses[step];
        double error = fabs((double)got - want) / want, allowed = tolerance(curve, step);
        if (!(error <= worst)) worst = error;
        if (!(error <= allowed)) {
            print_error("step %d: loss %.8f, PyTorch has %.8f: relative %.2e, allowed %.2e\n", step, (double)got, want,
                        error, allowed);
            n_bad++;
        }
    }
    print_message("%s, %s: largest relative difference %.2e, PyTorch's float32 has %.2e\n", curve->model,
                  esker_optimizer_name(curve->optimizer), worst, curve->float32_stray);
    esker_plan_destroy(measuring);
    esker_plan_destroy(training);
    esker_model_destroy(net);
    free(images);
    if (start_print != curve->start_print) fail_msg("the weights are not those that PyTorch began with");
    if (batches_print != curve->batches_print) fail_msg("the batches are not those that PyTorch saw");
    if (n_bad) fail_msg("%d of %d losses differ", n_bad, CURVE_STEPS + 1);
}

enum { N = sizeof curves / sizeof curves[0] };

/* Whether among those that are kept one has this curve's model, and one its optimizer. */
static bool others_show_it(const bool *kept, int i)
{
    bool model = false, optimizer = false;
    for (int k = 0; k < N; k++) {
        if (k == i || !kept[k]) continue;
        model |= !strcmp(curves[k].model, curves[i].model);
        optimizer |= curves[k].optimizer == curves[i].optimizer;
    }
    return model && optimizer;
}

int main(void)
{
    char names[N][64];
    bool kept[N];
    struct CMUnitTest tests[N];
    int n = 0;
    /* Kernels within the minimum are slow here: each model and each optimizer once. */
    const char *limits = getenv("ESKER_LIMITS");
    for (int i = 0; i < N; i++) kept[i] = true;
    for (int i = 0; i < N && limits && !strcmp(limits, "es31"); i++) kept[i] = !others_show_it(kept, i);
    for (int i = 0; i < N; i++) {
        if (!kept[i]) continue;
        snprintf(names[n], sizeof names[n], "%s_%s", curves[i].model, esker_optimizer_name(curves[i].optimizer));
        tests[n] = (struct CMUnitTest){names[n], losses_follow_pytorch, NULL, NULL, (void *)&curves[i]};
        n++;
    }
    return test_finish(_cmocka_run_group_tests("curves", tests, (size_t)n, NULL, NULL));
}
