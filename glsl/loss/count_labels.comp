#version 310 es
// count_labels: partial counts of the labels that are not -1, for losses over many rows
// Bindings  0 in labels i32 [n]    1 out counts u32 [groups], at word counts_at of the loss's scratch
// Uniforms  chunk_n: labels that each group counts
// Groups    (ceil(n / chunk_n), 1, 1)
// Limits    512 bytes shared, 128 invocations, 2 storage blocks
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint chunk_n;
    uint counts_at;
};

layout(std430, binding = 0) readonly buffer Labels { int labels[]; };
layout(std430, binding = 1) writeonly buffer Scratch { uint scratch[]; };

shared uint tree[128];

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint end = min(n, group * chunk_n + chunk_n);
    uint count = 0u;
    for (uint i = group * chunk_n + t; i < end; i += 128u) count += labels[i] != -1 ? 1u : 0u;
    tree[t] = count;
    for (uint half_n = 64u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) tree[t] += tree[t + half_n];
    }
    if (t == 0u) scratch[counts_at + group] = tree[0];
}
