/* What conv/few and conv/tiled, the kernels that make their results from tiles in shared memory, and those of their gradients have in common. */
#ifndef ESKER_OPS_CONV2D_TILES_H
#define ESKER_OPS_CONV2D_TILES_H

#include "ops/conv2d_direct.h"

/**
 * The least invocations of a group of conv/tiled and conv/tiled_weight_grad: two warps. With 8 to 20 of them, less than one, NVIDIA's compiler (580, H100)
 * made kernels whose results differ from run to run, as if invocations read a tile before their neighbours had written it.
 */
#define ESKER__CONV2D_TILED_LEAST 64

static inline uint32_t esker__at_most(uint64_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

/** The least number of equal parts, none longer than `most`: their length. */
static inline uint32_t esker__even_part(uint64_t n, uint32_t most)
{
    return (uint32_t)esker__ceil_div(n, esker__ceil_div(n, most));
}

/** GPUs that allow groups of 1024 and have 32 KiB of shared memory: they have registers for tiles of 8 x 8, and that memory is
    fast; the others spill beyond 4 x 4, or (the smallest Adrenos) are left with one wave. */
static inline bool esker__has_room_for_tiles(const esker_limits *limits)
{
    return limits->group_invocations >= 1024 && limits->shared_bytes >= 32768;
}

/** Where a convolution finds what it reads and writes, as words of both kernels' parameters. */
typedef struct esker__conv2d_places {
    int32_t x_h, x_w, pad_y, pad_x, w_f, w_c, w_first, w_p, w_q;
    uint32_t y_channel, y_first, y_u, y_v, bias_step;
} esker__conv2d_places;
esker__conv2d_places esker__conv2d_places_of(const esker__conv2d_direct *d);

/** With pooling: without the rows and columns that no window has. */
esker__conv2d_direct esker__conv2d_windows_of(const esker__conv2d_direct *d);
/** Whether four neighbouring results lie in one aligned vec4. */
bool esker__conv2d_writes_fours(const esker__conv2d_direct *d);

/**
 * Into how many parts to cut the sum over n_tiles tiles that a gradient of filters is, if `wanted` keep the GPU busy and the n_elems partial sums of each are to
 * take no more than `most_bytes` together: parts of *out_chunk tiles, but for the last.
 */
uint32_t esker__conv2d_weight_grad_parts(uint64_t wanted, uint64_t n_tiles, uint64_t n_elems, uint64_t most_bytes,
                                         uint32_t *out_chunk);

#endif
