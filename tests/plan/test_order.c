/* Where updates by what computes gradients are put: on large GPUs beside the gradient of an attention, which leaves most of them idle, if one comes soon. */
#include "support/test.h"

#include <stdio.h>

#include <esker/esker.h>

static esker_plan *plan_of(const char *model, const char *renderer, int batch)
{
    char path[1200];
    esker_model *net;
    esker_model_info info;
    esker_graph *graph;
    esker_node *y;
    esker_plan *plan = NULL;
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.group_size[0] = limits.group_size[1] = limits.group_invocations = 1024;
    limits.shared_bytes = 49152;
    limits.storage_blocks = 16;
    limits.storage_block_bytes = 0x7fffffff;
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", model);
    assert_ok(esker_model_load_json(path, &net));
    esker_model_get_info(net, &info);
    assert_ok(
        esker_model_instantiate(net, &(esker_instance_desc){.batch = batch, .mode = ESKER_MODE_TRAIN}, &graph, NULL, &y));
    int64_t rows = batch, classes = info.output_shape.dims[info.output_shape.rank - 1];
    for (int i = 0; i < info.output_shape.rank - 1; i++) rows *= info.output_shape.dims[i];
    y = esker_cross_entropy(esker_reshape(y, &(esker_shape){2, {rows, classes}}),
                            esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {rows}}));
    assert_ok(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW}));
    assert_ok(esker_plan_compile(
        graph,
        &(esker_plan_desc){.limits = &limits, .renderer = renderer, .outputs = &y, .n_outputs = 1, .slice_seconds = -1},
        &plan));
    assert_ok(esker_plan_check(plan));
    esker_graph_destroy(graph);
    esker_model_destroy(net);
    return plan;
}

enum { MOST = 256 };

typedef struct epoch {
    int attentions, updates; /* gradients of attention; dispatches that update */
} epoch;

/* Returns the last epoch with the gradient of an attention. */
static int look(const esker_plan *plan, epoch epochs[MOST])
{
    esker_plan_info info;
    int at = 0, last = 0;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        at += d.barrier;
        assert_true(at < MOST);
        epochs[at].updates += strstr(d.op, "+adamw") != NULL;
        if (strcmp(d.op, "attention_grad") != 0) continue;
        epochs[at].attentions++;
        last = at;
    }
    return last;
}

static void updates_meet_beside_attention(void **state)
{
    (void)state;
#ifdef ESKER_HAVE_CJSON
    static const char *const gpus[] = {"NVIDIA H200", "Mali-G52"};
    for (int i = 0; i < 2; i++) {
        epoch epochs[MOST] = {{0}};
        esker_plan *plan = plan_of("chargpt", gpus[i], 12);
        int last = look(plan, epochs), beside = 0, elsewhere = 0;
        for (int e = 0; e <= last; e++) *(epochs[e].attentions ? &beside : &elsewhere) += epochs[e].updates;
        assert_int_equal(beside > 0, i == 0);
        assert_int_equal(elsewhere > 0, i != 0);
        esker_plan_destroy(plan);
    }
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(updates_meet_beside_attention)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
