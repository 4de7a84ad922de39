/*
 * device test: what must hold of every model's gradients, whatever they are: the order of samples in a batch does not matter, several small batches
 * make a large one, gradients are linear in what flows in; and ways to compile a step that must give the same bits.
 */
#include <math.h>
#include <stdio.h>

#include <esker/model.h>
#include <esker/plan.h>

#include "base/philox.h"
#include "support/test.h"

#define BATCH  8
#define PIXELS (28 * 28)

static const char *const models[] = {"mlp", "lenet5", "smallconv", "mnistcnn", "resnet"};

typedef struct batch {
    int n;
    uint8_t images[BATCH][PIXELS];
    int32_t labels[BATCH];
} batch;

/* Everything about one step: the loss, and gradients and values of all parameters one after the other. */
typedef struct outcome {
    float loss;
    int64_t n;
    float *gradients, *values;
    int n_dispatches;
} outcome;

static batch random_batch(void)
{
    batch b = {.n = BATCH};
    esker__random random;
    esker__random_init(&random, test_seed(), 77);
    for (int i = 0; i < BATCH; i++) {
        b.labels[i] = (int32_t)esker__random_below(&random, 10);
        for (int j = 0; j < PIXELS; j++) b.images[i][j] = (uint8_t)esker__random_below(&random, 256);
    }
    return b;
}

static esker_model *load(const char *name)
{
    char path[512];
    esker_model *net;
    snprintf(path, sizeof path, ESKER_SOURCE_DIR "/demo/models/%s.json", name);
    esker_status st = esker_model_load_json(path, &net);
    if (st == ESKER_ERR_UNSUPPORTED) {
        print_message("%s\n", esker_last_error());
        skip();
    }
    test_assert_ok(st, path, __FILE__, __LINE__);
    return net;
}

static outcome run(esker_model *net, const batch *b, const esker_plan_desc *base, int n_steps)
{
    esker_params *params = esker_model_get_params(net);
    esker_graph *graph;
    esker_node *output;
    esker_plan *plan;
    esker_plan_desc desc = *base;
    outcome o = {.n = esker_params_elems(params)};
    assert_ok(esker_params_init_values(params, 3));
    assert_ok(esker_model_instantiate(
        net, &(esker_instance_desc){.batch = b->n, .mode = ESKER_MODE_TRAIN, .input_dtype = ESKER_DTYPE_U8}, &graph, NULL,
        &output));
    esker_node *labels = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {b->n}});
    esker_node *loss = esker_cross_entropy(output, labels);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.lr = 0.01f, .keep_gradients = true}));
    desc.device = test_device();
    desc.outputs = &loss;
    desc.n_outputs = 1;
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    esker_graph_destroy(graph);
    for (int step = 0; step < n_steps; step++) {
        uint64_t ticket;
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "image"), b->images, (size_t)b->n * PIXELS));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), b->labels, (size_t)b->n * 4));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, &o.loss, sizeof o.loss));
    }
    o.gradients = calloc((size_t)o.n, sizeof *o.gradients);
    o.values = calloc((size_t)o.n, sizeof *o.values);
    assert_non_null(o.gradients);
    assert_non_null(o.values);
    int64_t at = 0;
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_ok(esker_params_read(params, i, o.values + at, info.n_elems));
        if (!info.frozen) assert_ok(esker_params_read_gradient(params, i, o.gradients + at, info.n_elems));
        at += info.n_elems;
    }
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    o.n_dispatches = info.n_dispatches;
    esker_plan_destroy(plan);
    return o;
}

static void outcome_finish(outcome *o)
{
    free(o->gradients);
    free(o->values);
}

/* Sums in another order: rounding, of the size of the largest gradient of the same parameter. */
static void compare_gradients(esker_model *net, const float *got, const double *want, const char *what)
{
    esker_params *params = esker_model_get_params(net);
    int64_t at = 0;
    for (int p = 0; p < esker_params_count(params); p++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, p, &info));
        double largest = 0;
        for (int64_t i = 0; i < info.n_elems; i++) largest = fmax(largest, fabs(want[at + i]));
        assert_true(largest > 0);
        for (int64_t i = 0; i < info.n_elems; i++)
            if (!(fabs(got[at + i] - want[at + i]) <= 1e-5 * largest))
                fail_msg("%s: the gradient of %s at %lld is %.9g, wanted %.9g, the largest is %.3g (ESKER_TEST_SEED=%llu)",
                         what, info.name, (long long)i, (double)got[at + i], want[at + i], largest,
                         (unsigned long long)test_seed());
        at += info.n_elems;
    }
}

static void the_order_of_samples_does_not_matter(void **state)
{
    test_device();
    esker_model *net = load(*state);
    batch b = random_batch(), c = b;
    for (int i = 0; i < BATCH; i++) {
        int from = (5 * i + 3) % BATCH;
        memcpy(c.images[i], b.images[from], PIXELS);
        c.labels[i] = b.labels[from];
    }
    outcome one = run(net, &b, &(esker_plan_desc){0}, 1), two = run(net, &c, &(esker_plan_desc){0}, 1);
    double *want = malloc((size_t)one.n * sizeof *want);
    assert_non_null(want);
    for (int64_t i = 0; i < one.n; i++) want[i] = one.gradients[i];
    assert_true(fabsf(one.loss - two.loss) <= 1e-6f * one.loss);
    compare_gradients(net, two.gradients, want, "samples in another order");
    /* The check can fail: another label is another gradient. */
    b.labels[0] = (b.labels[0] + 1) % 10;
    outcome other = run(net, &b, &(esker_plan_desc){0}, 1);
    assert_memory_not_equal(other.gradients, one.gradients, (size_t)one.n * sizeof(float));
    free(want);
    outcome_finish(&one);
    outcome_finish(&two);
    outcome_finish(&other);
    esker_model_destroy(net);
}

static void small_batches_make_a_large_one(void **state)
{
    enum { SMALL = 2, N = BATCH / SMALL };
    test_device();
    esker_model *net = load(*state);
    batch b = random_batch();
    outcome large = run(net, &b, &(esker_plan_desc){0}, 1);
    double *mean = calloc((size_t)large.n, sizeof *mean), loss = 0;
    assert_non_null(mean);
    for (int k = 0; k < N; k++) {
        batch part = {.n = SMALL};
        memcpy(part.images, b.images[k * SMALL], sizeof part.images[0] * SMALL);
        memcpy(part.labels, b.labels + k * SMALL, sizeof part.labels[0] * SMALL);
        outcome small = run(net, &part, &(esker_plan_desc){0}, 1);
        for (int64_t i = 0; i < large.n; i++) mean[i] += (double)small.gradients[i] / N;
        loss += (double)small.loss / N;
        outcome_finish(&small);
    }
    assert_true(fabs(large.loss - loss) <= 1e-6 * loss);
    compare_gradients(net, large.gradients, mean, "one large batch");
    free(mean);
    outcome_finish(&large);
    esker_model_destroy(net);
}

static void assert_same_bits(const outcome *a, const outcome *b)
{
    assert_memory_equal(&a->loss, &b->loss, sizeof a->loss);
    assert_memory_equal(a->gradients, b->gradients, (size_t)a->n * sizeof(float));
    assert_memory_equal(a->values, b->values, (size_t)a->n * sizeof(float));
}

/* Cutting dispatches changes no bit; fusing them may add up in another order. */
static void compiling_otherwise_changes_nothing(void **state)
{
    static const esker_plan_desc cut = {.slice_seconds = 1e-3, .flops_per_second = 3e8, .bytes_per_second = 3e8};
    test_device();
    esker_model *net = load(*state);
    batch b = random_batch();
    outcome fused = {0};
    for (int no_fusion = 0; no_fusion < 2; no_fusion++) {
        esker_plan_desc pieces = cut;
        pieces.no_fusion = no_fusion;
        outcome whole = run(net, &b, &(esker_plan_desc){.slice_seconds = -1, .no_fusion = no_fusion}, 2);
        outcome sliced = run(net, &b, &pieces, 2);
        print_message("%s%s: %d dispatches, cut %d\n", (const char *)*state, no_fusion ? ", not fused" : "",
                      whole.n_dispatches, sliced.n_dispatches);
        assert_true(sliced.n_dispatches > whole.n_dispatches);
        assert_same_bits(&sliced, &whole);
        outcome_finish(&sliced);
        if (!no_fusion) {
            fused = whole;
            continue;
        }
        assert_true(whole.n_dispatches > fused.n_dispatches);
        assert_true(fabs(fused.loss - whole.loss) <= 1e-6 * fabs(whole.loss));
        double *want = calloc((size_t)whole.n, sizeof *want);
        assert_non_null(want);
        for (int64_t i = 0; i < whole.n; i++) want[i] = (double)whole.gradients[i];
        compare_gradients(net, fused.gradients, want, "fused");
        for (int64_t i = 0; i < whole.n; i++)
            assert_true(fabsf(fused.values[i] - whole.values[i]) <= 1e-6f * (1 + fabsf(whole.values[i])));
        free(want);
        outcome_finish(&whole);
    }
    outcome_finish(&fused);
    esker_model_destroy(net);
}

/* ---- Linearity: the gradients of sum(y u) for u, v, and 2 u - 3 v ---- */

enum { ROWS = 9, COLUMNS = 65 };

static esker_node *some_function(esker_node *x, esker_node *w)
{
    esker_node *y = esker_matmul(esker_tanh(x), w, NULL);
    y = esker_mul(esker_softmax(y, 1), esker_sigmoid(esker_sub(y, esker_mean(y, (int[]){0}, 1, true))));
    return esker_layer_norm(esker_add(y, esker_exp(esker_affine(x, 0.1f, 0))), 1, NULL, NULL, 0);
}

static void gradients_are_linear_in_what_flows_in(void **state)
{
    (void)state;
    const esker_shape shape = {2, {ROWS, COLUMNS}}, square = {2, {COLUMNS, COLUMNS}};
    static float x[ROWS * COLUMNS], w[COLUMNS * COLUMNS], u[3][ROWS * COLUMNS], gx[3][ROWS * COLUMNS],
        gw[3][COLUMNS * COLUMNS];
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in[] = {esker_input(graph, "x", ESKER_DTYPE_F32, &shape),
                        esker_input(graph, "w", ESKER_DTYPE_F32, &square)};
    esker_node *flow = esker_input(graph, "u", ESKER_DTYPE_F32, &shape), *grads[2];
    esker_node *loss = esker_sum(esker_mul(some_function(in[0], in[1]), flow), NULL, 0, false);
    assert_ok(esker_gradients(loss, in, 2, grads));
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = grads, .n_outputs = 2}, &plan));
    test_uniform(x, ROWS * COLUMNS, -1, 1, 1);
    test_uniform(w, COLUMNS * COLUMNS, -0.3f, 0.3f, 2);
    test_uniform(u[0], ROWS * COLUMNS, -1, 1, 3);
    test_uniform(u[1], ROWS * COLUMNS, -1, 1, 4);
    for (int i = 0; i < ROWS * COLUMNS; i++) u[2][i] = 2 * u[0][i] - 3 * u[1][i];
    for (int k = 0; k < 3; k++) {
        uint64_t ticket;
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, sizeof x));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "w"), w, sizeof w));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "u"), u[k], sizeof u[k]));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, gx[k], sizeof gx[k]));
        assert_ok(esker_plan_read(plan, ticket, 1, gw[k], sizeof gw[k]));
    }
    for (int which = 0; which < 2; which++) {
        int n = which ? COLUMNS * COLUMNS : ROWS * COLUMNS;
        const float *g[3] = {which ? gw[0] : gx[0], which ? gw[1] : gx[1], which ? gw[2] : gx[2]};
        double largest = 0;
        for (int i = 0; i < n; i++) largest = fmax(largest, fmax(fabs(2.0 * g[0][i]), fabs(3.0 * g[1][i])));
        assert_true(largest > 0);
        for (int i = 0; i < n; i++) {
            double want = 2.0 * g[0][i] - 3.0 * g[1][i];
            if (!(fabs(g[2][i] - want) <= 2e-6 * largest))
                fail_msg("the gradient of %s at %d is %.9g, wanted %.9g", which ? "w" : "x", i, (double)g[2][i], want);
        }
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    static const struct property {
        const char *name;
        CMUnitTestFunction test;
    } properties[] = {
        {"order of samples", the_order_of_samples_does_not_matter},
        {"small batches", small_batches_make_a_large_one},
        {"compiled otherwise", compiling_otherwise_changes_nothing},
    };
    enum { N_MODELS = sizeof models / sizeof *models, N_PROPERTIES = sizeof properties / sizeof *properties };
    char names[N_MODELS * N_PROPERTIES][64];
    struct CMUnitTest tests[N_MODELS * N_PROPERTIES + 1] = {cmocka_unit_test(gradients_are_linear_in_what_flows_in)};
    int n = 1;
    for (int m = 0; m < N_MODELS; m++)
        for (int p = 0; p < N_PROPERTIES; p++, n++) {
            snprintf(names[n - 1], sizeof names[0], "%s: %s", models[m], properties[p].name);
            tests[n] = (struct CMUnitTest){names[n - 1], properties[p].test, NULL, NULL, (void *)(uintptr_t)models[m]};
        }
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
