/* device test: the norm of a product's rows, and its gradient behind the product that makes the one that comes in, are one node with the product:
   right by its reference, and the same parameters afterwards as without fusion. */
#include "support/test.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>

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
static esker_node *record(esker_graph *graph, const void *net_of, bool train)
{
    const net *s = net_of;
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

static void check_counts(const esker_plan *plan, const void *net_of, bool train, test_way way)
{
    const net *s = net_of;
    int counted[2];
    count(plan, counted);
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    if (!s->variant || !train) return;
    bool fused = !way.no_fusion && s->in_kernel && info.limits.group_invocations >= 1024;
    assert_int_equal(counted[0], fused ? BLOCKS : 0);
    /* The first product behind has no gradient of x, the act's is a tail. */
    assert_int_equal(counted[1], fused && !s->act ? BLOCKS - 1 : 0);
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    static test_net tests[N];
    for (int i = 0; i < N; i++) {
        const net *s = &nets[i];
        tests[i] = (test_net){s->name, s->variant, s->batch * s->rows * s->narrow, s, record, check_counts};
    }
    return test_nets_main(tests, N);
}
