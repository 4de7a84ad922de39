/*
 * The map kernel (glsl/elementwise/map.comp): one expression over one element of each operand, for each element of a result
 * whose operands are read by strides. Elementwise operations, expand and the general transpose are all this.
 */
#ifndef ESKER_OPS_MAP_H
#define ESKER_OPS_MAP_H

#include "plan/lowering.h"

#define ESKER__MAP_OPERANDS 3

typedef struct esker__map {
    int n_operands;                                       /* 1 to ESKER__MAP_OPERANDS */
    int rank;                                             /* 0 to ESKER_MAX_RANK */
    int64_t dims[ESKER_MAX_RANK];                         /* of the result, row-major */
    int64_t strides[ESKER__MAP_OPERANDS][ESKER_MAX_RANK]; /* in elements of the operand; 0 where it is broadcast */
    const char *expr;                                     /* over a, b, c and k0, k1; see esker__op.expr */
    /* Of the operands, then of the result. uint8 is uint in expr, and so are float16 and int8, whose bits it may only copy. */
    esker_dtype dtypes[ESKER__MAP_OPERANDS + 1];
    bool words; /* whatever dtypes says, elements are 32-bit words of any meaning: the expression may only copy */
    float k0, k1;
} esker__map;

/** Strides that broadcast a row-major `from` to `to` (which it must fit). */
void esker__broadcast_strides(const esker_shape *from, const esker_shape *to, int64_t strides[ESKER_MAX_RANK]);

/** Row-major strides of `shape`. */
void esker__row_major(const esker_shape *shape, int64_t strides[ESKER_MAX_RANK]);

/** What a copy (expression "a") does, in double: out[i] = in[the strides of operand 0]. */
void esker__map_copy(const esker__map *map, const double *in, double *out);

/** Let `map`, whose expression copies, copy elements of this type whatever they mean. */
void esker__map_of(esker__map *map, esker_dtype dtype);

/** Drop axes of length 1 and join neighbours that every operand walks through as one. The mapping is unchanged. */
void esker__map_merge(esker__map *map);

/** How the kernels read an operand; the numbers are those of map.comp. */
enum { ESKER__MODE_OWN = 0, ESKER__MODE_ONE = 1, ESKER__MODE_STRIDED = 2, ESKER__MODE_QUADS = 3, ESKER__MODE_CONSTANT = 4 };
/** Of a merged map; `inner4`: the last axis is a multiple of four. */
int esker__map_mode(const esker__map *map, int k, bool inner4);
/** Whether results are stored two elements at a time: V3D has room for half as many threads where a store has four words. */
bool esker__map_halves(const esker__lowering *lowering);

/** Emit the dispatch: operands[0 .. n_operands-1] are read, operands[n_operands] is the result. Merges `map`. */
esker_status esker__map_emit(esker__lowering *lowering, esker__map *map, const esker__operand *operands);

#endif
