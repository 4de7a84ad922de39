/* device test: what esker_optimize refuses, and the names of optimizers. */
#include <math.h>

#include "support/optimizer_problem.h"

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
        optimizer_problem p;
        optimizer_problem_init(&p);
        assert_fails(esker_optimize(p.loss, &bad[i].desc), ESKER_ERR_INVALID, bad[i].part);
        assert_fails(esker_graph_status(p.graph), ESKER_ERR_INVALID, bad[i].part); /* it sticks */
        optimizer_problem_finish(&p);
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
        optimizer_problem p;
        esker_plan *plan;
        optimizer_problem_record(&p, NULL);
        assert_ok(esker_optimize(p.loss, &(esker_optimizer_desc){.clip_norm = (float)clip}));
        esker_node *late = parameter(p.graph, "late", true), *later = parameter(p.graph, "later", false);
        esker_node *outputs[] = {p.loss, esker_add(late, later)};
        assert_ok(esker_graph_status(p.graph));
        assert_fails(esker_plan_compile(p.graph, &(esker_plan_desc){.outputs = outputs, .n_outputs = 2}, &plan),
                     ESKER_ERR_INVALID, "parameter later was added behind the optimizer and has no gradient");
        optimizer_problem_finish(&p);
    }
}

static void refuses_a_second_optimizer_and_no_loss(void **state)
{
    (void)state;
    optimizer_problem p;
    assert_fails(esker_optimize(NULL, NULL), ESKER_ERR_INVALID, "the loss is NULL");
    optimizer_problem_init(&p);
    assert_ok(esker_optimize(p.loss, NULL));
    assert_fails(esker_optimize(p.loss, NULL), ESKER_ERR_INVALID, "has an optimizer already, sgd");
    optimizer_problem_finish(&p);
    optimizer_problem_init(&p);
    esker_node *vector = esker_parameter(p.graph, &(esker_param_desc){.name = "past", .shape = {1, {129}}});
    assert_fails(esker_optimize(vector, NULL), ESKER_ERR_INVALID, NULL);
    optimizer_problem_finish(&p);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_settings_that_mean_nothing),
        cmocka_unit_test(refuses_parameters_that_the_loss_does_not_reach),
        cmocka_unit_test(refuses_parameters_added_behind_the_optimizer),
        cmocka_unit_test(refuses_a_second_optimizer_and_no_loss),
        cmocka_unit_test(names),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
