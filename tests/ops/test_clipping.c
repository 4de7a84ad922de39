/* device test: clipping of gradients, by value and by norm, as steps of its own and as part of updates. */
#include <math.h>
#include <stdio.h>

#include "gpu/gpu.h"
#include "graph/graph.h"
#include "graph/params.h"
#include "support/optimizer_problem.h"

/* A gradient of one part at its start, clamped. */
static double start_gradient(const optimizer_problem *p, int part, int64_t i, double clip_value)
{
    double a = p->a[part][i], g = 2 * (a * p->start[part][i] - p->t[part][i]) * a / (double)p->n[part];
    return clip_value > 0 ? fmax(-clip_value, fmin(clip_value, g)) : g;
}

/* One step of sgd at rate 1: what the parameters lose is the clipped gradient; without fusion it is what can be read, too. */
static void clip_gradients(bool no_fusion)
{
    static const struct {
        float value, norm;
        bool scales;
        size_t block; /* 0: the device's */
    } rows[] = {{0.01f, 0, false, 0}, {0, 0.5f, true, 0},          {0.05f, 0.125f, true, 0},
                {0, 1000, false, 0},  {0.05f, 0.125f, true, 5400}, {0, INFINITY, false, 0}};
    const int n_dispatches[][2] = {{1, 2}, {3, 4}, {3, 4},
                                   {3, 4}, {0, 0}, {3, 3}}; /* of clipping and update: fused, or not */
    esker_limits *real = (esker_limits *)(uintptr_t)esker__device_limits(test_device()), kept = *real;
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        optimizer_problem p;
        esker_plan *plan;
        optimizer_problem_init(&p);
        assert_ok(esker_optimize(
            p.loss, &(esker_optimizer_desc){
                        .lr = 1, .clip_value = rows[row].value, .clip_norm = rows[row].norm, .keep_gradients = true}));
        esker_node *outputs[3] = {p.loss};
        int n_outputs = 1;
        if (rows[row].norm > 0) {
            outputs[1] = esker_gradient_norm(p.graph);
            outputs[2] = esker_square(outputs[1]); /* can be computed with */
            n_outputs = 3;
        }
        if (rows[row].block) real->storage_block_bytes = rows[row].block;
        esker_status st = esker_plan_compile(
            p.graph,
            &(esker_plan_desc){
                .device = test_device(), .outputs = outputs, .n_outputs = n_outputs, .no_fusion = no_fusion, .check = true},
            &plan);
        *real = kept;
        assert_ok(st);
        assert_ok(esker_plan_check(plan));
        if (n_dispatches[row][no_fusion])
            assert_int_equal(test_count_kernels(plan, "optim/"), n_dispatches[row][no_fusion]);
        bool in_place = no_fusion || rows[row].block;
        double sum = 0;
        for (int part = 0; part < OPTIMIZER_PARTS; part++)
            for (int64_t i = 0; !optimizer_parts[part].frozen && i < p.n[part]; i++)
                sum += pow(start_gradient(&p, part, i, rows[row].value), 2);
        double scale = rows[row].norm > 0 ? fmin(1, rows[row].norm / (sqrt(sum) + 1e-6)) : 1;
        assert_int_equal(scale < 1, rows[row].scales);
        optimizer_problem_write(&p, plan);
        uint64_t ticket;
        assert_ok(esker_plan_submit(plan, &ticket));
        for (int i = 1; i < n_outputs; i++) {
            float got;
            double want = i == 1 ? sqrt(sum) : sum;
            assert_ok(esker_plan_read(plan, ticket, i, &got, sizeof got));
            assert_close(&got, &want, NULL, 2e-6 * want, 1);
        }
        for (int part = 0; part < OPTIMIZER_PARTS; part++) {
            if (optimizer_parts[part].frozen) continue;
            float *got = malloc((size_t)p.n[part] * sizeof *got);
            double *want = malloc((size_t)p.n[part] * sizeof *want);
            assert_true(got && want);
            for (int64_t i = 0; i < p.n[part]; i++) want[i] = scale * start_gradient(&p, part, i, rows[row].value);
            for (int64_t i = 0; i < p.n[part] && !in_place; i++) want[i] = start_gradient(&p, part, i, 0);
            assert_ok(esker_params_read_gradient(p.params, part, got, p.n[part]));
            assert_close(got, want, NULL, 2e-6, p.n[part]);
            for (int64_t i = 0; i < p.n[part]; i++) want[i] = scale * start_gradient(&p, part, i, rows[row].value);
            for (int64_t i = 0; i < p.n[part]; i++) want[i] = p.start[part][i] - want[i];
            assert_ok(esker_params_read(p.params, part, got, p.n[part]));
            assert_close(got, want, NULL, 2e-6, p.n[part]);
            free(got);
            free(want);
        }
        esker_plan_destroy(plan);
        optimizer_problem_finish(&p);
    }
}

static void gradients_are_clipped(void **state)
{
    (void)state;
    clip_gradients(false);
    clip_gradients(true);
}

/* Three steps, in check mode, of which the clipping is part of the update or not. */
static void run_clipped(optimizer_problem *p, const esker_optimizer_desc *desc, bool no_fusion, int n_updates)
{
    esker_plan *plan;
    optimizer_problem_init(p);
    assert_ok(esker_optimize(p->loss, desc));
    assert_ok(esker_plan_compile(
        p->graph,
        &(esker_plan_desc){
            .device = test_device(), .outputs = &p->loss, .n_outputs = 1, .no_fusion = no_fusion, .check = true},
        &plan));
    bool second_pass = no_fusion || (desc->clip_value > 0 && esker__device_limits(test_device())->group_invocations < 1024);
    assert_int_equal(test_count_kernels(plan, "optim/"), n_updates + 1 + second_pass + no_fusion);
    for (int step = 0; step < 3; step++) {
        optimizer_problem_write(p, plan);
        assert_ok(esker_plan_submit(plan, NULL));
    }
    assert_ok(esker_device_finish(test_device()));
    esker_plan_destroy(plan);
}

static void clip_update(const optimizer_case *c, int which)
{
    esker_optimizer_desc desc = c->desc;
    desc.clip_value = which ? 0.05f : 0;
    desc.clip_norm = 0.125f;
    int n_updates = desc.kind == ESKER_OPTIMIZER_LAMB ? 4 : c->n_state == 3 ? 3 : 1;
    optimizer_problem fused, apart;
    run_clipped(&fused, &desc, false, n_updates);
    run_clipped(&apart, &desc, true, n_updates);
    for (int part = 0; part < OPTIMIZER_PARTS; part++) {
        float *got = malloc((size_t)fused.n[part] * sizeof *got), *want = malloc((size_t)fused.n[part] * sizeof *want);
        assert_true(got && want);
        assert_ok(esker_params_read(fused.params, part, got, fused.n[part]));
        assert_ok(esker_params_read(apart.params, part, want, fused.n[part]));
        for (int64_t i = 0; i < fused.n[part]; i++)
            if (!(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i]))))
                fail_msg("%s: element %lld of %s is %.9g, apart it was %.9g", c->name, (long long)i,
                         optimizer_parts[part].name, (double)got[i], (double)want[i]);
        free(got);
        free(want);
    }
    optimizer_problem_finish(&fused);
    optimizer_problem_finish(&apart);
}

static void every_update_clips(void **state)
{
    for (int which = 0; which < 2; which++) clip_update(*state, which);
}

/* More sums of squares than an invocation adds up: then a second pass does. */
static void many_parameters_are_clipped(void **state)
{
    (void)state;
    enum { N = 2100001 };
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {1, {N}}});
    esker_node *loss = esker_sum(esker_affine(w, 2, 0), NULL, 0, false); /* every gradient is 2 */
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.lr = 1, .clip_norm = 3}));
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1, .slice_seconds = -1}, &plan));
    assert_int_equal(test_count_kernels(plan, "optim/"), 3);
    assert_ok(esker_plan_submit(plan, NULL));
    float *got = malloc(N * sizeof *got), want = (float)(-3 / sqrt(N));
    assert_non_null(got);
    assert_ok(esker_params_read(esker_graph_get_params(graph), 0, got, N));
    for (int i = 0; i < N; i++)
        if (!(fabsf(got[i] - want) <= 1e-5f * fabsf(want)))
            fail_msg("element %d is %.9g, not %.9g", i, (double)got[i], (double)want);
    free(got);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void the_reference_of_clipping(void **state)
{
    (void)state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *w = esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {1, {2}}});
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {2}});
    assert_ok(esker_optimize(esker_sum(esker_mul(w, x), NULL, 0, false),
                             &(esker_optimizer_desc){.clip_value = 4, .clip_norm = 2.5f}));
    esker_node *clip = esker_gradient_norm(graph);
    assert_non_null(clip);
    double g[2] = {3, -9}, norm = 0, *in[] = {g};
    clip->op->reference(&(esker__reference){.node = clip, .in = in, .out = {&norm}});
    assert_true(fabs(norm - 5) < 1e-12 && fabs(g[0] - 1.5) < 1e-6 && fabs(g[1] + 2) < 1e-6);
    esker_graph_destroy(graph);

    assert_ok(esker_graph_create(NULL, &graph));
    assert_null(esker_gradient_norm(graph));
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "no optimizer with clip_norm");
    assert_null(esker_gradient_norm(NULL));
    esker_graph_destroy(graph);
}

int main(void)
{
    static const optimizer_case lamb = {"lamb", {.kind = ESKER_OPTIMIZER_LAMB, .weight_decay = 0.1f}, 2};
    struct CMUnitTest tests[N_OPTIMIZER_CASES + 4];
    const struct CMUnitTest more[] = {
        {"lamb", every_update_clips, NULL, NULL, (void *)(uintptr_t)&lamb},
        cmocka_unit_test(many_parameters_are_clipped),
        cmocka_unit_test(gradients_are_clipped),
        cmocka_unit_test(the_reference_of_clipping),
    };
    for (size_t i = 0; i < N_OPTIMIZER_CASES; i++)
        tests[i] = (struct CMUnitTest){optimizer_cases[i].name, every_update_clips, NULL, NULL,
                                       (void *)(uintptr_t)&optimizer_cases[i]};
    memcpy(tests + N_OPTIMIZER_CASES, more, sizeof more);
    return test_finish(_cmocka_run_group_tests("clipping", tests, sizeof tests / sizeof *tests, NULL, NULL));
}
