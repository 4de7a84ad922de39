#version 310 es
// running: the running statistics of batch norm move towards those of a batch: r += momentum * (batch - r), as keep * r + momentum * batch
// Bindings  0 in stats vec2 (mean, biased variance) [n]    1 in-out running mean f32 [n]    2 in-out running variance f32 [n]
// Uniforms  keep = 1 - momentum; var_momentum = momentum times count / (count - 1): the running variance is the unbiased one
// Groups    n / 128 rounded up, folded over x and y
// Limits    128 invocations, 3 storage blocks
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n;
    float keep, momentum, var_momentum;
};

layout(std430, binding = 0) readonly buffer Stats { vec2 stats[]; };
layout(std430, binding = 1) buffer Means { float means[]; };
layout(std430, binding = 2) buffer Variances { float variances[]; };

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i >= n) return;
    vec2 batch = stats[i];
    means[i] = keep * means[i] + momentum * batch.x;
    variances[i] = keep * variances[i] + var_momentum * batch.y;
}
