#version 310 es
// random: four neighbouring elements from one call of Philox4x32-10, which keeps no state
//           KIND 0: the words themselves, int32;  1: uniform, k0 + k1 u, at most k2;  2: normal, k0 + k1 z;
//           3: 1 with probability p, else 0;  4: x / (1 - p) with probability 1 - p, else 0 (k0 = 1 / (1 - p))
// Source    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011); Box, Muller (1958)
// Bindings  KIND 4: 0 in x f32 [n], may be y    then out y [n]; both padded to 16 bytes
// Uniforms  n: elements, 1 to 2^31 - 1    groups_x: width of the folded grid    draw: the id of this draw in its graph
//           threshold: KIND 3 and 4: p 2^24, rounded up    seed and step from the step block
// Groups    (groups_x, any, 1), WG invocations each. Elements past n inside y's last 16 bytes become zero.
// Limits    2 storage blocks, nothing shared
#ifndef KIND
#define KIND 2
#endif
#ifndef WG
#define WG 64
#endif
precision highp float;
precision highp int;

layout(local_size_x = WG) in;

layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n;
    uint groups_x;
    uint draw;
    uint threshold;
    float k0, k1, k2;
};
layout(std140, binding = 1) uniform Step {
    uvec4 random; // seed low, seed high, step low, step high
    vec4 slots[16];
};

#if KIND == 0
#define T ivec4
#else
#define T vec4
#endif
#if KIND == 4
layout(std430, binding = 0) readonly buffer X { vec4 x_data[]; };
layout(std430, binding = 1) writeonly buffer Y { T y_data[]; };
#else
layout(std430, binding = 0) writeonly buffer Y { T y_data[]; };
#endif

uvec4 philox(uvec4 c, uvec2 key)
{
    for (int i = 0; i < 10; i++) {
        uint high0, low0, high1, low1;
        umulExtended(0xD2511F53u, c.x, high0, low0);
        umulExtended(0xCD9E8D57u, c.z, high1, low1);
        c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

#if KIND == 2
// -ln(1 - u) for u = k / 2^24. GLSL's log() may be 2^-21 off near 1, where the result is that small; this is a few eps off.
float minus_log_rest(uint k)
{
    float rest = float(16777216u - k); // 1 to 2^24, exact
    uint bits = floatBitsToUint(rest);
    float exponent = float(bits >> 23) - 151.0;
    float m = uintBitsToFloat((bits & 0x7fffffu) | 0x3f800000u); // [1, 2)
    if (m > 1.41421356) {
        m *= 0.5;
        exponent += 1.0;
    }
    float s = (m - 1.0) / (m + 1.0); // |s| <= 0.1716: the first term left out is 4e-10 of the result
    float q = s * s;
    return -(exponent * 0.693147181 + 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0))))));
}

// cos and sin of 2 pi k / 2^24: an octant and a polynomial, since GLSL promises little of sin() and cos().
vec2 unit_circle(uint k)
{
    uint octant = k >> 21;
    uint rest = k & 0x1fffffu;
    if ((octant & 1u) != 0u) rest = 0x200000u - rest; // odd octants run backwards
    float a = float(rest) * 3.74507039e-7;            // 2 pi / 2^24; up to pi / 4
    float s = a * a;
    float cosine = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s * (1.0 / 40320.0))));
    float sine = a * (1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0)))));
    uint turned = octant + 1u; // axes swap in octants 1, 2, 5 and 6
    vec2 at = (turned & 2u) != 0u ? vec2(sine, cosine) : vec2(cosine, sine);
    if (((octant + 2u) & 4u) != 0u) at.x = -at.x; // octants 2 to 5
    if (octant >= 4u) at.y = -at.y;
    return at;
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint i = (group.y * groups_x + group.x) * uint(WG) + gl_LocalInvocationID.x; // the quad
    if (i >= (n + 3u) >> 2) return;
    uvec4 words = philox(uvec4(i, draw, random.z, random.w), random.xy);
#if KIND == 0
    T y = ivec4(words);
#elif KIND == 1
    T y = min(vec4(k0) + k1 * (vec4(words >> 8u) * 5.9604644775390625e-8), vec4(k2));
#elif KIND == 2
    words >>= 8u;
    float r0 = sqrt(2.0 * minus_log_rest(words.x));
    float r1 = sqrt(2.0 * minus_log_rest(words.z));
    T y = vec4(k0) + k1 * vec4(r0 * unit_circle(words.y), r1 * unit_circle(words.w));
#elif KIND == 3
    T y = vec4(lessThan(words >> 8u, uvec4(threshold)));
#else
    vec4 x = x_data[i];
    bvec4 dropped = lessThan(words >> 8u, uvec4(threshold));
    T y = vec4(dropped.x ? 0.0 : x.x * k0, dropped.y ? 0.0 : x.y * k0, dropped.z ? 0.0 : x.z * k0,
               dropped.w ? 0.0 : x.w * k0);
#endif
    uint valid = n - i * 4u;
    if (valid < 4u) {
        y.w = T(0).w;
        if (valid < 3u) y.z = T(0).z;
        if (valid < 2u) y.y = T(0).y;
    }
    y_data[i] = y;
}
