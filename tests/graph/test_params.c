/* Parameter sets without a device: sharing, layout, starting values, reading and writing, references from threads. */
#include "support/test.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include <esker/ops.h>
#include "graph/graph.h"
#include "graph/params.h"

static esker_graph *new_graph(esker_params *params)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(params, &graph));
    return graph;
}

static void a_name_is_one_parameter(void **state)
{
    (void)state;
    esker_graph *graph = new_graph(NULL);
    esker_params *params = esker_graph_get_params(graph);
    esker_param_desc w = {.name = "w", .shape = {2, {3, 4}}}, b = {.name = "b", .shape = {1, {3}}, .frozen = true};
    esker_node *first = esker_parameter(graph, &w), *second = esker_parameter(graph, &w);
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_string_equal(first->label, "w");
    assert_non_null(esker_parameter(graph, &b));
    assert_int_equal(esker_params_count(params), 2);
    assert_int_equal(esker_params_elems(params), 15);
    assert_int_equal(esker_params_find(params, "b"), 1);
    assert_int_equal(esker_params_find(params, "c"), -1);
    esker_param_info info;
    assert_ok(esker_params_get_info(params, 1, &info));
    assert_string_equal(info.name, "b");
    assert_int_equal(info.n_elems, 3);
    assert_true(info.frozen);
    assert_fails(esker_params_get_info(params, 2, &info), ESKER_ERR_INVALID, "parameter 2: there are 2");
    assert_fails(esker_params_get_info(params, -1, &info), ESKER_ERR_INVALID, "parameter -1");

    /* Another graph of the set finds it, and the set outlives the first graph. */
    esker_graph *other = new_graph(params);
    esker_graph_destroy(graph);
    assert_int_equal(((esker__parameter_attr *)esker_parameter(other, &w)->attr)->index, 0);
    assert_int_equal(esker_params_count(params), 2);
    esker_param_desc wrong = {.name = "w", .shape = {2, {4, 3}}};
    assert_null(esker_parameter(other, &wrong));
    assert_fails(esker_graph_status(other), ESKER_ERR_INVALID, "parameter w: has shape [3, 4] already, [4, 3] was asked");
    esker_graph_destroy(other);
}

static void bad_starts_are_refused(void **state)
{
    (void)state;
    static const struct {
        esker_init init;
        const char *part;
    } rows[] = {
        {{.kind = ESKER_INIT_CONSTANT, .value = NAN}, "parameter w: init value is not a finite number"},
        {{.kind = ESKER_INIT_UNIFORM, .value = INFINITY}, "not a finite number"},
        {{.kind = ESKER_INIT_UNIFORM, .value = -0.5f}, "parameter w: init value -0.5"},
        {{.kind = ESKER_INIT_NORMAL, .value = -1}, "init value -1"},
        {{.kind = (esker_init_kind)8}, "unknown init kind 8"},
        {{.kind = ESKER_INIT_HE_NORMAL, .fan_in = -3}, "fan_in -3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_graph *graph = new_graph(NULL);
        assert_null(esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {1, {4}}, .init = rows[i].init}));
        assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, rows[i].part);
        assert_int_equal(esker_params_count(esker_graph_get_params(graph)), 0);
        esker_graph_destroy(graph);
    }
    esker_graph *graph = new_graph(NULL);
    const esker_shape huge = {1, {INT64_C(1) << 48}};
    assert_non_null(esker_parameter(graph, &(esker_param_desc){.name = "a", .shape = huge}));
    assert_null(esker_parameter(graph, &(esker_param_desc){.name = "b", .shape = {1, {1}}}));
    assert_fails(esker_graph_status(graph), ESKER_ERR_LIMIT, "parameter b: 1 elements");
    esker_graph_destroy(graph);
}

static void the_layout_is_aligned_and_final(void **state)
{
    (void)state;
    esker_graph *graph = new_graph(NULL);
    esker_params *params = esker_graph_get_params(graph);
    static const struct {
        const char *name;
        int64_t n;
        bool frozen;
        uint64_t offset;
    } rows[] = {
        {"a", 65, false, 0}, {"b", 1, true, 320}, {"c", 64, false, 128}, {"d", 100, false, 192}, {"e", 64, true, 384}};
    for (int i = 0; i < 5; i++)
        esker_parameter(graph,
                        &(esker_param_desc){.name = rows[i].name, .shape = {1, {rows[i].n}}, .frozen = rows[i].frozen});
    assert_ok(esker_graph_status(graph));
    esker__params_fix(params);
    for (int i = 0; i < 5; i++) assert_int_equal(params->list[i].offset, rows[i].offset);
    assert_int_equal(params->trained_elems, 320);
    assert_int_equal(params->total_elems, 448);
    assert_non_null(esker_parameter(graph, &(esker_param_desc){.name = "c", .shape = {1, {64}}})); /* known: still shared */
    assert_null(esker_parameter(graph, &(esker_param_desc){.name = "f", .shape = {1, {1}}}));
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID,
                 "parameter f: cannot be added, the layout of 5 parameters is in use");
    esker_graph_destroy(graph);
}

/* ---- Starting values ---- */

static const struct start_row {
    const char *name;
    esker_shape shape;
    esker_init init;
    double bound;     /* uniform in [-bound, bound); 0 else */
    double deviation; /* of either kind; 0: every value is `value` */
} starts[] = {
    {"zeros", {2, {100, 200}}, {ESKER_INIT_ZEROS, .value = 5}, 0, 0},
    {"constant", {1, {129}}, {ESKER_INIT_CONSTANT, .value = -2.5f}, 0, 0},
    {"uniform", {2, {100, 200}}, {ESKER_INIT_UNIFORM, .value = 0.25f}, 0.25, 0.25 / 1.7320508},
    {"normal", {2, {100, 200}}, {ESKER_INIT_NORMAL, .value = 3}, 0, 3},
    {"he uniform", {2, {100, 200}}, {ESKER_INIT_HE_UNIFORM}, 0.17320508, 0.1},
    {"he normal", {2, {100, 200}}, {ESKER_INIT_HE_NORMAL}, 0, 0.1},
    {"he of a filter", {4, {16, 50, 3, 3}}, {ESKER_INIT_HE_NORMAL}, 0, 0.0666666667},
    {"he of a given fan", {2, {100, 200}}, {ESKER_INIT_HE_NORMAL, .fan_in = 8}, 0, 0.5},
    {"xavier uniform", {2, {100, 200}}, {ESKER_INIT_XAVIER_UNIFORM}, 0.14142136, 0.08164966},
    {"xavier normal", {2, {100, 200}}, {ESKER_INIT_XAVIER_NORMAL}, 0, 0.08164966},
    {"xavier of a filter", {4, {16, 50, 3, 3}}, {ESKER_INIT_XAVIER_NORMAL}, 0, 0.0580258853},
    {"xavier of given fans", {2, {100, 200}}, {ESKER_INIT_XAVIER_NORMAL, .fan_in = 1, .fan_out = 7}, 0, 0.5},
};

static void starts_have_their_spread(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof starts / sizeof starts[0]; r++) {
        const struct start_row *row = &starts[r];
        esker_graph *graph = new_graph(NULL);
        esker_params *params = esker_graph_get_params(graph);
        esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = row->shape, .init = row->init});
        assert_ok(esker_params_init_values(params, test_seed()));
        int64_t n = esker_params_elems(params);
        float *w = malloc((size_t)n * sizeof *w);
        assert_ok(esker_params_read(params, 0, w, n));
        double sum = 0, squares = 0, least = INFINITY, most = -INFINITY;
        for (int64_t i = 0; i < n; i++) {
            sum += w[i];
            squares += (double)w[i] * w[i];
            least = fmin(least, w[i]);
            most = fmax(most, w[i]);
        }
        double mean = sum / (double)n, deviation = sqrt(squares / (double)n - mean * mean);
        /* Six standard errors: of the mean, and of the deviation (less for uniform values). */
        bool good = row->deviation == 0
                        ? least == most && least == (row->init.kind == ESKER_INIT_ZEROS ? 0 : row->init.value)
                        : fabs(mean) < 6 * row->deviation / sqrt((double)n) &&
                              fabs(deviation - row->deviation) < 6 * row->deviation / sqrt(2.0 * (double)n);
        if (row->bound > 0)
            good = good && most < row->bound * (1 + 1e-6) && least >= -row->bound * (1 + 1e-6) &&
                   most > row->bound * 0.99 && least < -row->bound * 0.99;
        else if (row->deviation > 0)
            good = good && most > 3 * row->deviation && most < 7 * row->deviation;
        if (!good)
            fail_msg("%s: mean %g, deviation %g, from %g to %g (ESKER_TEST_SEED=%llu)", row->name, mean, deviation, least,
                     most, (unsigned long long)test_seed());
        free(w);
        esker_graph_destroy(graph);
    }
}

/* Values of the parameter `name` in a set that was made with `names` in this order. */
static void start(const char *const names[2], uint64_t seed, const char *name, float out[32])
{
    esker_graph *graph = new_graph(NULL);
    esker_params *params = esker_graph_get_params(graph);
    for (int i = 0; i < 2; i++)
        esker_parameter(
            graph, &(esker_param_desc){.name = names[i], .shape = {2, {4, 8}}, .init = {.kind = ESKER_INIT_HE_NORMAL}});
    assert_ok(esker_params_init_values(params, seed));
    assert_ok(esker_params_read(params, esker_params_find(params, name), out, 32));
    esker_graph_destroy(graph);
}

static void starts_depend_on_seed_and_order(void **state)
{
    (void)state;
    static const char *const ab[] = {"a", "b"}, *const ba[] = {"b", "a"};
    float first[32], again[32], seeded[32], second[32], swapped[32];
    start(ab, 1, "a", first);
    start(ab, 1, "a", again);
    start(ab, (UINT64_C(1) << 32) + 1, "a", seeded); /* both halves of the seed count */
    start(ab, 1, "b", second);
    start(ba, 1, "b", swapped);
    assert_memory_equal(first, again, sizeof first);
    assert_true(memcmp(first, seeded, sizeof first) != 0);
    assert_true(memcmp(first, second, sizeof first) != 0);
    assert_memory_equal(first, swapped, sizeof first); /* the first in the set, whatever its name */
}

static void values_without_a_device(void **state)
{
    (void)state;
    esker_graph *graph = new_graph(NULL);
    esker_params *params = esker_graph_get_params(graph);
    esker_parameter(graph, &(esker_param_desc){.name = "a", .shape = {1, {3}}, .init = {ESKER_INIT_CONSTANT, .value = 2}});
    esker_parameter(graph, &(esker_param_desc){.name = "b", .shape = {1, {65}}, .init = {ESKER_INIT_NORMAL, .value = 1}});
    float a[3], b[65], zero_seed[65];
    const float values[3] = {7, 8, 9};
    /* Chosen with seed 0 when first asked for. */
    assert_ok(esker_params_read(params, 1, b, 65));
    assert_ok(esker_params_init_values(params, 0));
    assert_ok(esker_params_read(params, 1, zero_seed, 65));
    assert_memory_equal(b, zero_seed, sizeof b);
    assert_ok(esker_params_write(params, 0, values, 3));
    assert_ok(esker_params_read(params, 0, a, 3));
    assert_memory_equal(a, values, sizeof a);
    assert_ok(esker_params_read(params, 1, b, 65));
    assert_memory_equal(b, zero_seed, sizeof b);
    assert_fails(esker_params_write(params, 0, values, 2), ESKER_ERR_INVALID, "parameter a: has 3 elements, 2 were asked");
    assert_fails(esker_params_read(params, 1, b, 66), ESKER_ERR_INVALID, "parameter b: has 65 elements, 66 were asked");
    assert_fails(esker_params_read(params, 2, b, 65), ESKER_ERR_INVALID, "parameter 2: there are 2");
    assert_fails(esker_params_read_gradient(params, 0, a, 3), ESKER_ERR_INVALID,
                 "parameter a: no gradient was kept; keep_gradients");
    assert_ok(esker_params_init_values(params, 0));
    assert_ok(esker_params_read(params, 0, a, 3));
    assert_true(a[0] == 2 && a[2] == 2);
    esker_graph_destroy(graph);

    /* A set without parameters has nothing to choose. */
    esker_params *none;
    assert_ok(esker_params_create(&none));
    assert_ok(esker_params_init_values(none, 1));
    assert_int_equal(esker_params_elems(none), 0);
    esker_params_unref(none);
    esker_params_unref(NULL);
    assert_null(esker_params_ref(NULL));
}

static void what_nobody_writes_is_drawn(void **state)
{
    (void)state;
    float drawn[3][32], values[32], got[32];
    for (int i = 0; i < 32; i++) values[i] = (float)i;
    for (int mode = 0; mode < 3; mode++) {
        esker_graph *graph = new_graph(NULL);
        esker_params *params = esker_graph_get_params(graph);
        for (int i = 0; i < 3; i++)
            esker_parameter(graph, &(esker_param_desc){.name = (char[2]){(char)('a' + i)},
                                                       .shape = {1, {32}},
                                                       .init = {.kind = ESKER_INIT_UNIFORM, .value = 1}});
        float *image;
        switch (mode) {
        case 0: /* none is written */
            for (int i = 0; i < 3; i++) assert_ok(esker_params_read(params, i, drawn[i], 32));
            break;
        case 1: /* one is, before and after the others were drawn */
            assert_ok(esker_params_write(params, 1, values, 32));
            for (int i = 0; i < 3; i++) {
                assert_ok(esker_params_read(params, i, got, 32));
                assert_memory_equal(got, i == 1 ? values : drawn[i], sizeof got);
            }
            assert_ok(esker_params_write(params, 0, values, 32));
            assert_ok(esker_params_read(params, 0, got, 32));
            assert_memory_equal(got, values, sizeof got);
            break;
        case 2: /* all are, in one piece; until then a parameter may be added */
            assert_ok(esker__params_get_image(params, &image));
            assert_false(params->fixed);
            for (int i = 0; i < 3; i++) memcpy(image + params->list[i].offset, drawn[2 - i], sizeof drawn[0]);
            assert_ok(esker__params_set_image(params, image));
            assert_true(params->fixed);
            for (int i = 0; i < 3; i++) {
                assert_ok(esker_params_read(params, i, got, 32));
                assert_memory_equal(got, drawn[2 - i], sizeof got);
            }
            break;
        }
        esker_graph_destroy(graph);
    }
}

#define N_THREADS 4
#define N_REFS    4000

static void *take_references(void *params)
{
    for (int i = 0; i < N_REFS; i++) {
        esker_params_ref(params);
        if (i % 4) esker_params_unref(params);
    }
    return NULL;
}

static void references_count_from_any_thread(void **state)
{
    (void)state;
    esker_params *params;
    pthread_t threads[N_THREADS];
    assert_ok(esker_params_create(&params));
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, take_references, params), 0);
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&params->n_references), 1 + N_THREADS * N_REFS / 4);
    for (int i = 0; i < N_THREADS * N_REFS / 4; i++) esker_params_unref(params);
    assert_int_equal(esker_params_count(params), 0);
    esker_params_unref(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_one_parameter),         cmocka_unit_test(bad_starts_are_refused),
        cmocka_unit_test(the_layout_is_aligned_and_final), cmocka_unit_test(starts_have_their_spread),
        cmocka_unit_test(starts_depend_on_seed_and_order), cmocka_unit_test(values_without_a_device),
        cmocka_unit_test(what_nobody_writes_is_drawn),     cmocka_unit_test(references_count_from_any_thread),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
