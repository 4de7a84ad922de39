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
    {"resnet20", 128, true},    {"chargpt", 12, false},   {"squeezenet", 1, false}, {"mobilenet_v1", 1, false},
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(arenas_are_tight)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
