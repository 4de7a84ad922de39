#version 310 es
// rmsprop_parts: centered RMSProp with momentum, which needs x, g, three states, and so more than four storage blocks, in three parts
//   PART 1    e = g + decay x - m;  m += (1 - al) e        (so that g + decay x = m + al e afterwards)
//   PART 2    v = al (v + (1 - al) e^2);  u = mu u + (m + al e) / (sqrt(v) + eps)
//   PART 3    x -= lr u
// Source    as optim/update's CENTERED; v is the variance, kept up to date without the difference of two large squares
// Bindings  PART 1: 0 in x  1 in g  2 in out m  3 out e    PART 2: 0 in e  1 in m  2 in out v  3 in out u    PART 3: 0 in out x  1 in u
//           f32, whole vec4; gaps between parameters hold zeros and keep them
// Uniforms  as optim/update: slots[slot]: lr, mu, eps    slots[slot + 1].xy: al, 1 - al
//           CLIPPING 1 (PART 1): most_value, most_norm, and block 2, for optim/clipping, which this text is put behind
// Groups    linear, folded over x and y, groups * 128 >= n_quads
// Limits    128 invocations, 4 storage blocks
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
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
layout(std430, binding = 2) buffer M { vec4 m[]; };
layout(std430, binding = 3) writeonly buffer E { vec4 e[]; };
#elif PART == 2
layout(std430, binding = 0) readonly buffer E { vec4 e[]; };
layout(std430, binding = 1) readonly buffer M { vec4 m[]; };
layout(std430, binding = 2) buffer V { vec4 v[]; };
layout(std430, binding = 3) buffer U { vec4 u[]; };
#else
layout(std430, binding = 0) buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer U { vec4 u[]; };
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i >= n_quads) return;
    vec4 a = slots[slot];
    vec4 b = slots[slot + 1u];
#if PART == 1
    vec4 mean = m[i];
    vec4 grad = g[i];
#if CLIPPING
    grad = clip(grad, most_value, clip_factor(most_norm));
#endif
    vec4 from_mean = grad + decay * x[i] - mean;
    m[i] = mean + b.y * from_mean;
    e[i] = from_mean;
#elif PART == 2
    vec4 from_mean = e[i];
    vec4 variance = b.x * (v[i] + b.y * from_mean * from_mean);
    v[i] = variance;
    u[i] = a.y * u[i] + (m[i] + b.x * from_mean) / (sqrt(variance) + a.z);
#else
    x[i] -= a.x * lr_scale * u[i];
#endif
}
