/*
 * What the CPU pays for a step: a plan's launches as the library queues them, beside a loop over exactly the same GL calls with no check and no question
 * asked; and a whole esker_plan_submit(), beside the same loop with what a program by hand needs around it: the step's block written, a barrier and a
 * fence behind the dispatches, a flush, and the fence of the step that had the slot before asked for and deleted.
 *
 *     build/ci/tests/bench_runtime [MODEL.json [BATCH [ROUNDS]]]
 *
 * Each number is the least of many rounds of the calling thread's CPU time; the device's work is waited for outside of what is timed. Slots go round in
 * both, with the bindings that differ between them.
 */
#include "bench/bench.h"

#include <string.h>

#include <esker/esker.h>
#include "gpu/internal.h"
#include "plan/plan.h"

/* Those before it run in the first step alone. */
static size_t first_dispatch(const esker_plan *plan)
{
    return plan->n_prologue;
}

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

/* The calls of one pass over the launches in slot `slot`, as they are when it follows one in slot `before`. */
static call *flatten(esker_plan *plan, int before, int slot, int *out_n)
{
    call *calls = calloc(plan->n_dispatches * 16, sizeof *calls);
    esker__bound storage[ESKER__MAX_STORAGE] = {{0}}, uniform[ESKER__MAX_UNIFORM] = {{0}};
    GLuint program = 0, textures[ESKER__MAX_STORAGE] = {0};
    if (!calls) exit(1);
    for (int pass = 0; pass < 2; pass++) {
        *out_n = 0;
        esker__plan_point_at_slot(plan, pass ? slot : before);
        for (size_t p = first_dispatch(plan); p < plan->n_dispatches; p++) {
            const esker__launch *l = &plan->launches[p];
            if (program != l->kernel->program) calls[(*out_n)++] = (call){.kind = USE, .a = program = l->kernel->program};
            bind_textures(calls, out_n, textures, plan->device, l);
            bind(calls, out_n, storage, l->storage, l->n_storage, true, l->kernel->texel_mask & ~l->kernel->storage_mask);
            bind(calls, out_n, uniform, l->uniform, l->n_uniform, false, 0);
            if (l->barrier) calls[(*out_n)++] = (call){.kind = BARRIER, .a = l->n_uniform > 2};
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
        case BARRIER:
            glMemoryBarrier(GL_SHADER_STORAGE_BARRIER_BIT | (textures ? GL_TEXTURE_FETCH_BARRIER_BIT : 0) |
                            (c->a ? GL_UNIFORM_BARRIER_BIT : 0));
            break;
        case DISPATCH: glDispatchCompute(c->a, c->b, c->c); break;
        }
    }
}

typedef struct hand {
    call *calls[ESKER_PLAN_SLOTS];
    int n_calls[ESKER_PLAN_SLOTS];
    GLsync fences[ESKER_PLAN_SLOTS];
    uint64_t step;
} hand;

/* A step as a program by hand makes it, that knows that nothing fails. */
static void submit_by_hand(hand *h, esker_plan *plan, bool textures)
{
    int slot = (int)(h->step++ % ESKER_PLAN_SLOTS);
    esker__buffer *steps = plan->step_staging.slots[slot].buffer;
    esker__step_block block = {.run = {(uint32_t)h->step, 0, 0, 0}};
    if (h->fences[slot]) {
        if (glClientWaitSync(h->fences[slot], 0, 0) == GL_WAIT_FAILED) exit(1);
        glDeleteSync(h->fences[slot]);
    }
    if (steps->address)
        memcpy((char *)steps->address + plan->step_staging.slots[slot].offset, &block, sizeof block);
    else {
        glBindBuffer(GL_SHADER_STORAGE_BUFFER, steps->name);
        void *to = glMapBufferRange(GL_SHADER_STORAGE_BUFFER, (GLintptr)plan->step_staging.slots[slot].offset, sizeof block,
                                    GL_MAP_WRITE_BIT | GL_MAP_UNSYNCHRONIZED_BIT);
        memcpy(to, &block, sizeof block);
        glUnmapBuffer(GL_SHADER_STORAGE_BUFFER);
    }
    by_hand(h->calls[slot], h->n_calls[slot], textures);
    glMemoryBarrier(GL_BUFFER_UPDATE_BARRIER_BIT | (steps->address ? GL_CLIENT_MAPPED_BUFFER_BARRIER_BIT_EXT : 0));
    h->fences[slot] = glFenceSync(GL_SYNC_GPU_COMMANDS_COMPLETE, 0);
    glFlush();
}

static void mark_inputs(esker_plan *plan)
{
    for (size_t k = 0; k < plan->n_inputs; k++) must(esker_plan_mark_written(plan, (int)k));
}

static double now(void)
{
    return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

static void keep_least(double *best, double start)
{
    double t = now() - start;
    glFinish();
    if (t > 0 && t < *best) *best = t; /* some clocks stand still */
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : ESKER_SOURCE_DIR "/tests/bench/models/resnet20.json";
    int batch = argc > 2 ? atoi(argv[2]) : 1, rounds = argc > 3 ? atoi(argv[3]) : 200;
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
    for (int i = 0; i < 2 * ESKER_PLAN_SLOTS; i++) {
        mark_inputs(plan);
        must(esker_plan_run(plan));
    }
    hand h = {0};
    size_t first = first_dispatch(plan);
    int n = (int)(plan->n_dispatches - first);
    bool textures = dev->texels != NULL;
    for (int slot = 0; slot < ESKER_PLAN_SLOTS; slot++)
        h.calls[slot] = flatten(plan, (slot + ESKER_PLAN_SLOTS - 1) % ESKER_PLAN_SLOTS, slot, &h.n_calls[slot]);
    enum { QUEUED, LOOP, SUBMITTED, BY_HAND, KINDS };
    double best[KINDS] = {1e9, 1e9, 1e9, 1e9};
    for (int i = 0; i < rounds; i++) {
        for (int slot = 0; slot < ESKER_PLAN_SLOTS; slot++) {
            esker__plan_point_at_slot(plan, slot);
            double start = now();
            must(esker__submit_checked(dev, plan->launches + first, n));
            keep_least(&best[QUEUED], start);
        }
        for (int slot = 0; slot < ESKER_PLAN_SLOTS; slot++) {
            double start = now();
            by_hand(h.calls[slot], h.n_calls[slot], textures);
            keep_least(&best[LOOP], start);
        }
        for (int slot = 0; slot < ESKER_PLAN_SLOTS; slot++) {
            mark_inputs(plan);
            double start = now();
            must(esker_plan_submit(plan, NULL));
            keep_least(&best[SUBMITTED], start);
        }
        for (int slot = 0; slot < ESKER_PLAN_SLOTS; slot++) {
            double start = now();
            submit_by_hand(&h, plan, textures);
            keep_least(&best[BY_HAND], start);
        }
    }
    printf("%s\n%d dispatches, %d GL calls, CPU time a dispatch: in a loop by hand %.3f us, queued by the library %.3f us "
           "(%.3f times)\n"
           "a submission by hand %.2f us, by the library %.2f us (%.3f times); of that the dispatches %.2f and %.2f us\n",
           info.display.renderer, n, h.n_calls[0], best[LOOP] / n * 1e6, best[QUEUED] / n * 1e6, best[QUEUED] / best[LOOP],
           best[BY_HAND] * 1e6, best[SUBMITTED] * 1e6, best[SUBMITTED] / best[BY_HAND], best[LOOP] * 1e6,
           best[QUEUED] * 1e6);
    for (int slot = 0; slot < ESKER_PLAN_SLOTS; slot++) free(h.calls[slot]);
    esker_plan_destroy(plan);
    esker_model_destroy(net);
    esker_device_unref(dev);
    return 0;
}
