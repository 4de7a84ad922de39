/* device test: steps: tickets, what is counted, dropped jobs, and slices down to one group. */
#include "support/test.h"

#include <esker/ops.h>
#include "plan/plan.h"

#define N 1000

static const esker_shape shape = {1, {N}};

static esker_plan *compile(esker_graph **out_graph, const esker_plan_desc *base)
{
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, out_graph));
    esker_node *y = esker_affine(esker_input(*out_graph, "x", ESKER_DTYPE_F32, &shape), 3, 0);
    esker_plan_desc desc = *base;
    desc.outputs = &y;
    desc.n_outputs = 1;
    assert_ok(esker_plan_compile(*out_graph, &desc, &plan));
    return plan;
}

static void step(esker_plan *plan, uint64_t *ticket)
{
    static const float x[N] = {1, 2, 3};
    assert_ok(esker_plan_write(plan, 0, x, sizeof x));
    assert_ok(esker_plan_submit(plan, ticket));
}

static void steps_are_asked_for_by_ticket(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan = compile(&graph, &(esker_plan_desc){.device = test_device()});
    static float y[N];
    uint64_t ticket;
    bool done = true;
    assert_fails(esker_plan_wait(plan, 0), ESKER_ERR_INVALID, "step 0 was not submitted, 0 were");
    for (int i = 0; i < 7; i++) step(plan, &ticket);
    assert_int_equal(ticket, 6);
    assert_ok(esker_plan_wait(plan, 6));
    assert_ok(esker_plan_wait(plan, 0));
    assert_ok(esker_plan_poll(plan, 2, &done));
    assert_true(done);
    static const uint64_t future[] = {7, 8, UINT64_MAX - 4, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof future / sizeof future[0]; i++) {
        done = true;
        assert_fails(esker_plan_wait(plan, future[i]), ESKER_ERR_INVALID, "was not submitted");
        assert_fails(esker_plan_poll(plan, future[i], &done), ESKER_ERR_INVALID, "was not submitted");
        assert_fails(esker_plan_read(plan, future[i], 0, y, sizeof y), ESKER_ERR_INVALID, "was not submitted");
        assert_false(done);
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void transfers_are_counted(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_graph *graph;
    esker_plan *plan = compile(&graph, &(esker_plan_desc){.device = dev});
    static float y[N];
    uint64_t ticket;
    esker_counters before, after;
    step(plan, &ticket);
    esker_device_get_counters(dev, &before);
    step(plan, &ticket);
    assert_ok(esker_plan_read(plan, ticket, 0, y, sizeof y));
    esker_device_get_counters(dev, &after);
    assert_int_equal(after.uploaded_bytes - before.uploaded_bytes, 4 * N);
    assert_int_equal(after.downloaded_bytes - before.downloaded_bytes, 4 * N);
    assert_true(y[0] == 3 && y[1] == 6 && y[2] == 9 && y[3] == 0);
    assert_ok(esker_plan_mark_written(plan, 0));
    esker_device_get_counters(dev, &before);
    assert_int_equal(before.uploaded_bytes - after.uploaded_bytes, 4 * N);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

static void wait_for_the_gpu(esker_device *dev)
{
    esker__fence fence;
    assert_ok(esker__fence_put(dev, &fence));
    assert_ok(esker__fence_wait(dev, &fence, false));
    esker__fence_drop(dev, &fence);
}

/* Where the driver reports resets there is no mark to look for. */
static void a_dropped_step_is_told_to_everyone(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_graph *graph;
    esker_plan *plan = compile(&graph, &(esker_plan_desc){.device = dev});
    static float y[N];
    uint64_t ticket;
    bool done;
    step(plan, &ticket);
    assert_ok(esker_plan_wait(plan, ticket));
    if (plan->marks) {
        const uint32_t nothing[4] = {0};
        step(plan, &ticket);
        /* Before anyone has looked at the step. */
        wait_for_the_gpu(dev);
        assert_ok(esker__memory_write(&plan->outputs_staging.slots[ticket % ESKER_PLAN_SLOTS], 0, nothing, sizeof nothing));
        wait_for_the_gpu(dev);
        for (int i = 0; i < 2; i++) {
            assert_fails(esker_plan_wait(plan, ticket), ESKER_ERR_LOST, "step 1 did not finish (mark 0, expected 2)");
            assert_fails(esker_plan_read(plan, ticket, 0, y, sizeof y), ESKER_ERR_LOST, "step 1 did not finish");
            assert_fails(esker_plan_poll(plan, ticket, &done), ESKER_ERR_LOST, "step 1 did not finish");
        }
    }
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* The estimate as a whole number of slices, up to and past the number of groups. */
static void no_slice_is_empty(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan = compile(&graph, &(esker_plan_desc){.slice_seconds = -1});
    esker_dispatch_info whole;
    assert_ok(esker_plan_get_dispatch(plan, 0, &whole));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    assert_true(whole.groups[0] > 2 && whole.bytes > 0);
    const double counts[] = {1, 1.5, 2, whole.groups[0] - 1.0, whole.groups[0] - 0.5, whole.groups[0], 1e6};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        /* flops cost nothing, and one slice takes whole.bytes / counts[i] */
        plan = compile(
            &graph,
            &(esker_plan_desc){.slice_seconds = whole.bytes / counts[i], .flops_per_second = 1e300, .bytes_per_second = 1});
        uint32_t next = 0;
        int n = 0;
        for (esker_dispatch_info d; n < (int)plan->n_dispatches; n++) {
            assert_ok(esker_plan_get_dispatch(plan, n, &d));
            if (strcmp(d.op, whole.op) != 0) break;
            assert_int_equal(d.group_base[0], next);
            assert_true(d.groups[0] >= 1);
            next += d.groups[0];
        }
        assert_int_equal(next, whole.groups[0]);
        int want = counts[i] > 1 ? (int)counts[i] + 1 : 1;
        assert_int_equal(n, want < (int)whole.groups[0] ? want : (int)whole.groups[0]);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

static void limits_are_checked(void **state)
{
    (void)state;
    static const struct {
        size_t member; /* of esker_limits, a uint32_t */
        uint32_t value;
        const char *part; /* NULL: fine */
    } rows[] = {
        {offsetof(esker_limits, groups), 65534, "groups[0] is 65534, every ES 3.1 device has at least 65535"},
        {offsetof(esker_limits, groups) + 8, 1, "groups[2] is 1"},
        {offsetof(esker_limits, group_size) + 4, 64, "group_size[1] is 64"},
        {offsetof(esker_limits, group_invocations), 127, "group_invocations is 127"},
        {offsetof(esker_limits, shared_bytes), 0, "shared_bytes is 0"},
        {offsetof(esker_limits, storage_blocks), 3, "storage_blocks is 3"},
        {offsetof(esker_limits, uniform_block_bytes), 16383, "uniform_block_bytes is 16383"},
        {offsetof(esker_limits, storage_align), 0, "storage_align is 0"},
        {offsetof(esker_limits, storage_align), 48, "storage_align is 48"},
        {offsetof(esker_limits, uniform_align), 512, "uniform_align 512"},
        {offsetof(esker_limits, uniform_align), 1, NULL},
        {offsetof(esker_limits, storage_blocks), 16, NULL},
    };
    esker_graph *graph;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_relu(esker_input(graph, "x", ESKER_DTYPE_F32, &shape));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_limits limits;
        esker_plan *plan;
        esker_limits_es31(&limits);
        memcpy((char *)&limits + rows[i].member, &rows[i].value, sizeof rows[i].value);
        const esker_plan_desc desc = {.limits = &limits, .outputs = &y, .n_outputs = 1};
        if (rows[i].part)
            assert_fails(esker_plan_compile(graph, &desc, &plan), ESKER_ERR_INVALID, rows[i].part);
        else
            assert_ok(esker_plan_compile(graph, &desc, &plan));
        esker_plan_destroy(plan);
    }
    const esker_limits nothing = {0};
    esker_plan *plan;
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.limits = &nothing, .outputs = &y, .n_outputs = 1}, &plan),
                 ESKER_ERR_INVALID, "groups[0] is 0");
    assert_fails(esker_plan_compile(graph, &(esker_plan_desc){.n_outputs = 2}, &plan), ESKER_ERR_INVALID,
                 "2 outputs, but none given");
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_asked_for_by_ticket),
        cmocka_unit_test(transfers_are_counted),
        cmocka_unit_test(a_dropped_step_is_told_to_everyone),
        cmocka_unit_test(no_slice_is_empty),
        cmocka_unit_test(limits_are_checked),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
