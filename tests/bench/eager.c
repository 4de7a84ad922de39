/*
 * What a call on tensors costs, beside the GL calls that it makes and beside the same work as an explicit plan, all in one process:
 *
 *     build/release/tests/bench_eager [rounds]
 *
 * CPU time is the calling thread's; each number is the least of several rounds, since other programs only ever add.
 */
#include "bench/bench.h"

#include <esker/esker.h>
#include "../eager/programs.h"
#include "gpu/internal.h"

#define ELEMS 64
#define BATCH 400

static esker_device *dev;
static esker_tensor *x, *y;

static double now(clockid_t clock)
{
    return 1e6 * seconds_of(clock);
}

typedef struct cost {
    double cpu_us, wall_us;
} cost;

static cost measure(void (*run)(void), int n, int n_rounds)
{
    cost least = {1e30, 1e30};
    for (int i = 0; i < 20; i++) run();
    for (int r = 0; r < n_rounds; r++) {
        must(esker_device_finish(dev));
        double cpu = now(CLOCK_THREAD_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
        for (int i = 0; i < n; i++) run();
        cpu = (now(CLOCK_THREAD_CPUTIME_ID) - cpu) / n;
        wall = (now(CLOCK_MONOTONIC) - wall) / n;
        if (cpu < least.cpu_us) least.cpu_us = cpu;
        if (wall < least.wall_us) least.wall_us = wall;
    }
    return least;
}

/* ---- One call ---- */

static void record_only(void)
{
    esker_tensor_unref(esker_tensor_relu(x));
}

static void one_call(void)
{
    esker_tensor *z = esker_tensor_relu(x);
    must(esker_eager_flush(dev));
    esker_tensor_unref(z);
}

/* The GL calls of one_call() alone: bind, barrier, dispatch, fence, flush; and the fence of some runs ago looked at. */
static struct {
    GLuint program, buffers[3];
    GLsync fences[8];
    int n;
} raw;

static void raw_gl(void)
{
    GLsync *fence = &raw.fences[raw.n % 8];
    if (*fence) {
        glClientWaitSync(*fence, 0, 0);
        glClientWaitSync(*fence, GL_SYNC_FLUSH_COMMANDS_BIT, 1000000000);
        glDeleteSync(*fence);
    }
    glUseProgram(raw.program);
    glBindBufferRange(GL_SHADER_STORAGE_BUFFER, 0, raw.buffers[0], 0, ELEMS * 4);
    glBindBufferRange(GL_SHADER_STORAGE_BUFFER, 1, raw.buffers[1], 256 * (raw.n & 1), ELEMS * 4);
    glBindBufferRange(GL_UNIFORM_BUFFER, 0, raw.buffers[2], 0, 256);
    glMemoryBarrier(GL_SHADER_STORAGE_BARRIER_BIT);
    glDispatchCompute(1, 1, 1);
    glGetError();
    glMemoryBarrier(GL_BUFFER_UPDATE_BARRIER_BIT);
    *fence = glFenceSync(GL_SYNC_GPU_COMMANDS_COMPLETE, 0);
    glFlush();
    raw.n++;
}

static void prepare_raw(void)
{
    const esker__kernel *copy;
    const uint32_t block[64] = {0, 0, 0, ELEMS, 1};
    must(esker__kernel_get(dev, "runtime/copy", "", &copy));
    raw.program = copy->program;
    glGenBuffers(3, raw.buffers);
    for (int i = 0; i < 3; i++) {
        glBindBuffer(GL_SHADER_STORAGE_BUFFER, raw.buffers[i]);
        glBufferData(GL_SHADER_STORAGE_BUFFER, 1024, NULL, GL_DYNAMIC_COPY);
    }
    glBufferSubData(GL_SHADER_STORAGE_BUFFER, 0, sizeof block, block);
}

static void forget_raw(void)
{
    glFinish();
    glDeleteBuffers(3, raw.buffers);
    for (int i = 0; i < 8; i++) glDeleteSync(raw.fences[i]);
    /* Behind the device's back: what it believes to be bound is not. */
    dev->bound_program = 0;
    for (int i = 0; i < ESKER__MAX_STORAGE; i++) dev->bound_storage[i] = (esker__bound){0};
    for (int i = 0; i < ESKER__MAX_UNIFORM; i++) dev->bound_uniform[i] = (esker__bound){0};
}

/* ---- A chain of twenty ---- */

static float result[ELEMS];

static void eager_chain_read(void)
{
    must(esker_scope_open(dev));
    must(esker_tensor_read(eager_chain(x, y), 0, ESKER_TENSOR_REST, result));
    must(esker_scope_close(dev));
}

static void eager_chain_queued(void)
{
    must(esker_scope_open(dev));
    esker_tensor *z = esker_tensor_ref(eager_chain(x, y));
    must(esker_scope_close(dev));
    esker_tensor_unref(z);
}

static esker_plan *plan;

static void plan_chain_read(void)
{
    uint64_t ticket;
    must(esker_plan_submit(plan, &ticket));
    must(esker_plan_read(plan, ticket, 0, result, sizeof result));
}

static void plan_chain_queued(void)
{
    must(esker_plan_submit(plan, NULL));
}

static void prepare_plan(void)
{
    esker_graph *graph;
    const esker_shape shape = {1, {ELEMS}};
    must(esker_graph_create(NULL, &graph));
    esker_node *a = esker_input(graph, "a", ESKER_DTYPE_F32, &shape), *b = esker_input(graph, "b", ESKER_DTYPE_F32, &shape);
    esker_node *z = graph_chain(a, b);
    must(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &z, .n_outputs = 1}, &plan));
    esker_graph_destroy(graph);
    must(esker_plan_bind_input(plan, esker_plan_find_input(plan, "a"), x));
    must(esker_plan_bind_input(plan, esker_plan_find_input(plan, "b"), y));
}

/* ---- A training step by hand: two hidden layers of 64, batch 256, gradient descent ---- */

enum { LAYERS = 3, BATCH_ROWS = 256 };
static esker_tensor *input, *target, *rate, *params[2 * LAYERS];

static void prepare_training(void)
{
    const int sizes[LAYERS + 1] = {16, 64, 64, 1};
    input = esker_tensor_random_normal(dev, &(esker_shape){2, {BATCH_ROWS, 16}}, 0, 1);
    target = esker_tensor_random_normal(dev, &(esker_shape){2, {BATCH_ROWS, 1}}, 0, 1);
    rate = esker_tensor_scalar(dev, 0.01f);
    for (int i = 0; i < LAYERS; i++) {
        params[i] = esker_tensor_random_normal(dev, &(esker_shape){2, {sizes[i], sizes[i + 1]}}, 0, 0.2f);
        params[LAYERS + i] = esker_tensor_random_normal(dev, &(esker_shape){1, {sizes[i + 1]}}, 0, 0.1f);
    }
    for (int i = 0; i < 2 * LAYERS; i++) must(esker_tensor_set_requires_grad(params[i], true));
}

static void train(bool read)
{
    double value;
    must(esker_scope_open(dev));
    esker_tensor *h = input;
    for (int i = 0; i < LAYERS; i++) {
        h = esker_tensor_add(esker_tensor_matmul(h, params[i], NULL), params[LAYERS + i]);
        if (i < LAYERS - 1) h = esker_tensor_tanh(h);
    }
    esker_tensor *loss = esker_tensor_mse(h, target);
    must(esker_tensor_backward(loss, false));
    for (int i = 0; i < 2 * LAYERS; i++) {
        esker_tensor *slope = esker_tensor_mul(rate, esker_tensor_get_grad(params[i]));
        must(esker_tensor_assign(params[i], esker_tensor_sub(params[i], slope)));
        esker_tensor_zero_grad(params[i]);
    }
    if (read) must(esker_tensor_item(loss, &value));
    must(esker_scope_close(dev));
}

static void train_and_read(void)
{
    train(true);
}

static void train_on(void)
{
    train(false);
}

int main(int argc, char **argv)
{
    int n_rounds = argc > 1 ? atoi(argv[1]) : 15;
    must(esker_device_open(NULL, &dev));
    esker_device_info info;
    esker_device_get_info(dev, &info);
    printf("%s, %s\n", info.display.renderer, info.display.version);
    x = esker_tensor_linspace(dev, -1, 1, ELEMS);
    y = esker_tensor_linspace(dev, 0.5, 1, ELEMS);
    prepare_plan();

    cost record = measure(record_only, BATCH, n_rounds), one = measure(one_call, BATCH, n_rounds);
    prepare_raw();
    cost gl = measure(raw_gl, BATCH, n_rounds);
    forget_raw();
    printf("one call, cached plan: %.2f us of CPU time (recording %.2f), raw GL calls %.2f, above them %.2f\n", one.cpu_us,
           record.cpu_us, gl.cpu_us, one.cpu_us - gl.cpu_us);

    cost eager_read = measure(eager_chain_read, BATCH / 4, n_rounds),
         plan_read = measure(plan_chain_read, BATCH / 4, n_rounds);
    cost eager_queued = measure(eager_chain_queued, BATCH / 4, n_rounds),
         plan_queued = measure(plan_chain_queued, BATCH / 4, n_rounds);
    printf("20 operations, queued: %.2f us of CPU time, as an explicit plan %.2f, ratio %.2f\n", eager_queued.cpu_us,
           plan_queued.cpu_us, eager_queued.cpu_us / plan_queued.cpu_us);
    printf("20 operations, read:   %.2f us (wall), as an explicit plan %.2f, ratio %.2f\n", eager_read.wall_us,
           plan_read.wall_us, eager_read.wall_us / plan_read.wall_us);
    prepare_training();
    cost read = measure(train_and_read, 50, n_rounds), on = measure(train_on, 50, n_rounds);
    printf("training step by hand: %.2f us (wall), CPU time %.2f; with its loss read %.2f\n", on.wall_us, on.cpu_us,
           read.wall_us);
    esker_eager_counters c;
    esker_eager_get_counters(dev, &c);
    printf("plans: %llu hits, %llu misses\n", (unsigned long long)c.hits, (unsigned long long)c.misses);
    for (int i = 0; i < 2 * LAYERS; i++) esker_tensor_unref(params[i]);
    esker_tensor_unref(input);
    esker_tensor_unref(target);
    esker_tensor_unref(rate);
    esker_tensor_unref(x);
    esker_tensor_unref(y);
    esker_plan_destroy(plan);
    esker_device_unref(dev);
    return 0;
}
