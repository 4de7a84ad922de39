/*
 * The check that every operation goes through. A row names a graph fragment and its inputs; op_check() then shows that
 *   1. it records, and esker_plan_check() accepts its plans;
 *   2. each node, forward and backward, as the device computes it, agrees with its op's double reference applied to the
 *      device's own inputs of that node, within the op's own bound:
 *      |got - want| <= atol + k 2^-24 magnitude (src/graph/op.h);
 *   3. compiled as users do (fusion on, only the results asked for), the value and the gradients agree end to end with
 *      the double reference: |got - want| <= end_to_end * (the largest magnitude in that tensor). Running a plan twice
 *      gives the same bits, and so does cutting its dispatches into slices;
 *   4. where a lowering asks whether operands stand still (esker__is_fixed), the operation is right, in check mode, with all float32
 *      inputs but the first as parameters;
 *   5. the gradients, in double, agree with central differences of the double reference: all elements up to 200, else
 *      200 of them. Not under ESKER_LIMITS=es31, which the device's own limits are tested beside: the numbers are the same.
 * The gradients are those of sum(y * w) with fixed random weights w in [0.5, 1.5), with respect to every float32 input.
 * Without a device 1 and 5 still run, and the test then counts as skipped.
 *
 * ESKER_TEST_RATIOS=1 prints how much of its bound each op used; ESKER_TEST_KERNELS=file appends kernels and defines.
 *
 *     static esker_node *build_relu(esker_graph *graph, esker_node *const *in, const void *args)
 *     {
 *         return esker_relu(in[0]);
 *     }
 *     static const op_check_row rows[] = {
 *         {"one past a group", build_relu, .n_inputs = 1, .in = {{.shape = {1, {129}}, .lo = -2, .hi = 2, .gap = 0.01}}},
 *     };
 *     int main(void) { return op_check_main("relu", rows, sizeof rows / sizeof *rows, NULL, 0); }
 */
#ifndef ESKER_TESTS_SUPPORT_OP_CHECK_H
#define ESKER_TESTS_SUPPORT_OP_CHECK_H

#include <esker/ops.h>
#include "support/test.h"

#define OP_CHECK_INPUTS 6

typedef enum op_check_fill {
    OP_CHECK_UNIFORM = 0, /* float32: uniform in [lo, hi). Integers: uniform over lo .. hi, both included */
    OP_CHECK_DISTINCT,    /* float32: evenly spaced over [lo, hi), shuffled: no two equal or close (max, max pooling) */
    OP_CHECK_WHOLE        /* float32: whole numbers lo .. hi, both included: many equal values */
} op_check_fill;

typedef struct op_check_input {
    esker_dtype dtype;
    esker_shape shape;
    double lo, hi;
    double gap; /* values nearer to 0 than this are moved out to it: keeps clear of a kink at 0 */
    op_check_fill fill;
} op_check_input;

/* For rows: a shape from its axes, that of a scalar, and a float32 operand with its range. */
#define DIMS(...)                                   \
    {                                               \
        sizeof((int[]){__VA_ARGS__}) / sizeof(int), \
        {                                           \
            __VA_ARGS__                             \
        }                                           \
    }
#define SCALAR \
    {          \
        0,     \
        {      \
            0  \
        }      \
    }
#define IN(shape_, lo_, hi_)                  \
    {                                         \
        .shape = shape_, .lo = lo_, .hi = hi_ \
    }

/** Records the operation under test; `in` are n_inputs nodes. Returns the value to check, a float32 one unless no_gradient.
 */
typedef esker_node *(*op_check_build)(esker_graph *graph, esker_node *const *in, const void *args);

typedef struct op_check_row {
    const char *name;
    op_check_build build;
    int n_inputs;
    op_check_input in[OP_CHECK_INPUTS];
    const void *args;       /* passed to build; may be NULL */
    bool no_gradient;       /* forward only */
    bool no_differences;    /* skip 5: inputs sit on kinks (ties, for instance) on purpose */
    double end_to_end;      /* 0: 1e-4 */
    double difference_rtol; /* 0: 1e-3 */
    double difference_atol; /* 0: 1e-5 */
} op_check_row;

/** A cmocka test whose initial state is an op_check_row. */
void op_check(void **state);

/** Run every row as a test of its own, then `n_more` further tests; the value for main() to return. */
int op_check_main(const char *group, const op_check_row *rows, size_t n_rows, const struct CMUnitTest *more, size_t n_more);

/** Rows of one operation with one operand or two: `args` point to it, in a struct since a function pointer does not fit a const void *. */
typedef struct op_check_unary {
    esker_node *(*fn)(esker_node *x);
} op_check_unary;
typedef struct op_check_binary {
    esker_node *(*fn)(esker_node *a, esker_node *b);
} op_check_binary;
esker_node *op_check_build_unary(esker_graph *graph, esker_node *const *in, const void *args);
esker_node *op_check_build_binary(esker_graph *graph, esker_node *const *in, const void *args);

/** A row for kernels that would not be chosen. */
typedef struct op_check_variant {
    const char *names; /* as ESKER_VARIANT takes them */
    op_check_row row;
    const char *kernel,
        *define;           /* for names that are no candidates: what a plan must have, and a part of its definitions */
    uint32_t shared_bytes; /* that a group must have; 0: 32768 */
} op_check_variant;

/**
 * As op_check_main(), each row with its variant. On devices whose groups may have 1024 invocations and `shared_bytes` a row also fails if none of its names
 * was chosen in any plan, or its kernel is in none: else it would check what is usual, and pass, where its sizes do not suit the variant (any more).
 */
int op_check_variants_main(const char *group, const op_check_variant *variants, size_t n_variants,
                           const struct CMUnitTest *more, size_t n_more);

/**
 * An operation that must not record: makes inputs of these types, calls build, and asserts that it returned NULL and that
 * the graph failed with `want` and a message that contains `part`.
 */
void op_check_refused(op_check_build build, const void *args, const op_check_input *in, int n_inputs, esker_status want,
                      const char *part);

#endif
