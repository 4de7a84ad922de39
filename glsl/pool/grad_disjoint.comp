#version 310 es
// pool/grad_disjoint: as pool/grad, for windows that do not overlap (stride >= window): each invocation writes all pixels of one cell,
//                     a window and what lies between it and the next (or the edges of the image)
// Bindings  0 in g f32 [planes, rows, columns]    MEAN: 1 out gx f32 [planes, x_h, x_w]
//           those of TAIL come before gx
//           else: 1 in x f32 [planes, x_h, x_w]    2 out gx
// Uniforms  n_elems: of g; fold: groups along x; scale: 1 / (window_y * window_x); by_columns, by_rows: 1 / columns, 1 / rows;
//           the rest as in pool/forward
// Groups    64 cells each, folded into x and y
// Variants  EXACT: n_elems is beyond 2^22, where division by reciprocals is not exact
#ifndef MEAN
#define MEAN 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
#ifndef TAIL // what becomes of element `at` of gx: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; }
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
layout(std430, binding = 1) readonly buffer X { float x[]; };
#endif
TAIL
layout(std430, binding = OUT_BINDING) writeonly buffer GX { float gx[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_elems, rows, columns;
    int x_h, x_w, window_y, window_x, stride_y, stride_x, pad_y, pad_x;
    float scale, by_columns, by_rows;
    uint fold;
};

#include "shape/divide"

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n_elems) return;
    uint line = divide(e, columns, by_columns), plane = divide(line, rows, by_rows);
    uint u = line - plane * rows, v = e - line * columns;
    int top = int(u) * stride_y - pad_y, left = int(v) * stride_x - pad_x;
    int y_begin = max(top, 0), y_end = min(top + window_y, x_h), x_begin = max(left, 0), x_end = min(left + window_x, x_w);
    int base = int(plane) * x_h * x_w;
    float t = g[e];
#if MEAN == 2
    t /= float((y_end - y_begin) * (x_end - x_begin));
#elif MEAN
    t *= scale;
#else
    int first = y_begin * x_w + x_begin;
    float largest = x[base + first];
    for (int r = y_begin; r < y_end; r++)
        for (int c = x_begin; c < x_end; c++) {
            float s = x[base + r * x_w + c];
            if (s > largest || isnan(s)) {
                largest = s;
                first = r * x_w + c;
            }
        }
#endif
    int cell_bottom = u + 1u == rows ? x_h : top + stride_y, cell_right = v + 1u == columns ? x_w : left + stride_x;
    for (int r = y_begin; r < cell_bottom; r++)
        for (int c = x_begin; c < cell_right; c++) {
#if MEAN
            float s = r < y_end && c < x_end ? t : 0.0;
#else
            float s = r * x_w + c == first ? t : 0.0;
#endif
            gx[base + r * x_w + c] = tail(s, uint(base + r * x_w + c));
        }
}
