/* What a submission waits for, and how one fails when what it comes after does. */
#include "gpu/queue_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/fail.h"

/* ---- Failing ---- */

/* The entry's own failure from this thread's message; one that it has already stays. */
void esker__entry_fail(esker__entry *entry, esker_status st)
{
    if (entry->status != ESKER_OK) return;
    entry->status = st;
    snprintf(entry->message, sizeof entry->message, "%s", esker_last_error());
}

static esker_status fail_after(esker__entry *entry, uint64_t number, uint64_t after, esker_status st, const char *why)
{
    esker_status same = esker__fail(st, "submission %" PRIu64 " (%s) comes after submission %" PRIu64 ", which failed: %s",
                                    number, entry->label, after, why[0] ? why : esker_status_name(st));
    esker__entry_fail(entry, same);
    return same;
}

/* ---- Waiting for others ---- */

/* Once it has started, only those of this device still matter: they may fail yet. */
void esker__entry_drop_met(esker__entry *entry)
{
    int n_left = 0;
    for (int i = 0; i < entry->n_waits; i++) {
        esker__wait *wait = &entry->waits[i];
        if (wait->event) esker__event_release(wait->event);
        if (wait->outcomes) esker__outcomes_release(wait->outcomes);
        if (!wait->event && !wait->outcomes) entry->waits[n_left++] = *wait;
    }
    entry->n_waits = n_left;
}

void esker__entry_drop_waits(esker__entry *entry)
{
    esker__entry_drop_met(entry);
    entry->n_waits = 0;
}

/* A status, or ESKER__PENDING. Those of this device are waited for by being behind them. */
int esker__wait_look(const esker__wait *wait)
{
    if (wait->event) return esker__event_look(wait->event);
    return wait->outcomes ? esker__outcomes_look(wait->outcomes, wait->number) : ESKER_OK;
}

bool esker__entry_may_start(void *user)
{
    const esker__entry *entry = user;
    bool pending = false;
    for (int i = 0; i < entry->n_waits; i++) {
        int status = esker__wait_look(&entry->waits[i]);
        if (status != ESKER_OK && status != ESKER__PENDING) return true; /* to fail */
        pending |= status == ESKER__PENDING;
    }
    return !pending;
}

/* Fail the entry if something it waits for has failed. */
void esker__entry_take_failures(esker__queue *q, esker__entry *entry, uint64_t number)
{
    for (int i = 0; i < entry->n_waits && entry->status == ESKER_OK; i++) {
        const esker__wait *wait = &entry->waits[i];
        int status = esker__wait_look(wait);
        if (status == ESKER__PENDING) continue;
        if (wait->event && status != ESKER_OK) {
            const char *why = status == ESKER_ERR_CANCELLED ? " (or let go of before it happened)" : "";
            esker__entry_fail(entry, esker__fail((esker_status)status,
                                                 "submission %" PRIu64 " (%s): event %s was signalled with %s%s", number,
                                                 entry->label, esker__event_label(wait->event),
                                                 esker_status_name((esker_status)status), why));
        } else if (status == ESKER__FORGOTTEN) {
            fail_after(entry, number, wait->number, ESKER_ERR_INVALID, "its device has forgotten how it went");
        } else if (wait->outcomes && status != ESKER_OK) {
            char why[64];
            snprintf(why, sizeof why, "%s, on device %" PRIu64, esker_status_name((esker_status)status),
                     wait->outcomes->device);
            fail_after(entry, number, wait->number, (esker_status)status, why);
        } else if (!wait->event && !wait->outcomes && wait->number < q->done) {
            const esker__entry *before = esker__queue_entry(q, wait->number);
            if (q->made - wait->number <= q->capacity && before->status != ESKER_OK)
                fail_after(entry, number, wait->number, before->status, before->message);
        }
    }
}

/* Those of this device that run already fail when what they come after does. */
void esker__queue_poison(esker__queue *q, uint64_t failed)
{
    const esker__entry *entry = esker__queue_entry(q, failed);
    for (uint64_t n = failed + 1; n < q->made; n++) {
        esker__entry *later = esker__queue_entry(q, n);
        for (int i = 0; i < later->n_waits; i++) {
            const esker__wait *wait = &later->waits[i];
            if (!wait->event && !wait->outcomes && wait->number == failed)
                fail_after(later, n, failed, entry->status, entry->message);
        }
    }
}
