/*
 * The bookkeeping of the allocator, without a device, beside a model that is a list of ranges: random requests of several
 * kinds, limits, blocks that cannot be made, and the best fit itself. ESKER_TEST_OPS sets how many operations the long ones do.
 */
#include "support/test.h"

#include <stdio.h>

#include "base/philox.h"
#include "tensor/heap.h"

/* ---- Blocks that are only numbers ---- */

typedef struct source {
    uint64_t held_bytes, max_bytes; /* max 0: boundless */
    int n_live, n_made;
} source;

typedef struct fake_block {
    source *source;
    uint64_t n_bytes;
} fake_block;

static esker_status make(void *user, uint64_t n_bytes, void **out_memory)
{
    source *s = user;
    *out_memory = NULL;
    if (s->max_bytes && s->held_bytes + n_bytes > s->max_bytes) return ESKER_ERR_NO_MEMORY;
    fake_block *block = malloc(sizeof *block);
    *block = (fake_block){s, n_bytes};
    s->held_bytes += n_bytes;
    s->n_live++;
    s->n_made++;
    *out_memory = block;
    return ESKER_OK;
}

static void destroy(void *user, void *memory)
{
    source *s = user;
    fake_block *block = memory;
    assert_ptr_equal(block->source, s);
    s->held_bytes -= block->n_bytes;
    s->n_live--;
    free(block);
}

static esker__heap *new_heap(source *s, bool whole)
{
    esker__heap *heap;
    assert_ok(esker__heap_create(&(esker__heap_desc){.first_block_bytes = 1 << 20,
                                                     .max_block_bytes = 64 << 20,
                                                     .whole = whole,
                                                     .user = s,
                                                     .make = make,
                                                     .destroy = destroy},
                                 &heap));
    return heap;
}

static long n_operations(long usual)
{
    const char *text = getenv("ESKER_TEST_OPS");
    return text ? strtol(text, NULL, 10) : usual;
}

/* ---- The model: which ranges are taken ---- */

#define MOST 4096

typedef struct taken {
    esker__piece *piece;
    uint64_t asked_bytes, offset;
    void *memory;
} taken;

typedef struct model {
    taken list[MOST];
    int n;
    uint64_t asked_bytes;
} model;

/* A new range lies in its block, is aligned, and meets no other. Sampled when there are many: `every` one of them. */
static void check_new(const model *m, const esker__piece *p, uint64_t asked, int every)
{
    const fake_block *block = p->memory;
    assert_true(p->offset % ESKER__MEMORY_ALIGN == 0 && p->n_bytes >= asked && p->n_bytes <= block->n_bytes &&
                p->offset <= block->n_bytes - p->n_bytes);
    for (int i = m->n % every; i < m->n; i += every) {
        const esker__piece *q = m->list[i].piece;
        if (q->memory == p->memory && p->offset < q->offset + q->n_bytes && q->offset < p->offset + p->n_bytes)
            fail_msg("%llu bytes at %llu meet %llu at %llu (seed %llu)", (unsigned long long)p->n_bytes,
                     (unsigned long long)p->offset, (unsigned long long)q->n_bytes, (unsigned long long)q->offset,
                     (unsigned long long)test_seed());
    }
}

static void check_sums(const model *m, const esker__heap *heap, const source *s)
{
    esker__heap_stats stats;
    esker__heap_get_stats(heap, &stats);
    assert_ok(esker__heap_check(heap));
    assert_true(stats.n_pieces == (uint64_t)m->n && stats.asked_bytes == m->asked_bytes);
    assert_true(stats.held_bytes == s->held_bytes && stats.n_blocks == (uint64_t)s->n_live);
    assert_true(stats.taken_bytes >= stats.asked_bytes && stats.taken_bytes + stats.idle_bytes <= stats.held_bytes);
    assert_true(stats.held_peak_bytes >= stats.held_bytes && stats.asked_peak_bytes >= stats.asked_bytes);
}

static bool take_one(model *m, esker__heap *heap, uint64_t n_bytes, int every)
{
    esker__piece *p;
    if (esker__heap_take(heap, n_bytes, false, &p) != ESKER_OK) {
        assert_null(p);
        return false;
    }
    check_new(m, p, n_bytes, every);
    m->list[m->n++] = (taken){p, n_bytes, p->offset, p->memory};
    m->asked_bytes += n_bytes;
    return true;
}

static void give_one(model *m, int i)
{
    taken *t = &m->list[i];
    assert_true(t->piece->offset == t->offset && t->piece->memory == t->memory);
    m->asked_bytes -= t->asked_bytes;
    esker__heap_give(t->piece);
    *t = m->list[--m->n];
}

static void give_all(model *m)
{
    while (m->n) give_one(m, m->n - 1);
}

/* ---- Kinds of requests ---- */

static double uniform(esker__random *r)
{
    return (double)esker__random_range(r, 0, 1);
}

static uint64_t tiny(esker__random *r)
{
    return 1 + (uint64_t)(uniform(r) * 1000);
}

/* As many of 2 to 4 KiB as of 1 to 2 MiB. */
static uint64_t any_scale(esker__random *r)
{
    double x = uniform(r) * 15;
    uint64_t low = (uint64_t)1 << (9 + (int)x);
    return low + (uint64_t)(uniform(r) * (double)low);
}

/* Layers of a network: few sizes, most of them large. */
static uint64_t layered(esker__random *r)
{
    static const uint64_t widths[] = {1, 10, 64, 128, 784, 1024, 3072, 4096};
    return 4 * widths[(int)(uniform(r) * 7.99)] * (uniform(r) < 0.5 ? 64 : widths[(int)(uniform(r) * 7.99)]);
}

static uint64_t large(esker__random *r)
{
    return ((uint64_t)1 << 20) + (uint64_t)(uniform(r) * 15 * (1 << 20));
}

static const struct workload {
    const char *name;
    uint64_t (*next)(esker__random *r);
    int n_live;
} workloads[] = {
    {"scalars and rows", tiny, 3000},
    {"any scale", any_scale, 1000},
    {"layers", layered, 500},
    {"large", large, 100},
};
#define N_WORKLOADS ((int)(sizeof workloads / sizeof workloads[0]))

/* Take and give at random, about `n_live` at a time. */
static void step(model *m, esker__heap *heap, const struct workload *w, esker__random *r, int every)
{
    bool full = m->n >= MOST || m->n >= 2 * w->n_live;
    if (m->n == 0 || (!full && uniform(r) < 0.5 + 0.25 * (w->n_live - m->n) / w->n_live))
        take_one(m, heap, w->next(r), every);
    else
        give_one(m, (int)(uniform(r) * 0.999999 * m->n));
}

/* ---- Tests ---- */

static void random_requests_follow_the_model(void **state)
{
    (void)state;
    static model m;
    long n = n_operations(20000);
    for (int w = 0; w < N_WORKLOADS; w++) {
        source s = {0};
        esker__heap *heap = new_heap(&s, false);
        esker__random r;
        esker__random_init(&r, test_seed(), 700 + (uint64_t)w);
        for (long i = 0; i < (n < 20000 ? n : 20000); i++) {
            step(&m, heap, &workloads[w], &r, 1);
            if (i % 500 == 0) check_sums(&m, heap, &s);
        }
        check_sums(&m, heap, &s);
        give_all(&m);
        check_sums(&m, heap, &s);
        esker__heap_stats stats;
        esker__heap_get_stats(heap, &stats);
        assert_true(stats.idle_bytes == stats.held_bytes && stats.taken_bytes == 0);
        esker__heap_trim(heap, 0);
        assert_int_equal(s.n_live, 0);
        esker__heap_destroy(heap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests_follow_the_model),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
