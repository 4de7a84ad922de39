/*
 * device test: submissions to a GPU that is busy, which are handed to it by twos. A software driver has done what it was given before anyone asks, so
 * here the first questions about each fence are answered with "not yet", by a glClientWaitSync() that stands in front of the driver's.
 */
#include "support/test.h"

#include <dlfcn.h>

#include <GLES3/gl31.h>

#include <esker/ops.h>
#include <esker/submission.h>

#define N     64
#define STEPS 23

/* How often a fence has not passed for those who only ask. */
static int n_late;
static long n_asked;

static struct {
    GLsync sync;
    int n;
} seen[64];

/* Drivers use names again: what was asked about another fence of that name does not count. */
GLsync glFenceSync(GLenum condition, GLbitfield flags)
{
    static GLsync (*driver)(GLenum, GLbitfield);
    if (!driver) *(void **)&driver = dlsym(RTLD_NEXT, "glFenceSync");
    GLsync sync = driver(condition, flags);
    for (int i = 0; i < 64; i++)
        if (seen[i].sync == sync) seen[i].sync = NULL;
    return sync;
}

GLenum glClientWaitSync(GLsync sync, GLbitfield flags, GLuint64 timeout)
{
    static GLenum (*driver)(GLsync, GLbitfield, GLuint64);
    static int next;
    int i = 0;
    if (!driver) *(void **)&driver = dlsym(RTLD_NEXT, "glClientWaitSync");
    while (i < 64 && seen[i].sync != sync) i++;
    if (!timeout) {
        if (i == 64) {
            i = next++ % 64;
            seen[i].sync = sync;
            seen[i].n = 0;
        }
        if (seen[i].n++ < n_late) {
            n_asked++;
            return GL_TIMEOUT_EXPIRED;
        }
    }
    if (i < 64) seen[i].sync = NULL;
    return driver(sync, flags, timeout);
}

/* A plan of y = 3 x. */
static esker_plan *triple(void)
{
    static const esker_shape shape = {1, {N}};
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_affine(esker_input(graph, "x", ESKER_DTYPE_F32, &shape), 3, 0);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    return plan;
}

static uint64_t submit(esker_plan *plan, float value, const esker_submit_desc *desc)
{
    float x[N];
    esker_submission s;
    for (int i = 0; i < N; i++) x[i] = value + (float)i;
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_ok(esker_plan_submit_with(plan, desc, &s));
    return s.ticket;
}

static void expect(esker_plan *plan, uint64_t ticket, float value)
{
    float y[N];
    assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
    for (int i = 0; i < N; i++) assert_true(y[i] == 3 * (value + (float)i));
}

static uint64_t count_fences(void)
{
    esker_counters c;
    esker_device_get_counters(test_device(), &c);
    return c.fences;
}

/* Each result is read `lag` steps later; how many fences that took. */
static uint64_t run(int late, int lag)
{
    esker_plan *plan = triple();
    assert_ok(esker_device_finish(test_device()));
    n_late = late;
    uint64_t tickets[STEPS], before = count_fences();
    for (int i = 0; i < STEPS; i++) {
        tickets[i] = submit(plan, (float)i, NULL);
        if (i >= lag) expect(plan, tickets[i - lag], (float)(i - lag));
    }
    for (int i = STEPS - lag; i < STEPS; i++) expect(plan, tickets[i], (float)i);
    uint64_t n = count_fences() - before;
    n_late = 0;
    esker_plan_destroy(plan);
    return n;
}

static void results_are_those_of_each_step(void **state)
{
    (void)state;
    for (int late = 0; late <= 3; late++)
        for (int lag = 0; lag < ESKER_PLAN_SLOTS; lag++) assert_in_range(run(late, lag), STEPS / 2, STEPS);
}

/* Who is asked about nothing but old steps gets a fence for two: two may be in flight behind the one that is waited for. */
static void two_share_a_fence(void **state)
{
    (void)state;
    assert_in_range(run(1000, ESKER_PLAN_SLOTS - 1), STEPS / 2, STEPS * 3 / 4);
    assert_true(n_asked > 0);
}

/* What nobody has asked about is handed over by whoever waits for anything, and by polling. */
static void the_last_one_ends_too(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        esker_plan *plan = triple();
        uint64_t ticket = 0;
        bool done = false;
        assert_ok(esker_device_finish(test_device()));
        n_late = 2;
        for (int i = 0; i < 2; i++) ticket = submit(plan, (float)i, NULL);
        if (way == 0) assert_ok(esker_plan_wait(plan, ticket));
        if (way == 1) assert_ok(esker_device_finish(test_device()));
        for (int k = 0; way == 2 && !done; k++) {
            assert_ok(esker_plan_poll(plan, ticket, &done));
            assert_true(done ? k >= 2 : k < 100); /* both fences were asked */
        }
        if (way < 3) expect(plan, ticket, 1);
        n_late = 0;
        esker_plan_destroy(plan); /* way 3: with both in flight */
    }
}

static esker_status note(const esker_completion *done, void *user)
{
    float y[N];
    esker_status st = esker_plan_read(done->plan, done->submission.ticket, 0, y, sizeof y);
    int *n = user;
    if (st == ESKER_OK && y[0] == 3 * (float)*n) ++*n;
    return st;
}

static void callbacks_come_in_order(void **state)
{
    (void)state;
    esker_plan *plan = triple();
    int n = 0;
    n_late = 2;
    for (int i = 0; i < STEPS; i++) submit(plan, (float)i, &(esker_submit_desc){.callback = note, .user = &n});
    for (int k = 0; n < STEPS; k++) {
        assert_ok(esker_device_poll(test_device()));
        assert_true(k < 100);
    }
    n_late = 0;
    esker_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(results_are_those_of_each_step),
                                       cmocka_unit_test(two_share_a_fence), cmocka_unit_test(the_last_one_ends_too),
                                       cmocka_unit_test(callbacks_come_in_order)};
    return test_finish(cmocka_run_group_tests_name("a busy GPU", tests, NULL, NULL));
}
