#version 310 es
// clip_scale: g *= most / (norm + 1e-6) where that is below 1; else nothing is touched
// Source    as torch.nn.utils.clip_grad_norm_
// Bindings  0 in out g f32, whole vec4    1 in norm f32, one element
// Uniforms  n_quads: vec4 in g;  most > 0
// Groups    linear, folded over x and y, groups * 128 >= n_quads
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint n_quads;
    float most;
};

layout(std430, binding = 0) buffer G { vec4 g[]; };
layout(std430, binding = 1) readonly buffer Norm { float norm[]; };

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    float scale = most / (norm[0] + 1e-6);
    if (i >= n_quads || scale >= 1.0) return; /* not a number: scales, so that it shows */
    g[i] *= scale;
}
