/* device test: products of few rows, one behind another, in one dispatch: each node right by its reference, the same bits in check mode as without, and
   the same parameters afterwards as without fusion. */
#include "support/test.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>

#define BLOCKS 2

/* Blocks of a transformer, with a product of elements in place of the attention. */
typedef struct net {
    const char *name, *variant; /* as ESKER_VARIANT takes it */
    int batch, rows, wide, narrow;
    bool rms, plain;   /* norms without a mean; without weights; and products without biases then */
    bool untransposed; /* weights as [k, n] */
    int stages[2];     /* products of the longest chain, forward and in training; 0: there is none */
} net;

static const net nets[] = {
    {"four rows", "whole_rows,chains,chain4x256", 1, 5, 64, 32, false, false, false, {4, 4}},
    {"two rows, without weights of norms and biases",
     "whole_rows,chains,chain2x128",
     1,
     5,
     36,
     64,
     false,
     true,
     false,
     {4, 4}},
    {"six rows, root mean squares", "whole_rows,chains,chain6", 1, 7, 36, 32, true, false, false, {4, 4}},
    {"eight rows, weights the other way round", "whole_rows,chains,chain8", 1, 9, 68, 32, false, false, true, {4, 4}},
    {"each for itself", "whole_rows,chains,unchained", 1, 7, 36, 32, false, false, false, {0, 0}},
    {"products of lengths that are no fours", "whole_rows,chains,chain4x256", 1, 7, 37, 32, false, false, false, {0, 0}},
    {"the usual ones", NULL, 1, 7, 64, 32, false, false, false, {0, 0}},
};

static esker_node *normed(esker_graph *graph, const net *s, int i, int part, esker_node *x)
{
    int n = s->narrow;
    esker_node *weight = s->plain ? NULL : test_parameter(graph, (esker_shape){1, {n}}, 1, "weight%d.%d", i, part);
    if (s->rms) return esker_rms_norm(x, 1, weight, 0);
    return esker_layer_norm(x, 1, weight,
                            weight ? test_parameter(graph, (esker_shape){1, {n}}, 1, "shift%d.%d", i, part) : NULL, 0);
}

static esker_node *linear(esker_graph *graph, const net *s, int i, int part, int n, int k, esker_node *x)
{
    float size = 1 / sqrtf((float)k);
    esker_shape shape = s->untransposed ? (esker_shape){2, {k, n}} : (esker_shape){2, {n, k}};
    esker_node *w = test_parameter(graph, shape, size, "filter%d.%d", i, part);
    esker_node *y = esker_matmul(x, w, &(esker_matmul_desc){.transpose_b = !s->untransposed});
    return s->plain ? y : esker_add(y, test_parameter(graph, (esker_shape){1, {n}}, 0.5f, "bias%d.%d", i, part));
}

static esker_node *record(esker_graph *graph, const void *net_of, bool train)
{
    const net *s = net_of;
    int rows = s->batch * s->rows, n = s->narrow;
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {rows, n}});
    for (int i = 0; i < BLOCKS; i++) {
        esker_node *y = normed(graph, s, i, 0, x), *three[3];
        for (int j = 0; j < 3; j++) /* which become one product, whose parts lie one behind another */
            three[j] = esker_matmul(y,
                                    test_parameter(graph, (esker_shape){2, {n, n}}, 1 / sqrtf((float)n), "part%d.%d", i, j),
                                    &(esker_matmul_desc){.transpose_b = !s->untransposed});
        for (int j = 0; j < 3; j++) three[j] = esker_softmax(three[j], 1);
        y = esker_add(esker_mul(three[0], three[1]), three[2]);
        x = esker_add(linear(graph, s, i, 1, n, n, y), x);
        y = esker_gelu(linear(graph, s, i, 2, s->wide, n, normed(graph, s, i, 1, x)));
        x = esker_add(linear(graph, s, i, 3, n, s->wide, y), x);
    }
    x = normed(graph, s, BLOCKS, 0, x);
    esker_node *loss = esker_mean(esker_mul(x, esker_tanh(x)), NULL, 0, false);
    if (train) assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.5f}));
    return loss;
}

/* Products of the longest chain: the names of nodes in one dispatch have commas between them. */
static int longest(const esker_plan *plan)
{
    esker_plan_info info;
    esker_dispatch_info d;
    int most = 0;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (strcmp(d.kernel, "gemm/chain")) continue;
        int n = 1;
        for (const char *at = d.op; *at; at++) n += *at == ',';
        if (n > most) most = n;
    }
    return most;
}

static void check_chains(const esker_plan *plan, const void *net_of, bool train, test_way way)
{
    const net *s = net_of;
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    bool large = info.limits.group_invocations >= 1024 && info.limits.storage_blocks >= 16;
    if (s->variant) assert_int_equal(longest(plan), way.no_fusion || !large ? 0 : s->stages[train]);
}

int main(void)
{
    enum { N = sizeof nets / sizeof *nets };
    static test_net tests[N];
    for (int i = 0; i < N; i++) {
        const net *s = &nets[i];
        tests[i] = (test_net){s->name, s->variant, s->batch * s->rows * s->narrow, s, record, check_chains};
    }
    return test_nets_main(tests, N);
}
