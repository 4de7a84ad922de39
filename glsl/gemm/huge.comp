#version 310 es
// gemm/huge: c[i][j] = tail(sum_p opa(i, p) opb(p, j) + bias[j]), each invocation 16 x 16 elements, straight from memory; for CPUs, where loads
//            cost many times what arithmetic does, and registers lie in the cache anyway
//
// Order     every element is one running sum over p = 0, 1, 2, ..., as in gemm/direct
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 (if BIAS; of i, not of j, if
//           BIAS_OF_ROW)    then those of TAIL    last out c f32: [m, n]; if SPLIT, [splits, m, n] of partial sums for gemm/sum_splits, split s over p in
//           [s chunk, (s + 1) chunk)
//           BATCH: many such products, c [batches, m, n] (if SPLIT, [splits, batches, m, n]), a and b as the steps say
// Uniforms  as in gemm/direct, steps in elements; groups_x, groups_y, fold and in_all are not read
// Groups    (ceil(n / (16 LX)), ceil(m / (16 LY)), batches * splits)
// Limits    no shared memory; LX LY invocations; at most 4 storage blocks; 256 sums in each invocation
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 0
#endif
#ifndef LX
#define LX 4 // invocations along n and m, literals for layout()
#define LY 2
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
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY) in;
layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
layout(std430, binding = OUT_BINDING) writeonly buffer C { float c[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, chunk, bias_step, groups_x, groups_y, fold, batches;
    uvec4 lengths, step_a, step_b;
    uint in_all;
};


uint z; // which product and split

void store(uint i, uint j, vec4 s)
{
    if (i >= m || j >= n) return;
#if BIAS && BIAS_OF_ROW
    s += bias[i * bias_step];
#elif BIAS
    s += vec4(bias[j * bias_step], bias[min(j + 1u, n - 1u) * bias_step], bias[min(j + 2u, n - 1u) * bias_step],
              bias[min(j + 3u, n - 1u) * bias_step]);
#endif
    uint at = (z * m + i) * n + j;
    c[at] = tail(s.x, at);
    if (j + 1u < n) c[at + 1u] = tail(s.y, at + 1u);
    if (j + 2u < n) c[at + 2u] = tail(s.z, at + 2u);
    if (j + 3u < n) c[at + 3u] = tail(s.w, at + 3u);
}

// Where four rows of op(a) (columns of op(b)) begin, those past the end moved onto the last.
uvec4 four(uint first, uint n_all, uint step) { return min(first + uvec4(0u, 1u, 2u, 3u), uvec4(n_all - 1u)) * step; }

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint row = (group.y * uint(LY) + gl_LocalInvocationID.y) * 16u;
    uint column = (group.x * uint(LX) + gl_LocalInvocationID.x) * 16u;
    if (row >= m || column >= n) return;
    z = group.z;
    uint split = z, at_a = 0u, at_b = 0u;
#if BATCH
    split = z / batches;
    uint rest = z - split * batches;
#define AXIS(d)                                                                                                                  \
    {                                                                                                                            \
        uint further = rest / lengths.d;                                                                                         \
        rest -= further * lengths.d;                                                                                             \
        at_a += rest * step_a.d;                                                                                                 \
        at_b += rest * step_b.d;                                                                                                 \
        rest = further;                                                                                                          \
    }
#define LAST(d)                                                                                                                  \
    {                                                                                                                            \
        at_a += rest * step_a.d;                                                                                                 \
        at_b += rest * step_b.d;                                                                                                 \
    }
#if BATCH == 1
    LAST(x)
#elif BATCH == 2
    AXIS(x) LAST(y)
#elif BATCH == 3
    AXIS(x) AXIS(y) LAST(z)
#else
    AXIS(x) AXIS(y) AXIS(z) LAST(w)
#endif
#endif
#if SPLIT
    uint p = split * chunk, end = min(p + chunk, k);
#else
    uint p = 0u, end = k;
#endif
#if TA
#define STEP_I 1u // in a, from one row of op(a) to the next, and from one p to the next
#define STEP_A m
#else
#define STEP_I k
#define STEP_A 1u
#endif
#if TB
#define STEP_J k
#define STEP_B 1u
#else
#define STEP_J 1u
#define STEP_B n
#endif
    uvec4 i0 = at_a + four(row, m, STEP_I), i1 = at_a + four(row + 4u, m, STEP_I), i2 = at_a + four(row + 8u, m, STEP_I),
          i3 = at_a + four(row + 12u, m, STEP_I);
    uvec4 j0 = at_b + four(column, n, STEP_J), j1 = at_b + four(column + 4u, n, STEP_J), j2 = at_b + four(column + 8u, n, STEP_J),
          j3 = at_b + four(column + 12u, n, STEP_J);
    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0);
    vec4 s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 s8 = vec4(0.0), s9 = vec4(0.0), s10 = vec4(0.0), s11 = vec4(0.0);
    vec4 s12 = vec4(0.0), s13 = vec4(0.0), s14 = vec4(0.0), s15 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    vec4 t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);
    vec4 t8 = vec4(0.0), t9 = vec4(0.0), t10 = vec4(0.0), t11 = vec4(0.0);
    vec4 t12 = vec4(0.0), t13 = vec4(0.0), t14 = vec4(0.0), t15 = vec4(0.0);
    vec4 v0 = vec4(0.0), v1 = vec4(0.0), v2 = vec4(0.0), v3 = vec4(0.0);
    vec4 v4 = vec4(0.0), v5 = vec4(0.0), v6 = vec4(0.0), v7 = vec4(0.0);
    vec4 v8 = vec4(0.0), v9 = vec4(0.0), v10 = vec4(0.0), v11 = vec4(0.0);
    vec4 v12 = vec4(0.0), v13 = vec4(0.0), v14 = vec4(0.0), v15 = vec4(0.0);
    vec4 w0 = vec4(0.0), w1 = vec4(0.0), w2 = vec4(0.0), w3 = vec4(0.0);
    vec4 w4 = vec4(0.0), w5 = vec4(0.0), w6 = vec4(0.0), w7 = vec4(0.0);
    vec4 w8 = vec4(0.0), w9 = vec4(0.0), w10 = vec4(0.0), w11 = vec4(0.0);
    vec4 w12 = vec4(0.0), w13 = vec4(0.0), w14 = vec4(0.0), w15 = vec4(0.0);
    for (; p < end; p++) {
        uint q = p * STEP_B, d = p * STEP_A;
        vec4 b0 = vec4(b[j0.x + q], b[j0.y + q], b[j0.z + q], b[j0.w + q]), b1 = vec4(b[j1.x + q], b[j1.y + q], b[j1.z + q], b[j1.w + q]);
        vec4 b2 = vec4(b[j2.x + q], b[j2.y + q], b[j2.z + q], b[j2.w + q]), b3 = vec4(b[j3.x + q], b[j3.y + q], b[j3.z + q], b[j3.w + q]);
#define ROW(I, S, T, V, W)                                                                                                       \
    {                                                                                                                            \
        float u = a[I + d];                                                                                                      \
        S += u * b0;                                                                                                             \
        T += u * b1;                                                                                                             \
        V += u * b2;                                                                                                             \
        W += u * b3;                                                                                                             \
    }
        ROW(i0.x, s0, t0, v0, w0)
        ROW(i0.y, s1, t1, v1, w1)
        ROW(i0.z, s2, t2, v2, w2)
        ROW(i0.w, s3, t3, v3, w3)
        ROW(i1.x, s4, t4, v4, w4)
        ROW(i1.y, s5, t5, v5, w5)
        ROW(i1.z, s6, t6, v6, w6)
        ROW(i1.w, s7, t7, v7, w7)
        ROW(i2.x, s8, t8, v8, w8)
        ROW(i2.y, s9, t9, v9, w9)
        ROW(i2.z, s10, t10, v10, w10)
        ROW(i2.w, s11, t11, v11, w11)
        ROW(i3.x, s12, t12, v12, w12)
        ROW(i3.y, s13, t13, v13, w13)
        ROW(i3.z, s14, t14, v14, w14)
        ROW(i3.w, s15, t15, v15, w15)
    }
#define STORE(I, S, T, V, W)                                                                                                     \
    store(row + I, column, S);                                                                                                   \
    store(row + I, column + 4u, T);                                                                                              \
    store(row + I, column + 8u, V);                                                                                              \
    store(row + I, column + 12u, W);
    STORE(0u, s0, t0, v0, w0)
    STORE(1u, s1, t1, v1, w1)
    STORE(2u, s2, t2, v2, w2)
    STORE(3u, s3, t3, v3, w3)
    STORE(4u, s4, t4, v4, w4)
    STORE(5u, s5, t5, v5, w5)
    STORE(6u, s6, t6, v6, w6)
    STORE(7u, s7, t7, v7, w7)
    STORE(8u, s8, t8, v8, w8)
    STORE(9u, s9, t9, v9, w9)
    STORE(10u, s10, t10, v10, w10)
    STORE(11u, s11, t11, v11, w11)
    STORE(12u, s12, t12, v12, w12)
    STORE(13u, s13, t13, v13, w13)
    STORE(14u, s14, t14, v14, w14)
    STORE(15u, s15, t15, v15, w15)
}
