#version 310 es
// conv/tiled_weight_grad: the sums of conv/weight_grad, from rows of x and of g in shared memory: each group LX channels of x, FB LY filters and
//                         all KH by KW taps, each invocation FB filters, one channel and PB rows of taps. For GPUs with fast shared memory
//
// The group walks over tiles of ROWS rows by 4 COLS4 columns of g; invocations with another z take other rows of each (SLICES of them), or,
// where PB is less than KH, other rows of taps: z = (p / PB) SLICES + slice.
//
// The next tiles are read, in fours along a row, before the arithmetic of these, and written after it: whole vec4 (conv/tiled says why).
// Order     in every slice a running sum over the tiles of its split, then rows, then columns; then over the slices
// Bindings  0 in x f32 [images, c_in, x_h, x_w]    1 in g f32 [images, f_out, rows, columns]
//           2 out gw f32 [splits, f_out, c_in, KH, KW]: partial sums for gemm/sum_splits, unless there is but one
//           if G_SUMS: behind those of each split the sums of g [f_out], which the groups of the first channels make
// Uniforms  across, down: tiles of an image; n_tiles = images down across, of which split s takes [s chunk, (s + 1) chunk); blocks_c, blocks_f:
//           ceil(c_in / LX), ceil(f_out / (FB LY)); n_elems: of a split
// Groups    (blocks_c, blocks_f, splits)
// Variants  POOLED: g [images, f_out, rows / 2, columns / 2] is the gradient of what was pooled in windows of 2 x 2, binding 2 the winners (pool/winners), and
//           binding 3 out
// Limits    LX LY LZ invocations, LZ = SLICES ceil(KH / PB); shared memory 16 (FB LY ROWS COLS4 + LX HEIGHT WIDTH4) bytes, or
//           LX LY ceil(KH / PB) FB (SLICES / 2) in place of the second, if that is more; at most 8 fours of x and 4 of g for an invocation; FB 8 with PB 3 and
//           KW 3 needs some 160 registers
#ifndef LX
#define LX 16 // literals for layout()
#define LY 2
#define LZ 4
#endif
#ifndef SLICES
#define SLICES 4
#endif
#ifndef FB
#define FB 8 // or 4
#endif
#ifndef KH
#define KH 3 // taps
#define KW 3 // 1 to 4
#endif
#ifndef PB
#define PB 3 // or 1
#endif
#ifndef SY
#define SY 1 // stride
#define SX 1 // 1 or 2
#endif
#ifndef VG
#define VG 0 // columns are a multiple of 4: g is read as vec4
#endif
#ifndef X4
#define X4 0 // x_w is a multiple of 4: x is read as vec4
#define SHIFT 0 // where tiles begin in one: -pad_x modulo 4
#endif
#ifndef G_SUMS
#define G_SUMS 0
#endif
#ifndef POOLED
#define POOLED 0 // without VG
#endif
#ifndef ROWS
#define ROWS 4
#define COLS4 8
#endif
#if KW == 1
#define V float
#elif KW == 2
#define V vec2
#elif KW == 3
#define V vec3
#else
#define V vec4
#endif
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY, local_size_z = LZ) in;
#if X4
layout(std430, binding = 0) readonly buffer X { vec4 x4[]; };
#else
layout(std430, binding = 0) readonly buffer X { float x[]; };
#endif
#if VG
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#else
layout(std430, binding = 1) readonly buffer G { float g[]; };
#endif
#if POOLED
layout(std430, binding = 2) readonly buffer Winners { uint winners[]; };
layout(std430, binding = 3) writeonly buffer GW { float gw[]; };
#else
layout(std430, binding = 2) writeonly buffer GW { float gw[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint across, down, n_tiles, chunk, rows, columns, f_out, c_in;
    int x_h, x_w, pad_y, pad_x;
    uint n_elems;
};

#define N_HERE uint(LX * LY * LZ)
#define HEIGHT ((ROWS - 1) * SY + KH)
#define WIDTH ((4 * COLS4 - 1) * SX + KW)
#define WIDTH4 ((WIDTH + 3) / 4)
#define PLANE4 (HEIGHT * WIDTH4 + 1 - HEIGHT * WIDTH4 % 2) // odd, so that neighbouring channels lie in different banks
#define HALF (SLICES / 2)
#define OWNERS (LX * LY * (LZ / SLICES)) // of sums, in a slice
#define SUMS (LY * (LZ / SLICES) * FB * HALF) // of a channel's slices, half of which are put in this memory at a time
#define BLOCK4 (FB * ROWS * COLS4)         // of the tile of g, for FB filters; the next ones begin in another bank
#if SLICES > 1 && SUMS > PLANE4
shared vec4 tile_x[LX * SUMS];
#else
shared vec4 tile_x[LX * PLANE4];
#endif
shared vec4 tile_g[LY * (BLOCK4 + 1)];
#if G_SUMS
#define SHARERS (LX * LZ / FB) // of a filter's sum
shared float sums_of_g[FB * LY * SHARERS];
#endif

// Four pixels of g, in k, by those of x that each of KW taps meets, in the row v0, v1, v2; added one by one, each in a multiply-add.
#define ADD4(S, A, B, C, D)                                                                                                      \
    S += k.x * A;                                                                                                                \
    S += k.y * B;                                                                                                                \
    S += k.z * C;                                                                                                                \
    S += k.w * D;
#if SX == 1 && KW == 1
#define TERMS(S) ADD4(S, v0.x, v0.y, v0.z, v0.w)
#elif SX == 1 && KW == 2
#define TERMS(S) ADD4(S, v0.xy, v0.yz, v0.zw, vec2(v0.w, v1.x))
#elif SX == 1 && KW == 3
#define TERMS(S) ADD4(S, v0.xyz, v0.yzw, vec3(v0.zw, v1.x), vec3(v0.w, v1.xy))
#elif SX == 1
#define TERMS(S) ADD4(S, v0, vec4(v0.yzw, v1.x), vec4(v0.zw, v1.xy), vec4(v0.w, v1.xyz))
#elif KW == 1
#define TERMS(S) ADD4(S, v0.x, v0.z, v1.x, v1.z)
#elif KW == 2
#define TERMS(S) ADD4(S, v0.xy, v0.zw, v1.xy, v1.zw)
#elif KW == 3
#define TERMS(S) ADD4(S, v0.xyz, vec3(v0.zw, v1.x), v1.xyz, vec3(v1.zw, v2.x))
#else
#define TERMS(S) ADD4(S, v0, vec4(v0.zw, v1.xy), v1, vec4(v1.zw, v2.xy))
#endif
#define LOADED ((3 * SX + KW + 3) / 4) // fours of a row of x that four pixels of g meet

#define N_X (LX * HEIGHT * WIDTH4) // fours in the tiles
#define N_G (FB * LY * ROWS * COLS4)
uint image, left, top; // of the tile
uint c_first, f_first; // of the group

#include "conv/four_of_x"
// Four `e` of the tile of x: channel, row, four columns; then of that of g.
vec4 x_at(uint e)
{
    uint line = e / uint(WIDTH4), c = line / uint(HEIGHT);
    int row = int(top) * SY - pad_y + int(line - c * uint(HEIGHT)), at = int(left) * SX - pad_x + int(e - line * uint(WIDTH4)) * 4;
    int from = (int(image * c_in + c_first + c) * x_h + row) * x_w + at;
    vec4 value = vec4(0.0);
    if (uint(row) < uint(x_h) && c_first + c < c_in && e < uint(N_X)) value = four_of_x(from, at);
    return value;
}
void keep_x(uint e, vec4 value)
{
    if (e < uint(N_X)) tile_x[e + e / uint(HEIGHT * WIDTH4) * uint(PLANE4 - HEIGHT * WIDTH4)] = value;
}
#if POOLED
#include "conv/windows_of_g"
#endif
vec4 g_at(uint e)
{
    uint line = e / uint(COLS4), v = left + (e - line * uint(COLS4)) * 4u, f = line / uint(ROWS), u = top + line - f * uint(ROWS);
    uint from = ((image * f_out + f_first + f) * rows + u) * columns + v;
    vec4 value = vec4(0.0);
    if (f_first + f < f_out && u < rows && v < columns && e < uint(N_G)) {
#if POOLED
        value = four_of_windows(image, f_first + f, u, v);
#elif VG
        value = g[from >> 2];
#else
        value.x = g[from];
        if (v + 1u < columns) value.y = g[from + 1u];
        if (v + 2u < columns) value.z = g[from + 2u];
        if (v + 3u < columns) value.w = g[from + 3u];
#endif
    }
    return value;
}
void keep_g(uint e, vec4 value)
{
    if (e < uint(N_G)) tile_g[e + e / uint(BLOCK4)] = value;
}
void place(uint tile)
{
    image = tile / across;
    left = (tile - image * across) * uint(4 * COLS4);
    top = image % down * uint(ROWS);
    image /= down;
}

// What an invocation moves of each: fours here, here + N_HERE, ..., at most 8 of x and 4 of g.
#if N_X > 1 * LX * LY * LZ
#define SLOT_X_1(DO) DO(1u, x1)
#else
#define SLOT_X_1(DO)
#endif
#if N_X > 2 * LX * LY * LZ
#define SLOT_X_2(DO) DO(2u, x2)
#else
#define SLOT_X_2(DO)
#endif
#if N_X > 3 * LX * LY * LZ
#define SLOT_X_3(DO) DO(3u, x3)
#else
#define SLOT_X_3(DO)
#endif
#if N_X > 4 * LX * LY * LZ
#define SLOT_X_4(DO) DO(4u, x4)
#else
#define SLOT_X_4(DO)
#endif
#if N_X > 5 * LX * LY * LZ
#define SLOT_X_5(DO) DO(5u, x5)
#else
#define SLOT_X_5(DO)
#endif
#if N_X > 6 * LX * LY * LZ
#define SLOT_X_6(DO) DO(6u, x6)
#else
#define SLOT_X_6(DO)
#endif
#if N_X > 7 * LX * LY * LZ
#define SLOT_X_7(DO) DO(7u, x7)
#else
#define SLOT_X_7(DO)
#endif
#define SLOTS_X(DO) DO(0u, x0) SLOT_X_1(DO) SLOT_X_2(DO) SLOT_X_3(DO) SLOT_X_4(DO) SLOT_X_5(DO) SLOT_X_6(DO) SLOT_X_7(DO)
#if N_X > 8 * LX * LY * LZ
#error an invocation moves at most 8 fours of x
#endif
#if N_G > 1 * LX * LY * LZ
#define SLOT_G_1(DO) DO(1u, g1)
#else
#define SLOT_G_1(DO)
#endif
#if N_G > 2 * LX * LY * LZ
#define SLOT_G_2(DO) DO(2u, g2)
#else
#define SLOT_G_2(DO)
#endif
#if N_G > 3 * LX * LY * LZ
#define SLOT_G_3(DO) DO(3u, g3)
#else
#define SLOT_G_3(DO)
#endif
#define SLOTS_G(DO) DO(0u, g0) SLOT_G_1(DO) SLOT_G_2(DO) SLOT_G_3(DO)
#if N_G > 4 * LX * LY * LZ
#error an invocation moves at most 4 fours of g
#endif
#define READ_X(I, E) E = x_at(here + I * N_HERE);
#define READ_G(I, E) E = g_at(here + I * N_HERE);
#define KEEP_X(I, E) keep_x(here + I * N_HERE, E);
#define KEEP_G(I, E) keep_g(here + I * N_HERE, E);

void store(uint at, V s)
{
#if KW == 1
    gw[at] = s;
#else
    gw[at] = s.x;
    gw[at + 1u] = s.y;
#endif
#if KW > 2
    gw[at + 2u] = s.z;
#endif
#if KW > 3
    gw[at + 3u] = s.w;
#endif
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationIndex, tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    uint slice = gl_LocalInvocationID.z % uint(SLICES), p = gl_LocalInvocationID.z / uint(SLICES) * uint(PB);
    c_first = group.x * uint(LX);
    f_first = group.y * uint(FB * LY);
    uint tile = group.z * chunk, end = min(tile + chunk, n_tiles);
    V a0 = V(0.0), a1 = V(0.0), a2 = V(0.0), a3 = V(0.0), a4 = V(0.0), a5 = V(0.0), a6 = V(0.0), a7 = V(0.0);
    V b0 = V(0.0), b1 = V(0.0), b2 = V(0.0), b3 = V(0.0), b4 = V(0.0), b5 = V(0.0), b6 = V(0.0), b7 = V(0.0);
    V d0 = V(0.0), d1 = V(0.0), d2 = V(0.0), d3 = V(0.0), d4 = V(0.0), d5 = V(0.0), d6 = V(0.0), d7 = V(0.0);
    // The next tiles are on their way, in registers, while these are used.
    vec4 x0, x1, x2, x3, x4, x5, x6, x7, g0, g1, g2, g3;
    place(tile);
    SLOTS_X(READ_X)
    SLOTS_G(READ_G)
#if G_SUMS
    vec4 sum_of_g = vec4(0.0);
    uint f_summed = here / uint(SHARERS), share = here - f_summed * uint(SHARERS);
    bool sums = group.x == 0u && f_summed < uint(FB * LY);
#endif
    // Not turns that are counted, as in conv/tiled: these cost 1.5 % of a step of ResNet-20 on an H200, and runs have not differed here.
    while (tile < end) {
        memoryBarrierShared();
        barrier(); // the tiles before are no longer read
        SLOTS_X(KEEP_X)
        SLOTS_G(KEEP_G)
        memoryBarrierShared();
        barrier();
        tile++;
        if (tile < end) {
            place(tile);
            SLOTS_X(READ_X)
            SLOTS_G(READ_G)
        }
#if G_SUMS
        if (sums)
            for (uint e = share; e < uint(ROWS * COLS4); e += uint(SHARERS))
                sum_of_g += tile_g[f_summed * uint(ROWS * COLS4) + e + f_summed / uint(FB)];
#endif
        for (uint u = slice; u < uint(ROWS); u += uint(SLICES))
            for (uint v = 0u; v < uint(COLS4); v++) {
                uint from = tx * uint(PLANE4) + (u * uint(SY) + p) * uint(WIDTH4) + v * uint(SX);
                uint at = ty * uint(BLOCK4 + 1) + u * uint(COLS4) + v;
                vec4 k0 = tile_g[at], k1 = tile_g[at + uint(ROWS * COLS4)], k2 = tile_g[at + 2u * uint(ROWS * COLS4)],
                     k3 = tile_g[at + 3u * uint(ROWS * COLS4)];
#if FB == 8
                vec4 k4 = tile_g[at + 4u * uint(ROWS * COLS4)], k5 = tile_g[at + 5u * uint(ROWS * COLS4)],
                     k6 = tile_g[at + 6u * uint(ROWS * COLS4)], k7 = tile_g[at + 7u * uint(ROWS * COLS4)];
#endif
#define TERM(K, S)                                                                                                               \
    {                                                                                                                            \
        vec4 k = K;                                                                                                              \
        TERMS(S)                                                                                                                \
    }
#if LOADED == 1
#define LOAD_ROW(q) vec4 v0 = tile_x[from + q * uint(WIDTH4)];
#elif LOADED == 2
#define LOAD_ROW(q) vec4 v0 = tile_x[from + q * uint(WIDTH4)], v1 = tile_x[from + q * uint(WIDTH4) + 1u];
#else
#define LOAD_ROW(q)                                                                                                              \
    vec4 v0 = tile_x[from + q * uint(WIDTH4)], v1 = tile_x[from + q * uint(WIDTH4) + 1u], v2 = tile_x[from + q * uint(WIDTH4) + 2u];
#endif
#if FB == 8
#define ROW(q, S0, S1, S2, S3, S4, S5, S6, S7)                                                                                   \
    {                                                                                                                            \
        LOAD_ROW(q)                                                                                                              \
        TERM(k0, S0) TERM(k1, S1) TERM(k2, S2) TERM(k3, S3) TERM(k4, S4) TERM(k5, S5) TERM(k6, S6) TERM(k7, S7)                  \
    }
#else
#define ROW(q, S0, S1, S2, S3, S4, S5, S6, S7)                                                                                   \
    {                                                                                                                            \
        LOAD_ROW(q)                                                                                                              \
        TERM(k0, S0) TERM(k1, S1) TERM(k2, S2) TERM(k3, S3)                                                                      \
    }
#endif
                ROW(0u, a0, a1, a2, a3, a4, a5, a6, a7)
#if PB == 3
                ROW(1u, b0, b1, b2, b3, b4, b5, b6, b7)
                ROW(2u, d0, d1, d2, d3, d4, d5, d6, d7)
#endif
            }
    }

#if G_SUMS
    if (group.x == 0u) {
        if (sums) sums_of_g[here] = sum_of_g.x + sum_of_g.y + sum_of_g.z + sum_of_g.w;
        memoryBarrierShared();
        barrier();
        if (here < uint(FB * LY) && f_first + here < f_out) {
            float sum = 0.0;
            for (uint i = 0u; i < uint(SHARERS); i++) sum += sums_of_g[here * uint(SHARERS) + i];
            gw[group.z * n_elems + f_out * c_in * uint(KH * KW) + f_first + here] = sum;
        }
    }
#endif

#if SLICES > 1
    // The slices' sums are added to those of the first, the upper half of them to the lower, and again, through the tile of x.
    uint owner = here % uint(LX * LY) + gl_LocalInvocationID.z / uint(SLICES) * uint(LX * LY);
#if KW == 1
#define WIDEN(S) vec4(S, 0.0, 0.0, 0.0)
#define NARROW(S) S.x
#elif KW == 2
#define WIDEN(S) vec4(S, 0.0, 0.0)
#define NARROW(S) S.xy
#elif KW == 3
#define WIDEN(S) vec4(S, 0.0)
#define NARROW(S) S.xyz
#else
#define WIDEN(S) S
#define NARROW(S) S
#endif
#if FB == 8
#define MORE(DO, S4, S5, S6, S7) DO(4u, S4) DO(5u, S5) DO(6u, S6) DO(7u, S7)
#else
#define MORE(DO, S4, S5, S6, S7)
#endif
#define PUT(I, S) tile_x[own + I * uint(OWNERS * HALF)] = WIDEN(S);
#define TAKE(I, S) S += NARROW(tile_x[own + I * uint(OWNERS * HALF)]);
#define ADD(S0, S1, S2, S3, S4, S5, S6, S7)                                                                                      \
    memoryBarrierShared();                                                                                                       \
    barrier();                                                                                                                   \
    own = (slice - n) * uint(OWNERS) + owner;                                                                                    \
    if (slice >= n && slice < left_over) {                                                                                       \
        PUT(0u, S0) PUT(1u, S1) PUT(2u, S2) PUT(3u, S3) MORE(PUT, S4, S5, S6, S7)                                                \
    }                                                                                                                            \
    memoryBarrierShared();                                                                                                       \
    barrier();                                                                                                                   \
    own = slice * uint(OWNERS) + owner;                                                                                          \
    if (slice + n < left_over) {                                                                                                 \
        TAKE(0u, S0) TAKE(1u, S1) TAKE(2u, S2) TAKE(3u, S3) MORE(TAKE, S4, S5, S6, S7)                                           \
    }
    uint own, left_over = uint(SLICES);
    while (left_over > 1u) {
        uint n = (left_over + 1u) >> 1;
        ADD(a0, a1, a2, a3, a4, a5, a6, a7)
#if PB == 3
        ADD(b0, b1, b2, b3, b4, b5, b6, b7)
        ADD(d0, d1, d2, d3, d4, d5, d6, d7)
#endif
        left_over = n;
    }
    if (slice != 0u) return;
#endif
    uint c = c_first + tx, f = f_first + ty * uint(FB);
    if (c >= c_in) return;
    uint to = group.z * n_elems + ((f * c_in + c) * uint(KH) + p) * uint(KW), step = c_in * uint(KH * KW);
#if PB == 3
#define STORE(I, A, B, D)                                                                                                        \
    if (f + I < f_out) {                                                                                                         \
        store(to + I * step, A);                                                                                                 \
        store(to + I * step + uint(KW), B);                                                                                      \
        store(to + I * step + 2u * uint(KW), D);                                                                                 \
    }
#else
#define STORE(I, A, B, D) if (f + I < f_out) store(to + I * step, A);
#endif
    STORE(0u, a0, b0, d0)
    STORE(1u, a1, b1, d1)
    STORE(2u, a2, b2, d2)
    STORE(3u, a3, b3, d3)
#if FB == 8
    STORE(4u, a4, b4, d4)
    STORE(5u, a5, b5, d5)
    STORE(6u, a6, b6, d6)
    STORE(7u, a7, b7, d7)
#endif
}
