#version 310 es
// measure: what a line search asks of a gradient g, by groups, as the first of two passes, for a range of the parameters:
//   <g, d>    max |g|    sum |g|    <g - h, d>    |g - h|^2
// Bindings  0 in g f32, whole vec4    1 in d, the direction    2 in h, the gradient where the search began    3 out sums f32
// Uniforms  n_quads: vec4 in each;  after: where the first group leaves its first; the others n_sums further on each
// Groups    (groups, 1, 1); group j takes vec4 j 128 to j 128 + 127, then those groups 128 further on, and so forth
// Limits    128 invocations, 4 storage blocks, 2.5 KiB shared. The tree is fixed: the same bits every run
precision highp float;
precision highp int;

layout(local_size_x = 128) in;

layout(std140, binding = 0) uniform Params {
    uint n_quads;
    uint n_groups;
    uint after;
    uint n_sums;
};

layout(std430, binding = 0) readonly buffer G { vec4 g[]; };
layout(std430, binding = 1) readonly buffer D { vec4 d[]; };
layout(std430, binding = 2) readonly buffer H { vec4 h[]; };
layout(std430, binding = 3) writeonly buffer Sums { float sums[]; };
shared vec4 lanes[128]; /* the sums but one */
shared float most[128];

void main()
{
    uint group = gl_WorkGroupID.x;
    uint lane = gl_LocalInvocationIndex;
    vec4 own = vec4(0.0);
    float largest = 0.0;
    for (uint i = group * 128u + lane; i < n_quads; i += n_groups * 128u) {
        vec4 grad = g[i];
        vec4 dir = d[i];
        vec4 change = grad - h[i];
        vec4 size = abs(grad);
        own += vec4(dot(grad, dir), dot(size, vec4(1.0)), dot(change, dir), dot(change, change));
        largest = max(largest, max(max(size.x, size.y), max(size.z, size.w)));
    }
    lanes[lane] = own;
    most[lane] = largest;
    for (uint half_lanes = 64u; half_lanes > 0u; half_lanes >>= 1u) {
        memoryBarrierShared();
        barrier();
        if (lane < half_lanes) {
            lanes[lane] += lanes[lane + half_lanes];
            most[lane] = max(most[lane], most[lane + half_lanes]);
        }
    }
    if (lane != 0u) return;
    uint at = after + group;
    sums[at] = lanes[0].x;
    sums[at + n_sums] = most[0];
    sums[at + 2u * n_sums] = lanes[0].y;
    sums[at + 3u * n_sums] = lanes[0].z;
    sums[at + 4u * n_sums] = lanes[0].w;
}
