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

static esker__heap *new_heap_of(source *s, bool whole, bool zeros)
{
    esker__heap *heap;
    assert_ok(esker__heap_create(&(esker__heap_desc){.first_block_bytes = 1 << 20,
                                                     .max_block_bytes = 64 << 20,
                                                     .whole = whole,
                                                     .zeros = zeros,
                                                     .user = s,
                                                     .make = make,
                                                     .destroy = destroy},
                                 &heap));
    return heap;
}

static esker__heap *new_heap(source *s, bool whole)
{
    return new_heap_of(s, whole, false);
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

/*
 * Takes until `target` bytes are in use, then gives at random until the next request fits again: the hardest case, memory that
 * is full all the time. Fragmentation is what of the blocks in use nobody has; rounding to 256 bytes is told apart.
 */
static const struct full_case {
    const char *name;
    uint64_t (*next)(esker__random *r);
    uint64_t target_bytes;
} full_cases[] = {
    {"scalars and rows", tiny, (uint64_t)20 << 20},
    {"any scale", any_scale, (uint64_t)1 << 30},
    {"layers", layered, (uint64_t)1 << 30},
    {"large", large, (uint64_t)1 << 30},
};

/* 300,000 operations in all; ESKER_TEST_OPS=2500000 makes the 10 million of the goal. */
static void nothing_leaks_and_little_is_wasted(void **state)
{
    (void)state;
    static esker__piece *live[65536];
    long n = n_operations(75000);
    for (size_t w = 0; w < sizeof full_cases / sizeof full_cases[0]; w++) {
        const struct full_case *c = &full_cases[w];
        source s = {0};
        esker__heap *heap = new_heap(&s, false);
        esker__heap_stats stats = {0};
        esker__random r;
        double worst = 0, sum = 0, f = 0;
        int n_samples = 0, n_live = 0;
        esker__random_init(&r, test_seed(), 800 + w);
        uint64_t wanted = c->next(&r);
        for (long i = 0; i < n; i++) {
            esker__heap_get_stats(heap, &stats);
            if (stats.asked_bytes + wanted <= c->target_bytes && n_live < 65536) {
                assert_ok(esker__heap_take(heap, wanted, false, &live[n_live++]));
                wanted = c->next(&r);
            } else {
                int k = (int)(uniform(&r) * 0.999999 * n_live);
                esker__heap_give(live[k]);
                live[k] = live[--n_live];
            }
            if (i < n / 4 || i % 97) continue;
            esker__heap_get_stats(heap, &stats);
            f = 1 - (double)stats.taken_bytes / (double)(stats.held_bytes - stats.idle_bytes);
            sum += f;
            n_samples++;
            if (f > worst) worst = f;
        }
        assert_ok(esker__heap_check(heap));
        print_message(
            "%-18s %ld operations: fragmentation %.1f %% on average, %.1f %% at worst, %.1f %% at the end, rounding "
            "%.1f %%; %llu hits, %llu misses\n",
            c->name, n, 100 * sum / n_samples, 100 * worst, 100 * f,
            100 * (1 - (double)stats.asked_bytes / (double)stats.taken_bytes), (unsigned long long)stats.hits,
            (unsigned long long)stats.misses);
        assert_true(sum / n_samples < 0.15);
        assert_true(f < 0.15);
        while (n_live) esker__heap_give(live[--n_live]);
        esker__heap_get_stats(heap, &stats);
        assert_true(stats.n_pieces == 0 && stats.asked_bytes == 0 && stats.taken_bytes == 0);
        assert_true(stats.idle_bytes == stats.held_bytes);
        assert_ok(esker__heap_check(heap));
        esker__heap_trim(heap, 0);
        assert_int_equal(s.n_live, 0);
        assert_true(s.held_bytes == 0);
        esker__heap_destroy(heap);
    }
}

/* ---- One thing at a time ---- */

static esker__piece *take(esker__heap *heap, uint64_t n_bytes)
{
    esker__piece *p;
    assert_ok(esker__heap_take(heap, n_bytes, false, &p));
    return p;
}

static void the_best_fit_is_taken(void **state)
{
    (void)state;
    source s = {0};
    esker__heap *heap = new_heap(&s, false);
    esker__heap_stats stats;
    esker__piece *wall[4], *hole[4];
    static const uint64_t sizes[] = {4096, 1024, 40960, 1536};
    for (int i = 0; i < 4; i++) {
        hole[i] = take(heap, sizes[i]);
        wall[i] = take(heap, 256);
    }
    uint64_t at[4];
    for (int i = 0; i < 4; i++) at[i] = hole[i]->offset;
    for (int i = 0; i < 4; i++) esker__heap_give(hole[i]);
    /* Each finds its own hole again, whatever the order, and one in between the next larger one. */
    assert_true((hole[3] = take(heap, 1500))->offset == at[3]);
    assert_true((hole[1] = take(heap, 1024))->offset == at[1]);
    assert_true((hole[0] = take(heap, 2000))->offset == at[0]);
    assert_true((hole[2] = take(heap, 20000))->offset == at[2]);
    /* The rests are taken, too: 2048 bytes behind hole 0. */
    esker__piece *rest = take(heap, 2048);
    assert_true(rest->offset == at[0] + 2048);
    /* Neighbours become one again, from either side. */
    esker__heap_give(hole[0]);
    esker__heap_give(wall[0]);
    esker__heap_give(rest);
    esker__heap_give(hole[1]);
    esker__piece *wide = take(heap, 4096 + 256 + 1024);
    assert_true(wide->offset == at[0]);
    assert_ok(esker__heap_check(heap));
    esker__heap_get_stats(heap, &stats);
    assert_int_equal(s.n_made, 1);
    assert_int_equal(stats.misses, 1);
    esker__heap_give(wide);
    esker__heap_give(hole[2]);
    esker__heap_give(hole[3]);
    for (int i = 1; i < 4; i++) esker__heap_give(wall[i]);
    assert_true(esker__heap_largest_free(heap) == 1 << 20);
    esker__heap_give(NULL);
    esker__heap_destroy(heap);
    assert_int_equal(s.n_live, 0);
}

/* A scalar does not take a corner of an arena's block. */
static void small_and_large_do_not_meet(void **state)
{
    (void)state;
    source s = {0};
    esker__heap *heap = new_heap(&s, false);
    esker__piece *arena = take(heap, 100 << 20);
    esker__heap_give(arena);
    esker__piece *scalar = take(heap, 4);
    arena = take(heap, 100 << 20);
    assert_ptr_not_equal(scalar->memory, arena->memory);
    assert_int_equal(s.n_made, 2);
    assert_true(s.held_bytes == (101 << 20)); /* a large request gets its size, small ones a block to share */
    esker__heap_give(scalar);
    esker__heap_give(arena);
    esker__heap_destroy(heap);
}

/* An empty large block is divided for a request of three quarters of it, and for less another is made. */
static void empty_large_blocks_keep_their_size(void **state)
{
    (void)state;
    source s = {0};
    esker__heap *heap = new_heap(&s, false);
    esker__piece *p = take(heap, 100 << 20);
    esker__heap_give(p);
    p = take(heap, 75 << 20);
    assert_int_equal(s.n_made, 1);
    assert_true(p->n_bytes == 75 << 20 && esker__heap_largest_free(heap) == 25 << 20);
    esker__heap_give(p);
    p = take(heap, (75 << 20) - 256);
    assert_int_equal(s.n_made, 2);
    esker__heap_give(p);
    esker__heap_destroy(heap);
}

/* Of two that fit equally well, that of the older block: the newer ones become empty, and can go. */
static void older_blocks_are_filled_first(void **state)
{
    (void)state;
    source s = {0};
    esker__heap *heap = new_heap(&s, false);
    for (int newest = 0; newest < 2; newest++) { /* given back in either order */
        esker__piece *block[2], *again[2];
        for (int i = 0; i < 2; i++) block[i] = take(heap, 10 << 20);
        const void *older = block[0]->memory;
        for (int i = 0; i < 2; i++) esker__heap_give(block[i ^ newest]);
        for (int i = 0; i < 2; i++) again[i] = take(heap, 10 << 20);
        assert_ptr_equal(again[0]->memory, older);
        assert_ptr_not_equal(again[1]->memory, older);
        for (int i = 0; i < 2; i++) esker__heap_give(again[i]);
        assert_int_equal(s.n_made, 2);
    }
    esker__heap_destroy(heap);
}

static void new_memory_is_clean_until_it_is_used(void **state)
{
    (void)state;
    source s = {0};
    esker__heap *heap = new_heap_of(&s, false, false);
    assert_false(take(heap, 1000)->clean); /* its blocks may be made of anything */
    esker__heap_destroy(heap);
    heap = new_heap_of(&s, false, true);
    esker__piece *a = take(heap, 1000), *b = take(heap, 1000);
    assert_true(a->clean && b->clean);
    esker__heap_give(a);
    a = take(heap, 300);
    assert_false(a->clean);
    esker__piece *c = take(heap, 100000);
    assert_true(c->clean);
    esker__heap_give(a);
    esker__heap_give(b);
    esker__heap_give(c); /* all one piece again */
    assert_false(take(heap, 200000)->clean);
    esker__heap_destroy(heap); /* with pieces in use */
    assert_int_equal(s.n_live, 0);
}

static void whole_blocks_are_not_divided(void **state)
{
    (void)state;
    source s = {0};
    esker__heap *heap = new_heap(&s, true);
    esker__piece *a = take(heap, 1000), *b = take(heap, 1000), *c = take(heap, 5000);
    assert_int_equal(s.n_made, 3);
    assert_true(a->memory != b->memory && a->offset == 0 && b->offset == 0 && s.held_bytes == 1024 + 1024 + 5120);
    esker__heap_give(a);
    esker__heap_give(c);
    assert_true((a = take(heap, 600)) != NULL && a->n_bytes == 1024); /* not under half of it */
    c = take(heap, 2000);                                             /* 5120 are more than twice as many */
    assert_int_equal(s.n_made, 4);
    assert_true((b = take(heap, 3000))->n_bytes == 5120);
    assert_ok(esker__heap_check(heap));
    esker__heap_destroy(heap);
    assert_int_equal(s.n_live, 0);
}

static void limits_and_failures_leave_it_as_it_was(void **state)
{
    (void)state;
    source s = {.max_bytes = 8 << 20};
    esker__heap *heap = new_heap(&s, false);
    esker__heap_stats stats;
    esker__piece *a = take(heap, 2 << 20), *b = take(heap, 3 << 19), *d = take(heap, 3 << 19), *p = a;
    assert_int_equal(esker__heap_take(heap, 4 << 20, false, &p), ESKER_ERR_NO_MEMORY);
    assert_null(p);
    assert_ok(esker__heap_check(heap));
    esker__heap_set_limits(heap, 6 << 20, UINT64_MAX);
    assert_fails(esker__heap_take(heap, 2 << 20, false, &p), ESKER_ERR_LIMIT,
                 "2097152 bytes asked, the limit is 6291456: 5242880 bytes in use");
    /* Small requests want a block of 1 MiB: there is just room. */
    esker__piece *c = take(heap, 10);
    assert_true(s.held_bytes == 6 << 20);
    esker__heap_give(b);
    esker__heap_give(d);
    esker__heap_get_stats(heap, &stats);
    assert_true(stats.idle_bytes == 3 << 20);
    /* Idle blocks make room for another size, and a lower limit takes them. */
    b = take(heap, (2 << 20) + 512);
    assert_true(s.held_bytes == (5 << 20) + 512);
    esker__heap_give(b);
    esker__heap_set_limits(heap, 4 << 20, UINT64_MAX);
    assert_true(s.held_bytes == 3 << 20);
    /* What is over the limit goes when it is given back. */
    esker__heap_set_limits(heap, 2 << 20, UINT64_MAX);
    assert_true(s.held_bytes == 3 << 20);
    esker__heap_give(a);
    assert_true(s.held_bytes == 1 << 20);
    /* Nothing idle is kept. */
    esker__heap_set_limits(heap, 0, 0);
    esker__heap_give(c);
    assert_true(s.held_bytes == 0 && s.n_live == 0);
    assert_fails(esker__heap_take(heap, UINT64_MAX, false, &p), ESKER_ERR_LIMIT, "no machine has them");
    assert_ok(esker__heap_check(heap));
    esker__heap_destroy(heap);
    esker__heap_destroy(NULL);
}

/* `tight` where a block of the usual size is too much. */
static void a_tight_block_is_no_larger_than_it_must_be(void **state)
{
    (void)state;
    source s = {.max_bytes = 4096};
    esker__heap *heap = new_heap(&s, false);
    esker__piece *p;
    assert_int_equal(esker__heap_take(heap, 1000, false, &p), ESKER_ERR_NO_MEMORY);
    assert_ok(esker__heap_take(heap, 1000, true, &p));
    assert_true(s.held_bytes == 1024);
    esker__heap_give(p);
    esker__heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_requests_follow_the_model),
        cmocka_unit_test(nothing_leaks_and_little_is_wasted),
        cmocka_unit_test(the_best_fit_is_taken),
        cmocka_unit_test(small_and_large_do_not_meet),
        cmocka_unit_test(empty_large_blocks_keep_their_size),
        cmocka_unit_test(older_blocks_are_filled_first),
        cmocka_unit_test(new_memory_is_clean_until_it_is_used),
        cmocka_unit_test(whole_blocks_are_not_divided),
        cmocka_unit_test(limits_and_failures_leave_it_as_it_was),
        cmocka_unit_test(a_tight_block_is_no_larger_than_it_must_be),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
