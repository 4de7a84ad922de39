/* device test: open plans, whose memory is given for each run: the bits of ordinary plans, outputs where they are wanted. */
#include "support/random_graph.h"
#include "support/test.h"

#include <esker/plan.h>
#include "plan/plan.h"

#define N     (RANDOM_GRAPH_SIDE * RANDOM_GRAPH_SIDE)
#define BYTES (N * sizeof(float))
#define N_OUT 3
#define AT    512 /* where ranges begin in their buffers: a multiple of any alignment */

static float values[2][RANDOM_GRAPH_INPUTS][N];

static const char *const names[RANDOM_GRAPH_INPUTS] = {"x0", "x1", "x2"};

static esker__buffer *new_buffer(uint64_t n_bytes)
{
    esker__buffer *buffer;
    assert_ok(esker__buffer_create(test_device(), n_bytes, ESKER__BUFFER_DEVICE, &buffer));
    return buffer;
}

/* What an ordinary plan of the same graph computes. */
static void run_ordinary(esker_graph *graph, esker_node *const *outputs, int set, float out[N_OUT][N])
{
    esker_plan *plan;
    uint64_t ticket;
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = test_device(), .outputs = outputs, .n_outputs = N_OUT},
                                 &plan));
    for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) {
        int input = esker_plan_find_input(plan, names[i]);
        if (input >= 0) assert_ok(esker_plan_write(plan, input, values[set][i], BYTES));
    }
    assert_ok(esker_plan_submit(plan, &ticket));
    for (int i = 0; i < N_OUT; i++) assert_ok(esker_plan_read(plan, ticket, i, out[i], BYTES));
    esker_plan_destroy(plan);
}

static void an_open_plan_gives_the_bits_of_an_ordinary_one(void **state)
{
    (void)state;
    static float want[N_OUT][N], got[N_OUT][N];
    for (int set = 0; set < 2; set++)
        for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) test_uniform(values[set][i], N, -1, 1, (uint64_t)(set * 10 + i));
    for (uint64_t stream = 0; stream < 4; stream++) {
        esker_graph *graph;
        esker_node *outputs[N_OUT];
        esker_plan *plan;
        assert_ok(esker_graph_create(NULL, &graph));
        random_graph(graph, 12, stream, outputs, N_OUT);
        assert_ok(esker__plan_compile_open(
            graph, &(esker_plan_desc){.device = test_device(), .outputs = outputs, .n_outputs = N_OUT}, &plan));
        esker__buffer *arena = new_buffer(plan->arena_bytes);
        for (int set = 0; set < 2; set++) {
            esker__range inputs[RANDOM_GRAPH_INPUTS] = {{NULL}}, out[N_OUT];
            esker__buffer *in_buffers[RANDOM_GRAPH_INPUTS], *out_buffer = new_buffer(N_OUT * (BYTES + AT));
            for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) {
                in_buffers[i] = new_buffer(AT + BYTES);
                assert_ok(esker__buffer_write(in_buffers[i], AT, values[set][i], BYTES));
                int input = esker_plan_find_input(plan, names[i]);
                if (input >= 0) inputs[input] = (esker__range){in_buffers[i], AT, BYTES};
            }
            for (int i = 0; i < N_OUT; i++) out[i] = (esker__range){out_buffer, (uint64_t)i * (BYTES + AT), BYTES};
            assert_ok(esker__plan_run_open(
                plan, &(esker__plan_io){.inputs = inputs, .outputs = out, .arena = {arena, 0, plan->arena_bytes}}));
            for (int i = 0; i < N_OUT; i++) assert_ok(esker__buffer_read(out_buffer, out[i].offset, got[i], BYTES));
            run_ordinary(graph, outputs, set, want);
            assert_memory_equal(got, want, sizeof want);
            for (int i = 0; i < RANDOM_GRAPH_INPUTS; i++) esker__buffer_destroy(in_buffers[i]);
            esker__buffer_destroy(out_buffer);
        }
        esker__buffer_destroy(arena);
        esker_plan_destroy(plan);
        esker_graph_destroy(graph);
    }
}

/* An input, a view of a computed value, and that value twice: each has memory of its own. */
static void every_output_has_memory_of_its_own(void **state)
{
    (void)state;
    enum { COUNT = 70 };
    float x[COUNT], got[4][COUNT];
    esker_graph *graph;
    esker_plan *plan;
    test_uniform(x, COUNT, -1, 1, 1);
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *in = esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){2, {7, 10}}), *y = esker_neg(in);
    esker_node *outputs[4] = {in, y, esker_reshape(y, &(esker_shape){1, {COUNT}}), y};
    assert_ok(esker__plan_compile_open(
        graph, &(esker_plan_desc){.device = test_device(), .outputs = outputs, .n_outputs = 4}, &plan));
    assert_false(esker__plan_uses_step(plan));
    esker__buffer *input = new_buffer(sizeof x), *out[4];
    esker__range ranges[4], in_range = {input, 0, sizeof x};
    assert_ok(esker__buffer_write(input, 0, x, sizeof x));
    for (int i = 0; i < 4; i++) ranges[i] = (esker__range){out[i] = new_buffer(sizeof x), 0, sizeof x};
    esker__buffer *arena = new_buffer(plan->arena_bytes);
    assert_ok(esker__plan_run_open(
        plan, &(esker__plan_io){.inputs = &in_range, .outputs = ranges, .arena = {arena, 0, plan->arena_bytes}}));
    for (int i = 0; i < 4; i++) {
        assert_ok(esker__buffer_read(out[i], 0, got[i], sizeof x));
        for (int j = 0; j < COUNT; j++) assert_true(got[i][j] == (i ? -x[j] : x[j]));
        esker__buffer_destroy(out[i]);
    }
    esker__buffer_destroy(input);
    esker__buffer_destroy(arena);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

/* The step's block is the caller's: the same step draws the same, another one something else. */
static void random_numbers_follow_the_block_that_is_given(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    float got[3][COUNT];
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_random_uniform(graph, &(esker_shape){1, {COUNT}}, 0, 1);
    assert_ok(
        esker__plan_compile_open(graph, &(esker_plan_desc){.device = test_device(), .outputs = &y, .n_outputs = 1}, &plan));
    assert_true(esker__plan_uses_step(plan));
    esker__buffer *out = new_buffer(sizeof got[0]), *block = new_buffer(sizeof(esker__step_block));
    esker__range range = {out, 0, sizeof got[0]};
    for (int i = 0; i < 3; i++) {
        esker__step_block step;
        esker__plan_fill_step(plan, &(esker__step){.seed = 7, .step = (uint64_t)(i % 2)}, 0, &step);
        assert_ok(esker__buffer_write(block, 0, &step, sizeof step));
        assert_ok(esker__plan_run_open(
            plan, &(esker__plan_io){.outputs = &range, .step = {block, 0, sizeof(esker__step_block)}}));
        assert_ok(esker__buffer_read(out, 0, got[i], sizeof got[i]));
    }
    assert_memory_equal(got[0], got[2], sizeof got[0]);
    assert_memory_not_equal(got[0], got[1], sizeof got[0]);
    esker__buffer_destroy(out);
    esker__buffer_destroy(block);
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_plan_gives_the_bits_of_an_ordinary_one),
        cmocka_unit_test(every_output_has_memory_of_its_own),
        cmocka_unit_test(random_numbers_follow_the_block_that_is_given),
    };
    return test_finish(cmocka_run_group_tests_name("open plans", tests, NULL, NULL));
}
