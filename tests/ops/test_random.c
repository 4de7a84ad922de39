/* device test: random numbers: Philox bit for bit, distributions, steps and seeds, draws that stay apart, dropout and its mask. */
#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "base/philox.h"
#include "nn/model.h"
#include "ops/ops.h"
#include "support/op_check.h"

/* ---- Rows ---- */

static esker_node *build_dropout(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_dropout(in[0], *(const float *)args);
}

/* Two draws on one path: each has its own mask, forward and backward. */
static esker_node *build_two_dropouts(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_dropout(esker_mul(esker_dropout(in[0], *(const float *)args), in[1]), *(const float *)args);
}

static esker_node *build_noise(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    (void)args;
    return esker_mul(in[0], esker_random_normal_like(esker_exp(in[0]), 1, 0.5f));
}

static esker_node *build_uniform(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_uniform(graph, args, -2.5f, 7);
}

static esker_node *build_normal(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_normal(graph, args, 0.25f, 3);
}

static esker_node *build_bernoulli(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_bernoulli(graph, args, 0.3f);
}

static esker_node *build_permutation(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_permutation(graph, *(const int64_t *)args);
}

static const float none = 0, tenth = 0.1f, half = 0.5f, most = 0.999f, all = 1;
#define DROPOUT(title, p, ...)                                                                 \
    {                                                                                          \
        "dropout, " title, build_dropout, 1, {{.shape = __VA_ARGS__, .lo = -2, .hi = 2}}, &(p) \
    }
#define PERMUTATION(n)                                                                                     \
    {                                                                                                      \
        "random_permutation of " #n, build_permutation, 0, {{0}}, &(const int64_t){n}, .no_gradient = true \
    }
#define DRAWN(title, build, ...)                                                     \
    {                                                                                \
        title, build, 0, {{0}}, &(const esker_shape)__VA_ARGS__, .no_gradient = true \
    }

static const op_check_row rows[] = {
    DROPOUT("one element", half, {1, {1}}),
    DROPOUT("a scalar", half, {0}),
    DROPOUT("127", half, {1, {127}}),
    DROPOUT("128", half, {1, {128}}),
    DROPOUT("129", tenth, {1, {129}}),
    DROPOUT("six axes", tenth, {6, {2, 1, 3, 2, 5, 3}}),
    DROPOUT("many", half, {2, {301, 257}}),
    DROPOUT("none", none, {2, {5, 7}}),
    DROPOUT("nearly all", most, {2, {40, 70}}),
    DROPOUT("all", all, {1, {31}}),
    {"dropout, two on one path",
     build_two_dropouts,
     2,
     {{.shape = {2, {9, 31}}, .lo = -2, .hi = 2}, {.shape = {1, {31}}, .lo = -2, .hi = 2}},
     &half},
    {"random_normal_like: no gradient through the shape", build_noise, 1, {{.shape = {2, {5, 13}}, .lo = -2, .hi = 2}}},
    DRAWN("random_uniform, a scalar", build_uniform, {0}),
    DRAWN("random_uniform, 127", build_uniform, {1, {127}}),
    DRAWN("random_uniform, 129", build_uniform, {1, {129}}),
    DRAWN("random_uniform, many", build_uniform, {3, {11, 71, 97}}),
    DRAWN("random_normal, a scalar", build_normal, {0}),
    DRAWN("random_normal, 127", build_normal, {1, {127}}),
    DRAWN("random_normal, 129", build_normal, {1, {129}}),
    DRAWN("random_normal, many", build_normal, {3, {31, 71, 97}}),
    DRAWN("random_bernoulli, one", build_bernoulli, {1, {1}}),
    DRAWN("random_bernoulli, 129", build_bernoulli, {1, {129}}),
    DRAWN("random_bernoulli, many", build_bernoulli, {2, {301, 257}}),
    PERMUTATION(1),
    PERMUTATION(2),
    PERMUTATION(127),
    PERMUTATION(256),
    PERMUTATION(257),
    PERMUTATION(1000),
    PERMUTATION(4095),
    PERMUTATION(4096),
    PERMUTATION(70001),
};

/* ---- Running by hand ---- */

static esker_graph *new_graph(void)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    return graph;
}

static esker_plan *compile(esker_graph *graph, esker_node *const *outputs, int n_outputs, uint64_t seed)
{
    esker_plan *plan;
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_plan_compile(graph,
                                 &(esker_plan_desc){.device = test_device(),
                                                    .outputs = outputs,
                                                    .n_outputs = n_outputs,
                                                    .seed = seed,
                                                    .flops_per_second = 1e10,
                                                    .bytes_per_second = 2e9},
                                 &plan));
    assert_ok(esker_plan_check(plan));
    return plan;
}

static void run_at(esker_plan *plan, uint64_t step, int output, void *out, size_t n_bytes)
{
    uint64_t ticket;
    assert_ok(esker_plan_set_step(plan, step));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, output, out, n_bytes));
}

/* ---- Bits ---- */

static void words_are_those_of_the_host(void **state)
{
    static const uint64_t seeds[] = {0, 1, 0xFEDCBA9876543210u}, steps[] = {0, 1, 7, 0xFFFFFFFFu, 0x123456789ABCDEFu};
    enum { N = 1030 };
    (void)state;
    for (size_t s = 0; s < sizeof seeds / sizeof *seeds; s++) {
        esker_graph *graph = new_graph();
        esker_node *outputs[3];
        for (int d = 0; d < 3; d++)
            outputs[d] = d == 1 ? esker_random_uniform(graph, &(esker_shape){1, {N}}, 0, 1)
                                : esker__random_bits(graph, &(esker_shape){1, {N}});
        esker_plan *plan = compile(graph, outputs, 3, seeds[s]);
        for (size_t t = 0; t < sizeof steps / sizeof *steps; t++)
            for (uint32_t d = 0; d < 3; d++) {
                uint32_t got[N], want[4], key[2] = {(uint32_t)seeds[s], (uint32_t)(seeds[s] >> 32)};
                run_at(plan, steps[t], (int)d, got, sizeof got);
                for (uint32_t i = 0; i < N; i++) {
                    uint32_t counter[4] = {i / 4, d, (uint32_t)steps[t], (uint32_t)(steps[t] >> 32)};
                    float unit;
                    esker__philox(counter, key, want);
                    memcpy(&unit, &got[i], sizeof unit);
                    if (d == 1 ? unit != esker__unit_float(want[i % 4]) : got[i] != want[i % 4])
                        fail_msg("seed %llx, step %llx, draw %u, element %u: %08x, word %08x", (unsigned long long)seeds[s],
                                 (unsigned long long)steps[t], d, i, got[i], want[i % 4]);
                }
            }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

static void bounds_hold(void **state)
{
    static const struct {
        float lo, hi;
    } cases[] = {{1, 1.0000001f}, {16777216, 16777218}, {3, 3}, {-1e-3f, 1e3f}};
    enum { N = 20000 };
    static float got[N];
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        esker_graph *graph = new_graph();
        esker_node *x = esker_random_uniform(graph, &(esker_shape){1, {N}}, cases[c].lo, cases[c].hi);
        esker_plan *plan = compile(graph, &x, 1, 3);
        run_at(plan, 0, 0, got, sizeof got);
        for (int i = 0; i < N; i++)
            if (!(got[i] >= cases[c].lo && (got[i] < cases[c].hi || cases[c].lo == cases[c].hi)))
                fail_msg("[%.9g, %.9g): element %d is %.9g", (double)cases[c].lo, (double)cases[c].hi, i, (double)got[i]);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* ---- Distributions; the seed is fixed, so that a pass stays one ---- */

enum { N_SAMPLES = 200000, N_BINS = 64 };
static float samples[N_SAMPLES];

/* Mean, variance, and the third and fourth moment over the deviation's powers. */
static void moments(const float *x, int n, double out[4])
{
    double mean = 0, m2 = 0, m3 = 0, m4 = 0;
    for (int i = 0; i < n; i++) mean += x[i];
    mean /= n;
    for (int i = 0; i < n; i++) {
        double d = x[i] - mean;
        m2 += d * d;
        m3 += d * d * d;
        m4 += d * d * d * d;
    }
    m2 /= n;
    out[0] = mean;
    out[1] = m2;
    out[2] = m3 / n / pow(m2, 1.5);
    out[3] = m4 / n / (m2 * m2);
}

/* The distribution function's values must be uniform: 63 degrees of freedom, 99.98 % of draws lie below 111 and above 29. */
static void assert_chi_square(double (*cdf)(double), const float *x, int n)
{
    double counts[N_BINS] = {0}, expected = (double)n / N_BINS, chi = 0;
    for (int i = 0; i < n; i++) {
        int bin = (int)(cdf(x[i]) * N_BINS);
        counts[bin < 0 ? 0 : bin >= N_BINS ? N_BINS - 1 : bin]++;
    }
    for (int b = 0; b < N_BINS; b++) chi += (counts[b] - expected) * (counts[b] - expected) / expected;
    if (!(chi > 29 && chi < 111)) fail_msg("chi-square %.1f for 63 degrees of freedom", chi);
}

static double uniform_cdf(double x)
{
    return (x - 2) / 3;
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-(x - 1) / 2 / sqrt(2));
}

static void distributions_are_right(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    const esker_shape shape = {1, {N_SAMPLES}};
    esker_node *outputs[] = {esker_random_uniform(graph, &shape, 2, 5), esker_random_normal(graph, &shape, 1, 2),
                             esker_random_bernoulli(graph, &shape, 0.3f)};
    esker_plan *plan = compile(graph, outputs, 3, 2024);
    /* Each bound is 5 deviations of the estimate. */
    double m[4], root = 5 / sqrt(N_SAMPLES);
    run_at(plan, 0, 0, samples, sizeof samples);
    moments(samples, N_SAMPLES, m);
    assert_float_equal((float)m[0], 3.5f, (float)(root * sqrt(0.75)));
    assert_float_equal((float)m[1], 0.75f, (float)(root * 0.75 * sqrt(0.8)));
    assert_chi_square(uniform_cdf, samples, N_SAMPLES);
    run_at(plan, 1, 1, samples, sizeof samples);
    moments(samples, N_SAMPLES, m);
    assert_float_equal((float)m[0], 1, (float)(root * 2));
    assert_float_equal((float)m[1], 4, (float)(root * 4 * sqrt(2)));
    assert_float_equal((float)m[2], 0, (float)(root * sqrt(6)));
    assert_float_equal((float)m[3], 3, (float)(root * sqrt(24)));
    assert_chi_square(normal_cdf, samples, N_SAMPLES);
    double product = 0; /* neighbours come from one call, and half of them from one radius */
    for (int i = 0; i + 1 < N_SAMPLES; i++) product += (samples[i] - m[0]) * (samples[i + 1] - m[0]);
    assert_float_equal((float)(product / N_SAMPLES), 0, (float)(root * 4));
    run_at(plan, 2, 2, samples, sizeof samples);
    moments(samples, N_SAMPLES, m);
    assert_float_equal((float)m[0], 0.3f, (float)(root * sqrt(0.21)));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static int32_t order[1 << 20];
static bool seen[1 << 20];

static void permutations_are_permutations(void **state)
{
    static const int sizes[] = {1, 3, 256, 5000, 1 << 20};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int n = sizes[s];
        esker_graph *graph = new_graph();
        esker_node *out = esker_random_permutation(graph, n);
        esker_plan *plan = compile(graph, &out, 1, 31);
        run_at(plan, 4, 0, order, (size_t)n * 4);
        memset(seen, 0, sizeof seen);
        double product = 0, middle = (n - 1) / 2.0;
        for (int i = 0; i < n; i++) {
            assert_in_range(order[i], 0, n - 1);
            assert_false(seen[order[i]]);
            seen[order[i]] = true;
            product += (i - middle) * (order[i] - middle);
        }
        /* Place and number do not go together: 5 deviations of 1 / sqrt(n). */
        if (n > 256) assert_true(fabs(product / (pow(n, 3) / 12)) < 5 / sqrt(n));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* All 24 orders of four are equally likely: 23 degrees of freedom, 99.98 % of draws lie between 5 and 55. */
static void orders_are_equally_likely(void **state)
{
    enum { DRAWS = 480, STEPS = 5 };
    esker_node *outputs[32];
    int counts[256] = {0};
    (void)state;
    for (uint64_t seed = 0; seed < DRAWS / 32 / STEPS; seed++) {
        esker_graph *graph = new_graph();
        for (int d = 0; d < 32; d++) outputs[d] = esker_random_permutation(graph, 4);
        esker_plan *plan = compile(graph, outputs, 32, seed);
        for (uint64_t step = 0; step < STEPS; step++) {
            uint64_t ticket;
            assert_ok(esker_plan_set_step(plan, step));
            assert_ok(esker_plan_submit(plan, &ticket));
            for (int d = 0; d < 32; d++) {
                int32_t p[4];
                assert_ok(esker_plan_read(plan, ticket, d, p, sizeof p));
                counts[p[0] | p[1] << 2 | p[2] << 4 | p[3] << 6]++;
            }
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    double chi = 0;
    int kinds = 0;
    for (int i = 0; i < 256; i++) {
        if (!counts[i]) continue;
        kinds++;
        chi += pow(counts[i] - DRAWS / 24.0, 2) / (DRAWS / 24.0);
    }
    assert_int_equal(kinds, 24);
    assert_true(chi > 5 && chi < 55);
}

/* ---- Draws ---- */

static void equal_draws_are_not_merged(void **state)
{
    enum { N = 400 };
    float a[N], b[N], c[N];
    int equal = 0;
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *outputs[] = {esker_random_bernoulli(graph, &(esker_shape){1, {N}}, 0.5f),
                             esker_random_bernoulli(graph, &(esker_shape){1, {N}}, 0.5f)};
    esker_plan *plan = compile(graph, outputs, 2, 11);
    run_at(plan, 5, 0, a, sizeof a);
    run_at(plan, 5, 1, b, sizeof b);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    for (int i = 0; i < N; i++) equal += a[i] == b[i];
    assert_in_range(equal, 150, 250); /* 5 deviations of 10 around 200 */

    /* The same program again draws the same, whatever plan it is in. */
    graph = new_graph();
    outputs[0] = esker_random_bernoulli(graph, &(esker_shape){1, {N}}, 0.5f);
    plan = compile(graph, outputs, 1, 11);
    run_at(plan, 5, 0, c, sizeof c);
    assert_memory_equal(a, c, sizeof a);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void masks_change_with_the_step_and_repeat(void **state)
{
    enum { N = 2048, STEPS = 6 };
    static float x[N], y[STEPS][N], again[N];
    (void)state;
    for (int i = 0; i < N; i++) x[i] = 1 + (float)i;
    esker_graph *graph = new_graph();
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {N}});
    esker_node *out = esker_dropout(in, 0.25f);
    esker_plan *plan = compile(graph, &out, 1, 99);
    for (int s = 0; s < STEPS; s++) {
        assert_ok(esker_plan_write(plan, 0, x, sizeof x));
        run_at(plan, (uint64_t)s, 0, y[s], sizeof y[s]);
        int dropped = 0;
        for (int i = 0; i < N; i++) {
            if (y[s][i] == 0)
                dropped++;
            else
                assert_float_equal(y[s][i], x[i] / 0.75f, 1e-3f);
        }
        assert_in_range(dropped, 512 - 98, 512 + 98); /* 5 deviations of 19.6 */
        for (int before = 0; before < s; before++) {
            int both = 0; /* a sixteenth: 128 with a deviation of 11 */
            for (int i = 0; i < N; i++) both += y[s][i] == 0 && y[before][i] == 0;
            assert_in_range(both, 128 - 55, 128 + 55);
        }
    }
    for (int s = STEPS - 1; s >= 0; s--) {
        assert_ok(esker_plan_write(plan, 0, x, sizeof x));
        run_at(plan, (uint64_t)s, 0, again, sizeof again);
        assert_memory_equal(again, y[s], sizeof again);
    }
    esker_plan_destroy(plan);
    plan = compile(graph, &out, 1, 100); /* another seed */
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    run_at(plan, 0, 0, again, sizeof again);
    assert_memory_not_equal(again, y[0], sizeof again);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void the_gradient_has_the_same_mask(void **state)
{
    enum { N = 1000 };
    float x[N], y[N], g[N];
    (void)state;
    for (int i = 0; i < N; i++) x[i] = 1;
    esker_graph *graph = new_graph();
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {N}});
    esker_node *grad, *drop = esker_dropout(in, 0.4f);
    assert_ok(esker_gradients(esker_sum(drop, NULL, 0, false), &in, 1, &grad));
    esker_plan *plan = compile(graph, (esker_node *[]){drop, grad}, 2, 5);
    for (uint64_t step = 0; step < 3; step++) {
        uint64_t ticket;
        assert_ok(esker_plan_write(plan, 0, x, sizeof x));
        assert_ok(esker_plan_set_step(plan, step << 31));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
        assert_ok(esker_plan_read(plan, ticket, 1, g, sizeof g));
        assert_memory_equal(y, g, sizeof y);
        int kept = 0;
        for (int i = 0; i < N; i++) kept += y[i] != 0;
        assert_in_range(kept, 500, 700);
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* The reference knows seed and step as the device does. */
static void the_reference_follows_seed_and_step(void **state)
{
    enum { N = 301 };
    float got[N];
    (void)state;
    esker_graph *graph = new_graph();
    esker_random_normal(graph, &(esker_shape){1, {3}}, 0, 1);
    esker_node *out = esker_random_uniform(graph, &(esker_shape){1, {N}}, 0, 1);
    esker_plan *plan = compile(graph, &out, 1, 77);
    double **values;
    assert_ok(esker__evaluate_step(graph, &(esker__step){.step = 1000, .seed = 77}, NULL, &out, 1, &values, NULL));
    run_at(plan, 1000, 0, got, sizeof got);
    for (int i = 0; i < N; i++) assert_true(values[out->id][i] == got[i]);
    esker__evaluate_free(graph, values);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* ---- Models ---- */

static int count_nodes(const esker_graph *graph, const esker__op *op)
{
    int n = 0;
    for (size_t i = 0; i < graph->n_nodes; i++) n += graph->nodes[i]->op == op;
    return n;
}

static void models_drop_in_training_alone(void **state)
{
    (void)state;
    esker_model *net;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {6}});
    x = esker_dropout(esker_relu(esker_dropout(x, 0.5f)), 0.25f);
    assert_ok(esker_model_output(net, x));
    esker_layer_info info;
    assert_ok(esker_model_get_layer_info(net, 2, &info));
    assert_string_equal(info.kind, "dropout");

    esker_graph *train, *infer;
    esker_node *in, *out;
    assert_ok(
        esker_model_instantiate(net, &(esker_instance_desc){.batch = 5, .mode = ESKER_MODE_TRAIN}, &train, &in, &out));
    assert_int_equal(count_nodes(train, &esker__op_dropout), 2);
    /* A draw recorded behind the model is none of the model's. */
    esker_node *more = esker_dropout(out, 0.25f);
    assert_non_null(more);
    assert_memory_not_equal(more->attr, out->attr, esker__op_dropout.attr_bytes);
    esker_graph *other;
    assert_ok(
        esker_model_instantiate(net, &(esker_instance_desc){.batch = 9, .mode = ESKER_MODE_TRAIN}, &other, NULL, &out));
    assert_memory_equal(other->nodes[out->id]->attr, net->output->attr, esker__op_dropout.attr_bytes);

    assert_ok(
        esker_model_instantiate(net, &(esker_instance_desc){.batch = 5, .mode = ESKER_MODE_INFER}, &infer, &in, &out));
    assert_int_equal(count_nodes(infer, &esker__op_dropout), 0);
    assert_ptr_equal(out->op, &esker__op_relu);
    assert_ptr_equal(out->inputs[0], in);
    esker_graph_destroy(infer);
    esker_graph_destroy(other);
    esker_graph_destroy(train);
    esker_model_destroy(net);
}

/* ---- Refusals ---- */

static esker_node *refused_dropout(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)graph;
    return esker_dropout(in[0], *(const float *)args);
}

static esker_node *refused_uniform(esker_graph *graph, esker_node *const *in, const void *args)
{
    const float *bounds = args;
    (void)in;
    return esker_random_uniform(graph, &(esker_shape){1, {3}}, bounds[0], bounds[1]);
}

static esker_node *refused_normal(esker_graph *graph, esker_node *const *in, const void *args)
{
    const float *bounds = args;
    (void)graph;
    return esker_random_normal_like(in[0], bounds[0], bounds[1]);
}

static esker_node *refused_bernoulli(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_bernoulli(graph, &(esker_shape){1, {3}}, *(const float *)args);
}

static esker_node *refused_permutation(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_permutation(graph, *(const int64_t *)args);
}

static esker_node *refused_shape(esker_graph *graph, esker_node *const *in, const void *args)
{
    (void)in;
    return esker_random_bernoulli(graph, args, 0.5f);
}

static void refuses_what_is_no_distribution(void **state)
{
    static const struct {
        op_check_build build;
        float args[2];
        const char *part;
    } cases[] = {
        {refused_dropout, {-0.1f}, "dropout(float32 [4]): probability -0.1, 0 to 1"},
        {refused_dropout, {1.5f}, "probability 1.5"},
        {refused_dropout, {NAN}, "probability"},
        {refused_uniform, {2, 1}, "random_uniform: from 2 to 1"},
        {refused_uniform, {0, INFINITY}, "ascending bounds"},
        {refused_uniform, {-3e38f, 3e38f}, "finite"},
        {refused_uniform, {NAN, 1}, "finite"},
        {refused_normal, {0, -1}, "deviation -1"},
        {refused_normal, {NAN, 1}, "random_normal: mean"},
        {refused_bernoulli, {1.01f}, "random_bernoulli: probability 1.01"},
        {refused_bernoulli, {NAN}, "probability"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        op_check_refused(cases[i].build, cases[i].args, (op_check_input[]){{.shape = {1, {4}}}}, 1, ESKER_ERR_INVALID,
                         cases[i].part);
    op_check_refused(refused_dropout, (float[]){0.5f}, (op_check_input[]){{ESKER_DTYPE_I32, {1, {4}}}}, 1,
                     ESKER_ERR_INVALID, "dropout(int32 [4]): the input is int32, float32 is needed");
    op_check_refused(refused_shape, &(esker_shape){1, {0}}, NULL, 0, ESKER_ERR_INVALID, "random_bernoulli");
    op_check_refused(refused_permutation, &(int64_t){0}, NULL, 0, ESKER_ERR_INVALID, "random_permutation: of 0, 1 to");
    op_check_refused(refused_shape, NULL, NULL, 0, ESKER_ERR_INVALID, "random_bernoulli: no shape");
}

int main(void)
{
    const struct CMUnitTest more[] = {
        cmocka_unit_test(words_are_those_of_the_host),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(distributions_are_right),
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(orders_are_equally_likely),
        cmocka_unit_test(equal_draws_are_not_merged),
        cmocka_unit_test(masks_change_with_the_step_and_repeat),
        cmocka_unit_test(the_gradient_has_the_same_mask),
        cmocka_unit_test(the_reference_follows_seed_and_step),
        cmocka_unit_test(models_drop_in_training_alone),
        cmocka_unit_test(refuses_what_is_no_distribution),
    };
    return op_check_main("random", rows, sizeof rows / sizeof *rows, more, sizeof more / sizeof *more);
}
