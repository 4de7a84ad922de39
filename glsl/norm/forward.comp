#version 310 es
// normalise: y = (x - mean) * rstd * weight + bias, with mean and variance of each line of x
// Lines     x is seen as [outer, a, s, b]; line (outer, s) has the n = a * b terms that lie in its a and b axes. Rows: a = 1; batch norm:
//           a = batch, s = channels; columns: b = 1
// Method    two passes: the mean first, then the squares of the distances from it (KIND 0). No difference of large sums.
// Kinds     KIND 0: mean and variance, rstd = 1 / sqrt(variance + eps);  1: mean 0, the mean square in the variance's place;
//           2: mean 0, the sum of squares, rstd = 1 / max(sqrt(sum), eps)
// Lanes     LANES invocations share a line, a group of 128 works on 128 / LANES lines at a time
//           COLUMNS 0: lanes are neighbours in the group;  1: lines are neighbours, for short b
// Elements  of V neighbours along b, 1 or 4: all counts are in such. The tail is then tail4
// Parts     PART 0: whole lines, statistics and result.  Lines with many terms are cut into chunks (the z axis of the grid):
//           PART 1: (mean, sum of squared distances) of each chunk to `partials` [lines, chunks], which norm/finish combines;
//           PART 2: the result of each chunk from statistics that are there
// Bindings  Each of these macros is the number of its block, or 0 where there is none. Block 0 in: x
//           WEIGHT, BIAS in f32 tables, or TABLE in vec2 (weight, bias): indexed as AFFINE says; UNIFORM_WEIGHT n: the weight, n
//           floats, is uniform block 2
//           Y out f32 as x, may be x: an invocation rereads only the elements that it alone writes, before it writes them
//           STATS vec2 (mean, variance) [lines]: out in PART 0, in in PART 2; there MEAN and VARIANCE, f32 [s], may take its place
//           PARTIALS out vec2 (PART 1)
// Affine    0: none;  1: by the term (rows);  2: by the line: s modulo `groups`;  3: (s modulo groups) * per_group + term / spatial
// Uniforms  rounds: blocks of lines that one group does, one after the other; row = s * b; slab = a * s * b; width = b;
//           SPLIT 0 (a or b is 1): terms are `stride` apart;  SPLIT 1: LANES terms = step_a axes of a and step_b of b, step_at elements;
//           step_c, step_r: LANES divided by spatial, and the rest; chunk_n: terms of a chunk (n in PART 0)
// Groups    (x, y, chunks) with x * y * rounds * (128 / LANES) >= lines, folded over x and y
// Limits    512 bytes shared, 128 invocations
#ifndef PART
#define PART 0
#define LANES 128 // 1 to 128, a power of two
#define COLUMNS 0
#define SPLIT 1
#define KIND 0
#define AFFINE 2
#define WEIGHT 1
#define BIAS 2
#define Y 3
#endif
#ifndef AFFINE
#define AFFINE 0
#endif
#ifndef WEIGHT
#define WEIGHT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef UNIFORM_WEIGHT
#define UNIFORM_WEIGHT 0
#endif
#ifndef TABLE
#define TABLE 0
#endif
#ifndef Y
#define Y 0
#endif
#ifndef STATS
#define STATS 0
#endif
#ifndef MEAN
#define MEAN 0
#endif
#ifndef VARIANCE
#define VARIANCE 0
#endif
#ifndef PARTIALS
#define PARTIALS 0
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
};

// Tables that go by the term are read by elements, too.
#if V == 4
#define ELEM vec4
#define TAILED(v, at) tail4(v, (at) << 2u)
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#if Y
layout(std430, binding = Y) writeonly buffer Result { vec4 y[]; };
#endif
#else
#define ELEM float
#define TAILED(v, at) tail(v, at)
layout(std430, binding = 0) readonly buffer X { float x[]; };
#if Y
layout(std430, binding = Y) writeonly buffer Result { float y[]; };
#endif
#endif
#if V == 4 && AFFINE == 1
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { vec4 weight[]; };
#endif
#if BIAS
layout(std430, binding = BIAS) readonly buffer Bias { vec4 bias[]; };
#endif
#if TABLE
layout(std430, binding = TABLE) readonly buffer Table { vec4 table[]; };
#endif
#else
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { float weight[]; };
#endif
#if BIAS
layout(std430, binding = BIAS) readonly buffer Bias { float bias[]; };
#endif
#if TABLE
layout(std430, binding = TABLE) readonly buffer Table { vec2 table[]; };
#endif
#endif
#if UNIFORM_WEIGHT
layout(std140, binding = 2) uniform Weights { vec4 weights[(UNIFORM_WEIGHT + 3) / 4]; };
#endif
#if STATS && PART == 2
layout(std430, binding = STATS) readonly buffer Stats { vec2 stats[]; };
#elif STATS
layout(std430, binding = STATS) writeonly buffer Stats { vec2 stats[]; };
#endif
#if MEAN
layout(std430, binding = MEAN) readonly buffer Means { float means[]; };
#endif
#if VARIANCE
layout(std430, binding = VARIANCE) readonly buffer Variances { float variances[]; };
#endif
#if PARTIALS
layout(std430, binding = PARTIALS) writeonly buffer Partials { vec2 partials[]; };
#endif

TAIL
#define HELD float
#define JOINED (PART != 2)
#include "reduce/lines"

// A walk over the terms of a line: where it starts, and LANES terms on.
#if SPLIT
#define WALK(k) uint b = (k) % width; uint at = base + (k) / width * row + b
#define STEP b += step_b; at += step_at; if (b >= width) { b -= width; at += row - width; } // wraps as intended
#else
#define WALK(k) uint at = base + (k) * stride
#define STEP at += uint(LANES) * stride
#endif

#include "norm/rstd"

#if V == 4
float joined(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
float joined(float v) { return v; }
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
#if PART == 0
    uint first = lane;
    uint last = n;
    float terms = float(n * uint(V));
#else
    uint chunk = gl_WorkGroupID.z + group_base.z;
    uint first = chunk * chunk_n + lane;
    uint last = min(n, chunk * chunk_n + chunk_n);
    float terms = float((last - chunk * chunk_n) * uint(V));
#endif
    for (uint round = 0u; round < rounds; round++) {
        uint line = (group * rounds + round) * LINES + place;
        bool live = line < lines;
        uint end = live ? last : 0u; // a line past the last has no terms, yet takes part in the barriers
        uint outer = line / inner_lines;
        uint s = line - outer * inner_lines;
        uint base = outer * slab + s * width;

#if PART == 2
#if STATS
        vec2 statistics = live ? stats[line] : vec2(0.0, 1.0);
#else
        vec2 statistics = live ? vec2(means[s], variances[s]) : vec2(0.0, 1.0);
#endif
        float mean = statistics.x;
        float variance = statistics.y;
#else
        float mean = 0.0;
        float variance = 0.0;
#if KIND == 0
        {
            ELEM sum = ELEM(0.0);
            WALK(first);
            for (uint k = first; k < end; k += uint(LANES)) {
                sum += x[at];
                STEP;
            }
            mean = line_sum(joined(sum), lane) / terms;
        }
#endif
        {
            ELEM sum = ELEM(0.0);
            WALK(first);
            for (uint k = first; k < end; k += uint(LANES)) {
                ELEM d = x[at] - mean;
                sum += d * d;
                STEP;
            }
            variance = line_sum(joined(sum), lane);
        }
#if PART == 1
        if (live && lane == 0u) partials[line * chunks + chunk] = vec2(mean, variance);
#elif KIND != 2
        variance /= terms;
#endif
#if PART == 0 && STATS
        if (live && lane == 0u) stats[line] = vec2(mean, variance);
#endif
#endif

#if Y
        float rstd = rstd_of(variance);
#if AFFINE == 2
        uint index = s % groups;
        vec2 affine = vec2(1.0, 0.0);
#if TABLE
        affine = table[index];
#endif
#if WEIGHT
        affine.x = weight[index];
#endif
#if UNIFORM_WEIGHT
        affine.x = weights[index >> 2u][index & 3u];
#endif
#if BIAS
        affine.y = bias[index];
#endif
        rstd *= affine.x;
#elif AFFINE == 3
        uint index = s % groups * per_group + first / spatial;
        uint rest = first % spatial;
#elif AFFINE == 1
        uint index = first;
#endif
        WALK(first);
        for (uint k = first; k < end; k += uint(LANES)) {
            ELEM v = (x[at] - mean) * rstd;
#if AFFINE == 2
            v += affine.y;
#elif TABLE && AFFINE == 1 && V == 4
            vec4 low = table[2u * index], high = table[2u * index + 1u];
            v = v * vec4(low.xz, high.xz) + vec4(low.yw, high.yw);
#elif AFFINE != 0
#if TABLE
            vec2 affine = table[index];
            v = v * affine.x + affine.y;
#endif
#if WEIGHT
            v *= weight[index];
#endif
#if UNIFORM_WEIGHT && AFFINE == 1 && V == 4
            v *= weights[index];
#elif UNIFORM_WEIGHT
            v *= weights[index >> 2u][index & 3u];
#endif
#if BIAS
            v += bias[index];
#endif
#endif
            y[at] = TAILED(v, at);
            STEP;
#if AFFINE == 3
            index += step_c;
            rest += step_r;
            if (rest >= spatial) {
                rest -= spatial;
                index++;
            }
#elif AFFINE == 1
            index += uint(LANES);
#endif
        }
#endif
    }
}
