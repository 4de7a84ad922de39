#version 310 es
// conv/winograd_filter: the filters of 3 x 3 taps as conv/winograd_input's tiles want them: u[z][o][i] is element z of the (M + 2) x (M + 2)
//                       of G w(o, i) G^T
//
// M x M pixels of a convolution are A^T (sum_c (G w G^T) * (B^T x B)) A, `*` by elements and x the (M + 2) x (M + 2) pixels that they see.
//   M 2: points 0, 1, -1 and infinity    M 4: points 0, 5/8, -5/8, 3/2, -3/2 and infinity
// Source    S. Winograd, Arithmetic Complexity of Computations (1980); A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks (2015),
//           who have 1 and 2 where we have 5/8 and 3/2, which make a third of the error (src/ops/conv2d_winograd_bound.c)
// Bindings  0 in w f32: tap (p, q) of pair (o, i) is w[o w_o + i w_i + w_first + p w_p + q w_q]    1 out u f32 [(M + 2)^2, n_pairs]
// Uniforms  n_pairs: o and i in all, i the inner, of n_i; by_n_i: 1 / n_i; fold: groups along x
// Groups    64 pairs each, folded into x and y; n_pairs below 2^22
// Limits    64 invocations, no shared memory
#ifndef M
#define M 2 // or 4
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer W { float w[]; };
layout(std430, binding = 1) writeonly buffer U { float u[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n_pairs, n_i, fold;
    int w_o, w_i, w_first, w_p, w_q;
    float by_n_i;
};

// A row of the result: G times a row of w G^T's transpose.
void store(uint to, vec3 t)
{
#if M == 2
    float even = 0.5 * (t.x + t.z), odd = 0.5 * t.y;
    u[to] = t.x;
    u[to + n_pairs] = even + odd;
    u[to + 2u * n_pairs] = even - odd;
    u[to + 3u * n_pairs] = t.z;
#else
    float even_a = t.x * (-2048.0 / 2975.0) + t.z * (-32.0 / 119.0), odd_a = t.y * (-256.0 / 595.0);
    float even_b = t.x * (128.0 / 1071.0) + t.z * (32.0 / 119.0), odd_b = t.y * (64.0 / 357.0);
    u[to] = t.x * (256.0 / 225.0);
    u[to + n_pairs] = even_a + odd_a;
    u[to + 2u * n_pairs] = even_a - odd_a;
    u[to + 3u * n_pairs] = even_b + odd_b;
    u[to + 4u * n_pairs] = even_b - odd_b;
    u[to + 5u * n_pairs] = t.z;
#endif
}

vec3 taps(int at) { return vec3(w[at], w[at + w_q], w[at + 2 * w_q]); }

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint pair = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (pair >= n_pairs) return;
    uint o = uint((float(pair) + 0.5) * by_n_i), i = pair - o * n_i;
    int at = int(o) * w_o + int(i) * w_i + w_first;
    vec3 g0 = taps(at), g1 = taps(at + w_p), g2 = taps(at + 2 * w_p);
    uint row = uint(M + 2) * n_pairs;
#if M == 2
    vec3 even = 0.5 * (g0 + g2), odd = 0.5 * g1;
    store(pair, g0);
    store(pair + row, even + odd);
    store(pair + 2u * row, even - odd);
    store(pair + 3u * row, g2);
#else
    store(pair, g0 * (256.0 / 225.0));
    vec3 even = g0 * (-2048.0 / 2975.0) + g2 * (-32.0 / 119.0), odd = g1 * (-256.0 / 595.0);
    store(pair + row, even + odd);
    store(pair + 2u * row, even - odd);
    even = g0 * (128.0 / 1071.0) + g2 * (32.0 / 119.0), odd = g1 * (64.0 / 357.0);
    store(pair + 3u * row, even + odd);
    store(pair + 4u * row, even - odd);
    store(pair + 5u * row, g2);
#endif
}
