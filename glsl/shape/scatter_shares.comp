#version 310 es
// scatter_shares: as scatter_rows, y[o, k, i] = (START 1: 0, START 0: y[o, k, i]) + sum of g[o, j, i] for the j = first .. end-1 with index[j] = k; an
//           index outside 0 .. y_n-1 counts for nothing
// Source    a group owns one row k and 4 LX columns i; each of its SHARES goes over every SHARES-th index, four at a time, and adds up what falls on its
//           row; then the shares are added: a few rounds of reads, however many terms fall on a row. In a fixed order: the same bits every time.
// Bindings  0 in g f32 [outer, g_n, inner]    1 in index i32 [g_n]    2 inout y f32 [outer, y_n, inner]; no aliasing. inner is a multiple of 4
//           UPDATE 4 (optim/rules) in place of y: the sums, of all terms at once, update parameters
// Groups    (y_n, ceil(inner / (4 LX)), outer)
// Limits    LX SHARES invocations, 16 of them bytes shared each
#ifndef START
#define START 1
#endif
#ifndef INDEX
#define INDEX 0 // int32; 1: float32, of which the fraction does not count; 2: bytes, four to a word
#endif
#ifndef LX
#define LX 8 // powers of two
#define SHARES 8
#endif
#ifndef UPDATE
#define UPDATE 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = LX, local_size_y = SHARES) in;

layout(std430, binding = 0) readonly buffer G { vec4 g[]; };
layout(std430, binding = 1) readonly buffer Index { uint index[]; };
#if !UPDATE
layout(std430, binding = 2) buffer Y { vec4 y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint y_n;
    uint g_n, inner4, first, end;
};

shared vec4 sums[LX * SHARES];

// Past the end: no row.
uint index_at(uint j)
{
    uint at = min(j, end - 1u);
#if INDEX == 1
    float v = uintBitsToFloat(index[at]);
    uint k = v > -1.0 && v < 2147483648.0 ? uint(int(v)) : 0xffffffffu;
#elif INDEX == 2
    uint k = index[at >> 2u] >> (8u * (at & 3u)) & 0xffu;
#else
    uint k = index[at];
#endif
    return j < end ? k : 0xffffffffu;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = group.y * uint(LX) + gl_LocalInvocationID.x, share = gl_LocalInvocationID.y, t = gl_LocalInvocationIndex;
    uint row = group.x, column = min(i, inner4 - 1u), from = group.z * g_n;
    vec4 sum = vec4(0.0);
    uint to = (group.z * y_n + row) * inner4 + i;
#if UPDATE
    Fetched held; // asked for early
    if (share == 0u && i < inner4) held = update_fetch(to);
#endif
    for (uint j = first + share; j < end; j += uint(4 * SHARES)) {
        uvec4 at = uvec4(j, j + uint(SHARES), j + uint(2 * SHARES), j + uint(3 * SHARES));
        uvec4 k = uvec4(index_at(at.x), index_at(at.y), index_at(at.z), index_at(at.w));
        vec4 a = vec4(0.0), b = vec4(0.0), c = vec4(0.0), d = vec4(0.0);
        if (k.x == row) a = g[(from + at.x) * inner4 + column];
        if (k.y == row) b = g[(from + at.y) * inner4 + column];
        if (k.z == row) c = g[(from + at.z) * inner4 + column];
        if (k.w == row) d = g[(from + at.w) * inner4 + column];
        sum += (a + b) + (c + d);
    }
    sums[t] = sum;
    for (uint half_n = uint(LX * SHARES / 2); half_n >= uint(LX); half_n >>= 1) {
        memoryBarrierShared();
        barrier();
        if (t < half_n) sums[t] += sums[t + half_n];
    }
    if (share > 0u || i >= inner4) return;
#if UPDATE
    update_fetched(to, sums[t], held);
#elif START
    y[to] = sums[t];
#else
    y[to] += sums[t];
#endif
}
