/* What a trainer counts: the window of steps that statistics are of, and the median of the times between their submissions. */
#include "train/trainer.h"

#include "support/test.h"

static void medians(void **state)
{
    static const struct {
        int n;
        double intervals[5], want;
    } rows[] = {{1, {3}, 3}, {2, {5, 2}, 3.5}, {3, {9, 1, 2}, 2}, {4, {10, 1, 3, 2}, 2.5}, {5, {5, 1, 4, 2, 3}, 3}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double intervals[5];
        esker_train_stats stats = {0};
        memcpy(intervals, rows[i].intervals, sizeof intervals);
        esker__meter meter = {.window_start_ns = 1000,
                              .last_submit_ns = 1000 + (uint64_t)rows[i].n * 500,
                              .window_steps = rows[i].n,
                              .loader_waits = 1,
                              .intervals = intervals};
        esker_device_get_counters(test_device(), &meter.at_start);
        esker__meter_end_window(&meter, test_device(), &stats);
        assert_int_equal(stats.steps, rows[i].n);
        assert_true(stats.step_seconds_median == rows[i].want);
        assert_true(stats.step_seconds_mean > 499e-9 && stats.step_seconds_mean < 501e-9);
        assert_true(stats.loader_waits_per_step == 1.0 / rows[i].n);
        assert_true(stats.dispatches_per_step == 0);
    }
}

/* Losses are of samples, correct ones are counted; an empty window leaves statistics alone. */
static void sums(void **state)
{
    (void)state;
    esker__meter meter = {0};
    esker_train_stats stats = {.steps = 77};
    esker__meter_add(&meter, 2, 3, 4);
    esker__meter_add(&meter, 5, 1, 2);
    assert_true(meter.loss_sum == 18 && meter.correct_sum == 4);
    assert_true(meter.samples == 6 && meter.steps == 2);
    esker__meter_end_window(&meter, test_device(), &stats);
    assert_int_equal(stats.steps, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(medians), cmocka_unit_test(sums)};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
