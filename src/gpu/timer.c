/* GPU time between two points of the command stream, by GL_EXT_disjoint_timer_query. */
#include "gpu/internal.h"

#include "base/fail.h"
#include "base/memory.h"

struct esker__timer {
    esker_device *dev;
    GLuint query;
    enum { TIMER_NEW, TIMER_RUNNING, TIMER_ENDED } state;
    uint64_t serial; /* dispatches queued when it ended */
};

esker_status esker__timer_create(esker_device *dev, esker__timer **out)
{
    *out = NULL;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (!dev->info.timer_query)
        return esker__fail(ESKER_ERR_UNSUPPORTED, "%s: no GPU timers (GL_EXT_disjoint_timer_query)%s",
                           dev->info.display.name, dev->info.limits_capped ? "; the limits are capped" : "");
    esker__timer *timer = esker__calloc(1, sizeof *timer);
    if (!timer) return esker__fail_memory(sizeof *timer, "a timer");
    timer->dev = dev;
    glGenQueries(1, &timer->query);
    esker__count_object(dev, timer->query);
    st = esker__gl_check(dev, "glGenQueries");
    if (st != ESKER_OK) {
        esker__free(timer);
        return st;
    }
    *out = timer;
    return ESKER_OK;
}

void esker__timer_destroy(esker__timer *timer)
{
    if (!timer) return;
    if (esker__platform_make_current(timer->dev->platform) == ESKER_OK) {
        if (timer->state == TIMER_RUNNING) {
            glEndQuery(GL_TIME_ELAPSED_EXT);
            timer->dev->timing = false;
        }
        glDeleteQueries(1, &timer->query);
    }
    esker__free(timer);
}

esker_status esker__timer_begin(esker__timer *timer)
{
    esker_device *dev = timer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (dev->timing) return esker__fail(ESKER_ERR_INVALID, "a timer is running already; GL has one at a time");
    /* Reading the flag clears it: from here on it speaks of this interval. */
    GLint disjoint;
    glGetIntegerv(GL_GPU_DISJOINT_EXT, &disjoint);
    glBeginQuery(GL_TIME_ELAPSED_EXT, timer->query);
    st = esker__gl_check(dev, "glBeginQuery (elapsed time)");
    if (st != ESKER_OK) return st;
    timer->state = TIMER_RUNNING;
    dev->timing = true;
    return ESKER_OK;
}

esker_status esker__timer_end(esker__timer *timer)
{
    esker_device *dev = timer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (timer->state != TIMER_RUNNING) return esker__fail(ESKER_ERR_INVALID, "a timer was ended that is not running");
    glEndQuery(GL_TIME_ELAPSED_EXT);
    timer->state = TIMER_ENDED;
    timer->serial = dev->queued;
    dev->timing = false;
    return esker__gl_check(dev, "glEndQuery (elapsed time)");
}

esker_status esker__timer_read(esker__timer *timer, uint64_t *out_ns, bool *out_valid)
{
    *out_ns = 0;
    *out_valid = false;
    esker_device *dev = timer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (timer->state != TIMER_ENDED) return esker__fail(ESKER_ERR_INVALID, "a timer was read that was not ended");
    /* Wait by fence, which is counted and notices a reset; asking for the result would block inside the driver. */
    if (timer->serial > dev->finished) st = esker__wait_all(dev);
    if (st != ESKER_OK) return st;
    GLuint64 ns = 0;
    dev->gl.get_query_u64(timer->query, GL_QUERY_RESULT, &ns);
    GLint disjoint = 0;
    glGetIntegerv(GL_GPU_DISJOINT_EXT, &disjoint);
    st = esker__gl_check(dev, "glGetQueryObject (elapsed time)");
    if (st != ESKER_OK) return st;
    *out_ns = ns;
    *out_valid = !disjoint;
    return ESKER_OK;
}
