#version 310 es
// conv/tiled: the sums of conv/direct, from tiles of x and of the weights in shared memory: each group LX PX columns by LY rows of one image,
//             and CH LZ channels; each invocation CH channels of PX neighbouring pixels of a row. For GPUs with fast shared memory
//
// x is read once for all taps (but for the tile's border), and an invocation reads a row of it from shared memory once for KW taps.
//
// Order     every element is one running sum over c, then p, then q, as in conv/direct; if SPLIT over those c of its split
// Bindings  0 in x f32 [images, c_in, x_h, x_w]    1 in w f32    2 in bias f32 (if BIAS)    then those of TAIL    last out y f32, other elements untouched
//           if SPLIT: y is [splits, n_elems] of partial sums for gemm/sum_splits, split s over c in [s chunk, (s + 1) chunk)
// Uniforms  as in conv/direct: pixel (u, v) of image i, channel f is y[(i f_out + f) y_channel + y_first + u y_u + v y_v], the weight of (f, c, p, q)
//           is w[f w_f + c w_c + w_first + p w_p + q w_q], and x begins pad_y rows above and pad_x columns left of the first pixel's taps;
//           across, down: tiles of an image; fold: groups along x; blocks_f: ceil(f_out / (CH LZ)); chunk: multiple of CC, or c_in
// Groups    images down across, folded into x and y; z: blocks_f splits, or blocks_f 4 if PHASES
//           read if PHASES, in place of those that go by the same names without the first word: phase_...; rows, columns, KH and KW: the
//           most of any phase, phase_taps_y, phase_taps_x: those there are
// Variants  PHASES: four such convolutions at once, with other taps, for other pixels of y (the gradient of the input, with stride 2); not
//           with SPLIT or VY. Where x is not finite, so may be those pixels of y that only taps which a phase does not have join with it
//           VY: y_v is 1, and columns, y_channel, y_first, y_u are multiples of 4
// Limits    tiles of at most 16 elements for each invocation; LX LY LZ invocations; shared memory 16 CC (rows * width + KH KW CH LZ / 4) bytes, rows = (LY - 1) SY + KH, width about
//           ((LX PX - 1) SX + KW) / 4; CH, PX 8 need about 100 registers
#ifndef LX
#define LX 4 // literals for layout()
#define LY 8
#define LZ 2
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
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 2
#endif
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY, local_size_z = LZ) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer W { float w[]; };
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if VY
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
#else
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint images, across, down, fold, rows, columns, f_out, c_in;
    int x_h, x_w, pad_y, pad_x, w_f, w_c, w_first, w_p, w_q;
    uint y_channel, y_first, y_u, y_v, bias_step, blocks_f, chunk, n_elems;
#if PHASES
    uvec4 phase_rows, phase_columns, phase_y_first;
    ivec4 phase_pad_y, phase_pad_x, phase_w_first, phase_taps_y, phase_taps_x;
#endif
};
#if PHASES
uint phase;
#define rows phase_rows[phase]
#define columns phase_columns[phase]
#define y_first phase_y_first[phase]
#define pad_y phase_pad_y[phase]
#define pad_x phase_pad_x[phase]
#define w_first phase_w_first[phase]
#endif

#define N_GROUP (LX * LY * LZ)
#define TILE_H ((LY - 1) * SY + KH)
#define TILE_W ((LX * PX - 1) * SX + KW)
#define WIDTH4 ((TILE_W + 3) / 4 + 1 - (TILE_W + 3) / 4 % 2) // odd, so that neighbouring rows begin in different banks
#define F4 (CH * LZ / 4)
#define PITCH4 (F4 + BY_F) // so that neighbouring taps begin in different banks
#define TAPS (KH * KW)
#define N_TILE (CC * TILE_H * WIDTH4 * 4)
#define N_WEIGHTS (CC * TAPS * CH * LZ)
shared vec4 tile[CC * TILE_H * WIDTH4];
shared vec4 weights[CC * TAPS * PITCH4]; // [c][p][q][channels / 4]

uint c, c_end; // the first channel of these tiles, and the end of this split's
uint f_first;  // of the group
int x_top, x_left;

// Where element e of the tile (channel, row, column) lies behind the first channel of the image, -1 if outside.
int place_x(uint e)
{
    uint line = e / uint(4 * WIDTH4), d = line / uint(TILE_H);
    int row = x_top + int(line - d * uint(TILE_H)), at = x_left + int(e - line * uint(4 * WIDTH4));
    bool inside = row >= 0 && row < x_h && at >= 0 && at < x_w && e < uint(N_TILE);
    return inside ? (int(d) * x_h + row) * x_w + at : -1;
}
// Where element e of the weights lies behind w_first; steps may be negative: OUTSIDE if there is none. Neighbours are neighbouring taps where those
// lie together in memory (BY_F), else neighbouring channels of y. In shared memory a tap's channels of y are neighbours.
#if BY_F
#define TAP_OF(e) ((e) % uint(TAPS))
#define D_OF(e) ((e) / uint(TAPS) % uint(CC))
#define F_OF(e) ((e) / uint(TAPS * CC))
#else
#define TAP_OF(e) ((e) / uint(CH * LZ) % uint(TAPS))
#define D_OF(e) ((e) / uint(CH * LZ * TAPS))
#define F_OF(e) ((e) % uint(CH * LZ))
#endif
#define OUTSIDE (-2147483647 - 1)
int place_w(uint e)
{
    uint t = TAP_OF(e), p = t / uint(KW), q = t - p * uint(KW), d = D_OF(e), f = f_first + F_OF(e);
    bool inside = f < f_out && e < uint(N_WEIGHTS);
#if PHASES
    inside = inside && int(p) < phase_taps_y[phase] && int(q) < phase_taps_x[phase];
#endif
    return inside ? int(f) * w_f + int(d) * w_c + int(p) * w_p + int(q) * w_q : OUTSIDE;
}
uint to_w(uint e) { return (D_OF(e) * uint(TAPS) + TAP_OF(e)) * uint(4 * PITCH4) + F_OF(e); }
#if WHOLE
#define PRESENT_X(e)
#define PRESENT_W(e)
#else
#define PRESENT_X(e) && c + (e) / uint(TILE_H * WIDTH4 * 4) < c_end
#define PRESENT_W(e) && c + D_OF(e) < c_end
#endif
#define PLACE_X(I, O, E) O = place_x(here + I * uint(N_GROUP));
#define PLACE_W(I, K, E) K = place_w(here + I * uint(N_GROUP));
#define READ_X(I, O, E)                                                                                                          \
    E = 0.0;                                                                                                                     \
    if (O >= 0 PRESENT_X(here + I * uint(N_GROUP))) E = x[x_first + O];
#define READ_W(I, K, E)                                                                                                          \
    E = 0.0;                                                                                                                     \
    if (K != OUTSIDE PRESENT_W(here + I * uint(N_GROUP))) E = w[k_first + K];
#define WRITE_X(I, O, E)                                                                                                         \
    if (here + I * uint(N_GROUP) < uint(N_TILE)) tile[(here + I * uint(N_GROUP)) >> 2][here + I * uint(N_GROUP) & 3u] = E;
#define WRITE_W(I, K, E)                                                                                                         \
    if (here + I * uint(N_GROUP) < uint(N_WEIGHTS)) {                                                                         \
        uint to = to_w(here + I * uint(N_GROUP));                                                                                \
        weights[to >> 2][to & 3u] = E;                                                                                           \
    }
// What an invocation moves of each: elements here, here + N_GROUP, ..., at most 16, whose places in memory it works out once.
#define SLOTS_X_0(DO) DO(0u, o0, e0)
#if N_TILE > 1 * N_GROUP
#define SLOTS_X_1(DO) DO(1u, o1, e1)
#else
#define SLOTS_X_1(DO)
#endif
#if N_TILE > 2 * N_GROUP
#define SLOTS_X_2(DO) DO(2u, o2, e2)
#else
#define SLOTS_X_2(DO)
#endif
#if N_TILE > 3 * N_GROUP
#define SLOTS_X_3(DO) DO(3u, o3, e3)
#else
#define SLOTS_X_3(DO)
#endif
#if N_TILE > 4 * N_GROUP
#define SLOTS_X_4(DO) DO(4u, o4, e4)
#else
#define SLOTS_X_4(DO)
#endif
#if N_TILE > 5 * N_GROUP
#define SLOTS_X_5(DO) DO(5u, o5, e5)
#else
#define SLOTS_X_5(DO)
#endif
#if N_TILE > 6 * N_GROUP
#define SLOTS_X_6(DO) DO(6u, o6, e6)
#else
#define SLOTS_X_6(DO)
#endif
#if N_TILE > 7 * N_GROUP
#define SLOTS_X_7(DO) DO(7u, o7, e7)
#else
#define SLOTS_X_7(DO)
#endif
#if N_TILE > 8 * N_GROUP
#define SLOTS_X_8(DO) DO(8u, o8, e8)
#else
#define SLOTS_X_8(DO)
#endif
#if N_TILE > 9 * N_GROUP
#define SLOTS_X_9(DO) DO(9u, o9, e9)
#else
#define SLOTS_X_9(DO)
#endif
#if N_TILE > 10 * N_GROUP
#define SLOTS_X_10(DO) DO(10u, o10, e10)
#else
#define SLOTS_X_10(DO)
#endif
#if N_TILE > 11 * N_GROUP
#define SLOTS_X_11(DO) DO(11u, o11, e11)
#else
#define SLOTS_X_11(DO)
#endif
#if N_TILE > 12 * N_GROUP
#define SLOTS_X_12(DO) DO(12u, o12, e12)
#else
#define SLOTS_X_12(DO)
#endif
#if N_TILE > 13 * N_GROUP
#define SLOTS_X_13(DO) DO(13u, o13, e13)
#else
#define SLOTS_X_13(DO)
#endif
#if N_TILE > 14 * N_GROUP
#define SLOTS_X_14(DO) DO(14u, o14, e14)
#else
#define SLOTS_X_14(DO)
#endif
#if N_TILE > 15 * N_GROUP
#define SLOTS_X_15(DO) DO(15u, o15, e15)
#else
#define SLOTS_X_15(DO)
#endif
#define SLOTS_X(DO) SLOTS_X_0(DO) SLOTS_X_1(DO) SLOTS_X_2(DO) SLOTS_X_3(DO) SLOTS_X_4(DO) SLOTS_X_5(DO) SLOTS_X_6(DO) SLOTS_X_7(DO) SLOTS_X_8(DO) SLOTS_X_9(DO) SLOTS_X_10(DO) SLOTS_X_11(DO) SLOTS_X_12(DO) SLOTS_X_13(DO) SLOTS_X_14(DO) SLOTS_X_15(DO)
#define SLOTS_W_0(DO) DO(0u, k0, e0)
#if N_WEIGHTS > 1 * N_GROUP
#define SLOTS_W_1(DO) DO(1u, k1, e1)
#else
#define SLOTS_W_1(DO)
#endif
#if N_WEIGHTS > 2 * N_GROUP
#define SLOTS_W_2(DO) DO(2u, k2, e2)
#else
#define SLOTS_W_2(DO)
#endif
#if N_WEIGHTS > 3 * N_GROUP
#define SLOTS_W_3(DO) DO(3u, k3, e3)
#else
#define SLOTS_W_3(DO)
#endif
#if N_WEIGHTS > 4 * N_GROUP
#define SLOTS_W_4(DO) DO(4u, k4, e4)
#else
#define SLOTS_W_4(DO)
#endif
#if N_WEIGHTS > 5 * N_GROUP
#define SLOTS_W_5(DO) DO(5u, k5, e5)
#else
#define SLOTS_W_5(DO)
#endif
#if N_WEIGHTS > 6 * N_GROUP
#define SLOTS_W_6(DO) DO(6u, k6, e6)
#else
#define SLOTS_W_6(DO)
#endif
#if N_WEIGHTS > 7 * N_GROUP
#define SLOTS_W_7(DO) DO(7u, k7, e7)
#else
#define SLOTS_W_7(DO)
#endif
#if N_WEIGHTS > 8 * N_GROUP
#define SLOTS_W_8(DO) DO(8u, k8, e8)
#else
#define SLOTS_W_8(DO)
#endif
#if N_WEIGHTS > 9 * N_GROUP
#define SLOTS_W_9(DO) DO(9u, k9, e9)
#else
#define SLOTS_W_9(DO)
#endif
#if N_WEIGHTS > 10 * N_GROUP
#define SLOTS_W_10(DO) DO(10u, k10, e10)
#else
#define SLOTS_W_10(DO)
#endif
#if N_WEIGHTS > 11 * N_GROUP
#define SLOTS_W_11(DO) DO(11u, k11, e11)
#else
#define SLOTS_W_11(DO)
#endif
#if N_WEIGHTS > 12 * N_GROUP
#define SLOTS_W_12(DO) DO(12u, k12, e12)
#else
#define SLOTS_W_12(DO)
#endif
#if N_WEIGHTS > 13 * N_GROUP
#define SLOTS_W_13(DO) DO(13u, k13, e13)
#else
#define SLOTS_W_13(DO)
#endif
#if N_WEIGHTS > 14 * N_GROUP
#define SLOTS_W_14(DO) DO(14u, k14, e14)
#else
#define SLOTS_W_14(DO)
#endif
#if N_WEIGHTS > 15 * N_GROUP
#define SLOTS_W_15(DO) DO(15u, k15, e15)
#else
#define SLOTS_W_15(DO)
#endif
#define SLOTS_W(DO) SLOTS_W_0(DO) SLOTS_W_1(DO) SLOTS_W_2(DO) SLOTS_W_3(DO) SLOTS_W_4(DO) SLOTS_W_5(DO) SLOTS_W_6(DO) SLOTS_W_7(DO) SLOTS_W_8(DO) SLOTS_W_9(DO) SLOTS_W_10(DO) SLOTS_W_11(DO) SLOTS_W_12(DO) SLOTS_W_13(DO) SLOTS_W_14(DO) SLOTS_W_15(DO)

void store4(uint at, uint column, vec4 s)
{
#if VY
    if (column < columns) y[at >> 2] = tail4(s, at);
#else
    if (column < columns) y[at] = tail(s.x, at);
    if (column + 1u < columns) y[at + y_v] = tail(s.y, at + y_v);
    if (column + 2u < columns) y[at + 2u * y_v] = tail(s.z, at + 2u * y_v);
    if (column + 3u < columns) y[at + 3u * y_v] = tail(s.w, at + 3u * y_v);
#endif
}

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
#define LOADED (((PX - 1) * SX + KW + 3) / 4)

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationIndex, tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y, tz = gl_LocalInvocationID.z;
    uint image = group.y * fold + group.x;
    uint left = image % across;
    image /= across;
    uint top = image % down;
    image /= down;
    uint block = group.z;
#if PHASES
    phase = block & 3u;
    block >>= 2;
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
    f_first = block * uint(CH * LZ);
    uint column = (left * uint(LX) + tx) * uint(PX), u = top * uint(LY) + ty;
    x_left = int(left) * LX * PX * SX - pad_x;
    x_top = int(top) * LY * SY - pad_y;

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);

    int o0, o1, o2, o3, o4, o5, o6, o7, o8, o9, o10, o11, o12, o13, o14, o15;
    int k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15;
    float e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15;
    SLOTS_X(PLACE_X)
    SLOTS_W(PLACE_W)
    for (c = c_begin; c < c_end; c += uint(CC)) {
        int x_first = int(image * c_in + c) * x_h * x_w, k_first = w_first + int(c) * w_c;
        memoryBarrierShared();
        barrier(); // the tiles before are no longer read
        SLOTS_X(READ_X)
        SLOTS_X(WRITE_X)
        SLOTS_W(READ_W)
        SLOTS_W(WRITE_W)
        memoryBarrierShared();
        barrier();
        for (uint d = 0u; d < uint(CC); d++)
            for (uint p = 0u; p < uint(KH); p++) {
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
            }
    }

    uint f = f_first + tz * uint(CH);
    if (u >= rows || column >= columns || image >= images) return;
    uint at = (image * f_out + f) * y_channel + y_first + u * y_u + column * y_v;
#if SPLIT
    at += split * n_elems;
#endif
#if BIAS
#define ADD_BIAS(I, S, T)                                                                                                        \
    S += bias[(f + I) * bias_step];                                                                                              \
    T += bias[(f + I) * bias_step];
#else
#define ADD_BIAS(I, S, T)
#endif
#if PX == 8
#define STORE(I, S, T)                                                                                                           \
    if (f + I < f_out) {                                                                                                         \
        ADD_BIAS(I, S, T)                                                                                                        \
        store4(at + I * y_channel, column, S);                                                                                   \
        store4(at + I * y_channel + 4u * y_v, column + 4u, T);                                                                   \
    }
#else
#define STORE(I, S, T)                                                                                                           \
    if (f + I < f_out) {                                                                                                         \
        ADD_BIAS(I, S, T)                                                                                                        \
        store4(at + I * y_channel, column, S);                                                                                   \
    }
#endif
    STORE(0u, s0, t0)
    STORE(1u, s1, t1)
    STORE(2u, s2, t2)
    STORE(3u, s3, t3)
#if CH == 8
    STORE(4u, s4, t4)
    STORE(5u, s5, t5)
    STORE(6u, s6, t6)
    STORE(7u, s7, t7)
#endif
}
