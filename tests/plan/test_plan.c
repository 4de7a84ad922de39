/* device test: plans of random graphs, their checker, hazards, slices, and steps. */
#include "support/random_graph.h"
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include "base/philox.h"
#include "plan/plan.h"

#define N_ELEMS (RANDOM_GRAPH_SIDE * RANDOM_GRAPH_SIDE)
#define N_OUT   3

static esker_plan *plan_random(uint64_t stream, int n_ops, const esker_plan_desc *base, esker_graph **out_graph,
                               esker_node **outputs)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    random_graph(graph, n_ops, stream, outputs, N_OUT);
    assert_ok(esker_graph_status(graph));
    esker_plan_desc desc = *base;
    desc.outputs = outputs;
    desc.n_outputs = N_OUT;
    assert_ok(esker_plan_compile(graph, &desc, &plan));
    *out_graph = graph;
    return plan;
}

/* ---- Without a device ---- */

static void random_plans_check(void **state)
{
    (void)state;
    double worst = 0;
    for (uint64_t stream = 0; stream < 200; stream++) {
        esker_graph *graph;
        esker_node *outputs[N_OUT];
        esker_plan_info info;
        esker_plan *plan = plan_random(stream, 4 + (int)(stream % 90), &(esker_plan_desc){0}, &graph, outputs);
        assert_ok(esker_plan_check(plan));
        esker_plan_get_info(plan, &info);
        assert_true(info.arena_bytes >= info.arena_lower_bound);
        if (info.arena_lower_bound) {
            double ratio = (double)info.arena_bytes / (double)info.arena_lower_bound;
            if (ratio > worst) worst = ratio;
        }
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    print_message("worst arena / lower bound: %.3f\n", worst);
}

static void every_missing_barrier_is_caught(void **state)
{
    (void)state;
    int n_removed = 0;
    for (uint64_t stream = 0; stream < 40; stream++) {
        esker_graph *graph;
        esker_node *outputs[N_OUT];
        esker_plan *plan = plan_random(stream, 40, &(esker_plan_desc){0}, &graph, outputs);
        for (size_t p = 1; p < plan->n_dispatches; p++) {
            esker__plan_dispatch *d = &plan->dispatches[p];
            if (!d->barrier || d->last) continue;
            d->barrier = false;
            assert_fails(esker_plan_check(plan), ESKER_ERR_INTERNAL, "no barrier between");
            d->barrier = true;
            n_removed++;
        }
        assert_ok(esker_plan_check(plan));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    assert_true(n_removed > 100);
}

static void every_overlap_is_caught(void **state)
{
    (void)state;
    int n_moved = 0;
    for (uint64_t stream = 0; stream < 40; stream++) {
        esker_graph *graph;
        esker_node *outputs[N_OUT];
        esker_plan *plan = plan_random(stream, 30, &(esker_plan_desc){0}, &graph, outputs);
        int first[512], last[512];
        assert_true(plan->n_values <= 512);
        for (size_t v = 0; v < plan->n_values; v++) first[v] = last[v] = -1;
        for (size_t p = 0; p < plan->n_dispatches; p++)
            for (int i = 0; i < plan->dispatches[p].n_operands; i++) {
                int v = plan->dispatches[p].operands[i].value;
                if (first[v] < 0) first[v] = (int)p;
                last[v] = (int)p;
            }
        for (size_t a = 0; a < plan->n_values; a++)
            for (size_t b = 0; b < plan->n_values; b++) {
                esker__plan_value *va = &plan->values[a], *vb = &plan->values[b];
                bool together = va->block >= 0 && vb->block >= 0 && va->block != vb->block && first[a] < first[b] &&
                                last[a] > first[b];
                if (!together || va->offset == vb->offset) continue;
                uint64_t offset = vb->offset;
                vb->offset = va->offset;
                assert_int_not_equal(esker_plan_check(plan), ESKER_OK);
                vb->offset = offset;
                n_moved++;
            }
        assert_ok(esker_plan_check(plan));
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
    assert_true(n_moved > 100);
}

static void bad_plans_are_refused(void **state)
{
    (void)state;
    esker_graph *graph, *other;
    esker_plan *plan;
    const esker_shape shape = {1, {4}}, huge = {2, {40000, 2000}};
    assert_ok(esker_graph_create(NULL, &graph));
    assert_ok(esker_graph_create(NULL, &other));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &shape), *none = NULL;
    esker_node *foreign = esker_relu(esker_input(other, "x", ESKER_DTYPE_F32, &shape));
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){0}, &plan), ESKER_ERR_INVALID, "nothing to compute");
    assert_null(plan);
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &none, .n_outputs = 1}, &plan), ESKER_ERR_INVALID,
                 "output 0 is NULL");
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &foreign, .n_outputs = 1}, &plan),
                 ESKER_ERR_INVALID, "another graph");
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &x, .n_outputs = 1, .slice_seconds = NAN}, &plan),
                 ESKER_ERR_INVALID, "slice nan");
    esker_node *big = esker_relu(esker_input(graph, "big", ESKER_DTYPE_F32, &huge));
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &big, .n_outputs = 1}, &plan), ESKER_ERR_LIMIT,
                 "320000000 bytes");
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &x, .n_outputs = 1}, &plan));
    assert_fails(esker_plan_submit(plan, NULL), ESKER_ERR_INVALID, "limits only");
    assert_fails(esker_plan_get_dispatch(plan, 99, &(esker_dispatch_info){0}), ESKER_ERR_INVALID, "dispatch 99");
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    esker_graph_destroy(other);
}

/* ---- On a device ---- */

static void run_random(esker_plan *plan, float results[N_OUT][N_ELEMS])
{
    uint64_t ticket;
    for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) {
        float x[N_ELEMS];
        char name[8];
        snprintf(name, sizeof name, "x%d", i);
        int input = esker_plan_find_input(plan, name);
        test_uniform(x, N_ELEMS, -1, 1, 100 + (uint64_t)i);
        if (input >= 0) assert_ok(esker_plan_write(plan, input, x, sizeof x));
    }
    assert_ok(esker_plan_submit(plan, &ticket));
    for (int i = 0; i < N_OUT; i++) assert_ok(esker_plan_read(plan, ticket, i, results[i], sizeof results[i]));
}

static void reference_random(esker_graph *graph, esker_node *const *outputs, double want[N_OUT][N_ELEMS])
{
    double inputs[RANDOM_GRAPH_INPUTS][N_ELEMS], **values;
    const double **given = calloc(graph->n_nodes, sizeof *given);
    for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) {
        float x[N_ELEMS];
        test_uniform(x, N_ELEMS, -1, 1, 100 + (uint64_t)i);
        for (int j = 0; j < N_ELEMS; j++) inputs[i][j] = x[j];
        given[i] = inputs[i];
    }
    assert_ok(esker__evaluate(graph, given, outputs, N_OUT, &values, NULL));
    for (int i = 0; i < N_OUT; i++) memcpy(want[i], values[outputs[i]->id], sizeof want[i]);
    esker__evaluate_free(graph, values);
    free(given);
}

static void random_plans_compute_the_reference(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    for (uint64_t stream = 0; stream < 25; stream++) {
        esker_graph *graph;
        esker_node *outputs[N_OUT];
        float fused[N_OUT][N_ELEMS], plain[N_OUT][N_ELEMS];
        double want[N_OUT][N_ELEMS];
        esker_plan *plan = plan_random(stream, 30, &(esker_plan_desc){.device = dev}, &graph, outputs);
        run_random(plan, fused);
        esker_plan_destroy(plan);
        assert_ok(esker_plan_compile(
            graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = N_OUT, .no_fusion = true}, &plan));
        run_random(plan, plain);
        esker_plan_destroy(plan);
        reference_random(graph, outputs, want);
        for (int i = 0; i < N_OUT; i++) {
            /* A wrong buffer or a missing barrier is off by the size of the values; 30 operations round by far less. */
            assert_close(fused[i], want[i], NULL, 1e-3, N_ELEMS);
            assert_close(plain[i], want[i], NULL, 1e-3, N_ELEMS);
        }
        esker_graph_destroy(graph);
    }
}

static void slices_change_no_bit(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    for (uint64_t stream = 0; stream < 8; stream++) {
        esker_graph *graph, *again;
        esker_node *outputs[N_OUT];
        float whole[N_OUT][N_ELEMS], sliced[N_OUT][N_ELEMS];
        esker_plan_info a, b;
        /* Of both the same rates, by which some devices' plans also weigh barriers. */
        esker_plan_desc desc = {.device = dev, .slice_seconds = -1, .flops_per_second = 1e9, .bytes_per_second = 1e9};
        esker_plan *plan = plan_random(stream, 20, &desc, &graph, outputs);
        run_random(plan, whole);
        esker_plan_get_info(plan, &a);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
        desc.slice_seconds = 1e-18;
        plan = plan_random(stream, 20, &desc, &again, outputs);
        run_random(plan, sliced);
        esker_plan_get_info(plan, &b);
        assert_true(b.n_dispatches > a.n_dispatches);
        assert_int_equal(b.n_barriers, a.n_barriers);
        assert_memory_equal(whole, sliced, sizeof whole);
        esker_plan_destroy(plan);
        esker_graph_destroy(again);
    }
}

static void given_values_can_be_outputs(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_graph *graph;
    esker_plan *plan;
    const esker_shape shape = {1, {5}}, column = {2, {5, 1}};
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_U8, &shape);
    esker_node *w = esker_parameter(graph,
                                    &(esker_param_desc){.name = "w", .shape = shape, .init = {ESKER_INIT_CONSTANT, 3}});
    esker_node *outputs[] = {x, esker_reshape(w, &column), esker_full(graph, &shape, 7), w};
    uint8_t in[5] = {1, 2, 3, 254, 255}, out_x[5];
    float out_w[5], out_full[5];
    uint64_t ticket;
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = outputs, .n_outputs = 4}, &plan));
    assert_fails(esker_plan_submit(plan, NULL), ESKER_ERR_INVALID, "input x was not written");
    assert_fails(esker_plan_write(plan, 0, in, 4), ESKER_ERR_INVALID, "has 5 bytes, 4 were given");
    assert_fails(esker_plan_write(plan, 1, in, 5), ESKER_ERR_INVALID, "input 1 of 1");
    assert_ok(esker_plan_write(plan, 0, in, 5));
    assert_ok(esker_plan_submit(plan, &ticket));
    assert_ok(esker_plan_read(plan, ticket, 0, out_x, 5));
    assert_ok(esker_plan_read(plan, ticket, 1, out_w, 20));
    assert_ok(esker_plan_read(plan, ticket, 2, out_full, 20));
    assert_memory_equal(out_x, in, 5);
    for (int i = 0; i < 5; i++) assert_true(out_w[i] == 3 && out_full[i] == 7);
    assert_fails(esker_plan_read(plan, ticket, 2, out_full, 16), ESKER_ERR_INVALID, "20 bytes, 16 were asked");
    assert_fails(esker_plan_read(plan, ticket, 4, out_full, 20), ESKER_ERR_INVALID, "output 4 of 4");
    assert_fails(esker_plan_read(plan, ticket + 1, 0, out_x, 5), ESKER_ERR_INVALID, "not submitted");
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void results_stay_for_some_steps(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_graph *graph;
    esker_plan *plan;
    const esker_shape shape = {1, {1}};
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_affine(esker_input(graph, "x", ESKER_DTYPE_F32, &shape), 2, 1);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    esker_counters before, after;
    float x, got;
    for (int step = 0; step < 20; step++) {
        if (step == 8) esker_device_get_counters(dev, &before);
        uint64_t ticket;
        x = (float)step;
        assert_ok(esker_plan_write(plan, 0, &x, 4));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_true(ticket == (uint64_t)step);
        if (step < ESKER_PLAN_SLOTS - 1) continue;
        assert_ok(esker_plan_read(plan, ticket - (ESKER_PLAN_SLOTS - 1), 0, &got, 4));
        assert_true(got == 2 * (float)(step - (ESKER_PLAN_SLOTS - 1)) + 1);
    }
    esker_device_get_counters(dev, &after);
    assert_true(after.heap_allocations == before.heap_allocations);
    assert_true(after.gl_objects == before.gl_objects);
    assert_true(after.compiles == before.compiles);
    assert_true(after.waits == before.waits);
    assert_fails(esker_plan_read(plan, 3, 0, &got, 4), ESKER_ERR_INVALID, "are gone");
    bool done;
    assert_ok(esker_plan_poll(plan, 3, &done));
    assert_true(done);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* Kernels write whole quads: what they put behind a gradient's end must not reach the optimizer as a gradient. */
static void gaps_between_parameters_stay_zero(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    const int sizes[] = {5, 1, 63, 66, 7};
    esker_node *loss = NULL;
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        esker_node *p = esker_parameter(
            graph,
            &(esker_param_desc){.name = name, .shape = {1, {sizes[i]}}, .init = {.kind = ESKER_INIT_CONSTANT, .value = 2}});
        /* exp(0) is 1: zeros behind the end of the value do not stay zeros by themselves. */
        esker_node *term = esker_sum(esker_mul(esker_exp(esker_sigmoid(p)), esker_sqrt(p)), NULL, 0, false);
        loss = loss ? esker_add(loss, term) : term;
    }
    assert_ok(
        esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.01f, .keep_gradients = true}));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &loss, .n_outputs = 1}, &plan));
    for (int step = 0; step < 3; step++) assert_ok(esker_plan_run(plan));
    const esker_params *params = plan->params;
    float *all = malloc(params->trained_elems * sizeof *all);
    const esker__memory *arenas[] = {&params->values, &params->gradients, &params->state[0], &params->state[1]};
    for (int b = 0; b < 4; b++) {
        assert_ok(esker__memory_read(arenas[b], 0, all, params->trained_elems * sizeof *all));
        for (size_t i = 0; i < params->n; i++) {
            const esker__param *p = &params->list[i];
            for (uint64_t j = 0; j < esker__round_up((uint64_t)p->n_elems, ESKER__PARAM_ALIGN); j++) {
                float v = all[p->offset + j];
                if (j < (uint64_t)p->n_elems)
                    assert_true(v != 0);
                else if (v != 0)
                    fail_msg("buffer %d: element %llu behind %s is %g", b, (unsigned long long)j, p->name, (double)v);
            }
        }
    }
    free(all);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* What lies between products that one dispatch does one behind another. */
static int with_chains(void **state)
{
    (void)state;
    return setenv("ESKER_VARIANT", "whole_rows,chains,chain2x128,recompute", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_check),
        cmocka_unit_test(every_missing_barrier_is_caught),
        cmocka_unit_test(every_overlap_is_caught),
        cmocka_unit_test(bad_plans_are_refused),
        cmocka_unit_test(random_plans_compute_the_reference),
        cmocka_unit_test(slices_change_no_bit),
        cmocka_unit_test_setup_teardown(random_plans_compute_the_reference, with_chains, test_without_variant),
        cmocka_unit_test(given_values_can_be_outputs),
        cmocka_unit_test(results_stay_for_some_steps),
        cmocka_unit_test(gaps_between_parameters_stay_zero),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
