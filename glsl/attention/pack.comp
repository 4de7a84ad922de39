#version 310 es
// pack: rows of d floats as rows of d4 vec4, zeros behind d, at a place in a buffer of several such arrays; with one number for each row
// SIDE      0: none   1: copied from `side` [rows]   2: dot(x[row], side[row]) with side [rows, d]
// Rows      x (and side, if SIDE 2) is [samples, t, apart, d], of which `between` rows from `first` on count, packed [samples, between, t, 4 d4];
//           behind part_rows of them come those of the next part, part_step rows further on in x
// Bindings  0 in x f32 [rows, d]   SIDE 0: 1 out packed   else: 1 in side   2 out packed, f32, vec4 rows; one invocation writes a row
// Uniforms  groups_x;  rows, d >= 1;  d4 = ceil(d / 4);  at: of x's rows in packed, in floats;  side_at: of the first row's number,
//           4 floats from one to the next
// Groups    (x, y, 1) with x * y * 64 >= rows
#ifndef SIDE
#define SIDE 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rows;
    uint d;
    uint d4;
    uint at;
    uint side_at;
    uint t;
    uint between;
    uint apart;
    uint first;
    uint part_rows;
    uint part_step;
};

layout(std430, binding = 0) readonly buffer X { float x[]; };
#if SIDE
layout(std430, binding = 1) readonly buffer Side { float side[]; };
layout(std430, binding = 2) writeonly buffer Packed { float packed_rows[]; };
#else
layout(std430, binding = 1) writeonly buffer Packed { float packed_rows[]; };
#endif

void main()
{
    uint row = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (row >= rows) return;
    uint part = row / part_rows;
    uint head = (row - part * part_rows) / t;
    uint outer = head / between;
    uint query = row - part * part_rows - head * t;
    uint from = ((outer * t + query) * apart + first + part * part_step + (head - outer * between)) * d;
    uint to = at + row * 4u * d4;
    float sum = 0.0;
    for (uint i = 0u; i < d; i++) {
        float value = x[from + i];
        packed_rows[to + i] = value;
#if SIDE == 2
        sum += value * side[from + i];
#endif
    }
    for (uint i = d; i < 4u * d4; i++) packed_rows[to + i] = 0.0;
#if SIDE == 1
    sum = side[row];
#endif
#if SIDE
    packed_rows[side_at + 4u * row] = sum;
#endif
}
