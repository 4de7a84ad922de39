/* Convolutions from tiles in shared memory: what their kernels have in common. */
#include "ops/conv2d_tiles.h"

esker__conv2d_places esker__conv2d_places_of(const esker__conv2d_direct *d)
{
    return (esker__conv2d_places){.x_h = d->x_h,
                                  .x_w = d->x_w,
                                  .pad_y = d->pad_y,
                                  .pad_x = d->pad_x,
                                  .w_f = d->w_f,
                                  .w_c = d->w_c,
                                  .w_first = d->w_first,
                                  .w_p = d->w_p,
                                  .w_q = d->w_q,
                                  .y_channel = d->y_channel,
                                  .y_first = d->y_first,
                                  .y_u = d->y_u,
                                  .y_v = d->y_v,
                                  .bias_step = d->bias ? esker__tail_bias_step(d->tail, d->bias) : 0};
}

esker__conv2d_direct esker__conv2d_windows_of(const esker__conv2d_direct *d)
{
    esker__conv2d_direct of = *d;
    of.rows -= of.rows % 2;
    of.columns -= of.columns % 2;
    return of;
}

bool esker__conv2d_writes_fours(const esker__conv2d_direct *d)
{
    return !d->pooling && d->y_v == 1 && d->columns % 4 == 0 && d->y_channel % 4 == 0 && d->y_first % 4 == 0 &&
           d->y_u % 4 == 0;
}

uint32_t esker__conv2d_weight_grad_parts(uint64_t wanted, uint64_t n_tiles, uint64_t n_elems, uint64_t most_bytes,
                                         uint32_t *out_chunk)
{
    uint64_t parts = wanted, most = most_bytes / (4 * n_elems);
    if (parts > most) parts = most;
    if (parts > n_tiles) parts = n_tiles;
    if (parts < 1) parts = 1;
    *out_chunk = (uint32_t)esker__ceil_div(n_tiles, parts);
    return (uint32_t)esker__ceil_div(n_tiles, *out_chunk);
}
