/*
 * The loader: one worker thread that fills given slots in order.
 *
 * Slots travel through one queue: they enter where they are given and leave where they are taken. The first n_filled of it
 * are ready; the worker fills the one behind them, without the lock. So the batch being filled is always `next` (what will
 * be taken) plus n_filled. A seek or a recall moves `next` under the worker's feet: it raises `generation`, and what the
 * worker finishes for an older generation is not counted.
 */
#include <esker/loader.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

enum { DEFAULT_SLOTS = 4 };

typedef struct slot {
    void *samples;
    int32_t *labels;
    bool given;
    int64_t epoch, index; /* of the batch it holds, once filled */
} slot;

struct esker_loader {
    esker_dataset *dataset;
    esker_loader_info info;
    bool shuffle, no_padding;
    uint64_t seed;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work; /* for the worker: a slot was given, the position moved, or it shall stop */
    pthread_cond_t done; /* for the others: a batch was filled, dropped, or slots were recalled */
    bool has_lock, has_work, has_done, has_thread;

    /* Under the lock. */
    slot slots[ESKER_LOADER_MAX_SLOTS];
    int queue[ESKER_LOADER_MAX_SLOTS]; /* slot numbers, n_given of them from `head` on, around */
    int head, n_given, n_filled;
    int64_t next_epoch, next_index; /* of the next take */
    uint64_t generation;
    uint64_t worker_generation; /* the generation for which the worker is writing; only while `writing` */
    bool writing, stop;

    /* The worker's own. */
    int32_t *order; /* n_samples of the data set; NULL unless shuffling */
    int64_t order_epoch;
    int32_t *indices; /* one batch */
};

/* ---- The worker ---- */

static void fill(esker_loader *loader, const slot *to, int64_t epoch, int64_t index)
{
    if (loader->shuffle && loader->order_epoch != epoch) {
        esker_dataset_info data;
        esker_dataset_get_info(loader->dataset, &data);
        /* Cannot fail: create() checked the count, and the mask keeps an endless run inside the range. */
        (void)esker_loader_order(loader->seed, epoch & UINT32_MAX, data.n_samples, loader->order);
        loader->order_epoch = epoch;
    }
    int32_t batch = loader->info.batch;
    int64_t first = index * batch;
    if (loader->no_padding && loader->info.n_samples - first < batch) batch = (int32_t)(loader->info.n_samples - first);
    for (int32_t i = 0; i < batch; i++) {
        int64_t place = first + i;
        loader->indices[i] = place >= loader->info.n_samples ? -1 : loader->shuffle ? loader->order[place] : (int32_t)place;
    }
    (void)esker_dataset_gather(loader->dataset, loader->indices, batch, to->samples,
                               to->labels); /* in range by construction */
}

static void *worker(void *argument)
{
    esker_loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->stop && loader->n_filled == loader->n_given) pthread_cond_wait(&loader->work, &loader->lock);
        if (loader->stop) break;
        int number = loader->queue[(loader->head + loader->n_filled) % loader->info.n_slots];
        slot to = loader->slots[number];
        int64_t index = loader->next_index + loader->n_filled;
        int64_t epoch = loader->next_epoch + index / loader->info.n_batches;
        index %= loader->info.n_batches;
        uint64_t generation = loader->generation;
        loader->worker_generation = generation;
        loader->writing = true;
        pthread_mutex_unlock(&loader->lock);

        fill(loader, &to, epoch, index);

        pthread_mutex_lock(&loader->lock);
        loader->writing = false;
        if (generation == loader->generation) {
            loader->slots[number].epoch = epoch;
            loader->slots[number].index = index;
            loader->n_filled++;
        }
        /* All takers, not one: whom the first leaves without a slot must learn that there is nothing to wait for. */
        pthread_cond_broadcast(&loader->done);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* ---- Making and ending ---- */

/* The program's signals are for its own threads: a handler must not find itself in ours. */
static int start_thread(esker_loader *loader)
{
    sigset_t all, old;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &old) != 0) return -1;
    int error = pthread_create(&loader->thread, NULL, worker, loader);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

static esker_status check_desc(const esker_loader_desc *desc, esker_loader_info *info)
{
    if (!desc || !desc->dataset) return esker__fail(ESKER_ERR_INVALID, "loader: no data set");
    esker_dataset_info data;
    esker_dataset_get_info(desc->dataset, &data);
    if (desc->batch < 1) return esker__fail(ESKER_ERR_INVALID, "loader: batch of %d, it must be 1 or more", desc->batch);
    if (desc->n_slots < 0 || desc->n_slots > ESKER_LOADER_MAX_SLOTS)
        return esker__fail(ESKER_ERR_INVALID, "loader: %d slots, it can be 1 to %d (0: %d)", desc->n_slots,
                           ESKER_LOADER_MAX_SLOTS, DEFAULT_SLOTS);
    if (desc->drop_last && desc->batch > data.n_samples)
        return esker__fail(ESKER_ERR_INVALID,
                           "loader: drop_last, and no batch of %d can be filled by %s with its %lld samples", desc->batch,
                           data.name, (long long)data.n_samples);
    *info = (esker_loader_info){.batch = desc->batch, .n_slots = desc->n_slots ? desc->n_slots : DEFAULT_SLOTS};
    if (!esker__mul_size((size_t)desc->batch, data.sample_bytes, &info->samples_bytes) ||
        !esker__mul_size((size_t)desc->batch, sizeof(int32_t), &info->labels_bytes) || info->samples_bytes > PTRDIFF_MAX)
        return esker__fail(ESKER_ERR_LIMIT,
                           "loader: a batch of %d samples of %zu bytes does not fit this machine's addresses", desc->batch,
                           data.sample_bytes);
    info->n_batches = desc->drop_last ? data.n_samples / desc->batch : (data.n_samples + desc->batch - 1) / desc->batch;
    info->n_samples = desc->drop_last ? info->n_batches * desc->batch : data.n_samples;
    return ESKER_OK;
}

esker_status esker_loader_create(const esker_loader_desc *desc, esker_loader **out)
{
    if (!out) return esker__fail(ESKER_ERR_INVALID, "esker_loader_create: out is NULL");
    *out = NULL;
    esker_loader_info info;
    esker_status st = check_desc(desc, &info);
    if (st != ESKER_OK) return st;
    esker_dataset_info data;
    esker_dataset_get_info(desc->dataset, &data);
    esker_loader *loader = esker__calloc(1, sizeof *loader);
    if (!loader) return esker__fail_memory(sizeof *loader, "a loader");
    loader->dataset = esker_dataset_ref(desc->dataset);
    loader->info = info;
    loader->shuffle = desc->shuffle;
    loader->no_padding = desc->no_padding;
    loader->seed = desc->seed;
    loader->order_epoch = -1;

    size_t order_bytes = 0;
    loader->indices = esker__malloc(info.labels_bytes);
    if (desc->shuffle && esker__mul_size((size_t)data.n_samples, sizeof *loader->order, &order_bytes))
        loader->order = esker__malloc(order_bytes);
    if (!loader->indices || (desc->shuffle && !loader->order)) {
        st = esker__fail_memory(info.labels_bytes + order_bytes, "a loader's order");
        goto fail;
    }
    loader->has_lock = pthread_mutex_init(&loader->lock, NULL) == 0;
    loader->has_work = loader->has_lock && pthread_cond_init(&loader->work, NULL) == 0;
    loader->has_done = loader->has_work && pthread_cond_init(&loader->done, NULL) == 0;
    int error = loader->has_done ? start_thread(loader) : -1;
    loader->has_thread = error == 0;
    if (!loader->has_thread) {
        st = esker__fail(ESKER_ERR_NO_MEMORY, "loader: no thread could be made: %s",
                         error > 0 ? strerror(error) : "a lock was refused");
        goto fail;
    }
    *out = loader;
    return ESKER_OK;
fail:
    esker_loader_destroy(loader);
    return st;
}

void esker_loader_destroy(esker_loader *loader)
{
    if (!loader) return;
    if (loader->has_thread) {
        pthread_mutex_lock(&loader->lock);
        loader->stop = true;
        pthread_cond_signal(&loader->work);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->thread, NULL);
    }
    if (loader->has_done) pthread_cond_destroy(&loader->done);
    if (loader->has_work) pthread_cond_destroy(&loader->work);
    if (loader->has_lock) pthread_mutex_destroy(&loader->lock);
    esker__free(loader->order);
    esker__free(loader->indices);
    esker_dataset_unref(loader->dataset);
    esker__free(loader);
}

/* ---- The consumer's side ---- */

void esker_loader_get_info(const esker_loader *loader, esker_loader_info *out)
{
    *out = loader->info;
}

esker_status esker_loader_give(esker_loader *loader, int number, void *samples, int32_t *labels)
{
    if (!loader) return esker__fail(ESKER_ERR_INVALID, "esker_loader_give: loader is NULL");
    if (number < 0 || number >= loader->info.n_slots)
        return esker__fail(ESKER_ERR_INVALID, "loader: slot %d, slots are 0 to %d", number, loader->info.n_slots - 1);
    if (!samples) return esker__fail(ESKER_ERR_INVALID, "loader: slot %d is given without memory for samples", number);
    pthread_mutex_lock(&loader->lock);
    bool given = loader->slots[number].given;
    if (!given) {
        loader->slots[number] = (slot){.samples = samples, .labels = labels, .given = true};
        loader->queue[(loader->head + loader->n_given++) % loader->info.n_slots] = number;
        pthread_cond_signal(&loader->work);
    }
    pthread_mutex_unlock(&loader->lock);
    if (given) return esker__fail(ESKER_ERR_INVALID, "loader: slot %d was given before and not taken since", number);
    return ESKER_OK;
}

/* The position, one batch on. Under the lock. */
static void advance(esker_loader *loader)
{
    if (++loader->next_index < loader->info.n_batches) return;
    loader->next_index = 0;
    loader->next_epoch++;
}

esker_status esker_loader_take(esker_loader *loader, esker_batch *out)
{
    if (!loader || !out) return esker__fail(ESKER_ERR_INVALID, "esker_loader_take: a pointer is NULL");
    bool waited = false;
    pthread_mutex_lock(&loader->lock);
    while (loader->n_filled == 0 && loader->n_given > 0) {
        waited = true;
        pthread_cond_wait(&loader->done, &loader->lock);
    }
    bool nothing = loader->n_filled == 0;
    if (!nothing) {
        const esker_loader_info *info = &loader->info;
        int number = loader->queue[loader->head];
        slot *from = &loader->slots[number];
        int64_t n_left = info->n_samples - from->index * info->batch;
        *out = (esker_batch){.slot = number,
                             .epoch = from->epoch,
                             .index = from->index,
                             .n_valid = n_left < info->batch ? (int32_t)n_left : info->batch,
                             .first = from->index == 0,
                             .last = from->index == info->n_batches - 1,
                             .waited = waited};
        from->given = false;
        loader->head = (loader->head + 1) % info->n_slots;
        loader->n_given--;
        loader->n_filled--;
        advance(loader);
    }
    pthread_mutex_unlock(&loader->lock);
    if (nothing)
        return esker__fail(ESKER_ERR_INVALID, "loader: none of the %d slots was given, so no batch can come",
                           loader->info.n_slots);
    return ESKER_OK;
}

void esker_loader_position(const esker_loader *loader, int64_t *out_epoch, int64_t *out_index)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&loader->lock; /* looking changes nothing but the lock */
    pthread_mutex_lock(lock);
    if (out_epoch) *out_epoch = loader->next_epoch;
    if (out_index) *out_index = loader->next_index;
    pthread_mutex_unlock(lock);
}

esker_status esker_loader_seek(esker_loader *loader, int64_t epoch, int64_t index)
{
    if (!loader) return esker__fail(ESKER_ERR_INVALID, "esker_loader_seek: loader is NULL");
    if (epoch < 0 || epoch > UINT32_MAX)
        return esker__fail(ESKER_ERR_INVALID, "loader: epoch %lld, it can be 0 to 2^32 - 1", (long long)epoch);
    if (index < 0 || index >= loader->info.n_batches)
        return esker__fail(ESKER_ERR_INVALID, "loader: batch %lld of an epoch, it can be 0 to %lld", (long long)index,
                           (long long)loader->info.n_batches - 1);
    pthread_mutex_lock(&loader->lock);
    if (epoch != loader->next_epoch || index != loader->next_index) {
        loader->next_epoch = epoch;
        loader->next_index = index;
        loader->n_filled = 0;
        loader->generation++;
        pthread_cond_signal(&loader->work);
    }
    pthread_mutex_unlock(&loader->lock);
    return ESKER_OK;
}

void esker_loader_recall(esker_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    for (int i = 0; i < loader->n_given; i++)
        loader->slots[loader->queue[(loader->head + i) % loader->info.n_slots]].given = false;
    loader->n_given = loader->n_filled = 0;
    uint64_t generation = ++loader->generation;
    pthread_cond_broadcast(&loader->done); /* takers learn that nothing comes */
    while (loader->writing && loader->worker_generation < generation) pthread_cond_wait(&loader->done, &loader->lock);
    pthread_mutex_unlock(&loader->lock);
}
