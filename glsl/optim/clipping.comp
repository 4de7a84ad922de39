#version 310 es
// clipping: gradients are clipped as updates read them. No kernel, but a part of those: the definition CLIPPING 1 puts this text in front of
//           theirs (src/gpu/kernel.c).
//   VALUE 1   each gradient into [-most, most]; one that is not a number stays one
//   SUMS n    then times most / (norm + 1e-6) where that is below 1; norm^2 is the sum of n numbers, 1 or a multiple of 4, which
//             every invocation adds up in the same order. 0: not
// Source    as torch.nn.utils.clip_grad_value_ and clip_grad_norm_
// Uniforms  block 2: the n sums
#ifndef SUMS
#define VALUE 1
#define SUMS  8
#endif
precision highp float;
precision highp int;

#if SUMS > 0
layout(std140, binding = 2) uniform Sums { vec4 clip_sums[(SUMS + 3) / 4]; };
#endif

// The factor of all gradients.
float clip_factor(float most)
{
#if SUMS == 0
    return 1.0;
#else
#if SUMS == 1
    float norm = sqrt(clip_sums[0].x);
#else
    vec4 sum = clip_sums[0];
    for (int i = 1; i < SUMS / 4; i++) sum += clip_sums[i];
    float norm = sqrt((sum.x + sum.y) + (sum.z + sum.w));
#endif
    float factor = most / (norm + 1e-6);
    return isnan(factor) ? factor : min(factor, 1.0); // not a number: scales, so that it shows
#endif
}

vec4 clip(vec4 g, float most, float factor)
{
#if VALUE
    vec4 bound = vec4(min(most, 3.402823e38)); // another value to compilers, which make no minimum of this then: one may drop what is no number
    g = mix(g, bound, greaterThan(g, vec4(most)));
    g = mix(g, -bound, lessThan(g, vec4(-most)));
#endif
#if SUMS > 0
    g *= factor;
#endif
    return g;
}

#ifndef CLIPPING // by itself it compiles, too
layout(local_size_x = 128) in;
void main() {}
#endif
