/* The order of dispatches: what waits until it is read, what does not, and what memory an order with fewer barriers may take. No device. */
#include "support/test.h"

#include <esker/ops.h>
#include <esker/plan.h>

#define SIDE 256

static esker_node *square(esker_graph *graph, const char *name)
{
    return esker_input(graph, name, ESKER_DTYPE_F32, &(esker_shape){2, {SIDE, SIDE}});
}

/* `n` operations, each of which waits for the one before. */
static esker_node *chain(esker_node *x, int n)
{
    for (int i = 0; i < n; i++) x = esker_softmax(x, -1);
    return x;
}

static esker_plan *plan_of(esker_graph *graph, esker_node *y)
{
    esker_plan *plan;
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.outputs = &y, .n_outputs = 1, .no_fusion = true, .slice_seconds = -1}, &plan));
    assert_ok(esker_plan_check(plan));
    return plan;
}

/* How many softmax dispatches stand in front of the first of the operation. */
static int links_before(const esker_plan *plan, const char *op)
{
    esker_plan_info info;
    int n = 0;
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (!strcmp(d.op, op)) return n;
        n += !strcmp(d.op, "softmax");
    }
    fail_msg("the plan has no dispatch of %s", op);
    return -1;
}

/* An outer product is larger than its vectors: it is made right before the chain's end, and not beside the chain's beginning. */
static void what_is_larger_than_its_inputs_waits(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan_info info;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *u = esker_input(graph, "u", ESKER_DTYPE_F32, &(esker_shape){2, {SIDE, 1}}),
               *v = esker_input(graph, "v", ESKER_DTYPE_F32, &(esker_shape){2, {1, SIDE}});
    esker_node *product = esker_matmul(u, v, NULL);
    esker_plan *plan = plan_of(graph, esker_sub(chain(square(graph, "x"), 5), product));
    assert_int_equal(links_before(plan, "matmul"), 4); /* beside the last */
    esker_plan_get_info(plan, &info);
    assert_int_equal(info.n_barriers, 7); /* as without the product: of the chain, of the difference, and of the mark */
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* A sum is smaller than what it is of, which dies with it: it is made at once. */
static void what_is_smaller_than_its_inputs_does_not(void **state)
{
    (void)state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *first = esker_exp(square(graph, "x"));
    esker_node *sum = esker_sum(first, (int[]){0}, 1, true);
    esker_plan *plan = plan_of(graph, esker_sub(chain(first, 5), sum));
    assert_int_equal(links_before(plan, "sum"), 0);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* Twelve branches of two operations that one after the other take the memory of two: at once they take that of twelve. */
static int barriers_of_branches(uint64_t n_parameters)
{
    esker_graph *graph;
    esker_plan_info info;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = square(graph, "x"), *y = NULL;
    for (int i = 0; i < 12; i++) {
        esker_node *sum = esker_sum(chain(esker_affine(x, (float)(i + 1), 0), 1), (int[]){0}, 1, true);
        y = y ? esker_sub(y, sum) : sum;
    }
    if (n_parameters) {
        esker_node *w = esker_parameter(
            graph, &(esker_param_desc){.name = "w", .shape = {1, {(int64_t)n_parameters}}, .init = {.value = 1}});
        y = esker_sub(y, esker_sum(w, NULL, 0, false));
    }
    esker_plan *plan = plan_of(graph, y);
    esker_plan_get_info(plan, &info);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return info.n_barriers;
}

static void fewer_barriers_for_a_part_of_all_memory(void **state)
{
    (void)state;
    int alone = barriers_of_branches(0), beside = barriers_of_branches(8 << 20);
    print_message("%d barriers as recorded, %d by epochs\n", alone, beside);
    assert_true(beside < alone); /* beside 32 MiB of parameters, 2 MiB more count little */
}

static esker_node *input(esker_graph *graph, const char *name, int64_t columns)
{
    return esker_input(graph, name, ESKER_DTYPE_F32, &(esker_shape){2, {SIDE, columns}});
}

/*
 * In the second epoch two sums free what the first one made, and a product makes as much from something that is larger still, so that it does not wait for its
 * own sake. An epoch later it meets what it is made of alone.
 */
static void the_fullest_epoch_is_relieved(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan_info info;
    const uint64_t unit = SIDE * SIDE * 4;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *dies = esker_softmax(input(graph, "d", 5 * SIDE), -1),
               *stays = esker_softmax(input(graph, "s", 4 * SIDE), -1),
               *made = esker_matmul(
                   stays, esker_input(graph, "b", ESKER_DTYPE_F32, &(esker_shape){2, {4 * SIDE, 3 * SIDE}}), NULL);
    esker_node *sums = esker_add(esker_sum(dies, &(int){1}, 1, true), esker_sum(made, &(int){1}, 1, true));
    esker_plan *plan = plan_of(graph, esker_add(chain(square(graph, "x"), 6), sums));
    esker_plan_get_info(plan, &info);
    assert_true(info.arena_bytes < 11 * unit); /* 5 + 4, and the chain; with the product 3 more */
    assert_int_equal(info.n_barriers, 8);      /* as the chain alone */
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_larger_than_its_inputs_waits),
        cmocka_unit_test(what_is_smaller_than_its_inputs_does_not),
        cmocka_unit_test(fewer_barriers_for_a_part_of_all_memory),
        cmocka_unit_test(the_fullest_epoch_is_relieved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
