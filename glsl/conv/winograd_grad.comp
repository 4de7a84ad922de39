#version 310 es
// conv/winograd_grad: tiles of 4 x 4 pixels of g, 4 apart, as the gradient of 3 x 3 taps wants them: u[z][f][t] is element z of H g H^T, g being tile
//                     tile_first + t of channel f, zero outside of the image
//
// The 3 x 3 sums of a tile of g with the 6 x 6 pixels of x that it meets are C^T ((H g H^T) * (B^T x B)) C: a filtering whose outputs are the taps and whose
// filter is the tile (conv/winograd_filter, which has the source). Its points are those of M 4, so that x is transformed as for the convolution itself; H are their powers
// 0 to 3, and the factors of the points are left to C, the transpose of conv/winograd_filter's G (conv/winograd_taps).
// Bindings  0 in g f32 [images, f_out, rows, columns]    1 out u f32 [36, f_out, n_t]
// Uniforms  n = f_out n_t; n_tiles: of all images, down x across each; those beyond are zero; by_n_t, by_across, by_down: their reciprocals; fold:
//           groups along x
// Groups    64 tiles of a channel each, folded into x and y; n and n_tiles below 2^22
// Variants  QUADS: columns are a multiple of 4, so that rows of a tile are vec4
// Limits    64 invocations, no shared memory
#ifndef QUADS
#define QUADS 0
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
#if QUADS
layout(std430, binding = 0) readonly buffer G { vec4 g[]; };
#else
layout(std430, binding = 0) readonly buffer G { float g[]; };
#endif
layout(std430, binding = 1) writeonly buffer U { float u[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, n_t, tile_first, n_tiles, across, down, f_out, fold, rows, columns;
    float by_n_t, by_across, by_down;
};

// Four pixels of row `row` from `left` on, if they are in the image.
vec4 line(uint channel, uint row, uint left)
{
    vec4 t = vec4(0.0);
    if (row < rows) {
        uint at = channel + row * columns + left;
#if QUADS
        t = g[at >> 2];
#else
        t.x = g[at];
        if (left + 1u < columns) t.y = g[at + 1u];
        if (left + 2u < columns) t.z = g[at + 2u];
        if (left + 3u < columns) t.w = g[at + 3u];
#endif
    }
    return t;
}

// A row of the result: H times t.
void store(uint to, vec4 t)
{
    float even_a = t.x + 0.390625 * t.z, odd_a = 0.625 * t.y + 0.244140625 * t.w;
    float even_b = t.x + 2.25 * t.z, odd_b = 1.5 * t.y + 3.375 * t.w;
    u[to] = t.x;
    u[to + n] = even_a + odd_a;
    u[to + 2u * n] = even_a - odd_a;
    u[to + 3u * n] = even_b + odd_b;
    u[to + 4u * n] = even_b - odd_b;
    u[to + 5u * n] = t.w;
}

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint to = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (to >= n) return;
    uint f = uint((float(to) + 0.5) * by_n_t), tile = to - f * n_t + tile_first;
    vec4 t0 = vec4(0.0), t1 = vec4(0.0), t2 = vec4(0.0), t3 = vec4(0.0);
    if (tile < n_tiles) {
        uint strip = uint((float(tile) + 0.5) * by_across), image = uint((float(strip) + 0.5) * by_down);
        uint row = (strip - image * down) * 4u, left = (tile - strip * across) * 4u, channel = (image * f_out + f) * rows * columns;
        t0 = line(channel, row, left);
        t1 = line(channel, row + 1u, left);
        t2 = line(channel, row + 2u, left);
        t3 = line(channel, row + 3u, left);
    }
    uint step = 6u * n;
    vec4 even_a = t0 + 0.390625 * t2, odd_a = 0.625 * t1 + 0.244140625 * t3;
    store(to, t0);
    store(to + step, even_a + odd_a);
    store(to + 2u * step, even_a - odd_a);
    vec4 even_b = t0 + 2.25 * t2, odd_b = 1.5 * t1 + 3.375 * t3;
    store(to + 3u * step, even_b + odd_b);
    store(to + 4u * step, even_b - odd_b);
    store(to + 5u * step, t3);
}
