/* The models of esker bench infer compute the same with and without fusion, whatever their running statistics are. Skipped without a device. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/model.h>
#include <esker/plan.h>

/*
 * Behind filters as they are drawn and a relu a sixth of the variance is left: running variances are about that, as after training, and models without
 * them get larger filters, so that images still make a difference at the end.
 */
static void choose_values(esker_params *params)
{
    bool has_norms = false;
    assert_ok(esker_params_init_values(params, test_seed()));
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        has_norms |= strstr(info.name, "running_var") != NULL;
    }
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        float *values = calloc((size_t)info.n_elems, sizeof *values), lo = -0.2f, hi = 0.2f;
        if (strstr(info.name, "running_var"))
            lo = 0.1f, hi = 0.25f;
        else if (strstr(info.name, "weight"))
            lo = 0.7f, hi = 1.3f;
        if (info.shape.rank == 1) {
            test_uniform(values, info.n_elems, lo, hi, (uint64_t)i);
        } else {
            assert_ok(esker_params_read(params, i, values, info.n_elems));
            for (int64_t j = 0; j < info.n_elems && !has_norms; j++) values[j] *= 2.45f;
        }
        assert_ok(esker_params_write(params, i, values, info.n_elems));
        free(values);
    }
}

#ifdef ESKER_HAVE_CJSON
/* The model of that file for smaller images. */
static esker_model *load(const char *name)
{
    static const char large[] = "[3, 224, 224]", small[] = "[3,  64,  64]"; /* as long */
    char path[1200], text[65536];
    esker_model *net;
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/tests/bench/models/%s.json", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    char *shape = strstr(text, large);
    assert_non_null(shape);
    memcpy(shape, small, sizeof large - 1);
    assert_ok(esker_model_from_json(text, n, name, &net));
    return net;
}

/* What the plan makes of two images. */
static void infer(esker_model *net, bool fuse, float **out, int64_t *out_n)
{
    esker_graph *graph;
    esker_node *x, *y;
    esker_plan *plan;
    int64_t n;
    assert_ok(esker_model_instantiate(net, &(esker_instance_desc){.batch = 1, .mode = ESKER_MODE_INFER}, &graph, &x, &y));
    assert_ok(esker_shape_elems(esker_node_get_shape(x), &n));
    assert_ok(esker_shape_elems(esker_node_get_shape(y), out_n));
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1, .no_fusion = !fuse}, &plan));
    float *image = calloc((size_t)n, sizeof *image);
    for (int i = 0; i < 2; i++) {
        uint64_t ticket;
        test_uniform(image, n, i ? -1 : 0, 1, (uint64_t)i);
        assert_ok(esker_plan_write(plan, 0, image, (size_t)n * sizeof *image));
        assert_ok(esker_plan_submit(plan, &ticket));
        out[i] = calloc((size_t)*out_n, sizeof **out);
        assert_ok(esker_plan_read(plan, ticket, 0, out[i], (size_t)*out_n * sizeof **out));
    }
    free(image);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static double rms(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (b ? (double)b[i] : 0);
        sum += d * d;
    }
    return sqrt(sum / (double)n);
}
#endif

static void fused_and_not_agree(void **state)
{
#ifdef ESKER_HAVE_CJSON
    float *plain[2], *fused[2];
    int64_t n;
    test_device();
    esker_model *net = load(*state);
    choose_values(esker_model_get_params(net));
    infer(net, false, plain, &n);
    infer(net, true, fused, &n);
    double spread = rms(plain[0], plain[1], n);
    print_message("%s: results %.3g, another image %.3g, fusion %.3g\n", (const char *)*state, rms(plain[0], NULL, n),
                  spread, rms(plain[0], fused[0], n));
    assert_true(spread > 0.02 * rms(plain[0], NULL, n));
    for (int i = 0; i < 2; i++) {
        double *want = calloc((size_t)n, sizeof *want);
        for (int64_t j = 0; j < n; j++) want[j] = (double)plain[i][j];
        /* What rounding in all of its layers makes, beside what the image makes: 1e-5 was seen at most. */
        assert_close(fused[i], want, NULL, 1e-4 * spread, n);
        free(want);
        free(plain[i]);
        free(fused[i]);
    }
    esker_model_destroy(net);
#else
    (void)state;
    skip();
#endif
}

int main(void)
{
    static const char *const models[] = {"squeezenet", "mobilenet_v1", "mobilenet_v2", "resnet18"};
    enum { N = sizeof models / sizeof *models };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = models[i], .test_func = fused_and_not_agree, .initial_state = (void *)(uintptr_t)models[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
