/* The inside of the queue, for the files that move it, run its callbacks and trace it. */
#ifndef ESKER_GPU_QUEUE_INTERNAL_H
#define ESKER_GPU_QUEUE_INTERNAL_H

#include "gpu/internal.h"
#include "gpu/queue.h"

#define ESKER__LABEL_BYTES   48
#define ESKER__MESSAGE_BYTES 320

/* An event, or a submission of this device or another. */
typedef struct esker__wait {
    esker_event *event;        /* referenced */
    esker__outcomes *outcomes; /* referenced; NULL: of this device */
    uint64_t number;
} esker__wait;

typedef struct esker__entry {
    esker__job job;
    esker_submission_fn callback;
    void *user;
    char label[ESKER__LABEL_BYTES];
    esker__wait waits[ESKER_SUBMISSION_MAX_WAITS];
    int n_waits;
    esker__fence fence;  /* while it runs; none if it failed before */
    esker_status status; /* so far; of a running one that of what it comes after */
    char message[ESKER__MESSAGE_BYTES];
    /* For traces. */
    uint64_t begin_ns;
    GLuint queries[2];
    bool timed;
} esker__entry;

/* Memory that a submission which was held back when it was made will touch. */
typedef struct esker__awaited {
    esker__range range;
    uint64_t number;
} esker__awaited;

typedef struct esker__queue {
    esker__entry *entries;
    uint64_t capacity, bound;
    uint64_t made, started, done, delivered;
    uint64_t n_callbacks; /* of entries that are not done */
    esker__outcomes *outcomes;
    esker__awaited *awaited;
    size_t n_awaited, awaited_capacity;
    uint64_t n_untracked; /* one past the newest for whose ranges there was no memory */
    bool starting, delivering;
    esker_status callback_status; /* of the first callback that failed since it was told */
    uint64_t n_callbacks_failed;
    char callback_message[ESKER__MESSAGE_BYTES];
    /* For traces. */
    esker_trace *trace; /* referenced */
    int cpu_track, gpu_track;
    bool timestamps;
    int64_t clock_offset_ns; /* from the GPU's clock to the CPU's */
    uint64_t clock_read_ns, last_end_ns;
} esker__queue;

static inline esker__entry *esker__queue_entry(esker__queue *q, uint64_t number)
{
    return &q->entries[number % q->capacity];
}

/* queue_waits.c. Fail with this thread's message; a failure that it has already stays. */
void esker__entry_fail(esker__entry *entry, esker_status st);
/* Let go of what it waits for: once it has started, but for those of this device, which may fail yet; or all. */
void esker__entry_drop_met(esker__entry *entry);
void esker__entry_drop_waits(esker__entry *entry);
/* A status, or ESKER__PENDING. */
int esker__wait_look(const esker__wait *wait);
/* Whether nothing that the entry waits for is pending, or something has failed. */
bool esker__entry_may_start(void *entry);
/* Fail the entry if something it waits for has failed; and those of this device that come after one that did. */
void esker__entry_take_failures(esker__queue *q, esker__entry *entry, uint64_t number);
void esker__queue_poison(esker__queue *q, uint64_t failed);

/* queue_callbacks.c: `st`, or what callbacks returned that nobody was told yet. */
esker_status esker__queue_tell(esker_device *dev, esker_status st);

/* queue_trace.c: each does nothing where there is no trace. */
uint64_t esker__queue_trace_now(const esker__queue *q);
void esker__queue_trace_span(esker__queue *q, const char *name, const char *detail, uint64_t number, uint64_t begin_ns);
void esker__queue_trace_start(esker_device *dev, esker__entry *entry);
void esker__queue_trace_started(esker_device *dev, esker__entry *entry);
void esker__queue_trace_done(esker_device *dev, esker__entry *entry, uint64_t number);
void esker__queue_trace_stop(esker_device *dev, bool current);

#endif
