/* device test: LAMB: lengths of each parameter by itself, whatever lies beside it. tests/optim compares it with 50 steps of PyTorch. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>

static const struct part {
    int64_t n;
    bool frozen;
    int group;
    float start; /* all of it; NAN: random */
} parts[] = {{1, false, 0, NAN}, {64, false, 0, NAN}, {63, true, 0, NAN},   {65, false, 1, NAN},    {2049, false, 0, NAN},
             {70, false, 0, 0},  {1, true, 3, NAN},   {129, false, 3, NAN}, {20000, false, 1, NAN}, {8192, false, 3, NAN}};
enum { PARTS = sizeof parts / sizeof *parts, MOST = 20000 };

static const esker_optimizer_desc optimizer = {.kind = ESKER_OPTIMIZER_LAMB,
                                               .lr = 0.02f,
                                               .weight_decay = 0.1f,
                                               .groups = {{0}, {.lr_scale = 0.5f}, {0}, {.no_weight_decay = true}}};

/* sum over the parts of sum(p x): the gradients are the inputs. */
static esker_plan *record(esker_plan_desc desc, esker_params **out_params)
{
    esker_graph *graph;
    esker_plan *plan;
    esker_node *loss = NULL;
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < PARTS; i++) {
        char name[2][16];
        for (int k = 0; k < 2; k++) snprintf(name[k], sizeof name[k], "%c%d", "px"[k], i);
        const esker_shape shape = {1, {parts[i].n}};
        esker_node *p = esker_parameter(
            graph,
            &(esker_param_desc){.name = name[0], .shape = shape, .frozen = parts[i].frozen, .group = parts[i].group});
        esker_node *x = esker_input(graph, name[1], ESKER_DTYPE_F32, &shape);
        esker_node *term = esker_sum(esker_mul(p, x), NULL, 0, false);
        loss = loss ? esker_add(loss, term) : term;
    }
    assert_ok(esker_optimize(loss, &optimizer));
    *out_params = esker_params_ref(esker_graph_get_params(graph));
    desc.outputs = &loss;
    desc.n_outputs = 1;
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    assert_ok(esker_plan_check(plan));
    esker_graph_destroy(graph);
    return plan;
}

static void start_values(int i, float *out)
{
    test_uniform(out, parts[i].n, -1, 1, (uint64_t)i + 1);
    for (int64_t k = 0; k < parts[i].n && !isnan(parts[i].start); k++) out[k] = parts[i].start;
}

static void run(esker_plan *plan, esker_params *params, int n_steps)
{
    static float values[MOST];
    for (int i = 0; i < PARTS; i++) {
        start_values(i, values);
        assert_ok(esker_params_write(params, i, values, parts[i].n));
    }
    for (int step = 0; step < n_steps; step++) {
        for (int i = 0; i < PARTS; i++) {
            char name[16];
            snprintf(name, sizeof name, "x%d", i);
            test_uniform(values, parts[i].n, -2, 2, 100 + 16 * (uint64_t)step + (uint64_t)i);
            assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), values, (size_t)parts[i].n * 4));
        }
        assert_ok(esker_plan_run(plan));
    }
}

/* Check mode compares parameters and moments with the double reference in each step. */
static void every_parameter_has_its_own_length(void **state)
{
    (void)state;
    esker_params *params;
    esker_plan *plan = record((esker_plan_desc){.device = test_device(), .check = true}, &params);
    static float before[MOST], after[MOST];
    run(plan, params, 3);
    for (int i = 0; i < PARTS; i++) {
        start_values(i, before);
        assert_ok(esker_params_read(params, i, after, parts[i].n));
        if (parts[i].frozen)
            assert_memory_equal(before, after, (size_t)parts[i].n * sizeof *before);
        else
            assert_memory_not_equal(before, after, (size_t)parts[i].n * sizeof *before);
    }
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

/* The first step is as long as its rate times the parameter, and where that is zero as Adam's. */
static void the_first_step_is_a_part_of_the_parameter(void **state)
{
    (void)state;
    esker_params *params;
    esker_plan *plan = record((esker_plan_desc){.device = test_device()}, &params);
    static float before[MOST], after[MOST];
    run(plan, params, 1);
    for (int i = 0; i < PARTS; i++) {
        double size = 0, moved = 0;
        if (parts[i].frozen) continue;
        start_values(i, before);
        assert_ok(esker_params_read(params, i, after, parts[i].n));
        for (int64_t k = 0; k < parts[i].n; k++) {
            size += (double)before[k] * before[k];
            moved += pow((double)after[k] - before[k], 2);
        }
        double rate = parts[i].group == 1 ? 0.01 : 0.02, want = rate * (size > 0 ? sqrt(size) : sqrt((double)parts[i].n));
        if (!(fabs(sqrt(moved) - want) <= 1e-4 * want)) fail_msg("part %d: moved %g, %g expected", i, sqrt(moved), want);
    }
    esker_plan_destroy(plan);
    esker_params_unref(params);
}

/* Cut into many dispatches, and run again, the bits are the same. */
static void slices_and_repetition_change_no_bit(void **state)
{
    (void)state;
    static float values[3][MOST];
    for (int variant = 0; variant < 3; variant++) {
        esker_params *params;
        esker_plan_desc desc = {.device = test_device()};
        if (variant == 2)
            desc = (esker_plan_desc){
                .device = test_device(), .slice_seconds = 1e-3, .flops_per_second = 1e6, .bytes_per_second = 1e7};
        esker_plan *plan = record(desc, &params);
        run(plan, params, 2);
        assert_ok(esker_params_read(params, 8, values[variant], parts[8].n));
        esker_plan_destroy(plan);
        esker_params_unref(params);
    }
    assert_memory_equal(values[0], values[1], sizeof values[0]);
    assert_memory_equal(values[0], values[2], sizeof values[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_parameter_has_its_own_length),
        cmocka_unit_test(the_first_step_is_a_part_of_the_parameter),
        cmocka_unit_test(slices_and_repetition_change_no_bit),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
