/* ESKER_VARIANT: a name that nothing has is an error, and the list of names is that of what ops ask for. No device is needed. */
#include "support/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <esker/model.h>
#include <esker/ops.h>
#include <esker/plan.h>
#include <esker/trainer.h>

#include "base/file.h"
#include "plan/build.h"
#include "selftest/cases.h"

static esker_status compile(const char *variants)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {8, 8}}), *y = esker_matmul(x, x, NULL);
    setenv("ESKER_VARIANT", variants, 1);
    esker_status st = esker_plan_compile(graph, &(esker_plan_desc){.outputs = &y, .n_outputs = 1}, &plan);
    unsetenv("ESKER_VARIANT");
    if (st == ESKER_OK)
        esker_plan_destroy(plan);
    else
        assert_null(plan);
    esker_graph_destroy(graph);
    return st;
}

static void names_that_nothing_has_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *variants, *unknown, *nearest;
    } cases[] = {
        {"", NULL, NULL},
        {"direct", NULL, NULL},
        {"winograd4,unchained,exact", NULL, NULL},
        {"direct,,plain,", NULL, NULL},
        {"direkt", "\"direkt\"", "direct"},
        {"tile", "\"tile\"", "tiled"}, /* whole names */
        {"tiled,tile4x5", "\"tile4x5\"", "tile4x4"},
        {"Tiled", "\"Tiled\"", "tiled"},
        {"tiled, direct", "\" direct\"", "direct"},
        {"tiled;direct", "\"tiled;direct\"", "tiled"},
        {"a name that is longer than any that there is", "\"a name that is longer than any that there is\"", "nearest"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!cases[i].unknown) {
            assert_ok(compile(cases[i].variants));
            continue;
        }
        assert_fails(compile(cases[i].variants), ESKER_ERR_INVALID, "ESKER_VARIANT");
        assert_non_null(strstr(esker_last_error(), cases[i].unknown));
        assert_non_null(strstr(esker_last_error(), cases[i].nearest));
    }
}

/* ---- The list ---- */

static void check_plan(const esker_plan *plan)
{
    for (size_t i = 0; i < plan->n_choices; i++)
        for (int k = 0; k < plan->choices[i].n; k++) {
            const char *name = plan->choices[i].names[k];
            if (!esker__variant_is_known(name, strlen(name)))
                fail_msg("\"%s\", for \"%s\", is not in the list of src/plan/variants.c", name, plan->choices[i].problem);
        }
}

static void check_cases(const esker_limits *limits, const char *renderer)
{
    const esker__case_row *row;
    for (int r = 0; (row = esker__case_row_at(r)); r++)
        for (int which = 0; which < ESKER__CASE_SHAPES && row->shapes[which]; which++) {
            esker__case c;
            esker_plan *plan;
            assert_ok(esker__case_record(row, which, &c));
            assert_ok(esker_plan_compile(c.graph,
                                         &(esker_plan_desc){.limits = limits,
                                                            .renderer = renderer,
                                                            .outputs = c.outputs,
                                                            .n_outputs = c.n_outputs,
                                                            .slice_seconds = -1},
                                         &plan));
            check_plan(plan);
            esker_plan_destroy(plan);
            esker__case_finish(&c);
        }
}

static void check_model(const char *name, const esker_limits *limits, const char *renderer)
{
    char path[500];
    esker_model *net;
    esker_plan *plan;
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", name);
    assert_ok(esker_model_load_json(path, &net));
    esker_trainer_desc desc = {.batch = 16, .loss = ESKER_LOSS_CROSS_ENTROPY, .renderer = renderer};
    assert_ok(esker_trainer_plan(net, &desc, ESKER_DTYPE_F32, limits, &plan));
    check_plan(plan);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
}

static void all_candidates_are_listed(void **state)
{
    (void)state;
    static const char *const renderers[] = {"NVIDIA H200", "llvmpipe (LLVM 15)"}, *const models[] = {"chargpt", "resnet20",
                                                                                                     "mlp_large"};
    esker_limits least, large;
    esker_limits_es31(&least);
    large = least;
    large.group_size[0] = large.group_size[1] = large.group_invocations = 1024;
    large.shared_bytes = 49152;
    large.storage_blocks = 16;
    check_cases(&least, NULL);
    for (int i = 0; i < 2; i++) {
        check_cases(&large, renderers[i]);
        for (int k = 0; k < 3; k++) check_model(models[k], &large, renderers[i]);
    }
}

static void check_settings(const char *path)
{
    static const char call[] = "esker__setting(\"";
    unsigned char *data;
    size_t n_bytes;
    assert_ok(esker__file_read(path, 1 << 20, &data, &n_bytes));
    for (const char *at = (const char *)data; (at = strstr(at, call));) {
        at += strlen(call);
        size_t n_chars = strcspn(at, "\"");
        if (!esker__variant_is_known(at, n_chars))
            fail_msg("%s: the setting \"%.*s\" is not in the list of src/plan/variants.c", path, (int)n_chars, at);
    }
    esker__free(data);
}

static void all_settings_are_listed(void **state)
{
    (void)state;
    static const char *const folders[] = {"ops", "plan", "graph"};
    int n = 0;
    for (int i = 0; i < 3; i++) {
        char folder[400], path[700];
        snprintf(folder, sizeof folder, ESKER_SOURCE_DIR "/src/%s", folders[i]);
        DIR *dir = opendir(folder);
        assert_non_null(dir);
        for (const struct dirent *entry; (entry = readdir(dir));) {
            if (entry->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            check_settings(path);
            n++;
        }
        closedir(dir);
    }
    assert_true(n > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_nothing_has_are_errors),
        cmocka_unit_test(all_candidates_are_listed),
        cmocka_unit_test(all_settings_are_listed),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
