/**
 * Traces: what ran when, on the CPU and on the GPU, as spans on tracks, written as a file that chrome://tracing and Perfetto
 * show.
 *
 *   esker_trace_create(NULL, &trace);
 *   esker_device_set_trace(dev, trace);                 device.h: every submission becomes a span of the CPU and one of the GPU
 *   esker_trace_track(trace, "program", "loader", &loader);
 *   uint64_t begin = esker_now_ns();
 *   ...
 *   esker_trace_add(trace, loader, &(esker_span){.name = "decode", .begin_ns = begin, .end_ns = esker_now_ns()});
 *   esker_trace_write(trace, "trace.json");
 *
 * Adding a span allocates nothing, but for a text that is seen for the first time. A full trace drops what comes then, and
 * counts it.
 *
 * Threads    Any, also at the same time.
 */
#ifndef ESKER_TRACE_H
#define ESKER_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_trace esker_trace;

typedef struct esker_trace_desc {
    size_t max_spans; /* that are kept, 48 bytes each; 0: 65536 */
} esker_trace_desc;

/**
 * An empty trace; `desc` may be NULL for all defaults.
 * Ownership  *out has one reference, returned with esker_trace_unref().
 * Errors     ESKER_ERR_LIMIT: more than 2^31 spans. ESKER_ERR_NO_MEMORY. *out is NULL then.
 */
ESKER_API esker_status esker_trace_create(const esker_trace_desc *desc, esker_trace **out);
ESKER_API esker_trace *esker_trace_ref(esker_trace *trace);
/** Accepts NULL. */
ESKER_API void esker_trace_unref(esker_trace *trace);

/** The clock of all spans: nanoseconds of CLOCK_MONOTONIC. */
ESKER_API uint64_t esker_now_ns(void);

/**
 * The track of that name in that group ("process" in the viewers), made when it is asked for the first time.
 * Errors     ESKER_ERR_INVALID: NULL. ESKER_ERR_NO_MEMORY. *out_track is -1 then.
 */
ESKER_API esker_status esker_trace_track(esker_trace *trace, const char *group, const char *name, int *out_track);

typedef struct esker_span {
    const char *name;          /* copied */
    const char *detail;        /* shown on demand; copied; may be NULL */
    uint64_t number;           /* shown on demand: a step, a submission, a dispatch */
    uint64_t begin_ns, end_ns; /* by esker_now_ns(); begin <= end */
} esker_span;

/**
 * Add a span. Spans of one track nest or follow each other; viewers show others wrongly. A full trace drops it, which is no
 * error.
 * Errors     ESKER_ERR_INVALID: no such track, no name, or an end before the begin, with the numbers. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_trace_add(esker_trace *trace, int track, const esker_span *span);

typedef struct esker_trace_info {
    int n_tracks;
    size_t n_spans, max_spans;
    uint64_t n_dropped; /* spans that came when it was full */
} esker_trace_info;

ESKER_API void esker_trace_get_info(esker_trace *trace, esker_trace_info *out);

/** Span `index` (0 .. n_spans - 1, as added) and its track. Texts live as long as the trace. ESKER_ERR_INVALID: none such. */
ESKER_API esker_status esker_trace_get_span(esker_trace *trace, size_t index, int *out_track, esker_span *out);

/**
 * Nanoseconds in which track `a` has a span and, in *out_both, in which track `b` has one too: busy time of `a`, and overlap.
 * Errors     ESKER_ERR_INVALID: no such track. ESKER_ERR_NO_MEMORY.
 */
ESKER_API esker_status esker_trace_get_overlap(esker_trace *trace, int a, int b, uint64_t *out_a_ns, uint64_t *out_both_ns);

/**
 * Write everything as JSON in Chrome's Trace Event Format (complete events, times in microseconds since the trace was
 * created). Bytes of texts that are no UTF-8 become U+FFFD.
 * Errors     ESKER_ERR_IO: the file, and errno's text; an existing file is as before then.
 */
ESKER_API esker_status esker_trace_write(esker_trace *trace, const char *path);

#ifdef __cplusplus
}
#endif
#endif
