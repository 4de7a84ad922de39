/* device test: trainers: the same bits each time, steps that cost nothing but their dispatches, last batches, learning. */
#include "train/small.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* ---- Runs ---- */

enum { MAX_STEPS = 256 };

typedef struct history {
    esker_step_record steps[MAX_STEPS];
    int n_steps;
    esker_progress epochs[16];
    int n_epochs;
    int stop_after; /* steps; 0: never */
} history;

static bool keep_step(const esker_step_record *record, void *user)
{
    history *h = user;
    assert_true(h->n_steps < MAX_STEPS);
    h->steps[h->n_steps++] = *record;
    return h->n_steps != h->stop_after;
}

static bool keep_epoch(const esker_progress *progress, void *user)
{
    history *h = user;
    if (progress->epoch_done) h->epochs[h->n_epochs++] = *progress;
    return true;
}

/* Train a new model; its values are the result (free them), and `h`. */
static float *train(esker_device *dev, uint64_t seed, bool convolution, esker_optimizer_kind optimizer, esker_dataset *ds,
                    history *h, int64_t *out_n)
{
    esker_model *net = small_model(12, convolution, 5);
    esker_trainer *trainer = small_trainer(
        net, &(esker_trainer_desc){
                 .device = dev, .batch = 32, .seed = seed, .optimizer = {.kind = optimizer, .weight_decay = 1e-3f}});
    assert_ok(esker_trainer_fit(trainer, ds,
                                &(esker_fit_desc){.epochs = 2, .log = keep_step, .progress = keep_epoch, .user = h}));
    float *values = all_values(net, out_n);
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    return values;
}

static bool same_history(const history *a, const history *b)
{
    if (a->n_steps != b->n_steps) return false;
    for (int i = 0; i < a->n_steps; i++)
        if (memcmp(&a->steps[i].loss, &b->steps[i].loss, sizeof(float)) || a->steps[i].accuracy != b->steps[i].accuracy)
            return false;
    return true;
}

static void one_seed_gives_the_same_bits(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 300); /* 10 steps, the last with 12 samples */
    for (int row = 0; row < 3; row++) {
        esker_optimizer_kind optimizer = (esker_optimizer_kind)row;
        history a = {0}, b = {0}, other = {0};
        int64_t n, n_again;
        float *first = train(NULL, 7, row > 0, optimizer, ds, &a, &n);
        float *again = train(NULL, 7, row > 0, optimizer, ds, &b, &n_again);
        assert_int_equal(n, n_again);
        assert_int_equal(a.n_steps, 20);
        assert_true(same_history(&a, &b));
        assert_memory_equal(first, again, (size_t)n * sizeof *first);
        free(again);
        again = train(NULL, 8, row > 0, optimizer, ds, &other, &n_again);
        assert_false(same_history(&a, &other)); /* or the comparison would find nothing */
        assert_memory_not_equal(first, again, (size_t)n * sizeof *first);
        free(first);
        free(again);
    }
    esker_dataset_unref(ds);
}

/* What a process of its own writes: drivers read the switch that hides an extension once in a process. */
typedef struct unmapped_run {
    bool mapped;
    int64_t n;
    history h;
} unmapped_run;

static int run_unmapped(const char *path)
{
    unmapped_run run = {0};
    esker_device *dev = NULL;
    esker_device_info info;
    if (esker_device_open(NULL, &dev) != ESKER_OK) return 1;
    esker_device_get_info(dev, &info);
    run.mapped = info.buffer_storage;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 300);
    float *values = train(dev, 7, false, ESKER_OPTIMIZER_ADAM, ds, &run.h, &run.n);
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(&run, sizeof run, 1, file) == 1 &&
                   fwrite(values, sizeof *values, (size_t)run.n, file) == (size_t)run.n;
    if (file && fclose(file) != 0) written = false;
    free(values);
    esker_dataset_unref(ds);
    esker_device_unref(dev);
    return !written;
}

/* Where the driver cannot keep buffers mapped, batches go through host memory, with the same result. */
static void mapping_changes_no_bit(void **state)
{
    (void)state;
    char path[1200], self[512], command[2000];
    esker_device_info info;
    esker_device_get_info(test_device(), &info);
    ssize_t n_chars = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n_chars > 0);
    self[n_chars] = 0;
    snprintf(path, sizeof path, "%s/unmapped", test_folder("trainer"));
    snprintf(command, sizeof command, "MESA_EXTENSION_OVERRIDE=-GL_EXT_buffer_storage '%s' '%s'", self, path);
    assert_int_equal(system(command), 0);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    unmapped_run run;
    assert_int_equal(fread(&run, sizeof run, 1, file), 1);
    if (run.mapped || !info.buffer_storage) {
        fclose(file);
        print_message("this driver has one way alone\n");
        skip();
    }
    float *copied = malloc((size_t)run.n * sizeof *copied);
    assert_non_null(copied);
    assert_int_equal(fread(copied, sizeof *copied, (size_t)run.n, file), run.n);
    fclose(file);
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 300);
    history h = {0};
    int64_t n;
    float *mapped = train(NULL, 7, false, ESKER_OPTIMIZER_ADAM, ds, &h, &n);
    assert_true(same_history(&h, &run.h));
    assert_int_equal(n, run.n);
    assert_memory_equal(mapped, copied, (size_t)n * sizeof *mapped);
    free(mapped);
    free(copied);
    esker_dataset_unref(ds);
}

/* An epoch that ends with a smaller batch, for which there is a plan of its own: that step makes nothing, either. */
static void a_last_batch_makes_nothing(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 16 * 40 + 9);
    esker_model *net = small_model(12, true, 5);
    esker_trainer *trainer = small_trainer(net, &(esker_trainer_desc){.device = test_device(), .batch = 16});
    esker_train_stats s;
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1}));
    esker_trainer_get_stats(trainer, &s);
    assert_true(s.steps > 0);
    assert_true(s.gl_objects_per_step == 0);
    assert_true(s.heap_allocations_per_step == 0);
    assert_true(s.compiles_per_step == 0);
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

static void a_steady_step_costs_its_dispatches_alone(void **state)
{
    (void)state;
    for (esker_loss_kind loss = ESKER_LOSS_CROSS_ENTROPY; loss <= ESKER_LOSS_MSE; loss++) {
        esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 640);
        esker_dataset *held_out = small_digits(ESKER_SPLIT_TEST, 50);
        esker_model *net = small_model(12, true, 5);
        esker_trainer_desc desc = {.device = test_device(), .batch = 16, .loss = loss};
        esker_trainer *trainer = small_trainer(net, &desc);
        history h = {0};
        esker_train_stats s;
        esker_trainer_get_stats(trainer, &s);
        assert_int_equal(s.steps, 0);
        assert_ok(esker_trainer_fit(
            trainer, ds,
            &(esker_fit_desc){.epochs = 2, .validation = held_out, .log = keep_step, .progress = keep_epoch, .user = &h}));
        esker_trainer_get_stats(trainer, &s);
        esker_plan *plan = NULL;
        esker_plan_info info;
        assert_ok(esker_trainer_plan(net, &desc, ESKER_DTYPE_U8, NULL, &plan));
        esker_plan_get_info(plan, &info);
        esker_plan_destroy(plan);
        assert_int_equal(s.steps, 40 - 2 * ESKER_PLAN_SLOTS);
        assert_true(s.heap_allocations_per_step == 0);
        assert_true(s.gl_objects_per_step == 0);
        assert_true(s.compiles_per_step == 0);
        assert_true(s.waits_per_step == 0);
        assert_true(s.fences_per_step >= 0.5 && s.fences_per_step <= 1);
        assert_true(s.dispatches_per_step == info.n_dispatches);
        assert_true(s.barriers_per_step == info.n_barriers);
        assert_true(s.step_seconds_median > 0 && s.step_seconds_mean > 0);
        assert_int_equal(s.peak_bytes, info.peak_bytes);
        assert_int_equal(s.allocated_bytes, s.peak_bytes); /* nothing is allocated that was not predicted */
        assert_true(s.buffer_peak_bytes >= s.allocated_bytes);
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
        esker_dataset_unref(held_out);
        esker_dataset_unref(ds);
    }
}

/* ---- Batches larger than the data set ---- */

static float *one_step(esker_dataset *ds, int32_t batch, esker_loss_kind loss, float *out_loss, int64_t *out_n)
{
    esker_model *net = small_model(12, true, 5);
    esker_trainer *trainer = small_trainer(
        net, &(esker_trainer_desc){.batch = batch, .loss = loss, .keep_order = true, .optimizer = {.lr = 0.5f}});
    history h = {0};
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1, .log = keep_step, .user = &h}));
    assert_int_equal(h.n_steps, 1);
    assert_int_equal(h.steps[0].samples, 40);
    *out_loss = h.steps[0].loss;
    float *values = all_values(net, out_n);
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    return values;
}

static void a_batch_that_is_not_filled_is_its_samples(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 40);
    for (esker_loss_kind loss = ESKER_LOSS_CROSS_ENTROPY; loss <= ESKER_LOSS_MSE; loss++) {
        float full_loss, rest_loss;
        int64_t n;
        float *full = one_step(ds, 40, loss, &full_loss, &n);
        float *rest = one_step(ds, 64, loss, &rest_loss, &n);
        if (!(fabsf(full_loss - rest_loss) <= 1e-6f * full_loss))
            fail_msg("%s: loss %.9g, rest %.9g", esker_loss_name(loss), (double)full_loss, (double)rest_loss);
        double *want = malloc((size_t)n * sizeof *want);
        assert_non_null(want);
        for (int64_t i = 0; i < n; i++) want[i] = (double)full[i];
        assert_close(rest, want, NULL, 2e-6, n);
        free(want);
        free(full);
        free(rest);
    }
    esker_dataset_unref(ds);
}

/* ---- Learning ---- */

static void models_learn(void **state)
{
    (void)state;
    static const struct {
        esker_loss_kind loss;
        esker_optimizer_desc optimizer;
    } rows[] = {
        {ESKER_LOSS_CROSS_ENTROPY, {.kind = ESKER_OPTIMIZER_ADAM, .lr = 3e-3f}},
        {ESKER_LOSS_CROSS_ENTROPY, {.kind = ESKER_OPTIMIZER_SGD, .lr = 0.1f, .momentum = 0.9f}},
        {ESKER_LOSS_MSE, {.kind = ESKER_OPTIMIZER_ADAMW, .lr = 3e-3f, .weight_decay = 1e-2f}},
    };
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 1000), *held_out = small_digits(ESKER_SPLIT_TEST, 200);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_model *net = small_model(32, false, 2);
        esker_trainer *trainer = small_trainer(
            net, &(esker_trainer_desc){.batch = 32, .loss = rows[i].loss, .optimizer = rows[i].optimizer});
        history h = {0};
        esker_evaluation before, after;
        assert_ok(esker_trainer_evaluate(trainer, held_out, &before));
        assert_ok(esker_trainer_fit(
            trainer, ds,
            &(esker_fit_desc){.epochs = 4, .validation = held_out, .log = keep_step, .progress = keep_epoch, .user = &h}));
        assert_ok(esker_trainer_evaluate(trainer, held_out, &after));
        if (!(before.accuracy < 0.3 && after.accuracy > 0.6 && after.loss < 0.7 * before.loss))
            fail_msg("row %zu: accuracy %g to %g, loss %g to %g", i, before.accuracy, after.accuracy, before.loss,
                     after.loss);
        assert_int_equal(h.n_epochs, 4);
        const esker_progress *last = &h.epochs[3];
        assert_true(last->validated && last->validation.loss == after.loss && last->validation.correct == after.correct);
        assert_true(last->epoch == 4 && last->epochs == 4 && last->step == 32 && last->steps == 32);
        assert_true(last->total_steps == 128 && last->seconds_left == 0 && last->bad_losses == 0);
        assert_true(last->samples_per_second > 0);
        /* The epoch's means are those of its steps, weighted by their samples. */
        double loss = 0, right = 0;
        for (int s = 96; s < 128; s++) {
            assert_true(h.steps[s].epoch == 4 && h.steps[s].step == s + 1);
            assert_int_equal(h.steps[s].samples, s == 127 ? 8 : 32);
            loss += (double)h.steps[s].loss * h.steps[s].samples / 1000;
            right += (double)h.steps[s].accuracy * h.steps[s].samples / 1000;
        }
        assert_true(fabs(last->loss - loss) < 1e-6 && fabs(last->accuracy - right) < 1e-6);
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    esker_dataset_unref(held_out);
    esker_dataset_unref(ds);
}

static void a_second_fit_goes_on(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 150);
    int64_t n;
    float *values[2];
    history h[2] = {0};
    for (int run = 0; run < 2; run++) { /* 3 epochs at once, and 1 and 2 */
        esker_model *net = small_model(12, false, 2);
        esker_trainer *trainer = small_trainer(
            net, &(esker_trainer_desc){.batch = 32, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}});
        for (int part = 0; part <= run; part++)
            assert_ok(esker_trainer_fit(
                trainer, ds,
                &(esker_fit_desc){
                    .epochs = run ? part + 1 : 3, .log = keep_step, .progress = keep_epoch, .user = &h[run]}));
        values[run] = all_values(net, &n);
        esker_trainer_destroy(trainer);
        esker_model_destroy(net);
    }
    assert_int_equal(h[1].n_steps, 15);
    assert_int_equal(h[1].steps[14].epoch, 3);
    assert_int_equal(h[1].steps[14].step, 15);
    assert_true(same_history(&h[0], &h[1]));
    assert_memory_equal(values[0], values[1], (size_t)n * sizeof(float));
    free(values[0]);
    free(values[1]);
    esker_dataset_unref(ds);
}

/* A second trainer finds the values of the first, but not its optimizer's state: as if it got them in a new model. */
static void a_second_trainer_starts_anew(void **state)
{
    (void)state;
    static const esker_trainer_desc desc = {.batch = 32, .optimizer = {.kind = ESKER_OPTIMIZER_ADAM}};
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 150);
    esker_model *first = small_model(12, false, 2), *copy = small_model(12, false, 3);
    esker_params *from = esker_model_get_params(first), *to = esker_model_get_params(copy);
    esker_trainer *trainer = small_trainer(first, &desc);
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 2}));
    esker_trainer_destroy(trainer);
    for (int i = 0; i < esker_params_count(from); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(from, i, &info));
        float *values = malloc((size_t)info.n_elems * sizeof *values);
        assert_non_null(values);
        assert_ok(esker_params_read(from, i, values, info.n_elems));
        assert_ok(esker_params_write(to, i, values, info.n_elems));
        free(values);
    }
    esker_model *const models[] = {first, copy};
    float *values[2];
    int64_t n;
    for (int i = 0; i < 2; i++) {
        trainer = small_trainer(models[i], &desc);
        assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1}));
        values[i] = all_values(models[i], &n);
        esker_trainer_destroy(trainer);
        esker_model_destroy(models[i]);
    }
    assert_memory_equal(values[0], values[1], (size_t)n * sizeof(float));
    free(values[0]);
    free(values[1]);
    esker_dataset_unref(ds);
}

/* ---- Stopping ---- */

static void a_callback_can_stop(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 320);
    esker_model *net = small_model(12, false, 2);
    esker_trainer *trainer = small_trainer(net, &(esker_trainer_desc){.batch = 16});
    history h = {.stop_after = 5};
    esker_fit_desc fit = {.epochs = 2, .log = keep_step, .progress = keep_epoch, .user = &h};
    assert_fails(esker_trainer_fit(trainer, ds, &fit), ESKER_ERR_CANCELLED, "epoch 1");
    assert_true(h.n_steps >= 5 && h.n_steps <= 5 + ESKER_PLAN_SLOTS); /* those in flight are finished, no more begin */
    assert_int_equal(h.n_epochs, 0);
    int n_before = h.n_steps;
    h.stop_after = 0;
    fit.epochs = 1;
    assert_ok(esker_trainer_fit(trainer, ds, &fit)); /* the epoch anew */
    assert_int_equal(h.n_epochs, 1);
    assert_int_equal(h.n_steps, n_before + 20);
    assert_int_equal(h.steps[n_before].epoch, 1);
    assert_int_equal(h.steps[n_before].step, n_before + 1);
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

static int n_warnings;

static void count_warning(esker_log_level level, const char *text, void *user)
{
    (void)user;
    n_warnings += level == ESKER_LOG_WARNING && strstr(text, "the loss of step") != NULL;
}

static void a_loss_that_is_no_number_is_told(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 320);
    esker_model *net = small_model(12, false, 2);
    esker_trainer *trainer = small_trainer(net, &(esker_trainer_desc){.batch = 16, .optimizer = {.lr = 1e30f}});
    history h = {0};
    esker_evaluation e;
    n_warnings = 0;
    esker_log_set(count_warning, NULL, ESKER_LOG_WARNING);
    assert_ok(esker_trainer_fit(trainer, ds,
                                &(esker_fit_desc){.epochs = 1, .log = keep_step, .progress = keep_epoch, .user = &h}));
    esker_log_set(NULL, NULL, ESKER_LOG_WARNING);
    assert_int_equal(n_warnings, 1);
    assert_true(isfinite(h.steps[0].loss) && !isfinite(h.steps[19].loss));
    assert_true(h.epochs[0].bad_losses > 10 && !isfinite(h.epochs[0].loss));
    assert_ok(esker_trainer_evaluate(trainer, ds, &e));
    assert_false(isfinite(e.loss));
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

static void the_learning_rate_can_change(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 32);
    esker_model *net = small_model(12, false, 2);
    esker_trainer *trainer = small_trainer(net, &(esker_trainer_desc){.batch = 32});
    history h = {0};
    esker_fit_desc fit = {.epochs = 1, .log = keep_step, .user = &h};
    assert_ok(esker_trainer_fit(trainer, ds, &fit));
    assert_true(h.steps[0].lr == 1e-2f); /* sgd's own */
    int64_t n;
    float *before = all_values(net, &n);
    assert_ok(esker_trainer_set_lr(trainer, 1e-30f));
    assert_ok(esker_trainer_fit(trainer, ds, &fit));
    assert_true(h.steps[1].lr == 1e-30f);
    float *after = all_values(net, &n);
    assert_memory_equal(before, after, (size_t)n * sizeof *before); /* too small a step to change any value */
    assert_fails(esker_trainer_set_lr(trainer, 0), ESKER_ERR_INVALID, "0");
    assert_fails(esker_trainer_set_lr(trainer, -1), ESKER_ERR_INVALID, "-1");
    assert_fails(esker_trainer_set_lr(trainer, NAN), ESKER_ERR_INVALID, "nan");
    assert_fails(esker_trainer_set_lr(trainer, INFINITY), ESKER_ERR_INVALID, "inf");
    free(before);
    free(after);
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

int main(int argc, char **argv)
{
    if (argc == 2) return run_unmapped(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_gives_the_same_bits),
        cmocka_unit_test(mapping_changes_no_bit),
        cmocka_unit_test(a_steady_step_costs_its_dispatches_alone),
        cmocka_unit_test(a_last_batch_makes_nothing),
        cmocka_unit_test(a_batch_that_is_not_filled_is_its_samples),
        cmocka_unit_test(models_learn),
        cmocka_unit_test(a_second_fit_goes_on),
        cmocka_unit_test(a_second_trainer_starts_anew),
        cmocka_unit_test(a_callback_can_stop),
        cmocka_unit_test(a_loss_that_is_no_number_is_told),
        cmocka_unit_test(the_learning_rate_can_change),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
