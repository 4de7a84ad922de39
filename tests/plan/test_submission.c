/* device test: submissions: callbacks, what they come after, the bounded queue, and failures that leave the device usable. */
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/submission.h>
#include "base/memory.h"
#include "gpu/internal.h"
#include "plan/plan.h"

#define N 300

/* Outputs three times its input. */
static esker_plan *triple(esker_device *dev)
{
    static const esker_shape shape = {1, {N}};
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_affine(esker_input(graph, "x", ESKER_DTYPE_F32, &shape), 3, 0);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    return plan;
}

static void give(esker_plan *plan, float value)
{
    float x[N];
    for (int i = 0; i < N; i++) x[i] = value + (float)i;
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
}

static esker_submission submit(esker_plan *plan, float value, const esker_submit_desc *desc)
{
    esker_submission s;
    give(plan, value);
    assert_ok(esker_plan_submit_with(plan, desc, &s));
    return s;
}

static float read_first(esker_plan *plan, uint64_t ticket)
{
    float y[N];
    assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
    for (int i = 1; i < N; i++) assert_true(y[i] == y[0] + 3 * (float)i);
    return y[0];
}

/* What callbacks saw, in order. */
static struct seen {
    uint64_t number, ticket;
    esker_status status;
    char message[320];
    float first;
    bool had_plan;
} seen[64];
static int n_seen;

static esker_status note(const esker_completion *done, void *user)
{
    struct seen *s = &seen[n_seen++ % 64];
    *s = (struct seen){.number = done->submission.number,
                       .ticket = done->submission.ticket,
                       .status = done->status,
                       .had_plan = done->plan != NULL};
    snprintf(s->message, sizeof s->message, "%s", done->message);
    if (done->plan && done->status == ESKER_OK) s->first = read_first(done->plan, done->submission.ticket);
    if (user) ++*(int *)user;
    return ESKER_OK;
}

static esker_event *event_of(const char *label)
{
    esker_event *event;
    assert_ok(esker_event_create(label, &event));
    return event;
}

static int start_anew(void **state)
{
    (void)state;
    n_seen = 0;
    memset(seen, 0, sizeof seen);
    return 0;
}

static void callbacks_run_in_order(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *a = triple(dev), *b = triple(dev);
    uint64_t first = 0;
    for (int i = 0; i < 12; i++) {
        esker_submission s = submit(i % 2 ? b : a, (float)i, &(esker_submit_desc){.callback = note});
        if (!i) first = s.number;
        assert_int_equal(s.number, first + (uint64_t)i);
        assert_int_equal(s.ticket, i / 2);
    }
    assert_ok(esker_device_finish(dev));
    assert_int_equal(n_seen, 12);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(seen[i].number, first + (uint64_t)i);
        assert_int_equal(seen[i].status, ESKER_OK);
        assert_string_equal(seen[i].message, "");
        assert_true(seen[i].first == 3 * (float)i);
    }
    /* Where they run, beside finish: polling, waiting, reading, and the next submission. */
    esker_submission s = submit(a, 1, &(esker_submit_desc){.callback = note});
    while (n_seen == 12) assert_ok(esker_device_poll(dev));
    s = submit(a, 1, &(esker_submit_desc){.callback = note});
    assert_ok(esker_submission_wait(dev, s, ESKER_WAIT_FOREVER, NULL));
    assert_int_equal(n_seen, 14);
    s = submit(a, 1, &(esker_submit_desc){.callback = note});
    assert_ok(esker_plan_wait(a, s.ticket));
    assert_int_equal(n_seen, 15);
    s = submit(a, 1, &(esker_submit_desc){.callback = note});
    assert_true(read_first(a, s.ticket) == 3);
    assert_int_equal(n_seen, 16);
    submit(a, 1, &(esker_submit_desc){.callback = note});
    for (int i = 0; i < ESKER_PLAN_SLOTS; i++) submit(a, 2, NULL); /* its results are there until its slot is taken */
    assert_int_equal(n_seen, 17);
    assert_true(seen[16].first == 3);
    esker_plan_destroy(a);
    esker_plan_destroy(b);
}

static void an_event_holds_submissions_back(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *a = triple(dev), *b = triple(dev);
    esker_event *event = event_of("batch");
    bool done = true;
    esker_submission s = submit(a, 5, &(esker_submit_desc){.events = &event, .n_events = 1, .callback = note});
    esker_submission behind = submit(b, 7, &(esker_submit_desc){.callback = note});
    for (int i = 0; i < 3; i++) assert_ok(esker_device_poll(dev));
    assert_ok(esker_submission_wait(dev, s, 2000000, &done));
    assert_false(done);
    assert_ok(esker_submission_wait(dev, behind, 0, &done));
    assert_false(done);
    assert_int_equal(n_seen, 0);
    assert_fails(esker_event_reset(event), ESKER_ERR_INVALID, "event batch has not been signalled");
    assert_ok(esker_event_signal(event, ESKER_OK));
    assert_fails(esker_event_signal(event, ESKER_OK), ESKER_ERR_INVALID, "event batch was signalled before, with ESKER_OK");
    assert_fails(esker_event_reset(event), ESKER_ERR_INVALID, "1 submissions still wait");
    assert_ok(esker_submission_wait(dev, behind, ESKER_WAIT_FOREVER, &done));
    assert_true(done);
    assert_int_equal(n_seen, 2);
    assert_true(seen[0].number == s.number && seen[0].first == 15);
    assert_true(seen[1].number == behind.number && seen[1].first == 21);
    /* Once more with the same event, and one that has happened already holds nothing back. */
    assert_ok(esker_event_reset(event));
    assert_ok(esker_event_signal(event, ESKER_OK));
    s = submit(a, 6, &(esker_submit_desc){.events = &event, .n_events = 1});
    assert_ok(esker_event_reset(event)); /* it has started, so the event is free again */
    assert_true(read_first(a, s.ticket) == 18);
    esker_event_unref(event);
    esker_plan_destroy(a);
    esker_plan_destroy(b);
}

/* A step that is held back sees the tensor as it was when it was submitted; what it does not touch goes ahead. */
static void memory_keeps_its_place_in_the_queue(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *plan = triple(dev);
    float x[N], other[N] = {0};
    for (int i = 0; i < N; i++) x[i] = (float)i;
    const esker_tensor_desc desc = {.shape = {1, {N}}, .data = x};
    esker_tensor *bound, *free_one;
    assert_ok(esker_tensor_create(dev, &desc, &bound));
    assert_ok(esker_plan_bind_input(plan, 0, bound));
    esker_event *event = event_of(NULL);
    esker_submission s;
    assert_ok(esker_plan_submit_with(plan, &(esker_submit_desc){.events = &event, .n_events = 1}, &s));
    /* With the step held back: making tensors, reading and writing them, and compiling. */
    assert_ok(esker_tensor_create(dev, &desc, &free_one));
    assert_ok(esker_tensor_write(free_one, 0, 2, other));
    assert_ok(esker_tensor_read(free_one, 0, ESKER_TENSOR_REST, other));
    assert_true(other[1] == 0 && other[2] == 2);
    esker_plan_destroy(triple(dev));
    bool done = true;
    assert_ok(esker_submission_wait(dev, s, 0, &done));
    assert_false(done);
    assert_ok(esker_event_signal(event, ESKER_OK));
    assert_ok(esker_tensor_write(bound, 0, 2, (const float[]){100, 200})); /* starts the step first */
    assert_ok(esker_plan_bind_input(plan, 0, free_one));
    assert_true(read_first(plan, s.ticket) == 0);
    assert_ok(esker_tensor_read(bound, 0, 2, other));
    assert_true(other[0] == 100 && other[1] == 200);
    esker_event_unref(event);
    esker_tensor_unref(bound);
    esker_tensor_unref(free_one);
    esker_plan_destroy(plan);
}

static void failures_reach_what_comes_after(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *a = triple(dev), *b = triple(dev);
    esker_event *event = event_of("decode");
    esker_submission s[4];
    bool done;
    s[0] = submit(a, 1, &(esker_submit_desc){.events = &event, .n_events = 1, .callback = note, .label = "train"});
    s[1] = submit(b, 2, &(esker_submit_desc){.after = &s[0], .n_after = 1, .callback = note, .label = "evaluate"});
    s[2] = submit(a, 3, &(esker_submit_desc){.callback = note});
    assert_ok(esker_event_signal(event, ESKER_ERR_IO));
    assert_fails(esker_submission_wait(dev, s[0], ESKER_WAIT_FOREVER, &done), ESKER_ERR_IO,
                 "(train): event decode was signalled with ESKER_ERR_IO");
    assert_true(done);
    assert_fails(esker_submission_wait(dev, s[1], ESKER_WAIT_FOREVER, &done), ESKER_ERR_IO,
                 "(evaluate) comes after submission");
    assert_fails(esker_plan_wait(b, s[1].ticket), ESKER_ERR_IO, "event decode was signalled with ESKER_ERR_IO");
    assert_fails(esker_plan_poll(b, s[1].ticket, &done), ESKER_ERR_IO, "event decode");
    assert_ok(esker_submission_wait(dev, s[2], ESKER_WAIT_FOREVER, NULL));
    assert_int_equal(n_seen, 3);
    assert_int_equal(seen[0].status, ESKER_ERR_IO);
    assert_int_equal(seen[1].status, ESKER_ERR_IO);
    assert_non_null(strstr(seen[1].message, "which failed: submission"));
    assert_true(seen[2].status == ESKER_OK && seen[2].first == 9);
    /* After one that has failed already. */
    s[3] = submit(b, 4, &(esker_submit_desc){.after = s, .n_after = 3, .callback = note});
    assert_fails(esker_submission_wait(dev, s[3], ESKER_WAIT_FOREVER, NULL), ESKER_ERR_IO, "comes after submission");
    assert_int_equal(seen[3].status, ESKER_ERR_IO);
    /* An event that everybody forgot. */
    esker_event_unref(event);
    event = event_of("dropped");
    s[0] = submit(a, 5, &(esker_submit_desc){.events = &event, .n_events = 1});
    esker_event_unref(event);
    assert_fails(esker_submission_wait(dev, s[0], ESKER_WAIT_FOREVER, NULL), ESKER_ERR_CANCELLED,
                 "event dropped was signalled with ESKER_ERR_CANCELLED (or let go of");
    assert_true(read_first(b, submit(b, 6, NULL).ticket) == 18);
    esker_plan_destroy(a);
    esker_plan_destroy(b);
}

static void bad_handles_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device(), *other;
    assert_ok(esker_device_open(NULL, &other));
    esker_plan *plan = triple(dev), *theirs = triple(other);
    esker_submission s = submit(plan, 1, NULL), foreign = submit(theirs, 1, NULL), none = {0}, out = s, future = s;
    future.number += 5;
    char text[96];
    bool done;
    snprintf(text, sizeof text, "submission %" PRIu64 " of device %" PRIu64 " on device %" PRIu64, foreign.number,
             foreign.device, s.device);
    assert_fails(esker_submission_wait(dev, foreign, 0, &done), ESKER_ERR_INVALID, text);
    assert_fails(esker_submission_wait(dev, none, 0, &done), ESKER_ERR_INVALID, "names none");
    snprintf(text, sizeof text, "submission %" PRIu64 " of device %" PRIu64 ", which has made %" PRIu64, future.number,
             s.device, s.number + 1);
    assert_fails(esker_submission_wait(dev, future, 0, &done), ESKER_ERR_INVALID, text);
    give(plan, 2);
    assert_fails(esker_plan_submit_with(plan, &(esker_submit_desc){.after = &future, .n_after = 1}, &out),
                 ESKER_ERR_INVALID, text);
    assert_int_equal(out.device, 0);
    assert_fails(esker_plan_submit_with(plan, &(esker_submit_desc){.after = &none, .n_after = 1}, NULL), ESKER_ERR_INVALID,
                 "dependency 0 names no submission");
    esker_event *nothing = NULL;
    assert_fails(esker_plan_submit_with(plan, &(esker_submit_desc){.events = &nothing, .n_events = 1}, NULL),
                 ESKER_ERR_INVALID, "event 0 is NULL");
    assert_fails(esker_plan_submit_with(plan, &(esker_submit_desc){.after = &s, .n_after = 9}, NULL), ESKER_ERR_INVALID,
                 "9 submissions and 0 events to wait for, at most 8");
    /* A device that was closed since. */
    esker_plan_destroy(theirs);
    esker_device_unref(other);
    snprintf(text, sizeof text, "of device %" PRIu64 ", which is not open", foreign.device);
    assert_fails(esker_plan_submit_with(plan, &(esker_submit_desc){.after = &foreign, .n_after = 1}, NULL),
                 ESKER_ERR_INVALID, text);
    /* Nothing was queued, and the input is there still. */
    assert_ok(esker_plan_submit_with(plan, &(esker_submit_desc){.after = &s, .n_after = 1}, &out));
    assert_int_equal(out.number, s.number + 1);
    assert_true(read_first(plan, out.ticket) == 6);
    esker_plan_destroy(plan);
}

static void outcomes_are_remembered_for_a_while(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_fails(esker_device_open(&(esker_device_desc){.max_submissions = 1025}, &dev), ESKER_ERR_INVALID,
                 "max_submissions is 1025");
    assert_ok(esker_device_open(&(esker_device_desc){.max_submissions = 2}, &dev));
    esker_plan *plan = triple(dev);
    esker_submission first = submit(plan, 0, NULL), failed, s;
    esker_event *event = event_of("bad");
    assert_ok(esker_event_signal(event, ESKER_ERR_FORMAT));
    failed = submit(plan, 0, &(esker_submit_desc){.events = &event, .n_events = 1});
    for (int i = 0; i < 3; i++) s = submit(plan, 0, NULL);
    assert_fails(esker_submission_wait(dev, failed, ESKER_WAIT_FOREVER, NULL), ESKER_ERR_FORMAT, "event bad");
    for (int i = 0; i < 2; i++) s = submit(plan, 0, NULL);
    assert_ok(esker_submission_wait(dev, first, ESKER_WAIT_FOREVER, NULL)); /* before the first failure all went well */
    assert_fails(esker_submission_wait(dev, failed, ESKER_WAIT_FOREVER, NULL), ESKER_ERR_INVALID,
                 "submission 1 is forgotten: 5 were made since, the device remembers 4");
    give(plan, 1);
    assert_fails(esker_plan_submit_with(plan, &(esker_submit_desc){.after = &failed, .n_after = 1}, NULL),
                 ESKER_ERR_INVALID, "submission 1 of device");
    assert_ok(
        esker_plan_submit_with(plan, &(esker_submit_desc){.after = (esker_submission[]){first, s}, .n_after = 2}, &s));
    assert_true(read_first(plan, s.ticket) == 3);
    esker_event_unref(event);
    esker_plan_destroy(plan);
    esker_device_unref(dev);
}

static void the_queue_pushes_back(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    esker_counters before, after;
    assert_ok(esker_device_open(&(esker_device_desc){.max_submissions = 3}, &dev));
    esker_plan *plans[4];
    esker_event *event = event_of("gate");
    const esker_submit_desc gate = {.events = &event, .n_events = 1}, polite = {.never_wait = true};
    for (int i = 0; i < 4; i++) plans[i] = triple(dev);
    submit(plans[0], 0, &gate);
    for (int i = 1; i < 3; i++) submit(plans[i], (float)i, &polite);
    give(plans[3], 3);
    assert_fails(esker_plan_submit_with(plans[3], &polite, NULL), ESKER_ERR_LIMIT,
                 "3 submissions are unfinished, the queue holds 3");
    esker_device_get_counters(dev, &before);
    assert_ok(esker_event_signal(event, ESKER_OK));
    esker_submission s;
    assert_ok(esker_plan_submit_with(plans[3], NULL, &s)); /* waits for the oldest */
    esker_device_get_counters(dev, &after);
    assert_true(after.throttles <= before.throttles + 1 && after.waits == before.waits);
    assert_int_equal(after.submissions, before.submissions + 1);
    assert_true(read_first(plans[3], s.ticket) == 9);
    for (int i = 0; i < 4; i++) esker_plan_destroy(plans[i]);
    esker_event_unref(event);
    esker_device_unref(dev);

    /* And the slots of one plan. */
    esker_plan *plan = triple(test_device());
    event = event_of("gate");
    for (int i = 0; i < ESKER_PLAN_SLOTS; i++) submit(plan, (float)i, &gate);
    assert_fails(esker_plan_submit_with(plan, &polite, NULL), ESKER_ERR_INVALID, "input x was not written");
    assert_ok(esker_plan_mark_written(plan, 0));
    assert_fails(esker_plan_submit_with(plan, &polite, NULL), ESKER_ERR_LIMIT,
                 "step 0 is unfinished, 4 steps may be in flight");
    assert_ok(esker_event_signal(event, ESKER_OK));
    assert_true(read_first(plan, ESKER_PLAN_SLOTS - 1) == 3 * (ESKER_PLAN_SLOTS - 1));
    esker_event_unref(event);
    esker_plan_destroy(plan);
}

/* ---- What callbacks may do ---- */

static struct chain {
    esker_plan *plan;
    int left, depth, deepest;
} chain;

static esker_status submit_next(const esker_completion *done, void *user)
{
    (void)user;
    chain.depth++;
    if (chain.depth > chain.deepest) chain.deepest = chain.depth;
    esker_status st = note(done, NULL);
    if (chain.left-- > 0) {
        submit(chain.plan, (float)n_seen, &(esker_submit_desc){.callback = submit_next});
        assert_ok(esker_device_poll(test_device()));
        assert_ok(
            esker_plan_wait(chain.plan, done->submission.ticket + 1)); /* it finishes, but its callback waits its turn */
    }
    chain.depth--;
    return st;
}

static void a_callback_submits_more(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    chain = (struct chain){.plan = triple(dev), .left = 9};
    submit(chain.plan, 0, &(esker_submit_desc){.callback = submit_next});
    assert_ok(esker_device_finish(dev));
    assert_int_equal(n_seen, 10);
    assert_int_equal(chain.deepest, 1);
    for (int i = 0; i < 10; i++) assert_true(seen[i].ticket == (uint64_t)i && seen[i].first == 3 * (float)i);
    esker_plan_destroy(chain.plan);
}

static esker_status count(const esker_completion *done, void *user)
{
    ++*(int *)user;
    return done->status;
}

static esker_status submit_too_much(const esker_completion *done, void *user)
{
    esker_status st = ESKER_OK;
    (void)done;
    for (int i = 0; i < 200 && st == ESKER_OK; i++) {
        give(chain.plan, 1);
        st = esker_plan_submit_with(chain.plan, &(esker_submit_desc){.callback = count, .user = user}, NULL);
    }
    return st;
}

static void a_callback_cannot_flood_the_queue(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    int n = 0;
    chain.plan = triple(dev);
    submit(chain.plan, 0, &(esker_submit_desc){.callback = submit_too_much, .user = &n, .label = "flood"});
    assert_fails(esker_device_finish(dev), ESKER_ERR_LIMIT, "(flood): ESKER_ERR_LIMIT: submitting: ");
    assert_int_equal(n, 64);
    assert_true(read_first(chain.plan, submit(chain.plan, 2, NULL).ticket) == 6);
    esker_plan_destroy(chain.plan);
}

static esker_status destroy_it(const esker_completion *done, void *user)
{
    (void)user;
    n_seen++;
    esker_plan_destroy(done->plan);
    return ESKER_OK;
}

static void a_callback_may_destroy_its_plan(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    esker_plan *plan = triple(dev), *other = triple(dev);
    esker_event *event = event_of("never");
    submit(plan, 0, &(esker_submit_desc){.callback = destroy_it});
    submit(plan, 0, &(esker_submit_desc){.callback = note});
    submit(other, 0, &(esker_submit_desc){.callback = note});
    assert_ok(esker_device_finish(dev));
    assert_int_equal(n_seen, 3);
    assert_false(seen[1].had_plan);
    assert_int_equal(seen[1].status, ESKER_OK); /* it ran */
    assert_true(seen[2].had_plan);
    esker_event_unref(event);
    esker_plan_destroy(other);
    /* The last reference to the device goes with a plan in a callback. */
    plan = triple(dev);
    esker_device_unref(dev);
    submit(plan, 0, &(esker_submit_desc){.callback = destroy_it});
    esker_plan_wait(plan, 0);
    assert_int_equal(n_seen, 4);
}

static esker_status fail_it(const esker_completion *done, void *user)
{
    assert_fails(esker_device_leave_thread(user), ESKER_ERR_INVALID, "a submission's callback runs");
    assert_fails(esker_plan_read(done->plan, done->submission.ticket, 9, NULL, 0), ESKER_ERR_INVALID, "output 9 of 1");
    return ESKER_ERR_FORMAT;
}

static void a_callback_that_fails_is_told(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *plan = triple(dev);
    const esker_submit_desc failing = {.callback = fail_it, .user = dev, .label = "log"};
    submit(plan, 0, &failing);
    assert_fails(esker_device_finish(dev), ESKER_ERR_FORMAT, "(log): ESKER_ERR_FORMAT: plan: output 9 of 1");
    assert_ok(esker_device_finish(dev));
    for (int i = 0; i < 3; i++) submit(plan, 0, &failing);
    uint64_t ticket = submit(plan, 1, &(esker_submit_desc){.callback = note}).ticket;
    assert_true(read_first(plan, ticket) == 3); /* the step itself is fine */
    assert_int_equal(n_seen, 1);
    assert_fails(esker_device_poll(dev), ESKER_ERR_FORMAT, "(and 2 more failed)");
    assert_ok(esker_device_poll(dev));
    esker_plan_destroy(plan);
}

static void a_plan_is_destroyed_with_steps_in_flight(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *plan = triple(dev), *other = triple(dev);
    esker_event *event = event_of("late");
    esker_submission s, behind;
    submit(plan, 1, &(esker_submit_desc){.callback = note});
    s = submit(plan, 2, &(esker_submit_desc){.events = &event, .n_events = 1, .callback = note, .label = "held"});
    behind = submit(other, 3, &(esker_submit_desc){.after = &s, .n_after = 1, .callback = note});
    esker_plan_destroy(plan);
    assert_fails(esker_submission_wait(dev, s, ESKER_WAIT_FOREVER, NULL), ESKER_ERR_CANCELLED,
                 "(held): its plan was destroyed before it could start");
    assert_fails(esker_submission_wait(dev, behind, ESKER_WAIT_FOREVER, NULL), ESKER_ERR_CANCELLED,
                 "which failed: submission");
    assert_int_equal(n_seen, 3);
    assert_int_equal(seen[0].status, ESKER_OK); /* told before its plan went or after */
    assert_true(seen[1].status == ESKER_ERR_CANCELLED && !seen[1].had_plan);
    assert_true(seen[2].status == ESKER_ERR_CANCELLED && seen[2].had_plan);
    assert_true(read_first(other, submit(other, 4, NULL).ticket) == 12);
    esker_event_unref(event);
    esker_plan_destroy(other);
}

static void closing_drains(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    esker_plan *plan = triple(dev);
    for (int i = 0; i < 3; i++) submit(plan, (float)i, &(esker_submit_desc){.callback = note});
    esker_device_unref(dev);
    esker_plan_destroy(plan);
    assert_int_equal(n_seen, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(seen[i].status, ESKER_OK);
}

static void a_lost_device_completes_everything(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    esker_plan *plan = triple(dev);
    esker_event *event = event_of("never");
    esker_submission s = submit(plan, 0, &(esker_submit_desc){.events = &event, .n_events = 1, .callback = note});
    submit(plan, 1, &(esker_submit_desc){.callback = note});
    /* No driver here resets on demand; what follows a reset is the same whoever noticed it. */
    dev->lost = true;
    dev->lost_how = "GL_GUILTY_CONTEXT_RESET";
    assert_fails(esker_device_poll(dev), ESKER_ERR_LOST, "GL_GUILTY_CONTEXT_RESET");
    assert_int_equal(n_seen, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(seen[i].status, ESKER_ERR_LOST);
        assert_non_null(strstr(seen[i].message, "GL_GUILTY_CONTEXT_RESET"));
    }
    assert_fails(esker_submission_wait(dev, s, ESKER_WAIT_FOREVER, NULL), ESKER_ERR_LOST, "GL_GUILTY_CONTEXT_RESET");
    assert_fails(esker_plan_wait(plan, 0), ESKER_ERR_LOST, "GL_GUILTY_CONTEXT_RESET");
    assert_fails(esker_plan_submit_with(plan, NULL, &s), ESKER_ERR_INVALID, "was not written");
    esker_event_unref(event);
    esker_plan_destroy(plan);
    esker_device_unref(dev);
}

static void a_steady_stream_costs_nothing(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_plan *plan = triple(dev);
    esker_event *event = event_of("data");
    esker_counters before, after;
    esker_submission last = {0};
    int n = 0;
    for (int i = 0; i < 40; i++) {
        if (i == 8) esker_device_get_counters(dev, &before);
        if (i) assert_ok(esker_event_reset(event));
        give(plan, (float)i);
        assert_ok(esker_plan_submit_with(
            plan,
            &(esker_submit_desc){
                .after = &last, .n_after = i > 0, .events = &event, .n_events = 1, .callback = note, .user = &n},
            &last));
        assert_ok(esker_event_signal(event, ESKER_OK));
        assert_ok(esker_device_poll(dev));
        while (i % 2 && n <= i) assert_ok(esker_device_poll(dev));
    }
    esker_device_get_counters(dev, &after);
    assert_int_equal(n, 40);
    assert_int_equal(after.submissions - before.submissions, 32);
    assert_in_range(after.fences - before.fences, 1, 32); /* a busy GPU is given one for two */
    assert_int_equal(after.heap_allocations, before.heap_allocations);
    assert_int_equal(after.gl_objects, before.gl_objects);
    assert_int_equal(after.compiles, before.compiles);
    assert_int_equal(after.waits, before.waits);
    esker_event_unref(event);
    esker_plan_destroy(plan);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, start_anew)
    const struct CMUnitTest tests[] = {
        TEST(callbacks_run_in_order),
        TEST(an_event_holds_submissions_back),
        TEST(memory_keeps_its_place_in_the_queue),
        TEST(failures_reach_what_comes_after),
        TEST(bad_handles_are_refused),
        TEST(outcomes_are_remembered_for_a_while),
        TEST(the_queue_pushes_back),
        TEST(a_callback_submits_more),
        TEST(a_callback_cannot_flood_the_queue),
        TEST(a_callback_may_destroy_its_plan),
        TEST(a_callback_that_fails_is_told),
        TEST(a_plan_is_destroyed_with_steps_in_flight),
        TEST(closing_drains),
        TEST(a_lost_device_completes_everything),
        TEST(a_steady_stream_costs_nothing),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
