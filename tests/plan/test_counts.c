/*
 * How many dispatches a training step of the demo models has: at most what it had when this was written, so that a pattern that no longer fuses
 * is noticed. Second passes of contractions that were split do not count: they are a matter of which kernel is chosen.
 */
#include "support/test.h"

#include <stdio.h>

#include <esker/model.h>
#include <esker/ops.h>
#include <esker/plan.h>
#include <esker/trainer.h>

static const struct count_row {
    const char *model;
    bool minimum; /* of ES 3.1; else what a large GPU has */
    int dispatches;
} rows[] = {
    {"mlp", false, 11},      {"mlp", true, 12},      {"smallconv", false, 16}, {"smallconv", true, 19},
    {"mnistcnn", false, 19}, {"mnistcnn", true, 22}, {"resnet", false, 35},    {"resnet", true, 46},
    {"normcnn", false, 27},  {"normcnn", true, 32},  {"lenet5", false, 24},    {"lenet5", true, 25},
};

/* Of models of esker bench: with barriers, and as it trains sequences, or one inference. */
static const struct bench_row {
    const char *model;
    int batch;
    bool train, minimum;
    int dispatches, barriers;
} bench_rows[] = {
    {"chargpt", 12, true, false, 101, 64}, /* second passes also update, in epochs that others then begin */
    {"chargpt", 12, true, true, 156, 88},
    {"squeezenet", 1, false, false, 30, 22},
    {"squeezenet", 1, false, true, 31, 23},
};

static void limits_of(bool minimum, esker_limits *out)
{
    esker_limits_es31(out);
    if (minimum) return;
    out->storage_blocks = 16;
    out->group_invocations = out->group_size[0] = out->group_size[1] = 1024;
    out->shared_bytes = 49152;
    out->storage_block_bytes = INT32_MAX;
    out->reports_reset = true;
}

/* Second passes do not count, nor the barriers in front of them. */
static void count(const esker_plan *plan, int *out_dispatches, int *out_barriers)
{
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    *out_dispatches = *out_barriers = 0;
    for (int i = info.n_prologue; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (!strcmp(d.kernel, "gemm/sum_splits")) continue;
        (*out_dispatches)++;
        *out_barriers += d.barrier;
    }
}

static void bench_models_too(void **state)
{
    const struct bench_row *row = *state;
    char path[500];
    esker_model *net;
    esker_graph *graph;
    esker_node *y;
    esker_plan *plan;
    esker_model_info info;
    esker_limits limits;
    int n, n_barriers;
    limits_of(row->minimum, &limits);
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", row->model);
    assert_ok(esker_model_load_json(path, &net));
    esker_model_get_info(net, &info);
    assert_ok(esker_model_instantiate(
        net, &(esker_instance_desc){.batch = row->batch, .mode = row->train ? ESKER_MODE_TRAIN : ESKER_MODE_INFER}, &graph,
        NULL, &y));
    if (row->train) { /* [rows, classes] of a sample */
        int64_t n_rows = row->batch * info.output_shape.dims[0];
        esker_node *labels = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n_rows}});
        y = esker_cross_entropy(esker_reshape(y, &(esker_shape){2, {n_rows, info.output_shape.dims[1]}}), labels);
        assert_ok(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW}));
    }
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = &limits, .outputs = &y, .n_outputs = 1, .slice_seconds = -1}, &plan));
    count(plan, &n, &n_barriers);
    if (n > row->dispatches || n_barriers > row->barriers)
        fail_msg("%s: %d dispatches and %d barriers, before they were %d and %d", row->model, n, n_barriers,
                 row->dispatches, row->barriers);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    esker_model_destroy(net);
}

static void no_more_than_before(void **state)
{
    const struct count_row *row = *state;
    char path[500];
    esker_model *net;
    esker_plan *plan;
    esker_limits limits;
    int n, n_barriers;
    limits_of(row->minimum, &limits);
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/demo/models/%s.json", row->model);
    assert_ok(esker_model_load_json(path, &net));
    assert_ok(esker_trainer_plan(
        net,
        &(esker_trainer_desc){.batch = 64, .loss = ESKER_LOSS_CROSS_ENTROPY, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}},
        ESKER_DTYPE_U8, &limits, &plan));
    count(plan, &n, &n_barriers);
    if (n > row->dispatches) fail_msg("%s: %d dispatches, before they were %d", row->model, n, row->dispatches);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
}

int main(void)
{
    enum { N = sizeof rows / sizeof *rows, N_BENCH = sizeof bench_rows / sizeof *bench_rows };
    struct CMUnitTest tests[N + N_BENCH];
    for (int i = 0; i < N_BENCH; i++)
        tests[N + i] = (struct CMUnitTest){
            .name = bench_rows[i].model, .test_func = bench_models_too, .initial_state = (void *)(uintptr_t)&bench_rows[i]};
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = rows[i].model, .test_func = no_more_than_before, .initial_state = (void *)(uintptr_t)&rows[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
