#version 310 es
// grad_eights: gradients of attention, the probabilities p recomputed from the rows' logsumexp:
//       p = exp(scale dot(q, k) - lse),  e = scale p (dot(g, v) - delta),  delta = dot(g, out), g the upstream gradient;
//       OF_KEYS 0: dq = sum over keys of e k    OF_KEYS 1: dk = sum over queries of e q,  dv = sum over queries of p g
// Source    Dao and others 2022, FlashAttention, appendix B.2; nothing is added across groups, so there are no atomics
// Layout    as attention/eights: an invocation does eight queries (OF_KEYS: keys) alone, and takes eight of the others at a time; for CPUs
// Bindings, uniforms  as of attention/grad_blocks
// Groups    (tiles * heads - first_group, 1, 1) or fewer, tiles of 64 own rows; those that see most others come first
// Limits    8 invocations, no shared memory; 8 (2 D4 + 6) sums of vec4
#ifndef D4
#define D4 8 // d4, 1 to 16
#endif
#ifndef OF_KEYS
#define OF_KEYS 1
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
#ifndef JOINT
#define JOINT 0
#endif
#ifndef WHOLE
#define WHOLE 0
#endif
#ifndef WIDE
#define WIDE 0
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
    uint result_apart;
    uint dq_at;
    uint dk_at;
    uint dv_at;
};

#if JOINT
layout(std430, binding = 0) readonly buffer Qkv { vec4 qkv[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
layout(std430, binding = 2) readonly buffer Stats { vec2 stats[]; };
#define FIRST 3
#define SECOND_RESULT 4
#define READ_Q(i) qkv[i]
#define READ_K(i) qkv[i]
#define READ_V(i) qkv[i]
#else
layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer K { vec4 k[]; };
layout(std430, binding = 2) readonly buffer V { vec4 v[]; };
layout(std430, binding = 3) readonly buffer G { vec4 g[]; };
layout(std430, binding = 4) readonly buffer Stats { vec2 stats[]; };
#define FIRST 5
#define SECOND_RESULT 6
#define READ_Q(i) q[i]
#define READ_K(i) k[i]
#define READ_V(i) v[i]
#endif
#define READ_G(i) g[i]
#if OF_KEYS && !WIDE
layout(std430, binding = FIRST) writeonly buffer Dk { vec4 dk[]; };
layout(std430, binding = SECOND_RESULT) writeonly buffer Dv { vec4 dv[]; };
#define DK(i) dk[i]
#define DV(i) dv[i]
#else
layout(std430, binding = FIRST) writeonly buffer Result { vec4 result[]; };
#define DK(i) result[i]
#define DV(i) result[i]
#endif

#include "attention/eights"

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint turn = group / heads, head = group - turn * heads;
    uint outer = head / between, inner = head - outer * between;
    uint q_row = outer * tq * apart + inner, k_row = outer * tk * apart + inner, g_row = outer * tq * between + inner;
#if OF_KEYS
    uint tile_own = turn * 64u, own_n = tk, other_n = tq;
#else
    uint tile_own = ((tq + 63u) / 64u - 1u - turn) * 64u, own_n = tq, other_n = tk;
#endif
    uint first_own = tile_own + 8u * gl_LocalInvocationIndex;
    if (first_own >= own_n) return;
    uint first = 0u, end = other_n;
#if CAUSAL && OF_KEYS
    first = min(first_own, other_n); // queries before the first key see none of them
#elif CAUSAL
    end = min(other_n, first_own + 8u);
#endif
    vec4 acc[8 * D4];
#define CLEAR(C) CLEAR_COLUMN(acc, C)
    EACH_COLUMN(CLEAR)
#if OF_KEYS
    vec4 acc_v[8 * D4];
#define CLEAR_V(C) CLEAR_COLUMN(acc_v, C)
    EACH_COLUMN(CLEAR_V)
    PLACES(i0, i1, k_at, k_row, first_own, tk - 1u, apart)
    PLACES(u0, u1, v_at, k_row, first_own, tk - 1u, apart)
#else
    PLACES(i0, i1, q_at, q_row, first_own, tq - 1u, apart)
    PLACES(u0, u1, 0u, g_row, first_own, tq - 1u, between)
#endif
    for (uint at_other = first; at_other < end; at_other += 8u) {
        Eight s, t, e, f;
        uvec4 other = at_other + uvec4(0u, 1u, 2u, 3u);
#if OF_KEYS
        PLACES(j0, j1, q_at, q_row, at_other, tq - 1u, apart)
        PLACES(w0, w1, 0u, g_row, at_other, tq - 1u, between)
        PRODUCTS(s, t, READ_K, i0, i1, READ_Q, j0, j1)
        PRODUCTS(e, f, READ_V, u0, u1, READ_G, w0, w1)
        uvec4 n = head * tq + min(other, uvec4(tq - 1u)), o = head * tq + min(other + 4u, uvec4(tq - 1u));
        vec2 z0 = stats[n.x], z1 = stats[n.y], z2 = stats[n.z], z3 = stats[n.w];
        vec2 z4 = stats[o.x], z5 = stats[o.y], z6 = stats[o.z], z7 = stats[o.w];
        vec4 lse_s = vec4(z0.x, z1.x, z2.x, z3.x), delta_s = vec4(z0.y, z1.y, z2.y, z3.y);
        vec4 lse_t = vec4(z4.x, z5.x, z6.x, z7.x), delta_t = vec4(z4.y, z5.y, z6.y, z7.y);
#if CAUSAL
#define SEEN(OTHER, I) ((OTHER) < end && (OTHER) >= first_own + uint(I))
#else
#define SEEN(OTHER, I) ((OTHER) < end)
#endif
#define STATS(I)
#else
        PLACES(j0, j1, k_at, k_row, at_other, tk - 1u, apart)
        PLACES(w0, w1, v_at, k_row, at_other, tk - 1u, apart)
        PRODUCTS(s, t, READ_Q, i0, i1, READ_K, j0, j1)
        PRODUCTS(e, f, READ_G, u0, u1, READ_V, w0, w1)
#if CAUSAL
#define SEEN(OTHER, I) ((OTHER) < end && (OTHER) <= first_own + uint(I))
#else
#define SEEN(OTHER, I) ((OTHER) < end)
#endif
#define STATS(I)                                                                                                                 \
    vec2 z = stats[head * tq + min(first_own + uint(I), tq - 1u)];                                                               \
    float lse_s = z.x, lse_t = z.x, delta_s = z.y, delta_t = z.y;
#endif
        // s and t become the probabilities, e and f what belongs to them. Own rows past the last need no care, they are not written.
#define ONE(P, E, OTHER, I, LSE, DELTA)                                                                                          \
    {                                                                                                                            \
        bvec4 counts = bvec4(SEEN(OTHER.x, I), SEEN(OTHER.y, I), SEEN(OTHER.z, I), SEEN(OTHER.w, I));                            \
        vec4 p = exp(P * scale - LSE), x = p * ((E - DELTA) * scale);                                                            \
        P = vec4(counts.x ? p.x : 0.0, counts.y ? p.y : 0.0, counts.z ? p.z : 0.0, counts.w ? p.w : 0.0);                        \
        E = vec4(counts.x ? x.x : 0.0, counts.y ? x.y : 0.0, counts.z ? x.z : 0.0, counts.w ? x.w : 0.0);                        \
    }
#define PAIRS(R, I)                                                                                                              \
    {                                                                                                                            \
        STATS(I)                                                                                                                 \
        ONE(s.R, e.R, other, I, lse_s, delta_s)                                                                                  \
        uvec4 more = other + 4u;                                                                                                 \
        ONE(t.R, f.R, more, I, lse_t, delta_t)                                                                                   \
    }
        PAIRS(r0, 0)
        PAIRS(r1, 1)
        PAIRS(r2, 2)
        PAIRS(r3, 3)
        PAIRS(r4, 4)
        PAIRS(r5, 5)
        PAIRS(r6, 6)
        PAIRS(r7, 7)
#if OF_KEYS
#define ADD(C) ADD_COLUMN(acc, C, READ_Q)
#define ADD_V(C) ADD_COLUMN(acc_v, C, READ_G)
        ADD_PAIRS(s, t, w0, w1, other_n - at_other, ADD_V)
#else
#define ADD(C) ADD_COLUMN(acc, C, READ_K)
#endif
        ADD_PAIRS(e, f, j0, j1, other_n - at_other, ADD)
    }
    uint result_row = outer * own_n * result_apart + inner;
#define WRITE_TO(A, R, C, TO) if (first_own + uint(R) < own_n) TO((result_row + (first_own + uint(R)) * result_apart) * d4 + uint(C)) = A[AT(R, C)];
#define WRITE_COLUMN(A, C, TO)                                                                                                   \
    WRITE_TO(A, 0, C, TO)                                                                                                        \
    WRITE_TO(A, 1, C, TO)                                                                                                        \
    WRITE_TO(A, 2, C, TO)                                                                                                        \
    WRITE_TO(A, 3, C, TO)                                                                                                        \
    WRITE_TO(A, 4, C, TO)                                                                                                        \
    WRITE_TO(A, 5, C, TO)                                                                                                        \
    WRITE_TO(A, 6, C, TO)                                                                                                        \
    WRITE_TO(A, 7, C, TO)
#if OF_KEYS
#define TO_FIRST(i) DK(dk_at + i)
#define TO_SECOND(i) DV(dv_at + i)
#define WRITE_SECOND(C) WRITE_COLUMN(acc_v, C, TO_SECOND)
    EACH_COLUMN(WRITE_SECOND)
#else
#define TO_FIRST(i) result[dq_at + i]
#endif
#define WRITE_FIRST(C) WRITE_COLUMN(acc, C, TO_FIRST)
    EACH_COLUMN(WRITE_FIRST)
}
