#version 310 es
// grad: a gradient of attention, the probabilities p recomputed from the rows' logsumexp:
//       p = exp(scale dot(q, k) - lse),  e = scale p (dot(g, v) - delta),  delta = dot(g, out), g the upstream gradient;
//       WANT 0: dq = sum over keys of e k    WANT 1: dk = sum over queries of e q    WANT 2: dv = sum over queries of p g
// Source    Dao and others 2022, FlashAttention, appendix B.2; nothing is added across groups, so there are no atomics
// Layout    a group does OWN rows of one head (of dq: queries, else keys) and takes the others BLOCK at a time: 256 pairs, a 2 x 2
//           block for each invocation; then COLS lanes share a row, each with one vec4 column, and each has ROWS rows. dk and dv in
//           one kernel would save a seventh of the arithmetic, and spill on V3D
// Bindings  PACKED 1: 0 in own   1 in other   2 out result [heads, own_n, d]   all f32
//           of own and other one is qg: q, g, and (lse, delta, unused, unused) for each query; one is kv: k and v; rows of d4 vec4
//           as attention/pack leaves them
//           PACKED 0: 0 in q, 1 in g, 2 in k, 3 in v, 4 in out, 5 in lse, 6 out result: for GPUs with so many blocks, and VEC alone
//           JOINT 1 (and PACKED 0): 0 in qkv [samples, t, apart, d], whose rows hold q, k and v of all heads, 1 in g, then as with PACKED 0
//           WIDE 1: the result is [samples, t, result_apart, d], of which rows from result_first on are written
//           with `between` above 1 what is heads here, of all samples, is [samples, between], and the result, and with PACKED 0
//           what is read but lse, are [samples, t, between, d]
// Uniforms  first_group: of this dispatch, among heads * tiles;  tiles: of OWN rows in a head;  own_n, other_n: rows in a head;
//           own_rows, other_rows: in all heads;  d >= 1;  d4 = ceil(d / 4);  block: BLOCK, not a constant so that compilers leave the
//           loops alone: unrolled they would spill
// Groups    (heads * tiles - first_group, 1, 1) or fewer
// Limits    1024 bytes shared, 64 invocations: Midgard has half the registers beyond
#ifndef COLS
#define COLS 16 // 4 to 64, a power of two, at least d4
#endif
#ifndef ROWS
#define ROWS 2 // even, as OWN has to be
#endif
#ifndef VEC
#define VEC 1 // d is a multiple of 4
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
#ifndef WANT
#define WANT 0
#endif
#ifndef BETWEEN
#define BETWEEN 0 // 1: `between` is not 1
#endif
#if BETWEEN
#define BETWEEN_ROWS between
#else
#define BETWEEN_ROWS 1u
#endif
#ifndef PACKED
#define PACKED 1
#endif
#ifndef JOINT
#define JOINT 0 // 1: with BETWEEN 1
#endif
#ifndef WIDE
#define WIDE 0 // 1: with BETWEEN 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint first_group;
    uint tiles;
    uint own_n;
    uint other_n;
    uint own_rows;
    uint other_rows;
    uint d;
    uint d4;
    uint block;
    float scale;
    uint between; // rows from one of a head to the next
    uint first_column; // COLS 32: vec4 columns before the first lane's
    uint apart;        // JOINT: `between` of qkv
    uint q_at;         // where q, k and v begin there, in vec4
    uint k_at;
    uint v_at;
    uint result_apart; // WIDE: `between` of the result
    uint result_first;
};

#if VEC
#define ELEM vec4
#else
#define ELEM float
#endif
uint own_second, other_second; // where g or v begins, packed
#if PACKED
layout(std430, binding = 0) readonly buffer Own_ { vec4 own[]; };
layout(std430, binding = 1) readonly buffer Other { vec4 other[]; };
layout(std430, binding = 2) writeonly buffer Result { ELEM result[]; };
#define OWN_FIRST(i) own[i]
#define OWN_SECOND(i) own[own_second + (i)]
#define OTHER_FIRST(i) other[i]
#define OTHER_SECOND(i) other[other_second + (i)]
#elif JOINT
layout(std430, binding = 0) readonly buffer Qkv { vec4 qkv[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#if WANT < 2
layout(std430, binding = 2) readonly buffer Out { vec4 result_of[]; };
layout(std430, binding = 3) readonly buffer Lse { float lse[]; };
layout(std430, binding = 4) writeonly buffer Result { ELEM result[]; };
#else
layout(std430, binding = 2) readonly buffer Lse { float lse[]; };
layout(std430, binding = 3) writeonly buffer Result { ELEM result[]; };
#endif
#if WANT
#define OWN_FIRST(i) qkv[k_at + (i)]
#define OWN_SECOND(i) qkv[v_at + (i)]
#define OTHER_FIRST(i) qkv[q_at + (i)]
#define OTHER_SECOND(i) g[i]
#else
#define OWN_FIRST(i) qkv[q_at + (i)]
#define OWN_SECOND(i) g[i]
#define OTHER_FIRST(i) qkv[k_at + (i)]
#define OTHER_SECOND(i) qkv[v_at + (i)]
#endif
#else
layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
layout(std430, binding = 2) readonly buffer K { vec4 k[]; };
#if WANT < 2
layout(std430, binding = 3) readonly buffer V { vec4 v[]; };
layout(std430, binding = 4) readonly buffer Out { vec4 result_of[]; };
layout(std430, binding = 5) readonly buffer Lse { float lse[]; };
layout(std430, binding = 6) writeonly buffer Result { ELEM result[]; };
#else
layout(std430, binding = 3) readonly buffer Lse { float lse[]; };
layout(std430, binding = 4) writeonly buffer Result { ELEM result[]; };
#endif
#if WANT
#define OWN_FIRST(i) k[i]
#define OWN_SECOND(i) v[i]
#define OTHER_FIRST(i) q[i]
#define OTHER_SECOND(i) g[i]
#else
#define OWN_FIRST(i) q[i]
#define OWN_SECOND(i) g[i]
#define OTHER_FIRST(i) k[i]
#define OTHER_SECOND(i) v[i]
#endif
#endif

#if WANT == 2
#define SUMMED(i) OTHER_SECOND(i)
#else
#define SUMMED(i) OTHER_FIRST(i)
#endif

const uint OWN = uint(64 / COLS * ROWS);
const uint BLOCK = 256u / OWN;

shared float pairs[256]; // [OWN][BLOCK]: e, or p

// Products of two own rows, from `a` and `b` on, with two others, from `x` and `y` on: (a, x), (a, y), (b, x), (b, y).
#define PRODUCTS(name, OWN_, OTHER_)                                                                                             \
    vec4 name(uint a, uint b, uint x, uint y)                                                                                    \
    {                                                                                                                            \
        vec4 sum = vec4(0.0);                                                                                                    \
        for (uint i = 0u; i < d4; i++) {                                                                                         \
            vec4 own_a = OWN_(a + i);                                                                                            \
            vec4 own_b = OWN_(b + i);                                                                                            \
            vec4 other_x = OTHER_(x + i);                                                                                        \
            vec4 other_y = OTHER_(y + i);                                                                                        \
            sum += vec4(dot(own_a, other_x), dot(own_a, other_y), dot(own_b, other_x), dot(own_b, other_y));                     \
        }                                                                                                                        \
        return sum;                                                                                                              \
    }
PRODUCTS(products, OWN_FIRST, OTHER_FIRST)
#if WANT < 2
PRODUCTS(second_products, OWN_SECOND, OTHER_SECOND)
#endif

// Of a query, number `at` of `head`, whose row is `row`: lse and delta.
#if !PACKED
float lse_of(uint head, uint at, uint n, uint row) { return lse[head * n + at]; }
#elif WANT
float lse_of(uint head, uint at, uint n, uint row) { return other[2u * other_second + row].x; }
float delta_of(uint row) { return other[2u * other_second + row].y; }
#else
float lse_of(uint head, uint at, uint n, uint row) { return own[2u * own_second + row].x; }
float delta_of(uint row) { return own[2u * own_second + row].y; }
#endif
#if !PACKED && WANT < 2
float delta_of(uint row)
{
    float sum = 0.0;
    for (uint i = row * d4; i < row * d4 + d4; i++) sum += dot(g[i], result_of[i]);
    return sum;
}
#endif

// Whether a pair counts. Own rows past the last need no care, they are not written.
bool counts(uint own_at, uint other_at)
{
#if CAUSAL && WANT
    return other_at < other_n && own_at <= other_at;
#elif CAUSAL
    return other_at < other_n && other_at <= own_at;
#else
    return other_at < other_n;
#endif
}

void main()
{
    uint group = gl_WorkGroupID.x + group_base.x + first_group;
    uint head = group / tiles;
    uint first_own = (group - head * tiles) * OWN;
#if BETWEEN && !PACKED
#if JOINT
#define APART apart
#else
#define APART between
#endif
    uint outer = head / between;
    uint own_row = outer * own_n * APART + head - outer * between; // the first of this head; others follow so many rows apart
    uint other_row = outer * other_n * APART + head - outer * between;
#else
#define APART 1u
    uint own_row = head * own_n;
    uint other_row = head * other_n;
#endif
    // Rows of g, of as many queries as there are keys if JOINT.
#if JOINT
    uint g_row = outer * own_n * between + head - outer * between;
#define OWN_G(row, at) (g_row + (at)*between)
#else
#define OWN_G(row, at) (row)
#endif
#if JOINT && WANT
#define OTHER_G(row, at) (g_row + (at)*between)
#define OWN_2(row, at) (row)
#define OTHER_2(row, at) OTHER_G(row, at)
#else
#define OTHER_G(row, at) (row)
#define OWN_2(row, at) OWN_G(row, at)
#define OTHER_2(row, at) (row)
#endif
#if JOINT && WANT == 2
#define SUMMED_ROW(at) (g_row + (at)*between)
#else
#define SUMMED_ROW(at) (other_row + (at)*APART)
#endif
    uint t = gl_LocalInvocationIndex;
    uint block_own = t % (OWN / 2u) * 2u;
    uint block_other = t / (OWN / 2u) * 2u;
    uint block_at = block_own * BLOCK + block_other;
#if COLS == 32
    uint lane_c = first_column + t % 32u;
#else
    uint lane_c = t % uint(COLS);
#endif
    uint c = min(lane_c, d4 - 1u);
    uint lane_own = t / uint(COLS) * uint(ROWS);
    own_second = own_rows * d4;
    other_second = other_rows * d4;

    uint at_a = min(first_own + block_own, own_n - 1u);
    uint at_b = min(first_own + block_own + 1u, own_n - 1u);
    uint a = own_row + at_a * APART;
    uint b = own_row + at_b * APART;
#if !WANT && !PACKED // else they are read where they are needed: boards lack the registers
    float lse_a = lse_of(head, at_a, own_n, a);
    float lse_b = lse_of(head, at_b, own_n, b);
    float delta_a = delta_of(OWN_G(a, at_a));
    float delta_b = delta_of(OWN_G(b, at_b));
#endif
#if CAUSAL && WANT
    uint first = min(first_own / BLOCK * BLOCK, other_n); // queries before the first key see none of them
    uint end = other_n;
#elif CAUSAL
    uint first = 0u;
    uint end = min(other_n, first_own + OWN);
#else
    uint first = 0u;
    uint end = other_n;
#endif
    vec4 acc[ROWS];
    for (int i = 0; i < ROWS; i++) acc[i] = vec4(0.0);

    for (uint first_other = first; first_other < end; first_other += block) {
        uint at = first_other + block_other;
        uint at_x = min(at, other_n - 1u);
        uint at_y = min(at + 1u, other_n - 1u);
        uint x = other_row + at_x * APART;
        uint y = other_row + at_y * APART;
        vec4 s = products(a * d4, b * d4, x * d4, y * d4) * scale;
#if WANT
        float lse_x = lse_of(head, at_x, other_n, x);
        float lse_y = lse_of(head, at_y, other_n, y);
        s -= vec4(lse_x, lse_y, lse_x, lse_y);
#else
#if PACKED
        float lse_a = lse_of(head, at_a, own_n, a);
        float lse_b = lse_of(head, at_b, own_n, b);
#endif
        s -= vec4(lse_a, lse_a, lse_b, lse_b);
#endif
        uint row = first_own + block_own;
        // p, kept in shared memory while the second products are made: registers are what this kernel is short of.
        pairs[block_at] = counts(row, at) ? exp(s.x) : 0.0;
        pairs[block_at + 1u] = counts(row, at + 1u) ? exp(s.y) : 0.0;
        pairs[block_at + BLOCK] = counts(row + 1u, at) ? exp(s.z) : 0.0;
        pairs[block_at + BLOCK + 1u] = counts(row + 1u, at + 1u) ? exp(s.w) : 0.0;
#if WANT < 2
        vec4 e = second_products(OWN_2(a, at_a) * d4, OWN_2(b, at_b) * d4, OTHER_2(x, at_x) * d4, OTHER_2(y, at_y) * d4);
#if WANT
        float delta_x = delta_of(OTHER_G(x, at_x));
        float delta_y = delta_of(OTHER_G(y, at_y));
        e -= vec4(delta_x, delta_y, delta_x, delta_y);
#else
#if PACKED
        float delta_a = delta_of(a);
        float delta_b = delta_of(b);
#endif
        e -= vec4(delta_a, delta_a, delta_b, delta_b);
#endif
        e *= scale;
        pairs[block_at] *= e.x;
        pairs[block_at + 1u] *= e.y;
        pairs[block_at + BLOCK] *= e.z;
        pairs[block_at + BLOCK + 1u] *= e.w;
#endif
        memoryBarrierShared();
        barrier();
        uint n = min(block, end - first_other);
        for (uint j = 0u; j < n; j++) {
            vec4 value = SUMMED(SUMMED_ROW(first_other + j) * d4 + c);
            for (int i = 0; i < ROWS; i++) acc[i] += pairs[(lane_own + uint(i)) * BLOCK + j] * value;
        }
        memoryBarrierShared();
        barrier(); // nobody overwrites the pairs before all have read
    }
#if WIDE
#define RESULT_APART result_apart
#else
#define RESULT_APART BETWEEN_ROWS
#endif
#if BETWEEN && PACKED
    uint head_now = own_row / own_n;
    uint outer_now = head_now / between;
    uint result_row = outer_now * own_n * RESULT_APART + head_now - outer_now * between;
#elif WIDE || JOINT
    uint outer_now = own_row / (own_n * APART);
    uint result_row = outer_now * own_n * RESULT_APART + own_row - outer_now * own_n * APART;
#else
    uint result_row = own_row;
#endif
#if WIDE
    result_row += result_first;
#endif
    for (int i = 0; i < ROWS; i++) {
        uint row = first_own + lane_own + uint(i);
        if (row >= own_n || lane_c >= d4) continue;
        uint at = result_row + row * RESULT_APART;
#if VEC
        result[at * d4 + c] = acc[i];
#else
        uint column = 4u * c;
        at = at * d + column;
        result[at] = acc[i].x;
        if (column + 1u < d) result[at + 1u] = acc[i].y;
        if (column + 2u < d) result[at + 2u] = acc[i].z;
        if (column + 3u < d) result[at + 3u] = acc[i].w;
#endif
    }
}
