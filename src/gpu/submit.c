/* Submission: launches checked against the limits, state set only where it changes, one GL error check at the end. */
#include "gpu/internal.h"

#include <inttypes.h>

#include "base/fail.h"
#include "gpu/queue.h"

static esker_status check_range(const esker_device *dev, const esker__kernel *kernel, const char *kind, int i,
                                const esker__range *range, uint64_t max_bytes, uint32_t align)
{
    const esker__buffer *buffer = range->buffer;
    if (!buffer) return esker__fail(ESKER_ERR_INVALID, "%s: %s binding %d has no buffer", kernel->name, kind, i);
    if (buffer->dev != dev)
        return esker__fail(ESKER_ERR_INVALID, "%s: the buffer of %s binding %d is of another device", kernel->name, kind,
                           i);
    if (buffer->mapped)
        return esker__fail(ESKER_ERR_INVALID, "%s: the buffer of %s binding %d is still mapped", kernel->name, kind, i);
    if (range->n_bytes == 0 || range->offset > buffer->n_bytes || range->n_bytes > buffer->n_bytes - range->offset)
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: %s binding %d takes %" PRIu64 " bytes at %" PRIu64 " of a buffer of %" PRIu64 " bytes",
                           kernel->name, kind, i, range->n_bytes, range->offset, buffer->n_bytes);
    if (range->offset % align)
        return esker__fail(ESKER_ERR_INVALID,
                           "%s: %s binding %d starts at %" PRIu64 ", this device wants multiples of %" PRIu32, kernel->name,
                           kind, i, range->offset, align);
    if (range->n_bytes > max_bytes)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %s binding %d has %" PRIu64 " bytes, this device takes %" PRIu64,
                           kernel->name, kind, i, range->n_bytes, max_bytes);
    return ESKER_OK;
}

/* An active block without a buffer is undefined, and crashes the drivers of V3D and Mali. */
static esker_status fail_unbound(const esker__kernel *kernel, GLenum interface, const char *kind, uint32_t missing,
                                 int n_given)
{
    int binding = __builtin_ctz(missing);
    char block[64] = "?";
    GLint n = 0;
    glGetProgramInterfaceiv(kernel->program, interface, GL_ACTIVE_RESOURCES, &n);
    for (GLint i = 0; i < n; i++) {
        GLenum property = GL_BUFFER_BINDING;
        GLint found = -1;
        glGetProgramResourceiv(kernel->program, interface, (GLuint)i, 1, &property, 1, NULL, &found);
        if (found == binding) glGetProgramResourceName(kernel->program, interface, (GLuint)i, sizeof block, NULL, block);
    }
    return esker__fail(ESKER_ERR_INVALID, "%s: its %s block \"%s\" has binding %d, but the launch binds %d", kernel->name,
                       kind, block, binding, n_given);
}

static uint32_t above(int n)
{
    return n >= 32 ? 0 : ~(uint32_t)0 << n;
}

static esker_status check_launch(const esker_device *dev, const esker__launch *launch)
{
    const esker__kernel *kernel = launch->kernel;
    const esker_limits *limits = &dev->info.limits;
    for (int axis = 0; axis < 3; axis++) {
        if (launch->groups[axis] < 1)
            return esker__fail(ESKER_ERR_INVALID, "%s: 0 groups on axis %c", kernel->name, 'x' + axis);
        if (launch->groups[axis] > limits->groups[axis])
            return esker__fail(ESKER_ERR_LIMIT, "%s: %" PRIu32 " groups on axis %c, this device takes %" PRIu32,
                               kernel->name, launch->groups[axis], 'x' + axis, limits->groups[axis]);
    }
    if (launch->n_storage < 0 || launch->n_storage > ESKER__MAX_STORAGE ||
        (uint32_t)launch->n_storage > limits->storage_blocks)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %d storage bindings, this device takes %" PRIu32 " (and a launch %d)",
                           kernel->name, launch->n_storage, limits->storage_blocks, ESKER__MAX_STORAGE);
    if (launch->n_uniform < 0 || launch->n_uniform > ESKER__MAX_UNIFORM)
        return esker__fail(ESKER_ERR_LIMIT, "%s: %d uniform bindings, a launch takes %d", kernel->name, launch->n_uniform,
                           ESKER__MAX_UNIFORM);
    uint32_t missing = kernel->texel_mask & above(launch->n_storage);
    if (missing)
        return esker__fail(ESKER_ERR_INVALID, "%s: it reads storage binding %d, but the launch binds %d", kernel->name,
                           __builtin_ctz(missing), launch->n_storage);
    missing = kernel->storage_mask & above(launch->n_storage);
    if (missing) return fail_unbound(kernel, GL_SHADER_STORAGE_BLOCK, "storage", missing, launch->n_storage);
    missing = kernel->uniform_mask & above(launch->n_uniform);
    if (missing) return fail_unbound(kernel, GL_UNIFORM_BLOCK, "uniform", missing, launch->n_uniform);
    for (int i = 0; i < launch->n_storage; i++) {
        esker_status st = check_range(dev, kernel, "storage", i, &launch->storage[i], limits->storage_block_bytes,
                                      limits->storage_align);
        if (st != ESKER_OK) return st;
    }
    for (int i = 0; i < launch->n_uniform; i++) {
        const esker__range *range = &launch->uniform[i];
        esker_status st = check_range(dev, kernel, "uniform", i, range, limits->uniform_block_bytes, limits->uniform_align);
        if (st != ESKER_OK) return st;
        if (range->n_bytes < kernel->uniform_bytes[i])
            return esker__fail(ESKER_ERR_INVALID, "%s: uniform binding %d has %" PRIu64 " bytes, its block needs %" PRIu32,
                               kernel->name, i, range->n_bytes, kernel->uniform_bytes[i]);
    }
    return ESKER_OK;
}

static void bind(GLenum target, esker__bound *bound, const esker__range *ranges, int n, uint32_t skip)
{
    for (int i = 0; i < n; i++) {
        if (skip >> i & 1) continue;
        const esker__range *range = &ranges[i];
        GLuint name = range->buffer->name;
        if (bound[i].buffer == name && bound[i].offset == range->offset && bound[i].n_bytes == range->n_bytes) continue;
        glBindBufferRange(target, (GLuint)i, name, (GLintptr)range->offset, (GLsizeiptr)range->n_bytes);
        bound[i] = (esker__bound){.buffer = name, .offset = range->offset, .n_bytes = range->n_bytes};
    }
}

static esker_status get_texels(esker_device *dev, const esker__launch *launch, bool bind)
{
    const esker__kernel *kernel = launch->kernel;
    esker_status st = ESKER_OK;
    for (uint32_t left = kernel->texel_mask; st == ESKER_OK && left; left &= left - 1) {
        int i = __builtin_ctz(left);
        GLuint name;
        st = esker__texels_get(dev, i, &launch->storage[i], kernel->texel_formats[i], bind, &name);
    }
    return st;
}

esker_status esker__launches_check(esker_device *dev, const esker__launch *launches, int n)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && i < n; i++) st = check_launch(dev, &launches[i]);
    /* Textures are made here, so that queueing makes none. */
    size_t n_texels = 0;
    for (int i = 0; dev->texels && i < n; i++) n_texels += (size_t)__builtin_popcount(launches[i].kernel->texel_mask);
    esker__texels_expect(dev, n_texels);
    for (int i = 0; st == ESKER_OK && dev->texels && i < n; i++) st = get_texels(dev, &launches[i], false);
    return st;
}

static esker_status queue(esker_device *dev, const esker__launch *launch)
{
    esker_status st = launch->kernel->texel_mask ? get_texels(dev, launch, true) : ESKER_OK;
    if (st != ESKER_OK) return st;
    if (dev->bound_program != launch->kernel->program) {
        glUseProgram(launch->kernel->program);
        dev->bound_program = launch->kernel->program;
    }
    bind(GL_SHADER_STORAGE_BUFFER, dev->bound_storage, launch->storage, launch->n_storage,
         launch->kernel->texel_mask & ~launch->kernel->storage_mask);
    bind(GL_UNIFORM_BUFFER, dev->bound_uniform, launch->uniform, launch->n_uniform, 0);
    if (launch->barrier) {
        /* The third uniform block, if there is one, is what other kernels wrote. */
        glMemoryBarrier(GL_SHADER_STORAGE_BARRIER_BIT | (dev->texels ? GL_TEXTURE_FETCH_BARRIER_BIT : 0) |
                        (launch->n_uniform > 2 ? GL_UNIFORM_BARRIER_BIT : 0));
        dev->counters.barriers++;
    }
    glDispatchCompute(launch->groups[0], launch->groups[1], launch->groups[2]);
    return ESKER_OK;
}

/* Of submissions that were made before and are held back, those that touch the same memory go first. */
static esker_status settle(esker_device *dev, const esker__launch *launches, int n)
{
    esker_status st = ESKER_OK;
    for (int i = 0; st == ESKER_OK && esker__queue_holds(dev) && i < n; i++) {
        for (int k = 0; st == ESKER_OK && k < launches[i].n_storage; k++)
            st = esker__queue_settle(dev, &launches[i].storage[k]);
        if (st == ESKER_OK && launches[i].n_uniform > 2) st = esker__queue_settle(dev, &launches[i].uniform[2]);
    }
    return st;
}

esker_status esker__submit_checked(esker_device *dev, const esker__launch *launches, int n)
{
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = settle(dev, launches, n);
    if (st != ESKER_OK || n <= 0) return st;
    for (int i = 0; i < n; i++) {
        st = queue(dev, &launches[i]);
        if (st != ESKER_OK) return st;
        dev->queued++;
        dev->counters.dispatches++;
    }
    st = esker__gl_check(dev, n == 1 ? launches[0].kernel->name : "queueing dispatches");
    if (st != ESKER_OK) {
        /* Which of the bindings took is not known any more. */
        for (int i = 0; i < ESKER__MAX_STORAGE; i++) dev->bound_storage[i] = (esker__bound){0};
        for (int i = 0; i < ESKER__MAX_UNIFORM; i++) dev->bound_uniform[i] = (esker__bound){0};
        dev->bound_program = 0;
    }
    return st;
}

/* All are checked before any is queued, so that a refused list leaves nothing half done. */
esker_status esker__submit(esker_device *dev, const esker__launch *launches, int n)
{
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) st = esker__launches_check(dev, launches, n);
    return st == ESKER_OK ? esker__submit_checked(dev, launches, n) : st;
}
