#version 310 es
// conv/weight_grad: gw[f][c][p][q] = sum_{i,u,v} g[i][f][u][v] x[i][c][u stride_y - pad_y + p step_y][v stride_x - pad_x + q step_x], zero outside x;
//                   each invocation CH filters by WINDOW neighbouring taps of a row (WINDOW > 0) or by CHANNELS of one tap
//
// Order     every element is one running sum over the rows (i, u) of its split, then v
// Bindings  0 in x f32 [images, c, x_h, x_w]    1 in g f32 [images, f, rows, columns]    2 out gw f32 [splits, f, c, taps_y, taps_x]
// Uniforms  tiles: of one split, tiles_f * tiles_c * taps_y * tiles_q, the last fastest; tiles_f = ceil(f / CH); with WINDOW
//           tiles_c = c and tiles_q = ceil(taps_x / WINDOW), else ceil(c / CHANNELS) and taps_x; n_rows = images * rows, of which
//           split s takes [s chunk, (s + 1) chunk); g_1 .. g_7: min(j, f - 1) * rows * columns; x_1 .. x_7: min(j, c - 1) * x_h * x_w;
//           n_elems: of gw; fold: groups along x; step_y, step_x: dilation (read if DILATE)
//           read if GROUPS: f_all, c_all: channels of g and x in all, where f_out and c_in are those of one group; tiles_f: ceil(f / CH) of
//           a group (tiles has those of all groups)
// Groups    64 tiles each, splits * tiles in all, folded into x and y
// Variants  ROLL (with WINDOW): stride_x is 1, so that the next column reads one new pixel
//           DILATE: taps are step_y and step_x pixels apart, not 1; not with ROLL
//           GROUPS: channels in groups of their own; CH 1 then serves depthwise convolution
// Limits    no shared memory; 64 invocations; 3 storage blocks. CH 8 needs about 100 registers: large GPUs only
#ifndef CH
#define CH 4 // 1, 2, 4 or 8
#endif
#ifndef WINDOW
#define WINDOW 0 // to 4
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
#if CH == 8
#define CHANNELS 8 // of one tap
#else
#define CHANNELS 4
#endif
#if WINDOW == 0
#define V vec4
#elif WINDOW == 1
#define V float
#elif WINDOW == 2
#define V vec2
#elif WINDOW == 3
#define V vec3
#else
#define V vec4
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer G { float g[]; };
layout(std430, binding = 2) writeonly buffer GW { float gw[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_tiles, tiles, tiles_c, tiles_q, f_out, c_in, rows, columns, n_rows, chunk;
    int x_h, x_w, stride_y, stride_x, pad_y, pad_x, taps_y, taps_x;
    int g_1, g_2, g_3, g_4, g_5, g_6, g_7, x_1, x_2, x_3, x_4, x_5, x_6, x_7;
    uint n_elems, fold;
    int step_y, step_x;
    uint f_all, c_all, tiles_f;
};
#if !DILATE
#define step_y 1
#define step_x 1
#endif
#if !GROUPS
#define f_all f_out
#define c_all c_in
#endif

// Pixel `column` of the row that begins at `row`.
float pixel(int row, int column)
{
    float t = x[row + clamp(column, 0, x_w - 1)];
    return column >= 0 && column < x_w ? t : 0.0;
}

// Taps of one filter and channel (or of one filter and four channels, `step` apart).
void store(uint at, uint q, uint step, uint n, V s)
{
#if WINDOW == 1
    gw[at] = s;
#elif WINDOW > 0
    gw[at] = s.x;
    if (q + 1u < uint(taps_x)) gw[at + 1u] = s.y;
#if WINDOW > 2
    if (q + 2u < uint(taps_x)) gw[at + 2u] = s.z;
#endif
#if WINDOW > 3
    if (q + 3u < uint(taps_x)) gw[at + 3u] = s.w;
#endif
#else
    gw[at] = s.x;
    if (1u < n) gw[at + step] = s.y;
    if (2u < n) gw[at + 2u * step] = s.z;
    if (3u < n) gw[at + 3u * step] = s.w;
#endif
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint tile = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (tile >= n_tiles) return;
    uint split = tile / tiles;
    tile -= split * tiles;
    uint rest = tile / tiles_q, q = tile - rest * tiles_q;
    tile = rest / uint(taps_y);
    int p = int(rest - tile * uint(taps_y));
    uint f = tile / tiles_c, c = tile - f * tiles_c;
    uint f_begin = 0u, c_begin = 0u; // of our group
#if GROUPS
    uint member = f / tiles_f;
    f -= member * tiles_f;
    f_begin = member * f_out;
    c_begin = member * c_in;
#endif
    f = min(f * uint(CH), f_out - min(f_out, uint(CH))); // the last ones overlap: written twice, the same
#if WINDOW > 0
    q *= uint(WINDOW);
#else
    c = min(c * uint(CHANNELS), c_in - min(c_in, uint(CHANNELS)));
    // The columns whose pixel lies inside x.
    int left = pad_x - int(q) * step_x;
    int v_begin = max(left + stride_x - 1, 0) / stride_x, v_end = min(int(columns), (x_w + left + stride_x - 1) / stride_x);
    if (x_w + left <= 0) v_end = 0;
#endif

    V s0 = V(0.0), s1 = V(0.0), s2 = V(0.0), s3 = V(0.0), s4 = V(0.0), s5 = V(0.0), s6 = V(0.0), s7 = V(0.0);
#if WINDOW == 0
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);
#endif
    uint row = split * chunk, end = min(row + chunk, n_rows);
    uint image = row / rows, u = row - image * rows;
    for (; row < end; row++) {
        int x_row = int(u) * stride_y - pad_y + p * step_y;
        if (x_row >= 0 && x_row < x_h) {
            int gi = int(((image * f_all + f_begin + f) * rows + u) * columns);
            int xi = (int(image * c_all + c_begin + c) * x_h + x_row) * x_w;
#if WINDOW == 0
            xi += v_begin * stride_x - left;
            for (int v = v_begin; v < v_end; v++, xi += stride_x) {
                vec4 a = vec4(x[xi], x[xi + x_1], x[xi + x_2], x[xi + x_3]);
#if CH == 8
                vec4 b = vec4(x[xi + x_4], x[xi + x_5], x[xi + x_6], x[xi + x_7]);
#endif
#else
            int at = int(q) * step_x - pad_x;
#if ROLL && WINDOW == 2
            V a = V(0.0, pixel(xi, at));
#elif ROLL && WINDOW == 3
            V a = V(0.0, pixel(xi, at), pixel(xi, at + 1));
#elif ROLL && WINDOW == 4
            V a = V(0.0, pixel(xi, at), pixel(xi, at + 1), pixel(xi, at + 2));
#endif
            for (int v = 0; v < int(columns); v++, at += stride_x) {
#if WINDOW == 1
                V a = pixel(xi, at);
#elif ROLL && WINDOW == 2
                a = V(a.y, pixel(xi, at + 1));
#elif ROLL && WINDOW == 3
                a = V(a.yz, pixel(xi, at + 2));
#elif ROLL
                a = V(a.yzw, pixel(xi, at + 3));
#elif WINDOW == 2
                V a = V(pixel(xi, at), pixel(xi, at + step_x));
#elif WINDOW == 3
                V a = V(pixel(xi, at), pixel(xi, at + step_x), pixel(xi, at + 2 * step_x));
#else
                V a = V(pixel(xi, at), pixel(xi, at + step_x), pixel(xi, at + 2 * step_x), pixel(xi, at + 3 * step_x));
#endif
#endif
                int gv = gi + v;
#if WINDOW == 0 && CH == 8
#define TERM(S, T, STEP)                                                                                                         \
    {                                                                                                                            \
        float k = g[gv + STEP];                                                                                                  \
        S += k * a;                                                                                                              \
        T += k * b;                                                                                                              \
    }
#else
#define TERM(S, T, STEP) S += g[gv + STEP] * a;
#endif
                TERM(s0, t0, 0)
#if CH >= 2
                TERM(s1, t1, g_1)
#endif
#if CH >= 4
                TERM(s2, t2, g_2)
                TERM(s3, t3, g_3)
#endif
#if CH == 8
                TERM(s4, t4, g_4)
                TERM(s5, t5, g_5)
                TERM(s6, t6, g_6)
                TERM(s7, t7, g_7)
#endif
            }
        }
        u++;
        if (u == rows) {
            u = 0u;
            image++;
        }
    }

    uint step = uint(taps_y * taps_x), filter_step = c_in * step, n = c_in - c;
    uint at = split * n_elems + (((f_begin + f) * c_in + c) * uint(taps_y) + uint(p)) * uint(taps_x) + q;
#if WINDOW == 0 && CH == 8
#define STORE(I, S, T)                                                                                                           \
    if (f + I < f_out) {                                                                                                         \
        store(at + I * filter_step, q, step, n, S);                                                                              \
        if (4u < n) store(at + I * filter_step + 4u * step, q, step, n - 4u, T);                                                 \
    }
#else
#define STORE(I, S, T) if (f + I < f_out) store(at + I * filter_step, q, step, n, S);
#endif
    STORE(0u, s0, t0)
#if CH >= 2
    STORE(1u, s1, t1)
#endif
#if CH >= 4
    STORE(2u, s2, t2)
    STORE(3u, s3, t3)
#endif
#if CH == 8
    STORE(4u, s4, t4)
    STORE(5u, s5, t5)
    STORE(6u, s6, t6)
    STORE(7u, s7, t7)
#endif
}
