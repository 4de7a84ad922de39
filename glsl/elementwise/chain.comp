#version 310 es
// chain: several elementwise operations as one: results are expressions over one element of each operand, operands broadcast
//
// src/ops/fused.c writes the code: BLOCKS declares operands and results; LOADS reads a vec4 a<k> of each operand k; VALUES(e) makes element
// e of each result r<k>; STORES clears what lies behind the end and writes them. What is defined below does y = tanh(a + b), b [columns].
//
// Bindings  operands, then results, f32, padded to 16 bytes, results row-major and whole vec4
// Uniforms  n: elements of each result, 1 to 2^31 - 1    groups_x: width of the folded grid
//           axes[d]: length, and the strides of up to three strided operands, outermost first (only if RANK > 0)
// Groups    (groups_x, any, 1), WG invocations each; one invocation makes four neighbouring elements. Elements past n inside the last 16
//           bytes become zero: the gaps between gradients must stay so.
// Aliasing  a result may be an operand of its shape: an invocation reads exactly what it writes, before it writes
#ifndef VALUES
#define WG 64
#define RANK 1
#define INNER4 0 // 1: the last axis is a multiple of four; axes[RANK - 1] then has a quarter of its length and four times its strides
#define BLOCKS                                                                                                                   \
    layout(std430, binding = 0) readonly buffer P0 { vec4 p0[]; };                                                               \
    layout(std430, binding = 1) readonly buffer P1 { float p1[]; };                                                              \
    layout(std430, binding = 2) writeonly buffer Q0 { vec4 q0[]; };
#define LOADS vec4 a0 = p0[i]; vec4 a1 = vec4(0.0);
#define GATHER(e) a1.e = p1[at.x]; // of strided operands without INNER4, one element after the other
#define RESULTS vec4 r0;
#define VALUES(e) { float v0 = a0.e; float v1 = a1.e; float v2 = v0 + v1; float v3 = tanh(v2); r0.e = v3; }
#define STORES if (valid < 4u) r0.w = 0.0; if (valid < 3u) r0.z = 0.0; if (valid < 2u) r0.y = 0.0; q0[i] = r0;
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

BLOCKS
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint unused_0, unused_1, unused_2;
#if RANK > 0
    uvec4 axes[RANK];
#endif
};

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * uint(WG) + gl_LocalInvocationID.x; // the quad
    if (i >= (n + 3u) >> 2) return;

#if RANK > 0
    uint digit[RANK];
    uvec3 at = uvec3(0u);
    uint left = INNER4 == 1 ? i : i * 4u;
    for (int d = RANK - 1; d > 0; d--) {
        uint above = left / axes[d].x;
        digit[d] = left - above * axes[d].x;
        at += digit[d] * axes[d].yzw;
        left = above;
    }
    digit[0] = left;
    at += left * axes[0].yzw;
    uvec3 next = axes[RANK - 1].yzw >> 2u;
#endif
    LOADS
#if RANK > 0 && INNER4 == 0
// To the next element; past the end the last again, so that no operand is read out of bounds.
#define NEXT(j)                                                                                                                  \
    if (i * 4u + j < n) {                                                                                                        \
        digit[RANK - 1]++;                                                                                                       \
        at += axes[RANK - 1].yzw;                                                                                                \
        for (int d = RANK - 1; d > 0; d--) {                                                                                     \
            if (digit[d] == axes[d].x) {                                                                                         \
                digit[d] = 0u;                                                                                                   \
                digit[d - 1]++;                                                                                                  \
                at += axes[d - 1].yzw - axes[d].x * axes[d].yzw;                                                                 \
            }                                                                                                                    \
        }                                                                                                                        \
    }
    GATHER(x)
    NEXT(1u)
    GATHER(y)
    NEXT(2u)
    GATHER(z)
    NEXT(3u)
    GATHER(w)
#endif
    RESULTS
    VALUES(x)
    VALUES(y)
    VALUES(z)
    VALUES(w)
    uint valid = n - i * 4u;
    STORES
}
