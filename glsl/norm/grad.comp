#version 310 es
// normalise, backward: from x, the gradient g of y and the statistics of the forward pass (norm/forward), with h = (x - mean) * rstd and
//           g' = g * weight:  dx = rstd * (g' - sum(g') / n - h * sum(g' h) / n) over each line's n terms. KIND 1: without the first sum;
//           KIND 2: without it, and the second undivided, or left out where eps stood in for the norm;  KIND 3: dx = rstd * g', the
//           statistics are constants
// Lines, lanes, columns, split, affine, elements: as in norm/forward
// Parts     PART 0: whole lines: both sums, then dx.  PART 1: (sum g' h, sum g') of each chunk to `partials` [lines, chunks].
//           PART 2: dx of each chunk from the coefficients that norm/finish made.  PART 3: whole lines: sums to DGAMMA and DBETA
//           With AFFINE 2 the weight is the line's: the sums are then those of g and g h, and the weight joins at the end
// Bindings  Each of these macros is the number of its block, or 0 where there is none. Block 0 in: x;  block 1 in: g, both f32
//           STATS in vec2 (mean, variance): of the line. TERM_STATS 1: of a term: a * stats_a + s / per_stats, for sums over samples
//           WEIGHT in f32; UNIFORM_WEIGHT n: it is uniform block 2, n floats.  COEFS in vec4 (a, b, c, mean) [lines]: dx = a g' + b (x - mean) + c (PART 2)
//           DX out f32 as x, may be x or g.  PARTIALS out vec2.  DGAMMA, DBETA out f32 [lines] (PARTS 0 and 3)
// Groups    (x, y, chunks) with x * y * rounds * (128 / LANES) >= lines, folded over x and y
// Limits    1024 bytes shared, 128 invocations
#ifndef PART
#define PART 0
#define LANES 128
#define COLUMNS 0
#define SPLIT 1
#define KIND 0
#define STATS 2
#define DX 3
#endif
#ifndef TERM_STATS
#define TERM_STATS 0
#endif
#ifndef AFFINE
#define AFFINE 0
#endif
#ifndef STATS
#define STATS 0
#endif
#ifndef WEIGHT
#define WEIGHT 0
#endif
#ifndef UNIFORM_WEIGHT
#define UNIFORM_WEIGHT 0
#endif
#ifndef COEFS
#define COEFS 0
#endif
#ifndef DX
#define DX 0
#endif
#ifndef PARTIALS
#define PARTIALS 0
#endif
#ifndef DGAMMA
#define DGAMMA 0
#endif
#ifndef DBETA
#define DBETA 0
#endif
#ifndef V
#define V 1
#endif
#ifndef TAIL // what becomes of element `at` of the result: blocks and functions (src/ops/contract.c)
#define TAIL float tail(float t, uint at) { return t; } vec4 tail4(vec4 t, uint at) { return t; }
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rounds, lines, inner_lines, n;
    uint width, row, slab, stride;
    uint step_a, step_b, step_at, chunk_n;
    uint chunks, groups, per_group, spatial;
    uint step_c, step_r;
    float eps;
    uint stats_a;
    uint per_stats;
};

#if V == 4
#define ELEM vec4
#define TAILED(v, at) tail4(v, (at) << 2u)
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#if DX
layout(std430, binding = DX) writeonly buffer Dx { vec4 dx[]; };
#endif
#else
#define ELEM float
#define TAILED(v, at) tail(v, at)
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer G { float g[]; };
#if DX
layout(std430, binding = DX) writeonly buffer Dx { float dx[]; };
#endif
#endif
#if STATS
layout(std430, binding = STATS) readonly buffer Stats { vec2 stats[]; };
#endif
#if WEIGHT && AFFINE == 1 && V == 4
layout(std430, binding = WEIGHT) readonly buffer Weight { vec4 weight[]; };
#define WEIGHT_AT(i) weight[i]
#elif WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { float weight[]; };
#define WEIGHT_AT(i) weight[i]
#elif UNIFORM_WEIGHT
layout(std140, binding = 2) uniform Weights { vec4 weights[(UNIFORM_WEIGHT + 3) / 4]; };
#if AFFINE == 1 && V == 4
#define WEIGHT_AT(i) weights[i]
#else
#define WEIGHT_AT(i) weights[(i) >> 2u][(i) & 3u]
#endif
#endif
#if COEFS
layout(std430, binding = COEFS) readonly buffer Coefs { vec4 coefs[]; };
#endif
#if PARTIALS
layout(std430, binding = PARTIALS) writeonly buffer Partials { vec2 partials[]; };
#endif
#if DGAMMA
layout(std430, binding = DGAMMA) writeonly buffer Dgamma { float dgamma[]; };
#endif
#if DBETA
layout(std430, binding = DBETA) writeonly buffer Dbeta { float dbeta[]; };
#endif

TAIL
#define HELD vec2
#define JOINED (PART != 2)
#include "reduce/lines"

#include "norm/rstd"

#if V == 4
float joined(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
float joined(float v) { return v; }
#endif

// A walk over the terms of a line: where it starts, and LANES terms on.
#if TERM_STATS
#define WALK(k) uint a = (k) / width; uint b = (k) - a * width; uint at = base + a * row + b
#define STEP a += step_a; b += step_b; at += step_at; if (b >= width) { a++; b -= width; at += row - width; }
#elif SPLIT
#define WALK(k) uint b = (k) % width; uint at = base + (k) / width * row + b
#define STEP b += step_b; at += step_at; if (b >= width) { b -= width; at += row - width; } // wraps as intended
#else
#define WALK(k) uint at = base + (k) * stride
#define STEP at += uint(LANES) * stride
#endif

// The weight of a term, and the walk over it.
#if (WEIGHT || UNIFORM_WEIGHT) && AFFINE == 1
#define WALK_WEIGHT uint index = first
#define STEP_WEIGHT index += uint(LANES)
#define WEIGHTED(v) ((v) * WEIGHT_AT(index))
#elif (WEIGHT || UNIFORM_WEIGHT) && AFFINE == 3
#define WALK_WEIGHT uint index = s % groups * per_group + first / spatial; uint rest = first % spatial
#define STEP_WEIGHT index += step_c; rest += step_r; if (rest >= spatial) { rest -= spatial; index++; }
#define WEIGHTED(v) ((v) * WEIGHT_AT(index))
#else
#define WALK_WEIGHT
#define STEP_WEIGHT
#define WEIGHTED(v) (v)
#endif

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex;
#if COLUMNS
    uint lane = t / LINES;
    uint place = t % LINES;
#else
    uint lane = t % uint(LANES);
    uint place = t / uint(LANES);
#endif
#if PART == 0 || PART == 3
    uint first = lane;
    uint last = n;
#else
    uint chunk = gl_WorkGroupID.z + group_base.z;
    uint first = chunk * chunk_n + lane;
    uint last = min(n, chunk * chunk_n + chunk_n);
#endif
    for (uint round = 0u; round < rounds; round++) {
        uint line = (group * rounds + round) * LINES + place;
        bool live = line < lines;
        uint end = live ? last : 0u; // a line past the last has no terms, yet takes part in the barriers
        uint outer = line / inner_lines;
        uint s = line - outer * inner_lines;
        uint base = outer * slab + s * width;

#if PART == 2
        vec4 coef = live ? coefs[line] : vec4(0.0);
#else
#if !TERM_STATS
        vec2 statistics = live ? stats[line] : vec2(0.0, 1.0);
        float mean = statistics.x;
        float rstd = rstd_of(statistics.y);
#endif
        vec2 sums; // g' h, g'
        {
            ELEM products = ELEM(0.0), gradients = ELEM(0.0);
            WALK(first);
            WALK_WEIGHT;
            for (uint k = first; k < end; k += uint(LANES)) {
#if TERM_STATS
                vec2 statistics = stats[a * stats_a + s / per_stats];
                float mean = statistics.x;
                float rstd = rstd_of(statistics.y);
#endif
                ELEM v = WEIGHTED(g[at]);
                products += v * ((x[at] - mean) * rstd);
                gradients += v;
                STEP;
                STEP_WEIGHT;
            }
            sums = line_sum(vec2(joined(products), joined(gradients)), lane);
        }
#endif

#if PARTIALS
        if (live && lane == 0u) partials[line * chunks + chunk] = sums;
#endif
#if DGAMMA
        if (live && lane == 0u) dgamma[line] = sums.x;
#endif
#if DBETA
        if (live && lane == 0u) dbeta[line] = sums.y;
#endif

#if PART == 0
        float scale = rstd;
#if WEIGHT && AFFINE == 2
        if (live) scale *= weight[s % groups];
#endif
#if KIND == 0
        vec4 coef = vec4(scale, -scale * rstd * (sums.x / float(n * uint(V))), -scale * (sums.y / float(n * uint(V))), mean);
#elif KIND == 1
        vec4 coef = vec4(scale, -scale * rstd * (sums.x / float(n * uint(V))), 0.0, 0.0);
#elif KIND == 2
        vec4 coef = vec4(scale, sqrt(statistics.y) >= eps ? -scale * rstd * sums.x : 0.0, 0.0, 0.0);
#else
        vec4 coef = vec4(scale, 0.0, 0.0, 0.0);
#endif
#endif
#if DX
        WALK(first);
        WALK_WEIGHT;
        for (uint k = first; k < end; k += uint(LANES)) {
            dx[at] = TAILED(coef.x * WEIGHTED(g[at]) + (coef.y * (x[at] - coef.w) + coef.z), at);
            STEP;
            STEP_WEIGHT;
        }
#endif
    }
}
