/**
 * L-BFGS: a quasi-Newton method for a loss that is the same function every time it is asked for, such as that of all samples
 * at once. For small problems and fine fits; mini-batches are for the optimizers of graph.h.
 *
 *     esker_node *loss = esker_mse(model_of(x), y);                    (recorded in a graph, from inputs and parameters)
 *     esker_lbfgs *opt;
 *     esker_lbfgs_create(loss, &(esker_lbfgs_desc){.device = dev}, &opt);
 *     esker_lbfgs_write(opt, "x", samples, bytes);                     inputs keep what was written
 *     esker_lbfgs_write(opt, "y", targets, bytes);
 *     esker_lbfgs_result r = {0};
 *     for (int i = 0; i < 50 && r.stop <= ESKER_LBFGS_EVALUATIONS; i++) esker_lbfgs_step(opt, &r);
 *     esker_lbfgs_destroy(opt);
 *
 * Instead of a function that the optimizer calls, it has a plan: loss and gradients for the inputs as they are, which it runs
 * as often as its line search wants. Parameters, gradients, direction and history stay on the device; the CPU sees the loss
 * and five sums for each evaluation, and chooses step lengths from them. Nothing is compiled or allocated after
 * esker_lbfgs_create(), which takes (4 + 2 history) times the memory of the parameters that are not frozen.
 *
 * Source     Liu, Nocedal, On the limited memory BFGS method for large scale optimization, 1989; the line search of Nocedal,
 *            Wright, Numerical Optimization, chapter 3. It decides as torch.optim.LBFGS does (2.11), so that the
 *            same steps are made, but for losses that are no finite numbers.
 * Bits       Sums are fixed trees: the same start, inputs, desc, device and driver give the same bits.
 * Threads    The thread that owns the device.
 */
#ifndef ESKER_LBFGS_H
#define ESKER_LBFGS_H

#include "device.h"
#include "graph.h"
#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_lbfgs esker_lbfgs;

/** How far to go along a direction. */
typedef enum esker_line_search {
    ESKER_LINE_SEARCH_STRONG_WOLFE = 0, /* to where loss and slope have fallen enough: 1e-4 and 0.9, cubic interpolation, at
                                           most 26 evaluations; the first trial is `lr` */
    ESKER_LINE_SEARCH_NONE              /* `lr` of it, whatever that does */
} esker_line_search;

/** Zero means the usual value, PyTorch's but for `history` and the line search (which it has not, if not asked for). */
typedef struct esker_lbfgs_desc {
    esker_device *device; /* referenced */
    float lr;             /* the first trial of a direction, 1 being all of it; of the very first one times min(1, 1 / sum
                             |gradient|). > 0; 0: 1 */
    int history;          /* pairs of steps and gradient changes that the direction is made of, 1 to 1000; 0: 10 */
    int iterations;       /* directions of one step at most, >= 1; 0: 20 */
    int evaluations; /* of one step, >= 1: then it begins no direction any more, and a line search takes the best point it
                             has; 0: 25, or 5/4 of the iterations if that is more */
    float tolerance_gradient; /* no element of the gradient is larger: done; 0: 1e-7 */
    float tolerance_change;   /* nothing moves by more, nor does the loss change by more: done; 0: 1e-9 */
    esker_line_search search;
    uint64_t seed; /* of random operations, which draw the same in all evaluations of a step */
    bool check;    /* every evaluation in check mode (esker_plan_desc) */
} esker_lbfgs_desc;

/**
 * Record the gradients of `loss` for every parameter that is not frozen, and compile a plan of both. All those parameters
 * are optimized together, whatever group they are in. The graph may be destroyed afterwards.
 * Ownership  *out is the caller's, esker_lbfgs_destroy(). It keeps parameters and device alive.
 * Errors     ESKER_ERR_INVALID: a NULL; a setting outside its range (with the number); a graph that has an optimizer
 *            already; a parameter that is not frozen and that `loss` does not depend on, or all frozen. What compiling a plan
 *            may give. *out is NULL then.
 */
ESKER_API esker_status esker_lbfgs_create(esker_node *loss, const esker_lbfgs_desc *desc, esker_lbfgs **out);
/** Waits for the device. The parameters keep their values. Accepts NULL. */
ESKER_API void esker_lbfgs_destroy(esker_lbfgs *lbfgs);

/**
 * Copy `n_bytes` (all of it) into the graph's input `name`, which keeps it until it is written again. Zeros before.
 * Errors     ESKER_ERR_INVALID: no input of that name, or a byte count that is not the input's, with both numbers.
 */
ESKER_API esker_status esker_lbfgs_write(esker_lbfgs *lbfgs, const char *name, const void *data, size_t n_bytes);

/** Why a step ended. */
typedef enum esker_lbfgs_stop {
    ESKER_LBFGS_ITERATIONS = 0, /* all its iterations are done */
    ESKER_LBFGS_EVALUATIONS,    /* or its evaluations */
    ESKER_LBFGS_GRADIENT,       /* the gradient is at most tolerance_gradient: a minimum, or a saddle */
    ESKER_LBFGS_CHANGE,         /* parameters or loss changed by at most tolerance_change */
    ESKER_LBFGS_SLOPE,          /* along the direction the loss falls by less than tolerance_change; it was not followed */
    ESKER_LBFGS_NOT_FINITE      /* loss or gradient are not finite numbers. With a line search the parameters are those of
                                   the last point where they were */
} esker_lbfgs_stop;

typedef struct esker_lbfgs_result {
    double loss_before, loss; /* where the step began and ended; without line search the last move is not evaluated, and
                                 `loss` is that before it */
    double gradient_max;      /* largest |element| of the gradient where `loss` was taken */
    double step_length;       /* of the last move, in directions; 0: none was made */
    int iterations, evaluations;
    esker_lbfgs_stop stop;
} esker_lbfgs_result;

/**
 * Evaluate, and follow up to desc->iterations directions. A further call goes on with the history; after a step that stopped
 * by itself it does so only if inputs or parameters were changed in between (whose change of gradient enters the history,
 * as PyTorch has it: esker_lbfgs_reset() if that is not wanted). esker_params_read_gradient() gives the gradient where
 * `loss` was taken.
 * Errors     ESKER_ERR_INVALID: a NULL. ESKER_ERR_MISMATCH in check mode. ESKER_ERR_LOST, ESKER_ERR_DEVICE. The parameters
 *            may then be those of any point of the search.
 */
ESKER_API esker_status esker_lbfgs_step(esker_lbfgs *lbfgs, esker_lbfgs_result *out);

/** Forget the history: the next direction is minus the gradient, as the first one was. Accepts NULL. */
ESKER_API void esker_lbfgs_reset(esker_lbfgs *lbfgs);

/** The plan behind it, to look at: output 0 is the loss. Borrowed; NULL for NULL. */
ESKER_API const esker_plan *esker_lbfgs_get_plan(const esker_lbfgs *lbfgs);

#ifdef __cplusplus
}
#endif
#endif
