#version 310 es
// gemm/pack: the columns of op(b), or the rows of op(a), by panels of 64, each of them one piece of memory: out[j / 64][p][j mod 64] = opb(p, j)
//
// Rows of b that are 4096 bytes apart share a few sets of a CPU's cache, which holds few of them at a time.
// Bindings  0 in b f32: [k, n], or [n, k] if TB    1 out f32 [n / 64, k, 64]
// Uniforms  k: a multiple of 4; n: of 64; fold: groups along x
// Groups    64 blocks of 4 by 4 elements each, k n / 16 in all, folded into x and y
// Limits    64 invocations; 2 storage blocks
#ifndef TB
#define TB 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer B { vec4 b[]; };
layout(std430, binding = 1) writeonly buffer Out { vec4 panels[]; };
layout(std140, binding = 0) uniform Params { uvec3 group_base; uint k, n, fold; };

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint at = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    uint blocks = k >> 2, rest = at >> 4, panel = rest / blocks;
    if (panel >= n >> 6) return;
    uint p = (rest - panel * blocks) * 4u, j = (panel << 6) + (at & 15u) * 4u;
#if TB
    uint from = (j * k + p) >> 2;
    vec4 r0 = b[from], r1 = b[from + blocks], r2 = b[from + 2u * blocks], r3 = b[from + 3u * blocks];
    vec4 x = vec4(r0.x, r1.x, r2.x, r3.x), y = vec4(r0.y, r1.y, r2.y, r3.y);
    vec4 z = vec4(r0.z, r1.z, r2.z, r3.z), w = vec4(r0.w, r1.w, r2.w, r3.w);
#else
    uint from = (p * n + j) >> 2, row = n >> 2;
    vec4 x = b[from], y = b[from + row], z = b[from + 2u * row], w = b[from + 3u * row];
#endif
    uint to = (panel * k + p) * 16u + (at & 15u);
    panels[to] = x;
    panels[to + 16u] = y;
    panels[to + 32u] = z;
    panels[to + 48u] = w;
}
