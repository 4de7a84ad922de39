/* device test: what a trace shows of submissions: when the GPU worked, and that the CPU did something else meanwhile. */
#include "support/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include <esker/ops.h>
#include <esker/submission.h>
#include "plan/plan.h"

enum { MAX_N = 1024 };

/* A chain of matrix products: some milliseconds, also where they are computed on the CPU. */
static esker_plan *products(esker_device *dev)
{
    esker_device_info info;
    esker_device_get_info(dev, &info);
    int64_t n = info.display.software ? 64 : MAX_N;
    int n_products = info.display.software ? 3 : 20;
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {n, n}}), *y = x;
    for (int i = 0; i < n_products; i++) y = esker_matmul(y, x, NULL);
    y = esker_sum(y, NULL, 0, false);
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    return plan;
}

/* Sorts, over and over, until it is told to stop; one span for each round. */
struct work {
    esker_trace *trace;
    int track;
    uint32_t values[20000];
    atomic_bool stop, started;
    esker_status st;
};

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort_once(struct work *w, uint64_t round)
{
    uint64_t begin = esker_now_ns();
    for (uint32_t i = 0; i < 20000; i++) w->values[i] = i * 2654435761u + (uint32_t)round;
    qsort(w->values, 20000, sizeof *w->values, compare);
    esker_status st = esker_trace_add(
        w->trace, w->track, &(esker_span){.name = "sort", .number = round, .begin_ns = begin, .end_ns = esker_now_ns()});
    if (st != ESKER_OK) w->st = st;
}

static void *sort_meanwhile(void *user)
{
    struct work *w = user;
    for (uint64_t round = 0; !atomic_load(&w->stop); round++) {
        sort_once(w, round);
        atomic_store(&w->started, true);
    }
    return NULL;
}

static void give(esker_plan *plan)
{
    static float x[MAX_N * MAX_N];
    esker_shape shape = plan->inputs[0].type.shape;
    int64_t n = shape.dims[0] * shape.dims[1];
    if (x[0] == 0) test_uniform(x, MAX_N * MAX_N, -0.1f, 0.1f, 3);
    assert_ok(esker_plan_write(plan, 0, x, (size_t)n * sizeof *x));
}

static esker_status count(const esker_completion *done, void *user)
{
    ++*(int *)user;
    return done->status;
}

static int find_track(esker_trace *trace, esker_device *dev, const char *name)
{
    char group[200];
    esker_device_info info;
    esker_trace_info before, after;
    esker_submission s;
    int track;
    esker_plan *plan = products(dev); /* only for the number of the device */
    give(plan);
    assert_ok(esker_plan_submit_with(plan, NULL, &s));
    esker_plan_destroy(plan);
    esker_device_get_info(dev, &info);
    snprintf(group, sizeof group, "device %llu (%s)", (unsigned long long)s.device, info.display.name);
    esker_trace_get_info(trace, &before);
    assert_ok(esker_trace_track(trace, group, name, &track));
    esker_trace_get_info(trace, &after);
    assert_int_equal(after.n_tracks, before.n_tracks); /* it was there */
    return track;
}

static double ms(uint64_t ns)
{
    return (double)ns * 1e-6;
}

static void cpu_work_overlaps_gpu_work(void **state)
{
    (void)state;
    enum { STEPS = 6 };
    esker_device *dev = test_device();
    esker_device_info info;
    esker_trace *trace;
    esker_plan *plan = products(dev);
    int n = 0;
    static struct work other, same;
    esker_device_get_info(dev, &info);
    assert_ok(esker_trace_create(NULL, &trace));
    /* Kernels are warm, and everything before the trace is over. */
    give(plan);
    assert_ok(esker_plan_run(plan));
    assert_ok(esker_device_set_trace(dev, trace));
    other = (struct work){.trace = trace};
    same = (struct work){.trace = trace};
    assert_ok(esker_trace_track(trace, "program", "another thread", &other.track));
    assert_ok(esker_trace_track(trace, "program", "this thread", &same.track));

    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, sort_meanwhile, &other), 0);
    while (!atomic_load(&other.started)) sched_yield();
    uint64_t begin = esker_now_ns();
    for (int i = 0; i < STEPS; i++) {
        give(plan);
        assert_ok(
            esker_plan_submit_with(plan, &(esker_submit_desc){.callback = count, .user = &n, .label = "products"}, NULL));
        sort_once(&same, (uint64_t)i);
    }
    assert_ok(esker_device_finish(dev));
    uint64_t end = esker_now_ns();
    atomic_store(&other.stop, true);
    pthread_join(thread, NULL);
    assert_ok(esker_device_set_trace(dev, NULL));
    assert_int_equal(n, STEPS);
    assert_int_equal(other.st, ESKER_OK);
    assert_int_equal(same.st, ESKER_OK);

    /* A span of the GPU for each step, one behind the other, within the time it all took. */
    int gpu = find_track(trace, dev, "GPU"), cpu = find_track(trace, dev, "CPU"), n_gpu = 0, n_submits = 0, n_callbacks = 0;
    esker_trace_info t;
    esker_span span;
    uint64_t last_end = 0, slack = 2000000; /* of the two clocks */
    esker_trace_get_info(trace, &t);
    for (size_t i = 0; i < t.n_spans; i++) {
        int track;
        assert_ok(esker_trace_get_span(trace, i, &track, &span));
        if (track == gpu) {
            n_gpu++;
            assert_string_equal(span.name, "products");
            assert_string_equal(span.detail, info.timer_query ? "timestamps" : "seen by fence");
            assert_true(span.begin_ns + slack >= begin && span.end_ns <= end + slack);
            assert_true(span.end_ns > span.begin_ns && span.begin_ns >= last_end);
            last_end = span.end_ns;
        }
        n_submits += track == cpu && span.detail && !strcmp(span.detail, "submit");
        n_callbacks += track == cpu && span.detail && !strcmp(span.detail, "callback");
    }
    assert_int_equal(n_gpu, STEPS);
    assert_int_equal(n_submits, STEPS);
    assert_int_equal(n_callbacks, STEPS);

    /* The other thread worked all the time, so nearly all of the GPU's time is also its own. */
    uint64_t busy, both, here;
    assert_ok(esker_trace_get_overlap(trace, gpu, other.track, &busy, &both));
    assert_ok(esker_trace_get_overlap(trace, gpu, same.track, &busy, &here));
    print_message("%s: GPU %.3f ms by %s; of these another thread worked %.3f ms, and the submitting one %.3f ms\n",
                  info.display.renderer, ms(busy), info.timer_query ? "timestamps" : "fences", ms(both), ms(here));
    assert_true(busy > 0 && both > busy / 2);
    /* llvmpipe runs dispatches while they are queued; a GPU works on while this thread does something else. */
    if (!info.display.software) assert_true(here > 0);

    char path[600];
    snprintf(path, sizeof path, "%s/overlap.json", test_folder("plan-trace"));
    assert_ok(esker_trace_write(trace, path));
    esker_trace_unref(trace);
    esker_plan_destroy(plan);
}

static void tracing_allocates_nothing_per_step(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_trace *trace;
    esker_plan *plan = products(dev);
    esker_counters before, after;
    assert_ok(esker_trace_create(&(esker_trace_desc){.max_spans = 40}, &trace));
    assert_ok(esker_device_set_trace(dev, trace));
    for (int i = 0; i < 16; i++) {
        if (i == 8) esker_device_get_counters(dev, &before);
        give(plan);
        assert_ok(esker_plan_run(plan));
    }
    esker_device_get_counters(dev, &after);
    assert_int_equal(after.heap_allocations, before.heap_allocations);
    assert_int_equal(after.gl_objects, before.gl_objects);
    /* Set anew, with steps in flight, and gone with the device still tracing. */
    give(plan);
    assert_ok(esker_plan_submit(plan, NULL));
    assert_ok(esker_device_set_trace(dev, trace));
    assert_ok(esker_device_finish(dev));
    assert_ok(esker_device_set_trace(dev, NULL));
    esker_plan_destroy(plan);
    assert_ok(esker_device_open(NULL, &dev));
    assert_ok(esker_device_set_trace(dev, trace));
    esker_trace_unref(trace);
    plan = products(dev);
    give(plan);
    assert_ok(esker_plan_submit(plan, NULL));
    esker_plan_destroy(plan);
    esker_device_unref(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_work_overlaps_gpu_work),
        cmocka_unit_test(tracing_allocates_nothing_per_step),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
