/* device test: normalisations whose lines are held in registers, by one group and in chunks: every choice that tuning has, where the device offers it. */
#include "support/op_check.h"

#include <stdio.h>
#include <stdlib.h>

#include <esker/graph.h>
#include <esker/plan.h>
#include "graph/graph.h"

static esker_node *build_batch(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_batch_norm(in[0], &(esker_batch_norm_desc){.weight = in[1], .bias = in[2]});
}

static esker_node *build_batch_plain(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_batch_norm(in[0], NULL);
}

static esker_node *build_batch_tail(esker_graph *graph, esker_node *const *in, const void *args)
{
    return esker_relu(esker_add(build_batch(graph, in, args), in[3]));
}

/* The gradient of x joins another, and passes a relu: all of it in the tail of the gradient of the norm. */
static esker_node *build_batch_joined(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)args;
    esker_node *x = esker_relu(in[0]);
    return esker_add(build_batch(graph, (esker_node *[]){x, in[1], in[2]}, NULL), esker_mul(x, in[3]));
}

static esker_node *build_infer(esker_graph *graph, esker_node *const *in, const void *args)
{
    esker_shape c = {1, {in[0]->type.shape.dims[1]}};
    (void)args;
    return esker_batch_norm_infer(in[0], &(esker_batch_norm_desc){.weight = in[1],
                                                                  .bias = in[2],
                                                                  .running_mean = esker_full(graph, &c, 0.25f),
                                                                  .running_var = esker_full(graph, &c, 2.25f)});
}

static esker_node *build_instance(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_instance_norm(in[0], in[1], in[2], 0);
}

static esker_node *build_rms(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_rms_norm(in[0], 1, NULL, 0);
}

static esker_node *build_layer(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_layer_norm(in[0], 1, in[1], in[2], 0);
}

static esker_node *build_rms_weight(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    return esker_rms_norm(in[0], 1, in[1], 0);
}

static esker_node *build_l2(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_normalize(in[0], *(const int *)args, 0);
}

#define X(...)                                        \
    {                                                 \
        .shape = DIMS(__VA_ARGS__), .lo = -2, .hi = 3 \
    }
#define TABLE(n)                               \
    {                                          \
        .shape = DIMS(n), .lo = 0.5, .hi = 1.5 \
    }
#define AFFINE(title, build_, channels, ...)                                                                     \
    {                                                                                                            \
        .name = title, .build = build_, .n_inputs = 3, .in = {X(__VA_ARGS__), TABLE(channels), TABLE(channels)}, \
        .no_differences = true                                                                                   \
    }
#define JOINED(title, build_, channels, ...)                                 \
    {                                                                        \
        .name = title, .build = build_, .n_inputs = 4,                       \
        .in = {{.shape = DIMS(__VA_ARGS__), .lo = -2, .hi = 3, .gap = 0.01}, \
               TABLE(channels),                                              \
               TABLE(channels),                                              \
               X(__VA_ARGS__)},                                              \
        .no_differences = true                                               \
    }
#define PLAIN(title, build_, args_, ...)                                                                             \
    {                                                                                                                \
        .name = title, .build = build_, .n_inputs = 1, .in = {X(__VA_ARGS__)}, .args = args_, .no_differences = true \
    }

static const int last = -1, middle = 1;

static const op_check_variant variants[] = {
    {"whole256", AFFINE("channels of 1280", build_batch, 3, 5, 3, 16, 16)},
    {"whole256", AFFINE("channels of 2048, full", build_batch, 2, 2, 2, 32, 32)},
    {"whole512", AFFINE("channels of 4 images of 516", build_batch, 3, 4, 3, 43, 12)},
    {"whole1024", AFFINE("channels of 8192, full", build_batch, 2, 2, 2, 64, 64)},
    {"whole1024", AFFINE("channels of runs that are no fours", build_batch, 3, 5, 3, 23, 25)},
    {"whole1024", PLAIN("channels without tables", build_batch_plain, NULL, 3, 2, 33, 20)},
    {"whole256", JOINED("channels with a tail", build_batch_tail, 3, 2, 3, 24, 24)},
    {"whole256", JOINED("channels whose gradient has a tail", build_batch_joined, 3, 2, 3, 24, 24)},
    {"whole1024", JOINED("channels with a tail, no fours", build_batch_tail, 2, 3, 2, 21, 19)},
    {"whole256", AFFINE("channels with given statistics", build_infer, 3, 5, 3, 16, 16)},
    {"whole512", AFFINE("planes", build_instance, 3, 2, 3, 34, 34)},
    {"whole256", PLAIN("rows by their mean squares", build_rms, NULL, 3, 1028)},
    {"whole512", PLAIN("rows by their length", build_l2, &last, 3, 1027)},
    {"chunks256x2", AFFINE("channels in two chunks, one short", build_batch, 3, 9, 3, 20, 20)},
    {"chunks256x4", AFFINE("channels in chunks of 4096, full", build_batch, 2, 8, 2, 32, 32)},
    {"chunks256x4", AFFINE("channels in chunks of 1024, the last of one", build_batch, 2, 5, 2, 5, 41)},
    {"chunks256x2", PLAIN("channels without tables, in chunks", build_batch_plain, NULL, 3, 2, 51, 20)},
    {"chunks256x2", JOINED("channels in chunks with a tail", build_batch_tail, 2, 3, 2, 40, 41)},
    {"chunks256x2", JOINED("channels in chunks whose gradient has a tail", build_batch_joined, 2, 3, 2, 40, 41)},
    {"chunks256x4", AFFINE("one channel in chunks", build_batch, 1, 3, 1, 53, 61)},
    {"chunks256x4", AFFINE("channels in chunks of 4096, no fours", build_batch, 1, 5, 1, 31, 37)},
    {"chunks256x2", AFFINE("channels in 36 chunks", build_batch, 1, 3, 1, 75, 80)},
    {"chunks256x4", AFFINE("channels in chunks with given statistics", build_infer, 2, 3, 2, 43, 33)},
    {"chunks256x4", AFFINE("planes in chunks", build_instance, 2, 2, 2, 47, 33)},
    {"chunks256x2", PLAIN("rows in chunks by their mean squares", build_rms, NULL, 2, 3001)},
    {"chunks256x2", PLAIN("rows in chunks by their length", build_l2, &last, 2, 3001)},
    {"columns256x2", AFFINE("columns of 129 rows", build_layer, 20, 3, 43, 20)},
    {"columns512x2", AFFINE("columns of 64 rows", build_layer, 8, 64, 8)},
    {"columns512x2", AFFINE("columns of 1025 rows, no fours", build_layer, 7, 1025, 7)},
    {"columns512x4", AFFINE("columns of 2049 rows, more than one round", build_rms_weight, 12, 2049, 12)},
    {"columns512x2", AFFINE("columns of 513 rows", build_layer, 36, 513, 36)},
    {"whole256", PLAIN("a middle axis by its length, which stays as it is", build_l2, &middle, 2, 1030, 3), "norm/forward"},
};

/* The variants above would pass unseen if nothing offered them. */
static void is_what_runs_where_it_is_asked_for(void **state)
{
    static const struct {
        const char *variant, *kernels[2];
    } cases[] = {{"whole256", {"norm/held"}}, {"chunks256x2", {"norm/held", "norm/held"}}, {"lines", {"norm/forward"}}};
    (void)state;
    test_device();
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        esker_plan *plan;
        esker_plan_info info;
        setenv("ESKER_VARIANT", cases[i].variant, 1);
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *y = esker_batch_norm(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){3, {4, 2, 1024}}), NULL);
        esker_plan_desc desc = {.device = test_device(), .outputs = &y, .n_outputs = 1};
        assert_ok(esker_plan_compile(graph, &desc, &plan));
        esker_plan_get_info(plan, &info);
        bool offered = device.limits.group_invocations >= 1024;
        for (int k = 0; k < 2 && cases[i].kernels[k]; k++) {
            esker_dispatch_info d;
            assert_ok(esker_plan_get_dispatch(plan, k, &d));
            if (offered) assert_string_equal(d.kernel, cases[i].kernels[k]);
            if (!offered && k == 0) assert_string_equal(d.kernel, "norm/forward");
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test_teardown(is_what_runs_where_it_is_asked_for, test_without_variant)};
    return op_check_variants_main("norm_held", variants, sizeof variants / sizeof *variants, more, 1);
}
