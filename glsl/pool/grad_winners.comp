#version 310 es
// pool/grad_winners: gx[i][u window_y + p][v window_x + q] = g[i][u][v] if the element won window (u, v), else 0, as in what no window has
//
// Each invocation writes all pixels of one cell: a window, and for the last in a row or column what is left of x behind it.
//
// Bindings  0 in g f32 [images, channels, rows, columns]
//           1 in winners uint [images, ceil(channels / 4), rows, columns]: p window_x + q for each of four channels, the first in the lowest byte, or 255: none won
//           then those of TAIL    last out gx f32 [images, channels, x_h, x_w]
// Uniforms  n_elems: of g; fold: groups along x; by_columns, by_rows, by_channels: 1 / columns, ...
// Groups    64 cells each, folded into x and y
// Variants  EXACT: n_elems is beyond 2^22, where division by reciprocals is not exact
#ifndef EXACT
#define EXACT 0
#endif
#ifndef TAIL // what becomes of element `at` of gx: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the blocks of the tail
#define OUT_BINDING 2
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer G { float g[]; };
layout(std430, binding = 1) readonly buffer Winners { uint winners[]; };
TAIL
layout(std430, binding = OUT_BINDING) writeonly buffer GX { float gx[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_elems, channels, blocks, rows, columns, x_h, x_w, window_y, window_x;
    float by_columns, by_rows, by_channels;
    uint fold;
};

#include "shape/divide"

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n_elems) return;
    uint line = divide(e, columns, by_columns), plane = divide(line, rows, by_rows), image = divide(plane, channels, by_channels);
    uint u = line - plane * rows, v = e - line * columns, c = plane - image * channels;
    float t = g[e];
    uint winner = winners[((image * blocks + (c >> 2)) * rows + u) * columns + v] >> (8u * (c & 3u)) & 255u;
    uint bottom = u + 1u == rows ? x_h : (u + 1u) * window_y, right = v + 1u == columns ? x_w : (v + 1u) * window_x;
    uint won_row = winner / window_x, won_column = v * window_x + winner - won_row * window_x;
    won_row = winner == 255u ? x_h : u * window_y + won_row;
    for (uint r = u * window_y; r < bottom; r++)
        for (uint q = v * window_x; q < right; q++) {
            uint at = (plane * x_h + r) * x_w + q;
            gx[at] = tail(r == won_row && q == won_column ? t : 0.0, at);
        }
}
