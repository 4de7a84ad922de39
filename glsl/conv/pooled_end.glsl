// The end of main() where results are pooled in windows of 2 x 2: each invocation of slice 0 has four channels from f on, of four columns of row u, in s0 to
// s3, and y and the winners are as conv/tiled says. Through the tile, which has room for two vec4 for each invocation.
    // Of two rows that share windows, the invocation of the upper one takes the left two columns, the other the right two.
#define ADD_BIAS(I, S)
#if BIAS
#undef ADD_BIAS
#define ADD_BIAS(I, S) if (f + I < f_out) S += bias[(f + I) * bias_step];
#endif
#define FINISH(I, S) ADD_BIAS(I, S) S = tail4(S, 0u);
    FINISH(0u, s0)
    FINISH(1u, s1)
    FINISH(2u, s2)
    FINISH(3u, s3)
    bool upper = (ty & 1u) == 0u;
    memoryBarrierShared();
    barrier(); // the tile is no longer read
    if (slice == 0u) {
        tile[2u * here] = upper ? vec4(s0.zw, s1.zw) : vec4(s0.xy, s1.xy);
        tile[2u * here + 1u] = upper ? vec4(s2.zw, s3.zw) : vec4(s2.xy, s3.xy);
    }
    memoryBarrierShared();
    barrier();
    if (slice != 0u) return;
    uint beside = upper ? here + uint(LX) : here - uint(LX);
    vec4 got01 = tile[2u * beside], got23 = tile[2u * beside + 1u];
    if (!upper) column += 2u;
    if (uint(image) >= images || u >= rows || column >= columns) return;
    uint place = (u >> 1) * y_u + (column >> 1), word = 0u;
    // First maximum: none before it is larger. One that is not a number stays.
#define LARGER(T) ((T) > largest || isnan(T))
#define POOL(I, S, GOT)                                                                                                          \
    if (f + I < f_out) {                                                                                                         \
        vec2 above = upper ? S.xy : GOT, below = upper ? GOT : S.zw;                                                             \
        float largest = above.x;                                                                                                 \
        uint winner = 0u;                                                                                                        \
        if (LARGER(above.y)) largest = above.y, winner = 1u;                                                                   \
        if (LARGER(below.x)) largest = below.x, winner = 2u;                                                                   \
        if (LARGER(below.y)) largest = below.y, winner = 3u;                                                                   \
        if (GATED == 1 && largest <= 0.0) winner = 255u;                                                                         \
        word |= winner << (8u * I);                                                                                              \
        y[(uint(image) * f_out + f + I) * y_channel + place] = largest;                                                          \
    }
    POOL(0u, s0, got01.xy)
    POOL(1u, s1, got01.zw)
    POOL(2u, s2, got23.xy)
    POOL(3u, s3, got23.zw)
#if WINNERS_BINDING > 0
    if (f < f_out) winners[(uint(image) * ((f_out + 3u) >> 2) + (f >> 2)) * y_channel + place] = word;
#endif
