#version 310 es
// grad: the gradient of softmax, dx = y (g - sum(g y)); LOG: of log_softmax, dx = g - exp(y) sum(g); sums along the axis
// Layout    y, g and dx are seen as [outer, n, inner] with the axis in the middle; a line is one (outer, inner) pair.
//           LANES invocations share a line, a group of 128 works on 128 / LANES lines at a time
//           COLUMNS 0: inner is 1, lanes are neighbours in the group;  1: lines are neighbours, for inner > 1
// Parts     PART 0: whole lines.  Very long lines are cut into chunks (the z axis of the grid) in two dispatches:
//           PART 1: the sum over each chunk to `partials` [lines, chunks];  PART 2: add them, write the chunk
// Bindings  PART 0: 0 in y, 1 in g, 2 out dx.  PART 1: 0 in y, 1 in g, 2 out partials (LOG: y is not bound, 0 in g,
//           1 out partials).  PART 2: 0 in y, 1 in g, 2 in partials, 3 out dx.  f32 row-major; dx may be y or g: an invocation
//           rereads only the elements that it alone writes, before it writes them
// Uniforms  rounds: blocks of lines that one group does, one after the other; n, inner, lines >= 1, any value
//           chunk_n: elements of a chunk (n in PART 0);  chunks: how many
// Groups    (x, y, chunks) with x * y * rounds * (128 / LANES) >= lines, folded over x and y
// Limits    512 bytes shared, 128 invocations, at most 4 storage blocks
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

// The number of each block; y is none of the sums of LOG.
#if PART == 1 && LOG
#define G_BINDING 0
#else
#define G_BINDING 1
#endif
#if PART == 2
#define DX_BINDING 3
#else
#define DX_BINDING 2
#endif
#if V == 4
#define ELEM vec4
#if G_BINDING == 1
layout(std430, binding = 0) readonly buffer Y { vec4 y[]; };
#endif
layout(std430, binding = G_BINDING) readonly buffer G { vec4 g[]; };
#if PART != 1
layout(std430, binding = DX_BINDING) writeonly buffer Dx { vec4 dx[]; };
#endif
#else
#define ELEM float
#if G_BINDING == 1
layout(std430, binding = 0) readonly buffer Y { float y[]; };
#endif
layout(std430, binding = G_BINDING) readonly buffer G { float g[]; };
#if PART != 1
layout(std430, binding = DX_BINDING) writeonly buffer Dx { float dx[]; };
#endif
#endif
#if PART == 1 && LOG
layout(std430, binding = 1) writeonly buffer Partials { float partials[]; };
#elif PART == 1
layout(std430, binding = 2) writeonly buffer Partials { float partials[]; };
#elif PART == 2
layout(std430, binding = 2) readonly buffer Partials { float partials[]; };
#endif

#define HELD float
#define JOINED 1
#include "reduce/lines"

#if V == 4
float joined_sum(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
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
        float s = 0.0;
#if PART == 2
        uint first_partial = line * chunks;
        uint end_partial = live ? chunks : 0u;
        for (uint c = lane; c < end_partial; c += uint(LANES)) s += partials[first_partial + c];
#else
        ELEM sum = ELEM(0.0);
        for (uint k = first; k < end; k += uint(LANES)) {
            uint i = base + k * stride;
#if LOG
            sum += g[i];
#else
            sum += g[i] * y[i];
#endif
        }
        s = joined_sum(sum);
#endif
        s = line_sum(s, lane);
#if PART == 1
        if (live && lane == 0u) partials[line * chunks + chunk] = s;
#else
        for (uint k = first; k < end; k += uint(LANES)) {
            uint i = base + k * stride;
#if LOG
            dx[i] = g[i] - exp(y[i]) * s;
#else
            dx[i] = y[i] * (g[i] - s);
#endif
        }
#endif
    }
}
