/* device test: the queue by itself, with jobs that do nothing: random submissions beside a simple model of what becomes of each. */
#include "support/test.h"

#include "base/fail.h"
#include "base/philox.h"
#include "gpu/queue.h"

enum { N = 600, N_EVENTS = 40, BOUND = 12, ROUNDS = 12 };

/* What the model knows of a submission. */
static struct made {
    esker_submission handle;
    esker_status job_fails; /* what its start or its finish returns */
    bool in_start;
    int n_events, events[3];
    int n_after, after[3]; /* earlier submissions */
    bool started, finished, told;
    esker_status status;
} made[N];
static int n_made, n_told, n_running;
static esker_event *events[N_EVENTS];
static int event_status[N_EVENTS]; /* -1: not signalled */

static uint32_t draw(uint32_t n)
{
    static uint32_t counter;
    uint32_t out[4];
    const uint32_t at[4] = {counter++, 0, 0, 77}, key[2] = {(uint32_t)test_seed(), 5};
    esker__philox(at, key, out);
    return out[0] % n;
}

/* Everything before it has started, and what it waits for has happened: no sooner may it start. */
static esker_status start(void *owner, uint64_t ticket)
{
    struct made *m = &made[ticket];
    assert_ptr_equal(owner, made);
    assert_false(m->started || m->finished);
    for (int i = 0; i < m->n_events; i++) assert_int_equal(event_status[m->events[i]], ESKER_OK);
    m->started = true;
    if (m->job_fails == ESKER_OK || !m->in_start) return ESKER_OK;
    return esker__fail(m->job_fails, "job %d does not start", (int)ticket);
}

static esker_status finish(void *owner, uint64_t ticket, esker_status st)
{
    struct made *m = &made[ticket];
    assert_ptr_equal(owner, made);
    assert_false(m->finished);
    if (ticket > 0) assert_true(made[ticket - 1].finished); /* in order */
    m->finished = true;
    if (st == ESKER_OK && m->job_fails != ESKER_OK) st = esker__fail(m->job_fails, "job %d fails", (int)ticket);
    return m->status = st;
}

static esker_status tell(const esker_completion *done, void *user)
{
    struct made *m = user;
    assert_int_equal(n_running++, 0);
    assert_ptr_equal(m, &made[n_told]); /* in order, and each once */
    assert_true(m->finished);
    assert_int_equal(done->status, m->status);
    assert_int_equal(done->submission.number, m->handle.number);
    assert_true((done->message[0] != 0) == (done->status != ESKER_OK));
    n_told++;
    n_running--;
    return ESKER_OK;
}

/*
 * Whether it may have ended as it did. Of several reasons to fail the first that is known counts; a job that runs behind one
 * that fails later may have failed to start before.
 */
static bool is_right(const struct made *m)
{
    bool any = false, one_of = m->in_start && m->started && m->status == m->job_fails;
    for (int i = 0; i < m->n_after; i++) {
        esker_status st = made[m->after[i]].status;
        any |= st != ESKER_OK;
        one_of |= st != ESKER_OK && st == m->status;
    }
    for (int i = 0; i < m->n_events; i++) {
        int st = event_status[m->events[i]];
        any |= st != ESKER_OK;
        one_of |= st != ESKER_OK && st == (int)m->status;
    }
    return any ? one_of : m->status == m->job_fails;
}

static void submit(esker_device *dev)
{
    struct made *m = &made[n_made];
    esker_submission after[3];
    esker_event *wanted[3];
    static const esker_status failures[] = {ESKER_ERR_IO, ESKER_ERR_MISMATCH, ESKER_ERR_DEVICE};
    uint64_t number;
    *m = (struct made){.n_events = draw(4) ? 0 : 1 + (int)draw(2), .n_after = draw(3) ? 0 : 1 + (int)draw(2)};
    if (!draw(25)) {
        m->job_fails = failures[draw(3)];
        m->in_start = m->n_events && draw(2); /* one that starts at once would be refused */
    }
    for (int i = 0; i < m->n_events; i++) {
        m->events[i] = (int)draw(N_EVENTS);
        wanted[i] = events[m->events[i]];
        if (m->in_start && event_status[m->events[i]] == ESKER_OK) m->in_start = false;
    }
    if (n_made < BOUND) m->n_after = 0;
    for (int i = 0; i < m->n_after; i++) {
        m->after[i] = n_made - 1 - (int)draw(BOUND);
        after[i] = made[m->after[i]].handle;
    }
    const esker_submit_desc desc = {.after = after,
                                    .n_after = m->n_after,
                                    .events = wanted,
                                    .n_events = m->n_events,
                                    .callback = tell,
                                    .user = m,
                                    .never_wait = true};
    esker_status st = esker__queue_add(dev, &(esker__job){made, (uint64_t)n_made, start, finish}, &desc, false, &number);
    if (st == ESKER_ERR_LIMIT) return; /* full: events must happen first */
    assert_ok(st);
    m->handle = esker__queue_handle(dev, number, (uint64_t)n_made);
    n_made++;
}

static void signal_one(void)
{
    int e = (int)draw(N_EVENTS);
    if (event_status[e] >= 0) return;
    event_status[e] = draw(12) ? ESKER_OK : ESKER_ERR_FORMAT;
    assert_ok(esker_event_signal(events[e], (esker_status)event_status[e]));
}

static void random_round(void)
{
    esker_device *dev;
    n_made = n_told = 0;
    assert_ok(esker_device_open(&(esker_device_desc){.max_submissions = BOUND}, &dev));
    for (int e = 0; e < N_EVENTS; e++) {
        assert_ok(esker_event_create("random", &events[e]));
        event_status[e] = -1;
    }
    int n_failed = 0;
    while (n_made < N) {
        bool done;
        switch (draw(8)) {
        case 0: signal_one(); break;
        case 1: assert_ok(esker_device_poll(dev)); break;
        case 2:
            if (n_made) (void)esker_submission_wait(dev, made[n_made - 1].handle, draw(2) ? 0 : 50000, &done);
            break;
        case 3: (void)esker__queue_deliver(dev, ESKER_OK); break;
        default: submit(dev); break;
        }
    }
    for (int e = 0; e < N_EVENTS; e++)
        while (event_status[e] < 0) signal_one();
    assert_ok(esker_device_finish(dev));
    assert_int_equal(n_told, N);
    for (int i = 0; i < N; i++) {
        if (!is_right(&made[i])) print_error("seed %d, submission %d: %d\n", (int)test_seed(), i, (int)made[i].status);
        assert_true(is_right(&made[i]));
        n_failed += made[i].status != ESKER_OK;
    }
    assert_true(n_failed > N / 50 && n_failed < N);
    for (int e = 0; e < N_EVENTS; e++) esker_event_unref(events[e]);
    esker_device_unref(dev);
}

static void anything_goes_as_the_model_says(void **state)
{
    (void)state;
    test_device();
    for (int i = 0; i < ROUNDS; i++) random_round();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(anything_goes_as_the_model_says)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
