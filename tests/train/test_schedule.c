/* device test: trainers with schedules and clipping: the rate of each step takes effect, and is what the log says. */
#include "train/small.h"

#include <math.h>

#include <esker/schedule.h>

enum { MAX_STEPS = 64 };
typedef struct history {
    esker_step_record steps[MAX_STEPS];
    int n;
} history;

static bool keep(const esker_step_record *record, void *user)
{
    history *h = user;
    assert_true(h->n < MAX_STEPS);
    h->steps[h->n++] = *record;
    return true;
}

static esker_trainer *trainer_of(esker_model *net, const esker_trainer_desc *desc, const char *schedule)
{
    esker_trainer *trainer;
    esker_trainer_desc with = *desc;
    with.device = test_device();
    if (schedule) assert_ok(esker_schedule_from_text(schedule, 0, &with.schedule));
    assert_ok(esker_trainer_create(net, &with, &trainer));
    esker_schedule_unref(with.schedule); /* the trainer has a reference */
    return trainer;
}

static const esker_trainer_desc plain = {.batch = 20, .keep_order = true, .optimizer = {.lr = 0.25f, .momentum = 0.5f}};

/* Four epochs of four steps whose rates fall by epochs: the same bits as rates that are set by hand between fits. */
static void rates_by_epoch_are_rates_set_by_hand(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 80);
    float *values[3];
    int64_t n;
    for (int way = 0; way < 3; way++) { /* by schedule, by hand, and neither */
        esker_model *net = small_model(12, false, 2);
        esker_trainer *trainer = trainer_of(net, &plain, way == 0 ? "step:period=1,gamma=0.5,epochs" : NULL);
        history h = {.n = 0};
        esker_fit_desc fit = {.epochs = way == 1 ? 1 : 4, .log = keep, .user = &h};
        for (int epoch = 0; epoch < (way == 1 ? 4 : 1); epoch++) {
            if (way == 1) assert_ok(esker_trainer_set_lr(trainer, ldexpf(0.25f, -epoch)));
            assert_ok(esker_trainer_fit(trainer, ds, &fit));
        }
        assert_int_equal(h.n, 16);
        for (int i = 0; i < 16; i++) assert_true(h.steps[i].lr == (way < 2 ? ldexpf(0.25f, -(i / 4)) : 0.25f));
        values[way] = all_values(net, &n);
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    assert_memory_equal(values[0], values[1], (size_t)n * sizeof(float));
    assert_memory_not_equal(values[0], values[2], (size_t)n * sizeof(float));
    for (int way = 0; way < 3; way++) free(values[way]);
    esker_dataset_unref(ds);
}

/* Steps at a rate of nothing leave the parameters alone; the whole training is what a cosine lasts. */
static void rates_by_step_take_effect(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 80);
    float *values[2];
    int64_t n;
    for (int epochs = 1; epochs <= 2; epochs++) {
        esker_model *net = small_model(12, false, 2);
        esker_trainer *trainer = trainer_of(net, &plain, "linear:start=1,to_zero,period=4");
        history h = {.n = 0};
        assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = epochs, .log = keep, .user = &h}));
        for (int i = 0; i < h.n; i++) assert_true(h.steps[i].lr == (i < 4 ? 0.25f * (1 - 0.25f * (float)i) : 0));
        values[epochs - 1] = all_values(net, &n);
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    assert_memory_equal(values[0], values[1], (size_t)n * sizeof(float)); /* the second epoch's steps have rate 0 */
    free(values[0]);
    free(values[1]);

    esker_model *net = small_model(12, false, 2);
    esker_trainer *trainer = trainer_of(net, &plain, "cosine:warmup=2");
    history h = {.n = 0};
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 3, .log = keep, .user = &h}));
    assert_int_equal(h.n, 12);
    for (int i = 0; i < 12; i++) {
        double part = i < 2 ? 0.5 + 0.25 * i : (1 + cos(3.14159265358979 * (i - 2) / 10)) / 2;
        assert_true(fabs((double)h.steps[i].lr - 0.25 * part) < 1e-7);
    }
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

/* A validation loss that cannot get better by so much: the rate falls with each epoch. */
static void plateaus_hear_of_the_loss(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 80), *held = small_digits(ESKER_SPLIT_TEST, 20);
    for (int with_validation = 0; with_validation < 2; with_validation++) {
        esker_model *net = small_model(12, false, 2);
        esker_trainer *trainer = trainer_of(net, &plain, "plateau:patience=-1,threshold=1,gamma=0.5");
        history h = {.n = 0};
        assert_ok(esker_trainer_fit(
            trainer, ds,
            &(esker_fit_desc){.epochs = 3, .validation = with_validation ? held : NULL, .log = keep, .user = &h}));
        for (int i = 0; i < 12; i++) assert_true(h.steps[i].lr == (i < 8 ? 0.25f : 0.125f));
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    esker_dataset_unref(ds);
    esker_dataset_unref(held);
}

/* The norm is in the log; clipping to less of it makes the first step as much shorter. In check mode all the while. */
static void clipping_shortens_the_step(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 20);
    double moved[3];
    float norm = 0;
    for (int way = 0; way < 3; way++) { /* measured, clipped to half, without */
        esker_model *net = small_model(12, false, 2);
        int64_t n;
        float *before = all_values(net, &n);
        esker_trainer_desc desc = plain;
        desc.check = true;
        desc.optimizer.clip_norm = way == 0 ? INFINITY : way == 1 ? norm / 2 : 0;
        esker_trainer *trainer = trainer_of(net, &desc, NULL);
        history h = {.n = 0};
        assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1, .log = keep, .user = &h}));
        assert_int_equal(h.n, 1);
        if (way == 0) norm = h.steps[0].gradient_norm;
        assert_true(norm > 0 && h.steps[0].gradient_norm == (way == 2 ? 0 : norm));
        float *after = all_values(net, &n);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += pow((double)after[i] - (double)before[i], 2);
        moved[way] = sqrt(sum);
        free(before);
        free(after);
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    assert_true(fabs(moved[0] - 0.25 * (double)norm) <= 1e-5 * moved[0]);
    assert_true(fabs(moved[1] - moved[0] / 2) <= 1e-5 * moved[0]);
    assert_true(moved[2] == moved[0]);
    esker_dataset_unref(ds);
}

/* Every optimizer's updates agree with their references in check mode, where all arenas are compared. */
static void optimizers_pass_check_mode(void **state)
{
    (void)state;
    static const esker_optimizer_desc rows[] = {
        {.kind = ESKER_OPTIMIZER_RMSPROP, .eps = 1e-3f},
        {.kind = ESKER_OPTIMIZER_RMSPROP, .eps = 1e-3f, .centered = true, .momentum = 0.9f, .weight_decay = 0.1f},
        {.kind = ESKER_OPTIMIZER_ADAGRAD, .eps = 1e-3f},
        {.kind = ESKER_OPTIMIZER_ADADELTA, .eps = 1e-3f},
        {.kind = ESKER_OPTIMIZER_NADAM, .eps = 1e-3f, .clip_norm = 0.1f, .clip_value = 0.01f},
        {.momentum = 0.9f, .nesterov = true},
    };
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 40);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        esker_model *net = small_model(12, false, 2);
        esker_trainer *trainer = trainer_of(net, &(esker_trainer_desc){.batch = 20, .optimizer = rows[i], .check = true},
                                            NULL);
        assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 2}));
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    esker_dataset_unref(ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_by_epoch_are_rates_set_by_hand),
        cmocka_unit_test(rates_by_step_take_effect),
        cmocka_unit_test(plateaus_hear_of_the_loss),
        cmocka_unit_test(clipping_shortens_the_step),
        cmocka_unit_test(optimizers_pass_check_mode),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
