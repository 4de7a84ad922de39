#version 310 es
// normalise, lines held in registers: y = (x - mean) * rstd * weight + bias as norm/forward does it, with groups so large that each invocation reads
//           its terms once, all reads on their way together, and keeps them: for GPUs with many multiprocessors and registers
// Lines     x is [outer, a, s, b] in elements of V floats along b; line (outer, s) has n = a * b of them
// Parts     PART 0: a group a line, statistics and result.   PART 1: (mean, sum of squared distances) of each chunk to `partials`
//           [lines, chunks].   PART 2: the result of each chunk; each of its groups puts the partials of its line together, in one
//           order, so that they agree to the bit, and that of chunk 0 writes the statistics
// Method    two passes over what is held: the mean, then the squares of the distances from it (KIND 0); chunks as in norm/finish
// Kinds     as in norm/forward
// Bindings  Each of these macros is the number of its block, or 0 where there is none. Block 0 in: x;  WEIGHT, BIAS in f32: s modulo `groups`
//           Y out f32 as x, may be x: an invocation writes what it alone has read.  STATS out vec2 (mean, variance) [lines]
//           PARTIALS vec2 [lines, chunks], out in PART 1, in in PART 2
// Uniforms  counts in elements: n, chunk_n (n in PART 0), width = b, row = s * b, slab = a * s * b, WG = step_a * b + step_b
// Groups    (lines, 1, chunks) of WG invocations with HELD elements each: WG * HELD >= chunk_n.  FULL 1: equal, and n = chunks * chunk_n
// Limits    WG invocations, 4 * WG + 128 bytes shared
#ifndef PART
#define PART 0
#define WG 256 // a multiple of 32, at most 1024
#define HELD 4
#define V 4
#define FULL 0
#define KIND 0
#define WEIGHT 1
#define BIAS 2
#define Y 3
#define STATS 4
#endif
#ifndef WEIGHT
#define WEIGHT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef Y
#define Y 0
#endif
#ifndef STATS
#define STATS 0
#endif
#ifndef PARTIALS
#define PARTIALS 0
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint lines, inner_lines, n, chunk_n, chunks;
    uint width, row, slab, step_at, step_b;
    uint groups;
    float eps;
};

#if V == 4
#define T vec4
#define TOTAL(v) (((v).x + (v).y) + ((v).z + (v).w))
#define TAILED(v, at) tail4(v, (at) << 2u)
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#if Y
layout(std430, binding = Y) writeonly buffer Result { vec4 y[]; };
#endif
#else
#define T float
#define TOTAL(v) (v)
#define TAILED(v, at) tail(v, at)
layout(std430, binding = 0) readonly buffer X { float x[]; };
#if Y
layout(std430, binding = Y) writeonly buffer Result { float y[]; };
#endif
#endif
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { float weight[]; };
#endif
#if BIAS
layout(std430, binding = BIAS) readonly buffer Bias { float bias[]; };
#endif
#if STATS
layout(std430, binding = STATS) writeonly buffer Stats { vec2 stats[]; };
#endif
#if PARTIALS && PART == 1
layout(std430, binding = PARTIALS) writeonly buffer Partials { vec2 partials[]; };
#elif PARTIALS
layout(std430, binding = PARTIALS) readonly buffer Partials { vec2 partials[]; };
#endif

TAIL
#if PART != 2
shared float tree[WG];
#endif
shared float few[32];

// The sum of `few`, by everyone and in one order.
float sum_of_few()
{
    memoryBarrierShared();
    barrier();
    float a = few[0];
    float b = few[16];
    for (int i = 1; i < 16; i++) {
        a += few[i];
        b += few[16 + i];
    }
    return a + b;
}

#if PART == 2
// The sum of what the first 32 invocations hold. Every invocation calls it.
float group_sum(float value)
{
    barrier(); // everyone has read the last sum
    if (gl_LocalInvocationIndex < 32u) few[gl_LocalInvocationIndex] = value;
    return sum_of_few();
}
#else
// The sum of what all invocations hold.
float group_sum(float value)
{
    uint t = gl_LocalInvocationIndex;
    tree[t] = value;
    memoryBarrierShared();
    barrier();
    if (t < 32u) {
        for (uint i = 32u; i < uint(WG); i += 32u) value += tree[t + i];
        few[t] = value;
    }
    return sum_of_few(); // `tree` is written again behind its barrier, `few` behind one more
}
#endif

#include "norm/rstd"

void main()
{
#include "norm/held_elements"
    T held[HELD];
    for (int i = 0; i < HELD; i++) {
        held[i] = T(0.0);
        if (LIVE(i)) held[i] = x[at[i]];
    }

    float mean = 0.0;
    float variance = 0.0;
#if PART == 2
    float weight_all = float(n) * float(V);
    float weight_chunk = float(chunk_n) * float(V);
    float weight_last = float(n - (chunks - 1u) * chunk_n) * float(V);
#define PARTS for (uint c = t; c < (t < 32u ? chunks : 0u); c += 32u)
#if KIND == 0
    PARTS mean += partials[line * chunks + c].x * (c + 1u == chunks ? weight_last : weight_chunk);
    mean = group_sum(mean) / weight_all;
#endif
    PARTS {
        vec2 p = partials[line * chunks + c];
        float d = p.x - mean;
        variance += p.y + d * d * (c + 1u == chunks ? weight_last : weight_chunk);
    }
    variance = group_sum(variance);
#else
    float terms = float(end - chunk * chunk_n) * float(V);
#if KIND == 0
    {
        T sum = T(0.0);
        for (int i = 0; i < HELD; i++) sum += held[i];
        mean = group_sum(TOTAL(sum)) / terms;
    }
#endif
    {
        T sum = T(0.0);
        for (int i = 0; i < HELD; i++) {
            T d = held[i] - mean;
            if (LIVE(i)) sum += d * d;
        }
        variance = group_sum(TOTAL(sum));
    }
#if PART == 1
    if (t == 0u) partials[line * chunks + chunk] = vec2(mean, variance);
#endif
#endif

#if Y
#if KIND != 2
    variance /= float(n) * float(V);
#endif
    float scale = rstd_of(variance);
    float shift = 0.0;
#if STATS
    if (chunk == 0u && t == 0u) stats[line] = vec2(mean, variance);
#endif
#if WEIGHT
    scale *= weight[s % groups];
#endif
#if BIAS
    shift = bias[s % groups];
#endif
    // The tail's reads come before all writes, which they could not pass: they are on their way together.
    for (int i = 0; i < HELD; i++)
        if (LIVE(i)) held[i] = TAILED((held[i] - mean) * scale + shift, at[i]);
    for (int i = 0; i < HELD; i++)
        if (LIVE(i)) y[at[i]] = held[i];
#endif
}
