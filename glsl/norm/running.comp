#version 310 es
// running: the running statistics of batch norms move towards those of a batch: r += momentum * (batch - r), as keep * r + momentum * batch
// Bindings  0 .. N - 1 in stats vec2 (mean, biased variance) [n] of each norm, as STATISTICS says    N in-out running f32: means and variances of all
//           if APART, of one norm: N in-out running means, APART in-out running variances
// Uniforms  keep = 1 - momentum; of each norm (n, where its running means begin, where its running variances begin, the bits of momentum times
//           count / (count - 1): the running variance is the unbiased one)
// Groups    (the most channels of any / 128 rounded up, folded over x and y; N along z)
// Limits    128 invocations, N + 1 storage blocks, or 3
#ifndef N
#define N 1u
// The blocks, and what the norm `norm` has for channel `c`.
#define STATISTICS layout(std430, binding = 0) readonly buffer Stats0 { vec2 stats0[]; }; vec2 batch_of(uint norm, uint c) { return stats0[c]; }
#define RUNNING 1
#define APART 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    float keep;
    uvec4 norms[N];
    float momentum;
    uint groups_x;
};

STATISTICS
layout(std430, binding = RUNNING) buffer Running { float running[]; };
#if APART
layout(std430, binding = APART) buffer Variances { float variances[]; };
#else
#define variances running
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = gl_WorkGroupID.z + group_base.z;
    uint c = group * 128u + gl_LocalInvocationIndex;
    uvec4 norm = norms[i];
    if (c >= norm.x) return;
    vec2 batch = batch_of(i, c);
    running[norm.y + c] = keep * running[norm.y + c] + momentum * batch.x;
    variances[norm.z + c] = keep * variances[norm.z + c] + uintBitsToFloat(norm.w) * batch.y;
}
