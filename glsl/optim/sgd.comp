#version 310 es
// sgd: one step for all parameters: g += decay p;  MOMENTUM 1: v = mu v + g, p -= lr v;  MOMENTUM 0: p -= lr g
// Source    as in PyTorch, without dampening: v starts as zeros, so that the first v is g
// Bindings  0 in out p    1 in g    2 in out v (MOMENTUM 1)    f32, whole vec4; gaps between parameters hold zeros and keep them
// Uniforms  n_quads: vec4 in each;  slots[slot].xyz: lr, decay, mu, new for every step
// Groups    linear, folded over x and y, groups * 128 >= n_quads
// Limits    128 invocations, 3 storage blocks
#ifndef MOMENTUM
#define MOMENTUM 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_quads;
    uint slot;
};
layout(std140, binding = 1) uniform Step {
    uvec4 random;
    vec4 slots[16];
};

layout(std430, binding = 0) buffer P { vec4 p[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#if MOMENTUM
layout(std430, binding = 2) buffer V { vec4 v[]; };
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i >= n_quads) return;
    vec4 rates = slots[slot];
    vec4 old = p[i];
    vec4 move = g[i] + rates.y * old;
#if MOMENTUM
    move += rates.z * v[i];
    v[i] = move;
#endif
    p[i] = old - rates.x * move;
}
