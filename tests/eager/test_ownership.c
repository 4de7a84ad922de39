/* device test: who holds what calls on tensors made, in which thread, and what goes wrong: told once, and the rest goes on. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include <esker/memory.h>
#include "support/calls.h"

static const esker_shape x_shape = {2, {6, 20}}, w_shape = {2, {20, 9}};

/* ---- Ownership ---- */

static void scopes_release_what_is_not_kept(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    assert_ok(esker_scope_open(dev));
    esker_tensor *kept = NULL;
    assert_ok(esker_scope_open(dev));
    for (int i = 0; i < 10; i++) kept = esker_tensor_affine(esker_tensor_scalar(dev, (float)i), 2, 0);
    assert_int_equal(test_eager_counters().n_pending, 10);
    esker_tensor_ref(kept);
    assert_ok(esker_scope_close(dev));
    assert_int_equal(test_eager_counters().n_pending, 1);
    assert_true(test_item(kept) == 18);
    esker_tensor_unref(kept);
    /* The outermost queues what is still wanted. */
    kept = esker_tensor_ref(esker_tensor_scalar(dev, 1));
    esker_tensor *y = esker_tensor_ref(esker_tensor_neg(kept));
    assert_int_equal(test_eager_counters().n_pending, 1);
    assert_ok(esker_scope_close(dev));
    assert_int_equal(test_eager_counters().n_pending, 0);
    assert_true(test_item(y) == -1);
    esker_tensor_unref(y);
    esker_tensor_unref(kept);
    assert_fails(esker_scope_close(dev), ESKER_ERR_INVALID, "none is open");
}

/* What was called on tensors and never read is not run, and holds nothing. */
static void what_nobody_wants_is_not_computed(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_counters before, after;
    esker_tensor *x = esker_tensor_scalar(dev, 1);
    esker_device_get_counters(dev, &before);
    for (int i = 0; i < 5; i++) esker_tensor_unref(esker_tensor_exp(x));
    assert_ok(esker_eager_flush(dev));
    esker_device_get_counters(dev, &after);
    assert_true(after.dispatches == before.dispatches);
    esker_tensor_unref(x);
}

/* Many calls without a read: the list of what is pending is bounded. */
static void long_programs_are_run_in_parts(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_tensor *x = esker_tensor_scalar(dev, 0);
    for (int i = 0; i < 2500; i++) {
        esker_tensor *next = esker_tensor_affine(x, 1, 1);
        assert_non_null(next);
        esker_tensor_unref(x);
        x = next;
    }
    assert_true(test_item(x) == 2500);
    esker_tensor_unref(x);
}

/* ---- What goes wrong ---- */

static void failures_are_told_once_and_leave_the_rest_alone(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    char message[256];
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = test_uniform_tensor(&x_shape, 1), *w = test_uniform_tensor(&w_shape, 2), *fine = esker_tensor_neg(x);
    assert_null(esker_tensor_matmul(w, x, &(esker_matmul_desc){.transpose_b = true}));
    assert_non_null(strstr(esker_last_error(), "matmul(float32 [20, 9], float32 [6, 20])"));
    snprintf(message, sizeof message, "%s", esker_last_error());
    /* NULL runs through, and the message stays. */
    assert_null(esker_tensor_tanh(esker_tensor_add(esker_tensor_matmul(NULL, w, NULL), x)));
    assert_null(esker_tensor_concat((esker_tensor *const[]){x, NULL}, 2, 0));
    double value;
    assert_true(esker_tensor_item(NULL, &value) != ESKER_OK);
    assert_true(esker_tensor_backward(NULL, false) != ESKER_OK);
    assert_string_equal(esker_last_error(), message);
    /* A call that is made of several operations, of which a late one fails. */
    assert_null(esker_tensor_cosine_embedding(x, x, w, NULL));
    float got[120], want[120];
    test_read_floats(fine, got);
    test_read_floats(x, want);
    for (int i = 0; i < 120; i++) assert_true(got[i] == -want[i]);
    assert_ok(esker_scope_close(dev));
}

static void mapped_tensors_and_other_devices_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device(), *other = NULL;
    esker_tensor *x;
    void *address;
    float value = 3;
    assert_ok(esker_tensor_create(dev, &(esker_tensor_desc){.data = &value, .label = "numbers"}, &x));
    esker_tensor *y = esker_tensor_neg(x);
    assert_ok(esker_tensor_map(x, ESKER_MAP_WRITE, &address)); /* y is computed before */
    assert_null(esker_tensor_neg(x));
    assert_non_null(strstr(esker_last_error(), "neg: tensor numbers float32 [] is mapped"));
    *(float *)address = 5;
    assert_ok(esker_tensor_unmap(x));
    assert_true(test_item(y) == -3);
    esker_tensor_unref(y);
    y = esker_tensor_neg(x);
    assert_true(test_item(y) == -5);
    assert_ok(esker_device_open(NULL, &other));
    esker_tensor *z = esker_tensor_scalar(other, 1);
    assert_null(esker_tensor_add(x, z));
    assert_non_null(strstr(esker_last_error(), "add: tensors 0 and 1 are on different devices"));
    assert_fails(esker_tensor_assign(x, z), ESKER_ERR_INVALID, "different devices");
    esker_tensor_unref(z);
    esker_device_unref(other);
    esker_tensor_unref(x);
    esker_tensor_unref(y);
}

static void *release(void *x)
{
    esker_tensor_unref(x);
    return NULL;
}

/* The last reference to something pending, and to a history, returned by a thread that does not have the device. */
static void pending_tensors_may_be_released_anywhere(void **state)
{
    (void)state;
    esker_tensor *x = esker_tensor_scalar(test_device(), 1);
    assert_ok(esker_tensor_set_requires_grad(x, true));
    for (int i = 0; i < 60; i++) {
        pthread_t thread;
        esker_tensor *y = esker_tensor_neg(x), *z = esker_tensor_exp(y);
        esker_tensor_unref(y);
        if (i % 2) test_item(z);
        assert_int_equal(pthread_create(&thread, NULL, release, z), 0);
        if (i % 3 == 0) pthread_join(thread, NULL);
        esker_tensor *w = esker_tensor_square(x);
        assert_true(test_item(w) == 1);
        esker_tensor_unref(w);
        if (i % 3) pthread_join(thread, NULL);
    }
    assert_ok(esker_eager_flush(test_device()));
    esker_tensor_unref(x);
}

static void released_tensors_are_refused(void **state)
{
    (void)state;
    esker_tensor *x = esker_tensor_scalar(test_device(), 1), *other = esker_tensor_scalar(test_device(), 2), *out;
    double value;
    bool same;
    char text[32];
    esker_tensor_unref(x);
    assert_null(esker_tensor_add(other, x));
    assert_non_null(strstr(esker_last_error(), "add: tensor float32 [] was released before"));
    assert_null(esker_tensor_stack((esker_tensor *const[]){x, other}, 2, 0));
    assert_null(esker_tensor_rows(x, 0, 1));
    assert_null(esker_tensor_detach(x));
    assert_null(esker_tensor_get_grad(x));
    esker_tensor_zero_grad(x);
    assert_false(esker_tensor_requires_grad(x));
    assert_fails(esker_tensor_item(x, &value), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_at(x, NULL, &value), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_set(x, NULL, 1), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_text(x, text, sizeof text, NULL), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_array_equal(other, x, &same), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_all_close(x, other, 0, 0, &same), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_assign(other, x), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_assign(x, other), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_backward(x, false), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_set_requires_grad(x, true), ESKER_ERR_INVALID, "released before");
    assert_fails(esker_tensor_split_axis(x, 0, NULL, 1, &out), ESKER_ERR_INVALID, "released before");
    assert_true(test_item(other) == 2);
    esker_tensor_unref(other);
}

/* A plan that cannot be made: its results have no value, and say so; the device goes on. */
static void a_plan_that_fails_takes_only_what_was_pending(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    float got[64];
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = test_uniform_tensor(&(esker_shape){2, {1, 4}}, 1);
    esker_tensor *bad = esker_tensor_batch_norm(x, NULL); /* one value for a channel has no variance */
    assert_non_null(bad);
    assert_fails(esker_tensor_read(bad, 0, ESKER_TENSOR_REST, got), ESKER_ERR_INVALID, "batch_norm");
    assert_fails(esker_tensor_read(bad, 0, ESKER_TENSOR_REST, got), ESKER_ERR_INVALID, "has no value");
    assert_null(esker_tensor_neg(bad));
    assert_non_null(strstr(esker_last_error(), "has no value"));
    test_read_floats(esker_tensor_neg(x), got);
    assert_ok(esker_scope_close(dev));
}

/* When memory ran out, what is pending stays so, and comes right when some was freed. */
static void running_out_of_memory_loses_nothing(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    enum { N = 1 << 20 };
    float first[4], again[4];
    assert_ok(esker_device_open(NULL, &dev));
    esker_tensor *x = esker_tensor_random_uniform(dev, &(esker_shape){1, {N}}, 0, 1);
    assert_ok(esker_tensor_read(x, 7, 4, first));
    esker_tensor *y = esker_tensor_square(x), *loss = esker_tensor_sum(y, NULL, 0, false);
    assert_ok(esker_memory_set_limit(dev, ESKER_MEMORY_TEMPORARIES, 5 * N));
    assert_fails(esker_tensor_read(y, 7, 4, again), ESKER_ERR_NO_MEMORY, "4194304 bytes");
    assert_fails(esker_eager_flush(dev), ESKER_ERR_NO_MEMORY, "4194304 bytes");
    assert_ok(esker_memory_set_limit(dev, ESKER_MEMORY_TEMPORARIES, 16 * N));
    assert_ok(esker_tensor_read(y, 7, 4, again));
    for (int i = 0; i < 4; i++) assert_true(again[i] == first[i] * first[i]);
    double sum;
    assert_ok(esker_tensor_item(loss, &sum));
    assert_true(fabs(sum / N - 1.0 / 3) < 1e-3);
    esker_tensor_unref(y);
    esker_tensor_unref(x);
    esker_tensor_unref(loss);
    esker_device_unref(dev);
}

static void *call_elsewhere(void *x)
{
    static char message[256];
    esker_tensor *y = esker_tensor_neg(x);
    snprintf(message, sizeof message, "%s", y ? "" : esker_last_error());
    return message;
}

static void other_threads_are_refused(void **state)
{
    (void)state;
    esker_tensor *x = esker_tensor_scalar(test_device(), 1);
    pthread_t thread;
    void *message;
    assert_int_equal(pthread_create(&thread, NULL, call_elsewhere, x), 0);
    pthread_join(thread, &message);
    assert_non_null(strstr(message, "belongs to another thread"));
    esker_tensor *y = esker_tensor_neg(x);
    assert_true(test_item(y) == -1);
    esker_tensor_unref(y);
    esker_tensor_unref(x);
}

/* A device of its own: opened, used and closed with things pending, scopes open, and nothing released but the tensors. */
static void a_device_closes_with_calls_pending(void **state)
{
    (void)state;
    test_device();
    esker_device *dev;
    assert_ok(esker_device_open(NULL, &dev));
    assert_ok(esker_scope_open(dev));
    esker_tensor *x = esker_tensor_random_uniform(dev, &(esker_shape){1, {10}}, 0, 1);
    esker_tensor *y = esker_tensor_ref(esker_tensor_exp(x));
    double sum = test_item(esker_tensor_sum(y, NULL, 0, false));
    assert_true(sum > 10);
    esker_tensor_exp(esker_tensor_neg(y));
    esker_tensor_unref(y);
    esker_device_unref(dev);
    assert_ok(esker_device_open(NULL, &dev));
    x = esker_tensor_scalar(dev, 1);
    y = esker_tensor_neg(x);
    esker_device_unref(dev); /* the tensors keep it open */
    assert_true(test_item(y) == -1);
    esker_tensor_unref(x);
    esker_tensor_unref(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scopes_release_what_is_not_kept),
        cmocka_unit_test(what_nobody_wants_is_not_computed),
        cmocka_unit_test(long_programs_are_run_in_parts),
        cmocka_unit_test(failures_are_told_once_and_leave_the_rest_alone),
        cmocka_unit_test(mapped_tensors_and_other_devices_are_refused),
        cmocka_unit_test(a_plan_that_fails_takes_only_what_was_pending),
        cmocka_unit_test(pending_tensors_may_be_released_anywhere),
        cmocka_unit_test(released_tensors_are_refused),
        cmocka_unit_test(running_out_of_memory_loses_nothing),
        cmocka_unit_test(other_threads_are_refused),
        cmocka_unit_test(a_device_closes_with_calls_pending),
    };
    return test_finish(cmocka_run_group_tests_name("ownership of tensors", tests, NULL, NULL));
}
