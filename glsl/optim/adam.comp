#version 310 es
// adam: one step for all parameters: m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
//           p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps), t counted from 1
//           DECOUPLED 0 (adam): g += decay p before;  1 (adamw): p *= 1 - lr decay before
// Source    Kingma, Ba 2015; Loshchilov, Hutter 2019; eps outside the root and after the bias correction, as in PyTorch
// Bindings  0 in out p    1 in g    2 in out m    3 in out v    f32, whole vec4; gaps between parameters hold zeros and keep them
// Uniforms  n_quads: vec4 in each;  new for every step:
//           slots[slot]: lr / (1 - b1^t), 1 / sqrt(1 - b2^t), eps, decay (adamw: 1 - lr decay)
//           slots[slot + 1]: b1, 1 - b1, b2, 1 - b2
// Groups    linear, folded over x and y, groups * 128 >= n_quads
// Limits    128 invocations, 4 storage blocks
#ifndef DECOUPLED
#define DECOUPLED 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_quads;
    uint slot;
};
layout(std140, binding = 1) uniform Step {
    uvec4 random;
    vec4 slots[16];
};

layout(std430, binding = 0) buffer P { vec4 p[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
layout(std430, binding = 2) buffer M { vec4 m[]; };
layout(std430, binding = 3) buffer V { vec4 v[]; };

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i >= n_quads) return;
    vec4 rates = slots[slot];
    vec4 betas = slots[slot + 1u];
    vec4 old = p[i];
    vec4 grad = g[i];
#if DECOUPLED
    old *= rates.w;
#else
    grad += rates.w * old;
#endif
    vec4 mean = betas.x * m[i] + betas.y * grad;
    vec4 square = betas.z * v[i] + betas.w * grad * grad;
    m[i] = mean;
    v[i] = square;
    p[i] = old - rates.x * (mean / (sqrt(square) * rates.y + rates.z));
}
