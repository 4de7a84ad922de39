#version 310 es
// gemm/quads: c[i][j] = tail(sum_p opa(i, p) opb(p, j) + bias[j]), each invocation 8 x 8 elements, straight from memory four at a time; for CPUs,
//             where a read of four neighbours costs what one of a float does, several multiplications, and sums lie in the cache anyway
//
// Order     every element is one running sum over p = 0, 1, 2, ..., as in gemm/direct
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 (if BIAS; of i, not of j, if
//           BIAS_OF_ROW)    then those of TAIL    last out c f32: [m, n]; if SPLIT, [splits, m, n] of partial sums for gemm/sum_splits, split s over p in
//           [s chunk, (s + 1) chunk)
//           BATCH: many such products, c [batches, m, n] (if SPLIT, [splits, batches, m, n]), a and b as the steps say
// Uniforms  as in gemm/direct, steps in elements; groups_x, groups_y, fold and in_all are not read; last_a, last_b: the last vec4 of a and of b
// Groups    (ceil(m / (8 LY)), ceil(n / (8 LX)), batches * splits): down the rows first, so that what is read of b stays in the cache
// Variants  VA: a is read as vec4, and where it begins in a batch is a multiple of 4. If not TA, k is one. If TA, m is, or k and AT_A = m mod 4
//           says where each row lies; VB: the same for b, with n and AT_B. Whichever needs k to be a multiple of 4 needs chunk to be one, too
//           PACKED_B: b is as gemm/pack leaves it, [n / 64, k, 64] (VB, not TB, not BATCH); PACKED_A: a is, [m / 64, k, 64] (VA and TA, not BATCH)
//           FOURS: k and chunk are multiples of 4, so that four p are one round of the loop: llvmpipe keeps the sums in memory from round to round
// Limits    no shared memory; LX LY invocations; at most 4 storage blocks; 64 sums in each invocation
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
#ifndef FOURS
#define FOURS 0
#endif
#ifndef AT_A
#define AT_A 0
#endif
#ifndef AT_B
#define AT_B 0
#endif
#ifndef PACKED_A
#define PACKED_A 0
#endif
#ifndef PACKED_B
#define PACKED_B 0
#endif
#ifndef LX
#define LX 8 // invocations along n and m
#define LY 4
#define SIZE 32 // LX LY, a literal for layout()
#endif
#ifndef BATCH
#define BATCH 0 // batch axes, to 4
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef BIAS_OF_ROW
#define BIAS_OF_ROW 0
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
#define BY_FOUR (FOURS || (VA && !TA) || (VB && TB) || AT_A || AT_B) // four p at a time
precision highp float;
precision highp int;
layout(local_size_x = SIZE) in; // one axis: its neighbours share a vector of the CPU
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
#if !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer C { float c[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, chunk, bias_step, groups_x, groups_y, fold, batches;
    uvec4 lengths, step_a, step_b;
    uint in_all, last_a, last_b;
};

uint z;      // which product and split
uint column; // our first

#define VC 0 // results are written one by one
#include "gemm/results"
#if !UPDATE
void store(uint i, uint j, vec4 s)
{
    if (i >= m || j >= n) return;
    s = with_bias(i, j, s);
    uint at = (z * m + i) * n + j;
    write4(at, j, s);
}
#else
void store_block(uint i, uint j, vec4 s0, vec4 s1, vec4 s2, vec4 s3)
{
    if (i < m && j < n) update_block((z * m + i) * n + j, n, m - i, n - j, s0, s1, s2, s3);
}
#endif

// Where four rows of op(a) (columns of op(b)) begin, those past the end moved onto the last.
uvec4 four(uint first, uint n_all, uint step) { return min(first + uvec4(0u, 1u, 2u, 3u), uvec4(n_all - 1u)) * step; }

// Eight floats that begin `shift` floats behind the first of X.
#define EIGHT(shift, X, Y, Z, TO0, TO1)                                                                                          \
    TO0 = shift == 0 ? X : shift == 1 ? vec4(X.yzw, Y.x) : shift == 2 ? vec4(X.zw, Y.xy) : vec4(X.w, Y.xyz);                     \
    TO1 = shift == 0 ? Y : shift == 1 ? vec4(Y.yzw, Z.x) : shift == 2 ? vec4(Y.zw, Z.xy) : vec4(Y.w, Z.xyz);

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint row = (group.x * uint(LY) + gl_LocalInvocationID.x / uint(LX)) * 8u;
    column = (group.y * uint(LX) + gl_LocalInvocationID.x % uint(LX)) * 8u;
    if (row >= m || column >= n) return;
    z = group.z;
    uint split = z, at_a = 0u, at_b = 0u;
#if BATCH
    split = z / batches;
    uint rest = z - split * batches;
#include "gemm/batch"
#endif
#if SPLIT
    uint p = split * chunk, end = min(p + chunk, k);
#else
    uint p = 0u, end = k;
#endif

    // Where our rows of op(a) and columns of op(b) begin, in units of a and b.
#if PACKED_A
    uint i0 = (row >> 6) * k * 64u + (row & 63u);
#elif TA && VA
    uint i0 = at_a + row;
#elif TA
    uvec4 i0 = at_a + four(row, m, 1u), i1 = at_a + four(row + 4u, m, 1u);
#elif VA
    uvec4 i0 = (at_a >> 2) + four(row, m, k >> 2), i1 = (at_a >> 2) + four(row + 4u, m, k >> 2);
#else
    uvec4 i0 = at_a + four(row, m, k), i1 = at_a + four(row + 4u, m, k);
#endif
#if PACKED_B
    uint j0 = (column >> 6) * k * 64u + (column & 63u);
#elif !TB && VB
    uint j0 = at_b + column;
#elif !TB
    uvec4 j0 = at_b + four(column, n, 1u), j1 = at_b + four(column + 4u, n, 1u);
#elif VB
    uvec4 j0 = (at_b >> 2) + four(column, n, k >> 2), j1 = (at_b >> 2) + four(column + 4u, n, k >> 2);
#else
    uvec4 j0 = at_b + four(column, n, k), j1 = at_b + four(column + 4u, n, k);
#endif
    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);

    // Column p + D of op(a) at our rows, and row p + D of op(b) at our columns.
#if PACKED_A
#define READ_A(D, S)                                                                                                             \
    uint ai = (i0 + (p + uint(D)) * 64u) >> 2;                                                                                   \
    vec4 u0 = a[ai], u1 = a[ai + 1u];
#elif TA && VA && AT_A
#define READ_A(D, S)                                                                                                             \
    uint ai = (i0 + (p + uint(D)) * m) >> 2;                                                                                     \
    vec4 a0 = a[ai], a1 = a[min(ai + 1u, last_a)], a2 = a1;                                                                      \
    if ((D * AT_A) % 4 != 0) a2 = a[min(ai + 2u, last_a)];                                                                       \
    vec4 u0, u1;                                                                                                                 \
    EIGHT((D * AT_A) % 4, a0, a1, a2, u0, u1)
#elif TA && VA
#define READ_A(D, S)                                                                                                             \
    uint ai = (i0 + (p + uint(D)) * m) >> 2;                                                                                     \
    vec4 u0 = a[ai], u1 = a[min(ai + 1u, last_a)];
#elif TA
#define READ_A(D, S)                                                                                                             \
    uint ai = (p + uint(D)) * m;                                                                                                 \
    vec4 u0 = vec4(a[i0.x + ai], a[i0.y + ai], a[i0.z + ai], a[i0.w + ai]);                                                      \
    vec4 u1 = vec4(a[i1.x + ai], a[i1.y + ai], a[i1.z + ai], a[i1.w + ai]);
#elif VA
#define READ_A(D, S) vec4 u0 = vec4(a0.S, a1.S, a2.S, a3.S), u1 = vec4(a4.S, a5.S, a6.S, a7.S);
#else
#define READ_A(D, S)                                                                                                             \
    uint ai = p + uint(D);                                                                                                       \
    vec4 u0 = vec4(a[i0.x + ai], a[i0.y + ai], a[i0.z + ai], a[i0.w + ai]);                                                      \
    vec4 u1 = vec4(a[i1.x + ai], a[i1.y + ai], a[i1.z + ai], a[i1.w + ai]);
#endif
#if PACKED_B
#define READ_B(D, S)                                                                                                             \
    uint bi = (j0 + (p + uint(D)) * 64u) >> 2;                                                                                   \
    vec4 v0 = b[bi], v1 = b[bi + 1u];
#elif !TB && VB && AT_B
#define READ_B(D, S)                                                                                                             \
    uint bi = (j0 + (p + uint(D)) * n) >> 2;                                                                                     \
    vec4 b0 = b[bi], b1 = b[min(bi + 1u, last_b)], b2 = b1;                                                                      \
    if ((D * AT_B) % 4 != 0) b2 = b[min(bi + 2u, last_b)];                                                                       \
    vec4 v0, v1;                                                                                                                 \
    EIGHT((D * AT_B) % 4, b0, b1, b2, v0, v1)
#elif !TB && VB
#define READ_B(D, S)                                                                                                             \
    uint bi = (j0 + (p + uint(D)) * n) >> 2;                                                                                     \
    vec4 v0 = b[bi], v1 = b[min(bi + 1u, last_b)];
#elif !TB
#define READ_B(D, S)                                                                                                             \
    uint bi = (p + uint(D)) * n;                                                                                                 \
    vec4 v0 = vec4(b[j0.x + bi], b[j0.y + bi], b[j0.z + bi], b[j0.w + bi]);                                                      \
    vec4 v1 = vec4(b[j1.x + bi], b[j1.y + bi], b[j1.z + bi], b[j1.w + bi]);
#elif VB
#define READ_B(D, S) vec4 v0 = vec4(b0.S, b1.S, b2.S, b3.S), v1 = vec4(b4.S, b5.S, b6.S, b7.S);
#else
#define READ_B(D, S)                                                                                                             \
    uint bi = p + uint(D);                                                                                                       \
    vec4 v0 = vec4(b[j0.x + bi], b[j0.y + bi], b[j0.z + bi], b[j0.w + bi]);                                                      \
    vec4 v1 = vec4(b[j1.x + bi], b[j1.y + bi], b[j1.z + bi], b[j1.w + bi]);
#endif
#define STEP(D, S)                                                                                                               \
    {                                                                                                                            \
        READ_A(D, S)                                                                                                             \
        READ_B(D, S)                                                                                                             \
        s0 += u0.x * v0, t0 += u0.x * v1;                                                                                        \
        s1 += u0.y * v0, t1 += u0.y * v1;                                                                                        \
        s2 += u0.z * v0, t2 += u0.z * v1;                                                                                        \
        s3 += u0.w * v0, t3 += u0.w * v1;                                                                                        \
        s4 += u1.x * v0, t4 += u1.x * v1;                                                                                        \
        s5 += u1.y * v0, t5 += u1.y * v1;                                                                                        \
        s6 += u1.z * v0, t6 += u1.z * v1;                                                                                        \
        s7 += u1.w * v0, t7 += u1.w * v1;                                                                                        \
    }
#if BY_FOUR
    for (; p < end; p += 4u) {
        uint q = p >> 2;
#if VA && !TA
        vec4 a0 = a[i0.x + q], a1 = a[i0.y + q], a2 = a[i0.z + q], a3 = a[i0.w + q];
        vec4 a4 = a[i1.x + q], a5 = a[i1.y + q], a6 = a[i1.z + q], a7 = a[i1.w + q];
#endif
#if VB && TB
        vec4 b0 = b[j0.x + q], b1 = b[j0.y + q], b2 = b[j0.z + q], b3 = b[j0.w + q];
        vec4 b4 = b[j1.x + q], b5 = b[j1.y + q], b6 = b[j1.z + q], b7 = b[j1.w + q];
#endif
        STEP(0, x)
        STEP(1, y)
        STEP(2, z)
        STEP(3, w)
    }
#else
    for (; p < end; p++) STEP(0, x)
#endif

#if UPDATE
    store_block(row, column, s0, s1, s2, s3);
    store_block(row, column + 4u, t0, t1, t2, t3);
    store_block(row + 4u, column, s4, s5, s6, s7);
    store_block(row + 4u, column + 4u, t4, t5, t6, t7);
#else
#define STORE(I, S, T)                                                                                                           \
    store(row + I, column, S);                                                                                                   \
    store(row + I, column + 4u, T);
    STORE(0u, s0, t0)
    STORE(1u, s1, t1)
    STORE(2u, s2, t2)
    STORE(3u, s3, t3)
    STORE(4u, s4, t4)
    STORE(5u, s5, t5)
    STORE(6u, s6, t6)
    STORE(7u, s7, t7)
#endif
}
