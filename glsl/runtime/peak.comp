#version 310 es
// peak: 64 multiply-adds a round in 16 independent chains: how fast a device computes at its best
// Bindings  0 out y [groups * WG]
// Uniforms  rounds; x, a value near 1 that the compiler does not know
#ifndef WG
#define WG 64u
#endif
precision highp float;
precision highp int;
layout(local_size_x = WG) in;
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint rounds;
    float x;
};
layout(std430, binding = 0) writeonly buffer Y { float y[]; };

void main()
{
    uint i = (gl_WorkGroupID.x + group_base.x) * WG + gl_LocalInvocationID.x;
    vec4 a = vec4(float(i), 1.0, 2.0, 3.0), b = a + 1.0, c = a + 2.0, d = a + 3.0;
    vec4 m = vec4(x), s = vec4(x);
    for (uint r = 0u; r < rounds; r++) {
        a = a * m + s, b = b * m + s, c = c * m + s, d = d * m + s;
        a = a * m + s, b = b * m + s, c = c * m + s, d = d * m + s;
        a = a * m + s, b = b * m + s, c = c * m + s, d = d * m + s;
        a = a * m + s, b = b * m + s, c = c * m + s, d = d * m + s;
    }
    a += b + c + d;
    y[i] = a.x + a.y + a.z + a.w;
}
