/* What the tables of cases (cases_*.c) are written with. */
#ifndef ESKER_SELFTEST_CASE_ROWS_H
#define ESKER_SELFTEST_CASE_ROWS_H

#include "selftest/cases.h"

/** The families, one in each file; cases.c lists them. */
typedef struct esker__case_family {
    const esker__case_row *rows;
    int n;
} esker__case_family;

extern const esker__case_family esker__cases_elementwise, esker__cases_matmul, esker__cases_conv, esker__cases_reduce,
    esker__cases_shape, esker__cases_training;

#define FAMILY(name) const esker__case_family esker__cases_##name = {rows, sizeof rows / sizeof *rows}

/* Values of an input. */
/* clang-format off */
#define ON(a, b) {.lo = a, .hi = b}
#define WHOLE(a, b) {.lo = a, .hi = b, .whole = true}
#define I32(a, b) {.lo = a, .hi = b, .dtype = ESKER_DTYPE_I32}
#define U8(a, b) {.lo = a, .hi = b, .dtype = ESKER_DTYPE_U8}
#define F16(a, b) {.lo = a, .hi = b, .dtype = ESKER_DTYPE_F16}
#define I8(a, b) {.lo = a, .hi = b, .dtype = ESKER_DTYPE_I8}
/* clang-format on */

/* Records what needs more than its inputs. */
#define BUILD(name) static esker_node *build_##name(esker_graph *graph, esker_node *const *in, const double *args)

#endif
