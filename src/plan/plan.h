/*
 * The inside of a plan. It is built in stages, each in a file of its own:
 *   build.c    passes, then dispatches from the ops' lowerings
 *   values.c   which value lives in which storage
 *   views.c    nodes that are other nodes' bytes
 *   emit.c     from what a lowering describes to a dispatch of the plan
 *   claims.c   values with a place of their own: gradients and outputs
 *   layout.c   which values have their channels in fours (fours.c: from one layout to the other)
 *   near.c     large inputs copied to the GPU's side of a bus (copy.c)
 *   stacked.c  values beside each other, as an operation
 *   inside.c   values that are computed inside of another one
 *   choose.c   which of several kernels does a job
 *   variants.c ESKER_VARIANT, which asks for some of them by name
 *   hoist.c    what does not change from step to step, and so is done in a prologue
 *   recompute.c  activations that the backward pass computes once more
 *   halve.c    temporaries and fixed operands that are stored as float16
 *   accesses.c what dispatches read and write, and whom one more would meet
 *   order.c    the order of dispatches, in epochs without a barrier inside
 *   relieve.c  later epochs for what is made in the fullest
 *   serialize.c  barriers inside of the fullest epochs, where they are worth it
 *   memory.c   offsets of temporaries in the arena
 *   hazards.c  barriers, and the cutting of long dispatches (calibrate.c: how long they are)
 *   check.c    the replay over an interval map that proves the result
 *   attach.c   buffers, kernels and launches on a device
 *   run.c      steps
 *   tune.c     which kernels are the fastest, by trying them (tune_job.c: alone; tune_check.c: whether they are right)
 *   profile.c  the time of each dispatch
 *   measure.c  how long dispatches take, and what the device can do at most
 *   verify.c   steps in check mode: every operation beside its reference (verify_compare.c)
 *   compile.c  calls them in this order, and answers questions about the result
 */
#ifndef ESKER_PLAN_PLAN_H
#define ESKER_PLAN_PLAN_H

#include <esker/measure.h>
#include <esker/plan.h>
#include "base/memory.h"
#include "gpu/gpu.h"
#include "gpu/queue.h"
#include "graph/graph.h"
#include "graph/params.h"
#include "plan/lowering.h"
#include "tensor/staging.h"
#include "tensor/tensor.h"

/*
 * Which memory. Inputs come after the others, one storage each, and behind them the outputs of an open plan, one each too;
 * those of other plans lie together in ESKER__STORAGE_OUTPUTS.
 */
enum {
    ESKER__STORAGE_ARENA,
    ESKER__STORAGE_PARAMETERS,
    ESKER__STORAGE_GRADIENTS,
    ESKER__STORAGE_STATE, /* ESKER__MAX_STATE of them */
    ESKER__STORAGE_CONSTANTS = ESKER__STORAGE_STATE + ESKER__MAX_STATE,
    ESKER__STORAGE_HOISTED, /* what the prologue leaves for the steps */
    ESKER__STORAGE_OUTPUTS,
    ESKER__STORAGE_INPUTS
};

/* Offsets and sizes in every storage are multiples of this, so that any binding alignment is met. */
#define ESKER__VALUE_ALIGN 256
/* The head of each outputs slot: the number of the step that wrote it (runtime/mark). */
#define ESKER__OUTPUTS_HEAD_BYTES 256

#define ESKER__STEP_SLOTS 16
/* The per-step uniform block, as kernels see it (lowering.h). */
typedef struct esker__step_block {
    uint32_t random[4]; /* seed low, seed high, step low, step high */
    float slots[ESKER__STEP_SLOTS][4];
    uint32_t run[4]; /* mark of this run, never 0; then zeros */
} esker__step_block;

typedef struct esker__plan_value {
    int storage;
    uint64_t offset;  /* in the storage; of an arena value it is set by memory.c */
    uint64_t n_bytes; /* as the kernels see it */
    int block;        /* arena values: values of one block share its bytes one after the other; -1 else */
    bool fixed;     /* the same in every step, until a parameter changes: constants, parameters, what the prologue writes */
    int last_write; /* the last dispatch, as lowered, that writes it; -1: none */
    /* halve.c */
    bool may_halve; /* a result in float32, or another form of one */
    bool half;      /* its floats are stored as halves */
    int half_copy;  /* the value that has halves of these for the steps; -1: none */
    const char *label;
} esker__plan_value;

typedef struct esker__plan_operand {
    int value;
    uint64_t offset, n_bytes; /* inside the value */
    bool write;
    bool uniform;                         /* uniform block 2; the last one only */
    uint64_t period, part_at, part_bytes; /* as in esker__operand */
} esker__plan_operand;

typedef struct esker__plan_dispatch {
    int kernel; /* index in plan->kernels */
    uint32_t groups[3], group_base[3];
    int n_operands;
    esker__plan_operand operands[ESKER__MAX_OPERANDS];
    uint32_t params[ESKER__MAX_PARAM_WORDS];
    int n_params;
    bool uses_step;
    bool barrier;
    bool prologue;   /* before every other dispatch, and not in every step */
    bool effect;     /* changes stored state: after every other dispatch */
    bool last;       /* the mark, behind everything */
    int in_place[2]; /* values whose bytes output 0 may take over, or -1 */
    int epoch;
    int place;    /* order.c */
    int prepares; /* the value, of one that esker__prepare() asked for; -1 else */
    int choice;   /* index in plan->choices; -1: there was none */
    int node;     /* whose lowering emitted it; -1: the plan's own */
    int sequence; /* order of lowering */
    int bound;    /* of the node's outputs: lowering.h */
    esker__cost cost;
    esker__phase phase;
    const char *op, *label; /* op: static; label: in the pool */
} esker__plan_dispatch;

typedef struct esker__plan_kernel {
    const char *name, *defines;
    bool quarantined;            /* known to be wrong on the device */
    const esker__kernel *kernel; /* on a device */
} esker__plan_kernel;

#define ESKER__MOST_TAKEN 8 /* nodes along with another */

/* One question of esker__choose. Texts are in the pool. */
typedef struct esker__plan_choice {
    const char *problem;
    const char **names;
    int n, chosen, usual;
    int nodes[1 + ESKER__MOST_TAKEN],
        n_nodes;           /* being lowered; and where candidates differ in what they take along, all that it can be */
    uint32_t fixed_inputs; /* bit i: input i of the first is fixed (lowering.h) */
    uint32_t used_outputs[1 + ESKER__MOST_TAKEN]; /* bit i: something but these nodes reads output i */
} esker__plan_choice;

/* A candidate to be taken for a problem, or (NULL) for all that have one of this name, whatever tuning says: how the tuner and the self-test try one. */
typedef struct esker__forced {
    const char *problem, *name;
    bool takes_along; /* nodes may be computed along with others, also where nothing is fused */
} esker__forced;

typedef struct esker__plan_input {
    const char *storage_name; /* "input:NAME" */
    const char *name;         /* its tail */
    esker__type type;
    uint64_t n_bytes;
    int value;            /* -1: nothing reads it */
    bool written;         /* the next step's slot is filled */
    esker_tensor *tensor; /* referenced; read in place of the slots, or NULL */
    esker__staging staging;
} esker__plan_input;

typedef struct esker__plan_output {
    int value;
    uint64_t n_bytes;
} esker__plan_output;

typedef struct esker__plan_step_op {
    const esker__op *op;
    void *attr;
    uint32_t slot;
} esker__plan_step_op;

typedef struct esker__plan_constant {
    uint64_t offset, n_elems;
    float fill;
    const uint32_t *words; /* in place of `fill`; in the pool */
} esker__plan_constant;

/* A range of a launch whose buffer is another one in every step. */
typedef struct esker__plan_patch {
    uint32_t launch;
    int range;   /* a storage binding; -1: the step's block; -2: uniform block 2 */
    int storage; /* which memory, and from where in it */
    uint64_t offset;
} esker__plan_patch;

/* The newest step in a staging slot. */
typedef struct esker__plan_slot {
    uint64_t number; /* of its submission */
    bool unfinished;
    esker_status status; /* once it is finished */
    char message[256];
} esker__plan_slot;

typedef struct esker__checker esker__checker; /* verify.c */

#define ESKER__MAX_UNFIT 16

struct esker_plan {
    esker__pool pool;
    esker_limits limits;
    esker_params *params;
    uint64_t seed;
    double slice_seconds, flops_per_second, bytes_per_second;

    esker__plan_value *values;
    size_t n_values, values_capacity;
    esker__plan_dispatch *dispatches;
    size_t n_dispatches, dispatches_capacity;
    esker__plan_kernel *kernels;
    size_t n_kernels, kernels_capacity;
    esker__plan_choice *choices;
    size_t n_choices, choices_capacity;
    esker__plan_input *inputs;
    size_t n_inputs, inputs_capacity;
    esker__plan_output *outputs;
    int n_outputs;
    esker__plan_step_op *step_ops;
    size_t n_step_ops, step_ops_capacity;
    esker__plan_constant *constants;
    size_t n_constants, constants_capacity;
    int n_state;
    size_t n_prologue;             /* dispatches at the front that only run where a parameter has changed */
    int *prologue_reads, *changes; /* parameters that the prologue reads; that steps write */
    size_t n_prologue_reads, n_changes;
    bool open; /* inputs, outputs, arena and step block are the caller's, given for each run: esker__plan_run_open */
    bool keeps_gradients; /* they lie in the parameters' memory for them, as the parameters do */
    uint64_t *gradient_at,
        gradient_elems; /* by parameter: where its gradient begins; UINT64_MAX: none is written. And how many there are */
    esker__memory gradients; /* unless they are kept */
    bool float16;            /* is asked for */
    bool asks_fixed;         /* some lowering asked whether an operand is fixed: which kernels are taken may depend on it */
    bool marks;              /* the last dispatch writes run[0] into the outputs' head */

    uint64_t arena_wanted; /* that the order was chosen for (serialize.c); 0: none */
    uint64_t arena_bytes, arena_lower_bound, constants_bytes, hoisted_bytes, outputs_bytes;
    uint64_t uniform_bytes;    /* one dispatch's block, rounded to the alignment, times n_dispatches */
    uint64_t *uniform_offsets; /* by dispatch */

    esker__checker *checker; /* check mode; NULL else */

    /* What decides between kernels, while they are chosen. */
    esker_device *chosen_for; /* whose quarantine and tuning; NULL: none */
    esker__family family;
    const esker__forced *forced;            /* or NULL */
    esker_graph **keep_graph;               /* where to leave the graph that was lowered; NULL: nowhere */
    const struct esker__barred_ops *barred; /* that fusion must not make */
    const struct esker__op
        *unfit[ESKER__MAX_UNFIT]; /* of nodes that only quarantined kernels compute; NULL: of the plan itself */
    int n_unfit, unfit_kernel;    /* and the kernel of the first of them */

    /* On a device. */
    esker_device *device; /* held, but by an open plan */
    esker__memory arena, constants_memory, hoisted, uniforms;
    bool
        prepared; /* the prologue ran, when the parameters' clock stood at prologue_clock or nothing it reads has changed since */
    uint64_t prologue_clock;
    esker__staging outputs_staging, step_staging;
    esker__plan_slot slots[ESKER_PLAN_SLOTS];
    bool mark_seen, mark_missed; /* the device ever wrote a mark; a warning was logged that it does not */
    esker__launch *launches;     /* one for each dispatch: everything a step needs, but for what the patches name */
    esker__plan_patch *patches;
    size_t n_patches;
    esker__range *input_ranges; /* room for those of a step, n_inputs */
    bool checked;               /* what all slots bind was checked */
    uint64_t ticket, step;      /* of the next submission */
    float lr;
};

/* One past the last value of storage numbers in use. */
static inline int esker__plan_n_storages(const esker_plan *plan)
{
    return ESKER__STORAGE_INPUTS + (int)plan->n_inputs + (plan->open ? plan->n_outputs : 0);
}
uint64_t esker__plan_storage_bytes(const esker_plan *plan, int storage);

/** Of a kernel with definitions, which is added where the plan has none such; -1: no memory. */
int esker__plan_kernel_index(esker_plan *plan, const char *name, const char *defines);

/** ESKER_ERR_LIMIT where a storage block does not hold so many bytes of a value. */
esker_status esker__plan_check_block(const esker_plan *plan, const char *op, const esker__plan_value *value,
                                     uint64_t n_bytes);

/* The stages. */
esker_status esker__plan_build(esker_plan *plan, esker_graph *graph, esker_node *const *outputs, int n_outputs, bool fuse,
                               bool check);
esker_status esker__plan_hoist(esker_plan *plan);
esker_status esker__plan_order(esker_plan *plan, bool by_epochs);
/** Of a plan with epochs, up to `newest` but for the mark: later ones for some dispatches, where the fullest then holds clearly less. */
esker_status esker__plan_relieve(esker_plan *plan, int newest);
/** Of a plan in order by epochs: in the fullest of them, where it is worth a barrier, those dispatches first that free most. */
esker_status esker__plan_serialize(esker_plan *plan);
esker_status esker__plan_place(esker_plan *plan);
esker_status esker__plan_barriers(esker_plan *plan);
esker_status esker__plan_slice(esker_plan *plan);
esker_status esker__plan_layout_uniforms(esker_plan *plan);
esker_status esker__plan_attach(esker_plan *plan, esker_device *dev);
void esker__plan_detach(esker_plan *plan);
/** The staging slots of an input that is no tensor, taken when they are first needed. */
esker_status esker__plan_need_slots(esker_plan *plan, size_t input);
esker_status esker__plan_need_all_slots(esker_plan *plan); /* of those that run dispatches without having written any */
/** The memory behind a storage number, for the step in staging slot `slot`. */
const esker__memory *esker__plan_storage_memory(const esker_plan *plan, int storage, int slot);
/** Write the launches and patches down again: an offset in the plan changed. */
void esker__plan_rewrite_launches(esker_plan *plan);

/* Where a step finds what differs between steps. Offsets are multiples of the device's binding alignment. */
typedef struct esker__plan_io {
    const esker__range *inputs;  /* one for each input; one that nothing reads may be empty */
    const esker__range *outputs; /* one for each output of an open plan; else one for all */
    esker__range arena;          /* of an open plan: arena_bytes */
    esker__range step;           /* the step's block; of an open plan that has no use for it (uses_step) empty */
} esker__plan_io;

/** Whether the prologue must run before the next step: it never did, or a parameter that it reads has changed. */
bool esker__plan_is_stale(esker_plan *plan);
/** Run the prologue, for those who then run dispatches of a step alone; the launches point at a slot. */
esker_status esker__plan_prepare(esker_plan *plan);
/** esker_plan_measure() of those dispatches for which which[i] says so, in their order, of a plan on a device and without check mode: one at least. */
esker_status esker__plan_measure_some(esker_plan *plan, const bool *which, const esker_measure_desc *desc,
                                      esker_timing *out);
/** Dispatches from `first` on were queued, in order: the prologue has run if it is among them, and parameters have changed. */
void esker__plan_note_run(esker_plan *plan, size_t first);

/** Let the launches use one slot of the staging rings. */
void esker__plan_point_at_slot(esker_plan *plan, int slot);
/**
 * Check what the launches of each slot bind, and make what the device needs for it. The first step does so unless it was done before; of a plan whose
 * first step comes late, so that no step of others stands beside it. All inputs have slots, or tensors. Leaves the launches pointed at the last slot.
 */
esker_status esker__plan_check_slots(esker_plan *plan);
/** Let the launches point at the step's memory. */
void esker__plan_point(esker_plan *plan, const esker__plan_io *io);
/** What changes from step to step, as kernels see it; `mark` as run[0]. */
void esker__plan_fill_step(const esker_plan *plan, const esker__step *step, uint32_t mark, esker__step_block *out);

/* ---- Open plans: the machinery beneath eager calls ---- */

/**
 * Compile a plan for desc->device that owns no memory but its constants: inputs, outputs, arena and step block are given
 * for each run, and outputs are written right where they are wanted. Each output gets memory of its own, also where two
 * show the same values. The plan does not reference the device, which must outlive it. No parameters, no updates, no check
 * mode, and no mark behind a run. Errors as of esker_plan_compile().
 */
esker_status esker__plan_compile_open(esker_graph *graph, const esker_plan_desc *desc, esker_plan **out);
/** Whether any dispatch reads the step's block. */
bool esker__plan_uses_step(const esker_plan *plan);
/** Queue one run. Waits for nothing, makes no object: fences and back-pressure are the caller's. */
esker_status esker__plan_run_open(esker_plan *plan, const esker__plan_io *io);

/* ---- Check mode ---- */

/**
 * Keep what check mode needs: the graph that was lowered, which is the checker's from now on, also after a failure, and
 * the value of each node (-1: none), which is copied.
 */
esker_status esker__checker_create(esker_plan *plan, esker_graph *graph, const int *value_of, const uint64_t *value_at,
                                   const int *made_by);
void esker__checker_destroy(esker__checker *checker); /* accepts NULL */

/** How one operation of a step went. Texts are valid during the call. */
typedef struct esker__check_result {
    const esker_node *node;
    const char *kernels; /* "gemm/direct with TA 0; TB 1, then gemm/sum_splits with LX 8" */
    bool pass;
    double error;        /* the worst |got - want|, in units of its bound; infinite where one of them is no number */
    const char *message; /* of what differs; NULL if nothing does */
} esker__check_result;

/** Be told of every operation instead of stopping at the first that differs: inputs are the device's own, so one error causes no others. */
void esker__plan_observe(esker_plan *plan, void (*observe)(const esker__check_result *result, void *user), void *user);

/** Run the dispatches of a step one after the other, and compare every operation with its reference. */
esker_status esker__plan_run_checked(esker_plan *plan, int slot);

/**
 * Compile with a candidate that is to be taken for one problem (may be NULL), and keep the graph that was lowered, whose node ids the plan
 * has, in *keep_graph (may be NULL): the caller's. For the self-test and the tuner: where nothing is left but quarantined kernels, the plan has them.
 */
esker_status esker__plan_compile_forced(esker_graph *graph, const esker_plan_desc *desc, const esker__forced *forced,
                                        esker_graph **keep_graph, esker_plan **out);

/* The byte range of an operand in its storage; of every `period` bytes from `part` on, the first part_bytes alone, unless period is 0. */
typedef struct esker__extent {
    int storage;
    uint64_t begin, end;
    uint64_t period, part, part_bytes;
} esker__extent;

static inline esker__extent esker__operand_extent(const esker_plan *plan, const esker__plan_operand *operand)
{
    const esker__plan_value *value = &plan->values[operand->value];
    uint64_t begin = value->offset + operand->offset;
    return (esker__extent){value->storage,     begin, begin + operand->n_bytes, operand->period, begin + operand->part_at,
                           operand->part_bytes};
}

/* Of two with one period: whether they are other columns. */
static inline bool esker__extents_alternate(esker__extent a, esker__extent b)
{
    if (!a.period || a.period != b.period) return false;
    uint64_t distance = (b.part % a.period + a.period - a.part % a.period) % a.period;
    return distance >= a.part_bytes && distance + b.part_bytes <= a.period;
}

static inline bool esker__extents_meet(esker__extent a, esker__extent b)
{
    return a.storage == b.storage && a.begin < b.end && b.begin < a.end && !esker__extents_alternate(a, b);
}

/* ---- The placement itself, without a plan around it (memory.c; tested over random intervals) ---- */

typedef struct esker__interval {
    uint64_t n_bytes; /* a multiple of ESKER__VALUE_ALIGN */
    int first, last;  /* times, both inclusive */
    uint64_t offset;  /* out */
} esker__interval;

/** Give every interval an offset so that no two that are alive at one time share bytes; *out_bytes is the arena's size. */
esker_status esker__place_intervals(esker__interval *intervals, size_t n, uint64_t *out_bytes);
/** The most bytes alive at one time. */
esker_status esker__intervals_lower_bound(const esker__interval *intervals, size_t n, uint64_t *out_bytes);

/** Rates for the estimate of a dispatch's time, measured once for each device (calibrate.c). */
esker_status esker__calibrate(esker_device *dev, double *out_flops_per_second, double *out_bytes_per_second);

#endif
