#version 310 es
// delta: stats[head][i] = (lse[head][i], dot(g[i], out[i])) of each query: what its gradients take of all keys (attention/grad_blocks)
// Source    Dao and others 2022, FlashAttention, appendix B.2
// Bindings  0 in g vec4 [samples, tq, between, d4]   1 in result, the same   2 in lse [samples, between, tq]   3 out stats vec2, the same; an invocation
//           does a row
// Uniforms  rows: of all heads, >= 1;  groups_x;  tq, d4, between >= 1
// Groups    (x, y, 1) with x * y * 64 >= rows
precision highp float;
precision highp int;
layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rows;
    uint tq;
    uint d4;
    uint between;
};
layout(std430, binding = 0) readonly buffer G { vec4 g[]; };
layout(std430, binding = 1) readonly buffer Result { vec4 result[]; };
layout(std430, binding = 2) readonly buffer Lse { float lse[]; };
layout(std430, binding = 3) writeonly buffer Stats { vec2 stats[]; };

void main()
{
    // Neighbours take rows that lie beside each other: i counts them as they lie in g.
    uint i = ((gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x) * 64u + gl_LocalInvocationIndex;
    if (i >= rows) return;
    uint inner = i % between, row = i / between, outer = row / tq;
    float sum = 0.0;
    for (uint at = i * d4; at < i * d4 + d4; at++) sum += dot(g[at], result[at]);
    uint to = (outer * between + inner) * tq + row - outer * tq;
    stats[to] = vec2(lse[to], sum);
}
