/* Which kernel computes a convolution or a gradient of one. */
#ifndef ESKER_OPS_CONV2D_WAY_H
#define ESKER_OPS_CONV2D_WAY_H

#include "ops/conv2d_tiles.h"

/**
 * From the fastest on large GPUs to the plainest: a product of matrices (taps of one pixel); tiles of 4 x 4 and of 2 x 2 pixels by Winograd's filtering, usual
 * only where esker__conv2d_filtering says so; a few channels, all at once; tiles in shared memory; reads of four neighbours (for CPUs); large ones; small ones; no
 * window that rolls along a row.
 */
typedef enum esker__conv2d_way {
    ESKER__WAY_MATMUL,
    ESKER__WAY_WINOGRAD4,
    ESKER__WAY_WINOGRAD2,
    ESKER__WAY_FEW,
    ESKER__WAY_TILED,
    ESKER__WAY_QUADS,
    ESKER__WAY_WIDE,
    ESKER__WAY_NARROW,
    ESKER__WAY_PLAIN
} esker__conv2d_way;

/** Winograd's filtering: which tiles are possible, and the usual ones or 0. */
typedef struct esker__conv2d_filtering {
    bool suits2, suits4;
    int usual;
} esker__conv2d_filtering;

/**
 * Ask esker__choose() for `problem`, with the usual way for the family of GPUs. `terms`: products to add up; `pays`: that tiles are expected to be worth it.
 */
esker__conv2d_way esker__conv2d_choose_way(esker__lowering *lowering, const char *problem, double terms, bool suits_matmul,
                                           esker__conv2d_filtering filtered, bool suits_few, bool suits_tiled, bool pays,
                                           bool suits_quads);
/** Where convolutions from tiles in shared memory are the usual choice. */
bool esker__conv2d_prefers_tiles(const esker__lowering *lowering);
/** Channels that an invocation takes: groups of one channel (depthwise) and two have kernels of their own. */
uint32_t esker__conv2d_channels_at_once(bool large, int64_t n);

#endif
