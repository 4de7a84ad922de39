/*
 * Candidates that do not fit a family of GPUs: its compiler has too few registers for some kernel of them and keeps values in memory instead, or takes
 * minutes. Nobody is offered them there. Each row was compiled (tests/bench/candidates.c); docs/performance.md, "Candidates on boards", has what came out.
 */
#include "plan/build.h"

#include <ctype.h>
#include <string.h>

#define V3D     (1u << ESKER__FAMILY_V3D)
#define MIDGARD (1u << ESKER__FAMILY_MIDGARD)
#define BIFROST (1u << ESKER__FAMILY_BIFROST)
#define VALHALL (1u << ESKER__FAMILY_VALHALL)
#define ADRENO  (1u << ESKER__FAMILY_ADRENO)
#define MALI    (MIDGARD | BIFROST | VALHALL)

/* `problem`: how it begins, or NULL for any; `with`: what it says besides (with '!' in front: does not say), or NULL; '#' in a name: any number, '*' the rest. */
static const struct {
    const char *problem, *with, *name;
    uint32_t families;
} unfit[] = {
    /* Products from tiles in shared memory, and of few rows: 4 x 4 results of an invocation and more, beside what it brings of the next tile. */
    {NULL, NULL, "t#x#*", V3D | MALI},
    {NULL, NULL, "s#x#", V3D | MALI},
    {NULL, NULL, "t128x128", ADRENO},
    {NULL, NULL, "t32x64", ADRENO},
    {NULL, NULL, "t64x64s4", ADRENO},
    {NULL, NULL, "s#x16", ADRENO},
    {NULL, NULL, "s32x32", ADRENO},
    {NULL, NULL, "fewrows", ADRENO},
    /* Tiles of 8 x 8 from reads of four neighbours; convolutions, too. */
    {NULL, NULL, "quads", ADRENO},
    /* Channels in fours: by how many pixels an invocation has, and whether taps are written out. */
    {"conv_fours", NULL, "fours8x8", V3D | MALI},
    {"conv_fours", NULL, "fours4x8", V3D | MALI},
    {"conv_fours", NULL, "fours4x4x2", V3D | MALI},
    {"conv_fours", NULL, "fours4x4", V3D | MIDGARD},
    {"conv_fours", "! k=1x1 ", "fours4x4", BIFROST | VALHALL},
    {"conv_fours", " g=1 ", "fours4x4loop", V3D | MIDGARD},
    {"conv_fours", " k=1x1 ", "fours4x4loop", VALHALL},
    /* Winograd's filtering with tiles of 4 x 4 pixels: 36 numbers of each. */
    {NULL, NULL, "winograd4", MIDGARD},
    /* Attention from tiles in shared memory: more than ten minutes for V3D's compiler, minutes for others. */
    {"attention", NULL, "tiled*", V3D | MALI | ADRENO},
    {"attention", NULL, "held#", V3D | MALI | ADRENO},
    {"attention", NULL, "block#x#", V3D | MALI | ADRENO},
    {"attention", NULL, "eights", V3D | MALI | ADRENO},
    /* Norms whose group holds a line in registers. */
    {"norm", NULL, "whole512", ADRENO},
    {"norm", NULL, "whole1024", ADRENO},
};

static bool is_named(const char *name, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == '*') return true;
        if (*pattern != '#' && *name++ != *pattern) return false;
        if (*pattern == '#' && !isdigit((unsigned char)*name)) return false;
        while (*pattern == '#' && isdigit((unsigned char)*name)) name++;
    }
    return !*name;
}

static bool says(const char *problem, const char *with)
{
    if (!with) return true;
    return *with == '!' ? !strstr(problem, with + 1) : strstr(problem, with) != NULL;
}

bool esker__fits(esker__family family, const char *problem, const char *name)
{
    for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++) {
        const char *begin = unfit[i].problem;
        if ((unfit[i].families >> family & 1) && is_named(name, unfit[i].name) && says(problem, unfit[i].with) &&
            (!begin || !strncmp(problem, begin, strlen(begin))))
            return false;
    }
    return true;
}
