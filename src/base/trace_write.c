/* A trace as JSON in Chrome's Trace Event Format: complete events ("X"), and metadata ("M") that names groups and tracks. */
#include "base/trace.h"

#include <inttypes.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/text.h"

/* So many bytes are gathered before they go to the file. */
#define PIECE_BYTES 65536

/* Nanoseconds as microseconds. */
static void add_us(esker__text *text, const char *key, uint64_t ns, bool negative)
{
    esker__text_add(text, "\"%s\": %s%" PRIu64 ".%03u, ", key, negative ? "-" : "", ns / 1000, (unsigned)(ns % 1000));
}

/* Groups are numbered by their first track, tracks by themselves; viewers sort by the numbers. */
static void add_track(esker__text *text, const esker_trace *trace, int t)
{
    const esker__trace_track *track = &trace->tracks[t];
    if (track->group == t) {
        esker__text_add(text, "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"args\": {\"name\": ", t);
        esker__text_add_quoted(text, track->names[0]);
        esker__text_add(text, "}},\n");
    }
    esker__text_add(text, "{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": ",
                    track->group, t);
    esker__text_add_quoted(text, track->names[1]);
    esker__text_add(text, "}},\n");
}

static void add_span(esker__text *text, const esker_trace *trace, const esker__trace_span *span)
{
    bool before = span->begin_ns < trace->origin_ns;
    esker__text_add(text, "{\"ph\": \"X\", \"pid\": %d, \"tid\": %d, ", trace->tracks[span->track].group, span->track);
    add_us(text, "ts", before ? trace->origin_ns - span->begin_ns : span->begin_ns - trace->origin_ns, before);
    add_us(text, "dur", span->end_ns - span->begin_ns, false);
    esker__text_add(text, "\"name\": ");
    esker__text_add_quoted(text, trace->texts[span->name - 1]);
    esker__text_add(text, ", \"args\": {\"number\": %" PRIu64, span->number);
    if (span->detail) {
        esker__text_add(text, ", \"detail\": ");
        esker__text_add_quoted(text, trace->texts[span->detail - 1]);
    }
    esker__text_add(text, "}},\n");
}

static esker_status flush(esker__file_writer *writer, esker__text *text, size_t above)
{
    if (text->failed) return esker__fail_memory(text->capacity, "trace");
    if (text->n_chars <= above) return ESKER_OK;
    esker_status st = esker__file_writer_write(writer, text->chars, text->n_chars);
    text->n_chars = 0;
    return st;
}

esker_status esker_trace_write(esker_trace *trace, const char *path)
{
    esker__file_writer writer = {0};
    esker__text text = {0};
    esker_status st = esker__file_writer_open(&writer, path);
    if (st != ESKER_OK) return st;
    pthread_mutex_lock(&trace->lock);
    esker__text_add(&text, "{\"displayTimeUnit\": \"ns\", \"otherData\": {\"version\": ");
    esker__text_add_quoted(&text, esker_version());
    esker__text_add(&text, ", \"dropped\": %" PRIu64 "},\n\"traceEvents\": [\n", trace->n_dropped);
    for (size_t t = 0; t < trace->n_tracks; t++) add_track(&text, trace, (int)t);
    for (size_t i = 0; st == ESKER_OK && i < trace->n_spans; i++) {
        add_span(&text, trace, &trace->spans[i]);
        st = flush(&writer, &text, PIECE_BYTES);
    }
    pthread_mutex_unlock(&trace->lock);
    /* The last event has no comma behind it, so that there always is one: the trace's own name for itself. */
    esker__text_add(&text, "{\"ph\": \"M\", \"name\": \"trace\", \"pid\": 0, \"args\": {\"name\": \"esker\"}}\n]}\n");
    if (st == ESKER_OK) st = flush(&writer, &text, 0);
    esker__text_finish(&text);
    return esker__file_writer_close(&writer, st);
}
