#version 310 es
// pool/winners: y[i][u][v] = the largest of x[i][u window_y + p][v window_x + q] over 0 <= p < window_y, 0 <= q < window_x, and which it was:
//               p window_x + q of the first such element, NO_WINNER if GATED and none is above 0
// Bindings  0 in x f32 [images, channels, x_h, x_w]    1 out y f32 [images, channels, rows, columns]
//           2 out winners uint [images, blocks, rows, columns]: of four channels, the first in the lowest byte, 0 where there is none (if WINNERS)
// Uniforms  n_elems = images blocks rows columns, blocks = ceil(channels / 4); fold: groups along x; by_columns, by_rows, by_blocks: 1 / columns, ...
// Groups    64 elements of winners each, folded into x and y
// Variants  EXACT: n_elems is beyond 2^22, where division by reciprocals is not exact
// Limits    windows of at most 254 elements
#ifndef WINNERS
#define WINNERS 1
#endif
#ifndef GATED
#define GATED 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
#define NO_WINNER 255u
#ifndef FLOAT16
#define FLOAT16 0
#endif
#define PAIRS ((FLOAT16 >> 1 & 1) && !WINNERS)
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#if WINNERS
layout(std430, binding = 2) writeonly buffer Winners { uint winners[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_elems, channels, blocks, rows, columns, x_h, x_w, window_y, window_x;
    float by_columns, by_rows, by_blocks;
    uint fold;
};

#include "shape/divide"
#if PAIRS
#include "shape/two"
#endif

// The largest of a window, the first of channel `channel`, and which it is.
float largest_of(uint channel, uint u, uint v, out uint winner)
{
    uint from = (channel * x_h + u * window_y) * x_w + v * window_x, at = 0u;
    float largest = x[from];
    winner = 0u;
    for (uint p = 0u; p < window_y; p++, from += x_w)
        for (uint q = 0u; q < window_x; q++, at++) {
            float t = x[from + q];
            if (t > largest || isnan(t)) {
                largest = t;
                winner = at;
            }
        }
#if GATED
    if (largest <= 0.0) winner = NO_WINNER;
#endif
    return largest;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
#if PAIRS // the first invocations have two pixels of a plane each
    uint pixels = rows * columns, pairs = (pixels + 1u) >> 1;
    e = e / pairs * pixels + e % pairs * 2u;
#endif
    if (e >= n_elems) return;
    uint line = divide(e, columns, by_columns), plane = divide(line, rows, by_rows), image = divide(plane, blocks, by_blocks);
    uint u = line - plane * rows, v = e - line * columns, c = (plane - image * blocks) * 4u, word = 0u, winner;
    for (uint i = 0u; i < 4u && c + i < channels; i++) {
        uint channel = image * channels + c + i, at = (channel * rows + u) * columns + v;
#if PAIRS
        bool wraps = v + 1u == columns, two = !wraps || u + 1u < rows;
        vec2 t = vec2(largest_of(channel, u, v, winner), 0.0);
        if (two) t.y = largest_of(channel, wraps ? u + 1u : u, wraps ? 0u : v + 1u, winner);
        STORE_TWO(at, two, t)
#else
        y[at] = largest_of(channel, u, v, winner);
        word |= winner << (8u * i);
#endif
    }
#if WINNERS
    winners[e] = word;
#endif
}
