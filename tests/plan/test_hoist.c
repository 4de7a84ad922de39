/* device test: what depends on parameters alone runs in front of the first step, and again once they have changed. */
#include "support/test.h"

#include <math.h>

#include <esker/measure.h>
#include <esker/ops.h>
#include <esker/submission.h>
#include "base/memory.h"
#include "plan/plan.h"

#define N 96

static esker_node *parameter(esker_graph *graph, const char *name, bool frozen)
{
    return esker_parameter(
        graph, &(esker_param_desc){
                   .name = name, .shape = {1, {N}}, .init = {ESKER_INIT_UNIFORM, .value = 0.5f}, .frozen = frozen});
}

static esker_node *input(esker_graph *graph)
{
    return esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {N}});
}

static esker_plan *compile(esker_device *dev, esker_graph *graph, esker_node *y, bool check)
{
    esker_plan *plan;
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1, .no_fusion = true, .check = check}, &plan));
    return plan;
}

/* x + exp(w) * exp(v): three dispatches that only parameters go into, and the sum. */
static esker_plan *forward(esker_device *dev, esker_params *params, bool check)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(params, &graph));
    esker_node *w = parameter(graph, "w", false), *v = parameter(graph, "v", true);
    esker_plan *plan = compile(dev, graph, esker_add(input(graph), esker_mul(esker_exp(w), esker_exp(v))), check);
    esker_graph_destroy(graph);
    return plan;
}

/* One step of gradient descent on w. */
static esker_plan *training(esker_device *dev, esker_params *params)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(params, &graph));
    esker_node *w = parameter(graph, "w", false), *v = parameter(graph, "v", true), *x = input(graph);
    esker_node *loss = esker_sum(esker_mul(esker_mul(x, esker_exp(v)), esker_exp(w)), NULL, 0, false);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.01f}));
    esker_plan *plan = compile(dev, graph, loss, false);
    esker_graph_destroy(graph);
    return plan;
}

static esker_params *new_params(void)
{
    esker_params *params;
    assert_ok(esker_params_create(&params));
    return params;
}

static void give(esker_plan *plan, float value)
{
    float x[N];
    for (int i = 0; i < N; i++) x[i] = value + (float)i / N;
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
}

/* Of steps alone: reading a parameter may be one, too. */
static uint64_t n_step_dispatches;

static uint64_t dispatches(void)
{
    esker_counters c;
    esker_device_get_counters(test_device(), &c);
    return c.dispatches;
}

static uint64_t submit(esker_plan *plan, float value)
{
    uint64_t ticket;
    give(plan, value);
    uint64_t before = dispatches();
    assert_ok(esker_plan_submit(plan, &ticket));
    n_step_dispatches += dispatches() - before;
    return ticket;
}

/* What forward() computes with the values that the parameters have now. */
static void expect(esker_params *params, float value, const float *got)
{
    float w[N], v[N];
    double want[N];
    assert_ok(esker_params_read(params, esker_params_find(params, "w"), w, N));
    assert_ok(esker_params_read(params, esker_params_find(params, "v"), v, N));
    for (int i = 0; i < N; i++) want[i] = (double)(value + (float)i / N) + exp((double)w[i]) * exp((double)v[i]);
    assert_close(got, want, NULL, 4e-6, N);
}

static void run_and_expect(esker_plan *plan, esker_params *params, float value)
{
    float y[N];
    assert_ok(esker_plan_read(plan, submit(plan, value), 0, y, sizeof y));
    expect(params, value, y);
}

/* ---- When ---- */

static void once_until_a_parameter_changes(void **state)
{
    (void)state;
    esker_params *params = new_params();
    esker_plan *plan = forward(test_device(), params, false);
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    uint64_t all = (uint64_t)info.n_dispatches, step = all - 3, before = n_step_dispatches;
    assert_int_equal(info.n_prologue, 3);
    assert_int_equal(info.prologue_bytes, 512); /* 384, to the alignment; exp(w) and exp(v) are the prologue's own */
    for (int i = 0; i < 3; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        assert_string_equal(d.phase, "prologue");
    }
    for (int i = 0; i < 6; i++) run_and_expect(plan, params, (float)i);
    assert_int_equal(n_step_dispatches - before, 3 + 6 * step);

    /* Either of those that it reads, one by one and all. */
    float values[N];
    const char *const names[] = {"w", "v"};
    for (int i = 0; i < 2; i++) {
        test_uniform(values, N, -1, 1, (uint64_t)i);
        assert_ok(esker_params_write(params, esker_params_find(params, names[i]), values, N));
        before = n_step_dispatches;
        for (int k = 0; k < 3; k++) run_and_expect(plan, params, 7);
        assert_int_equal(n_step_dispatches - before, 3 + 3 * step);
    }
    assert_ok(esker_params_init_values(params, 99));
    run_and_expect(plan, params, 7);
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

static void not_for_parameters_that_it_does_not_read(void **state)
{
    (void)state;
    esker_params *params = new_params();
    esker_graph *graph;
    float values[N];
    assert_ok(esker_graph_create(params, &graph));
    parameter(graph, "other", true);
    esker_plan *plan = compile(test_device(), graph, esker_add(input(graph), esker_exp(parameter(graph, "w", false))),
                               false);
    esker_graph_destroy(graph);
    assert_int_equal(plan->n_prologue, 1);
    assert_ok(esker_plan_read(plan, submit(plan, 1), 0, values, sizeof values));
    assert_ok(esker_params_write(params, esker_params_find(params, "other"), values, N));
    uint64_t before = n_step_dispatches;
    submit(plan, 1);
    assert_int_equal(n_step_dispatches - before, plan->n_dispatches - 1);
    assert_ok(esker_params_write(params, esker_params_find(params, "w"), values, N));
    before = n_step_dispatches;
    submit(plan, 1);
    assert_int_equal(n_step_dispatches - before, plan->n_dispatches);
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

/* Another plan trains; steps of both are in flight, in turns. */
static void behind_the_steps_that_train(void **state)
{
    (void)state;
    float waited[8][N], y[N];
    for (int way = 0; way < 2; way++) {
        esker_params *params = new_params();
        esker_plan *infer = forward(test_device(), params, false), *train = training(test_device(), params);
        uint64_t tickets[2];
        for (int i = 0; i < 8; i++) {
            tickets[i % 2] = submit(infer, (float)i);
            submit(train, 1);
            if (way == 0) {
                assert_ok(esker_plan_read(infer, tickets[i % 2], 0, waited[i], sizeof y));
                run_and_expect(infer, params, 0.5f); /* which waits, and so sees what was trained */
            } else if (i % 2 == 1) {
                for (int k = 0; k < 2; k++) {
                    assert_ok(esker_plan_read(infer, tickets[k], 0, y, sizeof y));
                    assert_memory_equal(y, waited[i - 1 + k], sizeof y);
                }
            }
        }
        for (int i = 1; way == 0 && i < 8; i++) assert_true(waited[i][0] - (float)i != waited[i - 1][0] - (float)(i - 1));
        esker_plan_destroy(infer);
        esker_plan_destroy(train);
        esker_params_unref(params);
    }
}

/* Running statistics are frozen, and yet steps of another plan move them, which trains nothing else. */
static void behind_steps_that_move_statistics(void **state)
{
    (void)state;
    enum { ROWS = 4 };
    esker_params *params = new_params();
    esker_graph *graph;
    float rows[ROWS * N], mean[N], before = 0;
    double want[N];
    uint64_t ticket;
    assert_ok(esker_graph_create(params, &graph));
    parameter(graph, "variance", true); /* a layout in use takes no more */
    esker_plan *reads = compile(test_device(), graph, esker_add(input(graph), esker_exp(parameter(graph, "mean", true))),
                                false);
    esker_graph_destroy(graph);
    assert_int_equal(reads->n_prologue, 1);
    assert_ok(esker_graph_create(params, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, N}});
    esker_batch_norm_desc desc = {.running_mean = parameter(graph, "mean", true),
                                  .running_var = parameter(graph, "variance", true)};
    esker_plan *moves = compile(test_device(), graph, esker_batch_norm(x, &desc), false);
    esker_graph_destroy(graph);
    for (int round = 0; round < 3; round++) {
        float y[N];
        assert_ok(esker_plan_read(reads, submit(reads, 1), 0, y, sizeof y));
        assert_ok(esker_params_read(params, esker_params_find(params, "mean"), mean, N));
        for (int i = 0; i < N; i++) want[i] = 1 + (double)i / N + exp((double)mean[i]);
        assert_close(y, want, NULL, 4e-6, N);
        assert_true(round == 0 || mean[0] != before);
        before = mean[0];
        test_uniform(rows, ROWS * N, 2, 3, (uint64_t)round);
        assert_ok(esker_plan_write(moves, 0, rows, sizeof rows));
        assert_ok(esker_plan_submit(moves, &ticket));
    }
    esker_plan_destroy(reads);
    esker_plan_destroy(moves);
    esker_params_unref(params);
}

/* Held back for an event, the prologue is decided on when the step starts. */
static void behind_steps_that_are_held_back(void **state)
{
    (void)state;
    esker_params *params = new_params();
    esker_plan *infer = forward(test_device(), params, false), *train = training(test_device(), params);
    esker_event *event;
    esker_submission first, then;
    float y[2][N];
    run_and_expect(infer, params, 0);
    assert_ok(esker_event_create("later", &event));
    give(train, 1);
    assert_ok(esker_plan_submit_with(train, &(esker_submit_desc){.events = &event, .n_events = 1}, &first));
    give(infer, 2);
    assert_ok(esker_plan_submit_with(infer, NULL, &then));
    assert_ok(esker_event_signal(event, ESKER_OK));
    assert_ok(esker_plan_read(infer, then.ticket, 0, y[0], sizeof y[0]));
    expect(params, 2, y[0]);
    /* A write waits for what is held back, which still sees the values from before it. */
    esker_event_unref(event);
    assert_ok(esker_event_create("soon", &event));
    give(infer, 3);
    assert_ok(esker_plan_submit_with(infer, &(esker_submit_desc){.events = &event, .n_events = 1}, &then));
    assert_ok(esker_event_signal(event, ESKER_OK));
    float w[N];
    assert_ok(esker_params_read(params, 0, w, N));
    for (int i = 0; i < N; i++) w[i] += 1;
    assert_ok(esker_params_write(params, 0, w, N));
    assert_ok(esker_plan_read(infer, then.ticket, 0, y[1], sizeof y[1]));
    assert_true(y[1][0] > y[0][0] + 0.999f && y[1][0] < y[0][0] + 1.001f);
    run_and_expect(infer, params, 4);
    esker_event_unref(event);
    esker_plan_destroy(infer);
    esker_plan_destroy(train);
    esker_params_unref(params);
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    esker_params *params = new_params();
    uint64_t in_use = test_memory_in_use();
    esker_plan *infer = forward(test_device(), params, false), *train = training(test_device(), params);
    for (int i = 0; i < 2 * ESKER_PLAN_SLOTS; i++) submit(infer, 1), submit(train, 1);
    uint64_t before = esker__heap_allocations();
    for (int i = 0; i < 2 * ESKER_PLAN_SLOTS; i++) submit(infer, 1), submit(train, 1);
    assert_int_equal(esker__heap_allocations(), before);
    esker_plan_destroy(infer);
    esker_plan_destroy(train);
    esker_params_unref(params);
    assert_int_equal(test_memory_in_use(), in_use);
}

static void measuring_leaves_it_right(void **state)
{
    (void)state;
    esker_params *params = new_params();
    esker_plan *plan = forward(test_device(), params, false);
    double seconds[16];
    esker_timing timing;
    give(plan, 1);
    assert_ok(esker_plan_profile(plan, &(esker_profile_desc){.steps = 1, .isolated = true}, seconds, NULL));
    run_and_expect(plan, params, 1);
    assert_ok(esker_plan_measure(plan, 2, 1, &(esker_measure_desc){.rounds = 1, .round_seconds = 1e-4}, &timing));
    run_and_expect(plan, params, 1);
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

/* ---- What ---- */

static int n_prologue_of(esker_graph *graph, esker_node *y)
{
    esker_plan *plan = compile(NULL, graph, y, false);
    assert_ok(esker_plan_check(plan));
    int n = (int)plan->n_prologue;
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return n;
}

static esker_graph *new_graph(void)
{
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    return graph;
}

static void what_changes_stays_in_the_step(void **state)
{
    (void)state;
    esker_graph *graph = new_graph();
    esker_node *x = input(graph);
    /* Of constants alone, too. */
    assert_int_equal(n_prologue_of(graph, esker_add(x, esker_exp(esker_full(graph, &(esker_shape){1, {N}}, 1)))), 1);
    /* Other numbers in every step. */
    graph = new_graph();
    x = input(graph);
    assert_int_equal(n_prologue_of(graph, esker_add(x, esker_random_uniform(graph, &(esker_shape){1, {N}}, 0, 1))), 0);
    /* Read by the CPU after every step, from another place. */
    graph = new_graph();
    assert_int_equal(n_prologue_of(graph, esker_exp(parameter(graph, "w", false))), 0);
    /* 40000 times as large as what it is made from. */
    graph = new_graph();
    x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {40000, N}});
    esker_node *wide = esker_expand(esker_exp(parameter(graph, "w", false)), &(esker_shape){2, {40000, N}});
    assert_int_equal(n_prologue_of(graph, esker_matmul(x, wide, &(esker_matmul_desc){.transpose_a = true})), 1);
    /* Weights that are trained, and frozen ones. */
    graph = new_graph();
    x = input(graph);
    esker_node *y = esker_mul(esker_mul(x, esker_exp(parameter(graph, "v", true))),
                              esker_exp(parameter(graph, "w", false)));
    y = esker_sum(y, NULL, 0, false);
    assert_ok(esker_optimize(y, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f}));
    int n = n_prologue_of(graph, y);
    assert_true(n >= 1);
    /* Running statistics are frozen, but each step moves them. */
    for (int moved = 0; moved < 2; moved++) {
        graph = new_graph();
        x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {4, N}});
        esker_node *mean = parameter(graph, "mean", true), *variance = parameter(graph, "variance", true);
        esker_batch_norm_desc desc = {.running_mean = mean, .running_var = variance};
        y = esker_mul(moved ? esker_batch_norm(x, &desc) : x, esker_exp(mean));
        assert_int_equal(n_prologue_of(graph, y), !moved);
    }
}

/* ---- Proofs ---- */

static void the_checker_knows_the_rules(void **state)
{
    (void)state;
    esker_params *params = new_params();
    esker_plan *plan = forward(NULL, params, false);
    assert_ok(esker_plan_check(plan));
    esker__plan_dispatch *step = &plan->dispatches[plan->n_prologue];
    step->barrier = false;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "a step may begin");
    step->barrier = true;
    int kept = -1;
    for (size_t v = 0; v < plan->n_values; v++)
        if (plan->values[v].storage == ESKER__STORAGE_HOISTED) kept = (int)v;
    assert_true(kept >= 0);
    plan->values[kept].storage = ESKER__STORAGE_ARENA;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, NULL);
    plan->values[kept].storage = ESKER__STORAGE_HOISTED;
    for (int i = 0; i < step->n_operands; i++) {
        if (step->operands[i].value != kept) continue;
        step->operands[i].write = true;
        assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "outside of the prologue");
        step->operands[i].write = false;
    }
    /* A step that changes what the prologue reads. */
    int w = -1;
    for (size_t v = 0; v < plan->n_values; v++)
        if (plan->values[v].storage == ESKER__STORAGE_PARAMETERS) w = (int)v;
    assert_true(w >= 0);
    esker__plan_operand *out = &step->operands[step->n_operands - 1], before = *out;
    *out = (esker__plan_operand){.value = w, .n_bytes = plan->values[w].n_bytes, .write = true};
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "the prologue reads what dispatch");
    *out = before;
    plan->dispatches[1].uses_step = true;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "in the prologue");
    plan->dispatches[1].uses_step = false;
    plan->n_prologue--;
    assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, NULL);
    plan->n_prologue++;
    assert_ok(esker_plan_check(plan));
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

/* Check mode compares what the prologue computes, and sees values that changed behind everybody's back. */
static void check_mode_sees_the_prologue(void **state)
{
    (void)state;
    esker_params *params = new_params();
    esker_plan *plan = forward(test_device(), params, true);
    float w[N];
    for (int i = 0; i < 3; i++) run_and_expect(plan, params, (float)i);
    assert_ok(esker_params_read(params, 0, w, N));
    for (int i = 0; i < N; i++) w[i] -= 0.5f;
    assert_ok(esker__memory_write(&params->values, params->list[0].offset * 4, w, sizeof w));
    give(plan, 1);
    assert_fails(esker_plan_run(plan), ESKER_ERR_MISMATCH, "changed without a word");
    assert_ok(esker_params_write(params, 0, w, N));
    run_and_expect(plan, params, 1);
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_until_a_parameter_changes),  cmocka_unit_test(not_for_parameters_that_it_does_not_read),
        cmocka_unit_test(behind_the_steps_that_train),     cmocka_unit_test(behind_steps_that_move_statistics),
        cmocka_unit_test(behind_steps_that_are_held_back), cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(measuring_leaves_it_right),       cmocka_unit_test(what_changes_stays_in_the_step),
        cmocka_unit_test(the_checker_knows_the_rules),     cmocka_unit_test(check_mode_sees_the_prologue),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
