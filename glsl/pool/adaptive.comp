#version 310 es
// pool/adaptive: y[i][r][c] = the mean of x[i] over rows floor(r h / oh) to ceil((r + 1) h / oh) - 1, and columns alike; with GRAD its
//                gradient, gx[i][r][c] = sum of g[i][u][v] / (pixels of window (u, v)) over the windows that contain (r, c)
//
// Row r of x is in window u where floor(u h / oh) <= r < ceil((u + 1) h / oh), which is floor(r oh / h) <= u < ceil((r + 1) oh / h): the same
// bounds the other way round, so that both gather over one rectangle of `from`.
//
// Order     rows, then columns: no atomics
// Bindings  0 in from f32 [planes, from_h, from_w]: x, or g    1 out to f32 [planes, to_h, to_w]: y, or gx
// Uniforms  n_elems: of to; fold: groups along x; from_h, from_w, to_h, to_w: (from_h + 1)(to_h + 1) and that of the columns below 2^31
// Groups    64 elements each, folded into x and y
#ifndef GRAD
#define GRAD 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer From { float from[]; };
layout(std430, binding = 1) writeonly buffer To { float to[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_elems, from_h, from_w, to_h, to_w, fold;
};

// Where window i of n begins and ends, over `extent` rows.
uint begin_of(uint i, uint n, uint extent) { return i * extent / n; }
uint end_of(uint i, uint n, uint extent) { return ((i + 1u) * extent + n - 1u) / n; }

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint e = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (e >= n_elems) return;
    uint line = e / to_w, plane = line / to_h, r = line - plane * to_h, c = e - line * to_w;
    uint y_begin = begin_of(r, to_h, from_h), y_end = end_of(r, to_h, from_h);
    uint x_begin = begin_of(c, to_w, from_w), x_end = end_of(c, to_w, from_w);
    float s = 0.0;
    for (uint u = y_begin; u < y_end; u++) {
        uint row = (plane * from_h + u) * from_w;
#if GRAD
        uint rows = end_of(u, from_h, to_h) - begin_of(u, from_h, to_h);
        for (uint v = x_begin; v < x_end; v++) {
            uint columns = end_of(v, from_w, to_w) - begin_of(v, from_w, to_w);
            s += from[row + v] / float(rows * columns);
        }
#else
        for (uint v = x_begin; v < x_end; v++) s += from[row + v];
#endif
    }
#if GRAD
    to[e] = s;
#else
    to[e] = s / float((y_end - y_begin) * (x_end - x_begin));
#endif
}
