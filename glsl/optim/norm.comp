#version 310 es
// norm: the second pass: norm = sqrt(sum of sums), and with TOTAL 1 the sum itself
// Bindings  0 in sums f32 [n_sums]    1 out norm f32, one element    2 out total f32, one element (TOTAL 1)
// Uniforms  n_sums >= 1
// Groups    (1, 1, 1); lane l adds sums l, l + 128, ..., then a fixed tree
// Limits    512 bytes shared
#ifndef TOTAL
#define TOTAL 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_sums;
};

layout(std430, binding = 0) readonly buffer Sums { float sums[]; };
layout(std430, binding = 1) writeonly buffer Norm { float norm[]; };
#if TOTAL
layout(std430, binding = 2) writeonly buffer Total { float total[]; };
#endif
shared float lanes[128];

void main()
{
    uint lane = gl_LocalInvocationIndex;
    float sum = 0.0;
    for (uint i = lane; i < n_sums; i += 128u) sum += sums[i];
    lanes[lane] = sum;
    for (uint half_lanes = 64u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) lanes[lane] += lanes[lane + half_lanes];
    }
    if (lane != 0u) return;
    norm[0] = sqrt(lanes[0]);
#if TOTAL
    total[0] = lanes[0];
#endif
}
