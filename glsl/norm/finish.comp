#version 310 es
// finish: what the chunks of a line found, put together. One line for each group.
// Works     WORK 0: (mean, sum of squared distances) of the chunks to the line's statistics: the mean of means weighted by their counts,
//           then the squares with the distances of those means from it. The result is STATS vec2 (mean, variance); KIND 2: (0, sum)
//           WORK 1: (sum g' h, sum g') of the chunks: the sums to DGAMMA and DBETA, and COEFS vec4 (a, b, c, mean) for norm/grad PART 2
// Kinds     as in norm/forward and norm/grad
// Bindings  Each of these macros is the number of its block, or 0 where there is none. Block 0 in: partials vec2 [lines, chunks]
//           STATS vec2 [lines]: out in WORK 0, in in WORK 1.  WEIGHT in f32: the line's is s modulo `groups`
//           COEFS out vec4 [lines].  DGAMMA, DBETA out f32 [lines]
// Uniforms  n: terms of a line; chunk_n: of each chunk but the last; inner_lines: s = line modulo this
// Groups    lines, folded over x and y
// Limits    512 bytes shared, 64 invocations
#ifndef WORK
#define WORK 1
#define KIND 0
#define STATS 1
#define WEIGHT 2
#define COEFS 3
#endif
#ifndef STATS
#define STATS 0
#endif
#ifndef WEIGHT
#define WEIGHT 0
#endif
#ifndef COEFS
#define COEFS 0
#endif
#ifndef DGAMMA
#define DGAMMA 0
#endif
#ifndef DBETA
#define DBETA 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint lines, chunks, chunk_n, n;
    uint inner_lines, groups;
    float eps;
};

layout(std430, binding = 0) readonly buffer Partials { vec2 partials[]; };
#if WORK == 0
layout(std430, binding = STATS) writeonly buffer Stats { vec2 stats[]; };
#elif STATS
layout(std430, binding = STATS) readonly buffer Stats { vec2 stats[]; };
#endif
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { float weight[]; };
#endif
#if COEFS
layout(std430, binding = COEFS) writeonly buffer Coefs { vec4 coefs[]; };
#endif
#if DGAMMA
layout(std430, binding = DGAMMA) writeonly buffer Dgamma { float dgamma[]; };
#endif
#if DBETA
layout(std430, binding = DBETA) writeonly buffer Dbeta { float dbeta[]; };
#endif

shared vec2 tree[64];

vec2 sum_of(vec2 value)
{
    uint t = gl_LocalInvocationIndex;
    tree[t] = value;
    for (uint half_n = 32u; half_n > 0u; half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) tree[t] += tree[t + half_n];
    }
    memoryBarrierShared();
    barrier();
    value = tree[0];
    barrier();
    return value;
}

#include "norm/rstd"

void main()
{
    uint line = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
    uint end = line < lines ? chunks : 0u; // a folded grid may hold groups without a line
    uint base = line * chunks;
#if WORK == 0
    float mean = 0.0;
#if KIND == 0
    for (uint c = t; c < end; c += 64u) mean += partials[base + c].x * float(min(chunk_n, n - c * chunk_n));
    mean = sum_of(vec2(mean, 0.0)).x / float(n);
#endif
    float squares = 0.0;
    for (uint c = t; c < end; c += 64u) {
        vec2 p = partials[base + c];
        float d = p.x - mean;
        squares += p.y + d * d * float(min(chunk_n, n - c * chunk_n));
    }
    squares = sum_of(vec2(squares, 0.0)).x;
#if KIND != 2
    squares /= float(n);
#endif
    if (t == 0u && line < lines) stats[line] = vec2(mean, squares);
#else
    vec2 sums = vec2(0.0);
    for (uint c = t; c < end; c += 64u) sums += partials[base + c];
    sums = sum_of(sums);
    if (t == 0u && line < lines) {
#if DGAMMA
        dgamma[line] = sums.x;
#endif
#if DBETA
        dbeta[line] = sums.y;
#endif
#if COEFS
        vec2 statistics = stats[line];
        float rstd = rstd_of(statistics.y);
        float scale = rstd;
#if WEIGHT
        scale *= weight[line % inner_lines % groups];
#endif
#if KIND == 0
        coefs[line] = vec4(scale, -scale * rstd * (sums.x / float(n)), -scale * (sums.y / float(n)), statistics.x);
#elif KIND == 1
        coefs[line] = vec4(scale, -scale * rstd * (sums.x / float(n)), 0.0, 0.0);
#elif KIND == 2
        coefs[line] = vec4(scale, sqrt(statistics.y) >= eps ? -scale * rstd * sums.x : 0.0, 0.0, 0.0);
#else
        coefs[line] = vec4(scale, 0.0, 0.0, 0.0);
#endif
#endif
    }
#endif
}
