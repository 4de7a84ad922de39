// Gradients of what was pooled in windows of 2 x 2 by their winners (pool/winners), where the image that was pooled had them.
// Pixels v to v + 3 of row u, channel f: two windows of 2 x 2; v is a multiple of 4, and beyond the last there are none.
vec4 four_of_windows(uint i, uint f, uint u, uint v)
{
    uint down2 = rows >> 1, across2 = columns >> 1, at = (u >> 1) * across2 + (v >> 1);
    uint from = (i * f_out + f) * down2 * across2 + at, won_from = (i * ((f_out + 3u) >> 2) + (f >> 2)) * down2 * across2 + at;
    uint shift = 8u * (f & 3u), first = (u & 1u) * 2u, won_a = 255u, won_b = 255u;
    float a = 0.0, b = 0.0;
    if (u < down2 * 2u && v < across2 * 2u) a = g[from], won_a = winners[won_from] >> shift & 255u;
    if (u < down2 * 2u && v + 2u < across2 * 2u) b = g[from + 1u], won_b = winners[won_from + 1u] >> shift & 255u;
    return vec4(won_a == first ? a : 0.0, won_a == first + 1u ? a : 0.0, won_b == first ? b : 0.0, won_b == first + 1u ? b : 0.0);
}
