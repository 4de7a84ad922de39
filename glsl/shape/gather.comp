#version 310 es
// gather: y[o, j, i] = x[o, k, i], k being index[j] (EACH 0) or index[o, j, i] (EACH 1); `fill` where k is not in 0 .. x_n-1
//           ADDED 1: plus added[(o, j, i) modulo its elements]
// Bindings  0 in  x [outer, x_n, inner]    1 in index i32 [y_n], or like y    ADDED 1: 2 in added    last: out y [outer, y_n, inner], padded to 16 bytes
//           BYTES of an element of x and y: 1, four to a word; 2, two; 0: words of any meaning. QUADS 1 (EACH 0): inner counts four words
// Uniforms  n: elements of y, 1 to 2^31 - 1 (QUADS: quads)    groups_x: width of the folded grid    fill: its bits
//           added_n: quads of added
//           four: 4, out of the compiler's sight, which would unroll
// Groups    (groups_x, any, 1) of 64; one invocation writes four neighbouring elements. Elements past n in y's last 16 bytes
//           (BYTES: in its last one or two words) become zero.
#ifndef EACH
#define EACH 0
#endif
#ifndef QUADS
#define QUADS 0
#endif
#ifndef BYTES
#define BYTES 0
#endif
#ifndef INDEX
#define INDEX 0 // int32; 1: float32, of which the fraction does not count; 2: bytes, four to a word
#endif
#ifndef ADDED
#define ADDED 0 // 1: of floats, with QUADS 1 alone
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;
#include "shape/words"

#if QUADS == 1 && FLOATS
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#elif QUADS == 1
layout(std430, binding = 0) readonly buffer X { uvec4 x[]; };
#elif FLOATS
layout(std430, binding = 0) readonly buffer X { float x[]; };
#else
layout(std430, binding = 0) readonly buffer X { uint x[]; };
#endif
layout(std430, binding = 1) readonly buffer Index { uint index[]; }; // negative ones are large
#if ADDED == 1
layout(std430, binding = 2) readonly buffer Added { vec4 added[]; };
layout(std430, binding = 3) writeonly buffer Y { WORD4 y[]; };
#elif BYTES == 1
layout(std430, binding = 2) writeonly buffer Y { uint y[]; };
#elif BYTES == 2
layout(std430, binding = 2) writeonly buffer Y { uvec2 y[]; };
#else
layout(std430, binding = 2) writeonly buffer Y { WORD4 y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint x_n, y_n, inner, fill, four, added_n;
};

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
    uint q = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
#if QUADS == 1
    if (q >= n) return;
    uint line = q / inner; // o, j
    uint o = line / y_n;
    uint k = index_at(line - o * y_n);
    WORD4 result = WORD4(OF_BITS(fill));
    if (k < x_n) result = x[(o * x_n + k) * inner + (q - line * inner)];
#if ADDED == 1
#if FLOATS
    result += added[q % added_n];
#else
    result = floatBitsToUint(uintBitsToFloat(result) + added[q % added_n]);
#endif
#endif
    y[q] = result;
#else
    if (q >= (n + 3u) >> 2) return;
    uint line = q * 4u / inner;
    uint i = q * 4u - line * inner;
    uint o = line / y_n;
    uint j = line - o * y_n;
    WORD4 result = WORD4(0);
    uint end = min(four, n - q * 4u);
    for (uint e = 0u; e < end; e++) {
#if EACH == 1
        uint k = index_at(q * 4u + e);
#else
        uint k = index_at(j);
#endif
        WORD1 value = OF_BITS(fill);
        if (k < x_n) {
            uint at = (o * x_n + k) * inner + i;
#if BYTES == 1
            value = x[at >> 2u] >> (8u * (at & 3u)) & 0xffu;
#elif BYTES == 2
            value = x[at >> 1u] >> (16u * (at & 1u)) & 0xffffu;
#else
            value = x[at];
#endif
        }
        result[e] = value;
        i++;
        if (i == inner) {
            i = 0u;
            j++;
        }
        if (j == y_n) {
            j = 0u;
            o++;
        }
    }
#if BYTES == 1
    y[q] = result.x | result.y << 8u | result.z << 16u | result.w << 24u;
#elif BYTES == 2
    y[q] = uvec2(result.x | result.y << 16u, result.z | result.w << 16u);
#else
    y[q] = result;
#endif
#endif
}
