// conv/tiled: what the fours of its tile of x are, in x or, if POOLED_X, in the gradient of what was pooled.
#define NOWHERE (x_w + 3) // beyond a row, also SHIFT before it
// Four `e` of the tile (channel, row, four columns): where it lies behind the first channel of the image, and its first column, NOWHERE where there is
// none of them.
ivec2 place_x(uint e)
{
    uint line = e / uint(WIDTH4), d = line / uint(TILE_H);
    int row = x_top + int(line - d * uint(TILE_H)), at = x_left + int(e - line * uint(WIDTH4)) * 4;
    bool inside = row >= 0 && row < x_h && e < uint(N_TILE);
#if POOLED_X // the row's windows in their channel, and whether they have it below
    return ivec2((row >> 1) * (x_w >> 1) * 2 + (row & 1), inside && row < (x_h >> 1) * 2 ? at : x_w);
#else
    return ivec2((int(d) * x_h + row) * x_w + at, inside ? at : NOWHERE);
#endif
}
#if POOLED_X
uint image; // of the group
// The gradient and the winner of a window, none outside.
#define READ_WINDOW(G, WON, I)                                                                                                   \
    float G = 0.0;                                                                                                               \
    uint WON = 255u;                                                                                                             \
    if (uint(window + I) < uint(x_w >> 1)) G = x[from + I], WON = winners_of_x[won_from + I] >> shift & 255u;
vec4 four_of_windows(uint channel, int line, int at)
{
    vec4 t = vec4(0.0);
    if (at >= x_w) return t;
    int windows = (x_h >> 1) * (x_w >> 1), window = at >> 1, first = (line >> 1) + window;
    int from = int(image * c_in + channel) * windows + first;
    int won_from = int(image * ((c_in + 3u) >> 2) + (channel >> 2)) * windows + first;
    uint shift = 8u * (channel & 3u), left = uint(line & 1) * 2u, right = left + 1u;
    READ_WINDOW(a, won_a, 0)
    READ_WINDOW(b, won_b, 1)
    if ((at & 1) == 0) return vec4(won_a == left ? a : 0.0, won_a == right ? a : 0.0, won_b == left ? b : 0.0, won_b == right ? b : 0.0);
    READ_WINDOW(d, won_d, 2)
    return vec4(won_a == right ? a : 0.0, won_b == left ? b : 0.0, won_b == right ? b : 0.0, won_d == left ? d : 0.0);
}
#endif
