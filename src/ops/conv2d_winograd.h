/* Winograd's filtering: what the convolutions (conv2d_winograd.c) and the gradient of the filters (conv2d_winograd_grad.c) share. */
#ifndef ESKER_OPS_CONV2D_WINOGRAD_H
#define ESKER_OPS_CONV2D_WINOGRAD_H

#include "ops/conv2d_direct.h"

#define ESKER__WINOGRAD_MOST  (1u << 22) /* below: where division by reciprocals is exact */
#define ESKER__WINOGRAD_LEAST 64         /* tiles of a part: what must fit at least */

/** How the work is cut. */
typedef struct esker__winograd_shape {
    uint32_t across, down, n_tiles; /* tiles of an image, of all */
    uint32_t n_t, parts;            /* tiles of a part, a multiple of 4; parts */
    uint32_t z;                     /* elements of a tile */
} esker__winograd_shape;

/** For tiles of m x m pixels of an output of `d`. */
esker__winograd_shape esker__winograd_shape_of(const esker_limits *limits, const esker__conv2d_direct *d, int m);
/** v [z, c_in, n_t]: tiles of d->x from `tile_first` on, transformed. */
esker_status esker__winograd_transform_tiles(esker__lowering *lowering, const esker__conv2d_direct *d, int m,
                                             const esker__winograd_shape *s, uint32_t tile_first, esker__value v);

static inline float esker__reciprocal(uint32_t n)
{
    return (float)(1.0 / (double)n);
}

/** How the uniform blocks of the kernels that transform tiles begin and end. */
typedef struct esker__winograd_head {
    uint32_t n, n_t, tile_first, n_tiles, across, down, channels, fold; /* fold: set once the groups are folded */
} esker__winograd_head;

typedef struct esker__winograd_reciprocals {
    float by_n_t, by_across, by_down;
} esker__winograd_reciprocals;

static inline esker__winograd_head esker__winograd_head_of(const esker__winograd_shape *s, int64_t channels,
                                                           uint32_t tile_first)
{
    return (esker__winograd_head){.n = (uint32_t)channels * s->n_t,
                                  .n_t = s->n_t,
                                  .tile_first = tile_first,
                                  .n_tiles = s->n_tiles,
                                  .across = s->across,
                                  .down = s->down,
                                  .channels = (uint32_t)channels};
}

static inline esker__winograd_reciprocals esker__winograd_reciprocals_of(const esker__winograd_shape *s)
{
    return (esker__winograd_reciprocals){esker__reciprocal(s->n_t), esker__reciprocal(s->across),
                                         esker__reciprocal(s->down)};
}

#endif
