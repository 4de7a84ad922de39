#version 310 es
// pool/grad_small: pool/grad for small windows whose size is known: V neighbours in a row of gx at once, each the sum of what the windows that it lies in give it:
//                  g where it is the largest, by what pool/small (WHICH) found, or if MEAN all of them g / (WINDOW_Y * WINDOW_X) (MEAN 2: by the pixels that lie inside x)
// Order     u, then v: no atomics
// Bindings  0 in g f32 [planes, rows, columns]    MEAN: 1 out gx f32 [planes, x_h, x_w]    else: 1 in which int, as g    2 out gx
//           those of TAIL come before gx
// Uniforms  n: groups of V elements of gx; x_w: in elements of V; by_columns, by_rows: 1 / x_w, 1 / x_h; fold: groups along x; the rest as in pool/small
// Groups    64 invocations each, folded into x and y
// Variants  EXACT: n is beyond 2^22, where division by reciprocals is not exact
// Limits    V divides the columns of gx
#ifndef WINDOW_Y
#define WINDOW_Y 3
#define WINDOW_X 3
#define STRIDE_Y 2
#define STRIDE_X 2
#define PAD_Y 1
#define PAD_X 1
#define V 4 // 1, 2 or 4
#endif
#ifndef MEAN
#define MEAN 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
#ifndef TAIL // what becomes of element `at` of gx: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the blocks of the tail
#if MEAN
#define OUT_BINDING 1
#else
#define OUT_BINDING 2
#endif
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer G { float g[]; };
#if !MEAN
layout(std430, binding = 1) readonly buffer Which { int which[]; };
#endif
TAIL
#if V == 4
layout(std430, binding = OUT_BINDING) writeonly buffer GX { vec4 gx[]; };
#else
layout(std430, binding = OUT_BINDING) writeonly buffer GX { float gx[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    int rows, columns, x_h, x_w;
    float scale, by_columns, by_rows;
    uint fold;
};

#include "shape/divide"

const int UNDER_ROW = (WINDOW_Y + STRIDE_Y - 1) / STRIDE_Y; // windows that a row can lie in
// Windows that some of V neighbours can lie in, and the first of them: where strides divide V, as many more at each step.
#if V % STRIDE_X == 0
const int FIRST = (PAD_X - WINDOW_X + STRIDE_X + 64 * STRIDE_X) / STRIDE_X - 64;
const int UNDER = (V - 1 + PAD_X) / STRIDE_X - FIRST + 1;
#else
const int UNDER = (V + WINDOW_X - 2) / STRIDE_X + 1;
#endif

#if MEAN == 2
// Rows or columns of a window that lie inside x.
int inside(int begin, int window, int extent) { return min(begin + window, extent) - max(begin, 0); }
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n) return;
    uint line = divide(e, uint(x_w), by_columns), plane = divide(line, uint(x_h), by_rows);
    int row = int(line - plane * uint(x_h)), place = int(e - line * uint(x_w)), column = place * V;
    int u_first = max(row + (PAD_Y - WINDOW_Y + STRIDE_Y), 0) / STRIDE_Y;
#if V % STRIDE_X == 0
    int v_first = place * (V / STRIDE_X) + FIRST;
#else
    int v_first = max(column + (PAD_X - WINDOW_X + STRIDE_X), 0) / STRIDE_X;
#endif
    float s[V];
    for (int i = 0; i < V; i++) s[i] = 0.0;
    for (int k = 0; k < UNDER_ROW; k++) {
        int u = u_first + k;
        if (u >= rows || u * STRIDE_Y - PAD_Y > row) continue;
        int base = (int(plane) * rows + u) * columns;
        for (int j = 0; j < UNDER; j++) {
            int v = v_first + j;
            bool there = v >= 0 && v < columns;
            int at = base + (there ? v : 0);
            float t = there ? g[at] : 0.0;
#if MEAN
#if MEAN == 2
            t /= float(inside(u * STRIDE_Y - PAD_Y, WINDOW_Y, x_h) * inside((there ? v : 0) * STRIDE_X - PAD_X, WINDOW_X, x_w * V));
#endif
#if V % STRIDE_X == 0
            int begin = (FIRST + j) * STRIDE_X - PAD_X; // of the window, from our first element on
#else
            int begin = v * STRIDE_X - PAD_X - column;
#endif
            for (int i = 0; i < V; i++) s[i] += i >= begin && i < begin + WINDOW_X ? t : 0.0;
#else
            int largest = which[at] - (row * x_w * V + column);
            for (int i = 0; i < V; i++) s[i] += largest == i ? t : 0.0;
#endif
        }
    }
#if MEAN == 1
    for (int i = 0; i < V; i++) s[i] *= scale;
#endif
#if V == 4
    gx[e] = tail4(vec4(s[0], s[1], s[2], s[3]), e << 2u);
#else
    gx[e] = tail(s[0], e);
#endif
}
