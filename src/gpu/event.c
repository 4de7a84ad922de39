#include "gpu/event.h"

#include <pthread.h>
#include <time.h>

#include "base/fail.h"
#include "base/memory.h"
#include "gpu/internal.h"

/* ---- Sleeping ---- */

static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static atomic_int n_sleepers;

void esker__wake(void)
{
    /* A sleeper counts itself before it looks, and what it looks for was stored before this: one of the two sees the other. */
    if (!atomic_load(&n_sleepers)) return;
    pthread_mutex_lock(&sleep_lock);
    pthread_cond_broadcast(&woken);
    pthread_mutex_unlock(&sleep_lock);
}

void esker__sleep(bool (*ready)(void *user), void *user, uint64_t timeout_ns)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_mutex_lock(&sleep_lock);
    atomic_fetch_add(&n_sleepers, 1);
    if (!ready(user)) pthread_cond_timedwait(&woken, &sleep_lock, &until);
    atomic_fetch_sub(&n_sleepers, 1);
    pthread_mutex_unlock(&sleep_lock);
}

/* ---- Events ---- */

struct esker_event {
    atomic_int handles; /* the program's references */
    atomic_int refs;    /* one for all of these, and one for each submission that waits */
    atomic_int status;  /* or ESKER__PENDING */
    char *label;
};

esker_status esker_event_create(const char *label, esker_event **out)
{
    *out = NULL;
    esker_event *event = esker__calloc(1, sizeof *event);
    if (!event) return esker__fail_memory(sizeof *event, "event");
    event->label = esker__strdup(label ? label : "");
    if (!event->label) {
        esker__free(event);
        return esker__fail_memory(sizeof *event, "event");
    }
    atomic_init(&event->handles, 1);
    atomic_init(&event->refs, 1);
    atomic_init(&event->status, ESKER__PENDING);
    *out = event;
    return ESKER_OK;
}

esker_event *esker_event_ref(esker_event *event)
{
    if (event) atomic_fetch_add_explicit(&event->handles, 1, memory_order_relaxed);
    return event;
}

void esker__event_hold(esker_event *event)
{
    atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
}

void esker__event_release(esker_event *event)
{
    if (atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) != 1) return;
    esker__free(event->label);
    esker__free(event);
}

void esker_event_unref(esker_event *event)
{
    if (!event || atomic_fetch_sub_explicit(&event->handles, 1, memory_order_acq_rel) != 1) return;
    int pending = ESKER__PENDING;
    if (atomic_compare_exchange_strong(&event->status, &pending, ESKER_ERR_CANCELLED)) esker__wake();
    esker__event_release(event);
}

esker_status esker_event_signal(esker_event *event, esker_status status)
{
    int before = ESKER__PENDING;
    if (!atomic_compare_exchange_strong(&event->status, &before, (int)status))
        return esker__fail(ESKER_ERR_INVALID, "event %s was signalled before, with %s", event->label,
                           esker_status_name((esker_status)before));
    esker__wake();
    return ESKER_OK;
}

esker_status esker_event_reset(esker_event *event)
{
    if (atomic_load(&event->status) == ESKER__PENDING)
        return esker__fail(ESKER_ERR_INVALID, "event %s has not been signalled", event->label);
    int n = atomic_load(&event->refs) - 1;
    if (n > 0) return esker__fail(ESKER_ERR_INVALID, "event %s: %d submissions still wait for it", event->label, n);
    atomic_store(&event->status, ESKER__PENDING);
    return ESKER_OK;
}

int esker__event_look(const esker_event *event)
{
    return atomic_load(&event->status);
}

const char *esker__event_label(const esker_event *event)
{
    return event->label;
}

/* ---- Outcomes ---- */

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static esker__outcomes *open_devices;
static uint64_t n_devices;

esker_status esker__outcomes_create(esker_device *dev, uint64_t capacity, esker__outcomes **out)
{
    size_t n_bytes = sizeof(esker__outcomes) + (size_t)capacity * sizeof(atomic_uchar);
    esker__outcomes *outcomes = esker__calloc(1, n_bytes);
    *out = outcomes;
    if (!outcomes) return esker__fail_memory(n_bytes, "a device");
    atomic_init(&outcomes->refs, 1);
    atomic_init(&outcomes->first_failed, UINT64_MAX);
    outcomes->dev = dev;
    outcomes->capacity = capacity;
    pthread_mutex_lock(&open_lock);
    outcomes->device = ++n_devices;
    outcomes->next = open_devices;
    open_devices = outcomes;
    pthread_mutex_unlock(&open_lock);
    return ESKER_OK;
}

void esker__outcomes_retire(esker__outcomes *outcomes)
{
    if (!outcomes) return;
    pthread_mutex_lock(&open_lock);
    esker__outcomes **at = &open_devices;
    while (*at != outcomes) at = &(*at)->next;
    *at = outcomes->next;
    pthread_mutex_unlock(&open_lock);
    esker__outcomes_release(outcomes);
}

esker__outcomes *esker__outcomes_find(uint64_t device)
{
    pthread_mutex_lock(&open_lock);
    esker__outcomes *found = open_devices;
    while (found && found->device != device) found = found->next;
    if (found) atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&open_lock);
    return found;
}

void esker__outcomes_release(esker__outcomes *outcomes)
{
    if (atomic_fetch_sub_explicit(&outcomes->refs, 1, memory_order_acq_rel) == 1) esker__free(outcomes);
}

esker_device *esker__outcomes_own_device(const esker__outcomes *outcomes)
{
    esker_device *own = NULL;
    pthread_mutex_lock(&open_lock);
    for (const esker__outcomes *o = open_devices; o && !own; o = o->next)
        if (o == outcomes && atomic_load(&o->dev->owner) == esker__this_thread()) own = o->dev;
    pthread_mutex_unlock(&open_lock);
    return own;
}

int esker__outcomes_look(const esker__outcomes *outcomes, uint64_t number)
{
    if (number >= atomic_load(&outcomes->n_done)) return ESKER__PENDING;
    if (number < atomic_load(&outcomes->first_failed)) return ESKER_OK;
    int status = atomic_load(&outcomes->statuses[number % outcomes->capacity]);
    /* Asked last: had the place been given to a later one, that one would have been made by now. */
    return atomic_load(&outcomes->n_made) - number > outcomes->capacity ? ESKER__FORGOTTEN : status;
}
