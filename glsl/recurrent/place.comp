#version 310 es
// place: `n` floats from one place to another; SOURCE 0: zeros
// Bindings  SOURCE 1: 0 in from f32, 1 out to   SOURCE 0: 0 out to
// Uniforms  groups_x;  n;  from_at, to_at: the first float;  period: so many of `from`, again and again
// Groups    (x, y, 1) with x * y * 64 >= n
#ifndef SOURCE
#define SOURCE 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    uint from_at;
    uint to_at;
    uint period;
};

#if SOURCE
layout(std430, binding = 0) readonly buffer From { float from[]; };
layout(std430, binding = 1) writeonly buffer To { float to[]; };
#else
layout(std430, binding = 0) writeonly buffer To { float to[]; };
#endif

void main()
{
    uint i = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (i >= n) return;
#if SOURCE
    to[to_at + i] = from[from_at + i % period];
#else
    to[to_at + i] = 0.0;
#endif
}
