/* The sources of kernels as drivers get them, in a folder: for other compilers than the one at hand (toolchain/check_kernels.sh). */
#include "gpu/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/text.h"

/* One file for each text: "gemm.direct-0123456789abcdef.comp". */
static bool write_text(const char *folder, const char *name, const esker__text *text)
{
    char path[600], flat[220];
    snprintf(flat, sizeof flat, "%s", name);
    for (char *c = flat; *c; c++)
        if (*c == '/') *c = '.';
    uint64_t hash = esker__hash(ESKER__HASH_START, text->chars, text->n_chars);
    int n = snprintf(path, sizeof path, "%s/%s-%016" PRIx64 ".comp", folder, flat, hash);
    if (n >= (int)sizeof path) return false;
    if (access(path, F_OK) == 0) return true;
    FILE *file = fopen(path, "w");
    if (!file) return false;
    bool good = fwrite(text->chars, 1, text->n_chars, file) == text->n_chars;
    return fclose(file) == 0 && good;
}

void esker__kernel_dump(const char *name, const char *defines)
{
    const char *folder = getenv("ESKER_DUMP_KERNELS");
    esker__text text = {0};
    if (!folder || !folder[0]) return;
    if (esker__kernel_text(name, defines, &text) != ESKER_OK || !write_text(folder, name, &text))
        esker__log(ESKER_LOG_WARNING, "ESKER_DUMP_KERNELS: the source of %s could not be written to %s", name, folder);
    esker__text_finish(&text);
}
