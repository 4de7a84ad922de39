#version 310 es
// gemm/rows: c[j] = tail(sum_p a[p] b[j][p] + bias[j]), a matrix by a vector: 16 invocations share a row of b, so that a group reads
//            memory in one piece, and the device is busy with few rows too; or an invocation has OWN rows to itself, where the invocations of a vector
//            read for themselves anyway (a CPU)
//
// Order     lane t of 16 adds p = t, t + 16, ... (if V4, each of 4 neighbouring p, of which it then adds the four sums); the lanes are added
//           pairwise: fixed by k and the split alone. With OWN the same with one lane
// Bindings  0 in a f32 [k]    1 in b f32 [n, k]    2 in bias f32 (if BIAS)    then those of TAIL    last out c f32 [n]; if SPLIT, [splits, n] of partial sums for
//           gemm/sum_splits, split z over p in [z chunk, (z + 1) chunk)
// Uniforms  n, k >= 1; chunk: multiple of 4 (read if SPLIT); bias_step: 1, or 0 for a bias of one element; fold: groups along x
// Groups    (4 rows each, with OWN 8 OWN, folded into x and y; splits)
// Variants  V4: k is a multiple of 4, a and b are read as vec4
//           OWN: 0, or 1 or 4 rows of an invocation (not with SPLIT)
// Limits    256 bytes shared, with OWN none; 64 invocations, with OWN 8; at most 4 storage blocks
#ifndef V4
#define V4 0
#endif
#ifndef OWN
#define OWN 0
#endif
#ifndef SPLIT
#define SPLIT 0
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
#ifndef UPDATE // 1 or 4: the result is a gradient that updates parameters (optim/rules)
#define UPDATE 0
#endif
precision highp float;
precision highp int;
#if OWN
layout(local_size_x = 8) in;
#else
layout(local_size_x = 16, local_size_y = 4) in;
#endif
#if V4
#define V vec4
#define WIDTH 4u
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
layout(std430, binding = 1) readonly buffer B { vec4 b[]; };
#else
#define V float
#define WIDTH 1u
layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
#endif
#if BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer C { float c[]; };
#endif
layout(std140, binding = 0) uniform Params { uvec3 group_base; uint n, k, chunk, bias_step, fold; };

void store(uint j, uint split, float sum)
{
#if BIAS
    sum += bias[j * bias_step];
#endif
#if SPLIT
    c[split * n + j] = sum;
#elif UPDATE
    update(j, sum);
#else
    c[j] = tail(sum, j);
#endif
}

float total(V s)
{
#if V4
    return (s.x + s.y) + (s.z + s.w);
#else
    return s;
#endif
}

#if OWN
void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint j = ((group.y * fold + group.x) * 8u + gl_LocalInvocationID.x) * uint(OWN), end = k / WIDTH;
    if (j >= n) return;
    uint row0 = j * end;
    V s0 = V(0.0);
#if OWN == 4
    uint row1 = min(j + 1u, n - 1u) * end, row2 = min(j + 2u, n - 1u) * end, row3 = min(j + 3u, n - 1u) * end;
    V s1 = V(0.0), s2 = V(0.0), s3 = V(0.0);
#endif
    for (uint p = 0u; p < end; p++) {
        V x = a[p];
        s0 += x * b[row0 + p];
#if OWN == 4
        s1 += x * b[row1 + p];
        s2 += x * b[row2 + p];
        s3 += x * b[row3 + p];
#endif
    }
    store(j, 0u, total(s0));
#if OWN == 4
    if (j + 1u < n) store(j + 1u, 0u, total(s1));
    if (j + 2u < n) store(j + 2u, 0u, total(s2));
    if (j + 3u < n) store(j + 3u, 0u, total(s3));
#endif
}
#else
shared float sums[64];

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint lane = gl_LocalInvocationID.x, here = gl_LocalInvocationID.y * 16u + lane;
    uint j = (group.y * fold + group.x) * 4u + gl_LocalInvocationID.y;
    V s = V(0.0);
    if (j < n) {
#if SPLIT
        uint p = group.z * chunk, end = min(p + chunk, k) / WIDTH;
        p /= WIDTH;
#else
        uint p = 0u, end = k / WIDTH;
#endif
        uint row = j * (k / WIDTH);
        for (p += lane; p < end; p += 16u) s += a[p] * b[row + p];
    }
    sums[here] = total(s);
    for (uint half_way = 8u; half_way > 0u; half_way >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_way) sums[here] += sums[here + half_way];
    }
    if (lane == 0u && j < n) store(j, group.z, sums[here]);
}
#endif
