/*
 * JSON: reading through libcjson with what it does not check (bytes after the end, keys that occur twice, where an error
 * is), and writing as text.
 */
#ifndef ESKER_IO_JSON_H
#define ESKER_IO_JSON_H

#include <stdint.h>
#include "base/text.h"

#ifdef ESKER_HAVE_CJSON
#include <cjson/cJSON.h>

/**
 * Parse `n_bytes` of text, which need no terminator.
 * Ownership  *out is freed with cJSON_Delete().
 * Errors     begin with `source`. ESKER_ERR_FORMAT: not JSON (line and column), a zero byte, a key twice in one object.
 *            ESKER_ERR_NO_MEMORY. *out is NULL then.
 */
esker_status esker__json_parse(const char *text, size_t n_bytes, const char *source, cJSON **out);

/** Whether `item` is a number without fraction in lo .. hi (both within 2^53). */
bool esker__json_is_int(const cJSON *item, int64_t lo, int64_t hi);

/** A short quotation of a value for messages: `"text"`, 3.5, true, a list, an object. */
#define ESKER__JSON_QUOTE_BYTES 80
const char *esker__json_quote(const cJSON *item, char buffer[ESKER__JSON_QUOTE_BYTES]);
#endif

/** Add a string in quotes, with escapes. */
void esker__json_add_string(esker__text *text, const char *string);
/** Add the shortest decimal that reads back as the same float; never depends on the locale. Finite values only. */
void esker__json_add_float(esker__text *text, float value);
/** Add "[1, 28, 28]". */
void esker__json_add_ints(esker__text *text, const int64_t *values, int n);

#endif
