/* device test: optimizers: 50 steps against double precision, their dispatches, and parameter groups. */
#include <math.h>
#include <stdio.h>

#include "gpu/gpu.h"
#include "graph/graph.h"
#include "graph/params.h"
#include "support/optimizer_problem.h"

#define STEPS 50

/* The learning rate of a step: the description's for the first half (set_lr 0), another one after. */
#define LATER_LR 0.003f

static double lr_of(const esker_optimizer_desc *d, int step, double usual)
{
    return step >= STEPS / 2 ? LATER_LR : d->lr > 0 ? d->lr : usual;
}

typedef struct element {
    double theta, buf, m, v, mean, acc, mu_product;
} element;

static double or_else(float value, double usual)
{
    return value > 0 ? value : usual;
}

/* NAdam's momentum at step t, from 1. */
static double nadam_mu(const esker_optimizer_desc *d, int t)
{
    return or_else(d->beta1, 0.9f) * (1 - 0.5 * pow(0.96, t * or_else(d->momentum_decay, 4e-3f)));
}

/* Step t (from 1) as PyTorch's documentation writes it (Lion: as its paper), apart from the library's own code. */
static void move(element *e, const esker_optimizer_desc *d, double lr, double decay, int t, double g)
{
    double b1 = or_else(d->beta1, 0.9f), b2 = or_else(d->beta2, d->kind == ESKER_OPTIMIZER_LION ? 0.99f : 0.999f);
    double eps = or_else(d->eps, d->kind == ESKER_OPTIMIZER_ADAGRAD    ? 1e-10f
                                 : d->kind == ESKER_OPTIMIZER_ADADELTA ? 1e-6f
                                                                       : 1e-8f);
    double alpha = or_else(d->alpha, d->kind == ESKER_OPTIMIZER_ADADELTA ? 0.9f : 0.99f), mu = d->momentum;
    if (d->kind == ESKER_OPTIMIZER_ADAMW || d->kind == ESKER_OPTIMIZER_LION)
        e->theta *= 1 - lr * decay;
    else
        g += decay * e->theta;
    if (d->kind == ESKER_OPTIMIZER_SGD) {
        if (mu > 0) {
            e->buf = t == 1 ? g : mu * e->buf + (1 - (double)d->dampening) * g;
            g = d->nesterov ? g + mu * e->buf : e->buf;
        }
        e->theta -= lr * g;
    } else if (d->kind == ESKER_OPTIMIZER_RMSPROP) {
        e->v = alpha * e->v + (1 - alpha) * g * g;
        e->mean = alpha * e->mean + (1 - alpha) * g;
        double root = sqrt(d->centered ? fmax(e->v - e->mean * e->mean, 0) : e->v) + eps;
        e->buf = mu * e->buf + g / root;
        e->theta -= lr * e->buf;
    } else if (d->kind == ESKER_OPTIMIZER_ADAGRAD) {
        e->v = (t == 1 ? (double)d->accumulator : e->v) + g * g;
        e->theta -= lr / (1 + (t - 1) * (double)d->lr_decay) * g / (sqrt(e->v) + eps);
    } else if (d->kind == ESKER_OPTIMIZER_ADADELTA) {
        e->v = alpha * e->v + (1 - alpha) * g * g;
        double delta = sqrt(e->acc + eps) / sqrt(e->v + eps) * g;
        e->acc = alpha * e->acc + (1 - alpha) * delta * delta;
        e->theta -= lr * delta;
    } else if (d->kind == ESKER_OPTIMIZER_LION) {
        double c = b1 * e->m + (1 - b1) * g;
        e->theta -= lr * ((c > 0) - (c < 0));
        e->m = b2 * e->m + (1 - b2) * g;
    } else {
        e->m = b1 * e->m + (1 - b1) * g;
        e->v = b2 * e->v + (1 - b2) * g * g;
        double m_hat = e->m / (1 - pow(b1, t)), v_hat = e->v / (1 - pow(b2, t));
        if (d->kind == ESKER_OPTIMIZER_NADAM) {
            e->mu_product = (t == 1 ? 1 : e->mu_product) * nadam_mu(d, t);
            m_hat = nadam_mu(d, t + 1) * e->m / (1 - e->mu_product * nadam_mu(d, t + 1)) +
                    (1 - nadam_mu(d, t)) * g / (1 - e->mu_product);
        }
        e->theta -= lr * m_hat / (sqrt(v_hat) + eps);
    }
}

/* A parameter's values after all steps. */
static double *trajectory(const optimizer_problem *p, int part, const esker_optimizer_desc *d)
{
    int64_t n = p->n[part];
    double *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    const esker_param_group *own = &d->groups[p->params->list[part].group];
    double decay = own->no_weight_decay ? 0 : or_else(own->weight_decay, d->weight_decay);
    for (int64_t i = 0; i < n; i++) {
        element e = {.theta = p->start[part][i]};
        double a = p->a[part][i], t = p->t[part][i];
        for (int step = 0; step < STEPS && !optimizer_parts[part].frozen; step++) {
            double lr = lr_of(d, step, esker_optimizer_usual_lr(d->kind)) * or_else(own->lr_scale, 1);
            move(&e, d, lr, decay, step + 1, 2 * (a * e.theta - t) * a / (double)n);
        }
        x[i] = e.theta;
    }
    return x;
}

static void check_values(const optimizer_problem *p, const esker_optimizer_desc *d)
{
    for (int part = 0; part < OPTIMIZER_PARTS; part++) {
        float *got = malloc((size_t)p->n[part] * sizeof *got);
        assert_non_null(got);
        assert_ok(esker_params_read(p->params, part, got, p->n[part]));
        if (optimizer_parts[part].frozen) {
            if (memcmp(got, p->start[part], (size_t)p->n[part] * sizeof *got) != 0) fail_msg("a frozen parameter changed");
        } else {
            double *want = trajectory(p, part, d), *bound = malloc((size_t)p->n[part] * sizeof *bound);
            assert_non_null(bound);
            /* Relative to where the parameter was and is: it may pass zero, the rounding of its steps does not. */
            for (int64_t i = 0; i < p->n[part]; i++) bound[i] = 1e-5 * fmax(fabs(want[i]), fabs((double)p->start[part][i]));
            assert_close(got, want, bound, 0, p->n[part]);
            assert_true(memcmp(got, p->start[part], (size_t)p->n[part] * sizeof *got) != 0);
            free(want);
            free(bound);
        }
        free(got);
    }
}

/* The gaps between parameters, in values and in state, hold zeros after the steps too. */
static void check_gaps(const optimizer_problem *p, int n_state)
{
    const esker_params *set = p->params;
    uint64_t n = set->trained_elems;
    float *all = malloc(n * sizeof *all);
    bool *owned = calloc(n, sizeof *owned);
    assert_true(all && owned);
    uint64_t gaps = n;
    for (size_t i = 0; i < set->n; i++)
        for (int64_t k = 0; !set->list[i].frozen && k < set->list[i].n_elems; k++, gaps--)
            owned[set->list[i].offset + (uint64_t)k] = true;
    assert_true(gaps > 100);
    for (int array = -1; array < n_state; array++) {
        assert_ok(esker__memory_read(array < 0 ? &set->values : &set->state[array], 0, all, n * sizeof *all));
        for (uint64_t k = 0; k < n; k++)
            if (!owned[k] && !(all[k] == 0))
                fail_msg("%s %d: element %llu of a gap is %g", array < 0 ? "values" : "state", array, (unsigned long long)k,
                         (double)all[k]);
    }
    free(all);
    free(owned);
}

static void run_steps(const optimizer_problem *p, esker_plan *plan)
{
    esker_device *dev = test_device();
    esker_counters before, after;
    float loss = 0, first_loss = 0;
    for (int step = 0; step < STEPS; step++) {
        if (step == 2) esker_device_get_counters(dev, &before);
        if (step == STEPS / 2) assert_ok(esker_plan_set_lr(plan, LATER_LR));
        optimizer_problem_write(p, plan);
        uint64_t ticket;
        assert_ok(esker_plan_submit(plan, &ticket));
        if (step == 0) assert_ok(esker_plan_read(plan, ticket, 0, &first_loss, sizeof first_loss));
        if (step == STEPS - 1) assert_ok(esker_plan_read(plan, ticket, 0, &loss, sizeof loss));
    }
    esker_device_get_counters(dev, &after);
    assert_int_equal(after.compiles, before.compiles);
    assert_int_equal(after.gl_objects, before.gl_objects);
    if (!(loss < first_loss)) fail_msg("the loss went from %g to %g", (double)first_loss, (double)loss);
}

static void fifty_steps(void **state)
{
    const optimizer_case *c = *state;
    esker_device *dev = test_device();
    optimizer_problem p;
    esker_plan *plan;
    optimizer_problem_init(&p);
    assert_ok(esker_optimize(p.loss, &c->desc));
    assert_ok(esker_plan_compile(p.graph, &(esker_plan_desc){.device = dev, .outputs = &p.loss, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    run_steps(&p, plan);
    check_values(&p, &c->desc);
    check_gaps(&p, c->n_state);
    esker_plan_destroy(plan);
    optimizer_problem_finish(&p);
}

/* The op's own double reference over the contiguous arenas, as check mode runs it, is the same recurrence. */
static void the_reference_agrees(void **state)
{
    const optimizer_case *c = *state;
    optimizer_problem p;
    optimizer_problem_init(&p);
    assert_ok(esker_optimize(p.loss, &c->desc));
    esker_node *update = p.graph->nodes[p.graph->n_nodes - 1];
    assert_true((update->op->flags & ESKER__OP_UPDATE) != 0);
    assert_int_equal(update->phase, ESKER__PHASE_UPDATE);
    esker__params_fix(p.params);
    size_t n = p.params->trained_elems;
    double *values = calloc(n, sizeof *values), *gradients = calloc(n, sizeof *gradients), *memory[3];
    for (int i = 0; i < 3; i++) memory[i] = calloc(n, sizeof **memory);
    assert_true(values && gradients && memory[0] && memory[1] && memory[2]);
    for (int part = 0; part < OPTIMIZER_PARTS; part++)
        for (int64_t i = 0; !optimizer_parts[part].frozen && i < p.n[part]; i++)
            values[p.params->list[part].offset + (uint64_t)i] = p.start[part][i];
    for (int step = 0; step < STEPS; step++) {
        for (int part = 0; part < OPTIMIZER_PARTS; part++)
            for (int64_t i = 0; !optimizer_parts[part].frozen && i < p.n[part]; i++) {
                uint64_t at = p.params->list[part].offset + (uint64_t)i;
                double a = p.a[part][i];
                gradients[at] = 2 * (a * values[at] - p.t[part][i]) * a / (double)p.n[part];
            }
        update->op->reference(&(esker__reference){.node = update,
                                                  .step = (uint64_t)step,
                                                  .lr = step >= STEPS / 2 ? LATER_LR : 0,
                                                  .n_update = (int64_t)n,
                                                  .params = values,
                                                  .gradients = gradients,
                                                  .state = {memory[0], memory[1], memory[2]}});
    }
    for (int part = 0; part < OPTIMIZER_PARTS; part++) {
        if (optimizer_parts[part].frozen) continue;
        double *want = trajectory(&p, part, &c->desc);
        for (int64_t i = 0; i < p.n[part]; i++)
            assert_true(fabs(values[p.params->list[part].offset + (uint64_t)i] - want[i]) <=
                        1e-12 * fmax(1, fabs(want[i])));
        free(want);
    }
    free(values);
    free(gradients);
    free(memory[0]);
    free(memory[1]);
    free(memory[2]);
    optimizer_problem_finish(&p);
}

/* ---- The dispatch ---- */

/* Dispatches of the update in a plan, checked to cover the whole arena in aligned ranges, whatever their order. */
static int count_updates(const esker_plan *plan, const char *op, int n_bindings, uint64_t n_bytes)
{
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    uint64_t covered = 0;
    int n = 0, n_behind = 0; /* found, and those found in the place that comes next */
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += strcmp(d.op, op) == 0;
    }
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (strcmp(d.op, op) != 0 || d.bindings[0].offset != covered) continue;
        assert_string_equal(d.phase, "update");
        assert_int_equal(d.n_bindings, n_bindings);
        for (int b = 0; b < n_bindings; b++) {
            assert_int_equal(d.bindings[b].offset, covered);
            assert_int_equal(d.bindings[b].offset % 256, 0);
            assert_int_equal(d.bindings[b].n_bytes, d.bindings[0].n_bytes);
            assert_int_equal(d.bindings[b].write, b != 1);
        }
        covered += d.bindings[0].n_bytes;
        n_behind++;
        i = -1; /* from the front */
    }
    assert_int_equal(n_behind, n);
    assert_int_equal(covered, n_bytes);
    return n;
}

static void one_dispatch_for_all_parameters(void **state)
{
    const optimizer_case *c = *state;
    optimizer_problem p;
    esker_plan *plan;
    optimizer_problem_init(&p);
    assert_ok(esker_optimize(p.loss, &c->desc));
    assert_ok(esker_plan_compile(p.graph, &(esker_plan_desc){.outputs = &p.loss, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    const char *name = esker_optimizer_name(c->desc.kind);
    if (c->n_state >
        2) { /* more arrays than a kernel may have: in parts, within the four blocks of the limits it is made for */
        esker_plan_info info;
        esker_plan_get_info(plan, &info);
        int n = 0;
        for (int i = 0; i < info.n_dispatches; i++) {
            esker_dispatch_info d;
            assert_ok(esker_plan_get_dispatch(plan, i, &d));
            n += strcmp(d.op, name) == 0;
        }
        assert_int_equal(n, 3);
    } else
        assert_int_equal(count_updates(plan, name, 2 + c->n_state, p.params->trained_elems * 4), 1);
    esker_plan_destroy(plan);
    optimizer_problem_finish(&p);
}

/* Blocks so small that the arena needs several: on the device as well, where it must change nothing. */
static void an_arena_larger_than_a_block_is_cut(void **state)
{
    (void)state;
    const optimizer_case *c = &optimizer_cases[N_OPTIMIZER_CASES - 1];
    const uint64_t block = 5400; /* of 256 * 21 = 5376 usable bytes; the longest parameter has 5252 */
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.storage_block_bytes = block;
    optimizer_problem p;
    esker_plan *plan;
    optimizer_problem_init(&p);
    assert_ok(esker_optimize(p.loss, &c->desc));
    assert_ok(
        esker_plan_compile(p.graph, &(esker_plan_desc){.limits = &limits, .outputs = &p.loss, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    uint64_t n_bytes = p.params->trained_elems * 4;
    int want = (int)((n_bytes + 5375) / 5376);
    assert_true(want > 1);
    assert_int_equal(count_updates(plan, "adamw", 4, n_bytes), want);
    esker_plan_destroy(plan);

    esker_device *dev = test_device();
    esker_limits *real = (esker_limits *)(uintptr_t)esker__device_limits(dev), kept = *real;
    real->storage_block_bytes = block;
    esker_status st = esker_plan_compile(p.graph, &(esker_plan_desc){.device = dev, .outputs = &p.loss, .n_outputs = 1},
                                         &plan);
    *real = kept;
    assert_ok(st);
    assert_int_equal(count_updates(plan, "adamw", 4, n_bytes), want);
    run_steps(&p, plan);
    check_values(&p, &c->desc);
    check_gaps(&p, c->n_state);
    esker_plan_destroy(plan);
    optimizer_problem_finish(&p);
}

/* ---- Groups ---- */

/* Groups 3, 0, 5 and 3 again: laid out by group, updated with rates and decays of their own. */
static void groups_have_their_own_settings(void **state)
{
    (void)state;
    static const int group_of[OPTIMIZER_PARTS] = {3, 3, 0, 5, 3, 0, 0, 5};
    static const esker_optimizer_desc descs[] = {
        {.kind = ESKER_OPTIMIZER_SGD,
         .lr = 0.05f,
         .weight_decay = 0.1f,
         .groups = {[3] = {.lr_scale = 0.25f, .no_weight_decay = true}, [5] = {.lr_scale = 2, .weight_decay = 0.5f}}},
        {.kind = ESKER_OPTIMIZER_ADAMW,
         .lr = 0.01f,
         .weight_decay = 0.3f,
         .groups = {[3] = {.no_weight_decay = true}, [5] = {.lr_scale = 0.5f}}},
        {.kind = ESKER_OPTIMIZER_RMSPROP,
         .lr = 3e-3f,
         .momentum = 0.5f,
         .centered = true,
         .weight_decay = 0.1f,
         .groups = {[0] = {.no_weight_decay = true}, [5] = {.lr_scale = 0.5f}}},
    };
    for (size_t k = 0; k < sizeof descs / sizeof *descs; k++) {
        optimizer_problem p;
        esker_plan *plan;
        optimizer_problem_init_groups(&p, group_of);
        assert_ok(esker_optimize(p.loss, &descs[k]));
        assert_ok(esker_plan_compile(
            p.graph, &(esker_plan_desc){.device = test_device(), .outputs = &p.loss, .n_outputs = 1}, &plan));
        assert_ok(esker_plan_check(plan));
        const uint64_t *begin = p.params->group_begin;
        assert_int_equal(begin[3], begin[1]);
        assert_true(begin[3] > 0 && begin[4] > begin[3] && begin[6] > begin[5]);
        if (descs[k].kind == ESKER_OPTIMIZER_SGD)
            assert_int_equal(count_updates(plan, "sgd", 2, p.params->trained_elems * 4), 3);
        run_steps(&p, plan);
        check_values(&p, &descs[k]);
        check_gaps(&p, k == 1 ? 2 : k == 2 ? 3 : 0);
        esker_plan_destroy(plan);
        optimizer_problem_finish(&p);
    }
}

/* Groups with the same settings share a dispatch. */
static void equal_groups_are_one_dispatch(void **state)
{
    (void)state;
    static const int group_of[OPTIMIZER_PARTS] = {7, 3, 0, 5, 3, 0, 0, 5};
    optimizer_problem p;
    esker_plan *plan;
    optimizer_problem_init_groups(&p, group_of);
    assert_ok(esker_optimize(p.loss, &(esker_optimizer_desc){.groups = {[5] = {.lr_scale = 1}, [6] = {.lr_scale = 9}}}));
    assert_ok(esker_plan_compile(p.graph, &(esker_plan_desc){.outputs = &p.loss, .n_outputs = 1}, &plan));
    assert_int_equal(count_updates(plan, "sgd", 2, p.params->trained_elems * 4), 1);
    esker_plan_destroy(plan);
    optimizer_problem_finish(&p);
}

static void groups_are_checked(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_param_info info;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_params *params = esker_graph_get_params(graph);
    esker_parameter(graph, &(esker_param_desc){.name = "w", .shape = {1, {5}}, .group = 2});
    assert_ok(esker_params_get_info(params, 0, &info));
    assert_int_equal(info.group, 2);
    assert_ok(esker_params_set_group(params, 0, 7));
    assert_ok(esker_params_get_info(params, 0, &info));
    assert_int_equal(info.group, 7);
    assert_fails(esker_params_set_group(params, 0, 8), ESKER_ERR_INVALID, "parameter w: group 8, there are 0 to 7");
    assert_fails(esker_params_set_group(params, 0, -1), ESKER_ERR_INVALID, "group -1");
    assert_fails(esker_params_set_group(params, 1, 0), ESKER_ERR_INVALID, "parameter 1: there are 1");
    assert_ok(esker_params_init_values(params, 0));
    assert_ok(esker_params_set_group(params, 0, 7));
    assert_fails(esker_params_set_group(params, 0, 0), ESKER_ERR_INVALID,
                 "cannot go from group 7 to 0, the layout is in use");
    assert_null(esker_parameter(graph, &(esker_param_desc){.name = "v", .shape = {1, {5}}, .group = -2}));
    esker_graph_destroy(graph);
    assert_ok(esker_graph_create(NULL, &graph));
    assert_null(esker_parameter(graph, &(esker_param_desc){.name = "v", .shape = {1, {5}}, .group = 8}));
    assert_fails(esker_graph_status(graph), ESKER_ERR_INVALID, "parameter v: group 8, there are 0 to 7");
    esker_graph_destroy(graph);
}

/* loss = sum((v + w) x): both gradients are one node, and that node simplifies to an input. Each still gets its own. */
static void parameters_that_share_a_gradient(void **state)
{
    (void)state;
    enum { N = 70 };
    const esker_shape shape = {1, {N}};
    esker_graph *graph;
    esker_plan *plan;
    float x[N], got[N];
    double want[N];
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *v = esker_parameter(graph, &(esker_param_desc){.name = "v", .shape = shape});
    esker_node *w = esker_parameter(
        graph, &(esker_param_desc){.name = "w", .shape = shape, .init = {ESKER_INIT_CONSTANT, 1, 0, 0}});
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &shape);
    esker_node *loss = esker_sum(esker_mul(esker_add(v, w), in), NULL, 0, false);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.lr = 0.5f}));
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &loss, .n_outputs = 1, .slice_seconds = -1}, &plan));
    assert_ok(esker_plan_check(plan));
    test_uniform(x, N, -1, 1, 5);
    assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "x"), x, sizeof x));
    assert_ok(esker_plan_run(plan));
    for (int part = 0; part < 2; part++) {
        assert_ok(esker_params_read(esker_graph_get_params(graph), part, got, N));
        for (int i = 0; i < N; i++) want[i] = part - 0.5 * x[i];
        assert_close(got, want, NULL, 1e-6, N);
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    static char titles[3 * N_OPTIMIZER_CASES][80];
    struct CMUnitTest tests[3 * N_OPTIMIZER_CASES + 5];
    size_t n = 0;
    const struct {
        const char *what;
        CMUnitTestFunction run;
    } kinds[] = {{"50 steps", fifty_steps}, {"reference", the_reference_agrees}, {"plan", one_dispatch_for_all_parameters}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t i = 0; i < N_OPTIMIZER_CASES; i++, n++) {
            snprintf(titles[n], sizeof titles[n], "%s: %s", kinds[k].what, optimizer_cases[i].name);
            tests[n] = (struct CMUnitTest){titles[n], kinds[k].run, NULL, NULL, (void *)(uintptr_t)&optimizer_cases[i]};
        }
    const struct CMUnitTest more[] = {
        cmocka_unit_test(an_arena_larger_than_a_block_is_cut), cmocka_unit_test(groups_have_their_own_settings),
        cmocka_unit_test(equal_groups_are_one_dispatch),       cmocka_unit_test(groups_are_checked),
        cmocka_unit_test(parameters_that_share_a_gradient),
    };
    memcpy(tests + n, more, sizeof more);
    n += sizeof more / sizeof *more;
    return test_finish(_cmocka_run_group_tests("optimizer", tests, n, NULL, NULL));
}
