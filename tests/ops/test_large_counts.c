/*
 * Kernels that find their place by reciprocals have a variant for more elements than those are exact for (EXACT, from 2^22 on): here are so many that
 * a reciprocal would find another image for the last one. What becomes of an image does not depend on how many there are.
 */
#include "support/test.h"

#include <esker/ops.h>
#include <esker/plan.h>
#include "graph/graph.h"

/* 1026 * 4095 >= 2^22, and in float32 (1026 * 4095 - 1 + 0.5) * (1 / 4095) is 1026. */
#define IMAGES 1026
#define ROWS   4095
#define FEW    3 /* images at either end that are computed by themselves, too */

static esker_node *conv(esker_node *x, const char *name, esker_shape filters, const esker_conv2d_desc *desc)
{
    esker_node *w = esker_parameter(
        x->graph,
        &(esker_param_desc){.name = name, .shape = filters, .init = {ESKER_INIT_UNIFORM, .value = 0.6f}, .frozen = true});
    return esker_conv2d(x, w, desc);
}

static const esker_conv2d_desc three_rows = {.padding = {1, 0}};

static esker_node *fours(esker_node *x)
{
    esker_node *y = conv(x, "dense", (esker_shape){4, {4, 4, 3, 1}}, &three_rows);
    y = conv(y, "depthwise", (esker_shape){4, {4, 1, 3, 1}}, &(esker_conv2d_desc){.padding = {1, 0}, .groups = 4});
    return conv(y, "last", (esker_shape){4, {1, 4, 3, 1}}, &three_rows);
}

static esker_node *convolution(esker_node *x)
{
    return conv(x, "w", (esker_shape){4, {1, 1, 3, 1}}, &three_rows);
}

static esker_node *strided(esker_node *x)
{
    return conv(x, "w", (esker_shape){4, {5, 1, 1, 8}}, &(esker_conv2d_desc){.stride = {1, 4}});
}

static esker_node *pool(esker_node *x)
{
    return esker_max_pool2d(x, &(esker_pool2d_desc){.window = {2, 1}, .stride = {2, 1}});
}

static esker_node *gradient(esker_node *x)
{
    esker_node *gx, *y = pool(x);
    return esker_gradients(esker_sum(esker_square(y), NULL, 0, false), &x, 1, &gx) == ESKER_OK ? gx : NULL;
}

static esker_node *gradient_of_winners(esker_node *x)
{
    esker_node *gx, *y = pool(esker_relu(convolution(x)));
    return esker_gradients(esker_sum(esker_square(y), NULL, 0, false), &x, 1, &gx) == ESKER_OK ? gx : NULL;
}

static const struct large_case {
    const char *name, *variant; /* as ESKER_VARIANT takes it */
    esker_node *(*record)(esker_node *x);
    esker_shape shape;      /* of x */
    const char *kernels[2]; /* that are to count exactly */
} cases[] = {
    {"channels in fours", "fours,fours4x2", fours, {4, {IMAGES, 4, ROWS, 1}}, {"conv/fours"}},
    {"direct convolution", "plain", convolution, {4, {IMAGES, 1, ROWS, 1}}, {"conv/direct"}},
    /* Each row becomes 4 of 4095 vec4 in which every fourth pixel is beside the next. */
    {"padded rows", "quads", strided, {4, {257, 1, 1, 4 * 16376 + 4}}, {"conv/pad"}},
    {"largest of small windows", "planes", pool, {4, {IMAGES, 1, 2 * ROWS, 1}}, {"pool/small"}},
    {"largest of windows", "planes,any_window", pool, {4, {IMAGES, 1, 2 * ROWS, 1}}, {"pool/forward"}},
    {"gradient of the largest, small windows",
     "planes,which",
     gradient,
     {4, {IMAGES, 1, 2 * ROWS, 1}},
     {"pool/small", "pool/grad_small"}},
    {"gradient of the largest", "planes,any_window", gradient, {4, {IMAGES, 1, 2 * ROWS, 1}}, {"pool/grad_disjoint"}},
    {"gradient from winners",
     "pooled_gradients,plain",
     gradient_of_winners,
     {4, {IMAGES, 1, 2 * ROWS, 1}},
     {"pool/winners", "pool/grad_winners"}},
};

/* Of all dispatches by that kernel. */
static void assert_exact(const esker_plan *plan, const char *kernel, bool exact)
{
    esker_plan_info info;
    esker_dispatch_info d;
    int n = 0;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (strcmp(d.kernel, kernel) != 0) continue;
        n++;
        if (exact != (strstr(d.defines, "EXACT 1") != NULL)) fail_msg("%s: %s", d.kernel, d.defines);
    }
    if (n) return;
    esker_device_info device;
    esker_device_get_info(test_device(), &device);
    if (device.limits.group_invocations >= 1024 && device.limits.storage_blocks >= 8) fail_msg("no %s", kernel);
    skip(); /* a smaller device, that is not offered it */
}

/* The result for so many images from `first` on; *out_n its elements. */
static float *run(const struct large_case *c, int64_t first, int64_t images, int64_t *out_n)
{
    esker_graph *graph;
    esker_plan *plan;
    uint64_t ticket;
    int64_t n, of_image;
    esker_shape shape = c->shape;
    assert_ok(esker_shape_elems(&shape, &n));
    of_image = n / shape.dims[0];
    shape.dims[0] = images;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = c->record(esker_input(graph, "x", ESKER_DTYPE_F32, &shape));
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 3));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
    for (int k = 0; k < 2 && c->kernels[k]; k++) assert_exact(plan, c->kernels[k], images == c->shape.dims[0]);
    n = of_image * images;
    float *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)((uint32_t)(i + of_image * first) * 2654435761u >> 8) * 0x1p-24f - 0.5f;
    assert_ok(esker_plan_write(plan, 0, values, (size_t)n * sizeof *values));
    free(values);
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_shape_elems(esker_node_get_shape(y), out_n));
    values = malloc((size_t)*out_n * sizeof *values);
    assert_non_null(values);
    assert_ok(esker_plan_read(plan, ticket, 0, values, (size_t)*out_n * sizeof *values));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return values;
}

static void images_are_the_same_by_themselves(void **state)
{
    const struct large_case *c = *state;
    int64_t images = c->shape.dims[0], n_whole, n;
    setenv("ESKER_VARIANT", c->variant, 1);
    float *whole = run(c, 0, images, &n_whole);
    for (int end = 0; end < 2; end++) {
        int64_t first = end ? images - FEW : 0;
        float *want = run(c, first, FEW, &n), *got = whole + first * (n / FEW);
        assert_int_equal(n / FEW * images, n_whole);
        for (int64_t i = 0; i < n; i++)
            if (!(got[i] == want[i]))
                fail_msg("%s: element %lld from image %lld on is %.9g, by themselves %.9g", c->name, (long long)i,
                         (long long)first, (double)got[i], (double)want[i]);
        free(want);
    }
    free(whole);
}

/* On a GPU that takes more groups along x than along y, as some do, what is folded behind x has less room than x would have. */
static void grids_fit_each_axis(void **state)
{
    esker_limits limits;
    esker_device_info device;
    (void)state;
    esker_device_get_info(test_device(), &device);
    limits = device.limits;
    limits.groups[0] = INT32_MAX;
    limits.groups[1] = limits.groups[2] = 65535;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        esker_graph *graph;
        esker_plan *plan;
        setenv("ESKER_VARIANT", cases[i].variant, 1);
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *y = cases[i].record(esker_input(graph, "x", ESKER_DTYPE_F32, &cases[i].shape));
        assert_ok(esker_plan_compile(
            graph,
            &(esker_plan_desc){.limits = &limits, .renderer = device.display.renderer, .outputs = &y, .n_outputs = 1},
            &plan));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    enum { N = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[N + 1];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){cases[i].name, images_are_the_same_by_themselves, NULL, test_without_variant,
                                       (void *)(uintptr_t)&cases[i]};
    tests[N] = (struct CMUnitTest){"grids fit each axis", grids_fit_each_axis, NULL, test_without_variant, NULL};
    return test_finish(cmocka_run_group_tests_name("large counts", tests, NULL, NULL));
}
