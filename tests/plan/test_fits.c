/* What esker tune may try on a family of GPUs: nothing that its compiler has no registers for. Plans for its driver's name, without a device. */
#include "support/test.h"

#include <stdio.h>

#include <esker/model.h>
#include <esker/ops.h>
#include <esker/plan.h>
#include "plan/build.h"

/* Of the boards what their drivers say. */
static const struct gpu {
    const char *renderer;
    bool board, tiles; /* tiles: products from tiles in shared memory, of some size */
} gpus[] = {
    {"V3D 4.2.14.0", true, false},
    {"V3D 7.1.7.0", true, false},
    {"Mali-T860 (Panfrost)", true, false},
    {"Mali-G31 (Panfrost)", true, false},
    {"Mali-G52 (Panfrost)", true, false},
    {"Mali-G610 (Panfrost)", true, false},
    {"FD630", true, true},
    {"FD660", true, true},
    {"NVIDIA H200", false, true},
    {"llvmpipe (LLVM 15, 256 bits)", false, true},
};

static const struct work {
    const char *model;
    int batch;
    bool train;
} works[] = {{"cnn_small", 16, true},    {"resnet20", 16, true},   {"chargpt", 2, true},  {"mlp_large", 64, true},
             {"mobilenet_v2", 1, false}, {"squeezenet", 1, false}, {"resnet18", 1, false}};

/* By the names alone: rows x columns of a group, or of an invocation. */
static bool is_large(const struct gpu *gpu, const char *problem, const char *name)
{
    int rows, columns;
    char kind;
    if (sscanf(name, "fours%dx%d", &rows, &columns) == 2) /* taps in a loop take fewer registers than taps written out */
        return rows * columns > 16 || strstr(name, "x2") == name + 8 ||
               (!strncmp(gpu->renderer, "V3D", 3) && columns == 4 && strstr(problem, " g=1 "));
    if (sscanf(name, "%c%dx%d", &kind, &rows, &columns) == 3 && (kind == 't' || kind == 's'))
        return !gpu->tiles || !strcmp(name, "t128x128");
    if (!strncmp(problem, "attention", 9)) return strcmp(name, "lanes") != 0;
    if (!strcmp(name, "winograd4")) return strstr(gpu->renderer, "Mali-T") != NULL;
    return !strcmp(name, "quads") || !strcmp(name, "fewrows");
}

typedef struct seen {
    int questions, candidates, tiles, fours, filtering;
} seen;

static void look_at(const esker_plan *plan, const struct gpu *gpu, const struct work *work, seen *out)
{
    esker__family family = esker__family_of(gpu->renderer);
    for (size_t i = 0; i < plan->n_choices; i++) {
        const esker__plan_choice *c = &plan->choices[i];
        if (!esker__fits(family, c->problem, c->names[c->usual]))
            fail_msg("%s, %s: %s is usual for \"%s\", but does not fit", gpu->renderer, work->model, c->names[c->usual],
                     c->problem);
        out->questions += c->n > 1;
        for (int k = 0; k < c->n; k++) {
            out->candidates++;
            out->tiles += !strcmp(c->names[k], "t64x64");
            out->fours += !strcmp(c->names[k], "fours4x2");
            out->filtering += !strcmp(c->names[k], "winograd4");
            if (gpu->board && is_large(gpu, c->problem, c->names[k]))
                fail_msg("%s, %s: %s is offered for \"%s\"", gpu->renderer, work->model, c->names[k], c->problem);
        }
    }
}

static void plan_for(const struct gpu *gpu, const struct work *work, seen *out)
{
    char path[500];
    esker_model *net;
    esker_graph *graph;
    esker_node *y;
    esker_plan *plan;
    esker_model_info info;
    esker_limits limits;
    assert_non_null(esker_limits_usual(gpu->renderer, &limits));
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", work->model);
    assert_ok(esker_model_load_json(path, &net));
    esker_model_get_info(net, &info);
    assert_ok(esker_model_instantiate(
        net, &(esker_instance_desc){.batch = work->batch, .mode = work->train ? ESKER_MODE_TRAIN : ESKER_MODE_INFER},
        &graph, NULL, &y));
    if (work->train) {
        int64_t classes = info.output_shape.dims[info.output_shape.rank - 1];
        int64_t n_rows = work->batch * (info.output_shape.rank > 1 ? info.output_shape.dims[0] : 1);
        esker_node *labels = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {n_rows}});
        y = esker_cross_entropy(esker_reshape(y, &(esker_shape){2, {n_rows, classes}}), labels);
        assert_ok(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW}));
    }
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = &limits, .renderer = gpu->renderer, .outputs = &y, .n_outputs = 1}, &plan));
    look_at(plan, gpu, work, out);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    esker_model_destroy(net);
}

static void boards_are_offered_what_fits(void **state)
{
    const struct gpu *gpu = *state;
    seen all = {0};
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) plan_for(gpu, &works[i], &all);
    assert_true(all.questions > 20 && all.candidates > 2 * all.questions); /* there is something to tune */
    assert_int_equal(all.tiles > 0, gpu->tiles);
    assert_int_equal(all.filtering > 0, strstr(gpu->renderer, "Mali-T") == NULL);
    assert_int_equal(all.fours > 0, (gpu->board && !gpu->tiles) || strstr(gpu->renderer, "llvmpipe") != NULL);
}

/* What is forced or tuned is found among those alone. ESKER_VARIANT=unfit brings the others back, for tests/bench/candidates.c. */
static void who_asks_for_another_gets_the_usual(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        esker_graph *graph;
        esker_plan *plan;
        esker_limits limits;
        esker_limits_es31(&limits);
        limits.group_invocations = limits.group_size[0] = limits.group_size[1] = 256;
        limits.shared_bytes = 32768;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *a = esker_input(graph, "a", ESKER_DTYPE_F32, &(esker_shape){2, {256, 256}});
        esker_node *y = esker_matmul(a, a, NULL);
        setenv("ESKER_VARIANT", all ? "unfit,t64x64" : "t64x64", 1);
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.limits = &limits, .renderer = "V3D 7.1", .outputs = &y, .n_outputs = 1}, &plan));
        unsetenv("ESKER_VARIANT");
        const esker__plan_choice *c = &plan->choices[0];
        assert_string_equal(c->names[c->usual], "direct");
        assert_string_equal(c->names[c->chosen], all ? "t64x64" : "direct");
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    enum { N = sizeof gpus / sizeof *gpus };
    struct CMUnitTest tests[N + 1];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = gpus[i].renderer,
                                       .test_func = boards_are_offered_what_fits,
                                       .initial_state = (void *)(uintptr_t)&gpus[i]};
    tests[N] = (struct CMUnitTest)cmocka_unit_test_teardown(who_asks_for_another_gets_the_usual, test_without_variant);
    return cmocka_run_group_tests_name("fits", tests, NULL, NULL);
}
