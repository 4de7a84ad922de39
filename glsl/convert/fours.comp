#version 310 es
// convert/fours: channels in fours: channel c of pixel p, which is [i][c][p] without, is element c % 4 of the vec4 [i][c / 4][p]; channels beyond the last are
//                zero there
// Bindings  0 in x f32, 1 out y f32: [images, channels, pixels] and [images, quads, pixels, 4], with FROM the other way round
// Uniforms  n = images * quads * pixels; quads = ceil(channels / 4); fold: groups along x
// Groups    64 vec4 each, folded into x and y
// Variants  FROM: out of fours
#ifndef FROM
#define FROM 0
#endif
#ifndef FLOAT16
#define FLOAT16 0
#endif
#define PAIRS (FROM && (FLOAT16 >> 1 & 1))
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
#if FROM
layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#else
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };
#endif
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, channels, pixels, quads, fold;
};

#if PAIRS
#include "shape/two"
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
#if PAIRS // the first invocations have two pixels each
    uint pairs = (pixels + 1u) >> 1;
    i = i / pairs * pixels + i % pairs * 2u;
#endif
    if (i >= n) return;
    uint plane = i / pixels, pixel = i - plane * pixels, image = plane / quads, c = (plane - image * quads) * 4u;
    uint left = channels - c, at = (image * channels + c) * pixels + pixel;
#if PAIRS
    bool two = pixel + 1u < pixels;
    vec4 t = x[i], next = x[two ? i + 1u : i];
    for (uint k = 0u; k < min(left, 4u); k++, at += pixels) {
        vec2 both = vec2(t.x, next.x);
        STORE_TWO(at, two, both)
        t = t.yzwx;
        next = next.yzwx;
    }
#elif FROM
    vec4 t = x[i];
    y[at] = t.x;
    if (left > 1u) y[at + pixels] = t.y;
    if (left > 2u) y[at + 2u * pixels] = t.z;
    if (left > 3u) y[at + 3u * pixels] = t.w;
#else
    vec4 t = vec4(x[at], x[at + min(1u, left - 1u) * pixels], x[at + min(2u, left - 1u) * pixels], x[at + min(3u, left - 1u) * pixels]);
    y[i] = vec4(t.x, left > 1u ? t.y : 0.0, left > 2u ? t.z : 0.0, left > 3u ? t.w : 0.0);
#endif
}
