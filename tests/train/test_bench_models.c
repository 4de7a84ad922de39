/* The models of esker bench: their plans check, for the minimum and for a large GPU, and their temporaries take little more than any placement must. */
#include "support/test.h"

#include <esker/esker.h>
#include <stdio.h>

#define MOST_OF_BOUND 1.05

static const struct row {
    const char *model;
    int batch;
    bool train;
} rows[] = {
    {"mlp_small", 64, true},    {"mlp_large", 256, true}, {"cnn_small", 64, true},  {"cnn_large", 128, true},
    {"mnistcnn", 64, true},     {"gapcnn", 32, true},     {"pets256", 8, true},     {"pets64", 16, true},
    {"resnet20", 128, true},    {"chargpt", 12, true},    {"squeezenet", 1, false}, {"mobilenet_v1", 1, false},
    {"mobilenet_v2", 1, false}, {"resnet18", 1, false},
};

static esker_plan *plan_of(const struct row *row, const esker_limits *limits)
{
    char path[1200];
    esker_model *net;
    esker_plan *plan = NULL;
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", row->model);
    assert_ok(esker_model_load_json(path, &net));
    if (row->train) {
        esker_trainer_desc desc = {.batch = row->batch, .optimizer = {.kind = ESKER_OPTIMIZER_ADAMW}};
        assert_ok(esker_trainer_plan(net, &desc, ESKER_DTYPE_F32, limits, &plan));
    } else {
        esker_graph *graph;
        esker_node *output;
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = row->batch, .mode = ESKER_MODE_INFER},
                                          &graph, NULL, &output));
        assert_ok(
            esker_plan_compile(graph, &(esker_plan_desc){.limits = limits, .outputs = &output, .n_outputs = 1}, &plan));
        esker_graph_destroy(graph);
    }
    esker_model_destroy(net);
    return plan;
}

static void arenas_are_tight(void **state)
{
    (void)state;
#ifdef ESKER_HAVE_CJSON
    esker_limits limits[2];
    esker_limits_es31(&limits[0]);
    limits[1] = limits[0];
    limits[1].group_size[0] = limits[1].group_size[1] = limits[1].group_invocations = 1024;
    limits[1].shared_bytes = 49152;
    limits[1].storage_blocks = 16;
    limits[1].storage_block_bytes = 0x7fffffff;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int large = 0; large < 2; large++) {
            esker_plan *plan = plan_of(&rows[i], &limits[large]);
            esker_plan_info info;
            esker_plan_get_info(plan, &info);
            double ratio = (double)info.arena_bytes / (double)info.arena_lower_bound;
            if (!(ratio <= MOST_OF_BOUND))
                fail_msg("%s, batch %d, %s: an arena of %llu bytes, %.3f times the lower bound", rows[i].model,
                         rows[i].batch, large ? "large limits" : "es31", (unsigned long long)info.arena_bytes, ratio);
            esker_plan_destroy(plan);
        }
#else
    skip();
#endif
}

/* What PyTorch's allocator holds at most over a step of the same model on an NVIDIA H200 (tests/bench/compare_torch.py --memory, 2026-11-28), in KiB. */
static const struct peak {
    const char *model;
    int batch;
    double torch;
} peaks[] = {
    {"mlp_small", 64, 8702.5}, {"mlp_large", 256, 159417}, {"cnn_small", 64, 6782.5}, {"cnn_large", 128, 400471},
    {"mnistcnn", 64, 24203},   {"gapcnn", 32, 3468},       {"pets256", 8, 162178},    {"pets64", 16, 586791},
    {"resnet20", 128, 343331}, {"chargpt", 12, 38725.5},
};

/* As esker bench step has it: cross-entropy, AdamW, and the inputs in a tensor. */
static void steps_take_less_than_others(void **state)
{
    (void)state;
#ifdef ESKER_HAVE_CJSON
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.group_size[0] = limits.group_size[1] = limits.group_invocations = 1024;
    limits.shared_bytes = 49152;
    limits.storage_blocks = 16;
    limits.storage_block_bytes = 0x7fffffff;
    limits.storage_align = 16;
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++) {
        char path[1200];
        esker_model *net;
        esker_model_info model;
        esker_graph *graph;
        esker_node *y;
        esker_plan *plan;
        esker_plan_info info;
        snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", peaks[i].model);
        assert_ok(esker_model_load_json(path, &net));
        esker_model_get_info(net, &model);
        assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = peaks[i].batch, .mode = ESKER_MODE_TRAIN},
                                          &graph, NULL, &y));
        const esker_shape *out = &model.output_shape;
        int64_t n_rows = peaks[i].batch * (out->rank > 1 ? out->dims[0] : 1), n_in = peaks[i].batch;
        for (int axis = 0; axis < model.input_shape.rank; axis++) n_in *= model.input_shape.dims[axis];
        if (out->rank > 1) y = esker_reshape(y, &(esker_shape){2, {n_rows, out->dims[1]}});
        y = esker_cross_entropy(y, esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n_rows}}));
        assert_ok(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW, .weight_decay = 0.01f}));
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.limits = &limits, .renderer = "NVIDIA H200", .outputs = &y, .n_outputs = 1}, &plan));
        esker_plan_get_info(plan, &info);
        uint64_t slot = ((uint64_t)n_in * 4 + 255) / 256 * 256;
        double ours = (double)(info.peak_bytes - ESKER_PLAN_SLOTS * slot + (uint64_t)n_in * 4) / 1024;
        if (!(ours < 0.8 * peaks[i].torch))
            fail_msg("%s, batch %d: %.1f KiB, %.4f of PyTorch's", peaks[i].model, peaks[i].batch, ours,
                     ours / peaks[i].torch);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
        esker_model_destroy(net);
    }
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(arenas_are_tight), cmocka_unit_test(steps_take_less_than_others)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
