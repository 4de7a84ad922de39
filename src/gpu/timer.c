/*
 * GPU time between two points of the command stream, by GL_EXT_disjoint_timer_query: two timestamps where the driver has
 * them, else one elapsed-time query. Timestamps come first because llvmpipe's elapsed time leaves compute out (1 ns for 20
 * ms), and because GL runs only one elapsed-time query at a time.
 */
#include "gpu/internal.h"

#include "base/fail.h"
#include "base/memory.h"

struct esker__timer {
    esker_device *dev;
    GLuint queries[2]; /* before and after; only the first where time is measured as elapsed */
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
    int n = dev->gl.query_counter ? 2 : 1;
    glGenQueries(n, timer->queries);
    for (int i = 0; i < n; i++) esker__count_object(dev, timer->queries[i]);
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
    esker_device *dev = timer->dev;
    if (esker__device_borrow(dev)) {
        if (timer->state == TIMER_RUNNING && !dev->gl.query_counter) {
            glEndQuery(GL_TIME_ELAPSED_EXT);
            dev->timing = false;
        }
        glDeleteQueries(2, timer->queries); /* a name of 0 is passed over */
        esker__device_return(dev);
    }
    esker__free(timer);
}

esker_status esker__timer_begin(esker__timer *timer)
{
    esker_device *dev = timer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (timer->state == TIMER_RUNNING) return esker__fail(ESKER_ERR_INVALID, "a timer was begun that is running already");
    if (dev->timing) return esker__fail(ESKER_ERR_INVALID, "another timer is running; this driver has one at a time");
    /* Reading the flag clears it: from here on it speaks of this interval. */
    GLint disjoint;
    glGetIntegerv(GL_GPU_DISJOINT_EXT, &disjoint);
    if (dev->gl.query_counter)
        dev->gl.query_counter(timer->queries[0], GL_TIMESTAMP_EXT);
    else
        glBeginQuery(GL_TIME_ELAPSED_EXT, timer->queries[0]);
    st = esker__gl_check(dev, "beginning a timer");
    if (st != ESKER_OK) return st;
    timer->state = TIMER_RUNNING;
    dev->timing = !dev->gl.query_counter;
    return ESKER_OK;
}

esker_status esker__timer_end(esker__timer *timer)
{
    esker_device *dev = timer->dev;
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (timer->state != TIMER_RUNNING) return esker__fail(ESKER_ERR_INVALID, "a timer was ended that is not running");
    if (dev->gl.query_counter)
        dev->gl.query_counter(timer->queries[1], GL_TIMESTAMP_EXT);
    else
        glEndQuery(GL_TIME_ELAPSED_EXT);
    timer->state = TIMER_ENDED;
    timer->serial = dev->queued;
    dev->timing = false;
    return esker__gl_check(dev, "ending a timer");
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
    GLuint64 first = 0, second = 0;
    dev->gl.get_query_u64(timer->queries[0], GL_QUERY_RESULT, &first);
    if (dev->gl.query_counter) dev->gl.get_query_u64(timer->queries[1], GL_QUERY_RESULT, &second);
    GLint disjoint = 0;
    glGetIntegerv(GL_GPU_DISJOINT_EXT, &disjoint);
    st = esker__gl_check(dev, "reading a timer");
    if (st != ESKER_OK) return st;
    *out_ns = !dev->gl.query_counter ? first : second > first ? second - first : 0;
    *out_valid = !disjoint && (!dev->gl.query_counter || second >= first);
    return ESKER_OK;
}
