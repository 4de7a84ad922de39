/* How much of one track's time is also another's: unions of intervals, and what they share. */
#include "base/trace.h"

#include <stdlib.h>

#include "base/fail.h"

typedef struct interval {
    uint64_t begin, end;
} interval;

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const interval *)a)->begin, y = ((const interval *)b)->begin;
    return (x > y) - (x < y);
}

/* The spans of a track as disjoint intervals in order; how many. */
static size_t collect(const esker_trace *trace, int track, interval *out)
{
    size_t n = 0, n_out = 0;
    for (size_t i = 0; i < trace->n_spans; i++)
        if (trace->spans[i].track == track) out[n++] = (interval){trace->spans[i].begin_ns, trace->spans[i].end_ns};
    qsort(out, n, sizeof *out, compare);
    for (size_t i = 0; i < n; i++) {
        if (n_out && out[i].begin <= out[n_out - 1].end) {
            if (out[i].end > out[n_out - 1].end) out[n_out - 1].end = out[i].end;
        } else {
            out[n_out++] = out[i];
        }
    }
    return n_out;
}

esker_status esker_trace_get_overlap(esker_trace *trace, int a, int b, uint64_t *out_a_ns, uint64_t *out_both_ns)
{
    *out_a_ns = *out_both_ns = 0;
    esker_status st = ESKER_OK;
    interval *of_a = NULL, *of_b = NULL;
    pthread_mutex_lock(&trace->lock);
    int n_tracks = (int)trace->n_tracks;
    if (a < 0 || a >= n_tracks || b < 0 || b >= n_tracks) {
        st = esker__fail(ESKER_ERR_INVALID, "trace: overlap of tracks %d and %d, there are %d", a, b, n_tracks);
        goto done;
    }
    of_a = esker__malloc(trace->n_spans * sizeof *of_a);
    of_b = esker__malloc(trace->n_spans * sizeof *of_b);
    if (!of_a || !of_b) {
        st = esker__fail_memory(2 * trace->n_spans * sizeof *of_a, "trace");
        goto done;
    }
    size_t n_a = collect(trace, a, of_a), n_b = collect(trace, b, of_b);
    for (size_t i = 0; i < n_a; i++) *out_a_ns += of_a[i].end - of_a[i].begin;
    for (size_t i = 0, j = 0; i < n_a && j < n_b;) {
        uint64_t begin = of_a[i].begin > of_b[j].begin ? of_a[i].begin : of_b[j].begin;
        uint64_t end = of_a[i].end < of_b[j].end ? of_a[i].end : of_b[j].end;
        if (begin < end) *out_both_ns += end - begin;
        if (of_a[i].end < of_b[j].end)
            i++;
        else
            j++;
    }
done:
    pthread_mutex_unlock(&trace->lock);
    esker__free(of_a);
    esker__free(of_b);
    return st;
}
