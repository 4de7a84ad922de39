/* Which family a GPU is of, from the renderer string of its driver, and what is usual there. */
#include "gpu/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* T6xx to T8xx are Midgard. Bifrost has two digits below G57 and G71 to G76; all later ones are Valhall or what came after it, which the compilers
   treat alike. */
static esker__family mali(const char *model)
{
    if (model[0] == 'T') return ESKER__FAMILY_MIDGARD;
    int number = model[0] == 'G' ? atoi(model + 1) : 0;
    if (number <= 0) return ESKER__FAMILY_UNKNOWN;
    if (number == 57 || number == 68 || number == 77 || number == 78 || number >= 100) return ESKER__FAMILY_VALHALL;
    return ESKER__FAMILY_BIFROST;
}

esker__family esker__family_of(const char *renderer)
{
    const char *at;
    if ((at = strstr(renderer, "Mali-"))) return mali(at + strlen("Mali-"));
    if (strstr(renderer, "Adreno") || (!strncmp(renderer, "FD", 2) && isdigit((unsigned char)renderer[2])))
        return ESKER__FAMILY_ADRENO;
    if (!strncmp(renderer, "V3D", 3)) return ESKER__FAMILY_V3D;
    if (strstr(renderer, "llvmpipe")) return ESKER__FAMILY_LLVMPIPE; /* also behind zink */
    if (strstr(renderer, "NVIDIA") || strstr(renderer, "GeForce") || strstr(renderer, "Quadro"))
        return ESKER__FAMILY_NVIDIA;
    return ESKER__FAMILY_UNKNOWN;
}

const char *esker__family_name(esker__family family)
{
    static const char *const names[] = {"unknown", "V3D", "Midgard", "Bifrost", "Valhall", "Adreno", "NVIDIA", "llvmpipe"};
    return names[family];
}

/* All else is as everywhere: 65535 groups an axis at least, blocks of 128 MiB, uniform blocks of 64 KiB. */
static const struct {
    uint32_t invocations, size_z, shared_kib, storage_blocks, storage_align, uniform_align;
    bool reports_reset; /* V3D and Mali since Mesa 25.3, with new kernels: not usual yet */
} usual[] = {
    [ESKER__FAMILY_V3D] = {256, 256, 32, 16, 4, 256, false},
    [ESKER__FAMILY_MIDGARD] = {128, 128, 32, 8, 4, 16, false},
    [ESKER__FAMILY_BIFROST] = {256, 256, 32, 8, 4, 16, false},
    [ESKER__FAMILY_VALHALL] = {256, 256, 32, 8, 4, 16, false},
    [ESKER__FAMILY_ADRENO] = {1024, 64, 32, 16, 64, 64, true},
    [ESKER__FAMILY_NVIDIA] = {1024, 64, 48, 16, 16, 256, true},
    [ESKER__FAMILY_LLVMPIPE] = {1024, 1024, 32, 16, 16, 16, true},
};

const char *esker_limits_usual(const char *renderer, esker_limits *out)
{
    esker__family family = esker__family_of(renderer);
    esker_limits_es31(out);
    if (family == ESKER__FAMILY_UNKNOWN) return NULL;
    out->group_size[0] = out->group_size[1] = out->group_invocations = usual[family].invocations;
    out->group_size[2] = usual[family].size_z;
    out->shared_bytes = usual[family].shared_kib << 10;
    out->storage_blocks = usual[family].storage_blocks;
    out->storage_align = usual[family].storage_align;
    out->uniform_align = usual[family].uniform_align;
    out->uniform_block_bytes = 65536;
    out->reports_reset = usual[family].reports_reset;
    if (family == ESKER__FAMILY_NVIDIA) {
        out->groups[0] = INT32_MAX;
        out->storage_block_bytes = INT32_MAX;
    }
    return esker__family_name(family);
}
