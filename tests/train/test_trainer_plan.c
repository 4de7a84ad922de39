/* device test: trainers that do not train: what is refused, and plans of training without a device. */
#include "train/small.h"

#include <math.h>

static void wrong_descs_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    const struct {
        esker_trainer_desc desc;
        const char *message;
    } rows[] = {
        {{.batch = 8}, "device"},
        {{.device = dev}, "batch of 0"},
        {{.device = dev, .batch = -1}, "batch of -1"},
        {{.device = dev, .batch = 8, .eval_batch = -2}, "-2"},
        {{.device = dev, .batch = 8, .loss = (esker_loss_kind)-1}, "loss -1"},
        {{.device = dev, .batch = 8, .optimizer = {.lr = -1}}, "-1"},
        {{.device = dev, .batch = 8, .optimizer = {.lr = NAN}}, "nan"},
        {{.device = dev, .batch = 8, .optimizer = {.lr = INFINITY}}, "inf"},
        {{.device = dev, .batch = 8, .optimizer = {.kind = (esker_optimizer_kind)17}}, "17"},
        {{.device = dev, .batch = 8, .optimizer = {.momentum = NAN}}, "nan"},
    };
    esker_model *net = small_model(4, false, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_trainer *trainer = (esker_trainer *)net;
        assert_fails(esker_trainer_create(net, &rows[i].desc, &trainer), ESKER_ERR_INVALID, rows[i].message);
        assert_null(trainer);
    }
    esker_trainer_destroy(NULL);
    /* An output that is no row of numbers. */
    esker_model *picture = NULL;
    assert_ok(esker_model_create(&picture));
    esker_node *x = esker_model_input(picture, "image", &(esker_shape){3, {1, 28, 28}});
    assert_ok(esker_model_output(
        picture, esker_layer_conv2d(picture, x, &(esker_layer_conv2d_desc){.filters = 2, .kernel = {3, 3}})));
    esker_trainer *trainer = NULL;
    assert_fails(esker_trainer_create(picture, &(esker_trainer_desc){.device = dev, .batch = 8}, &trainer),
                 ESKER_ERR_INVALID, "[2, 26, 26]");
    esker_model_destroy(picture);
    esker_model_destroy(net);
}

static void wrong_fits_are_refused(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TRAIN, 20), *narrow = NULL;
    static const uint8_t pixels[20 * 28];
    static const int32_t labels[20];
    assert_ok(esker_dataset_create(&(esker_dataset_desc){.name = "narrow",
                                                         .sample_dtype = ESKER_DTYPE_U8,
                                                         .sample_shape = {3, {1, 28, 1}},
                                                         .n_samples = 20,
                                                         .n_classes = 10,
                                                         .samples = pixels,
                                                         .labels = labels},
                                   &narrow));
    esker_model *net = small_model(4, false, 1);
    esker_trainer *trainer = small_trainer(net, &(esker_trainer_desc){.batch = 32, .drop_last = true});
    assert_fails(esker_trainer_fit(trainer, ds, NULL), ESKER_ERR_INVALID, "NULL");
    assert_fails(esker_trainer_fit(trainer, NULL, &(esker_fit_desc){.epochs = 1}), ESKER_ERR_INVALID, "no data set");
    assert_fails(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = -1}), ESKER_ERR_INVALID, "-1 epochs");
    assert_fails(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1}), ESKER_ERR_INVALID, "batch of 32");
    assert_fails(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1, .progress_seconds = NAN}), ESKER_ERR_INVALID,
                 "nan");
    assert_fails(esker_trainer_fit(trainer, narrow, &(esker_fit_desc){.epochs = 1}), ESKER_ERR_INVALID,
                 "narrow: its samples are [1, 28, 1], model model takes [1, 28, 28]");
    assert_fails(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 1, .validation = narrow}), ESKER_ERR_INVALID,
                 "narrow");
    esker_dataset *enough = small_digits(ESKER_SPLIT_TRAIN, 40);
    assert_ok(esker_trainer_fit(trainer, enough, &(esker_fit_desc){.epochs = 0}));
    esker_dataset_unref(enough);
    esker_trainer_destroy(trainer);
    esker_model_destroy(net);
    esker_dataset_unref(narrow);
    esker_dataset_unref(ds);
}

static void plans_need_no_device(void **state)
{
    (void)state;
    esker_model *net = small_model(12, true, 1);
    for (esker_loss_kind loss = ESKER_LOSS_CROSS_ENTROPY; loss <= ESKER_LOSS_MSE; loss++) {
        esker_plan *plan = NULL;
        esker_plan_info info;
        assert_ok(esker_trainer_plan(net, &(esker_trainer_desc){.batch = 24, .loss = loss}, ESKER_DTYPE_U8, NULL, &plan));
        assert_ok(esker_plan_check(plan));
        esker_plan_get_info(plan, &info);
        assert_int_equal(info.n_outputs, 2);
        assert_int_equal(info.n_inputs, 2);
        assert_true(esker_plan_find_input(plan, "image") >= 0 && esker_plan_find_input(plan, "labels") >= 0);
        int n_updates = 0;
        for (int i = 0; i < info.n_dispatches; i++) {
            esker_dispatch_info d;
            assert_ok(esker_plan_get_dispatch(plan, i, &d));
            n_updates += !strcmp(d.op, "sgd");
        }
        assert_int_equal(n_updates, 1);
        esker_plan_destroy(plan);
    }
    esker_model_destroy(net);
}

/* Eight rows of an image, each with a class: planned with a label for each row, but no data set has such. */
static void sequences_can_be_planned(void **state)
{
    (void)state;
    esker_model *net = NULL;
    esker_plan *plan = NULL;
    esker_trainer *trainer = NULL;
    esker_plan_info info;
    bool read = false;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "rows", &(esker_shape){2, {8, 28}});
    assert_ok(esker_model_output(net, esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = 10})));
    assert_ok(esker_trainer_plan(net, &(esker_trainer_desc){.batch = 3}, ESKER_DTYPE_F32, NULL, &plan));
    assert_ok(esker_plan_check(plan));
    esker_plan_get_info(plan, &info);
    for (int i = 0; i < info.n_dispatches; i++) {
        esker_dispatch_info d;
        assert_ok(esker_plan_get_dispatch(plan, i, &d));
        for (int k = 0; k < d.n_bindings; k++)
            read |= !strcmp(d.bindings[k].storage, "input:labels") && d.bindings[k].n_bytes == 3 * 8 * sizeof(int32_t);
    }
    assert_true(read);
    esker_plan_destroy(plan);
    assert_fails(esker_trainer_create(net, &(esker_trainer_desc){.device = test_device(), .batch = 3}, &trainer),
                 ESKER_ERR_INVALID, "[8, 10]; data sets have one label a sample");
    assert_null(trainer);
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_descs_are_refused),
        cmocka_unit_test(wrong_fits_are_refused),
        cmocka_unit_test(plans_need_no_device),
        cmocka_unit_test(sequences_can_be_planned),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
