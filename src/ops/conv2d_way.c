/* Which kernel computes a convolution or a gradient of one. */
#include "ops/conv2d_way.h"

/* CPUs have no such memory, and Adrenos spill (a660: 20 of 8 x 8). */
bool esker__conv2d_prefers_tiles(const esker__lowering *lowering)
{
    esker__family family = esker__lowering_family(lowering);
    return esker__has_room_for_tiles(esker__lowering_limits(lowering)) && family != ESKER__FAMILY_LLVMPIPE &&
           family != ESKER__FAMILY_ADRENO;
}

esker__conv2d_way esker__conv2d_choose_way(esker__lowering *lowering, const char *problem, double terms, bool suits_matmul,
                                           esker__conv2d_filtering filtered, bool suits_few, bool suits_tiled, bool pays,
                                           bool suits_quads)
{
    static const char *const all[] = {"matmul", "winograd4", "winograd2", "few",  "tiled",
                                      "quads",  "wide",      "narrow",    "plain"};
    bool large = esker__has_room_for_tiles(esker__lowering_limits(lowering));
    const bool can[] = {
        suits_matmul, filtered.suits4, filtered.suits2, suits_few, suits_tiled, suits_quads && large, large, true, true};
    const char *names[sizeof can];
    esker__conv2d_way ways[sizeof can];
    int n = 0, usual = 0;
    for (int i = 0; i < (int)sizeof can; i++)
        if (can[i]) names[n] = all[i], ways[n++] = (esker__conv2d_way)i;
    /* On CPUs small problems are not worth compiling large kernels for. */
    bool is_cpu = esker__lowering_family(lowering) == ESKER__FAMILY_LLVMPIPE, is_small = terms < 1e6;
    bool tiles = esker__conv2d_prefers_tiles(lowering);
    const bool suits[] = {tiles || (is_cpu && !is_small),
                          filtered.usual == 4 && !is_small,
                          filtered.usual == 2 && !is_small,
                          esker__lowering_family(lowering) == ESKER__FAMILY_NVIDIA,
                          tiles && pays,
                          is_cpu && !is_small,
                          large,
                          true,
                          true};
    while (!suits[ways[usual]]) usual++;
    return ways[esker__choose(lowering, problem, names, n, usual)];
}

uint32_t esker__conv2d_channels_at_once(bool large, int64_t n)
{
    return large && n >= 8 ? 8 : n > 2 ? 4 : (uint32_t)n;
}
