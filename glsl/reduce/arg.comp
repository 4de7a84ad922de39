#version 310 es
// arg: the number r of the largest (MINIMUM 1: smallest) of the terms x[o, r] of chunk z, the first of equals, for any split of the
//         axes into kept (o) and reduced (r) ones; terms are numbered row-major over the reduced axes
// Bindings  0 in  x f32, row-major over all axes    PAIRS 1: also 1 in numbers i32 like x (x holds what earlier chunks found)
//           next: VALUES 1: out values f32 [chunks, n_out]    last: out numbers i32 [chunks, n_out]; no aliasing
// Uniforms  as reduce/reduce, V being 1; scale is not used
// Groups    (groups_x, any, chunks); a group does TX outputs with TY lanes each. Chunks are not empty.
// Limits    512 bytes shared, none if TY is 1. TX * TY = 64, both powers of two. The first NaN beats all.
#ifndef TX
#define ROWS 1
#define KEPT 1
#define REDUCED 2
#define TX 16
#define TY 4
#endif
#ifndef MINIMUM
#define MINIMUM 0
#endif
#ifndef PAIRS
#define PAIRS 0
#endif
#ifndef VALUES
#define VALUES 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 64) in; // TX * TY, which only a literal can say here

layout(std430, binding = 0) readonly buffer X { float x[]; };
#if PAIRS == 1
layout(std430, binding = 1) readonly buffer Found { uint found[]; };
#endif
#if PAIRS + VALUES == 2 // binding takes a literal
#define VALUES_AT 2
#define NUMBERS_AT 3
#elif PAIRS + VALUES == 1
#define VALUES_AT 1
#define NUMBERS_AT 2
#else
#define NUMBERS_AT 1
#endif
#if VALUES == 1
layout(std430, binding = VALUES_AT) writeonly buffer Values { float values[]; };
#endif
layout(std430, binding = NUMBERS_AT) writeonly buffer Numbers { uint numbers[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_out;
    uint groups_x, n_terms, chunk;
    float scale;
#if KEPT > 0
    uvec4 kept[KEPT];
#endif
    uvec4 reduced[REDUCED];
};

const uint NOWHERE = 0xffffffffu; // of a lane without terms: loses against every other

#if TY > 1
shared float lane_values[64];
shared uint lane_numbers[64];
#endif

#if MINIMUM == 1
#define BEATS(a, b) ((a) < (b))
#else
#define BEATS(a, b) ((a) > (b))
#endif

void main()
{
#include "reduce/first_term"

    float best = 0.0;
    uint number = NOWHERE;
    for (; r < end; r += uint(TY)) {
        float v = x[at];
#if PAIRS == 1
        uint n = found[at];
#else
        uint n = r;
#endif
        if (number == NOWHERE || BEATS(v, best) || isnan(v)) {
            best = v;
            number = n;
            if (isnan(v)) r = end; // nothing beats it
        }
#include "reduce/next_term"
    }

#if TY > 1
    uint mine = lane * uint(TX) + column;
    lane_values[mine] = best;
    lane_numbers[mine] = number;
    for (uint half_lanes = uint(TY) / 2u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) {
            float v = lane_values[mine + half_lanes * uint(TX)];
            uint n = lane_numbers[mine + half_lanes * uint(TX)];
            bool beats = BEATS(v, best) || (isnan(v) && !isnan(best)), equal = v == best || (isnan(v) && isnan(best));
            if (n != NOWHERE && (number == NOWHERE || beats || (equal && n < number))) {
                best = v;
                number = n;
                lane_values[mine] = best;
                lane_numbers[mine] = number;
            }
        }
    }
#endif
    if (lane == 0u && o < n_out) {
        numbers[group.z * n_out + o] = number;
#if VALUES == 1
        values[group.z * n_out + o] = best;
#endif
    }
}
