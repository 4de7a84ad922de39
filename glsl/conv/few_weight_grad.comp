#version 310 es
// conv/few_weight_grad: the sums of conv/weight_grad where x has a few channels, and the sums of g: each group FB BLOCKS filters and all that x
//                       has to do with them, from tiles of g and x that are read once. For GPUs with fast shared memory
//
// A line is a row of taps of one channel: C KH of them. If SUMS there is one more, whose x is 1 everywhere, so that its first tap gets the sum of g.
// An item is a line by FB filters; SLICES invocations share it, of which each takes every SLICES-th four neighbouring pixels of a tile, and
// they add up what they have when all tiles are done. The next tile is read while this one is worked on.
//
// Order     in every slice a running sum over the tiles of its split, then over its pixels; then over the slices
// Bindings  0 in x f32 [images, C, x_h, x_w]    1 in g f32 [images, f_out, rows, columns]
//           2 out part f32 [splits, n_elems]: gw [f_out, C, KH, KW], then, if SUMS, the sums [f_out] and up to three more that are left alone
// Uniforms  across, down: tiles of an image, of 4 COLS4 columns by ROWS rows of g; n_tiles = images down across, of which split s takes
//           [s chunk, (s + 1) chunk); n_elems: of one split
// Groups    (ceil(f_out / (FB BLOCKS)), splits, 1)
// Variants  POOLED: g [images, f_out, rows / 2, columns / 2] is the gradient of what was pooled in windows of 2 x 2, binding 2 the winners (pool/winners), and
//           binding 3 out
// Limits    N invocations, at least SLICES BLOCKS (C KH + SUMS), and at least a quarter of the vec4 in each tile; 16 MEMORY bytes shared; FB 8 with
//           KW 4 needs about 110 registers
#ifndef N
#define N 128 // a literal for layout()
#endif
#ifndef FB
#define FB 8 // or 4
#endif
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef SLICES
#define SLICES 6
#endif
#ifndef C
#define C 3
#endif
#ifndef KH
#define KH 3 // taps
#define KW 3 // to 7
#endif
#ifndef SY
#define SY 1 // stride
#define SX 1 // 1 or 2
#endif
#ifndef ROWS
#define ROWS 4
#define COLS4 8
#endif
#ifndef VG
#define VG 0 // columns are a multiple of 4: g is read as vec4
#endif
#ifndef SUMS
#define SUMS 0
#endif
#ifndef POOLED
#define POOLED 0 // without VG
#endif
precision highp float;
precision highp int;
layout(local_size_x = N) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
#if VG
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#else
layout(std430, binding = 1) readonly buffer G { float g[]; };
#endif
#if POOLED
layout(std430, binding = 2) readonly buffer Winners { uint winners[]; };
layout(std430, binding = 3) writeonly buffer Part { float part[]; };
#else
layout(std430, binding = 2) writeonly buffer Part { float part[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint across, down, n_tiles, chunk, rows, columns, f_out;
    int x_h, x_w, pad_y, pad_x;
    uint n_elems;
};

#define LOADED ((3 * SX + KW + 3) / 4) // vec4 of a row of x that four pixels meet
#define HEIGHT ((ROWS - 1) * SY + KH)
#define WIDTH4 (((COLS4 - 1) * SX + LOADED) | 1) // odd, so that neighbouring rows lie in different banks
#define QUADS (ROWS * COLS4)
#define BLOCK4 (FB * QUADS + 1 - FB * QUADS % 2) // odd, too
#define N_G (FB * BLOCKS * QUADS)
#define N_X (C * HEIGHT * WIDTH4)
#define LINES (C * KH + SUMS)
#define ITEMS (BLOCKS * LINES)
#define VECTORS (KW * FB / 4) // of an invocation's sums
#define FIRST_X (BLOCKS * BLOCK4)
#define FIRST_ONE (FIRST_X + N_X)
#define TILES (FIRST_ONE + LOADED)
#if VECTORS * N > TILES
#define MEMORY (VECTORS * N) // where the slices' sums are added up, when the tiles are done
#else
#define MEMORY TILES
#endif
shared vec4 memory[MEMORY];

int image, left, top, f_first;

#if POOLED
#include "conv/windows_of_g"
#endif
#if POOLED
vec4 g_at(uint e)
{
    uint f = e / uint(QUADS), quad = e - f * uint(QUADS), r = quad / uint(COLS4);
    uint u = uint(top) + r, v = uint(left) + (quad - r * uint(COLS4)) * 4u;
    f += uint(f_first);
    return e < uint(N_G) && f < f_out ? four_of_windows(uint(image), f, u, v) : vec4(0.0);
}
#elif VG
vec4 g_at(uint e)
{
    uint f = e / uint(QUADS), quad = e - f * uint(QUADS), r = quad / uint(COLS4);
    int u = top + int(r), v = left + int(quad - r * uint(COLS4)) * 4;
    vec4 value = vec4(0.0);
    if (e < uint(N_G) && f_first + int(f) < int(f_out) && u < int(rows) && v < int(columns))
        value = g[(((image * int(f_out) + f_first + int(f)) * int(rows) + u) * int(columns) + v) >> 2];
    return value;
}
#else
vec4 g_at(uint e)
{
    uint f = e / uint(QUADS), quad = e - f * uint(QUADS), r = quad / uint(COLS4);
    int u = top + int(r), v = left + int(quad - r * uint(COLS4)) * 4;
    vec4 value = vec4(0.0);
    if (e < uint(N_G) && f_first + int(f) < int(f_out) && u < int(rows)) {
        int at = ((image * int(f_out) + f_first + int(f)) * int(rows) + u) * int(columns) + v;
        if (v < int(columns)) value.x = g[at];
        if (v + 1 < int(columns)) value.y = g[at + 1];
        if (v + 2 < int(columns)) value.z = g[at + 2];
        if (v + 3 < int(columns)) value.w = g[at + 3];
    }
    return value;
}
#endif
vec4 x_at(uint e)
{
    uint line = e / uint(WIDTH4), c = line / uint(HEIGHT);
    int row = top * SY - pad_y + int(line - c * uint(HEIGHT)), column = left * SX - pad_x + int(e - line * uint(WIDTH4)) * 4;
    vec4 value = vec4(0.0);
    if (e < uint(N_X) && row >= 0 && row < x_h) {
        int at = ((image * C + int(c)) * x_h + row) * x_w + column;
        if (column >= 0 && column < x_w) value.x = x[at];
        if (column + 1 >= 0 && column + 1 < x_w) value.y = x[at + 1];
        if (column + 2 >= 0 && column + 2 < x_w) value.z = x[at + 2];
        if (column + 3 >= 0 && column + 3 < x_w) value.w = x[at + 3];
    }
    return value;
}
void find(uint tile)
{
    uint row = tile / across, i = row / down;
    left = int(tile - row * across) * (4 * COLS4);
    top = int(row - i * down) * ROWS;
    image = int(i);
}
void keep_g(uint e, vec4 value)
{
    if (e < uint(N_G)) memory[e / uint(FB * QUADS) * uint(BLOCK4 - FB * QUADS) + e] = value;
}
void keep_x(uint e, vec4 value)
{
    if (e < uint(N_X)) memory[uint(FIRST_X) + e] = value;
}

#include "conv/fours_of_taps"
// One after the other, so that each product is added by the instruction that makes it.
#define TERM(S, K) S = S + K.x * a.x + K.y * a.y + K.z * a.z + K.w * a.w;
#if FB == 8
#define TAP(FOUR, S, T)                                                                                                          \
    {                                                                                                                            \
        vec4 a = FOUR;                                                                                                           \
        TERM(S.x, k0) TERM(S.y, k1) TERM(S.z, k2) TERM(S.w, k3) TERM(T.x, k4) TERM(T.y, k5) TERM(T.z, k6) TERM(T.w, k7)          \
    }
#else
#define TAP(FOUR, S, T)                                                                                                          \
    {                                                                                                                            \
        vec4 a = FOUR;                                                                                                           \
        TERM(S.x, k0) TERM(S.y, k1) TERM(S.z, k2) TERM(S.w, k3)                                                                  \
    }
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationIndex, slice = here / uint(ITEMS), item = here - slice * uint(ITEMS);
    uint line = item / uint(BLOCKS), block = item - line * uint(BLOCKS);
    f_first = int(group.x) * (FB * BLOCKS);
    uint tile = group.y * chunk, end = min(tile + chunk, n_tiles);

    uint c = line / uint(KH);
    uint from_line = uint(FIRST_X) + (c * uint(HEIGHT) + line - c * uint(KH)) * uint(WIDTH4);
    uint step_u = uint(SY * WIDTH4), step_v = uint(SX);
#if SUMS
    if (here < uint(LOADED)) memory[uint(FIRST_ONE) + here] = vec4(1.0);
    if (line == uint(C * KH)) from_line = uint(FIRST_ONE), step_u = 0u, step_v = 0u;
#endif
    uint first = slice < uint(SLICES) ? slice : uint(QUADS);

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0), s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0), t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0);
    vec4 g0, g1, g2, g3, x0, x1, x2, x3;
    for (uint t = tile; t <= end; t++) {
        bool more = t < end;
        if (more) {
            find(t);
            g0 = g_at(here), g1 = g_at(here + uint(N)), g2 = g_at(here + uint(2 * N)), g3 = g_at(here + uint(3 * N));
            x0 = x_at(here), x1 = x_at(here + uint(N)), x2 = x_at(here + uint(2 * N)), x3 = x_at(here + uint(3 * N));
        }
        for (uint quad = t > tile ? first : uint(QUADS); quad < uint(QUADS); quad += uint(SLICES)) {
            uint u = quad / uint(COLS4), from = from_line + u * step_u + (quad - u * uint(COLS4)) * step_v;
            uint at = block * uint(BLOCK4) + quad;
            vec4 k0 = memory[at], k1 = memory[at + uint(QUADS)], k2 = memory[at + uint(2 * QUADS)], k3 = memory[at + uint(3 * QUADS)];
#if FB == 8
            vec4 k4 = memory[at + uint(4 * QUADS)], k5 = memory[at + uint(5 * QUADS)], k6 = memory[at + uint(6 * QUADS)],
                 k7 = memory[at + uint(7 * QUADS)];
#endif
            vec4 v0 = memory[from];
#if LOADED > 1
            vec4 v1 = memory[from + 1u];
#endif
#if LOADED > 2
            vec4 v2 = memory[from + 2u];
#endif
#if LOADED > 3
            vec4 v3 = memory[from + 3u];
#endif
            TAP(FOUR_0, s0, t0)
#if KW > 1
            TAP(FOUR_1, s1, t1)
#endif
#if KW > 2
            TAP(FOUR_2, s2, t2)
#endif
#if KW > 3
            TAP(FOUR_3, s3, t3)
#endif
#if KW > 4
            TAP(FOUR_4, s4, t4)
#endif
#if KW > 5
            TAP(FOUR_5, s5, t5)
#endif
#if KW > 6
            TAP(FOUR_6, s6, t6)
#endif
        }
        memoryBarrierShared();
        barrier(); // this tile is no longer read
        if (!more) break;
        keep_g(here, g0);
        keep_g(here + uint(N), g1);
        keep_g(here + uint(2 * N), g2);
        keep_g(here + uint(3 * N), g3);
        keep_x(here, x0);
        keep_x(here + uint(N), x1);
        keep_x(here + uint(2 * N), x2);
        keep_x(here + uint(3 * N), x3);
        memoryBarrierShared();
        barrier();
    }

#if FB == 8
#define PUT(Q, S, T)                                                                                                             \
    memory[uint(2 * Q * N) + here] = S;                                                                                          \
    memory[uint((2 * Q + 1) * N) + here] = T;
#else
#define PUT(Q, S, T) memory[uint(Q * N) + here] = S;
#endif
    PUT(0, s0, t0)
#if KW > 1
    PUT(1, s1, t1)
#endif
#if KW > 2
    PUT(2, s2, t2)
#endif
#if KW > 3
    PUT(3, s3, t3)
#endif
#if KW > 4
    PUT(4, s4, t4)
#endif
#if KW > 5
    PUT(5, s5, t5)
#endif
#if KW > 6
    PUT(6, s6, t6)
#endif
    memoryBarrierShared();
    barrier();
    for (uint e = here; e < uint(VECTORS * ITEMS); e += uint(N)) {
        uint j = e / uint(ITEMS), i = e - j * uint(ITEMS), q = j / uint(FB / 4);
        vec4 sum = memory[j * uint(N) + i];
        for (uint s = 1u; s < uint(SLICES); s++) sum += memory[j * uint(N) + s * uint(ITEMS) + i];
        uint row = i / uint(BLOCKS), f = uint(f_first) + (i - row * uint(BLOCKS)) * uint(FB) + (j - q * uint(FB / 4)) * 4u;
        uint to = group.y * n_elems + (f * uint(C * KH) + row) * uint(KW) + q, step = uint(C * KH * KW);
#if SUMS
        if (row == uint(C * KH)) {
            if (q > 0u) continue;
            to = group.y * n_elems + f_out * step + f;
            step = 1u;
        }
#endif
        if (f < f_out) part[to] = sum.x;
        if (f + 1u < f_out) part[to + step] = sum.y;
        if (f + 2u < f_out) part[to + 2u * step] = sum.z;
        if (f + 3u < f_out) part[to + 3u * step] = sum.w;
    }
}
