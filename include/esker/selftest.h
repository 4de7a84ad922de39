/**
 * The self-test: every operation on the device at hand, forward and gradient, against its double-precision reference.
 *
 * For each operation there are some cases (settings, and input shapes around the sizes of kernels' groups). A case is
 * compiled as a plan in check mode (esker_plan_desc), and every operation in it, backward ones too, is compared element
 * by element on the device's own inputs, within the bound that docs/operations.md lists. It takes well under three
 * minutes on two cores with a software driver.
 *
 * Quarantine. Contractions have several kernels for one job. A kernel that gives wrong results is written down in the
 * device's cache folder, under a hash of driver, source and defines, and plans made from then on take another one in its
 * place, until the driver or the kernel changes. What has no other kernel, or none that is right, is a failure.
 *
 * Threads    The thread that owns the device; callbacks run in it, during the call.
 */
#ifndef ESKER_SELFTEST_H
#define ESKER_SELFTEST_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One case. Texts are borrowed for the call. */
typedef struct esker_selftest_result {
    const char *op;        /* "matmul" */
    const char *case_name; /* the shapes of its inputs, and the setting: "5,7 x 7,3, a transposed" */
    const char *variant;   /* the kernels that ran it, with their defines; "" for one that runs nothing (reshape) */
    bool pass;             /* forward, and of an optimizer the update */
    double error; /* the worst of all elements in units of its bound: at most 1 is right; infinite for what is no number */
    bool has_gradient, gradient_pass;
    double gradient_error;
    bool
        quarantined; /* it was wrong, and its kernels are quarantined: another result of the same case follows, with others */
    const char *message; /* of a failure: what was wrong first; else "" */
} esker_selftest_result;

typedef struct esker_selftest_desc {
    const char *ops; /* a pattern for names of operations, with * ? [a-z] as in a shell; NULL: all */
    /** Called for each result, in the order of the operator table. false: stop. May be NULL. */
    bool (*result)(const esker_selftest_result *result, void *user);
    void *user;
    bool no_quarantine; /* a wrong kernel is only reported */
} esker_selftest_desc;

typedef struct esker_selftest_summary {
    int passed, failed; /* cases */
    int quarantined;    /* kernels that were, by this run */
    double seconds;
} esker_selftest_summary;

/**
 * Run it; `desc` may be NULL. A wrong result is no error of this function: *out counts it.
 * Errors     ESKER_ERR_INVALID: no operation with cases has a name like desc->ops. ESKER_ERR_CANCELLED: the callback
 *            returned false. ESKER_ERR_LOST, ESKER_ERR_NO_MEMORY and others that end any use of the device.
 */
ESKER_API esker_status esker_selftest_run(esker_device *dev, const esker_selftest_desc *desc, esker_selftest_summary *out);

#ifdef __cplusplus
}
#endif
#endif
