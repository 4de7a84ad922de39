#version 310 es
// eights: out[i] = sum_j p[i][j] v[j], p[i] = softmax over the keys j of scale * dot(q[i], k[j]); CAUSAL: over j <= i
// Source    as of attention/forward: Milakov, Gimelshein 2018; Dao and others 2022, FlashAttention
// Layout    an invocation does eight queries alone, eight keys at a time; all its sums are variables of its own: for CPUs, where a read of four neighbours
//           costs what several multiplications do, sums lie in the cache anyway, and shared memory and barriers cost more than they save
// Bindings, uniforms  as of attention/blocks
// Groups    (tiles * heads - first_group, 1, 1) or fewer, tiles of 64 queries; those that see most keys come first
// Limits    8 invocations, no shared memory; 8 (D4 + 4) sums of vec4
#ifndef D4
#define D4 8 // d4, 1 to 16
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
#ifndef LSE
#define LSE 0
#endif
#ifndef JOINT
#define JOINT 0
#endif
#ifndef WHOLE
#define WHOLE 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 8) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint first_group;
    uint heads;
    uint tq;
    uint tk;
    uint d4;
    float scale;
    uint between;
    uint apart;
    uint q_at;
    uint k_at;
    uint v_at;
};

#if JOINT
layout(std430, binding = 0) readonly buffer Qkv { vec4 qkv[]; };
layout(std430, binding = 1) writeonly buffer Result { vec4 result[]; };
#if LSE
layout(std430, binding = 2) writeonly buffer Lse { float lse[]; };
#endif
#define READ_Q(i) qkv[i]
#define READ_K(i) qkv[i]
#define READ_V(i) qkv[i]
#else
layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer K { vec4 k[]; };
layout(std430, binding = 2) readonly buffer V { vec4 v[]; };
layout(std430, binding = 3) writeonly buffer Result { vec4 result[]; };
#if LSE
layout(std430, binding = 4) writeonly buffer Lse { float lse[]; };
#endif
#define READ_Q(i) q[i]
#define READ_K(i) k[i]
#define READ_V(i) v[i]
#endif

#include "attention/eights"

const float LOWEST = -3.402823e38;

// A masked score is LOWEST itself. Written so that NaN stays NaN.
vec4 exponentials(vec4 s, float m)
{
    vec4 e = exp(s - m);
    return vec4(s.x == LOWEST ? 0.0 : e.x, s.y == LOWEST ? 0.0 : e.y, s.z == LOWEST ? 0.0 : e.z, s.w == LOWEST ? 0.0 : e.w);
}
float greatest(vec4 a, vec4 b)
{
    vec4 c = max(a, b);
    return max(max(c.x, c.y), max(c.z, c.w));
}
vec4 masked(vec4 s, uvec4 key, uint end)
{
    return vec4(key.x < end ? s.x : LOWEST, key.y < end ? s.y : LOWEST, key.z < end ? s.z : LOWEST, key.w < end ? s.w : LOWEST);
}
float total(vec4 a, vec4 b)
{
    vec4 c = a + b;
    return (c.x + c.y) + (c.z + c.w);
}

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint turn = group / heads, head = group - turn * heads;
    uint tile_q = ((tq + 63u) / 64u - 1u - turn) * 64u, first_q = tile_q + 8u * gl_LocalInvocationIndex;
    if (first_q >= tq) return;
    uint outer = head / between, inner = head - outer * between;
    uint q_row = outer * tq * apart + inner, k_row = outer * tk * apart + inner;
    PLACES(i0, i1, q_at, q_row, first_q, tq - 1u, apart)
#if CAUSAL
    uint end_k = min(tk, first_q + 8u);
#else
    uint end_k = tk;
#endif
    vec4 acc[8 * D4];
#define CLEAR(C) CLEAR_COLUMN(acc, C)
    EACH_COLUMN(CLEAR)
    vec4 m_a = vec4(LOWEST), m_b = vec4(LOWEST), sum_a = vec4(0.0), sum_b = vec4(0.0);
    for (uint first_k = 0u; first_k < end_k; first_k += 8u) {
        PLACES(k0, k1, k_at, k_row, first_k, tk - 1u, apart)
        PLACES(v0, v1, v_at, k_row, first_k, tk - 1u, apart)
        Eight s, t;
        PRODUCTS(s, t, READ_Q, i0, i1, READ_K, k0, k1)
        uvec4 key = first_k + uvec4(0u, 1u, 2u, 3u);
#if CAUSAL
#define END(I) min(tk, first_q + uint(I) + 1u)
#else
#define END(I) tk
#endif
#define SCORES(R, I)                                                                                                             \
    s.R = masked(s.R * scale, key, END(I));                                                                                      \
    t.R = masked(t.R * scale, key + 4u, END(I));
        SCORES(r0, 0)
        SCORES(r1, 1)
        SCORES(r2, 2)
        SCORES(r3, 3)
        SCORES(r4, 4)
        SCORES(r5, 5)
        SCORES(r6, 6)
        SCORES(r7, 7)
        vec4 before_a = m_a, before_b = m_b;
        m_a = max(m_a, vec4(greatest(s.r0, t.r0), greatest(s.r1, t.r1), greatest(s.r2, t.r2), greatest(s.r3, t.r3)));
        m_b = max(m_b, vec4(greatest(s.r4, t.r4), greatest(s.r5, t.r5), greatest(s.r6, t.r6), greatest(s.r7, t.r7)));
#define EXPONENTIALS(R, M) s.R = exponentials(s.R, M), t.R = exponentials(t.R, M);
        EXPONENTIALS(r0, m_a.x)
        EXPONENTIALS(r1, m_a.y)
        EXPONENTIALS(r2, m_a.z)
        EXPONENTIALS(r3, m_a.w)
        EXPONENTIALS(r4, m_b.x)
        EXPONENTIALS(r5, m_b.y)
        EXPONENTIALS(r6, m_b.z)
        EXPONENTIALS(r7, m_b.w)
        // A loop, not a condition, since a CPU jumps over loops alone.
        for (bool grows = before_a != m_a || before_b != m_b; grows; grows = false) {
            vec4 rescale_a = exp(max(before_a - m_a, vec4(-200.0))), rescale_b = exp(max(before_b - m_b, vec4(-200.0))); // 0 for the first keys; the bound keeps infinity out
            sum_a *= rescale_a;
            sum_b *= rescale_b;
#define RESCALE_COLUMN(C)                                                                                                        \
    acc[AT(0, C)] *= rescale_a.x, acc[AT(1, C)] *= rescale_a.y, acc[AT(2, C)] *= rescale_a.z, acc[AT(3, C)] *= rescale_a.w;      \
    acc[AT(4, C)] *= rescale_b.x, acc[AT(5, C)] *= rescale_b.y, acc[AT(6, C)] *= rescale_b.z, acc[AT(7, C)] *= rescale_b.w;
            EACH_COLUMN(RESCALE_COLUMN)
        }
        sum_a += vec4(total(s.r0, t.r0), total(s.r1, t.r1), total(s.r2, t.r2), total(s.r3, t.r3));
        sum_b += vec4(total(s.r4, t.r4), total(s.r5, t.r5), total(s.r6, t.r6), total(s.r7, t.r7));
#define ADD(C) ADD_COLUMN(acc, C, READ_V)
        ADD_PAIRS(s, t, v0, v1, tk - first_k, ADD)
    }
    uint result_row = outer * tq * between + inner;
#define WRITE_TO(R, C, SUM) if (first_q + uint(R) < tq) result[(result_row + (first_q + uint(R)) * between) * d4 + uint(C)] = acc[AT(R, C)] / SUM;
#define WRITE_COLUMN(C)                                                                                                          \
    WRITE_TO(0, C, sum_a.x)                                                                                                      \
    WRITE_TO(1, C, sum_a.y)                                                                                                      \
    WRITE_TO(2, C, sum_a.z)                                                                                                      \
    WRITE_TO(3, C, sum_a.w)                                                                                                      \
    WRITE_TO(4, C, sum_b.x)                                                                                                      \
    WRITE_TO(5, C, sum_b.y)                                                                                                      \
    WRITE_TO(6, C, sum_b.z)                                                                                                      \
    WRITE_TO(7, C, sum_b.w)
    EACH_COLUMN(WRITE_COLUMN)
#if LSE
#define WRITE_LSE(R, M, SUM) if (first_q + uint(R) < tq) lse[head * tq + first_q + uint(R)] = M + log(SUM);
    WRITE_LSE(0, m_a.x, sum_a.x)
    WRITE_LSE(1, m_a.y, sum_a.y)
    WRITE_LSE(2, m_a.z, sum_a.z)
    WRITE_LSE(3, m_a.w, sum_a.w)
    WRITE_LSE(4, m_b.x, sum_b.x)
    WRITE_LSE(5, m_b.y, sum_b.y)
    WRITE_LSE(6, m_b.z, sum_b.z)
    WRITE_LSE(7, m_b.w, sum_b.w)
#endif
}
