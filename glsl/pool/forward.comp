#version 310 es
// pool/forward: y[i][u][v] = the largest, or the mean with zeros outside x, of x[i][u stride_y - pad_y + p][v stride_x - pad_x + q]
//               over 0 <= p < window_y, 0 <= q < window_x
// Bindings  0 in x f32 [planes, x_h, x_w]    1 out y f32 [planes, rows, columns], planes = images * channels
// Uniforms  n_elems: of y; fold: groups along x; scale: 1 / (window_y * window_x), for the mean; by_columns, by_rows: 1 / columns, 1 / rows;
//           the rest as above
// Groups    64 elements each, folded into x and y
// Variants  MEAN: 1 the mean with zeros outside x, 2 that of the pixels inside; else the largest
//           EXACT: n_elems is beyond 2^22, where division by reciprocals is not exact
// Limits    every window touches x (padding is at most half of it)
#ifndef MEAN
#define MEAN 0
#endif
#ifndef EXACT
#define EXACT 0
#endif
#ifndef FLOAT16
#define FLOAT16 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_elems, rows, columns;
    int x_h, x_w, window_y, window_x, stride_y, stride_x, pad_y, pad_x;
    float scale, by_columns, by_rows;
    uint fold;
};

#include "shape/divide"

float pooled(uint e)
{
    uint line = divide(e, columns, by_columns), plane = divide(line, rows, by_rows);
    int top = int(line - plane * rows) * stride_y - pad_y, left = int(e - line * columns) * stride_x - pad_x;
    int y_begin = max(top, 0), y_end = min(top + window_y, x_h), x_begin = max(left, 0), x_end = min(left + window_x, x_w);
    int base = int(plane) * x_h * x_w;
#if MEAN
    float s = 0.0;
#else
    float s = x[base + y_begin * x_w + x_begin];
#endif
    for (int r = y_begin; r < y_end; r++)
        for (int c = x_begin; c < x_end; c++) {
            float t = x[base + r * x_w + c];
#if MEAN
            s += t;
#else
            s = t > s || isnan(t) ? t : s;
#endif
        }
#if MEAN == 2
    return s / float((y_end - y_begin) * (x_end - x_begin));
#elif MEAN
    return s * scale;
#else
    return s;
#endif
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
#if FLOAT16 >> 1 & 1 // two for each of the first invocations
    e *= 2u;
    if (e >= n_elems) return;
    vec2 t = vec2(pooled(e), 0.0);
    if (e + 1u < n_elems) {
        t.y = pooled(e + 1u);
        halves_put2(y, e, t);
    } else {
        y[e] = t.x;
    }
#else
    if (e >= n_elems) return;
    y[e] = pooled(e);
#endif
}
