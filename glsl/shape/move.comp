#version 310 es
// move: y[o] = x[s(o)], or `fill` where s(o) is nowhere, s being separate along each axis: slices, padding, rolls, tiles, triangles
// Defines   KIND, for the coordinate o of the result along an axis with a, b, c:
//           0 slice a + o b;  1 place (o - a) / b if that is whole and in 0 .. c-1, else nowhere;  2 wrap (o + a) mod c;
//           3 edge o - a, moved into 0 .. c-1;  4 reflect o - a, mirrored at 0 and c-1;  5, 6 triangles: o itself, nowhere if
//           column - row > diagonal (5) or < diagonal (6), columns being the last axis and rows the one before
//           STEPS 0: in kind 1 every b is 1    BYTES of an element: 1, four to a word; 2, two; 0: words of any meaning
//           QUADS 1: the last axis is untouched and a multiple of four words: it then has a quarter of its length, and x and y are quads
// Bindings  0 in  x    1 out y, row-major, padded to 16 bytes; no aliasing
// Uniforms  n: elements of y, 1 to 2^31 - 1 (QUADS: quads)    groups_x: width of the folded grid
//           axes[2 d] = {length in y, stride in x, a, b}, axes[2 d + 1] = {c}; outermost first
// Groups    (groups_x, any, 1) of 64; one invocation writes four neighbouring elements. Elements past n in y's last 16 bytes
//           (BYTES: in its last one or two words) become zero.
#ifndef KIND
#define KIND 1
#define STEPS 1
#define RANK 3
#endif
#ifndef STEPS
#define STEPS 0
#endif
#ifndef QUADS
#define QUADS 0
#endif
#ifndef BYTES
#define BYTES 0
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
#if BYTES == 1
layout(std430, binding = 1) writeonly buffer Y { uint y[]; };
#elif BYTES == 2
layout(std430, binding = 1) writeonly buffer Y { uvec2 y[]; };
#else
layout(std430, binding = 1) writeonly buffer Y { WORD4 y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint fill; // its bits
    int diagonal;
    uint four; // 4, out of the compiler's sight
    uvec4 axes[2 * RANK];
};

// Adds what coordinate o of axis d means for the source index; false: nowhere.
bool add(inout uint at, uint o, uvec4 axis, uint length)
{
    int t = int(o) - int(axis.z);
#if KIND == 0
    at += (axis.z + o * axis.w) * axis.y; // negative steps wrap as intended
    return true;
#elif KIND == 1
    if (t < 0) return false;
    uint s = uint(t);
#if STEPS == 1
    s = s / axis.w;
    if (s * axis.w != uint(t)) return false;
#endif
    at += s * axis.y;
    return s < length;
#elif KIND == 2
    at += (o + axis.z) % length * axis.y;
    return true;
#elif KIND == 3
    at += uint(clamp(t, 0, int(length) - 1)) * axis.y;
    return true;
#elif KIND == 4
    t = abs(t);
    int mirror = int(length) - 1;
    at += uint(mirror - abs(mirror - t)) * axis.y;
    return true;
#else
    at += o * axis.y;
    return true;
#endif
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
#if QUADS == 1
    if (i >= n) return;
    uint left = i;
#else
    if (i >= (n + 3u) >> 2) return;
    uint left = i * 4u;
#endif
    uint digit[RANK];
    for (int d = RANK - 1; d > 0; d--) {
        uint above = left / axes[2 * d].x;
        digit[d] = left - above * axes[2 * d].x;
        left = above;
    }
    digit[0] = left;

    WORD4 result = WORD4(0);
#if QUADS == 0
    uint end = min(four, n - i * 4u); // unrolled, this would spill on V3D
    for (uint j = 0u; j < end; j++) {
#endif
        uint at = 0u;
        bool somewhere = true;
        for (int d = 0; d < RANK; d++) somewhere = add(at, digit[d], axes[2 * d], axes[2 * d + 1].x) && somewhere;
#if KIND == 5
        somewhere = int(digit[RANK - 1]) - int(digit[RANK - 2]) <= diagonal;
#elif KIND == 6
        somewhere = int(digit[RANK - 1]) - int(digit[RANK - 2]) >= diagonal;
#endif
#if QUADS == 1
    result = WORD4(OF_BITS(fill));
    if (somewhere) result = x[at];
#else
        WORD1 value = OF_BITS(fill);
#if BYTES == 1
        if (somewhere) value = x[at >> 2u] >> (8u * (at & 3u)) & 0xffu;
#elif BYTES == 2
        if (somewhere) value = x[at >> 1u] >> (16u * (at & 1u)) & 0xffffu;
#else
        if (somewhere) value = x[at];
#endif
        result[j] = value;
        digit[RANK - 1]++;
        for (int d = RANK - 1; d > 0; d--) {
            if (digit[d] == axes[2 * d].x) {
                digit[d] = 0u;
                digit[d - 1]++;
            }
        }
    }
#endif
#if BYTES == 1
    y[i] = result.x | result.y << 8u | result.z << 16u | result.w << 24u;
#elif BYTES == 2
    y[i] = uvec2(result.x | result.y << 16u, result.z | result.w << 16u);
#else
    y[i] = result;
#endif
}
