#version 310 es
// reduce: y[z][o] = FINISH(JOIN_r TERM(x[o, r])), over the terms r of chunk z, for any split of the axes into kept (o) and reduced (r)
//         ones
// Defines   JOIN 0 sum, 1 maximum, 2 minimum, 3 product    TERM 0 x, 1 (x - c)^2, 2 |x|, 3 x^2, 4 exp(x - c)
//           FINISH 0 scale * result, 1 its square root, 2 log(result) + c    CENTRE 1: c[o] is bound
// Bindings  0 in  x, row-major over all axes; f32    1 in c f32 [n_out], if CENTRE    last: out y f32 [chunks, n_out]; no aliasing
// Uniforms  n_out: outputs; n_terms: terms of one output; chunk: terms of one chunk; groups_x: width of the folded grid; scale: of the result
//           kept[i] = {length, stride}, reduced[i] = {length, stride, digit of TY in the mixed radix of the lengths}, outermost first;
//           reduced[REDUCED - 1].w: how far TY terms reach, if none wraps.
//           V = 4 counts along x's last axis, a multiple of four, in vec4: it is the last reduced axis if ROWS, else the last kept one.
// Groups    (groups_x, any, chunks); a group does TX outputs with TY lanes each. Chunks are not empty.
// Order     lane l adds terms l, l + TY, ... of its chunk, then the lanes are added in a tree: the same bits every time
// Limits    WG invocations, 4 * WG bytes shared, V times that for columns; none if TY is 1. TX * TY = WG, both powers of two.
#ifndef WG
#define WG 64
#endif
#ifndef TX
#define JOIN 0
#define ROWS 0
#define V 4
#define KEPT 1
#define REDUCED 2
#define TX 16
#define TY 4
#endif
#ifndef JOIN
#define JOIN 0
#endif
#ifndef TERM
#define TERM 0
#endif
#ifndef FINISH
#define FINISH 0
#endif
#ifndef CENTRE
#define CENTRE 0
#endif
#ifndef UPDATE // 1 or 4: the outputs are gradients that update parameters (optim/rules)
#define UPDATE 0
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

#if V == 4
#define T vec4
#else
#define T float
#endif
#if ROWS == 1 // what one output is
#define R float
#else
#define R T
#endif

#if V == 4
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
#else
layout(std430, binding = 0) readonly buffer X { float x[]; };
#endif
#if CENTRE == 1
#if ROWS == 0 && V == 4
layout(std430, binding = 1) readonly buffer C { vec4 c[]; };
#else
layout(std430, binding = 1) readonly buffer C { float c[]; };
#endif
layout(std430, binding = 2) writeonly buffer Y { R y[]; };
#elif !UPDATE
layout(std430, binding = 1) writeonly buffer Y { R y[]; };
#endif
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

#if JOIN == 0
#define JOINED(a, b) ((a) + (b))
#elif JOIN == 3
#define JOINED(a, b) ((a) * (b))
#else // of results, which may be no number; the lesser work for terms is below
#if JOIN == 1
#define TERMS(a, b) max(a, b)
float joined(float a, float b) { return a > b || isnan(a) ? a : b; }
#else
#define TERMS(a, b) min(a, b)
float joined(float a, float b) { return a < b || isnan(a) ? a : b; }
#endif
vec4 joined(vec4 a, vec4 b) { return vec4(joined(a.x, b.x), joined(a.y, b.y), joined(a.z, b.z), joined(a.w, b.w)); }
#define JOINED(a, b) joined(a, b)
#endif
#ifndef TERMS
#define TERMS(a, b) JOINED(a, b)
#endif

#if TERM == 1
T term(T t, T centre) { return (t - centre) * (t - centre); }
#elif TERM == 2
T term(T t, T centre) { return abs(t); }
#elif TERM == 3
T term(T t, T centre) { return t * t; }
#elif TERM == 4
T term(T t, T centre) { return exp(t - centre); }
#else
T term(T t, T centre) { return t; }
#endif

#if TY > 1
shared R lanes[WG];
#endif

void main()
{
#include "reduce/first_term"

#if CENTRE == 1
    R centre = c[min(o, n_out - 1u)];
#if FINISH == 2 || TERM == 4 // of -infinity alone the result is that, and not NaN
    centre = clamp(centre, -3.402823e38, 3.402823e38);
#endif
#else
    R centre = R(0.0);
#endif
#if JOIN == 1 || JOIN == 2
    T sum = term(x[at], T(centre)); // a term in any case: taking it twice changes no maximum
    T sizes = T(0.0);               // their sum is no number if a term is none, which max() and min() may drop; and only then
#elif JOIN == 3
    T sum = T(1.0);
#else
    T sum = T(0.0);
#endif
    for (; r < end; r += uint(TY)) {
        T next = term(x[at], T(centre));
        sum = TERMS(sum, next);
#if JOIN == 1 || JOIN == 2
        sizes += abs(next);
#endif
#include "reduce/next_term"
    }

#if ROWS == 1 && V == 4
    R result = JOINED(JOINED(sum.x, sum.y), JOINED(sum.z, sum.w));
#else
    R result = sum;
#endif
#if JOIN == 1 || JOIN == 2
#if ROWS == 1 && V == 4
    R size = (sizes.x + sizes.y) + (sizes.z + sizes.w);
    if (isnan(size)) result = size;
#elif V == 4
    result = mix(result, sizes, isnan(sizes));
#else
    if (isnan(sizes)) result = sizes;
#endif
#endif
#if TY > 1
    lanes[lane * uint(TX) + column] = result;
    for (uint half_lanes = uint(TY) / 2u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) {
            result = JOINED(result, lanes[(lane + half_lanes) * uint(TX) + column]);
            lanes[lane * uint(TX) + column] = result;
        }
    }
#endif
#if FINISH == 1
    result = sqrt(result);
#elif FINISH == 2
    result = log(result) + centre;
#else
    result *= scale;
#endif
#if UPDATE
    if (lane == 0u && o < n_out) update(o, result);
#else
    if (lane == 0u && o < n_out) y[group.z * n_out + o] = result;
#endif
}
