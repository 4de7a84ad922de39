#version 310 es
// copy: y[y_first + i] = x[x_first + i], 32-bit words of any type; with VEC4, units of four words; with FLOATS, of four floats
// Bindings  0 in  x [x_first + n]    1 out y [y_first + n]
// Uniforms  x_first and y_first may be left zero
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
    uint x_first;
    uint y_first;
};
#if defined(FLOATS)
#define UNIT vec4
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#elif defined(VEC4)
#define UNIT uvec4
layout(std430, binding = 0) readonly buffer X { uvec4 x[]; };
#else
#define UNIT uint
layout(std430, binding = 0) readonly buffer X { uint x[]; };
#endif
layout(std430, binding = 1) writeonly buffer Y { UNIT y[]; };

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * WG + gl_LocalInvocationID.x;
    if (i < n) y[y_first + i] = x[x_first + i];
}
