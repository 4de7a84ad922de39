/**
 * Operations that a program brings along: a kernel in GLSL, and functions that say what the library must know of it.
 *
 *   static const char source[] = "#version 310 es\n...";
 *   esker_custom_op *snake;
 *   esker_custom_op_create(&(esker_custom_op_desc){.name = "snake", .source = source, .n_inputs = 2, .dispatch = dispatch,
 *                                                  .gradient = gradient, .reference = reference}, &snake);
 *   esker_node *y = esker_custom(snake, (esker_node *[]){x, a}, NULL);
 *
 * Its nodes are like any others: they are planned, sliced, placed in shared memory, merged where they are equal,
 * differentiated, and checked in check mode. demo/custom_op.c is a whole example. What ordinary operations can express
 * needs none of this: a function that records several is an operation too, with a gradient for nothing, and a layer if it
 * calls esker_model_parameter().
 *
 * One operation is one dispatch with 1 to 3 inputs and one output: an OpenGL ES 3.1 device need not take more than four
 * storage blocks in a kernel. Larger algorithms are several operations, one behind the other.
 *
 * The kernel
 *   - begins with the line "#version 310 es"; what `dispatch` defines is put behind that line, and compile errors count
 *     lines as the text does: "custom/snake:12: ...". A file custom/NAME.comp in the folder ESKER_GLSL_DIR is compiled in
 *     its place.
 *   - binds inputs 0 .. n-1 as std430 buffers at bindings 0 .. n-1 and the output at binding n. Elements are float, int,
 *     or bytes four to a uint, the first in the low byte; row-major without gaps, so any element count must be expected.
 *   - gets its parameters at uniform binding 0, behind three words of the library:
 *
 *       layout(std140, binding = 0) uniform Params {
 *           uvec3 group_base;
 *           uint groups_x;     // word 0
 *           uint n;            // word 1
 *           float scale;       // word 2, written into words[2] with memcpy
 *       };
 *
 *     As std140 has it, a vec4 must start at a word whose index is 1 modulo 4.
 *   - must use gl_WorkGroupID + group_base wherever it means its group: long dispatches are cut along any axis into
 *     shorter ones that carry their first group in group_base, so that no job holds a GPU for long. Nothing may depend on
 *     gl_WorkGroupID alone, on gl_NumWorkGroups, or on another group of the dispatch, and every element of the output
 *     must be written.
 *   - must stay within what the device takes; every device takes groups of 128 invocations and 16384 bytes of shared
 *     memory.
 *
 * Threads    An operation may be used by several threads, if its callbacks may. Callbacks run in the thread that records,
 *            compiles or checks, and must not call back into the graph, apart from `gradient`.
 */
#ifndef ESKER_CUSTOM_H
#define ESKER_CUSTOM_H

#include "device.h"
#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ESKER_CUSTOM_MAX_INPUTS    3
#define ESKER_CUSTOM_MAX_WORDS     60
#define ESKER_CUSTOM_MAX_PARAMS    256 /* bytes */
#define ESKER_CUSTOM_DEFINES_BYTES 1024
#define ESKER_CUSTOM_MESSAGE_BYTES 400

typedef struct esker_custom_op esker_custom_op;

typedef struct esker_custom_type {
    esker_dtype dtype;
    esker_shape shape;
} esker_custom_type;

/** One use of the operation, as its callbacks see it. Borrowed for the time of the call. */
typedef struct esker_custom_call {
    const void *params; /* the node's own copy, params_bytes of it, aligned for any type */
    void *user;         /* of the description */
    int n_inputs;
    const esker_custom_type *inputs;
    esker_custom_type output; /* all zero in `shape`, which decides it */
} esker_custom_call;

/** What runs. All zero when `dispatch` is called. */
typedef struct esker_custom_dispatch {
    uint32_t groups[3];                     /* each 1 to limits->groups[axis]; esker_custom_fold() helps */
    uint32_t words[ESKER_CUSTOM_MAX_WORDS]; /* what follows group_base in the kernel's block */
    int n_words;                            /* of these: as many as the block declares */
    char
        defines[ESKER_CUSTOM_DEFINES_BYTES]; /* lines of "NAME value\n"; each different text compiles a kernel of its own */
    double flops;                            /* an estimate, to find where to cut; 0: one for each element of the output */
} esker_custom_dispatch;

typedef struct esker_custom_op_desc {
    const char *name;    /* 1 to 60 of a-z, 0-9 and _; copied. In messages and reports it is "custom/NAME" */
    const char *source;  /* GLSL; copied */
    int n_inputs;        /* 1 to ESKER_CUSTOM_MAX_INPUTS */
    size_t params_bytes; /* of what esker_custom() copies into each node; at most ESKER_CUSTOM_MAX_PARAMS */

    /**
     * The type of the output, or false with the broken rule in `message` ("the rows differ: 3 and 4"); the library puts the
     * operation and its inputs' types before it. NULL: that of input 0.
     */
    bool (*shape)(const esker_custom_call *call, esker_custom_type *out_output, char message[ESKER_CUSTOM_MESSAGE_BYTES]);

    /** Needed. How the kernel runs on a device with these limits; or false, with the limit that is in the way in `message`. */
    bool (*dispatch)(const esker_custom_call *call, const esker_limits *limits, esker_custom_dispatch *out,
                     char message[ESKER_CUSTOM_MESSAGE_BYTES]);

    /**
     * Record the gradient with respect to input `input`, where `grad` is that of the output: with ordinary operations or
     * custom ones, from `inputs` and `output`, which hold their values. It has the shape of that input, or a wider one
     * that the input would broadcast to, which the library then sums down. NULL member: no input has a gradient. Integer
     * inputs never have one.
     */
    esker_node *(*gradient)(const esker_custom_call *call, esker_node *const *inputs, esker_node *output, esker_node *grad,
                            int input);
    unsigned no_gradient; /* bit i: input i has none */

    /**
     * The same in double precision on the CPU, as plainly as can be: what check mode compares with. `inputs` are
     * row-major, as is `out`. `out_magnitude`, if it is not NULL, may be given for each element the sum of the absolute
     * values of the terms it is made of; what is left untouched there counts as |out|. The device may differ by
     * (tolerance * 2^-24) of that. NULL member: check mode cannot compare the operation, and a plan
     * logs a warning that says so; what reads its result is compared all the same.
     */
    void (*reference)(const esker_custom_call *call, const double *const *inputs, double *out, double *out_magnitude);
    double tolerance; /* 0: 4; for sums of n terms about 4 + 2 sqrt(n) */

    bool
        in_place; /* each invocation reads, of input 0, only the elements that it writes, before it writes them: the output may
                      then take input 0's memory */
    void *user; /* for the callbacks; must outlive every graph and plan with the operation */
} esker_custom_op_desc;

/**
 * Register an operation. The kernel is compiled when a plan on a device needs it.
 * Ownership  *out has one reference. Graphs hold one of their own as long as they have nodes of it, so it may be returned
 *            right after the last use.
 * Errors     ESKER_ERR_INVALID: desc, name, source or dispatch is NULL or the name has other characters; the source does
 *            not begin with "#version 310 es"; n_inputs or params_bytes out of range; an operation of that name lives
 *            with another source. ESKER_ERR_LIMIT: more inputs than four storage blocks leave room for; a source over 1
 *            MiB. ESKER_ERR_NO_MEMORY. *out is NULL after any of them.
 */
ESKER_API esker_status esker_custom_op_create(const esker_custom_op_desc *desc, esker_custom_op **out);
ESKER_API esker_custom_op *esker_custom_op_ref(esker_custom_op *op);
ESKER_API void esker_custom_op_unref(esker_custom_op *op); /* accepts NULL */

/**
 * Record the operation: `inputs` are the n_inputs nodes, `params` what the description's params_bytes say (NULL: zeros).
 * Nodes of equal inputs and params, byte for byte, are computed once: padding inside a struct must be zeroed.
 * Errors     (sticky) what `shape` refuses, and all that any operation refuses. Kernels fail later, when a plan is
 *            compiled.
 */
ESKER_API esker_node *esker_custom(esker_custom_op *op, esker_node *const *inputs, const void *params);

/**
 * Fold a count of groups into {x, y, 1} within the limits, for kernels that rebuild the index as (gl_WorkGroupID.y +
 * group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x, with groups_x = out_groups[0], and guard it: x * y may be
 * more than n_groups. False for 0, and for more groups than fit.
 */
ESKER_API bool esker_custom_fold(uint64_t n_groups, const esker_limits *limits, uint32_t out_groups[3]);

#ifdef __cplusplus
}
#endif
#endif
