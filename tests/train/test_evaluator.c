/* device test: evaluators: last batches, both losses, predictions, and what they refuse. */
#include "train/small.h"

#include <math.h>

enum { N = 100, CLASSES = 10 };

static esker_evaluator *evaluator(esker_model *net, int32_t batch, esker_loss_kind loss)
{
    esker_evaluator *ev = NULL;
    assert_ok(
        esker_evaluator_create(net, &(esker_evaluator_desc){.device = test_device(), .batch = batch, .loss = loss}, &ev));
    return ev;
}

/* Mean loss over all rows, in double from the model's float outputs. */
static double loss_of(const float *outputs, const int32_t *labels, esker_loss_kind kind)
{
    double sum = 0;
    for (int i = 0; i < N; i++) {
        const float *row = outputs + i * CLASSES;
        double exps = 0, squares = 0;
        for (int c = 0; c < CLASSES; c++) {
            double target = c == labels[i];
            exps += exp((double)row[c] - (double)row[labels[i]]);
            squares += ((double)row[c] - target) * ((double)row[c] - target);
        }
        sum += kind == ESKER_LOSS_MSE ? squares / CLASSES : log(exps);
    }
    return sum / N;
}

static void every_batch_size_gives_the_same(void **state)
{
    (void)state;
    static const int32_t batches[] = {1, 7, 10, 33, 64, 99, 100, 101, 128, 256};
    esker_dataset *ds = small_digits(ESKER_SPLIT_TEST, N);
    esker_dataset_info data;
    esker_dataset_get_info(ds, &data);
    float outputs[N * CLASSES], again[N * CLASSES];
    int32_t classes[N];
    for (esker_loss_kind kind = ESKER_LOSS_CROSS_ENTROPY; kind <= ESKER_LOSS_MSE; kind++) {
        esker_model *net = small_model(12, true, 3);
        esker_evaluator *first = evaluator(net, N, kind);
        assert_ok(esker_evaluator_predict(first, ds, outputs, NULL));
        double loss = loss_of(outputs, data.labels, kind);
        for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
            esker_evaluator *ev = evaluator(net, batches[b], kind);
            esker_evaluation e;
            assert_ok(esker_evaluator_measure(ev, ds, &e));
            assert_int_equal(e.samples, N);
            if (!(fabs(e.loss - loss) <= 1e-6 * loss))
                fail_msg("%s, batch %d: loss %.9g, from the outputs %.9g", esker_loss_name(kind), batches[b], e.loss, loss);
            memset(again, 0xff, sizeof again);
            memset(classes, 0xff, sizeof classes);
            assert_ok(esker_evaluator_predict(ev, ds, again, classes));
            int64_t n_right = 0;
            for (int i = 0; i < N; i++) {
                const float *row = again + i * CLASSES;
                for (int c = 0; c < CLASSES; c++)
                    if (row[c] > row[classes[i]]) fail_msg("sample %d: class %d is not the largest", i, classes[i]);
                n_right += classes[i] == data.labels[i];
            }
            assert_int_equal(e.correct, n_right);
            assert_true(e.accuracy == (double)n_right / N);
            double want[N * CLASSES];
            for (int i = 0; i < N * CLASSES; i++) want[i] = (double)outputs[i];
            assert_close(again, want, NULL, 1e-5, N * CLASSES);
            esker_evaluator_destroy(ev);
        }
        esker_evaluator_destroy(first);
        esker_model_destroy(net);
    }
    esker_dataset_unref(ds);
}

static void bytes_and_floats_mean_the_same(void **state)
{
    (void)state;
    esker_dataset *bytes = small_digits(ESKER_SPLIT_TEST, N), *floats = NULL;
    esker_dataset_info data;
    esker_dataset_get_info(bytes, &data);
    float *values = malloc(sizeof *values * (size_t)(N * data.sample_elems));
    assert_non_null(values);
    for (int64_t i = 0; i < N * data.sample_elems; i++)
        values[i] = (float)((const uint8_t *)data.samples)[i] * (1.0f / 255.0f);
    assert_ok(esker_dataset_create(&(esker_dataset_desc){.sample_dtype = ESKER_DTYPE_F32,
                                                         .sample_shape = data.sample_shape,
                                                         .n_samples = N,
                                                         .n_classes = CLASSES,
                                                         .samples = values,
                                                         .labels = data.labels},
                                   &floats));
    esker_model *net = small_model(12, false, 3);
    esker_evaluator *ev = evaluator(net, 32, ESKER_LOSS_CROSS_ENTROPY);
    esker_evaluation a, b, c;
    assert_ok(esker_evaluator_measure(ev, bytes, &a));
    assert_ok(esker_evaluator_measure(ev, floats, &b)); /* another plan */
    assert_ok(esker_evaluator_measure(ev, bytes, &c));  /* and back */
    if (!(fabs(a.loss - b.loss) <= 1e-6 * a.loss)) fail_msg("bytes: %.9g, floats: %.9g", a.loss, b.loss);
    assert_int_equal(a.correct, b.correct);
    assert_true(a.loss == c.loss && a.correct == c.correct);
    esker_evaluator_destroy(ev);
    esker_model_destroy(net);
    esker_dataset_unref(floats);
    esker_dataset_unref(bytes);
    free(values);
}

static void newest_values_are_seen(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TEST, N);
    esker_model *net = small_model(12, false, 3);
    esker_evaluator *ev = evaluator(net, 64, ESKER_LOSS_CROSS_ENTROPY);
    esker_evaluation before, zero;
    assert_ok(esker_evaluator_measure(ev, ds, &before));
    esker_params *params = esker_model_get_params(net);
    for (int i = 0; i < esker_params_count(params); i++) {
        esker_param_info info;
        assert_ok(esker_params_get_info(params, i, &info));
        float *zeros = calloc((size_t)info.n_elems, sizeof *zeros);
        assert_non_null(zeros);
        assert_ok(esker_params_write(params, i, zeros, info.n_elems));
        free(zeros);
    }
    assert_ok(esker_evaluator_measure(ev, ds, &zero));
    assert_true(fabs(before.loss - zero.loss) > 1e-4);
    assert_true(fabs(zero.loss - log(10)) < 1e-5);
    assert_int_equal(zero.correct, N / 10); /* equal outputs: the first class is named, and each digit is there as often */
    esker_evaluator_destroy(ev);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

/* Stored in float16 the outputs are near, and not the same. */
static void halves_are_near(void **state)
{
    (void)state;
    float outputs[2][N * CLASSES];
    esker_dataset *ds = small_digits(ESKER_SPLIT_TEST, N);
    esker_model *net = small_model(12, true, 3);
    double off = 0, largest = 0;
    for (int half = 0; half < 2; half++) {
        esker_evaluator *ev;
        esker_evaluation e;
        assert_ok(esker_evaluator_create(
            net, &(esker_evaluator_desc){.device = test_device(), .batch = 32, .float16 = half == 1}, &ev));
        assert_ok(esker_evaluator_predict(ev, ds, outputs[half], NULL));
        assert_ok(esker_evaluator_measure(ev, ds, &e));
        assert_int_equal(e.samples, N);
        esker_evaluator_destroy(ev);
    }
    for (int i = 0; i < N * CLASSES; i++) {
        off = fmax(off, fabs((double)outputs[1][i] - (double)outputs[0][i]));
        largest = fmax(largest, fabs((double)outputs[0][i]));
    }
    assert_true(off > 0 && off <= 8 * 0x1p-11 * largest);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

/* A model whose output is a picture can be run, but not measured with labels. */
static void pictures_are_predicted_not_measured(void **state)
{
    (void)state;
    esker_dataset *ds = small_digits(ESKER_SPLIT_TEST, 5);
    esker_dataset_info data;
    esker_dataset_get_info(ds, &data);
    esker_model *net = NULL;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "image", &(esker_shape){3, {1, 28, 28}});
    assert_ok(esker_model_output(net, esker_affine(x, 2, 1)));
    esker_evaluator *ev = evaluator(net, 2, ESKER_LOSS_CROSS_ENTROPY);
    float *out = malloc(5 * 784 * sizeof *out);
    assert_non_null(out);
    assert_ok(esker_evaluator_predict(ev, ds, out, NULL));
    double want[5 * 784];
    for (int i = 0; i < 5 * 784; i++) want[i] = 2.0 / 255.0 * ((const uint8_t *)data.samples)[i] + 1;
    assert_close(out, want, NULL, 1e-6, 5 * 784);
    esker_evaluation e;
    assert_fails(esker_evaluator_measure(ev, ds, &e), ESKER_ERR_INVALID, "[1, 28, 28]");
    free(out);
    esker_evaluator_destroy(ev);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

static void wrong_descs_are_refused(void **state)
{
    (void)state;
    esker_device *dev = test_device();
    esker_model *net = small_model(4, false, 1), *unfinished = NULL;
    assert_ok(esker_model_create(&unfinished));
    esker_model_input(unfinished, "image", &(esker_shape){3, {1, 28, 28}});
    esker_evaluator *ev = (esker_evaluator *)net;
    assert_fails(esker_evaluator_create(NULL, &(esker_evaluator_desc){.device = dev, .batch = 1}, &ev), ESKER_ERR_INVALID,
                 "");
    assert_null(ev);
    assert_fails(esker_evaluator_create(net, NULL, &ev), ESKER_ERR_INVALID, "");
    assert_fails(esker_evaluator_create(net, &(esker_evaluator_desc){.batch = 1}, &ev), ESKER_ERR_INVALID, "device");
    assert_fails(esker_evaluator_create(net, &(esker_evaluator_desc){.device = dev}, &ev), ESKER_ERR_INVALID, "batch of 0");
    assert_fails(esker_evaluator_create(net, &(esker_evaluator_desc){.device = dev, .batch = -3}, &ev), ESKER_ERR_INVALID,
                 "batch of -3");
    assert_fails(
        esker_evaluator_create(net, &(esker_evaluator_desc){.device = dev, .batch = 1, .loss = (esker_loss_kind)99}, &ev),
        ESKER_ERR_INVALID, "loss 9");
    assert_fails(esker_evaluator_create(unfinished, &(esker_evaluator_desc){.device = dev, .batch = 1}, &ev),
                 ESKER_ERR_INVALID, NULL);
    assert_null(ev);
    esker_evaluator_destroy(NULL);

    esker_loss_kind kind;
    assert_ok(esker_loss_from_name("mse", &kind));
    assert_int_equal(kind, ESKER_LOSS_MSE);
    assert_fails(esker_loss_from_name("lose", &kind), ESKER_ERR_INVALID, "known are cross_entropy, mse");
    esker_model_destroy(unfinished);
    esker_model_destroy(net);
}

static void data_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const uint8_t pixels[4 * 784];
    static const int32_t labels[4] = {0, 1, 2, 0};
    static const struct {
        const char *name;
        esker_shape shape;
        int32_t n_classes;
        bool labels;
        const char *message;
    } rows[] = {
        {"wide", {3, {1, 27, 28}}, 10, true, "[1, 27, 28], model model takes [1, 28, 28]"},
        {"flat", {1, {784}}, 10, true, "[784], model model takes [1, 28, 28]"},
        {"classes", {3, {1, 28, 28}}, 3, true, "3 classes, the output of model model is [10]"},
        {"unlabelled", {3, {1, 28, 28}}, 0, false, "no labels"},
    };
    esker_model *net = small_model(4, false, 1);
    esker_evaluator *ev = evaluator(net, 2, ESKER_LOSS_CROSS_ENTROPY);
    esker_evaluation e;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        esker_dataset *ds = NULL;
        assert_ok(esker_dataset_create(&(esker_dataset_desc){.name = rows[i].name,
                                                             .sample_dtype = ESKER_DTYPE_U8,
                                                             .sample_shape = rows[i].shape,
                                                             .n_samples = 4,
                                                             .n_classes = rows[i].n_classes,
                                                             .samples = pixels,
                                                             .labels = rows[i].labels ? labels : NULL},
                                       &ds));
        assert_fails(esker_evaluator_measure(ev, ds, &e), ESKER_ERR_INVALID, rows[i].message);
        assert_non_null(strstr(esker_last_error(), rows[i].name));
        esker_dataset_unref(ds);
    }
    assert_fails(esker_evaluator_measure(ev, NULL, &e), ESKER_ERR_INVALID, "no data set");
    assert_fails(esker_evaluator_predict(ev, NULL, NULL, NULL), ESKER_ERR_INVALID, "no data set");
    esker_evaluator_destroy(ev);
    esker_model_destroy(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_batch_size_gives_the_same),
        cmocka_unit_test(bytes_and_floats_mean_the_same),
        cmocka_unit_test(newest_values_are_seen),
        cmocka_unit_test(halves_are_near),
        cmocka_unit_test(pictures_are_predicted_not_measured),
        cmocka_unit_test(wrong_descs_are_refused),
        cmocka_unit_test(data_that_does_not_fit_is_refused),
    };
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
