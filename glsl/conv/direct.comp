#version 310 es
// conv/direct: y[i][f][u][v] = tail(sum_{c,p,q} x[i][c][u stride_y - pad_y + p step_y][v stride_x - pad_x + q step_x] w(f, c, p, q) + bias[f]),
//              zero outside x; each invocation CH channels of PX neighbouring pixels of a row
//
// The weight w(f, c, p, q) is w[f w_f + c w_c + w_first + p w_p + q w_q], and pixel (u, v) of image i, channel f is
// y[(i f_out + f) y_channel + y_first + u y_u + v y_v]: by these steps the same kernel is the forward pass and, with f and c exchanged and the filters
// turned round, the gradient of the input (of each of the stride_y x stride_x phases of its pixels), which is also the transposed
// convolution.
//
// Order     every element is one running sum over c, then p, then q, in every variant: they differ in speed alone
// Bindings  0 in x f32 [images, c_in, x_h, x_w]    1 in w f32    2 in bias f32 (if BIAS)    then those of TAIL    last out y f32, other elements untouched
// Uniforms  n_tiles = images * rows * tiles_x, tiles_x = ceil(columns / PX); rows x columns pixels of each image; fold: groups along x;
//           w_f1 .. w_f7: j w_f, or (f_out - 1) w_f where there is no such channel; bias_step: 1, or 0 for a bias of one element;
//           by_tiles_x, by_rows: 1 / tiles_x, 1 / rows; step_y, step_x: dilation (read if DILATE)
//           read if GROUPS: f_all, c_all: channels of y and x in all, where f_out and c_in are those of one group; tiles_f: channels of a
//           group / CH, rounded up; w_group: from one group's weights to the next
// Groups    64 tiles each, folded into x and y; z: channels of a group / CH, rounded up, times groups
// Variants  ROLL: stride_x is 1, so that a tap reads one new pixel; KW: the number of taps in a row, known
//           DILATE: taps are step_y and step_x pixels apart, not 1; not with ROLL
//           GROUPS: channels in groups of their own; CH 1 then serves depthwise convolution
//           EXACT: n_tiles is beyond 2^22, where division by reciprocals is not exact
//           FOURS: y lies in fours of channels, f32 [images, ceil(f_all / 4), rows, columns, 4], zero beyond the last; y_u, y_v are in elements, y_channel in
//           pixels; without groups; PADS: channels of the last four, where they are not four
//           EVEN_ROWS, APART: where y holds halves (conv/store4)
//           SHARE (with CH 8): the weights of `chunk` input channels at a time go through shared memory, for GPUs where it is fast
// Limits    64 invocations; at most 4 storage blocks; no shared memory, with SHARE 8 KiB: chunk * taps_y * taps_x <= 256.
//           CH, PX 8 need about 100 registers: large GPUs only
#ifndef CH
#define CH 4 // 1, 2, 4 or 8
#endif
#ifndef PX
#define PX 4 // or 8
#endif
#ifndef ROLL
#define ROLL 1
#endif
#ifndef DILATE
#define DILATE 0
#endif
#ifndef GROUPS
#define GROUPS 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
#ifndef SHARE
#define SHARE 0
#endif
#ifndef FOURS
#define FOURS 0
#endif
#ifndef PADS
#define PADS 0
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
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer W { float w[]; };
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#ifndef FLOAT16
#define FLOAT16 0
#endif
#define PAIRS (FLOAT16 >> OUT_BINDING & 1) // y holds them: words of two are written by one invocation, where they can be
#if PAIRS && FOURS && !PADS && CH >= 4
#define WHOLE 1 // an invocation has all channels of its fours
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
#else
#define WHOLE 0
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_tiles, tiles_x, rows, columns, f_out, c_in;
    int x_h, x_w, stride_y, stride_x, pad_y, pad_x, taps_y, taps_x;
    int w_f, w_f1, w_f2, w_f3, w_f4, w_f5, w_f6, w_f7, w_c, w_first, w_p, w_q;
    uint y_channel, y_first, y_u, y_v, bias_step, fold, chunk;
    float by_tiles_x, by_rows;
    int step_y, step_x;
    uint f_all, c_all, tiles_f;
    int w_group;
};
#if !GROUPS
#define f_all f_out
#define c_all c_in
#endif

#if SHARE
shared vec4 weights[512]; // two vec4, of 8 channels, for each (c, p, q) of a chunk
#endif

#include "shape/divide"

// Pixel `column` of the row that begins at `row`.
float pixel(int row, int column)
{
    float t = x[row + clamp(column, 0, x_w - 1)];
    return column >= 0 && column < x_w ? t : 0.0;
}

#if WHOLE
// Four channels of a pixel.
void store(uint image, uint f, uint u, uint column, vec4 s)
{
    if (f >= f_out || column >= columns) return;
#if BIAS
    s += vec4(bias[f * bias_step], bias[(f + 1u) * bias_step], bias[(f + 2u) * bias_step], bias[(f + 3u) * bias_step]);
#endif
    uint at = (image * (f_out >> 2) + (f >> 2)) * y_channel * 4u + u * y_u + column * y_v;
    y[at >> 2] = vec4(tail(s.x, at), tail(s.y, at + 1u), tail(s.z, at + 2u), tail(s.w, at + 3u));
}
#else
#include "conv/store4"

// Channel f, the group's first channel included, of those below f_end.
void store(uint image, uint f, uint f_end, uint u, uint column, vec4 s, vec4 t)
{
    if (f >= f_end) return;
#if BIAS
    s += bias[f * bias_step];
    t += bias[f * bias_step];
#endif
#if FOURS
    uint at = (image * ((f_all + 3u) >> 2) + (f >> 2)) * y_channel * 4u + (f & 3u) + u * y_u + column * y_v;
#if PADS
    if (f + 1u == f_all)
        for (uint i = 0u; i < uint(PX) && column + i < columns; i++) {
            y[at + i * y_v + 1u] = 0.0;
            if (PADS < 3) y[at + i * y_v + 2u] = 0.0;
            if (PADS < 2) y[at + i * y_v + 3u] = 0.0;
        }
#endif
#else
    uint at = (image * f_all + f) * y_channel + y_first + u * y_u + column * y_v;
#endif
    store4(at, column, s);
#if PX == 8
    store4(at + 4u * y_v, column + 4u, t);
#endif
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint tile = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
#if SHARE
    bool outside = tile >= n_tiles; // still shares the weights
    tile = min(tile, n_tiles - 1u);
#else
    if (tile >= n_tiles) return;
#endif
    uint line = divide(tile, tiles_x, by_tiles_x), column = (tile - line * tiles_x) * uint(PX);
    uint image = divide(line, rows, by_rows), u = line - image * rows;
#if GROUPS
    uint g = group.z / tiles_f;
    uint f = min((group.z - g * tiles_f) * uint(CH), f_out - min(f_out, uint(CH))); // the last ones overlap: written twice, the same
    int w0 = int(f) * w_f + w_first + int(g) * w_group;
    uint c_first = image * c_all + g * c_in;
    f += g * f_out;
    uint f_begin = g * f_out + (group.z - g * tiles_f) * uint(CH), f_end = g * f_out + f_out;
#else
    uint f_begin = group.z * uint(CH), f = min(group.z * uint(CH), f_out - min(f_out, uint(CH)));
    int w0 = int(f) * w_f + w_first;
    uint c_first = image * c_in, f_end = f_out;
#endif
    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);

    int x_left = int(column) * stride_x - pad_x, x_top = int(u) * stride_y - pad_y;
#if DILATE
    int p_begin = max(0, -x_top + step_y - 1) / step_y, p_end = min(taps_y, max(0, x_h - x_top + step_y - 1) / step_y);
#else
    int p_begin = max(0, -x_top), p_end = min(taps_y, x_h - x_top);
#endif
#ifdef KW
    const int n_taps = KW;
#else
    int n_taps = taps_x;
#endif
    int channel = int(c_first) * x_h * x_w, w_channel = w0;
#if SHARE
    for (uint c_begin = 0u; c_begin < c_in; c_begin += chunk) {
        uint here = min(chunk, c_in - c_begin);
        memoryBarrierShared();
        barrier(); // the chunk before is no longer read
        // Each invocation moves four channels of every 32nd row of taps.
        bool upper = (gl_LocalInvocationID.x & 1u) != 0u;
        int step0 = upper ? w_f4 : 0, step1 = upper ? w_f5 : w_f1, step2 = upper ? w_f6 : w_f2, step3 = upper ? w_f7 : w_f3;
        for (uint r = gl_LocalInvocationID.x >> 1; r < here * uint(taps_y); r += 32u) {
            uint c = r / uint(taps_y);
            int from = w0 + int(c_begin + c) * w_c + int(r - c * uint(taps_y)) * w_p;
            uint to = 2u * r * uint(taps_x) + (upper ? 1u : 0u);
            for (int q = 0; q < taps_x; q++) {
                weights[to] = vec4(w[from + step0], w[from + step1], w[from + step2], w[from + step3]);
                from += w_q;
                to += 2u;
            }
        }
        memoryBarrierShared();
        barrier();
        for (uint c = 0u; c < here; c++) {
#else
    {
        for (uint c = 0u; c < c_in; c++) {
#endif
            for (int p = p_begin; p < p_end; p++) {
#if DILATE
                int row = channel + (x_top + p * step_y) * x_w;
#else
                int row = channel + (x_top + p) * x_w;
#endif
#if SHARE
                int wi = 2 * (int(c) * taps_y + p) * n_taps;
#else
                int wi = w_channel + p * w_p;
#endif
#if ROLL
                vec4 a = vec4(0.0, pixel(row, x_left), pixel(row, x_left + 1), pixel(row, x_left + 2)), b = vec4(0.0);
#if PX == 8
                b = vec4(pixel(row, x_left + 3), pixel(row, x_left + 4), pixel(row, x_left + 5), pixel(row, x_left + 6));
#endif
#endif
                for (int q = 0; q < n_taps; q++) {
#if ROLL && PX == 8
                    a = vec4(a.yzw, b.x);
                    b = vec4(b.yzw, pixel(row, x_left + q + 7));
#elif ROLL
                    a = vec4(a.yzw, pixel(row, x_left + q + 3));
#else
#if DILATE
                    int at = x_left + q * step_x;
#else
                    int at = x_left + q;
#endif
                    vec4 a = vec4(pixel(row, at), pixel(row, at + stride_x), pixel(row, at + 2 * stride_x), pixel(row, at + 3 * stride_x));
#if PX == 8
                    at += 4 * stride_x;
                    vec4 b = vec4(pixel(row, at), pixel(row, at + stride_x), pixel(row, at + 2 * stride_x), pixel(row, at + 3 * stride_x));
#endif
#endif
#if SHARE
                    vec4 k0 = weights[wi], k1 = weights[wi + 1];
#define WEIGHT(STEP, K) K
#else
#define WEIGHT(STEP, K) w[wi + STEP]
#endif
#if PX == 8
#define TAP(STEP, K, S, T)                                                                                                      \
    {                                                                                                                            \
        float k = WEIGHT(STEP, K);                                                                                               \
        S += k * a;                                                                                                              \
        T += k * b;                                                                                                              \
    }
#else
#define TAP(STEP, K, S, T) S += WEIGHT(STEP, K) * a;
#endif
                    TAP(0, k0.x, s0, t0)
#if CH >= 2
                    TAP(w_f1, k0.y, s1, t1)
#endif
#if CH >= 4
                    TAP(w_f2, k0.z, s2, t2)
                    TAP(w_f3, k0.w, s3, t3)
#endif
#if CH == 8
                    TAP(w_f4, k1.x, s4, t4)
                    TAP(w_f5, k1.y, s5, t5)
                    TAP(w_f6, k1.z, s6, t6)
                    TAP(w_f7, k1.w, s7, t7)
#endif
#if SHARE
                    wi += 2;
#else
                    wi += w_q;
#endif
                }
            }
            channel += x_h * x_w;
            w_channel += w_c;
        }
    }
#if SHARE
    if (outside) return;
#endif

#if WHOLE
#define STORE(I, E)                                                                                                              \
    store(image, f, u, column + uint(I), vec4(s0.E, s1.E, s2.E, s3.E));                                                          \
    if (PX == 8) store(image, f, u, column + uint(I + 4), vec4(t0.E, t1.E, t2.E, t3.E));                                         \
    if (CH == 8) store(image, f + 4u, u, column + uint(I), vec4(s4.E, s5.E, s6.E, s7.E));                                        \
    if (CH == 8 && PX == 8) store(image, f + 4u, u, column + uint(I + 4), vec4(t4.E, t5.E, t6.E, t7.E));
    STORE(0, x)
    STORE(1, y)
    STORE(2, z)
    STORE(3, w)
#else
#if PAIRS // nothing twice: what is written beside others is not only written
#define STORE(F, S, T)                                                                                                           \
    if (F >= f_begin) store(image, F, f_end, u, column, S, T);
#else
#define STORE(F, S, T) store(image, F, f_end, u, column, S, T);
#endif
    STORE(f, s0, t0)
#if CH >= 2
    STORE(f + 1u, s1, t1)
#endif
#if CH >= 4
    STORE(f + 2u, s2, t2)
    STORE(f + 3u, s3, t3)
#endif
#if CH == 8
    STORE(f + 4u, s4, t4)
    STORE(f + 5u, s5, t5)
    STORE(f + 6u, s6, t6)
    STORE(f + 7u, s7, t7)
#endif
#endif
}
