/*
 * A straight-line program of elementwise operations on one element: what fusion makes of a chain of them. The tails of contractions and fused
 * maps compute it, from the operations' own expressions, and its reference is made of theirs.
 */
#ifndef ESKER_OPS_PROGRAM_H
#define ESKER_OPS_PROGRAM_H

#include "base/text.h"
#include "graph/graph.h"

#define ESKER__PROGRAM_STEPS  ESKER__CHAIN_MEMBERS
#define ESKER__PROGRAM_INPUTS ESKER__CHAIN_OUTSIDE
#define ESKER__PROGRAM_VALUES (ESKER__PROGRAM_INPUTS + ESKER__PROGRAM_STEPS)

/** Value i is input i below n_inputs, and else the result of step i - n_inputs. Part of attributes: unused bytes are zero. */
typedef struct esker__program {
    int32_t n_inputs, n_steps;
    struct esker__program_step {
        const esker__op *op;
        float k[2];     /* of its expression */
        int8_t args[8]; /* values; the op's n_inputs of them are used */
    } steps[ESKER__PROGRAM_STEPS];
} esker__program;

/** Whether `node` can be a step: an elementwise operation of float32 alone, whose expression needs nothing but functions.comp. */
bool esker__program_takes(const esker_node *node);

/** Append `node`, whose inputs are `args`; false if there is no room. */
bool esker__program_add(esker__program *program, const esker_node *node, const int8_t *args);

/** The steps as GLSL statements: "float v2 = v0 + v1; ", where value i is v<i>. */
void esker__program_glsl(const esker__program *program, esker__text *text);
/** Whether the steps call what functions.comp has, and the kernel needs the definition FUNCTIONS 1. */
bool esker__program_calls(const esker__program *program);
bool esker__expr_calls(const char *expr);

/**
 * In double. `values` has n_inputs values and room for the others; `errors` (may be NULL) their bounds, absolute: an input's
 * is given, a step's is what its arguments' errors make of it, by trying, and its own.
 */
void esker__program_run(const esker__program *program, double *values, double *errors);

/** Append the steps' names with "+" between them, and in front if there is text. */
void esker__program_names(const esker__program *program, esker__text *text);

#endif
