#version 310 es
// mse: the squares (prediction - target)^2 summed, and the gradient 2 (prediction - target) / n
// Bindings  0 in prediction f32 [n]    1 in target f32 [n]
//           2 out FINAL 1: their mean, f32 [1];  FINAL 0: scratch: a sum for each group, then at word `total` n as f32, which
//             loss/finish divides by
//           3 out GRAD 1: dprediction f32 [n]
// Uniforms  chunk_n: elements that each group does;  scale: 2 / n
// Groups    (ceil(n / chunk_n), 1, 1); FINAL 1: one
// Limits    512 bytes shared, 128 invocations, 4 storage blocks
#ifndef GRAD
#define GRAD 1
#endif
#ifndef FINAL
#define FINAL 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint chunk_n;
    uint total;
    float scale;
};

layout(std430, binding = 0) readonly buffer Prediction { float prediction[]; };
layout(std430, binding = 1) readonly buffer Target { float target[]; };
layout(std430, binding = 2) writeonly buffer Sums { float sums[]; };
#if GRAD
layout(std430, binding = 3) writeonly buffer Dprediction { float dprediction[]; };
#endif

shared float tree[128];

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint end = min(n, group * chunk_n + chunk_n);
    float sum = 0.0;
    for (uint i = group * chunk_n + t; i < end; i += 128u) {
        float d = prediction[i] - target[i];
        sum += d * d;
#if GRAD
        dprediction[i] = scale * d;
#endif
    }
    tree[t] = sum;
    for (uint half_n = 64u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) tree[t] += tree[t + half_n];
    }
    if (t == 0u) {
#if FINAL
        sums[0] = tree[0] / float(n);
#else
        sums[group] = tree[0];
        if (group == 0u) sums[total] = float(n);
#endif
    }
}
