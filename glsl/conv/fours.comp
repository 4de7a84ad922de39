#version 310 es
// conv/fours: y[i][f][u][v] = tail(sum_{c,p,q} x[i][c][u stride_y - pad_y + p][v S - pad_x + q] w(f, c, p, q) + bias[f]), zero outside x, with channels
//             in fours on both sides: channel c of pixel (r, s) is element c % 4 of the vec4 [i][c / 4][r][s]; each invocation 4 FQ channels of PX neighbouring
//             pixels of a row
//
// Order     every element is one running sum over c / 4, then p, then q, then c % 4
// Bindings  0 in x f32 [images, x_quads, x_h, x_w, 4]    1 in w f32, as conv/pack_fours leaves it: [tiles_f, x_quads, taps_y, KW, 4, 4 FQ] (all filters
//           of a channel side by side), with DEPTHWISE [quads, taps_y, KW, 4]    2 in bias f32 (if BIAS)    then those of TAIL
//           last out y f32 [images, quads, rows, columns, 4]; channels beyond the last become zero
// Uniforms  n_tiles = images * rows * tiles_x, with DEPTHWISE images * quads * rows * tiles_x; tiles_x = ceil(columns / PX); by_tiles_x, by_rows, by_quads:
//           1 / tiles_x, 1 / rows, 1 / quads; fold: groups along y
// Groups    x: tiles_f = ceil(quads / FQ), with DEPTHWISE 1; SIZE tiles each, folded into y and z
// Variants  PX: 2, 4 or 8; FQ: 1 or 2; KW: taps in a row, 1 to 5, written out, or 0: taps_x of them in a loop, which needs fewer registers; S: stride_x, 1 or 2
//           KH: rows of taps, 1 to 5, written out; 0: taps_y of them in a loop
//           DEPTHWISE: channel f is made of channel f of x alone; FQ 1
//           ROWS 2 (with DEPTHWISE and KH): pixels of two rows, u and u + 1, with SY = stride_y; `rows` of tiles are half as many, rounded up
//           EDGE: there may be pixels outside of x, but for those that are not stored
//           PADS: channels of the last four, where they are not four
//           BIAS_ONE: the bias has one element
//           EXACT: n_tiles is beyond 2^22, where division by reciprocals is not exact
// Limits    SIZE invocations; at most 4 storage blocks; no shared memory; 4 PX FQ sums in each invocation
#ifndef PX
#define PX 4
#endif
#ifndef FQ
#define FQ 1
#endif
#ifndef KW
#define KW 3
#endif
#ifndef KH
#define KH 0
#endif
#ifndef S
#define S 1
#endif
#ifndef SIZE
#define SIZE 64 // a literal for layout()
#endif
#ifndef DEPTHWISE
#define DEPTHWISE 0
#endif
#ifndef ROWS
#define ROWS 1
#endif
#ifndef SY
#define SY 1
#endif
#ifndef EDGE
#define EDGE 1
#endif
#ifndef PADS
#define PADS 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef BIAS_ONE
#define BIAS_ONE 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 2
#endif
#define ONE_TAP (KH == 1 && KW == 1 && !EDGE && !DEPTHWISE)
precision highp float;
precision highp int;
layout(local_size_x = SIZE) in;
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer W { vec4 w[]; };
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { vec4 bias[]; };
#endif
TAIL
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_tiles, tiles_x, rows, columns, quads, x_quads;
    int x_h, x_w, stride_y, pad_y, pad_x, taps_y, taps_x;
    float by_tiles_x, by_rows, by_quads;
    uint fold;
};

#include "shape/divide"

// Pixel `column` of the row that begins at `row`, if that one is inside.
vec4 pixel(int row, bool inside, int column)
{
#if EDGE
    vec4 t = x[row + clamp(column, 0, x_w - 1)];
    return inside && uint(column) < uint(x_w) ? t : vec4(0.0);
#else
    return x[row + min(column, x_w - 1)]; // those behind the last are not stored
#endif
}

// Four channels f of a pixel.
void store(uint at, uint f, vec4 s)
{
#if BIAS && BIAS_ONE
    s += bias[0].x;
#elif BIAS
    s += bias[f];
#endif
    s = tail4(s, at * 4u);
#if PADS
    if (f + 1u == quads) s = vec4(s.x, PADS > 1 ? s.y : 0.0, PADS > 2 ? s.z : 0.0, 0.0);
#endif
    y[at] = s;
}

#if DEPTHWISE && ROWS == 2
#define ONE(E, SUM, SUM2, A)                                                                                                    \
    if (second)                                                                                                                  \
        SUM2 += A * k;                                                                                                           \
    else                                                                                                                         \
        SUM += A * k;
#elif DEPTHWISE
#define ONE(E, SUM, SUM2, A) SUM += A * k;
#elif FQ == 2
#define ONE(E, SUM, SUM2, A) SUM += A.E * k, SUM2 += A.E * l;
#else
#define ONE(E, SUM, SUM2, A) SUM += A.E * k;
#endif
#if PX == 8
#define PIXELS(E, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
    ONE(E, s0, t0, A0)                                                                                                           \
    ONE(E, s1, t1, A1)                                                                                                           \
    ONE(E, s2, t2, A2)                                                                                                           \
    ONE(E, s3, t3, A3)                                                                                                           \
    ONE(E, s4, t4, A4)                                                                                                           \
    ONE(E, s5, t5, A5)                                                                                                           \
    ONE(E, s6, t6, A6)                                                                                                           \
    ONE(E, s7, t7, A7)
#elif PX == 4
#define PIXELS(E, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
    ONE(E, s0, t0, A0)                                                                                                           \
    ONE(E, s1, t1, A1)                                                                                                           \
    ONE(E, s2, t2, A2)                                                                                                           \
    ONE(E, s3, t3, A3)
#else
#define PIXELS(E, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
    ONE(E, s0, t0, A0)                                                                                                           \
    ONE(E, s1, t1, A1)
#endif
#if FQ == 2
#define WEIGHTS                                                                                                                  \
    vec4 k = w[wi], l = w[wi + 1];                                                                                               \
    wi += 2;
#else
#define WEIGHTS                                                                                                                  \
    vec4 k = w[wi];                                                                                                              \
    wi++;
#endif
#define CHANNEL(E, A0, A1, A2, A3, A4, A5, A6, A7)                                                                              \
    {                                                                                                                            \
        WEIGHTS                                                                                                                  \
        PIXELS(E, A0, A1, A2, A3, A4, A5, A6, A7)                                                                                \
    }
// A tap whose pixels are A0 and on.
#if DEPTHWISE
#define TAP(A0, A1, A2, A3, A4, A5, A6, A7) CHANNEL(xyzw, A0, A1, A2, A3, A4, A5, A6, A7)
#else
#define TAP(A0, A1, A2, A3, A4, A5, A6, A7)                                                                                     \
    {                                                                                                                            \
        CHANNEL(x, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
        CHANNEL(y, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
        CHANNEL(z, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
        CHANNEL(w, A0, A1, A2, A3, A4, A5, A6, A7)                                                                               \
    }
#endif
// Pixel J of what a row of taps sees, if one of our pixels sees it.
#define SEEN(J) ((J) < (PX - 1) * S + KW && (J) % S < KW)
#if ONE_TAP // where they are does not change with the channels
#define READ(A, J, O)                                                                                                            \
    vec4 A = vec4(0.0);                                                                                                          \
    if (SEEN(J)) A = x[channel + O];
#else
#define READ(A, J, O)                                                                                                            \
    vec4 A = vec4(0.0);                                                                                                          \
    if (SEEN(J)) A = pixel(row, inside, left + J);
#endif
#if ROWS == 2 // R is top + r, a literal: row r of the taps for our first row, r - SY for the second
#define SEEN_BY(R)                                                                                                               \
    if (seen < KH) {                                                                                                             \
        const bool second = false;                                                                                               \
        wi = w_channel + seen * KW;                                                                                              \
        TAPS                                                                                                                     \
    }                                                                                                                            \
    if (seen >= SY && seen - SY < KH) {                                                                                          \
        const bool second = true;                                                                                                \
        wi = w_channel + (seen - SY) * KW;                                                                                       \
        TAPS                                                                                                                     \
    }
#else
#define SEEN_BY(R) TAPS
#endif
// A row of taps, row R of x; wi: its first weights.
#if KW == 0
#define ROW(R)                                                                                                                   \
    {                                                                                                                            \
        bool inside = KH == 0 || uint(R) < uint(x_h);                                                                            \
        int row = channel + (KH == 0 ? R : clamp(R, 0, x_h - 1)) * x_w;                                                          \
        for (int q = 0; q < taps_x; q++) {                                                                                       \
            vec4 a0 = pixel(row, inside, left + q), a1 = pixel(row, inside, left + q + S), a2 = a1, a3 = a1;                     \
            vec4 a4 = a1, a5 = a1, a6 = a1, a7 = a1;                                                                             \
            if (PX > 2) a2 = pixel(row, inside, left + q + 2 * S), a3 = pixel(row, inside, left + q + 3 * S);                    \
            if (PX > 4) a4 = pixel(row, inside, left + q + 4 * S), a5 = pixel(row, inside, left + q + 5 * S);                    \
            if (PX > 4) a6 = pixel(row, inside, left + q + 6 * S), a7 = pixel(row, inside, left + q + 7 * S);                    \
            TAP(a0, a1, a2, a3, a4, a5, a6, a7)                                                                                  \
        }                                                                                                                        \
    }
#else
#define ROW(R)                                                                                                                   \
    {                                                                                                                            \
        bool inside = KH == 0 || uint(R) < uint(x_h);                                                                            \
        int row = channel + (KH == 0 ? R : clamp(R, 0, x_h - 1)) * x_w;                                                          \
        READ(a0, 0, (S == 1 ? o0 : o0)) READ(a1, 1, o1) READ(a2, 2, (S == 1 ? o2 : o1)) READ(a3, 3, o3)                          \
        READ(a4, 4, (S == 1 ? o4 : o2)) READ(a5, 5, o5) READ(a6, 6, (S == 1 ? o6 : o3)) READ(a7, 7, o7)                          \
        READ(a8, 8, o4) READ(a9, 9, o0) READ(a10, 10, o5) READ(a11, 11, o0) READ(a12, 12, o6) READ(a13, 13, o0)                  \
        READ(a14, 14, o7) READ(a15, 15, o0) READ(a16, 16, o0) READ(a17, 17, o0) READ(a18, 18, o0)                                \
        SEEN_BY(R)                                                                                                               \
    }
#endif
#if S == 1
#define TAPS                                                                                                                     \
    TAP(a0, a1, a2, a3, a4, a5, a6, a7)                                                                                          \
    if (KW > 1) TAP(a1, a2, a3, a4, a5, a6, a7, a8)                                                                              \
    if (KW > 2) TAP(a2, a3, a4, a5, a6, a7, a8, a9)                                                                              \
    if (KW > 3) TAP(a3, a4, a5, a6, a7, a8, a9, a10)                                                                             \
    if (KW > 4) TAP(a4, a5, a6, a7, a8, a9, a10, a11)
#else
#define TAPS                                                                                                                     \
    TAP(a0, a2, a4, a6, a8, a10, a12, a14)                                                                                       \
    if (KW > 1) TAP(a1, a3, a5, a7, a9, a11, a13, a15)                                                                           \
    if (KW > 2) TAP(a2, a4, a6, a8, a10, a12, a14, a16)                                                                          \
    if (KW > 3) TAP(a3, a5, a7, a9, a11, a13, a15, a17)                                                                          \
    if (KW > 4) TAP(a4, a6, a8, a10, a12, a14, a16, a18)
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint tile = (group.z * fold + group.y) * uint(SIZE) + gl_LocalInvocationID.x;
    if (tile >= n_tiles) return;
    uint line = divide(tile, tiles_x, by_tiles_x), column = (tile - line * tiles_x) * uint(PX);
#if ROWS == 2
    uint row_tiles = (rows + 1u) >> 1, plane = divide(line, row_tiles, by_rows), u = (line - plane * row_tiles) * 2u;
#else
    uint plane = divide(line, rows, by_rows), u = line - plane * rows; // of image i; with DEPTHWISE of image and channels
#endif
    int channel = int(plane) * x_h * x_w;
#if DEPTHWISE
    uint f = plane - divide(plane, quads, by_quads) * quads;
    int w_channel = int(f) * taps_y * taps_x;
#else
    uint f = group.x * uint(FQ);
    channel *= int(x_quads);
    int w_channel = int(group.x * x_quads) * taps_y * taps_x * (4 * FQ);
#endif
    vec4 s0 = vec4(0.0), s1 = vec4(0.0);
#if PX > 2
    vec4 s2 = vec4(0.0), s3 = vec4(0.0);
#endif
#if PX == 8
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
#endif
#if FQ == 2 || ROWS == 2
    vec4 t0 = vec4(0.0), t1 = vec4(0.0);
#if PX > 2
    vec4 t2 = vec4(0.0), t3 = vec4(0.0);
#endif
#if PX == 8
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);
#endif
#endif
    int left = int(column) * S - pad_x, top = int(u) * stride_y - pad_y;
#if KH == 0
    int p_begin = max(0, -top), p_end = min(taps_y, x_h - top);
#if DEPTHWISE
    int w_row = taps_x;
#else
    int w_row = taps_x * (4 * FQ);
#endif
#endif
#if ONE_TAP
    channel += top * x_w;
    int last = x_w - 1, o0 = min(left, last), o1 = min(left + S, last), o2 = min(left + 2 * S, last), o3 = min(left + 3 * S, last);
    int o4 = min(left + 4 * S, last), o5 = min(left + 5 * S, last), o6 = min(left + 6 * S, last), o7 = min(left + 7 * S, last);
#endif
#if !DEPTHWISE
    for (uint c = 0u; c < x_quads; c++) {
#else
    {
#endif
        int wi = w_channel;
#if KH > 0
#if ROWS == 2
#define ROW_OF(N)                                                                                                                \
    {                                                                                                                            \
        const int seen = N;                                                                                                      \
        ROW(top + N)                                                                                                             \
    }
#define KX (KH + SY) // rows of x that two of ours see
#else
#define ROW_OF(N) ROW(top + N)
#define KX KH
#endif
        ROW_OF(0)
#if KX > 1
        ROW_OF(1)
#endif
#if KX > 2
        ROW_OF(2)
#endif
#if KX > 3
        ROW_OF(3)
#endif
#if KX > 4
        ROW_OF(4)
#endif
#if KX > 5
        ROW_OF(5)
#endif
#if KX > 6
        ROW_OF(6)
#endif
#else
        wi += p_begin * w_row;
        for (int p = p_begin; p < p_end; p++) ROW(top + p)
        wi = w_channel + taps_y * w_row;
#endif
        channel += x_h * x_w;
        w_channel = wi;
    }

#if DEPTHWISE
    uint to = (plane * rows + u) * columns + column;
#else
    uint to = ((plane * quads + f) * rows + u) * columns + column;
#endif
    store(to, f, s0);
    if (column + 1u < columns) store(to + 1u, f, s1);
#if PX > 2
    if (column + 2u < columns) store(to + 2u, f, s2);
    if (column + 3u < columns) store(to + 3u, f, s3);
#endif
#if PX == 8
    if (column + 4u < columns) store(to + 4u, f, s4);
    if (column + 5u < columns) store(to + 5u, f, s5);
    if (column + 6u < columns) store(to + 6u, f, s6);
    if (column + 7u < columns) store(to + 7u, f, s7);
#endif
#if FQ == 2 || ROWS == 2
#if ROWS == 2
    if (u + 1u >= rows) return;
    to += columns;
#else
    f++;
    if (f >= quads) return;
    to += rows * columns;
#endif
    store(to, f, t0);
    if (column + 1u < columns) store(to + 1u, f, t1);
#if PX > 2
    if (column + 2u < columns) store(to + 2u, f, t2);
    if (column + 3u < columns) store(to + 3u, f, t3);
#endif
#if PX == 8
    if (column + 4u < columns) store(to + 4u, f, t4);
    if (column + 5u < columns) store(to + 5u, f, t5);
    if (column + 6u < columns) store(to + 6u, f, t6);
    if (column + 7u < columns) store(to + 7u, f, t7);
#endif
#endif
}
