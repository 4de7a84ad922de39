#version 310 es
// gemm/rows: c[j] = tail(sum_p a[p] b[j][p] + bias[j]), a matrix by a vector: 16 invocations share a row of b, so that a group reads
//            memory in one piece, and the device is busy with few rows too
//
// Order     lane t of 16 adds p = t, t + 16, ... (if V4, each of 4 neighbouring p, of which it then adds the four sums); the lanes are added
//           pairwise: fixed by k and the split alone
// Bindings  0 in a f32 [k]    1 in b f32 [n, k]    2 in bias f32 (if BIAS)    then those of TAIL    last out c f32 [n]; if SPLIT, [splits, n] of partial sums for
//           gemm/sum_splits, split z over p in [z chunk, (z + 1) chunk)
// Uniforms  n, k >= 1; chunk: multiple of 4 (read if SPLIT); bias_step: 1, or 0 for a bias of one element; fold: groups along x
// Groups    (4 rows each, folded into x and y; splits)
// Variants  V4: k is a multiple of 4, a and b are read as vec4
// Limits    256 bytes shared; 64 invocations; at most 4 storage blocks
#ifndef V4
#define V4 0
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
layout(local_size_x = 16, local_size_y = 4) in;
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
#if V4
    sums[here] = (s.x + s.y) + (s.z + s.w);
#else
    sums[here] = s;
#endif
    for (uint half_way = 8u; half_way > 0u; half_way >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_way) sums[here] += sums[here + half_way];
    }
    if (lane != 0u || j >= n) return;
    float sum = sums[here];
#if BIAS
    sum += bias[j * bias_step];
#endif
#if SPLIT
    c[group.z * n + j] = sum;
#elif UPDATE
    update(j, sum);
#else
    c[j] = tail(sum, j);
#endif
}
