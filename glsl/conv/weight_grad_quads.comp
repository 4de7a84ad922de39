#version 310 es
// conv/weight_grad_quads: gw[f][c][p][q] = sum_{i,u,v} g[i][f][u][v] x[i][c][u stride_y + p][v S + q], each invocation 8 filters by CHANNELS channels by the
//                         taps of a row, from padded x and g (conv/pad), four neighbouring pixels at a time; for CPUs, as conv/quads
//
// Order     every element is one running sum over the rows (i, u) of its split, then v; where g has zeros behind its columns, they are multiplied
//           by what x has there: by an infinite x that would be NaN
// Bindings  0 in x f32 [images, c_in, x_rows, S, x_quads * 4]: column j S + r of the padded row at [r][j]
//           1 in g f32 [images, f_out, rows, g_quads * 4], zeros behind the columns
//           2 out gw f32 [splits, f_out, c_in, taps_y, KW]
// Uniforms  tiles: of one split, tiles_f * tiles_c * taps_y, the last fastest; tiles_f = ceil(f_out / 8), tiles_c = ceil(c_in / CHANNELS); n_tiles = tiles *
//           splits; n_rows = images * rows, of which split s takes [s chunk, (s + 1) chunk); n_elems: of gw; fold: groups along x
// Groups    8 tiles each, folded into x and y
// Variants  KW: taps in a row; S: stride_x, 1 to 4, and KW at most 8 S; CHANNELS: 1, 2 or 4
// Limits    8 invocations, what one vector of a CPU takes; 3 storage blocks; no shared memory; 8 KW CHANNELS sums in each invocation
#ifndef KW
#define KW 3
#endif
#ifndef S
#define S 1
#endif
#ifndef CHANNELS
#define CHANNELS 2
#endif
precision highp float;
precision highp int;
layout(local_size_x = 8) in;
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
layout(std430, binding = 2) writeonly buffer GW { float gw[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_tiles, tiles, tiles_c, f_out, c_in, rows, g_quads, n_rows, chunk, x_rows, x_quads, stride_y, taps_y, n_elems, fold;
};

// The taps whose remainder by S is PHASE, how many come before them, and where the sums of the T-th of channel C are.
#define COUNT(PHASE) ((KW - PHASE + S - 1) / S)
#define BEFORE(PHASE) ((PHASE > 0 ? COUNT(0) : 0) + (PHASE > 1 ? COUNT(1) : 0) + (PHASE > 2 ? COUNT(2) : 0))
#define AT(C, PHASE, T) (2 * (C * KW + BEFORE(PHASE) + T))

#define TERMS(I, A)                                                                                                              \
    {                                                                                                                            \
        vec4 a = A;                                                                                                              \
        s[I] += a.x * g0, s[I + 1] += a.x * h0;                                                                                  \
        s[I] += a.y * g1, s[I + 1] += a.y * h1;                                                                                  \
        s[I] += a.z * g2, s[I + 1] += a.z * h2;                                                                                  \
        s[I] += a.w * g3, s[I + 1] += a.w * h3;                                                                                  \
    }
#define TAPS(C, PHASE)                                                                                                           \
    {                                                                                                                            \
        uint xi = xv + uint(PHASE) * x_quads;                                                                                    \
        vec4 x0 = x[xi], x1 = x0, x2 = x0;                                                                                       \
        if (COUNT(PHASE) > 1) x1 = x[xi + 1u];                                                                                   \
        if (COUNT(PHASE) > 5) x2 = x[xi + 2u];                                                                                   \
        TERMS(AT(C, PHASE, 0), x0)                                                                                               \
        if (COUNT(PHASE) > 1) TERMS(AT(C, PHASE, 1), vec4(x0.yzw, x1.x))                                                         \
        if (COUNT(PHASE) > 2) TERMS(AT(C, PHASE, 2), vec4(x0.zw, x1.xy))                                                         \
        if (COUNT(PHASE) > 3) TERMS(AT(C, PHASE, 3), vec4(x0.w, x1.xyz))                                                         \
        if (COUNT(PHASE) > 4) TERMS(AT(C, PHASE, 4), x1)                                                                         \
        if (COUNT(PHASE) > 5) TERMS(AT(C, PHASE, 5), vec4(x1.yzw, x2.x))                                                         \
        if (COUNT(PHASE) > 6) TERMS(AT(C, PHASE, 6), vec4(x1.zw, x2.xy))                                                         \
        if (COUNT(PHASE) > 7) TERMS(AT(C, PHASE, 7), vec4(x1.w, x2.xyz))                                                         \
    }
#if S == 1 || KW == 1
#define CHANNEL(C) TAPS(C, 0)
#elif S == 2 || KW == 2
#define CHANNEL(C) TAPS(C, 0) TAPS(C, 1)
#elif S == 3 || KW == 3
#define CHANNEL(C) TAPS(C, 0) TAPS(C, 1) TAPS(C, 2)
#else
#define CHANNEL(C) TAPS(C, 0) TAPS(C, 1) TAPS(C, 2) TAPS(C, 3)
#endif

void main()
{
    vec4 s[2 * (CHANNELS * KW + 8)]; // beyond the taps: code that is never executed names them, and is compiled
    for (int i = 0; i < 2 * CHANNELS * KW; i++) s[i] = vec4(0.0);
    uvec3 group = gl_WorkGroupID + group_base;
    uint tile = (group.y * fold + group.x) * 8u + gl_LocalInvocationID.x;
    if (tile >= n_tiles) return;
    uint split = tile / tiles;
    tile -= split * tiles;
    uint rest = tile / taps_y, p = tile - rest * taps_y, f = rest / tiles_c, c = (rest - f * tiles_c) * uint(CHANNELS);
    f *= 8u;
    uvec4 f0 = min(f + uvec4(0u, 1u, 2u, 3u), uvec4(f_out - 1u)) * (rows * g_quads),
          f1 = min(f + uvec4(4u, 5u, 6u, 7u), uvec4(f_out - 1u)) * (rows * g_quads);
    uint line = uint(S) * x_quads, plane = x_rows * line, last = c_in - 1u;
    uint row = split * chunk, end = min(row + chunk, n_rows);
    for (; row < end; row++) {
        uint image = row / rows, u = row - image * rows;
        uint g_row = (image * f_out * rows + u) * g_quads;
        uint x_row = image * c_in * plane + (u * stride_y + p) * line;
        for (uint v = 0u; v < g_quads; v++) {
            uvec4 i0 = f0 + (g_row + v), i1 = f1 + (g_row + v);
            vec4 a0 = g[i0.x], a1 = g[i0.y], a2 = g[i0.z], a3 = g[i0.w], a4 = g[i1.x], a5 = g[i1.y], a6 = g[i1.z], a7 = g[i1.w];
            vec4 g0 = vec4(a0.x, a1.x, a2.x, a3.x), h0 = vec4(a4.x, a5.x, a6.x, a7.x);
            vec4 g1 = vec4(a0.y, a1.y, a2.y, a3.y), h1 = vec4(a4.y, a5.y, a6.y, a7.y);
            vec4 g2 = vec4(a0.z, a1.z, a2.z, a3.z), h2 = vec4(a4.z, a5.z, a6.z, a7.z);
            vec4 g3 = vec4(a0.w, a1.w, a2.w, a3.w), h3 = vec4(a4.w, a5.w, a6.w, a7.w);
            uint xv = x_row + c * plane + v;
            CHANNEL(0)
#if CHANNELS > 1
            xv = x_row + min(c + 1u, last) * plane + v;
            CHANNEL(1)
#endif
#if CHANNELS > 2
            xv = x_row + min(c + 2u, last) * plane + v;
            CHANNEL(2)
            xv = x_row + min(c + 3u, last) * plane + v;
            CHANNEL(3)
#endif
        }
    }
    uint filter_step = c_in * taps_y * uint(KW);
    uint at = split * n_elems + f * filter_step + (c * taps_y + p) * uint(KW);
    for (int i = 0; i < CHANNELS; i++)
        for (int phase = 0; phase < S; phase++)
            for (int t = 0; t < COUNT(phase); t++) {
                vec4 s0 = s[AT(i, phase, t)], s1 = s[AT(i, phase, t) + 1];
                uint to = at + uint(i) * taps_y * uint(KW) + uint(t * S + phase);
                if (c + uint(i) < c_in) {
                    gw[to] = s0.x;
                    if (f + 1u < f_out) gw[to + filter_step] = s0.y;
                    if (f + 2u < f_out) gw[to + 2u * filter_step] = s0.z;
                    if (f + 3u < f_out) gw[to + 3u * filter_step] = s0.w;
                    if (f + 4u < f_out) gw[to + 4u * filter_step] = s1.x;
                    if (f + 5u < f_out) gw[to + 5u * filter_step] = s1.y;
                    if (f + 6u < f_out) gw[to + 6u * filter_step] = s1.z;
                    if (f + 7u < f_out) gw[to + 7u * filter_step] = s1.w;
                }
            }
}
