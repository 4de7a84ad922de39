#version 310 es
// concat: y[o] = a[o] b[o] c[o], rows of several inputs beside each other
// Bindings  0 in  a [rows, a_n]    1 in b [rows, b_n]    2 in c, if INPUTS is 3    last: out y [rows, a_n + b_n + c_n]; no aliasing
//           BYTES of an element: 1, four to a word; 2, two; 0: words of any meaning; QUADS 1: all lengths are counted in four words
// Uniforms  n: elements of y, 1 to 2^31 - 1 (QUADS: quads)    groups_x: width of the folded grid    a_n, b_n, c_n
// Groups    (groups_x, any, 1) of 64; one invocation writes four neighbouring elements. Elements past n in y's last 16 bytes
//           (BYTES: in its last one or two words) become zero.
#ifndef INPUTS
#define INPUTS 3
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
#if QUADS == 1
#define T WORD4
#else
#define T WORD1
#endif
#if BYTES == 1
#define Q uint
#elif BYTES == 2
#define Q uvec2
#else
#define Q WORD4
#endif
#if QUADS == 1 && FLOATS
layout(std430, binding = 0) readonly buffer A { vec4 a[]; };
layout(std430, binding = 1) readonly buffer B { vec4 b[]; };
#if INPUTS == 3
layout(std430, binding = 2) readonly buffer C { vec4 c[]; };
#endif
#elif QUADS == 1
layout(std430, binding = 0) readonly buffer A { uvec4 a[]; };
layout(std430, binding = 1) readonly buffer B { uvec4 b[]; };
#if INPUTS == 3
layout(std430, binding = 2) readonly buffer C { uvec4 c[]; };
#endif
#elif FLOATS
layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
#if INPUTS == 3
layout(std430, binding = 2) readonly buffer C { float c[]; };
#endif
#else
layout(std430, binding = 0) readonly buffer A { uint a[]; };
layout(std430, binding = 1) readonly buffer B { uint b[]; };
#if INPUTS == 3
layout(std430, binding = 2) readonly buffer C { uint c[]; };
#endif
#endif
layout(std430, binding = INPUTS) writeonly buffer Y { Q y[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint a_n, b_n, c_n;
};

#if BYTES == 1
#define WORD(i) ((i) >> 2u)
#define PART(word, i) ((word) >> (8u * ((i) & 3u)) & 0xffu)
#elif BYTES == 2
#define WORD(i) ((i) >> 1u)
#define PART(word, i) ((word) >> (16u * ((i) & 1u)) & 0xffffu)
#else
#define WORD(i) (i)
#define PART(word, i) (word)
#endif

T pick(uint row, uint column)
{
    uint i = row * a_n + column;
    if (column < a_n) return PART(a[WORD(i)], i);
    column -= a_n;
#if INPUTS == 3
    if (column >= b_n) {
        i = row * c_n + (column - b_n);
        return PART(c[WORD(i)], i);
    }
#endif
    i = row * b_n + column;
    return PART(b[WORD(i)], i);
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * 64u + gl_LocalInvocationID.x;
    uint width = a_n + b_n + c_n;
#if QUADS == 1
    if (i >= n) return;
    uint row = i / width;
    y[i] = pick(row, i - row * width);
#else
    if (i >= (n + 3u) >> 2) return;
    uint row = i * 4u / width;
    uint column = i * 4u - row * width;
    WORD4 result = WORD4(0);
    for (uint j = 0u; j < 4u; j++) {
        if (i * 4u + j >= n) break;
        result[j] = pick(row, column);
        column++;
        if (column == width) {
            column = 0u;
            row++;
        }
    }
#if BYTES == 1
    y[i] = result.x | result.y << 8u | result.z << 16u | result.w << 24u;
#elif BYTES == 2
    y[i] = uvec2(result.x | result.y << 16u, result.z | result.w << 16u);
#else
    y[i] = result;
#endif
#endif
}
