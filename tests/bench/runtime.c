/*
 * What the CPU pays for a dispatch: a plan's launches as the library queues them, beside a loop over exactly the same GL calls with no check and no question
 * asked, and beside a whole esker_plan_submit().
 *
 *     build/release/tests/bench_runtime [MODEL.json [BATCH [ROUNDS]]]
 *
 * Each number is the least of many rounds of the calling thread's CPU time; the device's work is waited for outside of what is timed.
 */
#include "bench/bench.h"

#include <esker/esker.h>
#include "gpu/internal.h"
#include "plan/plan.h"

typedef struct call {
    enum { USE, STORAGE, TEXTURE, UNIFORM, BARRIER, DISPATCH } kind;
    GLuint a, b, c;
    GLintptr offset;
    GLsizeiptr n_bytes;
} call;

static void bind(call *calls, int *n, esker__bound *bound, const esker__range *ranges, int n_ranges, bool storage,
                 uint32_t skip)
{
    for (int i = 0; i < n_ranges; i++) {
        if (skip >> i & 1) continue;
        const esker__range *r = &ranges[i];
        if (bound[i].buffer == r->buffer->name && bound[i].offset == r->offset && bound[i].n_bytes == r->n_bytes) continue;
        bound[i] = (esker__bound){r->buffer->name, r->offset, r->n_bytes};
        calls[(*n)++] = (call){.kind = storage ? STORAGE : UNIFORM,
                               .a = (GLuint)i,
                               .b = r->buffer->name,
                               .offset = (GLintptr)r->offset,
                               .n_bytes = (GLsizeiptr)r->n_bytes};
    }
}

/* What the kernel reads by texel fetches. */
static void bind_textures(call *calls, int *n, GLuint *bound, esker_device *dev, const esker__launch *l)
{
    for (int i = 0; i < l->n_storage; i++) {
        GLuint name;
        if (!(l->kernel->texel_mask >> i & 1)) continue;
        must(esker__texels_get(dev, i, &l->storage[i], l->kernel->texel_formats[i], false, &name));
        if (bound[i] == name) continue;
        calls[(*n)++] = (call){.kind = TEXTURE, .a = GL_TEXTURE0 + (GLuint)i, .b = bound[i] = name};
    }
}

/* The calls of one pass over the launches, as they are when it follows another one. */
static call *flatten(const esker_plan *plan, int *out_n)
{
    call *calls = calloc(plan->n_dispatches * 16, sizeof *calls);
    esker__bound storage[ESKER__MAX_STORAGE] = {{0}}, uniform[ESKER__MAX_UNIFORM] = {{0}};
    GLuint program = 0, textures[ESKER__MAX_STORAGE] = {0};
    if (!calls) exit(1);
    for (int pass = 0; pass < 2; pass++) {
        *out_n = 0;
        for (size_t p = 0; p < plan->n_dispatches; p++) {
            const esker__launch *l = &plan->launches[p];
            if (program != l->kernel->program) calls[(*out_n)++] = (call){.kind = USE, .a = program = l->kernel->program};
            bind_textures(calls, out_n, textures, plan->device, l);
            bind(calls, out_n, storage, l->storage, l->n_storage, true, l->kernel->texel_mask);
            bind(calls, out_n, uniform, l->uniform, l->n_uniform, false, 0);
            if (l->barrier) calls[(*out_n)++] = (call){.kind = BARRIER};
            calls[(*out_n)++] = (call){.kind = DISPATCH, .a = l->groups[0], .b = l->groups[1], .c = l->groups[2]};
        }
    }
    return calls;
}

static void by_hand(const call *calls, int n, bool textures)
{
    for (int i = 0; i < n; i++) {
        const call *c = &calls[i];
        switch (c->kind) {
        case USE: glUseProgram(c->a); break;
        case STORAGE: glBindBufferRange(GL_SHADER_STORAGE_BUFFER, c->a, c->b, c->offset, c->n_bytes); break;
        case TEXTURE:
            glActiveTexture(c->a);
            glBindTexture(GL_TEXTURE_BUFFER_EXT, c->b);
            break;
        case UNIFORM: glBindBufferRange(GL_UNIFORM_BUFFER, c->a, c->b, c->offset, c->n_bytes); break;
        case BARRIER: glMemoryBarrier(GL_SHADER_STORAGE_BARRIER_BIT | (textures ? GL_TEXTURE_FETCH_BARRIER_BIT : 0)); break;
        case DISPATCH: glDispatchCompute(c->a, c->b, c->c); break;
        }
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : ESKER_SOURCE_DIR "/tests/bench/models/resnet20.json";
    int batch = argc > 2 ? atoi(argv[2]) : 1, rounds = argc > 3 ? atoi(argv[3]) : 200, n_calls;
    esker_device *dev;
    esker_model *net;
    esker_plan *plan;
    esker_device_info info;
    esker_trainer_desc desc = {.batch = batch};
    must(esker_device_open(NULL, &dev));
    esker_device_get_info(dev, &info);
    must(esker_model_load_json(path, &net));
    desc.device = dev;
    must(esker_trainer_plan(net, &desc, ESKER_DTYPE_F32, NULL, &plan));
    double best[3] = {1e9, 1e9, 1e9};
    for (int i = 0; i < ESKER_PLAN_SLOTS; i++) {
        for (size_t k = 0; k < plan->n_inputs; k++) must(esker_plan_mark_written(plan, (int)k));
        must(esker_plan_run(plan));
    }
    esker__plan_point_at_slot(plan, 0);
    must(esker__launches_check(dev, plan->launches, (int)plan->n_dispatches));
    call *calls = flatten(plan, &n_calls);
    for (int i = 0; i < rounds; i++) {
        esker__plan_point_at_slot(plan, 0);
        double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        must(esker__submit_checked(dev, plan->launches, (int)plan->n_dispatches));
        double t = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
        if (t < best[0]) best[0] = t;
        glFinish();
        start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        by_hand(calls, n_calls, dev->texels != NULL);
        t = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
        if (t < best[1]) best[1] = t;
        glFinish();
        for (size_t k = 0; k < plan->n_inputs; k++) must(esker_plan_mark_written(plan, (int)k));
        uint64_t ticket;
        start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        must(esker_plan_submit(plan, &ticket));
        t = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
        if (t < best[2]) best[2] = t;
        must(esker_plan_wait(plan, ticket));
    }
    double n = (double)plan->n_dispatches;
    printf("%s\n%zu dispatches, %d GL calls, CPU time a dispatch: by hand %.3f us, queued by the library %.3f us (%.3f "
           "times), "
           "a whole submission %.3f us (%.3f times)\n",
           info.display.renderer, plan->n_dispatches, n_calls, best[1] / n * 1e6, best[0] / n * 1e6, best[0] / best[1],
           best[2] / n * 1e6, best[2] / best[1]);
    free(calls);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return 0;
}
