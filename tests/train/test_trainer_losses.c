/* device test: every loss of trainers and evaluators is what its definition says of the model's outputs, and can be learned with. */
#include <math.h>

#include "small.h"

enum { N = 23, FEATURES = 6, CLASSES = 5, BATCH = 8 };

typedef enum ending { PLAIN, LOG_SOFTMAX, SIGMOID } ending;

static const float weights[CLASSES] = {0.5f, 2, 1, 0, 1.5f};

static const struct loss_case {
    const char *name;
    esker_loss_kind kind;
    ending ending; /* of the model */
    esker_loss_settings settings;
} cases[] = {
    {"cross_entropy", ESKER_LOSS_CROSS_ENTROPY, PLAIN, {0}},
    {"cross_entropy, smoothed", ESKER_LOSS_CROSS_ENTROPY, PLAIN, {.label_smoothing = 0.25f}},
    {"cross_entropy, weights", ESKER_LOSS_CROSS_ENTROPY, PLAIN, {.class_weights = weights, .n_class_weights = CLASSES}},
    {"cross_entropy, both",
     ESKER_LOSS_CROSS_ENTROPY,
     PLAIN,
     {.label_smoothing = 0.5f, .class_weights = weights, .n_class_weights = CLASSES}},
    {"mse", ESKER_LOSS_MSE, PLAIN, {0}},
    {"nll", ESKER_LOSS_NLL, LOG_SOFTMAX, {0}},
    {"nll, weights", ESKER_LOSS_NLL, LOG_SOFTMAX, {.class_weights = weights, .n_class_weights = CLASSES}},
    {"kl_div", ESKER_LOSS_KL_DIV, LOG_SOFTMAX, {0}},
    {"kl_div, smoothed", ESKER_LOSS_KL_DIV, LOG_SOFTMAX, {.label_smoothing = 0.25f}},
    {"bce_with_logits", ESKER_LOSS_BCE_WITH_LOGITS, PLAIN, {0}},
    {"bce_with_logits, smoothed", ESKER_LOSS_BCE_WITH_LOGITS, PLAIN, {.label_smoothing = 0.25f}},
    {"bce", ESKER_LOSS_BCE, SIGMOID, {0}},
    {"mae", ESKER_LOSS_MAE, PLAIN, {0}},
    {"huber", ESKER_LOSS_HUBER, PLAIN, {0}},
    {"huber, narrow", ESKER_LOSS_HUBER, PLAIN, {.delta = 0.25f}},
    {"smooth_l1, narrow", ESKER_LOSS_SMOOTH_L1, PLAIN, {.delta = 0.25f}},
    {"hinge", ESKER_LOSS_HINGE, PLAIN, {0}},
    {"hinge, wide", ESKER_LOSS_HINGE, PLAIN, {.margin = 2}},
    {"multi_margin", ESKER_LOSS_MULTI_MARGIN, PLAIN, {0}},
    {"multi_margin, squares, weights",
     ESKER_LOSS_MULTI_MARGIN,
     PLAIN,
     {.margin = 0.5f, .power = 2, .class_weights = weights, .n_class_weights = CLASSES}},
};

/* ---- The definitions, for one row ---- */

static double smoothed(const esker_loss_settings *s, int c, int label)
{
    return (1 - s->label_smoothing) * (c == label) + s->label_smoothing / (double)CLASSES;
}

static double term_of_class(const struct loss_case *c, double x, double t, double sign)
{
    double delta = c->settings.delta != 0 ? c->settings.delta : 1,
           margin = c->settings.margin != 0 ? c->settings.margin : 1;
    double a = fabs(x - t), huber = a <= delta ? a * a / 2 : delta * (a - delta / 2);
    switch (c->kind) {
    case ESKER_LOSS_MSE: return a * a;
    case ESKER_LOSS_MAE: return a;
    case ESKER_LOSS_HUBER: return huber;
    case ESKER_LOSS_SMOOTH_L1: return huber / delta;
    case ESKER_LOSS_BCE: return -(t * log(x) + (1 - t) * log(1 - x));
    case ESKER_LOSS_BCE_WITH_LOGITS: return log(1 + exp(x)) - t * x;
    case ESKER_LOSS_HINGE: return fmax(0, margin - sign * x);
    case ESKER_LOSS_KL_DIV: return CLASSES * (t > 0 ? t * (log(t) - x) : 0);
    default: return NAN;
    }
}

/* The row's term, and in *out_weight what it counts for in the mean. */
static double term_of_row(const struct loss_case *c, const float *x, int label, double *out_weight)
{
    const esker_loss_settings *s = &c->settings;
    double w = s->class_weights ? s->class_weights[label] : 1, sum = 0, total = 0;
    double margin = s->margin != 0 ? s->margin : 1;
    *out_weight = 1;
    for (int k = 0; k < CLASSES; k++) total += exp((double)x[k]);
    for (int k = 0; k < CLASSES; k++) {
        double wk = s->class_weights ? s->class_weights[k] : 1, z = margin - x[label] + x[k];
        if (c->kind == ESKER_LOSS_CROSS_ENTROPY)
            sum -= wk * smoothed(s, k, label) * ((double)x[k] - log(total));
        else if (c->kind == ESKER_LOSS_MULTI_MARGIN)
            sum += k != label && z > 0 ? w * (s->power == 2 ? z * z : z) / CLASSES : 0;
        else if (c->kind != ESKER_LOSS_NLL)
            sum += term_of_class(c, x[k], smoothed(s, k, label), k == label ? 1 : -1) / CLASSES;
    }
    if (c->kind == ESKER_LOSS_NLL) sum = -w * x[label];
    if (c->kind == ESKER_LOSS_CROSS_ENTROPY || c->kind == ESKER_LOSS_NLL) *out_weight = w;
    return sum;
}

static double mean_loss(const struct loss_case *c, const float *outputs, const int32_t *labels, int n)
{
    double sum = 0, weight = 0;
    for (int i = 0; i < n; i++) {
        double w;
        sum += term_of_row(c, outputs + i * CLASSES, labels[i], &w);
        weight += w;
    }
    return sum / weight;
}

/* ---- What is measured ---- */

static esker_model *model_for(ending last)
{
    esker_model *net = NULL;
    assert_ok(esker_model_create(&net));
    esker_node *x = esker_model_input(net, "x", &(esker_shape){1, {FEATURES}});
    x = esker_layer_linear(net, x, &(esker_layer_linear_desc){.features = CLASSES});
    if (last == LOG_SOFTMAX) x = esker_log_softmax(x, 1);
    if (last == SIGMOID) x = esker_sigmoid(x);
    assert_ok(esker_model_output(net, x));
    assert_ok(esker_params_init_values(esker_model_get_params(net), 8));
    return net;
}

/* Rows whose largest feature says the class. */
static esker_dataset *samples(int32_t labels[N])
{
    float rows[N * FEATURES];
    esker_dataset *ds = NULL;
    test_uniform(rows, N * FEATURES, -1, 1, 4);
    for (int i = 0; i < N; i++) {
        labels[i] = i % CLASSES;
        rows[i * FEATURES + labels[i]] += 2;
    }
    assert_ok(esker_dataset_create(
        &(esker_dataset_desc){
            .sample_shape = {1, {FEATURES}}, .n_samples = N, .n_classes = CLASSES, .samples = rows, .labels = labels},
        &ds));
    return ds;
}

static bool keep_first(const esker_step_record *record, void *user)
{
    if (record->step == 1) *(esker_step_record *)user = *record;
    return true;
}

static void losses_are_as_defined_and_fall(void **state)
{
    const struct loss_case *c = *state;
    int32_t labels[N], classes[N];
    float outputs[N * CLASSES];
    esker_dataset *ds = samples(labels);
    esker_model *net = model_for(c->ending);
    esker_loss_settings settings = c->settings;
    float own_weights[CLASSES];
    if (settings.class_weights) settings.class_weights = memcpy(own_weights, weights, sizeof weights);
    esker_evaluator *ev;
    esker_trainer *trainer;
    const esker_evaluator_desc eval_desc = {
        .device = test_device(), .batch = N, .loss = c->kind, .loss_settings = settings};
    const esker_trainer_desc desc = {.device = test_device(),
                                     .batch = BATCH,
                                     .loss = c->kind,
                                     .loss_settings = settings,
                                     .keep_order = true,
                                     .optimizer = {.kind = ESKER_OPTIMIZER_ADAM, .lr = 0.05f}};
    assert_ok(esker_evaluator_create(net, &eval_desc, &ev));
    assert_ok(esker_trainer_create(net, &desc, &trainer));
    memset(own_weights, 0, sizeof own_weights); /* they were copied */

    assert_ok(esker_evaluator_predict(ev, ds, outputs, classes));
    esker_evaluation before, after;
    assert_ok(esker_evaluator_measure(ev, ds, &before));
    double want = mean_loss(c, outputs, labels, N), first = mean_loss(c, outputs, labels, BATCH);
    int correct = 0;
    for (int i = 0; i < N; i++) correct += classes[i] == labels[i];
    if (!(fabs(before.loss - want) <= 2e-6 * fmax(1, want))) fail_msg("loss %.9g, defined as %.9g", before.loss, want);
    assert_int_equal((int)before.correct, correct);

    esker_step_record record = {0};
    assert_ok(esker_trainer_fit(trainer, ds, &(esker_fit_desc){.epochs = 40, .log = keep_first, .user = &record}));
    if (!(fabs(record.loss - first) <= 2e-6 * fmax(1, first)))
        fail_msg("step 1: %.9g, defined as %.9g", record.loss, first);
    assert_ok(esker_evaluator_measure(ev, ds, &after));
    if (!(after.loss < 0.9 * before.loss)) fail_msg("loss %.6g, and %.6g after learning", before.loss, after.loss);
    assert_true(after.correct > before.correct);
    esker_evaluation same;
    if (!c->settings.class_weights || c->kind == ESKER_LOSS_MULTI_MARGIN) { /* else each batch has a mean of its own */
        assert_ok(esker_trainer_evaluate(trainer, ds, &same));
        assert_true(fabs(same.loss - after.loss) <= 2e-6 * fmax(1, after.loss));
    }
    esker_trainer_destroy(trainer);
    esker_evaluator_destroy(ev);
    esker_model_destroy(net);
    esker_dataset_unref(ds);
}

static void settings_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const float negative[CLASSES] = {1, 1, -1, 1, 1}, none[CLASSES] = {0};
    const struct {
        esker_loss_kind kind;
        esker_loss_settings settings;
        const char *part;
    } bad[] = {
        {(esker_loss_kind)ESKER_LOSS_MULTI_MARGIN + 1, {0}, "loss 11 is unknown"},
        {ESKER_LOSS_MSE, {.label_smoothing = 0.1f}, "label_smoothing is 0.1, but mse has none"},
        {ESKER_LOSS_CROSS_ENTROPY, {.label_smoothing = 1.5f}, "label_smoothing is 1.5, it must be in 0 to 1"},
        {ESKER_LOSS_CROSS_ENTROPY, {.label_smoothing = NAN}, "label_smoothing is nan"},
        {ESKER_LOSS_CROSS_ENTROPY, {.delta = 1}, "delta is 1, but cross_entropy has none"},
        {ESKER_LOSS_HUBER, {.delta = -1}, "delta is -1, it must be positive"},
        {ESKER_LOSS_HUBER, {.margin = 1}, "margin is 1, but huber has none"},
        {ESKER_LOSS_HINGE, {.margin = INFINITY}, "margin is inf"},
        {ESKER_LOSS_HINGE, {.power = 2}, "power is 2, but hinge has none"},
        {ESKER_LOSS_MULTI_MARGIN, {.power = 3}, "power is 3, it must be 1 or 2"},
        {ESKER_LOSS_MAE, {.class_weights = weights, .n_class_weights = CLASSES}, "but mae has none"},
        {ESKER_LOSS_NLL, {.class_weights = weights}, "0 class weights"},
        {ESKER_LOSS_NLL, {.n_class_weights = 3}, "3 class weights, but no array"},
        {ESKER_LOSS_NLL, {.class_weights = negative, .n_class_weights = CLASSES}, "class weight 2 is -1"},
        {ESKER_LOSS_NLL, {.class_weights = none, .n_class_weights = CLASSES}, "all 5 class weights are 0"},
        {ESKER_LOSS_NLL, {.class_weights = weights, .n_class_weights = 4}, "4 class weights, the model's output is [5]"},
    };
    esker_model *net = model_for(PLAIN);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        esker_evaluator *ev;
        esker_trainer *trainer;
        const esker_evaluator_desc eval_desc = {
            .device = test_device(), .batch = 4, .loss = bad[i].kind, .loss_settings = bad[i].settings};
        const esker_trainer_desc desc = {
            .device = test_device(), .batch = 4, .loss = bad[i].kind, .loss_settings = bad[i].settings};
        assert_fails(esker_evaluator_create(net, &eval_desc, &ev), ESKER_ERR_INVALID, bad[i].part);
        assert_fails(esker_trainer_create(net, &desc, &trainer), ESKER_ERR_INVALID, bad[i].part);
    }
    esker_model_destroy(net);
}

static void names_are_kinds(void **state)
{
    (void)state;
    esker_loss_kind kind;
    for (int k = 0; k <= ESKER_LOSS_MULTI_MARGIN; k++) {
        assert_ok(esker_loss_from_name(esker_loss_name((esker_loss_kind)k), &kind));
        assert_int_equal(kind, k);
    }
    assert_string_equal(esker_loss_name((esker_loss_kind)99), "?");
    assert_fails(
        esker_loss_from_name("lose", &kind), ESKER_ERR_INVALID,
        "loss \"lose\": known are cross_entropy, mse, nll, kl_div, bce_with_logits, bce, mae, huber, smooth_l1, hinge "
        "and multi_margin");
}

int main(void)
{
    enum { CASES = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[CASES + 2] = {cmocka_unit_test(settings_that_cannot_be_are_refused),
                                          cmocka_unit_test(names_are_kinds)};
    for (int i = 0; i < CASES; i++)
        tests[2 + i] = (struct CMUnitTest){cases[i].name, losses_are_as_defined_and_fall, NULL, NULL, (void *)&cases[i]};
    return test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
