#version 310 es
// clip: gradients into [-most, most] (CLAMP 1), left so (KEEP 1), and the sums of their squares by groups, as the first of two passes
//       (SQUARES 1)
// Source    as torch.nn.utils.clip_grad_value_ and clip_grad_norm_; a value that is not a number stays one
// Bindings  0 in (KEEP 1: in out) g f32, whole vec4; gaps hold zeros    1 out sums f32 (SQUARES 1): sums[first + group] is the group's
// Uniforms  n_quads: vec4 in g;  first: the number of the first group's sum;  most > 0;  rounds: a group does 128 * rounds vec4
// Groups    linear, folded over x and y, groups * 128 * rounds >= n_quads
// Limits    512 bytes shared. The tree is fixed: the same bits every run
#ifndef CLAMP
#define CLAMP   1
#define KEEP    1
#define SQUARES 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_quads;
    uint first;
    uint n_groups;
    float most;
    uint rounds;
};

#if KEEP
layout(std430, binding = 0) buffer G { vec4 g[]; };
#else
layout(std430, binding = 0) readonly buffer G { vec4 g[]; };
#endif
#if SQUARES
layout(std430, binding = 1) writeonly buffer Sums { float sums[]; };
shared float lanes[128];
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint lane = gl_LocalInvocationIndex;
    uint at = group * (rounds * 128u) + lane;
    float sum = 0.0;
    for (uint k = 0u; k < rounds; k++, at += 128u) {
        if (at >= n_quads) break;
        vec4 grad = g[at];
#if CLAMP
        vec4 bound = vec4(min(most, 3.402823e38)); // as in optim/clipping
        grad = mix(grad, bound, greaterThan(grad, vec4(most)));
        grad = mix(grad, -bound, lessThan(grad, vec4(-most)));
#endif
#if KEEP
        g[at] = grad;
#endif
        sum += dot(grad, grad);
    }
#if SQUARES
    lanes[lane] = sum;
    for (uint half_lanes = 64u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) lanes[lane] += lanes[lane + half_lanes];
    }
    if (lane == 0u && group < n_groups) sums[first + group] = lanes[0];
#endif
}
