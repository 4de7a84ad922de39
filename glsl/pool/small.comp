#version 310 es
// pool/small: pool/forward for small windows whose size is known: N neighbours in a row of y at once, from reads of V neighbours in rows of x
// Bindings  0 in x f32 [planes, x_h, x_w]    1 out y f32 [planes, rows, columns], planes = images * channels
// Uniforms  n: groups of N elements of y; rows; columns, x_w: in elements of N and of V; x_h; scale: 1 / (WINDOW_Y * WINDOW_X), for the mean;
//           by_columns, by_rows: 1 / columns, 1 / rows; fold: groups along x
// Groups    64 invocations each, folded into x and y
// Variants  MEAN: 1 the mean with zeros outside x, 2 that of the pixels inside; else the largest;  WHICH: y is int, where in its plane the largest is:
//           the first of equals, the last of those that are no numbers
//           EXACT: n is beyond 2^22, where division by reciprocals is not exact
// Limits    N divides the columns of y, V the columns of x and N * STRIDE_X; every window touches x (padding is at most half of it)
#ifndef WINDOW_Y
#define WINDOW_Y 3
#define WINDOW_X 3
#define STRIDE_Y 2
#define STRIDE_X 2
#define PAD_Y 1
#define PAD_X 1
#define N 4 // 1, 2 or 4
#define V 4 // 1, 2 or 4
#endif
#ifndef MEAN
#define MEAN 0
#endif
#ifndef WHICH
#define WHICH 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
#if V == 4
#define READ vec4
#define LAST w
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#elif V == 2
#define READ vec2
#define LAST y
layout(std430, binding = 0) readonly buffer X { vec2 x[]; };
#else
#define READ float
layout(std430, binding = 0) readonly buffer X { float x[]; };
#endif
#if N == 4
#if WHICH
layout(std430, binding = 1) writeonly buffer Y { ivec4 y[]; };
#else
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };
#endif
#elif N == 2
#if WHICH
layout(std430, binding = 1) writeonly buffer Y { ivec2 y[]; };
#else
layout(std430, binding = 1) writeonly buffer Y { vec2 y[]; };
#endif
#else
#if WHICH
layout(std430, binding = 1) writeonly buffer Y { int y[]; };
#else
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#endif
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, rows, columns;
    int x_h, x_w;
    float scale, by_columns, by_rows;
    uint fold;
};

#include "shape/divide"

const int BEFORE = (PAD_X + V - 1) / V; // reads that may lie left of x, and as many right of it
const int LEAD = BEFORE * V - PAD_X;    // what they bring before the first window
const int READS = (LEAD + (N - 1) * STRIDE_X + WINDOW_X + V - 1) / V;

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n) return;
    uint row = divide(e, columns, by_columns), plane = divide(row, rows, by_rows);
    int top = int(row - plane * rows) * STRIDE_Y - PAD_Y;
    int first = int(e - row * columns) * (N * STRIDE_X / V) - BEFORE, base = int(plane) * x_h * x_w;
    float s[N], line[READS * V]; // of a row of x, what the windows have of it
#if MEAN
    for (int o = 0; o < N; o++) s[o] = 0.0;
#elif WHICH
    int which[N];
#endif
    for (int p = 0; p < WINDOW_Y; p++) {
        // Pixels outside x become 0 for the mean; for the largest the nearest one inside, which every window that reaches out there has, too.
        int r = PAD_Y > 0 ? clamp(top + p, 0, x_h - 1) : top + p;
        for (int j = 0; j < READS; j++) {
            int at = first + j;
            bool left = PAD_X > 0 && j < BEFORE && at < 0, right = PAD_X > 0 && j >= READS - BEFORE && at >= x_w;
            READ t = x[base + r * x_w + (left ? 0 : right ? x_w - 1 : at)];
#if MEAN
            if (left || right || r != top + p) t = READ(0.0);
#elif V > 1
            if (left) t = READ(t.x);
            if (right) t = READ(t.LAST);
#endif
#if V == 1
            line[j] = t;
#else
            for (int i = 0; i < V; i++) line[j * V + i] = t[i];
#endif
        }
        for (int o = 0; o < N; o++)
            for (int q = 0; q < WINDOW_X; q++) {
                float t = line[LEAD + o * STRIDE_X + q];
#if MEAN
                s[o] += t;
#else
                bool larger = (p == 0 && q == 0) || t > s[o] || isnan(t);
                s[o] = larger ? t : s[o];
#if WHICH
                int column = (first + BEFORE) * V + o * STRIDE_X + q - PAD_X; // a pixel outside stands for the one that it was read from
                if (PAD_X > 0) column = clamp(column, 0, x_w * V - 1);
                which[o] = larger ? r * x_w * V + column : which[o];
#endif
#endif
            }
    }
#if MEAN
    for (int o = 0; o < N; o++) {
#if MEAN == 2
        int left = (int(e - row * columns) * N + o) * STRIDE_X - PAD_X;
        int high = min(top + WINDOW_Y, x_h) - max(top, 0), wide = min(left + WINDOW_X, x_w * V) - max(left, 0);
        s[o] /= float(high * wide);
#else
        s[o] *= scale;
#endif
    }
#endif
#if WHICH
#define RESULT which
#if N == 4
#define RESULTS ivec4
#else
#define RESULTS ivec2
#endif
#else
#define RESULT s
#if N == 4
#define RESULTS vec4
#else
#define RESULTS vec2
#endif
#endif
#if N == 4
    y[e] = RESULTS(RESULT[0], RESULT[1], RESULT[2], RESULT[3]);
#elif N == 2
    y[e] = RESULTS(RESULT[0], RESULT[1]);
#else
    y[e] = RESULT[0];
#endif
}
