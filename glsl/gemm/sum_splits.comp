#version 310 es
// gemm/sum_splits: y[e] = tail(sum_s part[s][e] + bias[e / inner mod n]), the second pass of a contraction that was split
//
// Order     stripe t of LY adds splits t, t + LY, ...; the stripes are added pairwise: fixed by n_splits alone
// Bindings  0 in part f32 [n_splits, n_elems]    1 in bias f32 (if BIAS)    then those of TAIL    last out y f32 [n_elems]
//           SUMS b: block b, behind y, out f32 [n_sums]: part is [n_splits, n_elems], of which y [n_results] is the first and these follow it
// Uniforms  n_elems, n_splits >= 1; n: length of the bias, inner: neighbours that share an element of it (read if BIAS); bias_step: 1, or 0 for a
//           bias of one element; fold: groups along x; n_results, n_sums (read if SUMS)
// Groups    LX elements each, folded into x and y
// Limits    512 bytes shared; 128 invocations
#ifndef LX
#define LX 16 // elements and stripes of a group, literals for layout(): powers of two with product 128
#define LY 8
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
#ifndef OUT_BINDING // behind the bias and the blocks of the tail
#define OUT_BINDING 1
#endif
#ifndef SUMS
#define SUMS 0
#endif
#ifndef UPDATE // 1: the result is a gradient that updates parameters (optim/rules)
#define UPDATE 0
#endif
#ifndef SUMS_UPDATE // the sums do, too
#define SUMS_UPDATE 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY) in;
layout(std430, binding = 0) readonly buffer Part { float part[]; };
#if BIAS
layout(std430, binding = 1) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
#if SUMS && !SUMS_UPDATE
layout(std430, binding = SUMS) writeonly buffer Sums { float row_sums[]; };
#endif
layout(std140, binding = 0) uniform Params { uvec3 group_base; uint n_elems, n_splits, n, bias_step, fold, inner, n_results, n_sums; };
#if LY > 1
shared float sums[128];
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint stripe = gl_LocalInvocationID.y, here = stripe * uint(LX) + gl_LocalInvocationID.x;
    uint e = (group.y * fold + group.x) * uint(LX) + gl_LocalInvocationID.x;
#if UPDATE
    Fetched kept;
    if (stripe == 0u && e < n_results) kept = update_fetch(e);
#if SUMS_UPDATE
    if (stripe == 0u && e >= n_results && e - n_results < n_sums) kept = sums_fetch(e - n_results);
#endif
#endif
    float sum = 0.0;
    if (e < n_elems)
        for (uint s = stripe; s < n_splits; s += uint(LY)) sum += part[s * n_elems + e];
#if LY > 1
    sums[here] = sum;
    for (uint half_way = uint(LY) / 2u; half_way > 0u; half_way >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (stripe < half_way) sums[here] += sums[here + half_way * uint(LX)];
    }
    sum = sums[here];
#endif
    if (stripe != 0u || e >= n_elems) return;
#if SUMS
    if (e >= n_results) {
#if SUMS_UPDATE
        if (e - n_results < n_sums) sums_fetched(e - n_results, sum, kept);
#else
        if (e - n_results < n_sums) row_sums[e - n_results] = sum;
#endif
        return;
    }
#endif
#if BIAS
    sum += bias[(e / inner % n) * bias_step];
#endif
#if UPDATE
    update_fetched(e, sum, kept);
#else
    y[e] = tail(sum, e);
#endif
}
