#include "support/optimizer_problem.h"

#include <stdio.h>

const optimizer_part optimizer_parts[OPTIMIZER_PARTS] = {
    {"one", {1, {1}}, false},        {"frozen", {1, {65}}, true}, {"matrix", {2, {7, 11}}, false},
    {"past", {1, {129}}, false},     {"scalar", {0, {0}}, false}, {"cube", {3, {3, 5, 9}}, false},
    {"long", {2, {13, 101}}, false}, {"group", {1, {64}}, false}, /* ends where the arena ends */
};

const optimizer_case optimizer_cases[N_OPTIMIZER_CASES] = {
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

static float *random_floats(int64_t n, float lo, float hi, uint64_t stream)
{
    float *out = malloc((size_t)n * sizeof *out);
    assert_non_null(out);
    test_uniform(out, n, lo, hi, stream);
    return out;
}

void optimizer_problem_record(optimizer_problem *p, const int *group_of)
{
    memset(p, 0, sizeof *p);
    assert_ok(esker_graph_create(NULL, &p->graph));
    p->params = esker_graph_get_params(p->graph);
    for (int i = 0; i < OPTIMIZER_PARTS; i++) {
        char name[32];
        assert_ok(esker_shape_elems(&optimizer_parts[i].shape, &p->n[i]));
        p->a[i] = random_floats(p->n[i], 0.5f, 2, 100 + (uint64_t)i);
        p->t[i] = random_floats(p->n[i], -2, 2, 200 + (uint64_t)i);
        p->start[i] = random_floats(p->n[i], -1, 1, 300 + (uint64_t)i);
        esker_node *w = esker_parameter(p->graph, &(esker_param_desc){.name = optimizer_parts[i].name,
                                                                      .shape = optimizer_parts[i].shape,
                                                                      .frozen = optimizer_parts[i].frozen,
                                                                      .group = group_of ? group_of[i] : 0});
        snprintf(name, sizeof name, "a%d", i);
        esker_node *a = esker_input(p->graph, name, ESKER_DTYPE_F32, &optimizer_parts[i].shape);
        snprintf(name, sizeof name, "t%d", i);
        esker_node *term = esker_mse(esker_mul(w, a),
                                     esker_input(p->graph, name, ESKER_DTYPE_F32, &optimizer_parts[i].shape));
        p->loss = i ? esker_add(p->loss, term) : term;
    }
    assert_ok(esker_graph_status(p->graph));
}

void optimizer_problem_init_groups(optimizer_problem *p, const int *group_of)
{
    optimizer_problem_record(p, group_of);
    for (int i = 0; i < OPTIMIZER_PARTS; i++) assert_ok(esker_params_write(p->params, i, p->start[i], p->n[i]));
}

void optimizer_problem_init(optimizer_problem *p)
{
    optimizer_problem_init_groups(p, NULL);
}

void optimizer_problem_finish(optimizer_problem *p)
{
    for (int i = 0; i < OPTIMIZER_PARTS; i++) {
        free(p->a[i]);
        free(p->t[i]);
        free(p->start[i]);
    }
    esker_graph_destroy(p->graph);
}

void optimizer_problem_write(const optimizer_problem *p, esker_plan *plan)
{
    for (int i = 0; i < OPTIMIZER_PARTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "a%d", i);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), p->a[i], (size_t)p->n[i] * sizeof(float)));
        snprintf(name, sizeof name, "t%d", i);
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, name), p->t[i], (size_t)p->n[i] * sizeof(float)));
    }
}
