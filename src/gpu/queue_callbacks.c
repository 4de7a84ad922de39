/* The queue: callbacks of submissions that are done, run at the end of public functions, and what becomes of their failures. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "gpu/queue_internal.h"

static void call(esker_device *dev, uint64_t number)
{
    esker__queue *q = dev->queue;
    const esker__entry *entry = esker__queue_entry(q, number);
    /* The callback may submit, and its own place be taken. */
    esker_submission_fn callback = entry->callback;
    char label[ESKER__LABEL_BYTES], message[ESKER__MESSAGE_BYTES];
    memcpy(label, entry->label, sizeof label);
    memcpy(message, entry->message, sizeof message);
    esker_completion done = {.submission = esker__queue_handle(dev, number, entry->job.ticket),
                             .plan = entry->job.owner,
                             .status = entry->status,
                             .message = message,
                             .label = label};
    uint64_t begin_ns = esker__queue_trace_now(q);
    esker_status st = callback(&done, entry->user);
    esker__queue_trace_span(q, label, "callback", number, begin_ns);
    if (st == ESKER_OK) return;
    if (!q->n_callbacks_failed++) {
        q->callback_status = st;
        snprintf(q->callback_message, sizeof q->callback_message, "the callback of submission %" PRIu64 " (%s): %s: %s",
                 number, label, esker_status_name(st), esker_last_error());
    }
    esker__log(ESKER_LOG_ERROR, "the callback of submission %" PRIu64 " (%s): %s: %s", number, label, esker_status_name(st),
               esker_last_error());
}

bool esker__queue_owes(const esker_device *dev, uint64_t number)
{
    esker__queue *q = dev->queue;
    return !q->delivering && number >= q->delivered && number < q->done && esker__queue_entry(q, number)->callback;
}

esker_status esker__queue_deliver(esker_device *dev, esker_status st)
{
    esker__queue *q = dev->queue;
    char message[ESKER__ERROR_BYTES] = "";
    if (atomic_load(&dev->owner) != esker__this_thread()) return st;
    if (q->delivering || q->delivered == q->done) return st;
    if (st != ESKER_OK) snprintf(message, sizeof message, "%s", esker_last_error());
    esker__device_hold(dev); /* a callback may return the last other reference */
    q->delivering = true;
    while (q->delivered < q->done) {
        uint64_t number = q->delivered++;
        if (esker__queue_entry(q, number)->callback) call(dev, number);
    }
    q->delivering = false;
    esker__device_drop(dev);
    return st == ESKER_OK ? st : esker__fail(st, "%s", message);
}

esker_status esker__queue_tell(esker_device *dev, esker_status st)
{
    esker__queue *q = dev->queue;
    if (st != ESKER_OK || !q->n_callbacks_failed || q->delivering) return st;
    uint64_t more = q->n_callbacks_failed - 1;
    q->n_callbacks_failed = 0;
    if (!more) return esker__fail(q->callback_status, "%s", q->callback_message);
    return esker__fail(q->callback_status, "%s (and %" PRIu64 " more failed)", q->callback_message, more);
}
