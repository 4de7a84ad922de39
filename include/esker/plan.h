/**
 * Plans: a graph compiled for fixed shapes into a fixed list of dispatches over fixed memory, replayed for every step.
 *
 * A plan can be made for a device, or without one from limits alone (to be printed and checked). A step of a plan
 *   esker_plan_write(plan, input, data, bytes)   once for each input, into this step's staging slot
 *   esker_plan_submit(plan, &ticket)             queue the dispatches; returns at once
 *   esker_plan_wait(plan, ticket)                later, when the results are wanted
 *   esker_plan_read(plan, ticket, output, ...)
 * allocates nothing (but that the slots of an input are taken when it is first written: one that is always a tensor needs none),
 * compiles nothing, makes no GL object and waits for nothing but its own back-pressure: at most
 * ESKER_PLAN_SLOTS steps are in flight, and submitting one more waits for the oldest. Results of a step stay readable until
 * ESKER_PLAN_SLOTS - 1 later steps were submitted. Steps may share a fence, and be handed to a busy GPU by twos (submission.h).
 *
 * What depends on constants and on parameters that the plan does not itself change is computed once, not in every step: such dispatches are
 * the plan's prologue, which runs in front of the first step, and in front of the next one after a parameter that it reads was
 * changed, by a step of another plan, esker_params_write() or whatever else. Nobody has to ask for it.
 *
 * Callbacks, dependencies and events: submission.h. Callbacks of submissions run inside the functions below that write, submit,
 * wait, poll, read or destroy.
 *
 * Threads    The thread that owns the device, but for the address given by esker_plan_input_slot(). What is in a plan (the last
 *            section) may be asked in any thread, and a plan for limits alone compiled in any.
 */
#ifndef ESKER_PLAN_H
#define ESKER_PLAN_H

#include "device.h"
#include "graph.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct esker_plan esker_plan;

/** Steps in flight, staging slots of each input, and slots of results. */
#define ESKER_PLAN_SLOTS 4

typedef struct esker_plan_desc {
    esker_device *device;       /* NULL: plan for `limits` only; such a plan cannot run */
    const esker_limits *limits; /* without a device; NULL: the ES 3.1 minimum */
    esker_node *const *outputs; /* values to read after each step */
    int n_outputs;
    uint64_t seed;           /* of random operations */
    double slice_seconds;    /* longest estimated time of one dispatch before it is cut; 0: 0.05; negative: never cut */
    double flops_per_second; /* the estimate's rates; 0: measured on the device once and kept with its binaries, and */
    double bytes_per_second; /*   without a device those of a small GPU, 1e10 and 2e9; of one from NVIDIA 5e13 and 2e12 */
    bool no_fusion;          /* every operation keeps dispatches of its own */
    /**
     * Check mode: esker_plan_submit() runs the dispatches one at a time and compares what each operation, optimizers
     * included, made of the device's own inputs with the operation's double-precision reference, element by element,
     * within its error bound. The first that differs is ESKER_ERR_MISMATCH, with operation, label, kernels, element, both
     * values and the bound. A step takes as long as the references do on one core, and as much host memory as the plan's
     * values.
     */
    bool check;
    /**
     * Store in float16 what can be: results between operations, and weights, as steps read them (their float32 values stay with the parameters, so that a copy of those is memory besides; none on llvmpipe). Kernels compute in
     * float32, and round what they store: an error below 2^-10 of each value, 2^-11 where a device rounds to the nearest half, or 2^-14 where it makes zeros
     * of halves that are no normal numbers; beyond 65504 they are infinite. Inputs, outputs, results below 1 KiB, weights below 8, and what is inside of one
     * operation (partial sums, Winograd's transforms) stay in float32. For plans that change no parameters; others are ESKER_ERR_INVALID. esker_plan_info says how much is stored so.
     */
    bool float16;
    double tune_seconds; /* first try the kernels of jobs that were not tuned on this device yet, no job later than so many
                            seconds after the first (esker_tune()); 0: do not */
    const char
        *renderer; /* without a device: what its driver calls the GPU ("NVIDIA H200", "Mali-G52"); kernels that are usual on
                             GPUs of that family are planned (their limits: esker_limits_usual()). NULL: of no family. Borrowed during the call */
} esker_plan_desc;

/**
 * Compile everything that desc->outputs and the graph's effects (optimizer updates) need. The graph may be destroyed
 * afterwards; the parameters stay shared with other plans of the same esker_params.
 * Errors     The graph's first failure, if it has one; ESKER_ERR_INVALID: nothing to compute, an output of another graph,
 *            two inputs of one name, limits below the ES 3.1 minimum; ESKER_ERR_LIMIT: a value larger than a storage
 *            block; ESKER_ERR_UNSUPPORTED: a kernel that the self-test found wrong on this device, and nothing else can do
 *            its work; ESKER_ERR_NO_MEMORY; ESKER_ERR_COMPILE.
 */
ESKER_API esker_status esker_plan_compile(esker_graph *graph, const esker_plan_desc *desc, esker_plan **out);
/**
 * Waits for steps in flight; those that are held back (submission.h) are cancelled. Accepts NULL. In a thread that does not own
 * the device nothing is destroyed, and the log is told.
 */
ESKER_API void esker_plan_destroy(esker_plan *plan);

/** Index of the input of that name, or -1. */
ESKER_API int esker_plan_find_input(const esker_plan *plan, const char *name);

/**
 * Copy `n_bytes` (all of the input) into the staging slot of the next step. An input that is not written keeps nothing
 * from earlier steps: every input must be given for every step. `data` may be reused as soon as the call returns. Waits, if the
 * slot is that of the oldest step in flight, until that one has finished.
 * Errors     ESKER_ERR_INVALID: bad index, or a byte count that is not the input's, with both numbers.
 */
ESKER_API esker_status esker_plan_write(esker_plan *plan, int input, const void *data, size_t n_bytes);

/**
 * The address of staging slot `slot` (0 .. ESKER_PLAN_SLOTS - 1) of an input, for filling it from another thread; NULL in
 * *out_address where the driver has no persistent mapping (then use esker_plan_write). The slot of the step with ticket t
 * is t % ESKER_PLAN_SLOTS; it is free to be filled once the step that used it before has finished (esker_plan_wait for
 * ticket t - ESKER_PLAN_SLOTS), and is passed on by esker_plan_mark_written. The memory is the device's from the submission on
 * until the step has finished; of a step that waits for events (submission.h) from the moment they have happened.
 */
ESKER_API esker_status esker_plan_input_slot(esker_plan *plan, int input, int slot, void **out_address);
/** Say that the next step's slot of `input` was filled through its address. */
ESKER_API esker_status esker_plan_mark_written(esker_plan *plan, int input);

/**
 * From now on steps read `tensor` for this input, without a copy, and the input counts as written for every step; NULL goes
 * back to the staging slots. A step sees what the tensor held when it was submitted: write to the tensor with
 * esker_tensor_write() (ordered behind queued steps), or while it is mapped (which waits for them).
 * Ownership  The plan references the tensor until it is unbound or the plan destroyed.
 * Errors     ESKER_ERR_INVALID: bad index, another element type or shape than the input's (both are told), or a tensor of
 *            another device. The binding is as before then. While bound, esker_plan_write(), esker_plan_input_slot() and
 *            esker_plan_mark_written() refuse this input, and submitting refuses a tensor that is mapped.
 */
ESKER_API esker_status esker_plan_bind_input(esker_plan *plan, int input, esker_tensor *tensor);

/** The learning rate for steps submitted from now on; 0: the optimizer's own. */
ESKER_API esker_status esker_plan_set_lr(esker_plan *plan, float lr);
/** The number of the next update, which optimizers and random operations see; counts up by one each step, from 0. */
ESKER_API esker_status esker_plan_set_step(esker_plan *plan, uint64_t step);

/**
 * Queue one step. *out_ticket (may be NULL) numbers it, from 0.
 * Errors     ESKER_ERR_INVALID: an input was not written, or the plan has no device. ESKER_ERR_LOST, ESKER_ERR_DEVICE. In
 *            check mode ESKER_ERR_MISMATCH; the step is then left where it was, behind the first operation that differs.
 */
ESKER_API esker_status esker_plan_submit(esker_plan *plan, uint64_t *out_ticket);
/** Whether that step has finished, without blocking. */
ESKER_API esker_status esker_plan_poll(esker_plan *plan, uint64_t ticket, bool *out_done);
/** Block until that step has finished. ESKER_ERR_LOST if the device dropped it. */
ESKER_API esker_status esker_plan_wait(esker_plan *plan, uint64_t ticket);
/** Copy output `output` (order of desc->outputs) of a step; waits for it first. `n_bytes` must be all of it. */
ESKER_API esker_status esker_plan_read(esker_plan *plan, uint64_t ticket, int output, void *out, size_t n_bytes);
/** Submit and wait. */
ESKER_API esker_status esker_plan_run(esker_plan *plan);

/* ---- What is in a plan ---- */

typedef struct esker_plan_info {
    int n_dispatches, n_barriers, n_inputs, n_outputs, n_kernels, n_params;
    uint64_t arena_bytes;       /* temporaries, as placed */
    uint64_t arena_lower_bound; /* most bytes of temporaries alive at one dispatch: no placement needs less */
    uint64_t parameter_bytes, gradient_bytes, state_bytes;
    uint64_t
        io_bytes; /* inputs, outputs, constants and uniform blocks, all slots; of inputs that are tensors, and always were, none */
    uint64_t
        peak_bytes; /* all of these, and prologue_bytes: what plan and parameters take from the pools of memory.h, rounding apart */
    double flops, bytes; /* of one step, as the operations estimate them */
    int n_prologue; /* dispatches at the front that are no part of a step; in n_dispatches, but not in n_barriers, flops and bytes */
    uint64_t prologue_bytes; /* what they leave for the steps */
    /** Of the GPU, by which kernels were chosen: "V3D", "Midgard", "Bifrost", "Valhall", "Adreno", "NVIDIA", "llvmpipe", or "unknown". */
    const char *family;
    int n_float16;          /* results and weights that are stored in float16, */
    uint64_t float16_bytes; /* and how many bytes they are, each for itself */
} esker_plan_info;

ESKER_API void esker_plan_get_info(const esker_plan *plan, esker_plan_info *out);

#define ESKER_PLAN_MAX_BINDINGS 16

typedef struct esker_binding_info {
    const char *storage; /* "arena", "parameters", "gradients", "state0", "constants", "hoisted", "outputs", "input:NAME" */
    uint64_t offset, n_bytes;
    bool write;
} esker_binding_info;

/** One dispatch, for printing. Texts are borrowed from the plan. */
typedef struct esker_dispatch_info {
    const char *kernel, *defines, *op, *label, *phase; /* phase: "prologue", "forward", "backward" or "update" */
    uint32_t groups[3], group_base[3];                 /* a slice of a longer dispatch starts at group_base */
    int n_bindings;
    esker_binding_info bindings[ESKER_PLAN_MAX_BINDINGS];
    bool barrier; /* before this dispatch */
    double flops, bytes;
} esker_dispatch_info;

/** ESKER_ERR_INVALID outside 0 .. n_dispatches - 1. */
ESKER_API esker_status esker_plan_get_dispatch(const esker_plan *plan, int index, esker_dispatch_info *out);

/**
 * Replay the plan over an interval map: no two live values share bytes, every read sees what its own producer wrote, every
 * conflict has a barrier between, every binding is inside its storage and the limits.
 * Errors     ESKER_ERR_INTERNAL naming the dispatches and byte ranges.
 */
ESKER_API esker_status esker_plan_check(const esker_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
