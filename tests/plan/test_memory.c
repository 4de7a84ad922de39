/* The placement of intervals over random sets, against a brute-force check and the lower bound; and what takes over the bytes of what it reads. */
#include "support/test.h"

#include <esker/ops.h>

#include "base/philox.h"
#include "plan/plan.h"

static void random_intervals(esker__interval *out, size_t n, int end, esker__random *random)
{
    for (size_t i = 0; i < n; i++) {
        int a = (int)esker__random_below(random, (uint32_t)end),
            b = a + (int)esker__random_below(random, (uint32_t)end / 2 + 1);
        out[i] = (esker__interval){.n_bytes = ESKER__VALUE_ALIGN * (1 + esker__random_below(random, 40)),
                                   .first = a,
                                   .last = b < end ? b : end - 1};
        if (esker__random_below(random, 20) == 0) out[i].n_bytes *= 100;
    }
}

static void assert_disjoint(const esker__interval *list, size_t n, uint64_t total)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(list[i].offset % ESKER__VALUE_ALIGN == 0);
        assert_true(list[i].offset + list[i].n_bytes <= total);
        for (size_t j = 0; j < i; j++) {
            bool in_time = list[i].first <= list[j].last && list[j].first <= list[i].last;
            bool in_space = list[i].offset < list[j].offset + list[j].n_bytes &&
                            list[j].offset < list[i].offset + list[i].n_bytes;
            if (in_time && in_space)
                fail_msg("intervals %zu and %zu share bytes (ESKER_TEST_SEED=%llu)", i, j, (unsigned long long)test_seed());
        }
    }
}

static uint64_t brute_bound(const esker__interval *list, size_t n, int end)
{
    uint64_t most = 0;
    for (int t = 0; t < end; t++) {
        uint64_t alive = 0;
        for (size_t i = 0; i < n; i++)
            if (list[i].first <= t && t <= list[i].last) alive += list[i].n_bytes;
        if (alive > most) most = alive;
    }
    return most;
}

static void random_sets_are_disjoint(void **state)
{
    (void)state;
    esker__random random;
    esker__random_init(&random, test_seed(), 1);
    double worst = 0;
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + esker__random_below(&random, 120);
        int end = 1 + (int)esker__random_below(&random, 60);
        esker__interval list[128];
        uint64_t total, bound;
        random_intervals(list, n, end, &random);
        assert_ok(esker__place_intervals(list, n, &total));
        assert_ok(esker__intervals_lower_bound(list, n, &bound));
        assert_disjoint(list, n, total);
        assert_true(bound == brute_bound(list, n, end));
        assert_true(total >= bound);
        double ratio = (double)total / (double)bound;
        if (ratio > worst) worst = ratio;
    }
    /* Random sets are harder than networks; a placement that merely appends reaches 10 and more here. */
    print_message("worst arena / lower bound: %.3f\n", worst);
    assert_true(worst < 1.6);
}

static void a_chain_needs_two(void **state)
{
    (void)state;
    esker__interval list[50];
    uint64_t total;
    for (int i = 0; i < 50; i++) list[i] = (esker__interval){.n_bytes = 1024, .first = i, .last = i + 1};
    assert_ok(esker__place_intervals(list, 50, &total));
    assert_true(total == 2048);
}

static void nothing_needs_nothing(void **state)
{
    (void)state;
    uint64_t total = 1, bound = 1;
    assert_ok(esker__place_intervals(NULL, 0, &total));
    assert_ok(esker__intervals_lower_bound(NULL, 0, &bound));
    assert_true(total == 0 && bound == 0);
}

/* The first result takes over the bytes of its operand, unless another dispatch reads that beside it: then neither is to wait for the other. */
static void operands_are_overwritten_by_who_reads_alone(void **state)
{
    enum { N = 1024 };
    (void)state;
    for (int beside = 0; beside < 2; beside++) {
        esker_graph *graph;
        esker_plan *plan;
        esker_plan_info info;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = esker_exp(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {N}}));
        esker_node *y = esker_tanh(x);
        y = beside ? esker_add(y, esker_sigmoid(x)) : esker_sigmoid(y);
        esker_node *loss = esker_sum(y, NULL, 0, false);
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.outputs = &loss, .n_outputs = 1, .no_fusion = true, .slice_seconds = -1}, &plan));
        assert_ok(esker_plan_check(plan));
        esker_plan_get_info(plan, &info);
        int n_waiting = 0;
        for (size_t p = 0; p < plan->n_dispatches; p++)
            n_waiting += plan->dispatches[p].barrier &&
                         (!strcmp(plan->dispatches[p].op, "tanh") || !strcmp(plan->dispatches[p].op, "sigmoid"));
        /* One behind the other each waits; beside each other they wait for the same. */
        assert_int_equal(n_waiting, beside ? 1 : 2);
        assert_int_equal(info.arena_bytes, (beside ? 3 : 1) * N * 4);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_are_overwritten_by_who_reads_alone),
        cmocka_unit_test(random_sets_are_disjoint),
        cmocka_unit_test(a_chain_needs_two),
        cmocka_unit_test(nothing_needs_nothing),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
