#include "support/training.h"

#include <math.h>
#include <stdio.h>

#include "support/test.h"

#define ROOM 600000 /* floats that a run may leave */

esker_node *test_parameter(esker_graph *graph, esker_shape shape, float limit, const char *format, ...)
{
    char name[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return esker_parameter(graph,
                           &(esker_param_desc){.name = name, .shape = shape, .init = {ESKER_INIT_UNIFORM, .value = limit}});
}

esker_plan *test_compile(esker_graph *graph, esker_node *const *outputs, int n_outputs, test_way way)
{
    esker_plan *plan;
    assert_ok(esker_params_init_values(esker_graph_get_params(graph), 3));
    assert_ok(esker_plan_compile(graph,
                                 &(esker_plan_desc){.device = test_device(),
                                                    .outputs = outputs,
                                                    .n_outputs = n_outputs,
                                                    .no_fusion = way.no_fusion,
                                                    .slice_seconds = -1,
                                                    .check = way.check},
                                 &plan));
    assert_ok(esker_plan_check(plan));
    return plan;
}

uint64_t test_train(esker_plan *plan, int n_x, int n_steps)
{
    float *x = malloc((size_t)n_x * sizeof *x);
    uint64_t ticket = 0;
    assert_non_null(x);
    for (int step = 0; step < n_steps; step++) {
        test_uniform(x, n_x, -1, 1, (uint64_t)step);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, (size_t)n_x * sizeof *x));
        assert_ok(esker_plan_submit(plan, &ticket));
    }
    free(x);
    return ticket;
}

int test_read_params(esker_params *params, float *out, int room)
{
    int n = 0;
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        assert_true((int64_t)info.n_elems <= room - n);
        assert_ok(esker_params_read(params, i, out + n, info.n_elems));
        n += (int)info.n_elems;
    }
    return n;
}

void assert_same_fused(test_run run, const void *row, const char *name, const char *variant, float tolerance)
{
    static float apart[ROOM], fused[ROOM], checked[ROOM];
    if (variant) setenv("ESKER_VARIANT", variant, 1);
    int n = run(row, (test_way){.no_fusion = true}, apart, ROOM);
    assert_true(n > 0);
    assert_int_equal(run(row, (test_way){0}, fused, ROOM), n);
    for (int i = 0; i < n; i++)
        if (!(fabsf(fused[i] - apart[i]) <= tolerance * (1 + fabsf(apart[i]))))
            fail_msg("%s: value %d is %.9g, without fusion %.9g", name, i, (double)fused[i], (double)apart[i]);
    assert_int_equal(run(row, (test_way){.check = true}, checked, ROOM), n);
    assert_memory_equal(fused, checked, (size_t)n * sizeof *checked);
}

/* ---- Nets, trained and forward ---- */

#define STEPS 2

static esker_plan *compile_net(const test_net *t, bool train, test_way way, esker_graph **out_graph)
{
    assert_ok(esker_graph_create(NULL, out_graph));
    esker_node *loss = t->record(*out_graph, t->net, train);
    esker_plan *plan = test_compile(*out_graph, &loss, 1, way);
    t->look(plan, t->net, train, way);
    return plan;
}

/* The parameters after some steps. */
static int train_net(const void *row, test_way way, float *out, int room)
{
    const test_net *t = row;
    esker_graph *graph;
    esker_plan *plan = compile_net(t, true, way, &graph);
    (void)test_train(plan, t->n_x, STEPS);
    int n = test_read_params(esker_graph_get_params(graph), out, room);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static int loss_of_net(const void *row, test_way way, float *out, int room)
{
    const test_net *t = row;
    esker_graph *graph;
    (void)room;
    esker_plan *plan = compile_net(t, false, way, &graph);
    assert_ok(esker_plan_read(plan, test_train(plan, t->n_x, 1), 0, out, sizeof *out));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return 1;
}

static void same_parameters(void **state)
{
    const test_net *t = *state;
    assert_same_fused(train_net, t, t->name, t->variant, 2e-5f);
}

static void same_loss(void **state)
{
    const test_net *t = *state;
    assert_same_fused(loss_of_net, t, t->name, t->variant, 1e-6f);
}

int test_nets_main(const test_net *nets, int n)
{
    enum { MOST = 32 };
    static char names[MOST][80];
    struct CMUnitTest tests[2 * MOST] = {{0}};
    if (n > MOST) return 1;
    for (int i = 0; i < n; i++) {
        void *row = (void *)(uintptr_t)&nets[i];
        snprintf(names[i], sizeof names[i], "forward: %s", nets[i].name);
        tests[i] = (struct CMUnitTest){nets[i].name, same_parameters, NULL, test_without_variant, row};
        tests[n + i] = (struct CMUnitTest){names[i], same_loss, NULL, test_without_variant, row};
    }
    return test_finish(_cmocka_run_group_tests("nets", tests, (size_t)(2 * n), NULL, NULL));
}
