#version 310 es
// conv/tiled: the sums of conv/direct, from tiles of x and of the weights in shared memory: each group LX PX columns by LY rows of one image,
//             and CH LF channels; each invocation CH channels of PX neighbouring pixels of a row. For GPUs with fast shared memory
//
// The next tiles are read, in fours, before the arithmetic of these, and written after it: whole vec4, as one component at a time took half as
// long again on an H100.
// x is read once for all taps (but for the tile's border), and an invocation reads a row of it from shared memory once for KW taps.
//
// Where results are few, SLICES invocations take every SLICES-th channel of each tile, and their sums are added at the end.
//
// Order     every element is one running sum over c, then p, then q, as in conv/direct; if SPLIT over those c of its split; with SLICES those of each slice, which
//           are then added in their order
// Bindings  0 in x f32 [images, c_in, x_h, x_w]    1 in w f32    2 in bias f32 (if BIAS)    then those of TAIL    last out y f32, other elements untouched
//           if SPLIT: y is [splits, n_elems] of partial sums for gemm/sum_splits, split s over c in [s chunk, (s + 1) chunk)
// Uniforms  as in conv/direct: pixel (u, v) of image i, channel f is y[(i f_out + f) y_channel + y_first + u y_u + v y_v], the weight of (f, c, p, q)
//           is w[f w_f + c w_c + w_first + p w_p + q w_q], and x begins pad_y rows above and pad_x columns left of the first pixel's taps;
//           across, down: tiles of an image; fold: groups along x; blocks_f: ceil(f_out / (CH LF)); chunk: multiple of CC, or c_in
// Groups    images down across, folded into x and y; z: blocks_f splits, or blocks_f 2 if PHASES
// Variants  PHASES: the gradient of the input, with stride 2. Even rows of y, and odd ones, are convolutions of x with taps of their own, which two groups take, and so are even
//           columns and odd ones, of which an invocation takes PX (4) each. KW is the number of taps of both, those of even columns first; WINDOW: columns of x that they see;
//           EVEN_TAPS, ODD_TAPS: what to add up, with those of x that a tap meets. phase_rows, phase_y_first, phase_pad_y, phase_taps_y: of even and odd rows;
//           phase_columns: even and odd ones; phase_w_first: of even rows and even columns, even rows and odd columns, odd rows and even columns, both odd.
//           Not with SPLIT, nor a stride of x
//           POOLING: y is [images, f_out, rows / 2, columns / 2], the largest values of windows of 2 x 2 (rows and columns are even, y_channel and y_u those of
//           y); WINNERS_BINDING: behind y, uint [images, ceil(f_out / 4), rows / 2, columns / 2], which element of each it was (pool/winners), with GATED
//           POOLED_X: x [images, c_in, x_h / 2, x_w / 2] is the gradient of what was pooled in windows of 2 x 2, and binding 2 the winners (pool/winners)
//           X4: rows of x are a multiple of 4 long, and tiles begin at the same place in a four, which SHIFT says: x is read as vec4
//           EVEN: no tile has pixels or channels beyond the result, and nothing is asked about them. Not with PHASES
//           VY: y_v is 1, and columns, y_channel, y_first, y_u are multiples of 4; with PHASES: rows of y are a multiple of 4 long
// Limits    tiles of at most four fours of elements for each invocation; LX LY LF SLICES invocations; shared memory 16 CC (rows * width + KH KW CH LF / 4) bytes, rows = (LY - 1) SY + KH, width about
//           ((LX PX - 1) SX + KW) / 4; CH, PX 8 need about 100 registers
#ifndef LX
#define LX 4 // literals for layout()
#define LY 8
#define LZ 2
#endif
#ifndef SLICES
#define SLICES 1 // of the channels of each tile
#define LF LZ // LZ / SLICES
#endif
#ifndef CH
#define CH 4 // or 8
#endif
#ifndef PX
#define PX 4 // or 8
#endif
#ifndef KH
#define KH 3 // taps
#endif
#ifndef KW
#define KW 3 // to 7
#endif
#ifndef SY
#define SY 1 // stride
#endif
#ifndef SX
#define SX 1 // 1 or 2
#endif
#ifndef CC
#define CC 4 // channels at a time
#endif
#ifndef X4
#define X4 0
#define SHIFT 0 // -pad_x modulo 4
#endif
#ifndef EVEN
#define EVEN 0
#endif
#ifndef WHOLE
#define WHOLE 0 // the channels of every split are a multiple of CC
#endif
#ifndef BY_F
#define BY_F 1 // w_f is larger than w_c
#endif
#ifndef VY
#define VY 0
#endif
#ifndef PHASES
#define PHASES 0
#endif
#ifndef WINDOW // with PHASES they are given together
#define WINDOW KW
#define KW_EVEN 1
#define EVEN_TAPS TAP_S(0u, FOUR_0)
#define ODD_TAPS TAP_T(1u, FOUR_0) TAP_T(2u, FOUR_1)
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef POOLING
#define POOLING 0 // with CH, PX 4, an even LY, and without VY, SPLIT, PHASES
#endif
#ifndef WINNERS_BINDING
#define WINNERS_BINDING 0 // nobody wants them
#endif
#ifndef GATED
#define GATED 0
#endif
#ifndef POOLED_X
#define POOLED_X 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#if POOLED_X
#define OUT_BINDING 3
#else
#define OUT_BINDING 2
#endif
#endif
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY, local_size_z = LZ) in;
#if X4
layout(std430, binding = 0) readonly buffer X { vec4 x4[]; };
#else
layout(std430, binding = 0) readonly buffer X { float x[]; };
#endif
layout(std430, binding = 1) readonly buffer W { float w[]; };
#if POOLED_X
layout(std430, binding = 2) readonly buffer WinnersOfX { uint winners_of_x[]; };
#endif
#if BIAS && POOLED_X
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
#elif BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if VY
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
#else
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
#if WINNERS_BINDING > 0
layout(std430, binding = WINNERS_BINDING) writeonly buffer Winners { uint winners[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint images, across, down, fold, rows, columns, f_out, c_in;
    int x_h, x_w, pad_y, pad_x, w_f, w_c, w_first, w_p, w_q;
    uint y_channel, y_first, y_u, y_v, bias_step, blocks_f, chunk, n_elems;
#if PHASES
    ivec4 phase_w_first;
    uvec2 phase_rows, phase_columns, phase_y_first;
    ivec2 phase_pad_y, phase_taps_y;
#endif
};
#if PHASES
uint phase; // of the rows
#define rows phase_rows[phase]
#define columns phase_columns.x // the odd ones are as many, or one less
#define y_first phase_y_first[phase]
#define pad_y phase_pad_y[phase]
#endif

#define N_SLICE (LX * LY * LF)
#define N_GROUP (N_SLICE * SLICES)
#define TILE_H ((LY - 1) * SY + KH)
#define TILE_W ((LX * PX - 1) * SX + WINDOW)
#define WIDTH4 ((TILE_W + 3) / 4 + 1 - (TILE_W + 3) / 4 % 2) // odd, so that neighbouring rows begin in different banks
#define F4 (CH * LF / 4)
#define PITCH4 (F4 + 1 - F4 % 2) // odd, so that neighbouring taps begin in different banks
#define TAPS (KH * KW)
#define N_TILE (CC * TILE_H * WIDTH4) // fours
#define N_SUMS ((SLICES - 1) * PX / 4 * N_SLICE) // of the other slices, that go through its memory, too
#define N_WEIGHTS (CC * TAPS * F4)
#if POOLING
shared vec4 tile[N_TILE > 2 * N_GROUP ? N_TILE : 2 * N_GROUP]; // in the end each invocation gives half of what it has
#elif N_SUMS > N_TILE
shared vec4 tile[N_SUMS];
#else
shared vec4 tile[CC * TILE_H * WIDTH4];
#endif
shared vec4 weights[CC * TAPS * PITCH4]; // [c][p][q][channels / 4]

uint c, c_end; // the first channel of these tiles, and the end of this split's
uint f_first;  // of the group
int x_top, x_left;

#include "conv/tile_of_x"
#include "conv/four_of_x"
// Four `e` of the weights, of four channels of y: where the first lies, and how many of the channels there are. Steps may be negative.
// Neighbours are neighbouring taps, which lie together in memory, and then what lies next to them.
#define TAP_OF(e) ((e) % uint(TAPS))
#if BY_F
#define D_OF(e) ((e) / uint(TAPS) % uint(CC))
#define F4_OF(e) ((e) / uint(TAPS * CC))
#else
#define D_OF(e) ((e) / uint(TAPS * F4))
#define F4_OF(e) ((e) / uint(TAPS) % uint(F4))
#endif
ivec2 place_w(uint e)
{
    uint t = TAP_OF(e), p = t / uint(KW), q = t - p * uint(KW), d = D_OF(e), f = f_first + F4_OF(e) * 4u;
    bool inside = f < f_out && e < uint(N_WEIGHTS);
    int from = int(f) * w_f + int(d) * w_c;
#if PHASES
    inside = inside && int(p) < phase_taps_y[phase];
    uint odd = q < uint(KW_EVEN) ? 0u : 1u;
    q -= odd * uint(KW_EVEN);
    from += phase_w_first[2u * phase + odd];
#else
    from += w_first;
#endif
    return ivec2(from + int(p) * w_p + int(q) * w_q, inside ? int(f_out - f) : 0);
}
vec4 four_of_w(int from, int n)
{
    vec4 t = vec4(0.0);
    if (n > 0) t.x = w[from];
    if (n > 1) t.y = w[from + w_f];
    if (n > 2) t.z = w[from + 2 * w_f];
    if (n > 3) t.w = w[from + 3 * w_f];
    return t;
}
#if WHOLE
#define PRESENT_X(e, at) at
#define PRESENT_W(e, n) n
#else
#define PRESENT_X(e, at) (c + (e) / uint(TILE_H * WIDTH4) < c_end ? at : NOWHERE)
#define PRESENT_W(e, n) (c + D_OF(e) < c_end ? n : 0)
#endif
#define PLACE_X(I, O, E) O = place_x(here + I * uint(N_GROUP));
#define PLACE_W(I, O, E) O = place_w(here + I * uint(N_GROUP));
#if POOLED_X
#define READ_X(I, O, E)                                                                                                          \
    E = four_of_windows(c + (here + I * uint(N_GROUP)) / uint(TILE_H * WIDTH4), O.x, PRESENT_X(here + I * uint(N_GROUP), O.y));
#else
#define READ_X(I, O, E) E = four_of_x(x_first + O.x, PRESENT_X(here + I * uint(N_GROUP), O.y));
#endif
#define READ_W(I, O, E) E = four_of_w(k_first + O.x, PRESENT_W(here + I * uint(N_GROUP), O.y));
#define WRITE_X(I, O, E) if (here + I * uint(N_GROUP) < uint(N_TILE)) tile[here + I * uint(N_GROUP)] = E;
#define WRITE_W(I, O, E)                                                                                                         \
    if (here + I * uint(N_GROUP) < uint(N_WEIGHTS)) {                                                                            \
        uint e = here + I * uint(N_GROUP);                                                                                       \
        weights[(D_OF(e) * uint(TAPS) + TAP_OF(e)) * uint(PITCH4) + F4_OF(e)] = E;                                               \
    }
// What an invocation moves of each: fours here, here + N_GROUP, ..., at most 4, whose places in memory it works out once.
#if N_TILE > 1 * N_GROUP
#define SLOT_X_1(DO) DO(1u, o1, e1)
#else
#define SLOT_X_1(DO)
#endif
#if N_TILE > 2 * N_GROUP
#define SLOT_X_2(DO) DO(2u, o2, e2)
#else
#define SLOT_X_2(DO)
#endif
#if N_TILE > 3 * N_GROUP
#define SLOT_X_3(DO) DO(3u, o3, e3)
#else
#define SLOT_X_3(DO)
#endif
#define SLOTS_X(DO) DO(0u, o0, e0) SLOT_X_1(DO) SLOT_X_2(DO) SLOT_X_3(DO)
#if N_TILE > 4 * N_GROUP
#error an invocation moves at most four fours of each tile
#endif
#if N_WEIGHTS > 1 * N_GROUP
#define SLOT_W_1(DO) DO(1u, k1, h1)
#else
#define SLOT_W_1(DO)
#endif
#if N_WEIGHTS > 2 * N_GROUP
#define SLOT_W_2(DO) DO(2u, k2, h2)
#else
#define SLOT_W_2(DO)
#endif
#if N_WEIGHTS > 3 * N_GROUP
#define SLOT_W_3(DO) DO(3u, k3, h3)
#else
#define SLOT_W_3(DO)
#endif
#define SLOTS_W(DO) DO(0u, k0, h0) SLOT_W_1(DO) SLOT_W_2(DO) SLOT_W_3(DO)
#if N_WEIGHTS > 4 * N_GROUP
#error an invocation moves at most four fours of each tile
#endif

#if !VY && !POOLING
#include "conv/store4"
#if PHASES
// Four even columns and the odd ones between them.
void store8(uint at, uint column, vec4 s, vec4 t)
{
#define STORE_TWO(d, S, T)                                                                                                       \
    if (column + d < phase_columns.x) y[at + 2u * d] = tail(S, at + 2u * d);                                                     \
    if (column + d < phase_columns.y) y[at + 2u * d + 1u] = tail(T, at + 2u * d + 1u);
    STORE_TWO(0u, s.x, t.x)
    STORE_TWO(1u, s.y, t.y)
    STORE_TWO(2u, s.z, t.z)
    STORE_TWO(3u, s.w, t.w)
}
#endif
#endif

// Pixels q, q + SX, q + 2 SX, q + 3 SX of the row in v0, v1, ..., and (second) the four after them.
#if SX == 1
#define FOUR_0(v0, v1, v2) v0
#define FOUR_1(v0, v1, v2) vec4(v0.yzw, v1.x)
#define FOUR_2(v0, v1, v2) vec4(v0.zw, v1.xy)
#define FOUR_3(v0, v1, v2) vec4(v0.w, v1.xyz)
#define FOUR_4(v0, v1, v2) v1
#define FOUR_5(v0, v1, v2) vec4(v1.yzw, v2.x)
#define FOUR_6(v0, v1, v2) vec4(v1.zw, v2.xy)
#define SECOND(FOUR) FOUR(v1, v2, v3)
#else
#define FOUR_0(v0, v1, v2) vec4(v0.xz, v1.xz)
#define FOUR_1(v0, v1, v2) vec4(v0.yw, v1.yw)
#define FOUR_2(v0, v1, v2) vec4(v0.z, v1.xz, v2.x)
#define FOUR_3(v0, v1, v2) vec4(v0.w, v1.yw, v2.y)
#define FOUR_4(v0, v1, v2) vec4(v1.xz, v2.xz)
#define FOUR_5(v0, v1, v2) vec4(v1.yw, v2.yw)
#define FOUR_6(v0, v1, v2) vec4(v1.z, v2.xz, v3.x)
#define SECOND(FOUR) FOUR(v2, v3, v4)
#endif
#define LOADED (((PX - 1) * SX + WINDOW + 3) / 4)

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationIndex, tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
#if SLICES > 1
    uint tz = gl_LocalInvocationID.z % uint(LF), slice = gl_LocalInvocationID.z / uint(LF);
#else
    uint tz = gl_LocalInvocationID.z;
#define slice 0u
#endif
#if POOLED_X
    image = group.y * fold + group.x;
#else
    uint image = group.y * fold + group.x;
#endif
    uint left = image % across;
    image /= across;
    uint top = image % down;
    image /= down;
    uint block = group.z;
#if PHASES
    phase = block & 1u;
    block >>= 1;
#endif
#if SPLIT
    uint split = block / blocks_f;
    block -= split * blocks_f;
    uint c_begin = split * chunk;
    c_end = min(c_begin + chunk, c_in);
#else
    uint c_begin = 0u;
    c_end = c_in;
#endif
    if (image >= images) c_end = c_begin; // folding added this group
#if PHASES
    if (phase_taps_y[phase] == 0) c_end = c_begin;
    uint taps_down = uint(phase_taps_y[phase]);
#else
#define taps_down uint(KH)
#endif
    f_first = block * uint(CH * LF);
    uint column = (left * uint(LX) + tx) * uint(PX), u = top * uint(LY) + ty;
    x_left = int(left) * LX * PX * SX - pad_x;
    x_top = int(top) * LY * SY - pad_y;

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);

    ivec2 o0, o1, o2, o3, k0, k1, k2, k3;
    vec4 e0, e1, e2, e3, h0, h1, h2, h3;
    SLOTS_X(PLACE_X)
    SLOTS_W(PLACE_W)
    // The next tiles are on their way, in registers, while these are used.
    c = c_begin;
    int x_first = int(image * c_in + c) * x_h * x_w, k_first = int(c) * w_c;
    if (c < c_end) {
        SLOTS_X(READ_X)
        SLOTS_W(READ_W)
    }
    // Turns are counted: with a loop while c < c_end the results of groups of 80 invocations differed from run to run on an NVIDIA H200 (driver 580.159).
    uint turns = (c_end - c_begin + uint(CC) - 1u) / uint(CC);
    for (uint turn = 0u; turn < turns; turn++) {
        memoryBarrierShared();
        barrier(); // the tiles before are no longer read
        SLOTS_X(WRITE_X)
        SLOTS_W(WRITE_W)
        memoryBarrierShared();
        barrier();
        c += uint(CC);
        x_first += CC * x_h * x_w;
        k_first += CC * w_c;
        if (c < c_end) {
            SLOTS_X(READ_X)
            SLOTS_W(READ_W)
        }
        for (uint d = slice; d < uint(CC); d += uint(SLICES))
            for (uint p = 0u; p < taps_down; p++) {
                uint from = (d * uint(TILE_H) + ty * uint(SY) + p) * uint(WIDTH4) + tx * uint(PX * SX / 4);
                uint from_w = (d * uint(TAPS) + p * uint(KW)) * uint(PITCH4) + tz * uint(CH / 4);
                vec4 v0 = tile[from];
#if LOADED > 1
                vec4 v1 = tile[from + 1u];
#endif
#if LOADED > 2
                vec4 v2 = tile[from + 2u];
#endif
#if LOADED > 3
                vec4 v3 = tile[from + 3u];
#endif
#if LOADED > 4
                vec4 v4 = tile[from + 4u];
#endif
#if LOADED > 5
                vec4 v5 = tile[from + 5u];
#endif
#if PX == 8
#define ROW(K, S, T)                                                                                                             \
    S += K * a;                                                                                                                  \
    T += K * b;
#define PIXELS(FOUR) vec4 a = FOUR(v0, v1, v2), b = SECOND(FOUR);
#else
#define ROW(K, S, T) S += K * a;
#define PIXELS(FOUR) vec4 a = FOUR(v0, v1, v2);
#endif
#if CH == 8
#define MORE_ROWS(q)                                                                                                             \
    vec4 m = weights[from_w + q * uint(PITCH4) + 1u];                                                                                     \
    ROW(m.x, s4, t4) ROW(m.y, s5, t5) ROW(m.z, s6, t6) ROW(m.w, s7, t7)
#else
#define MORE_ROWS(q)
#endif
#define TAP(q, FOUR)                                                                                                             \
    {                                                                                                                            \
        PIXELS(FOUR)                                                                                                             \
        vec4 l = weights[from_w + q * uint(PITCH4)];                                                                                      \
        ROW(l.x, s0, t0) ROW(l.y, s1, t1) ROW(l.z, s2, t2) ROW(l.w, s3, t3) MORE_ROWS(q)                                         \
    }
#if PHASES
#if CH == 8
#define MORE_OF(S4, S5, S6, S7)                                                                                                  \
    vec4 m = weights[at + 1u];                                                                                                   \
    S4 += m.x * a;                                                                                                               \
    S5 += m.y * a;                                                                                                               \
    S6 += m.z * a;                                                                                                               \
    S7 += m.w * a;
#else
#define MORE_OF(S4, S5, S6, S7)
#endif
#define TAP_OF_PHASE(q, FOUR, S0, S1, S2, S3, S4, S5, S6, S7)                                                                    \
    {                                                                                                                            \
        uint at = from_w + q * uint(PITCH4);                                                                                     \
        vec4 a = FOUR(v0, v1, v2), l = weights[at];                                                                              \
        S0 += l.x * a;                                                                                                           \
        S1 += l.y * a;                                                                                                           \
        S2 += l.z * a;                                                                                                           \
        S3 += l.w * a;                                                                                                           \
        MORE_OF(S4, S5, S6, S7)                                                                                                  \
    }
#define TAP_S(q, FOUR) TAP_OF_PHASE(q, FOUR, s0, s1, s2, s3, s4, s5, s6, s7)
#define TAP_T(q, FOUR) TAP_OF_PHASE(q, FOUR, t0, t1, t2, t3, t4, t5, t6, t7)
                EVEN_TAPS
                ODD_TAPS
#else
                TAP(0u, FOUR_0)
#if KW > 1
                TAP(1u, FOUR_1)
#endif
#if KW > 2
                TAP(2u, FOUR_2)
#endif
#if KW > 3
                TAP(3u, FOUR_3)
#endif
#if KW > 4
                TAP(4u, FOUR_4)
#endif
#if KW > 5
                TAP(5u, FOUR_5)
#endif
#if KW > 6
                TAP(6u, FOUR_6)
#endif
#endif
            }
    }

#if SLICES > 1
    // The sums of the other slices go to the first, a few at a time, through the tile.
    uint own = here % uint(N_SLICE) * uint(PX / 4), other = own + (slice - 1u) * uint(PX / 4 * N_SLICE);
#define JOIN(S, T)                                                                                                               \
    memoryBarrierShared();                                                                                                       \
    barrier();                                                                                                                   \
    if (slice > 0u) {                                                                                                            \
        tile[other] = S;                                                                                                         \
        if (PX == 8) tile[other + 1u] = T;                                                                                       \
    }                                                                                                                            \
    memoryBarrierShared();                                                                                                       \
    barrier();                                                                                                                   \
    if (slice == 0u)                                                                                                             \
        for (uint n = 0u; n < uint(N_SUMS); n += uint(PX / 4 * N_SLICE)) {                                                       \
            S += tile[own + n];                                                                                                  \
            if (PX == 8) T += tile[own + n + 1u];                                                                                \
        }
    JOIN(s0, t0)
    JOIN(s1, t1)
    JOIN(s2, t2)
    JOIN(s3, t3)
#if CH == 8
    JOIN(s4, t4)
    JOIN(s5, t5)
    JOIN(s6, t6)
    JOIN(s7, t7)
#endif
#if !POOLING
    if (slice != 0u) return;
#endif
#endif
    uint f = f_first + tz * uint(CH);
#if POOLING
#include "conv/pooled_end"
#else
#include "conv/tiled_end"
#endif // POOLING
}
