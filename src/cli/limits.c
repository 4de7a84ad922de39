/* Limits as JSON, written and read. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ESKER_HAVE_CJSON
#include <cjson/cJSON.h>
#endif

void cli_json_limits(cli_json *json, const char *key, const esker_limits *limits)
{
    cli_json_open(json, key, '{');
    cli_json_uints(json, "groups", limits->groups, 3);
    cli_json_uints(json, "group_size", limits->group_size, 3);
    cli_json_uint(json, "group_invocations", limits->group_invocations);
    cli_json_uint(json, "shared_bytes", limits->shared_bytes);
    cli_json_uint(json, "storage_blocks", limits->storage_blocks);
    cli_json_uint(json, "storage_block_bytes", limits->storage_block_bytes);
    cli_json_uint(json, "storage_align", limits->storage_align);
    cli_json_uint(json, "uniform_align", limits->uniform_align);
    cli_json_uint(json, "uniform_block_bytes", limits->uniform_block_bytes);
    cli_json_bool(json, "reports_reset", limits->reports_reset);
    cli_json_close(json, '}');
}

#ifdef ESKER_HAVE_CJSON

#define MAX_FILE_BYTES (1 << 20)

/* The whole file, zero-terminated; free() it. NULL after telling why not. */
static char *read_text(const cli_command *command, const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = file ? malloc(MAX_FILE_BYTES + 1) : NULL;
    size_t n = text ? fread(text, 1, MAX_FILE_BYTES + 1, file) : 0;
    if (!file || !text || ferror(file)) {
        cli_error(command, "--limits %s: %s (it is es31 or a file)", path, strerror(errno));
    } else if (n > MAX_FILE_BYTES) {
        cli_error(command, "--limits %s: more than %d bytes", path, MAX_FILE_BYTES);
    } else {
        fclose(file);
        text[n] = 0;
        return text;
    }
    if (file) fclose(file);
    free(text);
    return NULL;
}

/* Where a number goes, and what OpenGL ES 3.1 asks of it. */
typedef struct field {
    const char *key;
    uint32_t *out32;
    uint64_t *out64;
    double lo, hi;
    int axis; /* in a list of three; -1: no list */
} field;

static bool read_field(const cli_command *command, const char *path, const cJSON *object, const field *f)
{
    char where[64];
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, f->key);
    snprintf(where, sizeof where, f->axis < 0 ? "%s" : "%s[%d]", f->key, f->axis);
    if (f->axis >= 0 && cJSON_IsArray(item))
        item = cJSON_GetArrayItem(item, f->axis);
    else if (f->axis >= 0)
        item = NULL;
    if (!item || !cJSON_IsNumber(item)) {
        cli_error(command, "%s: limits: %s is missing, or not a number", path, where);
        return false;
    }
    double value = item->valuedouble;
    if (!(value >= f->lo && value <= f->hi) || value != (double)(uint64_t)value) {
        cli_error(command, "%s: limits: %s is %g; it can be a whole number from %.0f to %.0f", path, where, value, f->lo,
                  f->hi);
        return false;
    }
    if (f->out64)
        *f->out64 = (uint64_t)value;
    else
        *f->out32 = (uint32_t)value;
    return true;
}

static bool power_of_two(uint32_t n)
{
    return n && !(n & (n - 1));
}

static bool read_object(const cli_command *command, const char *path, const cJSON *object, esker_limits *out)
{
    static const char *const known[] = {
        "groups",        "group_size",    "group_invocations",   "shared_bytes", "storage_blocks", "storage_block_bytes",
        "storage_align", "uniform_align", "uniform_block_bytes", "reports_reset"};
    const double most = 4294967295.0;
    esker_limits least;
    esker_limits_es31(&least);
    for (const cJSON *item = object->child; item; item = item->next) {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], item->string) != 0) i++;
        if (i == sizeof known / sizeof known[0]) {
            cli_error(command, "%s: limits: the key \"%s\" is unknown", path, item->string);
            return false;
        }
    }
    for (int axis = 0; axis < 3; axis++) {
        field groups = {"groups", &out->groups[axis], NULL, least.groups[axis], most, axis};
        field group_size = {"group_size", &out->group_size[axis], NULL, least.group_size[axis], most, axis};
        if (!read_field(command, path, object, &groups) || !read_field(command, path, object, &group_size)) return false;
    }
    const field fields[] = {
        {"group_invocations", &out->group_invocations, NULL, least.group_invocations, most, -1},
        {"shared_bytes", &out->shared_bytes, NULL, least.shared_bytes, most, -1},
        {"storage_blocks", &out->storage_blocks, NULL, least.storage_blocks, most, -1},
        {"storage_block_bytes", NULL, &out->storage_block_bytes, (double)least.storage_block_bytes, 9007199254740992.0, -1},
        {"storage_align", &out->storage_align, NULL, 4, 256, -1},
        {"uniform_align", &out->uniform_align, NULL, 4, 256, -1},
        {"uniform_block_bytes", &out->uniform_block_bytes, NULL, least.uniform_block_bytes, most, -1},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (!read_field(command, path, object, &fields[i])) return false;
    if (!power_of_two(out->storage_align) || !power_of_two(out->uniform_align)) {
        cli_error(command, "%s: limits: storage_align is %u and uniform_align %u; both must be powers of two", path,
                  out->storage_align, out->uniform_align);
        return false;
    }
    const cJSON *reports = cJSON_GetObjectItemCaseSensitive(object, "reports_reset");
    if (reports && !cJSON_IsBool(reports)) {
        cli_error(command, "%s: limits: reports_reset must be true or false", path);
        return false;
    }
    out->reports_reset = cJSON_IsTrue(reports);
    return true;
}

static bool read_file(const cli_command *command, const char *path, esker_limits *out)
{
    char *text = read_text(command, path);
    if (!text) return false;
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithOpts(text, &end, 1);
    const cJSON *object = json;
    const cJSON *inner = cJSON_IsObject(json) ? cJSON_GetObjectItemCaseSensitive(json, "limits") : NULL;
    if (inner) object = inner; /* all that `esker info --json` printed */
    bool read = false;
    if (!json)
        cli_error(command, "%s: not JSON, at byte %td", path, end ? end - text : 0);
    else if (!cJSON_IsObject(object))
        cli_error(command, "%s: limits are an object", path);
    else
        read = read_object(command, path, object, out);
    cJSON_Delete(json);
    free(text);
    return read;
}

#else

static bool read_file(const cli_command *command, const char *path, esker_limits *out)
{
    (void)out;
    cli_error(command, "--limits %s: reading files needs libcjson, which this build is without; es31 is built in", path);
    return false;
}

#endif

bool cli_read_limits(const cli_command *command, const char *text, esker_limits *out, int *out_status)
{
    esker_limits_es31(out);
    *out_status = CLI_FAILED;
    return !strcmp(text, "es31") || read_file(command, text, out);
}
