#version 310 es
// gemm/sum_splits: y[e] = tail(sum_s part[s][e] + bias[e / inner mod n]), the second pass of a contraction that was split
//
// Order     stripe t of LY adds splits t, t + LY, ...; the stripes are added pairwise: fixed by n_splits alone
// Bindings  0 in part f32 [n_splits, n_elems]    1 in bias f32 (if BIAS)    then those of TAIL    last out y f32 [n_elems]
//           SUMS b: block b, behind y, out f32 [n_sums]: part is [n_splits, n_elems], of which y [n_results] is the first and these follow it
// Uniforms  n_elems, n_splits >= 1; n: length of the bias, inner: neighbours that share an element of it (read if BIAS); bias_step: 1, or 0 for a
//           bias of one element; fold: groups along x; n_results, n_sums (read if SUMS)
// Groups    LX elements each, folded into x and y
// Variants  V 4: LX times four elements each; n_elems and n_results are multiples of 4
// Limits    512 V bytes shared; 128 invocations
#ifndef LX
#define LX 16 // elements and stripes of a group, literals for layout(): powers of two with product 128
#define LY 8
#endif
#ifndef V
#define V 1 // elements that an invocation adds up: 1 or 4
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
#ifndef UPDATE // V: the result is a gradient that updates parameters (optim/rules)
#define UPDATE 0
#endif
#ifndef SUMS_UPDATE // the sums do, too
#define SUMS_UPDATE 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = LX, local_size_y = LY) in;
#if V == 4
#define ELEM vec4
layout(std430, binding = 0) readonly buffer Part { vec4 part[]; };
#else
#define ELEM float
layout(std430, binding = 0) readonly buffer Part { float part[]; };
#endif
#if BIAS
layout(std430, binding = 1) readonly buffer Bias { float bias[]; };
#endif
TAIL
#if V == 4 && !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer Y { vec4 y[]; };
#elif !UPDATE
layout(std430, binding = OUT_BINDING) writeonly buffer Y { float y[]; };
#endif
#if SUMS && !SUMS_UPDATE
layout(std430, binding = SUMS) writeonly buffer Sums { float row_sums[]; };
#endif
layout(std140, binding = 0) uniform Params { uvec3 group_base; uint n_elems, n_splits, n, bias_step, fold, inner, n_results, n_sums; };
#if LY > 1
shared ELEM sums[128];
#endif

// Element i of the sums, and the next three.
#if SUMS && SUMS_UPDATE
void store_sums(uint i, ELEM sum, Fetched kept)
{
    if (i >= n_sums) return;
#if V == 4
    if (i + 1u >= n_sums) sum.y = 0.0; // behind the last is a gap of zeros
    if (i + 2u >= n_sums) sum.z = 0.0;
    if (i + 3u >= n_sums) sum.w = 0.0;
#endif
    sums_fetched(i / uint(V), sum, kept);
}
#elif SUMS
void store_sums(uint i, ELEM sum)
{
#if V == 4
    if (i < n_sums) row_sums[i] = sum.x;
    if (i + 1u < n_sums) row_sums[i + 1u] = sum.y;
    if (i + 2u < n_sums) row_sums[i + 2u] = sum.z;
    if (i + 3u < n_sums) row_sums[i + 3u] = sum.w;
#else
    if (i < n_sums) row_sums[i] = sum;
#endif
}
#endif
#if BIAS
#define BIAS_AT(i) bias[((i) / inner % n) * bias_step]
ELEM bias_of(uint i)
{
#if V == 4
    return vec4(BIAS_AT(i), BIAS_AT(i + 1u), BIAS_AT(i + 2u), BIAS_AT(i + 3u));
#else
    return BIAS_AT(i);
#endif
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint stripe = gl_LocalInvocationID.y, here = stripe * uint(LX) + gl_LocalInvocationID.x;
    uint e = (group.y * fold + group.x) * uint(LX) + gl_LocalInvocationID.x; // in elements or fours of them
    uint n_here = n_elems / uint(V), n_first = n_results / uint(V);
#if UPDATE
    Fetched kept;
    if (stripe == 0u && e < n_first) kept = update_fetch(e);
#if SUMS_UPDATE
    if (stripe == 0u && e >= n_first && (e - n_first) * uint(V) < n_sums) kept = sums_fetch(e - n_first);
#endif
#endif
    ELEM sum = ELEM(0.0);
    if (e < n_here)
        for (uint s = stripe; s < n_splits; s += uint(LY)) sum += part[s * n_here + e];
#if LY > 1
    sums[here] = sum;
    for (uint half_way = uint(LY) / 2u; half_way > 0u; half_way >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (stripe < half_way) sums[here] += sums[here + half_way * uint(LX)];
    }
    sum = sums[here];
#endif
    if (stripe != 0u || e >= n_here) return;
#if SUMS
    if (e >= n_first) {
#if SUMS_UPDATE
        store_sums((e - n_first) * uint(V), sum, kept);
#else
        store_sums((e - n_first) * uint(V), sum);
#endif
        return;
    }
#endif
#if BIAS
    sum += bias_of(e * uint(V));
#endif
#if UPDATE
    update_fetched(e, sum, kept);
#elif V == 4
    y[e] = tail4(sum, e * 4u);
#else
    y[e] = tail(sum, e);
#endif
}
