/*
 * What a submission costs the CPU, beside the same dispatches and fences without a queue, all in one process:
 *
 *     build/release/tests/bench_submission [rounds]
 *
 * CPU time is the calling thread's; each number is the least of several rounds, since other programs only ever add.
 */
#include "bench/bench.h"

#include <esker/esker.h>
#include "plan/plan.h"

#define BATCH 50

static esker_device *dev;
static esker_plan *plan;
static esker_event *event;
static int n_called;

/* Fewer at a time than may be in flight, so that none waits for the GPU, which some drivers do by spinning. */
#define AT_ONCE (ESKER_PLAN_SLOTS - 1)

static double measure(void (*run)(void), int n_rounds)
{
    double least = 1e30;
    for (int i = 0; i < 20; i++) run();
    for (int r = 0; r < n_rounds; r++) {
        double sum = 0;
        for (int i = 0; i < BATCH; i++) {
            must(esker_device_finish(dev));
            double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            for (int k = 0; k < AT_ONCE; k++) run();
            sum += 1e6 * (seconds_of(CLOCK_THREAD_CPUTIME_ID) - start);
        }
        if (sum / (BATCH * AT_ONCE) < least) least = sum / (BATCH * AT_ONCE);
    }
    return least;
}

static esker_status called(const esker_completion *done, void *user)
{
    (void)user;
    n_called++;
    return done->status;
}

/* Dispatches and fences alone: the launches as the plan's last step left them, in a ring of fences. */
static void raw(void)
{
    static esker__fence fences[ESKER_PLAN_SLOTS];
    static int n;
    esker__fence *fence = &fences[n++ % ESKER_PLAN_SLOTS];
    must(esker__fence_wait(dev, fence, true));
    must(esker__submit(dev, plan->launches, (int)plan->n_dispatches));
    must(esker__fence_put(dev, fence));
}

static void plain(void)
{
    must(esker_plan_submit(plan, NULL));
}

static void with_callback(void)
{
    must(esker_plan_submit_with(plan, &(esker_submit_desc){.callback = called}, NULL));
}

static void with_event(void)
{
    must(esker_event_signal(event, ESKER_OK));
    must(esker_plan_submit_with(plan, &(esker_submit_desc){.events = &event, .n_events = 1}, NULL));
    must(esker_event_reset(event));
}

static void held_back(void)
{
    esker_event *e;
    must(esker_event_create(NULL, &e));
    must(esker_plan_submit_with(plan, &(esker_submit_desc){.events = &e, .n_events = 1}, NULL));
    must(esker_event_signal(e, ESKER_OK));
    must(esker_device_poll(dev));
    esker_event_unref(e);
}

/* `n` dispatches that are not fused: products of tiny matrices. */
static void compile(int n)
{
    esker_graph *graph;
    esker_tensor *x;
    const esker_shape shape = {2, {16, 16}};
    must(esker_graph_create(NULL, &graph));
    esker_node *y = esker_input(graph, "x", ESKER_DTYPE_F32, &shape);
    for (int i = 0; i < n; i++) y = esker_matmul(y, y, NULL);
    must(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    must(esker_tensor_create(dev, &(esker_tensor_desc){.shape = shape}, &x));
    must(esker_plan_bind_input(plan, 0, x));
    esker_tensor_unref(x);
    esker_graph_destroy(graph);
}

int main(int argc, char **argv)
{
    int n_rounds = argc > 1 ? atoi(argv[1]) : 10;
    esker_device_info info;
    esker_trace *trace;
    must(esker_device_open(NULL, &dev));
    must(esker_event_create("ready", &event));
    esker_device_get_info(dev, &info);
    printf("%s, us of CPU time each\n", info.display.renderer);
    printf("%10s %8s %8s %9s %8s %8s %8s\n", "dispatches", "raw", "plain", "callback", "event", "held", "traced");
    for (int n = 1; n <= 64; n *= 4) {
        compile(n);
        must(esker_plan_run(plan));
        double us[6] = {measure(raw, n_rounds), measure(plain, n_rounds), measure(with_callback, n_rounds),
                        measure(with_event, n_rounds), measure(held_back, n_rounds)};
        must(esker_trace_create(&(esker_trace_desc){.max_spans = 1000}, &trace));
        must(esker_device_set_trace(dev, trace));
        us[5] = measure(plain, n_rounds);
        must(esker_device_set_trace(dev, NULL));
        esker_trace_unref(trace);
        printf("%10d", (int)plan->n_dispatches);
        for (int i = 0; i < 6; i++) printf(" %8.2f", us[i]);
        printf("\n");
        esker_plan_destroy(plan);
    }
    esker_event_unref(event);
    esker_device_unref(dev);
    return 0;
}
