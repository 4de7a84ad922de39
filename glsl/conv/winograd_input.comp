#version 310 es
// conv/winograd_input: tiles of (M + 2) x (M + 2) pixels, M apart, as conv/winograd_filter says: v[z][c][t] is element z of B^T x B, x being tile
//                      tile_first + t of channel c, zero outside of the image
//
// Bindings  0 in x f32 [images, c_in, x_h, x_w]    1 out v f32 [(M + 2)^2, c_in, n_t]
// Uniforms  n = c_in n_t; n_tiles: of all images, down x across each; those beyond are zero; pad_y, pad_x: pixels before the image that the first
//           tile begins; by_n_t, by_across, by_down: their reciprocals; fold: groups along x
// Groups    64 tiles of a channel each, folded into x and y; n and n_tiles below 2^22
// Limits    64 invocations, no shared memory
#ifndef M
#define M 2 // or 4
#endif
precision highp float;
precision highp int;
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer V { float v[]; };
layout(std140, binding = 0) uniform Params {
    uvec3 group_base;
    uint n, n_t, tile_first, n_tiles, across, down, c_in, fold;
    int x_h, x_w, pad_y, pad_x;
    float by_n_t, by_across, by_down;
};

int left; // of the tile

float pixel(int row, int d)
{
    float t = x[row + clamp(left + d, 0, x_w - 1)];
    return left + d >= 0 && left + d < x_w ? t : 0.0;
}

#if M == 2
#define LINE vec4
#define ZERO vec4(0.0)
LINE line(int row)
{
    float d0 = pixel(row, 0), d1 = pixel(row, 1), d2 = pixel(row, 2), d3 = pixel(row, 3);
    return vec4(d0 - d2, d1 + d2, d2 - d1, d1 - d3);
}
#else
// Row `row` of x times B: six values.
struct LINE {
    vec3 a, b;
};
#define ZERO LINE(vec3(0.0), vec3(0.0))
LINE line(int row)
{
    float d0 = pixel(row, 0), d1 = pixel(row, 1), d2 = pixel(row, 2), d3 = pixel(row, 3), d4 = pixel(row, 4), d5 = pixel(row, 5);
    float even_a = d4 - 2.25 * d2, odd_a = 0.625 * (d3 - 2.25 * d1);
    float even_b = d4 - 0.390625 * d2, odd_b = 1.5 * (d3 - 0.390625 * d1);
    return LINE(vec3(d4 + (0.87890625 * d0 - 2.640625 * d2), even_a + odd_a, even_a - odd_a),
                vec3(even_b + odd_b, even_b - odd_b, d5 + (0.87890625 * d1 - 2.640625 * d3)));
}
#endif

// Row `r` of the tile, if it is in the image.
LINE line_at(int channel, int top, int r)
{
    return top + r >= 0 && top + r < x_h ? line(channel + (top + r) * x_w) : ZERO;
}

#if M == 2
void store(uint to, vec4 t)
{
    v[to] = t.x;
    v[to + n] = t.y;
    v[to + 2u * n] = t.z;
    v[to + 3u * n] = t.w;
}
#else
void store(uint to, vec3 t)
{
    v[to] = t.x;
    v[to + n] = t.y;
    v[to + 2u * n] = t.z;
}

// Three columns of the result from those of x B.
void columns(uint to, vec3 d0, vec3 d1, vec3 d2, vec3 d3, vec3 d4, vec3 d5)
{
    uint row = 6u * n;
    vec3 even = d4 - 2.25 * d2, odd = 0.625 * (d3 - 2.25 * d1);
    store(to, d4 + (0.87890625 * d0 - 2.640625 * d2));
    store(to + row, even + odd);
    store(to + 2u * row, even - odd);
    even = d4 - 0.390625 * d2, odd = 1.5 * (d3 - 0.390625 * d1);
    store(to + 3u * row, even + odd);
    store(to + 4u * row, even - odd);
    store(to + 5u * row, d5 + (0.87890625 * d1 - 2.640625 * d3));
}
#endif

void main()
{
    uvec3 group = gl_WorkGroupID + group_base;
    uint at = (group.y * fold + group.x) * 64u + gl_LocalInvocationID.x;
    if (at >= n) return;
    uint c = uint((float(at) + 0.5) * by_n_t), tile = at - c * n_t + tile_first;
    bool inside = tile < n_tiles;
    tile = min(tile, n_tiles - 1u);
    uint line = uint((float(tile) + 0.5) * by_across), image = uint((float(line) + 0.5) * by_down);
    int top = int((line - image * down) * uint(M)) - pad_y, channel = int((image * c_in + c)) * x_h * x_w;
    left = int((tile - line * across) * uint(M)) - pad_x;
    if (!inside) top = x_h; // no row of it is in the image
    LINE d0 = line_at(channel, top, 0), d1 = line_at(channel, top, 1), d2 = line_at(channel, top, 2), d3 = line_at(channel, top, 3);
#if M == 2
    uint row = 4u * n;
    store(at, d0 - d2);
    store(at + row, d1 + d2);
    store(at + 2u * row, d2 - d1);
    store(at + 3u * row, d1 - d3);
#else
    LINE d4 = line_at(channel, top, 4), d5 = line_at(channel, top, 5);
    columns(at, d0.a, d1.a, d2.a, d3.a, d4.a, d5.a);
    columns(at + 3u * n, d0.b, d1.b, d2.b, d3.b, d4.b, d5.b);
#endif
}
