/* Who keeps a device open, and what other threads leave for its owner to do. */
#include "gpu/internal.h"

#include "base/fail.h"
#include "base/memory.h"

/*
 * One word counts all references (low half) and how many of them belong to deferred work (high half), so that whoever
 * changes it learns from the value alone, without touching the device again, whether it is the one to act: at no references
 * to close the device, at none but deferred work's to run that work, since no owner will come by any more.
 */
#define ONE          ((uint_fast64_t)1)
#define ONE_DEFERRED (((uint_fast64_t)1 << 32) | 1)

static uint32_t all(uint_fast64_t refs)
{
    return (uint32_t)refs;
}

static uint32_t of_deferred(uint_fast64_t refs)
{
    return (uint32_t)(refs >> 32);
}

static void close_device(esker_device *dev)
{
    if (dev->platform) {
        /* Where another thread still has the context current, the objects die with it. */
        bool current = esker__platform_make_current(dev->platform) == ESKER_OK;
        for (int i = ESKER__N_PARTS - 1; i >= 0; i--)
            if (dev->parts[i].object) dev->parts[i].finish(dev->parts[i].object);
        esker__queue_destroy(dev, current);
        esker__kernels_finish(dev, current);
        esker__texels_destroy(dev, current);
        esker__platform_close(dev->platform);
    }
    esker__tuning_finish(dev);
    esker__free(dev->quarantined);
    esker__free(dev->driver);
    esker__free(dev->cache_dir);
    esker__free(dev->extensions);
    esker__free(dev);
}

/* Run what other threads deferred. In the owner's thread, or when nobody else refers to the device. */
static void run_deferred(esker_device *dev);

/* After `refs` became this by our own subtraction. */
static void settle(esker_device *dev, uint_fast64_t refs)
{
    if (all(refs) == 0)
        close_device(dev);
    else if (all(refs) == of_deferred(refs))
        run_deferred(dev);
}

static void subtract(esker_device *dev, uint_fast64_t n)
{
    settle(dev, atomic_fetch_sub_explicit(&dev->refs, n, memory_order_acq_rel) - n);
}

static void run_deferred(esker_device *dev)
{
    esker__deferred *item = atomic_exchange_explicit(&dev->deferred, NULL, memory_order_acq_rel);
    while (item) {
        esker__deferred *next = item->next;
        item->run(item);
        /* The device is there as long as an item is left, and after the last one only if somebody else refers to it. */
        subtract(dev, ONE_DEFERRED);
        item = next;
    }
}

void esker__device_collect(esker_device *dev)
{
    if (atomic_load_explicit(&dev->deferred, memory_order_relaxed) && esker__device_is_ours(dev)) run_deferred(dev);
}

void esker__device_defer(esker_device *dev, esker__deferred *item)
{
    /* Held until the end: from the moment the item is in the list, the owner may run it and close the device. */
    esker__device_hold(dev);
    atomic_fetch_add_explicit(&dev->refs, ONE_DEFERRED - ONE, memory_order_relaxed); /* the item's own reference */
    esker__deferred *first = atomic_load_explicit(&dev->deferred, memory_order_relaxed);
    do {
        item->next = first;
    } while (
        !atomic_compare_exchange_weak_explicit(&dev->deferred, &first, item, memory_order_release, memory_order_relaxed));
    subtract(dev, ONE);
}

esker_device *esker__device_hold(esker_device *dev)
{
    atomic_fetch_add_explicit(&dev->refs, ONE, memory_order_relaxed);
    return dev;
}

void esker__device_drop(esker_device *dev)
{
    if (dev) subtract(dev, ONE);
}

esker_device *esker_device_ref(esker_device *dev)
{
    atomic_fetch_add_explicit(&dev->users, 1, memory_order_relaxed);
    return esker__device_hold(dev);
}

void esker_device_unref(esker_device *dev)
{
    if (!dev) return;
    if (atomic_fetch_sub_explicit(&dev->users, 1, memory_order_acq_rel) == 1) {
        if (esker__device_is_ours(dev)) run_deferred(dev);
        for (int i = ESKER__N_PARTS - 1; i >= 0; i--) { /* the upper ones may release what the lower ones would report */
            uint_fast64_t refs = atomic_load_explicit(&dev->refs, memory_order_acquire);
            int n_left = (int)(all(refs) - of_deferred(refs)) - 1; /* but for this one */
            const esker__part *part = &dev->parts[i];
            if (n_left > 0 && part->object && part->abandoned) part->abandoned(part->object, dev, n_left);
        }
    }
    esker__device_drop(dev);
}

void *esker__device_part(const esker_device *dev, esker__part_name name)
{
    return dev->parts[name].object;
}

void esker__device_set_part(esker_device *dev, esker__part_name name, const esker__part *part)
{
    dev->parts[name] = *part;
}
