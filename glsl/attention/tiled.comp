#version 310 es
// tiled: out[i] = sum_j p[i][j] v[j], p[i] = softmax over the keys j of scale * dot(q[i], k[j]); CAUSAL: over j <= i
// Source    as of attention/forward: Milakov, Gimelshein 2018; Dao and others 2022
// Layout    a group does 16 queries of one head. It brings BK keys and values at a time into shared memory, all reads at once, and everything else is
//           done from there: for GPUs that wait long for memory and have many registers. An invocation makes the scores of four keys, BK / 4 apart, which are
//           one vec4 in shared memory, and BK / (4 COLS) queries; then COLS of them share a query, each with one vec4 column of the sum
// Bindings  JOINT 0: 0 in q f32, 1 in k, 2 in v, 3 out result; JOINT 1: 0 in qkv, 1 out result. LSE 1: last out lse [heads, tq], the logarithm of the sum
//           of a row's exponentials. What is heads here, of all samples, is [samples, between]; q, k, v are [samples, t, apart, d], of which `between` rows
//           count, from q_at, k_at, v_at (in vec4) on; the result is [samples, tq, between, d]
// Uniforms  first_group: of this dispatch, among heads * tiles;  tiles: of 16 queries in a head;  tq, tk, d4 >= 1
// Groups    (heads * tiles - first_group, 1, 1) or fewer
// Limits    16 COLS invocations; shared memory, in bytes: 16 BK (2 COLS + 1) + 256 COLS + 64 (BK + 4)
#ifndef COLS
#define COLS 8 // 4 or 8, at least d4
#endif
#ifndef BK
#define BK 64 // keys at a time: 4 COLS, or twice or four times that
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

#if COLS == 4 // layout() takes no expressions
#define WG 64
#else
#define WG 128
#endif
layout(local_size_x = WG) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint first_group;
    uint tiles;
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

const float LOWEST = -3.402823e38;
const uint STRIDE_K = uint(COLS + 1); // odd, so that neighbouring keys lie in different banks
const uint STRIDE_S = uint(BK / 4 + 1);
const int LOADS = BK / 16;     // vec4 of a tile that an invocation brings
const int OWN = BK / (4 * COLS); // queries of an invocation's scores
const uint QUARTER = uint(BK / 4);

shared vec4 keys[uint(BK) * STRIDE_K];
shared vec4 values[BK * COLS];
shared vec4 queries[16 * COLS];
shared vec4 scores[16u * STRIDE_S]; // [16][BK / 4] of keys j, j + BK / 4, ...; from the exponentials on, those

// A masked score is LOWEST itself. Written so that NaN stays NaN.
float exponential(float score, float m)
{
    return score == LOWEST ? 0.0 : exp(score - m);
}

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint head = group / tiles;
    uint first_q = (group - head * tiles) * 16u;
    uint outer = head / between;
    uint inner = head - outer * between;
    uint q_row = outer * tq * apart + inner;
    uint k_row = outer * tk * apart + inner;
    uint result_row = outer * tq * between + inner;
    uint t = gl_LocalInvocationIndex;
    uint row = t / uint(COLS);
    uint c = t % uint(COLS);
    uint query = first_q + row;
    bool has_column = c < d4;
    uint column = min(c, d4 - 1u);
    queries[t] = has_column ? READ_Q(q_at + (q_row + min(query, tq - 1u) * apart) * d4 + column) : vec4(0.0);
#if CAUSAL
    uint end_k = min(tk, first_q + 16u);
#else
    uint end_k = tk;
#endif
    vec4 acc = vec4(0.0);
    float sum = 0.0;
    float m = LOWEST;

    for (uint first_k = 0u; first_k < end_k; first_k += uint(BK)) {
        vec4 key_in[LOADS];
        vec4 value_in[LOADS];
        for (int i = 0; i < LOADS; i++) {
            uint at = (k_row + min(first_k + row + 16u * uint(i), tk - 1u) * apart) * d4 + column;
            key_in[i] = READ_K(k_at + at);
            value_in[i] = READ_V(v_at + at);
        }
        for (int i = 0; i < LOADS; i++) {
            uint at = row + 16u * uint(i);
            keys[at * STRIDE_K + c] = has_column ? key_in[i] : vec4(0.0);
            values[at * uint(COLS) + c] = has_column && first_k + at < tk ? value_in[i] : vec4(0.0); // 0 by infinity would be NaN
        }
        memoryBarrierShared();
        barrier();
        uint own_k = t % QUARTER;
        uint own_q = t / QUARTER * uint(OWN);
        vec4 s[OWN];
        for (int i = 0; i < OWN; i++) s[i] = vec4(0.0);
        for (uint e = 0u; e < uint(COLS); e++) {
            uint at = own_k * STRIDE_K + e;
            vec4 x0 = keys[at];
            vec4 x1 = keys[at + QUARTER * STRIDE_K];
            vec4 x2 = keys[at + 2u * QUARTER * STRIDE_K];
            vec4 x3 = keys[at + 3u * QUARTER * STRIDE_K];
            for (int i = 0; i < OWN; i++) {
                vec4 y = queries[(own_q + uint(i)) * uint(COLS) + e];
                s[i] += vec4(dot(y, x0), dot(y, x1), dot(y, x2), dot(y, x3));
            }
        }
        uvec4 key = first_k + own_k + uvec4(0u, QUARTER, 2u * QUARTER, 3u * QUARTER);
        for (int i = 0; i < OWN; i++) {
#if CAUSAL
            bvec4 counts = lessThan(key, uvec4(min(tk, first_q + own_q + uint(i) + 1u)));
#else
            bvec4 counts = lessThan(key, uvec4(tk));
#endif
            s[i] *= scale;
            scores[(own_q + uint(i)) * STRIDE_S + own_k] =
                vec4(counts.x ? s[i].x : LOWEST, counts.y ? s[i].y : LOWEST, counts.z ? s[i].z : LOWEST, counts.w ? s[i].w : LOWEST);
        }
        memoryBarrierShared();
        barrier();
        // Every invocation of a query looks for its maximum: they read the same, at once.
        float before = m;
        vec4 most = vec4(m);
        for (uint j = 0u; j < QUARTER; j++) most = max(most, scores[row * STRIDE_S + j]);
        m = max(max(most.x, most.y), max(most.z, most.w));
        float rescale = exp(max(before - m, -200.0)); // 0 for the first keys; the bound keeps infinity out
        barrier(); // all have seen the scores before they go
        for (uint j = c; j < QUARTER; j += uint(COLS)) {
            vec4 x = scores[row * STRIDE_S + j];
            scores[row * STRIDE_S + j] = vec4(exponential(x.x, m), exponential(x.y, m), exponential(x.z, m), exponential(x.w, m));
        }
        memoryBarrierShared();
        barrier();
        acc *= rescale;
        sum *= rescale;
        for (uint j = 0u; j < QUARTER; j++) {
            vec4 p = scores[row * STRIDE_S + j];
            uint at = j * uint(COLS) + c;
            acc += p.x * values[at] + p.y * values[at + QUARTER * uint(COLS)] + p.z * values[at + 2u * QUARTER * uint(COLS)] +
                   p.w * values[at + 3u * QUARTER * uint(COLS)];
            sum += p.x + p.y + p.z + p.w;
        }
        barrier(); // nobody brings the next keys before all are done with these
    }
    if (query >= tq || !has_column) return;
    result[(result_row + query * between) * d4 + c] = acc / sum;
#if LSE
    if (c == 0u) lse[head * tq + query] = m + log(sum);
#endif
}
