/* Writing JSON (RFC 8259) into memory. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(cli_json *json, const char *bytes, size_t n_bytes)
{
    if (json->failed) return;
    if (json->capacity - json->n_bytes < n_bytes) {
        size_t wanted = (json->capacity + n_bytes) * 2 + 256;
        char *grown = realloc(json->text, wanted);
        if (!grown) {
            json->failed = true;
            return;
        }
        json->text = grown;
        json->capacity = wanted;
    }
    memcpy(json->text + json->n_bytes, bytes, n_bytes);
    json->n_bytes += n_bytes;
}

/* Bytes of the UTF-8 character at `s`, or 0 if there is none (RFC 3629, without looking for overlong forms of 3 and 4). */
static size_t utf8_bytes(const unsigned char *s)
{
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : s[0] >= 0xe0 && s[0] <= 0xef ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return n;
}

static void add_quoted(cli_json *json, const char *text)
{
    add(json, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        char escape[8];
        size_t n = *s < 0x80 ? 1 : utf8_bytes(s);
        if (*s == '"' || *s == '\\') {
            snprintf(escape, sizeof escape, "\\%c", *s);
            add(json, escape, 2);
        } else if (*s < 0x20 || *s == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", *s);
            add(json, escape, 6);
        } else if (n) {
            add(json, (const char *)s, n);
        } else {
            add(json, "\\ufffd", 6); /* a file name or a driver's string in another encoding */
        }
        s += n ? n : 1;
    }
    add(json, "\"", 1);
}

static void begin(cli_json *json, const char *key)
{
    if (json->comma) add(json, ", ", 2);
    json->comma = true;
    if (!key) return;
    add_quoted(json, key);
    add(json, ": ", 2);
}

void cli_json_open(cli_json *json, const char *key, char bracket)
{
    begin(json, key);
    add(json, &bracket, 1);
    json->comma = false;
}

void cli_json_close(cli_json *json, char bracket)
{
    add(json, &bracket, 1);
    json->comma = true;
}

void cli_json_text(cli_json *json, const char *key, const char *value)
{
    begin(json, key);
    if (value)
        add_quoted(json, value);
    else
        add(json, "null", 4);
}

void cli_json_number(cli_json *json, const char *key, double value)
{
    char text[40] = "null";
    begin(json, key);
    if (isfinite(value)) snprintf(text, sizeof text, "%.9g", value);
    add(json, text, strlen(text));
}

void cli_json_float(cli_json *json, const char *key, float value)
{
    char text[40] = "null";
    begin(json, key);
    /* As many digits as tell it from its neighbours: 0.001 and not 0.00100000005. */
    for (int digits = 6; digits <= 9 && isfinite(value); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    add(json, text, strlen(text));
}

void cli_json_int(cli_json *json, const char *key, int64_t value)
{
    char text[24];
    begin(json, key);
    snprintf(text, sizeof text, "%" PRId64, value);
    add(json, text, strlen(text));
}

void cli_json_uint(cli_json *json, const char *key, uint64_t value)
{
    char text[24];
    begin(json, key);
    snprintf(text, sizeof text, "%" PRIu64, value);
    add(json, text, strlen(text));
}

void cli_json_bool(cli_json *json, const char *key, bool value)
{
    begin(json, key);
    add(json, value ? "true" : "false", value ? 4 : 5);
}

void cli_json_uints(cli_json *json, const char *key, const uint32_t *values, int n)
{
    cli_json_open(json, key, '[');
    for (int i = 0; i < n; i++) cli_json_uint(json, NULL, values[i]);
    cli_json_close(json, ']');
}

void cli_json_shape(cli_json *json, const char *key, const esker_shape *shape)
{
    cli_json_open(json, key, '[');
    for (int i = 0; i < shape->rank; i++) cli_json_int(json, NULL, shape->dims[i]);
    cli_json_close(json, ']');
}

int cli_json_print(cli_json *json, const cli_command *command)
{
    int status = CLI_DONE;
    add(json, "\n", 1);
    if (json->failed)
        status = cli_error(command, "out of memory for %zu bytes of JSON", json->capacity);
    else if (fwrite(json->text, 1, json->n_bytes, stdout) != json->n_bytes || fflush(stdout) != 0)
        status = cli_error(command, "standard output: %s", strerror(errno));
    cli_json_finish(json);
    return status;
}

void cli_json_finish(cli_json *json)
{
    free(json->text);
    *json = (cli_json){0};
}
