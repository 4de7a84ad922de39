#version 310 es
// gemm/sliced: c[i][j] = tail(sum_p opa(i, p) opb(p, j) + bias[j]) where c has few elements and k is long: a group has a small tile of c, BM x BN,
//              and SLICES of invocations that share out k; each invocation 4 MR x 4 elements, straight from memory; then the slices are added
//
// BM = 4 MR TY, BN = 4 TX. No barrier inside the loop over k, and DEPTH blocks of 4 values of p on their way at once: a chain of few, wide reads.
//
// Order     slice s adds up blocks s, s + SLICES, ... of four values of p, each in order of p; then the slices are added in order: fixed by k alone
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 (if BIAS; of i, not of j, if BIAS_OF_ROW)    then those of TAIL    last out c f32
//           SUMS b (with TA): block b, behind the others, out f32 [m]: the sum of each row of op(a), in the same order
//           BATCH: many such products, c [batches, m, n], a and b as the steps say
// Uniforms  m, n, k >= 1; bias_step: 1, or 0 for a bias of one element;
//           batches, lengths, step_a, step_b (read if BATCH): as in gemm/direct, the steps in elements
// Groups    (ceil(n / BN), ceil(m / BM), batches)
// Variants  VA: the rows of a, as stored, are a multiple of 4 long and read as vec4; VB: the same for b; VC: n is a multiple of 4;
//           WHOLE: k is a multiple of 4; EVEN: m and n are multiples of BM and BN
// Limits    TX TY SLICES invocations; 64 TX TY SLICES bytes shared
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 0
#endif
#ifndef VA
#define VA 0
#endif
#ifndef VB
#define VB 0
#endif
#ifndef VC
#define VC 0
#endif
#ifndef WHOLE
#define WHOLE 0
#endif
#ifndef EVEN
#define EVEN 0
#endif
#ifndef TX
#define TX 4 // invocations of a slice along n and m, and slices: literals for layout(), powers of two
#define TY 4
#define SLICES 8
#endif
#ifndef NEAR
#define NEAR 4 // slices whose invocations are neighbours: many where operands lie along k, few where they lie across
#endif
#ifndef MR
#define MR 1 // blocks of four rows of an invocation: 1 or 2
#endif
#ifndef DEPTH
#define DEPTH 1 // blocks of p read at once: 1 or 2
#endif
#ifndef BATCH
#define BATCH 0 // batch axes, to 4
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef BIAS_OF_ROW
#define BIAS_OF_ROW 0
#endif
#ifndef SUMS
#define SUMS 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 2
#endif
#ifndef UPDATE // 1 or 4: the result is a gradient that updates parameters (optim/rules)
#define UPDATE 0
#endif
#ifndef SUMS_UPDATE // the sums do, too
#define SUMS_UPDATE 0
#endif
#define SIZE (TX * TY * SLICES)
precision highp float;
precision highp int;
layout(local_size_x = TX, local_size_y = TY, local_size_z = SLICES) in;

#if VA
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
#else
layout(std430, binding = 0) readonly buffer A { float a[]; };
#endif
#if VB
layout(std430, binding = 1) readonly buffer B { vec4 b[]; };
#else
layout(std430, binding = 1) readonly buffer B { float b[]; };
#endif
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if VC && !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer C { vec4 c[]; };
#elif !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer C { float c[]; };
#endif
#if SUMS && !SUMS_UPDATE
layout(std430, binding = SUMS) writeonly buffer Sums { float sums[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, unused_3, bias_step, unused_0, unused_1, unused_2, batches;
    uvec4 lengths, step_a, step_b;
};

shared vec4 part[4 * TX * TY * SLICES];
// Slice s of sum e: exchanged within eights, so that neighbours along either meet different banks.
#define PART(e, s) part[(e) * uint(SLICES) + ((s) ^ ((e) & 7u & uint(SLICES - 1)))]

#include "gemm/loads"

// A block: p from `at` on, of 4 rows of op(a) (columns of op(b)) from `i` on; x, y, z, w are those of p, p + 1, p + 2, p + 3.
struct Block {
    vec4 x, y, z, w;
};
const Block nothing = Block(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
#if EVEN
#define WITHIN(i, last) (i)
#else
#define WITHIN(i, last) min(i, last)
#endif
#if WHOLE
#define ROW_OF(p) (p)
#define CUT(r, at) // nothing to cut
#else
#define ROW_OF(p) min(p, k - 1u)
// Zeros past the end of k; by selection, since what lies there may be infinite.
#define CUT(r, at)                                                                                                               \
    {                                                                                                                            \
        r.y = at + 1u < k ? r.y : vec4(0.0);                                                                                   \
        r.z = at + 2u < k ? r.z : vec4(0.0);                                                                                   \
        r.w = at + 3u < k ? r.w : vec4(0.0);                                                                                   \
    }
#endif
Block transposed(vec4 r0, vec4 r1, vec4 r2, vec4 r3)
{
    return Block(vec4(r0.x, r1.x, r2.x, r3.x), vec4(r0.y, r1.y, r2.y, r3.y), vec4(r0.z, r1.z, r2.z, r3.z),
                 vec4(r0.w, r1.w, r2.w, r3.w));
}
Block block_a(uint i, uint at)
{
#if TA
    Block r = Block(load_a(at_a + at * m, i, m), load_a(at_a + ROW_OF(at + 1u) * m, i, m),
                    load_a(at_a + ROW_OF(at + 2u) * m, i, m), load_a(at_a + ROW_OF(at + 3u) * m, i, m));
#else
    uint last = m - 1u;
    Block r = transposed(load_a(at_a + WITHIN(i, last) * k, at, k), load_a(at_a + WITHIN(i + 1u, last) * k, at, k),
                         load_a(at_a + WITHIN(i + 2u, last) * k, at, k), load_a(at_a + WITHIN(i + 3u, last) * k, at, k));
#endif
    CUT(r, at)
    return r;
}
Block block_b(uint j, uint at)
{
#if !TB
    Block r = Block(load_b(at_b + at * n, j, n), load_b(at_b + ROW_OF(at + 1u) * n, j, n),
                    load_b(at_b + ROW_OF(at + 2u) * n, j, n), load_b(at_b + ROW_OF(at + 3u) * n, j, n));
#else
    uint last = n - 1u;
    Block r = transposed(load_b(at_b + WITHIN(j, last) * k, at, k), load_b(at_b + WITHIN(j + 1u, last) * k, at, k),
                         load_b(at_b + WITHIN(j + 2u, last) * k, at, k), load_b(at_b + WITHIN(j + 3u, last) * k, at, k));
#endif
    CUT(r, at)
    return r;
}

#if UPDATE == 4
// Of block e of the first four rows of all invocations, or of the second.
uint place_of(uint e, uint first, uvec3 group)
{
    uint i = group.y * uint(4 * MR * TY) + first + e / uint(TX), j = group.x * uint(4 * TX) + e % uint(TX) * 4u;
    return ((group.z * m + min(i, m - 1u)) * n + min(j, n - 4u)) >> 2;
}
#endif

#include "gemm/results"
#if UPDATE == 4
void store4(uint i, uint j, uint z, vec4 s, Fetched kept)
#else
void store4(uint i, uint j, uint z, vec4 s)
#endif
{
#if !EVEN
    if (i >= m || j >= n) return;
#endif
    s = with_bias(i, j, s);
    uint at = i * n + j;
#if BATCH
    at += z * m * n;
#endif
#if UPDATE == 4
    update_fetched(at >> 2, s, kept);
#elif UPDATE
    update_block(at, n, 1u, n - j, s, s, s, s);
#else
    write4(at, j, s);
#endif
}

// The products of one p: column u of op(a), row v of op(b).
#define ROWS(S0, S1, S2, S3, u, v)                                                                                               \
    S0 += u.x * v;                                                                                                               \
    S1 += u.y * v;                                                                                                               \
    S2 += u.z * v;                                                                                                               \
    S3 += u.w * v;
#define ROWS4(S0, S1, S2, S3, u, v)                                                                                              \
    ROWS(S0, S1, S2, S3, u.x, v.x)                                                                                               \
    ROWS(S0, S1, S2, S3, u.y, v.y)                                                                                               \
    ROWS(S0, S1, S2, S3, u.z, v.z)                                                                                               \
    ROWS(S0, S1, S2, S3, u.w, v.w)
#if SUMS
#define TOTAL(T, u) T += ((u.x + u.y) + (u.z + u.w));
#else
#define TOTAL(T, u)
#endif
// A block of p: from `at` on, if that is not past the end.
#if MR == 2
#define READ(A, E, B, at)                                                                                                        \
    Block A = nothing, E = nothing, B = nothing;                                                                                 \
    if (at < k) {                                                                                                              \
        A = block_a(row, at);                                                                                               \
        E = block_a(row + uint(4 * TY), at);                                                                                \
        B = block_b(column, at);                                                                                            \
    }
#define ADD(A, E, B)                                                                                                             \
    ROWS4(s0, s1, s2, s3, A, B)                                                                                                  \
    ROWS4(s4, s5, s6, s7, E, B)                                                                                                  \
    TOTAL(total_0, A)                                                                                                            \
    TOTAL(total_1, E)
#else
#define READ(A, E, B, at)                                                                                                        \
    Block A = nothing, B = nothing;                                                                                              \
    if (at < k) {                                                                                                              \
        A = block_a(row, at);                                                                                               \
        B = block_b(column, at);                                                                                            \
    }
#define ADD(A, E, B)                                                                                                             \
    ROWS4(s0, s1, s2, s3, A, B)                                                                                                  \
    TOTAL(total_0, A)
#endif

vec4 sum_of(uint e)
{
    vec4 sum = PART(e, 0u);
    for (uint s = 1u; s < uint(SLICES); s++) sum += PART(e, s);
    return sum;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationIndex;
    uint of_tile = here / uint(NEAR) % uint(TX * TY), tx = of_tile % uint(TX), ty = of_tile / uint(TX);
    uint slice = here % uint(NEAR) + here / uint(NEAR * TX * TY) * uint(NEAR);
    uint i_first = group.y * uint(4 * MR * TY), j_first = group.x * uint(4 * TX);
    uint row = i_first + ty * 4u, column = j_first + tx * 4u; // and, with MR 2, TY fours of rows further
#if BATCH
    uint rest = group.z;
#include "gemm/batch"
#endif

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
#if MR == 2
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
#endif
#if SUMS
    vec4 total_0 = vec4(0.0), total_1 = vec4(0.0);
#endif
#if UPDATE == 4
    Fetched kept_0, kept_1; // of what this invocation will store
    if (here < uint(4 * TX * TY)) {
        kept_0 = update_fetch(place_of(here, 0u, group));
#if MR == 2
        kept_1 = update_fetch(place_of(here, uint(4 * TY), group));
#endif
    }
#endif
    for (uint next = 4u * slice; next < k; next += uint(4 * SLICES * DEPTH)) {
        READ(a0, e0, b0, next)
#if DEPTH == 2
        READ(a1, e1, b1, next + uint(4 * SLICES))
#endif
        ADD(a0, e0, b0)
#if DEPTH == 2
        ADD(a1, e1, b1)
#endif
    }

    // Four rows of each invocation at a time: all slices share theirs, and then an invocation adds up those of four elements.
    uint mine = ty * uint(4 * TX) + tx;
#define SHARED                                                                                                                   \
    memoryBarrierShared();                                                                                                       \
    barrier();
#if UPDATE == 4
#if SIZE < 4 * TX * TY
#error each invocation stores one block at a time
#endif
#define STORE(first)                                                                                                             \
    SHARED                                                                                                                       \
    if (here < uint(4 * TX * TY))                                                                                                \
        store4(i_first + here / uint(TX) + uint(first), j_first + here % uint(TX) * 4u, group.z, sum_of(here), first == 0 ? kept_0 : kept_1);
#else
#define STORE(first)                                                                                                             \
    SHARED                                                                                                                       \
    for (uint e = here; e < uint(4 * TX * TY); e += uint(SIZE)) {                                                          \
        uint r = e / uint(TX), x = e % uint(TX);                                                                                 \
        store4(i_first + r + uint(first), j_first + x * 4u, group.z, sum_of(e));                                            \
    }
#endif
#define ROWS_SHARED(S0, S1, S2, S3, first)                                                                                       \
    PART(mine, slice) = S0;                                                                                                      \
    PART(mine + uint(TX), slice) = S1;                                                                                           \
    PART(mine + uint(2 * TX), slice) = S2;                                                                                       \
    PART(mine + uint(3 * TX), slice) = S3;                                                                                       \
    STORE(first)
    ROWS_SHARED(s0, s1, s2, s3, 0)
#if MR == 2
    SHARED
    ROWS_SHARED(s4, s5, s6, s7, 4 * TY)
#endif
#if SUMS
    if (group.x == 0u) {
        SHARED
        if (tx == 0u) {
            PART(ty, slice) = total_0;
#if MR == 2
            PART(ty + uint(TY), slice) = total_1;
#endif
        }
        SHARED
        uint i = i_first + 4u * here;
        if (here < uint(MR * TY) && i < m) {
            vec4 sum = sum_of(here);
#if SUMS_UPDATE
            update_sums(i, m - i, sum);
#else
            sums[i] = sum.x;
            if (i + 1u < m) sums[i + 1u] = sum.y;
            if (i + 2u < m) sums[i + 2u] = sum.z;
            if (i + 3u < m) sums[i + 3u] = sum.w;
#endif
        }
    }
#endif
}
