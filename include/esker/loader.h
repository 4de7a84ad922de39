/**
 * Loaders: batches of a data set, in order or shuffled, filled ahead of their use by a thread of their own.
 *
 * The consumer owns the memory that batches are written to (for training the mapped staging buffers of a plan's inputs) and
 * names each piece by a slot number. It gives free slots, and takes filled ones back in the order of the batches:
 *
 *     esker_loader *loader;
 *     esker_loader_create(&(esker_loader_desc){.dataset = train, .batch = 64, .shuffle = true, .seed = 1}, &loader);
 *     for (int s = 0; s < 4; s++) esker_loader_give(loader, s, samples[s], labels[s]);
 *     for (;;) {
 *         esker_batch b;
 *         esker_loader_take(loader, &b);              // blocks only where the loader is the slower side
 *         ...use samples[b.slot], labels[b.slot]; wait until the device has read them...
 *         esker_loader_give(loader, b.slot, samples[b.slot], labels[b.slot]);
 *     }
 *
 * The order is a function of (seed, epoch, n_samples) and of nothing else: not of threads, timing, slots or batch size. A
 * loader never runs out; it goes on with the next epoch. In steady state giving and taking allocate nothing.
 *
 * Threads    A loader may be used from any thread, also by several at once, giving in one and taking in another. Only
 *            esker_loader_destroy() must be the last call.
 */
#ifndef ESKER_LOADER_H
#define ESKER_LOADER_H

#include "dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_loader esker_loader;

/** The most slots a loader takes. */
#define ESKER_LOADER_MAX_SLOTS 64

typedef struct esker_loader_desc {
    esker_dataset *dataset; /* the loader takes a reference */
    int32_t batch;          /* samples of a batch, >= 1; may exceed the data set unless drop_last */
    bool shuffle;           /* another order each epoch; else 0, 1, 2, ... always */
    bool drop_last;         /* leave out a last batch that is not full; else it is padded: zero samples, labels -1 */
    uint64_t seed;          /* of the shuffling */
    int n_slots;            /* slot numbers are 0..n_slots-1; 0 is 4, at most ESKER_LOADER_MAX_SLOTS */
    bool no_padding; /* a last batch that is not full is written as it is, n_valid samples: its slot needs no more room */
} esker_loader_desc;

/**
 * Create a loader and start its thread; it waits at epoch 0, batch 0 for the first slot.
 * Ownership  *out is destroyed with esker_loader_destroy().
 * Errors     ESKER_ERR_INVALID: no data set, batch < 1, n_slots out of range, or drop_last with a batch larger than the
 *            data set. ESKER_ERR_LIMIT: a batch with more bytes than an address can say. ESKER_ERR_NO_MEMORY, also when no
 *            thread can be made.
 */
ESKER_API esker_status esker_loader_create(const esker_loader_desc *desc, esker_loader **out);

/**
 * Stop the thread and free the loader, at any time, whatever was given or filled. It waits for at most the batch (or the
 * shuffling) in progress. After that no memory that was given is touched. Accepts NULL.
 */
ESKER_API void esker_loader_destroy(esker_loader *loader);

/** Fixed facts of a loader. */
typedef struct esker_loader_info {
    int32_t batch;
    int n_slots;
    int64_t n_samples;    /* samples of an epoch that are delivered: all, or fewer with drop_last */
    int64_t n_batches;    /* batches of an epoch */
    size_t samples_bytes; /* bytes a slot's samples need: batch * sample_bytes (less for a last batch without padding) */
    size_t labels_bytes;  /* bytes a slot's labels need: batch * 4 */
} esker_loader_info;

ESKER_API void esker_loader_get_info(const esker_loader *loader, esker_loader_info *out);

/**
 * Hand a free destination to the loader. Slots are filled in the order in which they are given.
 * Buffers    samples has samples_bytes bytes; labels has labels_bytes bytes, or is NULL when labels are not wanted. From
 *            now until the slot is taken (or recalled) the loader's thread writes there, front to back; it never reads.
 *            After a seek it may write a slot again.
 * Errors     ESKER_ERR_INVALID: a slot out of range, one that was given and not yet taken, or samples is NULL.
 */
ESKER_API esker_status esker_loader_give(esker_loader *loader, int slot, void *samples, int32_t *labels);

/** A filled batch. */
typedef struct esker_batch {
    int slot;         /* where it is; yours again */
    int64_t epoch;    /* from 0 */
    int64_t index;    /* in its epoch, 0..n_batches-1 */
    int32_t n_valid;  /* samples that are real; the other batch - n_valid are padding at the end, if there is padding */
    bool first, last; /* of its epoch */
    bool waited;      /* take() had to wait for it: the loader was the slower side */
} esker_batch;

/**
 * The next batch, in order; blocks until it is filled. Everything written to the slot is visible to the calling thread.
 * Errors     ESKER_ERR_INVALID: no slot is with the loader, so that waiting would never end.
 */
ESKER_API esker_status esker_loader_take(esker_loader *loader, esker_batch *out);

/** Where the next take() will be: *out_epoch from 0, *out_index in 0..n_batches-1. Either may be NULL. */
ESKER_API void esker_loader_position(const esker_loader *loader, int64_t *out_epoch, int64_t *out_index);

/**
 * Go on from another place, as after a resume: the next take() is batch `index` of `epoch`. Slots that were given stay
 * with the loader and are filled anew. Going where the loader already is keeps what was filled.
 * Errors     ESKER_ERR_INVALID: epoch outside 0..2^32-1, or index outside 0..n_batches-1.
 */
ESKER_API esker_status esker_loader_seek(esker_loader *loader, int64_t epoch, int64_t index);

/**
 * Take all slots back unread, so that their memory may be freed; the position stays. On return the loader's thread no
 * longer writes to any of them. A take() that waits in another thread fails.
 */
ESKER_API void esker_loader_recall(esker_loader *loader);

/**
 * The shuffled order of an epoch: out[i] is the sample at place i. This is what a loader with `shuffle` delivers.
 * Source     Fisher and Yates, drawn from Philox4x32-10 under `seed`, without bias.
 * Errors     ESKER_ERR_INVALID: epoch outside 0..2^32-1, n_samples outside 1..2^31-1, or out is NULL.
 */
ESKER_API esker_status esker_loader_order(uint64_t seed, int64_t epoch, int64_t n_samples, int32_t *out);

#ifdef __cplusplus
}
#endif
#endif
