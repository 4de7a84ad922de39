/* The inside of a trace, for the file that writes it. */
#ifndef ESKER_BASE_TRACE_H
#define ESKER_BASE_TRACE_H

#include <pthread.h>
#include <stdatomic.h>

#include <esker/trace.h>
#include "base/memory.h"

typedef struct esker__trace_span {
    int track;
    uint32_t name, detail; /* indices in texts; detail 0: none */
    uint64_t number, begin_ns, end_ns;
} esker__trace_span;

typedef struct esker__trace_track {
    int group;            /* the first track of the same group */
    const char *names[2]; /* the group's, and its own */
} esker__trace_track;

struct esker_trace {
    atomic_int refs;
    pthread_mutex_t lock; /* of everything below */
    uint64_t origin_ns;
    esker__trace_span *spans;
    size_t n_spans, max_spans;
    uint64_t n_dropped;
    esker__trace_track *tracks;
    size_t n_tracks, tracks_capacity;
    esker__pool pool; /* texts */
    const char **texts;
    size_t n_texts, texts_capacity;
    uint32_t *slots; /* open addressing by hash: index in texts + 1; a power of two of slots */
    size_t n_slots;
};

#endif
