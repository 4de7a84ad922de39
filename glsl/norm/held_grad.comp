#version 310 es
// normalise, backward, lines held in registers: what norm/grad does, as norm/held does it: the terms are read once, all reads on their way together
// Lines, kinds  as in norm/grad and norm/held; sums are those of g h and g, the line's weight joins at the end
// Parts     PART 0: a group a line: sums, then dx.   PART 1: (sum g h, sum g) of each chunk to `partials` [lines, chunks].   PART 2: dx of each
//           chunk; each of its groups adds up the partials of its line, in one order, and that of chunk 0 writes DGAMMA and DBETA
// Bindings  Each of these macros is the number of its block, or 0 where there is none. Block 0 in: x;  block 1 in: g, both f32
//           STATS in vec2 (mean, variance) [lines];  WEIGHT in f32: s modulo `groups`;  DX out f32 as x, may be x or g
//           PARTIALS vec2 [lines, chunks], out in PART 1, in in PART 2;  DGAMMA, DBETA out f32 [lines]
// Uniforms, groups  as in norm/held
// Limits    WG invocations, 8 * WG + 256 bytes shared
#ifndef PART
#define PART 0
#define WG 256 // a multiple of 32, at most 1024
#define HELD 4
#define V 4
#define FULL 0
#define KIND 0
#define STATS 2
#define WEIGHT 3
#define DX 4
#endif
#ifndef WEIGHT
#define WEIGHT 0
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
layout(std430, binding = 1) readonly buffer G { vec4 g[]; };
#if DX
layout(std430, binding = DX) writeonly buffer Dx { vec4 dx[]; };
#endif
#else
#define T float
#define TOTAL(v) (v)
#define TAILED(v, at) tail(v, at)
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer G { float g[]; };
#if DX
layout(std430, binding = DX) writeonly buffer Dx { float dx[]; };
#endif
#endif
layout(std430, binding = STATS) readonly buffer Stats { vec2 stats[]; };
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { float weight[]; };
#endif
#if PARTIALS && PART == 1
layout(std430, binding = PARTIALS) writeonly buffer Partials { vec2 partials[]; };
#elif PARTIALS
layout(std430, binding = PARTIALS) readonly buffer Partials { vec2 partials[]; };
#endif
#if DGAMMA
layout(std430, binding = DGAMMA) writeonly buffer Dgamma { float dgamma[]; };
#endif
#if DBETA
layout(std430, binding = DBETA) writeonly buffer Dbeta { float dbeta[]; };
#endif

TAIL
#if PART != 2
shared vec2 tree[WG];
#endif
shared vec2 few[32];

// The sum of what all invocations hold, in PART 2 of what the first 32 do, in one order. Called once, by everyone.
vec2 group_sum(vec2 value)
{
    uint t = gl_LocalInvocationIndex;
#if PART != 2
    tree[t] = value;
    memoryBarrierShared();
    barrier();
#endif
    if (t < 32u) {
#if PART != 2
        for (uint i = 32u; i < uint(WG); i += 32u) value += tree[t + i];
#endif
        few[t] = value;
    }
    memoryBarrierShared();
    barrier();
    vec2 a = few[0];
    vec2 b = few[16];
    for (int i = 1; i < 16; i++) {
        a += few[i];
        b += few[16 + i];
    }
    return a + b;
}

#include "norm/rstd"

void main()
{
#include "norm/held_elements"
    T from[HELD];
    T held[HELD];
    for (int i = 0; i < HELD; i++) {
        from[i] = T(0.0);
        held[i] = T(0.0);
        if (LIVE(i)) {
            from[i] = x[at[i]];
            held[i] = g[at[i]];
        }
    }
    vec2 statistics = stats[line];
    float mean = statistics.x;
    float rstd = rstd_of(statistics.y);

    vec2 sums = vec2(0.0); // g h, g
#if PART == 2
    for (uint c = t; c < (t < 32u ? chunks : 0u); c += 32u) sums += partials[line * chunks + c];
#else
    {
        T along = T(0.0);
        T plain = T(0.0);
        for (int i = 0; i < HELD; i++) {
            along += held[i] * ((from[i] - mean) * rstd);
            plain += held[i];
        }
        sums = vec2(TOTAL(along), TOTAL(plain));
    }
#endif
    sums = group_sum(sums);
#if PART == 1
    if (t == 0u) partials[line * chunks + chunk] = sums;
#endif
#if DGAMMA
    if (chunk == 0u && t == 0u) dgamma[line] = sums.x;
#endif
#if DBETA
    if (chunk == 0u && t == 0u) dbeta[line] = sums.y;
#endif

#if DX
    float scale = rstd;
#if WEIGHT
    scale *= weight[s % groups];
#endif
    float terms = float(n) * float(V);
#if KIND == 0
    float slope = -scale * rstd * (sums.x / terms);
    float shift = -scale * (sums.y / terms);
#elif KIND == 1
    mean = 0.0;
    float slope = -scale * rstd * (sums.x / terms);
    float shift = 0.0;
#elif KIND == 2
    mean = 0.0;
    float slope = sqrt(statistics.y) >= eps ? -scale * rstd * sums.x : 0.0;
    float shift = 0.0;
#else
    float slope = 0.0;
    float shift = 0.0;
#endif
    // The tail's reads come before all writes, which they could not pass.
    for (int i = 0; i < HELD; i++)
        if (LIVE(i)) held[i] = TAILED(scale * held[i] + (slope * (from[i] - mean) + shift), at[i]);
    for (int i = 0; i < HELD; i++)
        if (LIVE(i)) dx[at[i]] = held[i];
#endif
}
