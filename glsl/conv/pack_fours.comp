#version 310 es
// conv/pack_fours: filters for conv/fours: w(f, c, p, q) at [f / (4 FQ)][c / 4][p][q][c % 4][f % (4 FQ)], or, of depthwise convolutions, at [f / 4][p][q][f % 4];
//                  zero where there is no such filter or channel
// Bindings  0 in w f32 [filters, channels, taps_y, taps_x]    1 out packed f32, as vec4 of four filters
// Uniforms  n: vec4 of the result; quads: fours of filters of a tile (FQ); x_quads = ceil(channels / 4); taps = taps_y * taps_x; fold: groups along x
// Groups    64 vec4 each, folded into x and y
// Variants  DEPTHWISE: one channel for each filter
#ifndef DEPTHWISE
#define DEPTHWISE 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer W { float w[]; };
layout(std430, binding = 1) writeonly buffer Packed { vec4 packed_w[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, fold, filters, channels, taps, quads, x_quads;
};

float weight(uint f, uint c, uint tap)
{
    float t = w[(min(f, filters - 1u) * channels + min(c, channels - 1u)) * taps + tap];
    return f < filters && c < channels ? t : 0.0;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (i >= n) return;
#if DEPTHWISE
    uint f = i / taps, tap = i - f * taps, c = 0u;
#else
    uint rest = i / quads, quad = i - rest * quads;
    uint c = rest & 3u;
    rest >>= 2;
    uint above = rest / taps, tap = rest - above * taps, f = above / x_quads;
    c += (above - f * x_quads) * 4u;
    f = f * quads + quad;
#endif
    f *= 4u;
    packed_w[i] = vec4(weight(f, c, tap), weight(f + 1u, c, tap), weight(f + 2u, c, tap), weight(f + 3u, c, tap));
}
