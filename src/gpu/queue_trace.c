/*
 * Spans of submissions. The GPU's come from a timestamp before and one behind each, which the driver writes as the GPU passes,
 * moved to the CPU's clock; two queries for each place in the queue are made when a trace is set, none after. Elapsed-time
 * queries would tell how long, not when.
 */
#include "gpu/queue_internal.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/fail.h"

/* The two clocks drift; this is how long one reading of both is trusted. */
#define CLOCK_NS ((uint64_t)1000 * 1000 * 1000)

uint64_t esker__queue_trace_now(const esker__queue *q)
{
    return q->trace ? esker__now_ns() : 0;
}

/* A trace that runs out of memory is incomplete, and no reason to fail a step. */
static void add(esker__queue *q, int track, const esker_span *span)
{
    if (esker_trace_add(q->trace, track, span) != ESKER_OK) esker__log(ESKER_LOG_WARNING, "%s", esker_last_error());
}

void esker__queue_trace_span(esker__queue *q, const char *name, const char *detail, uint64_t number, uint64_t begin_ns)
{
    if (!q->trace) return;
    add(q, q->cpu_track, &(esker_span){name, detail, number, begin_ns, esker__now_ns()});
}

/* The GPU's clock is read between two looks at the CPU's; of a few tries the closest counts. */
static void read_clocks(esker__queue *q)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        GLint64 gpu = 0;
        uint64_t before = esker__now_ns();
        glGetInteger64v(GL_TIMESTAMP_EXT, &gpu);
        uint64_t after = esker__now_ns();
        if (after - before >= best) continue;
        best = after - before;
        q->clock_offset_ns = (int64_t)(before + best / 2) - gpu;
    }
    q->clock_read_ns = esker__now_ns();
}

void esker__queue_trace_start(esker_device *dev, esker__entry *entry)
{
    esker__queue *q = dev->queue;
    entry->timed = q->trace;
    if (!q->trace) return;
    entry->begin_ns = esker__now_ns();
    if (q->timestamps) dev->gl.query_counter(entry->queries[0], GL_TIMESTAMP_EXT);
}

void esker__queue_trace_started(esker_device *dev, esker__entry *entry)
{
    if (entry->timed && dev->queue->timestamps) dev->gl.query_counter(entry->queries[1], GL_TIMESTAMP_EXT);
}

void esker__queue_trace_done(esker_device *dev, esker__entry *entry, uint64_t number)
{
    esker__queue *q = dev->queue;
    if (!q->trace || entry->status != ESKER_OK || dev->lost) return;
    uint64_t now = esker__now_ns();
    esker_span span = {entry->label, "seen by fence", number, entry->begin_ns, now};
    if (span.begin_ns < q->last_end_ns) span.begin_ns = q->last_end_ns;
    if (q->timestamps) {
        GLuint64 first = 0, second = 0;
        if (now - q->clock_read_ns > CLOCK_NS) read_clocks(q);
        dev->gl.get_query_u64(entry->queries[0], GL_QUERY_RESULT, &first);
        dev->gl.get_query_u64(entry->queries[1], GL_QUERY_RESULT, &second);
        span.detail = "timestamps";
        span.begin_ns = (uint64_t)((int64_t)first + q->clock_offset_ns);
        span.end_ns = (uint64_t)((int64_t)second + q->clock_offset_ns);
    }
    if (span.end_ns < span.begin_ns) span.end_ns = span.begin_ns; /* a clock that was set back */
    q->last_end_ns = span.end_ns;
    add(q, q->gpu_track, &span);
}

void esker__queue_trace_stop(esker_device *dev, bool current)
{
    esker__queue *q = dev->queue;
    for (uint64_t i = 0; i < q->capacity; i++) {
        esker__entry *entry = &q->entries[i];
        if (current) glDeleteQueries(2, entry->queries); /* names of 0 are passed over */
        entry->queries[0] = entry->queries[1] = 0;
        entry->timed = false;
    }
    esker_trace_unref(q->trace);
    q->trace = NULL;
}

esker_status esker_device_set_trace(esker_device *dev, esker_trace *trace)
{
    esker__queue *q = dev->queue;
    char group[ESKER_NAME_BYTES + 32];
    esker_status st = esker__device_enter(dev);
    if (st != ESKER_OK) return st;
    if (q->trace) esker__queue_trace_stop(dev, true);
    if (!trace) return ESKER_OK;
    snprintf(group, sizeof group, "device %llu (%s)", (unsigned long long)q->outcomes->device, dev->info.display.name);
    st = esker_trace_track(trace, group, "CPU", &q->cpu_track);
    if (st == ESKER_OK) st = esker_trace_track(trace, group, "GPU", &q->gpu_track);
    if (st != ESKER_OK) return st;
    q->timestamps = dev->gl.query_counter != NULL;
    q->trace = esker_trace_ref(trace);
    q->last_end_ns = 0;
    if (!q->timestamps) return ESKER_OK;
    for (uint64_t i = 0; i < q->capacity; i++) {
        glGenQueries(2, q->entries[i].queries);
        for (int k = 0; k < 2; k++) esker__count_object(dev, q->entries[i].queries[k]);
    }
    read_clocks(q);
    st = esker__gl_check(dev, "preparing a trace");
    if (st != ESKER_OK) esker__queue_trace_stop(dev, true);
    return st;
}
