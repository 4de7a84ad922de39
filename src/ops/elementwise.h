/*
 * What elementwise operations share. Each is one row of a list in the file of its family (arithmetic.c, functions.c,
 * activations.c, comparisons.c): its expression in GLSL for the map kernel, the same in C for the double reference, its
 * error bound, and its gradient rule. A row is
 *
 *   X(name, operands, types, "GLSL", C, error, gradient rule, bits of inputs without gradient, attribute bytes, flags)
 *
 * over a, b, c and k0, k1 (C: k[0], k[1]). `error` is the bound |got - want| <= error * eps, eps = 2^-24, over the same
 * and y, the result; 0 is exact. It follows from what GLSL ES 3.10, 4.7.1 promises: sums and products are rounded, in a
 * direction that is open; exp is (3 + 2 |x|) ULP off, and one ULP is up to 2 eps; log 3 ULP, and 2^-21 within [0.5, 2];
 * division 2.5 ULP; inversesqrt 2 ULP, and sqrt is its reciprocal.
 */
#ifndef ESKER_OPS_ELEMENTWISE_H
#define ESKER_OPS_ELEMENTWISE_H

#include <math.h>

#include "ops/map.h"
#include "ops/ops.h"
#include "ops/matmul.h"
#include "ops/program.h"

#define ONE_EPS    2 /* one rounding */
#define DIV_EPS    5
#define RSQRT_EPS  4
#define SQRT_EPS   9
#define EXP_EPS(x) (2 * (3 + 2 * fabs(x)))
/* What a factor of `x` makes of a value that was flushed to zero. */
#define LOST(x) (fabs(x) * ESKER__FLUSHED * 0x1p24)

#define ESKER__IN_0  ESKER__OP_IN_PLACE_0
#define ESKER__IN_1  ESKER__OP_IN_PLACE_1
#define ESKER__IN_01 (ESKER__OP_IN_PLACE_0 | ESKER__OP_IN_PLACE_1)

/** Which element types the operands may have, and the result's. */
typedef enum esker__elementwise_types {
    ESKER__FLOATS,  /* float32 all */
    ESKER__NUMBERS, /* float32 all or int32 all, and so the result */
    ESKER__ALIKE,   /* one type, and so the result */
    ESKER__COMPARE, /* one type; the result is uint8 */
    ESKER__LOGIC,   /* uint8 all */
    ESKER__SELECT   /* uint8, then two of one type, and so the result */
} esker__elementwise_types;

typedef struct esker__elementwise {
    esker__elementwise_types types;
    double (*value)(double a, double b, double c, const float *k);
    double (*error)(double a, double b, double c, double y, const float *k); /* in eps */
    int64_t (*integer)(int64_t a, int64_t b); /* of int32 operands, before it wraps; NULL: `value` is exact */
} esker__elementwise;

esker_status esker__elementwise_infer(const char *name, esker__elementwise_types types, esker_node *const *inputs,
                                      int n_inputs, esker__type *out);
void esker__elementwise_reference(const esker__reference *r);
esker_status esker__elementwise_lower(esker__lowering *lowering, const esker_node *node);
/** What a chain of elementwise nodes becomes (fused.c). */
esker_node *esker__fused_join(esker_graph *graph, const esker__chain *chain);
/** x * 1 is x, and the like, for the operations that know such. */
esker_node *esker__elementwise_simplify(esker_graph *graph, const esker__op *op, const void *attr,
                                        esker_node *const *inputs);

/* Gradient rules. */
/** Record `op`, a function of the input (of the output) of `node` and of `grad`, with the attributes of `node`. */
esker_node *esker__gradient_from_input(const esker__op *op, esker_node *node, esker_node *grad);
esker_node *esker__gradient_from_output(const esker__op *op, esker_node *node, esker_node *grad);
/** Of what is constant but for steps: zeros. */
esker_node *esker__gradient_zero(esker_node *node, esker_node *grad, int input);

/* Recording. */
esker_node *esker__record1(const esker__op *op, esker_node *x);
esker_node *esker__record2(const esker__op *op, esker_node *a, esker_node *b);
esker_node *esker__record3(const esker__op *op, esker_node *a, esker_node *b, esker_node *c);
/** With two constants, which need to be numbers: "name: what scale and shift must be" is the message if `ok` is false. */
esker_node *esker__record_constants(const esker__op *op, esker_node *x, float k0, float k1, bool ok, const char *rule);

/* Error of the helpers in map.comp (in eps, as in rows); the arguments are exact. */
double esker__expm1_error(double x);
double esker__log1p_error(double x); /* x > -1 */
double esker__erfc_error(double x);  /* relative, x >= 0 */

/* clang-format off */
/** The rule gradient_<name>, which records the row <name>_grad over the operation's input (output) and the gradient. */
#define ESKER__GRADIENT_FROM(what_, name_) \
    static esker_node *gradient_##name_(esker_node *node, esker_node *grad, int input) \
    { \
        (void)input; \
        return esker__gradient_from_##what_(&esker__op_##name_##_grad, node, grad); \
    }

#define ESKER__DECLARE_ROW(name_, ...) extern const esker__op esker__op_##name_;
#define ESKER__DEFINE_ROW(name_, n_, types_, glsl_, c_, error_, rule_, without_, attr_, flags_) \
    static double value_of_##name_(double a, double b, double c, const float *k) \
    { \
        (void)a, (void)b, (void)c, (void)k; \
        return c_; \
    } \
    ESKER__DEFINE_OP(name_, n_, types_, glsl_, NULL, error_, rule_, without_, attr_, flags_)
/** Rows of operations that also take int32. */
#define ESKER__DEFINE_NUMBER_ROW(name_, n_, types_, glsl_, c_, error_, rule_, without_, attr_, flags_) \
    static double value_of_##name_(double a, double b, double c, const float *k) \
    { \
        (void)a, (void)b, (void)c, (void)k; \
        return c_; \
    } \
    static int64_t integer_of_##name_(int64_t a, int64_t b) \
    { \
        (void)a, (void)b; \
        return c_; \
    } \
    ESKER__DEFINE_OP(name_, n_, types_, glsl_, integer_of_##name_, error_, rule_, without_, attr_, flags_)
#define ESKER__DEFINE_OP(name_, n_, types_, glsl_, integer_, error_, rule_, without_, attr_, flags_) \
    static double error_of_##name_(double a, double b, double c, double y, const float *k) \
    { \
        (void)a, (void)b, (void)c, (void)y, (void)k; \
        return error_; \
    } \
    static esker_status infer_##name_(const void *attr, esker_node *const *inputs, int n_inputs, esker__type *out) \
    { \
        (void)attr; \
        return esker__elementwise_infer(#name_, types_, inputs, n_inputs, out); \
    } \
    static const esker__elementwise row_##name_ = {types_, value_of_##name_, error_of_##name_, integer_}; \
    const esker__op esker__op_##name_ = { \
        .name = #name_, .n_inputs = n_, .n_outputs = 1, .attr_bytes = attr_, .flags = flags_, .infer = infer_##name_, \
        .gradient = rule_, .no_gradient = without_, .reference = esker__elementwise_reference, .atol = ESKER__FLUSHED, \
        .lower = esker__elementwise_lower, .joins = esker__program_takes, .join = esker__fused_join, \
        .simplify = esker__elementwise_simplify, .fused = esker__fused_add, .expr = glsl_, .detail = &row_##name_};
/* clang-format on */

#endif
