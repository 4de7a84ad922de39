/* Fences: knowing, and if need be waiting, until queued work has finished. */
#include "gpu/internal.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/fail.h"

/* One wait at most: a driver that resets may never signal, and is asked in between. */
#define CHUNK_NS ((GLuint64)500 * 1000 * 1000)
/* Slow is not an error (a software driver may take minutes), but it deserves a line in the log. */
#define COMPLAIN_NS ((uint64_t)10 * 1000 * 1000 * 1000)

esker_status esker__fence_put(esker_device *dev, esker__fence *out)
{
    *out = (esker__fence){0};
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    /* Before the fence: what shaders wrote must reach maps and copies by the time it passes. */
    glMemoryBarrier(GL_BUFFER_UPDATE_BARRIER_BIT | (dev->gl.buffer_storage ? GL_CLIENT_MAPPED_BUFFER_BARRIER_BIT_EXT : 0));
    GLsync sync = glFenceSync(GL_SYNC_GPU_COMMANDS_COMPLETE, 0);
    if (!sync) {
        st = esker__gl_check(dev, "glFenceSync");
        return st != ESKER_OK ? st : esker__fail(ESKER_ERR_DEVICE, "glFenceSync: no fence and no error");
    }
    glFlush();
    dev->counters.fences++;
    *out = (esker__fence){.sync = sync, .serial = dev->queued};
    return ESKER_OK;
}

static void pass(esker_device *dev, esker__fence *fence)
{
    glDeleteSync(fence->sync);
    fence->sync = NULL;
    if (fence->serial > dev->finished) dev->finished = fence->serial;
}

/* One look, of at most `timeout_ns`. */
static esker_status look(esker_device *dev, esker__fence *fence, GLuint64 timeout_ns, bool *out_passed)
{
    *out_passed = false;
    GLenum result = glClientWaitSync(fence->sync, timeout_ns ? GL_SYNC_FLUSH_COMMANDS_BIT : 0, timeout_ns);
    if (result == GL_WAIT_FAILED) {
        esker_status st = esker__check_reset(dev);
        if (st == ESKER_OK) st = esker__gl_check(dev, "glClientWaitSync");
        return st != ESKER_OK ? st : esker__fail(ESKER_ERR_DEVICE, "glClientWaitSync: GL_WAIT_FAILED and no error");
    }
    if (result == GL_TIMEOUT_EXPIRED) return timeout_ns ? esker__check_reset(dev) : ESKER_OK;
    /* Fences of dropped jobs pass too, so a reset is asked about before anyone believes the results. */
    pass(dev, fence);
    esker_status st = esker__check_reset(dev);
    *out_passed = st == ESKER_OK;
    return st;
}

esker_status esker__fence_ask(esker_device *dev, esker__fence *fence, bool *out_passed)
{
    *out_passed = !fence->sync;
    return fence->sync ? look(dev, fence, 0, out_passed) : ESKER_OK;
}

esker_status esker__fence_poll(esker_device *dev, esker__fence *fence, bool *out_passed)
{
    *out_passed = false;
    esker_status st = esker__device_enter(dev);
    return st == ESKER_OK ? esker__fence_ask(dev, fence, out_passed) : st;
}

esker_status esker__fence_wait(esker_device *dev, esker__fence *fence, bool throttle)
{
    bool passed;
    esker_status st = esker__fence_poll(dev, fence, &passed);
    if (st != ESKER_OK || passed) return st;
    if (throttle)
        dev->counters.throttles++;
    else
        dev->counters.waits++;
    uint64_t start = esker__now_ns(), complained = 0;
    while (!passed) {
        st = look(dev, fence, CHUNK_NS, &passed);
        if (st != ESKER_OK) return st;
        uint64_t waited = esker__now_ns() - start;
        if (passed || waited - complained < COMPLAIN_NS) continue;
        complained = waited;
        esker__log(ESKER_LOG_WARNING,
                   "still waiting for the GPU after %" PRIu64 " s (dispatches %" PRIu64 " to %" PRIu64 ")",
                   waited / 1000000000u, dev->finished + 1, fence->serial);
    }
    return ESKER_OK;
}

esker_status esker__fence_wait_for(esker_device *dev, esker__fence *fence, uint64_t timeout_ns, bool *out_passed)
{
    *out_passed = false;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    *out_passed = !fence->sync;
    return fence->sync ? look(dev, fence, timeout_ns ? timeout_ns : 1, out_passed) : ESKER_OK;
}

void esker__fence_drop(esker_device *dev, esker__fence *fence)
{
    if (fence->sync && esker__device_borrow(dev)) {
        glDeleteSync(fence->sync);
        esker__device_return(dev);
    }
    *fence = (esker__fence){0};
}

bool esker__device_is_idle(const esker_device *dev)
{
    return dev->queued == dev->finished;
}

esker_status esker__wait_all(esker_device *dev)
{
    if (dev->queued == dev->finished) return ESKER_OK;
    esker__fence fence;
    esker_status st = esker__fence_put(dev, &fence);
    if (st == ESKER_OK) st = esker__fence_wait(dev, &fence, false);
    esker__fence_drop(dev, &fence);
    return st;
}
