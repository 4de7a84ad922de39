#version 310 es
// gemm/direct: c[i][j] = tail(sum_p opa(i, p) opb(p, j) + bias[j]), each invocation ROWS x 4 elements, straight from memory
//
// Order     every element is one running sum over p = 0, 1, 2, ..., in every variant: they differ in speed alone
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 (if BIAS; of i, not of j, if BIAS_OF_ROW)    then those of TAIL    last out c f32
//           SUMS b (with TA): block b, behind the others, out f32 [m]: the sum of each row of op(a), in the order of p
//           c is [m, n]; if SPLIT, [splits, m, n] of partial sums for gemm/sum_splits, split s over p in [s chunk, (s + 1) chunk)
//           BATCH: many such products, c [batches, m, n] (if SPLIT, [splits, batches, m, n]), a and b as the steps say
// Uniforms  m, n, k >= 1; chunk: multiple of 4 (read if SPLIT); bias_step: 1, or 0 for a bias of one element;
//           groups_x, groups_y: groups along x and y before folding (read if FOLD);
//           read if BATCH: batches, in_all = batches * splits; lengths: of the last BATCH batch axes, the innermost first, the outermost not
//           read; step_a, step_b: from one to the next along each, in units of a and b, 0 where they are broadcast
// Groups    (ceil(tiles_n / LX), ceil(tiles_m / LY), ceil(batches * splits / LZ)), tiles_m = ceil(m / ROWS), tiles_n = ceil(n / 4);
//           if FOLD all three are multiplied and folded into x and y, `fold` wide
// Variants  VA: a is read as vec4 across rows of op(a) if TA, else as vec2 along p (vec4 there needs more registers than V3D and
//           Midgard have): its rows, as stored, are a multiple of that long; VB: the same for b; VC: n is a multiple of 4
// Limits    no shared memory; 64 invocations; at most 4 storage blocks
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
#ifndef ROWS
#define ROWS 4 // 4, or 1 for a vector
#endif
#ifndef LX
#define LX 8 // invocations along n, m and the products of a batch, literals for layout(): powers of two with product 64
#define LY 8
#define LZ 1 // 1 without BATCH
#endif
#ifndef BATCH
#define BATCH 0 // batch axes, to 4
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef FOLD
#define FOLD 0
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
#define ALONG ((VA && !TA) || (VB && TB)) // k is even
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY, local_size_z = LZ) in;

#if VA && !TA
layout(std430, binding = 0) readonly buffer A { vec2 a[]; };
#elif VA
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
#else
layout(std430, binding = 0) readonly buffer A { float a[]; };
#endif
#if VB && TB
layout(std430, binding = 1) readonly buffer B { vec2 b[]; };
#elif VB
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
    uint m, n, k, chunk, bias_step, groups_x, groups_y, fold, batches;
    uvec4 lengths, step_a, step_b;
    uint in_all;
};

uint j0;                 // the first of this invocation's columns; those past the end are moved onto the last
uint ra0, ra1, ra2, ra3; // where its rows of op(a) begin in a, in units of a
uint rb0, rb1, rb2, rb3; // where its columns of op(b) begin in b

// Column p of op(a) at our rows, row p of op(b) at our columns.
#if ROWS == 1
#if !VA
float a_at(uint p) { return a[ra0 + p]; } // a vector is stored alike either way
#endif
#elif TA && VA
vec4 a_at(uint p) { return a[p * (m >> 2) + ra0]; }
#elif TA
vec4 a_at(uint p) { return vec4(a[p * m + ra0], a[p * m + ra1], a[p * m + ra2], a[p * m + ra3]); }
#elif !VA
vec4 a_at(uint p) { return vec4(a[ra0 + p], a[ra1 + p], a[ra2 + p], a[ra3 + p]); }
#endif
#if !TB && VB
vec4 b_at(uint p) { return b[p * (n >> 2) + rb0]; }
#elif !TB
vec4 b_at(uint p) { return vec4(b[p * n + rb0], b[p * n + rb1], b[p * n + rb2], b[p * n + rb3]); }
#elif !VB
vec4 b_at(uint p) { return vec4(b[rb0 + p], b[rb1 + p], b[rb2 + p], b[rb3 + p]); }
#endif

#include "gemm/results"
#if !UPDATE
void store(uint z, uint i, vec4 s)
{
    if (i >= m) return;
    s = with_bias(i, j0, s);
    uint at = i * n + j0;
#if SPLIT || BATCH
    at += z * m * n;
#endif
    write4(at, j0, s);
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
#if FOLD
    uint linear = group.y * fold + group.x;
    group.y = linear / groups_x;
    group.x = linear - group.y * groups_x;
    group.z = group.y / groups_y;
    group.y -= group.z * groups_y;
#endif
    uint row = (group.y * uint(LY) + gl_LocalInvocationID.y) * uint(ROWS);
    uint column = (group.x * uint(LX) + gl_LocalInvocationID.x) * 4u;
    if (row >= m || column >= n) return;
    uint z = group.z, split = z;
#if BATCH
    z = z * uint(LZ) + gl_LocalInvocationID.z;
    if (z >= in_all) return;
    split = z / batches;
    uint at_a = 0u, at_b = 0u, rest = z - split * batches;
#include "gemm/batch"
#endif
    j0 = column;
    uint j1 = min(j0 + 1u, n - 1u), j2 = min(j0 + 2u, n - 1u), j3 = min(j0 + 3u, n - 1u);
    uint i1 = min(row + 1u, m - 1u), i2 = min(row + 2u, m - 1u), i3 = min(row + 3u, m - 1u);
#if TA && VA
    ra0 = row >> 2;
#elif TA
    ra0 = row, ra1 = i1, ra2 = i2, ra3 = i3;
#elif VA
    ra0 = row * (k >> 1u), ra1 = i1 * (k >> 1u), ra2 = i2 * (k >> 1u), ra3 = i3 * (k >> 1u);
#else
    ra0 = row * k, ra1 = i1 * k, ra2 = i2 * k, ra3 = i3 * k;
#endif
#if !TB && VB
    rb0 = j0 >> 2;
#elif !TB
    rb0 = j0, rb1 = j1, rb2 = j2, rb3 = j3;
#elif VB
    rb0 = j0 * (k >> 1u), rb1 = j1 * (k >> 1u), rb2 = j2 * (k >> 1u), rb3 = j3 * (k >> 1u);
#else
    rb0 = j0 * k, rb1 = j1 * k, rb2 = j2 * k, rb3 = j3 * k;
#endif
#if SPLIT
    uint p = split * chunk, end = min(p + chunk, k);
#else
    uint p = 0u, end = k;
#endif
#if BATCH
    ra0 += at_a, ra1 += at_a, ra2 += at_a, ra3 += at_a;
    rb0 += at_b, rb1 += at_b, rb2 += at_b, rb3 += at_b;
#endif

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
#if ROWS == 1
#define STEP(A, B) s0 += (A) * (B);
#else
#define STEP(A, B)                                                                                                               \
    {                                                                                                                            \
        vec4 u = A, v = B;                                                                                                       \
        s0 += u.x * v;                                                                                                           \
        s1 += u.y * v;                                                                                                           \
        s2 += u.z * v;                                                                                                           \
        s3 += u.w * v;                                                                                                           \
    }
#endif
#if ALONG
    for (; p < end; p += 2u) {
        uint q = p >> 1u;
#if VA && !TA && ROWS == 1
        vec2 a0 = a[ra0 + q];
#define A_AT(q, d) a0.d
#elif VA && !TA
        vec2 a0 = a[ra0 + q], a1 = a[ra1 + q], a2 = a[ra2 + q], a3 = a[ra3 + q];
#define A_AT(q, d) vec4(a0.d, a1.d, a2.d, a3.d)
#else
#define A_AT(q, d) a_at(p + q)
#endif
#if VB && TB
        vec2 b0 = b[rb0 + q], b1 = b[rb1 + q], b2 = b[rb2 + q], b3 = b[rb3 + q];
#define B_AT(q, d) vec4(b0.d, b1.d, b2.d, b3.d)
#else
#define B_AT(q, d) b_at(p + q)
#endif
        STEP(A_AT(0u, x), B_AT(0u, x))
        STEP(A_AT(1u, y), B_AT(1u, y))
    }
#else
    for (; p < end; p++) STEP(a_at(p), b_at(p))
#endif

#if UPDATE && ROWS == 4
    update_block((z * m + row) * n + j0, n, m - row, n - j0, s0, s1, s2, s3);
#elif UPDATE
    update_block((z * m + row) * n + j0, n, 1u, n - j0, s0, s0, s0, s0);
#else
    store(z, row, s0);
#if ROWS == 4
    store(z, row + 1u, s1);
    store(z, row + 2u, s2);
    store(z, row + 3u, s3);
#endif
#endif
#if SUMS
    /* By one of all those that share the rows, once its own work is done and its registers are free. */
    if (column != 0u) return;
    vec4 sum = vec4(0.0);
    for (p = 0u; p < k; p++) sum += a_at(p);
#if SUMS_UPDATE
    update_sums(row, m - row, sum);
#else
    sums[row] = sum.x;
    if (row + 1u < m) sums[row + 1u] = sum.y;
    if (row + 2u < m) sums[row + 2u] = sum.z;
    if (row + 3u < m) sums[row + 3u] = sum.w;
#endif
#endif
}
