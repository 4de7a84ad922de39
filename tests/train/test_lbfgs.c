/* device test: L-BFGS: its vectors against double precision, and what a step promises. tests/optim compares it with PyTorch. */
#include "support/test.h"

#include <math.h>

#include <esker/lbfgs.h>
#include <esker/ops.h>

#include "train/lbfgs_vectors.h"

/* ---- Vectors ---- */

enum { HISTORY = 3 };

static const struct sizes {
    const char *name;
    int64_t n[2];  /* of two parameters with a frozen one between them */
    uint64_t part; /* 0: in one piece */
    int n_pairs;   /* of a direction */
    int order[HISTORY];
} sizes[] = {{"one element", {1, 1}, 0, 1, {0}},
             {"one group less one", {127, 64}, 0, 2, {1, 0}},
             {"one past a group of vec4", {513, 1}, 0, 3, {2, 0, 1}},
             {"parts", {1000, 333}, 256, 3, {1, 2, 0}},
             {"a part and a bit", {64, 64}, 64, 0, {0}},
             {"many groups", {70000, 129}, 0, 3, {0, 1, 2}},
             {"more than all groups take at once", {150000, 1}, 0, 1, {2}},
             {"parts with many groups", {140000, 70001}, 140032, 2, {2, 1}}};

/* A set of parameters on the device, through a plan with gradients. */
static esker_params *make_params(const struct sizes *s)
{
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *a = esker_parameter(graph, &(esker_param_desc){.name = "a", .shape = {1, {s->n[0]}}});
    esker_node *c = esker_parameter(graph, &(esker_param_desc){.name = "c", .shape = {1, {99}}, .frozen = true});
    esker_node *b = esker_parameter(graph, &(esker_param_desc){.name = "b", .shape = {1, {s->n[1]}}});
    esker_node *loss = esker_add(esker_add(esker_sum(a, NULL, 0, false), esker_sum(b, NULL, 0, false)),
                                 esker_sum(c, NULL, 0, false));
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.keep_gradients = true}));
    esker_params *params = esker_params_ref(esker_graph_get_params(graph));
    assert_ok(
        esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1}, &plan));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    return params;
}

static const esker__memory *memory_of(esker__lbfgs_vectors *v, int vector)
{
    return vector == ESKER__LBFGS_PARAMETERS ? &v->params->values
           : vector == ESKER__LBFGS_GRADIENT ? &v->params->gradients
                                             : &v->own[vector - ESKER__LBFGS_START];
}

/* Random values, the gaps between parameters zeros as always; `seed` 0: zeros. */
static float *fill(esker__lbfgs_vectors *v, int vector, uint64_t seed)
{
    uint64_t n = v->n_elems;
    float *values = calloc(n, sizeof *values), *some = malloc(n * sizeof *some);
    test_uniform(some, (int64_t)n, -1, 1, seed);
    for (size_t i = 0; i < v->params->n; i++) {
        const esker__param *p = &v->params->list[i];
        if (!p->frozen) memcpy(values + p->offset, some + p->offset, (size_t)p->n_elems * sizeof *values);
    }
    free(some);
    assert_ok(esker__memory_write(memory_of(v, vector), 0, values, n * sizeof *values));
    return values;
}

static float *values_of(esker__lbfgs_vectors *v, int vector)
{
    float *values = malloc(v->n_elems * sizeof *values);
    assert_ok(esker__memory_read(memory_of(v, vector), 0, values, v->n_elems * sizeof *values));
    return values;
}

static double product(const double *a, const double *b, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* The two loops as in the book. */
static void direction_reference(double *q, double *const s[], double *const y[], const double *rho, int n, double scale,
                                uint64_t n_elems)
{
    double alpha[HISTORY];
    for (int i = n - 1; i >= 0; i--) {
        alpha[i] = rho[i] * product(s[i], q, n_elems);
        for (uint64_t k = 0; k < n_elems; k++) q[k] -= alpha[i] * y[i][k];
    }
    for (uint64_t k = 0; k < n_elems; k++) q[k] *= n ? scale : 1;
    for (int i = 0; i < n; i++) {
        double beta = rho[i] * product(y[i], q, n_elems);
        for (uint64_t k = 0; k < n_elems; k++) q[k] += (alpha[i] - beta) * s[i][k];
    }
}

static double *doubles(const float *from, uint64_t n, double factor)
{
    double *out = malloc(n * sizeof *out);
    for (uint64_t i = 0; i < n; i++) out[i] = factor * from[i];
    return out;
}

static void assert_near(double got, double want, double magnitude)
{
    if (!(fabs(got - want) <= 3e-6 * magnitude)) fail_msg("%.9g in place of %.9g (of %.3g)", got, want, magnitude);
}

static void directions_are_right(void **state)
{
    const struct sizes *c = *state;
    esker_params *params = make_params(c);
    esker__lbfgs_vectors v;
    assert_ok(esker__lbfgs_vectors_init(&v, test_device(), params, HISTORY, c->part));
    uint64_t n = v.n_elems;
    float *filled[2 * HISTORY + 1];
    double *s[HISTORY], *y[HISTORY], rho[HISTORY];
    for (int i = 0; i < c->n_pairs; i++) {
        int at = ESKER__LBFGS_PAIRS + 2 * c->order[i];
        filled[2 * i] = fill(&v, at, (uint64_t)(3 * i) + 5);
        filled[2 * i + 1] = fill(&v, at + 1, (uint64_t)(3 * i) + 6);
        s[i] = doubles(filled[2 * i], n, 1);
        y[i] = doubles(filled[2 * i + 1], n, 1);
        rho[i] = (double)(float)(0.5 / product(y[i], y[i], n));
    }
    float *g = filled[2 * HISTORY] = fill(&v, ESKER__LBFGS_GRADIENT, 100);
    double *gradient = doubles(g, n, 1), *want = doubles(g, n, -1);
    direction_reference(want, s, y, rho, c->n_pairs, 0.75, n);
    esker__lbfgs_direct(&v, c->order, rho, c->n_pairs, 0.75);
    assert_ok(esker__lbfgs_submit(&v));
    esker__lbfgs_numbers numbers;
    assert_ok(esker__lbfgs_read(&v, &numbers));
    float *got = values_of(&v, ESKER__LBFGS_DIRECTION);
    assert_close(got, want, NULL, 2e-6, (int64_t)n);
    double largest = 0, magnitude = 0;
    for (uint64_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i])), magnitude += fabs(want[i] * gradient[i]);
    assert_near(numbers.slope, product(want, gradient, n), magnitude);
    assert_near(numbers.largest, largest, largest);

    /* The same bits again. */
    esker__lbfgs_direct(&v, c->order, rho, c->n_pairs, 0.75);
    assert_ok(esker__lbfgs_submit(&v));
    esker__lbfgs_numbers again;
    assert_ok(esker__lbfgs_read(&v, &again));
    float *same = values_of(&v, ESKER__LBFGS_DIRECTION);
    assert_memory_equal(got, same, n * sizeof *got);
    assert_true(again.slope == numbers.slope);
    for (int i = 0; i < c->n_pairs; i++) {
        free(filled[2 * i]);
        free(filled[2 * i + 1]);
        free(s[i]);
        free(y[i]);
    }
    free(g);
    free(gradient);
    free(want);
    free(got);
    free(same);
    esker__lbfgs_vectors_finish(&v);
    esker_params_unref(params);
}

static void measures_are_right(void **state)
{
    const struct sizes *c = *state;
    esker_params *params = make_params(c);
    esker__lbfgs_vectors v;
    assert_ok(esker__lbfgs_vectors_init(&v, test_device(), params, HISTORY, c->part));
    uint64_t n = v.n_elems;
    float *g = fill(&v, ESKER__LBFGS_GRADIENT, 20), *d = fill(&v, ESKER__LBFGS_DIRECTION, 21),
          *h = fill(&v, ESKER__LBFGS_START_GRADIENT, 22), *x = fill(&v, ESKER__LBFGS_START, 23);
    esker__lbfgs_combine(&v, ESKER__LBFGS_PARAMETERS, 1, ESKER__LBFGS_START, 0.375, ESKER__LBFGS_DIRECTION);
    esker__lbfgs_combine(&v, ESKER__LBFGS_KEPT, -2, ESKER__LBFGS_GRADIENT, 0, -1);
    esker__lbfgs_measure(&v);
    assert_ok(esker__lbfgs_submit(&v));
    esker__lbfgs_numbers got;
    assert_ok(esker__lbfgs_read(&v, &got));
    double slope = 0, slopes = 0, largest = 0, sum = 0, yd = 0, yds = 0, yy = 0;
    double *moved = malloc(n * sizeof *moved), *twice = doubles(g, n, -2);
    for (uint64_t i = 0; i < n; i++) {
        double change = (double)g[i] - h[i];
        slope += (double)g[i] * d[i];
        slopes += fabs((double)g[i] * d[i]);
        largest = fmax(largest, fabs(g[i]));
        sum += fabs(g[i]);
        yd += change * d[i];
        yds += fabs(change * d[i]);
        yy += change * change;
        moved[i] = x[i] + 0.375 * d[i];
    }
    assert_near(got.slope, slope, slopes);
    assert_true(got.largest == largest);
    assert_near(got.sum, sum, sum);
    assert_near(got.yd, yd, yds);
    assert_near(got.yy, yy, yy);
    float *parameters = values_of(&v, ESKER__LBFGS_PARAMETERS), *kept = values_of(&v, ESKER__LBFGS_KEPT);
    assert_close(parameters, moved, NULL, 2e-7, (int64_t)n);
    assert_close(kept, twice, NULL, 0, (int64_t)n);
    float frozen[99], zeros[99] = {0};
    assert_ok(esker_params_read(params, 1, frozen, 99));
    assert_memory_equal(frozen, zeros, sizeof zeros);
    free(g), free(d), free(h), free(x), free(moved), free(twice), free(parameters), free(kept);
    esker__lbfgs_vectors_finish(&v);
    esker_params_unref(params);
}

/* ---- Steps ---- */

static const float targets[5] = {1, -2, 0.5f, 3, 0};

/* sum (p^2 - t)^2 / 4 + sum (q - u)^2, q in another group; u is an input, t constants; c is frozen. */
static esker_node *small_loss(esker_graph *graph)
{
    const esker_shape five = {1, {5}};
    esker_node *p = esker_parameter(graph,
                                    &(esker_param_desc){.name = "p", .shape = five, .init = {ESKER_INIT_CONSTANT, 0.75f}});
    esker_node *c = esker_parameter(
        graph, &(esker_param_desc){.name = "c", .shape = five, .init = {ESKER_INIT_CONSTANT, 0.1f}, .frozen = true});
    esker_node *q = esker_parameter(
        graph, &(esker_param_desc){.name = "q", .shape = five, .init = {ESKER_INIT_CONSTANT, -1}, .group = 2});
    esker_node *u = esker_input(graph, "u", ESKER_DTYPE_F32, &five);
    esker_node *first = esker_square(esker_sub(esker_square(p), esker_full(graph, &five, 2)));
    esker_node *second = esker_square(esker_sub(q, esker_add(u, c)));
    return esker_sum(esker_add(esker_mul(first, esker_full(graph, &five, 0.25f)), second), NULL, 0, false);
}

static esker_lbfgs *small_lbfgs(esker_lbfgs_desc desc, esker_params **out_params)
{
    esker_graph *graph;
    esker_lbfgs *opt;
    desc.device = test_device();
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = small_loss(graph);
    *out_params = esker_params_ref(esker_graph_get_params(graph));
    assert_ok(esker_lbfgs_create(loss, &desc, &opt));
    assert_ok(esker_plan_check(esker_lbfgs_get_plan(opt)));
    esker_graph_destroy(graph);
    assert_ok(esker_lbfgs_write(opt, "u", targets, sizeof targets));
    return opt;
}

static void a_small_problem_is_solved(void **state)
{
    esker_params *params;
    esker_lbfgs *opt = small_lbfgs(**(esker_lbfgs_desc *const *)*state, &params);
    esker_lbfgs_result r = {0};
    int steps = 0;
    for (; steps < 20 && r.stop != ESKER_LBFGS_GRADIENT && r.stop != ESKER_LBFGS_SLOPE; steps++) {
        double before = r.loss;
        assert_ok(esker_lbfgs_step(opt, &r));
        if (steps) assert_true(r.loss_before <= before);
        assert_true(r.loss <= r.loss_before);
    }
    assert_true(steps < 20);
    assert_true(r.loss < 2e-9); /* where a step along the direction gains less than tolerance_change */
    float p[5], q[5], c[5], frozen[5];
    double roots[5], want[5];
    for (int i = 0; i < 5; i++) roots[i] = sqrt(2), want[i] = targets[i] + 0.1, frozen[i] = 0.1f;
    assert_ok(esker_params_read(params, 0, p, 5));
    assert_ok(esker_params_read(params, 1, c, 5));
    assert_ok(esker_params_read(params, 2, q, 5));
    assert_close(p, roots, NULL, 3e-5, 5);
    assert_close(q, want, NULL, 5e-5, 5);
    assert_memory_equal(c, frozen, sizeof c);
    float gradient[5];
    assert_ok(esker_params_read_gradient(params, 2, gradient, 5));
    for (int i = 0; i < 5; i++) assert_true(fabs((double)gradient[i]) <= r.gradient_max);

    /* Other data: it goes on from there. */
    float other[5] = {2, 2, 2, 2, 2};
    assert_ok(esker_lbfgs_write(opt, "u", other, sizeof other));
    for (int i = 0; i < 20; i++) assert_ok(esker_lbfgs_step(opt, &r));
    assert_true(r.loss < 2e-9);
    esker_lbfgs_destroy(opt);
    esker_params_unref(params);
}

static esker_lbfgs_desc searching = {.iterations = 4}, checked = {.iterations = 5, .history = 2, .check = true},
                        fixed = {.iterations = 6, .search = ESKER_LINE_SEARCH_NONE, .lr = 0.5f};
static esker_lbfgs_desc *const solvers[] = {&searching, &checked, &fixed};

static void steps_cost_a_few_scalars(void **state)
{
    (void)state;
    esker_params *params;
    esker_lbfgs *opt = small_lbfgs((esker_lbfgs_desc){.iterations = 1}, &params);
    esker_lbfgs_result r;
    esker_counters before, after;
    esker_plan_info info;
    assert_ok(esker_lbfgs_step(opt, &r));
    esker_device_get_counters(test_device(), &before);
    assert_ok(esker_lbfgs_step(opt, &r));
    esker_device_get_counters(test_device(), &after);
    assert_int_equal(r.iterations, 1);
    assert_int_equal((int)(after.heap_allocations - before.heap_allocations), 0);
    assert_int_equal((int)(after.gl_objects - before.gl_objects), 0);
    assert_int_equal((int)(after.compiles - before.compiles), 0);
    /* Loss and eight words for each evaluation, eight words for each direction. */
    assert_int_equal((int)(after.downloaded_bytes - before.downloaded_bytes), 36 * r.evaluations + 32 * r.iterations);
    esker_plan_get_info(esker_lbfgs_get_plan(opt), &info);
    assert_int_equal(info.n_outputs, 1);
    esker_lbfgs_destroy(opt);
    esker_params_unref(params);
}

static void the_same_bits_again(void **state)
{
    (void)state;
    float values[2][10];
    for (int run = 0; run < 2; run++) {
        esker_params *params;
        esker_lbfgs_result r;
        esker_lbfgs *opt = small_lbfgs((esker_lbfgs_desc){.iterations = 3}, &params);
        for (int i = 0; i < 2; i++) assert_ok(esker_lbfgs_step(opt, &r));
        assert_ok(esker_params_read(params, 0, values[run], 5));
        assert_ok(esker_params_read(params, 2, values[run] + 5, 5));
        esker_lbfgs_destroy(opt);
        esker_params_unref(params);
    }
    assert_memory_equal(values[0], values[1], sizeof values[0]);
}

/* Without its history a step is one of steepest descent; with it, it is not. */
static void reset_forgets(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        esker_params *params;
        esker_lbfgs_result r;
        esker_lbfgs *opt = small_lbfgs((esker_lbfgs_desc){.iterations = 1, .search = ESKER_LINE_SEARCH_NONE, .lr = 0.125f},
                                       &params);
        for (int i = 0; i < 3; i++) assert_ok(esker_lbfgs_step(opt, &r));
        float before[5], after[5], gradient[5];
        if (reset) esker_lbfgs_reset(opt);
        assert_ok(esker_params_read(params, 2, before, 5));
        assert_ok(esker_lbfgs_step(opt, &r));
        assert_ok(esker_params_read(params, 2, after, 5));
        assert_ok(esker_params_read_gradient(params, 2, gradient, 5));
        double off = 0;
        for (int i = 0; i < 5; i++) off = fmax(off, fabs((double)after[i] - before[i] + r.step_length * gradient[i]));
        assert_true(reset ? off < 1e-6 : off > 1e-3);
        esker_lbfgs_destroy(opt);
        esker_params_unref(params);
    }
}

static void what_is_not_finite_stops(void **state)
{
    (void)state;
    esker_params *params;
    esker_lbfgs_result r;
    esker_lbfgs *opt = small_lbfgs((esker_lbfgs_desc){.iterations = 3}, &params);
    float start[5], now[5];
    const float bad[5] = {0, 0, NAN, 0, 0};
    assert_ok(esker_params_read(params, 0, start, 5));
    assert_ok(esker_lbfgs_write(opt, "u", bad, sizeof bad));
    assert_ok(esker_lbfgs_step(opt, &r));
    assert_int_equal(r.stop, ESKER_LBFGS_NOT_FINITE);
    assert_true(isnan(r.loss));
    assert_ok(esker_params_read(params, 0, now, 5));
    assert_memory_equal(start, now, sizeof now);
    assert_ok(esker_lbfgs_write(opt, "u", targets, sizeof targets));
    for (int i = 0; i < 10; i++) assert_ok(esker_lbfgs_step(opt, &r));
    assert_true(r.loss < 1e-8);
    esker_lbfgs_destroy(opt);
    esker_params_unref(params);

    /* log(x): the first trial is far beyond where that is a number, and the search comes back. */
    esker_graph *graph;
    const esker_shape one = {1, {1}};
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *p = esker_parameter(graph,
                                    &(esker_param_desc){.name = "p", .shape = one, .init = {ESKER_INIT_CONSTANT, 4}});
    esker_node *loss = esker_sum(esker_sub(p, esker_log(p)), NULL, 0, false);
    params = esker_params_ref(esker_graph_get_params(graph));
    assert_ok(esker_lbfgs_create(loss, &(esker_lbfgs_desc){.device = test_device(), .lr = 100}, &opt));
    assert_ok(esker_lbfgs_step(opt, &r));
    assert_ok(esker_params_read(params, 0, now, 1));
    assert_close(now, (double[]){1}, NULL, 2e-3, 1);
    esker_lbfgs_destroy(opt);
    esker_graph_destroy(graph);
    esker_params_unref(params);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_lbfgs *opt = (esker_lbfgs *)1;
    esker_lbfgs_result r;
    const struct {
        esker_lbfgs_desc desc;
        const char *part;
    } bad[] = {{{.lr = NAN}, "lr is nan"},
               {{.lr = -1}, "lr is -1"},
               {{.history = -1}, "a history of -1, 1 to 1000"},
               {{.history = 1001}, "a history of 1001, 1 to 1000"},
               {{.iterations = -2}, "-2 iterations"},
               {{.evaluations = -3}, "-3 evaluations"},
               {{.tolerance_gradient = INFINITY}, "tolerance_gradient is inf"},
               {{.tolerance_change = -1}, "tolerance_change is -1"},
               {{.search = (esker_line_search)7}, "unknown line search 7"}};
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = small_loss(graph);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        esker_lbfgs_desc desc = bad[i].desc;
        desc.device = dev;
        assert_fails(esker_lbfgs_create(loss, &desc, &opt), ESKER_ERR_INVALID, bad[i].part);
        assert_null(opt);
    }
    assert_fails(esker_lbfgs_create(loss, &(esker_lbfgs_desc){0}, &opt), ESKER_ERR_INVALID, "no loss, desc or device");
    assert_fails(esker_lbfgs_create(NULL, &(esker_lbfgs_desc){.device = dev}, &opt), ESKER_ERR_INVALID, "no loss");
    assert_ok(esker_graph_status(graph)); /* a desc that was refused leaves the graph as it was */
    assert_ok(esker_lbfgs_create(loss, &(esker_lbfgs_desc){.device = dev}, &opt));
    assert_fails(esker_lbfgs_write(opt, "v", targets, sizeof targets), ESKER_ERR_INVALID, "no input \"v\"");
    assert_fails(esker_lbfgs_write(opt, "u", targets, 4), ESKER_ERR_INVALID, "has 20 bytes, 4 were given");
    assert_fails(esker_lbfgs_step(opt, NULL), ESKER_ERR_INVALID, "NULL");
    assert_fails(esker_lbfgs_step(NULL, &r), ESKER_ERR_INVALID, "NULL");
    esker_lbfgs_destroy(opt);
    assert_fails(esker_lbfgs_create(loss, &(esker_lbfgs_desc){.device = dev}, &opt), ESKER_ERR_INVALID,
                 "has an optimizer already, collect_gradients");
    esker_graph_destroy(graph);

    assert_ok(esker_graph_create(NULL, &graph));
    loss = small_loss(graph);
    esker_parameter(graph, &(esker_param_desc){.name = "lost", .shape = {1, {2}}});
    assert_fails(esker_lbfgs_create(loss, &(esker_lbfgs_desc){.device = dev}, &opt), ESKER_ERR_INVALID,
                 "the loss does not depend on parameter lost");
    esker_graph_destroy(graph);
    esker_lbfgs_destroy(NULL);
    esker_lbfgs_reset(NULL);
    assert_null(esker_lbfgs_get_plan(NULL));
}

int main(void)
{
    enum { SIZES = sizeof sizes / sizeof *sizes, SOLVERS = sizeof solvers / sizeof *solvers, OTHERS = 5 };
    struct CMUnitTest tests[2 * SIZES + SOLVERS + OTHERS];
    int n = 0;
    for (int i = 0; i < SIZES; i++) {
        tests[n++] = (struct CMUnitTest){sizes[i].name, directions_are_right, NULL, NULL, (void *)&sizes[i]};
        tests[n++] = (struct CMUnitTest){sizes[i].name, measures_are_right, NULL, NULL, (void *)&sizes[i]};
    }
    for (int i = 0; i < SOLVERS; i++)
        tests[n++] = (struct CMUnitTest){"a_small_problem_is_solved", a_small_problem_is_solved, NULL, NULL,
                                         (void *)&solvers[i]};
    const struct CMUnitTest others[OTHERS] = {
        cmocka_unit_test(steps_cost_a_few_scalars), cmocka_unit_test(the_same_bits_again), cmocka_unit_test(reset_forgets),
        cmocka_unit_test(what_is_not_finite_stops), cmocka_unit_test(bad_input_is_refused)};
    memcpy(tests + n, others, sizeof others);
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
