#version 310 es
// rows: from the order of steps to that of the sequence's rows
// WANT      0: the hidden state before each step   1: the gradient of W h + b from that of x, KIND 3: n's times the reset gate
// Bindings  WANT 0: 0 in kept f32, 1 out [rows, hidden]   WANT 1: 0 in kept, 1 in dgates [rows, 3 hidden], 2 out the same
// Uniforms  groups_x;  n: elements of the result;  width: of its rows;  hidden, batch, steps >= 1;  batch_first: rows are [batch, steps]
//           rather than [steps, batch];  reverse: the last of the sequence came first;  at: in kept, of the first step, `stride` floats
//           from one to the next
// Groups    (x, y, 1) with x * y * 64 >= n
#ifndef WANT
#define WANT 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint width;
    uint hidden;
    uint batch;
    uint steps;
    uint batch_first;
    uint reverse;
    uint at;
    uint stride;
};

layout(std430, binding = 0) readonly buffer Kept { float kept[]; };
#if WANT == 0
layout(std430, binding = 1) writeonly buffer Result { float result[]; };
#else
layout(std430, binding = 1) readonly buffer Dgates { float dgates[]; };
layout(std430, binding = 2) writeonly buffer Result { float result[]; };
#endif

void main()
{
    uint i = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (i >= n) return;
    uint row = i / width;
    uint column = i - row * width;
    uint outer = batch_first != 0u ? steps : batch;
    uint first = row / outer;
    uint second = row - first * outer;
    uint b = batch_first != 0u ? first : second;
    uint t = batch_first != 0u ? second : first;
    uint step = reverse != 0u ? steps - 1u - t : t;
    uint from = at + step * stride + b * hidden;
#if WANT == 0
    result[i] = kept[from + column];
#else
    float d = dgates[i];
    if (column >= 2u * hidden) d *= kept[from + column - 2u * hidden];
    result[i] = d;
#endif
}
