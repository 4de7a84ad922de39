#version 310 es
// conv/winograd_output: y = tail(A^T m A + bias) of each tile: M x M pixels from the (M + 2) x (M + 2) sums of products m[z][f][t], as
//                       conv/winograd_filter says
//
// Bindings  0 in m f32 [(M + 2)^2, f_out, n_t]    1 in bias f32 (if BIAS)    then those of TAIL    last out y f32 [images, f_out, rows, columns]
// Uniforms  n = f_out n_t; tile t is tile_first + t of the n_tiles of all images, down x across each; bias_step: 1, or 0 for a bias of one
//           element; by_n_t, by_across, by_down: their reciprocals; fold: groups along x
// Groups    64 tiles of a channel each, folded into x and y; n and n_tiles below 2^22
// Variants  QUADS (M 4): columns are a multiple of 4, so that rows of a tile are vec4
// Limits    64 invocations, no shared memory; at most 4 storage blocks
#ifndef M
#define M 2 // or 4
#endif
#ifndef QUADS
#define QUADS 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 1
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer Sums { float m[]; };
#if BIAS
layout(std430, binding = 1) readonly buffer Bias { float bias[]; };
#endif
TAIL
#ifndef FLOAT16
#define FLOAT16 0
#endif
#if QUADS
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
#else
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, n_t, tile_first, n_tiles, across, down, f_out, fold, rows, columns, bias_step;
    float by_n_t, by_across, by_down;
};

#if M == 2
// A column of A^T m.
vec2 column(uint at)
{
    uint row = 4u * n;
    float m0 = m[at], m1 = m[at + row], m2 = m[at + 2u * row], m3 = m[at + 3u * row];
    return vec2(m0 + m1 + m2, m1 - m2 - m3);
}
#else
vec4 column(uint at)
{
    uint row = 6u * n;
    float m1 = m[at + row], m2 = m[at + 2u * row], m3 = m[at + 3u * row], m4 = m[at + 4u * row];
    float even_a = m1 + m2, odd_a = m1 - m2, even_b = m3 + m4, odd_b = m3 - m4;
    return vec4(m[at] + even_a + even_b, 0.625 * odd_a + 1.5 * odd_b, 0.390625 * even_a + 2.25 * even_b,
                m[at + 5u * row] + 0.244140625 * odd_a + 3.375 * odd_b);
}
#endif

#if !QUADS
#if FLOAT16 >> OUT_BINDING & 1
void store_row(uint at, uint u, uint v, vec4 s)
{
    if (u >= rows || v >= columns) return;
    uint here = min(columns - v, uint(M));
    vec4 t = vec4(tail(s.x, at), 0.0, 0.0, 0.0);
    if (here > 1u) t.y = tail(s.y, at + 1u);
    if (here > 2u) t.z = tail(s.z, at + 2u);
    if (here > 3u) t.w = tail(s.w, at + 3u);
    halves_put4(y, at, here, t);
}
#else
void store(uint at, uint u, uint v, float t)
{
    if (u < rows && v < columns) y[at] = tail(t, at);
}
void store_row(uint at, uint u, uint v, vec4 s)
{
    store(at, u, v, s.x);
    store(at + 1u, u, v + 1u, s.y);
#if M == 4
    store(at + 2u, u, v + 2u, s.z);
    store(at + 3u, u, v + 3u, s.w);
#endif
}
#endif
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint at = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (at >= n) return;
    uint f = uint((float(at) + 0.5) * by_n_t), tile = at - f * n_t + tile_first;
    if (tile >= n_tiles) return;
    uint line = uint((float(tile) + 0.5) * by_across), image = uint((float(line) + 0.5) * by_down);
    uint u = (line - image * down) * uint(M), v = (tile - line * across) * uint(M);
    float more = 0.0;
#if BIAS
    more = bias[f * bias_step];
#endif
    uint to = ((image * f_out + f) * rows + u) * columns + v;
#if M == 2
    vec2 c0 = column(at), c1 = column(at + n), c2 = column(at + 2u * n), c3 = column(at + 3u * n);
    vec2 s0 = c0 + c1 + c2 + more, s1 = c1 - c2 - c3 + more;
    store_row(to, u, v, vec4(s0.x, s1.x, 0.0, 0.0));
    store_row(to + columns, u + 1u, v, vec4(s0.y, s1.y, 0.0, 0.0));
#else
    vec4 c1 = column(at + n), c2 = column(at + 2u * n), even_a = c1 + c2, odd_a = c1 - c2;
    vec4 c3 = column(at + 3u * n), c4 = column(at + 4u * n), even_b = c3 + c4, odd_b = c3 - c4;
    // Powers of two last, which round nothing: with `more` behind 0.625 a + 1.5 b compilers would fuse otherwise than without, and fused plans differ.
    vec4 s0 = column(at) + even_a + even_b + more, s1 = 0.125 * (5.0 * odd_a + 12.0 * odd_b) + more;
    vec4 s2 = 0.015625 * (25.0 * even_a + 144.0 * even_b) + more;
    vec4 s3 = 0.001953125 * (125.0 * odd_a + 1728.0 * odd_b) + column(at + 5u * n) + more;
#if QUADS
    // All that the tail reads is read before anything is written: compilers cannot know that these never are the same.
#define TAILED(r, d, Y)                                                                                                          \
    vec4 Y = vec4(s0.d, s1.d, s2.d, s3.d);                                                                                       \
    if (u + r < rows) Y = tail4(Y, to + r * columns);
    TAILED(0u, x, y0)
    TAILED(1u, y, y1)
    TAILED(2u, z, y2)
    TAILED(3u, w, y3)
    y[to >> 2] = y0;
    if (u + 1u < rows) y[(to + columns) >> 2] = y1;
    if (u + 2u < rows) y[(to + 2u * columns) >> 2] = y2;
    if (u + 3u < rows) y[(to + 3u * columns) >> 2] = y3;
#else
#define ROW(r, d) store_row(to + r * columns, u + r, v, vec4(s0.d, s1.d, s2.d, s3.d));
    ROW(0u, x)
    ROW(1u, y)
    ROW(2u, z)
    ROW(3u, w)
#endif
#endif
}
