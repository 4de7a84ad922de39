#version 310 es
// scatter_lines: y[o, k, i] += g[o, j, i] for j = first .. end-1 in this order, k being index[j] (EACH 0) or index[o, j, i]; nothing
//           where k is not in 0 .. y_n-1. One invocation does a whole line (o, i): no atomics, the same bits every time.
//           START 1: instead y = x (BASE 1) or 0 (BASE 0), for all elements; before the first of the others
// Bindings  START 0: 0 in g f32 [outer, g_n, inner]    1 in index i32 [g_n], or like g    2 inout y f32 [outer, y_n, inner]
//           START 1: 0 in x like y, if BASE    last: out y
// Uniforms  n: lines, outer * inner (START: elements of y)    groups_x: width of the folded grid
// Groups    (groups_x, any, 1) of 64
#ifndef START
#define START 0
#endif
#ifndef BASE
#define BASE 0
#endif
#ifndef EACH
#define EACH 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

#if START == 1
#if BASE == 1
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#else
layout(std430, binding = 0) writeonly buffer Y { float y[]; };
#endif
#else
layout(std430, binding = 0) readonly buffer G { float g[]; };
layout(std430, binding = 1) readonly buffer Index { uint index[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint y_n, g_n, inner, first, end;
};

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint line = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    if (line >= n) return;
#if START == 1
#if BASE == 1
    y[line] = x[line];
#else
    y[line] = 0.0;
#endif
#else
    uint o = line / inner;
    uint i = line - o * inner;
    for (uint j = first; j < end; j++) {
        uint from = (o * g_n + j) * inner + i;
#if EACH == 1
        uint k = index[from];
#else
        uint k = index[j];
#endif
        if (k < y_n) y[(o * y_n + k) * inner + i] += g[from];
    }
#endif
}
