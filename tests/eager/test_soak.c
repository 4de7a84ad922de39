/*
 * device test: many steps of a training by hand whose structure changes, with flat memory. ESKER_TEST_STEPS=100000 for as many
 * steps, in place of some hundreds.
 */
#include "support/test.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include <esker/eager.h>
#include <esker/memory.h>

enum { ROWS = 8, WIDTH = 6, LAYERS = 3 };

static esker_tensor *weights[LAYERS], *rate;

static esker_tensor *must(esker_tensor *t)
{
    if (!t) fail_msg("%s", esker_last_error());
    return t;
}

/* One step; `step` decides on its structure: how deep, with which nonlinearity, and what is read in between. */
static double train(esker_tensor *x, int step)
{
    esker_device *dev = test_device();
    double value = 0;
    assert_ok(esker_scope_open(dev));
    esker_tensor *y = x;
    for (int i = 0; i < 1 + step % LAYERS; i++) {
        y = esker_tensor_matmul(y, weights[i], NULL);
        y = step % 2 ? esker_tensor_tanh(y) : esker_tensor_gelu(y);
        if (step % 5 == 3) assert_ok(esker_tensor_item(must(esker_tensor_mean(y, NULL, 0, false)), &value));
    }
    esker_tensor *loss = must(esker_tensor_mse(y, esker_tensor_affine(x, 0.5f, 0)));
    if (step % 7 == 2) assert_ok(esker_tensor_item(loss, &value));
    assert_ok(esker_tensor_backward(loss, step % 11 == 5));
    for (int i = 0; i < LAYERS; i++) {
        esker_tensor *g = esker_tensor_get_grad(weights[i]);
        if (!g) continue;
        /* Bounded, so that gradients which add up over some steps blow nothing up. */
        esker_tensor *moved = esker_tensor_clamp(esker_tensor_sub(weights[i], esker_tensor_mul(rate, g)), -1, 1);
        assert_ok(esker_tensor_assign(weights[i], must(moved)));
        if (step % 4) esker_tensor_zero_grad(weights[i]);
    }
    if (step % 13 == 6) esker_tensor_set(weights[0], (int64_t[]){0, 0}, 0.1);
    if (step % 3 == 0) assert_ok(esker_tensor_item(loss, &value));
    assert_ok(esker_scope_close(dev));
    return value;
}

static long resident_kib(void)
{
    long pages = 0, all;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%ld %ld", &all, &pages) != 2) pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void memory_stays_flat(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const char *asked = getenv("ESKER_TEST_STEPS");
    int n_steps = asked ? atoi(asked) : 400, warm = n_steps / 4;
    float values[ROWS * WIDTH];
    test_uniform(values, ROWS * WIDTH, -1, 1, 9);
    const esker_shape shape = {2, {ROWS, WIDTH}}, square = {2, {WIDTH, WIDTH}};
    esker_tensor *x = must(esker_tensor_from_data(dev, ESKER_DTYPE_F32, &shape, values));
    rate = must(esker_tensor_scalar(dev, 0.05f));
    for (int i = 0; i < LAYERS; i++) {
        test_uniform(values, WIDTH * WIDTH, -0.5f, 0.5f, (uint64_t)i);
        weights[i] = must(esker_tensor_from_data(dev, ESKER_DTYPE_F32, &square, values));
        assert_ok(esker_tensor_set_requires_grad(weights[i], true));
    }
    esker_counters before = {0}, after;
    esker_eager_counters plans;
    long resident = 0;
    for (int step = 0; step < n_steps; step++) {
        double loss = train(x, step % 30 ? step % 60 : 0);
        if (!isfinite(loss)) fail_msg("the loss of step %d is %g", step, loss);
        if (step != warm) continue;
        esker_device_get_counters(dev, &before);
        resident = resident_kib();
    }
    esker_device_get_counters(dev, &after);
    long grown = resident_kib() - resident;
    esker_eager_get_counters(dev, &plans);
    print_message("%d steps, %d plans; device memory %llu to %llu bytes, process grew by %ld KiB\n", n_steps, plans.n_plans,
                  (unsigned long long)before.buffer_bytes, (unsigned long long)after.buffer_bytes, grown);
    if (n_steps >= 10000) {
        assert_true(after.buffer_bytes <= before.buffer_bytes);
        assert_true(grown < 4096);
    } else {
        assert_true(after.buffer_bytes < before.buffer_bytes + (8 << 20));
    }
    for (int i = 0; i < LAYERS; i++) {
        esker_tensor_zero_grad(weights[i]);
        esker_tensor_unref(weights[i]);
    }
    esker_tensor_unref(rate);
    esker_tensor_unref(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_stays_flat)};
    return test_finish(cmocka_run_group_tests_name("soak", tests, NULL, NULL));
}
