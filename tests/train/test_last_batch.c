/* device test: a last batch that is not full is a batch of that many samples: its loss, its statistics, its step. */
#include <math.h>

#include "small.h"

enum { FEATURES = 3, CLASSES = 4, MOST = 16 };

static void random_samples(float *samples, int32_t *labels, int n)
{
    test_uniform(samples, n * FEATURES, -1, 3, 17);
    for (int i = 0; i < n; i++) labels[i] = (i * 7 + 2) % CLASSES;
}

/* Samples `first` to `first` + n - 1 of the random ones. */
static esker_dataset *some_samples(int first, int n)
{
    static float samples[MOST * FEATURES];
    static int32_t labels[MOST];
    esker_dataset *ds = NULL;
    random_samples(samples, labels, MOST);
    assert_ok(esker_dataset_create(&(esker_dataset_desc){.name = "some",
                                                         .sample_dtype = ESKER_DTYPE_F32,
                                                         .sample_shape = {1, {FEATURES}},
                                                         .n_samples = n,
                                                         .n_classes = CLASSES,
                                                         .samples = samples + first * FEATURES,
                                                         .labels = labels + first},
                                   &ds));
    return ds;
}

/* Rows through batch norm and a linear layer. momentum 1: running statistics are the last batch's. */
static esker_model *norm_model(float momentum, bool no_running)
{
    esker_model *net = NULL;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {FEATURES}});
    x = esker_layer_batch_norm1d(net, x, &(esker_layer_batch_norm_desc){.momentum = momentum, .no_running = no_running});
    x = esker_dropout(esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = CLASSES}), 0.25f);
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_params_init_values(esker_model_get_params(net), 3));
    return net;
}

typedef struct steps {
    int n;
    esker_step_record records[64];
} steps;

static bool note(const esker_step_record *record, void *user)
{
    steps *s = user;
    assert_true(s->n < 64);
    s->records[s->n++] = *record;
    return true;
}

static void read_named(esker_model *net, const char *name, float *out, int n)
{
    esker_params *params = esker_model_get_params(net);
    assert_ok(esker_params_read(params, esker_params_find(params, name), out, n));
}

static void statistics_and_loss_are_those_of_its_samples(void **state)
{
    (void)state;
    enum { N = 11, BATCH = 4, REST = N % BATCH };
    float samples[MOST * FEATURES], mean[FEATURES], variance[FEATURES];
    double want_mean[FEATURES] = {0}, want_variance[FEATURES] = {0};
    int32_t labels[MOST];
    random_samples(samples, labels, MOST);
    for (int k = 0; k < FEATURES; k++) {
        for (int i = N - REST; i < N; i++) want_mean[k] += samples[i * FEATURES + k] / (double)REST;
        for (int i = N - REST; i < N; i++)
            want_variance[k] += pow(samples[i * FEATURES + k] - want_mean[k], 2) / (REST - 1);
    }
    for (int loss = ESKER_LOSS_CROSS_ENTROPY; loss <= ESKER_LOSS_MSE; loss++) {
        float last[2];
        /* All samples in batches of 4, then the last 3 alone: with a rate that moves nothing both see the same model. Step 0
           draws other elements to drop than step 2, so the first fit alone begins with two full batches. */
        for (int alone = 0; alone < 2; alone++) {
            esker_model *net = norm_model(1, false);
            esker_trainer *trainer;
            steps s = {0};
            const esker_trainer_desc desc = {.device = test_device(),
                                             .batch = alone ? REST : BATCH,
                                             .loss = (esker_loss_kind)loss,
                                             .keep_order = true,
                                             .optimizer = {.kind = ESKER_OPTIMIZER_SGD, .lr = 1e-30f}};
            assert_ok(esker_trainer_create(net, &desc, &trainer));
            if (alone) {
                esker_dataset *skipped = some_samples(0, 2 * REST);
                assert_ok(esker_trainer_fit(trainer, skipped, &(esker_fit_desc){.epochs = 1}));
                esker_dataset_unref(skipped);
            }
            esker_dataset *ds = alone ? some_samples(N - REST, REST) : some_samples(0, N);
            assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1, .log = note, .user = &s}));
            assert_int_equal(s.n, alone ? 1 : 3);
            assert_int_equal(s.records[s.n - 1].samples, REST);
            assert_int_equal((int)s.records[s.n - 1].step, 3);
            last[alone] = s.records[s.n - 1].loss;
            read_named(net, "bn1.running_mean", mean, FEATURES);
            read_named(net, "bn1.running_var", variance, FEATURES);
            assert_close(mean, want_mean, NULL, 1e-6, FEATURES);
            assert_close(variance, want_variance, NULL, 3e-6, FEATURES);
            esker_trainer_destroy(trainer);
            esker_dataset_unref(ds);
            esker_model_destroy(net);
        }
        assert_true(last[0] == last[1]);
    }
}

/* Two plans by hand, with the numbers and rates that the trainer's steps should have. */
static void steps_share_all_but_the_plan(void **state)
{
    (void)state;
    enum { N = 10, BATCH = 4, EPOCHS = 3 };
    float samples[MOST * FEATURES];
    int32_t labels[MOST];
    random_samples(samples, labels, MOST);
    const esker_schedule_desc cosine = {.kind = ESKER_SCHEDULE_COSINE, .period = 9};
    esker_schedule *schedules[2];
    esker_model *nets[2] = {norm_model(0, false), norm_model(0, false)};
    esker_trainer_desc desc = {.device = test_device(),
                               .batch = BATCH,
                               .seed = 5,
                               .keep_order = true,
                               .optimizer = {.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.05f}};
    for (int i = 0; i < 2; i++) assert_ok(esker_schedule_create(&cosine, &schedules[i]));

    esker_trainer *trainer;
    esker_dataset *ds = some_samples(0, N);
    desc.schedule = schedules[0];
    steps s = {0};
    assert_ok(esker_trainer_create(nets[0], &desc, &trainer));
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = EPOCHS, .log = note, .user = &s}));

    desc.schedule = schedules[1];
    esker_schedule_set_total(schedules[1], 3 * EPOCHS);
    esker_plan *plans[2];
    for (int i = 0; i < 2; i++) {
        esker_trainer_desc own = desc;
        own.batch = i ? N % BATCH : BATCH;
        assert_ok(esker_trainer_plan(nets[1], &own, ESKER_DTYPE_F32, NULL, &plans[i]));
    }
    for (int step = 0; step < 3 * EPOCHS; step++) {
        esker_plan *plan = plans[step % 3 == 2];
        int first = step % 3 * BATCH, n = step % 3 == 2 ? N % BATCH : BATCH;
        float loss;
        assert_ok(esker_plan_set_step(plan, (uint64_t)step));
        assert_ok(esker_plan_set_lr(plan, esker_schedule_lr(schedules[1], 0.05f, step)));
        assert_ok(
            esker_plan_write(plan, esker_plan_find_input(plan, "x"), samples + first * FEATURES, (size_t)n * FEATURES * 4));
        assert_ok(esker_plan_write(plan, esker_plan_find_input(plan, "labels"), labels + first, (size_t)n * 4));
        uint64_t ticket;
        assert_ok(esker_plan_submit(plan, &ticket));
        assert_ok(esker_plan_read(plan, ticket, 0, &loss, sizeof loss));
        assert_true(loss == s.records[step].loss);
        assert_int_equal(s.records[step].samples, n);
    }
    int64_t n_values;
    float *values[2];
    for (int i = 0; i < 2; i++) values[i] = all_values(nets[i], &n_values);
    assert_memory_equal(values[0], values[1], (size_t)n_values * sizeof(float));
    for (int i = 0; i < 2; i++) {
        free(values[i]);
        esker_plan_destroy(plans[i]);
    }
    esker_trainer_destroy(trainer);
    esker_dataset_unref(ds);
    for (int i = 0; i < 2; i++) {
        esker_schedule_unref(schedules[i]);
        esker_model_destroy(nets[i]);
    }
}

static int count_steps(esker_trainer *trainer, int n_samples, int *out_last)
{
    esker_dataset *ds = some_samples(0, n_samples);
    steps s = {0};
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 5, .log = note, .user = &s}));
    esker_dataset_unref(ds);
    *out_last = s.records[s.n - 1].samples;
    return s.n;
}

static void every_size_of_data_set_will_do(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        esker_model *net = norm_model(0, false);
        esker_trainer *trainer;
        int last;
        assert_ok(esker_trainer_create(net, &(esker_trainer_desc){.device = test_device(), .batch = 4, .drop_last = drop},
                                       &trainer));
        assert_int_equal(count_steps(trainer, 10, &last), drop ? 10 : 15);
        assert_int_equal(last, drop ? 4 : 2);
        assert_int_equal(count_steps(trainer, 15, &last), drop ? 15 : 20);
        assert_int_equal(last, drop ? 4 : 3);
        assert_int_equal(count_steps(trainer, 8, &last), 10);
        assert_int_equal(last, 4);
        esker_dataset *few = some_samples(0, 3), *odd = some_samples(0, 9);
        if (drop) {
            assert_fails(esker_trainer_fit(trainer, few, &(esker_fit_desc){.epochs = 1}), ESKER_ERR_INVALID, "drop_last");
            assert_ok(esker_trainer_fit(trainer, odd, &(esker_fit_desc){.epochs = 1}));
        } else {
            assert_int_equal(count_steps(trainer, 3, &last), 5);
            assert_int_equal(last, 3);
            assert_fails(esker_trainer_fit(trainer, odd, &(esker_fit_desc){.epochs = 1}), ESKER_ERR_INVALID,
                         "the last batch of 1 of 9 samples (drop_last leaves it out)");
            assert_int_equal(count_steps(trainer, 6, &last), 10); /* and is as before */
        }
        esker_trainer_destroy(trainer);
        esker_dataset_unref(few);
        esker_dataset_unref(odd);
        esker_model_destroy(net);
    }
}

/* Without running statistics inference, too, depends on who else is in the batch. */
static void evaluation_has_batches_of_their_size(void **state)
{
    (void)state;
    enum { N = 7, BATCH = 4, REST = N % BATCH };
    esker_model *net = norm_model(0, true);
    esker_evaluator *ev, *small;
    esker_dataset *all = some_samples(0, N), *end = some_samples(N - REST, REST), *begin = some_samples(0, N - REST);
    float outputs[N * CLASSES], alone[REST * CLASSES];
    esker_evaluation e, parts[2];
    assert_ok(esker_evaluator_create(net, &(esker_evaluator_desc){.device = test_device(), .batch = BATCH}, &ev));
    assert_ok(esker_evaluator_create(net, &(esker_evaluator_desc){.device = test_device(), .batch = REST}, &small));
    assert_ok(esker_evaluator_predict(ev, all, outputs, NULL));
    assert_ok(esker_evaluator_predict(small, end, alone, NULL));
    assert_memory_equal(outputs + (N - REST) * CLASSES, alone, sizeof alone);
    assert_ok(esker_evaluator_measure(ev, all, &e));
    assert_ok(esker_evaluator_measure(ev, begin, &parts[0]));
    assert_ok(esker_evaluator_measure(small, end, &parts[1]));
    assert_int_equal((int)e.samples, N);
    assert_int_equal((int)e.correct, (int)(parts[0].correct + parts[1].correct));
    assert_true(fabs(e.loss * N - parts[0].loss * (N - REST) - parts[1].loss * REST) < 1e-6);
    esker_evaluator_destroy(ev);
    esker_evaluator_destroy(small);
    esker_dataset_unref(all);
    esker_dataset_unref(end);
    esker_dataset_unref(begin);
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_and_loss_are_those_of_its_samples),
        cmocka_unit_test(steps_share_all_but_the_plan),
        cmocka_unit_test(every_size_of_data_set_will_do),
        cmocka_unit_test(evaluation_has_batches_of_their_size),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
