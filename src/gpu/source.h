/* Reading the source of kernels: tokens (tokens.c), and what conditions leave of it (conditions.c). */
#ifndef ESKER_GPU_SOURCE_H
#define ESKER_GPU_SOURCE_H

#include <stdint.h>

#include "base/text.h"

#include <esker/status.h>

/* ---- Tokens: a word, or one other character. Spaces and comments are none ---- */

typedef struct esker__token {
    const char *chars;
    size_t n; /* 0: the end */
} esker__token;

/** The one at or behind `at`. */
esker__token esker__token_next(const char *at);
static inline esker__token esker__token_behind(esker__token t)
{
    return esker__token_next(t.chars + t.n);
}
bool esker__token_is(esker__token t, const char *text);
/** If it is that, the next one. */
bool esker__token_take(esker__token *t, const char *text);
bool esker__token_take_word(esker__token *t, esker__token *out);
/** Whether `at` is in a line of `source` for the preprocessor, or in one that such a line goes on with; one that defines something. */
bool esker__is_in_directive(const char *source, const char *at);
bool esker__is_in_definition(const char *source, const char *at);

/** The bracket that closes the one at `open`; n 0: none does. And whether "=" follows one. */
esker__token esker__token_closing(esker__token open);
bool esker__is_assigned(esker__token close);

/** layout(std430, binding = ...) ... buffer X { TYPE array[]; }; */
typedef struct esker__block_declaration {
    esker__token binding, type, array;      /* binding: the whole expression */
    bool is_readonly, is_writeonly, is_own; /* the one word in front of "buffer" is that; "own" is ours (texel_source.c) */
    const char *begin, *end;
} esker__block_declaration;

/** Whether a declaration of a block with one array begins with the token at hand. */
bool esker__block_declaration_read(esker__token t, esker__block_declaration *out);

/* ---- Conditions ---- */

/** What stands for words in conditions: of "#define NAME text" alone. */
typedef struct esker__macros {
    struct esker__macro *list;
    size_t n, capacity;
} esker__macros;

void esker__macros_finish(esker__macros *macros);
/** What `word` stands for, up to 40 characters without spaces around them, itself if it is no macro. */
void esker__macros_word(const esker__macros *macros, esker__token word, char out[40]);
/** The value of an integer expression of `n_chars`; false: it is none. */
bool esker__macros_evaluate(const esker__macros *macros, const char *text, size_t n_chars, int64_t *out);
/**
 * `source` with #if, #ifdef, #elif, #else and #endif decided: their lines, and those that they leave out, are empty. *macros, zeroed, has what is
 * defined at the end. ESKER_ERR_COMPILE: a condition is no integer expression, or has no end; `name` is for the message.
 */
esker_status esker__active_source(const char *name, const char *source, esker__text *out, esker__macros *macros);

#endif
