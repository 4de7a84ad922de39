#version 310 es
// lamb_trust: of each parameter |x| / |r|, or 1 where one of them is 0, from the sums of its blocks, and written over the x of each
// Bindings  0 in out sums, a vec2 for each block of 64 elements    1 in table u32: first block of parameter i and the one behind its last
// Uniforms  n_params
// Groups    linear, folded over x and y, one for each parameter; lane l takes blocks l, l + 128, ..., then a fixed tree
// Limits    128 invocations, 2 storage blocks, 1 KiB shared
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_params;
};

layout(std430, binding = 0) buffer Sums { vec2 sums[]; };
layout(std430, binding = 1) readonly buffer Table { uvec2 table[]; };
shared vec2 lanes[128];

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint lane = gl_LocalInvocationIndex;
    uvec2 range = table[min(group, n_params - 1u)];
    vec2 own = vec2(0.0);
    for (uint i = range.x + lane; i < range.y; i += 128u) own += sums[i];
    lanes[lane] = own;
    for (uint half_lanes = 64u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) lanes[lane] += lanes[lane + half_lanes];
    }
    memoryBarrierShared();
    barrier(); /* all of them read their blocks before anyone writes */
    if (group >= n_params) return;
    vec2 all_blocks = lanes[0];
    float trust = all_blocks.x > 0.0 && all_blocks.y > 0.0 ? sqrt(all_blocks.x) / sqrt(all_blocks.y) : 1.0;
    for (uint i = range.x + lane; i < range.y; i += 128u) sums[i].x = trust;
}
