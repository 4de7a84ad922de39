#version 310 es
// stream: y[i] = x[i] in pieces of V words: how fast a device moves memory at its best
// Bindings  0 in  x [groups * WG * V]    1 out y, the same
// Groups    (groups_x, any, 1) of WG * V words each; linear group = y * groups_x + x
#ifndef WG
#define WG 64u
#endif
#ifndef V
#define V 4 // 2 or 4
#endif
precision highp float;
precision highp int;
layout(local_size_x = WG) in;
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
};
#if V == 4
#define PIECE uvec4
layout(std430, binding = 0) readonly buffer X { uvec4 x[]; };
#else
#define PIECE uvec2
layout(std430, binding = 0) readonly buffer X { uvec2 x[]; };
#endif
layout(std430, binding = 1) writeonly buffer Y { PIECE y[]; };

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * WG + gl_LocalInvocationID.x;
    y[i] = x[i];
}
