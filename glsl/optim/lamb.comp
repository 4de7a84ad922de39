#version 310 es
// lamb: the passes of LAMB over a range of all parameters; lamb_trust stands between the second and the third
//   PART 1    s = b1 s + (1 - b1) g;  t = b2 t + (1 - b2) g^2
//   PART 2    of each block of 64 elements: sum x^2 and sum r^2, where r = s / (1 - b1^n) / (sqrt(t) / sqrt(1 - b2^n) + eps) + decay x
//   PART 3    x -= lr trust r, with the trust that lamb_trust found for the block's parameter
// r is made anew in PART 3: keeping it would take a fifth array, and a kernel has four.
// Source    You et al. 2020, algorithm 2, with corrected moments and phi(z) = z
// Bindings  PART 1    0 in g    1 in out s    2 in out t
//           PART 2    0 in x    1 in s    2 in t    3 out sums, a vec2 for each block
//           PART 3    0 in out x    1 in s    2 in t    3 in sums, trust in x
//           f32, whole blocks; gaps between parameters hold zeros and keep them
// Uniforms  n_quads: vec4 in each;  first: the number of the range's first block;  of the range's group: lr_scale, decay
//           slots[slot] (a) and slots[slot + 1] (b), new for every step: a = 1 / (1 - b1^n), 1 / sqrt(1 - b2^n), eps, lr;
//           b = b1, 1 - b1, b2, 1 - b2
//           CLIPPING 1 (PART 1): most_value, most_norm, and block 2, for optim/clipping, which this text is put behind
// Groups    linear, folded over x and y, groups * 128 >= n_quads
// Limits    128 invocations, 4 storage blocks, 1 KiB shared in PART 2. The tree is fixed: the same bits every run
#ifndef PART
#define PART 2
#endif
#ifndef CLIPPING
#define CLIPPING 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_quads;
    uint slot;
    float lr_scale;
    float decay;
    uint first;
#if CLIPPING
    float most_value;
    float most_norm;
#endif
};
layout(std140, binding = 1) uniform Step {
    uvec4 random;
    vec4 slots[16];
};

#if PART == 1
layout(std430, binding = 0) readonly buffer G { vec4 g[]; };
layout(std430, binding = 1) buffer S { vec4 s[]; };
layout(std430, binding = 2) buffer T { vec4 t[]; };
#else
#if PART == 2
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 3) writeonly buffer Sums { vec2 sums[]; };
shared vec2 lanes[128];
#else
layout(std430, binding = 0) buffer X { vec4 x[]; };
layout(std430, binding = 3) readonly buffer Sums { vec2 sums[]; };
#endif
layout(std430, binding = 1) readonly buffer S { vec4 s[]; };
layout(std430, binding = 2) readonly buffer T { vec4 t[]; };
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint lane = gl_LocalInvocationIndex;
    uint i = group * 128u + lane;
    vec4 a = slots[slot];
#if PART == 1
    if (i >= n_quads) return;
    vec4 b = slots[slot + 1u];
    vec4 grad = g[i];
#if CLIPPING
    grad = clip(grad, most_value, clip_factor(most_norm));
#endif
    s[i] = b.x * s[i] + b.y * grad;
    t[i] = b.z * t[i] + b.w * grad * grad;
#elif PART == 2
    vec2 own = vec2(0.0);
    if (i < n_quads) {
        vec4 value = x[i];
        vec4 move = a.x * s[i] / (sqrt(t[i]) * a.y + a.z) + decay * value;
        own = vec2(dot(value, value), dot(move, move));
    }
    lanes[lane] = own;
    for (uint half_lanes = 8u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if ((lane & 15u) < half_lanes) lanes[lane] += lanes[lane + half_lanes];
    }
    if ((lane & 15u) == 0u && i < n_quads) sums[first + i / 16u] = lanes[lane];
#else
    if (i >= n_quads) return;
    vec4 value = x[i];
    vec4 move = a.x * s[i] / (sqrt(t[i]) * a.y + a.z) + decay * value;
    x[i] = value - a.w * lr_scale * sums[first + i / 16u].x * move;
#endif
}
