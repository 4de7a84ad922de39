#version 310 es
// softmax: y = exp(x - m) / sum(exp(x - m)) along one axis, m the maximum there; LOG: y = x - m - log(sum(exp(x - m)))
// Source    the maximum is subtracted first so that exp() cannot overflow
// Layout    x is seen as [outer, n, inner] with the axis in the middle; a line is one (outer, inner) pair of n elements.
//           LANES invocations share a line, a group of 128 works on 128 / LANES lines at a time
//           COLUMNS 0: inner is 1, lanes are neighbours in the group;  1: lines are neighbours, for inner > 1
//           V 4: of rows whose n is a multiple of 4; elements are then vec4, and n, chunk_n count those
// Parts     PART 0: whole lines.  Very long lines are cut into chunks (the z axis of the grid) in two dispatches:
//           PART 1: (maximum, sum) of each chunk to `partials` [lines, chunks];  PART 2: combine them, write the chunk
// Bindings  PART 0: 0 in x, 1 out y.  PART 1: 0 in x, 1 out partials.  PART 2: 0 in x, 1 in partials, 2 out y.
//           f32 row-major; y may be x: an invocation rereads only the elements that it alone writes, before it writes them
// Uniforms  rounds: blocks of lines that one group does, one after the other; n, inner, lines >= 1, any value
//           chunk_n: elements of a chunk (n in PART 0);  chunks: how many
// Groups    (x, y, chunks) with x * y * rounds * (128 / LANES) >= lines, folded over x and y
// Limits    512 bytes shared, 128 invocations, at most 3 storage blocks
#ifndef LANES
#define LANES 128 // 1 to 128, a power of two
#endif
#ifndef COLUMNS
#define COLUMNS 0
#endif
#ifndef V
#define V 1
#endif
#ifndef LOG
#define LOG 0
#endif
#ifndef PART
#define PART 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint groups_x;
    uint rounds;
    uint n;
    uint inner;
    uint lines;
    uint chunk_n;
    uint chunks;
};

#if V == 4
#define ELEM vec4
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#else
#define ELEM float
layout(std430, binding = 0) readonly buffer X { float x[]; };
#endif
#if PART == 2
#define Y_BINDING 2
#else
#define Y_BINDING 1
#endif
#if PART == 1
layout(std430, binding = 1) writeonly buffer Partials { vec2 partials[]; };
#else
#if PART == 2
layout(std430, binding = 1) readonly buffer Partials { vec2 partials[]; };
#endif
#if V == 4
layout(std430, binding = Y_BINDING) writeonly buffer Y { vec4 y[]; };
#else
layout(std430, binding = Y_BINDING) writeonly buffer Y { float y[]; };
#endif
#endif

const float LOWEST = -3.402823e38;
#define HELD float
#define JOINED 1
#define MAXIMUM 1
#include "reduce/lines"

#if V == 4
float joined_max(vec4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }
float joined_sum(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
float joined_max(float v) { return v; }
float joined_sum(float v) { return v; }
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
#else
    uint chunk = gl_WorkGroupID.z + group_base.z;
    uint first = chunk * chunk_n + lane;
    uint last = min(n, chunk * chunk_n + chunk_n);
#endif
    for (uint round = 0u; round < rounds; round++) {
        uint line = (group * rounds + round) * LINES + place;
        bool live = line < lines;
        uint end = live ? last : 0u; // a line past the last has no elements, yet takes part in the barriers
#if COLUMNS
        uint slab = line / inner;
        uint base = slab * n * inner + (line - slab * inner);
        uint stride = inner;
#else
        uint base = line * n;
        const uint stride = 1u;
#endif
        float m = LOWEST;
        float s = 0.0;
#if PART == 2
        uint first_partial = line * chunks;
        uint end_partial = live ? chunks : 0u;
        for (uint c = lane; c < end_partial; c += uint(LANES)) m = max(m, partials[first_partial + c].x);
        m = line_max(m, lane);
        for (uint c = lane; c < end_partial; c += uint(LANES)) {
            vec2 p = partials[first_partial + c];
            s += p.y * exp(p.x - m);
        }
        s = line_sum(s, lane);
#else
        ELEM largest = ELEM(LOWEST), sum = ELEM(0.0);
        for (uint k = first; k < end; k += uint(LANES)) largest = max(largest, x[base + k * stride]);
        m = line_max(joined_max(largest), lane);
        for (uint k = first; k < end; k += uint(LANES)) sum += exp(x[base + k * stride] - m);
        s = line_sum(joined_sum(sum), lane);
#endif
#if PART == 1
        if (live && lane == 0u) partials[line * chunks + chunk] = vec2(m, s);
#elif LOG
        float shift = log(s);
        for (uint k = first; k < end; k += uint(LANES)) {
            uint i = base + k * stride;
            y[i] = (x[i] - m) - shift;
        }
#else
        s = 1.0 / s;
        for (uint k = first; k < end; k += uint(LANES)) {
            uint i = base + k * stride;
            y[i] = exp(x[i] - m) * s;
        }
#endif
    }
}
