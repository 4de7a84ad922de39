/*
 * The queue of a device: submissions in order, each held back, running or done, and callbacks that are due. Its numbers only
 * grow: done <= started <= made, and delivered <= done. A submission's place in the ring is its number modulo the capacity.
 */
#ifndef ESKER_GPU_QUEUE_H
#define ESKER_GPU_QUEUE_H

#include "gpu/event.h"
#include "gpu/gpu.h"

/** What a submission does, for whom. */
typedef struct esker__job {
    void *owner; /* whose abandon it dies with: a plan */
    uint64_t ticket;
    /** Queue the dispatches; waits for nothing but the queue itself. */
    esker_status (*start)(void *owner, uint64_t ticket);
    /** It has finished, or never will if `st` says so, with the message set. The status is the submission's. */
    esker_status (*finish)(void *owner, uint64_t ticket, esker_status st);
} esker__job;

/**
 * Submit: starts at once where nothing is held back and nothing is waited for. A job that fails to start then is the caller's
 * failure, and was never queued. Runs no callbacks. `entered`: the caller knows that the device is.
 */
esker_status esker__queue_add(esker_device *dev, const esker__job *job, const esker_submit_desc *desc, bool entered,
                              uint64_t *out_number);
/**
 * Wait until a submission is done; its status, with its message. `throttle` as of esker__fence_wait(). Runs no callbacks. The device is entered
 * then, unless that was what failed.
 */
esker_status esker__queue_wait(esker_device *dev, uint64_t number, bool throttle);
/** Whether it is done, and then as above. */
esker_status esker__queue_poll(esker_device *dev, uint64_t number, bool *out_done);
/** Whether a submission is held back still. */
bool esker__queue_is_held(const esker_device *dev, uint64_t number);
/** Whether any is held back. */
bool esker__queue_holds(const esker_device *dev);
/** Wait until it has started. */
esker_status esker__queue_start(esker_device *dev, uint64_t number);
/** If it is held back: what these launches touch is waited for by esker__queue_settle() until it has started. */
void esker__queue_await(esker_device *dev, uint64_t number, const esker__launch *launches, size_t n);
/** Before an access to memory that is not a submission's: wait until everything that shall see it as it was has started. */
esker_status esker__queue_settle(esker_device *dev, const esker__range *range);
/** esker_device_finish() without the callbacks. */
esker_status esker__queue_drain(esker_device *dev);
/** Cancel what `owner` has held back, wait for what it has running, and forget it. */
void esker__queue_abandon(esker_device *dev, void *owner);
/**
 * Run the callbacks that are due, unless one runs already; at the end of public functions, which touch nothing afterwards:
 * a callback may have destroyed it. The value is `st`, with its message.
 */
esker_status esker__queue_deliver(esker_device *dev, esker_status st);
/** Whether that submission is done and its callback due, and it could be run here. */
bool esker__queue_owes(const esker_device *dev, uint64_t number);
/** The handle of a submission of the device. */
esker_submission esker__queue_handle(const esker_device *dev, uint64_t number, uint64_t ticket);

#endif
