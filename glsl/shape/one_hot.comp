#version 310 es
// one_hot: y[j, c] = 1 if index[j] is c, else 0
// Bindings  0 in  index i32 [n / classes]    1 out y f32 [n / classes, classes], padded to 16 bytes
// Uniforms  n: elements of y, 1 to 2^31 - 1    groups_x: width of the folded grid
// Groups    (groups_x, any, 1) of 64; one invocation writes four neighbouring elements, zeros past n
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std430, binding = 0) readonly buffer Index { uint index[]; };
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint classes;
};

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint q = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    if (q >= (n + 3u) >> 2) return;
    vec4 result = vec4(0.0);
    for (uint e = 0u; e < 4u; e++) {
        uint at = q * 4u + e;
        uint row = at / classes;
        if (at < n && index[row] == at - row * classes) result[e] = 1.0;
    }
    y[q] = result;
}
