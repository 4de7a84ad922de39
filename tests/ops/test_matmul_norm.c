/* device test: the norm of a product's rows, and its gradient behind the product that makes the one that comes in, are one node with the product:
   right by its reference, and the same parameters afterwards as without fusion. */
#include "support/test.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

#define STEPS  2
#define BLOCKS 3

typedef enum kind { LAYER, RMS, PLAIN } kind; /* plain: a layer norm without weight and bias */

typedef struct net {
    const char *name, *variant; /* as ESKER_VARIANT takes it */
    kind kind;
    int batch, rows, wide, narrow; /* x is [batch, rows, narrow]; `wide` between the products */
    bool act;                      /* an activation behind each norm, and nothing added in front of it */
    bool in_kernel;                /* one dispatch for both, on a device with such groups */
} net;

static const net nets[] = {
    {"as in a transformer", "whole_rows,whole8,unchained", LAYER, 3, 17, 512, 128, false, true},
    {"six rows", "whole_rows,whole6,unchained", LAYER, 2, 19, 96, 128, false, true},
    {"four rows, odd lengths", "whole_rows,whole4,unchained", LAYER, 1, 9, 65, 124, false, true},
    {"eight rows of 256 invocations", "whole_rows,whole8x256,unchained", LAYER, 1, 7, 130, 96, false, true},
    {"groups of 256", "whole_rows,whole8x256,unchained", LAYER, 5, 5, 36, 60, false, true},
    {"narrow rows, one row", "whole_rows,whole6x256,unchained", LAYER, 1, 1, 9, 8, false, true},
    {"wide rows", "whole_rows,whole4x256,unchained", LAYER, 1, 11, 40, 256, false, true},
    {"rows as wide as can be", "whole_rows,whole4,unchained", LAYER, 1, 5, 24, 508, false, true},
    {"root mean squares", "whole_rows,whole8,unchained", RMS, 3, 7, 33, 64, false, true},
    {"without weight", "whole_rows,whole6,unchained", PLAIN, 3, 7, 36, 52, false, true},
    {"activations behind norms", "whole_rows,whole6,unchained", LAYER, 3, 7, 36, 52, true, true},
    {"more than one chunk", "whole_rows,whole4,unchained", LAYER, 1, 6, 1100, 36, false, true},
    {"the two for themselves", "whole_rows,apart,unchained", LAYER, 3, 7, 36, 52, false, false},
    {"for themselves with activations", "whole_rows,apart,unchained", RMS, 3, 7, 36, 52, true, false},
    {"the usual ones", NULL, LAYER, 3, 7, 512, 128, false, false},
};

static esker_node *normed(esker_graph *graph, const net *s, int i, int n, esker_node *x)
{
    esker_node *weight = s->kind == PLAIN ? NULL : test_parameter(graph, (esker_shape){1, {n}}, 1, "weight%d", i);
    if (s->kind == RMS) return esker_rms_norm(x, 1, weight, 0);
    return esker_layer_norm(x, 1, weight, weight ? test_parameter(graph, (esker_shape){1, {n}}, 1, "shift%d", i) : NULL, 0);
}

static esker_node *linear(esker_graph *graph, int i, int n, int k, esker_node *x)
{
    esker_node *w = test_parameter(graph, (esker_shape){2, {n, k}}, 1 / sqrtf((float)k), "filter%d", i);
    return esker_add(esker_matmul(x, w, &(esker_matmul_desc){.transpose_b = true}),
                     test_parameter(graph, (esker_shape){1, {n}}, 0.5f, "bias%d", i));
}

/* Blocks of a wide product, a narrow one, and a norm behind that. */
static esker_node *record(esker_graph *graph, const net *s, bool train)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {s->batch, s->rows, s->narrow}}), *y = x;
    for (int i = 0; i < BLOCKS; i++) {
        esker_node *inner = esker_tanh(linear(graph, 2 * i, s->wide, s->narrow, y));
        esker_node *sum = linear(graph, 2 * i + 1, s->narrow, s->wide, inner);
        if (!s->act) x = sum = esker_add(sum, x); /* with two readers, then */
        y = normed(graph, s, i, s->narrow, sum);
        if (s->act) y = esker_silu(y);
    }
    esker_node *loss = esker_mean(esker_mul(y, esker_tanh(y)), NULL, 0, false);
    if (train) assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.5f}));
    return loss;
}

/* Dispatches for a product and a norm, or for a product and the gradient of a norm. */
static void count(const esker_plan *plan, int out[2])
{
    esker_plan_info info;
    esker_dispatch_info d;
    esker_plan_get_info(plan, &info);
    out[0] = out[1] = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (!strcmp(d.kernel, "gemm/whole") && strstr(d.op, "norm")) out[strstr(d.op, "norm_grad") != NULL]++;
    }
}

/* The parameters after some steps. */
static int train(const void *row, test_way way, float *out, int room)
{
    const net *s = row;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = record(graph, s, true);
    esker_plan *plan = test_compile(graph, &loss, 1, way);
    int counted[2];
    count(plan, counted);
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    if (s->variant) {
        bool fused = !way.no_fusion && s->in_kernel && info.limits.group_invocations >= 1024;
        assert_int_equal(counted[0], fused ? BLOCKS : 0);
        /* The first product behind has no gradient of x, the act's is a tail. */
        assert_int_equal(counted[1], fused && !s->act ? BLOCKS - 1 : 0);
    }
    (void)test_train(plan, s->batch * s->rows * s->narrow, STEPS);
    int n = test_read_params(esker_graph_get_params(graph), out, room);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static void same_parameters(void **state)
{
    const net *s = *state;
    assert_same_fused(train, s, s->name, s->variant, 2e-5f);
}

/* The loss alone: statistics, and without an addition the products' results, are read by nobody. */
static int loss_alone(const void *row, test_way way, float *out, int room)
{
    const net *s = row;
    esker_graph *graph;
    (void)room;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = record(graph, s, false);
    esker_plan *plan = test_compile(graph, &loss, 1, way);
    assert_ok(esker_plan_read(plan, test_train(plan, s->batch * s->rows * s->narrow, 1), 0, out, sizeof *out));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return 1;
}

static void same_loss(void **state)
{
    const net *s = *state;
    assert_same_fused(loss_alone, s, s->name, s->variant, 1e-6f);
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    static char names[N][80];
    struct CMUnitTest tests[2 * N];
    for (int i = 0; i < N; i++) {
        void *row = (void *)(uintptr_t)&nets[i];
        snprintf(names[i], sizeof names[i], "forward: %s", nets[i].name);
        tests[i] = (struct CMUnitTest){nets[i].name, same_parameters, NULL, test_without_variant, row};
        tests[N + i] = (struct CMUnitTest){names[i], same_loss, NULL, test_without_variant, row};
    }
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
