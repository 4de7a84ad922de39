#version 310 es
// blocks: out[i] = sum_j p[i][j] v[j], p[i] = softmax over the keys j of scale * dot(q[i], k[j]); CAUSAL: over j <= i
// Source    as of attention/forward: Milakov, Gimelshein 2018; Dao and others 2022, FlashAttention
// Layout    a group does 64 queries of one head, 64 keys at a time, both products from tiles in shared memory as in gemm/tiled, each read before the
//           arithmetic of the one before; scores, probabilities and sums are in registers (attention/tile_products)
// Bindings  as of attention/tiled: JOINT 0: 0 in q f32, 1 in k, 2 in v, 3 out result; JOINT 1: 0 in qkv, 1 out result. LSE 1: last out lse [heads, tq]
// Uniforms  first_group: of this dispatch, among tiles * heads;  heads;  tq, tk, d4 >= 1; the others as of attention/tiled
// Groups    (tiles * heads - first_group, 1, 1) or fewer, tiles of 64 queries; those that see most keys come first
// Limits    TX TY invocations; shared memory, in bytes: 128 TX TY, at least 256 (16 + COLS), which is 16 KiB for 128 and 16 columns
#ifndef COLS
#define COLS 16 // vec4 of a head, at least d4: 8, 16 or 32, TX or twice that
#endif
#ifndef TX
#define TX 16 // invocations along keys and columns, and along queries: 8 or 16
#define TY 8
#define SIZE 128 // TX TY, a literal for layout()
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

#include "attention/tile_products"

const float LOWEST = -3.402823e38;

// A masked score is LOWEST itself. Written so that NaN stays NaN.
vec4 exponentials(vec4 s, float m)
{
    vec4 e = exp(s - m);
    return vec4(s.x == LOWEST ? 0.0 : e.x, s.y == LOWEST ? 0.0 : e.y, s.z == LOWEST ? 0.0 : e.z, s.w == LOWEST ? 0.0 : e.w);
}

vec4 greatest(Four f)
{
    vec4 a = max(max(vec4(f.x.x, f.y.x, f.z.x, f.w.x), vec4(f.x.y, f.y.y, f.z.y, f.w.y)), vec4(f.x.z, f.y.z, f.z.z, f.w.z));
    return max(a, vec4(f.x.w, f.y.w, f.z.w, f.w.w));
}

vec4 total(Four f)
{
    return vec4(f.x.x + f.x.y + f.x.z + f.x.w, f.y.x + f.y.y + f.y.z + f.y.w, f.z.x + f.z.y + f.z.z + f.z.w,
                f.w.x + f.w.y + f.w.z + f.w.w);
}

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint turn = group / heads, head = group - turn * heads;
    uint first_q = ((tq + 63u) / 64u - 1u - turn) * 64u;
    uint outer = head / between, inner = head - outer * between;
    uint q_row = outer * tq * apart + inner, k_row = outer * tk * apart + inner;
    uint t = gl_LocalInvocationIndex, lane = t & 31u, warp = t >> 5; // 8 by 4 of each 32, in zigzag, as in gemm/tiled
    uint tx = warp % uint(TX / 8) * 8u + ((lane >> 1) & 7u), ty = warp / uint(TX / 8) * 4u + (((lane >> 4) << 1) | (lane & 1u));
    uint four = t & 15u, column = t >> 4; // of blocks that are brought
#if CAUSAL
    uint end_k = min(tk, first_q + 64u);
#else
    uint end_k = tk;
#endif
    Sums acc0, acc1;
    CLEAR(acc0)
#if TWO_COLUMNS
    CLEAR(acc1)
#endif
    vec4 m_a = vec4(LOWEST), m_b = vec4(LOWEST), sum_a = vec4(0.0), sum_b = vec4(0.0);

    Four from_q, from_k;
#define READ_TILE(C, FIRST_K)                                                                                                    \
    READ_FOUR(from_q, READ_Q, q_row, apart, q_at, first_q + 4u * four, 1u, tq - 1u, (C) + column)                                \
    READ_FOUR(from_k, READ_K, k_row, apart, k_at, (FIRST_K) + four, 16u, tk - 1u, (C) + column)
    READ_TILE(0u, 0u)
    for (uint first_k = 0u; first_k < end_k; first_k += 64u) {
        Sums s, s2;
        CLEAR(s)
#if EIGHT_OTHERS
        CLEAR(s2)
#endif
        Four from_v;
#define READ_ROWS(FIRST) READ_ROWS_OF(from_v, READ_V, k_row, apart, v_at, FIRST, tk)
        for (uint c = 0u; c < d4; c += uint(D4_HERE)) {
            barrier(); // all are done with the tile
            write_block(64u * column + four, from_q);
            write_block(SECOND + 64u * column + four, from_k);
            memoryBarrierShared();
            barrier();
            if (c + uint(D4_HERE) < d4) {
                READ_TILE(c + uint(D4_HERE), first_k)
            } else {
                READ_ROWS(first_k)
            }
            ADD_OTHERS(s, s2)
        }
#define SCALE(F) F.x *= scale, F.y *= scale, F.z *= scale, F.w *= scale;
#if EIGHT_ROWS
#define SCALE_ALL(S, J) SCALE(S.a) SCALE(S.b)
#else
#define SCALE_ALL(S, J) SCALE(S.a)
#endif
        BOTH_OTHERS(SCALE_ALL, s, s2)
#if CAUSAL
        bool masked = first_k + 63u > first_q || first_k + 64u > tk;
#else
        bool masked = first_k + 64u > tk;
#endif
        if (masked) {
            // Only keys before `end` count.
#if CAUSAL
#define END(ROW) min(tk, first_q + 4u * ty + uint(ROW) + 1u)
#else
#define END(ROW) tk
#endif
#define MASK(X, J, ROW)                                                                                                          \
    {                                                                                                                            \
        bvec4 counts = lessThan(uvec4(first_k + tx + (J)) + uvec4(0u, 16u, 32u, 48u), uvec4(END(ROW)));                          \
        X = vec4(counts.x ? X.x : LOWEST, counts.y ? X.y : LOWEST, counts.z ? X.z : LOWEST, counts.w ? X.w : LOWEST);            \
    }
#define MASK_FOUR(F, J, ROW) MASK(F.x, J, ROW) MASK(F.y, J, ROW + 1) MASK(F.z, J, ROW + 2) MASK(F.w, J, ROW + 3)
#if EIGHT_ROWS
#define MASK_ALL(S, J) MASK_FOUR(S.a, J, 0) MASK_FOUR(S.b, J, 4 * TY)
#else
#define MASK_ALL(S, J) MASK_FOUR(S.a, J, 0)
#endif
            BOTH_OTHERS(MASK_ALL, s, s2)
        }
        // The maximum of each row, whose keys TX invocations share.
        barrier();
        vec4 most_a = greatest(s.a), most_b = vec4(LOWEST);
#if EIGHT_OTHERS
        most_a = max(most_a, greatest(s2.a));
#endif
#if EIGHT_ROWS
        most_b = greatest(s.b);
#if EIGHT_OTHERS
        most_b = max(most_b, greatest(s2.b));
#endif
        tile[16u * tx + ty + uint(TY)] = most_b;
#endif
        tile[16u * tx + ty] = most_a;
        memoryBarrierShared();
        barrier();
        most_a = m_a;
        most_b = m_b;
        for (uint x = 0u; x < uint(TX); x++) {
            most_a = max(most_a, tile[16u * x + ty]);
#if EIGHT_ROWS
            most_b = max(most_b, tile[16u * x + ty + uint(TY)]);
#endif
        }
        vec4 rescale_a = exp(max(m_a - most_a, vec4(-200.0))), rescale_b = exp(max(m_b - most_b, vec4(-200.0))); // 0 for the first keys; the bound keeps infinity out
        m_a = most_a;
        m_b = most_b;
#define EXP_FOUR(F, M)                                                                                                           \
    F.x = exponentials(F.x, M.x), F.y = exponentials(F.y, M.y), F.z = exponentials(F.z, M.z), F.w = exponentials(F.w, M.w);
#define TIMES(F, R) F.x *= R.x, F.y *= R.y, F.z *= R.z, F.w *= R.w;
        sum_a *= rescale_a;
#if EIGHT_ROWS
        sum_b *= rescale_b;
#define EXP_ALL(S, J)                                                                                                            \
    EXP_FOUR(S.a, m_a)                                                                                                           \
    EXP_FOUR(S.b, m_b)                                                                                                           \
    sum_a += total(S.a);                                                                                                         \
    sum_b += total(S.b);
#define TIMES_ALL(S, C) TIMES(S.a, rescale_a) TIMES(S.b, rescale_b)
#else
#define EXP_ALL(S, J)                                                                                                            \
    EXP_FOUR(S.a, m_a)                                                                                                           \
    sum_a += total(S.a);
#define TIMES_ALL(S, C) TIMES(S.a, rescale_a)
#endif
        BOTH_OTHERS(EXP_ALL, s, s2)
        BOTH_COLUMNS(TIMES_ALL, acc0, acc1)
        for (uint h = 0u; h < uint(64 / OTHERS_HERE); h++) {
            barrier();
            BOTH_OTHERS(PUT_PAIRS, s, s2)
            WRITE_ROWS(from_v)
            memoryBarrierShared();
            barrier();
            if (h + 1u < uint(64 / OTHERS_HERE)) {
                READ_ROWS(first_k + (h + 1u) * uint(OTHERS_HERE))
            } else if (first_k + 64u < end_k) {
                READ_TILE(0u, first_k + 64u)
            }
            ADD_ROWS(acc0, acc1)
        }
    }
    // Sums of rows, over the invocations that share them.
    barrier();
    tile[16u * tx + ty] = sum_a;
#if EIGHT_ROWS
    tile[16u * tx + ty + uint(TY)] = sum_b;
#endif
    memoryBarrierShared();
    barrier();
    sum_a = sum_b = vec4(0.0);
    for (uint x = 0u; x < uint(TX); x++) {
        sum_a += tile[16u * x + ty];
#if EIGHT_ROWS
        sum_b += tile[16u * x + ty + uint(TY)];
#endif
    }
    uint row_0 = first_q + 4u * ty, result_row = outer * tq * between + inner;
#define WRITE_ROW(X, ROW, C, SUM)                                                                                                \
    if (row_0 + uint(ROW) < tq && tx + (C) < d4)                                                                                 \
        result[(result_row + (row_0 + uint(ROW)) * between) * d4 + tx + (C)] = X / SUM;
#define WRITE_FOUR(F, ROW, C, SUM)                                                                                               \
    WRITE_ROW(F.x, ROW, C, SUM.x)                                                                                                \
    WRITE_ROW(F.y, ROW + 1, C, SUM.y)                                                                                            \
    WRITE_ROW(F.z, ROW + 2, C, SUM.z)                                                                                            \
    WRITE_ROW(F.w, ROW + 3, C, SUM.w)
#if EIGHT_ROWS
#define WRITE_ALL(S, C) WRITE_FOUR(S.a, 0, C, sum_a) WRITE_FOUR(S.b, 4 * TY, C, sum_b)
#else
#define WRITE_ALL(S, C) WRITE_FOUR(S.a, 0, C, sum_a)
#endif
    BOTH_COLUMNS(WRITE_ALL, acc0, acc1)
#if LSE
    if (tx != 0u) return;
#define WRITE_LSE(ROW, M, SUM)                                                                                                   \
    if (row_0 + uint(ROW) < tq) lse[head * tq + row_0 + uint(ROW)] = M + log(SUM);
#define WRITE_LSES(ROW, M, SUM)                                                                                                  \
    WRITE_LSE(ROW, M.x, SUM.x)                                                                                                   \
    WRITE_LSE(ROW + 1, M.y, SUM.y)                                                                                               \
    WRITE_LSE(ROW + 2, M.z, SUM.z)                                                                                               \
    WRITE_LSE(ROW + 3, M.w, SUM.w)
    WRITE_LSES(0, m_a, sum_a)
#if EIGHT_ROWS
    WRITE_LSES(4 * TY, m_b, sum_b)
#endif
#endif
}
