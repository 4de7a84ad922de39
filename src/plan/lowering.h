/* How an operation describes its dispatches to the plan. */
#ifndef ESKER_PLAN_LOWERING_H
#define ESKER_PLAN_LOWERING_H

#include <esker/device.h>
#include "base/text.h"
#include "gpu/gpu.h"
#include "graph/graph.h"

/** A piece of memory in the plan: a node's value, scratch, or the arenas that updates work on. */
typedef struct esker__value {
    int id;
} esker__value;

typedef struct esker__operand {
    esker__value value;
    bool write;            /* the kernel writes it (whether or not it also reads it) */
    uint64_t offset_bytes; /* into the value; a multiple of the limits' storage_align, as 256 is */
    uint64_t n_bytes;      /* 0: to the value's end */
    bool span;             /* n_bytes may reach over what lies behind the value: esker__lie_together */
    bool uniform;          /* read as uniform block 2 in place of a storage block: one of a dispatch, its last operand */
    bool
        in_place; /* read: an invocation reads the elements that it then writes of an output, and no others: an output of as many bytes may be there */
    /* Written where it is written in columns alone: from part_at on part_bytes of every period_bytes of the operand. 0: all of it may be. */
    uint64_t period_bytes, part_at, part_bytes;
} esker__operand;

#define ESKER__MAX_PARAM_WORDS 60
#define ESKER__MAX_OPERANDS    ESKER__MAX_STORAGE /* of a dispatch, a uniform one counted */

/**
 * One dispatch. The kernel sees:
 *   - storage block i (binding = i): operand i;
 *   - uniform block 0, std140: `uvec3 group_base;` then `params`, 32-bit words that begin at byte 12, so that
 *     layout(std140, binding = 0) uniform Params { uvec3 group_base; uint a; uint b; float c; ... };  takes params {a, b,
 * c}. A vec4 member must start at a word whose index is 1 modulo 4. gl_WorkGroupID + group_base is the true group: a long
 * dispatch is cut into several along any axis, and nothing else in a kernel may depend on gl_WorkGroupID or
 * gl_NumWorkGroups.
 *   - uniform block 1, std140, only if `uses_step`:
 *     layout(std140, binding = 1) uniform Step { uvec4 random; vec4 slots[16]; };  random = seed low, seed high, step low,
 * step high. (A last member, uvec4 run, is for the plan itself.)
 *   - uniform block 2, std140, only if the last operand says so: a few numbers that another kernel made, for kernels
 * whose storage blocks are all taken.
 */
typedef struct esker__dispatch_desc {
    const char *kernel;  /* file of glsl/ without ".comp" */
    const char *defines; /* "NAME value\n" lines; NULL for none; copied */
    uint32_t groups[3];  /* each 1 .. limits->groups[i]: the lowering folds long grids itself */
    esker__operand operands[ESKER__MAX_OPERANDS];
    int n_operands; /* at most limits->storage_blocks, and the uniform one */
    const void *params;
    int n_params; /* 32-bit words */
    bool uses_step;
    bool
        writes_once; /* no two invocations write one element, not even the same: what its tail reads may lie where the result goes */
    esker__cost cost; /* of this dispatch; zero: an even share of the node's */
    int bound; /* which error bound the node's outputs keep if this dispatch is among those that compute them: 0: what op->tolerance
                         says; else one that op->magnitudes knows (graph/op.h) */
} esker__dispatch_desc;

/** Copy the description into the plan. */
esker_status esker__emit(esker__lowering *lowering, const esker__dispatch_desc *desc);
/** The same with these definitions, which are released, also after a failure; they may have run out of memory before. */
esker_status esker__emit_with(esker__lowering *lowering, esker__dispatch_desc *desc, esker__text *defines);

/** What the device can do, or the limits that a plan without a device is made for. */
const esker_limits *esker__lowering_limits(const esker__lowering *lowering);
/** Whose device it is, by what its driver calls it: for defaults. ESKER__FAMILY_UNKNOWN without a device. */
esker__family esker__lowering_family(const esker__lowering *lowering);
/**
 * Which of `n` ways to do a job to take: an op that has several kernels, or several settings of one, asks for each job it lowers, before it
 * emits that job's dispatches. `problem` says everything that speed depends on, on one line ("matmul ta=0 tb=1 m=64 n=512 k=784 b=1"), `names`
 * the candidates that can do it here, each a word ("tiled", "direct"); at most ESKER__MAX_CANDIDATES. Names are what tuning files keep: a
 * name never changes its meaning, and src/plan/variants.c lists it. `usual` is the index for devices that were not tuned.
 * Candidates that do not fit the GPU's family are left out (fits.c), but for `usual`: an op need not ask what the family is.
 * Returns    An index in `names`: what tuning found fastest on this device, else `usual`. A candidate whose kernels are quarantined here
 *            is not chosen again while another is left: the plan lowers the node anew, so a lowering has no effect but what it emits. Where
 *            none is left, what fusion had made the node of comes back, and if that is of no help, compiling fails (compile.c).
 */
#define ESKER__MAX_CANDIDATES 32
int esker__choose(esker__lowering *lowering, const char *problem, const char *const *names, int n, int usual);
/** The same where the candidates differ in what they take along, at most all that was taken so far: the tuner runs these nodes together. */
int esker__choose_company(esker__lowering *lowering, const char *problem, const char *const *names, int n, int usual);
/** A setting that what is known of a family decides, so that there is nothing to tune: `usual`, or true where ESKER_VARIANT names it, for tests. variants.c lists it. */
bool esker__setting(const char *name, bool usual);
/**
 * Whether a kernel that takes numbers below `n` apart must divide as integers do (its EXACT), which GPUs and CPUs are slow at: reciprocals are
 * exact below 2^22, in 24 bits. Also where ESKER_VARIANT says "exact", so that tests need no such sizes.
 */
static inline bool esker__divides_integers(uint64_t n)
{
    return esker__setting("exact", n >= (uint64_t)1 << 22);
}
/**
 * The dispatches that follow an answer belong to it: if one of their kernels is quarantined, it is another candidate's turn. A lowering that asks again for
 * a part of its work (a product of matrices inside of a convolution) keeps what esker__chosen() says before, and goes on with it behind that part.
 */
int esker__chosen(const esker__lowering *lowering);
void esker__go_on_with(esker__lowering *lowering, int choice);
/** The memory of a node's value (any input or output of the node being lowered). */
esker__value esker__value_of(esker__lowering *lowering, const esker_node *node);
/** Read and write operands for nodes, the usual case. */
esker__operand esker__read(esker__lowering *lowering, const esker_node *node);
esker__operand esker__write(esker__lowering *lowering, const esker_node *node);
/**
 * Whether `b` has its memory behind that of `a` in one storage, *out_distance bytes from it, so that one operand can be both: the outputs of a
 * plan, parameters, or parts of one value, say. At most `most` bytes of such an operand. Gives both their memory.
 */
bool esker__lie_together(esker__lowering *lowering, const esker_node *a, const esker_node *b, uint64_t most,
                         uint64_t *out_distance);
/** Of an op with in_sequence: whether input `input` of `node` is computed where it stands in the result, so that there is nothing to copy. */
bool esker__is_in_place(const esker__lowering *lowering, const esker_node *node, int input);
/** Copy the other inputs into their places. */
esker_status esker__copy_missing(esker__lowering *lowering, const esker_node *node);
/**
 * Whether `node`, one behind that which is being lowered, can be computed by this one's dispatches, too: it is needed, nothing that it reads is computed
 * later than this node but what nodes that were taken along compute, and all are of one phase. esker__take_along() then says that it is; all its outputs
 * that somebody reads are to be written. If the dispatches come out with a quarantined kernel, and the node is lowered anew, it is not taken any more.
 */
bool esker__can_take_along(const esker__lowering *lowering, const esker_node *node);
void esker__take_along(esker__lowering *lowering, const esker_node *node);
/** All but the first `n` of those that were taken along are not, after all. */
void esker__leave_behind(esker__lowering *lowering, int n);
/** Whether anything reads output `output` of `node`: an op need not compute the others (pass no operand for them). */
bool esker__output_is_used(const esker__lowering *lowering, const esker_node *node, int output);
/** Whether the plan compares every node with its reference: what is taken along then needs its inputs in memory, whoever else reads them. */
bool esker__is_checked(const esker__lowering *lowering);
/** Whether results are to be stored in float16 where they can be (halve.c): for what kernels have to know of that beside FLOAT16. */
bool esker__stores_halves(const esker__lowering *lowering);
/** How often the node is read: as an input of nodes that are computed, and as an output of the plan. */
int esker__readers(const esker__lowering *lowering, const esker_node *node);
/** Memory that lives from this op's first dispatch that uses it to its last. */
esker__value esker__scratch(esker__lowering *lowering, uint64_t n_bytes);
/** Words that never change, copied: n >= 1 of them, in memory of the plan's own. */
esker__value esker__table(esker__lowering *lowering, const uint32_t *words, size_t n);
/**
 * `n` words that are 0 when a dispatch begins, and that it leaves so: where groups of one dispatch meet. Memory of the plan's own, which no other dispatch
 * has; an operand that is written.
 */
esker__value esker__meetings(esker__lowering *lowering, uint64_t n);
/** The contiguous arenas of all parameters that are not frozen: values, gradients, and optimizer state `slot` (made on
 * first use). */
esker__value esker__params_value(esker__lowering *lowering);
esker__value esker__gradients_value(esker__lowering *lowering);
esker__value esker__state_value(esker__lowering *lowering, int slot);
/** Where the gradient of parameter `index` begins in the gradients, in elements; a multiple of 64. UINT64_MAX: it is not there, what computes it updates. */
uint64_t esker__gradient_at(esker__lowering *lowering, size_t index);
/** Elements in each of these arenas (of gradients: at most), a multiple of 64 (the gaps between parameters hold zeros). */
uint64_t esker__params_value_elems(esker__lowering *lowering);
/*
 * What is the same in every step is done once. A dispatch that reads constants, parameters that no step of this plan changes, and what such
 * dispatches wrote, and that writes temporaries, is no part of the steps: it runs in the plan's prologue, before the first step and before
 * the first one after any of these parameters was changed (by another plan, by esker_params_write(), ...), and what it wrote for the steps
 * is kept in memory of the plan's own. A lowering need not ask for that. In plans for inference, where nothing changes parameters, all of
 * them are fixed; in plans that train, the frozen ones that no operation writes.
 */

/**
 * Whether `node`'s value is fixed in that sense, so that work on it alone is free: a lowering asks before it takes a way that needs an operand
 * in another form (filters by blocks of 16 channels, or transformed for Winograd), and takes a way without where it is not. An op with such a
 * way among its candidates says in esker__choose()'s `problem` that the operand is fixed, so that what was tuned for training stays apart. Its rows in
 * src/selftest/cases_*.c name the inputs that are `parameters`; the tests of operations try all inputs but the first as such where a lowering asks.
 */
bool esker__is_fixed(esker__lowering *lowering, const esker_node *node);
/**
 * An operand in another form: emits `desc`, all of whose operands are read and to which one more is appended, behind them, that it writes:
 * *out, memory of `n_bytes` to be read by the node's other dispatches as {.value = *out}. Where the operands are fixed it is done in the prologue,
 * and who asks for the same again gets the same memory; else it is a dispatch of every step. A result more than 16 times as large as what it
 * is made from is not kept either. With no cost given: the bytes that it reads and writes.
 */
esker_status esker__prepare(esker__lowering *lowering, const esker__dispatch_desc *desc, uint64_t n_bytes,
                            esker__value *out);

/** Reserve two vec4 of the step block for this node's op->step; returns the index of the first in `slots`. */
esker_status esker__step_slot(esker__lowering *lowering, uint32_t *out_slot);
/** The same for another op than the node's, with its attributes; who asks again for the same gets the same. */
esker_status esker__step_slot_of(esker__lowering *lowering, const esker__op *op, const void *attr, uint32_t *out_slot);
/** A failure that a function without a status met: the next esker__emit() returns it. */
void esker__lowering_fail(esker__lowering *lowering, esker_status status);

/** ESKER_ERR_LIMIT where kernels, which count in int, do not reach the last of `n_elems` elements. */
esker_status esker__check_indexable(const esker__lowering *lowering, uint64_t n_elems);
/**
 * Fold `n_groups` into a grid whose axes stay within the limits: groups = {x, y, 1}; the kernel rebuilds the linear index
 * as (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x, with groups_x among its params. Fails
 * with ESKER_ERR_LIMIT beyond.
 */
esker_status esker__fold_groups(esker__lowering *lowering, uint64_t n_groups, uint32_t out_groups[3]);

/** The same along `axis`, 0 or 1, and the next one; the third has one group. */
esker_status esker__fold_groups_along(esker__lowering *lowering, uint64_t n_groups, int axis, uint32_t out_groups[3]);

#endif
