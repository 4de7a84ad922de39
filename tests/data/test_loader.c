/* The loader: the order of batches, padding, positions, and threads that come and go. */
#include "support/test.h"

#include <esker/loader.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/memory.h"

/* Sample i holds two numbers made from i, its label is i % 10: a batch tells which samples it was made of. */
enum { ELEMS = 2, MAX_BATCH = 64, MAX_SLOTS = 8 };

static int32_t tag_of(int32_t i)
{
    return i * 7919 + 13;
}

static esker_dataset *numbered(int32_t n)
{
    float *samples = malloc((size_t)n * ELEMS * sizeof *samples);
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    assert_true(samples && labels);
    for (int32_t i = 0; i < n; i++) {
        samples[i * ELEMS] = (float)i;
        samples[i * ELEMS + 1] = (float)tag_of(i);
        labels[i] = i % 10;
    }
    esker_dataset *ds;
    assert_ok(esker_dataset_create(
        &(esker_dataset_desc){
            .sample_shape = {1, {ELEMS}}, .n_samples = n, .n_classes = 10, .samples = samples, .labels = labels},
        &ds));
    free(samples);
    free(labels);
    return ds;
}

/* Exactly as large as a batch needs, so that the sanitizer sees a write past it. */
typedef struct buffers {
    float *samples[MAX_SLOTS];
    int32_t *labels[MAX_SLOTS];
    int n;
} buffers;

static buffers buffers_make(const esker_loader *loader)
{
    esker_loader_info info;
    esker_loader_get_info(loader, &info);
    buffers b = {.n = info.n_slots};
    for (int i = 0; i < b.n; i++) {
        b.samples[i] = malloc(info.samples_bytes);
        b.labels[i] = malloc(info.labels_bytes);
        assert_true(b.samples[i] && b.labels[i]);
        memset(b.samples[i], 0xff, info.samples_bytes); /* NaN: nothing must be left of it */
    }
    return b;
}

static void buffers_free(buffers *b)
{
    for (int i = 0; i < b->n; i++) {
        free(b->samples[i]);
        free(b->labels[i]);
    }
}

static void give_all(esker_loader *loader, const buffers *b)
{
    for (int i = 0; i < b->n; i++) assert_ok(esker_loader_give(loader, i, b->samples[i], b->labels[i]));
}

/* Whether the batch is what `order` (NULL: 0, 1, 2, ...) says; cmocka's asserts may not be used in other threads. */
static bool batch_is_right(const float *samples, const int32_t *labels, const esker_batch *batch, const int32_t *order,
                           int32_t n_samples, int32_t batch_size)
{
    int64_t n_left = n_samples - batch->index * batch_size;
    if (batch->n_valid != (n_left < batch_size ? n_left : batch_size)) return false;
    for (int32_t i = 0; i < batch_size; i++) {
        int32_t place = (int32_t)batch->index * batch_size + i, want = order && i < batch->n_valid ? order[place] : place;
        bool padding = i >= batch->n_valid;
        if (samples[i * ELEMS] != (padding ? 0.0f : (float)want)) return false;
        if (samples[i * ELEMS + 1] != (padding ? 0.0f : (float)tag_of(want))) return false;
        if (labels[i] != (padding ? -1 : want % 10)) return false;
    }
    return true;
}

static const struct order_case {
    const char *name;
    int32_t n, batch;
    bool shuffle, drop_last;
    int n_slots;
    int64_t want_batches, want_samples;
} order_cases[] = {
    {"in order, even", 12, 4, false, false, 3, 3, 12},
    {"in order, a rest", 13, 4, false, false, 4, 4, 13},
    {"in order, the rest dropped", 15, 4, false, true, 4, 3, 12},
    {"one sample", 1, 1, true, false, 2, 1, 1},
    {"one slot", 129, 16, true, false, 1, 9, 129},
    {"batch larger than the set", 5, 64, true, false, 3, 1, 5},
    {"batch of the set", 64, 64, true, true, 3, 1, 64},
    {"shuffled, a rest", 127, 16, true, false, 4, 8, 127},
    {"shuffled, the rest dropped", 127, 16, true, true, 4, 7, 112},
    {"more slots than batches", 10, 8, true, false, 8, 2, 10},
    {"the default slots", 100, 7, true, false, 0, 15, 100},
};

/* Without padding the last batch ends where its samples do. */
static void a_rest_is_written_as_it_is(void **state)
{
    (void)state;
    enum { N = 10, BATCH = 4 };
    esker_dataset *ds = numbered(N);
    esker_loader *loader;
    assert_ok(esker_loader_create(&(esker_loader_desc){.dataset = ds, .batch = BATCH, .n_slots = 3, .no_padding = true},
                                  &loader));
    esker_dataset_unref(ds);
    float samples[3][BATCH * ELEMS];
    int32_t labels[3][BATCH];
    memset(samples, 0x55, sizeof samples);
    memset(labels, 0x55, sizeof labels);
    for (int i = 0; i < 3; i++) assert_ok(esker_loader_give(loader, i, samples[i], labels[i]));
    for (int i = 0; i < 3; i++) {
        esker_batch got;
        assert_ok(esker_loader_take(loader, &got));
        assert_int_equal(got.n_valid, i < 2 ? BATCH : N % BATCH);
        for (int k = 0; k < BATCH; k++) {
            bool written = k < got.n_valid;
            assert_true((samples[i][k * ELEMS] == (float)(i * BATCH + k)) == written);
            assert_int_equal(labels[i][k], written ? (i * BATCH + k) % 10 : 0x55555555);
        }
    }
    esker_loader_destroy(loader);
}

static void delivers_the_order(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof order_cases / sizeof *order_cases; k++) {
        const struct order_case *c = &order_cases[k];
        print_message("  %s\n", c->name);
        esker_dataset *ds = numbered(c->n);
        esker_loader *loader;
        assert_ok(esker_loader_create(&(esker_loader_desc){.dataset = ds,
                                                           .batch = c->batch,
                                                           .shuffle = c->shuffle,
                                                           .drop_last = c->drop_last,
                                                           .seed = 42,
                                                           .n_slots = c->n_slots},
                                      &loader));
        esker_dataset_unref(ds); /* the loader keeps it */
        esker_loader_info info;
        esker_loader_get_info(loader, &info);
        assert_int_equal(info.batch, c->batch);
        assert_int_equal(info.n_slots, c->n_slots ? c->n_slots : 4);
        assert_int_equal(info.n_batches, c->want_batches);
        assert_int_equal(info.n_samples, c->want_samples);
        assert_int_equal(info.samples_bytes, (size_t)c->batch * ELEMS * 4);
        assert_int_equal(info.labels_bytes, (size_t)c->batch * 4);
        buffers b = buffers_make(loader);
        give_all(loader, &b);
        int32_t *order = malloc((size_t)c->n * sizeof *order);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            assert_ok(esker_loader_order(42, epoch, c->n, order));
            for (int64_t index = 0; index < c->want_batches; index++) {
                int64_t at_epoch, at_index;
                esker_loader_position(loader, &at_epoch, &at_index);
                assert_int_equal(at_epoch, epoch);
                assert_int_equal(at_index, index);
                esker_batch got;
                assert_ok(esker_loader_take(loader, &got));
                assert_int_equal(got.epoch, epoch);
                assert_int_equal(got.index, index);
                assert_int_equal(got.first, index == 0);
                assert_int_equal(got.last, index == c->want_batches - 1);
                /* Slots come back in the order in which they were given. */
                assert_int_equal(got.slot, (epoch * c->want_batches + index) % info.n_slots);
                assert_true(batch_is_right(b.samples[got.slot], b.labels[got.slot], &got, c->shuffle ? order : NULL, c->n,
                                           c->batch));
                memset(b.samples[got.slot], 0xff, info.samples_bytes);
                assert_ok(esker_loader_give(loader, got.slot, b.samples[got.slot], b.labels[got.slot]));
            }
        }
        free(order);
        esker_loader_destroy(loader);
        buffers_free(&b);
    }
}

static void order_is_a_permutation_of_its_own(void **state)
{
    (void)state;
    static const int32_t counts[] = {1, 2, 3, 10, 127, 1000};
    static int32_t order[1000], again[1000], seen[1000];
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        int32_t n = counts[k];
        assert_ok(esker_loader_order(9, 5, n, order));
        memset(seen, 0, sizeof seen);
        for (int32_t i = 0; i < n; i++) {
            assert_in_range(order[i], 0, n - 1);
            assert_int_equal(seen[order[i]]++, 0);
        }
        assert_ok(esker_loader_order(9, 5, n, again));
        assert_memory_equal(order, again, (size_t)n * sizeof *order);
    }
    assert_ok(esker_loader_order(9, 6, 1000, again));
    int n_same = 0;
    for (int i = 0; i < 1000; i++) n_same += order[i] == again[i];
    assert_in_range(n_same, 0, 12); /* one is expected */
    assert_ok(esker_loader_order(10, 5, 1000, again));
    assert_memory_not_equal(order, again, sizeof order);
    /* The order is part of what "same seed, same bits" promises: it must not change between versions unnoticed. */
    assert_ok(esker_loader_order(1, 0, 8, order));
    static const int32_t fixed[8] = {2, 0, 5, 1, 7, 4, 3, 6};
    assert_memory_equal(order, fixed, sizeof fixed);

    assert_fails(esker_loader_order(1, -1, 8, order), ESKER_ERR_INVALID, "epoch -1");
    assert_fails(esker_loader_order(1, (int64_t)1 << 32, 8, order), ESKER_ERR_INVALID, "epoch 4294967296");
    assert_fails(esker_loader_order(1, 0, 0, order), ESKER_ERR_INVALID, "0 samples");
    assert_fails(esker_loader_order(1, 0, (int64_t)1 << 31, order), ESKER_ERR_INVALID, "2147483648 samples");
    assert_fails(esker_loader_order(1, 0, 8, NULL), ESKER_ERR_INVALID, "out is NULL");
}

/* Each sample at each place equally often: chi-square over 6 places, 6 samples, 6000 epochs. */
static void order_is_fair(void **state)
{
    (void)state;
    enum { N = 6, EPOCHS = 6000 };
    int count[N][N] = {{0}};
    int32_t order[N];
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        assert_ok(esker_loader_order(test_seed(), epoch, N, order));
        for (int i = 0; i < N; i++) count[i][order[i]]++;
    }
    double chi = 0, want = EPOCHS / (double)N;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) chi += (count[i][j] - want) * (count[i][j] - want) / want;
    /* 25 degrees of freedom: 60 is passed by chance once in ten thousand. */
    if (!(chi < 60)) print_error("chi-square %.1f (ESKER_TEST_SEED=%llu)\n", chi, (unsigned long long)test_seed());
    assert_true(chi < 60);
}

static void refuses(void **state)
{
    (void)state;
    esker_dataset *ds = numbered(10);
    const struct {
        esker_loader_desc desc;
        const char *part;
    } cases[] = {
        {{.dataset = NULL, .batch = 4}, "no data set"},
        {{.dataset = ds, .batch = 0}, "batch of 0"},
        {{.dataset = ds, .batch = -3}, "batch of -3"},
        {{.dataset = ds, .batch = 4, .n_slots = -1}, "-1 slots"},
        {{.dataset = ds, .batch = 4, .n_slots = 65}, "65 slots, it can be 1 to 64"},
        {{.dataset = ds, .batch = 11, .drop_last = true}, "no batch of 11 can be filled by data with its 10 samples"},
    };
    esker_loader *loader;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        loader = (esker_loader *)&loader;
        assert_fails(esker_loader_create(&cases[i].desc, &loader), ESKER_ERR_INVALID, cases[i].part);
        assert_null(loader);
    }
    assert_fails(esker_loader_create(NULL, &loader), ESKER_ERR_INVALID, "no data set");
    assert_fails(esker_loader_create(&cases[0].desc, NULL), ESKER_ERR_INVALID, "out is NULL");

    assert_ok(esker_loader_create(&(esker_loader_desc){.dataset = ds, .batch = 4, .n_slots = 2}, &loader));
    buffers b = buffers_make(loader);
    esker_batch got;
    assert_fails(esker_loader_take(loader, &got), ESKER_ERR_INVALID, "none of the 2 slots");
    assert_fails(esker_loader_give(loader, 2, b.samples[0], b.labels[0]), ESKER_ERR_INVALID, "slot 2, slots are 0 to 1");
    assert_fails(esker_loader_give(loader, -1, b.samples[0], b.labels[0]), ESKER_ERR_INVALID, "slot -1");
    assert_fails(esker_loader_give(loader, 1, NULL, b.labels[0]), ESKER_ERR_INVALID, "slot 1 is given without memory");
    assert_ok(esker_loader_give(loader, 1, b.samples[1], NULL)); /* labels are not wanted */
    assert_fails(esker_loader_give(loader, 1, b.samples[0], b.labels[0]), ESKER_ERR_INVALID, "slot 1 was given before");
    assert_ok(esker_loader_take(loader, &got));
    assert_int_equal(got.slot, 1);
    assert_true(b.samples[1][6] == 3.0f);
    assert_fails(esker_loader_take(loader, &got), ESKER_ERR_INVALID, "none of the 2 slots");
    assert_fails(esker_loader_seek(loader, -1, 0), ESKER_ERR_INVALID, "epoch -1");
    assert_fails(esker_loader_seek(loader, (int64_t)1 << 32, 0), ESKER_ERR_INVALID, "epoch 4294967296");
    assert_fails(esker_loader_seek(loader, 0, 3), ESKER_ERR_INVALID, "batch 3 of an epoch, it can be 0 to 2");
    assert_fails(esker_loader_seek(loader, 0, -1), ESKER_ERR_INVALID, "batch -1");
    esker_loader_destroy(loader);
    esker_loader_destroy(NULL);
    buffers_free(&b);
    esker_dataset_unref(ds);
}

/* Wherever one goes, what follows is what would have followed there. */
static void seeks(void **state)
{
    (void)state;
    enum { N = 103, BATCH = 10, N_BATCHES = 11 };
    static const int64_t places[][2] = {{0, 0}, {0, 5}, {3, 10}, {0, 0}, {3, 10}, {7, 1}, {7, 1}, {UINT32_MAX, 10}};
    esker_dataset *ds = numbered(N);
    esker_loader *loader;
    assert_ok(esker_loader_create(
        &(esker_loader_desc){.dataset = ds, .batch = BATCH, .shuffle = true, .seed = 4, .n_slots = 3}, &loader));
    esker_dataset_unref(ds);
    buffers b = buffers_make(loader);
    give_all(loader, &b);
    int32_t order[N];
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        for (int taken = 0; taken < 4; taken++) {
            int64_t epoch = places[k][0], index = places[k][1] + taken;
            if (epoch == UINT32_MAX && taken == 1) break; /* the end of all epochs */
            if (index >= N_BATCHES) {
                epoch++;
                index -= N_BATCHES;
            }
            if (taken == 0) assert_ok(esker_loader_seek(loader, epoch, index));
            esker_batch got;
            assert_ok(esker_loader_take(loader, &got));
            assert_int_equal(got.epoch, epoch);
            assert_int_equal(got.index, index);
            assert_ok(esker_loader_order(4, epoch, N, order));
            assert_true(batch_is_right(b.samples[got.slot], b.labels[got.slot], &got, order, N, BATCH));
            assert_ok(esker_loader_give(loader, got.slot, b.samples[got.slot], b.labels[got.slot]));
        }
    }
    esker_loader_destroy(loader);
    buffers_free(&b);
}

/* After a recall the memory is free to go; the position has not moved. The sanitizers see a late write. */
static void recalls(void **state)
{
    (void)state;
    enum { N = 500, BATCH = 64 };
    esker_dataset *ds = numbered(N);
    esker_loader *loader;
    assert_ok(esker_loader_create(
        &(esker_loader_desc){.dataset = ds, .batch = BATCH, .shuffle = true, .seed = 8, .n_slots = MAX_SLOTS}, &loader));
    esker_dataset_unref(ds);
    int32_t order[N];
    int64_t epoch = 0, index = 0;
    esker_batch got;
    for (int round = 0; round < 200; round++) {
        buffers b = buffers_make(loader);
        give_all(loader, &b);
        for (int i = 0; i < round % 4; i++) {
            assert_ok(esker_loader_take(loader, &got));
            assert_int_equal(got.epoch, epoch);
            assert_int_equal(got.index, index);
            assert_ok(esker_loader_order(8, epoch, N, order));
            assert_true(batch_is_right(b.samples[got.slot], b.labels[got.slot], &got, order, N, BATCH));
            if (got.last) epoch++;
            index = got.last ? 0 : index + 1;
        }
        esker_loader_recall(loader);
        buffers_free(&b);
        assert_fails(esker_loader_take(loader, &got), ESKER_ERR_INVALID, "none");
    }
    esker_loader_destroy(loader);
}

static void is_destroyed_while_busy(void **state)
{
    (void)state;
    esker_dataset *ds = numbered(2000);
    for (int round = 0; round < 200; round++) {
        esker_loader *loader;
        assert_ok(esker_loader_create(&(esker_loader_desc){.dataset = ds,
                                                           .batch = MAX_BATCH,
                                                           .shuffle = round & 1,
                                                           .seed = (uint64_t)round,
                                                           .n_slots = 1 + round % MAX_SLOTS},
                                      &loader));
        buffers b = buffers_make(loader);
        if (round % 5) give_all(loader, &b);
        esker_batch got;
        for (int i = 0; i < round % 3 && i < b.n && round % 5; i++) assert_ok(esker_loader_take(loader, &got));
        if (round % 7 == 0) assert_ok(esker_loader_seek(loader, round, round % 32));
        esker_loader_destroy(loader);
        buffers_free(&b);
    }
    esker_dataset_unref(ds);
}

static void steady_state_allocates_nothing(void **state)
{
    (void)state;
    esker_dataset *ds = numbered(300);
    esker_loader *loader;
    assert_ok(esker_loader_create(&(esker_loader_desc){.dataset = ds, .batch = 7, .shuffle = true}, &loader));
    buffers b = buffers_make(loader);
    uint64_t before = esker__heap_allocations();
    give_all(loader, &b);
    for (int i = 0; i < 200; i++) {
        esker_batch got;
        assert_ok(esker_loader_take(loader, &got));
        assert_ok(esker_loader_give(loader, got.slot, b.samples[got.slot], b.labels[got.slot]));
    }
    assert_int_equal(esker__heap_allocations(), before);
    esker_loader_destroy(loader);
    buffers_free(&b);
    esker_dataset_unref(ds);
}

/* ---- Several consumers of one loader ---- */

enum { SHARED_N = 259, SHARED_BATCH = 8, SHARED_BATCHES = 33, SHARED_EPOCHS = 8, N_THREADS = 3 };

typedef struct shared {
    esker_loader *loader;
    buffers b;
    int32_t order[SHARED_EPOCHS + 1][SHARED_N];
    atomic_int n_taken[SHARED_EPOCHS + 1][SHARED_BATCHES];
    atomic_int n_left, n_wrong;
} shared;

static void *consume(void *argument)
{
    shared *s = argument;
    while (atomic_fetch_sub(&s->n_left, 1) > 0) {
        esker_batch got;
        if (esker_loader_take(s->loader, &got) != ESKER_OK) {
            /* All slots are with the other threads at this moment: that is an answer too. Try again. */
            atomic_fetch_add(&s->n_left, 1);
            continue;
        }
        if (got.epoch > SHARED_EPOCHS || !batch_is_right(s->b.samples[got.slot], s->b.labels[got.slot], &got,
                                                         s->order[got.epoch], SHARED_N, SHARED_BATCH)) {
            atomic_fetch_add(&s->n_wrong, 1);
        } else {
            atomic_fetch_add(&s->n_taken[got.epoch][got.index], 1);
        }
        if (esker_loader_give(s->loader, got.slot, s->b.samples[got.slot], s->b.labels[got.slot]) != ESKER_OK)
            atomic_fetch_add(&s->n_wrong, 1);
    }
    return NULL;
}

static void serves_several_threads(void **state)
{
    (void)state;
    static shared s;
    esker_dataset *ds = numbered(SHARED_N);
    assert_ok(esker_loader_create(
        &(esker_loader_desc){.dataset = ds, .batch = SHARED_BATCH, .shuffle = true, .seed = 2, .n_slots = 5}, &s.loader));
    for (int e = 0; e <= SHARED_EPOCHS; e++) assert_ok(esker_loader_order(2, e, SHARED_N, s.order[e]));
    s.b = buffers_make(s.loader);
    atomic_store(&s.n_left, SHARED_EPOCHS * SHARED_BATCHES);
    give_all(s.loader, &s.b);
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, consume, &s), 0);
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&s.n_wrong), 0);
    for (int e = 0; e < SHARED_EPOCHS; e++)
        for (int i = 0; i < SHARED_BATCHES; i++) assert_int_equal(atomic_load(&s.n_taken[e][i]), 1);
    esker_loader_destroy(s.loader);
    buffers_free(&s.b);
    esker_dataset_unref(ds);
}

static void *take_until_recalled(void *argument)
{
    esker_batch got;
    int n = 0;
    while (esker_loader_take(argument, &got) == ESKER_OK) n++;
    return (void *)(intptr_t)n;
}

/* A taker waits while seeks keep throwing away what was filled; the recall ends its waiting. */
static void seek_and_recall_under_a_taker(void **state)
{
    (void)state;
    esker_dataset *ds = numbered(400);
    esker_loader *loader;
    assert_ok(
        esker_loader_create(&(esker_loader_desc){.dataset = ds, .batch = 50, .shuffle = true, .n_slots = 6}, &loader));
    for (int round = 0; round < 60; round++) {
        buffers b = buffers_make(loader);
        give_all(loader, &b);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, take_until_recalled, loader), 0);
        for (int i = 0; i < 10; i++) assert_ok(esker_loader_seek(loader, round, i % 8));
        esker_loader_recall(loader);
        void *n;
        pthread_join(thread, &n);
        assert_in_range((intptr_t)n, 0, 6);
        buffers_free(&b);
    }
    esker_loader_destroy(loader);
    esker_dataset_unref(ds);
}

static void *take_once(void *argument)
{
    esker_batch got;
    return esker_loader_take(argument, &got) == ESKER_OK ? argument : NULL;
}

/* Two takers wait for one slot: one gets it, and the other is told that nothing is left to wait for (or this test hangs).
 */
static void a_taker_left_empty_handed_is_told(void **state)
{
    (void)state;
    enum { BATCH = 1 << 20 }; /* takes long enough to fill that both really wait */
    esker_dataset *ds = numbered(1000);
    for (int round = 0; round < 10; round++) {
        esker_loader *loader;
        assert_ok(esker_loader_create(&(esker_loader_desc){.dataset = ds, .batch = BATCH, .n_slots = 1}, &loader));
        buffers b = buffers_make(loader);
        give_all(loader, &b);
        pthread_t threads[2];
        int n_taken = 0;
        for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, take_once, loader), 0);
        for (int i = 0; i < 2; i++) {
            void *taken;
            pthread_join(threads[i], &taken);
            n_taken += taken != NULL;
        }
        assert_int_equal(n_taken, 1);
        esker_loader_destroy(loader);
        buffers_free(&b);
    }
    esker_dataset_unref(ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_the_order),
        cmocka_unit_test(a_rest_is_written_as_it_is),
        cmocka_unit_test(order_is_a_permutation_of_its_own),
        cmocka_unit_test(order_is_fair),
        cmocka_unit_test(refuses),
        cmocka_unit_test(seeks),
        cmocka_unit_test(recalls),
        cmocka_unit_test(is_destroyed_while_busy),
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(serves_several_threads),
        cmocka_unit_test(seek_and_recall_under_a_taker),
        cmocka_unit_test(a_taker_left_empty_handed_is_told),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
