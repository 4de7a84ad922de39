/**
 * Submissions: steps of plans on their way through a device's queue, what they come after, and callbacks when they are done.
 *
 *   static esker_status trained(const esker_completion *done, void *user)
 *   {
 *       return done->status == ESKER_OK ? esker_plan_read(done->plan, done->submission.ticket, 0, user, 4) : done->status;
 *   }
 *   esker_plan_submit_with(plan, &(esker_submit_desc){.callback = trained, .user = &loss}, &submission);   returns at once
 *   ...                                             the CPU is free
 *   esker_device_poll(dev);                         now and then: callbacks run in here
 *
 * A device is one queue. Submissions start in the order in which they were made, each behind the dispatches before it, and
 * finish in that order. One that comes after something unfinished, an event or a submission of another device, is held back,
 * and so is all that was submitted behind it. It starts when the owner of the device polls, waits or submits next. Whatever
 * reads or writes memory directly (tensors, parameters, calls on tensors) that a held-back step uses keeps its place in the
 * queue: it waits until that step has started, and so for the event. Nothing else does.
 *
 * At most esker_device_desc.max_submissions are unfinished at one time, and at most ESKER_PLAN_SLOTS of one plan; one more
 * waits for the oldest, which is counted in esker_counters.throttles.
 *
 * A GPU that is busy with one submission may be handed the next one together with the one after that, behind one fence: fences cost small steps dearly.
 * Whoever waits, polls or asks for results hands over what there is; so does the next submission.
 *
 * Devices share no memory, so between two of them data goes through the host, and a submission that comes after one of
 * another device starts when that one is known to have finished: known, that is, to the other device's owner, who polls. This
 * is a wait of the CPU; no fence of one device is waited for by another's GPU.
 *
 * Callbacks run in the thread that owns the device, in order, inside esker_device_poll(), esker_device_finish(),
 * esker_submission_wait(), and the functions of plan.h that write, submit, wait, poll, read or destroy: at their end, or, where they wait for the
 * slot of an older step, before that slot is taken. Never inside
 * another callback. A callback may submit, read, wait and poll, and may destroy any plan that nobody uses afterwards, its own
 * included; it must not move the device to another thread. Results of its step are there to be read, unless steps of the same
 * plan that a callback submitted have taken their slot. A callback that submits steps of a plan also writes their inputs: those
 * that the program has written for its next step would be taken.
 *
 * Threads    The thread that owns the device; events in any.
 */
#ifndef ESKER_SUBMISSION_H
#define ESKER_SUBMISSION_H

#include "device.h"
#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Names a submission; all zero is none. A plain value: nothing to free, and never mistaken for a later one. */
typedef struct esker_submission {
    uint64_t device; /* number of the device in this process, from 1 */
    uint64_t number; /* of the submission on it, from 0 */
    uint64_t ticket; /* the step's, for esker_plan_read() */
} esker_submission;

/* ---- Events: work of the CPU that submissions wait for ---- */

typedef struct esker_event esker_event;

/**
 * An event that has not happened. `label` (copied, may be NULL) names it in messages.
 * Ownership  *out has one reference, returned with esker_event_unref(); submissions keep theirs.
 * Errors     ESKER_ERR_NO_MEMORY. *out is NULL then.
 */
ESKER_API esker_status esker_event_create(const char *label, esker_event **out);
/** Threads: any. */
ESKER_API esker_event *esker_event_ref(esker_event *event);
/** Accepts NULL. An event whose last reference goes before it was signalled happens as ESKER_ERR_CANCELLED. Threads: any. */
ESKER_API void esker_event_unref(esker_event *event);
/**
 * It has happened: ESKER_OK lets submissions that wait for it start; anything else makes them fail with that status.
 * Threads    Any. What this thread wrote before is seen by the steps that start then.
 * Errors     ESKER_ERR_INVALID: it was signalled before.
 */
ESKER_API esker_status esker_event_signal(esker_event *event, esker_status status);
/** Make a signalled event one that has not happened. ESKER_ERR_INVALID: not signalled, or a submission waits for it still. */
ESKER_API esker_status esker_event_reset(esker_event *event);

/* ---- Submitting ---- */

typedef struct esker_completion {
    esker_submission submission;
    esker_plan *plan;    /* NULL if it was destroyed */
    esker_status status; /* ESKER_ERR_LOST: the device or the step was lost; ESKER_ERR_CANCELLED: it never started */
    const char *message; /* of a failure, else ""; valid during the call */
    const char *label;   /* valid during the call */
} esker_completion;

/**
 * Called when a submission has finished or failed, once. What it returns other than ESKER_OK is told by esker_device_poll() or
 * esker_device_finish(), and goes to the log; everything goes on.
 */
typedef esker_status (*esker_submission_fn)(const esker_completion *done, void *user);

#define ESKER_SUBMISSION_MAX_WAITS 8

typedef struct esker_submit_desc {
    const esker_submission
        *after; /* start after these have finished, of this device or others; if one fails, so does this */
    int n_after;
    esker_event *const *events; /* and after these have happened */
    int n_events;               /* both together at most ESKER_SUBMISSION_MAX_WAITS */
    esker_submission_fn callback;
    void *user;
    const char *label; /* copied (47 bytes of it); in messages and traces; NULL: "step" */
    bool never_wait;   /* ESKER_ERR_LIMIT in place of waiting for the oldest, when the queue or the plan's slots are full */
} esker_submit_desc;

/**
 * Queue one step, as esker_plan_submit() does. Inputs are given as ever: those written through esker_plan_input_slot() may
 * still be filled until the events happen that the step waits for. `desc` may be NULL; so may `out`.
 * Errors     As of esker_plan_submit(). ESKER_ERR_INVALID: a submission in `after` that was never made, or whose device is
 *            closed, or whose outcome is forgotten; too many to wait for. ESKER_ERR_LIMIT: `never_wait`, and it is full; or
 *            callbacks that submit without ever returning. Nothing was queued then.
 *            What fails later, a dependency for instance, is told to the callback and by esker_submission_wait().
 */
ESKER_API esker_status esker_plan_submit_with(esker_plan *plan, const esker_submit_desc *desc, esker_submission *out);

#define ESKER_WAIT_FOREVER UINT64_MAX

/**
 * Wait until a submission of `dev` has finished, at most `timeout_ns` (0 only looks). *out_done (may be NULL) says whether it
 * has; time that runs out is no error. The status is the submission's once it has finished. The device remembers the outcome
 * of the last 2 * max_submissions, and that everything before the first failure went well.
 * Errors     What the submission failed with. ESKER_ERR_INVALID: a submission of another device, or one that was never made,
 *            or is forgotten, with the numbers.
 */
ESKER_API esker_status esker_submission_wait(esker_device *dev, esker_submission submission, uint64_t timeout_ns,
                                             bool *out_done);

#ifdef __cplusplus
}
#endif
#endif
