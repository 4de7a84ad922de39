/* device test: a large input that several dispatches read is copied to the GPU's side of the bus once, where there is one (or ESKER_VARIANT says so). */
#include "support/test.h"

#include <stdlib.h>

#include <esker/ops.h>
#include <esker/plan.h>

typedef struct reading {
    const char *name;
    int rows;    /* of 128 columns */
    int readers; /* 1: the input; 2: and the input again; 3: and a view of it */
    bool same;   /* both read a view */
    int copies;
} reading;

static const reading readings[] = {
    {"two read a large one", 512, 2, false, 1}, {"one reads the input, one a view of it", 512, 3, false, 1},
    {"both read a view", 512, 3, true, 1},      {"one reads it", 512, 1, false, 0},
    {"a small one", 511, 2, false, 0},
};

static esker_node *record(esker_graph *graph, const reading *r)
{
    esker_node *x = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {r->rows, 128}});
    esker_node *view = esker_reshape(x, &(esker_shape){3, {r->rows, 2, 64}});
    esker_node *y = esker_sum(r->same ? esker_reshape(view, &(esker_shape){2, {r->rows, 128}}) : x, (const int[]){1}, 1,
                              false);
    if (r->readers == 2) y = esker_add(y, esker_max(x, (const int[]){1}, 1, false));
    if (r->readers == 3) y = esker_add(y, esker_max(view, (const int[]){1, 2}, 2, false));
    return y;
}

static void run(const reading *r, const char *variant, int copies, bool check, float *out)
{
    static float x[512 * 128];
    esker_graph *graph;
    esker_plan *plan;
    esker_plan_info info;
    esker_dispatch_info d;
    uint64_t ticket;
    setenv("ESKER_VARIANT", variant, 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = record(graph, r);
    assert_ok(esker_plan_compile(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1, .check = check}, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &info);
    int n = 0;
    for (int i = 0; i < info.n_dispatches; i++) {
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        n += !strcmp(d.kernel, "runtime/copy");
    }
    if (copies >= 0) assert_int_equal(n, copies);
    for (int step = 0; step < ESKER_PLAN_SLOTS + 1; step++) {
        test_uniform(x, r->rows * 128, -1, 1, (uint64_t)step);
        assert_ok(esker_plan_write(plan, 0, x, (size_t)r->rows * 128 * sizeof *x));
        assert_ok(esker_plan_submit(plan, &ticket));
    }
    assert_ok(esker_plan_read(plan, ticket, 0, out, (size_t)r->rows * sizeof *out));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    unsetenv("ESKER_VARIANT");
}

static void copied_once(void **state)
{
    static float want[512], got[512];
    const reading *r = *state;
    run(r, "", -1, false, want); /* as the device is */
    run(r, "near", r->copies, false, got);
    assert_memory_equal(got, want, (size_t)r->rows * sizeof *got);
    run(r, "near", r->copies, true, got); /* beside the references */
    assert_memory_equal(got, want, (size_t)r->rows * sizeof *got);
}

int main(void)
{
    enum { N = sizeof readings / sizeof *readings };
    struct CMUnitTest tests[N];
    for (int i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){
            .name = readings[i].name, .test_func = copied_once, .initial_state = (void *)(uintptr_t)&readings[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
