#version 310 es
// grad_blocks: gradients of attention, the probabilities p recomputed from the rows' logsumexp:
//       p = exp(scale dot(q, k) - lse),  e = scale p (dot(g, v) - delta),  delta = dot(g, out), g the upstream gradient;
//       OF_KEYS 0: dq = sum over keys of e k    OF_KEYS 1: dk = sum over queries of e q,  dv = sum over queries of p g
// Source    Dao and others 2022, FlashAttention, appendix B.2; nothing is added across groups, so there are no atomics
// Layout    as attention/blocks: a group has 64 queries (OF_KEYS: keys) of one head, its own rows, and takes 64 of the others at a time
// Bindings  JOINT 1: 0 in qkv, 1 in g, 2 in stats; JOINT 0: 0 in q, 1 in k, 2 in v, 3 in g, 4 in stats. Then OF_KEYS 0 or WIDE 1: last out result;
//           OF_KEYS 1 and WIDE 0: out dk, dv. All f32; stats vec2 [heads, tq]: lse, delta (attention/delta); the others as of attention/grad_tiled
// Uniforms  first_group: of this dispatch, among tiles * heads;  heads;  tq, tk, d4 >= 1; the others as of attention/grad_tiled
// Groups    (tiles * heads - first_group, 1, 1) or fewer, tiles of 64 own rows; those that see most others come first
// Limits    TX TY invocations; shared memory, in bytes: 128 TX TY, at least 256 (16 + COLS), which is 16 KiB for 128 and 16 columns
#ifndef COLS
#define COLS 16 // vec4 of a head, at least d4: 8, 16 or 32, TX or twice that
#endif
#ifndef TX
#define TX 16 // invocations along others and columns, and along own rows: 8 or 16
#define TY 8
#define SIZE 128 // TX TY, a literal for layout()
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
#ifndef WIDE
#define WIDE 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = SIZE) in;

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

#include "attention/tile_products"

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint turn = group / heads, head = group - turn * heads;
    uint outer = head / between, inner = head - outer * between;
    uint q_row = outer * tq * apart + inner, k_row = outer * tk * apart + inner, g_row = outer * tq * between + inner;
    uint t = gl_LocalInvocationIndex, lane = t & 31u, warp = t >> 5; // 8 by 4 of each 32, in zigzag, as in gemm/tiled
    uint tx = warp % uint(TX / 8) * 8u + ((lane >> 1) & 7u), ty = warp / uint(TX / 8) * 4u + (((lane >> 4) << 1) | (lane & 1u));
    uint four = t & 15u, column = t >> 4; // of blocks that are brought
#if OF_KEYS
    uint first_own = turn * 64u, own_n = tk, other_n = tq;
#else
    uint first_own = ((tq + 63u) / 64u - 1u - turn) * 64u, own_n = tq, other_n = tk;
#endif
    uint first = 0u, end = other_n;
#if CAUSAL && OF_KEYS
    first = min(first_own, other_n); // queries before the first key see none of them
#elif CAUSAL
    end = min(other_n, first_own + 64u);
#endif
    // First and second: q and g of queries, k and v of keys.
#if OF_KEYS
#define READ_OWN_1(F, C) READ_FOUR(F, READ_K, k_row, apart, k_at, first_own + 4u * four, 1u, tk - 1u, (C) + column)
#define READ_OWN_2(F, C) READ_FOUR(F, READ_V, k_row, apart, v_at, first_own + 4u * four, 1u, tk - 1u, (C) + column)
#define READ_OTHER_1(F, C, AT) READ_FOUR(F, READ_Q, q_row, apart, q_at, (AT) + four, 16u, tq - 1u, (C) + column)
#define READ_OTHER_2(F, C, AT) READ_FOUR(F, READ_G, g_row, between, 0u, (AT) + four, 16u, tq - 1u, (C) + column)
#define READ_ROWS_1(F, AT) READ_ROWS_OF(F, READ_Q, q_row, apart, q_at, AT, tq)
#define READ_ROWS_2(F, AT) READ_ROWS_OF(F, READ_G, g_row, between, 0u, AT, tq)
#else
#define READ_OWN_1(F, C) READ_FOUR(F, READ_Q, q_row, apart, q_at, first_own + 4u * four, 1u, tq - 1u, (C) + column)
#define READ_OWN_2(F, C) READ_FOUR(F, READ_G, g_row, between, 0u, first_own + 4u * four, 1u, tq - 1u, (C) + column)
#define READ_OTHER_1(F, C, AT) READ_FOUR(F, READ_K, k_row, apart, k_at, (AT) + four, 16u, tk - 1u, (C) + column)
#define READ_OTHER_2(F, C, AT) READ_FOUR(F, READ_V, k_row, apart, v_at, (AT) + four, 16u, tk - 1u, (C) + column)
#define READ_ROWS_1(F, AT) READ_ROWS_OF(F, READ_K, k_row, apart, k_at, AT, tk)
    vec4 lse_a, delta_a, lse_b, delta_b;
#define READ_STATS(LSE, DELTA, ROW)                                                                                              \
    {                                                                                                                            \
        uvec4 i = head * tq + min(first_own + 4u * ty + uint(ROW) + uvec4(0u, 1u, 2u, 3u), uvec4(tq - 1u));                      \
        vec2 x = stats[i.x], y = stats[i.y], z = stats[i.z], w = stats[i.w];                                                     \
        LSE = vec4(x.x, y.x, z.x, w.x);                                                                                          \
        DELTA = vec4(x.y, y.y, z.y, w.y);                                                                                        \
    }
    READ_STATS(lse_a, delta_a, 0)
#if EIGHT_ROWS
    READ_STATS(lse_b, delta_b, 4 * TY)
#endif
#endif
    Sums acc0, acc1;
    CLEAR(acc0)
#if TWO_COLUMNS
    CLEAR(acc1)
#endif
#if OF_KEYS
    Sums acc_v0, acc_v1;
    CLEAR(acc_v0)
#if TWO_COLUMNS
    CLEAR(acc_v1)
#endif
#endif

    Four x, y;
    READ_OWN_1(x, 0u)
    READ_OTHER_1(y, 0u, first)
    for (uint at = first; at < end; at += 64u) {
        Sums s, s2, e, e2;
        CLEAR(s)
        CLEAR(e)
#if EIGHT_OTHERS
        CLEAR(s2)
        CLEAR(e2)
#endif
#define WRITE_TILE                                                                                                               \
    barrier(); /* all are done with the tile */                                                                                  \
    write_block(64u * column + four, x);                                                                                         \
    write_block(SECOND + 64u * column + four, y);                                                                                \
    memoryBarrierShared();                                                                                                       \
    barrier();
        for (uint c = 0u; c < d4; c += uint(D4_HERE)) {
            WRITE_TILE
            if (c + uint(D4_HERE) < d4) {
                READ_OWN_1(x, c + uint(D4_HERE))
                READ_OTHER_1(y, c + uint(D4_HERE), at)
            } else {
                READ_OWN_2(x, 0u)
                READ_OTHER_2(y, 0u, at)
            }
            ADD_OTHERS(s, s2)
        }
        for (uint c = 0u; c < d4; c += uint(D4_HERE)) {
            WRITE_TILE
            if (c + uint(D4_HERE) < d4) {
                READ_OWN_2(x, c + uint(D4_HERE))
                READ_OTHER_2(y, c + uint(D4_HERE), at)
            } else {
                READ_ROWS_1(x, at)
#if OF_KEYS
                READ_ROWS_2(y, at)
#endif
            }
            ADD_OTHERS(e, e2)
        }
        // From here on s are the probabilities, and e what belongs to them. Own rows past the last need no care, they are not written.
#if OF_KEYS
#define PAIR(S, E, ROW, LSE, DELTA)                                                                                              \
    {                                                                                                                            \
        bvec4 counts = bvec4(others.x < end && sees(others.x, ROW), others.y < end && sees(others.y, ROW),                       \
                             others.z < end && sees(others.z, ROW), others.w < end && sees(others.w, ROW));                      \
        vec4 p = exp(S * scale - lse_o), x = p * ((E - delta_o) * scale);                                                        \
        S = vec4(counts.x ? p.x : 0.0, counts.y ? p.y : 0.0, counts.z ? p.z : 0.0, counts.w ? p.w : 0.0);                        \
        E = vec4(counts.x ? x.x : 0.0, counts.y ? x.y : 0.0, counts.z ? x.z : 0.0, counts.w ? x.w : 0.0);                        \
    }
#if CAUSAL
#define sees(QUERY, ROW) QUERY >= first_own + 4u * ty + uint(ROW)
#else
#define sees(QUERY, ROW) true
#endif
#define READ_OTHERS                                                                                                              \
    uvec4 i = head * tq + min(others, uvec4(tq - 1u));                                                                           \
    vec2 o0 = stats[i.x], o1 = stats[i.y], o2 = stats[i.z], o3 = stats[i.w];                                                     \
    vec4 lse_o = vec4(o0.x, o1.x, o2.x, o3.x), delta_o = vec4(o0.y, o1.y, o2.y, o3.y);
#else
#define PAIR(S, E, ROW, LSE, DELTA)                                                                                              \
    {                                                                                                                            \
        uint limit = min(end, LAST(ROW));                                                                                        \
        bvec4 counts = lessThan(others, uvec4(limit));                                                                           \
        vec4 p = exp(S * scale - LSE), x = p * ((E - DELTA) * scale);                                                            \
        S = vec4(counts.x ? p.x : 0.0, counts.y ? p.y : 0.0, counts.z ? p.z : 0.0, counts.w ? p.w : 0.0);                        \
        E = vec4(counts.x ? x.x : 0.0, counts.y ? x.y : 0.0, counts.z ? x.z : 0.0, counts.w ? x.w : 0.0);                        \
    }
#if CAUSAL
#define LAST(ROW) first_own + 4u * ty + uint(ROW) + 1u
#else
#define LAST(ROW) end
#endif
#define READ_OTHERS
#endif
#define PAIRS_OF_FOUR(F, E, ROW, LSE, DELTA)                                                                                     \
    PAIR(F.x, E.x, ROW, LSE.x, DELTA.x)                                                                                          \
    PAIR(F.y, E.y, ROW + 1, LSE.y, DELTA.y)                                                                                      \
    PAIR(F.z, E.z, ROW + 2, LSE.z, DELTA.z)                                                                                      \
    PAIR(F.w, E.w, ROW + 3, LSE.w, DELTA.w)
#if EIGHT_ROWS
#define PAIRS(S, E, J)                                                                                                           \
    {                                                                                                                            \
        uvec4 others = uvec4(at + tx + (J)) + uvec4(0u, 16u, 32u, 48u);                                                          \
        READ_OTHERS                                                                                                              \
        PAIRS_OF_FOUR(S.a, E.a, 0, lse_a, delta_a)                                                                               \
        PAIRS_OF_FOUR(S.b, E.b, 4 * TY, lse_b, delta_b)                                                                          \
    }
#else
#define PAIRS(S, E, J)                                                                                                           \
    {                                                                                                                            \
        uvec4 others = uvec4(at + tx + (J)) + uvec4(0u, 16u, 32u, 48u);                                                          \
        READ_OTHERS                                                                                                              \
        PAIRS_OF_FOUR(S.a, E.a, 0, lse_a, delta_a)                                                                               \
    }
#endif
        PAIRS(s, e, 0u)
#if EIGHT_OTHERS
        PAIRS(s2, e2, 8u)
#endif
        for (uint h = 0u; h < uint(64 / OTHERS_HERE); h++) {
            barrier();
            BOTH_OTHERS(PUT_PAIRS, e, e2)
            WRITE_ROWS(x)
            memoryBarrierShared();
            barrier();
            bool more = h + 1u < uint(64 / OTHERS_HERE);
            if (more) {
                READ_ROWS_1(x, at + (h + 1u) * uint(OTHERS_HERE))
            } else if (at + 64u < end) {
                READ_OWN_1(x, 0u)
#if !OF_KEYS
                READ_OTHER_1(y, 0u, at + 64u)
#endif
            }
            ADD_ROWS(acc0, acc1)
#if OF_KEYS
            barrier();
            BOTH_OTHERS(PUT_PAIRS, s, s2)
            WRITE_ROWS(y)
            memoryBarrierShared();
            barrier();
            if (more) {
                READ_ROWS_2(y, at + (h + 1u) * uint(OTHERS_HERE))
            } else if (at + 64u < end) {
                READ_OTHER_1(y, 0u, at + 64u)
            }
            ADD_ROWS(acc_v0, acc_v1)
#endif
        }
    }
    uint row_0 = first_own + 4u * ty, result_row = outer * own_n * result_apart + inner;
#define WRITE_ROW(X, ROW, C, TO)                                                                                                 \
    if (row_0 + uint(ROW) < own_n && tx + (C) < d4) TO((result_row + (row_0 + uint(ROW)) * result_apart) * d4 + tx + (C)) = X;
#define WRITE_FOUR(F, ROW, C, TO)                                                                                                \
    WRITE_ROW(F.x, ROW, C, TO)                                                                                                   \
    WRITE_ROW(F.y, ROW + 1, C, TO)                                                                                               \
    WRITE_ROW(F.z, ROW + 2, C, TO)                                                                                               \
    WRITE_ROW(F.w, ROW + 3, C, TO)
#if EIGHT_ROWS
#define WRITE_ALL(S, C, TO) WRITE_FOUR(S.a, 0, C, TO) WRITE_FOUR(S.b, 4 * TY, C, TO)
#else
#define WRITE_ALL(S, C, TO) WRITE_FOUR(S.a, 0, C, TO)
#endif
#if OF_KEYS
#define TO_FIRST(i) DK(dk_at + i)
#define TO_SECOND(i) DV(dv_at + i)
#else
#define TO_FIRST(i) result[dq_at + i]
#endif
#define WRITE_FIRST(S, C) WRITE_ALL(S, C, TO_FIRST)
#define WRITE_SECOND(S, C) WRITE_ALL(S, C, TO_SECOND)
    BOTH_COLUMNS(WRITE_FIRST, acc0, acc1)
#if OF_KEYS
    BOTH_COLUMNS(WRITE_SECOND, acc_v0, acc_v1)
#endif
}
