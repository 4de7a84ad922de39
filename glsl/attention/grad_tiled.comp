#version 310 es
// grad_tiled: the gradients of attention, all three in one dispatch, the probabilities p recomputed from the rows' logsumexp:
//       p = exp(scale dot(q, k) - lse),  e = scale p (dot(g, v) - delta),  delta = dot(g, out), g the upstream gradient;
//       dq = sum over keys of e k,  dk = sum over queries of e q,  dv = sum over queries of p g
// Source    Dao and others 2022, FlashAttention, appendix B.2; nothing is added across groups, so there are no atomics
// Layout    the first heads * q_tiles groups do ROWS queries of one head each, the others ROWS keys: their own rows. A group brings BK of the other kind
//           at a time into shared memory, all reads at once, and everything else is done from there, as in attention/tiled
// Bindings  JOINT 1: 0 in qkv, 1 in g, 2 in out, 3 in lse; JOINT 0: 0 in q, 1 in k, 2 in v, 3 in g, 4 in out, 5 in lse. Then WIDE 1: out result;
//           WIDE 0: out dq, dk, dv. All f32. What is heads here, of all samples, is [samples, between]; q, k, v are [samples, t, apart, d], of which
//           `between` rows count, from q_at, k_at, v_at (in vec4) on; g and out are [samples, tq, between, d], lse is [heads, tq]; the gradients are
//           [samples, t, result_apart, d], from dq_at, dk_at, dv_at on
// Uniforms  first_group: of this dispatch, among heads * (q_tiles + k_tiles);  q_tiles, k_tiles: of ROWS in a head;  tq, tk, d4 >= 1
// Groups    (heads * (q_tiles + k_tiles) - first_group, 1, 1) or fewer
// Limits    ROWS COLS invocations; shared memory, in bytes: 36 BK (COLS + 1) + 32 ROWS COLS (not if HELD) + 8 ROWS (BK + 4)
#ifndef COLS
#define COLS 8 // 4 or 8, at least d4
#endif
#ifndef BK
#define BK 64 // others at a time, as in attention/tiled
#endif
#define ROWS 16 // own rows
#ifndef HELD
#define HELD 0 // own rows in registers, where BK is 4 COLS
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
#ifndef JOINT
#define JOINT 0
#endif
#ifndef WIDE
#define WIDE 1
#endif
precision highp float;
precision highp int;

#if ROWS * COLS == 64 // layout() takes no expressions
#define WG 64
#else
#define WG 128
#endif
layout(local_size_x = WG) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint first_group;
    uint q_tiles;
    uint k_tiles;
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
layout(std430, binding = 2) readonly buffer Out { vec4 result_of[]; };
layout(std430, binding = 3) readonly buffer Lse { float lse[]; };
#define FIRST 4
#define SECOND 5
#define THIRD 6
#define READ_Q(i) qkv[i]
#define READ_K(i) qkv[i]
#define READ_V(i) qkv[i]
#else
layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer K { vec4 k[]; };
layout(std430, binding = 2) readonly buffer V { vec4 v[]; };
layout(std430, binding = 3) readonly buffer G { vec4 g[]; };
layout(std430, binding = 4) readonly buffer Out { vec4 result_of[]; };
layout(std430, binding = 5) readonly buffer Lse { float lse[]; };
#define FIRST 6
#define SECOND 7
#define THIRD 8
#define READ_Q(i) q[i]
#define READ_K(i) k[i]
#define READ_V(i) v[i]
#endif
#if WIDE
layout(std430, binding = FIRST) writeonly buffer Result { vec4 result[]; };
#define DQ(i) result[i]
#define DK(i) result[i]
#define DV(i) result[i]
#else
layout(std430, binding = FIRST) writeonly buffer Dq { vec4 dq[]; };
layout(std430, binding = SECOND) writeonly buffer Dk { vec4 dk[]; };
layout(std430, binding = THIRD) writeonly buffer Dv { vec4 dv[]; };
#define DQ(i) dq[i]
#define DK(i) dk[i]
#define DV(i) dv[i]
#endif

const uint STRIDE = uint(COLS + 1); // odd, so that neighbouring rows lie in different banks
const uint STRIDE_P = uint(BK / 4 + 1);
const int LOADS = BK / ROWS; // vec4 of a tile that an invocation brings
const int OWN = BK / (4 * COLS); // own rows of an invocation's pairs
const uint QUARTER = uint(BK / 4);

// First and second: q and g of queries, k and v of keys.
#if !HELD
shared vec4 own_first[ROWS * COLS];
shared vec4 own_second[ROWS * COLS];
#endif
shared vec4 other_first[uint(BK) * STRIDE];
shared vec4 other_second[uint(BK) * STRIDE];
shared vec4 e_pairs[uint(ROWS) * STRIDE_P]; // [ROWS own][BK / 4] of others j, j + BK / 4, ...
shared vec4 p_pairs[uint(ROWS) * STRIDE_P];
shared float deltas[uint(BK) * STRIDE]; // of queries, own or others: parts of delta, and lse behind them

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    bool of_keys = group >= heads * q_tiles;
    if (of_keys) group -= heads * q_tiles;
    uint tiles = of_keys ? k_tiles : q_tiles;
    uint head = group / tiles;
    uint first_own = (group - head * tiles) * uint(ROWS);
    uint own_n = of_keys ? tk : tq;
    uint other_n = of_keys ? tq : tk;
    uint outer = head / between;
    uint inner = head - outer * between;
    uint q_row = outer * tq * apart + inner;
    uint k_row = outer * tk * apart + inner;
    uint g_row = outer * tq * between + inner;
    uint t = gl_LocalInvocationIndex;
    uint row = t / uint(COLS);
    uint c = t % uint(COLS);
    bool has_column = c < d4;
    uint column = min(c, d4 - 1u);

    uint own_at = min(first_own + row, own_n - 1u);
#if HELD
    vec4 held_first[COLS];
    vec4 held_second[COLS];
    for (int j = 0; j < COLS; j++) {
        uint from = min(uint(j), d4 - 1u);
        if (of_keys) {
            held_first[j] = READ_K(k_at + (k_row + own_at * apart) * d4 + from);
            held_second[j] = READ_V(v_at + (k_row + own_at * apart) * d4 + from);
        } else {
            held_first[j] = READ_Q(q_at + (q_row + own_at * apart) * d4 + from);
            held_second[j] = g[(g_row + own_at * between) * d4 + from];
        }
        if (uint(j) >= d4) held_first[j] = held_second[j] = vec4(0.0);
    }
    if (!of_keys) {
        uint g_at = (g_row + own_at * between) * d4 + column;
        deltas[row * STRIDE + c] = has_column ? dot(g[g_at], result_of[g_at]) : 0.0;
        if (c == 0u) deltas[row * STRIDE + uint(COLS)] = lse[head * tq + own_at];
    }
#define OWN_FIRST(i, j) held_first[j]
#define OWN_SECOND(i, j) held_second[j]
#else
#define OWN_FIRST(i, j) own_first[(pair_own + uint(i)) * uint(COLS) + uint(j)]
#define OWN_SECOND(i, j) own_second[(pair_own + uint(i)) * uint(COLS) + uint(j)]
    if (of_keys) {
        uint at = (k_row + own_at * apart) * d4 + column;
        own_first[t] = has_column ? READ_K(k_at + at) : vec4(0.0);
        own_second[t] = has_column ? READ_V(v_at + at) : vec4(0.0);
    } else {
        uint g_at = (g_row + own_at * between) * d4 + column;
        vec4 x = READ_Q(q_at + (q_row + own_at * apart) * d4 + column);
        vec4 y = g[g_at];
        vec4 z = result_of[g_at];
        own_first[t] = has_column ? x : vec4(0.0);
        own_second[t] = has_column ? y : vec4(0.0);
        deltas[row * STRIDE + c] = has_column ? dot(y, z) : 0.0;
        if (c == 0u) deltas[row * STRIDE + uint(COLS)] = lse[head * tq + own_at];
    }
#endif
    uint first = 0u;
    uint end = other_n;
#if CAUSAL
    if (of_keys)
        first = min(first_own / uint(BK) * uint(BK), other_n); // queries before the first key see none of them
    else
        end = min(other_n, first_own + uint(ROWS));
#endif
    vec4 acc = vec4(0.0);
    vec4 acc_v = vec4(0.0);

    for (uint first_other = first; first_other < end; first_other += uint(BK)) {
        vec4 x[LOADS];
        vec4 y[LOADS];
        if (of_keys) {
            vec4 z[LOADS];
            for (int i = 0; i < LOADS; i++) {
                uint at = min(first_other + row + uint(ROWS) * uint(i), other_n - 1u);
                uint g_at = (g_row + at * between) * d4 + column;
                x[i] = READ_Q(q_at + (q_row + at * apart) * d4 + column);
                y[i] = g[g_at];
                z[i] = result_of[g_at];
            }
            float l = 0.0;
            if (t < uint(BK)) l = lse[head * tq + min(first_other + t, other_n - 1u)];
            for (int i = 0; i < LOADS; i++)
                deltas[(row + uint(ROWS) * uint(i)) * STRIDE + c] = has_column ? dot(y[i], z[i]) : 0.0;
            if (t < uint(BK)) deltas[t * STRIDE + uint(COLS)] = l;
        } else {
            for (int i = 0; i < LOADS; i++) {
                uint at = (k_row + min(first_other + row + uint(ROWS) * uint(i), other_n - 1u) * apart) * d4 + column;
                x[i] = READ_K(k_at + at);
                y[i] = READ_V(v_at + at);
            }
        }
        for (int i = 0; i < LOADS; i++) {
            uint at = (row + uint(ROWS) * uint(i)) * STRIDE + c;
            other_first[at] = has_column ? x[i] : vec4(0.0);
            other_second[at] = has_column ? y[i] : vec4(0.0);
        }
        memoryBarrierShared();
        barrier();
        uint pair_other = t % QUARTER;
        uint pair_own = t / QUARTER * uint(OWN);
        vec4 s[OWN];
        vec4 e[OWN];
        for (int i = 0; i < OWN; i++) s[i] = e[i] = vec4(0.0);
        for (int j = 0; j < COLS; j++) {
            uint at = pair_other * STRIDE + uint(j);
            vec4 x0 = other_first[at];
            vec4 x1 = other_first[at + QUARTER * STRIDE];
            vec4 x2 = other_first[at + 2u * QUARTER * STRIDE];
            vec4 x3 = other_first[at + 3u * QUARTER * STRIDE];
            for (int i = 0; i < OWN; i++) {
                vec4 w = OWN_FIRST(i, j);
                s[i] += vec4(dot(w, x0), dot(w, x1), dot(w, x2), dot(w, x3));
            }
            x0 = other_second[at];
            x1 = other_second[at + QUARTER * STRIDE];
            x2 = other_second[at + 2u * QUARTER * STRIDE];
            x3 = other_second[at + 3u * QUARTER * STRIDE];
            for (int i = 0; i < OWN; i++) {
                vec4 w = OWN_SECOND(i, j);
                e[i] += vec4(dot(w, x0), dot(w, x1), dot(w, x2), dot(w, x3));
            }
        }
        uvec4 others = pair_other + uvec4(0u, QUARTER, 2u * QUARTER, 3u * QUARTER);
        uvec4 other_at = first_other + others;
        vec4 delta = vec4(0.0);
        vec4 log_sum = vec4(0.0);
        if (of_keys) {
            for (uint j = 0u; j < uint(COLS); j++)
                delta += vec4(deltas[others.x * STRIDE + j], deltas[others.y * STRIDE + j], deltas[others.z * STRIDE + j],
                              deltas[others.w * STRIDE + j]);
            log_sum = vec4(deltas[others.x * STRIDE + uint(COLS)], deltas[others.y * STRIDE + uint(COLS)],
                           deltas[others.z * STRIDE + uint(COLS)], deltas[others.w * STRIDE + uint(COLS)]);
        }
        for (int i = 0; i < OWN; i++) {
            uint at = pair_own + uint(i);
            if (!of_keys) {
                float sum = 0.0;
                for (uint j = 0u; j < uint(COLS); j++) sum += deltas[at * STRIDE + j];
                delta = vec4(sum);
                log_sum = vec4(deltas[at * STRIDE + uint(COLS)]);
            }
            // Own rows past the last need no care, they are not written.
            bvec4 counts = lessThan(other_at, uvec4(other_n));
#if CAUSAL
            uint own = first_own + at;
            bvec4 seen = of_keys ? greaterThanEqual(other_at, uvec4(own)) : lessThanEqual(other_at, uvec4(own));
            counts = bvec4(counts.x && seen.x, counts.y && seen.y, counts.z && seen.z, counts.w && seen.w);
#endif
            vec4 p = exp(s[i] * scale - log_sum);
            p = vec4(counts.x ? p.x : 0.0, counts.y ? p.y : 0.0, counts.z ? p.z : 0.0, counts.w ? p.w : 0.0);
            p_pairs[at * STRIDE_P + pair_other] = p;
            e_pairs[at * STRIDE_P + pair_other] = p * ((e[i] - delta) * scale);
        }
        memoryBarrierShared();
        barrier();
        for (uint j = 0u; j < QUARTER; j++) {
            vec4 p = e_pairs[row * STRIDE_P + j];
            uint at = j * STRIDE + c;
            acc += p.x * other_first[at] + p.y * other_first[at + QUARTER * STRIDE] +
                   p.z * other_first[at + 2u * QUARTER * STRIDE] + p.w * other_first[at + 3u * QUARTER * STRIDE];
        }
        for (uint j = 0u; of_keys && j < QUARTER; j++) {
            vec4 p = p_pairs[row * STRIDE_P + j];
            uint at = j * STRIDE + c;
            acc_v += p.x * other_second[at] + p.y * other_second[at + QUARTER * STRIDE] +
                     p.z * other_second[at + 2u * QUARTER * STRIDE] + p.w * other_second[at + 3u * QUARTER * STRIDE];
        }
        barrier(); // nobody brings the next before all are done with these
    }
    uint at = first_own + row;
    if (at >= own_n || !has_column) return;
    at = ((outer * own_n + at) * result_apart + inner) * d4 + c;
    if (of_keys) {
        DK(dk_at + at) = acc;
        DV(dv_at + at) = acc_v;
    } else {
        DQ(dq_at + at) = acc;
    }
}
