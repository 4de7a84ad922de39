/* Schedules: texts, what is refused, periods that are the whole training, warm-up, plateaus. The formulas: tests/optim. */
#include "support/test.h"

#include <math.h>
#include <stdio.h>

#include <esker/schedule.h>

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t warmup, total, t;
        double want; /* from 2 */
    } rows[] = {
        {"constant", 0, 0, 1000, 2},
        {"constant", 4, 0, 2, 2 * (0.25 + 0.75 * 0.5)},
        {"step:period=10", 0, 0, 20, 0.02},
        {"step:gamma=0.5,period=10", 0, 0, 19, 1},
        {"multi_step:milestones=3+5,gamma=0.5", 0, 0, 5, 0.5},
        {"exponential:gamma=0.5", 0, 0, 3, 0.25},
        {"linear:start=1,end=0.5,period=4", 0, 0, 2, 1.5},
        {"linear:start=1,to_zero,period=4", 0, 0, 3, 0.5},
        {"linear:start=1,to_zero,period=4", 0, 0, 9, 0},
        {"polynomial:power=2", 0, 10, 5, 0.5},
        {"cosine:min=1", 0, 20, 10, 1.5},
        {"cosine", 10, 30, 20, 1},    /* 20 steps are left behind the warm-up */
        {"cosine", 0, 0, 1000000, 2}, /* no end in sight */
        {"cosine_restarts:period=4,factor=2", 0, 0, 8, 1},
        {"one_cycle", 0, 100, 29, 2},
        {"one_cycle:linear,start=0.5,rise=0.5", 0, 101, 0, 1},
        {"one_cycle", 0, 100, 99, 8e-6},
        {"one_cycle", 0, 100, 500, 8e-6},
        {"linear:start=0.5,period=4/10/exponential:gamma=0.5", 0, 0, 2, 1.5},
        {"linear:start=0.5,period=4/10/exponential:gamma=0.5", 0, 0, 12, 0.5},
        {"constant/10/cosine", 0, 20, 15, 1},
        {"cosine/10/constant", 0, 20, 5, 1},
        {"step:period=2,epochs", 0, 0, 2, 0.2},
        {"constant:warmup=8,warmup_start=0.5", 0, 0, 4, 1.5},
        {"cosine", 0, 20, -5, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        esker_schedule *schedule;
        assert_ok(esker_schedule_from_text(rows[i].text, rows[i].warmup, &schedule));
        esker_schedule_set_total(schedule, rows[i].total);
        double got = (double)esker_schedule_lr(schedule, 2, rows[i].t);
        if (!(fabs(got - rows[i].want) <= 1e-6 * rows[i].want))
            fail_msg("%s at %lld: %.9g, not %.9g", rows[i].text, (long long)rows[i].t, got, rows[i].want);
        assert_int_equal(esker_schedule_per_epoch(schedule), strstr(rows[i].text, "epochs") != NULL);
        esker_schedule_unref(schedule);
    }
    assert_true(esker_schedule_lr(NULL, 2, 7) == 2);
    assert_false(esker_schedule_per_epoch(NULL));
    esker_schedule_unref(NULL);
    esker_schedule_set_total(NULL, 3);
    esker_schedule_report(NULL, 3);
}

static void wrong_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {NULL, "no text"},
        {"", "missing here"},
        {"cosin", "unknown schedule \"cosin\": there are constant, step, multi_step"},
        {"chain", "unknown schedule \"chain\""},
        {"cosine:", "missing here"},
        {"cosine:min", "min needs a value"},
        {"cosine:min=", "missing here"},
        {"cosine:min=nan", "min=nan: it must be a finite number"},
        {"cosine:min=0x1", "finite number"},
        {"cosine:min=1e999", "finite number"},
        {"cosine:min=-1", "min is -1, it must be at least 0"},
        {"cosine:period=1.5", "period=1.5: it must be a whole number"},
        {"cosine:period=99999999999999999999", "must be a count"},
        {"cosine:epochs=1", "epochs takes no value"},
        {"cosine:gamma=0.5", "schedule cosine has no \"gamma\"; it has period, min, epochs, warmup, warmup_start"},
        {"step", "schedule step: it needs a period of 1 or more"},
        {"step:period=5,gamma=2", "gamma is 2, it must be over 0 and at most 1"},
        {"exponential", "exponential: it needs gamma"},
        {"multi_step", "multi_step: it needs milestones"},
        {"multi_step:milestones=5+3", "milestone 3 behind 5: they must ascend"},
        {"multi_step:milestones=-5", "they must ascend"},
        {"multi_step:milestones=1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17", "more than 16 milestones"},
        {"linear:to_zero,end=0.5", "to_zero, and end is 0.5"},
        {"one_cycle:rise=1", "rise is 1, it must be over 0 and below 1"},
        {"constant:warmup_start=0.5", "warmup_start is 0.5 without warmup"},
        {"cosine/", "missing here"},
        {"cosine/10", "behind 10 a part is missing"},
        {"cosine/10/", "missing here"},
        {"cosine/x/cosine", "where a part begins=x"},
        {"cosine/0/cosine", "begins at 0, it must be 1 or more"},
        {"cosine/9/cosine/9/cosine", "milestone 9 behind 9"},
        {"cosine/9/plateau", "part 1 is a plateau"},
        {"cosine:min=00000000000000000000000000000000000000000000000000000000000000000001", "too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        esker_schedule *schedule = (esker_schedule *)&schedule;
        assert_fails(esker_schedule_from_text(rows[i].text, 0, &schedule), ESKER_ERR_INVALID, rows[i].part);
        assert_null(schedule);
    }
    esker_schedule *schedule;
    assert_fails(esker_schedule_from_text("constant:warmup=5", 6, &schedule), ESKER_ERR_INVALID,
                 "a warm-up of 6, and of 5");
    assert_fails(esker_schedule_from_text("constant", -6, &schedule), ESKER_ERR_INVALID, "warmup is -6");
}

static void wrong_descriptions(void **state)
{
    (void)state;
    static const esker_schedule_desc chained = {.kind = ESKER_SCHEDULE_CHAIN}, counts_epochs[2] = {{.per_epoch = true}};
    static const struct {
        esker_schedule_desc desc;
        const char *part;
    } rows[] = {
        {{.kind = (esker_schedule_kind)11}, "kind 11, there are 0 to 10"},
        {{.kind = (esker_schedule_kind)-1}, "kind -1"},
        {{.gamma = 0.5}, "schedule constant: gamma is 0.5, but it has none"},
        {{.kind = ESKER_SCHEDULE_COSINE, .min_lr = NAN}, "cosine: min is"},
        {{.kind = ESKER_SCHEDULE_COSINE, .period = -1}, "cosine: period is -1"},
        {{.kind = ESKER_SCHEDULE_PLATEAU, .patience = -2}, "plateau: patience is -2"},
        {{.kind = ESKER_SCHEDULE_EXPONENTIAL, .gamma = INFINITY}, "exponential: gamma is inf"},
        {{.n_milestones = 1}, "constant: 1 milestones, but it has none"},
        {{.kind = ESKER_SCHEDULE_MULTI_STEP, .n_milestones = 17}, "17 milestones, at most 16"},
        {{.kind = ESKER_SCHEDULE_CHAIN, .n_milestones = 1, .milestones = {4}}, "0 parts for 1 milestones"},
        {{.kind = ESKER_SCHEDULE_CHAIN, .n_milestones = 1, .milestones = {4}, .parts = &chained, .n_parts = 1},
         "1 parts for 1"},
        {{.kind = ESKER_SCHEDULE_CHAIN, .n_milestones = 1, .milestones = {4}, .parts = counts_epochs, .n_parts = 2},
         "part 0 counts epochs"},
        {{.parts = &chained, .n_parts = 1}, "constant: parts are of chains"},
        {{.warmup = -1}, "warmup is -1"},
    };
    esker_schedule *schedule;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_fails(esker_schedule_create(&rows[i].desc, &schedule), ESKER_ERR_INVALID, rows[i].part);
        assert_null(schedule);
    }
    assert_fails(esker_schedule_create(NULL, &schedule), ESKER_ERR_INVALID, "no description");
    assert_fails(esker_schedule_create(&rows[0].desc, NULL), ESKER_ERR_INVALID, "out is NULL");
}

/* A loss that is not a number is not better than any, first or later; a rate never rises because of min_lr. */
static void plateaus(void **state)
{
    (void)state;
    esker_schedule *schedule;
    assert_ok(esker_schedule_create(
        &(esker_schedule_desc){.kind = ESKER_SCHEDULE_PLATEAU, .patience = -1, .gamma = 0.5, .min_lr = 0.2, .warmup = 2},
        &schedule));
    assert_true(esker_schedule_lr(schedule, 1, 5) == 1.0f);
    esker_schedule_report(schedule, 3.0);
    assert_true(esker_schedule_lr(schedule, 1, 5) == 1.0f);
    esker_schedule_report(schedule, NAN);
    assert_true(esker_schedule_lr(schedule, 1, 5) == 0.5f);
    assert_true(esker_schedule_lr(schedule, 1, 1) == 0.375f); /* warming up to what it is */
    esker_schedule_report(schedule, 2.0);
    assert_true(esker_schedule_lr(schedule, 1, 5) == 0.5f);
    for (int i = 0; i < 5; i++) esker_schedule_report(schedule, 2.0);
    assert_true(esker_schedule_lr(schedule, 1, 5) == 0.2f);
    assert_true(esker_schedule_lr(schedule, 0.1f, 5) == 0.1f);
    esker_schedule_unref(schedule);
    /* Three falls, but by 1.8e-7, by 1.8e-8, and by less than 1e-8, which is none. */
    assert_ok(esker_schedule_create(&(esker_schedule_desc){.kind = ESKER_SCHEDULE_PLATEAU, .patience = -1}, &schedule));
    for (int i = 0; i < 4; i++) esker_schedule_report(schedule, 2.0);
    assert_true(fabs((double)esker_schedule_lr(schedule, 2e-7f, 5) - 2e-9) < 1e-15);
    assert_true(fabs((double)esker_schedule_lr(schedule, 2e-4f, 5) - 2e-7) < 1e-13);
    esker_schedule_unref(schedule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(wrong_texts),
        cmocka_unit_test(wrong_descriptions),
        cmocka_unit_test(plateaus),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
