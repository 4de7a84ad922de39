#version 310 es
// gemm/tiled: c[i][j] = tail(sum_p opa(i, p) opb(p, j) + bias[j]), 64 x 64 elements for each group, 8 x 8 for each invocation, from 16
//             values of p at a time in shared memory; for GPUs with many registers and fast shared memory
//
// Order     every element is one running sum over p = 0, 1, 2, ..., as in gemm/direct
// Bindings  0 in a f32: [m, k], or [k, m] if TA    1 in b f32: [k, n], or [n, k] if TB    2 in bias f32 (if BIAS)    then those of TAIL    last out c f32
//           c is [m, n]; if SPLIT, [splits, m, n] of partial sums for gemm/sum_splits, split s over p in [s chunk, (s + 1) chunk)
//           BATCH: many such products, c [batches, m, n] (if SPLIT, [splits, batches, m, n]), a and b as the steps say
// Uniforms  m, n, k >= 1; chunk: multiple of 16, or k; bias_step: 1, or 0 for a bias of one element;
//           batches, lengths, step_a, step_b (read if BATCH): as in gemm/direct, the steps in elements
// Groups    (ceil(n / 64), ceil(m / 64), batches * splits)
// Variants  VA: the rows of a, as stored, are a multiple of 4 long and read as vec4; VB: the same for b; VC: n is a multiple of 4
// Limits    8 KiB shared; 64 invocations; about 100 registers
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
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef BATCH
#define BATCH 0 // batch axes, to 4
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 2
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;

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
#if VC
layout(std430, binding = OUT_BINDING) writeonly buffer C { vec4 c[]; };
#else
layout(std430, binding = OUT_BINDING) writeonly buffer C { float c[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint m, n, k, chunk, bias_step, unused_0, unused_1, unused_2, batches;
    uvec4 lengths, step_a, step_b;
};

uint at_a = 0u, at_b = 0u; // where this batch's matrices begin, in elements

shared vec4 tile_a[256]; // [16 of p][64 rows / 4]
shared vec4 tile_b[256]; // [16 of p][64 columns / 4]

// Four neighbours in storage, those past the end repeating the last: elements at .. at + 3 of row `row`, rows `width` long.
#if VA
vec4 load_a(uint row, uint at, uint width) { return a[(at_a + row * width + min(at, width - 4u)) >> 2]; }
#else
vec4 load_a(uint row, uint at, uint width)
{
    uint last = width - 1u, from = at_a + row * width;
    return vec4(a[from + min(at, last)], a[from + min(at + 1u, last)], a[from + min(at + 2u, last)], a[from + min(at + 3u, last)]);
}
#endif
#if VB
vec4 load_b(uint row, uint at, uint width) { return b[(at_b + row * width + min(at, width - 4u)) >> 2]; }
#else
vec4 load_b(uint row, uint at, uint width)
{
    uint last = width - 1u, from = at_b + row * width;
    return vec4(b[from + min(at, last)], b[from + min(at + 1u, last)], b[from + min(at + 2u, last)], b[from + min(at + 3u, last)]);
}
#endif

void store4(uint i, uint j, vec4 s)
{
    if (i >= m || j >= n) return;
#if BIAS
    uint last = n - 1u;
    s += vec4(bias[j * bias_step], bias[min(j + 1u, last) * bias_step], bias[min(j + 2u, last) * bias_step],
              bias[min(j + 3u, last) * bias_step]);
#endif
    uint at = i * n + j;
#if SPLIT || BATCH
    at += (gl_WorkGroupID.z + group_base.z) * m * n;
#endif
#if VC
    c[at >> 2] = tail4(s, at);
#else
    c[at] = tail(s.x, at);
    if (j + 1u < n) c[at + 1u] = tail(s.y, at + 1u);
    if (j + 2u < n) c[at + 2u] = tail(s.z, at + 2u);
    if (j + 3u < n) c[at + 3u] = tail(s.w, at + 3u);
#endif
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint here = gl_LocalInvocationID.x, tx = here & 7u, ty = here >> 3;
    uint row = group.y * 64u + ty * 4u, column = group.x * 64u + tx * 4u; // and 32 further
    uint split = group.z;
#if BATCH
    split = group.z / batches;
    uint rest = group.z - split * batches;
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
    uint begin = split * chunk, end = min(begin + chunk, k);
#else
    uint begin = 0u, end = k;
#endif
    // This invocation moves a block of 4 x 4: rows (columns of b) from `across`, p from `along` of each 16.
    uint across = (here & 15u) * 4u, along = (here >> 4) * 4u;
    uint to = along * 16u + (here & 15u);
    uint i = group.y * 64u + across, j = group.x * 64u + across;

    vec4 s0 = vec4(0.0), s1 = vec4(0.0), s2 = vec4(0.0), s3 = vec4(0.0), s4 = vec4(0.0), s5 = vec4(0.0), s6 = vec4(0.0), s7 = vec4(0.0);
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0), t4 = vec4(0.0), t5 = vec4(0.0), t6 = vec4(0.0), t7 = vec4(0.0);
    for (uint p = begin; p < end; p += 16u) {
        uint at = p + along;
        bvec4 inside = lessThan(uvec4(at, at + 1u, at + 2u, at + 3u), uvec4(end)); // this split's part
        uint last = k - 1u, p0 = min(at, last), p1 = min(at + 1u, last), p2 = min(at + 2u, last), p3 = min(at + 3u, last);
#if TA
        vec4 a0 = load_a(p0, i, m), a1 = load_a(p1, i, m), a2 = load_a(p2, i, m), a3 = load_a(p3, i, m);
#else
        uint r = m - 1u;
        mat4 block = transpose(mat4(load_a(min(i, r), at, k), load_a(min(i + 1u, r), at, k), load_a(min(i + 2u, r), at, k),
                                    load_a(min(i + 3u, r), at, k)));
        vec4 a0 = block[0], a1 = block[1], a2 = block[2], a3 = block[3];
#endif
#if TB
        uint q = n - 1u;
        mat4 other = transpose(mat4(load_b(min(j, q), at, k), load_b(min(j + 1u, q), at, k), load_b(min(j + 2u, q), at, k),
                                    load_b(min(j + 3u, q), at, k)));
        vec4 b0 = other[0], b1 = other[1], b2 = other[2], b3 = other[3];
#else
        vec4 b0 = load_b(p0, j, n), b1 = load_b(p1, j, n), b2 = load_b(p2, j, n), b3 = load_b(p3, j, n);
#endif
        memoryBarrierShared();
        barrier(); // the tiles before are no longer read
        // Zeros past the end; by selection, since what lies there may be infinite.
        tile_a[to] = inside.x ? a0 : vec4(0.0);
        tile_a[to + 16u] = inside.y ? a1 : vec4(0.0);
        tile_a[to + 32u] = inside.z ? a2 : vec4(0.0);
        tile_a[to + 48u] = inside.w ? a3 : vec4(0.0);
        tile_b[to] = inside.x ? b0 : vec4(0.0);
        tile_b[to + 16u] = inside.y ? b1 : vec4(0.0);
        tile_b[to + 32u] = inside.z ? b2 : vec4(0.0);
        tile_b[to + 48u] = inside.w ? b3 : vec4(0.0);
        memoryBarrierShared();
        barrier();
        for (uint d = 0u; d < 256u; d += 16u) {
            vec4 u = tile_a[d + ty], v = tile_a[d + 8u + ty], x = tile_b[d + tx], y = tile_b[d + 8u + tx];
            s0 += u.x * x;
            t0 += u.x * y;
            s1 += u.y * x;
            t1 += u.y * y;
            s2 += u.z * x;
            t2 += u.z * y;
            s3 += u.w * x;
            t3 += u.w * y;
            s4 += v.x * x;
            t4 += v.x * y;
            s5 += v.y * x;
            t5 += v.y * y;
            s6 += v.z * x;
            t6 += v.z * y;
            s7 += v.w * x;
            t7 += v.w * y;
        }
    }

#define STORE(I, S, T)                                                                                                           \
    store4(row + I, column, S);                                                                                                  \
    store4(row + I, column + 32u, T);
    STORE(0u, s0, t0)
    STORE(1u, s1, t1)
    STORE(2u, s2, t2)
    STORE(3u, s3, t3)
    STORE(32u, s4, t4)
    STORE(33u, s5, t5)
    STORE(34u, s6, t6)
    STORE(35u, s7, t7)
}
