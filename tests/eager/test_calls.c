/* device test: calls on tensors: the bits of graphs, one plan for what nobody reads in between, and values that the host makes and changes. */
#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "programs.h"
#include "support/calls.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- Results ---- */

static const esker_shape x_shape = {2, {6, 20}}, w_shape = {2, {20, 9}}, b_shape = {1, {9}}, labels_shape = {1, {6}};

static void eager_results_are_those_of_graphs_to_the_bit(void **state)
{
    (void)state;
    const char *names[4] = {"x", "w", "b", "labels"};
    const esker_shape *shapes[4] = {&x_shape, &w_shape, &b_shape, &labels_shape};
    float data[3][180];
    const int32_t labels[6] = {3, 0, 8, -1, 2, 2};
    esker_graph *graph;
    esker_plan *plan;
    esker_node *in[4], *out[MIXTURE_OUTPUTS];
    esker_tensor *tensors[4], *results[MIXTURE_OUTPUTS];
    uint64_t ticket;
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < 4; i++) {
        if (i < 3) test_uniform(data[i], 180, -2, 2, (uint64_t)i);
        in[i] = esker_input(graph, names[i], i == 3 ? ESKER_DTYPE_I32 : ESKER_DTYPE_F32, shapes[i]);
    }
    graph_mixture(in, out);
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = out, .n_outputs = MIXTURE_OUTPUTS}, &plan));
    assert_ok(esker_scope_open(test_device()));
    for (int i = 0; i < 4; i++) {
        const void *given = i == 3 ? (const void *)labels : data[i];
        int64_t n;
        assert_ok(esker_shape_elems(shapes[i], &n));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, names[i]), given, (size_t)n * 4));
        tensors[i] = test_tensor(i == 3 ? ESKER_DTYPE_I32 : ESKER_DTYPE_F32, shapes[i], given);
    }
    assert_ok(esker_plan_submit(plan, &ticket));
    for (int read_first = 0; read_first < 2; read_first++) { /* all at once, and in the middle of the program */
        eager_mixture(tensors, results);
        if (read_first) assert_ok(esker_eager_flush(test_device()));
        for (int i = 0; i < MIXTURE_OUTPUTS; i++) {
            uint32_t want[400], got[400];
            esker_tensor_info info;
            assert_non_null(results[i]);
            esker_tensor_get_info(results[i], &info);
            assert_true(esker_shape_equal(&info.shape, esker_node_get_shape(out[i])));
            assert_true(info.dtype == esker_node_get_dtype(out[i]));
            assert_ok(esker_plan_read(plan, ticket, i, want, info.n_bytes));
            assert_ok(esker_tensor_read(results[i], 0, ESKER_TENSOR_REST, got));
            if (memcmp(got, want, info.n_bytes)) fail_msg("output %d differs", i);
        }
    }
    assert_ok(esker_scope_close(test_device()));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void what_nobody_reads_in_between_is_one_plan(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float got[2][120];
    esker_counters before, after;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = test_uniform_tensor(&x_shape, 1), *y = test_uniform_tensor(&x_shape, 2);
    test_read_floats(eager_chain(x, y), got[0]);
    esker_eager_counters plans = test_eager_counters();
    esker_device_get_counters(dev, &before);
    esker_tensor *result = eager_chain(x, y);
    esker_device_get_counters(dev, &after);
    assert_true(after.dispatches == before.dispatches); /* nothing runs until somebody reads */
    assert_int_equal(test_eager_counters().n_pending - plans.n_pending, 20);
    assert_ok(esker_scope_open(dev));
    esker_tensor_ref(result);
    assert_ok(esker_scope_close(dev));
    test_read_floats(result, got[1]);
    esker_tensor_unref(result);
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    assert_int_equal(test_eager_counters().hits + test_eager_counters().misses, plans.hits + plans.misses + 1);
    assert_ok(esker_scope_close(dev));
}

/* The same computation, with other tensors and other names for what is the same: no compile. */
static void a_structure_that_repeats_is_compiled_once(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_eager_counters first = test_eager_counters();
    esker_counters before, after;
    double sum = 0;
    for (int step = 0; step < 20; step++) {
        assert_ok(esker_scope_open(dev));
        esker_tensor *unused = test_uniform_tensor(&b_shape, 5);
        if (step % 3 == 0) esker_tensor_exp(unused); /* wanted by nobody once the scope below is closed */
        assert_ok(esker_scope_open(dev));
        esker_tensor *x = test_uniform_tensor(&x_shape, (uint64_t)step);
        if (step % 2) esker_tensor_unref(esker_tensor_ref(x));
        esker_tensor *y = esker_tensor_ref(esker_tensor_mean(
            esker_tensor_mul(esker_tensor_scalar(dev, (float)step), esker_tensor_relu(x)), NULL, 0, false));
        assert_ok(esker_scope_close(dev));
        assert_ok(esker_scope_close(dev));
        if (step == 0) esker_device_get_counters(dev, &before);
        sum += test_item(y);
        esker_tensor_unref(y);
    }
    esker_device_get_counters(dev, &after);
    esker_eager_counters last = test_eager_counters();
    assert_true(sum > 0);
    assert_int_equal(last.misses - first.misses, 1);
    assert_int_equal(last.hits - first.hits, 19);
    assert_true(after.compiles == before.compiles);
}

static void the_cache_is_bounded_and_the_least_recently_used_goes(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    int most = test_eager_counters().max_plans;
    assert_ok(esker_eager_set_max_plans(dev, 2));
    assert_true(test_eager_counters().n_plans <= 2);
    assert_ok(esker_scope_open(dev));
    const int64_t sizes[] = {3, 4, 3, 5, 3, 4}; /* 5 drives 4 out, not 3 */
    esker_eager_counters start = test_eager_counters();
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        float out[8];
        test_read_floats(esker_tensor_cos(test_uniform_tensor(&(esker_shape){1, {sizes[i]}}, i)), out);
    }
    esker_eager_counters end = test_eager_counters();
    assert_int_equal(end.hits - start.hits, 2);
    assert_int_equal(end.misses - start.misses, 4);
    assert_int_equal(end.n_plans, 2);
    assert_true(end.evictions > start.evictions);
    assert_fails(esker_eager_set_max_plans(dev, 0), ESKER_ERR_INVALID, "at most 0 plans");
    assert_ok(esker_scope_close(dev));
    assert_ok(esker_eager_set_max_plans(dev, most));
}

static void random_numbers_differ_between_calls_and_repeat_with_the_seed(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    enum { N = 64 };
    float got[2][4][N], want[N];
    const esker_shape shape = {1, {N}};
    assert_ok(esker_scope_open(dev));
    for (int round = 0; round < 2; round++) {
        assert_ok(esker_eager_set_seed(dev, 42));
        esker_tensor *a = esker_tensor_random_uniform(dev, &shape, 0, 1),
                     *b = esker_tensor_random_uniform(dev, &shape, 0, 1);
        test_read_floats(a, got[round][0]);
        test_read_floats(b, got[round][1]);
        esker_eager_counters before = test_eager_counters();
        test_read_floats(esker_tensor_random_uniform(dev, &shape, 0, 1), got[round][2]);
        test_read_floats(esker_tensor_random_uniform(dev, &shape, 0, 1), got[round][3]);
        if (round) assert_int_equal(test_eager_counters().misses, before.misses);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) assert_memory_not_equal(got[0][i], got[0][j], sizeof want);
    /* The first draws are those of step 0 of a plan with this seed. */
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_random_uniform(graph, &shape, 0, 1);
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1, .seed = 42}, &plan));
    assert_ok(esker_plan_run(plan));
    assert_ok(esker_plan_read(plan, 0, 0, want, sizeof want));
    assert_memory_equal(got[0][0], want, sizeof want);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    assert_ok(esker_scope_close(dev));
}

/* ---- Making and changing ---- */

static void tensors_are_made_from_numbers(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float got[12];
    assert_ok(esker_scope_open(dev));
    test_read_floats(esker_tensor_zeros(dev, &(esker_shape){2, {3, 4}}), got);
    for (int i = 0; i < 12; i++) assert_true(got[i] == 0);
    test_read_floats(esker_tensor_ones(dev, &(esker_shape){1, {5}}), got);
    for (int i = 0; i < 5; i++) assert_true(got[i] == 1);
    assert_true(test_item(esker_tensor_full(dev, NULL, 2.5f)) == 2.5);
    assert_true(test_item(esker_tensor_scalar(dev, -3)) == -3);
    test_read_floats(esker_tensor_arange(dev, 1, 2, 0.25), got);
    for (int i = 0; i < 4; i++) assert_true(got[i] == 1 + 0.25f * (float)i);
    test_read_floats(esker_tensor_arange(dev, 3, 0, -1), got);
    for (int i = 0; i < 3; i++) assert_true(got[i] == (float)(3 - i));
    test_read_floats(esker_tensor_linspace(dev, 0, 1, 11), got);
    for (int i = 0; i < 11; i++) assert_true(got[i] == (float)(i * 0.1));
    assert_null(esker_tensor_arange(dev, 0, 1, -1));
    assert_non_null(strstr(esker_last_error(), "from 0 to 1 in steps of -1"));
    assert_null(esker_tensor_linspace(dev, 0, 1, 0));
    assert_null(esker_tensor_zeros(dev, &(esker_shape){1, {0}}));
    assert_null(esker_tensor_from_data(dev, (esker_dtype)77, NULL, got));
    assert_null(esker_tensor_zeros(NULL, NULL));
    assert_ok(esker_scope_close(dev));
}

static void elements_are_read_and_set_on_the_host(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const esker_shape shape = {2, {2, 3}};
    const uint8_t bytes[6] = {1, 2, 3, 4, 5, 6};
    double value;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = test_uniform_tensor(&shape, 1), *u = test_tensor(ESKER_DTYPE_U8, &shape, bytes);
    assert_ok(esker_tensor_set(x, (int64_t[]){1, -1}, 7.5));
    assert_ok(esker_tensor_at(x, (int64_t[]){-1, 2}, &value));
    assert_true(value == 7.5);
    assert_ok(esker_tensor_set(u, (int64_t[]){0, 1}, 200.4));
    assert_ok(esker_tensor_at(u, (int64_t[]){0, 1}, &value));
    assert_true(value == 200);
    assert_fails(esker_tensor_set(u, (int64_t[]){0, 1}, 256), ESKER_ERR_INVALID, "256 is no uint8");
    assert_fails(esker_tensor_at(x, (int64_t[]){2, 0}, &value), ESKER_ERR_INVALID, "index 2 on axis 0 of [2, 3]");
    assert_fails(esker_tensor_item(x, &value), ESKER_ERR_INVALID, "not one element");
    /* A result, too; and what was recorded before the change sees the value before. */
    esker_tensor *y = esker_tensor_square(x);
    assert_ok(esker_tensor_set(x, (int64_t[]){1, 2}, 1));
    assert_ok(esker_tensor_at(y, (int64_t[]){1, 2}, &value));
    assert_true(value == 56.25);
    assert_ok(esker_tensor_set(y, (int64_t[]){0, 0}, 4));
    assert_true(
        test_item(esker_tensor_sum(esker_tensor_slice(y, (esker_range[]){{0, 1, 1}, {0, 1, 1}}, 2), NULL, 0, false)) == 4);
    assert_ok(esker_scope_close(dev));
}

static void rows_share_memory(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float values[35], got[35];
    double value;
    assert_ok(esker_scope_open(dev));
    test_uniform(values, 35, -1, 1, 1);
    esker_tensor *x = test_tensor(ESKER_DTYPE_F32, &(esker_shape){2, {5, 7}}, values), *rows = esker_tensor_rows(x, 1, 3);
    test_read_floats(rows, got);
    assert_memory_equal(got, values + 7, 21 * sizeof *got);
    assert_ok(esker_tensor_set(rows, (int64_t[]){0, 0}, 9));
    assert_ok(esker_tensor_at(x, (int64_t[]){1, 0}, &value));
    assert_true(value == 9);
    esker_tensor *inner = esker_tensor_rows(rows, 1, 1);
    assert_ok(esker_tensor_set(x, (int64_t[]){2, 3}, -8));
    assert_ok(esker_tensor_at(inner, (int64_t[]){0, 3}, &value));
    assert_true(value == -8);
    assert_true(test_item(esker_tensor_min(inner, NULL, 0, false)) == -8); /* and in calls */
    /* Of a tensor that is pending, and that is assigned to. */
    esker_tensor *y = esker_tensor_neg(x), *last = esker_tensor_rows(y, 4, 1);
    test_read_floats(last, got);
    for (int i = 0; i < 7; i++) assert_true(got[i] == -values[28 + i]);
    assert_ok(esker_tensor_assign(y, esker_tensor_affine(y, 2, 0)));
    test_read_floats(esker_tensor_neg(last), got);
    for (int i = 0; i < 7; i++) assert_true(got[i] == 2 * values[28 + i]);
    assert_null(esker_tensor_rows(x, 3, 3));
    assert_non_null(strstr(esker_last_error(), "3 from row 3 on, of [5, 7]"));
    assert_ok(esker_scope_close(dev));
}

static void assigning_changes_what_comes_later(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *w = esker_tensor_scalar(dev, 1);
    assert_ok(esker_scope_open(dev));
    esker_tensor *before = esker_tensor_affine(w, 10, 0);
    assert_ok(esker_tensor_assign(w, esker_tensor_affine(w, 2, 0)));
    esker_tensor *middle = esker_tensor_affine(w, 10, 0);
    assert_ok(esker_tensor_assign(w, esker_tensor_affine(w, 2, 0)));
    assert_true(test_item(w) == 4 && test_item(before) == 10 && test_item(middle) == 20);
    assert_ok(esker_tensor_assign(w, esker_tensor_affine(w, 2, 0)));
    assert_ok(esker_scope_close(dev));
    assert_true(test_item(w) == 8);
    /* A plan that has it bound sees what it is by then. */
    esker_graph *graph;
    esker_plan *plan;
    float got;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_neg(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){0}));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_bind_input(plan, 0, w));
    for (int i = 0; i < 3; i++) {
        esker_tensor *next = esker_tensor_affine(w, 1, 1);
        assert_ok(esker_tensor_assign(w, next));
        esker_tensor_unref(next);
        uint64_t ticket;
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, &got, sizeof got));
        assert_true(got == (float)-(9 + i));
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    esker_tensor *wide = esker_tensor_zeros(dev, &(esker_shape){1, {2}});
    assert_fails(esker_tensor_assign(w, wide), ESKER_ERR_INVALID, "float32 [2] to float32 []");
    esker_tensor_unref(wide);
    esker_tensor_unref(w);
}

static void comparisons_on_the_host(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float a[3] = {1, 2, INFINITY}, b[3] = {1, 2.0001f, INFINITY}, c[3] = {1, NAN, INFINITY};
    const esker_shape shape = {1, {3}};
    bool same;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = test_tensor(ESKER_DTYPE_F32, &shape, a), *y = test_tensor(ESKER_DTYPE_F32, &shape, b),
                 *z = test_tensor(ESKER_DTYPE_F32, &shape, c);
    assert_ok(esker_tensor_array_equal(x, esker_tensor_clone(x), &same));
    assert_true(same);
    assert_ok(esker_tensor_array_equal(x, y, &same));
    assert_false(same);
    assert_ok(esker_tensor_all_close(x, y, 1e-4, 0, &same));
    assert_true(same);
    assert_ok(esker_tensor_all_close(x, y, 1e-5, 0, &same));
    assert_false(same);
    assert_ok(esker_tensor_all_close(z, z, 1, 1, &same));
    assert_false(same);
    assert_ok(esker_tensor_array_equal(x, esker_tensor_reshape(x, &(esker_shape){2, {1, 3}}), &same));
    assert_false(same);
    assert_ok(esker_scope_close(dev));
}

/* ---- The table ---- */

/* Every operation that ops.h declares has a twin: its name is in one of the two lists, and linked below. */
static void every_operation_has_a_twin(void **state)
{
    (void)state;
#define NAME_OF(name, params, tensors, n_needed, arguments) {#name, (void (*)(void))esker_tensor_##name},
#define NAME_ALONE(name)                                    {#name, (void (*)(void))esker_tensor_##name},
    const struct {
        const char *name;
        void (*function)(void);
    } twins[] = {ESKER_TENSOR_OPERATIONS(NAME_OF) ESKER_TENSOR_OTHER_OPERATIONS(NAME_ALONE)};
    FILE *file = fopen(ESKER_SOURCE_DIR "/include/esker/ops.h", "r");
    char line[512];
    size_t n_found = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char name[64];
        if (sscanf(line, "ESKER_API esker_node *esker_%63[a-z0-9_](", name) != 1 &&
            sscanf(line, "ESKER_API esker_status esker_%63[a-z0-9_](", name) != 1)
            continue;
        bool found = false;
        for (size_t i = 0; i < LENGTH(twins); i++) found |= !strcmp(twins[i].name, name) && twins[i].function;
        if (!found) fail_msg("esker_%s has no twin in eager.h", name);
        n_found++;
    }
    fclose(file);
    assert_int_equal(n_found, LENGTH(twins));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_has_a_twin),
        cmocka_unit_test(eager_results_are_those_of_graphs_to_the_bit),
        cmocka_unit_test(what_nobody_reads_in_between_is_one_plan),
        cmocka_unit_test(a_structure_that_repeats_is_compiled_once),
        cmocka_unit_test(the_cache_is_bounded_and_the_least_recently_used_goes),
        cmocka_unit_test(random_numbers_differ_between_calls_and_repeat_with_the_seed),
        cmocka_unit_test(tensors_are_made_from_numbers),
        cmocka_unit_test(elements_are_read_and_set_on_the_host),
        cmocka_unit_test(rows_share_memory),
        cmocka_unit_test(assigning_changes_what_comes_later),
        cmocka_unit_test(comparisons_on_the_host),
    };
    return test_finish(cmocka_run_group_tests_name("calls on tensors", tests, NULL, NULL));
}
