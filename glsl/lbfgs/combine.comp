#version 310 es
// combine: out = a u + b v; with TERMS 1 out = a u
// Bindings  0 out f32, whole vec4    1 in u    2 in v (TERMS 2)
// Uniforms  n_quads: vec4 in each;  a, b
// Groups    (groups, 1, 1), groups * 128 >= n_quads
// Limits    128 invocations, 3 storage blocks
#ifndef TERMS
#define TERMS 2
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uint n_quads;
    float a;
    float b;
};

layout(std430, binding = 0) writeonly buffer Out { vec4 result[]; };
layout(std430, binding = 1) readonly buffer U { vec4 u[]; };
#if TERMS == 2
layout(std430, binding = 2) readonly buffer V { vec4 v[]; };
#endif

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= n_quads) return;
#if TERMS == 2
    result[i] = a * u[i] + b * v[i];
#else
    result[i] = a * u[i];
#endif
}
