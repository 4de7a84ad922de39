#version 310 es
// forward: out[i] = sum_j p[i][j] v[j], p[i] = softmax over the keys j of scale * dot(q[i], k[j]); CAUSAL: over j <= i
// Source    the maximum and the sum of a row run along with its keys, so that no row of p is ever stored: Milakov, Gimelshein 2018,
//           Online normalizer calculation for softmax; Dao and others 2022, FlashAttention
// Layout    a group does BQ queries of one head, and takes the keys BK at a time: 256 scores, a 2 x 2 block for each invocation;
//           then COLS lanes share a query, each with one vec4 column of the sum, and each has ROWS queries
// Bindings  PACKED 0: 0 in q f32 [heads, tq, d]   1 in k [heads, tk, d]   2 in v [heads, tk, d]   3 out result [heads, tq, d]
//           PACKED 1: 0 in qkv, q, k and v as attention/pack leaves them   1 out result   LSE 1: last out lse [heads, tq], the
//           logarithm of the sum of a row's exponentials
//           JOINT 1 (and PACKED 0): 0 in qkv f32 [samples, t, apart, d], whose rows hold q, k and v of all heads   1 out result, as with PACKED 1
//           with `between` above 1 what is heads here, of all samples, is [samples, between], and q, k, v (PACKED 0) and the result are
//           [samples, t, between, d]
// Uniforms  first_group: of this dispatch, among heads * tiles;  tiles: of BQ queries in a head;  tq, tk, d >= 1;
//           d4 = ceil(d / 4), d / 4 if not PACKED;  k_at, v_at: where k and v begin in qkv, in vec4, and q_at q, if JOINT;  block: BK, not a constant so that
//           compilers leave the loops alone: unrolled they would spill
// Groups    (heads * tiles - first_group, 1, 1) or fewer
// Limits    1024 + 8 BQ <= 1280 bytes shared, 64 invocations: Midgard has half the registers beyond
#ifndef COLS
#define COLS 16 // 4 to 64, a power of two, at least d4
#endif
#ifndef ROWS
#define ROWS 2 // even, as BQ has to be
#endif
#ifndef VEC
#define VEC 1 // d is a multiple of 4
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
#ifndef PACKED
#define PACKED 0
#endif
#ifndef BETWEEN
#define BETWEEN 0 // 1: `between` is not 1
#endif
#if BETWEEN
#define BETWEEN_ROWS between
#else
#define BETWEEN_ROWS 1u
#endif
#ifndef LSE
#define LSE 0
#endif
#ifndef JOINT
#define JOINT 0 // 1: with BETWEEN 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint first_group;
    uint tiles;
    uint tq;
    uint tk;
    uint d;
    uint d4;
    uint k_at;
    uint v_at;
    uint block;
    float scale;
    uint between; // rows from one of a head to the next
    uint apart;   // the same in qkv, if JOINT
    uint q_at;
};

#if VEC
#define ELEM vec4
#else
#define ELEM float
#endif
#if PACKED || JOINT
layout(std430, binding = 0) readonly buffer Qkv { vec4 qkv[]; };
layout(std430, binding = 1) writeonly buffer Result { ELEM result[]; };
#if LSE
layout(std430, binding = 2) writeonly buffer Lse { float lse[]; };
#endif
#if JOINT
#define READ_Q(i) qkv[q_at + (i)]
#else
#define READ_Q(i) qkv[i]
#endif
#define READ_K(i) qkv[k_at + (i)]
#define READ_V(i) qkv[v_at + (i)]
#else
layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer K { vec4 k[]; };
layout(std430, binding = 2) readonly buffer V { vec4 v[]; };
layout(std430, binding = 3) writeonly buffer Result { ELEM result[]; };
#if LSE
layout(std430, binding = 4) writeonly buffer Lse { float lse[]; };
#endif
#define READ_Q(i) q[i]
#define READ_K(i) k[i]
#define READ_V(i) v[i]
#endif

const uint BQ = uint(64 / COLS * ROWS);
const uint BK = 256u / BQ;
const float LOWEST = -3.402823e38;

shared float scores[256];     // [BQ][BK]; from the exponentials on, those
shared float row_max[BQ];     // so far
shared float row_rescale[BQ]; // what the sums so far shrink by

void write_result(uint row, uint c, vec4 x)
{
#if VEC
    result[row * d4 + c] = x;
#else
    uint i = 4u * c;
    uint at = row * d + i;
    result[at] = x.x;
    if (i + 1u < d) result[at + 1u] = x.y;
    if (i + 2u < d) result[at + 2u] = x.z;
    if (i + 3u < d) result[at + 3u] = x.w;
#endif
}

// A masked score is LOWEST itself. Written so that NaN stays NaN.
float exponential(float score, float m)
{
    return score == LOWEST ? 0.0 : exp(score - m);
}

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint head = group / tiles;
    uint first_q = (group - head * tiles) * BQ;
#if BETWEEN && !PACKED
#if JOINT
#define APART apart
#else
#define APART between
#endif
    uint outer = head / between;
    uint q_row = outer * tq * APART + head - outer * between; // the first of this head; others follow so many rows apart
    uint k_row = outer * tk * APART + head - outer * between;
#else
#define APART 1u
    uint q_row = head * tq;
    uint k_row = head * tk;
#endif
    uint t = gl_LocalInvocationIndex;
    uint block_q = t % (BQ / 2u) * 2u;
    uint block_k = t / (BQ / 2u) * 2u;
    uint block_at = block_q * BK + block_k;
    uint lane_c = t % uint(COLS);
    uint c = min(lane_c, d4 - 1u);
    uint lane_q = t / uint(COLS) * uint(ROWS);

    // Queries past the last do the last one's work again, and keep it to themselves.
    uint q0 = (q_row + min(first_q + block_q, tq - 1u) * APART) * d4;
    uint q1 = (q_row + min(first_q + block_q + 1u, tq - 1u) * APART) * d4;
#if CAUSAL
    uint end_k = min(tk, first_q + BQ);
#else
    uint end_k = tk;
#endif
    vec4 acc[ROWS];
    float sum[ROWS];
    for (int i = 0; i < ROWS; i++) {
        acc[i] = vec4(0.0);
        sum[i] = 0.0;
    }
    if (t < BQ) row_max[t] = LOWEST;

    for (uint first_k = 0u; first_k < end_k; first_k += block) {
        uint key = first_k + block_k;
        uint k0 = (k_row + min(key, tk - 1u) * APART) * d4;
        uint k1 = (k_row + min(key + 1u, tk - 1u) * APART) * d4;
        vec4 s = vec4(0.0); // (q0, k0), (q0, k1), (q1, k0), (q1, k1)
        for (uint i = 0u; i < d4; i++) {
            vec4 a = READ_Q(q0 + i);
            vec4 b = READ_Q(q1 + i);
            vec4 x = READ_K(k0 + i);
            vec4 y = READ_K(k1 + i);
            s += vec4(dot(a, x), dot(a, y), dot(b, x), dot(b, y));
        }
        s *= scale;
#if CAUSAL
        uint query = first_q + block_q;
        s.x = key <= query && key < tk ? s.x : LOWEST;
        s.y = key < query && key + 1u < tk ? s.y : LOWEST;
        s.z = key <= query + 1u && key < tk ? s.z : LOWEST;
        s.w = key <= query && key + 1u < tk ? s.w : LOWEST;
#else
        if (key >= tk) s.xz = vec2(LOWEST);
        if (key + 1u >= tk) s.yw = vec2(LOWEST);
#endif
        scores[block_at] = s.x;
        scores[block_at + 1u] = s.y;
        scores[block_at + BK] = s.z;
        scores[block_at + BK + 1u] = s.w;
        memoryBarrierShared();
        barrier();
        if (t < BQ) {
            float before = row_max[t];
            float m = before;
            for (uint j = 0u; j < block; j++) m = max(m, scores[t * BK + j]);
            row_max[t] = m;
            row_rescale[t] = exp(max(before - m, -200.0)); // 0 for the first keys; the bound keeps infinity out
        }
        memoryBarrierShared();
        barrier();
        // The first keys hold one that is not masked for every query, so a maximum is LOWEST no longer.
        float m0 = row_max[block_q];
        float m1 = row_max[block_q + 1u];
        scores[block_at] = exponential(scores[block_at], m0);
        scores[block_at + 1u] = exponential(scores[block_at + 1u], m0);
        scores[block_at + BK] = exponential(scores[block_at + BK], m1);
        scores[block_at + BK + 1u] = exponential(scores[block_at + BK + 1u], m1);
        memoryBarrierShared();
        barrier();
        for (int i = 0; i < ROWS; i++) {
            float rescale = row_rescale[lane_q + uint(i)];
            acc[i] *= rescale;
            sum[i] *= rescale;
        }
        uint n = min(block, end_k - first_k);
        for (uint j = 0u; j < n; j++) {
            vec4 x = READ_V((k_row + (first_k + j) * APART) * d4 + c);
            for (int i = 0; i < ROWS; i++) {
                float p = scores[(lane_q + uint(i)) * BK + j];
                acc[i] += p * x;
                sum[i] += p;
            }
        }
        memoryBarrierShared();
        barrier(); // nobody overwrites the scores before all have read
    }
    // Made of q_row only here: Midgard has no register to keep more in.
#if BETWEEN && PACKED
    uint head_now = q_row / tq;
    uint outer_now = head_now / between;
    uint result_row = outer_now * tq * between + head_now - outer_now * between, lse_row = q_row;
#elif JOINT
    uint outer_now = q_row / (tq * apart);
    uint head_now = q_row - outer_now * tq * apart;
    uint result_row = outer_now * tq * between + head_now, lse_row = (outer_now * between + head_now) * tq;
#elif BETWEEN
    uint outer_now = q_row / (tq * between);
    uint result_row = q_row, lse_row = (outer_now * between + q_row - outer_now * tq * between) * tq;
#else
    uint result_row = q_row, lse_row = q_row;
#endif
    for (int i = 0; i < ROWS; i++) {
        uint query = first_q + lane_q + uint(i);
        if (query >= tq || lane_c >= d4) continue;
        write_result(result_row + query * BETWEEN_ROWS, c, acc[i] / sum[i]);
#if LSE
        if (lane_c == 0u) lse[lse_row + query] = row_max[lane_q + uint(i)] + log(sum[i]);
#endif
    }
}
