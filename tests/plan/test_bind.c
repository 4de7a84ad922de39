/* device test: inputs of plans bound to tensors: the same results as written inputs, and errors with both types. */
#include "support/test.h"

#include <stdio.h>

#include <esker/ops.h>
#include <esker/memory.h>
#include <esker/plan.h>

#define ROWS    5
#define COLUMNS 129
#define N       (ROWS * COLUMNS)

/* y = tanh(x + float(labels) * b): a float32, an integer and a broadcast input. */
typedef struct fixture {
    esker_device *dev;
    esker_graph *graph;
    esker_plan *plan;
    int x, labels, b;
    float xs[4][N], bs[COLUMNS];
    uint8_t ls[N];
} fixture;

static const esker_shape full = {2, {ROWS, COLUMNS}}, row = {1, {COLUMNS}};

static void setup(fixture *f)
{
    f->dev = test_device();
    assert_ok(esker_graph_create(NULL, &f->graph));
    esker_node *x = esker_input(f->graph, "x", ESKER_DTYPE_F32, &full);
    esker_node *labels = esker_input(f->graph, "labels", ESKER_DTYPE_U8, &full);
    esker_node *b = esker_input(f->graph, "b", ESKER_DTYPE_F32, &row);
    esker_node *y = esker_tanh(esker_add(x, esker_mul(esker_convert(labels, ESKER_DTYPE_F32), b)));
    assert_ok(esker_plan_compile(f->graph, &(esker_plan_desc){.device = f->dev, .outputs = &y, .n_outputs = 1}, &f->plan));
    f->x = esker_plan_find_input(f->plan, "x");
    f->labels = esker_plan_find_input(f->plan, "labels");
    f->b = esker_plan_find_input(f->plan, "b");
    for (int k = 0; k < 4; k++) test_uniform(f->xs[k], N, -1, 1, (uint64_t)k);
    test_uniform(f->bs, COLUMNS, -0.1f, 0.1f, 10);
    for (int i = 0; i < N; i++) f->ls[i] = (uint8_t)(i * 7 % 11);
}

static void teardown(fixture *f)
{
    esker_plan_destroy(f->plan);
    esker_graph_destroy(f->graph);
}

static void run_written(fixture *f, int k, float *y)
{
    uint64_t ticket;
    assert_ok(esker_plan_write(f->plan, f->x, f->xs[k], sizeof f->xs[k]));
    assert_ok(esker_plan_write(f->plan, f->labels, f->ls, sizeof f->ls));
    assert_ok(esker_plan_write(f->plan, f->b, f->bs, sizeof f->bs));
    assert_ok(esker_plan_submit(f->plan, &ticket));
    assert_ok(esker_plan_read(f->plan, ticket, 0, y, N * sizeof *y));
}

/* Slots are taken with the first write: what is a tensor from the start has none, and what the plan says it takes is what the pools give. */
static void inputs_that_are_tensors_have_no_slots(void **state)
{
    (void)state;
    fixture f;
    esker_tensor *x;
    esker_plan_info before, bound, written;
    esker_memory_stats none, some;
    float y[N], want[N];
    uint64_t ticket;
    setup(&f);
    run_written(&f, 0, want);
    esker_plan_destroy(f.plan);
    esker_graph_destroy(f.graph);
    setup(&f);
    esker_plan_get_info(f.plan, &before);
    assert_ok(esker_tensor_create(f.dev, &(esker_tensor_desc){.shape = full, .data = f.xs[0]}, &x));
    assert_ok(esker_plan_bind_input(f.plan, f.x, x));
    assert_ok(esker_plan_write(f.plan, f.labels, f.ls, sizeof f.ls));
    assert_ok(esker_plan_write(f.plan, f.b, f.bs, sizeof f.bs));
    assert_ok(esker_plan_submit(f.plan, &ticket));
    assert_ok(esker_plan_read(f.plan, ticket, 0, y, sizeof y));
    assert_memory_equal(y, want, sizeof y);
    esker_plan_get_info(f.plan, &bound);
    assert_true(bound.io_bytes + ESKER_PLAN_SLOTS * sizeof f.xs[0] <= before.io_bytes);
    assert_ok(esker_memory_get_stats(f.dev, ESKER_MEMORY_UPLOAD, &none));
    assert_ok(esker_plan_bind_input(f.plan, f.x, NULL));
    run_written(&f, 0, y);
    assert_memory_equal(y, want, sizeof y);
    assert_ok(esker_memory_get_stats(f.dev, ESKER_MEMORY_UPLOAD, &some));
    esker_plan_get_info(f.plan, &written);
    assert_int_equal(written.io_bytes, before.io_bytes);
    assert_int_equal(some.in_use_bytes - none.in_use_bytes, written.io_bytes - bound.io_bytes);
    assert_ok(esker_plan_bind_input(f.plan, f.x, x)); /* they stay */
    esker_plan_get_info(f.plan, &written);
    assert_int_equal(written.io_bytes, before.io_bytes);
    esker_tensor_unref(x);
    teardown(&f);
}

static void bound_inputs_give_the_bits_of_written_ones(void **state)
{
    (void)state;
    fixture f;
    esker_tensor *x, *labels, *b;
    float want[4][N], got[N];
    setup(&f);
    for (int k = 0; k < 4; k++) run_written(&f, k, want[k]);
    assert_true(memcmp(want[0], want[1], sizeof want[0]) != 0);
    assert_ok(esker_tensor_create(f.dev, &(esker_tensor_desc){.shape = full, .data = f.xs[0]}, &x));
    assert_ok(
        esker_tensor_create(f.dev, &(esker_tensor_desc){.dtype = ESKER_DTYPE_U8, .shape = full, .data = f.ls}, &labels));
    assert_ok(esker_tensor_create(f.dev, &(esker_tensor_desc){.shape = row, .data = f.bs}, &b));
    assert_ok(esker_plan_bind_input(f.plan, f.x, x));
    assert_ok(esker_plan_bind_input(f.plan, f.labels, labels));
    assert_ok(esker_plan_bind_input(f.plan, f.b, b));
    /* The plan's references keep them. */
    esker_tensor_unref(labels);
    esker_tensor_unref(b);
    esker_counters before, after;
    for (int step = 0; step < 12; step++) {
        uint64_t ticket;
        if (step == 4) esker_device_get_counters(f.dev, &before);
        assert_ok(esker_tensor_write(x, 0, ESKER_TENSOR_REST, f.xs[step % 4]));
        assert_ok(esker_plan_submit(f.plan, &ticket));
        assert_ok(esker_plan_read(f.plan, ticket, 0, got, sizeof got));
        assert_memory_equal(got, want[step % 4], sizeof got);
    }
    esker_device_get_counters(f.dev, &after);
    assert_true(after.heap_allocations == before.heap_allocations);
    assert_true(after.gl_objects == before.gl_objects);

    /* Writing while steps are queued: each sees what the tensor held when it was submitted. */
    uint64_t tickets[ESKER_PLAN_SLOTS];
    for (int k = 0; k < ESKER_PLAN_SLOTS; k++) {
        assert_ok(esker_tensor_write(x, 0, ESKER_TENSOR_REST, f.xs[k]));
        assert_ok(esker_plan_submit(f.plan, &tickets[k]));
    }
    for (int k = 0; k < ESKER_PLAN_SLOTS; k++) {
        assert_ok(esker_plan_read(f.plan, tickets[k], 0, got, sizeof got));
        assert_memory_equal(got, want[k], sizeof got);
    }

    /* Through a map. */
    void *address;
    assert_ok(esker_tensor_map(x, ESKER_MAP_DISCARD, &address));
    memcpy(address, f.xs[2], sizeof f.xs[2]);
    assert_fails(esker_plan_submit(f.plan, NULL), ESKER_ERR_INVALID, "tensor float32 [5, 129] is mapped");
    assert_ok(esker_tensor_unmap(x));
    uint64_t ticket;
    assert_ok(esker_plan_submit(f.plan, &ticket));
    assert_ok(esker_plan_read(f.plan, ticket, 0, got, sizeof got));
    assert_memory_equal(got, want[2], sizeof got);

    /* Another tensor in its place, then none: the slots again, which hold nothing from before. */
    esker_tensor *other;
    assert_ok(esker_tensor_create(f.dev, &(esker_tensor_desc){.shape = full, .data = f.xs[3]}, &other));
    assert_ok(esker_plan_bind_input(f.plan, f.x, other));
    esker_tensor_unref(other);
    assert_ok(esker_plan_submit(f.plan, &ticket));
    assert_ok(esker_plan_read(f.plan, ticket, 0, got, sizeof got));
    assert_memory_equal(got, want[3], sizeof got);
    assert_ok(esker_plan_bind_input(f.plan, f.x, NULL));
    assert_fails(esker_plan_submit(f.plan, NULL), ESKER_ERR_INVALID, "input x was not written");
    /* What was written before a tensor was bound is forgotten with it. */
    assert_ok(esker_plan_write(f.plan, f.x, f.xs[0], sizeof f.xs[0]));
    assert_ok(esker_plan_bind_input(f.plan, f.x, x));
    assert_ok(esker_plan_bind_input(f.plan, f.x, NULL));
    assert_fails(esker_plan_submit(f.plan, NULL), ESKER_ERR_INVALID, "input x was not written");
    assert_ok(esker_plan_bind_input(f.plan, f.labels, NULL));
    assert_ok(esker_plan_bind_input(f.plan, f.b, NULL));
    run_written(&f, 1, got);
    assert_memory_equal(got, want[1], sizeof got);

    /* A tensor unbound while a step that reads it is queued. */
    assert_ok(esker_plan_bind_input(f.plan, f.x, x));
    esker_tensor_unref(x);
    assert_ok(esker_plan_write(f.plan, f.labels, f.ls, sizeof f.ls));
    assert_ok(esker_plan_write(f.plan, f.b, f.bs, sizeof f.bs));
    assert_ok(esker_plan_submit(f.plan, &ticket));
    assert_ok(esker_plan_bind_input(f.plan, f.x, NULL));
    assert_ok(esker_plan_read(f.plan, ticket, 0, got, sizeof got));
    assert_memory_equal(got, want[2], sizeof got);
    teardown(&f);
}

static void wrong_tensors_are_refused(void **state)
{
    (void)state;
    fixture f;
    setup(&f);
    const struct {
        esker_tensor_desc desc;
        const char *part;
    } rows[] = {
        {{.shape = row}, "input x is float32 [5, 129], the tensor is float32 [129]"},
        {{.dtype = ESKER_DTYPE_I32, .shape = full}, "the tensor is int32 [5, 129]"},
        {{.shape = {2, {COLUMNS, ROWS}}}, "the tensor is float32 [129, 5]"},
        {{.shape = {1, {N}}}, "the tensor is float32 [645]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_tensor *t;
        assert_ok(esker_tensor_create(f.dev, &rows[i].desc, &t));
        assert_fails(esker_plan_bind_input(f.plan, f.x, t), ESKER_ERR_INVALID, rows[i].part);
        esker_tensor_unref(t);
    }
    esker_tensor *t;
    void *address;
    assert_ok(esker_tensor_create(f.dev, &(esker_tensor_desc){.shape = full}, &t));
    assert_fails(esker_plan_bind_input(f.plan, 3, t), ESKER_ERR_INVALID, "input 3 of 3");
    assert_fails(esker_plan_bind_input(f.plan, -1, t), ESKER_ERR_INVALID, "input -1 of 3");
    assert_ok(esker_plan_bind_input(f.plan, f.x, t));
    assert_fails(esker_plan_write(f.plan, f.x, f.xs[0], sizeof f.xs[0]), ESKER_ERR_INVALID, "input x is bound to a tensor");
    assert_fails(esker_plan_mark_written(f.plan, f.x), ESKER_ERR_INVALID, "input x is bound to a tensor");
    assert_fails(esker_plan_input_slot(f.plan, f.x, 0, &address), ESKER_ERR_INVALID, "input x is bound to a tensor");
    assert_fails(esker_plan_submit(f.plan, NULL), ESKER_ERR_INVALID, "input labels was not written");

    esker_device *own;
    esker_tensor *foreign;
    assert_ok(esker_device_open(NULL, &own));
    assert_ok(esker_tensor_create(own, &(esker_tensor_desc){.shape = full}, &foreign));
    assert_fails(esker_plan_bind_input(f.plan, f.x, foreign), ESKER_ERR_INVALID, "another device");
    esker_tensor_unref(foreign);
    esker_device_unref(own);
    esker_tensor_unref(t);
    teardown(&f);
}

static void a_plan_without_a_device_binds_nothing(void **state)
{
    (void)state;
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_relu(esker_input(graph, "x", ESKER_DTYPE_F32, &row));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.outputs = &y, .n_outputs = 1}, &plan));
    assert_fails(esker_plan_bind_input(plan, 0, NULL), ESKER_ERR_INVALID, "limits only");
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_inputs_give_the_bits_of_written_ones),
        cmocka_unit_test(inputs_that_are_tensors_have_no_slots),
        cmocka_unit_test(wrong_tensors_are_refused),
        cmocka_unit_test(a_plan_without_a_device_binds_nothing),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
