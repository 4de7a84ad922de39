#version 310 es
// finish: the second pass of measure and advance: each column of what their groups left becomes one number for the CPU
// Bindings  0 in sums f32    1 out results, 8 words: the columns' sums (or largest elements) as f32, and in the last word the mark
// Uniforms  n_columns: at most 7;  n_sums in each, the first column from sums[before];  largest: bit c set where column c wants its
//           largest element;  mark
// Groups    (1, 1, 1)
// Limits    128 invocations, 512 bytes shared
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uint n_columns;
    uint n_sums;
    uint before;
    uint largest;
    uint mark;
};

layout(std430, binding = 0) readonly buffer Sums { float sums[]; };
layout(std430, binding = 1) writeonly buffer Results { uint results[]; };
shared float lanes[128];

void main()
{
    uint lane = gl_LocalInvocationIndex;
    for (uint column = 0u; column < n_columns; column++) {
        bool wants_largest = (largest >> column & 1u) != 0u;
        uint first = before + column * n_sums;
        float own = 0.0;
        for (uint i = lane; i < n_sums; i += 128u) {
            float next = sums[first + i];
            own = wants_largest ? max(own, next) : own + next;
        }
        lanes[lane] = own;
        for (uint half_lanes = 64u; half_lanes > 0u; half_lanes >>= 1u) {
            memoryBarrierShared();
            barrier();
            if (lane < half_lanes) {
                float other = lanes[lane + half_lanes];
                lanes[lane] = wants_largest ? max(lanes[lane], other) : lanes[lane] + other;
            }
        }
        if (lane == 0u) results[column] = floatBitsToUint(lanes[0]);
        barrier();
    }
    if (lane == 0u) results[7] = mark;
}
