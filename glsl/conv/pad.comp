#version 310 es
// conv/pad: images with zeros around them and rows that begin at multiples of 4: out[i][row][r][j] = x[i][row - pad_y][j phases + r - pad_x], zero
//           outside x; a column's remainder r by `phases` comes first, so that what a stride steps over does not lie between what it reads
// Bindings  0 in x f32 [planes, x_h, x_w]    1 out f32 [planes, rows, phases, quads * 4]
// Uniforms  n: vec4 of out; groups_x: groups along x; by_quads, by_phases, by_rows: 1 / quads, ...
// Groups    64 vec4 each, folded into x and y
// Variants  EXACT: n is beyond 2^22, where division by reciprocals is not exact (CPUs divide lane by lane, which takes longer than all else here)
// Limits    64 invocations; 2 storage blocks
#ifndef EXACT
#define EXACT 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Out { vec4 padded[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, groups_x, rows, phases, quads;
    int x_h, x_w, pad_y, pad_x;
    float by_quads, by_phases, by_rows;
};

#include "shape/divide"

int begin;
bool inside;

float pixel(int column)
{
    float t = x[begin + clamp(column, 0, x_w - 1)];
    return inside && column >= 0 && column < x_w ? t : 0.0;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint at = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    if (at >= n) return;
    uint line = divide(at, quads, by_quads), quad = at - line * quads;
    uint row = divide(line, phases, by_phases), phase = line - row * phases;
    uint plane = divide(row, rows, by_rows);
    int step = int(phases), y = int(row - plane * rows) - pad_y, column = int(quad * 4u * phases + phase) - pad_x;
    inside = y >= 0 && y < x_h;
    begin = (int(plane) * x_h + clamp(y, 0, x_h - 1)) * x_w;
    padded[at] = vec4(pixel(column), pixel(column + step), pixel(column + 2 * step), pixel(column + 3 * step));
}
