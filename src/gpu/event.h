/* What a submission waits for that is not of its own device: events, and how the submissions of other devices went. */
#ifndef ESKER_GPU_EVENT_H
#define ESKER_GPU_EVENT_H

#include <stdatomic.h>

#include <esker/submission.h>

#define ESKER__PENDING   (-1) /* in place of a status */
#define ESKER__FORGOTTEN (-2)

/** A submission's own reference to an event. */
void esker__event_hold(esker_event *event);
void esker__event_release(esker_event *event);
/** The status it was signalled with, or ESKER__PENDING. */
int esker__event_look(const esker_event *event);
const char *esker__event_label(const esker_event *event);

/** How the submissions of a device went: written by its owner, read by any thread, and outlives the device. */
typedef struct esker__outcomes {
    atomic_int refs;
    uint64_t device; /* its number in this process */
    esker_device *dev;
    struct esker__outcomes *next; /* in the list of open devices */
    atomic_uint_fast64_t n_made, n_done, first_failed;
    uint64_t capacity;
    atomic_uchar statuses[]; /* of number n at n % capacity */
} esker__outcomes;

/** For a device that opens: found by its number from now on. */
esker_status esker__outcomes_create(esker_device *dev, uint64_t capacity, esker__outcomes **out);
/** For one that closes: not found any more, and its reference returned. NULL is fine. */
void esker__outcomes_retire(esker__outcomes *outcomes);
/** A reference to those of an open device; NULL if none has that number. */
esker__outcomes *esker__outcomes_find(uint64_t device);
void esker__outcomes_release(esker__outcomes *outcomes);
/** What became of a submission: its status, ESKER__PENDING or ESKER__FORGOTTEN. */
int esker__outcomes_look(const esker__outcomes *outcomes, uint64_t number);

/** The device, if it is open and belongs to this thread, so that it stays open; else NULL. */
esker_device *esker__outcomes_own_device(const esker__outcomes *outcomes);

/** Something happened that another thread may sleep for. Costs a load where nobody sleeps. */
void esker__wake(void);
/** Sleep until `ready`, esker__wake() or `timeout_ns`; may return sooner. */
void esker__sleep(bool (*ready)(void *user), void *user, uint64_t timeout_ns);

#endif
