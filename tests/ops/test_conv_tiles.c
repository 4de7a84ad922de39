/* device test: convolutions from tiles in shared memory, with every shape of tile that tuning has, on sizes that fill tiles and on such that do not. */
#include "support/op_check.h"

#include <stdlib.h>
#include <string.h>

#include <esker/graph.h>
#include <esker/plan.h>

typedef struct conv {
    int stride, padding;
} conv;

/* Tails on both sides: a bias and an activation behind the convolution, the activation's gradient behind that of its input. */
static esker_node *build(esker_graph *graph, esker_node *const *in, const void *args)
{
    const conv *c = args;
    (void)graph;
    esker_node *y = esker_conv2d(
        esker_tanh(in[0]), in[1],
        &(esker_conv2d_desc){.stride = {c->stride, c->stride}, .padding = {c->padding, c->padding}});
    return esker_tanh(esker_add(y, in[2]));
}

#define TILE(names_, title, stride_, padding_, x_, w_, bias_)                \
    {                                                                        \
        "tiled,phases," names_,                                              \
        {                                                                    \
            .name = names_ ": " title, .build = build, .n_inputs = 3,        \
            .in = {{.shape = x_, .lo = -1, .hi = 1},                         \
                   {.shape = w_, .lo = -0.25, .hi = 0.25},                   \
                   {.shape = bias_, .lo = -1, .hi = 1}},                     \
            .args = &(const conv){stride_, padding_}, .no_differences = true \
        }                                                                    \
    }
#define FULL(names_)     TILE(names_, "full", 1, 1, DIMS(1, 16, 8, 32), DIMS(16, 16, 3, 3), DIMS(16, 1, 1))
#define NOT_FULL(names_) TILE(names_, "not full", 1, 0, DIMS(2, 9, 11, 13), DIMS(21, 9, 3, 3), DIMS(21, 1, 1))

static const op_check_variant variants[] = {
    FULL("tile4x4"),
    NOT_FULL("tile4x8,grad4"),
    FULL("tile8x4,grad4"),
    NOT_FULL("tile8x8,grad8w"),
    FULL("tile4x4s2,grad8w"),
    NOT_FULL("tile4x4s2,grad4w"),
    FULL("tile4x8s2,grad4w"),
    NOT_FULL("tile4x8s2"),
    FULL("tile4x4s4"),
    NOT_FULL("tile4x8s4"),
    TILE("tile4x8s4,grad4", "rows of fours, tiles begin at odd places", 1, 2, DIMS(2, 10, 9, 20), DIMS(18, 10, 3, 3),
         DIMS(1)),
    TILE("tile4x8s2,grad4", "rows of fours, filters of 5 by 2", 1, 1, DIMS(1, 6, 12, 16), DIMS(8, 6, 5, 2), DIMS(8, 1, 1)),
    TILE("tile4x4", "few channels, filters of 5 by 5", 1, 2, DIMS(2, 5, 8, 19), DIMS(5, 5, 5, 5), DIMS(5, 1, 1)),
    TILE("tile4x4s2,grad4w", "rows of fours, one tap", 1, 0, DIMS(2, 8, 9, 12), DIMS(16, 8, 1, 1), DIMS(16, 1, 1)),
    TILE("tile4x4s4,grad8w", "rows of fours, stride 2", 2, 1, DIMS(2, 8, 12, 16), DIMS(16, 8, 3, 3), DIMS(16, 1, 1)),
    /* Groups of few invocations, no multiple of 32. */
    TILE("tile4x4,grad4", "few channels, filters of 5 by 3", 1, 2, DIMS(2, 5, 8, 19), DIMS(5, 5, 5, 3), DIMS(5, 1, 1)),
    TILE("tile4x4,grad8", "7 channels, 9 filters", 1, 1, DIMS(3, 7, 9, 14), DIMS(9, 7, 3, 3), DIMS(9, 1, 1)),
    TILE("tile4x4,grad8w", "3 channels, 20 filters", 1, 1, DIMS(3, 3, 10, 15), DIMS(20, 3, 3, 3), DIMS(20, 1, 1)),
    TILE("tile4x4,grad8", "stride 2, as many blocks of channels as there are to be groups", 2, 0, DIMS(1, 208, 2, 2),
         DIMS(512, 208, 1, 1), DIMS(512, 1, 1)),
};

/* The rows above would pass unseen if nothing offered their variants. */
static void tiles_are_those_that_are_asked_for(void **state)
{
    static const struct {
        const char *variant, *defines;
    } cases[] = {
        {"tiled,tile4x4", "SLICES 1\nCH 4\nPX 4\n"},   {"tiled,tile4x8", "SLICES 1\nCH 4\nPX 8\n"},
        {"tiled,tile8x8", "SLICES 1\nCH 8\nPX 8\n"},   {"tiled,tile4x4s2", "SLICES 2\nCH 4\nPX 4\n"},
        {"tiled,tile4x8s2", "SLICES 2\nCH 4\nPX 8\n"}, {"tiled,tile4x8s4", "SLICES 4\nCH 4\nPX 8\n"},
    };
    (void)state;
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    if (device.limits.group_invocations < 1024) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){4, {1, 16, 8, 32}}),
                   *w = esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){4, {16, 16, 3, 3}}),
                   *y = esker_conv2d(x, w, &(esker_conv2d_desc){.padding = {1, 1}});
        setenv("ESKER_VARIANT", cases[i].variant, 1);
        assert_ok(
            esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
        unsetenv("ESKER_VARIANT");
        esker_dispatch_info dispatch;
        assert_ok(esker_plan_get_dispatch(plan, 0, &dispatch));
        assert_string_equal(dispatch.kernel, "conv/tiled");
        assert_non_null(strstr(dispatch.defines, cases[i].defines));
        assert_non_null(strstr(dispatch.defines, "EVEN 1\n"));
        assert_non_null(strstr(dispatch.defines, "X4 1\n"));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    const struct CMUnitTest more[] = {cmocka_unit_test(tiles_are_those_that_are_asked_for)};
    return op_check_variants_main("conv_tiles", variants, sizeof variants / sizeof *variants, more, 1);
}
