/**
 * Evaluators: what a model says of samples, and how right it is.
 *
 *     esker_evaluator *ev;
 *     esker_evaluator_create(net, &(esker_evaluator_desc){.device = dev, .batch = 256}, &ev);
 *     esker_evaluation e;
 *     esker_evaluator_measure(ev, test_set, &e);            e.accuracy, e.loss, e.samples
 *     esker_evaluator_predict(ev, test_set, NULL, classes); the class of every sample
 *
 * An evaluator is a forward plan that shares the model's parameters, so it always sees their newest values. The plan is
 * compiled for the first data set and again only for one of another element type; a last batch that is not full has a plan of
 * its own, for that many samples. Steps overlap: the CPU gathers a batch
 * while the device works on earlier ones.
 *
 * Threads    The thread that owns the device.
 */
#ifndef ESKER_EVALUATOR_H
#define ESKER_EVALUATOR_H

#include "dataset.h"
#include "device.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_evaluator esker_evaluator;

/**
 * What training makes small, and evaluation reports: a mean over the samples of a batch. `output` is a sample's row, [classes],
 * `target` 1 at its label and 0 elsewhere. ops.h has the formulas.
 */
typedef enum esker_loss_kind {
    ESKER_LOSS_CROSS_ENTROPY = 0, /* -log softmax(output)[label] */
    ESKER_LOSS_MSE,               /* (output - target)^2, mean over the classes */
    ESKER_LOSS_NLL,               /* -output[label]: for a model that ends in log_softmax */
    ESKER_LOSS_KL_DIV,            /* of the target from exp(output): for the same models */
    ESKER_LOSS_BCE_WITH_LOGITS,   /* binary cross-entropy of sigmoid(output), each class by itself; mean over the classes */
    ESKER_LOSS_BCE,               /* the same of output: for a model that ends in sigmoid */
    ESKER_LOSS_MAE,               /* |output - target|, mean over the classes */
    ESKER_LOSS_HUBER,             /* the same with huber's rounded |...| */
    ESKER_LOSS_SMOOTH_L1,         /* huber divided by delta */
    ESKER_LOSS_HINGE, /* max(0, margin - output) at the label, max(0, margin + output) elsewhere; mean over the classes */
    ESKER_LOSS_MULTI_MARGIN /* max(0, margin - output[label] + output), mean over the classes, the label's counting as 0 */
} esker_loss_kind;

/** "cross_entropy", "mse" and so on to a kind; ESKER_ERR_INVALID lists the names. */
ESKER_API esker_status esker_loss_from_name(const char *name, esker_loss_kind *out);
/** "?" for an unknown kind. */
ESKER_API const char *esker_loss_name(esker_loss_kind kind);

/** Zero means the usual value. A setting that the loss does not have must be 0: nothing is ignored. */
typedef struct esker_loss_settings {
    float label_smoothing; /* s in 0 .. 1: the target becomes (1 - s) target + s / classes. cross_entropy, kl_div, bce,
                              bce_with_logits */
    float delta;           /* > 0; 0: 1. huber, smooth_l1 */
    float margin;          /* finite; 0: 1. hinge, multi_margin */
    int power;             /* of multi_margin's terms, 1 or 2; 0: 1 */
    const float
        *class_weights; /* one for each class, each >= 0, not all 0; copied; NULL: 1. cross_entropy and nll, whose mean
                                   over a batch divides by the sum of its labels' weights, as in PyTorch; multi_margin */
    int n_class_weights;
} esker_loss_settings;

typedef struct esker_evaluator_desc {
    esker_device *device; /* referenced */
    int32_t batch; /* samples a step, >= 1; results depend on it by rounding alone (class weights: each batch's mean) */
    esker_loss_kind loss;
    esker_loss_settings loss_settings;
    bool float16; /* results between operations, and weights as steps read them, are stored in float16 (esker_plan_desc) */
} esker_evaluator_desc;

/**
 * Make an evaluator. Nothing is compiled before the first use.
 * Ownership  *out is destroyed with esker_evaluator_destroy(), before `net`, which it borrows.
 * Errors     ESKER_ERR_INVALID: a NULL, batch < 1 (with the number), an unknown loss, a setting that it does not have or that
 *            is outside its range, class weights that are not as many as the model's outputs, a model that is not finished.
 *            ESKER_ERR_NO_MEMORY. *out is NULL then.
 */
ESKER_API esker_status esker_evaluator_create(esker_model *net, const esker_evaluator_desc *desc, esker_evaluator **out);
/** Waits for steps in flight. Accepts NULL. */
ESKER_API void esker_evaluator_destroy(esker_evaluator *ev);

/** How right a model is on a data set. */
typedef struct esker_evaluation {
    double accuracy; /* of all samples with a label, the part whose largest output is at the label: 0 to 1 */
    double loss;     /* mean over the same samples; not a number if the model's outputs are not */
    int64_t samples; /* with a label */
    int64_t correct;
    double seconds;
} esker_evaluation;

/**
 * Run every sample of `ds` forward and compare with its label.
 * Errors     ESKER_ERR_INVALID: samples of another shape than the model's input (both), a model whose output is
 * not one row of numbers or has another count of classes than `ds` (both), no labels. What compiling and running a plan may
 * give.
 */
ESKER_API esker_status esker_evaluator_measure(esker_evaluator *ev, esker_dataset *ds, esker_evaluation *out);

/**
 * Run every sample of `ds` forward. out_outputs [n_samples, ...output_shape] gets the model's outputs, out_classes
 * [n_samples] the place of the largest output (the first of equals); either may be NULL. Labels are not needed. Errors As
 * esker_evaluator_measure(), but classes and labels do not matter.
 */
ESKER_API esker_status esker_evaluator_predict(esker_evaluator *ev, esker_dataset *ds, float *out_outputs,
                                               int32_t *out_classes);

#ifdef __cplusplus
}
#endif
#endif
