#version 310 es
// pack: hidden weights [gates * hidden, hidden] as packed [hidden + 1, hidden, WIDE]: element (k, unit, gate) is weight[gate * hidden + unit][k],
//       and the bias for k = hidden; 0 for gates that are not there, and without a bias
// Bindings  0 in weight f32   BIAS 1: 1 in bias [gates * hidden], 2 out packed   BIAS 0: 1 out packed
// Uniforms  groups_x;  n = (hidden + 1) * hidden;  hidden, gates >= 1
// Groups    (x, y, 1) with x * y * 64 >= n
#ifndef WIDE
#define WIDE 4
#endif
#ifndef BIAS
#define BIAS 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint hidden;
    uint gates;
};

layout(std430, binding = 0) readonly buffer Weight { float weight[]; };
#if BIAS
layout(std430, binding = 1) readonly buffer Bias { float bias[]; };
layout(std430, binding = 2) writeonly buffer Packed { float packed_weight[]; };
#else
layout(std430, binding = 1) writeonly buffer Packed { float packed_weight[]; };
#endif

void main()
{
    uint i = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (i >= n) return;
    uint k = i / hidden;
    uint unit = i - k * hidden;
    for (uint gate = 0u; gate < uint(WIDE); gate++) {
        uint column = gate * hidden + unit;
        float value = 0.0;
        if (gate < gates && k < hidden) value = weight[column * hidden + k];
#if BIAS
        if (gate < gates && k == hidden) value = bias[column];
#endif
        packed_weight[i * uint(WIDE) + gate] = value;
    }
}
