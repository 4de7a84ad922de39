/* device test: handles of tensors: references from any thread, a release too many, use after release, and what is left. */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>

#include <esker/eager.h>
#include <esker/ops.h>
#include <esker/plan.h>
#include <esker/pool.h>
#include "tensor/memory.h"

/* ---- The log ---- */

static struct {
    pthread_mutex_t lock;
    char text[8192];
    int n_lines;
} heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hear(esker_log_level level, const char *message, void *user)
{
    (void)level;
    (void)user;
    pthread_mutex_lock(&heard.lock);
    size_t n = strlen(heard.text);
    snprintf(heard.text + n, sizeof heard.text - n, "%s\n", message);
    heard.n_lines++;
    pthread_mutex_unlock(&heard.lock);
}

static void listen(void)
{
    heard.text[0] = '\0';
    heard.n_lines = 0;
    esker_log_set(hear, NULL, ESKER_LOG_WARNING);
}

static void assert_heard(const char *part)
{
    if (!strstr(heard.text, part)) fail_msg("\"%s\" is not in the log: %s", part, heard.text);
}

static esker_tensor *new_tensor(esker_device *dev, const char *label, int64_t n)
{
    esker_tensor *t;
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.shape = {1, {n}}, .label = label}, &t));
    return t;
}

/* ---- Misuse ---- */

static void a_release_too_many_is_found(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t = new_tensor(dev, "once", 3), *other = new_tensor(dev, "other", 3);
    uint64_t in_use = test_memory_in_use();
    listen();
    esker_tensor_unref(t);
    assert_int_equal(heard.n_lines, 0);
    esker_tensor_unref(t);
    assert_int_equal(heard.n_lines, 1);
    assert_heard("releasing a tensor: tensor once float32 [3] was released before (generation ");
    assert_non_null(strstr(esker_last_error(), "tensor once float32 [3] was released before"));
    for (int i = 0; i < 100; i++) esker_tensor_unref(t);
    assert_int_equal(heard.n_lines, 101);
    assert_true(test_memory_in_use() == in_use - 16);
    /* The next ones are none the worse for it. */
    esker_tensor *next[50];
    for (int i = 0; i < 50; i++) {
        float x = (float)i, got = -1;
        next[i] = new_tensor(dev, "next", 3);
        assert_ptr_not_equal(next[i], t);
        assert_ok(esker_tensor_write(next[i], 1, 1, &x));
        assert_ok(esker_tensor_read(next[i], 1, 1, &got));
        assert_true(got == x);
    }
    for (int i = 0; i < 50; i++) esker_tensor_unref(next[i]);
    esker_tensor_unref(other);
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
}

static void use_after_release_is_found(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t = new_tensor(dev, "gone", 4), *alive = new_tensor(dev, "alive", 4);
    float x[4] = {1, 2, 3, 4};
    void *address = x;
    esker_tensor_info info;
    esker_tensor_unref(t);
    listen();
    const char *why = "tensor gone float32 [4] was released before";
    assert_fails(esker_tensor_read(t, 0, 4, x), ESKER_ERR_INVALID, why);
    assert_fails(esker_tensor_write(t, 0, 4, x), ESKER_ERR_INVALID, why);
    assert_fails(esker_tensor_map(t, ESKER_MAP_READ, &address), ESKER_ERR_INVALID, why);
    assert_null(address);
    assert_fails(esker_tensor_unmap(t), ESKER_ERR_INVALID, why);
    assert_fails(esker_tensor_copy(alive, t), ESKER_ERR_INVALID, why);
    assert_fails(esker_tensor_copy(t, alive), ESKER_ERR_INVALID, why);
    assert_int_equal(heard.n_lines, 0); /* a status says it */
    assert_null(esker_tensor_ref(t));
    esker_tensor_get_info(t, &info);
    assert_int_equal(heard.n_lines, 2);
    assert_true(info.device == NULL && info.n_elems == 0);
    esker_graph *graph;
    esker_plan *plan;
    assert_ok(esker_graph_create(NULL, &graph));
    esker_node *y = esker_relu(esker_input(graph, "x", ESKER_DTYPE_F32, &(esker_shape){1, {4}}));
    assert_ok(esker_plan_compile(graph, &(esker_plan_desc){.device = dev, .outputs = &y, .n_outputs = 1}, &plan));
    assert_fails(esker_plan_bind_input(plan, 0, t), ESKER_ERR_INVALID, why);
    assert_null(esker_tensor_relu(t));
    assert_non_null(strstr(esker_last_error(), why));
    assert_ok(esker_plan_bind_input(plan, 0, alive));
    assert_ok(esker_plan_run(plan));
    esker_plan_destroy(plan);
    esker_graph_destroy(graph);
    /* What never was a tensor. */
    assert_fails(esker_tensor_read((esker_tensor *)(void *)x, 0, 1, x), ESKER_ERR_INVALID, "is no tensor");
    assert_fails(esker_tensor_read((esker_tensor *)((char *)alive + 8), 0, 1, x), ESKER_ERR_INVALID, "is no tensor");
    assert_fails(esker_tensor_read(NULL, 0, 1, x), ESKER_ERR_INVALID, "reading a tensor: the tensor is NULL");
    /* The device goes on. */
    assert_ok(esker_tensor_write(alive, 0, 4, x));
    assert_ok(esker_device_finish(dev));
    esker_tensor_unref(alive);
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
}

/* A thousand tensors later the handle is still nobody else's; much later it may be. */
static void handles_rest(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *t = new_tensor(dev, NULL, 1);
    esker_counters before, after;
    float x;
    esker_tensor_unref(t);
    for (int i = 0; i < 1000; i++) {
        esker_tensor *next = new_tensor(dev, NULL, 1);
        assert_ptr_not_equal(next, t);
        esker_tensor_unref(next);
    }
    assert_fails(esker_tensor_read(t, 0, 1, &x), ESKER_ERR_INVALID, "was released before");
    /* And no memory is needed for ever more of them, but for heaps of references that come at one time. */
    for (int i = 0; i < 3000; i++) esker_tensor_unref(new_tensor(dev, NULL, 1));
    esker_device_get_counters(dev, &before);
    for (int i = 0; i < 5000; i++) esker_tensor_unref(new_tensor(dev, NULL, 1));
    esker_device_get_counters(dev, &after);
    assert_true(after.heap_allocations == before.heap_allocations && after.gl_objects == before.gl_objects);
}

/* ---- Threads ---- */

#define N_THREADS 4
#define N_SHARED  8
#define N_ROUNDS  3000

static esker_tensor *shared[N_SHARED];

static void *ref_and_unref(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed;
    esker_tensor *kept[N_SHARED] = {NULL};
    for (int i = 0; i < N_ROUNDS; i++) {
        random = random * 1664525u + 1013904223u;
        int k = (int)(random >> 20) % N_SHARED;
        if (kept[k]) {
            esker_tensor_info info;
            esker_tensor_get_info(kept[k], &info);
            if (info.n_elems != 10 + k) return (void *)(uintptr_t)1;
            esker_tensor_unref(kept[k]);
            kept[k] = NULL;
        } else {
            kept[k] = esker_tensor_ref(shared[k]);
        }
    }
    for (int k = 0; k < N_SHARED; k++) esker_tensor_unref(kept[k]);
    for (int k = 0; k < N_SHARED; k++) esker_tensor_unref(shared[k]); /* one for each thread was taken before */
    return NULL;
}

/* The last reference of each is returned in some thread, while the owner makes and releases others. */
static void last_references_go_in_any_thread(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    uint64_t in_use = test_memory_in_use();
    for (int round = 0; round < 5; round++) {
        pthread_t threads[N_THREADS];
        for (int k = 0; k < N_SHARED; k++) {
            shared[k] = new_tensor(dev, "shared", 10 + k);
            for (int i = 1; i < N_THREADS; i++) esker_tensor_ref(shared[k]);
        }
        for (int i = 0; i < N_THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, (void *)(uintptr_t)(i + 1 + 10 * round)), 0);
        for (int i = 0; i < 200; i++) esker_tensor_unref(new_tensor(dev, "own", i + 1));
        for (int i = 0; i < N_THREADS; i++) {
            void *wrong;
            pthread_join(threads[i], &wrong);
            assert_null(wrong);
        }
        float x;
        assert_fails(esker_tensor_read(shared[0], 0, 1, &x), ESKER_ERR_INVALID, "was released before");
        assert_ok(esker_device_finish(dev)); /* any call on the device releases what was left to it */
        assert_true(test_memory_in_use() == in_use);
    }
}

static void *unref_there(void *tensor)
{
    esker_tensor_unref(tensor);
    return NULL;
}

static void unref_in_a_thread(esker_tensor *t)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, unref_there, t), 0);
    pthread_join(thread, NULL);
}

/* Nobody refers to the device but a tensor, which goes in another thread: that one closes the device. */
static void a_device_closes_behind_its_last_tensor(void **state)
{
    (void)state;
    test_device();
    for (int mapped = 0; mapped < 2; mapped++) {
        esker_device *dev;
        void *address;
        assert_ok(esker_device_open(NULL, &dev));
        esker_tensor *t = new_tensor(dev, "last", 100);
        if (mapped) assert_ok(esker_tensor_map(t, ESKER_MAP_WRITE, &address));
        esker_device_unref(dev);
        unref_in_a_thread(t);
    }
    /* And where the owner is the last: what other threads left is released on the way. */
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    esker_tensor *first = new_tensor(dev, "first", 10), *second = new_tensor(dev, "second", 10);
    unref_in_a_thread(first);
    unref_in_a_thread(second);
    listen();
    esker_device_unref(dev);
    assert_int_equal(heard.n_lines, 0);
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
}

/* ---- What is left ---- */

static void leaks_are_listed(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    esker_tensor *list[40];
    assert_ok(esker_device_open(NULL, &dev));
    list[0] = new_tensor(dev, "weights", 12);
    list[1] = esker_tensor_ref(new_tensor(dev, "bias", 7));
    esker_tensor_unref(new_tensor(dev, "good", 7));
    listen();
    esker_device_unref(esker_device_ref(dev)); /* not the last user */
    assert_int_equal(heard.n_lines, 0);
    esker_device_unref(dev);
    assert_int_equal(heard.n_lines, 3);
    assert_heard("its last user is gone, but 2 tensors of 76 bytes are not released");
    assert_heard("tensor weights float32 [12], 1 references");
    assert_heard("tensor bias float32 [7], 2 references");
    assert_null(strstr(heard.text, "good"));
    /* They work as before. */
    float x = 5, got = 0;
    assert_ok(esker_tensor_write(list[0], 11, 1, &x));
    assert_ok(esker_tensor_read(list[0], 11, 1, &got));
    assert_true(got == 5);
    esker_tensor_unref(list[0]);
    esker_tensor_unref(list[1]);
    esker_tensor_unref(list[1]);
    /* Of many, some. */
    assert_ok(esker_device_open(NULL, &dev));
    for (int i = 0; i < 40; i++) list[i] = new_tensor(dev, NULL, 5);
    listen();
    esker_device_unref(dev);
    assert_int_equal(heard.n_lines, 1 + 16 + 1);
    assert_heard("but 40 tensors of 800 bytes");
    assert_heard("and 24 more");
    for (int i = 0; i < 40; i++) esker_tensor_unref(list[i]);
    /* And none. */
    assert_ok(esker_device_open(NULL, &dev));
    esker_tensor_unref(new_tensor(dev, "good", 7));
    listen();
    esker_device_unref(dev);
    assert_int_equal(heard.n_lines, 0);
    esker_log_set(NULL, NULL, ESKER_LOG_ERROR);
}

/* ---- Pools of tensors ---- */

static void pools_hand_out_and_take_back(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    uint64_t in_use = test_memory_in_use();
    esker_pool *pool;
    esker_pool_stats s;
    esker_tensor *t[3], *more, *stranger = new_tensor(dev, "stranger", 1);
    esker_pool_desc desc = {.tensor = {.shape = {1, {100}}, .label = "batch"}, .n_tensors = 3};
    esker_counters before, after;
    assert_ok(esker_pool_create(dev, &desc, &pool));
    assert_true(test_memory_in_use() == in_use + 16 + 3 * 400);
    for (int i = 0; i < 3; i++) assert_ok(esker_pool_get(pool, &t[i]));
    assert_true(t[0] != t[1] && t[1] != t[2] && t[0] != t[2]);
    assert_fails(esker_pool_get(pool, &more), ESKER_ERR_NO_MEMORY, "pool: all 3 tensors are out");
    assert_null(more);
    float x = 8, got = 0;
    assert_ok(esker_tensor_write(t[1], 99, 1, &x));
    assert_ok(esker_pool_return(pool, t[1]));
    assert_fails(esker_pool_return(pool, t[1]), ESKER_ERR_INVALID, "tensor batch float32 [100] is not out");
    assert_fails(esker_pool_return(pool, stranger), ESKER_ERR_INVALID,
                 "tensor stranger float32 [1] is none of its tensors");
    assert_fails(esker_pool_return(pool, NULL), ESKER_ERR_INVALID, "NULL");
    assert_ok(esker_pool_get(pool, &more));
    assert_ptr_equal(more, t[1]);
    assert_ok(esker_tensor_read(more, 99, 1, &got));
    assert_true(got == 8);
    assert_ok(esker_pool_return(pool, more));
    assert_ok(esker_pool_return(pool, t[0]));
    esker_pool_get_stats(pool, &s);
    assert_true(s.n_tensors == 3 && s.n_out == 1 && s.n_out_peak == 3 && s.n_bytes == 1200 && s.gets == 4 &&
                s.refusals == 1);
    esker_device_get_counters(dev, &before);
    for (int i = 0; i < 1000; i++) {
        assert_ok(esker_pool_get(pool, &more));
        assert_ok(esker_pool_return(pool, more));
    }
    esker_device_get_counters(dev, &after);
    assert_true(after.heap_allocations == before.heap_allocations);
    /* What is out outlives the pool. */
    esker_pool_destroy(pool);
    assert_ok(esker_tensor_read(t[2], 0, 1, &got));
    esker_tensor_unref(t[2]);
    esker_tensor_unref(stranger);
    assert_true(test_memory_in_use() == in_use);
    desc.n_tensors = 0;
    assert_fails(esker_pool_create(dev, &desc, &pool), ESKER_ERR_INVALID, "a pool of 0 tensors");
    assert_null(pool);
    desc = (esker_pool_desc){.tensor = {.shape = {1, {-1}}}, .n_tensors = 2};
    assert_fails(esker_pool_create(dev, &desc, &pool), ESKER_ERR_INVALID, "tensor 0 of a pool of 2");
    esker_pool_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_too_many_is_found),
        cmocka_unit_test(use_after_release_is_found),
        cmocka_unit_test(handles_rest),
        cmocka_unit_test(last_references_go_in_any_thread),
        cmocka_unit_test(a_device_closes_behind_its_last_tensor),
        cmocka_unit_test(leaks_are_listed),
        cmocka_unit_test(pools_hand_out_and_take_back),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
