#version 310 es
// pool/fours: pool/forward with channels in fours: four channels of y[u][v] are the largest, or the mean with zeros outside x, of those of
//             x[u stride_y - pad_y + p][v stride_x - pad_x + q] over 0 <= p < window_y, 0 <= q < window_x
// Bindings  0 in x f32 [planes, x_h, x_w, 4]    1 out y f32 [planes, rows, columns, 4], planes = images * fours of channels
// Uniforms  n: vec4 of y; scale: 1 / (window_y * window_x), for the mean; fold: groups along x; the rest as above
// Groups    SIZE vec4 each, folded into x and y
// Variants  MEAN: 1 the mean with zeros outside x, 2 that of the pixels inside; else the largest
// Limits    SIZE invocations; every window touches x (padding is at most half of it)
#ifndef MEAN
#define MEAN 0
#endif
#ifndef SIZE
#define SIZE 64
#endif
precision highp float;
precision highp int;
layout(local_size_x = SIZE) in;
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, rows, columns;
    int x_h, x_w, window_y, window_x, stride_y, stride_x, pad_y, pad_x;
    float scale;
    uint fold;
};

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * fold + group.x) * uint(SIZE) + gl_LocalInvocationID.x;
    if (i >= n) return;
    uint line = i / columns, plane = line / rows;
    int top = int(line - plane * rows) * stride_y - pad_y, left = int(i - line * columns) * stride_x - pad_x;
    int y_begin = max(top, 0), y_end = min(top + window_y, x_h), x_begin = max(left, 0), x_end = min(left + window_x, x_w);
    int base = int(plane) * x_h * x_w;
#if MEAN
    vec4 s = vec4(0.0);
#else
    vec4 s = x[base + y_begin * x_w + x_begin];
#endif
    for (int r = y_begin; r < y_end; r++)
        for (int c = x_begin; c < x_end; c++) {
            vec4 t = x[base + r * x_w + c];
#if MEAN
            s += t;
#else
#define LARGEST(E) (t.E > s.E || isnan(t.E) ? t.E : s.E)
            s = vec4(LARGEST(x), LARGEST(y), LARGEST(z), LARGEST(w));
#endif
        }
#if MEAN == 2
    s /= float((y_end - y_begin) * (x_end - x_begin));
#elif MEAN
    s *= scale;
#endif
    y[i] = s;
}
