/* The move kernel (glsl/shape/move.comp): elements copied to other places, by a rule that is separate along each axis. */
#ifndef ESKER_OPS_MOVE_H
#define ESKER_OPS_MOVE_H

#include "ops/ops.h"
#include "plan/lowering.h"

/* The numbers are the kernel's, which says what each does with a, b and the length in x. */
typedef enum esker__move_kind {
    ESKER__MOVE_SLICE,
    ESKER__MOVE_PLACE,
    ESKER__MOVE_WRAP,
    ESKER__MOVE_EDGE,
    ESKER__MOVE_REFLECT,
    ESKER__MOVE_LOWER,
    ESKER__MOVE_UPPER
} esker__move_kind;

typedef struct esker__move_axis {
    int64_t n_out, n_in, stride, a, b; /* stride in elements of x */
} esker__move_axis;

typedef struct esker__move {
    esker__move_kind kind;
    int rank;
    esker__move_axis axes[ESKER_MAX_RANK];
    float fill;       /* what stands where x has nothing */
    int64_t diagonal; /* of triangles */
} esker__move;

/** A move of `kind` from shape x to shape y that touches nothing yet (b is 1); y may have more axes in front. */
void esker__move_init(esker__move *move, esker__move_kind kind, const esker_shape *x, const esker_shape *y);
void esker__move_reference(const esker__move *move, const esker__reference *r);
esker_status esker__move_lower(esker__lowering *lowering, const esker_node *node, esker__move *move);

/** `axis` counted from 0, or -1 with the graph's error set: it is not one of x's. */
int esker__axis_of(const char *op, esker_node *x, int axis);

#endif
