#include "tensor/handles.h"

#include <pthread.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define FIRST_CHUNK 64 /* headers; each chunk has twice as many as the one before */
#define MAX_CHUNKS  24
/* Released headers that wait before the first of them is used again. */
#define RESTING 1024
#define LISTED  16 /* tensors that a report names */

static struct {
    pthread_mutex_t lock;
    esker_tensor *chunks[MAX_CHUNKS];
    atomic_int n_chunks; /* read without the lock: a chunk stays where it is */
    size_t n_used;       /* headers of the newest chunk that were ever used */
    esker_tensor *first, *last;
    size_t n_resting;
} headers = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t chunk_headers(int chunk)
{
    return (size_t)FIRST_CHUNK << chunk;
}

const char *esker__tensor_name(const esker_tensor *t, char buffer[ESKER__TENSOR_NAME_BYTES])
{
    char shape[ESKER_SHAPE_TEXT_BYTES];
    const char *label = t->label ? t->label : "";
    snprintf(buffer, ESKER__TENSOR_NAME_BYTES, "tensor %s%s%s %s", label, label[0] ? " " : "", esker_dtype_name(t->dtype),
             esker_shape_text(&t->shape, shape));
    return buffer;
}

/* ---- Coming and going ---- */

/* One that nobody has, or NULL when memory ran out. The lock is held. */
static esker_tensor *find_header(void)
{
    if (headers.n_resting > RESTING) {
        esker_tensor *t = headers.first;
        headers.first = t->next;
        headers.n_resting--;
        esker__free(t->label);
        return t;
    }
    int n = atomic_load_explicit(&headers.n_chunks, memory_order_relaxed);
    if (!n || headers.n_used == chunk_headers(n - 1)) {
        esker_tensor *chunk = n < MAX_CHUNKS ? esker__calloc(chunk_headers(n), sizeof *chunk) : NULL;
        if (!chunk) return NULL;
        headers.chunks[n] = chunk;
        headers.n_used = 0;
        atomic_store_explicit(&headers.n_chunks, ++n, memory_order_release);
    }
    return &headers.chunks[n - 1][headers.n_used++];
}

esker_tensor *esker__tensor_begin(esker_device *dev)
{
    pthread_mutex_lock(&headers.lock);
    esker_tensor *t = find_header();
    if (t) {
        uint32_t generation = t->generation + 1;
        memset(t, 0, sizeof *t);
        t->generation = generation;
        t->device = dev;
        atomic_store_explicit(&t->n_references, 1, memory_order_release);
    }
    pthread_mutex_unlock(&headers.lock);
    return t;
}

void esker__tensor_end(esker_tensor *tensor)
{
    pthread_mutex_lock(&headers.lock);
    tensor->device = NULL;
    tensor->next = NULL;
    if (headers.n_resting++)
        headers.last->next = tensor;
    else
        headers.first = tensor;
    headers.last = tensor;
    pthread_mutex_unlock(&headers.lock);
}

/* ---- Looking at a handle ---- */

static bool is_header(const esker_tensor *t)
{
    int n = atomic_load_explicit(&headers.n_chunks, memory_order_acquire);
    for (int i = 0; i < n; i++) {
        uintptr_t first = (uintptr_t)headers.chunks[i], at = (uintptr_t)t;
        if (at >= first && at < first + chunk_headers(i) * sizeof *t) return (at - first) % sizeof *t == 0;
    }
    return false;
}

esker_status esker__tensor_check(const esker_tensor *tensor, const char *what)
{
    char name[ESKER__TENSOR_NAME_BYTES];
    if (!tensor) return esker__fail(ESKER_ERR_INVALID, "%s: the tensor is NULL", what);
    if (!is_header(tensor)) return esker__fail(ESKER_ERR_INVALID, "%s: %p is no tensor", what, (const void *)tensor);
    if (atomic_load_explicit(&tensor->n_references, memory_order_relaxed) > 0) return ESKER_OK;
    return esker__fail(ESKER_ERR_INVALID, "%s: %s was released before (generation %" PRIu32 " of its handle)", what,
                       esker__tensor_name(tensor, name), tensor->generation);
}

esker_status esker__tensor_misused(const esker_tensor *tensor, const char *what)
{
    esker_status st = esker__tensor_check(tensor, what);
    if (st != ESKER_OK) esker__log(ESKER_LOG_ERROR, "%s", esker_last_error());
    return st;
}

/* ---- What is left ---- */

void esker__tensors_report(const esker_device *dev, int n_left)
{
    char name[ESKER__TENSOR_NAME_BYTES];
    esker_device_info info;
    int n_tensors = 0;
    uint64_t n_bytes = 0;
    esker_device_get_info(dev, &info);
    pthread_mutex_lock(&headers.lock);
    int n = atomic_load_explicit(&headers.n_chunks, memory_order_relaxed);
    /* Twice: the sum is said first. */
    for (int pass = 0, listed = 0; pass < 2 && (pass == 0 || n_tensors); pass++) {
        if (pass == 1)
            esker__log(ESKER_LOG_WARNING,
                       "%s: its last user is gone, but %d tensors of %" PRIu64 " bytes are not released, and keep it open",
                       info.display.name, n_tensors, n_bytes);
        for (int i = 0; i < n; i++) {
            size_t n_headers = i + 1 < n ? chunk_headers(i) : headers.n_used;
            for (size_t k = 0; k < n_headers && listed < LISTED; k++) {
                const esker_tensor *t = &headers.chunks[i][k];
                int n_references = atomic_load_explicit(&t->n_references, memory_order_relaxed);
                if (t->device != dev || n_references < 1) continue;
                if (pass == 0) {
                    n_tensors++;
                    n_bytes += t->n_bytes;
                } else {
                    esker__log(ESKER_LOG_WARNING, "  %s, %d references", esker__tensor_name(t, name), n_references);
                    listed++;
                }
            }
        }
        if (pass == 1 && n_tensors > listed) esker__log(ESKER_LOG_WARNING, "  and %d more", n_tensors - listed);
    }
    pthread_mutex_unlock(&headers.lock);
    if (!n_tensors)
        esker__log(ESKER_LOG_INFO, "%s: its last user is gone, but %d plans, parameters or other objects keep it open",
                   info.display.name, n_left);
}
