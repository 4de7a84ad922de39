#version 310 es
// transpose: y[b][c][r] = x[b][r][c], 32-bit words of any meaning; an invocation turns a block of 4 x 4 in registers
// Source    eight invocations side by side read 128 contiguous bytes, eight below each other write as many; shared memory would be
//           no faster where it is ordinary memory (V3D, Mali)
// Bindings  0 in  x [batch, rows, columns]    1 out y [batch, columns, rows]    row-major, no aliasing
// Uniforms  rows, columns: any for V = 1, multiples of four for V = 4; batch * rows * columns < 2^31
// Groups    (ceil(columns / 32), ceil(rows / 32), batch) of 8 x 8 invocations
#ifndef V
#define V 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 8, local_size_y = 8) in;
#define BYTES 0
#include "shape/words"

#if V == 4
#if FLOATS
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#else
layout(std430, binding = 0) readonly buffer X { uvec4 x[]; };
#endif
layout(std430, binding = 1) writeonly buffer Y { WORD4 y[]; };
#else
#if FLOATS
layout(std430, binding = 0) readonly buffer X { float x[]; };
#else
layout(std430, binding = 0) readonly buffer X { uint x[]; };
#endif
layout(std430, binding = 1) writeonly buffer Y { WORD1 y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint rows, columns;
};

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uvec2 block = (group.xy * 8u + gl_LocalInvocationID.xy) * 4u;
    uint column = block.x;
    uint row = block.y;
    if (row >= rows || column >= columns) return;
    uint matrix = group.z * rows * columns;
    uint from = matrix + row * columns + column;
    uint to = matrix + column * rows + row;
#if V == 4
    from >>= 2u;
    to >>= 2u;
    uint across = columns >> 2u;
    uint down = rows >> 2u;
    WORD4 a = x[from];
    WORD4 b = x[from + across];
    WORD4 c = x[from + 2u * across];
    WORD4 d = x[from + 3u * across];
    y[to] = WORD4(a.x, b.x, c.x, d.x);
    y[to + down] = WORD4(a.y, b.y, c.y, d.y);
    y[to + 2u * down] = WORD4(a.z, b.z, c.z, d.z);
    y[to + 3u * down] = WORD4(a.w, b.w, c.w, d.w);
#else
    uint n_rows = min(rows - row, 4u);
    uint n_columns = min(columns - column, 4u);
    for (uint j = 0u; j < n_columns; j++)
        for (uint i = 0u; i < n_rows; i++) y[to + j * rows + i] = x[from + i * columns + j];
#endif
}
