/*
 * device test: gradients of programs on tensors, against the double reference of the same program as a graph, and what goes
 * wrong. ESKER_TEST_PROGRAMS=1000 tries that many random programs, in place of a few.
 */
#include <math.h>
#include <stdio.h>

#include <esker/plan.h>
#include "graph/graph.h"
#include "programs.h"
#include "support/calls.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define N             35

static const esker_shape shape = {2, {5, 7}};

static esker_tensor *parameter(const esker_shape *s, const float *values)
{
    esker_tensor *t = test_tensor(ESKER_DTYPE_F32, s, values);
    assert_ok(esker_tensor_set_requires_grad(t, true));
    return t;
}

/* ---- Random programs ---- */

typedef struct reader {
    esker__random random;
    int n_reads, one_in;
} reader;

/* Reads some of the values, as a program does that decides by them: what is pending runs, and the history goes on behind it. */
static void look(esker_tensor *value, void *user)
{
    reader *r = user;
    float got[N];
    if (!r->one_in || esker__random_below(&r->random, (uint32_t)r->one_in)) return;
    assert_ok(esker_tensor_read(value, 0, ESKER_TENSOR_REST, got));
    r->n_reads++;
}

/* The loss and the gradients of the program in double. */
static void reference(uint64_t stream, int n_ops, double data[PROGRAM_INPUTS][N], double *loss,
                      double grads[PROGRAM_INPUTS][N])
{
    esker_graph *graph;
    esker_node *in[PROGRAM_INPUTS], *out[1 + PROGRAM_INPUTS];
    double **values;
    esker__random random;
    esker__random_init(&random, test_seed(), stream);
    assert_ok(esker_graph_create(NULL, &graph));
    for (int i = 0; i < PROGRAM_INPUTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", i);
        in[i] = esker_input(graph, name, ESKER_DTYPE_F32, &shape);
    }
    out[0] = graph_random_program(&random, in, n_ops, NULL, NULL);
    assert_ok(esker_graph_status(graph));
    assert_ok(esker_gradients(out[0], in, PROGRAM_INPUTS, out + 1));
    const double **given = calloc(graph->n_nodes, sizeof *given);
    for (int i = 0; i < PROGRAM_INPUTS; i++) given[in[i]->id] = data[i];
    assert_ok(esker__evaluate(graph, given, out, 1 + PROGRAM_INPUTS, &values, NULL));
    *loss = values[out[0]->id][0];
    for (int i = 0; i < PROGRAM_INPUTS; i++) memcpy(grads[i], values[out[1 + i]->id], sizeof grads[i]);
    esker__evaluate_free(graph, values);
    free(given);
    esker_graph_destroy(graph);
}

static void check_program(uint64_t stream)
{
    esker_device *dev = test_device();
    esker__random random;
    reader r = {.one_in = (int)(stream % 4)}; /* not at all, all, every second, every third */
    float data[PROGRAM_INPUTS][N], got[N];
    double exact[PROGRAM_INPUTS][N], want[PROGRAM_INPUTS][N], want_loss;
    int n_ops = 1 + (int)(stream % 12);
    for (int i = 0; i < PROGRAM_INPUTS; i++) {
        test_uniform(data[i], N, -1.5f, 1.5f, stream * 10 + (uint64_t)i);
        for (int j = 0; j < N; j++) exact[i][j] = data[i][j];
    }
    reference(stream, n_ops, exact, &want_loss, want);
    esker__random_init(&random, test_seed(), stream);
    esker__random_init(&r.random, test_seed(), stream + 1000000);
    assert_ok(esker_scope_open(dev));
    esker_tensor *in[PROGRAM_INPUTS];
    for (int i = 0; i < PROGRAM_INPUTS; i++) in[i] = parameter(&shape, data[i]);
    esker_tensor *loss = eager_random_program(&random, in, n_ops, look, &r);
    assert_non_null(loss);
    if (stream % 3 == 0) test_item(loss);
    assert_ok(esker_tensor_backward(loss, false));
    double loss_error = fabs(test_item(loss) - want_loss);
    if (!(loss_error <= 1e-5)) fail_msg("program %d: the loss is off by %g", (int)stream, loss_error);
    for (int i = 0; i < PROGRAM_INPUTS; i++) {
        double largest = 0;
        for (int j = 0; j < N; j++) largest = fmax(largest, fabs(want[i][j]));
        assert_ok(esker_tensor_read(esker_tensor_get_grad(in[i]), 0, ESKER_TENSOR_REST, got));
        for (int j = 0; j < N; j++)
            if (!(fabs(got[j] - want[i][j]) <= 2e-5 * largest + 1e-7))
                fail_msg("program %d, seed %d: d loss / d x%d[%d] is %.9g, want %.9g of at most %g", (int)stream,
                         (int)test_seed(), i, j, (double)got[j], want[i][j], largest);
    }
    assert_ok(esker_scope_close(dev));
}

static void gradients_of_random_programs(void **state)
{
    (void)state;
    test_device();
    const char *asked = getenv("ESKER_TEST_PROGRAMS");
    int n = asked ? atoi(asked) : 36;
    for (int i = 0; i < n; i++) check_program((uint64_t)i);
}

/* ---- Training by hand ---- */

enum { ROWS = 16, FEATURES = 5, HIDDEN = 11 };

typedef struct net {
    esker_tensor *x, *target, *w1, *b1, *w2;
} net;

static net make_net(void)
{
    float x[ROWS * FEATURES], target[ROWS], w1[FEATURES * HIDDEN], b1[HIDDEN], w2[HIDDEN];
    test_uniform(x, ROWS * FEATURES, -1, 1, 1);
    for (int i = 0; i < ROWS; i++) target[i] = x[i * FEATURES] * x[i * FEATURES + 1];
    test_uniform(w1, FEATURES * HIDDEN, -0.8f, 0.8f, 3);
    test_uniform(b1, HIDDEN, -0.1f, 0.1f, 4);
    test_uniform(w2, HIDDEN, -0.5f, 0.5f, 5);
    net n = {.x = esker_tensor_from_data(test_device(), ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, FEATURES}}, x),
             .target = esker_tensor_from_data(test_device(), ESKER_DTYPE_F32, &(esker_shape){2, {ROWS, 1}}, target)};
    n.w1 = parameter(&(esker_shape){2, {FEATURES, HIDDEN}}, w1);
    n.b1 = parameter(&(esker_shape){1, {HIDDEN}}, b1);
    n.w2 = parameter(&(esker_shape){2, {HIDDEN, 1}}, w2);
    return n;
}

static void drop_net(net *n)
{
    esker_tensor *all[] = {n->x, n->target, n->w1, n->b1, n->w2};
    for (size_t i = 0; i < LENGTH(all); i++) esker_tensor_unref(all[i]);
}

static esker_tensor *net_loss(const net *n, bool read_hidden)
{
    esker_tensor *h = esker_tensor_tanh(esker_tensor_add(esker_tensor_matmul(n->x, n->w1, NULL), n->b1));
    if (read_hidden) assert_ok(esker_eager_flush(test_device()));
    return esker_tensor_mse(esker_tensor_matmul(h, n->w2, NULL), n->target);
}

static void descend(const net *n, float rate)
{
    esker_tensor *params[] = {n->w1, n->b1, n->w2};
    esker_tensor *r = esker_tensor_scalar(test_device(), rate);
    for (size_t i = 0; i < LENGTH(params); i++) {
        esker_tensor *step = esker_tensor_mul(r, esker_tensor_get_grad(params[i]));
        assert_ok(esker_tensor_assign(params[i], esker_tensor_sub(params[i], step)));
        esker_tensor_zero_grad(params[i]);
    }
}

static void a_training_step_is_one_plan_that_is_compiled_once(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    net n = make_net();
    double first = 0, last = 0;
    esker_eager_counters before = {0}, after;
    for (int step = 0; step < 120; step++) {
        if (step == 2) before = test_eager_counters(); /* by then nothing is new */
        assert_ok(esker_scope_open(dev));
        esker_tensor *loss = net_loss(&n, false);
        assert_ok(esker_tensor_backward(loss, false));
        descend(&n, 0.3f - 0.001f * (float)step);
        last = test_item(loss);
        if (step == 0) first = last;
        assert_ok(esker_scope_close(dev));
    }
    after = test_eager_counters();
    assert_int_equal(after.misses, before.misses);
    assert_int_equal(after.hits, before.hits + 118);
    assert_true(last < 0.2 * first);
    drop_net(&n);
}

/* Where the program looks in between changes which plans there are, and hardly the numbers. */
static void reading_in_between_changes_nothing(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float got[3][FEATURES * HIDDEN];
    for (int way = 0; way < 3; way++) {
        assert_ok(esker_scope_open(dev));
        net n = make_net();
        esker_tensor *loss = net_loss(&n, way == 1);
        if (way == 2) test_item(loss);
        assert_ok(esker_tensor_backward(loss, false));
        assert_ok(esker_tensor_read(esker_tensor_get_grad(n.w1), 0, ESKER_TENSOR_REST, got[way]));
        assert_ok(esker_scope_close(dev));
        for (int i = 0; i < FEATURES * HIDDEN; i++) assert_true(fabsf(got[way][i] - got[0][i]) <= 1e-6f);
    }
}

/* The steps differ in depth, which the program decides by what it reads. */
static void control_flow_may_differ_every_step(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float start[N];
    test_uniform(start, N, 0.5f, 1.5f, 1);
    esker_tensor *w = parameter(&shape, start);
    double mean = 0;
    for (int step = 0; step < 60; step++) {
        assert_ok(esker_scope_open(dev));
        esker_tensor *y = w;
        int depth = 0;
        do y = esker_tensor_affine(esker_tensor_sin(y), 1.2f, 0);
        while (++depth < 4 && test_item(esker_tensor_mean(y, NULL, 0, false)) > 0.3 + 0.1 * (step % 5));
        esker_tensor *loss = esker_tensor_mean(esker_tensor_square(y), NULL, 0, false);
        assert_ok(esker_tensor_backward(loss, false));
        esker_tensor *slope = esker_tensor_affine(esker_tensor_get_grad(w), -1, 0);
        assert_ok(esker_tensor_assign(w, esker_tensor_add(w, slope)));
        esker_tensor_zero_grad(w);
        mean = test_item(loss);
        assert_ok(esker_scope_close(dev));
    }
    assert_true(mean < 0.05);
    esker_tensor_unref(w);
}

/* ---- The rules ---- */

static void gradients_accumulate_until_they_are_zeroed(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float two = 2;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = parameter(&(esker_shape){0}, &two), *y = parameter(&(esker_shape){0}, &two);
    assert_null(esker_tensor_get_grad(x));
    for (int i = 1; i <= 3; i++) {
        assert_ok(esker_tensor_backward(esker_tensor_mul(esker_tensor_square(x), y), false));
        assert_true(test_item(esker_tensor_get_grad(x)) == 8.0 * i);
        assert_true(test_item(esker_tensor_get_grad(y)) == 4.0 * i);
    }
    esker_tensor_zero_grad(x);
    assert_null(esker_tensor_get_grad(x));
    esker_tensor_zero_grad(NULL);
    /* One value of two gradients, and a loss that is a parameter itself. */
    assert_ok(esker_tensor_backward(esker_tensor_add(x, y), false));
    assert_true(test_item(esker_tensor_get_grad(x)) == 1 && test_item(esker_tensor_get_grad(y)) == 13);
    assert_ok(esker_tensor_backward(x, false));
    assert_true(test_item(esker_tensor_get_grad(x)) == 2);
    assert_ok(esker_scope_close(dev));
}

static void a_history_serves_once_unless_it_is_retained(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float two = 2;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = parameter(&(esker_shape){0}, &two);
    for (int read = 0; read < 2; read++) {
        esker_tensor *y = esker_tensor_exp(x), *loss = esker_tensor_square(y);
        if (read) test_item(loss);
        esker_tensor_zero_grad(x);
        assert_ok(esker_tensor_backward(loss, true));
        double once = test_item(esker_tensor_get_grad(x));
        assert_true(fabs(once - 2 * exp(4)) < 1e-3);
        assert_ok(esker_tensor_backward(loss, false));
        assert_true(fabs(test_item(esker_tensor_get_grad(x)) - 2 * once) < 1e-3);
        assert_fails(esker_tensor_backward(loss, false), ESKER_ERR_INVALID, "freed by an earlier pass");
        assert_fails(esker_tensor_backward(esker_tensor_neg(y), false), ESKER_ERR_INVALID, "freed by an earlier pass");
        assert_true(fabs(test_item(esker_tensor_get_grad(x)) - 2 * once) < 1e-3);
    }
    assert_ok(esker_scope_close(dev));
}

static void no_gradient_where_none_is_wanted(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float two = 2;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = parameter(&(esker_shape){0}, &two), *plain = esker_tensor_scalar(dev, 3);
    assert_true(esker_tensor_requires_grad(esker_tensor_mul(x, plain)));
    assert_false(esker_tensor_requires_grad(esker_tensor_square(plain)));
    assert_ok(esker_no_grad_push(dev));
    assert_false(esker_tensor_requires_grad(esker_tensor_square(x)));
    assert_ok(esker_no_grad_pop(dev));
    assert_fails(esker_no_grad_pop(dev), ESKER_ERR_INVALID, "without a push");
    /* y = x^2 with one factor detached: 2, not 4. */
    esker_tensor *y = esker_tensor_square(x);
    assert_ok(esker_tensor_backward(esker_tensor_mul(x, esker_tensor_detach(x)), false));
    assert_true(test_item(esker_tensor_get_grad(x)) == 2);
    esker_tensor_zero_grad(x);
    assert_false(esker_tensor_requires_grad(esker_tensor_detach(y)));
    assert_ok(esker_tensor_backward(esker_tensor_mul(x, esker_tensor_detach(y)), false));
    assert_true(test_item(esker_tensor_get_grad(x)) == 4);
    /* A clone passes it on. */
    esker_tensor_zero_grad(x);
    assert_ok(esker_tensor_backward(esker_tensor_square(esker_tensor_clone(x)), false));
    assert_true(test_item(esker_tensor_get_grad(x)) == 4);
    assert_fails(esker_tensor_backward(plain, false), ESKER_ERR_INVALID, "no tensor that requires a gradient");
    assert_fails(esker_tensor_set_requires_grad(y, true), ESKER_ERR_INVALID, "result of a call with a history");
    const int32_t label = 1;
    esker_tensor *whole = esker_tensor_from_data(dev, ESKER_DTYPE_I32, NULL, &label);
    assert_fails(esker_tensor_set_requires_grad(whole, true), ESKER_ERR_INVALID, "only float32");
    assert_ok(esker_scope_close(dev));
}

static void bad_losses_and_missing_rules_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float values[N];
    test_uniform(values, N, 0.1f, 1, 1);
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = parameter(&shape, values);
    assert_fails(esker_tensor_backward(esker_tensor_neg(x), false), ESKER_ERR_INVALID, "it is float32 [5, 7]");
    /* What has no gradient is named, and nothing is left behind. */
    esker_tensor *twice = esker_tensor_cumsum(
        esker_tensor_convert(esker_tensor_argmax(x, (int[]){1}, 1, false), ESKER_DTYPE_F32), 0);
    esker_tensor *loss = esker_tensor_mean(
        esker_tensor_mul(esker_tensor_rows(twice, 0, 1), esker_tensor_mean(twice, NULL, 0, false)), NULL, 0, false);
    esker_status st = esker_tensor_backward(loss, false);
    assert_int_equal(st, ESKER_ERR_UNSUPPORTED);
    assert_non_null(strstr(esker_last_error(), "argmax"));
    assert_null(esker_tensor_get_grad(x));
    assert_ok(esker_tensor_backward(esker_tensor_mean(x, NULL, 0, false), false));
    assert_true(fabs(test_item(esker_tensor_max(esker_tensor_get_grad(x), NULL, 0, false)) - 1.0 / N) < 1e-8);
    assert_ok(esker_scope_close(dev));
}

static void changed_values_are_noticed_where_they_matter(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float two = 2;
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = parameter(&(esker_shape){0}, &two), *w = parameter(&(esker_shape){0}, &two);
    /* The product's gradient needs w as it was; the sum's does not. */
    for (int read = 0; read < 2; read++) {
        esker_tensor *product = esker_tensor_mul(x, w), *sum = esker_tensor_add(x, w);
        if (read) test_item(product);
        assert_ok(esker_tensor_assign(w, esker_tensor_scalar(dev, 5)));
        assert_fails(esker_tensor_backward(product, false), ESKER_ERR_INVALID, "was changed after it was used");
        assert_null(esker_tensor_get_grad(x));
        assert_ok(esker_tensor_backward(sum, false));
        assert_true(test_item(esker_tensor_get_grad(x)) == 1 && test_item(esker_tensor_get_grad(w)) == 1);
        esker_tensor_zero_grad(x);
        esker_tensor_zero_grad(w);
    }
    /* The same when the CPU writes. */
    esker_tensor *product = esker_tensor_mul(x, w);
    assert_ok(esker_tensor_set(w, NULL, 7));
    assert_true(test_item(product) == 10);
    assert_fails(esker_tensor_backward(product, false), ESKER_ERR_INVALID, "was changed after it was used");
    assert_ok(esker_scope_close(dev));
}

/* No gradient flows from a tensor to what was assigned to it, though all of it is pending together. */
static void assignments_stop_gradients(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float two = 2, three = 3;
    for (int read = 0; read < 2; read++) {
        assert_ok(esker_scope_open(dev));
        esker_tensor *a = parameter(&(esker_shape){0}, &two), *c = parameter(&(esker_shape){0}, &three);
        assert_ok(esker_tensor_assign(a, esker_tensor_mul(a, c)));
        assert_true(esker_tensor_requires_grad(a));
        if (read) test_item(a);
        assert_ok(esker_tensor_backward(esker_tensor_mul(a, c), false));
        assert_true(test_item(esker_tensor_get_grad(c)) == 6 && test_item(esker_tensor_get_grad(a)) == 3);
        assert_ok(esker_scope_close(dev));
    }
}

/* The mask of the forward pass, whether or not something ran in between. */
static void dropout_keeps_its_mask(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    enum { COUNT = 300 };
    float ones[COUNT], y[COUNT], grad[COUNT];
    for (int i = 0; i < COUNT; i++) ones[i] = 1;
    for (int read = 0; read < 2; read++) {
        assert_ok(esker_scope_open(dev));
        esker_tensor *x = parameter(&(esker_shape){1, {COUNT}}, ones), *dropped = esker_tensor_dropout(x, 0.3f);
        esker_tensor *loss = esker_tensor_sum(dropped, NULL, 0, false);
        if (read) {
            test_item(loss);
            test_item(esker_tensor_mean(esker_tensor_random_uniform(dev, &(esker_shape){1, {5}}, 0, 1), NULL, 0, false));
        }
        assert_ok(esker_tensor_backward(loss, false));
        assert_ok(esker_tensor_read(dropped, 0, ESKER_TENSOR_REST, y));
        assert_ok(esker_tensor_read(esker_tensor_get_grad(x), 0, ESKER_TENSOR_REST, grad));
        assert_memory_equal(y, grad, sizeof y);
        int n_zero = 0;
        for (int i = 0; i < COUNT; i++) n_zero += y[i] == 0;
        assert_true(n_zero > COUNT / 6 && n_zero < COUNT / 2);
        assert_ok(esker_scope_close(dev));
    }
}

/* Operations whose gradients read further outputs of theirs. */
static void operations_with_several_outputs(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float values[160], weights[64], got[2][160];
    test_uniform(values, 160, -1, 1, 1);
    test_uniform(weights, 64, -1, 1, 2);
    for (int read = 0; read < 2; read++) {
        assert_ok(esker_scope_open(dev));
        esker_tensor *x = parameter(&(esker_shape){4, {2, 2, 5, 8}}, values),
                     *w = parameter(&(esker_shape){2, {8, 8}}, weights);
        esker_tensor *y = esker_tensor_attention(x, esker_tensor_matmul(x, w, NULL), x, NULL);
        if (read) assert_ok(esker_eager_flush(dev));
        y = esker_tensor_batch_norm(esker_tensor_reshape(y, &(esker_shape){3, {4, 5, 8}}), NULL);
        if (read) assert_ok(esker_eager_flush(dev));
        y = esker_tensor_recurrent(
            y, &(esker_tensor_recurrent_desc){.kind = ESKER_RECURRENT_RNN_TANH, .weight_ih = w, .weight_hh = w});
        esker_tensor *loss = esker_tensor_mean(esker_tensor_square(y), NULL, 0, false);
        if (read) test_item(loss);
        assert_ok(esker_tensor_backward(loss, false));
        assert_ok(esker_tensor_read(esker_tensor_get_grad(x), 0, ESKER_TENSOR_REST, got[read]));
        assert_ok(esker_scope_close(dev));
    }
    double largest = 0;
    for (int i = 0; i < 160; i++) largest = fmax(largest, fabs((double)got[0][i]));
    assert_true(largest > 1e-5);
    for (int i = 0; i < 160; i++) assert_true(fabs((double)got[0][i] - (double)got[1][i]) <= 1e-5 * largest);
}

/* The last cell state of an lstm: a further output that gradients flow through, alone and with the first. */
static void gradients_flow_through_further_outputs(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    enum { STEPS = 3, BATCH = 2, INPUTS = 4, UNITS = 5 };
    const esker_shape x_shape = {3, {STEPS, BATCH, INPUTS}}, w_shape = {2, {4 * UNITS, INPUTS}},
                      u_shape = {2, {4 * UNITS, UNITS}};
    float x[STEPS * BATCH * INPUTS], w[4 * UNITS * INPUTS], u[4 * UNITS * UNITS], got[4 * UNITS * UNITS];
    double exact[3][4 * UNITS * UNITS], **values;
    test_uniform(x, STEPS * BATCH * INPUTS, -1, 1, 1);
    test_uniform(w, 4 * UNITS * INPUTS, -1, 1, 2);
    test_uniform(u, 4 * UNITS * UNITS, -1, 1, 3);
    for (int i = 0; i < STEPS * BATCH * INPUTS; i++) exact[0][i] = x[i];
    for (int i = 0; i < 4 * UNITS * INPUTS; i++) exact[1][i] = w[i];
    for (int i = 0; i < 4 * UNITS * UNITS; i++) exact[2][i] = u[i];
    for (int way = 0; way < 6; way++) { /* cell alone or both; nothing read, some in between, everything */
        bool both = way % 2;
        esker_graph *graph;
        assert_ok(esker_graph_create(NULL, &graph));
        esker_node *in[3] = {esker_input(graph, "x", ESKER_DTYPE_F32, &x_shape),
                             esker_input(graph, "w", ESKER_DTYPE_F32, &w_shape),
                             esker_input(graph, "u", ESKER_DTYPE_F32, &u_shape)};
        esker_node *h = esker_recurrent(
            in[0], &(esker_recurrent_desc){.kind = ESKER_RECURRENT_LSTM, .weight_ih = in[1], .weight_hh = in[2]});
        esker_node *node = esker_mean(esker_square(esker_recurrent_cell(h)), NULL, 0, false), *grad;
        if (both) node = esker_add(node, esker_mean(esker_square(h), NULL, 0, false));
        assert_ok(esker_gradients(node, &in[2], 1, &grad));
        const double **given = calloc(graph->n_nodes, sizeof *given);
        for (int i = 0; i < 3; i++) given[in[i]->id] = exact[i];
        assert_ok(esker__evaluate(graph, given, &grad, 1, &values, NULL));
        assert_ok(esker_scope_open(dev));
        esker_tensor *tu = parameter(&u_shape, u), *tx = esker_tensor_from_data(dev, ESKER_DTYPE_F32, &x_shape, x);
        esker_tensor *y = esker_tensor_recurrent(
            tx, &(esker_tensor_recurrent_desc){.kind = ESKER_RECURRENT_LSTM,
                                               .weight_ih = esker_tensor_from_data(dev, ESKER_DTYPE_F32, &w_shape, w),
                                               .weight_hh = tu});
        esker_tensor *cell = esker_tensor_recurrent_cell(y);
        assert_non_null(cell);
        if (way / 2 == 1) {
            assert_ok(esker_eager_flush(dev));
            assert_null(esker_tensor_recurrent_cell(y));
            assert_non_null(strstr(esker_last_error(), "computed already"));
        }
        esker_tensor *loss = esker_tensor_mean(esker_tensor_square(cell), NULL, 0, false);
        if (both) loss = esker_tensor_add(loss, esker_tensor_mean(esker_tensor_square(y), NULL, 0, false));
        if (way / 2 == 2) test_item(loss);
        assert_ok(esker_tensor_backward(loss, false));
        assert_ok(esker_tensor_read(esker_tensor_get_grad(tu), 0, ESKER_TENSOR_REST, got));
        assert_close(got, values[grad->id], NULL, 1e-6, 4 * UNITS * UNITS);
        assert_ok(esker_scope_close(dev));
        esker__evaluate_free(graph, values);
        free(given);
        esker_graph_destroy(graph);
    }
}

static void running_statistics_are_assigned(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const float x[] = {1, 2, 3, 6, 5, 4, 3, 0};
    assert_ok(esker_scope_open(dev));
    esker_tensor *t = esker_tensor_from_data(dev, ESKER_DTYPE_F32, &(esker_shape){2, {4, 2}}, x);
    esker_tensor *mean = esker_tensor_zeros(dev, &(esker_shape){1, {2}}),
                 *var = esker_tensor_ones(dev, &(esker_shape){1, {2}});
    const esker_tensor_batch_norm_desc desc = {.running_mean = mean, .running_var = var, .momentum = 0.5f};
    assert_non_null(esker_tensor_batch_norm(t, &desc));
    double at;
    assert_ok(esker_tensor_at(mean, (int64_t[]){1}, &at)); /* (2 + 6 + 4 + 0) / 4 = 3 */
    assert_true(at == 1.5);
    assert_ok(esker_tensor_at(var, (int64_t[]){0}, &at)); /* of 1 3 5 3: 8 / 3 */
    assert_true(fabs(at - (0.5 + 4.0 / 3)) < 1e-6);
    assert_ok(esker_scope_close(dev));
}

/* A chain of 20000 results is let go without as many calls on the stack. */
static void long_histories_are_released(void **state)
{
    (void)state;
    const float two = 2;
    esker_tensor *x = parameter(&(esker_shape){0}, &two), *y = esker_tensor_ref(x);
    for (int i = 0; i < 20000; i++) {
        esker_tensor *next = esker_tensor_affine(y, 1, 0.001f);
        assert_non_null(next);
        esker_tensor_unref(y);
        y = next;
    }
    esker_tensor_unref(y);
    esker_tensor_unref(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_accumulate_until_they_are_zeroed),
        cmocka_unit_test(a_history_serves_once_unless_it_is_retained),
        cmocka_unit_test(no_gradient_where_none_is_wanted),
        cmocka_unit_test(bad_losses_and_missing_rules_are_refused),
        cmocka_unit_test(changed_values_are_noticed_where_they_matter),
        cmocka_unit_test(assignments_stop_gradients),
        cmocka_unit_test(dropout_keeps_its_mask),
        cmocka_unit_test(operations_with_several_outputs),
        cmocka_unit_test(gradients_flow_through_further_outputs),
        cmocka_unit_test(running_statistics_are_assigned),
        cmocka_unit_test(a_training_step_is_one_plan_that_is_compiled_once),
        cmocka_unit_test(reading_in_between_changes_nothing),
        cmocka_unit_test(control_flow_may_differ_every_step),
        cmocka_unit_test(long_histories_are_released),
        cmocka_unit_test(gradients_of_random_programs),
    };
    return test_finish(cmocka_run_group_tests_name("backward", tests, NULL, NULL));
}
