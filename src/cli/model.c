/* A model from either of its files. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/*
 * A safetensors file begins with a length in 8 bytes, little-endian and at most 100 MB, so that the upper ones are zero; JSON
 * text has no zero bytes. What cannot be read is left to the reader that the name asks for, and to its message.
 */
static bool is_checkpoint(const char *path)
{
    const char *end = strrchr(path, '.');
    unsigned char head[8];
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(head, 1, sizeof head, file) : 0;
    if (file) fclose(file);
    if (n == sizeof head) return memchr(head, 0, sizeof head) != NULL;
    return end && !strcmp(end, ".safetensors");
}

bool cli_load_model(const cli_command *command, const char *path, esker_model **out, bool *out_checkpoint)
{
    bool checkpoint = is_checkpoint(path);
    if (out_checkpoint) *out_checkpoint = checkpoint;
    if ((checkpoint ? esker_model_load(path, out) : esker_model_load_json(path, out)) == ESKER_OK) return true;
    cli_library_error(command);
    return false;
}
