#include "gpu/queue_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"

#define DEFAULT_BOUND 32
#define MAX_BOUND     1024

/* While something is held back, running work is waited for in pieces of this, to start it as soon as it may. */
#define PIECE_NS    ((uint64_t)1000 * 1000)
#define SLEEP_NS    ((uint64_t)500 * 1000 * 1000)
#define COMPLAIN_NS ((uint64_t)10 * 1000 * 1000 * 1000)

esker_status esker__queue_create(esker_device *dev, int bound)
{
    if (bound < 0 || bound > MAX_BOUND)
        return esker__fail(ESKER_ERR_INVALID, "opening a device: max_submissions is %d; it can be 1 to %d, or 0 for %d",
                           bound, MAX_BOUND, DEFAULT_BOUND);
    esker__queue *q = esker__calloc(1, sizeof *q);
    if (!q) return esker__fail_memory(sizeof *q, "a device");
    dev->queue = q;
    q->bound = (uint64_t)(bound ? bound : DEFAULT_BOUND);
    /* What is done keeps its place while its callback waits for the end of the call that noticed. */
    q->capacity = 2 * q->bound;
    q->entries = esker__calloc((size_t)q->capacity, sizeof *q->entries);
    if (!q->entries) return esker__fail_memory((size_t)q->capacity * sizeof *q->entries, "a device");
    return esker__outcomes_create(dev, q->capacity, &q->outcomes);
}

void esker__queue_destroy(esker_device *dev, bool current)
{
    esker__queue *q = dev->queue;
    if (!q) return;
    if (q->trace) esker__queue_trace_stop(dev, current);
    esker__outcomes_retire(q->outcomes);
    esker__free(q->awaited);
    esker__free(q->entries);
    esker__free(q);
    dev->queue = NULL;
}

esker_submission esker__queue_handle(const esker_device *dev, uint64_t number, uint64_t ticket)
{
    return (esker_submission){dev->queue->outcomes->device, number, ticket};
}

bool esker__queue_holds(const esker_device *dev)
{
    return dev->queue->started < dev->queue->made && !dev->queue->starting;
}

bool esker__queue_is_held(const esker_device *dev, uint64_t number)
{
    return number >= dev->queue->started && number < dev->queue->made;
}

/* ---- Starting and finishing ---- */

/*
 * A fence, and the flush with it, keep a GPU from its next work for some microseconds (15 on an NVIDIA H200, where small steps take 40). While the GPU is known
 * to be busy with the submission before, nobody misses them: this one gets them together with the next, or when somebody asks for it.
 */
static bool can_share_fence(esker_device *dev)
{
    esker__queue *q = dev->queue;
    bool passed = true;
    if (q->started == q->done) return false;
    esker__entry *before = esker__queue_entry(q, q->started - 1);
    return before->fence.sync && esker__fence_ask(dev, &before->fence, &passed) == ESKER_OK && !passed;
}

/* In an entered device, which `starting` says to all that this calls. */
static esker_status start(esker_device *dev, esker__entry *entry)
{
    esker__queue *q = dev->queue;
    bool shares = can_share_fence(dev);
    q->starting = true;
    esker__queue_trace_start(dev, entry);
    esker_status st = entry->job.start(entry->job.owner, entry->job.ticket);
    if (st == ESKER_OK) {
        esker__queue_trace_started(dev, entry);
        if (shares)
            entry->fence = (esker__fence){.serial = dev->queued};
        else
            st = esker__fence_put(dev, &entry->fence);
    }
    q->starting = false;
    return st;
}

static esker_status put_fence(esker_device *dev, uint64_t number)
{
    esker__fence fence;
    esker_status st = esker__fence_put(dev, &fence);
    if (st == ESKER_OK) esker__queue_entry(dev->queue, number)->fence = fence;
    return st;
}

/* Whose fence passes only when `number`, which has started, has finished: its own or the first behind it; put now if there is none. */
static esker_status fence_of(esker_device *dev, uint64_t number, uint64_t *out)
{
    esker__queue *q = dev->queue;
    while (number + 1 < q->started && !esker__queue_entry(q, number)->fence.sync) number++;
    *out = number;
    return esker__queue_entry(q, number)->fence.sync ? ESKER_OK : put_fence(dev, number);
}

/* Nobody may come back before `number`'s fence has passed: the GPU is given what is behind it, unless it has some of that. */
static esker_status hand_over(esker_device *dev, uint64_t number)
{
    esker__queue *q = dev->queue;
    uint64_t newest = q->started - 1;
    for (uint64_t n = newest; n > number; n--)
        if (esker__queue_entry(q, n)->fence.sync) return ESKER_OK;
    return newest > number ? put_fence(dev, newest) : ESKER_OK;
}

/* The oldest that is not done is done, or failed. */
static void complete(esker_device *dev)
{
    esker__queue *q = dev->queue;
    uint64_t number = q->done;
    esker__entry *entry = esker__queue_entry(q, number);
    if (entry->status != ESKER_OK) esker__fail_message("%s", entry->message);
    esker__fence_drop(dev, &entry->fence);
    if (entry->timed) esker__queue_trace_done(dev, entry, number);
    if (entry->job.owner) {
        esker_status st = entry->job.finish(entry->job.owner, entry->job.ticket, entry->status);
        if (st != ESKER_OK) esker__entry_fail(entry, st);
    }
    esker__entry_drop_waits(entry);
    if (entry->callback) q->n_callbacks--;
    if (entry->status != ESKER_OK) {
        if (number < atomic_load(&q->outcomes->first_failed)) atomic_store(&q->outcomes->first_failed, number);
        esker__queue_poison(q, number);
    }
    atomic_store(&q->outcomes->statuses[number % q->capacity], (unsigned char)entry->status);
    q->done++;
    if (q->started < q->done) q->started = q->done;
    atomic_store(&q->outcomes->n_done, q->done);
    esker__wake();
}

/* With the message of it set. */
static void lose_all(esker_device *dev)
{
    esker__queue *q = dev->queue;
    for (uint64_t n = q->done; n < q->made; n++) esker__entry_fail(esker__queue_entry(q, n), ESKER_ERR_LOST);
    while (q->done < q->made) complete(dev);
}

static esker_status pass_on(esker_device *dev, esker_status st)
{
    if (st == ESKER_ERR_LOST && dev->lost && dev->queue->done < dev->queue->made) {
        lose_all(dev);
        return esker__device_enter(dev); /* says it again */
    }
    return st;
}

static void start_ready(esker_device *dev)
{
    esker__queue *q = dev->queue;
    while (q->started < q->made) {
        esker__entry *entry = esker__queue_entry(q, q->started);
        if (entry->status == ESKER_OK) {
            if (!esker__entry_may_start(entry)) return;
            esker__entry_take_failures(q, entry, q->started);
        }
        if (entry->status == ESKER_OK) {
            esker_status st = esker__device_enter(dev);
            if (st == ESKER_OK) st = start(dev, entry);
            if (st != ESKER_OK) esker__entry_fail(entry, st);
        }
        esker__entry_drop_met(entry);
        q->started++;
    }
}

/* In an entered device. What has finished is done. Fences are asked for those before `n_ask`; the rest is done if one behind it was seen to pass. */
static esker_status harvest(esker_device *dev, uint64_t n_ask)
{
    esker__queue *q = dev->queue;
    while (q->done < q->started) {
        if (esker__queue_entry(q, q->done)->fence.serial > dev->finished) {
            bool passed = false;
            uint64_t at;
            if (q->done >= n_ask) return ESKER_OK;
            esker_status st = fence_of(dev, q->done, &at);
            if (st == ESKER_OK) st = esker__fence_ask(dev, &esker__queue_entry(q, at)->fence, &passed);
            if (st == ESKER_OK && !passed) st = hand_over(dev, at);
            if (st != ESKER_OK || !passed) return st;
        }
        complete(dev);
    }
    return ESKER_OK;
}

/* ---- Waiting ---- */

/* Slow is not an error (a software driver may take minutes), but it deserves a line in the log. */
static void complain(esker__queue *q, uint64_t seconds)
{
    if (q->done < q->started)
        esker__log(ESKER_LOG_WARNING,
                   "still waiting for the GPU after %" PRIu64 " s (submissions %" PRIu64 " to %" PRIu64 ")", seconds,
                   q->done, q->started - 1);
    if (q->started == q->made) return;
    const esker__entry *entry = esker__queue_entry(q, q->started);
    for (int i = 0; i < entry->n_waits; i++) {
        const esker__wait *wait = &entry->waits[i];
        if (esker__wait_look(wait) != ESKER__PENDING) continue;
        if (wait->event)
            esker__log(ESKER_LOG_WARNING, "after %" PRIu64 " s submission %" PRIu64 " (%s) still waits for event %s",
                       seconds, q->started, entry->label, esker__event_label(wait->event));
        else
            esker__log(ESKER_LOG_WARNING,
                       "after %" PRIu64 " s submission %" PRIu64 " (%s) still waits for submission %" PRIu64
                       " of device %" PRIu64,
                       seconds, q->started, entry->label, wait->number, wait->outcomes->device);
    }
}

/* Nothing runs, and the first that is held back may not start: sleep, or do what it waits for if that is this thread's. */
static void wait_for_others(esker__queue *q, uint64_t timeout_ns)
{
    esker__entry *entry = esker__queue_entry(q, q->started);
    for (int i = 0; i < entry->n_waits; i++) {
        const esker__wait *wait = &entry->waits[i];
        if (!wait->outcomes || esker__wait_look(wait) != ESKER__PENDING) continue;
        esker_device *own = esker__outcomes_own_device(wait->outcomes);
        if (!own) continue;
        (void)esker__queue_wait(own, wait->number, false); /* how it went is in the outcomes */
        return;
    }
    esker__sleep(esker__entry_may_start, entry, timeout_ns < SLEEP_NS ? timeout_ns : SLEEP_NS);
}

/* One piece of blocking, until everything before `n_done` is done, or something may start. */
static esker_status block(esker_device *dev, uint64_t n_done, uint64_t timeout_ns)
{
    esker__queue *q = dev->queue;
    bool held = q->started < q->made, passed;
    if (q->done < q->started && q->done < n_done) {
        uint64_t piece = held ? PIECE_NS : SLEEP_NS;
        uint64_t at;
        esker_status st = fence_of(dev, n_done - 1 < q->started ? n_done - 1 : q->started - 1, &at);
        if (st == ESKER_OK) st = hand_over(dev, at);
        if (st != ESKER_OK) return st;
        return esker__fence_wait_for(dev, &esker__queue_entry(q, at)->fence, timeout_ns < piece ? timeout_ns : piece,
                                     &passed);
    }
    wait_for_others(q, timeout_ns);
    return ESKER_OK;
}

/* Until everything before `n_started` has started and everything before `n_done` is done, or for `timeout_ns`. */
static esker_status advance(esker_device *dev, uint64_t n_started, uint64_t n_done, bool throttle, uint64_t timeout_ns)
{
    esker__queue *q = dev->queue;
    esker_status st = esker__device_enter(dev);
    uint64_t begin_ns = 0, told_ns = 0;
    while (st == ESKER_OK) {
        start_ready(dev);
        st = harvest(dev, n_done);
        if (st != ESKER_OK || (q->started >= n_started && q->done >= n_done)) break;
        uint64_t now = timeout_ns ? esker__now_ns() : 0;
        if (!begin_ns && timeout_ns) {
            begin_ns = told_ns = now;
            if (throttle)
                dev->counters.throttles++;
            else
                dev->counters.waits++;
        }
        if (now - begin_ns >= timeout_ns) break;
        st = block(dev, n_done, timeout_ns - (now - begin_ns));
        if (now - told_ns >= COMPLAIN_NS) {
            told_ns = now;
            complain(q, (now - begin_ns) / 1000000000u);
        }
        /* Another device of this thread may have been waited for, or the program's log have been called. */
        if (st == ESKER_OK) st = esker__device_enter(dev);
    }
    if (begin_ns) esker__queue_trace_span(q, throttle ? "throttle" : "wait", NULL, n_done, begin_ns);
    return pass_on(dev, st);
}

/* What became of one that is done. */
static esker_status outcome(esker_device *dev, uint64_t number)
{
    esker__queue *q = dev->queue;
    if (number < atomic_load(&q->outcomes->first_failed)) return ESKER_OK;
    if (q->made - number > q->capacity)
        return esker__fail(ESKER_ERR_INVALID,
                           "submission %" PRIu64 " is forgotten: %" PRIu64
                           " were made since, the device remembers %" PRIu64,
                           number, q->made - number - 1, q->capacity);
    const esker__entry *entry = esker__queue_entry(q, number);
    return entry->status == ESKER_OK ? ESKER_OK : esker__fail(entry->status, "%s", entry->message);
}

esker_status esker__queue_wait(esker_device *dev, uint64_t number, bool throttle)
{
    esker_status st = advance(dev, 0, number + 1, throttle, ESKER_WAIT_FOREVER);
    if (st == ESKER_ERR_INVALID) return st; /* another thread's */
    return dev->queue->done > number ? outcome(dev, number) : st;
}

esker_status esker__queue_poll(esker_device *dev, uint64_t number, bool *out_done)
{
    esker_status st = advance(dev, 0, number + 1, true, 0);
    *out_done = false;
    if (st == ESKER_ERR_INVALID) return st;
    *out_done = dev->queue->done > number;
    return *out_done ? outcome(dev, number) : st;
}

esker_status esker__queue_start(esker_device *dev, uint64_t number)
{
    return esker__queue_is_held(dev, number) ? advance(dev, number + 1, 0, false, ESKER_WAIT_FOREVER) : ESKER_OK;
}

/* ---- The end of a device, of a plan ---- */

esker_status esker__queue_drain(esker_device *dev)
{
    esker_status st = advance(dev, dev->queue->made, dev->queue->made, false, ESKER_WAIT_FOREVER);
    if (st == ESKER_OK) st = esker__wait_all(dev);
    if (st == ESKER_OK) st = esker__gl_check(dev, "finishing");
    return pass_on(dev, st);
}

void esker__queue_abandon(esker_device *dev, void *owner)
{
    esker__queue *q = dev->queue;
    uint64_t n_running = q->done;
    for (uint64_t n = q->started; n < q->made; n++) {
        esker__entry *entry = esker__queue_entry(q, n);
        if (entry->job.owner != owner || entry->status != ESKER_OK) continue;
        esker__entry_fail(entry, esker__fail(ESKER_ERR_CANCELLED,
                                             "submission %" PRIu64 " (%s): its plan was destroyed before it could start", n,
                                             entry->label));
    }
    for (uint64_t n = q->done; n < q->started; n++)
        if (esker__queue_entry(q, n)->job.owner == owner) n_running = n + 1;
    if (n_running > q->done) (void)advance(dev, 0, n_running, true, ESKER_WAIT_FOREVER);
    for (uint64_t n = q->done; n < q->made; n++) {
        esker__entry *entry = esker__queue_entry(q, n);
        if (entry->job.owner == owner) entry->job.owner = NULL;
    }
    /* Callbacks that are due are told nothing of a plan that is gone. */
    for (uint64_t n = q->delivered; n < q->done; n++) {
        esker__entry *entry = esker__queue_entry(q, n);
        if (entry->job.owner == owner) entry->job.owner = NULL;
    }
    start_ready(dev);
    (void)harvest(dev, 0);
}

/* ---- Submitting ---- */

static esker_status take_waits(esker_device *dev, esker__entry *entry, const esker_submit_desc *desc)
{
    esker__queue *q = dev->queue;
    if (desc->n_after < 0 || desc->n_events < 0 || desc->n_after > ESKER_SUBMISSION_MAX_WAITS ||
        desc->n_events > ESKER_SUBMISSION_MAX_WAITS - desc->n_after)
        return esker__fail(ESKER_ERR_INVALID, "submitting: %d submissions and %d events to wait for, at most %d together",
                           desc->n_after, desc->n_events, ESKER_SUBMISSION_MAX_WAITS);
    for (int i = 0; i < desc->n_after; i++) {
        const esker_submission *after = &desc->after[i];
        esker__wait *wait = &entry->waits[entry->n_waits];
        *wait = (esker__wait){.number = after->number};
        esker__outcomes *outcomes = after->device ? esker__outcomes_find(after->device) : NULL;
        if (!outcomes)
            return esker__fail(ESKER_ERR_INVALID,
                               after->device ? "submitting: dependency %d is submission %" PRIu64 " of device %" PRIu64
                                               ", which is not open"
                                             : "submitting: dependency %d names no submission",
                               i, after->number, after->device);
        uint64_t n_made = atomic_load(&outcomes->n_made);
        bool known = after->number < n_made, own = outcomes == q->outcomes;
        int status = known ? esker__outcomes_look(outcomes, after->number) : ESKER_OK;
        if (own || !known || status == ESKER__FORGOTTEN)
            esker__outcomes_release(outcomes);
        else
            wait->outcomes = outcomes;
        if (!known)
            return esker__fail(ESKER_ERR_INVALID,
                               "submitting: dependency %d is submission %" PRIu64 " of device %" PRIu64
                               ", which has made %" PRIu64,
                               i, after->number, after->device, n_made);
        if (status == ESKER__FORGOTTEN)
            return esker__fail(ESKER_ERR_INVALID,
                               "submitting: dependency %d is submission %" PRIu64 " of device %" PRIu64
                               ", whose outcome is forgotten: %" PRIu64 " were made since",
                               i, after->number, after->device, n_made - after->number - 1);
        entry->n_waits++;
    }
    for (int i = 0; i < desc->n_events; i++) {
        if (!desc->events[i]) return esker__fail(ESKER_ERR_INVALID, "submitting: event %d is NULL", i);
        esker__event_hold(desc->events[i]);
        entry->waits[entry->n_waits++] = (esker__wait){.event = desc->events[i]};
    }
    return ESKER_OK;
}

/* A place in the ring. */
static esker_status make_room(esker_device *dev, bool never_wait)
{
    esker__queue *q = dev->queue;
    esker_status st = ESKER_OK;
    if (q->made - q->done >= q->bound && never_wait) st = advance(dev, 0, q->done + 1, true, 0);
    if (st == ESKER_OK && q->made - q->done >= q->bound) {
        if (never_wait)
            return esker__fail(ESKER_ERR_LIMIT,
                               "submitting: %" PRIu64 " submissions are unfinished, the queue holds %" PRIu64,
                               q->made - q->done, q->bound);
        st = advance(dev, 0, q->made + 1 - q->bound, true, ESKER_WAIT_FOREVER);
    }
    if (st != ESKER_OK) return st;
    while (q->delivered < q->done && !esker__queue_entry(q, q->delivered)->callback) q->delivered++;
    if (q->made - q->delivered < q->capacity) return ESKER_OK;
    return esker__fail(ESKER_ERR_LIMIT, "submitting: %" PRIu64 " callbacks are due, and wait for this one to return",
                       q->done - q->delivered);
}

esker_status esker__queue_add(esker_device *dev, const esker__job *job, const esker_submit_desc *desc, bool entered,
                              uint64_t *out_number)
{
    esker__queue *q = dev->queue;
    esker_status st = entered ? ESKER_OK : esker__device_enter(dev);
    if (st == ESKER_OK) st = make_room(dev, desc->never_wait);
    if (st != ESKER_OK) return pass_on(dev, st);
    uint64_t begin_ns = esker__queue_trace_now(q);
    /* Callbacks that are due run at the end of this call; asking costs a little, so only if there are any. */
    if (q->n_callbacks || q->started < q->made) {
        start_ready(dev);
        st = harvest(dev, UINT64_MAX);
        if (st != ESKER_OK) return pass_on(dev, st);
    }
    esker__entry *entry = esker__queue_entry(q, q->made);
    GLuint queries[2] = {entry->queries[0], entry->queries[1]};
    *entry = (esker__entry){
        .job = *job, .callback = desc->callback, .user = desc->user, .queries = {queries[0], queries[1]}};
    const char *label = desc->label ? desc->label : "step";
    memcpy(entry->label, label, strnlen(label, sizeof entry->label - 1)); /* the rest is zeros */
    st = take_waits(dev, entry, desc);
    if (st == ESKER_OK) esker__entry_take_failures(q, entry, q->made);
    if (st == ESKER_OK && q->started == q->made && esker__entry_may_start(entry)) {
        if (entry->status == ESKER_OK) st = start(dev, entry);
        if (st == ESKER_OK) {
            esker__entry_drop_met(entry);
            q->started++;
        }
    }
    if (st != ESKER_OK) {
        esker__entry_drop_waits(entry);
        return pass_on(dev, st);
    }
    *out_number = q->made++;
    if (entry->callback) q->n_callbacks++;
    dev->counters.submissions++;
    atomic_store(&q->outcomes->n_made, q->made);
    esker__queue_trace_span(q, entry->label, "submit", *out_number, begin_ns);
    return ESKER_OK;
}

/* ---- The public face ---- */

static esker_status deliver_and_tell(esker_device *dev, esker_status st)
{
    esker__device_hold(dev);
    st = esker__queue_tell(dev, esker__queue_deliver(dev, st));
    esker__device_drop(dev);
    return st;
}

esker_status esker_device_poll(esker_device *dev)
{
    esker__device_collect(dev);
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_OK) {
        start_ready(dev);
        st = harvest(dev, UINT64_MAX);
    }
    st = pass_on(dev, st);
    return st == ESKER_ERR_INVALID ? st : deliver_and_tell(dev, st);
}

esker_status esker_device_finish(esker_device *dev)
{
    esker__device_collect(dev);
    esker_status st = esker__device_enter(dev);
    if (st == ESKER_ERR_INVALID) return st;
    esker__device_hold(dev);
    /* What callbacks submit is waited for too; one that does so for ever is the program's business. */
    do st = esker__queue_deliver(dev, esker__queue_drain(dev));
    while (st == ESKER_OK && dev->queue->done < dev->queue->made);
    st = esker__queue_tell(dev, st);
    esker__device_drop(dev);
    return st;
}

esker_status esker_submission_wait(esker_device *dev, esker_submission submission, uint64_t timeout_ns, bool *out_done)
{
    esker__queue *q = dev->queue;
    bool done = false;
    if (out_done) *out_done = false;
    if (submission.device != q->outcomes->device)
        return submission.device
                   ? esker__fail(ESKER_ERR_INVALID,
                                 "waiting for submission %" PRIu64 " of device %" PRIu64 " on device %" PRIu64,
                                 submission.number, submission.device, q->outcomes->device)
                   : esker__fail(ESKER_ERR_INVALID, "waiting for a submission: the handle names none");
    if (submission.number >= atomic_load(&q->outcomes->n_made))
        return esker__fail(ESKER_ERR_INVALID,
                           "waiting for submission %" PRIu64 " of device %" PRIu64 ", which has made %" PRIu64,
                           submission.number, submission.device, (uint64_t)atomic_load(&q->outcomes->n_made));
    esker_status st = advance(dev, 0, submission.number + 1, false, timeout_ns);
    if (st == ESKER_ERR_INVALID) return st;
    if (q->done > submission.number) {
        done = true;
        st = outcome(dev, submission.number);
    }
    if (out_done) *out_done = done;
    return esker__queue_deliver(dev, st);
}
