/* device test: optimizers: 50 steps against double precision, parameter groups, clipping, and what esker_optimize refuses. */
#include <math.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/plan.h>
#include "gpu/gpu.h"
#include "graph/graph.h"
#include "graph/params.h"
#include "support/test.h"

#define STEPS 50

/*
 * The problem: parameters of odd sizes, so that the arena has gaps; loss = sum over them of mse(a * p, t) with fixed a and
 * t. The second one is frozen, and its loss term is there all the same.
 */
static const struct part {
    const char *name;
    esker_shape shape;
    bool frozen;
} parts[] = {
    {"one", {1, {1}}, false},        {"frozen", {1, {65}}, true}, {"matrix", {2, {7, 11}}, false},
    {"past", {1, {129}}, false},     {"scalar", {0, {0}}, false}, {"cube", {3, {3, 5, 9}}, false},
    {"long", {2, {13, 101}}, false}, {"group", {1, {64}}, false}, /* ends where the arena ends */
};
#define PARTS ((int)(sizeof parts / sizeof *parts))

typedef struct problem {
    esker_graph *graph;
    esker_params *params; /* the graph's */
    esker_node *loss;
    int64_t n[PARTS];
    float *a[PARTS], *t[PARTS], *start[PARTS];
} problem;

static float *random_floats(int64_t n, float lo, float hi, uint64_t stream)
{
    float *out = malloc((size_t)n * sizeof *out);
    assert_non_null(out);
    test_uniform(out, n, lo, hi, stream);
    return out;
}

static void record_problem(problem *p, const int *group_of)
{
    memset(p, 0, sizeof *p);
    assert_ok(esker_graph_create(NULL, &p->graph));
    p->params = esker_graph_get_params(p->graph);
    for (int i = 0; i < PARTS; i++) {
        char name[32];
        assert_ok(esker_shape_elems(&parts[i].shape, &p->n[i]));
        p->a[i] = random_floats(p->n[i], 0.5f, 2, 100 + (uint64_t)i);
        p->t[i] = random_floats(p->n[i], -2, 2, 200 + (uint64_t)i);
        p->start[i] = random_floats(p->n[i], -1, 1, 300 + (uint64_t)i);
        esker_node *w = esker_parameter(p->graph, &(esker_param_desc){.name = parts[i].name,
                                                                      .shape = parts[i].shape,
                                                                      .frozen = parts[i].frozen,
                                                                      .group = group_of ? group_of[i] : 0});
        snprintf(name, sizeof name, "a%d", i);
        esker_node *a = esker_input(p->graph, name, ESKER_DTYPE_F32, &parts[i].shape);
        snprintf(name, sizeof name, "t%d", i);
        esker_node *term = esker_mse(esker_mul(w, a), esker_input(p->graph, name, ESKER_DTYPE_F32, &parts[i].shape));
        p->loss = i ? esker_add(p->loss, term) : term;
    }
    assert_ok(esker_graph_status(p->graph));
}

static void problem_init_groups(problem *p, const int *group_of)
{
    record_problem(p, group_of);
    for (int i = 0; i < PARTS; i++) assert_ok(esker_params_write(p->params, i, p->start[i], p->n[i]));
}

static void problem_init(problem *p)
{
    problem_init_groups(p, NULL);
}

static void problem_finish(problem *p)
{
    for (int i = 0; i < PARTS; i++) {
        free(p->a[i]);
        free(p->t[i]);
        free(p->start[i]);
    }
    esker_graph_destroy(p->graph);
}

static void write_inputs(const problem *p, esker_plan *plan)
{
    for (int i = 0; i < PARTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "a%d", i);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), p->a[i], (size_t)p->n[i] * sizeof(float)));
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), p->t[i], (size_t)p->n[i] * sizeof(float)));
    }
}

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
static double *trajectory(const problem *p, int part, const esker_optimizer_desc *d)
{
    int64_t n = p->n[part];
    double *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    const esker_param_group *own = &d->groups[p->params->list[part].group];
    double decay = own->no_weight_decay ? 0 : or_else(own->weight_decay, d->weight_decay);
    for (int64_t i = 0; i < n; i++) {
        element e = {.theta = p->start[part][i]};
        double a = p->a[part][i], t = p->t[part][i];
        for (int step = 0; step < STEPS && !parts[part].frozen; step++) {
            double lr = lr_of(d, step, esker_optimizer_usual_lr(d->kind)) * or_else(own->lr_scale, 1);
            move(&e, d, lr, decay, step + 1, 2 * (a * e.theta - t) * a / (double)n);
        }
        x[i] = e.theta;
    }
    return x;
}

static void check_values(const problem *p, const esker_optimizer_desc *d)
{
    for (int part = 0; part < PARTS; part++) {
        float *got = malloc((size_t)p->n[part] * sizeof *got);
        assert_non_null(got);
        assert_ok(esker_params_read(p->params, part, got, p->n[part]));
        if (parts[part].frozen) {
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
static void check_gaps(const problem *p, int n_state)
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

static void run_steps(const problem *p, esker_plan *plan)
{
    esker_device *dev = test_device();
    esker_counters before, after;
    float loss = 0, first_loss = 0;
    for (int step = 0; step < STEPS; step++) {
        if (step == 2) esker_device_get_counters(dev, &before);
        if (step == STEPS / 2) assert_ok(esker_plan_set_lr(plan, LATER_LR));
        write_inputs(p, plan);
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

static const struct optimizer_case {
    const char *name;
    esker_optimizer_desc desc;
    int n_state;
} cases[] = {
    {"sgd", {.kind = ESKER_OPTIMIZER_SGD, .lr = 0.05f}, 0},
    {"sgd, the usual rate", {.kind = ESKER_OPTIMIZER_SGD}, 0},
    {"sgd with weight decay", {.kind = ESKER_OPTIMIZER_SGD, .lr = 0.05f, .weight_decay = 0.1f}, 0},
    {"sgd with momentum", {.kind = ESKER_OPTIMIZER_SGD, .lr = 0.02f, .momentum = 0.9f}, 1},
    {"sgd with both", {.kind = ESKER_OPTIMIZER_SGD, .lr = 0.02f, .momentum = 0.5f, .weight_decay = 0.01f}, 1},
    {"adam", {.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.01f}, 2},
    {"adam, the usual rate", {.kind = ESKER_OPTIMIZER_ADAM}, 2},
    {"adam with weight decay", {.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.01f, .weight_decay = 0.1f}, 2},
    {"adam with other betas", {.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.01f, .beta1 = 0.8f, .beta2 = 0.95f, .eps = 1e-3f}, 2},
    {"adamw", {.kind = ESKER_OPTIMIZER_ADAMW, .lr = 0.01f}, 2},
    {"rmsprop", {.kind = ESKER_OPTIMIZER_RMSPROP, .lr = 0.01f}, 1},
    {"rmsprop with momentum", {.kind = ESKER_OPTIMIZER_RMSPROP, .momentum = 0.9f, .weight_decay = 0.1f}, 2},
    {"rmsprop, centered", {.kind = ESKER_OPTIMIZER_RMSPROP, .lr = 3e-3f, .centered = true, .eps = 1e-3f}, 2},
    {"rmsprop, centered, with momentum",
     {.kind = ESKER_OPTIMIZER_RMSPROP, .lr = 3e-3f, .centered = true, .momentum = 0.5f, .weight_decay = 0.1f},
     3},
    {"adagrad", {.kind = ESKER_OPTIMIZER_ADAGRAD}, 1},
    {"adagrad with all",
     {.kind = ESKER_OPTIMIZER_ADAGRAD, .lr = 0.1f, .lr_decay = 0.02f, .accumulator = 0.5f, .weight_decay = 0.1f},
     1},
    {"adadelta", {.kind = ESKER_OPTIMIZER_ADADELTA}, 2},
    {"adadelta with all",
     {.kind = ESKER_OPTIMIZER_ADADELTA, .lr = 0.5f, .alpha = 0.8f, .eps = 1e-4f, .weight_decay = 0.1f},
     2},
    {"nadam", {.kind = ESKER_OPTIMIZER_NADAM, .eps = 1e-5f}, 2},
    {"nadam with all",
     {.kind = ESKER_OPTIMIZER_NADAM, .lr = 0.01f, .beta1 = 0.8f, .momentum_decay = 0.1f, .weight_decay = 0.1f},
     2},
    {"lion", {.kind = ESKER_OPTIMIZER_LION, .lr = 1e-3f}, 1},
    {"lion with all", {.kind = ESKER_OPTIMIZER_LION, .lr = 1e-3f, .beta1 = 0.8f, .beta2 = 0.9f, .weight_decay = 0.3f}, 1},
    {"sgd with dampening", {.lr = 0.02f, .momentum = 0.9f, .dampening = 0.3f}, 1},
    {"sgd with nesterov", {.lr = 0.02f, .momentum = 0.9f, .nesterov = true, .weight_decay = 0.01f}, 1},
    {"adamw with weight decay", {.kind = ESKER_OPTIMIZER_ADAMW, .lr = 0.01f, .weight_decay = 0.3f}, 2},
};
#define CASES (sizeof cases / sizeof *cases)

static void fifty_steps(void **state)
{
    const struct optimizer_case *c = *state;
    esker_device *dev = test_device();
    problem p;
    esker_plan *plan;
    problem_init(&p);
    assert_ok(esker_optimize(p.loss, &c->desc));
    assert_ok(esker_plan_compile(p.graph, &(esker_plan_desc){.device = dev, .outputs = &p.loss, .n_outputs = 1}, &plan));
    assert_ok(esker_plan_check(plan));
    run_steps(&p, plan);
    check_values(&p, &c->desc);
    check_gaps(&p, c->n_state);
    esker_plan_destroy(plan);
    problem_finish(&p);
}

/* The op's own double reference over the contiguous arenas, as check mode runs it, is the same recurrence. */
static void the_reference_agrees(void **state)
{
    const struct optimizer_case *c = *state;
    problem p;
    problem_init(&p);
    assert_ok(esker_optimize(p.loss, &c->desc));
    esker_node *update = p.graph->nodes[p.graph->n_nodes - 1];
    assert_true((update->op->flags & ESKER__OP_UPDATE) != 0);
    assert_int_equal(update->phase, ESKER__PHASE_UPDATE);
    esker__params_fix(p.params);
    size_t n = p.params->trained_elems;
    double *values = calloc(n, sizeof *values), *gradients = calloc(n, sizeof *gradients), *memory[3];
    for (int i = 0; i < 3; i++) memory[i] = calloc(n, sizeof **memory);
    assert_true(values && gradients && memory[0] && memory[1] && memory[2]);
    for (int part = 0; part < PARTS; part++)
        for (int64_t i = 0; !parts[part].frozen && i < p.n[part]; i++)
            values[p.params->list[part].offset + (uint64_t)i] = p.start[part][i];
    for (int step = 0; step < STEPS; step++) {
        for (int part = 0; part < PARTS; part++)
            for (int64_t i = 0; !parts[part].frozen && i < p.n[part]; i++) {
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
    for (int part = 0; part < PARTS; part++) {
        if (parts[part].frozen) continue;
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
    problem_finish(&p);
}

/* ---- The dispatch ---- */

/* Dispatches of the update in a plan, checked to follow each other over the whole arena in aligned ranges. */
/* Dispatches by kernels whose names begin like that. */
static int count_kernels(const esker_plan *plan, const char *begin)
{
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    int n = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += !strncmp(d.kernel, begin, strlen(begin));
    }
    return n;
}

static int count_updates(const esker_plan *plan, const char *op, int n_bindings, uint64_t n_bytes)
{
    esker_plan_info info;
    esker_plan_get_info(plan, &info);
    uint64_t covered = 0;
    int n = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        if (strcmp(d.op, op) != 0) continue;
        assert_string_equal(d.phase, "update");
        assert_int_equal(d.n_bindings, n_bindings);
        for (int b = 0; b < n_bindings; b++) {
            assert_int_equal(d.bindings[b].offset, covered);
            assert_int_equal(d.bindings[b].offset % 256, 0);
            assert_int_equal(d.bindings[b].n_bytes, d.bindings[0].n_bytes);
            assert_int_equal(d.bindings[b].write, b != 1);
        }
        covered += d.bindings[0].n_bytes;
        n++;
    }
    assert_int_equal(covered, n_bytes);
    return n;
}

static void one_dispatch_for_all_parameters(void **state)
{
    const struct optimizer_case *c = *state;
    problem p;
    esker_plan *plan;
    problem_init(&p);
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
    problem_finish(&p);
}

/* Blocks so small that the arena needs several: on the device as well, where it must change nothing. */
static void an_arena_larger_than_a_block_is_cut(void **state)
{
    (void)state;
    const struct optimizer_case *c = &cases[CASES - 1];
    const uint64_t block = 5400; /* of 256 * 21 = 5376 usable bytes; the longest parameter has 5252 */
    esker_limits limits;
    esker_limits_es31(&limits);
    limits.storage_block_bytes = block;
    problem p;
    esker_plan *plan;
    problem_init(&p);
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
    problem_finish(&p);
}

/* ---- Groups ---- */

/* Groups 3, 0, 5 and 3 again: laid out by group, updated with rates and decays of their own. */
static void groups_have_their_own_settings(void **state)
{
    (void)state;
    static const int group_of[PARTS] = {3, 3, 0, 5, 3, 0, 0, 5};
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
        problem p;
        esker_plan *plan;
        problem_init_groups(&p, group_of);
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
        problem_finish(&p);
    }
}

/* Groups with the same settings share a dispatch. */
static void equal_groups_are_one_dispatch(void **state)
{
    (void)state;
    static const int group_of[PARTS] = {7, 3, 0, 5, 3, 0, 0, 5};
    problem p;
    esker_plan *plan;
    problem_init_groups(&p, group_of);
    assert_ok(esker_optimize(p.loss, &(esker_optimizer_desc){.groups = {[5] = {.lr_scale = 1}, [6] = {.lr_scale = 9}}}));
    assert_ok(esker_plan_compile(p.graph, &(esker_plan_desc){.outputs = &p.loss, .n_outputs = 1}, &plan));
    assert_int_equal(count_updates(plan, "sgd", 2, p.params->trained_elems * 4), 1);
    esker_plan_destroy(plan);
    problem_finish(&p);
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

/* ---- Clipping ---- */

/* A gradient of one part at its start, clamped. */
static double start_gradient(const problem *p, int part, int64_t i, double clip_value)
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
        problem p;
        esker_plan *plan;
        problem_init(&p);
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
        if (n_dispatches[row][no_fusion]) assert_int_equal(count_kernels(plan, "optim/"), n_dispatches[row][no_fusion]);
        bool in_place = no_fusion || rows[row].block;
        double sum = 0;
        for (int part = 0; part < PARTS; part++)
            for (int64_t i = 0; !parts[part].frozen && i < p.n[part]; i++)
                sum += pow(start_gradient(&p, part, i, rows[row].value), 2);
        double scale = rows[row].norm > 0 ? fmin(1, rows[row].norm / (sqrt(sum) + 1e-6)) : 1;
        assert_int_equal(scale < 1, rows[row].scales);
        write_inputs(&p, plan);
        uint64_t ticket;
        assert_ok(esker_plan_submit(plan, &ticket));
        for (int i = 1; i < n_outputs; i++) {
            float got;
            double want = i == 1 ? sqrt(sum) : sum;
            assert_ok(esker_plan_read(plan, ticket, i, &got, sizeof got));
            assert_close(&got, &want, NULL, 2e-6 * want, 1);
        }
        for (int part = 0; part < PARTS; part++) {
            if (parts[part].frozen) continue;
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
        problem_finish(&p);
    }
}

static void gradients_are_clipped(void **state)
{
    (void)state;
    clip_gradients(false);
    clip_gradients(true);
}

/* Three steps, in check mode, of which the clipping is part of the update or not. */
static void run_clipped(problem *p, const esker_optimizer_desc *desc, bool no_fusion, int n_updates)
{
    esker_plan *plan;
    problem_init(p);
    assert_ok(esker_optimize(p->loss, desc));
    assert_ok(esker_plan_compile(
        p->graph,
        &(esker_plan_desc){
            .device = test_device(), .outputs = &p->loss, .n_outputs = 1, .no_fusion = no_fusion, .check = true},
        &plan));
    bool second_pass = no_fusion || (desc->clip_value > 0 && esker__device_limits(test_device())->group_invocations < 1024);
    assert_int_equal(count_kernels(plan, "optim/"), n_updates + 1 + second_pass + no_fusion);
    for (int step = 0; step < 3; step++) {
        write_inputs(p, plan);
        assert_ok(esker_plan_submit(plan, NULL));
    }
    assert_ok(esker_device_finish(test_device()));
    esker_plan_destroy(plan);
}

static void clip_update(const struct optimizer_case *c, int which)
{
    esker_optimizer_desc desc = c->desc;
    desc.clip_value = which ? 0.05f : 0;
    desc.clip_norm = 0.125f;
    int n_updates = desc.kind == ESKER_OPTIMIZER_LAMB ? 4 : c->n_state == 3 ? 3 : 1;
    problem fused, apart;
    run_clipped(&fused, &desc, false, n_updates);
    run_clipped(&apart, &desc, true, n_updates);
    for (int part = 0; part < PARTS; part++) {
        float *got = malloc((size_t)fused.n[part] * sizeof *got), *want = malloc((size_t)fused.n[part] * sizeof *want);
        assert_true(got && want);
        assert_ok(esker_params_read(fused.params, part, got, fused.n[part]));
        assert_ok(esker_params_read(apart.params, part, want, fused.n[part]));
        for (int64_t i = 0; i < fused.n[part]; i++)
            if (!(fabsf(got[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i]))))
                fail_msg("%s: element %lld of %s is %.9g, apart it was %.9g", c->name, (long long)i, parts[part].name,
                         (double)got[i], (double)want[i]);
        free(got);
        free(want);
    }
    problem_finish(&fused);
    problem_finish(&apart);
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
    assert_int_equal(count_kernels(plan, "optim/"), 3);
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

/* ---- What is refused ---- */

static void refuses_settings_that_mean_nothing(void **state)
{
    (void)state;
    static const struct {
        esker_optimizer_desc desc;
        const char *part;
    } bad[] = {
        {{.lr = -1}, "sgd: lr is -1, it must be positive"},
        {{.lr = NAN}, "sgd: lr is"},
        {{.lr = INFINITY}, "sgd: lr is inf"},
        {{.momentum = -0.5f}, "sgd: momentum is -0.5"},
        {{.momentum = 1}, "sgd: momentum is 1, it must be at least 0 and below 1"},
        {{.weight_decay = -1e-4f}, "sgd: weight_decay is -0.0001"},
        {{.kind = ESKER_OPTIMIZER_ADAMW, .weight_decay = INFINITY}, "adamw: weight_decay is inf"},
        {{.kind = ESKER_OPTIMIZER_ADAM, .beta1 = 1}, "adam: beta1 is 1"},
        {{.kind = ESKER_OPTIMIZER_ADAM, .beta2 = 1.5f}, "adam: beta2 is 1.5"},
        {{.kind = ESKER_OPTIMIZER_ADAM, .beta2 = NAN}, "adam: beta2 is"},
        {{.kind = ESKER_OPTIMIZER_ADAM, .eps = -1}, "adam: eps is -1"},
        {{.kind = ESKER_OPTIMIZER_ADAM, .eps = 1e-38f}, "at least 1e-30"},
        {{.kind = ESKER_OPTIMIZER_ADAM, .momentum = 0.9f}, "adam: momentum is 0.9, but adam has none"},
        {{.kind = ESKER_OPTIMIZER_LION, .eps = 1e-6f}, "lion: eps is 1e-06, but lion has none"},
        {{.beta1 = 0.5f}, "sgd: beta1 is 0.5, but sgd has none"},
        {{.momentum = 0.9f, .dampening = 1}, "sgd: dampening is 1, it must be at least 0 and below 1"},
        {{.momentum = 0.9f, .dampening = NAN}, "sgd: dampening is"},
        {{.dampening = 0.1f}, "sgd: dampening is 0.1 without momentum"},
        {{.nesterov = true}, "nesterov needs momentum and no dampening; they are 0 and 0"},
        {{.nesterov = true, .momentum = 0.9f, .dampening = 0.5f}, "they are 0.9 and 0.5"},
        {{.kind = ESKER_OPTIMIZER_NADAM, .nesterov = true}, "nadam: nesterov is of sgd"},
        {{.kind = ESKER_OPTIMIZER_ADAGRAD, .centered = true}, "adagrad: centered is of rmsprop"},
        {{.kind = ESKER_OPTIMIZER_RMSPROP, .alpha = 1}, "rmsprop: alpha is 1, it must be at least 0 and below 1"},
        {{.kind = ESKER_OPTIMIZER_ADADELTA, .alpha = NAN}, "adadelta: alpha is"},
        {{.kind = ESKER_OPTIMIZER_ADAGRAD, .lr_decay = -1}, "adagrad: lr_decay is -1"},
        {{.kind = ESKER_OPTIMIZER_ADAGRAD, .accumulator = INFINITY}, "adagrad: accumulator is inf"},
        {{.kind = ESKER_OPTIMIZER_NADAM, .momentum_decay = -1}, "nadam: momentum_decay is -1"},
        {{.clip_value = -1}, "sgd: clip_value is -1"},
        {{.clip_value = INFINITY}, "sgd: clip_value is inf"},
        {{.clip_norm = -1}, "sgd: clip_norm is -1, it must be positive"},
        {{.clip_norm = NAN}, "sgd: clip_norm is"},
        {{.groups = {[3] = {.lr_scale = -1}}}, "sgd: groups[3].lr_scale is -1"},
        {{.groups = {[7] = {.weight_decay = NAN}}}, "sgd: groups[7].weight_decay is"},
        {{.groups = {{.weight_decay = 1, .no_weight_decay = true}}},
         "groups[0] has a weight_decay of 1, and no_weight_decay"},
        {{.kind = (esker_optimizer_kind)9}, "kind 9, there are 0 to 8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        problem p;
        problem_init(&p);
        assert_fails(esker_optimize(p.loss, &bad[i].desc), ESKER_ERR_INVALID, bad[i].part);
        assert_fails(esker_graph_status(p.graph), ESKER_ERR_INVALID, bad[i].part); /* it sticks */
        problem_finish(&p);
    }
}

static esker_node *parameter(esker_graph *graph, const char *name, bool frozen)
{
    return esker_parameter(graph, &(esker_param_desc){.name = name, .shape = {1, {5}}, .frozen = frozen});
}

static void refuses_parameters_that_the_loss_does_not_reach(void **state)
{
    (void)state;
    esker_graph *graph, *other;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *loss = esker_sum(parameter(graph, "used", false), NULL, 0, false);
    parameter(graph, "idle", true);
    parameter(graph, "lonely", false);
    assert_fails(esker_optimize(loss, NULL), ESKER_ERR_INVALID, "does not depend on parameter lonely");
    esker_graph_destroy(graph);

    assert_ok(esker_graph_create(NULL, &graph));
    parameter(graph, "elsewhere", false);
    assert_ok(esker_graph_create(esker_graph_get_params(graph), &other));
    loss = esker_sum(parameter(other, "here", false), NULL, 0, false);
    assert_fails(esker_optimize(loss, NULL), ESKER_ERR_INVALID, "parameter elsewhere is not used in this graph");
    esker_graph_destroy(other);
    esker_graph_destroy(graph);

    assert_ok(esker_graph_create(NULL, &graph));
    loss = esker_sum(parameter(graph, "still", true), NULL, 0, false);
    assert_fails(esker_optimize(loss, NULL), ESKER_ERR_INVALID, "1 parameters of which all are frozen");
    esker_graph_destroy(graph);
}

/* It would lie in the range of the update, and have no gradient. */
static void refuses_parameters_added_behind_the_optimizer(void **state)
{
    (void)state;
    for (int clip = 0; clip < 2; clip++) {
        problem p;
        esker_plan *plan;
        record_problem(&p, NULL);
        assert_ok(esker_optimize(p.loss, &(esker_optimizer_desc){.clip_norm = (float)clip}));
        esker_node *late = parameter(p.graph, "late", true), *later = parameter(p.graph, "later", false);
        esker_node *outputs[] = {p.loss, esker_add(late, later)};
        assert_ok(esker_graph_status(p.graph));
        assert_fails(esker_plan_compile(p.graph, &(esker_plan_desc){.outputs = outputs, .n_outputs = 2}, &plan),
                     ESKER_ERR_INVALID, "parameter later was added behind the optimizer and has no gradient");
        problem_finish(&p);
    }
}

static void refuses_a_second_optimizer_and_no_loss(void **state)
{
    (void)state;
    problem p;
    assert_fails(esker_optimize(NULL, NULL), ESKER_ERR_INVALID, "the loss is NULL");
    problem_init(&p);
    assert_ok(esker_optimize(p.loss, NULL));
    assert_fails(esker_optimize(p.loss, NULL), ESKER_ERR_INVALID, "has an optimizer already, sgd");
    problem_finish(&p);
    problem_init(&p);
    esker_node *vector = esker_parameter(p.graph, &(esker_param_desc){.name = "past", .shape = {1, {129}}});
    assert_fails(esker_optimize(vector, NULL), ESKER_ERR_INVALID, NULL);
    problem_finish(&p);
}

static void names(void **state)
{
    (void)state;
    for (int kind = ESKER_OPTIMIZER_SGD; kind <= ESKER_OPTIMIZER_LION; kind++) {
        esker_optimizer_kind found = (esker_optimizer_kind)-1;
        assert_ok(esker_optimizer_from_name(esker_optimizer_name((esker_optimizer_kind)kind), &found));
        assert_int_equal(found, kind);
    }
    esker_optimizer_kind kind;
    assert_fails(esker_optimizer_from_name("adamax", &kind), ESKER_ERR_INVALID,
                 "\"adamax\": there are sgd, adam, adamw, rmsprop, adagrad, adadelta, nadam, lion and lamb");
    assert_fails(esker_optimizer_from_name(NULL, &kind), ESKER_ERR_INVALID, "(none)");
    assert_string_equal(esker_optimizer_name((esker_optimizer_kind)9), "?");
}

int main(void)
{
    static const struct optimizer_case lamb = {"lamb", {.kind = ESKER_OPTIMIZER_LAMB, .weight_decay = 0.1f}, 2};
    static char titles[4 * CASES][80];
    struct CMUnitTest tests[4 * CASES + 18];
    size_t n = 0;
    const struct {
        const char *what;
        CMUnitTestFunction run;
    } kinds[] = {{"50 steps", fifty_steps},
                 {"reference", the_reference_agrees},
                 {"plan", one_dispatch_for_all_parameters},
                 {"clipped", every_update_clips}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t i = 0; i < CASES; i++, n++) {
            snprintf(titles[n], sizeof titles[n], "%s: %s", kinds[k].what, cases[i].name);
            tests[n] = (struct CMUnitTest){titles[n], kinds[k].run, NULL, NULL, (void *)(uintptr_t)&cases[i]};
        }
    const struct CMUnitTest more[] = {
        {"clipped: lamb", every_update_clips, NULL, NULL, (void *)(uintptr_t)&lamb},
        cmocka_unit_test(many_parameters_are_clipped),
        cmocka_unit_test(an_arena_larger_than_a_block_is_cut),
        cmocka_unit_test(groups_have_their_own_settings),
        cmocka_unit_test(equal_groups_are_one_dispatch),
        cmocka_unit_test(groups_are_checked),
        cmocka_unit_test(gradients_are_clipped),
        cmocka_unit_test(the_reference_of_clipping),
        cmocka_unit_test(parameters_that_share_a_gradient),
        cmocka_unit_test(refuses_parameters_added_behind_the_optimizer),
        cmocka_unit_test(refuses_settings_that_mean_nothing),
        cmocka_unit_test(refuses_parameters_that_the_loss_does_not_reach),
        cmocka_unit_test(refuses_a_second_optimizer_and_no_loss),
        cmocka_unit_test(names),
    };
    memcpy(tests + n, more, sizeof more);
    n += sizeof more / sizeof *more;
    return test_finish(_cmocka_run_group_tests("optimizer", tests, n, NULL, NULL));
}
