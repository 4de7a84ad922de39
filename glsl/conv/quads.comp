#version 310 es
// conv/quads: y[i][f][u][v] = tail(sum_{c,p,q} x[i][c][u stride_y + p][v stride_x + q] w(f, c, p, q) + bias[f]), each invocation 8 channels of 8
//             neighbouring pixels of a row, from padded x and packed filters (conv/pad, conv/pack_filters); for CPUs, where a read of four neighbours
//             costs what one of a float does
//
// Order     every element is one running sum over c, then p, then q by its remainder by stride_x: 0, S, 2 S, ..., 1, S + 1, ...
// Bindings  0 in x f32 [images, c_all, x_rows, S, x_quads * 4]: column j S + r of the padded row at [r][j]
//           1 in w f32 [groups, tiles_f, c_in, taps_y, KW, 8]: eight channels side by side, taps in the order above
//           2 in bias f32 (if BIAS)    then those of TAIL    last out y f32, at (i f_all + f) y_channel + y_first + u y_u + v y_v, other elements untouched
// Uniforms  n_tiles = images * rows * tiles_x, tiles_x = ceil(columns / 8); rows x columns pixels of each image; f_out, c_in: channels of a group, f_all,
//           c_all: of all; tiles_f = ceil(f_out / 8); bias_step: 1, or 0 for a bias of one element; fold: groups along x
// Groups    SIZE tiles each, folded into x and y; z: tiles_f * groups
// Variants  KW: taps in a row; S: stride_x, 1 to 4, and KW at most 8 S
//           FOURS: y lies in fours of channels, f32 [images, ceil(f_out / 4), rows, columns, 4], zero beyond the last, as do the blocks of TAIL; without groups.
//           y_channel, y_first, y_u and y_v are not read
// Limits    SIZE invocations; at most 4 storage blocks; no shared memory; 64 sums in each invocation
#ifndef KW
#define KW 3
#endif
#ifndef S
#define S 1
#endif
#ifndef SIZE
#define SIZE 32 // a literal for layout()
#endif
#ifndef FOURS
#define FOURS 0
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
layout(local_size_x = SIZE) in;
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer W { vec4 w[]; };
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if FOURS
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
#else
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_tiles, tiles_x, rows, columns, f_out, c_in, f_all, c_all, tiles_f, x_rows, x_quads, stride_y, taps_y;
    uint y_channel, y_first, y_u, y_v, bias_step, fold;
};

#if FOURS
// Channels f and on of pixel `column`.
void store(uint image, uint f, uint u, uint column, vec4 s)
{
    if (f >= f_out || column >= columns) return;
#if BIAS
    uint last = f_out - 1u;
    s += vec4(bias[f * bias_step], bias[min(f + 1u, last) * bias_step], bias[min(f + 2u, last) * bias_step], bias[min(f + 3u, last) * bias_step]);
#endif
    uint at = ((image * ((f_out + 3u) >> 2) + (f >> 2)) * rows + u) * columns + column;
    s = tail4(s, at * 4u);
    uint left = f_out - f;
    y[at] = vec4(s.x, left > 1u ? s.y : 0.0, left > 2u ? s.z : 0.0, left > 3u ? s.w : 0.0);
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
    uint at = (image * f_all + f) * y_channel + y_first + u * y_u + column * y_v;
    store4(at, column, s);
    store4(at + 4u * y_v, column + 4u, t);
}

#endif

// The tap whose eight pixels begin SHIFT behind the first of P.
#define TAP(SHIFT, P, Q, R)                                                                                                      \
    {                                                                                                                            \
        vec4 a = SHIFT == 0 ? P : SHIFT == 1 ? vec4(P.yzw, Q.x) : SHIFT == 2 ? vec4(P.zw, Q.xy) : vec4(P.w, Q.xyz);              \
        vec4 b = SHIFT == 0 ? Q : SHIFT == 1 ? vec4(Q.yzw, R.x) : SHIFT == 2 ? vec4(Q.zw, R.xy) : vec4(Q.w, R.xyz);              \
        vec4 k0 = w[wi], k1 = w[wi + 1u];                                                                                        \
        wi += 2u;                                                                                                                \
        s0 += k0.x * a, t0 += k0.x * b;                                                                                          \
        s1 += k0.y * a, t1 += k0.y * b;                                                                                          \
        s2 += k0.z * a, t2 += k0.z * b;                                                                                          \
        s3 += k0.w * a, t3 += k0.w * b;                                                                                          \
        s4 += k1.x * a, t4 += k1.x * b;                                                                                          \
        s5 += k1.y * a, t5 += k1.y * b;                                                                                          \
        s6 += k1.z * a, t6 += k1.z * b;                                                                                          \
        s7 += k1.w * a, t7 += k1.w * b;                                                                                          \
    }
// The taps whose remainder is PHASE.
#define COUNT(PHASE) ((KW - PHASE + S - 1) / S)
#define TAPS(PHASE)                                                                                                              \
    {                                                                                                                            \
        vec4 x0 = x[xi], x1 = x[xi + 1u], x2 = x1, x3 = x1;                                                                      \
        if (COUNT(PHASE) > 1) x2 = x[xi + 2u];                                                                                   \
        if (COUNT(PHASE) > 5) x3 = x[xi + 3u];                                                                                   \
        TAP(0, x0, x1, x1)                                                                                                       \
        if (COUNT(PHASE) > 1) TAP(1, x0, x1, x2)                                                                                 \
        if (COUNT(PHASE) > 2) TAP(2, x0, x1, x2)                                                                                 \
        if (COUNT(PHASE) > 3) TAP(3, x0, x1, x2)                                                                                 \
        if (COUNT(PHASE) > 4) TAP(0, x1, x2, x2)                                                                                 \
        if (COUNT(PHASE) > 5) TAP(1, x1, x2, x3)                                                                                 \
        if (COUNT(PHASE) > 6) TAP(2, x1, x2, x3)                                                                                 \
        if (COUNT(PHASE) > 7) TAP(3, x1, x2, x3)                                                                                 \
        xi += x_quads;                                                                                                           \
    }

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint tile = (group.y * fold + group.x) * uint(SIZE) + gl_LocalInvocationID.x;
    if (tile >= n_tiles) return;
    uint line = tile / tiles_x, tile_x = tile - line * tiles_x;
    uint image = line / rows, u = line - image * rows;
    uint member = group.z / tiles_f, f = member * f_out + (group.z - member * tiles_f) * 8u;
    uint row = ((image * c_all + member * c_in) * x_rows + u * stride_y) * uint(S) * x_quads + tile_x * 2u;
    uint wi = group.z * c_in * taps_y * uint(2 * KW);
    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);
    for (uint c = 0u; c < c_in; c++) {
        uint from = row;
        for (uint p = 0u; p < taps_y; p++) {
            uint xi = from;
            TAPS(0)
#if S > 1 && KW > 1
            TAPS(1)
#endif
#if S > 2 && KW > 2
            TAPS(2)
#endif
#if S > 3 && KW > 3
            TAPS(3)
#endif
            from += uint(S) * x_quads;
        }
        row += x_rows * uint(S) * x_quads;
    }
    uint f_end = member * f_out + f_out, column = tile_x * 8u;
#if FOURS
#define COLUMNS(I, E)                                                                                                            \
    store(image, f, u, column + I, vec4(s0.E, s1.E, s2.E, s3.E));                                                                \
    store(image, f, u, column + I + 4u, vec4(t0.E, t1.E, t2.E, t3.E));                                                           \
    store(image, f + 4u, u, column + I, vec4(s4.E, s5.E, s6.E, s7.E));                                                           \
    store(image, f + 4u, u, column + I + 4u, vec4(t4.E, t5.E, t6.E, t7.E));
    COLUMNS(0u, x)
    COLUMNS(1u, y)
    COLUMNS(2u, z)
    COLUMNS(3u, w)
#else
    store(image, f, f_end, u, column, s0, t0);
    store(image, f + 1u, f_end, u, column, s1, t1);
    store(image, f + 2u, f_end, u, column, s2, t2);
    store(image, f + 3u, f_end, u, column, s3, t3);
    store(image, f + 4u, f_end, u, column, s4, t4);
    store(image, f + 5u, f_end, u, column, s5, t5);
    store(image, f + 6u, f_end, u, column, s6, t6);
    store(image, f + 7u, f_end, u, column, s7, t7);
#endif
}
