#version 310 es
// scan: y[o, j, i] = sum of x[o, k, i] for k = 0 .. j (REVERSE 1: k = j .. n-1); TOTALS 1: only the sum of each chunk of the axis
// Bindings  0 in  x f32 [outer, n, inner]    CARRY 1: also 1 in carry f32 [outer, chunks, inner], the same scan of the totals
//           last: out y like x, or f32 [outer, chunks, inner]; no aliasing
// Uniforms  lines: outer * inner    groups_x: width of the folded grid    chunk: elements of one chunk (REVERSE counts from the end)
// Groups    (groups_x, any, chunks); a group does TX lines with TY lanes each, TX * TY = 64, both powers of two
// Order     TY elements at a time are summed in log2(TY) rounds, then added to what came before: the same bits every time
// Limits    512 bytes shared, none if TY is 1
#ifndef TX
#define TX 1
#define TY 64
#define REVERSE 1
#define TOTALS 0
#define CARRY 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in;

layout(std430, binding = 0) readonly buffer X { float x[]; };
#if CARRY == 1
layout(std430, binding = 1) readonly buffer Carry { float carry[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#else
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint lines;
    uint groups_x;
    uint n, inner, chunk, chunks;
};

#if TY > 1
shared float sums[128]; // two halves in turn
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint t = gl_LocalInvocationID.x;
    bool rows = inner == 1u; // neighbours read neighbouring addresses: along a line, or in the next line
    uint lane = rows ? t % uint(TY) : t / uint(TX);
    uint column = rows ? t / uint(TY) : t % uint(TX);
    uint line = (group.y * groups_x + group.x) * uint(TX) + column;
    bool live = line < lines;
    uint o = line / inner;
    uint i = line - o * inner;
    uint first = group.z * chunk;
    uint end = min(first + chunk, n);
    float before = 0.0;
#if CARRY == 1
#if REVERSE == 1
    if (live && group.z > 0u) before = carry[(o * chunks + (chunks - group.z)) * inner + i];
#else
    if (live && group.z > 0u) before = carry[(o * chunks + (group.z - 1u)) * inner + i];
#endif
#endif
    for (uint from = first; from < end; from += uint(TY)) {
        uint j = from + lane;
        bool here = live && j < end;
#if REVERSE == 1
        uint at = (o * n + (n - 1u - j)) * inner + i;
#else
        uint at = (o * n + j) * inner + i;
#endif
        float sum = here ? x[at] : 0.0;
#if TY > 1
        uint mine = column * uint(TY) + lane;
        uint turn = 0u;
        for (uint reach = 1u; reach < uint(TY); reach <<= 1u) {
            sums[turn + mine] = sum;
            memoryBarrierShared();
            barrier();
            if (lane >= reach) sum += sums[turn + mine - reach];
            turn ^= 64u;
        }
        sums[turn + mine] = sum;
        memoryBarrierShared();
        barrier();
        float all = sums[turn + column * uint(TY) + uint(TY - 1)];
        barrier(); // nobody writes before all have read
#else
        float all = sum;
#endif
#if TOTALS == 0
        if (here) y[at] = before + sum;
#endif
        before += all;
    }
#if TOTALS == 1
#if REVERSE == 1
    uint place = chunks - 1u - group.z;
#else
    uint place = group.z;
#endif
    if (live && lane == 0u) y[(o * chunks + place) * inner + i] = before;
#endif
}
