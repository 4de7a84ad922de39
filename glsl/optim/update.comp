#version 310 es
// update: one step of an optimizer for a range of all parameters, as optim/rules has it, which this text is put behind. x is the parameter, g its
//         gradient, s and t the state
// Bindings  0 in out x    1 in g    2 in out s (STATES 1, 2)    3 in out t (STATES 2)    f32, whole vec4; gaps between parameters hold
//           zeros and keep them
// Uniforms  n_quads: vec4 in each;  of the range's group: lr_scale, a factor for every rate, and decay
//           slots[slot] and slots[slot + 1], new for every step
//           CLIPPING 1: most_value, most_norm, and block 2, for optim/clipping, which this text is put behind: g is clipped as it is read
// Groups    linear, folded over x and y, groups * 128 >= n_quads
// Limits    128 invocations, 4 storage blocks
#ifndef RULES // by itself it compiles, too
#define RULES  1
#define STATES 2
void rule(inout highp vec4 x, highp vec4 g, inout highp vec4 s, inout highp vec4 t, highp vec4 a, highp vec4 b, highp float lr_scale, highp float decay)
{
    x -= a.x * lr_scale * g;
}
#endif
#ifndef CLIPPING
#define CLIPPING 0
#endif
#define own // what is read of such a block nobody has written in this dispatch (src/gpu/texel_source.c)
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

layout(std430, binding = 0) own buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#if STATES >= 1
layout(std430, binding = 2) own buffer S { vec4 s[]; };
#endif
#if STATES >= 2
layout(std430, binding = 3) own buffer T { vec4 t[]; };
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint i = group * 128u + gl_LocalInvocationIndex;
    if (i >= n_quads) return;
    vec4 value = x[i], grad = g[i], first = vec4(0.0), second = vec4(0.0);
#if STATES >= 1
    first = s[i];
#endif
#if STATES >= 2
    second = t[i];
#endif
#if CLIPPING
    grad = clip(grad, most_value, clip_factor(most_norm));
#endif
    rule(value, grad, first, second, slots[slot], slots[slot + 1u], lr_scale, decay);
#if STATES >= 1
    s[i] = first;
#endif
#if STATES >= 2
    t[i] = second;
#endif
    x[i] = value; // last: with x first Midgard lacks a register
}
