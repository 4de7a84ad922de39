#version 310 es
// conv/pack_filters: eight filters of a group side by side: out[g][tile][c][p][t][e] = w(8 tile + e, c, p, q) of group g, zero behind the last filter;
//                    q is the t-th of 0, stride, 2 stride, ..., 1, stride + 1, ...
// Bindings  0 in w f32: w(f, c, p, q) is w[g w_group + f w_f + c w_c + w_first + p w_p + q w_q]    1 out f32
// Uniforms  n: vec4 of out; groups_x: groups along x; f_out, c_in: of a group
// Groups    64 vec4 each, folded into x and y
// Limits    64 invocations; 2 storage blocks
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer W { float w[]; };
layout(std430, binding = 1) writeonly buffer Out { vec4 filters[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, groups_x, tiles_f, f_out, c_in, taps_y, taps_x, stride;
    int w_group, w_f, w_c, w_first, w_p, w_q;
};

float weight(int from, uint f)
{
    float t = w[from + int(min(f, f_out - 1u)) * w_f];
    return f < f_out ? t : 0.0;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint at = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    if (at >= n) return;
    uint rest = at >> 1, next = rest / taps_x, t = rest - next * taps_x;
    rest = next / taps_y;
    uint p = next - rest * taps_y;
    next = rest / c_in;
    uint c = rest - next * c_in, member = next / tiles_f, f = (next - member * tiles_f) * 8u + (at & 1u) * 4u;
    uint phase = 0u;
    for (uint count = (taps_x + stride - 1u) / stride; t >= count; count = (taps_x - phase + stride - 1u) / stride) {
        t -= count;
        phase++;
    }
    int from = int(member) * w_group + int(c) * w_c + w_first + int(p) * w_p + int(t * stride + phase) * w_q;
    filters[at] = vec4(weight(from, f), weight(from, f + 1u), weight(from, f + 2u), weight(from, f + 3u));
}
