#version 310 es
// finish: the last step of a loss or a count: out = sum(parts); MEAN 1: out = sum(parts) / parts[n], or 0 where parts[n] is 0
//           RIGHT 1: also out[to] = sum(parts[from ... from + n - 1])
// Bindings  0 in parts f32 [n] or [n + 1], and behind them    1 out one f32, or two
// Groups    (1, 1, 1); the order of additions is fixed
// Limits    512 bytes shared, 128 invocations, 2 storage blocks
#ifndef MEAN
#define MEAN 1
#endif
#ifndef RIGHT
#define RIGHT 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint from;
    uint to;
};

layout(std430, binding = 0) readonly buffer Parts { float parts[]; };
layout(std430, binding = 1) writeonly buffer Out { float result[]; };

shared float tree[128];

void main()
{
    uint t = gl_LocalInvocationIndex;
    float sum = 0.0;
    for (uint i = t; i < n; i += 128u) sum += parts[i];
    tree[t] = sum;
    for (uint half_n = 64u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) tree[t] += tree[t + half_n];
    }
    if (t == 0u) {
#if MEAN
        float count = parts[n];
        result[0] = count > 0.0 ? tree[0] / count : 0.0;
#else
        result[0] = tree[0];
#endif
    }
#if RIGHT
    barrier(); // nobody overwrites the tree before its root was read
    sum = 0.0;
    for (uint i = t; i < n; i += 128u) sum += parts[from + i];
    tree[t] = sum;
    for (uint half_n = 64u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) tree[t] += tree[t + half_n];
    }
    if (t == 0u) result[to] = tree[0];
#endif
}
