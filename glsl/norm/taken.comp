#version 310 es
// taken: rows of a table, with what is added to them, and their norms: x[r] = table[index[r]] + added[r modulo its rows],
//           y[r] = (x[r] - mean) * rstd * weight + bias, with mean and variance of the row
// Method    a row stays in the registers of its LANES invocations, HELD vec4 each; the mean first, then the squares of the distances from it
// Kinds     KIND 0: mean and variance, rstd = 1 / sqrt(variance + eps);  1: mean 0, the mean square in the variance's place
// Bindings  Each of these macros is the number of its block, or 0 where there is none. Block 0 in: table f32 [table_n, 4 UNITS];  block 1 in: index [rows]
//           INDEX says of what: 0 int32;  1 float32, of which the fraction does not count;  2 bytes, four to a word
//           ADDED in f32, a whole number of rows;  WEIGHT, BIAS in f32 [4 UNITS];  X out f32 [rows, 4 UNITS];  Y out f32 [rows, 4 UNITS]
//           STATS out vec2 (mean, variance) [rows]
// Uniforms  fill: the bits of what a row of no index is made of;  added_n: vec4 of `added`
// Groups    linear, folded over x and y, of WG / LANES rows
// Order     a lane adds its terms, then the lanes are added one after the other: the same bits every time
// Limits    WG invocations, 8 WG bytes shared
#ifndef UNITS
#define WG 128
#define LANES 32 // a power of two, at most WG
#define HELD 1   // LANES HELD >= UNITS
#define UNITS 32
#define Y 2
#endif
#ifndef KIND
#define KIND 0
#endif
#ifndef INDEX
#define INDEX 0
#endif
#ifndef ADDED
#define ADDED 0
#endif
#ifndef WEIGHT
#define WEIGHT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef X
#define X 0
#endif
#ifndef STATS
#define STATS 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rows, table_n, added_n, fill;
    float eps;
};

layout(std430, binding = 0) readonly buffer Table { vec4 table[]; };
layout(std430, binding = 1) readonly buffer Index { uint index[]; };
#if ADDED
layout(std430, binding = ADDED) readonly buffer Added { vec4 added[]; };
#endif
#if WEIGHT
layout(std430, binding = WEIGHT) readonly buffer Weight { vec4 weight[]; };
#endif
#if BIAS
layout(std430, binding = BIAS) readonly buffer Bias { vec4 bias[]; };
#endif
#if X
layout(std430, binding = X) writeonly buffer Rows { vec4 x[]; };
#endif
layout(std430, binding = Y) writeonly buffer Result { vec4 y[]; };
#if STATS
layout(std430, binding = STATS) writeonly buffer Stats { vec2 stats[]; };
#endif

shared float sums[WG], squares[WG];

uint index_at(uint j)
{
#if INDEX == 1
    float v = uintBitsToFloat(index[j]);
    return v > -1.0 && v < 2147483648.0 ? uint(int(v)) : 0xffffffffu;
#elif INDEX == 2
    return index[j >> 2u] >> (8u * (j & 3u)) & 0xffu;
#else
    return index[j];
#endif
}

void main()
{
    uint group = (gl_WorkGroupID.y + group_base.y) * groups_x + gl_WorkGroupID.x + group_base.x;
    uint t = gl_LocalInvocationIndex, lane = t % uint(LANES);
    uint own = group * uint(WG / LANES) + t / uint(LANES), row = min(own, rows - 1u);
    bool live = own < rows;
    uint k = index_at(row);

    vec4 held[HELD];
    float sum = 0.0;
    for (int i = 0; i < HELD; i++) {
        uint u = lane + uint(i * LANES), c = min(u, uint(UNITS - 1)), at = row * uint(UNITS) + c;
        held[i] = k < table_n ? table[k * uint(UNITS) + c] : vec4(uintBitsToFloat(fill));
#if ADDED
        held[i] += added[at % added_n];
#endif
        bool mine = u < uint(UNITS);
#if X
        if (live && mine) x[at] = held[i];
#endif
        if (mine) sum += (held[i].x + held[i].y) + (held[i].z + held[i].w);
    }
    float mean = 0.0;
#if KIND == 0
    sums[t] = sum;
    memoryBarrierShared();
    barrier();
    for (uint l = 0u; l < uint(LANES); l++) mean += sums[t - lane + l];
    mean /= float(4 * UNITS);
#endif
    float square = 0.0;
    for (int i = 0; i < HELD; i++) {
        vec4 d = held[i] - mean;
        if (lane + uint(i * LANES) < uint(UNITS)) square += dot(d, d);
    }
    squares[t] = square;
    memoryBarrierShared();
    barrier();
    float variance = 0.0;
    for (uint l = 0u; l < uint(LANES); l++) variance += squares[t - lane + l];
    variance /= float(4 * UNITS);
#if STATS
    if (live && lane == 0u) stats[own] = vec2(mean, variance);
#endif
    float rstd = inversesqrt(variance + eps);
    for (int i = 0; i < HELD; i++) {
        uint u = lane + uint(i * LANES);
        if (!live || u >= uint(UNITS)) continue;
        vec4 v = (held[i] - mean) * rstd;
#if WEIGHT
        v *= weight[u];
#endif
#if BIAS
        v += bias[u];
#endif
        y[own * uint(UNITS) + u] = v;
    }
}
