#version 310 es
// conv/winograd_taps: gw[part][f][c] = C^T s(f, c) C, the 3 x 3 taps of a pair, from its 36 sums over the tiles (conv/winograd_grad)
//
// Bindings  0 in s f32 [36, n_pairs]    1 out gw f32 [parts, n_pairs, 9]: part `part` of it
// Uniforms  n_pairs: f and c in all; first = 9 n_pairs part; fold: groups along x
// Groups    64 pairs each, folded into x and y
// Limits    64 invocations, no shared memory
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer S { float s[]; };
layout(std430, binding = 1) writeonly buffer GW { float gw[]; };
layout(std140, binding = 0) uniform Params { uvec3 group_base; uint n_pairs, first, fold; };

// Three taps from six sums, t0 to t5.
#define TAPS(T, t0, t1, t2, t3, t4, t5, to0, to1, to2)                                                                           \
    {                                                                                                                            \
        T even_a = t1 + t2, odd_a = t1 - t2, even_b = t3 + t4, odd_b = t3 - t4;                                                  \
        to0 = t0 * (256.0 / 225.0) + even_a * (-2048.0 / 2975.0) + even_b * (128.0 / 1071.0);                                    \
        to1 = odd_a * (-256.0 / 595.0) + odd_b * (64.0 / 357.0);                                                                 \
        to2 = (even_b - even_a) * (32.0 / 119.0) + t5;                                                                           \
    }

vec3 column(uint at)
{
    uint row = 6u * n_pairs;
    vec3 t;
    float t0 = s[at], t1 = s[at + row], t2 = s[at + 2u * row], t3 = s[at + 3u * row], t4 = s[at + 4u * row], t5 = s[at + 5u * row];
    TAPS(float, t0, t1, t2, t3, t4, t5, t.x, t.y, t.z)
    return t;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint at = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (at >= n_pairs) return;
    vec3 c0 = column(at), c1 = column(at + n_pairs), c2 = column(at + 2u * n_pairs), c3 = column(at + 3u * n_pairs);
    vec3 c4 = column(at + 4u * n_pairs), c5 = column(at + 5u * n_pairs), q0, q1, q2;
    TAPS(vec3, c0, c1, c2, c3, c4, c5, q0, q1, q2)
    uint to = first + 9u * at;
    gw[to] = q0.x;
    gw[to + 1u] = q1.x;
    gw[to + 2u] = q2.x;
    gw[to + 3u] = q0.y;
    gw[to + 4u] = q1.y;
    gw[to + 5u] = q2.y;
    gw[to + 6u] = q0.z;
    gw[to + 7u] = q1.z;
    gw[to + 8u] = q2.z;
}
