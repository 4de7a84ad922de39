/*
 * device test: products whose sums are cut in two, and whose groups meet in the result (gemm/meet). llvmpipe cuts long loops short, so that a group that waits for
 * another may not see the end of it: there one thread alone runs all groups, one after the other.
 */
#include "support/op_check.h"

#include <stdlib.h>

typedef struct product {
    bool ta, tb, tail;
} product;

static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    const product *p = args;
    esker_node *y = esker_matmul(in[0], in[1], &(esker_matmul_desc){.transpose_a = p->ta, .transpose_b = p->tb});
    return p->tail ? esker_gelu(esker_add(y, in[2])) : y;
}

/* A chain of products, each of which meets, the next one with the same kernel. */
static esker_node *build_chain(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph, (void)args;
    esker_node *x = in[0];
    for (int i = 0; i < 6; i++) x = esker_relu(esker_affine(esker_matmul(x, in[1], NULL), 0.25f, 0.125f));
    return x;
}

#define PRODUCT(name_, ta_, tb_, a_, b_)                                                                     \
    {                                                                                                        \
        .name = name_, .build = build, .n_inputs = 2,                                                        \
        .in = {{.shape = a_, .lo = -1, .hi = 1}, {.shape = b_, .lo = -1, .hi = 1}}, .args = &(const product) \
        {                                                                                                    \
            ta_, tb_, false                                                                                  \
        }                                                                                                    \
    }

static const op_check_variant variants[] = {
    {"meetings,t64x64m", PRODUCT("whole tiles", 0, 0, DIMS(128, 64), DIMS(64, 128))},
    {"meetings,t64x64m", PRODUCT("parts of tiles and an odd k", 0, 1, DIMS(70, 131), DIMS(67, 131))},
    {"meetings,t32x32m", PRODUCT("a batch of products", 0, 0, DIMS(5, 40, 96), DIMS(5, 96, 36))},
    {"meetings,t32x32m", PRODUCT("the shortest k", 1, 0, DIMS(33, 33), DIMS(33, 35))},
    {"meetings,t128x64m", PRODUCT("slices", 0, 0, DIMS(130, 300), DIMS(300, 68)), .shared_bytes = 49152},
    {"meetings,t32x32m",
     {.name = "bias and gelu",
      .build = build,
      .n_inputs = 3,
      .in = {{.shape = DIMS(65, 128), .lo = -1, .hi = 1},
             {.shape = DIMS(128, 66), .lo = -1, .hi = 1},
             {.shape = DIMS(66), .lo = -1, .hi = 1}},
      .args = &(const product){false, false, true},
      .no_gradient = true}},
    {"meetings,t64x64m",
     {.name = "one behind the other",
      .build = build_chain,
      .n_inputs = 2,
      .in = {{.shape = DIMS(192, 192), .lo = -1, .hi = 1}, {.shape = DIMS(192, 192), .lo = -0.3, .hi = 0.3}},
      .no_gradient = true}},
};

/* The kernels are there, and nothing adds up partial sums behind them. */
static void one_dispatch(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    esker_limits limits;
    esker_dispatch_info d;
    esker_limits_es31(&limits);
    limits.group_size[0] = limits.group_size[1] = limits.group_invocations = 1024;
    limits.shared_bytes = 49152;
    limits.storage_blocks = 16;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *a = esker_input(graph, "a", ESKER_DTYPE_F32, &(esker_shape){2, {256, 2048}});
    esker_node *c = esker_matmul(a, esker_input(graph, "b", ESKER_DTYPE_F32, &(esker_shape){2, {2048, 2048}}), NULL);
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.limits = &limits, .renderer = "NVIDIA H200", .outputs = &c, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    assert_ok(esker_plan_get_dispatch(plan, 0, &d));
    assert_string_equal(d.kernel, "gemm/tiled");
    assert_non_null(strstr(d.defines, "MEET"));
    assert_ok(esker_plan_get_dispatch(plan, 1, &d));
    assert_string_equal(d.kernel, "runtime/mark");
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(one_dispatch)};
    setenv("LP_NUM_THREADS", "0", 1);
    return op_check_variants_main("meetings", variants, sizeof variants / sizeof *variants, more, 1);
}
