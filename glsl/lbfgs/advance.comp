#version 310 es
// advance: one step of the two loops of L-BFGS over a range of the parameters, and the first pass of the next product
//   PART 0    q = -v                                             (v the gradient)
//   PART 1    alpha = rho p;  q = scale (q - alpha v)            (p = <s_i, q>, v = y_i; newest to oldest)
//   PART 2    beta = rho p;  q = scale (q + (alpha - beta) v)    (p = <y_i, q>, v = s_i; oldest to newest)
// p is the sum of what the dispatch before left; here the groups leave theirs of <q, w>, w being the vector that comes next,
// and of max |q|.
// Source    Nocedal, Wright, Numerical Optimization, algorithm 7.4
// Bindings  0 in out q f32, whole vec4    1 in v    2 in w    3 in out sums f32
// Uniforms  n_quads: vec4 in each;  n_before: sums of p, from sums[before];  after: where this range's first group leaves its own, and
//           after + n_sums its maximum;  alpha_at: where alpha is, and with keeps != 0 is written by group 0;  rho, scale
// Groups    (groups, 1, 1); group j takes vec4 j 128 to j 128 + 127, then those groups 128 further on, and so forth
// Limits    128 invocations, 4 storage blocks, 1 KiB shared. The tree is fixed: the same bits every run
#ifndef PART
#define PART 1
#endif
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uint n_quads;
    uint n_groups;
    uint n_before;
    uint before;
    uint after;
    uint n_sums;
    uint alpha_at;
    uint keeps;
    float rho;
    float scale;
};

#if PART == 0
layout(std430, binding = 0) writeonly buffer Q { vec4 q[]; };
#else
layout(std430, binding = 0) buffer Q { vec4 q[]; };
#endif
layout(std430, binding = 1) readonly buffer V { vec4 v[]; };
layout(std430, binding = 2) readonly buffer W { vec4 w[]; };
layout(std430, binding = 3) buffer Sums { float sums[]; };
shared vec2 lanes[128];

/* x: the sum, y: the largest, over all lanes. */
vec2 over_lanes(vec2 own)
{
    uint lane = gl_LocalInvocationIndex;
    barrier(); /* the last result was read */
    lanes[lane] = own;
    for (uint half_lanes = 64u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) {
            vec2 other = lanes[lane + half_lanes];
            lanes[lane] = vec2(lanes[lane].x + other.x, max(lanes[lane].y, other.y));
        }
    }
    memoryBarrierShared();
    barrier();
    return lanes[0];
}

void main()
{
    uint group = gl_WorkGroupID.x;
    uint lane = gl_LocalInvocationIndex;
#if PART > 0
    float part = 0.0;
    for (uint i = lane; i < n_before; i += 128u) part += sums[before + i];
    float product = rho * over_lanes(vec2(part, 0.0)).x;
#if PART == 1
    float factor = -product;
    if (keeps != 0u && group == 0u && lane == 0u) sums[alpha_at] = product;
#else
    float factor = sums[alpha_at] - product;
#endif
#endif
    vec2 own = vec2(0.0);
    for (uint i = group * 128u + lane; i < n_quads; i += n_groups * 128u) {
#if PART == 0
        vec4 moved = -v[i];
#else
        vec4 moved = scale * (q[i] + factor * v[i]);
#endif
        q[i] = moved;
        vec4 size = abs(moved);
        own.x += dot(moved, w[i]);
        own.y = max(own.y, max(max(size.x, size.y), max(size.z, size.w)));
    }
    vec2 all_lanes = over_lanes(own);
    if (lane == 0u) {
        sums[after + group] = all_lanes.x;
        sums[after + n_sums + group] = all_lanes.y;
    }
}
