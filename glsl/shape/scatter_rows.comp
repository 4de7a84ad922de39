#version 310 es
// scatter_rows: y[o, k, i] = (START 1: 0, START 0: y[o, k, i]) + sum of g[o, j, i] for the j = first .. end-1, in this order, with
//           index[j] = k; an index outside 0 .. y_n-1 counts for nothing
// Source    a group owns some rows k and 64 columns i. Its invocations read 64 indices at a time and note in shared bits which of
//           them fall on its rows; then each adds those of its column. No two invocations write one element: the same bits every time.
// Bindings  0 in g f32 [outer, g_n, inner]    1 in index i32 [g_n]    2 inout y f32 [outer, y_n, inner]; no aliasing
// Uniforms  rows: of a group
// Groups    (ceil(y_n / rows), ceil(inner / 64), outer) of 64
// Limits    24 bytes shared
#ifndef START
#define START 1
#endif
#ifndef INDEX
#define INDEX 0 // int32; 1: float32, of which the fraction does not count; 2: bytes, four to a word
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std430, binding = 0) readonly buffer G { float g[]; };
layout(std430, binding = 1) readonly buffer Index { uint index[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint y_n;
    uint g_n, inner, first, end;
    uint rows;
};

shared uint hits[6]; // three pairs in turn: one is read, one filled next, and one is being cleared

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
    uvec3 group = gl_WorkGroupID + group_base;
    uint t = gl_LocalInvocationID.x;
    uint row = group.x * rows;
    uint n_rows = min(rows, y_n - row);
    uint i = group.y * 64u + t;
    bool live = i < inner;
    uint to = (group.z * y_n + row) * inner + i;
#if START == 1
    if (live)
        for (uint r = 0u; r < n_rows; r++) y[to + r * inner] = 0.0;
#endif
    if (t < 6u) hits[t] = 0u;
    memoryBarrierShared();
    barrier();
    uint turn = 0u;
    for (uint from = first; from < end; from += 64u) {
        uint j = from + t;
        if (j < end && index_at(j) - row < n_rows) atomicOr(hits[turn + (t >> 5u)], 1u << (t & 31u)); // below row: wraps
        memoryBarrierShared();
        barrier();
        uint cleared = turn == 0u ? 4u : turn - 2u;
        if (t < 2u) hits[cleared + t] = 0u;
        for (uint h = 0u; h < 2u; h++) {
            uint bits = hits[turn + h];
            while (bits != 0u) {
                uint hit = from + h * 32u + uint(findLSB(bits));
                bits &= bits - 1u;
                if (live) y[to + (index_at(hit) - row) * inner] += g[(group.z * g_n + hit) * inner + i];
            }
        }
        turn = turn == 4u ? 0u : turn + 2u;
    }
}
