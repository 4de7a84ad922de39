/*
 * How many dispatches a training step of the demo models has: at most what it had when this was written, so that a pattern that no longer fuses
 * is noticed. Second passes of contractions that were split do not count: they are a matter of which kernel is chosen.
 */
#include "support/test.h"

#include <stdio.h>

#include <esker/model.h>
#include <esker/trainer.h>

static const struct count_row {
    const char *model;
    bool minimum; /* of ES 3.1; else what a large GPU has */
    int dispatches;
} rows[] = {
    {"mlp", false, 14},      {"mlp", true, 12},      {"smallconv", false, 19}, {"smallconv", true, 19},
    {"mnistcnn", false, 23}, {"mnistcnn", true, 22}, {"resnet", false, 36},    {"resnet", true, 46},
    {"normcnn", false, 28},  {"normcnn", true, 32},  {"lenet5", false, 27},    {"lenet5", true, 25},
};

static void no_more_than_before(void **state)
{
    const struct count_row *row = *state;
    char path[500];
    esker_model *net;
    esker_plan *plan;
    esker_plan_info info;
    esker_limits limits;
    esker_limits_es31(&limits);
    if (!row->minimum) {
        limits.storage_blocks = 16;
        limits.group_invocations = limits.group_size[0] = limits.group_size[1] = 1024;
        limits.shared_bytes = 49152;
        limits.storage_block_bytes = INT32_MAX;
        limits.reports_reset = true;
    }
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/demo/models/%s.json", row->model);
    assert_ok(esker_model_load_json(path, &net));
    assert_ok(esker_trainer_plan(
        net,
        &(esker_trainer_desc){.batch = 64, .loss = ESKER_LOSS_CROSS_ENTROPY, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}},
        ESKER_DTYPE_U8, &limits, &plan));
    esker_plan_get_info(plan, &info);
    int n = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += strcmp(d.kernel, "gemm/sum_splits") != 0;
    }
    if (n > row->dispatches) fail_msg("%s: %d dispatches, before they were %d", row->model, n, row->dispatches);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
}

int main(void)
{
    enum { N = sizeof rows / sizeof *rows };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = rows[i].model, .test_func = no_more_than_before, .initial_state = (void *)(uintptr_t)&rows[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
