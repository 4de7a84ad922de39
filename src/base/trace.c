/* Recording spans: fixed room for them, and each different text kept once. */
#include "base/trace.h"

#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/hash.h"

#define DEFAULT_SPANS 65536
#define MAX_SPANS     ((size_t)1 << 31)

uint64_t esker_now_ns(void)
{
    return esker__now_ns();
}

esker_status esker_trace_create(const esker_trace_desc *desc, esker_trace **out)
{
    *out = NULL;
    size_t n = desc && desc->max_spans ? desc->max_spans : DEFAULT_SPANS;
    if (n > MAX_SPANS) return esker__fail(ESKER_ERR_LIMIT, "trace: %zu spans, at most %zu are kept", n, MAX_SPANS);
    esker_trace *trace = esker__calloc(1, sizeof *trace);
    if (!trace) return esker__fail_memory(sizeof *trace, "trace");
    atomic_init(&trace->refs, 1);
    trace->max_spans = n;
    trace->origin_ns = esker__now_ns();
    trace->spans = esker__malloc(n * sizeof *trace->spans);
    if (!trace->spans || pthread_mutex_init(&trace->lock, NULL) != 0) {
        esker__free(trace->spans);
        esker__free(trace);
        return esker__fail_memory(n * sizeof *trace->spans, "trace");
    }
    *out = trace;
    return ESKER_OK;
}

esker_trace *esker_trace_ref(esker_trace *trace)
{
    if (trace) atomic_fetch_add_explicit(&trace->refs, 1, memory_order_relaxed);
    return trace;
}

void esker_trace_unref(esker_trace *trace)
{
    if (!trace || atomic_fetch_sub_explicit(&trace->refs, 1, memory_order_acq_rel) != 1) return;
    pthread_mutex_destroy(&trace->lock);
    esker__pool_finish(&trace->pool);
    esker__free(trace->texts);
    esker__free(trace->slots);
    esker__free(trace->tracks);
    esker__free(trace->spans);
    esker__free(trace);
}

/* ---- Texts: all of this with the lock held ---- */

static size_t find_slot(const esker_trace *trace, const char *text)
{
    size_t at = (size_t)esker__hash_text(ESKER__HASH_START, text) & (trace->n_slots - 1);
    while (trace->slots[at] && strcmp(trace->texts[trace->slots[at] - 1], text) != 0) at = (at + 1) & (trace->n_slots - 1);
    return at;
}

static bool grow_slots(esker_trace *trace)
{
    size_t n = trace->n_slots ? 2 * trace->n_slots : 64;
    uint32_t *slots = esker__calloc(n, sizeof *slots);
    if (!slots) return false;
    esker__free(trace->slots);
    trace->slots = slots;
    trace->n_slots = n;
    for (size_t i = 0; i < trace->n_texts; i++) slots[find_slot(trace, trace->texts[i])] = (uint32_t)i + 1;
    return true;
}

/* The number of a text, from 1; 0 when memory ran out. */
static uint32_t number_of(esker_trace *trace, const char *text)
{
    if (2 * (trace->n_texts + 1) > trace->n_slots && !grow_slots(trace)) return 0;
    size_t at = find_slot(trace, text);
    if (trace->slots[at]) return trace->slots[at];
    if (!esker__grow((void **)&trace->texts, &trace->texts_capacity, trace->n_texts, sizeof *trace->texts)) return 0;
    const char *copy = esker__pool_strdup(&trace->pool, text);
    if (!copy) return 0;
    trace->texts[trace->n_texts++] = copy;
    return trace->slots[at] = (uint32_t)trace->n_texts;
}

/* ---- Tracks and spans ---- */

esker_status esker_trace_track(esker_trace *trace, const char *group, const char *name, int *out_track)
{
    *out_track = -1;
    if (!group || !name) return esker__fail(ESKER_ERR_INVALID, "trace: a track needs a group and a name");
    esker_status st = ESKER_OK;
    pthread_mutex_lock(&trace->lock);
    int first = (int)trace->n_tracks;
    size_t i = 0;
    for (; i < trace->n_tracks; i++) {
        const esker__trace_track *track = &trace->tracks[i];
        if (strcmp(track->names[0], group) != 0) continue;
        if (first == (int)trace->n_tracks) first = (int)i;
        if (strcmp(track->names[1], name) == 0) break;
    }
    if (i == trace->n_tracks) {
        uint32_t a = number_of(trace, group), b = number_of(trace, name);
        if (a && b && esker__grow((void **)&trace->tracks, &trace->tracks_capacity, i, sizeof *trace->tracks))
            trace->tracks[trace->n_tracks++] = (esker__trace_track){first, {trace->texts[a - 1], trace->texts[b - 1]}};
        else
            st = esker__fail_memory(strlen(group) + strlen(name), "trace");
    }
    pthread_mutex_unlock(&trace->lock);
    if (st == ESKER_OK) *out_track = (int)i;
    return st;
}

/* With the lock held. */
static esker_status check_track(const esker_trace *trace, int track)
{
    if (track >= 0 && (size_t)track < trace->n_tracks) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "trace: track %d of %zu", track, trace->n_tracks);
}

esker_status esker_trace_add(esker_trace *trace, int track, const esker_span *span)
{
    if (!span->name) return esker__fail(ESKER_ERR_INVALID, "trace: a span needs a name");
    if (span->end_ns < span->begin_ns)
        return esker__fail(ESKER_ERR_INVALID, "trace: span %s ends %llu ns before it begins", span->name,
                           (unsigned long long)(span->begin_ns - span->end_ns));
    pthread_mutex_lock(&trace->lock);
    esker_status st = check_track(trace, track);
    if (st == ESKER_OK && trace->n_spans == trace->max_spans)
        trace->n_dropped++;
    else if (st == ESKER_OK) {
        uint32_t name = number_of(trace, span->name), detail = span->detail ? number_of(trace, span->detail) : 0;
        if (name && (detail || !span->detail))
            trace->spans[trace->n_spans++] = (esker__trace_span){track,        name,           detail,
                                                                 span->number, span->begin_ns, span->end_ns};
        else
            st = esker__fail_memory(strlen(span->name), "trace");
    }
    pthread_mutex_unlock(&trace->lock);
    return st;
}

void esker_trace_get_info(esker_trace *trace, esker_trace_info *out)
{
    pthread_mutex_lock(&trace->lock);
    *out = (esker_trace_info){(int)trace->n_tracks, trace->n_spans, trace->max_spans, trace->n_dropped};
    pthread_mutex_unlock(&trace->lock);
}

esker_status esker_trace_get_span(esker_trace *trace, size_t index, int *out_track, esker_span *out)
{
    esker_status st = ESKER_OK;
    pthread_mutex_lock(&trace->lock);
    if (index < trace->n_spans) {
        const esker__trace_span *span = &trace->spans[index];
        *out_track = span->track;
        *out = (esker_span){.name = trace->texts[span->name - 1],
                            .detail = span->detail ? trace->texts[span->detail - 1] : NULL,
                            .number = span->number,
                            .begin_ns = span->begin_ns,
                            .end_ns = span->end_ns};
    } else {
        st = esker__fail(ESKER_ERR_INVALID, "trace: span %zu of %zu", index, trace->n_spans);
    }
    pthread_mutex_unlock(&trace->lock);
    return st;
}
