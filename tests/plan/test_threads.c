/* device test: two devices in two threads, a device that moves with steps in flight, and submissions that wait for other threads. */
#include "support/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/submission.h>
#include "base/fail.h"

/* What fails in a thread is told by the one that joins it. */
typedef struct job {
    void (*run)(struct job *job);
    esker_status st;
    char message[1024];
    pthread_t thread;
    esker_device *dev;
    uint64_t seed;
    float *out;
    void *user;
} job;

static void *run(void *user)
{
    job *j = user;
    j->run(j);
    if (j->st != ESKER_OK) snprintf(j->message, sizeof j->message, "%s", esker_last_error());
    return NULL;
}

static void start(job *j)
{
    assert_int_equal(pthread_create(&j->thread, NULL, run, j), 0);
}

static void join(job *j)
{
    pthread_join(j->thread, NULL);
    if (j->st != ESKER_OK) print_error("in a thread: %s: %s\n", esker_status_name(j->st), j->message);
    assert_int_equal(j->st, ESKER_OK);
}

/* ---- Training ---- */

enum { BATCH = 8, INPUTS = 30, HIDDEN = 70, CLASSES = 10, STEPS = 25 };
enum { N_RESULT = STEPS + INPUTS * HIDDEN };

static esker_status compile(esker_device *dev, uint64_t seed, esker_params **out_params, esker_plan **out)
{
    esker_graph *graph;
    *out = NULL;
    esker_status st = esker_params_create(out_params);
    if (st != ESKER_OK) return st;
    st = esker_graph_create(*out_params, &graph);
    if (st != ESKER_OK) return st;
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {BATCH, INPUTS}});
    esker_node *labels = esker_input(graph, "labels", ESKER_DTYPE_I32, &(esker_shape){1, {BATCH}});
    esker_node *w1 = esker_parameter(
        graph, &(esker_param_desc){.name = "w1", .shape = {2, {INPUTS, HIDDEN}}, .init = {ESKER_INIT_HE_NORMAL}});
    esker_node *w2 = esker_parameter(
        graph, &(esker_param_desc){.name = "w2", .shape = {2, {HIDDEN, CLASSES}}, .init = {ESKER_INIT_HE_NORMAL}});
    x = esker_dropout(esker_relu(esker_matmul(x, w1, NULL)), 0.2f);
    esker_node *loss = esker_cross_entropy(esker_matmul(x, w2, NULL), labels);
    esker_optimize(loss, &(esker_optimizer_desc){.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.01f});
    st = esker_params_init_values(*out_params, seed);
    if (st == ESKER_OK)
        st = esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &loss, .n_outputs = 1, .seed = seed},
                                out);
    esker_graph_destroy(graph);
    return st;
}

static esker_status keep_loss(const esker_completion *done, void *user)
{
    float *losses = user;
    if (done->status != ESKER_OK) return done->status;
    return esker_plan_read(done->plan, done->submission.ticket, 0, &losses[done->submission.ticket], sizeof(float));
}

/* Losses and the first layer's weights go to `out`. */
static esker_status train(esker_device *dev, uint64_t seed, float *out)
{
    esker_params *params = NULL;
    esker_plan *plan;
    esker_status st = compile(dev, seed, &params, &plan);
    for (int i = 0; st == ESKER_OK && i < STEPS; i++) {
        float x[BATCH * INPUTS];
        int32_t labels[BATCH];
        test_uniform(x, BATCH * INPUTS, -1, 1, seed * 1000 + (uint64_t)i);
        for (int k = 0; k < BATCH; k++) labels[k] = (k + i) % CLASSES;
        st = esker_plan_write(plan, 0, x, sizeof x);
        if (st == ESKER_OK) st = esker_plan_write(plan, 1, labels, sizeof labels);
        if (st == ESKER_OK)
            st = esker_plan_submit_with(plan, &(esker_submit_desc){.callback = keep_loss, .user = out}, NULL);
    }
    if (st == ESKER_OK) st = esker_device_finish(dev);
    if (st == ESKER_OK) st = esker_params_read(params, 0, out + STEPS, INPUTS * HIDDEN);
    esker_plan_destroy(plan);
    esker_params_unref(params);
    return st;
}

static void train_on_own_device(job *j)
{
    esker_device *dev;
    j->st = esker_device_open(NULL, &dev);
    if (j->st == ESKER_OK) j->st = train(dev, j->seed, j->out);
    esker_device_unref(dev);
}

static void two_devices_train_at_once(void **state)
{
    (void)state;
    static float want[2][N_RESULT], got[2][N_RESULT];
    esker_device *dev = test_device();
    for (uint64_t i = 0; i < 2; i++) assert_ok(train(dev, i + 1, want[i]));
    assert_true(memcmp(want[0], want[1], sizeof want[0]) != 0);
    assert_true(want[0][STEPS - 1] < want[0][0]); /* it learns */
    job jobs[2] = {{train_on_own_device, .seed = 1, .out = got[0]}, {train_on_own_device, .seed = 2, .out = got[1]}};
    for (int i = 0; i < 2; i++) start(&jobs[i]);
    for (int i = 0; i < 2; i++) join(&jobs[i]);
    assert_memory_equal(got[0], want[0], sizeof want[0]);
    assert_memory_equal(got[1], want[1], sizeof want[1]);
}

/* ---- One plan: y = 3 x ---- */

enum { N = 300 };

static esker_status triple(esker_device *dev, esker_plan **out)
{
    esker_graph *graph;
    *out = NULL;
    esker_status st = esker_graph_create(NULL, &graph);
    if (st != ESKER_OK) return st;
    esker_node *y = esker_affine(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {N}}), 3, 0);
    st = esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, out);
    esker_graph_destroy(graph);
    return st;
}

static esker_status submit(esker_plan *plan, float value, const esker_submit_desc *desc, esker_submission *out)
{
    float x[N];
    for (int i = 0; i < N; i++) x[i] = value;
    esker_status st = esker_plan_write(plan, 0, x, sizeof x);
    return st == ESKER_OK ? esker_plan_submit_with(plan, desc, out) : st;
}

static esker_status read_first(esker_plan *plan, uint64_t ticket, float *out)
{
    float y[N];
    esker_status st = esker_plan_read(plan, ticket, 0, y, sizeof y);
    *out = y[0];
    return st;
}

/* ---- A device that moves ---- */

struct move {
    esker_plan *plan;
    pthread_t seen_in;
    float first;
    void *mapped;
    esker_tensor *tensor;
    esker_submission submission;
};

static esker_status note_thread(const esker_completion *done, void *user)
{
    struct move *m = user;
    m->seen_in = pthread_self();
    return done->status == ESKER_OK ? read_first(done->plan, done->submission.ticket, &m->first) : done->status;
}

static void go_on_there(job *j)
{
    struct move *m = j->user;
    ((float *)m->mapped)[0] = 5;
    if (esker_plan_wait(m->plan, 0) != ESKER_ERR_INVALID) {
        j->st = ESKER_ERR_INTERNAL;
        return;
    }
    j->st = esker_device_enter_thread(j->dev);
    if (j->st == ESKER_OK) j->st = esker_tensor_unmap(m->tensor);
    if (j->st == ESKER_OK) j->st = esker_device_finish(j->dev);
    if (j->st == ESKER_OK) j->st = esker_device_leave_thread(j->dev);
}

static void a_device_moves_with_steps_in_flight(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    struct move m = {0};
    float value;
    assert_ok(triple(dev, &m.plan));
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {4}}}, &m.tensor));
    assert_ok(esker_tensor_map(m.tensor, ESKER_MAP_WRITE, &m.mapped));
    assert_ok(submit(m.plan, 2, &(esker_submit_desc){.callback = note_thread, .user = &m}, NULL));
    job j = {go_on_there, .dev = dev, .user = &m};
    assert_ok(esker_device_leave_thread(dev));
    start(&j);
    pthread_t there = j.thread;
    join(&j);
    assert_true(pthread_equal(m.seen_in, there));
    assert_true(m.first == 6);
    assert_fails(submit(m.plan, 2, NULL, NULL), ESKER_ERR_INVALID, "belongs to no thread");
    assert_ok(esker_device_enter_thread(dev));
    assert_ok(esker_tensor_read(m.tensor, 0, 1, &value));
    assert_true(value == 5);
    assert_ok(submit(m.plan, 3, NULL, NULL));
    assert_ok(read_first(m.plan, 1, &value));
    assert_true(value == 9);
    esker_tensor_unref(m.tensor);
    esker_plan_destroy(m.plan);
}

/* Everything that needs the device, called where it is not ours. */
static esker_status call_everything(job *j)
{
    struct move *m = j->user;
    esker_tensor *made;
    esker_submission s = {0};
    esker_plan *plan;
    esker_event *none = NULL;
    float x[N] = {0};
    uint64_t ticket;
    void *address;
    bool done;
    const struct {
        const char *name;
        esker_status st;
    } calls[] = {
        {"plan_compile", triple(j->dev, &plan)},
        {"plan_write", esker_plan_write(m->plan, 0, x, sizeof x)},
        {"plan_input_slot", esker_plan_input_slot(m->plan, 0, 0, &address)},
        {"plan_mark_written", esker_plan_mark_written(m->plan, 0)},
        {"plan_bind_input", esker_plan_bind_input(m->plan, 0, NULL)},
        {"plan_set_lr", esker_plan_set_lr(m->plan, 0.5f)},
        {"plan_set_step", esker_plan_set_step(m->plan, 7)},
        {"plan_submit", esker_plan_submit(m->plan, &ticket)},
        {"plan_submit_with", esker_plan_submit_with(m->plan, &(esker_submit_desc){.events = &none}, &s)},
        {"plan_run", esker_plan_run(m->plan)},
        {"plan_poll", esker_plan_poll(m->plan, 0, &done)},
        {"plan_wait", esker_plan_wait(m->plan, 0)},
        {"plan_read", esker_plan_read(m->plan, 0, 0, x, sizeof x)},
        {"device_finish", esker_device_finish(j->dev)},
        {"device_poll", esker_device_poll(j->dev)},
        {"device_set_trace", esker_device_set_trace(j->dev, NULL)},
        {"device_leave_thread", esker_device_leave_thread(j->dev)},
        {"device_enter_thread", esker_device_enter_thread(j->dev)},
        {"submission_wait", esker_submission_wait(j->dev, m->submission, 0, &done)},
        {"tensor_create", esker_tensor_create(j->dev, &(esker_tensor_desc){.shape = {1, {4}}}, &made)},
        {"tensor_read", esker_tensor_read(m->tensor, 0, 1, x)},
        {"tensor_write", esker_tensor_write(m->tensor, 0, 1, x)},
        {"tensor_copy", esker_tensor_copy(m->tensor, m->tensor)},
        {"tensor_map", esker_tensor_map(m->tensor, ESKER_MAP_READ, &address)},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (calls[i].st != ESKER_ERR_INVALID)
            return esker__fail(ESKER_ERR_INTERNAL, "esker_%s in another thread: %s", calls[i].name,
                               esker_status_name(calls[i].st));
    return ESKER_OK;
}

static void use_it_uninvited(job *j)
{
    struct move *m = j->user;
    j->st = call_everything(j);
    if (j->st != ESKER_OK) return;
    j->st = ESKER_ERR_INTERNAL;
    if (esker_plan_run(m->plan) != ESKER_ERR_INVALID) return;
    if (!strstr(esker_last_error(), "belongs to another thread")) return;
    esker__fail_message("nothing");
    esker_plan_destroy(m->plan); /* refused: it is not ours, and is there still */
    if (!strstr(esker_last_error(), "belongs to another thread")) return;
    j->st = ESKER_OK;
}

static void another_threads_device_is_refused(void **state)
{
    (void)state;
    struct move m = {0};
    float value;
    assert_ok(triple(test_device(), &m.plan));
    assert_ok(esker_tensor_create(test_device(), &(esker_tensor_desc){.shape = {1, {4}}}, &m.tensor));
    assert_ok(submit(m.plan, 1, NULL, &m.submission));
    float x[N] = {7};
    assert_ok(esker_plan_write(m.plan, 0, x, sizeof x));
    job j = {use_it_uninvited, .dev = test_device(), .user = &m};
    start(&j);
    join(&j);
    assert_ok(esker_plan_submit(m.plan, NULL));
    assert_ok(read_first(m.plan, 1, &value));
    assert_true(value == 21);
    esker_tensor_unref(m.tensor);
    esker_plan_destroy(m.plan);
}

/* ---- Two devices after one another ---- */

struct relay {
    esker_event *gate, *copied; /* the first device may start; its result is where the second reads it */
    esker_submission first;
    void *slot;
};

/* In the first device's thread: its result becomes the other's input. */
static esker_status pass_on(const esker_completion *done, void *user)
{
    struct relay *r = user;
    float y[N] = {0};
    esker_status st = done->status;
    if (st == ESKER_OK) st = esker_plan_read(done->plan, done->submission.ticket, 0, y, sizeof y);
    if (st == ESKER_OK && r->slot) memcpy(r->slot, y, sizeof y);
    esker_status told = esker_event_signal(r->copied, st);
    return done->status != ESKER_OK ? ESKER_OK : st != ESKER_OK ? st : told;
}

/* Owns the first device, and finishes once the gate opens. */
static void first_device(job *j)
{
    j->st = esker_device_enter_thread(j->dev);
    if (j->st == ESKER_OK) j->st = esker_device_finish(j->dev);
    if (j->st == ESKER_OK) j->st = esker_device_leave_thread(j->dev);
}

static void relay(esker_status outcome)
{
    esker_device *a, *b = test_device();
    esker_plan *plan_a, *plan_b;
    struct relay r = {0};
    esker_submission after_copy, after_both;
    bool done = true;
    assert_ok(esker_device_open(NULL, &a));
    assert_ok(triple(a, &plan_a));
    assert_ok(triple(b, &plan_b));
    assert_ok(esker_event_create("gate", &r.gate));
    assert_ok(esker_event_create("copied", &r.copied));
    assert_ok(esker_plan_input_slot(plan_b, 0, 0, &r.slot));
    assert_ok(submit(plan_a, 2,
                     &(esker_submit_desc){.events = &r.gate, .n_events = 1, .callback = pass_on, .user = &r, .label = "a"},
                     &r.first));
    assert_ok(esker_device_leave_thread(a));
    job j = {first_device, .dev = a};
    start(&j);
    /* The second device's steps are submitted before the first one's has started. */
    if (r.slot) {
        assert_ok(esker_plan_mark_written(plan_b, 0));
        assert_ok(esker_plan_submit_with(plan_b, &(esker_submit_desc){.events = &r.copied, .n_events = 1}, &after_copy));
    } else {
        assert_ok(submit(plan_b, 6, &(esker_submit_desc){.events = &r.copied, .n_events = 1}, &after_copy));
    }
    const esker_submission both[] = {r.first, after_copy};
    assert_ok(submit(plan_b, 7, &(esker_submit_desc){.after = both, .n_after = 2, .label = "b"}, &after_both));
    assert_ok(esker_submission_wait(b, after_both, 1000000, &done));
    assert_false(done);
    assert_ok(esker_event_signal(r.gate, outcome));
    if (outcome == ESKER_OK) {
        float value;
        assert_ok(read_first(plan_b, after_copy.ticket, &value));
        assert_true(value == 18);
        assert_ok(read_first(plan_b, after_both.ticket, &value));
        assert_true(value == 21);
    } else {
        assert_fails(esker_submission_wait(b, after_copy, ESKER_WAIT_FOREVER, NULL), outcome, "event copied was signalled");
        assert_fails(esker_submission_wait(b, after_both, ESKER_WAIT_FOREVER, NULL), outcome,
                     "(b) comes after submission 0");
    }
    join(&j);
    assert_ok(esker_device_enter_thread(a));
    assert_ok(esker_device_finish(a));
    assert_ok(esker_device_finish(b));
    esker_plan_destroy(plan_a);
    esker_plan_destroy(plan_b);
    esker_event_unref(r.gate);
    esker_event_unref(r.copied);
    esker_device_unref(a);
}

static void one_device_comes_after_another(void **state)
{
    (void)state;
    test_device();
    relay(ESKER_OK);
}

static void failures_reach_the_other_device(void **state)
{
    (void)state;
    test_device();
    relay(ESKER_ERR_FORMAT);
}

/* Waiting for the second is enough: what it comes after is this thread's own business. */
static void one_thread_with_two_devices(void **state)
{
    (void)state;
    esker_device *a, *b = test_device();
    esker_plan *plan_a, *plan_b;
    esker_submission last = {0};
    float value;
    assert_ok(esker_device_open(NULL, &a));
    assert_ok(triple(a, &plan_a));
    assert_ok(triple(b, &plan_b));
    for (int i = 0; i < 8; i++) {
        assert_ok(submit(i % 2 ? plan_b : plan_a, (float)i, &(esker_submit_desc){.after = &last, .n_after = i > 0}, &last));
    }
    assert_ok(read_first(plan_b, last.ticket, &value));
    assert_true(value == 21);
    esker_plan_destroy(plan_a);
    /* Its device closes; what comes after it knows how it went. */
    assert_ok(submit(plan_b, 1, NULL, &last));
    esker_device_unref(a);
    assert_ok(esker_device_finish(b));
    esker_plan_destroy(plan_b);
}

/* ---- Batches that other threads fill ---- */

enum { BATCHES = 24, LOADERS = 3 };

struct loading {
    void *slots[ESKER_PLAN_SLOTS];
    esker_event *filled[BATCHES];
    atomic_int n_free; /* batches whose slot may be filled */
};

static void load(job *j)
{
    struct loading *l = j->user;
    for (int i = (int)j->seed; i < BATCHES; i += LOADERS) {
        while (l->n_free <= i) sched_yield();
        float *x = l->slots[i % ESKER_PLAN_SLOTS];
        for (int k = 0; k < N; k++) x[k] = (float)(i + k);
        j->st = esker_event_signal(l->filled[i], ESKER_OK);
        if (j->st != ESKER_OK) return;
    }
}

static esker_status step_done(const esker_completion *done, void *user)
{
    struct loading *l = user;
    float y[N];
    uint64_t i = done->submission.ticket;
    if (done->status != ESKER_OK) return done->status;
    esker_status st = esker_plan_read(done->plan, i, 0, y, sizeof y);
    if (st != ESKER_OK) return st;
    for (int k = 0; k < N; k++)
        if (y[k] != 3 * (float)((int)i + k)) return esker__fail(ESKER_ERR_MISMATCH, "batch %d, element %d", (int)i, k);
    l->n_free++;
    return ESKER_OK;
}

static void steps_wait_for_loaders(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *plan;
    struct loading l = {.n_free = ESKER_PLAN_SLOTS};
    assert_ok(triple(dev, &plan));
    for (int s = 0; s < ESKER_PLAN_SLOTS; s++) assert_ok(esker_plan_input_slot(plan, 0, s, &l.slots[s]));
    if (!l.slots[0]) { /* no lasting addresses: esker_plan_write is the way */
        esker_plan_destroy(plan);
        return;
    }
    job jobs[LOADERS];
    for (int i = 0; i < BATCHES; i++) assert_ok(esker_event_create("batch", &l.filled[i]));
    for (int i = 0; i < LOADERS; i++) {
        jobs[i] = (job){load, .seed = (uint64_t)i, .user = &l};
        start(&jobs[i]);
    }
    for (int i = 0; i < BATCHES; i++) {
        assert_ok(esker_plan_mark_written(plan, 0));
        assert_ok(esker_plan_submit_with(
            plan, &(esker_submit_desc){.events = &l.filled[i], .n_events = 1, .callback = step_done, .user = &l}, NULL));
    }
    assert_ok(esker_device_finish(dev));
    for (int i = 0; i < LOADERS; i++) join(&jobs[i]);
    for (int i = 0; i < BATCHES; i++) esker_event_unref(l.filled[i]);
    esker_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_devices_train_at_once),
        cmocka_unit_test(a_device_moves_with_steps_in_flight),
        cmocka_unit_test(another_threads_device_is_refused),
        cmocka_unit_test(one_device_comes_after_another),
        cmocka_unit_test(failures_reach_the_other_device),
        cmocka_unit_test(one_thread_with_two_devices),
        cmocka_unit_test(steps_wait_for_loaders),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
