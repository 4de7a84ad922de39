#version 310 es
// pack: two tables as one, pairs[i] = (a[i], b[i]), where a kernel would need one storage block more than ES 3.1 promises
// Bindings  0 in a f32 [n]    1 in b f32 [n]    2 out pairs vec2 [n]
// Groups    n / 128 rounded up, folded over x and y
// Limits    128 invocations, 3 storage blocks
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
};

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) writeonly buffer Pairs { vec2 pairs[]; };

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i < n) pairs[i] = vec2(a[i], b[i]);
}
