#version 310 es
// conv/few: the sums of conv/direct where x has a few channels: each group 4 LX columns by LY rows of one image, and CH LZ channels of y, each
//           invocation CH channels of 4 neighbouring pixels of a row. For GPUs with fast shared memory
//
// What a group reads, all channels of its pixels and all taps of its filters, it reads at once: it waits for memory a single time.
//
// Order     every element is one running sum over c, then p, then q, as in conv/direct
// Bindings  0 in x f32 [images, CI, x_h, x_w]    1 in w f32    2 in bias f32 (if BIAS)    then those of TAIL    last out y f32, other elements untouched
// Uniforms  as in conv/direct: pixel (u, v) of image i, channel f is y[(i f_out + f) y_channel + y_first + u y_u + v y_v], the weight of (f, c, p, q)
//           is w[f w_f + c w_c + w_first + p w_p + q w_q], and x begins pad_y rows above and pad_x columns left of the first pixel's taps;
//           across, down: tiles of an image; fold: groups along x
// Groups    images down across, folded into x and y; z: ceil(f_out / (CH LZ))
// Variants  VY: y_v is 1, and columns, y_channel, y_first, y_u are multiples of 4
//           POOLING: y is [images, f_out, rows / 2, columns / 2], the largest values of windows of 2 x 2 (rows and columns are even, y_channel and y_u those of
//           y); WINNERS_BINDING: behind y, uint [images, ceil(f_out / 4), rows / 2, columns / 2], which element of each it was (pool/winners), with GATED
// Limits    LX LY LZ invocations; shared memory 16 (CI ((LY - 1) SY + KH) (LX SX + 3) + CI KH KW CH LZ / 4) bytes, about; CH 8 needs about 80 registers
#ifndef LX
#define LX 8 // literals for layout()
#define LY 8
#define LZ 2
#endif
#ifndef CH
#define CH 4 // or 8
#endif
#ifndef CI
#define CI 3
#endif
#ifndef KH
#define KH 3 // taps
#define KW 3 // to 7
#endif
#ifndef SY
#define SY 1 // stride
#define SX 1 // 1 or 2
#endif
#ifndef VY
#define VY 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef POOLING
#define POOLING 0 // with CH 4, an even LY, and without VY
#endif
#ifndef WINNERS_BINDING
#define WINNERS_BINDING 0 // nobody wants them
#endif
#ifndef GATED
#define GATED 0
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
#if WINNERS_BINDING > 0
layout(std430, binding = WINNERS_BINDING) writeonly buffer Winners { uint winners[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint images, across, down, fold, rows, columns, f_out;
    int x_h, x_w, pad_y, pad_x, w_f, w_c, w_first, w_p, w_q;
    uint y_channel, y_first, y_u, y_v, bias_step;
};

#define N_GROUP (LX * LY * LZ)
#define LOADED ((3 * SX + KW + 3) / 4) // vec4 of a row of x that four pixels meet
#define HEIGHT ((LY - 1) * SY + KH)
#define WIDTH4 (((LX - 1) * SX + LOADED) | 1) // odd, so that neighbouring rows lie in different banks
#define N_X (CI * HEIGHT * WIDTH4)
#define FOURS (CH * LZ / 4) // of channels
#define TAPS (CI * KH * KW)
#define N_W (TAPS * FOURS)
#if POOLING
shared vec4 tile[N_X > 2 * N_GROUP ? N_X : 2 * N_GROUP]; // in the end each invocation gives half of what it has
#else
shared vec4 tile[N_X];
#endif
shared vec4 weights[N_W]; // [c][p][q][channels / 4]

int image, x_top, x_left;

vec4 x_at(uint e)
{
    uint line = e / uint(WIDTH4), c = line / uint(HEIGHT);
    int row = x_top + int(line - c * uint(HEIGHT)), column = x_left + int(e - line * uint(WIDTH4)) * 4;
    vec4 value = vec4(0.0);
    if (e < uint(N_X) && row >= 0 && row < x_h) {
        int at = ((image * CI + int(c)) * x_h + row) * x_w + column;
        if (column >= 0 && column < x_w) value.x = x[at];
        if (column + 1 >= 0 && column + 1 < x_w) value.y = x[at + 1];
        if (column + 2 >= 0 && column + 2 < x_w) value.z = x[at + 2];
        if (column + 3 >= 0 && column + 3 < x_w) value.w = x[at + 3];
    }
    return value;
}
void keep_x(uint e, vec4 value)
{
    if (e < uint(N_X)) tile[e] = value;
}

#if VY && !POOLING
void store4(uint at, uint column, vec4 s)
{
    y[at >> 2] = tail4(s, at);
}
#elif !POOLING
#include "conv/store4"
#endif

#include "conv/fours_of_taps"
#if CH == 8
#define TAP(Q, FOUR)                                                                                                             \
    {                                                                                                                            \
        vec4 a = FOUR, l = weights[from_w + uint(Q * FOURS)], m = weights[from_w + uint(Q * FOURS + 1)];                         \
        s0 += l.x * a;                                                                                                           \
        s1 += l.y * a;                                                                                                           \
        s2 += l.z * a;                                                                                                           \
        s3 += l.w * a;                                                                                                           \
        s4 += m.x * a;                                                                                                           \
        s5 += m.y * a;                                                                                                           \
        s6 += m.z * a;                                                                                                           \
        s7 += m.w * a;                                                                                                           \
    }
#else
#define TAP(Q, FOUR)                                                                                                             \
    {                                                                                                                            \
        vec4 a = FOUR, l = weights[from_w + uint(Q * FOURS)];                                                                    \
        s0 += l.x * a;                                                                                                           \
        s1 += l.y * a;                                                                                                           \
        s2 += l.z * a;                                                                                                           \
        s3 += l.w * a;                                                                                                           \
    }
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationIndex, tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y, tz = gl_LocalInvocationID.z;
    uint rest = group.y * fold + group.x, line = rest / across;
    int left = int(rest - line * across) * (4 * LX), f_first = int(group.z) * (CH * LZ);
    image = int(line / down);
    int top = int(line - uint(image) * down) * LY;
    x_left = left * SX - pad_x;
    x_top = top * SY - pad_y;

    if (image < int(images)) { // folding added the others
        for (uint e = here; e < uint(N_X); e += uint(4 * N_GROUP)) {
            vec4 e0 = x_at(e), e1 = x_at(e + uint(N_GROUP)), e2 = x_at(e + uint(2 * N_GROUP)), e3 = x_at(e + uint(3 * N_GROUP));
            keep_x(e, e0);
            keep_x(e + uint(N_GROUP), e1);
            keep_x(e + uint(2 * N_GROUP), e2);
            keep_x(e + uint(3 * N_GROUP), e3);
        }
        for (uint e = here; e < uint(N_W); e += uint(N_GROUP)) {
            uint four = e / uint(TAPS), tap = e - four * uint(TAPS), p = tap / uint(KW), c = p / uint(KH);
            int f = f_first + int(four) * 4;
            int at = w_first + f * w_f + int(c) * w_c + int(p - c * uint(KH)) * w_p + int(tap - p * uint(KW)) * w_q;
            vec4 k = vec4(0.0);
            if (f < int(f_out)) k.x = w[at];
            if (f + 1 < int(f_out)) k.y = w[at + w_f];
            if (f + 2 < int(f_out)) k.z = w[at + 2 * w_f];
            if (f + 3 < int(f_out)) k.w = w[at + 3 * w_f];
            weights[tap * uint(FOURS) + four] = k;
        }
    }
    memoryBarrierShared();
    barrier();

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0), s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    uint from_w = tz * uint(CH / 4);
    for (uint c = 0u; c < uint(CI); c++) {
        uint from = (c * uint(HEIGHT) + ty * uint(SY)) * uint(WIDTH4) + tx * uint(SX);
        for (uint p = 0u; p < uint(KH); p++, from += uint(WIDTH4), from_w += uint(KW * FOURS)) {
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
            TAP(0, FOUR_0)
#if KW > 1
            TAP(1, FOUR_1)
#endif
#if KW > 2
            TAP(2, FOUR_2)
#endif
#if KW > 3
            TAP(3, FOUR_3)
#endif
#if KW > 4
            TAP(4, FOUR_4)
#endif
#if KW > 5
            TAP(5, FOUR_5)
#endif
#if KW > 6
            TAP(6, FOUR_6)
#endif
        }
    }

    uint u = uint(top) + ty, column = uint(left) + tx * 4u, f = uint(f_first) + tz * uint(CH);
#if POOLING
#define slice 0u
#include "conv/pooled_end"
#else
    if (image >= int(images) || u >= rows || column >= columns) return;
    uint at = (uint(image) * f_out + f) * y_channel + y_first + u * y_u + column * y_v;
#if BIAS
#define ADD_BIAS(I, S) S += bias[(f + I) * bias_step];
#else
#define ADD_BIAS(I, S)
#endif
#define STORE(I, S)                                                                                                              \
    if (f + I < f_out) {                                                                                                         \
        ADD_BIAS(I, S)                                                                                                           \
        store4(at + I * y_channel, column, S);                                                                                   \
    }
    STORE(0u, s0)
    STORE(1u, s1)
    STORE(2u, s2)
    STORE(3u, s3)
#if CH == 8
    STORE(4u, s4)
    STORE(5u, s5)
    STORE(6u, s6)
    STORE(7u, s7)
#endif
#endif // POOLING
}
