#include "io/json.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ---- Writing ---- */

void esker__json_add_string(esker__text *text, const char *string)
{
    esker__text_add_quoted(text, string);
}

void esker__json_add_float(esker__text *text, float value)
{
    char digits[32];
    for (int precision = 1; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if (strtof(digits, NULL) == value) break;
    }
    /* The decimal point is the locale's, whatever it is: the one thing that is no digit, sign or exponent. */
    char *point = digits + strspn(digits, "+-0123456789e");
    size_t n_point = strcspn(point, "+-0123456789e");
    esker__text_add_bytes(text, digits, (size_t)(point - digits));
    if (n_point) esker__text_add_bytes(text, ".", 1);
    esker__text_add(text, "%s", point + n_point);
}

void esker__json_add_ints(esker__text *text, const int64_t *values, int n)
{
    for (int i = 0; i < n; i++) esker__text_add(text, "%s%lld", i ? ", " : "[", (long long)values[i]);
    esker__text_add(text, n ? "]" : "[]");
}

/* ---- Reading ---- */

#ifdef ESKER_HAVE_CJSON

/* cJSON keeps the place of the last error in a global, even when it is asked to return it. */
static pthread_mutex_t parser = PTHREAD_MUTEX_INITIALIZER;

static esker_status fail_at(const char *source, const char *text, const char *end, const char *at)
{
    int line = 1, column = 1;
    char found[16];
    if (at > end) at = end;
    for (const char *p = text; p < at; p++) {
        column++;
        if (*p == '\n') {
            line++;
            column = 1;
        }
    }
    if (at >= end)
        snprintf(found, sizeof found, "the end");
    else if (*at >= 32 && *at < 127)
        snprintf(found, sizeof found, "'%c'", *at);
    else
        snprintf(found, sizeof found, "byte %d", (unsigned char)*at);
    return esker__fail(ESKER_ERR_FORMAT, "%s: not JSON: line %d, column %d: unexpected %s", source, line, column, found);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* cJSON keeps both of two equal keys and finds the first: a file that says two things is refused instead. */
static esker_status check_keys(const cJSON *object, const char *source)
{
    size_t n = (size_t)cJSON_GetArraySize(object), i = 0;
    if (cJSON_IsObject(object) && n > 1) {
        const char **keys = esker__malloc(n * sizeof *keys);
        if (!keys) return esker__fail_memory(n * sizeof *keys, source);
        const cJSON *item;
        cJSON_ArrayForEach(item, object) keys[i++] = item->string;
        qsort(keys, n, sizeof *keys, compare_keys);
        for (i = 1; i < n && strcmp(keys[i - 1], keys[i]) != 0; i++) continue;
        const char *twice = i < n ? keys[i] : NULL;
        esker__free(keys);
        if (twice) return esker__fail(ESKER_ERR_FORMAT, "%s: the key \"%.200s\" occurs twice in one object", source, twice);
    }
    const cJSON *child;
    cJSON_ArrayForEach(child, object)
    {
        esker_status st = child->child ? check_keys(child, source) : ESKER_OK; /* cJSON bounds the depth at 1000 */
        if (st != ESKER_OK) return st;
    }
    return ESKER_OK;
}

esker_status esker__json_parse(const char *text, size_t n_bytes, const char *source, cJSON **out)
{
    const char *end = text + n_bytes, *at = text, *zero = memchr(text, 0, n_bytes);
    *out = NULL;
    if (zero) return fail_at(source, text, end, zero);
    pthread_mutex_lock(&parser);
    cJSON *root = cJSON_ParseWithLengthOpts(text, n_bytes, &at, 0);
    pthread_mutex_unlock(&parser);
    /* It reports running out of memory in the same way as a mistake in the text; both are refusals. */
    if (!root) return fail_at(source, text, end, at ? at : text);
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
    esker_status st = at < end ? fail_at(source, text, end, at) : check_keys(root, source);
    if (st != ESKER_OK)
        cJSON_Delete(root);
    else
        *out = root;
    return st;
}

bool esker__json_is_int(const cJSON *item, int64_t lo, int64_t hi)
{
    if (!cJSON_IsNumber(item)) return false;
    double v = item->valuedouble;
    return v >= (double)lo && v <= (double)hi && v == floor(v);
}

static const char *list_of(char buffer[ESKER__JSON_QUOTE_BYTES])
{
    snprintf(buffer, ESKER__JSON_QUOTE_BYTES, "a list");
    return buffer;
}

const char *esker__json_quote(const cJSON *item, char buffer[ESKER__JSON_QUOTE_BYTES])
{
    const char *text = "nothing";
    if (cJSON_IsString(item)) {
        snprintf(buffer, ESKER__JSON_QUOTE_BYTES, strlen(item->valuestring) > 60 ? "\"%.60s...\"" : "\"%.60s\"",
                 item->valuestring);
        return buffer;
    }
    if (cJSON_IsNumber(item)) {
        snprintf(buffer, ESKER__JSON_QUOTE_BYTES, "%.15g", item->valuedouble);
        return buffer;
    }
    if (cJSON_IsArray(item) && cJSON_GetArraySize(item) <= 6) {
        const cJSON *child;
        size_t n = (size_t)snprintf(buffer, ESKER__JSON_QUOTE_BYTES, "[");
        cJSON_ArrayForEach(child, item)
        {
            if (!cJSON_IsNumber(child)) return list_of(buffer);
            n += (size_t)snprintf(buffer + n, ESKER__JSON_QUOTE_BYTES - n, "%s%.15g", child->prev->next ? ", " : "",
                                  child->valuedouble);
            if (n + 2 > ESKER__JSON_QUOTE_BYTES) return list_of(buffer);
        }
        snprintf(buffer + n, ESKER__JSON_QUOTE_BYTES - n, "]");
        return buffer;
    }
    if (cJSON_IsArray(item))
        text = "a list";
    else if (cJSON_IsObject(item))
        text = "an object";
    else if (cJSON_IsTrue(item))
        text = "true";
    else if (cJSON_IsFalse(item))
        text = "false";
    else if (cJSON_IsNull(item))
        text = "null";
    snprintf(buffer, ESKER__JSON_QUOTE_BYTES, "%s", text);
    return buffer;
}

#endif
