/* device test: activations and norms that the backward pass computes once more: the same bits in less memory, and where nothing would be won they are kept. */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include "graph/graph.h"
#include "plan/plan.h"
#include "support/training.h"

#define STEPS 3
#define WIDTH 48
#define MOST  16384 /* parameters of a network */

typedef struct net {
    const char *name;
    esker_node *(*activation)(esker_node *x);
    int layers, rows, batch; /* batch: of matrices; 0: one matrix, without that axis */
    bool reads_argument;     /* something else needs the argument, too */
    bool gives_result;       /* the first activation's result is an output of the plan */
    int again;               /* products that are to compute an activation once more */
    const char *variant;     /* NULL: each product a dispatch of its own */
    uint32_t blocks;         /* that a kernel needs for it; 0: 5 */
} net;

static esker_node *scale(esker_node *x, const char *name)
{
    char text[32];
    snprintf(text, sizeof text, "%s%d", name, x->id);
    return esker_parameter(
        x->graph,
        &(esker_param_desc){.name = text, .shape = {1, {WIDTH}}, .init = {.kind = ESKER_INIT_UNIFORM, .value = 0.3f}});
}

static esker_node *layer_norm(esker_node *x)
{
    return esker_layer_norm(x, 1, scale(x, "scale"), scale(x, "shift"), 0);
}

static esker_node *plain_norm(esker_node *x)
{
    return esker_layer_norm(x, 1, NULL, NULL, 0);
}

static esker_node *rms_norm(esker_node *x)
{
    return esker_rms_norm(x, 1, scale(x, "scale"), 0);
}

static const net nets[] = {
    {"gelu", esker_gelu, 4, 40, 0, false, false, 4},
    {"silu of a batch of matrices", esker_silu, 3, 13, 3, false, false, 3},
    {"gelu whose argument is needed elsewhere", esker_gelu, 2, 40, 0, true, false, 0},
    {"gelu that is an output", esker_gelu, 3, 40, 0, false, true, 2},
    {"relu, whose gradient takes the result alone", esker_relu, 3, 40, 0, false, false, 0},
    {"norms, in one dispatch with a product", layer_norm, 4, 40, 0, false, false, 4, "whole_rows,whole4,unchained", 12},
    {"norms in chains", layer_norm, 4, 40, 0, false, false, 4, "whole_rows,chains,chain2x128", 12},
    {"norms in dispatches of their own", layer_norm, 4, 40, 0, false, false, 4, "whole_rows,apart,unchained", 12},
    {"norms without tables", plain_norm, 3, 13, 3, false, false, 3, "whole_rows,chains,chain4x256", 12},
    {"RMS norms, rows that no group fills", rms_norm, 3, 13, 0, false, false, 3, "whole_rows,whole4,unchained", 12},
    {"RMS norms in chains", rms_norm, 3, 13, 0, false, false, 3, "whole_rows,chains,chain2x128", 12},
    {"a norm that is an output", layer_norm, 3, 40, 0, false, true, 2, "whole_rows,chains,chain2x128", 12},
};

static esker_node *linear(esker_node *x, int layer)
{
    char name[16];
    snprintf(name, sizeof name, "weight%d", layer);
    esker_node *w = esker_parameter(x->graph, &(esker_param_desc){.name = name,
                                                                  .shape = {2, {WIDTH, WIDTH}},
                                                                  .init = {.kind = ESKER_INIT_UNIFORM, .value = 0.3f}});
    snprintf(name, sizeof name, "bias%d", layer);
    esker_node *b = esker_parameter(
        x->graph,
        &(esker_param_desc){.name = name, .shape = {1, {WIDTH}}, .init = {.kind = ESKER_INIT_UNIFORM, .value = 0.3f}});
    return esker_add(esker_matmul(x, w, &(esker_matmul_desc){.transpose_b = true}), b);
}

typedef struct outcome {
    int n_params, again, n_outputs;
    esker_plan_info info;
    float params[MOST], outputs[MOST];
} outcome;

/* By all dispatches of a node, those of nodes that are taken along in its title. */
static int count_again(const esker_plan *plan, int dispatch, const char *title)
{
    static const char *const names[] = {"+gelu+gelu_grad", "+silu+silu_grad", "norm_grad+layer_norm", "norm_grad+rms_norm"};
    int n = 0;
    for (int i = 0; i < dispatch; i++)
        if (plan->dispatches[i].node == plan->dispatches[dispatch].node) return 0;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (const char *at = title; (at = strstr(at, names[k])) != NULL; at++) n++;
    return n;
}

static void run(const net *n, const char *variant, const esker_plan_desc *base, outcome *o)
{
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_desc desc = *base;
    esker_node *outputs[2];
    *o = (outcome){0};
    char variants[80];
    snprintf(variants, sizeof variants, "%s,%s", variant, n->variant ? n->variant : "unchained");
    setenv("ESKER_VARIANT", variants, 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_shape shape = n->batch ? (esker_shape){3, {n->batch, n->rows, WIDTH}} : (esker_shape){2, {n->rows, WIDTH}};
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &shape), *more = NULL;
    for (int layer = 0; layer < n->layers; layer++) {
        esker_node *argument = linear(x, layer);
        x = n->activation(argument);
        if (layer == 0 && n->gives_result) outputs[desc.n_outputs = 1] = x;
        if (n->reads_argument) more = more ? esker_add(more, esker_abs(argument)) : esker_abs(argument);
    }
    x = linear(x, n->layers);
    if (more) x = esker_add(x, more);
    outputs[0] = esker_mean(esker_square(x), NULL, 0, false);
    desc.n_outputs++;
    desc.outputs = outputs;
    assert_ok(esker_optimize(outputs[0], &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAMW, .lr = 0.01f}));
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 5));
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &o->info);
    for (int i = 0; i < o->info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        o->again += count_again(plan, i, d.op) * !strcmp(d.phase, "backward");
    }
    if (desc.device) {
        int n_x = (n->batch ? n->batch : 1) * n->rows * WIDTH;
        uint64_t ticket = test_train(plan, n_x, STEPS);
        assert_ok(esker_plan_read(plan, ticket, 0, o->outputs, sizeof(float)));
        if (desc.n_outputs > 1) assert_ok(esker_plan_read(plan, ticket, 1, o->outputs + 1, (size_t)n_x * sizeof(float)));
        o->n_params = test_read_params(esker_graph_get_params(graph), o->params, MOST);
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    unsetenv("ESKER_VARIANT");
}

static void same_bits(void **state)
{
    static outcome kept, again;
    const net *n = *state;
    esker_plan_desc desc = {.device = test_device()};
    esker_device_info info;
    esker_device_get_info(desc.device, &info);
    for (int check = 0; check < 2; check++) { /* and beside the references */
        desc.check = check;
        run(n, "", &desc, &kept);
        run(n, "recompute", &desc, &again);
        assert_memory_equal(again.outputs, kept.outputs, sizeof kept.outputs);
        assert_int_equal(again.n_params, kept.n_params);
        assert_memory_equal(again.params, kept.params, (size_t)kept.n_params * sizeof *kept.params);
    }
    /* Five storage blocks are more than the minimum has: there all is kept. */
    if (again.again != (info.limits.storage_blocks >= (n->blocks ? n->blocks : 5) ? n->again : 0))
        fail_msg("%d products compute an activation again", again.again);
}

/* For no device, with the kernels of an NVIDIA GPU and with none of a family. */
static void less_memory(void **state)
{
    static outcome kept, again, minimum;
    const net *n = *state;
    esker_limits limits;
    esker_limits_es31(&limits);
    run(n, "recompute", &(esker_plan_desc){.limits = &limits}, &minimum);
    limits.storage_blocks = 16;
    run(n, "", &(esker_plan_desc){.limits = &limits}, &kept);
    run(n, "", &(esker_plan_desc){.limits = &limits, .renderer = "NVIDIA H200", .slice_seconds = -1}, &again);
    assert_int_equal(minimum.again, 0); /* which has a storage block too few */
    assert_int_equal(kept.again, 0);
    assert_int_equal(again.again, n->again);
    uint64_t result = 4ull * (uint64_t)(n->batch ? n->batch : 1) * (uint64_t)n->rows * WIDTH;
    bool at_once = n->variant &&
                   strstr(n->variant, "chains"); /* all of so small a network's backward pass is one dispatch */
    if (n->again > 1 && !at_once &&
        again.info.arena_lower_bound + (uint64_t)(n->again - 1) * result > kept.info.arena_lower_bound)
        fail_msg("%llu bytes of temporaries, and with %d activations of %llu bytes again still %llu",
                 (unsigned long long)kept.info.arena_lower_bound, n->again, (unsigned long long)result,
                 (unsigned long long)again.info.arena_lower_bound);
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    struct CMUnitTest tests[2 * N];
    for (int i = 0; i < 2 * N; i++)
        tests[i] = (struct CMUnitTest){.name = nets[i / 2].name,
                                       .test_func = i % 2 ? less_memory : same_bits,
                                       .initial_state = (void *)(uintptr_t)&nets[i / 2],
                                       .teardown_func = test_without_variant};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
