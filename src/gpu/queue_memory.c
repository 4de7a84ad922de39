/* The queue: memory that submissions which are held back will touch, and who has to wait for them because of it. */
#include "base/memory.h"
#include "gpu/queue_internal.h"

esker_status esker__queue_settle(esker_device *dev, const esker__range *range)
{
    esker__queue *q = dev->queue;
    uint64_t n_started = q->n_untracked;
    if (!esker__queue_holds(dev)) return ESKER_OK;
    for (size_t i = 0; i < q->n_awaited; i++) {
        const esker__awaited *a = &q->awaited[i];
        if (a->range.buffer == range->buffer && a->range.offset < range->offset + range->n_bytes &&
            range->offset < a->range.offset + a->range.n_bytes && a->number + 1 > n_started)
            n_started = a->number + 1;
    }
    return n_started > q->started ? esker__queue_start(dev, n_started - 1) : ESKER_OK;
}

/* Ranges of one submission that touch are one: most are neighbours in its arena. */
static bool merge(esker__awaited *a, const esker__range *range, uint64_t number)
{
    uint64_t end = range->offset + range->n_bytes, a_end = a->range.offset + a->range.n_bytes;
    if (a->number != number || a->range.buffer != range->buffer || range->offset > a_end || a->range.offset > end)
        return false;
    if (range->offset < a->range.offset) a->range.offset = range->offset;
    a->range.n_bytes = (end > a_end ? end : a_end) - a->range.offset;
    return true;
}

static void await(esker__queue *q, const esker__range *range, uint64_t number)
{
    for (size_t i = q->n_awaited; i-- > 0 && q->awaited[i].number == number;)
        if (merge(&q->awaited[i], range, number)) return;
    if (esker__grow((void **)&q->awaited, &q->awaited_capacity, q->n_awaited, sizeof *q->awaited))
        q->awaited[q->n_awaited++] = (esker__awaited){*range, number};
    else
        q->n_untracked = number + 1; /* everybody waits for it, then */
}

void esker__queue_await(esker_device *dev, uint64_t number, const esker__launch *launches, size_t n)
{
    esker__queue *q = dev->queue;
    if (!esker__queue_is_held(dev, number)) return;
    size_t n_left = 0;
    for (size_t i = 0; i < q->n_awaited; i++)
        if (q->awaited[i].number >= q->started) q->awaited[n_left++] = q->awaited[i];
    q->n_awaited = n_left;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < launches[i].n_storage; k++) await(q, &launches[i].storage[k], number);
}
