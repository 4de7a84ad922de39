/* device test: operands that an operation wants in another form: prepared once where they stand still, and shared by all who want the same. */
#include "support/test.h"

#include <math.h>

#include <esker/ops.h>
#include <esker/tune.h>
#include "plan/plan.h"

#define N 96

static esker_node *parameter(esker_graph *graph, const char *name)
{
    return esker_parameter(
        graph, &(esker_param_desc){.name = name, .shape = {1, {N}}, .init = {ESKER_INIT_UNIFORM, .value = 0.5f}});
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

/* How the op goes about x + 2 w, x + w and x + 3 w. */
static enum { PREPARED, OVERWRITTEN, USED_AGAIN } way;
static bool expect_fixed;

static esker_status infer(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out)
{
    (void)attr;
    (void)n_inputs;
    *out = inputs[0]->type;
    return ESKER_OK;
}

static void reference(const esker__reference *r)
{
    double factor = way == PREPARED ? 2 : way == OVERWRITTEN ? 1 : 3;
    for (int i = 0; i < N; i++) {
        r->out[0][i] = r->in[0][i] + factor * r->in[1][i];
        r->magnitude[0][i] = fabs(r->in[0][i]) + factor * fabs(r->in[1][i]);
    }
}

static esker__dispatch_desc map(const char *defines, esker__operand a, esker__operand b)
{
    static const uint32_t params[] = {N, 1, 1, 1, 1};
    return (esker__dispatch_desc){.kernel = "elementwise/map",
                                  .defines = defines,
                                  .groups = {1, 1, 1},
                                  .operands = {a, b},
                                  .n_operands = 2,
                                  .params = params,
                                  .n_params = 5};
}

static esker_status one(esker__lowering *l, const char *expr, esker__operand a, esker__operand y)
{
    esker__dispatch_desc d = map(expr, a, y);
    return esker__emit(l, &d);
}

static esker_status sum(esker__lowering *l, esker__operand a, esker__operand b, esker__operand y)
{
    esker__dispatch_desc d = map("EXPR a + b\nOPERANDS 2\nWG 32\n", a, b);
    d.operands[d.n_operands++] = y;
    return esker__emit(l, &d);
}

static esker_status lower(esker__lowering *l, const esker_node *node)
{
    static const char same[] = "EXPR a\nOPERANDS 1\nWG 32\n", twice[] = "EXPR a * 2.0\nOPERANDS 1\nWG 32\n";
    esker__operand x = esker__read(l, node->inputs[0]), w = esker__read(l, node->inputs[1]), y = esker__write(l, node);
    assert_true(esker__is_fixed(l, node->inputs[1]) == expect_fixed);
    assert_false(esker__is_fixed(l, node->inputs[0]));
    if (way == PREPARED) {
        esker__dispatch_desc d = map(twice, w, w);
        esker__value packed;
        d.n_operands = 1;
        esker_status st = esker__prepare(l, &d, N * 4, &packed);
        return st == ESKER_OK ? sum(l, x, (esker__operand){.value = packed}, y) : st;
    }
    esker__operand s = {.value = esker__scratch(l, N * 4)}, t = {.value = esker__scratch(l, N * 4)}, s_out = s, t_out = t;
    s_out.write = t_out.write = true;
    esker_status st = one(l, same, w, s_out);
    if (st == ESKER_OK) st = sum(l, x, s, way == OVERWRITTEN ? s_out : t_out);
    if (way == OVERWRITTEN) return st == ESKER_OK ? one(l, same, s, y) : st;
    if (st == ESKER_OK) st = one(l, twice, w, s_out);
    return st == ESKER_OK ? sum(l, t, s, y) : st;
}

static const esker__op op_packed = {
    .name = "packed", .n_inputs = 2, .n_outputs = 1, .infer = infer, .lower = lower, .reference = reference};

static esker_node *packed(esker_node *x, esker_node *w)
{
    return esker__record(&op_packed, NULL, (esker_node *[]){x, w}, 2);
}

/* x + f (2 p + q), with f by the way that is gone, on a plan of three ops; weights change now and then. */
static void packed_three_times(bool check, int factor, int n_prologue)
{
    esker_graph *graph;
    float x_values[N], w[N], got[N];
    double want[N];
    expect_fixed = true;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *p = parameter(graph, "p"), *q = parameter(graph, "q"), *x = input(graph);
    esker_plan *plan = compile(test_device(), graph, packed(packed(packed(x, p), q), p), check);
    esker_params *params = esker_graph_get_params(graph);
    assert_int_equal(plan->n_prologue, n_prologue);
    assert_int_equal(plan->hoisted_bytes, n_prologue * 512);
    for (int round = 0; round < 4; round++) {
        uint64_t ticket;
        for (int i = 0; i < N; i++) x_values[i] = 1 + (float)i / N;
        assert_ok(esker_plan_write(plan, 0, x_values, sizeof x_values));
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, got, sizeof got));
        for (int i = 0; i < N; i++) want[i] = 1 + (double)i / N;
        for (int k = 0; k < 2; k++) {
            assert_ok(esker_params_read(params, k, w, N));
            for (int i = 0; i < N; i++) want[i] += factor * (k ? 1 : 2) * (double)w[i];
        }
        assert_close(got, want, NULL, 4e-6, N);
        for (int i = 0; i < N; i++) w[i] += 0.25f;
        if (round) assert_ok(esker_params_write(params, 1, w, N));
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void prepared_operands_are_shared(void **state)
{
    way = PREPARED;
    packed_three_times(*state != NULL, 2, 2);
}

static void memory_that_steps_write_is_not_kept(void **state)
{
    way = OVERWRITTEN;
    packed_three_times(*state != NULL, 1, 0);
}

static void memory_that_is_used_again_is_not_kept(void **state)
{
    way = USED_AGAIN;
    packed_three_times(*state != NULL, 3, 0);
}

/* With 2 w prepared, a candidate only where w is fixed; or 2 w in the step. */
static esker_status lower_either(esker__lowering *l, const esker_node *node)
{
    static const char *const names[] = {"packed", "plain"};
    bool fixed = esker__is_fixed(l, node->inputs[1]);
    int chosen = esker__choose(l, fixed ? "either, fixed" : "either", fixed ? names : names + 1, fixed ? 2 : 1,
                               fixed ? 1 : 0);
    way = PREPARED;
    if (fixed && chosen == 0) return lower(l, node);
    esker__operand y = esker__write(l, node), x = esker__read(l, node->inputs[0]), w = esker__read(l, node->inputs[1]);
    esker__dispatch_desc d = map("EXPR a + 2.0 * b\nOPERANDS 2\nWG 32\n", x, w);
    d.operands[d.n_operands++] = y;
    return esker__emit(l, &d);
}

static void cost_either(const esker_node *node, esker__cost *out)
{
    (void)node;
    *out = (esker__cost){N, 12 * N};
}

static const esker__op op_either = {.name = "either",
                                    .n_inputs = 2,
                                    .n_outputs = 1,
                                    .infer = infer,
                                    .lower = lower_either,
                                    .reference = reference,
                                    .cost = cost_either};

static bool look(const esker_tune_result *r, void *user)
{
    *(int *)user += r->n_candidates;
    for (int i = 0; i < r->n_candidates; i++) {
        assert_true(r->candidates[i].state <= ESKER_TUNE_ELIMINATED);
        assert_true(r->candidates[i].seconds > 0);
    }
    return true;
}

/* The tuner's small plans have the weights as parameters, too, so that their preparation is not in what is timed. */
static void tuned_with_operands_that_are_fixed(void **state)
{
    (void)state;
    esker_device *dev;
    test_device();
    assert_ok(esker_device_open(&(esker_device_desc){.cache_dir = ""}, &dev));
    for (int fixed = 0; fixed < 2; fixed++) {
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *x = input(graph),
                   *w = fixed ? parameter(graph, "w") : esker_input(graph, "w", ESKER_DTYPE_F32, &(esker_shape){1, {N}});
        esker_node *y = esker__record(&op_either, NULL, (esker_node *[]){x, w}, 2);
        esker_tune_summary sum;
        int n = 0;
        expect_fixed = fixed;
        assert_ok(esker_tune(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1},
                             &(esker_tune_desc){.result = look, .user = &n}, &sum));
        assert_int_equal(n, fixed ? 2 : 0);
        assert_int_equal(sum.n_tuned, fixed);
        assert_int_equal(sum.n_wrong, 0);
        esker_graph_destroy(graph);
    }
    esker_device_unref(dev);
}

/* In a plan that trains the weights it is a dispatch like others. */
static void prepared_in_every_step_of_training(void **state)
{
    (void)state;
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *w = parameter(graph, "w"), *x = input(graph);
    way = PREPARED;
    expect_fixed = false;
    esker_node *loss = esker_sum(esker_mul(x, w), NULL, 0, false), *y = packed(x, w);
    assert_ok(esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f}));
    esker_plan *plan = compile(NULL, graph, y, false);
    int n = 0;
    for (size_t p = 0; p < plan->n_dispatches; p++)
        n += !strcmp(plan->dispatches[p].op, "packed") && !plan->dispatches[p].prologue;
    assert_int_equal(n, 2);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    static char checked[] = "check";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepared_operands_are_shared),
        cmocka_unit_test(memory_that_steps_write_is_not_kept),
        cmocka_unit_test(memory_that_is_used_again_is_not_kept),
        {.name = "shared, in check mode", .test_func = prepared_operands_are_shared, .initial_state = checked},
        {.name = "written, in check mode", .test_func = memory_that_steps_write_is_not_kept, .initial_state = checked},
        {.name = "used again, in check mode", .test_func = memory_that_is_used_again_is_not_kept, .initial_state = checked},
        cmocka_unit_test(prepared_in_every_step_of_training),
        cmocka_unit_test(tuned_with_operands_that_are_fixed),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
