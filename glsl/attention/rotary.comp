#version 310 es
// rotary: each pair of elements of a row turned by (position of the row) * (frequency of the pair)
// Source    Su and others 2021, RoFormer
// Layout    HALVES 0: pair p is elements 2 p and 2 p + 1    HALVES 1: p and p + d / 2
// Bindings  0 in x f32 [..., t, d]   1 out y, the same; may be x: an invocation reads the two elements that it writes
// Uniforms  groups_x;  n: rows * pairs;  t: rows of a sequence;  d;  pairs: that this dispatch does, from first_pair on;
//           offset: position of a sequence's first row;  turn: 1, or -1 as uint for the way back;
//           frequency: turns in a position, times 2^32. Products that wrap around lose whole turns and nothing else
// Groups    (x, y, 1) with x * y * 64 >= n
#ifndef HALVES
#define HALVES 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint t;
    uint d;
    uint pairs;
    uint first_pair;
    uint offset;
    uint turn;
    uint unused;
    uvec4 frequency[12];
};

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    uint i = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (i >= n) return;
    uint row = i / pairs;
    uint pair = i - row * pairs;
    uvec4 four = frequency[pair >> 2u];
    uvec2 two = (pair & 2u) != 0u ? four.zw : four.xy;
    uint phase = (row % t + offset) * turn * ((pair & 1u) != 0u ? two.y : two.x);
    // The nearest quarter turn, and what is left: within an eighth, where polynomials are exact to float's last digit. GLSL promises
    // little of sin() and cos().
    uint quarter = (phase + 0x20000000u) >> 30u;
    float a = float(int(phase - (quarter << 30u))) * 1.4629180792671596e-9; // 2 pi / 2^32
    float s = a * a;
    float cosine = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s * (1.0 / 40320.0))));
    float sine = a * (1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0)))));
    vec2 at = (quarter & 1u) != 0u ? vec2(-sine, cosine) : vec2(cosine, sine);
    if ((quarter & 2u) != 0u) at = -at;
#if HALVES
    uint first = row * d + first_pair + pair;
    uint second = first + d / 2u;
#else
    uint first = row * d + 2u * (first_pair + pair);
    uint second = first + 1u;
#endif
    float u = x[first];
    float v = x[second];
    y[first] = u * at.x - v * at.y;
    y[second] = u * at.y + v * at.x;
}
