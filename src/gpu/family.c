/* Which family a GPU is of, from the renderer string of its driver. */
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
