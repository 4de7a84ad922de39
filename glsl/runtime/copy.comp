#version 310 es
// copy: y[i] = x[i], 32-bit words of any type
// Bindings  0 in  x [n]    1 out y [n]
// Groups    (x, y, 1) of WG words each; linear group = y * groups_x + x
#ifndef WG
#define WG 64u
#endif
precision highp float;
precision highp int;
layout(local_size_x = WG) in;
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
};
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) writeonly buffer Y { uint y[]; };

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * WG + gl_LocalInvocationID.x;
    if (i < n) y[i] = x[i];
}
