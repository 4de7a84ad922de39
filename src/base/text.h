/* A growing piece of text. Running out of memory is remembered and asked for once, at the end. */
#ifndef ESKER_BASE_TEXT_H
#define ESKER_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/fail.h"

typedef struct esker__text esker__text;

struct esker__text {
    char *chars; /* zero-terminated once anything was added; NULL before */
    size_t n_chars, capacity;
    bool failed;
};

void esker__text_add(esker__text *text, const char *format, ...) ESKER__PRINTF(2, 3);
void esker__text_add_bytes(esker__text *text, const char *bytes, size_t n_bytes);
/** In quotes and with escapes, as JSON (RFC 8259) has strings; bytes that are no UTF-8 become U+FFFD. */
void esker__text_add_quoted(esker__text *text, const char *chars);
/** "a, b and c" from a table of `n` rows of row_bytes, whose names `first` is the first of. */
void esker__text_add_names(esker__text *text, const char *const *first, size_t row_bytes, int n);
void esker__text_finish(esker__text *text);

#endif
